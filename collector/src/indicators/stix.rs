//! Bundles of STIX 2.1, and what a TAXII server answers: an object whose `objects` hold indicators among others. They are read
//! one by one, so that a bundle of a million costs the memory of one.

use std::fmt;
use std::io::{BufReader, Read};
use std::path::Path;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::fault::{FeedError, Place};
use super::load::{Found, Sink, moment, or_default};
use super::pattern;

/// The markings of the Traffic Light Protocol: those that the specification names for version 1, and FIRST's for version 2.
const TLP: [(&str, &str); 9] = [
    ("marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9", "white"),
    ("marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da", "green"),
    ("marking-definition--f88d31f6-486f-44da-b317-01333bde0b82", "amber"),
    ("marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed", "red"),
    ("marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487", "clear"),
    ("marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb", "green"),
    ("marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421", "amber"),
    ("marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003", "amber+strict"),
    ("marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1", "red"),
];

/// The type of the objects that are read.
const INDICATOR: &str = "indicator";

/// What is read of an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    #[serde(rename = "type")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    pattern: String,
    pattern_type: Option<String>,
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    description: String,
    #[serde(deserialize_with = "or_default")]
    labels: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    indicator_types: Vec<String>,
    confidence: Option<u64>,
    valid_from: Option<String>,
    valid_until: Option<String>,
    #[serde(deserialize_with = "or_default")]
    revoked: bool,
    #[serde(deserialize_with = "or_default")]
    object_marking_refs: Vec<String>,
}

/// What every object says.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

pub(super) fn read(input: impl Read, path: &Path, sink: &mut Sink<'_>) -> Result<(), FeedError> {
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(input));
    let read = Bundle(sink).deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| FeedError::Malformed {
        path: path.into(),
        expected: "a STIX 2.1 bundle, an object with `objects`",
        detail: error.to_string(),
    })
}

struct Bundle<'s, 'l>(&'s mut Sink<'l>);

impl<'de> DeserializeSeed<'de> for Bundle<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Bundle<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a bundle")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut has_objects = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "objects" {
                map.next_value_seed(Objects(self.0))?;
                has_objects = true;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if has_objects { Ok(()) } else { Err(serde::de::Error::missing_field("objects")) }
    }
}

struct Objects<'s, 'l>(&'s mut Sink<'l>);

impl<'de> DeserializeSeed<'de> for Objects<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Objects<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(text) = list.next_element::<Box<RawValue>>()? {
            let place = Place::Object(index);
            match serde_json::from_str(text.get()) {
                Ok(object) => take(&object, place, self.0),
                Err(_) if is_other(text.get()) => {}
                Err(_) => self.0.not_understood("expected an object of STIX".into(), place, text.get()),
            }
            index += 1;
        }
        Ok(())
    }
}

/// Whether an object is none that is read: others may have what they like in properties of the same name.
fn is_other(text: &str) -> bool {
    serde_json::from_str::<Kind>(text).is_ok_and(|object| object.kind != INDICATOR)
}

fn take(object: &Object, place: Place, sink: &mut Sink<'_>) {
    if object.kind != INDICATOR {
        return;
    }
    if object.revoked {
        return sink.pass_over();
    }
    let language = object.pattern_type.as_deref().unwrap_or("stix");
    if language != "stix" {
        return sink.not_understood(format!("a pattern in {language}"), place, &object.name);
    }
    let until = object.valid_until.as_deref().map(|text| moment(text).ok_or(text));
    let from = object.valid_from.as_deref().map(|text| moment(text).ok_or(text));
    let (Ok(valid_from), Ok(valid_until)) = (from.transpose(), until.transpose()) else {
        return sink.not_understood("valid_from or valid_until is no time".into(), place, &object.name);
    };
    let labels: Vec<&str> = object.labels.iter().chain(&object.indicator_types).map(String::as_str).collect();
    let found = Found {
        confidence: object
            .confidence
            .and_then(|percent| percent.try_into().ok())
            .filter(|percent| *percent <= 100),
        tlp: tlp(&object.object_marking_refs),
        name: &object.name,
        description: &object.description,
        labels: &labels,
        valid_from,
        valid_until,
        ..Found::default()
    };
    match pattern::values(&object.pattern) {
        Ok(values) => {
            for (kind, value) in &values {
                sink.take(place, &Found { kind: Some(*kind), value, ..found });
            }
        }
        Err(reason) => sink.not_understood(reason, place, &object.pattern),
    }
}

fn tlp(markings: &[String]) -> &'static str {
    let known = |marking: &String| TLP.iter().find(|(id, _)| id == marking).map(|(_, colour)| *colour);
    markings.iter().find_map(known).unwrap_or_default()
}
