//! One thread's hunt: pieces of evidence in, findings and counts out.
//!
//! Limits: [`FINDINGS_MAX`] findings of all threads together are kept, and as many hits for correlations; what comes beyond is
//! counted and said.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use detect::{CorrelationHit, Engine, EventKey, Match, Rule, Scratch, Severity};
use event::{
    BATCH_RECORDS_MAX, Batch, Event, Events, EvtxBlock, Format, Header, LogSource, Micros, ParseStatus,
    RECORD_BYTES_MAX, Record,
};

use super::evidence::{Content, OnDisk, Piece};
use crate::ends::{Ends, with_ends};
use crate::inventory::Inventory;
use crate::people::{counted, grouped};

/// Findings kept, in all: some hundreds of bytes each.
const FINDINGS_MAX: usize = 1_000_000;

/// Files named that have lines which no parser takes.
const UNPARSED_FILES_SHOWN: usize = 20;

/// Evidence is believed at any time: a thousand years before and after.
const ANY_TIME: Micros = 1_000 * 366 * 24 * 3_600 * 1_000_000;

/// Names under which an event says which host it is about.
const HOST_FIELDS: [&str; 5] = ["Computer", "hostname", "host.name", "node", "host"];

/// What a rule found.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) rule: Arc<Rule>,
    pub(super) ts: Micros,
    /// Lower case; empty where the event does not say.
    pub(super) host: Arc<str>,
    pub(super) place: Place,
    /// The fields that matched; of a correlation, its group and what its condition was asked of.
    pub(super) matched: Vec<(String, String)>,
    /// Events: of a correlation, those that it names.
    pub(super) count: u64,
}

/// Where an event stands: the index of its file, and the number of its record (EVTX) or line there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) file: u64,
    pub(super) position: u64,
}

/// What came of some pieces.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) findings: Vec<Finding>,
    hits: Vec<detect::Hit>,
    pub(super) events: u64,
    /// By index of the file: lines that no parser takes. Rules see their text alone.
    pub(super) unparsed: BTreeMap<usize, Unparsed>,
    pub(super) matches: u64,
    /// Events that were understood and of which nobody says the log source.
    unsourced: u64,
    /// Findings beyond the limit.
    pub(super) dropped: u64,
    /// By index of the file: how many chunks and records cannot be read, and why the first cannot.
    damage: BTreeMap<usize, event::Damage>,
}

/// Lines of a file that no parser takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unparsed {
    pub(super) lines: u64,
    /// Number of the first.
    line: u64,
}

/// What all threads share.
pub(super) struct Hunt<'h> {
    pub(super) engine: &'h Engine,
    /// What milder rules find is not reported.
    pub(super) severity: Severity,
    /// Of times that name no zone.
    pub(super) utc_offset_s: i32,
    /// Of events that say none.
    pub(super) log_source: LogSource<'h>,
    pub(super) kept: &'h AtomicUsize,
    /// Evidence is looked at without one: only private addresses tell which way a flow goes.
    pub(super) inventory: Inventory,
}

/// One thread.
pub(super) struct Hunter<'h> {
    hunt: &'h Hunt<'h>,
    scratch: Scratch,
    /// The chunk that is being read.
    chunk: Vec<u8>,
    block: EvtxBlock,
    outcome: Outcome,
}

impl<'h> Hunter<'h> {
    pub(super) fn new(hunt: &'h Hunt<'h>) -> Self {
        Self {
            hunt,
            scratch: Scratch::default(),
            chunk: Vec::new(),
            block: EvtxBlock::default(),
            outcome: Outcome::default(),
        }
    }

    pub(super) fn outcome(self) -> Outcome {
        self.outcome
    }

    pub(super) fn look(&mut self, piece: &Piece) {
        match &piece.content {
            Content::Chunks(chunks) => self.chunks(piece, chunks),
            Content::OnDisk(chunk) => self.on_disk(piece, chunk),
            Content::Lines(text, first, format) => self.lines(piece, text, *first, *format),
        }
    }

    fn chunks(&mut self, piece: &Piece, chunks: &[u8]) {
        let mut block = std::mem::take(&mut self.block);
        block.read(chunks);
        self.block(piece, &block);
        self.block = block;
    }

    /// What a chunk's head says is believed as long as it comes out: if not, all of the chunk is read, as far as the disk gives it.
    fn on_disk(&mut self, piece: &Piece, chunk: &OnDisk) {
        let (mut block, mut bytes) = (std::mem::take(&mut self.block), std::mem::take(&mut self.chunk));
        let mut read = chunk.read_written(&mut bytes);
        block.read(&bytes);
        if read.is_err() || block.damage().count > 0 {
            read = chunk.read(&mut bytes);
            block.read(&bytes);
        }
        self.block(piece, &block);
        if let Err(error) = read {
            let first = Some(format!("byte {}: {error}", chunk.start));
            self.outcome.damaged(piece.file, event::Damage { count: 1, first });
        }
        (self.block, self.chunk) = (block, bytes);
    }

