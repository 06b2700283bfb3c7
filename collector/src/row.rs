//! A row of the table `events`, and blocks of encoded rows of this and of `flows` (`flow_row.rs`).
//!
//! A row borrows from its event and is encoded once, on the thread that parsed it, as ClickHouse's RowBinary. From there
//! on only bytes travel: they are gathered, sent, and sent again after a failure, and are never made anew. So a row costs no
//! allocation of its own columns, and repeating an insert repeats exactly the same bytes.
//!
//! The columns are declared once, below; a test keeps them equal to `event/fields.toml` and to the table. `message` and
//! `raw` come first, so that a row that the store refuses can be turned into a dead letter without decoding the rest.
//!
//! Limits: a value is cut at the dictionary's length, at a character's end; `message` and `raw` keep the whole.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use event::{Dictionary, Event, Micros, Natives, Value};

use crate::flow_row::FlowColumn;
use crate::row_binary::{Put, put_length};

/// Microseconds of a day.
const DAY: Micros = 24 * 3600 * 1_000_000;
/// Stands for "the source does not say" in the column `syslog_severity`.
const NO_SEVERITY: u8 = 255;

/// Between the values of a native name that stands several times (FIELDS.md).
pub(crate) const VALUES_SEPARATOR: char = '\n';

/// An address of a column, in SQL, as it stands in a line: IPv4 without the beginning that maps it into IPv6. What stands so in the midst
/// of an address (`2001:db8::ffff:1`) or of a text belongs to it.
pub(crate) fn address_text(column: &str) -> String {
    format!("replaceRegexpOne(toString({column}), '^::ffff:', '')")
}

/// Declares the columns: the row, their list, and how each is filled and encoded.
macro_rules! columns {
    ($row:ident, $column:ident, $table:expr; $($name:ident: $type:ty,)*) => {
        /// A row of the table. What is not set is empty.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $row<'a> { $(pub(crate) $name: $type,)* }

        /// A column of the table.
        #[allow(non_camel_case_types, reason = "the names are those of the table")]
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum $column { $($name),* }

        impl $column {
            /// In the order in which rows are encoded.
            pub(crate) const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            pub(crate) fn of(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)*
                    _ => None,
                }
            }
        }

        impl<'a> $row<'a> {
            /// Fills a column that is still empty from a native field. False: it is not, or the value is of no such type.
            pub(crate) fn fill(&mut self, column: $column, value: &'a event::Value<'a>, bytes_max: usize) -> bool {
                use crate::row::Fill as _;
                match column { $($column::$name => self.$name.fill(value, bytes_max),)* }
            }
        }

        impl crate::row::Row for $row<'_> {
            fn partition(&self) -> crate::row::Partition {
                crate::row::Partition::of($table, self.ts, self.retention_days)
            }

            fn record(&self) -> u32 {
                self.record
            }

            fn encode(&self, out: &mut Vec<u8>) {
                use crate::row_binary::Put as _;
                $(self.$name.put(out);)*
            }
        }
    };
}
pub(crate) use columns;

columns! { EventRow, Column, Table::Events;
    message: &'a str,
    raw: &'a [u8],
    ts: Micros,
    ts_received: Micros,
    ts_quality: &'a str,
    kind: &'a str,
    category: &'a str,
    product: &'a str,
    service: &'a str,
    parse_status: &'a str,
    host: &'a str,
    agent: &'a str,
    source: &'a str,
    system_id: &'a str,
    drill_id: &'a str,
    epoch: u64,
    seq: u64,
    record: u32,
    offset: u64,
    sys_level: u8,
    retention_days: u16,
    rules: &'a [&'a str],
    hostname: Cow<'a, str>,
    program: Cow<'a, str>,
    user: Cow<'a, str>,
    user_target: Cow<'a, str>,
    action: Cow<'a, str>,
    outcome: Cow<'a, str>,
    session: Cow<'a, str>,
    process_name: Cow<'a, str>,
    process_path: Cow<'a, str>,
    command_line: Cow<'a, str>,
    working_dir: Cow<'a, str>,
    file_path: Cow<'a, str>,
    http_method: Cow<'a, str>,
    url_path: Cow<'a, str>,
    url_query: Cow<'a, str>,
    user_agent: Cow<'a, str>,
    referrer: Cow<'a, str>,
    pid: u32,
    src_ip: Address,
    dst_ip: Address,
    src_port: u16,
    dst_port: u16,
    http_status: u16,
    http_bytes: u64,
    syslog_severity: SyslogSeverity,
    fields: Fields<'a>,
}

