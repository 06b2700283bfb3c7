//! When a duty of a decree falls due for a system: from the day it was last done, or from the day it began to be owed. Pure.
//!
//! A duty with an interval is due that long after it was done. One that is due before certain days of the year is due on the
//! last day that is before; doing it serves the nearest of those days, before or after. What is owed without an interval ("periodically",
//! "continuously") has no day: it is listed, and never overdue.
//!
//! Nothing was owed before a decree came into force, or before the system had its level.

use jiff::Span;
use jiff::civil::Date;

use crate::level::{Duty, Period};

/// Until when a duty is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    /// By the end of this day.
    By(Date),
    /// No law says when.
    Undated,
}

/// When a duty is due that a system of this level owes since a day, and that was last done on another. None: it does not owe it.
pub(crate) fn due(duty: &Duty, level: u8, since: Date, done: Option<Date>) -> Option<Due> {
    let every = duty.every(level)?;
    let Some(span) = span(every) else { return Some(Due::Undated) };
    if duty.before.is_empty() {
        return Some(done.unwrap_or(since).checked_add(span).map_or(Due::Undated, Due::By));
    }
    let day = match done {
        Some(done) => nearest(duty, done).and_then(|served| next(duty, served.tomorrow().ok()?)),
        None => next(duty, since),
    };
    Some(day.map_or(Due::Undated, Due::By))
}

/// What the calendar counts in days: a duty is due on a day.
fn span(every: Period) -> Option<Span> {
    every.days_max().and(every.span())
}

/// The first day on which it is due that is not before a day.
fn next(duty: &Duty, from: Date) -> Option<Date> {
    days(duty, from.year()).filter(|day| *day >= from).min()
}

fn nearest(duty: &Duty, done: Date) -> Option<Date> {
    let distance = |day: &Date| done.until(*day).map_or(i32::MAX, |span| span.get_days().abs());
    days(duty, done.year()).min_by_key(|day| (distance(day), *day))
}

/// The days on which it is due, from the year before to the year after.
fn days(duty: &Duty, year: i16) -> impl Iterator<Item = Date> {
    let years = [year.checked_sub(1), Some(year), year.checked_add(1)].into_iter().flatten();
    years.flat_map(|year| duty.before.iter().filter_map(move |day| day.last_before(year)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::civil::date;

    use super::*;
    use crate::priority::Levels;

    fn duty(id: &str) -> Duty {
        let levels = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/levels");
        let levels = Levels::load(&levels, date(2026, 10, 1)).unwrap();
        let decree = levels.decrees().in_force(date(2026, 10, 1)).unwrap();
        decree.duties.iter().find(|duty| duty.provision.id == id).unwrap().clone()
    }

    const SINCE: Date = date(2026, 8, 19);

    #[test]
    fn an_interval_runs_from_the_last_time_or_from_when_it_was_owed() {
        let scan = duty("vulnerability-scan");
        assert_eq!(due(&scan, 3, SINCE, None), Some(Due::By(date(2027, 2, 19))));
        assert_eq!(due(&scan, 3, SINCE, Some(date(2026, 8, 31))), Some(Due::By(date(2027, 2, 28))));
        assert_eq!(due(&scan, 2, SINCE, None), Some(Due::By(date(2027, 8, 19))), "a lower level has longer");
        assert_eq!(due(&duty("inactive-accounts"), 1, SINCE, None), Some(Due::By(date(2026, 10, 3))));
    }

    #[test]
    fn a_level_owes_what_its_column_says() {
        assert_eq!(due(&duty("drill"), 2, SINCE, None), None);
        assert_eq!(due(&duty("drill"), 3, SINCE, None), Some(Due::Undated));
        assert_eq!(due(&duty("drill"), 4, SINCE, None), Some(Due::By(date(2027, 8, 19))));
        assert_eq!(due(&duty("monitoring"), 5, SINCE, None), Some(Due::Undated));
    }

    #[test]
    fn before_a_day_means_the_day_before_and_what_was_done_serves_the_next_one() {
        let report = duty("level-report-unit");
        assert_eq!(due(&report, 3, SINCE, None), Some(Due::By(date(2026, 12, 19))));
        for (done, expected) in [
            (date(2026, 12, 10), date(2027, 12, 19)),
            (date(2026, 12, 19), date(2027, 12, 19)),
            // Late is not early for the next year.
            (date(2026, 12, 20), date(2027, 12, 19)),
            (date(2027, 3, 1), date(2027, 12, 19)),
            (date(2027, 9, 1), date(2028, 12, 19)),
        ] {
            assert_eq!(due(&report, 3, SINCE, Some(done)), Some(Due::By(expected)), "{done}");
        }
    }
}
