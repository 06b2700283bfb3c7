//! What the store shows of a drill while it runs, as any reader sees it: alerts when they become visible, events when all
//! is over.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use anyhow::Result;
use clickhouse::Row;
use event::Micros;
use serde::Deserialize;
use tokio::time::Instant;

use crate::drill::replay::now;
use crate::people::{Bound, Filter, Reader};

/// How often the alerts are looked at: the error of the times measured.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// When no further event has come for so long, what is missing counts as lost.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// How often the events are counted.
const COUNT_EVERY: Duration = Duration::from_millis(250);

/// An alert of the drill.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alert {
    /// As it stood when the drill was over.
    pub(crate) row: AlertRow,
    /// When it was seen for the first time, by the clock.
    pub(crate) visible: Micros,
    /// As it stood then: the time of the event that made it, and the events it named.
    pub(crate) opened: Micros,
    pub(crate) opened_by: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Row)]
pub(crate) struct AlertRow {
    pub(crate) id: String,
    pub(crate) rule_id: String,
    pub(crate) rule_title: String,
    pub(crate) severity: String,
    pub(crate) priority: String,
    pub(crate) sys_level: u8,
    pub(crate) host: String,
    pub(crate) entity: String,
    pub(crate) hits: u64,
    pub(crate) first_seen: Micros,
    pub(crate) last_seen: Micros,
    pub(crate) sample_events: Vec<String>,
}

/// An event of the drill.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Row)]
pub(crate) struct EventRow {
    /// agent:epoch:seq:record, as alerts name it.
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) source: String,
    pub(crate) offset: u64,
    pub(crate) ts: Micros,
    pub(crate) rules: Vec<String>,
}

#[derive(Deserialize, Row)]
struct Stored {
    places: u64,
}

const ALERTS: &str = "SELECT a.id AS id, a.rule_id AS rule_id, a.rule_title AS rule_title, a.severity AS severity, \
    a.priority AS priority, a.sys_level AS sys_level, a.host AS host, a.entity AS entity, a.hits AS hits, \
    toUnixTimestamp64Micro(a.first_seen) AS first_seen, toUnixTimestamp64Micro(a.last_seen) AS last_seen, \
    a.sample_events AS sample_events FROM alerts AS a FINAL";

/// Events and flows, with what a drill asks of either.
const RECORDS: &str = "(SELECT agent, epoch, seq, record, host, source, offset, ts, rules, drill_id FROM events \
    UNION ALL SELECT agent, epoch, seq, record, host, source, offset, ts, rules, drill_id FROM flows) AS a";

const EVENT: &str = "concat(a.agent, ':', leftPad(lower(hex(a.epoch)), 16, '0'), ':', toString(a.seq), ':', \
    toString(a.record)) AS id, a.host AS host, a.source AS source, a.offset AS offset, \
    toUnixTimestamp64Micro(a.ts) AS ts, a.rules AS rules";

/// One drill's rows in the store.
pub(crate) struct Watch<'r> {
    reader: &'r Reader,
    alerts: Filter,
    /// Bounded by time as well: there are many more events than alerts.
    events: Filter,
}

/// The alerts seen so far.
#[derive(Debug, Default)]
pub(crate) struct Sightings(HashMap<String, Alert>);

impl<'r> Watch<'r> {
    /// `since`: no event of the drill bears an earlier time.
    pub(crate) fn new(reader: &'r Reader, drill_id: &str, since: Micros) -> Self {
        let mut alerts = Filter::default();
        alerts.and("a.drill_id = {}", Bound::Text(drill_id.to_owned()));
        let mut events = alerts.clone();
        events.and("a.ts >= {}", Bound::Time(since));
        Self { reader, alerts, events }
    }

    /// Looks at the alerts again and again until the store cannot be asked any more.
    pub(crate) async fn until_failure(&self, sightings: &mut Sightings) -> anyhow::Error {
        loop {
            if let Err(error) = self.look(sightings).await {
                return error;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Looks at the alerts once.
    pub(crate) async fn look(&self, sightings: &mut Sightings) -> Result<()> {
        let sql = format!("{ALERTS} WHERE {}", self.alerts.sql());
        let rows: Vec<AlertRow> = self.reader.rows(&sql, &self.alerts).await?;
        let visible = now();
        rows.into_iter().for_each(|row| sightings.note(row, visible));
        Ok(())
    }

    /// The events, as soon as there are some at `expected` places or none has come for [`STALLED_AFTER`].
    pub(crate) async fn events(&self, expected: usize) -> Result<Vec<EventRow>> {
        let expected = u64::try_from(expected)?;
        let condition = self.events.sql();
        let count =
            format!("SELECT uniqExact(a.source, a.offset) AS places FROM {RECORDS} WHERE {condition}");
        let mut places = 0;
        let mut grown = Instant::now();
        while places < expected && grown.elapsed() < STALLED_AFTER {
            let found: Vec<Stored> = self.reader.rows(&count, &self.events).await?;
            let found = found.first().map_or(0, |stored| stored.places);
            if found > places {
                (places, grown) = (found, Instant::now());
            }
            if places < expected {
                tokio::time::sleep(COUNT_EVERY).await;
            }
        }
        self.reader.rows(&format!("SELECT {EVENT} FROM {RECORDS} WHERE {condition}"), &self.events).await
    }
}

impl Sightings {
    fn note(&mut self, row: AlertRow, visible: Micros) {
        match self.0.entry(row.id.clone()) {
            Entry::Occupied(mut seen) => seen.get_mut().row = row,
            Entry::Vacant(unseen) => {
                let (opened, opened_by) = (row.first_seen, row.sample_events.clone());
                unseen.insert(Alert { row, visible, opened, opened_by });
            }
        }
    }

    /// In the order in which they became visible.
    pub(crate) fn into_alerts(self) -> Vec<Alert> {
        let mut alerts: Vec<Alert> = self.0.into_values().collect();
        alerts.sort_by(|one, other| (one.visible, &one.row.id).cmp(&(other.visible, &other.row.id)));
        alerts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_keeps_its_first_sighting_and_its_last_state() {
        let row = |hits, last_seen| AlertRow {
            id: "a".into(),
            hits,
            first_seen: 5,
            last_seen,
            sample_events: vec![format!("event {last_seen}")],
            ..AlertRow::default()
        };
        let mut sightings = Sightings::default();
        sightings.note(row(1, 5), 100);
        sightings.note(row(3, 9), 200);
        let alerts = sightings.into_alerts();
        assert_eq!(
            alerts,
            [Alert { row: row(3, 9), visible: 100, opened: 5, opened_by: vec!["event 5".into()] }]
        );
    }
}
