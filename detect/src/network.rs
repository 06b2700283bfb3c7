//! IPv4 in IPv6's clothes (`::ffff:192.0.2.7`, RFC 4291 section 2.5.5.2) is IPv4: systems that listen on both write it so.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Prefix of all mapped addresses.
const MAPPED: u8 = 96;

/// A network, or an address as that of itself alone.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.ok().map(canonical)
}

/// The network as addresses are looked for in it, which are canonical as well.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let prefix = v6.prefix_len().checked_sub(MAPPED);
    let v4 = v6.addr().to_ipv4_mapped().zip(prefix).and_then(|(v4, prefix)| Ipv4Net::new(v4, prefix).ok());
    v4.map_or(network, IpNet::V4)
}
