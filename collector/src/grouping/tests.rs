//! Joining, parting, closing, and that a replay counts nothing twice.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::batch::Identity;

const SECOND: Micros = 1_000_000;
const WINDOW: Micros = 3600 * SECOND;
const NOW: Micros = 1_800_000_000 * SECOND;

fn levels() -> Levels {
    Levels::load(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/levels"),
        jiff::civil::date(2026, 10, 1),
    )
    .unwrap()
}

fn grouping(open: Vec<AlertRow>) -> Grouping {
    Grouping::new(levels(), WINDOW, open)
}

fn hit(rule: &str, seq: u64, record: u32, ts: Micros) -> Hit {
    let identity = Identity { agent: "web01".into(), epoch: 0xab, seq };
    let event = format!("{identity}:{record}");
    Hit {
        cause: Arc::new(Cause {
            id: rule.into(),
            title: rule.into(),
            path: String::new(),
            severity: detect::Severity::High,
            tactics: Vec::new(),
            techniques: Vec::new(),
        }),
        place: Arc::new(Place { system_id: "portal".into(), level: 3, ..Place::default() }),
        origin: Arc::new(Origin { identity, source: String::new(), drill_id: String::new(), received: ts }),
        ts,
        host: "web01".into(),
        src_ip: "::ffff:203.0.113.9".parse().unwrap(),
        user: "root".into(),
        entity: None,
        matched: vec![("action".into(), "login".into())],
        samples: vec![Sample { event, line: format!("line {record}") }],
    }
}

fn only(rows: Vec<AlertRow>) -> AlertRow {
    assert_eq!(rows.len(), 1);
    rows.into_iter().next().unwrap()
}

#[test]
fn hits_of_one_rule_system_and_entity_are_one_alert() {
    let mut grouping = grouping(Vec::new());
    assert_eq!(grouping.observe(&hit("r", 1, 0, NOW), None, NOW), Outcome::Opened(Priority::P2));
    for record in 1..9 {
        assert_eq!(grouping.observe(&hit("r", 2, record, NOW + SECOND), None, NOW), Outcome::Joined);
    }
    let alert = only(grouping.changed(NOW));
    assert_eq!((alert.hits, alert.first_seen, alert.last_seen), (9, NOW, NOW + SECOND));
    assert_eq!(alert.samples, ["line 0", "line 1", "line 2", "line 3", "line 4"]);
    assert_eq!(alert.sample_events[1], "web01:00000000000000ab:2:1");
    assert_eq!(alert.counted, [("web01/00000000000000ab".to_owned(), 2)]);
    assert_eq!((&*alert.entity, &*alert.priority), ("203.0.113.9", "P2"));
    assert!(grouping.changed(NOW).is_empty());
}

#[test]
fn an_alert_keeps_all_that_one_hit_cites_and_no_more_of_others() {
    let mut grouping = grouping(Vec::new());
    let cites = |seq, records: std::ops::Range<u32>| {
        let samples = records.map(|record| hit("r", seq, record, NOW).samples.remove(0)).collect();
        Hit { samples, ..hit("r", seq, 0, NOW) }
    };
    grouping.observe(&cites(1, 0..7), None, NOW);
    grouping.observe(&cites(2, 0..1), None, NOW);
    let alert = only(grouping.changed(NOW));
    assert_eq!((alert.samples.len(), &*alert.sample_events[6]), (7, "web01:00000000000000ab:1:6"));
}

#[test]
fn an_alert_follows_the_level_of_its_system_and_gets_no_later_clock() {
    const MINUTE: Micros = 60 * SECOND;
    let mut grouping = grouping(Vec::new());
    let at_level = |level, seq| {
        let place = Arc::new(Place {
            system_id: "portal".into(),
            level,
            level_basis: format!("QĐ {level}"),
            ..Place::default()
        });
        Hit { place, ..hit("r", seq, 0, NOW) }
    };
    grouping.observe(&at_level(3, 1), None, NOW);
    let first = only(grouping.changed(NOW));
    assert_eq!(
        (&*first.priority, first.ack_due, first.close_due),
        ("P2", NOW + 60 * MINUTE, NOW + 5 * 24 * 60 * MINUTE)
    );
    // P1 has a quarter of an hour, from now; and what was due earlier stays so.
    let later = NOW + 50 * MINUTE;
    grouping.observe(&at_level(4, 2), None, later);
    let raised = only(grouping.changed(later));
    assert_eq!((&*raised.priority, raised.sys_level, &*raised.level_basis), ("P1", 4, "QĐ 4"));
    assert_eq!((raised.ack_due, raised.contain_due), (first.ack_due, later + 4 * 60 * MINUTE));
    assert!(raised.priority_reason.starts_with("P1: severity high on level 4"), "{}", raised.priority_reason);
    grouping.observe(&at_level(1, 3), None, later);
    let lowered = only(grouping.changed(later));
    assert_eq!((&*lowered.priority, lowered.sys_level, &*lowered.level_basis), ("P4", 1, "QĐ 1"));
    assert_eq!((lowered.ack_due, lowered.contain_due, lowered.hits), (raised.ack_due, raised.contain_due, 3));
}

