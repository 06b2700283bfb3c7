//! Numbers of variable length (LEB128) and the bounded reader with which every frame is read.
//!
//! The reader cannot index and cannot run past its end: each miss is a [`WireError::Truncated`] that names what was read.

use crate::wire::WireError;

/// Longest varint of a u64: ten groups of seven bits.
const VARINT_BYTES_MAX: usize = 10;

/// Reads forward over a byte slice.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, what: &'static str, need: usize) -> Result<&'a [u8], WireError> {
        let Some((head, rest)) = self.rest.split_at_checked(need) else {
            return Err(WireError::Truncated { what, offset: self.offset, need, have: self.rest.len() });
        };
        self.rest = rest;
        self.offset = self.offset.saturating_add(need);
        Ok(head)
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, WireError> {
        Ok(self.take(what, 1)?.first().copied().unwrap_or_default())
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        let bytes = self.take(what, 8)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, WireError> {
        // Most numbers have one byte.
        if let [byte @ ..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            self.offset = self.offset.saturating_add(1);
            return Ok(u64::from(*byte));
        }
        self.long_varint(what)
    }

    fn long_varint(&mut self, what: &'static str) -> Result<u64, WireError> {
        let mut number = 0_u64;
        let mut shift = 0_u32;
        for _ in 0..VARINT_BYTES_MAX {
            let byte = self.byte(what)?;
            let group = u64::from(byte & 0x7f);
            let shifted = group.checked_shl(shift).unwrap_or(0);
            if shifted.checked_shr(shift) != Some(group) {
                break;
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
            shift = shift.saturating_add(7);
        }
        Err(WireError::Malformed { what, offset: self.offset, expected: "a varint of at most 64 bits" })
    }

    pub(crate) fn zigzag(&mut self, what: &'static str) -> Result<i64, WireError> {
        let number = self.varint(what)?;
        Ok((number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg())
    }

    /// A varint that must fit in `max`.
    pub(crate) fn bounded(&mut self, what: &'static str, max: usize) -> Result<usize, WireError> {
        let number = self.varint(what)?;
        match usize::try_from(number) {
            Ok(number) if number <= max => Ok(number),
            _ => Err(WireError::TooLarge { what, max, have: number }),
        }
    }

    /// UTF-8 text behind its length.
    pub(crate) fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, WireError> {
        let length = self.bounded(what, max)?;
        let offset = self.offset;
        std::str::from_utf8(self.take(what, length)?).map_err(|_| WireError::Malformed {
            what,
            offset,
            expected: "UTF-8 text",
        })
    }
}

pub(crate) fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [group, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(group & 0x7f);
            return;
        }
        out.push(group | 0x80);
    }
}

pub(crate) fn push_zigzag(out: &mut Vec<u8>, number: i64) {
    push_varint(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    push_varint(out, u64::try_from(text.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_pushed_at_both_ends_of_the_range() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, number);
            assert_eq!(Reader::new(&bytes).varint("n").unwrap(), number);
        }
        for number in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut bytes = Vec::new();
            push_zigzag(&mut bytes, number);
            assert_eq!(Reader::new(&bytes).zigzag("n").unwrap(), number);
        }
    }

    #[test]
    fn rejects_a_varint_past_64_bits() {
        assert!(Reader::new(&[0xff; 10]).varint("n").is_err());
        assert!(Reader::new(&[0x80; 11]).varint("n").is_err());
        assert!(matches!(Reader::new(&[0x80]).varint("n"), Err(WireError::Truncated { what: "n", .. })));
    }
}
