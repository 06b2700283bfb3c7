//! JSON text, read once and flattened as it is read (RFC 8259).
//!
//! There is no tree and no value but those that become fields; strings without escapes are borrowed, others are copied once,
//! to a [`Room`]. Sixteen bytes are looked at together where a string ends. It takes what `serde_json` takes, which is its
//! oracle in tests, and a little more, because one odd value must not cost a line its fields: a number that 64 bits or a
//! double cannot hold is kept as text, and half of a surrogate pair becomes U+FFFD.
//!
//! Limits: [`NESTING_MAX`] levels, so that nobody who writes to a log can exhaust the stack; [`NAME_BYTES_MAX`], since every
//! value of a list has the whole name.

use std::borrow::Cow;

use wide::u8x16;

use super::fields::Fields;
use super::room::{BLOCK_BYTES, Room};
use super::text;
use crate::{FIELDS_MAX, Value};

/// Deepest nesting that is read at all; deeper text is not taken.
const NESTING_MAX: usize = 128;

/// Deepest nesting that becomes names. Kubernetes' audit events reach 8.
const DEPTH_MAX: usize = 16;

/// Longest name of a field, with the names that it lies in. Those of Kubernetes and cloud audit trails stay below 200 bytes.
const NAME_BYTES_MAX: usize = 512;

/// Bytes that are looked at together where a string has escapes: a block, of which the last byte may be a backslash, and another
/// that is copied from behind that escape.
const WINDOW_BYTES: usize = 2 * BLOCK_BYTES + 1;

/// Bytes of text for each field, about, and the most fields that are made room for in advance: about 1 KB, a size that
/// allocators keep at hand.
const FIELD_BYTES: usize = 32;
const FIELDS_AHEAD_MAX: usize = 20;

/// What was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Extent {
    /// Every value is a field.
    Whole,
    /// Some values lay beyond the limits.
    Cut,
}

/// Room for the fields of a text.
pub(super) fn fields_of<'t>(text: &str) -> Fields<'t> {
    Fields(Vec::with_capacity((text.len() / FIELD_BYTES).clamp(4, FIELDS_AHEAD_MAX)))
}

/// Reads one object, and nothing behind it, into fields. `None`: it is no object, and gives none. Text without its escapes
/// goes to `room`. Names and values are in NFC, also of a text that is not: it is read as it is written, since an escape and
/// what follows it are no letter and its mark.
pub(super) fn flatten<'t>(
    text: &'t str,
    is_nfc: bool,
    fields: &mut Fields<'t>,
    room: &mut Room<'t>,
) -> Option<Extent> {
    let before = fields.0.len();
    let fields_max = before.saturating_add(FIELDS_MAX);
    let mut reader = Reader { text, at: 0, extent: Extent::Whole, fields, fields_max, room };
    let extent = reader.whole();
    if extent.is_none() {
        fields.0.truncate(before);
    }
    if !is_nfc {
        fields.compose(before);
    }
    extent
}

/// A position in a text, and the fields found before it.
struct Reader<'f, 't> {
    text: &'t str,
    at: usize,
    extent: Extent,
    fields: &'f mut Fields<'t>,
    fields_max: usize,
    room: &'f mut Room<'t>,
}

