//! Silence and its end at both sides of each limit, canaries, restarts, and inventories that change.

use super::*;
use crate::grouping::Place;

const SECOND: Micros = 1_000_000;
const LIMIT: Micros = 900 * SECOND;
const CANARY: Micros = 3_600 * SECOND;
const NOW: Micros = 1_800_000_000 * SECOND;

fn demand(source: &str, canary: Option<Micros>) -> Demand {
    Demand {
        place: Arc::new(Place { system_id: "web".into(), level: 3, ..Place::default() }),
        source: source.into(),
        law: None,
        stated: true,
        silent_after: LIMIT,
        canary,
        by: None,
        absent: None,
    }
}

fn coverage(canary: Option<Micros>) -> Coverage {
    let mut coverage = Coverage::default();
    coverage.demand(vec![demand("server", canary)], NOW);
    coverage
}

fn checked(coverage: &mut Coverage, now: Micros) -> Vec<(What, Micros)> {
    coverage.check(now).iter().map(|told| (told.what, told.since)).collect()
}

/// The alert of what was told is stored.
fn known(coverage: &mut Coverage) {
    coverage.known("web", "server");
}

/// What a collector that starts at `now` makes of what this one left when it ended at `ended`.
fn restarted(coverage: &mut Coverage, ended: Micros, now: Micros) -> Coverage {
    let mut rows = coverage.changed(ended);
    rows.push(CoverageRow { counted_from: ended, ..CoverageRow::default() });
    let mut restored = Coverage::restored(rows, now);
    restored.demand(vec![demand("server", None)], now);
    restored
}

#[test]
fn a_source_is_silent_at_its_limit_and_told_once() {
    let mut coverage = coverage(None);
    assert!(coverage.stored("web", "server", "web01", NOW + SECOND).is_none());
    assert_eq!(checked(&mut coverage, NOW + SECOND + LIMIT - 1), []);
    assert_eq!(checked(&mut coverage, NOW + SECOND + LIMIT), [(What::Silent, NOW + SECOND)]);
    assert_eq!(checked(&mut coverage, NOW + 9 * LIMIT), []);
    let back = coverage.stored("web", "server", "web01", NOW + 10 * LIMIT).unwrap();
    assert_eq!((back.what, back.since), (What::Back, NOW + SECOND));
    assert!(coverage.stored("web", "server", "web01", NOW + 10 * LIMIT).is_none());
    assert_eq!(checked(&mut coverage, NOW + 11 * LIMIT), [(What::Silent, NOW + 10 * LIMIT)]);
}

#[test]
fn a_source_that_never_reported_is_waited_for_from_when_it_was_asked_for() {
    let mut coverage = coverage(None);
    assert_eq!(checked(&mut coverage, NOW + LIMIT - 1), []);
    let told = coverage.check(NOW + LIMIT);
    assert_eq!((told[0].what, told[0].since, told[0].row.last_stored), (What::Silent, NOW, 0));
}

#[test]
fn what_others_store_does_not_count() {
    let mut coverage = coverage(None);
    assert!(coverage.stored("web", "firewall", "fw01", NOW + LIMIT - 1).is_none());
    assert!(coverage.stored("lan", "server", "pc01", NOW + LIMIT - 1).is_none());
    assert_eq!(checked(&mut coverage, NOW + LIMIT), [(What::Silent, NOW)]);
    assert_eq!(checked(&mut coverage, NOW + 99 * LIMIT), [], "and nobody asks for theirs");
}

#[test]
fn a_source_that_talks_without_its_canary_is_told_once_and_so_is_the_end() {
    let mut coverage = coverage(Some(CANARY));
    let talk = |coverage: &mut Coverage, now| coverage.stored("web", "server", "web01", now);
    talk(&mut coverage, NOW + CANARY - 2);
    assert_eq!(checked(&mut coverage, NOW + CANARY - 1), []);
    assert_eq!(checked(&mut coverage, NOW + CANARY), [(What::Unanswered, NOW)]);
    assert_eq!(checked(&mut coverage, NOW + CANARY + 1), []);
    let answered = coverage.answered("web", "server", NOW + CANARY + 2).unwrap();
    assert_eq!((answered.what, answered.since), (What::Answered, NOW));
    assert!(coverage.answered("web", "server", NOW + CANARY + 3).is_none());
    talk(&mut coverage, NOW + 2 * CANARY + 2);
    assert_eq!(checked(&mut coverage, NOW + 2 * CANARY + 2), []);
    assert_eq!(checked(&mut coverage, NOW + 2 * CANARY + 3), [(What::Unanswered, NOW + CANARY + 3)]);
}

