//! `vonggac status`: is everything well? Each check is one row: what, how it stands, and the figures behind the verdict.
//!
//! It asks the collector (its metrics page) and the store, and never guesses: what cannot be asked is said to be unknown.

mod daemon;
mod losses;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clickhouse::Row;
use event::Micros;
use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigArg};
use crate::hunts::SENDER_PREFIX;
use crate::log::in_words;
use crate::people::connect::{Reader, block_on, configuration};
use crate::people::escape::shown;
use crate::people::filter::{Bound, Filter};
use crate::people::output::{Listed, OutputArgs, Tone, print};
use crate::people::scrape;
use crate::people::select::{counted, grouped};
use crate::people::when::{Clock, MICROS_PER_S, When};

/// A log source with fewer lines than this says nothing by its share of unparsed ones.
const LINES_MIN: u64 = 10;
/// From this share on a source is named: a parser is missing, or the source is configured as the wrong format.
const UNPARSED_PERCENT_MAX: u64 = 10;
/// Sources named at most; the worst come first.
const SOURCES_SHOWN: usize = 10;
/// An agent that has sent nothing for so many days is taken for one that was switched off: told as a notice, once for all of them.
const GONE_DAYS: i64 = 30;
/// Such agents named at most; the last ones come first.
const GONE_SHOWN: usize = 10;

const EXAMPLES: &str = "\
Examples:
  vonggac status                                       every check, worst first to see at a glance
  vonggac status --silent-after 2h                     hosts that send at least every two hours
  vonggac status >/dev/null || page-someone            for cron
  vonggac status --format json | jq 'select(.state != \"ok\")'

Exit codes: 0 all is well (notices do not count); 1 something is wrong, the rows say what; 2 the collector or the store
cannot be reached.";

/// Say whether everything is well: collector, certificates, rules, hunts, losses, store, agents, unparsed lines
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: OutputArgs,
    /// An agent that has sent nothing for this long is wrong; after 30 days it is taken for switched off, which is a notice
    #[arg(long, value_name = "TIME", default_value = "24h")]
    silent_after: When,
    /// Below this share of free space the store's disk is wrong: merges need room to write a part anew
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(..=100))]
    disk_free_min: u8,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Ok,
    /// Worth a look; not an error.
    Notice,
    Wrong,
    Unreachable,
}

/// One row.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
struct Check {
    check: String,
    state: State,
    detail: String,
}

impl Listed for Check {
    const HEADINGS: &'static [&'static str] = &["check", "state", "detail"];

    fn cells(&self, _clock: &Clock) -> Vec<String> {
        vec![self.check.clone(), self.state.name().to_owned(), self.detail.clone()]
    }

    fn tone(&self, column: usize) -> Tone {
        match (column, self.state) {
            (1, State::Ok) => Tone::Good,
            (1, State::Notice) => Tone::Notice,
            (1, State::Wrong | State::Unreachable) => Tone::Alarm,
            _ => Tone::Plain,
        }
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Notice => "notice",
            Self::Wrong => "WRONG",
            Self::Unreachable => "UNREACHABLE",
        }
    }

    fn exit_code(self) -> u8 {
        match self {
            Self::Ok | Self::Notice => 0,
            Self::Wrong => 1,
            Self::Unreachable => 2,
        }
    }

    fn wrong_if(wrong: bool) -> Self {
        if wrong { Self::Wrong } else { Self::Ok }
    }
}

