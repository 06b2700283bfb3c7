//! The meter: packets in, a line for each flow out.
//!
//! A conversation is what two endpoints exchange over one protocol, both ways. Who began it is told by TCP's handshake; where
//! there is none the first packet tells, unless it comes from a well-known port to another one: then it is an answer. A
//! conversation gets a record when it is over (both FIN or RST and [`LINGER`], or silent for the idle timeout), and while it
//! lasts one for each active timeout, numbered, with the first packet's time in each: a long conversation is never taken for
//! several new ones.
//!
//! Time is that of the packets; one that is behind the latest does not turn the clock back. Limits: flows in the table
//! (`flows_max`): beyond them the flow that is nearest to its end is written out with `lack_of_resources`, and counted; segments
//! that are held back until their turn (`order.rs`); datagrams in fragments (`fragments.rs`); what the application layer keeps
//! (`talk.rs`). Frames that are neither IP nor ARP are counted, and so are those that cannot be read.

use std::net::SocketAddr;

use super::community_id::community_id;
use super::fragments::Fragments;
use super::frame::{self, Packet, TCP, Unread};
use super::key::{Key, Which};
use super::record::{EndReason, Flow, Origin, Side};
use super::table::{FLOWS_MAX, Filed, Table};
use super::tcp::{ACK, Connection, RST, SYN, Sender};
use crate::Micros;

const SECOND: Micros = 1_000_000;
/// After both sides have ended a connection, so long for the last acknowledgements.
const LINGER: Micros = 2 * SECOND;
/// Ports below this are well-known (RFC 6335): what comes from one to a port above it is an answer.
const WELL_KNOWN_PORTS: u16 = 1024;
/// A length on the wire above this is a lie of the capture's header (libpcap's MAXIMUM_SNAPLEN).
const WIRE_BYTES_MAX: u32 = 256 * 1024;

/// What a meter is to do, and its bounds.
#[derive(Clone, Debug)]
pub struct MeterConfig {
    /// Most flows at a time; beyond it the idlest one is written out, and counted.
    pub flows_max: usize,
    /// A flow without a packet for so long is over.
    pub idle_timeout: Micros,
    /// An established TCP connection may be silent for so long.
    pub tcp_idle_timeout: Micros,
    /// A flow that lasts gets a record this often.
    pub active_timeout: Micros,
    /// Whether the first bytes of payload are read: dns, tls, http, ssh.
    pub application: bool,
    /// Endpoints whose traffic is left out: that of our own export.
    pub ignored: Vec<SocketAddr>,
}

/// A frame as captured.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    pub at: Micros,
    pub link: LinkType,
    /// What was kept of it.
    pub bytes: &'a [u8],
    /// Its length on the wire.
    pub wire_bytes: u32,
    /// The 802.1Q tag that the kernel took out of the frame, with its priority bits; 0 for none.
    pub vlan: u16,
}

/// What a frame begins with (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkType {
    Ethernet,
    RawIp,
    /// BSD's loopback: four bytes of address family.
    Null,
    LinuxSll,
    LinuxSll2,
    Ppp,
    /// One that is not read: its frames are counted.
    Other,
}

/// What a meter has seen and done since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MeterCounters {
    pub packets: u64,
    /// Of frames, on the wire.
    pub bytes: u64,
    /// Frames that are neither IP nor ARP.
    pub not_ip: u64,
    /// Frames that are cut, or not as their RFC says.
    pub malformed: u64,
    /// Frames whose stated length on the wire cannot be true; what was captured was counted.
    pub implausible: u64,
    /// Fragments that came without or before their first.
    pub orphaned: u64,
    /// Packets of our own export.
    pub ignored: u64,
    /// Flows whose record was written because the table was full.
    pub evicted: u64,
    /// Records of flows written.
    pub records: u64,
    /// Flows in the table now.
    pub live: u64,
}

