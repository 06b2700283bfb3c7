//! The ledger's bytes.
//!
//! ```text
//! header  "VGL" 1, epoch u64, next sequence number u64, next file u64, XXH3-64 of all that
//! entry   length u16, kind u8, fields, XXH3-64 of kind and fields     (length: of kind and fields)
//! ```
//!
//! Numbers are big-endian, a text stands behind its length (u16). A reader that meets anything else stops there: it
//! returns `None`, never half an entry.

use event::Format;
use xxhash_rust::xxh3::xxh3_64;

use super::{Content, Descriptor, Entry, Known, Labels, State};
use crate::fingerprint::Fingerprint;
use crate::limits::LEDGER_ENTRY_BYTES_MAX;

const MAGIC: [u8; 4] = [b'V', b'G', b'L', 1];
const HEADER_BYTES: usize = MAGIC.len() + 4 * 8;

const KIND_FILE: u8 = b'F';
const KIND_SEEN: u8 = b'S';
const KIND_RETIRE: u8 = b'R';
const KIND_LINES: u8 = b'L';
const KIND_NOTE: u8 = b'N';
const KIND_ACK: u8 = b'A';

pub(super) fn header(state: &State) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for number in [state.epoch, state.seq_next, state.file_next] {
        out.extend(number.to_be_bytes());
    }
    out.extend(xxh3_64(&out).to_be_bytes());
    out
}

/// The state before the first entry, and where that stands.
pub(super) fn read_header(bytes: &[u8]) -> Option<(State, usize)> {
    let mut reader = Reader(bytes);
    if reader.take(MAGIC.len())? != MAGIC {
        return None;
    }
    let (epoch, seq_next, file_next) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let stated = reader.u64()?;
    let found = xxh3_64(&bytes[..HEADER_BYTES - 8]);
    let state = State { epoch, seq_next, file_next, ..State::default() };
    (stated == found).then_some((state, HEADER_BYTES))
}

pub(super) fn push_entry(out: &mut Vec<u8>, entry: &Entry) {
    let mut body = Vec::with_capacity(64);
    match entry {
        Entry::File(known) => push_file(&mut body, known),
        Entry::Seen { file, length } => push_numbers(&mut body, KIND_SEEN, &[*file, *length]),
        Entry::Retire(id) => push_numbers(&mut body, KIND_RETIRE, &[*id]),
        Entry::Ack(seq) => push_numbers(&mut body, KIND_ACK, &[*seq]),
        Entry::Batch(descriptor) => push_batch(&mut body, descriptor),
    }
    // Texts are cut to what the wire's headers hold, far below what a length of 16 bits can say.
    debug_assert!(body.len() <= LEDGER_ENTRY_BYTES_MAX, "an entry's texts are bounded");
    out.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(&body);
    out.extend(xxh3_64(&body).to_be_bytes());
}

fn push_numbers(out: &mut Vec<u8>, kind: u8, numbers: &[u64]) {
    out.push(kind);
    for number in numbers {
        out.extend(number.to_be_bytes());
    }
}

fn push_file(out: &mut Vec<u8>, known: &Known) {
    let fingerprint = known.fingerprint;
    push_numbers(out, KIND_FILE, &[known.id, known.device, known.inode, known.position, fingerprint.hash]);
    out.extend(fingerprint.bytes.to_be_bytes());
    out.push(u8::from(known.retired));
    let labels = &known.labels;
    for text in [
        &known.path,
        labels.format.as_str(),
        &labels.category,
        &labels.product,
        &labels.service,
        &labels.drill_id,
    ] {
        push_text(out, text);
    }
    out.extend(known.length.to_be_bytes());
}

fn push_batch(out: &mut Vec<u8>, batch: &Descriptor) {
    let time = batch.time_base.cast_unsigned();
    match &batch.content {
        Content::Lines { file, start, end, records, checksum } => {
            push_numbers(out, KIND_LINES, &[batch.seq, time, *file, *start, *end, *checksum]);
            out.extend(records.to_be_bytes());
            out.extend(batch.utc_offset_s.to_be_bytes());
        }
        Content::Note { source, drill_id, text } => {
            push_numbers(out, KIND_NOTE, &[batch.seq, time]);
            out.extend(batch.utc_offset_s.to_be_bytes());
            push_text(out, source);
            push_text(out, drill_id);
            push_text(out, text);
        }
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    let end = text.floor_char_boundary(event::HEADER_TEXT_BYTES_MAX);
    out.extend(u16::try_from(end).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}

/// The entry at `at`, if it is whole, and where the next one stands.
pub(super) fn read_entry(bytes: &[u8], at: usize) -> Option<(Entry, usize)> {
    let mut reader = Reader(bytes.get(at..)?);
    let length = usize::from(reader.u16()?);
    let body = reader.take(length)?;
    if reader.u64()? != xxh3_64(body) {
        return None;
    }
    let mut fields = Reader(body);
    let entry = read_fields(&mut fields)?;
    fields.0.is_empty().then_some((entry, at + 2 + length + 8))
}

/// Whether any whole entry stands behind `at`: then what stands at `at` is damage, not a torn end.
pub(super) fn entry_follows(bytes: &[u8], at: usize) -> bool {
    (at..bytes.len()).any(|at| read_entry(bytes, at).is_some())
}

fn read_fields(reader: &mut Reader<'_>) -> Option<Entry> {
    match reader.take(1)?[0] {
        KIND_FILE => Some(Entry::File(read_file(reader)?)),
        KIND_SEEN => Some(Entry::Seen { file: reader.u64()?, length: reader.u64()? }),
        KIND_RETIRE => Some(Entry::Retire(reader.u64()?)),
        KIND_ACK => Some(Entry::Ack(reader.u64()?)),
        KIND_LINES => Some(Entry::Batch(read_lines(reader)?)),
        KIND_NOTE => Some(Entry::Batch(read_note(reader)?)),
        _ => None,
    }
}

fn read_file(reader: &mut Reader<'_>) -> Option<Known> {
    let (id, device, inode) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let (position, hash) = (reader.u64()?, reader.u64()?);
    let fingerprint = Fingerprint { bytes: reader.u16()?, hash };
    let retired = reader.take(1)?[0] != 0;
    let path = reader.text()?;
    let format = Format::from_name(&reader.text()?)?;
    let (category, product, service) = (reader.text()?, reader.text()?, reader.text()?);
    let labels = Labels { format, category, product, service, drill_id: reader.text()? };
    // Ledgers of the first agents end here: they did not say how long a file was.
    let length = if reader.0.is_empty() { position } else { reader.u64()? };
    Some(Known { id, path, device, inode, fingerprint, position, length, retired, labels })
}

fn read_lines(reader: &mut Reader<'_>) -> Option<Descriptor> {
    let (seq, time) = (reader.u64()?, reader.u64()?);
    let (file, start, end, checksum) = (reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?);
    let records = reader.u32()?;
    let utc_offset_s = reader.u32()?.cast_signed();
    let content = Content::Lines { file, start, end, records, checksum };
    Some(Descriptor { seq, time_base: time.cast_signed(), utc_offset_s, content })
}

fn read_note(reader: &mut Reader<'_>) -> Option<Descriptor> {
    let (seq, time) = (reader.u64()?, reader.u64()?);
    let utc_offset_s = reader.u32()?.cast_signed();
    let content = Content::Note { source: reader.text()?, drill_id: reader.text()?, text: reader.text()? };
    Some(Descriptor { seq, time_base: time.cast_signed(), utc_offset_s, content })
}

/// Reads forward; `None` past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.u16()?);
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }
}
