//! From a batch to encoded rows and hits: parse, match, classify, encode. On threads of their own, never on the async pool.
//!
//! All batches of one agent go to one thread, so they stay in order. A thread keeps its buffers from batch to batch, and
//! what a batch gives is owned by it: rows as bytes, hits as the little that alerts and correlations need.
//!
//! A batch that may have been sent before ([`Header::resent`](event::Header)) is parsed first, because the times of its
//! events are what makes asking the store cheap. What the store has is left out of the rows. Its hits are not: they are
//! counted once by [`grouping`](crate::grouping), and the windows of correlations need them after a restart.
//!
//! An agent's clock is held against ours: a record that says it was read more than 7 days ago or 10 minutes ahead was read when
//! it came, and is counted. Else a host without a clock would have its events expire at once, and one that means harm could
//! spread a batch over as many partitions of the store as it has records.
//!
//! Rules and indicators are looked for side by side; an indicator that an event names is a hit like a rule's.
//!
//! What this never does: drop an event that no parser takes. It is stored raw, marked and counted by source.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::Ipv6Addr;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, LazyLock};

use clickhouse::Client;
use detect::{Engine, EventKey, Indicators, Match, Rule, Scratch, Sighting, Sightseer};
use event::{
    Batch, Event, Events, Format, Micros, ParseStatus, Record, TS_FUTURE_MAX, TS_PAST_MAX, is_believable,
};
use prometheus::{IntCounter, IntCounterVec};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::admit::{Admitted, Origin};
use crate::batch::{Gap, SenderKind};
use crate::classify::Sender;
use crate::coverage::SourceSet;
use crate::current::Current;
use crate::ends::{Ends, with_ends};
use crate::exceptions::Exceptions;
use crate::flow_row::{FlowFiller, FlowRow};
use crate::grouping::{Cause, Hit, Place, SAMPLE_BYTES_MAX, Sample};
use crate::indicators;
use crate::inventory::{Inventory, Level, System, SystemIndex};
use crate::metrics;
use crate::priority::Levels;
use crate::recover;
use crate::reported;
use crate::row::{Blocks, EventRow, Filler};
use crate::watch_coverage::Heard;
use crate::write_events::Evaluated;

/// Sources that have a label of their own in metrics. Agents' configurations name some dozens; a path with a number in it,
/// one for each file, would make a label each.
const SOURCES_MAX: usize = 1_000;
/// So long after a request its repetition may come: OpenTelemetry's exporters try for 5 minutes, the rest is for a collector that
/// was down and a clock that was set.
const OTLP_REPEATED_WITHIN: Micros = 3_600 * 1_000_000;
/// ... and a batch of an agent whose clock is not believed, which may have lain with it while its line was down.
const AGENT_REPEATED_WITHIN: Micros = TS_PAST_MAX;
/// Sigma's service of flow records.
const FLOW_SERVICE: &str = "flow";
/// The label of the sources beyond.
const OTHER_SOURCES: &str = "other";

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    parsed: metrics::counters(
        "vonggac_evaluate_events_total",
        "Events by source, format and how far they were understood.",
        &["source", "format", "status"],
    ),
    received: metrics::counters("vonggac_evaluate_received_total", "Events received.", &["agent"]),
    known: metrics::counters(
        "vonggac_evaluate_known_total",
        "Events received again that an earlier collector had stored.",
        &["agent"],
    ),
    doubted: metrics::counters(
        "vonggac_evaluate_doubted_hostnames_total",
        "Events whose line names a host of a system, from a sender that is of no system and no relay: not believed.",
        &["agent"],
    ),
    clocks: metrics::counters(
        "vonggac_evaluate_doubted_clocks_total",
        "Records that say they were read more than 7 days before they came, or 10 minutes after: not believed.",
        &["agent"],
    ),
    matches: metrics::counter("vonggac_evaluate_matches_total", "Matches of rules."),
});

struct Metrics {
    parsed: IntCounterVec,
    received: IntCounterVec,
    known: IntCounterVec,
    doubted: IntCounterVec,
    clocks: IntCounterVec,
    matches: IntCounter,
}

