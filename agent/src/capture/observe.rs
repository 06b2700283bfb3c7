//! The stage between an interface and the spool, on a thread of its own: packets into the meter, its lines into segments.
//!
//! It looks at the packets that are there, then at the clock; nothing it does waits for anything but packets and the disk.
//! Lines are written when [`SPOOL_WRITE_BYTES`] are together, and at least every [`SPOOL_WRITE_INTERVAL`].
//!
//! What the interface itself counted goes among the lines, too ([`super::counters`]).
//!
//! What was lost (by the kernel, by a frame that was cut, by a full flow table) is told to the centre once in
//! [`NOTICE_INTERVAL`], in a line of kind `capture` among the others; one more at the start and at the end, so that a silent
//! interface and a dead agent are not the same.
//!
//! What it never does: end because an interface has gone. It looks for it once a second, and reads on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use event::{Meter, MeterConfig, MeterCounters};
use tracing::{info, warn};

use super::count::{CaptureMetrics, Counted};
use super::counters::Counters;
use super::{Losses, Setup, Source};
use crate::form::{now, quoted};
use crate::limits::{
    BLOCK_RETIRE_MS, CAPTURE_WAIT, COUNTERS_INTERVAL, EXPIRE_INTERVAL, NOTICE_INTERVAL, SPOOL_WRITE_BYTES,
    SPOOL_WRITE_INTERVAL,
};
use crate::spool::{Segments, Spool};

/// The stage: packets in, lines out.
pub(super) struct Observe {
    setup: Setup,
    source: Source,
    meter: Meter,
    segments: Segments,
    counted: Counted,
    counters: Counters,
    /// Lines that are not written yet.
    lines: Vec<u8>,
    /// The meter's counters when they were published last.
    published: MeterCounters,
    /// Since the last notice.
    tally: Tally,
    up: bool,
}

/// What a notice tells.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Tally {
    packets: u64,
    bytes: u64,
    drops: u64,
    freezes: u64,
    truncated: u64,
    evicted: u64,
}

/// When each of the recurring things was done last.
struct Clocks {
    written: Instant,
    expired: Instant,
    noticed: Instant,
}

impl Observe {
    pub(super) fn new(
        setup: Setup,
        source: Source,
        meter: MeterConfig,
        spool: &Arc<Spool>,
        metrics: &CaptureMetrics,
    ) -> Result<Self> {
        let counted = metrics.of(&setup.name);
        counted.up.set(1);
        let segments = Segments::new(Arc::clone(spool), &setup.name, counted.spool_lines_dropped.clone());
        Ok(Self {
            counters: Counters::new(&setup.name, COUNTERS_INTERVAL, now()),
            setup,
            source,
            meter: Meter::new(meter),
            segments,
            counted,
            lines: Vec::with_capacity(2 * SPOOL_WRITE_BYTES),
            published: MeterCounters::default(),
            tally: Tally::default(),
            up: true,
        })
    }

