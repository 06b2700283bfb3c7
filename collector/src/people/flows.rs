//! `vonggac flows`: who talked with whom, by records of flows of all origins; one by one, or summed up.
//!
//! A conversation that lasts is written in parts; each is a row here, and sums count its first part alone as a conversation.

use std::process::ExitCode;

use anyhow::Result;
use clickhouse::Row;
use event::Micros;
use serde::{Deserialize, Serialize};

use crate::config::ConfigArg;
use crate::people::connect::{Reader, block_on, configuration};
use crate::people::filter::{Bound, Filter, Network, shown_address};
use crate::people::output::{Format, Listed, OutputArgs, cut, print};
use crate::people::select::{self, DrillArg, Named, UntilArg, as_address, as_iso, counted, grouped};
use crate::people::when::{Clock, MICROS_PER_S, When};
use crate::row::address_text;

const EXAMPLES: &str = "\
Examples:
  vonggac flows --address 192.0.2.7 --since 1d               what an address did, at either end
  vonggac flows --address 10.20.0.10 --peer 203.0.113.0/24   two ends, in either order
  vonggac flows --port 3389 --direction inbound --since 7d   who came to remote desktops
  vonggac flows --name example.net --since 1d                by the name in TLS, HTTP or DNS
  vonggac flows --address 192.0.2.7 --since 7d --by pair     summed up by ends, port, application
  vonggac flows --since 1h --by source                       who sent most
  vonggac flows --community-id '1:LQU9qZlK+B5F3KDmev6m5PMibrg='

Exit codes: 0 answered, with or without flows (with --exit-code: at least one); 1 only with --exit-code: none; 2 the question
could not be answered.";

/// List flow records: by time, address, port, application, name, system, direction
///
/// The newest that fit into --limit, in the order in which they began; with --by, sums, the largest first. Every filter must hold.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: OutputArgs,
    /// Flows that began since: 30m, 6h, 2d (ago), today, yesterday, 2026-08-19, 2026-08-19T14:30
    #[arg(long, value_name = "TIME", default_value = "1h", help_heading = "Filters")]
    since: When,
    #[command(flatten)]
    until: UntilArg,
    /// Address or network of either end: 10.1.2.3, 2001:db8::/32
    #[arg(long, value_name = "ADDRESS|NETWORK", help_heading = "Filters")]
    address: Option<Network>,
    /// Address or network of the other end
    #[arg(long, value_name = "ADDRESS|NETWORK", requires = "address", help_heading = "Filters")]
    peer: Option<Network>,
    /// The server's port
    #[arg(long, help_heading = "Filters")]
    port: Option<u16>,
    /// tcp, udp, icmp, icmp6, arp ...
    #[arg(long, help_heading = "Filters")]
    proto: Option<String>,
    /// What the first bytes show: dns, tls, http, ssh, smb ...
    #[arg(long, help_heading = "Filters")]
    app: Option<String>,
    /// A part of the server's name, in any case
    #[arg(long, value_name = "TEXT", help_heading = "Filters")]
    name: Option<String>,
    /// inbound, outbound, internal or external
    #[arg(long, value_parser = DIRECTIONS, hide_possible_values = true, help_heading = "Filters")]
    direction: Option<String>,
    /// The id of the system of either end, or a part of its name
    #[arg(long, help_heading = "Filters")]
    system: Option<String>,
    /// The host or exporter that saw them
    #[arg(long, help_heading = "Filters")]
    host: Option<String>,
    /// The conversation, as other tools name it, too
    #[arg(long, value_name = "ID", help_heading = "Filters")]
    community_id: Option<String>,
    /// The id of a rule that matched, or its beginning; of a correlation: the flows that its alerts cite
    #[arg(long, help_heading = "Filters")]
    rule: Option<String>,
    #[command(flatten)]
    drill: DrillArg,
    /// Sums instead of single flows
    #[arg(long, value_enum, value_name = "WHAT")]
    by: Option<By>,
    /// At most so many rows
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Exit with 1 when no flow matches
    #[arg(long)]
    exit_code: bool,
}

/// Which way flows go, as [`crate::ends`] tells it.
const DIRECTIONS: [&str; 4] = ["inbound", "outbound", "internal", "external"];

/// What flows are summed up by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum By {
    /// Who began
    Source,
    /// Who was called
    Destination,
    /// Both, with the server's port and the application
    Pair,
    /// The server's port
    Port,
    /// The application
    App,
}