/// Rules as they are used now. Swapped whole: a batch is evaluated by one set.
#[derive(Clone, Debug, Default)]
pub struct RuleSet(Current<Rules>);

/// A set of rules, and what alerts show of each.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) engine: Engine,
    /// How many sets were in force before.
    pub(crate) generation: u64,
    causes: HashMap<String, Arc<Cause>>,
}

/// What all threads share.
pub(crate) struct Site {
    /// Whose hosts and addresses are; swapped whole, a batch is classified by one.
    pub(crate) places: Current<Places>,
    pub(crate) levels: Levels,
    pub(crate) filler: Filler,
    pub(crate) flow_filler: FlowFiller,
    pub(crate) rules: RuleSet,
    pub(crate) indicators: Current<Indicators>,
    /// None at first.
    pub(crate) exceptions: Current<Exceptions>,
}

/// The inventory, and what alerts show of each of its systems.
pub(crate) struct Places {
    pub(crate) inventory: Inventory,
    /// In the order of the inventory.
    places: Vec<Arc<Place>>,
    nowhere: Arc<Place>,
}

/// A batch's rows and hits.
pub(crate) struct Evaluation {
    pub(crate) evaluated: Evaluated,
    pub(crate) rules: Arc<Rules>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) gap: Option<Gap>,
}

/// A match of a rule: an alert's hit, a correlation's hit, or both. The sample is the event as evidence.
pub(crate) struct Finding {
    pub(crate) hit: Hit,
    pub(crate) correlated: Option<detect::Hit>,
    /// Whether the hit is an alert of its own.
    pub(crate) alerts: bool,
}

/// One thread of the stage.
pub(crate) struct Evaluate {
    pub(crate) site: Arc<Site>,
    pub(crate) client: Client,
    pub(crate) runtime: Handle,
    pub(crate) input: mpsc::Receiver<Admitted>,
    pub(crate) output: SyncSender<Evaluation>,
}

impl Evaluate {
    /// Runs until the stage before is gone, or the one behind.
    pub(crate) fn run(mut self) {
        LazyLock::force(&METRICS);
        let mut thread = Thread::new(Arc::clone(&self.site));
        while let Some(admitted) = self.input.blocking_recv() {
            let resent = admitted.batch.header.resent;
            let mut evaluation = thread.evaluate(admitted);
            if resent {
                self.leave_out_stored(&mut evaluation.evaluated);
            }
            if self.output.send(evaluation).is_err() {
                return;
            }
        }
    }

    fn leave_out_stored(&self, evaluated: &mut Evaluated) {
        let Origin { identity, received, .. } = &*evaluated.ticket.origin;
        let (mut first, mut last) = (evaluated.first_event, evaluated.last_event);
        // A record without a usable time has that of its receipt. An agent says when it read a line and says it again; a sender
        // of OTLP need not, and then what is stored has the time of an earlier receipt.
        if evaluated.ticket.sender == SenderKind::Otlp {
            first = first.min(received.saturating_sub(OTLP_REPEATED_WITHIN));
            last = last.max(*received);
        }
        // Neither does one whose clock is not believed: its records have the time at which the batch came first, or their own,
        // which was held against that.
        if evaluated.is_clock_doubted {
            first = first.min(received.saturating_sub(AGENT_REPEATED_WITHIN).saturating_sub(TS_PAST_MAX));
            last = last.max(received.saturating_add(TS_FUTURE_MAX));
        }
        let range = first..=last;
        let ask = || recover::stored_records(&self.client, identity, &range);
        let stored = self.runtime.block_on(recover::insist(ask));
        if !stored.is_empty() {
            let known = u64::try_from(stored.len()).unwrap_or_default();
            METRICS.known.with_label_values(&[&identity.agent]).inc_by(known);
            let blocks = std::mem::take(&mut evaluated.blocks);
            evaluated.blocks = blocks.without(&stored);
        }
    }
}

impl Site {
    pub(crate) fn new(
        inventory: Inventory,
        levels: Levels,
        (filler, flow_filler): (Filler, FlowFiller),
        rules: RuleSet,
    ) -> Self {
        let places = Current::new(Places::new(inventory));
        let (indicators, exceptions) = (Current::default(), Current::default());
        Self { places, levels, filler, flow_filler, rules, indicators, exceptions }
    }
}

