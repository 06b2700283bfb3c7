//! The obvious evaluator: every rule whose log source fits is looked at, selection by selection, value by value.
//!
//! It stays for ever as the oracle of the fast one ([`index`](crate::index)), which asks it about the few rules that may match.
//! What it does save is repetition: a field's name is looked up once, a value is folded once an event, and values of rules are
//! prepared when they are compiled.
//!
//! Truth of a predicate: a field that stands several times makes it true with any of its values; with `|all`, each of the
//! rule's values must be met by one of them. A field that is absent meets `null` and nothing else.

use crate::engine::Fields;
use crate::limits::MATCHED_VALUE_BYTES_MAX;
use crate::look::Look;
use crate::predicate::Predicate;
use crate::text;

/// Name under which a match reports keywords: they are found in the whole event.
const MESSAGE: &str = "message";

/// How many texts an event has, about: what a keyword costs.
const KEYWORD_FIELDS: usize = 10;

/// The logic of one rule.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) rule: usize,
    pub(crate) logic: Logic,
    /// What filters add: each must hold as well.
    pub(crate) filters: Vec<Logic>,
}

/// Selections, their names, and the condition over them.
#[derive(Debug)]
pub(crate) struct Logic {
    pub(crate) names: Vec<String>,
    pub(crate) selections: Vec<Node>,
    pub(crate) condition: Node,
}

/// A part of a rule that must hold, or that must not.
#[derive(Clone, Copy)]
pub(crate) struct Conjunct<'p> {
    pub(crate) node: &'p Node,
    pub(crate) negated: bool,
    pub(crate) selections: &'p [Node],
}

/// Some of a program's conjuncts, by their number; of those beyond the 63rd all or none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Conjuncts(u64);

/// A selection or a condition.
#[derive(Debug)]
pub(crate) enum Node {
    Item(Item),
    /// The field is there, or is not.
    Exists {
        field: usize,
        expected: bool,
    },
    /// A selection of the same rule.
    Selection(usize),
    All(Vec<Node>),
    Any(Vec<Node>),
    AtLeast(usize, Vec<Node>),
    Not(Box<Node>),
}

/// A field and the values it is compared with.
#[derive(Debug)]
pub(crate) struct Item {
    /// `None`: keywords, looked for in the whole event.
    pub(crate) field: Option<usize>,
    pub(crate) predicates: Vec<Predicate>,
    /// Each predicate must hold, not just one.
    pub(crate) all: bool,
    /// `|neq`: none may hold, and the field must be there.
    pub(crate) negated: bool,
}

impl Program {
    pub(crate) fn holds(&self, look: &mut Look<'_, '_>) -> bool {
        self.logic.holds(look) && self.filters.iter().all(|filter| filter.holds(look))
    }

    /// The same when the other conjuncts are known to hold.
    pub(crate) fn holds_left(&self, left: Conjuncts, look: &mut Look<'_, '_>) -> bool {
        let mut number = 0_usize;
        let mut holds = |conjunct: Conjunct<'_>| {
            let is_asked = left.has(number);
            number = number.saturating_add(1);
            !is_asked || conjunct.node.holds(conjunct.selections, look) != conjunct.negated
        };
        left == Conjuncts::default() || self.each_conjunct(&mut holds)
    }

    /// Shows the parts that must all be as they say for the rule to match, until one is refused; whether none was.
    pub(crate) fn each_conjunct<'p>(&'p self, see: &mut impl FnMut(Conjunct<'p>) -> bool) -> bool {
        let mut logics = std::iter::once(&self.logic).chain(&self.filters);
        logics.all(|logic| logic.condition.each_conjunct(false, &logic.selections, see))
    }

    /// The fields that made the rule match, which it does. Filters only exclude.
    pub(crate) fn evidence(&self, look: &mut Look<'_, '_>, fields: &Fields) -> Vec<(String, String)> {
        let mut evidence = Evidence { fields, found: Vec::new() };
        self.logic.condition.collect(true, &self.logic.selections, look, &mut evidence);
        evidence.found
    }
}

impl Conjuncts {
    pub(crate) fn add(&mut self, number: usize) {
        self.0 |= Self::bit(number);
    }

