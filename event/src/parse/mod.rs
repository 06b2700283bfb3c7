//! From the records of a batch to events.
//!
//! One event per record, but for audit records of one serial, which make one event together, also where those of another event
//! stand between them ([`audit_order`]). Every record belongs to exactly one event: what no parser takes becomes an event of its
//! own with [`ParseStatus::Raw`], and nothing is dropped. A format that the batch states is the only one tried; `auto` finds it
//! out line by line. Each parser's limits and what it does beyond them stand at the top of its file; none panics, and none
//! allocates more than a small multiple of its record.
//!
//! Where the text needs no decoding (UTF-8, NFC), fields are slices of the batch. nom is used inside and never seen outside.

mod auditd;
mod binxml;
mod cron;
mod evtx;
mod fields;
mod flow;
mod journal;
mod json;
mod json_text;
mod otlp;
mod pam;
mod room;
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
use std::collections::VecDeque;

pub use evtx::{
    Damage, EVTX_BLOCK_CHUNKS_MAX, EVTX_CHUNK_BYTES, EVTX_CHUNK_HEAD_BYTES, EVTX_CHUNK_MAGIC,
    EVTX_HEADER_BYTES, EVTX_MAGIC, EvtxBlock, evtx_chunk_end,
};
use fields::{Fields, Line};
use room::Room;
use time::Clock;

use crate::limits::{TS_FUTURE_MAX, TS_PAST_MAX};
use crate::wire::Records;
use crate::{Batch, Event, Format, Header, LogSource, Micros, ParseStatus, Record};

/// Audit events whose records are looked for between each other's: as many as processors write at once, and some more.
const AUDIT_EVENTS_AT_ONCE: usize = 16;

/// The events of a batch, in order, for those who keep them. [`Events`] is faster for those who do not.
pub fn parse_batch(batch: &Batch) -> Vec<Event<'_>> {
    parse_batch_within(batch, TS_PAST_MAX, TS_FUTURE_MAX)
}

/// The events of a batch, in order, where an event's own time is believed when it lies at most `past` before and `future`
/// after the receipt of its record. For imports of old logs and for tests of rules.
pub fn parse_batch_within(batch: &Batch, past: Micros, future: Micros) -> Vec<Event<'_>> {
    let mut lines = Lines::of(batch, past, future, None);
    let mut room = Room::default();
    let mut events = Vec::new();
    while let Some(record) = lines.next() {
        events.push(lines.event(&record, &mut room));
    }
    events
}

/// The events of a batch, in order, one at a time: each is parsed when it is asked for, into memory that the one before
/// leaves.
pub struct Events<'b> {
    lines: Lines<'b>,
    /// As long as the longest record so far.
    buffer: Vec<u8>,
}

impl<'b> Events<'b> {
    /// As [`parse_batch`].
    pub fn of(batch: &'b Batch) -> Self {
        Self::within(batch, TS_PAST_MAX, TS_FUTURE_MAX)
    }

    /// As [`Events::of`], of a batch that came at `received` from somebody whose clock may be wrong: when a record says that it
    /// was read at a time that cannot be ([`is_believable`]), it was read when the batch came.
    pub fn received_at(batch: &'b Batch, received: Micros) -> Self {
        Self { lines: Lines::of(batch, TS_PAST_MAX, TS_FUTURE_MAX, Some(received)), buffer: Vec::new() }
    }

    /// As [`parse_batch_within`].
    pub fn within(batch: &'b Batch, past: Micros, future: Micros) -> Self {
        Self { lines: Lines::of(batch, past, future, None), buffer: Vec::new() }
    }

    /// The next event, which goes before the one behind it comes: that is why this is no [`Iterator`].
    #[expect(
        clippy::should_implement_trait,
        reason = "an item of an iterator cannot borrow from the iterator"
    )]
    pub fn next(&mut self) -> Option<Event<'_>> {
        self.next_with_records().map(|(event, _)| event)
    }

    /// The next event and the records that it is made of.
    pub fn next_with_records(&mut self) -> Option<(Event<'_>, &[Record<'b>])> {
        let record = self.lines.next()?;
        let first = self.lines.read;
        let mut room = Room::lent(&mut self.buffer, record.bytes.len());
        let event = self.lines.event(&record, &mut room);
        let records = self.lines.records.get(first..self.lines.read).unwrap_or_default();
        Some((event, records))
    }
}

