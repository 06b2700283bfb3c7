//! Live capture: packets of interfaces become records of flows in the spool.
//!
//! ```text
//! interface ─▶ Source (ring.rs, or channel.rs) ─▶ observe.rs: event::Meter ─▶ lines ─▶ spool ─▶ tail ─▶ ship
//! ```
//!
//! One thread for each interface, with a ring, a flow table and spool segments of its own: a busy mirror port must not keep the
//! ring of another interface from being read, and source, counters and bounds are those of an interface. At capture the agent
//! never waits: what finds no room is dropped and counted, by the kernel before us, by the spool behind us.
//!
//! Only opening a socket needs a capability (CAP_NET_RAW); it is given up before the first packet is read. An interface that
//! goes away is waited for, on the same socket.
//!
//! What it never does: send a packet, keep a packet, or set an interface to promiscuous mode unless it is told to.

mod channel;
mod count;
mod counters;
mod observe;
mod packet;
mod privileges;
mod ring;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use event::{Captured, LinkType, MeterConfig};
use pnet_datalink::NetworkInterface;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::config::{Backend, Capture as Settings, Config};
use crate::limits::INTERFACES_MAX;
use crate::spool::Spool;
use channel::Channel;
pub(crate) use count::CaptureMetrics;
use observe::Observe;
use packet::PacketSocket;
pub(crate) use privileges::give_up;
use ring::Ring;

/// How an interface is to be watched.
pub(crate) struct Setup {
    name: String,
    index: u32,
    /// A loopback interface shows what is sent and what is received, which is the same.
    loopback: bool,
    promiscuous: bool,
    ring_mib: usize,
}

/// What was lost on the way from the interface to the meter.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Losses {
    /// Packets that the kernel had no room for, or that a block did not hold.
    drops: u64,
    /// How often the whole ring was full.
    freezes: u64,
    /// Frames of which not all was captured.
    truncated: u64,
}

/// Where packets come from.
enum Source {
    Ring(Ring),
    Channel(Channel),
}

/// An interface, open and not read yet.
pub(crate) struct Opened {
    setup: Setup,
    source: Source,
}

/// The threads.
pub(crate) struct Capture {
    stop: Arc<AtomicBool>,
    /// One message from each thread, at its end.
    ends: mpsc::Receiver<Result<()>>,
}

/// Opens the interfaces that the configuration names.
pub(crate) fn open(settings: &Settings) -> Result<Vec<Opened>> {
    if settings.interfaces.is_empty() {
        return Ok(Vec::new());
    }
    let there = pnet_datalink::interfaces();
    settings.interfaces.iter().map(|name| open_one(settings, name, &there)).collect()
}

/// Whether the interfaces that the configuration names are there.
pub(crate) fn check_interfaces(settings: &Settings) -> Result<()> {
    if settings.interfaces.is_empty() {
        return Ok(());
    }
    let there = pnet_datalink::interfaces();
    settings.interfaces.iter().try_for_each(|name| find(name, &there).map(|_| ()))
}

fn find<'a>(name: &str, there: &'a [NetworkInterface]) -> Result<&'a NetworkInterface> {
    there.iter().find(|interface| interface.name == name).with_context(|| {
        let names: Vec<_> = there.iter().map(|interface| interface.name.as_str()).collect();
        format!("capture.interfaces: {name:?}: expected one of those there are: {}", names.join(", "))
    })
}

fn open_one(settings: &Settings, name: &str, there: &[NetworkInterface]) -> Result<Opened> {
    let interface = find(name, there)?;
    let setup = Setup {
        name: name.to_owned(),
        index: interface.index,
        loopback: interface.is_loopback(),
        promiscuous: settings.promiscuous,
        ring_mib: usize::try_from(settings.ring_mib)?,
    };
    let source = match settings.backend {
        Backend::Ring => Ring::open(&setup).map(Source::Ring),
        Backend::Pnet => Channel::open(&setup, interface).map(Source::Channel),
    };
    let source = source.map_err(explained).with_context(|| format!("capture.interfaces: {name:?}"))?;
    Ok(Opened { setup, source })
}

/// What to do about an error that says nothing by itself.
fn explained(error: io::Error) -> anyhow::Error {
    let expected = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "expected the capability CAP_NET_RAW (in the systemd unit: AmbientCapabilities and CapabilityBoundingSet) \
             and the address family AF_PACKET (RestrictAddressFamilies)"
        }
        io::ErrorKind::OutOfMemory => {
            "expected memory for the ring: a smaller capture.ring_mib asks for less"
        }
        _ => return error.into(),
    };
    anyhow::anyhow!("{error}: {expected}")
}

