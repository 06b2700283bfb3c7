//! Batches of our agents: frames off a TLS connection in, acknowledgements out (`event/WIRE.md`).
//!
//! A connection is two halves. One reads a frame, decodes it, checks that the batch is the certificate's host's, and hands it
//! to the pipeline. The other waits for the fates of what is under way, in whatever order they come, and acknowledges.
//! A fate that does not come closes the connection: the agent connects again and sends what was not acknowledged.
//!
//! Limits: length of a frame (`event::FRAME_BYTES_MAX`, refused before anything is allocated); the time of one; the frames that
//! are read at once, of all connections ([`FRAMES_BYTES_MAX`]) and of one host's ([`HOST_FRAMES_BYTES_MAX`]); batches and
//! bytes under way on a connection (`limits.window_batches`, `window_bytes`) and the bytes of all connections together
//! ([`IN_FLIGHT_BYTES_MAX`]) and of one host's ([`HOST_IN_FLIGHT_BYTES_MAX`]): beyond them it reads no further, and TCP holds the
//! agent back; silence.
//!
//! What it never does: drop a batch, look into a record, or believe what a batch says of its host.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use event::{BATCH_BYTES_MAX, Batch, FRAME_BYTES_MAX, Reply, WireError};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::batch::{Delivery, Fate, Identity, SenderKind};
use crate::config::Limits;
use crate::door::{Guest, Stop, told};
use crate::gaps::Sequences;
use crate::metrics;
use crate::share::Shares;
use crate::tls::Peer;

/// Decompressed bytes under way on all connections together: what a fleet that comes back after a night may cost in memory.
const IN_FLIGHT_BYTES_MAX: usize = 256 << 20;
/// ... and on those of one host: two windows as they are shipped, its own and one that a broken line left behind.
const HOST_IN_FLIGHT_BYTES_MAX: usize = IN_FLIGHT_BYTES_MAX / 4;
/// Frames that are read or wait to be decoded, all together; one counts with its length before its body is read.
const FRAMES_BYTES_MAX: usize = 128 << 20;
/// ... and those of one host: that of its agent, and one that a broken line left behind. A host that claims frames and does
/// not send them takes no more from the others.
const HOST_FRAMES_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// Windows are counted in units of this many bytes.
const UNIT_BYTES: usize = 1024;
/// A frame's buffer starts at this size and grows with what really comes.
const FRAME_BYTES_START: usize = 64 * 1024;
/// Agents of an earlier collector whose series is there from the start: a fleet of ten sites. Of others it begins with a batch.
const EXPECTED_MAX: usize = 10_000;
/// After a refusal, what the agent still sends is read and thrown away for so long and so far: closing at once would make
/// its kernel throw the refusal away.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: u64 = 32 << 20;

struct Metrics {
    batches: IntCounterVec,
    records: IntCounterVec,
    wire_bytes: IntCounter,
    body_bytes: IntCounter,
    refused: IntCounterVec,
    closed: IntCounterVec,
    unsettled: IntCounter,
    missing: IntCounterVec,
    in_flight: IntGauge,
    settled_seconds: Histogram,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    batches: metrics::counters(
        "vonggac_intake_batches_total",
        "Batches received, resent ones included, by agent.",
        &["agent"],
    ),
    records: metrics::counters(
        "vonggac_intake_records_total",
        "Records in the batches received, resent ones included, by agent.",
        &["agent"],
    ),
    wire_bytes: metrics::counter("vonggac_intake_wire_bytes_total", "Bytes of the frames received."),
    body_bytes: metrics::counter("vonggac_intake_body_bytes_total", "Bytes of the batches, decompressed."),
    refused: metrics::counters(
        "vonggac_intake_refused_total",
        "Frames refused, by reason; the connection was closed.",
        &["reason"],
    ),
    closed: metrics::counters("vonggac_intake_closed_total", "Connections closed, by reason.", &["reason"]),
    unsettled: metrics::counter(
        "vonggac_intake_unsettled_total",
        "Batches that were neither stored nor dead-lettered: their agents send them again.",
    ),
    missing: metrics::counters(
        "vonggac_intake_missing_batches_total",
        "Batches missing in an agent's sequence numbers.",
        &["agent"],
    ),
    in_flight: metrics::gauge("vonggac_intake_in_flight_batches", "Batches that wait for their fate."),
    settled_seconds: metrics::histogram(
        "vonggac_intake_settled_seconds",
        "Time from a batch's last byte to its fate.",
        &[0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0],
    ),
});

