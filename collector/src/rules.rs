//! Trees of Sigma rules on disk, and `vonggac rules check|test|explain|noise`: the tools of who writes rules.
//!
//! Every `.yml` and `.yaml` file (in either case) below the folders is a rule file, in the order of their names, so that the same tree gives
//! the same engine. What cannot be read is a problem like any other; nothing is skipped in silence. Samples
//! ([`samples`]) stand beside the rule file.

mod explain;
mod samples;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Subcommand, ValueEnum};
use detect::{Engine, Kind, Problem, Reason};
use serde_json::json;

use crate::config::{Config, ConfigArg};
use crate::people::escape::{json_line, shown};
use crate::people::{NoiseArgs, counted, run_noise};

/// Rules of a source tree, where no others are configured.
const RULES_HERE: &str = "rules/sigma";

/// What stands before a problem with which a rule is loaded.
const LOADED_BUT: &str = "loaded, but: ";

/// Check rules, and test them against their samples
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load all rules below the folders and list what does not load: file, line, rule, reason
    ///
    /// Exit code 0: every rule loads; 1: some do not, or a folder has no rule file; 2: a folder cannot be read.
    Check(CheckArgs),
    /// Run each rule over the samples beside it: NAME.yml must match every event of NAME.hit and none of NAME.miss
    ///
    /// The first line of a sample says how it is read: `#! format=syslog` (auto, syslog, auditd, web, json), and where needed
    /// `product=`, `service=`, `category=`. The rest are lines as the source writes them. A correlation rule must be raised
    /// at least once by its .hit as a whole, and not by its .miss.
    ///
    /// Exit code 0: all samples are right and every rule has both; 1: not so; 2: a folder cannot be read.
    Test(samples::TestArgs),
    Noise(NoiseArgs),
    /// Say why a rule does or does not match an event, predicate by predicate
    Explain(explain::ExplainArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Folders (or single files) of rules
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// How the findings are written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum Format {
    /// One finding a line: FILE:LINE: RULE: REASON
    #[default]
    Text,
    /// One JSON object with the counts and all findings
    Json,
}

/// Runs `vonggac rules`.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Check(args) => check(&args),
        Command::Test(args) => samples::test(&args),
        Command::Noise(args) => run_noise(&args),
        Command::Explain(args) => explain::explain(&args),
    }
}

/// All rules below the folders, compiled, and what is wrong with them.
pub(crate) fn load(folders: &[PathBuf]) -> (Engine, Vec<Problem>) {
    let tree = Tree::read(folders);
    let (engine, problems) = detect::compile(&tree.files);
    (engine, tree.problems.into_iter().chain(problems).collect())
}

/// Rules, and what is wrong with them in words.
pub(crate) struct Loaded {
    pub(crate) engine: Engine,
    /// What does not load.
    pub(crate) refused: Vec<String>,
    /// What loads, but not as it is written: a filter of a rule that is not there, a level that is none.
    pub(crate) doubted: Vec<String>,
}

/// The same, with what is wrong in words.
pub(crate) fn load_in_words(folders: &[PathBuf]) -> Loaded {
    let (engine, problems) = load(folders);
    let (doubted, refused): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.loaded);
    let refused = refused.into_iter().map(ToString::to_string).collect();
    let doubted = doubted.into_iter().map(|problem| format!("{LOADED_BUT}{problem}")).collect();
    Loaded { engine, refused, doubted }
}

/// The same for the daemon, for which a set without a rule is a problem, too: most often a folder that is not mounted, or not the
/// one that was meant.
pub(crate) fn load_for_watch(folders: &[PathBuf]) -> Loaded {
    let mut loaded = load_in_words(folders);
    if loaded.engine.rules().is_empty() && loaded.refused.is_empty() {
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        loaded.refused.push(format!(
            "rules: expected at least one rule (*.yml) below {}, found none",
            folders.join(", ")
        ));
    }
    loaded
}

/// What a person asks for must be there.
pub(crate) fn ensure_there(folders: &[PathBuf]) -> Result<()> {
    for folder in folders {
        let there = folder.try_exists().with_context(|| format!("{}", folder.display()))?;
        ensure!(there, "{}: expected a folder or file of rules, there is none", folder.display());
    }
    Ok(())
}

/// Rules named on the command line, else configured, else shipped.
pub(crate) fn rule_folders(named: &[PathBuf], config: &ConfigArg) -> Result<Vec<PathBuf>> {
    if !named.is_empty() {
        ensure_there(named)?;
        return Ok(named.to_vec());
    }
    if config.config.is_some() || config.path().try_exists().unwrap_or_default() {
        return Ok(config.load()?.rules);
    }
    let mut shipped = [Config::default().rules, vec![PathBuf::from(RULES_HERE)]].into_iter();
    let there = |folders: &Vec<PathBuf>| folders.iter().all(|folder| folder.is_dir());
    shipped.find(there).context("no rules are configured here; --rules DIR names a folder of Sigma rules")
}

