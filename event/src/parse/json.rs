//! JSON lines: one object a line, flattened.
//!
//! Nested objects become names with dots (`process.name`), the elements of an array become several values of one name. The
//! text is read once, without a tree; strings without escapes are borrowed. The time is the first that stands under one of
//! the usual names ([`TIMES`]). Windows events get their native names and log source, whoever shipped them (`windows.rs`).
//!
//! Limits: [`DEPTH_MAX`] levels and [`FIELDS_MAX`] fields; what lies deeper or comes later is checked to be JSON, and stays
//! in the text only. A line that is not one object, or has more behind it, is not taken.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::{Fields, Line};
use super::time::{self, Stamp};
use super::windows;
use crate::{ParseStatus, Value};

/// Deepest nesting that becomes names. Kubernetes' audit events reach 8.
const DEPTH_MAX: usize = 16;

/// Most fields of one line. Windows events and cloud audit trails stay below 200.
pub(super) const FIELDS_MAX: usize = 512;

/// Names under which a time stands, the likeliest first.
const TIMES: &[&str] = &[
    "@timestamp",
    "TimeCreated_SystemTime",
    "timestamp",
    "time",
    "ts",
    "eventTime",
    "EventTime",
    "UtcTime",
    "SystemTime",
    "datetime",
    "date",
    "_time",
    "__REALTIME_TIMESTAMP",
];

/// Reads a line.
pub(super) fn parse(line: &str) -> Option<Line<'_>> {
    let mut fields = Fields::default();
    flatten(line.trim_ascii(), "", &mut fields)?;
    Some(understood(fields))
}

/// What the fields of an object say.
pub(super) fn understood(mut fields: Fields<'_>) -> Line<'_> {
    let source = windows::recognise(&mut fields);
    let stamp = TIMES.iter().find_map(|name| {
        fields.0.iter().filter(|(field, _)| field == name).find_map(|(_, value)| stamp(value))
    });
    Line { stamp, source, status: ParseStatus::Parsed, fields }
}

/// Reads one object into fields whose names start with `prefix`.
pub(super) fn flatten<'t>(text: &'t str, prefix: &str, fields: &mut Fields<'t>) -> Option<()> {
    if !text.starts_with('{') {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let path = Cow::Owned(prefix.to_owned());
    Flatten { path: &path, depth: 0, fields }.deserialize(&mut reader).ok()?;
    reader.end().ok()
}

/// A time as JSON writers write it.
pub(super) fn stamp(value: &Value<'_>) -> Option<Stamp> {
    match value {
        Value::Int(number) => Some(time::epoch_by_size(*number)),
        Value::Float(seconds) => time::epoch(&format!("{seconds:.6}")).ok().map(|(_, stamp)| stamp),
        Value::Text(text) => match text.parse::<i64>() {
            Ok(number) if text.len() > 8 => Some(time::epoch_by_size(number)),
            _ => time::rfc3339(text).or_else(|_| time::common_log(text)).ok().map(|(_, stamp)| stamp),
        },
        _ => None,
    }
}

/// Puts a value under its path.
struct Flatten<'p, 'f, 't> {
    path: &'p Cow<'t, str>,
    depth: usize,
    fields: &'f mut Fields<'t>,
}

impl<'t> Flatten<'_, '_, 't> {
    fn push(self, value: Value<'t>) {
        if self.fields.0.len() < FIELDS_MAX {
            self.fields.0.push((self.path.clone(), value));
        }
    }
}

impl<'t> DeserializeSeed<'t> for Flatten<'_, '_, 't> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for Flatten<'_, '_, 't> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.push(Value::Null);
        Ok(())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<(), E> {
        self.push(Value::Bool(flag));
        Ok(())
    }

    fn visit_i64<E>(self, int: i64) -> Result<(), E> {
        self.push(Value::Int(int));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        // Above i64 the digits are kept, as text.
        self.push(i64::try_from(number).map_or_else(|_| Value::Text(number.to_string().into()), Value::Int));
        Ok(())
    }

    fn visit_f64<E>(self, float: f64) -> Result<(), E> {
        self.push(Value::Float(float));
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'t str) -> Result<(), E> {
        self.push(Value::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.push(Value::Text(super::text::decode_owned(text.into()).into()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut sequence: A) -> Result<(), A::Error> {
        let depth = self.depth.saturating_add(1);
        loop {
            if self.depth >= DEPTH_MAX {
                if sequence.next_element::<&RawValue>()?.is_none() {
                    return Ok(());
                }
            } else {
                let element = Flatten { path: self.path, depth, fields: self.fields };
                if sequence.next_element_seed(element)?.is_none() {
                    return Ok(());
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        let depth = self.depth.saturating_add(1);
        while let Some(Name(name)) = map.next_key()? {
            if self.depth >= DEPTH_MAX || self.fields.0.len() >= FIELDS_MAX {
                map.next_value::<&RawValue>()?;
                continue;
            }
            let path = if self.path.is_empty() { name } else { Cow::Owned(format!("{}.{name}", self.path)) };
            map.next_value_seed(Flatten { path: &path, depth, fields: self.fields })?;
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
pub(super) struct Name<'t>(pub(super) Cow<'t, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl<'de> Visitor<'de> for Key {
            type Value = Name<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Key)
    }
}
