//! The report of drills: which runs there were, what they made, what of it was found, how soon. The score of a run is what
//! `vonggac drill run` printed: the store does not keep it.

use anyhow::Result;

use crate::people::report::ask::Ask;
use crate::people::report::page::{Block, Fact, Page, Table};

pub(super) async fn page(ask: &Ask<'_>) -> Result<Page> {
    let mut page = Page {
        language: ask.lang.pick("vi", "en"),
        title: ask.say("Báo cáo diễn tập", "Report of drills").to_owned(),
        subtitle: ask.period.shown(ask.lang),
        blocks: Vec::new(),
    };
    page.blocks.push(Block::Facts(facts(ask).await?));
    page.table(runs(ask).await?);
    page.table(found(ask).await?);
    let techniques = "SELECT arrayJoin(a.techniques) AS name, countIf({now:a.created_at}) AS now, countIf({before:a.created_at}) AS before \
        FROM alerts AS a FINAL WHERE a.drill_id != '' AND {both:a.created_at} GROUP BY name ORDER BY now DESC, name LIMIT 25";
    page.blocks.push(Block::Bars(
        ask.bars(
            ask.say("Kỹ thuật MITRE ATT&CK", "MITRE ATT&CK techniques"),
            ask.say("Kỹ thuật", "Technique"),
            techniques,
        )
        .await?,
    ));
    Ok(page)
}

async fn facts(ask: &Ask<'_>) -> Result<Vec<Fact>> {
    let alerts = "FROM alerts AS a FINAL WHERE a.drill_id != '' AND {both:a.created_at}";
    Ok(vec![
        ask.fact(
            ask.say("Cuộc diễn tập", "Runs"),
            "SELECT uniqExactIf(a.drill_id, {now:a.ts}) AS now, uniqExactIf(a.drill_id, {before:a.ts}) AS before FROM events AS a \
             WHERE a.drill_id != '' AND {both:a.ts}",
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

async fn runs(ask: &Ask<'_>) -> Result<Table> {
    ask
        .table(
        ask.say("Các cuộc diễn tập", "Runs"),
        &[
            ask.say("Diễn tập", "Drill"),
            ask.say("Bắt đầu", "Began"),
            ask.say("Cảnh báo đầu tiên", "First alert"),
            ask.say("Cảnh báo", "Alerts"),
            "P1",
            "P2",
            "P3",
            ask.say("Luật", "Rules"),
            ask.say("Hệ thống", "Systems"),
        ],
        &[1, 2],
        "SELECT [a.drill_id, toString(toUnixTimestamp64Micro(min(a.first_seen))), toString(toUnixTimestamp64Micro(min(a.created_at))), \
           toString(count()), toString(countIf(a.priority = 'P1')), toString(countIf(a.priority = 'P2')), \
           toString(countIf(a.priority = 'P3')), toString(uniqExact(a.rule_id)), toString(uniqExact(a.system_id))] AS cells \
         FROM alerts AS a FINAL WHERE a.drill_id != '' AND {now:a.created_at} GROUP BY a.drill_id \
         ORDER BY min(a.created_at), a.drill_id LIMIT 200",
        )
        .await
}

async fn found(ask: &Ask<'_>) -> Result<Table> {
    ask
        .table(
        ask.say("Đã phát hiện", "What was found"),
        &[
            ask.say("Diễn tập", "Drill"),
            ask.say("Luật", "Rule"),
            ask.say("Mức độ", "Severity"),
            ask.say("Kỹ thuật", "Techniques"),
            ask.say("Cảnh báo", "Alerts"),
            ask.say("Lần khớp", "Hits"),
        ],
        &[],
        "SELECT [a.drill_id, any(a.rule_title), any(a.severity), arrayStringConcat(any(a.techniques), ' '), toString(count()), \
           toString(sum(a.hits))] AS cells \
         FROM alerts AS a FINAL WHERE a.drill_id != '' AND {now:a.created_at} GROUP BY a.drill_id, a.rule_id \
         ORDER BY a.drill_id, min(a.created_at), a.rule_id LIMIT 500",
        )
        .await
}
