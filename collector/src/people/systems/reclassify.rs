//! `vonggac systems reclassify`: what is stored gets the systems and levels of today's inventory.
//!
//! Events and flows are changed in place by one mutation a table, which asks the dictionaries that the collector made
//! ([`crate::publish_systems`]) the questions that it asks itself ([`crate::classify`]). Alerts are few: a new version of each
//! that moves is written, with the priority of its new level, and with the clocks of that where they end earlier than its own. The
//! collector may write an alert between the reading and the writing: what it wrote has a newer version and stays, and the alert is read
//! and written again. An alert concerns what its first evidence concerns; when that is
//! no longer stored, what its host belongs to; when that is nobody's, it stays where it is.
//!
//! What this never does: classify by an inventory that is not the collector's. Both must be the same, else nothing is touched.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clickhouse::Row;
use detect::Severity;
use event::Micros;
use serde::{Deserialize, Serialize};

use crate::clock::{now, today};
use crate::config::Config;
use crate::evaluate::Places;
use crate::grouping::AlertRow;
use crate::inventory::Inventory;
use crate::people::connect::{Reader, Writer, block_on, configuration};
use crate::people::filter::{Bound, Filter};
use crate::people::output::{Listed, OutputArgs, Tone, print};
use crate::people::select::{UntilArg, counted, window};
use crate::people::systems::SourceArgs;
use crate::people::when::{Clock, When};
use crate::priority::Levels;
use crate::publish_systems::Load;
use crate::row_binary::Encode as _;

/// A mutation of a year of records on a small machine is done by then. The store goes on when nobody waits any more.
const WORK_TIMEOUT: Duration = Duration::from_secs(6 * 3600);
/// What dictionaries give for who is in no system.
const NOBODY: &str = "('', 0)::Tuple(system_id String, sys_level UInt8)";
/// Alerts that are read and written at once: some 3 KB each.
const ALERTS_AT_ONCE: usize = 1_000;
/// How often an alert is read and written again that the collector wrote meanwhile: it writes one ten times a second at most.
const MOVES_MAX: usize = 20;
/// Longest time between an alert's first evidence and its last hit.
const ALERT_SPAN: Micros = 24 * 3600 * 1_000_000;

const HELP: &str = "\
What changes: `system_id` and `sys_level` of events, the same of both ends of flows, and of alerts the system, its level and legal
basis, its owner, the priority with its reason, and when it is due where that is earlier. Ask with --dry-run first.

What does not: how long a record is kept. `retention_days` was set by the level when the record came in and is part of the
table's partitions, which cannot be changed in place: what moves to a higher level expires as before. Nor the fields
src_system_id and dst_system_id that rules read from events of the network, nor the ids of alerts.

What it costs: ClickHouse reads the hosts and addresses of the whole time once to count and once to change, and writes the two
columns anew in those parts that hold a changed row (small parts as a whole). It runs in the background of the store: inserts and
questions go on. When the command is interrupted the store finishes what it has begun (`system.mutations`).

The collector must have loaded the inventory: `systemctl reload vonggac` after a change. Writing needs the writer's password: the
daemon's user or root.

Exit codes: 0 done, also when nothing changed; 2 it could not be done.";

/// Classify stored events, flows and alerts anew, by today's inventory
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// From when on: 7d (ago), yesterday, 2026-08-19 ... [default: all that is stored]
    #[arg(long, value_name = "TIME", help_heading = "Filters")]
    since: Option<When>,
    #[command(flatten)]
    until: UntilArg,
    /// Count what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// How many records of a table a system has before and after.
#[derive(Debug, Default, Serialize)]
struct Line {
    table: String,
    system: String,
    before: u64,
    after: u64,
}

impl Listed for Line {
    const HEADINGS: &'static [&'static str] = &["table", "system", "before", "after"];

    fn cells(&self, _clock: &Clock) -> Vec<String> {
        let system = if self.system.is_empty() { "-".to_owned() } else { self.system.clone() };
        vec![self.table.clone(), system, self.before.to_string(), self.after.to_string()]
    }

    fn tone(&self, column: usize) -> Tone {
        if column == 3 && self.before != self.after { Tone::Notice } else { Tone::Plain }
    }
}

/// Records of a table that go from one system to another, or stay.
#[derive(Debug, Deserialize, Row)]
struct Moved {
    was: String,
    becomes: String,
    changed: u64,
    records: u64,
}

/// What a table's records are classified by.
struct Classified {
    /// As it is listed.
    name: &'static str,
    table: &'static str,
    id: &'static str,
    level: &'static str,
    /// Gives (system_id, sys_level).
    sql: String,
}

