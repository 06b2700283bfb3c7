//! The fast evaluation: which rules are worth a look, found for all rules at once.
//!
//! An index serves the rules of one set of log sources. Each rule has a gate ([`gate`](crate::gate)): clauses of which each must
//! hold, and blockers of which none may. One pass over an event finds all anchors of all gates that hold: per
//! field one search for the literals of all rules ([`literals`](crate::literals)), one table of numbers, one list of lengths, one mark
//! for its presence; keywords are searched in all texts. What is found marks bits, and a few operations on words of bits say
//! which gates are open. Of the rules behind these, what their gate does not ask in full is then evaluated as
//! [`scan`](crate::scan) does. No work is done for any other rule.
//!
//! **Why it is right.** The pass may only over-approximate: it may name a rule that does not match, and may never leave one out that
//! does. A gate is open wherever its rule matches. Only a blocker, and what is not evaluated any more, must not ask
//! too little either: they are made of literals in folded text, and of presence, which hold exactly where the predicate does. Tests compare the index with the scan over generated rules and over all
//! public ones. What keeps the anchors from asking too much:
//! - Text is searched in folded form, or without case where it is ASCII, which is the same.
//! - A value that is no text is searched by the text that `scan` compares; an event's number is looked up by the comparison
//!   that `scan` makes of numbers, or, beyond 2^53 where doubles are no longer exact, is taken to hold for every rule.
//! - A length is asked of ASCII text alone, whose bytes no form changes in number.
//! - A keyword is searched in the message and in every value that is not a piece of it; in a field of which rules ask
//!   something together with what they ask, unless that takes too much memory.
//!
//! Memory: what the literals need, keywords at most [`KEYWORDS_MERGED_MAX`] times more. [`INDEXES_MAX`] bounds the number of
//! indexes; the one that was used least lately goes first. An index is built once, while others are looked up. Nothing is allocated
//! per event. What was found in a value is remembered ([`memo`](crate::memo)): values repeat.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use event::{LogSource, Value};

use crate::anchor::{Anchor, Frequency};
use crate::engine::NameHash;
use crate::gate::{CLAUSES_MAX, Gate};
use crate::limits::{INDEXES_MAX, KEYWORDS_MERGED_MAX};
use crate::literals::{Literals, Place};
use crate::log_source;
use crate::look::Look;
use crate::memo::{self, Memo};
use crate::predicate::Number;
use crate::scan::{Conjuncts, Program};
use crate::{Rule, RuleSource, serial};

/// Doubles are exact up to here: a number beyond is not looked up.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Programs of the engine by log source, and the indexes that were built for sets of them.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    /// Each log source that rules give, with its programs.
    groups: Vec<(RuleSource, Vec<usize>)>,
    built: Mutex<Built>,
}

/// Indexes by the positions of their programs.
#[derive(Debug, Default)]
struct Built {
    indexes: HashMap<Box<[usize]>, Known>,
    /// How often one was asked for.
    uses: u64,
}

/// An index, and the number of its last use.
#[derive(Debug)]
struct Known {
    index: Shared,
    used: u64,
}

/// An index that is there, or that one of the threads who ask for it builds.
type Shared = Arc<OnceLock<Arc<Index>>>;

/// The rules of one set of log sources.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Positions of the engine's programs, in order.
    programs: Vec<usize>,
    /// By program: what is to be asked when its gate is open.
    left: Vec<Conjuncts>,
    /// The clauses that programs do not have: what is marked for every event.
    open: Vec<u64>,
    /// By field of the engine: its place in `fields`.
    places: Vec<Option<u32>>,
    fields: Vec<FieldIndex>,
    keywords: Texts,
    /// Whether the texts of fields are without the keywords.
    keywords_apart: bool,
}

/// What rules ask of one field.
#[derive(Debug, Default)]
struct FieldIndex {
    present: Mask,
    numbers: HashMap<i64, Mask, NameHash>,
    /// By bytes, ascending.
    lengths: Vec<(usize, Mask)>,
    texts: Texts,
}

/// Literals of a field, and what each marks.
#[derive(Debug, Default)]
struct Texts {
    /// Tells the sets of one process apart.
    set: u64,
    literals: Literals,
    behind: Masks,
}

/// What each of many anchors marks, all in one list.
#[derive(Debug, Default)]
struct Masks {
    /// By anchor: where in `words` its own end.
    ends: Vec<u32>,
    words: Vec<(u32, u64)>,
}

/// What an anchor marks: words of [`Marks`] and the bits in them.
#[derive(Clone, Debug, Default)]
struct Mask(Vec<(usize, u64)>);

