//! What automata alone cost: for each field one of Aho and Corasick that finds the texts which rules name for it, with nothing
//! done about what it finds.
//!
//! The crate `aho-corasick` chooses the kind of each. An automaton has the longest piece of each text between wildcards, once and
//! without case, and nothing of regular expressions: an evaluator on top of it would need more. Which automata an event needs is
//! known beforehand. It is what an index of rules is commonly made of, not the least that one could cost: texts that must stand
//! at an edge need no automaton.

use std::collections::{BTreeSet, HashMap};

use aho_corasick::{AhoCorasick, MatchKind};
use anyhow::Result;
use event::Event;
use rsigma_parser::{Detection, LogSource, Modifier, SigmaRule, SigmaString, SigmaValue, StringPart};

/// Automata, and by event which of its texts each is to look at.
#[derive(Default)]
pub(crate) struct Automata {
    all: Vec<AhoCorasick>,
    plan: Vec<Vec<(usize, usize)>>,
}

/// Texts by field; keywords have none.
type Texts = HashMap<Option<String>, BTreeSet<String>>;

impl Automata {
    /// Those for events of log sources.
    pub(crate) fn new(
        rules: &[SigmaRule],
        events: &[Event<'_>],
        source_of: impl Fn(&Event<'_>) -> LogSource,
    ) -> Result<Self> {
        let mut automata = Self::default();
        let mut known = HashMap::<_, HashMap<Option<String>, usize>>::new();
        for event in events {
            let source = source_of(event);
            let key = (source.category.clone(), source.product.clone(), source.service.clone());
            if !known.contains_key(&key) {
                let by_field = automata.add(rules.iter().filter(|rule| fits(&rule.logsource, &source)))?;
                known.insert(key.clone(), by_field);
            }
            automata.plan.extend(known.get(&key).map(|by_field| plan(by_field, event)));
        }
        Ok(automata)
    }

    /// Automata for the texts of some rules, by field.
    fn add<'r>(
        &mut self,
        rules: impl Iterator<Item = &'r SigmaRule>,
    ) -> Result<HashMap<Option<String>, usize>> {
        let mut texts = Texts::new();
        rules.flat_map(|rule| rule.detection.named.values()).for_each(|named| collect(named, &mut texts));
        let mut by_field = HashMap::new();
        for (field, texts) in texts {
            let builder =
                AhoCorasick::builder().ascii_case_insensitive(true).match_kind(MatchKind::Standard).clone();
            by_field.insert(field, self.all.len());
            self.all.push(builder.build(texts)?);
        }
        Ok(by_field)
    }

    /// How many texts of rules the event of a number has.
    pub(crate) fn found(&self, number: usize, event: &Event<'_>) -> usize {
        let look = |(place, automaton): &(usize, usize)| {
            let text = event.fields.get(*place).map_or(Some(&*event.message), |(_, value)| value.as_text());
            let found = text
                .zip(self.all.get(*automaton))
                .map(|(text, automaton)| automaton.find_overlapping_iter(text));
            found.map_or(0, Iterator::count)
        };
        self.plan.get(number).into_iter().flatten().map(look).sum()
    }
}

/// Places of texts, the last behind the fields is the message, and their automata: keywords stand in any text.
fn plan(by_field: &HashMap<Option<String>, usize>, event: &Event<'_>) -> Vec<(usize, usize)> {
    let named = event.fields.iter().map(|(name, _)| by_field.get(&Some(name.to_string())));
    let mut plan: Vec<_> =
        named.enumerate().filter_map(|(place, automaton)| Some((place, *automaton?))).collect();
    let keywords = by_field.get(&None).map(|automaton| (event.fields.len(), *automaton));
    plan.extend(keywords);
    plan
}

fn fits(rule: &LogSource, event: &LogSource) -> bool {
    let fits = |rule: &Option<String>, event: &Option<String>| rule.is_none() || rule == event;
    fits(&rule.category, &event.category)
        && fits(&rule.product, &event.product)
        && fits(&rule.service, &event.service)
}

fn collect(detection: &Detection, texts: &mut Texts) {
    match detection {
        Detection::AllOf(items) => {
            for item in items.iter().filter(|item| !item.field.has_modifier(Modifier::Re)) {
                let pieces = item.values.iter().filter_map(longest_piece);
                texts.entry(item.field.name.clone()).or_default().extend(pieces);
            }
        }
        Detection::AnyOf(parts) | Detection::And(parts) => {
            parts.iter().for_each(|part| collect(part, texts));
        }
        Detection::Keywords(values) => {
            texts.entry(None).or_default().extend(values.iter().filter_map(longest_piece));
        }
        Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {}
    }
}

fn longest_piece(value: &SigmaValue) -> Option<String> {
    let SigmaValue::String(SigmaString { parts, .. }) = value else { return None };
    let pieces = parts.iter().filter_map(|part| match part {
        StringPart::Plain(text) => Some(text),
        StringPart::Special(_) => None,
    });
    pieces.max_by_key(|piece| piece.len()).map(|piece| piece.to_ascii_lowercase())
}
