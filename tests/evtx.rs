//! Windows event log files: `vonggac scan` and the reader, against SigmaHQ's recordings, another reader and files made here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use event::{EVTX_BLOCK_CHUNKS_MAX, EVTX_CHUNK_BYTES, EVTX_HEADER_BYTES, Event, EvtxBlock, TsQuality, Value};
use proptest::prelude::*;
use rsigma_eval::event::JsonEvent;
use serde_json::{Map, Value as Json, json};

use crate::corpus::corpus;
use crate::evtx_file::{Chunk, file};
use crate::site::program;

/// SigmaHQ's folders of rules in force.
pub(crate) const FOLDERS: [&str; 5] =
    ["rules", "rules-compliance", "rules-dfir", "rules-emerging-threats", "rules-threat-hunting"];

/// Cases in which our reader finds more than the other engine does on the other reader's fields, by the rule's id and why.
const OTHER_MISSES: [(&str, &str); 1] = [(
    "a7c3e5f2-8b1d-4e9a-b6c2-3d7f5e8a9b4c",
    "the rule reads ThreatName, the event says `Threat Name`: without the taxonomy nothing matches",
)];

/// Number and fields of each record.
type Records<T> = Vec<(u64, Vec<(String, T)>)>;

/// A recording, and the rule that must fire on it so many times at least.
pub(crate) struct Case {
    pub(crate) rule: String,
    pub(crate) path: PathBuf,
    pub(crate) count: usize,
}

fn scan(arguments: &[&str], paths: &[&Path]) -> Result<Output> {
    let mut command = Command::new(program("vonggac"));
    command.arg("scan").args(arguments).args(paths).env("VONGGAC_CONFIG", "/nowhere/vonggac.toml");
    Ok(command.stdin(Stdio::null()).output()?)
}

/// The exit code, the lines of JSON, what was said beside.
pub(crate) fn findings(arguments: &[&str], paths: &[&Path]) -> Result<(i32, Vec<Json>, String)> {
    let output = scan(&[arguments, &["--format", "json"]].concat(), paths)?;
    let rows =
        String::from_utf8(output.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((output.status.code().context("an exit code")?, rows, String::from_utf8(output.stderr)?))
}

#[test]
fn every_recorded_attack_is_found() -> Result<()> {
    let Some(sigmahq) = corpus("sigmahq") else { return Ok(()) };
    let cases = cases(&sigmahq)?;
    ensure!(cases.len() > 100, "only {} cases", cases.len());
    let folders: Vec<String> = FOLDERS.iter().map(|name| sigmahq.join(name).display().to_string()).collect();
    let rules: Vec<&str> = folders.iter().flat_map(|folder| ["--rules", folder]).collect();
    let (_, rows, _) = findings(&rules, &[&sigmahq.join("regression_data")])?;
    let mut found = BTreeMap::<(String, String), usize>::new();
    for row in rows {
        let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        *found.entry((field("file"), field("rule_id"))).or_default() += 1;
    }
    let texts = rule_texts(&folders)?;
    let (mut wrong, mut excused) = (Vec::new(), BTreeSet::new());
    for case in &cases {
        let key = (case.path.display().to_string(), case.rule.clone());
        let ours = found.get(&key).copied().unwrap_or_default();
        let text = texts.get(&case.rule).with_context(|| format!("no rule {}", case.rule))?;
        let other = other_count(text, &case.path)?;
        let excuse = OTHER_MISSES.iter().find(|(rule, _)| *rule == case.rule);
        if excuse.is_some() && other == 0 {
            excused.insert(case.rule.clone());
        }
        if ours < case.count || (ours != other && excuse.is_none()) {
            wrong.push(format!("{}: {} expected, {ours} found, {other} by the other", key.0, case.count));
        }
    }
    println!("{} recordings, each with its rule found", cases.len());
    ensure!(wrong.is_empty(), "{wrong:#?}");
    ensure!(excused.len() == OTHER_MISSES.len(), "not all of the excuses are needed: {excused:?}");
    Ok(())
}

/// The recordings that are EVTX files.
pub(crate) fn cases(sigmahq: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for entry in walkdir::WalkDir::new(sigmahq.join("regression_data")).sort_by_file_name() {
        let entry = entry?;
        if entry.file_name() != "info.yml" {
            continue;
        }
        let info = fs::read_to_string(entry.path())?;
        let value = |after: &str, key: &str| {
            let lines = info.split_once(after)?.1.lines();
            lines.map(|line| line.trim_start_matches([' ', '-'])).find_map(|line| line.strip_prefix(key))
        };
        // A recording that is commented out is none, and some are of other kinds.
        let path = value("\nregression_tests_info:", "path: ");
        let Some(path) = path.filter(|path| path.ends_with(".evtx")) else { continue };
        cases.push(Case {
            rule: value("rule_metadata:", "id: ").context("an id")?.to_owned(),
            path: sigmahq.join(path),
            count: value("regression_tests_info:", "match_count: ").map_or(Ok(1), str::parse)?,
        });
    }
    Ok(cases)
}

/// Rules by their ids.
fn rule_texts(folders: &[String]) -> Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for entry in folders.iter().flat_map(walkdir::WalkDir::new) {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "yml") {
            let text = fs::read_to_string(entry.path())?;
            let id = text.lines().find_map(|line| line.strip_prefix("id: ")).map(|id| id.trim().to_owned());
            texts.extend(id.map(|id| (id, text)));
        }
    }
    Ok(texts)
}

