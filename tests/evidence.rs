//! `vonggac scan` and what evidence comes in: everything is read, or it is named and the exit code says so.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use event::EVTX_HEADER_BYTES;
use serde_json::{Value as Json, json};

use crate::corpus::corpus;
use crate::evtx::{FOLDERS, RULES, cases, cleared_log, findings};
use crate::site::program;

/// A rule, and the place where it matched.
type Match = (String, u64);

/// A folder of evidence, empty at first, and rules.
struct Evidence {
    folder: tempfile::TempDir,
    rules: String,
}

impl Evidence {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let rules = folder.path().join("rules.yml");
        fs::write(&rules, RULES)?;
        fs::create_dir(folder.path().join("evidence"))?;
        Ok(Self { rules: rules.display().to_string(), folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("evidence").join(name)
    }

    fn scan(&self, paths: &[&Path]) -> Result<(i32, Vec<Json>, String)> {
        findings(&["--rules", &self.rules], paths)
    }

    /// A scan of one file of that content: exit code, rules that matched with the place, what was said.
    fn read(&self, name: &str, content: &[u8]) -> Result<(i32, Vec<Match>, String)> {
        let path = self.path(name);
        fs::write(&path, content)?;
        let (code, rows, said) = self.scan(&[&path])?;
        fs::remove_file(path)?;
        let found = |row: &Json| {
            (
                row["rule_id"].as_str().unwrap_or_default().to_owned(),
                row["position"].as_u64().unwrap_or_default(),
            )
        };
        Ok((code, rows.iter().map(found).collect(), said))
    }
}

fn cleared(position: u64) -> Match {
    ("cleared".to_owned(), position)
}

/// Three failed logins within a minute.
fn failed_logins() -> Vec<String> {
    let line = |second: u32| {
        format!(
            "2026-11-23T09:31:{second:02}+07:00 web01 sshd[7]: Failed password for root from 192.0.2.7 port 22 ssh2\n"
        )
    };
    (0..3).map(line).collect()
}

/// An event, and the document around it.
fn export() -> Json {
    json!({"Channel": "Security", "EventID": 1102, "Computer": "PC07", "EventTime": "2026-11-23T02:15:09Z",
           "Said": ["{\"", {"deep": "\\"}]})
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

#[test]
fn what_is_not_read_is_named_and_tells_in_the_exit_code() -> Result<()> {
    let evidence = Evidence::new()?;
    let log = cleared_log("2026-11-23T02:15:09Z");
    let mut random = 1_u64;
    let mut noise = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random.to_be_bytes()[0]
    };
    let mut counted = log.clone();
    counted[42] = 2; // chunks
    let zstd = |bytes: &[u8]| zstd::bulk::compress(bytes, 1);
    let tar = [&[b'x'; 257][..], b"ustar\0", &[0; 500]].concat();
    let table: [(&str, Vec<u8>, &str); 14] = [
        ("logs.zip", b"PK\x03\x04\x14\0".to_vec(), "a zip archive: unpack it"),
        ("logs.tar.zst", zstd(&tar)?, "a tar archive: unpack it"),
        ("logs.xz", b"\xfd7zXZ\0\0".to_vec(), "compressed with xz"),
        ("twice.zst", zstd(&zstd(b"a log")?)?, "compressed twice"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), "neither EVTX, nor text, nor a capture"),
        ("noise", (0..5000).map(|_| noise()).collect(), "neither EVTX, nor text, nor a capture"),
        ("zeroes.log", vec![0; 10_000], "only zero bytes"),
        ("empty.log", vec![], "nothing to read"),
        ("empty.evtx", vec![], "it is empty, which no event log is"),
        ("head.evtx", log[..8].to_vec(), "it ends before its first chunk"),
        ("chunkless.evtx", log[..EVTX_HEADER_BYTES].to_vec(), "it ends before its first chunk"),
        ("chunkless.zst", zstd(&log[..EVTX_HEADER_BYTES])?, "it ends before its first chunk"),
        ("cut.evtx", counted.clone(), "its head says 2 chunks, 1 are there"),
        ("cut.zst", zstd(&counted)?, "its head says 2 chunks, 1 are there"),
    ];
    for (name, content, expected) in table {
        let (code, _, said) = evidence.read(name, &content)?;
        let is_named = said.lines().any(|line| line.contains(name) && line.contains(expected));
        ensure!(code == 3 && is_named, "{name}: {code} {said}");
    }
    let (code, _, said) = evidence.scan(&[&evidence.path("")])?;
    ensure!(code == 3 && said.contains("nothing to read"), "an empty folder: {code} {said}");
    Ok(())
}

