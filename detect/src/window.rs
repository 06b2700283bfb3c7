//! The events of one group of a correlation, and the question whether a new one fires it.
//!
//! Entries are kept in the order of time. A hit in order, which is nearly every hit, costs no search: what the window that
//! ends at the newest entry holds is counted as entries come and go. A late hit is answered by walking over the windows that
//! hold it, and the count is made anew.

use std::collections::{HashMap, VecDeque};

use event::Micros;

use crate::correlation::{Condition, Correlation, Counted};
use crate::correlator::EventKey;
use crate::limits::{EVENTS_REPORTED_MAX, WINDOW_EVENTS_MAX};

/// How many entries are looked at for the same event. It comes twice when several rules of a correlation match it, one after
/// the other; whole batches that come again are not let through to the correlator.
const SAME_LOOKED_AT: usize = 32;

/// One event of a group.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) ts: Micros,
    /// What it counts as: the hash of its value, or the position of its rule.
    pub(crate) kind: u64,
    /// How often it happened.
    pub(crate) times: u64,
    pub(crate) arrived: Micros,
    pub(crate) event: EventKey,
}

/// The window that fired.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) first: Micros,
    pub(crate) last: Micros,
    pub(crate) count: u64,
    pub(crate) events: Vec<EventKey>,
    pub(crate) new: bool,
}

/// A group.
#[derive(Debug, Default)]
pub(crate) struct Window {
    entries: VecDeque<Entry>,
    /// What the window that ends at the newest entry holds.
    trail: Tally,
    /// The last hit in order fired.
    firing: bool,
    /// The correlation's count of hits at the group's last one.
    pub(crate) touched: u64,
    /// Arrival of the last hit.
    arrived: Micros,
}

/// A range of entries and how many of each kind it holds.
#[derive(Clone, Debug, Default)]
struct Tally {
    start: usize,
    end: usize,
    /// Events, each as often as it happened.
    events: u64,
    kinds: HashMap<u64, u32>,
}

impl Window {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Puts the entries of one hit in, and says whether it fires.
    pub(crate) fn add(
        &mut self,
        correlation: &Correlation,
        entries: impl Iterator<Item = Entry>,
        tick: u64,
    ) -> Option<Found> {
        self.touched = tick;
        let mut added: Option<Entry> = None;
        let mut in_order = true;
        for entry in entries {
            self.arrived = self.arrived.max(entry.arrived);
            if let Some(place) = self.place(correlation, &entry) {
                in_order &= place == self.entries.len();
                self.entries.insert(place, entry.clone());
                added = Some(entry);
            }
        }
        let added = added?;
        if in_order { self.ask_last(correlation, &added) } else { self.ask_late(correlation, &added) }
    }

    /// Where an entry belongs: behind those of its time; where the order of rules matters, behind those of its own rule and
    /// the rules before it. None when the same event is among the last there already.
    fn place(&self, correlation: &Correlation, entry: &Entry) -> Option<usize> {
        let place = match correlation.kind {
            Counted::RulesInOrder => {
                self.entries.partition_point(|other| (other.ts, other.kind) <= (entry.ts, entry.kind))
            }
            _ => self.entries.partition_point(|other| other.ts <= entry.ts),
        };
        let same = |other: &Entry| other.kind == entry.kind && other.event == entry.event;
        let mut near = self.entries.range(place.saturating_sub(SAME_LOOKED_AT)..place);
        (!near.any(same)).then_some(place)
    }

    fn ask_last(&mut self, correlation: &Correlation, added: &Entry) -> Option<Found> {
        let before = self.trail.end;
        self.trail.extend(&self.entries, self.entries.len());
        self.trail.shrink(&self.entries, added.ts.saturating_sub(correlation.timespan));
        if self.trail.start >= before {
            // Nothing of what fired before is left in the window.
            self.firing = false;
        }
        let count = self.count(correlation, &self.trail, added);
        let new = !std::mem::replace(&mut self.firing, count.is_some());
        count.and_then(|count| self.found(&self.trail, count, new))
    }

    /// The fullest of the windows that hold the late entry and end at one that is not before it.
    fn ask_late(&mut self, correlation: &Correlation, added: &Entry) -> Option<Found> {
        let until = added.ts.saturating_add(correlation.timespan);
        let mut tally = Tally::default();
        let mut best: Option<(u64, Tally)> = None;
        let mut anchor = Some(added.ts);
        while let Some(ts) = anchor.filter(|ts| *ts <= until) {
            let start = ts.saturating_sub(correlation.timespan);
            let end = self.entries.partition_point(|entry| entry.ts <= ts);
            if tally.end == 0 {
                tally.start = self.entries.partition_point(|entry| entry.ts < start);
                tally.end = tally.start;
            }
            tally.extend(&self.entries, end);
            tally.shrink(&self.entries, start);
            if let Some(count) = self.count(correlation, &tally, added)
                && best.as_ref().is_none_or(|(most, _)| count > *most)
            {
                best = Some((count, tally.clone()));
            }
            anchor = self.entries.get(end).map(|entry| entry.ts);
        }
        self.retrail(correlation);
        let (count, tally) = best?;
        // A late entry joins the firing of the group when the newest window is the one that fires.
        let new = !(self.firing && tally.end > self.trail.start);
        self.firing |= tally.end == self.entries.len();
        self.found(&tally, count, new)
    }

