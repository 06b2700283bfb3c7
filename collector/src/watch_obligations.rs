//! Follows what the law wants done by when, duties of systems and reports of incidents: for `/metrics`, and in the table
//! `obligations` for dashboards. A day passes by itself, and people record what they did from other machines, so it is computed
//! again and again; what changed is written.
//!
//! When the store or a file does not answer, figures and table stay as they were, and the failure is counted. An exercise (an
//! incident made of a drill's alerts) is in the table, and in no figure.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Result;
use clickhouse::{Client, Row};
use event::Micros;
use jiff::civil::Date;
use prometheus::{IntCounter, IntGauge, IntGaugeVec};
use serde::Deserialize;

use crate::clock::{now, today, zone};
use crate::config::Config;
use crate::history::Entry;
use crate::incident::{Incident, Standing, Term, incidents};
use crate::inventory::System;
use crate::level::Lang;
use crate::metrics;
use crate::mirror::{Mirror, Mirrored, by_key};
use crate::people::{Books, Owed, Reader, Record, incident_entries, owed};
use crate::row_binary::encode;
use crate::watch::Watch;

const LEVELS: [u8; 5] = [1, 2, 3, 4, 5];
const DUTY: &str = "duty";
const INCIDENT: &str = "incident";

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    duties: metrics::gauges(
        "vonggac_duty_overdue_count",
        "Duties of systems that should have been done by now, by the level of the system.",
        &["level"],
    ),
    open: metrics::gauge("vonggac_incident_open_count", "Incidents that are not closed."),
    overdue: metrics::gauge(
        "vonggac_incident_reports_overdue_count",
        "Reports of incidents that the law wanted by now and that nobody recorded as sent.",
    ),
    next: metrics::gauge(
        "vonggac_incident_report_due_seconds",
        "When the next report of an incident is due that is not overdue yet (Unix time); 0: none is.",
    ),
    failures: metrics::counter(
        "vonggac_obligations_failures_total",
        "Rounds in which duties and reports of incidents could not be told or written.",
    ),
});

struct Metrics {
    duties: IntGaugeVec,
    open: IntGauge,
    overdue: IntGauge,
    next: IntGauge,
    failures: IntCounter,
}

/// A row of the table `obligations`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Row)]
struct Obligation {
    kind: String,
    subject: String,
    item: String,
    system_id: String,
    sys_level: u8,
    what_vi: String,
    what_en: String,
    article: String,
    unsure: String,
    due: Micros,
    done_at: Micros,
    drill_id: String,
    version: u64,
    gone: u8,
}

encode!(Obligation {
    kind,
    subject,
    item,
    system_id,
    sys_level,
    what_vi,
    what_en,
    article,
    unsure,
    due,
    done_at,
    drill_id,
    version,
    gone,
});

type Key = (String, String, String);

impl Mirrored for Obligation {
    const TABLE: &'static str = "obligations";
    type Key = Key;

    fn key(&self) -> Key {
        (self.kind.clone(), self.subject.clone(), self.item.clone())
    }

    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }
}

/// See [`watch`](crate::watch).
pub(crate) struct WatchObligations {
    config: Config,
    reader: Reader,
    written: Mirror<Obligation>,
}

/// How everything stands in one round.
struct Round {
    owed: Vec<Owed>,
    incidents: Vec<Incident>,
    books: Books,
}

impl WatchObligations {
    pub(crate) fn new(config: &Config, client: &Client) -> Result<Self> {
        LazyLock::force(&METRICS);
        Ok(Self { config: config.clone(), reader: Reader::open(config)?, written: Mirror::new(client) })
    }

    /// Writes what changed, and that what is owed no more is gone.
    async fn write(&mut self, obligations: Vec<Obligation>) -> Result<()> {
        let changed = changes(self.written.rows().await?, &by_key(obligations));
        self.written.write(changed).await
    }
}

impl Watch for WatchObligations {
    /// Reports of incidents are due to the minute; a round is three small questions and some files.
    const EVERY: Duration = Duration::from_secs(15);
    const UNTOLD: &'static str = "what the law wants by when is not told";

    async fn round(&mut self) -> Result<()> {
        let record = Record::read(&self.reader, None).await?;
        let entries = incident_entries(&self.reader).await?;
        let config = self.config.clone();
        let round =
            tokio::task::spawn_blocking(move || Round::of(&config, &record, &entries, today())).await??;
        // Who sees the figures finds the rows.
        let written = self.write(round.obligations()).await;
        round.tell(now());
        written
    }

    fn failures() -> &'static IntCounter {
        &METRICS.failures
    }
}

