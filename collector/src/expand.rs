//! A file as it was before it was compressed: gzip and zstd, told by the first bytes; anything else as it is.
//!
//! Limits: a compressed file expands to at most [`EXPANSION_MAX`] times its size (a stream, which has none: what was read of
//! it) or [`EXPANDED_BYTES_FREE`]; beyond that reading fails, and says why.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Logs shrink to a tenth or a thirtieth; a file of one line, repeated, to a thousandth.
const EXPANSION_MAX: u64 = 1_000;
/// What any compressed file may expand to, whatever its size.
const EXPANDED_BYTES_FREE: u64 = 256 * 1024 * 1024;

/// The file, decompressed where it is compressed.
pub(crate) fn expanded(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    expanded_file(File::open(path)?)
}

/// The same of a file, or a stream, that is open.
pub(crate) fn expanded_file(file: File) -> io::Result<Box<dyn Read + Send>> {
    let compressed = Arc::new(AtomicU64::new(0));
    let bounds = Bounds { size: file.metadata()?.len(), compressed: Arc::clone(&compressed), expanded: 0 };
    let mut file = BufReader::new(Counted { inner: file, read: compressed });
    Ok(match file.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(Bounded { inner: flate2::bufread::MultiGzDecoder::new(file), bounds }),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Box::new(Bounded { inner: zstd::Decoder::with_buffer(file)?, bounds })
        }
        _ => Box::new(file),
    })
}

/// A reader that tells how much was read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

struct Bounds {
    /// Of the file; zero of a stream.
    size: u64,
    /// Bytes that were read.
    compressed: Arc<AtomicU64>,
    /// Bytes that they became.
    expanded: u64,
}

impl Bounds {
    fn max(&self) -> u64 {
        let compressed = self.size.max(self.compressed.load(Ordering::Relaxed));
        compressed.saturating_mul(EXPANSION_MAX).max(EXPANDED_BYTES_FREE)
    }
}

/// A reader that fails beyond its bounds.
struct Bounded<R> {
    inner: R,
    bounds: Bounds,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bounds.expanded += read as u64;
        if self.bounds.expanded > self.bounds.max() {
            return Err(io::Error::other(format!(
                "expands to more than {EXPANSION_MAX} times its size: the rest is not read"
            )));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_may_expand_by_what_was_read_of_it() {
        let max = |size, compressed| {
            Bounds { size, compressed: Arc::new(AtomicU64::new(compressed)), expanded: 0 }.max()
        };
        assert_eq!(max(0, 100), EXPANDED_BYTES_FREE);
        assert_eq!(max(0, 1_000_000), 1_000_000 * EXPANSION_MAX);
        assert_eq!(max(2_000_000, 1_000_000), 2_000_000 * EXPANSION_MAX);
    }
}
