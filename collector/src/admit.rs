//! The first stage: each batch is let in once, however often it is sent.
//!
//! An agent that lost its connection sends again what was not acknowledged. While this collector lives, it knows each batch
//! that is under way or settled, and answers from there: a second delivery of a batch under way waits for the fate of the
//! first. What an earlier collector stored is not known here; [`recover`](crate::recover) asks the store.
//!
//! A batch that is let in holds a [`Ticket`]. Its end is the batch's end: settled with a fate, or dropped, and then the
//! senders' channels are dropped with it, the intakes close the connections, and the agents send again.
//!
//! Limits: the bytes under way ([`BYTES_MAX`]), the batches under way (a bounded queue behind this stage), epochs of one
//! agent that are remembered ([`EPOCHS_MAX`]), runs of settled numbers of one epoch ([`RUNS_MAX`]). Agents are as many as
//! the authority issued certificates. What is forgotten costs a look into the store, never a double.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event::{Batch, Micros};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::{Delivery, Fate, Gap, Identity, SenderKind};

/// Decompressed bytes of batches under way: about a second of 500,000 events. Encoded rows take about twice as much.
const BYTES_MAX: usize = 128 << 20;
/// A permit of the budget is for so many bytes.
const PERMIT_BYTES: usize = 1024;
/// Epochs of one agent that are remembered: one, or two while a host is set up anew.
pub(crate) const EPOCHS_MAX: usize = 4;
/// Runs of settled numbers: one where nothing is missing.
const RUNS_MAX: usize = 1024;

/// Where a batch comes from. Everything made of it points here.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) identity: Identity,
    pub(crate) source: String,
    pub(crate) drill_id: String,
    pub(crate) received: Micros,
}

/// A batch on its way to the store.
pub(crate) struct Admitted {
    pub(crate) ticket: Ticket,
    pub(crate) batch: Batch,
    pub(crate) gap: Option<Gap>,
}

/// The right and the duty to settle a batch.
pub(crate) struct Ticket {
    pub(crate) origin: Arc<Origin>,
    pub(crate) sender: SenderKind,
    admission: Arc<Admission>,
    _budget: OwnedSemaphorePermit,
}

/// What is known of batches since this collector started.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    agents: Known,
    /// Apart, because each request of OTLP is an epoch: they must not push out those of an agent on the same host.
    otlp: Known,
}

type Known = Mutex<HashMap<String, Vec<Epoch>>>;

#[derive(Debug, Default)]
struct Epoch {
    epoch: u64,
    /// Who waits for the fate of a batch under way.
    under_way: HashMap<u64, Vec<oneshot::Sender<Fate>>>,
    /// Settled numbers: first and last of each run.
    settled: BTreeMap<u64, u64>,
    /// How far an earlier collector stored this epoch; taken when the first batch comes.
    before: Option<u64>,
}

/// What to do with a delivery.
#[derive(Debug, Eq, PartialEq)]
enum Entry {
    /// It is new here. The gap is one that only shows against what an earlier collector stored.
    New { gap: Option<Gap> },
    /// It is under way: its sender waits with the first one.
    Waits,
    /// It is settled: its sender was told.
    Settled,
}

/// The stage.
pub(crate) struct Admit {
    pub(crate) admission: Arc<Admission>,
    pub(crate) input: mpsc::Receiver<Delivery>,
    /// One for each thread behind: an agent's batches always go to the same one, so that they stay in order.
    pub(crate) shards: Vec<mpsc::Sender<Admitted>>,
}

impl Admit {
    /// Runs until the intakes are gone or the stages behind are.
    pub(crate) async fn run(mut self) {
        let budget = Arc::new(Semaphore::new(BYTES_MAX / PERMIT_BYTES));
        while let Some(delivery) = self.input.recv().await {
            let permits = (delivery.batch.body_bytes() / PERMIT_BYTES + 1).min(BYTES_MAX / PERMIT_BYTES);
            let permits = u32::try_from(permits).unwrap_or(u32::MAX);
            let Ok(permit) = Arc::clone(&budget).acquire_many_owned(permits).await else { return };
            let Some(admitted) = self.admission.admit(delivery, permit) else { continue };
            let shard = shard(&admitted.ticket.origin.identity.agent, self.shards.len());
            if self.shards[shard].send(admitted).await.is_err() {
                return;
            }
        }
    }
}

impl Admission {
    /// Takes note of how far an earlier collector stored an agent.
    pub(crate) fn stored_before(&self, agent: &str, epoch: u64, seq: u64) {
        self.epoch(SenderKind::Agent, agent, epoch, |known| known.before = Some(seq));
    }

