-- How far each agent is stored. Written after the events of a batch and before its acknowledgement.
CREATE TABLE IF NOT EXISTS {database}.agents
(
    agent      LowCardinality(String),
    epoch      UInt64,
    -- Highest sequence number in the store.
    seq        UInt64,
    last_seen  DateTime64(6, 'UTC'),
    last_event DateTime64(6, 'UTC'),
    drill_id   LowCardinality(String)
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (agent, epoch)
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;