#[expect(clippy::ptr_arg, reason = "a borrowed name is cloned into its fields, and not copied")]
impl<'t> Reader<'_, 't> {
    fn whole(&mut self) -> Option<Extent> {
        if self.token()? != b'{' {
            return None;
        }
        self.object(&Cow::Borrowed(""), 0)?;
        self.token().is_none().then_some(self.extent)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Past a byte that was seen.
    fn skip(&mut self) {
        self.at = self.at.wrapping_add(1);
    }

    /// The next byte that is not blank. It stays.
    fn token(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        if byte > b' ' { Some(byte) } else { self.behind_blanks() }
    }

    /// Programs write lines without blanks.
    #[cold]
    fn behind_blanks(&mut self) -> Option<u8> {
        while let b' ' | b'\t' | b'\n' | b'\r' = self.peek()? {
            self.skip();
        }
        self.peek()
    }

    /// An object, of which the first byte was seen.
    fn object(&mut self, path: &Cow<'t, str>, depth: usize) -> Option<()> {
        self.skip();
        if self.token()? == b'}' {
            self.skip();
            return Some(());
        }
        while self.token()? == b'"' {
            let name = self.string()?;
            if self.token()? != b':' {
                return None;
            }
            self.skip();
            let (path, depth) = self.path(path, name, depth);
            self.value(path, depth)?;
            match self.token()? {
                b',' => self.skip(),
                b'}' => {
                    self.skip();
                    return Some(());
                }
                _ => return None,
            }
        }
        None
    }

    /// The name of a member's values, and how deep they lie: too deep where they are not to become fields.
    fn path(&self, path: &Cow<'t, str>, name: Cow<'t, str>, depth: usize) -> (Cow<'t, str>, usize) {
        let is_short = path.len().saturating_add(name.len()) <= NAME_BYTES_MAX;
        if is_short && depth == 0 {
            (name, depth)
        } else if is_short && self.is_within(depth) {
            (Cow::Owned([path, ".", &name].concat()), depth)
        } else {
            (Cow::Borrowed(""), depth.max(DEPTH_MAX))
        }
    }

    /// An array, of which the first byte was seen.
    fn array(&mut self, path: &Cow<'t, str>, depth: usize) -> Option<()> {
        self.skip();
        if self.token()? == b']' {
            self.skip();
            return Some(());
        }
        loop {
            self.value(path.clone(), depth)?;
            let byte = self.token()?;
            self.skip();
            match byte {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// A value inside an object or an array that lies `depth` levels deep. It has two callers, and a call costs as much as the
    /// look at a short value.
    #[inline(always)]
    fn value(&mut self, path: Cow<'t, str>, depth: usize) -> Option<()> {
        let value = match self.token()? {
            b'"' => Value::Text(self.string()?),
            b'{' => return self.object(&path, deeper(depth)?),
            b'[' => return self.array(&path, deeper(depth)?),
            b't' => self.word("true", Value::Bool(true))?,
            b'f' => self.word("false", Value::Bool(false))?,
            b'n' => self.word("null", Value::Null)?,
            _ => self.number()?,
        };
        if self.is_within(depth) {
            self.fields.0.push((path, value));
        } else {
            self.extent = Extent::Cut;
        }
        Some(())
    }

    fn is_within(&self, depth: usize) -> bool {
        depth < DEPTH_MAX && self.fields.0.len() < self.fields_max
    }

    fn word(&mut self, word: &str, value: Value<'t>) -> Option<Value<'t>> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at = self.at.saturating_add(word.len());
        rest.starts_with(word.as_bytes()).then_some(value)
    }

    /// A string, of which the quote was seen.
    fn string(&mut self) -> Option<Cow<'t, str>> {
        self.skip();
        let (text, start) = (self.text, self.at);
        let end = start.wrapping_add(plain(text.as_bytes().get(start..)?));
        match text.as_bytes().get(end)? {
            b'"' => {
                self.at = end.wrapping_add(1);
                text.get(start..end).map(Cow::Borrowed)
            }
            b'\\' => self.escaped(end),
            _ => None,
        }
    }

    /// A string from here on whose first escape is at `first`: in one pass it is copied by blocks and looked at.
    #[inline(never)]
    fn escaped(&mut self, first: usize) -> Option<Cow<'t, str>> {
        let rest = self.text.get(self.at..)?;
        let (plain, mut from) = rest.as_bytes().split_at_checked(first.wrapping_sub(self.at))?;
        let room = self.room.at_least(rest.len());
        let room_bytes = room.len();
        let (before, mut to) = room.split_at_mut_checked(plain.len())?;
        before.copy_from_slice(plain);
        let mut is_coded = false;
        loop {
            (from, to) = unescape(from, to)?;
            let [b'\\', b'u', behind @ ..] = from else { break };
            (from, is_coded) = (behind, true);
            let written = coded(&mut from)?.encode_utf8(to.first_chunk_mut::<4>()?).len();
            to = to.get_mut(written..)?;
        }
        if *from.first()? != b'"' {
            return None;
        }
        let kept = room_bytes.wrapping_sub(to.len());
        self.at = self.text.len().wrapping_sub(from.len()).wrapping_add(1);
        let text = self.room.keep(kept)?;
        Some(if is_coded { text::composed(text) } else { text })
    }

    fn number(&mut self) -> Option<Value<'t>> {
        let start = self.at;
        if self.peek()? == b'-' {
            self.skip();
        }
        let leading = self.peek()?;
        let whole = self.digits()?;
        if leading == b'0' && whole > 1 {
            return None;
        }
        let mut is_int = true;
        if self.peek() == Some(b'.') {
            self.skip();
            self.digits()?;
            is_int = false;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.skip();
            if let Some(b'+' | b'-') = self.peek() {
                self.skip();
            }
            self.digits()?;
            is_int = false;
        }
        let text = self.text.get(start..self.at)?;
        Some(number(text, is_int))
    }

    /// How many digits there were; none is an error.
    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.skip();
        }
        self.at.checked_sub(start).filter(|count| *count > 0)
    }
}