    fn admit(self: &Arc<Self>, delivery: Delivery, budget: OwnedSemaphorePermit) -> Option<Admitted> {
        let Delivery { batch, sender, received, gap, done } = delivery;
        let identity = Identity::of(&batch);
        let Entry::New { gap: earlier } = self.enter(sender, &identity, done) else { return None };
        let header = &batch.header;
        let (source, drill_id) = (header.source.clone(), header.drill_id.clone());
        let origin = Arc::new(Origin { identity, source, drill_id, received });
        let ticket = Ticket { origin, sender, admission: Arc::clone(self), _budget: budget };
        Some(Admitted { ticket, batch, gap: gap.or(earlier) })
    }

    fn enter(&self, sender: SenderKind, identity: &Identity, done: oneshot::Sender<Fate>) -> Entry {
        let seq = identity.seq;
        self.epoch(sender, &identity.agent, identity.epoch, |epoch| {
            if epoch.is_settled(seq) {
                // Its sender may be gone: then nobody waits for the answer.
                let _ = done.send(Fate::Stored);
                return Entry::Settled;
            }
            if let Some(waiting) = epoch.under_way.get_mut(&seq) {
                // Whoever lost its connection waits no more; while the store is away there may be many of them.
                waiting.retain(|done| !done.is_closed());
                waiting.push(done);
                return Entry::Waits;
            }
            epoch.under_way.insert(seq, vec![done]);
            let expected = epoch.before.take().map(|before| before.saturating_add(1));
            let gap = expected.filter(|expected| seq > *expected);
            Entry::New { gap: gap.map(|first| Gap { first, last: seq - 1 }) }
        })
    }

    /// Tells all that wait. `None`: the batch is not stored, they must send it again.
    fn leave(&self, sender: SenderKind, identity: &Identity, fate: Option<Fate>) {
        let waiting = self.epoch(sender, &identity.agent, identity.epoch, |epoch| {
            if fate.is_some() {
                epoch.settle(identity.seq);
            }
            epoch.under_way.remove(&identity.seq)
        });
        for (done, fate) in waiting.into_iter().flatten().zip(std::iter::repeat(fate)) {
            if let Some(fate) = fate {
                let _ = done.send(fate);
            }
        }
    }

    fn epoch<T>(
        &self,
        sender: SenderKind,
        agent: &str,
        number: u64,
        then: impl FnOnce(&mut Epoch) -> T,
    ) -> T {
        let mut agents = self.known(sender);
        let epochs = match agents.get_mut(agent) {
            Some(epochs) => epochs,
            None => agents.entry(agent.to_owned()).or_default(),
        };
        match epochs.iter().position(|epoch| epoch.epoch == number) {
            // The last used one stands last.
            Some(index) => epochs[index..].rotate_left(1),
            None => {
                if epochs.len() >= EPOCHS_MAX
                    && let Some(idle) = epochs.iter().position(|epoch| epoch.under_way.is_empty())
                {
                    epochs.remove(idle);
                }
                epochs.push(Epoch { epoch: number, ..Epoch::default() });
            }
        }
        let last = epochs.len() - 1;
        then(&mut epochs[last])
    }

    fn known(&self, sender: SenderKind) -> MutexGuard<'_, HashMap<String, Vec<Epoch>>> {
        let known = if sender == SenderKind::Otlp { &self.otlp } else { &self.agents };
        known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The batch has come to its end: its senders are told.
    pub(crate) fn settle(self, fate: Fate) {
        self.admission.leave(self.sender, &self.origin.identity, Some(fate));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Nothing waits any more once it was settled.
        self.admission.leave(self.sender, &self.origin.identity, None);
    }
}

impl Epoch {
    fn is_settled(&self, seq: u64) -> bool {
        self.settled.range(..=seq).next_back().is_some_and(|(_, last)| *last >= seq)
    }

    fn settle(&mut self, seq: u64) {
        let (mut first, mut last) = (seq, seq);
        if let Some((&start, &end)) = self.settled.range(..=seq).next_back()
            && end.saturating_add(1) >= seq
        {
            (first, last) = (start, end.max(seq));
        }
        if let Some(end) = self.settled.remove(&last.saturating_add(1)) {
            last = end;
        }
        self.settled.insert(first, last);
        if self.settled.len() > RUNS_MAX {
            self.settled.pop_first();
        }
    }
}

