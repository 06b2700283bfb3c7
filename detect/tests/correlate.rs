//! The correlator against a naive model that keeps every event and looks at every window; and what a firing tells.

use std::collections::BTreeSet;
use std::sync::Arc;

use detect::{CorrelationHit, Correlator, Engine, EventKey, Hit, compile};
use proptest::prelude::*;

const SECOND: i64 = 1_000_000;
const SPAN: i64 = 10 * SECOND;

const KINDS: [(&str, &str); 9] = [
    ("event_count", "gte: 3"),
    ("event_count", "eq: 2"),
    ("event_count", "gt: 1\n    lte: 3"),
    ("value_count", "field: value\n    gte: 3"),
    ("value_count", "field: value\n    lt: 2"),
    ("temporal", ""),
    ("temporal", "gte: 2"),
    ("temporal", "r0 and (r1 or r2)"),
    ("temporal_ordered", ""),
];

fn base(index: usize) -> String {
    format!(
        "title: r{index}\nid: id{index}\nname: r{index}\nlogsource: {{product: linux}}\ndetection:\n  s: {{f: x}}\n  condition: s\n---\n"
    )
}

fn correlation(kind: &str, condition: &str, rest: &str) -> String {
    let condition = match condition {
        "" => String::new(),
        expression if expression.contains("and") => format!("  condition: {expression}\n"),
        comparisons => format!("  condition:\n    {comparisons}\n"),
    };
    format!(
        "title: c\nid: c\nname: c\ncorrelation:\n  type: {kind}\n  rules: [r0, r1, r2]\n  group-by: [user]\n  timespan: 10s\n{condition}{rest}"
    )
}

fn engine(correlations: &str) -> Engine {
    let bases: String = (0..3).map(base).collect();
    let (engine, problems) = compile(&[("rules.yml", format!("{bases}{correlations}"))]);
    assert!(problems.is_empty(), "{problems:?}");
    engine
}

#[derive(Clone, Debug)]
struct Step {
    rule: usize,
    ts: i64,
    user: u8,
    value: u8,
    times: u64,
}

fn hit(engine: &Engine, step: &Step, seq: u64) -> Hit {
    let key = |name: &str, value: u8| (Arc::from(name), value.to_string().into_boxed_str());
    Hit {
        rule: Arc::clone(engine.rule(&format!("r{}", step.rule)).unwrap()),
        ts: step.ts,
        event: EventKey { agent: "host".into(), epoch: 1, seq, record: 0 },
        times: step.times,
        keys: vec![key("user", step.user), key("value", step.value)],
    }
}

/// What fires at the last of the steps, by looking at all windows that hold it.
fn model(kind: &str, condition: &str, steps: &[Step]) -> Option<(i64, i64, u64)> {
    let last = steps.last()?;
    let group: Vec<&Step> = steps.iter().filter(|step| step.user == last.user).collect();
    let ends: BTreeSet<i64> =
        group.iter().map(|step| step.ts).filter(|ts| (last.ts..=last.ts + SPAN).contains(ts)).collect();
    let mut best: Option<(i64, i64, u64)> = None;
    for end in ends {
        let window: Vec<&Step> =
            group.iter().copied().filter(|step| (end - SPAN..=end).contains(&step.ts)).collect();
        let count = count(kind, &window);
        if holds(kind, condition, count, &window, last) && best.is_none_or(|(_, _, most)| count > most) {
            let first = window.iter().map(|step| step.ts).min()?;
            best = Some((first, end, count));
        }
    }
    best
}

fn count(kind: &str, window: &[&Step]) -> u64 {
    let different =
        |of: fn(&Step) -> usize| window.iter().map(|step| of(step)).collect::<BTreeSet<_>>().len() as u64;
    match kind {
        "event_count" => window.iter().map(|step| step.times).sum(),
        "value_count" => different(|step| step.value.into()),
        _ => different(|step| step.rule),
    }
}

