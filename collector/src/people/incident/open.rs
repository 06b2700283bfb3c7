//! `vonggac incident open`: a new incident, with what its alerts tell about it.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use event::Micros;
use xxhash_rust::xxh3::xxh3_64;

use super::case::{self, Member};
use super::{By, check, come, entry, fact, joined, next, open_books, read_value, system, title, told_next};
use crate::history::Entry;
use crate::incident::{Fact, Incident, incidents, words};
use crate::people::books::Books;
use crate::people::connect::{Reader, Writer, block_on, configuration};
use crate::people::deed::{self, Chain};
use crate::people::escape::shown;
use crate::people::output::print_text;
use crate::people::select::counted;
use crate::people::when::{Clock, When, iso};

/// Ids that are tried before it is given up: another incident of the same day has one of 65,536 each.
const TRIES_MAX: Micros = 16;

#[derive(Debug, clap::Args)]
pub(super) struct Open {
    /// The alerts' ids, or their beginnings (at least 4 characters)
    #[arg(value_name = "ALERT")]
    alerts: Vec<String>,
    #[command(flatten)]
    by: By,
    /// What happened, in a line
    #[arg(long)]
    title: String,
    /// The system concerned [default: that of the alerts]
    #[arg(long, value_name = "ID")]
    system: Option<String>,
    /// When it was detected [default: when the first of the alerts was alerted, or now]
    #[arg(long, value_name = "TIME")]
    detected: Option<When>,
    /// Of which class it is beside "incident", by the decree; may stand more than once
    #[arg(long, value_name = "CLASS")]
    class: Vec<String>,
    /// A field of the report; may stand more than once
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

pub(super) fn run(args: &Open) -> Result<ExitCode> {
    let config = configuration(&args.by.config)?;
    let clock = Clock::new(false);
    let books = open_books(&config, &clock)?;
    let writer = Writer::open(&config)?;
    // Held before it is looked whose the alerts are: nobody on this machine takes them meanwhile.
    let chain = Chain::hold(&config, &writer)?;
    block_on(async {
        let members = match named(writer.reader(), &args.alerts).await? {
            Ok(members) => members,
            Err(said) => return Ok(super::refused(&said)),
        };
        let known = incidents(&case::entries(writer.reader()).await?);
        let (incident, entries) = entries(args, &members, &known, &books, &clock)?;
        let entries = chain.append(entries, args.by.on_behalf.as_deref()).await?;
        print_text(&format!("{}{}", opened(&incident, &books, &clock), written(&entries)))?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The alerts that people name; why one of them is not one.
pub(super) async fn named(reader: &Reader, prefixes: &[String]) -> Result<Result<Vec<Member>, String>> {
    let mut ids = Vec::new();
    for prefix in prefixes {
        match deed::resolve(reader, prefix).await? {
            Ok(id) => ids.push(id),
            Err(said) => return Ok(Err(said)),
        }
    }
    case::members(reader, &ids).await.map(Ok)
}

/// What is written for a new incident.
fn entries(
    args: &Open,
    members: &[Member],
    known: &[Incident],
    books: &Books,
    clock: &Clock,
) -> Result<(Incident, Vec<Entry>)> {
    for member in members {
        ensure!(
            member.incident.is_empty(),
            "alert {} belongs to incident {} already; `vonggac incident add` takes it from there",
            member.id,
            member.incident
        );
    }
    let now = clock.now.as_microsecond();
    let detected_at = match &args.detected {
        Some(when) => come(when, clock).context("--detected")?,
        None => members.iter().map(|member| member.created_at).min().unwrap_or(now),
    };
    let incident = Incident { id: new_id(known, clock)?, detected_at, ..Incident::default() };
    let set = |text: String| entry(&incident, "set", text);
    let mut entries =
        vec![entry(&incident, "open", title(&args.title)?), set(fact(Fact::DetectedAt, &iso(detected_at)))];
    let concerned = match &args.system {
        Some(id) => system(id, books)?,
        None => {
            let known = members.iter().filter(|member| !member.system_id.is_empty());
            common(known, |member| &member.system_id, "--system")?
        }
    };
    let drill = common(members.iter(), |member| &member.drill_id, "alerts of one drill, or of none")?;
    let classes = words(&args.class.join(",")).join(",");
    for (known, value) in [(Fact::System, concerned), (Fact::Drill, drill), (Fact::Classes, classes)] {
        if !value.is_empty() {
            entries.push(set(fact(known, &value)));
        }
    }
    for typed in &args.set {
        entries.push(set(read_value(typed, &incident, books, clock)?));
    }
    entries.extend(members.iter().map(|member| joined(&member.id, &incident.id)));
    Ok((check(&incident, &entries, books)?, entries))
}

/// What the one who opened it must know.
fn opened(incident: &Incident, books: &Books, clock: &Clock) -> String {
    if books.decree(incident).is_none() {
        return format!(
            "opened {}; no decree was in force at the detection: no deadline is known\n",
            incident.id
        );
    }
    let terms = books.terms(incident);
    let next = next(&terms).map(|term| {
        told_next(&term.deadline.provision.id, term.due.unwrap_or_default(), term.is_at_once(), clock)
    });
    format!("opened {}; next: {}\n", incident.id, next.unwrap_or_else(|| "nothing is due".to_owned()))
}

/// What is in the history now: the hash of the last entry stands for those before it.
fn written(entries: &[Entry]) -> String {
    let Some(last) = entries.last() else { return String::new() };
    let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    format!("{} by {} ({})\n", counted(count, "entry"), shown(&last.actor), last.head())
}

/// What all alerts share; empty without an alert.
fn common<'m>(
    mut members: impl Iterator<Item = &'m Member>,
    of: impl Fn(&Member) -> &String,
    expected: &str,
) -> Result<String> {
    let Some(first) = members.next() else { return Ok(String::new()) };
    let other = members.find(|member| of(member) != of(first));
    if let Some(other) = other {
        anyhow::bail!("{expected} is expected: the alerts say {:?} and {:?}", of(first), of(other));
    }
    Ok(of(first).clone())
}

/// The day on which it is opened, and four characters that no other incident has, so that a person can say it on the telephone.
fn new_id(known: &[Incident], clock: &Clock) -> Result<String> {
    let now = clock.now.as_microsecond();
    let day = clock.now.to_zoned(clock.zone.clone()).strftime("%Y%m%d").to_string();
    let id = |attempt: Micros| {
        let hash = xxh3_64(&now.saturating_add(attempt).to_le_bytes());
        format!("{day}-{:04x}", hash & 0xffff)
    };
    let free = (0..TRIES_MAX).map(id).find(|id| known.iter().all(|incident| incident.id != *id));
    free.ok_or_else(|| anyhow::anyhow!("no free id was found for the incident; try again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_of_two_systems_do_not_say_which_is_concerned() {
        let member = |system: &str| Member { system_id: system.into(), ..Member::default() };
        let of = |members: &[Member]| common(members.iter(), |member| &member.system_id, "--system");
        assert_eq!(of(&[]).unwrap(), "");
        assert_eq!(of(&[member("a"), member("a")]).unwrap(), "a");
        let said = of(&[member("a"), member("b")]).unwrap_err().to_string();
        assert!(said.starts_with("--system is expected"), "{said}");
    }

    #[test]
    fn an_id_is_not_given_twice() {
        let clock = Clock::new(true);
        let first = new_id(&[], &clock).unwrap();
        let taken = Incident { id: first.clone(), ..Incident::default() };
        let second = new_id(&[taken], &clock).unwrap();
        assert_ne!(first, second);
        assert_eq!((first.len(), first.as_bytes()[8]), (13, b'-'));
    }
}
