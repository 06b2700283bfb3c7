//! Lists: one value a line, what stands behind it after white space or `;` is its description; `#` begins a comment.
//!
//! Limits: a line of more than [`LINE_BYTES_MAX`] is no entry.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::fault::{FeedError, Place};
use super::load::{Found, Sink};

/// Longest line: the longest indicator, and a description.
const LINE_BYTES_MAX: u64 = 16 * 1024;

pub(super) fn read(input: impl Read, path: &Path, sink: &mut Sink<'_>) -> Result<(), FeedError> {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut bounded = input.by_ref().take(LINE_BYTES_MAX);
        let read = bounded.read_until(b'\n', &mut line);
        if read.map_err(|source| FeedError::Read { path: path.into(), source })? == 0 {
            break;
        }
        take(&String::from_utf8_lossy(&line), Place::Line(number), sink);
    }
    Ok(())
}

fn take(line: &str, place: Place, sink: &mut Sink<'_>) {
    let line = line.trim_start_matches('\u{feff}').trim();
    if line.is_empty() || line.starts_with('#') {
        return;
    }
    let (value, rest) = line.split_once([' ', '\t', ';', ',']).unwrap_or((line, ""));
    let description = rest.trim_start_matches([' ', '\t', ';', ',', '#']);
    sink.take(place, &Found { value, description, ..Found::default() });
}
