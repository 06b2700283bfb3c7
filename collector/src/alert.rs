//! From hits to alerts: correlate, group, and hand on what changed together with its batch. One thread, the only one with a
//! memory: the windows of correlations and the open alerts.
//!
//! Some alerts are the collector's own: batches of an agent that never came, rows that the store refused, log sources that fall
//! silent. They take the same way as those of rules.
//!
//! A hit that an exception expects is counted and makes no alert; the correlator sees it all the same
//! ([`exceptions`](crate::exceptions)).
//!
//! Limits: those of [`grouping`](crate::grouping) and of the correlator; lines that are kept as evidence for correlations
//! ([`LINES_MAX`]), and how many of them one cites ([`CITED_MAX`]); notices that wait ([`NOTICES_MAX`]).

use std::collections::{HashMap, VecDeque};
use std::net::Ipv6Addr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use clickhouse::Client;
use detect::{CorrelationHit, Correlator, EventKey, Severity};
use event::Micros;
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::admit::Origin;
use crate::batch::{Gap, Identity};
use crate::clock::now;
use crate::coverage::{CoverageHits, Told};
use crate::current::Current;
use crate::evaluate::{Evaluation, Finding, Rules, Site};
use crate::exceptions::{Excepted, Exceptions};
use crate::grouping::{AlertRow, Cause, Grouping, Hit, Outcome, SAMPLES_MAX, Sample};
use crate::metrics;
use crate::recover;
use crate::watch_coverage::Known;
use crate::write_alerts::Alerted;
use crate::write_events::Evaluated;

/// Lines of events that correlations may show, kept until newer ones come: some 3 MB of usual lines, 40 MB of the longest.
const LINES_MAX: usize = 10_000;
/// Notices of other stages that wait. A further one is dropped and counted: a silence is told again at the next look, dead letters at
/// the next start.
const NOTICES_MAX: usize = 1_024;
/// Events that a firing of a correlation cites at most: the one that fired it and one for each rule that it refers to. Rules
/// refer to two or three.
const CITED_MAX: usize = 16;
/// How often windows and alerts are looked at that nothing happens to.
const TICK: Duration = Duration::from_secs(1);

/// The ids of the collector's own alerts, which stand in the place of a rule's.
pub(crate) const OWN_RULES: [&str; 7] = [
    "vonggac-sequence-gap",
    "vonggac-dead-letters",
    "vonggac-source-missing",
    "vonggac-source-silent",
    "vonggac-source-back",
    "vonggac-canary-missing",
    "vonggac-canary-back",
];

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    opened: metrics::counters("vonggac_alert_opened_total", "Alerts opened.", &["severity", "priority"]),
    hits: metrics::counter("vonggac_alert_hits_total", "Hits that alerts count."),
    counted: metrics::counter("vonggac_alert_counted_total", "Hits that came again and were counted before."),
    correlations: metrics::counter("vonggac_alert_correlations_total", "Firings of correlation rules."),
    open: metrics::gauge("vonggac_alert_open_count", "Alerts that may get further hits."),
    evicted: metrics::counter(
        "vonggac_alert_evicted_total",
        "Alerts closed early because too many were open.",
    ),
    groups_evicted: metrics::gauge(
        "vonggac_alert_correlation_evicted_groups",
        "Groups and events of correlations dropped by a limit, since the rules were loaded.",
    ),
    notices_dropped: metrics::counter(
        "vonggac_alert_notices_dropped_total",
        "Notices dropped because too many waited.",
    ),
});

struct Metrics {
    opened: IntCounterVec,
    hits: IntCounter,
    counted: IntCounter,
    correlations: IntCounter,
    open: IntGauge,
    evicted: IntCounter,
    groups_evicted: IntGauge,
    notices_dropped: IntCounter,
}

/// What another stage found out and people should know.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// The store refused rows of a batch, at a time.
    DeadLetters { origin: Arc<Origin>, rows: usize, at: Micros },
    /// A log source fell silent, or reports again.
    Coverage(Box<Told>),
}

/// The way of a notice to this stage. Never blocks: the stage that sends is behind this one.
#[derive(Clone, Debug)]
pub(crate) struct Notices(SyncSender<Notice>);

