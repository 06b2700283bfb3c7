//! The embedded store's contract: real clients against the real `vonggac store`. What the collector, Grafana and people may rely
//! on, and what must be refused.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::python::interpreter;
use crate::site::{engine_present, program, root, until};

/// A batch of the collector's usual size: more rows than one block of the Native format's client-side reader took.
const BATCH: u64 = 5_000;

/// Where a store listens that may choose.
const FREE_PORT: &str = "127.0.0.1:0";

/// A running store; its data are removed when it is dropped.
pub(crate) struct Store {
    pub(crate) folder: TempDir,
    process: Child,
    pub(crate) address: SocketAddr,
}

fn library() -> PathBuf {
    std::env::var_os("VONGGAC_CHDB").map_or(root().join(".vonggac/lib/libchdb.so"), PathBuf::from)
}

fn command(data_dir: &Path, listen: &str) -> Command {
    let mut command = Command::new(program("vonggac"));
    command.args(["store", "--listen", listen, "--data-dir"]).arg(data_dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Starts a store as the collector does, and waits until it answers.
fn spawn(data_dir: &Path, listen: &str) -> Result<(Child, SocketAddr)> {
    let mut process = command(data_dir, listen).arg("--child").arg("--library").arg(library()).spawn()?;
    let mut line = String::new();
    BufReader::new(process.stdout.take().context("standard output")?).read_line(&mut line)?;
    let address = line.trim().strip_prefix("ready ").with_context(|| format!("not ready: {line:?}"))?;
    Ok((process, address.parse()?))
}

impl Store {
    pub(crate) fn start() -> Result<Self> {
        let folder = TempDir::new()?;
        let (process, address) = spawn(folder.path(), FREE_PORT)?;
        Ok(Self { folder, process, address })
    }

    /// Kills the store where it stands and starts it again on the same data and the same address.
    pub(crate) fn kill_and_restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        (self.process, self.address) = spawn(self.folder.path(), &self.address.to_string())?;
        Ok(())
    }

    fn password(&self, name: &str) -> String {
        let path = self.folder.path().join("store").join(format!("{name}.password"));
        std::fs::read_to_string(path).expect("a password is made at first start")
    }

    pub(crate) fn client(&self) -> Client {
        let url = format!("http://{}", self.address);
        Client::default().with_url(url).with_user("vonggac").with_password(self.password("writer"))
    }

    fn reader(&self) -> Client {
        self.client().with_user("grafana").with_password(self.password("reader"))
    }

    /// Sends a request as it stands and reads the answer to its end. `target` is what stands behind `/?`.
    fn http(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Result<Http> {
        let mut stream = TcpStream::connect(self.address)?;
        let length = body.len();
        // HTTP/1.0: the answer comes unchunked and ends with the connection.
        write!(stream, "{method} /?{target} HTTP/1.0\r\n{headers}Content-Length: {length}\r\n\r\n")?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let split =
            answer.windows(4).position(|four| four == b"\r\n\r\n").context("no end of the headers")?;
        let head = String::from_utf8(answer[..split].to_vec())?.to_ascii_lowercase();
        Ok(Http { head, body: answer[split + 4..].to_vec() })
    }

    /// The same, with the writer's or the reader's password.
    fn http_as(&self, user: &str, target: &str, body: &str) -> Result<Http> {
        let name = if user == "vonggac" { "writer" } else { "reader" };
        let headers =
            format!("X-ClickHouse-User: {user}\r\nX-ClickHouse-Key: {}\r\n", self.password(name).trim());
        self.http("POST", target, &headers, body.as_bytes())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended already
        let _ = self.process.wait();
    }
}

struct Http {
    head: String,
    body: Vec<u8>,
}

impl Http {
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|number| number.parse().ok()).expect("a status")
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Runs a test against a new store, unless there is no engine.
fn with_store<F: Future<Output = Result<()>>>(name: &str, test: impl FnOnce(Store) -> F) -> Result<()> {
    if !engine_present(name) {
        return Ok(());
    }
    let store = Store::start()?;
    runtime().block_on(test(store))
}

/// The text of an error that must have come.
fn error_of<T>(what: &str, result: Result<T, clickhouse::error::Error>) -> String {
    match result {
        Ok(_) => panic!("{what}: expected an error"),
        Err(error) => error.to_string(),
    }
}

/// The product's own tables.
async fn migrate(client: &Client) -> Result<()> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("deploy/clickhouse"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    ensure!(!files.is_empty(), "no schema in deploy/clickhouse");
    for path in files {
        let text: String = std::fs::read_to_string(&path)?
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"))
            .flat_map(|line| [line, "\n"])
            .collect();
        for statement in
            text.replace("{database}", "vonggac").split(";\n").filter(|part| !part.trim().is_empty())
        {
            client.query_raw(statement).execute().await.with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// One column of each type that the table of events has.
#[derive(Clone, Debug, Deserialize, PartialEq, Row, Serialize)]
struct Event {
    ts: i64,
    kind: String,
    epoch: u64,
    record: u32,
    sys_level: u8,
    retention_days: u16,
    rules: Vec<String>,
    message: String,
    raw: String,
    src_ip: Ipv6Addr,
    fields: Vec<(String, String)>,
}

impl Event {
    fn numbered(number: u64) -> Self {
        let [.., high, low] = number.to_be_bytes();
        Self {
            ts: 1_790_000_000_000_000 + i64::try_from(number).expect("small") * 1_001,
            kind: ["sshd", "sudo", "webserver"][usize::from(low) % 3].into(),
            epoch: u64::MAX - number,
            record: u32::from(low),
            sys_level: low % 6,
            retention_days: 400 + u16::from(high > 250),
            rules: (0..low % 3).map(|n| format!("rule-{n}")).collect(),
            message: format!("Đăng nhập thất bại số {number}: 'it\\'s' \t\n\0"),
            raw: format!("\0{low}\n"),
            src_ip: Ipv6Addr::from(u128::from(number) << 64 | 0x2001),
            fields: vec![("a0".into(), format!("{number}")), ("".into(), "".into())],
        }
    }
}

#[test]
fn rows_of_the_event_table_come_back_as_they_were() -> Result<()> {
    with_store("typed rows", async |store| {
        let client = store.client();
        migrate(&client).await?;
        let client = client.with_database("vonggac");
        let columns =
            "ts, kind, epoch, record, sys_level, retention_days, rules, message, raw, src_ip, fields";
        client.query_raw(&format!("CREATE TABLE vonggac.some ENGINE = MergeTree ORDER BY ts AS SELECT {columns} FROM vonggac.events WHERE 0")).execute().await?;
        let rows: Vec<Event> = (0..BATCH).map(Event::numbered).collect();
        let mut insert = client.insert::<Event>("some").await?;
        for row in &rows {
            insert.write(row).await?;
        }
        insert.end().await?;
        let sql = "SELECT ?fields FROM vonggac.some ORDER BY ts";
        assert_eq!(client.query(sql).fetch_all::<Event>().await?, rows);
        // Into the real table, through all of its indexes, and back as a reader.
        client
            .query_raw(&format!("INSERT INTO vonggac.events ({columns}) SELECT * FROM vonggac.some"))
            .execute()
            .await?;
        let found: u64 = store
            .reader()
            .query("SELECT count() FROM vonggac.events WHERE hasAllTokens(message, 'nhập') AND src_ip = ?")
            .bind("0:0:0:7::2001")
            .fetch_one()
            .await?;
        assert_eq!(found, 1);
        // Bytes that are no text, behind the statement in one body.
        let body = b"INSERT INTO vonggac.some (raw) FORMAT RowBinary\n\x04\xFF;\0\n";
        let headers =
            format!("X-ClickHouse-User: vonggac\r\nX-ClickHouse-Key: {}\r\n", store.password("writer"));
        assert_eq!(store.http("POST", "", &headers, body)?.status(), 200);
        let raw = "SELECT hex(raw) FROM some WHERE message = ''";
        assert_eq!(client.query(raw).fetch_one::<String>().await?, "FF3B000A");
        assert_eq!(client.query("SELECT count() FROM vonggac.otel_logs").fetch_one::<u64>().await?, BATCH);
        Ok(())
    })
}

#[test]
fn statements_get_their_parameters_and_results_their_rows() -> Result<()> {
    with_store("parameters", async |store| {
        let client = store.reader();
        let text = "it's \\ {a} ệ\t\n;";
        let query = client.query("SELECT {text:String}, arraySum({list:Array(UInt8)}), {n:UInt64}");
        let row: (String, u64, u64) =
            query.param("text", text).param("list", vec![1, 2]).param("n", u64::MAX).fetch_one().await?;
        assert_eq!(row, (text.to_owned(), 3, u64::MAX));
        assert_eq!(client.query("SELECT ?").bind(text).fetch_one::<String>().await?, text);
        let unknown = client.query("SELECT {nobody:UInt8}").param("other", 1).fetch_one::<u8>().await;
        assert!(error_of("a missing parameter", unknown).contains("Code: 456"));

        // Several blocks, of which each repeats its head.
        let rows: Vec<(u64, String)> =
            client.query("SELECT number, toString(number) FROM numbers(300000)").fetch_all().await?;
        assert_eq!(rows.len(), 300_000);
        assert!(rows.iter().zip(0..).all(|((n, text), at)| *n == at && *text == at.to_string()));

        // None at all, with and without a parameter.
        let none = "SELECT number, 'x' AS x FROM numbers(10) WHERE number > {least:UInt8}";
        assert_eq!(client.query(none).param("least", 200).fetch_all::<(u64, String)>().await?, []);
        let none = client.query("SHOW TABLES FROM system LIKE 'nobody'").fetch_all::<String>().await?;
        assert_eq!(none, Vec::<String>::new());

        let limited =
            client.query("SELECT toUInt64(getSetting('max_threads'))").with_setting("max_threads", "1");
        assert_eq!(limited.fetch_one::<u64>().await?, 1);
        let database = client.clone().with_database("system");
        assert_eq!(database.query("SELECT currentDatabase()").fetch_one::<String>().await?, "system");
        assert_eq!(client.query("SELECT timezone()").fetch_one::<String>().await?, "UTC");
        Ok(())
    })
}

#[test]
fn errors_say_what_clickhouse_says() -> Result<()> {
    with_store("errors", async |store| {
        let client = store.client();
        for (sql, code) in [
            ("SELEC 1", "Code: 62."),
            ("gibberish", "Code: 62."),
            ("SELECT * FROM nobody", "Code: 60."),
            ("SELECT nobody()", "Code: 46."),
            ("SELECT 1; SELECT 2", "Code: 62."),
            ("CREATE TABLE t (x UInt8) ENGINE = MergeTree ORDER BY y", "Code: 47."),
            ("SELECT throwIf(1)", "Code: 395."),
        ] {
            let text = error_of(sql, client.query_raw(sql).execute().await);
            assert!(text.contains(code) && text.contains("(version 26."), "{sql}: {text}");
        }
        let unknown = client.clone().with_database("nobody").query("SELECT 1").execute().await;
        assert!(error_of("an unknown database", unknown).contains("Code: 81."));
        let unknown = client.query("SELECT 1").with_setting("nobody", "1").execute().await;
        assert!(error_of("an unknown setting", unknown).contains("Code: 115."));

        // In the middle of a result, when the status is long gone.
        let sql = "SELECT throwIf(number = 20, 'bị hỏng'), sleepEachRow(0.02) FROM numbers(30) \
                   SETTINGS max_block_size = 1, max_threads = 1";
        let mut rows = client.query(sql).fetch::<(u8, u8)>()?;
        let mut seen = 0;
        let text = loop {
            match rows.next().await {
                Ok(Some(_)) => seen += 1,
                Ok(None) => bail!("the result ended as if it were whole, after {seen} rows"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(seen > 0 && text.contains("Code: 395.") && text.contains("bị hỏng"), "{seen} rows: {text}");

        // The connection and the store are as good as before.
        assert_eq!(client.query("SELECT 1").fetch_one::<u8>().await?, 1);
        let bad =
            store.http_as("vonggac", "query=INSERT+INTO+FUNCTION+null('x+UInt8')+FORMAT+TSV", "1\nx\n")?;
        assert_eq!(
            (bad.status(), bad.head.contains("x-clickhouse-exception-code: 27")),
            (400, true),
            "{}",
            bad.text()
        );
        Ok(())
    })
}

#[derive(Row, Serialize)]
struct Numbered {
    n: u64,
}

async fn insert_numbers(client: &Client, numbers: std::ops::Range<u64>, token: &str) -> Result<()> {
    let mut insert = client.insert::<Numbered>("t").await?.with_setting("insert_deduplication_token", token);
    for n in numbers {
        insert.write(&Numbered { n }).await?;
    }
    Ok(insert.end().await?)
}

async fn create_numbers(client: &Client) -> Result<()> {
    let sql = "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n";
    Ok(client.query(sql).execute().await?)
}

/// Rows, different rows, and their sum: equal only if nothing is missing and nothing is double.
async fn state(client: &Client) -> Result<(u64, u64, u64)> {
    Ok(client.query("SELECT count(), uniqExact(n), sum(n) FROM t").fetch_one().await?)
}

#[test]
fn an_insert_is_stored_whole_once_or_not_at_all() -> Result<()> {
    with_store("inserts", async |store| {
        let client = store.client();
        create_numbers(&client).await?;
        insert_numbers(&client, 0..BATCH, "a").await?;
        insert_numbers(&client, 0..BATCH, "a").await?; // again: the collector did not hear the yes
        insert_numbers(&client, BATCH..2 * BATCH, "b").await?;
        let whole = (2 * BATCH, 2 * BATCH, BATCH * (2 * BATCH - 1));
        assert_eq!(state(&client).await?, whole);

        // A client that dies in the middle: some of its body has come, its end has not.
        let mut insert = client.insert::<Numbered>("t").await?;
        for n in 0..200_000 {
            insert.write(&Numbered { n }).await?;
        }
        drop(insert);
        let mut stream = TcpStream::connect(store.address)?;
        let password = store.password("writer");
        write!(
            stream,
            "POST /?user=vonggac&password={password}&query=INSERT+INTO+t+FORMAT+TSV HTTP/1.1\r\nHost: x\r\n\
             Content-Length: 100\r\n\r\n1\n2\n3\n"
        )?;
        drop(stream);
        let running = "SELECT count() FROM system.processes WHERE query_kind = 'Insert'";
        until_answer(&client, "no insert runs", running, 0).await?;
        assert_eq!(state(&client).await?, whole);

        // Data that stand in the statement.
        let values = store.http_as("vonggac", "", "INSERT INTO t (n) VALUES (1000000), (1000000 + 1);")?;
        assert_eq!((values.status(), values.text().as_str()), (200, ""));
        let lines = store.http_as(
            "vonggac",
            "",
            "INSERT INTO t FORMAT JSONEachRow\n{\"n\": 1000002}\n{\"n\": \"1000003\"}",
        )?;
        assert!(lines.head.contains(r#""written_rows":"2""#), "{}", lines.head);
        assert_eq!(state(&client).await?.0, 2 * BATCH + 4);
        Ok(())
    })
}

/// Asks until the answer is `expected`.
async fn until_answer(client: &Client, what: &str, sql: &str, expected: u64) -> Result<()> {
    let (client, runtime) = (client.clone(), tokio::runtime::Handle::current());
    tokio::task::block_in_place(|| {
        until(what, || {
            let answer: u64 = runtime.block_on(client.query_raw(sql).fetch_one())?;
            ensure!(answer == expected, "{sql}: {answer}");
            Ok(Some(()))
        })
    })
}

#[test]
fn a_killed_store_has_what_it_acknowledged() -> Result<()> {
    with_store("kill -9", async |mut store| {
        create_numbers(&store.client()).await?;
        let mut next = 0;
        for round in 0..3 {
            let client = store.client();
            // Inserts flow until the store is killed under them; those after it has died fail.
            let flow = tokio::spawn(async move {
                let mut acknowledged = next;
                while insert_numbers(&client, acknowledged..acknowledged + BATCH, &acknowledged.to_string())
                    .await
                    .is_ok()
                {
                    acknowledged += BATCH;
                }
                acknowledged
            });
            let client = store.client();
            let sql = format!("SELECT toUInt64(max(n) >= {}) FROM t", next + 3 * BATCH);
            until_answer(&client, "some batches are stored", &sql, 1).await?;
            store.kill_and_restart()?;
            next = flow.await?;
            assert!(next > 0, "nothing was acknowledged in round {round}");
            let (_, different, _) = state(&store.client()).await?;
            assert!(different >= next, "round {round}: {next} rows acknowledged, {different} there");
            // What was not acknowledged is sent again, as the collector does, and so is one that was.
            for first in [next - BATCH, next] {
                insert_numbers(&store.client(), first..first + BATCH, &first.to_string()).await?;
            }
            next += BATCH;
            assert_eq!(state(&store.client()).await?, (next, next, next * (next - 1) / 2), "round {round}");
        }
        Ok(())
    })
}

#[test]
fn a_reader_only_reads() -> Result<()> {
    with_store("reader", async |store| {
        create_numbers(&store.client()).await?;
        let reader = store.reader();
        for sql in [
            "SELECT count() FROM t",
            "SHOW TABLES",
            "DESCRIBE TABLE t",
            "EXPLAIN SELECT 1",
            "WITH 1 AS x SELECT x",
            "EXISTS TABLE t",
        ] {
            reader.query_raw(sql).execute().await.with_context(|| sql.to_owned())?;
        }
        for sql in [
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t SELECT 1",
            "CREATE TABLE u (n UInt8) ENGINE = Memory",
            "CREATE TEMPORARY TABLE u (n UInt8)",
            "DROP TABLE t",
            "ALTER TABLE t DELETE WHERE 1",
            "TRUNCATE TABLE t",
            "OPTIMIZE TABLE t",
            "KILL QUERY WHERE 1",
            "SYSTEM RELOAD DICTIONARIES",
            "SET readonly = 0",
            "USE system",
            "SELECT 1 SETTINGS readonly = 0",
            "SELECT * FROM file('/etc/hostname', LineAsString)",
            "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
            "SELECT * FROM remote('127.0.0.1', system.one)",
            "SELECT file('/etc/hostname')",
            "SELECT `f\\x69le`('/etc/hostname')",
            "SELECT * APPLY file FROM (SELECT '/etc/hostname')",
            "SELECT 1 INTO OUTFILE '/tmp/vonggac-test-outfile'",
            "SELECT 1; DROP TABLE t",
            "SELECT 1; DROP TABLE t; gibberish",
            "EXPLAIN SELECT 1; KILL QUERY WHERE 1; gibberish",
        ] {
            let error = error_of(sql, reader.query_raw(sql).execute().await);
            assert!(
                ["Code: 164.", "Code: 497.", "Code: 344.", "Code: 62."]
                    .iter()
                    .any(|code| error.contains(code)),
                "{sql}: {error}"
            );
        }
        assert!(
            error_of("a setting", reader.query("SELECT 1").with_setting("readonly", "0").execute().await)
                .contains("Code: 164.")
        );
        assert_eq!(store.client().query("EXISTS TABLE t").fetch_one::<u8>().await?, 1);
        Ok(())
    })
}

/// The engine's grants do not hold for these: they ask for none. The process itself must not reach the files.
#[test]
fn the_stores_process_reads_its_data_and_no_other_file() -> Result<()> {
    with_store("files", async |store| {
        let secret = store.folder.path().join("store/writer.password");
        let elsewhere = store.folder.path().join("key");
        std::fs::write(&elsewhere, "a key")?;
        for path in [&secret, &elsewhere] {
            let sql = format!("SELECT file('{}')", path.display());
            let error = error_of(&sql, store.client().query_raw(&sql).fetch_all::<String>().await);
            assert!(error.contains("Permission denied"), "no Landlock here (Linux 5.19)? {error}");
        }
        for (name, client) in [("writer", store.client()), ("reader", store.reader())] {
            let template = client.query_raw("SELECT 1 FORMAT Template");
            let template = template.with_setting("format_template_row", secret.to_string_lossy());
            assert!(error_of(name, template.execute().await).contains("Code: 452."), "{name}");
        }
        // Names are resolved, for dictionaries over tables of this very store.
        let client = store.client();
        client.query("CREATE TABLE d (k UInt64, v String) ENGINE = MergeTree ORDER BY k").execute().await?;
        client.query("INSERT INTO d VALUES (1, 'one')").execute().await?;
        let dictionary = "CREATE DICTIONARY dd (k UInt64, v String) PRIMARY KEY k LAYOUT(FLAT()) LIFETIME(0) \
                          SOURCE(CLICKHOUSE(TABLE 'd'))";
        client.query(dictionary).execute().await?;
        assert_eq!(client.query("SELECT dictGet('dd', 'v', 1)").fetch_one::<String>().await?, "one");
        Ok(())
    })
}

#[test]
fn nobody_reaches_beyond_the_tables() -> Result<()> {
    with_store("refusals", async |store| {
        let client = store.client();
        create_numbers(&client).await?;
        let file = store.folder.path().join("written");
        let path = file.display();
        for (sql, code) in [
            (format!("SELECT 1 INTO OUTFILE '{path}'"), "Code: 344."),
            (format!("SELECT 1 INTO/**/OUTFILE '{path}' FORMAT CSV"), "Code: 344."),
            ("INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV".into(), "Code: 344."),
            (format!("INSERT INTO FUNCTION file('{path}', CSV, 'n UInt8') SELECT 1"), "Code: 497."),
            ("SELECT * FROM file('/etc/hostname', LineAsString)".into(), "Code: 497."),
            ("SELECT * FROM url('http://127.0.0.1:1/', LineAsString)".into(), "Code: 497."),
            ("SELECT * FROM remote('127.0.0.1', system.one)".into(), "Code: 497."),
            ("SELECT * FROM executable('id', TSV, 'x String')".into(), "Code: "),
            ("CREATE TABLE f (x UInt8) ENGINE = File(CSV)".into(), "Code: 497."),
            (format!("BACKUP TABLE t TO File('{path}')"), "Code: "),
            (format!("COPY t TO '{path}'"), "Code: "),
            ("CREATE USER eve".into(), "Code: 497."),
            ("SYSTEM SHUTDOWN".into(), "Code: 497."),
        ] {
            let error = error_of(&sql, client.query_raw(&sql).execute().await);
            assert!(error.contains(code), "{sql}: {error}");
        }
        assert!(!file.try_exists()?, "{path} was written");

        for (user, password) in
            [("vonggac", ""), ("vonggac", "wrong"), ("default", ""), ("grafana", &store.password("writer"))]
        {
            let client = store.client().with_user(user).with_password(password);
            let error = error_of(user, client.query("SELECT 1").execute().await);
            assert!(error.contains("Code: 516."), "{user}: {error}");
        }
        let nobody = store.http("GET", "query=SELECT+1", "", b"")?;
        assert_eq!(nobody.status(), 403);
        assert_eq!(store.http("GET", "", "", b"")?.status(), 403); // an address with an empty query is a request
        let password = store.password("writer");
        let get =
            store.http("GET", &format!("user=vonggac&password={password}&query=DROP+TABLE+t"), "", b"")?;
        assert!(get.text().contains("Code: 164."), "{}", get.text());
        Ok(())
    })
}

#[test]
fn a_client_that_hangs_up_ends_its_statement() -> Result<()> {
    with_store("hang up", async |store| {
        let client = store.client();
        let running = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow%' AND query NOT LIKE '%processes%'";
        for sql in [
            "SELECT count() FROM numbers(1000000) WHERE sleepEachRow(0.01) = 0",
            "SELECT sleepEachRow(0.01), number FROM numbers(1000000)",
        ] {
            let mut stream = TcpStream::connect(store.address)?;
            let password = store.password("reader");
            write!(
                stream,
                "POST /?user=grafana&password={password}&max_block_size=10&function_sleep_max_microseconds_per_block=0 HTTP/1.1\r\n\
                 Host: x\r\nContent-Length: {}\r\n\r\n{sql}",
                sql.len()
            )?;
            until_answer(&client, "the statement runs", running, 1).await?;
            drop(stream);
            until_answer(&client, "the statement is killed", running, 0).await?;
        }
        Ok(())
    })
}

#[test]
fn a_session_keeps_its_settings_and_temporary_tables() -> Result<()> {
    with_store("sessions", async |store| {
        let ask = |target: &str, sql: &str| store.http_as("vonggac", target, sql).map(|answer| answer.text());
        ask("session_id=s", "CREATE TEMPORARY TABLE mine (n UInt8)")?;
        ask("session_id=s", "SET max_threads = 1")?;
        assert_eq!(
            ask(
                "session_id=s&max_block_size=7",
                "SELECT getSetting('max_threads'), getSetting('max_block_size')"
            )?,
            "1\t7\n"
        );
        assert_ne!(ask("session_id=s", "SELECT getSetting('max_block_size')")?, "7\n"); // a request's setting ends with it
        assert!(ask("session_id=other", "SELECT * FROM mine")?.contains("Code: 60."));
        assert!(store.http_as("grafana", "session_id=s", "SELECT * FROM mine")?.text().contains("Code: 60."));
        assert!(ask("session_id=new&session_check=1", "SELECT 1")?.contains("Code: 372."));
        assert_eq!(ask("session_id=s&close_session=1", "SELECT count() FROM mine")?, "0\n");
        assert!(ask("session_id=s", "SELECT * FROM mine")?.contains("Code: 60."));
        Ok(())
    })
}

#[test]
fn the_go_driver_is_told_that_blocks_are_of_revision_0() -> Result<()> {
    with_store("handshake", async |store| {
        let target = "client_protocol_version=54485&default_format=Native";
        let answer =
            store.http_as("grafana", target, "SELECT displayName(), version(), revision(), timezone()")?;
        let begin = b"\x01\x00\x02\xFF\xFF\xFF\xFF\x00\x04\x01\x0DdisplayName()\x06String\x00";
        assert!(answer.body.starts_with(begin), "{:?}", answer.body);
        assert!(
            answer.body.ends_with(b"\x0Arevision()\x06UInt32\x00\0\0\0\0\x0Atimezone()\x06String\x00\x03UTC")
        );
        // What it asks next comes as plain blocks: no block info, nothing behind the type.
        assert_eq!(store.http_as("grafana", target, "SELECT 1")?.body, b"\x01\x01\x011\x05UInt8\x01");
        Ok(())
    })
}

#[test]
fn a_dictionary_beyond_its_lifetime_is_loaded_again() -> Result<()> {
    with_store("dictionaries", async |store| {
        let client = store.client();
        for sql in [
            "CREATE TABLE words (id UInt64, word String) ENGINE = MergeTree ORDER BY id",
            "INSERT INTO words VALUES (1, 'old')",
            "CREATE DICTIONARY dict (id UInt64, word String) PRIMARY KEY id SOURCE(CLICKHOUSE(TABLE 'words')) LAYOUT(HASHED()) LIFETIME(1)",
        ] {
            client.query_raw(sql).execute().await.with_context(|| sql.to_owned())?;
        }
        let sql = "SELECT toUInt64(dictGet('dict', 'word', 1) = 'new')";
        assert_eq!(client.query(sql).fetch_one::<u64>().await?, 0);
        client
            .query("ALTER TABLE words UPDATE word = 'new' WHERE 1 SETTINGS mutations_sync = 1")
            .execute()
            .await?;
        until_answer(&client, "the dictionary is loaded again", sql, 1).await
    })
}

fn refused(command: &mut Command) -> Result<String> {
    let Output { status, stderr, .. } = command.stdin(Stdio::null()).output()?;
    assert_eq!(status.code(), Some(2), "the exit code");
    Ok(String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn a_store_that_cannot_start_says_why() -> Result<()> {
    let folder = TempDir::new()?;
    let said = refused(command(folder.path(), FREE_PORT).args(["--library", "/nowhere/libchdb.so"]))?;
    assert!(said.contains("/nowhere/libchdb.so") && said.contains("deploy/fetch-engine"), "{said}");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8123"] {
        let mut command = Command::new(program("vonggac"));
        let said = refused(command.args(["store", "--listen", address, "--data-dir"]).arg(folder.path()))?;
        assert!(said.contains("loopback"), "{address}: {said}");
    }
    let not_a_library = folder.path().join("libchdb.so");
    std::fs::write(&not_a_library, "text")?;
    let said = refused(command(folder.path(), FREE_PORT).arg("--library").arg(&not_a_library))?;
    assert!(said.contains("cannot load"), "{said}");
    Ok(())
}

#[test]
fn data_are_served_by_one_store() -> Result<()> {
    with_store("one store", async |store| {
        let said = refused(command(store.folder.path(), FREE_PORT).arg("--library").arg(library()))?;
        assert!(said.contains("in use by another"), "{said}");
        Ok(())
    })
}

#[test]
fn a_store_ends_with_its_parent_and_on_a_signal() -> Result<()> {
    with_store("stop", async |mut store| {
        create_numbers(&store.client()).await?;
        insert_numbers(&store.client(), 0..BATCH, "a").await?;
        drop(store.process.stdin.take()); // what the death of the parent does
        assert!(store.process.wait()?.success());
        (store.process, store.address) = spawn(store.folder.path(), FREE_PORT)?;
        assert_eq!(state(&store.client()).await?.0, BATCH);
        let id = store.process.id().to_string();
        assert!(Command::new("kill").arg(&id).status()?.success());
        assert!(store.process.wait()?.success());
        Ok(())
    })
}

#[test]
fn the_official_python_client_agrees() -> Result<()> {
    with_store("clickhouse-connect", async |store| {
        let Some(python) = interpreter("clickhouse-connect", "clickhouse_connect.txt")? else {
            return Ok(());
        };
        let output = Command::new(python)
            .arg(root().join("tests/python/clickhouse_connect_contract.py"))
            .args([&store.address.port().to_string(), &store.password("writer"), &store.password("reader")])
            .stdin(Stdio::null())
            .output()?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
        Ok(())
    })
}
