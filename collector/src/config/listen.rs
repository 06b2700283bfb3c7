//! Addresses to listen at: how they are written, and that no two doors want the same one.

use std::net::{IpAddr, SocketAddr};

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::Config;

/// `ADDRESS:PORT`.
pub(super) fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    parsed(&text).map_err(D::Error::custom)
}

/// Several of them.
pub(super) fn many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| parsed(text).map_err(D::Error::custom)).collect()
}

fn parsed(text: &str) -> Result<SocketAddr, String> {
    let expected = "expected ADDRESS:PORT, such as 127.0.0.1:6514 or [::]:6514, and no name";
    text.parse().map_err(|_| format!("{expected}, found {text:?}"))
}

/// Two keys that want one address, if there are: the later key, what was expected, what was found.
pub(super) fn clash(config: &Config) -> Option<(&'static str, &'static str, String)> {
    let mut streams =
        vec![("metrics.listen", config.metrics.listen), ("intake.listen", config.intake.listen)];
    if config.clickhouse.url.is_none() {
        streams.push(("store.listen", config.store.listen));
    }
    if config.otlp.enabled {
        streams.push(("otlp.listen", config.otlp.listen));
    }
    let mut datagrams = Vec::new();
    if config.exporters.enabled {
        streams.extend(config.exporters.tcp_listen.iter().map(|listen| ("exporters.tcp_listen", *listen)));
        datagrams.extend(config.exporters.listen.iter().map(|listen| ("exporters.listen", *listen)));
    }
    among(&streams).or_else(|| among(&datagrams))
}

fn among(listens: &[(&'static str, SocketAddr)]) -> Option<(&'static str, &'static str, String)> {
    let mut before: Vec<(&'static str, SocketAddr)> = Vec::new();
    for (key, listen) in listens {
        if let Some((other, taken)) = before.iter().find(|(_, taken)| overlap(*taken, *listen)) {
            let found = format!("{listen}, and {other} is {taken}");
            return Some((key, "an address that nothing else listens at", found));
        }
        before.push((key, *listen));
    }
    None
}

/// Whether Linux lets only one of them have its port. `[::]` takes IPv4, too.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, ip: IpAddr| match wide {
        IpAddr::V6(wide) => wide.is_unspecified(),
        IpAddr::V4(wide) => wide.is_unspecified() && ip.is_ipv4(),
    };
    let same = one.ip() == other.ip() || covers(one.ip(), other.ip()) || covers(other.ip(), one.ip());
    // The kernel chooses a free port for 0.
    one.port() == other.port() && one.port() != 0 && same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_which_addresses_exclude_each_other() {
        let overlap = |one: &str, other: &str| overlap(one.parse().unwrap(), other.parse().unwrap());
        for (one, other) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[::]:1", "127.0.0.1:1"),
            ("192.0.2.1:1", "0.0.0.0:1"),
            ("[::]:1", "0.0.0.0:1"),
            ("[::1]:1", "[::]:1"),
        ] {
            assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("127.0.0.1:1", "127.0.0.1:2"),
            ("127.0.0.1:1", "127.0.0.2:1"),
            ("[::1]:1", "0.0.0.0:1"),
            ("[::]:0", "[::]:0"),
        ] {
            assert!(!overlap(one, other), "{one} {other}");
        }
    }
}
