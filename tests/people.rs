//! What people type, against a real collector and its embedded store: answers, exit codes, hostile text, and a small drill.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::evtx;
use crate::site::{self, Site, until};

/// A system of level 3 and the hosts of the drill.
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

[system.level]
approved = 3
decision = "QĐ 100/QĐ-UBND"
date = "2024-05-02"
authority = "UBND tỉnh"
basis = "NĐ 85/2016/NĐ-CP, điều 9.2.a"
"#;

/// Three alerts, of which one is a drill's; two ids begin alike.
const ALERTS: &str = r"INSERT INTO alerts (id, version, rule_id, rule_title, rule_path, severity, priority, priority_reason,
    techniques, system_id, system_name, sys_level, level_basis, host, entity, src_ip, user, hits, first_seen, last_seen,
    created_at, matched, samples, drill_id) VALUES
    ('aaaa1111', 1, 'rule-one', 'Brute force', 'x.yml', 'high', 'P2', 'high on level 3', ['T1110.001'], 'portal',
     'Cổng dịch vụ công', 3, 'QĐ 100', 'web01', '192.0.2.7', toIPv6('192.0.2.7'), 'root', 12, now64(6) - 10800, now64(6) - 7200,
     now64(6), map('field', 'a\x1B[2Jb', 'dst_ip', '198.51.100.9'), ['line \x1B[31m\xFF\nP1  forged'], ''),
    ('aaaa2222', 1, 'rule-two', 'Web scan', 'y.yml', 'low', 'P4', 'low', [], '', '', 0, '', 'db01', '2001:db8::1',
     toIPv6('2001:db8::1'), '', 1, now64(6) - 1800, now64(6) - 1800, now64(6), map(),
     ['11:22:33 dst_ip=203.0.113.5 peer=[2001:db8:5::9]:443 mac=aa:bb:cc:dd:ee:ff'], ''),
    ('bbbb3333', 1, 'rule-one', 'Brute force', 'x.yml', 'critical', 'P1', 'critical', [], 'portal', 'Cổng dịch vụ công', 3, '',
     'web01', 'x', toIPv6('::'), '', 1, now64(6) - 1800, now64(6) - 1800, now64(6), map(), [], 'some-drill')";

const EVENTS: &str = r"INSERT INTO events (ts, ts_received, ts_quality, kind, parse_status, host, agent, source, system_id, seq,
    record, retention_days, rules, user, src_ip, syslog_severity, message, raw) VALUES
    (now64(6) - 2400, now64(6), 'event', 'sshd', 'parsed', 'web01', 'web01', '/var/log/auth.log', 'portal', 1, 0, 90,
     ['rule-one'], 'root', toIPv6('192.0.2.7'), 255, 'Failed password for ĐỖ from 192.0.2.7', ''),
    (now64(6) - 600, now64(6), 'event', 'syslog', 'raw', 'db01', 'db01', '/var/log/x', '', 1, 0, 90, [], '', toIPv6('::'), 255,
     'evil \x1B[2J\n2026-01-01 forged', 'evil \x1B[2J\xFF'),
    (now64(6) - 300, now64(6), 'event', 'hunt', 'parsed', 'hunt-x', 'hunt-x', 'hunt', '', 1, 0, 90, ['rule-hunt'], '', toIPv6('::'),
     255, '{}', '')";

/// The exit code and what was printed.
fn answer(site: &Site, arguments: &[&str]) -> Result<(i32, String)> {
    let output = site.vonggac(arguments)?;
    Ok((output.status.code().context("an exit code")?, String::from_utf8(output.stdout)?))
}

/// One field of every JSON line of an answer.
fn column(site: &Site, arguments: &[&str], field: &str) -> Result<Vec<String>> {
    let (code, text) = answer(site, &[arguments, &["--format", "json"]].concat())?;
    ensure!(code == 0, "{arguments:?}: exit code {code}");
    text.lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line)?;
            Ok(row[field].as_str().map_or_else(|| row[field].to_string(), str::to_owned))
        })
        .collect()
}

