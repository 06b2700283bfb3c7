//! What the agent tells of itself: Prometheus metrics over HTTP on a loopback address.
//!
//! Every loss, cut, truncation and failure has a counter. Counters of a file go with the file when it is let go, so that
//! dated log names do not grow the page for ever. Connections are served one by one, each with a timeout.

use std::convert::Infallible;
use std::time::SystemTime;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::net::TcpListener;

use crate::capture::CaptureMetrics;
use crate::limits::METRICS_TIMEOUT;

/// All metrics of the agent.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) lines: IntCounterVec,
    pub(crate) bytes: IntCounterVec,
    pub(crate) lag_bytes: IntGaugeVec,
    pub(crate) truncations: IntCounterVec,
    pub(crate) rotations: IntCounterVec,
    pub(crate) lost_bytes: IntCounter,
    pub(crate) lost_records: IntCounter,
    pub(crate) lost_batches: IntCounter,
    pub(crate) files_gone: IntCounter,
    pub(crate) lines_cut: IntCounter,
    pub(crate) files_open: IntGauge,
    pub(crate) file_errors: IntCounter,
    pub(crate) patterns_without_files: IntGauge,
    pub(crate) certificate_expires: IntGauge,
    pub(crate) batches_formed: IntCounter,
    pub(crate) batches_sent: IntCounter,
    pub(crate) batches_resent: IntCounter,
    pub(crate) batches_acked: IntCounter,
    pub(crate) batches_refused: IntCounter,
    pub(crate) in_flight: IntGauge,
    pub(crate) wire_bytes: IntCounter,
    pub(crate) ledger_bytes: IntGauge,
    pub(crate) ledger_errors: IntCounter,
    pub(crate) ledger_damages: IntCounter,
    pub(crate) connected: IntGauge,
    pub(crate) connections: IntCounter,
    pub(crate) connection_errors: IntCounter,
    pub(crate) last_ack: IntGauge,
    pub(crate) spool_bytes: IntGauge,
    pub(crate) spool_torn_lines: IntCounter,
    pub(crate) capture: CaptureMetrics,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        Ok(Self {
            lines: counters(r, "vonggac_agent_lines_read_total", "Records cut from files")?,
            bytes: counters(r, "vonggac_agent_read_bytes_total", "Bytes of files cut into batches")?,
            lag_bytes: gauges(r, "vonggac_agent_lag_bytes", "Bytes of a file that are not in a batch yet")?,
            truncations: counters(r, "vonggac_agent_truncations_total", "Files found truncated")?,
            rotations: counters(r, "vonggac_agent_rotations_total", "Files found renamed or deleted")?,
            lost_bytes: counter(r, "vonggac_agent_lost_bytes_total", "Bytes known to be lost")?,
            lost_records: counter(r, "vonggac_agent_lost_records_total", "Records that were gone")?,
            lost_batches: counter(r, "vonggac_agent_lost_batches_total", "Batches that were gone")?,
            files_gone: counter(r, "vonggac_agent_files_gone_total", "Files gone while no agent ran")?,
            lines_cut: counter(r, "vonggac_agent_line_pieces_total", "Pieces of long lines")?,
            files_open: gauge(r, "vonggac_agent_files_open", "Files held open")?,
            file_errors: counter(r, "vonggac_agent_file_errors_total", "Troubles with files")?,
            patterns_without_files: gauge(
                r,
                "vonggac_agent_patterns_without_files",
                "Patterns of sources that match no file",
            )?,
            certificate_expires: gauge(
                r,
                "vonggac_agent_certificate_expires_seconds",
                "When our certificate ends (Unix time); 0: it was not good at the start",
            )?,
            batches_formed: counter(r, "vonggac_agent_batches_formed_total", "Batches formed")?,
            batches_sent: counter(r, "vonggac_agent_batches_sent_total", "Batches written")?,
            batches_resent: counter(r, "vonggac_agent_batches_resent_total", "Batches sent again")?,
            batches_acked: counter(r, "vonggac_agent_batches_acked_total", "Batches stored")?,
            batches_refused: counter(r, "vonggac_agent_batches_refused_total", "Refusals by the collector")?,
            in_flight: gauge(r, "vonggac_agent_batches_in_flight", "Batches unacknowledged")?,
            wire_bytes: counter(r, "vonggac_agent_sent_bytes_total", "Bytes of batches written, under TLS")?,
            ledger_bytes: gauge(r, "vonggac_agent_ledger_bytes", "Size of the ledger")?,
            ledger_errors: counter(r, "vonggac_agent_ledger_errors_total", "Failed writes")?,
            ledger_damages: counter(r, "vonggac_agent_ledger_damages_total", "Damaged ledgers")?,
            connected: gauge(r, "vonggac_agent_connected", "1 while a connection to the collector stands")?,
            connections: counter(r, "vonggac_agent_connections_total", "Connections made")?,
            connection_errors: counter(r, "vonggac_agent_connection_errors_total", "Connections lost")?,
            last_ack: gauge(r, "vonggac_agent_last_ack_timestamp_seconds", "Last answer")?,
            spool_bytes: gauge(r, "vonggac_agent_spool_bytes", "Bytes of the spool on disk")?,
            spool_torn_lines: counter(r, "vonggac_agent_spool_torn_lines_total", "Lines a crash tore")?,
            capture: CaptureMetrics::new(r)?,
            registry,
        })
    }

    /// Drops the series of a file that is not followed any more.
    pub(crate) fn forget(&self, source: &str) {
        for counters in [&self.lines, &self.bytes, &self.truncations, &self.rotations] {
            let _absent = counters.remove_label_values(&[source]);
        }
        let _absent = self.lag_bytes.remove_label_values(&[source]);
    }

    pub(crate) fn acked(&self) {
        self.batches_acked.inc();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_ack.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }

    /// The page.
    pub(crate) fn render(&self) -> Result<Vec<u8>> {
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page)?;
        Ok(page)
    }

    /// Serves the page, for ever.
    pub(crate) async fn serve(&self, listener: TcpListener) -> Result<()> {
        loop {
            let (stream, _) = listener.accept().await.context("metrics.listen")?;
            let service = service_fn(|request| async move { Ok::<_, Infallible>(self.answer(&request)) });
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // A client that is slow or gone is its own concern.
            let _ended = tokio::time::timeout(METRICS_TIMEOUT, connection).await;
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let page = match request.uri().path() {
            "/metrics" => self.render().ok(),
            _ => None,
        };
        let status = if page.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let mut response =
            Response::new(Full::new(page.unwrap_or_else(|| b"see /metrics\n".to_vec()).into()));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; version=0.0.4"));
        response
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn counters(registry: &Registry, name: &str, help: &str) -> Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), &["source"])?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauges(registry: &Registry, name: &str, help: &str) -> Result<IntGaugeVec> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), &["source"])?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}
