//! Reports of a store whose content is known, held against SQL that is written here: each number in its own cell, every kind,
//! language and format, the reader's time zone, and that a report of days that are over does not change any more. Numbers are looked
//! for in CSV; that the other formats tell the same cells, `python/report_cells.py` sees.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use jiff::civil::Date;
use jiff::{Span, Timestamp};

use crate::site::{self, Site};

/// An alert an hour, from nine days before the day that is reported to five days behind it; every tenth is a drill's.
const ALERTS: &str = "INSERT INTO vonggac.alerts (id, version, rule_id, rule_title, severity, priority, techniques, system_id, \
    system_name, sys_level, host, entity, src_ip, hits, first_seen, last_seen, created_at, ack_due, close_due, samples, drill_id) \
    SELECT concat('alert', leftPad(toString(number), 6, '0')), 1, concat('rule', toString(number % 3)), \
      if(number % 3 = 0, '<b>Quét & \"dò\" mạng</b>|x', concat('Luật ', toString(number % 3))), ['high', 'medium', 'low'][1 + number % 3], \
      concat('P', toString(1 + number % 5)), ['T1595', 'T1110'], if(number % 4 = 0, '', 'cong-dvc'), if(number % 4 = 0, '', 'Cổng Dịch vụ công'), \
      3, 'dvc01', 'e', toIPv6('::ffff:203.0.113.9'), 2, at, at, at, at + 3600, at + 86400, ['=cmd|x <script>alert(1)</script>'], \
      if(number % 10 = 9, 'drill-1', '') \
    FROM (SELECT number, toDateTime64('{day} 00:00:00', 6, 'UTC') - 9 * 86400 + number * 3600 AS at FROM numbers(336))";
/// More than a thousand events around noon of the day.
const EVENTS: &str = "INSERT INTO vonggac.events (ts, ts_received, host, agent, source, kind, parse_status, sys_level, retention_days, \
    src_ip, drill_id) SELECT toDateTime64('{day} 12:00:00', 6, 'UTC') + number AS at, at, concat('h', toString(number % 7)), 'a', 's', 'sshd', \
    if(number % 3 = 0, 'raw', 'parsed'), 3, 185, toIPv6('::'), if(number % 50 = 0, 'drill-1', '') FROM numbers(5000)";
/// What people did on the day itself.
const DEEDS: &str = "INSERT INTO vonggac.alert_history (chain, seq, at, alert_id, action, actor, verdict) VALUES \
    ('x', 1, toDateTime64('{day} 10:00:00', 6, 'UTC'), 'alert000216', 'close', 'lan', 'true_positive'), \
    ('x', 2, toDateTime64('{day} 11:00:00', 6, 'UTC'), 'alert000217', 'close', 'lan', 'false_positive'), \
    ('x', 3, toDateTime64('{day} 12:00:00', 6, 'UTC'), 'alert000218', 'ack', 'lan', '')";

/// What the watch itself has to tell: each alert in two versions, of which the last counts; runs of a hunt, two of which found something;
/// what the store refused, written again; a host that was last heard on the day before.
const WATCH: [&str; 5] = [
    "INSERT INTO vonggac.alerts (id, version, rule_id, rule_title, rule_path, severity, priority, host, hits, first_seen, last_seen, \
     created_at, src_ip) SELECT concat('own', toString(number)), 1, if(number = 0, 'vonggac-sequence-gap', 'i1'), \
     if(number = 0, 'gap', 'Indicator: feed: 203.0.113.77'), if(number = 0, '', 'feeds/bad.csv'), 'high', 'P4', 'dvc01', 1, at, at, at, \
     toIPv6(if(number = 0, '::', '2001:db8::ffff:9')) FROM (SELECT number, toDateTime64('{day} 09:00:00', 6, 'UTC') AS at FROM numbers(2))",
    "INSERT INTO vonggac.alerts (id, version, rule_id, rule_title, rule_path, severity, priority, host, hits, first_seen, last_seen, \
     created_at, src_ip) SELECT id, 2, rule_id, rule_title, rule_path, severity, priority, host, 1234, first_seen, last_seen, created_at, \
     src_ip FROM vonggac.alerts WHERE id LIKE 'own%'",
    "INSERT INTO vonggac.events (ts, ts_received, host, agent, source, kind, service, retention_days, src_ip, fields) SELECT \
     toDateTime64('{day} 00:00:00', 6, 'UTC') + 3600 * number, now64(6), 'hunt-b', 'hunt-b', 's', 'hunt', 'hunt', 185, toIPv6('::'), \
     if(number % 4 = 3, map('hunt', 'b', 'hunt_title', 'Beacons'), map('hunt_run', 'b')) FROM numbers(8)",
    "INSERT INTO vonggac.dead_letters (dead_at, agent, epoch, seq, record, reason) SELECT \
     toDateTime64('{day} 08:00:00', 6, 'UTC'), 'dvc02', 1, 1, number % 3, 'x' FROM numbers(6)",
    "INSERT INTO vonggac.events (ts, ts_received, host, agent, source, kind, retention_days, src_ip) SELECT \
     toDateTime64('{day} 20:00:00', 6, 'UTC') - 86400, now64(6), 'gone01', 'gone01', 's', 'sshd', 185, toIPv6('::') FROM numbers(1200)",
];

