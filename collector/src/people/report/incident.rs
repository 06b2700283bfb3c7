//! The report of one incident: what the decree in force at its detection asks for, field by field. What nobody stated says so,
//! and what of the decree is not sure stands below.

use crate::incident::{Standing, Term};
use crate::inventory::System;
use crate::level::Lang;
use crate::people::books::Books;
use crate::people::incident::{Case, Member};
use crate::people::report::page::{Block, Fact, Page, Table};
use crate::people::report::words::{severity_name as severity, verdict_name};
use crate::people::when::Clock;

/// `history`: with what people did, remarks included, which is for inside.
pub(in crate::people) fn page(case: &Case, books: &Books, clock: &Clock, lang: Lang, history: bool) -> Page {
    let incident = &case.incident;
    let say = |vi: &str, en: &str| lang.pick(vi, en).to_owned();
    let decree = books.decree(incident).map_or_else(
        || {
            say(
                "không có văn bản nào có hiệu lực vào ngày phát hiện",
                "no decree was in force at the detection",
            )
        },
        |decree| decree.title.of(lang).to_owned(),
    );
    let kind = if incident.is_dismissed() {
        lang.pick("Báo cáo về việc không phải sự cố", "Report of what was no incident")
    } else if incident.ended_at.is_some() || incident.closed.is_some() {
        lang.pick("Báo cáo kết thúc sự cố", "Final report of an incident")
    } else {
        lang.pick("Báo cáo ban đầu sự cố", "Initial report of an incident")
    };
    let exercise = say(" (DIỄN TẬP)", " (EXERCISE)");
    let mut page = Page {
        lang,
        title: format!("{kind}{}", if incident.drill.is_empty() { "" } else { &exercise }),
        subtitle: format!("{} · {} · {decree}", incident.id, incident.title),
        blocks: vec![Block::Facts(facts(case, books, clock, lang))],
    };
    let (fields, unsure) = fields(case, books, clock, lang);
    page.table(fields);
    for doubt in unsure {
        page.text(format!("{}: {doubt}", lang.pick("Chưa chắc chắn", "Unsure")));
    }
    page.table(deadlines(case, books, clock, lang));
    page.table(alerts(case, clock, lang));
    if history {
        page.table(deeds(case, clock, lang));
    }
    page
}

fn facts(case: &Case, books: &Books, clock: &Clock, lang: Lang) -> Vec<Fact> {
    let incident = &case.incident;
    let fact = |vi: &str, en: &str, value: String| Fact {
        label: lang.pick(vi, en).to_owned(),
        value,
        before: String::new(),
        is_bad: false,
    };
    let level = books.system(&incident.system).map_or(0, System::level);
    let or_dash = |text: String| if text.is_empty() { "–".to_owned() } else { text };
    let level = if level == 0 { String::new() } else { level.to_string() };
    let classes = incident.class_names(books.decree(incident), lang);
    let mut facts = vec![
        fact("Thời điểm phát hiện", "Detected", clock.minute(incident.detected_at)),
        fact("Cấp độ hệ thống", "Level of the system", or_dash(level)),
        fact("Phân loại", "Classes", or_dash(classes)),
        fact("Cảnh báo", "Alerts", case.members.len().to_string()),
    ];
    if let Some(ended) = incident.ended_at {
        facts.push(fact("Kết thúc", "Ended", clock.minute(ended)));
    }
    if let Some(closed) = &incident.closed {
        let verdict = verdict_name(&closed.verdict, lang);
        facts.push(fact("Kết luận", "Verdict", format!("{verdict} ({})", clock.minute(closed.at))));
    }
    let now = clock.now.as_microsecond();
    let terms = books.terms(&case.incident);
    let overdue = terms.iter().filter(|term| term.standing(now) == Standing::Overdue).count();
    if overdue > 0 {
        let late = fact("Báo cáo quá hạn", "Reports overdue", overdue.to_string());
        facts.push(Fact { is_bad: true, ..late });
    }
    facts
}

/// The fields, and the doubts about them, each once.
fn fields(case: &Case, books: &Books, clock: &Clock, lang: Lang) -> (Table, Vec<String>) {
    let missing = lang.pick("(chưa có)", "(missing)");
    let (mut rows, mut doubts) = (Vec::new(), Vec::new());
    for field in case.fields(books, clock, lang) {
        let value = if field.value.is_empty() { missing.to_owned() } else { field.value };
        let doubt = if field.unsure.is_empty() { "" } else { " *" };
        let what = field.what.trim_end_matches('.').to_owned();
        rows.push(vec![what, value, format!("{}{doubt}", field.article)]);
        if !field.unsure.is_empty() && !doubts.contains(&field.unsure) {
            doubts.push(field.unsure);
        }
    }
    let table = Table {
        title: lang.pick("Nội dung", "Contents").to_owned(),
        headings: headings(lang, [["Mục", "Field"], ["Nội dung", "Content"], ["Căn cứ", "By"]]),
        rows,
        empty: lang.pick("Không có quy định về nội dung.", "No decree says what it must hold.").to_owned(),
        ..Table::default()
    };
    (table, doubts)
}

