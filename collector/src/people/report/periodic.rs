//! The report of a day, a week, a month, half a year: what happened, what people did about it, what is open, and whether the
//! watch itself was well. TT 31/2017 asks for the first two and the last (Article 5 clause 3), and names what the weekly one
//! holds: the attacked, the techniques with evidence, the attackers, what changed.
//!
//! Drills are left out of every number, but for the line that counts them. What people did counts until the period's end.

use std::collections::BTreeSet;

use anyhow::Result;
use clickhouse::Row;
use event::Micros;
use jiff::civil::Date;
use serde::Deserialize;

use crate::link::{State, midnight};
use crate::people::books::Books;
use crate::people::filter::Filter;
use crate::people::links::link_days;
use crate::people::report::ask::{Ask, Column, cells};
use crate::people::report::page::{Block, Columns, Fact, Page, Series, Table, number};
use crate::people::report::period::{Length, Period, shown};
use crate::people::report::words::{clock, severity, verdict};
use crate::people::report::{duties, incidents, watch};
use crate::row::address_text;

use Column::{Number, Text, Time};

const PRIORITIES: [&str; 5] = ["P1", "P2", "P3", "P4", "P5"];
/// Alerts by quarters of an hour: every zone's midnight is one.
const QUARTER: Micros = 900 * 1_000_000;
/// Days of a period that are told by day: more run into each other.
const DAYS_SHOWN_MAX: i64 = 62;

/// Rows that a table holds; what is cut says so.
const LATE_MAX: usize = 20;
pub(super) const SILENT_MAX: usize = 100;
pub(super) const TOP_MAX: usize = 15;
const ATTACKED_MAX: usize = 200;

/// Alerts of both periods that no drill made.
const ALERTS: &str = "FROM alerts AS a FINAL WHERE a.drill_id = '' AND {both:a.created_at}";
const NAMED: &str = "countIf({now:a.created_at}) AS now, countIf({before:a.created_at}) AS before";

#[derive(Debug, Deserialize, Row)]
struct Quarter {
    at: Micros,
    priority: String,
    alerts: u64,
}

pub(super) async fn page(ask: &Ask<'_>, site: &Books, length: Length) -> Result<Page> {
    let title = match length {
        Length::Day => ask.say("Báo cáo giám sát an toàn thông tin ngày", "Daily security monitoring report"),
        Length::Week => {
            ask.say("Báo cáo giám sát an toàn thông tin tuần", "Weekly security monitoring report")
        }
        Length::Month => {
            ask.say("Báo cáo giám sát an toàn thông tin tháng", "Monthly security monitoring report")
        }
        Length::HalfYear => {
            ask.say("Báo cáo giám sát an toàn thông tin 6 tháng", "Half-yearly security monitoring report")
        }
        Length::Days | Length::LevelYear => {
            ask.say("Báo cáo giám sát an toàn thông tin", "Security monitoring report")
        }
    };
    let mut page =
        Page { lang: ask.lang, title: title.to_owned(), subtitle: ask.subtitle(), blocks: Vec::new() };
    page.blocks.push(Block::Facts(facts(ask).await?));
    open(ask, &mut page).await?;
    incidents::section(ask, site, &mut page).await?;
    alerts(ask, length, &mut page).await?;
    handling(ask, &mut page).await?;
    watch::section(ask, site, &mut page).await?;
    links(ask, site, &mut page).await?;
    duties::section(ask, site, &mut page).await?;
    Ok(page)
}

