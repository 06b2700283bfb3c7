//! The two ends of what crosses a network: whose they are, and which way it goes.
//!
//! An address is inside when the inventory knows it, or when it is private, shared, link-local or unique local (RFC 1918, 6598,
//! 3927, 4193, 4291); multicast and broadcast count as inside, since they do not leave. Rules read what is found here as
//! fields: `direction` (inbound, outbound, internal, external), `src_system_id`,
//! `src_sys_level`, `dst_system_id`, `dst_sys_level`.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use event::{Event, Value};

use crate::inventory::{Inventory, SystemIndex};
use crate::row::address;

/// Sigma's product of events that a meter or an exporter saw on a network.
pub(crate) const NETWORK: &str = "network";

/// Names under which an event says what its ends are.
const END_FIELDS: [&str; 3] = ["src_ip", "dst_ip", "dst_port"];

/// The ends of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ends {
    pub(crate) src: Option<SystemIndex>,
    pub(crate) dst: Option<SystemIndex>,
    pub(crate) direction: &'static str,
}

impl Ends {
    /// The ends of an event that was seen on a network; none of any other.
    pub(crate) fn of(inventory: &Inventory, event: &Event<'_>) -> Option<Self> {
        if event.log_source.product != NETWORK {
            return None;
        }
        let src_ip = event.text("src_ip").and_then(address)?;
        let dst_ip = event.text("dst_ip").and_then(address)?;
        let (src, dst) = (inventory.by_address(src_ip), inventory.by_address(dst_ip));
        let inside = |system: Option<SystemIndex>, ip| system.is_some() || is_local(ip);
        let direction = match (inside(src, src_ip), inside(dst, dst_ip)) {
            (true, true) => "internal",
            (true, false) => "outbound",
            (false, true) => "inbound",
            (false, false) => "external",
        };
        Some(Self { src, dst, direction })
    }

    /// The system that an event concerns: that which is acted upon, else that which acts.
    pub(crate) fn concerned(&self) -> Option<SystemIndex> {
        self.dst.or(self.src)
    }

    /// Adds the fields that rules read.
    pub(crate) fn tell<'e>(&self, inventory: &'e Inventory, event: &mut Event<'e>) {
        let mut add = |name, value: Value<'e>| event.fields.push((Cow::Borrowed(name), value));
        add("direction", Value::Text(Cow::Borrowed(self.direction)));
        let ends =
            [("src_system_id", "src_sys_level", self.src), ("dst_system_id", "dst_sys_level", self.dst)];
        for (id, level, index) in ends {
            let Some(index) = index else { continue };
            let system = inventory.system(index);
            add(id, Value::Text(Cow::Borrowed(&system.id)));
            add(level, Value::Int(system.level().into()));
        }
    }
}

/// What matched, behind the two ends of an event that was seen on a network: rules seldom ask for addresses, people do.
pub(crate) fn with_ends(event: &Event<'_>, matched: Vec<(String, String)>) -> Vec<(String, String)> {
    if event.log_source.product != NETWORK {
        return matched;
    }
    let asked = |name: &str| matched.iter().any(|(known, _)| known == name);
    let missing = END_FIELDS.into_iter().filter(|name| !asked(name));
    let ends =
        missing.filter_map(|name| Some((name.to_owned(), event.values(name).next()?.to_text().into_owned())));
    ends.collect::<Vec<_>>().into_iter().chain(matched).collect()
}

/// Whether an address belongs to whoever uses it locally.
fn is_local(ip: Ipv6Addr) -> bool {
    match ip.to_ipv4_mapped() {
        Some(v4) => {
            let [first, second, ..] = v4.octets();
            let shared = first == 100 && (64..128).contains(&second);
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || shared
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        None => {
            ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_local_addresses_at_both_sides_of_each_range() {
        for (ip, local) in [
            ("10.0.0.1", true),
            ("11.0.0.1", false),
            ("172.15.255.255", false),
            ("172.16.0.0", true),
            ("172.32.0.0", false),
            ("100.63.255.255", false),
            ("100.64.0.0", true),
            ("100.128.0.0", false),
            ("169.254.1.1", true),
            ("224.0.0.251", true),
            ("203.0.113.9", false),
            ("fd00::1", true),
            ("fe80::1", true),
            ("ff02::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_local(address(ip).unwrap()), local, "{ip}");
        }
    }
}
