//! The hosts of a drill: a folder for each with its logs, a certificate for one day, and a real agent process.
//!
//! Everything lies in one temporary folder, readable by its owner only, and goes with the value: the processes are killed,
//! the folder is removed unless it is to be kept. That holds for every way out but SIGKILL.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::ca::{Authority, Leaf};
use crate::drill::recording::{Log, Recording};
use crate::people::{scrape, shown};

/// A drill's certificate is of no use the day after.
const CERTIFICATE_DAYS: u32 = 1;
/// How long an agent may take to reach the collector.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked whether it has.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Lines of an agent's log that are shown when it fails.
const LOG_LINES_SHOWN: usize = 5;

/// How the agents are to reach the collector.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) agent: PathBuf,
    /// `host:port`.
    pub(crate) collector: String,
    /// The name in the collector's certificate.
    pub(crate) server_name: String,
    /// The authority's certificate.
    pub(crate) ca: PathBuf,
    /// Folder of the authority.
    pub(crate) ca_dir: PathBuf,
}

/// The running agents.
pub(crate) struct Hosts {
    folder: Option<TempDir>,
    root: PathBuf,
    agents: Vec<Agent>,
}

struct Agent {
    host: String,
    process: Child,
    log: PathBuf,
    metrics: std::net::SocketAddr,
}

impl Hosts {
    /// Makes the folders and starts the agents; the logs are there, empty.
    pub(crate) fn start(recording: &Recording, route: &Route, drill_id: &str) -> Result<Self> {
        let authority = Authority::open(&route.ca_dir)
            .context("the authority that signs the drill's certificates; --ca DIR names its folder (with ca.crt and ca.key)")?;
        let folder = tempfile::Builder::new().prefix("vonggac-drill-").tempdir()?;
        let mut hosts = Self { root: folder.path().to_owned(), folder: Some(folder), agents: Vec::new() };
        for log in &recording.logs {
            let path = hosts.log_path(log);
            std::fs::create_dir_all(path.parent().context("a log has a folder")?)?;
            File::create_new(&path).with_context(|| path.display().to_string())?;
        }
        for host in recording.hosts() {
            let agent = hosts.start_agent(host, recording, route, drill_id, &authority)?;
            hosts.agents.push(agent);
        }
        Ok(hosts)
    }

    /// Where a log of the recording is written.
    pub(crate) fn log_path(&self, log: &Log) -> PathBuf {
        let below = log.path.strip_prefix("/").unwrap_or(&log.path);
        self.root.join(&log.host).join("root").join(below)
    }

    /// Waits until every agent has its connection to the collector.
    pub(crate) async fn connected(&mut self) -> Result<()> {
        let patience = Instant::now() + CONNECT_PATIENCE;
        for agent in &mut self.agents {
            while !agent.connected().await {
                agent.check()?;
                ensure!(
                    Instant::now() < patience,
                    "the agent of {} has no connection to the collector after {} s; its log:\n{}",
                    agent.host,
                    CONNECT_PATIENCE.as_secs(),
                    agent.last_words()
                );
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Fails when an agent has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.agents.iter_mut().try_for_each(Agent::check)
    }

    /// Leaves the folder where it is, and says where.
    pub(crate) fn keep(&mut self) -> Option<PathBuf> {
        self.folder.take().map(TempDir::keep)
    }

    fn start_agent(
        &self,
        host: &str,
        recording: &Recording,
        route: &Route,
        drill_id: &str,
        authority: &Authority,
    ) -> Result<Agent> {
        let folder = self.root.join(host);
        let leaf =
            Leaf { host: host.to_owned(), drill: true, from: SystemTime::now(), days: CERTIFICATE_DAYS };
        let pair = authority.host(&leaf)?;
        write_secret(&folder.join("host.crt"), &pair.certificate)?;
        write_secret(&folder.join("host.key"), &pair.key)?;
        let metrics = free_port()?;
        let configuration = folder.join("agent.toml");
        std::fs::write(&configuration, self.configuration(host, recording, route, drill_id, metrics))?;
        let log = folder.join("agent.log");
        let process = Command::new(&route.agent)
            .arg("--config")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!("{}: the agent cannot be started; --agent names it", route.agent.display())
            })?;
        Ok(Agent { host: host.to_owned(), process, log, metrics })
    }

    fn configuration(
        &self,
        host: &str,
        recording: &Recording,
        route: &Route,
        drill_id: &str,
        metrics: std::net::SocketAddr,
    ) -> String {
        let folder = self.root.join(host);
        let path = |path: &Path| quoted(&path.to_string_lossy());
        let mut text = format!(
            "data_dir = {}\ndrill_id = {}\n[collector]\naddress = {}\nserver_name = {}\n[tls]\nca = {}\ncert = {}\nkey = {}\n\
             [metrics]\nlisten = \"{metrics}\"\n",
            path(&folder.join("data")),
            quoted(drill_id),
            quoted(&route.collector),
            quoted(&route.server_name),
            path(&route.ca),
            path(&folder.join("host.crt")),
            path(&folder.join("host.key")),
        );
        for log in recording.logs.iter().filter(|log| log.host == host) {
            text += &format!(
                "[[source]]\npaths = [{}]\nexclude = []\nformat = \"{}\"\ncategory = {}\nproduct = {}\nservice = {}\n\
                 start = \"beginning\"\nutc_offset_s = 0\n",
                quoted(&glob_escaped(&self.log_path(log).to_string_lossy())),
                log.stamps.format.as_str(),
                quoted(&log.category),
                quoted(&log.product),
                quoted(&log.service),
            );
        }
        text
    }
}

impl Agent {
    async fn connected(&self) -> bool {
        let metrics = self.metrics;
        let samples = tokio::task::spawn_blocking(move || scrape::metrics(metrics)).await;
        samples.is_ok_and(|samples| {
            samples.is_ok_and(|samples| {
                samples.iter().any(|sample| sample.name == "vonggac_agent_connected" && sample.value > 0.0)
            })
        })
    }

    fn check(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("the agent of {} ended, {status}; its log:\n{}", self.host, self.last_words())
            }
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<String> = log.lines().map(shown).collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

/// Text as a basic string of TOML: JSON's strings are a part of them.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A path as a pattern that matches only itself.
fn glob_escaped(path: &str) -> String {
    path.chars()
        .map(|char| if "?*[]".contains(char) { format!("[{char}]") } else { char.to_string() })
        .collect()
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

/// A port that was free a moment ago. Should another process take it meanwhile, the agent says so and the drill ends.
fn free_port() -> Result<std::net::SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
