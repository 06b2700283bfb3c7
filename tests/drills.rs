//! The recorded drills of the project, replayed by real agents into a real collector and store.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use serde_json::Value as Json;

use crate::site::{self, Site, root, until};

/// Some minutes of recording in some seconds; the distances between events stay.
const SPEED: &str = "60";

/// One drill at a time: on a machine that is too busy an agent reads the first record of an event before the others are written, and
/// the score takes it for two.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_step_of_every_drill_is_detected_and_ordinary_use_raises_nothing_grave() -> Result<()> {
    if !site::engine_present("drills") {
        return Ok(());
    }
    let _turn = turn();
    let drills = root().join("tests/drills");
    let site = Site::start(&std::fs::read_to_string(drills.join("systems.toml"))?)?;
    let drills = drills.display().to_string();
    let run = ["drill", "run", "--all", "--drills", &drills, "--speed", SPEED, "--format", "json"];
    let output = site.vonggac(&run)?;
    let text = String::from_utf8(output.stdout)?;
    let said = String::from_utf8_lossy(&output.stderr);
    for line in text.lines() {
        let score: Json = serde_json::from_str(line)?;
        println!("{}: {} detected, {} missed", score["drill"], score["detected"], score["missed"]);
        assert_eq!(score["passed"], true, "{score:#}");
        assert_eq!(score["unclassified_alerts"], 0, "{score:#}");
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    let recorded = std::fs::read_dir(&drills)?
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().join("drill.toml").is_file()));
    assert_eq!(text.lines().count(), recorded.count(), "{text}");
    the_report_tells_each_run(&site, &text)?;
    flows_are_found_by_their_ends(&site)
}

/// The drill's intruder guesses passwords from one address; a login from there is an attack after that, but only in the same run.
#[test]
fn a_drill_is_correlated_neither_with_what_is_real_nor_with_another_run() -> Result<()> {
    const LOGIN_AFTER_FAILURES: &str = "3edfbbd9-35ee-4909-b629-ba545da14b30";
    if !site::engine_present("drills") {
        return Ok(());
    }
    let _turn = turn();
    let drills = root().join("tests/drills");
    let mut site = Site::start(&std::fs::read_to_string(drills.join("systems.toml"))?)?;
    let drills = drills.display().to_string();
    let run =
        ["drill", "run", "linux-web-intrusion", "--drills", &drills, "--speed", SPEED, "--format", "json"];
    let raised = |site: &Site| -> Result<Vec<Json>> {
        let score: Json = serde_json::from_slice(&site.vonggac(&run)?.stdout)?;
        assert_eq!(score["missed"], 0, "{score:#}");
        let steps = score["steps"].as_array().expect("steps").iter();
        Ok(steps.map(|step| serde_json::json!([step["id"], step["rules"]])).collect())
    };
    assert_eq!(raised(&site)?, raised(&site)?, "a second run at once raises what the first did");
    let alerts = |site: &Site, drill: &str| {
        let sql = format!("SELECT count() FROM alerts FINAL WHERE rule_id = '{LOGIN_AFTER_FAILURES}'");
        site.number(&format!("{sql} AND drill_id {drill} ''"))
    };
    assert!(alerts(&site, "!=")? >= 2, "the intruder gets in, in each run");
    let line = |said: &str| format!("arrayExists(line -> position(line, '{said} password') > 0, samples)");
    let both = format!("{} AND {}", line("Failed"), line("Accepted"));
    let sql =
        format!("SELECT countIf(NOT ({both})) FROM alerts FINAL WHERE rule_id = '{LOGIN_AFTER_FAILURES}'");
    assert_eq!(site.number(&sql)?, 0, "each cites a failure and the login");
    let cited = site.run(&[
        "events",
        "--rule",
        LOGIN_AFTER_FAILURES,
        "--since",
        "1d",
        "--drill",
        "all",
        "--format",
        "json",
    ])?;
    let of_intruder = cited.lines().filter(|line| line.contains("203.0.113.66")).count();
    assert!(of_intruder >= 5, "a correlation matches no event, but its alerts cite some: {cited}");
    let log = site.path("auth.log");
    std::fs::write(&log, "")?;
    let source = format!("[[source]]\npaths = [\"{log}\"]\nformat = \"syslog\"\nstart = \"beginning\"\n");
    let _agent = site.agent("mail01", &source)?;
    // Once into the windows that the runs filled, and once into those that a new collector recalls.
    for logins in [2, 4] {
        let mut log = std::fs::File::options().append(true).open(&log)?;
        let now = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        for port in [57001, 57002] {
            let login = format!("Accepted password for thanh from 203.0.113.66 port {port} ssh2");
            writeln!(log, "{now} mail01 sshd[333]: {login}")?;
        }
        // Alerts are stored before the events that raise them.
        until("the logins are stored", || {
            let stored = site.number("SELECT count() FROM events WHERE drill_id = '' AND host = 'mail01'")?;
            Ok((stored == logins).then_some(()))
        })?;
        assert_eq!(alerts(&site, "=")?, 0, "no login failed on mail01");
        site.kill_collector()?;
        site.start_collector()?;
    }
    Ok(())
}