fn holds(kind: &str, condition: &str, count: u64, window: &[&Step], last: &Step) -> bool {
    let seen = |rule: usize| window.iter().any(|step| step.rule == rule);
    match (kind, condition) {
        ("temporal", "") => (0..3).all(seen),
        ("temporal", "r0 and (r1 or r2)") => seen(0) && (seen(1) || seen(2)),
        ("temporal_ordered", _) => {
            let mut at = i64::MIN;
            (0..3).all(|rule| {
                let next = match rule == last.rule {
                    true => (last.ts >= at).then_some(last.ts),
                    false => window
                        .iter()
                        .filter(|step| step.rule == rule && step.ts >= at)
                        .map(|step| step.ts)
                        .min(),
                };
                at = next.unwrap_or(at);
                next.is_some()
            })
        }
        (_, comparisons) => {
            comparisons.split('\n').map(str::trim).all(|comparison| match comparison.split_once(": ") {
                Some(("gte", limit)) => count >= limit.parse().unwrap(),
                Some(("gt", limit)) => count > limit.parse().unwrap(),
                Some(("lte", limit)) => count <= limit.parse().unwrap(),
                Some(("lt", limit)) => count < limit.parse().unwrap(),
                Some(("eq", limit)) => count == limit.parse::<u64>().unwrap(),
                _ => true,
            })
        }
    }
}

fn agrees(steps: &[Step], now: impl Fn(&[Step]) -> i64) -> Result<(), TestCaseError> {
    for (kind, condition) in KINDS {
        let engine = engine(&correlation(kind, condition, ""));
        let mut correlator = engine.correlator();
        for end in 1..=steps.len() {
            let seen = &steps[..end];
            let fired = correlator.observe(hit(&engine, &steps[end - 1], end as u64), now(seen));
            let fired: Vec<_> = fired.iter().map(|hit| (hit.first, hit.last, hit.count)).collect();
            let expected: Vec<_> = model(kind, condition, seen).into_iter().collect();
            prop_assert_eq!(fired, expected, "{} {} {:?}", kind, condition, seen);
        }
    }
    Ok(())
}

