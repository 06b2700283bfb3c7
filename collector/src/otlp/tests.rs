//! A gRPC client against the OTLP intake, with a pipeline that the test plays itself.

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::*;
use crate::batch::Fate;
use crate::door::Door;
use crate::site::Site;

struct Bench {
    client: LogsServiceClient<Channel>,
    queue: mpsc::Receiver<Delivery>,
    otlp: Arc<Otlp>,
    _stop: watch::Sender<bool>,
}

impl Bench {
    /// A collector, and a client that has the certificate of `web01`.
    async fn new(limits: Limits) -> Self {
        let site = Site::new();
        let tls = crate::tls::server_config(&site.tls(), &[ALPN]).unwrap();
        let door = Door::open("otlp", "127.0.0.1:0".parse().unwrap(), tls, &limits).await.unwrap();
        let address = door.address().unwrap();
        let (sender, queue) = mpsc::channel(limits.queue_batches);
        let (stop, stopped) = watch::channel(false);
        let otlp = Otlp::new(sender, limits);
        let (at_stop, serving) = (stopped.clone(), otlp.clone());
        tokio::spawn(door.run(stopped, move |guest| serving.clone().serve(guest, at_stop.clone())));
        let pair = site.host("web01", false);
        let tls = ClientTlsConfig::new()
            .domain_name("localhost")
            .ca_certificate(Certificate::from_pem(site.authority.certificate()))
            .identity(Identity::from_pem(pair.certificate, pair.key));
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
        let channel = endpoint.connect().await.unwrap();
        Self { client: LogsServiceClient::new(channel), queue, otlp, _stop: stop }
    }

    /// Sends while the pipeline tells `fates`, one a batch; what came out of both.
    async fn export(
        &mut self,
        request: ExportLogsServiceRequest,
        fates: &[Option<Fate>],
    ) -> (Result<ExportLogsServiceResponse, Status>, Vec<Batch>) {
        let mut client = self.client.clone();
        let (answer, batches) = tokio::join!(client.export(request), async {
            let mut batches = Vec::new();
            for fate in fates {
                let delivery = self.queue.recv().await.unwrap();
                batches.push(delivery.batch);
                fate.map(|fate| delivery.done.send(fate).unwrap());
            }
            batches
        });
        (answer.map(Response::into_inner), batches)
    }
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Any::StringValue(text.into())) }
}

fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

fn log(body: &str) -> LogRecord {
    LogRecord { body: Some(text(body)), time_unix_nano: 1_700_000_000_000_000_001, ..LogRecord::default() }
}

fn request(host: Option<&str>, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let attributes = host.map(|host| attribute("host.name", text(host))).into_iter().collect();
    let scope = InstrumentationScope { name: "app".into(), ..InstrumentationScope::default() };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_logs: vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }],
    }
}

fn lines(batch: &Batch) -> Vec<String> {
    batch.records().map(|record| String::from_utf8(record.bytes.to_vec()).unwrap()).collect()
}

const STORED: &[Option<Fate>] = &[Some(Fate::Stored)];

#[tokio::test]
async fn answers_once_stored_and_keeps_everything_a_record_says() {
    let mut bench = Bench::new(Limits::default()).await;
    let array = ArrayValue { values: vec![AnyValue { value: Some(Any::DoubleValue(f64::NAN)) }, text("x")] };
    let record = LogRecord {
        severity_number: 9,
        severity_text: "INFO".into(),
        attributes: vec![
            attribute("list", AnyValue { value: Some(Any::ArrayValue(array)) }),
            attribute("raw", AnyValue { value: Some(Any::BytesValue(vec![255, 0])) }),
        ],
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        ..log("đăng nhập")
    };
    let (answer, batches) = bench.export(request(Some("WEB01"), vec![record]), STORED).await;
    assert_eq!(answer.unwrap().partial_success, None);
    let [batch] = batches.as_slice() else { panic!("one batch expected") };
    assert_eq!((batch.header.agent.as_str(), batch.header.seq), ("web01", 0));
    assert_eq!((batch.header.format, batch.header.source.as_str()), (Format::Otlp, "otlp"));
    assert_eq!(
        lines(batch),
        [concat!(
            r#"{"time":1700000000000000001,"severity":"INFO","severity_number":9,"body":"đăng nhập","attributes":"#,
            r#"{"host.name":"WEB01","otel.scope.name":"app","list":["NaN","x"],"raw":"/wA="},"#,
            r#""trace_id":"01010101010101010101010101010101","span_id":"0202020202020202"}"#
        )]
    );
}

#[tokio::test]
async fn stores_a_repeated_request_once_and_a_failed_one_again() {
    let mut bench = Bench::new(Limits::default()).await;
    let (answer, first) = bench.export(request(None, vec![log("a")]), &[None]).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable, "its fate was dropped");
    let (answer, second) = bench.export(request(None, vec![log("a")]), STORED).await;
    answer.unwrap();
    assert!(second[0].header.resent, "parts of the first try may be stored");
    assert_eq!(first[0].header.epoch, second[0].header.epoch, "the same content is the same batch");
    let (answer, none) = bench.export(request(None, vec![log("a")]), &[]).await;
    answer.unwrap();
    assert_eq!(none, []);
    let (_, other) = bench.export(request(None, vec![log("b")]), STORED).await;
    assert_ne!(first[0].header.epoch, other[0].header.epoch);
}

