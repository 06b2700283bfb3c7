//! Times as log lines write them, and the decision which time an event gets.
//!
//! Limits: [`TS_PAST_MAX`](crate::TS_PAST_MAX) and [`TS_FUTURE_MAX`](crate::TS_FUTURE_MAX) around the receipt, unless the caller
//! says otherwise. A time without a zone is read with the offset of its source, a date without a year (RFC 3164) gets the
//! latest year in which it does not lie in the future (a line of 31 December read on 1 January; one of 1 January that was read on
//! 31 December by a clock that is behind). What names no day that exists (30 February) is no time. Fractions are read to the
//! microsecond, further digits are cut.

use std::num::Wrapping;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while_m_n};
use nom::character::complete::{char, one_of};
use nom::combinator::{map_opt, opt, value};
use nom::error::{ErrorKind, make_error};
use nom::sequence::preceded;
use nom::{IResult, Parser};

use crate::{Micros, TsQuality};

const SECOND: Micros = 1_000_000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time as a line states it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stamp {
    /// With its zone.
    Zoned(Micros),
    /// Without a zone, perhaps without a year.
    Local { year: Option<i64>, month: i64, day: i64, clock: Micros },
}

/// What is known about a record's time from outside the record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) receipt: Micros,
    pub(super) utc_offset_s: i32,
    /// How far before and after the receipt an event's own time is believed.
    pub(super) past: Micros,
    pub(super) future: Micros,
}

impl Stamp {
    /// A time that is in UTC where it says no zone.
    pub(super) fn in_utc(self) -> Option<Self> {
        match self {
            Self::Local { year: Some(year), month, day, clock } => {
                micros(year, month, day, clock).map(Self::Zoned)
            }
            zoned => Some(zoned),
        }
    }
}

impl Clock {
    pub(super) fn resolve(&self, stamp: Option<Stamp>) -> (Micros, TsQuality) {
        let (ts, quality) = match stamp {
            None => return (self.receipt, TsQuality::Received),
            Some(Stamp::Zoned(ts)) => (ts, TsQuality::Event),
            Some(Stamp::Local { year, month, day, clock }) => match self.localise(year, month, day, clock) {
                None => return (self.receipt, TsQuality::Received),
                Some(ts) => (ts, TsQuality::Assumed),
            },
        };
        let sane = self.receipt.saturating_sub(self.past)..=self.receipt.saturating_add(self.future);
        if sane.contains(&ts) { (ts, quality) } else { (self.receipt, TsQuality::Clamped) }
    }

    fn localise(&self, year: Option<i64>, month: i64, day: i64, clock: Micros) -> Option<Micros> {
        let offset = Micros::from(self.utc_offset_s).saturating_mul(SECOND);
        let at = |year| Some(micros(year, month, day, clock)?.saturating_sub(offset));
        if let Some(year) = year {
            return at(year);
        }
        let this = year_of(self.receipt.saturating_add(offset));
        let latest = self.receipt.saturating_add(crate::TS_FUTURE_MAX);
        let years = [this.saturating_add(1), this, this.saturating_sub(1)];
        years.into_iter().filter_map(at).find(|ts| *ts <= latest)
    }
}

/// RFC 3339, also with a space for the T, with a zone without colon, or without zone.
pub(super) fn rfc3339(input: &str) -> IResult<&str, Stamp> {
    let (input, (year, _, month, _, day, _)) =
        (digits(4, 4), char('-'), digits(2, 2), char('-'), digits(2, 2), one_of("Tt ")).parse(input)?;
    let (input, clock) = clock_of_day(input)?;
    let (input, zone) = opt(zone).parse(input)?;
    stamp(input, Some(year), month, day, clock, zone)
}

/// RFC 3164: `Nov  3 09:15:07`, also with a year behind the day, also with a fraction.
pub(super) fn rfc3164(input: &str) -> IResult<&str, Stamp> {
    let (input, month) = month(input)?;
    let (input, day) = preceded(take_while(|c| c == ' '), digits(1, 2)).parse(input)?;
    let (input, year) = opt(preceded(char(' '), year_before_space)).parse(input)?;
    let (input, clock) = preceded(char(' '), clock_of_day).parse(input)?;
    stamp(input, year, month, day, clock, None)
}

/// Common log format: `23/Nov/2026:09:15:07 +0700`.
pub(super) fn common_log(input: &str) -> IResult<&str, Stamp> {
    let (input, (day, _, month, _, year, _)) =
        (digits(1, 2), char('/'), month, char('/'), digits(4, 4), char(':')).parse(input)?;
    let (input, clock) = clock_of_day(input)?;
    let (input, zone) = opt(preceded(char(' '), zone)).parse(input)?;
    stamp(input, Some(year), month, day, clock, zone)
}

