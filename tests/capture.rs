//! The agent's capture on real interfaces: a pair of veth, one end in a network namespace that sends what is counted here.
//!
//! Needs root, `ip` and python3; skipped aloud where they are missing. Names are of this process and test, and go with it.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::sink::{Authority, Sink, write_identity};
use crate::site::{free_port, http_get, program, until};

/// Sends so many datagrams of 100 bytes to an address, from a socket of its own.
const SEND_DATAGRAMS: &str = "
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(int(sys.argv[2])):
    s.sendto(b'x' * 100, (sys.argv[1], 40000))
    if i % 50 == 49: time.sleep(0.005)
";

/// The same over the loopback interface, received, so that no ICMP answers.
const SEND_TO_SELF: &str = "
import socket, sys
r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
r.bind(('127.0.0.1', 40000))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(int(sys.argv[1])):
    s.sendto(b'x' * 100, ('127.0.0.1', 40000))
    r.recv(200)
";

/// Sends so many bytes by TCP; segments go whole through a veth, up to 64 KiB.
const SEND_STREAM: &str = "
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.sendall(b'x' * int(sys.argv[3]))
s.close()
";

/// Whether the network can be set up here.
fn can_set_up(test: &str) -> bool {
    // The owner of /proc/self is who we are.
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.uid() == 0
    });
    let name = unique("p");
    let can = is_root && ip(&["netns", "add", &name]).is_ok() && ip(&["netns", "delete", &name]).is_ok();
    if !can {
        eprintln!("SKIPPED {test}: it needs root, `ip` and network namespaces");
    }
    can
}

/// A name of this process and call, short enough for an interface.
fn unique(kind: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("vg{kind}{}x{}", std::process::id() % 1_000_000, COUNT.fetch_add(1, Ordering::Relaxed))
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("ip")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "ip {}: {said}", arguments.join(" "));
    Ok(())
}

/// A namespace, and a veth whose other end is in it.
struct Wire {
    namespace: String,
    interface: String,
    /// The first three numbers of the addresses: .1 is ours, .2 the namespace's.
    network: String,
}

impl Wire {
    fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Of 198.18.0.0/15, which is for tests of networks (RFC 2544).
        let network = format!("198.18.{}", (std::process::id() + count) % 250);
        let wire = Self { namespace: unique("n"), interface: unique("i"), network };
        ip(&["netns", "add", &wire.namespace])?;
        wire.run(&["ip", "link", "set", "lo", "up"])?;
        Ok(wire)
    }

    /// Makes the pair. It can be made again after [`Wire::unplug`].
    fn plug(&self) -> Result<()> {
        let Self { namespace, interface, network } = self;
        ip(&["link", "add", interface, "type", "veth", "peer", "name", "far", "netns", namespace])?;
        // Nobody is to say anything that was not asked for.
        for (prefix, name) in [(vec![], interface.as_str()), (vec!["ip", "netns", "exec", namespace], "far")]
        {
            let key = format!("net.ipv6.conf.{name}.disable_ipv6=1");
            let command = [prefix, vec!["sysctl", "-q", "-w", &key]].concat();
            let _kernel_without_ipv6 = Command::new(command[0]).args(&command[1..]).status();
        }
        ip(&["address", "add", &format!("{network}.1/30"), "dev", interface])?;
        ip(&["link", "set", interface, "up"])?;
        self.run(&["ip", "address", "add", &format!("{network}.2/30"), "dev", "far"])?;
        self.run(&["ip", "link", "set", "far", "up"])
    }

    fn unplug(&self) -> Result<()> {
        ip(&["link", "delete", &self.interface])
    }

    /// Runs a program in the namespace.
    fn run(&self, command: &[&str]) -> Result<()> {
        ip(&[&["netns", "exec", &self.namespace], command].concat())
    }

    fn python(&self, script: &str, arguments: &[&str]) -> Result<()> {
        self.run(&[&["python3", "-c", script], arguments].concat())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _gone = self.unplug();
        let _gone = ip(&["netns", "delete", &self.namespace]);
    }
}

/// An agent that captures, and its sink.
struct Scene {
    folder: TempDir,
    sink: Sink,
    agent: Option<Child>,
    metrics_port: u16,
}

