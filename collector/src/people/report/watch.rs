//! What a report says of the watch itself: who reports and who fell silent, what was lost, what hunts and indicators found, how long
//! logs are kept.

use anyhow::Result;
use clickhouse::Row;
use event::Micros;
use serde::Deserialize;

use crate::people::books::Books;
use crate::people::filter::Filter;
use crate::people::report::ask::{Ask, Column};
use crate::people::report::drills;
use crate::people::report::page::{Block, Page, Table, number};
use crate::people::report::periodic::{SILENT_MAX, TOP_MAX};

use Column::{Number, Text, Time};

/// Rows that the table of hunts holds; there are six that ship.
const HUNTS_MAX: usize = 50;

/// An alert by an indicator: the file of what names it is its feed, not a rule.
const IS_INDICATOR: &str = "(a.rule_path != '' AND NOT match(a.rule_path, '[.]ya?ml$'))";
/// An event that a hunt found. Each run of one ends with an event of its own, which is no finding.
const IS_FINDING: &str = "(a.kind = 'hunt' AND a.fields['hunt'] != '')";
/// An event that a host sent, and no hunt made.
const IS_LOG: &str = "(a.kind != 'hunt' AND a.host != '')";

pub(super) async fn section(ask: &Ask<'_>, site: &Books, page: &mut Page) -> Result<()> {
    page.heading(ask.say("Hoạt động giám sát", "The watch itself"));
    let over = |what: &str, from: &str, column: &str, condition: &str| {
        format!(
            "SELECT {what}If({{now:a.{column}}}) AS now, {what}If({{before:a.{column}}}) AS before FROM {from} \
             WHERE a.drill_id = '' AND {condition} AND {{both:a.{column}}}"
        )
        .replace("uniqExactIf(", "uniqExactIf(a.host, ")
    };
    let events = |what: &str, condition: &str| over(what, "events AS a", "ts", condition);
    let alerts = |condition: &str| over("count", "alerts AS a FINAL", "created_at", condition);
    let v6 = "(a.src_ip < toIPv6('::ffff:0:0') OR a.src_ip > toIPv6('::ffff:ffff:ffff'))";
    let facts = vec![
        ask.fact(
            ask.say("Máy chủ gửi log", "Hosts that report"),
            &events("uniqExact", IS_LOG),
        )
        .await?,
        ask.fact(
            ask.say("Dòng log không phân tích được", "Lines not understood"),
            &events("count", "a.parse_status = 'raw'"),
        )
        .await?,
        ask.alarm(
            ask.say("Đứt quãng log của agent", "Gaps in what agents sent"),
            &alerts("a.rule_id = 'vonggac-sequence-gap'"),
        )
        .await?,
        ask.alarm(
            ask.say("Bản ghi kho từ chối", "Rows the store refused"),
            &over("count", "dead_letters AS a FINAL", "dead_at", "true"),
        )
        .await?,
        ask.fact(
            ask.say("Phát hiện từ săn tìm", "Findings of hunts"),
            &events("count", IS_FINDING),
        )
        .await?,
        ask.fact(
            ask.say("Cảnh báo từ chỉ dấu tấn công", "Alerts by indicators"),
            &alerts(IS_INDICATOR),
        )
        .await?,
        ask.fact(ask.say("Luồng IPv6", "IPv6 flows"), &over("count", "flows AS a", "ts", v6)).await?,
        ask.alarm(
            ask.say("Thông báo không gửi được", "Notifications given up"),
            "SELECT countIf({now:a.at}) AS now, countIf({before:a.at}) AS before FROM notifications AS a \
             WHERE a.outcome = 'gave_up' AND {both:a.at}",
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
            &drills::counted(),
        )
        .await?,
    ];
    page.blocks.push(Block::Facts(facts));
    page.table(gone(ask).await?);
    page.table(lost(ask).await?);
    page.table(indicators(ask).await?);
    page.table(hunts(ask).await?);
    page.table(retention(ask, site).await?);
    Ok(())
}

