//! The batch on the wire: between our agents and our collectors, and as the value of a Kafka record.
//!
//! `WIRE.md` documents each field. A batch is self-contained: a versioned header in clear, then one zstd frame of records.
//! On a TCP stream each message stands behind its length (4 bytes, big-endian); the reader refuses a length above
//! [`FRAME_BYTES_MAX`] before it allocates. What stands here never reads from a socket.
//!
//! Identity: (`agent`, `epoch`, `seq`). An agent numbers its batches from 1 without gaps; `epoch` is a random number it
//! drew when its state was made, so that an agent set up anew is not taken for the old one. The same identity always
//! carries the same records: that is what makes a repeated batch harmless.

use thiserror::Error;

use crate::Micros;
use crate::inflate::inflate;
use crate::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, HEADER_TEXT_BYTES_MAX, RECORD_BYTES_MAX};
use crate::varint::{Reader, push_text, push_varint, push_zigzag};

/// First bytes of every message: "VG" and the version of the format.
const MAGIC: [u8; 3] = [b'V', b'G', 1];
const KIND_BATCH: u8 = b'B';
const KIND_ACK: u8 = b'A';
const KIND_REFUSE: u8 = b'R';
const FLAG_RESENT: u8 = 1;

/// Why bytes are not a message.
#[derive(Debug, Error, Eq, PartialEq)]
pub enum WireError {
    #[error("{what} at byte {offset}: truncated, {need} bytes expected, {have} there")]
    Truncated { what: &'static str, offset: usize, need: usize, have: usize },
    #[error("{what} before byte {offset}: expected {expected}")]
    Malformed { what: &'static str, offset: usize, expected: &'static str },
    #[error("{what}: {have} is above the limit of {max}")]
    TooLarge { what: &'static str, max: usize, have: u64 },
    #[error("{what}: {stated} stated, {found} found")]
    Mismatch { what: &'static str, stated: u64, found: u64 },
}

/// How the records of a source are to be read.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Format {
    /// Found out line by line.
    #[default]
    Auto,
    /// RFC 5424 or RFC 3164, then the program's own message.
    Syslog,
    /// Linux audit records, several to an event.
    Auditd,
    /// nginx' and Apache's combined access log.
    Web,
    /// One JSON object a line.
    Json,
    /// One OTLP log record as a JSON object; made by the collector's OTLP intake.
    Otlp,
    /// One record of a flow or of its first bytes as a JSON object; made by the agent's capture.
    Flow,
}

/// What a batch says of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Header {
    /// The host that the agent's certificate is for.
    pub agent: String,
    /// Drawn at random when the agent's state was made.
    pub epoch: u64,
    /// From 1, without gaps, within an epoch.
    pub seq: u64,
    /// The agent may have sent this batch before: the collector asks the store before it inserts.
    pub resent: bool,
    /// Where the records stood: the path of a file.
    pub source: String,
    /// How they are to be read.
    pub format: Format,
    /// Sigma log source that the agent's configuration gives to the source; empty parts are left to the parser.
    pub category: String,
    pub product: String,
    pub service: String,
    /// The drill that made the records; empty for real ones.
    pub drill_id: String,
    /// Time of the batch, to which the times of its records are relative.
    pub time_base: Micros,
    /// The source's offset from UTC in seconds, for times that name no zone.
    pub utc_offset_s: i32,
    /// How many records the body holds.
    pub records: u32,
    /// zstd dictionary that the body needs; 0 = none.
    pub dictionary_id: u32,
    /// XXH3-64 of the decompressed body.
    pub checksum: u64,
}

/// One line, where it stood and when it was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record<'a> {
    /// When the agent read it.
    pub time: Micros,
    /// Byte offset in the source.
    pub offset: u64,
    /// The line without its line end.
    pub bytes: &'a [u8],
}

/// A decoded batch. It owns its body; the records borrow from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub header: Header,
    body: Vec<u8>,
}

/// The collector's answer to a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// The batch is stored, or dead-lettered: the agent forgets it.
    Ack { seq: u64 },
    /// The batch is not taken, and the connection ends: another host's batch, or bytes that are no batch.
    Refuse { seq: u64, reason: String },
}

/// Makes frames. Keeps its buffers and zstd's context from batch to batch.
pub struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
    body: Vec<u8>,
}

