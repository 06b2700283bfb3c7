//! What a report says, before it is known how it is written: each kind of report makes one of these, each format writes one.

/// A table with more columns wants the paper on its side.
const PORTRAIT_COLUMNS: usize = 8;

/// A whole report.
#[derive(Debug, Default)]
pub(in crate::people) struct Page {
    /// `vi` or `en`, for readers aloud and for hyphens.
    pub(super) language: &'static str,
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
    /// What stands there when there is no row.
    pub(super) empty: String,
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
    pub(super) fn table(&self) -> Table {
        let value = |series: &Series, at: usize| series.values.get(at).copied().unwrap_or_default();
        let rows = self.labels.iter().enumerate();
        let rows = rows.filter(|(at, _)| self.series.iter().any(|series| value(series, *at) > 0));
        let cells = |(at, label): (usize, &String)| {
            let values = self.series.iter().map(|series| value(series, at).to_string());
            std::iter::once(label.clone()).chain(values).collect()
        };
        let names = self.series.iter().map(|series| series.name.clone());
        Table {
            title: self.title.clone(),
            headings: std::iter::once(self.over.clone()).chain(names).collect(),
            rows: rows.map(cells).collect(),
            empty: String::new(),
        }
    }
}

impl Bars {
    /// The same as a table.
    pub(super) fn table(&self) -> Table {
        let cells = |(name, value): &(String, u64)| vec![name.clone(), value.to_string()];
        Table {
            title: self.title.clone(),
            headings: self.headings.to_vec(),
            rows: self.rows.iter().map(cells).collect(),
            empty: self.empty.clone(),
        }
    }
}

impl Table {
    /// Whether a column holds nothing but numbers, which stand to the right.
    pub(super) fn is_numeric(&self, column: usize) -> bool {
        // An address has more than one dot.
        let is_number = |cell: &str| {
            cell.chars().all(|char| char.is_ascii_digit() || ".,%– ".contains(char))
                && cell.matches('.').count() <= 1
        };
        let cells = || self.rows.iter().filter_map(|row| row.get(column));
        cells().all(|cell| is_number(cell))
            && cells().any(|cell| cell.contains(|char: char| char.is_ascii_digit()))
    }
}