/// What all connections share.
pub(crate) struct Intake {
    queue: mpsc::Sender<Delivery>,
    limits: Limits,
    frames: Arc<Semaphore>,
    host_frames: Shares,
    in_flight: Arc<Semaphore>,
    host_in_flight: Shares,
    sequences: Sequences,
    connections: AtomicU64,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ending {
    #[error("the agent closed it")]
    Closed,
    #[error("the collector stops")]
    Stopped,
    #[error("the pipeline stopped")]
    Pipeline,
    #[error("nothing came for {0:?}")]
    Idle(Duration),
    #[error("a frame was not through after {0:?}")]
    Slow(Duration),
    #[error("batch {0} was not stored")]
    Unsettled(Identity),
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("refused batch {seq}: {why}")]
    Refused { seq: u64, why: Refusal },
}

/// Why a frame is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("a frame of {have} bytes, at most {FRAME_BYTES_MAX} are taken")]
    Oversized { have: usize },
    #[error("no batch: {0}")]
    Undecodable(#[from] WireError),
    #[error("agent {agent:?} speaks with the certificate of {host:?}")]
    Host { agent: String, host: String },
    #[error("drill {drill_id:?} needs a certificate made with --drill")]
    Drill { drill_id: String },
}

/// What a batch under way takes: a place and bytes of its connection, bytes of its host, bytes of all.
type Window = [OwnedSemaphorePermit; 4];

/// A batch under way. Its permits make room again when it is dropped.
struct Pending {
    identity: Identity,
    since: Instant,
    fate: oneshot::Receiver<Fate>,
    _window: Window,
}

impl Intake {
    /// Batches go to `queue`.
    pub(crate) fn new(queue: mpsc::Sender<Delivery>, limits: Limits) -> Arc<Self> {
        LazyLock::force(&METRICS);
        Arc::new(Self {
            queue,
            limits,
            frames: Arc::new(Semaphore::new(units(FRAMES_BYTES_MAX))),
            host_frames: Shares::new(units(HOST_FRAMES_BYTES_MAX)),
            in_flight: Arc::new(Semaphore::new(units(IN_FLIGHT_BYTES_MAX))),
            host_in_flight: Shares::new(units(HOST_IN_FLIGHT_BYTES_MAX)),
            sequences: Sequences::default(),
            connections: AtomicU64::new(1),
        })
    }

    /// Makes the series of agents that sent to an earlier collector: who is dead since before this start is silent, too.
    pub(crate) fn expect(&self, agents: &[String]) {
        for agent in agents.iter().take(EXPECTED_MAX) {
            METRICS.batches.with_label_values(&[agent]);
        }
    }

    /// Serves one agent until either side ends.
    pub(crate) async fn serve(self: Arc<Self>, guest: Guest, stop: Stop) {
        let (host, address) = (guest.peer.host.clone(), guest.address);
        let ending = self.connection(guest, stop).await;
        METRICS.closed.with_label_values(&[ending.reason()]).inc();
        match &ending {
            Ending::Refused { why, .. } => {
                METRICS.refused.with_label_values(&[why.reason()]).inc();
                warn!(%address, host, "{ending}");
            }
            Ending::Closed | Ending::Stopped | Ending::Idle(_) => debug!(%address, host, "{ending}"),
            _ => info!(%address, host, "{ending}"),
        }
    }

