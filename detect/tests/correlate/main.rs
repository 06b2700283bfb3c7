//! The correlator against a naive model and against itself cut at any point; and what a firing tells.

mod agrees;
mod model;
mod restart;

use std::sync::Arc;

use detect::{CorrelationHit, Correlator, Engine, EventKey, Hit, compile};
use proptest::prelude::*;

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const SPAN: i64 = 10 * SECOND;

/// Types and conditions: every type, every operator, late events that change a measure in either direction.
pub(crate) const KINDS: [(&str, &str); 19] = [
    ("event_count", "gte: 3"),
    ("event_count", "eq: 2"),
    ("event_count", "neq: 3"),
    ("event_count", "gt: 1\n    lte: 3"),
    ("value_count", "field: value\n    gte: 3"),
    ("value_count", "field: value\n    lt: 2"),
    ("value_sum", "field: value\n    gte: 3"),
    ("value_sum", "field: value\n    lt: -1"),
    ("value_avg", "field: value\n    gt: 0\n    lte: 1"),
    ("value_avg", "field: value\n    gte: 1"),
    ("value_median", "field: value\n    gte: 1"),
    ("value_median", "field: value\n    lt: 0"),
    ("value_percentile", "field: value\n    percentile: 90\n    gte: 2"),
    ("value_percentile", "field: value\n    percentile: 90\n    lte: 0"),
    ("temporal", ""),
    ("temporal", "gte: 2"),
    ("temporal", "r0 and (r1 or r2)"),
    ("temporal", "r0 and not r1"),
    ("temporal_ordered", ""),
];

fn base(index: usize) -> String {
    format!(
        "title: r{index}\nid: id{index}\nname: r{index}\nlogsource: {{product: linux}}\ndetection:\n  s: {{f: x}}\n  condition: s\n---\n"
    )
}

pub(crate) fn correlation(kind: &str, condition: &str, rest: &str) -> String {
    let condition = match condition {
        "" => String::new(),
        expression if expression.contains("and") => format!("  condition: {expression}\n"),
        comparisons => format!("  condition:\n    {comparisons}\n"),
    };
    format!(
        "title: c\nid: c\nname: c\ncorrelation:\n  type: {kind}\n  rules: [r0, r1, r2]\n  group-by: [user]\n  timespan: 10s\n{condition}{rest}"
    )
}

pub(crate) fn engine(correlations: &str) -> Engine {
    let bases: String = (0..3).map(base).collect();
    let (engine, problems) = compile(&[("rules.yml", format!("{bases}{correlations}"))]);
    assert!(problems.is_empty(), "{problems:?}");
    engine
}

/// A match of a rule; the value is in quarters.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) rule: usize,
    pub(crate) ts: i64,
    pub(crate) user: u8,
    pub(crate) realm: &'static str,
    pub(crate) value: i64,
    pub(crate) times: u64,
    pub(crate) agent: &'static str,
    pub(crate) seq: u64,
}

pub(crate) fn hit(engine: &Engine, step: &Step) -> Hit {
    let key = |name: &str, value: String| (Arc::from(name), value.into_boxed_str());
    Hit {
        rule: Arc::clone(engine.rule(&format!("r{}", step.rule)).unwrap()),
        ts: step.ts,
        event: EventKey { agent: step.agent.into(), epoch: 1, seq: step.seq, record: 0 },
        realm: step.realm.into(),
        times: step.times,
        keys: vec![key("user", step.user.to_string()), key("value", (step.value as f64 / 4.0).to_string())],
    }
}

pub(crate) fn step(ts: impl Strategy<Value = i64>) -> impl Strategy<Value = Step> {
    let agent = prop_oneof![Just("web01"), Just("db01")];
    let realm = prop_oneof![4 => Just(""), 1 => Just("drill")];
    (0..3_usize, ts, 0..2_u8, realm, -6..12_i64, 1..3_u64, agent).prop_map(
        |(rule, ts, user, realm, value, times, agent)| Step {
            rule,
            ts,
            user,
            realm,
            value,
            times,
            agent,
            seq: 0,
        },
    )
}

/// The step of a number for the tests that are no properties: an event of its own.
fn one(rule: usize, ts: i64, seq: u64) -> Step {
    Step { rule, ts, user: 1, realm: "", value: 4, times: 1, agent: "web01", seq }
}

fn failures(engine: &Engine, correlator: &mut Correlator, seconds: &[i64]) -> Vec<CorrelationHit> {
    let hit = |ts: i64| hit(engine, &one(0, ts * SECOND, ts as u64));
    seconds.iter().flat_map(|ts| correlator.observe(hit(*ts), ts * SECOND)).collect()
}

#[test]
fn tells_the_first_firing_from_the_further_ones() {
    let engine = engine(&correlation("event_count", "gte: 3", ""));
    let mut correlator = engine.correlator();
    let fired = failures(&engine, &mut correlator, &[1, 2, 3, 4, 40, 41, 42]);
    let told: Vec<_> = fired.iter().map(|hit| (hit.new, hit.count.to_string(), hit.events.len())).collect();
    let expected = [(true, "3", 3), (false, "4", 1), (true, "3", 3)];
    assert_eq!(told, expected.map(|(new, count, events)| (new, count.to_owned(), events)));
    assert_eq!(fired[0].group, [("user".to_owned(), "1".to_owned())]);
}

