//! How a file is known again when its name has changed: by its first bytes.
//!
//! An inode alone is not enough, because a file system gives it anew as soon as the old file is deleted; and a file that was
//! truncated and has grown past the old position looks untouched by its length. A log's first lines carry a time, so their
//! bytes tell one file from the next. A file shorter than [`FINGERPRINT_BYTES`] is known by what it has; the fingerprint
//! grows with it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use xxhash_rust::xxh3::xxh3_64;

use crate::limits::FINGERPRINT_BYTES;

/// XXH3-64 of a file's first `bytes` bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Fingerprint {
    pub(crate) bytes: u16,
    pub(crate) hash: u64,
}

impl Fingerprint {
    /// The fingerprint of what a file begins with now.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let mut head = [0; FINGERPRINT_BYTES];
        let bytes = read_head(file, &mut head)?;
        Ok(Self::of_head(&head[..bytes]))
    }

    /// `Some` when the file still begins with these bytes: the fingerprint, grown when the file has more of them now.
    pub(crate) fn confirm(self, file: &File) -> io::Result<Option<Self>> {
        let mut head = [0; FINGERPRINT_BYTES];
        let bytes = read_head(file, &mut head)?;
        let known = usize::from(self.bytes);
        if bytes < known || Self::of_head(&head[..known]).hash != self.hash {
            return Ok(None);
        }
        Ok(Some(if bytes == known { self } else { Self::of_head(&head[..bytes]) }))
    }

    fn of_head(head: &[u8]) -> Self {
        Self { bytes: u16::try_from(head.len()).unwrap_or(u16::MAX), hash: xxh3_64(head) }
    }
}

fn read_head(file: &File, head: &mut [u8]) -> io::Result<usize> {
    read_full_at(file, head, 0)
}

/// Reads at `offset` until the buffer is full or the file ends.
pub(crate) fn read_full_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn grows_with_a_short_file_and_rejects_another_beginning() {
        let mut file = tempfile::tempfile().unwrap();
        let empty = Fingerprint::of(&file).unwrap();
        assert_eq!(empty.bytes, 0);
        file.write_all(b"Nov 23 first line\n").unwrap();
        let short = empty.confirm(&file).unwrap().unwrap();
        assert_eq!(short.bytes, 18);
        file.write_all(&[b'x'; 2000]).unwrap();
        let long = short.confirm(&file).unwrap().unwrap();
        assert_eq!(usize::from(long.bytes), FINGERPRINT_BYTES);
        assert_eq!(long.confirm(&file).unwrap(), Some(long));

        file.set_len(5).unwrap();
        assert_eq!(short.confirm(&file).unwrap(), None, "shorter than known");
        file.set_len(0).unwrap();
        file.write_all_at(&[b'y'; 3000], 0).unwrap();
        assert_eq!(long.confirm(&file).unwrap(), None, "another beginning");
        assert_eq!(short.confirm(&file).unwrap(), None);
    }
}
