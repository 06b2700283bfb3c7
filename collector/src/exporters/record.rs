//! A record of an exporter on its way to a flow: its fields as they come, then the flow that they make.
//!
//! What it never does: trust a counter. One that cannot be is kept, and counted as suspect ([`is_suspect`]).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use event::{EndReason, Flow, Micros, Origin, Side};
use netflow_parser::variable_versions::field_value::{DataNumber, FieldValue};

use super::element::Element;
use super::health::Health;
use super::moment::{Clock, Moments, absolute, millis};
use super::sampling::{Sampling, Told};

/// The shortest IP packet: a header of IPv4 without options.
const PACKET_BYTES_MIN: u64 = 20;
/// No line carries more: 800 Gbit/s, in bytes a second ...
const LINE_BYTES_S: u64 = 100_000_000_000;
/// ... and in packets of the shortest frame, 84 bytes on the wire.
const LINE_PACKETS_S: u64 = LINE_BYTES_S / 84;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// What a message says of all its records.
pub(super) struct Context<'a> {
    pub(super) origin: Origin,
    pub(super) exporter: IpAddr,
    pub(super) clock: Clock,
    pub(super) sampling: &'a Sampling,
    /// What the operator says of an exporter that does not say it.
    pub(super) assumed_sampling: u32,
}

/// The fields of a record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields {
    pub(super) src_ip: Option<IpAddr>,
    pub(super) dst_ip: Option<IpAddr>,
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    pub(super) protocol: u8,
    pub(super) icmp: Option<[u8; 2]>,
    pub(super) src: Counts,
    pub(super) dst: Counts,
    pub(super) moments: Moments,
    pub(super) vlan: u16,
    pub(super) input_if: u32,
    pub(super) output_if: u32,
    pub(super) end_reason: u8,
    pub(super) told: Told,
}

/// What one side sent, each number with the rank of the field that it comes from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) octets: Ranked,
    pub(super) packets: Ranked,
    pub(super) tcp_flags: u8,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ranked {
    pub(super) number: u64,
    rank: u8,
}

impl Ranked {
    pub(super) fn put(&mut self, number: u64, rank: u8) {
        // Devices fill the better field with zero when only the other one counts.
        let better = rank > self.rank && (number > 0 || self.number == 0);
        if better || (self.number == 0 && number > 0) {
            *self = Self { number, rank };
        }
    }
}

impl Fields {
    /// Takes one field. A value of a wrong type or length is passed over.
    pub(super) fn put(&mut self, element: Element, value: &FieldValue) {
        match element {
            Element::Other => {}
            Element::SrcAddress => put_address(&mut self.src_ip, value),
            Element::DstAddress => put_address(&mut self.dst_ip, value),
            Element::Start => self.moments.start = moment(value),
            Element::End => self.moments.end = moment(value),
            Element::SystemStart => self.moments.started = moment(value),
            _ => {
                if let Some(number) = number(value) {
                    self.put_number(element, number);
                }
            }
        }
    }

    fn put_number(&mut self, element: Element, number: u64) {
        match element {
            Element::SrcOctets { rank } => self.src.octets.put(number, rank),
            Element::SrcPackets { rank } => self.src.packets.put(number, rank),
            Element::DstOctets { rank } => self.dst.octets.put(number, rank),
            Element::DstPackets { rank } => self.dst.packets.put(number, rank),
            Element::SrcFlags => self.src.tcp_flags = low_byte(number),
            Element::DstFlags => self.dst.tcp_flags = low_byte(number),
            Element::SrcPort => self.src_port = narrow(number),
            Element::DstPort => self.dst_port = narrow(number),
            Element::Protocol => self.protocol = narrow(number),
            Element::Icmp => self.icmp = Some(narrow::<u16>(number).to_be_bytes()),
            Element::IcmpType => self.icmp = Some([narrow(number), self.icmp.unwrap_or_default()[1]]),
            Element::IcmpCode => self.icmp = Some([self.icmp.unwrap_or_default()[0], narrow(number)]),
            Element::Vlan => self.vlan = narrow::<u16>(number) & 0x0FFF,
            Element::Input => self.input_if = narrow(number),
            Element::Output => self.output_if = narrow(number),
            Element::EndReason => self.end_reason = narrow(number),
            element => self.put_rare(element, number),
        }
    }

    fn put_rare(&mut self, element: Element, number: u64) {
        let micros = || Micros::try_from(number).ok();
        match element {
            Element::StartUptime => self.moments.start_uptime_ms = u32::try_from(number).ok(),
            Element::EndUptime => self.moments.end_uptime_ms = u32::try_from(number).ok(),
            Element::StartBeforeExport => self.moments.start_before_export = micros(),
            Element::EndBeforeExport => self.moments.end_before_export = micros(),
            Element::DurationMillis => self.moments.duration = Some(millis(number)),
            Element::DurationMicros => self.moments.duration = micros(),
            Element::Interval => self.told.interval = Some(number),
            Element::Taken => self.told.taken = Some(number),
            Element::Skipped => self.told.skipped = Some(number),
            Element::Population => self.told.population = Some(number),
            Element::Sampler => self.told.sampler = Some(number),
            _ => {}
        }
    }

