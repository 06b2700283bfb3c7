//! Incidents: alerts are put together, the decree's reports fall due from the detection, what was sent is recorded with its
//! proof, the report says what is known and what is missing, and nobody can change it afterwards.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::site::{self, Site};

/// Alerts of the portal, of another system, and of a drill; the first was alerted two hours ago.
const ALERTS: &str = "INSERT INTO vonggac.alerts (id, version, rule_id, rule_title, severity, priority, system_id, host, entity, \
    hits, first_seen, last_seen, created_at, drill_id) VALUES \
    ('aaaa1111', 1, 'r1', 'Web shell', 'critical', 'P1', 'cong-dvc', 'dvc-web01', 'x', 1, now64(6), now64(6), now64(6) - 7200, ''), \
    ('aaaa2222', 1, 'r2', 'Web <b>scan</b>', 'low', 'P4', 'cong-dvc', 'dvc-web01', 'y', 1, now64(6), now64(6), now64(6), ''), \
    ('bbbb1111', 1, 'r1', 'Web shell', 'critical', 'P1', 'qlvb', 'qlvb01', 'x', 1, now64(6), now64(6), now64(6), ''), \
    ('cccc1111', 1, 'r1', 'Web shell', 'critical', 'P1', 'cong-dvc', 'dvc-web01', 'x', 1, now64(6), now64(6), now64(6), 'd1')";

