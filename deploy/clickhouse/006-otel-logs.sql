-- Events in the shape that OpenTelemetry's ClickHouse exporter writes, so that Grafana's log view and other tools work
-- unchanged.
CREATE VIEW IF NOT EXISTS {database}.otel_logs AS
SELECT
    CAST(ts, 'DateTime64(9, \'UTC\')') AS Timestamp,
    toDateTime(ts, 'UTC') AS TimestampTime,
    '' AS TraceId,
    '' AS SpanId,
    toUInt8(0) AS TraceFlags,
    -- RFC 5424's severity in the words and numbers of OpenTelemetry's log data model, appendix B.
    transform(syslog_severity, [0, 1, 2, 3, 4, 5, 6, 7],
        ['FATAL', 'ERROR', 'ERROR', 'ERROR', 'WARN', 'INFO', 'INFO', 'DEBUG'], '') AS SeverityText,
    toUInt8(transform(syslog_severity, [0, 1, 2, 3, 4, 5, 6, 7], [21, 19, 18, 17, 13, 10, 9, 5], 0)) AS SeverityNumber,
    if(program != '', program, toString(kind)) AS ServiceName,
    message AS Body,
    '' AS ResourceSchemaUrl,
    map('host.name', toString(host), 'log.file.path', toString(source), 'vonggac.system', toString(system_id),
        'vonggac.level', toString(sys_level)) AS ResourceAttributes,
    '' AS ScopeSchemaUrl,
    'vonggac' AS ScopeName,
    '' AS ScopeVersion,
    map('kind', toString(kind)) AS ScopeAttributes,
    mapUpdate(
        mapFilter((name, value) -> value NOT IN ('', '::', '0'), map(
            'user.name', user,
            'event.action', action,
            'event.outcome', outcome,
            'source.address', toString(src_ip),
            'source.port', toString(src_port),
            'destination.address', toString(dst_ip),
            'process.pid', toString(pid),
            'process.executable.path', process_path,
            'process.command_line', command_line,
            'http.request.method', http_method,
            'url.path', url_path,
            'url.query', url_query,
            'http.response.status_code', toString(http_status),
            'vonggac.drill', toString(drill_id))),
        CAST(fields, 'Map(String, String)')) AS LogAttributes
FROM {database}.events;
