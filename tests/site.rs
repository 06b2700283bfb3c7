//! A whole site in a temporary folder: certificates, a collector with its embedded store, and agents, all real processes of
//! this build on free ports of the loopback interface. Everything ends when the value is dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// How long anything may take before a test gives up: generous, because a loaded machine is no failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// How often a condition that only another process can tell is asked for again.
pub(crate) const ASK_EVERY: Duration = Duration::from_millis(50);

/// The collector and its store.
pub(crate) struct Site {
    folder: TempDir,
    collector: Option<Child>,
    metrics_port: u16,
    intake_port: u16,
    pub(crate) otlp_port: u16,
    pub(crate) flows_port: u16,
    store_port: u16,
}

/// An agent of the site.
pub(crate) struct Agent {
    folder: PathBuf,
    process: Option<Child>,
}

/// The project's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the project")
}

/// A program of this build.
pub(crate) fn program(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("a test has a path");
    let path = here.parent().and_then(Path::parent).expect("target/PROFILE/deps").join(name);
    assert!(path.is_file(), "{} is not built: run `cargo build --workspace` or tests/run", path.display());
    path
}

/// The embedded store's library: where the environment says, else where deploy/fetch-engine puts it.
pub(crate) fn engine() -> PathBuf {
    std::env::var_os("VONGGAC_CHDB").map_or_else(|| root().join(".vonggac/lib/libchdb.so"), PathBuf::from)
}

/// Whether the embedded store's library is there. Says so when it is not; in CI that is a failure.
pub(crate) fn engine_present(test: &str) -> bool {
    let present = engine().is_file();
    if !present {
        assert!(std::env::var_os("CI").is_none(), "{test}: no libchdb.so: deploy/fetch-engine gets it");
        eprintln!("SKIPPED {test}: no libchdb.so; deploy/fetch-engine gets it");
    }
    present
}

/// Whether a program is there. Says so when it is not.
pub(crate) fn present(program: &str, package: &str, test: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIPPED {test}: no {program}; deploy/install-packages {package} gets it");
    }
    found
}

/// Ports below those that the kernel gives to connections: one of these could be taken by any connection before it is bound.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// A port that is free, for TCP and UDP, and that no other test of this run gets.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Two runs at once begin at different places.
    let start = std::process::id().wrapping_mul(211);
    let ports = PORTS.end - PORTS.start;
    let next = || GIVEN.fetch_add(1, Ordering::Relaxed);
    let port = || u16::try_from(PORTS.start + start.wrapping_add(next()) % ports).expect("a port");
    let is_free = |port: &u16| {
        let address = ("127.0.0.1", *port);
        std::net::TcpListener::bind(address).is_ok() && std::net::UdpSocket::bind(address).is_ok()
    };
    PORTS.map(|_| port()).find(is_free).expect("a free port")
}

/// Waits until `done` gives a value.
pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let last = done();
        if let Ok(Some(value)) = last {
            return Ok(value);
        }
        // A panic, so that the logs of the processes are shown.
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}; last: {:?}", last.err());
        std::thread::sleep(ASK_EVERY);
    }
}

impl Site {
    /// Makes the certificates and the configuration, starts the collector and waits until it is ready.
    pub(crate) fn start(systems: &str) -> Result<Self> {
        let mut site = Self {
            folder: TempDir::new()?,
            collector: None,
            metrics_port: free_port(),
            intake_port: free_port(),
            otlp_port: free_port(),
            flows_port: free_port(),
            store_port: free_port(),
        };
        for folder in ["tmp", "hunts"] {
            std::fs::create_dir(site.path(folder))?;
        }
        site.run(&["ca", "init", "--dir", &site.path("ca"), "--host", "localhost"])?;
        std::fs::write(site.path("systems.toml"), systems)?;
        std::fs::write(site.path("vonggac.toml"), site.configuration())?;
        site.start_collector()?;
        Ok(site)
    }

