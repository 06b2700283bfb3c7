//! Sequence numbers that never came. An agent numbers its batches without gaps; a gap means that something was lost between
//! its ledger and here, and that is an alert of its own.
//!
//! What it knows it knows since the collector started: the first batch seen of an agent is taken as it comes. An agent that
//! is already known and starts anew (another epoch) must start at 1.
//!
//! Limits: an agent is a host with a certificate, so there are as many as the authority issued; of each the last
//! [`EPOCHS_MAX`] epochs are kept, so that two agents that share a certificate by mistake do not raise an alert each batch.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::batch::{Gap, Identity};

/// Epochs of one agent that are told apart.
const EPOCHS_MAX: usize = 4;
/// An agent numbers from here.
const FIRST_SEQ: u64 = 1;

/// The highest sequence numbers, by agent and epoch.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    agents: Mutex<HashMap<String, Vec<Seen>>>,
}

#[derive(Debug)]
struct Seen {
    epoch: u64,
    highest: u64,
    /// The connection that brought it: another one's news of a failure is out of date.
    connection: u64,
}

impl Sequences {
    /// Takes note of a batch that came; tells what is missing before it.
    pub(crate) fn came(&self, identity: &Identity, connection: u64) -> Option<Gap> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(epochs) = agents.get_mut(&identity.agent) else {
            let seen = Seen { epoch: identity.epoch, highest: identity.seq, connection };
            agents.insert(identity.agent.clone(), vec![seen]);
            return None;
        };
        let seen = recent(epochs, identity.epoch);
        let expected = seen.highest.saturating_add(1);
        seen.highest = seen.highest.max(identity.seq);
        seen.connection = connection;
        (identity.seq > expected).then(|| Gap { first: expected, last: identity.seq.saturating_sub(1) })
    }

    /// A batch that came was not stored: it must come again.
    pub(crate) fn lost(&self, identity: &Identity, connection: u64) {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let epochs = agents.get_mut(&identity.agent).into_iter().flatten();
        for seen in epochs.filter(|seen| seen.epoch == identity.epoch && seen.connection == connection) {
            seen.highest = seen.highest.min(identity.seq.saturating_sub(1));
        }
    }
}

/// The entry of an epoch, moved to the end; the one at the front gives way to a new one.
fn recent(epochs: &mut Vec<Seen>, epoch: u64) -> &mut Seen {
    let seen = match epochs.iter().position(|seen| seen.epoch == epoch) {
        Some(at) => epochs.remove(at),
        None => Seen { epoch, highest: FIRST_SEQ - 1, connection: 0 },
    };
    if epochs.len() >= EPOCHS_MAX {
        epochs.remove(0);
    }
    epochs.push(seen);
    let last = epochs.len() - 1;
    &mut epochs[last]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: u64, seq: u64) -> Identity {
        Identity { agent: "web01".into(), epoch, seq }
    }

    #[test]
    fn takes_the_first_as_it_comes_and_finds_what_is_missing_after_it() {
        let sequences = Sequences::default();
        assert_eq!(sequences.came(&batch(7, 40), 1), None);
        assert_eq!(sequences.came(&batch(7, 41), 1), None);
        assert_eq!(sequences.came(&batch(7, 45), 1), Some(Gap { first: 42, last: 44 }));
        assert_eq!(sequences.came(&batch(7, 46), 1), None, "a gap is reported once");
        assert_eq!(sequences.came(&batch(7, 44), 1), None, "and what comes late is no gap");
        assert_eq!(sequences.came(&batch(7, 47), 1), None);
    }

    #[test]
    fn expects_a_known_agent_to_start_anew_at_one() {
        let sequences = Sequences::default();
        sequences.came(&batch(7, 40), 1);
        assert_eq!(sequences.came(&batch(8, 1), 2), None);
        assert_eq!(sequences.came(&batch(9, 3), 3), Some(Gap { first: 1, last: 2 }));
        assert_eq!(sequences.came(&batch(7, 41), 4), None, "the old epoch is still known");
    }

    #[test]
    fn expects_what_was_not_stored_to_come_again() {
        let sequences = Sequences::default();
        for seq in 1..=5 {
            sequences.came(&batch(7, seq), 1);
        }
        sequences.lost(&batch(7, 4), 1);
        assert_eq!(sequences.came(&batch(7, 5), 2), Some(Gap { first: 4, last: 4 }));
        sequences.lost(&batch(7, 2), 1);
        assert_eq!(sequences.came(&batch(7, 6), 2), None, "news of a connection that is gone change nothing");
    }
}
