-- How full each line of the inventory ([[link]]) was, day by day of the collector's zone: of the day's five-minute samples the 95th
-- percentile, each direction by itself. The collector writes a day when it is over, and again when late flow records change it; the
-- last version counts (read with FINAL).
CREATE TABLE IF NOT EXISTS {database}.link_days
(
    link            LowCardinality(String),
    -- YYYY-MM-DD
    day             String,
    name            LowCardinality(String),
    organisation    LowCardinality(String),
    -- What it carries, and what is asked of it (0: nothing), each way in Mbit/s.
    mbps            UInt32,
    mbps_min        UInt32,
    -- In Mbit/s, and the fuller direction in percent of what it carries.
    sent            Float64,
    received        Float64,
    percent         Float64,
    -- Samples in which something was carried; 0: nothing is known of the day.
    samples         UInt32,
    version         UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (link, day)
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;
