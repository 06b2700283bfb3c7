//! What the daemon's metrics say of its certificates, of what it has loaded, and of its hunts.

use super::{Check, State};
use crate::content::Part;
use crate::people::scrape::Sample;
use crate::people::select::{counted, grouped};
use crate::people::when::{Clock, MICROS_PER_S};

/// So long before its end a certificate is told: time to make and bring out new ones by hand.
const EXPIRES_SOON_S: i64 = 30 * 86_400;
/// A hunt that is due for longer than this is wrong; the alert rule says the same.
const BEHIND_S_MAX: f64 = 3_600.0;
/// So long after the start hunts catch up with the windows that were due meanwhile.
const CATCH_UP_S: i64 = 600;
/// Hosts named at most; the first to end come first.
const HOSTS_SHOWN: usize = 10;

/// A certificate, and the seconds until it ends.
struct Ends {
    whose: String,
    expires: i64,
    left: i64,
}

/// The collector's own certificates are wrong when they are over; a host's is a notice, because the host may be gone, and is
/// silent otherwise.
pub(super) fn certificates(samples: &[Sample], clock: &Clock) -> Check {
    let mut own = ends(samples, "vonggac_certificate_expires_seconds", "file", clock);
    let hosts = ends(samples, "vonggac_door_certificate_expires_seconds", "host", clock);
    if own.is_empty() {
        return Check::new("certificates", State::Notice, "not known: the collector does not tell");
    }
    let known = hosts.len();
    let mut late: Vec<Ends> = hosts.into_iter().filter(|host| host.left < EXPIRES_SOON_S).collect();
    let state = match own.iter().map(|one| one.left).min().unwrap_or_default() {
        left if left < 0 => State::Wrong,
        left if left < EXPIRES_SOON_S => State::Notice,
        _ if !late.is_empty() => State::Notice,
        _ => State::Ok,
    };
    own.sort_by_key(|one| one.left);
    late.sort_by_key(|one| one.left);
    let mut parts: Vec<String> = own.iter().map(|one| one.shown(clock)).collect();
    parts.extend(late.iter().take(HOSTS_SHOWN).map(|one| one.shown(clock)));
    match late.len() {
        0 if known > 0 => {
            parts.push(format!("those of {} hold for 30 days and more", counted(wide(known), "host")));
        }
        late if late > HOSTS_SHOWN => {
            let more = counted(wide(late.saturating_sub(HOSTS_SHOWN)), "more host");
            parts.push(format!("{more} soon"));
        }
        _ => {}
    }
    Check::new("certificates", state, parts.join("; "))
}

impl Ends {
    fn shown(&self, clock: &Clock) -> String {
        let Self { whose, expires, left } = self;
        let when = clock.shown(expires.saturating_mul(MICROS_PER_S));
        match left {
            ..0 => format!("{whose} EXPIRED at {when}"),
            left => {
                let days = counted(u64::try_from(left / 86_400).unwrap_or_default(), "day");
                format!("{whose} until {when} ({days})")
            }
        }
    }
}

fn ends(samples: &[Sample], metric: &str, label: &str, clock: &Clock) -> Vec<Ends> {
    let now = clock.now.as_second();
    let of_metric = samples.iter().filter(|sample| sample.name == metric);
    of_metric
        .map(|sample| {
            let expires = whole(sample.value);
            Ends {
                whose: sample.label(label).unwrap_or_default(),
                expires,
                left: expires.saturating_sub(now),
            }
        })
        .collect()
}

/// A row for each part: a watch without rules is quiet, and one whose new rules were refused is not what its people believe.
pub(super) fn content(samples: &[Sample], clock: &Clock) -> Vec<Check> {
    Part::ALL.into_iter().filter_map(|part| part_loaded(part.as_str(), samples, clock)).collect()
}

fn part_loaded(part: &str, samples: &[Sample], clock: &Clock) -> Option<Check> {
    let value = |metric: &str| {
        let of_part =
            |sample: &&Sample| sample.name == metric && sample.label("part").as_deref() == Some(part);
        samples.iter().find(of_part).map(|sample| whole(sample.value))
    };
    let number = |value: i64| grouped(u64::try_from(value).unwrap_or_default());
    let not_loaded = value("vonggac_content_not_loaded_count")?;
    let is_whole = value("vonggac_content_load_successful") == Some(1);
    let mut detail =
        match (value("vonggac_content_loaded_count"), value("vonggac_content_in_force_since_seconds")) {
            (Some(loaded), Some(since)) => {
                let since = since.saturating_mul(MICROS_PER_S);
                format!("{} in force since {} ({})", number(loaded), clock.shown(since), clock.age(since))
            }
            _ => "none in force".to_owned(),
        };
    if !is_whole {
        let advice = "`vonggac serve --check` says what is wrong";
        detail = format!("{detail}; the last load found {} wrong: {advice}", number(not_loaded));
    }
    Some(Check::new(part, State::wrong_if(!is_whole), detail))
}

/// When SQL does not see the inventory in force.
pub(super) fn published(samples: &[Sample]) -> Option<Check> {
    let published = samples.iter().find(|sample| sample.name == "vonggac_systems_published")?;
    let detail = "the store does not have the inventory in force: reports and panels show an earlier one; the \
                  collector's log says why, and it tries again at SIGHUP";
    (whole(published.value) == 0).then(|| Check::new("systems", State::Wrong, detail))
}

