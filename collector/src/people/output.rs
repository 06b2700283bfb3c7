//! Rows for people and for programs: a table, JSON lines or CSV on standard output.
//!
//! - Table: fitted to the terminal and coloured there (unless NO_COLOR is set); piped, the same columns at full length, with
//!   no colour, no frame and no tab. One row is always one line when piped.
//! - JSON: one object a line, exact, times in ISO 8601 UTC.
//! - CSV (RFC 4180): the same fields as JSON. A cell that a spreadsheet would run as a formula gets an apostrophe in front.
//!
//! What came out of a log is escaped in all three ([`crate::people::escape`]). A reader who closes the pipe early (`| head`)
//! ends the output without an error.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::Value;

use crate::people::escape::{shown, write_json};
use crate::people::when::Clock;

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For eyes
    #[default]
    Table,
    /// One JSON object a line, for programs
    Json,
    /// Comma-separated values with a header, for spreadsheets
    Csv,
}

/// Options that every listing has.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct OutputArgs {
    /// How the rows are written
    #[arg(long, value_enum, default_value_t, help_heading = "Output")]
    pub(crate) format: Format,
    /// Read and show times in UTC instead of the local zone (JSON and CSV are always in UTC)
    #[arg(long, help_heading = "Output")]
    pub(crate) utc: bool,
}

/// A row of a listing. Its `Serialize` gives the fields of JSON and CSV; its `Default` the header of a CSV without rows.
pub(crate) trait Listed: Serialize + Default {
    /// Headings of the table; `{zone}` becomes the name of the time zone.
    const HEADINGS: &'static [&'static str];

    /// The row's cells, as many as there are headings. They need not be escaped.
    fn cells(&self, clock: &Clock) -> Vec<String>;

    /// Colour of one of the cells.
    fn tone(&self, _column: usize) -> Tone {
        Tone::Plain
    }
}

/// What a cell's colour says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
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

/// Writes the rows to standard output; `summary` ends a table and is left out for programs.
pub(crate) fn print<T: Listed>(rows: &[T], args: &OutputArgs, clock: &Clock, summary: &str) -> Result<()> {
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let mut out = io::BufWriter::new(stdout.lock());
    let written = write(&mut out, rows, args.format, clock, terminal, summary);
    closed_early(written.and_then(|()| Ok(out.flush()?)))
}

/// Writes text that is already escaped.
pub(crate) fn print_text(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    closed_early(out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Into::into))
}

/// The reader left, having seen enough: that is no failure.
fn closed_early(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if is_closed_pipe(&error) => Ok(()),
        other => other,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        let csv = cause.downcast_ref::<csv::Error>().and_then(|error| match error.kind() {
            csv::ErrorKind::Io(error) => Some(error.kind()),
            _ => None,
        });
        csv.or_else(|| cause.downcast_ref::<io::Error>().map(io::Error::kind))
    };
    error.chain().any(|cause| kind(cause) == Some(io::ErrorKind::BrokenPipe))
}

fn write<T: Listed>(
    out: &mut impl Write,
    rows: &[T],
    format: Format,
    clock: &Clock,
    terminal: bool,
    summary: &str,
) -> Result<()> {
    match format {
        Format::Json => rows.iter().try_for_each(|row| {
            write_json(out, row)?;
            Ok(out.write_all(b"\n")?)
        }),
        Format::Csv => write_csv(out, rows),
        Format::Table => {
            if !rows.is_empty() {
                write_table(out, &table(rows, clock, terminal))?;
            }
            Ok(writeln!(out, "{summary}")?)
        }
    }
}

