//! Conditions of a query. SQL is written here by us alone: a condition is a `&'static str`, and what a person typed goes
//! beside it as a query parameter, which ClickHouse parses as a value and never as SQL.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Result, anyhow};
use event::Micros;
use ipnet::IpNet;

/// A value for `{}` of a condition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bound {
    Text(String),
    Texts(Vec<String>),
    Number(u64),
    Time(Micros),
    Address(Ipv6Addr),
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    sql: String,
    bounds: Vec<Bound>,
}

impl Filter {
    /// Adds a condition. Every `{}` in it is the value.
    pub(crate) fn and(&mut self, condition: &'static str, bound: Bound) -> &mut Self {
        let placeholder = self.keep(bound);
        self.and_plain(&condition.replace("{}", &placeholder))
    }

    /// Adds a condition without a value.
    pub(crate) fn and_always(&mut self, condition: &'static str) -> &mut Self {
        self.and_plain(condition)
    }

    /// Adds a condition when there is a value for it.
    pub(crate) fn and_if(&mut self, condition: &'static str, bound: Option<Bound>) -> &mut Self {
        match bound {
            Some(bound) => self.and(condition, bound),
            None => self,
        }
    }

    /// Adds a condition on a network: `{first}` and `{last}` in it are its ends, of type IPv6; `{parts}` is an array of texts of
    /// which every address of it, however it is written, has one.
    pub(crate) fn and_within(&mut self, condition: &'static str, network: &Network) -> &mut Self {
        let first = self.keep(Bound::Address(network.first));
        let last = self.keep(Bound::Address(network.last));
        let mut condition = condition.replace("{first}", &first).replace("{last}", &last);
        if condition.contains("{parts}") {
            condition = condition.replace("{parts}", &network.parts());
        }
        self.and_plain(&condition)
    }

    /// Adds the condition that of two columns one is in one network and the other in the other.
    pub(crate) fn and_between(
        &mut self,
        columns: [&'static str; 2],
        one: &Network,
        other: &Network,
    ) -> &mut Self {
        let mut ends = |one: &Network, other: &Network| {
            let [of_one, of_other] = [one, other].map(std::slice::from_ref);
            let [first, second] = columns;
            format!("{} AND {}", self.is_within(first, of_one), self.is_within(second, of_other))
        };
        let (there, back) = (ends(one, other), ends(other, one));
        self.and_plain(&format!("{there} OR {back}"))
    }

    /// Whether an address is in one of the networks, for the place of an expression.
    pub(crate) fn is_within(&mut self, column: &'static str, networks: &[Network]) -> String {
        let ends = networks.iter().map(|network| {
            let first = self.keep(Bound::Address(network.first));
            let last = self.keep(Bound::Address(network.last));
            format!("{column} BETWEEN {first} AND {last}")
        });
        let ends: Vec<String> = ends.collect();
        if ends.is_empty() { "false".to_owned() } else { format!("({})", ends.join(" OR ")) }
    }

    /// For the place of a WHERE's condition.
    pub(crate) fn sql(&self) -> &str {
        if self.sql.is_empty() { "true" } else { &self.sql }
    }

    /// The query with the values bound.
    pub(crate) fn bind(&self, query: clickhouse::query::Query) -> clickhouse::query::Query {
        self.bounds.iter().enumerate().fold(query, |query, (index, bound)| {
            let name = format!("p{index}");
            match bound {
                Bound::Text(text) => query.param(&name, text),
                Bound::Texts(texts) => query.param(&name, texts),
                Bound::Number(number) => query.param(&name, number),
                Bound::Time(micros) => query.param(&name, micros),
                Bound::Address(address) => query.param(&name, address.to_string()),
            }
        })
    }

    /// Keeps a value, and gives what stands for it in SQL.
    pub(crate) fn keep(&mut self, bound: Bound) -> String {
        let name = self.bounds.len();
        let placeholder = match bound {
            Bound::Text(_) => format!("{{p{name}:String}}"),
            Bound::Texts(_) => format!("{{p{name}:Array(String)}}"),
            Bound::Number(_) => format!("{{p{name}:UInt64}}"),
            Bound::Time(_) => format!("fromUnixTimestamp64Micro({{p{name}:Int64}}, 'UTC')"),
            Bound::Address(_) => format!("toIPv6({{p{name}:String}})"),
        };
        self.bounds.push(bound);
        placeholder
    }

    fn and_plain(&mut self, condition: &str) -> &mut Self {
        if !self.sql.is_empty() {
            self.sql.push_str(" AND ");
        }
        self.sql.push('(');
        self.sql.push_str(condition);
        self.sql.push(')');
        self
    }
}

/// An address or a network, as `--address` takes it. IPv4 is mapped into IPv6, as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Network {
    first: Ipv6Addr,
    last: Ipv6Addr,
}

