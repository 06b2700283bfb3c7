//! NetFlow 5, NetFlow 9 (RFC 3954) and IPFIX (RFC 7011): the messages of one stream, from bytes to flows.
//!
//! A stream is what shares templates and a sequence: an exporter's address and port with an observation domain (a source id, an
//! engine). Data that come before their template are kept for a while and read when it comes.
//!
//! Limits, each of one stream: templates ([`TEMPLATES_MAX`], of each kind), fields of a template ([`FIELDS_MAX`]), sets that wait
//! ([`WAITING_BYTES_MAX`], [`WAITING_TTL`]), samplers (`sampling.rs`). What is over a limit is counted, or evicts the least used.

use std::net::IpAddr;
use std::time::Duration;

use event::{Flow, Micros, Origin};
use netflow_parser::static_versions::v5::{self, V5};
use netflow_parser::variable_versions::ipfix::{self, IPFix};
use netflow_parser::variable_versions::v9::{self, ScopeDataField, V9};
use netflow_parser::{
    CacheMetrics, ConfigError, IpfixFlowRecord, NetflowPacket, NetflowParser, PendingFlowsConfig, V9FieldPair,
};

use super::element::{DELTA, Element};
use super::health::Health;
use super::moment::{Clock, seconds};
use super::record::{Context, Fields};
use super::sampling::{Sampling, Scope, Told};
use super::sequence::{Sequence, Unit, Verdict};

/// Templates of one kind: firewalls with events have some dozens.
const TEMPLATES_MAX: usize = 128;
/// Fields of a template: the longest in the field have about a hundred.
const FIELDS_MAX: usize = 512;
/// Bytes of a record as its template states them: no more fit into a message (RFC 7011, section 3.1). A field of variable length
/// states 65,535 by itself (section 7).
const RECORD_BYTES_MAX: usize = u16::MAX as usize;
/// Records of a set: 64 KiB hold no more of 4 bytes.
const SET_RECORDS_MAX: usize = 16 * 1024;
/// Numbers of sets from here on are those of templates: the set holds records (RFC 7011, section 3.4.1).
const DATA_SETS: u16 = 256;
/// Sets without a template: their bytes ...
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// ... how many of one template ...
const WAITING_SETS_MAX: usize = 256;
/// ... of how many templates ...
const WAITING_TEMPLATES_MAX: usize = 32;
/// ... and how long they wait: exporters repeat templates every minute to every half hour.
const WAITING_TTL: Duration = Duration::from_secs(1_800);
/// The first two bits of NetFlow 5's sampling field are a mode.
const V5_INTERVAL: u16 = 0x3FFF;

/// What shares templates and a sequence.
pub(super) struct Stream {
    parser: NetflowParser,
    sequence: Option<Sequence>,
    sampling: Sampling,
    started: Option<Micros>,
    waiting: Waiting,
}

/// Who sent a message, and when it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    pub(super) exporter: IpAddr,
    pub(super) now: Micros,
    pub(super) assumed_sampling: u32,
}

/// What the parser's cache of sets without a template has done so far.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    kept: u64,
    read: u64,
    dropped: u64,
}

/// A message under way.
struct Reading<'a> {
    receipt: Receipt,
    health: Health,
    sink: &'a mut dyn FnMut(&Flow<'static>),
    /// Records of the message, options included.
    records: u32,
}

impl Stream {
    pub(super) fn new() -> Result<Self, ConfigError> {
        let mut waiting = PendingFlowsConfig::with_ttl(WAITING_TEMPLATES_MAX, WAITING_TTL);
        waiting.max_entries_per_template = WAITING_SETS_MAX;
        waiting.max_total_bytes = WAITING_BYTES_MAX;
        let parser = NetflowParser::builder()
            .with_cache_size(TEMPLATES_MAX)
            .with_max_field_count(FIELDS_MAX)
            .with_max_template_total_size(RECORD_BYTES_MAX)
            .with_max_records_per_flowset(SET_RECORDS_MAX)
            .with_pending_flows(waiting)
            .with_allowed_versions(&[5, 9, 10])
            .build()?;
        let (sampling, waiting) = (Sampling::default(), Waiting::default());
        Ok(Self { parser, sequence: None, sampling, started: None, waiting })
    }

