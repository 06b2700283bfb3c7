//! What an alert shows of an indicator that an event names. The row keeps it, because the feed may say something else tomorrow.

use std::sync::LazyLock;

use detect::{Indicator, Sighting};
use jiff::Timestamp;
use prometheus::IntCounterVec;

use crate::grouping::Cause;
use crate::metrics;

static MATCHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counters("vonggac_indicators_matches_total", "Events that name an indicator.", &["feed"])
});

/// What stands in the place of a rule.
pub(crate) fn cause(indicator: &Indicator<'_>) -> Cause {
    Cause {
        id: indicator.id(),
        title: format!("Indicator: {}: {}", indicator.feed(), indicator.value()),
        path: indicator.path().to_owned(),
        severity: indicator.severity(),
        tactics: Vec::new(),
        techniques: Vec::new(),
    }
}

/// The field that names the indicator, and what the feed says of it.
pub(crate) fn matched(sighting: &Sighting<'_>) -> Vec<(String, String)> {
    let Sighting { indicator, field, value } = sighting;
    let moment = |micros| Timestamp::from_microsecond(micros).map(|at| at.to_string()).unwrap_or_default();
    let told = [
        ("indicator.type", indicator.kind().as_str().to_owned()),
        ("indicator.name", indicator.name().to_owned()),
        ("indicator.description", indicator.description().to_owned()),
        ("indicator.labels", indicator.labels().join(", ")),
        (
            "indicator.confidence",
            indicator.confidence().map(|percent| percent.to_string()).unwrap_or_default(),
        ),
        ("indicator.tlp", indicator.tlp().to_owned()),
        ("indicator.valid_until", indicator.valid_until().map(moment).unwrap_or_default()),
    ];
    let told = told.into_iter().filter(|(_, text)| !text.is_empty());
    let told = told.map(|(name, text)| (name.to_owned(), text));
    std::iter::once((field.clone(), value.clone())).chain(told).collect()
}

/// Counts a match.
pub(crate) fn count(indicator: &Indicator<'_>) {
    MATCHES.with_label_values(&[indicator.feed()]).inc();
}
