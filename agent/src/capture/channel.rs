//! Packets by the library pnet, one system call a packet: for kernels and networks where the ring does not work.
//!
//! The socket is ours: its buffer is raised beyond the kernel's default of 208 KiB, which a busy host overflows in 10 ms, and
//! its count of drops is read. What pnet cannot tell: the kernel's time of a packet (ours, when it is read, stands for it), the
//! VLAN tag that the kernel took out, and the wire length of a frame that is longer than the buffer (it counts as truncated).
//!
//! It costs 3 to 6 seconds of a processor for a million packets, where the ring costs 0.06 (veth, 50,000 to 200,000 packets/s). What it never does: wait much longer than [`CAPTURE_WAIT`].

use std::io;
use std::os::fd::IntoRawFd;
use std::time::{Duration, Instant};

use event::{Captured, LinkType};
use pnet_datalink::{Channel as Pair, DataLinkReceiver, NetworkInterface};

use super::packet::{PacketSocket, Statistics};
use super::{Losses, Setup, link_of};
use crate::form::now;
use crate::limits::{CAPTURE_WAIT, CHANNEL_BUFFER_BYTES, CHANNEL_FRAME_BYTES};

/// A channel of one interface.
pub(super) struct Channel {
    socket: PacketSocket,
    receiver: Box<dyn DataLinkReceiver>,
    link: LinkType,
    losses: Losses,
}

impl Channel {
    pub(super) fn open(setup: &Setup, interface: &NetworkInterface) -> io::Result<Self> {
        let socket = PacketSocket::open()?;
        socket.receive_buffer(CHANNEL_BUFFER_BYTES)?;
        setup.bind(&socket)?;
        let link = link_of(socket.link_type()?)?;
        let config = pnet_datalink::Config {
            // Nothing is ever written.
            write_buffer_size: 0,
            read_buffer_size: CHANNEL_FRAME_BYTES,
            read_timeout: Some(CAPTURE_WAIT),
            // `Setup::bind` has done it where it is asked for.
            promiscuous: false,
            // From here on it is pnet's to close.
            socket_fd: Some(socket.duplicate()?.into_raw_fd()),
            ..pnet_datalink::Config::default()
        };
        let Pair::Ethernet(_, receiver) = pnet_datalink::channel(interface, config)? else {
            return Err(io::Error::other("pnet gave no channel of frames"));
        };
        Ok(Self { socket, receiver, link, losses: Losses::default() })
    }

    pub(super) fn socket(&self) -> &PacketSocket {
        &self.socket
    }

    /// Hands on packets for at most so long, and for one wait of pnet beyond it.
    pub(super) fn take(&mut self, wait: Duration, sink: &mut impl FnMut(&Captured<'_>)) -> io::Result<()> {
        let start = Instant::now();
        loop {
            let bytes = match self.receiver.next() {
                Ok(bytes) => bytes,
                Err(error) if is_nothing(error.kind()) => return Ok(()),
                Err(error) => return self.socket.take_error().and(Err(error)),
            };
            let wire_bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            self.losses.truncated += u64::from(bytes.len() == CHANNEL_FRAME_BYTES);
            sink(&Captured { at: now(), link: self.link, bytes, wire_bytes, vlan: 0 });
            if start.elapsed() >= wait {
                return Ok(());
            }
        }
    }

    /// What was lost since it was asked last.
    pub(super) fn losses(&mut self) -> io::Result<Losses> {
        let Statistics { drops, .. } = self.socket.statistics()?;
        let ours = std::mem::take(&mut self.losses);
        Ok(Losses { drops: ours.drops + drops, ..ours })
    }
}

fn is_nothing(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
