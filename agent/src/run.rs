//! Wires the stages: one thread, one runtime, one task; and the threads of capture, if there are any.
//!
//! Shutdown (SIGTERM or SIGINT): capture writes out what it holds, `tail` reads what is there and closes its channel, `ship` waits for the acknowledgements
//! of what is held; after [`SHUTDOWN_GRACE`] the rest is left to the ledger. A stage that fails ends the process: whatever
//! supervises it starts it again, and nothing is lost by that.

use std::cell::RefCell;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use rustls_pki_types::UnixTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::capture::{Capture, Opened, give_up};
use crate::check::{Finding, findings};
use crate::config::Config;
use crate::ledger::Ledger;
use crate::limits::{QUEUE_BATCHES, SHUTDOWN_GRACE};
use crate::metrics::Metrics;
use crate::ship::Ship;
use crate::spool::Spool;
use crate::tail::Tail;
use crate::tls::{Identity, certificate_until, random_u64};

/// Runs until a signal ends it.
pub fn run(config: Config) -> Result<()> {
    let identity = Identity::load(&config)?;
    let opened = crate::capture::open(&config.capture)?;
    // Before there is a second thread: capabilities are a thread's.
    let kept = give_up().context("capabilities cannot be given up")?;
    info!(kept, "capabilities given up, but for those to read and write files");
    let lock = lock(&config.data_dir)?;
    let ledger = Ledger::open(&config.data_dir, random_u64()?)
        .with_context(|| format!("data_dir: {}: ledger", config.data_dir.display()))?;
    let spool = Spool::open(&config.data_dir, config.spool.bytes_max)
        .with_context(|| format!("data_dir: {}: spool", config.data_dir.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(stages(Rc::new(config), &identity, ledger, opened, spool));
    drop(lock);
    done
}

async fn stages(
    config: Rc<Config>,
    identity: &Identity,
    ledger: Ledger,
    opened: Vec<Opened>,
    spool: Arc<Spool>,
) -> Result<()> {
    let collector = config.collector.address.as_str();
    info!(agent = identity.agent, collector, version = env!("CARGO_PKG_VERSION"), "starting");
    let metrics = Rc::new(Metrics::new()?);
    report_findings(&config, &metrics);
    let ledger = Rc::new(RefCell::new(ledger));
    let (frames, received) = mpsc::channel(QUEUE_BATCHES);
    let agent = identity.agent.clone();
    let capture = Capture::start(&config, opened, &spool, &metrics.capture)?;
    let (books, counts) = (Rc::clone(&ledger), Rc::clone(&metrics));
    let tail = Tail::new(Rc::clone(&config), agent, books, counts, spool, frames)?;
    let ship = Ship::new(&config, identity, received, Rc::clone(&ledger), Rc::clone(&metrics))?;
    let (stop, stopped) = watch::channel(false);
    let (drained, is_drained) = watch::channel(false);
    let capture = capture.run(stop_asked(stopped), drained);
    // `tail` goes on until capture has written its last line.
    let work = async { tokio::try_join!(tail.run(stop_asked(is_drained)), ship.run()) };
    let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let done = tokio::select! {
        done = work => done.map(|_| ()),
        done = capture => done.context("capture"),
        done = pages(config.metrics.listen, &metrics) => done,
        () = signals(terminate, interrupt, stop) => {
            warn!("not done in time: what is not acknowledged is kept by the ledger");
            Ok(())
        }
    };
    ledger.borrow_mut().commit().context("ledger")?;
    let unacked = ledger.borrow().state().unacked.len();
    info!(unacked, "stopped");
    done
}

/// What `--check` would say. Nothing of it keeps an agent from reading and keeping logs.
fn report_findings(config: &Config, metrics: &Metrics) {
    let now = SystemTime::now();
    for finding in findings(config, now) {
        match finding {
            Finding::Wrong(text) => error!("{text}"),
            Finding::Doubtful(text) => warn!("{text}"),
        }
    }
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let until = certificate_until(config, UnixTime::since_unix_epoch(now)).map_or(0, |until| until.as_secs());
    metrics.certificate_expires.set(i64::try_from(until).unwrap_or(i64::MAX));
}

async fn stop_asked(mut stopped: watch::Receiver<bool>) {
    // The sender lives as long as the process listens for signals.
    let _closed = stopped.wait_for(|stopped| *stopped).await;
}

/// Waits for a signal, tells it, and returns when the grace is over.
async fn signals(mut terminate: Signal, mut interrupt: Signal, stop: watch::Sender<bool>) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("stopping");
    let _told = stop.send(true);
    tokio::time::sleep(SHUTDOWN_GRACE).await;
}

async fn pages(listen: Option<SocketAddr>, metrics: &Metrics) -> Result<()> {
    let Some(listen) = listen else { return std::future::pending().await };
    let listener = TcpListener::bind(listen).await.with_context(|| format!("metrics.listen = {listen}"))?;
    info!(address = %listener.local_addr()?, "metrics");
    metrics.serve(listener).await
}

/// One agent a ledger: two would cut the same lines under the same numbers.
fn lock(data_dir: &Path) -> Result<File> {
    let shown = data_dir.display();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .with_context(|| format!("data_dir: {shown}"))?;
    let path = data_dir.join("lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("data_dir: {shown}"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("data_dir: {shown}: expected no other agent with this folder")
        }
        Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("{}", path.display())),
    }
}
