//! What people have decided beforehand about hits, as files under version control: for what, by whom, why, until when.
//!
//! - An *exception*: the hit is expected there. No alert is made of it; it is counted, by exception and batch, in the table
//!   `excepted_hits`. Correlations see it all the same: what they make of it is a hit of its own, with an id of its own.
//! - A *silence*: the alert is made and stored, marked with the silence, and nobody is notified. The first hit that no silence
//!   covers takes the mark away.
//!
//! Both are by the collector's clock, not by the event's: nobody can write himself into one by a false time. Both hold for
//! drills, too: a drill shows what the watch would have seen, its blind spots included.
//!
//! Limits: [`WAIVERS_MAX`] of both together, because each hit is held against all of them, and [`DAYS_AHEAD_MAX`].
//!
//! What this never does: stay in force for ever, or let a hit vanish that nobody counts.

mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;

use event::Micros;
use ipnet::IpNet;
use prometheus::{IntCounterVec, IntGaugeVec};
use regex::Regex;

use crate::grouping::Hit;
use crate::metrics;
use crate::place::Place;
use crate::row_binary::encode;

pub(crate) use read::load;

/// Waivers at once. A hit is held against one in 10 ns when its rule is another one, in 180 ns when its host is: at worst 0.2 ms.
const WAIVERS_MAX: usize = 1_000;
/// Furthest day of expiry, counted from the day on which the file is read: what nobody looked at for a year is not known to
/// be true any more.
pub(crate) const DAYS_AHEAD_MAX: i64 = 366;
/// As much of an excepted event's line as its row shows.
const LINE_BYTES_MAX: usize = 512;

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    hits: metrics::counters(
        "vonggac_exception_hits_total",
        "Hits of which an exception made no alert.",
        &["exception"],
    ),
    silenced: metrics::counters(
        "vonggac_exception_silenced_hits_total",
        "Hits under a silence: their alerts are stored, and nobody is notified.",
        &["silence"],
    ),
    loaded: metrics::gauges("vonggac_exception_loaded_count", "Exceptions and silences loaded.", &["kind"]),
    expired: metrics::gauges(
        "vonggac_exception_expired_count",
        "Exceptions and silences that had expired when they were loaded.",
        &["kind"],
    ),
});

struct Metrics {
    hits: IntCounterVec,
    silenced: IntCounterVec,
    loaded: IntGaugeVec,
    expired: IntGaugeVec,
}

/// What is in force or was.
#[derive(Debug, Default)]
pub(crate) struct Exceptions {
    waivers: Vec<Waiver>,
}

/// What a waiver does with a hit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Exception,
    Silence,
}

/// One decision.
#[derive(Clone, Debug)]
pub(crate) struct Waiver {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) reason: String,
    /// From when, for what begins later than it is written.
    pub(crate) from: Option<Micros>,
    pub(crate) expires: Micros,
    pub(crate) file: PathBuf,
    pub(crate) place: Place,
    scope: Scope,
}

/// Which hits: every part that is given must hold, and of each part one value.
#[derive(Clone, Debug, Default)]
struct Scope {
    rules: Vec<Named>,
    systems: Vec<Named>,
    hosts: Vec<Wildcard>,
    addresses: Vec<IpNet>,
    users: Vec<Wildcard>,
    /// Of the fields that an alert shows as matched.
    fields: BTreeMap<String, Vec<Wildcard>>,
}

/// The id of a rule or a system, and where it stands.
#[derive(Clone, Debug)]
struct Named {
    id: String,
    place: Place,
}

/// A text in which `*` stands for any text; case does not matter.
#[derive(Clone, Debug)]
struct Wildcard(Regex);

/// What is wrong with a file, or with one waiver in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    file: PathBuf,
    place: Option<Place>,
    /// Exception or silence, with its id.
    subject: String,
    message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.place.map_or(Ok(()), |place| write!(f, ":{place}"))?;
        let colon = if self.subject.is_empty() { "" } else { ": " };
        write!(f, "{colon}{}: {}", self.subject, self.message)
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Exception, Self::Silence];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Exception => "exception",
            Self::Silence => "silence",
        }
    }
}

impl Exceptions {
    pub(crate) fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }

    /// The exception that expects this hit.
    pub(crate) fn exception(&self, hit: &Hit, now: Micros) -> Option<&Waiver> {
        let exception = self.first(Kind::Exception, hit, now)?;
        METRICS.hits.with_label_values(&[&exception.id]).inc();
        Some(exception)
    }

    /// The silence that keeps this hit from being told.
    pub(crate) fn silence(&self, hit: &Hit, now: Micros) -> Option<&str> {
        let silence = self.first(Kind::Silence, hit, now)?;
        METRICS.silenced.with_label_values(&[&silence.id]).inc();
        Some(&silence.id)
    }

    fn first(&self, kind: Kind, hit: &Hit, now: Micros) -> Option<&Waiver> {
        self.waivers
            .iter()
            .find(|waiver| waiver.kind == kind && waiver.holds(now) && waiver.scope.covers(hit))
    }

    /// Tells the metrics what is loaded.
    pub(crate) fn measure(&self, now: Micros) {
        for kind in Kind::ALL {
            let of_kind = || self.waivers.iter().filter(|waiver| waiver.kind == kind);
            let expired = of_kind().filter(|waiver| waiver.has_expired(now)).count();
            let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
            METRICS.loaded.with_label_values(&[kind.as_str()]).set(number(of_kind().count()));
            METRICS.expired.with_label_values(&[kind.as_str()]).set(number(expired));
        }
    }

    /// Rules and systems that are named and that nobody knows: the waiver is in force, and covers nothing.
    pub(crate) fn unknown(
        &self,
        is_rule: impl Fn(&str) -> bool,
        is_system: impl Fn(&str) -> bool,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        for waiver in &self.waivers {
            let unknown = |named: &Named, key: &str, what: &str| {
                waiver.fault(named.place, format!("{key}: expected the id of a {what}, found {:?}", named.id))
            };
            let rules = waiver.scope.rules.iter().filter(|rule| !is_rule(&rule.id));
            faults.extend(rules.map(|rule| unknown(rule, "rules", "rule that is loaded")));
            let systems = waiver.scope.systems.iter().filter(|system| !is_system(&system.id));
            faults.extend(systems.map(|system| unknown(system, "systems", "system of the inventory")));
        }
        faults
    }
}

