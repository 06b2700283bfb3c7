-- What was applied, in order, with the checksum of the file. A file that changed after it was applied is an error.
-- Every statement of these files may run again after a crash half-way; {database} is the configured database.
CREATE DATABASE IF NOT EXISTS {database};

CREATE TABLE IF NOT EXISTS {database}.migrations
(
    name       String,
    checksum   String,
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY name
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
