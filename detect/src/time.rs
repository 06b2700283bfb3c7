//! Sigma's time modifiers: a number out of a date.
//!
//! The specification: "it extracts a numeric value from a date ... It is not designed to handle timezone or format
//! conversions". So a written date gives the numbers that are written, whatever its zone; a number is seconds, milliseconds
//! or microseconds since 1970 by its size, in UTC. Weeks are those of ISO 8601.

use event::Value;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A part of a date.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TimePart {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// Numbers from here on are milliseconds, not seconds: the year 5138 in the one, March 1973 in the other.
const MILLISECONDS_FROM: u64 = 100_000_000_000;
/// ... and from here on microseconds.
const MICROSECONDS_FROM: u64 = 100_000_000_000_000;

/// The part of a date that a value is; `None` when it is none.
pub(crate) fn part(value: &Value<'_>, part: TimePart) -> Option<i64> {
    let date = match value {
        Value::Text(text) => written(text)?,
        Value::Int(int) => counted(*int)?,
        _ => return None,
    };
    Some(match part {
        TimePart::Minute => date.minute().into(),
        TimePart::Hour => date.hour().into(),
        TimePart::Day => date.day().into(),
        TimePart::Week => date.date().iso_week_date().week().into(),
        TimePart::Month => date.month().into(),
        TimePart::Year => date.year().into(),
    })
}

/// `2026-01-15T10:58:38.756+07:00`, with a blank for the `T`, without the zone, or the date alone.
fn written(text: &str) -> Option<DateTime> {
    let text = text.trim();
    let zone = text.get(10..).and_then(|time| time.find(['Z', 'z', '+', '-']));
    let local = match zone {
        Some(at) => text.get(..at.checked_add(10)?)?.trim_end(),
        None => text,
    };
    local.parse().ok()
}

fn counted(number: i64) -> Option<DateTime> {
    let timestamp = match number.unsigned_abs() {
        size if size < MILLISECONDS_FROM => Timestamp::from_second(number),
        size if size < MICROSECONDS_FROM => Timestamp::from_millisecond(number),
        _ => Timestamp::from_microsecond(number),
    };
    Some(TimeZone::UTC.to_datetime(timestamp.ok()?))
}
