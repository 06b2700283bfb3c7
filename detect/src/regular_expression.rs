//! A regular expression of a rule, in two forms. Both are compiled for the first text that asks for them.
//!
//! Classes such as `\w` and case folding mean Unicode's, which makes large automata. On ASCII text they mean no more than
//! ASCII's, and nearly all text of events is ASCII: for it there is a second, small form. An expression that names
//! characters beyond ASCII has one form only: without case, `ſ` is an `s`.
//!
//! A bad expression is told when its rule is loaded. For that it is parsed; only one that may be too large is compiled at once,
//! which says whether it is. [`largest`] knows of all others that they are not.
//!
//! What asks for many characters of one class in a row (`.{1000,}`, `[a-f0-9]{64}`) makes an automaton of as many states. In ASCII
//! text such a run is looked for first, which needs few looks at a text without it, and often nothing else is asked.
//!
//! Limits: [`REGEX_BYTES_MAX`] for each form. Matching is linear in the text (regex crate).

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder, bytes};
use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind, Repetition};
use regex_syntax::utf8::Utf8Sequences;

use crate::limits::REGEX_BYTES_MAX;

/// An expression that can be compiled.
#[derive(Debug)]
pub(crate) struct RegularExpression {
    pattern: Box<str>,
    /// None would be an expression that [`RegularExpression::new`] has refused.
    unicode: OnceLock<Option<Regex>>,
    /// None where the expression has no such form.
    ascii: OnceLock<Option<Ascii>>,
}

/// What a state of an automaton takes at most, with its transition.
const STATE_BYTES: usize = 40;

/// States that a part of an expression takes at most beside its characters: where it begins and ends, and the ways around it.
const PART_STATES: usize = 6;

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
        let is_small = regex_syntax::parse(pattern).is_ok_and(|hir| largest(&hir) <= REGEX_BYTES_MAX);
        let unicode = match is_small {
            true => OnceLock::new(),
            false => OnceLock::from(Some(compiled(pattern, REGEX_BYTES_MAX)?)),
        };
        Ok(Self { pattern: pattern.into(), unicode, ascii: OnceLock::new() })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.pattern
    }

    /// In the obvious way.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        let unicode = self.unicode.get_or_init(|| compiled(&self.pattern, usize::MAX).ok());
        unicode.as_ref().is_some_and(|expression| expression.is_match(text))
    }

    /// The same, faster.
    pub(crate) fn is_match_fast(&self, text: &str) -> bool {
        let ascii = if text.is_ascii() { self.ascii.get_or_init(|| ascii(self.as_str())) } else { &None };
        match ascii {
            Some(ascii) => ascii.is_match(text.as_bytes()),
            None => self.is_match(text),
        }
    }
}

fn compiled(pattern: &str, max: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(max).build()
}

/// How many bytes the automaton of an expression takes at most, by what its parts may need.
fn largest(hir: &Hir) -> usize {
    let own = match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Bytes(class)) => class.ranges().len(),
        HirKind::Class(Class::Unicode(class)) => class.iter().map(states_of_range).sum(),
        HirKind::Repetition(repetition) => {
            let one = largest(&repetition.sub).saturating_add(PART_STATES * STATE_BYTES);
            return one.saturating_mul(copies(repetition));
        }
        HirKind::Capture(_) | HirKind::Concat(_) | HirKind::Alternation(_) => 0,
    };
    let parts = hir.kind().subs().iter().map(largest);
    parts.fold(own.saturating_add(PART_STATES).saturating_mul(STATE_BYTES), usize::saturating_add)
}

/// How often what is repeated stands in the automaton.
fn copies(repetition: &Repetition) -> usize {
    let most = repetition.max.unwrap_or(repetition.min).max(1);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// A state for each byte of each sequence of bytes that spells characters of the range.
fn states_of_range(range: &ClassUnicodeRange) -> usize {
    Utf8Sequences::new(range.start(), range.end()).map(|sequence| sequence.len()).sum()
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
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const PARTS: [&str; 12] = [
        "powershell",
        ".",
        r"\w",
        r"\W",
        r"\d",
        r"\b",
        r"\pL",
        "[^x]",
        "[a-fđ-ộ]",
        "(?i:ks|ß)",
        "(a|b|)",
        r"(?-s:.)\.exe$",
    ];
    const REPEATS: [&str; 8] = ["", "", "?", "*", "+", "{0,3}", "{7}", "{2,40}"];

    proptest! {
        #[test]
        fn no_automaton_is_larger_than_was_said(
            parts in vec((select(&PARTS[..]), select(&REPEATS[..])), 1..6),
            joint in select(&["", "|", ")("][..]),
            flags in select(&["", "(?i)", "(?s)", "(?U)"][..]),
        ) {
            let repeated: Vec<String> = parts.iter().map(|(part, repeat)| format!("(?:{part}){repeat}")).collect();
            let pattern = format!("{flags}({})", repeated.join(joint));
            let most = largest(&regex_syntax::parse(&pattern)?);
            let built = compiled(&pattern, most);
            prop_assert!(built.is_ok(), "{pattern}: {most}: {built:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_told_at_once() {
        for pattern in [r"(?:\w{100}){100}", r"(?:[^a]{1000}){1000}"] {
            assert!(
                matches!(RegularExpression::new(pattern), Err(regex::Error::CompiledTooBig(_))),
                "{pattern}"
            );
        }
        assert!(matches!(RegularExpression::new("a("), Err(regex::Error::Syntax(_))));
    }

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
