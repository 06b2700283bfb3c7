//! Hits become alerts: pure, with the clock as an argument.
//!
//! Hits of one rule on one system (on one host, where no system is known) and one entity are one alert as long as each
//! comes within the window of what the alert already spans, in the events' own time, and the whole spans at most a day.
//! The entity is what a correlation groups by, else the address that acts, else the user, else the host.
//!
//! A hit that is more urgent than its alert (the rule was given a higher severity) raises the alert's priority, and no milder one
//! lowers it. A hit whose system has another level than the alert tells of another inventory: the alert follows it, up and down,
//! as `vonggac systems reclassify` has it of what is stored. Either way the alert gets the clocks of its new priority from then
//! on, where they end earlier than its own.
//!
//! Nothing is counted twice. The id is made of what the alert is about and of the first event, so a replay after a crash
//! writes the same id; and a row tells for each agent up to which batch its hits are counted, so hits of a batch that comes
//! again after a restart are left out. Within one life of the collector a batch comes here once
//! ([`admit`](crate::admit)), therefore only the counts that were loaded at the start are compared with.
//!
//! Limits: alerts that are open at once ([`OPEN_MAX`]; the one that was quiet the longest is closed early, and counted),
//! evidence of one alert ([`SAMPLES_MAX`] lines of [`SAMPLE_BYTES_MAX`] bytes), agents counted in one alert
//! ([`COUNTED_MAX`]).

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use clickhouse::Row;
use detect::Severity;
use event::Micros;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use crate::admit::Origin;
use crate::priority::{Dues, Levels, Priority};
use crate::row_binary::encode;

/// Alerts open at once. About 3 KB each; a scan that raises one alert for each of a /18's addresses.
pub(crate) const OPEN_MAX: usize = 20_000;
/// Raw lines that an alert keeps as evidence, and their events; all those that a hit brings when these are more.
pub(crate) const SAMPLES_MAX: usize = 5;
/// As much of a raw line as a person reads. The event has it whole.
pub(crate) const SAMPLE_BYTES_MAX: usize = 4096;
/// Agents whose batches are told apart in one alert: a system has dozens of hosts.
const COUNTED_MAX: usize = 1024;
/// Longest time that one alert spans.
const SPAN_MAX: Micros = 24 * 3600 * 1_000_000;
/// An alert that got no hit for so long by the collector's clock is closed. Longer than any window, because an agent that
/// was cut off brings its hits late.
pub(crate) const IDLE_MAX: Micros = 24 * 3600 * 1_000_000;

/// What an alert shows of its rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cause {
    pub(crate) id: String,
    pub(crate) title: String,
    /// The rule's file; empty for alerts of the collector's own.
    pub(crate) path: String,
    pub(crate) severity: Severity,
    pub(crate) tactics: Vec<String>,
    pub(crate) techniques: Vec<String>,
}

/// The system that a hit concerns, as an alert shows it. All empty and level 0: not classified.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) system_id: String,
    pub(crate) system_name: String,
    pub(crate) level: u8,
    pub(crate) level_basis: String,
    pub(crate) organisation: String,
}

/// One match of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) cause: Arc<Cause>,
    pub(crate) place: Arc<Place>,
    /// The batch that the hit came with.
    pub(crate) origin: Arc<Origin>,
    pub(crate) ts: Micros,
    pub(crate) host: String,
    pub(crate) src_ip: Ipv6Addr,
    pub(crate) user: String,
    /// What a correlation groups by; `None` for a rule of single events.
    pub(crate) entity: Option<String>,
    pub(crate) matched: Vec<(String, String)>,
    /// Raw lines, and the events they are of: `agent:epoch:seq:record`.
    pub(crate) samples: Vec<Sample>,
}

/// One event as evidence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sample {
    pub(crate) event: String,
    pub(crate) line: String,
}