/// How often another engine finds a rule in a file that another reader reads.
fn other_count(rule: &str, path: &Path) -> Result<usize> {
    let mut engine = rsigma_eval::Engine::new();
    for rule in &rsigma_parser::parse_sigma_yaml(rule)?.rules {
        engine.add_rule(rule)?;
    }
    let mut count = 0;
    for (_, fields) in other_reader(&fs::read(path)?)? {
        let mut object = Map::new();
        for (name, value) in fields {
            object.entry(name).or_insert(value);
        }
        count += engine.evaluate(&JsonEvent::borrow(&Json::Object(object))).len();
    }
    Ok(count)
}

/// The records of a file as the crate `evtx` reads it: number, and fields as its JSON has them.
fn other_reader(bytes: &[u8]) -> Result<Records<Json>> {
    let mut records = Vec::new();
    let mut parser = evtx::EvtxParser::from_read_seek(Cursor::new(bytes))?;
    for record in parser.records_json_value() {
        let record = record?;
        let mut fields = Vec::new();
        let event = record.data["Event"].as_object().context("an event")?;
        for (part, value) in event.iter().filter(|(part, _)| *part != "#attributes") {
            let inner = value.as_object().into_iter().flatten().filter(|(name, _)| *name != "#attributes");
            match part.as_str() {
                "System" | "EventData" => inner.for_each(|(name, value)| flatten(name, value, &mut fields)),
                "UserData" => inner
                    .flat_map(|(_, own)| own.as_object().into_iter().flatten())
                    .filter(|(name, _)| *name != "#attributes")
                    .for_each(|(name, value)| flatten(name, value, &mut fields)),
                _ => flatten(part, value, &mut fields),
            }
        }
        records.push((record.event_record_id, fields));
    }
    Ok(records)
}

fn flatten(name: &str, value: &Json, fields: &mut Vec<(String, Json)>) {
    match value {
        Json::Array(values) => values.iter().for_each(|value| flatten(name, value, fields)),
        Json::Object(inner) => {
            for (key, value) in inner {
                match (key.as_str(), value) {
                    ("#attributes", Json::Object(attributes)) => {
                        let named = attributes.iter().filter(|(attribute, _)| *attribute != "xmlns");
                        named.for_each(|(attribute, value)| {
                            flatten(&format!("{name}_{attribute}"), value, fields);
                        });
                    }
                    ("#text", value) => flatten(name, value, fields),
                    (key, value) => flatten(&format!("{name}.{key}"), value, fields),
                }
            }
        }
        value => fields.push((name.to_owned(), value.clone())),
    }
}

