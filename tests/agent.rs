//! The agent under what loses lines elsewhere: rotation of both kinds, kill -9, a collector that comes and goes, a full
//! window, a torn ledger; and under collectors that it must not trust. A real agent process against a sink that remembers.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, date_time_ymd};
use tempfile::TempDir;

use crate::sink::{Authority, Received, Sink, write_identity};
use crate::site::{free_port, http_get, program, until};

/// Lines of the rotation tests.
const LINES: u64 = 100_000;
/// The window of the agents here; small, so that it is often full.
const WINDOW: u64 = 4;

/// Batches that wait between the agent's stages beside the window.
const QUEUE: u64 = 8;

/// An agent, its log file and its sink.
struct Scene {
    folder: TempDir,
    sink: Sink,
    agent: Option<Child>,
    metrics_port: u16,
    /// The next number to be written.
    next: u64,
    authority: Authority,
}

impl Scene {
    fn new() -> Result<Self> {
        let authority = Authority::new()?;
        let sink = Sink::start(&authority, "localhost")?;
        let folder = tempfile::tempdir()?;
        write_identity(folder.path(), &authority, &authority.issue("web01")?)?;
        let scene = Self { folder, sink, agent: None, metrics_port: free_port(), next: 0, authority };
        scene.configure(scene.sink.port, "")?;
        File::create(scene.log())?;
        Ok(scene)
    }

