//! The meter: packets in, a line for each flow out.
//!
//! A conversation is what two endpoints exchange over one protocol, both ways. Who began it is told by TCP's handshake; where
//! there is none the first packet tells, unless it comes from a well-known port to another one: then it is an answer. A
//! conversation gets a record when it is over (both FIN or RST and [`LINGER`], or silent for the idle timeout), and while it
//! lasts one for each active timeout, numbered, with the first packet's time in each: a long conversation is never taken for
//! several new ones.
//!
//! Time is that of the packets; one that is behind the latest does not turn the clock back. Where the host's own clock is set
//! back ([`Meter::is_ahead_of`]) all flows have to be written out: none would be over until that clock had caught up.
//!
//! Limits: flows in the table (`flows_max`): beyond them the flow that is nearest to its end is written out with
//! `lack_of_resources`, and counted; segments that are held back until their turn (`order.rs`); datagrams in fragments
//! (`fragments.rs`); what the application layer keeps (`talk.rs`). Frames that are neither IP nor ARP are counted, and so are
//! those that cannot be read.

use std::net::SocketAddr;

use super::community_id::community_id;
use super::fragments::Fragments;
use super::frame::{self, Packet, TCP, Unread};
use super::key::{Key, Which};
use super::order::{Held, Segment};
use super::record::{EndReason, Flow, Origin, Side};
use super::table::{FLOWS_MAX, Filed, Table};
use super::talk::{Context, Sides, Speaker, Talk};
use super::tcp::{ACK, Connection, Place, RST, SYN};
use crate::Micros;

