//! Events and flows into the store, and then, only then, the fate of their batches.
//!
//! Rows of many batches are gathered by partition: one insert goes into one partition, and so it is atomic. A group is
//! written when it has [`ROWS_MIN`] rows, when its first batch waited for [`WAIT_MAX`], or when a burst ended: with
//! [`BURST_ROWS`] rows and nothing more for [`QUIET`], its senders wait for their acknowledgements with full windows. While
//! one group is written the next one gathers; beyond [`ROWS_MIN`] rows the stages before wait.
//!
//! Within a group: events, then how far its agents are stored, then the fates. What the store refuses as bad data is taken
//! apart by halves until the bad rows stand alone; these become dead letters, the others are stored.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use clickhouse::Client;
use event::Micros;
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant};

use crate::admit::{Origin, Ticket};
use crate::alert::{Notice, Notices};
use crate::batch::{Fate, SenderKind};
use crate::clock::now;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::insert::{Insert, Refused};
use crate::metrics;
use crate::row::{self, Blocks, Partition, Table};
use crate::row_binary::{Encode, encode, encoded};
use crate::watch_coverage::{Heard, Newsroom};

/// Rows that are worth an insert. A batch has at most as many, so a group has fewer than 20,000: one insert of that size
/// with the text index needs some 100 MB in the store.
const ROWS_MIN: usize = event::BATCH_RECORDS_MAX;
/// Encoded bytes that are worth an insert, whatever the rows.
const BYTES_MIN: usize = 32 << 20;
/// Longest wait of a batch for others.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Rows that are written once nothing more comes for [`QUIET`]. With fewer, parts would be too small to merge with ease.
const BURST_ROWS: usize = 1_000;
const QUIET: Duration = Duration::from_millis(25);
/// Epoch and number in the row of what sends OTLP.
const OTLP_POSITION: (u64, u64) = (0, 0);

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    stored: metrics::counters("vonggac_store_events_total", "Events and flows stored.", &["agent"]),
    inserts: metrics::counter(
        "vonggac_store_inserts_total",
        "Inserts of events and flows that the store took.",
    ),
    batches: metrics::counter("vonggac_store_batches_total", "Batches whose fate was told."),
    gathered: metrics::gauge("vonggac_store_gathered_rows", "Rows that wait for their insert."),
});

struct Metrics {
    stored: IntCounterVec,
    inserts: IntCounter,
    batches: IntCounter,
    gathered: IntGauge,
}

/// A batch whose rows are ready.
pub(crate) struct Evaluated {
    pub(crate) ticket: Ticket,
    pub(crate) blocks: Blocks,
    /// Times of its first and its last event.
    pub(crate) first_event: Micros,
    pub(crate) last_event: Micros,
    /// Times of its records were not believed.
    pub(crate) is_clock_doubted: bool,
    /// Log sources that report with it.
    pub(crate) heard: Heard,
}

/// A row of the table `agents`.
#[derive(Clone, Debug, Eq, PartialEq)]
struct AgentRow {
    agent: String,
    epoch: u64,
    seq: u64,
    last_seen: Micros,
    last_event: Micros,
    drill_id: String,
    sender: &'static str,
}

encode!(AgentRow { agent, epoch, seq, last_seen, last_event, drill_id, sender });

/// The stage.
pub(crate) struct WriteEvents {
    input: mpsc::Receiver<Evaluated>,
    writer: Arc<Writer>,
}

struct Writer {
    /// In the order of [`Table::ALL`].
    tables: [Insert; Table::ALL.len()],
    agents: Insert,
    dead_letters: DeadLetters,
    notices: Notices,
    coverage: Newsroom,
}

/// Batches that are written together.
#[derive(Default)]
struct Group {
    batches: Vec<Evaluated>,
    rows: usize,
    bytes: usize,
    /// When the first and the last batch came.
    came: Option<(Instant, Instant)>,
}

/// Rows of one partition, of several batches.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

/// A row in [`Gathered`].
#[derive(Clone, Copy)]
struct Row {
    end: usize,
    batch: usize,
    record: u32,
}

