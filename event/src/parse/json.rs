//! JSON lines: one object a line, flattened.
//!
//! Nested objects become names with dots (`process.name`), the elements of an array become several values of one name. The
//! time is the first that stands under one of the usual names ([`rank`]). Windows events get their native names and log
//! source, whoever shipped them (`windows.rs`), and so do entries of systemd's journal (`journal.rs`).
//!
//! Limits: those of `json_text.rs`; what lies deeper or comes later is checked to be JSON, and stays in the text only. A line
//! that is not one object, or has more behind it, is not taken.

use super::fields::{Fields, Line};
use super::journal;
use super::json_text::{self, Extent};
use super::room::Room;
use super::time::{self, Stamp};
use super::windows;
use crate::{LogSource, ParseStatus, Value};

/// Names of Windows' times, which are in UTC whether they say so or not.
const IN_UTC: [&str; 3] = ["TimeCreated_SystemTime", "SystemTime", "UtcTime"];

/// The place of a name among those under which a time stands, the likeliest first.
fn rank(name: &str) -> Option<u8> {
    Some(match name {
        "@timestamp" => 0,
        "TimeCreated_SystemTime" => 1,
        "timestamp" => 2,
        "time" => 3,
        "ts" => 4,
        "eventTime" => 5,
        "EventTime" => 6,
        "UtcTime" => 7,
        "SystemTime" => 8,
        "datetime" => 9,
        "date" => 10,
        "_time" => 11,
        "__REALTIME_TIMESTAMP" => 12,
        _ => return None,
    })
}

/// Reads a line.
pub(super) fn parse<'t>(line: &'t str, is_nfc: bool, room: &mut Room<'t>) -> Option<Line<'t>> {
    let mut fields = json_text::fields_of(line);
    let extent = json_text::flatten(line, is_nfc, &mut fields, room)?;
    Some(understood(fields, extent))
}

/// What the fields of an object say. What lay beyond the limits, or is no part of a Windows event, stands in the text alone.
pub(super) fn understood(mut fields: Fields<'_>, extent: Extent) -> Line<'_> {
    let (mut source, are_all) = windows::recognise(&mut fields);
    let stamp = first_stamp(&fields);
    let fields_hold_text = extent == Extent::Whole && are_all;
    let mut status = ParseStatus::Parsed;
    if source == LogSource::default()
        && let Some(entry) = journal::recognise(&mut fields)
    {
        (source, status) = entry;
    }
    Line { stamp, source, status, fields_hold_text, fields }
}

/// The time under the likeliest name that has one.
fn first_stamp(fields: &Fields<'_>) -> Option<Stamp> {
    let mut tried = None;
    loop {
        let times = fields.0.iter().filter_map(|(name, value)| Some((rank(name)?, name, value)));
        let untried = times.filter(|(rank, ..)| Some(*rank) > tried);
        let (rank, name, value) = untried.min_by_key(|(rank, ..)| *rank)?;
        let stamp = stamp(value);
        let stamp = if IN_UTC.contains(&&**name) { stamp.and_then(Stamp::in_utc) } else { stamp };
        if stamp.is_some() {
            return stamp;
        }
        tried = Some(rank);
    }
}

/// A time as JSON writers write it.
pub(super) fn stamp(value: &Value<'_>) -> Option<Stamp> {
    match value {
        Value::Int(number) => time::epoch_by_size(*number),
        Value::Float(number) => time::epoch_by_size_with_fraction(*number),
        Value::Text(text) => match text.parse::<i64>() {
            Ok(number) => time::epoch_by_size(number),
            Err(_) => time::whole(text),
        },
        _ => None,
    }
}