/// Clauses that hold, and programs that are blocked: one row of bits for the first clauses of all programs, one for the second
/// and so on, and last one for blockers.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    bits: Vec<u64>,
    memo: Memo,
}

/// Rows of [`Marks`].
const ROWS: usize = CLAUSES_MAX + 1;

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
        let shared = self.built().shared(&positions);
        // Unlocked: it may take a second, and other threads have events of other sources.
        Arc::clone(shared.get_or_init(|| Arc::new(Index::new(positions, programs))))
    }

    fn built(&self) -> MutexGuard<'_, Built> {
        self.built.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Built {
    /// The place of an index, with or without it.
    fn shared(&mut self, positions: &[usize]) -> Shared {
        self.uses = self.uses.saturating_add(1);
        if let Some(known) = self.indexes.get_mut(positions) {
            known.used = self.uses;
            return Arc::clone(&known.index);
        }
        if self.indexes.len() >= INDEXES_MAX {
            let oldest = self.indexes.iter().min_by_key(|(_, known)| known.used);
            let oldest = oldest.map(|(positions, _)| positions.clone());
            oldest.map(|positions| self.indexes.remove(&positions));
        }
        let known = Known { index: Arc::default(), used: self.uses };
        let index = Arc::clone(&known.index);
        self.indexes.insert(positions.into(), known);
        index
    }
}

impl Index {
    fn new(positions: Vec<usize>, programs: &[Program]) -> Self {
        let members = || positions.iter().filter_map(|position| programs.get(*position));
        let frequency = Frequency::of(members());
        let mut parts = Parts::new(positions.len());
        for (number, program) in members().enumerate() {
            parts.add(number, Gate::of(program, &frequency));
        }
        parts.finish(positions)
    }

    /// The programs whose gates are open, in order, and what is still to be asked.
    pub(crate) fn open(&self, marks: &Marks) -> impl Iterator<Item = (usize, Conjuncts)> {
        marks.open().filter_map(|number| Some((*self.programs.get(number)?, *self.left.get(number)?)))
    }

    /// Marks what holds of the event.
    pub(crate) fn mark(&self, look: &mut Look<'_, '_>, marks: &mut Marks) {
        marks.bits.clone_from(&self.open);
        let event = look.event;
        for (slot, (_, value)) in event.fields.iter().enumerate() {
            let field = look.field_of(slot).and_then(|field| self.places.get(field).copied().flatten());
            let field = field.and_then(|place| self.fields.get(usize::try_from(place).ok()?));
            if let Some(field) = field {
                field.mark(look, slot, value, marks);
            }
            if (field.is_none() || self.keywords_apart) && look.may_say_more(slot) {
                self.keywords.mark(look, slot, marks);
            }
        }
        if !event.fields_hold_text {
            self.keywords.mark(look, event.fields.len(), marks);
        }
    }
}

impl FieldIndex {
    fn mark(&self, look: &mut Look<'_, '_>, slot: usize, value: &Value<'_>, marks: &mut Marks) {
        self.present.mark(&mut marks.bits);
        if !self.numbers.is_empty() {
            self.mark_number(value, marks);
        }
        if !self.lengths.is_empty() {
            self.mark_length(value, marks);
        }
        self.texts.mark(look, slot, marks);
    }

    fn mark_number(&self, value: &Value<'_>, marks: &mut Marks) {
        let int = match Number::of(value) {
            Some(Number::Int(int)) => int,
            Some(Number::Float(float)) if float.abs() < EXACT_MAX => match exact(float) {
                Some(int) => int,
                None => return,
            },
            Some(Number::Float(_)) => {
                return self.numbers.values().for_each(|behind| behind.mark(&mut marks.bits));
            }
            None => return,
        };
        if let Some(behind) = self.numbers.get(&int) {
            behind.mark(&mut marks.bits);
        }
    }

    /// What is no ASCII text may have any length.
    fn mark_length(&self, value: &Value<'_>, marks: &mut Marks) {
        let len = value.as_text().filter(|text| text.is_ascii()).map_or(usize::MAX, str::len);
        let reached = self.lengths.iter().take_while(|(bytes, _)| *bytes <= len);
        reached.for_each(|(_, behind)| behind.mark(&mut marks.bits));
    }
}

/// The integer that a double below [`EXACT_MAX`] is.
fn exact(float: f64) -> Option<i64> {
    #[allow(clippy::as_conversions, reason = "whole and below 2^53: exact")]
    (float.fract() == 0.0).then_some(float as i64)
}

