//! A report as one HTML file: no script, no font and no picture from elsewhere, so that it opens anywhere and for ever. Prints on
//! A4; heads of tables come again on each page, and no row is cut. Colours keep apart when they are printed in grey.
//!
//! Every text is escaped: what came out of a log is text and nothing else.

use std::fmt::Write as _;

use crate::level::Lang;
use crate::people::escape::shown;
use crate::people::report::page::{Bars, Block, Columns, Fact, Page, Series, Table, number};

const STYLE: &str = include_str!("report.css");

/// Width of a picture in its own units; its lines of text have ten.
const WIDTH: u64 = 720;
/// Height of the columns, without the labels.
const HEIGHT: u64 = 150;
/// Space for the numbers beside the columns and for the labels below.
const MARGIN: u64 = 44;
const LABELS: u64 = 34;
/// At most so many labels below the columns: more run into each other.
const LABELS_MAX: usize = 16;
/// Height of one bar, and the width of the names before the bars.
const BAR: u64 = 20;
const NAMES: u64 = 270;
/// Longer words do not fit into a column.
const WORD_CHARS: usize = 24;
/// Characters of a name that have room there.
const NAME_CHARS: usize = 44;

pub(super) fn write(page: &Page) -> String {
    let mut out = String::new();
    let (language, title) = (page.lang.pick("vi", "en"), escaped(&page.title));
    let subtitle = escaped(&page.subtitle);
    let class = if page.is_wide() { " class=\"wide\"" } else { "" };
    let _infallible = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{title} · {subtitle}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body{class}>\n<header><h1>{title}</h1><p>{subtitle}</p></header>\n<main>\n"
    );
    for block in &page.blocks {
        match block {
            Block::Heading(text) => drop(writeln!(out, "<h2>{}</h2>", escaped(text))),
            Block::Text(text) => drop(writeln!(out, "<p>{}</p>", escaped(text))),
            Block::Facts(facts) => write_facts(&mut out, facts),
            Block::Table(table) => write_table(&mut out, table),
            Block::Columns(columns) => write_columns(&mut out, columns, page.lang),
            Block::Bars(bars) => write_bars(&mut out, bars, page.lang),
        }
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn write_facts(out: &mut String, facts: &[Fact]) {
    out.push_str("<dl class=\"facts\">\n");
    for Fact { label, value, before, is_bad } in facts {
        let class = if *is_bad { " class=\"bad\"" } else { "" };
        let (label, value, before) = (escaped(label), escaped(value), escaped(before));
        let _infallible = writeln!(
            out,
            "<div{class}><dt>{label}</dt><dd>{value}</dd><dd class=\"before\">{before}</dd></div>"
        );
    }
    out.push_str("</dl>\n");
}

fn write_table(out: &mut String, table: &Table) {
    if table.rows.is_empty() {
        let (title, empty) = (escaped(&table.title), escaped(&table.empty));
        let _infallible = writeln!(out, "<h3>{title}</h3>\n<p class=\"empty\">{empty}</p>");
        return;
    }
    if !table.title.is_empty() {
        let _infallible = writeln!(out, "<h3>{}</h3>", escaped(&table.title));
    }
    let class = |column| if table.is_numeric(column) { " class=\"number\"" } else { "" };
    out.push_str("<table>\n<thead><tr>");
    for (column, heading) in table.headings.iter().enumerate() {
        let _infallible = write!(out, "<th{}>{}</th>", class(column), escaped(heading));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (place, row) in table.rows.iter().enumerate() {
        out.push_str(if table.bad.contains(&place) { "<tr class=\"bad\">" } else { "<tr>" });
        for (column, cell) in row.iter().enumerate() {
            let class = match cell {
                _ if has_long_word(cell) => " class=\"long\"",
                _ if is_name(cell) => " class=\"name\"",
                _ => class(column),
            };
            let _infallible = write!(out, "<td{class}>{}</td>", escaped(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n");
    write_note(out, &table.note);
}

fn write_note(out: &mut String, note: &str) {
    if !note.is_empty() {
        let _infallible = writeln!(out, "<p class=\"note\">{}</p>", escaped(note));
    }
}

/// Whether a cell is one word that a hyphen would break: a host, an id. A date is no word.
fn is_name(cell: &str) -> bool {
    cell.contains('-') && !cell.contains(char::is_whitespace)
}

/// Whether a cell must be broken anywhere to fit on the page.
fn has_long_word(cell: &str) -> bool {
    cell.split_whitespace().any(|word| word.chars().count() > WORD_CHARS)
}

fn write_columns(out: &mut String, columns: &Columns, lang: Lang) {
    let count = columns.labels.len().max(1) as u64;
    let sum = |at: usize| columns.series.iter().filter_map(|series| series.values.get(at)).sum::<u64>();
    let top = round_up((0..columns.labels.len()).map(sum).max().unwrap_or_default());
    let step = (WIDTH - MARGIN) / count;
    let width = (step * 4 / 5).clamp(1, 60);
    let title = escaped(&columns.title);
    let height = HEIGHT + LABELS;
    let _infallible = writeln!(out, "<figure><figcaption>{title}</figcaption>");
    write_legend(out, &columns.series);
    let _infallible =
        writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">");
    for tenth in [0, 5, 10] {
        let (y, value) = (10 + HEIGHT - 10 - (HEIGHT - 10) * tenth / 10, top * tenth / 10);
        let (at, x) = (MARGIN - 6, y + 3);
        let _infallible = writeln!(
            out,
            "<line x1=\"{MARGIN}\" y1=\"{y}\" x2=\"{WIDTH}\" y2=\"{y}\"/><text x=\"{at}\" y=\"{x}\" class=\"end\">{}</text>",
            number(value, lang)
        );
    }
    for (at, label) in columns.labels.iter().enumerate() {
        let x = MARGIN + step * at as u64 + (step - width) / 2;
        let mut y = HEIGHT;
        for (place, series) in columns.series.iter().enumerate() {
            let value = series.values.get(at).copied().unwrap_or_default();
            let part = (HEIGHT - 10) * value / top.max(1);
            if value > 0 {
                // What is there is seen.
                let part = part.max(1);
                y = y.saturating_sub(part);
                let _infallible = writeln!(
                    out,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{part}\" class=\"s{place}\"><title>{}: {} {}</title></rect>",
                    escaped(label),
                    escaped(&series.name),
                    number(value, lang)
                );
            }
        }
        if at % columns.labels.len().div_ceil(LABELS_MAX).max(1) == 0 {
            let (x, y) = (x + width / 2, HEIGHT + 16);
            let _infallible =
                writeln!(out, "<text x=\"{x}\" y=\"{y}\" class=\"middle\">{}</text>", escaped(label));
        }
    }
    out.push_str("</svg></figure>\n");
}

fn write_legend(out: &mut String, series: &[Series]) {
    out.push_str("<p class=\"legend\">");
    for (number, series) in series.iter().enumerate() {
        let _infallible = write!(out, "<span class=\"k{number}\">{}</span>", escaped(&series.name));
    }
    out.push_str("</p>\n");
}

fn write_bars(out: &mut String, bars: &Bars, lang: Lang) {
    let title = escaped(&bars.title);
    if bars.rows.is_empty() {
        let _infallible = writeln!(out, "<h3>{title}</h3>\n<p class=\"empty\">{}</p>", escaped(&bars.empty));
        return;
    }
    let top = bars.rows.iter().map(|(_, value)| *value).max().unwrap_or_default().max(1);
    let height = BAR * bars.rows.len() as u64;
    let _infallible = writeln!(
        out,
        "<figure><figcaption>{title}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">"
    );
    for (at, (name, value)) in bars.rows.iter().enumerate() {
        let y = BAR * at as u64;
        let (text, bar, width) = (y + 14, y + 3, ((WIDTH - NAMES - 60) * value / top).max(1));
        let (end, beside) = (NAMES - 8, NAMES + width + 6);
        let _infallible = writeln!(
            out,
            "<text x=\"{end}\" y=\"{text}\" class=\"end\">{}</text><rect x=\"{NAMES}\" y=\"{bar}\" width=\"{width}\" height=\"14\" \
             class=\"bar\"/><text x=\"{beside}\" y=\"{text}\">{}</text>",
            escaped(&cut(name)),
            number(*value, lang)
        );
    }
    out.push_str("</svg></figure>\n");
    write_note(out, &bars.note);
}

/// A name that has room.
fn cut(name: &str) -> String {
    if name.chars().count() <= NAME_CHARS {
        return name.to_owned();
    }
    name.chars().take(NAME_CHARS - 1).chain(['…']).collect()
}

/// The next number of which the tenths and the halves are whole: 10, 20, 50, 100 ...
fn round_up(value: u64) -> u64 {
    let mut unit = 10;
    loop {
        if let Some(found) = [unit, unit * 2, unit * 5].into_iter().find(|round| *round >= value) {
            return found;
        }
        unit = unit.saturating_mul(10);
        if unit > u64::MAX / 100 {
            return value;
        }
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in shown(text).chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text_wherever_it_stands() {
        let hostile = "<script>alert('x')</script>\"&\u{1b}[2J";
        let text = || hostile.to_owned();
        let (rows, headings) = (vec![vec![text()]], vec![text()]);
        let table = Table { title: text(), headings, rows, bad: [0].into(), empty: text(), note: text() };
        let blocks = vec![
            Block::Heading(text()),
            Block::Text(text()),
            Block::Facts(vec![Fact { label: text(), value: text(), before: text(), is_bad: true }]),
            Block::Table(table),
            Block::Columns(Columns {
                title: text(),
                over: text(),
                labels: vec![text()],
                series: vec![Series { name: text(), values: vec![3] }],
            }),
            Block::Bars(Bars {
                title: text(),
                headings: [text(), text()],
                rows: vec![(text(), 2)],
                empty: text(),
                note: text(),
            }),
        ];
        let page = Page { lang: Lang::Vi, title: text(), subtitle: text(), blocks };
        let html = write(&page);
        assert!(!html.contains("<script") && !html.contains('\u{1b}'), "{html}");
        assert_eq!(html.matches("&lt;script&gt;").count(), 23);
        assert_eq!(html.matches("<tr class=\"bad\">").count(), 1);
    }

    #[test]
    fn scales_are_round_and_high_enough() {
        for (value, round) in [(0, 10), (10, 10), (11, 20), (21, 50), (51, 100), (101, 200), (501, 1000)] {
            assert_eq!(round_up(value), round, "{value}");
        }
        assert!(round_up(u64::MAX) >= u64::MAX / 100);
    }
}
