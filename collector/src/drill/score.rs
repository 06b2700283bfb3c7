//! The score of a drill: pure, from the truth, the alerts, the events and the times of writing.
//!
//! - A step is **detected** when one of its rules hit on its host within its time and raised an alert. For a rule of single
//!   events, the events say when it hit; for a correlation, the time that its alert spans.
//! - An alert is **false** when the hit that opened it falls into no attack step of its host: then something else than the
//!   attack raised it, and what an attack adds to it later makes it no better. Steps that are marked benign are ordinary use:
//!   what they raise is false. The hit is the first that the alert spanned when it was first seen.
//! - An event is **lost** when nothing is stored from the place where it was written, **doubled** when more than one row is.
//! - **Time to alert**: from the writing of the line that made an alert to the moment at which a reader saw it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;

use event::Micros;
use serde::Serialize;

use crate::drill::recording::Step;
use crate::drill::replay::{Pace, Place};
use crate::drill::watch::{Alert, EventRow};
use crate::people::{MICROS_PER_S, iso};

/// Times of seconds' precision are cut down to the second, and a daemon may log a moment after the deed.
const SLACK: Micros = MICROS_PER_S;
/// Severities at which a false alert is a failure of the drill.
const GRAVE: [&str; 2] = ["high", "critical"];

/// What is scored.
pub(crate) struct Outcome<'a> {
    pub(crate) steps: &'a [Step],
    pub(crate) pace: Pace,
    pub(crate) alerts: &'a [Alert],
    pub(crate) events: &'a [EventRow],
    /// When the event that starts at a place was written.
    pub(crate) written: &'a HashMap<Place, Micros>,
    pub(crate) lines: u64,
}

/// The result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Score {
    pub(crate) steps: Vec<StepScore>,
    pub(crate) detected: usize,
    pub(crate) missed: usize,
    pub(crate) alerts: usize,
    pub(crate) time_to_alert_ms: Latency,
    /// Alerts that belong to no attack step, by severity.
    pub(crate) false_alerts: BTreeMap<String, usize>,
    pub(crate) false_alert_list: Vec<FalseAlert>,
    pub(crate) lines_written: u64,
    pub(crate) events_written: usize,
    pub(crate) events_stored: usize,
    pub(crate) events_lost: usize,
    pub(crate) events_doubled: usize,
    /// Rows at places where no event began: an event of several records that was taken for two.
    pub(crate) events_split: usize,
    pub(crate) unclassified_alerts: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct StepScore {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) technique: String,
    pub(crate) host: String,
    pub(crate) start: String,
    pub(crate) benign: bool,
    pub(crate) detected: bool,
    /// Titles of the expected rules that alerted; for a benign step, of all rules.
    pub(crate) rules: Vec<String>,
    /// Ids of their alerts.
    pub(crate) alerts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FalseAlert {
    pub(crate) id: String,
    pub(crate) severity: String,
    pub(crate) host: String,
    pub(crate) rule_id: String,
    pub(crate) rule_title: String,
    pub(crate) entity: String,
}

/// Milliseconds; none when nothing could be measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) measured: usize,
    pub(crate) p50: Option<i64>,
    pub(crate) max: Option<i64>,
}

impl Score {
    /// All steps detected, no grave false alert, every event stored once.
    pub(crate) fn passed(&self) -> bool {
        self.missed == 0 && self.grave() == 0 && self.events_lost == 0 && self.events_doubled == 0
    }

    /// False alerts of severity high and critical.
    pub(crate) fn grave(&self) -> usize {
        GRAVE.iter().filter_map(|severity| self.false_alerts.get(*severity)).sum()
    }
}

/// When rules of single events hit, by rule and host.
type Hits<'a> = HashMap<(&'a str, &'a str), Vec<Micros>>;