    fn has(self, number: usize) -> bool {
        self.0 & Self::bit(number) != 0
    }

    fn bit(number: usize) -> u64 {
        1 << number.min(63)
    }
}

impl Logic {
    fn holds(&self, look: &mut Look<'_, '_>) -> bool {
        self.condition.holds(&self.selections, look)
    }
}

impl Node {
    /// Puts what is cheap to ask before what is dear, and what must hold before what must not: the truth of AND does not
    /// depend on its order, and most rules fail at their first question. `costs` are those of the rule's selections.
    pub(crate) fn arrange(&mut self, costs: &[usize]) {
        match self {
            Self::All(nodes) => {
                nodes.iter_mut().for_each(|node| node.arrange(costs));
                nodes.sort_by_cached_key(|node| (matches!(node, Self::Not(_)), node.cost(costs)));
            }
            Self::Any(nodes) | Self::AtLeast(_, nodes) => {
                nodes.iter_mut().for_each(|node| node.arrange(costs));
            }
            Self::Not(node) => node.arrange(costs),
            Self::Item(_) | Self::Exists { .. } | Self::Selection(_) => {}
        }
    }

    /// About how much work it is to find that it does not hold, in comparisons of short texts.
    pub(crate) fn cost(&self, costs: &[usize]) -> usize {
        match self {
            Self::Item(item) => item.cost(),
            Self::Exists { .. } => 1,
            Self::Selection(position) => costs.get(*position).copied().unwrap_or_default(),
            Self::Not(node) => node.cost(costs),
            // The first that does not hold ends it.
            Self::All(nodes) => nodes.iter().map(|node| node.cost(costs)).min().unwrap_or_default(),
            Self::Any(nodes) | Self::AtLeast(_, nodes) => {
                nodes.iter().map(|node| node.cost(costs)).fold(0, usize::saturating_add)
            }
        }
    }

    pub(crate) fn holds(&self, selections: &[Self], look: &mut Look<'_, '_>) -> bool {
        match self {
            Self::Item(item) => item.holds(look),
            Self::Exists { field, expected } => look.first(*field).is_some() == *expected,
            Self::Selection(position) => {
                selections.get(*position).is_some_and(|node| node.holds(selections, look))
            }
            Self::All(nodes) => nodes.iter().all(|node| node.holds(selections, look)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(selections, look)),
            Self::AtLeast(least, nodes) => {
                nodes.iter().filter(|node| node.holds(selections, look)).take(*least).count() == *least
            }
            Self::Not(node) => !node.holds(selections, look),
        }
    }

    /// `not (a or b)` has two: `not a` and `not b`.
    fn each_conjunct<'p>(
        &'p self,
        negated: bool,
        selections: &'p [Self],
        see: &mut impl FnMut(Conjunct<'p>) -> bool,
    ) -> bool {
        match (self, negated) {
            (Self::All(nodes), false) | (Self::Any(nodes), true) => {
                nodes.iter().all(|node| node.each_conjunct(negated, selections, see))
            }
            (Self::Not(node), _) => node.each_conjunct(!negated, selections, see),
            (Self::Selection(position), _) => {
                selections.get(*position).is_some_and(|node| node.each_conjunct(negated, selections, see))
            }
            _ => see(Conjunct { node: self, negated, selections }),
        }
    }

    /// Whether it holds, as [`holds`](Self::holds) says, and if so what made it. What is known to hold is not asked again where
    /// only its truth would be told: rules have long lists of what they exclude.
    fn collect(
        &self,
        is_known: bool,
        selections: &[Self],
        look: &mut Look<'_, '_>,
        evidence: &mut Evidence<'_>,
    ) -> bool {
        let before = evidence.found.len();
        let mut each = |nodes: &[Self], are_known: bool| {
            nodes.iter().filter(|node| node.collect(are_known, selections, look, evidence)).count()
        };
        let holds = match self {
            Self::All(nodes) => each(nodes, is_known) == nodes.len(),
            Self::Any(nodes) => each(nodes, false) > 0,
            Self::AtLeast(least, nodes) => each(nodes, false) >= *least,
            Self::Selection(position) => selections
                .get(*position)
                .is_some_and(|node| node.collect(is_known, selections, look, evidence)),
            Self::Not(_) if is_known => true,
            Self::Item(item) => item.collect(look, evidence),
            Self::Exists { field, .. } => {
                let holds = self.holds(selections, look);
                if let Some(slot) = look.first(*field).filter(|_| holds) {
                    evidence.add(look, *field, slot);
                }
                holds
            }
            Self::Not(_) => self.holds(selections, look),
        };
        if !holds {
            evidence.found.truncate(before);
        }
        holds
    }
}