const KINDS: [&str; 7] = ["daily", "weekly", "monthly", "half-year", "period", "levels", "drill"];
const FORMATS: [&str; 4] = ["html", "md", "csv", "docx"];
/// A zone that has a name, and no whole-hour offset from UTC.
const KATHMANDU: &str = "Asia/Kathmandu";

/// The site, and the day that is reported: four days ago, so that all that is reported is still kept.
struct Reported {
    site: Site,
    day: Date,
}

impl Reported {
    fn start() -> Result<Self> {
        let site = Site::start(&std::fs::read_to_string(site::root().join("tests/drills/systems.toml"))?)?;
        let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let reported = Self { site, day: today.checked_sub(Span::new().days(4))? };
        for sql in [ALERTS, EVENTS, DEEDS].iter().chain(&WATCH) {
            reported.site.query(&sql.replace("{day}", &reported.day.to_string()))?;
        }
        Ok(reported)
    }

    fn vonggac(&self, zone: &str, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(site::program("vonggac"))
            .args(arguments)
            .env("VONGGAC_CONFIG", self.site.path("vonggac.toml"))
            .env("TZ", zone)
            .output()?)
    }

    /// A report in CSV as rows by their first cell, the first row that has it.
    fn rows(text: &[u8]) -> Result<BTreeMap<String, Vec<String>>> {
        let mut cells = BTreeMap::new();
        for row in
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text).into_records()
        {
            let row: Vec<String> = row?.iter().map(str::to_owned).collect();
            if row.len() > 1 {
                cells.entry(row[0].clone()).or_insert(row);
            }
        }
        Ok(cells)
    }

    fn report(&self, zone: &str, kind: &str, lang: &str, format: &str) -> Result<Vec<u8>> {
        let day = self.day.to_string();
        let first = self.day.checked_sub(Span::new().days(2))?.to_string();
        let days = match kind {
            "period" => vec!["--since", &*first, "--until", &*day],
            _ => vec!["--date", &*day],
        };
        let arguments = [&["report", kind, "--lang", lang, "--format", format][..], &days].concat();
        let output = self.vonggac(zone, &arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    }

    fn cells(&self, zone: &str, kind: &str, lang: &str) -> Result<BTreeMap<String, Vec<String>>> {
        Self::rows(&self.report(zone, kind, lang, "csv")?)
    }

    /// First day, day behind the last, and first day of the period before, as ClickHouse's calendar has them.
    fn days(&self, kind: &str) -> Result<[String; 3]> {
        let half = "toDate(concat(toString(toYear(d)), if(toMonth(d) <= 6, '-01-01', '-07-01')))";
        let [first, end, before] = match kind {
            "daily" => ["d", "d + 1", "d - 1"].map(str::to_owned),
            "weekly" => ["toMonday(d)", "toMonday(d) + 7", "toMonday(d) - 7"].map(str::to_owned),
            "monthly" => {
                ["", " + INTERVAL 1 MONTH", " - INTERVAL 1 MONTH"].map(|by| format!("toStartOfMonth(d){by}"))
            }
            "half-year" => ["", " + INTERVAL 6 MONTH", " - INTERVAL 6 MONTH"].map(|by| format!("{half}{by}")),
            _ => ["d - 2", "d + 1", "d - 5"].map(str::to_owned),
        };
        let day = self.day;
        let text = self.site.query(&format!(
            "WITH toDate('{day}') AS d SELECT toString({first}), toString({end}), toString({before}) FORMAT TSV"
        ))?;
        let mut days = text.trim().split('\t').map(str::to_owned);
        Ok(std::array::from_fn(|_| days.next().unwrap_or_default()))
    }

    /// Alerts of no drill, from one day to before another of a zone.
    fn alerts(&self, zone: &str, condition: &str, from: &str, to: &str) -> Result<u64> {
        let at = |day: &str| format!("toDateTime64('{day} 00:00:00', 6, '{zone}')");
        self.site.number(&format!(
            "SELECT count() FROM vonggac.alerts FINAL WHERE drill_id = '' AND created_at >= {} AND created_at < {} AND {condition}",
            at(from),
            at(to)
        ))
    }
}

