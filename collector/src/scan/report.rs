//! What a scan shows: a row for each finding, or for each host and technique.

use std::borrow::Cow;
use std::collections::BTreeMap;

use detect::Severity;
use event::Micros;
use serde::Serialize;

use super::evidence::Evidence;
use super::hunt::Finding;
use crate::people::{Clock, Listed, Tone, as_iso, as_map, grouped, shortened};

/// Characters of a value in the table: JSON and CSV have all of it.
const VALUE_CHARS_MAX: usize = 80;
/// Fields of a finding in the table.
const FIELDS_SHOWN: usize = 3;

/// A finding.
#[derive(Debug, Default, Serialize)]
pub(super) struct Row<'f> {
    #[serde(serialize_with = "as_iso")]
    ts: Micros,
    severity: &'static str,
    host: &'f str,
    rule_id: &'f str,
    rule_title: &'f str,
    tactics: &'f [String],
    techniques: &'f [String],
    file: Cow<'f, str>,
    /// Record number of an EVTX file, line number of a text.
    position: u64,
    count: u64,
    #[serde(serialize_with = "as_map")]
    matched: &'f [(String, String)],
}

/// What one host saw of one technique.
#[derive(Debug, Default, Serialize)]
pub(super) struct Stage {
    host: String,
    #[serde(serialize_with = "as_iso")]
    first: Micros,
    #[serde(serialize_with = "as_iso")]
    last: Micros,
    tactics: Vec<String>,
    technique: String,
    severity: &'static str,
    matches: u64,
    rules: Vec<String>,
}

impl<'f> Row<'f> {
    pub(super) fn of(finding: &'f Finding, evidence: &'f Evidence) -> Self {
        let rule = &finding.rule;
        let file = usize::try_from(finding.place.file).ok().and_then(|file| evidence.files.get(file));
        Self {
            ts: finding.ts,
            severity: rule.severity.as_str(),
            host: &finding.host,
            rule_id: &rule.id,
            rule_title: &rule.title,
            tactics: &rule.tactics,
            techniques: &rule.techniques,
            file: file.map(|file| file.path.to_string_lossy()).unwrap_or_default(),
            position: finding.place.position,
            count: finding.count,
            matched: &finding.matched,
        }
    }
}

impl Listed for Row<'_> {
    const HEADINGS: &'static [&'static str] =
        &["time ({zone})", "severity", "host", "rule", "techniques", "what", "where"];
    const PROSE: &'static [&'static str] = &["rule", "what", "where"];
    const SPARE: &'static [&'static str] = &["techniques", "where", "what"];

    fn cells(&self, clock: &Clock) -> Vec<String> {
        let mut what: Vec<String> = (self.matched.iter().take(FIELDS_SHOWN))
            .map(|(name, value)| format!("{name}={}", shortened(value, VALUE_CHARS_MAX)))
            .collect();
        if self.count > 1 {
            what.push(format!("{} events", grouped(self.count)));
        }
        vec![
            clock.shown_ms(self.ts),
            self.severity.to_owned(),
            dash(self.host),
            self.rule_title.to_owned(),
            dash(&self.techniques.join(" ")),
            what.join(", "),
            format!("{}:{}", self.file, self.position),
        ]
    }

    fn tone(&self, column: usize) -> Tone {
        if column == 1 { tone(self.severity) } else { Tone::Plain }
    }
}

impl Stage {
    /// Hosts in the order of their names, what each saw in the order of time.
    pub(super) fn all(findings: &[Finding]) -> Vec<Self> {
        let mut stages = BTreeMap::<(&str, &str), (Severity, Self)>::new();
        for finding in findings {
            let rule = &finding.rule;
            let unnamed = rule.techniques.is_empty().then_some("");
            for technique in rule.techniques.iter().map(String::as_str).chain(unnamed) {
                let (severity, stage) = stages.entry((&finding.host, technique)).or_insert_with(|| {
                    let (host, technique) = (finding.host.to_string(), technique.to_owned());
                    (rule.severity, Self { host, technique, first: finding.ts, ..Self::default() })
                });
                *severity = rule.severity.max(*severity);
                stage.severity = severity.as_str();
                stage.add(finding);
            }
        }
        let mut stages: Vec<Self> = stages.into_values().map(|(_, stage)| stage).collect();
        stages.sort_by(|a, b| (&a.host, a.first).cmp(&(&b.host, b.first)));
        stages
    }

    /// Findings come in the order of time.
    fn add(&mut self, finding: &Finding) {
        self.last = finding.ts;
        self.matches += 1;
        for tactic in &finding.rule.tactics {
            if !self.tactics.contains(tactic) {
                self.tactics.push(tactic.clone());
            }
        }
        if !self.rules.contains(&finding.rule.title) {
            self.rules.push(finding.rule.title.clone());
        }
    }
}

impl Listed for Stage {
    const HEADINGS: &'static [&'static str] =
        &["host", "first ({zone})", "last", "technique", "tactics", "severity", "matches", "rules"];
    const PROSE: &'static [&'static str] = &["tactics", "rules"];
    const SPARE: &'static [&'static str] = &["tactics", "last", "matches"];

    fn cells(&self, clock: &Clock) -> Vec<String> {
        vec![
            dash(&self.host),
            clock.shown_ms(self.first),
            clock.shown_ms(self.last),
            dash(&self.technique),
            dash(&self.tactics.join(" ")),
            self.severity.to_owned(),
            grouped(self.matches),
            self.rules.join("; "),
        ]
    }

    fn tone(&self, column: usize) -> Tone {
        if column == 5 { tone(self.severity) } else { Tone::Plain }
    }
}

fn tone(severity: &str) -> Tone {
    match severity {
        "critical" | "high" => Tone::Alarm,
        "medium" => Tone::Notice,
        _ => Tone::Plain,
    }
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