impl Places {
    pub(crate) fn new(inventory: Inventory) -> Self {
        let place = |system: &System| {
            Arc::new(Place {
                system_id: system.id.clone(),
                system_name: system.name.clone(),
                level: system.level(),
                level_basis: system.level.as_ref().map(Level::describe).unwrap_or_default(),
                organisation: inventory.organisation_name(system.owner()).to_owned(),
            })
        };
        let places = inventory.systems().iter().map(place).collect();
        Self { places, nowhere: Arc::default(), inventory }
    }

    /// The system of a host.
    pub(crate) fn of_host(&self, host: &str) -> &Arc<Place> {
        self.of(self.inventory.by_host(host))
    }

    /// What alerts show of a system, or of none.
    pub(crate) fn of(&self, system: Option<SystemIndex>) -> &Arc<Place> {
        system.and_then(|index| self.places.get(index.number())).unwrap_or(&self.nowhere)
    }
}

impl RuleSet {
    pub(crate) fn new(engine: Engine) -> Self {
        Self(Current::new(Rules::new(engine, 0)))
    }

    /// The set to evaluate the next batch with.
    pub(crate) fn current(&self) -> Arc<Rules> {
        self.0.get()
    }

    /// Puts another set in place of it. A set of the same files is no other one: the windows of correlations go on.
    pub fn replace(&self, engine: Engine) {
        let current = self.current();
        if current.engine.is_of_same_files(&engine) {
            return;
        }
        self.0.replace(Rules::new(engine, current.generation.saturating_add(1)));
    }
}

impl Rules {
    fn new(engine: Engine, generation: u64) -> Self {
        let causes = engine.rules().iter().map(|rule| (rule.id.clone(), Arc::new(Cause::of(rule)))).collect();
        Self { engine, generation, causes }
    }

    /// What alerts show of a rule of this set.
    pub(crate) fn cause(&self, rule: &Rule) -> Arc<Cause> {
        self.causes.get(&rule.id).map_or_else(|| Arc::new(Cause::of(rule)), Arc::clone)
    }
}

/// What one thread keeps from batch to batch.
struct Thread {
    site: Arc<Site>,
    scratch: Scratch,
    sightseer: Sightseer,
    /// Sources that have a label of their own in metrics.
    sources: HashSet<String>,
}

impl Thread {
    fn new(site: Arc<Site>) -> Self {
        Self { site, scratch: Scratch::default(), sightseer: Sightseer::default(), sources: HashSet::new() }
    }

    fn evaluate(&mut self, admitted: Admitted) -> Evaluation {
        let Admitted { ticket, batch, gap } = admitted;
        let rules = self.site.rules.current();
        let indicators = self.site.indicators.get();
        let places = self.site.places.get();
        let received = ticket.origin.received;
        // Times of all others are of this collector's clock, or were held against it.
        let is_agent = ticket.sender == SenderKind::Agent;
        let mut events = if is_agent { Events::received_at(&batch, received) } else { Events::of(&batch) };
        let mut pass = Pass {
            site: &self.site,
            places: &places,
            rules: &rules,
            indicators: &indicators,
            scratch: &mut self.scratch,
            sightseer: &mut self.sightseer,
            origin: &ticket.origin,
            agent: ticket.origin.identity.agent.as_str().into(),
            sender: Sender::new(&places.inventory, &ticket.origin.identity.agent, ticket.sender),
            realm: ticket.origin.drill_id.as_str().into(),
            format: batch.header.format.as_str(),
            blocks: Blocks::default(),
            findings: Vec::new(),
            seen: Seen::default(),
            heard: HeardOf::default(),
        };
        let is_notice = reported::is_notice(&batch.header);
        while let Some((event, records)) = events.next_with_records() {
            pass.seen.add(&event);
            if is_agent {
                pass.seen.hold_clock(records, received);
            }
            if is_notice {
                reported::count(&batch.header.agent, &event);
            }
            pass.take(event, records);
        }
        let Pass { blocks, findings, seen, heard, .. } = pass;
        // What a drill makes would hide that a source is silent.
        let is_drill = !ticket.origin.drill_id.is_empty();
        let heard = if is_drill { Heard::new() } else { heard.told(&places) };
        self.count(&batch, &seen, findings.len());
        let (first_event, last_event) = seen.times.unwrap_or((received, received));
        drop(events);
        let is_clock_doubted = seen.doubted_clocks > 0;
        let evaluated = Evaluated { ticket, blocks, first_event, last_event, is_clock_doubted, heard };
        Evaluation { evaluated, rules, findings, gap }
    }

