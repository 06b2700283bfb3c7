//! Evidence on disk: cuts what each file holds ([`Readable`]) into pieces for the threads.
//!
//! - An EVTX file becomes runs of chunks, anything else runs of whole lines.
//! - A piece never ends within an event of several lines (auditd).
//! - Chunks of an EVTX file that is not compressed are read by the thread that looks at them, so that no other waits meanwhile.
//!
//! Limits: a piece has about [`PIECE_BYTES`], so memory depends on the number of threads and not on the size of a file. What
//! is compressed expands so far as `expand` allows; the rest is not read, and said. What it never does: leave a file out without
//! a word, or write.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::find::{Files, Found, open};
use super::kind::{Kind, SNIFFED_BYTES};
use super::read::{EvtxHead, Holds, Readable};
use crate::people::counted;
use event::{
    EVTX_CHUNK_BYTES, EVTX_CHUNK_HEAD_BYTES, EVTX_HEADER_BYTES, Format, Micros, cuts_before, evtx_chunk_end,
};

/// Bytes of a piece: a chunk of EVTX, some hundred lines. It is copied from the file while it is still in the processor's own
/// cache; with pieces of 256 KiB, the copying cost four times as much.
const PIECE_BYTES: usize = EVTX_CHUNK_BYTES;

/// All files, and the one that is being read.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) files: Vec<Found>,
    /// What cannot be read, and why.
    pub(super) problems: Vec<String>,
    /// What a person may want to know of what was read.
    pub(super) notes: Vec<String>,
    /// Files that were read.
    pub(super) files_read: u64,
    /// Files that have no byte.
    pub(super) files_empty: u64,
    pub(super) bytes_total: u64,
    pub(super) bytes_read: u64,
    /// By index of the path that was given: whether anything was there, or a problem says why not.
    given: Vec<(PathBuf, bool)>,
    next: usize,
    open: Option<Open>,
}

/// A part of a file.
#[derive(Debug)]
pub(super) struct Piece {
    /// Index of the file.
    pub(super) file: usize,
    pub(super) modified: Micros,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// Chunks of an EVTX file.
    Chunks(Vec<u8>),
    /// A chunk of an EVTX file that the thread is to read itself.
    OnDisk(OnDisk),
    /// Lines of text, the number of the first, and how they are to be read.
    Lines(Vec<u8>, u64, Format),
}

impl Piece {
    /// The memory of a piece that is done with.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        match self.content {
            Content::Chunks(bytes) | Content::Lines(bytes, _, _) => bytes,
            Content::OnDisk(_) => Vec::new(),
        }
    }
}

/// A chunk that is still to be read, or as much of it as the file has.
#[derive(Debug)]
pub(super) struct OnDisk {
    file: Arc<File>,
    pub(super) start: u64,
    bytes: usize,
}

impl OnDisk {
    /// Reads all of it; what the disk does not give is zero.
    pub(super) fn read(&self, chunk: &mut Vec<u8>) -> io::Result<()> {
        chunk.clear();
        chunk.resize(self.bytes, 0);
        self.file.read_exact_at(chunk, self.start)
    }

    /// Reads of a whole chunk what was written by what its head says; the rest is zero.
    pub(super) fn read_written(&self, chunk: &mut Vec<u8>) -> io::Result<()> {
        if self.bytes < EVTX_CHUNK_BYTES {
            return self.read(chunk);
        }
        chunk.resize(EVTX_CHUNK_BYTES, 0);
        let (head, rest) = chunk.split_at_mut(EVTX_CHUNK_HEAD_BYTES);
        self.file.read_exact_at(head, self.start)?;
        let (written, unwritten) = rest.split_at_mut(evtx_chunk_end(head).saturating_sub(head.len()));
        unwritten.fill(0);
        self.file.read_exact_at(written, self.start + head.len() as u64)
    }
}

/// An EVTX file that is not compressed.
struct Log {
    file: Arc<File>,
    head: EvtxHead,
    /// Where its next chunk begins.
    next: u64,
    end: u64,
}

/// The file that is being read.
struct Open {
    file: usize,
    from: From,
    /// What is read and not yet in a piece.
    rest: Vec<u8>,
    /// What was read of it in all.
    bytes: u64,
    ended: bool,
    failure: Option<io::Error>,
    /// Number of the next line.
    line: u64,
}

/// Where the pieces come from.
enum From {
    /// Chunks that are read elsewhere.
    Log(Log),
    Reader(Readable),
}

impl Evidence {
    /// What stands below the paths.
    pub(super) fn below(paths: &[PathBuf]) -> Self {
        let files = Files::below(paths);
        Self {
            bytes_total: files.found.iter().map(|found| found.bytes).sum(),
            files: files.found,
            problems: files.problems,
            given: paths.iter().cloned().zip(files.accounted).collect(),
            ..Self::default()
        }
    }

    /// The next piece; `None` at the end of all files. `spare` is the buffer of a piece that is done with.
    pub(super) fn next(&mut self, mut spare: Vec<u8>) -> Option<Piece> {
        spare.clear();
        loop {
            let Some(mut open) = self.open.take().or_else(|| self.open_next()) else {
                if self.next < self.files.len() {
                    continue;
                }
                return None;
            };
            let (file, found) = (open.file, &self.files[open.file]);
            if let Some(content) = open.piece(&mut spare) {
                let piece = Piece { file, modified: found.modified, content };
                self.open = Some(open);
                return Some(piece);
            }
            self.read(open);
        }
    }

