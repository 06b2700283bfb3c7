//! `vonggac exceptions`: what has been decided beforehand about hits, whether the files are right, and what it swallowed.

use std::collections::HashSet;
use std::process::ExitCode;

use anyhow::Result;
use clickhouse::Row;
use event::Micros;
use serde::{Deserialize, Serialize};

use crate::alert::OWN_RULE;
use crate::clock::{now, today};
use crate::config::{Config, ConfigArg};
use crate::exceptions::{self, Kind, Waiver};
use crate::indicators;
use crate::inventory::Inventory;
use crate::people::connect::{Reader, block_on, configuration};
use crate::people::escape::shown;
use crate::people::filter::Filter;
use crate::people::output::{Format, Listed, OutputArgs, Tone, print, print_text};
use crate::people::select::{as_iso, counted, grouped};
use crate::people::when::Clock;
use crate::priority::Levels;
use crate::rules;

const EXAMPLES: &str = "\
Examples:
  vonggac exceptions check            are the files right, what has expired, what is not known
  vonggac exceptions list             each with its owner, its last day, what it swallowed
  vonggac exceptions list --format json | jq 'select(.swallowed == 0) | .id'
  vonggac alerts --format json | jq -r 'select(.silence != \"\") | .id'   nobody was notified

A file, or the *.toml of a folder, that `exceptions` in the configuration names; SIGHUP loads it anew:

  [[exception]]                       # the hit is expected: counted, no alert
  id = \"vulnerability-scanner\"
  owner = \"Lan\"
  reason = \"the health department scans its portal each Sunday\"
  expires = \"2027-03-31\"              # the last day, or a time; at most 366 days from now
  rules = [\"ID\"]                      # of what is given, each must hold, by one of its values
  systems = [\"portal\"]
  hosts = [\"web*\"]                    # * stands for any text; case does not matter
  addresses = [\"10.20.0.5\", \"2001:db8::/32\"]
  users = [\"scanner\"]
  fields.CommandLine = ['*\\scan.exe *']   # fields that `vonggac alert ID` shows as matched

  [[silence]]                         # the alert is stored and marked, and nobody is notified
  id = \"move-of-the-mail-server\"
  from = \"2026-12-05T22:00\"
  expires = \"2026-12-06T04:00\"
  ...

Exit codes: 0 all is well; 1 (check) something is wrong, has expired or is not known; 2 it could not be answered.";

/// Exceptions and silences: check their files, list what is in force and what it swallowed
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say what is wrong in the files, what has expired, and which rules and systems are not known
    Check(CheckArgs),
    /// List them with what they swallowed, drills aside
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Check(args) => check(args),
        Command::List(args) => list(args),
    }
}

fn check(args: &CheckArgs) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let now = now();
    let (exceptions, faults) = exceptions::load(config.exceptions.as_deref(), now);
    let (rules, systems) = (known_rules(&config), known_systems(&config)?);
    let is_rule = |rule: &str| rules.contains(rule) || rule.starts_with(OWN_RULE);
    let unknown = exceptions.unknown(is_rule, |system| systems.contains(system));
    let expired = exceptions.waivers().iter().filter(|waiver| waiver.has_expired(now)).map(expired);
    let said: Vec<String> = faults.iter().chain(&unknown).map(ToString::to_string).chain(expired).collect();
    let findings: String = said.iter().map(|line| format!("{}\n", shown(line))).collect();
    let of = |kind| exceptions.waivers().iter().filter(|waiver| waiver.kind == kind).count() as u64;
    print_text(&format!(
        "{findings}{} and {} loaded, {}\n",
        counted(of(Kind::Exception), "exception"),
        counted(of(Kind::Silence), "silence"),
        counted(said.len() as u64, "finding")
    ))?;
    Ok(ExitCode::from(u8::from(!said.is_empty())))
}

fn expired(waiver: &Waiver) -> String {
    let Waiver { kind, id, file, place, .. } = waiver;
    format!("{}:{place}: {} {id:?}: has expired and has no effect", file.display(), kind.as_str())
}

/// Whatever an alert may name as its rule, but for the collector's own.
fn known_rules(config: &Config) -> HashSet<String> {
    let (engine, _) = rules::load(&config.rules);
    let indicators = indicators::load(&config.indicators, now()).indicators;
    let indicators = indicators.iter().map(|indicator| indicator.id());
    let rules = engine.rules().iter().map(|rule| rule.id.clone());
    rules.chain(indicators).collect()
}

fn known_systems(config: &Config) -> Result<HashSet<String>> {
    let levels = Levels::load(&config.levels, today())?;
    let inventory = Inventory::load(&config.systems, Some(&levels))?;
    Ok(inventory.systems().iter().map(|system| system.id.clone()).collect())
}

/// A waiver in the list.
#[derive(Debug, Default, Serialize)]
struct Listing {
    kind: String,
    id: String,
    owner: String,
    reason: String,
    #[serde(serialize_with = "as_iso")]
    expires: Micros,
    status: String,
    /// Hits of exceptions; alerts of silences.
    swallowed: u64,
    #[serde(serialize_with = "as_iso")]
    last_hit: Micros,
    last_event: String,
}

/// What one of them did.
#[derive(Debug, Default, Deserialize, Row)]
struct Usage {
    id: String,
    swallowed: u64,
    last_hit: Micros,
    last_event: String,
}

/// Of what is real: a drill would make an exception look used that nothing needs any more.
const USAGE: &str = "\
    SELECT toString(exception) AS id, sum(swallowed) AS swallowed, \
        toUnixTimestamp64Micro(max(u.last_hit)) AS last_hit, argMax(last_hit_event, u.last_hit) AS last_event \
    FROM exception_usage AS u WHERE u.drill_id = '' GROUP BY exception \
    UNION ALL \
    SELECT toString(silence) AS id, count() AS swallowed, toUnixTimestamp64Micro(max(last_seen)) AS last_hit, \
        argMax(a.id, a.last_seen) AS last_event \
    FROM alerts AS a FINAL WHERE silence != '' AND a.drill_id = '' GROUP BY silence";

impl Listed for Listing {
    const HEADINGS: &'static [&'static str] =
        &["kind", "id", "owner", "expires ({zone})", "status", "swallowed", "last ({zone})", "reason"];
    const PROSE: &'static [&'static str] = &["owner", "reason"];
    const SPARE: &'static [&'static str] = &["last ({zone})", "kind", "owner", "swallowed"];

    fn cells(&self, clock: &Clock) -> Vec<String> {
        let last = if self.last_hit == 0 { "-".to_owned() } else { clock.shown(self.last_hit) };
        vec![
            self.kind.clone(),
            self.id.clone(),
            self.owner.clone(),
            if self.expires == 0 { "-".to_owned() } else { clock.shown(self.expires) },
            self.status.clone(),
            grouped(self.swallowed),
            last,
            self.reason.clone(),
        ]
    }

    fn tone(&self, column: usize) -> Tone {
        match (column, self.status.as_str()) {
            (4, "expired" | "gone") => Tone::Notice,
            _ => Tone::Plain,
        }
    }
}

