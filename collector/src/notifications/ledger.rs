//! What the store knows of notifications: which alerts wait for a target, which message is under way, what became of each.
//!
//! Two questions are asked again and again, so both look only at what changed since the last time nothing was found: alerts by
//! their version, messages by the time of their rows; [`OVERLAP`] more, for what was under way to the store. Measured with a
//! million alerts in the embedded store, two cores: 4.5 s for the first question after a start, 0.3 s for each further one; the
//! question for messages takes a tenth of that.

use clickhouse::Client;
use clickhouse::error::Result;
use event::Micros;
use serde::{Deserialize, Serialize};

use crate::ask::{ANSWER_TIMEOUT, bounded, within};
use crate::clock::now;
use crate::config::NotificationTarget;
use crate::insert::{Insert, Refused};
use crate::notifications::message::{Alert, Message};
use crate::row_binary::{Encode, encode, encoded};

/// Alerts that one message tells of: a row of 80 KB, and a question that fits into one query.
pub(crate) const ALERTS_MAX: u64 = 2_000;
/// An alert's version is older than its row: the insert is repeated until the store takes it, which may answer questions all the
/// while. A store that takes nothing for a day has been noticed.
const OVERLAP: Micros = 24 * 3600 * 1_000_000;
/// An alert that changes now was told of at most so long ago: it spans a day, and an agent may be cut off for a week.
const TOLD_BACK: Micros = 30 * 24 * 3600 * 1_000_000;

/// What a row says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Begun,
    Sent,
    Failed,
    GaveUp,
    Retry,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::GaveUp => "gave_up",
            Self::Retry => "retry",
        }
    }
}

/// A row of the table `notifications`, of one target.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) message: String,
    pub(crate) at: Micros,
    pub(crate) outcome: Outcome,
    pub(crate) attempt: u16,
    pub(crate) alerts: Vec<String>,
    pub(crate) priorities: Vec<String>,
    pub(crate) detail: String,
}

impl Row {
    /// How an attempt ended.
    pub(super) fn of(unsettled: Unsettled, outcome: Outcome, detail: String) -> Self {
        let Unsettled { message, attempts, told: alerts, told_priorities: priorities, .. } = unsettled;
        Self { message, at: now(), outcome, attempt: attempts.saturating_add(1), alerts, priorities, detail }
    }

