//! `vonggac indicators`: what loads and what does not, and which feeds name a value.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use detect::{Indicator, IndicatorKind, Severity};
use event::Micros;
use jiff::Timestamp;
use serde_json::json;

use super::load::{self, Loaded, Report};
use crate::clock::now;
use crate::config::{ConfigArg, FeedFormat, IndicatorFeed};
use crate::people::{configuration, counted, json_line, print_text, shown};

/// As much of a file as tells what it is.
const HEAD_BYTES: u64 = 4096;

const EXAMPLES: &str = "\
Examples:
  vonggac indicators check                             the feeds of the configuration
  vonggac indicators check feed/ --format misp         a folder, before it becomes a feed
  vonggac indicators lookup 192.0.2.7                  which feeds name it, or a network around it
  vonggac indicators lookup 'hxxp://evil[.]example/x'  URLs, names, hashes, JA3 and JA4, too";

/// Check feeds of indicators of compromise, and look values up in them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load feeds and say how many indicators of each kind they have, what was left out, and why
    ///
    /// Exit code 0: everything was understood; 1: some was not; 2: it could not be done.
    Check(CheckArgs),
    /// Say which feeds of the configuration name a value: an address, name, URL, hash or fingerprint
    ///
    /// Networks around an address and names above a name are found, too, and what has expired.
    /// Exit code 0: some do; 1: none does, or a feed could not be read; 2: it could not be done.
    Lookup(LookupArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Files, folders or patterns [default: the feeds of the configuration]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How they are written [default: told by name and content]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<FeedFormat>,
    /// The kind of all values (address, domain, url, md5, sha1, sha256, ja3, ja4) [default: told by the file, or by the shape]
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<IndicatorKind>,
    /// Names of the columns of a CSV file whose first line does not have them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    config: ConfigArg,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct LookupArgs {
    /// The value, as an event or a report has it
    value: String,
    #[command(flatten)]
    config: ConfigArg,
    /// One JSON object a line instead of text
    #[arg(long)]
    json: bool,
}

fn kind(name: &str) -> Result<IndicatorKind, String> {
    let kinds = || IndicatorKind::ALL.map(IndicatorKind::as_str).join(", ");
    IndicatorKind::named(name).ok_or_else(|| format!("expected one of {}", kinds()))
}

/// Runs `vonggac indicators`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Check(args) => check(args),
        Command::Lookup(args) => lookup(args),
    }
}

fn check(args: &CheckArgs) -> Result<ExitCode> {
    let feeds = match args.paths.as_slice() {
        [] => configuration(&args.config)?.indicators,
        paths => paths.iter().map(|path| feed(path, args)).collect(),
    };
    let loaded = load::load(&feeds, now());
    let is_whole =
        loaded.reports.iter().all(|report| report.faults.count() == 0 && report.problems.is_empty());
    if args.json {
        print_text(&(json_line(&object(&loaded))? + "\n"))?;
    } else {
        print_text(&text(&loaded))?;
    }
    Ok(ExitCode::from(u8::from(!is_whole)))
}

/// A path of the command line as a feed of its own.
fn feed(path: &Path, args: &CheckArgs) -> IndicatorFeed {
    IndicatorFeed {
        feed: path.display().to_string(),
        path: path.into(),
        format: args.format.unwrap_or_else(|| format_of(path)),
        kind: args.kind,
        columns: args.columns.clone(),
        severity: Severity::Medium,
        allow_local: false,
    }
}

/// What a file or a folder most likely is.
fn format_of(path: &Path) -> FeedFormat {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension {
        "csv" => FeedFormat::Csv,
        "json" if !head(path).contains("\"objects\"") && !head(path).contains("\"bundle\"") => {
            FeedFormat::Misp
        }
        "json" => FeedFormat::Stix,
        _ if path.join("manifest.json").is_file() => FeedFormat::Misp,
        _ => FeedFormat::List,
    }
}

/// Nothing of what cannot be read: loading says why.
fn head(path: &Path) -> String {
    let mut head = Vec::new();
    let _unread = std::fs::File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    String::from_utf8_lossy(&head).into_owned()
}

fn text(loaded: &Loaded) -> String {
    let mut out = String::new();
    for report in &loaded.reports {
        describe(report, &mut out);
    }
    let (count, bytes) = (loaded.indicators.len(), loaded.indicators.bytes());
    let indicators = counted(u64::try_from(count).unwrap_or(u64::MAX), "indicator");
    let _infallible = writeln!(out, "{indicators} in {} MiB", bytes.div_ceil(1 << 20));
    out
}

