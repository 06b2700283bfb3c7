//! Evidence on disk: finds the files, tells by their content what they are, and cuts them into pieces for the threads.
//!
//! - An EVTX file becomes runs of chunks, a text file runs of whole lines, a capture (pcap, pcapng) the lines of its flows;
//!   any may be compressed (gzip, zstd). What is none of them, told by a zero byte within its first [`SNIFFED_BYTES`], is skipped and counted.
//! - A piece never ends within an event of several lines (auditd).
//! - Chunks of an EVTX file that is not compressed are read by the thread that looks at them, so that no other waits meanwhile.
//!
//! Limits: a piece has about [`PIECE_BYTES`], so memory depends on the number of threads and not on the size of a file. What
//! is compressed expands so far as `expand` allows; the rest is not read, and said. What it never does: follow a symbolic link below the paths it was given, or write.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::capture_lines::{CaptureLines, is_capture};
use crate::expand::expanded;
use event::{
    EVTX_CHUNK_BYTES, EVTX_CHUNK_HEAD_BYTES, EVTX_HEADER_BYTES, EVTX_MAGIC, Format, Micros, cuts_before,
    evtx_chunk_end,
};

/// Bytes of a piece: a chunk of EVTX, some hundred lines. It is copied from the file while it is still in the processor's own
/// cache; with pieces of 256 KiB, the copying cost four times as much.
const PIECE_BYTES: usize = EVTX_CHUNK_BYTES;
/// First bytes by which a file is told.
const SNIFFED_BYTES: usize = EVTX_HEADER_BYTES;

/// All files, and the one that is being read.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) files: Vec<Found>,
    /// Files and folders that cannot be read, and why.
    pub(super) problems: Vec<String>,
    /// Files that are neither EVTX nor text.
    pub(super) skipped: u64,
    pub(super) bytes_total: u64,
    pub(super) bytes_read: u64,
    next: usize,
    open: Option<Open>,
}

/// A file that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    bytes: u64,
    /// For events without a time of their own, and for times without a year.
    modified: Micros,
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
    /// Where its next chunk begins.
    next: u64,
    end: u64,
}

/// The file that is being read.
struct Open {
    file: usize,
    /// Its chunks are read elsewhere.
    log: Option<Log>,
    reader: Box<dyn Read + Send>,
    is_evtx: bool,
    /// Of lines.
    format: Format,
    /// What is read and not yet in a piece.
    rest: Vec<u8>,
    ended: bool,
    failure: Option<io::Error>,
    /// Number of the next line.
    line: u64,
}

impl Evidence {
    /// Finds the files below the paths.
    pub(super) fn find(paths: &[PathBuf]) -> Self {
        let mut evidence = Self::default();
        let entries = paths.iter().flat_map(|path| walkdir::WalkDir::new(path).sort_by_file_name());
        for entry in entries {
            match entry.and_then(|entry| Ok((entry.metadata()?, entry.into_path()))) {
                Ok((metadata, path)) if metadata.is_file() => {
                    let modified =
                        metadata.modified().ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
                    let modified = modified.unwrap_or_default().as_microsecond();
                    evidence.bytes_total += metadata.len();
                    evidence.files.push(Found { path, bytes: metadata.len(), modified });
                }
                Ok(_) => {}
                Err(error) => evidence.problems.push(error.to_string()),
            }
        }
        evidence
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
            self.done(file, open.failure);
        }
    }

    /// Opens the next file; `None` when there is none, or when it is not one to be read.
    fn open_next(&mut self) -> Option<Open> {
        let file = self.next;
        let found = self.files.get(file)?;
        self.next += 1;
        match Open::new(file, found) {
            Ok(open) if open.is_evtx || !open.rest.contains(&0) => return Some(open),
            Ok(open) => {
                self.skipped += 1;
                self.done(file, open.failure);
            }
            Err(error) => self.done(file, Some(error)),
        }
        None
    }

    fn done(&mut self, file: usize, failure: Option<io::Error>) {
        let found = &self.files[file];
        self.bytes_read += found.bytes;
        self.problems.extend(failure.map(|error| format!("{}: {error}", found.path.display())));
    }
}

impl Log {
    /// `None`: it is no such file.
    fn open(found: &Found) -> io::Result<Option<Self>> {
        let (file, mut magic) = (File::open(&found.path)?, [0; EVTX_MAGIC.len()]);
        let read = file.read_at(&mut magic, 0)?;
        let is_log = read == magic.len() && magic == *EVTX_MAGIC;
        let end = file.metadata()?.len();
        Ok(is_log.then(|| Self { file: Arc::new(file), next: EVTX_HEADER_BYTES as u64, end }))
    }

    fn next(&mut self) -> Option<Content> {
        let start = self.next;
        self.next = self.end.min(start + EVTX_CHUNK_BYTES as u64);
        let bytes = usize::try_from(self.next.saturating_sub(start)).unwrap_or_default();
        (bytes > 0).then(|| Content::OnDisk(OnDisk { file: Arc::clone(&self.file), start, bytes }))
    }
}

impl Open {
    fn new(file: usize, found: &Found) -> io::Result<Self> {
        let log = Log::open(found)?;
        let (reader, format): (Box<dyn Read + Send>, _) = match log {
            Some(_) => (Box::new(io::empty()), Format::Auto),
            None => lines_of_captures(expanded(&found.path)?)?,
        };
        let mut open = Self {
            file,
            log,
            reader,
            is_evtx: false,
            format,
            rest: Vec::new(),
            ended: false,
            failure: None,
            line: 1,
        };
        open.fill(SNIFFED_BYTES);
        open.is_evtx = open.rest.starts_with(EVTX_MAGIC);
        if open.is_evtx {
            open.rest.clear();
        }
        Ok(open)
    }

    /// Reads until so many bytes are there, or the file ends. What stands before a failure is read like any other.
    fn fill(&mut self, bytes: usize) {
        let missing = bytes.saturating_sub(self.rest.len());
        if missing == 0 || self.ended {
            return;
        }
        self.rest.reserve(missing);
        match self.reader.by_ref().take(missing as u64).read_to_end(&mut self.rest) {
            Ok(read) => self.ended = read < missing,
            Err(error) => (self.ended, self.failure) = (true, Some(error)),
        }
    }

    /// The next part; `None` at the end.
    fn piece(&mut self, spare: &mut Vec<u8>) -> Option<Content> {
        if let Some(log) = &mut self.log {
            return log.next();
        }
        self.fill(PIECE_BYTES);
        if self.rest.is_empty() {
            return None;
        }
        if self.is_evtx {
            return Some(Content::Chunks(std::mem::replace(&mut self.rest, std::mem::take(spare))));
        }
        let end = if self.ended { self.rest.len() } else { cut(&self.rest) };
        spare.extend(self.rest.drain(end..));
        let (first, piece) = (self.line, std::mem::replace(&mut self.rest, std::mem::take(spare)));
        self.line += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        Some(Content::Lines(piece, first, self.format))
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

/// A capture's flows as lines, and anything else as it is.
fn lines_of_captures(mut reader: Box<dyn Read + Send>) -> io::Result<(Box<dyn Read + Send>, Format)> {
    let mut head = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut head)?;
    let is_capture = is_capture(&head);
    let whole = io::Cursor::new(head).chain(reader);
    if !is_capture {
        return Ok((Box::new(whole), Format::Auto));
    }
    let lines = CaptureLines::new(whole).map_err(io::Error::other)?;
    Ok((Box::new(lines), Format::Flow))
}

impl std::fmt::Debug for Open {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Open(file {}, line {})", self.file, self.line)
    }
}
