//! The facts that a decree asks for, each with its type, and what is known of them about one system.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Value as Toml;

use crate::level::Text;

/// Names of a choice or a set: one bit each in a value.
pub(super) const NAMES_MAX: usize = 64;

/// A fact that the rules of a decree ask for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(super) kind: Kind,
    /// What the fact counts as when nobody states it. Without it, what nobody states is unknown.
    pub(super) absent: Option<Value>,
    /// The question, as a person is asked.
    pub(crate) text: Text,
}

/// The type of an input.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Kind {
    Bool,
    Integer {
        min: i64,
        max: i64,
    },
    /// One of the names.
    Choice {
        values: Vec<String>,
    },
    /// Any of the names; what is stated is all of them.
    Set {
        values: Vec<String>,
    },
}

/// A value: names of a choice or a set are bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Names(u64),
}

/// What is known about a system, in the order of a decree's inputs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Facts {
    stated: Vec<Option<Value>>,
    absent: Vec<Option<Value>>,
}

impl Kind {
    /// The bit of a name.
    pub(super) fn bit(&self, name: &str) -> Option<u64> {
        let (Self::Choice { values } | Self::Set { values }) = self else { return None };
        let position = values.iter().position(|value| value == name)?;
        1_u64.checked_shl(u32::try_from(position).ok()?)
    }

    /// A value out of TOML, or what was expected.
    pub(super) fn read(&self, value: &Toml) -> Result<Value, String> {
        let read = match (self, value) {
            (Self::Bool, Toml::Boolean(bool)) => Some(Value::Bool(*bool)),
            (Self::Integer { min, max }, Toml::Integer(number)) if (min..=max).contains(&number) => {
                Some(Value::Integer(*number))
            }
            (Self::Choice { .. }, Toml::String(name)) => self.bit(name).map(Value::Names),
            (Self::Set { .. }, Toml::Array(names)) => {
                let bits = names.iter().map(|name| self.bit(name.as_str()?)).collect::<Option<Vec<_>>>();
                bits.map(|bits| Value::Names(bits.into_iter().fold(0, |all, bit| all | bit)))
            }
            _ => None,
        };
        read.ok_or_else(|| self.expected())
    }

    pub(super) fn expected(&self) -> String {
        match self {
            Self::Bool => "true or false".into(),
            Self::Integer { min, max } => format!("a number from {min} to {max}"),
            Self::Choice { values } => format!("one of {}", values.join(", ")),
            Self::Set { values } => format!("a list of {}", values.join(", ")),
        }
    }

    /// What is wrong with the type itself.
    pub(super) fn fault(&self) -> Option<String> {
        match self {
            Self::Integer { min, max } if min > max => {
                Some(format!("expected min <= max, found {min} and {max}"))
            }
            Self::Choice { values } | Self::Set { values } => {
                let is_name = |name: &String| {
                    name.starts_with(|first: char| first.is_ascii_alphabetic())
                        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                };
                let valid = (1..=NAMES_MAX).contains(&values.len()) && values.iter().all(is_name);
                let expected = || format!("expected 1 to {NAMES_MAX} values of letters, digits and _");
                (!valid).then(expected)
            }
            _ => None,
        }
    }
}

impl Facts {
    /// What is stated, read by the inputs' types. What they cannot read stays unknown: `fault` tells it.
    pub(super) fn new(inputs: &[Input], stated: &BTreeMap<String, Toml>) -> Self {
        let read = |input: &Input| stated.get(&input.name).and_then(|value| input.kind.read(value).ok());
        Self {
            stated: inputs.iter().map(read).collect(),
            absent: inputs.iter().map(|input| input.absent).collect(),
        }
    }

    /// The value of an input, stated or assumed.
    pub(super) fn value(&self, input: usize) -> Option<Value> {
        self.stated.get(input).copied().flatten().or_else(|| self.absent.get(input).copied().flatten())
    }

    /// Whether the value of an input is what it counts as when nobody states it.
    pub(super) fn is_assumed(&self, input: usize) -> bool {
        self.stated.get(input).is_some_and(Option::is_none) && self.value(input).is_some()
    }
}
