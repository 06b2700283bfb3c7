//! Capture's metrics, by interface.

use anyhow::Result;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// All of them, registered once.
pub(crate) struct CaptureMetrics {
    up: IntGaugeVec,
    packets: IntCounterVec,
    bytes: IntCounterVec,
    drops: IntCounterVec,
    freezes: IntCounterVec,
    truncated: IntCounterVec,
    flows: IntGaugeVec,
    records: IntCounterVec,
    evicted: IntCounterVec,
    spool_lines_dropped: IntCounterVec,
}

/// Those of one interface: present, and 0, from its start on, so that a first loss is an increase.
pub(super) struct Counted {
    pub(super) up: IntGauge,
    pub(super) packets: IntCounter,
    pub(super) bytes: IntCounter,
    pub(super) drops: IntCounter,
    pub(super) freezes: IntCounter,
    pub(super) truncated: IntCounter,
    pub(super) flows: IntGauge,
    pub(super) records: IntCounter,
    pub(super) evicted: IntCounter,
    pub(super) spool_lines_dropped: IntCounter,
}

impl CaptureMetrics {
    pub(crate) fn new(r: &Registry) -> Result<Self> {
        Ok(Self {
            up: gauges(r, "vonggac_agent_capture_up", "1 while the interface is there and up")?,
            packets: counters(r, "vonggac_agent_capture_packets_total", "Packets handed to the meter")?,
            bytes: counters(r, "vonggac_agent_capture_bytes_total", "Their bytes on the wire")?,
            drops: counters(
                r,
                "vonggac_agent_capture_dropped_packets_total",
                "Packets the kernel had no room for",
            )?,
            freezes: counters(
                r,
                "vonggac_agent_capture_freezes_total",
                "Times that the whole ring was full",
            )?,
            truncated: counters(
                r,
                "vonggac_agent_capture_truncated_frames_total",
                "Frames of which not all was captured",
            )?,
            flows: gauges(r, "vonggac_agent_capture_flows", "Flows in the table")?,
            records: counters(r, "vonggac_agent_capture_records_total", "Records of flows written")?,
            evicted: counters(
                r,
                "vonggac_agent_capture_evicted_flows_total",
                "Flows cut short by a full table",
            )?,
            spool_lines_dropped: counters(
                r,
                "vonggac_agent_spool_dropped_lines_total",
                "Lines that found no room in the spool",
            )?,
        })
    }

    pub(super) fn of(&self, interface: &str) -> Counted {
        let counter = |counters: &IntCounterVec| counters.with_label_values(&[interface]);
        let gauge = |gauges: &IntGaugeVec| gauges.with_label_values(&[interface]);
        Counted {
            up: gauge(&self.up),
            packets: counter(&self.packets),
            bytes: counter(&self.bytes),
            drops: counter(&self.drops),
            freezes: counter(&self.freezes),
            truncated: counter(&self.truncated),
            flows: gauge(&self.flows),
            records: counter(&self.records),
            evicted: counter(&self.evicted),
            spool_lines_dropped: counter(&self.spool_lines_dropped),
        }
    }
}

fn counters(registry: &Registry, name: &str, help: &str) -> Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), &["interface"])?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauges(registry: &Registry, name: &str, help: &str) -> Result<IntGaugeVec> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), &["interface"])?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}
