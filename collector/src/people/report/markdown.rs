//! A report as Markdown (CommonMark with GitHub's tables). What came out of a log cannot become markup: every character that
//! means something is escaped.

use std::fmt::Write as _;

use crate::people::escape::shown;
use crate::people::report::page::{Block, Fact, Page, Table};

pub(super) fn write(page: &Page) -> String {
    let mut out = String::new();
    let _infallible = writeln!(out, "# {}\n\n{}", escaped(&page.title), escaped(&page.subtitle));
    for block in &page.blocks {
        out.push('\n');
        match block {
            Block::Heading(text) => drop(writeln!(out, "## {}", escaped(text))),
            Block::Text(text) => drop(writeln!(out, "{}", escaped(text))),
            Block::Facts(facts) => write_facts(&mut out, facts),
            Block::Table(table) => write_table(&mut out, table),
            Block::Columns(columns) => write_table(&mut out, &columns.table(page.lang)),
            Block::Bars(bars) => write_table(&mut out, &bars.table(page.lang)),
        }
    }
    out
}

fn write_facts(out: &mut String, facts: &[Fact]) {
    for Fact { label, value, before, is_bad } in facts {
        let before = if before.is_empty() { String::new() } else { format!(" ({})", escaped(before)) };
        let value = if *is_bad { format!("**{}**", escaped(value)) } else { escaped(value) };
        let _infallible = writeln!(out, "- {}: {value}{before}", escaped(label));
    }
}

fn write_table(out: &mut String, table: &Table) {
    if !table.title.is_empty() {
        let _infallible = writeln!(out, "**{}**\n", escaped(&table.title));
    }
    if table.rows.is_empty() {
        let _infallible = writeln!(out, "{}", escaped(&table.empty));
        return;
    }
    write_row(out, &table.headings);
    for column in 0..table.headings.len() {
        out.push_str(if table.is_numeric(column) { "|--:" } else { "|---" });
    }
    out.push_str("|\n");
    for (place, cells) in table.rows.iter().enumerate() {
        if table.bad.contains(&place) { write_bad_row(out, cells) } else { write_row(out, cells) }
    }
    if !table.note.is_empty() {
        let _infallible = writeln!(out, "\n{}", escaped(&table.note));
    }
}

fn write_row(out: &mut String, cells: &[String]) {
    for cell in cells {
        let _infallible = write!(out, "| {} ", escaped(cell));
    }
    out.push_str("|\n");
}

/// One about which somebody must act.
fn write_bad_row(out: &mut String, cells: &[String]) {
    for cell in cells {
        let text = escaped(cell);
        let _infallible =
            if text.trim().is_empty() { write!(out, "| ") } else { write!(out, "| **{text}** ") };
    }
    out.push_str("|\n");
}

/// Text on one line that is nothing but text.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in shown(text).chars() {
        if "\\`*_{}[]<>()#+!|~&".contains(char) {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_no_markup() {
        assert_eq!(escaped("a|b\n[x](y) <b>"), r"a\|b\\n\[x\]\(y\) \<b\>");
        let row = vec!["a|b".to_owned(), "7".to_owned()];
        let rows = vec![row.clone(), row];
        let table =
            Table { headings: vec!["n".into(), "v".into()], rows, bad: [1].into(), ..Table::default() };
        let page = Page { title: "T".into(), blocks: vec![Block::Table(table)], ..Page::default() };
        assert!(
            write(&page).ends_with("| n | v |\n|---|--:|\n| a\\|b | 7 |\n| **a\\|b** | **7** |\n"),
            "{}",
            write(&page)
        );
    }
}
