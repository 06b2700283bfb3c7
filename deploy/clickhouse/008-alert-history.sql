-- What people did with an alert, and that they did a duty of a system: one row for each deed, never changed. `hash` covers all other columns and, through
-- `previous`, all rows of the same chain before it; `vonggac alerts verify` tells whether that still holds.
CREATE TABLE IF NOT EXISTS {database}.alert_history
(
    -- One chain for each machine that people write from, numbered from 1.
    chain       LowCardinality(String),
    seq         UInt64,
    at          DateTime64(6, 'UTC'),
    -- Or duty/SYSTEM/DUTY.
    alert_id    String,
    -- ack, assign, contain, comment or close; done of a duty, whose text begins with the day
    action      LowCardinality(String),
    -- Who decided, the account it was typed from, and the machine.
    actor       LowCardinality(String),
    login       LowCardinality(String),
    host        LowCardinality(String),
    assignee    LowCardinality(String),
    -- true_positive, false_positive, benign or duplicate, of a close
    verdict     LowCardinality(String),
    text        String,
    -- SHA-256 in lower-case hexadecimal; empty before the first row of a chain.
    previous    String,
    hash        String,

    INDEX alert alert_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (chain, seq)
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- How each alert stands that somebody did something with; all others are new. Times are 1970 where it has not happened. An
-- alert that is acknowledged after it was closed is open again; one that is closed again has the last verdict.
CREATE VIEW IF NOT EXISTS {database}.alert_status AS
SELECT
    alert_id,
    argMaxIf(action, (at, chain, seq), action IN ('ack', 'contain', 'close')) AS last_step,
    multiIf(last_step = 'close', 'closed', last_step = '', 'new', 'acknowledged') AS status,
    argMaxIf(toString(assignee), (at, chain, seq), action = 'assign') AS assignee,
    if(status = 'closed', argMaxIf(toString(verdict), (at, chain, seq), action = 'close'), '') AS verdict,
    minIf(at, action IN ('ack', 'contain', 'close')) AS acknowledged_at,
    minIf(at, action IN ('contain', 'close')) AS contained_at,
    if(status = 'closed', maxIf(at, action = 'close'), toDateTime64(0, 6, 'UTC')) AS closed_at
FROM {database}.alert_history
WHERE NOT startsWith(alert_id, 'duty/')
GROUP BY alert_id;
