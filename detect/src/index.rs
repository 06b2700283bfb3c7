//! The fast evaluation: which rules are worth a look, found for all rules at once.
//!
//! An index serves the rules of one set of log sources. Each rule stands in it under its anchors ([`anchor`](crate::anchor)): at
//! least one of them holds in every event that the rule matches. One pass over an event finds all anchors that hold: per
//! field one search for the literals of all rules ([`literals`](crate::literals)), one table of numbers, one list for its
//! presence; keywords are searched in all texts. The rules behind these anchors, and those that have none, are then
//! evaluated as [`scan`](crate::scan) does. No work is done for any other rule.
//!
//! **Why it is right.** The pass may only over-approximate: it may name a rule that does not match, and may never leave one out that
//! does. It names every rule whose anchor holds, and an anchor holds wherever its rule matches. What it names is evaluated
//! in full, in the order of the rules, but for rules that ask nothing more than one anchor (`anchor::suffices`): for these an anchor
//! must not ask too little either. Tests compare the index with the scan over generated rules and over all public ones. What
//! keeps the anchors from asking too much:
//! - Text is searched in folded form, or without case where it is ASCII, which is the same.
//! - A value that is no text is searched by the text that `scan` compares; an event's number is looked up by the comparison
//!   that `scan` makes of numbers, or, beyond 2^53 where doubles are no longer exact, is taken to hold for every rule.
//! - A keyword is searched in the message and in every value that is not a piece of it; in a field of which rules ask
//!   something together with what they ask.
//!
//! Memory: what the literals need. [`INDEXES_MAX`](crate::limits::INDEXES_MAX) bounds the number of indexes. Nothing is
//! allocated per event.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use event::{LogSource, Value};

use crate::anchor::{self, Anchor, Frequency};
use crate::limits::INDEXES_MAX;
use crate::literals::{Literals, Place};
use crate::log_source;
use crate::look::Look;
use crate::predicate::Number;
use crate::scan::Program;
use crate::{Rule, RuleSource};

/// Doubles are exact up to here: a number beyond is not looked up.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Programs of the engine by log source, and the indexes that were built for sets of them.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    /// Each log source that rules give, with its programs.
    groups: Vec<(RuleSource, Vec<usize>)>,
    built: Mutex<HashMap<Box<[usize]>, Arc<Index>>>,
}

/// The rules of one set of log sources.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Positions of the engine's programs, in order.
    pub(crate) programs: Vec<usize>,
    /// Programs of this index that must always be looked at.
    always: Vec<usize>,
    /// Programs of which one anchor is all that they ask.
    sure: ProgramSet,
    /// By field of the engine: its place in `fields`.
    places: Vec<Option<u32>>,
    fields: Vec<FieldIndex>,
    keywords: Texts,
}

/// What rules ask of one field.
#[derive(Debug, Default)]
struct FieldIndex {
    present: Vec<usize>,
    numbers: HashMap<i64, Vec<usize>>,
    texts: Texts,
}

/// Literals of a field, and the programs behind each.
#[derive(Debug, Default)]
struct Texts {
    literals: Literals,
    /// By literal.
    behind: Vec<Vec<usize>>,
}

/// Programs of an index, one bit each.
#[derive(Debug, Default)]
pub(crate) struct ProgramSet(Vec<u64>);

impl Indexes {
    pub(crate) fn new(programs: &[Program], rules: &[Arc<Rule>]) -> Self {
        let mut groups: Vec<(RuleSource, Vec<usize>)> = Vec::new();
        for (position, program) in programs.iter().enumerate() {
            let Some(rule) = rules.get(program.rule) else { continue };
            match groups.iter_mut().find(|(source, _)| *source == rule.log_source) {
                Some((_, members)) => members.push(position),
                None => groups.push((rule.log_source.clone(), vec![position])),
            }
        }
        Self { groups, built: Mutex::default() }
    }

    /// The index for events of a log source, built when it is first asked for.
    pub(crate) fn of(&self, source: &LogSource<'_>, programs: &[Program]) -> Arc<Index> {
        let fitting: Vec<&(RuleSource, Vec<usize>)> =
            self.groups.iter().filter(|(rule, _)| log_source::fits(rule, source)).collect();
        let mut positions: Vec<usize> =
            fitting.into_iter().flat_map(|(_, members)| members).copied().collect();
        positions.sort_unstable();
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = built.get(&*positions) {
            return Arc::clone(index);
        }
        if built.len() >= INDEXES_MAX {
            built.clear();
        }
        let index = Arc::new(Index::new(positions.clone(), programs));
        built.insert(positions.into(), Arc::clone(&index));
        index
    }
}

impl Index {
    fn new(positions: Vec<usize>, programs: &[Program]) -> Self {
        let members = || positions.iter().filter_map(|position| programs.get(*position));
        let frequency = Frequency::of(members());
        let mut parts = Parts::default();
        parts.sure.clear(positions.len());
        for (number, program) in members().enumerate() {
            if anchor::suffices(program) {
                parts.sure.add(number);
            }
            match frequency.anchors(program) {
                Some(anchors) => anchors.into_iter().for_each(|anchor| parts.add(anchor, number)),
                None => parts.always.push(number),
            }
        }
        parts.finish(positions)
    }

    /// Whether a program that is marked matches for sure.
    pub(crate) fn is_sure(&self, program: usize) -> bool {
        self.sure.has(program)
    }

