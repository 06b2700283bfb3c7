//! Times as people type and read them. Local zone unless UTC is asked for; ISO 8601 in UTC for machines.

use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use event::Micros;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::clock::zone;

pub(crate) const MICROS_PER_S: Micros = 1_000_000;

/// Farthest from UTC that any place is: +14:00.
const OFFSET_S_MAX: i32 = 14 * 3_600;

/// What may be typed, for help texts and errors.
pub(crate) const ACCEPTED: &str =
    "30s, 15m, 6h, 2d or 1w (ago), now, today, yesterday, 2026-08-19, 2026-08-19T14:30[:05][Z or +07:00]";

/// A time as it was typed; what it means depends on the zone and on now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum When {
    Ago(Micros),
    /// Midnight of today (0), yesterday (1).
    DaysBack(i64),
    Civil(DateTime),
    Instant(Timestamp),
}

impl FromStr for When {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        match text {
            "now" => return Ok(Self::Ago(0)),
            "today" => return Ok(Self::DaysBack(0)),
            "yesterday" => return Ok(Self::DaysBack(1)),
            _ => {}
        }
        ago(text)
            .or_else(|| text.parse().ok().map(Self::Instant))
            .or_else(|| text.parse().ok().map(Self::Civil))
            .or_else(|| text.parse::<Date>().ok().map(|date| Self::Civil(date.at(0, 0, 0, 0))))
            .ok_or_else(|| anyhow!("{text:?} is no time; expected {ACCEPTED}"))
    }
}

impl When {
    pub(crate) fn resolve(&self, zone: &TimeZone, now: Timestamp) -> Result<Micros> {
        let timestamp = match self {
            Self::Ago(micros) => return Ok(now.as_microsecond().saturating_sub(*micros)),
            Self::Instant(timestamp) => *timestamp,
            Self::Civil(civil) => civil.to_zoned(zone.clone())?.timestamp(),
            Self::DaysBack(days) => {
                let today = now.to_zoned(zone.clone()).start_of_day()?;
                today.checked_sub(Span::new().days(*days))?.timestamp()
            }
        };
        Ok(timestamp.as_microsecond())
    }
}

/// `90s`, `15m`, `6h`, `2d`, `1w`.
fn ago(text: &str) -> Option<When> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let number: Micros = text[..text.len() - unit.len_utf8()].parse().ok().filter(|number| *number >= 0)?;
    number.checked_mul(seconds)?.checked_mul(MICROS_PER_S).map(When::Ago)
}

/// The zone in which times are read and shown, and the moment of the command.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    pub(crate) zone: TimeZone,
    pub(crate) now: Timestamp,
}

impl Clock {
    pub(crate) fn new(utc: bool) -> Self {
        let zone = if utc { TimeZone::UTC } else { zone() };
        Self { zone, now: Timestamp::now() }
    }

    pub(crate) fn resolve(&self, when: &When) -> Result<Micros> {
        when.resolve(&self.zone, self.now).with_context(|| format!("{when:?} in this time zone"))
    }

    /// `2026-08-19 14:30:05` in this zone.
    pub(crate) fn shown(&self, micros: Micros) -> String {
        self.format(micros, "%Y-%m-%d %H:%M:%S")
    }

    /// The same with milliseconds, where the order of events matters.
    pub(crate) fn shown_ms(&self, micros: Micros) -> String {
        self.format(micros, "%Y-%m-%d %H:%M:%S%.3f")
    }

    /// `19/08/2026 14:30`: as Vietnamese write a moment, and nobody misreads it.
    pub(crate) fn minute(&self, micros: Micros) -> String {
        self.format(micros, "%d/%m/%Y %H:%M")
    }

    /// The zone as a heading names it: `UTC`, `+07`.
    pub(crate) fn zone_name(&self) -> String {
        self.now.to_zoned(self.zone.clone()).strftime("%Z").to_string()
    }

    /// How long ago, roughly: `12 s ago`, `3 h ago`.
    pub(crate) fn age(&self, micros: Micros) -> String {
        let passed = self.now.as_microsecond().saturating_sub(micros);
        if passed < 0 { "in the future".to_owned() } else { format!("{} ago", roughly(passed)) }
    }

    /// How long until then, roughly: `in 12 min`, `late by 3 h`.
    pub(crate) fn until(&self, micros: Micros) -> String {
        let left = micros.saturating_sub(self.now.as_microsecond());
        if left < 0 { format!("late by {}", roughly(-left)) } else { format!("in {}", roughly(left)) }
    }

    fn format(&self, micros: Micros, format: &str) -> String {
        match Timestamp::from_microsecond(micros) {
            Ok(timestamp) => timestamp.to_zoned(self.zone.clone()).strftime(format).to_string(),
            Err(_) => format!("{micros} µs"),
        }
    }
}

