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
//! - value_sum, value_avg, value_percentile, value_median: of the numbers that the events of the window bring, each as often
//!   as its line says, exact to the sixth decimal ([`Amount`]). An event brings the first value of the field. A hit whose
//!   value is no number takes no part, and is counted.
//! - A group goes on firing: every further hit whose window meets the condition is told again, so that an alert's count
//!   grows. [`CorrelationHit::new`] tells the first from the further ones: it is set when the window that ended at the event
//!   before does not fire, or that event has left the window.
//! - `lt`, `lte`, `eq` and `neq` are asked at each hit of the window as it is then: `eq: 3` fires at the third.
//! - The parts of a group: the first value of each field. A hit that lacks one of them takes no part, and is counted;
//!   only `host` is never lacking: it is the agent's.
//! - Hits of different realms are never together: real life is one, each drill another. A group belongs to the realm of its
//!   hits, and so does what it hands to the correlations above.
//! - A correlation that others refer to is itself a hit of theirs, with the time, the event and the fields of the hit that
//!   fired it; where events or values are counted or measured only new firings are passed on.
//! - An event that several of the rules match is one event. An event that comes twice, with the same key and time, is one
//!   event as long as it is kept.
//!
//! **Late events** are put where they belong. An event is forgotten when two timespans have passed since it happened and since
//! it came. So nothing is lost of events that belong together, as long as they come within two timespans of each other; and a
//! backlog of last night's logs is correlated as well as live ones.
//!
//! **Restart.** The state is a function of the hits and of the order in which they were observed, and a short-lived one:
//!
//! 1. A group is the set of its events, nothing else: an event that comes twice changes nothing, and whether the group fires is
//!    what its newest window says.
//! 2. An event is kept for two timespans after it came, or longer by as much as its time lies ahead. What a hit fires is
//!    decided by the events that are kept then and, for `new`, by those that were kept at the group's hit before. So it is
//!    decided by what came in four timespans; and what a correlation above sees by that and four timespans of its own.
//!    [`Engine::reach`](crate::Engine::reach) is the longest such sum of a rule set, with what times may lie ahead.
//! 3. So a new correlator that observes, in their order and with the times at which they came, the hits that came since then
//!    (its firings are thrown away: they were told), fires at every later hit what the old one would have fired.
//! 4. Who keeps this log writes the hits of a batch before the batch is acknowledged. Then a hit is in the log, or its batch
//!    comes again. A batch that is in the log and comes again, whole or in part, is left out by 1 while its events are
//!    kept, and by what the store knows of batches for ever. So nothing is counted twice and nothing is lost, whenever the
//!    process ends.
//!
//! **Other rules.** [`Correlator::adopt`] puts other rules in place of those before: a correlation that asks the same as before
//! keeps its windows, any other starts with empty ones.
//!
//! **Bounds**: those of [`limits`](crate::limits) on groups and events of all rules together, and on the events of one group.
//! When one of the former is hit, the groups that were quiet for the longest time are dropped, of the rule that holds the most:
//! a scan that makes a million groups of one rule costs the other rules nothing. When the latter is hit, the oldest events of
//! the group are. Both are counted in [`CorrelatorCounters`]. All realms share them.
//!
//! It never looks at a clock, and never blocks.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU16;
use std::sync::Arc;

use event::Micros;

use crate::amount::{Amount, Ordered};
use crate::correlation::{Correlation, Counted, Member};
use crate::digest;
use crate::entries::Entry;
use crate::groups::{GroupId, Groups};
use crate::limits::{EVENTS_REPORTED_MAX, GROUP_EVENTS_MAX, GROUPS_MAX};
use crate::senders::Senders;
use crate::window::{Found, Window, seconds};
use crate::{Engine, Rule};

/// The field that every event has, though no line says it: the host whose agent sent it.
const HOST: &str = "host";

/// Groups are thrown out by parts of the limit, so that the search for the rule that holds the most is paid once for many.
const EVICTED_PART: usize = 4096;

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
    /// What it may be correlated within: empty for what really happened, the drill's id for what a drill made.
    pub realm: Arc<str>,
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
    /// What the condition was asked of: events, different values or different rules in the window, or what its numbers make;
    /// [`Self::counted`] says which.
    pub count: Amount,
    pub(crate) kind: Counted,
    /// First the event that fired it. When `new`, the others of the window behind it: those that bring a rule or a value which
    /// none before them brought, then the rest, both in the order of time; at most [`EVENTS_REPORTED_MAX`] in all.
    pub events: Vec<EventKey>,
    /// The group did not fire at the hit before.
    pub new: bool,
    /// The fields of the hit that fired it.
    pub keys: Vec<(Arc<str>, Box<str>)>,
}

