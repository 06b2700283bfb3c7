//! Alerts into the store, always before the events of the batches that raised them: so "the events are there" implies "the
//! alerts are there", and a batch that is found in the store after a crash has no alert missing.
//!
//! An alert should be seen well under a second after its line was written. So alerts do not wait for a full insert: they
//! are written at once, unless others were written within the last [`INTERVAL`]; then they wait for the rest of it and for
//! all that comes meanwhile. Only the last version of an alert is written. Batches pass in the order in which they came.
//!
//! What exceptions swallowed is written beside them, so that "the events are there" implies "it is counted", too.
//!
//! Limits: [`BATCHES_MAX`] batches are held back for one insert.

use std::collections::HashMap;
use std::sync::LazyLock;

use clickhouse::Client;
use prometheus::IntCounter;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant};
use tracing::error;

use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::exceptions::ExceptedRow;
use crate::grouping::AlertRow;
use crate::insert::{Insert, Refused};
use crate::metrics;
use crate::row_binary::{Encode, encoded};
use crate::watch_coverage::{Known, Newsroom};
use crate::write_events::Evaluated;

/// Shortest time between two inserts of alerts: ten small parts a second are merged with ease.
const INTERVAL: Duration = Duration::from_millis(100);
/// Batches that one insert of alerts holds back.
const BATCHES_MAX: usize = 64;

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    rows: metrics::counter(
        "vonggac_store_alert_rows_total",
        "Rows of alerts stored; an alert has one for each change.",
    ),
});

struct Metrics {
    rows: IntCounter,
}

/// From the alert stage: what changed, and the batch that changed it.
pub(crate) struct Alerted {
    pub(crate) alerts: Vec<AlertRow>,
    /// What exceptions swallowed.
    pub(crate) excepted: Vec<ExceptedRow>,
    /// Sources whose silence, or its end, is among these.
    pub(crate) told: Vec<Known>,
    /// None: the alerts are the collector's own.
    pub(crate) batch: Option<Evaluated>,
}

impl Alerted {
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_none() && self.told.is_empty() && !self.has_rows()
    }

    fn has_rows(&self) -> bool {
        !self.alerts.is_empty() || !self.excepted.is_empty()
    }
}

/// The stage.
pub(crate) struct WriteAlerts {
    pub(crate) input: mpsc::Receiver<Alerted>,
    pub(crate) output: mpsc::Sender<Evaluated>,
    insert: Insert,
    excepted: Insert,
    dead_letters: DeadLetters,
    coverage: Newsroom,
    /// Rings when alerts were written, for who tells people.
    bell: watch::Sender<()>,
}

impl WriteAlerts {
    pub(crate) fn new(
        client: &Client,
        dead_letters: DeadLetters,
        coverage: Newsroom,
        input: mpsc::Receiver<Alerted>,
        output: mpsc::Sender<Evaluated>,
        bell: watch::Sender<()>,
    ) -> Self {
        LazyLock::force(&METRICS);
        let insert = Insert::new(client, "alerts", &AlertRow::COLUMNS.join(", "));
        let excepted = Insert::new(client, "excepted_hits", &ExceptedRow::COLUMNS.join(", "));
        Self { input, output, insert, excepted, dead_letters, coverage, bell }
    }

    /// Runs until the stage before is gone, or the one behind.
    pub(crate) async fn run(mut self) {
        let mut next = Instant::now();
        let mut held = Vec::new();
        while let Some(first) = self.input.recv().await {
            held.push(first);
            if held.iter().any(Alerted::has_rows) {
                self.gather(&mut held, next).await;
                self.write(&mut held).await;
                self.write_excepted(&mut held).await;
                next = Instant::now() + INTERVAL;
            }
            for known in held.iter_mut().flat_map(|alerted| alerted.told.drain(..)) {
                self.coverage.known(known).await;
            }
            for batch in held.drain(..).filter_map(|alerted| alerted.batch) {
                if self.output.send(batch).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Takes what is there, and what comes until `next`.
    async fn gather(&mut self, held: &mut Vec<Alerted>, next: Instant) {
        while held.len() < BATCHES_MAX {
            let more = match self.input.try_recv() {
                Ok(more) => Some(more),
                Err(_) => tokio::time::timeout_at(next, self.input.recv()).await.ok().flatten(),
            };
            match more {
                Some(more) => held.push(more),
                None => break,
            }
        }
        tokio::time::sleep_until(next).await;
    }

    async fn write(&mut self, held: &mut [Alerted]) {
        let mut latest: HashMap<String, AlertRow> = HashMap::new();
        for alert in held.iter_mut().flat_map(|alerted| alerted.alerts.drain(..)) {
            latest.insert(alert.id.clone(), alert);
        }
        let rows: Vec<AlertRow> = latest.into_values().collect();
        if rows.is_empty() {
            return;
        }
        match self.insert.put(&encoded(&rows)).await {
            Ok(()) => {
                METRICS.rows.inc_by(u64::try_from(rows.len()).unwrap_or_default());
                self.coverage.alerted(&rows).await;
            }
            Err(_) => self.one_by_one(rows).await,
        }
        self.bell.send_replace(());
    }

    /// What the store refuses of these is told: it is a count, and the events are stored.
    async fn write_excepted(&self, held: &mut [Alerted]) {
        let rows: Vec<ExceptedRow> = held.iter_mut().flat_map(|alerted| alerted.excepted.drain(..)).collect();
        if !rows.is_empty()
            && let Err(Refused(reason)) = self.excepted.put(&encoded(&rows)).await
        {
            error!(rows = rows.len(), reason, "the store refuses counts of excepted hits");
        }
    }

    /// The store refuses at least one of them: that one becomes a dead letter, the others are written.
    async fn one_by_one(&self, rows: Vec<AlertRow>) {
        for row in rows {
            match self.insert.put(&encoded([&row])).await {
                Ok(()) => {
                    METRICS.rows.inc();
                    self.coverage.alerted(&[row]).await;
                }
                Err(Refused(reason)) => {
                    self.dead_letters.write(vec![DeadLetter::of_alert(&row, reason)]).await;
                }
            }
        }
    }
}
