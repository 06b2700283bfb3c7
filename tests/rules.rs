//! Rules: our own against their samples, SigmaHQ's against the specification.
//!
//! Nothing of the corpus is in the repository but the names of the files that do not load.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use detect::{Problem, Reason};
use serde_json::Value as Json;

use crate::corpus::corpus;
use crate::public_rules::rule_files;
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

const MINIMAL: &str = "title: t\nid: i\nlogsource: {product: linux}\ndetection: {s: {f: x}, condition: s}\n";

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
    let check = |path: &Path| -> Result<(Option<i32>, String)> {
        let output = Command::new(program("vonggac")).args(["rules", "check"]).arg(path).output()?;
        Ok((output.status.code(), String::from_utf8(output.stdout)?))
    };
    assert_eq!(check(Path::new("/nowhere/rules"))?.0, Some(2));

    // A folder of no rules is likely not the one that was meant; a file is one whatever the case of its name.
    let (other, own) = (folder.path().join("other"), folder.path().join("own"));
    fs::create_dir(&other)?;
    fs::create_dir(&own)?;
    fs::write(other.join("README"), "none")?;
    let (code, said) = check(&other)?;
    assert!(code == Some(1) && said.contains("other: no rule file is there"), "{said}");
    fs::write(own.join("x.YML"), MINIMAL)?;
    let (code, said) = check(&own)?;
    assert!(
        code == Some(0) && said == "1 rule loaded (1 detection, 0 correlations), 0 not loaded\n",
        "{said}"
    );
    // What loads otherwise than it is written is told by whoever loads it.
    fs::write(own.join("y.yml"), MINIMAL.replace("id: i\n", "id: j\nlevel: urgent\n"))?;
    fs::write(folder.path().join("events.json"), "{}\n")?;
    let scan = Command::new(program("vonggac"))
        .args(["scan", "--rules"])
        .args([&own, &folder.path().join("events.json")])
        .output()?;
    let (doubt, said) = ("y.yml:1: j: invalid level", String::from_utf8_lossy(&scan.stderr).into_owned());
    assert!(scan.status.success() && said.contains("scan: loaded, but: ") && said.contains(doubt), "{said}");
    fs::remove_file(own.join("y.yml"))?;
    symlink("loop.yml", own.join("loop.yml"))?;
    let (code, said) = check(&own)?;
    assert!(code == Some(1) && said.contains("loop.yml: ") && !said.contains("IO error"), "{said}");
    Ok(())
}

#[test]
fn the_tool_explains_why_a_rule_matches_or_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (rule, events) = (folder.path().join("rule.yml"), folder.path().join("events.json"));
    fs::write(
        &rule,
        "title: Shell of a web server\nid: r\nlogsource: {product: linux, category: process_creation}\ndetection:\n  \
         child:\n    Image|endswith: [/sh, /bash]\n    ParentImage|contains: nginx\n  known:\n    CommandLine|re: ^logrotate\n  \
         condition: child and not known\n",
    )?;
    fs::write(
        &events,
        "{\"Image\":\"/bin/bash\",\"ParentImage\":\"/usr/sbin/nginx\"}\n{\"Image\":\"/bin/\u{1b}[2Jls\"}\n",
    )?;
    let explain = |arguments: &[&str]| {
        let mut command = Command::new(program("vonggac"));
        command.args(["rules", "explain"]).arg(&rule).arg(&events).args(arguments).output()
    };
    let source = ["--product", "linux", "--category", "process_creation"];
    let matching = explain(&source)?;
    assert_eq!(matching.status.code(), Some(0), "{}", String::from_utf8_lossy(&matching.stderr));
    assert_eq!(
        String::from_utf8(matching.stdout)?,
        "\
yes Shell of a web server
yes   log source: category process_creation, product linux; the event has category process_creation, product linux
yes   condition
yes     all of
yes       child
yes         all of
yes           any of: Image; the event has \"/bin/bash\"
no              ends with \"/sh\"
yes             ends with \"/bash\"
yes           ParentImage; the event has \"/usr/sbin/nginx\"
yes             contains \"nginx\"
yes       not
no          known
no            all of
no              CommandLine; the event has none
no                matches /^logrotate/
"
    );
    let other = explain(&[&source[..], &["--number", "2"]].concat())?;
    let said = String::from_utf8(other.stdout)?;
    assert_eq!(other.status.code(), Some(1));
    ensure!(
        said.starts_with("no  Shell") && said.contains("no            ParentImage; the event has none"),
        "{said}"
    );
    ensure!(!said.contains('\u{1b}'), "the event moves the cursor: {said}");
    let json: Json = serde_json::from_slice(&explain(&["--format", "json"])?.stdout)?;
    assert_eq!((&json["holds"], &json["parts"][0]["holds"]), (&Json::from(false), &Json::from(false)));
    assert_eq!(explain(&["--number", "9"])?.status.code(), Some(2));
    Ok(())
}

