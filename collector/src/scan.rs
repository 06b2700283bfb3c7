//! `vonggac scan`: hunts through files of evidence with a rule set. No store, no daemon, no configuration: what a responder
//! runs on what was copied from a host.
//!
//! One thread a core takes the next piece of evidence ([`evidence`]) from behind a lock, and reads, parses and matches it
//! ([`hunt`]). When all is read, correlations see the matches in the order of time, and the findings are shown ([`report`]).
//!
//! What is not read is never kept quiet: a path, a file, a chunk, a record or a rule that cannot be read is named on standard
//! error, counted in the summary, and tells in the exit code. Lines that no parser takes are read, as the text that they are:
//! they are named and counted, no more.

mod documents;
mod evidence;
mod find;
mod hunt;
mod kind;
mod read;
mod report;
mod text;

use std::io::{IsTerminal, Write};
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use detect::{Engine, Severity};
use event::LogSource;

use crate::config::ConfigArg;
use crate::inventory::Inventory;
use crate::people::{Clock, Format, Listed, OutputArgs, counted, grouped, offset_s, print, shown};
use crate::rules::{Loaded, load_in_words, rule_folders};

use evidence::Evidence;
use find::is_standard_input;
pub(crate) use find::open;
use hunt::{Hunt, Hunter, Outcome};
pub(crate) use read::{Holds, Readable};
use report::{Row, Stage};

/// How often the progress is written anew.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Exit code, where it is asked for: everything was read.
const NOTHING_MATCHES: u8 = 1;

/// Exit code: done, but not everything could be read.
const INCOMPLETE: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  vonggac scan /evidence                              every file below it, with the configured rules
  vonggac scan Security.evtx --rules sigma/rules      one file, with SigmaHQ's rules
  vonggac scan /evidence --severity high --timeline   the attack by host, technique and time
  vonggac scan /evidence --format json | jq -r .rule_title | sort | uniq -c | sort -n
  vonggac scan export.json.gz --format csv > findings.csv
  vonggac scan /evidence --exit-code >/dev/null && page-someone
  journalctl -o json | vonggac scan -
  vonggac scan trail/ --rules sigma/rules/cloud --product aws --service cloudtrail
  jq -c '.hits.hits[]._source' export.json | vonggac scan -

What is read, told by content and not by name: EVTX files; text, line by line: JSON (lines, documents, arrays, and objects with
nothing but an array of records, such as CloudTrail's; of Winlogbeat, NXLog, OpenTelemetry, evtx_dump, journalctl, ...), syslog, auditd, access logs, in UTF-8 or in UTF-16 with a byte order mark; packet captures
(pcap, pcapng), of which flows and messages are read; and any of them compressed with gzip or zstd. Zero bytes within a text are
left out. A file that is given twice is read once.

Symbolic links and pipes are read when they are named. Below a folder they are not followed, but named on standard error, unless a
link leads to what is read anyway.

Exit codes: 0 everything was read, with or without a match; 2 the scan could not be done; 3 done, but not everything could
be read: a path, file, link, chunk, record or rule, each named on standard error. With --exit-code: 0 something matches,
whether or not everything was read; 1 everything was read and nothing matches; 3 nothing matches in what could be read.";

/// Hunt through files: EVTX, JSON, plain logs, packet captures, compressed or not, whole folders
///
/// Needs no store and no configuration, and writes nothing but its answer. Findings come in the order of time.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files, folders, pipes; `-` is standard input
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
    /// Log source of events that say none themselves, which no rule sees that names one: `--product aws --service cloudtrail`
    #[arg(long, default_value = "", hide_default_value = true)]
    product: String,
    #[arg(long, default_value = "", hide_default_value = true)]
    service: String,
    #[arg(long, default_value = "", hide_default_value = true)]
    category: String,
    /// Threads [default: one a core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Say with the exit code whether something matches: see below
    #[arg(long)]
    exit_code: bool,
}

fn severity(text: &str) -> Result<Severity, String> {
    use Severity::{Critical, High, Informational, Low, Medium};
    let all = [Informational, Low, Medium, High, Critical];
    let known = all.into_iter().find(|severity| severity.as_str().eq_ignore_ascii_case(text));
    known.ok_or_else(|| format!("expected one of {}", all.map(Severity::as_str).join(", ")))
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    for path in args.paths.iter().filter(|path| !is_standard_input(path)) {
        path.metadata().with_context(|| path.display().to_string())?;
    }
    let Loaded { engine, refused: mut problems, doubted } =
        load_in_words(&rule_folders(&args.rules, &args.config)?);
    // The process ends with the scan, and what it holds of rules and findings goes faster with it than piece by piece.
    let engine = ManuallyDrop::new(engine);
    if engine.rules().is_empty() {
        say(&problems);
        bail!("no rule loads; --rules DIR names a folder of Sigma rules");
    }
    let hunt = Hunt {
        engine: &engine,
        severity: args.severity,
        utc_offset_s: args.utc_offset,
        log_source: LogSource { category: &args.category, product: &args.product, service: &args.service },
        kept: &AtomicUsize::new(0),
        inventory: Inventory::default(),
    };
    let (mut evidence, outcome) = hunt_all(&hunt, Evidence::below(&args.paths), threads(args));
    evidence.finish();
    let mut outcome = ManuallyDrop::new(outcome);
    outcome.correlate(&hunt);

    let path = |file: usize| evidence.files[file].path.as_path();
    problems.extend(evidence.problems.iter().cloned());
    problems.extend(outcome.damage_in_words(path));
    say(&problems);
    say(&doubted);
    say(&evidence.notes);
    say(&outcome.unparsed_in_words(path));
    say(outcome.unsourced_in_words().as_slice());
    report(args, &evidence, &outcome, &summary(&engine, &evidence, &outcome, problems.len()))?;
    let is_complete = problems.is_empty() && outcome.dropped == 0;
    Ok(ExitCode::from(match (args.exit_code, outcome.findings.is_empty(), is_complete) {
        (true, false, _) | (false, _, true) => 0,
        (true, true, true) => NOTHING_MATCHES,
        (_, _, false) => INCOMPLETE,
    }))
}

fn say(lines: &[String]) {
    for line in lines {
        eprintln!("scan: {}", shown(line));
    }
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
    let files = counted(evidence.files.len() as u64, "file");
    let line = match total {
        // Of a stream nobody knows how long it is.
        0 => format!("\rscan: reading {files}\x1b[K"),
        _ => format!("\rscan: {percent} % of {} in {files}\x1b[K", bytes(total)),
    };
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
        "{} ({}), {}: {} of {} of {}",
        counted(evidence.files_read, "file"),
        bytes(evidence.bytes_read),
        counted(outcome.events, "event"),
        counted(outcome.findings.len() as u64, "finding"),
        grouped(matched.len() as u64),
        counted(engine.rules().len() as u64, "rule"),
    );
    let mut more = |number: u64, one: &str, what: &str| {
        if number > 0 {
            text += &format!("; {}{what}", counted(number, one));
        }
    };
    more(outcome.unparsed.values().map(|unparsed| unparsed.lines).sum(), "line", " that no parser takes");
    more(evidence.files_empty, "empty file", "");
    more(outcome.dropped, "finding", " beyond what is kept in memory: narrow it with --severity");
    more(problems as u64, "problem", ", named on standard error");
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
