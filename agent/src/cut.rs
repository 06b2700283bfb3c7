//! Where records end and where batches end. Pure: bytes in, places out.
//!
//! A record is a line without its line end. A line end is LF or CR LF: a CR directly before the LF belongs to it, as
//! programs ported from Windows write it, and no parser should have to strip it. An empty line is a record, too.
//!
//! Truncation policy: nothing is dropped. A line longer than [`RECORD_BYTES_MAX`] becomes several records, each cut before
//! a UTF-8 character rather than within one. A line without a line end waits for it, unless the file will grow no more.
//!
//! The same bytes always give the same records, whatever part of them was visible when the batch was first formed: that is
//! what lets a batch be formed again from its file after a crash.

use std::ops::Range;

use event::{Format, RECORD_BYTES_MAX, cuts_before};
use memchr::memchr;

/// A UTF-8 character has at most three bytes after its first.
const CONTINUATION_BYTES_MAX: usize = 3;

/// One record's place in a buffer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Span {
    /// The record.
    pub(crate) record: Range<usize>,
    /// Where the next one starts: behind the line end.
    pub(crate) end: usize,
    /// A piece of a line that is too long for one record.
    pub(crate) piece: bool,
}

/// What may follow the bytes that are visible now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// More lines: an event that may not be whole waits.
    Open,
    /// More lines, but its rest has been waited for long enough.
    Late,
    /// Nothing: a last line without a line end is a record.
    Closed,
}

/// When a batch is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full {
    pub(crate) records_max: usize,
    pub(crate) bytes_max: usize,
}

/// The record that starts at `at`, if it is whole. `last` when nothing will follow the buffer.
pub(crate) fn record_at(buffer: &[u8], at: usize, last: bool) -> Option<Span> {
    let rest = buffer.get(at..).filter(|rest| !rest.is_empty())?;
    // The longest record and CR LF: within so many bytes a line that fits has ended.
    let window = &rest[..rest.len().min(RECORD_BYTES_MAX + 2)];
    let whole = match memchr(b'\n', window) {
        Some(line_feed) => Some((line_length(&window[..line_feed]), line_feed + 1)),
        None if window.len() < RECORD_BYTES_MAX + 2 && !last => return None,
        None if window.len() == rest.len() => Some((rest.len(), rest.len())),
        None => None,
    };
    let (length, end, piece) = match whole {
        Some((length, end)) if length <= RECORD_BYTES_MAX => (length, end, false),
        _ => {
            let length = piece_length(rest);
            (length, length, true)
        }
    };
    Some(Span { record: at..at + length, end: at + end, piece })
}

fn line_length(line: &[u8]) -> usize {
    line.strip_suffix(b"\r").unwrap_or(line).len()
}

/// How much of a line that is too long goes into one record. `rest` is longer than that.
fn piece_length(rest: &[u8]) -> usize {
    let continues = |at: usize| rest.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    (RECORD_BYTES_MAX - CONTINUATION_BYTES_MAX..=RECORD_BYTES_MAX)
        .rev()
        .find(|at| !continues(*at))
        .unwrap_or(RECORD_BYTES_MAX)
}

/// What [`cut_batch`] found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cut {
    /// Nothing that may go yet.
    Nothing,
    /// All that is visible, or all of it that may go.
    Rest,
    /// A batch that holds what a batch may.
    Full,
}

/// Fills `spans` with the records of the batch that starts at `from`.
///
/// A batch ends where [`cuts_before`] allows, so that no event spans two batches; a group of lines longer than a whole
/// batch is cut all the same.
pub(crate) fn cut_batch(
    buffer: &[u8],
    from: usize,
    format: Format,
    full: Full,
    ending: Ending,
    spans: &mut Vec<Span>,
) -> Cut {
    spans.clear();
    let mut at = from;
    let mut next = record_at(buffer, at, ending == Ending::Closed);
    while let Some(span) = next.take() {
        let is_full = spans.len() >= full.records_max || at - from >= full.bytes_max;
        if is_full {
            next = Some(span);
            break;
        }
        at = span.end;
        spans.push(span);
        next = record_at(buffer, at, ending == Ending::Closed);
    }
    let is_full = spans.len() >= full.records_max || at - from >= full.bytes_max;
    if !is_full && ending != Ending::Open {
        return if spans.is_empty() { Cut::Nothing } else { Cut::Rest };
    }
    let following = next.as_ref().map(|span| &buffer[span.record.clone()]);
    let safe = last_safe_cut(buffer, format, spans, following);
    if safe > 0 || !is_full {
        spans.truncate(safe);
    }
    match is_full {
        true => Cut::Full,
        false if spans.is_empty() => Cut::Nothing,
        false => Cut::Rest,
    }
}

