//! What a rule's value asks of an event's value, prepared when the rule is compiled.
//!
//! Numbers: a rule's number is met by a number, or by a text that is one (`EventID: 4624` and `"4624"`). A rule's text is
//! compared with the text of a number. Nothing is guessed beyond that: no blanks, no hexadecimal.

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use event::Value;
use ipnet::IpNet;
use memchr::memmem::{self, Finder};

use crate::literals::{self, Place};
use crate::regular_expression::RegularExpression;
use crate::text::Form;
use crate::time::{self, TimePart};

/// One value of a rule.
#[derive(Debug)]
pub(crate) enum Predicate {
    /// `needle` is in the form already.
    Text {
        op: TextOp,
        form: Form,
        needle: String,
    },
    Contains {
        form: Form,
        finder: Box<Finder<'static>>,
    },
    /// `|re`, or a text with wildcards.
    Pattern {
        form: Form,
        regex: Box<RegularExpression>,
    },
    Network(IpNet),
    Number {
        compare: Compare,
        number: Number,
    },
    Time {
        part: TimePart,
        compare: Compare,
        number: Number,
    },
    Bool(bool),
    /// The value is null. An absent field is seen to by the evaluator.
    Null,
    /// Compared with the values of another field.
    FieldRef {
        field: usize,
        op: TextOp,
        form: Form,
    },
}

/// How two texts are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TextOp {
    Equals,
    StartsWith,
    EndsWith,
    Contains,
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Compare {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A number of a rule or of an event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    Float(f64),
}

impl Predicate {
    /// About how much work it is, in comparisons of short texts.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Text { op: TextOp::Contains, .. } | Self::Contains { .. } => 4,
            Self::Pattern { .. } | Self::Time { .. } => 20,
            Self::FieldRef { .. } => 2,
            _ => 1,
        }
    }

    /// The literal that is asked for in folded text, and nothing more than that.
    pub(crate) fn folded_literal(&self) -> Option<(Place, &str)> {
        let (place, literal) = match self {
            Self::Text { op, form: Form::Folded, needle } => (Place::of(*op), needle.as_str()),
            Self::Contains { form: Form::Folded, finder } => {
                (Place::Anywhere, std::str::from_utf8(finder.needle()).ok()?)
            }
            _ => return None,
        };
        literals::is_sought(literal).then_some((place, literal))
    }

    /// Those predicates that look at a value as it is, not at its text.
    pub(crate) fn holds_value(&self, value: &Value<'_>) -> bool {
        match self {
            Self::Network(network) => {
                value.as_text().and_then(address).is_some_and(|ip| network.contains(&ip))
            }
            Self::Number { compare, number } => {
                Number::of(value).is_some_and(|found| compare.holds(found, *number))
            }
            Self::Time { part, compare, number } => {
                time::part(value, *part).is_some_and(|found| compare.holds(Number::Int(found), *number))
            }
            Self::Bool(expected) => bool_of(value) == Some(*expected),
            Self::Null => matches!(value, Value::Null),
            Self::Text { .. } | Self::Contains { .. } | Self::Pattern { .. } | Self::FieldRef { .. } => false,
        }
    }
}

/// The value as a keyword is shown to people.
impl fmt::Display for Predicate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { needle, .. } => out.write_str(needle),
            Self::Contains { finder, .. } => out.write_str(&String::from_utf8_lossy(finder.needle())),
            Self::Pattern { regex, .. } => out.write_str(regex.as_str()),
            other => write!(out, "{other:?}"),
        }
    }
}

impl TextOp {
    pub(crate) fn holds(self, text: &str, needle: &str) -> bool {
        match self {
            Self::Equals => text == needle,
            Self::StartsWith => text.starts_with(needle),
            Self::EndsWith => text.ends_with(needle),
            Self::Contains => text.contains(needle),
        }
    }

    /// The same for a text that is folded, or ASCII in any case.
    pub(crate) fn holds_without_case(self, text: &str, needle: &str) -> bool {
        let (text, needle) = (text.as_bytes(), needle.as_bytes());
        let start = text.get(..needle.len());
        let end = text.len().checked_sub(needle.len()).and_then(|from| text.get(from..));
        match self {
            Self::Equals => text.eq_ignore_ascii_case(needle),
            Self::StartsWith => start.is_some_and(|start| start.eq_ignore_ascii_case(needle)),
            Self::EndsWith => end.is_some_and(|end| end.eq_ignore_ascii_case(needle)),
            // A search from each byte on would take the product of both lengths.
            Self::Contains => {
                memmem::find(&text.to_ascii_lowercase(), &needle.to_ascii_lowercase()).is_some()
            }
        }
    }
}

impl Compare {
    pub(crate) fn holds(self, found: Number, expected: Number) -> bool {
        let Some(order) = found.partial_cmp(&expected) else { return false };
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Number {
    pub(crate) fn of(value: &Value<'_>) -> Option<Self> {
        match value {
            Value::Int(int) => Some(Self::Int(*int)),
            Value::Float(float) => Some(Self::Float(*float)),
            Value::Text(text) => Self::parse(text),
            Value::Null | Value::Bool(_) => None,
        }
    }

    /// A decimal number. Rust would read `inf` and `nan` as numbers, too.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let decimal = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        if !text.bytes().any(|byte| byte.is_ascii_digit()) || !text.as_bytes().iter().all(decimal) {
            return None;
        }
        text.parse().map(Self::Int).or_else(|_| text.parse().map(Self::Float)).ok()
    }

    #[allow(clippy::as_conversions, reason = "the nearest double is what comparing with a double means")]
    fn as_float(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(own), Self::Int(other)) => Some(own.cmp(other)),
            _ => self.as_float().partial_cmp(&other.as_float()),
        }
    }
}

fn bool_of(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(bool) => Some(*bool),
        Value::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// An address as logs write it: IPv4 in IPv6 is IPv4, a zone (`%eth0`) and brackets are left out.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let text = text.split_once('%').map_or(text, |(address, _)| address);
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}
