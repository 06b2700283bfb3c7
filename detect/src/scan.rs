//! The obvious evaluator: every rule whose log source fits is looked at, selection by selection, value by value.
//!
//! It stays for ever as the oracle of a fast one. What it does save is repetition: rules are routed by log source once, a
//! field's name is looked up once an event, a value is folded once an event, and values of rules are prepared when they are
//! compiled. It allocates only for what matches.
//!
//! Truth of a predicate: a field that stands several times makes it true with any of its values; with `|all`, each of the
//! rule's values must be met by one of them. A field that is absent meets `null` and nothing else.

use std::ops::Range;
use std::sync::Arc;

use event::{Event, LogSource, Value};

use crate::engine::{Engine, Fields};
use crate::limits::{MATCHED_VALUE_BYTES_MAX, ROUTES_MAX};
use crate::predicate::{Predicate, TextOp};
use crate::text::{self, Form};
use crate::{Rule, log_source};

/// Name under which a match reports keywords: they are found in the whole event.
const MESSAGE: &str = "message";

/// How many texts an event has, about: what a keyword costs.
const KEYWORD_FIELDS: usize = 10;

/// A rule that matched an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    pub rule: Arc<Rule>,
    /// What made it match: native fields and their values, at most [`MATCHED_VALUE_BYTES_MAX`] bytes of each. A keyword is
    /// reported as `message` with the keyword. What a rule excludes (`not filter`) is not reported, nor a field that had to
    /// be absent.
    pub fields: Vec<(String, String)>,
}

/// The logic of one rule.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) rule: usize,
    pub(crate) selections: Vec<Node>,
    pub(crate) condition: Node,
    /// What filters add: each must hold as well.
    pub(crate) filters: Vec<(Vec<Node>, Node)>,
}

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

/// What one thread needs to evaluate events: kept between events so that nothing is allocated again.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The engine it was last used with.
    engine: u64,
    /// By field of the engine: the first of the event's fields of that name.
    first: Vec<Option<usize>>,
    /// By field of the event: the next one of the same name.
    next: Vec<Option<usize>>,
    /// Fields of the engine that `first` holds for this event.
    present: Vec<usize>,
    /// By field of the event, and last the message: where in the arena each form of its text is.
    spans: Vec<[Option<Range<usize>>; Form::COUNT]>,
    /// Folded texts of this event.
    arena: String,
    /// Rules by log source.
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    category: String,
    product: String,
    service: String,
    programs: Arc<[usize]>,
}

impl Engine {
    /// All rules that match the event, in the order in which they were loaded.
    pub fn evaluate(&self, event: &Event<'_>, scratch: &mut Scratch) -> Vec<Match> {
        scratch.begin(self, event);
        let route = scratch.route(self, &event.log_source);
        let mut look = Look { event, scratch };
        let mut matches = Vec::new();
        for program in route.iter().filter_map(|position| self.programs.get(*position)) {
            if program.holds(&mut look)
                && let Some(rule) = self.rules.get(program.rule)
            {
                let fields = program.evidence(&mut look, &self.fields);
                matches.push(Match { rule: Arc::clone(rule), fields });
            }
        }
        matches
    }
}

impl Scratch {
    fn begin(&mut self, engine: &Engine, event: &Event<'_>) {
        if self.engine != engine.serial {
            *self = Self { engine: engine.serial, first: vec![None; engine.fields.len()], ..Self::default() };
        }
        for field in self.present.drain(..) {
            if let Some(first) = self.first.get_mut(field) {
                *first = None;
            }
        }
        self.arena.clear();
        self.spans.clear();
        self.spans.resize_with(event.fields.len().saturating_add(1), Default::default);
        self.next.clear();
        self.next.resize(event.fields.len(), None);
        // From the last to the first, so that the chain of a name runs in the event's order.
        for (slot, (name, _)) in event.fields.iter().enumerate().rev() {
            self.chain(engine, slot, name);
        }
    }

    fn chain(&mut self, engine: &Engine, slot: usize, name: &str) {
        let Some(field) = engine.fields.id(name) else { return };
        if let (Some(first), Some(next)) = (self.first.get_mut(field), self.next.get_mut(slot)) {
            *next = first.replace(slot);
            self.present.push(field);
        }
    }