#[test]
fn reports_say_what_the_store_holds_in_every_language_and_format() -> Result<()> {
    if !site::engine_present("reports") {
        return Ok(());
    }
    let reported = Reported::start()?;
    for kind in ["daily", "weekly", "monthly", "half-year", "period"] {
        for zone in ["UTC", KATHMANDU] {
            alerts_are_those_of_the_store(&reported, kind, zone)
                .with_context(|| format!("{kind} in {zone}"))?;
        }
    }
    the_day_is_that_of_the_store(&reported)?;
    the_watch_itself_is_told(&reported)?;
    levels_are_counted(&reported)?;
    a_run_without_an_alert_is_a_run(&reported)?;
    every_kind_and_format(&reported)?;
    what_is_over_does_not_change(&reported)?;
    refuses_what_it_cannot_tell(&reported)
}

/// Numbers in the cells of the period, and in those of the one before.
fn alerts_are_those_of_the_store(reported: &Reported, kind: &str, zone: &str) -> Result<()> {
    let [from, to, before] = reported.days(kind)?;
    let cells = reported.cells(zone, kind, "en")?;
    for (label, condition) in [
        ("Alerts", "true"),
        ("Alerts of P1 and P2", "priority IN ('P1', 'P2')"),
        ("P3", "priority = 'P3'"),
        ("medium", "severity = 'medium'"),
        ("203.0.113.9", "src_ip = toIPv6('::ffff:203.0.113.9')"),
        ("2001:db8::ffff:9", "src_ip = toIPv6('2001:db8::ffff:9')"),
    ] {
        let row = cells.get(label).with_context(|| format!("no row {label}"))?;
        let now = reported.alerts(zone, condition, &from, &to)?;
        let earlier = reported.alerts(zone, condition, &before, &from)?;
        assert!(now > 0, "{label}: nothing to count");
        assert_eq!(row[1], now.to_string(), "{kind} in {zone}, {label}");
        assert_eq!(row[2].trim_start_matches("period before: "), earlier.to_string(), "{label}, before");
    }
    Ok(())
}

fn the_day_is_that_of_the_store(reported: &Reported) -> Result<()> {
    let (day, site) = (reported.day, &reported.site);
    let (english, vietnamese) =
        (reported.cells("UTC", "daily", "en")?, reported.cells("UTC", "daily", "vi")?);
    let of_day = format!("drill_id = '' AND toDate(ts) = '{day}'");
    let events = site.number(&format!("SELECT count() FROM vonggac.events WHERE {of_day}"))?;
    let raw =
        site.number(&format!("SELECT count() FROM vonggac.events WHERE {of_day} AND parse_status = 'raw'"))?;
    for (label, other, number) in
        [("Events", "Sự kiện", events), ("Lines not understood", "Dòng log không phân tích được", raw)]
    {
        assert!(number > 1_000);
        let (thousands, rest) = (number / 1_000, number % 1_000);
        assert_eq!(english[label][1], format!("{thousands},{rest:03}"));
        assert_eq!(vietnamese[other][1], format!("{thousands}.{rest:03}"));
    }
    assert_eq!(vietnamese["trung bình"][1], english["medium"][1]);
    // One of three deeds is no close.
    assert_eq!([&english["Alerts closed"][1], &english["True positives"][1]], ["2", "1"]);
    assert_eq!(english["false positive"][1], "1");
    let end = format!("toDateTime64('{day} 00:00:00', 6, 'UTC') + 86400");
    let late = site.number(&format!(
        "SELECT count() FROM vonggac.alerts FINAL WHERE drill_id = '' AND ack_due > '2000-01-01' AND created_at < {end} \
         AND ((ack_due < {end} AND id NOT IN ('alert000216', 'alert000217', 'alert000218')) \
           OR (close_due < {end} AND id = 'alert000218'))"
    ))?;
    assert_eq!(english["Alerts late at the end"][1], late.to_string());
    let markdown = String::from_utf8(reported.report("UTC", "daily", "en", "md")?)?;
    assert!(markdown.contains(&format!("The first 20 of {late} rows")), "a table that is cut says so");
    Ok(())
}

