//! Keeps the documents, the rules and the dashboards true to the code. Plain reading of files, no build.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::site::root;

/// The files of the project that end so; nothing of `target` and of hidden folders but .ci.
fn files(ending: &str) -> Vec<PathBuf> {
    let skipped = |name: &str| name == "target" || (name.starts_with('.') && name != ".ci");
    let mut found: Vec<PathBuf> = walkdir::WalkDir::new(root())
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !entry.file_name().to_str().is_some_and(skipped))
        .map(|entry| entry.expect("a readable tree").into_path())
        .filter(|path| path.is_file() && path.to_string_lossy().ends_with(ending))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no file ends with {ending}");
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn present(path: &Path) -> bool {
    path.try_exists().unwrap_or(false)
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").display().to_string()
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn every_source_file_says_why_it_exists() {
    let silent: Vec<String> = files(".rs")
        .iter()
        .filter(|path| !read(path).lines().take(5).any(|line| line.starts_with("//!")))
        .map(|path| shown(path))
        .collect();
    assert_none("files without //! at their top", &silent);
}

#[test]
fn nothing_is_left_unfinished() {
    let marks =
        Regex::new(&["dbg", "todo", "unimplemented"].map(|name| format!(r"\b{name}!\(")).join("|")).unwrap();
    let words = Regex::new(
        &[["FIX", "ME"], ["TO", "DO"], ["HA", "CK"]].map(|word| format!(r"\b{}\b", word.concat())).join("|"),
    )
    .unwrap();
    let mut found = Vec::new();
    for path in files(".rs") {
        for (number, line) in (1..).zip(read(&path).lines()) {
            if marks.is_match(line) || words.is_match(line) {
                found.push(format!("{}:{number}: {}", shown(&path), line.trim()));
            }
        }
    }
    assert_none("left unfinished", &found);
}

#[test]
fn paths_in_documents_exist() {
    let path_like = Regex::new(
        r"`((?:\.ci|agent|collector|dashboards|deploy|detect|event|rules|tests)/[A-Za-z0-9_./-]*)`",
    )
    .unwrap();
    let mut dead = Vec::new();
    for document in files(".md") {
        let text = read(&document);
        for captures in path_like.captures_iter(&text) {
            if !present(&root().join(&captures[1])) {
                dead.push(format!("{}: {}", shown(&document), &captures[1]));
            }
        }
    }
    assert_none("paths named in documents that do not exist", &dead);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)#:]+)(?:#[^)]*)?\)").unwrap();
    let mut dead = Vec::new();
    for document in files(".md") {
        let folder = document.parent().expect("a folder");
        for captures in link.captures_iter(&read(&document)) {
            if !present(&folder.join(&captures[1])) {
                dead.push(format!("{}: {}", shown(&document), &captures[1]));
            }
        }
    }
    assert_none("links that lead nowhere", &dead);
}

#[test]
fn every_dependency_says_why_it_is_carried() {
    let manifest = read(&root().join("Cargo.toml"));
    let section = manifest.split("[workspace.dependencies]").nth(1).expect("the table of dependencies");
    let section = section.split("\n[").next().expect("its lines");
    let silent: Vec<String> = section
        .lines()
        .filter(|line| line.contains(" = ") && !line.contains("path = ") && !line.contains("# "))
        .filter(|line| !["thiserror", "tracing-subscriber"].iter().any(|name| line.starts_with(name)))
        .map(str::to_owned)
        .collect();
    assert_none("dependencies without a comment", &silent);
}

#[test]
fn every_declared_dependency_is_used() {
    let manifest: toml::Table = read(&root().join("Cargo.toml")).parse().unwrap();
    let declared = manifest["workspace"]["dependencies"].as_table().expect("a table");
    let mut used = BTreeSet::new();
    for member in ["agent", "collector", "detect", "event", "tests"] {
        let member: toml::Table = read(&root().join(member).join("Cargo.toml")).parse().unwrap();
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            used.extend(
                member
                    .get(table)
                    .and_then(|table| table.as_table())
                    .into_iter()
                    .flat_map(|table| table.keys().cloned()),
            );
        }
    }
    let idle: Vec<String> = declared.keys().filter(|name| !used.contains(*name)).cloned().collect();
    assert_none("dependencies that no crate uses", &idle);
}

#[test]
fn used_dependencies_appear_in_the_code_of_their_crate() {
    let mut idle = Vec::new();
    for member in ["agent", "collector", "detect", "event"] {
        let manifest: toml::Table = read(&root().join(member).join("Cargo.toml")).parse().unwrap();
        let code: String = files(".rs")
            .iter()
            .filter(|path| path.starts_with(root().join(member)))
            .map(|path| read(path))
            .collect();
        let tables = ["dependencies", "dev-dependencies"];
        for name in
            tables.iter().filter_map(|table| manifest.get(*table)?.as_table()).flat_map(|table| table.keys())
        {
            let path = Regex::new(&format!(r"\b{}::|\b{0}!", name.replace('-', "_"))).unwrap();
            if !path.is_match(&code) {
                idle.push(format!("{member}: {name}"));
            }
        }
    }
    assert_none("dependencies that the crate's code never names", &idle);
}

#[test]
fn metrics_that_dashboards_name_exist() {
    let name = Regex::new(r"\bvonggac_[a-z0-9_]+").unwrap();
    let code: String = files(".rs").iter().map(|path| read(path)).collect();
    let known: BTreeSet<&str> = name.find_iter(&code).map(|found| found.as_str()).collect();
    let mut unknown = BTreeSet::new();
    for path in walkdir::WalkDir::new(root().join("dashboards"))
        .into_iter()
        .map(|entry| entry.expect("a readable tree").into_path())
    {
        if path.is_file() {
            let text = read(&path);
            let missing = name.find_iter(&text).map(|found| found.as_str().to_owned());
            let base = |metric: &String| {
                ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|end| metric.strip_suffix(end).is_some_and(|base| known.contains(base)))
            };
            unknown.extend(
                missing
                    .filter(|metric| !known.contains(metric.as_str()) && !base(metric))
                    .map(|metric| format!("{}: {metric}", shown(&path))),
            );
        }
    }
    assert_none("metrics that no code declares", &unknown.into_iter().collect::<Vec<_>>());
}

#[test]
fn every_rule_of_ours_has_a_hit_and_a_miss() {
    let mut bare = Vec::new();
    for rule in files(".yml").iter().filter(|path| path.starts_with(root().join("rules/sigma"))) {
        for sample in ["hit", "miss"] {
            if !rule.with_extension(sample).is_file() {
                bare.push(format!("{}: no .{sample}", shown(rule)));
            }
        }
    }
    assert_none("rules without samples", &bare);
}
