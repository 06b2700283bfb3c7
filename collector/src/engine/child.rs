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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program that says what the script says, in place of `vonggac store`.
    fn launch(folder: &tempfile::TempDir, script: &str) -> Launch {
        let program = folder.path().join("store");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let data_dir = folder.path().into();
        Launch { program, data_dir, listen, library: Some("/lib/x.so".into()), memory_bytes_max: 7 }
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn starts_when_the_child_says_that_it_answers_and_stops_it_by_closing_its_input() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo \"$@\" > $(dirname $0)/arguments; echo ready 127.0.0.1:77; cat; exit 3";
        let store = StoreProcess::start(&launch(&folder, script), PATIENCE).await.unwrap();
        assert_eq!(store.address(), SocketAddr::from(([127, 0, 0, 1], 77)));
        assert_eq!(store.stop().await.unwrap().code(), Some(3));
        let arguments = std::fs::read_to_string(folder.path().join("arguments")).unwrap();
        assert!(arguments.starts_with("store --child --data-dir "), "{arguments}");
        assert!(arguments.ends_with("--memory-bytes-max 7 --library /lib/x.so\n"), "{arguments}");
    }

    #[tokio::test]
    async fn tells_a_child_that_ends_from_one_that_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let error = StoreProcess::start(&launch(&folder, "exit 2"), PATIENCE).await.unwrap_err();
        assert!(error.to_string().contains("did not start (exit status: 2)"), "{error}");
        let error = StoreProcess::start(&launch(&folder, "cat"), Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains("not ready within"), "{error}");
    }

    #[tokio::test]
    async fn notices_the_end_of_the_child() {
        let folder = tempfile::tempdir().unwrap();
        let mut store =
            StoreProcess::start(&launch(&folder, "echo ready [::1]:9; exit 4"), PATIENCE).await.unwrap();
        assert_eq!(store.wait().await.unwrap().code(), Some(4));
    }
}
