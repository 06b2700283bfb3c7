//! Segments of a TCP stream that came before their turn, held until it comes.
//!
//! Networks reorder a little, and the application layer reads in order. Held are at most [`SEGMENTS_MAX`] segments and
//! [`BYTES_MAX`] of each side, and only while somebody reads that side. When there is no more room, what is missing is given
//! up: the first held segment is its turn then, with a gap before it.

/// A burst that overtakes one late segment.
const SEGMENTS_MAX: usize = 8;
/// Some full segments; as many bytes as the application layer keeps of a side.
const BYTES_MAX: usize = 16 * 1024;

/// What one side sent too early.
#[derive(Debug, Default)]
pub(super) struct Held {
    segments: Vec<Segment>,
    bytes: usize,
}

/// Payload, and where it stands. `wire_bytes` is its length before capture cut it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) seq: u32,
    pub(super) payload: Vec<u8>,
    pub(super) wire_bytes: u32,
}

impl Held {
    /// Takes a segment. False: there is no room.
    pub(super) fn hold(&mut self, seq: u32, payload: &[u8], wire_bytes: u32) -> bool {
        let bytes = self.bytes.saturating_add(payload.len());
        if self.segments.len() >= SEGMENTS_MAX || bytes > BYTES_MAX {
            return false;
        }
        self.bytes = bytes;
        self.segments.push(Segment { seq, payload: payload.to_vec(), wire_bytes });
        true
    }

    /// The held segment that stands first, seen from `next`.
    pub(super) fn take_first(&mut self, next: u32) -> Option<Segment> {
        let distance = |segment: &Segment| segment.seq.wrapping_sub(next).cast_signed();
        let first = (0_usize..).zip(&self.segments).min_by_key(|(_, segment)| distance(segment));
        let segment = self.segments.swap_remove(first?.0);
        self.bytes = self.bytes.saturating_sub(segment.payload.len());
        Some(segment)
    }

    /// The first segment whose turn has come.
    pub(super) fn take_due(&mut self, next: u32) -> Option<Segment> {
        let due = |segment: &Segment| segment.seq.wrapping_sub(next).cast_signed() <= 0;
        if self.segments.iter().any(due) { self.take_first(next) } else { None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}
