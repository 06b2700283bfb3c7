//! Handshakes under way by address, so that none takes them all from the others: who has shown no certificate yet has an
//! address alone.
//!
//! Limits: no more addresses are remembered than handshakes are under way. Whoever has many addresses takes as many shares.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Of an IPv6 address the half that names a subscriber's network: of the other half each host may have as many as it likes.
const NETWORK: u128 = !(u64::MAX as u128);

/// Who shakes hands now.
#[derive(Debug)]
pub(crate) struct Strangers {
    address_max: usize,
    under_way: Mutex<HashMap<IpAddr, usize>>,
}

/// One handshake of an address, over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    strangers: Arc<Strangers>,
    network: IpAddr,
}

impl Strangers {
    /// `address_max` handshakes of an address at once.
    pub(crate) fn new(address_max: usize) -> Arc<Self> {
        Arc::new(Self { address_max, under_way: Mutex::default() })
    }

    /// A turn for one more handshake, unless the address has as many as it may.
    pub(crate) fn turn(self: &Arc<Self>, address: IpAddr) -> Option<Turn> {
        let network = network(address);
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = under_way.entry(network).or_default();
        if *of_address >= self.address_max {
            return None;
        }
        *of_address += 1;
        Some(Turn { strangers: Arc::clone(self), network })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut under_way = self.strangers.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_address) = under_way.get_mut(&self.network) {
            *of_address -= 1;
            if *of_address == 0 {
                under_way.remove(&self.network);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_leaves_nothing_behind() {
        let strangers = Strangers::new(2);
        let turn = |address: &str| strangers.turn(address.parse().unwrap());
        let first = turn("192.0.2.1").unwrap();
        let second = turn("::ffff:192.0.2.1").unwrap();
        assert!(turn("192.0.2.1").is_none());
        let other = turn("192.0.2.2").unwrap();
        drop(first);
        let third = turn("192.0.2.1").unwrap();
        let network = [turn("2001:db8::1").unwrap(), turn("2001:db8::ffff:0:0:2").unwrap()];
        assert!(turn("2001:db8::3").is_none(), "of one network");
        let next = turn("2001:db8:0:1::3").unwrap();
        drop((second, other, third, network, next));
        assert!(strangers.under_way.lock().unwrap().is_empty());
    }
}
