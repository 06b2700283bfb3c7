//! From packets to records: what talked to what, how much, and what its first bytes said.
//!
//! ```text
//! frame ─▶ Packet (frame.rs) ─▶ Meter (meter.rs), one Entry for each flow ─▶ lines of JSON: flow, dns, tls, http ...
//!                                              └▶ Talk (talk.rs): the application layer's first bytes
//! ```
//!
//! Every line stands alone ([`Format::Flow`](crate::Format)): it can be spooled, shipped, stored, matched and read by a person
//! like any other log line. Exporters' records (NetFlow, IPFIX, sFlow) become the very same [`Flow`].
//!
//! Limits stand with what they bound. What it never does: read a clock or a socket, panic on a frame, or forget a flow without
//! a record of it: a full table makes room by writing the idlest flow out, and counts that.

mod community_id;
mod cursor;
mod dce_rpc;
mod dns;
mod fragments;
mod frame;
mod heads;
mod http;
mod ja4;
mod key;
mod line;
mod meter;
mod order;
mod pcap;
mod record;
mod signature;
mod smb;
mod ssh;
mod table;
mod talk;
#[cfg(test)]
mod talk_tests;
mod tcp;
mod tls;

pub use community_id::community_id;
pub use frame::{Fragment, Packet, Tcp};
pub use meter::{Captured, LinkType, Meter, MeterConfig, MeterCounters};
pub use pcap::{CaptureError, Packets};
pub use record::{EndReason, Flow, Origin, Side};
pub use table::FLOWS_MAX;