#[test]
fn answers_questions_about_alerts_events_and_itself() -> Result<()> {
    if !site::engine_present("people") {
        return Ok(());
    }
    let mut site = Site::start(SYSTEMS)?;
    assert_eq!(answer(&site, &["alerts", "--exit-code"])?.0, 1, "no alert yet");
    assert_eq!(answer(&site, &["alerts"])?.0, 0);
    site.query(ALERTS)?;
    site.query(EVENTS)?;
    filters_alerts(&site)?;
    filters_events(&site)?;
    explains_an_alert(&site)?;
    lets_no_text_out_unescaped(&site)?;
    says_what_was_expected(&site)?;
    tells_its_state(&mut site)
}

/// A word in the place of an id, and nothing to be done.
fn says_what_was_expected(site: &Site) -> Result<()> {
    let output = site.vonggac(&["alert", "list"])?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("hexadecimal digits") && said.contains("`vonggac alerts` lists"), "{said}");
    let told =
        |arguments: &[&str]| -> Result<String> { Ok(String::from_utf8(site.vonggac(arguments)?.stderr)?) };
    for (names, expected) in [
        (&["alerts", "--system", "nowhere"][..], "no system has the id, or in its name, \"nowhere\""),
        (&["events", "--host", "nobody"], "no host \"nobody\" has sent anything"),
        (&["alerts", "--rule", "no-such-rule"], "no alert of any time is of a rule whose id begins with"),
        (&["events", "--rule", "no-such-rule"], "no alert of any time is of a rule whose id begins with"),
        (&["events", "--kind", "ssdh"], "no event of any time is of the kind \"ssdh\""),
        (&["flows", "--drill", "none-such"], "no drill \"none-such\" has raised an alert"),
        (&["notifications", "--target", "nobody"], "no target is named nobody"),
        (&["flows", "--direction", "inbond"], "a similar value exists: 'inbound'"),
        // What is known, and has nothing to show.
        (&["flows", "--system", "portal"], ""),
        // What programs get is no less silent where it is cut.
        (&["alerts", "--limit", "1", "--format", "csv"], "1 are written, and there are more"),
        (&["events", "--limit", "1", "--raw"], "1 are written, and there are more"),
        (&["alerts", "--limit", "2", "--format", "json"], ""),
        (&["alerts", "--limit", "1"], ""),
    ] {
        let said = told(names)?;
        assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{names:?}: {said}");
    }
    let (code, said) = answer(site, &["notifications", "retry", "--all"])?;
    assert!(code == 0 && said.starts_with("no message was given up"), "{said}");
    Ok(())
}

fn filters_alerts(site: &Site) -> Result<()> {
    for (filter, expected) in [
        (&[][..], &["aaaa1111", "aaaa2222"][..]),
        (&["--drill", "all"], &["bbbb3333", "aaaa1111", "aaaa2222"]),
        (&["--drill", "some-drill"], &["bbbb3333"]),
        (&["--severity", "medium"], &["aaaa1111"]),
        (&["--priority", "p2"], &["aaaa1111"]),
        (&["--level", "3"], &["aaaa1111"]),
        (&["--level", "4"], &[]),
        (&["--system", "portal"], &["aaaa1111"]),
        (&["--system", "DỊCH VỤ"], &["aaaa1111"]),
        (&["--host", "DB01"], &["aaaa2222"]),
        (&["--address", "192.0.2.0/24"], &["aaaa1111"]),
        (&["--address", "2001:db8::1"], &["aaaa2222"]),
        // Who is acted upon: in what matched, in a line, in a longer address.
        (&["--address", "198.51.100.9"], &["aaaa1111"]),
        (&["--address", "203.0.113.0/29"], &["aaaa2222"]),
        (&["--address", "2001:db8:5::/48"], &["aaaa2222"]),
        (&["--address", "203.0.113.50"], &[]),
        (&["--address", "192.0.2.70"], &[]),
        (&["--rule", "rule-t"], &["aaaa2222"]),
        (&["--rule", "brute"], &["aaaa1111"]),
        (&["--since", "1h"], &["aaaa2222"]),
        (&["--until", "1h"], &["aaaa1111"]),
        (&["--limit", "1"], &["aaaa1111"]),
        // What is typed is a value, never SQL.
        (&["--host", "x' OR 1=1 --"], &[]),
        (&["--system", "') OR true OR ('{p0:String}"], &[]),
        (&["--rule", "\\' OR 1=1 --"], &[]),
    ] {
        assert_eq!(column(site, &[&["alerts"], filter].concat(), "id")?, expected, "{filter:?}");
    }
    assert_eq!(answer(site, &["alerts", "--host", "nowhere", "--exit-code"])?.0, 1);
    assert_eq!(answer(site, &["alerts", "--exit-code"])?.0, 0);
    assert_eq!(answer(site, &["alerts", "--since", "soon"])?.0, 2);
    let table = answer(site, &["alerts"])?.1;
    assert!(table.contains("(+07)"), "{table}");
    assert!(table.contains("2 alerts since"), "{table}");
    Ok(())
}

