//! Text as parsers take it: UTF-16 becomes UTF-8, a byte order mark goes, and so do zero bytes, which are counted.
//!
//! Zero bytes are no text in any log, and a terminal does not show them either: without them a line is read as it was meant.
//! Limits: [`BUFFER_BYTES`] of UTF-16 are decoded at a time, whatever the size of the file.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::kind::Encoding;

const BUFFER_BYTES: usize = 16 * 1024;

type Reader = Box<dyn Read + Send>;

/// The text; `zeroes` counts what was left out.
pub(super) fn text(reader: Reader, encoding: Encoding, zeroes: Arc<AtomicU64>) -> io::Result<Reader> {
    Ok(match encoding {
        Encoding::Utf8 => Box::new(WithoutZeroes { inner: without_mark(reader)?, zeroes }),
        Encoding::Utf16Le => {
            Box::new(WithoutZeroes { inner: Utf16::new(reader, u16::from_le_bytes), zeroes })
        }
        Encoding::Utf16Be => {
            Box::new(WithoutZeroes { inner: Utf16::new(reader, u16::from_be_bytes), zeroes })
        }
    })
}

fn without_mark(mut reader: Reader) -> io::Result<impl Read + Send> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    let mut head = Vec::new();
    reader.by_ref().take(MARK.len() as u64).read_to_end(&mut head)?;
    if head == MARK {
        head.clear();
    }
    Ok(io::Cursor::new(head).chain(reader))
}

struct WithoutZeroes<R> {
    inner: R,
    zeroes: Arc<AtomicU64>,
}

impl<R: Read> Read for WithoutZeroes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.inner.read(buffer)?;
            if !buffer[..read].contains(&0) {
                return Ok(read);
            }
            let mut kept = 0;
            for at in 0..read {
                if buffer[at] != 0 {
                    buffer[kept] = buffer[at];
                    kept += 1;
                }
            }
            self.zeroes.fetch_add((read - kept) as u64, Ordering::Relaxed);
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}

/// UTF-16 as UTF-8. What is no character becomes U+FFFD.
struct Utf16 {
    inner: BufReader<Reader>,
    unit: fn([u8; 2]) -> u16,
    /// The first half of a unit or of a pair of them, of which the rest is still to come.
    cut: Vec<u8>,
    decoded: io::Cursor<Vec<u8>>,
}

impl Utf16 {
    fn new(reader: Reader, unit: fn([u8; 2]) -> u16) -> Self {
        let inner = BufReader::with_capacity(BUFFER_BYTES, reader);
        Self { inner, unit, cut: Vec::new(), decoded: io::Cursor::default() }
    }

    /// Decodes what comes next; `None` at the end.
    fn decode(&mut self) -> io::Result<Option<String>> {
        let mut bytes = std::mem::take(&mut self.cut);
        let fresh = self.inner.fill_buf()?;
        let (read, ended) = (fresh.len(), fresh.is_empty());
        bytes.extend_from_slice(fresh);
        self.inner.consume(read);
        if bytes.is_empty() {
            return Ok(None);
        }
        let (units, rest) = bytes.as_chunks::<2>();
        let mut units: Vec<u16> = units.iter().map(|unit| (self.unit)(*unit)).collect();
        let half_pair = units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit));
        if !ended {
            let cut = rest.len() + if half_pair { 2 } else { 0 };
            self.cut = bytes[bytes.len() - cut..].to_vec();
            units.truncate(units.len() - usize::from(half_pair));
        }
        let chars = char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER));
        let odd = (ended && !rest.is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        Ok(Some(chars.filter(|char| *char != '\u{feff}').chain(odd).collect()))
    }
}

impl Read for Utf16 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.decoded.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(decoded) = self.decode()? else { return Ok(0) };
            self.decoded = io::Cursor::new(decoded.into_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at a time.
    struct Slowly(io::Cursor<Vec<u8>>, usize);

    impl Read for Slowly {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = buffer.len().min(self.1);
            self.0.read(&mut buffer[..bytes])
        }
    }

    /// The text, and how many zero bytes were left out, the same however the bytes come.
    fn read(bytes: &[u8], encoding: Encoding) -> (String, u64) {
        let results = [1, 2, 3, 4096].map(|step| {
            let zeroes = Arc::new(AtomicU64::new(0));
            let reader = Box::new(Slowly(io::Cursor::new(bytes.to_vec()), step));
            let mut out = String::new();
            text(reader, encoding, Arc::clone(&zeroes)).unwrap().read_to_string(&mut out).unwrap();
            (out, zeroes.load(Ordering::Relaxed))
        });
        assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
        results.into_iter().next().unwrap()
    }

    #[test]
    fn zero_bytes_and_a_byte_order_mark_go() {
        let read = |bytes: &[u8]| read(bytes, Encoding::Utf8);
        assert_eq!(read(b"\0\0\0\0\0\0\0\0one\0\n\0two\n\0"), ("one\ntwo\n".to_owned(), 11));
        assert_eq!(read("\u{feff}{}\n".as_bytes()), ("{}\n".to_owned(), 0));
        assert_eq!(read(b""), (String::new(), 0));
        assert_eq!(read(b"\0\0\0\0\0"), (String::new(), 5));
    }

    #[test]
    fn reads_utf16_of_both_byte_orders() {
        let said = "\u{feff}Nguy\u{1ec5}n \u{1f511}\r\n";
        let le: Vec<u8> = said.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = said.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let expected = "Nguy\u{1ec5}n \u{1f511}\r\n";
        assert_eq!(read(&le, Encoding::Utf16Le), (expected.to_owned(), 0));
        assert_eq!(read(&be, Encoding::Utf16Be), (expected.to_owned(), 0));
        // Cut within a unit, and half a pair.
        assert_eq!(read(&[0xff, 0xfe, b'a', 0, b'b'], Encoding::Utf16Le).0, "a\u{fffd}");
        assert_eq!(read(&[0xff, 0xfe, 0x3d, 0xd8, b'b', 0], Encoding::Utf16Le).0, "\u{fffd}b");
        assert_eq!(read(&[0xff, 0xfe, 0x3d, 0xd8], Encoding::Utf16Le).0, "\u{fffd}");
    }
}
