//! `vonggac drill`: replays a recorded attack through real agent processes and the running collector, and scores what came
//! of it. What a drill makes bears its id and stays out of statistics.
//!
//! It reads the store as any reader does, writes its score when it may (`drill_scores`), and stops nothing. Its files are in one
//! temporary folder; folder and agents are gone when it ends, by Ctrl-C and SIGTERM, too. What it never does: send a real attack, or touch the logs of this machine.

mod folders;
mod hosts;
mod recording;
mod replay;
mod report;
mod score;
mod score_row;
mod shift;
mod watch;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, ConfigArg};
use crate::people::{
    MICROS_PER_S, Reader, Writer, block_on, configuration, counted, loopback, print_text, shown,
};

use folders::Drills;
use hosts::{Hosts, Route};
use recording::{Description, Recording};
use replay::{Pace, Written, now, replay};
use score::{Outcome, Score};
use score_row::ScoreRow;
use watch::{EventRow, Sightings, Watch};

/// Fastest replay: at a thousand times its speed an hour is over in 4 s, and the machine is the limit.
const SPEED_MAX: i64 = 1_000;
/// An event's own time may be cut down to the second, and an agent's may be a little off.
const EARLIER: i64 = 3_600 * MICROS_PER_S;

const EXAMPLES: &str = "\
Examples:
  vonggac drill list                                 the drills there are
  vonggac drill run linux-web-intrusion              at ten times its speed
  vonggac drill run linux-web-intrusion --speed 1    as it happened, for people who train with it
  vonggac drill run ./my-drill --format json | jq .missed
  vonggac drill run --all --speed 60                 every drill, and a table of all at the end
  vonggac alerts --drill all                         what the drills raised

Exit codes of run: 0 every step detected, no false alert of severity high or critical, every event stored once; 1 not so;
2 the drill could not be run.";

/// Replay a recorded attack through a real agent and this collector, and score it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the recorded drills
    List(ListArgs),
    /// Replay a drill and score it
    #[command(after_help = EXAMPLES)]
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    drills: Drills,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// A drill's name, or its folder
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    drill: Option<PathBuf>,
    /// Every drill of the folder, one after another
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    drills: Drills,
    /// How many times faster than it happened; the times within the lines keep their distances
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=SPEED_MAX))]
    speed: u32,
    /// Leave the temporary folder (logs, configuration and certificates of the hosts) and say where it is
    #[arg(long)]
    keep: bool,
    /// How the score is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The agent [default: vonggac-agent beside this program]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Where the agents reach the collector [default: this machine, the port of intake.listen]
    #[arg(long, value_name = "HOST:PORT")]
    collector: Option<String>,
    /// The name in the collector's certificate [default: the first one in tls.cert]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Folder of the authority, with ca.crt and ca.key [default: the folder of tls.ca]
    #[arg(long, value_name = "DIR")]
    ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
enum Format {
    /// For eyes
    #[default]
    Table,
    /// One JSON object for each drill, for programs
    Json,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Run(args) => run_drills(args),
    }
}

fn list(args: &ListArgs) -> Result<ExitCode> {
    let mut text = String::new();
    for folder in args.drills.all()? {
        let drill = Description::read(&folder)?;
        text += &format!("{}  {}\n", shown(&drill.name), shown(&drill.description));
    }
    print_text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn run_drills(args: &RunArgs) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let route = route(args, &config)?;
    let reader = Reader::open(&config)?;
    let folders = match &args.drill {
        Some(drill) => vec![args.drills.named(drill)?],
        None => args.drills.all()?,
    };
    let recordings = folders.iter().map(|folder| Recording::read(folder)).collect::<Result<Vec<_>>>()?;
    let mut scores = Vec::new();
    for recording in &recordings {
        let run = Run::new(recording, args);
        let began = now();
        let score = block_on(interruptible(run.score(&route, &reader)))?;
        run.store(&config, &score, began);
        print_text(&match args.format {
            Format::Table => report::text(recording, &run.drill_id, &score),
            Format::Json => report::json(recording, &run.drill_id, args.speed, &score)?,
        })?;
        scores.push((recording, score));
    }
    if args.all && args.format == Format::Table {
        print_text(&report::table(&scores))?;
    }
    Ok(ExitCode::from(u8::from(!scores.iter().all(|(_, score)| score.passed()))))
}