impl Outcome<'_> {
    pub(crate) fn score(&self) -> Score {
        let hits = self.hits();
        let steps: Vec<StepScore> = self.steps.iter().map(|step| self.step(step, &hits)).collect();
        let false_alert_list = self.false_alerts();
        let mut false_alerts = BTreeMap::new();
        for alert in &false_alert_list {
            *false_alerts.entry(alert.severity.clone()).or_default() += 1;
        }
        let stored: HashSet<(&str, u64)> =
            self.events.iter().map(|event| (event.source.as_str(), event.offset)).collect();
        let found =
            self.written.keys().filter(|(path, offset)| stored.contains(&(path.as_str(), *offset))).count();
        let attacks = || steps.iter().filter(|step| !step.benign);
        Score {
            detected: attacks().filter(|step| step.detected).count(),
            missed: attacks().filter(|step| !step.detected).count(),
            alerts: self.alerts.len(),
            time_to_alert_ms: self.latency(),
            false_alerts,
            false_alert_list,
            lines_written: self.lines,
            events_written: self.written.len(),
            events_stored: self.events.len(),
            events_lost: self.written.len() - found,
            events_doubled: self.events.len() - stored.len(),
            events_split: stored.len() - found,
            unclassified_alerts: self.alerts.iter().filter(|alert| alert.row.sys_level == 0).count(),
            steps,
        }
    }

    fn hits(&self) -> Hits<'_> {
        let mut hits: Hits<'_> = HashMap::new();
        for event in self.events {
            for rule in &event.rules {
                hits.entry((rule, &event.host)).or_default().push(event.ts);
            }
        }
        hits
    }

    fn step(&self, step: &Step, hits: &Hits<'_>) -> StepScore {
        let belongs = |alert: &&Alert| {
            (step.benign || step.rules.contains(&alert.row.rule_id)) && self.touches(alert, step, hits)
        };
        let alerts: Vec<&Alert> = self.alerts.iter().filter(belongs).collect();
        let mut rules: Vec<String> = alerts.iter().map(|alert| alert.row.rule_title.clone()).collect();
        rules.sort_unstable();
        rules.dedup();
        StepScore {
            id: step.id.clone(),
            title: step.title.clone(),
            technique: step.technique.clone(),
            host: step.host.clone(),
            start: iso(self.pace.shifted(step.start)),
            benign: step.benign,
            detected: !alerts.is_empty(),
            rules,
            alerts: alerts.iter().map(|alert| alert.row.id.clone()).collect(),
        }
    }

    /// Whether a hit of the alert falls into the step.
    fn touches(&self, alert: &Alert, step: &Step, hits: &Hits<'_>) -> bool {
        let time = self.time(step);
        let row = &alert.row;
        let spans = row.first_seen <= *time.end() && row.last_seen >= *time.start();
        match hits.get(&(row.rule_id.as_str(), step.host.as_str())) {
            // An alert has the hits of the rule on its system within its own time.
            Some(times) => spans && times.iter().any(|ts| time.contains(ts) && row.spans(*ts)),
            None => spans && row.host == step.host,
        }
    }

    /// When the step was replayed.
    fn time(&self, step: &Step) -> RangeInclusive<Micros> {
        let (start, end) = (self.pace.shifted(step.start), self.pace.shifted(step.end));
        start.saturating_sub(SLACK)..=end.saturating_add(SLACK)
    }

    fn false_alerts(&self) -> Vec<FalseAlert> {
        let attacks: Vec<&Step> = self.steps.iter().filter(|step| !step.benign).collect();
        let opens = |alert: &Alert, step: &Step| {
            alert.row.host == step.host && self.time(step).contains(&alert.opened)
        };
        let alerts = self.alerts.iter().filter(|alert| !attacks.iter().any(|step| opens(alert, step)));
        alerts
            .map(|alert| FalseAlert {
                id: alert.row.id.clone(),
                severity: alert.row.severity.clone(),
                host: alert.row.host.clone(),
                rule_id: alert.row.rule_id.clone(),
                rule_title: alert.row.rule_title.clone(),
                entity: alert.row.entity.clone(),
            })
            .collect()
    }

    fn latency(&self) -> Latency {
        let by_id: HashMap<&str, &EventRow> =
            self.events.iter().map(|event| (event.id.as_str(), event)).collect();
        let mut times: Vec<i64> = self
            .alerts
            .iter()
            .filter_map(|alert| Some(alert.visible.saturating_sub(self.cause(alert, &by_id)?) / 1_000))
            .collect();
        times.sort_unstable();
        let p50 = times.get(times.len().saturating_sub(1) / 2).copied();
        Latency { measured: times.len(), p50, max: times.last().copied() }
    }

    /// When the line was written that made the alert: the event that the alert opened at. An alert names its first events
    /// only; where that one is not among them, it is the earliest written one of that time on its host.
    fn cause(&self, alert: &Alert, by_id: &HashMap<&str, &EventRow>) -> Option<Micros> {
        let written = |event: &EventRow| self.written.get(&(event.source.clone(), event.offset)).copied();
        let named = alert.opened_by.iter().filter_map(|id| by_id.get(id.as_str()));
        let named = named.filter(|event| event.ts == alert.opened).filter_map(|event| written(event)).max();
        let alike =
            || self.events.iter().filter(|event| event.ts == alert.opened && event.host == alert.row.host);
        named.or_else(|| alike().filter_map(written).min())
    }
}

