//! From a record's bytes to the text that parsers read: UTF-8, normalised to NFC.
//!
//! Vietnamese is typed both composed and decomposed; a rule or a search must not see the difference. ASCII and text that
//! is NFC already (nearly all of it) is borrowed. Bytes that are not UTF-8 become U+FFFD here; the record keeps them.

use std::borrow::Cow;

use simdutf8::basic::from_utf8;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    composed(utf8(bytes))
}

/// Text as it is written, which need not be in NFC.
pub(super) fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    match from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(String::from_utf8_lossy(bytes).into_owned()),
    }
}

/// Text in NFC, but for signs that parsers look for: `user=` stays that, even before a mark that makes `≠` of its sign.
pub(super) fn composed_apart(text: &str) -> String {
    text.split_inclusive(['<', '=', '>']).flat_map(UnicodeNormalization::nfc).collect()
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
const ASCII_BLOCK: usize = 32;

/// Appends UTF-16 (little-endian) up to its end or the first zero, as UTF-8.
pub(super) fn push_utf16(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    let mut units = bytes.as_chunks::<2>().0;
    // Nearly all of it is ASCII, and is taken by blocks.
    while let Some((block, rest)) = units.split_first_chunk::<ASCII_BLOCK>() {
        if !is_ascii(block) {
            return push_any_utf16(out, start, units);
        }
        out.extend_from_slice(&block.map(|[low, _]| low));
        units = rest;
    }
    if !is_ascii(units) {
        return push_any_utf16(out, start, units);
    }
    out.extend(units.iter().map(|[low, _]| *low));
}

/// Whether all units are ASCII and none is zero.
fn is_ascii(units: &[[u8; 2]]) -> bool {
    units.iter().fold(true, |text, [low, high]| text & (*high == 0) & (*low != 0) & (*low < 0x80))
}

/// Appends the rest of a text that starts at `start`.
fn push_any_utf16(out: &mut Vec<u8>, start: usize, units: &[[u8; 2]]) {
    let mut text = str::from_utf8(out.get(start..).unwrap_or_default()).unwrap_or_default().to_owned();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    let chars = char::decode_utf16(units.take_while(|unit| *unit != 0));
    text.extend(chars.map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)));
    out.truncate(start);
    out.extend_from_slice(composed(Cow::Borrowed(&text)).as_bytes());
}

/// Appends a number. Events have many, and the formatter of the standard library is slow.
pub(super) fn push_int(out: &mut Vec<u8>, int: i64) {
    if int < 0 {
        out.push(b'-');
    }
    push_digits(out, int.unsigned_abs(), 1);
}

/// Appends a number in at least so many digits.
pub(super) fn push_digits(out: &mut Vec<u8>, number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let (mut rest, mut count) = (number, 0_usize);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' | u8::try_from(rest.rem_euclid(10)).unwrap_or_default();
        rest = rest.div_euclid(10);
        count = count.saturating_add(1);
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len().saturating_sub(count.max(width))..).unwrap_or_default());
}

/// Appends `0x` and a number in as few hexadecimal digits as it has.
pub(super) fn push_hex_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(b"0x");
    let mut digits = [0; 16];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(number.to_be_bytes()) {
        *pair = hex(byte);
    }
    let zeros = usize::try_from(number.leading_zeros().div_euclid(4)).unwrap_or_default().min(15);
    out.extend_from_slice(digits.get(zeros..).unwrap_or_default());
}

/// A byte as two hexadecimal digits.
pub(super) fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [byte >> 4, byte & 0xf].map(|nibble| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'))
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

/// Whether text is surely in NFC.
pub(super) fn is_nfc(text: &str) -> bool {
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
            let mut out = b"before ".to_vec();
            push_utf16(&mut out, &bytes);
            String::from_utf8(out).unwrap().split_off(7)
        };
        for length in 0..70 {
            let ascii: String = ('!'..='~').cycle().take(length).collect();
            assert_eq!(read(&ascii), ascii);
            assert_eq!(read(&format!("{ascii}\0x")), ascii);
            assert_eq!(read(&format!("{ascii}e\u{302}\u{303} 😀")), format!("{ascii}\u{1ec5} 😀"));
        }
        let mut out = Vec::new();
        push_utf16(&mut out, &[0x3d, 0xd8, b'a', 0, 7]);
        assert_eq!(out, "\u{fffd}a".as_bytes());
        assert_eq!([b'a', 0x80, 0x9f, 0xe9].map(windows_1252), ['a', '€', 'Ÿ', 'é']);
    }

    #[test]
    fn writes_numbers_like_the_standard_library() {
        for int in [0, 7, 10, -1, 4_294_967_296, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            push_int(&mut out, int);
            assert_eq!(out, int.to_string().as_bytes());
        }
        for number in [0, 7, 0x10, 0xfff, u64::MAX] {
            let mut out = Vec::new();
            push_hex_number(&mut out, number);
            assert_eq!(out, format!("{number:#x}").as_bytes());
        }
        for byte in [0, 0x0f, 0xa5, 0xff] {
            assert_eq!(hex(byte), *format!("{byte:02x}").as_bytes());
        }
    }

    #[test]
    fn reads_bytes_that_are_not_utf_8() {
        assert_eq!(decode(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(decode_owned(b"a\xffb".to_vec()), "a\u{fffd}b");
    }
}
