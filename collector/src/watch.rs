//! What is looked at again and again beside the pipeline, because it changes by itself: a day passes, a clock runs out, people
//! write from other machines.
//!
//! A round that fails leaves everything as it was, is counted, and is tried at the next one. A stop does not wait for the round
//! that is under way, which may wait for a store that is away: what it has not written the next one writes.

use std::time::Duration;

use anyhow::Result;
use prometheus::IntCounter;
use tracing::warn;

use crate::door::{Stop, told};

/// Something to look at.
pub(crate) trait Watch: Send {
    /// From the end of a round to the next one.
    const EVERY: Duration;
    /// What follows from a round that fails, for the log.
    const UNTOLD: &'static str;

    /// Looks, and tells.
    fn round(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Counts a round that failed.
    fn failures() -> &'static IntCounter;
}

/// Looks until told to stop.
pub(crate) async fn watch<W: Watch>(mut watched: W, mut stop: Stop) {
    loop {
        tokio::select! {
            done = watched.round() => if let Err(error) = done {
                W::failures().inc();
                warn!("{}: {error:#}", W::UNTOLD);
            },
            () = told(&mut stop) => return,
        }
        tokio::select! {
            () = tokio::time::sleep(W::EVERY) => {}
            () = told(&mut stop) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use anyhow::bail;
    use tokio::sync::{mpsc, watch as told_by};

    use super::*;

    static FAILURES: LazyLock<IntCounter> =
        LazyLock::new(|| IntCounter::new("failures", "of the test").unwrap());

    /// Fails in its first two rounds, and does not come back from the third.
    struct Stubborn(u32, mpsc::Sender<u32>);

    impl Watch for Stubborn {
        const EVERY: Duration = Duration::from_millis(1);
        const UNTOLD: &'static str = "nothing is told";

        async fn round(&mut self) -> Result<()> {
            self.0 += 1;
            self.1.send(self.0).await?;
            if self.0 < 3 {
                bail!("round {}", self.0);
            }
            std::future::pending().await
        }

        fn failures() -> &'static IntCounter {
            &FAILURES
        }
    }

    #[tokio::test]
    async fn goes_on_after_a_failure_and_stops_within_a_round() {
        let (rounds, mut begun) = mpsc::channel(3);
        let (stop, stopped) = told_by::channel(false);
        let watching = tokio::spawn(watch(Stubborn(0, rounds), stopped));
        for round in 1..=3 {
            assert_eq!(begun.recv().await, Some(round));
        }
        assert_eq!(FAILURES.get(), 2);
        stop.send_replace(true);
        watching.await.unwrap();
    }
}
