//! `vonggac scan`: hunts through files of evidence with a rule set. No store, no daemon, no configuration: what a responder
//! runs on what was copied from a host.
//!
//! One thread a core takes the next piece of evidence ([`evidence`]) from behind a lock, and reads, parses and matches it
//! ([`hunt`]). When all is read, correlations see the matches in the order of time, and the findings are shown ([`report`]).
//!
//! What is not read is never kept quiet: a file, a chunk, a record or a rule that cannot be read is named on standard error,
//! counted in the summary, and tells in the exit code.

mod evidence;
mod hunt;
mod report;

use std::io::{IsTerminal, Write};
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use detect::{Engine, Severity};

use crate::config::{Config, ConfigArg};
use crate::inventory::Inventory;
use crate::people::{Clock, Format, Listed, OutputArgs, counted, grouped, offset_s, print, shown};
use crate::rules::{ensure_there, load_in_words};

use evidence::Evidence;
use hunt::{Hunt, Hunter, Outcome};
use report::{Row, Stage};

/// How often the progress is written anew.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Exit code: done, but not everything could be read.
const INCOMPLETE: u8 = 3;

/// Rules of a source tree, where no others are configured.
const RULES_HERE: &str = "rules/sigma";

const EXAMPLES: &str = "\
Examples:
  vonggac scan /evidence                              every file below it, with the configured rules
  vonggac scan Security.evtx --rules sigma/rules      one file, with SigmaHQ's rules
  vonggac scan /evidence --severity high --timeline   the attack by host, technique and time
  vonggac scan /evidence --format json | jq -r .rule_title | sort | uniq -c | sort -n
  vonggac scan export.json.gz --format csv > findings.csv
  vonggac scan /evidence --exit-code >/dev/null && page-someone

What is read, told by content and not by name: EVTX files; text, line by line: JSON lines (Winlogbeat, NXLog, OpenTelemetry,
evtx_dump, ...), syslog, auditd, access logs; packet captures (pcap, pcapng), of which flows and messages are read; and any of them compressed
with gzip or zstd.

Exit codes: 0 everything was read, with or without a match; 1 only with --exit-code: everything was read and nothing
matches; 2 the scan could not be done; 3 done, but a file, chunk, record or rule could not be read: it is named on
standard error.";

/// Hunt through files: EVTX, JSON lines, plain logs, packet captures, compressed or not, whole folders
///
/// Needs no store and no configuration, and writes nothing but its answer. Findings come in the order of time.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files and folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Folder (or file) of Sigma rules, can be repeated [default: `rules` of the configuration, else the shipped ones]
    #[arg(long, value_name = "DIR")]
    rules: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: OutputArgs,
    /// One row for each host and ATT&CK technique: first, last, how often, which rules
    #[arg(long)]
    timeline: bool,
    /// Only rules of at least this severity: informational, low, medium, high, critical
    #[arg(long, value_parser = severity, default_value = "informational", hide_default_value = true)]
    severity: Severity,
    /// Offset of times that name no zone
    #[arg(long, value_name = "+HH:MM", value_parser = offset_s, default_value = "+00:00", allow_hyphen_values = true)]
    utc_offset: i32,
    /// Threads [default: one a core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Exit with 1 when nothing matches
    #[arg(long)]
    exit_code: bool,
}

fn severity(text: &str) -> Result<Severity, String> {
    use Severity::{Critical, High, Informational, Low, Medium};
    let all = [Informational, Low, Medium, High, Critical];
    let known = all.into_iter().find(|severity| severity.as_str() == text);
    known.ok_or_else(|| format!("expected one of {}", all.map(Severity::as_str).join(", ")))
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    for path in &args.paths {
        path.symlink_metadata().with_context(|| path.display().to_string())?;
    }
    let folders = rule_folders(args)?;
    let (engine, refused) = load_in_words(&folders);
    // The process ends with the scan, and what it holds of rules and findings goes faster with it than piece by piece.
    let engine = ManuallyDrop::new(engine);
    ensure!(!engine.rules().is_empty(), "no rule loads; --rules DIR names a folder of Sigma rules");
    let hunt = Hunt {
        engine: &engine,
        severity: args.severity,
        utc_offset_s: args.utc_offset,
        kept: &AtomicUsize::new(0),
        inventory: Inventory::default(),
    };
    let (evidence, outcome) = hunt_all(&hunt, Evidence::find(&args.paths), threads(args));
    let mut outcome = ManuallyDrop::new(outcome);
    outcome.correlate(&hunt);

    let mut problems = refused;
    problems.extend(evidence.problems.iter().cloned());
    problems.extend(outcome.damage_in_words(|file| evidence.files[file].path.clone()));
    for problem in &problems {
        eprintln!("scan: {}", shown(problem));
    }
    report(args, &evidence, &outcome, &summary(&engine, &evidence, &outcome, problems.len()))?;
    Ok(ExitCode::from(match (problems.is_empty() && outcome.dropped == 0, args.exit_code) {
        (false, _) => INCOMPLETE,
        (true, true) => u8::from(outcome.findings.is_empty()),
        (true, false) => 0,
    }))
}

