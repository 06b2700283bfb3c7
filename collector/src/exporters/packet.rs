//! The head of a packet as a switch sampled it: addresses, ports, flags. The one function here is all that sFlow needs of frames.
//!
//! Understood: Ethernet with up to [`TAGS_MAX`] tags of 802.1Q or 802.1ad, IPv4, IPv6 with up to [`EXTENSIONS_MAX`] extension headers,
//! TCP, UDP, SCTP and ICMP. A head that ends early gives what it holds: a flow without ports is a flow.
//!
//! What it never does: look into a tunnel, or believe a length that it did not check.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Tags before the packet: two where providers tag what customers tagged.
const TAGS_MAX: usize = 4;
/// Extension headers of IPv6: RFC 8200 section 4.1 names six, each at most once.
const EXTENSIONS_MAX: usize = 8;

/// What the head of a packet says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Packet {
    pub(super) src_ip: IpAddr,
    pub(super) dst_ip: IpAddr,
    pub(super) protocol: u8,
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    pub(super) icmp: Option<[u8; 2]>,
    pub(super) tcp_flags: u8,
    /// 802.1Q, the outer tag; 0 when untagged.
    pub(super) vlan: u16,
    /// Of the IP packet, headers included; 0 when it does not say.
    pub(super) bytes: u64,
}

/// What the first byte is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Layer {
    Ethernet,
    Ip,
}

/// Reads a head. `None`: it is no IP packet, or too short for two addresses.
pub(super) fn packet(layer: Layer, head: &[u8]) -> Option<Packet> {
    match layer {
        Layer::Ip => ip(head, 0),
        Layer::Ethernet => {
            let (mut vlan, mut rest) = (0, head.get(12..)?);
            for _ in 0..=TAGS_MAX {
                match u16_at(rest, 0)? {
                    0x0800 | 0x86DD => return ip(rest.get(2..)?, vlan),
                    0x8100 | 0x88A8 | 0x9100 => {
                        let tag = u16_at(rest, 2)? & 0x0FFF;
                        vlan = if vlan == 0 { tag } else { vlan };
                        rest = rest.get(4..)?;
                    }
                    _ => return None,
                }
            }
            None
        }
    }
}

fn ip(head: &[u8], vlan: u16) -> Option<Packet> {
    match head.first()? >> 4 {
        4 => v4(head, vlan),
        6 => v6(head, vlan),
        _ => None,
    }
}

fn v4(head: &[u8], vlan: u16) -> Option<Packet> {
    let header_bytes = usize::from(head.first()? & 0x0F) * 4;
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(head.get(at..at + 4)?).ok()?));
    let packet = Packet {
        src_ip: address(12)?.into(),
        dst_ip: address(16)?.into(),
        protocol: *head.get(9)?,
        bytes: u16_at(head, 2)?.into(),
        ..Packet::empty(vlan)
    };
    let first = u16_at(head, 6)? & 0x1FFF == 0;
    Some(if first { packet.with_ports(head.get(header_bytes..).unwrap_or_default()) } else { packet })
}

fn v6(head: &[u8], vlan: u16) -> Option<Packet> {
    let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(head.get(at..at + 16)?).ok()?));
    let packet = Packet {
        src_ip: address(8)?.into(),
        dst_ip: address(24)?.into(),
        bytes: u64::from(u16_at(head, 4)?) + 40,
        ..Packet::empty(vlan)
    };
    let (mut next, mut rest) = (*head.get(6)?, head.get(40..).unwrap_or_default());
    for _ in 0..EXTENSIONS_MAX {
        let Some((after, bytes, first)) = extension(next, rest) else { break };
        next = after;
        if !first {
            return Some(Packet { protocol: next, ..packet });
        }
        rest = rest.get(bytes..).unwrap_or_default();
    }
    Some(Packet { protocol: next, ..packet }.with_ports(rest))
}

