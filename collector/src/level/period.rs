//! How often, how long, how soon: `continuous`, `at_once`, `periodic` (often, and no law says how often), or a number and a unit,
//! `72h`, `45d`, `15wd` (working days), `6m`, `1y`.

use jiff::{Span, ToSpan};
use serde::Deserialize;

use crate::level::Lang;

/// Days of the months of a year that begins with a January; the February of a leap year is the longer one.
const MONTH_DAYS: [u16; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
/// Largest number before a unit: what is longer is a slip.
const NUMBER_MAX: u16 = 999;

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub(crate) enum Period {
    Continuous,
    AtOnce,
    Periodic,
    Hours(u16),
    Days(u16),
    WorkingDays(u16),
    Months(u16),
    Years(u16),
}

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::read(&text).ok_or_else(|| {
            format!(
                "expected continuous, at_once, periodic, or a number of 1 to {NUMBER_MAX} and h, d, wd, m or y, found {text:?}"
            )
        })
    }
}

impl Period {
    fn read(text: &str) -> Option<Self> {
        match text {
            "continuous" => return Some(Self::Continuous),
            "at_once" => return Some(Self::AtOnce),
            "periodic" => return Some(Self::Periodic),
            _ => {}
        }
        let (number, unit) = text.split_at_checked(text.find(|char: char| !char.is_ascii_digit())?)?;
        let number = number.parse().ok().filter(|number| (1..=NUMBER_MAX).contains(number))?;
        match unit {
            "h" => Some(Self::Hours(number)),
            "d" => Some(Self::Days(number)),
            "wd" => Some(Self::WorkingDays(number)),
            "m" => Some(Self::Months(number)),
            "y" => Some(Self::Years(number)),
            _ => None,
        }
    }

    /// Days that a period of the calendar may last, at its longest; none of what is no such period.
    pub(crate) fn days_max(self) -> Option<u16> {
        match self {
            Self::Days(days) => Some(days),
            Self::Months(months) => Some(longest(months)),
            Self::Years(years) => Some(longest(years.saturating_mul(12))),
            Self::Continuous | Self::AtOnce | Self::Periodic | Self::Hours(_) | Self::WorkingDays(_) => None,
        }
    }

    /// What can be added to a moment; none of what has no length, and of working days: no calendar of holidays is known.
    pub(crate) fn span(self) -> Option<Span> {
        match self {
            Self::AtOnce => Some(Span::new()),
            Self::Hours(hours) => Some(i64::from(hours).hours()),
            Self::Days(days) => Some(i64::from(days).days()),
            Self::Months(months) => Some(i64::from(months).months()),
            Self::Years(years) => Some(i64::from(years).years()),
            Self::Continuous | Self::Periodic | Self::WorkingDays(_) => None,
        }
    }

    pub(crate) fn shown(self, lang: Lang) -> String {
        let (number, vi, en) = match self {
            Self::Continuous => return lang.pick("liên tục", "continuously").to_owned(),
            Self::AtOnce => return lang.pick("ngay lập tức", "at once").to_owned(),
            Self::Periodic => {
                let (vi, en) = ("định kỳ, không quy định chu kỳ", "periodically, no interval is set");
                return lang.pick(vi, en).to_owned();
            }
            Self::Hours(number) => (number, "giờ", "hour"),
            Self::Days(number) => (number, "ngày", "day"),
            Self::WorkingDays(number) => (number, "ngày làm việc", "working day"),
            Self::Months(number) => (number, "tháng", "month"),
            Self::Years(number) => (number, "năm", "year"),
        };
        let plural = if number == 1 { "" } else { "s" };
        lang.pick(format!("{number} {vi}"), format!("{number} {en}{plural}"))
    }
}

/// Days of the longest run of so many months. A run of more than four years meets a leap year in each four.
fn longest(months: u16) -> u16 {
    let run = |first: usize| {
        let days = MONTH_DAYS.iter().cycle().skip(first).take(usize::from(months));
        days.fold(0_u16, |sum, days| sum.saturating_add(*days))
    };
    (0..MONTH_DAYS.len()).map(run).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_unit_and_rejects_what_is_none() {
        for (text, expected) in [
            ("continuous", Some(Period::Continuous)),
            ("at_once", Some(Period::AtOnce)),
            ("periodic", Some(Period::Periodic)),
            ("72h", Some(Period::Hours(72))),
            ("45d", Some(Period::Days(45))),
            ("15wd", Some(Period::WorkingDays(15))),
            ("1m", Some(Period::Months(1))),
            ("999y", Some(Period::Years(999))),
            ("1000y", None),
            ("0d", None),
            ("d", None),
            ("3", None),
            ("3 d", None),
            ("3w", None),
            ("", None),
        ] {
            assert_eq!(Period::read(text), expected, "{text}");
        }
    }

    #[test]
    fn counts_months_at_their_longest() {
        for (period, days) in [("1m", 31), ("2m", 62), ("3m", 92), ("6m", 184), ("12m", 366), ("1y", 366)] {
            assert_eq!(Period::read(period).unwrap().days_max(), Some(days), "{period}");
        }
        assert_eq!(Period::Periodic.days_max(), None);
    }
}
