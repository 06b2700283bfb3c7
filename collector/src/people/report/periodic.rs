//! The report of a day, a week, a month, half a year: what happened, what people did about it, what is open, and whether the
//! watch itself was well. TT 31/2017 asks for the first two and the last (Article 5 clause 3), and names what the weekly one
//! holds: the attacked, the techniques with evidence, the attackers, what changed.
//!
//! Drills are left out of every number, but for the line that counts them.

use anyhow::Result;
use clickhouse::Row;
use event::Micros;
use jiff::civil::Date;
use serde::Deserialize;

use crate::inventory::Inventory;
use crate::link::{State, midnight};
use crate::people::filter::Filter;
use crate::people::links::link_days;
use crate::people::report::ask::Ask;
use crate::people::report::page::{Block, Columns, Fact, Page, Series, Table};
use crate::people::report::period::{Length, Period, shown};
use crate::priority::Levels;

const PRIORITIES: [&str; 5] = ["P1", "P2", "P3", "P4", "P5"];
/// Alerts by quarters of an hour: every zone's midnight is one.
const QUARTER: Micros = 900 * 1_000_000;

/// Alerts of both periods that no drill made.
const ALERTS: &str = "FROM alerts AS a FINAL WHERE a.drill_id = '' AND {both:a.created_at}";
const NAMED: &str = "countIf({now:a.created_at}) AS now, countIf({before:a.created_at}) AS before";

/// What a report is made of, besides the store.
pub(super) struct Site<'s> {
    pub(super) inventory: &'s Inventory,
    pub(super) levels: &'s Levels,
}

#[derive(Debug, Deserialize, Row)]
struct Quarter {
    at: Micros,
    priority: String,
    alerts: u64,
}

pub(super) async fn page(ask: &Ask<'_>, site: &Site<'_>, length: Length) -> Result<Page> {
    let title = match length {
        Length::Day => ask.say("Báo cáo giám sát an toàn thông tin ngày", "Daily security monitoring report"),
        Length::Week => {
            ask.say("Báo cáo giám sát an toàn thông tin tuần", "Weekly security monitoring report")
        }
        Length::Month => {
            ask.say("Báo cáo giám sát an toàn thông tin tháng", "Monthly security monitoring report")
        }
        _ => ask.say("Báo cáo giám sát an toàn thông tin 6 tháng", "Half-yearly security monitoring report"),
    };
    let mut page = Page {
        language: ask.lang.pick("vi", "en"),
        title: title.to_owned(),
        subtitle: ask.period.shown(ask.lang),
        blocks: Vec::new(),
    };
    page.blocks.push(Block::Facts(facts(ask).await?));
    open(ask, &mut page).await?;
    alerts(ask, length, &mut page).await?;
    handling(ask, &mut page).await?;
    watch(ask, site, &mut page).await?;
    links(ask, site, &mut page).await?;
    Ok(page)
}

async fn facts(ask: &Ask<'_>) -> Result<Vec<Fact>> {
    let alerts = |what: &str| format!("SELECT {what} {ALERTS}");
    let closed = |condition: &str| {
        format!(
            "SELECT countIf({{now:s.closed_at}} AND {condition}) AS now, countIf({{before:s.closed_at}} AND {condition}) AS before \
             FROM alerts AS a FINAL INNER JOIN alert_status AS s ON s.alert_id = a.id WHERE a.drill_id = ''"
        )
    };
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
        ask.fact(ask.say("Cảnh báo đã đóng", "Alerts closed"), &closed("true")).await?,
        ask.fact(ask.say("Tấn công thật", "True positives"), &closed("s.verdict = 'true_positive'")).await?,
        ask.fact(ask.say("Báo động giả", "False positives"), &closed("s.verdict = 'false_positive'")).await?,
        ask.fact(ask.say("Sự kiện", "Events"), &rows("events")).await?,
        ask.fact(ask.say("Bản ghi luồng mạng", "Flow records"), &rows("flows")).await?,
    ])
}

