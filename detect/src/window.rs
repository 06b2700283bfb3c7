//! The events of one group of a correlation, and the question whether a new one fires it.
//!
//! Entries are kept in the order of time. A hit in order, which is nearly every hit, costs no search: what the window that
//! ends at the newest entry holds is counted as entries come and go, once there are more than [`COUNTED_ANEW`]. For a late hit it
//! goes back to the windows that hold it, and forth again.
//!
//! A group is its entries and nothing else. Whether it fires is what its newest window says, so that whoever has the entries
//! of a window and of the one before it has all.

use event::Micros;

use crate::amount::Amount;
use crate::correlation::{Condition, Correlation, Counted};
use crate::correlator::EventKey;
use crate::entries::{Entries, Entry};
use crate::limits::{EVENTS_REPORTED_MAX, WINDOW_EVENTS_MAX};
use crate::senders::Senders;
use crate::tally::Tally;

/// Groups of so few entries are counted anew at each hit, and keep nothing but the entries.
const COUNTED_ANEW: usize = 8;

/// An entry is needed for so many timespans: by the windows of a hit that is a whole one late.
const KEPT_TIMESPANS: Micros = 2;

const SECOND: Micros = 1_000_000;

/// The window that fired.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) first: Micros,
    pub(crate) last: Micros,
    pub(crate) count: Amount,
    /// Of the window when it is new, else none.
    pub(crate) events: Vec<EventKey>,
    pub(crate) new: bool,
}

/// A group.
#[derive(Debug, Default)]
pub(crate) struct Window {
    entries: Entries,
    /// What the window that ends at the newest entry holds.
    trail: Option<Box<Tally>>,
    /// When the last hit had come.
    arrived_s: u32,
    /// The newest window fires.
    firing: bool,
}

/// Where the entries of a window stand, and what the condition was asked of.
#[derive(Clone, Copy)]
struct Answer {
    start: usize,
    end: usize,
    count: Amount,
}

impl Window {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn senders(&self) -> impl Iterator<Item = u32> {
        self.entries.range(0, self.len()).map(|entry| entry.sender)
    }

    /// Puts the entries of one hit in, and says whether it fires. None as well when they are all there already.
    pub(crate) fn add(
        &mut self,
        correlation: &Correlation,
        entries: &[Entry],
        senders: &Senders,
    ) -> Option<Found> {
        let newest = self.entries.back().map(|entry| entry.ts);
        let mut added: Option<&Entry> = None;
        for entry in entries {
            self.arrived_s = self.arrived_s.max(entry.arrived_s);
            if let Some(place) = self.entries.place(entry, correlation.kind) {
                self.entries.insert(place, *entry);
                if let Some(trail) = &mut self.trail {
                    trail.insert(place, entry);
                }
                added = Some(entry);
            }
        }
        let added = added?;
        if newest.is_none_or(|newest| newest <= added.ts) {
            self.ask_last(correlation, added, newest, senders)
        } else {
            self.ask_late(correlation, added, senders)
        }
    }

    fn ask_last(
        &mut self,
        correlation: &Correlation,
        added: &Entry,
        before: Option<Micros>,
        senders: &Senders,
    ) -> Option<Found> {
        let since = added.ts.saturating_sub(correlation.timespan);
        let joins = self.firing && before.is_some_and(|before| before >= since);
        let answer = self.ask_newest(correlation, added);
        self.firing = match self.entries.back().copied() {
            // Of the same time, and of a later rule.
            Some(newest) if newest != *added => self.ask_newest(correlation, &newest).is_some(),
            _ => answer.is_some(),
        };
        answer.map(|answer| self.found(answer, !joins, senders))
    }

    /// The fullest of the windows that hold the late entry and end at one that is not before it.
    fn ask_late(&mut self, correlation: &Correlation, added: &Entry, senders: &Senders) -> Option<Found> {
        let was_firing = self.firing;
        if let Some(newest) = self.entries.back().copied() {
            self.firing = self.ask_newest(correlation, &newest).is_some();
        }
        let answer = match correlation.kind {
            Counted::RulesInOrder => self.ask_order(correlation, added),
            _ => self.ask_all(correlation, added),
        }?;
        // A late entry joins the firing of the group when that is of events in the same window.
        let newest = self.entries.back()?.ts;
        let trail = self.entries.before(newest.saturating_sub(correlation.timespan));
        let joins = was_firing && answer.end > trail;
        Some(self.found(answer, !joins, senders))
    }