/// Apache's error log: `Mon Nov 23 09:15:07.120394 2026`.
pub(super) fn apache_error(input: &str) -> IResult<&str, Stamp> {
    let (input, _) = (take_while_m_n(3, 3, |c: char| c.is_ascii_alphabetic()), char(' ')).parse(input)?;
    let (input, (month, _, day)) = (month, take_while(|c| c == ' '), digits(1, 2)).parse(input)?;
    let (input, clock) = preceded(char(' '), clock_of_day).parse(input)?;
    let (input, year) = preceded(char(' '), digits(4, 4)).parse(input)?;
    stamp(input, Some(year), month, day, clock, None)
}

/// nginx' error log: `2026/11/23 09:15:07`.
pub(super) fn nginx_error(input: &str) -> IResult<&str, Stamp> {
    let (input, (year, _, month, _, day, _)) =
        (digits(4, 4), char('/'), digits(2, 2), char('/'), digits(2, 2), char(' ')).parse(input)?;
    let (input, clock) = clock_of_day(input)?;
    stamp(input, Some(year), month, day, clock, None)
}

/// Seconds since 1970 with a fraction: `1732327507.120`.
pub(super) fn epoch(input: &str) -> IResult<&str, Stamp> {
    let (input, seconds) = digits(1, 12).parse(input)?;
    let (input, fraction) = fraction(input)?;
    Ok((input, Stamp::Zoned(seconds.saturating_mul(SECOND).saturating_add(fraction))))
}

/// A number since 1970 whose unit its size tells: seconds, milliseconds, microseconds or nanoseconds. Each range holds the
/// years 1973 to 5138, so that none is ambiguous for a log; a smaller number is no time.
pub(super) fn epoch_by_size(number: i64) -> Option<Stamp> {
    let micros = match number.unsigned_abs() {
        0..100_000_000 => return None,
        100_000_000..100_000_000_000 => number.saturating_mul(SECOND),
        100_000_000_000..100_000_000_000_000 => number.saturating_mul(1000),
        100_000_000_000_000..100_000_000_000_000_000 => number,
        _ => number.wrapping_div(1000),
    };
    Some(Stamp::Zoned(micros))
}

/// The same of a number with a fraction, to the microsecond.
pub(super) fn epoch_by_size_with_fraction(number: f64) -> Option<Stamp> {
    let text = format!("{number:.6}");
    let (whole, millionths) = text.split_once('.')?;
    let (whole, millionths): (i64, i64) = (whole.parse().ok()?, millionths.parse().ok()?);
    let Stamp::Zoned(micros) = epoch_by_size(whole)? else { return None };
    let fraction = match whole {
        ..100_000_000_000 => millionths,
        100_000_000_000..100_000_000_000_000 => millionths.wrapping_div(1000),
        _ => 0,
    };
    Some(Stamp::Zoned(micros.saturating_add(fraction)))
}

/// A time that a value of its own states: RFC 3339 or common log format. A zone may stand apart, be hours alone, or be named
/// where it is UTC, as databases and `evtx_dump` write it (`2026-11-23 09:15:07.120 +07`, `2026-11-23 02:15:07 UTC`).
pub(super) fn whole(text: &str) -> Option<Stamp> {
    let (rest, stamp) = rfc3339(text).or_else(|_| common_log(text)).ok()?;
    let Stamp::Local { year: Some(year), month, day, clock } = stamp else { return Some(stamp) };
    let utc = value(0, alt((tag("UTC"), tag("GMT"))));
    let zone = preceded(opt(char(' ')), alt((utc, zone, hours_east))).parse(rest).ok();
    let Some((_, zone)) = zone else { return Some(stamp) };
    Some(Stamp::Zoned(micros(year, month, day, clock)?.saturating_sub(zone)))
}

fn stamp(
    input: &str,
    year: Option<i64>,
    month: i64,
    day: i64,
    clock: Micros,
    zone: Option<Micros>,
) -> IResult<&str, Stamp> {
    let local = Stamp::Local { year, month, day, clock };
    let (Some(zone), Some(year)) = (zone, year) else {
        return Ok((input, local));
    };
    map_opt(tag(""), |_| Some(Stamp::Zoned(micros(year, month, day, clock)?.saturating_sub(zone))))
        .parse(input)
}

