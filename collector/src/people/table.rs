//! Tables for eyes, fitted to the terminal.
//!
//! - A column is kept whole, so that an id, a time or an address can be read at once and copied, unless it is prose, which wraps
//!   between words. A column with longer cells than [`WHOLE_CHARS_MAX`] is prose, whatever it was declared to be.
//! - Where the columns do not fit, some of those that may be spared are left out: each listing says in which order they get what
//!   room there is. A line under the table names what is left out.
//! - Where even that does not fit, the table is wider than the terminal. Nothing is ever cut off.
//! - Into a pipe or a file go all columns at full length, with no colour and no frame: a row is a line.
//!
//! A character counts as one column: what is shown is NFC, and its invisible characters are escaped.

use std::io::{self, IsTerminal};

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, Table, TableComponent, Width, presets};

use crate::people::escape::shown;

/// Widest cells that are never broken: a UUID has 36 characters, an IPv6 address 39.
const WHOLE_CHARS_MAX: usize = 40;
/// Columns are left out before prose gets narrower than this, ...
const PROSE_CHARS_MIN: usize = 20;
/// ... or than what gives so many lines a cell, as long as that is no wider than [`WHOLE_CHARS_MAX`]. Where no column can be left
/// out any more, it gets as narrow as this, ...
const PROSE_LINES: usize = 3;
const TIGHT_CHARS_MIN: usize = 12;
/// ... or as its longest word up to this length.
const WORD_CHARS_MAX: usize = 24;
/// Blanks between two columns.
const GAP: usize = 2;
/// The width of a terminal that does not tell it.
const TERMINAL_CHARS: usize = 100;

/// What a cell's colour says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Good,
    Notice,
    Alarm,
}

impl Tone {
    fn color(self) -> Option<Color> {
        match self {
            Self::Plain => None,
            Self::Good => Some(Color::Green),
            Self::Notice => Some(Color::Yellow),
            Self::Alarm => Some(Color::Red),
        }
    }
}

/// A column and its cells, from the first row to the last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    heading: String,
    cells: Vec<(String, Tone)>,
    is_prose: bool,
    /// Whether it may be left out; the higher the number, the sooner it gets room.
    spared: Option<usize>,
}

impl Column {
    pub(crate) fn new(heading: &str) -> Self {
        Self { heading: shown(heading), ..Self::default() }
    }

    pub(crate) fn prose(self, is_prose: bool) -> Self {
        Self { is_prose, ..self }
    }

    pub(crate) fn spared(self, spared: Option<usize>) -> Self {
        Self { spared, ..self }
    }

    /// The text of the next row; it need not be escaped.
    pub(crate) fn push(&mut self, text: &str, tone: Tone) {
        self.cells.push((shown(text), tone));
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.heading).chain(self.cells.iter().map(|(text, _)| &**text))
    }

    /// The width that shows every cell on one line.
    fn whole(&self) -> usize {
        self.texts().map(chars).max().unwrap_or_default()
    }

    /// The width below which it is no longer read with ease.
    fn least(&self) -> usize {
        let whole = self.whole();
        if self.is_whole(whole) {
            return whole;
        }
        self.tight().max(PROSE_CHARS_MIN).max((whole / PROSE_LINES).min(WHOLE_CHARS_MAX)).min(whole)
    }

    /// The width below which it cannot be read.
    fn tight(&self) -> usize {
        let whole = self.whole();
        if self.is_whole(whole) {
            return whole;
        }
        let word = self.texts().flat_map(|text| text.split(' ')).map(chars).max().unwrap_or_default();
        TIGHT_CHARS_MIN.max(word.min(WORD_CHARS_MAX)).min(whole)
    }

    fn is_whole(&self, whole: usize) -> bool {
        !self.is_prose && whole <= WHOLE_CHARS_MAX
    }
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// What a table is fitted to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    pub(crate) chars: usize,
    pub(crate) coloured: bool,
}

impl Terminal {
    /// The one behind standard output, if it is one.
    pub(crate) fn of_stdout() -> Option<Self> {
        let coloured = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        // The library asks for the width, too.
        let chars =
            Table::new().width().map(usize::from).filter(|chars| *chars > 0).unwrap_or(TERMINAL_CHARS);
        io::stdout().is_terminal().then_some(Self { chars, coloured })
    }
}