    /// Writes the configuration; `collector` are more keys of its table.
    fn configure(&self, port: u16, collector: &str) -> Result<()> {
        let metrics = self.metrics_port;
        let text = format!(
            r#"
data_dir = "data"
[collector]
address = "localhost:{port}"
{collector}
[tls]
ca = "ca.crt"
cert = "agent.crt"
key = "agent.key"
[batch]
flush_interval_ms = 20
records_max = 500
window = {WINDOW}
[metrics]
listen = "127.0.0.1:{metrics}"
[[source]]
paths = ["*.log"]
format = "syslog"
start = "beginning"
"#
        );
        Ok(std::fs::write(self.path("agent.toml"), text)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.path("numbered.log")
    }

    fn start_agent(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.path("agent.stderr"))?;
        let agent = Command::new(program("vonggac-agent"))
            .arg("--config")
            .arg(self.path("agent.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.agent = Some(agent);
        Ok(())
    }

    fn kill_agent(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("the agent runs")?;
        agent.kill()?;
        agent.wait()?;
        Ok(())
    }

    /// How another agent of the same configuration ended, and what it said.
    fn said(&self, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let config = self.path("agent.toml");
        let output =
            Command::new(program("vonggac-agent")).arg("--config").arg(config).args(arguments).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// SIGTERM; the agent must end well.
    fn stop_agent(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("the agent runs")?;
        let told = Command::new("kill").arg(agent.id().to_string()).status()?;
        ensure!(told.success(), "kill: {told}");
        let status = agent.wait()?;
        ensure!(status.success(), "SIGTERM: {status}");
        Ok(())
    }

    /// Appends so many numbered lines to a file.
    fn write_to(&mut self, path: &Path, count: u64) -> Result<()> {
        let mut file = std::io::BufWriter::new(File::options().append(true).create(true).open(path)?);
        for number in self.next..self.next + count {
            file.write_all(line(number).as_bytes())?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
        self.next += count;
        Ok(())
    }

    fn write(&mut self, count: u64) -> Result<()> {
        self.write_to(&self.log(), count)
    }

    /// Renames as logrotate does; the writer goes on in the old file for a while before it opens the new one.
    fn rotate_by_renaming(&mut self, late_lines: u64) -> Result<()> {
        self.make_room()?;
        let old = self.path("numbered.log.1");
        std::fs::rename(self.log(), &old)?;
        self.write_to(&old, late_lines / 2)?;
        File::create(self.log())?;
        self.write_to(&old, late_lines - late_lines / 2)
    }

    /// Copies and truncates as logrotate does; the writer writes nothing in between.
    fn rotate_by_copying(&self) -> Result<()> {
        self.make_room()?;
        std::fs::copy(self.log(), self.path("numbered.log.1"))?;
        Ok(File::options().write(true).open(self.log())?.set_len(0)?)
    }

    /// `.1` becomes `.2`, and so on.
    fn make_room(&self) -> Result<()> {
        for number in (1..20).rev() {
            let older = self.path(&format!("numbered.log.{number}"));
            if older.try_exists()? {
                std::fs::rename(older, self.path(&format!("numbered.log.{}", number + 1)))?;
            }
        }
        Ok(())
    }

    /// Waits until so many lines have come, whichever they are.
    fn until_received(&self, lines: u64) -> Result<()> {
        until(&format!("{lines} lines have come"), || {
            Ok((self.sink.received().records() >= lines).then_some(()))
        })
    }

    fn metric(&self, name: &str) -> Result<f64> {
        let page = http_get(&format!("127.0.0.1:{}", self.metrics_port), "/metrics")?;
        let line = page
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        Ok(line
            .and_then(|line| line.rsplit(' ').next())
            .map_or(0.0, |value| value.parse().unwrap_or(f64::NAN)))
    }

    /// Waits for a metric; an agent that does not answer yet is waited for, too.
    fn until_metric(&self, name: &str, holds: impl Fn(f64) -> bool) -> Result<()> {
        until(name, || Ok(self.metric(name).is_ok_and(&holds).then_some(())))
    }

    /// Every line once, under one identity, in order of the files; numbers without gaps.
    fn assert_complete(&self) {
        let received = self.sink.received();
        assert_sound(&received);
        let mut lines = received.lines();
        lines.sort_unstable();
        let expected = (0..self.next).map(line);
        if let Some((found, expected)) =
            lines.iter().zip(expected).find(|(found, expected)| *found != expected)
        {
            panic!("{} lines came; found {found:?}, expected {expected:?}", lines.len());
        }
        assert_eq!(lines.len() as u64, self.next);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.agent.is_some() {
            let _killed = self.kill_agent();
        }
        // Shown only when the test fails, by a panic or an error.
        let log = std::fs::read_to_string(self.path("agent.stderr")).unwrap_or_default();
        eprintln!("--- the agent's log\n{log}");
    }
}

fn line(number: u64) -> String {
    format!("<13>1 2026-11-23T02:00:00+07:00 web01 counter 1 - - line number {number:010}, of common length")
}

fn assert_sound(received: &Received) {
    assert!(received.wrongs.is_empty(), "{:?}", received.wrongs);
    assert!(received.has_no_gap(), "{} epochs", received.epochs());
}

#[test]
fn reads_every_line_once_through_renaming() -> Result<()> {
    let mut scene = Scene::new()?;
    // Something was read: what a new agent finds under rotated names is not its own.
    scene.write(1)?;
    scene.start_agent()?;
    scene.until_received(1)?;
    for _ in 0..5 {
        scene.write(LINES / 5 - 200)?;
        scene.rotate_by_renaming(200)?;
    }
    scene.until_received(LINES + 1)?;
    scene.stop_agent()?;
    scene.assert_complete();
    Ok(())
}

/// Rotation by a script: the copy holds what was read already.
#[test]
fn reads_every_line_once_through_copy_and_removal() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.start_agent()?;
    for round in 1..=3 {
        scene.write(300)?;
        scene.until_received(300 * round)?;
        scene.make_room()?;
        std::fs::copy(scene.log(), scene.path("numbered.log.1"))?;
        std::fs::remove_file(scene.log())?;
    }
    scene.write(300)?;
    scene.until_received(300 * 4)?;
    scene.stop_agent()?;
    scene.assert_complete();
    Ok(())
}

/// The name is gone when the agent looks; the file that comes next is rotated, too, before the agent looks for it.
#[test]
fn reads_a_file_that_came_and_was_renamed_between_two_looks() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.start_agent()?;
    scene.write(100)?;
    scene.until_received(100)?;
    std::fs::rename(scene.log(), scene.path("numbered.log.1"))?;
    scene.until_metric("vonggac_agent_rotations_total", |rotations| rotations >= 1.0)?;
    scene.write(200)?;
    scene.make_room()?;
    std::fs::rename(scene.log(), scene.path("numbered.log.1"))?;
    scene.write(100)?;
    scene.until_received(400)?;
    scene.stop_agent()?;
    scene.assert_complete();
    Ok(())
}

/// While the copy is there, nothing is lost, however far behind the agent is; without one, nothing is lost that the agent
/// had the chance to read.
#[test]
fn reads_every_line_once_through_copytruncate() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.start_agent()?;
    for round in 0..5 {
        // The agent has seen how the file begins, but is behind when it is rotated.
        scene.write(100)?;
        scene.until_received(LINES / 5 * round + 100)?;
        scene.write(LINES / 10 - 100)?;
        scene.rotate_by_copying()?;
        scene.write(LINES / 10)?;
        scene.until_received(LINES / 5 * (round + 1))?;
        File::options().write(true).open(scene.log())?.set_len(0)?;
    }
    scene.stop_agent()?;
    scene.assert_complete();
    Ok(())
}

/// Truncated with no copy while nothing can be sent: lost, to the byte as it is told.
#[test]
fn tells_the_centre_of_lines_that_were_truncated_unread() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.sink.withhold(true);
    scene.start_agent()?;
    scene.write(50_000)?;
    let line_bytes = line(0).len() as f64 + 1.0;
    let written = 50_000.0 * line_bytes;
    let lag = || scene.metric("vonggac_agent_lag_bytes");
    let read = || scene.metric("vonggac_agent_read_bytes_total");
    scene.until_metric("vonggac_agent_batches_formed_total", |formed| formed == (WINDOW + QUEUE) as f64)?;
    until("the lag is counted", || Ok((read()? > 0.0 && read()? + lag()? == written).then_some(())))?;
    let (lag, read) = (lag()?, read()?);
    assert!(lag > 0.0, "the window bounds what is read");
    std::fs::write(scene.log(), "")?;
    scene.until_metric("vonggac_agent_lost_bytes_total", |lost| lost == lag)?;
    scene.next = 50_000;
    scene.write(1000)?;
    scene.sink.withhold(false);
    // And one notice.
    let lines = (read / line_bytes) as u64 + 1000 + 1;
    scene.until_received(lines)?;
    let received = scene.sink.received();
    assert_sound(&received);
    let notices: Vec<_> = received.batches().filter(|batch| batch.header.product == "vonggac").collect();
    let [notice] = notices.as_slice() else { panic!("{} notices", notices.len()) };
    let text = String::from_utf8(notice.records().next().context("a record")?.bytes.to_vec())?;
    let notice: serde_json::Value = serde_json::from_str(&text)?;
    assert_eq!(notice["bytes"].as_f64(), Some(lag), "{text}");
    assert_eq!(received.records(), lines);
    Ok(())
}

