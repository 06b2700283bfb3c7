//! `vonggac links`: how full the lines of sites are, from the flow records of one who sees each line, or from the counters of the
//! interface that it goes through.
//!
//! The counters know every packet, and not whose it was; they are right where the interface carries nothing but the line. Where
//! flow records are asked, a flow crosses a line when one of its ends is behind it and the other is not. Bytes are spread evenly
//! over the time of their record, because it may stand for several samples. One observer a line: two would count the same packets
//! twice.
//!
//! Limits: what the observer does not report is not seen; a flow counts for a day at the most ([`FLOW_S_MAX`]).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clickhouse::Row;
use event::Micros;
use jiff::civil::Date;
use jiff::{Span, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::config::ConfigArg;
use crate::inventory::{Inventory, Link, Side};
use crate::link::{Day, SAMPLE, Sample, State, days, full_days, midnight, state};
use crate::people::connect::{Reader, block_on, configuration};
use crate::people::filter::{Bound, Filter, Network, mapped};
use crate::people::output::{Listed, OutputArgs, Tone, print};
use crate::people::select::counted;
use crate::people::when::{Clock, MICROS_PER_S};

/// Longest time over which the bytes of one record are spread, in seconds.
const FLOW_S_MAX: i64 = 86_400;
/// Columns that have a colour.
const PERCENT: usize = 6;
const STATE: usize = 8;

const EXAMPLES: &str = "\
Examples:
  vonggac links                      capacity, 95th percentile of yesterday, days above 90 %
  vonggac links --days 90            as far as flows are kept
  vonggac links xa-mau               day by day

A line is a [[link]] of the inventory: id, name, organisation, mbps, mbps_min (what is asked of it), networks behind it, and the
observer: the host whose agent meters it, or the address of the exporter. With counters = \"outside\" or \"inside\" the agent's counters of
its interface tell instead of flow records.

Exit codes: 0 all lines do; 1 one was above 90 % for seven days in a row, or carries less than is asked; 2 could not be answered.";

/// Show how full the lines of sites are: 95th percentile of five-minute samples against capacity
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: OutputArgs,
    /// One line, day by day
    link: Option<String>,
    /// So many whole days
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u16).range(1..=366))]
    days: u16,
    /// The day after the last one [default: today]
    #[arg(long, value_name = "DATE")]
    until: Option<Date>,
}

/// A line in the list.
#[derive(Debug, Default, Serialize)]
struct Line {
    link: String,
    name: String,
    organisation: String,
    mbps: f64,
    /// What is asked of it; 0 nothing.
    mbps_min: f64,
    sent_mbps: f64,
    received_mbps: f64,
    percent: f64,
    full_days: usize,
    state: State,
}

/// A day of one line.
#[derive(Debug, Default, Serialize)]
struct DayRow {
    date: String,
    sent_mbps: f64,
    received_mbps: f64,
    percent: f64,
    samples: usize,
}

/// What a line carried in one sample.
#[derive(Debug, Deserialize, Row)]
struct Carried {
    at: Micros,
    sent: f64,
    received: f64,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let inventory = Inventory::open(&config.systems)?;
    let reader = Reader::open(&config)?;
    let clock = Clock::new(args.output.utc);
    let end = args.until.unwrap_or_else(|| clock.now.to_zoned(clock.zone.clone()).date());
    let first = end.checked_sub(Span::new().days(i64::from(args.days)))?;
    let ask = |link: &Link| block_on(link_days(&reader, link, &clock.zone, first, end));
    if let Some(id) = &args.link {
        let link = inventory.links().iter().find(|link| link.id == *id);
        let link =
            link.with_context(|| format!("no link of the inventory has the id {id:?}; `vonggac links`"))?;
        return show(link, &ask(link)?, args, &clock);
    }
    let mut rows = Vec::new();
    for link in inventory.links() {
        rows.push(Line::of(&inventory, link, &ask(link)?));
    }
    let summary =
        format!("{}, {first} to the end of {}", counted(rows.len() as u64, "line"), end.yesterday()?);
    print(&rows, &args.output, &clock, &summary)?;
    Ok(answer(rows.iter().any(Line::is_bad)))
}