/// Events as we read them: record number and fields. The damage is counted.
fn our_reader(bytes: &[u8]) -> (Records<String>, u64) {
    let (mut records, mut damage, mut block) = (Vec::new(), 0, EvtxBlock::default());
    let chunks = bytes.get(EVTX_HEADER_BYTES..).unwrap_or_default();
    for chunks in chunks.chunks(EVTX_BLOCK_CHUNKS_MAX * EVTX_CHUNK_BYTES) {
        block.read(chunks);
        damage += block.damage().count;
        records.extend(block.events(0).map(|(number, event)| (number, shown(&event))));
    }
    (records, damage)
}

fn shown(event: &Event<'_>) -> Vec<(String, String)> {
    event.fields.iter().map(|(name, value)| (name.to_string(), value.to_text().into_owned())).collect()
}

#[test]
fn two_readers_agree_on_every_public_file() -> Result<()> {
    let Some(corpus) = corpus("") else { return Ok(()) };
    let (mut files, mut events) = (0, 0);
    for entry in walkdir::WalkDir::new(&corpus).sort_by_file_name() {
        let path = entry?.into_path();
        if path.extension().is_none_or(|extension| extension != "evtx") {
            continue;
        }
        let bytes = fs::read(&path)?;
        let shown = || path.display().to_string();
        let (ours, damage) = our_reader(&bytes);
        let others = other_reader(&bytes).with_context(shown)?;
        ensure!(damage == 0 && ours.len() == others.len(), "{}: {damage} damages", shown());
        for ((number, fields), (other_number, other_fields)) in ours.iter().zip(&others) {
            ensure!(number == other_number, "{}: record {number} is {other_number}", shown());
            for (name, value) in other_fields {
                // Null and empty are one here, and blanks of a name are taken away.
                let text =
                    value.as_str().map_or_else(|| value.to_string().replace("null", ""), str::to_owned);
                let expected = (name.replace(' ', ""), text);
                ensure!(
                    fields.contains(&expected),
                    "{}: record {number}: {expected:?} in {fields:?}",
                    shown()
                );
            }
        }
        files += 1;
        events += ours.len();
    }
    println!("{files} files, {events} events");
    ensure!(files > 100 && events > 1000, "too little to compare: {files} files, {events} events");
    Ok(())
}

/// An event as Windows writes it: a template, whose values are filled in.
fn template(chunk: &mut Chunk, values: &[(u8, Vec<u8>)]) {
    let data = chunk.fragment(|chunk| {
        chunk.element("EventData", None, &[], |chunk| {
            chunk.element("Data", None, &[("Name", "Target Name")], |chunk| chunk.text("C:\\a"));
        });
    });
    let mut all = vec![
        (0x06, 11_u16.to_le_bytes().to_vec()),
        (0x11, 134_246_185_071_204_321_u64.to_le_bytes().to_vec()),
    ];
    all.push((0x21, data));
    all.extend_from_slice(values);
    chunk.template(&all, |chunk| {
        chunk.element("Event", None, &[("xmlns", "x")], |chunk| {
            chunk.element("System", None, &[], |chunk| {
                chunk.element("Provider", None, &[("Name", "Microsoft-Windows-Sysmon")], |_| {});
                chunk.element("EventID", None, &[], |chunk| chunk.value(0));
                chunk.element("TimeCreated", None, &[("SystemTime", "%1")], |_| {});
                chunk.element("Channel", None, &[], |chunk| {
                    chunk.text("Microsoft-Windows-Sysmon/Operational");
                });
                for number in 3..all.len() as u16 {
                    chunk.element(&format!("V{number}"), Some(number), &[], |chunk| chunk.value(number));
                }
            });
            chunk.value(2);
        });
    });
}