/// An address; unspecified when the source does not say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address(pub(crate) Ipv6Addr);

/// 0 to 7, or [`NO_SEVERITY`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct SyslogSeverity(u8);

/// Native fields that fill no column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields<'a>(Vec<(&'a str, Cow<'a, str>)>);

/// How native fields fill columns: the dictionary's columns by index, each with its place in the row and its length.
#[derive(Clone, Debug)]
pub(crate) struct Filler {
    dictionary: Dictionary,
    columns: Vec<(Column, usize)>,
}

impl Filler {
    /// Fails with the name of a column of the dictionary that the row lacks: a test excludes it.
    pub(crate) fn new(dictionary: Dictionary) -> Result<Self, String> {
        let column = |field: &event::CoreField| {
            let column =
                Column::of(&field.name).ok_or_else(|| format!("no column {} in a row", field.name))?;
            Ok((column, field.length_max.unwrap_or(usize::MAX)))
        };
        let columns = dictionary.fields.iter().map(column).collect::<Result<_, String>>()?;
        Ok(Self { dictionary, columns })
    }

    /// The native names of a Sigma service.
    pub(crate) fn natives(&self, service: &str) -> Natives<'_> {
        self.dictionary.natives(service)
    }

    /// The column that a native field of a Sigma service fills.
    pub(crate) fn column(&self, service: &str, native: &str) -> Option<&str> {
        let index = self.natives(service).column(native)?;
        self.dictionary.fields.get(index).map(|field| &*field.name)
    }

    /// The columns that a native field fills, whatever the service.
    pub(crate) fn columns_of<'n>(&'n self, native: &'n str) -> impl Iterator<Item = &'n str> {
        let fields = self.dictionary.fields.iter();
        let fills =
            move |field: &&event::CoreField| field.native.values().flatten().any(|name| name == native);
        fields.filter(fills).map(|field| &*field.name)
    }

    /// Fills a row's typed columns and `fields` from an event. `format` is the kind of an event without a log source.
    pub(crate) fn fill<'a>(
        &self,
        row: &mut EventRow<'a>,
        event: &'a Event<'a>,
        natives: Natives<'_>,
        format: &'static str,
    ) {
        let source = &event.log_source;
        row.message = &event.message;
        row.ts = event.ts;
        row.ts_quality = event.ts_quality.as_str();
        row.kind =
            [source.service, source.category].into_iter().find(|name| !name.is_empty()).unwrap_or(format);
        row.category = source.category;
        row.product = source.product;
        row.service = source.service;
        row.parse_status = event.status.as_str();
        row.record = event.record;
        for (name, value) in &event.fields {
            let column = natives.column(name).and_then(|index| self.columns.get(index));
            if column.is_none_or(|(column, bytes_max)| !row.fill(*column, value, *bytes_max)) {
                row.fields.push(name, value);
            }
        }
    }
}

/// A row of a table, ready to be encoded as RowBinary.
pub(crate) trait Row {
    fn partition(&self) -> Partition;

    /// The event's record in its batch.
    fn record(&self) -> u32;

    /// Appends the row.
    fn encode(&self, out: &mut Vec<u8>);
}

/// The tables whose rows are gathered. Of either the columns `message` and `raw` come first.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Table {
    Events,
    Flows,
}

