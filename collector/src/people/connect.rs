//! A connection to the store, made from the configuration: for one who reads, and for the few commands that write, with
//! the writer's password ([`Writer`]).
//!
//! An error says what was tried, where, and what to do next: most often the daemon is not running, or the person may not
//! read its files.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clickhouse::{Client, Row, RowOwned, RowRead};
use event::Micros;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::ask::bounded;
use crate::config::{Config, ConfigArg, Endpoint};
use crate::insert::{Insert, Refused};
use crate::people::filter::{Bound, Filter};
use crate::people::when::MICROS_PER_S;
use crate::row_binary::{Encode, encoded};
use crate::store_client::{ClientError, client};

/// A question to the store takes no longer: a person waits, and a script must not hang on a dead connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The store, open for reading.
pub(crate) struct Reader {
    client: Client,
    url: String,
    embedded: bool,
}

impl Reader {
    /// Prepares a connection; nothing is sent yet.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let advice = "the store's password for readers is not there or not readable: `vonggac serve` writes it at its first \
                      start, and only its own user and root may read it; deploy/INSTALL.md gives it to a group of readers";
        Self::at(config, config.reader_endpoint(), advice)
    }

    /// The same questions, asked as the writer.
    fn open_as_writer(config: &Config) -> Result<Self> {
        let advice = "this command writes to the store, and you may not read the writer's password: become the user of \
                      `vonggac serve` or root (`sudo -u vonggac vonggac ...`)";
        Self::at(config, config.endpoint(), advice)
    }

    /// `advice`: why the embedded store's password may not be there.
    fn at(config: &Config, endpoint: Endpoint, advice: &'static str) -> Result<Self> {
        let embedded = config.clickhouse.url.is_none();
        let client = match client(&endpoint) {
            Err(ClientError::Password(error)) if embedded => Err(error).context(advice)?,
            Err(ClientError::Password(error)) => {
                Err(error).context("the password that clickhouse.password_file names")?
            }
            made => made?,
        };
        Ok(Self { client, url: endpoint.url, embedded })
    }

    /// All rows of a query whose WHERE holds `filter`'s conditions.
    pub(crate) async fn rows<T>(&self, sql: &str, filter: &Filter) -> Result<Vec<T>>
    where
        T: RowOwned + RowRead,
    {
        self.rows_within(sql, filter, ANSWER_TIMEOUT).await
    }

    /// The same for a question that reads much.
    pub(crate) async fn rows_within<T>(&self, sql: &str, filter: &Filter, timeout: Duration) -> Result<Vec<T>>
    where
        T: RowOwned + RowRead,
    {
        let query = filter.bind(self.client.query_raw(sql)).fetch_all::<T>();
        match tokio::time::timeout(timeout, query).await {
            Ok(rows) => rows.map_err(|error| self.explained(error)),
            Err(_) => Err(self.silent(timeout)),
        }
    }

    /// The one row of a query without conditions.
    pub(crate) async fn row<T>(&self, sql: &str) -> Result<T>
    where
        T: RowOwned + RowRead,
    {
        let mut rows = self.rows(sql, &Filter::default()).await?;
        rows.pop().ok_or_else(|| anyhow!("the store at {} answered without a row", self.url))
    }

    /// The rows of a query of a hunt, as JSON. Its parameters are `from`, `to` (microseconds) and `drill`.
    pub(crate) async fn objects(
        &self,
        sql: &str,
        (from, to): (Micros, Micros),
        drill: &str,
    ) -> Result<Vec<Map<String, Value>>> {
        // It is asked again after a while: the server shall not go on with what nobody waits for.
        let client = bounded(&self.client, ANSWER_TIMEOUT);
        let query = client.query_raw(sql).param("from", moment(from)).param("to", moment(to));
        // Numbers stay numbers.
        let query = query.param("drill", drill).with_setting("output_format_json_quote_64bit_integers", "0");
        let answer = async { query.fetch_bytes("JSONEachRow")?.collect().await };
        let bytes = match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(bytes) => bytes.map_err(|error| self.explained(error))?,
            Err(_) => return Err(self.silent(ANSWER_TIMEOUT)),
        };
        let rows = serde_json::Deserializer::from_slice(&bytes).into_iter();
        rows.collect::<Result<_, _>>().context("the store's answer is no JSON")
    }

    /// The number of the last batch of a sender that is stored.
    pub(crate) async fn last_batch(&self, agent: &str, epoch: u64) -> Result<Option<u64>> {
        let mut filter = Filter::default();
        filter.and("a.agent = {}", Bound::Text(agent.to_owned())).and("a.epoch = {}", Bound::Number(epoch));
        let sql =
            format!("SELECT max(a.seq) AS seq FROM agents AS a WHERE {} HAVING count() > 0", filter.sql());
        Ok(self.rows::<Last>(&sql, &filter).await?.first().map(|last| last.seq))
    }

    fn silent(&self, timeout: Duration) -> anyhow::Error {
        anyhow!("the store at {} gave no answer within {} s", self.url, timeout.as_secs())
    }

    fn explained(&self, error: clickhouse::error::Error) -> anyhow::Error {
        use clickhouse::error::Error;
        let advice = match &error {
            Error::Network(_) if self.embedded => {
                "cannot be reached: is `vonggac serve` running on this machine?"
            }
            Error::Network(_) => "cannot be reached: is clickhouse.url right, and that server up?",
            Error::BadResponse(text)
                if text.contains("UNKNOWN_TABLE") || text.contains("UNKNOWN_DATABASE") =>
            {
                "has no tables yet: `vonggac serve` makes them at its start"
            }
            Error::BadResponse(text) if text.contains("AUTHENTICATION_FAILED") => {
                "refuses the user or the password"
            }
            _ => "did not answer the question",
        };
        anyhow::Error::new(error).context(format!("the store at {} {advice}", self.url))
    }
}

