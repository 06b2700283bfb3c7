//! Windows event log files (EVTX): chunks in, events out.
//!
//! A file is a header of [`EVTX_HEADER_BYTES`] and chunks of [`EVTX_CHUNK_BYTES`]; a chunk holds its own names and templates, so
//! any run of chunks is read alone, on any thread ([`EvtxBlock::read`]). Its records (`binxml.rs`) become values in one text
//! and names that stand once a block. An event borrows all of it ([`EvtxBlock::events`]): no allocation for a field.
//!
//! Events have native names and Sigma's log source (`windows.rs`), the time of `TimeCreated`, and as message all their
//! values, one a line, so that keywords find what they find in a log line.
//!
//! Limits: [`EVTX_BLOCK_CHUNKS_MAX`] chunks a block, and those of a record in `binxml.rs`. A chunk or record that cannot be
//! read is counted in [`EvtxBlock::damage`] with the first reason, and the rest goes on: what stood before the break is an
//! event, and the next record is looked for by its mark. A chunk that the file's end cuts short is read as far as it goes. The
//! file header is not needed: a file with a broken one is read like any other. A log copied while it was written has chunks whose
//! heads do not know of the last records: what stands behind the stated end is read as long as its numbers go on.
//!
//! What it never does: carve deleted records, or trust a checksum (a log copied from a running system has stale ones).

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;

use super::binxml::{Cell, Cells, Reader};
use super::fields::Fields;
use super::time::{self, Clock};
use super::windows;
use crate::{Event, Micros, ParseStatus, Value};

/// The first bytes of a file.
pub const EVTX_MAGIC: &[u8; 8] = b"ElfFile\0";

/// Bytes before the first chunk.
pub const EVTX_HEADER_BYTES: usize = 4096;

/// Bytes of a chunk.
pub const EVTX_CHUNK_BYTES: usize = 64 * 1024;

/// First bytes of a chunk, by which [`evtx_chunk_end`] says how much of it is to be read.
pub const EVTX_CHUNK_HEAD_BYTES: usize = 4096;

/// Most chunks of a block: 256 KiB, some hundreds of events and about as much text stay in a processor's own cache.
pub const EVTX_BLOCK_CHUNKS_MAX: usize = 4;

/// First bytes of a chunk.
pub const EVTX_CHUNK_MAGIC: &[u8; 8] = b"ElfChnk\0";

/// Bytes of a chunk before its first record.
const CHUNK_HEADER_BYTES: usize = 512;

/// Where a chunk's header says at which byte its records end.
const CHUNK_END: usize = 48;

/// First bytes of a record.
const RECORD_MAGIC: [u8; 4] = [b'*', b'*', 0, 0];

/// Bytes of a record before its binary XML, and behind it (its size once more).
const RECORD_HEADER_BYTES: usize = 24;
const RECORD_TRAILER_BYTES: usize = 4;

/// Fields that a Windows event gets beside its own (`windows.rs`).
const FIELDS_ADDED: usize = 4;

/// Fields as an event has them.
type FieldList<'b> = Vec<(Cow<'b, str>, Value<'b>)>;

/// How many bytes of a chunk there are to read, told by its first [`EVTX_CHUNK_HEAD_BYTES`]: most chunks of small logs are nearly
/// empty. The first bytes behind the stated end are among them. If they say that there is another record, the block has damage
/// without the rest, and is to be read whole.
pub fn evtx_chunk_end(head: &[u8]) -> usize {
    let stated = head.starts_with(EVTX_CHUNK_MAGIC).then(|| stated_end(head)).flatten();
    let goes_on = |end: &usize| head.get(*end..).and_then(record_head).is_some();
    let end = stated.filter(|end| !goes_on(end)).and_then(|end| end.checked_add(RECORD_HEADER_BYTES));
    end.map_or(EVTX_CHUNK_BYTES, |end| end.min(EVTX_CHUNK_BYTES))
}

/// A run of chunks, read.
#[derive(Debug, Default)]
pub struct EvtxBlock {
    cells: Cells,
    /// What the text of the cells is a piece of.
    text: String,
    records: Vec<Span>,
    damage: Damage,
}

/// What could not be read of a block.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Damage {
    /// Chunks and records.
    pub count: u64,
    /// Why the first of them could not.
    pub first: Option<String>,
}

/// One event of the block.
#[derive(Debug)]
struct Span {
    id: u64,
    cells: Range<usize>,
    text: Range<usize>,
}

/// A record of a chunk.
struct Record {
    id: u64,
    content: Range<usize>,
    end: usize,
}