impl Texts {
    fn new(texts: BTreeMap<(Place, Arc<str>), Mask>) -> Self {
        let mut behind = Masks::default();
        let mut texts: Vec<_> = texts.into_iter().collect();
        // Short ones are found most: what is known of them is to lie together.
        texts.sort_by_key(|((_, literal), _)| literal.len());
        let literals = texts.into_iter().map(|(literal, mask)| {
            behind.push(&mask);
            literal
        });
        let literals: Vec<_> = literals.collect();
        Self { set: serial::next(), literals: Literals::new(&literals), behind }
    }

    /// In the text at a place: the message, or a field.
    fn mark(&self, look: &mut Look<'_, '_>, slot: usize, marks: &mut Marks) {
        let Marks { bits, memo } = marks;
        let mut mark = |literal: u32| self.behind.mark(literal, bits);
        if self.is_vain(look.value(slot)) {
            return;
        }
        let text = look.text(slot).filter(|text| self.literals.is_search_dear(text));
        match text.map_or(memo::Known::Nothing, |text| memo.of(self.set, text)) {
            memo::Known::Literals(literals) => literals.iter().for_each(|literal| mark(*literal)),
            memo::Known::Wanted(mut recorder) => {
                look.show_folded(slot, |text| {
                    self.literals.find(text, |literal| {
                        recorder.add(literal);
                        mark(literal);
                    });
                });
                recorder.finish();
            }
            memo::Known::Nothing => look.show_folded(slot, |text| self.literals.find(text, mark)),
        }
    }

    /// Whether a value has none of the literals, whatever it is.
    fn is_vain(&self, value: Option<&Value<'_>>) -> bool {
        match value {
            _ if self.literals.is_empty() => true,
            Some(Value::Int(_)) => !self.literals.has_number(),
            Some(Value::Text(text)) => self.literals.is_too_short(text),
            _ => false,
        }
    }
}

/// An index under construction.
#[derive(Default)]
struct Parts {
    /// Words of a row.
    words: usize,
    left: Vec<Conjuncts>,
    open: Vec<u64>,
    fields: BTreeMap<usize, FieldParts>,
    keywords: BTreeMap<(Place, Arc<str>), Mask>,
}

#[derive(Default)]
struct FieldParts {
    present: Mask,
    numbers: HashMap<i64, Mask, NameHash>,
    lengths: BTreeMap<usize, Mask>,
    texts: BTreeMap<(Place, Arc<str>), Mask>,
}

impl Parts {
    fn new(programs: usize) -> Self {
        let words = programs.div_ceil(64);
        Self { words, open: vec![0; words.saturating_mul(ROWS)], ..Self::default() }
    }

    fn add(&mut self, program: usize, gate: Gate) {
        self.left.push(gate.left);
        for row in gate.clauses.len()..CLAUSES_MAX {
            let (word, bit) = self.bit(row, program);
            if let Some(word) = self.open.get_mut(word) {
                *word |= bit;
            }
        }
        let clauses = (0..).zip(gate.clauses).chain([(CLAUSES_MAX, gate.blockers)]);
        for (row, anchors) in clauses {
            let bit = self.bit(row, program);
            anchors.into_iter().for_each(|anchor| self.mask(anchor).add(bit));
        }
    }

    /// The word and the bit in it.
    fn bit(&self, row: usize, program: usize) -> (usize, u64) {
        (row.saturating_mul(self.words).saturating_add(program >> 6), 1 << (program & 63))
    }

    fn mask(&mut self, anchor: Anchor) -> &mut Mask {
        let (fields, keywords) = (&mut self.fields, &mut self.keywords);
        match anchor {
            Anchor::Present { field } => &mut fields.entry(field).or_default().present,
            Anchor::Number { field, int } => fields.entry(field).or_default().numbers.entry(int).or_default(),
            Anchor::Length { field, bytes } => {
                fields.entry(field).or_default().lengths.entry(bytes).or_default()
            }
            Anchor::Text { field, place, literal } => {
                fields.entry(field).or_default().texts.entry((place, literal)).or_default()
            }
            Anchor::Keyword { literal } => keywords.entry((Place::Anywhere, literal)).or_default(),
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
        let keywords_apart = self.keywords.len().saturating_mul(self.fields.len()) > KEYWORDS_MERGED_MAX;
        let (keywords, none) = (self.keywords, BTreeMap::new());
        let merged = if keywords_apart { &none } else { &keywords };
        let fields = self.fields.into_values().map(|parts| parts.finish(merged)).collect();
        let keywords = Texts::new(keywords);
        Index { programs, left: self.left, open: self.open, places, fields, keywords, keywords_apart }
    }
}

impl FieldParts {
    /// With keywords, which are looked for in every field.
    fn finish(mut self, keywords: &BTreeMap<(Place, Arc<str>), Mask>) -> FieldIndex {
        for (literal, mask) in keywords {
            let behind = self.texts.entry(literal.clone()).or_default();
            mask.0.iter().for_each(|bits| behind.add(*bits));
        }
        FieldIndex {
            present: self.present,
            numbers: self.numbers,
            lengths: self.lengths.into_iter().collect(),
            texts: Texts::new(self.texts),
        }
    }
}

impl Masks {
    fn push(&mut self, mask: &Mask) {
        self.words
            .extend(mask.0.iter().map(|(word, bits)| (u32::try_from(*word).unwrap_or(u32::MAX), *bits)));
        self.ends.push(u32::try_from(self.words.len()).unwrap_or(u32::MAX));
    }

