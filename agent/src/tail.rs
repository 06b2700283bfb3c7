//! Reads log files, cuts batches, writes them into the ledger and hands them to `ship`.
//!
//! Files are polled, every `flush_interval_ms`, rather than watched: polling works on every file system (network ones and
//! overlays give no events), cannot overflow a queue of events, sees a truncation as surely as an append, and costs two
//! system calls a file and tick. Whatever whole lines a look finds are sent at once, so that what was seen is never lost to
//! a truncation that follows.
//!
//! Nothing is read while `ship` is full: the log file is the queue. Rotation is followed even then, so that every file is
//! held open before its name is gone.
//!
//! What is lost all the same is counted, logged and told to the centre in a notice that takes a place in the sequence:
//! - lines that copytruncate took away between copy and truncation, or that were never copied, as far as they were seen;
//! - batches that were not acknowledged before a crash and whose file is gone since;
//! - the unread rest of a file that is gone when the agent starts: the ledger knows how long it was seen. What was written to it
//!   while no agent ran nobody can count: that the file is gone is told all the same.
//!
//! Limits: a name that `exclude` does not cover must not be the copy that copytruncate makes (it would be read as a file of
//! its own); files with identical first bytes and inode are taken for one; what is written, copied and truncated between
//! two looks at a file that was empty before is not seen; rotated files are searched in their own folder, uncompressed.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs::File;
use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use event::RECORD_BYTES_MAX;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{debug, error, info, warn};

use crate::config::{Config, Source, Start};
use crate::cut::{Cut, Ending, Full, Span, cut_batch, record_at};
use crate::fingerprint::{Fingerprint, read_full_at};
use crate::follow::{Followed, Look, Place, find_again, find_copy, siblings};
use crate::form::{Former, gone, loss, now};
use crate::ledger::{Content, Descriptor, Entry, FileId, Found, Known, Labels, Ledger};
use crate::limits::{
    CLOCK_GRAIN, FILES_MAX, NOTICE_INTERVAL, QUEUE_BATCHES, RESCAN_INTERVAL, SEGMENTS_FOLLOWED_MAX,
};
use crate::metrics::Metrics;
use crate::open::open;
use crate::ship::Frame;
use crate::spool::{Loss, Spool};
use crate::zone::utc_offset_s;

/// A file of the ledger, and where it was found again.
type Restored = (Known, Option<(File, Place)>);

/// The stage: files in, frames out.
pub(crate) struct Tail {
    config: Rc<Config>,
    ledger: Rc<RefCell<Ledger>>,
    metrics: Rc<Metrics>,
    spool: Arc<Spool>,
    frames: mpsc::Sender<Frame>,
    former: Former,
    full: Full,
    /// In the order in which they were found: a rotated file before the one that follows it.
    files: Vec<Followed>,
    /// Formed, and not durable or not handed over yet.
    formed: VecDeque<Frame>,
    buffer: Vec<u8>,
    spans: Vec<Span>,
    /// Paths that were ever followed: a new file under one of them is read from its beginning.
    met: HashSet<String>,
    /// Paths that could not be opened, so that each is logged once.
    troubled: HashSet<PathBuf>,
    scanned: Option<Instant>,
    /// When names were looked at last, by this agent or, by its ledger, the one before: what was born since is unread.
    looked: Option<SystemTime>,
    /// A file was taken up, or its beginning was seen, that the ledger does not durably have yet.
    is_file_new: bool,
    /// Which file is first in its turn.
    turn: usize,
    /// When losses of the spool were told last.
    noticed: Option<Instant>,
}

impl Tail {
    pub(crate) fn new(
        config: Rc<Config>,
        agent: String,
        ledger: Rc<RefCell<Ledger>>,
        metrics: Rc<Metrics>,
        spool: Arc<Spool>,
        frames: mpsc::Sender<Frame>,
    ) -> Result<Self> {
        let batch = &config.batch;
        let full = Full {
            records_max: usize::try_from(batch.records_max)?,
            bytes_max: usize::try_from(batch.bytes_max)?,
        };
        let looked = ledger.borrow().last_alive();
        let former = Former::new(agent, ledger.borrow().state().epoch, i32::try_from(batch.zstd_level)?)?;
        // Room for a batch up to its last byte, and for the record that fills it with its line end.
        let buffer = vec![0; full.bytes_max + RECORD_BYTES_MAX + 2];
        Ok(Self {
            config,
            ledger,
            metrics,
            spool,
            frames,
            former,
            full,
            files: Vec::new(),
            formed: VecDeque::new(),
            buffer,
            spans: Vec::new(),
            met: HashSet::new(),
            troubled: HashSet::new(),
            scanned: None,
            looked,
            is_file_new: false,
            turn: 0,
            noticed: None,
        })
    }

