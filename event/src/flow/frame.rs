//! A frame as far as a flow needs it: addresses, ports, lengths, TCP's header, payload.
//!
//! Read are Ethernet (802.1Q and 802.1ad tags, MPLS, PPPoE), Linux' cooked captures, loopback and bare IP; ARP; IPv4 with
//! fragments, IPv6 with its extension headers; TCP, UDP, UDP-Lite, SCTP, ICMP; and one tunnel deep GRE (ERSPAN
//! too), IP in IP, 6in4, VXLAN, Geneve and GTP-U: what is inside is the packet, and its tunnel is named. A tunnel whose inside is none of these is a
//! packet itself.
//!
//! Lengths are those that the IP header states, because a frame may be cut at capture and padded on the wire; where it
//! states none (TCP segmentation offload) the frame's length stands in. Limits: [`TAGS_MAX`], [`EXTENSIONS_MAX`]; what goes
//! beyond is [`Unread::Malformed`]. Nothing here allocates, keeps state, or looks at a checksum: offloading makes them wrong
//! on the host that sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::meter::{Captured, LinkType};

/// 802.1Q, 802.1ad and MPLS tags in a row. Providers stack two or three.
const TAGS_MAX: usize = 6;
/// IPv6 extension headers in a row; RFC 8504 lets a host refuse more than 8.
const EXTENSIONS_MAX: usize = 8;
/// UDP ports of VXLAN (RFC 7348), Geneve (RFC 8926) and GTP-U (3GPP TS 29.281).
const VXLAN_PORT: u16 = 4789;
const GENEVE_PORT: u16 = 6081;
const GTP_PORT: u16 = 2152;

/// Stands for ARP where IANA's protocol number stands: 255 is reserved and never on the wire.
pub(super) const ARP: u8 = 255;
pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP6: u8 = 58;
const GRE: u8 = 47;
const IP_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_TRANSPARENT_ETHERNET: u16 = 0x6558;
const ETHERTYPE_ERSPAN_II: u16 = 0x88be;
const ETHERTYPE_ERSPAN_III: u16 = 0x22eb;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_MPLS: [u16; 2] = [0x8847, 0x8848];
const ETHERTYPE_PPPOE_SESSION: u16 = 0x8864;
const ETHERTYPE_PPP: u16 = 0x880b;
const ETHERTYPE_TAGS: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];

/// What a frame carries, as far as a flow needs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packet<'a> {
    pub src_ip: IpAddr,
    pub dst_ip: IpAddr,
    /// IANA's number; 255, which is reserved, stands for ARP.
    pub protocol: u8,
    /// 0 where there are none; of ICMP the type and the code.
    pub src_port: u16,
    pub dst_port: u16,
    /// Length of the IP packet.
    pub ip_bytes: u32,
    pub tcp: Option<Tcp>,
    /// What was captured of the transport's payload.
    pub payload: &'a [u8],
    /// Its length on the wire.
    pub payload_bytes: u32,
    pub fragment: Fragment,
    /// The outer 802.1Q identifier; 0 when untagged.
    pub vlan: u16,
    pub tunnel: &'static str,
}

/// Of TCP's header (RFC 9293).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tcp {
    pub seq: u32,
    pub flags: u8,
    pub window: u16,
}

/// What a packet is of its datagram. The number is IP's identification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The beginning, with the ports.
    First(u32),
    /// A later part, without them.
    Later(u32),
}

impl<'a> Packet<'a> {
    /// Reads a frame by itself. `None`: it is neither IP nor ARP, or too short for two addresses.
    pub fn read(captured: &Captured<'a>) -> Option<Self> {
        read(captured).ok()
    }

    /// Type and code, when it is ICMP of either version.
    pub fn icmp(&self) -> Option<[u8; 2]> {
        let narrow = |port: u16| u8::try_from(port).unwrap_or_default();
        matches!(self.protocol, ICMP | ICMP6).then(|| [narrow(self.src_port), narrow(self.dst_port)])
    }
}

/// Why a frame is no packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unread {
    /// Neither IP nor ARP.
    NotIp,
    /// Cut, or not as its RFC says.
    Malformed,
}

/// What is known on the way in.
#[derive(Clone, Copy)]
struct Outside {
    vlan: u16,
    tunnel: &'static str,
}