/// Runs of hunts are no findings, hunts are no hosts, and of an alert that was written twice the last version counts.
fn the_watch_itself_is_told(reported: &Reported) -> Result<()> {
    let cells = reported.cells("UTC", "daily", "en")?;
    let (day, site) = (reported.day, &reported.site);
    let hosts = site.number(&format!(
        "SELECT uniqExact(host) FROM vonggac.events WHERE drill_id = '' AND toDate(ts) = '{day}' AND service != 'hunt'"
    ))?;
    assert!(hosts > 1);
    assert_eq!(cells["Hosts that report"][1], hosts.to_string());
    for (label, expected) in [
        ("Findings of hunts", "2"),
        ("Gaps in what agents sent", "1"),
        ("Alerts by indicators", "1"),
        ("Rows the store refused", "3"),
    ] {
        assert_eq!(cells[label][1], expected, "{label}");
    }
    assert_eq!(cells["Beacons"][1..], ["6", "2", "0"]);
    assert_eq!(cells["feed: 203.0.113.77"][2..4], ["dvc01", "1,234"]);
    assert_eq!(cells["dvc01"][1..3], ["Gaps in the batches that it sent", "1,234"]);
    assert_eq!(cells["dvc02"][1..3], ["Rows the store refused", "3"]);
    assert_eq!(cells["gone01"][3..], ["0", "1,200"]);
    assert!(!cells.contains_key("hunt-b"));
    Ok(())
}

/// The one system of the inventory, as `systems level` judges it.
fn levels_are_counted(reported: &Reported) -> Result<()> {
    let cells = reported.cells("UTC", "levels", "en")?;
    let systems = reported.site.number("SELECT count() FROM vonggac.systems")?;
    let approved = reported.site.number("SELECT count() FROM vonggac.systems WHERE level > 0")?;
    assert!(systems > 0 && approved > 0);
    assert_eq!(cells["Systems"][1], systems.to_string());
    assert_eq!(cells["Approved"][1], approved.to_string());
    Ok(())
}

/// Of the second run nothing was found, and it was not scored.
fn a_run_without_an_alert_is_a_run(reported: &Reported) -> Result<()> {
    let (day, site) = (reported.day, &reported.site);
    site.query(&format!(
        "INSERT INTO vonggac.events (ts, ts_received, host, agent, source, kind, retention_days, src_ip, drill_id) SELECT \
         toDateTime64('{day} 15:00:00', 6, 'UTC') + number, now64(6), 'h', 'a', 's', 'sshd', 30, toIPv6('::'), 'drill-2' FROM numbers(2000)"
    ))?;
    site.query(&format!(
        "INSERT INTO vonggac.drill_scores (drill_id, drill, began_at, ended_at, detected, missed, false_alerts, p50_ms, passed) VALUES \
         ('drill-1', 'drill', '{day} 12:00:00', '{day} 13:00:00', 3, 1, 7, 1500, 0)"
    ))?;
    let cells = reported.cells("UTC", "drill", "en")?;
    let alerts = site.number(
        "SELECT count() FROM vonggac.alerts FINAL WHERE drill_id = 'drill-1' AND created_at < now64(6)",
    )?;
    let events = site.number("SELECT count() FROM vonggac.events WHERE drill_id = 'drill-1'")?;
    let first = &cells["drill-1"];
    assert_eq!((&*first[2], &*first[4]), (&*events.to_string(), &*alerts.to_string()));
    assert_eq!(first[6..], ["3 / 4", "7", "1,500", "FAILED"]);
    let second = &cells["drill-2"];
    assert_eq!((&*second[2], &*second[3], &*second[4], &*second[9]), ("2,000", "–", "0", "not scored"));
    assert!(second[1].ends_with("15:00"), "it began with its first event: {}", second[1]);
    for (label, expected) in [("Runs", "2"), ("Runs that failed", "1"), ("Runs without an alert", "1")] {
        assert_eq!(cells[label][1], expected, "{label}");
    }
    a_run_over_midnight_is_of_one_day(reported)
}

