//! One record as a line of JSON (RFC 8259), written straight into a buffer.
//!
//! Names come from the code and need no escapes; text comes from the network and gets them. What is not UTF-8 is replaced
//! by U+FFFD. A text is cut at [`TEXT_BYTES_MAX`], so that a line of some dozens of fields stays a record
//! ([`RECORD_BYTES_MAX`](crate::RECORD_BYTES_MAX)).

use std::fmt::{Display, Write as _};
use std::io::Write as _;

/// Longest text of a field: a request target, a name, a banner. Servers refuse request lines above 8 KiB.
pub(super) const TEXT_BYTES_MAX: usize = 8 * 1024;

/// A line under way; [`Line::end`] closes it.
pub(super) struct Line<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Line<'o> {
    /// Begins a line with the kind of record that it is.
    pub(super) fn begin(out: &'o mut Vec<u8>, kind: &'static str) -> Self {
        out.extend_from_slice(b"{\"kind\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.push(b'"');
        Self { out }
    }

    /// Begins some fields of a line that is not to be written yet; [`Line::fields`] puts them into it later.
    pub(super) fn part(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Fields that were written apart.
    pub(super) fn fields(&mut self, part: &[u8]) {
        self.out.extend_from_slice(part);
    }

    /// A number or a truth value.
    pub(super) fn plain(&mut self, name: &'static str, value: impl Display) {
        self.name(name);
        // A vector takes all that is written.
        let _taken = write!(self.out, "{value}");
    }

    /// As [`Line::plain`], unless it is zero: what is absent is zero.
    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        if value != 0 {
            self.plain(name, value);
        }
    }

    /// What is written as text and needs no escapes: an address, a name out of the code.
    pub(super) fn word(&mut self, name: &'static str, value: impl Display) {
        self.name(name);
        let _taken = write!(self.out, "\"{value}\"");
    }

    /// Text from the network, unless it is empty.
    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.name(name);
            self.quoted(value);
        }
    }

    /// Several texts from the network under one name, unless there are none.
    pub(super) fn texts(&mut self, name: &'static str, values: impl IntoIterator<Item = impl Display>) {
        let mut values = values.into_iter();
        let Some(first) = values.next() else { return };
        self.name(name);
        self.out.push(b'[');
        self.quoted(first);
        for value in values {
            self.out.push(b',');
            self.quoted(value);
        }
        self.out.push(b']');
    }

    pub(super) fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }

    fn name(&mut self, name: &'static str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn quoted(&mut self, value: impl Display) {
        self.out.push(b'"');
        let _full = write!(Escaped { out: self.out, left: TEXT_BYTES_MAX }, "{value}");
        self.out.push(b'"');
    }
}

/// Puts text into a string of JSON, and refuses more once [`TEXT_BYTES_MAX`] is there.
struct Escaped<'o> {
    out: &'o mut Vec<u8>,
    left: usize,
}

impl std::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let kept = text.get(..text.floor_char_boundary(self.left)).unwrap_or_default();
        self.left = self.left.saturating_sub(kept.len());
        let mut rest = kept;
        // Nearly all text goes in as it is.
        while let Some(at) = rest.bytes().position(|byte| matches!(byte, ..b' ' | b'"' | b'\\')) {
            let (plain, special) = rest.split_at(at);
            self.out.extend_from_slice(plain.as_bytes());
            let mut special = special.chars();
            if let Some(character) = special.next() {
                self.escape(character);
            }
            rest = special.as_str();
        }
        self.out.extend_from_slice(rest.as_bytes());
        if kept.len() == text.len() { Ok(()) } else { Err(std::fmt::Error) }
    }
}

impl Escaped<'_> {
    fn escape(&mut self, character: char) {
        match character {
            '"' => self.out.extend_from_slice(b"\\\""),
            '\\' => self.out.extend_from_slice(b"\\\\"),
            control => {
                // A vector takes all that is written.
                let _taken =
                    std::io::Write::write_fmt(self.out, format_args!("\\u{:04x}", u32::from(control)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn leaves_out_what_is_empty_and_cuts_what_is_long() {
        let mut out = Vec::new();
        let mut line = Line::begin(&mut out, "flow");
        line.number("zero", 0);
        line.text("nothing", "");
        line.texts("none", [""; 0]);
        line.word("ip", "::1");
        line.text("long", &"ế".repeat(TEXT_BYTES_MAX));
        line.end();
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read.as_object().unwrap().keys().collect::<Vec<_>>(), ["kind", "ip", "long"]);
        assert_eq!(read["long"].as_str().unwrap().len(), TEXT_BYTES_MAX / 3 * 3);
    }

    proptest! {
        #[test]
        fn writes_what_a_reader_of_json_reads(texts in prop::collection::vec("\\PC*|[\\x00-\\x7f]*", 0..4), number in 1_u64..) {
            let mut out = Vec::new();
            let mut line = Line::begin(&mut out, "dns");
            line.number("n", number);
            line.texts("t", texts.iter().map(String::as_str));
            line.end();
            prop_assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read["n"].as_u64(), Some(number));
            let found: Vec<_> = read["t"].as_array().into_iter().flatten().map(|t| t.as_str().unwrap().to_owned()).collect();
            prop_assert_eq!(found, texts);
        }
    }
}
