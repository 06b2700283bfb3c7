//! Writes the recorded lines into the hosts' logs, at the pace of the recording times `speed`, and remembers when.
//!
//! The times inside the lines move so that the recording ends when the replay ends. At any speed from 1 on no line is
//! written before the time it bears, and the distances between the lines' times stay as they were: windows of correlations
//! see what was recorded.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use event::{Format, Micros};
use jiff::Timestamp;
use regex::bytes::Regex;

use crate::drill::hosts::Hosts;
use crate::drill::recording::{Log, Recording};
use crate::drill::shift::Stamps;
use crate::people::MICROS_PER_S;

/// Lines due within so short a time are written together: a sleep is not finer.
const TOGETHER: Duration = Duration::from_millis(5);

/// How the recording's time becomes the replay's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pace {
    /// What is added to every time, in whole seconds.
    pub(crate) shift_s: i64,
    /// The recording's first moment.
    first: Micros,
    /// When the replay starts, by the clock.
    pub(crate) start: Micros,
    /// Microseconds of the replay for a second of the recording.
    micros_per_s: u64,
}

/// Where a line stands: the log's path on this machine, and the offset in it.
pub(crate) type Place = (String, u64);

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) lines: u64,
    /// When the event that starts at a place was written. Audit records of one event are one place.
    pub(crate) events: HashMap<Place, Micros>,
}

/// A log as it is being written.
struct Output {
    file: File,
    path: String,
    stamps: Stamps,
    offset: u64,
    /// Audit events begun: their records may stand apart.
    begun: HashSet<Vec<u8>>,
    audit_id: Regex,
}

impl Pace {
    /// `now` is the start of the replay.
    pub(crate) fn new(span: (Micros, Micros), speed: u32, now: Micros) -> Self {
        let (first, last) = span;
        let micros_per_s = u64::from(1_000_000 / speed.max(1)).max(1);
        let pace = Self { shift_s: 0, first, start: now, micros_per_s };
        Self { shift_s: (pace.due(last) - last).div_euclid(MICROS_PER_S), ..pace }
    }

    /// When a line of that time is to be written, by the clock.
    pub(crate) fn due(&self, at: Micros) -> Micros {
        let since = u64::try_from(at.saturating_sub(self.first)).unwrap_or_default();
        let scaled = u128::from(since) * u128::from(self.micros_per_s) / 1_000_000;
        self.start.saturating_add(Micros::try_from(scaled).unwrap_or(Micros::MAX))
    }

    /// A time of the recording as the replay has it.
    pub(crate) fn shifted(&self, at: Micros) -> Micros {
        at.saturating_add(self.shift_s.saturating_mul(MICROS_PER_S))
    }
}

/// Writes everything; ends when the last line is in its file.
pub(crate) async fn replay(
    recording: &Recording,
    hosts: &Hosts,
    pace: Pace,
    written: &mut Written,
) -> Result<()> {
    let mut outputs =
        recording.logs.iter().map(|log| Output::open(log, hosts)).collect::<Result<Vec<_>>>()?;
    let mut queue = in_order(&recording.logs).peekable();
    while let Some((_, due)) =
        queue.peek().map(|(log, line)| (*log, pace.due(recording.logs[*log].lines[*line].at)))
    {
        sleep_until(due).await;
        let until = due.saturating_add(Micros::try_from(TOGETHER.as_micros())?);
        let mut texts: Vec<Vec<u8>> = vec![Vec::new(); outputs.len()];
        let now = now();
        while let Some((log, line)) =
            queue.next_if(|(log, line)| pace.due(recording.logs[*log].lines[*line].at) <= until)
        {
            let bytes = &recording.logs[log].lines[line].bytes;
            outputs[log].push(bytes, pace.shift_s, now, &mut texts[log], written);
        }
        for (output, text) in outputs.iter_mut().zip(&texts).filter(|(_, text)| !text.is_empty()) {
            output.file.write_all(text).with_context(|| output.path.clone())?;
        }
    }
    Ok(())
}

/// Lines of all logs by their times; lines of one log in the order in which they stand.
fn in_order(logs: &[Log]) -> impl Iterator<Item = (usize, usize)> {
    let mut lines: Vec<(Micros, usize, usize)> = logs
        .iter()
        .enumerate()
        .flat_map(|(log, of)| of.lines.iter().enumerate().map(move |(line, read)| (read.at, log, line)))
        .collect();
    lines.sort_unstable();
    lines.into_iter().map(|(_, log, line)| (log, line))
}

async fn sleep_until(due: Micros) {
    let left = u64::try_from(due.saturating_sub(now())).unwrap_or_default();
    tokio::time::sleep(Duration::from_micros(left)).await;
}

pub(crate) fn now() -> Micros {
    Timestamp::now().as_microsecond()
}

impl Output {
    fn open(log: &Log, hosts: &Hosts) -> Result<Self> {
        let path: PathBuf = hosts.log_path(log);
        let file = OpenOptions::new().append(true).open(&path).with_context(|| path.display().to_string())?;
        Ok(Self {
            file,
            path: path.to_string_lossy().into_owned(),
            stamps: log.stamps,
            offset: 0,
            begun: HashSet::new(),
            audit_id: Regex::new(r"\baudit\(([\d.]+:\d+)\)")?,
        })
    }

    /// Adds a line to `text`, and notes the event that begins with it.
    fn push(&mut self, line: &[u8], shift_s: i64, now: Micros, text: &mut Vec<u8>, written: &mut Written) {
        let line = self.stamps.shifted(line, shift_s);
        written.lines += 1;
        if self.begins(&line) {
            written.events.insert((self.path.clone(), self.offset), now);
        }
        self.offset += u64::try_from(line.len()).unwrap_or(u64::MAX).saturating_add(1);
        text.extend_from_slice(&line);
        text.push(b'\n');
    }

    /// Every line begins an event but the further records of an audit event.
    fn begins(&mut self, line: &[u8]) -> bool {
        if self.stamps.format != Format::Auditd {
            return true;
        }
        match self.audit_id.captures(line).and_then(|found| found.get(1)) {
            Some(id) => self.begun.insert(id.as_bytes().to_vec()),
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_line_is_written_before_the_time_it_bears(first in 0_i64..10_000_000_000, length in 0_i64..10_000_000_000, at in 0.0_f64..=1.0, speed in 1_u32..2_000) {
            let now = 2_000_000_000_000_000;
            let pace = Pace::new((first, first + length), speed, now);
            let at = first + (length as f64 * at) as i64;
            prop_assert!(pace.due(at) >= now);
            prop_assert!(pace.shifted(at) <= pace.due(at), "{} after {}", pace.shifted(at), pace.due(at));
            // ... and the last one not much before it.
            prop_assert!(pace.due(first + length) - pace.shifted(first + length) < MICROS_PER_S);
        }
    }

    #[test]
    fn the_speed_divides_the_time() {
        let pace = Pace::new((0, 600 * MICROS_PER_S), 60, 0);
        assert_eq!(pace.due(600 * MICROS_PER_S), 600 * 16_666);
        assert_eq!(pace.due(0), 0);
    }
}
