//! The daemon's own HTTP: `/metrics` for Prometheus, `/ready` for who starts or balances it, `/health` for who restarts it.
//!
//! It reads no body and knows no secret; it listens on loopback unless the configuration says otherwise.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::LazyLock;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::{IntGauge, IntGaugeVec};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics;

struct Metrics {
    ready: IntGauge,
    build: IntGaugeVec,
    started: IntGauge,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    ready: metrics::gauge("vonggac_ready", "Whether batches are taken."),
    build: metrics::gauges("vonggac_build_info", "1, with the version.", &["version"]),
    started: metrics::gauge(
        "vonggac_start_time_seconds",
        "When the daemon was started, in seconds since 1970.",
    ),
});

/// How far the daemon is, as `/ready` tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// The store is started, or asked what it holds.
    Starting,
    /// For what, and why it is not there.
    Waiting(String),
    /// Batches are taken.
    Ready,
    /// What is under way is stored, nothing more is taken.
    Stopping,
}

/// Where the phase is told.
pub(crate) struct Phases(watch::Sender<Phase>);

impl Phases {
    pub(crate) fn enter(&self, phase: Phase) {
        METRICS.ready.set(i64::from(phase == Phase::Ready));
        self.0.send_replace(phase);
    }
}

/// A socket that listens, or an error that names the key of the configuration.
pub(crate) fn listening<T>(key: &str, listen: SocketAddr, tried: std::io::Result<T>) -> anyhow::Result<T> {
    tried.map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::AddrInUse => ": another process listens there (`ss -lntup` says which)",
            ErrorKind::AddrNotAvailable => ": this machine has no such address",
            _ => "",
        };
        anyhow::Error::new(error).context(format!("{key}: cannot listen on {listen}{advice}"))
    })
}

/// Listens at `listen` and answers from now on, to the end of the runtime.
pub(crate) async fn open(listen: SocketAddr) -> anyhow::Result<(Phases, SocketAddr)> {
    METRICS.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    METRICS.started.set(jiff::Timestamp::now().as_second());
    let listener = listening("metrics.listen", listen, TcpListener::bind(listen).await)?;
    let address = listener.local_addr().context("metrics.listen")?;
    let (phases, phase) = watch::channel(Phase::Starting);
    let router = Router::new()
        .route("/metrics", get(page))
        .route("/ready", get(ready))
        .route("/health", get("alive\n"))
        .with_state(phase);
    tokio::spawn(async { axum::serve(listener, router).await });
    Ok((Phases(phases), address))
}

async fn page() -> impl IntoResponse {
    ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics::render())
}

async fn ready(State(phase): State<watch::Receiver<Phase>>) -> (StatusCode, String) {
    let (status, text) = match &*phase.borrow() {
        Phase::Starting => {
            (StatusCode::SERVICE_UNAVAILABLE, "starting: the store is not open yet".to_owned())
        }
        Phase::Waiting(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting: {reason}")),
        Phase::Ready => (StatusCode::OK, "ready".to_owned()),
        Phase::Stopping => {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping: what is under way is stored".to_owned())
        }
    };
    (status, text + "\n")
}