    fn count(&mut self, batch: &Batch, seen: &Seen, matches: usize) {
        let header = &batch.header;
        METRICS.received.with_label_values(&[&header.agent]).inc_by(seen.counts.iter().sum());
        METRICS.matches.inc_by(u64::try_from(matches).unwrap_or_default());
        if seen.doubted > 0 {
            METRICS.doubted.with_label_values(&[&header.agent]).inc_by(seen.doubted);
        }
        if seen.doubted_clocks > 0 {
            METRICS.clocks.with_label_values(&[&header.agent]).inc_by(seen.doubted_clocks);
        }
        if self.sources.len() < SOURCES_MAX && !self.sources.contains(&header.source) {
            self.sources.insert(header.source.clone());
        }
        let source = self.sources.get(&header.source).map_or(OTHER_SOURCES, String::as_str);
        for (status, count) in STATUSES.iter().zip(seen.counts) {
            let labels = [source, header.format.as_str(), status.as_str()];
            METRICS.parsed.with_label_values(&labels).inc_by(count);
        }
    }
}

const STATUSES: [ParseStatus; 3] = [ParseStatus::Parsed, ParseStatus::Envelope, ParseStatus::Raw];

/// What is known of a batch's events once all are gone.
#[derive(Default)]
struct Seen {
    /// By how far they were understood.
    counts: [u64; STATUSES.len()],
    /// Whose line names a host that its sender may not speak for.
    doubted: u64,
    /// Records that cannot have been read when they say.
    doubted_clocks: u64,
    /// Of the first and of the last.
    times: Option<(Micros, Micros)>,
}

impl Seen {
    fn add(&mut self, event: &Event<'_>) {
        for (status, count) in STATUSES.iter().zip(&mut self.counts) {
            *count += u64::from(event.status == *status);
        }
        let (first, last) = self.times.unwrap_or((event.ts, event.ts));
        self.times = Some((first.min(event.ts), last.max(event.ts)));
    }

    /// Holds an agent's clock against ours.
    fn hold_clock(&mut self, records: &[Record<'_>], received: Micros) {
        let doubted = records.iter().filter(|record| !is_believable(record.time, received));
        self.doubted_clocks += u64::try_from(doubted.count()).unwrap_or_default();
    }
}

/// Which kinds of sources a batch was heard of, by system in the inventory's order.
#[derive(Default)]
struct HeardOf(Vec<SourceSet>);

impl HeardOf {
    fn add(&mut self, system: SystemIndex, kinds: SourceSet) {
        let number = system.number();
        if kinds.is_empty() {
            return;
        }
        if self.0.len() <= number {
            self.0.resize(number + 1, SourceSet::default());
        }
        self.0[number].add(kinds);
    }

    fn told(self, places: &Places) -> Heard {
        let heard = places.places.iter().zip(self.0).filter(|(_, kinds)| !kinds.is_empty());
        heard.map(|(place, kinds)| (Arc::clone(place), kinds)).collect()
    }
}

/// What the alerts of an event are about.
struct Subject<'b> {
    place: &'b Arc<Place>,
    src_ip: Ipv6Addr,
    user: String,
}

/// One batch on its way through a thread.
struct Pass<'b> {
    site: &'b Site,
    places: &'b Places,
    rules: &'b Rules,
    indicators: &'b Indicators,
    scratch: &'b mut Scratch,
    sightseer: &'b mut Sightseer,
    origin: &'b Arc<Origin>,
    agent: Arc<str>,
    sender: Sender<'b>,
    realm: Arc<str>,
    format: &'static str,
    blocks: Blocks,
    findings: Vec<Finding>,
    seen: Seen,
    heard: HeardOf,
}

