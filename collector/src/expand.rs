//! A file as it was before it was compressed: gzip and zstd, told by the first bytes; anything else as it is.
//!
//! Limits: a compressed file expands to at most [`EXPANSION_MAX`] times its size or [`EXPANDED_BYTES_FREE`]; beyond that
//! reading fails, and says why.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Logs shrink to a tenth or a thirtieth; a file of one line, repeated, to a thousandth.
const EXPANSION_MAX: u64 = 1_000;
/// What any compressed file may expand to, whatever its size.
const EXPANDED_BYTES_FREE: u64 = 256 * 1024 * 1024;

/// The file, decompressed where it is compressed.
pub(crate) fn expanded(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    let file = File::open(path)?;
    let left = file.metadata()?.len().saturating_mul(EXPANSION_MAX).max(EXPANDED_BYTES_FREE);
    let mut file = BufReader::new(file);
    Ok(match file.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(Bounded { inner: flate2::bufread::MultiGzDecoder::new(file), left }),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(Bounded { inner: zstd::Decoder::with_buffer(file)?, left }),
        _ => Box::new(file),
    })
}

/// A reader that fails beyond so many bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(format!(
                "expands to more than {EXPANSION_MAX} times its size: the rest is not read"
            ))
        })?;
        Ok(read)
    }
}
