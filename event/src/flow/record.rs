//! A flow: what a pair of endpoints exchanged between two moments.
//!
//! One shape for all origins: packets that we metered, and records of exporters. `src` is who began the conversation as far
//! as is known (the handshake, else the first packet, else the exporter's source); names and states of TCP are Zeek's
//! (`conn_state`, `history`), flags those of RFC 9293, end reasons those of IPFIX (RFC 5102, flowEndReason).

use std::net::IpAddr;

use super::frame::ARP;
use super::line::Line;
use crate::Micros;

/// One record of a flow. A long conversation has several, numbered by `part`; counters are those of the part alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow<'a> {
    pub origin: Origin,
    /// First and last packet of this part.
    pub start: Micros,
    pub end: Micros,
    /// First packet of the conversation; equals `start` in part 0.
    pub conn_start: Micros,
    /// 0 for a conversation's first record: a new conversation is a flow with part 0.
    pub part: u32,
    pub end_reason: EndReason,
    pub src_ip: IpAddr,
    pub dst_ip: IpAddr,
    /// Of ICMP: the type and the code of the first message.
    pub src_port: u16,
    pub dst_port: u16,
    /// IANA's protocol number.
    pub protocol: u8,
    /// What `src` sent.
    pub src: Side,
    /// What `dst` sent.
    pub dst: Side,
    /// Zeek's state of the connection (S0, S1, SF, REJ, RSTO, RSTR, OTH ...); empty when not TCP or not known.
    pub conn_state: &'static str,
    /// Zeek's history of the connection; empty when not known.
    pub history: &'a str,
    /// IP packets' lengths, both directions; 0 when not known.
    pub packet_bytes_min: u32,
    pub packet_bytes_max: u32,
    /// 802.1Q, the outer tag; 0 when untagged.
    pub vlan: u16,
    /// The tunnel that the packets came out of: gre, ipip, 6in4, vxlan, geneve, gtp; empty for none.
    pub tunnel: &'static str,
    /// The application protocol that the first bytes show; empty when they show none.
    pub app: &'a str,
    /// The name that the client asked for: SNI, Host, or the first question.
    pub server_name: &'a str,
    pub ja4: &'a str,
    /// Who exported the record, if not we.
    pub exporter: Option<IpAddr>,
    /// One packet of so many was looked at; counters are already multiplied. 0: not known, 1: all.
    pub sampling: u32,
    /// SNMP index of the interfaces by which the exporter saw the flow come and go.
    pub input_if: u32,
    pub output_if: u32,
}

/// What one side sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Side {
    pub packets: u64,
    /// Of IP packets, headers included (IPFIX octetDeltaCount).
    pub bytes: u64,
    /// Of frames as captured from the wire; 0 when not known.
    pub frame_bytes: u64,
    /// Behind the transport's header; 0 when not known.
    pub payload_bytes: u64,
    /// TCP segments whose payload was seen before.
    pub retransmits: u32,
    /// All TCP flags seen.
    pub tcp_flags: u8,
}

/// Who made the record.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Origin {
    /// Our own meter.
    Meter,
    NetflowV5,
    NetflowV9,
    Ipfix,
    Sflow,
}

/// Why a record was written (IPFIX flowEndReason, RFC 5102 section 5.11.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndReason {
    /// No packet for the idle timeout.
    Idle,
    /// The conversation goes on; the active timeout was over.
    Active,
    /// FIN both ways, or RST.
    End,
    /// The meter was stopped, or the file ended.
    Forced,
    /// The table was full.
    LackOfResources,
    /// An exporter does not say.
    Unknown,
}

