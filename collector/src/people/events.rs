//! `vonggac events`: the events behind an alert, or any others, oldest first as they happened.

use std::process::ExitCode;

use anyhow::Result;
use clickhouse::Row;
use event::Micros;
use serde::{Deserialize, Serialize};

use crate::config::ConfigArg;
use crate::people::connect::{Reader, block_on, configuration};
use crate::people::escape::{shortened, shown_bytes};
use crate::people::filter::{Bound, Filter, Network, shown_address};
use crate::people::output::{Format, Listed, OutputArgs, cut, print, print_text};
use crate::people::select::{self, DrillArg, Named, UntilArg, as_address, as_iso, as_text, counted, unhex};
use crate::people::when::{Clock, When};

/// Characters of a message in the table; the rest of it is in JSON, CSV and --raw.
const MESSAGE_CHARS: usize = 400;

/// The kind of what hunts record.
const HUNT: &str = "hunt";

const EXAMPLES: &str = "\
Examples:
  vonggac events --host web01 --since 15m              what happened on a host
  vonggac events --address 192.0.2.7 --since 1d        what an address did, as source or destination
  vonggac events --text 'failed password' --since 1d   whole words, in any case, by the index
  vonggac events --contains passw --since 1h           any part of the message; slower
  vonggac events --kind sshd --since today --limit 1000
  vonggac events --rule 5f1d2c3b --since 1d            what a rule matched, what alerts cite
  vonggac events --host web01 --raw                    the log lines themselves
  vonggac events --hunts --since 1d                    with the records of hunts
  vonggac events --since 1h --format json | jq -r .message

Exit codes: 0 answered, with or without events (with --exit-code: at least one event); 1 only with --exit-code: none;
2 the question could not be answered.";

/// List events: by time, host, address, text, system, kind, rule
///
/// The newest that fit into --limit, in the order in which they happened. Every filter must hold.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: OutputArgs,
    /// Events since: 30m, 6h, 2d (ago), today, yesterday, 2026-08-19, 2026-08-19T14:30
    #[arg(long, value_name = "TIME", default_value = "1h", help_heading = "Filters")]
    since: When,
    #[command(flatten)]
    until: UntilArg,
    /// The host that sent them
    #[arg(long, help_heading = "Filters")]
    host: Option<String>,
    /// Source or destination address or network: 10.1.2.3, 2001:db8::/32
    #[arg(long, value_name = "ADDRESS|NETWORK", help_heading = "Filters")]
    address: Option<Network>,
    /// The user, or the user acted upon
    #[arg(long, help_heading = "Filters")]
    user: Option<String>,
    /// Words that follow one another in the message, in any case; whole words
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true, help_heading = "Filters")]
    text: Option<String>,
    /// Any part of the message, in any case; slower than --text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, help_heading = "Filters")]
    contains: Option<String>,
    /// The system's id, or a part of its name
    #[arg(long, help_heading = "Filters")]
    system: Option<String>,
    /// The kind: sshd, sudo, auditd, webserver, ...
    #[arg(long, help_heading = "Filters")]
    kind: Option<String>,
    /// The id of a rule that matched, or its beginning; of a correlation: the events that its alerts cite
    #[arg(long, help_heading = "Filters")]
    rule: Option<String>,
    /// Also the records of hunts: that one ran, and the rows it found. --kind hunt and --rule show them without
    #[arg(long, help_heading = "Filters")]
    hunts: bool,
    #[command(flatten)]
    drill: DrillArg,
    /// At most so many rows
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Print the raw lines alone, control characters and bytes that are no text written out
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    raw: bool,
    /// Exit with 1 when no event matches
    #[arg(long)]
    exit_code: bool,
}

/// An event in a listing.
#[derive(Debug, Default, Deserialize, Row, Serialize)]
struct Event {
    /// agent:epoch:seq:record, as `sample_events` of an alert names it.
    id: String,
    #[serde(serialize_with = "as_iso")]
    ts: Micros,
    #[serde(serialize_with = "as_iso")]
    ts_received: Micros,
    kind: String,
    parse_status: String,
    host: String,
    source: String,
    offset: u64,
    system_id: String,
    sys_level: u8,
    rules: Vec<String>,
    program: String,
    user: String,
    user_target: String,
    action: String,
    outcome: String,
    #[serde(serialize_with = "as_address")]
    src_ip: String,
    #[serde(serialize_with = "as_address")]
    dst_ip: String,
    drill_id: String,
    message: String,
    /// Hexadecimal out of the store.
    #[serde(serialize_with = "as_text")]
    raw: String,
}

const COLUMNS: &str = "concat(a.agent, ':', leftPad(lower(hex(a.epoch)), 16, '0'), ':', toString(a.seq), ':', \
    toString(a.record)) AS id, toUnixTimestamp64Micro(a.ts) AS ts, toUnixTimestamp64Micro(a.ts_received) AS ts_received, \
    a.kind AS kind, a.parse_status AS parse_status, a.host AS host, a.source AS source, a.offset AS offset, \
    a.system_id AS system_id, a.sys_level AS sys_level, a.rules AS rules, a.program AS program, a.user AS user, \
    a.user_target AS user_target, a.action AS action, a.outcome AS outcome, toString(a.src_ip) AS src_ip, \
    toString(a.dst_ip) AS dst_ip, a.drill_id AS drill_id, a.message AS message, \
    hex(if(a.raw = '', a.message, a.raw)) AS raw";

