//! Makes Windows event log files: enough of the format ([MS-EVEN6] 2.2.12) to write what a reader must understand.

use event::{EVTX_CHUNK_BYTES, EVTX_HEADER_BYTES, EVTX_MAGIC};

/// Where the records of a chunk start.
const RECORDS: usize = 512;

/// A chunk that is being written.
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    /// Within a template, elements say what they depend on.
    is_template: bool,
    /// Where the next name of a value goes: its own place is not known when it is written, so it stands in the chunk's header.
    shelf: usize,
    is_fragment: bool,
}

/// A file of these chunks.
pub(crate) fn file(chunks: &[Chunk]) -> Vec<u8> {
    let mut bytes = EVTX_MAGIC.to_vec();
    bytes.resize(EVTX_HEADER_BYTES, 0);
    chunks.iter().for_each(|chunk| bytes.extend_from_slice(&chunk.bytes));
    bytes
}

impl Chunk {
    pub(crate) fn new(write: impl FnOnce(&mut Self)) -> Self {
        let mut chunk =
            Self { bytes: b"ElfChnk\0".to_vec(), is_template: false, shelf: 128, is_fragment: false };
        chunk.bytes.resize(RECORDS, 0);
        write(&mut chunk);
        let end = size(chunk.bytes.len());
        chunk.bytes[48..52].copy_from_slice(&end.to_le_bytes());
        chunk.bytes.resize(EVTX_CHUNK_BYTES, 0);
        chunk
    }

    /// A record with its binary XML.
    pub(crate) fn record(&mut self, number: u64, write: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.put(b"**\0\0\0\0\0\0");
        self.put(&number.to_le_bytes());
        self.put(&[0; 8]);
        self.put(&[0x0f, 1, 1, 0]);
        write(self);
        self.put(&[0]);
        let bytes = size(self.bytes.len() + 4 - start).to_le_bytes();
        self.bytes[start + 4..start + 8].copy_from_slice(&bytes);
        self.put(&bytes);
    }

    /// An element; it depends on a value of its template.
    pub(crate) fn element(
        &mut self,
        name: &str,
        depends_on: Option<u16>,
        attributes: &[(&str, &str)],
        write: impl FnOnce(&mut Self),
    ) {
        self.put(&[if attributes.is_empty() { 0x01 } else { 0x41 }]);
        if self.is_template {
            self.put(&depends_on.unwrap_or(0xffff).to_le_bytes());
        }
        self.put(&[0; 4]); // its size, which a reader does not need
        self.name(name);
        if !attributes.is_empty() {
            self.put(&[0; 4]);
        }
        for (name, value) in attributes {
            self.put(&[0x06]);
            self.name(name);
            match value.strip_prefix('%').and_then(|number| number.parse().ok()) {
                Some(number) => self.value(number),
                None => self.text(value),
            }
        }
        self.put(&[0x02]);
        write(self);
        self.put(&[0x04]);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.put(&[0x05, 0x01]);
        self.units(text);
    }

    pub(crate) fn entity(&mut self, name: &str) {
        self.put(&[0x09]);
        self.name(name);
    }

    /// A value of the template.
    pub(crate) fn value(&mut self, number: u16) {
        self.put(&[0x0d]);
        self.put(&number.to_le_bytes());
        self.put(&[0x01]);
    }

    /// A template with its definition in the midst, and its values.
    pub(crate) fn template(&mut self, values: &[(u8, Vec<u8>)], write: impl FnOnce(&mut Self)) {
        self.put(&[0x0c, 1, 0, 0, 0, 0]);
        let place = size(self.bytes.len() + 4);
        self.put(&place.to_le_bytes());
        self.put(&[0; 20]); // the next template, and a GUID
        let start = self.bytes.len();
        self.put(&[0; 4]);
        self.put(&[0x0f, 1, 1, 0]);
        self.is_template = true;
        write(self);
        self.is_template = false;
        self.put(&[0]);
        let bytes = size(self.bytes.len() - start - 4);
        self.bytes[start..start + 4].copy_from_slice(&bytes.to_le_bytes());
        self.put(&size(values.len()).to_le_bytes());
        for (kind, bytes) in values {
            let [low, high, ..] = size(bytes.len()).to_le_bytes();
            self.put(&[low, high, *kind, 0]);
        }
        values.iter().for_each(|(_, bytes)| self.put(bytes));
    }

    /// A template that holds itself so many times.
    pub(crate) fn template_of_itself(&mut self, times: usize) {
        let place = size(self.bytes.len() + 10);
        self.template(&[], |chunk| {
            for _ in 0..times {
                chunk.put(&[0x0c, 1, 0, 0, 0, 0]);
                chunk.put(&place.to_le_bytes());
                chunk.put(&[0; 4]);
            }
        });
    }

    /// Binary XML that is a value.
    pub(crate) fn fragment(&mut self, write: impl FnOnce(&mut Self)) -> Vec<u8> {
        let start = self.bytes.len();
        self.is_fragment = true;
        self.put(&[0x0f, 1, 1, 0]);
        write(self);
        self.put(&[0]);
        self.is_fragment = false;
        self.bytes.split_off(start)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A name, in the midst: the place of the next, a hash, the length, the text, zero.
    fn name(&mut self, name: &str) {
        let place = if self.is_fragment { self.shelf } else { self.bytes.len() + 4 };
        self.put(&size(place).to_le_bytes());
        let start = self.bytes.len();
        self.put(&[0; 6]);
        self.units(name);
        self.put(&[0; 2]);
        if self.is_fragment {
            let name = self.bytes.split_off(start);
            self.bytes[place..place + name.len()].copy_from_slice(&name);
            self.shelf += name.len();
        }
    }

    fn units(&mut self, text: &str) {
        let [low, high, ..] = size(text.encode_utf16().count()).to_le_bytes();
        self.put(&[low, high]);
        text.encode_utf16().for_each(|unit| self.put(&unit.to_le_bytes()));
    }
}

fn size(number: usize) -> u32 {
    u32::try_from(number).expect("a chunk is small")
}