/// What decides in which part of which table a row lies: an insert into one partition is atomic.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Partition {
    pub(crate) table: Table,
    day: i64,
    retention_days: u16,
}

impl Table {
    pub(crate) const ALL: [Self; 2] = [Self::Events, Self::Flows];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Flows => "flows",
        }
    }

    /// The columns as an INSERT names them.
    pub(crate) fn column_list(self) -> String {
        match self {
            Self::Events => Column::NAMES.join(", "),
            Self::Flows => FlowColumn::NAMES.join(", "),
        }
    }
}

impl Partition {
    pub(crate) fn of(table: Table, ts: Micros, retention_days: u16) -> Self {
        Self { table, day: ts.div_euclid(DAY), retention_days }
    }
}

/// Encoded rows of one partition.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) partition: Partition,
    pub(crate) bytes: Vec<u8>,
    /// Of each row: where it ends in `bytes`, and the event's record.
    pub(crate) rows: Vec<RowEnd>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RowEnd {
    pub(crate) end: usize,
    pub(crate) record: u32,
}

/// The rows of one batch, by partition. Nearly always there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks(Vec<Block>);

impl Blocks {
    /// Encodes a row.
    pub(crate) fn push(&mut self, row: &impl Row) {
        let partition = row.partition();
        let block = match self.0.iter().position(|block| block.partition == partition) {
            Some(index) => &mut self.0[index],
            None => self.0.push_mut(Block { partition, bytes: Vec::new(), rows: Vec::new() }),
        };
        row.encode(&mut block.bytes);
        block.rows.push(RowEnd { end: block.bytes.len(), record: row.record() });
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.0.iter().map(|block| block.rows.len()).sum()
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|block| block.bytes.len()).sum()
    }

    /// Leaves out the rows of these records.
    pub(crate) fn without(self, records: &[u32]) -> Self {
        let blocks = self.0.into_iter().map(|block| block.without(records));
        Self(blocks.filter(|block| !block.rows.is_empty()).collect())
    }
}

impl IntoIterator for Blocks {
    type Item = Block;
    type IntoIter = std::vec::IntoIter<Block>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Block {
    fn without(self, records: &[u32]) -> Self {
        let mut kept = Self { partition: self.partition, bytes: Vec::new(), rows: Vec::new() };
        let mut start = 0;
        for row in self.rows {
            if !records.contains(&row.record) {
                kept.bytes.extend_from_slice(&self.bytes[start..row.end]);
                kept.rows.push(RowEnd { end: kept.bytes.len(), record: row.record });
            }
            start = row.end;
        }
        kept
    }
}

/// `message` and `raw` of an encoded row.
pub(crate) fn texts(row: &[u8]) -> (&[u8], &[u8]) {
    let (message, rest) = text(row);
    let (raw, _) = text(rest);
    (message, raw)
}

fn text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut length = 0_usize;
    let mut shift = 0;
    for (at, byte) in bytes.iter().enumerate() {
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return bytes[at + 1..].split_at_checked(length).unwrap_or_default();
        }
    }
    Default::default()
}

/// How a native field fills a column of this type.
pub(crate) trait Fill<'a> {
    /// Columns that no native field fills say no.
    fn fill(&mut self, _value: &'a Value<'a>, _bytes_max: usize) -> bool {
        false
    }
}

macro_rules! native_number {
    ($($type:ty),*) => {$(
        impl<'a> Fill<'a> for $type {
            fn fill(&mut self, value: &'a Value<'a>, _bytes_max: usize) -> bool {
                match number(value) {
                    Some(number) if *self == 0 => { *self = number; true }
                    _ => false,
                }
            }
        }
    )*};
}

native_number!(u8, u16, u32, u64, i64);
impl Fill<'_> for &str {}
impl Fill<'_> for &[u8] {}
impl Fill<'_> for &[&str] {}
impl Fill<'_> for Fields<'_> {}