fn step(ts: impl Strategy<Value = i64>) -> impl Strategy<Value = Step> {
    (0..3_usize, ts, 0..2_u8, 0..4_u8, 1..3_u64).prop_map(|(rule, ts, user, value, times)| Step {
        rule,
        ts: ts * SECOND / 2,
        user,
        value,
        times,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A backlog: all arrives at once, in any order, however late.
    #[test]
    fn agrees_with_the_model_on_a_backlog(steps in prop::collection::vec(step(0..120_i64), 1..40)) {
        agrees(&steps, |_| 1_000 * SECOND)?;
    }

    /// Live: time goes on, events come up to a timespan late, and old ones are forgotten meanwhile.
    #[test]
    fn agrees_with_the_model_on_late_events(steps in prop::collection::vec(step(0..20_i64), 1..60)) {
        let newest = |seen: &[Step]| seen.iter().map(|step| step.ts).max().unwrap_or(0);
        let moved: Vec<Step> = steps.iter().enumerate().map(|(at, step)| {
            let base = at as i64 * 3 * SECOND / 2;
            Step { ts: base - step.ts, ..step.clone() }
        }).collect();
        agrees(&moved, newest)?;
    }
}

fn failures(engine: &Engine, correlator: &mut Correlator, seconds: &[i64]) -> Vec<CorrelationHit> {
    let step = |ts: i64| Step { rule: 0, ts: ts * SECOND, user: 1, value: 1, times: 1 };
    seconds
        .iter()
        .flat_map(|ts| correlator.observe(hit(engine, &step(*ts), *ts as u64), ts * SECOND))
        .collect()
}

#[test]
fn tells_the_first_firing_from_the_further_ones() {
    let engine = engine(&correlation("event_count", "gte: 3", ""));
    let mut correlator = engine.correlator();
    let fired = failures(&engine, &mut correlator, &[1, 2, 3, 4, 40, 41, 42]);
    let told: Vec<_> = fired.iter().map(|hit| (hit.new, hit.count, hit.events.len())).collect();
    assert_eq!(told, [(true, 3, 3), (false, 4, 1), (true, 3, 3)]);
    assert_eq!(fired[0].group, [("user".to_owned(), "1".to_owned())]);
}

#[test]
fn counts_the_same_event_once() {
    let engine = engine(&correlation("event_count", "gte: 2", ""));
    let mut correlator = engine.correlator();
    assert!(failures(&engine, &mut correlator, &[5, 5, 5]).is_empty());
    assert_eq!(failures(&engine, &mut correlator, &[6]).len(), 1);
}

#[test]
fn takes_the_edge_of_the_timespan_as_inside() {
    let engine = engine(&correlation("event_count", "gte: 2", ""));
    assert_eq!(failures(&engine, &mut engine.correlator(), &[1, 11]).len(), 1);
    assert_eq!(failures(&engine, &mut engine.correlator(), &[1, 12]).len(), 0);
}

#[test]
fn hands_a_firing_to_the_correlation_above() {
    let above = "---\ntitle: top\nid: top\ncorrelation:\n  type: temporal_ordered\n  rules: [c, r2]\n  group-by: [value]\n  timespan: 1m\n";
    let engine = engine(&correlation("event_count", "gte: 2", above));
    let mut correlator = engine.correlator();
    let mut fired = |rule, ts, user, value| {
        let step = Step { rule, ts: ts * SECOND, user, value, times: 1 };
        let hits = correlator.observe(hit(&engine, &step, ts as u64), ts * SECOND);
        hits.iter().map(|hit| hit.rule.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(fired(0, 1, 1, 7), [""; 0]);
    assert_eq!(fired(0, 2, 1, 7), ["c"]);
    assert_eq!(fired(2, 20, 2, 8), [""; 0], "another value");
    assert_eq!(fired(2, 31, 2, 7), ["top"], "grouped by its own fields, not by those below");
}

#[test]
fn a_hit_without_its_group_takes_no_part_and_is_counted() {
    let engine = engine(&correlation("event_count", "gte: 1", ""));
    let mut correlator = engine.correlator();
    let mut lacking = hit(&engine, &Step { rule: 0, ts: 1, user: 1, value: 1, times: 1 }, 1);
    lacking.keys.clear();
    assert!(correlator.observe(lacking, 1).is_empty());
    assert_eq!(correlator.counters()[0].ungrouped, 1);
}

#[test]
fn stays_within_its_limits_and_says_so() {
    let engine = engine(&correlation("event_count", "gte: 5000", ""));
    let mut correlator = engine.correlator();
    let mut fired = 0;
    for seq in 0..detect::limits::WINDOW_EVENTS_MAX as u64 + 10 {
        let step = Step { rule: 0, ts: SECOND, user: 1, value: 1, times: 1 };
        fired += correlator.observe(hit(&engine, &step, seq), SECOND).len();
    }
    let counters = &correlator.counters()[0];
    assert_eq!((counters.events, counters.events_dropped), (detect::limits::WINDOW_EVENTS_MAX, 10));
    assert_eq!(fired, detect::limits::WINDOW_EVENTS_MAX + 10 - 4_999, "a full group goes on firing");
    correlator.expire(SECOND + 2 * SPAN + 1);
    assert_eq!(correlator.counters()[0].groups, 0);
}

#[test]
fn evicts_the_quietest_groups() {
    let engine = engine(&correlation("event_count", "gte: 5", ""));
    let mut correlator = engine.correlator();
    let groups = detect::limits::GROUPS_MAX as u64 + 1;
    for seq in 0..groups {
        let mut one = hit(&engine, &Step { rule: 0, ts: SECOND, user: 1, value: 1, times: 1 }, seq);
        one.keys[0].1 = seq.to_string().into_boxed_str();
        correlator.observe(one, SECOND);
    }
    let counters = &correlator.counters()[0];
    assert!(counters.groups <= detect::limits::GROUPS_MAX);
    assert_eq!(counters.groups as u64 + counters.groups_evicted, groups);
    assert_eq!(counters.events, counters.groups);
}
