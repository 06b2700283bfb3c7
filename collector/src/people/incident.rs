//! `vonggac incident`: alerts that belong together, what the law wants told of them by when, and the report.
//!
//! Everything that is typed here is an entry of the history of hashes, as [`crate::incident`] reads it. What this never does:
//! send a report (that is a person's act, recorded with its proof), or decide of which class an incident is.

mod case;
mod open;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use event::Micros;
use serde::Serialize;

use crate::config::{Config, ConfigArg};
use crate::history::Entry;
use crate::incident::{Fact, Incident, Standing, TRUE_POSITIVE, Term, classes, incidents};
use crate::level::Lang;
use crate::people::connect::{Reader, Writer, block_on, configuration};
use crate::people::deed::{self, Verdict};
use crate::people::escape::json_line;
use crate::people::output::{Listed, OutputArgs, Tone, print, print_text};
use crate::people::report;
use crate::people::select::{as_iso, counted};
use crate::people::when::{Clock, When, iso};

pub(crate) use case::entries;
pub(in crate::people) use case::{Books, Case, Member};

/// The column of what is due next.
const NEXT: usize = 6;

const EXAMPLES: &str = "\
Examples:
  vonggac incident open --title \"Webshell on the portal\" --class serious 8c1f2a90 5b21c0de
  vonggac incident                                  those that are not closed, and what is due next
  vonggac incident show ab12 --lang vi              one of them; the beginning or the end of its id is enough
  vonggac incident set ab12 cause=\"upload without a check\" effect=\"two hours without the portal\"
  vonggac incident sent ab12 serious-incident --text \"12/BC-TTDL, by the document system\"
  vonggac incident report ab12 --format docx -o initial.docx
  vonggac incident end ab12 --at 2026-11-26T14:30
  vonggac incident close ab12 --verdict true_positive --alerts --text \"cleaned, cause mended\"

Which reports are due when, and what they must say, stands in the decree that was in force at the detection (rules/levels). What
is typed goes into the history that `vonggac alerts verify` checks; writing needs the writer's password: the daemon's user or root.

Exit codes: 0 done, or listed with nothing overdue; 1 a report is overdue, or no such incident; 2 it could not be done.";

/// Group alerts into an incident, follow the reports that the law wants of it, write them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Open one of these alerts, or of none yet
    Open(open::Open),
    /// List them: what is due next, what is overdue
    List(List),
    /// Show one: deadlines with their articles, what the report says and what it lacks, alerts, history
    Show(Show),
    /// Put alerts to it; an alert belongs to one incident at most
    Add(Add),
    /// State a fact, or a field of the report: NAME=VALUE; an empty value takes it back
    Set(Set),
    /// Record that what a deadline asks for was sent
    Sent(Sent),
    /// Add a remark
    Comment(Comment),
    /// Say when it was over: some reports are due from then on
    End(End),
    /// Say what it was and how it ended. A report that was not sent stays due
    Close(Close),
    /// Write its report
    Report(Report),
}

#[derive(Debug, Default, clap::Args)]
struct List {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: OutputArgs,
    /// Closed ones, too
    #[arg(long)]
    all: bool,
    /// Only of this system
    #[arg(long, value_name = "ID")]
    system: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The incident's id, its beginning or its end
    id: String,
    #[command(flatten)]
    config: ConfigArg,
    /// The language of what the decree says
    #[arg(long, value_enum, default_value_t)]
    lang: Lang,
    /// One JSON object instead of a page
    #[arg(long)]
    json: bool,
    /// Show times in UTC instead of the local zone
    #[arg(long)]
    utc: bool,
}

/// Whose deed about which incident.
#[derive(Debug, clap::Args)]
struct Target {
    /// The incident's id, its beginning or its end
    id: String,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, clap::Args)]
