//! The head of `RowBinaryWithNamesAndTypes`: the number of columns, their names, their types, each a string behind its length as
//! LEB128. The engine repeats it in each block of a result, and sends none when there are no rows; clients want it exactly once.

/// The length of the head at the start of `data`.
pub(super) fn head_length(data: &[u8]) -> Option<usize> {
    let mut rest = data;
    let columns = number(&mut rest)?;
    for _ in 0..columns.checked_mul(2)? {
        string(&mut rest)?;
    }
    Some(data.len() - rest.len())
}

/// The head for the columns that `DESCRIBE` gave as RowBinary with two strings a row.
pub(super) fn head_from_description(mut rows: &[u8]) -> Option<Vec<u8>> {
    let (mut names, mut types) = (Vec::new(), Vec::new());
    let mut columns = 0;
    while !rows.is_empty() {
        names.extend_from_slice(string(&mut rows)?);
        types.extend_from_slice(string(&mut rows)?);
        columns += 1;
    }
    let mut head = leb128(columns);
    head.append(&mut names);
    head.append(&mut types);
    Some(head)
}

/// LEB128, as ClickHouse writes lengths.
pub(super) fn leb128(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A string with its length before it.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let start = *rest;
    let length = usize::try_from(number(rest)?).ok()?;
    *rest = rest.get(length..)?;
    start.get(..start.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_a_head() {
        let head = b"\x02\x01a\x02bb\x05UInt8\x06String";
        let mut data = head.to_vec();
        data.extend(b"\x07\x01x");
        assert_eq!(head_length(&data), Some(head.len()));
        for length in 0..head.len() {
            assert_eq!(head_length(&head[..length]), None, "{length} bytes");
        }
        assert_eq!(head_length(&[0xFF; 20]), None);
    }

    #[test]
    fn makes_a_head_of_a_description() {
        let head = head_from_description(b"\x01a\x05UInt8\x02bb\x06String").unwrap();
        assert_eq!(head, b"\x02\x01a\x02bb\x05UInt8\x06String");
        assert_eq!(head_from_description(b"\x01a"), None);
    }

    #[test]
    fn writes_numbers_that_it_reads() {
        for value in [0, 1, 127, 128, 300, 54_485, u64::from(u32::MAX)] {
            assert_eq!(number(&mut leb128(value).as_slice()), Some(value));
        }
    }
}
