//! ClickHouse's format RowBinary, as far as our tables need it: the values of a row one after another, in the order in which
//! the INSERT names the columns; numbers little-endian, texts and lists behind their length as LEB128.
//!
//! Rows are encoded before they are sent because an insert that is repeated must repeat the very same bytes.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// A value that can be written.
pub(crate) trait Put {
    fn put(&self, out: &mut Vec<u8>);
}

/// A row that can be written.
pub(crate) trait Encode {
    /// Columns in the order in which they are written.
    const COLUMNS: &'static [&'static str];

    fn encode(&self, out: &mut Vec<u8>);
}

/// Makes a struct's fields the columns of a row: `encode!(Row { a, b });`. The compiler sees to it that none is left out.
macro_rules! encode {
    ($row:ident { $($column:ident),* $(,)? }) => {
        impl crate::row_binary::Encode for $row {
            const COLUMNS: &'static [&'static str] = &[$(stringify!($column)),*];

            fn encode(&self, out: &mut Vec<u8>) {
                let Self { $($column),* } = self;
                $(crate::row_binary::Put::put($column, out);)*
            }
        }
    };
}
pub(crate) use encode;

/// The rows one after another.
pub(crate) fn encoded<'r, R: Encode + 'r>(rows: impl IntoIterator<Item = &'r R>) -> Vec<u8> {
    let mut out = Vec::new();
    rows.into_iter().for_each(|row| row.encode(&mut out));
    out
}

/// A length before a text or a list.
pub(crate) fn put_length(mut length: usize, out: &mut Vec<u8>) {
    while length >= 0x80 {
        out.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    out.push(length.to_le_bytes()[0]);
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Put for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, i64, f64);

macro_rules! texts {
    ($($type:ty),*) => {$(
        impl Put for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let bytes: &[u8] = self.as_ref();
                put_length(bytes.len(), out);
                out.extend_from_slice(bytes);
            }
        }
    )*};
}
texts!(&str, String, &[u8], Vec<u8>);

impl Put for Cow<'_, str> {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_bytes().put(out);
    }
}

impl Put for Ipv6Addr {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.octets());
    }
}

impl Put for &[&str] {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|text| text.put(out));
    }
}

impl Put for Vec<String> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|text| text.put(out));
    }
}

/// A map.
impl<K: Put, V: Put> Put for Vec<(K, V)> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: &impl Put) -> Vec<u8> {
        let mut out = Vec::new();
        value.put(&mut out);
        out
    }

    #[test]
    fn writes_what_clickhouse_reads() {
        assert_eq!(put(&0x0102_u16), [2, 1]);
        assert_eq!(put(&-1_i64), [0xff; 8]);
        assert_eq!(put(&"é"), [2, 0xc3, 0xa9]);
        assert_eq!(put(&["a", ""].as_slice()), [2, 1, b'a', 0]);
        assert_eq!(put(&vec![("k".to_owned(), 1_u8)]), [1, 1, b'k', 1]);
        assert_eq!(put(&Ipv6Addr::LOCALHOST), Ipv6Addr::LOCALHOST.octets());
    }

    #[test]
    fn writes_lengths_of_one_and_of_two_bytes() {
        assert_eq!(put(&"x".repeat(127))[..2], [127, b'x']);
        assert_eq!(put(&"x".repeat(128))[..3], [0x80, 1, b'x']);
        assert_eq!(put(&"x".repeat(300))[..2], [0xac, 2]);
    }
}
