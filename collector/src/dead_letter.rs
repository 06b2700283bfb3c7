//! Dead letters: what the store refuses as bad data, kept with the reason and the text so that it can be looked at and
//! brought in again. One bad row must neither vanish nor stop the rows behind it.
//!
//! What this never does: lose a dead letter for want of a store; writing one is repeated like any other insert.

use std::sync::LazyLock;

use clickhouse::Client;
use event::Micros;
use prometheus::IntCounterVec;

use crate::admit::Origin;
use crate::clock::now;
use crate::grouping::AlertRow;
use crate::insert::{Insert, Refused};
use crate::metrics;
use crate::row_binary::{Encode, encode, encoded};

/// As much of the store's words as a person reads.
const REASON_BYTES_MAX: usize = 2048;
/// The `source` of an alert that is a dead letter.
pub(crate) const ALERTS: &str = "vonggac:alerts";

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    rows: metrics::counters("vonggac_store_dead_letters_total", "Rows that the store refused.", &["agent"]),
});

struct Metrics {
    rows: IntCounterVec,
}

/// A row of the table `dead_letters`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DeadLetter {
    dead_at: Micros,
    agent: String,
    epoch: u64,
    seq: u64,
    record: u32,
    source: String,
    drill_id: String,
    reason: String,
    message: Vec<u8>,
    raw: Vec<u8>,
}

encode!(DeadLetter { dead_at, agent, epoch, seq, record, source, drill_id, reason, message, raw });

/// Writes dead letters.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    insert: Insert,
}

impl DeadLetter {
    /// An event's row.
    pub(crate) fn of_event(origin: &Origin, record: u32, reason: &str, message: &[u8], raw: &[u8]) -> Self {
        let identity = &origin.identity;
        Self {
            dead_at: now(),
            agent: identity.agent.clone(),
            epoch: identity.epoch,
            seq: identity.seq,
            record,
            source: origin.source.clone(),
            drill_id: origin.drill_id.clone(),
            reason: reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned(),
            message: message.to_owned(),
            raw: raw.to_owned(),
        }
    }

    /// An alert, as JSON. Its identity is its version.
    pub(crate) fn of_alert(alert: &AlertRow, reason: String) -> Self {
        Self {
            dead_at: now(),
            agent: alert.host.clone(),
            epoch: 0,
            seq: alert.version,
            record: 0,
            source: ALERTS.to_owned(),
            drill_id: alert.drill_id.clone(),
            reason,
            // An alert is texts and numbers: it cannot fail to become JSON.
            message: serde_json::to_vec(alert).unwrap_or_default(),
            raw: Vec::new(),
        }
    }
}

impl DeadLetters {
    pub(crate) fn new(client: &Client) -> Self {
        LazyLock::force(&METRICS);
        Self { insert: Insert::new(client, "dead_letters", &DeadLetter::COLUMNS.join(", ")) }
    }

    /// Writes them, however long the store is away.
    pub(crate) async fn write(&self, letters: Vec<DeadLetter>) {
        for letter in &letters {
            METRICS.rows.with_label_values(&[&letter.agent]).inc();
        }
        let Err(Refused(reason)) = self.insert.put(&encoded(&letters)).await else { return };
        // The table takes any bytes: only a table that was changed by hand refuses. The daemon's log is the last resort.
        for letter in letters {
            let message = String::from_utf8_lossy(&letter.message);
            tracing::error!(agent = letter.agent, letter.reason, %message, %reason, "dead letter refused");
        }
    }
}
