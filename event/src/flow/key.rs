//! What makes packets one conversation: two endpoints and a protocol, whichever way a packet goes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::frame::{ICMP, ICMP6, Packet};

/// Both endpoints in a fixed order, so that the two directions have one key. 40 bytes: half a million stand in memory.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    low: End,
    high: End,
    protocol: u8,
    v4: bool,
}

/// An address as IPv6 (IPv4 mapped, RFC 4291 section 2.5.5.2) in two halves, and a port.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct End {
    address: [u64; 2],
    port: u16,
}

/// One of the two ends of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Which {
    Low,
    High,
}

impl Key {
    /// A packet's key, and which end sent it.
    pub(super) fn of(packet: &Packet<'_>) -> (Self, Which) {
        let (src_port, dst_port) = ends(packet);
        let src = End::new(packet.src_ip, src_port);
        let dst = End::new(packet.dst_ip, dst_port);
        let (protocol, v4) = (packet.protocol, packet.src_ip.is_ipv4());
        if src <= dst {
            (Self { low: src, high: dst, protocol, v4 }, Which::Low)
        } else {
            (Self { low: dst, high: src, protocol, v4 }, Which::High)
        }
    }

    pub(super) fn protocol(&self) -> u8 {
        self.protocol
    }

    pub(super) fn address(&self, which: Which) -> IpAddr {
        let [first, second] = self.end(which).address;
        let bits = u128::from(first) << 64 | u128::from(second);
        match u32::try_from(second & 0xffff_ffff) {
            Ok(v4) if self.v4 => Ipv4Addr::from(v4).into(),
            _ => Ipv6Addr::from(bits).into(),
        }
    }

    pub(super) fn port(&self, which: Which) -> u16 {
        self.end(which).port
    }

    fn end(&self, which: Which) -> &End {
        match which {
            Which::Low => &self.low,
            Which::High => &self.high,
        }
    }
}

impl End {
    fn new(address: IpAddr, port: u16) -> Self {
        let address = match address {
            IpAddr::V4(v4) => [0, 0xffff_0000_0000 | u64::from(v4.to_bits())],
            IpAddr::V6(v6) => {
                let bytes = v6.octets();
                let half = |at: usize| {
                    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |half| u64::from_be_bytes(*half))
                };
                [half(0), half(8)]
            }
        };
        Self { address, port }
    }
}

impl Which {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// Ports as they tell conversations apart. An ICMP request and its reply are one: the type stands as the port of who asks,
/// the reply's as that of who answers, as Community ID and Zeek have it; what has no reply has its code there.
fn ends(packet: &Packet<'_>) -> (u16, u16) {
    let (kind, code) = (packet.src_port, packet.dst_port);
    match packet.protocol {
        ICMP => (kind, answer_v4(kind).unwrap_or(code)),
        ICMP6 => (kind, answer_v6(kind).unwrap_or(code)),
        _ => (kind, code),
    }
}

/// Whether an ICMP type belongs to a pair, so that its conversation has two directions.
pub(super) fn is_paired(protocol: u8, kind: u16) -> bool {
    match protocol {
        ICMP => answer_v4(kind).is_some(),
        ICMP6 => answer_v6(kind).is_some(),
        _ => true,
    }
}

/// Echo, timestamp, information, mask, router discovery (RFC 792, 950, 1256).
fn answer_v4(kind: u16) -> Option<u16> {
    Some(match kind {
        0 => 8,
        8 => 0,
        13 => 14,
        14 => 13,
        15 => 16,
        16 => 15,
        17 => 18,
        18 => 17,
        10 => 9,
        9 => 10,
        _ => return None,
    })
}

/// Echo, multicast listeners, router and neighbour discovery, node information, home agents (RFC 4443, 2710, 4861, 4620, 6275).
fn answer_v6(kind: u16) -> Option<u16> {
    Some(match kind {
        128 => 129,
        129 => 128,
        130 => 131,
        131 => 130,
        133 => 134,
        134 => 133,
        135 => 136,
        136 => 135,
        139 => 140,
        140 => 139,
        144 => 145,
        145 => 144,
        _ => return None,
    })
}
