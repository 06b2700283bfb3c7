//! What alerts say of a log source that fell silent, of one whose canary is not answered, and of the end of both.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use detect::Severity;
use event::Micros;

use crate::admit::Origin;
use crate::batch::Identity;
use crate::coverage::{Told, What};
use crate::grouping::{Cause, Hit, Sample};
use crate::level::Lang;
use crate::people::iso;

/// Stands for an agent where a batch would be named.
const SENDER: &str = "vonggac-coverage";

/// Makes hits of what is told. They are numbered as batches are: no two of one life of the collector are the same.
pub(crate) struct CoverageHits {
    missing: Arc<Cause>,
    silent: Arc<Cause>,
    back: Arc<Cause>,
    unanswered: Arc<Cause>,
    answered: Arc<Cause>,
    epoch: u64,
    seq: AtomicU64,
}

impl CoverageHits {
    /// `now` tells the lives of the collector apart.
    pub(crate) fn new(now: Micros) -> Self {
        let (high, info) = (Severity::High, Severity::Informational);
        Self {
            missing: Cause::own(
                "vonggac-source-missing",
                "A log source that must report never did",
                Severity::Low,
            ),
            silent: Cause::own("vonggac-source-silent", "A log source that must report is silent", high),
            back: Cause::own("vonggac-source-back", "A log source reports again", info),
            unanswered: Cause::own(
                "vonggac-canary-missing",
                "A log source talks, but its canary raises no alert",
                high,
            ),
            answered: Cause::own(
                "vonggac-canary-back",
                "The canary of a log source raises its alert again",
                info,
            ),
            epoch: u64::try_from(now).unwrap_or_default(),
            seq: AtomicU64::default(),
        }
    }

    pub(crate) fn hit(&self, told: &Told) -> Hit {
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let identity = Identity { agent: SENDER.into(), epoch: self.epoch, seq };
        let event = identity.to_string();
        let origin = Origin {
            identity,
            source: told.demand.source.clone(),
            drill_id: String::new(),
            received: told.now,
        };
        let cause = match told.what {
            // What never was is a gap to close in its time; what stopped may have been stopped.
            What::Silent if told.row.last_stored == 0 => &self.missing,
            What::Silent => &self.silent,
            What::Back => &self.back,
            What::Unanswered => &self.unanswered,
            What::Answered => &self.answered,
        };
        Hit {
            cause: Arc::clone(cause),
            place: Arc::clone(&told.demand.place),
            origin: Arc::new(origin),
            ts: told.now,
            host: String::new(),
            src_ip: Ipv6Addr::UNSPECIFIED,
            user: String::new(),
            entity: Some(told.demand.source.clone()),
            matched: matched(told),
            samples: vec![Sample { event, line: line(told) }],
        }
    }
}

fn matched(told: &Told) -> Vec<(String, String)> {
    let Told { demand, row, since, .. } = told;
    let allowed = match told.what {
        What::Silent | What::Back => Some(demand.silent_after),
        What::Unanswered | What::Answered => demand.canary,
    };
    let pairs = [
        ("source", Some(demand.source.clone())),
        ("since", Some(iso(*since))),
        ("last_stored", Some(moment(row.last_stored))),
        ("last_canary", demand.canary.map(|_| moment(row.last_canary))),
        ("allowed_s", allowed.map(|micros| (micros / 1_000_000).to_string())),
        ("demanded_by", Some(demand.asked_by(Lang::En))),
        ("unsure", demand.unsure(Lang::En).map(str::to_owned)),
    ];
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn line(told: &Told) -> String {
    let Told { demand, row, since, .. } = told;
    let (source, place) = (&demand.source, &demand.place);
    let whose = format!("{source} of {} (level {})", place.system_id, place.level);
    let lasted = (told.now - since) / 1_000_000;
    match told.what {
        What::Silent => format!(
            "{whose}: nothing stored for {lasted} s, {} are allowed; last stored: {}; demanded by {}",
            demand.silent_after / 1_000_000,
            by_whom(&row.hosts),
            demand.asked_by(Lang::En)
        ),
        What::Back => format!("{whose} reports again after {lasted} s; now: {}", by_whom(&row.hosts)),
        What::Unanswered => format!(
            "{whose} talks (last stored: {}), but no canary came out as an alert for {lasted} s: detection does not see what is \
             stored, or the canary's timer does not run",
            by_whom(&row.hosts)
        ),
        What::Answered => format!("{whose}: its canary raises its alert again, after {lasted} s"),
    }
}

/// The hosts that reported last, the latest first.
fn by_whom(hosts: &[(String, Micros)]) -> String {
    let mut hosts: Vec<_> = hosts.iter().collect();
    hosts.sort_by_key(|(host, last)| (std::cmp::Reverse(*last), host));
    let shown: Vec<String> =
        hosts.iter().take(3).map(|(host, last)| format!("{} by {host}", iso(*last))).collect();
    if shown.is_empty() { "never".to_owned() } else { shown.join(", ") }
}

fn moment(micros: Micros) -> String {
    if micros == 0 { "never".to_owned() } else { iso(micros) }
}