async fn facts(ask: &Ask<'_>) -> Result<Vec<Fact>> {
    let alerts = |what: &str| format!("SELECT {what} {ALERTS}");
    let closed = |condition: &str| {
        let count = |as_of: &str, within: &str| {
            format!(
                "assumeNotNull((SELECT count() FROM (SELECT id FROM alerts FINAL WHERE drill_id = '') AS a \
                 INNER JOIN alert_status_at(as_of = {as_of}) AS s ON s.alert_id = a.id WHERE {within} AND {condition}))"
            )
        };
        let (now, before) = (count("{as_of}", "{now:s.closed_at}"), count("{from}", "{before:s.closed_at}"));
        format!("SELECT {now} AS now, {before} AS before")
    };
    // A subquery for one value may have none, for all that ClickHouse knows.
    let late = |as_of: &str| {
        format!(
            "assumeNotNull((SELECT count() FROM alert_next_at(as_of = {as_of}) AS n WHERE n.drill_id = '' AND n.due < {as_of}))"
        )
    };
    let late = format!("SELECT {} AS now, {} AS before", late("{as_of}"), late("{from}"));
    let rows = |table: &str| {
        format!(
            "SELECT countIf({{now:a.ts}}) AS now, countIf({{before:a.ts}}) AS before FROM {table} AS a \
             WHERE a.drill_id = '' AND {{both:a.ts}}"
        )
    };
    let urgent = "countIf({now:a.created_at} AND a.priority <= 'P2') AS now, \
        countIf({before:a.created_at} AND a.priority <= 'P2') AS before";
    let systems = "uniqExactIf(a.system_id, {now:a.created_at} AND a.system_id != '') AS now, \
        uniqExactIf(a.system_id, {before:a.created_at} AND a.system_id != '') AS before";
    Ok(vec![
        ask.fact(ask.say("Cảnh báo", "Alerts"), &alerts(NAMED)).await?,
        ask.fact(ask.say("Cảnh báo P1, P2", "Alerts of P1 and P2"), &alerts(urgent)).await?,
        ask.fact(ask.say("Hệ thống có cảnh báo", "Systems with alerts"), &alerts(systems)).await?,
        ask.alarm(ask.say("Cảnh báo quá hạn cuối kỳ", "Alerts late at the end"), &late).await?,
        ask.fact(ask.say("Cảnh báo đã đóng", "Alerts closed"), &closed("true")).await?,
        ask.fact(ask.say("Tấn công thật", "True positives"), &closed("s.verdict = 'true_positive'")).await?,
        ask.fact(ask.say("Báo động giả", "False positives"), &closed("s.verdict = 'false_positive'")).await?,
        ask.fact(ask.say("Sự kiện", "Events"), &rows("events")).await?,
        ask.fact(ask.say("Bản ghi luồng mạng", "Flow records"), &rows("flows")).await?,
    ])
}

/// What wanted somebody at the end of the period, first.
async fn open(ask: &Ask<'_>, page: &mut Page) -> Result<()> {
    page.heading(ask.say("Việc còn mở cuối kỳ", "What was open at the end"));
    let late = ask
        .table(
            ask.say("Quá hạn xử lý", "Late alerts"),
            &[
                Text(ask.say("Mã", "Id")),
                Text(ask.say("Ưu tiên", "Priority")),
                Text(ask.say("Cảnh báo", "Alert")),
                Text(ask.say("Hệ thống", "System")),
                Text(ask.say("Việc phải làm", "To be done")),
                Time(ask.say("Hạn", "Due")),
            ],
            LATE_MAX,
            &format!(
                "SELECT [left(a.id, 12), a.priority, a.rule_title, if(a.system_name = '', '–', a.system_name), {}, \
                   toString(toUnixTimestamp64Micro(n.due))] AS cells \
                 FROM alert_next_at(as_of = {{as_of}}) AS n INNER JOIN (SELECT * FROM alerts FINAL) AS a ON a.id = n.alert_id \
                 WHERE n.drill_id = '' AND n.due < {{as_of}} ORDER BY a.priority, n.due, a.id",
                clock(ask.lang, "n.clock")
            ),
        )
        .await?;
    page.table(late);
    page.table(silent(ask).await?);
    Ok(())
}

/// Log sources that the collector alerted as silent: within the period, or before it and still silent at its end, of systems that the
/// inventory had then.
async fn silent(ask: &Ask<'_>) -> Result<Table> {
    let cells = cells(
        "if(a.system_name = '', a.system_id, a.system_name), toString(a.sys_level), a.entity, \
         toString(toUnixTimestamp64Micro(a.last_seen)), toString(toUnixTimestamp64Micro(back))",
        "toUnixTimestamp64Micro(back) = 0",
    );
    let sql = "FROM (SELECT *, arrayFirst(at -> at > last_seen, b.times) AS back FROM \
             (SELECT * FROM alerts FINAL WHERE rule_id IN ('vonggac-source-silent', 'vonggac-source-missing') AND drill_id = '' \
              AND last_seen < {as_of}) AS a \
             LEFT JOIN (SELECT system_id, entity, arraySort(groupArray(first_seen)) AS times FROM alerts FINAL \
                 WHERE rule_id = 'vonggac-source-back' AND drill_id = '' AND first_seen < {as_of} GROUP BY system_id, entity) AS b \
               ON b.system_id = a.system_id AND b.entity = a.entity) AS a \
         WHERE {now:a.last_seen} OR (toUnixTimestamp64Micro(back) = 0 AND a.system_id IN ( \
             SELECT id FROM systems_history WHERE loaded_at = (SELECT max(loaded_at) FROM systems_history WHERE loaded_at < {as_of}))) \
         ORDER BY a.sys_level DESC, a.system_id, a.entity, a.last_seen";
    ask.table(
        ask.say("Nguồn log bắt buộc đã im lặng", "Required log sources that fell silent"),
        &[
            Text(ask.say("Hệ thống", "System")),
            Text(ask.say("Cấp độ", "Level")),
            Text(ask.say("Nguồn", "Source")),
            Time(ask.say("Cảnh báo lúc", "Alerted at")),
            Time(ask.say("Gửi lại lúc", "Reports again since")),
        ],
        SILENT_MAX,
        &format!("SELECT {cells} {sql}"),
    )
    .await
}