/// The flow table.
#[derive(Debug)]
pub struct Meter {
    config: MeterConfig,
    counters: MeterCounters,
    table: Table<Entry>,
    fragments: Fragments,
    /// The latest packet's time.
    clock: Micros,
    /// Kept from call to call.
    over: Vec<u32>,
}

/// A flow under way.
#[derive(Debug)]
struct Entry {
    key: Key,
    src: Which,
    /// First packet of the conversation, first and last of this part.
    conn_start: Micros,
    start: Micros,
    last: Micros,
    /// When it is over unless something comes.
    deadline: i64,
    part: u32,
    sides: [Side; 2],
    tcp: Connection,
    packet_bytes_min: u32,
    packet_bytes_max: u32,
    vlan: u16,
    tunnel: &'static str,
}

impl Default for MeterConfig {
    fn default() -> Self {
        Self {
            flows_max: 100_000,
            idle_timeout: 60 * SECOND,
            tcp_idle_timeout: 600 * SECOND,
            active_timeout: 300 * SECOND,
            application: true,
            ignored: Vec::new(),
        }
    }
}

impl Meter {
    pub fn new(config: MeterConfig) -> Self {
        let config = MeterConfig { flows_max: config.flows_max.clamp(1, FLOWS_MAX), ..config };
        Self {
            config,
            counters: MeterCounters::default(),
            table: Table::new(),
            fragments: Fragments::default(),
            clock: Micros::MIN,
            over: Vec::new(),
        }
    }

    /// Takes a packet. Lines of what is over, or was said, are appended to `out`.
    pub fn packet(&mut self, captured: &Captured<'_>, out: &mut Vec<u8>) {
        let mut captured = *captured;
        self.count(&mut captured);
        if captured.at > self.clock {
            self.expire(captured.at, out);
        }
        match frame::read(&captured) {
            Ok(packet) => self.meter(packet, &captured, out),
            Err(Unread::NotIp) => self.counters.not_ip = self.counters.not_ip.saturating_add(1),
            Err(Unread::Malformed) => self.counters.malformed = self.counters.malformed.saturating_add(1),
        }
    }

    /// Writes out what is over at `now`. Cheap: to be called about once a second.
    pub fn expire(&mut self, now: Micros, out: &mut Vec<u8>) {
        self.clock = self.clock.max(now);
        let mut over = std::mem::take(&mut self.over);
        while self.table.next_over(second(self.clock), &mut over) {
            for at in over.drain(..) {
                self.end(at, None, out);
            }
        }
        self.over = over;
    }

