//! What an earlier collector left behind: the store is asked, because what that collector knew is gone with it.
//!
//! - At the start nothing is let in while an insert of the earlier collector still runs: it would be invisible to the
//!   questions below and be there a moment later.
//! - A batch that may have been sent before is looked up by its identity, the host and the time range of its events: that
//!   reads a few granules.
//! - Alerts that were touched of late are opened again, with the numbers of the batches that they count.
//! - Dead letters of that time are told again: those that an alert counts are counted by it, of the others nobody knows yet.
//! - Of log sources it is asked when they reported, and which silences were told.
//! - Correlations get back what their windows held: the events that their rules matched, as far back as decides what fires
//!   next (`Engine::reach`), but at most [`RECALL_MAX`] and [`RECALLED_MAX`] of them. A window that is longer starts with these.
//!   They come in the order of the events' time: where events were late, a correlation of correlations may take a firing for
//!   new that was not.
//!
//! Every question is repeated until the store answers. What it refuses for good (a table, or a right that is missing) stops the
//! start; while the collector runs such a question is repeated, too ([`insist`]), because rights are mended and nothing may be
//! lost.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use clickhouse::error::Error;
use clickhouse::{Client, Row};
use detect::{Engine, EventKey, Kind, Rule};
use event::{Event, LogSource, Micros, ParseStatus, TsQuality, Value};
use serde::Deserialize;
use thiserror::Error;

use crate::admit::{EPOCHS_MAX, Origin};
use crate::alert::Notice;
use crate::ask::{ANSWER_TIMEOUT, ANSWER_TIMEOUT_MAX, bounded, within};
use crate::batch::{Identity, SenderKind};
use crate::coverage::CoverageRow;
use crate::dead_letter;
use crate::flow_row::FlowColumn;
use crate::grouping::{AlertRow, IDLE_MAX, OPEN_MAX};
use crate::insert;
use crate::log::said;
use crate::row::{Filler, Table, VALUES_SEPARATOR, address_text};

/// First and longest wait between two tries of a question: a restarted embedded store answers after half a second, and a log in
/// which one line comes after the other for hours cannot be read.
const WAIT_FIRST: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(10);
/// ClickHouse's codes for what no second try mends: UNKNOWN_IDENTIFIER, UNKNOWN_TABLE, UNKNOWN_DATABASE, READONLY, ACCESS_DENIED,
/// AUTHENTICATION_FAILED.
const FINAL: [u32; 6] = [47, 60, 81, 164, 497, 516];
/// Between two looks whether inserts still run.
const LOOK: Duration = Duration::from_millis(200);
/// An insert of a collector that is gone ends when its connection does. One that is still there after this has hung.
const QUIET_TIMEOUT: Duration = Duration::from_secs(60);

/// How far back the windows of correlations are filled again at most, by the events' time: that reads the newest parts only,
/// and of a backlog it leaves out what is older.
const RECALL_MAX: Micros = 24 * 3600 * 1_000_000;
/// Events that are recalled at most, the newest first: by estimate 100 MB while they are on their way to the correlator.
const RECALLED_MAX: usize = 200_000;

/// Batches of which dead letters are told again at most, the last first: far more than the notices that may be under way.
const DEAD_BATCHES_MAX: u64 = 10_000;

/// Why the store is not ready for this collector.
#[derive(Debug, Error)]
pub enum RecoverError {
    #[error(
        "{running} inserts into {database} still run after {} s: another collector writes to it, or they hang",
        QUIET_TIMEOUT.as_secs()
    )]
    Busy { database: String, running: u64 },
    #[error("the store does not say {what}: {reason}")]
    Refused { what: &'static str, reason: String },
}

/// How far an agent is stored.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Row)]
pub(crate) struct AgentSeq {
    pub(crate) agent: String,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    /// It is an agent, and no drill's: it is missed when it is silent.
    pub(crate) is_missed: bool,
}

