//! Hands batches to the pipeline and sees that each is stored: a batch whose fate does not come is delivered again, marked as resent.
//!
//! Limits: batches under way ([`UNDER_WAY_MAX`]), tries of one ([`TRIES_MAX`], about two minutes): after that its records are lost, and
//! counted. A store that is away is no failed try: the pipeline waits for it, and so does this stage.

use std::sync::Arc;
use std::time::Duration;

use event::Batch;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::warn;

use super::gather::Outgoing;
use crate::batch::{Delivery, Fate, SenderKind};

/// Batches between here and the store: as many as the pipeline works on at once.
const UNDER_WAY_MAX: usize = 16;
/// How often a batch is tried.
const TRIES_MAX: u32 = 6;
/// Before the second try; twice as long before each further one.
const PAUSE: Duration = Duration::from_secs(2);

/// The last stage of the exporters' intake.
pub(crate) struct Deliver {
    pub(super) input: mpsc::Receiver<Outgoing>,
    pub(super) deliveries: mpsc::Sender<Delivery>,
    pub(super) pause: Duration,
}

impl Deliver {
    pub(super) fn new(input: mpsc::Receiver<Outgoing>, deliveries: mpsc::Sender<Delivery>) -> Self {
        Self { input, deliveries, pause: PAUSE }
    }

    /// Runs until the stage before it has ended and everything has found its fate.
    pub(crate) async fn run(mut self) {
        let places = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        let mut waiting = JoinSet::new();
        while let Some(outgoing) = self.input.recv().await {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            // Sent from here, so that an exporter's batches go in order.
            let fate = hand_on(&self.deliveries, &outgoing.batch, outgoing.received).await;
            let (deliveries, pause) = (self.deliveries.clone(), self.pause);
            waiting.spawn(async move {
                settle(outgoing, fate, &deliveries, pause).await;
                drop(place);
            });
            while waiting.try_join_next().is_some() {}
        }
        while waiting.join_next().await.is_some() {}
    }
}

/// Where the batch's fate will be told. `None`: the pipeline is gone.
async fn hand_on(
    deliveries: &mpsc::Sender<Delivery>,
    batch: &Batch,
    received: event::Micros,
) -> Option<oneshot::Receiver<Fate>> {
    let (done, fate) = oneshot::channel();
    let (batch, sender) = (batch.clone(), SenderKind::Exporter);
    let delivery = Delivery { batch, sender, received, gap: None, done };
    deliveries.send(delivery).await.ok()?;
    Some(fate)
}

async fn settle(
    mut outgoing: Outgoing,
    mut fate: Option<oneshot::Receiver<Fate>>,
    deliveries: &mpsc::Sender<Delivery>,
    mut pause: Duration,
) {
    let records = u64::from(outgoing.batch.header.records);
    let mut tries = 1;
    while let Some(told) = fate.take() {
        if told.await.is_ok() {
            outgoing.exporter.stored.inc_by(records);
            return;
        }
        if tries == TRIES_MAX {
            break;
        }
        tries += 1;
        tokio::time::sleep(pause).await;
        pause *= 2;
        outgoing.batch.header.resent = true;
        fate = hand_on(deliveries, &outgoing.batch, outgoing.received).await;
    }
    outgoing.exporter.dropped_by_store.inc_by(records);
    warn!(exporter = outgoing.exporter.name, records, "flow records were not stored: they are lost");
}