/// A length of time that is not negative, with one unit, of which it says the nearest number: what is due in three days is due
/// in three days a moment later, too.
fn roughly(micros: Micros) -> String {
    let nearest = |unit_s: Micros| {
        let unit = unit_s.saturating_mul(MICROS_PER_S);
        micros.saturating_add(unit / 2).checked_div(unit).unwrap_or_default()
    };
    match (nearest(1), nearest(60), nearest(3_600)) {
        (seconds @ ..120, _, _) => format!("{seconds} s"),
        (_, minutes @ ..120, _) => format!("{minutes} min"),
        (_, _, hours @ ..48) => format!("{hours} h"),
        _ => format!("{} days", nearest(86_400)),
    }
}

/// `2026-08-19T07:30:05.123456Z`.
pub(crate) fn iso(micros: Micros) -> String {
    Timestamp::from_microsecond(micros)
        .map_or_else(|_| format!("{micros}"), |timestamp| format!("{timestamp:.6}"))
}

/// A day as it is typed.
pub(crate) fn day(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| format!("a day YYYY-MM-DD is expected, found {text:?}"))
}

/// `+07:00` in seconds.
pub(crate) fn offset_s(text: &str) -> Result<i32> {
    let parsed = jiff::fmt::temporal::DateTimeParser::new()
        .parse_time_zone(text)
        .ok()
        .and_then(|zone| zone.to_fixed_offset().ok());
    let seconds = parsed.map(jiff::tz::Offset::seconds).filter(|seconds| seconds.abs() <= OFFSET_S_MAX);
    seconds.with_context(|| format!("expected an offset like +07:00, of at most 14 hours, found {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_places() {
        assert_eq!(offset_s("+07:00").unwrap(), 7 * 3_600);
        assert_eq!((offset_s("-14:00").unwrap(), offset_s("+14:00").unwrap()), (-OFFSET_S_MAX, OFFSET_S_MAX));
        for wrong in ["+14:01", "-25:00", "7", "Asia/Ho_Chi_Minh"] {
            assert!(offset_s(wrong).is_err(), "{wrong}");
        }
    }

    fn resolve(text: &str) -> String {
        let zone = TimeZone::fixed(jiff::tz::offset(7));
        let now = "2026-08-19T20:00:00Z".parse().unwrap();
        iso(text.parse::<When>().unwrap().resolve(&zone, now).unwrap())
    }

    #[test]
    fn reads_times_in_the_zone_of_the_reader() {
        for (text, expected) in [
            ("now", "2026-08-19T20:00:00.000000Z"),
            ("30m", "2026-08-19T19:30:00.000000Z"),
            ("1w", "2026-08-12T20:00:00.000000Z"),
            ("today", "2026-08-19T17:00:00.000000Z"),
            ("yesterday", "2026-08-18T17:00:00.000000Z"),
            ("2026-08-19", "2026-08-18T17:00:00.000000Z"),
            ("2026-08-19T14:30", "2026-08-19T07:30:00.000000Z"),
            ("2026-08-19 14:30:05", "2026-08-19T07:30:05.000000Z"),
            ("2026-08-19T14:30:05.25Z", "2026-08-19T14:30:05.250000Z"),
            ("2026-08-19T14:30:05+07:00", "2026-08-19T07:30:05.000000Z"),
        ] {
            assert_eq!(resolve(text), expected, "{text}");
        }
    }

    #[test]
    fn rejects_what_is_no_time() {
        for text in ["", "h", "-1h", "1y", "2026-13-01", "99999999999999999999d", "9223372036854775807w", "đ"]
        {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
    }

    #[test]
    fn shows_times_in_the_zone() {
        let clock = Clock {
            zone: TimeZone::fixed(jiff::tz::offset(7)),
            now: "2026-08-19T20:00:00Z".parse().unwrap(),
        };
        let micros = "2026-08-19T07:30:05.123456Z".parse::<Timestamp>().unwrap().as_microsecond();
        assert_eq!(clock.shown(micros), "2026-08-19 14:30:05");
        assert_eq!(clock.shown_ms(micros), "2026-08-19 14:30:05.123");
        assert_eq!(clock.zone_name(), "+07");
        assert_eq!(clock.age(micros), "12 h ago");
        assert_eq!(clock.until(micros), "late by 12 h");
        assert_eq!(iso(micros), "2026-08-19T07:30:05.123456Z");
    }

    #[test]
    fn says_the_nearest_number_of_one_unit() {
        let s = MICROS_PER_S;
        for (micros, expected) in [
            (0, "0 s"),
            (119 * s, "119 s"),
            (120 * s - 1, "2 min"),
            (899 * s, "15 min"),
            (7_200 * s - 1, "2 h"),
            (2 * 86_400 * s - 1, "2 days"),
            (3 * 86_400 * s, "3 days"),
            (3 * 86_400 * s - 5 * s, "3 days"),
            (60 * 3_600 * s - 1, "2 days"),
        ] {
            assert_eq!(roughly(micros), expected, "{micros}");
        }
    }
}
