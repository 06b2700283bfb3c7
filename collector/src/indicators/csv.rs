//! Tables with a line for each indicator (RFC 4180; lines that begin with `#` are comments; spaces behind a comma, also before
//! a quote, are no part of a value).
//!
//! The first line names the columns, unless the configuration does. Read are `value` and, where they are there, `type`, `name`,
//! `description`, `severity`, `confidence`, `labels`, `tlp`, `valid_from`, `valid_until`, and other usual names of these
//! ([`COLUMNS`]). Types are named as ours, MISP's or abuse.ch's are.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use csv::{Reader, ReaderBuilder, StringRecord, Trim};
use detect::Severity;

use super::fault::{FeedError, Place};
use super::load::{Found, Sink, moment, typed};

/// What is read of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Column {
    Value,
    Type,
    Name,
    Description,
    Severity,
    Confidence,
    Labels,
    Tlp,
    ValidFrom,
    ValidUntil,
}

/// Names of the columns; in lower case, with `_` for a space.
const COLUMNS: [(Column, &[&str]); 10] = [
    (Column::Value, &["value", "indicator", "ioc", "ioc_value", "observable"]),
    (Column::Type, &["type", "ioc_type", "indicator_type", "kind"]),
    (Column::Name, &["name", "title", "malware", "malware_printable", "threat"]),
    (Column::Description, &["description", "comment", "reference"]),
    (Column::Severity, &["severity", "level"]),
    (Column::Confidence, &["confidence", "confidence_level"]),
    (Column::Labels, &["labels", "tags"]),
    (Column::Tlp, &["tlp"]),
    (Column::ValidFrom, &["valid_from"]),
    (Column::ValidUntil, &["valid_until", "expires", "expiration"]),
];

/// In which place each column stands.
struct Places([Option<usize>; COLUMNS.len()]);

pub(super) fn read(input: impl Read, path: &Path, sink: &mut Sink<'_>) -> Result<(), FeedError> {
    let malformed = |expected, detail| FeedError::Malformed { path: path.into(), expected, detail };
    let broken = |error: csv::Error| malformed("lines of comma-separated values", error.to_string());
    let mut reader = reader(input, sink.feed.columns.is_empty());
    let places = match sink.feed.columns.as_slice() {
        [] => Places::of(reader.headers().map_err(broken)?.iter()),
        columns => Places::of(columns.iter().map(String::as_str)),
    };
    if places.0.first().copied().flatten().is_none() {
        let found: Vec<&str> = match sink.feed.columns.as_slice() {
            [] => reader.headers().map_err(broken)?.iter().collect(),
            columns => columns.iter().map(String::as_str).collect(),
        };
        let expected = "a column named value, indicator or ioc, in the first line or in `columns`";
        return Err(malformed(expected, format!("found {found:?}")));
    }
    let mut line = StringRecord::new();
    loop {
        match reader.read_record(&mut line) {
            Ok(true) => take(&line, &places, sink),
            Ok(false) => return Ok(()),
            Err(error) if error.is_io_error() => return Err(broken(error)),
            // A line that is not UTF-8 is one bad line.
            Err(error) => {
                let at = error.position().map_or(0, csv::Position::line);
                sink.not_understood("expected UTF-8".into(), Place::Line(at), "");
            }
        }
    }
}

fn reader<R: Read>(input: R, has_headers: bool) -> Reader<Tight<BufReader<R>>> {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(has_headers).flexible(true).trim(Trim::All).comment(Some(b'#'));
    builder.from_reader(Tight { input: BufReader::new(input), at: At::Line })
}

/// Leaves out the spaces at the beginning of each value: a quote behind one would count as text.
struct Tight<R> {
    input: R,
    at: At,
}

/// Where in a table a byte stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    /// At the beginning of a line.
    Line,
    /// At the beginning of another value.
    Value,
    Comment,
    Plain,
    Quoted,
    /// Behind a quote that ends a value, unless another one follows.
    Closed,
}

