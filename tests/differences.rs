//! Where we and another program are known to differ: tables of tests/data. A line is one difference, its last column the reason.
//!
//! A difference that stands in no table fails, and so does a line that is a difference no longer: what fails is shown as the
//! line that should stand there, or stands there in vain.

use std::collections::BTreeMap;
use std::fs;

use crate::site::root;

/// A table, and what was found beyond it.
pub(crate) struct Differences {
    table: &'static str,
    /// Reasons by difference.
    known: BTreeMap<String, String>,
    new: Vec<String>,
}

impl Differences {
    /// A table of tests/data.
    pub(crate) fn of(table: &'static str) -> Self {
        let text = fs::read_to_string(root().join("tests/data").join(table)).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let split = |line: &str| {
            let (difference, why) =
                line.rsplit_once('\t').unwrap_or_else(|| panic!("{table}: no reason: {line}"));
            assert!(!why.trim().is_empty(), "{table}: no reason: {line}");
            (difference.to_owned(), why.to_owned())
        };
        Self { table, known: lines.map(split).collect(), new: Vec::new() }
    }

    /// Takes a difference; its columns have tabs between.
    pub(crate) fn found(&mut self, difference: String) {
        if self.known.remove(&difference).is_none() {
            self.new.push(difference);
        }
    }

    /// Fails when the table is not what was found.
    pub(crate) fn end(self) {
        let Self { table, known, new } = self;
        let stale: Vec<_> = known.into_keys().collect();
        assert!(
            new.is_empty() && stale.is_empty(),
            "{} differences that {table} does not explain:\n{}\n{} lines of it that are none:\n{}",
            new.len(),
            new.join("\n"),
            stale.len(),
            stale.join("\n")
        );
    }
}