    /// The flow, if the record has two addresses. `health` counts what is to be known of it.
    pub(super) fn flow(&self, context: &Context<'_>, health: &mut Health) -> Option<Flow<'static>> {
        let (Some(src_ip), Some(dst_ip)) = (self.src_ip, self.dst_ip) else {
            health.other_records += 1;
            return None;
        };
        let span = self.moments.span(&context.clock);
        let told = context.sampling.rate(&self.told, self.input_if);
        let sampling = told.unwrap_or(context.assumed_sampling);
        health.records += 1;
        health.clamped += u64::from(span.clamped);
        health.sampling_unknown += u64::from(sampling == 0);
        health.suspect += u64::from(self.is_suspect(span.end.saturating_sub(span.start)));
        let (src_port, dst_port) = self.ports();
        Some(Flow {
            origin: context.origin,
            start: span.start,
            end: span.end,
            conn_start: span.start,
            part: 0,
            end_reason: end_reason(self.end_reason),
            src_ip,
            dst_ip,
            src_port,
            dst_port,
            protocol: self.protocol,
            src: self.src.side(sampling),
            dst: self.dst.side(sampling),
            conn_state: "",
            history: "",
            packet_bytes_min: 0,
            packet_bytes_max: 0,
            vlan: self.vlan,
            tunnel: "",
            app: "",
            server_name: "",
            ja4: "",
            exporter: Some(context.exporter),
            sampling,
            input_if: self.input_if,
            output_if: self.output_if,
        })
    }

    /// Of ICMP: type and code, which many exporters put where the destination's port stands.
    fn ports(&self) -> (u16, u16) {
        if !matches!(self.protocol, ICMP | ICMP6) {
            return (self.src_port, self.dst_port);
        }
        let [kind, code] = self.icmp.filter(|told| *told != [0, 0]).unwrap_or(self.dst_port.to_be_bytes());
        (kind.into(), code.into())
    }

    /// Whether the counters cannot be, as they were exported.
    fn is_suspect(&self, duration: Micros) -> bool {
        self.src.is_suspect(duration) || self.dst.is_suspect(duration)
    }
}

impl Counts {
    fn side(&self, sampling: u32) -> Side {
        let rate = u64::from(sampling.max(1));
        Side {
            packets: self.packets.number.saturating_mul(rate),
            bytes: self.octets.number.saturating_mul(rate),
            tcp_flags: self.tcp_flags,
            ..Side::default()
        }
    }

    fn is_suspect(&self, duration: Micros) -> bool {
        let (packets, bytes) = (self.packets.number, self.octets.number);
        // Clocks of exporters tick in milliseconds, sometimes in seconds: what lasts nothing may have lasted a second.
        let seconds = u64::try_from(duration / 1_000_000).unwrap_or(0).saturating_add(1);
        let short = packets > 0 && bytes > 0 && bytes / packets < PACKET_BYTES_MIN;
        short
            || bytes > LINE_BYTES_S.saturating_mul(seconds)
            || packets > LINE_PACKETS_S.saturating_mul(seconds)
    }
}

/// flowEndReason (RFC 5102 section 5.11.3).
fn end_reason(number: u8) -> EndReason {
    match number {
        1 => EndReason::Idle,
        2 => EndReason::Active,
        3 => EndReason::End,
        4 => EndReason::Forced,
        5 => EndReason::LackOfResources,
        _ => EndReason::Unknown,
    }
}

/// Templates with addresses of both kinds leave those of the other kind unspecified.
fn put_address(place: &mut Option<IpAddr>, value: &FieldValue) {
    let address = match value {
        FieldValue::Ip4Addr(address) => IpAddr::V4(*address),
        FieldValue::Ip6Addr(address) => IpAddr::V6(*address),
        FieldValue::Vec(bytes) => match address(bytes) {
            Some(address) => address,
            None => return,
        },
        _ => return,
    };
    if place.is_none_or(|old| old.is_unspecified()) && (place.is_none() || !address.is_unspecified()) {
        *place = Some(address);
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into());
    v4().or_else(|| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()))
}

fn moment(value: &FieldValue) -> Option<Micros> {
    match value {
        FieldValue::Duration(duration) => Some(absolute(duration)),
        _ => None,
    }
}

/// A number, however wide it was sent (RFC 7011 section 6.2: reduced-size encoding).
fn number(value: &FieldValue) -> Option<u64> {
    match value {
        FieldValue::DataNumber(DataNumber::Vec(bytes)) | FieldValue::Vec(bytes) => big_endian(bytes),
        FieldValue::DataNumber(number) => number.as_u64(),
        FieldValue::ProtocolType(protocol) => Some(u8::from(*protocol).into()),
        FieldValue::TcpControlBits(bits, _) => Some(u16::from(*bits).into()),
        FieldValue::FlowEndReason(reason) => Some(u8::from(*reason).into()),
        FieldValue::Duration(_) => value.as_u64(),
        _ => None,
    }
}

