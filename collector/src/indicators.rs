//! Feeds of indicators of compromise: read from files, looked for in events, and `vonggac indicators check|lookup`.
//!
//! ```text
//! files ─▶ csv, list, stix, misp ─▶ load: one set of all feeds ─▶ evaluate asks it for each event ─▶ sight: an alert's hit
//! ```
//!
//! A feed is other people's work. An entry that is no indicator is counted and named, and the rest loads; a file that cannot
//! be read is a problem, with which a set is not put in place of the one that is in force.

mod command;
mod csv;
mod fault;
mod list;
mod load;
mod misp;
mod pattern;
mod sight;
mod stix;

pub(crate) use command::{Args, run};
pub use load::{Loaded, load};
pub(crate) use sight::{cause, count, matched};