struct By {
    #[command(flatten)]
    config: ConfigArg,
    /// Who decided, instead of who types; only for root
    #[arg(long = "as", value_name = "NAME")]
    on_behalf: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Add {
    #[command(flatten)]
    target: Target,
    /// The alerts' ids, or their beginnings (at least 4 characters)
    #[arg(required = true, value_name = "ALERT")]
    alerts: Vec<String>,
    /// Take them out of it instead
    #[arg(long)]
    remove: bool,
}

#[derive(Debug, clap::Args)]
struct Set {
    #[command(flatten)]
    target: Target,
    /// title, system, detected_at, ended_at, classes (parted by commas), or a field of the report
    #[arg(required = true, value_name = "NAME=VALUE")]
    values: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Sent {
    #[command(flatten)]
    target: Target,
    /// The deadline's id; `vonggac incident show` lists them
    deadline: String,
    /// When it was sent
    #[arg(long, value_name = "TIME", default_value = "now")]
    at: When,
    /// What proves it: a number of a document, by which way
    #[arg(long)]
    text: String,
}

#[derive(Debug, clap::Args)]
struct Comment {
    #[command(flatten)]
    target: Target,
    /// The remark
    #[arg(long)]
    text: String,
}

#[derive(Debug, clap::Args)]
struct End {
    #[command(flatten)]
    target: Target,
    /// When it was over
    #[arg(long, value_name = "TIME", default_value = "now")]
    at: When,
}

#[derive(Debug, clap::Args)]
struct Close {
    #[command(flatten)]
    target: Target,
    /// What it was; anything but true_positive is no incident, and owes no report
    #[arg(long, value_enum)]
    verdict: Verdict,
    /// How it ended
    #[arg(long)]
    text: String,
    /// Close its alerts with the same verdict, those that are not closed yet
    #[arg(long)]
    alerts: bool,
}

#[derive(Debug, clap::Args)]
struct Report {
    /// The incident's id, its beginning or its end
    id: String,
    #[command(flatten)]
    config: ConfigArg,
    /// Its language
    #[arg(long, value_enum, default_value_t = Lang::Vi)]
    lang: Lang,
    /// How it is written
    #[arg(long, value_enum, default_value_t)]
    format: report::Format,
    /// Times are in UTC instead of the local zone
    #[arg(long)]
    utc: bool,
    /// Into this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let listed = List::default();
    match args.command.as_ref() {
        None => list(&listed),
        Some(Command::List(args)) => list(args),
        Some(Command::Open(args)) => open::run(args),
        Some(Command::Show(args)) => show(args),
        Some(Command::Add(args)) => add(args),
        Some(Command::Set(args)) => set(args),
        Some(Command::Sent(args)) => sent(args),
        Some(Command::Comment(args)) => {
            let text = said(&args.text)?;
            on(&args.target, |case, _| Ok(vec![entry(&case.incident, "comment", text)]))
        }
        Some(Command::End(args)) => {
            let ended = Clock::new(false).resolve(&args.at)?;
            on(&args.target, |case, _| {
                ensure!(
                    ended >= case.incident.detected_at,
                    "--at: a time that is not before the detection, {}, is expected, found {}",
                    iso(case.incident.detected_at),
                    iso(ended)
                );
                Ok(vec![entry(&case.incident, "set", fact(Fact::EndedAt, &iso(ended)))])
            })
        }
        Some(Command::Close(args)) => close(args),
        Some(Command::Report(args)) => write_report(args),
    }
}

/// An incident in a listing.
#[derive(Clone, Debug, Default, Serialize)]
struct Row {
    id: String,
    #[serde(serialize_with = "as_iso")]
    detected_at: Micros,
    title: String,
    system: String,
    level: u8,
    classes: Vec<String>,
    drill: String,
    /// open, ended or closed
    status: String,
    /// The deadline that ends next of those that nobody met, and when.
    next: String,
    #[serde(serialize_with = "as_iso")]
    next_due: Micros,
    overdue: u64,
    missed: u64,
}

fn list(args: &List) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let clock = Clock::new(args.output.utc);
    let books = Books::open(&config, &clock)?;
    let all = incidents(&block_on(case::entries(&Reader::open(&config)?))?);
    let now = clock.now.as_microsecond();
    let mut rows: Vec<Row> = all.iter().map(|incident| Row::of(incident, &books, now)).collect();
    // A report that is due keeps a closed incident on the list.
    rows.retain(|row| args.all || row.status != "closed" || !row.next.is_empty());
    rows.retain(|row| args.system.as_ref().is_none_or(|system| row.system == *system));
    let when = |row: &Row| (row.next.is_empty(), row.next_due, row.detected_at);
    rows.sort_by_key(when);
    let overdue: u64 = rows.iter().filter(|row| row.drill.is_empty()).map(|row| row.overdue).sum();
    let summary =
        format!("{}, {} overdue", counted(rows.len() as u64, "incident"), counted(overdue, "report"));
    print(&rows, &args.output, &clock, &summary)?;
    Ok(if overdue == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Row {
    fn of(incident: &Incident, books: &Books, now: Micros) -> Self {
        let decree = books.decree(incident);
        let terms = decree.map_or(Vec::new(), |decree| incident.terms(decree, &books.zone));
        let count = |standing| terms.iter().filter(|term| term.standing(now) == standing).count() as u64;
        let next = next(&terms);
        Self {
            id: incident.id.clone(),
            detected_at: incident.detected_at,
            title: incident.title.clone(),
            system: incident.system.clone(),
            level: books.system(&incident.system).map_or(0, crate::inventory::System::level),
            classes: incident.classes.clone(),
            drill: incident.drill.clone(),
            status: incident.status().to_owned(),
            next: next.map(|term| term.deadline.provision.id.clone()).unwrap_or_default(),
            next_due: next.and_then(|term| term.due).unwrap_or_default(),
            overdue: count(Standing::Overdue),
            missed: count(Standing::Missed),
        }
    }
}

/// What is due next and was not sent.
fn next<'t, 'i>(terms: &'t [Term<'i>]) -> Option<&'t Term<'i>> {
    let waiting = terms.iter().filter(|term| term.sent.is_none() && term.due.is_some());
    waiting.min_by_key(|term| term.due)
}

impl Listed for Row {
    const HEADINGS: &'static [&'static str] =
        &["incident", "detected ({zone})", "system", "level", "title", "status", "next", "missed"];