async fn alerts(ask: &Ask<'_>, length: Length, page: &mut Page) -> Result<()> {
    page.heading(ask.say("Cảnh báo", "Alerts"));
    page.blocks.push(Block::Columns(columns(ask, length).await?));
    let by = |key: &str| {
        format!("SELECT {key} AS name, {NAMED} {ALERTS} GROUP BY name ORDER BY now DESC, before DESC, name")
    };
    let by_priority =
        format!("SELECT toString(a.priority) AS name, {NAMED} {ALERTS} GROUP BY name ORDER BY name");
    let by_severity = format!(
        "SELECT {} AS name, {NAMED} {ALERTS} GROUP BY a.severity \
         ORDER BY indexOf(['critical', 'high', 'medium', 'low', 'informational'], toString(a.severity)), name",
        severity(ask.lang, "a.severity")
    );
    let (system, technique) = (ask.say("Hệ thống", "System"), ask.say("Kỹ thuật", "Technique"));
    let priority = ask.say("Mức ưu tiên", "Priority");
    page.table(
        ask.compared(ask.say("Theo mức ưu tiên", "By priority"), priority, TOP_MAX, &by_priority).await?,
    );
    let severity = ask.say("Mức độ nghiêm trọng", "Severity");
    page.table(ask.compared(ask.say("Theo mức độ", "By severity"), severity, TOP_MAX, &by_severity).await?);
    let name = ask.lang.pick(
        "if(a.system_name = '', '(chưa phân loại)', a.system_name)",
        "if(a.system_name = '', '(not classified)', a.system_name)",
    );
    page.blocks.push(Block::Bars(
        ask.bars(
            ask.say("Hệ thống bị nhắm tới nhiều nhất", "Systems with the most alerts"),
            system,
            TOP_MAX,
            &by(name),
        )
        .await?,
    ));
    page.blocks.push(Block::Bars(
        ask.bars(
            ask.say("Kỹ thuật MITRE ATT&CK", "MITRE ATT&CK techniques"),
            technique,
            TOP_MAX,
            &by("arrayJoin(a.techniques)"),
        )
        .await?,
    ));
    let address = address_text("a.src_ip");
    let source = format!(
        "SELECT {address} AS name, {NAMED} {ALERTS} AND a.src_ip != toIPv6('::') GROUP BY name ORDER BY now DESC, before DESC, name"
    );
    let attackers = ask.say("Địa chỉ nguồn nhiều cảnh báo nhất", "Source addresses with the most alerts");
    page.table(ask.compared(attackers, ask.say("Địa chỉ", "Address"), TOP_MAX, &source).await?);
    let rule = by("toString(a.rule_title)");
    let rules = ask.say("Luật phát hiện", "Detection rules");
    page.table(ask.compared(rules, ask.say("Luật", "Rule"), TOP_MAX, &rule).await?);
    attacked(ask, page).await
}

/// Who was attacked, when, how, by whom, and the line that shows it.
async fn attacked(ask: &Ask<'_>, page: &mut Page) -> Result<()> {
    let table = ask
        .table(
        ask.say("Đối tượng bị tấn công (P1 đến P3)", "What was attacked (P1 to P3)"),
        &[
            Time(ask.say("Lúc", "At")),
            Text(ask.say("Ưu tiên", "Priority")),
            Text(ask.say("Máy chủ", "Host")),
            Text(ask.say("Hệ thống", "System")),
            Text(ask.say("Cảnh báo, kỹ thuật", "Alert, techniques")),
            Text(ask.say("Từ", "From")),
            Text(ask.say("Bằng chứng", "Evidence")),
        ],
        ATTACKED_MAX,
        &format!(
            "SELECT [toString(toUnixTimestamp64Micro(a.first_seen)), a.priority, a.host, if(a.system_name = '', '–', a.system_name), \
               concat(a.rule_title, ' ', arrayStringConcat(a.techniques, ' ')), \
               if(a.src_ip = toIPv6('::'), if(a.user = '', '–', a.user), {}), \
               leftUTF8(toValidUTF8(if(empty(a.samples), '', a.samples[1])), 160)] AS cells \
             FROM alerts AS a FINAL WHERE a.drill_id = '' AND {{now:a.created_at}} AND a.priority <= 'P3' AND a.host != '' \
             ORDER BY a.priority, a.first_seen, a.id",
            address_text("a.src_ip")
        ),
        )
        .await?;
    page.table(table);
    Ok(())
}