    async fn connection(&self, guest: Guest, stop: Stop) -> Ending {
        let Guest { stream, peer, place: _place, .. } = guest;
        let (read, write) = tokio::io::split(stream);
        let (pending, awaited) = mpsc::channel(self.limits.window_batches);
        let id = self.connections.fetch_add(1, Ordering::Relaxed);
        let reading = Reading::new(self, &peer, id).run(read, pending, stop);
        let writing = self.acknowledge(write, awaited, id);
        tokio::pin!(reading, writing);
        let (read, ending) = tokio::select! {
            read = &mut reading => read,
            // Replies end before reading does only when something broke.
            written = &mut writing => return written.err().unwrap_or(Ending::Closed),
        };
        match writing.await {
            Ok(write) => {
                part(read, write, &ending).await;
                ending
            }
            Err(broken) => broken,
        }
    }

    /// Acknowledges what comes through `awaited` as its fate becomes known. Ends well when no more can come.
    async fn acknowledge<W: AsyncWrite + Unpin>(
        &self,
        mut write: W,
        mut awaited: mpsc::Receiver<Pending>,
        connection: u64,
    ) -> Result<W, Ending> {
        let mut fates = JoinSet::new();
        loop {
            let settled = tokio::select! {
                Some(pending) = awaited.recv() => {
                    fates.spawn(pending.settle());
                    continue;
                }
                Some(settled) = fates.join_next() => settled.map_err(|_| Ending::Pipeline)?,
                else => return Ok(write),
            };
            match settled {
                Ok(seq) => timely(self.limits.frame_timeout(), send(&mut write, &Reply::Ack { seq })).await?,
                Err(identity) => {
                    METRICS.unsettled.inc();
                    self.sequences.lost(&identity, connection);
                    return Err(Ending::Unsettled(identity));
                }
            }
        }
    }
}

/// The half of a connection that reads.
struct Reading<'a> {
    intake: &'a Intake,
    peer: &'a Peer,
    connection: u64,
    /// Of all connections of the host.
    frames: Arc<Semaphore>,
    in_flight: Arc<Semaphore>,
    batches: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The bytes of a frame without the length before them, and its room among the frames.
struct Frame {
    bytes: Vec<u8>,
    _room: [OwnedSemaphorePermit; 2],
}

impl<'a> Reading<'a> {
    fn new(intake: &'a Intake, peer: &'a Peer, connection: u64) -> Self {
        Self {
            intake,
            peer,
            connection,
            frames: intake.host_frames.of(&peer.host),
            in_flight: intake.host_in_flight.of(&peer.host),
            batches: Arc::new(Semaphore::new(intake.limits.window_batches)),
            bytes: Arc::new(Semaphore::new(units(intake.limits.window_bytes))),
        }
    }

    /// Reads until something ends it; gives the stream back for the farewell.
    async fn run<R: AsyncRead + Unpin>(
        self,
        mut read: R,
        pending: mpsc::Sender<Pending>,
        mut stop: Stop,
    ) -> (R, Ending) {
        loop {
            let read_one = self.next(&mut read);
            let (batch, window) = tokio::select! {
                next = read_one => match next {
                    Ok(next) => next,
                    Err(ending) => return (read, ending),
                },
                () = told(&mut stop) => return (read, Ending::Stopped),
            };
            if let Err(ending) = self.deliver(batch, window, &pending).await {
                return (read, ending);
            }
        }
    }