type Read<'a> = Result<Packet<'a>, Unread>;

/// Reads a frame.
pub(super) fn read<'a>(captured: &Captured<'a>) -> Read<'a> {
    let mut bytes = Bytes(captured.bytes);
    let vlan = captured.vlan & 0x0fff;
    let outside = Outside { vlan, tunnel: "" };
    match captured.link {
        LinkType::Ethernet => ethernet(bytes, outside),
        LinkType::RawIp => ip(bytes, outside),
        LinkType::Null => {
            bytes.skip(4)?;
            ip(bytes, outside)
        }
        LinkType::LinuxSll => {
            bytes.skip(14)?;
            let ethertype = bytes.u16()?;
            network(ethertype, bytes, outside)
        }
        LinkType::LinuxSll2 => {
            let ethertype = bytes.u16()?;
            bytes.skip(18)?;
            network(ethertype, bytes, outside)
        }
        LinkType::Ppp => ppp(bytes, outside),
        LinkType::Other => Err(Unread::NotIp),
    }
}

fn ethernet(mut bytes: Bytes<'_>, outside: Outside) -> Read<'_> {
    bytes.skip(12)?;
    let ethertype = bytes.u16()?;
    network(ethertype, bytes, outside)
}

fn network(mut ethertype: u16, mut bytes: Bytes<'_>, mut outside: Outside) -> Read<'_> {
    for _ in 0..TAGS_MAX {
        match ethertype {
            ETHERTYPE_IPV4 => return ipv4(bytes, outside),
            ETHERTYPE_IPV6 => return ipv6(bytes, outside),
            ETHERTYPE_ARP => return arp(bytes, outside),
            ETHERTYPE_PPP => return ppp(bytes, outside),
            ETHERTYPE_TRANSPARENT_ETHERNET => return ethernet(bytes, outside),
            ETHERTYPE_PPPOE_SESSION => {
                bytes.skip(6)?;
                return ppp(bytes, outside);
            }
            tag if ETHERTYPE_TAGS.contains(&tag) => {
                let vlan = bytes.u16()? & 0x0fff;
                if outside.vlan == 0 {
                    outside.vlan = vlan;
                }
                ethertype = bytes.u16()?;
            }
            mpls if ETHERTYPE_MPLS.contains(&mpls) => return labelled(bytes, outside),
            _ => return Err(Unread::NotIp),
        }
    }
    Err(Unread::Malformed)
}

/// MPLS labels (RFC 3032): the last one is marked, and what follows is not named. IP shows by its version.
fn labelled(mut bytes: Bytes<'_>, outside: Outside) -> Read<'_> {
    for _ in 0..TAGS_MAX {
        if bytes.u32()? & 0x100 != 0 {
            return ip(bytes, outside);
        }
    }
    Err(Unread::Malformed)
}

/// PPP's protocol field, perhaps behind HDLC's two bytes, perhaps compressed to one.
fn ppp(mut bytes: Bytes<'_>, outside: Outside) -> Read<'_> {
    if bytes.0.starts_with(&[0xff, 0x03]) {
        bytes.skip(2)?;
    }
    let first = bytes.u8()?;
    let protocol = if first & 1 == 1 { u16::from(first) } else { u16::from_be_bytes([first, bytes.u8()?]) };
    match protocol {
        0x0021 => ipv4(bytes, outside),
        0x0057 => ipv6(bytes, outside),
        _ => Err(Unread::NotIp),
    }
}

fn ip(bytes: Bytes<'_>, outside: Outside) -> Read<'_> {
    match bytes.0.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(bytes, outside),
        Some(6) => ipv6(bytes, outside),
        Some(_) => Err(Unread::NotIp),
        None => Err(Unread::Malformed),
    }
}

/// ARP for IPv4 (RFC 826): who asks for whom, or tells whom.
fn arp(mut bytes: Bytes<'_>, outside: Outside) -> Read<'_> {
    let body = bytes;
    if (bytes.u16()?, bytes.u16()?, bytes.u16()?) != (1, ETHERTYPE_IPV4, 0x0604) {
        return Err(Unread::NotIp);
    }
    let operation = bytes.u16()?;
    bytes.skip(6)?;
    let sender = bytes.ipv4()?;
    bytes.skip(6)?;
    let target = bytes.ipv4()?;
    Ok(Packet {
        src_ip: sender.into(),
        dst_ip: target.into(),
        protocol: ARP,
        src_port: operation,
        dst_port: 0,
        ip_bytes: 28,
        tcp: None,
        payload: body.0.get(..0).unwrap_or_default(),
        payload_bytes: 0,
        fragment: Fragment::Whole,
        vlan: outside.vlan,
        tunnel: outside.tunnel,
    })
}

/// RFC 791.
fn ipv4(mut bytes: Bytes<'_>, outside: Outside) -> Read<'_> {
    let whole = bytes.0;
    let first = bytes.u8()?;
    let header_bytes = usize::from(first & 0x0f).saturating_mul(4);
    if first >> 4 != 4 || header_bytes < 20 {
        return Err(Unread::Malformed);
    }
    bytes.skip(1)?;
    let stated = usize::from(bytes.u16()?);
    let identification = u32::from(bytes.u16()?);
    let fragment = fragment(bytes.u16()?, identification);
    bytes.skip(1)?;
    let protocol = bytes.u8()?;
    bytes.skip(2)?;
    let (src, dst) = (bytes.ipv4()?, bytes.ipv4()?);
    let ip_bytes = if stated == 0 { whole.len() } else { stated };
    if ip_bytes < header_bytes {
        return Err(Unread::Malformed);
    }
    let inside = whole.get(header_bytes..ip_bytes.min(whole.len())).ok_or(Unread::Malformed)?;
    let body_bytes = ip_bytes.saturating_sub(header_bytes);
    let addresses = (src.into(), dst.into());
    transport(addresses, protocol, Bytes(inside), Sizes::of(ip_bytes, body_bytes), fragment, outside)
}

/// The field of flags and offset (RFC 791, section 3.1).
fn fragment(field: u16, identification: u32) -> Fragment {
    match (field & 0x1fff, field & 0x2000) {
        (0, 0) => Fragment::Whole,
        (0, _) => Fragment::First(identification),
        _ => Fragment::Later(identification),
    }
}

/// RFC 8200.
fn ipv6(mut bytes: Bytes<'_>, outside: Outside) -> Read<'_> {
    let whole = bytes.0;
    if bytes.u32()? >> 28 != 6 {
        return Err(Unread::Malformed);
    }
    let stated = usize::from(bytes.u16()?);
    let mut next = bytes.u8()?;
    bytes.skip(1)?;
    let addresses = (bytes.ipv6()?.into(), bytes.ipv6()?.into());
    // A jumbogram, or a segment that offloading will cut: the length is in the frame.
    let mut body_bytes = if stated == 0 { bytes.0.len() } else { stated };
    bytes.0 = bytes.0.get(..body_bytes).unwrap_or(bytes.0);
    let sizes =
        |body_bytes| Sizes::of(if stated == 0 { whole.len() } else { stated.saturating_add(40) }, body_bytes);
    let mut fragment = Fragment::Whole;
    for _ in 0..EXTENSIONS_MAX {
        let length = match next {
            // Hop-by-hop options, routing, destination options, mobility, HIP, shim6.
            0 | 43 | 60 | 135 | 139 | 140 => usize::from(bytes.peek(1)?).saturating_add(1).saturating_mul(8),
            44 => 8,
            // Authentication counts in units of four bytes (RFC 4302, section 2.2).
            51 => usize::from(bytes.peek(1)?).saturating_add(2).saturating_mul(4),
            _ => return transport(addresses, next, bytes, sizes(body_bytes), fragment, outside),
        };
        let mut header = bytes;
        let this = next;
        next = header.u8()?;
        if this == 44 {
            header.skip(1)?;
            let field = header.u16()?;
            let identification = header.u32()?;
            fragment = match (field >> 3, field & 1) {
                (0, 0) => Fragment::Whole,
                (0, _) => Fragment::First(identification),
                _ => Fragment::Later(identification),
            };
        }
        bytes.skip(length)?;
        body_bytes = body_bytes.saturating_sub(length);
        if matches!(fragment, Fragment::Later(_)) {
            // What stands here is the middle of something: its first bytes are no header.
            return transport(addresses, next, bytes, sizes(body_bytes), fragment, outside);
        }
    }
    Err(Unread::Malformed)
}

/// Lengths as headers state them.
#[derive(Clone, Copy)]
struct Sizes {
    ip_bytes: u32,
    /// Behind IP's headers.
    body_bytes: u32,
}

impl Sizes {
    fn of(ip_bytes: usize, body_bytes: usize) -> Self {
        let narrow = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self { ip_bytes: narrow(ip_bytes), body_bytes: narrow(body_bytes) }
    }
}

fn transport(
    addresses: (IpAddr, IpAddr),
    protocol: u8,
    bytes: Bytes<'_>,
    sizes: Sizes,
    fragment: Fragment,
    outside: Outside,
) -> Read<'_> {
    let packet = Packet {
        src_ip: addresses.0,
        dst_ip: addresses.1,
        protocol,
        src_port: 0,
        dst_port: 0,
        ip_bytes: sizes.ip_bytes,
        tcp: None,
        payload: bytes.0,
        payload_bytes: sizes.body_bytes,
        fragment,
        vlan: outside.vlan,
        tunnel: outside.tunnel,
    };
    if matches!(fragment, Fragment::Later(_)) {
        return Ok(packet);
    }
    if fragment == Fragment::Whole
        && outside.tunnel.is_empty()
        && let Some(inside) = tunnelled(protocol, bytes, outside)
    {
        return Ok(inside);
    }
    Ok(match protocol {
        TCP => tcp(packet, bytes),
        UDP | UDP_LITE => ports(packet, bytes, 8),
        SCTP => ports(packet, bytes, 12),
        ICMP | ICMP6 => icmp(packet, bytes),
        _ => packet,
    })
}

/// The packet inside of a tunnel, if there is one that can be read.
fn tunnelled(protocol: u8, bytes: Bytes<'_>, outside: Outside) -> Option<Packet<'_>> {
    let within = |tunnel| Outside { tunnel, ..outside };
    match protocol {
        IP_IN_IP => ipv4(bytes, within("ipip")).ok(),
        IPV6_IN_IP => ipv6(bytes, within("6in4")).ok(),
        GRE => gre(bytes, within("gre")).ok(),
        UDP => match Bytes(bytes.0.get(2..)?).u16().ok()? {
            VXLAN_PORT => vxlan(bytes, within("vxlan")).ok(),
            GENEVE_PORT => geneve(bytes, within("geneve")).ok(),
            GTP_PORT => gtp(bytes, within("gtp")).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// RFC 2784, RFC 2890; version 1 carries PPP (RFC 2637).
fn gre(mut bytes: Bytes<'_>, outside: Outside) -> Read<'_> {
    let flags = bytes.u16()?;
    let ethertype = bytes.u16()?;
    if flags & 0x4000 != 0 {
        // Source routing: nobody uses it, and its length is a list.
        return Err(Unread::Malformed);
    }
    let optional = match flags & 7 {
        0 => [0x8000, 0x2000, 0x1000].iter().filter(|flag| flags & **flag != 0).count().saturating_mul(4),
        _ => [0x1000, 0x0080]
            .iter()
            .filter(|flag| flags & **flag != 0)
            .count()
            .saturating_add(1)
            .saturating_mul(4),
    };
    bytes.skip(optional)?;
    match ethertype {
        // Type I has no header of its own, and no sequence number in GRE's.
        ETHERTYPE_ERSPAN_II if flags & 0x1000 == 0 => ethernet(bytes, outside),
        ETHERTYPE_ERSPAN_II => {
            bytes.skip(8)?;
            ethernet(bytes, outside)
        }
        ETHERTYPE_ERSPAN_III => {
            bytes.skip(12)?;
            ethernet(bytes, outside)
        }
        _ => network(ethertype, bytes, outside),
    }
}

/// RFC 7348: UDP to a port of its own, a flag, an identifier, an Ethernet frame.
fn vxlan(mut bytes: Bytes<'_>, outside: Outside) -> Read<'_> {
    bytes.skip(8)?;
    if bytes.u32()? & 0x0800_0000 == 0 {
        return Err(Unread::NotIp);
    }
    bytes.skip(4)?;
    ethernet(bytes, outside)
}

/// RFC 8926: options are counted in words, what follows is named by its ethertype.
fn geneve(mut bytes: Bytes<'_>, outside: Outside) -> Read<'_> {
    bytes.skip(8)?;
    let first = bytes.u8()?;
    bytes.skip(1)?;
    let ethertype = bytes.u16()?;
    bytes.skip(usize::from(first & 0x3f).saturating_add(1).saturating_mul(4))?;
    network(ethertype, bytes, outside)
}

/// 3GPP TS 29.281, section 5.1: a user's packet is message 255, and any of three flags adds four bytes.
fn gtp(mut bytes: Bytes<'_>, outside: Outside) -> Read<'_> {
    bytes.skip(8)?;
    let (flags, message) = (bytes.u8()?, bytes.u8()?);
    if flags >> 4 != 3 || message != 255 {
        return Err(Unread::NotIp);
    }
    bytes.skip(6)?;
    if flags & 0x07 != 0 {
        bytes.skip(3)?;
        // Extension headers, each with its length in words and the type of the next.
        let mut next = bytes.u8()?;
        for _ in 0..EXTENSIONS_MAX {
            if next == 0 {
                break;
            }
            let length = usize::from(bytes.peek(0)?).saturating_mul(4);
            next = bytes.peek(length.saturating_sub(1))?;
            bytes.skip(length)?;
        }
    }
    ip(bytes, outside)
}

/// RFC 9293. A header that is cut leaves the ports, if they are there.
fn tcp<'a>(packet: Packet<'a>, bytes: Bytes<'a>) -> Packet<'a> {
    let mut header = bytes;
    let mut read = || {
        let (src_port, dst_port, seq) = (header.u16()?, header.u16()?, header.u32()?);
        header.skip(4)?;
        let (offset, flags) = (header.u8()?, header.u8()?);
        // A window that capture cut off is not a closed one.
        let window = header.u16().unwrap_or(u16::MAX);
        Ok::<_, Unread>((src_port, dst_port, Tcp { seq, flags, window }, usize::from(offset >> 4)))
    };
    let Ok((src_port, dst_port, tcp, words)) = read() else { return ports(packet, bytes, 20) };
    let packet = behind(packet, bytes, words.saturating_mul(4).max(20));
    Packet { src_port, dst_port, tcp: Some(tcp), ..packet }
}

/// The two ports that TCP, UDP and SCTP begin with.
fn ports<'a>(packet: Packet<'a>, mut bytes: Bytes<'a>, header_bytes: usize) -> Packet<'a> {
    let packet = behind(packet, bytes, header_bytes);
    match (bytes.u16(), bytes.u16()) {
        (Ok(src_port), Ok(dst_port)) => Packet { src_port, dst_port, ..packet },
        _ => packet,
    }
}

fn icmp<'a>(packet: Packet<'a>, mut bytes: Bytes<'a>) -> Packet<'a> {
    let packet = behind(packet, bytes, 8);
    match (bytes.u8(), bytes.u8()) {
        (Ok(kind), Ok(code)) => Packet { src_port: kind.into(), dst_port: code.into(), ..packet },
        _ => packet,
    }
}

/// The packet with its payload behind a header of so many bytes.
fn behind<'a>(packet: Packet<'a>, bytes: Bytes<'a>, header_bytes: usize) -> Packet<'a> {
    let stated = u32::try_from(header_bytes).unwrap_or(u32::MAX);
    Packet {
        payload: bytes.0.get(header_bytes..).unwrap_or_default(),
        payload_bytes: packet.payload_bytes.saturating_sub(stated),
        ..packet
    }
}

/// What is left of a frame.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unread> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Unread::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Unread> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, Unread> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Unread> {
        self.array().map(u32::from_be_bytes)
    }

    fn ipv4(&mut self) -> Result<Ipv4Addr, Unread> {
        self.array::<4>().map(Ipv4Addr::from)
    }

    fn ipv6(&mut self) -> Result<Ipv6Addr, Unread> {
        self.array::<16>().map(Ipv6Addr::from)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Unread> {
        self.0 = self.0.get(bytes..).ok_or(Unread::Malformed)?;
        Ok(())
    }

    fn peek(&self, at: usize) -> Result<u8, Unread> {
        self.0.get(at).copied().ok_or(Unread::Malformed)
    }
}
