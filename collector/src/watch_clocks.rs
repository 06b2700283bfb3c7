//! Asks the store again and again how many alerts wait longer than their priority allows, for `/metrics`.
//!
//! The store alone knows: people acknowledge and close alerts from other machines, and a clock runs out by itself. Drills do
//! not count. When the store does not answer, the figures stay as they were, and the failure is counted.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Result;
use clickhouse::Row;
use prometheus::{IntCounter, IntGaugeVec};
use serde::Deserialize;

use crate::metrics;
use crate::people::{Filter, Reader};
use crate::watch::Watch;

const PRIORITIES: [&str; 5] = ["P1", "P2", "P3", "P4", "P5"];
const CLOCKS: [&str; 3] = ["acknowledge", "contain", "close"];

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    late: metrics::gauges(
        "vonggac_alert_late_count",
        "Alerts of which the time to acknowledge, contain or close them has run out and that still wait for it.",
        &["priority", "clock"],
    ),
    failures: metrics::counter(
        "vonggac_alert_clocks_failures_total",
        "Questions after late alerts that the store did not answer.",
    ),
});

struct Metrics {
    late: IntGaugeVec,
    failures: IntCounter,
}

/// See [`watch`](crate::watch).
pub(crate) struct WatchClocks(pub(crate) Reader);

#[derive(Debug, Deserialize, Row)]
struct Late {
    priority: String,
    clock: String,
    alerts: u64,
}

impl Watch for WatchClocks {
    /// The shortest clock of the table of priorities is of minutes.
    const EVERY: Duration = Duration::from_secs(60);
    const UNTOLD: &'static str = "late alerts are not counted";

    async fn round(&mut self) -> Result<()> {
        let sql = "SELECT c.priority AS priority, c.clock AS clock, count() AS alerts FROM alert_clocks AS c \
            WHERE c.state = 'missed' AND toUnixTimestamp64Micro(c.done_at) = 0 AND c.drill_id = '' GROUP BY priority, clock";
        tell(&self.0.rows(sql, &Filter::default()).await?);
        Ok(())
    }

    fn failures() -> &'static IntCounter {
        &METRICS.failures
    }
}

/// What is not among the rows is zero.
fn tell(late: &[Late]) {
    for priority in PRIORITIES {
        for clock in CLOCKS {
            let row = late.iter().find(|row| row.priority == priority && row.clock == clock);
            let alerts = row.map_or(0, |row| i64::try_from(row.alerts).unwrap_or(i64::MAX));
            METRICS.late.with_label_values(&[priority, clock]).set(alerts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_no_more_is_zero_again() {
        let gauge = || METRICS.late.with_label_values(&["P2", "contain"]).get();
        tell(&[Late { priority: "P2".into(), clock: "contain".into(), alerts: 3 }]);
        assert_eq!(gauge(), 3);
        tell(&[]);
        assert_eq!(gauge(), 0);
    }
}
