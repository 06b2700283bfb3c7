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
use crate::incident::{Fact, Incident, Standing, TRUE_POSITIVE, Term, incidents, words};
use crate::inventory::System;
use crate::level::{Deadline, FieldSource, Lang, Start};
use crate::people::books::Books;
use crate::people::connect::{Reader, Writer, block_on, configuration};
use crate::people::deed::{self, Chain, Verdict};
use crate::people::escape::json_line;
use crate::people::output::{Listed, OutputArgs, Tone, print, print_text};
use crate::people::report;
use crate::people::select::{as_iso, as_moment, counted};
use crate::people::when::{Clock, When, iso};

pub(crate) use case::entries;
pub(in crate::people) use case::{Case, Member};

/// A title is a line of a list.
const TITLE_CHARS_MAX: usize = 200;
/// The column of what is due next.
const NEXT: usize = 6;

const EXAMPLES: &str = "\
Examples:
  vonggac incident open --title \"Webshell on the portal\" --class serious 8c1f2a90 5b21c0de
  vonggac incident                                  those that are not closed, and what is due next
  vonggac incident show ab12 --lang vi              one of them; its beginning or end will do
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
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
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
    /// Record that what a deadline asks for was sent; what is sent later brings it up to date
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

#[derive(Debug, clap::Args)]
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
    /// What proves it: a number of a document, by which way; why it is taken back
    #[arg(long)]
    text: String,
    /// Take back all that was recorded as sent for this deadline: it was an error
    #[arg(long)]
    withdraw: bool,
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
    /// With what people did, remarks included: for inside
    #[arg(long)]
    history: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match args.command.as_ref() {
        None => list(&args.list),
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
            let ended = come(&args.at, &Clock::new(false))?;
            on(&args.target, |case, books| {
                let decree = books.decree(&case.incident);
                let starts = |deadline: &Deadline| deadline.concerns.is_some() && deadline.from == Start::End;
                if !decree.is_some_and(|decree| decree.deadlines.iter().any(starts)) {
                    eprintln!(
                        "vonggac: by the decree in force at the detection no report is due from the end on"
                    );
                }
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
    /// 0: no time is set.
    #[serde(serialize_with = "as_moment")]
    next_due: Micros,
    /// It is to be told without a moment's wait.
    at_once: bool,
    overdue: u64,
    missed: u64,
}

fn list(args: &List) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let clock = Clock::new(args.output.utc);
    let books = open_books(&config, &clock)?;
    let all = incidents(&block_on(case::entries(&Reader::open(&config)?))?);
    if let Some(system) = &args.system {
        books.ensure_known(system)?;
    }
    let now = clock.now.as_microsecond();
    let mut rows: Vec<Row> = all.iter().map(|incident| Row::of(incident, &books, now)).collect();
    // A report that is due keeps a closed incident on the list.
    rows.retain(|row| args.all || row.status != "closed" || !row.next.is_empty());
    rows.retain(|row| args.system.as_ref().is_none_or(|system| row.system == *system));
    rows.sort_by_key(Row::urgency);
    let overdue: u64 = rows.iter().filter(|row| row.drill.is_empty()).map(|row| row.overdue).sum();
    let summary =
        format!("{}, {} overdue", counted(rows.len() as u64, "incident"), counted(overdue, "report"));
    print(&rows, &args.output, &clock, &summary)?;
    Ok(if overdue == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Row {
    /// What is due first comes first; what has no time behind what has one, and last what owes nothing.
    fn urgency(&self) -> (bool, bool, Micros, Micros) {
        (self.next.is_empty(), self.next_due == 0, self.next_due, self.detected_at)
    }

    fn of(incident: &Incident, books: &Books, now: Micros) -> Self {
        let terms = books.terms(incident);
        let count = |standing| terms.iter().filter(|term| term.standing(now) == standing).count() as u64;
        let next = next(&terms);
        Self {
            id: incident.id.clone(),
            detected_at: incident.detected_at,
            title: incident.title.clone(),
            system: incident.system.clone(),
            level: books.system(&incident.system).map_or(0, System::level),
            classes: incident.classes.clone(),
            drill: incident.drill.clone(),
            status: incident.status().to_owned(),
            next: next.map(|term| term.deadline.provision.id.clone()).unwrap_or_default(),
            next_due: next.and_then(|term| term.due).unwrap_or_default(),
            at_once: next.is_some_and(Term::is_at_once),
            overdue: count(Standing::Overdue),
            missed: count(Standing::Missed),
        }
    }
}

/// What is due next and was not sent; what has no time comes last.
fn next<'t, 'i>(terms: &'t [Term<'i>]) -> Option<&'t Term<'i>> {
    let waiting = terms.iter().filter(|term| term.sent.is_empty());
    let waiting = waiting.filter(|term| term.due.is_some() || term.deadline.within.is_none());
    waiting.min_by_key(|term| term.due.unwrap_or(Micros::MAX))
}

/// What is due next, for people.
fn told_next(next: &str, due: Micros, at_once: bool, clock: &Clock) -> String {
    match (next, due) {
        ("", _) => "-".to_owned(),
        (next, 0) => format!("{next} (no time is set)"),
        (next, _) if at_once => format!("{next} AT ONCE"),
        (next, due) => format!("{next} {}", clock.until(due)),
    }
}

impl Listed for Row {
    const HEADINGS: &'static [&'static str] =
        &["incident", "detected ({zone})", "system", "level", "title", "status", "next", "missed"];
    const PROSE: &'static [&'static str] = &["title", "next"];
    const SPARE: &'static [&'static str] = &["missed", "level", "status", "system"];

    fn cells(&self, clock: &Clock) -> Vec<String> {
        let next = told_next(&self.next, self.next_due, self.at_once, clock);
        let drill = if self.drill.is_empty() { String::new() } else { format!(" [drill {}]", self.drill) };
        vec![
            self.id.clone(),
            clock.shown(self.detected_at),
            if self.system.is_empty() { "-".to_owned() } else { self.system.clone() },
            if self.level == 0 { "-".to_owned() } else { self.level.to_string() },
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
    let books = open_books(&config, &clock)?;
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
    let books = open_books(&config, &clock)?;
    match block_on(Case::read(&Reader::open(&config)?, &args.id))? {
        Err(said) => Ok(refused(&said)),
        Ok(case) => {
            let page = report::incident(&case, &books, &clock, args.lang, args.history);
            report::deliver(&page, args.format, args.output.as_deref())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn add(args: &Add) -> Result<ExitCode> {
    let config = configuration(&args.target.by.config)?;
    let writer = Writer::open(&config)?;
    let chain = Chain::hold(&config, &writer)?;
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
            if !args.remove && !member.incident.is_empty() && member.incident != *id {
                eprintln!("vonggac: alert {} is taken from incident {}", member.id, member.incident);
            }
        }
        if case.incident.closed.is_some() {
            eprintln!("vonggac: incident {id} is closed");
        }
        let text = if args.remove { "" } else { id };
        let entries: Vec<Entry> = members.iter().map(|member| joined(&member.id, text)).collect();
        append(chain, entries, &args.target.by).await
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
        // The time of the detection stands in one place.
        let free = fields.iter().filter(|field| field.source != Some(FieldSource::DetectedAt));
        let names: Vec<&str> = free.map(|field| &*field.provision.id).collect();
        ensure!(
            names.contains(&name),
            "{name:?} is no fact and no field of the report; expected title, system, detected_at, ended_at, classes, {}",
            names.join(", ")
        );
        return Ok(format!("{name} {value}"));
    };
    let value = match known {
        Fact::DetectedAt => iso(come(&value.parse()?, clock)?),
        Fact::EndedAt if !value.is_empty() => iso(come(&value.parse()?, clock)?),
        Fact::System => system(&value, books)?,
        Fact::Classes => words(&value).join(","),
        Fact::Title => title(&value)?,
        Fact::Drill => anyhow::bail!("drill: it follows from the alerts that an incident is opened with"),
        Fact::EndedAt => value,
    };
    Ok(fact(known, &value))
}

fn system(id: &str, books: &Books) -> Result<String> {
    if !id.is_empty() {
        books.ensure_known(id)?;
    }
    Ok(id.to_owned())
}

fn title(text: &str) -> Result<String> {
    let text = said(text)?;
    let chars = text.chars().count();
    ensure!(
        chars <= TITLE_CHARS_MAX && !text.contains(char::is_control),
        "title: one line of at most {TITLE_CHARS_MAX} characters is expected, found {chars}"
    );
    Ok(text)
}

/// A moment that has come.
fn come(when: &When, clock: &Clock) -> Result<Micros> {
    let at = clock.resolve(when)?;
    ensure!(at <= clock.now.as_microsecond(), "a time that has come is expected, found {}", iso(at));
    Ok(at)
}

fn sent(args: &Sent) -> Result<ExitCode> {
    let at = come(&args.at, &Clock::new(false))?;
    let text = said(&args.text)?;
    on(&args.target, |case, books| {
        let (incident, deadline) = (&case.incident, &args.deadline);
        if args.withdraw {
            ensure!(incident.sent.contains_key(deadline), "nothing was recorded as sent for {deadline:?}");
            return Ok(vec![entry(incident, "unsent", format!("{deadline} {text}"))]);
        }
        let terms = books.terms(&case.incident);
        let ids: Vec<&str> = terms.iter().map(|term| &*term.deadline.provision.id).collect();
        ensure!(
            ids.contains(&&**deadline),
            "this incident has no deadline {deadline:?}; expected {}",
            if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
        );
        Ok(vec![entry(incident, "sent", format!("{deadline} {} {text}", iso(at)))])
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
            for term in books.terms(&case.incident).iter().filter(|term| term.sent.is_empty()) {
                eprintln!("vonggac: not sent, and still due: {}", term.deadline.provision.id);
            }
        }
        Ok(entries)
    })
}

/// Appends what somebody does with one incident, unless it cannot be.
fn on(target: &Target, deed: impl FnOnce(&Case, &Books) -> Result<Vec<Entry>>) -> Result<ExitCode> {
    let config = configuration(&target.by.config)?;
    let books = open_books(&config, &Clock::new(false))?;
    let writer = Writer::open(&config)?;
    let chain = Chain::hold(&config, &writer)?;
    block_on(async {
        match Case::read(writer.reader(), &target.id).await? {
            Err(said) => Ok(refused(&said)),
            Ok(case) => {
                let entries = deed(&case, &books)?;
                check(&case.incident, &entries, &books)?;
                append(chain, entries, &target.by).await
            }
        }
    })
}

fn open_books(config: &Config, clock: &Clock) -> Result<Books> {
    Books::open(config, clock.now.to_zoned(clock.zone.clone()).date(), clock.zone.clone())
}

/// Whether an incident can be as it would be behind these entries.
fn check(incident: &Incident, entries: &[Entry], books: &Books) -> Result<Incident> {
    let (mut after, subject) = (incident.clone(), incident.subject());
    entries.iter().filter(|entry| entry.alert_id == subject).for_each(|entry| after.take(entry));
    match after.fault(books.decree(&after)) {
        Some(fault) => anyhow::bail!("{fault}"),
        None => Ok(after),
    }
}

async fn append(chain: Chain<'_>, entries: Vec<Entry>, by: &By) -> Result<ExitCode> {
    print_text(&deed::written(&chain.append(entries, by.on_behalf.as_deref()).await?))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_time_comes_behind_what_is_due() {
        let row = |id: &str, next: &str, next_due| Row {
            id: id.into(),
            next: next.into(),
            next_due,
            ..Row::default()
        };
        let mut rows = [
            row("nothing", "", 0),
            row("no time", "violation", 0),
            row("late", "incident", 1),
            row("later", "incident", 2),
        ];
        rows.sort_by_key(Row::urgency);
        assert_eq!(rows.map(|row| row.id), ["late", "later", "no time", "nothing"]);
    }
}