/// The table as text.
pub(crate) fn written(columns: &[Column], terminal: Option<Terminal>) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let Some(Terminal { chars, coloured }) = terminal else { return in_full(columns) };
    let widths = fit(columns, chars);
    let kept: Vec<(&Column, usize)> =
        columns.iter().zip(&widths).filter_map(|(column, width)| Some((column, (*width)?))).collect();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_style(TableComponent::HeaderLines, '─');
    if coloured {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    fill(&mut table, kept.iter().map(|(column, _)| *column), coloured);
    for (at, (_, width)) in kept.iter().enumerate() {
        let gap = if at + 1 == kept.len() { 0 } else { GAP };
        if let Some(column) = table.column_mut(at) {
            let (gap, width) = (u16::try_from(gap), u16::try_from(width.saturating_add(gap)));
            let (gap, width) = (gap.unwrap_or_default(), width.unwrap_or(u16::MAX));
            column.set_padding((0, gap)).set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
        }
    }
    trimmed(&table) + &left_out(columns, &widths, chars)
}

/// Says what there was no room for.
fn left_out(columns: &[Column], widths: &[Option<usize>], room: usize) -> String {
    let missing = columns.iter().zip(widths).filter(|(_, width)| width.is_none());
    let names: Vec<&str> = missing.map(|(column, _)| &*column.heading).collect();
    if names.is_empty() {
        return String::new();
    }
    let note = format!("(too narrow for: {}; a wider terminal or `| less -S` shows them)", names.join(", "));
    wrapped(&note, room).join("\n") + "\n"
}

/// Every column at full length.
fn in_full(columns: &[Column]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).force_no_tty();
    fill(&mut table, columns.iter(), false);
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    trimmed(&table)
}

fn fill<'c>(table: &mut Table, columns: impl Iterator<Item = &'c Column> + Clone, coloured: bool) {
    table.set_header(columns.clone().map(|column| Cell::new(&column.heading).add_attribute(Attribute::Bold)));
    let mut cells: Vec<_> = columns.map(|column| column.cells.iter()).collect();
    loop {
        let row: Vec<Cell> =
            cells.iter_mut().filter_map(Iterator::next).map(|cell| styled(cell, coloured)).collect();
        if row.is_empty() {
            return;
        }
        table.add_row(row);
    }
}

fn styled((text, tone): &(String, Tone), coloured: bool) -> Cell {
    match tone.color() {
        Some(color) if coloured => Cell::new(text).fg(color),
        _ => Cell::new(text),
    }
}