impl crate::drill::watch::AlertRow {
    fn spans(&self, ts: Micros) -> bool {
        (self.first_seen..=self.last_seen).contains(&ts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::watch::AlertRow;

    const S: Micros = MICROS_PER_S;

    /// A recording of a hundred seconds that is replayed at its own speed, unshifted.
    fn pace() -> Pace {
        Pace::new((0, 100 * S), 1, 0)
    }

    fn step(id: &str, start: Micros, end: Micros, rules: &[&str]) -> Step {
        Step {
            id: id.into(),
            title: id.into(),
            technique: "T1110".into(),
            start: start * S,
            end: end * S,
            host: "web01".into(),
            rules: rules.iter().map(|&rule| rule.to_owned()).collect(),
            benign: rules.is_empty(),
        }
    }

    fn event(record: u64, ts: Micros, rules: &[&str]) -> EventRow {
        EventRow {
            id: format!("web01:e:1:{record}"),
            host: "web01".into(),
            source: "/log".into(),
            offset: record,
            ts: ts * S,
            rules: rules.iter().map(|&rule| rule.to_owned()).collect(),
        }
    }

    fn alert(rule: &str, severity: &str, first: Micros, last: Micros, record: u64) -> Alert {
        let row = AlertRow {
            id: format!("{rule}-{first}"),
            rule_id: rule.into(),
            rule_title: rule.into(),
            severity: severity.into(),
            host: "web01".into(),
            hits: 1,
            first_seen: first * S,
            last_seen: last * S,
            sample_events: vec![format!("web01:e:1:{record}")],
            ..AlertRow::default()
        };
        Alert {
            visible: first * S + 300_000,
            opened: row.first_seen,
            opened_by: row.sample_events.clone(),
            row,
        }
    }

    fn score(steps: &[Step], alerts: &[Alert], events: &[EventRow], written: &[u64]) -> Score {
        let written = written.iter().map(|offset| (("/log".to_owned(), *offset), 10 * S)).collect();
        Outcome { steps, pace: pace(), alerts, events, written: &written, lines: 9 }.score()
    }

    #[test]
    fn a_step_is_detected_by_a_hit_of_its_rule_within_its_time() {
        let steps =
            [step("hit", 10, 12, &["r"]), step("between", 30, 40, &["r"]), step("other", 10, 12, &["q"])];
        // One alert spans all of it, but its hits are at 11 and at 60.
        let found = score(
            &steps,
            &[alert("r", "high", 11, 60, 0)],
            &[event(0, 11, &["r"]), event(1, 60, &["r"])],
            &[0, 1],
        );
        assert_eq!(found.steps.iter().map(|step| step.detected).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!((found.detected, found.missed), (1, 2));
        assert!(!found.passed());
    }

    #[test]
    fn a_correlation_detects_by_the_time_that_its_alert_spans() {
        let steps = [step("in", 10, 12, &["c"]), step("out", 14, 20, &["c"])];
        let found = score(&steps, &[alert("c", "high", 11, 12, 0)], &[event(0, 11, &[])], &[0]);
        assert_eq!(found.steps.iter().map(|step| step.detected).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn what_lies_outside_every_attack_is_false() {
        let steps = [step("attack", 10, 12, &["r"]), step("benign", 30, 40, &[])];
        let alerts = [
            alert("r", "high", 11, 11, 0),
            alert("q", "low", 10, 10, 0),
            alert("b", "medium", 35, 35, 1),
            alert("z", "critical", 70, 70, 2),
        ];
        let events = [event(0, 11, &["r"]), event(1, 35, &["b"]), event(2, 70, &["z"])];
        let found = score(&steps, &alerts, &events, &[0, 1, 2]);
        assert_eq!(
            found.false_alerts,
            BTreeMap::from([("critical".to_owned(), 1), ("medium".to_owned(), 1)])
        );
        assert_eq!(found.grave(), 1);
        assert_eq!((found.detected, found.missed), (1, 0));
        assert!(found.steps[1].benign && found.steps[1].detected, "a benign step tells what it raised");
        assert!(!found.passed());
    }

    #[test]
    fn an_alert_that_ordinary_use_opened_is_false_whatever_an_attack_adds_to_it() {
        let steps = [step("attack", 30, 40, &["r"]), step("benign", 10, 20, &[])];
        let alerts = [alert("r", "critical", 15, 35, 0), alert("c", "high", 39, 60, 1)];
        let events = [event(0, 15, &["r"]), event(1, 35, &["r"])];
        let found = score(&steps, &alerts, &events, &[0, 1]);
        assert_eq!(found.false_alerts, BTreeMap::from([("critical".to_owned(), 1)]));
        assert_eq!((found.detected, found.missed, found.passed()), (1, 0, false), "the attack hit the rule");
    }

    #[test]
    fn counts_what_is_lost_doubled_and_split() {
        let events = [event(0, 1, &[]), event(0, 1, &[]), event(2, 1, &[]), event(7, 1, &[])];
        let found = score(&[], &[], &events, &[0, 1, 2]);
        assert_eq!((found.events_written, found.events_stored), (3, 4));
        assert_eq!((found.events_lost, found.events_doubled, found.events_split), (1, 1, 1));
        assert!(!found.passed());
        assert!(score(&[], &[], &events[2..3], &[2]).passed());
    }

    #[test]
    fn measures_from_the_line_that_made_the_alert() {
        let events = [event(0, 10, &["r"]), event(1, 11, &["r"])];
        let found = score(
            &[],
            &[alert("r", "low", 10, 11, 0), alert("r", "low", 11, 11, 1), alert("r", "low", 99, 99, 5)],
            &events,
            &[0, 1],
        );
        assert_eq!(found.time_to_alert_ms, Latency { measured: 2, p50: Some(300), max: Some(1_300) });
    }
}
