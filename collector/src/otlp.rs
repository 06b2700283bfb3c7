//! OTLP logs over gRPC, from anyone who holds a certificate of the site's authority. A sender speaks for the host of its
//! certificate, as an agent does.
//!
//! Acknowledged means stored: the answer is sent after the store has said yes. A request that is sent again because its answer
//! was lost is stored once: its identity is its content (`epoch` = XXH3 of its records). While this collector lives it
//! remembers ([`recent`]). What may have come to an earlier one, which died before it could answer, it asks the store for: all
//! requests of its first minutes, and later those whose records are from before ([`ASK_STORE`]). What is not recognised, and
//! stored twice: a request that comes again when [`recent`] remembers so many others since, or records without any time that come
//! again later than that. What is taken for a repetition, and stored once: a request whose records have no time and that is like
//! another one to the letter.
//!
//! Answers: OK, with `partial_success` where records were rejected; UNAVAILABLE when the collector has no room or the store
//! takes too long (the sender tries again, OTLP 1.x section "OTLP/gRPC response"); PERMISSION_DENIED when every record is
//! another host's; RESOURCE_EXHAUSTED when a request is too large, which tells the sender not to send it again.
//!
//! Limits: size of a request, compressed or not (`limits.otlp_request_bytes_max`), requests at once, all together
//! (`otlp_requests_max`) and of one host (`otlp_requests_host_max`), counted before a byte of their body is read, time
//! (`otlp_timeout_s`), and those of [`records`].

mod recent;
mod records;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use event::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Batch, Format, Header, Micros, Record, is_believable};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use prometheus::{IntCounter, IntCounterVec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;
use tonic::codegen::{CompressionEncoding, Service, http};
use tonic::{Code, Request, Response, Status};
use tracing::{debug, warn};
use xxhash_rust::xxh3::Xxh3Default;

use self::recent::{Claim, Progress, Recent};
use self::records::{Records, Taken, TooLarge};
use crate::batch::{Delivery, SenderKind};
use crate::clock::now;
use crate::config::Limits;
use crate::door::{Guest, Stop, told};
use crate::metrics;
use crate::share::Shares;

/// What gRPC's TLS negotiates.
pub(crate) const ALPN: &[u8] = b"h2";
/// `source` of the events.
const SOURCE: &str = "otlp";
/// Requests at once on one connection: senders use one or two.
const STREAMS_MAX: u32 = 16;
/// A sender that is silent for so long is asked whether it is there ...
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// ... and has this long to answer.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// A collector asks the store for requests that come, or whose records are from, before so long after its start: OpenTelemetry's
/// exporters try for 5 minutes unless they are told to try for longer, and the rest is for their clocks.
const ASK_STORE: Micros = 600_000_000;
/// At most what one record costs in a batch beside its bytes: three varints.
const RECORD_OVERHEAD_BYTES: usize = 30;

struct Metrics {
    requests: IntCounterVec,
    records: IntCounterVec,
    rejected: IntCounterVec,
    repeated: IntCounter,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    requests: metrics::counters(
        "vonggac_otlp_requests_total",
        "OTLP requests, by the code of their answer.",
        &["code"],
    ),
    records: metrics::counters(
        "vonggac_otlp_records_total",
        "Log records taken from OTLP requests, by host; repeated requests count once.",
        &["host"],
    ),
    rejected: metrics::counters(
        "vonggac_otlp_rejected_records_total",
        "Log records of OTLP requests that were rejected, by reason. They are lost unless the sender acts.",
        &["reason"],
    ),
    repeated: metrics::counter(
        "vonggac_otlp_repeated_requests_total",
        "OTLP requests that were stored or under way already.",
    ),
});

/// What all connections share.
pub(crate) struct Otlp {
    queue: mpsc::Sender<Delivery>,
    limits: Limits,
    requests: Arc<Semaphore>,
    host_requests: Shares,
    recent: Recent,
    started: Micros,
}

/// The service for one sender.
struct Receiver {
    otlp: Arc<Otlp>,
    host: String,
}

/// A place among the requests under way, of all and of the host; freed when both the call and the storing are over.
type Place = Arc<[OwnedSemaphorePermit; 2]>;

impl Otlp {
    /// Batches go to `queue`.
    pub(crate) fn new(queue: mpsc::Sender<Delivery>, limits: Limits) -> Arc<Self> {
        LazyLock::force(&METRICS);
        let requests = Arc::new(Semaphore::new(limits.otlp_requests_max));
        let host_requests = Shares::new(limits.otlp_requests_host_max);
        let (recent, started) = (Recent::default(), now());
        Arc::new(Self { queue, limits, requests, host_requests, recent, started })
    }

