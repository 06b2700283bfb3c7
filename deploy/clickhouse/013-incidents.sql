-- How each alert stood at a moment, of those that somebody did something with: `alert_status_at(as_of = ...)`, so that a report of
-- a period that is over stays as it was. Times are 1970 where it has not happened. An alert that is acknowledged after it was closed
-- is open again; one that is closed again has the last verdict. Subjects with a slash are no alerts. An alert's entry `incident` says
-- to which incident it belongs.
CREATE OR REPLACE VIEW {database}.alert_status_at AS
SELECT
    alert_id,
    argMaxIf(action, (at, chain, seq), action IN ('ack', 'contain', 'close')) AS last_step,
    multiIf(last_step = 'close', 'closed', last_step = '', 'new', 'acknowledged') AS status,
    argMaxIf(toString(assignee), (at, chain, seq), action = 'assign') AS assignee,
    if(status = 'closed', argMaxIf(toString(verdict), (at, chain, seq), action = 'close'), '') AS verdict,
    minIf(at, action IN ('ack', 'contain', 'close')) AS acknowledged_at,
    minIf(at, action IN ('contain', 'close')) AS contained_at,
    if(status = 'closed', maxIf(at, action = 'close'), toDateTime64(0, 6, 'UTC')) AS closed_at,
    argMaxIf(text, (at, chain, seq), action = 'incident') AS incident
FROM {database}.alert_history
WHERE position(alert_id, '/') = 0 AND at < {as_of:DateTime64(6, 'UTC')}
GROUP BY alert_id;

-- How each stands now.
CREATE OR REPLACE VIEW {database}.alert_status AS
SELECT * FROM {database}.alert_status_at(as_of = toDateTime64('2200-01-01 00:00:00', 6, 'UTC'));

-- The clocks of alerts as they stood at a moment, one row for each alert and clock. A condition on alert_id reaches the tables below:
-- one alert among a million costs 20 ms. met: done in time, even if by closing the alert.
-- missed: done too late, or not done and late. open: not done and not late. `done_at` is 1970 where it is not done; an alert that is
-- open again was not closed.
CREATE OR REPLACE VIEW {database}.alert_clocks_at AS
SELECT
    alert_id, priority, system_id, sys_level, host, rule_title, created_at, drill_id,
    step.1 AS number,
    step.2 AS clock,
    step.3 AS due,
    step.4 AS done_at,
    multiIf(
        toUnixTimestamp64Micro(done_at) = 0, if(due < {as_of:DateTime64(6, 'UTC')}, 'missed', 'open'),
        done_at <= due, 'met',
        'missed') AS state
FROM
(
    SELECT
        a.id AS alert_id,
        a.priority AS priority,
        a.system_id AS system_id,
        a.sys_level AS sys_level,
        a.host AS host,
        a.rule_title AS rule_title,
        a.created_at AS created_at,
        a.drill_id AS drill_id,
        arrayFilter(step -> toUnixTimestamp64Micro(step.3) > 0, [
            (1, 'acknowledge', a.ack_due, s.acknowledged_at),
            (2, 'contain', a.contain_due, s.contained_at),
            (3, 'close', a.close_due, s.closed_at)]) AS steps
    FROM {database}.alerts AS a FINAL
    LEFT JOIN {database}.alert_status_at(as_of = {as_of:DateTime64(6, 'UTC')}) AS s ON s.alert_id = a.id
    WHERE a.created_at < {as_of:DateTime64(6, 'UTC')}
)
ARRAY JOIN steps AS step;

-- As they stand now.
CREATE OR REPLACE VIEW {database}.alert_clocks AS
SELECT * FROM {database}.alert_clocks_at(as_of = now64(6));

-- What had to be done next with each alert at a moment with which something had to be done, and by when.
CREATE OR REPLACE VIEW {database}.alert_next_at AS
SELECT
    a.id AS alert_id,
    arraySort(step -> (step.3, step.1), arrayFilter(step -> toUnixTimestamp64Micro(step.3) > 0 AND toUnixTimestamp64Micro(step.4) = 0, [
        (1, 'acknowledge', a.ack_due, s.acknowledged_at),
        (2, 'contain', a.contain_due, s.contained_at),
        (3, 'close', a.close_due, s.closed_at)]))[1] AS step,
    step.2 AS clock,
    step.3 AS due,
    a.priority AS priority,
    a.drill_id AS drill_id