    /// Runs until `stop`; then what is there is read once more.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) -> Result<()> {
        let mut stop = pin!(stop);
        let mut ticks = interval(self.config.flush_interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.restore()?;
        loop {
            self.follow_names();
            tokio::select! {
                done = self.read_all(&mut ticks) => done?,
                () = &mut stop => break,
            }
            self.finish_segments()?;
            self.notice_spool_losses();
            self.keep_books();
            tokio::select! {
                _ = ticks.tick() => {}
                () = &mut stop => break,
            }
        }
        self.follow_names();
        // Now, because what follows may not be done in time.
        self.keep_books();
        while self.hand_over()? {
            drop(self.frames.reserve().await);
        }
        self.read_round()?;
        while self.hand_over()? {
            drop(self.frames.reserve().await);
        }
        Ok(())
    }

    /// Reads until nothing is left. Returns at a tick, too, while `ship` is full: names are to be looked at.
    async fn read_all(&mut self, ticks: &mut Interval) -> Result<()> {
        while self.hand_over()? || self.read_round()? {
            if self.frames.capacity() == 0 {
                // For half of it: one look at a file and one fsync then serve several batches.
                tokio::select! {
                    _ = self.frames.reserve_many(QUEUE_BATCHES / 2) => {}
                    _ = ticks.tick() => return Ok(()),
                }
            }
            // `ship` runs on the same thread.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Makes what was formed durable and hands over as much as there is room for. True when some is left.
    fn hand_over(&mut self) -> Result<bool> {
        if self.formed.is_empty() {
            return Ok(false);
        }
        let committed = self.ledger.borrow_mut().commit();
        if !self.report_commit(committed) {
            return Ok(false);
        }
        while self.frames.capacity() > 0
            && let Some(frame) = self.formed.pop_front()
        {
            self.frames.try_send(frame).ok().context("ship has ended")?;
        }
        Ok(!self.formed.is_empty())
    }

    /// Every file in turn, at most one buffer of each. True when batches were formed.
    fn read_round(&mut self) -> Result<bool> {
        if !self.formed.is_empty() {
            return Ok(false);
        }
        let now = Instant::now();
        self.turn = self.turn.wrapping_add(1);
        let (turn, count) = (self.turn, self.files.len());
        for index in (0..count).map(|index| turn.wrapping_add(index) % count) {
            if self.formed.len() >= self.frames.capacity() {
                break;
            }
            match self.read_file(index, now) {
                Ok(Look::Truncated) => self.follow_truncation(index, now),
                Ok(_) if self.files[index].is_finished(now) => self.let_go(index),
                Ok(_) => {}
                Err(error) => {
                    let path = PathBuf::from(&self.files[index].known.path);
                    self.report_trouble(&path, &error);
                }
            }
        }
        self.files.retain(|followed| !followed.known.retired);
        Ok(!self.formed.is_empty())
    }

    /// Counts each trouble with a file, logs the first: it comes again with every tick.
    fn report_trouble(&mut self, path: &Path, error: &anyhow::Error) {
        self.metrics.file_errors.inc();
        if self.troubled.len() < FILES_MAX && self.troubled.insert(path.to_owned()) {
            warn!(source = %path.display(), "cannot be read: {error:#}");
        }
    }

    fn read_file(&mut self, index: usize, now: Instant) -> Result<Look> {
        let look = self.files[index].read(&mut self.buffer, now)?;
        let Look::Bytes { count, more } = look else { return Ok(look) };
        let mut at = 0;
        while self.formed.len() < self.frames.capacity() {
            let followed = &mut self.files[index];
            let ending = if more { Ending::Open } else { followed.ending(now) };
            let buffer = &self.buffer[..count];
            let format = followed.known.labels.format;
            match cut_batch(buffer, at, format, self.full, ending, &mut self.spans) {
                Cut::Nothing => {
                    let whole_lines = record_at(buffer, at, false).is_some();
                    if !more {
                        followed.wait_for_more(whole_lines, now);
                    }
                    break;
                }
                // There is more in the file: the next look begins here and fills a whole batch.
                Cut::Rest if more && at > 0 => break,
                Cut::Rest | Cut::Full => at = self.form(index, count)?,
            }
        }
        Ok(look)
    }

    /// Forms the batch of `spans`. Returns where it ends in the buffer.
    fn form(&mut self, index: usize, count: usize) -> Result<usize> {
        let followed = &mut self.files[index];
        let offset = followed.utc_offset_s.unwrap_or_else(utc_offset_s);
        let mut ledger = self.ledger.borrow_mut();
        followed.record(&mut ledger);
        let known = &mut followed.known;
        let seq = ledger.state().seq_next;
        let (descriptor, frame) =
            self.former.lines(known, seq, offset, &self.buffer[..count], &self.spans)?;
        let Content::Lines { start, end, records, .. } = descriptor.content else { return Ok(count) };
        known.position = end;
        ledger.append(Entry::Batch(descriptor));
        self.formed.push_back(frame);
        self.metrics.batches_formed.inc();
        self.metrics.lines.with_label_values(&[&known.source()]).inc_by(records.into());
        self.metrics.bytes.with_label_values(&[&known.source()]).inc_by(end - start);
        let pieces = self.spans.iter().filter(|span| span.piece).count();
        self.metrics.lines_cut.inc_by(pieces as u64);
        Ok(self.spans.last().map_or(count, |span| span.end))
    }

    /// What is under a file's name was taken away: goes on in the copy, if there is one, and with what is new.
    fn follow_truncation(&mut self, index: usize, now: Instant) {
        let followed = &self.files[index];
        let path = followed.known.path.clone();
        let (was_live, lag, position) = (followed.is_live(), followed.lag(), followed.known.position);
        self.metrics.truncations.with_label_values(&[&path]).inc();
        let mut known = followed.known.clone();
        let utc_offset_s = followed.utc_offset_s;
        if let Some(copy) = find_copy(&mut known) {
            info!(source = path, position, "truncated; reading on in its copy");
            self.ledger.borrow_mut().append(Entry::File(known.clone()));
            let place = Place::Rotated { quiet_since: now };
            self.files[index] = Followed::new(known, copy, place, utc_offset_s);
        } else {
            warn!(source = path, unread_bytes = lag, "truncated; no copy of it is there");
            if lag > 0 {
                self.notice_loss(&known, lag, None, "truncated before it was read");
            }
            self.retire(index);
        }
        if was_live {
            self.follow(Path::new(&path), Start::Beginning);
        }
    }

    /// Nothing more will come from the file.
    fn let_go(&mut self, index: usize) {
        self.retire(index);
        let known = &self.files[index].known;
        debug!(source = known.path, position = known.position, "rotated file let go");
        let source = known.source();
        let mut others = self.files.iter().filter(|followed| !followed.known.retired);
        if !others.any(|followed| followed.known.source() == source) {
            self.metrics.forget(&source);
        }
    }

    /// Deletes segments of the spool that nobody writes to any more, that are read to their end and acknowledged to their
    /// last batch. The order is what a crash must find: see `spool.rs`.
    fn finish_segments(&mut self) -> Result<()> {
        for index in 0..self.files.len() {
            let known = &self.files[index].known;
            if !self.spool.owns(&known.path) || !self.spool.is_closed(&known.path) {
                continue;
            }
            let (id, path, position) = (known.id, known.path.clone(), known.position);
            // After it was found closed: what it holds now is all that it ever will.
            if !self.files[index].is_drained()? || self.ledger.borrow().state().is_unacked(id) {
                continue;
            }
            let is_torn = self.files[index].lag() > 0;
            if is_torn {
                // What is behind the position is half a line: nothing that a start after a crash here would miss.
                self.ledger.borrow_mut().append(Entry::Seen { file: id, length: position });
            }
            let committed = self.ledger.borrow_mut().commit();
            if !self.report_commit(committed) {
                continue;
            }
            if let Err(error) = self.spool.delete(&path) {
                self.report_trouble(Path::new(&path), &error.into());
                continue;
            }
            if is_torn {
                warn!(source = path, "half a line at its end, of a crash");
                self.metrics.spool_torn_lines.inc();
            }
            self.let_go(index);
            self.met.remove(&path);
        }
        self.files.retain(|followed| !followed.known.retired);
        Ok(())
    }

    /// Tells the centre what found no room in the spool, when there is room for the telling.
    fn notice_spool_losses(&mut self) {
        let now = Instant::now();
        let is_due = self.noticed.is_none_or(|noticed| now.duration_since(noticed) >= NOTICE_INTERVAL);
        if !is_due || !self.formed.is_empty() || self.frames.capacity() == 0 {
            return;
        }
        for (source, reason, Loss { lines, bytes }) in self.spool.take_losses() {
            self.noticed = Some(now);
            let records = u32::try_from(lines).unwrap_or(u32::MAX);
            let known = Known { path: source, labels: self.config.spool_labels(), ..Known::default() };
            let seq = self.ledger.borrow().state().seq_next;
            self.notice(&known, seq, false, loss(&known.path, bytes, Some(records), reason));
        }
    }

    /// Marks a file as done with. It is dropped at the end of the round, so that indices hold until then.
    fn retire(&mut self, index: usize) {
        let known = &mut self.files[index].known;
        known.retired = true;
        self.ledger.borrow_mut().append(Entry::Retire(known.id));
        // One that is still there, but with other content, is found again by its name.
        if self.spool.owns(&known.path) && matches!(Path::new(&known.path).try_exists(), Ok(false)) {
            self.spool.forget(&known.path);
        }
    }

    fn notice_loss(&mut self, known: &Known, bytes: u64, records: Option<u32>, reason: &str) {
        let seq = self.ledger.borrow().state().seq_next;
        self.notice(known, seq, false, loss(&known.path, bytes, records, reason));
        self.metrics.lost_bytes.inc_by(bytes);
    }

    /// Puts a notice into the sequence.
    fn notice(&mut self, known: &Known, seq: u64, resent: bool, text: String) {
        let content =
            Content::Note { source: known.path.clone(), drill_id: known.labels.drill_id.clone(), text };
        let batch = Descriptor { seq, time_base: now(), utc_offset_s: utc_offset_s(), content };
        match self.former.note(&batch, resent) {
            Ok(Some(frame)) => {
                self.ledger.borrow_mut().append(Entry::Batch(batch));
                self.formed.push_back(frame);
                self.metrics.batches_formed.inc();
            }
            Ok(None) => {}
            Err(error) => error!(source = known.path, "a notice of a loss cannot be formed: {error:#}"),
        }
    }

    /// Looks whether names lead to other files now, and for new names.
    fn follow_names(&mut self) {
        let (now, looking) = (Instant::now(), SystemTime::now());
        // First, so that a copy that copytruncate has made is known when new files are looked for.
        self.follow_contents(now);
        let mut moved = Vec::new();
        for followed in self.files.iter_mut().filter(|followed| followed.is_live()) {
            if followed.has_moved() {
                followed.place = Place::Rotated { quiet_since: now };
                moved.push(followed.known.path.clone());
            }
        }
        for path in moved {
            debug!(source = path, "rotated");
            self.metrics.rotations.with_label_values(&[&path]).inc();
            self.follow_born_unseen(Path::new(&path));
            self.follow(Path::new(&path), Start::Beginning);
        }
        let is_due = self.scanned.is_none_or(|scanned| now.duration_since(scanned) >= RESCAN_INTERVAL);
        if is_due {
            let first = self.scanned.is_none();
            self.scanned = Some(now);
            self.scan(first);
        }
        self.follow_segments();
        self.looked = looking.checked_sub(CLOCK_GRAIN);
        // Where reading of a new file began must be known after a crash, or `start = "end"` would skip lines then; and how it
        // begins, or its copy would not be found.
        if std::mem::take(&mut self.is_file_new) {
            let committed = self.ledger.borrow_mut().commit();
            self.report_commit(committed);
        }
    }

    /// Looks whether contents were taken away: at once, because a copy may be compressed before `ship` has room again.
    fn follow_contents(&mut self, now: Instant) {
        for index in 0..self.files.len() {
            let followed = &mut self.files[index];
            match followed.is_whole() {
                // Its copy must be known after a crash, though nothing was read.
                Ok(true) if !followed.is_copy_known() => {
                    self.is_file_new |= followed.record(&mut self.ledger.borrow_mut());
                }
                Ok(true) => {}
                Ok(false) => self.follow_truncation(index, now),
                Err(error) => {
                    let path = PathBuf::from(&self.files[index].known.path);
                    self.report_trouble(&path, &error.into());
                }
            }
        }
        self.files.retain(|followed| !followed.known.retired);
    }

    fn report_commit(&self, committed: std::io::Result<()>) -> bool {
        let Err(error) = committed else { return true };
        self.metrics.ledger_errors.inc();
        warn!("ledger: {error}; nothing is read until it can be written");
        false
    }

    fn scan(&mut self, first: bool) {
        let config = Rc::clone(&self.config);
        let mut without_files = 0;
        for source in &config.sources {
            for pattern in &source.paths {
                if self.follow_pattern(source, pattern, first) == 0 {
                    without_files += 1;
                    if first {
                        // What ships names the logs of several distributions.
                        info!(pattern, "matches no file now");
                    }
                }
            }
        }
        self.metrics.patterns_without_files.set(without_files);
    }

    /// Follows what is new of a pattern. Returns how many files it matches.
    fn follow_pattern(&mut self, source: &Source, pattern: &str, first: bool) -> usize {
        let mut files = 0;
        for path in source.files(pattern) {
            files += 1;
            let name = path.to_string_lossy();
            if self.spool.holds(&name) || self.is_followed_under(&path) {
                continue;
            }
            // It was not there at the last look: what came under it since may be gone from under it again.
            if self.met.contains(&*name) {
                self.follow_born_unseen(&path);
            }
            self.follow(&path, self.start_in(source, &path, first));
        }
        files
    }

    /// Segments of the spool, by whichever agent they were written: nobody else has read them. At each tick, so that the last
    /// one is not left for the next start.
    fn follow_segments(&mut self) {
        for path in self.spool.paths().iter().take(SEGMENTS_FOLLOWED_MAX) {
            if !self.is_followed_under(Path::new(path)) {
                self.follow(Path::new(path), Start::Beginning);
            }
        }
    }

    fn is_followed_under(&self, path: &Path) -> bool {
        self.files.iter().any(|followed| followed.is_live() && Path::new(&followed.known.path) == path)
    }

    /// Where to begin with a file that is new to us.
    fn start_in(&self, source: &Source, path: &Path, first: bool) -> Start {
        let found = self.ledger.borrow().found();
        match found {
            _ if !first || self.met.contains(&*path.to_string_lossy()) => Start::Beginning,
            Found::New => source.start,
            Found::Whole { .. } if self.was_born_unseen(path) => Start::Beginning,
            Found::Whole { .. } => source.start,
            Found::Damaged { .. } => Start::Beginning,
        }
    }

    /// Whether a file was made after names were looked at last.
    fn was_born_unseen(&self, path: &Path) -> bool {
        let born = std::fs::metadata(path).and_then(|metadata| metadata.created()).ok();
        matches!((born, self.looked), (Some(born), Some(looked)) if born > looked)
    }

    /// Files under names that rotation gives, made since the last look: rotation came twice, or no agent ran. Not copies of what
    /// is held open: rotation that copies a file and removes it.
    fn follow_born_unseen(&mut self, path: &Path) {
        for sibling in siblings(path).into_iter().rev() {
            if self.was_born_unseen(&sibling) && !self.is_copy(&sibling) {
                self.follow_as(
                    &sibling,
                    path,
                    Start::Beginning,
                    Place::Rotated { quiet_since: Instant::now() },
                );
            }
        }
    }

    fn is_copy(&self, path: &Path) -> bool {
        let Ok((file, _)) = open(path) else { return false };
        let mut followed = self.files.iter().filter(|followed| !followed.known.retired);
        followed.any(|followed| followed.is_copied_in(&file).unwrap_or(false))
    }

    /// What the configuration says of a file: labels, and the offset from UTC of its times.
    fn settings_of(&self, path: &str) -> Option<(Labels, Option<i32>)> {
        if self.spool.holds(path) {
            return Some((self.config.spool_labels(), Some(0)));
        }
        let source = self.config.source_of(path)?;
        Some((self.config.labels(source), source.utc_offset_s))
    }

    fn follow(&mut self, path: &Path, start: Start) {
        self.follow_as(path, path, start, Place::Live);
    }

    /// Follows `file` as a file of `path`.
    fn follow_as(&mut self, file: &Path, path: &Path, start: Start, place: Place) {
        match self.try_follow(file, path, start, place) {
            Ok(()) => {
                self.troubled.remove(path);
            }
            Err(error) => self.report_trouble(path, &error),
        }
    }

    fn try_follow(&mut self, path: &Path, source: &Path, start: Start, place: Place) -> Result<()> {
        let name = source.to_str().context("expected a name in UTF-8")?.to_owned();
        anyhow::ensure!(name.len() <= event::HEADER_TEXT_BYTES_MAX, "expected a shorter path");
        let (labels, utc_offset_s) = self.settings_of(&name).context("expected a path of a source")?;
        // Rotation may be half done: the name that comes next second is found by the next scan.
        let Some((file, metadata)) = absent_is_none(open(path))? else { return Ok(()) };
        if self.files.iter().any(|followed| !followed.known.retired && followed.is(&metadata)) {
            return Ok(());
        }
        anyhow::ensure!(self.files.len() < FILES_MAX, "expected at most {FILES_MAX} files at once");
        let position = match start {
            Start::Beginning => 0,
            Start::End => behind_last_line(&file, metadata.len())?,
        };
        let id = self.ledger.borrow().state().file_next;
        let fingerprint = Fingerprint::of(&file)?;
        let (device, inode) = (metadata.dev(), metadata.ino());
        let (length, retired) = (position, false);
        let known = Known { id, path: name, device, inode, fingerprint, position, length, retired, labels };
        info!(source = known.path, file = %path.display(), position, "following");
        self.ledger.borrow_mut().append(Entry::File(known.clone()));
        self.met.insert(known.path.clone());
        self.files.push(Followed::new(known, file, place, utc_offset_s));
        self.is_file_new = true;
        Ok(())
    }

    /// Takes up what the ledger holds: opens its files, forms again what was not acknowledged.
    fn restore(&mut self) -> Result<()> {
        self.report_ledger();
        let state = self.ledger.borrow().state().clone();
        let now = Instant::now();
        let mut files: BTreeMap<FileId, Restored> = BTreeMap::new();
        for (id, mut known) in state.files {
            self.met.insert(known.path.clone());
            let found = find_again(&mut known, now);
            files.insert(id, (known, found));
        }
        for batch in state.unacked.values() {
            self.form_again(batch, &files)?;
        }
        for (known, found) in files.into_values() {
            self.resume(known, found);
        }
        Ok(())
    }

    fn report_ledger(&self) {
        let ledger = self.ledger.borrow();
        let (epoch, unacked) = (ledger.state().epoch, ledger.state().unacked.len());
        match ledger.found() {
            Found::New => info!(epoch, "a new ledger"),
            Found::Whole { torn_bytes } => info!(epoch, unacked, torn_bytes, "ledger read"),
            Found::Damaged { lost_bytes } => {
                self.metrics.ledger_damages.inc();
                error!(epoch, lost_bytes, "ledger damaged: a new epoch begins, lines may be stored twice");
            }
        }
    }

    fn form_again(&mut self, batch: &Descriptor, files: &BTreeMap<FileId, Restored>) -> Result<()> {
        let Content::Lines { file, start, end, records, .. } = batch.content else {
            self.formed.extend(self.former.note(batch, true)?);
            return Ok(());
        };
        // The ledger keeps a file as long as one of its batches: the default stands for one that is not there all the same.
        let unknown = (Known::default(), None);
        let (known, found) = files.get(&file).unwrap_or(&unknown);
        let frame = match found {
            Some((file, _)) => self.former.lines_again(known, file, batch)?,
            None => None,
        };
        if let Some(frame) = frame {
            self.formed.push_back(frame);
            return Ok(());
        }
        let bytes = end - start;
        error!(
            source = known.path,
            seq = batch.seq,
            records,
            bytes,
            "cannot be formed again: its lines are gone"
        );
        self.metrics.lost_batches.inc();
        self.metrics.lost_records.inc_by(records.into());
        self.metrics.lost_bytes.inc_by(bytes);
        let text = loss(&known.path, bytes, Some(records), "deleted or changed before it was acknowledged");
        self.notice(known, batch.seq, true, text);
        Ok(())
    }

    /// Goes on with a file of the ledger, as the configuration now says.
    fn resume(&mut self, known: Known, found: Option<(File, Place)>) {
        let settings = self.settings_of(&known.path);
        if found.is_none() && !known.retired && (settings.is_some() || self.spool.owns(&known.path)) {
            self.report_gone(&known);
        }
        let mut ledger = self.ledger.borrow_mut();
        let (Some((file, place)), Some((labels, utc_offset_s)), false) = (found, settings, known.retired)
        else {
            ledger.append(Entry::Retire(known.id));
            return;
        };
        if labels == known.labels {
            ledger.append(Entry::File(known.clone()));
            self.files.push(Followed::new(known, file, place, utc_offset_s));
            return;
        }
        // Its batches on their way keep their labels; what follows is a file of its own.
        let id = ledger.state().file_next;
        let anew = Known { id, labels, ..known.clone() };
        ledger.append(Entry::File(anew.clone()));
        ledger.append(Entry::Retire(known.id));
        self.files.push(Followed::new(anew, file, place, utc_offset_s));
    }

    /// A file that was to be read on is not found again.
    fn report_gone(&mut self, known: &Known) {
        let unread_bytes = known.length.saturating_sub(known.position);
        if unread_bytes > 0 {
            error!(source = known.path, unread_bytes, "gone while no agent ran, and its rest with it");
            self.notice_loss(known, unread_bytes, None, "deleted or compressed before it was read");
        } else if self.spool.owns(&known.path) {
            // Deleted because it was read: only the ledger's word of it was lost in a crash.
            return;
        } else {
            warn!(source = known.path, "gone while no agent ran, and with it what was written to it since");
            let seq = self.ledger.borrow().state().seq_next;
            self.notice(known, seq, false, gone(&known.path, "deleted or compressed while no agent ran"));
        }
        self.metrics.files_gone.inc();
    }

    /// What is done once a tick: lengths and acknowledgements go to the disk, gauges are set.
    fn keep_books(&mut self) {
        let mut ledger = self.ledger.borrow_mut();
        for followed in &self.files {
            followed.record_length(&mut ledger);
        }
        let flushed = ledger.flush();
        self.report_commit(flushed);
        self.metrics.ledger_bytes.set(i64::try_from(ledger.bytes()).unwrap_or(i64::MAX));
        self.metrics.spool_bytes.set(i64::try_from(self.spool.bytes()).unwrap_or(i64::MAX));
        self.metrics.files_open.set(i64::try_from(self.files.len()).unwrap_or(i64::MAX));
        for followed in &self.files {
            self.metrics.lag_bytes.with_label_values(&[&followed.known.source()]).set(0);
        }
        for followed in &self.files {
            let lag = i64::try_from(followed.lag()).unwrap_or(i64::MAX);
            self.metrics.lag_bytes.with_label_values(&[&followed.known.source()]).add(lag);
        }
    }
}

fn absent_is_none<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// The end of a file's last whole line: half a line at the end is read once it is whole.
fn behind_last_line(file: &File, length: u64) -> std::io::Result<u64> {
    let window = length.min(RECORD_BYTES_MAX as u64);
    let mut tail = vec![0; usize::try_from(window).unwrap_or_default()];
    let read = read_full_at(file, &mut tail, length - window)?;
    let line_feed = memchr::memrchr(b'\n', &tail[..read]);
    Ok(line_feed.map_or(length, |at| length - window + at as u64 + 1))
}
