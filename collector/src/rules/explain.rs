//! `vonggac rules explain`: why a rule does or does not match an event.
//!
//! The event is read as `vonggac scan` reads it, and by the same parsers as live logs. All of the rule is asked, in the
//! obvious way, and told: what a fast evaluation would have left out, too.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use detect::{Engine, Explanation, Rule, Scratch};
use event::{
    EVTX_BLOCK_CHUNKS_MAX, EVTX_CHUNK_BYTES, Event, EvtxBlock, Format as Lines, Header, ParseStatus,
};
use serde_json::{Value as Json, json};

use super::samples::{ANY_TIME, MARK, batch_of, header};
use super::{ensure_there, is_rule_file, load, rule_folders, write_out};
use crate::config::ConfigArg;
use crate::people::escape::{json_line, shown};
use crate::scan::{self, Holds, Readable};

/// Longest file that is read for one event.
const EVENT_FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Lines that are read for one event. Those of auditd have a dozen.
const EVENT_LINES_MAX: usize = 64;

const EXAMPLES: &str = "\
Examples:
  vonggac rules explain rule.yml events.json                      the first event of the file
  vonggac rules explain rule.yml Security.evtx --number 4711      the record 4711 of an EVTX file
  vonggac rules explain 'SSH login failed' auth.log --number 3    a rule by its title
  journalctl -o cat -u ssh -n 1 | vonggac rules explain rule.yml - --product linux --service sshd

Each line says yes or no, what was asked, and what the event has. A first line `#! format=syslog product=linux` is read as
in samples (vonggac rules test --help).

