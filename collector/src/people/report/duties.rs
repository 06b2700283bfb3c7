//! What a report says of duties: those that were overdue at its end, and those that fell due in it or do within thirty days.

use anyhow::Result;
use jiff::ToSpan;

use crate::people::books::Books;
use crate::people::duties::{Owed, Record, owed};
use crate::people::report::ask::Ask;
use crate::people::report::page::{Page, Table};
use crate::people::report::period::shown;

const AHEAD_DAYS: i64 = 30;
/// Rows that the table holds.
const ROWS_MAX: usize = 60;

pub(super) async fn section(ask: &Ask<'_>, site: &Books, page: &mut Page) -> Result<()> {
    let record = Record::read(ask.reader, Some(ask.as_of)).await?;
    let day = ask.last_day()?;
    let mut owed = owed(site, &record, day, ask.lang);
    let horizon = day.checked_add(AHEAD_DAYS.days())?.to_string();
    owed.retain(|owed| !owed.due.is_empty() && owed.due <= horizon);
    let all = u64::try_from(owed.len()).unwrap_or(u64::MAX);
    owed.truncate(ROWS_MAX);
    page.heading(ask.say("Nghĩa vụ theo cấp độ", "Duties by level"));
    let mut doubts: Vec<String> = Vec::new();
    for owed in owed.iter().filter(|owed| !owed.unsure.is_empty()) {
        let doubt = format!("{}: {}", owed.article, owed.unsure);
        if !doubts.contains(&doubt) {
            doubts.push(doubt);
        }
    }
    page.table(Table {
        title: ask.say("Quá hạn hoặc đến hạn trong 30 ngày", "Overdue, or due within 30 days").to_owned(),
        headings: [
            ask.say("Hạn", "Due"),
            ask.say("Hệ thống", "System"),
            ask.say("Cấp độ", "Level"),
            ask.say("Nội dung", "What"),
            ask.say("Chu kỳ", "Every"),
            ask.say("Đã làm", "Last done"),
            ask.say("Căn cứ", "By"),
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: owed.iter().map(|owed| cells(ask, owed)).collect(),
        bad: owed.iter().enumerate().filter(|(_, owed)| owed.overdue).map(|(place, _)| place).collect(),
        empty: ask.say("Không có nghĩa vụ nào đến hạn.", "Nothing falls due.").to_owned(),
        note: ask.cut(ROWS_MAX, all),
    });
    for doubt in doubts {
        page.text(format!("* {}: {doubt}", ask.say("Chưa chắc chắn", "Unsure")));
    }
    Ok(())
}

fn cells(ask: &Ask<'_>, owed: &Owed) -> Vec<String> {
    let day = |text: &str| match text.parse() {
        Ok(day) => shown(day),
        Err(_) => "–".to_owned(),
    };
    let overdue = if owed.overdue { ask.say(" (quá hạn)", " (overdue)") } else { "" };
    vec![
        format!("{}{overdue}", day(&owed.due)),
        owed.name.clone(),
        owed.level.to_string(),
        owed.what.clone(),
        owed.every.clone(),
        day(&owed.last_done),
        format!("{}{}", owed.article, if owed.unsure.is_empty() { "" } else { " *" }),
    ]
}