#[test]
fn an_event_log_without_its_head_is_read_by_its_chunks() -> Result<()> {
    let evidence = Evidence::new()?;
    let mut log = cleared_log("2026-11-23T02:15:09Z");
    log[..8].fill(0);
    for content in [log.clone(), zstd::bulk::compress(&log, 1)?] {
        let (code, found, said) = evidence.read("Security.evtx", &content)?;
        assert_eq!((code, found), (3, vec![cleared(1)]), "{said}");
        assert!(said.contains("Security.evtx: the head of the file is damaged"), "{said}");
    }
    Ok(())
}

#[test]
fn a_log_with_zero_bytes_is_the_log_that_it_is() -> Result<()> {
    let evidence = Evidence::new()?;
    let many = vec![("many".to_owned(), 3)];
    let [one, two, three] = &failed_logins()[..] else { anyhow::bail!("three") };
    let hole = "\0".repeat(200_000);
    let logs = [
        format!("{one}{two}{three}"),
        format!("{one}\0{two}{three}"),
        format!("{hole}{one}{two}{three}"),
        format!("{one}{hole}{two}\0{three}\0\0"),
    ];
    for log in logs {
        let zeroes = log.bytes().filter(|byte| *byte == 0).count();
        let (code, found, said) = evidence.read("auth.log", log.as_bytes())?;
        assert_eq!((code, &found), (0, &many), "{said}");
        assert_eq!(said.contains("left out of the text"), zeroes > 0, "{said}");
    }
    // As PowerShell's `>` writes it.
    let text = format!("\u{feff}{}", failed_logins().concat());
    for unit in [u16::to_le_bytes, u16::to_be_bytes] {
        let (code, found, said) = evidence.read("auth.txt", &utf16(&text, unit))?;
        assert_eq!((code, &found), (0, &many), "{said}");
    }
    Ok(())
}

#[test]
fn json_is_read_however_it_is_written() -> Result<()> {
    let evidence = Evidence::new()?;
    let (event, pretty) = (export(), serde_json::to_string_pretty(&export())?);
    let filler = json!({"EventID": 1, "filler": "x".repeat(30_000)});
    let filler = serde_json::to_string_pretty(&filler)?;
    let around = json!({"Records": [export(), export()]});
    let table: [(&str, String, &[u64]); 9] = [
        ("a mark before the first line", format!("\u{feff}{event}\n{event}\n"), &[1, 2]),
        ("a document", pretty.clone(), &[1]),
        ("documents", format!("{pretty}\n{pretty}\r\n"), &[1, 13]),
        ("an array of lines", format!("[\n{event},\n{event}\n]\n"), &[2, 3]),
        ("an array on one line", format!("[{event},{event}]"), &[1, 2]),
        ("a pretty array", serde_json::to_string_pretty(&[export(), export()])?, &[2, 14]),
        ("an object around an array", around.to_string(), &[1, 2]),
        ("a pretty object around an array", serde_json::to_string_pretty(&around)?, &[3, 15]),
        ("more than a piece", format!("[{filler},{filler},{filler},\n{pretty}]"), &[11]),
    ];
    for (what, text, lines) in table {
        let (code, found, said) = evidence.read("export.json", text.as_bytes())?;
        let expected: Vec<_> = lines.iter().copied().map(cleared).collect();
        assert_eq!((code, found), (0, expected), "{what}: {said}");
        assert!(!said.contains("no parser takes"), "{what}: {said}");
    }
    let cut = format!("{event}\n{}\n", &event.to_string()[..40]);
    let (code, found, said) = evidence.read("export.json", cut.as_bytes())?;
    assert_eq!((code, found), (3, vec![cleared(1)]), "{said}");
    assert!(
        said.contains("export.json: a chunk or record cannot be read: line 2: a JSON object that is"),
        "{said}"
    );
    Ok(())
}