Exit code 0: the rule matches; 1: it does not; 2: there is no such rule or event.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArgs {
    /// The rule: its file, or the id, its beginning, the name or the title of one among --rules
    #[arg(value_name = "RULE")]
    rule: String,
    /// File with the event, of any kind that `vonggac scan` reads, compressed or not; `-` is standard input
    #[arg(value_name = "EVENT")]
    event: PathBuf,
    /// Which event of the file: the line, of EVTX the record number [default: the first event]
    #[arg(long, value_name = "N")]
    number: Option<u64>,
    /// Folder (or file) of rules, can be repeated [default: `rules` of the configuration, else the shipped ones]
    #[arg(long, value_name = "DIR")]
    rules: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
    /// Log source of the event, where it does not say so itself
    #[arg(long, default_value = "", hide_default_value = true)]
    category: String,
    #[arg(long, default_value = "", hide_default_value = true)]
    product: String,
    #[arg(long, default_value = "", hide_default_value = true)]
    service: String,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum Format {
    /// One line for each thing that was asked: yes or no, what, and what the event has
    #[default]
    Text,
    /// One JSON object: the same as a tree
    Json,
}

/// Runs `vonggac rules explain`.
pub(super) fn explain(args: &ExplainArgs) -> Result<ExitCode> {
    let engine = engine(args)?;
    let rule = find(&engine, &args.rule)?;
    let (bytes, holds) = read(&args.event)?;
    let explanation = match holds {
        Holds::Nothing => Err(no_event(args, "an event")),
        Holds::Evtx(_) => of_record(args, &engine, rule, &bytes),
        Holds::Lines(format) => of_line(args, &engine, rule, format, &bytes),
    }?;
    let out = match args.format {
        Format::Text => {
            let mut out = String::new();
            write(&mut out, &explanation, 0);
            out
        }
        Format::Json => json_line(&to_json(&explanation))? + "\n",
    };
    write_out(&out)?;
    Ok(ExitCode::from(u8::from(!explanation.holds)))
}

fn engine(args: &ExplainArgs) -> Result<Engine> {
    let file = PathBuf::from(&args.rule);
    ensure!(file.is_file() || !is_rule_file(&file), "{}: there is no such rule file", args.rule);
    let holds_file = |folder: &PathBuf| is_same(folder, &file) || is_below(folder, &file);
    let is_alone = file.is_file() && !args.rules.iter().any(holds_file);
    let folders = match is_alone {
        true => [args.rules.as_slice(), &[file]].concat(),
        false => rule_folders(&args.rules, &args.config)?,
    };
    ensure_there(&folders)?;
    let (engine, problems) = load(&folders);
    let of_rule = problems.iter().filter(|problem| !problem.loaded && problem.path == args.rule);
    let said: Vec<String> = of_rule.map(ToString::to_string).collect();
    ensure!(said.is_empty(), "the rule does not load: {}", said.join("; "));
    Ok(engine)
}

fn find<'r>(engine: &'r Engine, reference: &str) -> Result<&'r Rule> {
    let is_meant = |rule: &&std::sync::Arc<Rule>| {
        rule.title == reference || is_same(Path::new(&rule.path), Path::new(reference))
    };
    if let Some(rule) = engine.rule(reference).or_else(|| engine.rules().iter().find(is_meant)) {
        return Ok(rule);
    }
    let mut begun = engine.rules().iter().filter(|rule| rule.id.starts_with(reference));
    match (begun.next(), begun.next()) {
        (Some(rule), None) => Ok(rule),
        (Some(one), Some(other)) => bail!(
            "`{reference}`: expected the beginning of one id, several begin so: {}, {}",
            one.id,
            other.id
        ),
        (None, _) => bail!(
            "`{reference}`: expected a rule file, or the id, name or title of a rule among --rules; there is none"
        ),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

fn is_below(folder: &Path, file: &Path) -> bool {
    folder.canonicalize().is_ok_and(|folder| file.canonicalize().is_ok_and(|file| file.starts_with(folder)))
}

/// What the file holds, as lines or as chunks of EVTX.
fn read(path: &Path) -> Result<(Vec<u8>, Holds)> {
    let mut bytes = Vec::new();
    let limit = EVENT_FILE_BYTES_MAX + 1;
    let said = || path.display().to_string();
    let Readable { reader, holds, .. } = scan::open(path).and_then(Readable::of).with_context(said)?;
    reader.take(limit).read_to_end(&mut bytes).with_context(said)?;
    let is_short = u64::try_from(bytes.len()).is_ok_and(|len| len < limit);
    ensure!(is_short, "{}: expected at most {EVENT_FILE_BYTES_MAX} bytes", said());
    Ok((bytes, holds))
}

fn of_record(args: &ExplainArgs, engine: &Engine, rule: &Rule, chunks: &[u8]) -> Result<Explanation> {
    let mut block = EvtxBlock::default();
    for chunks in chunks.chunks(EVTX_CHUNK_BYTES * EVTX_BLOCK_CHUNKS_MAX) {
        block.read(chunks);
        let found = block.events(0).find(|(number, _)| args.number.is_none_or(|wanted| wanted == *number));
        if let Some((_, event)) = found {
            return of_event(engine, rule, &event);
        }
    }
    Err(no_event(args, "a record of that number"))
}

fn of_line(
    args: &ExplainArgs,
    engine: &Engine,
    rule: &Rule,
    format: Lines,
    bytes: &[u8],
) -> Result<Explanation> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.clone().next().unwrap_or_default()).into_owned();
    let stated = Header {
        format,
        category: args.category.clone(),
        product: args.product.clone(),
        service: args.service.clone(),
        ..Header::default()
    };
    let header = if first.starts_with(MARK) { header(first.trim_end())? } else { stated };
    let first_line = 1 + u64::from(first.starts_with(MARK));
    let wanted = args.number.unwrap_or(first_line);
    ensure!(wanted >= first_line, "--number {wanted}: expected at least {first_line}");
    // An event may have several lines: so some that follow are read as well.
    let from = lines.by_ref().skip(usize::try_from(wanted - 1)?).take(EVENT_LINES_MAX);
    let from: Vec<u8> =
        from.take_while(|line| line.len() < event::RECORD_BYTES_MAX).collect::<Vec<_>>().concat();
    let batch = batch_of(header, &from)?;
    let events = event::parse_batch_within(&batch, ANY_TIME, ANY_TIME);
    match events.first() {
        Some(event) => of_event(engine, rule, event),
        None => Err(no_event(args, "a line that is not empty")),
    }
}

fn no_event(args: &ExplainArgs, expected: &str) -> anyhow::Error {
    anyhow::anyhow!("{}: expected {expected}, there is none", args.event.display())
}

fn of_event(engine: &Engine, rule: &Rule, event: &Event<'_>) -> Result<Explanation> {
    if event.status == ParseStatus::Raw {
        eprintln!("explain: no parser takes the line: rules see only its text");
    }
    let explanation = engine.explain(rule, event, &mut Scratch::default());
    explanation.with_context(|| {
        let members: Vec<String> =
            engine.members(rule).map(|member| format!("`{}` ({})", member.title, member.id)).collect();
        format!(
            "{}: a correlation is not decided by one event; ask its rules: {}",
            rule.title,
            members.join(", ")
        )
    })
}

fn write(out: &mut String, explanation: &Explanation, depth: usize) {
    let answer = if explanation.holds { "yes" } else { "no " };
    out.push_str(&format!("{answer} {}{}\n", "  ".repeat(depth), shown(&explanation.says)));
    explanation.parts.iter().for_each(|part| write(out, part, depth + 1));
}

fn to_json(explanation: &Explanation) -> Json {
    json!({
        "holds": explanation.holds,
        "says": explanation.says,
        "parts": explanation.parts.iter().map(to_json).collect::<Vec<_>>(),
    })
}