    fn cells(&self, clock: &Clock) -> Vec<String> {
        let next = match &*self.next {
            "" => "-".to_owned(),
            next => format!("{next} {}", clock.until(self.next_due)),
        };
        let drill = if self.drill.is_empty() { String::new() } else { format!(" [drill {}]", self.drill) };
        vec![
            self.id.clone(),
            clock.shown(self.detected_at),
            self.system.clone(),
            self.level.to_string(),
            format!("{}{drill}", self.title),
            self.status.clone(),
            next,
            self.missed.to_string(),
        ]
    }

    fn tone(&self, column: usize) -> Tone {
        if column == NEXT && self.overdue > 0 { Tone::Alarm } else { Tone::Plain }
    }
}

fn show(args: &Show) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let clock = Clock::new(args.utc);
    let books = Books::open(&config, &clock)?;
    match block_on(Case::read(&Reader::open(&config)?, &args.id))? {
        Err(said) => Ok(refused(&said)),
        Ok(case) if args.json => {
            print_text(&(json_line(&show::object(&case, &books, &clock, args.lang))? + "\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(case) => {
            print_text(&show::page(&case, &books, &clock, args.lang))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn write_report(args: &Report) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let clock = Clock::new(args.utc);
    let books = Books::open(&config, &clock)?;
    match block_on(Case::read(&Reader::open(&config)?, &args.id))? {
        Err(said) => Ok(refused(&said)),
        Ok(case) => {
            let page = report::incident(&case, &books, &clock, args.lang);
            report::deliver(&page, args.format, args.output.as_deref())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn add(args: &Add) -> Result<ExitCode> {
    let config = configuration(&args.target.by.config)?;
    let writer = Writer::open(&config)?;
    block_on(async {
        let case = match Case::read(writer.reader(), &args.target.id).await? {
            Ok(case) => case,
            Err(said) => return Ok(refused(&said)),
        };
        let members = match open::named(writer.reader(), &args.alerts).await? {
            Ok(members) => members,
            Err(said) => return Ok(refused(&said)),
        };
        let (id, drill) = (&case.incident.id, &case.incident.drill);
        for member in &members {
            let belongs = if args.remove { member.incident == *id } else { member.drill_id == *drill };
            let expected =
                if args.remove { "one of this incident" } else { "one of the same drill, or of none" };
            ensure!(belongs, "alert {}: {expected} is expected", member.id);
        }
        let text = if args.remove { "" } else { id };
        let entries: Vec<Entry> = members.iter().map(|member| joined(&member.id, text)).collect();
        append(&config, &writer, entries, &args.target.by).await
    })
}

fn set(args: &Set) -> Result<ExitCode> {
    let clock = Clock::new(false);
    on(&args.target, |case, books| {
        let read = |typed: &String| {
            let text = read_value(typed, &case.incident, books, &clock)?;
            Ok(entry(&case.incident, "set", text))
        };
        args.values.iter().map(read).collect()
    })
}

/// What `set` writes for `NAME=VALUE`.
fn read_value(typed: &str, incident: &Incident, books: &Books, clock: &Clock) -> Result<String> {
    let (name, value) =
        typed.split_once('=').with_context(|| format!("NAME=VALUE is expected, found {typed:?}"))?;
    let value = deed::remark(value)?;
    let Some(known) = Fact::by_name(name) else {
        let decree = books.decree(incident);
        let fields = decree.map_or(&[][..], |decree| &decree.report_fields);
        let names: Vec<&str> = fields.iter().map(|field| &*field.provision.id).collect();
        ensure!(
            names.contains(&name),
            "{name:?} is no fact and no field of the report; expected title, system, detected_at, ended_at, classes, {}",
            names.join(", ")
        );
        return Ok(format!("{name} {value}"));
    };
    let value = match known {
        Fact::DetectedAt => moment(&value, clock)?,
        Fact::EndedAt if !value.is_empty() => moment(&value, clock)?,
        Fact::System => system(&value, books)?,
        Fact::Classes => class_words(&value, incident, books)?,
        Fact::Title => said(&value)?,
        Fact::Drill => anyhow::bail!("drill: it follows from the alerts that an incident is opened with"),
        Fact::EndedAt => value,
    };
    Ok(fact(known, &value))
}

fn moment(text: &str, clock: &Clock) -> Result<String> {
    let at = clock.resolve(&text.parse()?)?;
    ensure!(at <= clock.now.as_microsecond(), "a time that has come is expected, found {}", iso(at));
    Ok(iso(at))
}

fn system(id: &str, books: &Books) -> Result<String> {
    ensure!(
        id.is_empty() || books.system(id).is_some(),
        "the inventory has no system {id:?}; `vonggac systems list` shows which there are"
    );
    Ok(id.to_owned())
}

/// Classes as the decree calls them.
fn class_words(text: &str, incident: &Incident, books: &Books) -> Result<String> {
    let known = books.decree(incident).map_or(Vec::new(), classes);
    let words = crate::incident::words(text);
    for word in &words {
        ensure!(
            known.contains(&word.as_str()),
            "{word:?} is no class of incidents by the decree in force at the detection; expected {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
    }
    Ok(words.join(","))
}

fn sent(args: &Sent) -> Result<ExitCode> {
    let clock = Clock::new(false);
    let at = clock.resolve(&args.at)?;
    ensure!(at <= clock.now.as_microsecond(), "--at: a time that has come is expected, found {}", iso(at));
    let proof = said(&args.text)?;
    on(&args.target, |case, books| {
        let terms = case.terms(books);
        let ids: Vec<&str> = terms.iter().map(|term| &*term.deadline.provision.id).collect();
        ensure!(
            ids.contains(&&*args.deadline),
            "this incident has no deadline {:?}; expected {}",
            args.deadline,
            if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
        );
        ensure!(
            at >= case.incident.detected_at,
            "--at: a time that is not before the detection is expected, found {}",
            iso(at)
        );
        Ok(vec![entry(&case.incident, "sent", format!("{} {} {proof}", args.deadline, iso(at)))])
    })
}

fn close(args: &Close) -> Result<ExitCode> {
    let text = said(&args.text)?;
    let verdict = args.verdict.as_str().to_owned();
    on(&args.target, |case, books| {
        let closed = |subject, text| Entry {
            alert_id: subject,
            action: "close".into(),
            verdict: verdict.clone(),
            text,
            ..Entry::default()
        };
        let mut entries = vec![closed(case.incident.subject(), text.clone())];
        if args.alerts {
            let open = case.members.iter().filter(|member| member.status != "closed");
            entries.extend(
                open.map(|member| closed(member.id.clone(), format!("incident {}", case.incident.id))),
            );
        }
        if verdict == TRUE_POSITIVE {
            for term in case.terms(books).iter().filter(|term| term.sent.is_none() && term.due.is_some()) {
                eprintln!("vonggac: not sent, and still due: {}", term.deadline.provision.id);
            }
        }
        Ok(entries)
    })
}

/// Appends what somebody does with one incident.
fn on(target: &Target, deed: impl FnOnce(&Case, &Books) -> Result<Vec<Entry>>) -> Result<ExitCode> {
    let config = configuration(&target.by.config)?;
    let books = Books::open(&config, &Clock::new(false))?;
    let writer = Writer::open(&config)?;
    block_on(async {
        match Case::read(writer.reader(), &target.id).await? {
            Err(said) => Ok(refused(&said)),
            Ok(case) => append(&config, &writer, deed(&case, &books)?, &target.by).await,
        }
    })
}

async fn append(config: &Config, writer: &Writer, entries: Vec<Entry>, by: &By) -> Result<ExitCode> {
    deed::append(config, writer, entries, by.on_behalf.as_deref()).await?;
    Ok(ExitCode::SUCCESS)
}

fn entry(incident: &Incident, action: &str, text: String) -> Entry {
    Entry { alert_id: incident.subject(), action: action.to_owned(), text, ..Entry::default() }
}

/// The entry of an alert that belongs to an incident from now on; to none without an id.
fn joined(alert: &str, incident: &str) -> Entry {
    Entry {
        alert_id: alert.to_owned(),
        action: "incident".to_owned(),
        text: incident.to_owned(),
        ..Entry::default()
    }
}

fn fact(fact: Fact, value: &str) -> String {
    format!("{} {value}", fact.name())
}

fn said(text: &str) -> Result<String> {
    let text = deed::remark(text)?;
    ensure!(!text.is_empty(), "a text is expected, found an empty one");
    Ok(text)
}

fn refused(said: &str) -> ExitCode {
    eprintln!("vonggac: {said}");
    ExitCode::FAILURE
}
