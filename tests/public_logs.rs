//! The parsers against public logs that nobody here wrote, with the truth that comes with them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use event::{Batch, Event, Format, Header, ParseStatus, Record, Value, parse_batch};
use serde_json::Value as Json;

use crate::corpus::corpus;

/// Of each of these kinds, this share of lines must be understood.
const SHARE_MIN: f64 = 0.99;
/// Cases of type nginx whose lines are in no format of nginx or Apache.
const NOT_COMBINED: [&str; 2] = ["nginx-mail-logs", "nginx_http-catch-npm"];
const KINDS_CHECKED: [&str; 5] = ["sshd", "sudo", "PAM", "auditd", "web"];

/// The lines of a file as one batch.
fn batch(lines: &[&[u8]], format: Format) -> Batch {
    let header = Header { format, ..Header::default() };
    Batch::new(header, lines.iter().map(|bytes| Record { time: 0, offset: 0, bytes })).unwrap()
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect()
}

/// What kind a line is, told by its text alone and not by a parser.
fn kind(line: &str, log_type: &str) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
    match log_type {
        // A record has a serial; the one that the golden files call unreadable has none.
        "auditd" if line.contains("msg=audit(") => "auditd",
        "nginx" | "apache2" => "web",
        _ if has(&["(pam_unix)", "pam_unix(", "pam_tally2(", "pam_systemd(", "pam_sss("]) => "PAM",
        _ if has(&[" sshd[", " sshd-session["]) => "sshd",
        _ if has(&[" sudo:", " sudo["]) => "sudo",
        _ if has(&[" su[", " su:"]) && !has(&["kernel:"]) => "su",
        _ if has(&[" useradd[", " groupadd[", " usermod[", " userdel[", " chpasswd["]) => "accounts",
        _ => "other",
    }
}

/// (source, type of log, file), as the logs of the corpus are laid out.
fn sources(corpus: &Path) -> Vec<(String, String, PathBuf)> {
    let mut sources = Vec::new();
    let mut add = |source: &str, log_type: &str, path: PathBuf| {
        sources.push((source.to_owned(), log_type.to_owned(), path));
    };
    add("loghub/OpenSSH", "syslog", corpus.join("loghub/OpenSSH/OpenSSH_2k.log"));
    add("loghub/Linux", "syslog", corpus.join("loghub/Linux/Linux_2k.log"));
    add("loghub/Apache", "apache2", corpus.join("loghub/Apache/Apache_2k.log"));
    add("elastic", "syslog", corpus.join("elastic/auth.log"));
    for path in files(&corpus.join("auditd"), "log") {
        add("auditd", "auditd", path);
    }
    for case in fs::read_dir(corpus.join("crowdsec/tests")).unwrap().map(|entry| entry.unwrap().path()) {
        let config = fs::read_to_string(case.join("config.yaml")).unwrap_or_default();
        let stated = |key| config.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let log_type = stated("log_type:").unwrap_or_default();
        // nginx' mail proxy writes no access log, and the panel's format is its own.
        let web =
            matches!(log_type, "nginx" | "apache2") && !NOT_COMBINED.iter().any(|name| case.ends_with(name));
        if log_type == "syslog" || log_type == "auditd" || web {
            for path in files(&case, "log") {
                add(&format!("crowdsec/{log_type}"), log_type, path);
            }
        }
    }
    sources
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    paths
}

#[test]
fn public_logs_are_understood() {
    let Some(corpus) = corpus("") else { return };
    // By source and kind: lines, and those understood.
    let mut table = BTreeMap::<(String, &str), (u32, u32)>::new();
    for (source, log_type, path) in sources(&corpus) {
        let text = fs::read(&path).unwrap();
        let lines = lines(&text);
        let batch = batch(&lines, Format::Auto);
        for event in parse_batch(&batch) {
            for index in event.record..event.record + event.records {
                let line = String::from_utf8_lossy(lines[index as usize]);
                let kind = kind(&line, &log_type);
                let count = table.entry((source.clone(), kind)).or_default();
                count.0 += 1;
                count.1 += u32::from(event.status == ParseStatus::Parsed);
                if event.status != ParseStatus::Parsed && KINDS_CHECKED.contains(&kind) {
                    println!("{}: {} {line}", path.display(), event.status.as_str());
                }
            }
        }
    }
    let mut totals = BTreeMap::<&str, (u32, u32)>::new();
    println!("{:<20} {:<10} {:>7} {:>7}", "source", "kind", "lines", "parsed");
    for ((source, kind), (all, parsed)) in &table {
        println!("{source:<20} {kind:<10} {all:>7} {parsed:>7}");
        let total = totals.entry(kind).or_default();
        *total = (total.0 + all, total.1 + parsed);
    }
    for kind in KINDS_CHECKED {
        let (all, parsed) = totals[kind];
        let share = f64::from(parsed) / f64::from(all);
        println!("{kind:<8} {parsed} of {all}: {:.2} %", 100.0 * share);
        assert!(share >= SHARE_MIN, "{kind}: {parsed} of {all} lines understood");
    }
}

