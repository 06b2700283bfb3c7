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
//! Limits: a record of at most `event::RECORD_BYTES_MAX` bytes, a longer one is rejected, never cut; all records of a request
//! together [`REQUEST_JSON_BYTES_MAX`], because a resource's attributes are repeated in each. A resource may name no other
//! host than the certificate's: its records are rejected.

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
        let resource = attributes(logs.resource.map(|resource| resource.attributes).unwrap_or_default());
        for scope in logs.scope_logs {
            let mut outer = resource.clone();
            outer.extend(scope_attributes(scope.scope.unwrap_or_default()));
            for record in scope.log_records {
                self.push(record, &outer)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, record: LogRecord, outer: &Map<String, Value>) -> Result<(), TooLarge> {
        let observed = Some(record.observed_time_unix_nano).filter(|nanos| *nanos != 0);
        let observed = observed.and_then(|nanos| Micros::try_from(nanos / 1_000).ok());
        let json = Value::Object(object(record, outer)).to_string().into_bytes();
        if json.len() > RECORD_BYTES_MAX {
            self.oversized += 1;
            return Ok(());
        }
        self.json_bytes += json.len();
        if self.json_bytes > REQUEST_JSON_BYTES_MAX {
            return Err(TooLarge);
        }
        self.taken.push(Taken { json, observed });
        Ok(())
    }
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