    /// Runs until `stop`. What the meter holds then is written out.
    pub(super) fn run(mut self, stop: &AtomicBool) -> Result<()> {
        self.notice("start");
        let start = Instant::now();
        let mut clocks = Clocks { written: start, expired: start, noticed: start };
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = self.take(CAPTURE_WAIT) {
                self.went_down(&error);
                std::thread::sleep(CAPTURE_WAIT);
            }
            self.keep_time(&mut clocks)?;
        }
        // The block that is being filled now is left to us within this time.
        let _down = self.take(Duration::from_millis(2 * u64::from(BLOCK_RETIRE_MS)));
        self.count()?;
        self.flush();
        self.publish();
        let counted = self.counters.sample(now());
        self.tell(counted);
        self.notice("stop");
        self.segments.write(&mut self.lines);
        self.segments.close();
        Ok(())
    }

    fn take(&mut self, wait: Duration) -> io::Result<()> {
        let Self { source, meter, segments, lines, tally, counted, .. } = self;
        let (mut packets, mut bytes) = (0, 0);
        let taken = source.take(wait, &mut |packet| {
            packets += 1;
            bytes += u64::from(packet.wire_bytes);
            meter.packet(packet, lines);
            if lines.len() >= SPOOL_WRITE_BYTES {
                segments.write(lines);
            }
        });
        tally.packets += packets;
        tally.bytes += bytes;
        counted.packets.inc_by(packets);
        counted.bytes.inc_by(bytes);
        taken
    }

    /// What is due by the clock.
    fn keep_time(&mut self, clocks: &mut Clocks) -> Result<()> {
        let time = Instant::now();
        let is_due = |last: &mut Instant, interval: Duration| {
            let due = time.duration_since(*last) >= interval;
            if due {
                *last = time;
            }
            due
        };
        if is_due(&mut clocks.expired, EXPIRE_INTERVAL) {
            let now = now();
            if self.meter.is_ahead_of(now) {
                warn!(interface = self.setup.name, "the clock was set back: all flows are written out");
                self.flush();
            }
            self.meter.expire(now, &mut self.lines);
            self.count()?;
            self.publish();
            let counted = self.counters.due(now);
            self.tell(counted);
            self.come_up();
        }
        if is_due(&mut clocks.noticed, NOTICE_INTERVAL) {
            if self.tally.is_loss() {
                warn!(interface = self.setup.name, "lost: {:?}", self.tally);
                self.notice("lost");
            }
            self.tally = Tally::default();
        }
        if is_due(&mut clocks.written, SPOOL_WRITE_INTERVAL) {
            self.segments.write(&mut self.lines);
        }
        Ok(())
    }

    /// Writes out what the meter holds.
    fn flush(&mut self) {
        while self.meter.flush(&mut self.lines) {
            self.segments.write(&mut self.lines);
        }
    }

    /// Asks the kernel what it dropped.
    fn count(&mut self) -> io::Result<()> {
        let Losses { drops, freezes, truncated } = self.source.losses()?;
        self.counted.drops.inc_by(drops);
        self.counted.freezes.inc_by(freezes);
        self.counted.truncated.inc_by(truncated);
        self.tally.drops += drops;
        self.tally.freezes += freezes;
        self.tally.truncated += truncated;
        Ok(())
    }

    fn publish(&mut self) {
        let (counters, before) = (self.meter.counters(), self.published);
        let evicted = counters.evicted.saturating_sub(before.evicted);
        self.tally.evicted += evicted;
        self.counted.evicted.inc_by(evicted);
        self.counted.records.inc_by(counters.records.saturating_sub(before.records));
        self.counted.flows.set(i64::try_from(counters.live).unwrap_or(i64::MAX));
        self.published = counters;
    }

    fn went_down(&mut self, error: &io::Error) {
        if std::mem::replace(&mut self.up, false) {
            self.counted.up.set(0);
            warn!(interface = self.setup.name, "cannot be read, waiting for it: {error}");
        }
    }

    /// Looks for an interface that had gone.
    fn come_up(&mut self) {
        if !self.up && self.setup.bind_again(self.source.socket()).is_ok() {
            self.up = true;
            self.counted.up.set(1);
            info!(interface = self.setup.name, "capturing again");
        }
    }

    fn tell(&mut self, line: Option<String>) {
        self.lines.extend(line.into_iter().flat_map(String::into_bytes));
    }

    /// Writes a notice of what was counted since the last one.
    fn notice(&mut self, action: &str) {
        let text = self.tally.line(action, &self.setup.name, now());
        self.lines.extend_from_slice(text.as_bytes());
        self.tally = Tally::default();
    }
}

impl Tally {
    fn is_loss(&self) -> bool {
        self.drops > 0 || self.freezes > 0 || self.truncated > 0 || self.evicted > 0
    }

    fn line(&self, action: &str, interface: &str, ts: event::Micros) -> String {
        let Self { packets, bytes, drops, freezes, truncated, evicted } = self;
        format!(
            "{{\"kind\":\"capture\",\"ts\":{ts},\"action\":\"{action}\",\"interface\":{},\"packets\":{packets},\
             \"bytes\":{bytes},\"drops\":{drops},\"freezes\":{freezes},\"truncated\":{truncated},\"evicted\":{evicted}}}\n",
            quoted(interface)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_a_line_of_json() {
        let tally = Tally { packets: 9, drops: 2, ..Tally::default() };
        assert!(tally.is_loss() && !Tally { packets: 9, ..Tally::default() }.is_loss());
        assert_eq!(
            tally.line("lost", "a\"b", 7),
            "{\"kind\":\"capture\",\"ts\":7,\"action\":\"lost\",\"interface\":\"a\\\"b\",\"packets\":9,\"bytes\":0,\
             \"drops\":2,\"freezes\":0,\"truncated\":0,\"evicted\":0}\n"
        );
    }
}