/// A question, and the time that it is about.
struct Range {
    since: Micros,
    until: Micros,
}

impl Range {
    /// `column` within the time. Numbers of ours only: a mutation takes no parameters.
    fn holds(&self, column: &str) -> String {
        let Self { since, until } = self;
        let moment = |micros: &Micros| format!("fromUnixTimestamp64Micro({micros}, 'UTC')");
        format!("{column} >= {} AND {column} < {}", moment(since), moment(until))
    }

    fn widened(&self, by: Micros) -> Self {
        Self { since: self.since.saturating_sub(by).max(0), until: self.until }
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let clock = Clock::new(args.output.utc);
    let now = clock.now.as_microsecond();
    let since = args.since.clone().unwrap_or(When::Ago(now));
    let (since, until) = window(&clock, &since, args.until.until.as_ref())?;
    // What comes in later is classified when it comes; clocks of agents may be a little ahead.
    let range = Range { since, until: until.unwrap_or(now.saturating_add(ALERT_SPAN)) };
    let config = configuration(&args.sources.config)?;
    let sources = args.sources.read_whole()?;
    let load = Load::of(&sources.inventory, sources.levels.decrees(), today());
    let store = Store::open(&config, args.dry_run)?;
    let work = Work { range, store, levels: sources.levels, places: Places::new(sources.inventory) };
    let (lines, changed) = block_on(async {
        work.check_inventory(&load).await?;
        work.run().await
    })?;
    let verb = if args.dry_run { "would change" } else { "changed" };
    print(&lines, &args.output, &clock, &format!("{} {verb}", counted(changed, "record")))?;
    Ok(ExitCode::SUCCESS)
}

/// The store, as one who only asks, for which a reader's password is enough, and changes nothing; or as one who writes.
enum Store {
    Asked(Reader),
    Written(Writer),
}

impl Store {
    fn open(config: &Config, dry_run: bool) -> Result<Self> {
        Ok(if dry_run { Self::Asked(Reader::open(config)?) } else { Self::Written(Writer::open(config)?) })
    }

    fn reader(&self) -> &Reader {
        match self {
            Self::Asked(reader) => reader,
            Self::Written(writer) => writer.reader(),
        }
    }
}

struct Work {
    range: Range,
    store: Store,
    levels: Levels,
    places: Places,
}

#[derive(Deserialize, Row)]
struct Digest {
    digest: String,
}

impl Work {
    async fn check_inventory(&self, load: &Load) -> Result<()> {
        let sql = "SELECT h.digest AS digest FROM systems_history AS h ORDER BY h.loaded_at DESC LIMIT 1";
        let stored: Vec<Digest> = self.store.reader().rows(sql, &Filter::default()).await?;
        ensure!(
            stored.first().is_some_and(|stored| stored.digest == load.digest()),
            "the collector has another inventory than this one: let it load it first (`systemctl reload vonggac`)"
        );
        Ok(())
    }

    /// The lines to show, and how many records change.
    async fn run(&self) -> Result<(Vec<Line>, u64)> {
        let (mut lines, mut changed) = (Vec::new(), 0);
        let alerts = self.alerts().await?;
        for classified in classified(&self.places.inventory) {
            let moved = self.count(&classified).await?;
            let records: u64 = moved.iter().map(|moved| moved.changed).sum();
            lines.extend(summed(classified.name, &moved));
            changed += records;
            if records > 0 {
                self.change(&classified).await?;
            }
        }
        let moved: Vec<Moved> = alerts.iter().map(AlertMove::counted).collect();
        lines.extend(summed("alerts", &moved));
        changed += moved.iter().map(|moved| moved.changed).sum::<u64>();
        self.move_alerts(&alerts).await?;
        Ok((lines, changed))
    }

    async fn count(&self, classified: &Classified) -> Result<Vec<Moved>> {
        let Classified { table, id, level, sql, .. } = classified;
        let sql = format!(
            "SELECT toString({id}) AS was, toString(new.1) AS becomes, countIf(({id}, {level}) != new) AS changed, \
             count() AS records FROM (SELECT {id}, {level}, {sql} AS new FROM {table} WHERE {}) \
             GROUP BY was, becomes ORDER BY was, becomes",
            self.range.holds("ts")
        );
        self.store.reader().rows_within(&sql, &Filter::default(), WORK_TIMEOUT).await
    }