impl Scene {
    fn new() -> Result<Self> {
        let authority = Authority::new()?;
        let sink = Sink::start(&authority, "localhost")?;
        let folder = tempfile::tempdir()?;
        write_identity(folder.path(), &authority, &authority.issue("web01")?)?;
        Ok(Self { folder, sink, agent: None, metrics_port: free_port() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a configuration without any file to read.
    fn configure(&self, address: &str, capture: &str) -> Result<()> {
        let metrics = self.metrics_port;
        let text = format!(
            r#"
data_dir = "data"
[collector]
address = "{address}"
[tls]
ca = "ca.crt"
cert = "agent.crt"
key = "agent.key"
[batch]
flush_interval_ms = 20
[metrics]
listen = "127.0.0.1:{metrics}"
[capture]
{capture}
"#
        );
        Ok(std::fs::write(self.path("agent.toml"), text)?)
    }

    fn capture(&self, interface: &str, backend: &str) -> Result<()> {
        let capture = format!("interfaces = [\"{interface}\"]\nbackend = \"{backend}\"");
        self.configure(&format!("localhost:{}", self.sink.port), &capture)
    }

    /// Starts the agent, behind a command that it is given to.
    fn start_behind(&mut self, command: &[&str]) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.path("agent.stderr"))?;
        let agent = program("vonggac-agent");
        let mut started = match command {
            [] => Command::new(&agent),
            [first, rest @ ..] => {
                let mut started = Command::new(first);
                started.args(rest).arg(&agent);
                started
            }
        };
        started.arg("--config").arg(self.path("agent.toml")).stdin(Stdio::null()).stderr(log);
        self.agent = Some(started.spawn()?);
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        self.start_behind(&[])?;
        until("the agent answers", || Ok(self.page().is_ok().then_some(())))
    }

    fn kill(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("the agent runs")?;
        agent.kill()?;
        agent.wait()?;
        Ok(())
    }

    /// SIGTERM; the agent must end well.
    fn stop(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("the agent runs")?;
        Command::new("kill").arg(agent.id().to_string()).status()?;
        let status = agent.wait()?;
        ensure!(status.success(), "SIGTERM: {status}");
        Ok(())
    }

    fn page(&self) -> Result<String> {
        http_get(&format!("127.0.0.1:{}", self.metrics_port), "/metrics")
    }

    /// The sum of a metric, whatever its labels.
    fn metric(&self, name: &str) -> Result<f64> {
        let page = self.page()?;
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        Ok(values.sum())
    }

    fn until_metric(&self, name: &str, holds: impl Fn(f64) -> bool) -> Result<()> {
        until(name, || Ok(self.metric(name).is_ok_and(&holds).then_some(())))
    }

    fn segments(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path("data/spool")).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }

    /// The actions of the notices that came, in order.
    fn actions(&self) -> Vec<String> {
        notices(&self.sink.received().lines()).iter().map(|notice| text(notice, "action")).collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("agent.stderr")).unwrap_or_default()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.agent.is_some() {
            let _killed = self.kill();
        }
        // Shown only when the test fails, by a panic or an error.
        eprintln!("--- the agent's log\n{}", self.log());
    }
}