#[test]
fn a_more_severe_hit_raises_the_alert_and_no_milder_one_lowers_it() {
    use detect::Severity::{Critical, High, Low};
    let mut grouping = grouping(Vec::new());
    for (seq, (severity, seen)) in (1..).zip([(High, "P2"), (Critical, "P1"), (Low, "P1")]) {
        let hit = hit("r", seq, 0, NOW);
        let cause = Arc::new(Cause { severity, ..(*hit.cause).clone() });
        grouping.observe(&Hit { cause, ..hit }, None, NOW);
        assert_eq!(only(grouping.changed(NOW)).priority, seen);
    }
}

#[test]
fn an_open_alert_does_not_undo_what_was_reclassified() {
    let at_level = |level, seq| {
        let place = Arc::new(Place { system_id: "portal".into(), level, ..Place::default() });
        Hit { place, ..hit("r", seq, 0, NOW) }
    };
    let mut grouping = grouping(Vec::new());
    grouping.observe(&at_level(4, 1), None, NOW);
    let open = only(grouping.changed(NOW));
    let mut reclassified = open.clone();
    let place = Place { system_id: "portal".into(), level: 2, ..Place::default() };
    reclassified.place(&levels(), detect::Severity::High, &place, NOW);
    grouping.observe(&at_level(2, 2), None, NOW + SECOND);
    let next = only(grouping.changed(NOW + SECOND));
    let classified =
        |row: &AlertRow| (row.priority.clone(), row.priority_reason.clone(), row.sys_level, row.ack_due);
    assert_eq!(classified(&next), classified(&reclassified));
    assert_ne!(next.priority, open.priority);
}

#[test]
fn what_differs_in_rule_system_entity_or_drill_is_another_alert() {
    let mut grouping = grouping(Vec::new());
    let first = hit("r", 1, 0, NOW);
    let place = Arc::new(Place { system_id: "mail".into(), ..Place::default() });
    let origin = Origin {
        identity: first.origin.identity.clone(),
        source: String::new(),
        drill_id: "d".into(),
        received: 0,
    };
    let others = [
        hit("q", 1, 0, NOW),
        Hit { place, ..first.clone() },
        Hit { src_ip: Ipv6Addr::LOCALHOST, ..first.clone() },
        Hit { entity: Some("group".into()), ..first.clone() },
        Hit { origin: Arc::new(origin), ..first.clone() },
    ];
    for hit in std::iter::once(&first).chain(&others) {
        assert_eq!(
            std::mem::discriminant(&grouping.observe(hit, None, NOW)),
            std::mem::discriminant(&Outcome::Opened(Priority::P1))
        );
    }
    let ids: std::collections::HashSet<String> =
        grouping.changed(NOW).into_iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), 6);
}

#[test]
fn the_entity_is_group_then_address_then_user_then_host() {
    let mut hit = hit("r", 1, 0, NOW);
    hit.entity = Some("10.0.0.1, root".into());
    assert_eq!(hit.entity(), "10.0.0.1, root");
    hit.entity = None;
    assert_eq!(hit.entity(), "203.0.113.9");
    hit.src_ip = Ipv6Addr::UNSPECIFIED;
    assert_eq!(hit.entity(), "root");
    hit.user.clear();
    assert_eq!(hit.entity(), "web01");
}

#[test]
fn joins_within_the_window_on_both_sides_and_not_a_microsecond_beyond() {
    for (ts, joins) in
        [(NOW + WINDOW, true), (NOW + WINDOW + 1, false), (NOW - WINDOW, true), (NOW - WINDOW - 1, false)]
    {
        let mut grouping = grouping(Vec::new());
        grouping.observe(&hit("r", 1, 0, NOW), None, NOW);
        let outcome = grouping.observe(&hit("r", 1, 1, ts), None, NOW);
        assert_eq!(outcome == Outcome::Joined, joins, "{ts}");
    }
}

#[test]
fn spans_a_day_and_not_a_microsecond_more() {
    for (last, joins) in [(SPAN_MAX, true), (SPAN_MAX + 1, false)] {
        let mut grouping = grouping(Vec::new());
        let mut ts = 0;
        while ts < SPAN_MAX {
            grouping.observe(&hit("r", 1, 0, ts), None, NOW);
            ts += WINDOW;
        }
        assert_eq!(grouping.observe(&hit("r", 1, 0, last), None, NOW) == Outcome::Joined, joins);
    }
}

