//! `vonggac systems coverage`: which log sources each system must have, by which article, and how they report.
//!
//! What is demanded is read where the inventory and the decrees are; how it stands is what the collector wrote into the table
//! `coverage` some seconds ago. A collector that no longer writes is said: then nobody watches.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::Result;
use event::Micros;
use serde::Serialize;

use crate::coverage::{CoverageRow, Demand, demands};
use crate::evaluate::Places;
use crate::level::Lang;
use crate::people::connect::{Reader, block_on, configuration};
use crate::people::filter::Filter;
use crate::people::output::{Listed, OutputArgs, Tone, print};
use crate::people::select::{as_moment, counted};
use crate::people::systems::SourceArgs;
use crate::people::when::{Clock, iso};

/// A collector that runs writes every few seconds.
const FRESH: Micros = 120 * 1_000_000;
/// The column of the state.
const STATE: usize = 3;

const HELP: &str = "\
States: reports; SILENT: nothing was stored for longer than is allowed; UNANSWERED: it talks, but its canary raises no alert;
waiting: asked for since a short time ago, nothing came yet; absent: the inventory says that there is none, and why; unwatched: the
collector does not know of it (SIGHUP it after a change of the inventory).

Exit codes: 0 all that must report does; 1 something is silent, unanswered or unwatched; 2 it could not be said: no answer, or the
collector no longer writes how things stand.";

/// Which log sources the systems must have, why, and since when one is silent
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Language of sources and articles
    #[arg(long, value_enum, default_value_t, help_heading = "Output")]
    lang: Lang,
    /// Only these systems
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

/// How a demanded source stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Unwatched,
    Reports,
    Waiting,
    Silent,
    Unanswered,
    Absent,
}

impl State {
    fn of(demand: &Demand, known: Option<&CoverageRow>) -> Self {
        match known {
            _ if demand.absent.is_some() => Self::Absent,
            None => Self::Unwatched,
            Some(row) if row.silent_since != 0 => Self::Silent,
            Some(row) if row.unanswered_since != 0 => Self::Unanswered,
            Some(row) if row.last_stored == 0 => Self::Waiting,
            Some(_) => Self::Reports,
        }
    }

    fn is_well(self) -> bool {
        matches!(self, Self::Reports | Self::Waiting | Self::Absent)
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Unwatched => "unwatched",
            Self::Reports => "reports",
            Self::Waiting => "waiting",
            Self::Silent => "SILENT",
            Self::Unanswered => "UNANSWERED",
            Self::Absent => "absent",
        }
    }
}

#[derive(Debug, Default, Serialize)]
struct Row {
    system: String,
    level: u8,
    source: String,
    state: State,
    #[serde(serialize_with = "as_moment")]
    last_stored: Micros,
    /// The hosts that reported last, the latest first.
    hosts: Vec<String>,
    #[serde(serialize_with = "as_moment")]
    silent_since: Micros,
    #[serde(serialize_with = "as_moment")]
    last_canary: Micros,
    #[serde(serialize_with = "as_moment")]
    unanswered_since: Micros,
    silent_after_s: Micros,
    canary_s: Option<Micros>,
    what: String,
    demanded_by: String,
    unsure: String,
    /// The system that has the source for this one.
    by: String,
    absent: String,
}

impl Row {
    fn of(demand: &Demand, what: &str, known: Option<&CoverageRow>, lang: Lang) -> Self {
        let row = known.cloned().unwrap_or_default();
        let mut hosts = row.hosts;
        hosts.sort_by_key(|(host, last)| (std::cmp::Reverse(*last), host.clone()));
        Self {
            system: demand.place.system_id.clone(),
            level: demand.place.level,
            source: demand.source.clone(),
            state: State::of(demand, known),
            last_stored: row.last_stored,
            hosts: hosts.into_iter().map(|(host, last)| format!("{host} {}", iso(last))).collect(),
            silent_since: row.silent_since,
            last_canary: row.last_canary,
            unanswered_since: row.unanswered_since,
            silent_after_s: demand.silent_after / 1_000_000,
            canary_s: demand.canary.map(|micros| micros / 1_000_000),
            what: what.to_owned(),
            demanded_by: demand.asked_by(lang),
            unsure: demand.unsure(lang).unwrap_or_default().to_owned(),
            by: demand.by.clone().unwrap_or_default(),
            absent: demand.absent.clone().unwrap_or_default(),
        }
    }
}

