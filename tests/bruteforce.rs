//! The brute-force rule on real logs, against a count made by other means.
//!
//! What the rule says: at least six failed SSH logins from one address within five minutes. The count here reads the raw lines with a
//! plain regular expression and walks over all windows; it shares nothing with the parsers, the rules or the correlator.
//! Every address that it finds must be alerted, and no other. The logs: two public ones of the corpus (hosts on the Internet, both with
//! `message repeated 5 times`), and those of the recorded drill.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use detect::{Engine, EventKey, Scratch};
use event::{Batch, Format, Header, Micros, Record, parse_batch};
use regex::Regex;

use crate::corpus::corpus;
use crate::site::root;

const RULE: &str = "correlation/ssh-brute-force.yml";
const FAILURES: u64 = 6;
const WINDOW: Micros = 5 * 60 * 1_000_000;

/// Days from 1970-01-01 to the first day of the year that lines without one are given, and to each month of it.
const YEAR_DAYS: i64 = 20_454; // 2026
const MONTHS: [(&str, i64); 12] = [
    ("Jan", 0),
    ("Feb", 31),
    ("Mar", 59),
    ("Apr", 90),
    ("May", 120),
    ("Jun", 151),
    ("Jul", 181),
    ("Aug", 212),
    ("Sep", 243),
    ("Oct", 273),
    ("Nov", 304),
    ("Dec", 334),
];

#[test]
fn brute_force_on_the_corpus_is_all_that_and_no_other() -> Result<()> {
    for (log, sources) in [("loghub/OpenSSH/OpenSSH_2k.log", 10), ("elastic/auth.log", 101)] {
        let Some(path) = corpus(log) else { continue };
        let found = compare(&path)?;
        ensure!(found == sources, "{log}: {found} sources, {sources} expected");
    }
    Ok(())
}

#[test]
fn brute_force_of_the_drill_is_all_that_and_no_other() -> Result<()> {
    let logs = root().join("tests/drills/linux-web-intrusion/logs");
    ensure!(compare(&logs.join("web01/auth.log"))? == 2, "web01: the sprayer and the guesser");
    ensure!(compare(&logs.join("db01/auth.log"))? == 1, "db01: web01, once it is taken");
    Ok(())
}

/// Compares the alerts with the count, and says how many sources there are.
fn compare(log: &Path) -> Result<usize> {
    let bytes = std::fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let (counted, alerted) = (counted(&lines)?, alerted(&lines)?);
    ensure!(
        counted == alerted,
        "{}: missed {:?}, alerted without reason {:?}",
        log.display(),
        counted.difference(&alerted).collect::<Vec<_>>(),
        alerted.difference(&counted).collect::<Vec<_>>()
    );
    Ok(counted.len())
}

/// The sources that meet the definition, by a count of our own.
fn counted(lines: &[&[u8]]) -> Result<BTreeSet<String>> {
    let failed = Regex::new(
        r"sshd\[\d+\]: (?:message repeated (\d+) times: \[ )?Failed \S+ for (?:.*) from (\S+) port \d+",
    )?;
    let mut by_source: BTreeMap<String, Vec<(Micros, u64)>> = BTreeMap::new();
    for line in lines {
        let line = String::from_utf8_lossy(line);
        let Some(parts) = failed.captures(&line) else { continue };
        let times = parts.get(1).map_or(Ok(1), |times| times.as_str().parse())?;
        by_source.entry(parts[2].to_owned()).or_default().push((time_of(&line)?, times));
    }
    let is_brute_force = |failures: &[(Micros, u64)]| {
        failures.iter().any(|(end, _)| {
            let window = failures.iter().filter(|(time, _)| (end - WINDOW..=*end).contains(time));
            window.map(|(_, times)| times).sum::<u64>() >= FAILURES
        })
    };
    by_source.retain(|_, failures| is_brute_force(failures));
    Ok(by_source.into_keys().collect())
}

/// The sources that the rule alerts.
fn alerted(lines: &[&[u8]]) -> Result<BTreeSet<String>> {
    let engine = engine()?;
    let (mut scratch, mut correlator) = (Scratch::default(), engine.correlator());
    let mut sources = BTreeSet::new();
    for (lines, seq) in lines.chunks(1000).zip(1..) {
        let batch = batch(lines, seq)?;
        for event in parse_batch(&batch) {
            for found in engine.evaluate(&event, &mut scratch) {
                let key = EventKey { agent: Arc::from("host"), epoch: 1, seq, record: event.record };
                let hit = engine.hit(&found.rule, &event, key);
                let fired = hit.map(|hit| correlator.observe(hit, event.ts)).unwrap_or_default();
                let of_rule = fired.into_iter().filter(|fired| fired.rule.path.ends_with(RULE));
                sources.extend(of_rule.flat_map(|fired| fired.group).map(|(_, source)| source));
            }
        }
    }
    Ok(sources)
}

/// All our rules; the one in question says what is counted here.
fn engine() -> Result<Engine> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(root().join("rules/sigma")) {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "yml") {
            files.push((entry.path().display().to_string(), std::fs::read_to_string(entry.path())?));
        }
    }
    let rule = files.iter().find(|(path, _)| path.ends_with(RULE)).context("the brute-force rule")?;
    ensure!(rule.1.contains(&format!("gte: {FAILURES}\n")), "{RULE}: expected gte: {FAILURES}");
    ensure!(rule.1.contains("timespan: 5m\n"), "{RULE}: expected timespan: 5m");
    let (engine, problems) = detect::compile(&files);
    ensure!(problems.is_empty(), "{problems:?}");
    Ok(engine)
}

/// Lines as if each had been read when it was written.
fn batch(lines: &[&[u8]], seq: u64) -> Result<Batch> {
    let header =
        Header { agent: "host".to_owned(), epoch: 1, seq, format: Format::Syslog, ..Header::default() };
    let records: Result<Vec<Record<'_>>> = lines
        .iter()
        .map(|line| Ok(Record { time: time_of(&String::from_utf8_lossy(line))?, offset: 0, bytes: line }))
        .collect();
    Ok(Batch::new(header, records?)?)
}

/// `Dec 10 06:55:46 ...` or `2026-11-23T09:00:00.123456+07:00 ...`, its zone ignored: only differences matter.
fn time_of(line: &str) -> Result<Micros> {
    let (day, time) = match line.as_bytes().first() {
        Some(b'0'..=b'9') => {
            let month: usize = line[5..7].parse()?;
            (MONTHS[month - 1].1 + line[8..10].parse::<i64>()?, &line[11..])
        }
        _ => {
            let month =
                MONTHS.iter().find(|(name, _)| line.starts_with(name)).with_context(|| line.to_owned())?;
            (month.1 + line[4..6].trim().parse::<i64>()?, &line[7..])
        }
    };
    let (hours, minutes): (i64, i64) = (time[..2].parse()?, time[3..5].parse()?);
    let seconds: i64 = time[6..8].parse()?;
    let micros = time[8..].strip_prefix('.').map_or(Ok(0), |fraction| fraction[..6].parse::<i64>())?;
    Ok((((YEAR_DAYS + day - 1) * 24 + hours) * 3600 + minutes * 60 + seconds) * 1_000_000 + micros)
}