    /// Writes out all that is left.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        let places: Vec<u32> = self.table.places().collect();
        for at in places {
            self.end(at, Some(EndReason::Forced), out);
        }
    }

    pub fn counters(&self) -> MeterCounters {
        MeterCounters { live: u64::try_from(self.table.len()).unwrap_or(u64::MAX), ..self.counters }
    }

    /// The latest time that it was told.
    pub fn clock(&self) -> Micros {
        self.clock
    }

    /// What it was made with.
    pub fn config(&self) -> &MeterConfig {
        &self.config
    }

    fn count(&mut self, captured: &mut Captured<'_>) {
        let counters = &mut self.counters;
        if captured.wire_bytes > WIRE_BYTES_MAX {
            counters.implausible = counters.implausible.saturating_add(1);
            captured.wire_bytes = u32::try_from(captured.bytes.len()).unwrap_or(u32::MAX);
        }
        counters.packets = counters.packets.saturating_add(1);
        counters.bytes = counters.bytes.saturating_add(captured.wire_bytes.into());
    }

    fn meter(&mut self, mut packet: Packet<'_>, captured: &Captured<'_>, out: &mut Vec<u8>) {
        if !self.fragments.complete(&mut packet) {
            self.counters.orphaned = self.counters.orphaned.saturating_add(1);
        }
        if self.is_ignored(&packet) {
            self.counters.ignored = self.counters.ignored.saturating_add(1);
            return;
        }
        let (key, sender) = Key::of(&packet);
        let at = match self.table.find(&key) {
            Some(at) if self.begins_anew(at, &packet, captured.at) => {
                self.end(at, None, out);
                self.begin(key, sender, &packet, captured.at, out)
            }
            Some(at) => at,
            None => self.begin(key, sender, &packet, captured.at, out),
        };
        let config = &self.config;
        let Some(entry) = self.table.get_mut(at) else { return };
        if captured.at.saturating_sub(entry.start) >= config.active_timeout
            && entry.sides.iter().any(|side| side.packets > 0)
        {
            entry.write(EndReason::Active, out);
            self.counters.records = self.counters.records.saturating_add(1);
            entry.next_part(captured.at);
        }
        let was_over = entry.tcp.is_over();
        let sender = if sender == entry.src { Sender::Src } else { Sender::Dst };
        entry.add(sender, &packet, captured);
        entry.deadline = second(entry.last.saturating_add(entry.patience(config))).saturating_add(1);
        if entry.tcp.is_over() && !was_over {
            self.table.hasten(at);
        }
    }

    fn is_ignored(&self, packet: &Packet<'_>) -> bool {
        let is = |ignored: &SocketAddr| {
            (ignored.ip() == packet.dst_ip && ignored.port() == packet.dst_port)
                || (ignored.ip() == packet.src_ip && ignored.port() == packet.src_port)
        };
        packet.protocol == TCP && self.config.ignored.iter().any(is)
    }

    /// A new connection between the ports of one that is over; or one that fell silent, before its slot's turn.
    fn begins_anew(&self, at: u32, packet: &Packet<'_>, now: Micros) -> bool {
        let Some(entry) = self.table.get(at) else { return false };
        let syn = packet.tcp.is_some_and(|tcp| tcp.flags & (SYN | ACK | RST) == SYN);
        (syn && entry.tcp.is_over()) || now.saturating_sub(entry.last) > entry.patience(&self.config)
    }

    fn begin(&mut self, key: Key, sender: Which, packet: &Packet<'_>, now: Micros, out: &mut Vec<u8>) -> u32 {
        if self.table.len() >= self.config.flows_max
            && let Some(idlest) = self.table.idlest()
        {
            self.counters.evicted = self.counters.evicted.saturating_add(1);
            self.end(idlest, Some(EndReason::LackOfResources), out);
        }
        let mut entry = Entry::new(key, sender, packet, now);
        entry.deadline = second(now.saturating_add(entry.patience(&self.config))).saturating_add(1);
        self.table.insert(entry)
    }

    /// Takes a flow out and writes its record. Without a reason the flow's own state tells it.
    fn end(&mut self, at: u32, reason: Option<EndReason>, out: &mut Vec<u8>) {
        let Some(entry) = self.table.remove(at) else { return };
        let of_state = if entry.tcp.is_over() { EndReason::End } else { EndReason::Idle };
        if entry.sides.iter().any(|side| side.packets > 0) {
            entry.write(reason.unwrap_or(of_state), out);
            self.counters.records = self.counters.records.saturating_add(1);
        }
    }
}

impl Filed for Entry {
    fn key(&self) -> &Key {
        &self.key
    }

    fn deadline(&self) -> i64 {
        self.deadline
    }
}

impl Entry {
    fn new(key: Key, sender: Which, packet: &Packet<'_>, now: Micros) -> Self {
        let mut tcp = Connection::default();
        let src = match begins(packet) {
            Begins::Conversation => sender,
            Begins::Answer => sender.other(),
            Begins::Unknown => {
                tcp.turned();
                sender.other()
            }
        };
        Self {
            key,
            src,
            conn_start: now,
            start: now,
            last: now,
            deadline: 0,
            part: 0,
            sides: [Side::default(); 2],
            tcp,
            packet_bytes_min: u32::MAX,
            packet_bytes_max: 0,
            vlan: packet.vlan,
            tunnel: packet.tunnel,
        }
    }

