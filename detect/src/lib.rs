//! Rules in, matches out: Sigma rules, filters and correlations; and indicators of compromise.
//!
//! The crate is pure: no clock, no file, no socket. Rule texts, events and the time come in as arguments.
//!
//! - [`compile`] makes an [`Engine`] of rule files. What does not load is a [`Problem`] with file, line and reason.
//! - [`Engine::evaluate`] says which rules match one event, and why ([`Match`]). The engine is immutable and shared by all
//!   threads; each has its own [`Scratch`].
//! - [`Engine::hit`] turns a match into the little that correlations need, and one thread's [`Correlator`] turns hits into
//!   firings ([`CorrelationHit`]). What it holds is rebuilt by observing again the hits of the last [`Engine::reach`].
//!
//! - [`Indicators`] is a set of addresses, names and hashes; [`Indicators::observe`] says which of them an event names.
//!
//! Two evaluations, one truth: `scan.rs` goes rule by rule in the obvious way and is the oracle; `index.rs` finds the few rules
//! that are worth a look.
//!
//! What it never does: skip a rule in silence, panic on input, or hold more than [`limits`] allow.
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

mod amount;
mod anchor;
mod compile;
mod condition;
mod correlation;
mod correlator;
mod digest;
mod document;
mod engine;
mod entries;
mod evaluate;
mod explain;
mod gate;
mod groups;
mod index;
mod indicators;
mod layout;
pub mod limits;
mod literals;
mod log_source;
mod look;
mod memo;
mod network;
mod pattern;
mod pattern_literals;
mod predicate;
mod problem;
mod regular_expression;
mod rule;
mod scan;
mod senders;
mod serial;
mod shape;
mod tally;
mod text;
mod time;
mod window;

pub use amount::Amount;
pub use compile::{compile, compile_with};
pub use correlator::{CorrelationHit, Correlator, CorrelatorCounters, EventKey, Hit};
pub use engine::{Engine, Placeholders};
pub use evaluate::Match;
pub use explain::Explanation;
pub use indicators::{
    Added, Indicator, IndicatorError, IndicatorKind, Indicators, IndicatorsBuilder, NewIndicator, Sighting,
    Sightseer,
};
pub use look::Scratch;
pub use problem::{Problem, Reason};
pub use rule::{Kind, Rule, RuleSource, Severity};
