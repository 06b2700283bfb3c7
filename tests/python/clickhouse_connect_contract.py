"""The embedded store as the official Python client sees it.

    python clickhouse_connect_contract.py PORT WRITER_PASSWORD READER_PASSWORD

The client speaks another dialect of the protocol than the Rust crate: sessions by default, Native blocks both ways,
Content-Encoding on inserts, summaries and query ids in headers. Ends with 0 when every check holds.
"""

import datetime
import ipaddress
import sys
import uuid

import clickhouse_connect
from clickhouse_connect.driver.exceptions import DatabaseError

PORT, WRITER, READER = int(sys.argv[1]), sys.argv[2], sys.argv[3]
UTC = datetime.timezone.utc
COLUMNS = {
    "id": "UInt64",
    "at": "DateTime64(6, 'UTC')",
    "day": "Date",
    "kind": "LowCardinality(String)",
    "text": "String",
    "maybe": "Nullable(Int32)",
    "real": "Float64",
    "ip": "IPv6",
    "rules": "Array(LowCardinality(String))",
    "fields": "Map(String, String)",
    "flag": "Bool",
    "key": "UUID",
    "pair": "Tuple(UInt8, String)",
}


def connect(user="vonggac", password=WRITER, **options):
    return clickhouse_connect.get_client(host="127.0.0.1", port=PORT, username=user, password=password, tz_mode="aware", **options)


def row(number):
    return [
        number,
        datetime.datetime(2026, 11, 23, tzinfo=UTC) + datetime.timedelta(microseconds=number),
        datetime.date(2026, 11, 1 + number % 28),
        ["sshd", "sudo", "webserver"][number % 3],
        f"dòng số {number}; 'it\\'s'\t\n",
        None if number % 5 == 0 else -number,
        number / 7,
        ipaddress.IPv6Address(number << 64 | 1),
        [f"rule-{n}" for n in range(number % 3)],
        {"a0": str(number)},
        number % 2 == 0,
        uuid.UUID(int=number),
        (number % 256, "x"),
    ]


def refused(code, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except DatabaseError as error:
        # The client writes the code as the server does ("Code: 62.") or in words of its own ("error code 62").
        assert str(code) in str(error), f"expected {code}: {error}"
        return
    raise AssertionError(f"expected an error {code} of {arguments}")


def rows_come_back(client, compression):
    client.command("DROP TABLE IF EXISTS t")
    client.command(
        f"CREATE TABLE t ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())}) ENGINE = MergeTree ORDER BY id"
    )
    rows = [row(number) for number in range(5_000)]
    summary = client.insert("t", rows, column_names=list(COLUMNS))
    assert summary.written_rows == 5_000, summary.summary
    result = client.query("SELECT * FROM t ORDER BY id")
    assert list(result.column_names) == list(COLUMNS)
    for found, expected in zip(result.result_rows, rows, strict=True):
        assert list(found) == expected, f"compression {compression}: {found} is not {expected}"
    assert client.query("SELECT * FROM t WHERE id > 5000").result_rows == []


def tokens_deduplicate(client):
    client.command("CREATE TABLE once (n UInt64) ENGINE = MergeTree ORDER BY n")
    for _ in range(2):
        client.insert("once", [[n] for n in range(100)], column_names=["n"], settings={"insert_deduplication_token": "a"})
    assert client.command("SELECT count() FROM once") == 100
    client.raw_insert("once", insert_block=b'{"n": 100}\n{"n": 101}\n', fmt="JSONEachRow")
    client.raw_insert("once", insert_block="102\n103\n", fmt="TSV", column_names=["n"])
    assert client.command("SELECT sum(n) FROM once") == sum(range(104))


def queries(client):
    assert client.command("SELECT timezone()") == "UTC"
    assert client.server_version.startswith("26.")
    found = client.query("SELECT {a:String} AS a, {n:UInt8} + 1 AS b", parameters={"a": "it's; \\ ệ\t", "n": 4})
    assert found.result_rows == [("it's; \\ ệ\t", 5)]
    assert client.query("SELECT number FROM numbers(300000)").row_count == 300_000
    with client.query_row_block_stream("SELECT number FROM numbers(200000)") as stream:
        assert sum(len(block) for block in stream) == 200_000
    assert client.raw_query("SELECT 1 AS x", fmt="JSONEachRow") == b'{"x":1}\n'
    assert client.query("SELECT getSetting('max_threads')", settings={"max_threads": 1}).first_row == (1,)
    assert client.query("SELECT 1", settings={"query_id": "mine"}).query_id == "mine"
    assert client.query("SELECT * FROM system.one").summary["result_rows"] is not None


def sessions(client):
    client.command("CREATE TEMPORARY TABLE mine (n UInt8)")
    client.command("INSERT INTO mine VALUES (7)")
    assert client.command("SELECT n FROM mine") == 7
    other = connect()
    refused(60, other.command, "SELECT n FROM mine")
    other.close()


def errors(client):
    refused(62, client.query, "SELEC 1")
    refused(60, client.query, "SELECT * FROM nobody")
    refused(395, client.query, "SELECT throwIf(number = 250000) FROM numbers(300000)")
    refused(27, client.raw_insert, "once", insert_block="x\n", fmt="TSV")
    refused(344, client.command, "SELECT 1 INTO OUTFILE '/tmp/vonggac-test-outfile'")
    try:
        client.query("SELECT 1", settings={"nobody": 1})
        raise AssertionError("an unknown setting was taken")
    except clickhouse_connect.driver.exceptions.Error:
        pass
    assert client.command("SELECT 1") == 1


def readers(reader):
    assert reader.query("SELECT count() FROM t").first_row == (5_000,)
    refused(164, reader.command, "DROP TABLE t")
    refused(164, reader.insert, "once", [[1]], column_names=["n"])
    refused(164, reader.command, "KILL QUERY WHERE 1")
    refused(344, reader.query, "SELECT * FROM file('/etc/hostname', LineAsString)")


def main():
    for compression in [False, "lz4", "zstd", "gzip", "deflate"]:
        if compression == "deflate":  # only for answers
            client = connect(compress="deflate")
            assert client.query("SELECT * FROM t").row_count == 5_000
            continue
        client = connect(compress=compression)
        rows_come_back(client, compression)
    client = connect()
    tokens_deduplicate(client)
    queries(client)
    sessions(client)
    errors(client)
    readers(connect("grafana", READER))
    refused(516, connect, "vonggac", "wrong")
    refused(516, connect, "default", "")
    print("clickhouse-connect", clickhouse_connect.__version__, "agrees")


main()