    async fn change(&self, classified: &Classified) -> Result<()> {
        let Store::Written(writer) = &self.store else { return Ok(()) };
        let Classified { table, id, level, sql, .. } = classified;
        // dictGet may answer differently on another replica's next reload; all have the same inventory.
        let sql = format!(
            "ALTER TABLE {table} UPDATE {id} = {sql}.1, {level} = {sql}.2 \
             WHERE {} AND (toString({id}), {level}) != {sql} \
             SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1",
            self.range.holds("ts")
        );
        let failed = || format!("{table} may be changed in part; the same command again does the rest");
        writer.execute(&sql, WORK_TIMEOUT).await.with_context(failed)
    }

    /// All alerts of the time, and what each concerns.
    async fn alerts(&self) -> Result<Vec<AlertMove>> {
        let sql = alerts_sql(&self.range, &self.places.inventory);
        self.store.reader().rows_within(&sql, &Filter::default(), WORK_TIMEOUT).await
    }

    async fn move_alerts(&self, alerts: &[AlertMove]) -> Result<()> {
        let Store::Written(writer) = &self.store else { return Ok(()) };
        let moving: Vec<&AlertMove> = alerts.iter().filter(|alert| alert.moves()).collect();
        for alerts in moving.chunks(ALERTS_AT_ONCE) {
            let becomes: BTreeMap<&str, &str> =
                alerts.iter().map(|alert| (&*alert.id, &*alert.becomes)).collect();
            self.move_some(writer, &becomes).await?;
        }
        Ok(())
    }

    /// Writes the alerts until all stand as they should. `becomes`: the system of each, by the alert's id.
    async fn move_some(&self, writer: &Writer, becomes: &BTreeMap<&str, &str>) -> Result<()> {
        let mut filter = Filter::default();
        let ids = becomes.keys().map(|id| (*id).to_owned()).collect();
        filter.and("a.id IN {}", Bound::Texts(ids));
        let columns = AlertRow::COLUMNS.iter().map(|column| format!("a.{column} AS {column}"));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {columns} FROM alerts AS a FINAL WHERE {}", filter.sql());
        for _ in 0..MOVES_MAX {
            let rows: Vec<AlertRow> = writer.reader().rows(&sql, &filter).await?;
            let mut moved = Vec::new();
            for row in rows {
                let system = becomes.get(&*row.id).copied().unwrap_or_default();
                moved.extend(self.placed(row, system)?);
            }
            if moved.is_empty() {
                return Ok(());
            }
            writer.insert_all("alerts", &moved).await?;
        }
        bail!(
            "alerts are written faster than they can be classified anew; the same command again does the rest"
        )
    }

    /// The next version of an alert, on its system; none where it stands there already.
    fn placed(&self, mut row: AlertRow, system: &str) -> Result<Option<AlertRow>> {
        let place = self.places.of(self.places.inventory.by_id(system));
        if (&row.system_id, row.sys_level) == (&place.system_id, place.level) {
            return Ok(None);
        }
        let Some(severity) = Severity::named(&row.severity) else {
            bail!("alert {}: expected a severity, found {:?}", row.id, row.severity);
        };
        row.place(&self.levels, severity, place, now());
        // Not the time: a row that the collector writes meanwhile counts more hits, and must be the newer one.
        row.version = row.version.saturating_add(1);
        Ok(Some(row))
    }
}

/// An alert, and the system that it concerned and concerns.
#[derive(Debug, Deserialize, Row)]
struct AlertMove {
    id: String,
    was: String,
    was_level: u8,
    becomes: String,
    becomes_level: u8,
}

impl AlertMove {
    fn moves(&self) -> bool {
        (&self.was, self.was_level) != (&self.becomes, self.becomes_level)
    }

