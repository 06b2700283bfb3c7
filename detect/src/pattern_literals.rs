//! Literals that no match of a regular expression can lack.
//!
//! The expression is parsed (`regex-syntax`, as the regex crate does) and walked: of a sequence the longest run of fixed characters
//! counts, of an alternative one of each branch. A class is a fixed character when all its members fold to the same one, so
//! that `(?i)` costs nothing.
//!
//! Limits: at most [`ALTERNATIVES_MAX`] literals. What it cannot see through (`.*`, `[a-z]+`, `x?`) it leaves out: fewer
//! requirements than the expression has, never more.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::text::lowered;

/// Most literals of one expression, one of which must stand in a match.
const ALTERNATIVES_MAX: usize = 64;

/// Folded literals of which every match holds at least one. `None`: nothing is sure.
pub(crate) fn required(pattern: &str) -> Option<Vec<String>> {
    of(&regex_syntax::parse(pattern).ok()?)
}

fn of(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Alternation(branches) => {
            let sets = branches.iter().map(of).collect::<Option<Vec<_>>>()?.concat();
            (sets.len() <= ALTERNATIVES_MAX).then_some(sets)
        }
        HirKind::Repetition(repetition) if repetition.min == 0 => None,
        HirKind::Repetition(repetition) => of(&repetition.sub),
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Empty | HirKind::Look(_) => None,
        HirKind::Literal(_) | HirKind::Class(_) | HirKind::Concat(_) => {
            let mut sequence = Sequence::default();
            sequence.walk(hir);
            sequence.finish()
        }
    }
}

/// A sequence under way: the run of fixed characters that may go on, and the best that was seen.
#[derive(Default)]
struct Sequence {
    run: String,
    best: Option<Vec<String>>,
}

impl Sequence {
    fn walk(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.walk(part)),
            HirKind::Capture(capture) => self.walk(&capture.sub),
            // Between two characters, and no character itself.
            HirKind::Empty | HirKind::Look(_) => {}
            _ => match fixed(hir) {
                Some(text) => self.run.push_str(&text),
                None => {
                    self.end_run();
                    self.offer(match hir.kind() {
                        HirKind::Literal(_) | HirKind::Class(_) => None,
                        _ => of(hir),
                    });
                }
            },
        }
    }

    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        self.offer((!run.is_empty()).then(|| vec![run]));
    }

    fn offer(&mut self, set: Option<Vec<String>>) {
        let shortest = |set: &Option<Vec<String>>| {
            set.as_ref().map(|set| set.iter().map(String::len).min().unwrap_or_default())
        };
        if shortest(&set) > shortest(&self.best) {
            self.best = set;
        }
    }

    fn finish(mut self) -> Option<Vec<String>> {
        self.end_run();
        self.best
    }
}

/// The folded text that this is whatever it matches.
fn fixed(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(lowered),
        HirKind::Class(Class::Unicode(class)) => {
            let mut members = class
                .iter()
                .flat_map(|range| range.start()..=range.end())
                .take(8)
                .map(|char| lowered(char.encode_utf8(&mut [0; 4])));
            let first = members.next()?;
            let few = class.iter().map(|range| range.len()).sum::<usize>() < 8;
            (few && members.all(|member| member == first)).then_some(first)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_no_match_can_lack() {
        let cases: [(&str, &[&str]); 12] = [
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
            ("[a-z]+", &[]),
            ("(foo)?", &[]),
        ];
        for (pattern, expected) in cases {
            assert_eq!(required(pattern).unwrap_or_default(), expected, "{pattern}");
        }
    }

    #[test]
    fn takes_no_more_than_its_limit() {
        let literals = |count: usize| {
            // Ends that differ first: the parser finds no common prefix, and makes no class of them.
            let branches: Vec<String> = (0..count).map(|number| format!("{}x", number + 10)).collect();
            required(&format!("(?:{}|[a-z]+yz)", branches.join("|")))
        };
        assert_eq!(literals(ALTERNATIVES_MAX - 1).map(|set| set.len()), Some(ALTERNATIVES_MAX));
        assert_eq!(literals(ALTERNATIVES_MAX), None);
        assert!(required("[a-z]x|y").is_some_and(|set| set == ["x", "y"]));
    }
}