/// Hunts that do not keep up.
pub(super) fn hunts(samples: &[Sample], clock: &Clock) -> Vec<Check> {
    let started = samples.iter().find(|sample| sample.name == "vonggac_start_time_seconds");
    let started = started.map_or(0, |sample| whole(sample.value));
    let state = match clock.now.as_second().saturating_sub(started) {
        ..CATCH_UP_S => State::Notice,
        _ => State::Wrong,
    };
    let behind = samples
        .iter()
        .filter(|sample| sample.name == "vonggac_hunt_behind_seconds" && sample.value > BEHIND_S_MAX);
    let check = |sample: &Sample| {
        let minutes = grouped(u64::try_from(whole(sample.value)).unwrap_or_default() / 60);
        let detail = format!("due for {minutes} minutes and has not run: the collector's log says why");
        Check::new(format!("hunt {}", sample.label("hunt").unwrap_or_default()), state, detail)
    };
    behind.map(check).collect()
}

/// Metrics are floating-point numbers; these are counts and seconds.
#[expect(clippy::cast_possible_truncation, reason = "saturates, and what is beyond is nonsense")]
pub(super) fn whole(value: f64) -> i64 {
    value as i64
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_precision_loss, reason = "as Prometheus has them")]
    fn sample(name: &str, label: &str, value: i64) -> Sample {
        Sample { name: name.into(), labels: label.into(), value: value as f64 }
    }

    fn certificates_in(days: [i64; 3]) -> Check {
        let clock = Clock::new(true);
        let now = clock.now.as_second();
        let [server, ca, host] = days.map(|days| now + days * 86_400 + 60);
        let own = "vonggac_certificate_expires_seconds";
        let host =
            sample("vonggac_door_certificate_expires_seconds", "host=\"web01\",intake=\"agent\"", host);
        certificates(&[sample(own, "file=\"server\"", server), sample(own, "file=\"ca\"", ca), host], &clock)
    }

    #[test]
    fn tells_certificates_before_their_end() {
        for (days, state, words) in [
            ([31, 3_000, 31], State::Ok, "those of 1 host hold"),
            ([29, 3_000, 31], State::Notice, "server until"),
            ([31, 3_000, 29], State::Notice, "web01 until"),
            ([31, 3_000, -1], State::Notice, "web01 EXPIRED at"),
            ([-1, 3_000, 31], State::Wrong, "server EXPIRED at"),
            ([31, -1, 31], State::Wrong, "ca EXPIRED at"),
        ] {
            let found = certificates_in(days);
            assert_eq!(found.state, state, "{days:?}: {}", found.detail);
            assert!(found.detail.contains(words), "{days:?}: {}", found.detail);
        }
        assert_eq!(certificates(&[], &Clock::new(true)).state, State::Notice);
    }

    #[test]
    fn a_part_of_which_something_did_not_load_is_wrong() {
        let told = |loaded, not_loaded| {
            [
                sample("vonggac_content_loaded_count", "part=\"rules\"", loaded),
                sample("vonggac_content_not_loaded_count", "part=\"rules\"", not_loaded),
                sample("vonggac_content_load_successful", "part=\"rules\"", i64::from(not_loaded == 0)),
                sample("vonggac_content_in_force_since_seconds", "part=\"rules\"", 0),
            ]
        };
        let found = content(&told(1_200, 0), &Clock::new(true));
        assert_eq!(found.len(), 1, "of the others nothing is known: {found:?}");
        assert_eq!((found[0].check.as_str(), found[0].state), ("rules", State::Ok));
        assert!(found[0].detail.starts_with("1,200 in force since 1970-01-01"), "{}", found[0].detail);
        let found = content(&told(1_200, 2), &Clock::new(true));
        assert_eq!(found[0].state, State::Wrong);
        assert!(found[0].detail.contains("the last load found 2 wrong"), "{}", found[0].detail);
    }

    #[test]
    fn an_inventory_that_is_not_published_is_wrong() {
        let told = |value| published(&[sample("vonggac_systems_published", "", value)]);
        assert_eq!(told(0).map(|check| (check.check, check.state)), Some(("systems".into(), State::Wrong)));
        assert_eq!((told(1), published(&[])), (None, None));
    }

    #[test]
    fn a_hunt_is_wrong_when_it_is_behind_but_for_the_first_minutes() {
        let clock = Clock::new(true);
        let told = |behind, started_ago| {
            let started = clock.now.as_second() - started_ago;
            let started = sample("vonggac_start_time_seconds", "", started);
            hunts(&[sample("vonggac_hunt_behind_seconds", "hunt=\"slow-scan\"", behind), started], &clock)
        };
        assert_eq!(told(3_600, 86_400), []);
        let late = told(7_200, 86_400);
        assert_eq!((late[0].check.as_str(), late[0].state), ("hunt slow-scan", State::Wrong));
        assert_eq!(told(7_200, 599)[0].state, State::Notice);
        assert_eq!(told(7_200, 600)[0].state, State::Wrong);
    }
}