/// A flow in a listing.
#[derive(Debug, Default, Deserialize, Row, Serialize)]
struct Flow {
    #[serde(serialize_with = "as_iso")]
    ts: Micros,
    #[serde(serialize_with = "as_iso")]
    ts_end: Micros,
    #[serde(serialize_with = "as_address")]
    src_ip: String,
    src_port: u16,
    #[serde(serialize_with = "as_address")]
    dst_ip: String,
    dst_port: u16,
    proto: String,
    app: String,
    server_name: String,
    ja4: String,
    src_packets: u64,
    dst_packets: u64,
    src_bytes: u64,
    dst_bytes: u64,
    conn_state: String,
    history: String,
    part: u32,
    direction: String,
    src_system_id: String,
    src_sys_level: u8,
    dst_system_id: String,
    dst_sys_level: u8,
    community_id: String,
    origin: String,
    host: String,
    rules: Vec<String>,
    drill_id: String,
}

const COLUMNS: &str = "toUnixTimestamp64Micro(a.ts) AS ts, toUnixTimestamp64Micro(a.ts_end) AS ts_end, \
    toString(a.src_ip) AS src_ip, a.src_port AS src_port, toString(a.dst_ip) AS dst_ip, a.dst_port AS dst_port, a.proto AS proto, \
    a.app AS app, a.server_name AS server_name, a.ja4 AS ja4, a.src_packets AS src_packets, a.dst_packets AS dst_packets, \
    a.src_bytes AS src_bytes, a.dst_bytes AS dst_bytes, a.conn_state AS conn_state, a.history AS history, \
    toUInt32(a.part) AS part, a.direction AS direction, a.src_system_id AS src_system_id, a.src_sys_level AS src_sys_level, \
    a.dst_system_id AS dst_system_id, a.dst_sys_level AS dst_sys_level, a.community_id AS community_id, a.origin AS origin, \
    a.host AS host, a.rules AS rules, a.drill_id AS drill_id";

impl Listed for Flow {
    const HEADINGS: &'static [&'static str] =
        &["time ({zone})", "lasted", "from", "to", "what", "state", "sent", "got", "name"];
    const PROSE: &'static [&'static str] = &["name"];
    const SPARE: &'static [&'static str] = &["state", "got", "lasted", "sent", "name"];

    fn cells(&self, clock: &Clock) -> Vec<String> {
        let what = if self.app.is_empty() { &self.proto } else { &self.app };
        let tenths = self.ts_end.saturating_sub(self.ts) / (MICROS_PER_S / 10);
        vec![
            clock.shown_ms(self.ts),
            format!("{}.{} s", tenths / 10, tenths % 10),
            end(&self.src_ip, self.src_port),
            end(&self.dst_ip, self.dst_port),
            what.clone(),
            self.conn_state.clone(),
            grouped(self.src_bytes),
            grouped(self.dst_bytes),
            self.server_name.clone(),
        ]
    }
}

/// Flows summed up.
#[derive(Debug, Default, Deserialize, Row, Serialize)]
struct Sum {
    what: String,
    conversations: u64,
    peers: u64,
    packets: u64,
    src_bytes: u64,
    dst_bytes: u64,
    #[serde(serialize_with = "as_iso")]
    first_seen: Micros,
    #[serde(serialize_with = "as_iso")]
    last_seen: Micros,
}

impl Listed for Sum {
    const HEADINGS: &'static [&'static str] =
        &["what", "conversations", "peers", "sent", "got", "first ({zone})", "last"];
    const PROSE: &'static [&'static str] = &["what"];
    const SPARE: &'static [&'static str] = &["got", "peers", "first ({zone})", "sent"];

    fn cells(&self, clock: &Clock) -> Vec<String> {
        vec![
            self.what.clone(),
            grouped(self.conversations),
            grouped(self.peers),
            grouped(self.src_bytes),
            grouped(self.dst_bytes),
            clock.shown(self.first_seen),
            clock.shown(self.last_seen),
        ]
    }
}

impl By {
    /// What is summed up by, and what is counted as its peers.
    fn columns(self) -> (String, &'static str) {
        let [src, dst] = ["a.src_ip", "a.dst_ip"].map(address_text);
        let pair = format!(
            "concat({src}, ' > ', {dst}, ' ', a.proto, '/', toString(a.dst_port), if(a.app = '', '', concat(' ', a.app)))"
        );
        match self {
            Self::Source => (src, "a.dst_ip"),
            Self::Destination => (dst, "a.src_ip"),
            Self::Pair => (pair, "a.src_port"),
            Self::Port => ("concat(a.proto, '/', toString(a.dst_port))".to_owned(), "a.src_ip"),
            Self::App => ("a.app".to_owned(), "a.src_ip"),
        }
    }