/// A row of the table `alerts`.
#[derive(Clone, Debug, Deserialize, PartialEq, Row, Serialize)]
pub(crate) struct AlertRow {
    pub(crate) id: String,
    pub(crate) version: u64,
    pub(crate) rule_id: String,
    pub(crate) rule_title: String,
    pub(crate) rule_path: String,
    pub(crate) severity: String,
    pub(crate) priority: String,
    pub(crate) priority_reason: String,
    pub(crate) tactics: Vec<String>,
    pub(crate) techniques: Vec<String>,
    pub(crate) system_id: String,
    pub(crate) system_name: String,
    pub(crate) sys_level: u8,
    pub(crate) level_basis: String,
    pub(crate) organisation: String,
    pub(crate) host: String,
    pub(crate) entity: String,
    pub(crate) src_ip: Ipv6Addr,
    pub(crate) user: String,
    pub(crate) hits: u64,
    pub(crate) first_seen: Micros,
    pub(crate) last_seen: Micros,
    pub(crate) created_at: Micros,
    /// Until when; 0: no time is set.
    pub(crate) ack_due: Micros,
    pub(crate) contain_due: Micros,
    pub(crate) close_due: Micros,
    /// By when the law wants a report should it be an incident, and its article; 0: no law does.
    pub(crate) report_due: Micros,
    pub(crate) report_basis: String,
    pub(crate) matched: Vec<(String, String)>,
    pub(crate) samples: Vec<String>,
    pub(crate) sample_events: Vec<String>,
    pub(crate) counted: Vec<(String, u64)>,
    pub(crate) drill_id: String,
    /// The silence that all hits so far were under; empty: people are to be notified.
    pub(crate) silence: String,
}

encode!(AlertRow {
    id,
    version,
    rule_id,
    rule_title,
    rule_path,
    severity,
    priority,
    priority_reason,
    tactics,
    techniques,
    system_id,
    system_name,
    sys_level,
    level_basis,
    organisation,
    host,
    entity,
    src_ip,
    user,
    hits,
    first_seen,
    last_seen,
    created_at,
    ack_due,
    contain_due,
    close_due,
    report_due,
    report_basis,
    matched,
    samples,
    sample_events,
    counted,
    drill_id,
    silence,
});

/// What a hit did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// A new alert of this priority.
    Opened(Priority),
    /// It belongs to an open one.
    Joined,
    /// An earlier life of the collector counted it.
    Counted,
}

/// The open alerts.
#[derive(Debug)]
pub(crate) struct Grouping {
    levels: Levels,
    window: Micros,
    open: HashMap<Key, Vec<Open>>,
    open_count: usize,
    changed: Vec<Key>,
    /// Alerts closed early because too many were open.
    evicted: u64,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    rule_id: String,
    /// System, or host where no system is known.
    scope: String,
    entity: String,
    drill_id: String,
}

#[derive(Debug)]
struct Open {
    row: AlertRow,
    /// What earlier lives of the collector counted, by agent and epoch.
    loaded: HashMap<String, u64>,
    /// The collector's clock at the last hit.
    touched: Micros,
    changed: bool,
}

impl Grouping {
    /// `open`: alerts that were touched within [`IDLE_MAX`], as the store has them.
    pub(crate) fn new(levels: Levels, window: Micros, open: Vec<AlertRow>) -> Self {
        let mut grouping =
            Self { levels, window, open: HashMap::new(), open_count: 0, changed: Vec::new(), evicted: 0 };
        for row in open {
            let loaded = row.counted.iter().cloned().collect();
            let touched = Micros::try_from(row.version).unwrap_or(Micros::MAX);
            grouping.open.entry(key_of(&row)).or_default().push(Open {
                row,
                loaded,
                touched,
                changed: false,
            });
            grouping.open_count += 1;
        }
        grouping
    }

    /// Takes a hit, and the silence that it is under. `now` is the collector's clock.
    pub(crate) fn observe(&mut self, hit: &Hit, silence: Option<&str>, now: Micros) -> Outcome {
        let key = Key::of(hit);
        let batch = Batch::of(hit);
        let opens = self.open.entry(key.clone()).or_default();
        if opens.iter().any(|open| open.loaded.get(&batch.sender).is_some_and(|seq| *seq >= batch.seq)) {
            return Outcome::Counted;
        }
        match opens.iter_mut().find(|open| open.takes(hit.ts, self.window)) {
            Some(open) => {
                if !open.changed {
                    self.changed.push(key);
                }
                if silence.is_none() {
                    open.row.silence.clear();
                }
                open.join(hit, batch, now);
                open.row.follow(&self.levels, hit, now);
                Outcome::Joined
            }
            None => {
                let (priority, reason) = self.levels.priority(hit.cause.severity, hit.place.level);
                let mut row = open_row(&key, hit, (priority, reason), now);
                silence.unwrap_or_default().clone_into(&mut row.silence);
                row.take(self.levels.dues(priority, now));
                // A drill is no incident.
                if row.drill_id.is_empty()
                    && let Some((due, basis)) = self.levels.report_due(now)
                {
                    (row.report_due, row.report_basis) = (due, basis);
                }
                let mut open = Open { row, loaded: HashMap::new(), touched: now, changed: false };
                open.join(hit, batch, now);
                opens.push(open);
                self.changed.push(key);
                self.open_count += 1;
                Outcome::Opened(priority)
            }
        }
    }

