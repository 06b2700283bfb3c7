//! The newest entry of this machine's chain, remembered outside the store: `DATA_DIR/history/head`, one line `CHAIN:SEQ:HASH`.
//!
//! The folder's lock keeps writers on this machine apart. The file is replaced whole after each entry; a crash in between
//! leaves it one entry behind the store, which is no fault. What root writes is given to the owner of DATA_DIR, so that the
//! daemon's user can go on.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Beside the store's data.
const FOLDER: &str = "history";
const FILE: &str = "head";
/// Hexadecimal digits behind a machine's name in the name of a chain: names of machines come again, these do not.
const DIGITS: usize = 8;

/// The last entry of a chain; `seq` 0 before the first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    pub(crate) chain: String,
    pub(crate) seq: u64,
    pub(crate) hash: String,
}

/// The file, locked for one writer.
pub(crate) struct HeadFile {
    folder: PathBuf,
    _lock: File,
    pub(crate) head: Head,
}

impl fmt::Display for Head {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.chain, self.seq, self.hash)
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.trim().rsplit_once(':').and_then(|(rest, hash)| Some((rest.rsplit_once(':')?, hash)));
        let parsed = parts.and_then(|((chain, seq), hash)| Some((chain, seq.parse().ok()?, hash)));
        match parsed {
            Some((chain, seq, hash)) if !chain.is_empty() => {
                Ok(Self { chain: chain.to_owned(), seq, hash: hash.to_owned() })
            }
            _ => Err(format!("expected CHAIN:NUMBER:HASH, found {text:?}")),
        }
    }
}

impl HeadFile {
    /// What the file says; none when this machine never wrote.
    pub(crate) fn read(data_dir: &Path) -> io::Result<Option<Head>> {
        match std::fs::read_to_string(data_dir.join(FOLDER).join(FILE)) {
            Ok(text) => text.parse().map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until no other writer of this machine is at it. `host` names a chain that begins here.
    pub(crate) fn lock(data_dir: &Path, host: &str) -> io::Result<Self> {
        let folder = data_dir.join(FOLDER);
        if !folder.try_exists()? {
            std::fs::create_dir_all(&folder)?;
            give_to_owner_of(data_dir, &folder)?;
        }
        let lock = File::open(&folder)?;
        lock.lock()?;
        let head = match Self::read(data_dir)? {
            Some(head) => head,
            None => Head { chain: new_chain(host)?, seq: 0, hash: String::new() },
        };
        let mut file = Self { folder, _lock: lock, head };
        if file.head.seq == 0 {
            // The chain's name before its first entry: a crash behind that entry must not begin another chain.
            file.replace(file.head.clone())?;
        }
        Ok(file)
    }

    /// Remembers another head.
    pub(crate) fn replace(&mut self, head: Head) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        writeln!(file, "{head}")?;
        // Hashes are no secret, and whoever verifies should see them.
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        give_to_owner_of(&self.folder, file.path())?;
        file.as_file().sync_all()?;
        file.persist(self.folder.join(FILE))?;
        self.head = head;
        Ok(())
    }
}

/// Only root can, and only root needs to.
fn give_to_owner_of(of: &Path, path: &Path) -> io::Result<()> {
    let (owner, present) = (std::fs::metadata(of)?, std::fs::metadata(path)?);
    if (owner.uid(), owner.gid()) == (present.uid(), present.gid()) {
        return Ok(());
    }
    match chown(path, Some(owner.uid()), Some(owner.gid())) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

fn new_chain(host: &str) -> io::Result<String> {
    let random = crate::engine::random_hex()?;
    let host: String =
        host.chars().filter(|char| char.is_ascii_alphanumeric() || "-._".contains(*char)).collect();
    Ok(format!("{host}-{}", &random[..DIGITS]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_keeps_its_chain_and_its_head() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(HeadFile::read(folder.path()).unwrap(), None);
        let mut file = HeadFile::lock(folder.path(), "soc:01").unwrap();
        let chain = file.head.chain.clone();
        assert!(chain.starts_with("soc01-"), "{chain}");
        assert_eq!(file.head.seq, 0);
        file.replace(Head { chain: chain.clone(), seq: 7, hash: "ab".into() }).unwrap();
        drop(file);
        let head = HeadFile::lock(folder.path(), "renamed").unwrap().head;
        assert_eq!(head, Head { chain, seq: 7, hash: "ab".into() });
        assert_eq!(head.to_string().parse(), Ok(head));
    }

    #[test]
    fn the_next_writer_waits_for_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let first = HeadFile::lock(folder.path(), "soc").unwrap();
        let lock = File::open(folder.path().join(FOLDER)).unwrap();
        assert!(lock.try_lock().is_err());
        drop(first);
        assert!(lock.try_lock().is_ok());
    }

    #[test]
    fn rejects_what_is_no_head() {
        for text in ["", "a", "a:1", ":1:ff", "a:x:ff"] {
            assert!(text.parse::<Head>().is_err(), "{text}");
        }
    }
}