/// The state of all correlation rules.
#[derive(Debug)]
pub struct Correlator {
    states: Vec<State>,
    /// By rule id: the correlations that refer to it, and as which member.
    watching: HashMap<String, Vec<(usize, usize)>>,
    senders: Senders,
    held: Held,
    most: Held,
}

/// What a correlation rule holds, and what it had to drop.
#[derive(Clone, Debug, PartialEq)]
pub struct CorrelatorCounters {
    pub rule: Arc<Rule>,
    pub groups: usize,
    pub events: usize,
    /// Groups thrown out by a limit before their time.
    pub groups_evicted: u64,
    /// Events thrown out by a limit of their group before their time.
    pub events_dropped: u64,
    /// Hits without a value for a group-by field.
    pub ungrouped: u64,
    /// Hits whose value was to be measured and is no number.
    pub unmeasured: u64,
}

/// How much is held, of one rule or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    groups: usize,
    events: usize,
}

#[derive(Debug)]
struct State {
    correlation: Arc<Correlation>,
    groups: Groups,
    /// Events in all groups.
    events: usize,
    /// Of the hashes of groups.
    seed: u64,
    groups_evicted: u64,
    events_dropped: u64,
    ungrouped: u64,
    unmeasured: u64,
}

impl Default for Correlator {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Correlator {
    pub(crate) fn new(correlations: Vec<Arc<Correlation>>) -> Self {
        let watching = watching(&correlations);
        let states = correlations.into_iter().map(State::new).collect();
        let most = Held { groups: GROUPS_MAX, events: GROUP_EVENTS_MAX };
        Self { states, watching, senders: Senders::default(), held: Held::default(), most }
    }

    /// Lowers the limits on what all rules hold together, for a machine with less memory.
    #[must_use]
    pub fn limited(self, groups_max: usize, events_max: usize) -> Self {
        let most = Held { groups: groups_max.min(GROUPS_MAX), events: events_max.min(GROUP_EVENTS_MAX) };
        Self { most, ..self }
    }

    /// Takes the correlations of another engine in place of its own. Says whether all of them have their windows: those that
    /// ask what one asked before keep its windows, the others start with empty ones.
    pub fn adopt(&mut self, engine: &Engine) -> bool {
        let mut before = std::mem::take(&mut self.states);
        let mut all_go_on = true;
        for correlation in &engine.correlations {
            let same = before.iter().position(|state| state.correlation.asks_the_same(correlation));
            let mut state = match same {
                Some(index) => before.swap_remove(index),
                None => State::new(Arc::clone(correlation)),
            };
            state.correlation = Arc::clone(correlation);
            all_go_on &= same.is_some();
            self.states.push(state);
        }
        self.watching = watching(&engine.correlations);
        self.held = Held::default();
        self.states.iter().for_each(|state| self.held.enter(state.held()));
        all_go_on
    }

    /// Takes a hit in; `now` is the time of its arrival. What fires comes back, base correlations before those above them.
    pub fn observe(&mut self, hit: Hit, now: Micros) -> Vec<CorrelationHit> {
        let mut fired: Vec<CorrelationHit> = Vec::new();
        // Grows while it is walked: what fires is a hit of the correlations above. Chains end, they have no cycles.
        let mut hits = std::collections::VecDeque::from([(hit, true)]);
        while let Some((hit, new)) = hits.pop_front() {
            for (state, member) in self.watching.get(&hit.rule.id).into_iter().flatten() {
                let Some(state) = self.states.get_mut(*state) else { continue };
                if !new && !state.correlation.kind.is_temporal() {
                    continue;
                }
                self.held.leave(state.held());
                let found = state.observe(*member, &hit, now, &mut self.senders);
                self.held.enter(state.held());
                if let Some(found) = found {
                    hits.push_back((found.as_hit(&hit), found.new));
                    fired.push(found);
                }
            }
        }
        self.make_room(now);
        fired
    }

