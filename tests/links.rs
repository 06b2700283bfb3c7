//! How full lines are, held against traffic of which the figures are known by its making.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::site::{self, Site};

const LINKS: &str = r#"
[[organisation]]
id = "xa"
name = "UBND xã"

[[link]]
id = "narrow"
name = "Narrow"
organisation = "xa"
mbps = 10
mbps_min = 30
networks = ["10.30.0.0/16", "2001:db8:30::/48"]
observer = "gw01"
source = "capture:eth0"

[[link]]
id = "wide"
name = "Wide"
organisation = "xa"
mbps = 100
networks = ["10.40.0.0/16"]
observer = "192.0.2.1"
"#;

/// Days of which there are flows, and the day behind.
const DAYS: [&str; 9] = [
    "2026-11-01",
    "2026-11-02",
    "2026-11-03",
    "2026-11-04",
    "2026-11-05",
    "2026-11-06",
    "2026-11-07",
    "2026-11-08",
    "2026-11-09",
];
const BEHIND: &str = "2026-11-10";
/// A tenth of a day's samples: twice as many as may be above the percentile.
const BUSY_SAMPLES: u32 = 29;

/// Flows of a day: one a sample, `mbps` from the site out and a tenth of it back.
fn flows(day: &str, samples: u32, mbps: f64, source: &str, destination: &str, observer: &str) -> String {
    let (bytes, host, exporter) = (mbps * 300.0 / 8.0 * 1e6, observer, "::");
    let (host, exporter) = if observer.contains('.') {
        ("other", format!("::ffff:{observer}"))
    } else {
        (host, exporter.into())
    };
    format!(
        "INSERT INTO vonggac.flows (ts, ts_end, ts_conn, ts_received, host, agent, source, exporter, src_ip, dst_ip, src_bytes, \
           dst_bytes, retention_days, drill_id) \
         SELECT toDateTime64('{day} 08:00:00', 6, 'UTC') + number * 300 AS at, at + toIntervalMicrosecond(299999999), at, at, \
           '{host}', '{host}', 'capture:eth0', toIPv6('{exporter}'), toIPv6('{source}'), toIPv6('{destination}'), toUInt64({bytes}), \
           toUInt64({bytes} / 10), 3650, '' FROM numbers({samples})"
    )
}

fn answer(site: &Site, until: &str, arguments: &[&str]) -> Result<(i32, Vec<Value>)> {
    let output =
        site.vonggac(&[&["links", "--until", until, "--utc", "--format", "json"], arguments].concat())?;
    let code = output.status.code().unwrap_or(-1);
    ensure!(code != 2, "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    Ok((code, text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?))
}

fn close(value: &Value, expected: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - expected).abs() < 0.01 * expected.max(0.01))
}

#[test]
fn tells_lines_that_are_full_from_those_that_do() -> Result<()> {
    if !site::engine_present("links") {
        return Ok(());
    }
    let site = Site::start(LINKS)?;
    let (code, rows) = answer(&site, BEHIND, &[])?;
    assert_eq!(
        (code, rows[0]["state"].as_str(), rows.len()),
        (1, Some("unknown"), 2),
        "nothing came, and it is too narrow"
    );
    for day in DAYS {
        site.query(&flows(day, BUSY_SAMPLES, 9.5, "::ffff:10.30.0.5", "::ffff:198.51.100.7", "gw01"))?;
        site.query(&flows(day, BUSY_SAMPLES, 5.0, "::ffff:198.51.100.7", "::ffff:10.40.0.5", "192.0.2.1"))?;
    }
    // Not of the line: seen by another, between hosts of the place, between hosts of elsewhere.
    site.query(&flows("2026-11-09", 200, 99.0, "::ffff:10.30.0.5", "::ffff:198.51.100.7", "gw02"))?;
    site.query(&flows("2026-11-09", 200, 99.0, "::ffff:10.30.0.5", "2001:db8:30::1", "gw01"))?;
    site.query(&flows("2026-11-09", 200, 99.0, "2001:db8:31::1", "2001:db8:32::1", "gw01"))?;
    let (code, rows) = answer(&site, BEHIND, &[])?;
    assert_eq!((code, rows.len()), (1, 2));
    let (narrow, wide) = (&rows[0], &rows[1]);
    assert!(close(&narrow["sent_mbps"], 9.5) && close(&narrow["received_mbps"], 0.95), "{narrow}");
    assert_eq!((narrow["state"].as_str(), narrow["full_days"].as_u64()), (Some("too_small"), Some(9)));
    assert!(close(&wide["sent_mbps"], 0.5) && close(&wide["received_mbps"], 5.0), "{wide}");
    assert_eq!((wide["state"].as_str(), wide["full_days"].as_u64()), (Some("well"), Some(0)));
    let (code, days) = answer(&site, BEHIND, &["wide", "--days", "3"])?;
    assert_eq!((code, days.len()), (0, 3));
    assert_eq!((days[0]["date"].as_str(), days[0]["samples"].as_u64()), (Some("2026-11-07"), Some(29)));
    spreads_a_long_record(&site)
}