impl Encoder {
    /// `level` is zstd's: 1 for batches of about 1,000 records, 3 where the line is the bottleneck.
    pub fn new(level: i32) -> std::io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Compressor::new(level)?, body: Vec::new() })
    }

    /// The message of a batch, without the length before it. `records` and `checksum` of `header` are set from the records.
    pub fn encode<'r>(
        &mut self,
        header: &mut Header,
        records: impl IntoIterator<Item = Record<'r>>,
    ) -> Result<Vec<u8>, WireError> {
        header.records = encode_body(&mut self.body, header.time_base, records)?;
        header.checksum = xxhash_rust::xxh3::xxh3_64(&self.body);
        let mut out = Vec::with_capacity(self.body.len().saturating_div(4).saturating_add(256));
        encode_header(&mut out, header, self.body.len());
        let body = self.zstd.compress(&self.body).map_err(|_| WireError::Malformed {
            what: "body",
            offset: 0,
            expected: "room for zstd's context",
        })?;
        out.extend_from_slice(&body);
        Ok(out)
    }
}

impl Batch {
    /// A batch made in this process, not received: `records` and `checksum` of the header are set.
    pub fn new<'r>(
        mut header: Header,
        records: impl IntoIterator<Item = Record<'r>>,
    ) -> Result<Self, WireError> {
        let mut body = Vec::new();
        header.records = encode_body(&mut body, header.time_base, records)?;
        header.checksum = xxhash_rust::xxh3::xxh3_64(&body);
        Ok(Self { header, body })
    }

    /// Decodes a message. The whole body is checked here, so that [`Batch::records`] cannot fail.
    pub fn decode(message: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(message);
        let (header, body_bytes) = decode_header(&mut reader)?;
        if header.dictionary_id != 0 {
            return Err(WireError::Malformed {
                what: "dictionary id",
                offset: 0,
                expected: "0: no dictionary is known",
            });
        }
        let body = inflate(reader.rest(), body_bytes)?;
        check("body length", body_bytes, body.len())?;
        let found = xxhash_rust::xxh3::xxh3_64(&body);
        if found != header.checksum {
            return Err(WireError::Mismatch { what: "checksum", stated: header.checksum, found });
        }
        let mut records = Records::new(&body, header.time_base);
        let mut count = 0_u32;
        while records.read()?.is_some() {
            count = count.saturating_add(1);
        }
        if count != header.records {
            return Err(WireError::Mismatch {
                what: "records",
                stated: header.records.into(),
                found: count.into(),
            });
        }
        Ok(Self { header, body })
    }

    /// Marks an encoded batch as perhaps sent before, without encoding it again. Bytes that are no batch are left alone.
    pub fn mark_resent(message: &mut [u8]) {
        if let [b'V', b'G', 1, KIND_BATCH, flags, ..] = message {
            *flags |= FLAG_RESENT;
        }
    }

    /// The records in the order in which the source gave them.
    pub fn records(&self) -> Records<'_> {
        Records::new(&self.body, self.header.time_base)
    }

    /// Bytes of the decompressed body.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }
}

impl Reply {
    /// The message, without the length before it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        match self {
            Self::Ack { seq } => {
                out.push(KIND_ACK);
                push_varint(&mut out, *seq);
            }
            Self::Refuse { seq, reason } => {
                out.push(KIND_REFUSE);
                push_varint(&mut out, *seq);
                let end = reason.floor_char_boundary(HEADER_TEXT_BYTES_MAX);
                push_text(&mut out, reason.get(..end).unwrap_or_default());
            }
        }
        out
    }

    pub fn decode(message: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(message);
        let kind = decode_kind(&mut reader)?;
        let seq = reader.varint("sequence number")?;
        match kind {
            KIND_ACK => Ok(Self::Ack { seq }),
            KIND_REFUSE => {
                Ok(Self::Refuse { seq, reason: reader.text("reason", HEADER_TEXT_BYTES_MAX)?.to_owned() })
            }
            _ => Err(WireError::Malformed { what: "kind", offset: MAGIC.len(), expected: "A or R" }),
        }
    }
}

impl Format {
    const ALL: [Self; 7] =
        [Self::Auto, Self::Syslog, Self::Auditd, Self::Web, Self::Json, Self::Otlp, Self::Flow];

    /// The name in configuration files and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Syslog => "syslog",
            Self::Auditd => "auditd",
            Self::Web => "web",
            Self::Json => "json",
            Self::Otlp => "otlp",
            Self::Flow => "flow",
        }
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    fn code(self) -> u8 {
        match self {
            Self::Auto => 0,
            Self::Syslog => 1,
            Self::Auditd => 2,
            Self::Web => 3,
            Self::Json => 4,
            Self::Otlp => 5,
            Self::Flow => 6,
        }
    }
}

/// The records of a body.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    reader: Reader<'a>,
    time_base: Micros,
    end: u64,
}

impl<'a> Records<'a> {
    fn new(body: &'a [u8], time_base: Micros) -> Self {
        Self { reader: Reader::new(body), time_base, end: 0 }
    }