/// Waits until no insert into the database runs.
pub(crate) async fn until_quiet(client: &Client, database: &str) -> Result<(), RecoverError> {
    let sql = "SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND current_database = ?";
    let deadline = tokio::time::Instant::now() + QUIET_TIMEOUT;
    loop {
        let running: u64 =
            answer("which inserts run", client, |client| client.query(sql).bind(database).fetch_one())
                .await?;
        if running == 0 {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(RecoverError::Busy { database: database.to_owned(), running });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The records of a batch that the store has, as events, as flows or as dead letters. `range` holds the times of its events.
pub(crate) async fn stored_records(
    client: &Client,
    identity: &Identity,
    range: &RangeInclusive<Micros>,
) -> Result<Vec<u32>, RecoverError> {
    let of_table = |table: &str| {
        format!(
            "SELECT record FROM {table} WHERE host = ? AND agent = ? AND epoch = ? AND seq = ? \
                AND ts BETWEEN fromUnixTimestamp64Micro(?, 'UTC') AND fromUnixTimestamp64Micro(?, 'UTC') UNION ALL "
        )
    };
    let tables: String = Table::ALL.map(|table| of_table(table.as_str())).concat();
    let sql = tables + "SELECT record FROM dead_letters WHERE agent = ? AND epoch = ? AND seq = ?";
    let Identity { agent, epoch, seq } = identity;
    answer("what it has of a batch that was sent again", client, |client| {
        let query = Table::ALL.iter().fold(client.query(&sql), |query, _| {
            let query = query.bind(agent).bind(agent).bind(epoch).bind(seq);
            query.bind(range.start()).bind(range.end())
        });
        query.bind(agent).bind(epoch).bind(seq).fetch_all()
    })
    .await
}

/// The alerts that may get further hits.
pub(crate) async fn open_alerts(client: &Client, now: Micros) -> Result<Vec<AlertRow>, RecoverError> {
    let since = u64::try_from(now.saturating_sub(IDLE_MAX)).unwrap_or_default();
    let sql = "SELECT ?fields FROM alerts FINAL WHERE version >= ? ORDER BY version DESC LIMIT ?";
    let limit = u64::try_from(OPEN_MAX).unwrap_or(u64::MAX);
    answer("which alerts are open", client, |client| client.query(sql).bind(since).bind(limit).fetch_all())
        .await
}

/// When the inventory that was loaded last was, and its digest; none when the store has none.
pub(crate) async fn last_inventory(client: &Client) -> Result<Option<(Micros, String)>, RecoverError> {
    let sql = "SELECT toUnixTimestamp64Micro(loaded_at), digest FROM systems_history ORDER BY loaded_at DESC LIMIT 1";
    answer("which inventory it has", client, |client| client.query(sql).fetch_optional()).await
}

/// What is known of log sources.
pub(crate) async fn coverage(client: &Client) -> Result<Vec<CoverageRow>, RecoverError> {
    answer("which log sources reported", client, |client| {
        client.query("SELECT ?fields FROM coverage FINAL").fetch_all()
    })
    .await
}

/// What the store refused of a batch.
#[derive(Clone, Debug, Deserialize, Row)]
struct Dead {
    agent: String,
    epoch: u64,
    seq: u64,
    source: String,
    drill: String,
    rows: u64,
    at: Micros,
}

/// The dead letters of batches, as far back as alerts are opened again, of the last [`DEAD_BATCHES_MAX`].
pub(crate) async fn dead_letters(client: &Client, now: Micros) -> Result<Vec<Notice>, RecoverError> {
    let since = now.saturating_sub(IDLE_MAX);
    let sql = "SELECT agent, epoch, seq, any(d.source) AS source, toString(any(d.drill_id)) AS drill, uniqExact(d.record) AS rows, \
            max(d.dead_at) AS at \
        FROM dead_letters AS d WHERE dead_at >= fromUnixTimestamp64Micro(?, 'UTC') AND d.source != ? \
        GROUP BY agent, epoch, seq ORDER BY at DESC LIMIT ?";
    let ask = |client: &Client| {
        client.query(sql).bind(since).bind(dead_letter::ALERTS).bind(DEAD_BATCHES_MAX).fetch_all()
    };
    let dead: Vec<Dead> = answer("which dead letters it has", client, ask).await?;
    let notice = |Dead { agent, epoch, seq, source, drill, rows, at }: Dead| {
        let identity = Identity { agent, epoch, seq };
        let origin = Arc::new(Origin { identity, source, drill_id: drill, received: at });
        Notice::DeadLetters { origin, rows: usize::try_from(rows).unwrap_or(usize::MAX), at }
    };
    Ok(dead.into_iter().map(notice).collect())
}

/// How far each agent is stored, in the epochs that it used last, the oldest first. Nothing but these is held in the store's
/// memory at once, however many epochs there are.
pub(crate) async fn agents(client: &Client) -> Result<Vec<AgentSeq>, RecoverError> {
    let sql = format!(
        "SELECT agent, last.2 AS epoch, last.3 AS seq, last.4 AS is_missed FROM (SELECT agent, arrayJoin(groupArraySorted({EPOCHS_MAX})( \
            (-toUnixTimestamp64Micro(last_seen), epoch, seq, toBool(sender = ? AND drill_id = '')))) AS last \
        FROM agents FINAL WHERE sender != ? GROUP BY agent) ORDER BY last.1 DESC"
    );
    let ask = |client: &Client| {
        let query = client.query(&sql).bind(SenderKind::Agent.as_str());
        query.bind(SenderKind::Otlp.as_str()).fetch_all()
    };
    answer("how far each agent is stored", client, ask).await
}

/// An event that rules of correlations matched.
#[derive(Clone, Debug, Deserialize, Row)]
struct Recalled {
    agent: String,
    epoch: u64,
    seq: u64,
    record: u32,
    ts: Micros,
    drill: String,
    service: String,
    rules: Vec<String>,
    /// Columns as text, by name.
    columns: Vec<(String, String)>,
    /// Native fields that fill no column.
    fields: Vec<(String, String)>,
}

/// The hits that the windows of correlations held, oldest first.
pub(crate) async fn correlated_hits(
    client: &Client,
    engine: &Engine,
    filler: &Filler,
    now: Micros,
) -> Result<Vec<detect::Hit>, RecoverError> {
    let material = |rule: &&Arc<Rule>| rule.kind == Kind::Detection && engine.is_correlated(rule);
    let rules: Vec<&Arc<Rule>> = engine.rules().iter().filter(material).collect();
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = rules.iter().map(|rule| &*rule.id).collect();
    let since = now.saturating_sub(engine.reach().min(RECALL_MAX));
    let limit = u64::try_from(RECALLED_MAX).unwrap_or(u64::MAX);
    let mut events = Vec::new();
    for table in Table::ALL {
        let sql = recall_sql(engine, filler, &rules, table);
        let ask =
            |client: &Client| client.query(&sql).bind(since).bind(&ids).bind(limit).fetch_all::<Recalled>();
        events.extend(answer("what windows of correlations held", client, ask).await?);
    }
    events.sort_by_key(|event| (event.ts, event.seq, event.record));
    let newest = events.len().saturating_sub(RECALLED_MAX);
    let hits = events.iter().skip(newest).flat_map(|event| {
        let matched = rules.iter().filter(|rule| event.rules.contains(&rule.id));
        matched.filter_map(|rule| event.hit(engine, rule, filler))
    });
    Ok(hits.collect())
}

fn recall_sql(engine: &Engine, filler: &Filler, rules: &[&Arc<Rule>], table: Table) -> String {
    let names = rules.iter().flat_map(|rule| engine.correlation_keys(rule));
    let (columns, service): (BTreeSet<&str>, _) = match table {
        Table::Events => (names.flat_map(|name| filler.columns_of(name)).collect(), "service"),
        Table::Flows => (names.filter_map(|name| FlowColumn::named(name)).collect(), "'flow'"),
    };
    let table = table.as_str();
    // An address stands in its column as IPv6, in the line as it was.
    let pairs = columns.iter().map(|name| format!("'{name}', {}", address_text(name)));
    let pairs = pairs.collect::<Vec<_>>().join(", ");
    format!(
        "SELECT agent, epoch, seq, record, ts, toString(drill_id) AS drill, toString({service}) AS service, rules, \
            CAST(map({pairs}), 'Map(String, String)') AS columns, CAST(fields, 'Map(String, String)') AS fields \
        FROM {table} WHERE ts >= fromUnixTimestamp64Micro(?, 'UTC') AND hasAny(rules, ?) \
        ORDER BY ts DESC, seq DESC, record DESC LIMIT ?"
    )
}

impl Recalled {
    /// As much of the event as a correlation looks at: the keys of the rule, and all native fields that fill no column.
    fn hit(&self, engine: &Engine, rule: &Arc<Rule>, filler: &Filler) -> Option<detect::Hit> {
        let Self { epoch, seq, record, ts, .. } = *self;
        let in_columns = engine.correlation_keys(rule).iter().filter_map(|name| {
            let column = match &*self.service {
                "flow" => FlowColumn::named(name)?,
                service => filler.column(service, name)?,
            };
            let (_, value) = self.columns.iter().find(|(column_name, _)| column_name == column)?;
            (!["", "0", "::"].contains(&&**value)).then(|| (Cow::Borrowed(&**name), typed(value)))
        });
        let in_fields = self.fields.iter().flat_map(|(name, values)| {
            values.split(VALUES_SEPARATOR).map(move |value| (Cow::Borrowed(&**name), typed(value)))
        });
        let event = Event {
            ts,
            ts_quality: TsQuality::Event,
            record,
            records: 1,
            log_source: LogSource::default(),
            status: ParseStatus::Parsed,
            message: Cow::Borrowed(""),
            fields_hold_text: false,
            fields: in_columns.chain(in_fields).collect(),
        };
        let key = EventKey { agent: self.agent.as_str().into(), epoch, seq, record };
        let hit = engine.hit(rule, &event, key)?;
        Some(detect::Hit { realm: self.drill.as_str().into(), ..hit })
    }
}

/// A number where the text is how a number is written, as parsers make them.
fn typed(text: &str) -> Value<'_> {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => Value::Int(number),
        _ => Value::Text(Cow::Borrowed(text)),
    }
}

/// Asks until there is an answer, while the collector runs: what is on its way waits.
pub(crate) async fn insist<T, F, A>(mut ask: F) -> T
where
    F: FnMut() -> A,
    A: Future<Output = Result<T, RecoverError>>,
{
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => tracing::error!("{error}; batches wait"),
        }
        insert::count_repeat();
        tokio::time::sleep(WAIT_MAX).await;
    }
}

