//! Follows how full the lines of sites are, as [`crate::link`] defines it: for `/metrics`, and in the table `link_days` for
//! dashboards.
//!
//! A day is told when it is over, and looked at again for another day: records of flows may come late. What was told of earlier
//! days is not asked for again. When the store or the inventory does not answer, figures and table stay as they were, and the
//! failure is counted.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Result;
use clickhouse::{Client, Row};
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use prometheus::{GaugeVec, IntCounter, IntGaugeVec};
use serde::Deserialize;

use crate::clock::{today, zone};
use crate::config::Config;
use crate::inventory::{Inventory, Link};
use crate::link::{Day, full_days};
use crate::metrics;
use crate::mirror::{Mirror, Mirrored};
use crate::people::{Reader, link_days};
use crate::row_binary::encode;
use crate::watch::Watch;

/// Days that are looked at: two weeks hold seven in a row.
const DAYS: i64 = 14;

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let labels = &["link"];
    Metrics {
        percent: metrics::float_gauges(
            "vonggac_link_percent",
            "95th percentile of yesterday's five-minute samples of a line, of the fuller direction, in percent of what it carries.",
            labels,
        ),
        full_days: metrics::gauges(
            "vonggac_link_full_days",
            "Days in a row, at the most of the last 14, on which that was above 90.",
            labels,
        ),
        samples: metrics::gauges(
            "vonggac_link_samples_count",
            "Samples of yesterday in which the line carried something; 0: its observer told of nothing.",
            labels,
        ),
        failures: metrics::counter(
            "vonggac_link_failures_total",
            "Rounds in which lines could not be looked at.",
        ),
    }
});

struct Metrics {
    percent: GaugeVec,
    full_days: IntGaugeVec,
    samples: IntGaugeVec,
    failures: IntCounter,
}

/// A row of the table `link_days`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Row)]
struct LinkDay {
    link: String,
    day: String,
    name: String,
    organisation: String,
    mbps: u32,
    mbps_min: u32,
    sent: f64,
    received: f64,
    percent: f64,
    samples: u32,
    version: u64,
}

encode!(LinkDay { link, day, name, organisation, mbps, mbps_min, sent, received, percent, samples, version });

/// See [`watch`](crate::watch).
pub(crate) struct WatchLinks {
    systems: PathBuf,
    reader: Reader,
    written: Mirror<LinkDay>,
}

impl Mirrored for LinkDay {
    const TABLE: &'static str = "link_days";
    /// [`DAYS`], and some for zones.
    const WHERE: &'static str = "WHERE day >= toString(today() - 16)";
    /// Link and day.
    type Key = (String, String);

    fn key(&self) -> Self::Key {
        (self.link.clone(), self.day.clone())
    }

    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }
}

impl Watch for WatchLinks {
    /// A day is over once a day.
    const EVERY: Duration = Duration::from_secs(3_600);
    const UNTOLD: &'static str = "how full lines are is not told";

    async fn round(&mut self) -> Result<()> {
        let (today, zone) = (today(), zone());
        let systems = self.systems.clone();
        let inventory = tokio::task::spawn_blocking(move || Inventory::open(&systems)).await??;
        let mut told = Vec::new();
        for link in inventory.links() {
            let days =
                self.days(link, inventory.organisation_name(&link.organisation.value), today, &zone).await?;
            told.push((link, days));
        }
        // Only now: figures stay as they were when the store fails halfway.
        let Metrics { percent, full_days, samples, .. } = &*METRICS;
        percent.reset();
        [full_days, samples].into_iter().for_each(IntGaugeVec::reset);
        told.iter().for_each(|(link, days)| tell(link, days));
        Ok(())
    }

    fn failures() -> &'static IntCounter {
        &METRICS.failures
    }
}

impl WatchLinks {
    pub(crate) fn new(config: &Config, client: &Client) -> Result<Self> {
        LazyLock::force(&METRICS);
        let (systems, reader) = (config.systems.clone(), Reader::open(config)?);
        Ok(Self { systems, reader, written: Mirror::new(client) })
    }

    /// The last days of a line; what the table does not have of them, or may have changed, is asked for and written.
    async fn days(
        &mut self,
        link: &Link,
        organisation: &str,
        today: Date,
        zone: &TimeZone,
    ) -> Result<Vec<Day>> {
        let first = today.checked_sub(DAYS.days())?;
        let written = self.written.rows().await?;
        let known = |day: Date| written.get(&(link.id.clone(), day.to_string())).and_then(LinkDay::day);
        let mut days: Vec<Day> =
            first.series(1.day()).map_while(|day| known(day).filter(|_| day < today)).collect();
        // Yesterday is looked at again.
        days.truncate(usize::try_from(DAYS - 1)?);
        let from = first.checked_add(i64::try_from(days.len())?.days())?;
        let found = link_days(&self.reader, link, zone, from, today).await?;
        let rows = found.iter().map(|day| LinkDay::of(link, organisation, day));
        let changed = rows.filter(|row| written.get(&row.key()) != Some(row)).collect();
        self.written.write(changed).await?;
        days.extend(found);
        Ok(days)
    }
}

fn tell(link: &Link, days: &[Day]) {
    let labels = [&*link.id];
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    METRICS.full_days.with_label_values(&labels).set(count(full_days(days)));
    if let Some(last) = days.last() {
        METRICS.percent.with_label_values(&labels).set(last.percent);
        METRICS.samples.with_label_values(&labels).set(count(last.samples));
    }
}

impl LinkDay {
    fn of(link: &Link, organisation: &str, day: &Day) -> Self {
        Self {
            link: link.id.clone(),
            day: day.date.to_string(),
            name: link.name.clone(),
            organisation: organisation.to_owned(),
            mbps: link.mbps,
            mbps_min: link.mbps_min,
            sent: day.sent,
            received: day.received,
            percent: day.percent,
            samples: u32::try_from(day.samples).unwrap_or(u32::MAX),
            version: 0,
        }
    }

    fn day(&self) -> Option<Day> {
        let Self { sent, received, percent, samples, .. } = *self;
        Some(Day {
            date: self.day.parse().ok()?,
            sent,
            received,
            percent,
            samples: usize::try_from(samples).ok()?,
        })
    }
}
