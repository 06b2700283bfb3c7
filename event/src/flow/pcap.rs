//! Capture files: pcap and pcapng, of either byte order and any resolution of time.
//!
//! The reader comes in as an argument, and may inflate. A record's stated length on the wire is passed on as it is: it may
//! be a lie, see [`Captured`]. A file that ends in the middle of a record gives what stands before. Limits: records up to
//! [`RECORD_BYTES_MAX`], interfaces of a section up to [`INTERFACES_MAX`]; what is beyond ends the file with an error.

use std::io::{Cursor, Read};

use pcap_parser::{
    Block, LegacyPcapBlock, Linktype, PcapBlockOwned, PcapError, PcapHeader, create_reader,
    traits::PcapReaderIterator,
};
use thiserror::Error;

use super::meter::{Captured, LinkType};
use crate::Micros;

/// The buffer, and so the longest record with its header: tcpdump's largest snapshot length is 256 KiB.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// The library tells a file's kind by its first read alone, which a pipe or an inflater may make as short as it likes. A
/// section's header with its comments is shorter than this.
const HEAD_BYTES: u64 = 64 * 1024;
/// Interfaces of a section of pcapng.
const INTERFACES_MAX: usize = 4096;

/// Why a capture file ends before its end.
#[derive(Debug, Error, Eq, PartialEq)]
pub enum CaptureError {
    #[error("no capture file: expected pcap's or pcapng's first bytes")]
    NoCapture,
    #[error("after {packets} packets: cut in the middle of a record")]
    Cut { packets: u64 },
    #[error("after {packets} packets: a record longer than {RECORD_BYTES_MAX} bytes, or no record")]
    Malformed { packets: u64 },
    #[error("after {packets} packets: more than {INTERFACES_MAX} interfaces")]
    Interfaces { packets: u64 },
    #[error("after {packets} packets: cannot be read")]
    Read { packets: u64 },
}

/// The packets of a capture file.
pub struct Packets<'r> {
    reader: Box<dyn PcapReaderIterator + Send + 'r>,
    interfaces: Vec<Interface>,
    packets: u64,
    /// Bytes of the record that was given last, to be left behind before the next one.
    given: usize,
}

/// How an interface's records are to be read.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    /// Units of time in a second.
    resolution: u64,
    /// Seconds that are added to each time.
    offset: i64,
}

impl<'r> Packets<'r> {
    /// Begins to read a file.
    pub fn new(mut reader: impl Read + Send + 'r) -> Result<Self, CaptureError> {
        let mut head = Vec::new();
        let read = reader.by_ref().take(HEAD_BYTES).read_to_end(&mut head);
        read.map_err(|_| CaptureError::Read { packets: 0 })?;
        let reader = Cursor::new(head).chain(reader);
        let reader = create_reader(RECORD_BYTES_MAX, reader).map_err(|_| CaptureError::NoCapture)?;
        Ok(Self { reader, interfaces: Vec::new(), packets: 0, given: 0 })
    }

    /// The next packet. It borrows from the file's buffer: that is why this is no [`Iterator`].
    #[expect(
        clippy::should_implement_trait,
        reason = "an item of an iterator cannot borrow from the iterator"
    )]
    pub fn next(&mut self) -> Result<Option<Captured<'_>>, CaptureError> {
        loop {
            self.reader.consume(std::mem::take(&mut self.given));
            match self.advance()? {
                Advance::End => return Ok(None),
                Advance::Other => {}
                Advance::Packet => break,
            }
        }
        self.packets = self.packets.saturating_add(1);
        // The same record again, to be lent: it is in the buffer, and reading it costs its header.
        match self.reader.next() {
            Ok((_, block)) => Ok(packet(&self.interfaces, block)),
            Err(_) => Err(CaptureError::Malformed { packets: self.packets }),
        }
    }

    /// Looks at the next record, and leaves it in the buffer when it is a packet.
    fn advance(&mut self) -> Result<Advance, CaptureError> {
        let packets = self.packets;
        let step = match self.reader.next() {
            Ok((length, block)) => {
                let advance = note(&mut self.interfaces, &block);
                (length, advance)
            }
            Err(PcapError::Eof) => return Ok(Advance::End),
            Err(PcapError::Incomplete(_)) => {
                self.reader.refill().map_err(|error| failure(&error, packets))?;
                return Ok(Advance::Other);
            }
            Err(error) => return Err(failure(&error, packets)),
        };
        let (length, advance) = step;
        if self.interfaces.len() > INTERFACES_MAX {
            return Err(CaptureError::Interfaces { packets });
        }
        match advance {
            Advance::Packet => self.given = length,
            _ => self.reader.consume(length),
        }
        Ok(advance)
    }
}

/// What a record is.
enum Advance {
    Packet,
    Other,
    End,
}

