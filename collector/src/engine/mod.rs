//! `vonggac store`: a ClickHouse server for one machine. It loads ClickHouse's own engine as a library (libchdb) and speaks
//! ClickHouse's HTTP protocol on a loopback address, so that the collector, Grafana and people talk to it as to any server.
//!
//! It runs as a process of its own: an engine that crashes or runs out of memory takes no event with it. One request is one
//! connection of the engine; `http.rs` lets a request in, `execute.rs` runs its statement.
//!
//! Never: another address than loopback, a user without a password, files of this machine or other servers in a statement.
//! The engine lacks SQL users, server logs, batching of async inserts, replication and ClickHouse's own TCP protocol.

mod auth;
mod body;
mod child;
mod columns;
mod config;
mod confine;
mod connection;
mod encode;
mod exception;
mod execute;
mod ffi;
mod handshake;
mod http;
mod library;
mod limits;
mod native_block;
mod reply;
mod request;
mod session;
mod statement;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

pub(crate) use auth::random_hex;
pub use auth::{READER, WRITER};
pub use child::{Launch, StoreProcess};
pub(crate) use confine::{UNCONFINED, supported as confinable};

use connection::Engine;
use http::{Shared, Turns};
use limits::{HOUSEKEEPING_PERIOD, LOCK_WAIT, READER_QUERIES_MAX, STOP_GRACE, WRITER_QUERIES_MAX};

/// Threads that move bytes between sockets and statements.
const IO_THREADS: usize = 2;
/// Threads for what is not a statement of a client: kills, housekeeping.
const SPARE_THREADS: usize = 4;

/// Serve the embedded ClickHouse on a loopback address.
///
/// `vonggac serve` starts this by itself when no [clickhouse] url is configured. Users: `vonggac` writes, `grafana` reads; their
/// passwords lie in DATA_DIR/store/writer.password and reader.password, made at first start.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the collector's data; the store uses `store` in it
    #[arg(long, default_value = "/var/lib/vonggac", value_name = "DIR")]
    data_dir: PathBuf,
    /// Loopback address to listen on; port 0 takes a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:8123", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The engine, libchdb.so [default: $VONGGAC_CHDB, ../lib/vonggac and ../lib beside the program, DATA_DIR/lib]
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// What statements may use together; the process itself takes some 200 MB more
    #[arg(long, default_value_t = crate::config::STORE_MEMORY_BYTES_MAX, value_name = "BYTES")]
    memory_bytes_max: u64,
    /// End when standard input closes, and wait for an earlier store to let go of the data: for the collector
    #[arg(long, hide = true)]
    child: bool,
}

/// Where the engine is, as a start would find it.
pub(crate) fn library(told: Option<&Path>, data_dir: &Path) -> anyhow::Result<PathBuf> {
    library::find(told, data_dir)
}

/// Serves until told to stop.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { data_dir, listen, library, memory_bytes_max, child } = args;
    ensure!(
        listen.ip().is_loopback(),
        "--listen {listen}: the embedded store listens on loopback only (127.0.0.1 or [::1]); it has no TLS"
    );
    crate::log::to_stderr(tracing::Level::INFO);
    let library = library::find(library.as_deref(), &data_dir)?;
    let layout = config::Layout::make(&data_dir)?;
    let _lock = layout.lock(if child { LOCK_WAIT } else { std::time::Duration::ZERO })?;
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let passwords = auth::Passwords::load(&layout.writer_password(), &layout.reader_password())?;
    let engine = Arc::new(Engine::open(&library, &layout, memory_bytes_max)?);
    let shared = Arc::new(Shared {
        engine: engine.clone(),
        sessions: Arc::default(),
        passwords,
        turns: Turns::new(),
        nonce: auth::random_hex().context("no random bytes")?.split_off(32),
        requests: AtomicU64::new(0),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .max_blocking_threads(WRITER_QUERIES_MAX + READER_QUERIES_MAX + SPARE_THREADS)
        .enable_all()
        .build()?;
    runtime.block_on(serve(listener, &shared, child))?;
    runtime.shutdown_timeout(STOP_GRACE); // a thread that hangs in the engine does not keep us
    shared.sessions.close_idle();
    if !engine.close() {
        // It says so at nearly every stop; the data are closed, and the process ends with its threads.
        debug!("the engine did not end all of its threads; what was acknowledged is on disk");
    }
    info!("the store is closed");
    Ok(ExitCode::SUCCESS)
}

async fn serve(listener: TcpListener, shared: &Arc<Shared>, child: bool) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let mut stop = Box::pin(stop_asked(child)?);
    let housekeeping = tokio::spawn(housekeeping(shared.clone()));
    let (closing, close) = oneshot::channel::<()>();
    let server = axum::serve(listener, http::router(shared.clone())).with_graceful_shutdown(async {
        let _ = close.await; // the sender is never dropped before it is told
    });
    let server = tokio::spawn(server.into_future());
    info!(%address, version = shared.engine.facts.version, "the store answers");
    say_ready(address)?;
    stop.as_mut().await;
    info!("the store closes");
    housekeeping.abort();
    let _ = closing.send(());
    end_statements(shared).await;
    let _ = tokio::time::timeout(STOP_GRACE, server).await; // the last answers on their way out
    Ok(())
}

/// Waits for the statements under way, then kills them.
async fn end_statements(shared: &Arc<Shared>) {
    if tokio::time::timeout(STOP_GRACE, shared.turns.all_back()).await.is_ok() {
        return;
    }
    warn!("statements run on after {} s and are killed", STOP_GRACE.as_secs());
    let engine = shared.engine.clone();
    let _ = tokio::task::spawn_blocking(move || engine.kill_all()).await;
    let _ = tokio::time::timeout(STOP_GRACE, shared.turns.all_back()).await;
}

/// One line that the parent waits for. A parent that does not listen is no reason to stop.
fn say_ready(address: SocketAddr) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}{address}", child::READY)
        .and_then(|()| output.flush())
        .context("cannot say that it is ready")
}

/// Comes back when a signal says so, or, in a child, when the parent is gone.
fn stop_asked(child: bool) -> anyhow::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (parent_gone, gone) = oneshot::channel::<()>();
    let mut parent_gone = Some(parent_gone);
    if child {
        let sender = parent_gone.take();
        std::thread::Builder::new().name("parent".into()).spawn(move || {
            let _ = std::io::stdin().lock().read_to_end(&mut Vec::new()); // nothing is ever sent
            drop(sender);
        })?;
    }
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = gone => {}
        }
        drop(parent_gone); // kept until now, so that without a parent only a signal ends us
    })
}

/// What the engine does not do by itself.
async fn housekeeping(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING_PERIOD);
    loop {
        ticks.tick().await;
        let shared = shared.clone();
        let _ = tokio::task::spawn_blocking(move || {
            shared.sessions.sweep();
            shared.engine.reload_dictionaries();
        })
        .await; // a panic in it is logged by the runtime; the next round tries again
    }
}
