//! Captures of attacks, and of what only looks like one: what `vonggac scan` finds in each with our rules.
//!
//! `tests/data/attacks.tsv` holds what is expected: the truth that comes with each capture, in our rules' words. A finding of
//! severity high or above that stands there not is a false one, and fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value as Json;
use walkdir::WalkDir;

use crate::corpus::corpus;
use crate::site::{program, root};

/// A line of the table.
struct Expected {
    severity: String,
    rule: String,
    /// What the finding must name; of a negative, why.
    names: String,
}

/// The lines of each capture.
fn expected() -> BTreeMap<String, Vec<Expected>> {
    let text = fs::read_to_string(root().join("tests/data/attacks.tsv")).unwrap();
    let mut captures = BTreeMap::<_, Vec<_>>::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [capture, severity, rule, names] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("attacks.tsv: four columns: {line}");
        };
        let [severity, rule, names] = [severity, rule, names].map(str::to_owned);
        captures.entry(capture.to_owned()).or_default().push(Expected { severity, rule, names });
    }
    captures
}

/// The findings in one capture; each is looked at alone, so that no correlation reaches from one to the next.
fn findings(capture: &Path) -> Result<Vec<Json>> {
    let mut command = Command::new(program("vonggac"));
    command.arg("scan").arg(capture).args(["--format", "json", "--rules"]).arg(root().join("rules/sigma"));
    command.env("VONGGAC_CONFIG", "/nowhere/vonggac.toml").stdin(Stdio::null());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", capture.display());
    String::from_utf8(output.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn is_loud(finding: &Json) -> bool {
    matches!(finding["severity"].as_str(), Some("high" | "critical"))
}

impl Expected {
    fn is(&self, finding: &Json) -> bool {
        let named = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or_else(|| panic!("name=value: {pair}"));
            finding["matched"][name] == value
        };
        finding["severity"] == *self.severity
            && finding["rule_title"] == *self.rule
            && self.names.split(' ').all(named)
    }

    /// What is wrong with the findings, if anything is.
    fn missing(&self, found: &[Json]) -> Option<String> {
        if self.severity == "negative" {
            let loud = found.iter().find(|finding| is_loud(finding) || finding["severity"] == "medium")?;
            return Some(format!("{}, and found: {loud}", self.names));
        }
        (!found.iter().any(|finding| self.is(finding))).then(|| format!("not found: {}", self.rule))
    }
}

#[test]
fn attacks_are_found_in_captures_and_nothing_else() -> Result<()> {
    let Some(folder) = corpus("pcap") else { return Ok(()) };
    let mut expected = expected();
    let mut wrong = Vec::new();
    for entry in WalkDir::new(&folder).into_iter().filter_entry(|entry| entry.file_name() != "arkime") {
        let entry = entry?;
        if !entry.file_type().is_file() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let lines = expected.remove(&name).with_context(|| format!("attacks.tsv says nothing of {name}"))?;
        let found = findings(entry.path())?;
        wrong.extend(lines.iter().filter_map(|line| Some(format!("{name}: {}", line.missing(&found)?))));
        let rules: BTreeSet<_> = lines.iter().map(|line| line.rule.as_str()).collect();
        let loud = found.iter().filter(|finding| is_loud(finding));
        let surplus =
            loud.filter(|finding| !rules.contains(finding["rule_title"].as_str().unwrap_or_default()));
        wrong.extend(surplus.map(|finding| format!("{name}: not expected: {finding}")));
    }
    wrong.extend(expected.into_keys().map(|name| format!("{name}: no such capture")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