/// The rows that make what is written what is wanted.
fn changes(written: &HashMap<Key, Obligation>, wanted: &HashMap<Key, Obligation>) -> Vec<Obligation> {
    let changed = wanted.iter().filter(|(key, row)| written.get(*key) != Some(row));
    let gone = written.iter().filter(|(key, row)| row.gone == 0 && !wanted.contains_key(*key));
    let changed = changed.map(|(_, row)| row.clone());
    changed.chain(gone.map(|(_, row)| Obligation { gone: 1, ..row.clone() })).collect()
}

impl Round {
    fn of(config: &Config, record: &Record, entries: &[Entry], today: Date) -> Result<Self> {
        let books = Books::open(config, today, zone())?;
        let owed = owed(&books, record, today, Lang::En);
        Ok(Self { owed, incidents: incidents(entries), books })
    }

    fn tell(&self, now: Micros) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for level in LEVELS {
            let overdue = self.owed.iter().filter(|one| one.overdue && one.level == level).count();
            METRICS.duties.with_label_values(&[&level.to_string()]).set(number(overdue));
        }
        let real = || self.incidents.iter().filter(|incident| incident.drill.is_empty());
        METRICS.open.set(number(real().filter(|incident| incident.closed.is_none()).count()));
        let of = |standing| {
            let terms = real().flat_map(|incident| self.books.terms(incident));
            terms.filter(move |term| term.standing(now) == standing).collect::<Vec<_>>()
        };
        METRICS.overdue.set(number(of(Standing::Overdue).len()));
        let next = of(Standing::Open).iter().filter_map(|term| term.due).min();
        METRICS.next.set(next.unwrap_or_default() / 1_000_000);
    }

    fn obligations(&self) -> Vec<Obligation> {
        let duties = self.owed.iter().map(|owed| self.duty(owed));
        let reports = self.incidents.iter().flat_map(|incident| {
            self.books.terms(incident).iter().map(|term| self.report(incident, term)).collect::<Vec<_>>()
        });
        duties.chain(reports).collect()
    }

    fn duty(&self, owed: &Owed) -> Obligation {
        Obligation {
            kind: DUTY.to_owned(),
            subject: owed.system.clone(),
            item: owed.duty.clone(),
            system_id: owed.system.clone(),
            sys_level: owed.level,
            what_vi: owed.what_vi.clone(),
            what_en: owed.what.clone(),
            article: owed.article.clone(),
            unsure: owed.unsure.clone(),
            due: self.midnight_after(&owed.due),
            done_at: self.midnight_after(&owed.last_done),
            ..Obligation::default()
        }
    }

    /// The end of a day that is told as text; 0 for none.
    fn midnight_after(&self, day: &str) -> Micros {
        let end = day.parse::<Date>().ok().and_then(|day| day.tomorrow().ok());
        let end = end.and_then(|day| day.to_zoned(self.books.zone.clone()).ok());
        end.map_or(0, |end| end.timestamp().as_microsecond())
    }

    fn report(&self, incident: &Incident, term: &Term<'_>) -> Obligation {
        let provision = &term.deadline.provision;
        let system = self.books.system(&incident.system);
        Obligation {
            kind: INCIDENT.to_owned(),
            subject: incident.id.clone(),
            item: provision.id.clone(),
            system_id: incident.system.clone(),
            sys_level: system.map_or(0, System::level),
            what_vi: provision.text.of(Lang::Vi).to_owned(),
            what_en: provision.text.of(Lang::En).to_owned(),
            article: term.article(Lang::Vi),
            unsure: provision
                .unsure
                .as_ref()
                .map(|unsure| unsure.of(Lang::Vi).to_owned())
                .unwrap_or_default(),
            due: term.due.unwrap_or_default(),
            done_at: term.sent.first().map_or(0, |sent| sent.at),
            drill_id: incident.drill.clone(),
            ..Obligation::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(item: &str, due: Micros) -> Obligation {
        Obligation { item: item.into(), due, ..Obligation::default() }
    }

    #[test]
    fn what_changed_is_written_and_what_is_owed_no_more_is_gone() {
        let written = by_key(vec![row("kept", 1), row("moved", 1), row("gone", 1)]);
        let wanted = by_key(vec![row("kept", 1), row("moved", 2), row("new", 3)]);
        let mut rows = changes(&written, &wanted);
        rows.sort_by(|one, other| one.item.cmp(&other.item));
        let gone = Obligation { gone: 1, ..row("gone", 1) };
        assert_eq!(rows, [gone.clone(), row("moved", 2), row("new", 3)]);
        assert_eq!(changes(&wanted, &wanted), []);
        let mut written = wanted.clone();
        written.insert(gone.key(), gone);
        assert_eq!(changes(&written, &wanted), [], "what is gone is written once");
    }
}