async fn columns(ask: &Ask<'_>, length: Length) -> Result<Columns> {
    let sql = format!(
        "SELECT intDiv(toUnixTimestamp64Micro(a.created_at), {QUARTER}) * {QUARTER} AS at, toString(a.priority) AS priority, \
           count() AS alerts FROM alerts AS a FINAL WHERE a.drill_id = '' AND {{now:a.created_at}} GROUP BY at, priority"
    );
    let quarters = ask.reader.rows::<Quarter>(&ask.filled(&sql), &Filter::default()).await?;
    let starts = starts(ask, length)?;
    let mut series: Vec<Series> =
        PRIORITIES.map(|name| Series { name: name.to_owned(), values: vec![0; starts.len()] }).into();
    for Quarter { at, priority, alerts } in quarters {
        let column = starts.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        let series = series.iter_mut().find(|series| series.name == priority);
        if let Some(value) = series.and_then(|series| series.values.get_mut(column)) {
            *value += alerts;
        }
    }
    let (title, over) = match grain(ask, length) {
        Grain::Hour => (ask.say("Theo giờ và mức ưu tiên", "By hour and priority"), ask.say("Giờ", "Hour")),
        Grain::Month => {
            (ask.say("Theo tháng và mức ưu tiên", "By month and priority"), ask.say("Tháng", "Month"))
        }
        Grain::Day => (ask.say("Theo ngày và mức ưu tiên", "By day and priority"), ask.say("Ngày", "Day")),
    };
    let labels = starts.into_iter().map(|(_, label)| label).collect();
    Ok(Columns { title: title.to_owned(), over: over.to_owned(), labels, series })
}

/// What a column stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Grain {
    Hour,
    Day,
    Month,
}

fn grain(ask: &Ask<'_>, length: Length) -> Grain {
    match ask.period.length() {
        _ if length == Length::Day => Grain::Hour,
        ..=DAYS_SHOWN_MAX => Grain::Day,
        _ => Grain::Month,
    }
}

/// Where each column begins, and its label.
fn starts(ask: &Ask<'_>, length: Length) -> Result<Vec<(Micros, String)>> {
    let Period { first, .. } = ask.period;
    let grain = grain(ask, length);
    if grain == Grain::Hour {
        let hours = (ask.to - ask.from) / (4 * QUARTER);
        return Ok((0..hours).map(|hour| (ask.from + hour * 4 * QUARTER, format!("{hour:02}"))).collect());
    }
    let is_start = |day: &Date| grain != Grain::Month || day.day() == 1 || *day == first;
    let format = if grain == Grain::Month { "%m/%Y" } else { "%d/%m" };
    let starts = ask.period.days().filter(is_start);
    starts.map(|day| Ok((midnight(day, &ask.zone)?, day.strftime(format).to_string()))).collect()
}