/// An integer beyond 64 bits with a sign, and what no double holds, is kept as text.
fn number(text: &str, is_int: bool) -> Value<'_> {
    match text.parse::<i64>() {
        Ok(int) if is_int && text != "-0" => Value::Int(int),
        _ if is_int && text != "-0" => Value::Text(Cow::Borrowed(text)),
        _ => match text.parse::<f64>() {
            Ok(float) if float.is_finite() => Value::Float(float),
            _ => Value::Text(Cow::Borrowed(text)),
        },
    }
}

/// The level below this one, unless that is too deep.
fn deeper(depth: usize) -> Option<usize> {
    depth.checked_add(1).filter(|depth| *depth < NESTING_MAX)
}

/// How many plain bytes stand before the first quote, backslash or control character. At worst all.
fn plain(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((block, behind)) = rest.split_first_chunk() {
        if let Some(plain) = special(block) {
            return bytes.len().wrapping_sub(rest.len()).wrapping_add(plain);
        }
        rest = behind;
    }
    bytes.len().wrapping_sub(rest.len()).wrapping_add(special(&last(rest)).unwrap_or_default())
}

/// Copies text without its escapes; gives what is left of both, from the first byte that is neither plain nor such an escape
/// (`\u` is not). `None`: there is no room, or no such escape.
fn unescape<'f, 'r>(mut from: &'f [u8], mut to: &'r mut [u8]) -> Option<(&'f [u8], &'r mut [u8])> {
    while let Some(window) = from.first_chunk::<WINDOW_BYTES>() {
        let mut marks = specials(window.first_chunk()?);
        // What was read of the window, and what came of it. The marks of a block are looked for once: each escape shifts only
        // where the bytes behind it go.
        let (mut read, mut written) = (0_usize, 0_usize);
        loop {
            *to.get_mut(written..)?.first_chunk_mut::<BLOCK_BYTES>()? = *window.get(read..)?.first_chunk()?;
            if marks == 0 {
                break;
            }
            let mark = usize::try_from(marks.trailing_zeros()).ok()?;
            written = written.wrapping_add(mark.wrapping_sub(read));
            let [b'\\', kind, ..] = *window.get(mark..)? else {
                return from.get(mark..).zip(to.get_mut(written..));
            };
            if kind == b'u' {
                return from.get(mark..).zip(to.get_mut(written..));
            }
            *to.get_mut(written)? = escape(kind)?;
            written = written.wrapping_add(1);
            read = mark.wrapping_add(2);
            marks &= !(3 << mark);
        }
        let end = read.max(BLOCK_BYTES);
        written = written.wrapping_add(end.wrapping_sub(read));
        (from, to) = (from.get(end..)?, to.get_mut(written..)?);
    }
    unescape_last(from, to)
}

/// The same near the end of the line, byte by byte.
fn unescape_last<'f, 'r>(mut from: &'f [u8], mut to: &'r mut [u8]) -> Option<(&'f [u8], &'r mut [u8])> {
    loop {
        let (byte, behind) = match from {
            [b'\\', b'u', ..] | [b'"' | ..0x20, ..] | [] => return Some((from, to)),
            [b'\\', kind, behind @ ..] => (escape(*kind)?, behind),
            [byte, behind @ ..] => (*byte, behind),
        };
        let (first, rest) = to.split_first_mut()?;
        *first = byte;
        (from, to) = (behind, rest);
    }
}

/// The last bytes of a text. Behind them are zeros, which are not plain.
fn last(bytes: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    block.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    block
}

/// Where in a block the first byte is that is not plain.
fn special(block: &[u8; BLOCK_BYTES]) -> Option<usize> {
    let marks = specials(block);
    if marks == 0 { None } else { usize::try_from(marks.trailing_zeros()).ok() }
}

/// A bit for each byte of a block that is not plain.
fn specials(block: &[u8; BLOCK_BYTES]) -> u32 {
    let bytes = u8x16::new(*block);
    let is_control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    let marks = is_control | bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\'));
    marks.to_bitmask()
}

/// What stands for a character behind a backslash.
fn escape(kind: u8) -> Option<u8> {
    ESCAPES.get(usize::from(kind)).copied().filter(|byte| *byte != 0)
}

