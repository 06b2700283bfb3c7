//! Sigma rules against events: our engine beside rsigma-eval, with the same rules and the same events, in one process, in turn.
//!
//! A round sends the lane's events through each side once, from the bytes of a JSON line to the rules that match. What a
//! round costs is the thread's time on a processor; the ratio is the median of the rounds' ratios. Beside it, the parts: our
//! parser alone, and both evaluators alone on events that are parsed already.
//!
//! Both know the log source of a lane beforehand. rsigma is asked in its fastest way, by `evaluate_pruned`, as its own tool does with
//! `--logsource-routing`; that also gives rules whose log source the event only does not contradict, and these are left out of
//! the comparison of matches.

#[path = "../public_rules.rs"]
mod public_rules;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use detect::{Engine, Scratch};
use event::{Batch, Event, Record, parse_batch};
use public_rules::{IN_USE, LANES, lane, lane_header, other_engine, other_source, rule_files};
use rsigma_eval::event::JsonEvent;
use serde_json::Value as Json;

/// Median ratio that each lane must reach.
const GOAL: f64 = 10.0;
/// Rounds whose ratios count, after one that warms up.
const ROUNDS: usize = 7;
/// Records of one batch, as agents send them.
const BATCH_RECORDS: usize = 1000;

fn main() -> Result<()> {
    let corpus = std::env::var_os("VONGGAC_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"), PathBuf::from);
    if !corpus.is_dir() {
        println!("SKIPPED: {} is not there (VONGGAC_CORPUS names the public corpus)", corpus.display());
        return Ok(());
    }
    let files = rule_files(&corpus.join("sigmahq"), &IN_USE)?;
    let resident_before = resident_mib()?;
    let start = Instant::now();
    let (ours, _) = detect::compile(&files);
    let (compiled, resident) = (start.elapsed(), resident_mib()?);
    let theirs = other_engine(&files)?;
    println!(
        "{} rules compile in {:.2} s; resident memory: ours {} MiB, rsigma's {} MiB",
        ours.rules().len(),
        compiled.as_secs_f64(),
        resident.saturating_sub(resident_before),
        resident_mib()?.saturating_sub(resident),
    );
    println!("\nEvents per CPU-second, from JSON line to matches (and the evaluation alone):\n");
    println!(
        "{:<20} {:>7} {:>10} {:>10} {:>7}   {:>10} {:>10} {:>10} {:>7}  matches",
        "lane", "events", "ours", "rsigma", "ratio", "our parser", "ours", "rsigma", "ratio"
    );
    let mut lowest = f64::INFINITY;
    for name in LANES {
        let lane = Lane::read(&corpus.join("lanes"), name)?;
        lowest = lowest.min(lane.compare(&ours, &theirs)?);
    }
    println!("\nOur resident memory with the lanes' indexes: {} MiB in all", resident_mib()?);
    println!("sigma: lowest ratio {lowest:.1} (goal {GOAL})");
    std::process::exit(i32::from(lowest < GOAL));
}

/// Events of one log source, for both sides.
struct Lane {
    name: String,
    lines: Vec<String>,
    batches: Vec<Batch>,
    source: rsigma_parser::LogSource,
}

impl Lane {
    fn read(lanes: &Path, name: &str) -> Result<Self> {
        let text = lane(lanes, name)?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let header = lane_header(&text)?;
        let batch = |lines: &[String]| {
            let record = |line| Record { time: 0, offset: 0, bytes: str::as_bytes(line) };
            Batch::new(header.clone(), lines.iter().map(|line| record(line)))
        };
        let batches = lines.chunks(BATCH_RECORDS).map(batch).collect::<Result<_, _>>()?;
        let source = other_source(&header.category, &header.product, &header.service);
        Ok(Self { name: name.to_owned(), lines, batches, source })
    }

    /// Measures, prints a row, gives the ratio.
    fn compare(&self, ours: &Engine, theirs: &rsigma_eval::Engine) -> Result<f64> {
        let matches = self.check(ours, theirs)?;
        let events: Vec<Event<'_>> = self.batches.iter().flat_map(parse_batch).collect();
        let values: Vec<Json> =
            self.lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
        let mut scratch = Scratch::default();
        let mut rounds = Vec::new();
        for _ in 0..=ROUNDS {
            rounds.push([
                timed(|| self.run_ours(ours, &mut scratch))?,
                timed(|| self.run_theirs(theirs))?,
                timed(|| self.batches.iter().map(|batch| parse_batch(batch).len()).sum())?,
                timed(|| events.iter().map(|event| ours.evaluate(event, &mut scratch).len()).sum())?,
                timed(|| {
                    values
                        .iter()
                        .map(|json| theirs.evaluate_pruned(&JsonEvent::borrow(json), &self.source).len())
                        .sum()
                })?,
            ]);
        }
        let rounds = &rounds[1..];
        let rate = |part: usize| self.lines.len() as f64 / median(rounds.iter().map(|round| round[part]));
        let ratio = median(rounds.iter().map(|round| round[1] / round[0]));
        let alone = median(rounds.iter().map(|round| round[4] / round[3]));
        println!(
            "{:<20} {:>7} {:>10.0} {:>10.0} {ratio:>7.1}   {:>10.0} {:>10.0} {:>10.0} {alone:>7.1}  {matches}",
            self.name,
            self.lines.len(),
            rate(0),
            rate(1),
            rate(2),
            rate(3),
            rate(4),
        );
        Ok(ratio)
    }

    fn run_ours(&self, engine: &Engine, scratch: &mut Scratch) -> usize {
        let mut matches = 0;
        for batch in &self.batches {
            for event in parse_batch(batch) {
                matches += engine.evaluate(&event, scratch).len();
            }
        }
        matches
    }

    fn run_theirs(&self, engine: &rsigma_eval::Engine) -> usize {
        let mut matches = 0;
        for line in &self.lines {
            let json: Json = serde_json::from_str(line).unwrap_or_default();
            matches += engine.evaluate_pruned(&JsonEvent::borrow(&json), &self.source).len();
        }
        matches
    }

    /// Both find the same rules in the same events.
    fn check(&self, ours: &Engine, theirs: &rsigma_eval::Engine) -> Result<usize> {
        let mut scratch = Scratch::default();
        let mut matches = 0;
        let events = self.batches.iter().flat_map(parse_batch);
        for (line, event) in self.lines.iter().zip(events) {
            let mut own: Vec<String> =
                ours.evaluate(&event, &mut scratch).iter().map(|found| found.rule.id.clone()).collect();
            let json: Json = serde_json::from_str(line)?;
            let found = theirs.evaluate_with_logsource(&JsonEvent::borrow(&json), &self.source);
            let mut other: Vec<String> = found.into_iter().filter_map(|found| found.header.rule_id).collect();
            own.sort_unstable();
            other.sort_unstable();
            ensure!(own == other, "{}: {line}\nours: {own:?}\nrsigma's: {other:?}", self.name);
            matches += own.len();
        }
        Ok(matches)
    }
}

/// Seconds that this thread spent on a processor.
fn timed(work: impl FnOnce() -> usize) -> Result<f64> {
    let before = processor_ns()?;
    black_box(work());
    Ok((processor_ns()? - before) as f64 / 1e9)
}

fn processor_ns() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    text.split(' ').next().and_then(|field| field.parse().ok()).context("/proc/thread-self/schedstat")
}

fn resident_mib() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
