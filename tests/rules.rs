//! Rules: our own against their samples, SigmaHQ's against the specification, and our evaluator against another one.
//!
//! Nothing of the corpus is in the repository but the names of the files that do not load.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use detect::{Engine, Problem, Reason, Scratch};
use event::{Event, LogSource, ParseStatus, TsQuality, Value};
use rsigma_eval::event::JsonEvent;
use serde_json::{Map, Value as Json};

use crate::corpus::corpus;
use crate::public_rules::{IN_USE, LANES, lane, other_engine, other_source, rule_files};
use crate::site::{program, root};

/// The folders of SigmaHQ's rules.
const FOLDERS: [&str; 8] = [
    "rules",
    "rules-compliance",
    "rules-dfir",
    "rules-emerging-threats",
    "rules-placeholder",
    "rules-threat-hunting",
    "unsupported",
    "deprecated",
];

/// Files that do not load, with the specification's sentences.
const NOT_LOADED: &str = include_str!("data/rules/not_loaded.txt");

/// Every so many-th event of a lane is compared: a lane repeats its kinds of events.
const LANE_STEP: usize = 40;

#[test]
fn our_rules_pass_their_samples() -> Result<()> {
    let output =
        Command::new(program("vonggac")).args(["rules", "test"]).arg(root().join("rules/sigma")).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(said.contains(" 0 failures"), "{said}");
    Ok(())
}

#[test]
fn the_tool_tells_scripts_what_does_not_load() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(
        folder.path().join("bad.yml"),
        "title: t\nid: i\nlogsource: {product: linux}\ndetection:\n  s: {f: x}\n  condition: t\n",
    )?;
    let run = |format: &str| {
        Command::new(program("vonggac"))
            .args(["rules", "check", "--format", format])
            .arg(folder.path())
            .output()
    };
    let (text, json) = (run("text")?, run("json")?);
    assert_eq!((text.status.code(), json.status.code()), (Some(1), Some(1)));
    assert!(String::from_utf8(text.stdout)?.contains("bad.yml:6: i: the condition names `t`"));
    let json: Json = serde_json::from_slice(&json.stdout)?;
    assert_eq!((&json["not_loaded"], &json["problems"][0]["line"]), (&Json::from(1), &Json::from(6)));
    let missing = Command::new(program("vonggac")).args(["rules", "check", "/nowhere/rules"]).output()?;
    assert_eq!(missing.status.code(), Some(2));
    Ok(())
}

#[test]
fn every_public_rule_loads_or_the_specification_says_why_not() -> Result<()> {
    let Some(corpus) = corpus("") else { return Ok(()) };
    let files = rule_files(&corpus.join("sigmahq"), &FOLDERS)?;
    let (engine, problems) = detect::compile(&files);
    let found: BTreeSet<(String, String)> =
        problems.iter().map(|problem| (kind(problem).to_owned(), problem.path.clone())).collect();
    let expected = expected();
    let missing: Vec<_> = expected.difference(&found).collect();
    let new: Vec<_> = problems
        .iter()
        .filter(|problem| !expected.contains(&(kind(problem).to_owned(), problem.path.clone())))
        .collect();
    ensure!(
        missing.is_empty() && new.is_empty(),
        "load, but are listed: {missing:#?}\ndo not load: {new:#?}"
    );
    ensure!(problems.iter().all(|problem| problem.line.is_some()), "a problem without its line");
    println!("{} files: {} rules load, {} do not", files.len(), engine.rules().len(), problems.len());
    Ok(())
}

/// (kind, file) of the list.
fn expected() -> BTreeSet<(String, String)> {
    let mut kind = "";
    let mut expected = BTreeSet::new();
    for line in NOT_LOADED.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        match line.strip_prefix("## ").and_then(|line| line.split_once(':')) {
            Some((name, _)) => kind = name,
            None => drop(expected.insert((kind.to_owned(), line.to_owned()))),
        }
    }
    expected
}

fn kind(problem: &Problem) -> &'static str {
    match &problem.reason {
        Reason::Placeholder { .. } => "placeholder",
        Reason::Aggregation => "aggregation",
        Reason::Timeframe => "timeframe",
        Reason::Parser(_) => "grammar",
        Reason::Duplicate { .. } => "duplicate",
        _ => "other",
    }
}

/// One event for both evaluators.
struct Case {
    name: String,
    category: String,
    product: String,
    service: String,
    fields: Map<String, Json>,
}

#[test]
fn evaluates_as_another_evaluator_does() -> Result<()> {
    let Some(corpus) = corpus("") else { return Ok(()) };
    let files = rule_files(&corpus.join("sigmahq"), &IN_USE)?;
    let (ours, _) = detect::compile(&files);
    let theirs = other_engine(&files)?;
    let (mut scratch, mut differing, mut matches) = (Scratch::default(), BTreeMap::new(), 0);
    let cases = lanes(&corpus)?.into_iter().chain(recordings(&corpus)?);
    let mut count = 0;
    for case in cases {
        count += 1;
        let own = evaluate(&ours, &mut scratch, &case);
        let other = evaluate_other(&theirs, &case);
        matches += own.len();
        for id in own.symmetric_difference(&other) {
            let side = if own.contains(id) { "only ours" } else { "only theirs" };
            differing.entry((id.clone(), side)).or_insert_with(|| case.name.clone());
        }
    }
    println!("{count} events, {} rules, {matches} matches", ours.rules().len());
    ensure!(count > 1000 && matches > 500, "{count} events and {matches} matches compare nothing");
    ensure!(differing.is_empty(), "{differing:#?}");
    Ok(())
}