    /// Forgets the groups whose windows have passed. To be called now and then, so that quiet groups cost nothing.
    pub fn expire(&mut self, now: Micros) {
        for state in &mut self.states {
            self.held.leave(state.held());
            state.expire(now);
            self.held.enter(state.held());
        }
        if self.senders.are_many() {
            let windows = self.states.iter().flat_map(|state| state.groups.windows());
            self.senders.keep(windows.flat_map(Window::senders));
        }
    }

    /// What each rule holds and had to drop.
    pub fn counters(&self) -> Vec<CorrelatorCounters> {
        self.states.iter().map(State::counters).collect()
    }

    fn make_room(&mut self, now: Micros) {
        if !self.held.exceeds(self.most) {
            return;
        }
        self.expire(now);
        let part = self.most.part();
        while self.held.exceeds(self.most) {
            let by_groups = self.held.groups > self.most.groups;
            let held = |state: &&mut State| if by_groups { state.groups.len() } else { state.events };
            let Some(fullest) = self.states.iter_mut().max_by_key(held) else { return };
            let before = fullest.held();
            self.held.leave(before);
            fullest.evict();
            while before.less(fullest.held()).is_below(part) && fullest.groups.len() > 0 {
                fullest.evict();
            }
            self.held.enter(fullest.held());
        }
    }
}

impl Held {
    fn exceeds(self, most: Self) -> bool {
        self.groups > most.groups || self.events > most.events
    }

    /// What is thrown out at a time: so many groups, or fewer that hold so many events.
    fn part(self) -> Self {
        let part = |most: usize| most.checked_div(EVICTED_PART).unwrap_or_default().saturating_add(1);
        Self { groups: part(self.groups), events: part(self.events) }
    }

    fn is_below(self, part: Self) -> bool {
        self.groups < part.groups && self.events < part.events
    }

    fn less(mut self, held: Self) -> Self {
        self.leave(held);
        self
    }

    fn enter(&mut self, held: Self) {
        self.groups = self.groups.saturating_add(held.groups);
        self.events = self.events.saturating_add(held.events);
    }

    fn leave(&mut self, held: Self) {
        self.groups = self.groups.saturating_sub(held.groups);
        self.events = self.events.saturating_sub(held.events);
    }
}

impl CorrelationHit {
    /// What `count` is, for people.
    pub fn counted(&self) -> &'static str {
        match self.kind {
            Counted::Events => "count of events",
            Counted::Values => "count of different values",
            Counted::Rules | Counted::RulesInOrder => "count of different rules",
            Counted::Sum => "sum of values",
            Counted::Average => "average of values",
            Counted::Percentile(_) => "percentile of values",
        }
    }

    fn as_hit(&self, cause: &Hit) -> Hit {
        Hit {
            rule: Arc::clone(&self.rule),
            ts: cause.ts,
            event: cause.event.clone(),
            realm: Arc::clone(&cause.realm),
            times: 1,
            keys: cause.keys.clone(),
        }
    }
}

impl State {
    fn new(correlation: Arc<Correlation>) -> Self {
        Self {
            correlation,
            groups: Groups::default(),
            events: 0,
            seed: RandomState::new().hash_one(HOST),
            groups_evicted: 0,
            events_dropped: 0,
            ungrouped: 0,
            unmeasured: 0,
        }
    }

    fn held(&self) -> Held {
        Held { groups: self.groups.len(), events: self.events }
    }

    fn observe(
        &mut self,
        position: usize,
        hit: &Hit,
        now: Micros,
        senders: &mut Senders,
    ) -> Option<CorrelationHit> {
        let correlation = Arc::clone(&self.correlation);
        let member = correlation.members.get(position)?;
        let Some(group) = group(member, hit) else {
            self.ungrouped = self.ungrouped.saturating_add(1);
            return None;
        };
        let kinds = kinds(&correlation, position, member, hit);
        if kinds.is_empty() {
            self.unmeasured = self.unmeasured.saturating_add(u64::from(correlation.kind.measures()));
            return None;
        }
        let entries: Vec<Entry> = entries(hit, &kinds, now, senders.number(&hit.event)).collect();
        let window = self.groups.touch(id(&hit.realm, &group, self.seed))?;
        let before = window.len();
        window.forget(&correlation, now);
        let found = window.add(&correlation, &entries, senders);
        let dropped = window.crop();
        self.events = self.events.saturating_sub(before).saturating_add(window.len());
        self.events_dropped = self.events_dropped.saturating_add(dropped);
        found.map(|found| firing(&correlation, &group, found, hit))
    }

