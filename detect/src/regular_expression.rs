//! A regular expression of a rule, compiled twice: once with its rule, so that a bad one is told, and once for its first text.
//!
//! Classes such as `\w` and case folding mean Unicode's, which makes large automata. On ASCII text they mean no more than
//! ASCII's, and nearly all text of events is ASCII: for it there is a second, small form. An expression that names
//! characters beyond ASCII has one form only: without case, `ſ` is an `s`.
//!
//! Limits: [`REGEX_BYTES_MAX`] for each form. Matching is linear in the text (regex crate).

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder, bytes};

use crate::limits::REGEX_BYTES_MAX;

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct RegularExpression {
    unicode: Regex,
    /// None where the expression has no such form.
    ascii: OnceLock<Option<bytes::Regex>>,
}

impl RegularExpression {
    pub(crate) fn new(pattern: &str) -> Result<Self, regex::Error> {
        let unicode = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build()?;
        Ok(Self { unicode, ascii: OnceLock::new() })
    }

    pub(crate) fn as_str(&self) -> &str {
        self.unicode.as_str()
    }

    /// In the obvious way.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.unicode.is_match(text)
    }

    /// The same, faster.
    pub(crate) fn is_match_fast(&self, text: &str) -> bool {
        let ascii = if text.is_ascii() { self.ascii.get_or_init(|| ascii(self.as_str())) } else { &None };
        match ascii {
            Some(ascii) => ascii.is_match(text.as_bytes()),
            None => self.unicode.is_match(text),
        }
    }
}

/// The small form, where there is one.
fn ascii(pattern: &str) -> Option<bytes::Regex> {
    if !names_only_ascii(pattern) {
        return None;
    }
    bytes::RegexBuilder::new(pattern).unicode(false).size_limit(REGEX_BYTES_MAX).build().ok()
}

/// Whether it has no character beyond ASCII, and no escape that may be one.
fn names_only_ascii(pattern: &str) -> bool {
    pattern.is_ascii() && ![r"\x", r"\u", r"\U"].iter().any(|escape| pattern.contains(escape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() -> Result<(), regex::Error> {
        let patterns = [
            r"\w+`(?:\w+|-|.)`[\w+|\s]",
            r"(?i)\bk[^a]s\b",
            r"(?s)\Aa.*ß\z",
            r"[đĐ]",
            r"\p{Lu}x",
            r"(?i)ſ",
            r"(?i)\x{17f}",
            "^.$",
        ];
        let texts =
            ["a`b`c", "Kxs", "kas", "a\nß", "Đ", "AX", "Ax", "S", "s", "ſ", "", "\u{212a}xs", "x\n", "é"];
        for pattern in patterns {
            let expression = RegularExpression::new(pattern)?;
            for text in texts {
                assert_eq!(expression.is_match_fast(text), expression.is_match(text), "{pattern} on {text}");
            }
        }
        Ok(())
    }
}
