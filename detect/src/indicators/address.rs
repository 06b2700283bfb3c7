//! Addresses and networks. An address is the network of itself alone, so both are one kind: the key is the octets of the
//! network and the length of its prefix. An event's address is looked for once for each length that the set has, the longest
//! first: feeds have a dozen or two.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::IndicatorError;
use crate::network::network;

/// Widest networks that are taken: a registry's block of IPv4, a provider's block of IPv6.
const PREFIX_V4_MIN: u8 = 8;
const PREFIX_V6_MIN: u8 = 19;

/// Addresses that mean nothing outside of where they are used (IANA's special-purpose registries, RFC 6890). Those for
/// documentation are not among them: no traffic has them, and examples do.
const LOCAL_V4: [Ipv4Net; 11] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];
const LOCAL_V6: [Ipv6Net; 5] =
    [v6(0, 128), v6(1, 128), v6(0xfc << 120, 7), v6(0xfe8 << 116, 10), v6(0xff << 120, 8)];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(bits: u128, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), prefix)
}

/// The lengths of prefixes that a set has, the longest first.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    v4: Vec<u8>,
    v6: Vec<u8>,
}

impl Prefixes {
    pub(super) fn note(&mut self, key: &[u8]) {
        let Some(net) = network_of(key) else { return };
        let lengths = if net.addr().is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        if let Err(at) = lengths.binary_search_by(|length| net.prefix_len().cmp(length)) {
            lengths.insert(at, net.prefix_len());
        }
    }

    /// The networks that an address could be in, the narrowest first.
    pub(super) fn around(&self, ip: IpAddr) -> impl Iterator<Item = IpNet> {
        let lengths = if ip.is_ipv4() { &self.v4 } else { &self.v6 };
        lengths.iter().filter_map(move |length| Some(IpNet::new(ip, *length).ok()?.trunc()))
    }
}

pub(super) fn key(value: &str, out: &mut Vec<u8>) -> Result<(), IndicatorError> {
    let expected = "an IPv4 or IPv6 address, or a network such as 192.0.2.0/24";
    let net = if value.contains('/') { network(value) } else { address(value).map(IpNet::from) };
    put(net.ok_or(IndicatorError::Malformed { expected })?.trunc(), out);
    Ok(())
}

/// An address, in brackets or not, with a port behind it or not. An IPv4 address in IPv6's clothes is an IPv4 address.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let bare = text.parse::<IpAddr>().ok();
    let ip = bare.or_else(|| without_port(text).trim_matches(['[', ']']).parse().ok())?;
    Some(ip.to_canonical())
}

/// A host without the port behind it.
pub(super) fn without_port(host: &str) -> &str {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match host.rsplit_once(':') {
        Some((host, port)) if is_port(port) && (host.ends_with(']') || !host.contains(':')) => host,
        _ => host,
    }
}

/// Puts the key of a network in place of what `out` holds.
pub(super) fn put(net: IpNet, out: &mut Vec<u8>) {
    out.clear();
    match net.addr() {
        IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
    }
    out.push(net.prefix_len());
}

/// Whether a key is of more than one address.
pub(super) fn is_network(key: &[u8]) -> bool {
    key.split_last().is_some_and(|(prefix, octets)| usize::from(*prefix) < octets.len().saturating_mul(8))
}

/// Whether a feed may name the network.
pub(super) fn check(key: &[u8], local_allowed: bool) -> Result<(), IndicatorError> {
    let Some(net) = network_of(key) else { return Ok(()) };
    let (prefix, prefix_min) =
        (net.prefix_len(), if net.addr().is_ipv4() { PREFIX_V4_MIN } else { PREFIX_V6_MIN });
    if !local_allowed && is_local(&net) {
        return Err(IndicatorError::Local);
    }
    // What is inside may be as wide as it is.
    if prefix < prefix_min && !is_local(&net) {
        return Err(IndicatorError::TooWide { prefix, prefix_min });
    }
    Ok(())
}

pub(super) fn shown(key: &[u8]) -> String {
    match network_of(key) {
        Some(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        Some(net) => net.to_string(),
        None => String::new(),
    }
}

fn network_of(key: &[u8]) -> Option<IpNet> {
    let (prefix, octets) = key.split_last()?;
    let ip = match octets.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
    };
    IpNet::new(ip, *prefix).ok()
}

fn is_local(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => LOCAL_V4.iter().any(|local| local.contains(net)),
        IpNet::V6(net) => LOCAL_V6.iter().any(|local| local.contains(net)),
    }
}
