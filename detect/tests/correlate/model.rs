//! The naive model: it looks at every window of every event that the documentation says is kept, anew at each hit.

use std::collections::{BTreeMap, BTreeSet};

use crate::{SECOND, SPAN, Step};

/// What fires: the window's first and last time, what the condition was asked of in millionths, and whether it is new.
pub(crate) type Fired = (i64, i64, i128, bool);

pub(crate) struct Model {
    kind: &'static str,
    condition: &'static str,
    /// Two timespans, or for ever.
    forgets: bool,
    groups: BTreeMap<(&'static str, u8), Group>,
}

#[derive(Default)]
struct Group {
    /// Steps, and when they arrived.
    steps: Vec<(Step, i64)>,
    firing: bool,
}

impl Model {
    pub(crate) fn new(kind: &'static str, condition: &'static str, forgets: bool) -> Self {
        Self { kind, condition, forgets, groups: BTreeMap::new() }
    }

    pub(crate) fn observe(&mut self, step: &Step, now: i64) -> Option<Fired> {
        let mut group = self.groups.remove(&(step.realm, step.user)).unwrap_or_default();
        if self.forgets {
            // In whole seconds, rounded up.
            let seconds = |time: i64| (time + SECOND - 1) / SECOND;
            let since = seconds(now) - 2 * SPAN / SECOND;
            group.steps.retain(|(step, arrived)| seconds(step.ts.max(*arrived)) >= since);
        }
        let newest = group.steps.iter().map(|(step, _)| step.ts).max();
        let mut fired = None;
        if !group.steps.iter().any(|(other, _)| self.identity(other) == self.identity(step)) {
            group.steps.push((step.clone(), now));
            let steps: Vec<&Step> = group.steps.iter().map(|(step, _)| step).collect();
            fired = self.fullest(&steps, step).map(|(first, last, amount)| {
                let since = newest.map(|newest| newest - SPAN);
                let joins = match newest {
                    Some(newest) if newest <= step.ts => newest >= step.ts - SPAN,
                    _ => since.is_some_and(|since| last >= since),
                };
                (first, last, amount, !(group.firing && joins))
            });
            let back = steps.iter().max_by_key(|step| (step.ts, step.rule)).unwrap();
            group.firing = self.holds(&steps, back, back.ts).is_some();
        }
        self.groups.insert((step.realm, step.user), group);
        fired
    }

    /// What makes two steps one.
    fn identity(&self, step: &Step) -> (i64, &'static str, u64, i64) {
        let of_kind = match self.kind {
            "value_count" => step.value,
            "temporal" | "temporal_ordered" => step.rule as i64,
            _ => 0,
        };
        (step.ts, step.agent, step.seq, of_kind)
    }

    /// The fullest of the windows that hold a step, the first of them where several are.
    fn fullest(&self, steps: &[&Step], added: &Step) -> Option<(i64, i64, i128)> {
        let ends = steps.iter().map(|step| step.ts).filter(|ts| (added.ts..=added.ts + SPAN).contains(ts));
        let ends: BTreeSet<i64> = ends.collect();
        let mut best: Option<(i64, i64, i128)> = None;
        for window in ends.into_iter().filter_map(|end| self.holds(steps, added, end)) {
            if best.is_none_or(|(_, _, most)| window.2 > most) {
                best = Some(window);
            }
        }
        best
    }

    /// The window that ends at a time, when it meets the condition.
    fn holds(&self, steps: &[&Step], added: &Step, end: i64) -> Option<(i64, i64, i128)> {
        let within = |step: &&Step| (end - SPAN..=end).contains(&step.ts);
        let window: Vec<&Step> = steps.iter().copied().filter(within).collect();
        let amount = self.amount(&window);
        let seen = |rule: usize| window.iter().any(|step| step.rule == rule);
        let met = match (self.kind, self.condition) {
            ("temporal", "") => (0..3).all(seen),
            ("temporal", "r0 and (r1 or r2)") => seen(0) && (seen(1) || seen(2)),
            ("temporal", "r0 and not r1") => seen(0) && !seen(1),
            ("temporal_ordered", _) => is_in_order(&window, added),
            (_, comparisons) => comparisons.split('\n').all(|comparison| meets(amount, comparison)),
        };
        met.then(|| (window.iter().map(|step| step.ts).min().unwrap(), end, amount))
    }

    fn amount(&self, window: &[&Step]) -> i128 {
        let different = |of: fn(&Step) -> i64| {
            window.iter().map(|step| of(step)).collect::<BTreeSet<_>>().len() as i128 * 1_000_000
        };
        let mut numbers: Vec<i128> = Vec::new();
        for step in window {
            numbers.extend((0..step.times).map(|_| i128::from(step.value) * 250_000));
        }
        numbers.sort_unstable();
        match self.kind {
            "event_count" => numbers.len() as i128 * 1_000_000,
            "value_count" => different(|step| step.value),
            "temporal" | "temporal_ordered" => different(|step| step.rule as i64),
            "value_sum" => numbers.iter().sum(),
            "value_avg" => numbers.iter().sum::<i128>().div_euclid(numbers.len() as i128),
            "value_median" => percentile(&numbers, 50),
            "value_percentile" => percentile(&numbers, 90),
            kind => panic!("{kind}"),
        }
    }
}

/// Between the two nearest, in proportion.
fn percentile(numbers: &[i128], percent: usize) -> i128 {
    let place = (numbers.len() - 1) * percent;
    let (low, high) = (numbers[place / 100], numbers[(place / 100 + 1).min(numbers.len() - 1)]);
    low + ((high - low) * (place % 100) as i128).div_euclid(100)
}

/// Whether all rules are there in their order, with a step as the one of its rule.
fn is_in_order(window: &[&Step], added: &Step) -> bool {
    let mut at = i64::MIN;
    (0..3).all(|rule| {
        let of_rule = window.iter().filter(|step| step.rule == rule && step.ts >= at).map(|step| step.ts);
        let next = if rule == added.rule { (added.ts >= at).then_some(added.ts) } else { of_rule.min() };
        at = next.unwrap_or(at);
        next.is_some()
    })
}

fn meets(amount: i128, comparison: &str) -> bool {
    let (operator, limit) = comparison.trim().split_once(": ").unwrap();
    let limit = || limit.parse::<i128>().unwrap() * 1_000_000;
    match operator {
        "gte" => amount >= limit(),
        "gt" => amount > limit(),
        "lte" => amount <= limit(),
        "lt" => amount < limit(),
        "eq" => amount == limit(),
        "neq" => amount != limit(),
        _ => true,
    }
}
