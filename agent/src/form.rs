//! Forms batches: from the bytes of a file, and again from the ledger after a crash.
//!
//! All records of a batch carry one time, that at which they were read, because it is part of the batch's content: the
//! ledger holds it once, and the batch comes out the same again.

use std::fs::File;
use std::io;
use std::time::SystemTime;

use anyhow::Result;
use event::{Encoder, Format, Header, Micros, Record};

use crate::cut::{Span, record_at};
use crate::fingerprint::read_full_at;
use crate::ledger::{Content, Descriptor, Known};
use crate::ship::Frame;

/// Sigma log source of the agent's own notices.
const NOTICE_PRODUCT: &str = "vonggac";
const NOTICE_SERVICE: &str = "agent";

/// Makes frames.
pub(crate) struct Former {
    pub(crate) agent: String,
    pub(crate) epoch: u64,
    encoder: Encoder,
}

impl Former {
    pub(crate) fn new(agent: String, epoch: u64, zstd_level: i32) -> io::Result<Self> {
        Ok(Self { agent, epoch, encoder: Encoder::new(zstd_level)? })
    }

    /// A batch of the records at `spans` of a buffer that begins at the file's position.
    pub(crate) fn lines(
        &mut self,
        known: &Known,
        seq: u64,
        utc_offset_s: i32,
        buffer: &[u8],
        spans: &[Span],
    ) -> Result<(Descriptor, Frame)> {
        let time_base = now();
        let mut header = self.header(seq, time_base, utc_offset_s, known);
        let message = self.encode(&mut header, buffer, spans, known.position)?;
        let (first, last) =
            (spans.first().map_or(0, |span| span.record.start), spans.last().map_or(0, |span| span.end));
        let content = Content::Lines {
            file: known.id,
            start: known.position,
            end: known.position + (last - first) as u64,
            records: header.records,
            checksum: header.checksum,
        };
        Ok((Descriptor { seq, time_base, utc_offset_s, content }, Frame { seq, message, resent: false }))
    }

    /// The same batch once more. `None` when the file does not hold it any more.
    pub(crate) fn lines_again(
        &mut self,
        known: &Known,
        file: &File,
        batch: &Descriptor,
    ) -> Result<Option<Frame>> {
        let Content::Lines { start, end, records, checksum, .. } = batch.content else { return Ok(None) };
        let mut buffer = vec![0; usize::try_from(end.saturating_sub(start))?];
        if read_full_at(file, &mut buffer, start)? != buffer.len() {
            return Ok(None);
        }
        let mut at = 0;
        let spans: Vec<Span> = std::iter::from_fn(|| {
            let span = record_at(&buffer, at, true)?;
            at = span.end;
            Some(span)
        })
        .collect();
        let mut header = self.header(batch.seq, batch.time_base, batch.utc_offset_s, known);
        let message = self.encode(&mut header, &buffer, &spans, start)?;
        let same = (header.records, header.checksum) == (records, checksum);
        Ok(same.then_some(Frame { seq: batch.seq, message, resent: true }))
    }

    /// A batch of one notice, a JSON object.
    pub(crate) fn note(&mut self, batch: &Descriptor, resent: bool) -> Result<Option<Frame>> {
        let Content::Note { source, drill_id, text } = &batch.content else { return Ok(None) };
        let mut header = Header {
            agent: self.agent.clone(),
            epoch: self.epoch,
            seq: batch.seq,
            source: source.clone(),
            format: Format::Json,
            product: NOTICE_PRODUCT.into(),
            service: NOTICE_SERVICE.into(),
            drill_id: drill_id.clone(),
            time_base: batch.time_base,
            utc_offset_s: batch.utc_offset_s,
            ..Header::default()
        };
        let record = Record { time: batch.time_base, offset: 0, bytes: text.as_bytes() };
        let message = self.encoder.encode(&mut header, [record])?;
        Ok(Some(Frame { seq: batch.seq, message, resent }))
    }