/// What wants somebody, first.
async fn open(ask: &Ask<'_>, page: &mut Page) -> Result<()> {
    page.heading(ask.say("Việc còn mở", "What is open"));
    let late = ask
        .table(
        ask.say("Quá hạn xử lý", "Late alerts"),
        &[
            ask.say("Mã", "Id"),
            ask.say("Ưu tiên", "Priority"),
            ask.say("Cảnh báo", "Alert"),
            ask.say("Hệ thống", "System"),
            ask.say("Việc phải làm", "To be done"),
            ask.say("Hạn", "Due"),
        ],
        &[5],
        &format!(
            "SELECT [left(c.alert_id, 12), a.priority, a.rule_title, if(a.system_name = '', '–', a.system_name), {}, \
               toString(toUnixTimestamp64Micro(c.due))] AS cells \
             FROM alert_next AS c INNER JOIN (SELECT * FROM alerts FINAL) AS a ON a.id = c.alert_id \
             WHERE c.due < {{as_of}} AND c.drill_id = '' ORDER BY a.priority, c.due, c.alert_id LIMIT 20",
            clock(ask, "c.clock")
        ),
        )
        .await?;
    page.table(late);
    let silent = ask
        .table(
        ask.say("Nguồn log bắt buộc đang im lặng", "Required log sources that are silent"),
        &[
            ask.say("Hệ thống", "System"),
            ask.say("Cấp độ", "Level"),
            ask.say("Nguồn", "Source"),
            ask.say("Im lặng từ", "Silent since"),
            ask.say("Lần cuối", "Last heard"),
        ],
        &[3, 4],
        "SELECT [if(s.name = '', c.system_id, s.name), toString(s.level), c.source, toString(toUnixTimestamp64Micro(c.silent_since)), \
           toString(toUnixTimestamp64Micro(c.last_stored))] AS cells \
         FROM coverage AS c FINAL LEFT JOIN systems AS s ON s.id = c.system_id \
         WHERE c.system_id != '' AND toUnixTimestamp64Micro(c.silent_since) > 0 AND c.silent_since < {as_of} \
         ORDER BY s.level DESC, c.system_id, c.source LIMIT 100",
        )
        .await?;
    page.table(silent);
    Ok(())
}

async fn alerts(ask: &Ask<'_>, length: Length, page: &mut Page) -> Result<()> {
    page.heading(ask.say("Cảnh báo", "Alerts"));
    page.blocks.push(Block::Columns(columns(ask, length).await?));
    let by = |key: &str| {
        format!(
            "SELECT {key} AS name, {NAMED} {ALERTS} GROUP BY name ORDER BY now DESC, before DESC, name LIMIT 15"
        )
    };
    let by_priority =
        format!("SELECT toString(a.priority) AS name, {NAMED} {ALERTS} GROUP BY name ORDER BY name");
    let severity = ask.say("Mức độ nghiêm trọng", "Severity");
    let (system, technique) = (ask.say("Hệ thống", "System"), ask.say("Kỹ thuật", "Technique"));
    let priority = ask.say("Mức ưu tiên", "Priority");
    page.table(ask.compared(ask.say("Theo mức ưu tiên", "By priority"), priority, &by_priority).await?);
    page.table(
        ask.compared(ask.say("Theo mức độ", "By severity"), severity, &by("toString(a.severity)")).await?,
    );
    let name = ask.lang.pick(
        "if(a.system_name = '', '(chưa phân loại)', a.system_name)",
        "if(a.system_name = '', '(not classified)', a.system_name)",
    );
    page.blocks.push(Block::Bars(
        ask.bars(
            ask.say("Hệ thống bị nhắm tới nhiều nhất", "Systems with the most alerts"),
            system,
            &by(name),
        )
        .await?,
    ));
    page.blocks.push(Block::Bars(
        ask.bars(
            ask.say("Kỹ thuật MITRE ATT&CK", "MITRE ATT&CK techniques"),
            technique,
            &by("arrayJoin(a.techniques)"),
        )
        .await?,
    ));
    let address = "replaceOne(toString(a.src_ip), '::ffff:', '')";
    let source = format!(
        "SELECT {address} AS name, {NAMED} {ALERTS} AND a.src_ip != toIPv6('::') GROUP BY name ORDER BY now DESC, before DESC, name \
         LIMIT 15"
    );
    let attackers = ask.say("Địa chỉ nguồn nhiều cảnh báo nhất", "Source addresses with the most alerts");
    page.table(ask.compared(attackers, ask.say("Địa chỉ", "Address"), &source).await?);
    let rule = by("toString(a.rule_title)");
    page.table(
        ask.compared(ask.say("Luật phát hiện", "Detection rules"), ask.say("Luật", "Rule"), &rule).await?,
    );
    attacked(ask, page).await
}

