//! The collector: the path of an event from the intake to the store, and the tools that people use on what is stored.
#![deny(unsafe_code)] // the one exception is the module that binds libchdb

mod batch;
mod ca;
#[allow(dead_code, reason = "its first users are about to land")]
mod classify;
mod cli;
mod config;
#[allow(dead_code, reason = "its first users are about to land")]
mod door;
mod drill;
mod engine;
#[allow(dead_code, reason = "its first users are about to land")]
mod gaps;
#[allow(dead_code, reason = "its first users are about to land")]
mod intake;
#[allow(dead_code, reason = "its first users are about to land")]
mod inventory;
#[allow(dead_code, reason = "its first users are about to land")]
mod metrics;
#[allow(dead_code, reason = "its first users are about to land")]
mod migrate;
#[allow(dead_code, reason = "its first users are about to land")]
mod otlp;
mod people;
#[allow(dead_code, reason = "its first users are about to land")]
mod priority;
#[allow(dead_code, reason = "its first users are about to land")]
mod row;
#[cfg(test)]
mod site;
mod tls;

pub use batch::{Delivery, Fate, Gap, Identity};
pub use ca::{Authority, CaError, Issued, Leaf, Pair, host_name, init as ca_init, issue as ca_issue};
pub use cli::{Cli, run};
pub use config::{
    Alert, CONFIG_ENV, CONFIG_PATH, ClickHouse, Config, ConfigArg, ConfigError, Endpoint, Intake, Limits,
    Metrics, Otlp, Store, Tls,
};
pub use engine::{Launch, READER, StoreProcess, WRITER};
pub use tls::{Peer, PeerError, TlsError, server_config};
