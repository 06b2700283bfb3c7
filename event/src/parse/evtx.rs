//! Windows event log files (EVTX): chunks in, events out.
//!
//! A file is a header of [`EVTX_HEADER_BYTES`] and chunks of [`EVTX_CHUNK_BYTES`]; a chunk holds its own names and templates, so
//! any run of chunks is read alone, on any thread ([`EvtxBlock::read`]). The crate `evtx` decodes the binary XML. What it
//! offers to others than itself is text, and its compact JSON is its fastest: a whole run is written into one buffer, which is
//! read once, without a tree, into values in one text ([`Cell`]) and names that stand once a block. An event borrows all of it
//! ([`EvtxBlock::events`]): no allocation for a field.
//!
//! Events have native names and Sigma's log source (`parse/windows.rs`), the time of `TimeCreated`, and as message all their
//! values, one a line, so that keywords find what they find in a log line.
//!
//! Limits: [`EVTX_BLOCK_CHUNKS_MAX`] chunks a block, [`FIELDS_MAX`] fields an event (what comes later is left out and the event
//! is still there), [`DEPTH_MAX`] levels; the crate bounds what a record may expand to. A chunk or record that cannot be
//! read is counted in [`EvtxBlock::damage`] with the first reason, and the rest goes on; a chunk that the file's end cuts
//! short is read as far as it goes. The file header is not needed: a file with a broken one is read like any other.
//!
//! What it never does: carve deleted records, or trust a checksum (a log copied from a running system has stale ones). It
//! does not panic; that the crate does not is its authors' promise (it forbids unsafe code and is fuzzed), and the caller
//! who must know at which file it happened sets a hook.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::Cursor;
use std::ops::Range;

use ::evtx::{EvtxParser, ParserSettings, RenderedChunkItem};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fields::Fields;
use super::json::Name;
use super::time::{self, Clock};
use super::{text, windows};
use crate::{Event, Micros, ParseStatus, Value};

/// The first bytes of a file.
pub const EVTX_MAGIC: &[u8; 8] = b"ElfFile\0";

/// Bytes before the first chunk.
pub const EVTX_HEADER_BYTES: usize = 4096;

/// Bytes of a chunk.
pub const EVTX_CHUNK_BYTES: usize = 64 * 1024;

/// Most chunks of a block: 1 MiB, some thousands of events and 2 to 4 MiB of text. What a template costs to compile is shared
/// by the chunks of a block.
pub const EVTX_BLOCK_CHUNKS_MAX: usize = 16;

/// Most fields of an event: as for JSON lines.
const FIELDS_MAX: usize = 512;

/// Deepest nesting that becomes names. `UserData` of Windows' own providers reaches 4.
const DEPTH_MAX: usize = 16;

/// First bytes of a chunk.
const CHUNK_MAGIC: &[u8; 8] = b"ElfChnk\0";

/// A run of chunks, read.
#[derive(Debug, Default)]
pub struct EvtxBlock {
    names: Names,
    /// Values of all events, one a line.
    text: String,
    cells: Vec<(usize, Cell)>,
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

/// The name of a field: each once.
#[derive(Debug, Default)]
struct Names {
    list: Vec<String>,
    ids: HashMap<String, usize>,
}

/// A value: text is a piece of the block's text.
#[derive(Clone, Debug)]
enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Range<usize>),
}

/// One event of the block.
#[derive(Debug)]
struct Span {
    id: u64,
    cells: Range<usize>,
    text: Range<usize>,
}

impl EvtxBlock {
    /// Reads a run of chunks, at most [`EVTX_BLOCK_CHUNKS_MAX`] of them; what is longer is not read and counted as damage.
    pub fn read(chunks: &[u8]) -> Self {
        let mut block = Self::default();
        let bytes_max = EVTX_CHUNK_BYTES.saturating_mul(EVTX_BLOCK_CHUNKS_MAX);
        let (chunks, rest) = chunks.split_at_checked(bytes_max).unwrap_or((chunks, &[]));
        if !rest.is_empty() {
            block.damage.note(|| format!("{} bytes beyond the block", rest.len()));
        }
        let file = block.file(chunks);
        if file.len() > EVTX_HEADER_BYTES {
            block.render(file);
        }
        block
    }