fn route(args: &RunArgs, config: &Config) -> Result<Route> {
    let listen = config.intake.listen;
    let here = std::net::SocketAddr::new(loopback(listen.ip()), listen.port());
    let server_name = match &args.server_name {
        Some(name) => name.clone(),
        None => crate::tls::server_names(&config.tls.cert)?.into_iter().next().with_context(|| {
            format!("{}: names no host; --server-name says which is meant", config.tls.cert.display())
        })?,
    };
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("vonggac-agent"));
    let agent = args.agent.clone().or_else(beside).unwrap_or_else(|| "vonggac-agent".into());
    ensure!(agent.is_file(), "{}: no agent there; --agent PATH names it", agent.display());
    Ok(Route {
        agent,
        collector: args.collector.clone().unwrap_or_else(|| here.to_string()),
        server_name,
        ca: config.tls.ca.clone(),
        ca_dir: args.ca.clone().or_else(|| config.tls.ca.parent().map(Path::to_owned)).unwrap_or_default(),
    })
}

/// The future, or an error when the person has seen enough. What the future held is cleaned up either way.
async fn interruptible<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = future => result,
        _ = tokio::signal::ctrl_c() => bail!("interrupted: agents ended, temporary files removed"),
        _ = terminate.recv() => bail!("told to end: agents ended, temporary files removed"),
    }
}

/// One drill on its way.
struct Run<'a> {
    recording: &'a Recording,
    drill_id: String,
    speed: u32,
    keep: bool,
}

impl<'a> Run<'a> {
    fn new(recording: &'a Recording, args: &RunArgs) -> Self {
        let start = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let drill_id = format!("{}-{start}", recording.name);
        Self { recording, drill_id, speed: args.speed, keep: args.keep }
    }

    async fn score(&self, route: &Route, reader: &Reader) -> Result<Score> {
        let mut hosts = Hosts::start(self.recording, route, &self.drill_id)?;
        if self.keep
            && let Some(folder) = hosts.keep()
        {
            eprintln!("drill: everything of its hosts is in {}", folder.display());
        }
        let agents = u64::try_from(self.recording.hosts().len()).unwrap_or(u64::MAX);
        self.say(&format!("{}: {} to connect", self.drill_id, counted(agents, "agent")));
        hosts.connected().await?;
        let pace = Pace::new(self.recording.span(), self.speed, now());
        let (first, last) = self.recording.span();
        let watch = Watch::new(reader, &self.drill_id, pace.shifted(first).saturating_sub(EARLIER));
        let seconds = (pace.due(last) - pace.start) / MICROS_PER_S;
        self.say(&format!("replay at {} times the speed, about {seconds} s", self.speed));
        let mut sightings = Sightings::default();
        let mut written = Written::default();
        let events = tokio::select! {
            events = self.delivered(&mut hosts, &watch, pace, &mut written) => events?,
            error = watch.until_failure(&mut sightings) => return Err(error),
        };
        watch.look(&mut sightings).await?;
        let alerts = sightings.into_alerts();
        let outcome = Outcome {
            steps: &self.recording.steps,
            pace,
            alerts: &alerts,
            events: &events,
            written: &written.events,
            lines: written.lines,
        };
        Ok(outcome.score())
    }

    /// Keeps the score for reports and dashboards. Who may not write has seen it all the same.
    fn store(&self, config: &Config, score: &Score, began: i64) {
        let row = ScoreRow::of(score, (&self.recording.name, &self.drill_id), self.speed, (began, now()));
        let stored = Writer::open(config).and_then(|writer| block_on(writer.insert("drill_scores", &row)));
        if let Err(error) = stored {
            eprintln!("drill: the score is not stored, reports will not have it: {error:#}");
        }
    }

    /// Replays, and waits until the events are stored.
    async fn delivered(
        &self,
        hosts: &mut Hosts,
        watch: &Watch<'_>,
        pace: Pace,
        written: &mut Written,
    ) -> Result<Vec<EventRow>> {
        replay(self.recording, hosts, pace, written).await?;
        hosts.check()?;
        self.say("waiting until every event is stored");
        let events = watch.events(written.events.len()).await?;
        hosts.check()?;
        Ok(events)
    }

    /// Progress, for who watches.
    fn say(&self, what: &str) {
        if std::io::stderr().is_terminal() {
            eprintln!("drill: {what}");
        }
    }
}
