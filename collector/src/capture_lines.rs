//! A capture file as lines of flows: packets in, what the meter says out, as a reader of text.
//!
//! All that reads logs can so read captures: hunts and drills. The whole file is metered, application layer included, with
//! as many flows at a time as a capture of a busy gigabit link holds ([`FLOWS_MAX`]); beyond them the idlest flow is
//! written out early, and the record says so (`lack_of_resources`).

use std::io::{self, Read};

use event::{CaptureError, Meter, MeterConfig, Packets};

/// Flows at a time: some 300 MB at worst.
const FLOWS_MAX: usize = 1_000_000;
/// First bytes of pcap (either byte order, microseconds or nanoseconds) and of pcapng.
const MAGICS: [[u8; 4]; 5] = [
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0x0a, 0x0d, 0x0d, 0x0a],
];

/// Whether a file that begins so is a capture.
pub(crate) fn is_capture(head: &[u8]) -> bool {
    head.first_chunk().is_some_and(|magic| MAGICS.contains(magic))
}

/// The meter over a capture file.
pub(crate) struct CaptureLines<'r> {
    packets: Packets<'r>,
    meter: Meter,
    lines: Vec<u8>,
    /// How much of `lines` was read.
    read: usize,
    ended: Option<CaptureError>,
    read_all: bool,
    flushed: bool,
}

impl<'r> CaptureLines<'r> {
    pub(crate) fn new(reader: impl Read + Send + 'r) -> Result<Self, CaptureError> {
        let meter = Meter::new(MeterConfig { flows_max: FLOWS_MAX, ..MeterConfig::default() });
        Ok(Self {
            packets: Packets::new(reader)?,
            meter,
            lines: Vec::new(),
            read: 0,
            ended: None,
            read_all: false,
            flushed: false,
        })
    }

    /// The lines that the next packets give, and the time of the last of these; at the end those of what is left. `None`:
    /// the file was read. What stands before an error comes before the error.
    pub(crate) fn next(&mut self, lines: &mut Vec<u8>) -> Result<Option<event::Micros>, CaptureError> {
        while !self.flushed {
            if self.read_all {
                self.flushed = !self.meter.flush(lines);
            } else {
                match self.packets.next() {
                    Ok(Some(packet)) => self.meter.packet(&packet, lines),
                    end => (self.ended, self.read_all) = (end.err(), true),
                }
            }
            if !lines.is_empty() {
                return Ok(Some(self.meter.clock()));
            }
        }
        self.ended.take().map_or(Ok(None), Err)
    }
}

impl Read for CaptureLines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.lines.len() {
            let mut lines = std::mem::take(&mut self.lines);
            lines.clear();
            self.read = 0;
            let next = self.next(&mut lines);
            self.lines = lines;
            next.map_err(io::Error::other)?;
        }
        let rest = &self.lines[self.read..];
        let bytes = rest.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        self.read += bytes;
        Ok(bytes)
    }
}
