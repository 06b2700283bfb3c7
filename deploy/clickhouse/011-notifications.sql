-- The silence that an alert is under: nobody is notified of it. Empty: of no silence.
ALTER TABLE {database}.alerts ADD COLUMN IF NOT EXISTS silence LowCardinality(String);

-- Hits of which an exception made no alert: one row for each exception, rule and batch. A batch that comes again writes the
-- same row (read with FINAL).
CREATE TABLE IF NOT EXISTS {database}.excepted_hits
(
    exception  LowCardinality(String),
    rule_id    LowCardinality(String),
    rule_title LowCardinality(String),
    system_id  LowCardinality(String),
    host       LowCardinality(String),
    drill_id   LowCardinality(String),
    agent      LowCardinality(String),
    epoch      UInt64,
    seq        UInt64,
    hits       UInt64,
    first_seen DateTime64(6, 'UTC'),
    last_seen  DateTime64(6, 'UTC'),
    -- The last of them: `agent:epoch:seq:record`, and the beginning of its line.
    last_event String,
    last_line  String
)
ENGINE = ReplacingMergeTree
ORDER BY (exception, rule_id, agent, epoch, seq)
TTL toDateTime(last_seen) + INTERVAL 400 DAY
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- Which exception swallowed how many hits of which rule, and the last of them.
CREATE VIEW IF NOT EXISTS {database}.exception_usage AS
SELECT
    exception,
    rule_id,
    any(rule_title) AS title,
    drill_id,
    sum(hits) AS swallowed,
    min(first_seen) AS first_hit,
    max(last_seen) AS last_hit,
    argMax(host, last_seen) AS last_host,
    argMax(last_event, last_seen) AS last_hit_event,
    argMax(last_line, last_seen) AS last_hit_line
FROM {database}.excepted_hits FINAL
GROUP BY exception, rule_id, drill_id;

-- What became of notifications: one row for each attempt to send a message to a target, never changed. The last row of a
-- message says how it stands.
CREATE TABLE IF NOT EXISTS {database}.notifications
(
    target     LowCardinality(String),
    message    String,
    at         DateTime64(6, 'UTC'),
    -- begun: the target is new, alerts before this are none of its business; failed: it is tried again; sent; gave_up: it is
    -- not tried again unless a person says so; retry: a person said so
    outcome    LowCardinality(String),
    -- Attempts since the message was made, or since a person said to try again.
    attempt    UInt16,
    -- The alerts that it tells of, and the priority of each when it was made.
    alerts     Array(String),
    priorities Array(LowCardinality(String)),
    -- The receiver's answer, or why there was none.
    detail     String
)
ENGINE = MergeTree
ORDER BY (target, at)
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- How each message stands.
CREATE VIEW IF NOT EXISTS {database}.notification_status AS
SELECT
    target,
    message,
    argMax(outcome, at) AS status,
    argMax(attempt, at) AS attempts,
    min(at) AS first_at,
    max(at) AS last_at,
    argMax(alerts, at) AS told,
    argMax(priorities, at) AS told_priorities,
    argMax(detail, at) AS last_detail
FROM {database}.notifications
WHERE outcome != 'begun'
GROUP BY target, message;

-- How alerts were closed, by rule and day: how often a rule was right. Times are those of the last close.
CREATE VIEW IF NOT EXISTS {database}.rule_verdicts AS
SELECT
    a.rule_id AS rule_id,
    any(a.rule_title) AS title,
    toDate(s.closed_at, 'UTC') AS day,
    a.drill_id AS drill_id,
    count() AS closed,
    countIf(s.verdict = 'true_positive') AS true_positives,
    countIf(s.verdict = 'false_positive') AS false_positives,
    countIf(s.verdict = 'benign') AS benigns,
    countIf(s.verdict = 'duplicate') AS duplicates
FROM {database}.alerts AS a FINAL
INNER JOIN {database}.alert_status AS s ON s.alert_id = a.id
WHERE s.status = 'closed'
GROUP BY rule_id, day, drill_id;
