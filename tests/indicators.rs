//! Indicators of compromise, end to end: feeds of each format, a flow, a log line and a Sysmon event that name them, and what
//! people see of it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

use crate::site::{self, Site, until};

const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Two feeds: a table with an address of a command server and one that has expired, and a bundle with a hash and a scanner.
fn write_feeds(folder: &Path) -> Result<()> {
    let table = "type,value,description,severity,valid_until,tags\n\
        ip,198.51.100.66,command server of a botnet,critical,,botnet;c2\n\
        ip,198.51.100.67,was one,critical,2020-01-01,\n\
        ip,10.0.0.0/8,a classic fault,critical,,\n";
    let bundle = json!({ "type": "bundle", "objects": [
        { "type": "indicator", "pattern_type": "stix", "name": "Dropper", "valid_from": "2020-01-01T00:00:00Z",
          "pattern": format!("[file:hashes.'SHA-256' = '{SHA256}']") },
        { "type": "indicator", "pattern_type": "stix", "name": "Scanner", "valid_from": "2020-01-01T00:00:00Z",
          "pattern": "[ipv4-addr:value = '203.0.113.0/24']" },
        { "type": "indicator", "pattern_type": "stix", "name": "Both", "valid_from": "2020-01-01T00:00:00Z",
          "pattern": "[file:name = 'a.exe' AND file:size = 3]" },
    ] });
    fs::write(folder.join("c2.csv"), table)?;
    Ok(fs::write(folder.join("bundle.json"), bundle.to_string())?)
}

const FEEDS: &str = r#"
[[indicators]]
feed = "c2"
path = "c2.csv"
format = "csv"

[[indicators]]
feed = "partner"
path = "bundle*.json"
format = "stix"
severity = "high"
"#;

/// A site whose collector has the feeds.
fn site_with_feeds() -> Result<Site> {
    let mut site = Site::start("")?;
    let configuration = site.path("vonggac.toml");
    write_feeds(Path::new(&configuration).parent().context("a folder")?)?;
    fs::write(&configuration, fs::read_to_string(&configuration)? + FEEDS)?;
    site.end_collector()?;
    site.start_collector()?;
    Ok(site)
}

/// A flow of a second ago, as our meter writes it.
fn flow(dst_ip: &str, second: i64) -> String {
    let ts = (Timestamp::now() - SignedDuration::from_secs(second)).as_microsecond();
    let flow = json!({
        "kind": "flow", "ts": ts, "ts_end": ts, "duration_us": 0, "ts_conn": ts, "part": 0, "origin": "meter",
        "end_reason": "idle", "src_ip": "192.0.2.10", "dst_ip": dst_ip, "src_port": 40_000, "dst_port": 443,
        "proto": "tcp", "protocol": 6, "src_packets": 3, "src_bytes": 180, "dst_packets": 2, "dst_bytes": 120,
    });
    format!("{flow}\n")
}

fn sysmon() -> String {
    let now = Timestamp::now();
    let event = json!({
        "Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1, "Computer": "pc01", "SystemTime": now.to_string(),
        "Image": "C:\\Users\\a\\dropper.exe", "CommandLine": "dropper.exe",
        "Hashes": format!("MD5=D41D8CD98F00B204E9800998ECF8427E,SHA256={}", SHA256.to_uppercase()),
    });
    format!("{event}\n")
}

fn web() -> String {
    let now = Timestamp::now().strftime("%d/%b/%Y:%H:%M:%S +0000");
    format!("203.0.113.50 - - [{now}] \"GET / HTTP/1.1\" 200 12 \"-\" \"curl/8\"\n")
}

fn sources(site: &Site) -> String {
    let source = |name: &str, format: &str| {
        let path = site.path(name);
        format!("[[source]]\npaths = [\"{path}\"]\nformat = \"{format}\"\nstart = \"beginning\"\n")
    };
    [source("flows.log", "flow"), source("sysmon.log", "json"), source("access.log", "web")].concat()
}