/// The texts of a field.
fn texts(event: &Event<'_>, name: &str) -> Vec<String> {
    event
        .values(name)
        .filter(|value| !matches!(value, Value::Null))
        .map(|value| value.to_text().into_owned())
        .collect()
}

/// What the golden files interpret and we leave as the kernel wrote it: each is listed with the reason.
fn comparable(key: &str, value: &str, event: &Event<'_>) -> Option<Vec<String>> {
    // An SELinux context stands as one text with us: `user:role:domain:level[:category]`.
    if let Some((context, part)) =
        key.split_once('_').filter(|(context, _)| matches!(*context, "subj" | "obj"))
    {
        let index = ["user", "role", "domain", "level", "category"].iter().position(|name| *name == part)?;
        let context = event.text(context)?;
        return Some(context.splitn(5, ':').nth(index).map(str::to_owned).into_iter().collect());
    }
    let renamed = match key {
        // Interpreted names where audit writes numbers.
        "arch" => "ARCH",
        "syscall" => "SYSCALL",
        // The parts of a socket address.
        "family" if event.text("saddr").is_some() => "saddr_fam",
        "addr" if event.text("saddr").is_some() => "laddr",
        "port" => "lport",
        _ => key,
    };
    // The golden files' own words for an account or a session that is not set, and for families of addresses.
    let worded = |text: String| match &*text {
        "4294967295" if value == "unset" => "unset".to_owned(),
        "inet" => "ipv4".to_owned(),
        "inet6" => "ipv6".to_owned(),
        "local" => "unix".to_owned(),
        "unspec" => "0".to_owned(),
        _ => text,
    };
    match key {
        "result" => {
            let outcome = event.text("outcome").unwrap_or_default();
            Some(vec![if outcome == "failure" { "fail".to_owned() } else { outcome.to_owned() }])
        }
        // errno names and signal names: the number stays ours.
        "exit" if value.starts_with('E') => None,
        _ => Some(texts(event, renamed).into_iter().map(worded).collect()),
    }
}

