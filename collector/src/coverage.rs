//! Which log sources must report, and which have fallen silent: pure, with the clock as an argument.
//!
//! - `sources.rs`: the kinds of sources, and what of the events counts as coming from one.
//! - `demand.rs`: which of them each system needs, and by which article.
//! - `hits.rs`: what alerts say of it.
//! - here: what has reported, and what is to be told. [`crate::watch_coverage`] is the stage around it.
//!
//! A source is a pair of system and kind. It is silent when nothing of it was stored for the time that its demand allows, by the
//! collector's clock: what comes late has come. Each silence is told once, and its end. A source that talks, but whose canary has
//! not come out as an alert for too long, is told, too: then detection does not see what is stored. While it is silent its canary
//! is not waited for.
//!
//! What was told is not known to people before its alert is stored. Until then ([`Coverage::known`]) the row of the source is not
//! given out to be written: after a crash in between it is as it was before, and is told again.
//!
//! Time in which no collector listened counts for nobody: after a restart all clocks go on from where they stood, so that a
//! restart forgets no silence, and a collector that was away takes none for one.
//!
//! Limits: hosts that are remembered of a source ([`HOSTS_MAX`]); sources are as many as systems times kinds.

mod demand;
mod hits;
mod sources;

use std::collections::BTreeMap;
use std::sync::Arc;

use clickhouse::Row;
use event::Micros;
use serde::{Deserialize, Serialize};

pub(crate) use demand::{Demand, demands};
pub(crate) use hits::CoverageHits;
pub(crate) use sources::{SourceSet, SourceTable, Span};

use crate::row_binary::encode;

/// Hosts of one source that are told apart: those that reported last.
pub(crate) const HOSTS_MAX: usize = 64;

/// A row of the table `coverage`: what is known of a source.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Row, Serialize)]
pub(crate) struct CoverageRow {
    /// Empty: `counted_from` says until when a collector listened.
    pub(crate) system_id: String,
    pub(crate) source: String,
    /// 0: never, here and below.
    pub(crate) last_stored: Micros,
    pub(crate) hosts: Vec<(String, Micros)>,
    pub(crate) last_canary: Micros,
    pub(crate) counted_from: Micros,
    pub(crate) canary_from: Micros,
    pub(crate) silent_since: Micros,
    pub(crate) unanswered_since: Micros,
    pub(crate) version: u64,
}

encode!(CoverageRow {
    system_id,
    source,
    last_stored,
    hosts,
    last_canary,
    counted_from,
    canary_from,
    silent_since,
    unanswered_since,
    version,
});

/// What happened to a source.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum What {
    /// Nothing was stored for too long.
    Silent,
    /// It reports again.
    Back,
    /// It talks, but its canary does not come out as an alert.
    Unanswered,
    /// The canary came out again.
    Answered,
}

/// Something that people should know.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) what: What,
    pub(crate) demand: Arc<Demand>,
    /// Since when it was so: of an end, since when it had been silent or unanswered.
    pub(crate) since: Micros,
    /// As it was when this was found out.
    pub(crate) row: CoverageRow,
    pub(crate) now: Micros,
}

/// All sources.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// By system and source.
    watched: BTreeMap<(String, String), Watched>,
}

#[derive(Debug)]
struct Watched {
    row: CoverageRow,
    /// None: it reports, and nobody asks for it.
    demand: Option<Arc<Demand>>,
    changed: bool,
    /// How often it was told what people do not know yet.
    untold: usize,
}

impl Coverage {
    /// As an earlier collector left it.
    pub(crate) fn restored(rows: Vec<CoverageRow>, now: Micros) -> Self {
        let (marks, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.system_id.is_empty());
        let listened_until = marks.iter().map(|mark| mark.counted_from).max().unwrap_or(now);
        let away = now.saturating_sub(listened_until).max(0);
        let watched = rows.into_iter().map(|mut row| {
            for from in [&mut row.counted_from, &mut row.canary_from].into_iter().filter(|from| **from != 0) {
                *from = from.saturating_add(away).min(now);
            }
            let key = (row.system_id.clone(), row.source.clone());
            (key, Watched { row, demand: None, changed: true, untold: 0 })
        });
        Self { watched: watched.collect() }
    }

    /// Puts these demands in place of those before. A source that nobody knew is waited for from now on.
    pub(crate) fn demand(&mut self, demands: Vec<Demand>, now: Micros) {
        self.watched.values_mut().for_each(|watched| watched.demand = None);
        for demand in demands.into_iter().filter(|demand| demand.absent.is_none() && demand.by.is_none()) {
            let key = (demand.place.system_id.clone(), demand.source.clone());
            let watched = self.watched.entry(key).or_insert_with_key(|key| Watched::new(key, now));
            watched.demand = Some(Arc::new(demand));
        }
        self.watched.values_mut().for_each(|watched| watched.asked_anew(now));
    }