impl EvtxBlock {
    /// Reads a run of chunks in place of what the block held, whose buffers are used again. At most
    /// [`EVTX_BLOCK_CHUNKS_MAX`] chunks; what is longer is not read and counted as damage.
    pub fn read(&mut self, chunks: &[u8]) {
        self.cells.clear();
        self.records.clear();
        self.damage = Damage::default();
        let bytes_max = EVTX_CHUNK_BYTES.saturating_mul(EVTX_BLOCK_CHUNKS_MAX);
        let (chunks, rest) = chunks.split_at_checked(bytes_max).unwrap_or((chunks, &[]));
        for chunk in chunks.chunks(EVTX_CHUNK_BYTES) {
            self.chunk(chunk);
        }
        self.text = self.cells.take_text(std::mem::take(&mut self.text));
        if !rest.is_empty() {
            self.damage.note(|| format!("{} bytes beyond the block", rest.len()));
        }
    }

    /// The events, each with its record number (`EventRecordID`), for those who keep them. `received` is the time of an event
    /// that has none.
    pub fn events(&self, received: Micros) -> impl Iterator<Item = (u64, Event<'_>)> {
        let numbered = (0_u32..).zip(&self.records);
        numbered.map(move |(index, span)| (span.id, self.event(index, span, received, Vec::new())))
    }

    /// Shows the same events to those who do not keep them: each is made in the memory of the one before.
    pub fn each_event<'b>(&'b self, received: Micros, mut see: impl FnMut(u64, &mut Event<'b>)) {
        let mut fields = Vec::new();
        for (index, span) in (0_u32..).zip(&self.records) {
            let mut event = self.event(index, span, received, fields);
            see(span.id, &mut event);
            fields = event.fields;
            fields.clear();
        }
    }

    /// What could not be read.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Reads a chunk; one that was never used is zero and nothing.
    fn chunk(&mut self, chunk: &[u8]) {
        if !chunk.starts_with(EVTX_CHUNK_MAGIC) {
            if !is_zero(chunk) {
                self.damage.note(|| "a chunk without its mark".to_owned());
            }
            return;
        }
        if chunk.len() < EVTX_CHUNK_BYTES {
            self.damage.note(|| format!("a chunk cut short after {} bytes", chunk.len()));
        }
        let mut reader = Reader::new(chunk, &mut self.cells);
        let (mut at, mut last) = (CHUNK_HEADER_BYTES, None);
        while let Some(record) = next_record(chunk, at, last, &mut self.damage) {
            (at, last) = (record.end, Some(record.id));
            let (cells, text) = reader.written();
            if let Err(broken) = reader.record(record.content) {
                self.damage.note(|| format!("record {}: {broken}", record.id));
            }
            let (cells, text) = (cells..reader.written().0, text..reader.written().1);
            if !cells.is_empty() {
                self.records.push(Span { id: record.id, cells, text });
            }
        }
    }

    /// One event, in a list of fields that is empty.
    fn event<'b>(&'b self, index: u32, span: &Span, received: Micros, fields: FieldList<'b>) -> Event<'b> {
        let cells = self.cells.cells.get(span.cells.clone()).unwrap_or_default();
        let mut fields = Fields(fields);
        fields.0.reserve(cells.len().saturating_add(FIELDS_ADDED));
        let mut have_blanks = false;
        fields.0.extend(cells.iter().map(|(name, cell)| {
            let name = self.cells.names.get(*name);
            have_blanks |= name.is_some_and(|name| name.has_blank);
            (Cow::Borrowed(name.map_or("", |name| &name.text)), self.value(cell))
        }));
        let time = fields.find("TimeCreated_SystemTime").and_then(|text| time::rfc3339(text).ok());
        let clock = Clock { receipt: received, utc_offset_s: 0, past: Micros::MAX, future: Micros::MAX };
        let (ts, ts_quality) = clock.resolve(time.map(|(_, stamp)| stamp));
        let log_source = match have_blanks {
            true => windows::complete(&mut fields),
            false => windows::complete_plain(&mut fields),
        };
        Event {
            ts,
            ts_quality,
            record: index,
            records: 1,
            log_source,
            status: ParseStatus::Parsed,
            message: Cow::Borrowed(self.piece(&span.text)),
            fields_hold_text: true,
            fields: fields.0,
        }
    }

    fn value(&self, cell: &Cell) -> Value<'_> {
        match cell {
            Cell::Null => Value::Null,
            Cell::Bool(flag) => Value::Bool(*flag),
            Cell::Int(int) => Value::Int(*int),
            Cell::Float(float) => Value::Float(*float),
            Cell::Text(range) => Value::Text(Cow::Borrowed(self.piece(range))),
        }
    }

    fn piece(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }
}