/// Hosts that reported in this period or the one before, and had been silent for more than a day at its end.
async fn gone(ask: &Ask<'_>) -> Result<Table> {
    ask.table(
        ask.say("Máy chủ im lặng hơn một ngày ở cuối kỳ", "Hosts that had been silent for more than a day at the end"),
        &[
            Text(ask.say("Máy chủ", "Host")),
            Text(ask.say("Hệ thống", "System")),
            Time(ask.say("Lần cuối", "Last heard")),
            Number(ask.say("Sự kiện kỳ này", "Events this period")),
            Number(ask.say("Sự kiện kỳ trước", "Events in the period before")),
        ],
        SILENT_MAX,
        &format!(
            "SELECT [e.host, if(s.name = '', if(e.system_id = '', '–', e.system_id), s.name), toString(toUnixTimestamp64Micro(e.last)), \
               toString(e.now), toString(e.before)] AS cells \
             FROM (SELECT a.host AS host, argMax(a.system_id, a.ts) AS system_id, max(a.ts) AS last, countIf({{now:a.ts}}) AS now, \
                 countIf({{before:a.ts}}) AS before \
               FROM events AS a WHERE a.drill_id = '' AND {IS_LOG} AND {{both:a.ts}} AND a.ts < {{as_of}} GROUP BY a.host \
               HAVING last < {{as_of}} - INTERVAL 1 DAY) AS e \
             LEFT JOIN (SELECT id, any(name) AS name FROM systems GROUP BY id) AS s ON s.id = e.system_id ORDER BY e.last DESC, e.host"
        ),
    )
    .await
}

/// Of which agents batches never came, and of whom the store refused what.
async fn lost(ask: &Ask<'_>) -> Result<Table> {
    let (batches, rows) = ask.lang.pick(
        ("Lần đứt quãng trong dãy lô đã gửi", "Bản ghi kho từ chối"),
        ("Gaps in the batches that it sent", "Rows the store refused"),
    );
    ask.table(
        ask.say("Dữ liệu bị mất hoặc bị từ chối", "What was lost or refused"),
        &[
            Text(ask.say("Agent", "Agent")),
            Text(ask.say("Điều gì", "What")),
            Number(ask.say("Số lượng", "How many")),
            Time(ask.say("Lần đầu", "First")),
            Time(ask.say("Lần cuối", "Last")),
        ],
        TOP_MAX,
        &format!(
            "SELECT [agent, what, toString(sum(x.many)), toString(toUnixTimestamp64Micro(min(x.at))), \
               toString(toUnixTimestamp64Micro(max(x.at)))] AS cells \
             FROM (SELECT a.host AS agent, '{batches}' AS what, a.created_at AS at, a.hits AS many \
               FROM alerts AS a FINAL WHERE a.drill_id = '' AND a.rule_id = 'vonggac-sequence-gap' AND {{now:a.created_at}} \
               UNION ALL SELECT toString(a.agent) AS agent, '{rows}' AS what, a.dead_at AS at, toUInt64(1) AS many \
               FROM dead_letters AS a FINAL WHERE a.drill_id = '' AND {{now:a.dead_at}}) AS x \
             GROUP BY agent, what ORDER BY sum(x.many) DESC, agent, what"
        ),
    )
    .await
}

