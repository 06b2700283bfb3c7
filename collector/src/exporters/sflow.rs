//! sFlow 5: packets that a switch sampled, one flow each, with the sampling rate as multiplier. <https://sflow.org/sflow_version_5.txt>
//!
//! sFlow has no times: a sample is as old as its datagram, which leaves the switch within a second. Samples of counters are
//! counted, not stored.

use std::net::IpAddr;

use event::{Captured, Flow, LinkType, Origin, Packet};
use flowparser_sflow::{AddressType, FlowRecord, SflowDatagram, SflowParser, SflowSample};

use super::element::DELTA;
use super::health::Health;
use super::moment::Clock;
use super::record::{Context, Fields};
use super::sampling::{Sampling, Told};

/// Samples of one datagram: more cannot stand in 64 KiB.
const SAMPLES_MAX: u32 = 8_192;
/// In `header_protocol`.
const ETHERNET: u32 = 1;
const IPV4: u32 = 11;
const IPV6: u32 = 12;
/// An interface that is not known, or the switch itself.
const NO_INTERFACE: u32 = 0x3FFF_FFFF;

/// The datagrams in a UDP payload (one, as a rule), and whether all of it could be read.
pub(super) fn parse(payload: &[u8]) -> (Vec<SflowDatagram>, bool) {
    let result = SflowParser::builder().with_max_samples(SAMPLES_MAX).build().parse_bytes(payload);
    (result.datagrams, result.error.is_none())
}

/// Which agent behind the exporter's address a datagram is of.
pub(super) fn agent(datagram: &SflowDatagram) -> IpAddr {
    match datagram.agent_address {
        AddressType::IPv4(address) => address.into(),
        AddressType::IPv6(address) => address.into(),
    }
}

/// Hands on the flows of a datagram; the number of its samples.
pub(super) fn flows(
    datagram: &SflowDatagram,
    exporter: IpAddr,
    clock: Clock,
    health: &mut Health,
    sink: &mut dyn FnMut(&Flow<'static>),
) {
    let sampling = Sampling::default();
    let context =
        Context { origin: Origin::Sflow, exporter, clock, sampling: &sampling, assumed_sampling: 0 };
    for sample in &datagram.samples {
        match sample {
            SflowSample::Flow(flow) => {
                let (input, output) = (interface(flow.input), interface(flow.output));
                let sample = Sample { rate: flow.sampling_rate, input, output, records: &flow.records };
                sample.flow(&context, health, sink);
            }
            SflowSample::ExpandedFlow(flow) => {
                let input = expanded(flow.input_format, flow.input_value);
                let output = expanded(flow.output_format, flow.output_value);
                let sample = Sample { rate: flow.sampling_rate, input, output, records: &flow.records };
                sample.flow(&context, health, sink);
            }
            SflowSample::Counter(_) | SflowSample::ExpandedCounter(_) => health.counter_samples += 1,
            SflowSample::DiscardedPacket(_) | SflowSample::Unknown { .. } => health.other_records += 1,
        }
    }
}

/// A sampled packet.
struct Sample<'a> {
    rate: u32,
    input: u32,
    output: u32,
    records: &'a [FlowRecord],
}

impl Sample<'_> {
    fn flow(&self, context: &Context<'_>, health: &mut Health, sink: &mut dyn FnMut(&Flow<'static>)) {
        let Some((mut fields, frame_bytes)) = self.records.iter().find_map(seen) else {
            health.other_records += 1;
            return;
        };
        (fields.input_if, fields.output_if) = (self.input, self.output);
        fields.told = Told { interval: Some(self.rate.into()), ..Told::default() };
        if fields.vlan == 0 {
            fields.vlan = self.switched_vlan();
        }
        if let Some(mut flow) = fields.flow(context, health) {
            flow.src.frame_bytes = u64::from(frame_bytes).saturating_mul(flow.sampling.max(1).into());
            sink(&flow);
        }
    }

    /// The VLAN in which the switch took the frame, which may have come untagged.
    fn switched_vlan(&self) -> u16 {
        let vlan = self.records.iter().find_map(|record| match record {
            FlowRecord::ExtendedSwitch(switch) => u16::try_from(switch.src_vlan).ok(),
            _ => None,
        });
        vlan.filter(|vlan| *vlan < 4_096).unwrap_or(0)
    }
}

/// The packet of a record, and the length of its frame (0: not known).
fn seen(record: &FlowRecord) -> Option<(Fields, u32)> {
    match record {
        FlowRecord::RawPacketHeader(raw) => {
            let link = match raw.header_protocol {
                ETHERNET => LinkType::Ethernet,
                IPV4 | IPV6 => LinkType::RawIp,
                _ => return None,
            };
            let captured =
                Captured { at: 0, link, bytes: &raw.header, wire_bytes: raw.frame_length, vlan: 0 };
            Some((sampled(&Packet::read(&captured)?), raw.frame_length))
        }
        FlowRecord::SampledIpv4(ip) => {
            let ends = (ip.src_ip.into(), ip.dst_ip.into());
            Some((decoded(ends, [ip.protocol, ip.src_port, ip.dst_port], ip.tcp_flags, ip.length), 0))
        }
        FlowRecord::SampledIpv6(ip) => {
            let ends = (ip.src_ip.into(), ip.dst_ip.into());
            Some((decoded(ends, [ip.protocol, ip.src_port, ip.dst_port], ip.tcp_flags, ip.length), 0))
        }
        _ => None,
    }
}

/// What the head of a sampled packet says.
fn sampled(packet: &Packet<'_>) -> Fields {
    let ends = (packet.src_ip, packet.dst_ip);
    let mut fields = of(ends, packet.protocol, packet.ip_bytes.into(), packet.tcp.map_or(0, |tcp| tcp.flags));
    fields.vlan = packet.vlan;
    match packet.icmp() {
        Some(kind_and_code) => fields.icmp = Some(kind_and_code),
        None => (fields.src_port, fields.dst_port) = (packet.src_port, packet.dst_port),
    }
    fields
}

/// A packet that the switch decoded itself.
fn decoded(ends: (IpAddr, IpAddr), [protocol, src, dst]: [u32; 3], flags: u32, bytes: u32) -> Fields {
    let port = |number: u32| u16::try_from(number).unwrap_or(0);
    let mut fields = of(ends, u8::try_from(protocol).unwrap_or(0), bytes.into(), flags.to_le_bytes()[0]);
    (fields.src_port, fields.dst_port) = (port(src), port(dst));
    fields
}

fn of((src_ip, dst_ip): (IpAddr, IpAddr), protocol: u8, bytes: u64, tcp_flags: u8) -> Fields {
    let mut fields = Fields { src_ip: Some(src_ip), dst_ip: Some(dst_ip), protocol, ..Fields::default() };
    fields.src.packets.put(1, DELTA);
    fields.src.octets.put(bytes, DELTA);
    fields.src.tcp_flags = tcp_flags;
    fields
}

/// The two highest bits say what the number is: 0 = an interface's SNMP index.
fn interface(number: u32) -> u32 {
    expanded(number >> 30, number & NO_INTERFACE)
}

fn expanded(format: u32, number: u32) -> u32 {
    if format == 0 && number != NO_INTERFACE && number != u32::MAX { number } else { 0 }
}