    /// As the store takes it.
    pub(crate) fn stored(self, target: &str) -> StoredRow {
        let Self { message, at, outcome, attempt, alerts, priorities, detail } = self;
        let (target, outcome) = (target.to_owned(), outcome.as_str().to_owned());
        StoredRow { target, message, at, outcome, attempt, alerts, priorities, detail }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct StoredRow {
    target: String,
    message: String,
    at: Micros,
    outcome: String,
    attempt: u16,
    alerts: Vec<String>,
    priorities: Vec<String>,
    detail: String,
}

encode!(StoredRow { target, message, at, outcome, attempt, alerts, priorities, detail });

/// A message that is neither sent nor given up.
#[derive(Clone, Debug, Deserialize, Serialize, clickhouse::Row)]
pub(crate) struct Unsettled {
    pub(crate) message: String,
    /// Since it was made or taken up again.
    pub(crate) attempts: u16,
    pub(crate) first_at: Micros,
    pub(crate) last_at: Micros,
    pub(crate) told: Vec<String>,
    pub(crate) told_priorities: Vec<String>,
}

impl Unsettled {
    /// A message that nobody has tried to send.
    pub(super) fn new(message: &Message) -> Self {
        Self {
            message: message.id.clone(),
            attempts: 0,
            first_at: message.made_at,
            last_at: message.made_at,
            told: message.alerts.iter().map(|alert| alert.id.clone()).collect(),
            told_priorities: message.alerts.iter().map(|alert| alert.priority.clone()).collect(),
        }
    }
}

const UNSETTLED: &str = "\
    SELECT n.message AS message, argMax(n.attempt, n.at) AS attempts, \
        toUnixTimestamp64Micro(greatest(min(n.at), maxIf(n.at, n.outcome = 'retry'))) AS first_at, \
        toUnixTimestamp64Micro(max(n.at)) AS last_at, \
        argMax(n.alerts, n.at) AS told, argMax(n.priorities, n.at) AS told_priorities \
    FROM notifications AS n \
    WHERE n.target = ? AND n.outcome != 'begun' AND n.at >= fromUnixTimestamp64Micro(?, 'UTC') \
    GROUP BY n.message HAVING argMax(n.outcome, n.at) IN ('failed', 'retry') ORDER BY first_at LIMIT 1";

const COLUMNS: &str = "a.id AS id, a.priority AS priority, a.severity AS severity, a.rule_id AS rule_id, \
    a.rule_title AS rule_title, a.techniques AS techniques, a.system_id AS system_id, a.system_name AS system_name, \
    a.sys_level AS sys_level, a.organisation AS organisation, a.host AS host, a.entity AS entity, \
    toString(a.src_ip) AS src_ip, a.user AS user, a.hits AS hits, \
    toUnixTimestamp64Micro(a.first_seen) AS first_seen, toUnixTimestamp64Micro(a.last_seen) AS last_seen, \
    a.drill_id AS drill_id";

/// What the target was told of each alert: the most urgent of the priorities.
const TOLD: &str = "\
    SELECT told.1 AS alert_id, min(told.2) AS priority FROM ( \
        SELECT arrayJoin(arrayZip(n.alerts, n.priorities)) AS told FROM notifications AS n \
        WHERE n.target = ? AND n.outcome IN ('sent', 'gave_up') AND n.at >= fromUnixTimestamp64Micro(?, 'UTC')) \
    GROUP BY alert_id";

/// The rows of one target.
pub(super) struct Ledger {
    client: Client,
    insert: Insert,
    target: NotificationTarget,
    /// When this was made: before anybody could bring what makes alerts.
    made_at: Micros,
    /// When the target was first seen: alerts of before are none of its business. None: not yet known.
    begun: Option<Micros>,
    /// Before these nothing is to be found.
    alerts_since: Micros,
    messages_since: Micros,
}

impl Ledger {
    pub(super) fn new(client: &Client, target: &NotificationTarget) -> Self {
        Self {
            client: bounded(client, ANSWER_TIMEOUT),
            insert: Insert::new(client, "notifications", &StoredRow::COLUMNS.join(", ")),
            target: target.clone(),
            made_at: now(),
            begun: None,
            alerts_since: 0,
            messages_since: 0,
        }
    }

    /// Makes sure that it is known when the target began.
    pub(super) async fn begin(&mut self) -> Result<()> {
        if self.begun.is_some() {
            return Ok(());
        }
        let sql = "SELECT toUnixTimestamp64Micro(min(at)) FROM notifications \
            WHERE target = ? AND outcome = 'begun' HAVING count() > 0";
        let begun =
            within(ANSWER_TIMEOUT, self.client.query(sql).bind(&self.target.name).fetch_optional::<Micros>())
                .await?;
        let begun = match begun {
            Some(begun) => begun,
            None => self.begin_now().await,
        };
        self.begun = Some(begun);
        self.alerts_since = begun;
        Ok(())
    }

    async fn begin_now(&self) -> Micros {
        let (at, outcome) = (self.made_at, Outcome::Begun);
        let (message, detail) = (String::new(), String::new());
        let (alerts, priorities) = (Vec::new(), Vec::new());
        self.record(Row { message, at, outcome, attempt: 0, alerts, priorities, detail }).await;
        at
    }

    /// The message that is to be tried again first.
    pub(super) async fn unsettled(&mut self) -> Result<Option<Unsettled>> {
        let asked = now();
        let query = self.client.query(UNSETTLED).bind(&self.target.name).bind(self.messages_since);
        let found = within(ANSWER_TIMEOUT, query.fetch_optional::<Unsettled>()).await?;
        if found.is_none() {
            self.messages_since = asked.saturating_sub(OVERLAP);
        }
        Ok(found)
    }

    /// The alerts that wait for the target, the most urgent first.
    pub(super) async fn waiting(&mut self) -> Result<Vec<Alert>> {
        let asked = now();
        let NotificationTarget { name, priority, systems, organisations, drills, .. } = &self.target;
        let begun = self.begun.unwrap_or(asked);
        let sql = format!(
            "SELECT {COLUMNS} FROM alerts AS a FINAL LEFT JOIN ({TOLD}) AS t ON t.alert_id = a.id \
            WHERE a.version >= ? AND a.created_at >= fromUnixTimestamp64Micro(?, 'UTC') AND a.silence = '' \
                AND a.priority <= ? AND (? OR a.drill_id = '') \
                AND (empty(?) OR has(?, a.system_id)) AND (empty(?) OR has(?, a.organisation)) \
                AND (t.alert_id = '' OR a.priority < t.priority) \
            ORDER BY a.priority, a.created_at, a.id LIMIT {ALERTS_MAX}"
        );
        let query = self.client.query(&sql).bind(name).bind(self.alerts_since.saturating_sub(TOLD_BACK));
        let query = query.bind(self.alerts_since).bind(begun).bind(priority.as_str()).bind(*drills);
        let query = query.bind(systems).bind(systems).bind(organisations).bind(organisations);
        let found = within(ANSWER_TIMEOUT, query.fetch_all::<Alert>()).await?;
        if found.is_empty() {
            self.alerts_since = self.alerts_since.max(asked.saturating_sub(OVERLAP));
        }
        Ok(found)
    }

    /// The alerts of a message that is tried again.
    pub(super) async fn alerts(&self, ids: &[String]) -> Result<Vec<Alert>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM alerts AS a FINAL WHERE a.id IN ? ORDER BY a.priority, a.created_at, a.id"
        );
        within(ANSWER_TIMEOUT, self.client.query(&sql).bind(ids).fetch_all()).await
    }

    /// Comes back when the row is stored. What the store refuses is told: the message would be sent again.
    pub(super) async fn record(&self, row: Row) {
        if let Err(Refused(reason)) = self.insert.put(&encoded([&row.stored(&self.target.name)])).await {
            tracing::error!(target = self.target.name, reason, "the store refuses what became of a message");
        }
    }
}
