//! IPFIX over TCP (RFC 7011 section 10.4): messages one behind the other, each with its length in its header.
//!
//! A session is believed because of its address (`exporters.allow`), as datagrams are; it is not encrypted. It is held back while the
//! batches behind wait for the store: TCP loses nothing.
//!
//! Limits: sessions at once ([`SESSIONS_MAX`]), silence ([`SILENT`]), the length of a message (its field has 16 bits). Bytes that are no
//! message close the session, and count as malformed: there is no telling where the next one begins.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::gather::Outgoing;
use super::health::Health;
use super::queue::Input;
use super::roster::{Exporter, Refusal, Roster};
use crate::clock::now;
use crate::door::{Stop, told};

/// Sessions at once, of all exporters.
const SESSIONS_MAX: usize = 256;
/// A session on which nothing came for so long is closed: its exporter connects again.
const SILENT: Duration = Duration::from_secs(3_600);
/// IPFIX's header: version, length, time, sequence, domain.
const HEADER_BYTES: usize = 16;
/// How often a session that is held back looks whether it may go on.
const HELD_BACK: Duration = Duration::from_millis(50);
/// When no connection can be accepted (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One listening address.
pub(super) struct Sessions {
    pub(super) listener: TcpListener,
    pub(super) roster: Arc<Roster>,
    pub(super) output: Input,
    /// To see whether the batches behind find their way to the store.
    pub(super) batches: mpsc::Sender<Outgoing>,
}

impl Sessions {
    /// Runs until told to stop.
    pub(super) async fn run(self, mut stop: Stop) {
        let places = Arc::new(Semaphore::new(SESSIONS_MAX));
        let mut sessions = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = sessions.join_next() => continue,
                () = told(&mut stop) => break,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "no session of an exporter can be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            let Ok(exporter) = self.roster.admit(address.ip(), now()) else { continue };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                Refusal::Limit.count();
                continue;
            };
            let session = Session {
                exporter,
                address,
                output: self.output.clone(),
                batches: self.batches.clone(),
                roster: Arc::clone(&self.roster),
            };
            let stop = stop.clone();
            sessions.spawn(async move {
                session.run(stream, stop).await;
                drop(place);
            });
        }
        while sessions.join_next().await.is_some() {}
    }
}

struct Session {
    exporter: Arc<Exporter>,
    address: SocketAddr,
    output: Input,
    batches: mpsc::Sender<Outgoing>,
    roster: Arc<Roster>,
}

impl Session {
    async fn run(self, mut stream: TcpStream, mut stop: Stop) {
        info!(exporter = self.exporter.name, address = %self.address, "an exporter's session begins");
        let end = tokio::select! {
            end = self.read(&mut stream) => end,
            () = told(&mut stop) => Ok(()),
        };
        if let Err(error) = &end
            && error.kind() == io::ErrorKind::InvalidData
        {
            self.exporter.counters.add(&Health { malformed: 1, ..Health::default() });
            warn!(exporter = self.exporter.name, %error, "an exporter's session is closed");
        }
        debug!(exporter = self.exporter.name, ?end, "an exporter's session ended");
    }

    async fn read(&self, stream: &mut TcpStream) -> io::Result<()> {
        loop {
            while self.batches.capacity() < self.batches.max_capacity() / 2 {
                sleep(HELD_BACK).await;
            }
            let message = timeout(SILENT, message(stream)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            let Some(message) = message else { return Ok(()) };
            let received = now();
            // Also notes that it is there.
            let Ok(exporter) = self.roster.admit(self.address.ip(), received) else { return Ok(()) };
            if !self.output.put(exporter, self.address, message, received).await {
                return Ok(());
            }
        }
    }
}

/// The next message; `None` at the end of the stream.
async fn message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; HEADER_BYTES];
    if stream.read(&mut bytes[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut bytes[1..]).await?;
    let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    if bytes[..2] != [0, 10] || length < HEADER_BYTES {
        let what = format!("a message of IPFIX expected, found {:02x?}", &bytes[..4]);
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    bytes.resize(length, 0);
    stream.read_exact(&mut bytes[HEADER_BYTES..]).await?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(length: u16, bytes: usize) -> Vec<u8> {
        let mut message = vec![0, 10];
        message.extend(length.to_be_bytes());
        message.resize(bytes, 7);
        message
    }

    #[tokio::test]
    async fn reads_messages_one_behind_the_other() {
        let stream = [framed(16, 16), framed(20, 20)].concat();
        let mut stream = stream.as_slice();
        assert_eq!(message(&mut stream).await.unwrap().unwrap().len(), 16);
        assert_eq!(message(&mut stream).await.unwrap().unwrap().len(), 20);
        assert_eq!(message(&mut stream).await.unwrap(), None);
    }

    #[tokio::test]
    async fn rejects_what_is_no_message() {
        for (bytes, kind) in [
            (framed(15, 16), io::ErrorKind::InvalidData),
            (vec![0, 9, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], io::ErrorKind::InvalidData),
            (framed(20, 19), io::ErrorKind::UnexpectedEof),
            (framed(16, 15), io::ErrorKind::UnexpectedEof),
        ] {
            assert_eq!(message(&mut bytes.as_slice()).await.unwrap_err().kind(), kind);
        }
    }
}
