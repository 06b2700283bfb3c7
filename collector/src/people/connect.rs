//! A connection to the store for one who reads, made from the configuration. It never writes.
//!
//! An error says what was tried, where, and what to do next: most often the daemon is not running, or the person may not
//! read its files.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clickhouse::{Client, RowOwned, RowRead};

use crate::config::{Config, ConfigArg, Endpoint};
use crate::people::filter::Filter;

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
        let Endpoint { url, user, password_file: _, database } = config.reader_endpoint();
        let embedded = config.clickhouse.url.is_none();
        let password = config.reader_endpoint().password().with_context(|| match embedded {
            true => "the store's password for readers is not there or not readable: `vonggac serve` writes it at its first \
                     start, and only its own user and root may read it",
            false => "the password that clickhouse.password_file names",
        })?;
        let client =
            Client::default().with_url(&url).with_user(user).with_password(password).with_database(database);
        Ok(Self { client, url, embedded })
    }

    /// All rows of a query whose WHERE holds `filter`'s conditions.
    pub(crate) async fn rows<T>(&self, sql: &str, filter: &Filter) -> Result<Vec<T>>
    where
        T: RowOwned + RowRead,
    {
        let query = filter.bind(self.client.query_raw(sql)).fetch_all::<T>();
        match tokio::time::timeout(ANSWER_TIMEOUT, query).await {
            Ok(rows) => rows.map_err(|error| self.explained(error)),
            Err(_) => {
                Err(anyhow!("the store at {} gave no answer within {} s", self.url, ANSWER_TIMEOUT.as_secs()))
            }
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

/// Reads the configuration; the error says how to name another one.
pub(crate) fn configuration(argument: &ConfigArg) -> Result<Config> {
    argument.load().context("no usable configuration; name it by --config FILE or VONGGAC_CONFIG")
}

/// Runs a command's asynchronous part on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
