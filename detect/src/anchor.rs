//! Something that may be true of an event, and that the index finds out for all rules at once: that a field's text holds a
//! literal, that it has so many bytes, that it is a number, that a field is there.
//!
//! Everything is asked of folded text (see [`text`](crate::text)), also for a rule that compares with case: where a text
//! holds a literal, the folded text holds the lowered literal, because folding goes character by character. Of a dash-insensitive
//! comparison the longest piece without a dash is left, of a pattern a literal that no match can lack.

use std::sync::Arc;

use crate::literals::{self, Place};
use crate::pattern_literals::Required;
use crate::predicate::{Compare, Number, Predicate};
use crate::scan::{Node, Program};
use crate::text::{self, Form};

/// What holds in every event, in thousandths.
pub(crate) const EVERY: u64 = 1000;

/// Shortest match of a pattern whose length is worth a question, in bytes: most texts are longer than less.
const LENGTH_MIN: usize = 40;

/// Bytes of the pieces that are counted.
const GRAM: usize = 4;
/// Places in which they are counted, as a power of two.
const FREQUENCY_BITS: u32 = 16;

/// Something that may be true of an event.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Anchor {
    /// The field has a value.
    Present { field: usize },
    /// The field's number is this.
    Number { field: usize, int: i64 },
    /// The field's text has at least so many bytes, or is not ASCII.
    Length { field: usize, bytes: usize },
    /// The field's folded text has the literal.
    Text { field: usize, place: Place, literal: Arc<str> },
    /// The folded message, or that of any field, has the literal.
    Keyword { literal: Arc<str> },
}

impl Anchor {
    /// The anchor that holds where the predicate holds, and nowhere else.
    pub(crate) fn same(field: Option<usize>, predicate: &Predicate) -> Option<Self> {
        let (place, literal) = predicate.folded_literal()?;
        let literal = literal.into();
        match field {
            Some(field) => Some(Self::Text { field, place, literal }),
            None => (place == Place::Anywhere).then_some(Self::Keyword { literal }),
        }
    }

    /// Sets of anchors: one of each holds wherever the predicate holds. None where nothing can be said.
    pub(crate) fn needed(field: Option<usize>, predicate: &Predicate) -> Vec<Vec<Self>> {
        let mut needed = Vec::new();
        match predicate {
            Predicate::Null => return needed,
            Predicate::Text { op, form, needle } => {
                needed.extend(literals(field, *form, Place::of(*op), std::slice::from_ref(needle)));
            }
            Predicate::Contains { form, finder } => {
                let needle = String::from_utf8_lossy(finder.needle()).into_owned();
                needed.extend(literals(field, *form, Place::Anywhere, &[needle]));
            }
            Predicate::Pattern { form, regex } => {
                let required = Required::of(regex.as_str());
                let sets = required.sets.iter();
                needed.extend(sets.filter_map(|set| literals(field, *form, Place::Anywhere, set)));
                let bytes = required.bytes_min;
                needed.extend(
                    field.filter(|_| bytes >= LENGTH_MIN).map(|field| vec![Self::Length { field, bytes }]),
                );
            }
            Predicate::Number { compare: Compare::Equal, number: Number::Int(int) } => {
                needed.extend(field.map(|field| vec![Self::Number { field, int: *int }]));
            }
            Predicate::Network(_)
            | Predicate::Number { .. }
            | Predicate::Time { .. }
            | Predicate::Bool(_)
            | Predicate::FieldRef { .. } => {}
        }
        if needed.is_empty() {
            needed.extend(field.map(|field| vec![Self::Present { field }]));
        }
        needed
    }

    /// The field that must be there for it to hold; none for a keyword.
    pub(crate) fn field(&self) -> Option<usize> {
        match self {
            Self::Present { field }
            | Self::Number { field, .. }
            | Self::Length { field, .. }
            | Self::Text { field, .. } => Some(*field),
            Self::Keyword { .. } => None,
        }
    }

    /// About how often it holds, in thousandths of events: longer literals are rarer.
    fn share(&self) -> u64 {
        let of_literal = |literal: &str| match literal.len() {
            0 | 1 => 500,
            2 => 300,
            3 => 150,
            4 => 80,
            5 => 50,
            6 | 7 => 30,
            8..=11 => 15,
            _ => 8,
        };
        match self {
            Self::Present { .. } => EVERY,
            Self::Number { .. } => 60,
            Self::Length { .. } => 400,
            Self::Text { literal, .. } => of_literal(literal),
            // Asked of every text of the event.
            Self::Keyword { literal } => of_literal(literal).saturating_mul(2),
        }
    }
}

/// One of these must stand there; `None` when one of them is too short to be looked for, or there is none.
fn literals(field: Option<usize>, form: Form, place: Place, texts: &[String]) -> Option<Vec<Anchor>> {
    let anchors = texts.iter().map(|literal| {
        let (place, literal) = folded(literal, form, place);
        let is_sought = literals::is_sought(&literal);
        let literal = literal.into();
        is_sought.then_some(match field {
            Some(field) => Anchor::Text { field, place, literal },
            None => Anchor::Keyword { literal },
        })
    });
    anchors.collect::<Option<Vec<_>>>().filter(|anchors| !anchors.is_empty())
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

/// How often the rules of one index ask for a piece of text, in selections and in what they exclude: what many rules name
/// (`\system32\`) is common in events. Pieces of one hash are counted together.
#[derive(Debug)]
pub(crate) struct Frequency(Vec<u32>);

impl Default for Frequency {
    fn default() -> Self {
        Self(vec![0; 1 << FREQUENCY_BITS])
    }
}

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
                for (_, literal) in item.predicates.iter().filter_map(Predicate::folded_literal) {
                    for count in grams(literal) {
                        if let Some(count) = self.0.get_mut(count) {
                            *count = count.saturating_add(1);
                        }
                    }
                }
            }
            Node::All(nodes) | Node::Any(nodes) | Node::AtLeast(_, nodes) => {
                nodes.iter().for_each(|node| self.count(node));
            }
            Node::Not(node) => self.count(node),
            Node::Exists { .. } | Node::Selection(_) => {}
        }
    }

    /// About how often one of a set holds, in thousandths of events. A wrong guess costs time, never a match.
    pub(crate) fn share(&self, anchors: &[Anchor]) -> u64 {
        let of_one = |anchor: &Anchor| match anchor {
            Anchor::Text { literal, .. } | Anchor::Keyword { literal } => {
                anchor.share().saturating_mul(self.named(literal).saturating_add(4)) / 4
            }
            _ => anchor.share(),
        };
        anchors.iter().map(of_one).fold(0, u64::saturating_add).min(EVERY)
    }

    /// How many literals of rules have the rarest gram of this one.
    fn named(&self, literal: &str) -> u64 {
        let count = |place| self.0.get(place).copied().unwrap_or_default();
        grams(literal).map(count).min().map_or(0, u64::from)
    }
}

/// Where all pieces of [`GRAM`] bytes of a literal are counted; one that is shorter is one.
fn grams(literal: &str) -> impl Iterator<Item = usize> {
    let bytes = literal.as_bytes();
    let short =
        (bytes.len() < GRAM).then(|| std::array::from_fn(|at| bytes.get(at).copied().unwrap_or_default()));
    bytes.array_windows().copied().chain(short).map(place_of)
}

fn place_of(gram: [u8; GRAM]) -> usize {
    let spread = literals::spread(u32::from_le_bytes(gram)) >> (u32::BITS - FREQUENCY_BITS);
    usize::try_from(spread).unwrap_or_default()
}
