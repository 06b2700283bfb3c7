-- Alerts: one row per alert and version; the highest version counts (read with FINAL). The collector writes an alert again
-- when it has new hits. The id is made of the rule, the system, the entity and the first event: a replay writes the same id.
CREATE TABLE IF NOT EXISTS {database}.alerts
(
    id              String,
    -- Microseconds of the writing collector's clock, and always above the version before.
    version         UInt64,
    rule_id         LowCardinality(String),
    rule_title      LowCardinality(String),
    rule_path       LowCardinality(String),
    severity        LowCardinality(String),
    priority        LowCardinality(String),
    priority_reason String,
    tactics         Array(LowCardinality(String)),
    techniques      Array(LowCardinality(String)),
    system_id       LowCardinality(String),
    system_name     LowCardinality(String),
    sys_level       UInt8,
    level_basis     String,
    organisation    LowCardinality(String),
    host            LowCardinality(String),
    entity          String,
    src_ip          IPv6,
    user            String,
    hits            UInt64,
    first_seen      DateTime64(6, 'UTC'),
    last_seen       DateTime64(6, 'UTC'),
    created_at      DateTime64(6, 'UTC'),
    matched         Map(String, String),
    samples         Array(String),
    sample_events   Array(String),
    -- Per "agent/epoch" (epoch in hexadecimal) the highest sequence number whose hits are in `hits`.
    counted         Map(String, UInt64),
    drill_id        LowCardinality(String),

    INDEX last_seen_range last_seen TYPE minmax GRANULARITY 1,
    INDEX version_range   version TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;
