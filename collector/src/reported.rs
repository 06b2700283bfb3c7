//! Counts what agents report as lost: lines that were truncated, deleted or compressed before they were read, or that found no room.
//!
//! An agent tells a loss in a notice that takes a place in its sequence (`agent/src/form.rs`). The notice is stored and matched by
//! rules like any event (`rules/sigma/agent`); this is for those who look at metrics, since an agent's own page listens on the
//! loopback interface of its host.
//!
//! Limits: a notice that comes again after a restart of the collector is counted again. What a drill loses is not counted.

use std::sync::LazyLock;

use event::{Event, Header, Value};
use prometheus::IntCounterVec;

use crate::metrics;

/// Sigma's log source of an agent's notices, and what a loss is called in them.
const PRODUCT: &str = "vonggac";
const SERVICE: &str = "agent";
const LINES_LOST: &str = "lines_lost";

struct Metrics {
    bytes: IntCounterVec,
    records: IntCounterVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    bytes: metrics::counters(
        "vonggac_agent_reported_lost_bytes_total",
        "Bytes of logs and flow records that an agent reported as lost.",
        &["agent"],
    ),
    records: metrics::counters(
        "vonggac_agent_reported_lost_records_total",
        "Records that an agent reported as lost, as far as it could count them.",
        &["agent"],
    ),
});

/// Whether a batch is a notice of its agent, and no drill's.
pub(crate) fn is_notice(header: &Header) -> bool {
    (header.product.as_str(), header.service.as_str()) == (PRODUCT, SERVICE) && header.drill_id.is_empty()
}

/// Counts an event of a notice.
pub(crate) fn count(agent: &str, event: &Event<'_>) {
    if event.text("action") != Some(LINES_LOST) {
        return;
    }
    for (counters, name) in [(&METRICS.bytes, "bytes"), (&METRICS.records, "records")] {
        if let Some(Value::Int(lost)) = event.values(name).next() {
            counters.with_label_values(&[agent]).inc_by(u64::try_from(*lost).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use event::{Batch, Events, Format, Record};

    use super::*;

    fn take(service: &str, drill_id: &str, line: &str) {
        let header = Header {
            agent: "reporter".into(),
            format: Format::Json,
            product: PRODUCT.into(),
            service: service.into(),
            drill_id: drill_id.into(),
            ..Header::default()
        };
        let record = Record { time: 0, offset: 0, bytes: line.as_bytes() };
        let batch = Batch::new(header, vec![record]).unwrap();
        if is_notice(&batch.header) {
            let mut events = Events::of(&batch);
            while let Some(event) = events.next() {
                count(&batch.header.agent, &event);
            }
        }
    }

    #[test]
    fn counts_what_an_agent_reports_and_nobody_else() {
        let lost = r#"{"program":"vonggac-agent","action":"lines_lost","source":"/a.log","bytes":700,"records":2,"reason":"gone"}"#;
        let uncounted = r#"{"program":"vonggac-agent","action":"lines_lost","source":"/a.log","bytes":50,"reason":"truncated"}"#;
        take(SERVICE, "", lost);
        take(SERVICE, "", uncounted);
        take(SERVICE, "", r#"{"program":"vonggac-agent","action":"file_gone","bytes":9000}"#);
        take(SERVICE, "", r#"{"action":"lines_lost","bytes":-1,"records":"many"}"#);
        take("app", "", lost);
        take(SERVICE, "drill-1", lost);
        let page = metrics::render();
        for line in [
            "vonggac_agent_reported_lost_bytes_total{agent=\"reporter\"} 750\n",
            "vonggac_agent_reported_lost_records_total{agent=\"reporter\"} 2\n",
        ] {
            assert!(page.contains(line), "{page}");
        }
    }
}
