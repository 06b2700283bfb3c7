//! One file that is followed, wherever rotation carries it.
//!
//! A file is a device, an inode and a fingerprint of its first bytes. Its name may change under it (rotation by renaming):
//! it is then read to its end and for [`ROTATED_QUIET`] beyond, because its writer may not have opened the new one yet. Or
//! its content may be taken away from under its name (copytruncate): length and fingerprint tell, and what was not read yet
//! is looked for in the copy that logrotate makes beforehand.
//!
//! What it never does: read a compressed file, or look for a rotated file in another folder (logrotate's `olddir`); while
//! the agent runs it needs not, because it holds the old file open.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::cut::Ending;
use crate::fingerprint::{Fingerprint, read_full_at};
use crate::ledger::{Entry, Known, Ledger};
use crate::limits::{
    COMPRESSED_SUFFIXES, FINGERPRINT_COPY_BYTES_MIN, GROUP_HOLD, ROTATED_QUIET, SIBLINGS_MAX,
};
use crate::open::open;

/// Where a followed file stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// Under its path.
    Live,
    /// Renamed, copied or deleted; so long nothing was added to it.
    Rotated { quiet_since: Instant },
}

/// A followed file.
pub(crate) struct Followed {
    pub(crate) known: Known,
    pub(crate) utc_offset_s: Option<i32>,
    pub(crate) place: Place,
    /// The fingerprint that the ledger has.
    recorded: Fingerprint,
    file: File,
    /// Length and time of change when it was read last, and when it was looked at last.
    read: Stamp,
    observed: Stamp,
    /// Nothing more can be cut while the file is so long.
    dry: bool,
    /// Whole lines wait at this position for the rest of their event, since then.
    held: Option<(u64, Instant)>,
}

/// Length and time of change: equal ones mean that nothing was written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Stamp {
    length: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        Ok(Self { length: metadata.len(), seconds, nanoseconds })
    }
}

/// What reading a file gave.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Look {
    /// Nothing new.
    Same,
    /// So many bytes, from the position on. `more` when the file has more than the buffer took.
    Bytes { count: usize, more: bool },
    /// What was known of it is gone: truncated, or truncated and grown again.
    Truncated,
}