#[test]
fn while_a_source_is_silent_its_canary_is_not_waited_for() {
    let mut coverage = coverage(Some(CANARY));
    assert_eq!(checked(&mut coverage, NOW + CANARY), [(What::Silent, NOW)]);
    assert_eq!(checked(&mut coverage, NOW + 2 * CANARY), []);
    let back = NOW + 3 * CANARY;
    assert_eq!(coverage.stored("web", "server", "web01", back).unwrap().what, What::Back);
    assert_eq!(checked(&mut coverage, back + LIMIT - 1), [], "its clock starts with the source's return");
}

#[test]
fn a_restart_forgets_no_silence_and_takes_the_collectors_own_absence_for_none() {
    let mut first = coverage(None);
    first.stored("web", "server", "web01", NOW);
    let ended = NOW + LIMIT - 10;
    let started = ended + 100 * LIMIT;
    let mut second = restarted(&mut first, ended, started);
    assert_eq!(checked(&mut second, started + 9), []);
    assert_eq!(second.check(started + 10)[0].row.last_stored, NOW, "what is shown is when it was stored");
    known(&mut second);
    let mut third = restarted(&mut second, started + 11, started + 12);
    assert_eq!(checked(&mut third, started + 9 * LIMIT), [], "a silence that was told is not told again");
    assert_eq!(third.stored("web", "server", "web01", started + 10 * LIMIT).unwrap().what, What::Back);
}

#[test]
fn a_silence_whose_alert_is_not_stored_yet_is_told_again_after_a_crash() {
    let mut first = coverage(None);
    first.stored("web", "server", "web01", NOW);
    let before = first.changed(NOW);
    assert_eq!(checked(&mut first, NOW + LIMIT), [(What::Silent, NOW)]);
    assert_eq!(first.changed(NOW + LIMIT), [], "nothing says that it was told");
    let mut second = Coverage::restored(before, NOW + LIMIT);
    second.demand(vec![demand("server", None)], NOW + LIMIT);
    assert_eq!(checked(&mut second, NOW + LIMIT), [(What::Silent, NOW)]);
    known(&mut first);
    assert_eq!(first.changed(NOW + LIMIT)[0].silent_since, NOW);
}

#[test]
fn a_silence_that_nobody_could_be_told_is_told_at_the_next_look() {
    let mut coverage = coverage(None);
    let told = coverage.check(NOW + LIMIT);
    coverage.unheard(&told[0]);
    assert_eq!(coverage.changed(NOW + LIMIT)[0].silent_since, 0);
    assert_eq!(checked(&mut coverage, NOW + LIMIT + 1), [(What::Silent, NOW)]);
}

#[test]
fn an_inventory_that_asks_no_more_ends_the_waiting() {
    let mut coverage = coverage(Some(CANARY));
    assert_eq!(checked(&mut coverage, NOW + LIMIT).len(), 1);
    known(&mut coverage);
    coverage.demand(vec![Demand { absent: Some("no link".into()), ..demand("server", None) }], NOW + LIMIT);
    assert_eq!(coverage.changed(NOW + LIMIT)[0].silent_since, 0);
    assert!(coverage.stored("web", "server", "web01", NOW + LIMIT).is_none());
    assert_eq!(checked(&mut coverage, NOW + 99 * LIMIT), []);
    coverage.demand(vec![demand("server", Some(CANARY))], NOW + 100 * LIMIT);
    let told = checked(&mut coverage, NOW + 100 * LIMIT);
    assert_eq!(told, [(What::Silent, NOW + LIMIT)], "what was silent all along is, once it is asked for");
}

#[test]
fn only_what_changed_is_written_and_always_as_a_newer_version() {
    let mut coverage = coverage(None);
    let first = coverage.changed(NOW);
    assert_eq!(coverage.changed(NOW), []);
    coverage.stored("web", "server", "web01", NOW);
    let second = coverage.changed(NOW);
    assert!(second[0].version > first[0].version);
    assert_eq!(coverage.demanded().count(), 1);
}

#[test]
fn remembers_the_hosts_that_reported_last() {
    let mut coverage = coverage(None);
    for number in 0..HOSTS_MAX {
        let now = NOW + Micros::try_from(number).unwrap();
        coverage.stored("web", "server", &format!("h{number}"), now);
    }
    assert_eq!(coverage.changed(NOW)[0].hosts.len(), HOSTS_MAX);
    coverage.stored("web", "server", "one-more", NOW + LIMIT);
    let hosts = coverage.changed(NOW)[0].hosts.clone();
    assert_eq!(hosts.len(), HOSTS_MAX);
    assert!(hosts.iter().all(|(host, _)| host != "h0") && hosts.iter().any(|(host, _)| host == "one-more"));
}
