//! Counters that do not move when all is well. What is gone or may be gone is wrong; what was only delayed, turned away or may be
//! another's fault is worth a look. The test sees to it that no metric whose name speaks of a loss is forgotten here.

use super::daemon::whole;
use super::{Check, State};
use crate::people::scrape::Sample;
use crate::people::select::counted;

/// A metric that is zero when all is well.
struct Loss {
    metric: &'static str,
    check: &'static str,
    state: State,
    /// What is counted, in the singular, and what became of it.
    what: (&'static str, &'static str),
    /// What was counted too early: it is taken off.
    less: Option<&'static str>,
}

impl Loss {
    const fn wrong(metric: &'static str, check: &'static str, what: (&'static str, &'static str)) -> Self {
        Self { metric, check, state: State::Wrong, what, less: None }
    }

    const fn notice(metric: &'static str, check: &'static str, what: (&'static str, &'static str)) -> Self {
        Self { metric, check, state: State::Notice, what, less: None }
    }

    const fn less(self, metric: &'static str) -> Self {
        Self { less: Some(metric), ..self }
    }

    fn check(&self, samples: &[Sample]) -> Option<Check> {
        let of = |metric: &'static str| samples.iter().filter(move |sample| sample.name == metric);
        let early = |labels: &str| {
            self.less
                .and_then(|less| of(less).find(|sample| sample.labels == labels))
                .map_or(0.0, |sample| sample.value)
        };
        let moved: Vec<(&str, f64)> = of(self.metric)
            .map(|sample| (sample.labels.as_str(), sample.value - early(&sample.labels)))
            .filter(|(_, value)| *value > 0.0)
            .collect();
        let total: f64 = moved.iter().map(|(_, value)| value).sum();
        let labels: Vec<&str> =
            moved.iter().map(|(labels, _)| *labels).filter(|labels| !labels.is_empty()).collect();
        let labels = if labels.is_empty() { String::new() } else { format!(" ({})", labels.join("; ")) };
        let (noun, fate) = self.what;
        let total = counted(u64::try_from(whole(total)).unwrap_or_default(), noun);
        let detail = || format!("{total} {fate}{labels} since the collector started");
        (!moved.is_empty()).then(|| Check::new(self.check, self.state, detail()))
    }
}

/// As the collector has them since its start: a row for each that moved.
pub(super) fn losses(samples: &[Sample]) -> Vec<Check> {
    let moved: Vec<Check> = LOSSES.iter().filter_map(|loss| loss.check(samples)).collect();
    if moved.is_empty() {
        return vec![Check::new("losses", State::Ok, "none since the collector started")];
    }
    moved
}

