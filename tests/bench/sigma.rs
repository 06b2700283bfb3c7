//! Sigma rules against events: our engine beside rsigma-eval, with the same rules and the same events, in one process, in turn.
//!
//! A round sends a lane through each side, again and again until [`EVENTS`] have gone through, as a stream does that goes on for
//! hours. It goes from bytes to the rules that match: from a JSON line, read by our parser and by `serde_json`; the events of the
//! EVTX files from the same event, made into JSON for the other beforehand. What a round
//! costs is the thread's time on a processor; the ratio is the median of the rounds' ratios. Beside it the parts, in nanoseconds
//! an event: our parser alone, parser and index, our evaluation alone, the other's evaluation alone, and the ratio of the two.
//!
//! Both know the log source of an event beforehand. rsigma is asked in its two ways, `evaluate_with_logsource`, whose matches
//! must be ours, and `evaluate_pruned`, as its own tool does with `--logsource-routing`, and the faster of the two counts.
//!
//! Two floors of a lane: the same loop with our parser alone (no evaluation, however fast, makes the ratio higher), and with the
//! parser and the index, which finds the rules worth a look and asks none. Beside them the loop with the parser and Aho-Corasick
//! automata, which are what such an index is commonly made of. Of each lane it is said whether it reaches the goal, and if not,
//! what these would reach and how near it is to the floors.

#[path = "sigma/automata.rs"]
mod automata;
#[path = "../public_rules.rs"]
mod public_rules;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use automata::Automata;
use detect::{Engine, Scratch};
use event::{Batch, Event, Events, EvtxBlock, Record, parse_batch};
use public_rules::{
    IN_USE, LANES, evtx_blocks, lane, lane_header, other_engine, other_event, other_rules, other_source,
    rule_files,
};
use rsigma_eval::event::JsonEvent;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value as Json;

/// Median ratio that each lane must reach.
const GOAL: f64 = 10.0;
/// Rounds whose ratios count, after one that warms up.
const ROUNDS: usize = 5;
/// Events of one part of a round, at least.
const EVENTS: usize = 100_000;
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
    let (ours, theirs) = engines(&files)?;
    let rules = other_rules(&files)?;
    println!("\nEvents per CPU-second from bytes to matches, and nanoseconds an event of the parts:\n");
    println!(
        "{:<20} {:>7} {:>7} {:>9} {:>9} {:>6}   {:>7} {:>7} {:>7} {:>7} {:>6}",
        "lane", "events", "matches", "ours", "rsigma", "ratio", "parse", "index", "eval", "theirs", "ratio"
    );
    let mut ratios = Vec::new();
    for name in LANES {
        ratios.push((name, Lines::read(&corpus.join("lanes"), name)?.compare(&ours, &theirs, &rules)?));
    }
    ratios.push(("evtx", Recordings::read(&corpus)?.compare(&ours, &theirs, &rules)?));
    println!();
    ratios.iter().for_each(|(name, ratios)| println!("{name}: {}", ratios.in_words()));
    let lowest = ratios.iter().map(|(_, ratios)| ratios.whole).fold(f64::INFINITY, f64::min);
    println!("\nResident memory with both engines, automata and events: {} MiB", resident_mib()?);
    println!("sigma: lowest ratio {lowest:.1} (goal {GOAL})");
    std::process::exit(i32::from(lowest < GOAL));
}

fn engines(files: &[(String, String)]) -> Result<(Engine, rsigma_eval::Engine)> {
    let before = resident_mib()?;
    let start = Instant::now();
    let (ours, _) = detect::compile(files);
    let (compiled, between) = (start.elapsed(), resident_mib()?);
    let theirs = other_engine(files)?;
    println!(
        "{} rules compile in {:.2} s; resident memory: ours {} MiB, rsigma's {} MiB",
        ours.rules().len(),
        compiled.as_secs_f64(),
        between.saturating_sub(before),
        resident_mib()?.saturating_sub(between),
    );
    Ok((ours, theirs))
}

/// How many times faster than the other engine, from bytes to matches.
struct Ratios {
    whole: f64,
    /// If we did nothing but parse.
    parser: f64,
    /// If we parsed, and asked no rule that the index finds worth it.
    index: f64,
    /// If we parsed, and only ran automata over the texts.
    automata: f64,
}