    /// Counts the newest window anew.
    fn retrail(&mut self, correlation: &Correlation) {
        let Some(newest) = self.entries.back().map(|entry| entry.ts) else { return };
        let start = newest.saturating_sub(correlation.timespan);
        let start = self.entries.partition_point(|entry| entry.ts < start);
        self.trail = Tally { start, end: start, ..Tally::default() };
        self.trail.extend(&self.entries, self.entries.len());
    }

    /// What the condition is asked of, when it is met.
    fn count(&self, correlation: &Correlation, tally: &Tally, added: &Entry) -> Option<u64> {
        let count = match correlation.kind {
            Counted::Events => tally.events,
            _ => u64::try_from(tally.kinds.len()).ok()?,
        };
        let met = match &correlation.condition {
            Condition::Count(_) => correlation.condition.meets(count),
            Condition::All if tally.kinds.len() < correlation.members.len() => false,
            Condition::All => {
                correlation.kind != Counted::RulesInOrder || self.is_in_order(correlation, tally, added)
            }
            Condition::Expression(expression) => expression
                .holds(&|member| u64::try_from(member).is_ok_and(|kind| tally.kinds.contains_key(&kind))),
        };
        met.then_some(count)
    }

    /// Whether the range has all rules in their order, with the added entry as one of them.
    fn is_in_order(&self, correlation: &Correlation, tally: &Tally, added: &Entry) -> bool {
        let steps = u64::try_from(correlation.members.len()).unwrap_or(u64::MAX);
        let is_added = |entry: &Entry| entry.kind == added.kind && entry.event == added.event;
        let mut next = 0_u64;
        for entry in self.entries.range(tally.start..tally.end) {
            // The added entry's step is left to it.
            if entry.kind == next && (next != added.kind || is_added(entry)) {
                next = next.saturating_add(1);
            }
        }
        next == steps
    }

    fn found(&self, tally: &Tally, count: u64, new: bool) -> Option<Found> {
        let entries = self.entries.range(tally.start..tally.end);
        let (first, last) = (entries.clone().next()?.ts, entries.clone().next_back()?.ts);
        let mut events: Vec<EventKey> = Vec::new();
        if new {
            for entry in entries {
                // The values of one event stand beside each other.
                if events.last() != Some(&entry.event) {
                    events.push(entry.event.clone());
                }
                if events.len() >= EVENTS_REPORTED_MAX {
                    break;
                }
            }
        }
        Some(Found { first, last, count, events, new })
    }

    /// Forgets what no late event can need any more, and what is too much; says how many of the latter.
    pub(crate) fn prune(&mut self, correlation: &Correlation, now: Micros) -> u64 {
        let keep = correlation.timespan.saturating_mul(2);
        let newest = self.entries.back().map_or(0, |entry| entry.ts);
        let is_old = |entry: &Entry| {
            entry.ts < newest.saturating_sub(keep) && entry.arrived < now.saturating_sub(keep)
        };
        while self.entries.front().is_some_and(is_old) {
            self.pop();
        }
        let mut dropped = 0_u64;
        while self.entries.len() > WINDOW_EVENTS_MAX {
            self.pop();
            dropped = dropped.saturating_add(1);
        }
        dropped
    }

    fn pop(&mut self) {
        self.trail.pop_front(&self.entries);
        self.entries.pop_front();
    }

    /// Whether no event, late or not, can need the group any more.
    pub(crate) fn is_over(&self, correlation: &Correlation, now: Micros) -> bool {
        let keep = correlation.timespan.saturating_mul(2);
        let newest = self.entries.back().map_or(Micros::MIN, |entry| entry.ts);
        newest.max(self.arrived) < now.saturating_sub(keep)
    }
}

impl Tally {
    /// Takes entries in at the end.
    fn extend(&mut self, entries: &VecDeque<Entry>, end: usize) {
        for entry in entries.range(self.end.min(end)..end) {
            let count = self.kinds.entry(entry.kind).or_default();
            *count = count.saturating_add(1);
            self.events = self.events.saturating_add(entry.times);
        }
        self.end = end;
    }

    /// Lets go of the entries before a time.
    fn shrink(&mut self, entries: &VecDeque<Entry>, since: Micros) {
        while let Some(entry) =
            entries.get(self.start).filter(|entry| self.start < self.end && entry.ts < since)
        {
            self.forget(entry);
            self.start = self.start.saturating_add(1);
        }
    }

    /// The first entry of the group is about to go.
    fn pop_front(&mut self, entries: &VecDeque<Entry>) {
        if self.start == 0
            && self.end > 0
            && let Some(entry) = entries.front()
        {
            self.forget(entry);
        }
        self.start = self.start.saturating_sub(1);
        self.end = self.end.saturating_sub(1);
    }

    fn forget(&mut self, entry: &Entry) {
        self.events = self.events.saturating_sub(entry.times);
        if let Some(count) = self.kinds.get_mut(&entry.kind) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.kinds.remove(&entry.kind);
            }
        }
    }
}
