//! A regular expression of a rule, compiled twice: once with its rule, so that a bad one is told, and once for its first text.
//!
//! Classes such as `\w` and case folding mean Unicode's, which makes large automata. On ASCII text they mean no more than
//! ASCII's, and nearly all text of events is ASCII: for it there is a second, small form. An expression that names
//! characters beyond ASCII has one form only: without case, `ſ` is an `s`.
//!
//! What asks for many characters of one class in a row (`.{1000,}`, `[a-f0-9]{64}`) makes an automaton of as many states. In ASCII
//! text such a run is looked for first, which needs few looks at a text without it, and often nothing else is asked.
//!
//! Limits: [`REGEX_BYTES_MAX`] for each form. Matching is linear in the text (regex crate).

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder, bytes};
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::limits::REGEX_BYTES_MAX;

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct RegularExpression {
    unicode: Regex,
    /// None where the expression has no such form.
    ascii: OnceLock<Option<Ascii>>,
}

/// Shortest run that is looked for first: shorter ones are in many texts.
const RUN_MIN: usize = 16;

/// What is asked of ASCII text: both, where both are there.
#[derive(Debug)]
struct Ascii {
    run: Option<Run>,
    expression: Option<bytes::Regex>,
}

/// So many characters of one class in a row.
#[derive(Debug)]
struct Run {
    /// A bit for each character of ASCII.
    class: u128,
    least: usize,
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
fn ascii(pattern: &str) -> Option<Ascii> {
    let hir = regex_syntax::parse(pattern).ok()?;
    if let Some(run) = Run::of(&hir) {
        return Some(Ascii { run: Some(run), expression: None });
    }
    if !names_only_ascii(pattern) {
        return None;
    }
    let small = bytes::RegexBuilder::new(pattern).unicode(false).size_limit(REGEX_BYTES_MAX).build().ok()?;
    Some(Ascii { run: Run::within(&hir), expression: Some(small) })
}

impl Ascii {
    fn is_match(&self, text: &[u8]) -> bool {
        self.run.as_ref().is_none_or(|run| run.is_in(text))
            && self.expression.as_ref().is_none_or(|expression| expression.is_match(text))
    }
}

impl Run {
    /// What the expression asks for, if that is all.
    fn of(hir: &Hir) -> Option<Self> {
        match hir.kind() {
            HirKind::Capture(capture) => Self::of(&capture.sub),
            // A longer run has the shorter in it, so it does not matter how long it may be at most.
            HirKind::Repetition(repetition) if repetition.min > 0 => {
                let least = usize::try_from(repetition.min).ok()?;
                class_of(&repetition.sub).map(|class| Self { class, least })
            }
            _ => None,
        }
    }

    /// The longest that no match can lack.
    fn within(hir: &Hir) -> Option<Self> {
        match hir.kind() {
            HirKind::Capture(capture) => Self::within(&capture.sub),
            HirKind::Concat(parts) => parts.iter().filter_map(Self::within).max_by_key(|run| run.least),
            _ => Self::of(hir).filter(|run| run.least >= RUN_MIN),
        }
    }

    /// Windows of the text are looked at from their ends: what is not of the class moves the next one behind it.
    fn is_in(&self, text: &[u8]) -> bool {
        let is_foreign = |byte: &u8| self.class.checked_shr(u32::from(*byte)).unwrap_or_default() & 1 == 0;
        let mut rest = text;
        while let Some(window) = rest.get(..self.least) {
            let Some(foreign) = window.iter().rposition(is_foreign) else { return true };
            rest = rest.get(foreign.saturating_add(1)..).unwrap_or_default();
        }
        false
    }
}

/// The characters of ASCII in a class.
fn class_of(hir: &Hir) -> Option<u128> {
    match hir.kind() {
        HirKind::Capture(capture) => class_of(&capture.sub),
        HirKind::Class(Class::Unicode(class)) => {
            let is_in = |byte: &u8| {
                class.iter().any(|range| (range.start()..=range.end()).contains(&char::from(*byte)))
            };
            Some((0..128).filter(is_in).fold(0, |bits, byte| bits | 1 << byte))
        }
        _ => None,
    }
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
            ".{3,}",
            "(.){2}",
            "[^xK]{2,3}",
            "(?i)k{2,}",
            "(?s).{4}",
            "[ßé]{2}",
            ".{0,2}",
            "(?:.{3})$",
            r"\s[a-f]{16}\s",
            "x([a-f]{16,}|y)",
        ];
        let run = "abcdefabcdefabcd";
        let texts = [
            "a`b`c",
            "Kxs",
            "kas",
            "a\nß",
            "Đ",
            "AX",
            "Ax",
            "S",
            "s",
            "ſ",
            "",
            "\u{212a}xs",
            "x\n",
            "é",
            "kKk",
            "ab\ncd",
            "a\nbcd",
            "xx",
            "abcd",
        ];
        let around = [
            format!(" {run} "),
            format!("x{run}"),
            format!("{run}{run}"),
            format!(" {}! ", &run[1..]),
            "xy".to_owned(),
        ];
        for pattern in patterns {
            let expression = RegularExpression::new(pattern)?;
            for text in texts.into_iter().chain(around.iter().map(String::as_str)) {
                assert_eq!(expression.is_match_fast(text), expression.is_match(text), "{pattern} on {text}");
            }
        }
        Ok(())
    }
}
