//! The report of drills: which runs there were, what they made, what of it was found, how soon, and how each was scored.
//!
//! A run is there when anything of it is stored or when it was scored, whether or not anything was found of it: one that raised no
//! alert is what a drill is made to show. Scores are those that `vonggac drill run` stored at its end; a run that was broken off has none.

use anyhow::Result;

use crate::people::report::ask::{Ask, Column, cells};
use crate::people::report::page::{Block, Fact, Page, Table};
use crate::people::report::words::severity;

use Column::{Number, Text, Time};

/// Runs, and rules of runs, that a table holds.
const RUNS_MAX: usize = 200;
const FOUND_MAX: usize = 500;
const TECHNIQUES_MAX: usize = 25;

pub(super) async fn page(ask: &Ask<'_>) -> Result<Page> {
    let mut page = Page {
        lang: ask.lang,
        title: ask.say("Báo cáo diễn tập", "Report of drills").to_owned(),
        subtitle: ask.subtitle(),
        blocks: Vec::new(),
    };
    page.blocks.push(Block::Facts(facts(ask).await?));
    page.table(runs(ask).await?);
    page.table(found(ask).await?);
    let techniques = "SELECT arrayJoin(a.techniques) AS name, countIf({now:a.created_at}) AS now, countIf({before:a.created_at}) AS before \
        FROM alerts AS a FINAL WHERE a.drill_id != '' AND {both:a.created_at} GROUP BY name ORDER BY now DESC, name";
    page.blocks.push(Block::Bars(
        ask.bars(
            ask.say("Kỹ thuật MITRE ATT&CK", "MITRE ATT&CK techniques"),
            ask.say("Kỹ thuật", "Technique"),
            TECHNIQUES_MAX,
            techniques,
        )
        .await?,
    ));
    Ok(page)
}

/// The runs of both periods: when each began, and how much of it is stored. What shows that there was one are its events, its flows, or
/// that it was scored; of one that lost everything there is the score alone. A run is of the period in which it began, though it went
/// on behind its end; the day before both is looked at for what began there.
const RUNS: &str = "SELECT x.drill_id AS id, min(x.ts) AS began, sum(x.stored) AS events FROM ( \
      SELECT drill_id, ts, 1 AS stored FROM events WHERE drill_id != '' AND {around:ts} \
      UNION ALL SELECT drill_id, ts, 1 AS stored FROM flows WHERE drill_id != '' AND {around:ts} \
      UNION ALL SELECT drill_id, began_at AS ts, 0 AS stored FROM drill_scores WHERE {around:began_at}) AS x GROUP BY id";

/// How many runs there were.
pub(super) fn counted() -> String {
    format!(
        "SELECT countIf({{now:e.began}}) AS now, countIf({{before:e.began}}) AS before FROM ({RUNS}) AS e"
    )
}

async fn facts(ask: &Ask<'_>) -> Result<Vec<Fact>> {
    let alerts = "FROM alerts AS a FINAL WHERE a.drill_id != '' AND {both:a.created_at}";
    Ok(vec![
        ask.fact(
            ask.say("Cuộc diễn tập", "Runs"),
            &counted(),
        )
        .await?,
        ask.fact(
            ask.say("Sự kiện diễn tập", "Events of drills"),
            "SELECT countIf({now:a.ts}) AS now, countIf({before:a.ts}) AS before FROM events AS a \
             WHERE a.drill_id != '' AND {both:a.ts}",
        )
        .await?,
        ask.fact(
            ask.say("Cảnh báo", "Alerts"),
            &format!("SELECT countIf({{now:a.created_at}}) AS now, countIf({{before:a.created_at}}) AS before {alerts}"),
        )
        .await?,
        ask.alarm(
            ask.say("Cuộc không có cảnh báo", "Runs without an alert"),
            &format!(
                "SELECT countIf({{now:e.began}}) AS now, countIf({{before:e.began}}) AS before FROM ({RUNS}) AS e \
                 WHERE e.id NOT IN (SELECT drill_id FROM alerts WHERE drill_id != '' AND created_at < {{as_of}})"
            ),
        )
        .await?,
        ask.alarm(
            ask.say("Cuộc không đạt", "Runs that failed"),
            "SELECT countIf({now:a.began_at}) AS now, countIf({before:a.began_at}) AS before FROM drill_scores AS a \
             WHERE NOT a.passed AND {both:a.began_at}",
        )
        .await?,
        ask.fact(
            ask.say("Kỹ thuật được phát hiện", "Techniques found"),
            &format!(
                "SELECT length(groupUniqArrayArrayIf(a.techniques, {{now:a.created_at}})) AS now, \
                   length(groupUniqArrayArrayIf(a.techniques, {{before:a.created_at}})) AS before {alerts}"
            ),
        )
        .await?,
    ])
}