impl Item {
    pub(crate) fn new(field: Option<usize>, predicates: Vec<Predicate>, all: bool, negated: bool) -> Self {
        Self { field, predicates, all, negated }
    }

    /// Keywords are looked for in every field.
    fn cost(&self) -> usize {
        let fields = if self.field.is_none() { KEYWORD_FIELDS } else { 1 };
        self.predicates.iter().map(Predicate::cost).fold(0, usize::saturating_add).saturating_mul(fields)
    }

    pub(crate) fn holds(&self, look: &mut Look<'_, '_>) -> bool {
        let Some(field) = self.field else {
            return match self.all {
                true => self.predicates.iter().all(|predicate| look.somewhere(predicate)),
                false => self.predicates.iter().any(|predicate| look.somewhere(predicate)),
            };
        };
        if look.first(field).is_none() {
            // `null` is met by an absent field, too.
            let is_null = |predicate: &Predicate| matches!(predicate, Predicate::Null);
            let met = if self.all {
                self.predicates.iter().all(is_null)
            } else {
                self.predicates.iter().any(is_null)
            };
            return met && !self.negated;
        }
        let holds = |predicate: &Predicate| look.meets(field, predicate).is_some();
        let met =
            if self.all { self.predicates.iter().all(holds) } else { self.predicates.iter().any(holds) };
        met != self.negated
    }

    /// As [`Node::collect`].
    fn collect(&self, look: &mut Look<'_, '_>, evidence: &mut Evidence<'_>) -> bool {
        let is_asked_alone = self.negated || self.field.is_some_and(|field| look.first(field).is_none());
        if is_asked_alone {
            let holds = self.holds(look);
            if let Some((field, slot)) = self.field.and_then(|field| Some((field, look.first(field)?))) {
                evidence.add(look, field, slot);
            }
            return holds;
        }
        // One value is told once, whatever it meets.
        let is_one_enough = !self.all && self.field.is_some_and(|field| look.is_single(field));
        let mut met = 0_usize;
        for predicate in &self.predicates {
            met = met.saturating_add(usize::from(self.collect_one(predicate, look, evidence)));
            if is_one_enough && met > 0 {
                return true;
            }
        }
        if self.all { met == self.predicates.len() } else { met > 0 }
    }

    /// Whether a predicate is met, and by what.
    fn collect_one(
        &self,
        predicate: &Predicate,
        look: &mut Look<'_, '_>,
        evidence: &mut Evidence<'_>,
    ) -> bool {
        let Some(field) = self.field else {
            let is_met = look.somewhere(predicate);
            if is_met {
                evidence.add_text(MESSAGE, &predicate.to_string());
            }
            return is_met;
        };
        let slot = look.meets(field, predicate);
        if let Some(slot) = slot {
            evidence.add(look, field, slot);
        }
        slot.is_some()
    }
}

/// The fields of a match, each value once.
struct Evidence<'f> {
    fields: &'f Fields,
    found: Vec<(String, String)>,
}

impl Evidence<'_> {
    fn add(&mut self, look: &Look<'_, '_>, field: usize, slot: usize) {
        if let (Some(name), Some(value)) = (self.fields.name(field), look.value(slot)) {
            self.add_text(name, &value.to_text());
        }
    }

    fn add_text(&mut self, name: &str, value: &str) {
        let value = text::cut(value, MATCHED_VALUE_BYTES_MAX);
        if !self.found.iter().any(|(known, text)| known == name && text == value) {
            self.found.push((name.to_owned(), value.to_owned()));
        }
    }
}