/// Asks until there is an answer or a refusal. A question that is given up may just be a long one: it gets more time.
async fn answer<T, F, A>(what: &'static str, client: &Client, mut ask: F) -> Result<T, RecoverError>
where
    F: FnMut(&Client) -> A,
    A: Future<Output = clickhouse::error::Result<T>>,
{
    let (mut wait, mut limit) = (WAIT_FIRST, ANSWER_TIMEOUT);
    loop {
        match within(limit, ask(&bounded(client, limit))).await {
            Ok(answer) => return Ok(answer),
            Err(error) if is_final(&error) => {
                return Err(RecoverError::Refused { what, reason: said(&error) });
            }
            Err(error) => {
                tracing::warn!("the store does not say {what}, and is asked again: {}", said(&error));
                if matches!(error, Error::TimedOut) {
                    limit = limit.saturating_mul(2).min(ANSWER_TIMEOUT_MAX);
                }
            }
        }
        insert::count_repeat();
        tokio::time::sleep(wait).await;
        wait = wait.saturating_mul(2).min(WAIT_MAX);
    }
}

/// Whether the same question would get the same answer.
fn is_final(error: &Error) -> bool {
    match error {
        Error::BadResponse(text) => insert::code(text).is_some_and(|code| FINAL.contains(&code)),
        // The rows are not what the table should hold.
        Error::InvalidUtf8Encoding(_) | Error::SchemaMismatch(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::ask::tests::given_up;

    fn refused(code: u32) -> Error {
        Error::BadResponse(format!("Code: {code}. DB::Exception: no (NO)"))
    }

    #[test]
    fn only_what_no_second_try_mends_is_final() {
        for transient in [refused(241), Error::TimedOut, Error::BadResponse("502 Bad Gateway".into())] {
            assert!(!is_final(&transient), "{transient}");
        }
        for lasting in [refused(497), refused(60), Error::SchemaMismatch("a".into())] {
            assert!(is_final(&lasting), "{lasting}");
        }
    }

    /// Asks for what is refused so at first, and is there the second time.
    async fn asked(error: fn() -> Error) -> (Result<u32, RecoverError>, u32) {
        let asked = Cell::new(0);
        let ask = |_: &Client| {
            asked.set(asked.get() + 1);
            std::future::ready(if asked.get() == 1 { Err(error()) } else { Ok(7) })
        };
        (answer("how it is", &Client::default(), ask).await, asked.get())
    }

    #[tokio::test]
    async fn what_is_not_answered_gets_more_time() {
        let limits = RefCell::new(Vec::new());
        let ask = |client: &Client| {
            let limit: f64 = client.get_setting("max_execution_time").unwrap().parse().unwrap();
            limits.borrow_mut().push(limit / ANSWER_TIMEOUT.as_secs_f64());
            let is_answered = limits.borrow().len() == 3;
            async move { if is_answered { Ok(7) } else { std::future::pending().await } }
        };
        let answer = given_up(answer("how it is", &Client::default(), ask)).await;
        assert_eq!((answer.unwrap(), limits.into_inner()), (7, vec![1.0, 2.0, 4.0]));
    }

    #[tokio::test]
    async fn asks_again_until_there_is_an_answer_or_a_refusal() {
        let before = insert::repeats();
        let (answer, times) = asked(|| refused(241)).await;
        assert_eq!((answer.unwrap(), times), (7, 2));
        assert!(insert::repeats() > before, "what waits is seen");
        let (answer, times) = asked(|| refused(497)).await;
        let error = answer.unwrap_err().to_string();
        assert!(error.starts_with("the store does not say how it is: "), "{error}");
        assert_eq!(times, 1);
    }
}
