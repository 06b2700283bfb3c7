//! What people type: questions to the store, answered on the terminal or for a program.
//!
//! Nothing here changes the daemon, or writes to the store but what people do with alerts, duties and incidents ([`deed`]), the
//! classification of what is stored (`systems reclassify`) and the score of a drill. What came out of a log reaches the output only
//! through [`escape`], and reaches a query only as a bound parameter ([`filter`]).

mod alert;
mod alerts;
mod books;
mod connect;
mod deed;
mod duties;
pub(crate) mod escape;
mod events;
mod exceptions;
mod filter;
mod flows;
mod hunt;
mod incident;
mod links;
mod noise;
mod notifications;
mod output;
mod page;
mod report;
mod rule;
pub(crate) mod scrape;
mod select;
mod status;
mod systems;
pub(crate) mod table;
mod verify;
mod when;

pub(crate) use alert::{Args as AlertArgs, run as run_alert};
pub(crate) use alerts::{Args as AlertsArgs, run as run_alerts};
pub(crate) use duties::{Args as DutiesArgs, run as run_duties};
pub(crate) use events::{Args as EventsArgs, run as run_events};
pub(crate) use exceptions::{Args as ExceptionsArgs, run as run_exceptions};
pub(crate) use flows::{Args as FlowsArgs, run as run_flows};
pub(crate) use hunt::{Args as HuntArgs, run as run_hunt};
pub(crate) use incident::{Args as IncidentArgs, run as run_incident};
pub(crate) use links::{Args as LinksArgs, link_days, run as run_links};
pub(crate) use noise::{Args as NoiseArgs, run as run_noise};
pub(crate) use notifications::{Args as NotificationsArgs, run as run_notifications};
pub(crate) use report::{Args as ReportArgs, run as run_report};
pub(crate) use status::{Args as StatusArgs, run as run_status};
pub(crate) use systems::{Args as SystemsArgs, run as run_systems};

// What `drill`, `scan` and stages use, too.
pub(crate) use books::Books;
pub(crate) use connect::{Reader, Writer, block_on, configuration};
pub(crate) use duties::{Owed, Record, owed};
pub(crate) use escape::{json_line, shortened, shown};
pub(crate) use filter::{Bound, Filter, shown_address};
pub(crate) use incident::entries as incident_entries;
pub(crate) use output::{Format, Listed, OutputArgs, Tone, print, print_text};
pub(crate) use scrape::loopback;
pub(crate) use select::{as_address, as_iso, as_map, counted, grouped};
pub(crate) use when::{Clock, MICROS_PER_S, iso, offset_s};