impl<'a> Fill<'a> for Cow<'a, str> {
    fn fill(&mut self, value: &'a Value<'a>, bytes_max: usize) -> bool {
        if !self.is_empty() {
            return false;
        }
        *self = match value.to_text() {
            Cow::Borrowed(text) => Cow::Borrowed(clip(text, bytes_max)),
            Cow::Owned(text) => Cow::Owned(clip(&text, bytes_max).to_owned()),
        };
        true
    }
}

impl Default for Address {
    fn default() -> Self {
        Self(Ipv6Addr::UNSPECIFIED)
    }
}

impl Put for Address {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
}

impl<'a> Fill<'a> for Address {
    fn fill(&mut self, value: &'a Value<'a>, _bytes_max: usize) -> bool {
        let address = value.as_text().and_then(address);
        match address {
            Some(address) if self.0.is_unspecified() => {
                self.0 = address;
                true
            }
            _ => false,
        }
    }
}

impl Default for SyslogSeverity {
    fn default() -> Self {
        Self(NO_SEVERITY)
    }
}

impl Put for SyslogSeverity {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.0);
    }
}

impl<'a> Fill<'a> for SyslogSeverity {
    fn fill(&mut self, value: &'a Value<'a>, _bytes_max: usize) -> bool {
        match number::<u8>(value) {
            Some(severity @ 0..=7) if self.0 == NO_SEVERITY => {
                self.0 = severity;
                true
            }
            _ => false,
        }
    }
}

impl<'a> Fields<'a> {
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, name: &'a str, value: &'a Value<'a>) {
        if *value == Value::Null {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => {
                let values = values.to_mut();
                values.push(VALUES_SEPARATOR);
                values.push_str(&value.to_text());
            }
            None => self.0.push((name, value.to_text())),
        }
    }
}

impl Put for Fields<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.0.len(), out);
        for (name, value) in &self.0 {
            name.put(out);
            value.put(out);
        }
    }
}