/// By the character; 0 for those that stand behind none. It is a table since jumps are hard to foresee.
static ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let (mut slots, mut kind) = (table.as_mut_slice(), 0_u8);
    while let [slot, behind @ ..] = slots {
        *slot = match kind {
            b'"' | b'\\' | b'/' => kind,
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 0xc,
            _ => 0,
        };
        (slots, kind) = (behind, kind.wrapping_add(1));
    }
    table
};

/// The character behind `\u`, which two of them make when it is beyond 16 bits. Half of such a pair is U+FFFD.
fn coded(rest: &mut &[u8]) -> Option<char> {
    let first = unit(rest)?;
    let high = first.checked_sub(0xd800).filter(|high| *high < 0x400);
    let mut behind = rest.strip_prefix(b"\\u").unwrap_or_default();
    let low = unit(&mut behind).and_then(|second| second.checked_sub(0xdc00)).filter(|low| *low < 0x400);
    let Some((high, low)) = high.zip(low) else {
        return Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
    };
    *rest = behind;
    char::from_u32((high << 10 | low).checked_add(0x10000)?)
}

fn unit(rest: &mut &[u8]) -> Option<u32> {
    let (digits, behind) = rest.split_first_chunk::<4>()?;
    *rest = behind;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    /// The fields, which are the same wherever unescaped text goes.
    fn read(text: &str) -> Option<Vec<(String, Value<'static>)>> {
        let owned = read_to(text, &mut Room::default());
        let mut buffer = Vec::new();
        assert_eq!(read_to(text, &mut Room::lent(&mut buffer, text.len())), owned);
        owned
    }

    fn read_to<'t>(text: &'t str, room: &mut Room<'t>) -> Option<Vec<(String, Value<'static>)>> {
        let mut fields = Fields::default();
        flatten(text, text::is_nfc(text), &mut fields, room)?;
        let mut owned = Fields::default();
        owned.extend_owned(fields);
        Some(owned.0.into_iter().map(|(name, value)| (name.into_owned(), value)).collect())
    }

    /// What `serde_json` makes of the same text, flattened; object keys that repeat stand once there.
    fn expected(path: Option<&str>, json: &Json, out: &mut Vec<(String, Value<'static>)>) {
        let value = match json {
            Json::Object(members) => {
                for (name, json) in members {
                    let name = text::decode_owned(name.clone().into());
                    let path = path.map_or(name.clone(), |path| format!("{path}.{name}"));
                    expected(Some(&path), json, out);
                }
                return;
            }
            Json::Array(elements) => return elements.iter().for_each(|json| expected(path, json, out)),
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::String(text) => Value::Text(text::decode_owned(text.clone().into()).into()),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(int), _) => Value::Int(int),
                (None, Some(large)) => Value::Text(large.to_string().into()),
                (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
            },
        };
        out.push((path.unwrap_or_default().to_owned(), value));
    }

    /// Of a line as it is written; what both read of it is brought to NFC.
    fn agrees(text: &str) {
        let json = serde_json::from_str::<Json>(text).ok().filter(Json::is_object).map(|json| {
            let mut fields = Vec::new();
            expected(None, &json, &mut fields);
            fields
        });
        assert_eq!(read(text), json, "{text}");
    }

    #[test]
    fn takes_what_serde_json_takes() {
        let values = [
            "1",
            "-1",
            "-0",
            "0",
            "01",
            "1.",
            ".5",
            "1.5",
            "1e3",
            "1E-3",
            "-",
            "+1",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551615",
            "1e",
            "tru",
            "true",
            "false",
            "null",
            "nul",
            "\"\"",
            "\"a\"",
            "\"\\\"\"",
            "\"\\\\\"",
            "\"\\\\\\\"\"",
            "\"\\u00e9\"",
            "\"e\\u0301\"",
            "\"\\ud83d\\ude00\"",
            "\"\\u12\"",
            "\"\\x\"",
            "\"\u{1}\"",
            "\"1234567\u{1f}89\"",
            "\"12345678\\n\"",
            "[]",
            "[1,[2,3]]",
            "[1,]",
            "[,1]",
            "{}",
            "{\"b\":{\"c\":1}}",
            "{\"b\":1,}",
            "{b:1}",
            "\"đ\\tĐ\"",
            "\"a",
        ];
        for value in values {
            agrees(&format!("{{\"a\":{value}}}"));
            agrees(&format!(" {{ \"a\" : {value} , \"z\" : [ {value} , 0 ] }} "));
        }
        for text in [
            "",
            "{",
            "}",
            "{}",
            "{} x",
            "[]",
            "1",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1 \"b\":2}",
            "{\"\\u0061\":1}",
        ] {
            agrees(text);
        }
    }

    #[test]
    fn reads_strings_of_any_length_before_and_behind_an_escape() {
        for length in 0..50 {
            let plain = &"0123456789".repeat(5)[..length];
            for escape in
                ["", "\\\\", "\\t\\\"", "\\u1ec5", "\\ud83d\\ude00", "\\/đ", "\u{1f}", "\\x", "\\u00e", "\\"]
            {
                agrees(&format!("{{\"{plain}{escape}\":\"{escape}{plain}{escape}{plain}\"}}"));
            }
        }
    }

    #[test]
    fn one_odd_value_costs_a_line_nothing() {
        let cases = [
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""\ude00x""#, "\u{fffd}x"),
            (r#""\ud83d\n\ud83d\u0041""#, "\u{fffd}\n\u{fffd}A"),
            ("123456789012345678901", "123456789012345678901"),
            ("-9223372036854775809", "-9223372036854775809"),
            ("1e999", "1e999"),
        ];
        for (written, text) in cases {
            let value = Value::Text(text.into());
            assert_eq!(
                read(&format!("{{\"a\":{written}}}")),
                Some(vec![("a".to_owned(), value)]),
                "{written}"
            );
        }
        let mut fields = Fields::default();
        assert_eq!(flatten("{\"a\":1,\"b\"}", true, &mut fields, &mut Room::default()), None);
        assert!(fields.0.is_empty(), "what is no object gives no fields");
    }

    #[test]
    fn names_are_bounded() {
        let line = |outer: usize, inner: usize| {
            format!("{{\"{}\":{{\"{}\":[1,2]}},\"z\":3}}", "a".repeat(outer), "b".repeat(inner))
        };
        let (long, cut) = (line(500, 12), line(500, 13));
        assert_eq!(read(&long).map(|fields| fields.len()), Some(3));
        assert_eq!(read(&cut), Some(vec![("z".to_owned(), Value::Int(3))]));
        assert_eq!(read(&line(NAME_BYTES_MAX + 1, 1)), Some(vec![("z".to_owned(), Value::Int(3))]));
        assert_eq!(flatten(&cut, true, &mut Fields::default(), &mut Room::default()), Some(Extent::Cut));
    }

    #[test]
    fn keeps_to_its_limits() {
        let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        let many = format!("{{\"x\":[{}1]}}", "1,".repeat(FIELDS_MAX));
        let extent = |text: &str| flatten(text, true, &mut Fields::default(), &mut Room::default());
        assert_eq!(extent(&nested(DEPTH_MAX - 1)), Some(Extent::Whole));
        assert_eq!(extent(&nested(DEPTH_MAX)), Some(Extent::Cut));
        assert_eq!(extent(&nested(NESTING_MAX)), None);
        assert_eq!(extent(&many), Some(Extent::Cut));
        assert_eq!(read(&many).map(|fields| fields.len()), Some(FIELDS_MAX));
    }

    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            (-1e6..1e6).prop_map(|float: f64| Json::from(float.round() / 8.0)),
            "\\PC{0,30}|[\"\\\\a\n\t\u{1}đ]{0,40}|[\"\\\\ne\n/\u{301}\u{338}\u{327}]{0,9}"
                .prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
                prop::collection::hash_map("[a-z\"\\\\đ]{0,9}", inner, 0..5)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_what_serde_json_writes(json in json()) {
            let json = serde_json::json!({"a": json, "b": {"c": json}});
            agrees(&json.to_string());
            agrees(&format!("{json:#}"));
        }

        /// Nearly JSON: one byte lost, doubled or changed.
        #[test]
        fn refuses_what_serde_json_refuses(json in json(), at in any::<prop::sample::Index>(), byte in "[\\x00-\\x7f]|đ") {
            let text = serde_json::json!({"a": json, "b": [json, 1.5, -2]}).to_string();
            let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
            let place = places[at.index(places.len())];
            let behind = &text[place..];
            let next = behind.chars().next().map_or(0, char::len_utf8);
            for changed in [
                format!("{}{}", &text[..place], &behind[next..]),
                format!("{}{byte}{behind}", &text[..place]),
                format!("{}{byte}{}", &text[..place], &behind[next..]),
            ] {
                let mut names = serde_json::Deserializer::from_str(&changed).into_iter::<serde::de::IgnoredAny>();
                let is_json = names.next().is_some_and(|first| first.is_ok()) && names.next().is_none();
                prop_assert_eq!(read(&changed).is_some(), is_json && changed.trim_ascii_start().starts_with('{'), "{}", changed);
            }
        }
    }
}
