//! The ports of a datagram's later fragments, which only its first one has.
//!
//! A table of fixed size in which what comes later takes the place of what hashes to the same spot: an attacker's fragments
//! may push others out, and these then count for a flow without ports, as does a fragment that overtakes its first.

use std::hash::BuildHasher;
use std::net::IpAddr;

use super::frame::{Fragment, Packet};

/// Datagrams that are under way in fragments at a time.
const SPOTS: usize = 1024;

#[derive(Debug)]
pub(super) struct Fragments {
    spots: Vec<Option<Spot>>,
    hasher: foldhash::fast::RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Spot {
    datagram: Datagram,
    ports: (u16, u16),
}

/// What fragments of one datagram have in common (RFC 791, section 3.2).
type Datagram = (IpAddr, IpAddr, u8, u32);

impl Default for Fragments {
    fn default() -> Self {
        Self { spots: vec![None; SPOTS], hasher: foldhash::fast::RandomState::default() }
    }
}

impl Fragments {
    /// Remembers a first fragment's ports, and gives them to the later ones. False: a fragment whose first is not known.
    pub(super) fn complete(&mut self, packet: &mut Packet<'_>) -> bool {
        let (Fragment::First(id) | Fragment::Later(id)) = packet.fragment else { return true };
        let datagram = (packet.src_ip, packet.dst_ip, packet.protocol, id);
        let spot = usize::try_from(self.hasher.hash_one(datagram)).unwrap_or_default() % SPOTS;
        let Some(spot) = self.spots.get_mut(spot) else { return false };
        if let Fragment::First(_) = packet.fragment {
            *spot = Some(Spot { datagram, ports: (packet.src_port, packet.dst_port) });
            return true;
        }
        let known = spot.filter(|spot| spot.datagram == datagram);
        if let Some(Spot { ports: (src_port, dst_port), .. }) = known {
            (packet.src_port, packet.dst_port) = (src_port, dst_port);
        }
        known.is_some()
    }
}