impl WriteEvents {
    pub(crate) fn new(
        client: &Client,
        dead_letters: DeadLetters,
        notices: Notices,
        coverage: Newsroom,
        input: mpsc::Receiver<Evaluated>,
    ) -> Self {
        LazyLock::force(&METRICS);
        let tables = Table::ALL.map(|table| Insert::new(client, table.as_str(), &table.column_list()));
        let agents = Insert::new(client, "agents", &AgentRow::COLUMNS.join(", "));
        Self { input, writer: Arc::new(Writer { tables, agents, dead_letters, notices, coverage }) }
    }

    /// Runs until the stage before is gone and all is written.
    pub(crate) async fn run(mut self) {
        let mut group = Group::default();
        let mut writing: Option<JoinHandle<()>> = None;
        let mut open = true;
        while open || writing.is_some() || !group.batches.is_empty() {
            if writing.is_none() && (group.is_due(Instant::now()) || !open) && !group.batches.is_empty() {
                let writer = Arc::clone(&self.writer);
                writing = Some(tokio::spawn(writer.write(std::mem::take(&mut group))));
            }
            tokio::select! {
                received = self.input.recv(), if open && !group.is_full() => match received {
                    Some(batch) => group.push(batch, Instant::now()),
                    None => open = false,
                },
                () = finished(&mut writing), if writing.is_some() => writing = None,
                () = tokio::time::sleep_until(group.due()), if writing.is_none() && !group.batches.is_empty() => {}
            }
            METRICS.gathered.set(i64::try_from(group.rows).unwrap_or(i64::MAX));
        }
    }
}

async fn finished(writing: &mut Option<JoinHandle<()>>) {
    if let Some(handle) = writing
        && let Err(error) = handle.await
    {
        // Only a bug ends a writer early. Its tickets are gone, so the agents send the batches again.
        tracing::error!(%error, "a group of batches was not written");
    }
}

impl Group {
    fn push(&mut self, batch: Evaluated, now: Instant) {
        self.rows += batch.blocks.rows();
        self.bytes += batch.blocks.bytes();
        self.came = Some((self.came.map_or(now, |(first, _)| first), now));
        self.batches.push(batch);
    }

    fn is_full(&self) -> bool {
        self.rows >= ROWS_MIN || self.bytes >= BYTES_MIN
    }

    fn is_due(&self, now: Instant) -> bool {
        self.is_full() || self.due() <= now
    }

    /// When it is written even if nothing more comes.
    fn due(&self) -> Instant {
        let Some((first, last)) = self.came else { return Instant::now() + WAIT_MAX };
        let due = first + WAIT_MAX;
        if self.rows >= BURST_ROWS { due.min(last + QUIET) } else { due }
    }
}

impl Writer {
    async fn write(self: Arc<Self>, group: Group) {
        let mut batches = Vec::with_capacity(group.batches.len());
        let mut partitions: BTreeMap<Partition, Gathered> = BTreeMap::new();
        for (index, batch) in group.batches.into_iter().enumerate() {
            let Evaluated { ticket, blocks, last_event, heard, .. } = batch;
            batches.push(Written { rows: blocks.rows(), dead: 0, last_event, heard, ticket });
            for block in blocks {
                partitions.entry(block.partition).or_default().append(&block, index);
            }
        }
        for (partition, gathered) in partitions {
            self.write_partition(self.table(partition.table), &gathered, &mut batches).await;
        }
        let agents = agent_rows(&batches);
        if let Err(Refused(reason)) = self.agents.put(&encoded(&agents)).await {
            // The row only tells how far an agent is: the next one tells it as well.
            tracing::error!(reason, "row of agents refused");
        }
        for batch in batches {
            let (origin, heard) = (Arc::clone(&batch.ticket.origin), batch.settle());
            self.coverage.stored(&origin, heard).await;
        }
    }

    fn table(&self, table: Table) -> &Insert {
        let [events, flows] = &self.tables;
        match table {
            Table::Events => events,
            Table::Flows => flows,
        }
    }