/// By the score as it was stored, and by what the store holds of the run. One that raised no alert, or that failed, wants somebody.
async fn runs(ask: &Ask<'_>) -> Result<Table> {
    let verdict = ask.lang.pick(
        "multiIf(s.drill = '', 'chưa chấm điểm', s.passed, 'ĐẠT', 'KHÔNG ĐẠT')",
        "multiIf(s.drill = '', 'not scored', s.passed, 'PASSED', 'FAILED')",
    );
    let cells = cells(
        &format!(
            "e.id, toString(toUnixTimestamp64Micro(e.began)), toString(e.events), \
             toString(toUnixTimestamp64Micro(a.first)), toString(a.alerts), toString(a.rules), \
             if(s.drill = '', '–', concat(toString(s.detected), ' / ', toString(s.detected + s.missed))), \
             if(s.drill = '', '–', toString(s.false_alerts)), if(s.drill = '' OR s.p50_ms < 0, '–', toString(s.p50_ms)), {verdict}"
        ),
        "a.alerts = 0 OR (s.drill != '' AND NOT s.passed)",
    );
    ask.table(
        ask.say("Các cuộc diễn tập", "Runs"),
        &[
            Text(ask.say("Diễn tập", "Drill")),
            Time(ask.say("Bắt đầu", "Began")),
            Number(ask.say("Sự kiện", "Events")),
            Time(ask.say("Cảnh báo đầu tiên", "First alert")),
            Number(ask.say("Cảnh báo", "Alerts")),
            Number(ask.say("Luật", "Rules")),
            Text(ask.say("Bước phát hiện được", "Steps detected")),
            Number(ask.say("Báo động giả", "False alerts")),
            Number(ask.say("Trung vị đến cảnh báo (ms)", "Median to alert (ms)")),
            Text(ask.say("Kết quả", "Result")),
        ],
        RUNS_MAX,
        &format!(
            "SELECT {cells} FROM ({RUNS}) AS e \
             LEFT JOIN (SELECT drill_id, min(created_at) AS first, count() AS alerts, uniqExact(rule_id) AS rules \
                 FROM alerts FINAL WHERE drill_id != '' AND created_at < {{as_of}} GROUP BY drill_id) AS a ON a.drill_id = e.id \
             LEFT JOIN drill_scores AS s ON s.drill_id = e.id WHERE {{now:e.began}} \
             ORDER BY e.began, e.id"
        ),
    )
    .await
}

async fn found(ask: &Ask<'_>) -> Result<Table> {
    let severity = severity(ask.lang, "any(a.severity)");
    ask.table(
        ask.say("Đã phát hiện", "What was found"),
        &[
            Text(ask.say("Diễn tập", "Drill")),
            Text(ask.say("Luật", "Rule")),
            Text(ask.say("Mức độ", "Severity")),
            Text(ask.say("Kỹ thuật", "Techniques")),
            Number(ask.say("Cảnh báo", "Alerts")),
            Number(ask.say("Lần khớp", "Hits")),
        ],
        FOUND_MAX,
        &format!(
            "SELECT [a.drill_id, any(a.rule_title), {severity}, arrayStringConcat(any(a.techniques), ' '), toString(count()), \
               toString(sum(a.hits))] AS cells \
             FROM alerts AS a FINAL WHERE a.drill_id != '' AND {{now:a.created_at}} GROUP BY a.drill_id, a.rule_id \
             ORDER BY a.drill_id, min(a.created_at), a.rule_id"
        ),
    )
    .await
}
