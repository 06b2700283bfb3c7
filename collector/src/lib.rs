//! The collector: the path of an event from the intake to the store, and the tools that people use on what is stored.
#![deny(unsafe_code)] // the one exception is the module that binds libchdb

mod batch;
mod cli;
mod config;

pub use batch::{Delivery, Fate, Gap, Identity};
pub use cli::{Cli, run};
pub use config::{
    Alert, CONFIG_ENV, CONFIG_PATH, ClickHouse, Config, ConfigArg, ConfigError, Endpoint, Intake, Limits,
    Metrics, Otlp, Store, Tls,
};
