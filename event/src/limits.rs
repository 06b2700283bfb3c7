//! Every limit of the crate, each with its reason.

use crate::Micros;

/// Longest record, in bytes. Kernel audit records end at 8,970 bytes and syslog receivers take 8 KiB by default; 64 KiB
/// leaves room for application logs. A longer line is cut into several records, never dropped.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Most records in one batch: 10,000 to 20,000 rows make one insert, so one batch is never more than one insert.
pub const BATCH_RECORDS_MAX: usize = 10_000;

/// Largest body of a batch once decompressed. Bounds what a hostile frame can make the collector allocate.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most fields that a parser takes from one record or event; what it derives comes on top, and OTLP has its attributes besides.
/// Windows events and cloud audit trails stay below 200.
pub const FIELDS_MAX: usize = 512;

/// Largest frame on the wire: the body at worst (incompressible, so a little over its own size) and the header.
pub const FRAME_BYTES_MAX: usize = BATCH_BYTES_MAX + 64 * 1024;

/// Longest text of a header (host name, path of a source, drill). A path may have 4,096 bytes (PATH_MAX).
pub const HEADER_TEXT_BYTES_MAX: usize = 4096;

/// An event's own time is believed when it is at most this much before the receipt of its record: 7 days, for an agent
/// that was cut off over a long holiday.
pub const TS_PAST_MAX: Micros = 7 * 24 * 3600 * 1_000_000;

/// ... and at most this much after it: 10 minutes, for clocks without NTP.
pub const TS_FUTURE_MAX: Micros = 10 * 60 * 1_000_000;