    /// Serves one sender until either side ends.
    pub(crate) async fn serve(self: Arc<Self>, guest: Guest, mut stop: Stop) {
        let Guest { stream, peer, address, place: _place } = guest;
        let receiver = Receiver { otlp: self.clone(), host: peer.host.clone() };
        let service = LogsServiceServer::new(receiver)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(self.limits.otlp_request_bytes_max);
        let host = peer.host.clone();
        let call = hyper::service::service_fn(move |request| {
            self.clone().call(self.place(&host), service.clone(), request)
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .max_concurrent_streams(STREAMS_MAX)
            .serve_connection(TokioIo::new(stream), call);
        tokio::pin!(connection);
        let end = tokio::select! {
            end = connection.as_mut() => end,
            () = told(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        debug!(%address, host = peer.host, ?end, "OTLP connection ended");
    }

    /// A place for one more request of a host, or which limit leaves none.
    fn place(&self, host: &str) -> Result<Place, &'static str> {
        let of_host = self.host_requests.of(host).try_acquire_owned();
        let of_host = of_host.map_err(|_| "limits.otlp_requests_host_max requests of this host")?;
        let of_all = self.requests.clone().try_acquire_owned();
        Ok(Arc::new([of_host, of_all.map_err(|_| "limits.otlp_requests_max requests")?]))
    }

    /// One call: there must be a place for it, and it must end in time.
    async fn call(
        self: Arc<Self>,
        place: Result<Place, &'static str>,
        mut service: LogsServiceServer<Receiver>,
        mut request: http::Request<Incoming>,
    ) -> Result<http::Response<tonic::body::Body>, Infallible> {
        let answer = match place {
            Ok(place) => {
                request.extensions_mut().insert::<Place>(place);
                let call = timeout(self.limits.otlp_timeout(), service.call(request));
                call.await.unwrap_or_else(|_| {
                    Ok(Status::unavailable("the request was not whole or not stored in time: try again")
                        .into_http())
                })?
            }
            Err(full) => Status::unavailable(format!("{full} are under way: try later")).into_http(),
        };
        let answer = self.judged(answer);
        METRICS.requests.with_label_values(&[&format!("{:?}", code(&answer))]).inc();
        Ok(answer)
    }

    /// A request beyond the size that is read is OUT_OF_RANGE for tonic, and for senders that is a reason to send it again (OTLP
    /// 1.x section "Failures"): for ever, because it becomes no smaller.
    fn judged(&self, answer: http::Response<tonic::body::Body>) -> http::Response<tonic::body::Body> {
        if code(&answer) != Code::OutOfRange {
            return answer;
        }
        let max = self.limits.otlp_request_bytes_max;
        let why =
            format!("more than {max} bytes (limits.otlp_request_bytes_max): send fewer records at once");
        Status::resource_exhausted(why).into_http()
    }

    /// Stores a request once, however often it comes.
    async fn once(self: &Arc<Self>, host: &str, records: Records, place: Place) -> Result<(), Status> {
        let Records { taken, newest, .. } = records;
        let content = content(host, &taken);
        let mut progress = match self.recent.claim(content) {
            Claim::Theirs(progress) => {
                METRICS.repeated.inc();
                progress
            }
            Claim::Ours { end, again } => {
                let progress = end.subscribe();
                let resent = again || may_be_stored(newest, now(), self.started);
                // On a task of its own: a sender that loses patience must not stop what is half done.
                tokio::spawn(self.clone().store(
                    Work { host: host.to_owned(), content, resent, taken },
                    end,
                    place,
                ));
                progress
            }
        };
        match progress.wait_for(|progress| *progress != Progress::UnderWay).await.as_deref() {
            Ok(Progress::Stored) => Ok(()),
            _ => Err(Status::unavailable("the store did not take it: try again")),
        }
    }

    async fn store(self: Arc<Self>, work: Work, end: watch::Sender<Progress>, place: Place) {
        let (host, records) = (work.host.clone(), work.taken.len());
        let progress = match self.deliver(work).await {
            Some(()) => {
                METRICS.records.with_label_values(&[&host]).inc_by(wide(records));
                Progress::Stored
            }
            None => Progress::Failed,
        };
        end.send_replace(progress);
        drop(place);
    }

    /// Hands everything to the pipeline, then waits for all fates. `None` when one of them does not come.
    async fn deliver(&self, work: Work) -> Option<()> {
        let received = now();
        let mut fates = Vec::new();
        for batch in work.batches(received)? {
            let (done, fate) = oneshot::channel();
            let delivery = Delivery { batch, sender: SenderKind::Otlp, received, gap: None, done };
            self.queue.send(delivery).await.ok()?;
            fates.push(fate);
        }
        for fate in fates {
            fate.await.ok()?;
        }
        Some(())
    }
}

#[tonic::async_trait]
impl LogsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.take(request).await.map(Response::new)
    }
}

impl Receiver {
    async fn take(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<ExportLogsServiceResponse, Status> {
        let place = request.extensions().get::<Place>().cloned();
        let place = place.ok_or_else(|| Status::internal("a call without a place"))?;
        let (records, place) = self.read(request.into_inner(), place).await?;
        let why = records.why(&self.host);
        self.count_rejected(&records, &why);
        if records.taken.is_empty() && records.foreign > 0 {
            return Err(Status::permission_denied(why));
        }
        let rejected = i64::try_from(records.rejected()).unwrap_or(i64::MAX);
        if !records.taken.is_empty() {
            self.otlp.once(&self.host, records, place).await?;
        }
        let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: why };
        Ok(ExportLogsServiceResponse { partial_success: (rejected > 0).then_some(partial) })
    }

