//! Inserts into the store: repeated until the store says yes, with the same bytes and the same token.
//!
//! The token is the hash of what is inserted, which holds the identity of each event: the store ignores an insert whose
//! token it has already seen (`insert_deduplication_token`), so an insert of which nobody knows whether it was done is
//! simply done again. Without an answer nothing is dropped and nothing is acknowledged; the stages before this one wait.
//!
//! One thing is not repeated: what the store refuses as bad data would be refused for ever. [`Refused`] says so, and the
//! caller takes the rows apart.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use clickhouse::error::Error;
use clickhouse::{Client, Compression};
use hyper::Uri;
use prometheus::{Histogram, IntCounter};
use xxhash_rust::xxh3::Xxh3Default;

use crate::ask::ANSWER_TIMEOUT;
use crate::config::Endpoint;
use crate::metrics;
use crate::store_client::{self, ClientError};

/// One chunk taken by the socket.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// First and longest wait before an insert is repeated: a restarted embedded store answers after half a second.
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// ClickHouse's codes for data that it will never take: parsing, ranges, types, sizes, constraints.
const BAD_DATA: [u32; 18] = [6, 25, 26, 27, 32, 33, 38, 41, 43, 53, 69, 70, 72, 117, 131, 349, 441, 469];

/// Its codes for who may not: READONLY, ACCESS_DENIED, AUTHENTICATION_FAILED. The daemon repeats such an insert, because rights are
/// mended and nothing may be lost; a person is told.
const NO_RIGHT: [u32; 3] = [164, 497, 516];

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    repeats: metrics::counter(
        "vonggac_store_repeats_total",
        "Inserts and questions on the way of batches repeated because the store gave no yes or no answer.",
    ),
    unanswered: metrics::counter(
        "vonggac_store_unanswered_total",
        "Inserts and questions of the collector that the store did not answer in time: it hangs, or is far too busy.",
    ),
    refused: metrics::counter("vonggac_store_refused_total", "Inserts that the store refused as bad data."),
    seconds: metrics::histogram(
        "vonggac_store_insert_seconds",
        "Time until the store said yes to an insert, repeats included.",
        &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0],
    ),
});

struct Metrics {
    repeats: IntCounter,
    unanswered: IntCounter,
    refused: IntCounter,
    seconds: Histogram,
}

/// The store refuses the rows as bad data, or as those of somebody who may not, in its own words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refused(pub(crate) String);

impl Refused {
    /// Whether it is the user that is refused.
    pub(crate) fn is_for_want_of_rights(&self) -> bool {
        code(&self.0).is_some_and(|code| NO_RIGHT.contains(&code))
    }
}

/// Inserts into one table.
#[derive(Clone)]
pub(crate) struct Insert {
    client: Client,
    sql: String,
    /// Tells tables apart in the token.
    table: &'static str,
}

/// A client of the store. Rows are not validated against the table: the schema is checked when the collector starts.
pub(crate) fn client(endpoint: &Endpoint) -> Result<Client, ClientError> {
    LazyLock::force(&METRICS);
    Ok(store_client::client(endpoint)?.with_compression(compression(&endpoint.url)).with_validation(false))
}

/// None within this host, where it costs more than the bytes that it saves: a tenth of what the collector needs at all.
fn compression(url: &str) -> Compression {
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    match address.map_or(host == "localhost", |address| address.is_loopback()) {
        true => Compression::None,
        false => Compression::Lz4,
    }
}

impl Insert {
    /// `columns` as they are encoded.
    pub(crate) fn new(client: &Client, table: &'static str, columns: &str) -> Self {
        Self {
            client: client.clone(),
            sql: format!("INSERT INTO {table} ({columns}) FORMAT RowBinary"),
            table,
        }
    }

    /// Inserts encoded rows. Comes back when they are stored or refused, however long the store is away.
    pub(crate) async fn put(&self, rows: &[u8]) -> Result<(), Refused> {
        self.put_unless(rows, is_bad_data).await
    }

    /// The same for a person, who is told when he may not.
    pub(crate) async fn put_if_allowed(&self, rows: &[u8]) -> Result<(), Refused> {
        self.put_unless(rows, |error| is_bad_data(error) || has_no_right(error)).await
    }