#[test]
fn events_without_a_log_source_are_told_and_can_be_given_one() -> Result<()> {
    let evidence = Evidence::new()?;
    let (rules, path) = (evidence.folder.path().join("cloud.yml"), evidence.path("trail.json"));
    let rule = "title: Trail stopped\nid: stopped\nlogsource: {product: aws, service: cloudtrail}\n\
                detection: {s: {eventName: StopLogging}, condition: s}\n";
    fs::write(&rules, rule)?;
    let trail = json!({"Records": [{"eventName": "CreateUser"}, {"eventName": "StopLogging"}]});
    fs::write(&path, format!("{trail}\n"))?;
    let rules = rules.display().to_string();
    let (code, rows, said) = findings(&["--rules", &rules], &[&path])?;
    assert_eq!((code, rows.len()), (0, 0), "{said}");
    assert!(said.contains("2 events whose log source is not known"), "{said}");
    let stated = ["--rules", &rules, "--product", "aws", "--service", "cloudtrail"];
    let (code, rows, said) = findings(&stated, &[&path])?;
    assert_eq!((code, rows.len(), rows[0]["position"].as_u64()), (0, 1, Some(2)), "{said}");
    assert!(!said.contains("log source"), "{said}");
    Ok(())
}

#[test]
fn a_journal_as_json_is_read_as_if_it_came_by_syslog() -> Result<()> {
    let evidence = Evidence::new()?;
    let entry = |second: u64| {
        json!({
            "__REALTIME_TIMESTAMP": (1_795_400_107_000_000 + second * 1_000_000).to_string(),
            "_HOSTNAME": "web01", "SYSLOG_IDENTIFIER": "sshd", "_PID": "7", "PRIORITY": "6", "SYSLOG_FACILITY": "10",
            "MESSAGE": "Failed password for root from 192.0.2.7 port 22 ssh2",
        })
    };
    let text: String = (0..3).map(|second| format!("{}\n", entry(second))).collect();
    let (code, found, said) = evidence.read("journal.json", text.as_bytes())?;
    assert_eq!((code, found), (0, vec![("many".to_owned(), 3)]), "{said}");
    Ok(())
}

#[test]
fn a_correlation_stands_where_the_event_does_that_raised_it() -> Result<()> {
    let evidence = Evidence::new()?;
    // More than a firing names.
    fs::write(&evidence.rules, RULES.replace("gte: 3", "gte: 150"))?;
    let line = |number: u32| {
        let (second, ms) = (number / 4, number % 4 * 250);
        format!(
            "2026-11-23T09:31:{second:02}.{ms:03}+07:00 web01 sshd[7]: Failed password for root from 192.0.2.7 port 22 ssh2\n"
        )
    };
    let text: String = (0..180).map(line).collect();
    let (code, found, said) = evidence.read("auth.log", text.as_bytes())?;
    assert_eq!((code, found), (0, vec![("many".to_owned(), 150)]), "{said}");
    Ok(())
}

#[test]
fn lines_that_no_parser_takes_are_told_by_file() -> Result<()> {
    let evidence = Evidence::new()?;
    for number in 0..25 {
        fs::write(evidence.path(&format!("{number}.txt")), "x\n".repeat(number + 1))?;
    }
    let (code, _, said) = evidence.scan(&[&evidence.path("")])?;
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("24.txt: 25 lines that no parser takes") && said.contains("; one: line 1\n"),
        "{said}"
    );
    assert!(said.contains("5 more files: 15 lines that no parser takes"), "{said}");
    assert!(said.contains("25 files (") && said.contains("; 325 lines that no parser takes"), "{said}");
    Ok(())
}