    fn block<'b>(&mut self, piece: &Piece, block: &'b EvtxBlock)
    where
        'h: 'b,
    {
        if block.damage().count > 0 {
            self.outcome.damaged(piece.file, block.damage().clone());
        }
        block.each_event(piece.modified, |position, event| self.event(piece.file, position, event));
    }

    fn lines(&mut self, piece: &Piece, text: &[u8], first: u64, format: Format) {
        let time = piece.modified;
        let lines = (first..).zip(text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end));
        let records: Vec<Record<'_>> = lines
            .flat_map(|(number, line)| line.chunks(RECORD_BYTES_MAX).map(move |bytes| (number, bytes)))
            .map(|(offset, bytes)| Record { time, offset, bytes })
            .collect();
        for records in records.chunks(BATCH_RECORDS_MAX) {
            let header =
                Header { format, time_base: time, utc_offset_s: self.hunt.utc_offset_s, ..Header::default() };
            // A piece is smaller than a batch may be.
            let Ok(batch) = Batch::new(header, records.iter().copied()) else { continue };
            let mut events = Events::within(&batch, ANY_TIME, ANY_TIME);
            while let Some((mut event, records)) = events.next_with_records() {
                let line = records.first().map_or(first, |record| record.offset);
                self.event(piece.file, line, &mut event);
            }
        }
    }

    /// The one place where rules look at an event.
    fn event<'e>(&mut self, file: usize, position: u64, event: &mut Event<'e>)
    where
        'h: 'e,
    {
        let hunt: &'h Hunt<'h> = self.hunt;
        if let Some(ends) = Ends::of(&hunt.inventory, event) {
            ends.tell(&hunt.inventory, event);
        }
        self.outcome.events += 1;
        if event.status == ParseStatus::Raw {
            self.outcome.raw(file, position, &event.message);
        }
        if event.log_source == LogSource::default() {
            event.log_source = hunt.log_source;
            let is_unsourced = event.status != ParseStatus::Raw && event.log_source == LogSource::default();
            self.outcome.unsourced += u64::from(is_unsourced);
        }
        let matches = self.hunt.engine.evaluate(event, &mut self.scratch);
        if matches.is_empty() {
            return;
        }
        let host = host(event);
        let place = Place { file: file as u64, position };
        for found in matches {
            self.found(event, found, &host, place);
        }
    }

    fn found(&mut self, event: &Event<'_>, found: Match, host: &Arc<str>, place: Place) {
        let key = EventKey { agent: Arc::clone(host), epoch: place.file, seq: place.position, record: 0 };
        if let Some(hit) = self.hunt.engine.hit(&found.rule, event, key)
            && self.keeps_one_more()
        {
            self.outcome.hits.push(hit);
        }
        if !found.rule.alerts || found.rule.severity < self.hunt.severity {
            return;
        }
        self.outcome.matches += 1;
        if self.keeps_one_more() {
            let evidence = self.hunt.engine.evidence(&found, event, &mut self.scratch);
            let matched = with_ends(event, evidence);
            let (rule, host) = (found.rule, Arc::clone(host));
            let finding = Finding { rule, ts: event.ts, host, place, matched, count: 1 };
            self.outcome.findings.push(finding);
        }
    }

    fn keeps_one_more(&mut self) -> bool {
        let keeps = self.hunt.kept.fetch_add(1, Ordering::Relaxed) < FINDINGS_MAX;
        self.outcome.dropped += u64::from(!keeps);
        keeps
    }
}

impl Outcome {
    pub(super) fn join(mut self, mut other: Self) -> Self {
        self.findings.append(&mut other.findings);
        self.hits.append(&mut other.hits);
        other.damage.into_iter().for_each(|(file, damage)| self.damaged(file, damage));
        self.events += other.events;
        other.unparsed.into_iter().for_each(|(file, unparsed)| self.unparsed(file, unparsed));
        self.matches += other.matches;
        self.dropped += other.dropped;
        self.unsourced += other.unsourced;
        self
    }

    fn damaged(&mut self, file: usize, damage: event::Damage) {
        let sum = self.damage.entry(file).or_default();
        sum.count += damage.count;
        sum.first = sum.first.take().or(damage.first);
    }