/// Rules named on the command line, else configured, else shipped.
fn rule_folders(args: &Args) -> Result<Vec<PathBuf>> {
    if !args.rules.is_empty() {
        ensure_there(&args.rules)?;
        return Ok(args.rules.clone());
    }
    if args.config.config.is_some() || args.config.path().try_exists().unwrap_or_default() {
        return Ok(args.config.load()?.rules);
    }
    let here = vec![PathBuf::from(RULES_HERE)];
    let mut shipped = [Config::default().rules, here].into_iter();
    let there = |folders: &Vec<PathBuf>| folders.iter().all(|folder| folder.is_dir());
    shipped.find(there).context("no rules are configured here; --rules DIR names a folder of Sigma rules")
}

fn threads(args: &Args) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    args.threads.map_or_else(cores, usize::from)
}

/// All evidence, looked at by so many threads.
fn hunt_all(hunt: &Hunt<'_>, evidence: Evidence, threads: usize) -> (Evidence, Outcome) {
    let evidence = Mutex::new(evidence);
    let outcome = std::thread::scope(|scope| {
        let hunters: Vec<_> = (0..threads).map(|_| scope.spawn(|| hunt_some(hunt, &evidence))).collect();
        if std::io::stderr().is_terminal() {
            while !hunters.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                progress(&lock(&evidence));
                std::thread::sleep(PROGRESS_EVERY);
            }
            eprint!("\r\x1b[K");
        }
        let outcomes = hunters.into_iter().map(|hunter| match hunter.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        outcomes.fold(Outcome::default(), Outcome::join)
    });
    (evidence.into_inner().unwrap_or_else(PoisonError::into_inner), outcome)
}

fn hunt_some(hunt: &Hunt<'_>, evidence: &Mutex<Evidence>) -> Outcome {
    let mut hunter = Hunter::new(hunt);
    let mut spare = Vec::new();
    loop {
        let piece = lock(evidence).next(spare);
        let Some(piece) = piece else { return hunter.outcome() };
        hunter.look(&piece);
        spare = piece.into_buffer();
    }
}

fn lock(evidence: &Mutex<Evidence>) -> MutexGuard<'_, Evidence> {
    evidence.lock().unwrap_or_else(PoisonError::into_inner)
}

fn progress(evidence: &Evidence) {
    let (read, total) = (evidence.bytes_read, evidence.bytes_total);
    let percent = read.saturating_mul(100) / total.max(1);
    let line = format!(
        "\rscan: {percent} % of {} in {}\x1b[K",
        bytes(total),
        counted(evidence.files.len() as u64, "file")
    );
    // Progress that cannot be shown is no failure.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn report(args: &Args, evidence: &Evidence, outcome: &Outcome, summary: &str) -> Result<()> {
    if args.timeline {
        return listing(args, &Stage::all(&outcome.findings), summary);
    }
    let rows: Vec<Row<'_>> = outcome.findings.iter().map(|finding| Row::of(finding, evidence)).collect();
    listing(args, &rows, summary)
}

/// The rows, and the summary below a table or beside what programs read.
fn listing<T: Listed>(args: &Args, rows: &[T], summary: &str) -> Result<()> {
    if args.output.format != Format::Table {
        eprintln!("scan: {summary}");
    }
    print(rows, &args.output, &Clock::new(args.output.utc), summary)
}

fn summary(engine: &Engine, evidence: &Evidence, outcome: &Outcome, problems: usize) -> String {
    let mut matched: Vec<&str> = outcome.findings.iter().map(|finding| &*finding.rule.id).collect();
    matched.sort_unstable();
    matched.dedup();
    let mut text = format!(
        "{} ({}), {}: {} of {} of {} rules",
        counted(evidence.files.len() as u64 - evidence.skipped, "file"),
        bytes(evidence.bytes_read),
        counted(outcome.events, "event"),
        counted(outcome.findings.len() as u64, "finding"),
        grouped(matched.len() as u64),
        grouped(engine.rules().len() as u64),
    );
    let mut more = |number: u64, what: &str| {
        if number > 0 {
            text += &format!("; {} {what}", grouped(number));
        }
    };
    more(outcome.unparsed, "lines that no parser takes");
    more(evidence.skipped, "files skipped that are neither EVTX nor text");
    more(outcome.dropped, "findings beyond what is kept in memory: narrow it with --severity");
    more(problems as u64, "problems, named on standard error");
    text
}

/// `12.3 MB`.
fn bytes(number: u64) -> String {
    let (unit, name) = match number {
        0..1_000_000 => (1e3, "kB"),
        1_000_000..1_000_000_000 => (1e6, "MB"),
        _ => (1e9, "GB"),
    };
    format!("{:.1} {name}", number as f64 / unit)
}