    /// The next batch, once there is room for it.
    async fn next<R: AsyncRead + Unpin>(&self, read: &mut R) -> Result<(Batch, Window), Ending> {
        let place = room(&self.batches, 1).await?;
        let length = self.length(read).await?;
        // Room for the largest body before it is known how large this one is; the rest is given back.
        let largest = units(BATCH_BYTES_MAX);
        let mut bytes = room(&self.bytes, largest).await?;
        let frame = self.frame(read, length).await?;
        let mut of_host = room(&self.in_flight, largest).await?;
        let mut in_flight = room(&self.intake.in_flight, largest).await?;
        let batch = Batch::decode(&frame.bytes).map_err(|error| Ending::refused(0, error.into()))?;
        METRICS.wire_bytes.inc_by(wide(frame.bytes.len()));
        let excess = largest - units(batch.body_bytes());
        for permit in [&mut bytes, &mut of_host, &mut in_flight] {
            drop(permit.split(excess));
        }
        self.check(&batch)?;
        Ok((batch, [place, bytes, of_host, in_flight]))
    }

    /// A frame of so many bytes, once there is room for it.
    async fn frame<R: AsyncRead + Unpin>(&self, read: &mut R, length: usize) -> Result<Frame, Ending> {
        // The host's first: it must not wait for itself in front of the others.
        let of_host = room(&self.frames, units(length)).await?;
        let of_all = room(&self.intake.frames, units(length)).await?;
        let bytes = timely(self.intake.limits.frame_timeout(), body(read, length)).await?;
        Ok(Frame { bytes, _room: [of_host, of_all] })
    }

    /// The length of the next frame, within its limit.
    async fn length<R: AsyncRead + Unpin>(&self, read: &mut R) -> Result<usize, Ending> {
        let limits = &self.intake.limits;
        let mut length = [0; 4];
        loop {
            match timeout(limits.idle_timeout(), first_byte(read, &mut length[..1])).await {
                Ok(came) => break came?,
                Err(_) if self.is_idle() => return Err(Ending::Idle(limits.idle_timeout())),
                Err(_) => {} // silent, but it waits for an acknowledgement
            }
        }
        timely(limits.frame_timeout(), async {
            read.read_exact(&mut length[1..]).await?;
            Ok(())
        })
        .await?;
        let have = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if have > FRAME_BYTES_MAX {
            return Err(Ending::refused(0, Refusal::Oversized { have }));
        }
        Ok(have)
    }

    /// Nothing is under way but the place that the next batch has already taken.
    fn is_idle(&self) -> bool {
        self.batches.available_permits() + 1 >= self.intake.limits.window_batches
    }

    /// A certificate speaks for one host, and for drills only if it says so.
    fn check(&self, batch: &Batch) -> Result<(), Ending> {
        let header = &batch.header;
        if header.agent != self.peer.host {
            let (agent, host) = (header.agent.clone(), self.peer.host.clone());
            return Err(Ending::refused(header.seq, Refusal::Host { agent, host }));
        }
        if !header.drill_id.is_empty() && !self.peer.drill {
            let drill_id = header.drill_id.clone();
            return Err(Ending::refused(header.seq, Refusal::Drill { drill_id }));
        }
        Ok(())
    }

    /// Hands the batch to the pipeline, and its fate to the half that acknowledges.
    async fn deliver(
        &self,
        batch: Batch,
        window: Window,
        pending: &mpsc::Sender<Pending>,
    ) -> Result<(), Ending> {
        let identity = Identity::of(&batch);
        let agent = [identity.agent.as_str()];
        METRICS.batches.with_label_values(&agent).inc();
        METRICS.records.with_label_values(&agent).inc_by(batch.header.records.into());
        METRICS.body_bytes.inc_by(wide(batch.body_bytes()));
        let received = jiff::Timestamp::now().as_microsecond();
        // A place in the queue first: who leaves while it waits for one has not come, and what is missing before its batch is
        // told when it comes again.
        let place = self.intake.queue.reserve().await.map_err(|_| Ending::Pipeline)?;
        let gap = self.intake.sequences.came(&identity, self.connection);
        if let Some(gap) = gap {
            METRICS.missing.with_label_values(&agent).inc_by(gap.batches());
            warn!(%identity, first = gap.first, last = gap.last, "batches are missing before this one");
        }
        let (done, fate) = oneshot::channel();
        place.send(Delivery { batch, sender: SenderKind::Agent, received, gap, done });
        let waiting = Pending::new(identity, fate, window);
        pending.send(waiting).await.map_err(|_| Ending::Pipeline)
    }
}

