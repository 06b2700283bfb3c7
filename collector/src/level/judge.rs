//! The judgement of one system by one decree.
//!
//! All rules are looked at; the highest level of those that hold, of the parts, and of the cases that a person must decide is
//! the level. What is not decided is told beside it, and then the level is the least that it can be.

use std::collections::{BTreeMap, BTreeSet};

use crate::level::Decree;
use crate::level::citation::Citation;
use crate::level::input::{Facts, Input, Value};
use crate::level::provision::{Provision, Review, Rule, RuleLevel};

/// A system that is part of another, as it was judged by the same decree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) level: u8,
    pub(crate) needs_review: bool,
}

/// What a decree says about a system.
#[derive(Clone, Debug)]
pub(crate) struct Judgement<'d> {
    pub(crate) decree: &'d Decree,
    /// 0 when nothing says one.
    pub(crate) level: u8,
    /// The rules that hold, the highest level first.
    pub(crate) held: Vec<Held<'d>>,
    pub(crate) parts: Vec<Part>,
    /// Cases that a person must decide.
    pub(crate) reviews: Vec<&'d Review>,
    /// Facts that nobody stated and that could raise the level.
    pub(crate) missing: Vec<Missing<'d>>,
    /// Facts that nobody stated and that were taken as what the decree takes them for.
    pub(crate) assumed: Vec<&'d Input>,
}

/// A rule that holds, and the level that it gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held<'d> {
    pub(crate) rule: &'d Rule,
    pub(crate) level: u8,
}

/// A fact that is missing, and how high it could raise the level.
#[derive(Clone, Debug)]
pub(crate) struct Missing<'d> {
    pub(crate) input: &'d Input,
    pub(crate) up_to: u8,
    pub(crate) rules: Vec<&'d str>,
}

impl Decree {
    /// Judges a system. Without facts of its own it is what its parts are.
    pub(crate) fn judge(&self, facts: Option<&Facts>, parts: Vec<Part>) -> Judgement<'_> {
        let mut judgement = Judgement {
            decree: self,
            level: parts.iter().map(|part| part.level).max().unwrap_or_default(),
            held: Vec::new(),
            parts,
            reviews: Vec::new(),
            missing: Vec::new(),
            assumed: Vec::new(),
        };
        // An empty list of facts leaves all unknown; none leave it to the parts.
        if let Some(facts) = facts {
            judgement.hold(facts);
            judgement.miss(facts);
            let assumed = self.inputs.iter().enumerate().filter(|(at, _)| facts.is_assumed(*at));
            judgement.assumed = assumed.map(|(_, input)| input).collect();
        }
        judgement
    }
}

impl<'d> Judgement<'d> {
    /// Whether a person must look before the level is believed; it is then the least that it can be.
    pub(crate) fn needs_review(&self) -> bool {
        self.level == 0
            || !self.reviews.is_empty()
            || !self.missing.is_empty()
            || self.parts.iter().any(|part| part.needs_review)
    }

    /// Whether the approved level cannot be the one that it comes to. The least that a level can be denies no higher one, and who
    /// has no approved level (0) has none that could be denied.
    pub(crate) fn denies(&self, approved: u8) -> bool {
        approved > 0 && (self.level > approved || self.level < approved && !self.needs_review())
    }

    /// The articles that the level rests on.
    pub(crate) fn basis(&self) -> Vec<&'d Citation> {
        let rules = self.held.iter().filter(|held| held.level == self.level).map(|held| &held.rule.provision);
        let combined = self.rests_on_parts().then_some(&self.decree.combination);
        let reviews = self
            .reviews
            .iter()
            .filter(|review| review.minimum == self.level && rules.clone().next().is_none());
        let provisions = rules.clone().chain(combined).chain(reviews.map(|review| &review.provision));
        provisions.filter_map(|provision: &Provision| provision.citation.as_ref()).collect()
    }

    /// By which provision parts make the level of the whole.
    pub(crate) fn combination(&self) -> &'d Provision {
        &self.decree.combination
    }

    /// Whether a part is as high as the whole.
    fn rests_on_parts(&self) -> bool {
        self.level > 0 && self.parts.iter().any(|part| part.level == self.level)
    }

    fn hold(&mut self, facts: &Facts) {
        let rules = self.decree.rules.iter().filter(|rule| rule.when.truth(facts) == Some(true));
        self.held =
            rules.map(|rule| Held { rule, level: rule.level(facts) }).filter(|held| held.level > 0).collect();
        self.held.sort_by_key(|held| std::cmp::Reverse(held.level));
        let reviews = self.decree.reviews.iter();
        self.reviews = reviews.filter(|review| review.when.truth(facts) == Some(true)).collect();
        let levels = self.held.iter().map(|held| held.level);
        let minimums = self.reviews.iter().map(|review| review.minimum);
        self.level = levels.chain(minimums).max().unwrap_or_default().max(self.level);
    }

    fn miss(&mut self, facts: &Facts) {
        let decree = self.decree;
        let rules = decree.rules.iter().map(|rule| (&rule.provision, &rule.when, rule.level_max(decree)));
        let reviews = decree.reviews.iter().map(|review| (&review.provision, &review.when, review.minimum));
        let mut missing: BTreeMap<usize, (u8, Vec<&str>)> = BTreeMap::new();
        for (provision, when, level) in rules.chain(reviews).filter(|(_, _, level)| *level > self.level) {
            let mut unknown = BTreeSet::new();
            when.missing(facts, &mut unknown);
            for input in unknown {
                let (up_to, ids) = missing.entry(input).or_default();
                *up_to = level.max(*up_to);
                ids.push(&provision.id);
            }
        }
        let known = missing.into_iter().filter_map(|(at, found)| Some((decree.inputs.get(at)?, found)));
        self.missing = known.map(|(input, (up_to, rules))| Missing { input, up_to, rules }).collect();
    }
}

impl Rule {
    fn level(&self, facts: &Facts) -> u8 {
        match self.level {
            RuleLevel::Fixed(level) => level,
            RuleLevel::Stated(input) => match facts.value(input) {
                Some(Value::Integer(number)) => u8::try_from(number).unwrap_or_default(),
                _ => 0,
            },
        }
    }

    fn level_max(&self, decree: &Decree) -> u8 {
        match self.level {
            RuleLevel::Fixed(level) => level,
            RuleLevel::Stated(_) => decree.level_max(),
        }
    }
}
