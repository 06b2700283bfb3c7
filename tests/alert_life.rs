//! The life of an alert: what people do with it, how it stands, and that nobody can change afterwards who did what.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::site::{self, Site};

const ALERTS: &str = "INSERT INTO vonggac.alerts (id, version, rule_id, rule_title, severity, priority, host, entity, hits, \
    first_seen, last_seen, created_at, ack_due, contain_due, close_due) VALUES \
    ('aaaa1111', 1, 'r1', 'Brute force', 'high', 'P2', 'web01', 'x', 1, now64(6), now64(6), now64(6), \
        now64(6) + 3600, now64(6) - 60, now64(6) + 86400), \
    ('bbbb2222', 1, 'r2', 'Web scan', 'low', 'P4', 'web01', 'y', 1, now64(6), now64(6), now64(6), \
        now64(6) - 60, 0, now64(6) + 86400), \
    ('bbbb3333', 1, 'r2', 'Web scan', 'low', 'P4', 'web01', 'z', 1, now64(6), now64(6), now64(6), 0, 0, 0)";

/// The exit code, what was printed, what was said beside it.
fn answer(site: &Site, arguments: &[&str]) -> Result<(i32, String, String)> {
    let output = site.vonggac(arguments)?;
    let code = output.status.code().context("an exit code")?;
    Ok((code, String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

fn listed(site: &Site, filter: &[&str]) -> Result<Vec<String>> {
    let (_, text, _) = answer(site, &[&["alerts", "--format", "json"], filter].concat())?;
    let mut found = Vec::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line)?;
        let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        found.push([field("id"), field("status"), field("assignee"), field("verdict")].join(" "));
    }
    found.sort();
    Ok(found)
}

#[test]
fn people_handle_alerts_and_a_change_afterwards_shows() -> Result<()> {
    if !site::engine_present("alert_life") {
        return Ok(());
    }
    let site = Site::start("")?;
    assert_eq!(answer(&site, &["alerts", "verify"])?.1, "the history holds: 0 entries\n");
    site.query(ALERTS)?;
    counts_what_is_late(&site)?;
    handles_alerts(&site)?;
    tells_which_clocks_were_met(&site)?;
    refuses_what_cannot_be(&site)?;
    writers_at_once_make_one_chain(&site)?;
    finds_what_was_changed(&site)
}

/// Alerts with what is due next, of those that are late.
fn overdue(site: &Site) -> Result<Vec<String>> {
    let (_, text, _) = answer(site, &["alerts", "--overdue", "--format", "json"])?;
    let mut found = Vec::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line)?;
        found.push([&row["id"], &row["next_step"]].map(|value| value.as_str().unwrap_or_default()).join(" "));
    }
    found.sort();
    Ok(found)
}

fn counts_what_is_late(site: &Site) -> Result<()> {
    // Of the first the time to contain it has run out, though it could still be acknowledged in time.
    assert_eq!(overdue(site)?, ["aaaa1111 contain", "bbbb2222 acknowledge"]);
    let page = answer(site, &["alert", "bbbb2"])?.1;
    assert!(page.contains(", late by ") && !page.contains("  contain "), "{page}");
    Ok(())
}

fn tells_which_clocks_were_met(site: &Site) -> Result<()> {
    assert!(overdue(site)?.is_empty(), "one was contained, the other acknowledged");
    let states = site.query(
        "SELECT alert_id, clock, state FROM vonggac.alert_clocks ORDER BY alert_id, number FORMAT CSVWithNames",
    )?;
    let expected = [
        "\"aaaa1111\",\"acknowledge\",\"met\"",
        "\"aaaa1111\",\"contain\",\"missed\"",
        // It was opened again.
        "\"aaaa1111\",\"close\",\"open\"",
        "\"bbbb2222\",\"acknowledge\",\"missed\"",
        "\"bbbb2222\",\"close\",\"open\"",
    ];
    assert_eq!(states.lines().skip(1).collect::<Vec<_>>(), expected);
    Ok(())
}

