-- Until when an alert wants to be acknowledged, contained and closed, as the table of priorities said when it opened or its
-- priority rose (rules/levels/priority.toml). 1970: no time is set.
ALTER TABLE {database}.alerts
    ADD COLUMN IF NOT EXISTS ack_due DateTime64(6, 'UTC') AFTER created_at,
    ADD COLUMN IF NOT EXISTS contain_due DateTime64(6, 'UTC') AFTER ack_due,
    ADD COLUMN IF NOT EXISTS close_due DateTime64(6, 'UTC') AFTER contain_due;

-- One row for each alert and clock. met: done in time, even if by closing the alert. missed: done too late, or not done and
-- late by now. open: not done and not late. `done_at` is 1970 where it is not done; an alert that is open again was not closed.
CREATE VIEW IF NOT EXISTS {database}.alert_clocks AS
SELECT
    a.id AS alert_id,
    a.priority AS priority,
    a.system_id AS system_id,
    a.sys_level AS sys_level,
    a.host AS host,
    a.rule_title AS rule_title,
    a.created_at AS created_at,
    a.drill_id AS drill_id,
    arrayJoin([
        (1, 'acknowledge', a.ack_due, s.acknowledged_at),
        (2, 'contain', a.contain_due, s.contained_at),
        (3, 'close', a.close_due, s.closed_at)]) AS step,
    step.1 AS number,
    step.2 AS clock,
    step.3 AS due,
    step.4 AS done_at,
    multiIf(
        toUnixTimestamp64Micro(done_at) = 0, if(due < now64(6), 'missed', 'open'),
        done_at <= due, 'met',
        'missed') AS state
FROM {database}.alerts AS a FINAL
LEFT JOIN {database}.alert_status AS s ON s.alert_id = a.id
WHERE toUnixTimestamp64Micro(due) > 0;

-- What must be done next with an alert that something must still be done with, and by when.
CREATE VIEW IF NOT EXISTS {database}.alert_next AS
SELECT
    alert_id,
    argMin(alert_clocks.clock, (alert_clocks.due, number)) AS clock,
    min(alert_clocks.due) AS due,
    any(alert_clocks.priority) AS priority,
    any(alert_clocks.drill_id) AS drill_id
FROM {database}.alert_clocks
WHERE toUnixTimestamp64Micro(done_at) = 0
GROUP BY alert_id;