fn a_run_over_midnight_is_of_one_day(reported: &Reported) -> Result<()> {
    let day = reported.day;
    reported.site.query(&format!(
        "INSERT INTO vonggac.events (ts, ts_received, host, agent, source, kind, retention_days, src_ip, drill_id) SELECT \
         toDateTime64('{day} 23:50:00', 6, 'UTC') + number, now64(6), 'h', 'a', 's', 'sshd', 30, toIPv6('::'), 'drill-3' FROM numbers(1200)"
    ))?;
    for (day, runs, before) in [(day, "3", "0"), (day.tomorrow()?, "0", "3")] {
        let day = day.to_string();
        let arguments =
            ["report", "drill", "--lang", "en", "--format", "csv", "--since", &*day, "--until", &*day];
        let cells = Reported::rows(&reported.vonggac("UTC", &arguments)?.stdout)?;
        assert_eq!(cells["Runs"][1..], [runs, &format!("period before: {before}")], "{day}");
        assert_eq!(cells.get("drill-3").map(|row| &*row[2]), (runs == "3").then_some("1,200"), "{day}");
    }
    Ok(())
}

fn every_kind_and_format(reported: &Reported) -> Result<()> {
    let folder = std::path::PathBuf::from(reported.site.path("reports"));
    std::fs::create_dir(&folder)?;
    for kind in KINDS {
        for lang in ["vi", "en"] {
            for format in FORMATS {
                let bytes = reported.report("UTC", kind, lang, format)?;
                // What is not over yet tells until when it is.
                if matches!(kind, "daily" | "period") {
                    assert!(
                        bytes == reported.report("UTC", kind, lang, format)?,
                        "{kind} {lang} {format}: not the same bytes twice"
                    );
                }
                harmless(&bytes, format).with_context(|| format!("{kind} {lang} {format}"))?;
                std::fs::write(folder.join(format!("{kind}-{lang}.{format}")), bytes)?;
            }
        }
    }
    // The same cells in each, as parsers read them that are not ours.
    let script = site::root().join("tests/python/report_cells.py");
    let output = Command::new("python3").arg(script).arg(&folder).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout)?;
    assert_eq!(told.lines().count(), KINDS.len() * 2, "{told}");
    for line in told.lines() {
        let (name, numbers) = line.split_once(' ').context("a name and two numbers")?;
        let (rows, marked) = numbers.split_once(' ').context("two numbers")?;
        assert!(rows.parse::<usize>()? > 9, "{line}");
        // What is late, and runs that failed.
        assert!(name.starts_with("levels") || marked.parse::<usize>()? > 0, "{line}: nothing is marked");
    }
    Ok(())
}

/// What people do today is no matter of a day that is over.
fn what_is_over_does_not_change(reported: &Reported) -> Result<()> {
    let told = || Ok::<_, anyhow::Error>(String::from_utf8(reported.report("UTC", "daily", "en", "csv")?)?);
    let before = told()?;
    for deed in [
        &["alert", "close", "alert000216", "--verdict", "benign", "--text", "x"][..],
        &["alert", "ack", "alert000217"],
        &["alert", "close", "alert000200", "--verdict", "true_positive", "--text", "x"],
        &["incident", "open", "--title", "x", "alert000201"],
    ] {
        let output = reported.site.vonggac(deed)?;
        ensure!(output.status.success(), "{deed:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(before, told()?);
    Ok(())
}

fn refuses_what_it_cannot_tell(reported: &Reported) -> Result<()> {
    for (zone, arguments, expected) in [
        (
            "Asia/Nowhere",
            &["report", "daily"][..],
            "a name of the time zone database such as Asia/Ho_Chi_Minh",
        ),
        ("Asia/Nowhere", &["duties"], "TZ is \"Asia/Nowhere\""),
        ("Asia/Nowhere", &["serve"], "TZ is \"Asia/Nowhere\""),
        ("UTC", &["report", "daily", "--since", "2026-01-01"], "the others take --date"),
        ("UTC", &["report", "period"], "--since: the first day is expected"),
        ("UTC", &["report", "period", "--since", "2026-02-02", "--until", "2026-02-01"], "not after"),
    ] {
        let output = reported.vonggac(zone, arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(expected), "{arguments:?}: {said}");
    }
    an_agent_says_that_it_does_not_know_its_zone(reported)
}

/// Before it reads a line; what else could be wrong with it comes behind.
fn an_agent_says_that_it_does_not_know_its_zone(reported: &Reported) -> Result<()> {
    for (zone, is_known) in [("Asia/Nowhere", false), (KATHMANDU, true)] {
        let output = Command::new(site::program("vonggac-agent"))
            .args(["--check", "--config", &reported.site.path("no-such.toml")])
            .env("TZ", zone)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{zone}");
        assert_eq!(said.contains("the time zone is not known (TZ is \"Asia/Nowhere\")"), !is_known, "{said}");
    }
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
    ensure!(format != "csv" || !text.contains("\"=cmd"), "a formula");
    ensure!(text.len() > 300, "nothing is in it: {text}");
    Ok(())
}
