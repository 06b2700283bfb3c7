//! `vonggac report`: what a SOC tells those above it, by day, week, month, half year; the yearly report of levels; drills.
//!
//! A report is made in two steps that know nothing of each other: what it says ([`page`]), and how it is written (a file a
//! format). The same store and the same arguments give the same bytes. A period that is over is told as it stood at its end: what
//! people did with an alert afterwards does not change its report. What the store did not have then still does (a batch that came
//! late, a hit that joined an alert), and so do inventory and decrees, which are read from their files as they are now.
//!
//! What this never does: count a drill among what happened, or let text out of a log become markup.

mod ask;
mod csv;
mod docx;
mod drills;
mod duties;
mod html;
mod incident;
mod incidents;
mod levels;
mod markdown;
mod page;
mod period;
mod periodic;
mod watch;
mod words;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use jiff::civil::Date;

use crate::config::{Config, ConfigArg};
use crate::level::Lang;
use crate::people::books::Books;
use crate::people::connect::{Reader, block_on, configuration};
use crate::people::report::ask::Ask;
pub(super) use crate::people::report::incident::page as incident;
pub(super) use crate::people::report::page::Page;
use crate::people::report::period::{Length, Period};
pub(super) use crate::people::report::words::severity_name;
use crate::people::when::{Clock, day};

const EXAMPLES: &str = "\
Examples:
  vonggac report daily --output bao-cao.html              yesterday, in Vietnamese, to be printed
  vonggac report weekly --format docx -o week.docx        last week, Monday to Sunday
  vonggac report monthly --date 2026-10-15 --lang en      October 2026
  vonggac report levels --format csv                      Mẫu 08 of NĐ 331: the year to 14 December
  vonggac report drill --date 2026-11-26 --format md      drills of that half year
  vonggac report period --since 2026-11-01 --until 2026-11-20   beside the days before

Pictures are in HTML; the other formats have the numbers as tables. Without --date the last period that is over is taken.
Exit codes: 0 written; 2 it could not be.";

/// Write a report: daily, weekly, monthly, half-year, period, levels (Mẫu 08), drill
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which report
    #[arg(value_enum)]
    kind: Kind,
    #[command(flatten)]
    config: ConfigArg,
    /// Its language
    #[arg(long, value_enum, default_value_t = Lang::Vi)]
    lang: Lang,
    /// How it is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// A day of the period, YYYY-MM-DD [default: the last period that is over]
    #[arg(long, value_parser = day, conflicts_with_all = ["since", "until"])]
    date: Option<Date>,
    /// The first day, of the kinds period and drill
    #[arg(long, value_name = "DATE", value_parser = day)]
    since: Option<Date>,
    /// The last day [default: yesterday]
    #[arg(long, value_name = "DATE", value_parser = day, requires = "since")]
    until: Option<Date>,
    /// Days are those of UTC instead of the local zone
    #[arg(long)]
    utc: bool,
    /// Into this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Kind {
    Daily,
    Weekly,
    Monthly,
    HalfYear,
    /// From --since to --until
    Period,
    /// The yearly report of security levels
    Levels,
    /// The drills of half a year
    Drill,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Format {
    /// One file for browsers and printers (A4)
    #[default]
    Html,
    /// Office Open XML, for Word and LibreOffice
    Docx,
    /// Markdown
    Md,
    /// Comma-separated values
    Csv,
}

impl Kind {
    fn length(self) -> Length {
        match self {
            Self::Daily => Length::Day,
            Self::Weekly => Length::Week,
            Self::Monthly => Length::Month,
            Self::HalfYear | Self::Drill => Length::HalfYear,
            Self::Period => Length::Days,
            Self::Levels => Length::LevelYear,
        }
    }

    /// Whether its days may be named.
    fn is_free(self) -> bool {
        matches!(self, Self::Period | Self::Drill)
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let clock = Clock::new(args.utc);
    let today = clock.now.to_zoned(clock.zone.clone()).date();
    let (period, before) = args.periods(today)?;
    ensure!(
        period.first <= today || args.kind == Kind::Levels,
        "a period that has begun is expected, found one that begins on {}",
        period.first
    );
    let page = page(args, &config, &clock, period, before)?;
    deliver(&page, args.format, args.output.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a report into a file, or to standard output.
pub(super) fn deliver(page: &Page, format: Format, output: Option<&Path>) -> Result<()> {
    let bytes = match format {
        Format::Html => html::write(page).into_bytes(),
        Format::Docx => docx::write(page)?,
        Format::Md => markdown::write(page).into_bytes(),
        Format::Csv => csv::write(page)?.into_bytes(),
    };
    match output {
        Some(path) => {
            std::fs::write(path, bytes).with_context(|| format!("{} cannot be written", path.display()))
        }
        None => Ok(std::io::stdout().lock().write_all(&bytes)?),
    }
}

impl Args {
    /// The days that are reported, and those before that they are compared with.
    fn periods(&self, today: Date) -> Result<(Period, Period)> {
        let length = self.kind.length();
        match (self.since, self.date) {
            (Some(first), _) => {
                ensure!(
                    self.kind.is_free(),
                    "--since: the kinds period and drill take it; the others take --date"
                );
                let last = self.until.map_or_else(|| today.yesterday(), Ok)?;
                let period = Period::between(first, last)?;
                Ok((period, period.as_long_before()?))
            }
            (None, day) => {
                ensure!(self.kind != Kind::Period, "--since: the first day is expected, found none");
                let period = day.map_or_else(|| length.before(today), |day| length.around(day))?;
                Ok((period, length.before(period.first)?))
            }
        }
    }
}

fn page(args: &Args, config: &Config, clock: &Clock, period: Period, before: Period) -> Result<Page> {
    let books = Books::open(config, period.end.yesterday()?, clock.zone.clone())?;
    if args.kind == Kind::Levels {
        return Ok(levels::page(&books.inventory, &books.levels, period, args.lang));
    }
    let reader = Reader::open(config)?;
    let (from, to) = period.moments(&clock.zone)?;
    let (before, _) = before.moments(&clock.zone)?;
    let ask = Ask {
        reader: &reader,
        lang: args.lang,
        zone: clock.zone.clone(),
        period,
        from,
        to,
        before,
        as_of: to.min(clock.now.as_microsecond()),
    };
    if args.kind == Kind::Drill {
        return block_on(drills::page(&ask));
    }
    block_on(periodic::page(&ask, &books, args.kind.length()))
}
