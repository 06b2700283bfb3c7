//! Literals that no match of a regular expression can lack.
//!
//! The expression is parsed (`regex-syntax`, as the regex crate does) and walked: of a sequence the longest runs of fixed characters
//! count, of an alternative one of each branch. A class of few characters makes variants of the run; those that fold to the same
//! one are one, so that `(?i)` costs nothing.
//!
//! Limits: at most [`ALTERNATIVES_MAX`] literals, [`RUN_VARIANTS_MAX`] variants of a run. What it cannot see through (`.*`,
//! `[a-z]+`, `x?`) it leaves out: fewer requirements than the expression has, never more.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::text::lowered;

/// Most literals of one expression, one of which must stand in a match.
const ALTERNATIVES_MAX: usize = 64;

/// Most texts that a run of characters with a choice among few of them is taken for: `\.[ "']` is three.
const RUN_VARIANTS_MAX: usize = 4;

/// Most sets of literals of one expression: the first two say nearly all.
const SETS_MAX: usize = 3;

/// What no match of an expression can lack.
#[derive(Debug, Default)]
pub(crate) struct Required {
    /// Sets of folded literals: every match holds at least one of each. Those with the longest literals come first.
    pub(crate) sets: Vec<Vec<String>>,
    /// Bytes of UTF-8 that every match has at least.
    pub(crate) bytes_min: usize,
}

impl Required {
    pub(crate) fn of(pattern: &str) -> Self {
        let Ok(hir) = regex_syntax::parse(pattern) else { return Self::default() };
        let bytes_min = hir.properties().minimum_len().unwrap_or_default();
        Self { sets: of(&hir), bytes_min }
    }
}

fn of(hir: &Hir) -> Vec<Vec<String>> {
    match hir.kind() {
        HirKind::Alternation(branches) => {
            let first = |branch| of(branch).into_iter().next();
            let set = branches.iter().map(first).collect::<Option<Vec<_>>>().unwrap_or_default().concat();
            if (1..=ALTERNATIVES_MAX).contains(&set.len()) { vec![set] } else { Vec::new() }
        }
        HirKind::Repetition(repetition) if repetition.min == 0 => Vec::new(),
        HirKind::Repetition(repetition) => of(&repetition.sub),
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Empty | HirKind::Look(_) => Vec::new(),
        HirKind::Literal(_) | HirKind::Class(_) | HirKind::Concat(_) => {
            let mut sequence = Sequence::default();
            sequence.walk(hir);
            sequence.finish()
        }
    }
}

/// A sequence under way: the run of fixed characters that may go on, in its variants, and the sets that were seen.
#[derive(Default)]
struct Sequence {
    run: Vec<String>,
    sets: Vec<Vec<String>>,
}

impl Sequence {
    fn walk(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.walk(part)),
            HirKind::Capture(capture) => self.walk(&capture.sub),
            // Between two characters, and no character itself.
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Repetition(repetition) if (repetition.min, repetition.max) == (1, Some(1)) => {
                self.walk(&repetition.sub);
            }
            _ => match fixed(hir) {
                Some(texts) => self.add(&texts),
                None => {
                    self.end_run();
                    if !matches!(hir.kind(), HirKind::Literal(_) | HirKind::Class(_)) {
                        self.sets.extend(of(hir));
                    }
                }
            },
        }
    }

    /// One of these texts follows.
    fn add(&mut self, texts: &[String]) {
        if self.run.len().saturating_mul(texts.len()) > RUN_VARIANTS_MAX {
            self.end_run();
        }
        let before = match std::mem::take(&mut self.run) {
            none if none.is_empty() => vec![String::new()],
            run => run,
        };
        self.run =
            before.iter().flat_map(|run| texts.iter().map(move |text| format!("{run}{text}"))).collect();
    }

    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        self.sets.extend((!run.is_empty()).then_some(run));
    }

    fn finish(mut self) -> Vec<Vec<String>> {
        self.end_run();
        let shortest = |set: &Vec<String>| set.iter().map(String::len).min().unwrap_or_default();
        self.sets.sort_by_key(|set| std::cmp::Reverse(shortest(set)));
        self.sets.dedup();
        self.sets.truncate(SETS_MAX);
        self.sets
    }
}

/// The folded texts of which this is one, whatever it matches.
fn fixed(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(|text| vec![lowered(text)]),
        HirKind::Class(Class::Unicode(class)) => {
            let count: usize = class.iter().map(|range| range.len()).sum();
            if count > RUN_VARIANTS_MAX {
                return None;
            }
            let members = class.iter().flat_map(|range| range.start()..=range.end());
            let mut texts: Vec<String> = members.map(|char| lowered(char.encode_utf8(&mut [0; 4]))).collect();
            texts.sort_unstable();
            texts.dedup();
            (!texts.is_empty()).then_some(texts)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_no_match_can_lack() {
        let cases: [(&str, &[&str]); 16] = [
            ("abc", &["abc"]),
            ("(?i)Sekurlsa::", &["sekurlsa::"]),
            (r"a.*power\bshell[0-9]+x", &["powershell"]),
            ("(foo|barbaz)+qu", &["foo", "barbaz"]),
            ("(foo|bar?)x", &["foo", "ba"]),
            (r"\A(?s)net\z", &["net"]),
            ("x{2,}longer", &["longer"]),
            ("[Đđ]ăng", &["đăng"]),
            ("a+b*", &["a"]),
            (r"\\\\[^\\]+\\admin\$", &[r"\admin$"]),
            (r"\\[a-z]+\.[a-z]+\.[ '1]{1}", &[". ", ".'", ".1"]),
            ("[ab][cd][ef][gh][ij]", &["ac", "ad", "bc", "bd"]),
            (r"a[0-9]bc", &["bc"]),
            ("[ab]+c", &["a", "b"]),
            ("[a-z]+", &[]),
            ("(foo)?", &[]),
        ];
        for (pattern, expected) in cases {
            assert_eq!(
                Required::of(pattern).sets.first().map_or(&[] as &[String], Vec::as_slice),
                expected,
                "{pattern}"
            );
        }
    }

    #[test]
    fn takes_no_more_than_its_limit() {
        let literals = |count: usize| {
            // Ends that differ first: the parser finds no common prefix, and makes no class of them.
            let branches: Vec<String> = (0..count).map(|number| format!("{}x", number + 10)).collect();
            Required::of(&format!("(?:{}|[a-z]+yz)", branches.join("|"))).sets.concat()
        };
        assert_eq!(literals(ALTERNATIVES_MAX - 1).len(), ALTERNATIVES_MAX);
        assert_eq!(literals(ALTERNATIVES_MAX), [""; 0]);
        assert_eq!(Required::of("[a-z]x|y").sets, [["x", "y"]]);
    }

    #[test]
    fn knows_all_that_a_sequence_needs() {
        let sets = |pattern: &str| Required::of(pattern).sets;
        assert_eq!(sets(r"ipconfig.*\|.*find.*find"), [vec!["ipconfig"], vec!["find"], vec!["|"]]);
        assert_eq!(sets("a(bc|cd).*(e|ff)g?"), [vec!["bc", "cd"], vec!["a"], vec!["e", "ff"]]);
        assert_eq!(sets("(x.*y)?z"), [["z"]]);
    }

    #[test]
    fn knows_the_shortest_match() {
        for (pattern, bytes) in [("", 0), ("a{3}b?", 3), (r"\s[a-f0-9]{64}\s", 66), ("đ|abc", 2)] {
            assert_eq!(Required::of(pattern).bytes_min, bytes, "{pattern}");
        }
    }
}