fn big_endian(bytes: &[u8]) -> Option<u64> {
    let fits = (1..=8).contains(&bytes.len());
    fits.then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// A number that does not fit is none.
fn narrow<T: TryFrom<u64> + Default>(number: u64) -> T {
    T::try_from(number).unwrap_or_default()
}

/// Of TCP's flags the eight that a flow keeps.
fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::super::element::DELTA;
    use super::*;

    const NOW: Micros = 1_700_000_000_000_000;

    fn flow_of(fields: &Fields, assumed_sampling: u32) -> (Option<Flow<'static>>, Health) {
        let clock = Clock { now: NOW, export: NOW, uptime_ms: None, started: None };
        let sampling = Sampling::default();
        let exporter = IpAddr::from([192, 0, 2, 1]);
        let context =
            Context { origin: Origin::Ipfix, exporter, clock, sampling: &sampling, assumed_sampling };
        let mut health = Health::default();
        (fields.flow(&context, &mut health), health)
    }

    fn fields(packets: u64, bytes: u64) -> Fields {
        let address = Some(IpAddr::from([192, 0, 2, 9]));
        let mut fields = Fields { src_ip: address, dst_ip: address, protocol: 6, ..Fields::default() };
        fields.src.packets.put(packets, DELTA);
        fields.src.octets.put(bytes, DELTA);
        fields
    }

    #[test]
    fn multiplies_counters_by_the_rate_that_is_known() {
        let mut told = fields(3, 300);
        told.told.interval = Some(1_000);
        let (flow, health) = flow_of(&told, 7);
        let flow = flow.unwrap();
        assert_eq!((flow.src.packets, flow.src.bytes, flow.sampling), (3_000, 300_000, 1_000));
        assert_eq!((health.records, health.sampling_unknown), (1, 0));
        assert_eq!(flow_of(&fields(3, 300), 7).0.unwrap().src.packets, 21);
        let (flow, health) = flow_of(&fields(3, 300), 0);
        assert_eq!((flow.unwrap().sampling, health.sampling_unknown), (0, 1));
    }

    #[test]
    fn flags_counters_that_cannot_be_and_keeps_the_record() {
        let suspect = |packets, bytes| flow_of(&fields(packets, bytes), 1).1.suspect;
        assert_eq!(suspect(10, 200), 0, "20 bytes a packet");
        assert_eq!(suspect(10, 199), 1);
        assert_eq!(suspect(16_777_216, 40), 1, "one packet in the wrong byte order");
        assert_eq!(suspect(LINE_PACKETS_S, LINE_BYTES_S), 0);
        assert_eq!(suspect(1, LINE_BYTES_S + 1), 1);
        assert_eq!(suspect(0, 0), 0);
        assert_eq!(suspect(u64::MAX, u64::MAX), 1);
    }

    #[test]
    fn finds_type_and_code_of_icmp_where_exporters_put_them() {
        let ports = |icmp, dst_port, protocol| {
            let flow = flow_of(&Fields { icmp, dst_port, protocol, ..fields(1, 84) }, 1).0.unwrap();
            (flow.src_port, flow.dst_port)
        };
        assert_eq!(ports(Some([3, 1]), 0, ICMP), (3, 1));
        assert_eq!(ports(Some([0, 0]), 0x0800, ICMP), (8, 0));
        assert_eq!(ports(None, 0x8000, ICMP6), (128, 0));
        assert_eq!(ports(None, 0x0800, 17), (0, 0x0800));
    }

    #[test]
    fn takes_the_best_of_several_counters() {
        let mut ranked = Ranked::default();
        for (number, rank) in [(5, 1), (9, 2), (0, 4), (7, 1)] {
            ranked.put(number, rank);
        }
        assert_eq!(ranked.number, 9, "a better field that is empty does not replace one that counts");
        ranked.put(8, 4);
        assert_eq!(ranked.number, 8);
    }

    #[test]
    fn counts_what_has_no_two_addresses() {
        let (flow, health) = flow_of(&Fields { dst_ip: None, ..fields(1, 40) }, 1);
        assert_eq!((flow, health.other_records, health.records), (None, 1, 0));
    }

    #[test]
    fn reads_numbers_of_any_width() {
        assert_eq!(number(&FieldValue::Vec(vec![1, 0, 0, 0, 0])), Some(1 << 32));
        assert_eq!(number(&FieldValue::DataNumber(DataNumber::Vec(vec![2; 6]))), Some(0x0202_0202_0202));
        assert_eq!(number(&FieldValue::Vec(vec![0; 9])), None);
        assert_eq!(number(&FieldValue::Vec(vec![])), None);
        assert_eq!(narrow::<u16>(70_000), 0);
    }
}