/// At least `min` digits, of which it takes `max`, at most 18.
fn digits<'t>(
    min: usize,
    max: usize,
) -> impl Parser<&'t str, Output = i64, Error = nom::error::Error<&'t str>> {
    move |input: &'t str| match split_digits(input, max) {
        Some((digits, rest)) if digits.len() >= min => Ok((rest, number(digits.bytes()))),
        _ => Err(nom::Err::Error(make_error(input, ErrorKind::Digit))),
    }
}

/// The digits that a text begins with, at most `max` of them, and what is behind.
fn split_digits(text: &str, max: usize) -> Option<(&str, &str)> {
    text.split_at_checked(text.bytes().take(max).take_while(u8::is_ascii_digit).count())
}

fn number(digits: impl Iterator<Item = u8>) -> i64 {
    digits.fold(0, |number: i64, digit| number.wrapping_mul(10).wrapping_add(digit.wrapping_sub(b'0').into()))
}

fn month(input: &str) -> IResult<&str, i64> {
    map_opt(take_while_m_n(3, 3, |c: char| c.is_ascii_alphabetic()), |name| {
        (1_i64..).zip(MONTHS).find(|(_, month)| *month == name).map(|(number, _)| number)
    })
    .parse(input)
}

/// Four digits that are followed by a space: `2026 09:15:07`, and not the hour.
fn year_before_space(input: &str) -> IResult<&str, i64> {
    let (rest, year) = digits(4, 4).parse(input)?;
    let (_, _) = char(' ').parse(rest)?;
    Ok((rest, year))
}

/// `hh:mm:ss`, with a fraction or without, as microseconds of the day.
fn clock_of_day(input: &str) -> IResult<&str, Micros> {
    let (input, seconds) =
        map_opt((digits(2, 2), char(':'), digits(2, 2), char(':'), digits(2, 2)), |parts| {
            let (hour, _, minute, _, second) = parts;
            // Second 60 is a leap second; it counts as the first of the next minute.
            (hour < 24 && minute < 60 && second <= 60).then(|| {
                (Wrapping(hour) * Wrapping(3600) + Wrapping(minute) * Wrapping(60) + Wrapping(second)).0
            })
        })
        .parse(input)?;
    let (input, fraction) = fraction(input)?;
    Ok((input, seconds.saturating_mul(SECOND).saturating_add(fraction)))
}

/// `.120394` or `,120` as microseconds; nothing is zero.
fn fraction(input: &str) -> IResult<&str, Micros> {
    let digits = input.strip_prefix(['.', ',']).and_then(|digits| split_digits(digits, 18));
    let Some((digits, rest)) = digits.filter(|(digits, _)| !digits.is_empty()) else { return Ok((input, 0)) };
    Ok((rest, number(digits.bytes().chain(std::iter::repeat(b'0')).take(6))))
}

/// `Z`, `+07:00` or `+0700`, as microseconds east of Greenwich.
fn zone(input: &str) -> IResult<&str, Micros> {
    let offset = map_opt((one_of("+-"), digits(2, 2), opt(char(':')), digits(2, 2)), |parts| {
        let (sign, hours, _, minutes) = parts;
        let seconds = Wrapping(hours) * Wrapping(3600) + Wrapping(minutes) * Wrapping(60);
        (hours < 24 && minutes < 60)
            .then(|| if sign == '-' { -seconds } else { seconds }.0.saturating_mul(SECOND))
    });
    alt((value(0, one_of("Zz")), offset)).parse(input)
}

/// `+07`, as microseconds east of Greenwich.
fn hours_east(input: &str) -> IResult<&str, Micros> {
    let (rest, (sign, hours)) = (one_of("+-"), digits(2, 2)).parse(input)?;
    let east = hours.saturating_mul(3600 * SECOND);
    Ok((rest, if sign == '-' { east.saturating_neg() } else { east }))
}

/// Microseconds since 1970 of a day that exists.
fn micros(year: i64, month: i64, day: i64, clock: Micros) -> Option<Micros> {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let longest = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=longest).contains(&day) {
        return None;
    }
    Some(days(year, month, day).saturating_mul(86_400 * SECOND).saturating_add(clock))
}

/// Days since 1970-01-01 of a date in the Gregorian calendar. The year is taken to begin in March, so that the leap day
/// is its last; months then have 153 days in every five.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month <= 2 {
        (Wrapping(year) - Wrapping(1), month.wrapping_add(9))
    } else {
        (Wrapping(year), month.wrapping_sub(3))
    };
    let century = Wrapping(year.0.div_euclid(100));
    let day_of_year = Wrapping((Wrapping(month) * Wrapping(153) + Wrapping(2)).0.div_euclid(5))
        + Wrapping(day)
        - Wrapping(1);
    let leap_days = Wrapping(year.0.div_euclid(4)) - century + Wrapping(century.0.div_euclid(4));
    // 719,468 days lie between 1 March of the year 0 and 1 January 1970.
    (year * Wrapping(365) + leap_days + day_of_year - Wrapping(719_468)).0
}

