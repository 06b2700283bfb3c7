//! `vonggac store` as a child of the collector: start it, know when it answers, notice its end, stop it.
//!
//! The child's standard input is a pipe whose other end only the parent holds. When the parent dies, however it dies, the pipe
//! closes and the child ends by itself: no store is left behind with the data locked. (The kernel's parent-death signal would
//! fire when the *thread* that started the child ends, which a thread pool does at will.) When it answers it prints one line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// What stands before the address in the line that the child prints when it answers.
pub(super) const READY: &str = "ready ";
/// How long the child may take to close its data: it waits 5 s for statements under way.
const STOP_WAIT: Duration = Duration::from_secs(15);

/// How to start a store.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program, `vonggac`.
    pub program: PathBuf,
    pub data_dir: PathBuf,
    /// Loopback; port 0 takes a free one.
    pub listen: SocketAddr,
    pub library: Option<PathBuf>,
    pub memory_bytes_max: u64,
}

/// A store that answers.
#[derive(Debug)]
pub struct StoreProcess {
    child: Child,
    /// Held open: its closing tells the child to end.
    input: Option<ChildStdin>,
    address: SocketAddr,
}

impl StoreProcess {
    /// Starts a store and waits until it answers, or says why it does not: its own words stand on standard error.
    pub async fn start(launch: &Launch, wait: Duration) -> anyhow::Result<Self> {
        let mut child = command(launch).spawn().context("cannot start `vonggac store`")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the store has no standard output")?;
        let (mut line, mut output) = (String::new(), BufReader::new(output));
        let read = output.read_line(&mut line);
        // Dropped on error, the child is killed.
        tokio::time::timeout(wait, async { read.await.context("cannot read what the store says") })
            .await
            .with_context(|| format!("the store was not ready within {} s", wait.as_secs()))??;
        let Some(address) = line.trim().strip_prefix(READY).and_then(|text| text.parse().ok()) else {
            let status = child.wait().await.context("the store ended")?;
            bail!("the store did not start ({status}); its reason stands above");
        };
        Ok(Self { child, input, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Comes back when the store has ended: it crashed, or was killed. Start it again; nothing acknowledged is lost.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        self.child.wait().await.context("cannot wait for the store")
    }

    /// Tells the store to close its data and waits for its end; kills it when that takes too long.
    pub async fn stop(mut self) -> anyhow::Result<ExitStatus> {
        drop(self.input.take());
        match tokio::time::timeout(STOP_WAIT, self.child.wait()).await {
            Ok(status) => status.context("cannot wait for the store"),
            Err(_) => {
                self.child.kill().await.context("cannot kill the store")?;
                self.child.wait().await.context("cannot wait for the store")
            }
        }
    }
}

fn command(launch: &Launch) -> Command {
    let Launch { program, data_dir, listen, library, memory_bytes_max } = launch;
    let mut command = Command::new(program);
    command.arg("store").arg("--child").arg("--data-dir").arg(data_dir);
    command.args(["--listen", &listen.to_string(), "--memory-bytes-max", &memory_bytes_max.to_string()]);
    if let Some(library) = library {
        command.arg("--library").arg(library);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}
