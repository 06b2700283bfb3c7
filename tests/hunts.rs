//! The shipped hunts over flows of thirty days that are made here: what each must find, and what it must leave alone.

use anyhow::{Context, Result};
use serde_json::Value as Json;

use crate::site::{self, Site, root, until};

const HUNTS: &str = "rules/hunts";

/// Columns that differ from flow to flow; the others keep their defaults.
const INSERT: &str = "INSERT INTO vonggac.flows (ts, ts_end, ts_conn, ts_received, host, agent, src_ip, dst_ip, src_port, dst_port, proto,
    protocol, direction, src_system_id, src_sys_level, dst_system_id, dst_sys_level, src_packets, dst_packets, src_payload_bytes,
    dst_payload_bytes, conn_state, server_name, part, retention_days) ";

/// What happens, as SQL over `number`: when (microseconds before the end of the window), from where, to where, how.
struct Story {
    count: u32,
    before_us: &'static str,
    lasts_us: &'static str,
    src: &'static str,
    dst: &'static str,
    dst_port: &'static str,
    direction: &'static str,
    bytes_sent: &'static str,
    state: &'static str,
    name: &'static str,
}

/// A conversation of a level 3 system's host with an outside server it has always known.
const USUAL: Story = Story {
    count: 0,
    before_us: "number * 7200000000 + cityHash64(number) % 7100000000",
    lasts_us: "30000000",
    src: "'10.1.0.9'",
    dst: "'198.51.100.7'",
    dst_port: "443",
    direction: "outbound",
    bytes_sent: "900",
    state: "SF",
    name: "mirror.example.org",
};

/// Clients of a server of ours.
const SERVED: Story =
    Story { src: "'198.51.100.50'", dst: "'10.1.0.30'", direction: "inbound", name: "", ..USUAL };

const HOURLY: &str = "3600000000 * (number + 1)";
const DAILY: &str = "86400000000 * number + 4000000000";

/// What the hunts must find.
const ATTACKS: [Story; 6] = [
    // A beacon, each minute with two seconds of jitter.
    Story {
        count: 200,
        before_us: "60000000 * (number + 1) + cityHash64(number) % 2000000",
        dst: "'203.0.113.5'",
        name: "a.example.net",
        ..USUAL
    },
    // The first call of a server within the last hour.
    Story { count: 1, before_us: "600000000", dst: "'203.0.113.6'", name: "new.example.com", ..USUAL },
    // Each day 10 MB, the last day 300 MB.
    Story {
        count: 12,
        before_us: DAILY,
        src: "'10.1.0.20'",
        bytes_sent: "if(number = 0, 300000000, 10000000)",
        ..USUAL
    },
    // A server that always answered on 443 (below), and now on 8443, too.
    Story { count: 1, before_us: "900000000", dst_port: "8443", ..SERVED },
    // A port an hour, for forty hours.
    Story {
        count: 40,
        before_us: HOURLY,
        src: "'203.0.113.9'",
        dst_port: "1000 + number",
        state: "S0",
        ..SERVED
    },
    // Nine hours open.
    Story { count: 1, before_us: "34000000000", lasts_us: "33000000000", ..USUAL },
];

/// What resembles it, and is none of it.
const ORDINARY: [Story; 8] = [
    // History of three weeks.
    Story { count: 250, ..USUAL },
    // People who call as often as the beacon, at no even intervals, today and three weeks ago.
    Story {
        count: 200,
        before_us: "60000000 * (number + 1) + cityHash64(number) % 55000000",
        dst: "'198.51.100.8'",
        name: "b.example.org",
        ..USUAL
    },
    Story {
        count: 200,
        before_us: "1900000000000 + 60000000 * number",
        dst: "'198.51.100.8'",
        name: "b.example.org",
        ..USUAL
    },
    // Another address of a domain that is known.
    Story { count: 1, before_us: "600000000", dst: "'198.51.100.99'", name: "cdn.example.org", ..USUAL },
    // 300 MB each day.
    Story { count: 12, before_us: DAILY, src: "'10.1.0.21'", bytes_sent: "300000000", ..USUAL },
    Story { count: 20, before_us: "86400000000 * number + 5000000000", ..SERVED },
    // A client of a service that is dead.
    Story {
        count: 40,
        before_us: HOURLY,
        dst: "'10.1.0.31'",
        direction: "internal",
        state: "S0",
        name: "",
        ..USUAL
    },
    // Nine hours open, a day ago.
    Story { count: 1, before_us: "120000000000", lasts_us: "33000000000", ..USUAL },
];

fn stories() -> impl Iterator<Item = Story> {
    ATTACKS.into_iter().chain(ORDINARY)
}

impl Story {
    fn insert(&self, site: &Site, end: i64, drill: bool) -> Result<()> {
        let Self { count, before_us, lasts_us, src, dst, dst_port, direction, bytes_sent, state, name } =
            self;
        let answered = u8::from(*state == "SF");
        let (src_level, dst_level) = match *direction {
            "outbound" => (3, 0),
            "inbound" => (0, 3),
            _ => (3, 3),
        };
        let system = |level: i32| if level > 0 { "cong" } else { "" };
        let columns = INSERT
            .replace("retention_days)", if drill { "retention_days, drill_id)" } else { "retention_days)" });
        let drill = if drill { ", 'd1'" } else { "" };
        site.query(&format!(
            "{columns} SELECT fromUnixTimestamp64Micro(toInt64({end} - ({before_us}))) AS start, start + toIntervalMicrosecond({lasts_us}),
                start, start, 'gw01', 'gw01', toIPv6({src}), toIPv6({dst}), 40000 + number % 20000, {dst_port}, 'tcp', 6, '{direction}',
                '{}', {src_level}, '{}', {dst_level}, 5, {answered} * 4, {bytes_sent}, {answered} * 500, '{state}', '{name}', 0, 365{drill}
             FROM numbers({count})",
            system(src_level),
            system(dst_level),
        ))?;
        Ok(())
    }
}