    /// Whether the window fires that ends at the newest entry.
    fn ask_newest(&mut self, correlation: &Correlation, newest: &Entry) -> Option<Answer> {
        if correlation.kind == Counted::RulesInOrder {
            return self.ask_order(correlation, newest);
        }
        let mut trail = self.take_trail(correlation, newest.ts);
        let answer = answer(correlation, &mut trail);
        self.keep_trail(trail);
        answer
    }

    /// The windows that hold the entry, from the first to the last: the trail goes back to the first, and from there to where
    /// it was, so that what is asked costs as much as the entry is late, however much the windows hold.
    fn ask_all(&mut self, correlation: &Correlation, added: &Entry) -> Option<Answer> {
        let newest = self.entries.back()?.ts;
        let until = added.ts.saturating_add(correlation.timespan);
        let since = added.ts.saturating_sub(correlation.timespan);
        let mut tally = self.take_trail(correlation, newest);
        tally.rewind(&self.entries, self.entries.until(added.ts), since);
        let mut best: Option<Answer> = None;
        let mut anchor = Some(added.ts);
        while let Some(ts) = anchor.filter(|ts| *ts <= until) {
            tally.extend(&self.entries, self.entries.until(ts));
            tally.shrink(&self.entries, ts.saturating_sub(correlation.timespan));
            if let Some(answer) = answer(correlation, &mut tally)
                && best.is_none_or(|best| answer.count > best.count)
            {
                best = Some(answer);
            }
            anchor = self.entries.get(tally.end).map(|entry| entry.ts);
        }
        tally.extend(&self.entries, self.entries.len());
        tally.shrink(&self.entries, newest.saturating_sub(correlation.timespan));
        self.keep_trail(tally);
        best
    }

    /// What the window holds that ends at the newest entry.
    fn take_trail(&mut self, correlation: &Correlation, newest: Micros) -> Box<Tally> {
        let since = newest.saturating_sub(correlation.timespan);
        let mut trail = match self.trail.take() {
            Some(trail) => trail,
            None => Box::new(Tally::new(correlation.kind, self.entries.before(since))),
        };
        trail.extend(&self.entries, self.entries.len());
        trail.shrink(&self.entries, since);
        trail
    }

    fn keep_trail(&mut self, trail: Box<Tally>) {
        if self.entries.len() > COUNTED_ANEW {
            self.trail = Some(trail);
        }
    }

    /// The first window that has all rules in their order, with the entry as one of them: the steps before it as late, those
    /// after it as early as they can be.
    fn ask_order(&self, correlation: &Correlation, added: &Entry) -> Option<Answer> {
        let steps = u64::try_from(correlation.members.len()).unwrap_or(u64::MAX);
        let place = self.entries.rank(added, correlation.kind);
        let (mut first, mut last) = (added.ts, added.ts);
        let mut next = added.kind;
        for entry in self.entries.range(0, place).rev() {
            if next == 0 || entry.ts < added.ts.saturating_sub(correlation.timespan) {
                break;
            }
            if entry.kind.saturating_add(1) == next {
                (next, first) = (entry.kind, entry.ts);
            }
        }
        let mut seen = added.kind;
        for entry in self.entries.range(place, self.entries.len()) {
            if seen.saturating_add(1) == steps || entry.ts > added.ts.saturating_add(correlation.timespan) {
                break;
            }
            if entry.kind == seen.saturating_add(1) {
                (seen, last) = (entry.kind, entry.ts);
            }
        }
        let whole = next == 0 && seen.saturating_add(1) == steps;
        let start = last.saturating_sub(correlation.timespan);
        let (start, end) = (self.entries.before(start), self.entries.until(last));
        (whole && first >= last.saturating_sub(correlation.timespan)).then_some(Answer {
            start,
            end,
            count: steps.into(),
        })
    }