#[test]
fn the_tool_explains_what_scan_reads_and_rules_by_what_names_them() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("rules"))?;
    fs::write(at("rules/rules.yml"), EXPLAINED)?;
    fs::write(at("vonggac.toml"), "rules = [\"rules\"]\n")?;
    let event = "[\n  {\n    \"product\": \"x\",\n    \"Image\": \"/bin/sh\"\n  }\n]\n";
    fs::write(at("event.json"), event)?;
    fs::write(at("event.json.zst"), zstd::bulk::compress(event.as_bytes(), 1)?)?;
    fs::write(at("cut.json"), &event.as_bytes()[..20])?;
    fs::write(at("event.zip"), b"PK\x03\x04\x14\0")?;
    let explain = |rule: &str, event: &str| -> Result<(Option<i32>, String)> {
        let mut command = Command::new(program("vonggac"));
        command.args(["rules", "explain", rule]).arg(at(event)).args(["--product", "linux"]);
        let output = command.env("VONGGAC_CONFIG", at("vonggac.toml")).output()?;
        Ok((output.status.code(), String::from_utf8([output.stdout, output.stderr].concat())?))
    };
    for (rule, event, expected, words) in [
        ("Shell", "event.json", Some(0), "yes Shell"),
        ("a-1", "event.json.zst", Some(0), "yes Shell"),
        ("Shell", "cut.json", Some(1), "no parser takes the line"),
        ("a-", "event.json", Some(2), "several begin so: a-1, a-2"),
        ("Shells", "event.json", Some(2), "ask its rules: `Shell` (a-1)"),
        ("nowhere.yml", "event.json", Some(2), "nowhere.yml: there is no such rule file"),
        ("Shell", "event.zip", Some(2), "a zip archive"),
    ] {
        let (code, said) = explain(rule, event)?;
        ensure!(code == expected && said.contains(words), "{rule} {event}: {code:?} {said}");
    }
    Ok(())
}

const EXPLAINED: &str = "\
title: Shell
id: a-1
logsource: {product: linux}
detection: {s: {Image|endswith: /sh}, condition: s}
---
title: Shells
id: a-2
correlation: {type: event_count, rules: [a-1], group-by: [Image], timespan: 1m, condition: {gte: 3}}
";

#[test]
fn every_public_rule_loads_or_the_specification_says_why_not() -> Result<()> {
    let Some(corpus) = corpus("") else { return Ok(()) };
    let files = rule_files(&corpus.join("sigmahq"), &FOLDERS)?;
    let (engine, problems) = detect::compile(&files);
    let found: BTreeSet<(String, String)> =
        problems.iter().map(|problem| (kind(problem).to_owned(), problem.path.clone())).collect();
    let expected = listed(NOT_LOADED);
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

/// A list with reasons: lines under `## KIND: reason`, as (kind, line).
pub(crate) fn listed(list: &str) -> BTreeSet<(String, String)> {
    let mut kind = "";
    let mut listed = BTreeSet::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        match line.strip_prefix("## ").and_then(|line| line.split_once(':')) {
            Some((name, _)) => kind = name,
            None => drop(listed.insert((kind.to_owned(), line.to_owned()))),
        }
    }
    listed
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