    /// Something of a source was stored.
    pub(crate) fn stored(&mut self, system: &str, source: &str, host: &str, now: Micros) -> Option<Told> {
        let key = (system.to_owned(), source.to_owned());
        let watched = self.watched.entry(key).or_insert_with_key(|key| Watched::new(key, now));
        watched.changed = true;
        let row = &mut watched.row;
        (row.last_stored, row.counted_from) = (now, now);
        heard(&mut row.hosts, host, now);
        let since = std::mem::take(&mut row.silent_since);
        if since == 0 {
            return None;
        }
        if row.canary_from != 0 {
            row.canary_from = now;
        }
        watched.told(What::Back, since, now)
    }

    /// The canary of a source came out as an alert.
    pub(crate) fn answered(&mut self, system: &str, source: &str, now: Micros) -> Option<Told> {
        let watched = self.watched.get_mut(&(system.to_owned(), source.to_owned()))?;
        watched.changed = true;
        let row = &mut watched.row;
        (row.last_canary, row.canary_from) = (now, now);
        let since = std::mem::take(&mut row.unanswered_since);
        if since == 0 { None } else { watched.told(What::Answered, since, now) }
    }

    /// What has fallen silent, or is no longer answered.
    pub(crate) fn check(&mut self, now: Micros) -> Vec<Told> {
        self.watched.values_mut().filter_map(|watched| watched.check(now)).collect()
    }

    /// The alert of what was told is stored, or the exception that expected it is counted.
    pub(crate) fn known(&mut self, system: &str, source: &str) {
        if let Some(watched) = self.watched.get_mut(&(system.to_owned(), source.to_owned())) {
            watched.untold = watched.untold.saturating_sub(1);
        }
    }

    /// What was told reached nobody: what lasts is told again at the next [`check`](Self::check).
    pub(crate) fn unheard(&mut self, told: &Told) {
        let key = (told.demand.place.system_id.clone(), told.demand.source.clone());
        let Some(watched) = self.watched.get_mut(&key) else { return };
        watched.untold = watched.untold.saturating_sub(1);
        match told.what {
            What::Silent => watched.row.silent_since = 0,
            What::Unanswered => watched.row.unanswered_since = 0,
            What::Back | What::Answered => {}
        }
    }

    /// The rows that changed since the last call, but for those of which people do not know yet.
    pub(crate) fn changed(&mut self, now: Micros) -> Vec<CoverageRow> {
        let version = u64::try_from(now).unwrap_or_default();
        let mut rows = Vec::new();
        for watched in self.watched.values_mut().filter(|watched| watched.changed && watched.untold == 0) {
            watched.changed = false;
            watched.row.version = version.max(watched.row.version.saturating_add(1));
            rows.push(watched.row.clone());
        }
        rows
    }

    /// What is demanded, and how it stands.
    pub(crate) fn demanded(&self) -> impl Iterator<Item = (&Demand, &CoverageRow)> {
        self.watched.values().filter_map(|watched| Some((&**watched.demand.as_ref()?, &watched.row)))
    }
}

impl Watched {
    fn new((system, source): &(String, String), now: Micros) -> Self {
        let (system_id, source) = (system.clone(), source.clone());
        let row = CoverageRow { system_id, source, counted_from: now, ..CoverageRow::default() };
        Self { row, demand: None, changed: true, untold: 0 }
    }

    /// What nobody asks for is not silent. A canary that nobody waited for is waited for from now on.
    fn asked_anew(&mut self, now: Micros) {
        let row = &mut self.row;
        let before = row.clone();
        if self.demand.is_none() {
            row.silent_since = 0;
        }
        if self.demand.as_ref().is_none_or(|demand| demand.canary.is_none()) {
            (row.canary_from, row.unanswered_since) = (0, 0);
        } else if row.canary_from == 0 {
            row.canary_from = now;
        }
        self.changed |= before != *row;
    }

    fn check(&mut self, now: Micros) -> Option<Told> {
        let demand = Arc::clone(self.demand.as_ref()?);
        let row = &mut self.row;
        if row.silent_since != 0 {
            return None;
        }
        if now.saturating_sub(row.counted_from) >= demand.silent_after {
            (row.silent_since, self.changed) = (row.counted_from, true);
            return self.told(What::Silent, self.row.silent_since, now);
        }
        let waits = row.unanswered_since == 0 && row.last_stored != 0;
        if waits && demand.canary.is_some_and(|limit| now.saturating_sub(row.canary_from) >= limit) {
            (row.unanswered_since, self.changed) = (row.canary_from, true);
            return self.told(What::Unanswered, self.row.unanswered_since, now);
        }
        None
    }

    /// Only what is asked for is told.
    fn told(&mut self, what: What, since: Micros, now: Micros) -> Option<Told> {
        let demand = Arc::clone(self.demand.as_ref()?);
        self.untold += 1;
        Some(Told { what, demand, since, row: self.row.clone(), now })
    }
}

/// Notes that a host reported; when there are too many, the one that was silent the longest gives way.
fn heard(hosts: &mut Vec<(String, Micros)>, host: &str, now: Micros) {
    if let Some((_, last)) = hosts.iter_mut().find(|(known, _)| known == host) {
        *last = now;
        return;
    }
    if hosts.len() >= HOSTS_MAX
        && let Some(oldest) = (0..hosts.len()).min_by_key(|index| hosts[*index].1)
    {
        hosts.swap_remove(oldest);
    }
    hosts.push((host.to_owned(), now));
}

#[cfg(test)]
mod tests;