/// Who was attacked, when, how, by whom, and the line that shows it.
async fn attacked(ask: &Ask<'_>, page: &mut Page) -> Result<()> {
    let table = ask
        .table(
        ask.say("Đối tượng bị tấn công (P1 đến P3)", "What was attacked (P1 to P3)"),
        &[
            ask.say("Lúc", "At"),
            ask.say("Ưu tiên", "Priority"),
            ask.say("Máy chủ", "Host"),
            ask.say("Hệ thống", "System"),
            ask.say("Cảnh báo, kỹ thuật", "Alert, techniques"),
            ask.say("Từ", "From"),
            ask.say("Bằng chứng", "Evidence"),
        ],
        &[0],
        "SELECT [toString(toUnixTimestamp64Micro(a.first_seen)), a.priority, a.host, if(a.system_name = '', '–', a.system_name), \
           concat(a.rule_title, ' ', arrayStringConcat(a.techniques, ' ')), \
           if(a.src_ip = toIPv6('::'), if(a.user = '', '–', a.user), replaceOne(toString(a.src_ip), '::ffff:', '')), \
           leftUTF8(toValidUTF8(if(empty(a.samples), '', a.samples[1])), 160)] AS cells \
         FROM alerts AS a FINAL WHERE a.drill_id = '' AND {now:a.created_at} AND a.priority <= 'P3' \
         ORDER BY a.priority, a.first_seen, a.id LIMIT 200",
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
    let (title, over) = match length {
        Length::Day => (ask.say("Theo giờ và mức ưu tiên", "By hour and priority"), ask.say("Giờ", "Hour")),
        Length::HalfYear => {
            (ask.say("Theo tháng và mức ưu tiên", "By month and priority"), ask.say("Tháng", "Month"))
        }
        _ => (ask.say("Theo ngày và mức ưu tiên", "By day and priority"), ask.say("Ngày", "Day")),
    };
    let labels = starts.into_iter().map(|(_, label)| label).collect();
    Ok(Columns { title: title.to_owned(), over: over.to_owned(), labels, series })
}

/// Where each column begins, and its label.
fn starts(ask: &Ask<'_>, length: Length) -> Result<Vec<(Micros, String)>> {
    let Period { first, .. } = ask.period;
    if length == Length::Day {
        let hours = (ask.to - ask.from) / (4 * QUARTER);
        return Ok((0..hours).map(|hour| (ask.from + hour * 4 * QUARTER, format!("{hour:02}"))).collect());
    }
    let is_start = |day: &Date| length != Length::HalfYear || day.day() == 1 || *day == first;
    let format = if length == Length::HalfYear { "%m/%Y" } else { "%d/%m" };
    let starts = ask.period.days().filter(is_start);
    starts.map(|day| Ok((midnight(day, &ask.zone)?, day.strftime(format).to_string()))).collect()
}

/// The names of clocks in the reader's language, in SQL.
fn clock(ask: &Ask<'_>, column: &str) -> String {
    ask.lang.pick(
        format!("transform({column}, ['acknowledge', 'contain', 'close'], ['tiếp nhận', 'ngăn chặn', 'đóng'], {column})"),
        column.to_owned(),
    )
}

async fn handling(ask: &Ask<'_>, page: &mut Page) -> Result<()> {
    page.heading(ask.say("Xử lý", "Handling"));
    let clocks = ask
        .table(
        ask.say("Đồng hồ phản ứng của cảnh báo trong kỳ", "Response clocks of the period's alerts"),
        &[
            ask.say("Ưu tiên", "Priority"),
            ask.say("Bước", "Step"),
            ask.say("Đúng hạn", "In time"),
            ask.say("Trễ", "Late"),
            ask.say("Chưa xong", "Not yet"),
            ask.say("Trung vị (phút)", "Median (min)"),
        ],
        &[],
        &format!(
            "SELECT [toString(c.priority), {}, toString(countIf(done AND c.done_at <= c.due)), \
               toString(countIf(if(done, c.done_at, {{as_of}}) > c.due)), toString(countIf(NOT done AND c.due >= {{as_of}})), \
               if(countIf(done) = 0, '–', toString(round(quantileExactIf(0.5)(dateDiff('second', c.created_at, c.done_at), done) / 60)))] AS cells \
             FROM (SELECT *, toUnixTimestamp64Micro(done_at) > 0 AS done FROM alert_clocks) AS c \
             WHERE c.drill_id = '' AND {{now:c.created_at}} GROUP BY c.priority, c.clock, c.number ORDER BY c.priority, c.number",
            clock(ask, "c.clock")
        ),
        )
        .await?;
    page.table(clocks);
    let verdicts = "SELECT {name} AS name, countIf({now:s.closed_at}) AS now, countIf({before:s.closed_at}) AS before \
        FROM alerts AS a FINAL INNER JOIN alert_status AS s ON s.alert_id = a.id WHERE a.drill_id = '' AND {both:s.closed_at} \
        GROUP BY name ORDER BY now DESC, name";
    let verdict = ask.lang.pick(
        "transform(s.verdict, ['true_positive', 'false_positive', 'benign', 'duplicate'], \
         ['tấn công thật', 'báo động giả', 'hoạt động hợp lệ', 'trùng lặp'], s.verdict)",
        "s.verdict",
    );
    let verdicts = verdicts.replace("{name}", verdict);
    page.table(
        ask.compared(ask.say("Kết luận khi đóng", "Verdicts"), ask.say("Kết luận", "Verdict"), &verdicts)
            .await?,
    );
    let noisy = ask
        .table(
            ask.say("Luật hay báo động giả", "Rules that were wrong"),
            &[
                ask.say("Luật", "Rule"),
                ask.say("Đã đóng", "Closed"),
                ask.say("Báo động giả", "False positives"),
                ask.say("Tỷ lệ", "Share"),
            ],
            &[],
            "SELECT [any(a.rule_title), toString(count()), toString(countIf(s.verdict = 'false_positive')), \
           concat(toString(round(100 * countIf(s.verdict = 'false_positive') / count())), ' %')] AS cells \
         FROM alerts AS a FINAL INNER JOIN alert_status AS s ON s.alert_id = a.id \
         WHERE a.drill_id = '' AND {now:s.closed_at} AND s.verdict != 'duplicate' GROUP BY a.rule_id \
         HAVING countIf(s.verdict = 'false_positive') > 0 \
         ORDER BY countIf(s.verdict = 'false_positive') DESC, a.rule_id LIMIT 15",
        )
        .await?;
    page.table(noisy);
    Ok(())
}

/// Whether the watch itself was well.
async fn watch(ask: &Ask<'_>, site: &Site<'_>, page: &mut Page) -> Result<()> {
    page.heading(ask.say("Hoạt động giám sát", "The watch itself"));
    let over = |what: &str, table: &str, column: &str, condition: &str| {
        format!(
            "SELECT {what}If({{now:a.{column}}}) AS now, {what}If({{before:a.{column}}}) AS before FROM {table} AS a \
             WHERE {condition} AND {{both:a.{column}}}"
        )
        .replace("uniqExactIf(", "uniqExactIf(a.host, ")
    };
    let v6 = "a.drill_id = '' AND (a.src_ip < toIPv6('::ffff:0:0') OR a.src_ip > toIPv6('::ffff:ffff:ffff'))";
    let facts = vec![
        ask.fact(ask.say("Máy chủ gửi log", "Hosts that report"), &over("uniqExact", "events", "ts", "a.drill_id = ''")).await?,
        ask.fact(
            ask.say("Dòng log không phân tích được", "Lines not understood"),
            &over("count", "events", "ts", "a.drill_id = '' AND a.parse_status = 'raw'"),
        )
        .await?,
        ask.fact(
            ask.say("Bản ghi kho từ chối", "Rows the store refused"),
            &over("count", "dead_letters", "dead_at", "a.drill_id = ''"),
        )
        .await?,
        ask.fact(ask.say("Luồng IPv6", "IPv6 flows"), &over("count", "flows", "ts", v6)).await?,
        ask.fact(
            ask.say("Thông báo không gửi được", "Notifications given up"),
            &over("count", "notifications", "at", "a.outcome = 'gave_up'"),
        )
        .await?,
        ask.fact(
            ask.say("Lần nạp danh mục hệ thống", "Loads of the inventory"),
            "SELECT uniqExactIf(loaded_at, {now:loaded_at}) AS now, uniqExactIf(loaded_at, {before:loaded_at}) AS before \
             FROM systems_history WHERE {both:loaded_at}",
        )
        .await?,
        ask.fact(
            ask.say("Cuộc diễn tập", "Drills"),
            "SELECT uniqExactIf(a.drill_id, {now:a.ts}) AS now, uniqExactIf(a.drill_id, {before:a.ts}) AS before \
             FROM events AS a WHERE a.drill_id != '' AND {both:a.ts}",
        )
        .await?,
    ];
    page.blocks.push(Block::Facts(facts));
    page.table(retention(ask, site).await?);
    Ok(())
}

#[derive(Debug, Deserialize, Row)]
struct Kept {
    level: u8,
    days: u16,
    oldest: Micros,
}

/// Days kept against the least that the decree in force asks.
async fn retention(ask: &Ask<'_>, site: &Site<'_>) -> Result<Table> {
    let sql = "SELECT a.sys_level AS level, min(a.retention_days) AS days, toUnixTimestamp64Micro(min(a.ts)) AS oldest \
        FROM events AS a WHERE a.drill_id = '' AND a.ts < {as_of} GROUP BY level ORDER BY level DESC";
    let kept = ask.reader.rows::<Kept>(&ask.filled(sql), &Filter::default()).await?;
    let decree = site.levels.decrees().in_force(ask.period.first);
    let row = |Kept { level, days, oldest }| {
        let minimum = decree.and_then(|decree| {
            decree
                .retention
                .iter()
                .filter(|minimum| minimum.level == level)
                .max_by_key(|minimum| minimum.days)
        });
        let citation = minimum.and_then(|minimum| minimum.provision.citation.as_ref());
        vec![
            level.to_string(),
            days.to_string(),
            minimum.map_or_else(|| "–".to_owned(), |minimum| minimum.days.to_string()),
            citation.map_or_else(|| "–".to_owned(), |citation| citation.shown(ask.lang)),
            ask.time(oldest),
        ]
    };
    let headings = [
        ask.say("Cấp độ (0: chưa phân loại)", "Level (0: not classified)"),
        ask.say("Số ngày lưu", "Days kept"),
        ask.say("Tối thiểu", "Minimum"),
        ask.say("Căn cứ", "By"),
        ask.say("Sự kiện cũ nhất", "Oldest event"),
    ];
    Ok(Table {
        title: ask.say("Thời gian lưu log", "How long logs are kept").to_owned(),
        headings: headings.map(str::to_owned).to_vec(),
        rows: kept.into_iter().map(row).collect(),
        empty: ask.say("Chưa có sự kiện nào.", "No events yet.").to_owned(),
    })
}

async fn links(ask: &Ask<'_>, site: &Site<'_>, page: &mut Page) -> Result<()> {
    if site.inventory.links().is_empty() {
        return Ok(());
    }
    page.heading(ask.say("Đường truyền", "Lines"));
    let mut rows = Vec::new();
    for link in site.inventory.links() {
        let days = link_days(ask.reader, link, &ask.zone, ask.period.first, ask.period.end).await?;
        let worst = days.iter().max_by(|one, other| one.percent.total_cmp(&other.percent));
        let state = match crate::link::state(&days) {
            State::Unknown => ask.say("không có số liệu", "nothing seen"),
            State::Well => ask.say("tốt", "well"),
            State::Full => ask.say("đầy", "full"),
            State::TooSmall => ask.say("quá tải", "too small"),
        };
        rows.push(vec![
            link.name.clone(),
            link.mbps.to_string(),
            link.mbps_min.to_string(),
            worst.map_or_else(String::new, |day| format!("{:.0} %", day.percent)),
            worst.filter(|day| day.samples > 0).map_or_else(|| "–".to_owned(), |day| shown(day.date)),
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
        empty: String::new(),
    });
    Ok(())
}
