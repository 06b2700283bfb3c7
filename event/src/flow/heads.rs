//! The heads of a stream's messages, each of which begins with its length: what a protocol's reader looks at, and no more.
//!
//! Limits: nothing but the beginning of one message is kept, and no more of it than the reader asks for. After a gap, or after
//! what is no message, the beginning of each segment is tried again. What it never does: keep a body.

/// One side of a stream.
#[derive(Debug, Default)]
pub(super) struct Heads {
    kept: Vec<u8>,
    /// Bytes of a message that are still to come and passed over.
    skip: usize,
}

/// How a protocol cuts its messages.
pub(super) struct Shape {
    /// So many bytes tell the length.
    pub(super) start: usize,
    /// So many bytes are read of a message that has as many.
    pub(super) head: usize,
    /// The length of the whole message; nothing when none begins so.
    pub(super) length: fn(&[u8]) -> Option<usize>,
}

impl Heads {
    /// Takes a segment, and gives the head of each message in it. `gap`: bytes before it were lost.
    pub(super) fn feed(&mut self, bytes: &[u8], gap: bool, shape: &Shape, mut sink: impl FnMut(&[u8])) {
        if gap {
            *self = Self::default();
        }
        let mut kept = std::mem::take(&mut self.kept);
        let mut rest = bytes;
        if !kept.is_empty() {
            kept.extend_from_slice(bytes);
            rest = &kept;
        }
        loop {
            let passed = self.skip.min(rest.len());
            self.skip = self.skip.saturating_sub(passed);
            rest = rest.get(passed..).unwrap_or_default();
            let Some(start) = rest.get(..shape.start) else { break };
            let Some(length) = (shape.length)(start) else { return };
            let Some(head) = rest.get(..length.min(shape.head)) else { break };
            sink(head);
            self.skip = length.max(1);
        }
        self.kept = rest.to_vec();
    }
}