fn handles_alerts(site: &Site) -> Result<()> {
    assert_eq!(listed(site, &[])?, ["aaaa1111 new  ", "bbbb2222 new  ", "bbbb3333 new  "]);
    for deed in [
        &["alert", "ack", "aaaa", "bbbb2"][..],
        &["alert", "assign", "aaaa", "--to", "Lan"],
        &["alert", "contain", "aaaa", "--text", "address blocked"],
        &["alert", "close", "aaaa", "--verdict", "true_positive", "--text", "password reset"],
    ] {
        let (code, _, said) = answer(site, deed)?;
        assert_eq!(code, 0, "{deed:?}: {said}");
    }
    assert_eq!(listed(site, &["--status", "closed"])?, ["aaaa1111 closed Lan true_positive"]);
    assert_eq!(listed(site, &["--status", "acknowledged"])?, ["bbbb2222 acknowledged  "]);
    assert_eq!(listed(site, &["--status", "open"])?, ["bbbb2222 acknowledged  ", "bbbb3333 new  "]);
    assert_eq!(listed(site, &["--assignee", "lan"])?, ["aaaa1111 closed Lan true_positive"]);
    assert_eq!(
        listed(site, &["--assignee", "", "--status", "open"])?,
        ["bbbb2222 acknowledged  ", "bbbb3333 new  "]
    );
    let page = answer(site, &["alert", "aaaa"])?.1;
    for part in
        ["  status       closed\n", " to Lan\n", ": address blocked\n", " as true_positive: password reset\n"]
    {
        assert!(page.contains(part), "{part:?} in\n{page}");
    }
    // It was not over.
    assert_eq!(answer(site, &["alert", "ack", "aaaa"])?.0, 0);
    assert_eq!(listed(site, &["--status", "acknowledged"])?[0], "aaaa1111 acknowledged Lan ");
    Ok(())
}

fn refuses_what_cannot_be(site: &Site) -> Result<()> {
    for (deed, code) in [
        (&["alert", "ack", "ffff"][..], 1),
        (&["alert", "ack", "bbbb"], 1),
        // Nothing is written when one of them is unknown.
        (&["alert", "ack", "bbbb3333", "ffff"], 1),
        (&["alert", "ack", "abc"], 2),
        (&["alert", "close", "bbbb3333", "--text", "x"], 2),
        (&["alert", "comment", "bbbb3333", "--text", " "], 2),
    ] {
        assert_eq!(answer(site, deed)?.0, code, "{deed:?}");
    }
    assert_eq!(listed(site, &["--status", "new"])?, ["bbbb3333 new  "]);
    // Who may only read is told what is missing.
    let secret = site.path("data/store/writer.password");
    std::fs::rename(&secret, format!("{secret}.away"))?;
    let (code, _, said) = answer(site, &["alert", "ack", "bbbb3333"])?;
    std::fs::rename(format!("{secret}.away"), &secret)?;
    assert_eq!(code, 2);
    assert!(said.contains("you may not read the writer's password"), "{said}");
    Ok(())
}

fn writers_at_once_make_one_chain(site: &Site) -> Result<()> {
    const WRITERS: usize = 4;
    std::thread::scope(|scope| {
        let comment = || answer(site, &["alert", "comment", "bbbb3333", "--text", "at once"]);
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(comment)).collect();
        for writer in writers {
            let (code, _, said) = writer.join().expect("a writer").expect("an answer");
            assert_eq!(code, 0, "{said}");
        }
    });
    let (code, said, _) = answer(site, &["alerts", "verify"])?;
    assert_eq!(code, 0, "{said}");
    assert!(said.ends_with("the history holds: 10 entries\n"), "{said}");
    Ok(())
}

fn finds_what_was_changed(site: &Site) -> Result<()> {
    let head = answer(site, &["alerts", "verify"])?.1;
    let head = head.lines().next().and_then(|line| line.strip_prefix("head ")).context("a head")?.to_owned();
    let change = |what: &str, condition: &str| {
        site.query(&format!(
            "ALTER TABLE vonggac.alert_history {what} WHERE {condition} SETTINGS mutations_sync = 2"
        ))
    };
    change("UPDATE verdict = 'benign'", "action = 'close'")?;
    let (code, said, _) = answer(site, &["alerts", "verify"])?;
    assert_eq!(code, 1);
    assert!(said.contains("entry 5 (alert aaaa1111) was changed"), "{said}");
    change("UPDATE verdict = 'true_positive'", "action = 'close'")?;
    assert_eq!(answer(site, &["alerts", "verify"])?.0, 0, "as it was");
    // The newest entries are missed because they are remembered outside the store: here, or where somebody noted them down.
    change("DELETE", "seq > 8")?;
    assert!(answer(site, &["alerts", "verify"])?.1.contains("entries 9 to 10 are missing"));
    std::fs::remove_file(site.path("data/history/head"))?;
    assert_eq!(answer(site, &["alerts", "verify"])?.0, 0, "nobody can know");
    assert_eq!(answer(site, &["alerts", "verify", "--head", &head])?.0, 1);
    Ok(())
}