    /// Marks the programs whose anchors hold.
    pub(crate) fn mark(&self, look: &mut Look<'_, '_>, candidates: &mut ProgramSet) {
        candidates.clear(self.programs.len());
        candidates.add_all(&self.always);
        let event = look.event;
        for (slot, (_, value)) in event.fields.iter().enumerate() {
            let field = look.field_of(slot).and_then(|field| self.places.get(field).copied().flatten());
            let field = field.and_then(|place| self.fields.get(usize::try_from(place).ok()?));
            match field {
                Some(field) => field.mark(look, slot, value, candidates),
                None if look.may_say_more(slot) => self.mark_keywords(look, slot, candidates),
                None => {}
            }
        }
        if !event.fields_hold_text {
            self.mark_keywords(look, event.fields.len(), candidates);
        }
    }

    /// In the text at a place: the message, or a field of which rules ask nothing.
    fn mark_keywords(&self, look: &mut Look<'_, '_>, slot: usize, candidates: &mut ProgramSet) {
        if !self.keywords.literals.is_empty() {
            look.show_folded(slot, |text| self.keywords.mark(text, candidates));
        }
    }
}

impl FieldIndex {
    fn mark(&self, look: &mut Look<'_, '_>, slot: usize, value: &Value<'_>, candidates: &mut ProgramSet) {
        candidates.add_all(&self.present);
        if !self.numbers.is_empty() {
            self.mark_number(value, candidates);
        }
        if !self.texts.literals.is_empty() {
            look.show_folded(slot, |text| self.texts.mark(text, candidates));
        }
    }

    fn mark_number(&self, value: &Value<'_>, candidates: &mut ProgramSet) {
        let int = match Number::of(value) {
            Some(Number::Int(int)) => int,
            Some(Number::Float(float)) if float.abs() < EXACT_MAX => match exact(float) {
                Some(int) => int,
                None => return,
            },
            Some(Number::Float(_)) => {
                return self.numbers.values().for_each(|behind| candidates.add_all(behind));
            }
            None => return,
        };
        if let Some(behind) = self.numbers.get(&int) {
            candidates.add_all(behind);
        }
    }
}

/// The integer that a double below [`EXACT_MAX`] is.
fn exact(float: f64) -> Option<i64> {
    #[allow(clippy::as_conversions, reason = "whole and below 2^53: exact")]
    (float.fract() == 0.0).then_some(float as i64)
}

impl Texts {
    fn new(texts: BTreeMap<(Place, String), Vec<usize>>) -> Self {
        let (literals, behind) = texts.into_iter().unzip();
        Self { literals: Literals::new(literals), behind }
    }

    /// The text is folded, or ASCII.
    fn mark(&self, text: &str, candidates: &mut ProgramSet) {
        self.literals.find(text, |literal| {
            candidates.add_all(self.behind.get(literal).map(Vec::as_slice).unwrap_or_default());
        });
    }
}

/// An index under construction.
#[derive(Default)]
struct Parts {
    always: Vec<usize>,
    sure: ProgramSet,
    fields: BTreeMap<usize, FieldParts>,
    keywords: BTreeMap<(Place, String), Vec<usize>>,
}

#[derive(Default)]
struct FieldParts {
    present: Vec<usize>,
    numbers: HashMap<i64, Vec<usize>>,
    texts: BTreeMap<(Place, String), Vec<usize>>,
}

impl Parts {
    fn add(&mut self, anchor: Anchor, program: usize) {
        match anchor {
            Anchor::Present { field } => self.fields.entry(field).or_default().present.push(program),
            Anchor::Number { field, int } => {
                self.fields.entry(field).or_default().numbers.entry(int).or_default().push(program);
            }
            Anchor::Text { field, place, literal } => {
                let texts = &mut self.fields.entry(field).or_default().texts;
                texts.entry((place, literal)).or_default().push(program);
            }
            Anchor::Keyword { literal } => {
                self.keywords.entry((Place::Anywhere, literal)).or_default().push(program);
            }
        }
    }

    fn finish(self, programs: Vec<usize>) -> Index {
        let len = self.fields.last_key_value().map_or(0, |(field, _)| field.saturating_add(1));
        let mut places = vec![None; len];
        for (number, field) in (0_u32..).zip(self.fields.keys()) {
            if let Some(place) = places.get_mut(*field) {
                *place = Some(number);
            }
        }
        let keywords = &self.keywords;
        let fields = self.fields.into_values().map(|mut parts| {
            for (literal, programs) in keywords {
                parts.texts.entry(literal.clone()).or_default().extend(programs);
            }
            FieldIndex { present: parts.present, numbers: parts.numbers, texts: Texts::new(parts.texts) }
        });
        Index {
            programs,
            always: self.always,
            sure: self.sure,
            places,
            fields: fields.collect(),
            keywords: Texts::new(keywords.clone()),
        }
    }
}

impl ProgramSet {
    /// No program of so many.
    fn clear(&mut self, programs: usize) {
        self.0.clear();
        self.0.resize(programs.div_ceil(64), 0);
    }

    fn add(&mut self, program: usize) {
        if let Some(word) = self.0.get_mut(program >> 6) {
            *word |= 1 << (program & 63);
        }
    }

    fn has(&self, program: usize) -> bool {
        self.0.get(program >> 6).is_some_and(|word| word >> (program & 63) & 1 != 0)
    }

    fn add_all(&mut self, programs: &[usize]) {
        programs.iter().for_each(|program| self.add(*program));
    }

    /// Those that are marked, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(number, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left.wrapping_sub(1);
                number.checked_mul(64)?.checked_add(usize::try_from(bit).ok()?)
            })
        })
    }
}