    /// Throws out the group that was quiet for the longest time.
    fn evict(&mut self) {
        if let Some(window) = self.groups.pop_quietest() {
            self.events = self.events.saturating_sub(window.len());
            self.groups_evicted = self.groups_evicted.saturating_add(1);
        }
    }

    /// A group whose events have times of the future may hold up those behind it, as long as times may lie in the future.
    fn expire(&mut self, now: Micros) {
        while self.groups.quietest().is_some_and(|window| window.is_over(&self.correlation, now)) {
            let window = self.groups.pop_quietest();
            self.events = self.events.saturating_sub(window.map_or(0, |window| window.len()));
        }
    }

    fn counters(&self) -> CorrelatorCounters {
        CorrelatorCounters {
            rule: Arc::clone(&self.correlation.rule),
            groups: self.groups.len(),
            events: self.events,
            groups_evicted: self.groups_evicted,
            events_dropped: self.events_dropped,
            ungrouped: self.ungrouped,
            unmeasured: self.unmeasured,
        }
    }
}

/// By rule id: the correlations that refer to it, and as which member.
fn watching(correlations: &[Arc<Correlation>]) -> HashMap<String, Vec<(usize, usize)>> {
    let mut watching: HashMap<String, Vec<(usize, usize)>> = HashMap::new();
    for (state, correlation) in correlations.iter().enumerate() {
        for (position, member) in correlation.members.iter().enumerate() {
            watching.entry(member.rule.id.clone()).or_default().push((state, position));
        }
    }
    watching
}

/// The group of a hit; none when a part is lacking.
fn group<'h>(member: &Member, hit: &'h Hit) -> Option<Vec<&'h str>> {
    member.group.iter().map(|name| first_value(hit, name)).collect()
}

fn id(realm: &str, group: &[&str], seed: u64) -> GroupId {
    let mut hash = xxhash_rust::xxh3::Xxh3::with_seed(seed);
    digest::update(&mut hash, &[realm]);
    digest::update(&mut hash, group);
    let hash = hash.digest128().to_le_bytes();
    let (low, high) = hash.split_at(hash.len() / 2);
    [low, high].map(|half| half.try_into().map_or(0, u64::from_le_bytes))
}

fn first_value<'h>(hit: &'h Hit, name: &str) -> Option<&'h str> {
    let value = hit.keys.iter().find(|(key, _)| **key == *name).map(|(_, value)| value.as_ref());
    value.or_else(|| (name == HOST).then_some(hit.event.agent.as_ref()))
}

/// What the hit counts as: its rule's position, or the values or the number it brings. Without any it takes no part.
fn kinds(correlation: &Correlation, position: usize, member: &Member, hit: &Hit) -> Vec<u64> {
    match correlation.kind {
        Counted::Events => vec![0],
        Counted::Rules | Counted::RulesInOrder => u64::try_from(position).into_iter().collect(),
        Counted::Values => values(member, hit),
        Counted::Sum | Counted::Average | Counted::Percentile(_) => {
            let value = member.value.first().and_then(|name| first_value(hit, name));
            value.and_then(Ordered::read).map(|number| number.0).into_iter().collect()
        }
    }
}

fn entries(hit: &Hit, kinds: &[u64], now: Micros, sender: u32) -> impl Iterator<Item = Entry> {
    let times = u16::try_from(hit.times).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN);
    let (ts, seq, record, arrived_s) = (hit.ts, hit.event.seq, hit.event.record, seconds(now));
    kinds.iter().map(move |kind| Entry { ts, kind: *kind, seq, sender, record, arrived_s, times })
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
    digest::update(&mut hash, parts);
    hash.digest()
}

fn firing(correlation: &Correlation, group: &[&str], found: Found, hit: &Hit) -> CorrelationHit {
    let others = found.events.into_iter().filter(|event| *event != hit.event);
    let events = std::iter::once(hit.event.clone()).chain(others).take(EVENTS_REPORTED_MAX).collect();
    let names = correlation.group_by.iter().cloned();
    CorrelationHit {
        rule: Arc::clone(&correlation.rule),
        group: names.zip(group.iter().map(ToString::to_string)).collect(),
        first: found.first,
        last: found.last,
        count: found.count,
        kind: correlation.kind,
        events,
        new: found.new,
        keys: hit.keys.clone(),
    }
}
