//! Text under headings, each value on a line of its own: what `vonggac alert` and `vonggac incident show` print.
//!
//! On a terminal long values are wrapped between words, under one another. Raw lines are left as they are, so that a log line or
//! a command can be copied; so is everything into a pipe or a file.

use crate::people::escape::{shown, shown_bytes};
use crate::people::table::{self, Column, Terminal, wrapped};

/// Width of the names before the values.
const NAME_CHARS: usize = 12;
/// Where values begin.
const INDENT: usize = NAME_CHARS + 3;
/// A terminal with less room than this for values breaks them itself.
const VALUE_CHARS_MIN: usize = 30;

#[derive(Default)]
pub(super) struct Page {
    text: String,
    terminal: Option<Terminal>,
}

impl Page {
    pub(super) fn for_terminal(terminal: Option<Terminal>) -> Self {
        Self { text: String::new(), terminal }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    pub(super) fn title(&mut self, text: &str) {
        self.push(&format!("{}\n", shown(text)));
    }

    pub(super) fn section(&mut self, name: &str) {
        self.push(&format!("\n{name}\n"));
    }

    /// Nothing for an empty value.
    pub(super) fn line(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let room = self.terminal.map(|terminal| terminal.chars.saturating_sub(INDENT));
        let mut lines = match room.filter(|room| *room >= VALUE_CHARS_MIN) {
            Some(room) => wrapped(&shown(value), room),
            None => vec![shown(value)],
        }
        .into_iter();
        let first = lines.next().unwrap_or_default();
        self.push(&format!("  {name:NAME_CHARS$} {first}\n"));
        lines.for_each(|line| self.push(&format!("{:INDENT$}{line}\n", "")));
    }

    pub(super) fn raw(&mut self, line: &[u8]) {
        self.push(&format!("  {}\n", shown_bytes(line)));
    }

    /// Nothing for a table without rows.
    pub(super) fn table(&mut self, columns: &[Column]) {
        let within = |terminal: Terminal| Terminal { chars: terminal.chars.saturating_sub(2), ..terminal };
        let text = table::written(columns, self.terminal.map(within));
        text.lines().for_each(|line| self.push(&format!("  {line}\n")));
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str =
        "An account failed at least five times from one address and then logged in from there";

    fn page(chars: Option<usize>) -> String {
        let mut page = Page::for_terminal(chars.map(|chars| Terminal { chars, coloured: false }));
        page.line("description", VALUE);
        page.raw(VALUE.as_bytes());
        page.into_text()
    }

    #[test]
    fn wraps_values_between_words_and_leaves_raw_lines_alone() {
        assert_eq!(
            page(Some(60)),
            format!(
                "  description  An account failed at least five times from\n{0}one address and then logged in from there\n  {VALUE}\n",
                " ".repeat(INDENT)
            )
        );
        for whole in [None, Some(20), Some(INDENT + VALUE.len())] {
            assert_eq!(page(whole), format!("  description  {VALUE}\n  {VALUE}\n"), "{whole:?}");
        }
    }
}
