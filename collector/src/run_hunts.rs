//! Runs the hunts when they are due, one query at a time, and hands what they find to the pipeline.
//!
//! After a start each hunt goes on behind the last run that the store has, so a window is late but never left out; a hunt that
//! was never run begins with its newest window. What is older than [`CATCH_UP`] is not caught up with: the numbers that are
//! missing alert as a gap. A query that fails is tried again until it answers ([`RETRY`]); the runs behind it wait, and
//! `vonggac_hunt_behind_seconds` says how long.
//!
//! Each run ends with a line of its own (`hunt_run`: what was covered, and how many rows were found), so one that found
//! nothing shows, too.
//!
//! Limits: rows of a run ([`ROWS_MAX`]; more are cut off, and the run's line says so), bytes of a row ([`LINE_BYTES_MAX`]).

use std::net::Ipv6Addr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use event::{Batch, Format, Header, Micros, Record};
use prometheus::{IntCounterVec, IntGaugeVec};
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::batch::{Delivery, SenderKind};
use crate::clock::now;
use crate::hunts::{Hunt, Window};
use crate::metrics;
use crate::people::Reader;

/// What a person can look through. A hunt that finds more finds what is ordinary.
const ROWS_MAX: usize = 500;
/// A row has some dozens of short values; a longer one is left out, and the run's line says how many.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// As long as late events are taken for what they are.
const CATCH_UP: Micros = 7 * 86_400 * 1_000_000;
/// Between two tries of a query or of a batch.
const RETRY: Duration = Duration::from_secs(30);

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    runs: metrics::counters("vonggac_hunt_runs_total", "Runs of hunts that are stored.", &["hunt"]),
    failures: metrics::counters("vonggac_hunt_failures_total", "Tries of a run that failed.", &["hunt"]),
    findings: metrics::counters("vonggac_hunt_findings_total", "Rows that hunts found.", &["hunt"]),
    behind: metrics::gauges("vonggac_hunt_behind_seconds", "How long the next run is due.", &["hunt"]),
    ahead: metrics::gauges(
        "vonggac_hunt_ahead_seconds",
        "How long a hunt does not run, because the clock was ahead when its last run was stored.",
        &["hunt"],
    ),
});

struct Metrics {
    runs: IntCounterVec,
    failures: IntCounterVec,
    findings: IntCounterVec,
    behind: IntGaugeVec,
    ahead: IntGaugeVec,
}

/// The stage: a task for each hunt, which ends with it.
pub(crate) struct RunHunts {
    tasks: JoinSet<()>,
}

/// What one run found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) rows: Vec<Map<String, Value>>,
    /// There were more than [`ROWS_MAX`].
    pub(crate) cut: bool,
    elapsed: Duration,
}

/// One hunt on its schedule.
struct Schedule {
    hunt: Hunt,
    reader: Arc<Reader>,
    deliveries: mpsc::Sender<Delivery>,
    /// One query at a time: detection and people come first.
    turn: Arc<Semaphore>,
}

impl RunHunts {
    pub(crate) fn start(hunts: Vec<Hunt>, reader: Reader, deliveries: &mpsc::Sender<Delivery>) -> Self {
        // A hunt that is no more is not behind.
        METRICS.behind.reset();
        METRICS.ahead.reset();
        let (reader, turn) = (Arc::new(reader), Arc::new(Semaphore::new(1)));
        let mut tasks = JoinSet::new();
        for hunt in hunts {
            let (reader, deliveries, turn) = (Arc::clone(&reader), deliveries.clone(), Arc::clone(&turn));
            tasks.spawn(Schedule { hunt, reader, deliveries, turn }.run());
        }
        Self { tasks }
    }

    /// Ends them. A run under way is done again later.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Where a schedule begins.
#[derive(Debug, Eq, PartialEq)]
struct First {
    run: u64,
    /// A hunt that was never run is not behind because its newest window ended before there was a collector.
    not_before: Micros,
}

impl First {
    /// Behind the last run that the store has, but not further back than is worth it.
    fn behind(last: Option<u64>, hunt: &Hunt, now: Micros) -> Self {
        let newest = hunt.newest(now);
        let oldest = newest.saturating_sub(u64::try_from(CATCH_UP / hunt.every).unwrap_or_default());
        match last {
            Some(last) => Self { run: (last + 1).max(oldest), not_before: Micros::MIN },
            None => Self { run: newest, not_before: now },
        }
    }
}

impl Schedule {
    /// Runs until the pipeline is gone.
    async fn run(self) {
        let First { mut run, not_before } = self.first().await;
        loop {
            let due = self.hunt.due(run).max(not_before);
            self.tell_behind(due);
            self.tell_ahead(due);
            tokio::time::sleep(micros(due.saturating_sub(now()))).await;
            while let Err(error) = self.hunt_once(run).await {
                METRICS.failures.with_label_values(&[&self.hunt.name]).inc();
                self.tell_behind(due);
                warn!(hunt = self.hunt.name, run, "failed and is tried again: {error:#}");
                if self.deliveries.is_closed() {
                    return;
                }
                tokio::time::sleep(RETRY).await;
            }
            METRICS.runs.with_label_values(&[&self.hunt.name]).inc();
            run += 1;
        }
    }