#[test]
fn asks_the_store_for_what_may_have_come_to_an_earlier_collector() {
    let (started, hour) = (1_700_000_000_000_000, 3_600_000_000);
    let asked = |newest: Option<Micros>, after: Micros| {
        may_be_stored(newest.map(|newest| started + newest), started + after, started)
    };
    assert!(asked(None, ASK_STORE - 1) && asked(Some(hour), ASK_STORE - 1), "everything at first");
    assert!(!asked(None, ASK_STORE) && !asked(Some(hour), 2 * hour));
    assert!(asked(Some(-hour), 24 * hour), "a sender that tried for a day");
    assert!(asked(Some(ASK_STORE - 1), hour) && !asked(Some(ASK_STORE), hour), "clocks are not the same");
}

#[test]
fn knows_the_newest_record_of_a_request() {
    let seen = LogRecord { observed_time_unix_nano: 1_700_000_009_000_000_000, ..log("a") };
    for (records, newest) in [
        (vec![log("a")], Some(1_700_000_000_000_000)),
        (vec![log("a"), seen, LogRecord::default()], Some(1_700_000_009_000_000)),
        (vec![LogRecord::default()], None),
    ] {
        assert_eq!(Records::read(request(None, records), "web01").unwrap().newest, newest);
    }
}

#[tokio::test]
async fn joins_a_repeated_request_to_the_one_that_is_under_way() {
    let mut bench = Bench::new(Limits::default()).await;
    let mut clients = [bench.client.clone(), bench.client.clone()];
    let [one, two] = &mut clients;
    let (one, two, ()) = tokio::join!(
        one.export(request(None, vec![log("a")])),
        two.export(request(None, vec![log("a")])),
        async {
            let delivery = bench.queue.recv().await.unwrap();
            delivery.done.send(Fate::DeadLettered).unwrap();
        }
    );
    one.unwrap();
    two.unwrap();
    assert!(bench.queue.try_recv().is_err());
}

#[tokio::test]
async fn rejects_records_of_other_hosts_and_records_that_are_too_long() {
    let mut bench = Bench::new(Limits::default()).await;
    let (answer, _) = bench.export(request(Some("db01"), vec![log("a")]), &[]).await;
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status.message(), "1 records of a resource whose host.name is not \"web01\"");

    let mut mixed = request(Some("db01"), vec![log("a")]);
    let long = "x".repeat(event::RECORD_BYTES_MAX);
    mixed.resource_logs.extend(request(None, vec![log("b"), log(&long)]).resource_logs);
    let (answer, batches) = bench.export(mixed, STORED).await;
    let partial = answer.unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_log_records, 2);
    assert!(partial.error_message.contains("of more than 65536 bytes"), "{}", partial.error_message);
    assert_eq!(batches[0].header.records, 1);
}

#[tokio::test]
async fn cuts_a_large_request_into_batches_within_their_limits() {
    let mut bench = Bench::new(Limits::default()).await;
    let records = (0..BATCH_RECORDS_MAX + 1).map(|index| log(&index.to_string())).collect();
    let (answer, batches) = bench.export(request(None, records), &[Some(Fate::Stored); 2]).await;
    answer.unwrap();
    let shape: Vec<_> = batches.iter().map(|batch| (batch.header.seq, batch.header.records)).collect();
    assert_eq!(shape, [(0, 10_000), (1, 1)]);
    assert_eq!(batches[1].records().map(|record| record.offset).collect::<Vec<_>>(), [10_000]);
}

#[tokio::test]
async fn refuses_requests_beyond_its_limits() {
    let limits =
        Limits { otlp_requests_max: 1, otlp_request_bytes_max: 1024, otlp_timeout_s: 1, ..Limits::default() };
    let mut bench = Bench::new(limits).await;
    let (answer, _) = bench.export(request(None, vec![log(&"x".repeat(2_000))]), &[]).await;
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "senders do not repeat it");
    assert!(status.message().contains("limits.otlp_request_bytes_max"), "{}", status.message());

    let mut client = bench.client.clone();
    let first = tokio::spawn(async move { client.export(request(None, vec![log("a")])).await });
    let delivery = bench.queue.recv().await.unwrap();
    let (answer, _) = bench.export(request(None, vec![log("b")]), &[]).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable, "all places are taken");
    assert_eq!(first.await.unwrap().unwrap_err().code(), Code::Unavailable, "not stored in time");
    let (answer, _) = bench.export(request(None, vec![log("c")]), &[]).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable, "what is still under way keeps its place");
    delivery.done.send(Fate::Stored).unwrap();
}

#[tokio::test]
async fn a_host_takes_no_more_than_its_share_of_the_requests() {
    let mut bench = Bench::new(Limits { otlp_requests_host_max: 1, ..Limits::default() }).await;
    let mut client = bench.client.clone();
    let first = tokio::spawn(async move { client.export(request(None, vec![log("a")])).await });
    let delivery = bench.queue.recv().await.unwrap();
    let (answer, _) = bench.export(request(None, vec![log("b")]), &[]).await;
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().starts_with("limits.otlp_requests_host_max"), "{}", status.message());
    assert!(bench.otlp.place("web02").is_ok(), "another host has its own share");
    delivery.done.send(Fate::Stored).unwrap();
    first.await.unwrap().unwrap();
    let (answer, _) = bench.export(request(None, vec![log("b")]), STORED).await;
    answer.unwrap();
}