/// The exit code, what was printed, what was said beside it.
fn answer(site: &Site, arguments: &[&str]) -> Result<(i32, String, String)> {
    let output = site.vonggac(arguments)?;
    let code = output.status.code().context("an exit code")?;
    Ok((code, String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

/// What must succeed.
fn done(site: &Site, arguments: &[&str]) -> Result<String> {
    let (code, text, said) = answer(site, arguments)?;
    assert_eq!(code, 0, "{arguments:?}: {said}");
    Ok(text)
}

fn shown(site: &Site, id: &str) -> Result<Value> {
    Ok(serde_json::from_str(&done(site, &["incident", "show", id, "--json", "--lang", "en"])?)?)
}

/// How each deadline stands.
fn standings(site: &Site, id: &str) -> Result<Vec<String>> {
    let shown = shown(site, id)?;
    let deadlines = shown["deadlines"].as_array().context("deadlines")?;
    Ok(deadlines.iter().map(|one| format!("{} {}", one["id"], one["standing"]).replace('"', "")).collect())
}

/// The one incident that is listed.
fn listed(site: &Site) -> Result<Value> {
    let (_, text, _) = answer(site, &["incident", "list", "--format", "json"])?;
    let mut rows = text.lines();
    let row = serde_json::from_str(rows.next().context("an incident")?)?;
    assert_eq!(rows.next(), None);
    Ok(row)
}

fn sample() -> String {
    let read = |name: &str| {
        std::fs::read_to_string(site::root().join("deploy/systems").join(name)).expect("the sample inventory")
    };
    ["organisations-2020.toml", "organisations-2025.toml", "systems.toml"].map(read).join("\n")
}

#[test]
fn an_incident_is_reported_in_time_and_nobody_changes_it_afterwards() -> Result<()> {
    if !site::engine_present("incidents") {
        return Ok(());
    }
    let site = Site::start(&sample())?;
    site.query(ALERTS)?;
    let id = opens(&site)?;
    refuses_what_cannot_be(&site, &id)?;
    reports(&site, &id)?;
    follows_the_deadlines(&site, &id)?;
    an_exercise_is_no_incident(&site)?;
    an_alert_is_of_one_incident(&site)?;
    closes(&site, &id)?;
    assert_eq!(answer(&site, &["alerts", "verify"])?.0, 0);
    site.query(
        "ALTER TABLE vonggac.alert_history UPDATE text = replace(text, 'Z', '+07:00') WHERE action = 'sent' \
         SETTINGS mutations_sync = 2",
    )?;
    assert_eq!(answer(&site, &["alerts", "verify"])?.0, 1, "another time of sending shows");
    Ok(())
}

fn opens(site: &Site) -> Result<String> {
    let open = ["incident", "open", "--title", "Webshell on the portal", "--class", "serious"];
    done(site, &[&open[..], &["--set", "effect=none yet", "aaaa1", "aaaa2"]].concat())?;
    let row = listed(site)?;
    let id = row["id"].as_str().context("an id")?.to_owned();
    assert_eq!((&row["system"], &row["status"]), (&"cong-dvc".into(), &"open".into()));
    // It was detected when the first of its alerts was.
    let age = site.number(
        "SELECT toUInt64(dateDiff('second', i.detected_at, a.created_at)) FROM vonggac.incidents AS i, vonggac.alerts AS a \
         WHERE a.id = 'aaaa1111'",
    )?;
    assert_eq!(age, 0);
    assert_eq!(row["next"], "serious-incident", "a day is shorter than three");
    let hours = site.number(&format!(
        "SELECT toUInt64(dateDiff('hour', detected_at, toDateTime64('{}', 6, 'UTC'))) FROM vonggac.incidents",
        row["next_due"].as_str().context("a time")?.trim_end_matches('Z').replace('T', " ")
    ))?;
    assert_eq!(hours, 24);
    let page = done(site, &["alert", "aaaa1111"])?;
    assert!(page.contains(&format!("incident     {id}")), "{page}");
    Ok(id)
}

fn refuses_what_cannot_be(site: &Site, id: &str) -> Result<()> {
    let open = |rest: &[&'static str]| [&["incident", "open", "--title", "x"][..], rest].concat();
    let sent = ["incident", "sent", id, "serious-incident", "--text", "x", "--at"];
    for (arguments, code, expected) in [
        (open(&["aaaa1"]), 2, "belongs to incident"),
        (open(&["bbbb1", "cccc1"]), 2, "--system is expected"),
        (open(&["--system", "cong-dvc", "bbbb1", "cccc1"]), 2, "alerts of one drill, or of none"),
        (open(&["dddd1"]), 1, "no alert has"),
        (open(&["--class", "terrible"]), 2, "expected serious, national_security"),
        (open(&["--system", "nobody"]), 2, "no system \"nobody\""),
        (open(&["--detected", "2226-01-01"]), 2, "a time that has come"),
        (vec!["incident", "set", id, "colour=red"], 2, "expected title, system"),
        (vec!["incident", "set", id, "ended_at=tomorrow"], 2, "is no time"),
        (vec!["incident", "set", id, "drill=d1"], 2, "drill"),
        (
            vec!["incident", "sent", id, "personal-data", "--text", "x"],
            2,
            "expected incident, serious-incident",
        ),
        ([&sent[..], &["1w"]].concat(), 2, "sent before the detection"),
        (vec!["incident", "set", id, "detection=yesterday"], 2, "expected title, system, detected_at"),
        (vec!["incident", "list", "--system", "nobody"], 2, "no system \"nobody\""),
        (vec!["incident", "sent", id, "incident", "--withdraw", "--text", "x"], 2, "nothing was recorded"),
        (vec!["incident", "end", id, "--at", "1w"], 2, "not before the detection"),
        (vec!["incident", "comment", id, "--text", " "], 2, "a text is expected"),
        (vec!["incident", "show", "nonesuch"], 1, "no incident has the id"),
    ] {
        let (found, _, said) = answer(site, &arguments)?;
        assert!(found == code && said.contains(expected), "{arguments:?}: {found}: {said}");
    }
    assert_eq!(
        site.number("SELECT uniqExact(id) FROM vonggac.incidents")?,
        1,
        "nothing was opened by halves"
    );
    Ok(())
}

/// The report holds what the inventory and the alerts know, what was stated, and says what is missing.
fn reports(site: &Site, id: &str) -> Result<()> {
    done(
        site,
        &["incident", "set", id, "cause=upload without a check", "symptoms=<script>alert(1)</script>"],
    )?;
    let shown = shown(site, id)?;
    let fields = shown["fields"].as_array().context("fields")?;
    let value = |id: &str| fields.iter().find(|field| field["id"] == id).map(|field| field["value"].clone());
    for (field, expected) in [
        ("cause", "upload without a check"),
        ("effect", "none yet"),
        ("severity", "by its alerts: critical (P1)"),
        ("scope", "dvc-web01"),
        ("proposals", ""),
    ] {
        assert_eq!(value(field), Some(expected.into()), "{field}");
    }
    let system = value("system_name").context("the system")?;
    assert!(system.as_str().is_some_and(|text| text.ends_with("(cong-dvc), level 3")), "{system}");
    assert!(value("owner").is_some_and(|owner| owner != ""), "the inventory knows the owner");
    for format in ["html", "docx", "md", "csv"] {
        for lang in ["vi", "en"] {
            let file = site.path(&format!("incident-{lang}.{format}"));
            done(site, &["incident", "report", id, "--lang", lang, "--format", format, "-o", &file])?;
            assert!(std::fs::metadata(&file)?.len() > 500, "{file}");
        }
    }
    let html = std::fs::read_to_string(site.path("incident-vi.html"))?;
    assert!(html.contains("Báo cáo ban đầu sự cố") && html.contains("Nguyên nhân"), "{html}");
    assert!(html.contains("(chưa có)"), "what is missing is said");
    assert!(!html.contains("<script>") && !html.contains("<b>scan"), "no text becomes markup");
    Ok(())
}

fn follows_the_deadlines(site: &Site, id: &str) -> Result<()> {
    assert_eq!(standings(site, id)?, ["serious-incident open", "incident open"]);
    done(site, &["incident", "sent", id, "serious-incident", "--text", "12/BC-TTDL"])?;
    assert_eq!(standings(site, id)?, ["serious-incident met", "incident open"]);
    // What is sent later brings it up to date; what was an error is taken back.
    done(site, &["incident", "sent", id, "serious-incident", "--text", "13/BC-TTDL"])?;
    assert_eq!(shown(site, id)?["deadlines"][0]["sent"].as_array().map(Vec::len), Some(2));
    done(site, &["incident", "sent", id, "serious-incident", "--withdraw", "--text", "of another"])?;
    assert_eq!(standings(site, id)?, ["serious-incident open", "incident open"]);
    done(site, &["incident", "sent", id, "serious-incident", "--text", "12/BC-TTDL"])?;
    // It turns out that it was detected four days ago, and what was sent just now was late.
    done(site, &["incident", "set", id, "detected_at=4d", "classes=serious,personal_data"])?;
    assert_eq!(
        standings(site, id)?,
        ["serious-incident missed", "incident overdue", "personal-data overdue"]
    );
    let (code, text, _) = answer(site, &["incident"])?;
    assert!(code == 1 && text.contains("2 reports overdue") && text.contains("late by "), "{text}");
    until_told(site, "vonggac_incident_reports_overdue_count 2")?;
    until_told(site, "vonggac_incident_open_count 1")?;
    let row = "SELECT count() FROM vonggac.obligations FINAL WHERE kind = 'incident' AND item = ";
    assert_eq!(
        site.number(&format!("{row}'personal-data' AND due < now64(6) AND toUnixTimestamp(done_at) = 0"))?,
        1
    );
    assert_eq!(site.number(&format!("{row}'serious-incident' AND done_at > due"))?, 1);
    let owed = site.number("SELECT count() FROM vonggac.obligations FINAL WHERE kind = 'duty'")?;
    let (_, text, _) = answer(site, &["duties", "--all", "--format", "json"])?;
    assert_eq!(usize::try_from(owed)?, text.lines().count(), "the table has the duties, too");
    Ok(())
}

fn until_told(site: &Site, line: &str) -> Result<()> {
    site::until(line, || Ok(site.metrics()?.lines().any(|own| own == line).then_some(())))
}

fn an_exercise_is_no_incident(site: &Site) -> Result<()> {
    done(site, &["incident", "open", "--title", "Exercise", "--detected", "4d", "cccc1"])?;
    let overdue = answer(site, &["incident"])?.1;
    assert!(
        overdue.contains("[drill d1]") && overdue.contains("2 incidents, 2 reports overdue"),
        "{overdue}"
    );
    Ok(())
}

/// An alert is of one incident, whoever is the first, and its way from one to another is in the history of both.
fn an_alert_is_of_one_incident(site: &Site) -> Result<()> {
    let open = |title: &'static str| ["incident", "open", "--title", title, "bbbb1"];
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| answer(site, &open("one")));
        let other = answer(site, &open("other"));
        (one.join().expect("no panic"), other)
    });
    let mut codes = [one?.0, other?.0];
    codes.sort_unstable();
    assert_eq!(codes, [0, 2]);
    let opened = answer(site, &["incident", "open", "--title", "a third", "--system", "qlvb"])?.1;
    assert!(opened.starts_with("opened ") && opened.contains("in 3 days\n3 entries by "), "{opened}");
    let id = opened
        .split_once("opened ")
        .and_then(|(_, rest)| rest.split_once(';'))
        .context("an id")?
        .0
        .to_owned();
    let (_, _, said) = answer(site, &["incident", "add", &id, "bbbb1"])?;
    assert!(said.contains("is taken from incident"), "{said}");
    let deeds = shown(site, &id)?["history"].as_array().context("a history")?.clone();
    assert!(deeds.iter().any(|entry| entry["action"] == "add" && entry["text"] == "bbbb1111"), "{deeds:?}");
    let first = site.query(
        "SELECT text FROM vonggac.alert_history WHERE alert_id = 'bbbb1111' ORDER BY seq LIMIT 1 FORMAT TSV",
    )?;
    let deeds = shown(site, first.trim())?["history"].as_array().context("a history")?.clone();
    assert!(deeds.iter().any(|entry| entry["action"] == "remove"), "{deeds:?}");
    for id in [first.trim(), &id] {
        done(site, &["incident", "close", id, "--verdict", "duplicate", "--text", "x"])?;
    }
    Ok(())
}

fn closes(site: &Site, id: &str) -> Result<()> {
    let close = ["incident", "close", id, "--text", "cleaned", "--alerts", "--verdict", "true_positive"];
    let (code, _, said) = answer(site, &close)?;
    assert!(code == 0 && said.contains("still due: personal-data"), "{said}");
    assert_eq!(site.number("SELECT count() FROM vonggac.alert_status WHERE status = 'closed'")?, 2);
    assert_eq!(shown(site, id)?["status"], "closed");
    assert_eq!(standings(site, id)?.len(), 3, "closing it sends no report");
    done(site, &["incident", "close", id, "--text", "a test of ours", "--verdict", "benign"])?;
    assert_eq!(
        standings(site, id)?,
        ["serious-incident missed"],
        "what was none owes nothing, and what was sent stays"
    );
    until_told(site, "vonggac_incident_reports_overdue_count 0")
}
