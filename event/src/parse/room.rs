//! Room for text that its line has only in escapes.
//!
//! An event that is looked at and forgotten borrows such text from room that the next event uses again: no string of it is
//! allocated. Events that are kept own it.
//!
//! Limits: unescaped text is never longer than its escapes, so the room for one line is as long as the line, and
//! [`BLOCK_BYTES`] more.

use std::borrow::Cow;

use simdutf8::basic::from_utf8;

/// Bytes that are copied together; the last of them may lie behind a text.
pub(super) const BLOCK_BYTES: usize = 16;

/// Where the text goes.
#[derive(Debug)]
pub(super) enum Room<'t> {
    /// To what is lent for as long as the fields live.
    Lent(&'t mut [u8]),
    /// To a string of its own, through this.
    Own(Vec<u8>),
}

impl Default for Room<'_> {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl<'t> Room<'t> {
    /// Room for the line, out of a buffer that grows with the longest.
    pub(super) fn lent(buffer: &'t mut Vec<u8>, line_bytes: usize) -> Self {
        grow(buffer, line_bytes);
        Self::Lent(buffer)
    }

    /// What is free: room for the rest of the line.
    pub(super) fn at_least(&mut self, rest_bytes: usize) -> &mut [u8] {
        match self {
            Self::Lent(free) => free,
            Self::Own(buffer) => {
                grow(buffer, rest_bytes);
                buffer
            }
        }
    }

    /// The text that was written to the first bytes of what was free. `None`: it is none.
    pub(super) fn keep(&mut self, bytes: usize) -> Option<Cow<'t, str>> {
        match self {
            Self::Lent(free) => {
                let (text, rest) = std::mem::take(free).split_at_mut_checked(bytes)?;
                *free = rest;
                from_utf8(text).ok().map(Cow::Borrowed)
            }
            Self::Own(buffer) => from_utf8(buffer.get(..bytes)?).ok().map(|text| Cow::Owned(text.to_owned())),
        }
    }
}

fn grow(buffer: &mut Vec<u8>, text_bytes: usize) {
    let bytes = text_bytes.saturating_add(BLOCK_BYTES);
    if buffer.len() < bytes {
        buffer.resize(bytes, 0);
    }
}
