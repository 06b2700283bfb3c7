//! Reports of a store whose content is known, held against SQL that is written here; every kind, language and format.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::{Context, Result, ensure};

use crate::site::{self, Site};

/// The day that is reported, and others around it: one alert a day and priority, more on the day itself.
const ALERTS: &str = "INSERT INTO vonggac.alerts (id, version, rule_id, rule_title, severity, priority, techniques, system_id, \
    system_name, sys_level, host, entity, src_ip, hits, first_seen, last_seen, created_at, ack_due, close_due, samples, drill_id) \
    SELECT concat('alert', leftPad(toString(number), 6, '0')), 1, concat('rule', toString(number % 3)), \
      if(number % 3 = 0, '<b>Quét & \"dò\" mạng</b>|x', concat('Luật ', toString(number % 3))), ['high', 'medium', 'low'][1 + number % 3], \
      concat('P', toString(1 + number % 5)), ['T1595', 'T1110'], if(number % 4 = 0, '', 'cong-dvc'), if(number % 4 = 0, '', 'Cổng Dịch vụ công'), \
      3, 'dvc01', 'e', toIPv6('::ffff:203.0.113.9'), 2, at, at, at, at + 3600, at + 86400, ['=cmd|x <script>alert(1)</script>'], \
      if(number % 10 = 9, 'drill-1', '') \
    FROM (SELECT number, toDateTime64('2026-11-16 00:00:00', 6, 'UTC') + number * 3600 AS at FROM numbers(336))";
const EVENTS: &str = "INSERT INTO vonggac.events (ts, ts_received, host, agent, source, kind, parse_status, sys_level, retention_days, \
    src_ip, drill_id) SELECT toDateTime64('2026-11-25 12:00:00', 6, 'UTC') + number AS at, at, concat('h', toString(number % 7)), 'a', 's', 'sshd', \
    if(number % 10 = 0, 'raw', 'parsed'), 3, 185, toIPv6('::'), if(number % 50 = 0, 'drill-1', '') FROM numbers(1000)";

const KINDS: [&str; 6] = ["daily", "weekly", "monthly", "half-year", "levels", "drill"];
const DATE: &str = "2026-11-25";

fn report(site: &Site, kind: &str, lang: &str, format: &str) -> Result<Vec<u8>> {
    let arguments = ["report", kind, "--date", DATE, "--utc", "--lang", lang, "--format", format];
    let output = site.vonggac(&arguments)?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// Rows of a CSV report by their first cell, the first that has it.
fn cells(site: &Site, kind: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let text = String::from_utf8(report(site, kind, "en", "csv")?)?;
    let split =
        |line: &str| line.split(',').map(|cell| cell.trim_matches('"').to_owned()).collect::<Vec<_>>();
    let mut cells = BTreeMap::new();
    for row in text.lines().map(split).filter(|row| row.len() > 1) {
        cells.entry(row[0].clone()).or_insert(row);
    }
    Ok(cells)
}

#[test]
fn reports_say_what_the_store_holds_in_every_language_and_format() -> Result<()> {
    if !site::engine_present("reports") {
        return Ok(());
    }
    let site = Site::start(&std::fs::read_to_string(site::root().join("tests/drills/systems.toml"))?)?;
    site.query(ALERTS)?;
    site.query(EVENTS)?;
    for deed in [
        &["alert", "close", "alert000240", "--verdict", "true_positive", "--text", "x"][..],
        &["alert", "close", "alert000241", "--verdict", "false_positive", "--text", "x"],
    ] {
        ensure!(site.vonggac(deed)?.status.success(), "{deed:?}");
    }
    numbers_are_those_of_the_store(&site)?;
    for kind in KINDS {
        for lang in ["vi", "en"] {
            for format in ["html", "md", "csv", "docx"] {
                let bytes = report(&site, kind, lang, format)?;
                assert_eq!(bytes, report(&site, kind, lang, format)?, "{kind} {lang} {format} twice");
                harmless(&bytes, format).with_context(|| format!("{kind} {lang} {format}"))?;
            }
        }
    }
    Ok(())
}

fn numbers_are_those_of_the_store(site: &Site) -> Result<()> {
    for (kind, from, to, before) in [
        ("daily", "2026-11-25", "2026-11-26", "2026-11-24"),
        ("weekly", "2026-11-23", "2026-11-30", "2026-11-16"),
        ("monthly", "2026-11-01", "2026-12-01", "2026-10-01"),
    ] {
        let cells = cells(site, kind)?;
        let number = |condition: &str, from: &str, to: &str| {
            site.number(&format!(
                "SELECT count() FROM vonggac.alerts FINAL WHERE drill_id = '' AND created_at >= '{from}' AND created_at < '{to}' \
                 AND {condition}"
            ))
        };
        for (label, condition) in [
            ("Alerts", "true"),
            ("Alerts of P1 and P2", "priority IN ('P1', 'P2')"),
            ("P3", "priority = 'P3'"),
        ] {
            let row = cells.get(label).with_context(|| label.to_owned())?;
            let (now, earlier) = (number(condition, from, to)?, number(condition, before, from)?);
            assert!(
                row.iter().any(|cell| *cell == now.to_string()),
                "{kind} {label}: {row:?}, {now} expected"
            );
            assert!(
                row.iter().any(|cell| cell.ends_with(&earlier.to_string())),
                "{kind} {label}: {row:?}, {earlier} before"
            );
            assert!(now > 0);
        }
    }
    let day = cells(site, "daily")?;
    let events =
        site.number("SELECT count() FROM vonggac.events WHERE drill_id = '' AND toDate(ts) = '2026-11-25'")?;
    assert_eq!(day["Events"][1], events.to_string());
    let raw = site.number(
        "SELECT count() FROM vonggac.events WHERE drill_id = '' AND toDate(ts) = '2026-11-25' AND parse_status = 'raw'",
    )?;
    assert_eq!(day["Lines not understood"][1], raw.to_string());
    // Of 336 alerts every tenth is a drill's.
    let drills = cells(site, "drill")?;
    assert_eq!(
        drills["Alerts"][1],
        site.number("SELECT count() FROM vonggac.alerts FINAL WHERE drill_id != ''")?.to_string()
    );
    Ok(())
}

/// What came out of a log is text in each format.
fn harmless(bytes: &[u8], format: &str) -> Result<()> {
    let text = match format {
        "docx" => {
            let mut text = String::new();
            let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes))?;
            zip.by_name("word/document.xml")?.read_to_string(&mut text)?;
            text
        }
        // An escaped bracket is text.
        _ => String::from_utf8(bytes.to_vec())?.replace("\\<", ""),
    };
    ensure!(format == "csv" || !text.contains("<script"), "a script");
    ensure!(format == "csv" || !text.contains("<b>Quét"), "markup");
    ensure!(format != "csv" || !text.contains(",=cmd"), "a formula");
    ensure!(text.len() > 300, "nothing is in it: {text}");
    Ok(())
}
