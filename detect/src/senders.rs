//! Who sent an event, as a number: an agent's name and epoch stand once, not with each of its events.
//!
//! Limit: none of its own. Senders that no event names any more are let go of when there are twice as many as there were
//! after the last such look, so there are at most as many as events, and the looks cost each sender a constant share.

use std::collections::HashMap;
use std::sync::Arc;

use crate::correlator::EventKey;
use crate::entries::Entry;

/// Below so many nothing is let go of: hosts of a large site, each set up anew a few times.
const LOOKED_AT: usize = 4096;

type Sender = (Arc<str>, u64);

#[derive(Debug, Default)]
pub(crate) struct Senders {
    numbers: HashMap<Sender, u32>,
    names: Vec<Option<Sender>>,
    free: Vec<u32>,
    /// How many were left at the last look.
    left: usize,
}

impl Senders {
    /// The number of a sender; a new one where it is not known.
    pub(crate) fn number(&mut self, event: &EventKey) -> u32 {
        let sender = (Arc::clone(&event.agent), event.epoch);
        if let Some(number) = self.numbers.get(&sender) {
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.names.push(None);
            // There is memory for far fewer than 2^32.
            u32::try_from(self.names.len().saturating_sub(1)).unwrap_or(u32::MAX)
        });
        if let Some(name) = usize::try_from(number).ok().and_then(|number| self.names.get_mut(number)) {
            *name = Some(sender.clone());
        }
        self.numbers.insert(sender, number);
        number
    }

    /// The event of an entry.
    pub(crate) fn key(&self, entry: &Entry) -> Option<EventKey> {
        let (agent, epoch) = self.names.get(usize::try_from(entry.sender).ok()?)?.as_ref()?;
        Some(EventKey { agent: Arc::clone(agent), epoch: *epoch, seq: entry.seq, record: entry.record })
    }

    /// Whether it is time to let go of those that no event names.
    pub(crate) fn are_many(&self) -> bool {
        self.numbers.len() > self.left.max(LOOKED_AT).saturating_mul(2)
    }

    /// Lets go of all but these.
    pub(crate) fn keep(&mut self, named: impl Iterator<Item = u32>) {
        let mut keep = vec![false; self.names.len()];
        for number in named {
            if let Some(keep) = usize::try_from(number).ok().and_then(|number| keep.get_mut(number)) {
                *keep = true;
            }
        }
        for (number, name) in (0_u32..).zip(&mut self.names) {
            let kept =
                usize::try_from(number).ok().and_then(|number| keep.get(number)).is_some_and(|keep| *keep);
            if !kept && let Some(sender) = name.take() {
                self.numbers.remove(&sender);
                self.free.push(number);
            }
        }
        self.left = self.numbers.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_numbers_again_that_no_event_names() {
        let mut senders = Senders::default();
        let key = |epoch| EventKey { agent: "web01".into(), epoch, seq: 0, record: 0 };
        let numbers: Vec<u32> = (0..=8192_u64).map(|epoch| senders.number(&key(epoch))).collect();
        assert!(senders.are_many());
        senders.keep([numbers[7]].into_iter());
        assert!(!senders.are_many());
        assert_eq!(senders.number(&key(7)), numbers[7]);
        assert!((10_000..18_000_u64).all(|epoch| senders.number(&key(epoch)) <= 8192));
        assert_eq!(senders.names.len(), 8193);
    }
}
