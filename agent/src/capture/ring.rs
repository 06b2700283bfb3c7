//! Packets out of a TPACKET_V3 ring: no system call and no copy for a packet, one wake-up for a block of them.
//!
//! The kernel fills blocks in turn, each with as many packets as come or until [`BLOCK_RETIRE_MS`](crate::limits::BLOCK_RETIRE_MS)
//! are over, and leaves it to us; we walk through it and give it back. A packet stands in a block with a header of its own: time
//! (the kernel's clock, ns), lengths in the block and on the wire, the VLAN tag that was taken out of it.
//!
//! Every offset is checked against the block: the kernel is trusted, our arithmetic is not. A block that does not hold what it
//! says ends at the first place that is wrong; what it held behind that counts as dropped.
//!
//! What it never does: wait longer than it is told, or hold a block while it waits.

use std::io;
use std::mem::{offset_of, size_of};
use std::time::Duration;

use event::{Captured, LinkType, Micros};

use super::packet::{Blocks, PacketSocket, Statistics};
use super::{Losses, Setup, link_of};

const PACKETS_AT: usize =
    offset_of!(libc::tpacket_block_desc, hdr) + offset_of!(libc::tpacket_hdr_v1, num_pkts);
const FIRST_AT: usize =
    offset_of!(libc::tpacket_block_desc, hdr) + offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt);
const TAG_AT: usize =
    offset_of!(libc::tpacket3_hdr, hv1) + offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tci);
/// The link-layer address stands behind the header, which is a multiple of TPACKET_ALIGNMENT.
const DIRECTION_AT: usize = size_of::<libc::tpacket3_hdr>() + offset_of!(libc::sockaddr_ll, sll_pkttype);

/// A ring of one interface.
pub(super) struct Ring {
    // Dropped in this order: the mapping goes before the socket that it belongs to.
    blocks: Blocks,
    socket: PacketSocket,
    link: LinkType,
    /// A loopback interface, of which outgoing packets are left out.
    loopback: bool,
    /// The block that comes next.
    next: usize,
    losses: Losses,
}

impl Ring {
    pub(super) fn open(setup: &Setup) -> io::Result<Self> {
        let socket = PacketSocket::open()?;
        let blocks = socket.ring(setup.ring_mib)?;
        setup.bind(&socket)?;
        let link = link_of(socket.link_type()?)?;
        Ok(Self { blocks, socket, link, loopback: setup.loopback, next: 0, losses: Losses::default() })
    }

    pub(super) fn socket(&self) -> &PacketSocket {
        &self.socket
    }

    /// Waits at most so long for a block, then hands on the packets of all that are there, each block once.
    pub(super) fn take(&mut self, wait: Duration, sink: &mut impl FnMut(&Captured<'_>)) -> io::Result<()> {
        if self.blocks.block(self.next).is_none() && !self.socket.wait(wait)? {
            return Ok(());
        }
        for _ in 0..self.blocks.count() {
            let Some(block) = self.blocks.block(self.next) else { break };
            let mut frames = Frames::of(block);
            for frame in &mut frames {
                if self.loopback && frame.direction == libc::PACKET_OUTGOING {
                    continue;
                }
                self.losses.truncated += u64::from(frame.is_truncated());
                sink(&frame.captured(self.link));
            }
            self.losses.drops += u64::from(frames.left);
            self.blocks.give_back(self.next);
            self.next = (self.next + 1) % self.blocks.count();
        }
        Ok(())
    }

    /// What was lost since it was asked last.
    pub(super) fn losses(&mut self) -> io::Result<Losses> {
        let Statistics { drops, freezes } = self.socket.statistics()?;
        let ours = std::mem::take(&mut self.losses);
        Ok(Losses { drops: ours.drops + drops, freezes, truncated: ours.truncated })
    }
}

/// One packet of a block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Frame<'b> {
    at: Micros,
    bytes: &'b [u8],
    wire_bytes: u32,
    vlan: u16,
    direction: u8,
}

impl<'b> Frame<'b> {
    /// The packet whose header stands at `at`, and how far behind it the next one's does (0: nowhere).
    fn read(block: &'b [u8], at: usize) -> Option<(Self, usize)> {
        let header = block.get(at..)?;
        let number = |field: usize| word(header, field);
        let (seconds, nanoseconds) = (
            number(offset_of!(libc::tpacket3_hdr, tp_sec))?,
            number(offset_of!(libc::tpacket3_hdr, tp_nsec))?,
        );
        let kept = usize::try_from(number(offset_of!(libc::tpacket3_hdr, tp_snaplen))?).ok()?;
        let start = usize::from(half(header, offset_of!(libc::tpacket3_hdr, tp_mac))?);
        let status = number(offset_of!(libc::tpacket3_hdr, tp_status))?;
        let is_tagged = status & libc::TP_STATUS_VLAN_VALID != 0;
        let frame = Self {
            at: Micros::from(seconds) * 1_000_000 + Micros::from(nanoseconds / 1_000),
            bytes: header.get(start..start.checked_add(kept)?)?,
            wire_bytes: number(offset_of!(libc::tpacket3_hdr, tp_len))?,
            // The tag is the lower half of its word.
            vlan: if is_tagged { number(TAG_AT)? as u16 } else { 0 },
            direction: *header.get(DIRECTION_AT)?,
        };
        let next = usize::try_from(number(offset_of!(libc::tpacket3_hdr, tp_next_offset))?).ok()?;
        Some((frame, next))
    }

