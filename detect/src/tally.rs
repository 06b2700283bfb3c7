//! A range of a group's entries, and what it holds of what the correlation asks for. Entries come into it and leave it one
//! by one, so that a window that slides is never counted anew.

use std::collections::BTreeMap;
use std::ops::Bound;

use event::Micros;

use crate::amount::{Amount, Ordered};
use crate::correlation::Counted;
use crate::entries::{Entries, Entry};

#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) counted: Counted,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Events, each as often as it happened.
    events: u64,
    sum: Amount,
    kinds: Weights,
}

/// How often each kind is there, or each number. `at` and `below` are a finger on the numbers: what is asked for next lies
/// near to what was asked for last.
#[derive(Debug, Default)]
struct Weights {
    weights: BTreeMap<u64, u64>,
    at: u64,
    /// The weights before `at`, together.
    below: u64,
}

impl Tally {
    pub(crate) fn new(counted: Counted, start: usize) -> Self {
        let (events, sum, kinds) = (0, Amount::default(), Weights::default());
        Self { counted, start, end: start, events, sum, kinds }
    }

    /// Takes entries in at the end.
    pub(crate) fn extend(&mut self, entries: &Entries, end: usize) {
        for entry in entries.range(self.end, end) {
            self.add(entry);
        }
        self.end = self.end.max(end);
    }

    /// Lets go of the entries before a time.
    pub(crate) fn shrink(&mut self, entries: &Entries, since: Micros) {
        while let Some(entry) = entries.get(self.start)
            && self.start < self.end
            && entry.ts < since
        {
            self.forget(entry);
            self.start = self.start.saturating_add(1);
        }
    }

    /// Goes back to an end before its own, and to a start that is not behind its own: the first entry that is not before a time.
    pub(crate) fn rewind(&mut self, entries: &Entries, end: usize, since: Micros) {
        for entry in entries.range(end.max(self.start), self.end) {
            self.forget(entry);
        }
        let start = entries.before(since);
        for entry in entries.range(start, end.min(self.start)) {
            self.add(entry);
        }
        (self.start, self.end) = (start, end);
    }

    /// An entry was put in at a place that is not behind the range.
    pub(crate) fn insert(&mut self, place: usize, entry: &Entry) {
        self.end = self.end.saturating_add(1);
        if place < self.start {
            self.start = self.start.saturating_add(1);
        } else {
            self.add(entry);
        }
    }

    /// The first entry of the group is about to go.
    pub(crate) fn pop_front(&mut self, entries: &Entries) {
        if self.start == 0
            && self.end > 0
            && let Some(entry) = entries.front()
        {
            self.forget(entry);
        }
        self.start = self.start.saturating_sub(1);
        self.end = self.end.saturating_sub(1);
    }

    /// What the condition is asked of; none of an empty range.
    pub(crate) fn amount(&mut self) -> Option<Amount> {
        match self.counted {
            Counted::Events => Some(self.events.into()),
            Counted::Values | Counted::Rules | Counted::RulesInOrder => Some(self.kinds.different().into()),
            Counted::Sum => Some(self.sum),
            Counted::Average => self.sum.over(self.events),
            Counted::Percentile(percent) => self.percentile(percent),
        }
    }

    pub(crate) fn has(&self, kind: usize) -> bool {
        u64::try_from(kind).is_ok_and(|kind| self.kinds.weights.contains_key(&kind))
    }

    /// Between the two nearest numbers, in proportion (Hyndman and Fan's seventh definition, which most tools use).
    fn percentile(&mut self, percent: u64) -> Option<Amount> {
        let last = self.events.checked_sub(1)?;
        let place = last.saturating_mul(percent);
        let (lower, rest) = (place / 100, place % 100);
        let low = self.kinds.number(lower)?;
        if rest == 0 {
            return Some(low);
        }
        let high = self.kinds.number(lower.saturating_add(1))?;
        Some(low.plus(high.minus(low).times(rest).over(100)?))
    }

    fn add(&mut self, entry: &Entry) {
        let times = u64::from(entry.times.get());
        self.events = self.events.saturating_add(times);
        match self.counted {
            Counted::Events => {}
            Counted::Values | Counted::Rules | Counted::RulesInOrder => self.kinds.add(entry.kind, 1),
            Counted::Sum | Counted::Average => self.sum = self.sum.plus(amount(entry)),
            Counted::Percentile(_) => self.kinds.add(entry.kind, times),
        }
    }

    fn forget(&mut self, entry: &Entry) {
        let times = u64::from(entry.times.get());
        self.events = self.events.saturating_sub(times);
        match self.counted {
            Counted::Events => {}
            Counted::Values | Counted::Rules | Counted::RulesInOrder => self.kinds.take(entry.kind, 1),
            Counted::Sum | Counted::Average => self.sum = self.sum.minus(amount(entry)),
            Counted::Percentile(_) => self.kinds.take(entry.kind, times),
        }
    }
}

/// A number as often as its event happened.
fn amount(entry: &Entry) -> Amount {
    Ordered(entry.kind).amount().times(entry.times.get().into())
}

impl Weights {
    fn different(&self) -> u64 {
        u64::try_from(self.weights.len()).unwrap_or(u64::MAX)
    }

    fn add(&mut self, kind: u64, weight: u64) {
        let known = self.weights.entry(kind).or_default();
        *known = known.saturating_add(weight);
        if kind < self.at {
            self.below = self.below.saturating_add(weight);
        }
    }

    fn take(&mut self, kind: u64, weight: u64) {
        if let Some(known) = self.weights.get_mut(&kind) {
            *known = known.saturating_sub(weight);
            if *known == 0 {
                self.weights.remove(&kind);
            }
        }
        if kind < self.at {
            self.below = self.below.saturating_sub(weight);
        }
    }

    /// The number that stands at a place when all are laid out in order.
    fn number(&mut self, place: u64) -> Option<Amount> {
        while place < self.below {
            let (kind, weight) = self.weights.range(..self.at).next_back()?;
            (self.at, self.below) = (*kind, self.below.saturating_sub(*weight));
        }
        loop {
            let weight = self.weights.get(&self.at).copied().unwrap_or_default();
            let after = self.below.saturating_add(weight);
            if place < after {
                return Some(Ordered(self.at).amount());
            }
            let (next, _) = self.weights.range((Bound::Excluded(self.at), Bound::Unbounded)).next()?;
            (self.at, self.below) = (*next, after);
        }
    }
}