impl Notices {
    pub(crate) fn channel() -> (Self, Receiver<Notice>) {
        let (sender, receiver) = sync_channel(NOTICES_MAX);
        (Self(sender), receiver)
    }

    /// Gives back what cannot be taken.
    pub(crate) fn send(&self, notice: Notice) -> Result<(), Notice> {
        self.0.try_send(notice).map_err(|error| {
            METRICS.notices_dropped.inc();
            let (TrySendError::Full(notice) | TrySendError::Disconnected(notice)) = error;
            notice
        })
    }
}

/// The stage.
pub(crate) struct AlertStage {
    pub(crate) input: Receiver<Evaluation>,
    pub(crate) notices: Receiver<Notice>,
    pub(crate) output: mpsc::Sender<Alerted>,
    pub(crate) alerts: Alerts,
}

impl AlertStage {
    /// Runs until the stage before is gone, or the one behind.
    pub(crate) fn run(mut self) {
        LazyLock::force(&METRICS);
        loop {
            let input = self.input.recv_timeout(TICK);
            for notice in self.notices.try_iter() {
                self.alerts.notice(notice, now());
            }
            let ended = matches!(input, Err(RecvTimeoutError::Disconnected));
            let alerted = match input {
                Ok(evaluation) => self.alerts.take(evaluation, now()),
                Err(_) => self.alerts.tick(now()),
            };
            let gone = !alerted.is_empty() && self.output.blocking_send(alerted).is_err();
            if ended || gone {
                return;
            }
        }
    }
}

/// What the stage remembers.
pub(crate) struct Alerts {
    grouping: Grouping,
    correlator: Correlator,
    client: Client,
    runtime: Handle,
    site: Arc<Site>,
    rules: Arc<Rules>,
    exceptions: Current<Exceptions>,
    excepted: Excepted,
    /// Of which sources something is told in what is handed on next.
    told: Vec<Known>,
    lines: Lines,
    own: Own,
    ticked: Micros,
    evicted: u64,
}

impl Alerts {
    /// The store is asked for what windows held, on this runtime.
    pub(crate) fn new(grouping: Grouping, site: Arc<Site>, client: Client, runtime: Handle) -> Self {
        let rules = site.rules.current();
        Self {
            grouping,
            correlator: rules.engine.correlator(),
            client,
            runtime,
            site: Arc::clone(&site),
            rules,
            exceptions: site.exceptions.clone(),
            excepted: Excepted::default(),
            told: Vec::new(),
            lines: Lines::default(),
            own: Own::new(site),
            ticked: 0,
            evicted: 0,
        }
    }

    /// Fills the windows of correlations with hits of an earlier life. What fires was an alert then.
    pub(crate) fn remember(&mut self, hits: impl IntoIterator<Item = detect::Hit>, now: Micros) {
        for hit in hits {
            self.correlator.observe(hit, now);
        }
    }

    /// Other rules: correlations that ask what they asked before go on. Are there others, the store is asked for what their windows
    /// would hold; it has all but the batches that are on their way to it.
    fn adopt(&mut self, rules: Arc<Rules>, now: Micros) {
        let all_go_on = self.correlator.adopt(&rules.engine);
        self.rules = rules;
        if !all_go_on {
            let ask = || recover::correlated_hits(&self.client, &self.rules.engine, &self.site.filler, now);
            let hits = self.runtime.block_on(recover::insist(ask));
            self.remember(hits, now);
        }
    }

    fn take(&mut self, evaluation: Evaluation, now: Micros) -> Alerted {
        let Evaluation { evaluated, rules, findings, gap } = evaluation;
        // Another thread may still bring what it evaluated by the rules before: that is no way back.
        if rules.generation > self.rules.generation {
            self.adopt(rules, now);
        }
        if let Some(gap) = gap {
            let hit = self.own.gap(&evaluated.ticket.origin, gap);
            self.observe(&hit, now);
        }
        for finding in findings {
            self.find(finding, now);
        }
        if now.saturating_sub(self.ticked) >= i64::try_from(TICK.as_micros()).unwrap_or(i64::MAX) {
            self.expire(now);
        }
        self.alerted(Some(evaluated), now)
    }