    fn add(&mut self, sender: Sender, packet: &Packet<'_>, captured: &Captured<'_>) {
        self.last = self.last.max(captured.at);
        self.packet_bytes_min = self.packet_bytes_min.min(packet.ip_bytes);
        self.packet_bytes_max = self.packet_bytes_max.max(packet.ip_bytes);
        let place = packet.tcp.map(|tcp| self.tcp.segment(sender, tcp, packet.payload_bytes));
        let [src, dst] = &mut self.sides;
        let side = match sender {
            Sender::Src => src,
            Sender::Dst => dst,
        };
        side.packets = side.packets.saturating_add(1);
        side.bytes = side.bytes.saturating_add(packet.ip_bytes.into());
        side.frame_bytes = side.frame_bytes.saturating_add(captured.wire_bytes.into());
        side.payload_bytes = side.payload_bytes.saturating_add(packet.payload_bytes.into());
        side.tcp_flags |= packet.tcp.map_or(0, |tcp| tcp.flags);
        match place {
            Some(super::tcp::Place::Again) => side.retransmits = side.retransmits.saturating_add(1),
            Some(super::tcp::Place::Ahead { .. }) => {
                if let Some(tcp) = packet.tcp {
                    self.tcp.skip_to(sender, tcp.seq, packet.payload_bytes);
                }
            }
            _ => {}
        }
    }

    /// How long it may be silent.
    fn patience(&self, config: &MeterConfig) -> Micros {
        match (self.tcp.is_over(), self.tcp.is_established()) {
            (true, _) => LINGER,
            (false, true) => config.tcp_idle_timeout,
            (false, false) => config.idle_timeout,
        }
    }

    fn next_part(&mut self, now: Micros) {
        self.part = self.part.saturating_add(1);
        self.start = now;
        self.sides = [Side::default(); 2];
        (self.packet_bytes_min, self.packet_bytes_max) = (u32::MAX, 0);
    }

    fn write(&self, end_reason: EndReason, out: &mut Vec<u8>) {
        let (src, dst) = (self.src, self.src.other());
        let (src_ip, dst_ip) = (self.key.address(src), self.key.address(dst));
        let (src_port, dst_port) = (self.key.port(src), self.key.port(dst));
        let protocol = self.key.protocol();
        let [src_side, dst_side] = self.sides;
        let is_tcp = protocol == TCP;
        let flow = Flow {
            origin: Origin::Meter,
            start: self.start,
            end: self.last,
            conn_start: self.conn_start,
            part: self.part,
            end_reason,
            src_ip,
            dst_ip,
            src_port,
            dst_port,
            protocol,
            src: src_side,
            dst: dst_side,
            conn_state: if is_tcp { self.tcp.state() } else { "" },
            history: if is_tcp { self.tcp.history() } else { "" },
            packet_bytes_min: self.packet_bytes_min,
            packet_bytes_max: self.packet_bytes_max,
            vlan: self.vlan,
            tunnel: self.tunnel,
            app: "",
            server_name: "",
            ja4: "",
            exporter: None,
            sampling: 1,
            input_if: 0,
            output_if: 0,
        };
        let id = match protocol {
            frame::ARP => String::new(),
            _ => community_id((src_ip, src_port), (dst_ip, dst_port), protocol),
        };
        flow.write(&id, out);
    }
}

/// What a flow's first packet is.
enum Begins {
    Conversation,
    Answer,
    /// By its ports an answer; nothing else tells.
    Unknown,
}

fn begins(packet: &Packet<'_>) -> Begins {
    let by_ports = packet.src_port < WELL_KNOWN_PORTS && packet.dst_port >= WELL_KNOWN_PORTS;
    match packet.tcp.map(|tcp| tcp.flags & (SYN | ACK)) {
        Some(SYN) => Begins::Conversation,
        Some(both) if both == SYN | ACK => Begins::Answer,
        _ if by_ports && !matches!(packet.protocol, frame::ICMP | frame::ICMP6 | frame::ARP) => {
            Begins::Unknown
        }
        _ => Begins::Conversation,
    }
}

fn second(at: Micros) -> i64 {
    at.div_euclid(SECOND)
}
