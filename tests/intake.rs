//! Who gets in, and a sender that is not ours. What the intakes do with each frame and each call is tested in the collector.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::python;
use crate::site::{Site, engine_present, until};

/// Log records that the sender sends: several of its batches.
const RECORDS: u64 = 300;

/// OpenTelemetry's Python SDK delivers logs that appear as events, once; another host's are refused.
#[test]
fn the_python_sdk_of_opentelemetry_delivers_logs() -> Result<()> {
    let test = "the_python_sdk_of_opentelemetry_delivers_logs";
    let Some(python) = python::interpreter(test, "otlp.txt")? else { return Ok(()) };
    if !engine_present(test) {
        return Ok(());
    }
    let site = Site::start("")?;
    site.run(&["ca", "issue", "app01", "--dir", &site.path("ca")])?;
    let endpoint = format!("https://localhost:{}", site.otlp_port);
    let output = Command::new(python)
        .arg(crate::site::root().join("tests/python/otlp_send.py"))
        .args([
            &endpoint,
            &site.path("ca/ca.crt"),
            &site.path("ca/app01.crt"),
            &site.path("ca/app01.key"),
            "app01",
        ])
        .arg(RECORDS.to_string())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // The sender was answered, so they are in the store: nothing needs to be waited for.
    let events = "FROM events WHERE host = 'app01' AND agent = 'app01' AND source = 'otlp'";
    assert_eq!(site.number(&format!("SELECT count() {events}"))?, RECORDS);
    assert_eq!(site.number(&format!("SELECT uniqExact(src_port) {events} AND user = 'root'"))?, RECORDS);
    assert_eq!(site.number("SELECT count() FROM events WHERE message = 'not mine'")?, 0);
    Ok(())
}

/// A collector that is told to end stores and acknowledges what is under way, closes its store, and says so by its exit code.
#[test]
fn a_collector_ends_in_order_when_it_is_told_to() -> Result<()> {
    let test = "a_collector_ends_in_order_when_it_is_told_to";
    if !engine_present(test) {
        return Ok(());
    }
    let mut site = Site::start("")?;
    let status = site.end_collector()?;
    ensure!(status.success(), "{status}");
    let log = std::fs::read_to_string(site.path("collector.log"))?;
    ensure!(log.contains("the embedded store is closed"), "{log}");
    site.start_collector().context("it starts again on what it left")?;
    until("the store answers", || Ok((site.number("SELECT count() FROM migrations")? > 0).then_some(())))
}