impl Flow<'_> {
    /// Appends the record as one line of JSON. `event/FLOWS.md` documents the names.
    pub fn write(&self, community_id: &str, out: &mut Vec<u8>) {
        let mut line = Line::begin(out, "flow");
        line.plain("ts", self.start);
        line.plain("ts_end", self.end);
        line.plain("duration_us", self.end.saturating_sub(self.start));
        line.plain("ts_conn", self.conn_start);
        line.plain("part", self.part);
        line.word("origin", self.origin.as_str());
        line.word("end_reason", self.end_reason.as_str());
        line.word("src_ip", self.src_ip);
        line.word("dst_ip", self.dst_ip);
        line.plain("src_port", self.src_port);
        line.plain("dst_port", self.dst_port);
        line.word("proto", Protocol(self.protocol));
        line.plain("protocol", self.protocol);
        line.text("community_id", community_id);
        self.src.write(&SRC, &mut line);
        self.dst.write(&DST, &mut line);
        line.text("conn_state", self.conn_state);
        line.text("history", self.history);
        line.number("packet_bytes_min", self.packet_bytes_min.into());
        line.number("packet_bytes_max", self.packet_bytes_max.into());
        line.number("vlan", self.vlan.into());
        line.text("tunnel", self.tunnel);
        line.text("app", self.app);
        line.text("server_name", self.server_name);
        line.text("ja4", self.ja4);
        if let Some(exporter) = self.exporter {
            line.word("exporter", exporter);
        }
        line.number("sampling", self.sampling.into());
        line.number("input_if", self.input_if.into());
        line.number("output_if", self.output_if.into());
        line.end();
    }
}

/// The names of a side's fields.
struct SideNames {
    packets: &'static str,
    bytes: &'static str,
    frame_bytes: &'static str,
    payload_bytes: &'static str,
    retransmits: &'static str,
    tcp_flags: &'static str,
}

const SRC: SideNames = SideNames {
    packets: "src_packets",
    bytes: "src_bytes",
    frame_bytes: "src_frame_bytes",
    payload_bytes: "src_payload_bytes",
    retransmits: "src_retransmits",
    tcp_flags: "src_tcp_flags",
};

const DST: SideNames = SideNames {
    packets: "dst_packets",
    bytes: "dst_bytes",
    frame_bytes: "dst_frame_bytes",
    payload_bytes: "dst_payload_bytes",
    retransmits: "dst_retransmits",
    tcp_flags: "dst_tcp_flags",
};

impl Side {
    fn write(&self, names: &SideNames, line: &mut Line<'_>) {
        // Rules ask for what a side did not send: these two are there when they are 0, too.
        line.plain(names.packets, self.packets);
        line.plain(names.bytes, self.bytes);
        line.number(names.frame_bytes, self.frame_bytes);
        line.number(names.payload_bytes, self.payload_bytes);
        line.number(names.retransmits, self.retransmits.into());
        line.number(names.tcp_flags, self.tcp_flags.into());
    }
}

impl Origin {
    /// The name in records and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Meter => "meter",
            Self::NetflowV5 => "netflow5",
            Self::NetflowV9 => "netflow9",
            Self::Ipfix => "ipfix",
            Self::Sflow => "sflow",
        }
    }
}

impl EndReason {
    /// The name in records and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Active => "active",
            Self::End => "end",
            Self::Forced => "forced",
            Self::LackOfResources => "lack_of_resources",
            Self::Unknown => "unknown",
        }
    }
}

/// IANA's keyword of a protocol number in lower case, or the number; [`ARP`] stands for itself.
pub(super) struct Protocol(pub(super) u8);

impl std::fmt::Display for Protocol {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.0 {
            1 => "icmp",
            2 => "igmp",
            4 => "ipip",
            6 => "tcp",
            17 => "udp",
            41 => "ipv6",
            47 => "gre",
            50 => "esp",
            51 => "ah",
            58 => "icmp6",
            88 => "eigrp",
            89 => "ospf",
            103 => "pim",
            112 => "vrrp",
            132 => "sctp",
            ARP => "arp",
            number => return write!(out, "{number}"),
        };
        out.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_named_or_numbered() {
        let names = [6, ARP, 200].map(|number| Protocol(number).to_string());
        assert_eq!(names, ["tcp", "arp", "200"]);
    }
}
