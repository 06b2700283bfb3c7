//! The whole path with real processes: a log file, an agent, the collector, the embedded store.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::site::{self, Site, until};

/// One system of level 3 that host `web01` belongs to.
const SYSTEMS: &str = r#"
[[organisation]]
id = "province"
name = "UBND tỉnh"
code = "H14"

[[system]]
id = "portal"
name = "Cổng dịch vụ công"
owner = "province"
operator = "province"
hosts = ["web01"]
networks = ["192.0.2.0/24"]

[system.level]
approved = 3
decision = "QĐ 100/QĐ-UBND"
date = "2024-05-02"
authority = "UBND tỉnh"
basis = "NĐ 85/2016/NĐ-CP, điều 9.2.a"
"#;

/// Lines of the fault test.
const LINES: u64 = 100_000;
/// Every so many lines one process is killed.
const LINES_BETWEEN_KILLS: u64 = LINES / 7;

/// What is killed, in turn: each twice.
#[derive(Clone, Copy)]
enum Victim {
    Agent,
    Collector,
    Store,
}

const VICTIMS: [Victim; 6] =
    [Victim::Store, Victim::Agent, Victim::Collector, Victim::Agent, Victim::Store, Victim::Collector];

#[test]
fn stores_every_line_exactly_once_while_agent_collector_and_store_are_killed() -> Result<()> {
    if !site::engine_present("pipeline") {
        return Ok(());
    }
    let mut site = Site::start(SYSTEMS)?;
    let log = site.path("numbered.log");
    std::fs::write(&log, "")?;
    let source = format!("[[source]]\npaths = [\"{log}\"]\nformat = \"syslog\"\nstart = \"beginning\"\n");
    let mut agent = site.agent("web01", &source)?;

    let mut written = 0;
    for victim in VICTIMS {
        written = write_numbered(Path::new(&log), written, written + LINES_BETWEEN_KILLS)?;
        // Not before something flows: a kill before the first row would prove little.
        until("rows come in", || Ok((site.number("SELECT count() FROM events")? > 0).then_some(())))?;
        match victim {
            Victim::Agent => {
                agent.kill()?;
                agent.start()?;
            }
            Victim::Collector => {
                site.kill_collector()?;
                site.start_collector()?;
            }
            Victim::Store => site.kill_store()?,
        }
    }
    write_numbered(Path::new(&log), written, LINES)?;

    until("every line is stored", || {
        Ok((site.number("SELECT uniqExact(message) FROM events WHERE program = 'counter'")? == LINES)
            .then_some(()))
    })?;
    assert_eq!(site.number("SELECT count() FROM events WHERE program = 'counter'")?, LINES, "no line twice");
    assert_eq!(site.number("SELECT uniqExact(epoch) FROM events")?, 1, "the agent kept its epoch");
    assert_eq!(
        site.number("SELECT max(seq) - uniqExact(seq) FROM events")?,
        0,
        "no gap in the sequence numbers"
    );
    assert_eq!(site.number("SELECT count() FROM dead_letters")?, 0);
    assert!(site.metrics()?.contains("vonggac_"), "the collector shows its metrics");
    assert_eq!(site.query("SELECT DISTINCT system_id, sys_level FROM events")?, "portal\t3");
    Ok(())
}

/// A log that was deleted while nobody could be told of its lines: each is counted at the centre, and people are alerted.
#[test]
fn alerts_of_lines_that_an_agent_lost() -> Result<()> {
    if !site::engine_present("pipeline") {
        return Ok(());
    }
    let mut site = Site::start(SYSTEMS)?;
    site.kill_collector()?;
    let log = site.path("numbered.log");
    std::fs::write(&log, "")?;
    write_numbered(Path::new(&log), 0, LINES)?;
    let written = std::fs::metadata(&log)?.len();
    let page = format!("127.0.0.1:{}", site::free_port());
    let source = format!("paths = [\"{log}\"]\nformat = \"syslog\"\nstart = \"beginning\"\n");
    let mut agent = site.agent("web01", &format!("[metrics]\nlisten = \"{page}\"\n[[source]]\n{source}"))?;
    let value = |name: &str| -> Result<u64> {
        let page = site::http_get(&page, "/metrics").unwrap_or_default();
        let line = page.lines().find(|line| line.starts_with(name)).unwrap_or("0");
        Ok(line.rsplit(' ').next().unwrap_or("0").parse()?)
    };
    until("the agent is behind", || {
        let (read, lag) = (value("vonggac_agent_read_bytes_total{")?, value("vonggac_agent_lag_bytes{")?);
        Ok((lag > 0 && read + lag == written).then_some(()))
    })?;
    agent.kill()?;
    std::fs::remove_file(&log)?;
    agent.start()?;
    site.start_collector()?;

    let counted = format!("vonggac_agent_reported_lost_bytes_total{{agent=\"web01\"}} {written}\n");
    until("the collector counts every byte", || Ok(site.metrics()?.contains(&counted).then_some(())))?;
    let alert = "SELECT sum(hits), any(host), any(severity) FROM alerts FINAL WHERE rule_title = 'An agent lost lines of a log'";
    until("people are alerted of each notice", || {
        let notices = site.number("SELECT count() FROM events WHERE action = 'lines_lost'")?;
        Ok((site.query(alert)? == format!("{notices}\tweb01\thigh")).then_some(()))
    })?;
    Ok(())
}

/// Appends the lines `from..to`, each with its number.
fn write_numbered(path: &Path, from: u64, to: u64) -> Result<u64> {
    let mut file = std::io::BufWriter::new(std::fs::File::options().append(true).open(path)?);
    let now = std::process::Command::new("date").arg("+%Y-%m-%dT%H:%M:%S.%6N%:z").output()?.stdout;
    let now = String::from_utf8(now)?;
    for number in from..to {
        writeln!(file, "{} web01 counter[1]: line number {number:08}", now.trim())?;
    }
    file.flush()?;
    Ok(to)
}