fn evaluate(engine: &Engine, scratch: &mut Scratch, case: &Case) -> BTreeSet<String> {
    let fields =
        case.fields.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), value_of(value))).collect();
    let event = Event {
        ts: 0,
        ts_quality: TsQuality::Event,
        record: 0,
        records: 1,
        log_source: LogSource { category: &case.category, product: &case.product, service: &case.service },
        status: ParseStatus::Parsed,
        message: Cow::Borrowed(""),
        fields_hold_text: false,
        fields,
    };
    engine.evaluate(&event, scratch).into_iter().map(|found| found.rule.id.clone()).collect()
}

fn value_of(json: &Json) -> Value<'_> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(bool) => Value::Bool(*bool),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or(0.0)), Value::Int)
        }
        Json::String(text) => Value::Text(Cow::Borrowed(text)),
        other => Value::Text(Cow::Owned(other.to_string())),
    }
}

fn evaluate_other(engine: &rsigma_eval::Engine, case: &Case) -> BTreeSet<String> {
    let source = other_source(&case.category, &case.product, &case.service);
    let json = Json::Object(case.fields.clone());
    let found = engine.evaluate_with_logsource(&JsonEvent::borrow(&json), &source);
    found.into_iter().filter_map(|found| found.header.rule_id).collect()
}

/// Events of the lanes: flat objects that name their log source.
fn lanes(corpus: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for name in LANES {
        let text = lane(&corpus.join("lanes"), name)?;
        for (number, line) in text.lines().enumerate().step_by(LANE_STEP) {
            let mut fields: Map<String, Json> = serde_json::from_str(line)?;
            let mut part = |name: &str| match fields.remove(name) {
                Some(Json::String(text)) => text,
                _ => String::new(),
            };
            let (category, product, service) = (part("category"), part("product"), part("service"));
            cases.push(Case { name: format!("{name}:{}", number + 1), category, product, service, fields });
        }
    }
    Ok(cases)
}

/// SigmaHQ's recordings of Windows events: the folder says the log source, as it does for the rules.
fn recordings(corpus: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for entry in walkdir::WalkDir::new(corpus.join("sigmahq/regression_data")).sort_by_file_name() {
        let entry = entry?;
        if entry.path().extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = entry.path().display().to_string();
        let text = fs::read_to_string(entry.path())?;
        for json in serde_json::Deserializer::from_str(&text).into_iter::<Json>() {
            let json = json.with_context(|| name.clone())?;
            let events = json.as_array().cloned().unwrap_or_else(|| vec![json]);
            cases.extend(events.iter().flat_map(|event| {
                sources(&name).into_iter().map(|(category, service)| Case {
                    name: name.clone(),
                    category: category.to_owned(),
                    product: "windows".to_owned(),
                    service: service.to_owned(),
                    fields: flat(event),
                })
            }));
        }
    }
    Ok(cases)
}

/// Categories and services under which a recording is compared: all that the rules of its folder name.
fn sources(path: &str) -> Vec<(&'static str, &'static str)> {
    const SOURCES: [(&str, &str); 12] = [
        ("process_creation", ""),
        ("image_load", ""),
        ("file_event", ""),
        ("process_access", ""),
        ("registry_set", ""),
        ("registry_event", ""),
        ("registry_add", ""),
        ("network_connection", ""),
        ("ps_script", ""),
        ("", "security"),
        ("", "system"),
        ("", "windefend"),
    ];
    let named = SOURCES.iter().copied().find(|(category, service)| {
        [category, service].into_iter().any(|part| !part.is_empty() && path.contains(&format!("/{part}")))
    });
    match named {
        Some(source) => vec![source],
        None => SOURCES.to_vec(),
    }
}

/// `System` and `EventData` as flat fields, as Sigma's taxonomy has them.
fn flat(event: &Json) -> Map<String, Json> {
    let mut fields = Map::new();
    for part in ["System", "EventData", "UserData"] {
        let Some(object) = event.pointer(&format!("/Event/{part}")).and_then(Json::as_object) else {
            continue;
        };
        for (name, value) in object {
            match value {
                Json::Object(inner) => {
                    let attributes = inner.get("#attributes").and_then(Json::as_object);
                    fields.extend(
                        attributes
                            .into_iter()
                            .flatten()
                            .map(|(attribute, value)| (format!("{name}_{attribute}"), value.clone())),
                    );
                }
                plain => drop(fields.insert(name.clone(), plain.clone())),
            }
        }
    }
    fields
}
