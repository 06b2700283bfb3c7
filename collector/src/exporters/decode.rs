//! From a datagram to flows: bytes, the exporter's address and the time come in, flows and counters come out. No socket, no clock of
//! its own but for how long data wait for their template.
//!
//! Which protocol a datagram is of stands in its first bytes: 5, 9 or 10 in 16 bits, or sFlow's 5 in 32. So one socket takes all.
//!
//! Limits: exporters ([`EXPORTERS_MAX`]) and streams of one ([`STREAMS_MAX`]); the least used gives way, with its templates, and is
//! counted. So no exporter, and nobody who forges its address, costs another one its templates.
//!
//! What it never does: panic on input, drop a record without counting it, or mix the templates of two streams.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use event::{Flow, Micros};

use super::health::Health;
use super::moment::Clock;
use super::netflow::{Receipt, Stream};
use super::sequence::{Sequence, Unit};
use super::sflow;

/// Exporters whose templates are kept. A site has dozens.
pub(super) const EXPORTERS_MAX: usize = 256;
/// Streams of an exporter: a large chassis has some for each line card.
const STREAMS_MAX: usize = 64;

/// Who sent a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sender {
    pub address: SocketAddr,
    /// Sampling rate where its records do not tell one; 0: not known.
    pub sampling: u32,
}

/// What a datagram is of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Protocol {
    Netflow5,
    Netflow9,
    Ipfix,
    Sflow,
}

/// Turns datagrams into flows. Keeps templates, sequences and sampling rates from one to the next.
#[derive(Default)]
pub struct Decoder {
    exporters: HashMap<IpAddr, Exporter>,
    /// Counts datagrams: who was used last.
    used: u64,
}

#[derive(Default)]
struct Exporter {
    streams: HashMap<Key, Slot>,
    used: u64,
}

struct Slot {
    state: State,
    used: u64,
}

enum State {
    Netflow(Box<Stream>),
    Sflow(Sequence),
}

/// What tells streams of one exporter apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key {
    protocol: Protocol,
    port: u16,
    domain: u32,
    /// sFlow: an exporter may pass on what other switches say.
    agent: Option<IpAddr>,
}

impl Protocol {
    /// What a datagram is of, by its first bytes.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        match datagram {
            [0, 5, ..] => Some(Self::Netflow5),
            [0, 9, ..] => Some(Self::Netflow9),
            [0, 10, ..] => Some(Self::Ipfix),
            [0, 0, 0, 5, ..] => Some(Self::Sflow),
            _ => None,
        }
    }

    /// `source` of the events.
    pub fn source(self) -> &'static str {
        match self {
            Self::Netflow5 | Self::Netflow9 => "netflow",
            Self::Ipfix => "ipfix",
            Self::Sflow => "sflow",
        }
    }

    /// Observation domain, source id or engine: what an exporter numbers by itself.
    fn domain(self, datagram: &[u8]) -> u32 {
        let number = |at: usize| Some(u32::from_be_bytes(datagram.get(at..at + 4)?.try_into().ok()?));
        let domain = match self {
            // Engine type and engine id stand before the sampling field.
            Self::Netflow5 => number(20).map(|bytes| bytes >> 16),
            Self::Netflow9 => number(16),
            Self::Ipfix => number(12),
            Self::Sflow => None,
        };
        domain.unwrap_or(0)
    }
}

impl Decoder {
    /// Decodes a datagram (or one message of a TCP session): each flow goes to `sink`.
    pub fn decode(
        &mut self,
        sender: Sender,
        datagram: &[u8],
        now: Micros,
        sink: &mut dyn FnMut(&Flow<'static>),
    ) -> Health {
        self.used += 1;
        let mut health = match Protocol::of(datagram) {
            None => Health { malformed: 1, ..Health::default() },
            Some(Protocol::Sflow) => self.sflow(sender, datagram, now, sink),
            Some(protocol) => self.netflow(protocol, sender, datagram, now, sink),
        };
        health.datagrams = 1;
        health
    }

    fn netflow(
        &mut self,
        protocol: Protocol,
        sender: Sender,
        datagram: &[u8],
        now: Micros,
        sink: &mut dyn FnMut(&Flow<'static>),
    ) -> Health {
        let exporter = sender.address.ip();
        let domain = protocol.domain(datagram);
        let key = Key { protocol, port: sender.address.port(), domain, agent: None };
        let receipt = Receipt { exporter, now, assumed_sampling: sender.sampling };
        let make = || Some(State::Netflow(Box::new(Stream::new().ok()?)));
        let (state, forgotten) = self.state(exporter, key, make);
        let mut health = match state {
            Some(State::Netflow(stream)) => stream.read(datagram, receipt, sink),
            // Its limits are constants that a test tries: the parser takes them.
            _ => Health { malformed: 1, ..Health::default() },
        };
        health.streams_forgotten = forgotten;
        health
    }

    fn sflow(
        &mut self,
        sender: Sender,
        payload: &[u8],
        now: Micros,
        sink: &mut dyn FnMut(&Flow<'static>),
    ) -> Health {
        let exporter = sender.address.ip();
        let (datagrams, whole) = sflow::parse(payload);
        let mut health = Health { malformed: u64::from(!whole), ..Health::default() };
        for datagram in &datagrams {
            let agent = Some(sflow::agent(datagram));
            let key = Key { protocol: Protocol::Sflow, port: 0, domain: datagram.sub_agent_id, agent };
            let make = || Some(State::Sflow(Sequence::new(Unit::Datagrams)));
            let (state, forgotten) = self.state(exporter, key, make);
            if let Some(State::Sflow(sequence)) = state {
                health.judge(sequence.came(datagram.sequence_number, None));
            }
            health.streams_forgotten += forgotten;
            let clock = Clock { now, export: now, uptime_ms: None, started: None };
            sflow::flows(datagram, exporter, clock, &mut health, sink);
        }
        health
    }

    /// What is kept of a stream, made if it is new; and how many others had to give way.
    fn state(
        &mut self,
        exporter: IpAddr,
        key: Key,
        make: impl FnOnce() -> Option<State>,
    ) -> (Option<&mut State>, u64) {
        let used = self.used;
        let mut forgotten = 0;
        if self.exporters.len() >= EXPORTERS_MAX
            && !self.exporters.contains_key(&exporter)
            && let Some(idle) = least(&self.exporters, |exporter| exporter.used)
        {
            forgotten += self.exporters.remove(&idle).map_or(0, |exporter| wide(exporter.streams.len()));
        }
        let exporter = self.exporters.entry(exporter).or_default();
        exporter.used = used;
        let streams = &mut exporter.streams;
        if !streams.contains_key(&key) {
            if streams.len() >= STREAMS_MAX
                && let Some(idle) = least(streams, |slot| slot.used)
            {
                streams.remove(&idle);
                forgotten += 1;
            }
            let Some(state) = make() else { return (None, forgotten) };
            streams.insert(key, Slot { state, used });
        }
        let slot = streams.get_mut(&key).map(|slot| {
            slot.used = used;
            &mut slot.state
        });
        (slot, forgotten)
    }
}

/// The entry that was used longest ago.
fn least<K: Copy + Eq + std::hash::Hash, V>(entries: &HashMap<K, V>, used: impl Fn(&V) -> u64) -> Option<K> {
    entries.iter().min_by_key(|(_, entry)| used(entry)).map(|(key, _)| *key)
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
