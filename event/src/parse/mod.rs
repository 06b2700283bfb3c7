//! From the records of a batch to events.
//!
//! One event per record, but for audit records of one serial, which make one event together. Every record belongs to
//! exactly one event: what no parser takes becomes an event of its own with [`ParseStatus::Raw`], and nothing is dropped.
//! A format that the batch states is the only one tried; `auto` finds it out line by line. Each parser's limits and what it
//! does beyond them stand at the top of its file; none panics, and none allocates more than a small multiple of its record.
//!
//! Where the text needs no decoding (UTF-8, NFC), fields are slices of the batch. nom is used inside and never seen outside.

mod auditd;
mod binxml;
mod cron;
mod evtx;
mod fields;
mod json;
mod json_text;
mod otlp;
mod pam;
mod sshd;
mod su;
mod sudo;
mod syscalls;
mod syslog;
mod text;
mod time;
mod useradd;
mod web;
mod windows;

use std::borrow::Cow;
use std::iter::Peekable;

pub use evtx::{Damage, EVTX_BLOCK_CHUNKS_MAX, EVTX_CHUNK_BYTES, EVTX_HEADER_BYTES, EVTX_MAGIC, EvtxBlock};
use fields::{Fields, Line};
use time::Clock;

use crate::limits::{TS_FUTURE_MAX, TS_PAST_MAX};
use crate::{Batch, Event, Format, Header, LogSource, Micros, ParseStatus, Record};

/// The events of a batch, in order.
pub fn parse_batch(batch: &Batch) -> Vec<Event<'_>> {
    parse_batch_within(batch, TS_PAST_MAX, TS_FUTURE_MAX)
}

/// The events of a batch, in order, where an event's own time is believed when it lies at most `past` before and `future`
/// after the receipt of its record. For imports of old logs and for tests of rules.
pub fn parse_batch_within(batch: &Batch, past: Micros, future: Micros) -> Vec<Event<'_>> {
    let mut records = (0_u32..).zip(batch.records()).peekable();
    let mut events = Vec::new();
    while let Some((index, record)) = records.next() {
        let clock = Clock { receipt: record.time, utc_offset_s: batch.header.utc_offset_s, past, future };
        let assembled = assemble(batch.header.format, &record, &mut records);
        let (message, line, count) = assembled.unwrap_or_else(|| {
            let (message, line) = single(batch.header.format, record.bytes);
            (message, line, 1)
        });
        events.push(event(&batch.header, &clock, index, count, message, line));
    }
    events
}

/// Whether a batch may end after `previous`: an event must not span two batches. `next` is the line that follows; `None`
/// when nothing has followed yet, and then the answer is whether `previous` surely ends its event.
pub fn cuts_before(format: Format, previous: &[u8], next: Option<&[u8]>) -> bool {
    if !matches!(format, Format::Auditd | Format::Auto) {
        return true;
    }
    match (auditd::serial(previous), next) {
        (None, _) => true,
        (Some(serial), Some(next)) => auditd::serial(next) != Some(serial),
        (Some(_), None) => auditd::ends_event(previous),
    }
}

/// Audit records of one serial: their text, what they say, how many they are. `None`: the record is none.
fn assemble<'a>(
    format: Format,
    first: &Record<'a>,
    records: &mut Peekable<impl Iterator<Item = (u32, Record<'a>)>>,
) -> Option<(Cow<'a, str>, Line<'a>, u32)> {
    if !matches!(format, Format::Auditd | Format::Auto) {
        return None;
    }
    let serial = auditd::serial(first.bytes)?;
    let mut message = text::decode(first.bytes);
    let mut assembly = auditd::Assembly::default();
    if !assembly.add(&message) {
        return None;
    }
    let mut count = 1_u32;
    while count < auditd::EVENT_RECORDS_MAX {
        let same = |next: &(u32, Record<'a>)| auditd::serial(next.1.bytes) == Some(serial);
        let Some((_, record)) = records.next_if(same) else { break };
        let text = text::decode(record.bytes);
        // The serial is there: a record that is broken behind it still belongs to the event, with its text.
        assembly.add(&text);
        let joined = message.to_mut();
        joined.push('\n');
        joined.push_str(&text);
        count = count.saturating_add(1);
    }
    Some((message, assembly.finish(), count))
}

/// One record: its text and what its parser made of it.
fn single(format: Format, bytes: &[u8]) -> (Cow<'_, str>, Line<'_>) {
    match text::decode(bytes) {
        Cow::Borrowed(text) => read(format, text).unwrap_or((Cow::Borrowed(text), raw())),
        Cow::Owned(text) => match read(format, &text) {
            Some((message, line)) => (Cow::Owned(message.into_owned()), line.into_owned()),
            None => (Cow::Owned(text), raw()),
        },
    }
}

fn read(format: Format, text: &str) -> Option<(Cow<'_, str>, Line<'_>)> {
    let line = match format {
        Format::Otlp => return otlp::parse(text),
        Format::Auto => detect(text),
        Format::Syslog => syslog::parse(text),
        Format::Auditd => auditd::parse_line(text),
        Format::Web => web::parse(text),
        Format::Json => json::parse(text),
    };
    line.map(|line| (Cow::Borrowed(text), line))
}

/// Reads a line whose format is not stated: its first characters tell which parsers can take it.
fn detect(text: &str) -> Option<Line<'_>> {
    if text.starts_with("type=") || text.starts_with("node=") {
        return auditd::parse_line(text);
    }
    if text.trim_ascii_start().starts_with('{') {
        return json::parse(text);
    }
    syslog::parse(text).or_else(|| web::parse(text))
}

fn raw<'t>() -> Line<'t> {
    Line {
        stamp: None,
        source: LogSource::default(),
        status: ParseStatus::Raw,
        fields_hold_text: false,
        fields: Fields::default(),
    }
}

fn event<'a>(
    header: &'a Header,
    clock: &Clock,
    record: u32,
    records: u32,
    message: Cow<'a, str>,
    line: Line<'a>,
) -> Event<'a> {
    let (ts, ts_quality) = clock.resolve(line.stamp);
    let log_source = LogSource {
        category: stated(&header.category, line.source.category),
        product: stated(&header.product, line.source.product),
        service: stated(&header.service, line.source.service),
    };
    Event {
        ts,
        ts_quality,
        record,
        records,
        log_source,
        status: line.status,
        message,
        fields_hold_text: line.fields_hold_text,
        fields: line.fields.0,
    }
}

/// What the agent's configuration states stands before what a parser finds.
fn stated<'a>(stated: &'a str, found: &'static str) -> &'a str {
    if stated.is_empty() { found } else { stated }
}

#[cfg(test)]
mod tests;
