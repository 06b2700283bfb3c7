//! Which information system an event concerns, and of what level that is.
//!
//! In this order: the host of the sender's certificate, the host that the line names (a relay's certificate says nothing of
//! the host behind it), the address that is acted upon, the address that acts. The first that the inventory knows decides:
//! what is nearer to the evidence counts more, and an address outside cannot move an event to another system when its host
//! is known.

use std::net::Ipv6Addr;

use crate::inventory::{Inventory, SystemIndex};

/// The system that an event concerns; `hostname` is what the line says, addresses may be unspecified.
pub(crate) fn classify(
    inventory: &Inventory,
    host: &str,
    hostname: &str,
    dst_ip: Ipv6Addr,
    src_ip: Ipv6Addr,
) -> Option<SystemIndex> {
    let by_address =
        |address: Ipv6Addr| (!address.is_unspecified()).then(|| inventory.by_address(address)).flatten();
    (inventory.by_host(host))
        .or_else(|| inventory.by_host(hostname))
        .or_else(|| by_address(dst_ip))
        .or_else(|| by_address(src_ip))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = "
[[organisation]]
id = 'so'
name = 'Sở'
[[system]]
id = 'web'
name = 'web'
owner = 'so'
operator = 'so'
hosts = ['web01']
[[system]]
id = 'db'
name = 'db'
owner = 'so'
operator = 'so'
hosts = ['db01']
networks = ['10.1.0.0/16']
[[system]]
id = 'lan'
name = 'lan'
owner = 'so'
operator = 'so'
networks = ['10.2.0.0/16', '::/0']
";

    #[test]
    fn the_nearest_to_the_evidence_decides() {
        let inventory = Inventory::parse(TEXT, Path::new("systems.toml")).unwrap();
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let cases = [
            ("web01", "db01", "::ffff:10.1.0.1", "::ffff:10.2.0.1", Some("web")),
            ("relay", "db01", "::ffff:10.2.0.1", "::", Some("db")),
            ("relay", "other", "::ffff:10.1.0.1", "::ffff:10.2.0.1", Some("db")),
            ("relay", "", "::", "::ffff:10.2.0.1", Some("lan")),
            ("relay", "", "::", "::", None),
        ];
        for (host, hostname, dst_ip, src_ip, expected) in cases {
            let found = classify(&inventory, host, hostname, address(dst_ip), address(src_ip));
            assert_eq!(found.map(|index| &*inventory.system(index).id), expected, "{host} {hostname}");
        }
    }
}