fn failure(error: &PcapError<&[u8]>, packets: u64) -> CaptureError {
    match error {
        PcapError::ReadError => CaptureError::Read { packets },
        PcapError::UnexpectedEof | PcapError::Incomplete(_) | PcapError::Eof => CaptureError::Cut { packets },
        _ => CaptureError::Malformed { packets },
    }
}

/// Takes note of what a record says of those behind it.
fn note(interfaces: &mut Vec<Interface>, block: &PcapBlockOwned<'_>) -> Advance {
    match block {
        PcapBlockOwned::LegacyHeader(header) => interfaces.push(Interface::of_file(header)),
        PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
        PcapBlockOwned::NG(Block::InterfaceDescription(described)) => interfaces.push(Interface {
            link: link(described.linktype),
            resolution: described.ts_resolution().unwrap_or(1_000_000),
            offset: described.ts_offset(),
        }),
        PcapBlockOwned::Legacy(_) | PcapBlockOwned::NG(Block::EnhancedPacket(_) | Block::SimplePacket(_)) => {
            return Advance::Packet;
        }
        PcapBlockOwned::NG(_) => {}
    }
    Advance::Other
}

fn packet<'p>(interfaces: &[Interface], block: PcapBlockOwned<'p>) -> Option<Captured<'p>> {
    let unknown = Interface { link: LinkType::Other, resolution: 1_000_000, offset: 0 };
    let interface =
        |id: u32| usize::try_from(id).ok().and_then(|id| interfaces.get(id)).copied().unwrap_or(unknown);
    let captured = match block {
        PcapBlockOwned::Legacy(LegacyPcapBlock { ts_sec, ts_usec, origlen, data, .. }) => {
            let Interface { link, resolution, .. } = interface(0);
            let fraction =
                u64::from(ts_usec).saturating_mul(1_000_000).checked_div(resolution).unwrap_or_default();
            let at = i64::from(ts_sec).saturating_mul(1_000_000).saturating_add_unsigned(fraction);
            Captured { at, link, bytes: data, wire_bytes: origlen, vlan: 0 }
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
            let interface = interface(block.if_id);
            let units = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
            let bytes =
                block.data.get(..usize::try_from(block.caplen).unwrap_or(usize::MAX)).unwrap_or(block.data);
            Captured {
                at: interface.micros(units),
                link: interface.link,
                bytes,
                wire_bytes: block.origlen,
                vlan: 0,
            }
        }
        // A packet without a time: pcapng has it for what cannot tell.
        PcapBlockOwned::NG(Block::SimplePacket(block)) => {
            let bytes =
                block.data.get(..usize::try_from(block.origlen).unwrap_or(usize::MAX)).unwrap_or(block.data);
            Captured { at: 0, link: interface(0).link, bytes, wire_bytes: block.origlen, vlan: 0 }
        }
        _ => return None,
    };
    Some(captured)
}

impl Interface {
    fn of_file(header: &PcapHeader) -> Self {
        let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
        Self { link: link(header.network), resolution, offset: 0 }
    }

    /// A time in units of the interface.
    fn micros(&self, units: u64) -> Micros {
        let micros = u128::from(units).saturating_mul(1_000_000).checked_div(self.resolution.into());
        let micros = Micros::try_from(micros.unwrap_or_default()).unwrap_or(Micros::MAX);
        micros.saturating_add(self.offset.saturating_mul(1_000_000))
    }
}

fn link(link: Linktype) -> LinkType {
    match link {
        Linktype::ETHERNET => LinkType::Ethernet,
        Linktype::NULL | Linktype::LOOP => LinkType::Null,
        // LINKTYPE_RAW, and the numbers that systems wrote for it before it had one.
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12 | 14) => LinkType::RawIp,
        Linktype::LINUX_SLL => LinkType::LinuxSll,
        Linktype::LINUX_SLL2 => LinkType::LinuxSll2,
        Linktype(9 | 50) => LinkType::Ppp,
        _ => LinkType::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that gives one byte at a time.
    struct Slow<'b>(&'b [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let bytes = buffer.len().min(1);
            self.0.read(&mut buffer[..bytes])
        }
    }

    #[test]
    fn reads_a_capture_however_its_bytes_come() {
        let header =
            [0xa1b2_c3d4_u32.to_le_bytes(), [2, 0, 4, 0], [0; 4], [0; 4], [0, 0, 1, 0], [1, 0, 0, 0]];
        let record = [[7, 0, 0, 0], [9, 0, 0, 0], [2, 0, 0, 0], [60, 0, 0, 0]];
        let file = [header.as_flattened(), record.as_flattened(), b"ab"].concat();
        let mut packets = Packets::new(Slow(&file)).unwrap();
        let packet = packets.next().unwrap().unwrap();
        assert_eq!((packet.at, packet.bytes, packet.wire_bytes), (7_000_009, &b"ab"[..], 60));
        assert!(packets.next().unwrap().is_none());
        assert_eq!(Packets::new(Slow(b"abcd")).err(), Some(CaptureError::NoCapture));
    }
}