fn trimmed(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The width of each column in so much room, none for those that are left out.
fn fit(columns: &[Column], room: usize) -> Vec<Option<usize>> {
    let mut widths: Vec<Option<usize>> =
        columns.iter().map(|column| column.spared.is_none().then(|| column.least())).collect();
    let mut spared: Vec<(usize, &Column)> =
        columns.iter().enumerate().filter(|(_, column)| column.spared.is_some()).collect();
    spared.sort_by_key(|(_, column)| std::cmp::Reverse(column.spared));
    for (at, column) in spared {
        // The one that would be spared last is the first to get room.
        let needed = taken(&widths).saturating_add(column.least()).saturating_add(GAP);
        if let Some(width) = widths.get_mut(at).filter(|_| needed <= room) {
            *width = Some(column.least());
        }
    }
    tighten(columns, &mut widths, room);
    share(columns, &mut widths, room);
    widths
}

/// What cannot be left out and is too wide all the same gets narrower, from left to right.
fn tighten(columns: &[Column], widths: &mut [Option<usize>], room: usize) {
    let mut over = taken(widths).saturating_sub(room);
    for (column, width) in columns.iter().zip(widths) {
        if let Some(width) = width {
            let less = width.saturating_sub(column.tight()).min(over);
            *width = width.saturating_sub(less);
            over = over.saturating_sub(less);
        }
    }
}

/// What is left over goes to the columns: what wants little gets it, what wants much shares the rest.
fn share(columns: &[Column], widths: &mut [Option<usize>], room: usize) {
    let mut left = room.saturating_sub(taken(widths));
    let mut wanting: Vec<(usize, &mut usize)> = columns
        .iter()
        .zip(widths)
        .filter_map(|(column, width)| Some((column.whole(), width.as_mut()?)))
        .map(|(whole, width)| (whole.saturating_sub(*width), width))
        .collect();
    wanting.sort_by_key(|(wanted, _)| *wanted);
    let mut sharing = wanting.len();
    for (wanted, width) in wanting {
        let more = wanted.min(left.checked_div(sharing).unwrap_or_default());
        *width = width.saturating_add(more);
        left = left.saturating_sub(more);
        sharing = sharing.saturating_sub(1);
    }
}

fn taken(widths: &[Option<usize>]) -> usize {
    let columns = widths.iter().flatten().count();
    widths.iter().flatten().sum::<usize>().saturating_add(columns.saturating_sub(1).saturating_mul(GAP))
}

/// Lines of at most so many characters, as long as the words are no longer.
pub(crate) fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && chars(&line).saturating_add(chars(word)) >= room {
            lines.push(std::mem::take(&mut line));
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "8c1f2a9000112233";
    const TIME: &str = "2026-11-27 11:41:30";
    const TITLE: &str = "SSH login after repeated failures of the same account";

    /// A listing like that of alerts.
    fn alerts() -> Vec<Column> {
        let column = |heading: &str, text: &str| {
            let mut column = Column::new(heading);
            column.push(text, Tone::Plain);
            column.push(text, Tone::Alarm);
            column
        };
        vec![
            column("last seen (UTC)", TIME),
            column("severity", "critical").spared(Some(0)),
            column("system", "Cổng dịch vụ công của tỉnh").prose(true).spared(Some(1)),
            column("what", TITLE).prose(true),
            column("who", "administrator@2001:db8::77").spared(Some(2)),
            column("id", ID),
        ]
    }

    fn at(chars: usize) -> String {
        written(&alerts(), Some(Terminal { chars, coloured: false }))
    }

    #[test]
    fn keeps_ids_and_times_whole_and_wraps_between_words() {
        for chars in [80, 100, 120, 200] {
            let text = at(chars);
            assert!(text.lines().take(6).all(|line| line.chars().count() <= chars), "{chars}:\n{text}");
            assert_eq!(text.matches(ID).count(), 2, "{chars}:\n{text}");
            assert_eq!(text.matches(TIME).count(), 2, "{chars}:\n{text}");
            let words: Vec<&str> = text.split_whitespace().collect();
            assert!(TITLE.split(' ').all(|word| words.contains(&word)), "{chars}:\n{text}");
        }
    }

    #[test]
    fn leaves_out_what_is_least_important_and_says_so() {
        assert!(!at(200).contains("too narrow"));
        let text = at(90);
        assert!(text.contains("(too narrow for: severity, system;"), "{text}");
        assert!(text.contains("administrator@2001:db8::77"), "{text}");
        // What has no room leaves it to what is less important and narrower.
        assert!(at(80).contains("(too narrow for: system, who;"), "{}", at(80));
        // Where nothing can be spared any more, nothing is cut off either.
        assert!(at(20).contains(ID) && at(20).contains(TIME));
    }

    #[test]
    fn prose_that_cannot_be_left_out_gets_narrower_than_is_nice() {
        let mut columns = alerts();
        columns.retain(|column| column.spared.is_none());
        let text = |chars| written(&columns, Some(Terminal { chars, coloured: false }));
        for (chars, widest) in [(58, 58), (51, 51), (30, 51)] {
            let text = text(chars);
            assert_eq!(text.lines().map(|line| line.chars().count()).max(), Some(widest), "{text}");
        }
    }

    #[test]
    fn a_pipe_gets_every_column_at_full_length() {
        let text = written(&alerts(), None);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().skip(1).all(|line| line.contains(TITLE) && line.contains("critical")), "{text}");
    }

    #[test]
    fn a_line_is_full_when_not_one_letter_more_has_room() {
        assert_eq!(wrapped("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrapped("aa bb cc", 4), ["aa", "bb", "cc"]);
        assert_eq!(wrapped("a  long-word b", 4), ["a ", "long-word", "b"]);
    }

    proptest! {
        #[test]
        fn no_letter_gets_lost(texts in prop::collection::vec("[a-z ]{0,90}", 1..5), room in 0_usize..200, prose in any::<bool>()) {
            let columns: Vec<Column> = texts
                .iter()
                .map(|text| {
                    let mut column = Column::new("").prose(prose);
                    column.push(text, Tone::Plain);
                    column
                })
                .collect();
            let letters = |text: &str| {
                let mut letters: Vec<char> = text.chars().filter(char::is_ascii_lowercase).collect();
                letters.sort_unstable();
                letters
            };
            let text = written(&columns, Some(Terminal { chars: room, coloured: false }));
            prop_assert_eq!(letters(&text), letters(&texts.concat()));
            let widths = fit(&columns, room);
            let tight: usize = columns.iter().map(Column::tight).sum::<usize>() + GAP * (columns.len() - 1);
            prop_assert!(taken(&widths) <= room.max(tight));
        }
    }
}