    /// The rows of alerts that changed since the last call, each with a higher version than before.
    pub(crate) fn changed(&mut self, now: Micros) -> Vec<AlertRow> {
        let mut rows = Vec::new();
        for key in self.changed.drain(..) {
            for open in self.open.get_mut(&key).into_iter().flatten().filter(|open| open.changed) {
                open.changed = false;
                let now = u64::try_from(now).unwrap_or_default();
                open.row.version = now.max(open.row.version.saturating_add(1));
                rows.push(open.row.clone());
            }
        }
        // Here, because what is not yet written cannot be closed: so there are at most one batch's alerts more.
        if self.open_count > OPEN_MAX {
            self.evict();
        }
        rows
    }

    /// Closes what was quiet for too long.
    pub(crate) fn expire(&mut self, now: Micros) {
        self.close(|open| open.touched < now.saturating_sub(IDLE_MAX));
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open_count
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Closes the tenth that was quiet the longest: one search for many.
    fn evict(&mut self) {
        let mut touched: Vec<Micros> = self.open.values().flatten().map(|open| open.touched).collect();
        let (_, limit, _) = touched.select_nth_unstable(OPEN_MAX / 10);
        let limit = *limit;
        let before = self.open_count;
        self.close(|open| open.touched <= limit);
        self.evicted += u64::try_from(before - self.open_count).unwrap_or_default();
    }

    fn close(&mut self, done: impl Fn(&Open) -> bool) {
        self.open.retain(|_, opens| {
            opens.retain(|open| open.changed || !done(open));
            !opens.is_empty()
        });
        self.open_count = self.open.values().map(Vec::len).sum();
    }
}

impl Open {
    fn takes(&self, ts: Micros, window: Micros) -> bool {
        let (first, last) = (self.row.first_seen, self.row.last_seen);
        let near = ts >= first.saturating_sub(window) && ts <= last.saturating_add(window);
        near && last.max(ts).saturating_sub(first.min(ts)) <= SPAN_MAX
    }

    fn join(&mut self, hit: &Hit, batch: Batch, now: Micros) {
        let row = &mut self.row;
        row.hits += 1;
        row.first_seen = row.first_seen.min(hit.ts);
        row.last_seen = row.last_seen.max(hit.ts);
        let kept = SAMPLES_MAX.max(hit.samples.len());
        for sample in &hit.samples {
            if row.samples.len() < kept && !row.sample_events.contains(&sample.event) {
                let end = sample.line.floor_char_boundary(SAMPLE_BYTES_MAX);
                row.samples.push(sample.line[..end].to_owned());
                row.sample_events.push(sample.event.clone());
            }
        }
        match row.counted.iter_mut().find(|(sender, _)| *sender == batch.sender) {
            Some((_, seq)) => *seq = batch.seq.max(*seq),
            None => {
                if row.counted.len() >= COUNTED_MAX {
                    row.counted.remove(0);
                }
                row.counted.push((batch.sender, batch.seq));
            }
        }
        self.touched = now;
        self.changed = true;
    }
}

impl AlertRow {
    /// Takes the priority of a hit that is more urgent, or whose system has another level now.
    fn follow(&mut self, levels: &Levels, hit: &Hit, now: Micros) {
        let known = Severity::named(&self.severity).unwrap_or(hit.cause.severity);
        let severity = hit.cause.severity.max(known);
        // All hits of an alert are of one system.
        let is_moved = hit.place.level != self.sys_level;
        // "P1" stands before "P2".
        let is_raised = levels.urgency(severity, hit.place.level).as_str() < self.priority.as_str();
        if is_moved || is_raised {
            self.place(levels, severity, &hit.place, now);
        }
    }

    /// Puts the alert on a system and a level, with the priority and the clocks that follow.
    pub(crate) fn place(&mut self, levels: &Levels, severity: Severity, place: &Place, now: Micros) {
        let (priority, reason) = levels.priority(severity, place.level);
        self.severity = severity.as_str().to_owned();
        (self.priority, self.priority_reason) = (priority.as_str().to_owned(), reason);
        (self.system_id, self.system_name) = (place.system_id.clone(), place.system_name.clone());
        (self.sys_level, self.level_basis) = (place.level, place.level_basis.clone());
        self.organisation = place.organisation.clone();
        self.take(self.dues().or_earlier(levels.dues(priority, now)));
    }

