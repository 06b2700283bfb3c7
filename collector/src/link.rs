//! How full the lines of sites are: the 95th percentile of five-minute samples, day by day and each direction by itself.
//!
//! The rule is that of TT 06/2026/TT-BKHCN for the state's network, which holds a line for too small when the percentile stays
//! above 90 % of what the line carries for seven days in a row. A sample without traffic counts as zero, so a day always has
//! as many samples as it has five minutes: 288, but for days on which clocks change.
//!
//! What this never does: guess. A day of which nothing was seen at all is no quiet day, and ends a row.

use std::collections::BTreeMap;

use event::Micros;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

/// Seconds of a sample.
const SAMPLE_S: i32 = 300;
/// The same in microseconds.
pub(crate) const SAMPLE: Micros = SAMPLE_S as Micros * 1_000_000;
/// Of a hundred samples so many are not above the figure.
const PERCENTILE: usize = 95;
/// Above this share of its capacity a line is full ...
const FULL_PERCENT: f64 = 90.0;
/// ... and when it was so for this many days in a row, too small.
const DAYS_IN_A_ROW: usize = 7;
const BITS_PER_MBIT: f64 = 1e6;

/// Bytes that a line carried in one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) sent: f64,
    pub(crate) received: f64,
}

/// A day of a line, in Mbit/s: of its samples the 95th percentile, each direction by itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Day {
    pub(crate) date: Date,
    pub(crate) sent: f64,
    pub(crate) received: f64,
    /// The fuller direction, in percent of the capacity.
    pub(crate) percent: f64,
    /// Samples in which something was carried; none: nothing is known of the day.
    pub(crate) samples: usize,
}

/// How a line does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Nothing was seen.
    #[default]
    Unknown,
    Well,
    /// Full on the last day.
    Full,
    /// Full for seven days in a row.
    TooSmall,
}

/// The days from `first` to the one before `end`. `samples` by the microsecond at which they begin.
pub(crate) fn days(
    samples: &BTreeMap<Micros, Sample>,
    mbps: f64,
    zone: &TimeZone,
    first: Date,
    end: Date,
) -> Result<Vec<Day>, jiff::Error> {
    let mut days = Vec::new();
    let mut date = first;
    while date < end {
        let (from, to) = (midnight(date, zone)?, midnight(date.tomorrow()?, zone)?);
        days.push(day(date, samples.range(from..to).map(|(_, sample)| *sample), to - from, mbps));
        date = date.tomorrow()?;
    }
    Ok(days)
}

/// When a day begins.
pub(crate) fn midnight(date: Date, zone: &TimeZone) -> Result<Micros, jiff::Error> {
    Ok(date.to_zoned(zone.clone())?.timestamp().as_microsecond())
}

fn day(date: Date, samples: impl Iterator<Item = Sample>, length: Micros, mbps: f64) -> Day {
    let count = usize::try_from(length / SAMPLE).unwrap_or(0);
    let (sent, received): (Vec<f64>, Vec<f64>) = samples.map(|sample| (sample.sent, sample.received)).unzip();
    let seen = sent.len();
    let (sent, received) = (rate(percentile(sent, count)), rate(percentile(received, count)));
    Day { date, sent, received, percent: sent.max(received) / mbps * 100.0, samples: seen }
}

/// By nearest rank, of `count` values of which those that are not here are zero.
fn percentile(mut values: Vec<f64>, count: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (count * PERCENTILE).div_ceil(100);
    let below = count.saturating_sub(values.len());
    rank.checked_sub(below + 1).and_then(|at| values.get(at)).copied().unwrap_or(0.0)
}

fn rate(bytes: f64) -> f64 {
    bytes * 8.0 / f64::from(SAMPLE_S) / BITS_PER_MBIT
}

impl Day {
    pub(crate) fn is_full(&self) -> bool {
        self.percent > FULL_PERCENT
    }
}

/// How many days in a row a line was full, at the most.
pub(crate) fn full_days(days: &[Day]) -> usize {
    let rows = days.split(|day| !day.is_full()).map(<[Day]>::len);
    rows.max().unwrap_or(0)
}

pub(crate) fn state(days: &[Day]) -> State {
    match days.last() {
        _ if days.iter().all(|day| day.samples == 0) => State::Unknown,
        _ if full_days(days) >= DAYS_IN_A_ROW => State::TooSmall,
        Some(last) if last.is_full() => State::Full,
        _ => State::Well,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    /// Bytes of a sample at so many Mbit/s.
    fn bytes(mbps: f64) -> f64 {
        mbps * BITS_PER_MBIT / 8.0 * 300.0
    }

    /// A day of which so many samples are at `mbps`, from its beginning on.
    fn samples(date: Date, zone: &TimeZone, count: i64, mbps: f64) -> BTreeMap<Micros, Sample> {
        let first = midnight(date, zone).unwrap();
        let sample = Sample { sent: 0.0, received: bytes(mbps) };
        (0..count).map(|number| (first + number * SAMPLE, sample)).collect()
    }

    #[test]
    fn five_of_a_hundred_samples_may_be_above() {
        let (zone, day) = (TimeZone::UTC, date(2026, 11, 2));
        // 288 samples: the 274th from below is the figure, so 14 may be above.
        for (count, expected) in [(14, 0.0), (15, 60.0)] {
            let found = days(&samples(day, &zone, count, 60.0), 60.0, &zone, day, date(2026, 11, 3)).unwrap();
            assert_eq!((found[0].received, found[0].sent), (expected, 0.0), "{count}");
            assert_eq!(found[0].samples, usize::try_from(count).unwrap());
        }
    }

    #[test]
    fn a_day_is_the_zones_and_ends_before_the_next_midnight() {
        let zone = TimeZone::fixed(jiff::tz::offset(7));
        let day = date(2026, 11, 2);
        let found =
            days(&samples(day, &zone, 300, 30.0), 60.0, &zone, date(2026, 11, 1), date(2026, 11, 4)).unwrap();
        let seen: Vec<(usize, f64)> = found.iter().map(|day| (day.samples, day.percent)).collect();
        assert_eq!(seen, [(0, 0.0), (288, 50.0), (12, 0.0)]);
    }

    fn row(percents: &[f64]) -> Vec<Day> {
        let day = |percent: &f64| Day {
            date: date(2026, 11, 2),
            sent: 0.0,
            received: 0.0,
            percent: *percent,
            samples: usize::from(*percent > 0.0),
        };
        percents.iter().map(day).collect()
    }

    #[test]
    fn seven_days_in_a_row_above_ninety_percent_are_too_many() {
        assert_eq!(state(&row(&[])), State::Unknown);
        assert_eq!(state(&row(&[0.0, 0.0])), State::Unknown);
        assert_eq!(state(&row(&[95.0, 90.0])), State::Well, "ninety is not above");
        assert_eq!(state(&row(&[90.1])), State::Full);
        assert_eq!(state(&row(&[91.0; 6])), State::Full);
        assert_eq!(state(&row(&[91.0; 7])), State::TooSmall);
        let interrupted = [[91.0; 6].as_slice(), &[90.0], &[91.0; 6], &[10.0]].concat();
        assert_eq!((full_days(&row(&interrupted)), state(&row(&interrupted))), (6, State::Well));
        let once = [[91.0; 7].as_slice(), &[10.0]].concat();
        assert_eq!(state(&row(&once)), State::TooSmall, "it was so within the period");
    }
}