fn append(path: &str, text: &str) -> Result<()> {
    use std::io::Write;
    let mut file = fs::File::options().create(true).append(true).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

/// The alerts of indicators, by the value in their title.
fn alerts(site: &Site) -> Result<Vec<Json>> {
    let text = site.run(&["alerts", "--format", "json", "--since", "1d"])?;
    let rows = text.lines().map(serde_json::from_str).collect::<Result<Vec<Json>, _>>()?;
    let is_ours =
        |row: &Json| row["rule_title"].as_str().is_some_and(|title| title.starts_with("Indicator: "));
    Ok(rows.into_iter().filter(is_ours).collect())
}

fn alert_of(site: &Site, title: &str) -> Result<Json> {
    let found = alerts(site)?.into_iter().find(|row| row["rule_title"] == title);
    found.with_context(|| format!("no alert {title:?}"))
}

#[test]
fn a_flow_a_line_and_a_sysmon_event_raise_alerts_and_an_expired_indicator_none() -> Result<()> {
    if !site::engine_present("indicators") {
        return Ok(());
    }
    let mut site = site_with_feeds()?;
    append(&site.path("flows.log"), &(flow("198.51.100.67", 3) + &flow("198.51.100.66", 2)))?;
    append(&site.path("sysmon.log"), &sysmon())?;
    append(&site.path("access.log"), &web())?;
    let _agent = site.agent("web01", &sources(&site))?;
    until("everything is stored", || {
        let stored = site.number("SELECT (SELECT count() FROM flows) + (SELECT count() FROM events)")?;
        Ok((stored == 4).then_some(()))
    })?;
    let titles = [
        "Indicator: c2: 198.51.100.66".to_owned(),
        "Indicator: partner: 203.0.113.0/24".to_owned(),
        format!("Indicator: partner: {SHA256}"),
    ];
    for title in &titles {
        alert_of(&site, title)?;
    }
    assert_eq!(alerts(&site)?.len(), titles.len(), "none for the one that has expired");
    shows_what_the_feed_says(&site, &titles[0])?;
    answers_by_command(&site)?;
    joins_after_a_restart(&mut site, &titles[0])?;
    takes_another_set_and_keeps_the_last_good_one(&site)
}

fn shows_what_the_feed_says(site: &Site, title: &str) -> Result<()> {
    let alert = alert_of(site, title)?;
    assert_eq!(alert["severity"], "critical", "the indicator's own");
    let hash = alert_of(site, &format!("Indicator: partner: {SHA256}"))?;
    assert_eq!(hash["severity"], "high", "its feed's");
    let page = site.run(&["alert", alert["id"].as_str().context("an id")?])?;
    for part in [
        "indicator.description = command server of a botnet",
        "indicator.labels = botnet, c2",
        "dst_ip = 198.51.100.66",
        "c2.csv",
    ] {
        ensure!(page.contains(part), "{part:?} in\n{page}");
    }
    let id = alert["rule_id"].as_str().context("a rule")?;
    let by_rule = |table: &str| site.number(&format!("SELECT countIf(has(rules, '{id}')) FROM {table}"));
    assert_eq!((by_rule("flows")?, by_rule("events")?), (1, 0), "the flow names the indicator as its rule");
    Ok(())
}

fn answers_by_command(site: &Site) -> Result<()> {
    let lookup = site.run(&["indicators", "lookup", "203.0.113[.]9"])?;
    ensure!(lookup.contains("address 203.0.113.0/24") && lookup.contains("partner"), "{lookup}");
    let expired = site.run(&["indicators", "lookup", "198.51.100.67"])?;
    ensure!(expired.contains("(not valid now)"), "{expired}");
    let none = site.vonggac(&["indicators", "lookup", "192.0.2.1"])?;
    assert_eq!(none.status.code(), Some(1));
    let check = site.vonggac(&["indicators", "check"])?;
    let text = String::from_utf8(check.stdout)?;
    assert_eq!(check.status.code(), Some(1), "one pattern is not understood: {text}");
    for part in [
        "c2: 2 address; from 1 file\n",
        "partner: 1 address, 1 sha256",
        "AND",
        "1 whose address is anybody's",
        "1 expired",
    ] {
        ensure!(text.contains(part), "{part:?} in\n{text}");
    }
    Ok(())
}

/// What comes after a crash joins the alert that was open before.
fn joins_after_a_restart(site: &mut Site, title: &str) -> Result<()> {
    let before = alert_of(site, title)?;
    site.kill_collector()?;
    site.start_collector()?;
    append(&site.path("flows.log"), &flow("198.51.100.66", 1))?;
    until("the flow is counted", || Ok((alert_of(site, title)?["hits"] == 2).then_some(())))?;
    assert_eq!(alert_of(site, title)?["id"], before["id"]);
    Ok(())
}

fn takes_another_set_and_keeps_the_last_good_one(site: &Site) -> Result<()> {
    let loaded = |site: &Site| -> Result<u64> {
        let metrics = site.metrics()?;
        let counts = metrics.lines().filter(|line| line.starts_with("vonggac_indicators_loaded_count{"));
        Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    };
    assert_eq!(loaded(site)?, 4);
    fs::write(site.path("c2.csv"), "value\n198.51.100.66\n198.51.100.68\nevil.example\n")?;
    site.hang_up()?;
    until("the new set is in force", || Ok((loaded(site)? == 5).then_some(())))?;

    fs::write(site.path("c2.csv"), "no such column\n198.51.100.66\n")?;
    site.hang_up()?;
    until("the fault is told", || {
        Ok(site.metrics()?.contains("vonggac_indicators_unreadable_count{feed=\"c2\"} 1").then_some(()))
    })?;
    assert_eq!(loaded(site)?, 5, "the last good set stays");
    append(&site.path("flows.log"), &flow("198.51.100.68", 0))?;
    until("the last good set still matches", || {
        Ok(alert_of(site, "Indicator: c2: 198.51.100.68").is_ok().then_some(()))
    })
}