    fn route(&mut self, engine: &Engine, source: &LogSource<'_>) -> Arc<[usize]> {
        let known = self.routes.iter().find(|route| {
            route.service == source.service
                && route.product == source.product
                && route.category == source.category
        });
        if let Some(route) = known {
            return Arc::clone(&route.programs);
        }
        let fits = |rule: usize| {
            engine.rules.get(rule).is_some_and(|rule| log_source::fits(&rule.log_source, source))
        };
        let programs: Arc<[usize]> = engine
            .programs
            .iter()
            .enumerate()
            .filter(|(_, program)| fits(program.rule))
            .map(|(position, _)| position)
            .collect();
        if self.routes.len() >= ROUTES_MAX {
            self.routes.clear();
        }
        self.routes.push(Route {
            category: source.category.to_owned(),
            product: source.product.to_owned(),
            service: source.service.to_owned(),
            programs: Arc::clone(&programs),
        });
        programs
    }
}

/// One event under evaluation.
pub(crate) struct Look<'l, 'e> {
    event: &'l Event<'e>,
    scratch: &'l mut Scratch,
}

impl<'l, 'e> Look<'l, 'e> {
    /// Place of a field's first value in the event.
    fn first(&self, field: usize) -> Option<usize> {
        self.scratch.first.get(field).copied().flatten()
    }

    /// Place of the next value of the same field.
    fn next(&self, slot: usize) -> Option<usize> {
        self.scratch.next.get(slot).copied().flatten()
    }

    fn value(&self, slot: usize) -> Option<&'l Value<'e>> {
        self.event.fields.get(slot).map(|(_, value)| value)
    }

    /// The place of the first of a field's values for which something holds.
    fn find(&mut self, field: usize, mut holds: impl FnMut(&mut Self, usize) -> bool) -> Option<usize> {
        let mut slot = self.first(field);
        while let Some(place) = slot {
            if holds(self, place) {
                return slot;
            }
            slot = self.next(place);
        }
        None
    }

    /// Asks something of the text at a place; false when it has none. The place behind the fields is the message.
    fn ask(&mut self, slot: usize, form: Form, question: impl FnOnce(&str) -> bool) -> bool {
        let text = match self.value(slot) {
            Some(Value::Text(text)) => Some(text.as_ref()),
            Some(_) => None,
            None => Some(self.event.message.as_ref()),
        };
        if form == Form::Exact
            && let Some(text) = text
            && text::is_nfc(text)
        {
            return question(text);
        }
        match self.span(slot, form) {
            Some(span) => question(self.scratch.arena.get(span).unwrap_or_default()),
            None => false,
        }
    }

    /// Where the arena has the text at a place in a form; `None` when there is no text.
    fn span(&mut self, slot: usize, form: Form) -> Option<Range<usize>> {
        let known = self.scratch.spans.get(slot)?.get(form.index())?;
        if known.is_some() {
            return known.clone();
        }
        let start = self.scratch.arena.len();
        match self.value(slot) {
            None => text::append(&mut self.scratch.arena, &self.event.message, form),
            Some(Value::Null) => return None,
            Some(value) => text::append(&mut self.scratch.arena, &value.to_text(), form),
        }
        let span = start..self.scratch.arena.len();
        if let Some(known) = self.scratch.spans.get_mut(slot).and_then(|forms| forms.get_mut(form.index())) {
            *known = Some(span.clone());
        }
        Some(span)
    }

    fn holds(&mut self, predicate: &Predicate, slot: usize) -> bool {
        match predicate {
            Predicate::Text { op, form, needle } => self.ask(slot, *form, |text| op.holds(text, needle)),
            Predicate::Contains { form, finder } => {
                self.ask(slot, *form, |text| finder.find(text.as_bytes()).is_some())
            }
            Predicate::Pattern { form, regex } => self.ask(slot, *form, |text| regex.is_match(text)),
            Predicate::FieldRef { field, op, form } => self.holds_reference(slot, *field, *op, *form),
            Predicate::Null => matches!(self.value(slot), Some(Value::Null)),
            Predicate::Bool(..)
            | Predicate::Network(_)
            | Predicate::Number { .. }
            | Predicate::Time { .. } => self.value(slot).is_some_and(|value| predicate.holds_value(value)),
        }
    }