    fn found(&self, answer: Answer, new: bool, senders: &Senders) -> Found {
        let entries = self.entries.range(answer.start, answer.end);
        let telling = if new { telling(entries.clone()) } else { Vec::new() };
        let events = telling.into_iter().filter_map(|entry| senders.key(entry)).collect();
        let first = entries.clone().next().map_or(0, |entry| entry.ts);
        let last = entries.clone().next_back().map_or(0, |entry| entry.ts);
        Found { first, last, count: answer.count, events, new }
    }

    /// Forgets what no late event can need any more. To be called before a hit is put in.
    pub(crate) fn forget(&mut self, correlation: &Correlation, now: Micros) {
        if seconds(now) <= self.arrived_s {
            // The hit before came in the same second, and forgot all there was.
            return;
        }
        let since_s = kept_since_s(correlation, now);
        let is_over = |entry: &Entry| seconds(entry.ts).max(entry.arrived_s) < since_s;
        while self.entries.front().is_some_and(is_over) {
            self.pop();
        }
        // Behind entries that came late.
        let young = self.entries.before(micros(since_s));
        if self.entries.range(0, young).any(is_over) {
            self.entries.retain(|entry| !is_over(entry));
            self.trail = None;
        }
    }

    /// Drops the oldest of what is too much, and says how many.
    pub(crate) fn crop(&mut self) -> u64 {
        let mut dropped = 0_u64;
        while self.entries.len() > WINDOW_EVENTS_MAX {
            self.pop();
            dropped = dropped.saturating_add(1);
        }
        dropped
    }

    fn pop(&mut self) {
        if let Some(trail) = &mut self.trail {
            trail.pop_front(&self.entries);
        }
        self.entries.pop_front();
        if self.entries.len() <= COUNTED_ANEW {
            self.trail = None;
        }
    }

    /// Whether no event, late or not, can need the group any more.
    pub(crate) fn is_over(&self, correlation: &Correlation, now: Micros) -> bool {
        let newest_s = self.entries.back().map_or(0, |entry| seconds(entry.ts));
        newest_s.max(self.arrived_s) < kept_since_s(correlation, now)
    }
}

/// An entry for each of the events that are told of a window, at most [`EVENTS_REPORTED_MAX`]: those that bring a rule or a value
/// which none before them brought, then the others.
fn telling<'e>(entries: impl Iterator<Item = &'e Entry> + Clone) -> Vec<&'e Entry> {
    let mut kinds: Vec<u64> = Vec::new();
    let brings_more = |entry: &&Entry| {
        let is_new = !kinds.contains(&entry.kind);
        kinds.extend(is_new.then_some(entry.kind));
        is_new
    };
    let first: Vec<&Entry> = entries.clone().filter(brings_more).take(EVENTS_REPORTED_MAX).collect();
    let mut told: Vec<&Entry> = Vec::new();
    for entry in first.into_iter().chain(entries) {
        if told.len() >= EVENTS_REPORTED_MAX {
            break;
        }
        if !told.iter().any(|told| told.is_event_of(entry)) {
            told.push(entry);
        }
    }
    told
}

/// What the condition is asked of in a range, when it is met.
fn answer(correlation: &Correlation, tally: &mut Tally) -> Option<Answer> {
    let count = tally.amount()?;
    let met = match &correlation.condition {
        Condition::Count(_) => correlation.condition.meets(count),
        Condition::All => (0..correlation.members.len()).all(|member| tally.has(member)),
        Condition::Expression(expression) => expression.holds(&|member| tally.has(member)),
    };
    met.then_some(Answer { start: tally.start, end: tally.end, count })
}

fn kept_since_s(correlation: &Correlation, now: Micros) -> u32 {
    seconds(now).saturating_sub(seconds(correlation.timespan.saturating_mul(KEPT_TIMESPANS)))
}

/// A time in whole seconds, not before it: half the bytes, and what is kept a second longer harms nobody.
pub(crate) fn seconds(time: Micros) -> u32 {
    let seconds = time.saturating_add(SECOND.saturating_sub(1)).checked_div(SECOND).unwrap_or_default();
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

fn micros(seconds: u32) -> Micros {
    Micros::from(seconds).saturating_mul(SECOND)
}
