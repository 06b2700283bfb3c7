//! The same events through three evaluators: our index, our scan, which is its oracle, and another project's.
//!
//! Rules: all of SigmaHQ's that are in use. Events: the lanes, SigmaHQ's recordings as JSON, and all EVTX files of the corpus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use detect::{Match, Scratch};
use event::{Batch, Event, Format, Header, Record, parse_batch};
use rsigma_eval::event::JsonEvent;
use serde_json::Value as Json;

use crate::corpus::corpus;
use crate::public_rules::{
    IN_USE, LANES, evtx_blocks, files, lane, lane_header, other_engine, other_event, other_source, rule_files,
};
use crate::rules::listed;

/// Rules on which the other evaluator differs, with the specification's sentences.
const DIFFERENCES: &str = include_str!("data/rules/differences.txt");

/// Records of one batch.
const BATCH_RECORDS: usize = 1000;

/// Every so many-th event of a lane is given to the other evaluator, which is slow: a lane repeats its kinds of events.
const LANE_STEP: usize = 10;

#[test]
fn the_index_finds_what_the_scan_finds() -> Result<()> {
    let Some(corpus) = corpus("") else { return Ok(()) };
    let (engine, _) = detect::compile(&rule_files(&corpus.join("sigmahq"), &IN_USE)?);
    let (mut scratch, mut events, mut matches) = (Scratch::default(), 0, 0);
    each_event(&corpus, 1, |place, event| {
        let (index, scan) = (engine.evaluate(event, &mut scratch), engine.scan(event, &mut scratch));
        events += 1;
        matches += scan.len();
        ensure!(
            in_order(&index) == in_order(&scan),
            "{place}: {:?}, not {:?}",
            in_order(&index),
            in_order(&scan)
        );
        Ok(())
    })?;
    println!("{events} events, {} rules, {matches} matches", engine.rules().len());
    ensure!(events > 30_000 && matches > 10_000, "{events} events and {matches} matches compare nothing");
    Ok(())
}

fn in_order(matches: &[Match]) -> Vec<&str> {
    matches.iter().map(|found| found.rule.id.as_str()).collect()
}

#[test]
fn another_evaluator_differs_only_where_the_specification_is_with_us() -> Result<()> {
    let Some(corpus) = corpus("") else { return Ok(()) };
    let files = rule_files(&corpus.join("sigmahq"), &IN_USE)?;
    let ((ours, _), theirs) = (detect::compile(&files), other_engine(&files)?);
    let (mut scratch, mut differing, mut matches) = (Scratch::default(), BTreeMap::new(), 0);
    each_event(&corpus, LANE_STEP, |place, event| {
        let own = ours.evaluate(event, &mut scratch);
        let own: BTreeSet<String> = own.iter().map(|found| found.rule.id.clone()).collect();
        let other = evaluate_other(&theirs, event);
        matches += own.len();
        for id in own.symmetric_difference(&other) {
            let side = if own.contains(id) { "only ours" } else { "only theirs" };
            differing.entry(format!("{id} {side}")).or_insert_with(|| place.to_owned());
        }
        Ok(())
    })?;
    println!("{} rules, {matches} matches, {} rules differ", ours.rules().len(), differing.len());
    let expected: BTreeSet<String> = listed(DIFFERENCES).into_iter().map(|(_, line)| line).collect();
    let found: BTreeSet<String> = differing.keys().cloned().collect();
    let gone: Vec<_> = expected.difference(&found).collect();
    let new: Vec<_> = differing.iter().filter(|(line, _)| !expected.contains(*line)).collect();
    ensure!(gone.is_empty() && new.is_empty(), "listed, but do not differ: {gone:#?}\nnot listed: {new:#?}");
    Ok(())
}

fn evaluate_other(engine: &rsigma_eval::Engine, event: &Event<'_>) -> BTreeSet<String> {
    let source = &event.log_source;
    let source = other_source(source.category, source.product, source.service);
    let found = engine.evaluate_with_logsource(&JsonEvent::borrow(&other_event(event)), &source);
    found.into_iter().filter_map(|found| found.header.rule_id).collect()
}

/// Shows each event with the place where it stands; of the lanes every `lane_step`-th.
fn each_event(
    corpus: &Path,
    lane_step: usize,
    mut see: impl FnMut(&str, &Event<'_>) -> Result<()>,
) -> Result<()> {
    for name in LANES {
        let text = lane(&corpus.join("lanes"), name)?;
        let lines: Vec<&str> = text.lines().step_by(lane_step).collect();
        each_line(name, &lane_header(&text)?, &lines, &mut see)?;
    }
    for path in files(&corpus.join("sigmahq/regression_data"), "json")? {
        let path = path.display().to_string();
        let text = fs::read_to_string(&path)?;
        let values = serde_json::Deserializer::from_str(&text).into_iter::<Json>();
        let values: Vec<Json> = values.collect::<Result<_, _>>().with_context(|| path.clone())?;
        let events = values.into_iter().flat_map(|json| match json {
            Json::Array(events) => events,
            event => vec![event],
        });
        let lines: Vec<String> = events.map(|event| event.to_string()).collect();
        let header = Header { format: Format::Json, product: "windows".to_owned(), ..Header::default() };
        each_line(&path, &header, &lines, &mut see)?;
    }
    for block in evtx_blocks(corpus)? {
        for (number, event) in block.events(0) {
            see(&format!("record {number}: {:?}", event.fields), &event)?;
        }
    }
    Ok(())
}

fn each_line<L: AsRef<str>>(
    place: &str,
    header: &Header,
    lines: &[L],
    see: &mut impl FnMut(&str, &Event<'_>) -> Result<()>,
) -> Result<()> {
    for lines in lines.chunks(BATCH_RECORDS) {
        let records = lines.iter().map(|line| Record { time: 0, offset: 0, bytes: line.as_ref().as_bytes() });
        let batch = Batch::new(header.clone(), records)?;
        for (event, line) in parse_batch(&batch).iter().zip(lines) {
            see(&format!("{place}: {}", line.as_ref()), event)?;
        }
    }
    Ok(())
}
