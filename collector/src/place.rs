//! Where something stands in a text: line and column as an editor counts them, from 1.

use std::fmt;

/// Where the lines of a text begin.
#[derive(Clone, Debug)]
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

/// A line and a column in characters.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl<'t> Lines<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        let ends = text.match_indices('\n').map(|(offset, _)| offset.saturating_add(1));
        Self { text, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// The place of a byte.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        Place { line, column: before.chars().count().saturating_add(1) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_characters_from_one() {
        let lines = Lines::of("ab\nđề b\n");
        for (offset, shown) in [(0, "1:1"), (2, "1:3"), (3, "2:1"), (9, "2:4"), (11, "3:1")] {
            assert_eq!(lines.place(offset).to_string(), shown, "{offset}");
        }
    }
}