fn show(link: &Link, days: &[Day], args: &Args, clock: &Clock) -> Result<ExitCode> {
    let rows: Vec<DayRow> = days.iter().map(DayRow::of).collect();
    let summary = format!("{}: {} Mbit/s, seen by {}", link.name, link.mbps, link.observer);
    print(&rows, &args.output, clock, &summary)?;
    Ok(answer(state(days) == State::TooSmall || link.is_below_minimum()))
}

fn answer(is_bad: bool) -> ExitCode {
    if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The days of a line, from the flows that its observer reported.
pub(crate) async fn link_days(
    reader: &Reader,
    link: &Link,
    zone: &TimeZone,
    first: Date,
    end: Date,
) -> Result<Vec<Day>> {
    let (sql, filter) = question(link, midnight(first, zone)?, midnight(end, zone)?);
    let carried = reader.rows::<Carried>(&sql, &filter).await?;
    let sample = |Carried { at, sent, received }| (at, Sample { sent, received });
    let samples: BTreeMap<Micros, Sample> = carried.into_iter().map(sample).collect();
    Ok(days(&samples, f64::from(link.mbps), zone, first, end)?)
}

/// Asks for the samples between two moments. A record of before may reach into them.
fn question(link: &Link, from: Micros, to: Micros) -> (String, Filter) {
    let mut filter = Filter::default();
    filter.and("f.ts >= {}", Bound::Time(from - FLOW_S_MAX * MICROS_PER_S));
    filter.and("f.ts < {}", Bound::Time(to));
    filter.and_always("f.drill_id = ''");
    let records = match link.counters {
        Some(side) => by_counters(link, side, &mut filter),
        None => by_flows(link, &mut filter),
    };
    (spread(&records, from, to), filter)
}

/// What an agent's interface counted: rows of first and last moment, bytes sent, bytes received.
fn by_counters(link: &Link, side: Side, filter: &mut Filter) -> String {
    filter.and_always("f.kind = 'interface'");
    filter.and("f.host = {}", Bound::Text(link.observer.clone()));
    filter.and_if("f.source = {}", link.source.clone().map(Bound::Text));
    let (sent, received) = match side {
        Side::Outside => ("tx_bytes", "rx_bytes"),
        Side::Inside => ("rx_bytes", "tx_bytes"),
    };
    format!(
        "SELECT toUnixTimestamp64Micro(f.ts) AS first, first + toInt64OrZero(f.fields['duration_us']) AS last, \
           toUInt64OrZero(f.fields['{sent}']) AS sent, toUInt64OrZero(f.fields['{received}']) AS received \
         FROM events AS f WHERE {}",
        filter.sql()
    )
}

/// The same of flows that have one end behind the line.
fn by_flows(link: &Link, filter: &mut Filter) -> String {
    match link.observer.parse::<IpAddr>() {
        Ok(exporter) => filter.and("f.exporter = {}", Bound::Address(mapped(exporter))),
        Err(_) => filter.and("f.host = {}", Bound::Text(link.observer.clone())),
    };
    filter.and_if("f.source = {}", link.source.clone().map(Bound::Text));
    let networks: Vec<Network> = link.networks.iter().map(|network| Network::from(network.value)).collect();
    let source = filter.is_within("f.src_ip", &networks);
    let destination = filter.is_within("f.dst_ip", &networks);
    format!(
        "SELECT toUnixTimestamp64Micro(f.ts) AS first, toUnixTimestamp64Micro(f.ts_end) AS last, {source} AS inside, \
           if(inside, f.src_bytes, f.dst_bytes) AS sent, if(inside, f.dst_bytes, f.src_bytes) AS received \
         FROM flows AS f WHERE {} AND {source} != {destination}",
        filter.sql()
    )
}

/// Spreads the bytes of records evenly over the samples in which they were carried.
fn spread(records: &str, from: Micros, to: Micros) -> String {
    let (sample, longest) = (SAMPLE, FLOW_S_MAX * MICROS_PER_S);
    format!(
        "SELECT slot * {sample} AS at, sum(r.sent * share) AS sent, sum(r.received * share) AS received \
         FROM (SELECT c.sent AS sent, c.received AS received, c.first AS first, \
             least(greatest(c.last, first), first + {longest}) AS last, \
             toInt64(arrayJoin(range(toUInt64(intDiv(first, {sample})), toUInt64(intDiv(last, {sample}) + 1)))) AS slot, \
             if(last = first, 1, (least(last, (slot + 1) * {sample}) - greatest(first, slot * {sample})) / (last - first)) \
               AS share \
           FROM ({records}) AS c) AS r \
         WHERE at >= {from} AND at < {to} GROUP BY at ORDER BY at"
    )
}

impl Line {
    fn of(inventory: &Inventory, link: &Link, days: &[Day]) -> Self {
        let last = days.last();
        Self {
            link: link.id.clone(),
            name: link.name.clone(),
            organisation: inventory.organisation_name(&link.organisation.value).to_owned(),
            mbps: f64::from(link.mbps),
            mbps_min: f64::from(link.mbps_min),
            sent_mbps: last.map_or(0.0, |day| day.sent),
            received_mbps: last.map_or(0.0, |day| day.received),
            percent: last.map_or(0.0, |day| day.percent),
            full_days: full_days(days),
            state: state(days),
        }
    }

    fn is_bad(&self) -> bool {
        self.state == State::TooSmall || self.mbps < self.mbps_min
    }
}

impl Listed for Line {
    const HEADINGS: &'static [&'static str] = &[
        "link",
        "name",
        "organisation",
        "Mbit/s",
        "sent p95",
        "received p95",
        "of capacity",
        "days full",
        "state",
    ];
    const PROSE: &'static [&'static str] = &["name", "organisation"];
    const SPARE: &'static [&'static str] = &["organisation", "name", "Mbit/s", "days full"];

    fn cells(&self, _clock: &Clock) -> Vec<String> {
        let capacity = if self.mbps < self.mbps_min {
            format!("{} (asked {})", self.mbps, self.mbps_min)
        } else {
            self.mbps.to_string()
        };
        let state = match self.state {
            State::Unknown => "nothing seen",
            State::Well => "well",
            State::Full => "full",
            State::TooSmall => "too small",
        };
        vec![
            self.link.clone(),
            self.name.clone(),
            self.organisation.clone(),
            capacity,
            format!("{:.1}", self.sent_mbps),
            format!("{:.1}", self.received_mbps),
            format!("{:.0} %", self.percent),
            self.full_days.to_string(),
            state.to_owned(),
        ]
    }

    fn tone(&self, column: usize) -> Tone {
        match (column, self.state) {
            (PERCENT | STATE, State::TooSmall) => Tone::Alarm,
            (PERCENT | STATE, State::Full) | (STATE, State::Unknown) => Tone::Notice,
            _ => Tone::Plain,
        }
    }
}

impl DayRow {
    fn of(day: &Day) -> Self {
        Self {
            date: day.date.to_string(),
            sent_mbps: day.sent,
            received_mbps: day.received,
            percent: day.percent,
            samples: day.samples,
        }
    }
}

impl Listed for DayRow {
    const HEADINGS: &'static [&'static str] = &["day", "sent p95", "received p95", "of capacity", "samples"];

    fn cells(&self, _clock: &Clock) -> Vec<String> {
        vec![
            self.date.clone(),
            format!("{:.1}", self.sent_mbps),
            format!("{:.1}", self.received_mbps),
            format!("{:.0} %", self.percent),
            self.samples.to_string(),
        ]
    }
}
