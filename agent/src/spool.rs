//! The spool: lines that cannot be read again from anywhere, in segment files that `tail` reads like any other log.
//!
//! `data_dir/spool/INTERFACE-MICROSECONDS.log`, one after the other for each interface. A segment is only appended to, by whole
//! lines; at [`SEGMENT_BYTES_MAX`] (or an eighth of the spool) the next one begins, and so it does with each start, so that half
//! a line that a crash left is the end of its segment and of nothing else. From there the ledger does what it does for every
//! file: a batch of it is formed once and, after a crash, again. A segment that is closed, read to its end and acknowledged to
//! its last batch is deleted by `tail`, in this order: the acknowledgements are made durable, the file goes, the ledger forgets
//! it. A crash in between leaves a file that is known to be read, or none that is missed.
//!
//! Bounded by `spool.bytes_max`. When there is no room, the newest lines are dropped, counted, and told to the centre.
//!
//! Limits: what was written survives the end of the process at any moment; the last seconds before a power failure may be
//! lost, because nothing is synchronised to the disk line by line. What it never does: wait for room, or write half a line and
//! go on behind it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event::Micros;
use prometheus::IntCounter;
use tracing::{error, info};

use crate::form::now;
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_COST_BYTES};

/// Below `data_dir`.
const FOLDER: &str = "spool";
const ENDING: &str = ".log";
const FULL: &str = "the spool was full";
const NOT_WRITTEN: &str = "the spool could not be written";

/// The folder, shared by those who write segments and the one who reads them.
pub(crate) struct Spool {
    folder: PathBuf,
    bytes_max: u64,
    segment_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By path, the order of which is that of time within an interface.
    segments: BTreeMap<String, Segment>,
    /// Of all segments, [`SEGMENT_COST_BYTES`] for each included.
    bytes: u64,
    /// Since somebody asked: by source and reason.
    losses: BTreeMap<(String, &'static str), Loss>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    bytes: u64,
    open: bool,
}

/// Lines that found no room.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Loss {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

impl Spool {
    /// Finds what is there. The folder is made when there is something to write.
    pub(crate) fn open(data_dir: &Path, bytes_max: u64) -> io::Result<Arc<Self>> {
        let folder = data_dir.join(FOLDER);
        let mut state = State::default();
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            entries => Some(entries?),
        };
        for entry in entries.into_iter().flatten() {
            let entry = entry?;
            let path = text(&entry.path())?;
            if interface_of(&path).is_some() {
                let bytes = entry.metadata()?.len();
                state.bytes += bytes + SEGMENT_COST_BYTES;
                state.segments.insert(path, Segment { bytes, open: false });
            }
        }
        let segment_bytes = (bytes_max / 8).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        Ok(Arc::new(Self { folder, bytes_max, segment_bytes, state: Mutex::new(state) }))
    }

    /// The paths of all segments, the oldest of each interface first.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.state().segments.keys().cloned().collect()
    }

    pub(crate) fn holds(&self, path: &str) -> bool {
        self.state().segments.contains_key(path)
    }

    /// Whether a file is the spool's own, to be deleted when it was read: no log of anybody else's ever is.
    pub(crate) fn owns(&self, path: &str) -> bool {
        Path::new(path).parent() == Some(&self.folder) && interface_of(path).is_some()
    }

    /// Whether nothing more will be written to a segment.
    pub(crate) fn is_closed(&self, path: &str) -> bool {
        self.state().segments.get(path).is_none_or(|segment| !segment.open)
    }

    /// Bytes on disk, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.state().bytes
    }

    /// What was dropped since the last call: source, reason, how much.
    pub(crate) fn take_losses(&self) -> Vec<(String, &'static str, Loss)> {
        let losses = std::mem::take(&mut self.state().losses);
        losses.into_iter().map(|((source, reason), loss)| (source, reason, loss)).collect()
    }

    /// Deletes a segment, durably.
    pub(crate) fn delete(&self, path: &str) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => File::open(&self.folder)?.sync_all()?,
        }
        self.forget(path);
        Ok(())
    }

    /// A segment that is not there any more.
    pub(crate) fn forget(&self, path: &str) {
        let mut state = self.state();
        if let Some(Segment { bytes, .. }) = state.segments.remove(path) {
            state.bytes = state.bytes.saturating_sub(bytes + SEGMENT_COST_BYTES);
        }
    }

    /// Whoever panicked while it was held has left numbers, each of them whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for so many bytes of a segment. False when there is none.
    fn reserve(&self, path: &str, bytes: u64) -> bool {
        let mut state = self.state();
        let has_room = state.bytes + bytes <= self.bytes_max;
        if has_room && let Some(segment) = state.segments.get_mut(path) {
            segment.bytes += bytes;
            state.bytes += bytes;
        }
        has_room
    }

    /// Gives back room that was not used.
    fn release(&self, path: &str, bytes: u64) {
        let mut state = self.state();
        if let Some(segment) = state.segments.get_mut(path) {
            segment.bytes = segment.bytes.saturating_sub(bytes);
            state.bytes = state.bytes.saturating_sub(bytes);
        }
    }

    fn lose(&self, source: &str, reason: &'static str, lines: u64, bytes: u64) {
        let mut state = self.state();
        let loss = state.losses.entry((source.to_owned(), reason)).or_default();
        loss.lines += lines;
        loss.bytes += bytes;
    }

    /// Begins a segment. `None` when there is no room for it.
    fn begin(&self, interface: &str) -> io::Result<Option<(String, File)>> {
        if self.state().bytes + SEGMENT_COST_BYTES > self.bytes_max {
            return Ok(None);
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = text(&self.folder.join(self.name(interface)))?;
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        let mut state = self.state();
        state.bytes += SEGMENT_COST_BYTES;
        state.segments.insert(path.clone(), Segment { bytes: 0, open: true });
        Ok(Some((path, file)))
    }

    /// A name behind all that the interface has, even when the clock was set back.
    fn name(&self, interface: &str) -> String {
        let state = self.state();
        let numbers = state.segments.keys().filter_map(|path| parts(path));
        let last = numbers.filter(|(other, _)| *other == interface).map(|(_, number)| number).max();
        let number = last.map_or(0, |last| last + 1).max(now());
        format!("{interface}-{number:016}{ENDING}")
    }
}