#[test]
fn versions_grow_even_when_the_clock_does_not() {
    let mut grouping = grouping(Vec::new());
    grouping.observe(&hit("r", 1, 0, NOW), None, NOW);
    let first = only(grouping.changed(NOW));
    grouping.observe(&hit("r", 2, 0, NOW), None, NOW - SECOND);
    let second = only(grouping.changed(NOW - SECOND));
    assert!(second.version > first.version);
    assert_eq!((second.id, second.created_at), (first.id, first.created_at));
}

#[test]
fn closes_what_was_quiet_for_a_day_and_not_before() {
    let mut grouping = grouping(Vec::new());
    grouping.observe(&hit("r", 1, 0, NOW), None, NOW);
    grouping.expire(NOW + IDLE_MAX + 1);
    assert_eq!(grouping.open_count(), 1, "what is not written is not forgotten");
    grouping.changed(NOW);
    grouping.expire(NOW + IDLE_MAX);
    assert_eq!(grouping.open_count(), 1);
    grouping.expire(NOW + IDLE_MAX + 1);
    assert_eq!(grouping.open_count(), 0);
}

#[test]
fn too_many_open_alerts_close_the_quietest_and_are_counted() {
    let mut grouping = grouping(Vec::new());
    for number in 0..=u32::try_from(OPEN_MAX).unwrap() {
        let entity = Some(number.to_string());
        grouping.observe(&Hit { entity, ..hit("r", 1, number, NOW) }, None, NOW + Micros::from(number));
        grouping.changed(NOW);
    }
    let tenth = OPEN_MAX / 10 + 1;
    assert_eq!(grouping.open_count(), OPEN_MAX + 1 - tenth);
    assert_eq!(grouping.evicted(), u64::try_from(tenth).unwrap());
    let quietest = Hit { entity: Some("0".into()), ..hit("r", 2, 0, NOW) };
    assert!(matches!(grouping.observe(&quietest, None, NOW), Outcome::Opened(_)));
}

/// Hits of batches: the sequence number, and for each hit its entity and its time.
fn batches() -> impl Strategy<Value = Vec<Vec<(u8, i64)>>> {
    prop::collection::vec(prop::collection::vec((0_u8..3, -7200_i64..7200), 0..4), 1..12)
}

fn feed(grouping: &mut Grouping, batches: &[Vec<(u8, i64)>], from: usize) {
    for (index, batch) in batches.iter().enumerate().skip(from) {
        for (record, (entity, offset)) in (0_u32..).zip(batch) {
            let seq = u64::try_from(index).unwrap() + 1;
            let hit =
                Hit { entity: Some(entity.to_string()), ..hit("r", seq, record, NOW + offset * SECOND) };
            grouping.observe(&hit, None, NOW);
        }
    }
}

/// What a person sees of the alerts, whatever the versions.
fn seen(alerts: impl IntoIterator<Item = AlertRow>) -> Vec<(String, u64, Micros, Micros, Vec<String>)> {
    let row = |row: AlertRow| (row.id, row.hits, row.first_seen, row.last_seen, row.sample_events);
    let mut seen: Vec<_> = alerts.into_iter().map(row).collect();
    seen.sort();
    seen
}

proptest! {
    /// The collector dies after it wrote the alerts of the first `written` batches; the agent sends again from `from` on,
    /// which it never had an answer for. The alerts are those of a collector that did not die.
    #[test]
    fn a_replay_after_a_crash_counts_each_hit_once(
        batches in batches(), written in 0_usize..12, from in 0_usize..12,
    ) {
        let written = written.min(batches.len());
        let from = from.min(written);
        let mut whole = grouping(Vec::new());
        feed(&mut whole, &batches, 0);
        let expected = seen(whole.changed(NOW));

        let mut before = grouping(Vec::new());
        feed(&mut before, &batches[..written], 0);
        let stored = before.changed(NOW);
        let mut after = grouping(stored.clone());
        feed(&mut after, &batches, from);
        let mut rows: HashMap<String, AlertRow> =
            stored.into_iter().map(|row| (row.id.clone(), row)).collect();
        rows.extend(after.changed(NOW).into_iter().map(|row| (row.id.clone(), row)));
        prop_assert_eq!(seen(rows.into_values()), expected);
    }
}

#[test]
fn an_alert_is_under_a_silence_until_a_hit_comes_that_is_under_none() {
    let mut grouping = grouping(Vec::new());
    let silence = |grouping: &mut Grouping| only(grouping.changed(NOW)).silence;
    grouping.observe(&hit("r", 1, 0, NOW), Some("s"), NOW);
    assert_eq!(silence(&mut grouping), "s");
    grouping.observe(&hit("r", 2, 0, NOW), Some("t"), NOW);
    assert_eq!(silence(&mut grouping), "s");
    grouping.observe(&hit("r", 3, 0, NOW), None, NOW);
    assert_eq!(silence(&mut grouping), "");
    // Who was told once is not untold.
    grouping.observe(&hit("r", 4, 0, NOW), Some("s"), NOW);
    assert_eq!(silence(&mut grouping), "");
}
