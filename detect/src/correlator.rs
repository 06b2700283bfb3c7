//! The correlator: hits in, firings out. It is the only part of detection that has a state.
//!
//! **Windows** slide on event time: two events are together when their times are at most the timespan apart. A hit **fires**
//! a correlation when there is a window, ending at this hit or at an event of its group up to a timespan later, that holds
//! the hit and meets the condition. (For hits in the order of time that is the window which ends at the hit.)
//!
//! - event_count: events in the window, each as often as its line says (`repeat`: syslog's `message repeated 5 times`).
//!   value_count: different values. temporal: different rules; all of them where the rule gives no condition.
//!   temporal_ordered: all rules in their order, with the hit as one of the steps; events of the same time count as in order,
//!   since many logs have no finer time than the second.
//! - A group goes on firing: every further hit whose window meets the condition is told again, so that an alert's count
//!   grows. [`CorrelationHit::new`] tells the first from the further ones: it is set when the group's last hit in order did
//!   not fire, or has left the window.
//! - `lt`, `lte`, `eq` and `neq` are asked at each hit of the window as it is then: `eq: 3` fires at the third.
//! - The parts of a group: the first value of each field. A hit that lacks one of them takes no part, and is counted;
//!   only `host` is never lacking: it is the agent's.
//! - A correlation that others refer to is itself a hit of theirs, with the time, the event and the fields of the hit that
//!   fired it; where events or values are counted only new firings are passed on.
//! - An event that several of the rules match is one event.
//!
//! **Late events** are put where they belong. What a late event may need is kept while it is young by either clock: an event
//! is forgotten when both the group's event time and the clock of arrivals are two timespans further. So a backlog of
//! last night's logs is correlated as well as live ones.
//!
//! **Bounds**: the limits of [`limits`](crate::limits) on groups and events. When one is hit, the oldest events of the group,
//! or the groups that were quiet for the longest time, are dropped and counted in [`CorrelatorCounters`].
//!
//! It never looks at a clock, and never blocks.

use std::collections::HashMap;
use std::sync::Arc;

use event::Micros;

use crate::Rule;
use crate::correlation::{Correlation, Counted, Member};
use crate::limits::{EVENTS_REPORTED_MAX, GROUPS_MAX, RULE_EVENTS_MAX};
use crate::window::{Entry, Found, Window};

/// The field that every event has, though no line says it: the host whose agent sent it.
const HOST: &str = "host";

/// Groups are thrown out by eighths, so that the search for the quietest is paid once for many.
const EVICTED_PART: usize = 8;

/// Which event: the identity of its batch, and the index of its first record there.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EventKey {
    pub agent: Arc<str>,
    pub epoch: u64,
    pub seq: u64,
    pub record: u32,
}

/// A match that a correlation may need: see [`Engine::hit`](crate::Engine::hit).
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub rule: Arc<Rule>,
    /// The event's time.
    pub ts: Micros,
    pub event: EventKey,
    /// How often the event happened, as its line says; 1 where it says nothing.
    pub times: u64,
    /// The fields of [`Engine::correlation_keys`](crate::Engine::correlation_keys) that the event has; one that has several
    /// values stands several times.
    pub keys: Vec<(Arc<str>, Box<str>)>,
}

/// A correlation that fired.
#[derive(Clone, Debug, PartialEq)]
pub struct CorrelationHit {
    pub rule: Arc<Rule>,
    /// The group-by names of the rule and the group's values.
    pub group: Vec<(String, String)>,
    /// Time of the first and the last event in the window.
    pub first: Micros,
    pub last: Micros,
    /// What the condition was asked of: events, different values or different rules in the window.
    pub count: u64,
    /// When `new`, the events of the window in order of time, at most [`EVENTS_REPORTED_MAX`]; else the one that is added.
    pub events: Vec<EventKey>,
    /// The group did not fire at the hit before.
    pub new: bool,
    /// The fields of the hit that fired it.
    pub keys: Vec<(Arc<str>, Box<str>)>,
}

/// The state of all correlation rules.
#[derive(Debug, Default)]
pub struct Correlator {
    states: Vec<State>,
    /// By rule id: the correlations that refer to it, and as which member.
    watching: HashMap<String, Vec<(usize, usize)>>,
}

