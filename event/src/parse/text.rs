//! From a record's bytes to the text that parsers read: UTF-8, normalised to NFC.
//!
//! Vietnamese is typed both composed and decomposed; a rule or a search must not see the difference. ASCII and text that
//! is NFC already (nearly all of it) is borrowed. Bytes that are not UTF-8 become U+FFFD here; the record keeps them.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(text) => normalise(text),
        Cow::Owned(text) if is_nfc(&text) => Cow::Owned(text),
        Cow::Owned(text) => Cow::Owned(text.nfc().collect()),
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

pub(super) fn normalise(text: &str) -> Cow<'_, str> {
    if is_nfc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) }
}

fn is_nfc(text: &str) -> bool {
    text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes
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
    fn reads_bytes_that_are_not_utf_8() {
        assert_eq!(decode(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(decode_owned(b"a\xffb".to_vec()), "a\u{fffd}b");
    }
}
