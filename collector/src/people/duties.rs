//! `vonggac duties`: what the decree in force asks of each system again and again, and when it falls due next.
//!
//! That something was done is an entry of the same chain of hashes as what people do with alerts ([`crate::history`]), about
//! `duty/SYSTEM/DUTY`; its text begins with the day. An entry `undone` takes a day back that was an error.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clickhouse::Row;
use event::Micros;
use jiff::Span;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::clock::{today, zone};
use crate::config::ConfigArg;
use crate::duty::{Due, due};
use crate::history::Entry;
use crate::inventory::System;
use crate::level::{Decree, Duty, Lang};
use crate::people::books::Books;
use crate::people::connect::{Reader, Writer, block_on, configuration};
use crate::people::deed;
use crate::people::filter::{Bound, Filter};
use crate::people::output::{Listed, OutputArgs, Tone, print, print_text};
use crate::people::select::counted;
use crate::people::when::{Clock, day};

/// Column of the day.
const DUE: usize = 0;
/// How the subject of an entry about a duty begins.
const SUBJECT: &str = "duty/";

const EXAMPLES: &str = "\
Examples:
  vonggac duties                             what is overdue or falls due within 30 days
  vonggac duties --within 365 --lang vi      the year ahead, in Vietnamese
  vonggac duties --system cong-dvc --all     everything that one system owes, also what has no day
  vonggac duties done cong-dvc vulnerability-scan --on 2026-11-20 --text \"báo cáo 12/BC-TTDL\"
  vonggac duties done cong-dvc vulnerability-scan --on 2026-11-20 --withdraw --text \"another day\"

Without a record a duty runs from the day of the approved level, or from the day on which the decree came into force when that is
later. Recording needs the writer's password: the daemon's user or root.

Exit codes: 0 nothing is overdue; 1 something is; 2 it could not be told.";

/// List the duties of each system by its level: scans, reviews, drills, reports; record what was done
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: OutputArgs,
    /// What falls due within so many days
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    within: u16,
    /// Everything, whenever it is due, also what has no day
    #[arg(long)]
    all: bool,
    /// Only this system
    #[arg(long, value_name = "ID")]
    system: Option<String>,
    /// The language of what a duty is
    #[arg(long, value_enum, default_value_t)]
    lang: Lang,
    /// The day that is asked about, YYYY-MM-DD [default: today]
    #[arg(long, value_name = "DATE", value_parser = day)]
    date: Option<Date>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Record that a duty was done
    Done(Done),
}

#[derive(Debug, clap::Args)]
struct Done {
    /// The system's id
    system: String,
    /// The duty's id; `vonggac duties --all` lists them
    duty: String,
    #[command(flatten)]
    config: ConfigArg,
    /// The day on which it was done, YYYY-MM-DD
    #[arg(long, value_name = "DATE", value_parser = day)]
    on: Date,
    /// What shows it: number of a report, where it is kept; why it is taken back
    #[arg(long)]
    text: String,
    /// Take the record of that day back: it was an error
    #[arg(long)]
    withdraw: bool,
    /// Who did it, instead of who types; only for root
    #[arg(long = "as", value_name = "NAME")]
    on_behalf: Option<String>,
}

/// A duty of a system.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Owed {
    pub(crate) system: String,
    pub(crate) name: String,
    pub(crate) level: u8,
    pub(crate) duty: String,
    pub(crate) what: String,
    pub(crate) every: String,
    /// Empty: it has no day.
    pub(crate) due: String,
    pub(crate) last_done: String,
    pub(crate) overdue: bool,
    pub(crate) article: String,
    pub(crate) unsure: String,
    /// What it is, in Vietnamese whatever was asked for.
    #[serde(skip)]
    pub(crate) what_vi: String,
}

#[derive(Debug, Deserialize, Row)]
struct Last {
    subject: String,
    day: String,
}

/// When each duty was last done, by its subject.
pub(crate) struct Record(HashMap<String, Date>);

