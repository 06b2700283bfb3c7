//! What must be true of an event before a rule can match it.
//!
//! The anchors of a rule are a small set of which at least one holds in every event that the rule matches: of `a and b` those of
//! the rarer side, of `a or b` those of both. They ask less than the rule does, never more, and only what the index answers
//! for all rules at once: that a field's text holds a literal, that it is a number, that a field is there.
//!
//! Everything is asked of folded text (see [`text`](crate::text)), also for a rule that compares with case: where a text
//! holds a literal, the folded text holds the lowered literal, because folding goes character by character. Of a dash-insensitive
//! comparison the longest piece without a dash is left, of a pattern a literal that no match can lack.
//!
//! Limits: a rule of which nothing can be said (`not x` alone, a field that must be absent) has no anchors and is always looked at.

use std::collections::{HashMap, HashSet};

use crate::engine::NameHash;
use crate::literals::{LITERAL_BYTES_MIN, Place};
use crate::pattern_literals;
use crate::predicate::{Compare, Number, Predicate};
use crate::scan::{Item, Node, Program};
use crate::text::{self, Form};

/// Something that may be true of an event.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Anchor {
    /// The field has a value.
    Present { field: usize },
    /// The field's number is this.
    Number { field: usize, int: i64 },
    /// The field's folded text has the literal.
    Text { field: usize, place: Place, literal: String },
    /// The folded message, or that of any field, has the literal.
    Keyword { literal: String },
}

/// How often the rules of one index ask for a literal of a field, in selections and in what they exclude: what many rules
/// name is common in events.
#[derive(Debug, Default)]
pub(crate) struct Frequency(HashMap<Anchor, u32, NameHash>);

impl Frequency {
    pub(crate) fn of<'p>(programs: impl Iterator<Item = &'p Program>) -> Self {
        let mut frequency = Self::default();
        for program in programs {
            let logics = std::iter::once(&program.logic).chain(&program.filters);
            logics.flat_map(|logic| &logic.selections).for_each(|node| frequency.count(node));
        }
        frequency
    }

    fn count(&mut self, node: &Node) {
        match node {
            Node::Item(item) => {
                for anchor in
                    item.predicates.iter().flat_map(|predicate| of_predicate(item.field, predicate)).flatten()
                {
                    let count = self.0.entry(anchor).or_default();
                    *count = count.saturating_add(1);
                }
            }
            Node::All(nodes) | Node::Any(nodes) | Node::AtLeast(_, nodes) => {
                nodes.iter().for_each(|node| self.count(node));
            }
            Node::Not(node) => self.count(node),
            Node::Exists { .. } | Node::Selection(_) => {}
        }
    }

    /// The anchors of a rule; `None`: it must always be looked at.
    pub(crate) fn anchors(&self, program: &Program) -> Option<Vec<Anchor>> {
        let logics = std::iter::once(&program.logic).chain(&program.filters);
        self.rarest(logics.map(|logic| self.of_node(&logic.condition, &logic.selections)))
    }

    fn of_node(&self, node: &Node, selections: &[Node]) -> Option<Vec<Anchor>> {
        match node {
            Node::Item(item) => self.of_item(item),
            Node::Exists { field, expected: true } => Some(vec![Anchor::Present { field: *field }]),
            Node::Exists { expected: false, .. } | Node::Not(_) => None,
            Node::Selection(position) => self.of_node(selections.get(*position)?, selections),
            Node::All(nodes) => self.rarest(nodes.iter().map(|node| self.of_node(node, selections))),
            Node::Any(nodes) => all(nodes.iter().map(|node| self.of_node(node, selections))),
            Node::AtLeast(least, nodes) => self.of_some(*least, nodes, selections),
        }
    }

    /// Of `least` that hold among the nodes, one is among any that leave out fewer than `least`.
    fn of_some(&self, least: usize, nodes: &[Node], selections: &[Node]) -> Option<Vec<Anchor>> {
        let mut sets: Vec<Vec<Anchor>> =
            nodes.iter().filter_map(|node| self.of_node(node, selections)).collect();
        sets.sort_by_cached_key(|set| self.weight(set));
        let needed = nodes.len().checked_sub(least)?.checked_add(1)?;
        (sets.len() >= needed).then(|| sets.into_iter().take(needed).flatten().collect())
    }

    fn of_item(&self, item: &Item) -> Option<Vec<Anchor>> {
        match item.field {
            Some(field) if item.negated => Some(vec![Anchor::Present { field }]),
            field if item.all => {
                self.rarest(item.predicates.iter().map(|predicate| of_predicate(field, predicate)))
            }
            field => all(item.predicates.iter().map(|predicate| of_predicate(field, predicate))),
        }
    }

    fn rarest(&self, sets: impl Iterator<Item = Option<Vec<Anchor>>>) -> Option<Vec<Anchor>> {
        sets.flatten().min_by_key(|set| self.weight(set))
    }

    /// About how often one of a set holds, in a thousandth of events: longer literals are rarer, and what many rules name is
    /// common. A wrong guess costs time, never a match.
    fn weight(&self, anchors: &[Anchor]) -> u64 {
        let of_one = |anchor: &Anchor| {
            let named = self.0.get(anchor).copied().unwrap_or_default();
            anchor.weight().saturating_mul(u64::from(named).saturating_add(4))
        };
        anchors.iter().map(of_one).fold(0, u64::saturating_add)
    }
}

