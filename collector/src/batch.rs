//! What passes between the stages: a batch on its way to the store, and the news of its fate on the way back.
//!
//! Nothing is acknowledged to a sender before its fate is known. A fate that never comes (the stage that held the delivery
//! ended, or gave up) shows as a dropped channel: the intake then closes the connection and the sender sends again.

use event::{Batch, Micros};
use tokio::sync::oneshot;

/// From an intake: one batch, and where its fate is to be told.
#[derive(Debug)]
pub struct Delivery {
    pub batch: Batch,
    pub sender: SenderKind,
    /// When the collector had the whole batch.
    pub received: Micros,
    /// Sequence numbers that the agent skipped before this batch.
    pub gap: Option<Gap>,
    pub done: oneshot::Sender<Fate>,
}

/// Who sends batches, and so what their numbers and times mean.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SenderKind {
    /// One of our agents: its epoch begins with its ledger, and it is missed when it is silent.
    Agent,
    /// A sender of OTLP: each request is an epoch of its own, made of its content.
    Otlp,
    /// A device that exports flow records.
    Exporter,
    /// A hunt of this collector.
    Hunt,
}

impl SenderKind {
    /// As the table `agents` has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Otlp => "otlp",
            Self::Exporter => "exporter",
            Self::Hunt => "hunt",
        }
    }
}

/// How a batch ended. Either way its sender may forget it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Its rows are in the store.
    Stored,
    /// The store cannot take it: it lies with the dead letters.
    DeadLettered,
}

/// What makes a batch one of its kind: the same identity always carries the same records.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identity {
    pub agent: String,
    pub epoch: u64,
    pub seq: u64,
}

/// Sequence numbers that never came, both ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gap {
    pub first: u64,
    pub last: u64,
}

impl Identity {
    /// The identity of a batch.
    pub fn of(batch: &Batch) -> Self {
        let header = &batch.header;
        Self { agent: header.agent.clone(), epoch: header.epoch, seq: header.seq }
    }
}

impl Gap {
    /// How many batches are missing.
    pub fn batches(self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

impl std::fmt::Display for Identity {
    /// `agent:epoch:seq`, the epoch in hexadecimal.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}:{:016x}:{}", self.agent, self.epoch, self.seq)
    }
}