fn year_of(ts: Micros) -> i64 {
    year_of_day(ts.div_euclid(86_400 * SECOND))
}

fn year_of_day(day: i64) -> i64 {
    // 400 years have 146,097 days; the guess is at most one year off.
    let guess = day.saturating_mul(400).div_euclid(146_097).saturating_add(1970);
    [guess.saturating_add(1), guess]
        .into_iter()
        .find(|year| days(*year, 1, 1) <= day)
        .unwrap_or(guess.saturating_sub(1))
}

/// Writes a time of Windows (ticks of 100 ns since 1601) as Windows does, with seven digits: no digit is lost.
pub(super) fn push_filetime(out: &mut Vec<u8>, ticks: u64) {
    const SECOND: u64 = 10_000_000;
    let seconds = ticks.div_euclid(SECOND);
    // 134,774 days lie between 1601 and 1970.
    let day = i64::try_from(seconds.div_euclid(86_400)).unwrap_or_default().saturating_sub(134_774);
    let year = year_of_day(day);
    let month = month_of_day(year, day);
    let day_of_month = day.saturating_sub(days(year, month, 1)).saturating_add(1);
    let (hour, minute) = (seconds.div_euclid(3_600).rem_euclid(24), seconds.div_euclid(60).rem_euclid(60));
    let (second, fraction) = (seconds.rem_euclid(60), ticks.rem_euclid(SECOND));
    super::text::push_digits(out, u64::try_from(year).unwrap_or_default(), 4);
    let mut behind_year = *b"-00-00T00:00:00.0000000Z";
    let numbers = [
        (1..3, u64::try_from(month).unwrap_or_default()),
        (4..6, u64::try_from(day_of_month).unwrap_or_default()),
        (7..9, hour),
        (10..12, minute),
        (13..15, second),
        (16..23, fraction),
    ];
    for (place, number) in numbers {
        put_digits(behind_year.get_mut(place).unwrap_or_default(), number);
    }
    out.extend_from_slice(&behind_year);
}

fn month_of_day(year: i64, day: i64) -> i64 {
    // No month is longer: the guess is at most one month too early.
    let guess = day.saturating_sub(days(year, 1, 1)).div_euclid(31).saturating_add(1);
    let next = guess.saturating_add(1);
    if next <= 12 && days(year, next, 1) <= day { next } else { guess }
}

