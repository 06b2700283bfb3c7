//! The events of one group, in the order of time and as small as they can be: most groups of a scan hold one, so one event
//! stands in the group itself and costs no allocation.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::num::NonZeroU16;

use event::Micros;

use crate::correlation::Counted;

/// One event of a group: 40 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) ts: Micros,
    /// What it counts as: the hash of its value, its number, or the position of its rule.
    pub(crate) kind: u64,
    pub(crate) seq: u64,
    /// Who sent it: see [`Senders`](crate::senders::Senders).
    pub(crate) sender: u32,
    pub(crate) record: u32,
    /// When it had come, in seconds.
    pub(crate) arrived_s: u32,
    /// How often it happened.
    pub(crate) times: NonZeroU16,
}

/// Entries in the order of [`Entry::order`].
#[derive(Debug)]
pub(crate) enum Entries {
    One(Entry),
    Many(VecDeque<Entry>),
}

impl Entry {
    /// By time, and then so that the same event always has the same place: what comes twice is found there. Where the order
    /// of rules matters, events of the same time stand in the order of their rules.
    pub(crate) fn order(&self, other: &Self, counted: Counted) -> Ordering {
        let by_kind = self.kind.cmp(&other.kind);
        let by_event = (self.sender, self.seq, self.record).cmp(&(other.sender, other.seq, other.record));
        let by_time = self.ts.cmp(&other.ts);
        match counted {
            Counted::RulesInOrder => by_time.then(by_kind).then(by_event),
            // An event may bring several values, or match several rules.
            Counted::Values | Counted::Rules => by_time.then(by_event).then(by_kind),
            // An event counts once, whichever of the rules it matches.
            _ => by_time.then(by_event),
        }
    }

    pub(crate) fn is_event_of(&self, other: &Self) -> bool {
        (self.sender, self.seq, self.record) == (other.sender, other.seq, other.record)
    }
}

impl Default for Entries {
    fn default() -> Self {
        Self::Many(VecDeque::new())
    }
}

impl Entries {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(entries) => entries.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Entry> {
        match self {
            Self::One(entry) => (index == 0).then_some(entry),
            Self::Many(entries) => entries.get(index),
        }
    }

    pub(crate) fn front(&self) -> Option<&Entry> {
        self.get(0)
    }

    pub(crate) fn back(&self) -> Option<&Entry> {
        self.get(self.len().wrapping_sub(1))
    }

    pub(crate) fn range(&self, start: usize, end: usize) -> impl DoubleEndedIterator<Item = &Entry> + Clone {
        let (head, tail) = self.slices();
        let behind = head.len();
        let tail = part(tail, start.saturating_sub(behind), end.saturating_sub(behind));
        part(head, start, end).iter().chain(tail)
    }

    /// How many entries stand before a time.
    pub(crate) fn before(&self, ts: Micros) -> usize {
        self.partition_point(|entry| entry.ts < ts)
    }

    /// How many entries stand before or at a time.
    pub(crate) fn until(&self, ts: Micros) -> usize {
        self.partition_point(|entry| entry.ts <= ts)
    }

    /// Where an entry belongs; none when it is there already.
    pub(crate) fn place(&self, entry: &Entry, counted: Counted) -> Option<usize> {
        let place = self.rank(entry, counted);
        let there = self.get(place).is_some_and(|other| other.order(entry, counted) == Ordering::Equal);
        (!there).then_some(place)
    }

    /// How many entries stand before an entry.
    pub(crate) fn rank(&self, entry: &Entry, counted: Counted) -> usize {
        self.partition_point(|other| other.order(entry, counted) == Ordering::Less)
    }

    pub(crate) fn insert(&mut self, place: usize, entry: Entry) {
        match self {
            Self::Many(entries) if entries.capacity() == 0 => *self = Self::One(entry),
            Self::Many(entries) => entries.insert(place.min(entries.len()), entry),
            Self::One(first) => {
                let mut entries = VecDeque::with_capacity(2);
                entries.push_back(*first);
                entries.insert(place.min(1), entry);
                *self = Self::Many(entries);
            }
        }
    }

    pub(crate) fn pop_front(&mut self) {
        match self {
            Self::One(_) => *self = Self::default(),
            Self::Many(entries) => {
                entries.pop_front();
                self.give_back();
            }
        }
    }

    pub(crate) fn retain(&mut self, kept: impl Fn(&Entry) -> bool) {
        match self {
            Self::One(entry) if kept(entry) => {}
            Self::One(_) => *self = Self::default(),
            Self::Many(entries) => {
                entries.retain(kept);
                self.give_back();
            }
        }
    }

    /// Gives back the room of a burst.
    fn give_back(&mut self) {
        let Self::Many(entries) = self else { return };
        match entries.front() {
            None => *self = Self::default(),
            Some(last) if entries.len() == 1 => *self = Self::One(*last),
            Some(_) if entries.len() < entries.capacity() / 4 => {
                entries.shrink_to(entries.len().saturating_mul(2));
            }
            Some(_) => {}
        }
    }

    /// Most questions are about the ends; what lies between is seldom in the cache.
    fn partition_point(&self, before: impl Fn(&Entry) -> bool) -> usize {
        match self {
            Self::One(entry) => usize::from(before(entry)),
            Self::Many(entries) if entries.back().is_none_or(&before) => entries.len(),
            Self::Many(entries) if !entries.front().is_some_and(&before) => 0,
            Self::Many(entries) => entries.partition_point(before),
        }
    }

    fn slices(&self) -> (&[Entry], &[Entry]) {
        match self {
            Self::One(entry) => (std::slice::from_ref(entry), &[]),
            Self::Many(entries) => entries.as_slices(),
        }
    }
}

/// As much of a range as there is.
fn part(entries: &[Entry], start: usize, end: usize) -> &[Entry] {
    entries.get(start..end.min(entries.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_and_a_list_of_events_are_as_small_as_said() {
        assert_eq!((size_of::<Entry>(), size_of::<Entries>()), (40, 40));
    }
}
