-- How each alert stood at a moment, of those that somebody did something with: `alert_status_at(as_of = ...)`, so that a report of
-- a period that is over stays as it was. Times are 1970 where it has not happened. `ack` alone opens an alert again: what was
-- contained after it was closed is still closed. A close counts from the first one since the alert was last opened again: a later one
-- corrects the verdict, not the time; and one that was taken back neither closed nor contained anything. Subjects with a slash are no
-- alerts. An alert's entry `incident` says to which incident it belongs.
CREATE OR REPLACE VIEW {database}.alert_status_at AS
SELECT
    alert_id,
    maxIf((at, chain, seq), action = 'ack') AS last_ack,
    arrayFilter(step -> step > last_ack, groupArrayIf((at, chain, seq), action = 'close')) AS closes,
    multiIf(notEmpty(closes), 'closed', countIf(action IN ('ack', 'contain', 'close')) = 0, 'new', 'acknowledged') AS status,
    argMaxIf(toString(assignee), (at, chain, seq), action = 'assign') AS assignee,
    if(status = 'closed', argMaxIf(toString(verdict), (at, chain, seq), action = 'close'), '') AS verdict,
    minIf(at, action IN ('ack', 'contain', 'close')) AS acknowledged_at,
    if(status = 'closed', arrayMin(closes).1, toDateTime64(0, 6, 'UTC')) AS closed_at,
    minIf(at, action = 'contain') AS first_contain,
    multiIf(
        toUnixTimestamp64Micro(first_contain) = 0, closed_at,
        status = 'closed', least(first_contain, closed_at),
        first_contain) AS contained_at,
    argMaxIf(text, (at, chain, seq), action = 'incident') AS incident
FROM {database}.alert_history
WHERE position(alert_id, '/') = 0 AND at < {as_of:DateTime64(6, 'UTC')}
GROUP BY alert_id;

-- How each stands now. It names no column of its own: it is made anew with those above.
CREATE OR REPLACE VIEW {database}.alert_status AS
SELECT * FROM {database}.alert_status_at(as_of = toDateTime64('2200-01-01 00:00:00', 6, 'UTC'));
