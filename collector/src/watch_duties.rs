//! Counts again and again which duties of systems are overdue, for `/metrics`: a day passes by itself, and people record what
//! they did from other machines. When the store or a file does not answer, the figures stay, and the failure is counted.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Result;
use prometheus::{IntCounter, IntGaugeVec};
use tracing::warn;

use crate::clock::today;
use crate::config::Config;
use crate::door::Stop;
use crate::level::Lang;
use crate::metrics;
use crate::people::{Owed, Reader, Record, owed};

/// Duties fall due by the day.
const EVERY: Duration = Duration::from_secs(900);
const LEVELS: [u8; 5] = [1, 2, 3, 4, 5];

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    overdue: metrics::gauges(
        "vonggac_duty_overdue_count",
        "Duties of systems that should have been done by now, by the level of the system.",
        &["level"],
    ),
    failures: metrics::counter("vonggac_duty_failures_total", "Counts of overdue duties that failed."),
});

struct Metrics {
    overdue: IntGaugeVec,
    failures: IntCounter,
}

/// The stage.
pub(crate) struct WatchDuties {
    pub(crate) config: Config,
    pub(crate) reader: Reader,
    pub(crate) stop: Stop,
}

impl WatchDuties {
    /// Runs until told to stop.
    pub(crate) async fn run(mut self) {
        loop {
            match self.count().await {
                Ok(owed) => tell(&owed),
                Err(error) => {
                    METRICS.failures.inc();
                    warn!("overdue duties are not counted: {error:#}");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = self.stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn count(&self) -> Result<Vec<Owed>> {
        let record = Record::read(&self.reader).await?;
        let config = self.config.clone();
        tokio::task::spawn_blocking(move || owed(&config, &record, today(), Lang::En)).await?
    }
}

fn tell(owed: &[Owed]) {
    for level in LEVELS {
        let overdue = owed.iter().filter(|one| one.overdue && one.level == level).count();
        METRICS
            .overdue
            .with_label_values(&[&level.to_string()])
            .set(i64::try_from(overdue).unwrap_or(i64::MAX));
    }
}
