//! From a record's bytes to the text that parsers read: UTF-8, normalised to NFC.
//!
//! Vietnamese is typed both composed and decomposed; a rule or a search must not see the difference. ASCII and text that
//! is NFC already (nearly all of it) is borrowed. Bytes that are not UTF-8 become U+FFFD here; the record keeps them.

use std::borrow::Cow;

use simdutf8::basic::from_utf8;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match from_utf8(bytes) {
        Ok(text) => normalise(text),
        Err(_) => Cow::Owned(normalise(&String::from_utf8_lossy(bytes)).into_owned()),
    }
}

/// Text that a parser decoded out of a record (hexadecimal, escapes): what it decodes to is normalised like the rest.
pub(super) fn decode_owned(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) if is_nfc(&text) => text,
        Ok(text) => text.nfc().collect(),
        Err(error) => decode(error.as_bytes()).into_owned(),
    }
}

/// Text that a parser decoded, normalised like the rest.
pub(super) fn composed(text: Cow<'_, str>) -> Cow<'_, str> {
    if is_nfc(&text) { text } else { Cow::Owned(text.nfc().collect()) }
}

/// UTF-16 units that are looked at together.
const ASCII_BLOCK: usize = 16;

/// Appends UTF-16 (little-endian) up to its end or the first zero.
pub(super) fn push_utf16(out: &mut String, bytes: &[u8]) {
    let start = out.len();
    let mut units = bytes.as_chunks::<2>().0;
    // Nearly all of it is ASCII, and is taken by blocks.
    while let Some((block, rest)) = units.split_first_chunk::<ASCII_BLOCK>() {
        let low = block.map(|[low, _]| low);
        let is_text = block.iter().fold(true, |text, [low, high]| text & (*high == 0) & (*low != 0));
        let Some(ascii) = str::from_utf8(&low).ok().filter(|low| is_text && low.is_ascii()) else { break };
        out.push_str(ascii);
        units = rest;
    }
    while let Some(([low @ 1..0x80, 0], rest)) = units.split_first() {
        out.push(char::from(*low));
        units = rest;
    }
    if let [] | [[0, 0], ..] = units {
        return;
    }
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    let chars = char::decode_utf16(units.take_while(|unit| *unit != 0));
    out.extend(chars.map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)));
    if let Some(Cow::Owned(text)) = out.get(start..).map(normalise) {
        out.truncate(start);
        out.push_str(&text);
    }
}

/// Appends a number. Events have many, and the formatter of the standard library is slow.
pub(super) fn push_int(out: &mut String, int: i64) {
    let mut digits = [b'0'; 20];
    let (mut rest, mut count) = (int.unsigned_abs(), 0_usize);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' | u8::try_from(rest.rem_euclid(10)).unwrap_or_default();
        rest = rest.div_euclid(10);
        count = count.saturating_add(1);
        if rest == 0 {
            break;
        }
    }
    if int < 0 {
        out.push('-');
    }
    let written = digits.get(digits.len().saturating_sub(count)..).unwrap_or_default();
    out.push_str(str::from_utf8(written).unwrap_or_default());
}

/// Appends `0x` and a number in as few hexadecimal digits as it has.
pub(super) fn push_hex_number(out: &mut String, number: u64) {
    out.push_str("0x");
    let digits = 16_u32.saturating_sub(number.leading_zeros().div_euclid(4)).max(1);
    for digit in (0..digits).rev() {
        let nibble = number.checked_shr(digit.saturating_mul(4)).unwrap_or_default() & 0xf;
        out.push(char::from_digit(u32::try_from(nibble).unwrap_or_default(), 16).unwrap_or('0'));
    }
}

/// Appends a byte as two hexadecimal digits.
pub(super) fn push_hex(out: &mut String, byte: u8, upper: bool) {
    for nibble in [byte >> 4, byte & 0xf] {
        let digit = char::from_digit(nibble.into(), 16).unwrap_or('0');
        out.push(if upper { digit.to_ascii_uppercase() } else { digit });
    }
}

/// A character of Windows' Western code page.
pub(super) fn windows_1252(byte: u8) -> char {
    const FROM_80: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    let special = byte.checked_sub(0x80).and_then(|index| FROM_80.get(usize::from(index)));
    special.copied().unwrap_or(char::from(byte))
}

fn normalise(text: &str) -> Cow<'_, str> {
    if is_nfc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) }
}

fn is_nfc(text: &str) -> bool {
    // Without a way out: all of a text is looked at sooner than part of it byte by byte.
    text.bytes().fold(0, |all, byte| all | byte) < 0x80 || is_nfc_quick(text.chars()) == IsNormalized::Yes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_composed_and_decomposed_vietnamese_as_the_same_text() {
        let composed = "Nguy\u{1ec5}n";
        let decomposed = "Nguye\u{302}\u{303}n";
        assert_ne!(composed, decomposed);
        assert!(matches!(decode(composed.as_bytes()), Cow::Borrowed(_)));
        assert_eq!(decode(decomposed.as_bytes()), composed);
        assert_eq!(decode_owned(decomposed.into()), composed);
    }

    #[test]
    fn reads_utf_16_of_any_length_to_its_end_or_a_zero() {
        let read = |text: &str| {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let mut out = "before ".to_owned();
            push_utf16(&mut out, &bytes);
            out.split_off(7)
        };
        for length in 0..70 {
            let ascii: String = ('!'..='~').cycle().take(length).collect();
            assert_eq!(read(&ascii), ascii);
            assert_eq!(read(&format!("{ascii}\0x")), ascii);
            assert_eq!(read(&format!("{ascii}e\u{302}\u{303} 😀")), format!("{ascii}\u{1ec5} 😀"));
        }
        let mut out = String::new();
        push_utf16(&mut out, &[0x3d, 0xd8, b'a', 0, 7]);
        assert_eq!(out, "\u{fffd}a");
        assert_eq!([b'a', 0x80, 0x9f, 0xe9].map(windows_1252), ['a', '€', 'Ÿ', 'é']);
    }

    #[test]
    fn writes_numbers_like_the_standard_library() {
        for int in [0, 7, 10, -1, 4_294_967_296, i64::MIN, i64::MAX] {
            let mut out = String::new();
            push_int(&mut out, int);
            assert_eq!(out, int.to_string());
        }
        for number in [0, 7, 0x10, 0xfff, u64::MAX] {
            let mut out = String::new();
            push_hex_number(&mut out, number);
            assert_eq!(out, format!("{number:#x}"));
        }
        for byte in [0, 0x0f, 0xa5, 0xff] {
            let (mut lower, mut upper) = (String::new(), String::new());
            push_hex(&mut lower, byte, false);
            push_hex(&mut upper, byte, true);
            assert_eq!((lower, upper), (format!("{byte:02x}"), format!("{byte:02X}")));
        }
    }

    #[test]
    fn reads_bytes_that_are_not_utf_8() {
        assert_eq!(decode(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(decode_owned(b"a\xffb".to_vec()), "a\u{fffd}b");
    }
}
