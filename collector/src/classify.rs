//! Which information system an event concerns, and of what level that is.
//!
//! In this order: of a relay, the host that the line names, because a relay's certificate says nothing of the hosts behind it;
//! the host of the sender's certificate; the address that is acted upon, the address that acts. The first that the inventory
//! knows decides: what is nearer to the evidence counts more, and an address outside cannot move an event to another system
//! when its host is known.
//!
//! What a line says of its host is believed of relays alone, which the inventory names: any other host could speak for every
//! system, and hide that one has fallen silent. For the same reason what a host sees on a network counts as a report of its own
//! system alone, unless it is a relay, or a device whose flow records the collector takes.

use std::net::Ipv6Addr;

use crate::batch::SenderKind;
use crate::inventory::{Inventory, SystemIndex};

/// Who sends events, as the inventory knows the host of its certificate.
#[derive(Clone, Copy)]
pub(crate) struct Sender<'i> {
    inventory: &'i Inventory,
    /// The system of its own.
    pub(crate) system: Option<SystemIndex>,
    is_relay: bool,
    is_exporter: bool,
}

impl<'i> Sender<'i> {
    pub(crate) fn new(inventory: &'i Inventory, host: &str, kind: SenderKind) -> Self {
        let (system, is_relay) = (inventory.by_host(host), inventory.is_relay(host));
        Self { inventory, system, is_relay, is_exporter: kind == SenderKind::Exporter }
    }

    /// The system of the host that wrote a line; `hostname` is what the line says.
    pub(crate) fn by_name(&self, hostname: &str) -> Option<SystemIndex> {
        let named = self.is_relay.then(|| self.inventory.by_host(hostname)).flatten();
        named.or(self.system)
    }

    /// The first of two addresses, which may be unspecified, that the inventory knows.
    pub(crate) fn by_address(&self, dst_ip: Ipv6Addr, src_ip: Ipv6Addr) -> Option<SystemIndex> {
        let known = [dst_ip, src_ip].into_iter().filter(|address| !address.is_unspecified());
        known.filter_map(|address| self.inventory.by_address(address)).next()
    }

    /// Whether what it sends of a system counts as a report of that one's log sources.
    pub(crate) fn vouches_for(&self, system: SystemIndex) -> bool {
        self.is_relay || self.is_exporter || self.system == Some(system)
    }

    /// Whether a line names a host of a system, and is not believed because nobody vouches for its sender.
    pub(crate) fn is_doubted(&self, hostname: &str) -> bool {
        !self.is_relay && self.system.is_none() && self.inventory.by_host(hostname).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = "
[[relay]]
host = 'relay'
[[relay]]
host = 'DB02'
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
hosts = ['db01', 'db02']
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
            ("stranger", "web01", "::", "::", None),
            ("stranger", "web01", "::ffff:10.1.0.1", "::", Some("db")),
            ("db02", "web01", "::ffff:10.2.0.1", "::", Some("web")),
            ("db02", "db02", "::ffff:10.2.0.1", "::", Some("db")),
            ("relay", "db01", "::ffff:10.2.0.1", "::", Some("db")),
            ("relay", "other", "::ffff:10.1.0.1", "::ffff:10.2.0.1", Some("db")),
            ("relay", "", "::", "::ffff:10.2.0.1", Some("lan")),
            ("relay", "", "::", "::", None),
        ];
        for (host, hostname, dst_ip, src_ip, expected) in cases {
            let sender = Sender::new(&inventory, host, SenderKind::Agent);
            let by_address = || sender.by_address(address(dst_ip), address(src_ip));
            let found = sender.by_name(hostname).or_else(by_address);
            assert_eq!(found.map(|index| &*inventory.system(index).id), expected, "{host} {hostname}");
            assert_eq!(sender.is_doubted(hostname), host == "stranger", "{host} {hostname}");
        }
    }
    #[test]
    fn only_who_looks_on_for_others_vouches_for_them() {
        let inventory = Inventory::parse(TEXT, Path::new("systems.toml")).unwrap();
        let vouches = |host: &str, kind, system: &str| {
            Sender::new(&inventory, host, kind).vouches_for(inventory.by_id(system).unwrap())
        };
        for (host, kind, of_web, of_db) in [
            ("web01", SenderKind::Agent, true, false),
            ("stranger", SenderKind::Agent, false, false),
            ("relay", SenderKind::Agent, true, true),
            ("stranger", SenderKind::Otlp, false, false),
            ("gateway", SenderKind::Exporter, true, true),
        ] {
            assert_eq!((vouches(host, kind, "web"), vouches(host, kind, "db")), (of_web, of_db), "{host}");
        }
    }
}
