//! Telling people of alerts, by webhook, mail or a template of HTTP: one stage for each target.
//!
//! There is no queue but the store. An alert waits for a target when it is new, or more urgent than it was told, and the
//! target's filters let it through, and no row of the table `notifications` says that it was sent or given up. So nothing is
//! forgotten over a restart, and nothing here can hold up the pipeline: it only rings ([`watch`]) when it has written alerts.
//!
//! A flood of alerts is no flood of messages: two messages to a target are `interval_s` apart, and one tells of all that wait,
//! [`ledger::ALERTS_MAX`] at most, with as many in full as fit and the number of the others.
//!
//! One message to a target is under way at a time. It stays the same until it is sent or given up, and its attempts are rows
//! of the store, so a restart goes on where it was: at least once, twice when the daemon dies between an answer and its row.
//! An attempt that failed is made again after a wait that doubles, a quarter more or less; after `attempts_max` of them, after
//! `age_max_s`, or when the receiver says that it will never take the message, it is given up: `vonggac notifications` lists
//! it and sends it again when a person says so.
//!
//! What this never does: send a raw line of a log, whose text may be anybody's; show a secret in a log, an error or the store;
//! follow a redirection.

mod channel;
pub(crate) mod ledger;
mod mail;
mod message;
mod request;
mod secret;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use clickhouse::Client;
use clickhouse::error::Error;
use event::Micros;
use prometheus::{IntCounterVec, IntGaugeVec};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::now;
use crate::config::{NotificationTarget, Notifications};
use crate::metrics;

pub(crate) use channel::{Channel, ChannelError, Refusal};
pub(crate) use message::Message;

use ledger::{Ledger, Outcome, Row, Unsettled};

/// What is written within this of the first alert is told with it: rules that fire together are one message.
const GATHER: Duration = Duration::from_millis(500);
/// How often a target that waits for nothing looks whether a person said to try again.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Before the store is asked again that did not answer.
const STORE_WAIT: Duration = Duration::from_secs(2);

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    messages: metrics::counters(
        "vonggac_notification_messages_total",
        "Attempts to send a message, by how they ended: sent, failed (it is tried again), gave_up.",
        &["target", "outcome"],
    ),
    alerts: metrics::counters(
        "vonggac_notification_alerts_total",
        "Alerts that a target was told of, or that were given up.",
        &["target", "outcome"],
    ),
    failed: metrics::gauges(
        "vonggac_notification_failed_attempts",
        "Attempts that failed of the message that is under way; 0 when none is or none failed.",
        &["target"],
    ),
});

struct Metrics {
    messages: IntCounterVec,
    alerts: IntCounterVec,
    failed: IntGaugeVec,
}

/// Rings when alerts were written; a bell without a hand ends the stages.
pub(crate) type Bell = watch::Receiver<()>;

/// Opens the ways to all targets: their secrets and authorities are read.
pub(crate) fn channels(config: &Notifications) -> Result<Vec<Channel>, ChannelError> {
    config.targets.iter().map(Channel::open).collect()
}

/// Starts a stage for each target.
pub(crate) fn start(
    config: &Notifications,
    channels: Vec<Channel>,
    client: &Client,
    bell: &Bell,
) -> JoinSet<()> {
    let patience = Arc::new(config.clone());
    let mut stages = JoinSet::new();
    for (target, channel) in config.targets.iter().zip(channels) {
        let notify = Notify {
            ledger: Ledger::new(client, target),
            target: target.clone(),
            patience: Arc::clone(&patience),
            channel,
            bell: bell.clone(),
            next_message: 0,
            rung: true,
        };
        stages.spawn(notify.run());
    }
    stages
}

/// The stage of one target.
struct Notify {
    target: NotificationTarget,
    patience: Arc<Notifications>,
    channel: Channel,
    ledger: Ledger,
    bell: Bell,
    /// No new message before this.
    next_message: Micros,
    /// Alerts may wait that nobody has looked for.
    rung: bool,
}

/// The pipeline is gone.
struct Ended;

/// Why the stage goes no further for now.
enum Pause {
    Ended,
    Store(Error),
}

impl From<Ended> for Pause {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

impl From<Error> for Pause {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Notify {
    /// Runs until nobody can ring any more. A message that is on its way then comes to its end.
    async fn run(mut self) {
        self.show_zeros();
        loop {
            let paused = match self.step().await {
                Ok(()) => continue,
                Err(Pause::Ended) => return,
                Err(Pause::Store(error)) => {
                    warn!(target = self.target.name, %error, "the store is asked again what is to be told");
                    self.sleep(STORE_WAIT).await
                }
            };
            if paused.is_err() {
                return;
            }
        }
    }

