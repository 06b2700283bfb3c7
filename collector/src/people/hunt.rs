//! `vonggac hunt`: the scheduled questions to the store, asked by a person.
//!
//! What `run` shows is what the daemon would have handed to the rules for that window; it raises no alert and stores nothing.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use event::Micros;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::ConfigArg;
use crate::hunts::{self, Hunt, Window};
use crate::people::connect::{Reader, block_on, configuration};
use crate::people::escape::{json_line, shown};
use crate::people::output::{Listed, OutputArgs, Tone, print, print_text};
use crate::people::select::counted;
use crate::people::table::{self, Column, Terminal};
use crate::people::when::{Clock, MICROS_PER_S, When};
use crate::run_hunts::{Found, find};

/// The first columns of a hunt say who and whom: they are never left out.
const WHO: usize = 2;

const EXAMPLES: &str = "\
Examples:
  vonggac hunt list
  vonggac hunt run beaconing                            its window that ends now
  vonggac hunt run rare-destination --until 2026-11-20  as it was at that time
  vonggac hunt run beaconing --drill DRILL_ID           in what a drill made
  vonggac hunt run beaconing --json | jq .dst_ip
  vonggac alerts --since 7d | grep -i hunt              what became an alert

Exit codes: 0 done; 2 the store or the hunt cannot be read.";

/// Ask the store the questions that need hours of history: beaconing, rare destinations, exfiltration
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the hunts and their schedules
    List(ListArgs),
    /// Ask one question now, and show the rows
    #[command(after_help = EXAMPLES)]
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The hunt's name
    hunt: String,
    #[command(flatten)]
    config: ConfigArg,
    /// Where its window ends
    #[arg(long, value_name = "TIME", default_value = "now")]
    until: When,
    /// Look at what this drill made, instead of what is real
    #[arg(long, value_name = "ID", default_value = "")]
    drill: String,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A hunt in the list.
#[derive(Debug, Default, Serialize)]
struct Row {
    hunt: String,
    title: String,
    every_s: Micros,
    window_s: Micros,
}

impl Listed for Row {
    const HEADINGS: &'static [&'static str] = &["hunt", "every", "looks back", "title"];
    const PROSE: &'static [&'static str] = &["title"];

    fn cells(&self, _clock: &Clock) -> Vec<String> {
        vec![self.hunt.clone(), span(self.every_s), span(self.window_s), self.title.clone()]
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Run(args) => ask(args),
    }
}

fn list(args: &ListArgs) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let rows: Vec<Row> = hunts::load(&config.hunts)?
        .into_iter()
        .map(|Hunt { name, title, every, window, .. }| Row {
            hunt: name,
            title,
            every_s: every / MICROS_PER_S,
            window_s: window / MICROS_PER_S,
        })
        .collect();
    let count = counted(u64::try_from(rows.len()).unwrap_or(u64::MAX), "hunt");
    print(&rows, &args.output, &Clock::new(args.output.utc), &count)?;
    Ok(ExitCode::SUCCESS)
}

fn ask(args: &RunArgs) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let hunts = hunts::load(&config.hunts)?;
    let hunt = hunts.iter().find(|hunt| hunt.name == args.hunt);
    let hunt = hunt.with_context(|| format!("no hunt {:?}: `vonggac hunt list` lists them", args.hunt))?;
    let to = Clock::new(true).resolve(&args.until)?;
    let window = Window { from: to.saturating_sub(hunt.window), to };
    ensure!(window.from >= 0, "--until: a time after 1970 expected");
    let reader = Reader::open(&config)?;
    let found = block_on(find(hunt, window, &args.drill, &reader))?;
    print_text(&if args.json { lines(&found.rows)? } else { table(hunt, &found) })?;
    Ok(ExitCode::SUCCESS)
}

fn lines(rows: &[Map<String, Value>]) -> Result<String> {
    rows.iter().map(|row| Ok(json_line(row)? + "\n")).collect()
}

fn table(hunt: &Hunt, found: &Found) -> String {
    let names: Vec<&String> = found.rows.first().into_iter().flat_map(Map::keys).collect();
    // What a hunt selects first matters most.
    let spared = |at: usize| (at >= WHO).then(|| names.len().saturating_sub(at));
    let mut columns: Vec<Column> =
        names.iter().enumerate().map(|(at, name)| Column::new(name).spared(spared(at))).collect();
    for row in &found.rows {
        for (column, value) in columns.iter_mut().zip(row.values()) {
            match value {
                Value::String(text) => column.push(text, Tone::Plain),
                other => column.push(&other.to_string(), Tone::Plain),
            }
        }
    }
    let more = if found.cut { ", and more than a run takes" } else { "" };
    let rows = table::written(&columns, Terminal::of_stdout());
    format!("{rows}{}: {} found{more}\n", shown(&hunt.title), found.rows.len())
}

/// A number of seconds as people say it.
fn span(seconds: Micros) -> String {
    match seconds {
        s if s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s % 3_600 == 0 => format!("{} h", s / 3_600),
        s => format!("{} min", s / 60),
    }
}