fn deadlines(case: &Case, books: &Books, clock: &Clock, lang: Lang) -> Table {
    let now = clock.now.as_microsecond();
    let row = |term: &Term<'_>| {
        let deadline = term.deadline;
        let due = term.due.map_or_else(|| "–".to_owned(), |due| clock.minute(due));
        let within = deadline.within.map_or_else(|| "–".to_owned(), |within| within.shown(lang));
        let sent = term.sent.iter().map(|sent| format!("{} ({})", clock.minute(sent.at), sent.proof));
        let sent = if term.sent.is_empty() { "–".to_owned() } else { sent.collect::<Vec<_>>().join("; ") };
        vec![
            deadline.provision.text.of(lang).to_owned(),
            within,
            due,
            sent,
            said(term.standing(now), lang).to_owned(),
            term.article(lang),
        ]
    };
    Table {
        title: lang.pick("Thời hạn", "Deadlines").to_owned(),
        headings: headings(
            lang,
            [
                ["Việc phải làm", "What"],
                ["Trong", "Within"],
                ["Hạn", "Due"],
                ["Đã gửi", "Sent"],
                ["Tình trạng", "Standing"],
                ["Căn cứ", "By"],
            ],
        ),
        rows: books.terms(&case.incident).iter().map(row).collect(),
        empty: lang.pick("Không có thời hạn.", "No deadline.").to_owned(),
        ..Table::default()
    }
}

fn said(standing: Standing, lang: Lang) -> &'static str {
    match standing {
        Standing::Met => lang.pick("đúng hạn", "in time"),
        Standing::Missed => lang.pick("quá hạn khi gửi", "sent late"),
        Standing::Overdue => lang.pick("QUÁ HẠN", "OVERDUE"),
        Standing::Open => lang.pick("chưa đến hạn", "not due yet"),
        Standing::Undated => lang.pick("không có ngày", "no day"),
    }
}

fn alerts(case: &Case, clock: &Clock, lang: Lang) -> Table {
    let row = |member: &Member| {
        vec![
            clock.minute(member.created_at),
            member.priority.clone(),
            severity(&member.severity, lang).to_owned(),
            member.host.clone(),
            member.rule_title.clone(),
            member.id.clone(),
        ]
    };
    Table {
        title: lang.pick("Cảnh báo", "Alerts").to_owned(),
        headings: headings(
            lang,
            [
                ["Thời gian", "Time"],
                ["Ưu tiên", "Priority"],
                ["Mức độ", "Severity"],
                ["Máy", "Host"],
                ["Luật", "Rule"],
                ["Mã", "Id"],
            ],
        ),
        rows: case.members.iter().map(row).collect(),
        empty: lang.pick("Không có.", "None.").to_owned(),
        ..Table::default()
    }
}

fn deeds(case: &Case, clock: &Clock, lang: Lang) -> Table {
    let row = |entry: &crate::history::Entry| {
        vec![
            clock.minute(entry.at),
            entry.actor.clone(),
            deed(&entry.action, lang).to_owned(),
            told(&entry.text, clock),
        ]
    };
    Table {
        title: lang.pick("Diễn biến xử lý", "What was done").to_owned(),
        headings: headings(
            lang,
            [["Thời gian", "Time"], ["Người", "Who"], ["Việc", "Deed"], ["Nội dung", "Text"]],
        ),
        rows: case.entries.iter().map(row).collect(),
        empty: lang.pick("Không có.", "None.").to_owned(),
        ..Table::default()
    }
}

fn deed(action: &str, lang: Lang) -> &str {
    match action {
        "open" => lang.pick("mở", "opened"),
        "set" => lang.pick("ghi nhận", "stated"),
        "sent" => lang.pick("đã gửi", "sent"),
        "comment" => lang.pick("ghi chú", "remark"),
        "close" => lang.pick("đóng", "closed"),
        "unsent" => lang.pick("rút lại việc đã gửi", "taken back"),
        "add" => lang.pick("thêm cảnh báo", "alert added"),
        "remove" => lang.pick("bớt cảnh báo", "alert removed"),
        other => other,
    }
}

/// A text of an entry, in which moments stand as people read them.
fn told(text: &str, clock: &Clock) -> String {
    let word = |word: &str| match word.parse::<jiff::Timestamp>() {
        Ok(at) => clock.minute(at.as_microsecond()),
        Err(_) => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn headings<const N: usize>(lang: Lang, pairs: [[&str; 2]; N]) -> Vec<String> {
    pairs.map(|[vi, en]| lang.pick(vi, en).to_owned()).to_vec()
}
