//! One event under evaluation: its fields by the numbers that rules give them, its texts in the forms that rules compare.
//!
//! All of it lives in a [`Scratch`] that each thread keeps, so that nothing is allocated per event: folded texts are put one
//! behind the other into an arena, and each is made once, when it is first asked for.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use event::{Event, LogSource, Value};

use crate::engine::Engine;
use crate::index::{Index, Marks};
use crate::layout::Layouts;
use crate::limits::ROUTES_MAX;
use crate::predicate::{Predicate, TextOp};
use crate::text::{self, Form};

/// What one thread needs to evaluate events: kept between events so that nothing is allocated again.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The engine it was last used with.
    engine: u64,
    texts: Texts,
    routes: Routes,
    /// What the index marked.
    marks: Marks,
}

/// What is known of one event.
#[derive(Debug, Default)]
struct Texts {
    layouts: Layouts,
    /// By field of the event, and last the message: where in the arena each form of its text is.
    spans: Vec<[Span; Form::COUNT]>,
    /// Folded texts of this event.
    arena: String,
    /// Which event it is: spans of others are not of this one.
    event: u32,
}

/// Indexes by log source. Most events come from where the one before came from.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    last: Option<Route>,
    /// At most [`ROUTES_MAX`], then none.
    others: Vec<Route>,
}

/// Bytes of the arena, from and to: 32 bits, as a batch has no more. What was written for another event is not believed, and
/// nothing needs to be cleared.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    event: u32,
    from: u32,
    to: u32,
}

#[derive(Debug)]
struct Route {
    category: String,
    product: String,
    service: String,
    index: Arc<Index>,
}

impl Scratch {
    /// Takes up an event; gives as well what finds its index, and what the index marks.
    pub(crate) fn look<'l, 'e>(
        &'l mut self,
        engine: &Engine,
        event: &'l Event<'e>,
    ) -> (Look<'l, 'e>, &'l mut Routes, &'l mut Marks) {
        if self.engine != engine.serial {
            *self = Self { engine: engine.serial, ..Self::default() };
            self.texts.layouts = Layouts::new(&engine.fields);
        }
        self.texts.take_up(engine, event);
        let look = Look { event, scratch: &mut self.texts, is_obvious: false };
        (look, &mut self.routes, &mut self.marks)
    }
}

impl Texts {
    /// Forgets the event before.
    fn take_up(&mut self, engine: &Engine, event: &Event<'_>) {
        self.layouts.take_up(&engine.fields, &event.fields);
        self.arena.clear();
        // Zero is no event's number.
        self.event = self.event.wrapping_add(1).max(1);
        if self.event == 1 {
            self.spans.clear();
        }
        let texts = event.fields.len().saturating_add(1);
        if self.spans.len() < texts {
            self.spans.resize_with(texts, Default::default);
        }
    }
}

impl Routes {
    /// The index of the rules that look at events of a log source.
    pub(crate) fn index(&mut self, engine: &Engine, source: &LogSource<'_>) -> &Index {
        let others = &mut self.others;
        if let Some(last) = self.last.take_if(|last| !last.is_of(source)) {
            if others.len() >= ROUTES_MAX {
                others.clear();
            }
            others.push(last);
        }
        let route = self.last.get_or_insert_with(|| {
            let known = others.iter().position(|route| route.is_of(source));
            known.map_or_else(|| Route::new(engine, source), |place| others.swap_remove(place))
        });
        &route.index
    }
}

impl Route {
    fn new(engine: &Engine, source: &LogSource<'_>) -> Self {
        Self {
            category: source.category.to_owned(),
            product: source.product.to_owned(),
            service: source.service.to_owned(),
            index: engine.indexes.of(source, &engine.programs),
        }
    }

    fn is_of(&self, source: &LogSource<'_>) -> bool {
        is_same(&self.service, source.service)
            && is_same(&self.category, source.category)
            && is_same(&self.product, source.product)
    }
}

/// Two empty texts are not given to the C library: an empty string points nowhere, and a masked load from there takes a
/// processor with AVX-512 a hundred times as long as any other. Parts of a log source are mostly empty.
fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

/// One event under evaluation.
pub(crate) struct Look<'l, 'e> {
    pub(crate) event: &'l Event<'e>,
    scratch: &'l mut Texts,
    /// Everything is asked in the obvious way: one value after the other.
    pub(crate) is_obvious: bool,
}

impl<'l, 'e> Look<'l, 'e> {
    /// The engine's number of the field at a place of the event, when rules read it.
    pub(crate) fn field_of(&self, slot: usize) -> Option<usize> {
        self.scratch.layouts.field_of(slot)
    }

    /// Place of a field's first value in the event.
    pub(crate) fn first(&self, field: usize) -> Option<usize> {
        self.scratch.layouts.first(field)
    }

    /// Whether a field has exactly one value.
    pub(crate) fn is_single(&self, field: usize) -> bool {
        self.first(field).is_some_and(|slot| self.next(slot).is_none())
    }

    /// Place of the next value of the same field.
    fn next(&self, slot: usize) -> Option<usize> {
        self.scratch.layouts.next(slot)
    }

    pub(crate) fn value(&self, slot: usize) -> Option<&'l Value<'e>> {
        self.event.fields.get(slot).map(|(_, value)| value)
    }

    /// The place of the first of a field's values for which something holds.
    pub(crate) fn find(
        &mut self,
        field: usize,
        mut holds: impl FnMut(&mut Self, usize) -> bool,
    ) -> Option<usize> {
        let mut slot = self.first(field);
        while let Some(place) = slot {
            if holds(self, place) {
                return slot;
            }
            slot = self.next(place);
        }
        None
    }

