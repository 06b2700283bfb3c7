-- How each run of a drill was scored, by `vonggac drill run` at its end. A run that was broken off has no row.
CREATE TABLE IF NOT EXISTS {database}.drill_scores
(
    drill_id        String,
    drill           LowCardinality(String),
    began_at        DateTime64(6, 'UTC'),
    ended_at        DateTime64(6, 'UTC'),
    -- How many times as fast as it was recorded.
    speed           UInt32,
    -- Steps of the attack, by whether an alert of one of their rules was raised.
    detected        UInt32,
    missed          UInt32,
    missed_steps    Array(String),
    alerts          UInt32,
    -- Alerts that belong to no step of the attack, and those of them of severity high or critical.
    false_alerts    UInt32,
    grave_alerts    UInt32,
    -- From the writing of a line to the moment at which a reader saw its alert: half of the alerts, and all; -1: nothing could be
    -- measured.
    p50_ms          Int64,
    max_ms          Int64,
    events_written  UInt64,
    events_lost     UInt64,
    events_doubled  UInt64,
    -- All steps detected, no grave false alert, every event stored once: 0 or 1.
    passed          UInt8
)
ENGINE = MergeTree
ORDER BY (drill, began_at, drill_id)
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;