impl Check {
    fn new(check: impl Into<String>, state: State, detail: impl Into<String>) -> Self {
        Self { check: check.into(), state, detail: detail.into() }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let clock = Clock::new(args.output.utc);
    let silent_since = clock.resolve(&args.silent_after)?;
    ensure!(
        silent_since < clock.now.as_microsecond(),
        "--silent-after: a time ago expected, for instance 24h"
    );
    let config = configuration(&args.config)?;
    let mut checks = collector(&config, &clock);
    match store(&config, &clock, silent_since, args.disk_free_min) {
        Ok(found) => checks.extend(found),
        Err(error) => checks.push(Check::new("store", State::Unreachable, in_words(&error))),
    }
    let worst = checks.iter().map(|check| check.state).max().unwrap_or_default();
    print(&checks, &args.output, &clock, &summary(&checks))?;
    Ok(ExitCode::from(worst.exit_code()))
}

fn summary(checks: &[Check]) -> String {
    let named = |state: State| -> Vec<&str> {
        checks.iter().filter(|check| check.state == state).map(|check| check.check.as_str()).collect()
    };
    let (unreachable, wrong) = (named(State::Unreachable), named(State::Wrong));
    match (unreachable.is_empty(), wrong.is_empty()) {
        (true, true) => "all is well".to_owned(),
        (true, false) => format!("wrong: {}", shown(&wrong.join(", "))),
        (false, _) => format!("cannot be reached: {}", shown(&unreachable.join(", "))),
    }
}

/// What the collector says of itself.
fn collector(config: &Config, clock: &Clock) -> Vec<Check> {
    let listen = config.metrics.listen;
    let samples = match scrape::metrics(listen) {
        Ok(samples) => samples,
        Err(error) => {
            let detail = format!("{}; is `vonggac serve` running on this machine?", in_words(&error));
            return vec![Check::new("collector", State::Unreachable, detail)];
        }
    };
    let ready = match scrape::request(listen, "/ready") {
        Ok(_) => Check::new("collector", State::Ok, format!("ready, metrics at http://{listen}/metrics")),
        Err(error) => {
            Check::new("collector", State::Wrong, format!("runs but is not ready: {}", in_words(&error)))
        }
    };
    let mut checks = vec![ready];
    checks.push(daemon::certificates(&samples, clock));
    checks.extend(daemon::content(&samples, clock));
    checks.extend(daemon::published(&samples));
    checks.extend(daemon::hunts(&samples, clock));
    checks.extend(losses::losses(&samples));
    checks
}

#[derive(Deserialize, Row)]
struct Totals {
    version: String,
    rows: u64,
    bytes: u64,
    free: u64,
    total: u64,
}

#[derive(Deserialize, Row)]
struct Flow {
    events_hour: u64,
    events_day: u64,
    alerts_hour: u64,
    alerts_day: u64,
    drill_events_day: u64,
    dead_day: u64,
    dead_all: u64,
}

#[derive(Deserialize, Row)]
struct Agent {
    agent: String,
    seq: u64,
    last_seen: Micros,
}

#[derive(Clone, Copy, Deserialize, Row)]
struct Lines {
    lines: u64,
    raw: u64,
}

#[derive(Deserialize, Row)]
struct Unparsed {
    host: String,
    source: String,
    lines: u64,
    raw: u64,
}

/// A table that is a view has no rows of its own; the disk with the least room decides.
const TOTALS: &str = "SELECT version() AS version, \
    t.rows AS rows, \
    t.bytes AS bytes, \
    d.free AS free, d.total AS total FROM (SELECT argMin(unreserved_space, unreserved_space / total_space) AS free, \
    argMin(total_space, unreserved_space / total_space) AS total FROM system.disks WHERE total_space > 0) AS d, \
    (SELECT sum(ifNull(total_rows, 0)) AS rows, sum(ifNull(total_bytes, 0)) AS bytes FROM system.tables \
    WHERE database = currentDatabase()) AS t";

/// An event's own time is at most a week before its receipt: older partitions need not be read.
const FLOW: &str = "SELECT e.hour AS events_hour, e.day AS events_day, a.hour AS alerts_hour, a.day AS alerts_day, \
    e.drill AS drill_events_day, d.day AS dead_day, d.all AS dead_all FROM \
    (SELECT countIf(drill_id = '' AND ts_received > now64(6) - INTERVAL 1 HOUR) AS hour, countIf(drill_id = '') AS day, \
    countIf(drill_id != '') AS drill FROM events \
    WHERE ts_received > now64(6) - INTERVAL 1 DAY AND ts > now64(6) - INTERVAL 9 DAY) AS e, \
    (SELECT countIf(last_seen > now64(6) - INTERVAL 1 HOUR) AS hour, count() AS day FROM alerts FINAL \
    WHERE last_seen > now64(6) - INTERVAL 1 DAY AND drill_id = '') AS a, \
    (SELECT countIf(dead_at > now64(6) - INTERVAL 1 DAY) AS day, count() AS all FROM dead_letters FINAL) AS d";

const AGENTS: &str = "SELECT agent AS agent, argMax(a.seq, a.last_seen) AS seq, \
    toUnixTimestamp64Micro(max(a.last_seen)) AS last_seen FROM agents AS a FINAL WHERE a.drill_id = '' AND ";

/// Lines of a day, and those that no parser took.
const LINES: &str = "SELECT count() AS lines, countIf(a.parse_status = 'raw') AS raw FROM events AS a \
    WHERE a.ts > now64(6) - INTERVAL 1 DAY AND a.drill_id = ''";

/// Sources whose share of raw lines within a day is above the bound, the worst first.
const UNPARSED: &str = "SELECT a.host AS host, a.source AS source, count() AS lines, countIf(a.parse_status = 'raw') AS raw \
    FROM events AS a WHERE a.ts > now64(6) - INTERVAL 1 DAY AND a.drill_id = '' GROUP BY a.host, a.source";

fn store(config: &Config, clock: &Clock, silent_since: Micros, free_percent_min: u8) -> Result<Vec<Check>> {
    let reader = Reader::open(config)?;
    block_on(async {
        let totals: Totals = reader.row(TOTALS).await?;
        let flow: Flow = reader.row(FLOW).await?;
        let agents = agents(&reader).await?;
        let lines: Lines = reader.row(LINES).await?;
        let mut filter = Filter::default();
        filter
            .and("lines >= {}", Bound::Number(LINES_MIN))
            .and("raw * 100 > lines * {}", Bound::Number(UNPARSED_PERCENT_MAX));
        let sql = format!("{UNPARSED} HAVING {} ORDER BY raw / lines DESC, raw DESC", filter.sql());
        let unparsed: Vec<Unparsed> = reader.rows(&sql, &filter).await?;
        let mut checks = vec![size(&totals, free_percent_min)];
        checks.extend(flows(&flow));
        checks.extend(senders(&agents, clock, silent_since));
        checks.push(parsed(lines, &unparsed));
        Ok(checks)
    })
}

/// All that ever sent, but for hunts: those have checks of their own.
async fn agents(reader: &Reader) -> Result<Vec<Agent>> {
    let mut filter = Filter::default();
    filter.and("NOT startsWith(a.agent, {})", Bound::Text(SENDER_PREFIX.to_owned()));
    reader.rows(&format!("{AGENTS}{} GROUP BY a.agent ORDER BY a.agent", filter.sql()), &filter).await
}

fn size(totals: &Totals, free_percent_min: u8) -> Check {
    let Totals { version, rows, bytes, free, total } = totals;
    let detail = format!(
        "ClickHouse {version}, {} in {} on disk, {} of {} free",
        counted(*rows, "row"),
        sized(*bytes),
        sized(*free),
        sized(*total)
    );
    Check::new(
        "store",
        State::wrong_if(free.saturating_mul(100) < total.saturating_mul(free_percent_min.into())),
        detail,
    )
}

fn flows(flow: &Flow) -> [Check; 3] {
    let within = |hour, day| format!("{} in the last hour, {} in the last day", grouped(hour), grouped(day));
    let drills = match flow.drill_events_day {
        0 => String::new(),
        events => format!("; drills: {}", counted(events, "event")),
    };
    let dead = format!("{} in the last day, {} kept", grouped(flow.dead_day), grouped(flow.dead_all));
    [
        Check::new("events", State::Ok, within(flow.events_hour, flow.events_day) + &drills),
        Check::new("alerts", State::Ok, within(flow.alerts_hour, flow.alerts_day)),
        Check::new("dead letters", State::wrong_if(flow.dead_day > 0), dead),
    ]
}

fn senders(agents: &[Agent], clock: &Clock, silent_since: Micros) -> Vec<Check> {
    if agents.is_empty() {
        return vec![Check::new(
            "agents",
            State::Notice,
            "none has ever sent anything: `vonggac ca issue HOST` begins one",
        )];
    }
    let gone_since = gone_since(clock).min(silent_since);
    let (gone, known): (Vec<&Agent>, Vec<&Agent>) =
        agents.iter().partition(|agent| agent.last_seen < gone_since);
    let check = |agent: &&Agent| {
        let silent = agent.last_seen < silent_since;
        let detail = format!("{}, batch {}", last_seen(agent, clock), grouped(agent.seq));
        Check::new(format!("agent {}", agent.agent), State::wrong_if(silent), detail)
    };
    known.iter().map(check).chain(switched_off(gone, clock)).collect()
}

/// Agents of hosts that are no more, in one row.
fn switched_off(mut gone: Vec<&Agent>, clock: &Clock) -> Option<Check> {
    gone.sort_by_key(|agent| std::cmp::Reverse(agent.last_seen));
    let mut parts: Vec<String> = gone
        .iter()
        .take(GONE_SHOWN)
        .map(|agent| format!("{} {}", agent.agent, last_seen(agent, clock)))
        .collect();
    if gone.len() > GONE_SHOWN {
        parts.push(format!("{} more", gone.len().saturating_sub(GONE_SHOWN)));
    }
    let detail = format!("nothing for {GONE_DAYS} days, taken for switched off: {}", parts.join("; "));
    (!gone.is_empty()).then(|| Check::new("agents gone", State::Notice, detail))
}

fn gone_since(clock: &Clock) -> Micros {
    clock.now.as_microsecond().saturating_sub(GONE_DAYS.saturating_mul(86_400).saturating_mul(MICROS_PER_S))
}

fn last_seen(agent: &Agent, clock: &Clock) -> String {
    format!("last seen {} ({})", clock.shown(agent.last_seen), clock.age(agent.last_seen))
}

/// How many lines of a day are understood, and of which sources too few.
fn parsed(lines: Lines, unparsed: &[Unparsed]) -> Check {
    let understood = grouped(lines.lines.saturating_sub(lines.raw));
    let whole = match lines {
        Lines { lines: 0, .. } => "no lines in the last day".to_owned(),
        Lines { raw: 0, .. } => format!("all {} of the last day", counted(lines.lines, "line")),
        _ => format!("{understood} of {} of the last day", counted(lines.lines, "line")),
    };
    if unparsed.is_empty() {
        let bounds = format!(
            "no source of {LINES_MIN} lines or more has above {UNPARSED_PERCENT_MAX} % that no parser takes"
        );
        let detail = if lines.raw > 0 { format!("{whole}; {bounds}") } else { whole };
        return Check::new("parsed", State::Ok, detail);
    }
    let share = |source: &Unparsed| {
        let percent = source.raw.saturating_mul(100) / source.lines.max(1);
        format!("{} {}: {percent} % of {}", source.host, source.source, counted(source.lines, "line"))
    };
    let mut parts: Vec<String> = unparsed.iter().take(SOURCES_SHOWN).map(share).collect();
    if unparsed.len() > SOURCES_SHOWN {
        parts.push(format!("{} more", unparsed.len() - SOURCES_SHOWN));
    }
    Check::new("parsed", State::Notice, format!("{whole}; no parser takes {}", parts.join("; ")))
}

/// `1.5 GB`: decimal, as disks are sold.
fn sized(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let (mut whole, mut rest, mut unit) = (bytes, 0, "B");
    for next in units {
        if whole < 1_000 {
            break;
        }
        (rest, whole, unit) = (whole % 1_000, whole / 1_000, next);
    }
    if unit == "B" || whole >= 100 {
        format!("{whole} {unit}")
    } else {
        format!("{whole}.{} {unit}", rest / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_decides() {
        let check = |state| Check::new("x", state, "");
        let code =
            |checks: &[Check]| checks.iter().map(|check| check.state).max().unwrap_or_default().exit_code();
        assert_eq!(code(&[check(State::Ok), check(State::Notice)]), 0);
        assert_eq!(code(&[check(State::Wrong), check(State::Notice)]), 1);
        assert_eq!(code(&[check(State::Wrong), check(State::Unreachable)]), 2);
        assert_eq!(summary(&[check(State::Ok)]), "all is well");
        assert_eq!(summary(&[check(State::Ok), Check::new("a\u{1b}", State::Wrong, "")]), "wrong: a\\x1b");
    }

    #[test]
    fn an_agent_is_silent_after_the_time_given() {
        let clock = Clock::new(true);
        let now = clock.now.as_microsecond();
        let agent =
            |ago_s: Micros| Agent { agent: "a".into(), seq: 1, last_seen: now - ago_s * MICROS_PER_S };
        let states: Vec<State> = senders(&[agent(10), agent(4_000)], &clock, now - 3_600 * MICROS_PER_S)
            .into_iter()
            .map(|check| check.state)
            .collect();
        assert_eq!(states, [State::Ok, State::Wrong]);
        assert_eq!(senders(&[], &clock, now)[0].state, State::Notice);
    }

    #[test]
    fn agents_that_are_gone_for_a_month_are_one_notice() {
        let clock = Clock::new(true);
        let now = clock.now.as_microsecond();
        let agent = |name: &str, days: Micros| {
            let last_seen = now - days * 86_400 * MICROS_PER_S;
            Agent { agent: name.into(), seq: 1, last_seen }
        };
        let agents = [agent("old", 40), agent("older", 50), agent("silent", 29)];
        let day = now - 86_400 * MICROS_PER_S;
        let found = senders(&agents, &clock, day);
        let states: Vec<_> = found.iter().map(|check| (check.check.as_str(), check.state)).collect();
        assert_eq!(states, [("agent silent", State::Wrong), ("agents gone", State::Notice)]);
        let last = &found[1].detail;
        assert!(last.find("old last seen").unwrap() < last.find("older last seen").unwrap(), "{last}");
        // Who waits longer than that for an agent, waits.
        let states: Vec<State> = senders(&agents, &clock, now - 45 * 86_400 * MICROS_PER_S)
            .iter()
            .map(|check| check.state)
            .collect();
        assert_eq!(states, [State::Ok, State::Ok, State::Notice]);
    }

    #[test]
    fn says_of_how_many_lines_it_speaks() {
        let lines = |lines, raw| Lines { lines, raw };
        let source = Unparsed { host: "h".into(), source: "s".into(), lines: 62, raw: 60 };
        for (found, state, detail) in [
            (parsed(lines(0, 0), &[]), State::Ok, "no lines in the last day"),
            (parsed(lines(2_000, 0), &[]), State::Ok, "all 2,000 lines of the last day"),
            (
                parsed(lines(2_000, 1), &[]),
                State::Ok,
                "1,999 of 2,000 lines of the last day; no source of 10 lines or more has above 10 % that no parser takes",
            ),
            (
                parsed(lines(62, 60), &[source]),
                State::Notice,
                "2 of 62 lines of the last day; no parser takes h s: 96 % of 62 lines",
            ),
        ] {
            assert_eq!((found.state, found.detail.as_str()), (state, detail));
        }
    }

    #[test]
    fn a_full_disk_is_wrong() {
        let totals = |free| Totals { version: "26".into(), rows: 1, bytes: 1, free, total: 1_000 };
        assert_eq!(size(&totals(50), 5).state, State::Ok);
        assert_eq!(size(&totals(49), 5).state, State::Wrong);
    }

    #[test]
    fn sizes_are_read_at_a_glance() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_540_000_000, "1.5 GB"),
            (250_000_000, "250 MB"),
        ] {
            assert_eq!(sized(bytes), text);
        }
    }
}