impl Ratios {
    fn in_words(&self) -> String {
        let Self { whole, parser, index, automata } = *self;
        let near = |floor: f64| 100.0 * whole / floor;
        let floors = format!(
            "the parser alone reaches {parser:.1} ({:.0} % of it), parser and index {index:.1} ({:.0} %), parser and automata {automata:.1}",
            near(parser),
            near(index)
        );
        match (whole >= GOAL, parser >= GOAL) {
            (true, _) => format!("{whole:.1}, reaches {GOAL}"),
            (false, true) => format!("{whole:.1}, misses {GOAL}; {floors}"),
            (false, false) => format!("{whole:.1}, cannot reach {GOAL}; {floors}"),
        }
    }
}

/// Events for both sides, each from its own bytes.
trait Lane {
    fn name(&self) -> &str;
    fn parse(&self) -> Vec<Event<'_>>;
    /// Parses one event after the other, as the daemon does; the sum of what is said of each.
    fn each(&self, see: &mut dyn FnMut(&Event<'_>) -> usize) -> usize;
    /// What the other evaluator is asked about, made of bytes where the lane has bytes for it.
    fn other(&self, see: &mut dyn FnMut(&Json, &rsigma_parser::LogSource));

    /// Measures, prints a row, gives the ratios.
    fn compare(
        &self,
        ours: &Engine,
        theirs: &rsigma_eval::Engine,
        rules: &[rsigma_parser::SigmaRule],
    ) -> Result<Ratios> {
        let mut scratch = Scratch::default();
        let events = self.parse();
        let matches = self.check(&events, ours, theirs)?;
        let automata = Automata::new(rules, &events, |event| {
            let source = &event.log_source;
            other_source(source.category, source.product, source.service)
        })?;
        let mut values = Vec::new();
        self.other(&mut |json, source| values.push((json.clone(), source.clone())));
        let mut rounds = Vec::new();
        let repeat = EVENTS.div_ceil(events.len());
        for _ in 0..=ROUNDS {
            let both = timed(repeat, || self.each(&mut |event| ours.evaluate(event, &mut scratch).len()));
            let others = [false, true].map(|pruned| timed(repeat, || self.run_other(theirs, pruned)));
            let parse = timed(repeat, || self.each(&mut |_| 1));
            let index = timed(repeat, || self.each(&mut |event| ours.candidates(event, &mut scratch)));
            let eval =
                timed(repeat, || events.iter().map(|event| ours.evaluate(event, &mut scratch).len()).sum());
            let evals = [false, true].map(|pruned| {
                timed(repeat, || values.iter().map(|(json, source)| ask(theirs, json, source, pruned)).sum())
            });
            let floor = timed(repeat, || {
                let mut numbers = 0..;
                self.each(&mut |event| numbers.next().map_or(0, |number| automata.found(number, event)))
            });
            rounds.push([both, others[0].min(others[1]), parse, index, eval, evals[0].min(evals[1]), floor]);
        }
        let part = |part: usize| median(rounds[1..].iter().map(|round| round[part]));
        let ratio =
            |one: usize, other: usize| median(rounds[1..].iter().map(|round| round[one] / round[other]));
        let count = (events.len() * repeat) as f64;
        println!(
            "{:<20} {:>7} {matches:>7} {:>9.0} {:>9.0} {:>6.1}   {:>7.0} {:>7.0} {:>7.0} {:>7.0} {:>6.1}",
            self.name(),
            events.len(),
            count / part(0),
            count / part(1),
            ratio(1, 0),
            part(2) / count * 1e9,
            part(3) / count * 1e9,
            part(4) / count * 1e9,
            part(5) / count * 1e9,
            ratio(5, 4),
        );
        Ok(Ratios { whole: ratio(1, 0), parser: ratio(1, 2), index: ratio(1, 3), automata: ratio(1, 6) })
    }

    fn run_other(&self, engine: &rsigma_eval::Engine, pruned: bool) -> usize {
        let mut matches = 0;
        self.other(&mut |json, source| matches += ask(engine, json, source, pruned));
        matches
    }

    /// Both find the same rules in the same events; rules for a parent category are ours alone (see `tests/engines.rs`).
    fn check(&self, events: &[Event<'_>], ours: &Engine, theirs: &rsigma_eval::Engine) -> Result<usize> {
        let (mut scratch, mut matches) = (Scratch::default(), 0);
        let mut others = Vec::new();
        self.other(&mut |json, source| {
            let found = theirs.evaluate_with_logsource(&JsonEvent::borrow(json), source);
            others.push(found.into_iter().filter_map(|found| found.header.rule_id).collect::<BTreeSet<_>>());
        });
        for (event, other) in events.iter().zip(others) {
            let found = ours.evaluate(event, &mut scratch);
            matches += found.len();
            let own = found.iter().filter(|found| found.rule.log_source.category != "registry_event");
            let own: BTreeSet<String> = own.map(|found| found.rule.id.clone()).collect();
            ensure!(own == other, "{}: {event:?}\nours: {own:?}\nrsigma's: {other:?}", self.name());
        }
        Ok(matches)
    }
}

fn ask(engine: &rsigma_eval::Engine, json: &Json, source: &rsigma_parser::LogSource, pruned: bool) -> usize {
    let event = JsonEvent::borrow(json);
    match pruned {
        true => engine.evaluate_pruned(&event, source).len(),
        false => engine.evaluate_with_logsource(&event, source).len(),
    }
}

/// JSON lines of one log source.
struct Lines {
    name: &'static str,
    lines: Vec<String>,
    batches: Vec<Batch>,
    source: rsigma_parser::LogSource,
}

impl Lines {
    fn read(lanes: &Path, name: &'static str) -> Result<Self> {
        let text = lane(lanes, name)?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let header = lane_header(&text)?;
        let batch = |lines: &[String]| {
            let record = |line| Record { time: 0, offset: 0, bytes: str::as_bytes(line) };
            Batch::new(header.clone(), lines.iter().map(|line| record(line)))
        };
        let batches = lines.chunks(BATCH_RECORDS).map(batch).collect::<Result<_, _>>()?;
        let source = other_source(&header.category, &header.product, &header.service);
        Ok(Self { name, lines, batches, source })
    }
}

impl Lane for Lines {
    fn name(&self) -> &str {
        self.name
    }

    fn parse(&self) -> Vec<Event<'_>> {
        self.batches.iter().flat_map(parse_batch).collect()
    }

    fn other(&self, see: &mut dyn FnMut(&Json, &rsigma_parser::LogSource)) {
        for line in &self.lines {
            see(&serde_json::from_str(line).unwrap_or_default(), &self.source);
        }
    }

    fn each(&self, see: &mut dyn FnMut(&Event<'_>) -> usize) -> usize {
        let mut sum = 0;
        for batch in &self.batches {
            let mut events = Events::of(batch);
            while let Some(event) = events.next() {
                sum += see(&event);
            }
        }
        sum
    }
}

/// The events of all EVTX files, read already.
struct Recordings {
    blocks: Vec<EvtxBlock>,
    others: Vec<(Json, rsigma_parser::LogSource)>,
}

impl Recordings {
    fn read(corpus: &Path) -> Result<Self> {
        let blocks = evtx_blocks(corpus)?;
        let events = blocks.iter().flat_map(|block| block.events(0)).map(|(_, event)| event);
        let others = events.map(|event| {
            let source = &event.log_source;
            (other_event(&event), other_source(source.category, source.product, source.service))
        });
        Ok(Self { others: others.collect(), blocks })
    }
}

impl Lane for Recordings {
    fn name(&self) -> &str {
        "evtx"
    }

    fn parse(&self) -> Vec<Event<'_>> {
        self.blocks.iter().flat_map(|block| block.events(0)).map(|(_, event)| event).collect()
    }

    fn other(&self, see: &mut dyn FnMut(&Json, &rsigma_parser::LogSource)) {
        self.others.iter().for_each(|(json, source)| see(json, source));
    }

    fn each(&self, see: &mut dyn FnMut(&Event<'_>) -> usize) -> usize {
        let mut sum = 0;
        for block in &self.blocks {
            block.each_event(0, |_, event| sum += see(event));
        }
        sum
    }
}

/// Seconds that this thread spent on a processor to do some work so many times.
fn timed(repeat: usize, mut work: impl FnMut() -> usize) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let before = now();
    for _ in 0..repeat {
        black_box(work());
    }
    now() - before
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
