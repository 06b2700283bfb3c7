-- Who sends: agent, otlp, exporter or hunt; empty in rows from before. Only an agent is missed when it is silent. What sends OTLP has
-- one row, of epoch 0: its requests have no numbers that go on.
ALTER TABLE {database}.agents
    ADD COLUMN IF NOT EXISTS sender LowCardinality(String) AFTER drill_id;

-- Who has sent nothing for 30 days is forgotten: it was taken out of service, or somebody has known for long. A hunt that is back
-- after 7 days does not ask any more where it was.
ALTER TABLE {database}.agents
    MODIFY TTL toDateTime(last_seen) + toIntervalDay(30);