    fn dues(&self) -> Dues {
        let due = |micros: Micros| Some(micros).filter(|micros| *micros > 0);
        Dues { acknowledge: due(self.ack_due), contain: due(self.contain_due), close: due(self.close_due) }
    }

    fn take(&mut self, dues: Dues) {
        let Dues { acknowledge, contain, close } = dues;
        self.ack_due = acknowledge.unwrap_or_default();
        self.contain_due = contain.unwrap_or_default();
        self.close_due = close.unwrap_or_default();
    }
}

impl Cause {
    /// What an alert of the collector's own shows.
    pub(crate) fn own(id: &str, title: &str, severity: Severity) -> Arc<Self> {
        Arc::new(Self {
            id: id.to_owned(),
            title: title.to_owned(),
            path: String::new(),
            severity,
            tactics: Vec::new(),
            techniques: Vec::new(),
        })
    }

    pub(crate) fn of(rule: &detect::Rule) -> Self {
        Self {
            id: rule.id.clone(),
            title: rule.title.clone(),
            path: rule.path.clone(),
            severity: rule.severity,
            tactics: rule.tactics.clone(),
            techniques: rule.techniques.clone(),
        }
    }
}

impl Key {
    fn of(hit: &Hit) -> Self {
        Self {
            rule_id: hit.cause.id.clone(),
            scope: scope(&hit.place.system_id, &hit.host).to_owned(),
            entity: hit.entity(),
            drill_id: hit.origin.drill_id.clone(),
        }
    }
}

fn key_of(row: &AlertRow) -> Key {
    Key {
        rule_id: row.rule_id.clone(),
        scope: scope(&row.system_id, &row.host).to_owned(),
        entity: row.entity.clone(),
        drill_id: row.drill_id.clone(),
    }
}

fn scope<'s>(system_id: &'s str, host: &'s str) -> &'s str {
    if system_id.is_empty() { host } else { system_id }
}

impl Hit {
    fn entity(&self) -> String {
        if let Some(entity) = &self.entity {
            return entity.clone();
        }
        if !self.src_ip.is_unspecified() {
            return self.src_ip.to_canonical().to_string();
        }
        if self.user.is_empty() { self.host.clone() } else { self.user.clone() }
    }
}

/// The batch of a hit, as `counted` names it.
struct Batch {
    /// `agent/epoch`, the epoch in hexadecimal.
    sender: String,
    seq: u64,
}

impl Batch {
    fn of(hit: &Hit) -> Self {
        let identity = &hit.origin.identity;
        Self { sender: format!("{}/{:016x}", identity.agent, identity.epoch), seq: identity.seq }
    }
}

/// A new alert, without its first hit.
fn open_row(key: &Key, hit: &Hit, (priority, priority_reason): (Priority, String), now: Micros) -> AlertRow {
    let Hit { cause, place, .. } = hit;
    AlertRow {
        id: id(key, hit),
        version: 0,
        rule_id: cause.id.clone(),
        rule_title: cause.title.clone(),
        rule_path: cause.path.clone(),
        severity: cause.severity.as_str().to_owned(),
        priority: priority.as_str().to_owned(),
        priority_reason,
        tactics: cause.tactics.clone(),
        techniques: cause.techniques.clone(),
        system_id: place.system_id.clone(),
        system_name: place.system_name.clone(),
        sys_level: place.level,
        level_basis: place.level_basis.clone(),
        organisation: place.organisation.clone(),
        host: hit.host.clone(),
        entity: key.entity.clone(),
        src_ip: hit.src_ip,
        user: hit.user.clone(),
        hits: 0,
        first_seen: hit.ts,
        last_seen: hit.ts,
        created_at: now,
        ack_due: 0,
        contain_due: 0,
        close_due: 0,
        report_due: 0,
        report_basis: String::new(),
        matched: hit.matched.clone(),
        samples: Vec::new(),
        sample_events: Vec::new(),
        counted: Vec::new(),
        drill_id: key.drill_id.clone(),
        silence: String::new(),
    }
}

/// Hexadecimal XXH3-128 over what the alert is about and its first event.
fn id(key: &Key, hit: &Hit) -> String {
    let batch = hit.origin.identity.to_string();
    let event = hit.samples.first().map_or(&batch, |sample| &sample.event);
    let mut hash = Xxh3Default::new();
    for part in [&key.rule_id, &key.scope, &key.entity, &key.drill_id, event] {
        // A length before each part: "a", "bc" is not "ab", "c".
        hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part.as_bytes());
    }
    format!("{:032x}", hash.digest128())
}

#[cfg(test)]
mod tests;