/// Rotated and compressed while no agent ran, most of it unread: told to the byte, what was in batches and what was not.
#[test]
fn tells_the_centre_of_the_rest_of_a_file_that_is_gone() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.sink.withhold(true);
    scene.write(50_000)?;
    let written = scene.log().metadata()?.len() as f64;
    scene.start_agent()?;
    let read = || scene.metric("vonggac_agent_read_bytes_total");
    let lag = || scene.metric("vonggac_agent_lag_bytes");
    scene.until_metric("vonggac_agent_batches_formed_total", |formed| formed == (WINDOW + QUEUE) as f64)?;
    until("the lag is counted", || Ok((read()? > 0.0 && read()? + lag()? == written).then_some(())))?;
    scene.kill_agent()?;
    std::fs::rename(scene.log(), scene.path("numbered.log.1.gz"))?;
    scene.write(1000)?;
    // Another sink, that has never seen the batches.
    scene.sink = Sink::start(&scene.authority, "localhost")?;
    scene.configure(scene.sink.port, "")?;
    scene.start_agent()?;
    scene.until_metric("vonggac_agent_lost_bytes_total", |lost| lost == written)?;
    scene.until_received(WINDOW + QUEUE + 1 + 1000)?;
    scene.stop_agent()?;
    let received = scene.sink.received();
    assert_sound(&received);
    let lines = received.lines();
    let (notices, rest): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.contains("lines_lost"));
    let bytes = notices.iter().map(|notice| {
        let notice: serde_json::Value = serde_json::from_str(notice).expect("JSON");
        notice["bytes"].as_f64().expect("a number")
    });
    assert_eq!((notices.len() as u64, bytes.sum()), (WINDOW + QUEUE + 1, written));
    assert_eq!(rest.len(), 1000);
    Ok(())
}

/// A file that was read to its end, as far as it was seen: nobody knows what was written to it before it went.
#[test]
fn tells_the_centre_of_a_file_that_is_gone() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.write(1000)?;
    scene.start_agent()?;
    scene.until_metric("vonggac_agent_batches_acked_total", |acked| acked == 2.0)?;
    scene.stop_agent()?;
    std::fs::remove_file(scene.log())?;
    scene.start_agent()?;
    scene.until_received(1000 + 1)?;
    assert_eq!(scene.metric("vonggac_agent_files_gone_total")?, 1.0);
    assert_eq!(scene.metric("vonggac_agent_lost_bytes_total")?, 0.0);
    scene.stop_agent()?;
    let received = scene.sink.received();
    assert_sound(&received);
    let last = received.lines().pop().context("a notice")?;
    assert!(last.contains("\"file_gone\""), "{last}");
    Ok(())
}

