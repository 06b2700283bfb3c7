//! `vonggac alerts`: which alerts there are, the most urgent first.

use std::process::ExitCode;

use anyhow::Result;
use clickhouse::Row;
use event::Micros;
use serde::{Deserialize, Serialize};

use crate::clock::now;
use crate::config::ConfigArg;
use crate::people::connect::{Reader, block_on, configuration};
use crate::people::filter::{Bound, Filter, Network, shown_address};
use crate::people::output::{Format, Listed, OutputArgs, Tone, cut, print};
use crate::people::select::{
    self, DrillArg, Named, UntilArg, as_address, as_iso, as_moment, counted, grouped,
};
use crate::people::verify;
use crate::people::when::{Clock, When};

/// Severities of rules, from the mildest.
const SEVERITIES: [&str; 5] = ["informational", "low", "medium", "high", "critical"];
/// Characters of an alert's id in the table. 64 bits: enough to be unique for ever; `vonggac alert` takes any unique prefix.
const ID_CHARS: usize = 16;
/// Alerts that have to do with an address: as the one who acts, or wherever it stands in what they are grouped by, in what
/// matched and in the lines that they cite. What only looks like an address is none. Words are cut out only where a part that every
/// such address is written with is found: that is dear.
const OF_ADDRESS: &str = "a.src_ip BETWEEN {first} AND {last} OR \
    multiSearchAnyCaseInsensitive(arrayStringConcat(arrayConcat([a.entity], mapValues(a.matched), a.samples), ' '), {parts}) \
    AND arrayExists(word -> ifNull(toIPv6OrNull(word) BETWEEN {first} AND {last}, false), \
        extractAll(arrayStringConcat(arrayConcat([a.entity], mapValues(a.matched), a.samples), ' '), \
            '[0-9]+[.][0-9]+[.][0-9]+[.][0-9]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*[0-9A-Fa-f:]'))";
/// The column of what is due.
const DUE: usize = 10;

const EXAMPLES: &str = "\
Examples:
  vonggac alerts                                  the last day, the most urgent first
  vonggac alerts --since 1h --severity high       rules of severity high and critical
  vonggac alerts --priority P2 --level 3          P1 and P2 on systems of level 3 and above
  vonggac alerts --address 10.20.0.0/16 --since today
  vonggac alerts --since 5m --priority P1 --exit-code >/dev/null && page-someone
  vonggac alerts --format json | jq -r .id        for programs: one object a line
  vonggac alerts --drill all                      drills as well
  vonggac alerts --status new --since 1w          what nobody has looked at yet
  vonggac alerts --overdue --since 30d            what should have been done by now
  vonggac alerts --status open --assignee lan --since 30d   what somebody hands over
  vonggac alerts verify                           did anybody change what people did with alerts

Exit codes: 0 answered, with or without alerts (with --exit-code: at least one alert); 1 only with --exit-code: none;
2 the question could not be answered.";

/// List alerts: by time, severity, priority, level, system, host, address, rule, status, assignee
///
/// Sorted by priority, then by time, the newest first. Every filter must hold.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: OutputArgs,
    /// Alerts seen since: 30m, 6h, 2d (ago), today, yesterday, 2026-08-19, 2026-08-19T14:30
    #[arg(long, value_name = "TIME", default_value = "1d", help_heading = "Filters")]
    since: When,
    #[command(flatten)]
    until: UntilArg,
    /// At least this severity: informational, low, medium, high, critical
    #[arg(long, value_parser = SEVERITIES, hide_possible_values = true, help_heading = "Filters")]
    severity: Option<String>,
    /// At least as urgent as this: P1 (most urgent) to P5
    #[arg(long, value_parser = ["P1", "P2", "P3", "P4", "P5"], ignore_case = true, hide_possible_values = true, help_heading = "Filters")]
    priority: Option<String>,
    /// Systems of at least this security level: 1 to 5
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=5), help_heading = "Filters")]
    level: Option<u8>,
    /// The system's id, or a part of its name
    #[arg(long, help_heading = "Filters")]
    system: Option<String>,
    /// The host
    #[arg(long, help_heading = "Filters")]
    host: Option<String>,
    /// Address or network: 10.1.2.3, 2001:db8::/32; as the one who acts, or anywhere in what matched and in the lines cited
    #[arg(long, value_name = "ADDRESS|NETWORK", help_heading = "Filters")]
    address: Option<Network>,
    /// The rule's id, its beginning, or a part of its title
    #[arg(long, help_heading = "Filters")]
    rule: Option<String>,
    /// How it stands: new, acknowledged, closed; `open` is what is not closed
    #[arg(long, value_parser = ["new", "acknowledged", "closed", "open"], hide_possible_values = true, help_heading = "Filters")]
    status: Option<String>,
    /// With whom it is, in any case; an empty name: with nobody
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    assignee: Option<String>,
    /// Only alerts of which a clock (acknowledge, contain, close) has run out
    #[arg(long, help_heading = "Filters")]
    overdue: bool,
    #[command(flatten)]
    drill: DrillArg,
    /// At most so many rows
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Exit with 1 when no alert matches
    #[arg(long)]
    exit_code: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Verify(verify::Args),
}

