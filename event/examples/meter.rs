//! Packets of a capture file to flows: `meter FILE [--count]`. For measuring; the product reads captures with `vonggac scan`.
use std::fs::File;
use std::io::Write;

use event::{Meter, MeterConfig, Packets};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("expected a capture file")?;
    let quiet = args.next().is_some();
    let mut packets = Packets::new(File::open(path)?)?;
    let mut meter = Meter::new(MeterConfig { flows_max: 2_000_000, ..MeterConfig::default() });
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
    meter.flush(&mut lines);
    if !quiet {
        stdout.write_all(&lines)?;
    }
    eprintln!("{bytes} bytes, {:?}", meter.counters());
    Ok(())
}
