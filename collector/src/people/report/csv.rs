//! A report as CSV (RFC 4180), for spreadsheets: each table under a line with its title, an empty line between them. Every cell
//! is in quotes, and made [`harmless`].

use anyhow::Result;

use crate::people::output::harmless;
use crate::people::report::page::{Block, Fact, Page, Table};

type Writer = csv::Writer<Vec<u8>>;

pub(super) fn write(page: &Page) -> Result<String> {
    let mut out =
        csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).flexible(true).from_writer(Vec::new());
    row(&mut out, &[&page.title])?;
    row(&mut out, &[&page.subtitle])?;
    for block in &page.blocks {
        match block {
            Block::Heading(_) => {}
            Block::Text(text) => row(&mut out, &[text])?,
            Block::Facts(facts) => write_facts(&mut out, facts)?,
            Block::Table(table) => write_table(&mut out, table)?,
            Block::Columns(columns) => write_table(&mut out, &columns.table(page.lang))?,
            Block::Bars(bars) => write_table(&mut out, &bars.table(page.lang))?,
        }
    }
    Ok(String::from_utf8(out.into_inner()?)?)
}

fn write_facts(out: &mut Writer, facts: &[Fact]) -> Result<()> {
    row(out, &[""])?;
    facts.iter().try_for_each(|Fact { label, value, before, .. }| row(out, &[label, value, before]))
}

fn write_table(out: &mut Writer, table: &Table) -> Result<()> {
    row(out, &[""])?;
    row(out, &[&table.title])?;
    if table.rows.is_empty() {
        return row(out, &[&table.empty]);
    }
    row(out, &table.headings)?;
    table.rows.iter().try_for_each(|cells| row(out, cells))?;
    if table.note.is_empty() { Ok(()) } else { row(out, &[&table.note]) }
}

fn row(out: &mut Writer, cells: &[impl AsRef<str>]) -> Result<()> {
    Ok(out.write_record(cells.iter().map(|cell| harmless(cell.as_ref())))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_text() {
        let rows = vec![vec!["=cmd|' /C calc'!A0".to_owned(), "a,\"b\";=c".to_owned()]];
        let table =
            Table { title: "t".into(), headings: vec!["x".into(), "y".into()], rows, ..Table::default() };
        let page = Page { title: "T".into(), blocks: vec![Block::Table(table)], ..Page::default() };
        let text = write(&page).unwrap();
        assert!(
            text.ends_with("\"t\"\n\"x\",\"y\"\n\"'=cmd|' /C calc'!A0\",\"a,\"\"b\"\";'=c\"\n"),
            "{text}"
        );
    }
}