FROM {database}.alerts AS a FINAL
LEFT JOIN {database}.alert_status_at(as_of = {as_of:DateTime64(6, 'UTC')}) AS s ON s.alert_id = a.id
WHERE a.created_at < {as_of:DateTime64(6, 'UTC')} AND step.1 > 0;

-- What must be done now.
CREATE OR REPLACE VIEW {database}.alert_next AS
SELECT * EXCEPT (step) FROM {database}.alert_next_at(as_of = now64(6));

-- Incidents are entries of alert_history about incident/ID; collector/src/incident.rs says which.
-- Each as its entries tell it; the last word counts. Times are 1970 where there is none.
CREATE VIEW IF NOT EXISTS {database}.incidents AS
SELECT
    substring(alert_id, 10) AS id,
    min(at) AS opened_at,
    argMaxIf(if(action = 'open', text, substring(text, 7)), (at, chain, seq), action = 'open' OR (action = 'set' AND startsWith(text, 'title '))) AS title,
    argMaxIf(substring(text, 8), (at, chain, seq), action = 'set' AND startsWith(text, 'system ')) AS system_id,
    argMaxIf(parseDateTime64BestEffortOrZero(substring(text, 13), 6, 'UTC'), (at, chain, seq), action = 'set' AND startsWith(text, 'detected_at ')) AS detected_at,
    argMaxIf(parseDateTime64BestEffortOrZero(substring(text, 10), 6, 'UTC'), (at, chain, seq), action = 'set' AND startsWith(text, 'ended_at ')) AS ended_at,
    argMaxIf(substring(text, 9), (at, chain, seq), action = 'set' AND startsWith(text, 'classes ')) AS classes,
    argMaxIf(substring(text, 7), (at, chain, seq), action = 'set' AND startsWith(text, 'drill ')) AS drill_id,
    maxIf(at, action = 'close') AS closed_at,
    argMaxIf(toString(verdict), (at, chain, seq), action = 'close') AS verdict,
    multiIf(toUnixTimestamp64Micro(closed_at) > 0, 'closed', toUnixTimestamp64Micro(ended_at) > 0, 'ended', 'open') AS status
FROM {database}.alert_history
WHERE startsWith(alert_id, 'incident/')
GROUP BY alert_id;

-- What the law wants done by when: duties of systems (item: the duty), and reports of incidents (item: the deadline; subject: the
-- incident). The collector computes it from the decrees, the inventory and the history, and writes what changed: the last
-- version counts, and what is owed no more is gone (read with FINAL). Times are 1970 where there is none.
CREATE TABLE IF NOT EXISTS {database}.obligations
(
    -- duty or incident
    kind        LowCardinality(String),
    -- The system, or the incident.
    subject     String,
    item        LowCardinality(String),
    system_id   LowCardinality(String),
    sys_level   UInt8,
    what_vi     String,
    what_en     String,
    article     String,
    unsure      String,
    -- Of a duty, the end of the day.
    due         DateTime64(6, 'UTC'),
    done_at     DateTime64(6, 'UTC'),
    drill_id    LowCardinality(String),
    version     UInt64,
    gone        UInt8
)
ENGINE = ReplacingMergeTree(version, gone)
ORDER BY (kind, subject, item)
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- By when the law wants a report if the alert turns out to be an incident, by the decree in force when it was alerted: the
-- shortest time that holds for every incident, and its article. 1970: none.
ALTER TABLE {database}.alerts
    ADD COLUMN IF NOT EXISTS report_due DateTime64(6, 'UTC') AFTER close_due,
    ADD COLUMN IF NOT EXISTS report_basis String AFTER report_due;

-- How many days the decree in force has the records of each system kept at the least, by its level, and the article; 0: no decree
-- does.
ALTER TABLE {database}.systems_history
    ADD COLUMN IF NOT EXISTS retention_days_min UInt16 AFTER review,
    ADD COLUMN IF NOT EXISTS retention_basis String AFTER retention_days_min;

CREATE OR REPLACE VIEW {database}.systems AS
SELECT * EXCEPT (digest)
FROM {database}.systems_history
WHERE loaded_at = (SELECT max(loaded_at) FROM {database}.systems_history) AND id != '';