/// A file that was seen while nothing could be sent, and copied and truncated before a line of it was read, while no agent ran.
#[test]
fn finds_the_copy_of_a_file_that_it_had_only_seen() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.sink.withhold(true);
    scene.write(50_000)?;
    scene.start_agent()?;
    scene.until_metric("vonggac_agent_batches_formed_total", |formed| formed == (WINDOW + QUEUE) as f64)?;
    scene.rotate_by_renaming(0)?;
    scene.until_metric("vonggac_agent_rotations_total", |rotations| rotations == 1.0)?;
    let before = scene.metric("vonggac_agent_lag_bytes")?;
    scene.write(1000)?;
    scene.until_metric("vonggac_agent_lag_bytes", |lag| lag > before)?;
    scene.kill_agent()?;
    scene.rotate_by_copying()?;
    scene.sink.withhold(false);
    scene.start_agent()?;
    scene.until_received(scene.next)?;
    scene.stop_agent()?;
    scene.assert_complete();
    Ok(())
}

/// kill -9 of the agent wherever it is, also in the middle of a rotation; a sink that breaks connections and goes away.
#[test]
fn sends_the_same_batches_again_after_kills() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.sink.break_after(9);
    scene.start_agent()?;
    // How many batches' lines come before each kill: anything, but the same on each run of the test.
    for (round, lines) in [700_u64, 40, 5_300, 1, 2_900, 9_000, 250, 8_000].into_iter().enumerate() {
        let before = scene.sink.received().records();
        scene.write(LINES / 10)?;
        scene.until_received(before + lines)?;
        match round % 4 {
            0 => scene.kill_agent()?,
            1 => {
                scene.kill_agent()?;
                scene.rotate_by_renaming(300)?;
            }
            2 => {
                scene.rotate_by_renaming(300)?;
                scene.kill_agent()?;
            }
            _ => {
                scene.sink.stop();
                scene.write(LINES / 20)?;
                scene.kill_agent()?;
                scene.rotate_by_copying()?;
                scene.start_agent()?;
                scene.sink.start_again()?;
                scene.until_received(scene.next)?;
                continue;
            }
        }
        scene.write(100)?;
        scene.start_agent()?;
    }
    scene.until_received(scene.next)?;
    scene.stop_agent()?;
    scene.assert_complete();
    Ok(())
}

/// What an append that a power failure has cut leaves behind.
#[test]
fn goes_on_with_a_torn_ledger() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.sink.break_after(5);
    scene.start_agent()?;
    for torn in [&b"\x00"[..], b"\x00\x09", b"\x00\x39L\x00\x00\x00\x00\x00\x00\x00\x09"] {
        scene.write(5_000)?;
        scene.until_received(scene.next - 2_500)?;
        scene.kill_agent()?;
        File::options().append(true).open(scene.path("data/ledger"))?.write_all(torn)?;
        scene.start_agent()?;
    }
    scene.until_received(scene.next)?;
    scene.stop_agent()?;
    scene.assert_complete();
    Ok(())
}

/// A batch that was not acknowledged, and whose file is gone after a crash: its number is filled by a notice.
#[test]
fn fills_the_number_of_a_batch_that_is_gone() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.sink.withhold(true);
    scene.start_agent()?;
    scene.write(500)?;
    scene.until_received(500)?;
    scene.kill_agent()?;
    std::fs::write(scene.log(), "")?;
    // Another sink, that has never seen the batch.
    scene.sink = Sink::start(&scene.authority, "localhost")?;
    scene.configure(scene.sink.port, "")?;
    scene.write(500)?;
    scene.start_agent()?;
    scene.until_received(500 + 1)?;
    scene.until_metric("vonggac_agent_lost_records_total", |lost| lost >= 1.0)?;
    scene.stop_agent()?;
    let received = scene.sink.received();
    assert_sound(&received);
    let first = received.batches().next().context("a batch")?;
    assert_eq!((first.header.seq, first.header.resent), (1, true));
    assert_eq!(first.header.service, "agent");
    let lines = received.lines();
    assert!(lines[0].contains("\"lines_lost\""), "{}", lines[0]);
    assert_eq!(lines.last(), Some(&line(999)));
    Ok(())
}

