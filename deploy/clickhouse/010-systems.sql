-- The inventory of systems, whole, each time that it changed: one insert is one load, so that a reader never sees half of it
-- and what was in force when can be read later. A load without systems is one row with an empty id.
--
-- The dictionaries over it (vonggac.system_by_host, vonggac.system_by_address) are made by the collector whenever it has
-- loaded an inventory, because their source needs a server's password.
CREATE TABLE IF NOT EXISTS {database}.systems_history
(
    loaded_at       DateTime64(6, 'UTC'),
    id              String,
    name            String,
    purpose         String,
    -- The present owner and operator, by id and by name.
    owner_id        String,
    owner           String,
    operator_id     String,
    operator        String,
    -- The level that was approved, 0 without one; the decision, and the articles that it rests on.
    level           UInt8,
    level_basis     String,
    level_decree    String,
    -- YYYY-MM-DD, or empty.
    recheck         String,
    -- What the decree in force at the time of loading computes from the stated facts: its id, the level (at the least), the
    -- articles, and whether a person must look, with the facts that are missing and the cases that are not clear.
    computed_by     String,
    computed_level  UInt8,
    computed_basis  Array(String),
    needs_review    UInt8,
    review          Array(String),
    -- Hosts and domains in lower case; networks as IPv6, those of IPv4 mapped (::ffff:0:0/96).
    hosts           Array(String),
    networks        Array(String),
    -- Log sources that the inventory asks for.
    sources         Array(String),
    -- Tells one inventory from another.
    digest          String
)
ENGINE = MergeTree
ORDER BY (loaded_at, id)
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- The systems as they were loaded last.
CREATE VIEW IF NOT EXISTS {database}.systems AS
SELECT * EXCEPT (digest)
FROM {database}.systems_history
WHERE loaded_at = (SELECT max(loaded_at) FROM {database}.systems_history) AND id != '';

-- What is known of each source of each system: one row for a pair, its last version counts (read with FINAL). The row with an
-- empty system says until when the collector listened, and nothing else. Times are 1970 where there is none.
CREATE TABLE IF NOT EXISTS {database}.coverage
(
    system_id       LowCardinality(String),
    source          LowCardinality(String),
    -- When something of it was last stored, and by which host last when.
    last_stored     DateTime64(6, 'UTC'),
    hosts           Map(String, DateTime64(6, 'UTC')),
    -- When its last canary came out as an alert.
    last_canary     DateTime64(6, 'UTC'),
    -- From when on its silence and that of its canary are counted: time in which no collector listened does not count.
    counted_from    DateTime64(6, 'UTC'),
    canary_from     DateTime64(6, 'UTC'),
    -- Since when it is silent, as was alerted, and since when it talks without its canary.
    silent_since    DateTime64(6, 'UTC'),
    unanswered_since DateTime64(6, 'UTC'),
    version         UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (system_id, source)
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;
