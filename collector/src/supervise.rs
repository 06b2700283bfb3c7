//! Keeps the embedded store running: starts `vonggac store`, notices its end, starts it again.
//!
//! While it is away the pipeline repeats its inserts and the intakes are held back: nothing is lost, and nothing is dropped.
//! Between starts it waits a little longer each time ([`WAIT_FIRST`] to [`WAIT_MAX`]), until one has lived for [`SETTLED`].

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::Context;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::door::{Stop, told};
use crate::engine::{Launch, StoreProcess};
use crate::metrics;

/// First wait before the store is started again: a crash is mostly a single one.
const WAIT_FIRST: Duration = Duration::from_millis(100);
/// Longest wait: the log stays readable, and the store is back soon after its cause is gone.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// A store that lived for so long has nothing to do with the crash before it.
const SETTLED: Duration = Duration::from_secs(60);

struct Metrics {
    up: IntGauge,
    restarts: IntCounter,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    up: metrics::gauge("vonggac_embedded_store_up", "Whether the embedded store runs."),
    restarts: metrics::counter(
        "vonggac_embedded_store_restarts_total",
        "Ends of the embedded store that nobody asked for.",
    ),
});

/// The embedded store, running.
pub(crate) struct Supervisor {
    stop: watch::Sender<bool>,
    watching: JoinHandle<()>,
}

/// What it takes to start the store.
struct Start {
    launch: Launch,
    ready_timeout: Duration,
}

impl Supervisor {
    /// Starts the store and waits until it answers.
    pub(crate) async fn start(config: &Config) -> anyhow::Result<Self> {
        let launch = Launch {
            program: std::env::current_exe().context("cannot tell which program this is")?,
            data_dir: config.data_dir.clone(),
            listen: config.store.listen,
            library: config.store.library.clone(),
            memory_bytes_max: config.store.memory_bytes_max,
        };
        let start = Start { launch, ready_timeout: config.limits.store_ready_timeout() };
        let process = start.once().await?;
        let (stop, stopped) = watch::channel(false);
        Ok(Self { stop, watching: tokio::spawn(start.watch(process, stopped)) })
    }

    /// Stops the store; its data are closed in order.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.watching.await {
            error!(%error, "the store was not stopped in order");
        }
    }
}

impl Start {
    async fn watch(self, mut process: StoreProcess, mut stop: Stop) {
        let mut wait = WAIT_FIRST;
        loop {
            let since = Instant::now();
            tokio::select! {
                status = process.wait() => gone(status),
                () = told(&mut stop) => return end(process).await,
            }
            if since.elapsed() > SETTLED {
                wait = WAIT_FIRST;
            }
            process = tokio::select! {
                process = self.again(&mut wait) => process,
                () = told(&mut stop) => return,
            };
        }
    }

    async fn again(&self, wait: &mut Duration) -> StoreProcess {
        loop {
            sleep(*wait).await;
            *wait = (*wait * 2).min(WAIT_MAX);
            match self.once().await {
                Ok(process) => return process,
                Err(error) => error!("{error:#}"),
            }
        }
    }

    async fn once(&self) -> anyhow::Result<StoreProcess> {
        let process = StoreProcess::start(&self.launch, self.ready_timeout).await?;
        METRICS.up.set(1);
        info!(address = %process.address(), pid = process.id(), "the embedded store answers");
        Ok(process)
    }
}

fn gone(status: anyhow::Result<std::process::ExitStatus>) {
    METRICS.up.set(0);
    METRICS.restarts.inc();
    match status {
        Ok(status) => warn!(%status, "the embedded store ended; it is started again"),
        Err(error) => warn!("the embedded store is lost: {error:#}; it is started again"),
    }
}

async fn end(process: StoreProcess) {
    METRICS.up.set(0);
    match process.stop().await {
        Ok(status) => info!(%status, "the embedded store is closed"),
        Err(error) => error!("the embedded store did not close: {error:#}"),
    }
}
