//! The one place that decompresses zstd: never beyond the bound it is given.

use std::io::Read;

use crate::wire::WireError;

/// Decompresses one zstd frame into at most `max` bytes. The room is taken as the data comes, so a frame that lies about
/// its size cannot make us reserve it.
pub fn inflate(bytes: &[u8], max: usize) -> Result<Vec<u8>, WireError> {
    let bad = |_| WireError::Malformed { what: "body", offset: 0, expected: "a zstd frame" };
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut out = Vec::new();
    zstd::Decoder::with_buffer(bytes).map_err(bad)?.take(limit).read_to_end(&mut out).map_err(bad)?;
    if out.len() > max {
        return Err(WireError::TooLarge { what: "body", max, have: limit });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_up_to_the_bound_and_rejects_one_byte_more() {
        let bytes = zstd::bulk::compress(&[7; 1000], 1).unwrap();
        assert_eq!(inflate(&bytes, 1000).unwrap().len(), 1000);
        assert!(matches!(inflate(&bytes, 999), Err(WireError::TooLarge { max: 999, .. })));
        assert!(inflate(b"not zstd", 10).is_err());
    }
}