async fn handling(ask: &Ask<'_>, page: &mut Page) -> Result<()> {
    page.heading(ask.say("Xử lý", "Handling"));
    let clocks = ask
        .table(
        ask.say("Đồng hồ phản ứng của cảnh báo trong kỳ", "Response clocks of the period's alerts"),
        &[
            Text(ask.say("Ưu tiên", "Priority")),
            Text(ask.say("Bước", "Step")),
            Number(ask.say("Đúng hạn", "In time")),
            Number(ask.say("Trễ", "Late")),
            Number(ask.say("Chưa xong", "Not yet")),
            Number(ask.say("Trung vị (phút)", "Median (min)")),
        ],
        TOP_MAX,
        &format!(
            "SELECT [toString(c.priority), {}, toString(countIf(c.state = 'met')), toString(countIf(c.state = 'missed')), \
               toString(countIf(c.state = 'open')), \
               if(countIf(done) = 0, '–', toString(round(quantileExactIf(0.5)(dateDiff('second', c.created_at, c.done_at), done) / 60)))] AS cells \
             FROM (SELECT *, toUnixTimestamp64Micro(done_at) > 0 AS done FROM alert_clocks_at(as_of = {{as_of}})) AS c \
             WHERE c.drill_id = '' AND {{now:c.created_at}} GROUP BY c.priority, c.clock, c.number ORDER BY c.priority, c.number",
            clock(ask.lang, "c.clock")
        ),
        )
        .await?;
    page.table(clocks);
    let closed = |as_of: &str, within: &str, now: u8| {
        format!(
            "SELECT {} AS name, {now} AS is_now FROM (SELECT id FROM alerts FINAL WHERE drill_id = '') AS a \
             INNER JOIN alert_status_at(as_of = {as_of}) AS s ON s.alert_id = a.id WHERE {within}",
            verdict(ask.lang, "s.verdict")
        )
    };
    let verdicts = format!(
        "SELECT name, countIf(is_now = 1) AS now, countIf(is_now = 0) AS before FROM ({} UNION ALL {}) \
         GROUP BY name ORDER BY now DESC, name",
        closed("{as_of}", "{now:s.closed_at}", 1),
        closed("{from}", "{before:s.closed_at}", 0)
    );
    let title = ask.say("Kết luận khi đóng", "Verdicts");
    page.table(ask.compared(title, ask.say("Kết luận", "Verdict"), TOP_MAX, &verdicts).await?);
    let noisy = ask
        .table(
            ask.say("Luật hay báo động giả", "Rules that were wrong"),
            &[
                Text(ask.say("Luật", "Rule")),
                Number(ask.say("Đã đóng", "Closed")),
                Number(ask.say("Báo động giả", "False positives")),
                Text(ask.say("Tỷ lệ", "Share")),
            ],
            TOP_MAX,
            "SELECT [any(a.rule_title), toString(count()), toString(countIf(s.verdict = 'false_positive')), \
               concat(toString(round(100 * countIf(s.verdict = 'false_positive') / count())), ' %')] AS cells \
             FROM alerts AS a FINAL INNER JOIN alert_status_at(as_of = {as_of}) AS s ON s.alert_id = a.id \
             WHERE a.drill_id = '' AND {now:s.closed_at} AND s.verdict != 'duplicate' GROUP BY a.rule_id \
             HAVING countIf(s.verdict = 'false_positive') > 0 \
             ORDER BY countIf(s.verdict = 'false_positive') DESC, a.rule_id",
        )
        .await?;
    page.table(noisy);
    Ok(())
}

async fn links(ask: &Ask<'_>, site: &Books, page: &mut Page) -> Result<()> {
    if site.inventory.links().is_empty() {
        return Ok(());
    }
    page.heading(ask.say("Đường truyền", "Lines"));
    let (mut rows, mut bad) = (Vec::new(), BTreeSet::new());
    for link in site.inventory.links() {
        let days = link_days(ask.reader, link, &ask.zone, ask.period.first, ask.period.end).await?;
        let worst = days
            .iter()
            .filter(|day| day.samples > 0)
            .max_by(|one, other| one.percent.total_cmp(&other.percent));
        let state = crate::link::state(&days);
        if matches!(state, State::Unknown | State::TooSmall) {
            bad.insert(rows.len());
        }
        let state = match state {
            State::Unknown => ask.say("không có số liệu", "nothing seen"),
            State::Well => ask.say("tốt", "well"),
            State::Full => ask.say("đầy", "full"),
            State::TooSmall => ask.say("quá tải", "too small"),
        };
        rows.push(vec![
            link.name.clone(),
            number(link.mbps.into(), ask.lang),
            number(link.mbps_min.into(), ask.lang),
            worst.map_or_else(|| "–".to_owned(), |day| format!("{:.0} %", day.percent)),
            worst.map_or_else(|| "–".to_owned(), |day| shown(day.date)),
            crate::link::full_days(&days).to_string(),
            state.to_owned(),
        ]);
    }
    let headings = [
        ask.say("Đường truyền", "Line"),
        "Mbit/s",
        ask.say("Yêu cầu", "Asked"),
        ask.say("Ngày cao nhất", "Fullest day"),
        ask.say("Ngày", "Day"),
        ask.say("Số ngày liền trên 90 %", "Days in a row above 90 %"),
        ask.say("Tình trạng", "State"),
    ];
    page.table(Table {
        title: ask
            .say(
                "Bách phân vị 95 của mẫu 5 phút so với dung lượng",
                "95th percentile of five-minute samples against capacity",
            )
            .to_owned(),
        headings: headings.map(str::to_owned).to_vec(),
        rows,
        bad,
        ..Table::default()
    });
    Ok(())
}