impl At {
    fn behind(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::Closed,
            (Self::Quoted, _) | (Self::Line | Self::Value | Self::Closed, b'"') => Self::Quoted,
            (_, b'\n') => Self::Line,
            (Self::Comment, _) | (Self::Line, b'#') => Self::Comment,
            (_, b',') => Self::Value,
            (Self::Line | Self::Value, b' ') => self,
            _ => Self::Plain,
        }
    }
}

impl<R: BufRead> Read for Tight<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let available = self.input.fill_buf()?;
            let read = available.len().min(buffer.len());
            let mut kept = 0;
            for byte in &available[..read] {
                let is_space = *byte == b' ' && matches!(self.at, At::Line | At::Value);
                self.at = self.at.behind(*byte);
                if !is_space {
                    buffer[kept] = *byte;
                    kept += 1;
                }
            }
            self.input.consume(read);
            if kept > 0 || read == 0 {
                return Ok(kept);
            }
        }
    }
}

impl Places {
    fn of<'h>(header: impl Iterator<Item = &'h str>) -> Self {
        let mut places = [None; COLUMNS.len()];
        for (at, name) in header.enumerate() {
            let name = name.trim_start_matches('\u{feff}').trim().to_lowercase().replace(' ', "_");
            let column = COLUMNS.iter().position(|(_, names)| names.contains(&name.as_str()));
            if let Some(place) = column.and_then(|column| places.get_mut(column)) {
                place.get_or_insert(at);
            }
        }
        Self(places)
    }

    /// Empty when the line has no such column.
    fn text<'l>(&self, line: &'l StringRecord, column: Column) -> &'l str {
        let at =
            COLUMNS.iter().position(|(of, _)| *of == column).and_then(|at| self.0.get(at).copied().flatten());
        at.and_then(|at| line.get(at)).unwrap_or_default()
    }
}

fn take(line: &StringRecord, places: &Places, sink: &mut Sink<'_>) {
    let place = Place::Line(line.position().map_or(0, csv::Position::line));
    let text = |column| places.text(line, column);
    let (value, named) = (text(Column::Value), text(Column::Type));
    let labels: Vec<&str> = text(Column::Labels)
        .split([',', ';', '|'])
        .map(str::trim)
        .filter(|label| !label.is_empty())
        .collect();
    let found = Found {
        value,
        severity: Severity::named(text(Column::Severity)),
        confidence: text(Column::Confidence).parse().ok().filter(|percent| *percent <= 100),
        tlp: text(Column::Tlp),
        name: text(Column::Name),
        description: text(Column::Description),
        labels: &labels,
        valid_from: moment(text(Column::ValidFrom)),
        valid_until: moment(text(Column::ValidUntil)),
        ..Found::default()
    };
    for (column, is_read) in [
        (Column::Severity, found.severity.is_some()),
        (Column::ValidFrom, found.valid_from.is_some()),
        (Column::ValidUntil, found.valid_until.is_some()),
    ] {
        // An indicator whose end cannot be read would be valid for ever.
        if !is_read && !text(column).is_empty() {
            return sink.not_understood(format!("{column:?} cannot be read"), place, text(column));
        }
    }
    if named.is_empty() {
        return sink.take(place, &found);
    }
    let values = typed(named, value);
    if values.is_empty() {
        sink.not_understood(format!("the type {named} is not looked for"), place, value);
    }
    for (kind, value) in values {
        sink.take(place, &Found { kind: Some(kind), value, ..found });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_out_spaces_before_values_alone() {
        for (text, tight) in [
            ("a, b,  \"c, d\"\n \"e \"\" f\", g h\n", "a,b,\"c, d\"\n\"e \"\" f\",g h\n"),
            ("# a, \"b\nc, d", "# a, \"b\nc,d"),
            ("a \"b, c\n\"d\n e\", f", "a \"b,c\n\"d\n e\",f"),
            ("   ", ""),
        ] {
            for capacity in [1, 2, 64] {
                let input = BufReader::with_capacity(capacity, text.as_bytes());
                let read = io::read_to_string(Tight { input, at: At::Line }).unwrap();
                assert_eq!(read, tight, "{text:?}");
            }
        }
    }
}
