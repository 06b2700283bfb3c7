//! Gathers the flows of an exporter until they are worth a batch: [`RECORDS`] of them, or [`WAIT`] after the first.
//!
//! A batch that finds no room behind this stage is dropped and counted, and takes no number: what comes out is numbered without
//! gaps. UDP cannot be held back, so the loss is made here, visibly, and not in the kernel.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use event::{Batch, Flow, Format, Header, Micros, Record};
use tokio::sync::mpsc;

use super::roster::Exporter;

/// Records of a batch.
const RECORDS: usize = 1_000;
/// So long the first record of a batch waits at most for the others.
pub(super) const WAIT: Micros = 500_000;
/// How the records are to be read.
const FORMAT: Format = Format::Flow;
/// Sigma's log source of the events.
const PRODUCT: &str = "network";
const SERVICE: &str = "flow";

/// A batch on its way to the pipeline.
pub(super) struct Outgoing {
    pub(super) batch: Batch,
    pub(super) received: Micros,
    pub(super) exporter: Arc<Exporter>,
}

/// The stage's state: what is not yet a batch.
pub(super) struct Gather {
    open: HashMap<(String, &'static str), Open>,
    output: mpsc::Sender<Outgoing>,
}

struct Open {
    exporter: Arc<Exporter>,
    since: Micros,
    lines: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl Gather {
    pub(super) fn new(output: mpsc::Sender<Outgoing>) -> Self {
        Self { open: HashMap::new(), output }
    }

    /// Takes the flows that `flows` hands on.
    pub(super) fn add(
        &mut self,
        exporter: &Arc<Exporter>,
        source: &'static str,
        now: Micros,
        flows: impl FnOnce(&mut dyn FnMut(&Flow<'static>)),
    ) {
        let key = (exporter.name.clone(), source);
        let open = self.open.entry(key).or_insert_with(|| Open::new(exporter, now));
        if open.ends.is_empty() {
            // The entry may be that of an exporter that was forgotten in between.
            (open.since, open.exporter) = (now, Arc::clone(exporter));
        }
        flows(&mut |flow| open.push(flow));
        if open.ends.len() >= RECORDS {
            open.send(source, now, &self.output, Patience::None);
        }
    }

    /// Sends what has waited long enough, and forgets who sends nothing.
    pub(super) fn tick(&mut self, now: Micros) {
        self.open.retain(|(_, source), open| {
            if open.ends.is_empty() {
                return now.saturating_sub(open.since) < WAIT * 100;
            }
            if now.saturating_sub(open.since) >= WAIT {
                open.send(source, now, &self.output, Patience::None);
            }
            true
        });
    }

    /// At the end: sends all, and waits for room.
    pub(super) fn finish(mut self, now: Micros) {
        for ((_, source), open) in &mut self.open {
            open.send(source, now, &self.output, Patience::Endless);
        }
    }
}

/// Whether to wait for room.
#[derive(Clone, Copy)]
enum Patience {
    None,
    Endless,
}

impl Open {
    fn new(exporter: &Arc<Exporter>, now: Micros) -> Self {
        Self { exporter: Arc::clone(exporter), since: now, lines: Vec::new(), ends: Vec::new() }
    }

    fn push(&mut self, flow: &Flow<'static>) {
        flow.write(&community_id(flow), &mut self.lines);
        self.ends.push(self.lines.len());
    }

    /// All that is there, in batches.
    fn send(&mut self, source: &str, now: Micros, output: &mpsc::Sender<Outgoing>, patience: Patience) {
        let mut start = 0;
        for ends in self.ends.chunks(RECORDS) {
            let sent = match patience {
                Patience::None => output.try_reserve().ok().and_then(|place| {
                    place.send(self.batch(source, now, start, ends)?);
                    Some(())
                }),
                Patience::Endless => self
                    .batch(source, now, start, ends)
                    .and_then(|outgoing| output.blocking_send(outgoing).ok()),
            };
            if sent.is_none() {
                self.exporter.dropped_by_queue.inc_by(u64::try_from(ends.len()).unwrap_or(u64::MAX));
            }
            start = ends.last().copied().unwrap_or(start);
        }
        self.lines.clear();
        self.ends.clear();
    }

    fn batch(&self, source: &str, now: Micros, start: usize, ends: &[usize]) -> Option<Outgoing> {
        let starts = std::iter::once(start).chain(ends.iter().copied());
        let records = starts.zip(ends).filter_map(|(start, end)| {
            let line = self.lines.get(start..*end)?;
            let bytes = line.strip_suffix(b"\n").unwrap_or(line);
            Some(Record { time: now, offset: u64::try_from(start).unwrap_or(u64::MAX), bytes })
        });
        let header = Header {
            agent: self.exporter.name.clone(),
            epoch: self.exporter.epoch,
            seq: self.exporter.seq.fetch_add(1, Ordering::Relaxed),
            source: source.to_owned(),
            format: FORMAT,
            product: PRODUCT.to_owned(),
            service: SERVICE.to_owned(),
            time_base: now,
            ..Header::default()
        };
        // A thousand lines of a few hundred bytes are within the limits of a batch.
        let batch = Batch::new(header, records).ok()?;
        Some(Outgoing { batch, received: now, exporter: Arc::clone(&self.exporter) })
    }
}

/// The flow's Community ID.
fn community_id(flow: &Flow<'_>) -> String {
    event::community_id((flow.src_ip, flow.src_port), (flow.dst_ip, flow.dst_port), flow.protocol)
}
