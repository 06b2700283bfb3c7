"""Every query of every dashboard on a table of 10 million events and one of 10 million flows: rows, milliseconds, the slowest first.

Usage: tests/bench/run dashboards [--million N]

A collector makes the schema in its embedded store; the rows are made by ClickHouse itself, over a day of 300 hosts of 28
systems, which stand in its inventory, and 20,000 clients, each of which uses five of the hosts, which have two services
each. Of the alerts half were acknowledged; of some there are incidents, and of lines and drills the figures of a year.
Each query is asked as Grafana asks it over the end of the day, as long as its dashboard shows when it is opened (24 hours,
most of them), and counts with the best of three: what a page costs that refreshes. Ends with 1 when a query takes a second
or longer.
"""

import argparse
import pathlib
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
import grafana  # noqa: E402  (its folder is known from here on)
from pipeline import ROOT, Site, wait  # noqa: E402

TRIES = 3
LIMIT_S = 1.0
DAY_S = 86400
# Rows of an insert: what ClickHouse sorts at once in little memory.
INSERT_ROWS = 1_000_000

SHARED = """
    fromUnixTimestamp64Micro(toInt64({since}) * 1000000 + toInt64(n * {step})) AS ts, ts + 1 AS ts_received, 'event' AS ts_quality,
    intHash32(n) AS r, concat('host', leftPad(toString(r % 300), 3, '0')) AS host, host AS agent, '' AS drill_id,
    7 AS epoch, intDiv(n, 1000) AS seq, n % 1000 AS record, 0 AS offset, 90 AS retention_days"""

EVENTS = """
INSERT INTO events (ts, ts_received, ts_quality, kind, category, product, service, parse_status, host, agent, source, system_id,
    epoch, seq, record, sys_level, retention_days, rules, program, user, action, outcome, process_path, command_line,
    http_method, url_path, user_agent, src_ip, dst_ip, http_status, message, raw, fields)
SELECT ts, ts_received, ts_quality, kind, '', 'linux', kind, if(r % 50 = 0, 'raw', 'parsed'), host, agent,
    concat('/var/log/', kind, '.log'), concat('system', toString(r % 300 % 28)), epoch, seq, record, 1 + r % 300 % 28 % 4,
    retention_days, if(r % 1000 = 0, ['rule-a'], []), kind, if(kind IN ('sshd', 'auditd'), concat('user', toString(r % 400)), ''),
    if(kind IN ('sshd', 'sudo'), 'login', ''), if(kind IN ('sshd', 'sudo'), if(r % 9 = 0, 'failure', 'success'), ''),
    if(kind = 'auditd', concat('/usr/bin/tool', toString(r % 250)), ''), if(kind = 'auditd', concat('tool --at ', toString(n)), ''),
    if(kind = 'web', 'GET', ''), if(kind = 'web', concat('/trang/', toString(r % 5000)), ''), if(kind = 'web', 'Mozilla/5.0', ''),
    toIPv6(IPv4NumToString(toUInt32(0xC6336400 + intHash32(r) % 20000))), toIPv6('::'), if(kind = 'web', 200, 0),
    concat('line ', toString(n), ' of ', kind), concat('line ', toString(n), ' of ', kind),
    if(kind = 'dns', map('query', concat('name', toString(r % 3000), '.example.vn'), 'record_type', 'A', 'rcode', 'NOERROR'),
        if(kind = 'tls', map('server_name', concat('name', toString(r % 3000), '.example.vn'), 'ja4', toString(r % 90)), map()))
FROM (SELECT number + {first} AS n, ['sshd', 'web', 'web', 'web', 'auditd', 'auditd', 'dns', 'tls', 'syslog', 'sudo'][1 + intHash32(n + 1) % 10] AS kind,
    {shared} FROM numbers({rows}))"""