#[test]
fn reads_a_template_and_values_of_every_type() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let sid = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
    let time: Vec<u8> =
        [2026_u16, 5, 6, 30, 12, 41, 47, 120].into_iter().flat_map(u16::to_le_bytes).collect();
    let cases: Vec<(u8, Vec<u8>, &[&str])> = vec![
        (0x01, utf16("Nguye\u{302}\u{303}n"), &["Nguy\u{1ec5}n"]),
        (0x02, b"caf\xe9\0".to_vec(), &["café"]),
        (0x03, vec![0xff], &["-1"]),
        (0x04, vec![0xff], &["255"]),
        (0x05, vec![0xfe, 0xff], &["-2"]),
        (0x07, vec![0xfd, 0xff, 0xff, 0xff], &["-3"]),
        (0x08, vec![1, 0, 0, 0x80], &["2147483649"]),
        (0x09, i64::MIN.to_le_bytes().to_vec(), &["-9223372036854775808"]),
        (0x0a, u64::MAX.to_le_bytes().to_vec(), &["18446744073709551615"]),
        (0x0b, 0.5_f32.to_le_bytes().to_vec(), &["0.5"]),
        (0x0c, (-2.25_f64).to_le_bytes().to_vec(), &["-2.25"]),
        (0x0d, vec![1, 0, 0, 0], &["true"]),
        (0x0d, vec![8, 0, 0, 0], &["8"]),
        (0x0e, vec![0, 0xab, 0x1c], &["00AB1C"]),
        (0x0f, (0..16).collect(), &["{03020100-0504-0706-0809-0a0b0c0d0e0f}"]),
        (0x10, vec![0x1f, 0, 0, 0], &["0x1f"]),
        (0x12, time, &["2026-05-30T12:41:47.1200000Z"]),
        (0x13, sid.to_vec(), &["S-1-5-32-544"]),
        (0x14, vec![0, 0, 0, 0], &["0x0"]),
        (0x15, vec![0, 0, 0, 0, 0, 0, 0, 0x80], &["0x8000000000000000"]),
        (0x81, utf16("a\0bc\0"), &["a", "bc"]),
        (0x86, vec![1, 0, 2, 1], &["1", "258"]),
        (0x01, vec![], &[""]),
        (0x00, vec![], &[]), // it depends on a value that is not there
        (0x07, vec![1], &[]),
    ];
    let values: Vec<(u8, Vec<u8>)> = cases.iter().map(|(kind, bytes, _)| (*kind, bytes.clone())).collect();
    let bytes = file(&[Chunk::new(|chunk| chunk.record(7, |chunk| template(chunk, &values)))]);
    let mut block = EvtxBlock::default();
    block.read(&bytes[EVTX_HEADER_BYTES..]);
    assert_eq!(block.damage().count, 0, "{:?}", block.damage());
    let events: Vec<_> = block.events(0).collect();
    let [(7, event)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event.ts, event.ts_quality), (1_780_144_907_120_432, TsQuality::Event));
    assert_eq!((event.log_source.category, event.log_source.service), ("file_event", "sysmon"));
    assert_eq!(event.values("EventID").collect::<Vec<_>>(), [&Value::Int(11)]);
    assert_eq!(event.text("Provider_Name"), Some("Microsoft-Windows-Sysmon"));
    assert_eq!((event.text("TargetName"), event.text("Target_Name")), (Some("C:\\a"), Some("C:\\a")));
    for (number, (kind, _, expected)) in (3..).zip(&cases) {
        let name = format!("V{number}");
        let found: Vec<_> =
            event.values(&name).filter(|value| **value != Value::Null).map(Value::to_text).collect();
        assert_eq!(&found, expected, "type {kind:#x}");
    }
    assert!(event.message.contains("\nC:\\a\n"), "{}", event.message);
    assert_eq!(event.values("V26").count(), 0);
}

/// A file with one event: the security log was cleared.
pub(crate) fn cleared_log(time: &str) -> Vec<u8> {
    file(&[Chunk::new(|chunk| chunk.record(1, |chunk| cleared(chunk, "an", time)))])
}

/// An event without a template.
fn plain(chunk: &mut Chunk, user: &str) {
    cleared(chunk, user, "");
}

