//! The daemon on each host: log files become batches, batches reach the collector, nothing is forgotten before it is stored.
//!
//! The path of a line is the list of files: `tail` reads it, `cut` finds where it and its batch end, `form` makes the
//! batch, `ledger` makes its descriptor durable, `ship` sends it and takes the acknowledgement.
//!
//! What the agent never does: parse a line, copy a line to a queue of its own, listen beyond the loopback interface, start
//! a second thread.
#![forbid(unsafe_code)]

mod args;
mod config;
mod cut;
mod fingerprint;
mod follow;
mod form;
mod ledger;
mod limits;
mod metrics;
mod run;
mod ship;
mod tail;
mod tls;

pub use args::{Action, HELP};
pub use config::{Config, ConfigError};
pub use run::run;
pub use tls::Identity;