/// What a correlation rule holds, and what it had to drop.
#[derive(Clone, Debug, PartialEq)]
pub struct CorrelatorCounters {
    pub rule: Arc<Rule>,
    pub groups: usize,
    pub events: usize,
    /// Groups thrown out by a limit before their time.
    pub groups_evicted: u64,
    /// Events thrown out by a limit before their time.
    pub events_dropped: u64,
    /// Hits without a value for a group-by field.
    pub ungrouped: u64,
}

#[derive(Debug)]
struct State {
    correlation: Arc<Correlation>,
    groups: HashMap<Box<[Box<str>]>, Window>,
    /// Events in all groups.
    events: usize,
    /// Grows with each hit: how long a group has been quiet.
    ticks: u64,
    groups_evicted: u64,
    events_dropped: u64,
    ungrouped: u64,
}

impl Correlator {
    pub(crate) fn new(correlations: Vec<Arc<Correlation>>) -> Self {
        let mut watching: HashMap<String, Vec<(usize, usize)>> = HashMap::new();
        for (state, correlation) in correlations.iter().enumerate() {
            for (position, member) in correlation.members.iter().enumerate() {
                watching.entry(member.rule.id.clone()).or_default().push((state, position));
            }
        }
        Self { states: correlations.into_iter().map(State::new).collect(), watching }
    }

    /// Takes a hit in; `now` is the time of its arrival. What fires comes back, base correlations before those above them.
    pub fn observe(&mut self, hit: Hit, now: Micros) -> Vec<CorrelationHit> {
        let mut fired: Vec<CorrelationHit> = Vec::new();
        // Grows while it is walked: what fires is a hit of the correlations above. Chains end, they have no cycles.
        let mut hits = std::collections::VecDeque::from([(hit, true)]);
        while let Some((hit, new)) = hits.pop_front() {
            for (state, member) in self.watching.get(&hit.rule.id).into_iter().flatten() {
                let Some(state) = self.states.get_mut(*state) else { continue };
                if !new && !state.correlation.takes_repeated() {
                    continue;
                }
                if let Some(found) = state.observe(*member, &hit, now) {
                    hits.push_back((found.as_hit(&hit), found.new));
                    fired.push(found);
                }
            }
        }
        fired
    }

    /// Forgets the groups whose windows have passed. To be called now and then, so that quiet groups cost nothing.
    pub fn expire(&mut self, now: Micros) {
        for state in &mut self.states {
            state.expire(now);
        }
    }

    /// What each rule holds and had to drop.
    pub fn counters(&self) -> Vec<CorrelatorCounters> {
        self.states.iter().map(State::counters).collect()
    }
}

impl CorrelationHit {
    fn as_hit(&self, cause: &Hit) -> Hit {
        Hit {
            rule: Arc::clone(&self.rule),
            ts: cause.ts,
            event: cause.event.clone(),
            times: 1,
            keys: cause.keys.clone(),
        }
    }
}

impl Correlation {
    /// Whether a further firing of a member is one more hit.
    fn takes_repeated(&self) -> bool {
        matches!(self.kind, Counted::Rules | Counted::RulesInOrder)
    }
}

impl State {
    fn new(correlation: Arc<Correlation>) -> Self {
        Self {
            correlation,
            groups: HashMap::new(),
            events: 0,
            ticks: 0,
            groups_evicted: 0,
            events_dropped: 0,
            ungrouped: 0,
        }
    }

    fn observe(&mut self, position: usize, hit: &Hit, now: Micros) -> Option<CorrelationHit> {
        let correlation = Arc::clone(&self.correlation);
        let member = correlation.members.get(position)?;
        let Some(group) = group(member, hit) else {
            self.ungrouped = self.ungrouped.saturating_add(1);
            return None;
        };
        let kinds = kinds(&correlation, position, member, hit);
        if kinds.is_empty() {
            return None;
        }
        if !self.groups.contains_key(&group) && self.groups.len() >= GROUPS_MAX {
            self.make_room(now);
        }
        self.ticks = self.ticks.saturating_add(1);
        let window = self.groups.entry(group.clone()).or_default();
        let before = window.len();
        let entries = kinds.into_iter().map(|kind| Entry {
            ts: hit.ts,
            kind,
            times: hit.times,
            arrived: now,
            event: hit.event.clone(),
        });
        let found = window.add(&correlation, entries, self.ticks);
        let dropped = window.prune(&correlation, now);
        let after = window.len();
        self.events = self.events.saturating_sub(before).saturating_add(after);
        self.events_dropped = self.events_dropped.saturating_add(dropped);
        if self.events > RULE_EVENTS_MAX {
            self.make_room(now);
        }
        found.map(|found| firing(&correlation, &group, found, hit))
    }