    /// Asks the store how far the hunt is.
    async fn first(&self) -> First {
        loop {
            match self.reader.last_batch(&self.hunt.sender(), self.hunt.epoch()).await {
                Ok(last) => {
                    let now = now();
                    let first = First::behind(last, &self.hunt, now);
                    let runs_to_catch_up = self.hunt.newest(now).saturating_sub(first.run);
                    info!(hunt = self.hunt.name, runs_to_catch_up, "on its schedule");
                    return first;
                }
                Err(error) => warn!(hunt = self.hunt.name, "cannot ask for its last run: {error:#}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn tell_behind(&self, due: Micros) {
        let behind = now().saturating_sub(due).max(0) / 1_000_000;
        METRICS.behind.with_label_values(&[&self.hunt.name]).set(behind);
    }

    /// The next run is due within one period, unless the clock was ahead when the last one was stored: its windows were looked at
    /// before anything stood in them, and none is until their time has come.
    fn tell_ahead(&self, due: Micros) {
        let ahead = due.saturating_sub(now()).saturating_sub(self.hunt.every).max(0) / 1_000_000;
        METRICS.ahead.with_label_values(&[&self.hunt.name]).set(ahead);
        if ahead > 0 {
            warn!(
                hunt = self.hunt.name,
                ahead_s = ahead,
                "does not run for so long: the clock was ahead when it ran last"
            );
        }
    }

    async fn hunt_once(&self, run: u64) -> Result<()> {
        let window = self.hunt.window(run);
        let found = {
            let _turn = self.turn.acquire().await?;
            find(&self.hunt, window, "", &self.reader).await?
        };
        METRICS.findings.with_label_values(&[&self.hunt.name]).inc_by(found.rows.len().try_into()?);
        let batch = batch(&self.hunt, run, &lines(&self.hunt, run, window, found)?)?;
        let (done, fate) = oneshot::channel();
        let delivery = Delivery { batch, sender: SenderKind::Hunt, received: now(), gap: None, done };
        self.deliveries.send(delivery).await.context("the pipeline has ended")?;
        fate.await.context("the store did not take it")?;
        Ok(())
    }
}

/// Asks the store. `drill`: of that drill alone; empty: of what is real.
pub(crate) async fn find(hunt: &Hunt, window: Window, drill: &str, reader: &Reader) -> Result<Found> {
    let begun = Instant::now();
    let sql = format!("SELECT * FROM ({}\n) LIMIT {}", hunt.sql, ROWS_MAX + 1);
    let mut rows = reader.objects(&sql, (window.from, window.to), drill).await?;
    rows.iter_mut().flat_map(Map::values_mut).for_each(unmap);
    let cut = rows.len() > ROWS_MAX;
    rows.truncate(ROWS_MAX);
    Ok(Found { rows, cut, elapsed: begun.elapsed() })
}

/// An IPv4 address is stored mapped into IPv6 (RFC 4291 section 2.5.5.2); people and rules write it as it is.
fn unmap(value: &mut Value) {
    let address = value.as_str().and_then(|text| text.parse::<Ipv6Addr>().ok());
    if let Some(address) = address.and_then(|address| address.to_ipv4_mapped()) {
        *value = json!(address);
    }
}

/// The lines of a run, that of the run itself last.
fn lines(hunt: &Hunt, run: u64, window: Window, found: Found) -> Result<Vec<String>> {
    let Found { rows, cut, elapsed } = found;
    let count = rows.len();
    let mut lines = Vec::new();
    let mut too_long = 0;
    for mut row in rows {
        row.entry("ts").or_insert_with(|| json!(window.to));
        row.insert("kind".into(), json!("hunt"));
        row.insert("hunt".into(), json!(hunt.name));
        row.insert("hunt_title".into(), json!(hunt.title));
        let line = serde_json::to_string(&row)?;
        match line.len() {
            0..=LINE_BYTES_MAX => lines.push(line),
            _ => too_long += 1,
        }
    }
    let Window { from, to } = window;
    let elapsed_us = u64::try_from(elapsed.as_micros())?;
    let end = json!({"kind": "hunt", "ts": to, "hunt_run": hunt.name, "run": run, "from": from, "to": to, "found": count,
        "cut": cut, "too_long": too_long, "elapsed_us": elapsed_us});
    lines.push(end.to_string());
    Ok(lines)
}

fn batch(hunt: &Hunt, run: u64, lines: &[String]) -> Result<Batch> {
    let time = hunt.window(run).to;
    let header = Header {
        agent: hunt.sender(),
        epoch: hunt.epoch(),
        seq: run,
        // The run may be one that the collector before this one stored without noting that it did.
        resent: true,
        source: format!("hunt:{}", hunt.name),
        format: Format::Flow,
        time_base: time,
        ..Header::default()
    };
    let records = (0_u64..).zip(lines).map(|(offset, line)| Record { time, offset, bytes: line.as_bytes() });
    Ok(Batch::new(header, records)?)
}

fn micros(micros: Micros) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_hunt_that_was_never_run_is_due_from_now_and_one_that_was_since_its_next_window_ended() {
        let hunts =
            crate::hunts::load(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/hunts")]).unwrap();
        let hunt = &hunts[0];
        let newest = hunt.newest(now());
        let now = hunt.due(newest) + hunt.every / 2;
        assert_eq!(First::behind(None, hunt, now), First { run: newest, not_before: now });

        let late = First::behind(Some(newest - 3), hunt, now);
        assert_eq!(late.run, newest - 2);
        assert!(late.not_before < hunt.due(late.run));

        let long_ago = First::behind(Some(0), hunt, now);
        assert!(now - hunt.due(long_ago.run) < CATCH_UP + hunt.every, "{long_ago:?}");
    }
}
