//! The first question of clickhouse-go (the driver in Grafana's data source) over HTTP.
//!
//! The driver asks for Native blocks of the newest revision it knows and reads the server's revision out of this answer; all
//! later blocks it reads at that revision. The engine writes Native of revision 0 only. So this one answer is written at the
//! revision asked for, and says in it that the server's revision is 0.

use super::columns::leb128;
use super::connection::Facts;

/// The statement, word for word.
pub(super) const STATEMENT: &str = "SELECT displayName(), version(), revision(), timezone()";

/// From this revision on a block starts with its info.
const REVISION_BLOCK_INFO: u64 = 51_903;
/// From this revision on a column says whether its serialization is a special one.
const REVISION_CUSTOM_SERIALIZATION: u64 = 54_454;
/// Field 1: no overflow row; field 2: bucket −1; end of the fields.
const BLOCK_INFO: [u8; 8] = [1, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0];

/// The answer: one block of one row.
pub(super) fn answer(facts: &Facts, revision: u64) -> Vec<u8> {
    let mut block = if revision >= REVISION_BLOCK_INFO { BLOCK_INFO.to_vec() } else { Vec::new() };
    block.extend(leb128(4)); // columns
    block.extend(leb128(1)); // rows
    let mut column = |name: &str, kind: &str, value: &[u8]| {
        block.extend(string(name));
        block.extend(string(kind));
        if revision >= REVISION_CUSTOM_SERIALIZATION {
            block.push(0);
        }
        block.extend(value);
    };
    column("displayName()", "String", &string(&facts.display_name));
    column("version()", "String", &string(&facts.version));
    column("revision()", "UInt32", &0_u32.to_le_bytes());
    column("timezone()", "String", &string(&facts.timezone));
    block
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = leb128(text.len() as u64);
    bytes.extend(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { version: "26.7.2.1".into(), timezone: "UTC".into(), display_name: "h".into() }
    }

    #[test]
    fn writes_the_revision_asked_for() {
        let expected = b"\x01\x00\x02\xFF\xFF\xFF\xFF\x00\x04\x01\
            \x0DdisplayName()\x06String\x00\x01h\
            \x09version()\x06String\x00\x0826.7.2.1\
            \x0Arevision()\x06UInt32\x00\x00\x00\x00\x00\
            \x0Atimezone()\x06String\x00\x03UTC";
        assert_eq!(answer(&facts(), 54_485), expected);
    }

    #[test]
    fn writes_older_revisions_without_what_they_do_not_know() {
        assert!(answer(&facts(), 0).starts_with(b"\x04\x01\x0DdisplayName()\x06String\x01h"));
        assert!(answer(&facts(), 54_453)[8..].starts_with(b"\x04\x01\x0DdisplayName()\x06String\x01h"));
    }
}