    /// The events, each with its record number (`EventRecordID`). `received` is the time of an event that has none.
    pub fn events(&self, received: Micros) -> impl Iterator<Item = (u64, Event<'_>)> {
        (0_u32..).zip(&self.records).map(move |(index, span)| (span.id, self.event(index, span, received)))
    }

    /// What could not be read.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// The chunks as a file of their own. Unused chunks are left out; one that the end cuts short is filled with zeros.
    fn file(&mut self, chunks: &[u8]) -> Vec<u8> {
        let mut file = Vec::with_capacity(chunks.len().saturating_add(EVTX_HEADER_BYTES));
        file.extend_from_slice(&header());
        for chunk in chunks.chunks(EVTX_CHUNK_BYTES) {
            if !chunk.starts_with(CHUNK_MAGIC) {
                if chunk.iter().any(|byte| *byte != 0) {
                    self.damage.note(|| "a chunk without its mark".to_owned());
                }
                continue;
            }
            file.extend_from_slice(chunk);
            if chunk.len() < EVTX_CHUNK_BYTES {
                self.damage.note(|| format!("a chunk cut short after {} bytes", chunk.len()));
                file.resize(file.len().saturating_add(EVTX_CHUNK_BYTES).saturating_sub(chunk.len()), 0);
            }
        }
        file
    }

    fn render(&mut self, file: Vec<u8>) {
        let settings = ParserSettings::new().indent(false);
        let mut parser = match EvtxParser::from_read_seek(Cursor::new(file)) {
            Ok(parser) => parser.with_configuration(settings),
            Err(error) => return self.damage.note(|| error.to_string()),
        };
        for chunk in parser.chunks_json_bytes(false) {
            let mut from = 0;
            for item in &chunk.items {
                match item {
                    RenderedChunkItem::Record { event_record_id, end } => {
                        self.record(*event_record_id, chunk.data.get(from..*end).unwrap_or_default());
                        from = *end;
                    }
                    RenderedChunkItem::Failed(error) => self.damage.note(|| error.to_string()),
                }
            }
        }
    }

    /// Reads one record's JSON.
    fn record(&mut self, id: u64, json: &[u8]) {
        let (cells, text) = (self.cells.len(), self.text.len());
        let mut reader = serde_json::Deserializer::from_slice(json);
        let read = Reader { at: At::Root, depth: 0, from: cells, block: self }.deserialize(&mut reader);
        if let Err(error) = read {
            self.cells.truncate(cells);
            self.text.truncate(text);
            return self.damage.note(|| format!("record {id}: {error}"));
        }
        let span = Span { id, cells: cells..self.cells.len(), text: text..self.text.len() };
        self.records.push(span);
    }