/// The record at a place of the chunk, or where there is none, the next; none at the end. `last` is the number of the one before.
fn next_record(chunk: &[u8], at: usize, last: Option<u64>, damage: &mut Damage) -> Option<Record> {
    let records = chunk.get(..stated_end(chunk).unwrap_or_default()).unwrap_or(chunk);
    let Some(rest) = records.get(at..).filter(|rest| !rest.is_empty()) else {
        return unstated_record(chunk, at, last, damage);
    };
    if is_zero(rest.get(..RECORD_HEADER_BYTES).unwrap_or(rest)) {
        return None;
    }
    if let Some(record) = record_at(chunk, at) {
        if record.end > records.len() {
            damage.note(|| format!("record {} reaches beyond the end of its chunk", record.id));
        }
        return Some(record);
    }
    damage.note(|| format!("no record at byte {at} of its chunk"));
    let from = at.saturating_add(1);
    let mut marks = memmem::find_iter(records.get(from..)?, &RECORD_MAGIC);
    marks.find_map(|mark| record_at(chunk, from.saturating_add(mark)))
}

/// A record behind the end that the chunk states. Where its number does not follow the last one, it is older than the chunk's other
/// records, and deleted.
fn unstated_record(chunk: &[u8], at: usize, last: Option<u64>, damage: &mut Damage) -> Option<Record> {
    let id = record_head(chunk.get(at..)?)?.1;
    let Some(last) = last else {
        damage.note(|| format!("record {id} in a chunk whose head says that it has none"));
        return None;
    };
    let follows = last.checked_add(1) == Some(id);
    let record = record_at(chunk, at).filter(|_| follows);
    if follows && record.is_none() {
        damage.note(|| format!("record {id} behind the end of its chunk"));
    }
    record
}

/// Where a chunk says that its records end; `None`: it has none.
fn stated_end(chunk: &[u8]) -> Option<usize> {
    u32_at(chunk, CHUNK_END).and_then(|end| usize::try_from(end).ok()).filter(|end| *end > CHUNK_HEADER_BYTES)
}

/// A record whose size stands at both of its ends.
fn record_at(chunk: &[u8], at: usize) -> Option<Record> {
    let (size, id) = record_head(chunk.get(at..)?)?;
    let end = at.checked_add(usize::try_from(size).ok()?)?;
    let content = at.checked_add(RECORD_HEADER_BYTES)?..end.checked_sub(RECORD_TRAILER_BYTES)?;
    let is_whole = content.start <= content.end && u32_at(chunk, content.end)? == size;
    is_whole.then_some(Record { id, content, end })
}

/// The size that a record states, and its number.
fn record_head(bytes: &[u8]) -> Option<(u32, u64)> {
    let (size, rest) = bytes.strip_prefix(&RECORD_MAGIC)?.split_first_chunk()?;
    Some((u32::from_le_bytes(*size), u64::from_le_bytes(*rest.first_chunk()?)))
}

/// Whether nothing stands there. A log that Windows made room for has many such chunks, so they are looked at by blocks.
fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let is_zero = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all | byte) == 0;
    blocks.iter().all(|block| is_zero(block)) && is_zero(rest)
}

fn u32_at(chunk: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*chunk.get(at..)?.first_chunk()?))
}

impl Damage {
    fn note(&mut self, why: impl FnOnce() -> String) {
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert_with(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Whole files, made for the purpose and real ones, are read in tests/evtx.rs.
    #[test]
    fn reads_bytes_that_are_no_chunks() {
        let mut block = EvtxBlock::default();
        let mut damage = |bytes: &[u8]| {
            block.read(bytes);
            assert_eq!(block.events(0).count(), 0);
            block.damage().count
        };
        assert_eq!(damage(&[]), 0);
        assert_eq!(damage(&[0; EVTX_CHUNK_BYTES]), 0);
        assert_eq!(damage(&[1; EVTX_CHUNK_BYTES + 1]), 2);
        let mut chunk = EVTX_CHUNK_MAGIC.to_vec();
        chunk.resize(EVTX_CHUNK_BYTES, 0xff);
        assert_eq!(damage(&chunk), 1);
        assert_eq!(damage(&chunk[..1000]), 2);
        assert_eq!(damage(&vec![0; EVTX_CHUNK_BYTES * EVTX_BLOCK_CHUNKS_MAX + 1]), 1);
    }
}
