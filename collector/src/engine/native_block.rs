//! ClickHouse's native framing of compressed bytes (`compress=1`, `decompress=1`): a sequence of blocks, each with a CityHash128
//! (version 1.0.2) of what follows it, a method, both lengths, and the payload.
//!
//! A block whose checksum is wrong, whose lengths do not fit or that would be larger than `BLOCK_BYTES_MAX` is refused before
//! anything is allocated for it.

use std::io::{self, Read};

use super::limits::BLOCK_BYTES_MAX;

const CHECKSUM_BYTES: usize = 16;
/// Method, compressed length (with these nine bytes), plain length.
const HEADER_BYTES: usize = 9;

const METHOD_NONE: u8 = 0x02;
const METHOD_LZ4: u8 = 0x82;
const METHOD_ZSTD: u8 = 0x90;

/// Reads the plain bytes out of a stream of blocks.
pub(super) struct BlockReader<R> {
    inner: R,
    plain: Vec<u8>,
    at: usize,
}

impl<R: Read> BlockReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, plain: Vec::new(), at: 0 }
    }

    /// False at the end of the stream.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut head = [0; CHECKSUM_BYTES + HEADER_BYTES];
        if !fill(&mut self.inner, &mut head)? {
            return Ok(false);
        }
        let (checksum, header) = head.split_at(CHECKSUM_BYTES);
        let length = |at: usize| read_u32(header, at) as usize;
        let (compressed, plain) = (length(1), length(5));
        if !(HEADER_BYTES..=BLOCK_BYTES_MAX).contains(&compressed) || plain > BLOCK_BYTES_MAX {
            return Err(broken(format!(
                "a compressed block of {compressed} bytes for {plain} bytes: at least {HEADER_BYTES} and at most \
                 {BLOCK_BYTES_MAX} are allowed"
            )));
        }
        let mut block = header.to_vec();
        block.resize(compressed, 0);
        if !fill(&mut self.inner, &mut block[HEADER_BYTES..])? && compressed > HEADER_BYTES {
            return Err(broken("a compressed block ends after its header".into()));
        }
        if checksum != checksum_of(&block) {
            return Err(broken("the checksum of a compressed block does not match".into()));
        }
        self.plain = decompress(header[0], &block[HEADER_BYTES..], plain)?;
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for BlockReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let count = (&self.plain[self.at..]).read(into)?;
        self.at += count;
        Ok(count)
    }
}

/// One LZ4 block of the framing.
pub(super) fn compress(plain: &[u8]) -> io::Result<Vec<u8>> {
    let payload = lz4_flex::block::compress(plain);
    let lengths = (u32::try_from(payload.len() + HEADER_BYTES), u32::try_from(plain.len()));
    let (Ok(compressed), Ok(length)) = lengths else {
        return Err(broken(format!("a block of {} bytes does not fit the framing", plain.len())));
    };
    let mut block = vec![METHOD_LZ4];
    block.extend(compressed.to_le_bytes());
    block.extend(length.to_le_bytes());
    block.extend(payload);
    let mut framed = checksum_of(&block).to_vec();
    framed.append(&mut block);
    Ok(framed)
}

fn decompress(method: u8, payload: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let plain = match method {
        METHOD_NONE => payload.to_vec(),
        METHOD_LZ4 => {
            lz4_flex::block::decompress(payload, length).map_err(|error| broken(error.to_string()))?
        }
        METHOD_ZSTD => zstd::bulk::decompress(payload, length)?,
        other => return Err(broken(format!("the compression method {other:#04x} is not known"))),
    };
    if plain.len() != length {
        return Err(broken(format!("a block says {length} bytes and holds {}", plain.len())));
    }
    Ok(plain)
}

/// The two halves stand the other way round than the hash's number.
fn checksum_of(block: &[u8]) -> [u8; CHECKSUM_BYTES] {
    cityhash_rs::cityhash_102_128(block).rotate_right(64).to_le_bytes()
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Fills the buffer. False when there was nothing at all.
fn fill(from: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    let mut have = 0;
    while have < into.len() {
        match from.read(&mut into[have..])? {
            0 if have == 0 => return Ok(false),
            0 => {
                return Err(broken(format!("{} bytes of a compressed block are missing", into.len() - have)));
            }
            count => have += count,
        }
    }
    Ok(true)
}

fn broken(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        BlockReader::new(bytes).read_to_end(&mut plain).map(|_| plain)
    }

    fn block(method: u8, payload: &[u8], length: u32) -> Vec<u8> {
        let mut block = vec![method];
        block.extend(u32::try_from(payload.len() + HEADER_BYTES).unwrap().to_le_bytes());
        block.extend(length.to_le_bytes());
        block.extend(payload);
        [checksum_of(&block).as_slice(), &block].concat()
    }

    #[test]
    fn reads_blocks_of_each_method() {
        let plain = b"Vong Gac ".repeat(1000);
        let length = u32::try_from(plain.len()).unwrap();
        let blocks = [
            compress(&plain).unwrap(),
            block(METHOD_ZSTD, &zstd::bulk::compress(&plain, 1).unwrap(), length),
            block(METHOD_NONE, &plain, length),
        ];
        assert_eq!(read_all(&blocks.concat()).unwrap(), plain.repeat(3));
        assert_eq!(read_all(b"").unwrap(), b"");
    }

    #[test]
    fn rejects_what_was_changed_or_cut() {
        let good = compress(b"some bytes").unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(read_all(&bad).is_err(), "byte {at}");
        }
        for length in 1..good.len() {
            assert!(read_all(&good[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn rejects_sizes_beyond_the_limit_and_lies() {
        let limit = u32::try_from(BLOCK_BYTES_MAX).unwrap();
        assert!(read_all(&block(METHOD_LZ4, b"x", limit + 1)).is_err());
        assert!(read_all(&block(METHOD_NONE, b"x", 2)).is_err());
        assert!(read_all(&block(METHOD_ZSTD, &zstd::bulk::compress(&[7; 9], 1).unwrap(), 3)).is_err());
        assert!(read_all(&block(0x55, b"x", 1)).is_err());
    }
}
