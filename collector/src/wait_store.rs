//! Waits for a ClickHouse of the site's own, which may come up after the collector when a whole rack was without power: the start
//! does not fail, `/ready` and the log say for what it waits, and agents keep their lines meanwhile.
//!
//! What it never does: wait when the server answers, be it with a refusal. A wrong password does not become right by itself.

use std::time::Duration;

use clickhouse::error::Error;
use tracing::{info, warn};

use crate::config::Config;
use crate::http::{Phase, Phases};
use crate::insert;
use crate::log::said;

/// First and longest wait between two tries: short enough that nobody notices, long enough that the log can be read.
const WAIT_FIRST: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(10);
/// A server that is up answers such a question at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Comes back when the ClickHouse of `clickhouse.url` answers; at once when there is none.
pub(crate) async fn wait_store(config: &Config, phases: &Phases) -> anyhow::Result<()> {
    let Some(url) = &config.clickhouse.url else { return Ok(()) };
    // The database of the configuration is made later.
    let client = insert::client(&config.endpoint())?.with_database("default");
    let mut wait = WAIT_FIRST;
    while let Some(reason) = silence(client.query_raw("SELECT 1").execute()).await {
        let reason = format!("the store at {url} (clickhouse.url) does not answer: {reason}");
        warn!("{reason}; tried again in {} ms", wait.as_millis());
        phases.enter(Phase::Waiting(reason));
        tokio::time::sleep(wait).await;
        wait = wait.saturating_mul(2).min(WAIT_MAX);
    }
    info!(url, "the store answers");
    phases.enter(Phase::Starting);
    Ok(())
}

/// Why nobody answers who is a ClickHouse.
async fn silence(question: impl Future<Output = Result<(), Error>>) -> Option<String> {
    // A network's own words say nothing of the reason: its causes do.
    match tokio::time::timeout(ANSWER_TIMEOUT, question).await {
        Ok(Ok(())) => None,
        Ok(Err(Error::BadResponse(text))) if insert::code(&text).is_some() => None,
        Ok(Err(error)) => Some(said(&error)),
        Err(_) => Some(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_who_is_no_clickhouse_is_waited_for() {
        let answered = |error| async { silence(std::future::ready(error)).await };
        assert_eq!(answered(Ok(())).await, None);
        let refusal = "Code: 516. DB::Exception: vonggac: Authentication failed (AUTHENTICATION_FAILED)";
        assert_eq!(answered(Err(Error::BadResponse(refusal.into()))).await, None);
        assert!(answered(Err(Error::BadResponse("502 Bad Gateway".into()))).await.is_some());
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let said = answered(Err(Error::Network(reset.into()))).await;
        assert!(said.as_deref().is_some_and(|said| said.contains("connection refused")), "{said:?}");
    }
}
