//! The ledger: what was sent or may have been sent, and where reading goes on.
//!
//! The log file itself is the spool, so the ledger holds descriptors only, about 60 bytes a batch: sequence number, file,
//! offsets, time and checksum. A descriptor is durable (fdatasync) before its batch is sent for the first time; after a crash
//! the very same batch is formed again from the file, and its checksum proves it.
//!
//! The file `ledger` in `data_dir` is a header and a list of entries, each behind its length and before its XXH3-64.
//! It is only appended to; when it has grown it is written anew beside itself and renamed over. Acknowledgements are
//! appended without fsync: one that is lost costs a batch sent again, which the collector recognises.
//!
//! What a crash can leave:
//! - a last entry that is torn: it was never durable, so its batch was never sent; it is cut off.
//! - a damaged entry with good ones behind it (a bad disk): what stood behind may have been sent, so its sequence numbers
//!   must not be used for other lines. A new epoch is drawn, and reading goes on at the first line that was not known to
//!   be acknowledged. That may double lines, never lose them.
//!
//! What it never does: hold a line of a log (but for notices of losses, which nothing else holds), or grow without bound.
//! Its size follows the batches in flight and the files that are followed.

mod codec;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use event::{Format, Micros};

use crate::fingerprint::Fingerprint;
use crate::limits::LEDGER_BYTES_MAX;
use crate::spool::source_of;

/// Number of a file in the ledger. One that is truncated and written anew is another file.
pub(crate) type FileId = u64;

/// A file that is followed, or whose batches are not all acknowledged.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Known {
    pub(crate) id: FileId,
    /// The path under which it was found first: the source of its batches, whatever rotation calls it later.
    pub(crate) path: String,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) fingerprint: Fingerprint,
    /// Up to here it was cut into batches.
    pub(crate) position: u64,
    /// Longest that it was seen: what is behind the position is lost if it is not found again.
    pub(crate) length: u64,
    /// Nothing more is read from it; it is forgotten with its last acknowledgement.
    pub(crate) retired: bool,
    pub(crate) labels: Labels,
}

impl Known {
    /// What its batches name as their source: the path, but for a segment of the spool, of which only the interface says
    /// something to people.
    pub(crate) fn source(&self) -> Cow<'_, str> {
        let spooled = if self.labels.format == Format::Flow { source_of(&self.path) } else { None };
        spooled.map_or(Cow::Borrowed(&self.path), Cow::Owned)
    }
}

/// What the configuration says of a source. Stored, so that a batch is formed again as it was after the configuration changed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Labels {
    pub(crate) format: Format,
    pub(crate) category: String,
    pub(crate) product: String,
    pub(crate) service: String,
    pub(crate) drill_id: String,
}

/// One batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Descriptor {
    pub(crate) seq: u64,
    pub(crate) time_base: Micros,
    pub(crate) utc_offset_s: i32,
    pub(crate) content: Content,
}

/// What a batch is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Content {
    /// The records of a part of a file.
    Lines { file: FileId, start: u64, end: u64, records: u32, checksum: u64 },
    /// One notice of the agent about a source.
    Note { source: String, drill_id: String, text: String },
}

/// One entry of the ledger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Entry {
    /// A file is known, or is now known by this.
    File(Known),
    /// A file whose end is not in a batch yet was seen at this length.
    Seen { file: FileId, length: u64 },
    /// Nothing more is read from the file.
    Retire(FileId),
    /// A batch was formed. One of the same number takes the place of the first (see [`Content::Note`]).
    Batch(Descriptor),
    /// The collector has stored it.
    Ack(u64),
}

/// All that the ledger says: the entries, applied in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct State {
    pub(crate) epoch: u64,
    pub(crate) seq_next: u64,
    pub(crate) file_next: FileId,
    pub(crate) files: BTreeMap<FileId, Known>,
    pub(crate) unacked: BTreeMap<u64, Descriptor>,
}

/// How the ledger was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// There was none.
    New,
    /// Whole, or with so many bytes of a torn last entry.
    Whole { torn_bytes: u64 },
    /// Damaged before its end: a new epoch was drawn.
    Damaged { lost_bytes: u64 },
}

/// The ledger on disk.
pub(crate) struct Ledger {
    state: State,
    path: PathBuf,
    file: File,
    /// Bytes of the file that are whole entries.
    bytes: u64,
    /// Entries not yet written.
    pending: Vec<u8>,
    /// An append failed: only a file written anew is known to hold everything.
    rewrite: bool,
    compact_at: u64,
    found: Found,
    last_alive: Option<SystemTime>,
}

