-- Flow records of all origins: our own meter's and exporters'. event/flows.toml says what each column means; a test keeps the
-- two equal.
--
-- Key: 15 minutes, then both addresses: what an address did is read in a few granules, and records of one pair stand together.
-- Partition, expiry, deduplication as in `events`. `message` and `raw` are the line as it came: they are inserted so that a
-- row that is refused becomes a dead letter, and are not stored, because the columns hold all that the line says.
CREATE TABLE IF NOT EXISTS {database}.flows
(
    message String EPHEMERAL,
    raw String EPHEMERAL,
    ts                DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_received       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_quality        LowCardinality(String),
    ts_end            DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_conn           DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    duration_us       UInt64 CODEC(T64, ZSTD(1)),
    part              UInt32 CODEC(T64, ZSTD(1)),
    origin            LowCardinality(String),
    end_reason        LowCardinality(String),
    host              LowCardinality(String),
    agent             LowCardinality(String),
    source            LowCardinality(String),
    exporter          IPv6 CODEC(ZSTD(1)),
    src_ip            IPv6 CODEC(ZSTD(1)),
    dst_ip            IPv6 CODEC(ZSTD(1)),
    src_port          UInt16 CODEC(T64, ZSTD(1)),
    dst_port          UInt16 CODEC(T64, ZSTD(1)),
    protocol          UInt8,
    proto             LowCardinality(String),
    community_id      String CODEC(ZSTD(1)),
    src_packets       UInt64 CODEC(T64, ZSTD(1)),
    dst_packets       UInt64 CODEC(T64, ZSTD(1)),
    src_bytes         UInt64 CODEC(T64, ZSTD(1)),
    dst_bytes         UInt64 CODEC(T64, ZSTD(1)),
    src_frame_bytes   UInt64 CODEC(T64, ZSTD(1)),
    dst_frame_bytes   UInt64 CODEC(T64, ZSTD(1)),
    src_payload_bytes UInt64 CODEC(T64, ZSTD(1)),
    dst_payload_bytes UInt64 CODEC(T64, ZSTD(1)),
    src_retransmits   UInt32 CODEC(T64, ZSTD(1)),
    dst_retransmits   UInt32 CODEC(T64, ZSTD(1)),
    src_tcp_flags     UInt8,
    dst_tcp_flags     UInt8,
    conn_state        LowCardinality(String),
    history           LowCardinality(String),
    packet_bytes_min  UInt32 CODEC(T64, ZSTD(1)),
    packet_bytes_max  UInt32 CODEC(T64, ZSTD(1)),
    vlan              UInt16 CODEC(T64, ZSTD(1)),
    tunnel            LowCardinality(String),
    app               LowCardinality(String),
    server_name       String CODEC(ZSTD(1)),
    ja4               String CODEC(ZSTD(1)),
    sampling          UInt32 CODEC(T64, ZSTD(1)),
    input_if          UInt32 CODEC(T64, ZSTD(1)),
    output_if         UInt32 CODEC(T64, ZSTD(1)),
    direction         LowCardinality(String),
    src_system_id     LowCardinality(String),
    src_sys_level     UInt8,
    dst_system_id     LowCardinality(String),
    dst_sys_level     UInt8,
    drill_id          LowCardinality(String),
    epoch             UInt64 CODEC(ZSTD(1)),
    seq               UInt64 CODEC(Delta, ZSTD(1)),
    record            UInt32 CODEC(Delta, ZSTD(1)),
    offset            UInt64 CODEC(Delta, ZSTD(1)),
    retention_days    UInt16,
    rules             Array(LowCardinality(String)),
    fields            Map(LowCardinality(String), String) CODEC(ZSTD(1)),

    INDEX ts_range     ts TYPE minmax GRANULARITY 1,
    INDEX dst_ip_set   dst_ip TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX src_ip_set   src_ip TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX community    community_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX names        server_name TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY (toDate(ts), retention_days)
ORDER BY (toStartOfFifteenMinutes(ts), src_ip, dst_ip, ts)
TTL toDateTime(ts) + toIntervalDay(retention_days)
SETTINGS
    ttl_only_drop_parts = 1,
    min_bytes_for_wide_part = 134217728,
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;
