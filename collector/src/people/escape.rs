//! Text of strangers made safe to show: a log line must not move the cursor, hide itself, turn round the reading order or
//! look like a row of ours.
//!
//! Shown text is for eyes; it is not reversible (a backslash stays a backslash, so that Windows paths and regular
//! expressions stay readable). Who needs the exact text takes JSON, where the same characters stand as `\uXXXX`.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Characters that are not control characters (Unicode Cc) but change what a reader sees without a glyph of their own:
/// bidirectional controls, zero-width characters, line and paragraph separators, fillers, variation selectors and tags.
const INVISIBLE: [(char, char); 15] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a character must not reach a terminal as it is.
pub(crate) fn is_unsafe(char: char) -> bool {
    char.is_control()
        || (char > '\u{a0}' && INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&char)))
}

/// The text on one line, with what is unsafe written out: `\n`, `\x1b`, `\u{202e}`.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        push_shown(&mut out, char);
    }
    out
}

/// The same for bytes: those that are not UTF-8 are written `\xNN`.
pub(crate) fn shown_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|char| push_shown(&mut out, char));
        for byte in chunk.invalid() {
            let _infallible = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// At most `chars_max` characters of shown text, with an ellipsis where something was left off.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    let text = shown(text);
    match text.char_indices().nth(chars_max) {
        None => text,
        Some(_) => text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect(),
    }
}

fn push_shown(out: &mut String, char: char) {
    if !is_unsafe(char) {
        return out.push(char);
    }
    let _infallible = match char {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        _ if u32::from(char) < 0x100 => write!(out, "\\x{:02x}", u32::from(char)),
        _ => write!(out, "\\u{{{:x}}}", u32::from(char)),
    };
}

/// One JSON value on one line. Parsed again it is exact; on a terminal it is as harmless as [`shown`] text.
pub(crate) fn json_line(value: &impl Serialize) -> serde_json::Result<String> {
    let mut out = Vec::new();
    write_json(&mut out, value).map_err(serde_json::Error::io)?;
    String::from_utf8(out).map_err(|error| serde_json::Error::io(io::Error::other(error)))
}

/// Writes the same, without the end of the line. A reader who is gone is told as what writing said.
pub(crate) fn write_json(out: &mut impl io::Write, value: &impl Serialize) -> io::Result<()> {
    Ok(value.serialize(&mut Serializer::with_formatter(out, SafeFormatter(CompactFormatter)))?)
}

/// Compact JSON that writes every unsafe character as `\uXXXX`; serde_json itself does so only below U+0020.
struct SafeFormatter(CompactFormatter);

impl Formatter for SafeFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        // Of ASCII, serde_json leaves to this DEL alone of what is unsafe.
        if text.bytes().fold(0, u8::max) < 0x7f {
            return self.0.write_string_fragment(writer, text);
        }
        let mut from = 0;
        for (at, char) in text.char_indices().filter(|(_, char)| is_unsafe(*char)) {
            self.0.write_string_fragment(writer, &text[from..at])?;
            for unit in char.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            from = at + char.len_utf8();
        }
        self.0.write_string_fragment(writer, &text[from..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text in which the characters that matter are frequent.
    fn hostile() -> impl Strategy<Value = String> {
        let special = prop::sample::select(vec![
            '\n',
            '\r',
            '\t',
            '\0',
            '\u{1b}',
            '\u{9b}',
            '\u{7f}',
            '\u{202e}',
            '\u{2066}',
            '\u{200b}',
            '\u{2028}',
            '\u{feff}',
            '\u{e0041}',
            '\\',
            '"',
            ',',
            'Đ',
            'x',
        ]);
        prop::collection::vec(prop_oneof![special, any::<char>()], 0..60)
            .prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn shows_nothing_that_moves_the_cursor_or_hides(text in hostile()) {
            prop_assert!(!shown(&text).chars().any(is_unsafe));
            prop_assert!(!shortened(&text, 20).chars().any(is_unsafe));
            prop_assert!(shortened(&text, 20).chars().count() <= 20);
        }

        #[test]
        fn shows_bytes_as_text_where_they_are_text(bytes in prop::collection::vec(any::<u8>(), 0..60), text in hostile()) {
            prop_assert!(!shown_bytes(&bytes).chars().any(is_unsafe));
            prop_assert_eq!(shown_bytes(text.as_bytes()), shown(&text));
        }

        #[test]
        fn json_is_exact_and_as_harmless(text in hostile()) {
            let line = json_line(&text).unwrap();
            prop_assert!(!line.chars().any(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }

    #[test]
    fn leaves_the_text_of_people_alone() {
        for text in ["Sở Nội vụ, điểm 3", "C:\\Windows\\cmd.exe /c \"dir\"", "naïve ✓ 日本語"]
        {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("a\nb\u{1b}[2J\u{202e}c"), "a\\nb\\x1b[2J\\u{202e}c");
        assert_eq!(shown_bytes(b"ok\xff\xfe"), "ok\\xff\\xfe");
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdefg", 6), "abcde…");
    }
}