fn filters_events(site: &Site) -> Result<()> {
    for (filter, expected) in [
        (&[][..], &["web01", "db01"][..]),
        (&["--host", "web01"], &["web01"]),
        (&["--address", "192.0.2.7"], &["web01"]),
        (&["--user", "root"], &["web01"]),
        (&["--text", "FAILED password"], &["web01"]),
        (&["--text", "password for đỗ"], &["web01"]),
        (&["--text", "password failed"], &[]),
        (&["--text", "fail"], &[]),
        (&["--contains", "AILED pass"], &["web01"]),
        (&["--system", "portal"], &["web01"]),
        (&["--system", "DỊCH VỤ"], &["web01"]),
        (&["--kind", "SysLog"], &["db01"]),
        (&["--rule", "rule-o"], &["web01"]),
        (&["--since", "20m"], &["db01"]),
        (&["--limit", "1"], &["db01"]),
        (&["--hunts"], &["web01", "db01", "hunt-x"]),
        (&["--kind", "hunt"], &["hunt-x"]),
        (&["--rule", "rule-hunt"], &["hunt-x"]),
        (&["--text", "' OR 1=1 --"], &[]),
    ] {
        assert_eq!(column(site, &[&["events"], filter].concat(), "host")?, expected, "{filter:?}");
    }
    Ok(())
}

fn explains_an_alert(site: &Site) -> Result<()> {
    assert_eq!(answer(site, &["alert", "aaaa"])?.0, 1, "two ids begin so");
    assert_eq!(answer(site, &["alert", "ffff"])?.0, 1, "no id begins so");
    let (code, page) = answer(site, &["alert", "aaaa1"])?;
    assert_eq!(code, 0);
    for part in [
        "Brute force",
        "T1110.001",
        "Cổng dịch vụ công (portal)",
        "3, by QĐ 100",
        "high on level 3",
        "12 events",
    ] {
        assert!(page.contains(part), "{part} in\n{page}");
    }
    let (_, json) = answer(site, &["alert", "aaaa1111", "--format", "json"])?;
    let alert: Value = serde_json::from_str(&json)?;
    assert_eq!(alert["matched"]["field"], "a\u{1b}[2Jb");
    let next = alert["next"][0].as_str().context("a command")?;
    let command: Vec<&str> = next.split(' ').skip(1).collect();
    assert_eq!(answer(site, &command)?.0, 0, "{next}");
    Ok(())
}

/// Tables, CSV, raw lines: only line ends move the cursor.
fn lets_no_text_out_unescaped(site: &Site) -> Result<()> {
    for question in [
        &["alert", "aaaa1111"][..],
        &["alert", "aaaa1111", "--format", "json"],
        &["events"],
        &["events", "--raw"],
        &["events", "--format", "json"],
        &["events", "--format", "csv"],
    ] {
        let (code, text) = answer(site, question)?;
        assert_eq!(code, 0, "{question:?}");
        assert!(
            !text.chars().any(|char| char.is_control() && char != '\n' && char != '\r'),
            "{question:?}: {text:?}"
        );
        assert!(!text.lines().any(|line| line.starts_with("2026-01-01 forged")), "{question:?}: {text}");
    }
    let raw = answer(site, &["events", "--host", "db01", "--raw"])?.1;
    assert_eq!(raw, "evil \\x1b[2J\\xff\n");
    Ok(())
}

/// The machine that runs the tests may have a full disk.
const STATUS: &[&str] = &["status", "--disk-free-min", "0"];

