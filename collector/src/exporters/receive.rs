//! Datagrams off a UDP socket, on a thread of its own that does nothing else: what it does not fetch in time the kernel drops.
//!
//! The kernel's buffer is asked to be [`Limits::exporter_receive_buffer_bytes`](crate::config::Limits) large; it grants `net.core.rmem_max` at most.
//! What it drops is read from `/proc/net/udp` once a second and counted: a loss that no program sees otherwise.
//!
//! What it never does: decode, wait for the stage behind it, or look at a datagram of someone who may not send.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use prometheus::{IntCounterVec, IntGaugeVec};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::{info, warn};

use super::queue::Input;
use super::roster::Roster;
use crate::clock::now;
use crate::door::Stop;
use crate::metrics;

/// The longest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// So long the thread waits for a datagram before it asks whether to stop.
const LOOK_UP: Duration = Duration::from_millis(200);
/// How often the kernel's counter of drops is read.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// What lies in the kernel's buffer when the daemon is told to stop is fetched for so long at most.
const DRAIN: Duration = Duration::from_millis(500);
/// After an error of the socket.
const PAUSE: Duration = Duration::from_millis(100);

struct Metrics {
    kernel_drops: IntCounterVec,
    buffer_bytes: IntGaugeVec,
    errors: IntCounterVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    kernel_drops: metrics::counters(
        "vonggac_exporter_kernel_dropped_total",
        "Datagrams that the kernel dropped because its receive buffer was full, by listening address: their records are lost.",
        &["listen"],
    ),
    buffer_bytes: metrics::gauges(
        "vonggac_exporter_receive_buffer_bytes",
        "The kernel's receive buffer, by listening address.",
        &["listen"],
    ),
    errors: metrics::counters(
        "vonggac_exporter_receive_errors_total",
        "Errors of a listening socket, by listening address.",
        &["listen"],
    ),
});

/// One listening socket.
pub(super) struct Receive {
    socket: UdpSocket,
    label: String,
    roster: Arc<Roster>,
    output: Input,
    drops: KernelDrops,
}

impl Receive {
    /// Binds; `[::]` takes IPv4, too.
    pub(super) fn bind(
        listen: SocketAddr,
        buffer_bytes: usize,
        roster: Arc<Roster>,
        output: Input,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
        if listen.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_recv_buffer_size(buffer_bytes)?;
        socket.bind(&listen.into())?;
        socket.set_read_timeout(Some(LOOK_UP))?;
        let granted = socket.recv_buffer_size()?;
        let socket = UdpSocket::from(socket);
        let address = socket.local_addr()?;
        let label = address.to_string();
        METRICS.buffer_bytes.with_label_values(&[&label]).set(i64::try_from(granted).unwrap_or(i64::MAX));
        METRICS.kernel_drops.with_label_values(&[&label]);
        // The kernel counts its own bookkeeping, too, and so reports twice what it was asked for.
        info!(%address, buffer_bytes = granted / 2, asked = buffer_bytes, "exporters may send flow records");
        let drops = KernelDrops::of(&socket);
        Ok(Self { socket, label, roster, output, drops })
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self, stop: &Stop) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut counted = Instant::now();
        while !*stop.borrow() {
            self.next(&mut buffer);
            if counted.elapsed() >= COUNT_EVERY {
                counted = Instant::now();
                self.count_drops();
            }
        }
        self.drain(&mut buffer);
        self.count_drops();
    }

    /// Fetches one datagram. False: there is none.
    fn next(&mut self, buffer: &mut [u8]) -> bool {
        match self.socket.recv_from(buffer) {
            Ok((length, address)) => self.take(buffer.get(..length).unwrap_or_default(), address),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                METRICS.errors.with_label_values(&[&self.label]).inc();
                warn!(listen = self.label, %error, "no datagram can be received");
                std::thread::sleep(PAUSE);
            }
        }
        true
    }

    fn take(&self, bytes: &[u8], address: SocketAddr) {
        let received = now();
        // On a socket of both families IPv4 comes mapped.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if let Ok(exporter) = self.roster.admit(address.ip(), received) {
            self.output.offer(exporter, address, bytes, received);
        }
    }

    fn drain(&mut self, buffer: &mut [u8]) {
        let start = Instant::now();
        if self.socket.set_nonblocking(true).is_ok() {
            while start.elapsed() < DRAIN && self.next(buffer) {}
        }
    }

    fn count_drops(&mut self) {
        METRICS.kernel_drops.with_label_values(&[&self.label]).inc_by(self.drops.since_last());
    }
}

/// The kernel's counter of a socket, in the last column of `/proc/net/udp` (proc(5)).
struct KernelDrops {
    inode: Option<u64>,
    last: u64,
}

impl KernelDrops {
    fn of(socket: &UdpSocket) -> Self {
        let inode = fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).map(|file| file.ino());
        Self { inode: inode.ok(), last: 0 }
    }

    fn since_last(&mut self) -> u64 {
        let tables = ["/proc/net/udp", "/proc/net/udp6"].into_iter();
        let Some(inode) = self.inode else { return 0 };
        let drops = tables.filter_map(|table| drops(&fs::read_to_string(table).ok()?, inode)).next();
        let drops = drops.unwrap_or(self.last);
        let more = drops.saturating_sub(self.last);
        self.last = drops;
        more
    }
}

/// Columns: slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode, references, pointer, drops.
fn drops(table: &str, inode: u64) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let found: u64 = columns.nth(9)?.parse().ok()?;
        (found == inode).then(|| columns.nth(2)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_counter_of_a_socket() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n \
                     3297: 00000000:0807 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 4242 2 0000000000000000 17\n";
        assert_eq!(drops(table, 4_242), Some(17));
        assert_eq!(drops(table, 1), None);
        assert_eq!(drops("", 1), None);
        assert_eq!(drops("header\nshort line\n", 1), None);
    }

    #[test]
    fn sees_what_the_kernel_drops() {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let socket = UdpSocket::from(socket);
        let mut drops = KernelDrops::of(&socket);
        assert_eq!(drops.since_last(), 0);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..100 {
            sender.send_to(&[0; 1_400], socket.local_addr().unwrap()).unwrap();
        }
        let dropped = drops.since_last();
        assert!((50..=100).contains(&dropped), "{dropped}");
        assert_eq!(drops.since_last(), 0);
    }
}