fn cleared(chunk: &mut Chunk, user: &str, time: &str) {
    chunk.element("Event", None, &[], |chunk| {
        chunk.element("System", None, &[], |chunk| {
            chunk.element("EventID", None, &[], |chunk| chunk.text("1102"));
            chunk.element("Channel", None, &[], |chunk| chunk.text("Security"));
            chunk.element("TimeCreated", None, &[("SystemTime", time)], |_| {});
        });
        chunk.element("UserData", None, &[], |chunk| {
            chunk.element("LogFileCleared", None, &[("xmlns", "y")], |chunk| {
                chunk.element("SubjectUserName", None, &[("Kind", "k")], |chunk| chunk.text(user));
                chunk.element("Outer", None, &[], |chunk| {
                    chunk.element("Inner", None, &[], |chunk| {
                        chunk.text("a ");
                        chunk.entity("amp");
                        chunk.text(" b");
                    });
                });
                chunk.element("Nothing", None, &[], |_| {});
            });
        });
    });
}

#[test]
fn reads_the_providers_own_data_without_its_element() {
    let bytes = file(&[Chunk::new(|chunk| chunk.record(1, |chunk| plain(chunk, "an")))]);
    let (records, damage) = our_reader(&bytes);
    let expected = [
        ("EventID", "1102"),
        ("Channel", "Security"),
        ("TimeCreated_SystemTime", ""),
        ("SubjectUserName_Kind", "k"),
        ("SubjectUserName", "an"),
        ("Outer.Inner", "a & b"),
        ("Nothing", ""),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    assert_eq!((records, damage), (vec![(1, expected)], 0));
}

#[test]
fn goes_on_behind_what_is_broken() {
    let whole =
        || Chunk::new(|chunk| (1..=3).for_each(|number| chunk.record(number, |chunk| plain(chunk, "an"))));
    let numbers = |bytes: &[u8]| {
        let (records, damage) = our_reader(bytes);
        (records.into_iter().map(|(number, _)| number).collect::<Vec<_>>(), damage)
    };
    let bytes = file(&[whole(), whole()]);
    assert_eq!(numbers(&bytes), (vec![1, 2, 3, 1, 2, 3], 0));
    let marks: Vec<usize> = (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(b"**\0\0")).collect();
    let mut no_mark = bytes.clone();
    no_mark[marks[1]] = 0xff;
    assert_eq!(numbers(&no_mark), (vec![1, 3, 1, 2, 3], 1));
    let mut no_chunk = bytes.clone();
    no_chunk[EVTX_HEADER_BYTES] = 0xff;
    assert_eq!(numbers(&no_chunk), (vec![1, 2, 3], 1));
    // The chunk that the file's end cuts, and the record.
    assert_eq!(numbers(&bytes[..marks[4] + 30]), (vec![1, 2, 3, 1], 2));
    let mut unknown_token = bytes;
    unknown_token[marks[0] + 24 + 4] = 0x3f;
    assert_eq!(numbers(&unknown_token), (vec![2, 3, 1, 2, 3], 1));
}

#[test]
fn a_template_that_fills_itself_comes_to_an_end() {
    let chunk = Chunk::new(|chunk| {
        chunk.record(1, |chunk| chunk.template_of_itself(100));
        chunk.record(2, |chunk| plain(chunk, "an"));
    });
    let (records, damage) = our_reader(&file(&[chunk]));
    assert_eq!((records.len(), damage), (1, 1));
}

proptest! {
    #[test]
    fn no_byte_can_break_the_reader(flips in prop::collection::vec((0_usize..3000, any::<u8>()), 1..8), length in 512_usize..5000) {
        let values = [(0x81, vec![b'a', 0, 0, 0, b'b', 0]), (0x0f, vec![1; 16])];
        let chunk = Chunk::new(|chunk| {
            chunk.record(1, |chunk| template(chunk, &values));
            chunk.record(2, |chunk| plain(chunk, "an"));
        });
        let mut bytes = file(&[chunk]);
        for (at, byte) in flips {
            bytes[EVTX_HEADER_BYTES + at] = byte;
        }
        our_reader(&bytes);
        our_reader(&bytes[..EVTX_HEADER_BYTES + length]);
    }
}

/// Rules and evidence of a small case.
struct Small {
    folder: tempfile::TempDir,
}

pub(crate) const RULES: &str = "\
title: Cleared log
id: cleared
level: high
logsource: {product: windows, service: security}
detection: {s: {EventID: 1102}, condition: s}
tags: [attack.defense-evasion, attack.t1070.001]
---
title: Failed login
id: failed
name: failed
level: low
logsource: {product: linux, service: sshd}
detection: {s: {action: login, outcome: failure}, condition: s}
tags: [attack.t1110]
---
title: Many failed logins
id: many
level: medium
correlation: {type: event_count, rules: [failed], group-by: [src_ip], timespan: 1m, condition: {gte: 3}}
tags: [attack.t1110]
";

impl Small {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("evidence/deep"))?;
        fs::write(at("rules.yml"), RULES)?;
        let user = "an\u{1b}[2J\nforged";
        let log = file(&[Chunk::new(|chunk| chunk.record(41, |chunk| plain(chunk, user)))]);
        fs::write(at("evidence/Security.evtx"), &log)?;
        fs::write(at("evidence/deep/again.bin"), zstd::bulk::compress(&log, 1)?)?;
        let line = |second: u32| {
            format!(
                "2026-11-23T09:31:{second:02}+07:00 web01 sshd[7]: Failed password for root from 192.0.2.7 port 22 ssh2\n"
            )
        };
        let text: String = (0..3).map(line).chain(["no parser takes this\n".to_owned()]).collect();
        fs::write(at("evidence/auth.log"), &text)?;
        let event = json!({"Channel": "Security", "EventID": 1102, "Computer": "PC07", "EventTime": "2026-11-23T02:15:09Z"});
        fs::write(at("evidence/deep/export.json"), format!("{event}\n"))?;
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn scan(&self, arguments: &[&str]) -> Result<Output> {
        let rules = self.path("rules.yml").display().to_string();
        scan(&[&["--rules", &rules, "--utc"], arguments].concat(), &[&self.path("evidence")])
    }
}