    /// On a thread that may compute for long. The place goes with it: it is free when the work is over, not when the caller has
    /// lost patience.
    async fn read(
        &self,
        request: ExportLogsServiceRequest,
        place: Place,
    ) -> Result<(Records, Place), Status> {
        let host = self.host.clone();
        let reading = tokio::task::spawn_blocking(move || (Records::read(request, &host), place));
        let (records, place) = reading.await.map_err(|_| Status::internal("reading the request failed"))?;
        let records = records.map_err(|TooLarge| {
            let max = records::REQUEST_JSON_BYTES_MAX;
            Status::resource_exhausted(format!("more than {max} bytes as JSON: send fewer records at once"))
        })?;
        Ok((records, place))
    }

    fn count_rejected(&self, records: &Records, why: &str) {
        if records.rejected() > 0 {
            METRICS.rejected.with_label_values(&["host"]).inc_by(wide(records.foreign));
            METRICS.rejected.with_label_values(&["oversized"]).inc_by(wide(records.oversized));
            warn!(host = self.host, "rejected: {why}");
        }
    }
}

/// A request on its way to the pipeline.
struct Work {
    host: String,
    content: u128,
    resent: bool,
    taken: Vec<Taken>,
}

impl Work {
    /// The request as batches within their limits, always cut in the same places. `None` cannot be.
    fn batches(&self, received: Micros) -> Option<Vec<Batch>> {
        let (mut batches, mut rest, mut offset) = (Vec::new(), self.taken.as_slice(), 0_u64);
        while !rest.is_empty() {
            let (part, after) = rest.split_at(fitting(rest));
            let records = (offset..).zip(part).map(|(offset, taken)| Record {
                time: believable(taken.observed, received),
                offset,
                bytes: &taken.json,
            });
            batches.push(Batch::new(self.header(wide(batches.len()), received), records).ok()?);
            offset += wide(part.len());
            rest = after;
        }
        Some(batches)
    }

    fn header(&self, seq: u64, received: Micros) -> Header {
        Header {
            agent: self.host.clone(),
            epoch: low_half(self.content),
            seq,
            resent: self.resent,
            source: SOURCE.to_owned(),
            format: Format::Otlp,
            time_base: received,
            ..Header::default()
        }
    }
}

/// How many of the first records one batch takes: at least one.
fn fitting(taken: &[Taken]) -> usize {
    let mut bytes = 0;
    let fits = taken.iter().take(BATCH_RECORDS_MAX).take_while(|taken| {
        bytes += taken.json.len() + RECORD_OVERHEAD_BYTES;
        bytes <= BATCH_BYTES_MAX
    });
    fits.count().max(1)
}

/// When the sender saw the record; the time of receipt when it says nothing that can be.
fn believable(observed: Option<Micros>, received: Micros) -> Micros {
    observed.filter(|observed| is_believable(*observed, received)).unwrap_or(received)
}

/// Whether a request that comes now may have come to a collector before the one that `started`: whose newest record is younger
/// did not.
fn may_be_stored(newest: Option<Micros>, now: Micros, started: Micros) -> bool {
    newest.map_or(now, |newest| newest.min(now)) < started.saturating_add(ASK_STORE)
}

/// Says whether two requests are the same.
fn content(host: &str, taken: &[Taken]) -> u128 {
    let mut hash = Xxh3Default::new();
    for bytes in std::iter::once(host.as_bytes()).chain(taken.iter().map(|taken| taken.json.as_slice())) {
        hash.update(&wide(bytes.len()).to_le_bytes());
        hash.update(bytes);
    }
    hash.digest128()
}

fn low_half(content: u128) -> u64 {
    u64::try_from(content & u128::from(u64::MAX)).unwrap_or_default()
}

/// What an answer says before its body; behind a body there is nothing but OK.
fn code(answer: &http::Response<tonic::body::Body>) -> Code {
    Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code())
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