#[test]
fn auditd_golden_files_agree() {
    let Some(corpus) = corpus("") else { return };
    let (mut records, mut compared, mut left_out) = (0, 0, BTreeMap::<String, u32>::new());
    let mut wrong = Vec::new();
    for path in files(&corpus.join("auditd"), "log") {
        let golden: Vec<Option<Json>> =
            serde_json::from_slice(&fs::read(path.with_extension("log.golden")).unwrap()).unwrap();
        let text = fs::read(&path).unwrap();
        let lines = lines(&text);
        assert_eq!(lines.len(), golden.len(), "{}", path.display());
        for (line, golden) in lines.iter().zip(golden) {
            let Some(golden) = golden else { continue };
            // The golden files hold records, not events: each line is a batch of its own.
            let batch = batch(&[line], Format::Auditd);
            let event = parse_batch(&batch).remove(0);
            records += 1;
            let sequence = golden["sequence"].as_u64().unwrap().to_string();
            assert_eq!(event.text("serial"), Some(&*sequence));
            let record_type = golden["record_type"].as_str().unwrap();
            assert!(
                event.text("type").is_some_and(|found| found.eq_ignore_ascii_case(record_type)),
                "{record_type}"
            );
            let keys = golden["keys"].as_array().cloned().unwrap_or_default();
            let keys: Vec<&str> = keys.iter().filter_map(Json::as_str).collect();
            assert_eq!(texts(&event, "key"), keys);
            for (key, value) in golden["data"].as_object().into_iter().flatten() {
                let value = value.as_str().unwrap();
                match comparable(key, value, &event) {
                    None => *left_out.entry(key.clone()).or_default() += 1,
                    Some(found) if found.iter().any(|found| found == value) => compared += 1,
                    Some(found) => wrong
                        .push(format!("{record_type} {sequence} {key}: golden {value:?}, found {found:?}")),
                }
            }
        }
    }
    println!("{records} records, {compared} values agree; not compared: {left_out:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(records >= 50, "{records} records");
}

/// A field that a parser behind a crowdsec case states, and ours for the same.
type Names = (&'static str, &'static [&'static str]);

/// By parser, the fields that it states.
const STATED: &[(&str, &[Names])] = &[
    (
        "sshd-logs",
        &[
            ("sshd_client_ip", &["src_ip", "src_host"]),
            ("sshd_invalid_user", &["user"]),
            ("sshd_port", &["src_port"]),
            ("pid", &["pid"]),
            ("program", &["program"]),
        ],
    ),
    ("pam-logs", &[("username", &["user"]), ("tty", &["tty"]), ("logname", &["logname"])]),
    (
        "nginx-logs",
        &[
            ("remote_addr", &["c-ip", "src_host"]),
            ("verb", &["cs-method"]),
            ("request", &["cs-uri", "request"]),
            ("status", &["sc-status"]),
            ("body_bytes_sent", &["sc-bytes"]),
            ("http_user_agent", &["cs-user-agent"]),
            ("http_referer", &["cs-referer"]),
            ("remote_user", &["cs-username"]),
            ("target_fqdn", &["cs-host"]),
        ],
    ),
    (
        "apache2-logs",
        &[
            ("clientip", &["c-ip", "src_host"]),
            ("verb", &["cs-method"]),
            ("request", &["cs-uri"]),
            ("response", &["sc-status"]),
            ("bytes", &["sc-bytes"]),
            ("http_user_agent", &["cs-user-agent"]),
        ],
    ),
    (
        "auditd-logs",
        &[("exe", &["exe"]), ("ppid", &["ppid"]), ("uid", &["uid"]), ("auid", &["auid"]), ("tty", &["tty"])],
    ),
];

#[test]
fn fields_agree_with_what_the_crowdsec_cases_state() {
    let Some(corpus) = corpus("") else { return };
    let mut compared = BTreeMap::<&str, u32>::new();
    let mut wrong = Vec::new();
    for case in fs::read_dir(corpus.join("crowdsec/tests")).unwrap().map(|entry| entry.unwrap().path()) {
        if NOT_COMBINED.iter().any(|name| case.ends_with(name)) {
            continue;
        }
        let Ok(text) = fs::read_to_string(case.join("parser.assert")) else { continue };
        let logs: Vec<Vec<u8>> = files(&case, "log").iter().map(|path| fs::read(path).unwrap()).collect();
        let all: Vec<&[u8]> = logs.iter().flat_map(|log| lines(log)).collect();
        for (parser, names) in STATED {
            for facts in statements(&text, parser) {
                let Some(message) = facts.get("message") else { continue };
                let Some(line) = all
                    .iter()
                    .find(|line| String::from_utf8_lossy(line).trim_end().ends_with(message.trim_end()))
                else {
                    continue;
                };
                let batch = batch(&[line], Format::Auto);
                let event = parse_batch(&batch).remove(0);
                for (stated, ours) in *names {
                    let Some(value) = facts.get(*stated).filter(|value| comparable_text(value)) else {
                        continue;
                    };
                    let found: Vec<String> = ours.iter().flat_map(|name| texts(&event, name)).collect();
                    if found.iter().any(|found| found == value) {
                        *compared.entry(parser).or_default() += 1;
                    } else {
                        wrong.push(format!("{}: {stated} {value:?}, found {found:?}", case.display()));
                    }
                }
            }
        }
    }
    println!("values that agree: {compared:?}");
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared.len() == STATED.len(), "{compared:?}");
}

/// Nothing was stated, or bytes as they are escaped, which we decode.
fn comparable_text(value: &str) -> bool {
    !matches!(value, "" | "-") && !value.contains("\\x")
}

/// What a `parser.assert` says of each line that a parser took: `results["s01-parse"]["crowdsecurity/NAME"][N].Evt.Parsed["KEY"] == "VALUE"`.
fn statements(text: &str, parser: &str) -> Vec<BTreeMap<String, String>> {
    let start = format!("results[\"s01-parse\"][\"crowdsecurity/{parser}\"][");
    let mut facts = BTreeMap::<u32, BTreeMap<String, String>>::new();
    for rest in text.lines().filter_map(|line| line.strip_prefix(&start)) {
        let Some((number, rest)) = rest.split_once(']') else { continue };
        let Some(rest) = [".Evt.Parsed[\"", ".Evt.Meta[\""].iter().find_map(|head| rest.strip_prefix(head))
        else {
            continue;
        };
        let Some((key, value)) = rest.split_once("\"] == ") else { continue };
        // Go's quoted strings read as JSON's, but for bytes in hexadecimal.
        let Ok(value) = serde_json::from_str::<String>(value) else { continue };
        facts.entry(number.parse().unwrap()).or_default().insert(key.to_owned(), value);
    }
    facts.into_values().collect()
}
