//! What of a feed did not load, and why. A feed repeats its faults as it repeats its words, so each reason is kept once, with
//! its number and the first place.
//!
//! Limits: [`REASONS_MAX`] reasons a feed; what comes after is counted under one.

use std::fmt::{self, Display};
use std::path::PathBuf;

use thiserror::Error;

/// Reasons of one feed that are told apart: kinds of attributes and of faulty values, some dozens at most.
const REASONS_MAX: usize = 64;
/// Characters of a faulty value that are shown.
const VALUE_CHARS_MAX: usize = 80;

/// Why a file of a feed cannot be read at all.
#[derive(Debug, Error)]
pub(crate) enum FeedError {
    #[error("{}: expected a file, a folder or a pattern that finds some; there is none", path.display())]
    Missing { path: PathBuf },
    #[error("{}: more than {max} files", path.display())]
    TooManyFiles { path: PathBuf, max: usize },
    #[error("{}: more than {max} bytes, decompressed: the rest is not read", path.display())]
    TooLong { path: PathBuf, max: u64 },
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: expected {expected}: {detail}", path.display())]
    Malformed { path: PathBuf, expected: &'static str, detail: String },
}

/// Where in a file an entry stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Line(u64),
    /// Of a bundle's `objects`, from 0.
    Object(usize),
    /// Of an event's attributes, its objects' behind its own, from 0.
    Attribute(usize),
}

/// Entries that did not load for one reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    pub(crate) reason: String,
    pub(crate) count: u64,
    /// Place and value of the first.
    pub(crate) first: String,
}

/// All of a feed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, reason: String, path: &str, place: Place, value: &str) {
        let known = self.0.iter().position(|fault| fault.reason == reason);
        let known = known.or_else(|| (self.0.len() >= REASONS_MAX).then_some(REASONS_MAX - 1));
        match known.and_then(|at| self.0.get_mut(at)) {
            Some(fault) => fault.count += 1,
            None => {
                let is_last = self.0.len() + 1 == REASONS_MAX;
                let reason = if is_last { "other reasons".to_owned() } else { reason };
                let value: String = value.chars().take(VALUE_CHARS_MAX).collect();
                self.0.push(Fault { reason, count: 1, first: format!("{path}{place}: {value}") });
            }
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|fault| fault.count).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(out, ":{line}"),
            Self::Object(index) => write!(out, ": objects[{index}]"),
            Self::Attribute(index) => write!(out, ": attribute {index}"),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} × {} (first: {})", self.count, self.reason, self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_reason_once_and_keeps_no_more_reasons_than_its_limit() {
        let mut faults = Faults::default();
        faults.add("expected x".into(), "a.csv", Place::Line(3), "y");
        faults.add("expected x".into(), "a.csv", Place::Line(4), "z");
        assert_eq!(
            faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["2 × expected x (first: a.csv:3: y)"]
        );
        for number in 0..REASONS_MAX * 2 {
            faults.add(number.to_string(), "a.csv", Place::Line(5), "y");
        }
        assert_eq!(faults.iter().count(), REASONS_MAX);
        assert_eq!(faults.count(), 2 + 2 * REASONS_MAX as u64);
        assert_eq!(faults.iter().last().map(|fault| &*fault.reason), Some("other reasons"));
    }
}