    fn make_room(&mut self, now: Micros) {
        self.expire(now);
        if self.groups.len() < GROUPS_MAX && self.events <= RULE_EVENTS_MAX {
            return;
        }
        let mut ticks: Vec<u64> = self.groups.values().map(|window| window.touched).collect();
        let nth = ticks.len().checked_div(EVICTED_PART).unwrap_or_default();
        if nth >= ticks.len() {
            return;
        }
        let (_, limit, _) = ticks.select_nth_unstable(nth);
        let limit = *limit;
        let before = self.groups.len();
        self.groups.retain(|_, window| window.touched > limit);
        let evicted = before.saturating_sub(self.groups.len());
        self.groups_evicted = self.groups_evicted.saturating_add(u64::try_from(evicted).unwrap_or(u64::MAX));
        self.recount();
    }

    fn expire(&mut self, now: Micros) {
        let correlation = &self.correlation;
        self.groups.retain(|_, window| !window.is_over(correlation, now));
        self.recount();
    }

    fn recount(&mut self) {
        self.events = self.groups.values().map(Window::len).fold(0, usize::saturating_add);
    }

    fn counters(&self) -> CorrelatorCounters {
        CorrelatorCounters {
            rule: Arc::clone(&self.correlation.rule),
            groups: self.groups.len(),
            events: self.events,
            groups_evicted: self.groups_evicted,
            events_dropped: self.events_dropped,
            ungrouped: self.ungrouped,
        }
    }
}

/// The group of a hit; none when a part is lacking.
fn group(member: &Member, hit: &Hit) -> Option<Box<[Box<str>]>> {
    member.group.iter().map(|name| first_value(hit, name).map(Box::from)).collect()
}

fn first_value<'h>(hit: &'h Hit, name: &str) -> Option<&'h str> {
    let value = hit.keys.iter().find(|(key, _)| **key == *name).map(|(_, value)| value.as_ref());
    value.or_else(|| (name == HOST).then_some(hit.event.agent.as_ref()))
}

/// What the hit counts as: its rule's position, or the values it brings. No values, nothing to count.
fn kinds(correlation: &Correlation, position: usize, member: &Member, hit: &Hit) -> Vec<u64> {
    match correlation.kind {
        Counted::Events => vec![0],
        Counted::Rules | Counted::RulesInOrder => u64::try_from(position).into_iter().collect(),
        Counted::Values => values(member, hit),
    }
}

/// Values are kept as their 64-bit hashes: two of the 10,000 of a group are the same by chance once in 10^11 groups.
fn values(member: &Member, hit: &Hit) -> Vec<u64> {
    if let [name] = member.value.as_slice() {
        let of_field = |key: &Arc<str>| key == name;
        let all = hit.keys.iter().filter(|(key, _)| of_field(key)).map(|(_, value)| hash(&[value.as_ref()]));
        let mut all: Vec<u64> = all.collect();
        if all.is_empty() {
            all.extend(first_value(hit, name).map(|value| hash(&[value])));
        }
        all.sort_unstable();
        all.dedup();
        return all;
    }
    let parts: Option<Vec<&str>> = member.value.iter().map(|name| first_value(hit, name)).collect();
    parts.map(|parts| hash(&parts)).into_iter().collect()
}

fn hash(parts: &[&str]) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for part in parts {
        hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.digest()
}

fn firing(correlation: &Correlation, group: &[Box<str>], found: Found, hit: &Hit) -> CorrelationHit {
    debug_assert!(found.events.len() <= EVENTS_REPORTED_MAX);
    let names = correlation.group_by.iter().cloned();
    CorrelationHit {
        rule: Arc::clone(&correlation.rule),
        group: names.zip(group.iter().map(ToString::to_string)).collect(),
        first: found.first,
        last: found.last,
        count: found.count,
        events: if found.new { found.events } else { vec![hit.event.clone()] },
        new: found.new,
        keys: hit.keys.clone(),
    }
}