FLOWS = """
INSERT INTO flows (ts, ts_received, ts_quality, ts_end, ts_conn, duration_us, origin, end_reason, host, agent, source, src_ip,
    dst_ip, src_port, dst_port, protocol, proto, src_packets, dst_packets, src_bytes, dst_bytes, src_retransmits, conn_state, app,
    server_name, sampling, direction, src_system_id, src_sys_level, dst_system_id, dst_sys_level, epoch, seq, record, retention_days)
SELECT ts, ts_received, ts_quality, ts, ts, 1000, 'meter', 'end', host, agent, 'capture:eth0',
    toIPv6(IPv4NumToString(toUInt32(0xC6336400 + client))), toIPv6(IPv4NumToString(toUInt32(0x0A140000 + server))),
    1024 + r % 60000, [443, 80, 53, 22, 445][1 + service], 6, if(service = 2, 'udp', 'tcp'), 10, if(r % 20 = 0, 0, 12), 1500 + r % 9000,
    9000 + r % 90000, if(r % 100 = 0, 1, 0), if(r % 20 = 0, 'S0', 'SF'), ['tls', 'http', 'dns', 'ssh', 'smb'][1 + service],
    if(service < 3, concat('name', toString(server * 10 + r % 10), '.example.vn'), ''), 1, ['inbound', 'internal', 'outbound'][1 + r % 3],
    '', 0, concat('system', toString(server % 28)), 1 + server % 28 % 4, epoch, seq, record, retention_days
FROM (SELECT number + {first} AS n, intHash32(n + 2) % 20000 AS client, intHash32(client + n % 5) % 300 AS server,
    (server + n % 2) % 5 AS service, {shared}
    FROM numbers({rows}))"""

ALERTS = """
INSERT INTO alerts (id, version, rule_id, rule_title, severity, priority, tactics, techniques, system_id, system_name, sys_level,
    organisation, host, entity, src_ip, user, hits, first_seen, last_seen, created_at, ack_due, close_due, matched, samples)
SELECT toString(number), 1, 'rule-a', concat('Rule ', toString(number % 60)), ['high', 'medium', 'low'][1 + number % 3],
    concat('P', toString(1 + number % 5)), ['discovery'], [concat('T', toString(1000 + number % 40))],
    concat('system', toString(number % 28)), concat('System ', toString(number % 28)), 1 + number % 28 % 4,
    concat('Organisation ', toString(number % 9)), concat('host', leftPad(toString(number % 300), 3, '0')), 'entity', toIPv6('198.51.100.7'),
    'user1', 3, fromUnixTimestamp64Micro(toInt64({since} + number) * 1000000) AS at, at + 5, at + 6, at + 3600, at + 86400, map('field', 'value'), ['a raw line']
FROM numbers(50000)"""

# What people did: of every second alert, and of every hundredth that it belongs to one of a hundred incidents.
DEEDS = """
INSERT INTO alert_history (chain, seq, at, alert_id, action, actor, text)
SELECT 'bench', number, fromUnixTimestamp64Micro(toInt64({since} + number) * 1000000), * EXCEPT (number)
FROM (SELECT number, toString(2 * number) AS alert_id, 'ack' AS action, 'lan' AS actor, '' AS text FROM numbers(25000)
      UNION ALL SELECT 25000 + number, toString(100 * number), 'incident', 'lan', concat('i', toString(number % 100)) FROM numbers(500)
      UNION ALL SELECT 26000 + number, concat('incident/i', toString(number)), 'open', 'lan', 'An incident' FROM numbers(100)
      UNION ALL SELECT 27000 + number, concat('incident/i', toString(number)), 'set', 'lan',
        concat('system system', toString(number % 28)) FROM numbers(100))"""

LINES = """
INSERT INTO link_days (link, day, name, organisation, mbps, mbps_min, sent, received, percent, samples, version)
SELECT concat('link', toString(number % 60)), toString(toDate({since}) - intDiv(number, 60)), concat('Line ', toString(number % 60)),
    'Organisation', 60, 30, rand(1) % 60, rand(2) % 60, rand(3) % 100, 288, 1 FROM numbers(60 * 365)"""

