//! An event that no rule matches, and that names no indicator, costs no allocation, once a thread has seen the like.
//!
//! The second pass counts: in the first one buffers grow, and expressions build the states that they need.

use std::fs;

use allocation_counter::measure;
use anyhow::{Result, ensure};
use detect::{Engine, IndicatorKind, IndicatorsBuilder, NewIndicator, Scratch, Severity, Sightseer};
use event::{Batch, Event, Format, Header, Record, parse_batch};

use crate::corpus::corpus;
use crate::public_rules::{IN_USE, LANES, evtx_blocks, files, lane, lane_header, rule_files};
use crate::site::root;

#[test]
fn an_event_without_a_match_allocates_nothing() -> Result<()> {
    let (engine, problems) = detect::compile(&rule_files(root(), &["rules/sigma"])?);
    ensure!(problems.is_empty(), "{problems:?}");
    let mut batches = Vec::new();
    for path in files(&root().join("rules/sigma"), "miss")? {
        let text = fs::read_to_string(path)?;
        let header = Header { format: Format::Auto, product: "linux".to_owned(), ..Header::default() };
        batches.push(batch(header, text.lines().skip(1))?);
    }
    let events: Vec<Event<'_>> = batches.iter().flat_map(parse_batch).collect();
    let quiet = check(&engine, &events)?;
    ensure!(quiet > 20, "only {quiet} events have no match");
    Ok(())
}

#[test]
fn a_public_event_without_a_match_allocates_nothing() -> Result<()> {
    let Some(corpus) = corpus("") else { return Ok(()) };
    let (engine, _) = detect::compile(&rule_files(&corpus.join("sigmahq"), &IN_USE)?);
    let mut quiet = 0;
    for name in LANES {
        let text = lane(&corpus.join("lanes"), name)?;
        let batch = batch(lane_header(&text)?, text.lines().take(1000))?;
        quiet += check(&engine, &parse_batch(&batch))?;
    }
    let blocks = evtx_blocks(&corpus)?;
    let events: Vec<Event<'_>> =
        blocks.iter().flat_map(|block| block.events(0)).map(|(_, event)| event).collect();
    quiet += check(&engine, &events)?;
    ensure!(quiet > 3000, "only {quiet} events have no match");
    Ok(())
}

#[test]
fn an_event_that_names_no_indicator_allocates_nothing() -> Result<()> {
    let mut builder = IndicatorsBuilder::default();
    for (kind, value) in [
        (IndicatorKind::Address, "198.51.100.0/24"),
        (IndicatorKind::Domain, "evil.example"),
        (IndicatorKind::Url, "http://evil.example/gate"),
        (IndicatorKind::Md5, "d41d8cd98f00b204e9800998ecf8427e"),
        (IndicatorKind::Ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1"),
    ] {
        let indicator = NewIndicator {
            kind,
            value,
            feed: "feed",
            path: "feed.csv",
            severity: Severity::High,
            confidence: None,
            tlp: "",
            name: "",
            description: "",
            labels: &[],
            valid_from: None,
            valid_until: None,
            local_allowed: false,
        };
        builder.add(&indicator)?;
    }
    let (indicators, mut sightseer) = (builder.build(), Sightseer::default());
    let header = Header { format: Format::Auto, ..Header::default() };
    let lines = [
        r#"{"kind":"dns","src_ip":"192.0.2.1","query":"a.example","answer":["192.0.2.7","cdn.example"]}"#,
        r#"{"server_name":"[::1]:443","cs-host":"www.example","cs-uri-stem":"/x","cs-uri-query":"y=(1)[2]","ja4":"x"}"#,
        r#"{"Hashes":"MD5=AA,SHA256=BB,IMPHASH=CC","DestinationIp":"2001:db8::1","DestinationHostname":"pc.example"}"#,
        r#"{"cs-referer":"https://user@www.example:8443/a?b#c","c-uri":"http://192.0.2.8/x"}"#,
    ];
    let batch = batch(header, lines.into_iter())?;
    for event in parse_batch(&batch) {
        ensure!(indicators.observe(&event, &mut sightseer).is_empty(), "{event:?}");
        let allocations = measure(|| drop(indicators.observe(&event, &mut sightseer)));
        ensure!(allocations.count_total == 0, "{} allocations: {event:?}", allocations.count_total);
    }
    Ok(())
}

fn batch<'t>(header: Header, lines: impl Iterator<Item = &'t str>) -> Result<Batch> {
    let record = |line: &'t str| Record { time: 0, offset: 0, bytes: line.as_bytes() };
    Ok(Batch::new(header, lines.filter(|line| !line.is_empty()).map(record))?)
}

/// How many of the events have no match; none of these may allocate.
fn check(engine: &Engine, events: &[Event<'_>]) -> Result<usize> {
    let mut scratch = Scratch::default();
    let matching: Vec<bool> =
        events.iter().map(|event| !engine.evaluate(event, &mut scratch).is_empty()).collect();
    let mut quiet = 0;
    for (event, _) in events.iter().zip(matching).filter(|(_, matches)| !matches) {
        let allocations = measure(|| drop(engine.evaluate(event, &mut scratch)));
        ensure!(allocations.count_total == 0, "{} allocations: {event:?}", allocations.count_total);
        quiet += 1;
    }
    Ok(quiet)
}