/// What batches of a segment name as their source.
pub(crate) fn source_of(path: &str) -> Option<String> {
    interface_of(path).map(source_name)
}

fn source_name(interface: &str) -> String {
    format!("capture:{interface}")
}

fn interface_of(path: &str) -> Option<&str> {
    parts(path).map(|(interface, _)| interface)
}

/// The interface and the number in a segment's path.
fn parts(path: &str) -> Option<(&str, Micros)> {
    let path = Path::new(path);
    let name = path.file_name()?.to_str()?.strip_suffix(ENDING)?;
    if path.parent()?.file_name()? != FOLDER {
        return None;
    }
    let (interface, number) = name.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !interface.is_empty()).then_some((interface, number.parse().ok()?))
}

fn text(path: &Path) -> io::Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        io::Error::other(format!("{}: expected a data_dir with a name in UTF-8", path.display()))
    })
}

/// The segments of one interface, written one after the other.
pub(crate) struct Segments {
    spool: Arc<Spool>,
    interface: String,
    current: Option<Current>,
    dropped_lines: IntCounter,
    /// The last write found no room or no disk: logged once.
    troubled: bool,
}

struct Current {
    path: String,
    file: File,
    bytes: u64,
}

impl Segments {
    pub(crate) fn new(spool: Arc<Spool>, interface: &str, dropped_lines: IntCounter) -> Self {
        Self { spool, interface: interface.to_owned(), current: None, dropped_lines, troubled: false }
    }

    /// Writes whole lines and leaves the buffer empty, whatever became of them.
    pub(crate) fn write(&mut self, lines: &mut Vec<u8>) {
        if lines.is_empty() {
            return;
        }
        match self.try_write(lines) {
            Ok(true) if self.troubled => {
                self.troubled = false;
                info!(interface = self.interface, "the spool takes lines again");
            }
            Ok(true) => {}
            Ok(false) => self.lose(lines, FULL, None),
            // An error has already been told with what remained.
            Err((rest, error)) => self.lose(&lines[rest..], NOT_WRITTEN, Some(&error)),
        }
        lines.clear();
    }

    /// Nothing more comes into the segment that is open.
    pub(crate) fn close(&mut self) {
        if let Some(current) = self.current.take()
            && let Some(segment) = self.spool.state().segments.get_mut(&current.path)
        {
            segment.open = false;
        }
    }

    /// False when the spool is full. An error comes with the place from which on nothing was written.
    fn try_write(&mut self, lines: &[u8]) -> Result<bool, (usize, io::Error)> {
        if self.current.as_ref().is_some_and(Current::is_gone) {
            self.close();
        }
        if self.current.is_none() {
            let begun = self.spool.begin(&self.interface).map_err(|error| (0, error))?;
            let Some((path, file)) = begun else { return Ok(false) };
            self.current = Some(Current { path, file, bytes: 0 });
        }
        let Some(current) = &mut self.current else { return Ok(false) };
        if !self.spool.reserve(&current.path, lines.len() as u64) {
            // Closed, so that it can be deleted once it is read: only that makes room.
            self.close();
            return Ok(false);
        }
        let (written, done) = write_counted(&mut current.file, lines);
        current.bytes += written as u64;
        if written < lines.len() {
            self.spool.release(&current.path, (lines.len() - written) as u64);
        }
        let is_full = current.bytes >= self.spool.segment_bytes;
        if is_full || done.is_err() {
            self.close();
        }
        done.map(|()| true).map_err(|error| (behind_torn_line(lines, written), error))
    }

    fn lose(&mut self, lines: &[u8], reason: &'static str, error: Option<&io::Error>) {
        let count = memchr::memchr_iter(b'\n', lines).count() as u64;
        self.dropped_lines.inc_by(count);
        self.spool.lose(&source_name(&self.interface), reason, count, lines.len() as u64);
        if !std::mem::replace(&mut self.troubled, true) {
            let error = error.map_or_else(String::new, |error| format!(": {error}"));
            error!(interface = self.interface, "lines are dropped: {reason}{error}");
        }
    }
}

impl Current {
    /// Whether somebody has deleted the file: what is written to it now would go with the last who reads it.
    fn is_gone(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }
}

/// Writes all, and says how much of it was written.
fn write_counted(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Where the first line begins of which nothing was written. The one that was torn is counted by its reader.
fn behind_torn_line(lines: &[u8], written: usize) -> usize {
    match written.checked_sub(1).and_then(|last| lines.get(last)) {
        None | Some(b'\n') => written,
        Some(_) => memchr::memchr(b'\n', &lines[written..]).map_or(lines.len(), |at| written + at + 1),
    }
}

#[cfg(test)]
mod tests;
