//! The daemon on each host: log files and packets become batches, batches reach the collector, nothing is forgotten before it
//! is stored.
//!
//! The path of a line is the list of files: `tail` reads it, `cut` finds where it and its batch end, `form` makes the
//! batch, `ledger` makes its descriptor durable, `ship` sends it and takes the acknowledgement. Packets come before that:
//! `capture` makes lines of them, `spool` keeps these in files that `tail` reads.
//!
//! What the agent never does: parse a line, copy a line to a queue of its own, listen beyond the loopback interface, start
//! a thread unless it captures (then one for each interface).
#![deny(unsafe_code)] // the one exception is the module that shares memory with the kernel

mod args;
mod capture;
mod check;
mod config;
mod cut;
mod fingerprint;
mod follow;
mod form;
mod ledger;
mod limits;
mod metrics;
mod open;
mod run;
mod ship;
mod spool;
mod tail;
mod tls;
mod zone;

pub use args::{Action, HELP};
pub use check::{Finding, Pattern, findings, patterns};
pub use config::{Config, ConfigError};
pub use run::run;
pub use tls::Identity;
pub use zone::check_zone;
