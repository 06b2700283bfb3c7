//! From an OTLP request to records: each `LogRecord` becomes one line of JSON that stands alone.
//!
//! ```text
//! {"time": 1700000000000000000, "observed": ..., "severity": "INFO", "severity_number": 9, "body": ...,
//!  "event_name": "...", "attributes": {...}, "trace_id": "hex", "span_id": "hex"}
//! ```
//!
//! Times are nanoseconds since 1970. `severity` is the sender's text, or the number where it gives no text. What is absent or
//! empty in the request is absent here. `attributes` are those of the resource, the scope (with `otel.scope.name` and
//! `otel.scope.version`) and the record together; of one name the innermost stands. Bytes are base64, numbers that JSON cannot
//! say are text: as in OTLP's own JSON encoding.
//!
//! Limits: a record of at most `event::RECORD_BYTES_MAX` bytes, a longer one is rejected, never cut, and so are all records of a
//! resource or a scope whose attributes alone are longer; all records of a request together [`REQUEST_JSON_BYTES_MAX`],
//! because a resource's attributes are repeated in each. What is rejected counts as well: it was work. A resource may name no
//! other host than the certificate's: its records are rejected.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use event::{Micros, RECORD_BYTES_MAX};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::{Map, Number, Value};

/// JSON of one request: four times the largest request.
pub(super) const REQUEST_JSON_BYTES_MAX: usize = 32 << 20;
/// Says which host a resource is (OpenTelemetry's semantic conventions).
const HOST_NAME: &str = "host.name";

/// What a request holds.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) taken: Vec<Taken>,
    /// Records whose resource is another host.
    pub(super) foreign: usize,
    /// Records that are too long.
    pub(super) oversized: usize,
    /// When the last of those that are taken was seen, or happened where the sender does not say when it saw it.
    pub(super) newest: Option<Micros>,
    json_bytes: usize,
}

/// One record.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) json: Vec<u8>,
    /// When the sender saw it, if it says so.
    pub(super) observed: Option<Micros>,
}

/// The whole request is more than [`REQUEST_JSON_BYTES_MAX`].
#[derive(Debug)]
pub(super) struct TooLarge;

impl Records {
    /// Reads a request of `host`.
    pub(super) fn read(request: ExportLogsServiceRequest, host: &str) -> Result<Self, TooLarge> {
        let mut records = Self::default();
        for resource in request.resource_logs {
            if speaks_for(resource.resource.as_ref(), host) {
                records.add(resource)?;
            } else {
                records.foreign +=
                    resource.scope_logs.iter().map(|scope| scope.log_records.len()).sum::<usize>();
            }
        }
        Ok(records)
    }

    /// How many were not taken.
    pub(super) fn rejected(&self) -> usize {
        self.foreign + self.oversized
    }

    /// Why they were not taken; empty when all were.
    pub(super) fn why(&self, host: &str) -> String {
        let foreign = (self.foreign > 0)
            .then(|| format!("{} records of a resource whose {HOST_NAME} is not {host:?}", self.foreign));
        let oversized = (self.oversized > 0)
            .then(|| format!("{} records of more than {RECORD_BYTES_MAX} bytes as JSON", self.oversized));
        foreign.into_iter().chain(oversized).collect::<Vec<_>>().join("; ")
    }

    fn add(&mut self, logs: ResourceLogs) -> Result<(), TooLarge> {
        let attributes = attributes(logs.resource.map(|resource| resource.attributes).unwrap_or_default());
        let resource = Outer::new(attributes);
        for scope in logs.scope_logs.into_iter().filter(|scope| !scope.log_records.is_empty()) {
            if resource.is_oversized() {
                self.oversized += scope.log_records.len();
                continue;
            }
            self.spend(resource.json_bytes)?;
            let mut attributes = resource.attributes.clone();
            attributes.extend(scope_attributes(scope.scope.unwrap_or_default()));
            self.add_scope(scope.log_records, &Outer::new(attributes))?;
        }
        Ok(())
    }

    fn add_scope(&mut self, records: Vec<LogRecord>, outer: &Outer) -> Result<(), TooLarge> {
        if outer.is_oversized() {
            self.oversized += records.len();
            return Ok(());
        }
        records.into_iter().try_for_each(|record| self.push(record, outer))
    }

    fn push(&mut self, record: LogRecord, outer: &Outer) -> Result<(), TooLarge> {
        let observed = micros(record.observed_time_unix_nano);
        let seen = observed.or(micros(record.time_unix_nano));
        let json = Value::Object(object(record, &outer.attributes)).to_string().into_bytes();
        // Attributes around it that it replaces were copied all the same.
        self.spend(json.len().max(outer.json_bytes))?;
        if json.len() > RECORD_BYTES_MAX {
            self.oversized += 1;
        } else {
            self.newest = self.newest.max(seen);
            self.taken.push(Taken { json, observed });
        }
        Ok(())
    }

    /// Counts what is made of the request: a few bytes of it can ask for much.
    fn spend(&mut self, json_bytes: usize) -> Result<(), TooLarge> {
        self.json_bytes += json_bytes;
        if self.json_bytes > REQUEST_JSON_BYTES_MAX { Err(TooLarge) } else { Ok(()) }
    }
}

/// Attributes that stand in each record below them.
struct Outer {
    attributes: Map<String, Value>,
    json_bytes: usize,
}