const LOSSES: &[Loss] = &[
    Loss::wrong(
        "vonggac_intake_missing_batches_total",
        "gaps",
        ("batch", "missing in agents' sequence numbers"),
    ),
    Loss::wrong("vonggac_agent_reported_lost_bytes_total", "agents", ("byte", "that agents report as lost")),
    Loss::wrong(
        "vonggac_agent_reported_lost_records_total",
        "agents",
        ("record", "that agents report as lost"),
    ),
    Loss::notice(
        "vonggac_evaluate_doubted_clocks_total",
        "clocks",
        ("record", "of agents whose clock is not believed: they have the time of receipt"),
    ),
    Loss::wrong("vonggac_otlp_rejected_records_total", "OTLP", ("record", "rejected")),
    Loss::wrong("vonggac_alert_notices_dropped_total", "notices", ("notice", "of the collector dropped")),
    Loss::wrong(
        "vonggac_exporter_kernel_dropped_total",
        "flows",
        ("datagram", "of flow records dropped by the kernel"),
    ),
    Loss::wrong(
        "vonggac_exporter_dropped_datagrams_total",
        "flows",
        ("datagram", "of flow records dropped undecoded"),
    ),
    Loss::wrong("vonggac_exporter_dropped_records_total", "flows", ("flow record", "dropped")),
    Loss::wrong(
        "vonggac_exporter_sets_dropped_total",
        "flows",
        ("set", "of flow records whose template never came"),
    ),
    Loss::notice(
        "vonggac_exporter_sets_unread_total",
        "flows",
        ("set", "of flow records that their template does not fit"),
    ),
    Loss::notice(
        "vonggac_exporter_malformed_total",
        "flows",
        ("message", "of exporters that could not be read"),
    ),
    Loss::notice("vonggac_exporter_missing_total", "flows", ("number", "missing in sequences of exporters"))
        .less("vonggac_exporter_reordered_total"),
    Loss::notice(
        "vonggac_exporter_streams_forgotten_total",
        "flows",
        ("stream", "of exporters forgotten with all templates"),
    ),
    Loss::notice("vonggac_exporter_receive_errors_total", "flows", ("failure", "to receive flow records")),
    Loss::notice("vonggac_exporter_refused_total", "flows", ("refusal", "of datagrams and sessions")),
    Loss::notice(
        "vonggac_alert_correlation_evicted_groups",
        "correlation",
        ("eviction", "of groups or events by a limit"),
    ),
    Loss::notice("vonggac_alert_evicted_total", "grouping", ("alert", "closed early by a limit")),
    Loss::notice("vonggac_store_repeats_total", "inserts", ("repeat", "of inserts and questions")),
    Loss::notice(
        "vonggac_store_unanswered_total",
        "store",
        ("request", "that the store did not answer in time"),
    ),
    Loss::notice("vonggac_store_refused_total", "inserts", ("insert", "refused by the store as bad data")),
    Loss::notice(
        "vonggac_embedded_store_restarts_total",
        "embedded store",
        ("unwanted end", "of the embedded store"),
    ),
    Loss::notice("vonggac_intake_refused_total", "refused", ("frame", "refused")),
    Loss::notice(
        "vonggac_intake_unsettled_total",
        "unsettled",
        ("batch", "neither stored nor dead-lettered: to come again"),
    ),
    Loss::notice("vonggac_door_turned_away_total", "turned away", ("connection", "turned away")),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use regex::Regex;

    use super::*;

    /// Names that speak of a loss.
    const WORDS: &str = "dead|discard|drop|error|evict|fail|forgot|gave_up|lost|malformed|miss|not_loaded|refus|reject|restart|turned_away|unanswered|unread|unsettled";

    /// Metrics that are named so and are no loss of this list, and why.
    const NOT_LOST: &[(&str, &str)] = &[
        ("vonggac_alert_clocks_failures_total", "tried again; what is late is told when it is known"),
        ("vonggac_content_not_loaded_count", "has a check of its own"),
        ("vonggac_coverage_unanswered", "an alert of its own, of the canary's system"),
        ("vonggac_exporter_restarts_total", "an exporter that was started again lost nothing here"),
        ("vonggac_hunt_failures_total", "tried again; a hunt that is behind has a check of its own"),
        ("vonggac_indicators_unreadable_count", "has a check of its own, by part"),
        ("vonggac_link_failures_total", "tried again"),
        (
            "vonggac_notification_failed_attempts",
            "tried again; `vonggac notifications` tells what was given up",
        ),
        ("vonggac_obligations_failures_total", "tried again"),
        ("vonggac_store_dead_letters_total", "the check of dead letters asks the store"),
    ];

    /// Names of metrics in the code, but for what only reads them.
    fn declared() -> BTreeSet<String> {
        let name = Regex::new("\"(vonggac_[a-z0-9_]+)\"").unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let files = walkdir::WalkDir::new(&source).into_iter().map(|entry| entry.unwrap().into_path());
        let files = files.filter(|path| path.is_file() && !path.starts_with(source.join("people/status")));
        files
            .flat_map(|path| {
                let text = std::fs::read_to_string(path).unwrap();
                name.captures_iter(&text).map(|found| found[1].to_owned()).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn no_metric_that_speaks_of_a_loss_is_forgotten() {
        let words = Regex::new(WORDS).unwrap();
        let declared = declared();
        let told: BTreeSet<&str> = LOSSES.iter().map(|loss| loss.metric).collect();
        let not_lost: BTreeSet<&str> = NOT_LOST.iter().map(|(metric, _)| *metric).collect();
        for metric in declared.iter().filter(|metric| words.is_match(metric)) {
            let (is_told, is_not_lost) = (told.contains(metric.as_str()), not_lost.contains(metric.as_str()));
            assert!(is_told != is_not_lost, "{metric}: expected in LOSSES, or in NOT_LOST with the reason");
        }
        for metric in told.into_iter().chain(not_lost).chain(LOSSES.iter().filter_map(|loss| loss.less)) {
            assert!(declared.contains(metric), "{metric}: no code declares it");
        }
    }

    fn sample(name: &str, labels: &str, value: f64) -> Sample {
        Sample { name: name.into(), labels: labels.into(), value }
    }

    #[test]
    fn names_each_loss_with_its_labels() {
        let gap = "vonggac_intake_missing_batches_total";
        let found = losses(&[
            sample(gap, "agent=\"a\"", 2.0),
            sample(gap, "agent=\"b\"", 0.0),
            sample("other", "", 5.0),
        ]);
        let detail =
            "2 batches missing in agents' sequence numbers (agent=\"a\") since the collector started";
        assert_eq!(found, [Check::new("gaps", State::Wrong, detail)]);
        assert_eq!(losses(&[sample(gap, "", 0.0)])[0].state, State::Ok);
    }

    #[test]
    fn a_datagram_that_came_late_is_not_missing() {
        let (missing, late) = ("vonggac_exporter_missing_total", "vonggac_exporter_reordered_total");
        let told = |reordered| {
            losses(&[sample(missing, "exporter=\"a\"", 3.0), sample(late, "exporter=\"a\"", reordered)])
        };
        assert_eq!(told(3.0)[0].state, State::Ok);
        assert!(told(2.0)[0].detail.starts_with("1 number missing"), "{:?}", told(2.0));
    }
}
