//! The flow table: packets in, records out.

use std::net::SocketAddr;

use crate::Micros;

/// What a meter is to do, and its bounds.
#[derive(Clone, Debug)]
pub struct MeterConfig {
    /// Most flows at a time; beyond it the idlest one is written out, and counted.
    pub flows_max: usize,
    /// A flow without a packet for so long is over.
    pub idle_timeout: Micros,
    /// A flow that lasts gets a record this often.
    pub active_timeout: Micros,
    /// Whether the first bytes of payload are read: dns, tls, http, ssh.
    pub application: bool,
    /// Endpoints whose traffic is left out: that of our own export.
    pub ignored: Vec<SocketAddr>,
}

/// A frame as captured.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    pub at: Micros,
    pub link: LinkType,
    /// What was kept of it.
    pub bytes: &'a [u8],
    /// Its length on the wire.
    pub wire_bytes: u32,
    /// The 802.1Q tag that the kernel took out of the frame, with its priority bits; 0 for none.
    pub vlan: u16,
}

/// What a frame begins with (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkType {
    Ethernet,
}

/// What a meter has seen and done since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MeterCounters {
    pub packets: u64,
    /// Flows whose record was written because the table was full.
    pub evicted: u64,
    /// Records of flows written.
    pub records: u64,
    /// Flows in the table now.
    pub live: u64,
}

/// The flow table.
#[derive(Debug)]
pub struct Meter {
    config: MeterConfig,
    counters: MeterCounters,
}

impl Default for MeterConfig {
    fn default() -> Self {
        Self {
            flows_max: 100_000,
            idle_timeout: 60_000_000,
            active_timeout: 300_000_000,
            application: true,
            ignored: Vec::new(),
        }
    }
}

impl Meter {
    pub fn new(config: MeterConfig) -> Self {
        Self { config, counters: MeterCounters::default() }
    }

    /// Takes a packet. Lines of what is over, or was said, are appended to `out`.
    pub fn packet(&mut self, _packet: &Captured<'_>, _out: &mut Vec<u8>) {}

    /// Writes out what is over at `now`. Cheap: to be called about once a second.
    pub fn expire(&mut self, _now: Micros, _out: &mut Vec<u8>) {}

    /// Writes out all that is left.
    pub fn flush(&mut self, _out: &mut Vec<u8>) {}

    pub fn counters(&self) -> MeterCounters {
        self.counters
    }

    /// What it was made with.
    pub fn config(&self) -> &MeterConfig {
        &self.config
    }
}
