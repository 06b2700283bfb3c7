//! A condition over the facts of a system, with three values of truth: yes, no, unknown (Kleene's logic).
//!
//! More facts turn unknown into yes or no, and never a yes into a no or back; `known(x)` is the one exception, and a decree may use
//! it only where a person is asked to decide.

use std::collections::BTreeSet;

use crate::level::input::{Facts, Value};

/// A condition whose types are checked. Inputs are positions in the decree's list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    /// Whether the fact is stated or has a value when it is not.
    Known(usize),
    /// A fact of type bool.
    Is(usize),
    Number {
        input: usize,
        comparison: Comparison,
        number: i64,
    },
    /// A choice that is one of the names, or a set that has one of them.
    Has {
        input: usize,
        names: u64,
    },
    /// A set that has these names and no other.
    Equals {
        input: usize,
        names: u64,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

impl Condition {
    /// Whether it holds; none when what is known does not say.
    pub(super) fn truth(&self, facts: &Facts) -> Option<bool> {
        match self {
            Self::All(conditions) => decided(conditions, facts, false),
            Self::Any(conditions) => decided(conditions, facts, true),
            Self::Not(condition) => condition.truth(facts).map(|holds| !holds),
            Self::Known(input) => Some(facts.value(*input).is_some()),
            Self::Is(input)
            | Self::Number { input, .. }
            | Self::Has { input, .. }
            | Self::Equals { input, .. } => facts.value(*input).map(|value| self.leaf(value)),
        }
    }

    fn leaf(&self, value: Value) -> bool {
        match (self, value) {
            (Self::Is(_), Value::Bool(bool)) => bool,
            (Self::Number { comparison, number, .. }, Value::Integer(found)) => {
                comparison.holds(found, *number)
            }
            (Self::Has { names, .. }, Value::Names(found)) => found & names != 0,
            (Self::Equals { names, .. }, Value::Names(found)) => found == *names,
            // The types were checked when the decree was read.
            _ => false,
        }
    }

    /// Adds the inputs that are unknown and on which it hangs.
    pub(super) fn missing(&self, facts: &Facts, missing: &mut BTreeSet<usize>) {
        if self.truth(facts).is_some() {
            return;
        }
        match self {
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().for_each(|condition| condition.missing(facts, missing));
            }
            Self::Not(condition) => condition.missing(facts, missing),
            Self::Known(input)
            | Self::Is(input)
            | Self::Number { input, .. }
            | Self::Has { input, .. }
            | Self::Equals { input, .. } => {
                missing.insert(*input);
            }
        }
    }

    /// Whether it asks what is known.
    pub(super) fn asks_known(&self) -> bool {
        match self {
            Self::All(conditions) | Self::Any(conditions) => conditions.iter().any(Self::asks_known),
            Self::Not(condition) => condition.asks_known(),
            Self::Known(_) => true,
            Self::Is(_) | Self::Number { .. } | Self::Has { .. } | Self::Equals { .. } => false,
        }
    }
}

/// `deciding` is the value that one of them is enough for.
fn decided(conditions: &[Condition], facts: &Facts, deciding: bool) -> Option<bool> {
    let mut unknown = false;
    for condition in conditions {
        match condition.truth(facts) {
            Some(truth) if truth == deciding => return Some(deciding),
            Some(_) => {}
            None => unknown = true,
        }
    }
    (!unknown).then_some(!deciding)
}

impl Comparison {
    fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::GreaterOrEqual => left >= right,
            Self::Greater => left > right,
        }
    }
}