impl Followed {
    pub(crate) fn new(known: Known, file: File, place: Place, utc_offset_s: Option<i32>) -> Self {
        let recorded = known.fingerprint;
        let unread = Stamp::default();
        Self {
            // Nothing was seen of this file behind the position yet, whatever was of the one before it.
            known: Known { length: known.position, ..known },
            utc_offset_s,
            place,
            recorded,
            file,
            read: unread,
            observed: unread,
            dry: false,
            held: None,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.place == Place::Live
    }

    pub(crate) fn is(&self, metadata: &Metadata) -> bool {
        (self.known.device, self.known.inode) == (metadata.dev(), metadata.ino())
    }

    /// Whether the ledger would tell a copy of the file, should its content be taken away.
    pub(crate) fn is_copy_known(&self) -> bool {
        is_telling(self.recorded)
    }

    /// Whether another file is a copy of what is read here anyhow: it begins in the same way and is no longer.
    pub(crate) fn is_copied_in(&self, other: &File) -> io::Result<bool> {
        let known = self.known.fingerprint;
        let is_longer = other.metadata()?.len() > self.file.metadata()?.len();
        Ok(is_telling(known) && !is_longer && known.confirm(other)?.is_some())
    }

    /// Tells the ledger how the file begins. True when it did not know.
    pub(crate) fn record(&mut self, ledger: &mut Ledger) -> bool {
        if self.recorded == self.known.fingerprint {
            return false;
        }
        ledger.append(Entry::File(self.known.clone()));
        self.recorded = self.known.fingerprint;
        true
    }

    /// Tells the ledger how long a file was seen whose end is in no batch.
    pub(crate) fn record_length(&self, ledger: &mut Ledger) {
        let (file, length) = (self.known.id, self.known.length);
        let recorded = ledger.state().files.get(&file).map(|known| known.length);
        if self.lag() > 0 && recorded != Some(length) {
            ledger.append(Entry::Seen { file, length });
        }
    }

    /// Bytes seen that are in no batch.
    pub(crate) fn lag(&self) -> u64 {
        self.known.length.saturating_sub(self.known.position)
    }

    /// Whether its path now leads to another file, or nowhere.
    pub(crate) fn has_moved(&self) -> bool {
        match std::fs::metadata(&self.known.path) {
            Ok(metadata) => !self.is(&metadata),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Whether what is known of it is still there: not truncated, nor truncated and grown again.
    pub(crate) fn is_whole(&mut self) -> io::Result<bool> {
        let stamp = Stamp::of(&self.file)?;
        if stamp.length >= self.known.position && stamp == self.observed {
            return Ok(true);
        }
        let Some(fingerprint) = self.known.fingerprint.confirm(&self.file)? else { return Ok(false) };
        let length = Stamp::of(&self.file)?.length;
        if length < self.known.position {
            return Ok(false);
        }
        self.known.fingerprint = fingerprint;
        self.observed = stamp;
        self.known.length = self.known.length.max(length);
        Ok(true)
    }

    /// Reads from the position on.
    pub(crate) fn read(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<Look> {
        let stamp = Stamp::of(&self.file)?;
        let changed = stamp != self.read;
        if !changed && (self.dry || self.lag() == 0) && self.ending(now) == Ending::Open {
            return Ok(Look::Same);
        }
        let count = read_full_at(&self.file, buffer, self.known.position)?;
        // After the read, so that bytes of a file written anew meanwhile are not taken for the old one's.
        if !self.is_whole()? {
            return Ok(Look::Truncated);
        }
        if let (true, Place::Rotated { quiet_since }) = (changed, &mut self.place) {
            *quiet_since = now;
        }
        (self.read, self.dry) = (stamp, false);
        Ok(if count == 0 { Look::Same } else { Look::Bytes { count, more: count == buffer.len() } })
    }

    /// What may follow the bytes that are there now.
    pub(crate) fn ending(&self, now: Instant) -> Ending {
        let waited = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        match (self.place, self.held) {
            (Place::Rotated { quiet_since }, _) if waited(quiet_since, ROTATED_QUIET) => Ending::Closed,
            (_, Some((at, since))) if at == self.known.position && waited(since, GROUP_HOLD) => Ending::Late,
            _ => Ending::Open,
        }
    }

    /// Nothing can be cut from what is there. `whole_lines` when it is only that their event may go on.
    pub(crate) fn wait_for_more(&mut self, whole_lines: bool, now: Instant) {
        self.dry = true;
        let position = self.known.position;
        self.held = match self.held {
            Some((at, since)) if whole_lines && at == position => Some((at, since)),
            _ => whole_lines.then_some((position, now)),
        };
    }

    /// Whether nothing is left to be cut in a file that nobody writes to any more; half a line does not count.
    pub(crate) fn is_drained(&mut self) -> io::Result<bool> {
        let stamp = Stamp::of(&self.file)?;
        self.known.length = self.known.length.max(stamp.length);
        Ok(self.lag() == 0 || (self.dry && stamp == self.read))
    }

    /// Whether all was read and nobody has written for long enough.
    pub(crate) fn is_finished(&self, now: Instant) -> bool {
        !self.is_live() && self.lag() == 0 && self.ending(now) == Ending::Closed
    }
}

/// Finds a known file again after a restart: by inode and fingerprint under its path or the names that rotation gives; else
/// a file with the same beginning, at least as long: a copy, or the same file on a renumbered device. `known` learns its
/// inode.
pub(crate) fn find_again(known: &mut Known, now: Instant) -> Option<(File, Place)> {
    let path = PathBuf::from(&known.path);
    let mut candidates = vec![path.clone()];
    candidates.extend(siblings(&path));
    let same_inode =
        |metadata: &Metadata, known: &Known| (known.device, known.inode) == (metadata.dev(), metadata.ino());
    let found =
        candidates.iter().find_map(|candidate| continues(candidate, known, same_inode)).or_else(|| {
            candidates.iter().find_map(|candidate| continues(candidate, known, has_a_known_beginning))
        });
    let (candidate, file, metadata) = found?;
    (known.device, known.inode) = (metadata.dev(), metadata.ino());
    let place = if candidate == path { Place::Live } else { Place::Rotated { quiet_since: now } };
    Some((file, place))
}

/// Finds the copy that copytruncate has made of a file before it took its content away.
pub(crate) fn find_copy(known: &mut Known) -> Option<File> {
    let copies = siblings(Path::new(&known.path));
    let (_, file, metadata) = copies.iter().find_map(|copy| continues(copy, known, has_a_known_beginning))?;
    (known.device, known.inode) = (metadata.dev(), metadata.ino());
    Some(file)
}

fn has_a_known_beginning(_: &Metadata, known: &Known) -> bool {
    is_telling(known.fingerprint)
}

/// Whether a file that begins so may be taken for a copy.
fn is_telling(fingerprint: Fingerprint) -> bool {
    usize::from(fingerprint.bytes) >= FINGERPRINT_COPY_BYTES_MIN
}

/// The candidate, when it holds what is known of the file.
fn continues(
    candidate: &Path,
    known: &Known,
    may_be: impl Fn(&Metadata, &Known) -> bool,
) -> Option<(PathBuf, File, Metadata)> {
    let (file, metadata) = open(candidate).ok()?;
    if metadata.len() < known.position || !may_be(&metadata, known) {
        return None;
    }
    known.fingerprint.confirm(&file).ok()??;
    Some((candidate.to_owned(), file, metadata))
}

/// The names that rotation gives to a path, as far as they are there: `NAME.1`, `NAME-20261123`, `STEM-20261123.log`,
/// `STEM.1.log`; newest first. Compressed ones are left out.
pub(crate) fn siblings(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .take(SIBLINGS_MAX)
        .filter(|entry| entry.file_name().to_str().is_some_and(|other| is_rotated_name(name, other)))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort_by(|one, other| other.cmp(one));
    found.into_iter().map(|(_, path)| path).collect()
}

fn is_rotated_name(name: &str, other: &str) -> bool {
    let is_suffix = |rest: &str| rest.starts_with(['.', '-', '_', '~']);
    let stem = name.rsplit_once('.').map(|(stem, _)| stem).filter(|stem| !stem.is_empty());
    let behind_name = other.strip_prefix(name).is_some_and(is_suffix);
    let behind_stem = stem.and_then(|stem| other.strip_prefix(stem)).is_some_and(|rest| {
        let ending = &name[stem.map_or(0, str::len)..];
        is_suffix(rest) && rest.len() > ending.len() && rest.ends_with(ending)
    });
    (behind_name || behind_stem) && !COMPRESSED_SUFFIXES.iter().any(|suffix| other.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const BUFFER_BYTES: usize = 4096;

    fn known(path: &Path) -> Followed {
        let (file, metadata) = open(path).unwrap();
        let known = Known {
            path: path.to_str().unwrap().into(),
            device: metadata.dev(),
            inode: metadata.ino(),
            fingerprint: Fingerprint::of(&file).unwrap(),
            ..Known::default()
        };
        Followed::new(known, file, Place::Live, None)
    }

    fn append(path: &Path, text: &str) {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    const LINE: &str = "Nov 23 02:00:01 web01 sshd[77]: a line that is long enough\n";

    #[test]
    fn knows_the_names_that_rotation_gives() {
        for other in ["auth.log.1", "auth.log-20261123", "auth-20261123.log", "auth.1.log", "auth.log~"] {
            assert!(is_rotated_name("auth.log", other), "{other}");
        }
        for other in ["auth.log", "auth.log.2.gz", "auth.logs", "other.log", "author.log", "auth.txt"] {
            assert!(!is_rotated_name("auth.log", other), "{other}");
        }
        assert!(is_rotated_name("messages", "messages-20261123"));
    }

    #[test]
    fn reads_on_in_a_renamed_file_until_it_was_quiet_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        append(&path, LINE);
        let mut followed = known(&path);
        let mut buffer = [0; BUFFER_BYTES];
        let now = Instant::now();
        std::fs::rename(&path, folder.path().join("a.log.1")).unwrap();
        assert!(followed.has_moved());
        followed.place = Place::Rotated { quiet_since: now };
        append(&folder.path().join("a.log.1"), "half a line");
        let count = LINE.len() + "half a line".len();
        assert_eq!(followed.read(&mut buffer, now).unwrap(), Look::Bytes { count, more: false });
        followed.known.position = LINE.len() as u64;
        followed.wait_for_more(false, now);
        assert_eq!(followed.read(&mut buffer, now).unwrap(), Look::Same);
        let later = now + ROTATED_QUIET;
        assert_eq!(followed.ending(later), Ending::Closed);
        assert!(!followed.is_finished(later), "the half line is still to be cut");
        followed.known.position += "half a line".len() as u64;
        assert!(followed.is_finished(later) && !followed.is_finished(now));
    }

    #[test]
    fn notices_truncation_also_when_the_file_has_grown_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        append(&path, LINE);
        let mut buffer = [0; BUFFER_BYTES];
        let now = Instant::now();
        for written_anew in ["", "short\n", &LINE.replace("02:00:01", "02:00:09").repeat(3)] {
            let mut followed = known(&path);
            followed.known.position = LINE.len() as u64;
            assert_eq!(followed.read(&mut buffer, now).unwrap(), Look::Same);
            std::fs::write(&path, written_anew).unwrap();
            assert!(!followed.is_whole().unwrap(), "{written_anew:?}");
            assert_eq!(followed.read(&mut buffer, now).unwrap(), Look::Truncated, "{written_anew:?}");
            std::fs::write(&path, LINE).unwrap();
        }
    }

    #[test]
    fn finds_the_file_and_its_copy_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        append(&path, LINE);
        let mut followed = known(&path);
        followed.known.position = LINE.len() as u64;
        let known = &mut followed.known;
        assert!(matches!(find_again(known, Instant::now()), Some((_, Place::Live))));
        assert!(find_copy(known).is_none());

        std::fs::copy(&path, folder.path().join("a.log.1")).unwrap();
        append(
            &folder.path().join("a.log.2"),
            "another beginning of another, longer file, and some more of it\n",
        );
        std::fs::write(&path, "new\n").unwrap();
        let inode = known.inode;
        assert!(matches!(find_again(known, Instant::now()), Some((_, Place::Rotated { .. }))));
        assert_ne!(known.inode, inode, "the copy's");
        assert!(find_copy(known).is_some());

        std::fs::remove_file(folder.path().join("a.log.1")).unwrap();
        assert!(find_again(known, Instant::now()).is_none());
    }

    #[test]
    fn holds_lines_of_an_event_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        append(&path, LINE);
        let mut followed = known(&path);
        let now = Instant::now();
        followed.wait_for_more(true, now);
        followed.wait_for_more(true, now + GROUP_HOLD / 2);
        assert_eq!(followed.ending(now + GROUP_HOLD / 2), Ending::Open);
        assert_eq!(followed.ending(now + GROUP_HOLD), Ending::Late, "since they were first seen");
        followed.known.position = 5;
        assert_eq!(followed.ending(now + GROUP_HOLD), Ending::Open, "these are gone");
    }
}