impl Waiver {
    pub(crate) fn has_expired(&self, now: Micros) -> bool {
        now >= self.expires
    }

    /// Whether it has an effect now.
    pub(crate) fn holds(&self, now: Micros) -> bool {
        self.from.is_none_or(|from| from <= now) && !self.has_expired(now)
    }

    fn fault(&self, place: Place, message: String) -> Fault {
        let subject = format!("{} {:?}", self.kind.as_str(), self.id);
        Fault { file: self.file.clone(), place: Some(place), subject, message }
    }
}

impl Scope {
    fn is_empty(&self) -> bool {
        let Self { rules, systems, hosts, addresses, users, fields } = self;
        rules.is_empty()
            && systems.is_empty()
            && hosts.is_empty()
            && addresses.is_empty()
            && users.is_empty()
            && fields.is_empty()
    }

    fn covers(&self, hit: &Hit) -> bool {
        let names = |named: &[Named], id: &str| named.is_empty() || named.iter().any(|one| one.id == id);
        let matches = |wanted: &[Wildcard], text: &str| wanted.is_empty() || is_one_of(wanted, text);
        let address = hit.src_ip.to_canonical();
        names(&self.rules, &hit.cause.id)
            && names(&self.systems, &hit.place.system_id)
            && (self.addresses.is_empty() || self.addresses.iter().any(|net| net.contains(&address)))
            && matches(&self.hosts, &hit.host)
            && matches(&self.users, &hit.user)
            && self.fields.iter().all(|(name, wanted)| {
                hit.matched.iter().any(|(field, value)| field == name && is_one_of(wanted, value))
            })
    }
}

fn is_one_of(wanted: &[Wildcard], text: &str) -> bool {
    wanted.iter().any(|wildcard| wildcard.0.is_match(text))
}

impl Wildcard {
    /// The error says what the pattern costs, when it is too long.
    fn new(text: &str) -> Result<Self, regex::Error> {
        let pattern = text.split('*').map(regex::escape).collect::<Vec<_>>().join(".*");
        Regex::new(&format!("(?is)^{pattern}$")).map(Self)
    }
}

/// A row of the table `excepted_hits`: what an exception did to a rule's hits of one batch. A batch that comes again writes the
/// same row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExceptedRow {
    exception: String,
    rule_id: String,
    rule_title: String,
    system_id: String,
    host: String,
    drill_id: String,
    agent: String,
    epoch: u64,
    seq: u64,
    hits: u64,
    first_seen: Micros,
    last_seen: Micros,
    last_event: String,
    last_line: String,
}

encode!(ExceptedRow {
    exception,
    rule_id,
    rule_title,
    system_id,
    host,
    drill_id,
    agent,
    epoch,
    seq,
    hits,
    first_seen,
    last_seen,
    last_event,
    last_line,
});

impl ExceptedRow {
    fn of(waiver: &Waiver, hit: &Hit) -> Self {
        let identity = &hit.origin.identity;
        Self {
            exception: waiver.id.clone(),
            rule_id: hit.cause.id.clone(),
            rule_title: hit.cause.title.clone(),
            system_id: hit.place.system_id.clone(),
            host: hit.host.clone(),
            drill_id: hit.origin.drill_id.clone(),
            agent: identity.agent.clone(),
            epoch: identity.epoch,
            seq: identity.seq,
            hits: 0,
            first_seen: hit.ts,
            last_seen: hit.ts,
            last_event: String::new(),
            last_line: String::new(),
        }
    }

    fn count(&mut self, hit: &Hit) {
        self.hits += 1;
        self.first_seen = self.first_seen.min(hit.ts);
        if hit.ts < self.last_seen {
            return;
        }
        self.last_seen = hit.ts;
        if let Some(sample) = hit.samples.first() {
            let end = sample.line.floor_char_boundary(LINE_BYTES_MAX);
            self.last_event.clone_from(&sample.event);
            sample.line[..end].clone_into(&mut self.last_line);
        }
    }
}

/// What exceptions swallowed since it was last taken.
#[derive(Debug, Default)]
pub(crate) struct Excepted(BTreeMap<(String, String, String), ExceptedRow>);

impl Excepted {
    pub(crate) fn count(&mut self, waiver: &Waiver, hit: &Hit) {
        let key = (waiver.id.clone(), hit.cause.id.clone(), hit.origin.identity.to_string());
        self.0.entry(key).or_insert_with(|| ExceptedRow::of(waiver, hit)).count(hit);
    }

    pub(crate) fn take(&mut self) -> Vec<ExceptedRow> {
        std::mem::take(&mut self.0).into_values().collect()
    }
}

#[cfg(test)]
mod tests;