#[test]
fn names_the_event_that_fired_then_one_of_each_rule_or_value_then_the_others() {
    let fired = |kind: &str, condition: &str, steps: &[Step]| -> Vec<u64> {
        let engine = engine(&correlation(kind, condition, ""));
        let mut correlator = engine.correlator();
        let mut fired = steps.iter().flat_map(|step| correlator.observe(hit(&engine, step), step.ts));
        let first = fired.next().expect("a firing");
        assert!(first.new);
        first.events.iter().map(|event| event.seq).collect()
    };
    let step = |rule: usize, seq: u64| one(rule, seq as i64 * 1_000, seq);
    // More events of the first rule than a firing names.
    let mut steps: Vec<Step> = (1..=150).map(|seq| step(0, seq)).collect();
    steps.extend([step(1, 151), step(1, 152), step(2, 153)]);
    for kind in ["temporal", "temporal_ordered"] {
        let named = fired(kind, "", &steps);
        assert_eq!((&named[..5], named.len()), (&[153, 1, 151, 2, 3][..], 100), "{kind}");
    }
    let values = [4, 4, 4, 8, 9].into_iter().zip(1..);
    let steps: Vec<Step> = values.map(|(value, seq)| Step { value, ..step(0, seq) }).collect();
    assert_eq!(fired("value_count", "field: value\n    gte: 3", &steps), [5, 1, 4, 2, 3]);
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
        let step = Step { user, value, ..one(rule, ts * SECOND, ts as u64) };
        let hits = correlator.observe(hit(&engine, &step), ts * SECOND);
        hits.iter().map(|hit| hit.rule.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(fired(0, 1, 1, 7), [""; 0]);
    assert_eq!(fired(0, 2, 1, 7), ["c"]);
    assert_eq!(fired(2, 20, 2, 8), [""; 0], "another value");
    assert_eq!(fired(2, 31, 2, 7), ["top"], "grouped by its own fields, not by those below");
}

#[test]
fn hits_of_different_realms_are_never_together() {
    let above = "---\ntitle: top\nid: top\ncorrelation:\n  type: temporal_ordered\n  rules: [c, r2]\n  group-by: [user]\n  timespan: 1m\n";
    let engine = engine(&correlation("event_count", "gte: 2", above));
    let mut correlator = engine.correlator();
    let mut fired = |rule, ts, realm| {
        let step = Step { realm, ..one(rule, ts * SECOND, ts as u64) };
        let hits = correlator.observe(hit(&engine, &step), ts * SECOND);
        hits.iter().map(|hit| hit.rule.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(fired(0, 1, "drill-1"), [""; 0]);
    assert_eq!(fired(0, 2, ""), [""; 0], "real life does not go on where a drill stopped");
    assert_eq!(fired(0, 3, "drill-2"), [""; 0], "nor does another run");
    assert_eq!(fired(0, 4, "drill-1"), ["c"]);
    assert_eq!(fired(2, 15, ""), [""; 0], "nor does what a drill made hand on to real life");
    assert_eq!(fired(2, 16, "drill-1"), ["top"]);
}

#[test]
fn other_rules_leave_the_windows_of_correlations_that_ask_the_same() {
    let pair = |title: &str, limit: u32| {
        let kept = correlation("event_count", "gte: 3", "---\n").replace("title: c", title);
        let other = correlation("event_count", &format!("gte: {limit}"), "").replace(": c\n", ": d\n");
        engine(&format!("{kept}{other}"))
    };
    let (before, retitled, changed) = (pair("title: c", 4), pair("title: e", 4), pair("title: e", 3));
    let mut correlator = before.correlator();
    assert!(failures(&before, &mut correlator, &[1, 2]).is_empty());
    assert!(correlator.adopt(&retitled));
    assert!(!correlator.adopt(&changed), "one asks for less than before");
    // The hits of a batch that was evaluated by the rules before.
    let fired = failures(&before, &mut correlator, &[3]);
    let told: Vec<_> = fired.iter().map(|hit| (&*hit.rule.title, hit.events.len())).collect();
    assert_eq!(told, [("e", 3)]);
    let counters = correlator.counters();
    assert_eq!(counters.iter().map(|rule| (rule.groups, rule.events)).collect::<Vec<_>>(), [(1, 3), (1, 1)]);
    correlator.expire(99 * SECOND);
    assert_eq!(correlator.counters()[0].groups, 0);
    assert!(correlator.adopt(&engine("")), "none is left");
    assert!(failures(&changed, &mut correlator, &[100]).is_empty());
}

#[test]
fn a_hit_without_its_group_takes_no_part_and_is_counted() {
    let engine = engine(&correlation("event_count", "gte: 1", ""));
    let mut correlator = engine.correlator();
    let mut lacking = hit(&engine, &one(0, 1, 1));
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
        fired += correlator.observe(hit(&engine, &one(0, SECOND, seq)), SECOND).len();
    }
    let counters = &correlator.counters()[0];
    assert_eq!((counters.events, counters.events_dropped), (detect::limits::WINDOW_EVENTS_MAX, 10));
    assert_eq!(fired, detect::limits::WINDOW_EVENTS_MAX + 10 - 4_999, "a full group goes on firing");
    correlator.expire(SECOND + 2 * SPAN + 1);
    assert_eq!(correlator.counters()[0].groups, 0);
}

#[test]
fn follows_aliases_to_the_fields_of_each_rule() {
    let aliases = "  aliases:\n    who: {r0: user, r1: TargetUser, r2: user}\n    size: {r0: value, r1: bytes, r2: value}\n";
    let rule = correlation("value_sum", "field: size\n    gte: 3", aliases).replace("[user]", "[who]");
    let engine = engine(&rule);
    let mut correlator = engine.correlator();
    let mut other = hit(&engine, &one(1, SECOND, 1));
    other.keys = vec![("TargetUser".into(), "1".into()), ("bytes".into(), "2".into())];
    assert!(correlator.observe(other, SECOND).is_empty());
    let fired = correlator.observe(hit(&engine, &one(0, SECOND, 2)), SECOND);
    assert_eq!(fired[0].count.to_string(), "3");
    assert_eq!(fired[0].group, [("who".to_owned(), "1".to_owned())]);
}

#[test]
fn measures_numbers_only_and_counts_the_rest() {
    let engine = engine(&correlation("value_sum", "field: value\n    gte: 2", ""));
    let mut correlator = engine.correlator();
    let mut observe = |seq: u64, value: Option<&str>| {
        let mut hit = hit(&engine, &one(0, SECOND, seq));
        hit.keys.truncate(1);
        hit.keys.extend(value.map(|value| (Arc::from("value"), value.into())));
        correlator.observe(hit, SECOND).first().map(|hit| hit.count.to_string())
    };
    assert_eq!(observe(1, Some("1.5")), None);
    assert_eq!(observe(2, Some("many")), None);
    assert_eq!(observe(3, None), None);
    assert_eq!(observe(4, Some("0.500001")).as_deref(), Some("2.000001"));
    let counters = &correlator.counters()[0];
    assert_eq!((counters.unmeasured, counters.events), (2, 2));
}

#[test]
fn evicts_the_quietest_groups_of_the_rule_that_holds_the_most() {
    let few = correlation("event_count", "gte: 2", "---\n").replace("rules: [r0, r1, r2]", "rules: [r1]");
    let many = correlation("event_count", "gte: 2", "").replace("rules: [r0, r1, r2]", "rules: [r0]");
    let engine = engine(&format!("{few}{}", many.replace(": c\n", ": d\n")));
    let mut correlator = engine.correlator().limited(1_000, 1_500);
    let mut observe = |rule: usize, seq: u64, group: u64| {
        let mut hit = hit(&engine, &one(rule, SECOND, seq));
        hit.keys[0].1 = group.to_string().into_boxed_str();
        correlator.observe(hit, SECOND).len()
    };
    assert_eq!(observe(1, 0, 7), 0);
    (1..=5_000).for_each(|seq| assert_eq!(observe(0, seq, seq), 0));
    assert_eq!(observe(1, 5_001, 7), 1, "the other rule lost nothing");
    assert_eq!(observe(0, 5_002, 5_000), 1, "the last group is there");
    assert_eq!(observe(0, 5_003, 1), 0, "the first is not");
    let [few, many] = &correlator.counters()[..] else { panic!() };
    assert_eq!((few.groups, few.events, few.groups_evicted), (1, 2, 0));
    assert_eq!((many.groups as u64 + many.groups_evicted, many.groups), (5_001, 999));
}

#[test]
fn evicts_no_more_groups_than_the_events_need() {
    let engine = engine(&correlation("event_count", "gte: 5000", ""));
    let mut correlator = engine.correlator().limited(usize::MAX, 20_000);
    for seq in 0..=20_000 {
        let step = Step { user: (seq / 1_000) as u8, ..one(0, SECOND, seq) };
        correlator.observe(hit(&engine, &step), SECOND);
    }
    let counters = &correlator.counters()[0];
    assert_eq!((counters.groups, counters.groups_evicted, counters.events), (20, 1, 19_001));
}

#[test]
fn evicts_groups_when_all_hold_too_many_events() {
    let engine = engine(&correlation("event_count", "gte: 5", ""));
    let mut correlator = engine.correlator().limited(1_000, 100);
    for seq in 0..1_000 {
        let step = Step { user: (seq / 10) as u8, ..one(0, SECOND, seq) };
        correlator.observe(hit(&engine, &step), SECOND);
        assert!(correlator.counters()[0].events <= 100);
    }
    let counters = &correlator.counters()[0];
    assert_eq!((counters.groups as u64 + counters.groups_evicted, counters.events), (100, 100));
}
