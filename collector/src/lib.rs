//! The collector: the path of an event from the intake to the store, and the tools that people use on what is stored.
#![deny(unsafe_code)] // the one exception is the module that binds libchdb

mod admit;
mod alert;
mod ask;
mod batch;
mod ca;
mod capture_lines;
mod certificates;
mod check;
mod classify;
mod cli;
mod clock;
mod config;
mod content;
mod coverage;
mod current;
mod dead_letter;
mod door;
mod drill;
mod duty;
mod ends;
mod engine;
mod evaluate;
mod exceptions;
mod expand;
mod exporters;
mod flow_row;
mod gaps;
mod grouping;
mod history;
mod http;
mod hunts;
mod incident;
mod indicators;
mod insert;
mod intake;
mod inventory;
mod level;
mod link;
mod log;
mod metrics;
mod migrate;
mod mirror;
mod notifications;
mod notify;
mod otlp;
mod people;
mod place;
mod priority;
mod publish_systems;
mod recover;
mod reported;
mod row;
mod row_binary;
mod rules;
mod run_hunts;
mod scan;
mod serve;
mod share;
#[cfg(test)]
mod site;
mod store;
mod store_client;
mod strangers;
mod supervise;
mod tls;
mod wait_store;
mod watch;
mod watch_clocks;
mod watch_coverage;
mod watch_links;
mod watch_obligations;
mod write_alerts;
mod write_events;

pub use batch::{Delivery, Fate, Gap, Identity, SenderKind};
pub use ca::{Authority, CaError, Issued, Leaf, Pair, host_name, init as ca_init, issue as ca_issue};
pub use cli::{Cli, run};
pub use config::{
    Alert, CONFIG_ENV, CONFIG_PATH, ClickHouse, Config, ConfigArg, ConfigError, Content, Endpoint, Exporters,
    FeedFormat, HttpTemplate, IndicatorFeed, Intake, KnownExporter, Limits, LogLevel, Mail, MailTls, Metrics,
    NotificationTarget, Notifications, Otlp, Store, TextForm, Tls, Webhook,
};
pub use engine::{Launch, READER, StoreProcess, WRITER};
pub use evaluate::RuleSet;
pub use exporters::{Decoder, Health, Protocol, Sender};
pub use indicators::{Loaded, load as load_indicators};
pub use inventory::{Inventory, InventoryError, SystemIndex};
pub use log::in_words;
pub use migrate::MigrateError;
pub use priority::LevelsError;
pub use recover::RecoverError;
pub use store::{Pipeline, StartError, check as check_store, start as start_store};
pub use store_client::ClientError;
pub use tls::{Peer, PeerError, TlsError, server_config};