    fn event(&self, index: u32, span: &Span, received: Micros) -> Event<'_> {
        let cells = self.cells.get(span.cells.clone()).unwrap_or_default();
        let mut fields = Fields(Vec::with_capacity(cells.len().saturating_add(4)));
        fields.0.extend(cells.iter().map(|(name, cell)| {
            let name = self.names.list.get(*name).map_or("", String::as_str);
            (Cow::Borrowed(name), self.value(cell))
        }));
        let time = fields.find("TimeCreated_SystemTime").and_then(|text| time::rfc3339(text).ok());
        let clock = Clock { receipt: received, utc_offset_s: 0, past: Micros::MAX, future: Micros::MAX };
        let (ts, ts_quality) = clock.resolve(time.map(|(_, stamp)| stamp));
        let log_source = windows::complete(&mut fields);
        Event {
            ts,
            ts_quality,
            record: index,
            records: 1,
            log_source,
            status: ParseStatus::Parsed,
            message: Cow::Borrowed(self.piece(&span.text)),
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

/// A header of our own for a run of chunks: version 3.1, without a checksum.
fn header() -> [u8; EVTX_HEADER_BYTES] {
    let mut header = [0; EVTX_HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| {
        let end = at.saturating_add(bytes.len());
        if let Some(place) = header.get_mut(at..end) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, EVTX_MAGIC);
    put(32, &128_u32.to_le_bytes()); // bytes of the header proper
    put(36, &1_u16.to_le_bytes()); // minor version
    put(38, &3_u16.to_le_bytes()); // major version
    put(40, &4096_u16.to_le_bytes()); // bytes of the header's block
    put(120, &4_u32.to_le_bytes()); // flag: no checksum
    header
}

impl Damage {
    fn note(&mut self, why: impl FnOnce() -> String) {
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert_with(why);
    }
}

impl Names {
    fn id(&mut self, name: &str) -> usize {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = self.list.len();
        self.list.push(name.to_owned());
        self.ids.insert(name.to_owned(), id);
        id
    }
}

/// Where in the event a reader stands.
#[derive(Clone, Copy)]
enum At<'n> {
    Root,
    Event,
    /// `System` or `EventData`: what stands in it are fields.
    Fields,
    /// `UserData`: one element of the provider's, whose elements are fields.
    UserData,
    /// An element, and its name.
    Element(&'n str),
    /// The attributes of an element.
    Attributes(&'n str),
}

/// Puts the values of an event into the block.
struct Reader<'n, 'b> {
    at: At<'n>,
    depth: usize,
    /// Cells that the block had before the event.
    from: usize,
    block: &'b mut EvtxBlock,
}

impl Reader<'_, '_> {
    fn push(self, cell: Cell) {
        let name = match self.at {
            At::Element(name) => name,
            // Values outside any element: `"EventData":null`.
            _ => return,
        };
        if self.block.cells.len().saturating_sub(self.from) < FIELDS_MAX {
            let name = self.block.names.id(name);
            self.block.cells.push((name, cell));
        }
    }

    /// Puts a value that is no text: its text is part of the message all the same.
    fn push_shown(self, cell: Cell, shown: impl fmt::Display) {
        use fmt::Write as _;
        // Writing to a String cannot fail.
        let _ = writeln!(self.block.text, "{shown}");
        self.push(cell);
    }

    fn inner<'i>(&'i mut self, at: At<'i>) -> Reader<'i, 'i> {
        let depth = self.depth.saturating_add(1);
        Reader { at, depth, from: self.from, block: self.block }
    }

    /// Reads the value of a key.
    fn key<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if self.depth >= DEPTH_MAX {
            return map.next_value::<IgnoredAny>().map(drop);
        }
        let joined;
        let at = match (self.at, key) {
            (At::Root, "Event") => At::Event,
            (At::Event, "System" | "EventData") => At::Fields,
            (At::Event, "UserData") => At::UserData,
            (At::Root, _) | (At::Event | At::Fields | At::UserData, "#attributes") | (_, "xmlns") => {
                return map.next_value::<IgnoredAny>().map(drop);
            }
            (At::UserData, _) => At::Fields,
            (At::Event | At::Fields, name) => At::Element(name),
            (At::Element(name), "#attributes") => At::Attributes(name),
            (At::Element(name), "#text") => At::Element(name),
            (At::Element(name), inner) => {
                joined = format!("{name}.{inner}");
                At::Element(&joined)
            }
            (At::Attributes(name), attribute) => {
                joined = format!("{name}_{attribute}");
                At::Element(&joined)
            }
        };
        map.next_value_seed(self.inner(at))
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.push(Cell::Null);
        Ok(())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<(), E> {
        self.push_shown(Cell::Bool(flag), flag);
        Ok(())
    }

    fn visit_i64<E>(self, int: i64) -> Result<(), E> {
        self.push_shown(Cell::Int(int), int);
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        // Above i64 the digits are kept, as text.
        match i64::try_from(number) {
            Ok(int) => self.visit_i64(int),
            Err(_) => self.visit_str(&number.to_string()),
        }
    }

    fn visit_f64<E>(self, float: f64) -> Result<(), E> {
        self.push_shown(Cell::Float(float), float);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let start = self.block.text.len();
        self.block.text.push_str(&text::normalise(text));
        let range = start..self.block.text.len();
        self.block.text.push('\n');
        self.push(Cell::Text(range));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        if self.depth >= DEPTH_MAX {
            while sequence.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        loop {
            let at = self.at;
            let depth = self.depth.saturating_add(1);
            let element = Reader { at, depth, from: self.from, block: &mut *self.block };
            if sequence.next_element_seed(element)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(key)) = map.next_key()? {
            self.key(&key, &mut map)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TsQuality;

    fn block(json: &str) -> EvtxBlock {
        let mut block = EvtxBlock::default();
        block.record(7, json.as_bytes());
        block
    }

    fn shown(event: &Event<'_>) -> Vec<String> {
        event.fields.iter().map(|(name, value)| format!("{name}={}", value.to_text())).collect()
    }

    #[test]
    fn reads_system_and_data_as_native_fields() {
        let block = block(
            r##"{"Event":{"#attributes":{"xmlns":"x"},"System":{"Provider":{"#attributes":{"Name":"Microsoft-Windows-Sysmon"}},"EventID":{"#attributes":{"Qualifiers":1},"#text":11},"Correlation":null,"TimeCreated":{"#attributes":{"SystemTime":"2026-02-03T04:05:06.5000000Z"}},"Channel":"Microsoft-Windows-Sysmon/Operational"},"EventData":{"#attributes":{"Name":"n"},"Target Name":"C:\\a","Data":{"#text":["x","y"]}}}}"##,
        );
        let events: Vec<_> = block.events(0).collect();
        let [(7, event)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(
            shown(event),
            [
                "Provider_Name=Microsoft-Windows-Sysmon",
                "EventID_Qualifiers=1",
                "EventID=11",
                "Correlation=",
                "TimeCreated_SystemTime=2026-02-03T04:05:06.5000000Z",
                "Channel=Microsoft-Windows-Sysmon/Operational",
                "TargetName=C:\\a",
                "Data=x",
                "Data=y",
                "Target_Name=C:\\a",
            ]
        );
        assert_eq!(
            (event.log_source.category, event.log_source.product, event.log_source.service),
            ("file_event", "windows", "sysmon")
        );
        assert_eq!((event.ts, event.ts_quality), (1_770_091_506_500_000, TsQuality::Event));
        assert!(event.message.contains("C:\\a\nx\ny\n"));
    }

    #[test]
    fn reads_the_providers_own_data_without_its_element() {
        let block = block(
            r##"{"Event":{"System":{"EventID":1102,"Channel":"Security"},"UserData":{"LogFileCleared":{"#attributes":{"xmlns":"x"},"SubjectUserName":"an","Inner":{"Deep":true}}}}}"##,
        );
        let (_, event) = block.events(5).next().unwrap();
        assert_eq!(
            shown(&event),
            ["EventID=1102", "Channel=Security", "SubjectUserName=an", "Inner.Deep=true"]
        );
        assert_eq!((event.ts, event.ts_quality), (5, TsQuality::Received));
    }

    #[test]
    fn reads_as_many_fields_as_the_limit_and_no_more() {
        let data = |count: usize| {
            let data: Vec<String> = (0..count).map(|number| format!("\"f{number}\":1")).collect();
            format!(r#"{{"Event":{{"EventData":{{{}}}}}}}"#, data.join(","))
        };
        for (count, read) in [(FIELDS_MAX, FIELDS_MAX), (FIELDS_MAX + 1, FIELDS_MAX)] {
            assert_eq!(block(&data(count)).events(0).next().unwrap().1.fields.len(), read);
        }
    }

    #[test]
    fn counts_what_cannot_be_read_and_goes_on() {
        let mut broken = block("{\"Event\":");
        broken.record(8, br##"{"Event":{"System":{"EventID":1}}}"##);
        assert_eq!((broken.damage().count, broken.events(0).count()), (1, 1));
        assert!(broken.damage().first.as_ref().is_some_and(|first| first.contains("record 7")));
    }

    #[test]
    fn reads_bytes_that_are_no_chunks() {
        assert_eq!(EvtxBlock::read(&[]).damage().count, 0);
        assert_eq!(EvtxBlock::read(&[0; EVTX_CHUNK_BYTES]).damage().count, 0);
        assert_eq!(EvtxBlock::read(&[1; EVTX_CHUNK_BYTES + 1]).damage().count, 2);
        let mut chunk = CHUNK_MAGIC.to_vec();
        chunk.resize(EVTX_CHUNK_BYTES, 0xff);
        let block = EvtxBlock::read(&chunk);
        assert!(block.damage().count >= 1 && block.events(0).count() == 0);
        let long = vec![0; EVTX_CHUNK_BYTES * EVTX_BLOCK_CHUNKS_MAX + 1];
        assert_eq!(EvtxBlock::read(&long).damage().count, 1);
    }
}
