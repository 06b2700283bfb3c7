//! Packets of a capture file to flows: `meter FILE [--count] [--flows-only] [--keep-all]`. For measuring (tests/bench/flows.py); the product
//! reads captures with `vonggac scan`.
#![expect(clippy::disallowed_methods, reason = "an example is no part of the pure crate")]

use std::fs::File;
use std::io::Write;

use event::{Meter, MeterConfig, Packets};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("expected a capture file")?;
    let options: Vec<String> = args.collect();
    let has = |name: &str| options.iter().any(|option| option == name);
    let quiet = has("--count");
    let mut packets = Packets::new(File::open(path)?)?;
    let mut config =
        MeterConfig { flows_max: 2_000_000, application: !has("--flows-only"), ..MeterConfig::default() };
    if has("--keep-all") {
        let hour = 3_600_000_000;
        (config.idle_timeout, config.tcp_idle_timeout, config.active_timeout) = (hour, hour, hour);
    }
    let mut meter = Meter::new(config);
    let (mut lines, mut stdout) = (Vec::new(), std::io::stdout().lock());
    let mut bytes = 0;
    while let Some(packet) = packets.next()? {
        meter.packet(&packet, &mut lines);
        if lines.len() > 60_000 {
            bytes += lines.len();
            if !quiet {
                stdout.write_all(&lines)?;
            }
            lines.clear();
        }
    }
    let mut more = true;
    while more {
        more = meter.flush(&mut lines);
        bytes += lines.len();
        if !quiet {
            stdout.write_all(&lines)?;
        }
        lines.clear();
    }
    eprintln!("{bytes} bytes, {:?}", meter.counters());
    Ok(())
}