impl Listed for Row {
    const HEADINGS: &'static [&'static str] = &[
        "system",
        "level",
        "source",
        "state",
        "last stored",
        "last by",
        "silent since {zone}",
        "demanded by",
    ];
    const PROSE: &'static [&'static str] = &["demanded by"];
    const SPARE: &'static [&'static str] = &["level", "last by", "silent since {zone}", "demanded by"];

    fn cells(&self, clock: &Clock) -> Vec<String> {
        let age = |micros: Micros| if micros == 0 { "never".to_owned() } else { clock.age(micros) };
        let since = [self.silent_since, self.unanswered_since].into_iter().find(|micros| *micros != 0);
        let host = self.hosts.first().and_then(|host| host.split(' ').next()).unwrap_or("-");
        let unsure = if self.unsure.is_empty() { "" } else { " [unsure]" };
        let by = if self.by.is_empty() { String::new() } else { format!("; by {}", self.by) };
        let absent = if self.absent.is_empty() { String::new() } else { format!("; {}", self.absent) };
        vec![
            self.system.clone(),
            if self.level == 0 { "-".into() } else { self.level.to_string() },
            self.source.clone(),
            self.state.shown().to_owned(),
            age(self.last_stored),
            host.to_owned(),
            since.map_or("-".into(), |since| clock.shown(since)),
            format!("{}{unsure}{by}{absent}", self.demanded_by),
        ]
    }

    fn tone(&self, column: usize) -> Tone {
        match (column, self.state) {
            (STATE, State::Reports) => Tone::Good,
            (STATE, State::Waiting | State::Absent) => Tone::Plain,
            (STATE, _) => Tone::Alarm,
            _ => Tone::Plain,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let clock = Clock::new(args.output.utc);
    let sources = args.sources.read_whole()?;
    sources.chosen(&args.ids)?;
    let reader = Reader::open(&configuration(&args.sources.config)?)?;
    let known = block_on(known(&reader))?;
    let places = Places::new(sources.inventory);
    let table = sources.levels.sources();
    let mut rows = Vec::new();
    for demand in demands(&places, &sources.levels, sources.date) {
        let system = &demand.place.system_id;
        if args.ids.is_empty() || args.ids.contains(system) {
            let what = table.by_id(&demand.source).map_or("", |kind| table.kind(kind).text.of(args.lang));
            let holder = demand.by.as_ref().unwrap_or(system);
            let known = known.get(&(holder.clone(), demand.source.clone()));
            rows.push(Row::of(&demand, what, known, args.lang));
        }
    }
    let unwell = rows.iter().filter(|row| !row.state.is_well()).count();
    let total = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let listened = known.get(&(String::new(), String::new())).map_or(0, |mark| mark.counted_from);
    let fresh = clock.now.as_microsecond().saturating_sub(listened) <= FRESH;
    let summary = format!("{} demanded, {unwell} of them not well", counted(total, "source"));
    print(&rows, &args.output, &clock, &summary)?;
    if !fresh {
        let last = if listened == 0 { "never".to_owned() } else { clock.age(listened) };
        eprintln!(
            "vonggac: nobody watches: the collector wrote how things stand last {last}; is `vonggac serve` running?"
        );
        return Ok(ExitCode::from(2));
    }
    Ok(if unwell == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn known(reader: &Reader) -> Result<HashMap<(String, String), CoverageRow>> {
    use crate::row_binary::Encode as _;
    let columns = CoverageRow::COLUMNS.iter().map(|column| format!("c.{column} AS {column}"));
    let sql = format!("SELECT {} FROM coverage AS c FINAL", columns.collect::<Vec<_>>().join(", "));
    let rows: Vec<CoverageRow> = reader.rows(&sql, &Filter::default()).await?;
    Ok(rows.into_iter().map(|row| ((row.system_id.clone(), row.source.clone()), row)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::grouping::Place;

    #[test]
    fn a_silence_says_more_than_a_canary_and_an_absence_more_than_all() {
        let demand = Demand {
            place: Arc::new(Place::default()),
            source: "server".into(),
            law: None,
            stated: true,
            silent_after: 1,
            canary: None,
            by: None,
            absent: None,
        };
        let row = |last_stored, silent_since, unanswered_since| CoverageRow {
            last_stored,
            silent_since,
            unanswered_since,
            ..CoverageRow::default()
        };
        for (row, expected) in [
            (row(0, 0, 0), State::Waiting),
            (row(5, 0, 0), State::Reports),
            (row(5, 7, 0), State::Silent),
            (row(0, 7, 0), State::Silent),
            (row(5, 0, 7), State::Unanswered),
            (row(5, 7, 7), State::Silent),
        ] {
            assert_eq!(State::of(&demand, Some(&row)), expected, "{row:?}");
            let absent = Demand { absent: Some("none here".into()), ..demand.clone() };
            assert_eq!(State::of(&absent, Some(&row)), State::Absent);
        }
        assert_eq!(State::of(&demand, None), State::Unwatched);
        assert!(!State::Unwatched.is_well());
    }
}
