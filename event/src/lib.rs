//! What an event is, how bytes become one, and how a batch of records crosses the wire.
//!
//! The crate is the contract between the agents and the collector, and it is pure: no clock, no file, no socket.
//! Bytes and the time come in as arguments, so that everything here is tested, fuzzed and measured without a server.
//!
//! - A [`Record`] is a line as a source gave it, with the place where it stood.
//! - A [`Batch`] is some records of one source with the identity under which they are delivered ([`wire`](crate::Header)).
//! - An [`Event`] is what [`parse_batch`] makes of one record (or of several that belong together): native fields for
//!   detection, borrowed from the batch. A [`Dictionary`] says which of them fill the typed columns of the store.
//!
//! What it never does: panic on input, allocate without a bound, or drop a record. What no parser takes becomes an event
//! with [`ParseStatus::Raw`].
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

mod dictionary;
mod event;
mod flow;
mod inflate;
mod limits;
mod parse;
mod varint;
mod wire;

pub use dictionary::{CoreField, Dictionary, DictionaryError, FilledBy, Natives, Presence};
pub use event::{Event, LogSource, Micros, ParseStatus, TsQuality, Value};
pub use flow::{
    CaptureError, Captured, EndReason, FLOWS_MAX, Flow, Fragment, LinkType, Meter, MeterConfig,
    MeterCounters, Origin, Packet, Packets, Side, Tcp, community_id,
};
pub use inflate::inflate;
pub use limits::{
    BATCH_BYTES_MAX, BATCH_RECORDS_MAX, FIELDS_MAX, FRAME_BYTES_MAX, HEADER_TEXT_BYTES_MAX, RECORD_BYTES_MAX,
    TS_FUTURE_MAX, TS_PAST_MAX,
};
pub use parse::{
    Damage, EVTX_BLOCK_CHUNKS_MAX, EVTX_CHUNK_BYTES, EVTX_CHUNK_HEAD_BYTES, EVTX_CHUNK_MAGIC,
    EVTX_HEADER_BYTES, EVTX_MAGIC, EvtxBlock, evtx_chunk_end,
};
pub use parse::{Events, cuts_before, is_believable, parse_batch, parse_batch_within};
pub use wire::{Batch, Encoder, Format, Header, Record, Records, Reply, WireError};
