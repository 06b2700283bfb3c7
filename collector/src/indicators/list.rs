//! Lists: one value a line, what stands behind it after white space, `;` or `,` is its description; `#` begins a comment. A URL
//! with its scheme ends at white space only: it may have the other two.
//!
//! Limits: a line of more than [`LINE_BYTES_MAX`] is no entry, and counted.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::fault::{FeedError, Place};
use super::load::{Found, Sink};

/// Longest line: the longest indicator, and a description.
const LINE_BYTES_MAX: u64 = 16 * 1024;

pub(super) fn read(input: impl Read, path: &Path, sink: &mut Sink<'_>) -> Result<(), FeedError> {
    let unread = |source| FeedError::Read { path: path.into(), source };
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut bounded = input.by_ref().take(LINE_BYTES_MAX);
        let read = bounded.read_until(b'\n', &mut line);
        if read.map_err(unread)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            input.skip_until(b'\n').map_err(unread)?;
            sink.not_understood(format!("more than {LINE_BYTES_MAX} bytes"), Place::Line(number), &text);
            continue;
        }
        take(&text, Place::Line(number), sink);
    }
    Ok(())
}

fn take(line: &str, place: Place, sink: &mut Sink<'_>) {
    let line = line.trim_start_matches('\u{feff}').trim();
    if line.is_empty() || line.starts_with('#') {
        return;
    }
    let separators = if line.contains("://") { &[' ', '\t'][..] } else { &[' ', '\t', ';', ','] };
    let (value, rest) = line.split_once(separators).unwrap_or((line, ""));
    let description = rest.trim_start_matches([' ', '\t', ';', ',', '#']);
    sink.take(place, &Found { value, description, ..Found::default() });
}