    /// What `vonggac` says to a person of this site.
    pub(crate) fn vonggac(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(program("vonggac"))
            .args(arguments)
            .env("VONGGAC_CONFIG", self.path("vonggac.toml"))
            .env("TZ", "<+07>-7") // a zone that needs no database on the machine
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null())
            .output()?)
    }

    fn configuration(&self) -> String {
        let Self { metrics_port, intake_port, otlp_port, flows_port, store_port, .. } = self;
        let root = root().display();
        format!(
            r#"
data_dir = "data"
rules = ["{root}/rules/sigma"]
levels = "{root}/rules/levels"
hunts = ["hunts"]
systems = "systems.toml"

[tls]
ca = "ca/ca.crt"
cert = "ca/collector.crt"
key = "ca/collector.key"

[intake]
listen = "127.0.0.1:{intake_port}"

[otlp]
listen = "127.0.0.1:{otlp_port}"

[exporters]
enabled = true
listen = ["127.0.0.1:{flows_port}"]
tcp_listen = ["127.0.0.1:{flows_port}"]
allow = ["127.0.0.0/8"]

[metrics]
listen = "127.0.0.1:{metrics_port}"

[store]
listen = "127.0.0.1:{store_port}"
"#
        )
    }

    /// A path in the site's folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Starts the collector again after it was killed.
    pub(crate) fn start_collector(&mut self) -> Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.path("collector.log"))?;
        let process = Command::new(program("vonggac"))
            .args(["serve", "--config", &self.path("vonggac.toml")])
            .env("VONGGAC_CHDB", engine())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.collector = Some(process);
        self.until_ready()
    }

    fn until_ready(&mut self) -> Result<()> {
        let log = self.path("collector.log");
        let address = self.metrics_address();
        let collector = self.collector.as_mut().context("the collector runs")?;
        until("the collector is ready", || {
            if let Some(status) = collector.try_wait()? {
                panic!(
                    "the collector ended, {status}:\n{}",
                    std::fs::read_to_string(&log).unwrap_or_default()
                );
            }
            Ok(http_get(&address, "/ready")?.starts_with("HTTP/1.1 200").then_some(()))
        })
    }

    /// Runs `vonggac` with the arguments and gives what it printed; an exit code above 1 is an error.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(program("vonggac"))
            .args(arguments)
            .env("VONGGAC_CONFIG", self.path("vonggac.toml"))
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code().is_some_and(|code| code <= 1),
            "vonggac {arguments:?}: {}: {said}",
            output.status
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// An agent for `host`, its sources given as TOML tables.
    pub(crate) fn agent(&self, host: &str, sources: &str) -> Result<Agent> {
        self.run(&["ca", "issue", host, "--dir", &self.path("ca")])?;
        let folder = self.folder.path().join(format!("agent-{host}"));
        std::fs::create_dir(&folder)?;
        let ca = self.path("ca");
        let port = self.intake_port;
        let configuration = format!(
            r#"
data_dir = "{folder}/data"

[collector]
address = "localhost:{port}"

[tls]
ca = "{ca}/ca.crt"
cert = "{ca}/{host}.crt"
key = "{ca}/{host}.key"

{sources}
"#,
            folder = folder.display()
        );
        std::fs::write(folder.join("agent.toml"), configuration)?;
        let mut agent = Agent { folder, process: None };
        agent.start()?;
        Ok(agent)
    }

    /// What the store answers to the writer, as text (TSV).
    pub(crate) fn query(&self, sql: &str) -> Result<String> {
        let password = std::fs::read_to_string(self.path("data/store/writer.password"))?;
        let address = format!("127.0.0.1:{}", self.store_port);
        let length = sql.len();
        // HTTP/1.0: the answer comes unchunked and ends with the connection.
        let request = format!(
            "POST /?database=vonggac HTTP/1.0\r\nHost: {address}\r\nX-ClickHouse-User: vonggac\r\nX-ClickHouse-Key: {}\r\nContent-Length: {length}\r\n\r\n{sql}",
            password.trim()
        );
        let answer = http(&address, &request)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
        ensure!(head.split(' ').nth(1) == Some("200"), "{sql}: {head}\n{body}");
        Ok(body.trim_end().to_owned())
    }

    /// A number from the store.
    pub(crate) fn number(&self, sql: &str) -> Result<u64> {
        Ok(self.query(sql)?.parse()?)
    }

    /// Where the store answers over HTTP.
    pub(crate) fn store_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.store_port)
    }

    /// Where the collector shows its metrics.
    pub(crate) fn metrics_address(&self) -> String {
        format!("127.0.0.1:{}", self.metrics_port)
    }

    /// The collector's metrics page.
    pub(crate) fn metrics(&self) -> Result<String> {
        http_get(&self.metrics_address(), "/metrics")
    }

    /// Ends the collector with SIGKILL.
    pub(crate) fn kill_collector(&mut self) -> Result<()> {
        let mut collector = self.collector.take().context("the collector runs")?;
        collector.kill()?;
        collector.wait()?;
        Ok(())
    }

    /// Tells the collector to load its rules, hunts and indicators anew.
    pub(crate) fn hang_up(&self) -> Result<()> {
        kill(self.collector.as_ref().context("the collector runs")?.id(), libc::SIGHUP)
    }

    /// Tells the collector to end, and waits for it.
    pub(crate) fn end_collector(&mut self) -> Result<std::process::ExitStatus> {
        let mut collector = self.collector.take().context("the collector runs")?;
        kill(collector.id(), libc::SIGTERM)?;
        Ok(collector.wait()?)
    }

    /// Ends the store with SIGKILL; the collector is to start it again.
    pub(crate) fn kill_store(&self) -> Result<()> {
        let collector = self.collector.as_ref().context("the collector runs")?.id();
        let store = until("the store runs", || child_of(collector))?;
        kill(store, libc::SIGKILL)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut collector) = self.collector.take() {
            let _gone = kill(collector.id(), libc::SIGTERM);
            let _waited = collector.wait();
        }
        if std::thread::panicking() {
            eprintln!(
                "--- the collector's log\n{}",
                std::fs::read_to_string(self.path("collector.log")).unwrap_or_default()
            );
        }
    }
}

impl Agent {
    /// Starts the agent again after it was killed.
    pub(crate) fn start(&mut self) -> Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("agent.log"))?;
        let process = Command::new(program("vonggac-agent"))
            .arg("--config")
            .arg(self.folder.join("agent.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends the agent with SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the agent runs")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _killed = self.kill();
        if std::thread::panicking() {
            let log = self.folder.join("agent.log");
            eprintln!("--- the agent's log\n{}", std::fs::read_to_string(log).unwrap_or_default());
        }
    }
}

/// The body of a page, with its head.
pub(crate) fn http_get(address: &str, path: &str) -> Result<String> {
    http(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

fn http(address: &str, request: &str) -> Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The first child of a process, by /proc.
fn child_of(parent: u32) -> Result<Option<u32>> {
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
        if fields.is_some_and(|fields| fields.get(1) == Some(&parent.to_string().as_str())) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

fn kill(pid: u32, signal: i32) -> Result<()> {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status()?;
    ensure!(status.success(), "kill -{signal} {pid}: {status}");
    Ok(())
}
