//! `vonggac systems`: the information systems of a site, their levels by every decree, and what is wrong or due about them.
//!
//! The inventory and the decrees are read where the configuration says, or where the command says; only `reclassify` and
//! `coverage` need the store. The level that was approved and the one that a decree computes stand side by side; which counts is for
//! people to decide.

mod check;
mod coverage;
mod level;
mod list;
mod reclassify;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use jiff::civil::Date;

use crate::clock::today;
use crate::config::ConfigArg;
use crate::inventory::{Finding, Grade, Inventory, SystemIndex};
use crate::people::connect::configuration;
use crate::priority::Levels;

const EXAMPLES: &str = "\
Examples:
  vonggac systems list                            every system, its approved and computed level
  vonggac systems show cong-dvc --lang vi         why it has its level, by every decree
  vonggac systems level --format csv              levels by every decree, for a spreadsheet
  vonggac systems level --date 2024-06-01         as on that day
  vonggac systems check --systems new-systems/    before an inventory is put into place
  vonggac systems coverage                        which sources must report, which are silent
  vonggac systems reclassify --since 30d --dry-run  what would get another system or level";

/// The information systems: their levels and why, faults of the inventory, log sources that must report, classifying anew
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the systems, with owner, operator, approved level and the level by the decree in force
    List(list::Args),
    /// Show one system: its level by every decree, rule by rule with the articles, what is missing, what the level demands
    Show(show::Args),
    /// List the level of every system by every decree
    Level(level::Args),
    /// Check the inventory: faults, levels that are due or differ, missing facts, systems that look split
    Check(check::Args),
    /// List the log sources that the systems must have, by which article, and which are silent
    Coverage(coverage::Args),
    /// Classify stored events, flows and alerts anew, by today's inventory
    Reclassify(reclassify::Args),
}

/// Where the inventory and the decrees are, and for which day they are looked at.
#[derive(Clone, Debug, clap::Args)]
struct SourceArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Inventory: a file, or a folder of *.toml [default: `systems` of the configuration]
    #[arg(long, value_name = "PATH", help_heading = "Sources")]
    systems: Option<PathBuf>,
    /// Folder of the decrees [default: `levels` of the configuration]
    #[arg(long, value_name = "DIR", help_heading = "Sources")]
    levels: Option<PathBuf>,
    /// The day that is asked about, YYYY-MM-DD [default: today]
    #[arg(long, value_name = "DATE")]
    date: Option<Date>,
}

/// An inventory and decrees that were read.
struct Sources {
    inventory: Inventory,
    /// What is wrong with the inventory.
    faults: Vec<Finding>,
    levels: Levels,
    date: Date,
}

impl SourceArgs {
    /// Reads both; an inventory with faults is read as far as it can be.
    fn read(&self) -> Result<Sources> {
        let (systems, levels) = match (&self.systems, &self.levels) {
            (Some(systems), Some(levels)) => (systems.clone(), levels.clone()),
            (systems, levels) => {
                let config = configuration(&self.config)?;
                (systems.clone().unwrap_or(config.systems), levels.clone().unwrap_or(config.levels))
            }
        };
        let date = self.date.unwrap_or_else(today);
        let levels = Levels::load(&levels, date).context("the decrees cannot be used")?;
        let (inventory, faults) = Inventory::read(&systems)?;
        Ok(Sources { inventory, faults, levels, date })
    }

    /// Reads both; refuses an inventory with faults.
    fn read_whole(&self) -> Result<Sources> {
        let sources = self.read()?;
        match sources.faults.iter().find(|finding| finding.grade == Grade::Error) {
            Some(fault) => {
                bail!("the inventory has faults; `vonggac systems check` lists them. The first: {fault}")
            }
            None => Ok(sources),
        }
    }
}

impl Sources {
    /// The systems that are meant: those with these ids, or all.
    fn chosen(&self, ids: &[String]) -> Result<Vec<SystemIndex>> {
        if ids.is_empty() {
            return Ok(self.inventory.indices().collect());
        }
        let find = |id: &String| {
            let found = self.inventory.by_id(id);
            found.with_context(|| format!("no system has the id {id:?}; `vonggac systems list` lists them"))
        };
        ids.iter().map(find).collect()
    }

    /// The name of whoever held a system on the day.
    fn holder(&self, tenures: &[crate::inventory::Tenure]) -> String {
        let tenure = crate::inventory::holder(tenures, self.date);
        tenure.map_or_else(String::new, |tenure| {
            self.inventory.organisation_name(&tenure.organisation).to_owned()
        })
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::List(args) => list::run(args),
        Command::Show(args) => show::run(args),
        Command::Level(args) => level::run(args),
        Command::Check(args) => check::run(args),
        Command::Coverage(args) => coverage::run(args),
        Command::Reclassify(args) => reclassify::run(args),
    }
}