impl Outer {
    fn new(attributes: Map<String, Value>) -> Self {
        let json_bytes = serde_json::to_vec(&attributes).map_or(usize::MAX, |json| json.len());
        Self { attributes, json_bytes }
    }

    fn is_oversized(&self) -> bool {
        self.json_bytes > RECORD_BYTES_MAX
    }
}

/// Zero says nothing.
fn micros(nanos: u64) -> Option<Micros> {
    Some(nanos).filter(|nanos| *nanos != 0).and_then(|nanos| Micros::try_from(nanos / 1_000).ok())
}

/// A resource that names no host is taken for the certificate's.
fn speaks_for(resource: Option<&Resource>, host: &str) -> bool {
    let names = resource.iter().flat_map(|resource| &resource.attributes);
    names.filter(|attribute| attribute.key == HOST_NAME).all(|attribute| {
        let name = attribute.value.as_ref().and_then(|value| value.value.as_ref());
        matches!(name, Some(Any::StringValue(name)) if name.eq_ignore_ascii_case(host))
    })
}

fn object(record: LogRecord, outer: &Map<String, Value>) -> Map<String, Value> {
    let mut own = outer.clone();
    own.extend(attributes(record.attributes));
    let number = |number: u64| (number != 0).then(|| number.into());
    let text = |text: String| (!text.is_empty()).then_some(Value::String(text));
    let severity_number = number(u64::try_from(record.severity_number).unwrap_or(0));
    let members = [
        ("time", number(record.time_unix_nano)),
        ("observed", number(record.observed_time_unix_nano)),
        ("severity", text(record.severity_text).or_else(|| severity_number.clone())),
        ("severity_number", severity_number),
        ("body", record.body.map(value).filter(|body| !body.is_null())),
        ("event_name", text(record.event_name)),
        ("attributes", (!own.is_empty()).then_some(Value::Object(own))),
        ("trace_id", text(base16ct::lower::encode_string(&record.trace_id))),
        ("span_id", text(base16ct::lower::encode_string(&record.span_id))),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn scope_attributes(scope: InstrumentationScope) -> Map<String, Value> {
    let named = [("otel.scope.name", scope.name), ("otel.scope.version", scope.version)];
    let named = named.into_iter().filter(|(_, text)| !text.is_empty());
    let mut all: Map<_, _> = named.map(|(name, text)| (name.to_owned(), Value::String(text))).collect();
    all.extend(attributes(scope.attributes));
    all
}

fn attributes(attributes: Vec<KeyValue>) -> Map<String, Value> {
    attributes
        .into_iter()
        .map(|attribute| (attribute.key, attribute.value.map_or(Value::Null, value)))
        .collect()
}

/// The depth is bounded: prost reads no message nested deeper than 100.
fn value(any: AnyValue) -> Value {
    match any.value {
        None | Some(Any::StringValueStrindex(_)) => Value::Null,
        Some(Any::StringValue(text)) => Value::String(text),
        Some(Any::BoolValue(truth)) => Value::Bool(truth),
        Some(Any::IntValue(number)) => number.into(),
        Some(Any::DoubleValue(number)) => {
            Number::from_f64(number).map_or_else(|| Value::String(number.to_string()), Value::Number)
        }
        Some(Any::BytesValue(bytes)) => Value::String(BASE64.encode(bytes)),
        Some(Any::ArrayValue(array)) => Value::Array(array.values.into_iter().map(value).collect()),
        Some(Any::KvlistValue(list)) => Value::Object(attributes(list.values)),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::logs::v1::ScopeLogs;

    use super::*;

    fn text(key: &str, text: &str) -> KeyValue {
        let value = AnyValue { value: Some(Any::StringValue(text.into())) };
        KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
    }

    /// `count` records that say `own`, below a resource with an attribute `x` of so many bytes.
    fn read(attribute_bytes: usize, count: usize, own: &KeyValue) -> Result<Records, TooLarge> {
        let record = LogRecord { attributes: vec![own.clone()], ..LogRecord::default() };
        let scope = ScopeLogs { log_records: vec![record; count], ..ScopeLogs::default() };
        let attributes = vec![text("x", &"x".repeat(attribute_bytes))];
        let resource = Resource { attributes, ..Resource::default() };
        let logs =
            ResourceLogs { resource: Some(resource), scope_logs: vec![scope], ..ResourceLogs::default() };
        Records::read(ExportLogsServiceRequest { resource_logs: vec![logs] }, "web01")
    }

    #[test]
    fn counts_what_it_makes_of_a_request_whether_it_is_taken_or_not() {
        let nearly = RECORD_BYTES_MAX - 100;
        let too_many = REQUEST_JSON_BYTES_MAX / nearly + 1;
        let cases = [
            ("records that are taken", text("own", "")),
            ("records that are too long", text("own", &"y".repeat(200))),
            ("records that replace what is around them", text("x", "")),
        ];
        for (what, own) in cases {
            assert!(matches!(read(nearly, too_many, &own), Err(TooLarge)), "{what}");
            let records = read(nearly, 3, &own).unwrap();
            assert_eq!(records.taken.len() + records.oversized, 3, "{what}");
        }
    }

    #[test]
    fn rejects_all_records_of_a_resource_that_is_itself_too_long() {
        let records = read(4 << 20, 8_000, &text("own", "")).unwrap();
        assert_eq!((records.taken.len(), records.oversized, records.json_bytes), (0, 8_000, 0));
    }
}