impl Anchor {
    fn weight(&self) -> u64 {
        let of_literal = |literal: &str| match literal.len() {
            0 | 1 => 900,
            2 => 500,
            3 => 200,
            4 => 100,
            5 => 60,
            6 | 7 => 30,
            8..=11 => 15,
            _ => 8,
        };
        match self {
            Self::Present { .. } => 1000,
            Self::Number { .. } => 60,
            Self::Text { literal, .. } => of_literal(literal),
            // Asked of every text of the event.
            Self::Keyword { literal } => of_literal(literal).saturating_mul(2),
        }
    }
}

/// Whether one anchor is all that a rule asks: then it needs no further look.
pub(crate) fn suffices(program: &Program) -> bool {
    program.filters.is_empty() && node_suffices(&program.logic.condition, &program.logic.selections)
}

fn node_suffices(node: &Node, selections: &[Node]) -> bool {
    match node {
        Node::Item(item) => item_suffices(item),
        Node::Selection(position) => {
            selections.get(*position).is_some_and(|node| node_suffices(node, selections))
        }
        Node::Any(nodes) => nodes.iter().all(|node| node_suffices(node, selections)),
        Node::All(nodes) => nodes.len() == 1 && nodes.iter().all(|node| node_suffices(node, selections)),
        Node::Exists { .. } | Node::AtLeast(..) | Node::Not(_) => false,
    }
}

fn item_suffices(item: &Item) -> bool {
    let is_asked = |predicate: &Predicate| {
        let place = predicate.folded_literal().map(|(place, _)| place);
        place.is_some_and(|place| item.field.is_some() || place == Place::Anywhere)
    };
    !item.negated && (!item.all || item.predicates.len() == 1) && item.predicates.iter().all(is_asked)
}

/// All of the sets together, each anchor once; `None` when nothing can be said of one.
fn all(sets: impl Iterator<Item = Option<Vec<Anchor>>>) -> Option<Vec<Anchor>> {
    let mut known = HashSet::new();
    let anchors = sets.collect::<Option<Vec<_>>>()?.concat();
    Some(anchors.into_iter().filter(|anchor| known.insert(anchor.clone())).collect())
}

/// What must be true where a predicate is.
fn of_predicate(field: Option<usize>, predicate: &Predicate) -> Option<Vec<Anchor>> {
    let (form, place, literals) = match predicate {
        Predicate::Null => return None,
        Predicate::Text { op, form, needle } => (*form, Place::of(*op), vec![needle.clone()]),
        Predicate::Contains { form, finder } => {
            (*form, Place::Anywhere, vec![String::from_utf8_lossy(finder.needle()).into_owned()])
        }
        Predicate::Pattern { form, regex } => {
            (*form, Place::Anywhere, pattern_literals::required(regex.as_str()).unwrap_or_default())
        }
        Predicate::Number { compare: Compare::Equal, number: Number::Int(int) } => {
            return field.map(|field| vec![Anchor::Number { field, int: *int }]);
        }
        Predicate::Network(_)
        | Predicate::Number { .. }
        | Predicate::Time { .. }
        | Predicate::Bool(_)
        | Predicate::FieldRef { .. } => return field.map(|field| vec![Anchor::Present { field }]),
    };
    let literals: Vec<(Place, String)> =
        literals.iter().map(|literal| folded(literal, form, place)).collect();
    let long = literals.iter().all(|(_, literal)| literal.len() >= LITERAL_BYTES_MIN);
    match field {
        _ if !long || literals.is_empty() => field.map(|field| vec![Anchor::Present { field }]),
        None => Some(literals.into_iter().map(|(_, literal)| Anchor::Keyword { literal }).collect()),
        Some(field) => Some(
            literals.into_iter().map(|(place, literal)| Anchor::Text { field, place, literal }).collect(),
        ),
    }
}

/// A literal of a form as it stands in folded text: of one whose dashes may be others, the longest piece without.
fn folded(literal: &str, form: Form, place: Place) -> (Place, String) {
    let folded = match form {
        Form::Exact | Form::ExactDashed => text::lowered(literal),
        Form::Folded | Form::FoldedDashed => literal.to_owned(),
    };
    match form {
        Form::Exact | Form::Folded => (place, folded),
        Form::ExactDashed | Form::FoldedDashed => {
            let piece = folded.split('-').max_by_key(|piece| piece.len()).unwrap_or_default();
            (Place::Anywhere, piece.to_owned())
        }
    }
}