/// What follows an extension header, how long it is, and whether what follows is the first fragment.
fn extension(kind: u8, head: &[u8]) -> Option<(u8, usize, bool)> {
    let (next, length) = (*head.first()?, usize::from(*head.get(1)?));
    match kind {
        // Hop-by-hop, routing, destination: in units of 8 bytes beyond the first.
        0 | 43 | 60 => Some((next, (length + 1) * 8, true)),
        44 => Some((next, 8, u16_at(head, 2)? & 0xFFF8 == 0)),
        _ => None,
    }
}

impl Packet {
    fn empty(vlan: u16) -> Self {
        Self {
            src_ip: Ipv4Addr::UNSPECIFIED.into(),
            dst_ip: Ipv4Addr::UNSPECIFIED.into(),
            protocol: 0,
            src_port: 0,
            dst_port: 0,
            icmp: None,
            tcp_flags: 0,
            vlan,
            bytes: 0,
        }
    }

    fn with_ports(mut self, head: &[u8]) -> Self {
        match self.protocol {
            1 | 58 => self.icmp = head.get(..2).and_then(|head| head.try_into().ok()),
            6 | 17 | 132 => {
                self.src_port = u16_at(head, 0).unwrap_or(0);
                self.dst_port = u16_at(head, 2).unwrap_or(0);
            }
            _ => {}
        }
        if self.protocol == 6 {
            self.tcp_flags = head.get(13).copied().unwrap_or(0);
        }
        self
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4_packet(protocol: u8, fragment: u16, rest: &[u8]) -> Vec<u8> {
        let mut head = vec![0x45, 0, 0, 60, 0, 0];
        head.extend(fragment.to_be_bytes());
        head.extend([64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]);
        head.extend(rest);
        head
    }

    const TCP: [u8; 14] = [0, 22, 1, 187, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12];

    #[test]
    fn reads_what_a_head_says() {
        let read = packet(Layer::Ip, &v4_packet(6, 0, &TCP)).unwrap();
        assert_eq!((read.src_port, read.dst_port, read.tcp_flags, read.bytes), (22, 443, 0x12, 60));
        assert_eq!(read.src_ip, IpAddr::from([192, 0, 2, 1]));
        let icmp = packet(Layer::Ip, &v4_packet(1, 0, &[8, 0])).unwrap();
        assert_eq!((icmp.icmp, icmp.src_port), (Some([8, 0]), 0));
        let fragment = packet(Layer::Ip, &v4_packet(6, 9, &TCP)).unwrap();
        assert_eq!((fragment.src_port, fragment.tcp_flags), (0, 0), "a later fragment has no ports");
    }

    #[test]
    fn takes_the_outer_tag() {
        let mut frame = vec![0; 12];
        frame.extend([0x88, 0xA8, 0, 7, 0x81, 0, 0, 9, 8, 0]);
        frame.extend(v4_packet(6, 0, &TCP));
        assert_eq!(packet(Layer::Ethernet, &frame).unwrap().vlan, 7);
        let mut tags = vec![0; 12];
        tags.extend([0x81, 0, 0, 1].repeat(9));
        assert_eq!(packet(Layer::Ethernet, &tags), None);
    }

    #[test]
    fn walks_the_extension_headers_of_ipv6() {
        let mut head = vec![0x60, 0, 0, 0, 0, 34, 0, 64];
        head.extend([1; 32]);
        head.extend([44, 0, 0, 0, 0, 0, 0, 0]); // hop-by-hop
        head.extend([6, 0, 0, 1, 0, 0, 0, 0]); // the first fragment
        head.extend(TCP);
        let read = packet(Layer::Ip, &head).unwrap();
        assert_eq!((read.protocol, read.dst_port, read.bytes), (6, 443, 74));
    }

    #[test]
    fn takes_a_head_that_ends_early_for_what_it_holds() {
        let whole = v4_packet(6, 0, &TCP);
        assert_eq!(packet(Layer::Ip, &whole[..19]), None);
        for end in 20..whole.len() {
            assert_eq!(packet(Layer::Ip, &whole[..end]).unwrap().protocol, 6);
        }
        assert_eq!(packet(Layer::Ethernet, &[0; 12]), None);
        assert_eq!(packet(Layer::Ip, &[0x20; 60]), None);
    }
}