impl State {
    fn new(epoch: u64) -> Self {
        Self { epoch, seq_next: 1, file_next: 1, ..Self::default() }
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::File(known) => {
                self.file_next = self.file_next.max(known.id + 1);
                self.files.insert(known.id, known);
            }
            Entry::Seen { file, length } => {
                if let Some(known) = self.files.get_mut(&file) {
                    known.length = length;
                }
            }
            Entry::Retire(id) => {
                if let Some(known) = self.files.get_mut(&id) {
                    known.retired = true;
                }
                self.forget(id);
            }
            Entry::Batch(descriptor) => {
                self.seq_next = self.seq_next.max(descriptor.seq + 1);
                if let Content::Lines { file, end, .. } = descriptor.content
                    && let Some(known) = self.files.get_mut(&file)
                {
                    known.position = end;
                    known.length = known.length.max(end);
                }
                self.unacked.insert(descriptor.seq, descriptor);
            }
            Entry::Ack(seq) => {
                let acked = self.unacked.remove(&seq);
                if let Some(Descriptor { content: Content::Lines { file, .. }, .. }) = acked {
                    self.forget(file);
                }
            }
        }
    }

    /// Forgets a retired file whose batches are all acknowledged.
    fn forget(&mut self, id: FileId) {
        if self.files.get(&id).is_some_and(|known| known.retired) && !self.is_unacked(id) {
            self.files.remove(&id);
        }
    }

    /// Whether a batch of the file waits for its acknowledgement.
    pub(crate) fn is_unacked(&self, id: FileId) -> bool {
        self.unacked.values().any(|batch| matches!(batch.content, Content::Lines { file, .. } if file == id))
    }

    /// Another epoch, in which everything that is not acknowledged is cut anew.
    fn begin_anew(&mut self, epoch: u64) {
        for batch in std::mem::take(&mut self.unacked).into_values() {
            if let Content::Lines { file, start, .. } = batch.content
                && let Some(known) = self.files.get_mut(&file)
            {
                known.position = known.position.min(start);
                known.retired = false;
            }
        }
        (self.epoch, self.seq_next) = (epoch, 1);
    }

    /// The fewest entries that make this state.
    fn entries(&self) -> impl Iterator<Item = Entry> {
        let files = self.files.values().cloned().map(Entry::File);
        let batches = self.unacked.values().cloned().map(Entry::Batch);
        // A batch sets its file's position back to its own end: the files come last.
        batches.chain(files)
    }
}

impl Ledger {
    /// Opens the ledger of `data_dir`, or begins one. `epoch` is a number drawn at random, for a ledger that begins.
    pub(crate) fn open(data_dir: &Path, epoch: u64) -> io::Result<Self> {
        let path = data_dir.join("ledger");
        let (state, found, last_alive) = match std::fs::read(&path) {
            Ok(bytes) => {
                let (state, found) = read(&bytes, epoch);
                (state, found, std::fs::metadata(&path)?.modified().ok())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (State::new(epoch), Found::New, None),
            Err(error) => return Err(error),
        };
        let (file, bytes) = write_anew(&path, &state)?;
        let compact_at = LEDGER_BYTES_MAX.max(4 * bytes);
        let pending = Vec::new();
        Ok(Self { state, path, file, bytes, pending, rewrite: false, compact_at, found, last_alive })
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn found(&self) -> Found {
        self.found
    }

    /// When the agent before this one last wrote.
    pub(crate) fn last_alive(&self) -> Option<SystemTime> {
        self.last_alive
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes an entry into the state. It is not durable before [`Ledger::commit`].
    pub(crate) fn append(&mut self, entry: Entry) {
        codec::push_entry(&mut self.pending, &entry);
        self.state.apply(entry);
    }

    /// Takes an acknowledgement. False when the batch is not waited for.
    pub(crate) fn ack(&mut self, seq: u64) -> bool {
        let waited_for = self.state.unacked.contains_key(&seq);
        if waited_for {
            self.append(Entry::Ack(seq));
        }
        waited_for
    }

    /// Makes everything durable. After an error nothing that was appended since the last success may be sent; the next
    /// call tries again.
    pub(crate) fn commit(&mut self) -> io::Result<()> {
        if self.rewrite || self.bytes + self.pending.len() as u64 > self.compact_at {
            return self.compact();
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        self.write()?;
        // Pages that an fsync failed to write may be gone while the kernel calls them clean: only writing them again helps.
        self.file.sync_data().inspect_err(|_| self.rewrite = true)
    }

    /// Writes what is pending, without waiting for the disk.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.rewrite { self.compact() } else { self.write() }
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_all(&self.pending).inspect_err(|_| self.rewrite = true)?;
        self.bytes += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn compact(&mut self) -> io::Result<()> {
        self.rewrite = true;
        (self.file, self.bytes) = write_anew(&self.path, &self.state)?;
        self.compact_at = LEDGER_BYTES_MAX.max(4 * self.bytes);
        self.pending.clear();
        self.rewrite = false;
        Ok(())
    }
}

/// Reads a ledger, as far as it is whole.
fn read(bytes: &[u8], epoch: u64) -> (State, Found) {
    let Some((mut state, mut at)) = codec::read_header(bytes) else {
        return (State::new(epoch), Found::Damaged { lost_bytes: bytes.len() as u64 });
    };
    while let Some((entry, end)) = codec::read_entry(bytes, at) {
        state.apply(entry);
        at = end;
    }
    let rest = (bytes.len() - at) as u64;
    if !codec::entry_follows(bytes, at) {
        return (state, Found::Whole { torn_bytes: rest });
    }
    state.begin_anew(epoch);
    (state, Found::Damaged { lost_bytes: rest })
}

/// Writes the state beside the ledger and renames it over: a crash leaves the one or the other, whole.
fn write_anew(path: &Path, state: &State) -> io::Result<(File, u64)> {
    let beside = path.with_extension("new");
    let mut bytes = codec::header(state);
    for entry in state.entries() {
        codec::push_entry(&mut bytes, &entry);
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok((file, bytes.len() as u64))
}
