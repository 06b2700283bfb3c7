//! Response clocks: by when an alert of a priority wants to be acknowledged, contained and closed. The times are the site's
//! own (`[clocks]` of `priority.toml`); what the law asks of incidents stands in the decrees.
//!
//! Pure: the moment from which a clock runs is an argument.

use event::Micros;
use serde::Deserialize;

const MICROS_PER_S: Micros = 1_000_000;
/// Longest time of a clock: what may wait for more than a year is "-".
const LIMIT_DAYS_MAX: Micros = 366;

/// The times of each priority.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "UPPERCASE")]
pub(super) struct ResponseClocks {
    pub(super) p1: ResponseTimes,
    pub(super) p2: ResponseTimes,
    pub(super) p3: ResponseTimes,
    pub(super) p4: ResponseTimes,
    pub(super) p5: ResponseTimes,
}

/// The times of one priority, from the moment that an alert has it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseTimes {
    acknowledge: Limit,
    contain: Limit,
    close: Limit,
}

/// How long something may take; none: as long as it likes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
struct Limit(Option<Micros>);

/// Until when an alert is to be acknowledged, contained and closed; none: nothing is due.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Dues {
    pub(crate) acknowledge: Option<Micros>,
    pub(crate) contain: Option<Micros>,
    pub(crate) close: Option<Micros>,
}

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self(None));
        }
        read(&text).map(|micros| Self(Some(micros))).ok_or_else(|| {
            format!(
                "expected a number and m (minutes), h or d, at most {LIMIT_DAYS_MAX}d, such as 15m or 4h, or - for none, \
                 found {text:?}"
            )
        })
    }
}

fn read(text: &str) -> Option<Micros> {
    let (number, unit) = text.split_at_checked(text.find(|char: char| !char.is_ascii_digit())?)?;
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let micros = number.parse::<Micros>().ok()?.checked_mul(seconds)?.checked_mul(MICROS_PER_S)?;
    (1..=LIMIT_DAYS_MAX * 86_400 * MICROS_PER_S).contains(&micros).then_some(micros)
}

impl ResponseClocks {
    /// What is wrong, as (key, expected): a step that is due after the next one, or a priority that is slower than a lower one.
    pub(super) fn fault(&self) -> Option<(String, &'static str)> {
        let all = [&self.p1, &self.p2, &self.p3, &self.p4, &self.p5];
        for (number, times) in (1..).zip(all) {
            if !times.in_order() {
                let key = format!("clocks.P{number}");
                return Some((key, "acknowledge no later than contain, and contain no later than close"));
            }
        }
        for (number, pair) in (1..).zip(all.windows(2)) {
            if let [higher, lower] = pair
                && higher.is_slower(lower)
            {
                return Some((
                    format!("clocks.P{number}"),
                    "no time that is longer than that of the priority below",
                ));
            }
        }
        None
    }
}

impl ResponseTimes {
    /// What is due when the clocks start at `from`.
    pub(super) fn dues(&self, from: Micros) -> Dues {
        let due = |limit: Limit| limit.0.map(|micros| from.saturating_add(micros));
        Dues { acknowledge: due(self.acknowledge), contain: due(self.contain), close: due(self.close) }
    }

    fn limits(&self) -> [Limit; 3] {
        [self.acknowledge, self.contain, self.close]
    }

    /// A step without a time is in nobody's way.
    fn in_order(&self) -> bool {
        let given: Vec<Micros> = self.limits().iter().filter_map(|limit| limit.0).collect();
        given.is_sorted()
    }

    fn is_slower(&self, other: &Self) -> bool {
        let micros = |limit: Limit| limit.0.unwrap_or(Micros::MAX);
        self.limits().into_iter().zip(other.limits()).any(|(own, other)| micros(own) > micros(other))
    }
}

impl Dues {
    /// The earlier of each.
    pub(crate) fn or_earlier(self, other: Self) -> Self {
        let earlier = |one: Option<Micros>, other: Option<Micros>| one.into_iter().chain(other).min();
        Self {
            acknowledge: earlier(self.acknowledge, other.acknowledge),
            contain: earlier(self.contain, other.contain),
            close: earlier(self.close, other.close),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Micros = 60 * MICROS_PER_S;

    fn limit(text: &str) -> Result<Limit, String> {
        Limit::try_from(text.to_owned())
    }

    #[test]
    fn reads_a_limit_and_rejects_what_is_none() {
        for (text, micros) in [
            ("-", None),
            ("1m", Some(MINUTE)),
            ("4h", Some(240 * MINUTE)),
            ("366d", Some(366 * 24 * 60 * MINUTE)),
        ] {
            assert_eq!(limit(text), Ok(Limit(micros)), "{text}");
        }
        for text in ["", "0m", "15", "m", "4 h", "15s", "367d", "-1h", "99999999999999999999d"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    fn clocks(p1: &str, p2: &str) -> ResponseClocks {
        let times = |text: &str| {
            let mut limits = text.split(' ').map(|text| limit(text).unwrap());
            let mut next = || limits.next().unwrap();
            ResponseTimes { acknowledge: next(), contain: next(), close: next() }
        };
        let none = times("- - -");
        ResponseClocks { p1: times(p1), p2: times(p2), p3: none, p4: none, p5: none }
    }

    #[test]
    fn steps_are_in_order_and_a_higher_priority_is_never_slower() {
        for (p1, p2, key) in [
            ("15m 4h 1d", "15m 4h 1d", None),
            ("15m 15m 15m", "- - -", None),
            ("15m - 1d", "15m - 1d", None),
            ("16m 15m 1d", "1h 1h 1d", Some("clocks.P1")),
            ("15m 25h 1d", "1h 1d 2d", Some("clocks.P1")),
            ("2d - 1d", "2d 2d 2d", Some("clocks.P1")),
            ("15m 1h 1d", "2h 1h 1d", Some("clocks.P2")),
            ("61m 4h 1d", "1h 4h 1d", Some("clocks.P1")),
            ("15m 4h -", "15m 4h 30d", Some("clocks.P1")),
        ] {
            let fault = clocks(p1, p2).fault();
            assert_eq!(fault.map(|(key, _)| key).as_deref(), key, "{p1}, {p2}");
        }
    }

    #[test]
    fn clocks_run_from_a_moment_and_the_earlier_due_time_counts() {
        let clocks = clocks("15m - 1d", "1h 4h 2d");
        let (p1, p2) = (clocks.p1.dues(100), clocks.p2.dues(0));
        assert_eq!(p1.acknowledge, Some(15 * MINUTE + 100));
        assert_eq!(p1.contain, None);
        let both = p2.or_earlier(p1);
        assert_eq!((both.acknowledge, both.contain, both.close), (p1.acknowledge, p2.contain, p1.close));
        // A clock that has nearly run out is not set back by a new one.
        assert_eq!(p2.or_earlier(clocks.p1.dues(50 * MINUTE)).acknowledge, p2.acknowledge);
        assert_eq!(Dues::default().or_earlier(p1), p1);
    }
}
