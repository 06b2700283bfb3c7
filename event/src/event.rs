//! An event: what a parser made of a record.
//!
//! It borrows from its batch. Fields carry the **native names** of their log source (`CommandLine`, `cs-uri-query`, `a0`),
//! because the world's detection rules are written in them; the store's typed columns are filled from them by the
//! [`Dictionary`](crate::Dictionary). A name may stand several times (auditd's `type` or `name`): a predicate on it is true
//! when it is true for any of its values.

use std::borrow::Cow;

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// One event, borrowed from its batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// The event's own time when it is sane, else the time its record was read, or came where that cannot be.
    pub ts: Micros,
    /// Where `ts` comes from.
    pub ts_quality: TsQuality,
    /// Index in the batch of the first record that the event is made of.
    pub record: u32,
    /// How many consecutive records it is made of (auditd: several).
    pub records: u32,
    /// What Sigma's `logsource` is compared with.
    pub log_source: LogSource<'a>,
    /// How far it was understood.
    pub status: ParseStatus,
    /// The raw text, normalised to NFC; bytes that are not UTF-8 replaced by U+FFFD; records joined by a line feed.
    /// Keyword rules and full-text search read it.
    pub message: Cow<'a, str>,
    /// Whether every value of the text stands in a field, as in JSON. Then keyword rules read the fields alone, and do not
    /// take the text's names and escapes for what it says.
    pub fields_hold_text: bool,
    /// Native fields in the order in which the parser found them.
    pub fields: Vec<(Cow<'a, str>, Value<'a>)>,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
}

/// Sigma's `logsource`: an empty part is not known. An event may have all three: auditd's execve is `linux`, `auditd` and
/// `process_creation`, and matches the rules of either.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct LogSource<'a> {
    pub category: &'a str,
    pub product: &'a str,
    pub service: &'a str,
}

/// How far a parser understood a record.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ParseStatus {
    /// Envelope and message were both understood.
    Parsed,
    /// The envelope (syslog header) was understood; its message is of a kind that no parser knows.
    Envelope,
    /// No parser takes it: only the raw text is there.
    Raw,
}

/// Where an event's time comes from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TsQuality {
    /// The event's own time, with its zone or offset.
    Event,
    /// The event's own time without a zone (RFC 3164): the source's offset, and its year, were supplied.
    Assumed,
    /// The event has no time of its own: the time its record was read.
    Received,
    /// The event's own time is further from the receipt than the limits allow: the time of receipt stands instead.
    Clamped,
}

impl<'a> Event<'a> {
    /// The values of a native field, in order. None, one or several.
    pub fn values<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Value<'a>> + 'e {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value)
    }

    /// The first value of a native field as text, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).and_then(|(_, value)| value.as_text())
    }
}

impl Value<'_> {
    /// The text of a text value.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as text, as rules compare it and people read it. Null is empty.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Null => Cow::Borrowed(""),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Int(int) => Cow::Owned(int.to_string()),
            Self::Float(float) => Cow::Owned(float.to_string()),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }
}

impl ParseStatus {
    /// The name in the store and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parsed => "parsed",
            Self::Envelope => "envelope",
            Self::Raw => "raw",
        }
    }
}

impl TsQuality {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Assumed => "assumed",
            Self::Received => "received",
            Self::Clamped => "clamped",
        }
    }
}