    /// Reads a datagram, or a message of a TCP session.
    pub(super) fn read(
        &mut self,
        message: &[u8],
        receipt: Receipt,
        sink: &mut dyn FnMut(&Flow<'static>),
    ) -> Health {
        let result = self.parser.parse_bytes(message);
        let mut reading = Reading { receipt, health: Health::default(), sink, records: 0 };
        let whole = result.error.is_none() && !result.packets.is_empty();
        reading.health.malformed = u64::from(!whole);
        let given = result.packets.iter().map(sets_given).sum();
        reading.health.sets_unread = sets_sent(message).saturating_sub(given);
        let counted = self.count_waiting(&mut reading.health) && whole;
        for packet in &result.packets {
            reading.records = 0;
            let (number, unit) = match packet {
                NetflowPacket::V5(packet) => self.v5(packet, &mut reading),
                NetflowPacket::V9(packet) => self.v9(packet, &mut reading),
                NetflowPacket::IPFix(packet) => self.ipfix(packet, &mut reading),
                _ => continue,
            };
            let sequence = self.sequence.get_or_insert(Sequence::new(unit));
            let verdict = sequence.came(number, counted.then_some(reading.records));
            reading.health.judge(verdict);
        }
        reading.health
    }

    /// Takes note of sets that wait, or waited. False: the records of this message cannot be told from those that waited.
    fn count_waiting(&mut self, health: &mut Health) -> bool {
        let old = self.waiting;
        let of = |metrics: CacheMetrics| Waiting {
            kept: metrics.pending_cached,
            read: metrics.pending_replayed,
            dropped: metrics.pending_dropped.saturating_add(metrics.pending_replay_failed),
        };
        let (v9, ipfix) =
            (of(self.parser.v9_cache_info().metrics), of(self.parser.ipfix_cache_info().metrics));
        self.waiting = Waiting {
            kept: v9.kept + ipfix.kept,
            read: v9.read + ipfix.read,
            dropped: v9.dropped + ipfix.dropped,
        };
        health.sets_waiting = self.waiting.kept.saturating_sub(old.kept);
        health.sets_read_late = self.waiting.read.saturating_sub(old.read);
        health.sets_dropped = self.waiting.dropped.saturating_sub(old.dropped);
        health.sets_waiting + health.sets_read_late + health.sets_dropped == 0
    }

    fn v5(&mut self, packet: &V5, reading: &mut Reading<'_>) -> (u32, Unit) {
        let header = &packet.header;
        let export = seconds(header.unix_secs.into()).saturating_add(Micros::from(header.unix_nsecs / 1_000));
        let clock = self.clock(reading, export, Some(header.sys_up_time));
        let context = self.context(Origin::NetflowV5, clock, reading);
        let told =
            Told { interval: Some((header.sampling_interval & V5_INTERVAL).into()), ..Told::default() };
        for record in &packet.flowsets {
            reading.emit(&v5_fields(record, told), &context);
        }
        (header.flow_sequence, Unit::Records)
    }

    fn v9(&mut self, packet: &V9, reading: &mut Reading<'_>) -> (u32, Unit) {
        let header = &packet.header;
        let clock = self.clock(reading, seconds(header.unix_secs.into()), Some(header.sys_up_time));
        for set in &packet.flowsets {
            match &set.body {
                v9::FlowSetBody::Data(data) => self.v9_data(data, Origin::NetflowV9, clock, reading),
                v9::FlowSetBody::OptionsData(data) => self.v9_options(data, reading),
                v9::FlowSetBody::Template(set) => reading.templates(set.templates.len()),
                v9::FlowSetBody::OptionsTemplate(set) => reading.templates(set.templates.len()),
                v9::FlowSetBody::NoTemplate(_) | v9::FlowSetBody::Empty => {}
            }
        }
        (header.sequence_number, Unit::Datagrams)
    }

    fn v9_data(&self, data: &v9::Data, origin: Origin, clock: Clock, reading: &mut Reading<'_>) {
        let context = self.context(origin, clock, reading);
        for record in &data.fields {
            reading.emit(&v9_fields(record), &context);
        }
    }

    fn v9_options(&mut self, data: &v9::OptionsData, reading: &mut Reading<'_>) {
        for record in &data.fields {
            let fields = v9_fields(&record.options_fields);
            let interface = record.scope_fields.iter().find_map(|scope| match scope {
                ScopeDataField::Interface(bytes) => interface(bytes),
                _ => None,
            });
            self.learn(&fields, interface, reading);
        }
    }

    fn ipfix(&mut self, packet: &IPFix, reading: &mut Reading<'_>) -> (u32, Unit) {
        let header = &packet.header;
        let clock = self.clock(reading, seconds(header.export_time.into()), None);
        for set in &packet.flowsets {
            match &set.body {
                ipfix::FlowSetBody::Data(data) => {
                    let context = self.context(Origin::Ipfix, clock, reading);
                    for record in &data.fields {
                        reading.emit(&ipfix_fields(record), &context);
                    }
                }
                ipfix::FlowSetBody::OptionsData(data) => {
                    for record in &data.fields {
                        self.learn(&ipfix_fields(record), None, reading);
                    }
                }
                ipfix::FlowSetBody::V9Data(data) => self.v9_data(data, Origin::Ipfix, clock, reading),
                ipfix::FlowSetBody::V9OptionsData(data) => self.v9_options(data, reading),
                ipfix::FlowSetBody::NoTemplate(_) | ipfix::FlowSetBody::Empty => {}
                template => reading.templates(templates(template)),
            }
        }
        (header.sequence_number, Unit::Records)
    }

    /// An options record: what it says of sampling and of the exporter's start.
    fn learn(&mut self, fields: &Fields, interface: Option<u32>, reading: &mut Reading<'_>) {
        let interface = interface.or((fields.input_if != 0).then_some(fields.input_if));
        let scope = interface.map_or(Scope::Domain, Scope::Interface);
        self.sampling.learn(scope, &fields.told);
        self.started = fields.moments.started.or(self.started);
        reading.records = reading.records.saturating_add(1);
        reading.health.other_records += 1;
    }

    fn clock(&self, reading: &Reading<'_>, export: Micros, uptime_ms: Option<u32>) -> Clock {
        Clock { now: reading.receipt.now, export, uptime_ms, started: self.started }
    }

    fn context(&self, origin: Origin, clock: Clock, reading: &Reading<'_>) -> Context<'_> {
        let Receipt { exporter, assumed_sampling, .. } = reading.receipt;
        Context { origin, exporter, clock, sampling: &self.sampling, assumed_sampling }
    }
}

impl Reading<'_> {
    fn emit(&mut self, fields: &Fields, context: &Context<'_>) {
        self.records = self.records.saturating_add(1);
        if let Some(flow) = fields.flow(context, &mut self.health) {
            (self.sink)(&flow);
        }
    }

    fn templates(&mut self, number: usize) {
        self.health.templates += u64::try_from(number).unwrap_or(u64::MAX);
    }
}

impl Health {
    /// Adds what a sequence number told.
    pub(super) fn judge(&mut self, verdict: Verdict) {
        self.missing += u64::from(verdict.missing);
        self.reordered += u64::from(verdict.reordered);
        self.restarts += u64::from(verdict.restarted);
    }
}

/// The sets of records in a datagram, or message, by their headers: the parser leaves out in silence what it cannot read. IPFIX
/// messages may follow one another (RFC 7011, section 3.1); those of NetFlow 9 end with the datagram (RFC 3954, section 5.1).
fn sets_sent(mut message: &[u8]) -> u64 {
    let mut sent = 0;
    while let Some((version, length)) = word(message, 0).zip(word(message, 2)) {
        let (header_bytes, end) = match version {
            9 => (20, message.len()),
            10 => (16, usize::from(length).clamp(16, message.len().max(16))),
            _ => break,
        };
        let mut sets = message.get(header_bytes..end).unwrap_or_default();
        while let Some((id, length)) = word(sets, 0).zip(word(sets, 2)).filter(|(_, length)| *length >= 4) {
            sent += u64::from(id >= DATA_SETS && length > 4);
            sets = sets.get(usize::from(length)..).unwrap_or_default();
        }
        message = message.get(end..).unwrap_or_default();
    }
    sent
}

/// The sets of records that the parser gave, and those that it keeps for their template.
fn sets_given(packet: &NetflowPacket) -> u64 {
    let given = match packet {
        NetflowPacket::V9(packet) => packet
            .flowsets
            .iter()
            .filter(|set| {
                let unread = matches!(&set.body, v9::FlowSetBody::Data(data) if data.fields.is_empty());
                set.header.flowset_id >= DATA_SETS && !unread
            })
            .count(),
        NetflowPacket::IPFix(packet) => packet
            .flowsets
            .iter()
            .filter(|set| {
                let unread = matches!(&set.body, ipfix::FlowSetBody::Data(data) if data.fields.is_empty());
                set.header.header_id >= DATA_SETS && !unread
            })
            .count(),
        _ => 0,
    };
    u64::try_from(given).unwrap_or(u64::MAX)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn v5_fields(record: &v5::FlowSet, told: Told) -> Fields {
    let mut fields = Fields {
        src_ip: Some(record.src_addr.into()),
        dst_ip: Some(record.dst_addr.into()),
        src_port: record.src_port,
        dst_port: record.dst_port,
        protocol: record.protocol_number,
        input_if: record.input.into(),
        output_if: record.output.into(),
        told,
        ..Fields::default()
    };
    fields.src.packets.put(record.d_pkts.into(), DELTA);
    fields.src.octets.put(record.d_octets.into(), DELTA);
    fields.src.tcp_flags = record.tcp_flags;
    fields.moments.start_uptime_ms = Some(record.first);
    fields.moments.end_uptime_ms = Some(record.last);
    fields
}

fn v9_fields(record: &[V9FieldPair]) -> Fields {
    let mut fields = Fields::default();
    for (field, value) in record {
        fields.put(Element::v9(*field), value);
    }
    fields
}

fn ipfix_fields(record: &IpfixFlowRecord) -> Fields {
    let mut fields = Fields::default();
    for (field, value) in record {
        fields.put(Element::ipfix(*field), value);
    }
    fields
}

fn interface(bytes: &[u8]) -> Option<u32> {
    let fits = (1..=4).contains(&bytes.len());
    fits.then(|| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

fn templates(set: &ipfix::FlowSetBody) -> usize {
    match set {
        ipfix::FlowSetBody::Templates(templates) => templates.len(),
        ipfix::FlowSetBody::V9Templates(templates) => templates.len(),
        ipfix::FlowSetBody::OptionsTemplates(templates) => templates.len(),
        ipfix::FlowSetBody::V9OptionsTemplates(templates) => templates.len(),
        _ => 1,
    }
}
