//! Every type against the model: in order, out of order, late, and twice.

use proptest::prelude::*;

use crate::model::{Fired, Model};
use crate::{KINDS, SECOND, SPAN, Step, correlation, engine, hit, step};

/// What comes when; a step may be that of an earlier event again, by the same rule or another.
type Arrivals = Vec<(Step, i64)>;

fn agrees(arrivals: &Arrivals, forgets: bool) -> Result<(), TestCaseError> {
    for (kind, condition) in KINDS {
        let engine = engine(&correlation(kind, condition, ""));
        let mut correlator = engine.correlator();
        let mut model = Model::new(kind, condition, forgets);
        for (at, (step, now)) in arrivals.iter().enumerate() {
            if at % 5 == 0 {
                correlator.expire(*now);
            }
            let fired = correlator.observe(hit(&engine, step), *now);
            let fired: Vec<Fired> =
                fired.iter().map(|hit| (hit.first, hit.last, millionths(hit), hit.new)).collect();
            let expected: Vec<Fired> = model.observe(step, *now).into_iter().collect();
            prop_assert_eq!(fired, expected, "{} {} {:?}", kind, condition, &arrivals[..=at]);
        }
    }
    Ok(())
}

fn millionths(hit: &detect::CorrelationHit) -> i128 {
    (hit.count.to_string().parse::<f64>().unwrap() * 1e6).round() as i128
}

/// Gives each step its number; some are events that came before, some of these by another rule.
fn numbered(steps: Vec<(Step, Option<usize>)>) -> Vec<Step> {
    let mut numbered: Vec<Step> = Vec::new();
    for (seq, (step, again)) in steps.into_iter().enumerate() {
        let again = again.and_then(|again| numbered.get(again % numbered.len().max(1)).cloned());
        let step = match again {
            Some(before) => Step { rule: if seq % 2 == 0 { before.rule } else { step.rule }, ..before },
            None => Step { seq: seq as u64, ..step },
        };
        numbered.push(step);
    }
    numbered
}

/// Each step perhaps an earlier event again.
fn steps(ts: impl Strategy<Value = i64>, most: usize) -> impl Strategy<Value = Vec<Step>> {
    let again = prop::option::weighted(0.2, 0..most);
    prop::collection::vec((step(ts), again), 1..most).prop_map(numbered)
}

/// Time goes on by a step each time; the steps' own times say how late they are.
fn live(steps: Vec<Step>, seconds_each: i64) -> Arrivals {
    let mut seen = std::collections::HashMap::new();
    let arrive = |(at, step): (usize, Step)| {
        let now = (at as i64 + 100) * seconds_each * SECOND / 2;
        let ts = *seen.entry(step.seq).or_insert(now - step.ts);
        (Step { ts, ..step }, now)
    };
    steps.into_iter().enumerate().map(arrive).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A backlog: all arrives at once, in any order, however late.
    #[test]
    fn on_a_backlog(steps in steps((0..120_i64).prop_map(|half| half * SECOND / 2), 50)) {
        agrees(&steps.into_iter().map(|step| (step, 1_000 * SECOND)).collect(), false)?;
    }

    /// In the order of time.
    #[test]
    fn in_order(steps in steps(Just(0_i64), 60)) {
        agrees(&live(steps, 3), true)?;
    }

    /// Up to a timespan late: forgetting loses nothing, so the model keeps every event.
    #[test]
    fn when_late_by_up_to_a_timespan(steps in prop::collection::vec(step(0..=SPAN), 1..60)) {
        let steps = steps.into_iter().zip(0..).map(|(step, seq)| Step { seq, ..step }).collect();
        agrees(&live(steps, 3), false)?;
    }

    /// Late as they like, some ahead of their time: what came or happened two timespans ago is forgotten, nothing else is.
    #[test]
    fn when_late_by_any_time(steps in steps((-8..70_i64).prop_map(|half| half * SECOND / 2), 60)) {
        agrees(&live(steps, 3), true)?;
    }
}