impl Pending {
    fn new(identity: Identity, fate: oneshot::Receiver<Fate>, window: Window) -> Self {
        METRICS.in_flight.inc();
        Self { identity, since: Instant::now(), fate, _window: window }
    }

    /// The number to acknowledge, or whose fate never came.
    async fn settle(mut self) -> Result<u64, Identity> {
        match (&mut self.fate).await {
            Ok(Fate::Stored | Fate::DeadLettered) => {
                METRICS.settled_seconds.observe(self.since.elapsed().as_secs_f64());
                Ok(self.identity.seq)
            }
            Err(_) => Err(self.identity.clone()),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        METRICS.in_flight.dec();
    }
}

impl Ending {
    fn refused(seq: u64, why: Refusal) -> Self {
        Self::Refused { seq, why }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Closed => "agent",
            Self::Stopped => "stop",
            Self::Pipeline => "pipeline",
            Self::Unsettled(_) => "unsettled",
            Self::Idle(_) => "idle",
            Self::Slow(_) => "slow",
            Self::Socket(_) => "socket",
            Self::Refused { .. } => "refused",
        }
    }
}

impl Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Oversized { .. } => "oversized",
            Self::Undecodable(_) => "undecodable",
            Self::Host { .. } => "host",
            Self::Drill { .. } => "drill",
        }
    }
}

/// Whether there is a first byte; the stream may end here.
async fn first_byte<R: AsyncRead + Unpin>(read: &mut R, first: &mut [u8]) -> Result<(), Ending> {
    match read.read(first).await {
        Ok(0) => Err(Ending::Closed),
        Ok(_) => Ok(()),
        // Many clients end TCP without ending TLS; between frames nothing is cut off by that.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Ending::Closed),
        Err(error) => Err(error.into()),
    }
}

async fn body<R: AsyncRead + Unpin>(read: &mut R, length: usize) -> Result<Vec<u8>, Ending> {
    let mut frame = Vec::with_capacity(length.min(FRAME_BYTES_START));
    read.take(wide(length)).read_to_end(&mut frame).await?;
    if frame.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(frame)
}

async fn send<W: AsyncWrite + Unpin>(write: &mut W, reply: &Reply) -> Result<(), Ending> {
    let message = reply.encode();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(4 + message.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&message);
    write.write_all(&frame).await?;
    Ok(write.flush().await?)
}

/// The last words of a connection. Whether the agent hears them is its own affair: nothing is lost if not.
async fn part<R, W>(mut read: R, mut write: W, ending: &Ending)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let last_words = async {
        if let Ending::Refused { seq, why } = ending {
            send(&mut write, &Reply::Refuse { seq: *seq, reason: why.to_string() }).await?;
            write.shutdown().await?;
            tokio::io::copy(&mut (&mut read).take(LINGER_BYTES_MAX), &mut tokio::io::sink()).await?;
        }
        Ok::<_, Ending>(write.shutdown().await?)
    };
    if let Ok(Err(error)) = timeout(LINGER, last_words).await {
        debug!("a connection ended without goodbye: {error}");
    }
}

async fn timely<T>(limit: Duration, what: impl Future<Output = Result<T, Ending>>) -> Result<T, Ending> {
    timeout(limit, what).await.map_err(|_| Ending::Slow(limit))?
}

async fn room(window: &Arc<Semaphore>, units: usize) -> Result<OwnedSemaphorePermit, Ending> {
    let units = u32::try_from(units).unwrap_or(u32::MAX);
    window.clone().acquire_many_owned(units).await.map_err(|_| Ending::Pipeline)
}

/// Units of a window that so many bytes take.
fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES)
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
