//! The days that a report is about, and those before them that it is compared with. Pure.

use anyhow::{Result, ensure};
use event::Micros;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};

use crate::level::Lang;
use crate::link::midnight;

/// Five years: the store keeps little that is older.
const DAYS_MAX: i64 = 1_830;

/// How long a report looks back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Length {
    Day,
    /// From Monday on (ISO 8601).
    Week,
    Month,
    /// January to June, July to December.
    HalfYear,
    /// 15 December to 14 December: what the yearly report of levels counts (NĐ 331, Article 35).
    LevelYear,
    /// From a day to another.
    Days,
}

/// From the first day to the one before `end`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Period {
    pub(super) first: Date,
    pub(super) end: Date,
}

impl Length {
    /// The period that a day is in.
    pub(super) fn around(self, day: Date) -> Result<Period> {
        let first = match self {
            Self::Day => day,
            Self::Week => {
                let back = day.weekday().since(Weekday::Monday);
                day.checked_sub(i64::from(back).days())?
            }
            Self::Month => day.first_of_month(),
            Self::HalfYear => Date::new(day.year(), if day.month() <= 6 { 1 } else { 7 }, 1)?,
            Self::LevelYear => {
                let begins = Date::new(day.year(), 12, 15)?;
                if day >= begins { begins } else { Date::new(day.year() - 1, 12, 15)? }
            }
            Self::Days => day,
        };
        Ok(Period { first, end: first.checked_add(self.span())? })
    }

    /// The last period that is over on a day.
    pub(super) fn before(self, day: Date) -> Result<Period> {
        self.around(self.around(day)?.first.yesterday()?)
    }

    fn span(self) -> Span {
        match self {
            Self::Day | Self::Days => 1.day(),
            Self::Week => 1.week(),
            Self::Month => 1.month(),
            Self::HalfYear => 6.months(),
            Self::LevelYear => 1.year(),
        }
    }
}

impl Period {
    /// From a first to a last day.
    pub(super) fn between(first: Date, last: Date) -> Result<Self> {
        ensure!(first <= last, "--since: a day that is not after {last} is expected, found {first}");
        let period = Self { first, end: last.tomorrow()? };
        ensure!(
            period.length() <= DAYS_MAX,
            "--since: at most {DAYS_MAX} days are expected, found {}",
            period.length()
        );
        Ok(period)
    }

    /// As many days as this one has, before it.
    pub(super) fn as_long_before(self) -> Result<Self> {
        Ok(Self { first: self.first.checked_sub(self.length().days())?, end: self.first })
    }

    /// How many days it has.
    pub(super) fn length(self) -> i64 {
        self.first.until(self.end).map_or(0, |span| i64::from(span.get_days()))
    }

    /// When it begins and when it ends.
    pub(super) fn moments(self, zone: &TimeZone) -> Result<(Micros, Micros)> {
        Ok((midnight(self.first, zone)?, midnight(self.end, zone)?))
    }

    pub(super) fn days(self) -> impl Iterator<Item = Date> {
        self.first.series(1.day()).take_while(move |day| *day < self.end)
    }

    pub(super) fn shown(self, lang: Lang) -> String {
        let last = self.end.yesterday().unwrap_or(self.end);
        if last == self.first {
            return shown(self.first);
        }
        format!("{} {} {}", shown(self.first), lang.pick("đến", "to"), shown(last))
    }
}

/// As Vietnamese write a day, and nobody misreads it.
pub(super) fn shown(day: Date) -> String {
    day.strftime("%d/%m/%Y").to_string()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_period_has_its_first_and_its_last_day_and_no_other() {
        for (length, day, first, end) in [
            (Length::Day, date(2026, 11, 26), date(2026, 11, 26), date(2026, 11, 27)),
            (Length::Week, date(2026, 11, 23), date(2026, 11, 23), date(2026, 11, 30)),
            (Length::Week, date(2026, 11, 29), date(2026, 11, 23), date(2026, 11, 30)),
            (Length::Month, date(2028, 2, 29), date(2028, 2, 1), date(2028, 3, 1)),
            (Length::HalfYear, date(2026, 6, 30), date(2026, 1, 1), date(2026, 7, 1)),
            (Length::HalfYear, date(2026, 7, 1), date(2026, 7, 1), date(2027, 1, 1)),
            (Length::LevelYear, date(2026, 12, 14), date(2025, 12, 15), date(2026, 12, 15)),
            (Length::LevelYear, date(2026, 12, 15), date(2026, 12, 15), date(2027, 12, 15)),
        ] {
            assert_eq!(length.around(day).unwrap(), Period { first, end }, "{length:?} {day}");
        }
    }

    #[test]
    fn the_period_before_ends_where_this_one_begins() {
        for length in [Length::Day, Length::Week, Length::Month, Length::HalfYear, Length::LevelYear] {
            for day in [date(2026, 1, 1), date(2026, 3, 31), date(2026, 12, 15), date(2028, 2, 29)] {
                let (this, before) = (length.around(day).unwrap(), length.before(day).unwrap());
                assert_eq!(before.end, this.first, "{length:?} {day}");
                assert_eq!(length.around(before.first).unwrap(), before, "{length:?} {day}");
            }
        }
    }

    #[test]
    fn days_that_are_named_are_compared_with_as_many_before() {
        let period = Period::between(date(2026, 2, 27), date(2026, 3, 2)).unwrap();
        assert_eq!((period.length(), period.days().count()), (4, 4));
        let before = period.as_long_before().unwrap();
        assert_eq!((before.first, before.end), (date(2026, 2, 23), date(2026, 2, 27)));
        assert!(Period::between(date(2026, 3, 2), date(2026, 3, 1)).is_err());
        assert!(Period::between(date(2000, 1, 1), date(2026, 3, 1)).is_err());
    }

    #[test]
    fn a_day_is_the_zones() {
        let period = Length::Day.around(date(2026, 11, 26)).unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(7));
        let (from, to) = period.moments(&zone).unwrap();
        assert_eq!(crate::people::when::iso(from), "2026-11-25T17:00:00.000000Z");
        assert_eq!(to - from, 86_400_000_000);
        assert_eq!(period.days().count(), 1);
        assert_eq!(period.shown(Lang::Vi), "26/11/2026");
        let week = Length::Week.around(date(2026, 11, 26)).unwrap();
        assert_eq!(week.shown(Lang::Vi), "23/11/2026 đến 29/11/2026");
    }
}
