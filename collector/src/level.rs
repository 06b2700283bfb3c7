//! The security level of an information system, by decrees that are data: which level, by which rules and articles, and what
//! nobody said yet.
//!
//! A decree is a text of TOML ([`Decree::parse`]; the files stand in rules/levels/): typed inputs, rules whose conditions are a
//! small expression language over them ([`condition`]), cases in which a person must decide, and what the level demands:
//! retention, duties, deadlines, what a report of an incident says, roles, log sources. [`Decree::judge`] takes the facts of one
//! system and gives a [`Judgement`].
//!
//! Truth has three values. A fact that nobody stated is unknown, an unknown fact makes no rule hold, and a rule that it could
//! make hold above the level found is told as missing: the answer then is "at least this level, a person must look".
//!
//! Pure: no file, no socket, no clock. What this never does: choose a country (nothing here knows one), guess a fact, or let
//! a level go down because more is known.
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

mod citation;
mod condition;
mod decree;
mod expression;
mod input;
mod judge;
mod period;
mod provision;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use decree::{Decree, DecreeError, Decrees};
pub(crate) use judge::{Judgement, Part};
pub(crate) use period::Period;
pub(crate) use provision::{
    Deadline, Duty, FieldSource, Provision, ReportField, RetentionMinimum, SourceDuty, Start,
};
pub(crate) use text::{Lang, Text};

/// Highest level that a decree may have: what events and alerts hold.
pub(crate) const LEVEL_MAX: u8 = 5;