#[test]
fn rejects_a_collector_of_another_name_or_authority() -> Result<()> {
    let mut scene = Scene::new()?;
    let foreign = Sink::start(&Authority::new()?, "localhost")?;
    let misnamed = Sink::start(&scene.authority, "other.example")?;
    scene.write(10)?;
    for sink in [&foreign, &misnamed] {
        scene.configure(sink.port, "")?;
        scene.start_agent()?;
        until("the agent tries more than once", || Ok((sink.handshakes_failed() >= 2).then_some(())))?;
        scene.kill_agent()?;
        assert_eq!(sink.received().records(), 0);
    }
    // The same sink, by the name that it has: nothing but the name was wrong.
    scene.configure(misnamed.port, "server_name = \"other.example\"")?;
    scene.start_agent()?;
    until("the lines come", || Ok((misnamed.received().records() == 10).then_some(())))?;
    scene.stop_agent()
}

/// The collector refuses after TLS' handshake is done for the agent.
#[test]
fn says_that_its_certificate_is_refused_and_never_that_it_is_connected() -> Result<()> {
    let mut scene = Scene::new()?;
    write_identity(scene.folder.path(), &scene.authority, &Authority::new()?.issue("web01")?)?;
    scene.write(10)?;
    scene.start_agent()?;
    let log = || Ok::<_, anyhow::Error>(std::fs::read_to_string(scene.path("agent.stderr"))?);
    let refused = "the collector refuses this host's certificate (tls.cert): not signed by its authority";
    until("the agent is refused twice", || Ok((log()?.matches(refused).count() >= 2).then_some(())))?;
    assert!(!log()?.contains("connected"), "{}", log()?);
    assert_eq!(scene.metric("vonggac_agent_connections_total")?, 0.0);
    scene.kill_agent()
}

/// With nothing to say to anybody: no grace is waited out, and nobody is told that something is not acknowledged.
#[test]
fn ends_without_a_collector_when_nothing_is_owed() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.configure(free_port(), "")?;
    scene.start_agent()?;
    scene.until_metric("vonggac_agent_connection_errors_total", |errors| errors >= 1.0)?;
    scene.stop_agent()?;
    let log = std::fs::read_to_string(scene.path("agent.stderr"))?;
    assert!(log.contains("stopped") && !log.contains("not done in time"), "{log}");
    Ok(())
}

#[test]
fn rejects_a_second_agent_and_a_wrong_name() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.write(1)?;
    scene.start_agent()?;
    scene.until_received(1)?;
    let said = |arguments: &[&str]| scene.said(arguments);
    let (code, text) = said(&[])?;
    assert_eq!(code, Some(1));
    assert!(text.contains("data_dir") && text.contains("no other agent"), "{text}");
    assert_eq!(said(&["--check"])?.0, Some(0));
    let config = std::fs::read_to_string(scene.path("agent.toml"))?;
    std::fs::write(scene.path("agent.toml"), format!("agent = \"db01\"\n{config}"))?;
    let (code, text) = said(&["--check"])?;
    assert_eq!(code, Some(1));
    assert!(text.contains("agent = \"db01\": expected \"web01\""), "{text}");
    Ok(())
}

/// As the collector would judge it, without asking the collector.
#[test]
fn check_judges_the_certificate() -> Result<()> {
    let scene = Scene::new()?;
    let issue = |change: fn(&mut CertificateParams)| scene.authority.issue_with("web01", change);
    let foreign = Authority::new()?.issue("web01")?;
    for (issued, code, expected) in [
        (issue(|_| ())?, 0, "good"),
        (foreign, 1, "expected one that tls.ca"),
        (
            issue(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])?,
            1,
            "for another use",
        ),
        (issue(|params| params.not_after = date_time_ymd(2020, 1, 2))?, 1, "ended on 2020-01-02"),
        (issue(|params| params.not_before = date_time_ymd(2120, 1, 2))?, 1, "begins on 2120-01-02"),
        (
            issue(|params| {
                params.not_after = (SystemTime::now() + Duration::from_secs(10 * 86_400)).into();
            })?,
            0,
            "warning: tls.cert",
        ),
    ] {
        write_identity(scene.folder.path(), &scene.authority, &issued)?;
        let (found, text) = scene.said(&["--check"])?;
        assert_eq!((found, text.contains(expected)), (Some(code), true), "{expected}: {text}");
    }
    Ok(())
}

