//! Bounds the daemon's questions to the store in time. A store may take a question and never answer: its disk hangs, its process is
//! stopped, a firewall forgot the connection. Who waited for ever would hang in silence, and so would all that waits for him.
//!
//! A question that is given up is counted here and is an error like any other: who asked says what follows from it.
//!
//! People's questions, and hunts, have limits of their own (`people/connect.rs`).

use std::time::Duration;

use clickhouse::Client;
use clickhouse::error::{Error, Result};

use crate::insert;

/// An insert or a question is answered within this: 20,000 rows with the text index take a busy store some seconds. Tests do not wait
/// for so long.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 120_000 });
/// The longest that is waited: for a change of the schema, and for a question that was given up before and may just be a long one.
pub(crate) const ANSWER_TIMEOUT_MAX: Duration = ANSWER_TIMEOUT.saturating_mul(5);
/// ClickHouse's code for what it gave up itself.
const TIMEOUT_EXCEEDED: u32 = 159;

/// The answer to a question, or [`Error::TimedOut`].
pub(crate) async fn within<T>(limit: Duration, question: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, question).await {
        Err(_) => {}
        Ok(Err(Error::BadResponse(text))) if insert::code(&text) == Some(TIMEOUT_EXCEEDED) => {}
        Ok(answer) => return answer,
    }
    insert::count_unanswered();
    Err(Error::TimedOut)
}

/// A client whose questions the server, too, gives up after this: nobody waits for their end.
pub(crate) fn bounded(client: &Client, limit: Duration) -> Client {
    client.clone().with_setting("max_execution_time", limit.as_secs_f64().to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::insert::{Insert, unanswered};
    use crate::migrate::migrate;

    /// Far more than any limit: who still waits then waits for ever.
    const EVER: Duration = Duration::from_secs(60);

    /// A store that takes requests and says nothing: the kernel takes them.
    pub(crate) fn hung() -> (TcpListener, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::default().with_url(format!("http://{}", listener.local_addr().unwrap()));
        (listener, client)
    }

    /// How a question to a store that hangs ends.
    pub(crate) async fn given_up<T>(question: impl Future<Output = T>) -> T {
        let before = unanswered();
        let end = tokio::time::timeout(EVER, question).await.expect("waits for ever");
        assert!(unanswered() > before, "not counted");
        end
    }

    #[tokio::test]
    async fn gives_up_what_is_not_answered_and_nothing_else() {
        let (_store, client) = hung();
        let question = within(ANSWER_TIMEOUT, client.query_raw("SELECT 1").execute());
        assert!(matches!(given_up(question).await, Err(Error::TimedOut)));
        let refused = |code: u32| Error::BadResponse(format!("Code: {code}. DB::Exception: no (NO)"));
        let answered = |answer| within(EVER, std::future::ready(answer));
        assert!(matches!(given_up(answered(Err::<u8, _>(refused(159)))).await, Err(Error::TimedOut)));
        assert!(matches!(answered(Err::<u8, _>(refused(60))).await, Err(Error::BadResponse(_))));
        assert_eq!(answered(Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_start_does_not_wait_for_ever_for_its_schema() {
        let (_store, client) = hung();
        let error = given_up(migrate(&client, "vonggac")).await.unwrap_err();
        assert!(error.to_string().starts_with("migration 001-migrations: "), "{error}");
    }

    #[tokio::test]
    async fn an_insert_without_an_answer_is_counted_and_repeated() {
        let (store, client) = hung();
        let insert = Insert::new(&client, "events", "a");
        let repeated = async {
            store.set_nonblocking(true).unwrap();
            let store = tokio::net::TcpListener::from_std(store).unwrap();
            let _first = store.accept().await.unwrap();
            store.accept().await.unwrap();
        };
        tokio::select! {
            stored = insert.put(b"row") => panic!("{stored:?}"),
            () = given_up(repeated) => {}
        }
    }
}