    fn counted(&self) -> Moved {
        let Self { was, becomes, .. } = self;
        Moved { was: was.clone(), becomes: becomes.clone(), changed: u64::from(self.moves()), records: 1 }
    }
}

/// The first of several (system_id, sys_level) that names a system, else nobody's.
fn first_of(places: &[String]) -> String {
    format!("arrayFirst(place -> place.1 != '', [{}])", places.join(", "))
}

/// A relay's line tells who wrote it; of others it is not believed. Names of relays hold nothing that would need quoting.
fn of_relay(inventory: &Inventory, host: &str, hostname: &str) -> String {
    let relays: Vec<String> = inventory.relays().map(|relay| format!("'{relay}'")).collect();
    format!("if(has([{}]::Array(String), lower({host})), {}, {NOBODY})", relays.join(", "), of_host(hostname))
}

fn of_host(column: &str) -> String {
    format!("dictGet('system_by_host', ('system_id', 'sys_level'), lower({column}))")
}

/// An address that is not there belongs to nobody.
fn of_address(column: &str) -> String {
    let asked = format!("dictGet('system_by_address', ('system_id', 'sys_level'), {column})");
    format!("if({column} = toIPv6('::'), {NOBODY}, {asked})")
}

/// What an event concerns, as the collector tells it: on a network the ends come before who looked on.
fn of_event(inventory: &Inventory) -> String {
    let host = of_host("toString(host)");
    let hostname = of_relay(inventory, "toString(host)", "hostname");
    let (dst, src) = (of_address("dst_ip"), of_address("src_ip"));
    let seen = first_of(&[dst.clone(), src.clone(), hostname.clone(), host.clone()]);
    let told = first_of(&[hostname, host, dst, src]);
    let network = crate::ends::NETWORK;
    format!("if(product = '{network}' AND src_ip != toIPv6('::') AND dst_ip != toIPv6('::'), {seen}, {told})")
}

fn classified(inventory: &Inventory) -> [Classified; 3] {
    let (id, level) = ("system_id", "sys_level");
    let end = |name, id, level, sql| Classified { name, table: "flows", id, level, sql };
    [
        Classified { name: "events", table: "events", id, level, sql: of_event(inventory) },
        end("flows, source", "src_system_id", "src_sys_level", of_address("src_ip")),
        end("flows, destination", "dst_system_id", "dst_sys_level", of_address("dst_ip")),
    ]
}

/// The evidence of alerts by its name, as [`crate::evaluate`] writes it.
fn alerts_sql(range: &Range, inventory: &Inventory) -> String {
    let name =
        "concat(agent, ':', lower(leftPad(hex(epoch), 16, '0')), ':', toString(seq), ':', toString(record))";
    let evidence = range.widened(ALERT_SPAN).holds("ts");
    let of_flow = first_of(&[of_address("dst_ip"), of_address("src_ip"), of_host("toString(host)")]);
    let of = |table: &str, sql: &str| {
        format!("SELECT {name} AS event, {sql} AS place FROM {table} WHERE notEmpty(rules) AND {evidence}")
    };
    format!(
        "WITH \
            a AS (SELECT id, toString(system_id) AS was, sys_level AS was_level, toString(host) AS host, \
                if(empty(sample_events), '', sample_events[1]) AS event FROM alerts FINAL WHERE {alerts}), \
            e AS ({events} UNION ALL {flows}) \
         SELECT id, was, was_level, toString(place.1) AS becomes, toUInt8(place.2) AS becomes_level \
         FROM (SELECT a.id AS id, a.was AS was, a.was_level AS was_level, \
            multiIf(e.event != '', e.place, {host}.1 != '', {host}, (a.was, a.was_level)) AS place \
            FROM a LEFT ANY JOIN e ON a.event = e.event)",
        alerts = range.holds("last_seen"),
        events = of("events", &of_event(inventory)),
        flows = of("flows", &of_flow),
        host = of_host("a.host"),
    )
}

/// One line for each system that has records before or after, by how many each has.
fn summed(table: &str, moved: &[Moved]) -> Vec<Line> {
    let mut systems: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for Moved { was, becomes, records, .. } in moved {
        systems.entry(was).or_default().0 += records;
        systems.entry(becomes).or_default().1 += records;
    }
    let line = |(system, (before, after)): (&str, (u64, u64))| Line {
        table: table.to_owned(),
        system: system.to_owned(),
        before,
        after,
    };
    systems.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_what_each_system_has_before_and_after() {
        let moved = |was: &str, becomes: &str, records| Moved {
            was: was.into(),
            becomes: becomes.into(),
            changed: 0,
            records,
        };
        let lines = summed(
            "events",
            &[moved("", "portal", 5), moved("portal", "portal", 3), moved("portal", "lan", 1)],
        );
        let counts: Vec<_> = lines.iter().map(|line| (&*line.system, line.before, line.after)).collect();
        assert_eq!(counts, [("", 5, 0), ("lan", 0, 1), ("portal", 4, 8)]);
    }

    #[test]
    fn an_alert_moves_by_its_system_or_its_level() {
        let alert = |was: &str, was_level, becomes: &str, becomes_level| AlertMove {
            id: String::new(),
            was: was.into(),
            was_level,
            becomes: becomes.into(),
            becomes_level,
        };
        assert!(alert("a", 3, "b", 3).moves());
        assert!(alert("a", 2, "a", 3).moves());
        assert!(!alert("a", 3, "a", 3).moves());
    }
}
