//! Follows how full the lines of sites are, as [`crate::link`] defines it: for `/metrics`, and in the table `link_days` for
//! dashboards.
//!
//! A day is told when it is over, and looked at again for another day: records of flows may come late. What was told of earlier
//! days is not asked for again. When the store or the inventory does not answer, figures and table stay as they were, and the
//! failure is counted.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clickhouse::{Client, Row};
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use prometheus::{GaugeVec, IntCounter, IntGaugeVec};
use serde::Deserialize;
use tracing::warn;

use crate::clock::{today, version_after, zone};
use crate::config::Config;
use crate::door::Stop;
use crate::insert::{Insert, Refused};
use crate::inventory::{Inventory, Link};
use crate::link::{Day, full_days};
use crate::metrics;
use crate::people::{Reader, link_days};
use crate::row_binary::{Encode, encode, encoded};

/// A day is over once a day.
const EVERY: Duration = Duration::from_secs(3_600);
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

/// The stage.
pub(crate) struct WatchLinks {
    config: Config,
    reader: Reader,
    stored: Client,
    insert: Insert,
    stop: Stop,
    /// As the store has them, by link and day; none before the first round.
    written: Option<HashMap<(String, String), LinkDay>>,
    /// The highest version that was read or written.
    version: u64,
}

impl WatchLinks {
    pub(crate) fn new(config: &Config, client: &Client, stop: Stop) -> Result<Self> {
        LazyLock::force(&METRICS);
        let insert = Insert::new(client, "link_days", &LinkDay::COLUMNS.join(", "));
        let reader = Reader::open(config)?;
        Ok(Self {
            config: config.clone(),
            reader,
            stored: client.clone(),
            insert,
            stop,
            written: None,
            version: 0,
        })
    }

    /// Runs until told to stop.
    pub(crate) async fn run(mut self) {
        loop {
            if let Err(error) = self.round(today(), &zone()).await {
                METRICS.failures.inc();
                warn!("how full lines are is not told: {error:#}");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = self.stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn round(&mut self, today: Date, zone: &TimeZone) -> Result<()> {
        let systems = self.config.systems.clone();
        let inventory = tokio::task::spawn_blocking(move || Inventory::open(&systems)).await??;
        if self.written.is_none() {
            let rows: Vec<LinkDay> =
                self.stored.query("SELECT ?fields FROM link_days FINAL").fetch_all().await?;
            self.version = rows.iter().map(|row| row.version).max().unwrap_or_default();
            self.written =
                Some(rows.into_iter().map(|row| (row.key(), LinkDay { version: 0, ..row })).collect());
        }
        let mut told = Vec::new();
        for link in inventory.links() {
            let days =
                self.days(link, inventory.organisation_name(&link.organisation.value), today, zone).await?;
            told.push((link, days));
        }
        // Only now: figures stay as they were when the store fails halfway.
        let Metrics { percent, full_days, samples, .. } = &*METRICS;
        percent.reset();
        [full_days, samples].into_iter().for_each(IntGaugeVec::reset);
        told.iter().for_each(|(link, days)| tell(link, days));
        Ok(())
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
        let written = self.written.get_or_insert_default();
        let known = |day: Date| written.get(&(link.id.clone(), day.to_string())).and_then(LinkDay::day);
        let mut days: Vec<Day> =
            first.series(1.day()).map_while(|day| known(day).filter(|_| day < today)).collect();
        // Yesterday is looked at again.
        days.truncate(usize::try_from(DAYS - 1)?);
        let from = first.checked_add(i64::try_from(days.len())?.days())?;
        let found = link_days(&self.reader, link, zone, from, today).await?;
        let rows: Vec<LinkDay> = found
            .iter()
            .map(|day| LinkDay::of(link, organisation, day))
            .filter(|row| written.get(&row.key()) != Some(row))
            .collect();
        self.version = version_after(self.version);
        let version = self.version;
        let versioned: Vec<LinkDay> = rows.iter().map(|row| LinkDay { version, ..row.clone() }).collect();
        if !rows.is_empty() {
            let put = self.insert.put(&encoded(&versioned)).await;
            put.map_err(|Refused(reason)| anyhow!("refused: {reason}"))?;
            written.extend(rows.into_iter().map(|row| (row.key(), row)));
        }
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

    fn key(&self) -> (String, String) {
        (self.link.clone(), self.day.clone())
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