/// Which indicators were met, where, and how often.
async fn indicators(ask: &Ask<'_>) -> Result<Table> {
    ask.table(
        ask.say("Chỉ dấu tấn công đã gặp", "Indicators that were met"),
        &[
            Text(ask.say("Nguồn, chỉ dấu", "Feed, indicator")),
            Text(ask.say("Hệ thống", "Systems")),
            Text(ask.say("Máy chủ", "Hosts")),
            Number(ask.say("Lần khớp", "Hits")),
            Time(ask.say("Lần đầu", "First")),
            Time(ask.say("Lần cuối", "Last")),
        ],
        TOP_MAX,
        &format!(
            "SELECT [replaceOne(any(a.rule_title), 'Indicator: ', ''), \
               arrayStringConcat(arraySort(groupUniqArrayIf(5)(a.system_name, a.system_name != '')), ', '), \
               arrayStringConcat(arraySort(groupUniqArrayIf(5)(a.host, a.host != '')), ', '), toString(sum(a.hits)), \
               toString(toUnixTimestamp64Micro(min(a.first_seen))), toString(toUnixTimestamp64Micro(max(a.last_seen)))] AS cells \
             FROM alerts AS a FINAL WHERE a.drill_id = '' AND {{now:a.created_at}} AND {IS_INDICATOR} GROUP BY a.rule_id \
             ORDER BY sum(a.hits) DESC, a.rule_id"
        ),
    )
    .await
}

/// How often each hunt ran, and what it found.
async fn hunts(ask: &Ask<'_>) -> Result<Table> {
    ask.table(
        ask.say("Săn tìm theo lịch", "Hunts"),
        &[
            Text(ask.say("Cuộc săn tìm", "Hunt")),
            Number(ask.say("Số lần chạy", "Runs")),
            Number(ask.say("Phát hiện kỳ này", "Findings this period")),
            Number(ask.say("Phát hiện kỳ trước", "Findings in the period before")),
        ],
        HUNTS_MAX,
        &format!(
            "SELECT [if(max(a.title) = '', a.name, max(a.title)), toString(countIf(NOT a.found AND {{now:a.ts}})), \
               toString(countIf(a.found AND {{now:a.ts}})), toString(countIf(a.found AND {{before:a.ts}}))] AS cells \
             FROM (SELECT a.ts AS ts, {IS_FINDING} AS found, a.fields['hunt_title'] AS title, \
                 if(found, a.fields['hunt'], a.fields['hunt_run']) AS name \
               FROM events AS a WHERE a.drill_id = '' AND a.kind = 'hunt' AND {{both:a.ts}}) AS a \
             WHERE a.name != '' GROUP BY a.name ORDER BY countIf(a.found AND {{now:a.ts}}) DESC, a.name"
        ),
    )
    .await
}

#[derive(Debug, Deserialize, Row)]
struct Kept {
    level: u8,
    days: u16,
    oldest: Micros,
}

/// Days kept against the least that the decree in force asks.
async fn retention(ask: &Ask<'_>, site: &Books) -> Result<Table> {
    let sql = "SELECT a.sys_level AS level, min(a.retention_days) AS days, toUnixTimestamp64Micro(min(a.ts)) AS oldest \
        FROM events AS a WHERE a.drill_id = '' AND a.ts < {as_of} GROUP BY level ORDER BY level DESC";
    let kept = ask.reader.rows::<Kept>(&ask.filled(sql), &Filter::default()).await?;
    let decree = site.levels.decrees().in_force(ask.last_day()?);
    let least = |kept: &Kept| decree.and_then(|decree| decree.retention_minimum(kept.level));
    let is_short = |(_, kept): &(usize, &Kept)| least(kept).is_some_and(|least| kept.days < least.days);
    let bad = kept.iter().enumerate().filter(is_short).map(|(place, _)| place).collect();
    let row = |kept: Kept| {
        let minimum = least(&kept);
        let Kept { level, days, oldest } = kept;
        let citation = minimum.and_then(|minimum| minimum.provision.citation.as_ref());
        let doubt = minimum.is_some_and(|minimum| minimum.provision.unsure.is_some());
        let doubt = if doubt { ask.say(" [chưa chắc chắn]", " [unsure]") } else { "" };
        vec![
            level.to_string(),
            number(days.into(), ask.lang),
            minimum.map_or_else(|| "–".to_owned(), |minimum| number(minimum.days.into(), ask.lang)),
            citation.map_or_else(|| "–".to_owned(), |citation| citation.shown(ask.lang) + doubt),
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
        bad,
        empty: ask.say("Chưa có sự kiện nào.", "No events yet.").to_owned(),
        ..Table::default()
    })
}
