//! `vonggac incident show`: one incident on a page, or as one JSON object.

use event::Micros;
use serde::Serialize;

use super::case::{Case, Field, Member};
use crate::history::Entry;
use crate::incident::{Closed, Sent, Standing, Term};
use crate::inventory::System;
use crate::level::Lang;
use crate::people::books::Books;
use crate::people::output::Tone;
use crate::people::page::Page;
use crate::people::table::{Column, Terminal};
use crate::people::when::{Clock, iso};

/// Everything, for programs.
#[derive(Serialize)]
pub(super) struct Object<'c> {
    id: &'c str,
    title: &'c str,
    status: &'c str,
    system: &'c str,
    classes: &'c [String],
    drill: &'c str,
    level: u8,
    opened_at: String,
    detected_at: String,
    ended_at: Option<String>,
    closed: Option<&'c Closed>,
    decree: &'c str,
    deadlines: Vec<DeadlineObject<'c>>,
    fields: Vec<Field>,
    alerts: &'c [Member],
    history: &'c [Entry],
}

#[derive(Serialize)]
struct DeadlineObject<'c> {
    id: String,
    what: String,
    article: String,
    /// None: no time is set, or it has not begun.
    due: Option<String>,
    /// met, missed, overdue, open, undated
    standing: &'static str,
    sent: &'c [Sent],
}

pub(super) fn object<'c>(case: &'c Case, books: &'c Books, clock: &Clock, lang: Lang) -> Object<'c> {
    let incident = &case.incident;
    let now = clock.now.as_microsecond();
    Object {
        id: &incident.id,
        title: &incident.title,
        status: incident.status(),
        system: &incident.system,
        classes: &incident.classes,
        drill: &incident.drill,
        level: books.system(&incident.system).map_or(0, System::level),
        opened_at: iso(incident.opened_at),
        detected_at: iso(incident.detected_at),
        ended_at: incident.ended_at.map(iso),
        closed: incident.closed.as_ref(),
        decree: books.decree(incident).map_or("", |decree| &decree.id),
        deadlines: by_time(books.terms(&case.incident))
            .iter()
            .map(|term| DeadlineObject::of(term, now, lang))
            .collect(),
        fields: case.fields(books, clock, lang),
        alerts: &case.members,
        history: &case.entries,
    }
}

/// What is due first comes first, what has no time last.
fn by_time(mut terms: Vec<Term<'_>>) -> Vec<Term<'_>> {
    terms.sort_by_key(|term| (term.due.is_none(), term.due));
    terms
}

impl<'c> DeadlineObject<'c> {
    fn of(term: &Term<'c>, now: Micros, lang: Lang) -> Self {
        Self {
            id: term.deadline.provision.id.clone(),
            what: term.deadline.provision.text.of(lang).to_owned(),
            article: term.article(lang),
            due: term.due.map(iso),
            standing: term.standing(now).as_str(),
            sent: term.sent,
        }
    }
}

/// The page for eyes. Every value is escaped by [`Page`].
pub(super) fn page(case: &Case, books: &Books, clock: &Clock, lang: Lang) -> String {
    let incident = &case.incident;
    let mut page = Page::for_terminal(Terminal::of_stdout());
    page.title(&format!("{}  {}", incident.id, incident.title));
    page.section("What");
    page.line("status", incident.status());
    page.line("drill", &incident.drill);
    page.line("system", &incident.system);
    page.line("classes", &incident.class_names(books.decree(incident), lang));
    page.line(
        "detected",
        &format!("{}, {}", clock.shown(incident.detected_at), clock.age(incident.detected_at)),
    );
    page.line("ended", &incident.ended_at.map(|at| clock.shown(at)).unwrap_or_default());
    let closed = incident.closed.as_ref();
    page.line(
        "closed",
        &closed
            .map(|closed| format!("{} as {}: {}", clock.shown(closed.at), closed.verdict, closed.text))
            .unwrap_or_default(),
    );
    let decree = books.decree(incident).map_or_else(
        || "no decree is in force on the day of the detection: no deadline is known".to_owned(),
        |decree| decree.title.of(lang).to_owned(),
    );
    page.section(&format!("Reports ({decree})"));
    for term in by_time(books.terms(&case.incident)) {
        page.line(&term.deadline.provision.id, &told(&term, clock, lang));
        page.line("", &format!("{}: {}", term.article(lang), term.deadline.provision.text.of(lang)));
        let unsure = term.deadline.provision.unsure.as_ref();
        page.line("", &unsure.map(|unsure| format!("[unsure] {}", unsure.of(lang))).unwrap_or_default());
    }
    page.section("What the report says");
    for field in case.fields(books, clock, lang) {
        let value = if field.value.is_empty() { "MISSING" } else { &field.value };
        page.line(&field.id, &format!("{}: {value}", field.what.trim_end_matches('.')));
    }
    page.section(&format!("Alerts ({})", case.members.len()));
    if !case.members.is_empty() {
        page.table(&alerts(&case.members, clock));
    }
    page.section("History");
    for entry in &case.entries {
        page.line(&entry.action, &format!("{} by {}: {}", clock.shown(entry.at), entry.actor, entry.text));
    }
    page.into_text()
}

fn alerts(members: &[Member], clock: &Clock) -> Vec<Column> {
    let mut columns = vec![
        Column::new(&format!("alerted ({})", clock.zone_name())),
        Column::new("prio"),
        Column::new("status").spared(Some(1)),
        Column::new("host").spared(Some(0)),
        Column::new("what").prose(true),
        Column::new("id"),
    ];
    for Member { id, created_at, priority, rule_title, host, status, .. } in members {
        let at = clock.shown(*created_at);
        let cells: [&str; 6] = [&at, priority, status, host, rule_title, id];
        columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell, Tone::Plain));
    }
    columns
}

/// How a deadline stands, with its time.
fn told(term: &Term<'_>, clock: &Clock, lang: Lang) -> String {
    let within = term.deadline.within.map(|within| within.shown(lang)).unwrap_or_default();
    let due = term.due.map(|due| clock.shown(due)).unwrap_or_default();
    let sent = term.sent.iter().map(|sent| format!("{} ({})", clock.shown(sent.at), sent.proof));
    let sent = sent.collect::<Vec<_>>().join(", again ");
    match term.standing(clock.now.as_microsecond()) {
        Standing::Met if due.is_empty() => format!("sent {sent}"),
        Standing::Met => format!("sent {sent}, in time (by {due})"),
        Standing::Missed => format!("sent {sent}, TOO LATE (by {due})"),
        Standing::Overdue => {
            format!("OVERDUE: {within}, by {due}, {}", clock.until(term.due.unwrap_or_default()))
        }
        Standing::Open if term.is_at_once() => {
            format!("NOW: to be told at once; detected {}", clock.age(term.due.unwrap_or_default()))
        }
        Standing::Open => format!("{within}, by {due}, {}", clock.until(term.due.unwrap_or_default())),
        Standing::Undated if term.deadline.within.is_none() => "no time is set".to_owned(),
        Standing::Undated => format!("{within} from its end; `vonggac incident end` says when that was"),
    }
}