/// An alert in a listing.
#[derive(Debug, Default, Deserialize, Row, Serialize)]
struct Alert {
    id: String,
    priority: String,
    severity: String,
    sys_level: u8,
    rule_id: String,
    rule_title: String,
    techniques: Vec<String>,
    system_id: String,
    system_name: String,
    organisation: String,
    host: String,
    entity: String,
    #[serde(serialize_with = "as_address")]
    src_ip: String,
    user: String,
    hits: u64,
    #[serde(serialize_with = "as_iso")]
    first_seen: Micros,
    #[serde(serialize_with = "as_iso")]
    last_seen: Micros,
    #[serde(serialize_with = "as_iso")]
    created_at: Micros,
    drill_id: String,
    status: String,
    assignee: String,
    verdict: String,
    silence: String,
    incident: String,
    /// What must be done next of acknowledge, contain, close, and by when; empty when nothing must.
    next_step: String,
    #[serde(serialize_with = "as_moment")]
    next_due: Micros,
}

const COLUMNS: &str = "a.id AS id, a.priority AS priority, a.severity AS severity, a.sys_level AS sys_level, \
    a.rule_id AS rule_id, a.rule_title AS rule_title, a.techniques AS techniques, a.system_id AS system_id, \
    a.system_name AS system_name, a.organisation AS organisation, a.host AS host, a.entity AS entity, \
    toString(a.src_ip) AS src_ip, a.user AS user, a.hits AS hits, \
    toUnixTimestamp64Micro(a.first_seen) AS first_seen, toUnixTimestamp64Micro(a.last_seen) AS last_seen, \
    toUnixTimestamp64Micro(a.created_at) AS created_at, a.drill_id AS drill_id, \
    if(s.status = '', 'new', s.status) AS status, s.assignee AS assignee, s.verdict AS verdict, \
    a.silence AS silence, s.incident AS incident, c.clock AS next_step, toUnixTimestamp64Micro(c.due) AS next_due";

/// An alert that nobody did anything with is in no row of `alert_status`, and one of which nothing is due in none of
/// `alert_next`. What is known of an alert is asked for those alone of which the conditions hold: what people did with a million others
/// is not read.
fn tables(conditions: &str) -> String {
    let ids = format!("(SELECT a.id FROM alerts AS a WHERE {conditions})");
    format!(
        "alerts AS a FINAL LEFT JOIN (SELECT * FROM alert_status WHERE alert_id IN {ids}) AS s ON s.alert_id = a.id \
         LEFT JOIN (SELECT * FROM alert_next WHERE alert_id IN {ids}) AS c ON c.alert_id = a.id"
    )
}

/// How many alerts of one priority match.
#[derive(Debug, Deserialize, Row)]
struct Tally {
    priority: String,
    alerts: u64,
    hits: u64,
}

impl Listed for Alert {
    const HEADINGS: &'static [&'static str] = &[
        "prio",
        "last seen ({zone})",
        "severity",
        "level",
        "system",
        "host",
        "what",
        "who",
        "hits",
        "status",
        "due",
        "id",
    ];
    const PROSE: &'static [&'static str] = &["system", "what", "status", "due"];
    const SPARE: &'static [&'static str] = &["level", "severity", "hits", "system", "due", "status", "who"];

    fn cells(&self, clock: &Clock) -> Vec<String> {
        vec![
            self.priority.clone(),
            clock.shown(self.last_seen),
            self.severity.clone(),
            if self.sys_level == 0 { "-".to_owned() } else { self.sys_level.to_string() },
            if self.system_name.is_empty() { "-".to_owned() } else { self.system_name.clone() },
            self.host.clone(),
            self.rule_title.clone(),
            self.who(),
            grouped(self.hits),
            self.standing(),
            self.due(clock),
            self.id.chars().take(ID_CHARS).collect(),
        ]
    }

    fn tone(&self, column: usize) -> Tone {
        match (column, self.priority.as_str()) {
            (DUE, _) if self.next_due > 0 && self.next_due < now() => Tone::Alarm,
            (0, "P1" | "P2") => Tone::Alarm,
            (0, "P3") => Tone::Notice,
            _ => Tone::Plain,
        }
    }
}

