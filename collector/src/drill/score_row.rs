//! A score as the store keeps it, so that a report and a dashboard can hold one run against another.

use event::Micros;

use crate::drill::score::{Latency, Score};
use crate::row_binary::encode;

/// A row of the table `drill_scores`.
#[derive(Debug)]
pub(crate) struct ScoreRow {
    drill_id: String,
    drill: String,
    began_at: Micros,
    ended_at: Micros,
    speed: u32,
    detected: u32,
    missed: u32,
    missed_steps: Vec<String>,
    alerts: u32,
    false_alerts: u32,
    grave_alerts: u32,
    p50_ms: i64,
    max_ms: i64,
    events_written: u64,
    events_lost: u64,
    events_doubled: u64,
    passed: u8,
}

encode!(ScoreRow {
    drill_id,
    drill,
    began_at,
    ended_at,
    speed,
    detected,
    missed,
    missed_steps,
    alerts,
    false_alerts,
    grave_alerts,
    p50_ms,
    max_ms,
    events_written,
    events_lost,
    events_doubled,
    passed,
});

impl ScoreRow {
    /// The score of a run, from its first line to the moment at which it was told.
    pub(crate) fn of(
        score: &Score,
        (drill, drill_id): (&str, &str),
        speed: u32,
        (began_at, ended_at): (Micros, Micros),
    ) -> Self {
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let large = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let missed = score.steps.iter().filter(|step| !step.benign && !step.detected);
        let Latency { p50, max, .. } = score.time_to_alert_ms;
        Self {
            drill_id: drill_id.to_owned(),
            drill: drill.to_owned(),
            began_at,
            ended_at,
            speed,
            detected: small(score.detected),
            missed: small(score.missed),
            missed_steps: missed.map(|step| step.id.clone()).collect(),
            alerts: small(score.alerts),
            false_alerts: small(score.false_alert_list.len()),
            grave_alerts: small(score.grave()),
            p50_ms: p50.unwrap_or(-1),
            max_ms: max.unwrap_or(-1),
            events_written: large(score.events_written),
            events_lost: large(score.events_lost),
            events_doubled: large(score.events_doubled),
            passed: u8::from(score.passed()),
        }
    }
}