#[test]
fn a_folder_of_evidence_is_read_whatever_is_in_it() -> Result<()> {
    let small = Small::new()?;
    let output = small.scan(&[])?;
    let said = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(0), "{said}");
    let rows: Vec<&str> = said.lines().collect();
    assert_eq!(rows.len(), 1 + 3 + 1 + 1, "{said}"); // headings, cleared, many, summary
    assert!(
        said.contains("Cleared log") && said.contains("Many failed logins") && said.contains("3 events"),
        "{said}"
    );
    assert!(!said.contains("Failed login "), "material of a correlation is no finding: {said}");
    assert!(
        rows[5].starts_with("4 files (") && rows[5].contains("7 events: 4 findings of 2 of 3 rules"),
        "{said}"
    );
    assert!(rows[5].ends_with("; 1 line that no parser takes"), "{said}");
    assert!(said.contains("deep/export.json:1") && said.contains("Security.evtx:41"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");

    let output = small.scan(&["--timeline", "--format", "json"])?;
    let stages: Vec<Json> =
        String::from_utf8(output.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let of = |host: &str| stages.iter().filter(|stage| stage["host"] == host).collect::<Vec<_>>();
    assert_eq!((of("web01").len(), of("pc07").len(), stages.len()), (1, 1, 3), "{stages:?}");
    assert_eq!(
        (&of("web01")[0]["technique"], &of("web01")[0]["severity"]),
        (&json!("T1110"), &json!("medium"))
    );
    assert_eq!(of("pc07")[0]["rules"], json!(["Cleared log"]));

    let output = small.scan(&["--severity", "high", "--format", "csv"])?;
    let said = String::from_utf8(output.stdout)?;
    assert!(
        said.starts_with("\"ts\",\"severity\",\"host\",\"rule_id\",") && said.lines().count() == 4,
        "{said}"
    );
    assert_eq!(
        String::from_utf8(small.scan(&["--threads", "1"])?.stdout)?,
        String::from_utf8(small.scan(&[])?.stdout)?
    );
    Ok(())
}

/// A compressed log is read as a whole, a plain one as far as its chunks say that they go.
#[test]
fn a_log_says_the_same_compressed() -> Result<()> {
    let small = Small::new()?;
    let records =
        |chunk: &mut Chunk| (1..40).for_each(|number| chunk.record(number, |chunk| plain(chunk, "an")));
    let log = file(&[Chunk::new(records), Chunk::new(records), Chunk::new(|_| {})]);
    let end_at = EVTX_HEADER_BYTES + 48;
    let end = u32::from_le_bytes(log[end_at..end_at + 4].try_into()?);
    ensure!(end > 8192, "a chunk goes beyond its head: {end}");
    let with_end = |end: u32| {
        let mut changed = log.clone();
        changed[end_at..end_at + 4].copy_from_slice(&end.to_le_bytes());
        changed
    };
    let cut = |bytes: usize| log[..bytes].to_vec();
    let mut unmarked = log.clone();
    unmarked[EVTX_HEADER_BYTES] = 0;
    let second = EVTX_HEADER_BYTES + EVTX_CHUNK_BYTES;
    let variants = [
        log.clone(),
        // The last record reaches beyond it; most do; none is there; the chunk is full, and fuller than full.
        with_end(end - 10),
        with_end(end - 20),
        with_end(5000),
        with_end(513),
        with_end(0),
        with_end(u32::try_from(EVTX_CHUNK_BYTES)?),
        with_end(u32::MAX),
        // Within what nobody wrote, within the records, within the head.
        cut(second + EVTX_CHUNK_BYTES - 100),
        cut(second + 6000),
        cut(second + 1000),
        cut(second),
        unmarked,
    ];
    let (rules, path) = (small.path("rules.yml").display().to_string(), small.path("log"));
    let said = |bytes: &[u8]| -> Result<_> {
        fs::write(&path, bytes)?;
        let (code, rows, said) = findings(&["--rules", &rules], &[&path])?;
        let positions: Vec<Json> = rows.into_iter().map(|mut row| row["position"].take()).collect();
        // But for how large the file is.
        let said: Vec<String> =
            said.lines().filter(|line| !line.contains("1 file (")).map(str::to_owned).collect();
        Ok((code, positions, said))
    };
    for (number, log) in variants.iter().enumerate() {
        let plain = said(log)?;
        assert_eq!(plain, said(&zstd::bulk::compress(log, 1)?)?, "variant {number}");
        assert!(!plain.1.is_empty(), "variant {number}: {:?}", plain.2);
    }
    Ok(())
}

/// The end that a chunk states hides nothing that was written after it, and brings nothing back that was there before.
#[test]
fn what_stands_behind_the_end_of_a_chunk_is_read_when_it_goes_on() -> Result<()> {
    let small = Small::new()?;
    let with_end = |numbers: &[u64], stated: Option<usize>| -> Result<_> {
        let add = |chunk: &mut Chunk| {
            numbers.iter().for_each(|number| chunk.record(*number, |chunk| plain(chunk, "an")));
        };
        let mut log = file(&[Chunk::new(add)]);
        let mut end = 512;
        for _ in 0..stated.unwrap_or(numbers.len()) {
            let size = EVTX_HEADER_BYTES + end + 4;
            end += usize::try_from(u32::from_le_bytes(log[size..size + 4].try_into()?))?;
        }
        log[EVTX_HEADER_BYTES + 48..EVTX_HEADER_BYTES + 52]
            .copy_from_slice(&u32::try_from(end)?.to_le_bytes());
        let (rules, path) = (small.path("rules.yml").display().to_string(), small.path("log"));
        let read = |bytes: &[u8]| -> Result<_> {
            fs::write(&path, bytes)?;
            let (_, rows, said) = findings(&["--rules", &rules], &[&path])?;
            Ok((rows.len(), said.contains("head says that it has none")))
        };
        let plain = read(&log)?;
        ensure!(plain == read(&zstd::bulk::compress(&log, 1)?)?, "{stated:?}: compressed it says the same");
        Ok(plain)
    };
    let goes_on: Vec<u64> = (1..40).collect();
    let older: Vec<u64> = (101..120).chain(7..30).collect();
    let (all, _) = with_end(&goes_on, None)?;
    assert!(all >= 39, "{all}");
    for stated in 1..39 {
        assert_eq!(with_end(&goes_on, Some(stated))?, (all, false), "{stated}");
    }
    assert_eq!(with_end(&goes_on, Some(0))?, (0, true));
    assert_eq!(with_end(&older, Some(19))?.0, with_end(&older[..19], None)?.0);
    Ok(())
}

#[test]
fn scripts_can_trust_the_exit_code() -> Result<()> {
    let small = Small::new()?;
    let code = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let output = small.scan(arguments)?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    };
    assert_eq!(code(&["--exit-code"])?.0, Some(0));
    assert_eq!(code(&["--severity", "critical"])?.0, Some(0));
    assert_eq!(code(&["--severity", "critical", "--exit-code"])?.0, Some(1));
    assert_eq!(code(&["--severity", "CRITICAL", "--exit-code"])?.0, Some(1));
    assert_eq!(code(&["--utc-offset", "+25:00"])?.0, Some(2));
    assert_eq!(code(&["/nowhere/evidence"])?.0, Some(2));
    assert_eq!(code(&["--rules", "/nowhere/rules"])?.0, Some(2));
    let no_rules = scan(&["--config", "/nowhere/vonggac.toml"], &[&small.path("evidence")])?;
    assert_eq!(no_rules.status.code(), Some(2));

    // A corrupt chunk, a compressed file that is cut, a rule that does not load: named, and the rest is read.
    let mut log = fs::read(small.path("evidence/Security.evtx"))?;
    log[EVTX_HEADER_BYTES] = 0;
    fs::write(small.path("evidence/corrupt.evtx"), &log)?;
    let (exit, said) = code(&[])?;
    assert!(exit == Some(3) && said.contains("corrupt.evtx: a chunk or record cannot be read: "), "{said}");
    // Who asks whether something matches is told so, though not everything could be read.
    assert_eq!(code(&["--exit-code"])?.0, Some(0));
    assert_eq!(code(&["--severity", "critical", "--exit-code"])?.0, Some(3));
    fs::remove_file(small.path("evidence/corrupt.evtx"))?;
    let whole = fs::read(small.path("evidence/deep/again.bin"))?;
    fs::write(small.path("evidence/deep/again.bin"), &whole[..whole.len() - 20])?;
    let (exit, said) = code(&[])?;
    assert!(exit == Some(3) && said.contains("again.bin: "), "{said}");
    fs::write(small.path("evidence/deep/again.bin"), &whole)?;
    assert_eq!(code(&[])?.0, Some(0));
    fs::write(
        small.path("rules.yml"),
        format!("{RULES}---\ntitle: broken\nlogsource: {{product: x}}\ndetection: {{condition: t}}\n"),
    )?;
    let (exit, said) = code(&[])?;
    assert!(exit == Some(3) && said.contains("rules.yml:"), "{said}");
    // The reason is said, also when no rule is left.
    fs::write(
        small.path("broken.yml"),
        "title: broken\nlogsource: {product: x}\ndetection: {condition: t}\n",
    )?;
    let broken = small.path("broken.yml").display().to_string();
    let output = scan(&["--rules", &broken], &[&small.path("evidence")])?;
    let said = String::from_utf8(output.stderr)?;
    assert!(output.status.code() == Some(2) && said.contains("broken.yml:3: "), "{said}");
    assert!(said.contains("no rule loads"), "{said}");
    Ok(())
}