/// What capture said of itself among lines.
fn notices(lines: &[String]) -> Vec<Value> {
    let values = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    values.filter(|value| value["kind"] == "capture").collect()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// Every packet, whole, also those that an offload made 64 KiB long; then the source's name, and what the kernel still allows.
fn counts_every_packet(backend: &str) -> Result<()> {
    let wire = Wire::new()?;
    wire.plug()?;
    let mut scene = Scene::new()?;
    scene.capture(&wire.interface, backend)?;
    scene.start()?;
    assert_has_no_capability_left(scene.agent.as_ref().context("it runs")?.id())?;
    let ours = format!("{}.1", wire.network);
    wire.python(SEND_DATAGRAMS, &[&ours, "2000"])?;
    scene.until_metric("vonggac_agent_capture_packets_total", |packets| packets >= 2000.0)?;

    let listener = std::net::TcpListener::bind((ours.as_str(), 0))?;
    let port = listener.local_addr()?.port().to_string();
    let reader = std::thread::spawn(move || -> Result<u64> {
        let (mut stream, _) = listener.accept()?;
        Ok(std::io::copy(&mut stream, &mut std::io::sink())?)
    });
    // Less than what the kernel has room for: a host without a moment for us is no failure.
    let sent = 4_000_000;
    wire.python(SEND_STREAM, &[&ours, &port, &sent.to_string()])?;
    assert_eq!(reader.join().expect("no panic")?, sent);
    scene.until_metric("vonggac_agent_capture_bytes_total", |bytes| bytes >= sent as f64)?;
    scene.stop()?;
    let received = scene.sink.received();
    assert!(received.wrongs.is_empty() && received.has_no_gap());
    // The interface counted what was sent to it, too.
    let of_interface =
        |line: &String| serde_json::from_str::<Value>(line).ok().filter(|value| value["kind"] == "interface");
    let counted: Vec<Value> = received.lines().iter().filter_map(of_interface).collect();
    let bytes: u64 = counted.iter().filter_map(|value| value["rx_bytes"].as_u64()).sum();
    assert!(bytes >= sent, "{counted:?}");
    let source = format!("capture:{}", wire.interface);
    assert!(received.batches().any(|batch| batch.header.source == source));
    let notices = notices(&received.lines());
    assert_eq!(notices.iter().map(|notice| text(notice, "action")).collect::<Vec<_>>(), ["start", "stop"]);
    for lost in ["drops", "freezes", "truncated", "evicted"] {
        assert_eq!(notices[1][lost], 0, "{}", notices[1]);
    }
    assert!(notices[1]["bytes"].as_u64().context("a number")? >= sent);
    assert_flows_are_exact(&received.lines(), &format!("{}.2", wire.network));
    Ok(())
}

/// Of the datagrams each packet and byte, IP and UDP headers included, whatever the number of records.
fn assert_flows_are_exact(lines: &[String], far: &str) {
    let values = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let flows: Vec<Value> =
        values.filter(|value| value["kind"] == "flow" && value["dst_port"] == 40000).collect();
    let sum = |name: &str| flows.iter().filter_map(|flow| flow[name].as_u64()).sum::<u64>();
    assert_eq!((sum("src_packets"), sum("src_bytes")), (2000, 2000 * 128), "{flows:?}");
    assert!(flows.iter().all(|flow| flow["src_ip"] == far && flow["proto"] == "udp"), "{flows:?}");
}

#[test]
fn counts_every_packet_of_a_ring() -> Result<()> {
    if !can_set_up("counts_every_packet_of_a_ring") {
        return Ok(());
    }
    counts_every_packet("ring")
}

#[test]
fn counts_every_packet_of_a_channel() -> Result<()> {
    if !can_set_up("counts_every_packet_of_a_channel") {
        return Ok(());
    }
    counts_every_packet("pnet")
}

/// Of every thread: opening sockets is over, and no program could have it back.
fn assert_has_no_capability_left(pid: u32) -> Result<()> {
    const NET_RAW_AND_ADMIN: u64 = 1 << 13 | 1 << 12;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context(name.to_owned());
            line.map(|value| value.trim().to_owned())
        };
        for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
            let held = u64::from_str_radix(&field(set)?, 16)?;
            assert_eq!(held & NET_RAW_AND_ADMIN, 0, "{set} {held:x}");
        }
        assert_eq!(field("NoNewPrivs:")?, "1");
    }
    Ok(())
}

