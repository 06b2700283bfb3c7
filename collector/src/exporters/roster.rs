//! Who may send flow records, by what name, and what is counted of each.
//!
//! Limits: exporters at once ([`EXPORTERS_MAX`]): each has metrics of its own, and networks that are allowed may be large. One that
//! was silent for [`SILENT`] gives its place to a newcomer; where all places are taken a newcomer is refused, and counted.
//!
//! What it never does: look into a datagram. UDP's source address can be forged; the allow list keeps strangers out, a firewall
//! before it keeps forgers out.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use event::Micros;
use ipnet::IpNet;
use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::decode::EXPORTERS_MAX;
use super::health::{self, Counters};
use crate::config::{self, KnownExporter};
use crate::metrics;

/// An exporter that was silent for so long may be forgotten: most export each minute at least.
const SILENT: Micros = 3_600 * 1_000_000;

struct Metrics {
    refused: IntCounterVec,
    dropped_datagrams: IntCounterVec,
    dropped_records: IntCounterVec,
    stored_records: IntCounterVec,
    exporters: IntGauge,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    refused: metrics::counters(
        "vonggac_exporter_refused_total",
        "Datagrams and sessions that were not looked at, by reason: not_allowed, limit (too many exporters or sessions).",
        &["reason"],
    ),
    dropped_datagrams: metrics::counters(
        "vonggac_exporter_dropped_datagrams_total",
        "Datagrams that were dropped because too many waited to be decoded, by exporter: their records are lost.",
        &["exporter"],
    ),
    dropped_records: metrics::counters(
        "vonggac_exporter_dropped_records_total",
        "Flow records that were decoded and dropped, by exporter and reason: queue (the store is too slow), store (it took a batch at no try). They are lost.",
        &["exporter", "reason"],
    ),
    stored_records: metrics::counters(
        "vonggac_exporter_stored_records_total",
        "Flow records that are in the store, or with the dead letters, by exporter.",
        &["exporter"],
    ),
    exporters: metrics::gauge("vonggac_exporter_exporters", "Exporters that sent something of late."),
});

/// Why nothing of a sender is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    NotAllowed,
    Limit,
}

/// All exporters.
pub(super) struct Roster {
    allow: Vec<IpNet>,
    known: HashMap<IpAddr, KnownExporter>,
    seen: Mutex<HashMap<IpAddr, Arc<Exporter>>>,
}

/// One that sends.
#[derive(Debug)]
pub(super) struct Exporter {
    /// The operator's name for it, else its address.
    pub(super) name: String,
    /// Sampling rate where its records tell none; 0: not known.
    pub(super) sampling: u32,
    pub(super) counters: Counters,
    pub(super) dropped_datagrams: IntCounter,
    pub(super) dropped_by_queue: IntCounter,
    pub(super) dropped_by_store: IntCounter,
    pub(super) stored: IntCounter,
    /// Drawn for this entry: a forgotten exporter that comes back does not use the numbers of its batches again.
    pub(super) epoch: u64,
    pub(super) seq: AtomicU64,
    last: AtomicI64,
}

impl Roster {
    pub(super) fn new(config: &config::Exporters) -> Self {
        health::touch();
        for refusal in [Refusal::NotAllowed, Refusal::Limit] {
            METRICS.refused.with_label_values(&[refusal.reason()]);
        }
        let known = config.known.iter().map(|known| (known.address, known.clone())).collect();
        Self { allow: config.allow.clone(), known, seen: Mutex::default() }
    }

    /// The exporter at an address, if it may send. A refusal is counted.
    pub(super) fn admit(&self, address: IpAddr, now: Micros) -> Result<Arc<Exporter>, Refusal> {
        let admitted = self.find(address, now);
        if let Err(refusal) = admitted {
            refusal.count();
        }
        admitted
    }