    fn header(&self, seq: u64, time_base: Micros, utc_offset_s: i32, known: &Known) -> Header {
        Header {
            agent: self.agent.clone(),
            epoch: self.epoch,
            seq,
            source: known.source().into_owned(),
            format: known.labels.format,
            category: known.labels.category.clone(),
            product: known.labels.product.clone(),
            service: known.labels.service.clone(),
            drill_id: known.labels.drill_id.clone(),
            time_base,
            utc_offset_s,
            ..Header::default()
        }
    }

    fn encode(
        &mut self,
        header: &mut Header,
        buffer: &[u8],
        spans: &[Span],
        position: u64,
    ) -> Result<Vec<u8>> {
        let first = spans.first().map_or(0, |span| span.record.start);
        let time = header.time_base;
        let records = spans.iter().map(|span| Record {
            time,
            offset: position + (span.record.start - first) as u64,
            bytes: &buffer[span.record.clone()],
        });
        Ok(self.encoder.encode(header, records)?)
    }
}

/// What the centre is told of a loss, in the record of a notice.
pub(crate) fn loss(source: &str, bytes: u64, records: Option<u32>, reason: &str) -> String {
    let records = records.map_or_else(String::new, |records| format!(",\"records\":{records}"));
    format!(
        "{{\"program\":\"vonggac-agent\",\"action\":\"lines_lost\",\"source\":{},\"bytes\":{bytes}{records},\"reason\":{}}}",
        quoted(source),
        quoted(reason)
    )
}

/// What the centre is told of a file that may have had more than was seen of it.
pub(crate) fn gone(source: &str, reason: &str) -> String {
    format!(
        "{{\"program\":\"vonggac-agent\",\"action\":\"file_gone\",\"source\":{},\"reason\":{}}}",
        quoted(source),
        quoted(reason)
    )
}

/// A JSON string (RFC 8259, section 7).
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

pub(crate) fn now() -> Micros {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(now.as_micros()).unwrap_or(Micros::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use event::Batch;

    use super::*;
    use crate::ledger::Labels;

    #[test]
    fn forms_the_same_batch_again_and_notices_another_content() {
        let text = b"skipped\nfirst\r\nsecond\n\nrest";
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        let labels = Labels { format: Format::Syslog, service: "app".into(), ..Labels::default() };
        let known = Known { id: 3, path: "/var/log/a.log".into(), position: 8, labels, ..Known::default() };
        let buffer = &text[8..];
        let mut at = 0;
        let spans: Vec<_> = std::iter::from_fn(|| {
            let span = record_at(buffer, at, false)?;
            at = span.end;
            Some(span)
        })
        .collect();
        let mut former = Former::new("web01".into(), 9, 1).unwrap();
        let (descriptor, frame) = former.lines(&known, 5, 25_200, buffer, &spans).unwrap();
        let batch = Batch::decode(&frame.message).unwrap();
        assert_eq!((batch.header.epoch, batch.header.seq, batch.header.utc_offset_s), (9, 5, 25_200));
        assert_eq!(batch.header.service, "app");
        let found: Vec<_> = batch.records().map(|record| (record.offset, record.bytes)).collect();
        assert_eq!(found, [(8, &b"first"[..]), (15, b"second"), (22, b"")]);

        let again = former.lines_again(&known, &file, &descriptor).unwrap().unwrap();
        assert!(again.resent);
        assert_eq!(again.message, frame.message);
        std::os::unix::fs::FileExt::write_at(&file, b"F", 8).unwrap();
        assert!(former.lines_again(&known, &file, &descriptor).unwrap().is_none());
        file.set_len(12).unwrap();
        assert!(former.lines_again(&known, &file, &descriptor).unwrap().is_none());
    }

    #[test]
    fn notices_are_json() {
        let text = loss("/var/log/\"odd\"\\\n.log", 7, Some(2), "gone");
        assert_eq!(
            text,
            r#"{"program":"vonggac-agent","action":"lines_lost","source":"/var/log/\"odd\"\\\u000a.log","bytes":7,"records":2,"reason":"gone"}"#
        );
        assert_eq!(
            gone("/var/log/a.log", "deleted"),
            r#"{"program":"vonggac-agent","action":"file_gone","source":"/var/log/a.log","reason":"deleted"}"#
        );
    }
}