/// Why a place in a tree cannot be read, without its path.
pub(crate) fn reason_of(error: &walkdir::Error) -> String {
    match (error.io_error(), error.loop_ancestor()) {
        (Some(error), _) => error.to_string(),
        (None, Some(above)) => format!("the link leads back to {}", above.display()),
        (None, None) => error.to_string(),
    }
}

/// The rule files below some folders.
struct Tree {
    /// Path and text.
    files: Vec<(String, String)>,
    /// Files that cannot be read.
    problems: Vec<Problem>,
}

impl Tree {
    fn read(folders: &[PathBuf]) -> Self {
        let mut tree = Self { files: Vec::new(), problems: Vec::new() };
        folders.iter().for_each(|folder| tree.walk(folder));
        tree
    }

    fn walk(&mut self, folder: &Path) {
        for entry in walkdir::WalkDir::new(folder).follow_links(true).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_file() && is_rule_file(entry.path()) => {
                    self.file(entry.path());
                }
                Ok(_) => {}
                Err(error) => {
                    let path = error.path().unwrap_or(folder).display().to_string();
                    self.unreadable(path, Reason::Unreadable { detail: reason_of(&error) });
                }
            }
        }
    }

    fn file(&mut self, file: &Path) {
        let path = file.display().to_string();
        match read_file(file) {
            Ok(text) => self.files.push((path, text)),
            Err(reason) => self.unreadable(path, reason),
        }
    }

    fn unreadable(&mut self, path: String, reason: Reason) {
        self.problems.push(Problem { path, line: None, rule: None, reason, loaded: false });
    }
}

fn is_rule_file(path: &Path) -> bool {
    let is = |known: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(known));
    is("yml") || is("yaml")
}

fn read_file(file: &Path) -> Result<String, Reason> {
    let unreadable = |error: io::Error| Reason::Unreadable { detail: error.to_string() };
    let mut file = File::open(file).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let (bytes, max) = (usize::try_from(bytes).unwrap_or(usize::MAX), detect::limits::RULE_FILE_BYTES_MAX);
    if bytes > max {
        return Err(Reason::FileTooLong { bytes, max });
    }
    let mut text = String::with_capacity(bytes);
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

fn check(args: &CheckArgs) -> Result<ExitCode> {
    ensure_there(&args.folders)?;
    let (engine, mut problems) = load(&args.folders);
    problems.extend(without_rules(&args.folders, &engine, &problems));
    let refused = problems.iter().filter(|problem| !problem.loaded).count();
    let out = match args.format {
        Format::Text => text(&engine, &problems, refused),
        Format::Json => format!("{}\n", json_line(&object(&engine, &problems, refused))?),
    };
    write_out(&out)?;
    Ok(ExitCode::from(u8::from(refused > 0)))
}

/// Folders of which nothing was read: whoever has them checked has likely named another than they meant.
fn without_rules(folders: &[PathBuf], engine: &Engine, problems: &[Problem]) -> Vec<Problem> {
    let rules = engine.rules().iter().map(|rule| &rule.path);
    let read: Vec<&Path> = rules.chain(problems.iter().map(|problem| &problem.path)).map(Path::new).collect();
    let empty = folders.iter().filter(|folder| !read.iter().any(|path| path.starts_with(folder)));
    let problem = |folder: &PathBuf| Problem {
        path: folder.display().to_string(),
        line: None,
        rule: None,
        reason: Reason::NoRuleFile,
        loaded: false,
    };
    empty.map(problem).collect()
}

fn text(engine: &Engine, problems: &[Problem], refused: usize) -> String {
    let mut out = String::new();
    for problem in problems {
        let mark = if problem.loaded { LOADED_BUT } else { "" };
        out.push_str(mark);
        out.push_str(&shown(&problem.to_string()));
        out.push('\n');
    }
    let number = |number: usize, one: &str| counted(number as u64, one);
    out.push_str(&format!(
        "{} loaded ({}, {}), {refused} not loaded\n",
        number(engine.rules().len(), "rule"),
        number(engine.count(Kind::Detection), "detection"),
        number(engine.count(Kind::Correlation), "correlation"),
    ));
    out
}

fn object(engine: &Engine, problems: &[Problem], refused: usize) -> serde_json::Value {
    let problems: Vec<_> = problems
        .iter()
        .map(|problem| {
            json!({
                "path": problem.path,
                "line": problem.line,
                "rule": problem.rule,
                "reason": problem.reason.to_string(),
                "loaded": problem.loaded,
            })
        })
        .collect();
    json!({
        "loaded": engine.rules().len(),
        "detections": engine.count(Kind::Detection),
        "correlations": engine.count(Kind::Correlation),
        "not_loaded": refused,
        "problems": problems,
    })
}

/// Writes to standard output; a reader who closes it early (`| head`) is no error.
fn write_out(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