/// The last digits of a number, as many as there is room for.
fn put_digits(out: &mut [u8], number: u64) {
    let mut rest = number;
    for digit in out.iter_mut().rev() {
        *digit = b'0' | u8::try_from(rest.rem_euclid(10)).unwrap_or_default();
        rest = rest.div_euclid(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T02:15:07Z
    const RECEIPT: Micros = 1_795_400_107 * SECOND;

    fn clock(utc_offset_s: i32) -> Clock {
        Clock { receipt: RECEIPT, utc_offset_s, past: crate::TS_PAST_MAX, future: crate::TS_FUTURE_MAX }
    }

    fn resolve(parsed: IResult<&str, Stamp>) -> (Micros, TsQuality) {
        let (ts, quality) = clock(7 * 3600).resolve(Some(parsed.unwrap().1));
        (ts - RECEIPT, quality)
    }

    #[test]
    fn reads_the_same_time_in_every_form() {
        for parsed in [
            rfc3339("2026-11-23T02:15:07Z"),
            rfc3339("2026-11-23T09:15:07.000000+07:00"),
            rfc3339("2026-11-22 21:15:07-0500"),
            common_log("23/Nov/2026:09:15:07 +0700"),
            epoch("1795400107.000"),
        ] {
            assert_eq!(resolve(parsed), (0, TsQuality::Event));
        }
        for parsed in [
            rfc3164("Nov 23 09:15:07"),
            rfc3164("Nov 23 2026 09:15:07"),
            rfc3339("2026-11-23 09:15:07"),
            apache_error("Mon Nov 23 09:15:07.000000 2026"),
            nginx_error("2026/11/23 09:15:07"),
        ] {
            assert_eq!(resolve(parsed), (0, TsQuality::Assumed));
        }
        assert_eq!(resolve(rfc3339("2026-11-23T02:15:07.1203949Z")).0, 120_394);
        for number in [1_795_400_107, 1_795_400_107_000, 1_795_400_107_000_000, 1_795_400_107_000_000_000] {
            assert_eq!(epoch_by_size(number), Some(Stamp::Zoned(RECEIPT)));
        }
        for number in [1_795_400_107.120_5, 1_795_400_107_120.5, 1_795_400_107_120_500.5] {
            let read = epoch_by_size_with_fraction(number);
            assert_eq!(read, Some(Stamp::Zoned(RECEIPT + 120_500)), "{number}");
        }
        for number in [0.5, -7.25, f64::NAN] {
            assert_eq!(epoch_by_size_with_fraction(number), None, "{number}");
        }
    }

    #[test]
    fn reads_a_zone_that_stands_apart_or_is_hours_alone() {
        for text in [
            "2026-11-23 02:15:07 UTC",
            "2026-11-23T02:15:07.000 GMT",
            "2026-11-23 09:15:07+07",
            "2026-11-23 09:15:07.000 +07",
            "2026-11-22 21:15:07 -0500 EST",
            "23/Nov/2026:09:15:07 +0700",
        ] {
            assert_eq!(whole(text), Some(Stamp::Zoned(RECEIPT)), "{text}");
        }
        for text in ["2026-11-23 09:15:07", "2026-11-23 09:15:07 ICT", "2026-11-23 09:15:07 +7"] {
            assert!(matches!(whole(text), Some(Stamp::Local { .. })), "{text}");
        }
        assert_eq!(whole("2026-11-31 02:15:07 UTC"), None);
    }

    #[test]
    fn writes_times_of_windows_with_all_digits() {
        let written = |ticks| {
            let mut out = Vec::new();
            push_filetime(&mut out, ticks);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(0), "1601-01-01T00:00:00.0000000Z");
        assert_eq!(written(116_444_736_000_000_000), "1970-01-01T00:00:00.0000000Z");
        assert_eq!(written(134_246_185_071_204_321), "2026-05-30T12:41:47.1204321Z");
        assert_eq!(written(133_536_671_999_999_999), "2024-02-29T07:59:59.9999999Z");
        assert!(written(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn rejects_times_that_do_not_exist() {
        for text in
            ["2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z"]
        {
            assert!(rfc3339(text).is_err(), "{text}");
        }
        assert_eq!(resolve(rfc3164("Feb 30 00:00:00")), (0, TsQuality::Received));
    }

    #[test]
    fn reads_times_within_the_limits_and_clamps_one_microsecond_more() {
        let at = |ts| clock(0).resolve(Some(Stamp::Zoned(ts)));
        let (first, last) = (RECEIPT - crate::TS_PAST_MAX, RECEIPT + crate::TS_FUTURE_MAX);
        assert_eq!(at(first), (first, TsQuality::Event));
        assert_eq!(at(last), (last, TsQuality::Event));
        assert_eq!(at(first - 1), (RECEIPT, TsQuality::Clamped));
        assert_eq!(at(last + 1), (RECEIPT, TsQuality::Clamped));
    }

    #[test]
    fn reads_a_line_of_the_old_year_in_the_new_one() {
        let new_year = days(2027, 1, 1) * 86_400 * SECOND;
        let clock = Clock { receipt: new_year + SECOND, ..clock(0) };
        let old = clock.resolve(Some(rfc3164("Dec 31 23:59:59").unwrap().1));
        assert_eq!(old, (new_year - SECOND, TsQuality::Assumed));
        let behind = Clock { receipt: new_year - SECOND, ..clock };
        let first = behind.resolve(Some(rfc3164("Jan  1 00:00:02").unwrap().1));
        assert_eq!(first, (new_year + 2 * SECOND, TsQuality::Assumed), "a clock that is 3 s behind");
        let ahead = clock.resolve(Some(rfc3164("Jan  1 00:05:00").unwrap().1));
        assert_eq!(ahead, (new_year + 300 * SECOND, TsQuality::Assumed));
    }

    #[test]
    fn days_and_years_agree_over_eight_centuries() {
        let mut day = days(1600, 1, 1);
        for year in 1600..2400 {
            assert_eq!(days(year, 1, 1), day);
            let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            let length = if leap { 366 } else { 365 };
            assert_eq!(year_of(day * 86_400 * SECOND), year);
            assert_eq!(year_of((day + length) * 86_400 * SECOND - 1), year);
            day += length;
        }
        assert_eq!(days(1970, 1, 1), 0);
    }

    #[test]
    fn every_day_is_of_its_month() {
        for year in 1600..2400 {
            for month in 1..=12 {
                let next = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
                for day in days(year, month, 1)..next {
                    assert_eq!((year_of_day(day), month_of_day(year, day)), (year, month));
                }
            }
        }
    }
}