    fn unparsed(&mut self, file: usize, Unparsed { lines, line }: Unparsed) {
        let sum = self.unparsed.entry(file).or_insert(Unparsed { lines: 0, line });
        *sum = Unparsed { lines: sum.lines + lines, line: sum.line.min(line) };
    }

    /// A line that no parser takes. One that begins as a JSON object is a record that cannot be read: cut, or too long.
    fn raw(&mut self, file: usize, line: u64, text: &str) {
        if begins_object(text) {
            let what = format!(
                "line {line}: a JSON object that is broken or has more than {RECORD_BYTES_MAX} bytes"
            );
            self.damaged(file, event::Damage { count: 1, first: Some(what) });
        } else {
            self.unparsed(file, Unparsed { lines: 1, line });
        }
    }

    /// Lets the correlations see all hits in the order of time, and puts the findings into it.
    pub(super) fn correlate(&mut self, hunt: &Hunt<'_>) {
        let mut correlator = hunt.engine.correlator();
        let mut hits = std::mem::take(&mut self.hits);
        hits.sort_by(|a, b| (a.ts, &a.event).cmp(&(b.ts, &b.event)));
        for hit in hits {
            let now = hit.ts;
            let fired = correlator
                .observe(hit, now)
                .into_iter()
                .filter(|fired| fired.new && fired.rule.alerts && fired.rule.severity >= hunt.severity);
            self.findings.extend(fired.filter_map(Finding::of_correlation));
        }
        self.findings.sort_by(|a, b| {
            (a.ts, a.place.file, a.place.position, &a.rule.id).cmp(&(
                b.ts,
                b.place.file,
                b.place.position,
                &b.rule.id,
            ))
        });
    }

    /// What cannot be read of files: a line for each.
    pub(super) fn damage_in_words<'p>(&self, path: impl Fn(usize) -> &'p Path) -> Vec<String> {
        let line = |(file, damage): (&usize, &event::Damage)| {
            let (path, first) = (path(*file).display(), damage.first.as_deref().unwrap_or_default());
            match damage.count {
                1 => format!("{path}: a chunk or record cannot be read: {first}"),
                count => format!("{path}: {} chunks or records cannot be read; one: {first}", grouped(count)),
            }
        };
        self.damage.iter().map(line).collect()
    }

    /// How many events rules can hardly see.
    pub(super) fn unsourced_in_words(&self) -> Option<String> {
        let events = counted(self.unsourced, "event");
        let what = "whose log source is not known: only rules that name none look at them. --product, --service and --category say it";
        (self.unsourced > 0).then(|| format!("{events} {what}"))
    }

    /// Which files have lines that no parser takes, those with the most first.
    pub(super) fn unparsed_in_words<'p>(&self, path: impl Fn(usize) -> &'p Path) -> Vec<String> {
        let mut files: Vec<_> = self.unparsed.iter().collect();
        files.sort_by_key(|(file, unparsed)| (std::cmp::Reverse(unparsed.lines), *file));
        let rest: u64 = files.iter().skip(UNPARSED_FILES_SHOWN).map(|(_, unparsed)| unparsed.lines).sum();
        let more = files.len().saturating_sub(UNPARSED_FILES_SHOWN) as u64;
        let line = |(file, Unparsed { lines, line }): (&usize, &Unparsed)| {
            let lines = counted(*lines, "line");
            format!(
                "{}: {lines} that no parser takes, of which rules see only the text; one: line {line}",
                path(*file).display()
            )
        };
        let rest =
            (more > 0).then(|| format!("{more} more files: {} that no parser takes", counted(rest, "line")));
        files.into_iter().take(UNPARSED_FILES_SHOWN).map(line).chain(rest).collect()
    }
}

impl Finding {
    fn of_correlation(fired: CorrelationHit) -> Option<Self> {
        let event = fired.events.first()?;
        let place = Place { file: event.epoch, position: event.seq };
        let count = u64::try_from(fired.events.len()).unwrap_or(u64::MAX);
        let counted = (fired.counted().to_owned(), fired.count.to_string());
        let (rule, ts, host) = (fired.rule, fired.last, Arc::clone(&event.agent));
        let mut matched = fired.group;
        matched.push(counted);
        Some(Self { rule, ts, host, place, matched, count })
    }
}

fn begins_object(text: &str) -> bool {
    let name = text.trim_start().strip_prefix('{').map(str::trim_start);
    name.is_some_and(|name| name.starts_with('"'))
}

fn host(event: &Event<'_>) -> Arc<str> {
    HOST_FIELDS.iter().find_map(|name| event.text(name)).unwrap_or_default().to_lowercase().into()
}