/// What a hunt finds, by the fields that name it.
fn found(site: &Site, hunt: &str, end: i64, fields: &[&str], drill: &str) -> Result<Vec<String>> {
    let until = jiff::Timestamp::from_microsecond(end)?.to_string();
    let output = site.vonggac(&["hunt", "run", hunt, "--until", &until, "--json", "--drill", drill])?;
    anyhow::ensure!(output.status.success(), "{hunt}: {}", String::from_utf8_lossy(&output.stderr));
    let mut found = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let row: Json = serde_json::from_str(line)?;
        let named = fields.iter().map(|field| row[*field].to_string().replace('"', ""));
        found.push(named.collect::<Vec<_>>().join(" "));
    }
    found.sort();
    Ok(found)
}

const HOUR_US: i64 = 3_600_000_000;

#[test]
fn hunts_find_what_is_there_and_leave_the_rest_alone() -> Result<()> {
    if !site::engine_present("hunts") {
        return Ok(());
    }
    let site = Site::start("")?;
    copy_hunts(
        &site,
        &["beaconing", "rare-destination", "exfiltration", "new-listener", "slow-scan", "long-connection"],
    )?;
    let end = jiff::Timestamp::now().as_microsecond() / HOUR_US * HOUR_US;
    for story in stories() {
        story.insert(&site, end, false)?;
        // A drill's flows are apart: with them nothing more is found, and among them the same.
        story.insert(&site, end, true)?;
    }
    for drill in ["", "d1"] {
        for (hunt, fields, expected) in [
            ("beaconing", &["src_ip", "dst_ip", "dst_port"][..], &["10.1.0.9 203.0.113.5 443"][..]),
            (
                "rare-destination",
                &["src_ip", "dst_ip", "server_name"],
                &["10.1.0.9 203.0.113.6 new.example.com"],
            ),
            (
                "exfiltration",
                &["src_ip", "dst_ip", "bytes_sent", "bytes_usual"],
                &["10.1.0.20 198.51.100.7 300000000 10000000"],
            ),
            ("new-listener", &["dst_ip", "dst_port"], &["10.1.0.30 8443"]),
            ("slow-scan", &["src_ip", "targets", "hours"], &["203.0.113.9 40 40"]),
            ("long-connection", &["src_ip", "dst_ip", "hours"], &["10.1.0.9 198.51.100.7 9.2"]),
        ] {
            assert_eq!(found(&site, hunt, end, fields, drill)?, expected, "{hunt} {drill:?}");
        }
    }
    Ok(())
}

/// A hunt that appears is run for the window that has just ended: its run is an event, what it found an alert, each once.
#[test]
fn a_hunt_runs_on_its_schedule_and_raises_an_alert_once() -> Result<()> {
    if !site::engine_present("hunts") {
        return Ok(());
    }
    let mut site = Site::start("")?;
    let end = jiff::Timestamp::now().as_microsecond() / HOUR_US * HOUR_US;
    for story in stories() {
        story.insert(&site, end, false)?;
    }
    copy_hunts(&site, &["beaconing"])?;
    site.hang_up()?;
    until("the hunt has run", || Ok((runs(&site)? > 0).then_some(())))?;
    assert_eq!(alerted(&site)?, format!("Connections at even intervals 10.1.0.9 {}", runs(&site)?));
    // Another life goes on behind the run that is stored.
    site.kill_collector()?;
    site.start_collector()?;
    until("the hunt is on its schedule", || {
        let log = std::fs::read_to_string(site.path("collector.log"))?;
        Ok((log.matches("on its schedule").count() == 2).then_some(()))
    })?;
    assert_eq!(alerted(&site)?, format!("Connections at even intervals 10.1.0.9 {}", runs(&site)?));
    // As if it had died between the events of the run and the note that they are stored: the run is done again.
    site.query("TRUNCATE TABLE vonggac.agents")?;
    site.kill_collector()?;
    site.start_collector()?;
    until("the run was done again", || {
        Ok(site.metrics()?.contains("vonggac_hunt_runs_total{hunt=\"beaconing\"} 1").then_some(()))
    })?;
    assert_eq!(alerted(&site)?, format!("Connections at even intervals 10.1.0.9 {}", runs(&site)?));
    Ok(())
}

/// How often the hunt has run. None of its runs is stored twice.
fn runs(site: &Site) -> Result<u32> {
    let of = "FROM vonggac.events WHERE service = 'hunt' AND fields['hunt_run'] = 'beaconing'";
    let answer = site.query(&format!("SELECT count(), uniqExact(fields['run']) {of}"))?;
    let (runs, numbers) = answer.trim().split_once('\t').context("two numbers")?;
    assert_eq!(runs, numbers);
    Ok(runs.parse()?)
}

fn alerted(site: &Site) -> Result<String> {
    Ok(site.query("SELECT rule_title, entity, hits FROM vonggac.alerts FINAL")?.trim().replace('\t', " "))
}

/// Into the folder that the site's configuration names.
fn copy_hunts(site: &Site, hunts: &[&str]) -> Result<()> {
    for hunt in hunts {
        let file = format!("{hunt}.toml");
        std::fs::copy(root().join(HUNTS).join(&file), std::path::Path::new(&site.path("hunts")).join(&file))
            .context(file)?;
    }
    Ok(())
}