const SECOND: Micros = 1_000_000;
/// After both sides have ended a connection, so long for the last acknowledgements.
const LINGER: Micros = 2 * SECOND;
/// Ports below this are well-known (RFC 6335): what comes from one to a port above it is an answer.
const WELL_KNOWN_PORTS: u16 = 1024;
/// Services over UDP that answer whoever asks, from however low a port: amplification attacks choose the victim's.
const ANSWERING_PORTS: [u16; 7] = [17, 19, 53, 111, 123, 161, 389];
/// A packet that is so much ahead of the host's clock was stamped before that was set back.
const AHEAD_MAX: Micros = 10 * SECOND;
/// Flows that are written out together at the end: some 10 MB of lines.
const FLUSHED_FLOWS: usize = 20_000;
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
    /// Whether the first bytes of payload are read: dns, tls, http, ssh, smb, dce_rpc.
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
    sides: Sides<Side>,
    tcp: Connection,
    packet_bytes_min: u32,
    packet_bytes_max: u32,
    vlan: u16,
    tunnel: &'static str,
    /// What the application layer reads; none where nobody reads.
    talk: Option<Talk>,
    held: Option<Box<Sides<Held>>>,
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

    /// Writes out what is over at `now`. Cheap: to be called about once a second. A meter without flows follows a clock that was
    /// set back.
    pub fn expire(&mut self, now: Micros, out: &mut Vec<u8>) {
        if self.table.len() == 0 && self.is_ahead_of(now) {
            (self.table, self.clock) = (Table::new(), now);
        }
        self.clock = self.clock.max(now);
        let mut over = std::mem::take(&mut self.over);
        while self.table.next_over(second(self.clock), &mut over) {
            for at in over.drain(..) {
                self.end(at, None, out);
            }
        }
        self.over = over;
    }

    /// Writes out what is left, at most [`FLUSHED_FLOWS`] flows at a time, so that a full table does not need its lines' memory
    /// at once. True: there is more.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> bool {
        let places: Vec<u32> = self.table.places().take(FLUSHED_FLOWS).collect();
        for at in places {
            self.end(at, Some(EndReason::Forced), out);
        }
        self.table.len() > 0
    }

    /// Whether the host's clock has been set back to `now` since it stamped packets: [`Meter::flush`] is due.
    pub fn is_ahead_of(&self, now: Micros) -> bool {
        self.clock.saturating_sub(now) > AHEAD_MAX
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
        if captured.at.saturating_sub(entry.start) >= config.active_timeout && entry.has_packets() {
            entry.write(EndReason::Active, out);
            self.counters.records = self.counters.records.saturating_add(1);
            entry.next_part(captured.at);
        }
        let was_over = entry.tcp.is_over();
        let speaker = if sender == entry.src { Speaker::Src } else { Speaker::Dst };
        entry.add(speaker, &packet, captured, out);
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
        entry.talk = self.config.application.then(Talk::default);
        entry.deadline = second(now.saturating_add(entry.patience(&self.config))).saturating_add(1);
        self.table.insert(entry)
    }

    /// Takes a flow out and writes its record. Without a reason the flow's own state tells it.
    fn end(&mut self, at: u32, reason: Option<EndReason>, out: &mut Vec<u8>) {
        let Some(mut entry) = self.table.remove(at) else { return };
        entry.fall_silent(out);
        let reason = match reason {
            Some(EndReason::LackOfResources) => EndReason::LackOfResources,
            _ if entry.tcp.is_over() => EndReason::End,
            reason => reason.unwrap_or(EndReason::Idle),
        };
        if entry.has_packets() {
            entry.write(reason, out);
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
            sides: Sides::default(),
            tcp,
            packet_bytes_min: u32::MAX,
            packet_bytes_max: 0,
            vlan: packet.vlan,
            tunnel: packet.tunnel,
            talk: None,
            held: None,
        }
    }

    fn add(&mut self, speaker: Speaker, packet: &Packet<'_>, captured: &Captured<'_>, out: &mut Vec<u8>) {
        self.last = self.last.max(captured.at);
        self.packet_bytes_min = self.packet_bytes_min.min(packet.ip_bytes);
        self.packet_bytes_max = self.packet_bytes_max.max(packet.ip_bytes);
        self.count(speaker, packet, captured);
        match packet.tcp {
            Some(tcp) => {
                let place = self.tcp.segment(speaker, tcp, packet.payload_bytes);
                self.stream(speaker, place, tcp.seq, packet, captured.at, out);
            }
            None => self.datagram(speaker, packet, captured.at, out),
        }
    }

    fn count(&mut self, speaker: Speaker, packet: &Packet<'_>, captured: &Captured<'_>) {
        let side = self.sides.of(speaker);
        side.packets = side.packets.saturating_add(1);
        side.bytes = side.bytes.saturating_add(packet.ip_bytes.into());
        side.frame_bytes = side.frame_bytes.saturating_add(captured.wire_bytes.into());
        side.payload_bytes = side.payload_bytes.saturating_add(packet.payload_bytes.into());
        side.tcp_flags |= packet.tcp.map_or(0, |tcp| tcp.flags);
    }

    /// Whether the application layer still reads what a side says.
    fn reads(&self, speaker: Speaker) -> bool {
        self.talk.as_ref().is_some_and(|talk| talk.wants(speaker))
    }

    /// Payload of a segment, in its turn or not.
    fn stream(
        &mut self,
        speaker: Speaker,
        place: Place,
        seq: u32,
        packet: &Packet<'_>,
        ts: Micros,
        out: &mut Vec<u8>,
    ) {
        match place {
            Place::Empty => {}
            Place::Again => {
                let side = self.sides.of(speaker);
                side.retransmits = side.retransmits.saturating_add(1);
            }
            Place::Next { known } => {
                let new = usize::try_from(known).ok().and_then(|known| packet.payload.get(known..));
                self.say(speaker, new.unwrap_or_default(), false, ts, out);
                self.say_held(speaker, ts, out);
            }
            Place::Ahead => self.ahead(speaker, seq, packet, ts, out),
        }
    }

    /// A segment before its turn: it is held, or what is missing is given up.
    fn ahead(&mut self, speaker: Speaker, seq: u32, packet: &Packet<'_>, ts: Micros, out: &mut Vec<u8>) {
        if !self.reads(speaker) {
            self.tcp.skip_to(speaker, seq, packet.payload_bytes);
            return;
        }
        let held = self.held.get_or_insert_default().of(speaker);
        if held.hold(seq, packet.payload, packet.payload_bytes) {
            return;
        }
        if let Some(first) = held.take_first(self.tcp.next(speaker)) {
            self.skip(speaker, &first, ts, out);
            self.say_held(speaker, ts, out);
        }
        let segment = Segment { seq, payload: packet.payload.to_vec(), wire_bytes: packet.payload_bytes };
        match seq.wrapping_sub(self.tcp.next(speaker)).cast_signed() {
            0.. => self.skip(speaker, &segment, ts, out),
            _ => self.late(speaker, &segment, ts, out),
        }
    }

    /// Takes a segment with a gap before it.
    fn skip(&mut self, speaker: Speaker, segment: &Segment, ts: Micros, out: &mut Vec<u8>) {
        self.tcp.skip_to(speaker, segment.seq, segment.wire_bytes);
        self.say(speaker, &segment.payload, true, ts, out);
    }

    /// Takes what is new of a segment whose turn has come.
    fn late(&mut self, speaker: Speaker, segment: &Segment, ts: Micros, out: &mut Vec<u8>) {
        let known = self.tcp.next(speaker).wrapping_sub(segment.seq);
        if known >= segment.wire_bytes {
            return;
        }
        self.tcp.advance(speaker, segment.seq, segment.wire_bytes);
        let new = usize::try_from(known).ok().and_then(|known| segment.payload.get(known..));
        self.say(speaker, new.unwrap_or_default(), false, ts, out);
    }

    /// Takes the held segments whose turn has come.
    fn say_held(&mut self, speaker: Speaker, ts: Micros, out: &mut Vec<u8>) {
        loop {
            let next = self.tcp.next(speaker);
            let Some(held) = &mut self.held else { return };
            let Some(segment) = held.of(speaker).take_due(next) else { break };
            self.late(speaker, &segment, ts, out);
        }
        if self.held.as_mut().is_some_and(|held| held.src.is_empty() && held.dst.is_empty()) {
            self.held = None;
        }
    }

    fn say(&mut self, speaker: Speaker, bytes: &[u8], gap: bool, ts: Micros, out: &mut Vec<u8>) {
        let Some(mut talk) = self.talk.take() else { return };
        if talk.wants(speaker) {
            talk.stream(speaker, bytes, gap, &self.context(ts), out);
        }
        self.talk = Some(talk);
    }

    fn datagram(&mut self, speaker: Speaker, packet: &Packet<'_>, ts: Micros, out: &mut Vec<u8>) {
        if packet.protocol != frame::UDP || matches!(packet.fragment, frame::Fragment::Later(_)) {
            return;
        }
        let Some(mut talk) = self.talk.take() else { return };
        if talk.wants(speaker) {
            talk.datagram(speaker, packet.payload, &self.context(ts), out);
        }
        self.talk = Some(talk);
    }

    /// Nothing more comes: what the application layer half knows is written.
    fn fall_silent(&mut self, out: &mut Vec<u8>) {
        let Some(mut talk) = self.talk.take() else { return };
        talk.end(&self.context(self.last), out);
        self.talk = Some(talk);
    }

    fn context(&self, ts: Micros) -> Context<'_> {
        let (src, dst) = (self.src, self.src.other());
        Context {
            ts,
            src_ip: self.key.address(src),
            dst_ip: self.key.address(dst),
            src_port: self.key.port(src),
            dst_port: self.key.port(dst),
            protocol: self.key.protocol(),
            community_id: self,
        }
    }

    /// Not just after a part was written.
    fn has_packets(&self) -> bool {
        self.sides.src.packets > 0 || self.sides.dst.packets > 0
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
        self.sides = Sides::default();
        (self.packet_bytes_min, self.packet_bytes_max) = (u32::MAX, 0);
    }

    fn write(&self, end_reason: EndReason, out: &mut Vec<u8>) {
        let (src, dst) = (self.src, self.src.other());
        let (src_ip, dst_ip) = (self.key.address(src), self.key.address(dst));
        let (src_port, dst_port) = (self.key.port(src), self.key.port(dst));
        let protocol = self.key.protocol();
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
            src: self.sides.src,
            dst: self.sides.dst,
            conn_state: if is_tcp { self.tcp.state() } else { "" },
            history: if is_tcp { self.tcp.history() } else { "" },
            packet_bytes_min: self.packet_bytes_min,
            packet_bytes_max: self.packet_bytes_max,
            vlan: self.vlan,
            tunnel: self.tunnel,
            app: self.talk.as_ref().map_or("", Talk::app),
            server_name: self.talk.as_ref().map_or("", Talk::server_name),
            ja4: self.talk.as_ref().map_or("", Talk::ja4),
            exporter: None,
            sampling: 1,
            input_if: 0,
            output_if: 0,
        };
        let id = match protocol {
            frame::ARP => String::new(),
            _ => self.to_string(),
        };
        flow.write(&id, out);
    }
}