    fn sql(self, filter: &Filter, limit: u64) -> String {
        let (what, peer) = self.columns();
        format!(
            "SELECT {what} AS what, countIf(a.part = 0) AS conversations, uniq({peer}) AS peers, \
             sum(a.src_packets + a.dst_packets) AS packets, sum(a.src_bytes) AS src_bytes, sum(a.dst_bytes) AS dst_bytes, \
             toUnixTimestamp64Micro(min(a.ts)) AS first_seen, toUnixTimestamp64Micro(max(a.ts_end)) AS last_seen \
             FROM flows AS a WHERE {} GROUP BY what ORDER BY src_bytes + dst_bytes DESC, what LIMIT {limit}",
            filter.sql()
        )
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let clock = Clock::new(args.output.utc);
    let window = select::span(&clock, select::window(&clock, &args.since, args.until.until.as_ref())?);
    let filter = filter(args, &clock)?;
    let reader = Reader::open(&configuration(&args.config)?)?;
    // One more than is shown, so that it is known whether there are more.
    let limit = u64::from(args.limit) + 1;
    let has_summary = args.output.format == Format::Table;
    let shown = match args.by {
        Some(by) => {
            let mut sums = block_on(reader.rows::<Sum>(&by.sql(&filter, limit), &filter))?;
            let is_cut = cut(&mut sums, args.limit, has_summary);
            print(&sums, &args.output, &clock, &summary(sums.len(), "sum", is_cut, &window))?;
            sums.len()
        }
        None => {
            let mut flows = block_on(reader.rows::<Flow>(&sql(&filter, limit), &filter))?;
            let is_cut = cut(&mut flows, args.limit, has_summary);
            flows.reverse();
            print(&flows, &args.output, &clock, &summary(flows.len(), "flow", is_cut, &window))?;
            flows.len()
        }
    };
    if shown == 0 {
        let mut named = Named::of(args.system.as_ref(), args.host.as_ref(), &args.drill);
        named.extend(args.rule.as_deref().map(Named::Rule));
        block_on(select::say_unknown(&reader, &named))?;
    }
    Ok(ExitCode::from(u8::from(args.exit_code && shown == 0)))
}

fn filter(args: &Args, clock: &Clock) -> Result<Filter> {
    let (since, until) = select::window(clock, &args.since, args.until.until.as_ref())?;
    let text = |text: &Option<String>| text.as_deref().map(select::text);
    let mut filter = Filter::default();
    filter
        .and("a.ts >= {}", Bound::Time(since))
        .and_if("a.ts < {}", until.map(Bound::Time))
        .and_if("a.dst_port = {}", args.port.map(|port| Bound::Number(port.into())))
        .and_if("a.proto = lower({})", text(&args.proto))
        .and_if("a.app = lower({})", text(&args.app))
        .and_if("positionCaseInsensitiveUTF8(a.server_name, {}) > 0", text(&args.name))
        .and_if("a.direction = {}", text(&args.direction))
        .and_if(select::END_OF_SYSTEM, text(&args.system))
        .and_if("a.host = {}", args.host.as_deref().map(select::host))
        .and_if("a.community_id = {}", text(&args.community_id))
        .and_if(select::OF_RULE, text(&args.rule));
    match (&args.address, &args.peer) {
        (Some(one), Some(other)) => {
            filter.and_between(["a.src_ip", "a.dst_ip"], one, other);
        }
        (Some(one), None) => {
            let either = "a.src_ip BETWEEN {first} AND {last} OR a.dst_ip BETWEEN {first} AND {last}";
            filter.and_within(either, one);
        }
        (None, _) => {}
    }
    args.drill.apply(&mut filter);
    Ok(filter)
}

fn sql(filter: &Filter, limit: u64) -> String {
    format!(
        "SELECT {COLUMNS} FROM flows AS a WHERE {} ORDER BY a.ts DESC, a.agent DESC, a.seq DESC, a.record DESC LIMIT {limit}",
        filter.sql()
    )
}

fn summary(rows: usize, what: &str, is_cut: bool, window: &str) -> String {
    match (rows, is_cut) {
        (0, _) => format!("no flow {window} that these filters let through"),
        (_, true) => format!("{} {window}; --limit shows more", counted(rows as u64, what)),
        (_, false) => format!("{} {window}", counted(rows as u64, what)),
    }
}

/// An address and its port, as a URL would have them (RFC 3986 section 3.2.2).
fn end(address: &str, port: u16) -> String {
    let address = shown_address(address);
    match (port, address.contains(':')) {
        (0, _) => address,
        (port, true) => format!("[{address}]:{port}"),
        (port, false) => format!("{address}:{port}"),
    }
}
