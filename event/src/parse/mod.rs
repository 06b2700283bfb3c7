//! From the records of a batch to events.

use crate::{Batch, Event, Format, LogSource, ParseStatus, TsQuality};

/// The events of a batch, in order.
pub fn parse_batch(batch: &Batch) -> Vec<Event<'_>> {
    (0_u32..)
        .zip(batch.records())
        .map(|(index, record)| Event {
            ts: record.time,
            ts_quality: TsQuality::Received,
            record: index,
            records: 1,
            log_source: LogSource {
                category: &batch.header.category,
                product: &batch.header.product,
                service: &batch.header.service,
            },
            status: ParseStatus::Raw,
            message: String::from_utf8_lossy(record.bytes),
            fields: Vec::new(),
        })
        .collect()
}

/// Whether a batch may end after `previous`: an event must not span two batches. `next` is the line that follows; `None`
/// when nothing has followed yet, and then the answer is whether `previous` surely ends its event.
pub fn cuts_before(_format: Format, _previous: &[u8], _next: Option<&[u8]>) -> bool {
    true
}