impl Record {
    /// As it was recorded, before a moment or until now.
    pub(crate) async fn read(reader: &Reader, end: Option<Micros>) -> Result<Self> {
        let mut filter = Filter::default();
        filter.and_if("h.at < {}", end.map(Bound::Time));
        let sql = format!(
            "SELECT d.subject AS subject, max(d.day) AS day FROM \
               (SELECT h.alert_id AS subject, left(h.text, 10) AS day, argMax(h.action, (h.at, h.chain, h.seq)) AS last \
                FROM alert_history AS h WHERE startsWith(h.alert_id, '{SUBJECT}') AND {} GROUP BY subject, day) AS d \
             WHERE d.last = 'done' GROUP BY subject",
            filter.sql()
        );
        let rows = reader.rows::<Last>(&sql, &filter).await?;
        let read = |Last { subject, day }: Last| Some((subject, day.parse().ok()?));
        Ok(Self(rows.into_iter().filter_map(read).collect()))
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(Command::Done(done)) = &args.command {
        return record(done);
    }
    let config = configuration(&args.config)?;
    let clock = Clock::new(args.output.utc);
    let today = args.date.unwrap_or_else(|| clock.now.to_zoned(clock.zone.clone()).date());
    let record = block_on(Record::read(&Reader::open(&config)?, None))?;
    let books = Books::open(&config, today, clock.zone.clone())?;
    if let Some(system) = &args.system {
        books.ensure_known(system)?;
    }
    if books.levels.decrees().in_force(today).is_none() {
        eprintln!("vonggac: no decree is in force on {today}: no duty is known");
    }
    let mut rows = owed(&books, &record, today, args.lang);
    rows.retain(|row| args.system.as_ref().is_none_or(|system| row.system == *system));
    let horizon = today.checked_add(Span::new().days(i64::from(args.within)))?.to_string();
    rows.retain(|row| args.all || (!row.due.is_empty() && row.due <= horizon));
    let overdue = rows.iter().filter(|row| row.overdue).count();
    let summary = format!(
        "{}, {overdue} overdue on {today}",
        counted(rows.len() as u64, "duty").replace("dutys", "duties")
    );
    print(&rows, &args.output, &clock, &summary)?;
    Ok(if overdue == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything that every system owes by the decree in force, what is due first at first.
pub(crate) fn owed(books: &Books, record: &Record, today: Date, lang: Lang) -> Vec<Owed> {
    let mut rows = Vec::new();
    if let Some(decree) = books.levels.decrees().in_force(today) {
        for system in books.inventory.systems() {
            rows.extend(
                decree.duties.iter().filter_map(|duty| Owed::of(system, decree, duty, record, today, lang)),
            );
        }
    }
    // What has no day stands last.
    rows.sort_by(|one, other| {
        let key = |row: &Owed| (row.due.is_empty(), row.due.clone(), row.system.clone(), row.duty.clone());
        key(one).cmp(&key(other))
    });
    rows
}

fn subject(system: &str, duty: &str) -> String {
    format!("{SUBJECT}{system}/{duty}")
}

impl Owed {
    fn of(
        system: &System,
        decree: &Decree,
        duty: &Duty,
        record: &Record,
        today: Date,
        lang: Lang,
    ) -> Option<Self> {
        let level = system.level();
        let approved = system.level.as_ref().and_then(|level| level.date.parse::<Date>().ok());
        let since = approved.map_or(decree.valid_from, |day| day.max(decree.valid_from));
        let done = record.0.get(&subject(&system.id, &duty.provision.id)).copied();
        let day = match due(duty, level, since, done)? {
            Due::By(day) => Some(day),
            Due::Undated => None,
        };
        let shown = |day: Option<Date>| day.map(|day| day.to_string()).unwrap_or_default();
        let provision = &duty.provision;
        Some(Self {
            system: system.id.clone(),
            name: system.name.clone(),
            level,
            duty: provision.id.clone(),
            what: provision.text.of(lang).to_owned(),
            what_vi: provision.text.of(Lang::Vi).to_owned(),
            every: duty.every(level).map(|every| every.shown(lang)).unwrap_or_default(),
            due: shown(day),
            last_done: shown(done),
            overdue: day.is_some_and(|day| day < today),
            article: provision.citation.as_ref().map(|citation| citation.shown(lang)).unwrap_or_default(),
            unsure: provision.unsure.as_ref().map(|unsure| unsure.of(lang).to_owned()).unwrap_or_default(),
        })
    }
}

impl Listed for Owed {
    const HEADINGS: &'static [&'static str] =
        &["due", "system", "level", "duty", "what", "every", "last done", "by"];
    const PROSE: &'static [&'static str] = &["what", "by"];
    const SPARE: &'static [&'static str] = &["level", "every", "last done", "by"];

    fn cells(&self, _clock: &Clock) -> Vec<String> {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let overdue = if self.overdue { " OVERDUE" } else { "" };
        let unsure = if self.unsure.is_empty() { "" } else { " [unsure]" };
        vec![
            format!("{}{overdue}", or_dash(&self.due)),
            self.system.clone(),
            self.level.to_string(),
            self.duty.clone(),
            self.what.clone(),
            self.every.clone(),
            or_dash(&self.last_done),
            format!("{}{unsure}", self.article),
        ]
    }

    fn tone(&self, column: usize) -> Tone {
        if column == DUE && self.overdue { Tone::Alarm } else { Tone::Plain }
    }
}

/// Appends that a duty was done.
fn record(done: &Done) -> Result<ExitCode> {
    let config = configuration(&done.config)?;
    let today = today();
    ensure!(done.on <= today, "--on: a day that has come is expected, found {}", done.on);
    let text = deed::remark(&done.text)?;
    ensure!(!text.is_empty(), "--text: what shows that it was done is expected, found nothing");
    let books = Books::open(&config, today, zone())?;
    let rows = owed(&books, &Record(HashMap::new()), today, Lang::En);
    let is_owed = rows.iter().any(|row| row.system == done.system && row.duty == done.duty);
    if !is_owed {
        eprintln!(
            "vonggac: the system {:?} has no duty {:?}; `vonggac duties --all --system ID` lists those of a system",
            done.system, done.duty
        );
        return Ok(ExitCode::FAILURE);
    }
    let writer = Writer::open(&config)?;
    let entry = Entry {
        alert_id: subject(&done.system, &done.duty),
        action: if done.withdraw { "undone" } else { "done" }.to_owned(),
        text: format!("{} {text}", done.on),
        ..Entry::default()
    };
    let entries =
        block_on(deed::Chain::hold(&config, &writer)?.append(vec![entry], done.on_behalf.as_deref()))?;
    print_text(&deed::written(&entries))?;
    Ok(ExitCode::SUCCESS)
}
