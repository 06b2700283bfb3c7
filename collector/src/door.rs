//! The door of both intakes: accepts connections, shakes hands, and lets in who has a certificate of the site's authority.
//!
//! Limits: handshakes under way ([`HANDSHAKES_MAX`]: beyond it newcomers wait in the kernel's queue), those of one address
//! ([`HANDSHAKES_ADDRESS_MAX`]: beyond it they are shown out at once), the time of one (`limits.handshake_timeout_ms`), guests at
//! once, all together (`limits.connections_max`) and of one host (`limits.connections_host_max`): beyond these they are shown
//! out, and counted.
//! A stranger takes no place of a guest, however many there are.
//!
//! What it never does: read anything that is sent. That is its guests' business.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use prometheus::{IntCounterVec, IntGaugeVec};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use crate::certificates;
use crate::config::Limits;
use crate::metrics;
use crate::share::Shares;
use crate::strangers::{Strangers, Turn};
use crate::tls::{Peer, PeerError};

/// Handshakes under way at once. A whole fleet that reconnects is through in a second (about 1 ms of a core each).
const HANDSHAKES_MAX: usize = 512;
/// ... and of one address: whoever connects and says nothing does not keep the others out. A fleet behind one address is through
/// in a few rounds of its agents' pauses.
const HANDSHAKES_ADDRESS_MAX: usize = HANDSHAKES_MAX / 8;
/// How long to wait when no connection can be accepted (out of file descriptors): others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Tells the intakes to stop: true once.
pub(crate) type Stop = watch::Receiver<bool>;

/// Comes back when told to stop, or when nobody is left who could tell.
pub(crate) async fn told(stop: &mut Stop) {
    let _true_or_gone = stop.wait_for(|stop| *stop).await;
}

struct Metrics {
    connections: IntGaugeVec,
    accepted: IntCounterVec,
    turned_away: IntCounterVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    connections: metrics::gauges(
        "vonggac_door_connections",
        "Connections that are open now, by intake.",
        &["intake"],
    ),
    accepted: metrics::counters(
        "vonggac_door_accepted_total",
        "Connections whose certificate was accepted, by intake.",
        &["intake"],
    ),
    turned_away: metrics::counters(
        "vonggac_door_turned_away_total",
        "Connections that were closed before anything was read, by intake and reason.",
        &["intake", "reason"],
    ),
});

/// One listening address.
pub(crate) struct Door {
    intake: &'static str,
    listener: TcpListener,
    hall: Arc<Hall>,
}

/// Someone who came in.
pub(crate) struct Guest {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) peer: Peer,
    pub(crate) address: SocketAddr,
    /// Kept as long as the guest stays.
    pub(crate) place: Place,
}

/// What all connections of a door share.
struct Hall {
    intake: &'static str,
    tls: TlsAcceptor,
    handshake_timeout: Duration,
    strangers: Arc<Strangers>,
    places: Arc<Semaphore>,
    host_places: Shares,
}