SCORES = """
INSERT INTO drill_scores (drill_id, drill, began_at, ended_at, detected, missed, passed)
SELECT concat('run', toString(number)), concat('drill', toString(number % 3)), fromUnixTimestamp64Micro(toInt64({since} - number * 86400) * 1000000)
    AS at, at + 600, 20, number % 3, number % 3 = 0 FROM numbers(365)"""

# The systems that events, flows and alerts are of.
SYSTEM = """
[[system]]
id = "system{number}"
name = "System {number}"
owner = "owner"
operator = "owner"
hosts = ["host{number:03}"]

[system.level]
approved = {level}
decision = "1"
date = "2026-01-15"
authority = "A"
basis = "B"
"""

# A drill, small: the dashboard of drills leaves out what is not one.
DRILL = """
INSERT INTO {table} SELECT * REPLACE ('drill-1' AS drill_id {more}) FROM {table} LIMIT 5000"""


def write(url, folder, sql):
    password = (folder / "data/store/writer.password").read_text().strip()
    headers = {"X-ClickHouse-User": "vonggac", "X-ClickHouse-Key": password}
    try:
        urllib.request.urlopen(urllib.request.Request(f"{url}/?database=vonggac", sql.encode(), headers)).read()
    except urllib.error.HTTPError as refusal:
        sys.exit(f"{sql}\n{refusal.read().decode()}")


def fill(url, folder, millions, since):
    rows = millions * 1_000_000
    step = DAY_S * 1_000_000 / rows
    for statement in (EVENTS, FLOWS):
        for first in range(0, rows, INSERT_ROWS):
            shared = SHARED.format(since=since, step=step)
            write(url, folder, statement.format(first=first, rows=INSERT_ROWS, shared=shared))
    for statement in (ALERTS, DEEDS, LINES, SCORES):
        write(url, folder, statement.format(since=since))
    for table, more in (("events", ""), ("flows", ""), ("alerts", ", concat('drill', id) AS id")):
        write(url, folder, DRILL.format(table=table, more=more))


def measure(url, folder, since):
    """The best time of each query; a query that fails ends the benchmark."""
    store = grafana.Store(url, (folder / "data/store/reader.password").read_text().strip())
    best = {}
    for _ in range(TRIES):
        for answer in grafana.ask_all(store, (since, since + DAY_S), {"host": "host007"}, as_opened=True):
            if "fault" in answer and answer["fault"] != "no rows":
                sys.exit(f"{answer['dashboard']} {answer['panel']}: {answer['fault']}")
            key = (answer["dashboard"], answer["panel"], answer.get("sql"))
            best[key] = min(best.get(key, (float("inf"), 0)), (answer["seconds"], answer["rows"]))
    return best


def main():
    args = argparse.ArgumentParser(usage=__doc__)
    args.add_argument("--million", type=int, default=10)
    args = args.parse_args()
    since = int(time.time()) // DAY_S * DAY_S - DAY_S
    with tempfile.TemporaryDirectory() as folder:
        site = Site(folder, f"{ROOT}/rules/sigma")
        systems = "".join(SYSTEM.format(number=number, level=1 + number % 4) for number in range(28))
        (site.folder / "systems.toml").write_text(f'[[organisation]]\nid = "owner"\nname = "Owner"\n{systems}')
        collector = site.start("vonggac", "serve", "--config", f"{folder}/vonggac.toml")
        try:
            wait("the collector is ready", site.ready)
            url = f"http://127.0.0.1:{site.ports['store']}"
            fill(url, site.folder, args.million, since)
            best = measure(url, site.folder, since)
        finally:
            collector.terminate()
            collector.wait()
    slowest = sorted(best.items(), key=lambda item: -item[1][0])
    for (dashboard, panel, _), (seconds, rows) in slowest:
        print(f"{seconds * 1000:7.0f} ms {rows:6} rows  {dashboard} · {panel}")
    sys.exit(1 if slowest[0][1][0] >= LIMIT_S else 0)


main()