impl std::fmt::Display for Entry {
    /// The flow's Community ID.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = |which| (self.key.address(which), self.key.port(which));
        out.write_str(&community_id(end(self.src), end(self.src.other()), self.key.protocol()))
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
    let by_ports = packet.src_port < WELL_KNOWN_PORTS
        && (packet.dst_port >= WELL_KNOWN_PORTS
            || packet.protocol == frame::UDP
                && ANSWERING_PORTS.contains(&packet.src_port)
                && !ANSWERING_PORTS.contains(&packet.dst_port));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An Ethernet frame of IPv4 and TCP or UDP; `cut` bytes are missing at its end.
    fn frame(
        hosts: (u8, u8),
        ports: (u16, u16),
        protocol: u8,
        fragment: u16,
        rest: &[u8],
        cut: usize,
    ) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend(u16::try_from(24 + rest.len()).unwrap().to_be_bytes());
        frame.extend([0, 9]);
        frame.extend(fragment.to_be_bytes());
        frame.extend([64, protocol, 0, 0, 10, 0, 0, hosts.0, 10, 0, 0, hosts.1]);
        frame.extend([ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat());
        frame.extend(rest);
        frame.truncate(frame.len().saturating_sub(cut));
        frame
    }

    fn captured(at: Micros, bytes: &[u8]) -> Captured<'_> {
        let wire_bytes = u32::try_from(bytes.len()).unwrap();
        Captured { at, link: LinkType::Ethernet, bytes, wire_bytes, vlan: 0 }
    }

    /// The records of flows among lines.
    fn records(lines: &[u8]) -> Vec<serde_json::Value> {
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let read = lines.map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap());
        read.filter(|line| line["kind"] == "flow").collect()
    }

    fn packets(record: &serde_json::Value) -> u64 {
        record["src_packets"].as_u64().unwrap() + record["dst_packets"].as_u64().unwrap()
    }

    const TCP_SYN: [u8; 16] = [0, 0, 0, 9, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0];

    #[test]
    fn a_long_conversation_is_one_with_several_parts() {
        let mut meter = Meter::new(MeterConfig::default());
        let mut lines = Vec::new();
        let bytes = frame((1, 2), (5000, 53), 17, 0, b"\0\x0c\0\0data", 0);
        for step in 0..100 {
            meter.packet(&captured(step * 10 * SECOND, &bytes), &mut lines);
        }
        while meter.flush(&mut lines) {}
        let records = records(&lines);
        let parts: Vec<_> = records.iter().map(|record| record["part"].as_u64().unwrap()).collect();
        assert_eq!(parts, [0, 1, 2, 3]);
        assert!(records.iter().all(|record| record["ts_conn"] == 0));
        assert_eq!(records.iter().map(packets).sum::<u64>(), 100);
    }

    #[test]
    fn a_full_table_writes_the_flow_out_that_is_nearest_to_its_end_and_counts_it() {
        let config = MeterConfig { flows_max: 2, ..MeterConfig::default() };
        let mut meter = Meter::new(config);
        let mut lines = Vec::new();
        for (step, port) in [5000, 5001, 5000, 5002].into_iter().enumerate() {
            let at = i64::try_from(step).unwrap() * SECOND;
            meter.packet(&captured(at, &frame((1, 2), (port, 80), 6, 0, &TCP_SYN, 0)), &mut lines);
        }
        let early = records(&lines);
        assert_eq!(early.len(), 1);
        assert_eq!(
            (&early[0]["src_port"], &early[0]["end_reason"]),
            (&5001.into(), &"lack_of_resources".into())
        );
        assert_eq!((meter.counters().evicted, meter.counters().live), (1, 2));
    }

    #[test]
    fn a_flow_ends_a_minute_after_its_last_packet_and_not_before() {
        let mut meter = Meter::new(MeterConfig::default());
        let mut lines = Vec::new();
        let bytes = frame((1, 2), (5000, 53), 17, 0, b"\0\x0c\0\0data", 0);
        meter.packet(&captured(0, &bytes), &mut lines);
        meter.packet(&captured(30 * SECOND, &bytes), &mut lines);
        meter.expire(90 * SECOND, &mut lines);
        assert!(lines.is_empty());
        meter.expire(92 * SECOND, &mut lines);
        assert_eq!(records(&lines)[0]["end_reason"], "idle");
    }

    /// A host whose hardware clock shows Viet Nam's time is seven hours ahead until NTP sets it back: for so long no flow was over.
    #[test]
    fn flows_end_in_time_after_the_clock_was_set_back() {
        let mut meter = Meter::new(MeterConfig::default());
        let mut lines = Vec::new();
        let bytes = frame((1, 2), (5000, 53), 17, 0, b"\0\x0c\0\0data", 0);
        let ahead = 7 * 3600 * SECOND;
        meter.packet(&captured(ahead, &bytes), &mut lines);
        assert!(!meter.is_ahead_of(ahead - AHEAD_MAX) && meter.is_ahead_of(ahead - AHEAD_MAX - 1));
        assert!(!meter.flush(&mut lines));
        meter.expire(0, &mut lines);
        meter.packet(&captured(0, &bytes), &mut lines);
        meter.expire(62 * SECOND, &mut lines);
        let ends = records(&lines).iter().map(|record| record["end_reason"].clone()).collect::<Vec<_>>();
        assert_eq!(ends, ["forced", "idle"]);
    }

    #[test]
    fn a_later_fragment_belongs_to_the_flow_of_the_first() {
        let mut meter = Meter::new(MeterConfig::default());
        let mut lines = Vec::new();
        for fragment in [0x2000, 0x2002, 0x0004] {
            meter.packet(&captured(0, &frame((1, 2), (5000, 53), 17, fragment, &[7; 20], 0)), &mut lines);
        }
        meter.packet(&captured(0, &frame((3, 2), (5000, 53), 17, 0x0004, &[7; 20], 0)), &mut lines);
        while meter.flush(&mut lines) {}
        let records = records(&lines);
        let with_ports: Vec<_> = records.iter().filter(|record| record["src_port"] == 5000).collect();
        assert_eq!((records.len(), packets(with_ports[0]), meter.counters().orphaned), (2, 3, 1));
    }

    proptest! {
        /// No packet is lost or counted twice, whatever comes in whatever order of time.
        #[test]
        fn every_packet_is_in_one_record_or_counter(
            packets_in in prop::collection::vec(
                (0_i64..400, (1_u8..4, 1_u8..4), (0_u16..3, 79_u16..82), prop::sample::select(vec![6_u8, 17, 1, 41, 47, 132]),
                 prop::sample::select(vec![0_u16, 0x2000, 0x0005]), prop::collection::vec(any::<u8>(), 0..60), 0_usize..80),
                0..120,
            ),
            flows_max in 1_usize..20,
        ) {
            let mut meter = Meter::new(MeterConfig { flows_max, ..MeterConfig::default() });
            let mut lines = Vec::new();
            for (second, hosts, ports, protocol, fragment, rest, cut) in &packets_in {
                let bytes = frame(*hosts, *ports, *protocol, *fragment, rest, *cut);
                meter.packet(&captured(second * SECOND, &bytes), &mut lines);
                prop_assert!(meter.counters().live <= u64::try_from(flows_max).unwrap());
            }
            while meter.flush(&mut lines) {}
            let counters = meter.counters();
            let metered: u64 = records(&lines).iter().map(packets).sum();
            prop_assert_eq!(metered + counters.not_ip + counters.malformed, counters.packets);
            prop_assert_eq!(counters.packets, u64::try_from(packets_in.len()).unwrap());
            prop_assert_eq!(counters.live, 0);
        }

        /// A stream that the network cut, repeated and shuffled a little says what it said.
        #[test]
        fn a_stream_out_of_order_says_the_same(cuts in prop::collection::vec(1_usize..30, 1..6), swap in 0_usize..6) {
            let request = b"GET /a?b=c HTTP/1.1\r\nHost: example.vn\r\nUser-Agent: x\r\n\r\n";
            let mut segments = Vec::new();
            let (mut at, mut sizes) = (0, cuts.into_iter());
            while at < request.len() {
                let end = request.len().min(at + sizes.next().unwrap_or(request.len()));
                segments.push((at, &request[at..end]));
                at = end;
            }
            if segments.len() > 2 {
                // The first segment shows the protocol and the number to begin with.
                let first = 1 + swap % (segments.len() - 2);
                segments.swap(first, first + 1);
                segments.push(segments[0]);
            }
            let mut meter = Meter::new(MeterConfig::default());
            let mut lines = Vec::new();
            for (at, payload) in segments {
                let seq = u32::try_from(100 + at).unwrap().to_be_bytes();
                let rest = [&seq[..], &[0, 0, 0, 0, 0x50, 0x18, 1, 0, 0, 0, 0, 0], payload].concat();
                meter.packet(&captured(0, &frame((1, 2), (5000, 80), 6, 0, &rest, 0)), &mut lines);
            }
            while meter.flush(&mut lines) {}
            let text = String::from_utf8(lines).unwrap();
            prop_assert!(text.contains(r#""cs-uri-stem":"/a","cs-uri-query":"b=c""#), "{}", text);
            prop_assert!(text.contains(r#""server_name":"example.vn""#), "{}", text);
        }
    }
}