    fn tick(&mut self, now: Micros) -> Alerted {
        self.expire(now);
        self.alerted(None, now)
    }

    fn alerted(&mut self, batch: Option<Evaluated>, now: Micros) -> Alerted {
        let (excepted, told) = (self.excepted.take(), std::mem::take(&mut self.told));
        Alerted { alerts: self.changed(now), excepted, told, batch }
    }

    /// Takes a notice; what comes of it is in the next [`Alerted`].
    pub(crate) fn notice(&mut self, notice: Notice, now: Micros) {
        let hit = match notice {
            Notice::DeadLetters { origin, rows, at } => self.own.dead_letters(&origin, rows, at),
            Notice::Coverage(told) => {
                self.told.push(Known::of(&told));
                self.own.coverage.hit(&told)
            }
        };
        self.observe(&hit, now);
    }

    fn changed(&mut self, now: Micros) -> Vec<AlertRow> {
        METRICS.open.set(i64::try_from(self.grouping.open_count()).unwrap_or(i64::MAX));
        METRICS.evicted.inc_by(self.grouping.evicted() - self.evicted);
        self.evicted = self.grouping.evicted();
        self.grouping.changed(now)
    }

    fn expire(&mut self, now: Micros) {
        self.ticked = now;
        self.grouping.expire(now);
        self.correlator.expire(now);
        let dropped = self.correlator.counters().into_iter();
        let dropped: u64 = dropped.map(|counter| counter.groups_evicted + counter.events_dropped).sum();
        METRICS.groups_evicted.set(i64::try_from(dropped).unwrap_or(i64::MAX));
    }

    fn find(&mut self, finding: Finding, now: Micros) {
        let Finding { hit, correlated, alerts } = finding;
        if alerts {
            self.observe(&hit, now);
        }
        let Some(correlated) = correlated else { return };
        self.lines.keep(&correlated.event, &hit);
        for fired in self.correlator.observe(correlated, now) {
            METRICS.correlations.inc();
            if fired.rule.alerts {
                let hit = self.correlation(&fired, &hit);
                self.observe(&hit, now);
            }
        }
    }

    /// The hit of a correlation: its own rule, group and events, and for the rest what the event has that fired it. That event is
    /// cited first, then one of each rule.
    fn correlation(&self, fired: &CorrelationHit, last: &Hit) -> Hit {
        let group = fired.group.iter().map(|(_, value)| &**value).collect::<Vec<_>>().join(", ");
        let mut matched = fired.group.clone();
        matched.push((fired.counted().to_owned(), fired.count.to_string()));
        let rules = self.rules.engine.members(&fired.rule).count();
        let cited = SAMPLES_MAX.max(rules.saturating_add(1)).min(CITED_MAX);
        let samples = fired.events.iter().filter_map(|event| self.lines.sample(event));
        let samples: Vec<Sample> = samples.take(cited).collect();
        Hit {
            cause: self.rules.cause(&fired.rule),
            entity: (!group.is_empty()).then_some(group),
            matched,
            samples: if samples.is_empty() { last.samples.clone() } else { samples },
            ..last.clone()
        }
    }

    /// Makes an alert of a hit, unless it is expected where it is.
    fn observe(&mut self, hit: &Hit, now: Micros) {
        let exceptions = self.exceptions.get();
        if let Some(exception) = exceptions.exception(hit, now) {
            return self.excepted.count(exception, hit);
        }
        match self.grouping.observe(hit, exceptions.silence(hit, now), now) {
            Outcome::Opened(priority) => {
                METRICS.hits.inc();
                METRICS.opened.with_label_values(&[hit.cause.severity.as_str(), priority.as_str()]).inc();
            }
            Outcome::Joined => METRICS.hits.inc(),
            Outcome::Counted => METRICS.counted.inc(),
        }
    }
}

/// Lines of the last events that correlations look at.
#[derive(Default)]
struct Lines {
    by_event: HashMap<EventKey, Sample>,
    order: VecDeque<EventKey>,
}