    /// Goes on with the message that is under way, else tells what waits, else waits.
    async fn step(&mut self) -> Result<(), Pause> {
        self.ledger.begin().await?;
        if let Some(unsettled) = self.ledger.unsettled().await? {
            self.sleep_until(self.due(&unsettled)).await?;
            let alerts = self.ledger.alerts(&unsettled.told).await?;
            let message = Message::again(&unsettled, alerts);
            self.attempt(&message, unsettled).await;
            return Ok(());
        }
        if !self.rung {
            return Ok(self.wait().await?);
        }
        self.sleep_until(self.next_message).await?;
        let alerts = self.ledger.waiting().await?;
        // What rings from here on wakes the next wait.
        self.rung = !alerts.is_empty();
        if !self.rung {
            return Ok(());
        }
        let message = Message::new(&self.target.name, alerts, now());
        self.attempt(&message, Unsettled::new(&message)).await;
        Ok(())
    }

    /// When an unsettled message may be tried again.
    fn due(&self, unsettled: &Unsettled) -> Micros {
        let wait = match unsettled.attempts {
            0 => Duration::ZERO,
            attempts => self.back_off(attempts, &unsettled.message),
        };
        unsettled.last_at.saturating_add(micros(wait))
    }

    /// Doubles with each attempt; a quarter more or less, so that targets that failed together do not come together again.
    /// By the message, so that it is the same after a restart.
    fn back_off(&self, attempts: u16, message: &str) -> Duration {
        let doublings = u32::from(attempts.saturating_sub(1)).min(31);
        let wait = self.patience.retry_first().saturating_mul(1 << doublings).min(self.patience.retry_max());
        let spread = xxh3_64(format!("{message} {attempts}").as_bytes()) % 501;
        wait.saturating_mul(u32::try_from(750 + spread).unwrap_or(1_000)) / 1_000
    }

    /// One attempt, and the row that says how it ended.
    async fn attempt(&mut self, message: &Message, unsettled: Unsettled) {
        let (outcome, detail) = match self.channel.send(message).await {
            Ok(answer) => (Outcome::Sent, answer),
            Err(refusal) => (self.verdict(&refusal, &unsettled), refusal.detail),
        };
        let row = Row::of(unsettled, outcome, detail);
        self.next_message = now().saturating_add(micros(Duration::from_secs(self.target.interval_s)));
        self.tell(message, &row);
        self.ledger.record(row).await;
    }

    /// Whether an attempt that failed was the last.
    fn verdict(&self, refusal: &Refusal, unsettled: &Unsettled) -> Outcome {
        let is_old = now().saturating_sub(unsettled.first_at) > micros(self.patience.age_max());
        let is_last = unsettled.attempts.saturating_add(1) >= self.patience.attempts_max;
        match refusal.is_final || is_old || is_last {
            true => Outcome::GaveUp,
            false => Outcome::Failed,
        }
    }

    fn tell(&self, message: &Message, row: &Row) {
        let Row { outcome, attempt, ref detail, .. } = *row;
        let (target, alerts) = (&*self.target.name, message.count);
        let labels = [target, outcome.as_str()];
        METRICS.messages.with_label_values(&labels).inc();
        if outcome != Outcome::Failed {
            METRICS.alerts.with_label_values(&labels).inc_by(u64::try_from(alerts).unwrap_or_default());
        }
        let failed = if outcome == Outcome::Failed { i64::from(attempt) } else { 0 };
        METRICS.failed.with_label_values(&[target]).set(failed);
        let id = &*message.id;
        match outcome {
            Outcome::Sent => info!(target, id, alerts, attempt, "people are notified"),
            _ => warn!(target, id, alerts, attempt, outcome = outcome.as_str(), detail, "not notified"),
        }
    }

    fn show_zeros(&self) {
        let target = &*self.target.name;
        METRICS.failed.with_label_values(&[target]).set(0);
        for outcome in [Outcome::Sent, Outcome::Failed, Outcome::GaveUp] {
            METRICS.messages.with_label_values(&[target, outcome.as_str()]).inc_by(0);
        }
        for outcome in [Outcome::Sent, Outcome::GaveUp] {
            METRICS.alerts.with_label_values(&[target, outcome.as_str()]).inc_by(0);
        }
    }

    /// Until it rings, and a little longer; or until it is time to look.
    async fn wait(&mut self) -> Result<(), Ended> {
        tokio::select! {
            rung = self.bell.changed() => rung.map_err(|_| Ended)?,
            () = tokio::time::sleep(LOOK_EVERY) => return Ok(()),
        }
        self.rung = true;
        self.sleep(GATHER).await
    }

    async fn sleep_until(&mut self, time: Micros) -> Result<(), Ended> {
        let left = u64::try_from(time.saturating_sub(now())).unwrap_or_default();
        if left == 0 {
            return Ok(());
        }
        self.sleep(Duration::from_micros(left)).await
    }

    /// Sleeps through the ringing, and remembers it.
    async fn sleep(&mut self, duration: Duration) -> Result<(), Ended> {
        let ended = async {
            while self.bell.changed().await.is_ok() {
                self.rung = true;
            }
        };
        tokio::select! {
            () = ended => Err(Ended),
            () = tokio::time::sleep(duration) => Ok(()),
        }
    }
}

fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

#[cfg(test)]
mod tests;