#[test]
fn check_asks_for_a_certificate_of_drills_where_one_is_named() -> Result<()> {
    let scene = Scene::new()?;
    let config = std::fs::read_to_string(scene.path("agent.toml"))?;
    std::fs::write(scene.path("agent.toml"), format!("drill_id = \"drill-1\"\n{config}"))?;
    let (code, text) = scene.said(&["--check"])?;
    assert!(code == Some(1) && text.contains("drill_id = \"drill-1\": expected a certificate"), "{text}");
    let unit = |params: &mut CertificateParams| {
        params.distinguished_name.push(DnType::OrganizationalUnitName, "drill");
    };
    write_identity(scene.folder.path(), &scene.authority, &scene.authority.issue_with("web01", unit)?)?;
    let (code, text) = scene.said(&["--check"])?;
    assert!(code == Some(0) && text.ends_with("good\n"), "{text}");
    Ok(())
}

/// Root may read everything: where it runs the test, another user asks.
#[test]
fn check_tells_what_may_not_be_read_from_what_is_not_there() -> Result<()> {
    let scene = Scene::new()?;
    let config = std::fs::read_to_string(scene.path("agent.toml"))?;
    let sources = "[[source]]\npaths = [\"closed.log\", \"shut/a.log\", \"*/b.log\", \"absent.log\"]\n";
    std::fs::write(scene.path("agent.toml"), format!("{config}{sources}"))?;
    std::fs::create_dir(scene.path("shut"))?;
    for name in ["closed.log", "shut/a.log", "shut/b.log"] {
        std::fs::write(scene.path(name), "a line\n")?;
    }
    let agent = scene.path("vonggac-agent");
    std::fs::copy(program("vonggac-agent"), &agent)?;
    for name in ["closed.log", "shut"] {
        std::fs::set_permissions(scene.path(name), Permissions::from_mode(0o000))?;
    }
    let mut command = Command::new(&agent);
    if std::fs::metadata("/proc/self")?.uid() == 0 {
        const NOBODY: u32 = 65_534;
        for entry in std::fs::read_dir(scene.folder.path())? {
            chown(entry?.path(), Some(NOBODY), Some(NOBODY))?;
        }
        chown(scene.folder.path(), Some(NOBODY), Some(NOBODY))?;
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.arg("--check").arg("--config").arg(scene.path("agent.toml")).output()?;
    std::fs::set_permissions(scene.path("shut"), Permissions::from_mode(0o700))?;
    let text = String::from_utf8([output.stdout, output.stderr].concat())?;
    for expected in [
        format!("{}   (warning: 1 cannot be read: ", scene.path("closed.log").display()),
        format!("{}: files out of sight: ", scene.path("shut/a.log").display()),
        format!("{}: files out of sight: ", scene.path("*/b.log").display()),
    ] {
        assert!(text.contains(&expected), "{expected} in {text}");
    }
    assert!(!text.contains("absent.log: files out of sight"), "{text}");
    Ok(())
}

#[test]
fn check_and_start_name_what_this_host_does_not_have() -> Result<()> {
    let mut scene = Scene::new()?;
    let config = std::fs::read_to_string(scene.path("agent.toml"))?;
    let absent = "[[source]]\npaths = [\"absent/*.txt\"]\n";
    let capture = "[capture]\ninterfaces = [\"no-such-port\"]\n";
    std::fs::write(scene.path("agent.toml"), format!("{config}{absent}{capture}"))?;
    let (code, text) = scene.said(&["--check"])?;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("0 files") && text.contains("absent/*.txt"), "{text}");
    assert!(text.contains("capture.interfaces: \"no-such-port\": expected one of those there are"), "{text}");
    std::fs::write(scene.path("agent.toml"), format!("{config}{absent}"))?;
    assert_eq!(scene.said(&["--check"])?.0, Some(0));
    scene.start_agent()?;
    scene.until_metric("vonggac_agent_patterns_without_files", |patterns| patterns == 1.0)?;
    std::fs::create_dir(scene.path("absent"))?;
    std::fs::write(scene.path("absent/a.txt"), "")?;
    scene.until_metric("vonggac_agent_patterns_without_files", |patterns| patterns == 0.0)?;
    assert!(scene.metric("vonggac_agent_certificate_expires_seconds")? > 0.0);
    scene.stop_agent()?;
    let log = std::fs::read_to_string(scene.path("agent.stderr"))?;
    assert_eq!(log.matches("matches no file now").count(), 1, "{log}");
    Ok(())
}