/// After how many of the records a batch may end; 0 when nowhere.
fn last_safe_cut(buffer: &[u8], format: Format, spans: &[Span], following: Option<&[u8]>) -> usize {
    let mut next = following;
    for (index, span) in spans.iter().enumerate().rev() {
        let previous = &buffer[span.record.clone()];
        if cuts_before(format, previous, next) {
            return index + 1;
        }
        next = Some(previous);
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: Full = Full { records_max: 3, bytes_max: 100_000 };

    fn records(buffer: &[u8], last: bool) -> Vec<Vec<u8>> {
        let mut at = 0;
        std::iter::from_fn(|| {
            let span = record_at(buffer, at, last)?;
            at = span.end;
            Some(buffer[span.record].to_vec())
        })
        .collect()
    }

    #[test]
    fn reads_lines_with_either_line_end_and_leaves_one_without() {
        assert_eq!(records(b"a\nb\r\n\n\r\r\nc", false), [&b"a"[..], b"b", b"", b"\r"]);
        assert_eq!(records(b"a\nc", true), [&b"a"[..], b"c"]);
        assert!(records(b"", true).is_empty());
    }

    #[test]
    fn reads_a_record_at_the_limit_and_cuts_one_byte_more() {
        let line = |length: usize, end: &str| [vec![b'x'; length], end.into()].concat();
        for end in ["\n", "\r\n"] {
            assert_eq!(records(&line(RECORD_BYTES_MAX, end), false).len(), 1);
            let cut = records(&line(RECORD_BYTES_MAX + 1, end), false);
            assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), [RECORD_BYTES_MAX, 1]);
        }
        assert!(record_at(&line(RECORD_BYTES_MAX, "\n"), 0, false).is_some_and(|span| !span.piece));
        assert!(record_at(&line(RECORD_BYTES_MAX + 1, "\n"), 0, false).is_some_and(|span| span.piece));
        assert!(records(&line(RECORD_BYTES_MAX + 1, ""), false).is_empty(), "CR LF may follow");
        assert_eq!(records(&line(RECORD_BYTES_MAX + 2, ""), false).len(), 1, "surely too long");
    }

    #[test]
    fn cuts_before_a_character_not_within() {
        let line = format!("{}ệ{}\n", "x".repeat(RECORD_BYTES_MAX - 1), "y".repeat(10));
        let cut = records(line.as_bytes(), false);
        assert_eq!(cut[0].len(), RECORD_BYTES_MAX - 1);
        assert_eq!(cut[1], "ệyyyyyyyyyy".as_bytes());
    }

    #[test]
    fn fills_a_batch_to_its_limits() {
        let mut spans = Vec::new();
        let mut cut = |bytes: &[u8], from, full, ending| {
            let found = cut_batch(bytes, from, Format::Syslog, full, ending, &mut spans);
            (found, spans.len())
        };
        assert_eq!(cut(b"a\nb\nc\nd\n", 0, FULL, Ending::Open), (Cut::Full, 3));
        assert_eq!(cut(b"a\nb\nc\nd\n", 6, FULL, Ending::Open), (Cut::Rest, 1));
        assert_eq!(cut(b"a", 0, FULL, Ending::Late), (Cut::Nothing, 0));
        assert_eq!(cut(b"a", 0, FULL, Ending::Closed), (Cut::Rest, 1));
        let bytes = Full { records_max: 10, bytes_max: 3 };
        let full = cut(b"a\nb\nc\nd\n", 0, bytes, Ending::Open);
        assert_eq!(full, (Cut::Full, 2), "full with the record that crosses the limit");
    }

    #[test]
    fn keeps_the_records_of_an_audit_event_together() {
        let record =
            |kind: &str, serial: u32| format!("type={kind} msg=audit(1700000000.123:{serial}): a=1\n");
        let event = |serial| ["SYSCALL", "CWD", "EOE"].map(|kind| record(kind, serial)).concat();
        let (whole, open) = (event(1), record("SYSCALL", 2) + &record("CWD", 2));
        let mut spans = Vec::new();
        let mut cut = |bytes: &str, records_max, ending| {
            let full = Full { records_max, bytes_max: 100_000 };
            let found = cut_batch(bytes.as_bytes(), 0, Format::Auditd, full, ending, &mut spans);
            (found, spans.len())
        };
        assert_eq!(cut(&(whole.clone() + &open), 100, Ending::Open), (Cut::Rest, 3), "the open event waits");
        assert_eq!(cut(&open, 100, Ending::Open), (Cut::Nothing, 0));
        assert_eq!(cut(&open, 100, Ending::Late), (Cut::Rest, 2));
        assert_eq!(cut(&(whole.clone() + &event(2)), 5, Ending::Open), (Cut::Full, 3), "full, in an event");
        assert_eq!(cut(&whole, 2, Ending::Open), (Cut::Full, 2), "longer than a batch");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Cuts of a growing file, formed again each on its own, are the records of the whole file.
        #[test]
        fn forms_the_same_records_again(
            lines in prop::collection::vec((0_usize..4, 0_usize..5, any::<bool>()), 0..8),
            steps in prop::collection::vec(1_usize..90_000, 1..20),
        ) {
            let lengths = [0, 7, RECORD_BYTES_MAX - 1, 2 * RECORD_BYTES_MAX];
            let mut file = Vec::new();
            for (kind, more, carriage) in lines {
                file.extend("ế".repeat((lengths[kind] + more) / 3).bytes());
                file.extend(std::iter::repeat_n(b'x', (lengths[kind] + more) % 3));
                file.extend(if carriage { "\r\n" } else { "\n" }.bytes());
            }
            let mut spans = Vec::new();
            let (mut position, mut visible, mut again) = (0, 0_usize, Vec::new());
            for step in steps.into_iter().chain([usize::MAX]) {
                visible = file.len().min(visible.saturating_add(step));
                while cut_batch(&file[..visible], position, Format::Syslog, FULL, Ending::Open, &mut spans) != Cut::Nothing {
                    let end = spans.last().unwrap().end;
                    let formed: Vec<_> = spans.iter().map(|span| file[span.record.clone()].to_vec()).collect();
                    let range = &file[position..end];
                    prop_assert_eq!(records(range, true), formed);
                    again.extend(records(range, true));
                    position = end;
                }
            }
            prop_assert_eq!(again, records(&file, false));
            prop_assert_eq!(position, file.len());
        }
    }
}