    fn read(&mut self) -> Result<Option<Record<'a>>, WireError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let time = self.time_base.wrapping_add(self.reader.zigzag("record time")?);
        let offset = self.end.wrapping_add(self.reader.zigzag("record offset")?.cast_unsigned());
        let length = self.reader.bounded("record length", RECORD_BYTES_MAX)?;
        let bytes = self.reader.take("record", length)?;
        self.end = offset.wrapping_add(u64::try_from(length).unwrap_or(u64::MAX));
        Ok(Some(Record { time, offset, bytes }))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        // The body was checked when the batch was made: the error cannot come.
        self.read().ok().flatten()
    }
}

fn encode_body<'r>(
    body: &mut Vec<u8>,
    time_base: Micros,
    records: impl IntoIterator<Item = Record<'r>>,
) -> Result<u32, WireError> {
    body.clear();
    let mut count = 0_usize;
    let mut end = 0_u64;
    for record in records {
        within("record length", RECORD_BYTES_MAX, record.bytes.len())?;
        push_zigzag(body, record.time.wrapping_sub(time_base));
        push_zigzag(body, record.offset.wrapping_sub(end).cast_signed());
        push_varint(body, u64::try_from(record.bytes.len()).unwrap_or(u64::MAX));
        body.extend_from_slice(record.bytes);
        end = record.offset.wrapping_add(u64::try_from(record.bytes.len()).unwrap_or(u64::MAX));
        count = count.saturating_add(1);
    }
    within("records", BATCH_RECORDS_MAX, count)?;
    within("body length", BATCH_BYTES_MAX, body.len())?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

fn encode_header(out: &mut Vec<u8>, header: &Header, body_bytes: usize) {
    out.extend_from_slice(&MAGIC);
    out.push(KIND_BATCH);
    out.push(if header.resent { FLAG_RESENT } else { 0 });
    out.push(header.format.code());
    push_text(out, &header.agent);
    out.extend_from_slice(&header.epoch.to_be_bytes());
    push_varint(out, header.seq);
    push_text(out, &header.source);
    push_text(out, &header.category);
    push_text(out, &header.product);
    push_text(out, &header.service);
    push_text(out, &header.drill_id);
    push_zigzag(out, header.time_base);
    push_zigzag(out, header.utc_offset_s.into());
    push_varint(out, header.records.into());
    push_varint(out, header.dictionary_id.into());
    push_varint(out, u64::try_from(body_bytes).unwrap_or(u64::MAX));
    out.extend_from_slice(&header.checksum.to_be_bytes());
}

fn decode_kind(reader: &mut Reader<'_>) -> Result<u8, WireError> {
    if reader.take("magic", MAGIC.len())? != MAGIC {
        return Err(WireError::Malformed {
            what: "magic",
            offset: MAGIC.len(),
            expected: "\"VG\" and version 1",
        });
    }
    reader.byte("kind")
}

fn decode_header(reader: &mut Reader<'_>) -> Result<(Header, usize), WireError> {
    if decode_kind(reader)? != KIND_BATCH {
        return Err(WireError::Malformed { what: "kind", offset: MAGIC.len(), expected: "B" });
    }
    let flags = reader.byte("flags")?;
    if flags & !FLAG_RESENT != 0 {
        return Err(WireError::Malformed { what: "flags", offset: 5, expected: "no flag but 1 (resent)" });
    }
    let code = reader.byte("format")?;
    let format = Format::ALL
        .into_iter()
        .find(|format| format.code() == code)
        .ok_or(WireError::Malformed { what: "format", offset: 6, expected: "a code from 0 to 6" })?;
    let text = |reader: &mut Reader<'_>, what| reader.text(what, HEADER_TEXT_BYTES_MAX).map(str::to_owned);
    let header = Header {
        resent: flags & FLAG_RESENT != 0,
        format,
        agent: text(reader, "agent")?,
        epoch: reader.u64("epoch")?,
        seq: reader.varint("sequence number")?,
        source: text(reader, "source")?,
        category: text(reader, "category")?,
        product: text(reader, "product")?,
        service: text(reader, "service")?,
        drill_id: text(reader, "drill id")?,
        time_base: reader.zigzag("time base")?,
        utc_offset_s: narrow("UTC offset", reader.zigzag("UTC offset")?)?,
        records: narrow("records", reader.bounded("records", BATCH_RECORDS_MAX)?)?,
        dictionary_id: narrow("dictionary id", reader.varint("dictionary id")?)?,
        checksum: 0,
    };
    let body_bytes = reader.bounded("body length", BATCH_BYTES_MAX)?;
    let checksum = reader.u64("checksum")?;
    Ok((Header { checksum, ..header }, body_bytes))
}

fn narrow<T: TryFrom<N>, N>(what: &'static str, number: N) -> Result<T, WireError> {
    T::try_from(number).map_err(|_| WireError::Malformed { what, offset: 0, expected: "a number of 32 bits" })
}

fn check(what: &'static str, stated: usize, found: usize) -> Result<(), WireError> {
    if stated == found {
        return Ok(());
    }
    let wide = |number| u64::try_from(number).unwrap_or(u64::MAX);
    Err(WireError::Mismatch { what, stated: wide(stated), found: wide(found) })
}

fn within(what: &'static str, max: usize, have: usize) -> Result<(), WireError> {
    if have <= max {
        return Ok(());
    }
    Err(WireError::TooLarge { what, max, have: u64::try_from(have).unwrap_or(u64::MAX) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            agent: "web01".into(),
            epoch: 7,
            seq: 3,
            source: "/var/log/auth.log".into(),
            format: Format::Syslog,
            time_base: 1_700_000_000_000_000,
            utc_offset_s: 25_200,
            ..Header::default()
        }
    }

    fn message(lines: &[Vec<u8>]) -> Vec<u8> {
        let records = lines.iter().zip(0_u64..).map(|(bytes, index)| Record {
            time: 1_700_000_000_000_000,
            offset: index * 90,
            bytes,
        });
        Encoder::new(1).unwrap().encode(&mut header(), records).unwrap()
    }

    proptest! {
        #[test]
        fn reads_what_was_encoded(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..40)) {
            let batch = Batch::decode(&message(&lines)).unwrap();
            prop_assert_eq!(&batch.header.source, "/var/log/auth.log");
            prop_assert_eq!(batch.header.utc_offset_s, 25_200);
            let found: Vec<Vec<u8>> = batch.records().map(|record| record.bytes.to_vec()).collect();
            prop_assert_eq!(found, lines);
        }

        #[test]
        fn rejects_any_cut_and_survives_any_flipped_byte(at in 0_usize..140, bit in 0_u8..8) {
            let message = message(&[b"one line".to_vec(), b"another".to_vec()]);
            let at = at % message.len();
            prop_assert!(Batch::decode(&message[..at]).is_err());
            let mut flipped = message;
            flipped[at] ^= 1 << bit;
            let _survives = Batch::decode(&flipped);
        }
    }

    #[test]
    fn marks_a_message_as_resent() {
        let mut message = message(&[b"one line".to_vec()]);
        assert!(!Batch::decode(&message).unwrap().header.resent);
        Batch::mark_resent(&mut message);
        let batch = Batch::decode(&message).unwrap();
        assert!(batch.header.resent);
        assert_eq!(batch.records().count(), 1);
        Batch::mark_resent(&mut []);
    }

    #[test]
    fn rejects_more_records_than_stated() {
        let mut stated = header();
        let mut other = Encoder::new(1).unwrap().encode(&mut stated, []).unwrap();
        let two = message(&[b"a".to_vec(), b"b".to_vec()]);
        other.truncate(other.len().saturating_sub(4));
        other.extend_from_slice(&two[two.len() - 4..]);
        assert!(Batch::decode(&other).is_err());
    }

    #[test]
    fn reads_records_up_to_the_limit_and_rejects_one_byte_more() {
        let encode = |bytes: &[u8]| {
            Encoder::new(1).unwrap().encode(&mut header(), [Record { time: 0, offset: 0, bytes }])
        };
        let line = vec![b'x'; RECORD_BYTES_MAX + 1];
        assert!(encode(&line[1..]).is_ok());
        assert_eq!(
            encode(&line),
            Err(WireError::TooLarge { what: "record length", max: RECORD_BYTES_MAX, have: 65_537 })
        );
    }

    #[test]
    fn reads_replies() {
        for reply in
            [Reply::Ack { seq: 300 }, Reply::Refuse { seq: 1, reason: "agent: db01 is not web01".into() }]
        {
            assert_eq!(Reply::decode(&reply.encode()).unwrap(), reply);
        }
    }

    /// The blocks of bytes in `WIRE.md`, in order.
    fn documented() -> Vec<Vec<u8>> {
        let blocks = include_str!("../WIRE.md").split("```hex").skip(1);
        let bytes = |block: &str| {
            let digits = block.split("```").next().unwrap().split_whitespace();
            digits.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
        };
        blocks.map(bytes).collect()
    }

    #[test]
    fn reads_the_documented_example() {
        let [batch, reply] = documented().try_into().unwrap();
        let records = [(0, b"one line".as_slice()), (9, b"another")].map(|(offset, bytes)| Record {
            time: 1_700_000_000_000_000,
            offset,
            bytes,
        });
        let encoded = Encoder::new(1).unwrap().encode(&mut header(), records).unwrap();
        let hex = encoded.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        let decoded =
            Batch::decode(&batch).unwrap_or_else(|error| panic!("WIRE.md: {error}; now it is {hex}"));
        assert_eq!(decoded.records().collect::<Vec<_>>(), records, "now it is {hex}");
        assert_eq!(decoded.header, Batch::decode(&encoded).unwrap().header);
        assert_eq!(Reply::decode(&reply).unwrap(), Reply::Ack { seq: 3 });
    }
}
