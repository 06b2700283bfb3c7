//! The compiled rules: immutable, shared by all threads behind an `Arc`, swapped whole when rules change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use event::{Event, Micros, Value};

use crate::correlation::{self, Correlation};
use crate::correlator::{Correlator, EventKey, Hit};
use crate::index::Indexes;
use crate::limits::{KEY_VALUE_BYTES_MAX, REPEAT_MAX};
use crate::scan::Program;
use crate::{Kind, Rule, text};

/// The native field in which parsers say that a line stands for several.
const REPEAT: &str = "repeat";

/// Values of Sigma's placeholders (`|expand: '%Administrators%'`), by name without the per cent signs.
pub type Placeholders = BTreeMap<String, Vec<String>>;

/// Rules ready to evaluate events.
#[derive(Debug, Default)]
pub struct Engine {
    /// Tells the engines of one process apart, so that a [`Scratch`](crate::Scratch) forgets what it kept for another.
    pub(crate) serial: u64,
    /// A hash over the rule files.
    pub(crate) files: u128,
    pub(crate) fields: Fields,
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) programs: Vec<Program>,
    pub(crate) indexes: Indexes,
    pub(crate) correlations: Vec<Arc<Correlation>>,
    /// By rule: the fields of an event that correlations need of it; none of a rule that no correlation refers to.
    pub(crate) keys: Vec<Option<Vec<Arc<str>>>>,
}

/// Names of the fields that rules read, each with a number.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    ids: HashMap<String, usize, NameHash>,
    names: Vec<String>,
}

/// Names that the event before did not have are hashed. Tables with it hold what rules say alone, so nobody who writes events can
/// crowd them, and the hash needs no secret. Texts of events are hashed with it as well ([`memo`](crate::memo)): each has one
/// slot and is compared in full, so that who makes hashes meet gains a search and no match.
pub(crate) type NameHash = foldhash::fast::FixedState;

impl Engine {
    /// All rules that are loaded, in the order of their files.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Whether the other was compiled from the same files: what correlations remember for one holds for the other.
    pub fn is_of_same_files(&self, other: &Self) -> bool {
        self.files == other.files
    }

    /// The rule of an id or a name.
    pub fn rule(&self, reference: &str) -> Option<&Arc<Rule>> {
        let by_id = self.rules.iter().find(|rule| rule.id == reference);
        by_id.or_else(|| self.rules.iter().find(|rule| rule.name.as_deref() == Some(reference)))
    }

    /// How many rules of a kind are loaded.
    pub fn count(&self, kind: Kind) -> usize {
        self.rules.iter().filter(|rule| rule.kind == kind).count()
    }

    /// The rules that a correlation refers to; none of a rule that is no correlation.
    pub fn members(&self, rule: &Rule) -> impl Iterator<Item = &Rule> {
        let correlation = self.correlations.iter().find(|correlation| correlation.rule.index == rule.index);
        correlation.into_iter().flat_map(|correlation| &correlation.members).map(|member| &*member.rule)
    }

    /// The native fields that correlations need of an event that this rule matched; none when no correlation refers to it.
    pub fn correlation_keys(&self, rule: &Rule) -> &[Arc<str>] {
        self.keys.get(rule.index).and_then(Option::as_deref).unwrap_or_default()
    }

    /// Whether a correlation refers to the rule, so that its matches are to be observed.
    pub fn is_correlated(&self, rule: &Rule) -> bool {
        self.keys.get(rule.index).is_some_and(Option::is_some)
    }

    /// What the correlator is to be told of a match: owned, small, and nothing when no correlation refers to the rule. It is of
    /// real life; who knows better sets the [`realm`](Hit::realm).
    pub fn hit(&self, rule: &Arc<Rule>, event: &Event<'_>, key: EventKey) -> Option<Hit> {
        if !self.is_correlated(rule) {
            return None;
        }
        let mut keys = Vec::new();
        for name in self.correlation_keys(rule) {
            let values = event.values(name).filter(|value| !matches!(value, Value::Null));
            keys.extend(values.map(|value| (Arc::clone(name), kept(&value.to_text()))));
        }
        let (rule, realm, times) = (Arc::clone(rule), Arc::default(), times(event));
        Some(Hit { rule, ts: event.ts, event: key, realm, times, keys })
    }

    /// How far back hits are to be observed again for a new correlator to fire what the old one would have, by the time of
    /// their arrival.
    pub fn reach(&self) -> Micros {
        correlation::reach(&self.correlations)
    }

    /// A correlator for the hits of this engine, with empty windows.
    pub fn correlator(&self) -> Correlator {
        Correlator::new(self.correlations.clone())
    }
}

/// How often the event happened: what the parser found of a line that stands for several (`message repeated 5 times`).
fn times(event: &Event<'_>) -> u64 {
    let stated = event.values(REPEAT).find_map(|value| match value {
        Value::Int(times) => u64::try_from(*times).ok(),
        _ => None,
    });
    stated.unwrap_or(1).clamp(1, REPEAT_MAX)
}

/// A group-by or counted value, at most [`KEY_VALUE_BYTES_MAX`] bytes of it.
fn kept(value: &str) -> Box<str> {
    text::cut(value, KEY_VALUE_BYTES_MAX).into()
}

impl Fields {
    pub(crate) fn intern(&mut self, name: &str) -> usize {
        if let Some(id) = self.id(name) {
            return id;
        }
        let id = self.names.len();
        self.names.push(name.to_owned());
        self.ids.insert(name.to_owned(), id);
        id
    }

    pub(crate) fn id(&self, name: &str) -> Option<usize> {
        self.ids.get(name).copied()
    }

    pub(crate) fn name(&self, id: usize) -> Option<&str> {
        self.names.get(id).map(String::as_str)
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}