/// What an interface counted, one sample of which is twice as long; the interface is inside, so what it receives is sent.
#[test]
fn counters_of_an_interface_tell_where_the_inventory_says_so() -> Result<()> {
    if !site::engine_present("links") {
        return Ok(());
    }
    let counters =
        LINKS.replace("source = \"capture:eth0\"", "source = \"capture:eth0\"\ncounters = \"inside\"");
    let site = Site::start(&counters)?;
    site.query(&flows("2026-11-09", BUSY_SAMPLES, 9.5, "::ffff:10.30.0.5", "::ffff:198.51.100.7", "gw01"))?;
    let bytes = 4.0 * 300.0 / 8.0 * 1e6;
    site.query(&format!(
        "INSERT INTO vonggac.events (ts, ts_received, host, agent, source, kind, retention_days, src_ip, dst_ip, fields) \
         SELECT toDateTime64('2026-11-09 08:00:00', 6, 'UTC') + number * 600, now64(6), 'gw01', 'gw01', 'capture:eth0', 'interface', 3650, \
           toIPv6('::'), toIPv6('::'), map('duration_us', '600000000', 'rx_bytes', toString(toUInt64(2 * {bytes})), 'tx_bytes', '0') \
         FROM numbers({BUSY_SAMPLES})"
    ))?;
    let (_, rows) = answer(&site, BEHIND, &[])?;
    assert!(close(&rows[0]["sent_mbps"], 4.0) && rows[0]["received_mbps"] == 0.0, "{}", rows[0]);
    let (_, days) = answer(&site, BEHIND, &["narrow", "--days", "1"])?;
    assert_eq!(
        days[0]["samples"].as_u64(),
        Some(2 * u64::from(BUSY_SAMPLES) + 1),
        "the last one ends where another begins"
    );
    Ok(())
}

#[test]
fn the_collector_follows_lines_day_by_day() -> Result<()> {
    if !site::engine_present("links") {
        return Ok(());
    }
    let mut site = Site::start(LINKS)?;
    let yesterday = jiff::Zoned::now().date().yesterday()?.to_string();
    site.query(&flows(&yesterday, BUSY_SAMPLES, 9.5, "::ffff:10.30.0.5", "::ffff:198.51.100.7", "gw01"))?;
    // It looks when it starts.
    site.end_collector()?;
    site.start_collector()?;
    let metrics = site::until("lines are told", || {
        let metrics = site.metrics()?;
        Ok(metrics.contains("vonggac_link_percent{link=\"wide\"}").then_some(metrics))
    })?;
    for line in [
        "vonggac_link_full_days{link=\"narrow\"} 1",
        "vonggac_link_full_days{link=\"wide\"} 0",
        "vonggac_link_samples_count{link=\"wide\"} 0",
    ] {
        assert!(metrics.lines().any(|own| own == line), "{line}:\n{metrics}");
    }
    let row =
        format!("SELECT count() FROM vonggac.link_days FINAL WHERE link = 'narrow' AND day = '{yesterday}'");
    assert_eq!(site.number(&format!("{row} AND abs(percent - 95) < 0.1 AND samples = {BUSY_SAMPLES}"))?, 1);
    assert_eq!(site.number("SELECT count() FROM vonggac.link_days FINAL")?, 2 * 14);
    Ok(())
}

/// Two hours in one record are 24 samples, not one of 24 times the rate.
fn spreads_a_long_record(site: &Site) -> Result<()> {
    let bytes = 8.0 * 7200.0 / 8.0 * 1e6;
    site.query(&format!(
        "INSERT INTO vonggac.flows (ts, ts_end, ts_conn, ts_received, host, agent, exporter, src_ip, dst_ip, src_bytes, retention_days) \
         SELECT toDateTime64('2026-10-31 23:00:00', 6, 'UTC') AS at, at + 7200, at, at, 'r', 'r', toIPv6('::ffff:192.0.2.1'), \
           toIPv6('::ffff:10.40.0.5'), toIPv6('::ffff:198.51.100.7'), toUInt64({bytes}), 3650"
    ))?;
    let (_, days) = answer(site, "2026-11-01", &["wide", "--days", "1"])?;
    assert!(
        days[0]["samples"].as_u64() == Some(12) && days[0]["sent_mbps"].as_f64() == Some(0.0),
        "{}",
        days[0]
    );
    let (_, days) = answer(site, "2026-11-02", &["wide", "--days", "1"])?;
    assert_eq!(
        days[0]["samples"].as_u64(),
        Some(29 + 13),
        "12 of the record, and the microsecond in which it ends"
    );
    Ok(())
}