/// What is left of a batch.
struct Lines<'b> {
    header: &'b Header,
    /// In the order in which they are read: all where that is not the order of the batch, else those that were read. To look at
    /// one that is not read yet costs a wait for memory.
    records: Vec<Record<'b>>,
    /// How many of them were.
    read: usize,
    /// Those behind them.
    rest: Records<'b>,
    past: Micros,
    future: Micros,
    /// When the batch came, where the times of its records are not believed unseen.
    received: Option<Micros>,
}

impl<'b> Lines<'b> {
    fn of(batch: &'b Batch, past: Micros, future: Micros, received: Option<Micros>) -> Self {
        let (header, rest) = (&batch.header, batch.records());
        let mut lines = Self { header, records: Vec::new(), read: 0, rest, past, future, received };
        if may_be_audit(header.format) {
            lines.fetch();
            audit_order(&mut lines.records);
        }
        lines
    }

    fn fetch(&mut self) {
        self.records.extend(&mut self.rest);
    }

    /// The record with which the next event begins.
    fn next(&mut self) -> Option<Record<'b>> {
        if let Some(record) = self.records.get(self.read) {
            return Some(*record);
        }
        let record = self.rest.next()?;
        self.records.push(record);
        Some(record)
    }

    /// The event that begins with a record.
    fn event<'e>(&mut self, record: &Record<'b>, room: &mut Room<'e>) -> Event<'e>
    where
        'b: 'e,
    {
        let header = self.header;
        let clock = Clock {
            receipt: self.received.filter(|at| !is_believable(record.time, *at)).unwrap_or(record.time),
            utc_offset_s: header.utc_offset_s,
            past: self.past,
            future: self.future,
        };
        let index = u32::try_from(self.read).unwrap_or(u32::MAX);
        self.read = self.read.saturating_add(1);
        let following = self.records.get(self.read..).unwrap_or_default();
        if let Some((message, line, more)) = assemble(header.format, record, following) {
            self.read = self.read.saturating_add(more);
            let count = u32::try_from(more).unwrap_or(u32::MAX).saturating_add(1);
            return event(header, &clock, index, count, message, line);
        }
        let (message, line) = single(header.format, record.bytes, room);
        event(header, &clock, index, 1, message, line)
    }
}

/// Whether something that was received at a time can be of another one: at most [`TS_PAST_MAX`] before it and [`TS_FUTURE_MAX`]
/// after it.
pub fn is_believable(ts: Micros, received: Micros) -> bool {
    (received.saturating_sub(TS_PAST_MAX)..=received.saturating_add(TS_FUTURE_MAX)).contains(&ts)
}

/// Whether a batch may end after `previous`: an event must not span two batches. `next` is the line that follows; `None`
/// when nothing has followed yet, and then the answer is whether `previous` surely ends its event.
pub fn cuts_before(format: Format, previous: &[u8], next: Option<&[u8]>) -> bool {
    if !may_be_audit(format) {
        return true;
    }
    match (auditd::serial(previous), next) {
        (None, _) => true,
        (Some(serial), Some(next)) => auditd::serial(next) != Some(serial),
        (Some(_), None) => auditd::ends_event(previous),
    }
}

fn may_be_audit(format: Format) -> bool {
    matches!(format, Format::Auditd | Format::Auto)
}

