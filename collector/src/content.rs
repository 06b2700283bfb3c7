//! What people write and the daemon loads while it runs, by [`Part`]: how much of it is in force, and whether the last attempt to
//! load it succeeded. `vonggac status` and the alert rules tell it: a watch without rules is quiet, and looks well.

use std::sync::LazyLock;

use jiff::Timestamp;
use prometheus::IntGaugeVec;

use crate::metrics;

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    loaded: metrics::gauges(
        "vonggac_content_loaded_count",
        "What is in force, by part: rules, systems of the inventory, hunts, indicators, exceptions.",
        &["part"],
    ),
    not_loaded: metrics::gauges(
        "vonggac_content_not_loaded_count",
        "What was wrong at the last attempt to load a part: rules, files or entries that did not load.",
        &["part"],
    ),
    successful: metrics::gauges(
        "vonggac_content_load_successful",
        "Whether the last attempt to load a part found nothing wrong.",
        &["part"],
    ),
    since: metrics::gauges(
        "vonggac_content_in_force_since_seconds",
        "When what is in force of a part was loaded, in seconds since 1970.",
        &["part"],
    ),
});

struct Metrics {
    loaded: IntGaugeVec,
    not_loaded: IntGaugeVec,
    successful: IntGaugeVec,
    since: IntGaugeVec,
}

/// What SIGHUP loads anew, each by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Rules,
    Inventory,
    Hunts,
    Indicators,
    Exceptions,
}

impl Part {
    pub(crate) const ALL: [Self; 5] =
        [Self::Rules, Self::Inventory, Self::Hunts, Self::Indicators, Self::Exceptions];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Inventory => "inventory",
            Self::Hunts => "hunts",
            Self::Indicators => "indicators",
            Self::Exceptions => "exceptions",
        }
    }

    /// So much of it is in force from now on, and so much did not load.
    pub(crate) fn took(self, loaded: usize, not_loaded: usize) {
        METRICS.loaded.with_label_values(&[self.as_str()]).set(number(loaded));
        METRICS.since.with_label_values(&[self.as_str()]).set(Timestamp::now().as_second());
        self.tried(not_loaded);
    }

    /// So much of it did not load, and what was in force stays.
    pub(crate) fn kept(self, not_loaded: usize) {
        self.tried(not_loaded);
    }

    fn tried(self, not_loaded: usize) {
        METRICS.not_loaded.with_label_values(&[self.as_str()]).set(number(not_loaded));
        METRICS.successful.with_label_values(&[self.as_str()]).set(i64::from(not_loaded == 0));
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