fn tells_its_state(site: &mut Site) -> Result<()> {
    let (code, text) = answer(site, STATUS)?;
    assert_eq!(code, 0, "{text}");
    let insert = "INSERT INTO agents (agent, epoch, seq, last_seen, last_event, drill_id)
        VALUES ('db09', 1, 5, now64(6) - 90000, now64(6) - 90000, '')";
    site.query(insert)?;
    let (code, text) = answer(site, STATUS)?;
    assert_eq!(code, 1, "an agent is silent: {text}");
    assert!(text.contains("wrong: agent db09"), "{text}");
    assert_eq!(answer(site, &[STATUS, &["--silent-after", "2d"]].concat())?.0, 0);
    site.kill_collector()?;
    assert_eq!(answer(site, STATUS)?.0, 2);
    until("the store ends with its collector", || Ok((answer(site, &["alerts"])?.0 == 2).then_some(())))?;
    let output = site.vonggac(&["alerts"])?;
    let said = String::from_utf8(output.stderr)?;
    assert!(said.contains("is `vonggac serve` running"), "{said}");
    Ok(())
}

#[test]
fn runs_a_drill_and_cleans_up_behind_it() -> Result<()> {
    if !site::engine_present("people") {
        return Ok(());
    }
    let site = Site::start(SYSTEMS)?;
    let drills = PathBuf::from(site.path("drills"));
    write_drill(&drills.join("small"), SMALL_TRUTH)?;
    let drills = drills.display().to_string();

    assert_eq!(
        answer(&site, &["drill", "list", "--drills", &drills])?,
        (0, "small  Two hosts, one attack\n".to_owned())
    );
    let run = ["drill", "run", "small", "--drills", &drills, "--speed", "100", "--format", "json"];
    let (code, text) = answer(&site, &run)?;
    let score: Value = serde_json::from_str(&text)?;
    assert_eq!(code, 0, "{score:#}");
    for (name, expected) in [
        ("detected", 1),
        ("missed", 0),
        ("lines_written", LINES),
        ("events_lost", 0),
        ("events_doubled", 0),
        ("unclassified_alerts", 0),
    ] {
        assert_eq!(score[name], expected, "{name} in {score:#}");
    }
    assert!(score["time_to_alert_ms"]["p50"].as_i64().is_some_and(|ms| ms >= 0), "{score:#}");
    let drill_id = score["drill_id"].as_str().context("an id")?;
    assert_eq!(column(&site, &["alerts"], "id")?.len(), 0, "what a drill makes is no real alert");
    assert!(!column(&site, &["alerts", "--drill", drill_id], "id")?.is_empty());

    assert_eq!(
        site.query("SELECT service FROM vonggac.events WHERE product = 'windows'")?.trim(),
        "security"
    );
    assert_empty(&site)?;

    write_drill(Path::new(&site.path("missed")), &SMALL_TRUTH.replace(SQL_INJECTION, "no-such-rule"))?;
    let missed = answer(&site, &["drill", "run", &site.path("missed"), "--speed", "100"])?;
    assert_eq!(missed.0, 1, "{}", missed.1);
    assert!(missed.1.contains("MISSED"), "{}", missed.1);
    assert_eq!(answer(&site, &["drill", "run", "none", "--drills", &drills])?.0, 2);
    interrupts_a_drill(&site, &drills)
}

