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