    /// The place of the first of a field's values that meets a predicate.
    pub(crate) fn meets(&mut self, field: usize, predicate: &Predicate) -> Option<usize> {
        self.find(field, |look, slot| look.holds(predicate, slot))
    }

    /// The text at a place, as it is: of a field that is text, or behind the fields the message.
    pub(crate) fn text(&self, slot: usize) -> Option<&'l str> {
        match self.value(slot) {
            Some(Value::Text(text)) => Some(text),
            Some(_) => None,
            None => Some(&self.event.message),
        }
    }

    /// Shows the text at a place, folded, or as it is when it is ASCII: for those who do not care for its case.
    pub(crate) fn show_folded(&mut self, slot: usize, show: impl FnOnce(&str)) {
        if let Some(text) = self.text(slot)
            && text.is_ascii()
        {
            return show(text);
        }
        if let Some(span) = self.span(slot, Form::Folded) {
            show(self.scratch.arena.get(span).unwrap_or_default());
        }
    }

    /// Asks something of the text at a place; false when it has none.
    fn ask(&mut self, slot: usize, form: Form, question: impl FnOnce(&str) -> bool) -> bool {
        if form == Form::Exact
            && let Some(text) = self.text(slot)
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
        let Span { event, from, to } = *self.scratch.spans.get(slot)?.get(form.index())?;
        if event == self.scratch.event {
            return Some(usize::try_from(from).ok()?..usize::try_from(to).ok()?);
        }
        let start = self.scratch.arena.len();
        let (value, arena) = (self.value(slot), &mut self.scratch.arena);
        match value {
            None => text::append(arena, &self.event.message, form),
            Some(Value::Null) => return None,
            // As `to_text` has them, without an allocation; every form of digits is the same.
            Some(Value::Int(int)) => write!(arena, "{int}").ok()?,
            Some(Value::Float(float)) if float.is_finite() => write!(arena, "{float}").ok()?,
            Some(value) => text::append(arena, &value.to_text(), form),
        }
        let span = start..self.scratch.arena.len();
        if let Some(known) = self.scratch.spans.get_mut(slot).and_then(|forms| forms.get_mut(form.index())) {
            let (from, to) = (u32::try_from(span.start).ok()?, u32::try_from(span.end).ok()?);
            *known = Span { event: self.scratch.event, from, to };
        }
        Some(span)
    }

    pub(crate) fn holds(&mut self, predicate: &Predicate, slot: usize) -> bool {
        match predicate {
            Predicate::Text { op, form: Form::Folded, needle } if !self.is_obvious => {
                let mut holds = false;
                self.show_folded(slot, |text| holds = op.holds_without_case(text, needle));
                holds
            }
            Predicate::Text { op, form, needle } => self.ask(slot, *form, |text| op.holds(text, needle)),
            Predicate::Contains { form, finder } => {
                self.ask(slot, *form, |text| finder.find(text.as_bytes()).is_some())
            }
            Predicate::Pattern { form, regex } if self.is_obvious => {
                self.ask(slot, *form, |text| regex.is_match(text))
            }
            Predicate::Pattern { form, regex } => self.ask(slot, *form, |text| regex.is_match_fast(text)),
            Predicate::FieldRef { field, op, form } => self.holds_reference(slot, *field, *op, *form),
            Predicate::Null => matches!(self.value(slot), Some(Value::Null)),
            Predicate::Bool(..)
            | Predicate::Network(_)
            | Predicate::Number { .. }
            | Predicate::Time { .. } => self.value(slot).is_some_and(|value| predicate.holds_value(value)),
        }
    }

    /// Texts in ASCII are compared at their edges as they are. One is looked for within another in folded form, which each
    /// has once an event and where the search is linear: both may be as long as a record.
    fn holds_reference(&mut self, slot: usize, field: usize, op: TextOp, form: Form) -> bool {
        let as_it_is = form == Form::Folded && op != TextOp::Contains && !self.is_obvious;
        let found = self.find(field, |look, other| match look.ascii_pair(slot, other) {
            Some((own, other)) if as_it_is => op.holds_without_case(own, other),
            _ => look.holds_formed(slot, other, op, form),
        });
        found.is_some()
    }

    /// The texts at two places, when both are ASCII.
    fn ascii_pair(&self, one: usize, other: usize) -> Option<(&'l str, &'l str)> {
        self.text(one).zip(self.text(other)).filter(|(one, other)| one.is_ascii() && other.is_ascii())
    }

    fn holds_formed(&mut self, slot: usize, other: usize, op: TextOp, form: Form) -> bool {
        let (Some(own), Some(other)) = (self.span(slot, form), self.span(other, form)) else { return false };
        match (self.scratch.arena.get(own), self.scratch.arena.get(other)) {
            (Some(own), Some(other)) => op.holds(own, other),
            _ => false,
        }
    }

    /// Whether a keyword's predicate holds somewhere in the event: in its message or in a field's value. A field that is a
    /// piece of the message needs no look of its own when the predicate asks what is contained.
    pub(crate) fn somewhere(&mut self, predicate: &Predicate) -> bool {
        let contained = matches!(predicate, Predicate::Contains { .. });
        self.texts().any(|slot| (!contained || self.may_say_more(slot)) && self.holds(predicate, slot))
    }

    /// Places of all texts in which keywords are looked for.
    fn texts(&self) -> Range<usize> {
        let message = usize::from(!self.event.fields_hold_text);
        0..self.event.fields.len().saturating_add(message)
    }

    /// Whether a text may contain what the message, asked as well, does not.
    pub(crate) fn may_say_more(&self, slot: usize) -> bool {
        self.event.fields_hold_text || !self.is_piece_of_message(slot)
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
