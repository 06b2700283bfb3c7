//! The score on a page, and as JSON.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use crate::drill::recording::Recording;
use crate::drill::score::{Score, StepScore};
use crate::people::table::{self, Column, Terminal};
use crate::people::{Tone, counted, json_line, shown};

/// False alerts that a page lists; JSON has all.
const FALSE_SHOWN: usize = 20;

/// One line of JSON.
pub(crate) fn json(recording: &Recording, drill_id: &str, speed: u32, score: &Score) -> Result<String> {
    #[derive(Serialize)]
    struct Report<'a> {
        drill: &'a str,
        drill_id: &'a str,
        speed: u32,
        passed: bool,
        #[serde(flatten)]
        score: &'a Score,
    }
    let report = Report { drill: &recording.name, drill_id, speed, passed: score.passed(), score };
    Ok(json_line(&report)? + "\n")
}

/// A page for eyes.
pub(crate) fn text(recording: &Recording, drill_id: &str, score: &Score) -> String {
    let mut out = format!("{}: {}\n\n", shown(&recording.name), shown(&recording.description));
    let width = |text: fn(&StepScore) -> &str| {
        score.steps.iter().map(|step| shown(text(step)).chars().count()).max().unwrap_or_default()
    };
    let (host, technique, id) =
        (width(|step| &step.host), width(|step| &step.technique), width(|step| &step.id));
    for step in &score.steps {
        let _infallible = writeln!(
            out,
            "{:8}  {:host$}  {:technique$}  {:id$}  {}",
            verdict(step),
            shown(&step.host),
            shown(&step.technique),
            shown(&step.id),
            shown(&rules(step)),
        );
    }
    out.push('\n');
    summary(&mut out, recording, score);
    let _infallible =
        writeln!(out, "\n{}. Its alerts: vonggac alerts --drill {}\n", passed(score), shown(drill_id));
    out
}

/// All drills of a run, one line each.
pub(crate) fn table(scores: &[(&Recording, Score)]) -> String {
    let headings =
        ["drill", "detected", "grave false alerts", "events", "lost", "doubled", "line to alert", "verdict"];
    // The events and how fast it was are on each drill's page, too.
    let spared = |heading: &str| ["events", "line to alert"].iter().position(|spare| *spare == heading);
    let mut columns = headings.map(|heading| Column::new(heading).spared(spared(heading)));
    for (recording, score) in scores {
        let cells = [
            recording.name.clone(),
            format!("{} of {}", score.detected, score.detected + score.missed),
            score.grave().to_string(),
            score.events_stored.to_string(),
            score.events_lost.to_string(),
            score.events_doubled.to_string(),
            score.time_to_alert_ms.p50.map_or_else(|| "-".to_owned(), |p50| format!("p50 {}", seconds(p50))),
            passed(score).to_owned(),
        ];
        columns.iter_mut().zip(&cells).for_each(|(column, cell)| column.push(cell, Tone::Plain));
    }
    table::written(&columns, Terminal::of_stdout())
}

fn passed(score: &Score) -> &'static str {
    if score.passed() { "passed" } else { "NOT PASSED" }
}

fn seconds(ms: i64) -> String {
    format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10)
}

fn verdict(step: &StepScore) -> &'static str {
    match (step.benign, step.detected) {
        (false, true) => "detected",
        (false, false) => "MISSED",
        (true, false) => "quiet",
        (true, true) => "raised",
    }
}

fn rules(step: &StepScore) -> String {
    if step.rules.is_empty() { step.title.clone() } else { step.rules.join("; ") }
}

fn summary(out: &mut String, recording: &Recording, score: &Score) {
    let mut line = |name: &str, value: String| {
        let _infallible = writeln!(out, "{name:18}{value}");
    };
    line("steps", format!("{} detected, {} missed", score.detected, score.missed));
    line("alerts", score.alerts.to_string());
    line("false alerts", false_alerts(score));
    for alert in score.false_alert_list.iter().take(FALSE_SHOWN) {
        let what = format!(
            "  {} on {}: {} ({}), {}",
            alert.severity, alert.host, alert.rule_title, alert.entity, alert.id
        );
        line("", shown(&what));
    }
    let time = &score.time_to_alert_ms;
    if let (Some(p50), Some(max)) = (time.p50, time.max) {
        let over = format!("over {} of {}", time.measured, counted_usize(score.alerts, "alert"));
        line("line to alert", format!("p50 {}, max {}, {over}", seconds(p50), seconds(max)));
    }
    line(
        "written",
        format!("{}, {}", counted(score.lines_written, "line"), counted_usize(score.events_written, "event")),
    );
    line(
        "stored",
        format!(
            "{}, {} lost, {} doubled",
            counted_usize(score.events_stored, "event"),
            score.events_lost,
            score.events_doubled
        ),
    );
    if score.events_split > 0 {
        line("", format!("{} of several records taken for two", counted_usize(score.events_split, "event")));
    }
    if let Some(systems) = recording.systems.as_ref().filter(|_| score.unclassified_alerts > 0) {
        let unknown = counted_usize(score.unclassified_alerts, "alert");
        line(
            "not classified",
            format!("{unknown}: add {} to the collector's inventory", shown(&systems.display().to_string())),
        );
    }
}

fn false_alerts(score: &Score) -> String {
    if score.false_alerts.is_empty() {
        return "none".to_owned();
    }
    score
        .false_alerts
        .iter()
        .map(|(severity, count)| format!("{count} {severity}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn counted_usize(number: usize, one: &str) -> String {
    counted(u64::try_from(number).unwrap_or(u64::MAX), one)
}