impl Lines {
    fn keep(&mut self, event: &EventKey, hit: &Hit) {
        let Some(sample) = hit.samples.first() else { return };
        if self.by_event.insert(event.clone(), sample.clone()).is_some() {
            return;
        }
        self.order.push_back(event.clone());
        if self.order.len() > LINES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_event.remove(&oldest);
        }
    }

    fn sample(&self, event: &EventKey) -> Option<Sample> {
        self.by_event.get(event).cloned()
    }
}

/// The collector's own alerts.
struct Own {
    gap: Arc<Cause>,
    dead_letters: Arc<Cause>,
    coverage: CoverageHits,
    site: Arc<Site>,
}

impl Own {
    fn new(site: Arc<Site>) -> Self {
        Self {
            gap: Cause::own("vonggac-sequence-gap", "Batches of an agent never came", Severity::High),
            dead_letters: Cause::own("vonggac-dead-letters", "The store refused rows", Severity::Medium),
            coverage: CoverageHits::new(now()),
            site,
        }
    }

    fn gap(&self, origin: &Arc<Origin>, gap: Gap) -> Hit {
        let line = format!(
            "{} batches of {}, numbers {} to {}, are missing before {}: they were lost between the agent's ledger and here",
            gap.batches(),
            origin.identity.agent,
            gap.first,
            gap.last,
            origin.identity
        );
        let matched =
            vec![("first".to_owned(), gap.first.to_string()), ("last".to_owned(), gap.last.to_string())];
        self.hit(&self.gap, origin, origin.received, matched, line)
    }

    fn dead_letters(&self, origin: &Arc<Origin>, rows: usize, at: Micros) -> Hit {
        let line = format!(
            "the store refused {rows} rows of the batch {} ({}): see the table dead_letters",
            origin.identity, origin.source
        );
        let matched =
            vec![("rows".to_owned(), rows.to_string()), ("source".to_owned(), origin.source.clone())];
        self.hit(&self.dead_letters, origin, at, matched, line)
    }

    fn hit(
        &self,
        cause: &Arc<Cause>,
        origin: &Arc<Origin>,
        ts: Micros,
        matched: Vec<(String, String)>,
        line: String,
    ) -> Hit {
        let Identity { agent, .. } = &origin.identity;
        Hit {
            cause: Arc::clone(cause),
            place: Arc::clone(self.site.places.get().of_host(agent)),
            origin: Arc::clone(origin),
            ts,
            host: agent.clone(),
            src_ip: Ipv6Addr::UNSPECIFIED,
            user: String::new(),
            entity: Some(agent.clone()),
            matched,
            samples: vec![Sample { event: origin.identity.to_string(), line }],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use event::Dictionary;

    use super::*;
    use crate::evaluate::RuleSet;
    use crate::flow_row::FlowFiller;
    use crate::inventory::Inventory;
    use crate::priority::Levels;
    use crate::row::Filler;

    #[tokio::test]
    async fn what_other_stages_found_out_is_told_on_the_way_out() {
        let levels = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/levels");
        let levels = Levels::load(&levels, jiff::civil::date(2026, 10, 1)).unwrap();
        let fillers = (Filler::new(Dictionary::shipped().unwrap()).unwrap(), FlowFiller::new().unwrap());
        let site = Arc::new(Site::new(Inventory::default(), levels.clone(), fillers, RuleSet::default()));
        let grouping = Grouping::new(levels, 0, Vec::new());
        let alerts = Alerts::new(grouping, site, Client::default(), Handle::current());
        let (notices, notices_in) = Notices::channel();
        let (output, mut alerted) = mpsc::channel(1);
        // The stage before is gone.
        let (_, input) = sync_channel(0);
        let identity = Identity { agent: "web01".into(), epoch: 1, seq: 1 };
        let origin = Origin { identity, source: String::new(), drill_id: String::new(), received: 0 };
        notices.send(Notice::DeadLetters { origin: Arc::new(origin), rows: 2, at: now() }).unwrap();
        let stage = AlertStage { input, notices: notices_in, output, alerts };
        std::thread::spawn(|| stage.run()).join().unwrap();
        let told = alerted.recv().await.expect("the alert of the notice");
        assert_eq!(told.alerts[0].rule_id, "vonggac-dead-letters");
    }
}