/// The store, open for one who may write to it.
pub(crate) struct Writer {
    reader: Reader,
}

impl Writer {
    /// Prepares a connection; fails when this person may not read the writer's password.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        Ok(Self { reader: Reader::open_as_writer(config)? })
    }

    /// Asks as the writer.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Writes one row; comes back when it is stored.
    pub(crate) async fn insert<R: Encode>(&self, table: &'static str, row: &R) -> Result<()> {
        self.insert_all(table, std::slice::from_ref(row)).await
    }

    /// Writes rows, all of them or none; comes back when they are stored.
    pub(crate) async fn insert_all<R: Encode>(&self, table: &'static str, rows: &[R]) -> Result<()> {
        let client = self.reader.client.clone().with_validation(false);
        let insert = Insert::new(&client, table, &R::COLUMNS.join(", "));
        match tokio::time::timeout(ANSWER_TIMEOUT, insert.put_if_allowed(&encoded(rows))).await {
            Ok(stored) => stored.map_err(|refused| self.refused(&refused)),
            Err(_) => Err(self.reader.silent(ANSWER_TIMEOUT)),
        }
    }

    fn refused(&self, refused: &Refused) -> anyhow::Error {
        let Refused(reason) = refused;
        if refused.is_for_want_of_rights() {
            let url = &self.reader.url;
            return anyhow!(
                "the store at {url}: this user may not write; become the user of `vonggac serve`: {reason}"
            );
        }
        anyhow!("the store refuses: {reason}")
    }

    /// Has the store do something.
    pub(crate) async fn execute(&self, sql: &str, timeout: Duration) -> Result<()> {
        match tokio::time::timeout(timeout, self.reader.client.query_raw(sql).execute()).await {
            Ok(done) => done.map_err(|error| self.reader.explained(error)),
            Err(_) => Err(self.reader.silent(timeout)),
        }
    }
}

#[derive(Deserialize, Row)]
struct Last {
    seq: u64,
}

/// A moment as ClickHouse reads a parameter of type DateTime64: seconds and what is behind them.
fn moment(micros: Micros) -> String {
    format!("{}.{:06}", micros.div_euclid(MICROS_PER_S), micros.rem_euclid(MICROS_PER_S))
}

/// Reads the configuration; the error says how to name another one.
pub(crate) fn configuration(argument: &ConfigArg) -> Result<Config> {
    argument.load().context("no usable configuration; name it by --config FILE or VONGGAC_CONFIG")
}

/// Runs a command's asynchronous part on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