fn describe(report: &Report, out: &mut String) {
    let kinds = IndicatorKind::ALL.iter().zip(report.kinds).filter(|(_, count)| *count > 0);
    let kinds: Vec<String> = kinds.map(|(kind, count)| format!("{count} {}", kind.as_str())).collect();
    let kinds = if kinds.is_empty() { "no indicator".to_owned() } else { kinds.join(", ") };
    let files = counted(report.files, "file");
    let _infallible = writeln!(out, "{}: {kinds}; from {files}", shown(&report.feed));
    for problem in &report.problems {
        let _infallible = writeln!(out, "  not read: {}", shown(&problem.to_string()));
    }
    for fault in report.faults.iter() {
        let _infallible = writeln!(out, "  not understood: {}", shown(&fault.to_string()));
    }
    for (what, count) in [
        ("whose address is anybody's (private, loopback ...): left out", report.local),
        ("not meant for detection: passed over", report.passed_over),
        ("named before by the same feed", report.repeated),
        ("expired: match only what happened before", report.expired),
    ] {
        if count > 0 {
            let _infallible = writeln!(out, "  {count} {what}");
        }
    }
}

fn object(loaded: &Loaded) -> serde_json::Value {
    let feeds = loaded.reports.iter().map(|report| {
        let kinds = IndicatorKind::ALL.iter().zip(report.kinds);
        let kinds: serde_json::Map<_, _> =
            kinds.map(|(kind, count)| (kind.as_str().to_owned(), count.into())).collect();
        let faults = report.faults.iter();
        let faults = faults
            .map(|fault| json!({ "reason": fault.reason, "count": fault.count, "first": fault.first }))
            .collect::<Vec<_>>();
        let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        let left_out: serde_json::Map<_, _> =
            report.left_out().into_iter().map(|(reason, count)| (reason.to_owned(), count.into())).collect();
        json!({
            "feed": report.feed,
            "files": report.files,
            "loaded": report.loaded(),
            "kinds": kinds,
            "expired": report.expired,
            "left_out": left_out,
            "not_understood": faults,
            "not_read": problems,
        })
    });
    let feeds: Vec<_> = feeds.collect();
    json!({ "loaded": loaded.indicators.len(), "bytes": loaded.indicators.bytes(), "feeds": feeds })
}

fn lookup(args: &LookupArgs) -> Result<ExitCode> {
    let now = now();
    let loaded = load::load(&configuration(&args.config)?.indicators, now);
    let mut is_whole = true;
    for problem in loaded.problems() {
        is_whole = false;
        eprintln!("vonggac: {}", shown(&problem));
    }
    let found = loaded.indicators.lookup(&args.value);
    let mut out = String::new();
    for indicator in &found {
        if args.json {
            out.push_str(&json_line(&as_object(indicator, now))?);
            out.push('\n');
        } else {
            tell(indicator, now, &mut out);
        }
    }
    if found.is_empty() && !args.json {
        let _infallible = writeln!(out, "no feed names {}", shown(&args.value));
    }
    print_text(&out)?;
    Ok(ExitCode::from(u8::from(found.is_empty() || !is_whole)))
}

fn tell(indicator: &Indicator<'_>, now: Micros, out: &mut String) {
    let expired = if indicator.is_valid(now) { "" } else { " (not valid now)" };
    let _infallible = writeln!(out, "{} {}{expired}", indicator.kind().as_str(), shown(&indicator.value()));
    for (name, text) in told(indicator) {
        if !text.is_empty() {
            let _infallible = writeln!(out, "  {name:12} {}", shown(&text));
        }
    }
}

fn told(indicator: &Indicator<'_>) -> [(&'static str, String); 11] {
    let moment = |micros: Option<Micros>| {
        micros.and_then(|micros| Timestamp::from_microsecond(micros).ok()).map(|at| at.to_string())
    };
    [
        ("feed", indicator.feed().to_owned()),
        ("file", indicator.path().to_owned()),
        ("rule id", indicator.id()),
        ("severity", indicator.severity().as_str().to_owned()),
        ("name", indicator.name().to_owned()),
        ("description", indicator.description().to_owned()),
        ("labels", indicator.labels().join(", ")),
        ("confidence", indicator.confidence().map(|percent| percent.to_string()).unwrap_or_default()),
        ("tlp", indicator.tlp().to_owned()),
        ("valid from", moment(indicator.valid_from()).unwrap_or_default()),
        ("valid until", moment(indicator.valid_until()).unwrap_or_default()),
    ]
}

fn as_object(indicator: &Indicator<'_>, now: Micros) -> serde_json::Value {
    let told = told(indicator).map(|(name, text)| (name.replace(' ', "_"), text.into()));
    let head = [
        ("kind".to_owned(), indicator.kind().as_str().into()),
        ("value".to_owned(), indicator.value().into()),
        ("is_valid".to_owned(), indicator.is_valid(now).into()),
    ];
    serde_json::Value::Object(head.into_iter().chain(told).collect())
}
