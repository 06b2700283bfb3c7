//! Feeds and exports of MISP: a folder with `manifest.json` and a file for each event, or events as files of their own.
//!
//! Read are the attributes that are meant for detection (`to_ids`), the event's own and those of its objects. A type that is
//! not looked for (a file name, a mutex ...) is counted and named.
//!
//! Limits: [`EVENT_BYTES_MAX`] of one event; an event is held in memory as a whole.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use detect::Severity;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::fault::{FeedError, Place};
use super::load::{Found, Sink, or_default, typed, walk};

/// Largest event: lists that are kept as one event have some dozens of megabytes.
const EVENT_BYTES_MAX: u64 = 256 << 20;
const MANIFEST: &str = "manifest.json";
/// Files of a feed that hold no event.
const OTHERS: [&str; 2] = [MANIFEST, "hashes.csv"];

/// The shapes in which events are handed on: alone, or as an answer of the API.
#[derive(Deserialize)]
struct Export {
    #[serde(rename = "Event")]
    event: Option<Event>,
    response: Option<Vec<Wrapped>>,
}

#[derive(Deserialize)]
struct Wrapped {
    #[serde(rename = "Event")]
    event: Event,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(deserialize_with = "or_default")]
    uuid: String,
    #[serde(deserialize_with = "or_default")]
    info: String,
    /// 1 high, 2 medium, 3 low, 4 undefined; as text or as a number.
    threat_level_id: Value,
    #[serde(rename = "Tag", deserialize_with = "or_default")]
    tags: Vec<Tag>,
    #[serde(rename = "Attribute", deserialize_with = "or_default")]
    attributes: Vec<Box<RawValue>>,
    #[serde(rename = "Object", deserialize_with = "or_default")]
    objects: Vec<Group>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Group {
    #[serde(rename = "Attribute", deserialize_with = "or_default")]
    attributes: Vec<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tag {
    name: String,
}

#[derive(Deserialize)]
struct Attribute {
    #[serde(rename = "type")]
    kind: String,
    value: String,
    #[serde(default, deserialize_with = "flag")]
    to_ids: bool,
    #[serde(default, deserialize_with = "flag")]
    deleted: bool,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default, rename = "Tag", deserialize_with = "or_default")]
    tags: Vec<Tag>,
}

/// The files of a feed's folder: those that its manifest names, else all events below it.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, FeedError> {
    let manifest = folder.join(MANIFEST);
    let text = match std::fs::read(&manifest) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let is_event = |path: &PathBuf| !OTHERS.iter().any(|other| path.ends_with(other));
            return Ok(walk(folder)?.into_iter().filter(is_event).collect());
        }
        Err(source) => return Err(FeedError::Read { path: manifest, source }),
    };
    let events: BTreeMap<String, IgnoredAny> = serde_json::from_slice(&text).map_err(|error| {
        let expected = "a manifest of MISP, an object with a name for each event's UUID";
        FeedError::Malformed { path: manifest.clone(), expected, detail: error.to_string() }
    })?;
    // A name out of the manifest leads nowhere but into the folder.
    let is_name = |uuid: &&String| uuid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    Ok(events.keys().filter(is_name).map(|uuid| folder.join(format!("{uuid}.json"))).collect())
}

pub(super) fn read(input: impl Read, path: &Path, sink: &mut Sink<'_>) -> Result<(), FeedError> {
    let malformed = |detail: String| FeedError::Malformed {
        path: path.into(),
        expected: "events of MISP, an object with `Event` or `response`",
        detail,
    };
    let mut text = Vec::new();
    let read = input.take(EVENT_BYTES_MAX + 1).read_to_end(&mut text);
    read.map_err(|source| FeedError::Read { path: path.into(), source })?;
    if text.len() as u64 > EVENT_BYTES_MAX {
        return Err(malformed(format!("more than {EVENT_BYTES_MAX} bytes")));
    }
    for event in events(&text).map_err(malformed)? {
        take(&event, sink);
    }
    Ok(())
}

fn events(text: &[u8]) -> Result<Vec<Event>, String> {
    let in_words = |error: serde_json::Error| error.to_string();
    let listed = |list: Vec<Wrapped>| list.into_iter().map(|wrapped| wrapped.event).collect();
    if text.trim_ascii_start().starts_with(b"[") {
        return serde_json::from_slice(text).map(listed).map_err(in_words);
    }
    let export: Export = serde_json::from_slice(text).map_err(in_words)?;
    match (export.event, export.response) {
        (Some(event), _) => Ok(vec![event]),
        (None, Some(list)) => Ok(listed(list)),
        (None, None) => Err("neither is there".into()),
    }
}

fn take(event: &Event, sink: &mut Sink<'_>) {
    let attributes = event.attributes.iter().chain(event.objects.iter().flat_map(|group| &group.attributes));
    for (index, text) in attributes.enumerate() {
        let place = Place::Attribute(index);
        match serde_json::from_str(text.get()) {
            Ok(attribute) => take_attribute(event, &attribute, place, sink),
            Err(_) => sink.not_understood("expected an attribute of MISP".into(), place, text.get()),
        }
    }
}

fn take_attribute(event: &Event, attribute: &Attribute, place: Place, sink: &mut Sink<'_>) {
    if !attribute.to_ids || attribute.deleted {
        return sink.pass_over();
    }
    let values = typed(&attribute.kind, &attribute.value);
    if values.is_empty() {
        let reason = format!("the type {} is not looked for", attribute.kind);
        return sink.not_understood(reason, place, &attribute.value);
    }
    let tags = || event.tags.iter().chain(&attribute.tags).map(|tag| tag.name.as_str());
    let labels: Vec<&str> = tags().filter(|tag| !tag.starts_with("tlp:")).collect();
    let origin = format!("MISP event {}", event.uuid);
    let comment = attribute.comment.as_deref().filter(|comment| !comment.is_empty());
    let found = Found {
        severity: event.severity(),
        tlp: tags().find_map(|tag| tag.strip_prefix("tlp:")).unwrap_or_default(),
        name: &event.info,
        description: comment.unwrap_or(&origin),
        labels: &labels,
        ..Found::default()
    };
    for (kind, value) in values {
        sink.take(place, &Found { kind: Some(kind), value, ..found });
    }
}

impl Event {
    fn severity(&self) -> Option<Severity> {
        let level =
            self.threat_level_id.as_str().map_or_else(|| self.threat_level_id.to_string(), str::to_owned);
        match level.as_str() {
            "1" => Some(Severity::High),
            "2" => Some(Severity::Medium),
            "3" => Some(Severity::Low),
            _ => None,
        }
    }
}

/// Feeds write truth values as such, older exports as "0" and "1".
fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(value == true || value == 1 || value == "1")
}