#[test]
fn links_pipes_and_standard_input_are_read_when_they_are_named() -> Result<()> {
    let evidence = Evidence::new()?;
    let outside = evidence.folder.path().join("outside.log");
    fs::write(&outside, failed_logins().concat())?;
    let (link, pipe) = (evidence.path("link.log"), evidence.path("pipe"));
    symlink(&outside, &link)?;
    ensure!(Command::new("mkfifo").arg(&pipe).status()?.success(), "mkfifo");
    let (code, rows, said) = evidence.scan(&[&evidence.path("")])?;
    assert_eq!((code, rows.len()), (3, 0), "{said}");
    assert!(
        said.contains("link.log: a link to ") && said.contains("pipe: a pipe, socket or device"),
        "{said}"
    );
    assert!(said.contains("0 files (") && said.contains("; 2 problems, "), "{said}");
    let (code, rows, said) = evidence.scan(&[&link])?;
    assert_eq!((code, rows.len()), (0, 1), "{said}");

    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, zstd::bulk::compress(failed_logins().concat().as_bytes(), 1)?)
    });
    // The folder has it, too: it is named all the same.
    fs::remove_file(&link)?;
    let (code, rows, said) = evidence.scan(&[&evidence.path(""), &pipe])?;
    assert_eq!((code, rows.len()), (0, 1), "{said}");
    writer.join().map_err(|_| anyhow::anyhow!("the writer"))??;

    let log = cleared_log("2026-11-23T02:15:09Z");
    for (path, content) in [("-", failed_logins().concat().into_bytes()), ("/dev/stdin", log)] {
        let mut command = Command::new(program("vonggac"));
        command.args(["scan", path, "--format", "json", "--rules", &evidence.rules]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("standard input")?.write_all(&content)?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(0), "{path}: {said}");
        assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1, "{path}: {said}");
    }
    Ok(())
}

#[test]
fn a_file_is_read_once_and_counts_only_when_it_was_read() -> Result<()> {
    let evidence = Evidence::new()?;
    let path = evidence.path("auth.log");
    fs::write(&path, failed_logins()[..2].concat())?;
    let (code, rows, said) = evidence.scan(&[&path, &evidence.path(""), &path])?;
    assert_eq!((code, rows.len()), (0, 0), "two failed logins are not many: {said}");
    assert!(said.contains("1 file (") && said.contains("2 events"), "{said}");
    fs::write(&path, zstd::bulk::compress(b"x", 1)?.get(..5).context("a head")?)?;
    let (code, _, said) = evidence.scan(&[&path])?;
    assert!(code == 3 && said.contains("0 files (0.0 kB)") && said.contains("; 1 problem, named"), "{said}");
    Ok(())
}

/// SigmaHQ's recordings come as EVTX and as JSON, which `evtx_dump` wrote: both say the same.
#[test]
fn a_recording_says_the_same_as_json() -> Result<()> {
    let Some(sigmahq) = corpus("sigmahq") else { return Ok(()) };
    let folders: Vec<String> = FOLDERS.iter().map(|name| sigmahq.join(name).display().to_string()).collect();
    let rules: Vec<&str> = folders.iter().flat_map(|folder| ["--rules", folder]).collect();
    let (_, rows, _) = findings(&rules, &[&sigmahq.join("regression_data")])?;
    let mut found = BTreeMap::<PathBuf, BTreeMap<String, usize>>::new();
    for row in rows {
        let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        *found.entry(field("file").into()).or_default().entry(field("rule_id")).or_default() += 1;
    }
    let mut compared = 0;
    for case in cases(&sigmahq)? {
        let json = case.path.with_extension("json");
        if !json.try_exists()? {
            continue;
        }
        let (of_evtx, of_json) = (found.get(&case.path), found.get(&json));
        ensure!(of_evtx == of_json, "{}: {of_evtx:?}, as JSON {of_json:?}", case.path.display());
        let count = of_json.and_then(|rules| rules.get(&case.rule)).copied().unwrap_or_default();
        ensure!(count >= case.count, "{}: {count} of {}", json.display(), case.count);
        compared += 1;
    }
    println!("{compared} recordings, the same as JSON");
    ensure!(compared > 100, "only {compared} recordings");
    Ok(())
}