    fn holds_reference(&mut self, slot: usize, field: usize, op: TextOp, form: Form) -> bool {
        let Some(own) = self.span(slot, form) else { return false };
        let found = self.find(field, |look, other| {
            let Some(other) = look.span(other, form) else { return false };
            let arena = &look.scratch.arena;
            match (arena.get(own.clone()), arena.get(other)) {
                (Some(own), Some(other)) => op.holds(own, other),
                _ => false,
            }
        });
        found.is_some()
    }

    /// Whether a keyword's predicate holds somewhere in the event: in its message or in a field's value. A field that is a
    /// piece of the message needs no look of its own when the predicate asks what is contained.
    fn somewhere(&mut self, predicate: &Predicate) -> bool {
        let message = self.event.fields.len();
        let contained = matches!(predicate, Predicate::Contains { .. });
        self.holds(predicate, message)
            || (0..message)
                .any(|slot| !(contained && self.is_piece_of_message(slot)) && self.holds(predicate, slot))
    }

    fn is_piece_of_message(&self, slot: usize) -> bool {
        let message = self.event.message.as_bytes().as_ptr_range();
        match self.value(slot) {
            Some(Value::Text(text)) => {
                let text = text.as_bytes().as_ptr_range();
                message.start <= text.start && text.end <= message.end
            }
            _ => false,
        }
    }
}

impl Program {
    fn holds(&self, look: &mut Look<'_, '_>) -> bool {
        self.condition.holds(&self.selections, look)
            && self.filters.iter().all(|(selections, condition)| condition.holds(selections, look))
    }

    /// The fields that made the rule match. Filters only exclude.
    fn evidence(&self, look: &mut Look<'_, '_>, fields: &Fields) -> Vec<(String, String)> {
        let mut evidence = Evidence { fields, found: Vec::new() };
        self.condition.collect(&self.selections, look, &mut evidence);
        evidence.found
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

    fn holds(&self, selections: &[Self], look: &mut Look<'_, '_>) -> bool {
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

    fn collect(&self, selections: &[Self], look: &mut Look<'_, '_>, evidence: &mut Evidence<'_>) {
        match self {
            Self::Item(item) => item.collect(look, evidence),
            Self::Exists { field, .. } => {
                if let Some(slot) = look.first(*field) {
                    evidence.add(look, *field, slot);
                }
            }
            Self::Selection(position) => {
                if let Some(node) = selections.get(*position) {
                    node.collect(selections, look, evidence);
                }
            }
            Self::All(nodes) | Self::Any(nodes) | Self::AtLeast(_, nodes) => {
                for node in nodes {
                    if node.holds(selections, look) {
                        node.collect(selections, look, evidence);
                    }
                }
            }
            Self::Not(_) => {}
        }
    }
}

impl Item {
    /// Keywords are looked for in every field.
    fn cost(&self) -> usize {
        let fields = if self.field.is_none() { KEYWORD_FIELDS } else { 1 };
        self.predicates.iter().map(Predicate::cost).fold(0, usize::saturating_add).saturating_mul(fields)
    }

    fn holds(&self, look: &mut Look<'_, '_>) -> bool {
        let Some(field) = self.field else {
            return match self.all {
                true => self.predicates.iter().all(|predicate| look.somewhere(predicate)),
                false => self.predicates.iter().any(|predicate| look.somewhere(predicate)),
            };
        };
        if look.first(field).is_none() {
            // `null` is met by an absent field, too.
            return !self.negated
                && self.predicates.iter().any(|predicate| matches!(predicate, Predicate::Null));
        }
        let holds =
            |predicate: &Predicate| look.find(field, |look, slot| look.holds(predicate, slot)).is_some();
        match (self.all, self.negated) {
            (true, negated) => self.predicates.iter().all(holds) != negated,
            (false, negated) => self.predicates.iter().any(holds) != negated,
        }
    }

    fn collect(&self, look: &mut Look<'_, '_>, evidence: &mut Evidence<'_>) {
        for predicate in &self.predicates {
            match self.field {
                Some(field) if self.negated => {
                    if let Some(slot) = look.first(field) {
                        evidence.add(look, field, slot);
                    }
                }
                Some(field) => {
                    if let Some(slot) = look.find(field, |look, slot| look.holds(predicate, slot)) {
                        evidence.add(look, field, slot);
                    }
                }
                None if look.somewhere(predicate) => evidence.add_text(MESSAGE, &predicate.to_string()),
                None => {}
            }
        }
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