impl Listed for Event {
    const HEADINGS: &'static [&'static str] = &["time ({zone})", "host", "kind", "what", "who", "message"];
    const PROSE: &'static [&'static str] = &["what", "message"];
    const SPARE: &'static [&'static str] = &["what", "kind", "who"];

    fn cells(&self, clock: &Clock) -> Vec<String> {
        vec![
            clock.shown_ms(self.ts),
            self.host.clone(),
            self.kind.clone(),
            [&self.action, &self.outcome]
                .into_iter()
                .filter(|text| !text.is_empty())
                .cloned()
                .collect::<Vec<_>>()
                .join(" "),
            self.who(),
            shortened(&self.message, MESSAGE_CHARS),
        ]
    }
}

impl Event {
    fn who(&self) -> String {
        let address = shown_address(&self.src_ip);
        match (address.is_empty(), self.user.is_empty()) {
            (false, false) => format!("{}@{address}", self.user),
            (false, true) => address,
            (true, _) => self.user.clone(),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let clock = Clock::new(args.output.utc);
    let filter = filter(args, &clock)?;
    let reader = Reader::open(&configuration(&args.config)?)?;
    let mut events = block_on(reader.rows::<Event>(&sql(&filter, args.limit), &filter))?;
    if events.is_empty() {
        let mut named = Named::of(args.system.as_ref(), args.host.as_ref(), &args.drill);
        named.extend(args.rule.as_deref().map(Named::Rule));
        named.extend(args.kind.as_deref().map(Named::Kind));
        block_on(select::say_unknown(&reader, &named))?;
    }
    let has_summary = args.output.format == Format::Table && !args.raw;
    let is_cut = cut(&mut events, args.limit, has_summary);
    events.reverse();
    if args.raw {
        let lines: String = events.iter().map(|event| shown_bytes(&unhex(&event.raw)) + "\n").collect();
        print_text(&lines)?;
    } else {
        print(&events, &args.output, &clock, &summary(args, &clock, events.len(), is_cut)?)?;
    }
    Ok(ExitCode::from(u8::from(args.exit_code && events.is_empty())))
}

fn filter(args: &Args, clock: &Clock) -> Result<Filter> {
    let (since, until) = select::window(clock, &args.since, args.until.until.as_ref())?;
    let mut filter = Filter::default();
    filter
        .and("a.ts >= {}", Bound::Time(since))
        .and_if("a.ts < {}", until.map(Bound::Time))
        .and_if("a.host = {}", args.host.as_deref().map(select::host))
        .and_if("a.kind = lower({})", args.kind.as_deref().map(select::text))
        .and_if(select::OF_SYSTEM, args.system.as_deref().map(select::text))
        .and_if("a.user = {} OR a.user_target = {}", args.user.as_deref().map(select::text))
        .and_if(select::OF_RULE, args.rule.as_deref().map(select::text))
        .and_if("positionCaseInsensitiveUTF8(a.message, {}) > 0", args.contains.as_deref().map(select::text));
    if let Some(network) = &args.address {
        filter.and_within(
            "a.src_ip BETWEEN {first} AND {last} OR a.dst_ip BETWEEN {first} AND {last}",
            network,
        );
    }
    if let Some(words) = &args.text {
        by_words(&mut filter, words);
    }
    // A hunt is a question of ours: its records are no log of a host.
    if !args.hunts && args.kind.is_none() && args.rule.is_none() {
        filter.and("a.kind != {}", Bound::Text(HUNT.to_owned()));
    }
    args.drill.apply(&mut filter);
    Ok(filter)
}

/// The words are looked up in the index, then the text is compared, so that their order and what stands between them counts.
fn by_words(filter: &mut Filter, words: &str) {
    if words.chars().any(|char| char.is_alphanumeric() || !char.is_ascii()) {
        filter.and("hasAllTokens(lowerUTF8(a.message), lowerUTF8({}))", select::text(words));
    }
    filter.and("positionCaseInsensitiveUTF8(a.message, {}) > 0", select::text(words));
}

fn sql(filter: &Filter, limit: u32) -> String {
    format!(
        "SELECT {COLUMNS} FROM events AS a WHERE {} ORDER BY a.ts DESC, a.agent DESC, a.seq DESC, a.record DESC LIMIT {}",
        filter.sql(),
        u64::from(limit) + 1
    )
}

fn summary(args: &Args, clock: &Clock, shown: usize, is_cut: bool) -> Result<String> {
    let window = select::span(clock, select::window(clock, &args.since, args.until.until.as_ref())?);
    Ok(match (shown, is_cut) {
        (0, _) => format!("no event {window} that these filters let through"),
        (_, true) => format!("{} {window}: the newest; --limit shows more", counted(shown as u64, "event")),
        (_, false) => format!("{} {window}", counted(shown as u64, "event")),
    })
}