/// Who contains a closed alert, or corrects its verdict, neither opens it again nor closes it later; a close that was taken back
/// contained nothing.
#[test]
fn the_order_of_deeds_tells_how_an_alert_stands() -> Result<()> {
    if !site::engine_present("alert_life") {
        return Ok(());
    }
    let site = &Site::start("")?;
    let cases = [
        ("corrected", "close benign, close true_positive", "closed true_positive contained 1 closed 1"),
        ("contained late", "ack, close benign, contain", "closed benign contained 2 closed 2"),
        ("contained in time", "contain, close benign", "closed benign contained 1 closed 2"),
        ("contained only", "contain", "acknowledged contained 1"),
        ("taken back", "close benign, ack", "acknowledged"),
        ("taken back, then contained", "close benign, ack, contain", "acknowledged contained 3"),
        (
            "closed anew",
            "contain, close benign, ack, close true_positive",
            "closed true_positive contained 1 closed 4",
        ),
        ("nothing done", "comment, assign", "new"),
    ];
    let mut rows = Vec::new();
    for (id, deeds, _) in cases {
        for (hour, deed) in (1..).zip(deeds.split(", ")) {
            let (action, verdict) = deed.split_once(' ').unwrap_or((deed, ""));
            let seq = rows.len() + 1;
            rows.push(format!("('c', {seq}, '2026-11-01 0{hour}:00:00', '{id}', '{action}', '{verdict}')"));
        }
    }
    let values = rows.join(", ");
    site.query(&format!(
        "INSERT INTO alert_history (chain, seq, at, alert_id, action, verdict) VALUES {values}"
    ))?;
    for (id, deeds, expected) in cases {
        let stands = site.query(&format!(
            "SELECT arrayStringConcat(arrayFilter(word -> word != '', [status, verdict, \
                if(contained_at = 0, '', concat('contained ', toString(toHour(contained_at)))), \
                if(closed_at = 0, '', concat('closed ', toString(toHour(closed_at))))]), ' ') \
             FROM alert_status WHERE alert_id = '{id}' FORMAT TSVRaw"
        ))?;
        assert_eq!(stands.trim_end(), expected, "{id}: {deeds}");
    }
    Ok(())
}

/// By the last verdict of each alert that is closed.
#[test]
fn says_how_often_rules_were_right() -> Result<()> {
    if !site::engine_present("alert_life") {
        return Ok(());
    }
    let site = &Site::start("")?;
    site.query(
        "INSERT INTO alerts (id, version, rule_id, rule_title, drill_id) SELECT concat('bbbb', toString(number)), 1, 'r2', \
            'Web scan', if(number = 6, 'd', '') FROM numbers(2, 6)",
    )?;
    for deed in [
        &["alert", "close", "bbbb2", "--verdict", "true_positive", "--text", "too fast"][..],
        &["alert", "close", "bbbb2", "bbbb3", "--verdict", "false_positive", "--text", "a monitor"],
        &["alert", "close", "bbbb4", "--verdict", "true_positive", "--text", "a scanner"],
        &["alert", "close", "bbbb5", "bbbb6", "--verdict", "duplicate", "--text", "as above"],
    ] {
        let (code, _, said) = answer(site, deed)?;
        assert_eq!(code, 0, "{deed:?}: {said}");
    }
    let (code, text, said) = answer(site, &["rules", "noise", "--format", "json"])?;
    assert_eq!(code, 0, "{said}");
    let rows: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    // One is open, one is a drill's.
    assert_eq!(rows.len(), 1, "{text}");
    let number = |name: &str| rows[0][name].as_f64().context("a number");
    assert_eq!(rows[0]["rule_id"], "r2");
    assert_eq!((number("closed")?, number("true_positives")?, number("false_positives")?), (4.0, 1.0, 2.0));
    assert_eq!((number("duplicates")?, number("false_positive_ratio")?), (1.0, 2.0 / 3.0));
    assert!(answer(site, &["rules", "noise", "--min", "5"])?.1.starts_with("0 alerts closed"));
    Ok(())
}
