//! A row of the table `flows`.
//!
//! A line of a flow (`event/FLOWS.md`) names its fields as the columns are named, so that the row is filled without a table of
//! names. What the collector adds: the systems and levels of both ends, and the direction between them.

use std::borrow::Cow;

use event::{Dictionary, DictionaryError, Event, Micros};

use crate::row::{Address, Fields, Table, columns};

columns! { FlowRow, FlowColumn, Table::Flows;
    message: &'a str,
    raw: &'a [u8],
    ts: Micros,
    ts_received: Micros,
    ts_quality: &'a str,
    ts_end: Micros,
    ts_conn: Micros,
    duration_us: u64,
    part: u32,
    origin: Cow<'a, str>,
    end_reason: Cow<'a, str>,
    host: &'a str,
    agent: &'a str,
    source: &'a str,
    exporter: Address,
    src_ip: Address,
    dst_ip: Address,
    src_port: u16,
    dst_port: u16,
    protocol: u8,
    proto: Cow<'a, str>,
    community_id: Cow<'a, str>,
    src_packets: u64,
    dst_packets: u64,
    src_bytes: u64,
    dst_bytes: u64,
    src_frame_bytes: u64,
    dst_frame_bytes: u64,
    src_payload_bytes: u64,
    dst_payload_bytes: u64,
    src_retransmits: u32,
    dst_retransmits: u32,
    src_tcp_flags: u8,
    dst_tcp_flags: u8,
    conn_state: Cow<'a, str>,
    history: Cow<'a, str>,
    packet_bytes_min: u32,
    packet_bytes_max: u32,
    vlan: u16,
    tunnel: Cow<'a, str>,
    app: Cow<'a, str>,
    server_name: Cow<'a, str>,
    ja4: Cow<'a, str>,
    sampling: u32,
    input_if: u32,
    output_if: u32,
    direction: &'a str,
    src_system_id: &'a str,
    src_sys_level: u8,
    dst_system_id: &'a str,
    dst_sys_level: u8,
    drill_id: &'a str,
    epoch: u64,
    seq: u64,
    record: u32,
    offset: u64,
    retention_days: u16,
    rules: &'a [&'a str],
    fields: Fields<'a>,
}

impl FlowColumn {
    /// The column that a field of that name fills.
    pub(crate) fn named(field: &str) -> Option<&'static str> {
        Self::NAMES.iter().find(|name| **name == field).copied()
    }

    /// The time, which the event has, and what the collector adds for the rules and writes into the row itself (`ends.rs`).
    fn is_filled_apart(self) -> bool {
        matches!(
            self,
            Self::ts
                | Self::direction
                | Self::src_system_id
                | Self::src_sys_level
                | Self::dst_system_id
                | Self::dst_sys_level
        )
    }
}

/// How fields fill columns: each column's length.
#[derive(Clone, Debug)]
pub(crate) struct FlowFiller {
    /// In the order of [`FlowColumn`].
    bytes_max: Vec<usize>,
}

impl FlowFiller {
    /// Reads the lengths of the dictionary of flows.
    pub(crate) fn new() -> Result<Self, DictionaryError> {
        let dictionary = Dictionary::flows()?;
        let of = |name: &&str| {
            let field = dictionary.index(name).and_then(|index| dictionary.fields.get(index));
            field.and_then(|field| field.length_max).unwrap_or(usize::MAX)
        };
        Ok(Self { bytes_max: FlowColumn::NAMES.iter().map(of).collect() })
    }

    /// Fills a row from an event that is a flow.
    pub(crate) fn fill<'a>(&self, row: &mut FlowRow<'a>, event: &'a Event<'a>) {
        row.message = &event.message;
        row.ts = event.ts;
        row.ts_quality = event.ts_quality.as_str();
        row.record = event.record;
        for (name, value) in &event.fields {
            let column = FlowColumn::of(name);
            if column.is_some_and(FlowColumn::is_filled_apart) {
                continue;
            }
            let bytes_max = |column| self.bytes_max.get(column as usize).copied().unwrap_or(usize::MAX);
            if column.is_none_or(|column| !row.fill(column, value, bytes_max(column))) {
                row.fields.push(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::table_columns;

    #[test]
    fn dictionary_table_and_row_have_the_same_columns() {
        let fields = Dictionary::flows().unwrap().fields;
        let dictionary: Vec<_> = fields.into_iter().map(|field| (field.name, field.column_type)).collect();
        let mut table = table_columns(include_str!("../../deploy/clickhouse/007-flows.sql"));
        let ephemeral: Vec<_> = table.drain(..2).collect();
        assert_eq!(ephemeral.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["message", "raw"]);
        assert_eq!(dictionary, table);
        let mut names: Vec<&str> =
            dictionary.iter().map(|(name, _)| &**name).chain(["message", "raw"]).collect();
        let mut row = FlowColumn::NAMES.to_vec();
        names.sort_unstable();
        row.sort_unstable();
        assert_eq!(names, row);
    }

    #[test]
    fn every_field_of_a_written_flow_fills_a_column() {
        let side = event::Side {
            packets: 1,
            bytes: 2,
            frame_bytes: 3,
            payload_bytes: 4,
            retransmits: 5,
            tcp_flags: 6,
        };
        let flow = event::Flow {
            origin: event::Origin::Ipfix,
            start: 1_795_400_107_000_000,
            end: 1_795_400_107_000_005,
            conn_start: 1_795_400_106_000_000,
            part: 2,
            end_reason: event::EndReason::Active,
            src_ip: "192.0.2.1".parse().unwrap(),
            dst_ip: "2001:db8::1".parse().unwrap(),
            src_port: 7,
            dst_port: 8,
            protocol: 6,
            src: side,
            dst: side,
            conn_state: "S1",
            history: "ShA",
            packet_bytes_min: 40,
            packet_bytes_max: 1500,
            vlan: 9,
            tunnel: "gre",
            app: "tls",
            server_name: "example.vn",
            ja4: "t13d",
            exporter: Some("192.0.2.9".parse().unwrap()),
            sampling: 100,
            input_if: 3,
            output_if: 4,
        };
        let mut line = Vec::new();
        flow.write("1:id", &mut line);
        let record = event::Record { time: flow.end, offset: 0, bytes: line.trim_ascii_end() };
        let header = event::Header { format: event::Format::Flow, ..event::Header::default() };
        let batch = event::Batch::new(header, [record]).unwrap();
        let events = event::parse_batch(&batch);
        let mut row = FlowRow::default();
        FlowFiller::new().unwrap().fill(&mut row, &events[0]);
        assert_eq!(
            (row.ts, row.ts_end, row.ts_conn, row.duration_us),
            (flow.start, flow.end, flow.conn_start, 5)
        );
        assert_eq!((&*row.proto, row.protocol, row.src_port, row.dst_retransmits), ("tcp", 6, 7, 5));
        assert_eq!(row.dst_ip.0, "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap());
        assert_eq!((&*row.community_id, row.sampling, row.output_if), ("1:id", 100, 4));
        assert!(row.fields.is_empty(), "{:?}", row.fields);
    }
}