/// An address as a log writes it. IPv4 is mapped.
pub(crate) fn address(text: &str) -> Option<Ipv6Addr> {
    match text.trim_matches(['[', ']']).parse().ok()? {
        IpAddr::V4(v4) => Some(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => Some(v6),
    }
}

fn number<N: TryFrom<i64> + std::str::FromStr>(value: &Value<'_>) -> Option<N> {
    match value {
        Value::Int(int) => N::try_from(*int).ok(),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn clip(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn event<'a>(fields: &[(&'a str, Value<'a>)]) -> Event<'a> {
        Event {
            ts: 5 * DAY + 1,
            ts_quality: event::TsQuality::Event,
            record: 7,
            records: 1,
            log_source: event::LogSource { service: "sshd", ..Default::default() },
            status: event::ParseStatus::Parsed,
            message: "một dòng".into(),
            fields_hold_text: false,
            fields: fields.iter().map(|(name, value)| (Cow::Borrowed(*name), value.clone())).collect(),
        }
    }

    fn text(text: &str) -> Value<'_> {
        Value::Text(Cow::Borrowed(text))
    }

    fn filler() -> Filler {
        Filler::new(Dictionary::shipped().unwrap()).unwrap()
    }

    fn fill<'a>(event: &'a Event<'a>, service: &str) -> EventRow<'a> {
        let filler = filler();
        let mut row = EventRow::default();
        filler.fill(&mut row, event, filler.natives(service), "syslog");
        row
    }

    /// The names and types of a table's columns, read from its statement.
    pub(crate) fn table_columns(sql: &str) -> Vec<(String, String)> {
        let body = sql.split_once("\n(\n").unwrap().1.split_once("\n)\n").unwrap().0;
        let lines = body.lines().map(str::trim).filter(|line| !line.starts_with("--") && !line.is_empty());
        lines
            .filter(|line| !line.starts_with("INDEX"))
            .map(|line| {
                let (name, rest) = line.split_once(' ').unwrap();
                let column_type = rest.split(" CODEC").next().unwrap().trim().trim_end_matches(',');
                (name.to_owned(), column_type.to_owned())
            })
            .collect()
    }

    #[test]
    fn dictionary_table_and_row_have_the_same_columns() {
        let dictionary: Vec<(String, String)> = Dictionary::shipped()
            .unwrap()
            .fields
            .into_iter()
            .map(|field| (field.name, field.column_type))
            .collect();
        let table = table_columns(include_str!("../../deploy/clickhouse/002-events.sql"));
        assert_eq!(dictionary, table);
        let mut names: Vec<&str> = dictionary.iter().map(|(name, _)| &**name).collect();
        let mut row = Column::NAMES.to_vec();
        names.sort_unstable();
        row.sort_unstable();
        assert_eq!(names, row);
    }

    #[test]
    fn every_native_field_of_the_dictionary_fills_its_column() {
        for field in Dictionary::shipped().unwrap().fields {
            for (service, natives) in &field.native {
                for native in natives {
                    let values = [text("7"), text("192.0.2.7")];
                    let filled = values.into_iter().any(|value| {
                        let event = event(&[(native, value)]);
                        fill(&event, service).fields.0.is_empty()
                    });
                    assert!(filled, "{native} of {service} does not fill {}", field.name);
                }
            }
        }
    }

    #[test]
    fn fills_columns_once_and_keeps_the_rest_by_native_name() {
        let event = event(&[
            ("src_ip", text("not an address")),
            ("src_ip", text("192.0.2.1")),
            ("src_port", Value::Int(70_000)),
            ("src_port", text("22")),
            ("user", text("an")),
            ("user", text("bình")),
            ("cwd", text("/")),
            ("cwd", text("/tmp")),
            ("none", Value::Null),
        ]);
        let row = fill(&event, "sshd");
        assert_eq!(row.src_ip.0.to_string(), "::ffff:192.0.2.1");
        assert_eq!(row.src_port, 22);
        assert_eq!(row.user, "an");
        assert_eq!(row.kind, "sshd");
        let fields: Vec<(&str, &str)> = row.fields.0.iter().map(|(name, value)| (*name, &**value)).collect();
        let expected =
            [("src_ip", "not an address"), ("src_port", "70000"), ("user", "bình"), ("cwd", "/\n/tmp")];
        assert_eq!(fields, expected);
    }

    #[test]
    fn cuts_a_value_at_the_dictionarys_length_and_not_a_byte_before() {
        for (length, kept) in [(16, 16), (17, 16)] {
            let long = "x".repeat(length);
            let event = event(&[("outcome", text(&long))]);
            assert_eq!(fill(&event, "").outcome.len(), kept);
        }
    }

    #[test]
    fn blocks_part_rows_by_day_and_retention_and_leave_out_records() {
        let event = event(&[]);
        let mut blocks = Blocks::default();
        for (ts, retention_days, record) in
            [(DAY - 1, 30, 0), (DAY, 30, 1), (DAY, 31, 2), (-1, 30, 3), (DAY + 9, 30, 4)]
        {
            let mut row = fill(&event, "");
            (row.ts, row.retention_days, row.record) = (ts, retention_days, record);
            row.raw = b"\xff raw";
            blocks.push(&row);
        }
        let records = |blocks: &Blocks| -> Vec<Vec<u32>> {
            blocks.0.iter().map(|block| block.rows.iter().map(|row| row.record).collect()).collect()
        };
        assert_eq!(records(&blocks), [vec![0], vec![1, 4], vec![2], vec![3]]);
        let kept = blocks.without(&[1, 2]);
        assert_eq!(records(&kept), [vec![0], vec![4], vec![3]]);
        let block = &kept.0[1];
        assert_eq!(block.bytes.len(), block.rows[0].end);
        assert_eq!(texts(&block.bytes), ("một dòng".as_bytes(), &b"\xff raw"[..]));
    }
}
