//! An interface's own counters, as the kernel has them below `/sys/class/net`: what it carried, whether or not capture saw it.
//!
//! What was carried since the last look is told in a line of kind `interface`: at every full five minutes of the clock, so that
//! samples of several interfaces stand beside each other, and once more at the end. A counter that went back is that of an interface
//! that was made anew: the sample begins there.
//!
//! What it never does: guess. A sample that cannot be read is left out, and the next one is longer.

use std::path::PathBuf;

use event::Micros;

use crate::form::quoted;

/// Where the kernel shows interfaces.
const CLASS: &str = "/sys/class/net";
const NAMES: [&str; 6] = ["rx_bytes", "tx_bytes", "rx_packets", "tx_packets", "rx_dropped", "tx_dropped"];

type Reading = [u64; NAMES.len()];

/// The counters of one interface.
pub(super) struct Counters {
    interface: String,
    folder: PathBuf,
    interval: Micros,
    last: Option<(Micros, Reading)>,
}

impl Counters {
    /// Begins a sample.
    pub(super) fn new(interface: &str, interval: Micros, now: Micros) -> Self {
        let folder = PathBuf::from(CLASS).join(interface).join("statistics");
        let mut counters = Self { interface: interface.to_owned(), folder, interval, last: None };
        counters.last = counters.read().map(|reading| (now, reading));
        counters
    }

    /// The line of a sample that is over.
    pub(super) fn due(&mut self, now: Micros) -> Option<String> {
        let slot = |at: Micros| at.div_euclid(self.interval);
        match self.last {
            Some((since, _)) if slot(since) == slot(now) => None,
            _ => self.sample(now),
        }
    }

    /// The line of the sample until now.
    pub(super) fn sample(&mut self, now: Micros) -> Option<String> {
        let reading = self.read()?;
        let (since, before) = self.last.replace((now, reading))?;
        let mut carried = Reading::default();
        for ((carried, now), before) in carried.iter_mut().zip(reading).zip(before) {
            *carried = now.checked_sub(before)?;
        }
        (now > since).then(|| self.line(since, now, carried))
    }

    fn read(&self) -> Option<Reading> {
        let mut reading = Reading::default();
        for (value, name) in reading.iter_mut().zip(NAMES) {
            *value = std::fs::read_to_string(self.folder.join(name)).ok()?.trim().parse().ok()?;
        }
        Some(reading)
    }

    fn line(&self, since: Micros, now: Micros, carried: Reading) -> String {
        let interface = quoted(&self.interface);
        let values = NAMES.iter().zip(carried).map(|(name, value)| format!(",\"{name}\":{value}"));
        format!(
            "{{\"kind\":\"interface\",\"ts\":{since},\"action\":\"counted\",\"interface\":{interface},\"duration_us\":{}{}}}\n",
            now - since,
            values.collect::<String>()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Micros = 60_000_000;

    fn counters(folder: &std::path::Path, now: Micros) -> Counters {
        let mut counters =
            Counters { interface: "eth0".into(), folder: folder.into(), interval: 5 * MINUTE, last: None };
        counters.last = counters.read().map(|reading| (now, reading));
        counters
    }

    fn write(folder: &std::path::Path, value: u64) {
        for name in NAMES {
            std::fs::write(folder.join(name), format!("{value}\n")).unwrap();
        }
    }

    #[test]
    fn a_sample_ends_at_full_five_minutes_and_begins_anew_with_the_interface() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1_000);
        let mut counters = counters(folder.path(), 7 * MINUTE);
        write(folder.path(), 1_700);
        assert_eq!(counters.due(9 * MINUTE), None);
        let line = counters.due(10 * MINUTE).unwrap();
        assert_eq!(
            line,
            "{\"kind\":\"interface\",\"ts\":420000000,\"action\":\"counted\",\"interface\":\"eth0\",\"duration_us\":180000000,\
             \"rx_bytes\":700,\"tx_bytes\":700,\"rx_packets\":700,\"tx_packets\":700,\"rx_dropped\":700,\"tx_dropped\":700}\n"
        );
        write(folder.path(), 5);
        assert_eq!(counters.due(15 * MINUTE), None, "it was made anew");
        write(folder.path(), 25);
        assert!(counters.due(20 * MINUTE).unwrap().contains("\"ts\":900000000,"));
        // An interface that is away for a while: one long sample.
        std::fs::remove_file(folder.path().join("tx_bytes")).unwrap();
        assert_eq!(counters.due(25 * MINUTE), None);
        write(folder.path(), 125);
        assert!(counters.sample(31 * MINUTE).unwrap().contains("\"duration_us\":660000000,\"rx_bytes\":100"));
    }
}
