//! A file as what it holds: chunks of an event log, or lines of text, whatever they were wrapped in.
//!
//! In this order: gzip and zstd are expanded, the first bytes tell what it is ([`Kind`]), a capture becomes the lines of its
//! flows, UTF-16 becomes UTF-8, and JSON documents become JSON lines. What cannot be read is an error that says what it is.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use event::{EVTX_CHUNK_BYTES, EVTX_HEADER_BYTES, Format};

use super::documents::{Documents, are_documents};
use super::kind::{Encoding, Kind, SNIFFED_BYTES, is_binary};
use super::text::text;
use crate::capture_lines::CaptureLines;
use crate::expand::expanded_file;

/// Where the head of an EVTX file says how many chunks it has.
const EVTX_CHUNK_COUNT: std::ops::Range<usize> = 42..44;

type Reader = Box<dyn Read + Send>;

/// What a file holds, ready to be read.
pub(crate) struct Readable {
    pub(crate) reader: Reader,
    pub(crate) holds: Holds,
    /// Bytes of a text that were left out because they are zero.
    pub(crate) zeroes: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Holds {
    Nothing,
    /// Chunks, without the head.
    Evtx(EvtxHead),
    /// Lines of a format.
    Lines(Format),
}

/// What the head of an EVTX file says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct EvtxHead {
    is_whole: bool,
    chunks: u64,
}

impl Readable {
    pub(crate) fn of(file: File) -> io::Result<Self> {
        let zeroes = Arc::new(AtomicU64::new(0));
        let (head, rest) = sniffed(expanded_file(file)?)?;
        let (reader, holds): (Reader, _) = match Kind::of(&head) {
            Kind::Other(what) => return Err(io::Error::other(what)),
            Kind::Evtx { head_is_whole } => {
                let chunks = head.get(EVTX_HEADER_BYTES..).unwrap_or_default().to_vec();
                (whole(chunks, rest), Holds::Evtx(EvtxHead::of(&head, head_is_whole)))
            }
            Kind::Capture => {
                let lines = CaptureLines::new(whole(head, rest)).map_err(io::Error::other)?;
                (Box::new(lines), Holds::Lines(Format::Flow))
            }
            Kind::Text(encoding) => lines(head, rest, encoding, &zeroes)?,
        };
        Ok(Self { reader, holds, zeroes })
    }
}

impl EvtxHead {
    pub(super) fn of(head: &[u8], is_whole: bool) -> Self {
        let chunks = head.get(EVTX_CHUNK_COUNT).and_then(<[u8]>::first_chunk).copied();
        Self { is_whole, chunks: u64::from(chunks.map_or(0, u16::from_le_bytes)) }
    }

    /// What is wrong with a file that has so many bytes of chunks.
    pub(super) fn fault(self, bytes: u64) -> Option<io::Error> {
        let chunks = bytes.div_ceil(EVTX_CHUNK_BYTES as u64);
        if !self.is_whole {
            return Some(io::Error::other("the head of the file is damaged: all chunks behind it are read"));
        }
        if chunks == 0 {
            return Some(io::Error::other("it ends before its first chunk: no event is left"));
        }
        (chunks < self.chunks).then(|| {
            io::Error::other(format!("it is cut: its head says {} chunks, {chunks} are there", self.chunks))
        })
    }
}

/// Text as UTF-8, line by line.
fn lines(
    head: Vec<u8>,
    rest: Reader,
    encoding: Encoding,
    zeroes: &Arc<AtomicU64>,
) -> io::Result<(Reader, Holds)> {
    let has_zeroes = head.contains(&0);
    let (head, rest) = sniffed(text(whole(head, rest), encoding, Arc::clone(zeroes))?)?;
    if head.is_empty() && has_zeroes {
        return Err(io::Error::other("it has only zero bytes: no event is left"));
    }
    if head.is_empty() {
        return Ok((rest, Holds::Nothing));
    }
    if has_zeroes && is_binary(&head) {
        return Err(io::Error::other("neither EVTX, nor text, nor a capture: not read"));
    }
    let holds = Holds::Lines(Format::Auto);
    if are_documents(&head) {
        return Ok((Box::new(Documents::new(whole(head, rest))), holds));
    }
    Ok((whole(head, rest), holds))
}

fn whole(head: Vec<u8>, rest: Reader) -> Reader {
    Box::new(io::Cursor::new(head).chain(rest))
}

/// The first bytes, and a reader of the others. What stands before a failure is read like any other.
fn sniffed(mut reader: Reader) -> io::Result<(Vec<u8>, Reader)> {
    let mut head = Vec::new();
    match reader.by_ref().take(SNIFFED_BYTES as u64).read_to_end(&mut head) {
        Err(error) if head.is_empty() => Err(error),
        Err(error) => Ok((head, Box::new(Failed(Some(error))))),
        Ok(_) => Ok((head, reader)),
    }
}

/// The rest of a file that could not be read to its end.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}
