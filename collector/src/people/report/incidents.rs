//! What a report says of incidents: those that were opened in its period, those that were not closed at its end, and whether what the
//! law wants of them was sent in time. One that was opened after midnight is of the day on which it became known, so that each is of one
//! report. What turned out to be none counts no longer; exercises are left out.

use anyhow::Result;
use event::Micros;

use crate::history::Entry;
use crate::incident::{Incident, Standing, Term, incidents};
use crate::inventory::System;
use crate::people::books::Books;
use crate::people::incident::entries;
use crate::people::report::ask::Ask;
use crate::people::report::page::{Block, Fact, Page, Table, number};

/// Rows that the table holds.
const ROWS_MAX: usize = 100;

pub(super) async fn section(ask: &Ask<'_>, site: &Books, page: &mut Page) -> Result<()> {
    let all = entries(ask.reader).await?;
    let told = known_at(&all, ask.as_of);
    let before = known_at(&all, ask.from);
    page.heading(ask.say("Sự cố", "Incidents"));
    page.blocks.push(Block::Facts(facts(ask, site, &told, &before)));
    let is_told = |incident: &&Incident| {
        incident.closed.is_none() || is_of(ask, incident) || late(ask, site, incident) > 0
    };
    let told: Vec<&Incident> = told.iter().filter(is_told).collect();
    let rows = u64::try_from(told.len()).unwrap_or(u64::MAX);
    page.table(Table {
        title: ask
            .say("Sự cố trong kỳ và còn mở", "Incidents of the period, and those still open")
            .to_owned(),
        headings: [
            ask.say("Mã", "Id"),
            ask.say("Phát hiện", "Detected"),
            ask.say("Nội dung", "What"),
            ask.say("Hệ thống", "System"),
            ask.say("Cấp độ", "Level"),
            ask.say("Phân loại", "Classes"),
            ask.say("Tình trạng", "Status"),
            ask.say("Báo cáo đúng hạn / trễ", "Reports in time / late"),
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: told.iter().take(ROWS_MAX).map(|incident| cells(ask, site, incident)).collect(),
        bad: (0..told.len().min(ROWS_MAX)).filter(|place| late(ask, site, told[*place]) > 0).collect(),
        empty: ask.say("Không có sự cố.", "No incident.").to_owned(),
        note: ask.cut(ROWS_MAX, rows),
    });
    Ok(())
}

/// The incidents as they were known at a moment.
fn known_at(entries: &[Entry], moment: Micros) -> Vec<Incident> {
    let known: Vec<Entry> = entries.iter().filter(|entry| entry.at < moment).cloned().collect();
    let mut known = incidents(&known);
    known.retain(|incident| incident.drill.is_empty());
    known
}

fn is_of(ask: &Ask<'_>, incident: &Incident) -> bool {
    (ask.from..ask.to).contains(&incident.opened_at)
}

fn facts(ask: &Ask<'_>, site: &Books, told: &[Incident], before: &[Incident]) -> Vec<Fact> {
    let count = |of: &[Incident], holds: &dyn Fn(&Incident) -> bool| {
        of.iter().filter(|incident| !incident.is_dismissed() && holds(incident)).count() as u64
    };
    let fact = |vi: &str, en: &str, value: u64, before: Option<u64>| Fact {
        label: ask.say(vi, en).to_owned(),
        value: number(value, ask.lang),
        before: before.map_or_else(String::new, |before| {
            format!("{}: {}", ask.say("kỳ trước", "period before"), number(before, ask.lang))
        }),
        is_bad: false,
    };
    let opened = count(told, &|incident| is_of(ask, incident));
    let earlier = count(before, &|incident| (ask.before..ask.from).contains(&incident.opened_at));
    let open = |of| count(of, &|incident: &Incident| incident.closed.is_none());
    let late: u64 = told.iter().map(|incident| late(ask, site, incident)).sum();
    let label = ("Báo cáo pháp định trễ trong kỳ hoặc quá hạn", "Statutory reports sent late, or overdue");
    vec![
        fact("Sự cố ghi nhận trong kỳ", "Opened in the period", opened, Some(earlier)),
        fact("Chưa đóng cuối kỳ", "Not closed at the end", open(told), Some(open(before))),
        Fact { is_bad: late > 0, ..fact(label.0, label.1, late, None) },
    ]
}

/// Reports that were sent too late in the period, or were overdue at its end.
fn late(ask: &Ask<'_>, site: &Books, incident: &Incident) -> u64 {
    let terms = site.terms(incident);
    let is_late = |term: &&Term<'_>| match term.standing(ask.as_of) {
        Standing::Overdue => true,
        Standing::Missed => term.sent.first().is_some_and(|sent| (ask.from..ask.to).contains(&sent.at)),
        Standing::Met | Standing::Open | Standing::Undated => false,
    };
    terms.iter().filter(is_late).count() as u64
}

/// How many reports were sent in time, and how many were late or are overdue; a dash where no decree wants any.
fn standings(ask: &Ask<'_>, site: &Books, incident: &Incident) -> String {
    if site.decree(incident).is_none() {
        return "–".to_owned();
    }
    let terms = site.terms(incident);
    let count = |of: &[Standing]| terms.iter().filter(|term| of.contains(&term.standing(ask.as_of))).count();
    format!("{} / {}", count(&[Standing::Met]), count(&[Standing::Missed, Standing::Overdue]))
}

fn cells(ask: &Ask<'_>, site: &Books, incident: &Incident) -> Vec<String> {
    let system = site.system(&incident.system);
    let status = match incident.status() {
        _ if incident.is_dismissed() => ask.say("không phải sự cố", "no incident"),
        "closed" => ask.say("đã đóng", "closed"),
        "ended" => ask.say("đã kết thúc", "ended"),
        _ => ask.say("đang xử lý", "open"),
    };
    vec![
        incident.id.clone(),
        ask.time(incident.detected_at),
        incident.title.clone(),
        system.map_or_else(|| incident.system.clone(), |system| system.name.clone()),
        system.map_or(0, System::level).to_string(),
        incident.class_names(site.decree(incident), ask.lang),
        status.to_owned(),
        standings(ask, site, incident),
    ]
}