impl Alert {
    /// The status, or the verdict once it is closed; with whom it is; its incident; whether nobody was notified.
    fn standing(&self) -> String {
        let status = if self.verdict.is_empty() { &self.status } else { &self.verdict };
        let silenced = if self.silence.is_empty() { "" } else { ", silenced" };
        let with = if self.assignee.is_empty() { String::new() } else { format!(", {}", self.assignee) };
        let of = if self.incident.is_empty() { String::new() } else { format!(", {}", self.incident) };
        format!("{status}{with}{of}{silenced}")
    }

    /// What must be done next, and by when.
    fn due(&self, clock: &Clock) -> String {
        if self.next_step.is_empty() {
            return "-".to_owned();
        }
        format!("{} {}", self.next_step, clock.until(self.next_due))
    }

    /// The address, the user, or what the alert is grouped by.
    fn who(&self) -> String {
        let address = shown_address(&self.src_ip);
        match (address.is_empty(), self.user.is_empty()) {
            (false, false) => format!("{}@{address}", self.user),
            (false, true) => address,
            (true, false) => self.user.clone(),
            (true, true) if self.entity != self.host => self.entity.clone(),
            (true, true) => "-".to_owned(),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(Command::Verify(args)) = &args.command {
        return verify::run(args);
    }
    let clock = Clock::new(args.output.utc);
    let question = question(args, &clock)?;
    let filter = &question.filter;
    let reader = Reader::open(&configuration(&args.config)?)?;
    let (mut alerts, tallies) = block_on(async {
        let rows = reader.rows::<Alert>(&sql(&question, args.limit), filter).await?;
        let tallies = match args.output.format {
            Format::Table => reader.rows::<Tally>(&tally_sql(&question), filter).await?,
            Format::Json | Format::Csv => Vec::new(),
        };
        Ok((rows, tallies))
    })?;
    if alerts.is_empty() {
        let mut named = Named::of(args.system.as_ref(), args.host.as_ref(), &args.drill);
        named.extend(args.rule.as_deref().map(Named::Rule));
        block_on(select::say_unknown(&reader, &named))?;
    }
    cut(&mut alerts, args.limit, args.output.format == Format::Table);
    print(&alerts, &args.output, &clock, &summary(args, &clock, alerts.len(), &tallies)?)?;
    Ok(ExitCode::from(u8::from(args.exit_code && alerts.is_empty())))
}

/// What is asked: the conditions, and the tables that an alert's row and its count want.
struct Question {
    filter: Filter,
    tables: String,
    /// A count needs to know how alerts stand only where a condition asks for it.
    tally_tables: String,
}

fn question(args: &Args, clock: &Clock) -> Result<Question> {
    let mut filter = of_columns(args, clock)?;
    let tables = tables(filter.sql());
    if let Some(network) = &args.address {
        filter.and_within(OF_ADDRESS, network);
    }
    let status = args.status.as_deref().map(|status| match status {
        "open" => Bound::Texts(vec!["new".to_owned(), "acknowledged".to_owned()]),
        one => Bound::Texts(vec![one.to_owned()]),
    });
    let asks_how_they_stand = status.is_some() || args.assignee.is_some() || args.overdue;
    let tally_tables = if asks_how_they_stand { tables.clone() } else { "alerts AS a FINAL".to_owned() };
    filter
        .and_if("if(s.status = '', 'new', s.status) IN {}", status)
        .and_if("lowerUTF8(s.assignee) = lowerUTF8({})", args.assignee.as_deref().map(select::text));
    if args.overdue {
        filter.and_always("c.clock != '' AND c.due < now64(6)");
    }
    Ok(Question { filter, tables, tally_tables })
}

/// The conditions on columns of alerts, which are cheap.
fn of_columns(args: &Args, clock: &Clock) -> Result<Filter> {
    let (since, until) = select::window(clock, &args.since, args.until.until.as_ref())?;
    let mut filter = Filter::default();
    filter
        .and("a.last_seen >= {}", Bound::Time(since))
        .and_if("a.first_seen < {}", until.map(Bound::Time))
        .and_if("a.severity IN {}", args.severity.as_deref().map(at_least))
        .and_if("a.priority <= {}", args.priority.clone().map(|text| Bound::Text(text.to_ascii_uppercase())))
        .and_if("a.sys_level >= {}", args.level.map(|level| Bound::Number(level.into())))
        .and_if(
            "a.system_id = {} OR positionCaseInsensitiveUTF8(a.system_name, {}) > 0",
            args.system.as_deref().map(select::text),
        )
        .and_if("a.host = {}", args.host.as_deref().map(select::host))
        .and_if(select::IS_RULE, args.rule.as_deref().map(select::text));
    args.drill.apply(&mut filter);
    Ok(filter)
}

/// The severity and all above it.
fn at_least(severity: &str) -> Bound {
    let from = SEVERITIES.iter().position(|name| *name == severity).unwrap_or_default();
    Bound::Texts(SEVERITIES.iter().skip(from).map(|&name| name.to_owned()).collect())
}

fn sql(Question { filter, tables, .. }: &Question, limit: u32) -> String {
    format!(
        "SELECT {COLUMNS} FROM {tables} WHERE {} ORDER BY a.priority, a.last_seen DESC, a.id LIMIT {}",
        filter.sql(),
        u64::from(limit) + 1
    )
}

fn tally_sql(Question { filter, tally_tables, .. }: &Question) -> String {
    format!(
        "SELECT a.priority AS priority, count() AS alerts, sum(a.hits) AS hits FROM {tally_tables} WHERE {} \
         GROUP BY a.priority ORDER BY a.priority",
        filter.sql()
    )
}

fn summary(args: &Args, clock: &Clock, shown: usize, tallies: &[Tally]) -> Result<String> {
    let window = select::span(clock, select::window(clock, &args.since, args.until.until.as_ref())?);
    let total: u64 = tallies.iter().map(|tally| tally.alerts).sum();
    if total == 0 {
        return Ok(format!("no alert {window} that these filters let through"));
    }
    let parts: Vec<String> =
        tallies.iter().map(|tally| format!("{} {}", grouped(tally.alerts), tally.priority)).collect();
    let hits: u64 = tallies.iter().map(|tally| tally.hits).sum();
    let more = match u64::try_from(shown) {
        Ok(shown) if shown < total => format!("; {} shown, --limit shows more", grouped(shown)),
        _ => String::new(),
    };
    Ok(format!(
        "{} {window}: {} ({}){more}. Why one fired: vonggac alert ID",
        counted(total, "alert"),
        parts.join(", "),
        counted(hits, "hit")
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: Args,
    }

    fn asked(arguments: &[&str]) -> Question {
        let args = Typed::parse_from([&["alerts"], arguments].concat()).args;
        question(&args, &Clock::new(true)).unwrap()
    }

    #[test]
    fn what_people_did_is_asked_for_the_alerts_that_are_meant() {
        let tables = asked(&["--host", "web01", "--address", "192.0.2.7"]).tables;
        let ids = "(SELECT a.id FROM alerts AS a WHERE (a.last_seen >= fromUnixTimestamp64Micro({p0:Int64}, 'UTC')) \
            AND (a.host = {p1:String}) AND (a.drill_id = ''))";
        assert_eq!(tables.matches(ids).count(), 2, "{tables}");
    }

    #[test]
    fn alerts_are_counted_without_what_people_did_unless_a_condition_asks_for_it() {
        for arguments in [&[][..], &["--host", "web01"], &["--address", "192.0.2.7", "--drill", "all"]] {
            let question = asked(arguments);
            assert!(!tally_sql(&question).contains("JOIN"), "{arguments:?}");
            assert!(sql(&question, 1).contains("JOIN"), "{arguments:?}");
        }
        for arguments in [&["--overdue"][..], &["--status", "open"], &["--assignee", "lan"]] {
            assert!(tally_sql(&asked(arguments)).contains("JOIN"), "{arguments:?}");
        }
    }
}
