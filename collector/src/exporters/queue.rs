//! The queue between the sockets and the decoder: bounded by the bytes that wait in it (`limits.exporter_queue_bytes`).
//!
//! UDP offers: where there is no room a datagram is dropped and counted by its exporter. TCP waits: there the sender is held back.

use std::net::SocketAddr;
use std::sync::Arc;

use event::Micros;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::roster::Exporter;

/// Room is counted in units of this many bytes.
const UNIT_BYTES: usize = 1_024;

/// What the decoder works on.
pub(super) enum Work {
    Message(Message),
    /// Time has passed.
    Tick,
}

/// A datagram, or a message of a TCP session.
pub(super) struct Message {
    pub(super) exporter: Arc<Exporter>,
    pub(super) address: SocketAddr,
    pub(super) bytes: Vec<u8>,
    pub(super) received: Micros,
    _room: OwnedSemaphorePermit,
}

/// Where the sockets put what they receive.
#[derive(Clone)]
pub(super) struct Input {
    room: Arc<Semaphore>,
    sender: mpsc::Sender<Work>,
}

/// A queue with room for so many bytes.
pub(super) fn queue(bytes_max: usize) -> (Input, mpsc::Receiver<Work>) {
    let units = (bytes_max / UNIT_BYTES).max(1);
    // Each message takes a unit at least, so the channel is never full before the room is; one more place for the tick.
    let (sender, receiver) = mpsc::channel(units + 1);
    (Input { room: Arc::new(Semaphore::new(units)), sender }, receiver)
}

impl Input {
    /// Puts a datagram into the queue, or drops it.
    pub(super) fn offer(&self, exporter: Arc<Exporter>, address: SocketAddr, bytes: &[u8], received: Micros) {
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(units(bytes)) else {
            exporter.dropped_datagrams.inc();
            return;
        };
        let message = Message { exporter, address, bytes: bytes.to_vec(), received, _room: room };
        if let Err(
            mpsc::error::TrySendError::Full(Work::Message(message))
            | mpsc::error::TrySendError::Closed(Work::Message(message)),
        ) = self.sender.try_send(Work::Message(message))
        {
            message.exporter.dropped_datagrams.inc();
        }
    }

    /// Puts a message into the queue when there is room. False: the decoder is gone.
    pub(super) async fn put(
        &self,
        exporter: Arc<Exporter>,
        address: SocketAddr,
        bytes: Vec<u8>,
        received: Micros,
    ) -> bool {
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(units(&bytes)).await else { return false };
        let message = Message { exporter, address, bytes, received, _room: room };
        self.sender.send(Work::Message(message)).await.is_ok()
    }

    /// Lets the decoder know that time has passed. False: it is gone.
    pub(super) async fn tick(&self) -> bool {
        self.sender.send(Work::Tick).await.is_ok()
    }
}

fn units(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len().div_ceil(UNIT_BYTES).max(1)).unwrap_or(u32::MAX)
}
