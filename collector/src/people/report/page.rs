//! What a report says, before it is known how it is written: each kind of report makes one of these, each format writes one.

use std::collections::BTreeSet;

use crate::level::Lang;
use crate::people::select::grouped;

/// A table with more columns wants the paper on its side.
const PORTRAIT_COLUMNS: usize = 8;

/// A whole report.
#[derive(Debug, Default)]
pub(in crate::people) struct Page {
    pub(super) lang: Lang,
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) blocks: Vec<Block>,
}

#[derive(Debug)]
pub(super) enum Block {
    Heading(String),
    Text(String),
    Facts(Vec<Fact>),
    Table(Table),
    Columns(Columns),
    Bars(Bars),
}

/// A number that matters, beside the one of the period before.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) label: String,
    pub(super) value: String,
    /// Empty when there is nothing to compare with.
    pub(super) before: String,
    /// Somebody must act.
    pub(super) is_bad: bool,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) title: String,
    pub(super) headings: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// Rows about which somebody must act, by their place. What they say tells it, too: not every format marks them.
    pub(super) bad: BTreeSet<usize>,
    /// What stands there when there is no row.
    pub(super) empty: String,
    /// What stands below it: that there is more.
    pub(super) note: String,
}

/// Columns over time, each made of parts.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) title: String,
    /// Of the column of names, in formats that cannot draw.
    pub(super) over: String,
    pub(super) labels: Vec<String>,
    pub(super) series: Vec<Series>,
}

/// One part of each column.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) values: Vec<u64>,
}

/// Bars, the longest first.
#[derive(Debug)]
pub(super) struct Bars {
    pub(super) title: String,
    pub(super) headings: [String; 2],
    pub(super) rows: Vec<(String, u64)>,
    pub(super) empty: String,
    pub(super) note: String,
}

impl Page {
    pub(super) fn heading(&mut self, text: &str) {
        self.blocks.push(Block::Heading(text.to_owned()));
    }

    pub(super) fn text(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Text(text.into()));
    }

    /// Whether it needs the paper on its side.
    pub(super) fn is_wide(&self) -> bool {
        let is_wide =
            |block: &Block| matches!(block, Block::Table(table) if table.headings.len() > PORTRAIT_COLUMNS);
        self.blocks.iter().any(is_wide)
    }

    pub(super) fn table(&mut self, table: Table) {
        self.blocks.push(Block::Table(table));
    }
}

impl Columns {
    /// The same as a table, for formats that cannot draw. Columns in which nothing was are left out.
    pub(super) fn table(&self, lang: Lang) -> Table {
        let value = |series: &Series, at: usize| series.values.get(at).copied().unwrap_or_default();
        let rows = self.labels.iter().enumerate();
        let rows = rows.filter(|(at, _)| self.series.iter().any(|series| value(series, *at) > 0));
        let cells = |(at, label): (usize, &String)| {
            let values = self.series.iter().map(|series| number(value(series, at), lang));
            std::iter::once(label.clone()).chain(values).collect()
        };
        let names = self.series.iter().map(|series| series.name.clone());
        Table {
            title: self.title.clone(),
            headings: std::iter::once(self.over.clone()).chain(names).collect(),
            rows: rows.map(cells).collect(),
            ..Table::default()
        }
    }
}

impl Bars {
    /// The same as a table.
    pub(super) fn table(&self, lang: Lang) -> Table {
        let cells = |(name, value): &(String, u64)| vec![name.clone(), number(*value, lang)];
        Table {
            title: self.title.clone(),
            headings: self.headings.to_vec(),
            rows: self.rows.iter().map(cells).collect(),
            empty: self.empty.clone(),
            note: self.note.clone(),
            ..Table::default()
        }
    }
}

/// A number as the language groups it: `1.234`, `1,234`.
pub(super) fn number(number: u64, lang: Lang) -> String {
    let english = grouped(number);
    match lang {
        Lang::Vi => english.replace(',', "."),
        Lang::En => english,
    }
}

/// A number, grouped or not, with a part behind a point or a percent sign, or a dash.
fn is_number(cell: &str) -> bool {
    let cell = cell.trim_end_matches(" %");
    let mut parts = cell.split(['.', ',']);
    let (first, rest): (_, Vec<&str>) = (parts.next().unwrap_or_default(), parts.collect());
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_grouped = first.len() <= 3 && rest.iter().all(|part| part.len() == 3);
    cell == "–" || (digits(first) && rest.iter().all(|part| digits(part)) && (rest.len() <= 1 || is_grouped))
}

impl Table {
    /// Whether a column holds nothing but numbers, which stand to the right.
    pub(super) fn is_numeric(&self, column: usize) -> bool {
        let cells = || self.rows.iter().filter_map(|row| row.get(column));
        cells().all(|cell| cell.is_empty() || is_number(cell))
            && cells().any(|cell| cell.contains(|char: char| char.is_ascii_digit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_as_the_language_does_and_addresses_are_none() {
        assert_eq!(
            (&*number(1_234_567, Lang::Vi), &*number(1_234_567, Lang::En)),
            ("1.234.567", "1,234,567")
        );
        for (cell, expected) in [
            ("7", true),
            ("1.234.567", true),
            ("1,234", true),
            ("0.25", true),
            ("85 %", true),
            ("–", true),
            ("192.0.2.7", false),
            ("2026-11-26", false),
            ("P1", false),
            ("1.", false),
        ] {
            assert_eq!(is_number(cell), expected, "{cell}");
        }
    }
}
