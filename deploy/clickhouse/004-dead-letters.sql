-- What the store refused, with the reason and the text, so that it can be looked at and brought in again. One row per event.
CREATE TABLE IF NOT EXISTS {database}.dead_letters
(
    dead_at     DateTime64(6, 'UTC'),
    agent       LowCardinality(String),
    epoch       UInt64,
    seq         UInt64,
    record      UInt32,
    source      LowCardinality(String),
    drill_id    LowCardinality(String),
    reason      String,
    message     String,
    raw         String
)
ENGINE = ReplacingMergeTree(dead_at)
ORDER BY (agent, epoch, seq, record)
TTL toDateTime(dead_at) + toIntervalDay(365)
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;