/// Each once: on this interface a packet that is sent is one that is received.
#[test]
fn sees_each_packet_of_the_loopback_interface_once() -> Result<()> {
    if !can_set_up("sees_each_packet_of_the_loopback_interface_once") {
        return Ok(());
    }
    for backend in ["ring", "pnet"] {
        let wire = Wire::new()?;
        let mut scene = Scene::new()?;
        // An address without a route from there: nothing but what is sent here is on the interface.
        let capture = format!("interfaces = [\"lo\"]\nbackend = \"{backend}\"");
        scene.configure("192.0.2.1:6514", &capture)?;
        scene.start_behind(&["ip", "netns", "exec", &wire.namespace])?;
        until("the interface is read", || Ok((scene.segments().len() == 1).then_some(())))?;
        wire.python(SEND_TO_SELF, &["500"])?;
        scene.stop()?;
        let spooled = std::fs::read_to_string(&scene.segments()[0])?;
        let notices = notices(&spooled.lines().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(notices.last().context("a notice")?["packets"], 500, "{backend}: {spooled}");
    }
    Ok(())
}

/// kill -9, and half a line where it struck: nothing twice, nothing missing, and the spool is empty in the end.
#[test]
fn ships_each_spooled_line_once_after_kills() -> Result<()> {
    if !can_set_up("ships_each_spooled_line_once_after_kills") {
        return Ok(());
    }
    let wire = Wire::new()?;
    wire.plug()?;
    let mut scene = Scene::new()?;
    scene.capture(&wire.interface, "ring")?;
    scene.sink.withhold(true);
    for kills in 0..3 {
        scene.start()?;
        let last = until("a line is in the spool", || {
            let paths = scene.segments();
            let last =
                paths.get(kills).filter(|path| std::fs::read(path).is_ok_and(|text| text.ends_with(b"\n")));
            Ok(last.cloned())
        })?;
        scene.kill()?;
        File::options().append(true).open(last)?.write_all(b"{\"kind\":\"capture\",\"action\":\"torn")?;
    }
    scene.sink.withhold(false);
    scene.start()?;
    until("all were told", || Ok((scene.actions().len() == 4).then_some(())))?;
    until("what was read is deleted", || Ok((scene.segments().len() == 1).then_some(())))?;
    scene.until_metric("vonggac_agent_spool_torn_lines_total", |torn| torn == 3.0)?;
    scene.stop()?;
    assert_eq!(scene.actions(), ["start", "start", "start", "start", "stop"]);
    // Whoever runs next clears up, whether it captures or not.
    File::create(scene.path("a.log"))?;
    let address = format!("localhost:{}", scene.sink.port);
    scene.configure(&address, "[[source]]\npaths = [\"*.log\"]")?;
    scene.start()?;
    until("the spool is empty", || Ok(scene.segments().is_empty().then_some(())))?;
    scene.until_metric("vonggac_agent_spool_bytes", |bytes| bytes == 0.0)?;
    scene.stop()?;
    assert_eq!(scene.actions().len(), 5);
    let received = scene.sink.received();
    assert!(received.wrongs.is_empty() && received.has_no_gap(), "{:?}", received.wrongs);
    Ok(())
}

#[test]
fn waits_for_an_interface_that_has_gone() -> Result<()> {
    if !can_set_up("waits_for_an_interface_that_has_gone") {
        return Ok(());
    }
    for backend in ["ring", "pnet"] {
        let wire = Wire::new()?;
        wire.plug()?;
        let mut scene = Scene::new()?;
        scene.capture(&wire.interface, backend)?;
        scene.start()?;
        wire.unplug()?;
        scene.until_metric("vonggac_agent_capture_up", |up| up == 0.0)?;
        wire.plug()?;
        scene.until_metric("vonggac_agent_capture_up", |up| up == 1.0)?;
        let before = scene.metric("vonggac_agent_capture_packets_total")?;
        wire.python(SEND_DATAGRAMS, &[&format!("{}.1", wire.network), "100"])?;
        scene.until_metric("vonggac_agent_capture_packets_total", |packets| packets >= before + 100.0)?;
        scene.stop()?;
    }
    Ok(())
}

#[test]
fn rejects_an_interface_that_is_not_there_and_a_missing_capability() -> Result<()> {
    if !can_set_up("rejects_an_interface_that_is_not_there_and_a_missing_capability") {
        return Ok(());
    }
    let mut scene = Scene::new()?;
    for (interface, command, expected) in [
        ("nosuch0", &[][..], "capture.interfaces: \"nosuch0\": expected one of those there are: lo"),
        ("lo", &["setpriv", "--bounding-set=-net_raw"], "expected the capability CAP_NET_RAW"),
    ] {
        scene.capture(interface, "ring")?;
        scene.start_behind(command)?;
        let mut agent = scene.agent.take().context("it was started")?;
        assert_eq!(agent.wait()?.code(), Some(1));
        assert!(scene.log().contains(expected), "{}", scene.log());
        assert!(!scene.path("data").try_exists()?, "it had not begun");
    }
    Ok(())
}
