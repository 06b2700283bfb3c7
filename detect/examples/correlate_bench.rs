//! What correlation costs: `cargo run --release -p detect --example correlate_bench`.
//!
//! Each case is a process of its own. It prints the groups and events that are held, the memory that they take (resident,
//! above what the process had before the first hit) and its peak, and the CPU time of a hit, from the kernel, so that a busy
//! machine does not count.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and the memory from the kernel")]

use std::sync::Arc;

use detect::limits::{GROUP_EVENTS_MAX, GROUPS_MAX, STATE_BYTES_MAX};
use detect::{Correlator, Engine, EventKey, Hit, compile};

const SECOND: i64 = 1_000_000;
/// Hits are made in so many at a time, outside of what is measured.
const CHUNK: u64 = 4096;

const MILLION: u64 = 1_000_000;
const GROUPS: u64 = GROUPS_MAX as u64;
const EVENTS: u64 = GROUP_EVENTS_MAX as u64;

/// Hits that are observed, and in how many groups.
struct Case {
    name: &'static str,
    kind: &'static str,
    condition: &'static str,
    hits: u64,
    groups: u64,
    /// Between two hits; a minute is the timespan.
    micros: i64,
    /// Every so manieth hit is late by so much.
    late: u64,
    late_seconds: i64,
}

const CASES: [Case; 13] = [
    case("a million groups", "event_count", "gte: 100", MILLION, MILLION, 0),
    case("at the limit of groups", "event_count", "gte: 100", GROUPS, GROUPS, 0),
    case("beyond it: one comes, one goes", "event_count", "gte: 100", 4 * GROUPS, 4 * GROUPS, 0),
    case("at both limits, values", "value_count", "field: value, gte: 100", EVENTS, GROUPS, 0),
    case("nine a group, values: the worst", "value_count", "field: value, gte: 100", EVENTS, EVENTS / 9, 0),
    case("a thousand groups, events", "event_count", "gte: 100", 2 * MILLION, 1_000, 60),
    case("a thousand groups, values", "value_count", "field: value, gte: 5000", 2 * MILLION, 1_000, 60),
    case("a thousand groups, average", "value_avg", "field: value, gte: 5000", 2 * MILLION, 1_000, 60),
    case("a thousand groups, median", "value_median", "field: value, gte: 5000", 2 * MILLION, 1_000, 60),
    Case {
        late: 100,
        ..case("... and a hundredth late", "value_median", "field: value, gte: 5000", 2 * MILLION, 1_000, 60)
    },
    case("one group of 9,000 events, fires", "event_count", "gte: 100", MILLION, 1, 14_000),
    Case {
        late: 2,
        late_seconds: 1,
        ..case(
            "... of values, half 1 s late",
            "value_count",
            "field: value, gte: 100",
            MILLION / 10,
            1,
            14_000,
        )
    },
    Case {
        late: 2,
        ..case("... half 30 s late", "value_count", "field: value, gte: 100", MILLION / 10, 1, 14_000)
    },
];

const fn case(
    name: &'static str,
    kind: &'static str,
    condition: &'static str,
    hits: u64,
    groups: u64,
    micros: i64,
) -> Case {
    Case { name, kind, condition, hits, groups, micros, late: u64::MAX, late_seconds: 30 }
}

fn main() {
    let named = std::env::args().nth(1);
    if let Some(case) = CASES.iter().find(|case| Some(case.name) == named.as_deref()) {
        return case.run();
    }
    println!("the limits come to {} MiB", STATE_BYTES_MAX >> 20);
    println!(
        "{:<34} {:>9} {:>9} {:>6} {:>6} {:>8} {:>9} {:>7}",
        "case", "groups", "events", "MiB", "peak", "B/group", "evicted", "ns/hit"
    );
    let program = std::env::current_exe().expect("the path of this program");
    for case in &CASES {
        std::process::Command::new(&program).arg(case.name).status().expect("the program runs");
    }
}

impl Case {
    fn run(&self) {
        let engine = self.engine();
        let mut correlator = engine.correlator();
        let (before, _) = memory_kib();
        let (mut nanos, mut seq) = (0, 0);
        while seq < self.hits {
            let end = self.hits.min(seq + CHUNK);
            let hits: Vec<(Hit, i64)> = (seq..end).map(|seq| self.hit(&engine, seq)).collect();
            nanos += observe(&mut correlator, hits);
            seq = end;
        }
        self.print(&correlator, before, nanos);
    }

    fn engine(&self) -> Engine {
        let Self { kind, condition, .. } = self;
        let rules = format!(
            "title: r\nid: r\nlogsource: {{product: linux}}\ndetection:\n  s: {{f: x}}\n  condition: s\n---\n\
            title: c\nid: c\ncorrelation: {{type: {kind}, rules: [r], group-by: [user], timespan: 1m, condition: {{{condition}}}}}\n"
        );
        let (engine, problems) = compile(&[("rules.yml", rules)]);
        assert!(problems.is_empty(), "{problems:?}");
        engine
    }

    fn hit(&self, engine: &Engine, seq: u64) -> (Hit, i64) {
        let now = 1_000_000 * SECOND + i64::try_from(seq).unwrap_or(0) * self.micros;
        let ts = if seq % self.late == self.late - 1 { now - self.late_seconds * SECOND } else { now };
        let key = |name: &str, value: String| (Arc::from(name), value.into_boxed_str());
        // Values and groups in no order.
        let value = seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44;
        let keys = vec![key("user", format!("user{}", seq % self.groups)), key("value", value.to_string())];
        let event = EventKey { agent: "web01".into(), epoch: 1, seq, record: 0 };
        let rule = Arc::clone(engine.rule("r").expect("the rule"));
        (Hit { rule, ts, event, realm: Arc::default(), times: 1, keys }, now)
    }

    fn print(&self, correlator: &Correlator, before_kib: u64, nanos: u64) {
        let (now_kib, peak_kib) = memory_kib();
        let counters = &correlator.counters()[0];
        let bytes = now_kib.saturating_sub(before_kib) * 1024;
        println!(
            "{:<34} {:>9} {:>9} {:>6} {:>6} {:>8} {:>9} {:>7}",
            self.name,
            counters.groups,
            counters.events,
            bytes >> 20,
            peak_kib.saturating_sub(before_kib) >> 10,
            bytes / counters.groups as u64,
            counters.groups_evicted,
            nanos / self.hits,
        );
    }
}

fn observe(correlator: &mut Correlator, hits: Vec<(Hit, i64)>) -> u64 {
    let start = cpu_nanos();
    for (hit, now) in hits {
        correlator.observe(hit, now);
    }
    cpu_nanos() - start
}

/// The first field of `schedstat`: time on a CPU.
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number")
}

/// Resident memory, now and at most.
fn memory_kib() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    (field("VmRSS:"), field("VmHWM:"))
}