    fn is_truncated(&self) -> bool {
        (self.bytes.len() as u64) < u64::from(self.wire_bytes)
    }

    fn captured(&self, link: LinkType) -> Captured<'b> {
        Captured { at: self.at, link, bytes: self.bytes, wire_bytes: self.wire_bytes, vlan: self.vlan }
    }
}

/// The packets of a block, in order.
struct Frames<'b> {
    block: &'b [u8],
    at: usize,
    /// So many are still to come, as the block says.
    left: u32,
    ended: bool,
}

impl<'b> Frames<'b> {
    fn of(block: &'b [u8]) -> Self {
        let left = word(block, PACKETS_AT).unwrap_or_default();
        let first = word(block, FIRST_AT).and_then(|first| usize::try_from(first).ok());
        Self { block, at: first.unwrap_or(usize::MAX), left, ended: false }
    }
}

impl<'b> Iterator for Frames<'b> {
    type Item = Frame<'b>;

    /// Each step goes forward in the block, so that the walk ends whatever the block says.
    fn next(&mut self) -> Option<Frame<'b>> {
        if self.left == 0 || self.ended {
            return None;
        }
        let (frame, step) = Frame::read(self.block, self.at)?;
        self.left -= 1;
        self.ended = step == 0;
        self.at = self.at.saturating_add(step);
        Some(frame)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where packets begin behind their headers here.
    const MAC_AT: usize = 82;
    const FIRST: usize = 48;

    /// A block as the kernel would fill it.
    fn block(packets: &[(&[u8], u32, Option<u16>)]) -> Vec<u8> {
        let mut block = vec![0; FIRST];
        put(&mut block, PACKETS_AT, &(packets.len() as u32).to_ne_bytes());
        put(&mut block, FIRST_AT, &(FIRST as u32).to_ne_bytes());
        for (index, (bytes, wire_bytes, tag)) in packets.iter().enumerate() {
            let room = (MAC_AT + bytes.len()).next_multiple_of(8);
            let mut header = vec![0; room];
            let next = if index + 1 == packets.len() { 0 } else { room as u32 };
            let status = if tag.is_some() { libc::TP_STATUS_VLAN_VALID } else { 0 };
            for (at, number) in [
                (offset_of!(libc::tpacket3_hdr, tp_next_offset), next),
                (offset_of!(libc::tpacket3_hdr, tp_sec), 1_700_000_000),
                (offset_of!(libc::tpacket3_hdr, tp_nsec), 123_456_789),
                (offset_of!(libc::tpacket3_hdr, tp_snaplen), bytes.len() as u32),
                (offset_of!(libc::tpacket3_hdr, tp_len), *wire_bytes),
                (offset_of!(libc::tpacket3_hdr, tp_status), status),
                (TAG_AT, tag.unwrap_or(0xffff).into()),
            ] {
                put(&mut header, at, &number.to_ne_bytes());
            }
            put(&mut header, offset_of!(libc::tpacket3_hdr, tp_mac), &(MAC_AT as u16).to_ne_bytes());
            header[DIRECTION_AT] = libc::PACKET_OUTGOING;
            put(&mut header, MAC_AT, bytes);
            block.extend(header);
        }
        block
    }

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    #[test]
    fn reads_time_lengths_and_tag() {
        let bytes = block(&[(b"first", 5, Some(0x2064)), (b"sec", 1500, None), (b"", 0, None)]);
        let mut frames = Frames::of(&bytes);
        let found: Vec<_> = frames.by_ref().collect();
        assert_eq!(frames.left, 0);
        assert_eq!(found.iter().map(|frame| frame.bytes).collect::<Vec<_>>(), [&b"first"[..], b"sec", b""]);
        assert_eq!(found.iter().map(|frame| frame.vlan).collect::<Vec<_>>(), [0x2064, 0, 0]);
        assert_eq!(found[0].at, 1_700_000_000_123_456);
        assert_eq!(found[0].direction, libc::PACKET_OUTGOING);
        assert!(found[1].is_truncated() && !found[0].is_truncated());
    }

    #[test]
    fn stops_where_a_block_does_not_hold_what_it_says() {
        let whole = block(&[(b"first", 5, None), (b"second", 6, None)]);
        let cut = &whole[..whole.len() - 3];
        let mut frames = Frames::of(cut);
        assert_eq!(frames.by_ref().count(), 1);
        assert_eq!(frames.left, 1, "counts as dropped");
        let mut more = whole.clone();
        put(&mut more, PACKETS_AT, &u32::MAX.to_ne_bytes());
        assert_eq!(Frames::of(&more).count(), 2);
        assert_eq!(Frames::of(&[]).count(), 0);
    }

    proptest! {
        #[test]
        fn reads_no_byte_outside_of_any_block(
            changes in prop::collection::vec((0_usize..400, any::<u8>()), 0..12),
            length in 0_usize..400,
        ) {
            let mut bytes = block(&[(&[1; 60], 60, None), (&[2; 60], 90, Some(7)), (b"", 0, None)]);
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(length);
            let count = Frames::of(&bytes).count();
            prop_assert!(count <= bytes.len());
        }
    }
}