impl<'b> Pass<'b> {
    fn take<'e>(&mut self, mut event: Event<'e>, records: &[Record<'_>])
    where
        'b: 'e,
    {
        let places: &'b Places = self.places;
        let ends = Ends::of(&places.inventory, &event);
        if let Some(ends) = &ends {
            ends.tell(&places.inventory, &mut event);
        }
        let matches = self.rules.engine.evaluate(&event, self.scratch);
        let named = Named::of(self.indicators.observe(&event, self.sightseer));
        let ids: Vec<&str> =
            matches.iter().map(|found| &found.rule.id).chain(named.ids()).map(String::as_str).collect();
        let subject = match ends {
            Some(ends) if self.is_flow(&event) => self.flow(&event, records, &ends, &ids),
            ends => self.event(&event, records, ends.as_ref(), &ids),
        };
        for found in &matches {
            let finding = self.finding(&event, found, &subject);
            self.findings.extend(finding);
        }
        for (sighting, cause) in named.0 {
            indicators::count(&sighting.indicator);
            let hit = self.hit(&event, cause, indicators::matched(&sighting), &subject);
            self.findings.push(Finding { hit, correlated: None, alerts: true });
        }
    }

    /// Flows have a table of their own. Only a format that is ours makes them: a log line that calls itself one is an event.
    fn is_flow(&self, event: &Event<'_>) -> bool {
        self.format == Format::Flow.as_str() && event.log_source.service == FLOW_SERVICE
    }

    /// Stores an event.
    fn event(
        &mut self,
        event: &Event<'_>,
        records: &[Record<'_>],
        ends: Option<&Ends>,
        ids: &[&str],
    ) -> Subject<'b> {
        let raw = exact(&event.message, records);
        let mut row = EventRow { rules: ids, raw: &raw, ..EventRow::default() };
        let Origin { identity, source, drill_id, received } = &**self.origin;
        let filler = &self.site.filler;
        filler.fill(&mut row, event, filler.natives(event.log_source.service), self.format);
        (row.host, row.agent, row.source, row.drill_id) =
            (&identity.agent, &identity.agent, source, drill_id);
        (row.epoch, row.seq, row.ts_received) = (identity.epoch, identity.seq, *received);
        row.offset = records.first().map_or(0, |record| record.offset);
        // Who looked on at a network is not who is concerned.
        let by_name = self.sender.by_name(&row.hostname);
        let by_address = || self.sender.by_address(row.dst_ip.0, row.src_ip.0);
        let system = ends.and_then(Ends::concerned).or(by_name).or_else(by_address);
        self.seen.doubted += u64::from(self.sender.is_doubted(&row.hostname));
        let kinds = self.site.levels.sources().heard(&event.log_source, by_name.is_some());
        match ends {
            Some(ends) => self.hear([ends.src, ends.dst], kinds),
            None => self.hear([system], kinds),
        }
        let places: &'b Places = self.places;
        let place = places.of(system);
        (row.system_id, row.sys_level) = (&place.system_id, place.level);
        row.retention_days = self.site.levels.retention_days(place.level, !drill_id.is_empty());
        self.blocks.push(&row);
        // Without a match nobody asks.
        let user = if ids.is_empty() { String::new() } else { row.user.into_owned() };
        Subject { place, src_ip: row.src_ip.0, user }
    }

    /// Counts an event as a report of systems for which its sender vouches.
    fn hear(&mut self, systems: impl IntoIterator<Item = Option<SystemIndex>>, kinds: SourceSet) {
        for system in systems.into_iter().flatten().filter(|system| self.sender.vouches_for(*system)) {
            self.heard.add(system, kinds);
        }
    }

    /// Stores a flow. It is kept as long as the stricter of its two ends demands.
    fn flow(&mut self, event: &Event<'_>, records: &[Record<'_>], ends: &Ends, ids: &[&str]) -> Subject<'b> {
        let mut row = FlowRow { rules: ids, ..FlowRow::default() };
        let Origin { identity, source, drill_id, received } = &**self.origin;
        self.site.flow_filler.fill(&mut row, event);
        (row.host, row.agent, row.source, row.drill_id) =
            (&identity.agent, &identity.agent, source, drill_id);
        (row.epoch, row.seq, row.ts_received) = (identity.epoch, identity.seq, *received);
        row.offset = records.first().map_or(0, |record| record.offset);
        let kinds = self.site.levels.sources().heard(&event.log_source, false);
        self.hear([ends.src, ends.dst], kinds);
        let places: &'b Places = self.places;
        let (src, dst) = (places.of(ends.src), places.of(ends.dst));
        row.direction = ends.direction;
        (row.src_system_id, row.src_sys_level) = (&src.system_id, src.level);
        (row.dst_system_id, row.dst_sys_level) = (&dst.system_id, dst.level);
        let drill = !drill_id.is_empty();
        let days = [src, dst].map(|place| self.site.levels.retention_days(place.level, drill));
        row.retention_days = days.into_iter().max().unwrap_or_default();
        self.blocks.push(&row);
        let place = places.of(ends.concerned().or(self.sender.system));
        Subject { place, src_ip: row.src_ip.0, user: String::new() }
    }

    /// None: the rule is neither an alert nor material for one.
    fn finding(&mut self, event: &Event<'_>, found: &Match, subject: &Subject<'_>) -> Option<Finding> {
        let identity = &self.origin.identity;
        let record = event.record;
        let key =
            EventKey { agent: Arc::clone(&self.agent), epoch: identity.epoch, seq: identity.seq, record };
        let correlated = self.rules.engine.hit(&found.rule, event, key);
        let correlated = correlated.map(|hit| detect::Hit { realm: Arc::clone(&self.realm), ..hit });
        if correlated.is_none() && !found.rule.alerts {
            return None;
        }
        let matched = self.rules.engine.evidence(found, event, self.scratch);
        let hit = self.hit(event, self.rules.cause(&found.rule), matched, subject);
        Some(Finding { hit, correlated, alerts: found.rule.alerts })
    }

    fn hit(
        &self,
        event: &Event<'_>,
        cause: Arc<Cause>,
        matched: Vec<(String, String)>,
        subject: &Subject<'_>,
    ) -> Hit {
        let identity = &self.origin.identity;
        let end = event.message.floor_char_boundary(SAMPLE_BYTES_MAX);
        Hit {
            cause,
            place: Arc::clone(subject.place),
            origin: Arc::clone(self.origin),
            ts: event.ts,
            host: identity.agent.clone(),
            src_ip: subject.src_ip,
            user: subject.user.clone(),
            entity: None,
            matched: with_ends(event, matched),
            samples: vec![Sample {
                event: format!("{identity}:{}", event.record),
                line: event.message[..end].to_owned(),
            }],
        }
    }
}

/// The indicators that an event names, and what alerts show of each.
struct Named<'s>(Vec<(Sighting<'s>, Arc<Cause>)>);

impl<'s> Named<'s> {
    fn of(sightings: Vec<Sighting<'s>>) -> Self {
        let with_cause = |sighting: Sighting<'s>| {
            let cause = Arc::new(indicators::cause(&sighting.indicator));
            (sighting, cause)
        };
        Self(sightings.into_iter().map(with_cause).collect())
    }

    fn ids(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(_, cause)| &cause.id)
    }
}

/// The exact bytes of an event's records, joined by line feeds; empty when the message holds just these.
fn exact<'r>(message: &str, records: &[Record<'r>]) -> Cow<'r, [u8]> {
    match records {
        [] => Cow::Borrowed(&[]),
        [record] if record.bytes == message.as_bytes() => Cow::Borrowed(&[]),
        [record] => Cow::Borrowed(record.bytes),
        records => {
            let joined = records.iter().map(|record| record.bytes).collect::<Vec<_>>().join(&b'\n');
            if joined == message.as_bytes() { Cow::Borrowed(&[]) } else { Cow::Owned(joined) }
        }
    }
}