impl Setup {
    /// Binds a socket to the interface. From then on it sees packets.
    fn bind(&self, socket: &PacketSocket) -> io::Result<()> {
        if self.loopback {
            // Kernels before 4.20 do not know this; the ring leaves such packets out by itself.
            let _unknown = socket.ignore_outgoing();
        }
        socket.bind(self.index)?;
        if self.promiscuous { socket.promiscuous(self.index) } else { Ok(()) }
    }

    /// Binds again to the interface of that name, whatever its index is now.
    fn bind_again(&mut self, socket: &PacketSocket) -> io::Result<()> {
        let there = pnet_datalink::interfaces();
        let found = there.iter().find(|interface| interface.name == self.name);
        self.index = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?.index;
        self.bind(socket)?;
        // An interface that is there but down leaves an error at the socket.
        socket.take_error()
    }
}

impl Source {
    /// Waits at most so long for packets and hands on those that are there.
    fn take(&mut self, wait: Duration, sink: &mut impl FnMut(&Captured<'_>)) -> io::Result<()> {
        match self {
            Self::Ring(ring) => ring.take(wait, sink),
            Self::Channel(channel) => channel.take(wait, sink),
        }
    }

    fn losses(&mut self) -> io::Result<Losses> {
        match self {
            Self::Ring(ring) => ring.losses(),
            Self::Channel(channel) => channel.losses(),
        }
    }

    fn socket(&self) -> &PacketSocket {
        match self {
            Self::Ring(ring) => ring.socket(),
            Self::Channel(channel) => channel.socket(),
        }
    }
}

/// What each link begins with, as far as the meter reads it.
fn link_of(link_type: u16) -> io::Result<LinkType> {
    match link_type {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Ok(LinkType::Ethernet),
        // Tunnels: tun, WireGuard, ipip, sit. Their frames begin with the IP header.
        libc::ARPHRD_NONE | libc::ARPHRD_TUNNEL | libc::ARPHRD_TUNNEL6 | libc::ARPHRD_SIT => {
            Ok(LinkType::RawIp)
        }
        other => Err(io::Error::other(format!("a link of type {other} (ARPHRD): expected Ethernet or IP"))),
    }
}

impl Capture {
    /// Starts a thread for each interface.
    pub(crate) fn start(
        config: &Config,
        opened: Vec<Opened>,
        spool: &Arc<Spool>,
        metrics: &CaptureMetrics,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (end, ends) = mpsc::channel(INTERFACES_MAX);
        let meter = if opened.is_empty() { MeterConfig::default() } else { meter_config(config) };
        for Opened { setup, source } in opened {
            let name = setup.name.clone();
            info!(interface = name, backend = config.capture.backend.as_str(), "capturing");
            let observe = Observe::new(setup, source, meter.clone(), spool, metrics)?;
            let (stop, end) = (Arc::clone(&stop), end.clone());
            let work = move || {
                // The receiver goes only when the process ends.
                let _told = end.blocking_send(observe.run(&stop));
            };
            // The kernel shows 15 bytes of a thread's name: that of the interface.
            std::thread::Builder::new().name(name).spawn(work).context("capture: a thread")?;
        }
        Ok(Self { stop, ends })
    }

    /// Runs until `stop`, then until all threads have written what they hold, tells `drained`, and waits for ever: what
    /// remains is for others to end. A thread that fails ends it at once.
    pub(crate) async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        drained: watch::Sender<bool>,
    ) -> Result<()> {
        tokio::select! {
            // Without threads there is nothing to wait for but the stop.
            Some(ended) = self.ends.recv() => ended?,
            () = stop => {}
        }
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.ends.recv().await {
            ended?;
        }
        let _told = drained.send(true);
        std::future::pending().await
    }
}

fn meter_config(config: &Config) -> MeterConfig {
    let settings = &config.capture;
    MeterConfig {
        flows_max: usize::try_from(settings.flows_max).unwrap_or(usize::MAX),
        idle_timeout: seconds(settings.idle_timeout_s),
        active_timeout: seconds(settings.active_timeout_s),
        application: settings.application,
        ignored: export_addresses(&config.collector.address),
        ..MeterConfig::default()
    }
}

fn seconds(seconds: u64) -> event::Micros {
    event::Micros::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(event::Micros::MAX)
}

/// Where our own batches go: their packets would make flows, which would make batches. Asked once: a collector that moves to
/// another address shows as one long flow.
fn export_addresses(collector: &str) -> Vec<SocketAddr> {
    match collector.to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            warn!(collector, "cannot be resolved yet, so our own connection to it is metered, too: {error}");
            Vec::new()
        }
    }
}