fn list(args: &ListArgs) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let (exceptions, faults) = exceptions::load(config.exceptions.as_deref(), now());
    let reader = Reader::open(&config)?;
    let mut usages = block_on(reader.rows::<Usage>(USAGE, &Filter::default()))?;
    let mut rows: Vec<Listing> = exceptions
        .waivers()
        .iter()
        .map(|waiver| {
            let usage = usages.iter().position(|usage| usage.id == waiver.id);
            listing(waiver, usage.map(|at| usages.swap_remove(at)).unwrap_or_default())
        })
        .collect();
    // What is in no file any more swallowed what it did all the same.
    rows.extend(usages.into_iter().map(gone));
    let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let wrong = match faults.len() {
        0 => String::new(),
        wrong => format!("; {wrong} not loaded: vonggac exceptions check"),
    };
    if args.output.format != Format::Table {
        faults.iter().for_each(|fault| eprintln!("vonggac: not loaded: {}", shown(&fault.to_string())));
    }
    print(&rows, &args.output, &Clock::new(args.output.utc), &format!("{}{wrong}", counted(count, "row")))?;
    Ok(ExitCode::SUCCESS)
}

fn listing(waiver: &Waiver, usage: Usage) -> Listing {
    let now = now();
    let status = match (waiver.holds(now), waiver.has_expired(now)) {
        (true, _) => "in force",
        (false, true) => "expired",
        (false, false) => "to come",
    };
    Listing {
        kind: waiver.kind.as_str().to_owned(),
        id: waiver.id.clone(),
        owner: waiver.owner.clone(),
        reason: waiver.reason.clone(),
        expires: waiver.expires,
        status: status.to_owned(),
        swallowed: usage.swallowed,
        last_hit: usage.last_hit,
        last_event: usage.last_event,
    }
}

fn gone(usage: Usage) -> Listing {
    let Usage { id, swallowed, last_hit, last_event } = usage;
    Listing { id, status: "gone".to_owned(), swallowed, last_hit, last_event, ..Listing::default() }
}
