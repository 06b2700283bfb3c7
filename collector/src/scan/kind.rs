//! What a file is, told by its first bytes and never by its name.
//!
//! Text needs no mark: what has none of the known ones is text, unless it has zero bytes and more control characters than a
//! log has ([`is_binary`]). Zero bytes alone make no binary file of a log: a writer leaves them behind when its file is
//! emptied under it, a file system after a loss of power, and whoever wants a log not to be read.

use event::{EVTX_CHUNK_MAGIC, EVTX_HEADER_BYTES, EVTX_MAGIC};

use crate::capture_lines::is_capture;

/// First bytes by which a file is told: the head of an EVTX file, and the mark of its first chunk.
pub(super) const SNIFFED_BYTES: usize = EVTX_HEADER_BYTES + EVTX_CHUNK_MAGIC.len();

/// Of so many characters of a text at most one is a control character. Of random bytes it is one of ten.
const CONTROLS_ONE_IN: usize = 50;

/// Files that evidence comes in and that are not read: where the mark stands, the mark, what they are, what to do.
const OTHERS: [(usize, &[u8], &str); 12] = [
    (0, b"PK\x03\x04", "a zip archive: unpack it, and scan what was in it"),
    (0, b"\xfd7zXZ\0", "compressed with xz: `xz -dc FILE | vonggac scan -` reads it"),
    (4, b"1AY&SY", "compressed with bzip2: `bzip2 -dc FILE | vonggac scan -` reads it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it, and scan what was in it"),
    (0, b"Rar!\x1a\x07", "a rar archive: unpack it, and scan what was in it"),
    (257, b"ustar", "a tar archive: unpack it, and scan what was in it"),
    (0, b"\x1f\x8b", "compressed twice: expand it once, and scan what comes out"),
    (0, b"\x28\xb5\x2f\xfd", "compressed twice: expand it once, and scan what comes out"),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4: `lz4 -dc FILE | vonggac scan -` reads it"),
    (0, b"LPKSHHRH", "a journal of systemd: `journalctl --file FILE -o json | vonggac scan -` reads it"),
    (4, b"LfLe", "an event log of Windows XP or 2003: convert it to EVTX (wevtutil epl)"),
    (0, b"SQLite format 3\0", "an SQLite database, no log"),
];

/// What a file is, once it is expanded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// `head_is_whole`: else only its chunks tell that it is one.
    Evtx {
        head_is_whole: bool,
    },
    Capture,
    Text(Encoding),
    /// What it is instead, and what to do.
    Other(&'static str),
}

/// How a text is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Encoding {
    /// Or whatever is one byte for a character of ASCII.
    Utf8,
    Utf16Le,
    Utf16Be,
}

impl Kind {
    /// `head` is the first [`SNIFFED_BYTES`], or all there is.
    pub(super) fn of(head: &[u8]) -> Self {
        let has = |at: usize, mark: &[u8]| head.get(at..).is_some_and(|head| head.starts_with(mark));
        if has(0, EVTX_MAGIC) || has(EVTX_HEADER_BYTES, EVTX_CHUNK_MAGIC) {
            return Self::Evtx { head_is_whole: has(0, EVTX_MAGIC) };
        }
        if is_capture(head) {
            return Self::Capture;
        }
        if let Some((_, _, what)) = OTHERS.iter().find(|(at, mark, _)| has(*at, mark)) {
            return Self::Other(what);
        }
        Self::Text(match head {
            [0xff, 0xfe, ..] => Encoding::Utf16Le,
            [0xfe, 0xff, ..] => Encoding::Utf16Be,
            _ => Encoding::Utf8,
        })
    }
}

/// Whether what has zero bytes is no text; `head` are its first bytes without these.
pub(super) fn is_binary(head: &[u8]) -> bool {
    let is_control = |byte: &&u8| matches!(byte, 0..=8 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f);
    head.iter().filter(is_control).count() > head.len() / CONTROLS_ONE_IN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_no_log_by_its_mark() {
        for (at, mark, what) in OTHERS {
            let head = [vec![b'x'; at], mark.to_vec()].concat();
            assert_eq!(Kind::of(&head), Kind::Other(what));
        }
        assert_eq!(Kind::of(b"PK: a log"), Kind::Text(Encoding::Utf8));
        assert_eq!(Kind::of(b""), Kind::Text(Encoding::Utf8));
        assert_eq!(Kind::of(b"\xff\xfea\0"), Kind::Text(Encoding::Utf16Le));
    }

    #[test]
    fn tells_an_event_log_by_its_head_or_its_first_chunk() {
        let mut log = EVTX_MAGIC.to_vec();
        log.resize(EVTX_HEADER_BYTES, 0);
        log.extend_from_slice(EVTX_CHUNK_MAGIC);
        assert_eq!(Kind::of(&log), Kind::Evtx { head_is_whole: true });
        assert_eq!(Kind::of(&log[..EVTX_MAGIC.len()]), Kind::Evtx { head_is_whole: true });
        log[0] = 0;
        assert_eq!(Kind::of(&log), Kind::Evtx { head_is_whole: false });
    }

    #[test]
    fn a_control_character_or_a_colour_makes_no_binary_file() {
        let line =
            b"\x1b[31mNov 23 09:31:07 web01 sshd[7]: Failed password for root from 192.0.2.7\x07\x1b[0m\r\n";
        assert!(!is_binary(line));
        assert!(is_binary(b"\x89PNG\r\n\x1a\n\rIHDR"));
        let random: Vec<u8> = (1..=255).collect();
        assert!(is_binary(&random));
    }
}