/// The report of drills against what each run said of itself and what the store holds of it, in both languages.
fn the_report_tells_each_run(site: &Site, scores: &str) -> Result<()> {
    for (lang, passed) in [("en", "PASSED"), ("vi", "ĐẠT")] {
        // A run may have begun before midnight of the reader's zone.
        let [before, after] = [-2, 2]
            .map(|days| jiff::Zoned::now().date().saturating_add(jiff::Span::new().days(days)).to_string());
        let days = ["--since", &before, "--until", &after];
        let output =
            site.vonggac(&[&["report", "drill", "--lang", lang, "--format", "csv"][..], &days].concat())?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rows = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(&*output.stdout)
            .into_records();
        let rows: Vec<csv::StringRecord> = rows.collect::<Result<_, _>>()?;
        for line in scores.lines() {
            let score: Json = serde_json::from_str(line)?;
            let id = score["drill_id"].as_str().expect("a run has an id");
            let row = rows
                .iter()
                .find(|row| row.get(0) == Some(id))
                .unwrap_or_else(|| panic!("no row {id}: {rows:?}"));
            let digits = |at: usize| row.get(at).unwrap_or_default().replace(['.', ','], "");
            let count = |table: &str| {
                site.number(&format!("SELECT count() FROM vonggac.{table} WHERE drill_id = '{id}'"))
            };
            assert_eq!(digits(2), (count("events")? + count("flows")?).to_string(), "{row:?}");
            assert_eq!(digits(4), count("alerts FINAL")?.to_string(), "{row:?}");
            assert_eq!(row.get(6), Some(&*format!("{0} / {0}", score["detected"])), "{row:?}");
            let false_alerts = score["false_alert_list"].as_array().map(Vec::len);
            assert_eq!(row.get(7), false_alerts.map(|count| count.to_string()).as_deref(), "{row:?}");
            assert_eq!(
                (digits(8), row.get(9)),
                (score["time_to_alert_ms"]["p50"].to_string(), Some(passed)),
                "{row:?}"
            );
        }
    }
    Ok(())
}

/// The intruder's address, and the server that was entered: each flow names both, and sums are those of the flows.
fn flows_are_found_by_their_ends(site: &Site) -> Result<()> {
    let (intruder, server) = ("203.0.113.66", "10.20.0.10");
    let ends = ["flows", "--since", "1d", "--drill", "all", "--address", intruder, "--peer", server];
    let rows = |more: &[&str]| -> Result<Vec<Json>> {
        let output = site.vonggac(&[&ends[..], more, &["--format", "json", "--limit", "100000"]].concat())?;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    };
    let flows = rows(&[])?;
    assert!(flows.len() > 100, "{}", flows.len());
    for flow in &flows {
        let mut found = [flow["src_ip"].as_str(), flow["dst_ip"].as_str()];
        found.sort_unstable();
        assert_eq!(found, [Some(server), Some(intruder)], "{flow:#}");
    }
    let total = |rows: &[Json]| rows.iter().filter_map(|row| row["src_bytes"].as_u64()).sum::<u64>();
    assert_eq!(total(&rows(&["--by", "pair"])?), total(&flows));
    let tunnel = rows(&["--app", "dns", "--by", "source"])?;
    assert_eq!(tunnel[0]["what"], server, "who asked through the tunnel: {tunnel:?}");
    let call_home = "03921073-b1c7-4260-8723-b3b65f59088f";
    let called = site.run(&[
        "alerts",
        "--drill",
        "all",
        "--address",
        intruder,
        "--rule",
        call_home,
        "--format",
        "json",
    ])?;
    assert!(called.contains(&format!("\"src_ip\":\"{server}\"")), "who calls the intruder: {called}");
    let shown = format!("rule_id = '{call_home}' AND matched['dst_ip'] = '{intruder}'");
    assert!(
        site.number(&format!("SELECT count() FROM alerts FINAL WHERE {shown}"))? > 0,
        "both ends are shown"
    );
    Ok(())
}