/// A drill that takes minutes is told to end: nothing of it stays.
fn interrupts_a_drill(site: &Site, drills: &str) -> Result<()> {
    let mut drill = Command::new(site::program("vonggac"))
        .args(["drill", "run", "small", "--drills", drills, "--speed", "1"])
        .env("VONGGAC_CONFIG", site.path("vonggac.toml"))
        .env("TMPDIR", site.path("tmp"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    until("a line is written", || {
        let written = walkdir::WalkDir::new(site.path("tmp"))
            .into_iter()
            .filter_map(Result::ok)
            .any(|entry| entry.file_name() == "access.log" && entry.metadata().is_ok_and(|of| of.len() > 0));
        Ok(written.then_some(()))
    })?;
    let agents = processes_below(&site.path("tmp"))?;
    assert_eq!(agents.len(), 2, "an agent for each host");
    ensure!(Command::new("kill").args(["-INT", &drill.id().to_string()]).status()?.success(), "kill -INT");
    assert_eq!(drill.wait()?.code(), Some(2));
    assert_empty(site)?;
    until("the agents are gone", || Ok(processes_below(&site.path("tmp"))?.is_empty().then_some(())))
}

fn assert_empty(site: &Site) -> Result<()> {
    let left: Vec<_> = std::fs::read_dir(site.path("tmp"))?.collect::<std::io::Result<_>>()?;
    assert!(left.is_empty(), "temporary files are left: {left:?}");
    Ok(())
}

/// Processes with a path below `folder` in their arguments.
fn processes_below(folder: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path().join("cmdline");
        let arguments = std::fs::read(&path).unwrap_or_default();
        if String::from_utf8_lossy(&arguments).contains(folder) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Rule web/sql-injection of ours.
const SQL_INJECTION: &str = "b72f4b98-f95f-41eb-9e18-4c1b5d055fb5";
const SMALL_TRUTH: &str = r#"
[[step]]
id = "1-injection"
title = "SQL injection by hand"
technique = "T1190"
start = "2026-11-23T09:10:00+07:00"
end = "2026-11-23T09:10:02+07:00"
host = "web01"
rules = ["b72f4b98-f95f-41eb-9e18-4c1b5d055fb5"]

[[step]]
id = "2-mistyped"
title = "A password mistyped once"
start = "2026-11-23T09:12:00+07:00"
end = "2026-11-23T09:12:02+07:00"
host = "db01"
rules = []
benign = true
"#;
/// Lines of the small drill.
const LINES: u64 = 8;

fn write_drill(folder: &Path, truth: &str) -> Result<()> {
    std::fs::create_dir_all(folder.join("logs"))?;
    std::fs::write(folder.join("truth.toml"), truth)?;
    let mut drill = std::fs::File::create(folder.join("drill.toml"))?;
    let (name, description) = ("small", "Two hosts, one attack");
    writeln!(
        drill,
        "name = \"{name}\"\ndescription = \"{description}\"\nrecorded = \"2026-11-23T09:00:00+07:00\""
    )?;
    let security = evtx::cleared_log("2026-11-23T02:11:00.0000000Z");
    for (host, path, file, format, content) in [
        ("web01", "/var/log/nginx/access.log", "access.log", "web", WEB.as_bytes()),
        ("web01", "/var/log/audit/audit.log", "audit.log", "auditd", AUDIT.as_bytes()),
        ("db01", "/var/log/auth.log", "auth.log", "syslog", AUTH.as_bytes()),
        ("db01", "/var/log/security.json", "Security.evtx", "evtx", &security),
    ] {
        writeln!(
            drill,
            "[[log]]\nhost = \"{host}\"\npath = \"{path}\"\nfile = \"logs/{file}\"\nformat = \"{format}\"\nutc_offset = \"+07:00\""
        )?;
        std::fs::write(folder.join("logs").join(file), content)?;
    }
    Ok(())
}

const WEB: &str = r#"198.51.100.9 - - [23/Nov/2026:09:00:00 +0700] "GET / HTTP/1.1" 200 153 "-" "Mozilla/5.0"
203.0.113.66 - - [23/Nov/2026:09:10:01 +0700] "GET /news.php?id=0%20UNION%20ALL%20SELECT%201,login,password%20FROM%20staff-- HTTP/1.1" 200 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
"#;
/// 2026-11-23T09:05:00+07:00; two records of one event.
const AUDIT: &str = "type=SYSCALL msg=audit(1795399500.100:7): arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=0 items=2 ppid=1 pid=2 auid=1000 uid=1000 gid=1000 euid=1000 suid=1000 fsuid=1000 egid=1000 sgid=1000 fsgid=1000 tty=pts0 ses=1 comm=\"ls\" exe=\"/usr/bin/ls\" key=(null)
type=EXECVE msg=audit(1795399500.100:7): argc=1 a0=\"ls\"
";
const AUTH: &str = "Nov 23 09:12:01 db01 sshd[77]: Failed password for huong from 10.20.0.5 port 50122 ssh2
Nov 23 09:12:05 db01 sshd[77]: Accepted password for huong from 10.20.0.5 port 50122 ssh2
Nov 23 09:12:05 db01 sshd[77]: pam_unix(sshd:session): session opened for user huong(uid=1001) by (uid=0)
";
