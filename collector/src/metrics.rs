//! The daemon's Prometheus metrics: one registry, and the few ways to make a metric in it.
//!
//! A module declares its metrics in one struct behind one static, so that they stand in one place and appear together, zeros
//! included, once the static is touched (each stage does so when it starts):
//!
//! ```text
//! static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
//!     batches: metrics::counter("vonggac_intake_batches_total", "Batches received."),
//!     refused: metrics::counters("vonggac_intake_refused_total", "Batches refused, by reason.", &["reason"]),
//! });
//! ```
//!
//! Names are `vonggac_<part>_<what>_<unit>`, with `_total` for what only grows. Labels have few values, known beforehand or
//! bounded by the configuration; never a value out of a log line.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

/// A number that only grows.
pub(crate) fn counter(name: &str, help: &str) -> IntCounter {
    register(name, IntCounter::new(name, help))
}

/// Numbers that only grow, one for each value of the labels.
pub(crate) fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(name, IntCounterVec::new(Opts::new(name, help), labels))
}

/// A number that goes up and down.
pub(crate) fn gauge(name: &str, help: &str) -> IntGauge {
    register(name, IntGauge::new(name, help))
}

/// Numbers that go up and down, one for each value of the labels.
pub(crate) fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(name, IntGaugeVec::new(Opts::new(name, help), labels))
}

/// The same with fractions.
pub(crate) fn float_gauges(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    register(name, GaugeVec::new(Opts::new(name, help), labels))
}

/// How often values fell below each of `bounds`.
pub(crate) fn histogram(name: &str, help: &str, bounds: &[f64]) -> Histogram {
    register(name, Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds.to_vec())))
}

/// All metrics in Prometheus' text format.
pub(crate) fn render() -> String {
    // A metric that cannot be written is a programming error that must not take the others with it.
    TextEncoder::new().encode_to_string(&REGISTRY.gather()).unwrap_or_else(|error| format!("# {error}\n"))
}

fn register<M: Collector + Clone + 'static>(name: &str, made: prometheus::Result<M>) -> M {
    made.and_then(|metric| REGISTRY.register(Box::new(metric.clone())).map(|()| metric))
        .unwrap_or_else(|error| panic!("metric {name}: {error}")) // a name in the source is wrong or stands twice
}
