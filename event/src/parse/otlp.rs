//! One OTLP log record as the collector's intake writes it: `{"body":...,"time":...,"severity":...,"attributes":{...}}`.
//!
//! - `body`: text is read like a line of format `auto`; an object is flattened like a JSON line.
//! - `time`: a number since 1970 in the unit that its size tells (nanoseconds in OTLP), or RFC 3339 text; 0 is none. It stands
//!   before any time in the body, because it has a zone.
//! - `severity`: OTLP's text or number, as field `severity_text`.
//! - `event_name`: what kind of event it is (OpenTelemetry's events), as a field of that name.
//! - `attributes`: appended as fields under their own names, resource attributes among them.
//!
//! The event's message is the body's text; without a body, the record itself. Limits: those of the body's own parser, and once
//! more those of a JSON line for the attributes, so that a body of many fields does not drive them out. What has neither body,
//! name nor attributes, or is not such an object, is not taken.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::{Fields, Line};
use super::json_text::{self, Extent};
use super::room::Room;
use super::{json, said, text};
use crate::{Format, ParseStatus, Value};

#[derive(Deserialize)]
struct Record<'t> {
    #[serde(borrow, default)]
    body: Option<&'t RawValue>,
    #[serde(borrow, default)]
    time: Option<&'t RawValue>,
    #[serde(borrow, default)]
    severity: Option<&'t RawValue>,
    #[serde(borrow, default)]
    event_name: Option<&'t RawValue>,
    #[serde(borrow, default)]
    attributes: Option<&'t RawValue>,
}

#[derive(Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// Reads a record; gives the message with what was made of it.
pub(super) fn parse<'t>(
    line: &'t str,
    is_nfc: bool,
    room: &mut Room<'t>,
) -> Option<(Cow<'t, str>, Line<'t>)> {
    let record: Record<'_> = serde_json::from_str(line).ok()?;
    let (message, mut parsed) = match record.body {
        Some(said) => body(said.get(), is_nfc, room),
        // An event of OpenTelemetry: its name and its attributes say it all.
        None if record.event_name.is_some() || record.attributes.is_some() => {
            (Cow::Borrowed(line), json::understood(Fields::default(), Extent::Whole))
        }
        None => return None,
    };
    if let Some(text) = record.severity.map(RawValue::get).filter(|text| *text != "null") {
        parsed.fields.text("severity_text", text::composed(scalar(text)));
    }
    if let Some(name) = record.event_name {
        parsed.fields.text("event_name", text::composed(scalar(name.get())));
    }
    if let Some(attributes) = record.attributes {
        let extent = json_text::flatten(attributes.get(), is_nfc, &mut parsed.fields, room);
        parsed.fields_hold_text &= extent == Some(Extent::Whole);
    }
    let time =
        record.time.map(|time| scalar(time.get())).filter(|time| !matches!(&**time, "0" | "null" | ""));
    if let Some(stamp) = time.and_then(|time| json::stamp(&Value::Text(time))) {
        parsed.stamp = Some(stamp);
    }
    Some((message, parsed))
}

fn body<'t>(body: &'t str, is_nfc: bool, room: &mut Room<'t>) -> (Cow<'t, str>, Line<'t>) {
    let Ok(Text(text)) = serde_json::from_str(body) else {
        let mut fields = json_text::fields_of(body);
        let extent = json_text::flatten(body, is_nfc, &mut fields, room);
        let line = json::understood(fields, extent.unwrap_or(Extent::Cut));
        let status = extent.map_or(ParseStatus::Raw, |_| line.status);
        let line = Line { status, ..line };
        return (Cow::Borrowed(body), line);
    };
    // A piece of a line in NFC is in NFC; what its escapes stand for need not be.
    let is_nfc = (is_nfc && matches!(text, Cow::Borrowed(_))) || text::is_nfc(&text);
    said(Format::Auto, text, is_nfc, room)
}

/// The text of a JSON string, or what stands there.
fn scalar(text: &str) -> Cow<'_, str> {
    serde_json::from_str::<Text<'_>>(text).map_or(Cow::Borrowed(text), |Text(text)| text)
}
