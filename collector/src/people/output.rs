//! Rows for people and for programs: a table, JSON lines or CSV on standard output.
//!
//! - Table: fitted to the terminal and coloured there (unless NO_COLOR is set), see [`crate::people::table`]; piped, every column
//!   at full length, with no colour, no frame and no tab. One row is always one line when piped.
//! - JSON: one object a line, exact, times in ISO 8601 UTC.
//! - CSV (RFC 4180), every cell in quotes: the same fields as JSON, text made [`harmless`] for spreadsheets.
//!
//! What came out of a log is escaped in all three ([`crate::people::escape`]). A reader who closes the pipe early (`| head`)
//! ends the output without an error.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use crate::people::escape::{shown, write_json};
use crate::people::table::{self, Column, Terminal, wrapped};
use crate::people::when::Clock;

pub(crate) use crate::people::table::Tone;

/// What a formula begins with, as wide characters, too (East Asian input takes them for the same); and what keeps it from being one.
const FORMULA: [char; 9] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '\''];

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

    /// Those of free text, which wrap between words where the terminal is narrow; all others are kept whole.
    const PROSE: &'static [&'static str] = &[];
    /// Those that a narrow terminal may leave out, the least important first.
    const SPARE: &'static [&'static str] = &[];

    /// The row's cells, as many as there are headings. They need not be escaped.
    fn cells(&self, clock: &Clock) -> Vec<String>;

    /// Colour of one of the cells.
    fn tone(&self, _column: usize) -> Tone {
        Tone::Plain
    }
}

/// Writes the rows to standard output; `summary` ends a table and is left out for programs.
pub(crate) fn print<T: Listed>(rows: &[T], args: &OutputArgs, clock: &Clock, summary: &str) -> Result<()> {
    let stdout = io::stdout();
    let terminal = Terminal::of_stdout();
    let mut out = io::BufWriter::new(stdout.lock());
    let written = write(&mut out, rows, args.format, clock, terminal, summary);
    closed_early(written.and_then(|()| Ok(out.flush()?)))
}

/// Leaves at most `limit` of rows, of which one more was asked for, and says whether there are more. Programs get no summary:
/// they are told on standard error.
pub(crate) fn cut<T>(rows: &mut Vec<T>, limit: u32, has_summary: bool) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_cut = rows.len() > limit;
    rows.truncate(limit);
    if is_cut && !has_summary {
        eprintln!("vonggac: {limit} are written, and there are more: --limit N");
    }
    is_cut
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
    terminal: Option<Terminal>,
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
                out.write_all(table(rows, clock, terminal).as_bytes())?;
            }
            let room = terminal.map_or(usize::MAX, |terminal| terminal.chars);
            Ok(writeln!(out, "{}", wrapped(summary, room).join("\n"))?)
        }
    }
}

fn table<T: Listed>(rows: &[T], clock: &Clock, terminal: Option<Terminal>) -> String {
    debug_assert!(T::PROSE.iter().chain(T::SPARE).all(|name| T::HEADINGS.contains(name)));
    let mut columns: Vec<Column> = T::HEADINGS
        .iter()
        .map(|heading| {
            Column::new(&heading.replace("{zone}", &clock.zone_name()))
                .prose(T::PROSE.contains(heading))
                .spared(T::SPARE.iter().position(|spare| spare == heading))
        })
        .collect();
    for row in rows {
        for (at, (column, text)) in columns.iter_mut().zip(row.cells(clock)).enumerate() {
            column.push(&text, row.tone(at));
        }
    }
    table::written(&columns, terminal)
}

fn write_csv<T: Listed>(out: &mut impl Write, rows: &[T]) -> Result<()> {
    let mut csv = csv::WriterBuilder::new()
        .quote_style(csv::QuoteStyle::Always)
        .terminator(csv::Terminator::CRLF)
        .from_writer(out);
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

/// Text as it is, lists joined by "; ", numbers as they are, the rest as JSON; escaped, and never a formula.
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
///
/// Where lists are parted by semicolons, as they are in Vietnamese, a spreadsheet that opens the file ends a cell at each
/// semicolon, within quotes or not. So wherever a cell may begin (the beginning, and behind a semicolon, both with blanks or
/// without) an apostrophe goes before each of [`FORMULA`]. As that has the apostrophe itself, taking one away there gives the
/// text back.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut begins = true;
    for char in shown(text).chars() {
        if begins && FORMULA.contains(&char) {
            out.push('\'');
        }
        begins = char == ';' || (begins && char.is_whitespace());
        out.push(char);
    }
    out
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
        write(&mut out, rows, format, &Clock::new(true), None, "done").unwrap();
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
            let written = write(&mut Gone, &[line("a")], format, &Clock::new(true), None, "done");
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
            "\"host\",\"text\"\r\n\"web01\",\"'=cmd|' /C calc'!A0\"\r\n"
        );
        assert_eq!(written(&[], Format::Csv), "\"host\",\"text\"\r\n");
    }

    #[test]
    fn a_list_parted_by_semicolons_is_no_formula_either() {
        for (text, expected) in [
            ("x;=HYPERLINK(1)", "x;'=HYPERLINK(1)"),
            ("x; +1;-2;  @a", "x; '+1;'-2;  '@a"),
            (" =1", " '=1"),
            ("'=1;'x", "''=1;''x"),
            ("＝1", "'＝1"),
            ("a=b; c-d, -e", "a=b; c-d, -e"),
        ] {
            assert_eq!(harmless(text), expected);
        }
        let list = serde_json::json!(["a", "=b", "c"]);
        assert_eq!(csv_cell(&list), "a; '=b; c");
        assert_eq!(csv_cell(&serde_json::json!(-5)), "-5", "a number is one");
    }

    proptest! {
        #[test]
        fn an_apostrophe_can_be_taken_away_again(text in "[a; =+@'\\-]{0,30}") {
            let cell = harmless(&text);
            let parts: Vec<String> = cell.split(';').map(|part| {
                let (blanks, rest) = part.split_at(part.len() - part.trim_start().len());
                prop_assert!(!rest.starts_with(['=', '+', '-', '@']), "{}", cell);
                Ok(format!("{blanks}{}", rest.strip_prefix('\'').unwrap_or(rest)))
            }).collect::<Result<_, TestCaseError>>()?;
            prop_assert_eq!(parts.join(";"), text);
        }
    }
}