    fn find(&self, address: IpAddr, now: Micros) -> Result<Arc<Exporter>, Refusal> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(exporter) = seen.get(&address) {
            exporter.last.store(now, Ordering::Relaxed);
            return Ok(Arc::clone(exporter));
        }
        let known = self.known.get(&address);
        if known.is_none() && !self.allow.iter().any(|network| network.contains(&address)) {
            return Err(Refusal::NotAllowed);
        }
        if seen.len() >= EXPORTERS_MAX {
            forget_silent(&mut seen, now);
        }
        if seen.len() >= EXPORTERS_MAX {
            return Err(Refusal::Limit);
        }
        let exporter = Arc::new(Exporter::new(address, known, now));
        seen.insert(address, Arc::clone(&exporter));
        METRICS.exporters.set(i64::try_from(seen.len()).unwrap_or(i64::MAX));
        Ok(exporter)
    }
}

fn forget_silent(seen: &mut HashMap<IpAddr, Arc<Exporter>>, now: Micros) {
    seen.retain(|_, exporter| {
        let keep = now.saturating_sub(exporter.last.load(Ordering::Relaxed)) < SILENT;
        if !keep {
            exporter.forget();
        }
        keep
    });
}

impl Exporter {
    fn new(address: IpAddr, known: Option<&KnownExporter>, now: Micros) -> Self {
        let name = known.and_then(|known| known.name.clone()).unwrap_or_else(|| address.to_string());
        let dropped = |reason| METRICS.dropped_records.with_label_values(&[name.as_str(), reason]);
        Self {
            sampling: known.map_or(0, |known| known.sampling),
            counters: Counters::of(&name),
            dropped_datagrams: METRICS.dropped_datagrams.with_label_values(&[&name]),
            dropped_by_queue: dropped("queue"),
            dropped_by_store: dropped("store"),
            stored: METRICS.stored_records.with_label_values(&[&name]),
            epoch: RandomState::new().hash_one((address, now)),
            seq: AtomicU64::new(1),
            last: AtomicI64::new(now),
            name,
        }
    }

    fn forget(&self) {
        Counters::forget(&self.name);
        // Both are there: `new` made them.
        let _ = METRICS.dropped_datagrams.remove_label_values(&[&self.name]);
        let _ = METRICS.stored_records.remove_label_values(&[&self.name]);
        for reason in ["queue", "store"] {
            let _ = METRICS.dropped_records.remove_label_values(&[self.name.as_str(), reason]);
        }
    }
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::Limit => "limit",
        }
    }

    pub(super) fn count(self) {
        METRICS.refused.with_label_values(&[self.reason()]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_700_000_000_000_000;

    fn roster(allow: &[&str]) -> Roster {
        let known = KnownExporter {
            address: "2001:db8::7".parse().unwrap(),
            name: Some("core-switch".into()),
            sampling: 512,
        };
        let allow = allow.iter().map(|network| network.parse().unwrap()).collect();
        Roster::new(&config::Exporters { allow, known: vec![known], ..config::Exporters::default() })
    }

    #[test]
    fn admits_allowed_networks_and_known_exporters_and_nobody_else() {
        let roster = roster(&["192.0.2.0/24"]);
        let admit = |address: &str| roster.admit(address.parse().unwrap(), NOW);
        assert_eq!(admit("192.0.2.255").unwrap().name, "192.0.2.255");
        assert_eq!(admit("192.0.3.0").unwrap_err(), Refusal::NotAllowed);
        let core = admit("2001:db8::7").unwrap();
        assert_eq!((core.name.as_str(), core.sampling), ("core-switch", 512));
        assert_eq!(admit("2001:db8::8").unwrap_err(), Refusal::NotAllowed);
    }

    #[test]
    fn refuses_one_more_than_the_limit_until_another_was_silent_for_long() {
        let roster = roster(&["10.0.0.0/8"]);
        let admit = |number: usize, now| {
            let [.., high, low] = u32::try_from(number).unwrap().to_be_bytes();
            roster.admit([10, 0, high, low].into(), now)
        };
        for number in 0..EXPORTERS_MAX {
            admit(number, NOW).unwrap();
        }
        assert_eq!(admit(EXPORTERS_MAX, NOW + SILENT - 1).unwrap_err(), Refusal::Limit);
        let again = admit(0, NOW + SILENT - 1).unwrap();
        assert!(admit(EXPORTERS_MAX, NOW + SILENT).is_ok());
        assert_eq!(admit(0, NOW + SILENT).unwrap().epoch, again.epoch, "who spoke of late stays");
        assert_ne!(admit(1, NOW + SILENT).unwrap().seq.load(Ordering::Relaxed), 0);
    }
}
