//! What parsers put together: native fields, and a line as far as it was understood.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use super::text;
use super::time::Stamp;
use crate::{LogSource, ParseStatus, Value};

/// Native fields in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Fields<'t>(pub(super) Vec<(Cow<'t, str>, Value<'t>)>);

/// One line as a parser understood it. It borrows from the line's text.
#[derive(Debug)]
pub(super) struct Line<'t> {
    pub(super) stamp: Option<Stamp>,
    pub(super) source: LogSource<'static>,
    pub(super) status: ParseStatus,
    /// Every value of the text is a field: see [`Event`](crate::Event).
    pub(super) fields_hold_text: bool,
    pub(super) fields: Fields<'t>,
}

/// Sigma's log source for what Linux programs write to syslog.
pub(super) const fn linux(service: &'static str) -> LogSource<'static> {
    LogSource { category: "", product: "linux", service }
}

impl<'t> Fields<'t> {
    pub(super) fn text(&mut self, name: &'static str, text: impl Into<Cow<'t, str>>) {
        self.0.push((Cow::Borrowed(name), Value::Text(text.into())));
    }

    /// As [`Fields::text`], unless there is nothing to say.
    pub(super) fn text_unless_empty(&mut self, name: &'static str, text: &'t str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    pub(super) fn int(&mut self, name: &'static str, int: impl Into<i64>) {
        self.0.push((Cow::Borrowed(name), Value::Int(int.into())));
    }

    /// A number as digits; what is no number stays text.
    pub(super) fn number(&mut self, name: &'static str, digits: &'t str) {
        match digits.parse::<i64>() {
            Ok(int) => self.int(name, int),
            Err(_) => self.text(name, digits),
        }
    }

    pub(super) fn flag(&mut self, name: &'static str) {
        self.0.push((Cow::Borrowed(name), Value::Bool(true)));
    }

    pub(super) fn action(&mut self, action: &'static str, outcome: &'static str) {
        self.text("action", action);
        if !outcome.is_empty() {
            self.text("outcome", outcome);
        }
    }

    /// Where an action comes from: an address, or a name where the source looked it up.
    pub(super) fn origin(&mut self, host: &'t str) {
        let address = address(host);
        self.text_unless_empty(
            if address.is_some() { "src_ip" } else { "src_host" },
            address.unwrap_or(host),
        );
    }

    /// Brings names and texts to NFC, from one of the fields on.
    pub(super) fn compose(&mut self, from: usize) {
        let compose = |text: &mut Cow<'t, str>| *text = text::composed(std::mem::take(text));
        for (name, value) in self.0.iter_mut().skip(from) {
            compose(name);
            if let Value::Text(text) = value {
                compose(text);
            }
        }
    }

    /// The first value of a name, if it is text.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).and_then(|(_, value)| value.as_text())
    }

    /// Takes over the fields of a text that does not live as long as this one's.
    pub(super) fn extend_owned(&mut self, other: Fields<'_>) {
        self.0.extend(other.0.into_iter().map(|(name, value)| (owned(name), owned_value(value))));
    }

    /// Runs a reader over a text that is borrowed where it can be.
    #[expect(clippy::ptr_arg, reason = "a borrowed text keeps the lifetime of its batch")]
    pub(super) fn read(
        &mut self,
        text: &Cow<'t, str>,
        reader: impl for<'x> FnOnce(&'x str, &mut Fields<'x>),
    ) {
        match text {
            Cow::Borrowed(text) => reader(text, self),
            Cow::Owned(text) => {
                let mut inner = Fields::default();
                reader(text, &mut inner);
                self.extend_owned(inner);
            }
        }
    }
}

impl<'t> Line<'t> {
    pub(super) fn into_owned<'x>(self) -> Line<'x> {
        let mut fields = Fields::default();
        fields.extend_owned(self.fields);
        Line {
            stamp: self.stamp,
            source: self.source,
            status: self.status,
            fields_hold_text: self.fields_hold_text,
            fields,
        }
    }
}

/// The address that a text is: without brackets, without the zone of a link-local one, and IPv4 in its own form where it
/// is written as a mapped IPv6 address, so that one peer has one name.
pub(super) fn address(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = inner.split_once('%').map_or(inner, |(address, _)| address);
    let mapped = address.split_at_checked(7).filter(|(head, _)| head.eq_ignore_ascii_case("::ffff:"));
    let unmapped = mapped.map(|(_, rest)| rest).filter(|rest| rest.parse::<Ipv4Addr>().is_ok());
    let address = unmapped.unwrap_or(address);
    address.parse::<IpAddr>().is_ok().then_some(address)
}

fn owned<'x>(text: Cow<'_, str>) -> Cow<'x, str> {
    Cow::Owned(text.into_owned())
}

fn owned_value<'x>(value: Value<'_>) -> Value<'x> {
    match value {
        Value::Null => Value::Null,
        Value::Bool(flag) => Value::Bool(flag),
        Value::Int(int) => Value::Int(int),
        Value::Float(float) => Value::Float(float),
        Value::Text(text) => Value::Text(owned(text)),
    }
}
