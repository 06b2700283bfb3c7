//! The times inside recorded lines, and how they are moved: pure text in, text out.
//!
//! Read and written are RFC 3164 (`Nov 23 09:31:00`), ISO 8601 and RFC 3339 (`2026-11-23T09:31:00.123456+07:00`), the audit
//! records' `audit(EPOCH.ms:serial)`, the access logs' `[23/Nov/2026:09:31:00 +0700]` and the microseconds of lines of flows. Times move by whole seconds, so
//! that fractions stay, and formats of different precision keep their order among one another.
//!
//! A time that names no zone is read with the offset of its log and written in UTC: the agents of a drill run in UTC,
//! whatever zone this machine is in. A time that names its offset keeps it.

use std::ops::Range;
use std::sync::LazyLock;

use event::{Format, Micros};
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};
use regex::bytes::{Captures, Regex};

use crate::people::MICROS_PER_S;

/// `t`: what is rewritten; `f`: its fraction, kept; `z`: its offset, kept.
static RFC3164: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:<\d{1,3}>)?(?<t>(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d)\b",
    )
});
static ISO: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?<t>\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](?<f>\d{1,9}))?(?<z>Z|[+-]\d\d:?\d\d)?")
});
static LEADING_ISO: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:<\d{1,3}>)?(?:1 )?(?<t>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(?<f>\d{1,9}))?(?<z>Z|[+-]\d\d:?\d\d)?",
    )
});
static AUDIT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\baudit\((?<t>\d{1,11})(?:\.(?<f>\d{1,9}))?:\d+\)"));
/// `ts`, `ts_end`, `ts_conn` (event/FLOWS.md).
static FLOW: LazyLock<Regex> = LazyLock::new(|| pattern(r#""ts(?:_end|_conn)?":(?<t>\d{1,18})\b"#));
static WEB: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\[(?<t>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d) (?<z>[+-]\d{4})\]"));

/// What a log says about its times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamps {
    pub(crate) format: Format,
    /// Offset of times that name none, in seconds east of UTC.
    pub(crate) utc_offset_s: i32,
    /// When it was recorded: RFC 3164 has no year, the one nearest to this is meant.
    pub(crate) recorded: Timestamp,
}

/// One time in a line.
struct Stamp {
    /// The text down to the second.
    range: Range<usize>,
    style: Style,
    at: Micros,
    /// The offset in which it stands, and in which it is written again; UTC when it names none.
    offset_s: i32,
}

#[derive(Clone, Copy)]
enum Style {
    Rfc3164,
    Iso { separator: u8 },
    Audit,
    Web,
    Micros,
}

impl Stamps {
    /// The time of a line, when it has one.
    pub(crate) fn time(&self, line: &[u8]) -> Option<Micros> {
        self.find(line).first().map(|stamp| stamp.at)
    }

    /// The line with every time moved by so many seconds.
    pub(crate) fn shifted(&self, line: &[u8], by_s: i64) -> Vec<u8> {
        let mut out = Vec::with_capacity(line.len());
        let mut from = 0;
        for stamp in self.find(line) {
            let Some(text) = stamp.written(by_s) else { continue };
            out.extend_from_slice(&line[from..stamp.range.start]);
            out.extend_from_slice(text.as_bytes());
            from = stamp.range.end;
        }
        out.extend_from_slice(&line[from..]);
        out
    }

    /// The times of a line, from left to right.
    fn find(&self, line: &[u8]) -> Vec<Stamp> {
        let all = |regex: &Regex, style| -> Vec<Stamp> {
            regex.captures_iter(line).filter_map(|captures| self.stamp(style, &captures)).collect()
        };
        let iso = Style::Iso { separator: b'T' };
        match self.format {
            Format::Json | Format::Otlp => {
                in_order([all(&ISO, iso), all(&AUDIT, Style::Audit)].into_iter().flatten().collect())
            }
            Format::Auditd => all(&AUDIT, Style::Audit),
            Format::Flow => all(&FLOW, Style::Micros),
            Format::Web => all(&WEB, Style::Web).into_iter().take(1).collect(),
            Format::Syslog | Format::Auto => {
                let mut head = all(&LEADING_ISO, iso);
                head.extend(all(&RFC3164, Style::Rfc3164));
                if head.is_empty() && self.format == Format::Auto {
                    head.extend(all(&WEB, Style::Web).into_iter().take(1));
                }
                head.extend(all(&AUDIT, Style::Audit));
                in_order(head)
            }
        }
    }

    fn stamp(&self, style: Style, captures: &Captures<'_>) -> Option<Stamp> {
        let found = captures.name("t")?;
        let text = std::str::from_utf8(found.as_bytes()).ok()?;
        let zone = captures.name("z").map(|zone| zone.as_bytes());
        let named_s = zone.map(offset).transpose().ok()?;
        let offset_s = named_s.unwrap_or(self.utc_offset_s);
        let (style, at_s) = match style {
            Style::Audit => (style, text.parse().ok()?),
            Style::Micros => {
                let at: Micros = text.parse().ok()?;
                return Some(Stamp { range: found.range(), style, at, offset_s: 0 });
            }
            Style::Rfc3164 => (style, self.nearest(text, offset_s)?),
            Style::Web => (style, seconds(DateTime::strptime("%d/%b/%Y:%H:%M:%S", text).ok()?, offset_s)?),
            Style::Iso { .. } => {
                let separator = *text.as_bytes().get(10)?;
                (Style::Iso { separator }, seconds(text.replace(' ', "T").parse().ok()?, offset_s)?)
            }
        };
        let at = at_s.checked_mul(MICROS_PER_S)?.checked_add(fraction(captures))?;
        Some(Stamp { range: found.range(), style, at, offset_s: named_s.unwrap_or(0) })
    }

    /// The second that a time without a year means.
    fn nearest(&self, text: &str, offset_s: i32) -> Option<i64> {
        let recorded = self.recorded.as_second();
        let year = self.recorded.to_zoned(TimeZone::UTC).year();
        [year - 1, year, year + 1]
            .into_iter()
            .filter_map(|year| DateTime::strptime("%Y %b %e %H:%M:%S", format!("{year} {text}")).ok())
            .filter_map(|civil| seconds(civil, offset_s))
            .min_by_key(|second| second.abs_diff(recorded))
    }
}

impl Stamp {
    fn written(&self, by_s: i64) -> Option<String> {
        let second = self.at.div_euclid(MICROS_PER_S).checked_add(by_s)?;
        let format = match self.style {
            Style::Audit => return Some(second.to_string()),
            Style::Micros => {
                let by = by_s.checked_mul(MICROS_PER_S)?;
                return Some(self.at.checked_add(by)?.to_string());
            }
            Style::Rfc3164 => "%b %e %H:%M:%S",
            Style::Iso { separator: b'T' } => "%Y-%m-%dT%H:%M:%S",
            Style::Iso { .. } => "%Y-%m-%d %H:%M:%S",
            Style::Web => "%d/%b/%Y:%H:%M:%S",
        };
        let zone = TimeZone::fixed(Offset::from_seconds(self.offset_s).ok()?);
        Some(Timestamp::from_second(second).ok()?.to_zoned(zone).strftime(format).to_string())
    }
}

/// From left to right.
fn in_order(mut stamps: Vec<Stamp>) -> Vec<Stamp> {
    stamps.sort_by_key(|stamp| stamp.range.start);
    stamps
}

/// Patterns stand in this file, so one that does not compile cannot get past the tests.
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn seconds(civil: DateTime, offset_s: i32) -> Option<i64> {
    let utc = civil.checked_sub(i64::from(offset_s).seconds()).ok()?;
    Some(utc.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// Seconds east of UTC of `Z`, `+07:00` or `+0700`.
fn offset(zone: &[u8]) -> Result<i32, ()> {
    let digits: Vec<i32> =
        zone.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| i32::from(byte - b'0')).collect();
    match (zone.first(), digits.as_slice()) {
        (Some(b'Z'), []) => Ok(0),
        (Some(sign), [h1, h2, m1, m2]) => {
            let minutes = (h1 * 10 + h2) * 60 + m1 * 10 + m2;
            Ok(if *sign == b'-' { -minutes * 60 } else { minutes * 60 })
        }
        _ => Err(()),
    }
}

/// The fraction of a second in microseconds; finer digits are cut off.
fn fraction(captures: &Captures<'_>) -> Micros {
    let digits = captures.name("f").map(|digits| digits.as_bytes()).unwrap_or_default();
    (0..6).fold(0, |micros, index| {
        micros * 10 + digits.get(index).map_or(0, |digit| Micros::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::people::iso;

    const DAY_S: i64 = 86_400;

    fn stamps(format: Format) -> Stamps {
        Stamps { format, utc_offset_s: 7 * 3_600, recorded: "2026-11-23T09:30:00+07:00".parse().unwrap() }
    }

    const LINES: [(Format, &str, &str, &str); 10] = [
        (
            Format::Flow,
            r#"{"kind":"flow","ts":1795401060250001,"ts_end":1795401060250002,"src_ip":"::1"}"#,
            "2026-11-23T02:31:00.250001Z",
            r#"{"kind":"flow","ts":1795487461250001,"ts_end":1795487461250002,"src_ip":"::1"}"#,
        ),
        (
            Format::Syslog,
            "Nov 23 09:31:00 web01 sshd[1]: x",
            "2026-11-23T02:31:00.000000Z",
            "Nov 24 02:31:01 web01 sshd[1]: x",
        ),
        (
            Format::Syslog,
            "<38>Nov  9 23:59:59 h p: x",
            "2026-11-09T16:59:59.000000Z",
            "<38>Nov 10 17:00:00 h p: x",
        ),
        (
            Format::Syslog,
            "2026-11-23T09:31:00.123456+07:00 web01 p: x",
            "2026-11-23T02:31:00.123456Z",
            "2026-11-24T09:31:01.123456+07:00 web01 p: x",
        ),
        (
            Format::Syslog,
            "<38>1 2026-12-31T23:59:59Z h p - - - x",
            "2026-12-31T23:59:59.000000Z",
            "<38>1 2027-01-02T00:00:00Z h p - - - x",
        ),
        (
            Format::Auditd,
            "type=SYSCALL msg=audit(1795401060.250:77): a",
            "2026-11-23T02:31:00.250000Z",
            "type=SYSCALL msg=audit(1795487461.250:77): a",
        ),
        (
            Format::Syslog,
            "Nov 23 09:31:00 h kernel: audit: type=1400 audit(1795401060.250:77): a",
            "2026-11-23T02:31:00.000000Z",
            "Nov 24 02:31:01 h kernel: audit: type=1400 audit(1795487461.250:77): a",
        ),
        (
            Format::Web,
            "::1 - - [23/Nov/2026:09:31:00 +0700] \"GET / HTTP/1.1\" 200 5",
            "2026-11-23T02:31:00.000000Z",
            "::1 - - [24/Nov/2026:09:31:01 +0700] \"GET / HTTP/1.1\" 200 5",
        ),
        (
            Format::Json,
            "{\"n\":1,\"t\":\"2026-11-23 09:31:00.5\",\"u\":\"2026-11-23T02:31:00Z\"}",
            "2026-11-23T02:31:00.500000Z",
            "{\"n\":1,\"t\":\"2026-11-24 02:31:01.5\",\"u\":\"2026-11-24T02:31:01Z\"}",
        ),
        (
            Format::Auto,
            "h - - [23/Nov/2026:09:31:00 -0330] \"x\"",
            "2026-11-23T13:01:00.000000Z",
            "h - - [24/Nov/2026:09:31:01 -0330] \"x\"",
        ),
    ];

    #[test]
    fn reads_and_moves_the_times_of_every_format() {
        for (format, line, time, moved) in LINES {
            let stamps = stamps(format);
            assert_eq!(stamps.time(line.as_bytes()).map(iso).as_deref(), Some(time), "{line}");
            let shifted = stamps.shifted(line.as_bytes(), DAY_S + 1);
            assert_eq!(String::from_utf8(shifted).unwrap(), moved, "{line}");
        }
    }

    #[test]
    fn leaves_a_line_without_a_time_alone() {
        for line in ["", "no time", "Nov 99 99:99:99 h", "audit(:)", "[99/Foo/2026:00:00:00 +0000]"] {
            for format in [Format::Syslog, Format::Auditd, Format::Web, Format::Json, Format::Auto] {
                assert_eq!(stamps(format).time(line.as_bytes()), None, "{line}");
                assert_eq!(stamps(format).shifted(line.as_bytes(), 5), line.as_bytes());
            }
        }
    }

    #[test]
    fn takes_the_year_nearest_to_the_recording() {
        let stamps = |recorded: &str| Stamps {
            format: Format::Syslog,
            utc_offset_s: 0,
            recorded: recorded.parse().unwrap(),
        };
        let time = |stamps: Stamps, line: &str| stamps.time(line.as_bytes()).map(iso).unwrap();
        assert_eq!(
            time(stamps("2026-01-01T00:00:00Z"), "Dec 31 23:59:59 h p: x"),
            "2025-12-31T23:59:59.000000Z"
        );
        assert_eq!(
            time(stamps("2025-12-31T23:59:00Z"), "Jan  1 00:00:01 h p: x"),
            "2026-01-01T00:00:01.000000Z"
        );
        assert_eq!(
            time(stamps("2028-03-01T00:00:00Z"), "Feb 29 00:00:00 h p: x"),
            "2028-02-29T00:00:00.000000Z"
        );
    }

    proptest! {
        #[test]
        fn a_moved_line_has_the_moved_time_and_nothing_else_changes(index in 0..LINES.len(), by_s in -20_000_000_i64..20_000_000) {
            let (format, line, ..) = LINES[index];
            let from = stamps(format);
            let at = from.time(line.as_bytes()).unwrap();
            let moved = from.shifted(line.as_bytes(), by_s);
            prop_assert_eq!(moved.len(), line.len());
            // What was written names no zone but UTC, and was written at another time.
            let recorded = from.recorded.checked_add(by_s.seconds()).unwrap();
            let there = Stamps { utc_offset_s: 0, recorded, ..from };
            prop_assert_eq!(there.time(&moved), Some(at + by_s * MICROS_PER_S));
            let back = Stamps { utc_offset_s: 0, ..from }.shifted(&moved, 0);
            prop_assert_eq!(back, moved);
        }

        #[test]
        fn survives_any_bytes(line in prop::collection::vec(any::<u8>(), 0..120), by_s in any::<i64>()) {
            for format in [Format::Syslog, Format::Auditd, Format::Web, Format::Json, Format::Auto] {
                let _survives = stamps(format).shifted(&line, by_s);
            }
        }
    }
}