    fn mark(&self, anchor: u32, bits: &mut [u64]) {
        for (word, mask) in self.words_of(anchor).unwrap_or_default() {
            if let Some(word) = usize::try_from(*word).ok().and_then(|word| bits.get_mut(word)) {
                *word |= mask;
            }
        }
    }

    fn words_of(&self, anchor: u32) -> Option<&[(u32, u64)]> {
        let anchor = usize::try_from(anchor).ok()?;
        let start = anchor.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.words.get(usize::try_from(start).ok()?..usize::try_from(*self.ends.get(anchor)?).ok()?)
    }
}

impl Mask {
    fn mark(&self, bits: &mut [u64]) {
        for (word, mask) in &self.0 {
            if let Some(word) = bits.get_mut(*word) {
                *word |= mask;
            }
        }
    }

    fn add(&mut self, (word, bits): (usize, u64)) {
        match self.0.iter_mut().find(|(known, _)| *known == word) {
            Some((_, known)) => *known |= bits,
            None => self.0.push((word, bits)),
        }
    }
}

impl Marks {
    /// Programs of the index whose gate is open, in order.
    fn open(&self) -> impl Iterator<Item = usize> {
        let words = self.bits.len() / ROWS;
        (0..words).flat_map(move |number| {
            let row = |row: usize| self.bits.get(row.saturating_mul(words).saturating_add(number)).copied();
            let clauses = (0..CLAUSES_MAX).filter_map(row).fold(u64::MAX, |open, clause| open & clause);
            let mut left = clauses & !row(CLAUSES_MAX).unwrap_or_default();
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left.wrapping_sub(1);
                number.checked_mul(64)?.checked_add(usize::try_from(bit).ok()?)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules on as many fields, and one of as many keywords.
    fn index(keywords: usize, fields: usize) -> Arc<Index> {
        let rule = |name: &str, selection: &str| {
            let text = format!(
                "title: {name}\nlogsource: {{product: p}}\ndetection:\n    s:\n{selection}    condition: s\n"
            );
            (format!("{name}.yml"), text)
        };
        let list: String =
            (0..keywords).map(|number| format!("        - 'bad{number:04}.example'\n")).collect();
        let mut files = vec![rule("keywords", &list)];
        files.extend(
            (0..fields).map(|number| {
                rule(&format!("r{number}"), &format!("        field{number}: 'value{number}'\n"))
            }),
        );
        let (engine, problems) = crate::compile(&files);
        assert!(problems.is_empty(), "{problems:?}");
        let source = LogSource { product: "p", ..LogSource::default() };
        engine.indexes.of(&source, &engine.programs)
    }

    fn literals(index: &Index) -> usize {
        let fields = index.fields.iter().map(|field| field.texts.behind.ends.len());
        fields.sum::<usize>() + index.keywords.behind.ends.len()
    }

    /// 10,000 keywords and 500 rules once took 1.5 GB: the keywords stood in the table of each field.
    #[test]
    fn keywords_times_fields_are_bounded() {
        let (keywords, fields) = (KEYWORDS_MERGED_MAX / 64, 64);
        assert_eq!(literals(&index(keywords, fields)), keywords * fields + fields + keywords);
        assert_eq!(literals(&index(keywords + 1, fields)), fields + keywords + 1);
        assert_eq!(literals(&index(10_000, 500)), 10_500);
    }

    /// All of them once went together, so that one log source too many built all others anew, again and again.
    #[test]
    fn the_index_that_was_used_least_lately_goes_alone() {
        let mut built = Built::default();
        let has = |built: &Built, number: usize| built.indexes.contains_key([number].as_slice());
        (0..INDEXES_MAX).for_each(|number| drop(built.shared(&[number])));
        let first = built.shared(&[0]);
        drop(built.shared(&[INDEXES_MAX]));
        assert_eq!(built.indexes.len(), INDEXES_MAX);
        assert!(has(&built, 0) && !has(&built, 1) && has(&built, 2));
        assert!(Arc::ptr_eq(&built.shared(&[0]), &first), "who asks later waits for who builds");
    }
}
