//! Sends batches to the collector and takes its acknowledgements.
//!
//! One connection, at most `window` batches in flight. A batch is held, encoded, until it is acknowledged: when the
//! connection ends, all that is held is sent again on the next one, in order, marked as resent. The collector
//! acknowledges in any order. While the window is full nothing more is taken from the channel, and so nothing more is
//! read from files.
//!
//! The collector judges our certificate after TLS' handshake is done for us (TLS 1.3): it is called connected when it has answered, or
//! has not refused within [`REFUSAL_WAIT`].
//!
//! What it never does: drop a batch. A refusal is an error in the log, a metric and the longest pause; the batch is sent
//! again until someone has repaired what the refusal names.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use event::{Batch, Reply};
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::ledger::Ledger;
use crate::limits::{
    ACK_TIMEOUT, BACKOFF_MAX, BACKOFF_MIN, CONNECT_TIMEOUT, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL,
    KEEPALIVE_PROBES, REFUSAL_WAIT, REPLY_BYTES_MAX, WRITE_TIMEOUT,
};
use crate::metrics::Metrics;
use crate::tls::{Identity, random_u64, refused_certificate};

/// One encoded batch on its way.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) seq: u64,
    pub(crate) message: Vec<u8>,
    /// It may have been sent before, by this process or the one before it.
    pub(crate) resent: bool,
}

/// Where the collector is, and how it is asked.
struct Peer {
    address: String,
    server_name: ServerName<'static>,
    connector: TlsConnector,
}

/// The stage: frames in, acknowledgements into the ledger.
pub(crate) struct Ship {
    peer: Rc<Peer>,
    window: usize,
    frames: mpsc::Receiver<Frame>,
    ledger: Rc<RefCell<Ledger>>,
    metrics: Rc<Metrics>,
    /// In order of their numbers.
    held: VecDeque<Frame>,
    /// How many of `held` were written to the present connection: the first ones.
    written: usize,
    /// The channel is closed: nothing more comes.
    closed: bool,
}

/// Why a connection ended.
enum End {
    /// Everything is acknowledged and nothing more comes.
    Done,
    /// The network or the peer. `progress` when it was of use: the next pause is a short one.
    Lost { reason: anyhow::Error, progress: bool },
    /// The collector does not take a batch.
    Refused { seq: u64, reason: String },
}

impl Ship {
    pub(crate) fn new(
        config: &Config,
        identity: &Identity,
        frames: mpsc::Receiver<Frame>,
        ledger: Rc<RefCell<Ledger>>,
        metrics: Rc<Metrics>,
    ) -> Result<Self> {
        let peer = Peer {
            address: config.collector.address.clone(),
            server_name: config.server_name()?,
            connector: TlsConnector::from(Arc::clone(&identity.client)),
        };
        Ok(Self {
            peer: Rc::new(peer),
            window: usize::try_from(config.batch.window)?,
            frames,
            ledger,
            metrics,
            held: VecDeque::new(),
            written: 0,
            closed: false,
        })
    }

