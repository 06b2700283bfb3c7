//! A correlator that is cut at any point and recalled fires what the uncut one fires.

use detect::{CorrelationHit, Correlator, Engine};
use proptest::prelude::*;

use crate::{KINDS, SECOND, SPAN, Step, correlation, engine, hit, step};

const ABOVE: &str = "---
title: counted
name: counted
correlation: {type: event_count, rules: [c], group-by: [user], timespan: 20s, condition: {gte: 2}}
---
title: ordered
name: ordered
correlation: {type: temporal_ordered, rules: [c, r2], group-by: [user], timespan: 15s}
";

/// The log: hits and when they came.
fn log(gap: i64, late: i64) -> impl Strategy<Value = Vec<(Step, i64)>> {
    let ts = prop_oneof![8 => -late..=SECOND, 1 => 590 * SECOND..=600 * SECOND];
    let gap = prop_oneof![20 => 0..=gap, 1 => 100 * SECOND..=700 * SECOND];
    prop::collection::vec((step(ts), gap), 1..50).prop_map(|steps| {
        let mut now = 10_000 * SECOND;
        let mut arrive = |(seq, (step, gap)): (usize, (Step, i64))| {
            now += gap;
            (Step { ts: now + step.ts, seq: seq as u64, ..step }, now)
        };
        steps.into_iter().enumerate().map(&mut arrive).collect()
    })
}

fn observe(engine: &Engine, correlator: &mut Correlator, step: &Step, now: i64) -> Vec<CorrelationHit> {
    let mut fired = correlator.observe(hit(engine, step), now);
    // Events of the same time have no order among agents.
    fired.iter_mut().for_each(|fired| fired.events.sort());
    fired
}

/// What fires at each hit.
fn uncut(engine: &Engine, log: &[(Step, i64)]) -> Vec<Vec<CorrelationHit>> {
    let mut correlator = engine.correlator();
    log.iter().map(|(step, now)| observe(engine, &mut correlator, step, *now)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Recalled from the hits of the last `reach` by arrival; and the last batch comes again, which was stored and not
    /// acknowledged.
    #[test]
    fn recalled_by_arrival_it_fires_the_same(log in log(4 * SECOND, 3 * SPAN)) {
        for (kind, condition) in KINDS {
            let engine = engine(&correlation(kind, condition, ABOVE));
            let expected = uncut(&engine, &log);
            for cut in 1..log.len() {
                let (before, after) = log.split_at(cut);
                let restarted = after[0].1;
                let mut correlator = engine.correlator();
                for (step, now) in before.iter().filter(|(_, now)| *now >= restarted - engine.reach()) {
                    observe(&engine, &mut correlator, step, *now);
                }
                for (step, _) in before.iter().rev().take(5).filter(|(_, now)| *now >= restarted - SPAN) {
                    prop_assert_eq!(observe(&engine, &mut correlator, step, restarted), []);
                }
                for ((step, now), expected) in after.iter().zip(&expected[cut..]) {
                    let fired = observe(&engine, &mut correlator, step, *now);
                    prop_assert_eq!(&fired, expected, "{} {} cut at {} of {:?}", kind, condition, cut, &log);
                }
            }
        }
    }

    /// As the collector does, which asks the store by the events' time: all at once, in their order. Of hits that are at most
    /// a timespan late nothing is lost, of rules that refer to no correlation.
    #[test]
    fn recalled_by_the_events_time_it_fires_the_same(log in log(4 * SECOND, SPAN)) {
        for (kind, condition) in KINDS {
            let engine = engine(&correlation(kind, condition, ""));
            let expected = uncut(&engine, &log);
            for cut in 1..log.len() {
                let (before, after) = log.split_at(cut);
                let restarted = after[0].1;
                let mut recalled: Vec<&Step> = before.iter().map(|(step, _)| step).collect();
                recalled.retain(|step| step.ts >= restarted - engine.reach());
                recalled.sort_by_key(|step| (step.ts, step.seq));
                let mut correlator = engine.correlator();
                for step in recalled {
                    observe(&engine, &mut correlator, step, restarted);
                }
                for ((step, now), expected) in after.iter().zip(&expected[cut..]) {
                    let fired = observe(&engine, &mut correlator, step, *now);
                    prop_assert_eq!(&fired, expected, "{} {} cut at {} of {:?}", kind, condition, cut, &log);
                }
            }
        }
    }
}
