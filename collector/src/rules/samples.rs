//! Samples of rules: what a rule must match and what it must not, as the source would write it.
//!
//! Beside NAME.yml stand NAME.hit and NAME.miss. Each is read as one batch by the same parsers as live logs, all rules of
//! the tree are evaluated and correlated, and the events' own times are believed however old they are.
//!
//! - A detection rule must match every event of its .hit and no event of its .miss.
//! - A correlation rule must be raised by its .hit as a whole and not by its .miss.
//! - Where a file holds several rules, each must do so with every event or with the file as a whole; a rule that is only
//!   material for the correlations of its own file may match what it likes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use detect::{Engine, EventKey, Kind, Rule, Scratch};
use event::{BATCH_RECORDS_MAX, Batch, Event, Format, Header, Micros, Record};

use super::{ensure_there, load, write_out};
use crate::people::counted;
use crate::people::escape::shown;

/// A sample is believed at any time: a thousand years before and after.
pub(super) const ANY_TIME: Micros = 1000 * 366 * 24 * 3600 * 1_000_000;

/// The host that a sample's events are said to come from.
const HOST: &str = "sample";

/// The first words of a sample.
pub(super) const MARK: &str = "#!";

#[derive(Debug, clap::Args)]
pub(super) struct TestArgs {
    /// Folders (or single files) of rules
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
}

/// Which of the two samples.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    Hit,
    Miss,
}

/// What came out of a tree.
#[derive(Debug, Default)]
struct Outcome {
    rules: usize,
    samples: usize,
    failures: Vec<String>,
}

/// Runs `vonggac rules test`.
pub(super) fn test(args: &TestArgs) -> Result<ExitCode> {
    ensure_there(&args.folders)?;
    let (engine, problems) = load(&args.folders);
    let mut outcome =
        Outcome { failures: problems.iter().map(ToString::to_string).collect(), ..Outcome::default() };
    for rule in engine.rules() {
        outcome.rule(&engine, rule);
    }
    let mut out: String = outcome.failures.iter().map(|failure| format!("{}\n", shown(failure))).collect();
    let (rules, samples, failures) = (outcome.rules, outcome.samples, outcome.failures.len());
    let number = |number: usize, one: &str| counted(number as u64, one);
    out.push_str(&format!(
        "{}, {}, {}\n",
        number(rules, "rule"),
        number(samples, "sample"),
        number(failures, "failure")
    ));
    write_out(&out)?;
    Ok(ExitCode::from(u8::from(failures > 0)))
}

impl Outcome {
    fn rule(&mut self, engine: &Engine, rule: &Arc<Rule>) {
        self.rules = self.rules.saturating_add(1);
        if is_material_of_its_file(engine, rule) {
            return;
        }
        for expected in [Expected::Hit, Expected::Miss] {
            let path = Path::new(&rule.path).with_extension(expected.extension());
            if let Err(failure) = self.sample(engine, rule, &path, expected) {
                self.failures.push(format!("{}: {}: {failure:#}", path.display(), rule.title));
            }
        }
    }

    fn sample(&mut self, engine: &Engine, rule: &Arc<Rule>, path: &Path, expected: Expected) -> Result<()> {
        if !path.try_exists()? {
            bail!("the rule has no such sample");
        }
        let text = std::fs::read(path)?;
        self.samples = self.samples.saturating_add(1);
        let batch = batch(&text)?;
        let events = event::parse_batch_within(&batch, ANY_TIME, ANY_TIME);
        if events.is_empty() {
            bail!("the sample has no event");
        }
        match (rule.kind, expected) {
            (Kind::Detection, _) => every_event(engine, rule, &events, expected),
            (Kind::Correlation, Expected::Hit) if !is_raised(engine, rule, &events) => {
                bail!("the correlation is not raised")
            }
            (Kind::Correlation, Expected::Miss) if is_raised(engine, rule, &events) => {
                bail!("the correlation is raised, and must not be")
            }
            (Kind::Correlation, _) => Ok(()),
        }
    }
}

impl Expected {
    fn extension(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
        }
    }
}

/// Whether a correlation in the same file refers to the rule: then that one's samples are its samples.
fn is_material_of_its_file(engine: &Engine, rule: &Rule) -> bool {
    let beside =
        |other: &Arc<Rule>| other.path == rule.path && other.kind == Kind::Correlation && other.id != rule.id;
    !rule.alerts && engine.rules().iter().any(beside)
}

/// A sample as a batch of one source.
fn batch(text: &[u8]) -> Result<Batch> {
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let (first, lines) = text.split_at(end);
    batch_of(header(&String::from_utf8_lossy(first))?, lines)
}

/// Lines as a batch.
pub(super) fn batch_of(header: Header, lines: &[u8]) -> Result<Batch> {
    let lines = lines.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let now = jiff::Timestamp::now().as_microsecond();
    let mut offset = 0_u64;
    let records: Vec<Record<'_>> = lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            offset = offset.saturating_add(1);
            Record { offset, time: now, bytes: line }
        })
        .collect();
    if records.len() > BATCH_RECORDS_MAX {
        bail!("the sample has {} lines, at most {BATCH_RECORDS_MAX} are read", records.len());
    }
    Ok(Batch::new(Header { time_base: now, ..header }, records)?)
}

/// `#! format=syslog product=linux service=sshd`.
pub(super) fn header(first: &str) -> Result<Header> {
    let words = first
        .strip_prefix(MARK)
        .with_context(|| format!("expected `{MARK} format=...` on the first line"))?;
    let mut header =
        Header { agent: HOST.to_owned(), epoch: 1, seq: 1, source: HOST.to_owned(), ..Header::default() };
    for word in words.split_whitespace() {
        let (key, value) = word.split_once('=').with_context(|| format!("`{word}`: expected KEY=VALUE"))?;
        match key {
            "format" => {
                header.format =
                    Format::from_name(value).with_context(|| format!("`{value}` is no format"))?;
            }
            "category" => value.clone_into(&mut header.category),
            "product" => value.clone_into(&mut header.product),
            "service" => value.clone_into(&mut header.service),
            _ => bail!("`{key}`: expected one of format, category, product, service"),
        }
    }
    Ok(header)
}

/// A detection rule looks at each event.
fn every_event(engine: &Engine, rule: &Rule, events: &[Event<'_>], expected: Expected) -> Result<()> {
    let mut scratch = Scratch::default();
    for event in events {
        let found = engine.evaluate(event, &mut scratch).iter().any(|found| found.rule.id == rule.id);
        match expected {
            Expected::Hit if !found => bail!("does not match line {}: {}", line(event), event.message),
            Expected::Miss if found => bail!("matches line {}, and must not: {}", line(event), event.message),
            _ => {}
        }
    }
    Ok(())
}

/// Line of the sample, after the first; empty lines are not counted.
fn line(event: &Event<'_>) -> u32 {
    event.record.saturating_add(2)
}

/// A correlation rule looks at all events together.
fn is_raised(engine: &Engine, rule: &Rule, events: &[Event<'_>]) -> bool {
    let mut scratch = Scratch::default();
    let mut correlator = engine.correlator();
    let agent: Arc<str> = HOST.into();
    let mut raised = false;
    for event in events {
        for found in engine.evaluate(event, &mut scratch) {
            let key = EventKey { agent: Arc::clone(&agent), epoch: 1, seq: 1, record: event.record };
            let hits = engine.hit(&found.rule, event, key).map(|hit| correlator.observe(hit, event.ts));
            raised |= hits.into_iter().flatten().any(|hit| hit.rule.id == rule.id);
        }
    }
    raised
}