impl Network {
    /// An array, in SQL, of texts in lower case of which every address of this network, however it is written, has one: of IPv4 the
    /// octets that all share, or the mark of an address mapped into IPv6, whose octets may be hexadecimal; of IPv6 the longest
    /// group that all share.
    fn parts(&self) -> String {
        match (self.first.to_ipv4_mapped(), self.last.to_ipv4_mapped()) {
            (Some(first), Some(last)) => {
                let shared =
                    first.octets().into_iter().zip(last.octets()).take_while(|(one, other)| one == other);
                let octets: Vec<String> = shared.map(|(octet, _)| octet.to_string()).collect();
                let dot = if octets.len() < 4 { "." } else { "" };
                format!("['{}{dot}', 'ffff:']", octets.join("."))
            }
            // The last two groups may be written as IPv4. A network without a group holds those of IPv4, too.
            _ => {
                let shared = self.first.segments().into_iter().zip(self.last.segments()).take(6);
                let groups = shared.take_while(|(one, other)| one == other).filter(|(group, _)| *group != 0);
                let longest = groups.map(|(group, _)| format!("{group:x}")).max_by_key(String::len);
                longest.map_or_else(|| "['.', ':']".to_owned(), |group| format!("['{group}']"))
            }
        }
    }
}

impl FromStr for Network {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let net =
            text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
                anyhow!(
                    "{text:?} is no address; expected 10.1.2.3, 2001:db8::1, 10.1.0.0/16 or 2001:db8::/32"
                )
            })?;
        Ok(Self::from(net))
    }
}

impl From<IpNet> for Network {
    fn from(net: IpNet) -> Self {
        Self { first: mapped(net.network()), last: mapped(net.broadcast()) }
    }
}

/// As it is stored.
pub(crate) fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// The address of a column of type IPv6 as people write it; none when it is `::`, which stands for "no address".
pub(crate) fn shown_address(address: &str) -> String {
    match address.parse::<Ipv6Addr>() {
        Ok(Ipv6Addr::UNSPECIFIED) => String::new(),
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_out_of_the_sql() {
        let mut filter = Filter::default();
        assert_eq!(filter.sql(), "true");
        filter
            .and("a.host = {} OR a.host = lower({})", Bound::Text("x' OR 1=1 --".into()))
            .and_always("a.drill_id = ''")
            .and_if("a.hits > {}", None)
            .and("a.sys_level >= {}", Bound::Number(3));
        assert_eq!(
            filter.sql(),
            "(a.host = {p0:String} OR a.host = lower({p0:String})) AND (a.drill_id = '') AND (a.sys_level >= {p1:UInt64})"
        );
    }

    #[test]
    fn two_ends_are_one_in_each_network() {
        let mut filter = Filter::default();
        let network = |text: &str| text.parse::<Network>().unwrap();
        filter.and_between(["s", "d"], &network("10.0.0.0/8"), &network("192.0.2.7"));
        let end = |column: &str, first: u8| {
            format!("({column} BETWEEN toIPv6({{p{first}:String}}) AND toIPv6({{p{}:String}}))", first + 1)
        };
        let expected =
            format!("({} AND {} OR {} AND {})", end("s", 0), end("d", 2), end("s", 4), end("d", 6));
        assert_eq!(filter.sql(), expected);
    }

    #[test]
    fn every_spelling_of_an_address_has_one_of_the_parts() {
        let parts = |text: &str| text.parse::<Network>().unwrap().parts();
        assert_eq!(parts("203.0.3.17"), "['203.0.3.17', 'ffff:']");
        assert_eq!(parts("10.20.0.0/15"), "['10.', 'ffff:']");
        assert_eq!(parts("10.20.0.0/16"), "['10.20.', 'ffff:']");
        assert_eq!(parts("0.0.0.0/0"), "['.', 'ffff:']");
        assert_eq!(parts("2001:db8::1"), "['2001']");
        assert_eq!(parts("fd00:0:0:abcd::/64"), "['abcd']");
        assert_eq!(parts("2001:db8::/20"), "['2001']");
        for text in ["::1", "::/0", "f000::/4", "::192.0.2.1"] {
            assert_eq!(parts(text), "['.', ':']", "{text}");
        }
    }

    #[test]
    fn reads_addresses_and_networks() {
        let network =
            |text: &str| text.parse::<Network>().map(|net| (net.first.to_string(), net.last.to_string()));
        assert_eq!(network("10.1.2.3").unwrap(), ("::ffff:10.1.2.3".into(), "::ffff:10.1.2.3".into()));
        assert_eq!(network("10.1.2.3/16").unwrap(), ("::ffff:10.1.0.0".into(), "::ffff:10.1.255.255".into()));
        assert_eq!(network("2001:db8::/127").unwrap(), ("2001:db8::".into(), "2001:db8::1".into()));
        for text in ["", "10.1.2", "10.1.2.3/33", "web01"] {
            assert!(network(text).is_err(), "{text}");
        }
        assert_eq!(shown_address("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(shown_address("2001:db8::1"), "2001:db8::1");
        assert_eq!(shown_address("::"), "");
    }
}