/// The thread that evaluates an agent's batches.
fn shard(agent: &str, shards: usize) -> usize {
    let hash = xxh3_64(agent.as_bytes()) % u64::try_from(shards).unwrap_or(u64::MAX).max(1);
    usize::try_from(hash).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    const AGENT: SenderKind = SenderKind::Agent;

    fn identity(seq: u64) -> Identity {
        Identity { agent: "web01".into(), epoch: 7, seq }
    }

    fn enter(admission: &Admission, seq: u64) -> (Entry, oneshot::Receiver<Fate>) {
        let (done, fate) = oneshot::channel();
        (admission.enter(AGENT, &identity(seq), done), fate)
    }

    #[test]
    fn a_second_delivery_waits_for_the_first_and_a_third_is_answered_at_once() {
        let admission = Admission::default();
        let (first, mut first_fate) = enter(&admission, 1);
        let (second, mut second_fate) = enter(&admission, 1);
        assert_eq!((first, second), (Entry::New { gap: None }, Entry::Waits));
        assert_eq!(first_fate.try_recv(), Err(TryRecvError::Empty));
        admission.leave(AGENT, &identity(1), Some(Fate::DeadLettered));
        assert_eq!(first_fate.try_recv(), Ok(Fate::DeadLettered));
        assert_eq!(second_fate.try_recv(), Ok(Fate::DeadLettered));
        let (third, mut third_fate) = enter(&admission, 1);
        assert_eq!((third, third_fate.try_recv()), (Entry::Settled, Ok(Fate::Stored)));
    }

    #[test]
    fn forgets_who_waits_no_more() {
        let admission = Admission::default();
        let (_, _first) = enter(&admission, 1);
        for _ in 0..100 {
            drop(enter(&admission, 1));
        }
        let (_, mut last) = enter(&admission, 1);
        assert_eq!(admission.known(AGENT)["web01"][0].under_way[&1].len(), 2, "the first and the last");
        admission.leave(AGENT, &identity(1), Some(Fate::Stored));
        assert_eq!(last.try_recv(), Ok(Fate::Stored));
    }

    #[test]
    fn an_abandoned_batch_may_come_again() {
        let admission = Admission::default();
        let (_, mut fate) = enter(&admission, 1);
        admission.leave(AGENT, &identity(1), None);
        assert_eq!(fate.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(enter(&admission, 1).0, Entry::New { gap: None });
    }

    #[test]
    fn finds_a_gap_against_what_an_earlier_collector_stored_once() {
        let admission = Admission::default();
        admission.stored_before("web01", 7, 10);
        assert_eq!(enter(&admission, 13).0, Entry::New { gap: Some(Gap { first: 11, last: 12 }) });
        assert_eq!(enter(&admission, 20).0, Entry::New { gap: None }, "from here on the intake sees gaps");
        let admission = Admission::default();
        admission.stored_before("web01", 7, 10);
        assert_eq!(enter(&admission, 11).0, Entry::New { gap: None });
    }

    #[test]
    fn requests_of_otlp_do_not_push_out_what_is_known_of_an_agent() {
        let admission = Admission::default();
        admission.stored_before("web01", 7, 10);
        for epoch in 100..120 {
            let request = Identity { epoch, ..identity(0) };
            admission.enter(SenderKind::Otlp, &request, oneshot::channel().0);
        }
        assert_eq!(enter(&admission, 13).0, Entry::New { gap: Some(Gap { first: 11, last: 12 }) });
    }

    #[test]
    fn forgets_idle_epochs_only() {
        let admission = Admission::default();
        let (done, _fate) = oneshot::channel();
        let old = Identity { epoch: 1, ..identity(1) };
        assert_eq!(admission.enter(AGENT, &old, done), Entry::New { gap: None });
        for epoch in 2..20 {
            let identity = Identity { epoch, ..identity(1) };
            admission.enter(AGENT, &identity, oneshot::channel().0);
            admission.leave(AGENT, &identity, Some(Fate::Stored));
        }
        assert_eq!(admission.enter(AGENT, &old, oneshot::channel().0), Entry::Waits);
        assert!(admission.known(AGENT)["web01"].len() <= EPOCHS_MAX);
    }

    proptest! {
        #[test]
        fn runs_hold_exactly_what_was_settled(seqs in prop::collection::vec(0_u64..60, 0..80)) {
            let mut epoch = Epoch::default();
            let mut model = BTreeSet::new();
            for seq in seqs {
                epoch.settle(seq);
                model.insert(seq);
            }
            for seq in 0..62 {
                prop_assert_eq!(epoch.is_settled(seq), model.contains(&seq));
            }
            let gaps = model.iter().filter(|seq| !model.contains(&(**seq + 1))).count();
            prop_assert_eq!(epoch.settled.len(), gaps, "runs are joined");
        }
    }
}