    /// Runs until its input is closed and everything is acknowledged.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut backoff = BACKOFF_MIN;
        let peer = Rc::clone(&self.peer);
        loop {
            let connected = tokio::select! {
                connected = peer.connect() => connected,
                () = self.until_done() => return Ok(()),
            };
            let end = match connected {
                Ok(stream) => self.session(stream).await,
                Err(reason) => End::Lost { reason, progress: false },
            };
            self.metrics.connected.set(0);
            match end {
                End::Done => return Ok(()),
                End::Lost { reason, progress } => {
                    if progress {
                        backoff = BACKOFF_MIN;
                    }
                    self.report_lost(&reason, progress);
                }
                End::Refused { seq, reason } => {
                    self.metrics.batches_refused.inc();
                    backoff = BACKOFF_MAX;
                    error!(collector = %peer.address, seq, "the collector refuses a batch; it is kept: {reason}");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(jittered(backoff)?) => {}
                () = self.until_done() => return Ok(()),
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Without a connection: returns when nothing is owed and nothing more comes. Takes one frame at most, and then waits for ever.
    async fn until_done(&mut self) {
        while self.held.is_empty() && !self.closed {
            let frame = self.frames.recv().await;
            self.hold(frame);
        }
        if !self.held.is_empty() {
            std::future::pending::<()>().await;
        }
    }

    fn report_lost(&self, reason: &anyhow::Error, progress: bool) {
        self.metrics.connection_errors.inc();
        let collector = &self.peer.address;
        if let Some(why) = refused_certificate(reason) {
            error!(%collector, held = self.held.len(), "the collector refuses this host's certificate (tls.cert): {why}");
        } else if progress && self.held.is_empty() {
            // A collector closes a connection that was idle for long: nobody needs to be woken for that.
            info!(%collector, "connection ended: {reason:#}");
        } else {
            warn!(%collector, held = self.held.len(), "no connection: {reason:#}");
        }
    }

    /// The collector has answered, or has had time enough to refuse.
    fn report_connected(&self) {
        self.metrics.connections.inc();
        self.metrics.connected.set(1);
        info!(collector = %self.peer.address, held = self.held.len(), "connected");
    }

    /// One connection, from its first batch to its end.
    async fn session(&mut self, stream: TlsStream<TcpStream>) -> End {
        let (mut replies, mut batches) = tokio::io::split(stream);
        let mut inbox = Vec::with_capacity(REPLY_BYTES_MAX);
        let (start, mut progress) = (Instant::now(), false);
        self.written = 0;
        match self.exchange(&mut replies, &mut batches, &mut inbox, &mut progress).await {
            Ok(end) => end,
            Err(reason) => End::Lost { reason, progress: progress || start.elapsed() >= BACKOFF_MAX },
        }
    }

    async fn exchange(
        &mut self,
        replies: &mut (impl AsyncReadExt + Unpin),
        batches: &mut (impl AsyncWriteExt + Unpin),
        inbox: &mut Vec<u8>,
        progress: &mut bool,
    ) -> Result<End> {
        let mut last_reply = Instant::now();
        let mut refusable_until = Some(last_reply + REFUSAL_WAIT);
        loop {
            while self.written < self.held.len() {
                if let Err(broken) = self.write_next(batches).await {
                    return Err(reason_to_close(replies, inbox).await.unwrap_or(broken));
                }
            }
            if self.closed && self.held.is_empty() {
                // The peer is told that we end; it may already be gone, and nothing is owed any more.
                let _told = batches.shutdown().await;
                return Ok(End::Done);
            }
            let overdue = if self.held.is_empty() { None } else { Some(last_reply + ACK_TIMEOUT) };
            let room = self.held.len() < self.window && !self.closed;
            tokio::select! {
                read = replies.read_buf(inbox) => {
                    if read.context("read")? == 0 {
                        bail!("the collector closed the connection");
                    }
                    last_reply = Instant::now();
                    if refusable_until.take().is_some() {
                        self.report_connected();
                    }
                    if let Some(end) = self.take_replies(inbox, progress)? {
                        return Ok(end);
                    }
                }
                frame = self.frames.recv(), if room => {
                    if self.held.is_empty() {
                        last_reply = Instant::now();
                    }
                    self.hold(frame);
                }
                () = until(refusable_until) => {
                    refusable_until = None;
                    self.report_connected();
                }
                () = until(overdue) => bail!("no acknowledgement for {} s", ACK_TIMEOUT.as_secs()),
            }
        }
    }

    fn hold(&mut self, frame: Option<Frame>) {
        match frame {
            Some(frame) => self.held.push_back(frame),
            None => self.closed = true,
        }
        self.metrics.in_flight.set(i64::try_from(self.held.len()).unwrap_or(i64::MAX));
    }

    async fn write_next(&mut self, batches: &mut (impl AsyncWriteExt + Unpin)) -> Result<()> {
        let frame = &mut self.held[self.written];
        if frame.resent {
            Batch::mark_resent(&mut frame.message);
            self.metrics.batches_resent.inc();
        }
        // From the first byte on it may be there, whatever the write says.
        frame.resent = true;
        let length = u32::try_from(frame.message.len())?.to_be_bytes();
        within("write", WRITE_TIMEOUT, async {
            batches.write_all(&length).await?;
            batches.write_all(&frame.message).await?;
            batches.flush().await
        })
        .await?;
        self.metrics.batches_sent.inc();
        self.metrics.wire_bytes.inc_by(frame.message.len() as u64 + 4);
        self.written += 1;
        Ok(())
    }

    /// Takes every whole reply out of the inbox.
    fn take_replies(&mut self, inbox: &mut Vec<u8>, progress: &mut bool) -> Result<Option<End>> {
        let mut at = 0;
        while let Some((head, rest)) = inbox[at..].split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*head))?;
            if length > REPLY_BYTES_MAX {
                bail!("a reply of {length} bytes: expected at most {REPLY_BYTES_MAX}");
            }
            let Some(message) = rest.get(..length) else { break };
            match Reply::decode(message).context("reply")? {
                Reply::Ack { seq } => {
                    self.take_ack(seq)?;
                    *progress = true;
                }
                Reply::Refuse { seq, reason } => return Ok(Some(End::Refused { seq, reason })),
            }
            at += head.len() + length;
        }
        inbox.drain(..at);
        Ok(None)
    }

    fn take_ack(&mut self, seq: u64) -> Result<()> {
        let Some(index) = self.held.iter().take(self.written).position(|frame| frame.seq == seq) else {
            bail!("batch {seq} is acknowledged: expected one of those in flight");
        };
        self.held.remove(index);
        self.written -= 1;
        self.ledger.borrow_mut().ack(seq);
        self.metrics.acked();
        self.metrics.in_flight.set(i64::try_from(self.held.len()).unwrap_or(i64::MAX));
        Ok(())
    }
}

impl Peer {
    async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let stream = within("connect", CONNECT_TIMEOUT, TcpStream::connect(&self.address)).await?;
        stream.set_nodelay(true)?;
        notice_a_vanished_peer(&stream)?;
        let handshake = self.connector.connect(self.server_name.clone(), stream);
        within("TLS handshake", CONNECT_TIMEOUT, handshake).await
    }
}

/// What a peer that takes nothing more said before: a TLS alert tells more than a broken pipe.
async fn reason_to_close(
    replies: &mut (impl AsyncReadExt + Unpin),
    inbox: &mut Vec<u8>,
) -> Option<anyhow::Error> {
    let read = timeout(REFUSAL_WAIT, replies.read_buf(inbox)).await.ok()?;
    read.context("read").err()
}

async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = io::Result<T>>) -> Result<T> {
    match timeout(limit, work).await {
        Ok(done) => done.with_context(|| what.to_owned()),
        Err(_) => Err(anyhow!("{what}: not done within {} s", limit.as_secs())),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Keepalive probes for a connection at rest, and the same time for bytes that nobody confirms.
fn notice_a_vanished_peer(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES))
}

/// Between half of the pause and all of it.
fn jittered(pause: Duration) -> Result<Duration> {
    let part = (random_u64()? % 1000) as u32;
    Ok(pause / 2 + pause / 2 * part / 1000)
}
