//! What is known of the health of an exporter: plain numbers, made by the decoder, added up as metrics by the stage around it.
//!
//! Each number that means a loss has an alert rule in `dashboards/prometheus`.

use std::ops::AddAssign;
use std::sync::LazyLock;

use prometheus::{IntCounter, IntCounterVec};

use crate::metrics;

/// Declares the numbers: the plain ones, and the metric of each by exporter.
macro_rules! health {
    ($($(#[$meta:meta])* $name:ident: $metric:literal, $help:literal;)*) => {
        /// What decoding a datagram, or many, told of its exporter.
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        pub struct Health { $($(#[$meta])* pub $name: u64,)* }

        impl AddAssign for Health {
            fn add_assign(&mut self, other: Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)*
            }
        }

        struct Metrics { $($name: IntCounterVec,)* }

        static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
            $($name: metrics::counters($metric, $help, &["exporter"]),)*
        });

        /// The metrics of one exporter.
        #[derive(Clone, Debug)]
        pub(super) struct Counters { $($name: IntCounter,)* }

        impl Counters {
            pub(super) fn of(exporter: &str) -> Self {
                Self { $($name: METRICS.$name.with_label_values(&[exporter]),)* }
            }

            pub(super) fn add(&self, health: &Health) {
                $(if health.$name > 0 { self.$name.inc_by(health.$name); })*
            }

            /// An exporter that was forgotten has no metrics any more.
            pub(super) fn forget(exporter: &str) {
                // It may never have had some of them.
                $(let _ = METRICS.$name.remove_label_values(&[exporter]);)*
            }
        }
    };
}

health! {
    /// Datagrams, and messages of TCP sessions.
    datagrams: "vonggac_exporter_datagrams_total",
        "Datagrams (of TCP sessions: messages) of flow records that were decoded, by exporter.";
    /// Records that became flows.
    records: "vonggac_exporter_records_total", "Flow records decoded, by exporter.";
    /// Records and samples that are no flow between two addresses: events of NAT, frames that are not IP, options.
    other_records: "vonggac_exporter_other_records_total",
        "Records and samples without two addresses (options, frames that are not IP), by exporter: counted, not stored.";
    /// Messages that could not be read to their end.
    malformed: "vonggac_exporter_malformed_total",
        "Messages that could not be read to their end, by exporter: the records behind the fault are lost.";
    /// Sets of records, with their template, of which no record could be read.
    sets_unread: "vonggac_exporter_sets_unread_total",
        "Sets of records that could not be read by their template, by exporter: their records are lost.";
    /// Sets of records that came before their template and wait for it.
    sets_waiting: "vonggac_exporter_sets_waiting_total",
        "Sets of records that came before their template and were kept for it, by exporter.";
    /// ... of which so many were read when it came.
    sets_read_late: "vonggac_exporter_sets_read_late_total",
        "Sets of records that were read when their template came, by exporter.";
    /// ... and so many were lost: too many, too old, or too large.
    sets_dropped: "vonggac_exporter_sets_dropped_total",
        "Sets of records without a template that were dropped, by exporter: their records are lost.";
    /// Records (v5, IPFIX) or datagrams (v9, sFlow) missing in the sequence.
    missing: "vonggac_exporter_missing_total",
        "Numbers missing in an exporter's sequences: records (NetFlow 5, IPFIX) or datagrams (NetFlow 9, sFlow) never came.";
    /// Sequences that began anew.
    restarts: "vonggac_exporter_restarts_total", "Sequences that began anew, by exporter.";
    /// Datagrams that came after a later one; before, they were counted as missing.
    reordered: "vonggac_exporter_reordered_total",
        "Datagrams that came after a later one, by exporter; they had been counted as missing.";
    /// Records whose times could not be: they have the time of receipt.
    clamped: "vonggac_exporter_clamped_total",
        "Records whose times cannot be and were set to the time of receipt, by exporter.";
    /// Records whose counters cannot be. They are kept.
    suspect: "vonggac_exporter_suspect_total",
        "Records whose counters cannot be (less than 20 bytes a packet, more than a line carries), by exporter: kept.";
    /// Records whose sampling rate is not known: their counters may be too low by any factor.
    sampling_unknown: "vonggac_exporter_sampling_unknown_total",
        "Records whose sampling rate is not known, by exporter: their counters may be too low.";
    /// Samples of interface counters.
    counter_samples: "vonggac_exporter_counter_samples_total",
        "sFlow samples of interface counters, by exporter: counted, not stored.";
    /// Templates that were learnt, again or anew.
    templates: "vonggac_exporter_templates_total", "Templates received, repeated ones included, by exporter.";
    /// Streams (a source port and an observation domain) forgotten because there were too many: with their templates.
    streams_forgotten: "vonggac_exporter_streams_forgotten_total",
        "Streams (source port and observation domain) that were forgotten with their templates because there were too many, by exporter.";
}

/// Makes the metrics appear, zeros included.
pub(super) fn touch() {
    LazyLock::force(&METRICS);
}