fn write_table(out: &mut impl Write, table: &Table) -> Result<()> {
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn table<T: Listed>(rows: &[T], clock: &Clock, terminal: bool) -> Table {
    let mut table = Table::new();
    if terminal {
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    }
    let coloured = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if !coloured {
        table.force_no_tty();
        if let Some(width) = terminal.then(terminal_width).flatten() {
            table.set_width(width);
        }
    }
    let headings = T::HEADINGS.iter().map(|heading| heading.replace("{zone}", &clock.zone_name()));
    table.set_header(headings.map(|heading| Cell::new(heading).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(row.cells(clock).iter().enumerate().map(|(column, text)| {
            let cell = Cell::new(shown(text));
            match row.tone(column).color() {
                Some(color) if coloured => cell.fg(color),
                _ => cell,
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// The terminal's width is only asked for by the table when it may colour.
fn terminal_width() -> Option<u16> {
    Table::new().set_content_arrangement(ContentArrangement::Dynamic).width()
}

fn write_csv<T: Listed>(out: &mut impl Write, rows: &[T]) -> Result<()> {
    let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
    csv.write_record(fields(&T::default())?.keys())?;
    for row in rows {
        csv.write_record(fields(row)?.values().map(csv_cell))?;
    }
    Ok(csv.flush()?)
}

fn fields<T: Listed>(row: &T) -> Result<serde_json::Map<String, Value>> {
    match serde_json::to_value(row)? {
        Value::Object(fields) => Ok(fields),
        _ => anyhow::bail!("a row of a listing must serialise to an object"),
    }
}

/// Text as it is, lists joined by "; ", the rest as JSON; escaped, and never a formula.
fn csv_cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
        }
        Value::Number(number) => return number.to_string(),
        other => other.to_string(),
    };
    harmless(&text)
}

/// Text for a cell of a spreadsheet: escaped, and never a formula.
pub(crate) fn harmless(text: &str) -> String {
    let text = shown(text);
    if text.starts_with(['=', '+', '-', '@', '\'']) { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::people::escape::is_unsafe;

    #[derive(Clone, Debug, Default, Serialize)]
    struct Line {
        host: String,
        text: String,
    }

    impl Listed for Line {
        const HEADINGS: &'static [&'static str] = &["host", "text {zone}"];

        fn cells(&self, _clock: &Clock) -> Vec<String> {
            vec![self.host.clone(), self.text.clone()]
        }
    }

    fn written(rows: &[Line], format: Format) -> String {
        let mut out = Vec::new();
        write(&mut out, rows, format, &Clock::new(true), false, "done").unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Nobody reads any more.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_leaves_is_no_failure() {
        for format in [Format::Table, Format::Json, Format::Csv] {
            let written = write(&mut Gone, &[line("a")], format, &Clock::new(true), false, "done");
            assert!(written.is_err(), "{format:?}");
            assert!(closed_early(written).is_ok(), "{format:?}");
        }
    }

    fn line(text: &str) -> Line {
        Line { host: "web01".into(), text: text.into() }
    }

    proptest! {
        #[test]
        fn a_row_stays_one_harmless_line(texts in prop::collection::vec("(\\PC|[\\x00-\\x1f\\x1b\\n\\r\\t\u{85}\u{9b}\u{202e}\u{2028}\u{200b}\",;=]){0,40}", 0..6)) {
            let rows: Vec<Line> = texts.iter().map(|text| line(text)).collect();
            for (format, more) in [(Format::Table, 1 + usize::from(!rows.is_empty())), (Format::Json, 0)] {
                let out = written(&rows, format);
                prop_assert_eq!(out.matches('\n').count(), rows.len() + more);
                prop_assert!(!out.chars().any(|char| char != '\n' && is_unsafe(char)), "{:?}", out);
            }
            let out = written(&rows, Format::Csv);
            prop_assert!(!out.replace("\r\n", "").chars().any(is_unsafe));
            let mut csv = csv::Reader::from_reader(out.as_bytes());
            prop_assert_eq!(csv.records().filter(|record| record.as_ref().is_ok_and(|record| record.len() == 2)).count(), rows.len());
        }

        #[test]
        fn json_gives_the_text_back(text in any::<String>()) {
            let value: Value = serde_json::from_str(&written(&[line(&text)], Format::Json)).unwrap();
            prop_assert_eq!(value["text"].as_str(), Some(text.as_str()));
        }
    }

    #[test]
    fn writes_plain_columns_into_a_pipe() {
        assert_eq!(
            written(&[line("a\tb\nP1  forged"), line("c")], Format::Table),
            "host   text UTC\nweb01  a\\tb\\nP1  forged\nweb01  c\ndone\n"
        );
        assert_eq!(written(&[], Format::Table), "done\n");
    }

    #[test]
    fn writes_no_formula_into_a_spreadsheet() {
        assert_eq!(
            written(&[line("=cmd|' /C calc'!A0")], Format::Csv),
            "host,text\r\nweb01,'=cmd|' /C calc'!A0\r\n"
        );
        assert_eq!(written(&[], Format::Csv), "host,text\r\n");
    }
}