/// Puts audit records of one serial together where the first of them stands: processors that make events at the same time have
/// their records written between each other's. All others stay where they are.
fn audit_order<'b>(records: &mut Vec<Record<'b>>) {
    let mut begun: VecDeque<(auditd::Serial<'b>, usize)> = VecDeque::with_capacity(AUDIT_EVENTS_AT_ONCE);
    let place = |(index, record): (usize, &Record<'b>)| {
        let Some(serial) = auditd::serial(record.bytes) else { return index };
        if let Some((_, first)) = begun.iter().rev().find(|(known, _)| *known == serial) {
            return *first;
        }
        if begun.len() >= AUDIT_EVENTS_AT_ONCE {
            begun.pop_front();
        }
        begun.push_back((serial, index));
        index
    };
    let places: Vec<usize> = records.iter().enumerate().map(place).collect();
    if !places.is_sorted() {
        let mut placed: Vec<(usize, Record<'b>)> = places.into_iter().zip(records.drain(..)).collect();
        // Stable: those of one event keep their order.
        placed.sort_by_key(|(place, _)| *place);
        records.extend(placed.into_iter().map(|(_, record)| record));
    }
}

/// Audit records of one serial: their text, what they say, how many follow the first. `None`: the record is none.
fn assemble<'a>(
    format: Format,
    first: &Record<'a>,
    following: &[Record<'a>],
) -> Option<(Cow<'a, str>, Line<'a>, usize)> {
    if !may_be_audit(format) {
        return None;
    }
    let serial = auditd::serial(first.bytes)?;
    let mut message = text::decode(first.bytes);
    let mut assembly = auditd::Assembly::default();
    if !assembly.add(&message) {
        return None;
    }
    let is_same = |record: &&Record<'a>| auditd::serial(record.bytes) == Some(serial);
    let mut count = 0_usize;
    for record in following.iter().take(auditd::EVENT_RECORDS_MAX.saturating_sub(1)).take_while(is_same) {
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
fn single<'t>(format: Format, bytes: &'t [u8], room: &mut Room<'t>) -> (Cow<'t, str>, Line<'t>) {
    match text::utf8(bytes) {
        // Nearly all lines: what was read of one is not moved once more than need be.
        Cow::Borrowed(text) if text::is_nfc(text) => {
            read(format, text, true, room).unwrap_or((Cow::Borrowed(text), raw()))
        }
        text => {
            let is_nfc = text::is_nfc(&text);
            said(format, text, is_nfc, room)
        }
    }
}

/// A text in NFC, and what its parser made of it, which borrows where it can.
fn said<'t>(
    format: Format,
    text: Cow<'t, str>,
    is_nfc: bool,
    room: &mut Room<'t>,
) -> (Cow<'t, str>, Line<'t>) {
    let text = match text {
        Cow::Borrowed(text) if is_nfc || is_json(format, text) => {
            let (message, line) =
                read(format, text, is_nfc, room).unwrap_or_else(|| (Cow::Borrowed(text), raw()));
            return (if is_nfc { message } else { text::composed(message) }, line);
        }
        Cow::Owned(text) if is_nfc || is_json(format, &text) => text,
        text => text::composed_apart(&text),
    };
    let (message, line) = match read(format, &text, is_nfc, &mut Room::default()) {
        Some((Cow::Borrowed(message), line)) if message.len() == text.len() => (None, line.into_owned()),
        Some((message, line)) => (Some(message.into_owned()), line.into_owned()),
        None => (None, raw()),
    };
    let message = Cow::Owned(message.unwrap_or(text));
    (if is_nfc { message } else { text::composed(message) }, line)
}

/// Whether a text is read as JSON. Such text is normalised string by string, behind its escapes: the `n` of `\n` must not
/// become one letter with a mark that follows.
fn is_json(format: Format, text: &str) -> bool {
    match format {
        Format::Syslog | Format::Auditd | Format::Web => false,
        Format::Auto => begins_object(text),
        _ => true,
    }
}

fn begins_object(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{')
}

/// Reads a text. JSON need not be in NFC; what it says is.
fn read<'t>(
    format: Format,
    text: &'t str,
    is_nfc: bool,
    room: &mut Room<'t>,
) -> Option<(Cow<'t, str>, Line<'t>)> {
    let line = match format {
        Format::Otlp => return otlp::parse(text, is_nfc, room),
        Format::Auto => detect(text, is_nfc, room),
        Format::Syslog => syslog::parse(text),
        Format::Auditd => auditd::parse_line(text),
        Format::Web => web::parse(text),
        Format::Json => json::parse(text, is_nfc, room),
        Format::Flow => flow::parse(text, is_nfc, room),
    };
    line.map(|line| (Cow::Borrowed(text), line))
}

/// Reads a line whose format is not stated: its first characters tell which parsers can take it.
fn detect<'t>(text: &'t str, is_nfc: bool, room: &mut Room<'t>) -> Option<Line<'t>> {
    if text.starts_with("type=") || text.starts_with("node=") {
        return auditd::parse_line(text);
    }
    if begins_object(text) {
        return json::parse(text, is_nfc, room);
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