/// A guest's place, free again when it is dropped.
pub(crate) struct Place {
    intake: &'static str,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Door {
    /// Listens at `listen`; `intake` names the door in metrics and logs.
    pub(crate) async fn open(
        intake: &'static str,
        listen: SocketAddr,
        tls: Arc<ServerConfig>,
        limits: &Limits,
    ) -> io::Result<Self> {
        METRICS.connections.with_label_values(&[intake]).set(0);
        let hall = Hall {
            intake,
            tls: tls.into(),
            handshake_timeout: limits.handshake_timeout(),
            strangers: Strangers::new(HANDSHAKES_ADDRESS_MAX),
            places: Arc::new(Semaphore::new(limits.connections_max)),
            host_places: Shares::new(limits.connections_host_max),
        };
        Ok(Self { intake, listener: TcpListener::bind(listen).await?, hall: Arc::new(hall) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Lets guests in until told to stop, then returns when the last of them is gone. Dropped before, it throws them out.
    pub(crate) async fn run<S, F>(self, mut stop: Stop, serve: S)
    where
        S: Fn(Guest) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let mut guests = JoinSet::new();
        loop {
            let newcomer = tokio::select! {
                newcomer = self.newcomer(&handshakes) => newcomer,
                Some(_) = guests.join_next() => continue,
                () = told(&mut stop) => break,
            };
            let (hall, serve, mut stop) = (self.hall.clone(), serve.clone(), stop.clone());
            guests.spawn(async move {
                let guest = tokio::select! {
                    guest = hall.welcome(newcomer) => guest,
                    () = told(&mut stop) => return,
                };
                if let Some(guest) = guest {
                    serve(guest).await;
                }
            });
        }
        drop(self.listener);
        while guests.join_next().await.is_some() {}
    }

    async fn newcomer(&self, handshakes: &Arc<Semaphore>) -> Newcomer {
        loop {
            let Ok(permit) = handshakes.clone().acquire_owned().await else { std::future::pending().await };
            match self.listener.accept().await {
                Ok((stream, address)) => match self.hall.strangers.turn(address.ip()) {
                    Some(turn) => return Newcomer { stream, address, _permit: permit, _turn: turn },
                    None => {
                        turned_away(self.intake, "address_limit");
                        debug!(intake = self.intake, %address, "turned away: too many handshakes of this address");
                    }
                },
                Err(error) => {
                    turned_away(self.intake, "accept");
                    warn!(intake = self.intake, %error, "no connection can be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

struct Newcomer {
    stream: TcpStream,
    address: SocketAddr,
    _permit: OwnedSemaphorePermit,
    _turn: Turn,
}

impl Hall {
    /// The handshake, and a look at the certificate.
    async fn welcome(&self, newcomer: Newcomer) -> Option<Guest> {
        let Newcomer { stream, address, _permit, _turn } = newcomer;
        match self.shake_hands(stream, address).await {
            Ok(guest) => {
                METRICS.accepted.with_label_values(&[self.intake]).inc();
                debug!(intake = self.intake, %address, host = guest.peer.host, "connected");
                Some(guest)
            }
            Err(refusal) => {
                turned_away(self.intake, refusal.reason());
                info!(intake = self.intake, %address, "turned away: {refusal}");
                None
            }
        }
    }

    async fn shake_hands(&self, stream: TcpStream, address: SocketAddr) -> Result<Guest, Refusal> {
        stream.set_nodelay(true)?; // an acknowledgement is small and awaited
        let stream = timeout(self.handshake_timeout, self.tls.accept(stream))
            .await
            .map_err(|_| Refusal::TimedOut(self.handshake_timeout))?
            .map_err(Refusal::Handshake)?;
        let peer = Peer::of(stream.get_ref().1.peer_certificates())?;
        certificates::note(self.intake, &peer);
        let of_host = self.host_places.of(&peer.host).try_acquire_owned();
        let of_host = of_host.map_err(|_| Refusal::HostFull { host: peer.host.clone() })?;
        let of_all = self.places.clone().try_acquire_owned().map_err(|_| Refusal::Full)?;
        Ok(Guest { stream, peer, address, place: Place::new(self.intake, [of_host, of_all]) })
    }
}

impl Place {
    fn new(intake: &'static str, permits: [OwnedSemaphorePermit; 2]) -> Self {
        METRICS.connections.with_label_values(&[intake]).inc();
        Self { intake, _permits: permits }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        METRICS.connections.with_label_values(&[self.intake]).dec();
    }
}

/// Why someone does not come in.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the TCP connection failed: {0}")]
    Socket(#[from] io::Error),
    #[error("no handshake within {0:?}")]
    TimedOut(Duration),
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("{0}")]
    Certificate(#[from] PeerError),
    #[error("as many connections as limits.connections_max allows are open")]
    Full,
    #[error("as many connections of host {host:?} as limits.connections_host_max allows are open")]
    HostFull { host: String },
}

impl Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Socket(_) => "socket",
            Self::TimedOut(_) => "timeout",
            Self::Handshake(_) => "handshake",
            Self::Certificate(_) => "certificate",
            Self::Full => "limit",
            Self::HostFull { .. } => "host_limit",
        }
    }
}

fn turned_away(intake: &str, reason: &str) {
    METRICS.turned_away.with_label_values(&[intake, reason]).inc();
}
