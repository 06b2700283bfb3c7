//! What a report says of incidents: those that were detected in its period or were not closed at its end, and whether what the law
//! wants of them was sent in time. Exercises are left out.

use anyhow::Result;

use crate::history::Entry;
use crate::incident::{Incident, Standing, incidents};
use crate::inventory::System;
use crate::people::incident::entries;
use crate::people::report::ask::Ask;
use crate::people::report::page::{Block, Fact, Page, Table, number};
use crate::people::report::periodic::Site;

/// Rows that the table holds.
const ROWS_MAX: usize = 100;

pub(super) async fn section(ask: &Ask<'_>, site: &Site<'_>, page: &mut Page) -> Result<()> {
    let all: Vec<Entry> = entries(ask.reader).await?;
    let known: Vec<Entry> = all.into_iter().filter(|entry| entry.at < ask.as_of).collect();
    let mut told = incidents(&known);
    told.retain(|incident| incident.drill.is_empty());
    page.heading(ask.say("Sự cố", "Incidents"));
    page.blocks.push(Block::Facts(facts(ask, site, &told)));
    told.retain(|incident| incident.closed.is_none() || is_of(ask, incident));
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
        empty: ask.say("Không có sự cố.", "No incident.").to_owned(),
        note: ask.cut(ROWS_MAX, rows),
    });
    Ok(())
}

fn is_of(ask: &Ask<'_>, incident: &Incident) -> bool {
    (ask.from..ask.to).contains(&incident.detected_at)
}

fn facts(ask: &Ask<'_>, site: &Site<'_>, told: &[Incident]) -> Vec<Fact> {
    let count = |holds: &dyn Fn(&&Incident) -> bool| told.iter().filter(holds).count() as u64;
    let fact = |vi: &str, en: &str, value: u64, before: Option<u64>| Fact {
        label: ask.say(vi, en).to_owned(),
        value: number(value, ask.lang),
        before: before.map_or_else(String::new, |before| {
            format!("{}: {}", ask.say("kỳ trước", "period before"), number(before, ask.lang))
        }),
        is_bad: false,
    };
    let detected = count(&|incident| is_of(ask, incident));
    let before = count(&|incident| (ask.before..ask.from).contains(&incident.detected_at));
    let open = count(&|incident| incident.closed.is_none());
    let late: u64 = told.iter().map(|incident| standings(ask, site, incident).1).sum();
    vec![
        fact("Sự cố phát hiện trong kỳ", "Detected in the period", detected, Some(before)),
        fact("Chưa đóng cuối kỳ", "Not closed at the end", open, None),
        Fact {
            is_bad: late > 0,
            ..fact("Báo cáo pháp định trễ hoặc quá hạn", "Statutory reports late or overdue", late, None)
        },
    ]
}

/// How many reports were sent in time, and how many were late or are overdue.
fn standings(ask: &Ask<'_>, site: &Site<'_>, incident: &Incident) -> (u64, u64) {
    let decree = incident.decree(site.levels.decrees(), &ask.zone);
    let terms = decree.map_or(Vec::new(), |decree| incident.terms(decree, &ask.zone));
    let count =
        |of: &[Standing]| terms.iter().filter(|term| of.contains(&term.standing(ask.as_of))).count() as u64;
    (count(&[Standing::Met]), count(&[Standing::Missed, Standing::Overdue]))
}

fn cells(ask: &Ask<'_>, site: &Site<'_>, incident: &Incident) -> Vec<String> {
    let system = site.inventory.by_id(&incident.system).map(|index| site.inventory.system(index));
    let status = match incident.status() {
        "closed" => ask.say("đã đóng", "closed"),
        "ended" => ask.say("đã kết thúc", "ended"),
        _ => ask.say("đang xử lý", "open"),
    };
    let (met, late) = standings(ask, site, incident);
    vec![
        incident.id.clone(),
        ask.time(incident.detected_at),
        incident.title.clone(),
        system.map_or_else(|| incident.system.clone(), |system| system.name.clone()),
        system.map_or(0, System::level).to_string(),
        incident.class_names(incident.decree(site.levels.decrees(), &ask.zone), ask.lang),
        status.to_owned(),
        format!("{met} / {late}"),
    ]
}