    /// Opens the next file; `None` when there is none, or when it is not one to be read.
    fn open_next(&mut self) -> Option<Open> {
        let file = self.next;
        let found = self.files.get(file)?;
        self.next += 1;
        let opened = Open::new(file, found);
        if let Ok(Some(open)) = opened {
            return Some(open);
        }
        self.bytes_total -= found.bytes;
        match opened {
            Ok(_) if found.is_said_to_be_evtx() => {
                self.problem(file, &"it is empty, which no event log is: no event is left");
            }
            Ok(_) => self.files_empty += 1,
            Err(error) => self.problem(file, &error),
        }
        None
    }

    /// A file was read to its end, or as far as it can be.
    fn read(&mut self, open: Open) {
        let found = &self.files[open.file];
        self.files_read += 1;
        self.bytes_read += if found.is_stream { open.bytes } else { found.bytes };
        self.given[found.given].1 = true;
        let zeroes = open.zeroes();
        if zeroes > 0 {
            let bytes = counted(zeroes, "zero byte");
            self.notes.push(format!("{}: {bytes} left out of the text", found.path.display()));
        }
        let file = open.file;
        if let Some(fault) = open.fault() {
            self.problem(file, &fault);
        }
    }

    fn problem(&mut self, file: usize, what: &dyn std::fmt::Display) {
        let found = &self.files[file];
        self.problems.push(format!("{}: {what}", found.path.display()));
        self.given[found.given].1 = true;
    }

    /// Says of each path that was given whether nothing was there: that must not look like evidence without a finding.
    pub(super) fn finish(&mut self) {
        let nothing = self.given.iter().filter(|(_, has_something)| !has_something);
        let problems = nothing
            .map(|(path, _)| format!("{}: nothing to read: no file with anything in it", path.display()));
        self.problems.extend(problems);
    }
}

impl Log {
    /// `None`: it is no such file.
    fn of(file: &File) -> io::Result<Option<Self>> {
        let mut head = [0; SNIFFED_BYTES];
        let read = file.read_at(&mut head, 0)?;
        let Kind::Evtx { head_is_whole } = Kind::of(&head[..read]) else { return Ok(None) };
        let (file, end) = (Arc::new(file.try_clone()?), file.metadata()?.len());
        let head = EvtxHead::of(&head[..read], head_is_whole);
        Ok(Some(Self { file, head, next: EVTX_HEADER_BYTES as u64, end }))
    }

    fn next(&mut self) -> Option<Content> {
        let start = self.next;
        self.next = self.end.min(start + EVTX_CHUNK_BYTES as u64).max(start);
        let bytes = usize::try_from(self.next - start).unwrap_or_default();
        (bytes > 0).then(|| Content::OnDisk(OnDisk { file: Arc::clone(&self.file), start, bytes }))
    }
}

impl Open {
    /// `None`: the file is empty.
    fn new(file: usize, found: &Found) -> io::Result<Option<Self>> {
        let input = open(&found.path)?;
        let log = if found.is_stream { None } else { Log::of(&input)? };
        let from = match log {
            Some(log) => From::Log(log),
            None => From::Reader(Readable::of(input)?),
        };
        if let From::Reader(Readable { holds: Holds::Nothing, .. }) = from {
            return Ok(None);
        }
        Ok(Some(Self { file, from, rest: Vec::new(), bytes: 0, ended: false, failure: None, line: 1 }))
    }

    /// The next part; `None` at the end.
    fn piece(&mut self, spare: &mut Vec<u8>) -> Option<Content> {
        let readable = match &mut self.from {
            From::Log(log) => return log.next(),
            From::Reader(readable) => readable,
        };
        let missing = PIECE_BYTES.saturating_sub(self.rest.len());
        if !self.ended {
            self.rest.reserve(missing);
            // What stands before a failure is read like any other.
            let before = self.rest.len();
            let read = readable.reader.by_ref().take(missing as u64).read_to_end(&mut self.rest);
            self.bytes += (self.rest.len() - before) as u64;
            match read {
                Ok(read) => self.ended = read < missing,
                Err(error) => (self.ended, self.failure) = (true, Some(error)),
            }
        }
        if self.rest.is_empty() {
            return None;
        }
        let Holds::Lines(format) = readable.holds else {
            return Some(Content::Chunks(std::mem::replace(&mut self.rest, std::mem::take(spare))));
        };
        let end = if self.ended { self.rest.len() } else { cut(&self.rest) };
        spare.extend(self.rest.drain(end..));
        let (first, piece) = (self.line, std::mem::replace(&mut self.rest, std::mem::take(spare)));
        self.line += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        Some(Content::Lines(piece, first, format))
    }

    /// What was wrong with a file of which all was read that can be.
    fn fault(self) -> Option<io::Error> {
        let fault = match &self.from {
            From::Log(log) => log.head.fault(log.end.saturating_sub(EVTX_HEADER_BYTES as u64)),
            From::Reader(Readable { holds: Holds::Evtx(head), .. }) => head.fault(self.bytes),
            From::Reader(_) => None,
        };
        self.failure.or(fault)
    }

    fn zeroes(&self) -> u64 {
        match &self.from {
            From::Log(_) => 0,
            From::Reader(readable) => readable.zeroes.load(Ordering::Relaxed),
        }
    }
}

/// Where a text may end: behind a whole line that does not belong together with the next. A line that fills all of it is cut.
fn cut(text: &[u8]) -> usize {
    let line_start = |end: usize| text[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let whole = line_start(text.len());
    let (mut end, mut next) = (whole, None);
    while end > 0 {
        let start = line_start(end - 1);
        let line = &text[start..end - 1];
        if cuts_before(Format::Auto, line, next) {
            return end;
        }
        (end, next) = (start, Some(line));
    }
    if whole > 0 { whole } else { text.len() }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Open(file {}, line {})", self.file, self.line)
    }
}