    async fn put_unless(&self, rows: &[u8], is_refusal: impl Fn(&Error) -> bool) -> Result<(), Refused> {
        let start = Instant::now();
        let token = self.token(rows);
        let mut wait = WAIT_FIRST;
        loop {
            let Err(error) = self.once(rows, &token).await else { break };
            if is_refusal(&error) {
                METRICS.refused.inc();
                return Err(Refused(error.to_string()));
            }
            METRICS.repeats.inc();
            if matches!(error, Error::TimedOut) {
                METRICS.unanswered.inc();
            }
            tracing::warn!(table = self.table, %error, wait_ms = wait.as_millis(), "insert is repeated");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
        METRICS.seconds.observe(start.elapsed().as_secs_f64());
        Ok(())
    }

    async fn once(&self, rows: &[u8], token: &str) -> Result<(), Error> {
        let mut insert = self
            .client
            .insert_formatted_with(&*self.sql)
            .with_setting("insert_deduplication_token", token)
            .with_timeouts(Some(SEND_TIMEOUT), Some(ANSWER_TIMEOUT))
            .buffered();
        let mut rest = rows;
        while !rest.is_empty() {
            let written = insert.write(rest).await?;
            rest = &rest[written..];
        }
        insert.end().await
    }

    fn token(&self, rows: &[u8]) -> String {
        let mut hash = Xxh3Default::new();
        hash.update(self.table.as_bytes());
        hash.update(rows);
        format!("{:032x}", hash.digest128())
    }
}

/// A question on the way of batches got no answer, and is asked again: it holds them up as an insert does.
pub(crate) fn count_repeat() {
    METRICS.repeats.inc();
}

/// A question was given up, whoever asked it.
pub(crate) fn count_unanswered() {
    METRICS.unanswered.inc();
}

#[cfg(test)]
pub(crate) fn repeats() -> u64 {
    METRICS.repeats.get()
}

#[cfg(test)]
pub(crate) fn unanswered() -> u64 {
    METRICS.unanswered.get()
}

fn is_bad_data(error: &Error) -> bool {
    is_one_of(error, &BAD_DATA)
}

fn has_no_right(error: &Error) -> bool {
    is_one_of(error, &NO_RIGHT)
}

fn is_one_of(error: &Error, codes: &[u32]) -> bool {
    matches!(error, Error::BadResponse(text) if code(text).is_some_and(|code| codes.contains(&code)))
}

/// `Code: 33. DB::Exception: ...`
pub(crate) fn code(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Code: ")?;
    let end = rest.find(|character: char| !character.is_ascii_digit())?;
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bad_data_is_not_repeated() {
        let cases = [
            (
                Error::BadResponse(
                    "Code: 469. DB::Exception: Constraint `c` is violated (VIOLATED_CONSTRAINT)".into(),
                ),
                true,
            ),
            (
                Error::BadResponse(
                    "Code: 33. DB::Exception: Cannot read all data (CANNOT_READ_ALL_DATA)".into(),
                ),
                true,
            ),
            (
                Error::BadResponse("Code: 241. DB::Exception: Memory limit (MEMORY_LIMIT_EXCEEDED)".into()),
                false,
            ),
            (Error::BadResponse("Code: 252. DB::Exception: Too many parts (TOO_MANY_PARTS)".into()), false),
            (Error::BadResponse("Code: 60. DB::Exception: no such table (UNKNOWN_TABLE)".into()), false),
            (Error::BadResponse("502 Bad Gateway".into()), false),
            (Error::TimedOut, false),
            (Error::Network("Code: 33. reset".into()), false),
        ];
        for (error, expected) in cases {
            assert_eq!(is_bad_data(&error), expected, "{error}");
        }
    }

    #[test]
    fn what_crosses_a_network_is_compressed() {
        for url in ["http://127.0.0.1:8123", "http://[::1]:8123", "http://localhost:8123/"] {
            assert!(matches!(compression(url), Compression::None), "{url}");
        }
        for url in ["http://192.0.2.7:8123", "https://clickhouse.example.org", "http://[2001:db8::1]:8123"] {
            assert!(matches!(compression(url), Compression::Lz4), "{url}");
        }
    }

    #[test]
    fn a_token_is_the_same_for_the_same_rows_of_the_same_table() {
        let insert = |table| Insert::new(&Client::default(), table, "a");
        assert_eq!(insert("events").token(b"rows"), insert("events").token(b"rows"));
        assert_ne!(insert("events").token(b"rows"), insert("events").token(b"row"));
        assert_ne!(insert("events").token(b"rows"), insert("alerts").token(b"rows"));
    }
}