    /// Stores the rows of a partition; the bad ones among them become dead letters.
    async fn write_partition(&self, insert: &Insert, gathered: &Gathered, batches: &mut [Written]) {
        let mut letters = Vec::new();
        let whole = 0..gathered.rows.len();
        let mut rest = vec![whole];
        while let Some(range) = rest.pop() {
            match insert.put(gathered.slice(&range)).await {
                Ok(()) => METRICS.inserts.inc(),
                Err(Refused(reason)) if range.len() <= 1 => {
                    for row in range {
                        letters.push(gathered.letter(row, &reason, batches));
                    }
                }
                Err(Refused(_)) => {
                    let middle = range.start + range.len() / 2;
                    rest.push(middle..range.end);
                    rest.push(range.start..middle);
                }
            }
        }
        if !letters.is_empty() {
            self.dead_letters.write(letters).await;
            self.tell(batches);
        }
    }

    fn tell(&self, batches: &[Written]) {
        for batch in batches.iter().filter(|batch| batch.dead > 0) {
            let origin = Arc::clone(&batch.ticket.origin);
            // Who starts next tells of those that find no place.
            let _dropped = self.notices.send(Notice::DeadLetters { origin, rows: batch.dead, at: now() });
        }
    }
}

impl Gathered {
    fn append(&mut self, block: &row::Block, batch: usize) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&block.bytes);
        let rows = block.rows.iter();
        self.rows.extend(rows.map(|row| Row { end: start + row.end, batch, record: row.record }));
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        let end_before = |row: usize| row.checked_sub(1).map_or(0, |last| self.rows[last].end);
        &self.bytes[end_before(range.start)..end_before(range.end)]
    }

    fn letter(&self, row: usize, reason: &str, batches: &mut [Written]) -> DeadLetter {
        let Row { batch, record, .. } = self.rows[row];
        let (message, raw) = row::texts(self.slice(&(row..row + 1)));
        let batch = &mut batches[batch];
        batch.dead += 1;
        DeadLetter::of_event(&batch.ticket.origin, record, reason, message, raw)
    }
}

/// A batch whose rows are stored, or with the dead letters.
struct Written {
    ticket: Ticket,
    rows: usize,
    dead: usize,
    last_event: Micros,
    heard: Heard,
}

impl Written {
    /// Tells the fate; gives what is heard of log sources with what was stored.
    fn settle(self) -> Heard {
        let agent = &self.ticket.origin.identity.agent;
        let stored = u64::try_from(self.rows - self.dead).unwrap_or_default();
        METRICS.stored.with_label_values(&[agent]).inc_by(stored);
        METRICS.batches.inc();
        let all_dead = self.rows > 0 && self.rows == self.dead;
        self.ticket.settle(if all_dead { Fate::DeadLettered } else { Fate::Stored });
        if all_dead { Heard::new() } else { self.heard }
    }
}

/// One row for each agent and epoch: its highest sequence number. What sends OTLP has one row alone: each of its requests is an
/// epoch, and none comes again once it was answered, so all that is left to tell of them is when the last one came.
fn agent_rows(batches: &[Written]) -> Vec<AgentRow> {
    let mut rows: HashMap<(&str, u64), AgentRow> = HashMap::new();
    for batch in batches {
        let Origin { identity, drill_id, received, .. } = &*batch.ticket.origin;
        let (epoch, seq) = match batch.ticket.sender {
            SenderKind::Otlp => OTLP_POSITION,
            _ => (identity.epoch, identity.seq),
        };
        let row = rows.entry((&identity.agent, epoch)).or_insert_with(|| AgentRow {
            agent: identity.agent.clone(),
            epoch,
            seq: 0,
            last_seen: 0,
            last_event: 0,
            drill_id: drill_id.clone(),
            sender: batch.ticket.sender.as_str(),
        });
        row.seq = row.seq.max(seq);
        row.last_seen = row.last_seen.max(*received);
        row.last_event = row.last_event.max(batch.last_event);
    }
    rows.into_values().collect()
}
