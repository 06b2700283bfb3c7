//! `vonggac serve`: the daemon. It starts what it needs in the order in which it needs it, and stops in the reverse order.
//!
//! Start: configuration, `/metrics`, certificates and rules, the embedded store, the pipeline, and last the doors: nobody is
//! let in before there is somewhere to put what he brings. Stop (SIGTERM or SIGINT): the doors are closed, what is under way
//! is stored and acknowledged within `limits.stop_grace_s`, the store is closed. A second signal ends it at once.
//! SIGHUP loads rules, the inventory of systems, hunts, indicators and exceptions anew, each by itself; if something in rules,
//! inventory, hunts or exceptions does not load, or a file of indicators cannot be read, it is reported, and what was loaded before
//! stays.
//!
//! What it never does: acknowledge what is not stored, on the way out either. Who was not acknowledged sends again.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use rustls::ServerConfig;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::clock::now;
use crate::config::{Config, ConfigArg, ConfigError, LogLevel};
use crate::door::{Door, Stop};
use crate::exceptions::{self, Exceptions};
use crate::exporters;
use crate::http::{self, Phase};
use crate::hunts::{self, Hunt};
use crate::indicators::{self, Loaded};
use crate::insert;
use crate::intake::Intake;
use crate::log;
use crate::notifications;
use crate::notify::{READY, STOPPING, notify};
use crate::otlp::{ALPN, Otlp};
use crate::people::Reader;
use crate::rules;
use crate::run_hunts::RunHunts;
use crate::store::{self, Pipeline};
use crate::supervise::Supervisor;
use crate::tls::server_config;
use crate::watch_clocks::WatchClocks;
use crate::watch_links::WatchLinks;
use crate::watch_obligations::WatchObligations;

/// Run the collector: take batches, OTLP logs and flow records, detect, classify, store
///
/// Without `clickhouse.url` in the configuration it starts a ClickHouse of its own.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Read the configuration and all that it names, say what is wrong, and end: 0 all is well, 1 something is not
    #[arg(long)]
    check: bool,
    /// How much to log on standard error, instead of `log` in the configuration
    #[arg(long, value_name = "LEVEL")]
    log: Option<LogLevel>,
}

/// All stages, running.
struct Daemon {
    config: Config,
    supervisor: Option<Supervisor>,
    pipeline: Pipeline,
    hunts: Option<RunHunts>,
    /// A stage for each target.
    notifications: JoinSet<()>,
    doors: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// What makes the daemon end or look again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Told {
    End,
    Reload,
}

/// Runs the subcommand.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { config: path, check: only_check, log } = args;
    if only_check {
        return Ok(check(&path));
    }
    let config = path.load()?;
    log::to_stderr(log.unwrap_or(config.log));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let code = runtime.block_on(serve(config));
    // What still hangs on the store is dropped here; it was not acknowledged.
    runtime.shutdown_background();
    code
}

/// Says all that is wrong at once.
fn check(path: &ConfigArg) -> ExitCode {
    let config = match path.load() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("vonggac: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (rules, problems) = rules::load_in_words(&config.rules);
    let hunts = hunts::load(&config.hunts);
    let indicators = indicators::load(&config.indicators, now());
    let (_, exceptions) = exceptions::load(config.exceptions.as_deref(), now());
    let findings: Vec<String> = [
        hunts.err().map(|error| format!("hunts: {error}")),
        server_config(&config.tls, &[]).err().map(|error| format!("tls: {error}")),
        password(&config).err().map(|error| format!("clickhouse.password_file: {error}")),
        store::check(&config).err().map(|error| error.to_string()),
        notifications::channels(&config.notifications).err().map(|error| error.to_string()),
    ]
    .into_iter()
    .flatten()
    .chain(problems)
    .chain(exceptions.iter().map(|fault| format!("exceptions: {fault}")))
    .chain(indicators.problems().map(|problem| format!("indicators: {problem}")))
    .collect();
    for finding in &findings {
        eprintln!("vonggac: {finding}");
    }
    let path = path.path();
    if findings.is_empty() {
        let (rules, indicators) = (rules.rules().len(), indicators.indicators.len());
        println!("{}: all is well, {rules} rules and {indicators} indicators load", path.display());
        return ExitCode::SUCCESS;
    }
    eprintln!("vonggac: {}: {} of these must be mended", path.display(), findings.len());
    ExitCode::FAILURE
}

/// The embedded store makes its own password at its first start; that of another one must be there.
fn password(config: &Config) -> Result<(), ConfigError> {
    config.clickhouse.url.as_ref().map_or(Ok(()), |_| config.endpoint().password().map(drop))
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("signals cannot be caught")?;
    let (phases, address) = http::open(config.metrics.listen).await?;
    info!(version = env!("CARGO_PKG_VERSION"), metrics = %address, "vonggac starts");
    let mut daemon = tokio::select! {
        daemon = Daemon::start(config) => daemon?,
        () = signals.end() => return Ok(ExitCode::SUCCESS),
    };
    phases.enter(Phase::Ready);
    notify(READY);
    let code = daemon.run(&mut signals).await;
    phases.enter(Phase::Stopping);
    notify(STOPPING);
    tokio::select! {
        () = daemon.stop() => info!("vonggac ends"),
        () = signals.end() => warn!("told to end twice: ends at once"),
    }
    Ok(code)
}

impl Daemon {
    /// Starts everything, the doors last.
    async fn start(config: Config) -> anyhow::Result<Self> {
        let intake_tls = server_config(&config.tls, &[])?;
        let otlp_tls = server_config(&config.tls, &[ALPN])?;
        let (rules, problems) = rules::load_in_words(&config.rules);
        report(&problems);
        info!(rules = rules.rules().len(), not_loaded = problems.len(), "rules loaded");
        let indicators = load_indicators(&config).await?;
        let hunts = hunts::load(&config.hunts)?;
        let channels = notifications::channels(&config.notifications)?;
        let supervisor = match config.clickhouse.url {
            None => Some(Supervisor::start(&config).await?),
            Some(_) => None,
        };
        let pipeline = store::start(&config, rules).await?;
        indicators.measure(true);
        pipeline.indicators.replace(indicators.indicators);
        pipeline.exceptions.replace(load_exceptions(&config).0);
        let (stop, stopped) = watch::channel(false);
        let hunts = Some(start_hunts(&config, hunts, &pipeline)?);
        let client = insert::client(&config.endpoint())?;
        let notifications = notifications::start(&config.notifications, channels, &client, &pipeline.bell);
        let clocks = WatchClocks { reader: Reader::open(&config)?, stop: stopped.clone() };
        let mut doors = JoinSet::new();
        doors.spawn(clocks.run());
        doors.spawn(WatchLinks::new(&config, &client, stopped.clone())?.run());
        doors.spawn(WatchObligations::new(&config, &client, stopped.clone())?.run());
        let mut daemon = Self { config, supervisor, pipeline, hunts, notifications, doors, stop };
        daemon.open_intake(intake_tls, stopped.clone()).await?;
        if daemon.config.otlp.enabled {
            daemon.open_otlp(otlp_tls, stopped.clone()).await?;
        }
        if daemon.config.exporters.enabled {
            let deliver =
                exporters::start(&daemon.config, daemon.pipeline.deliveries.clone(), &stopped).await?;
            daemon.doors.spawn(deliver.run());
        }
        Ok(daemon)
    }

    async fn open_intake(&mut self, tls: Arc<ServerConfig>, stop: Stop) -> anyhow::Result<()> {
        let (listen, limits) = (self.config.intake.listen, &self.config.limits);
        let door = Door::open("agent", listen, tls, limits).await;
        let door = door.with_context(|| format!("intake.listen: {listen}"))?;
        info!(address = %door.address()?, "agents may come in");
        let intake = Intake::new(self.pipeline.deliveries.clone(), limits.clone());
        intake.expect(&self.pipeline.agents);
        let at_stop = stop.clone();
        self.doors.spawn(door.run(stop, move |guest| intake.clone().serve(guest, at_stop.clone())));
        Ok(())
    }

    async fn open_otlp(&mut self, tls: Arc<ServerConfig>, stop: Stop) -> anyhow::Result<()> {
        let (listen, limits) = (self.config.otlp.listen, &self.config.limits);
        let door = Door::open("otlp", listen, tls, limits).await;
        let door = door.with_context(|| format!("otlp.listen: {listen}"))?;
        info!(address = %door.address()?, "OTLP senders may come in");
        let otlp = Otlp::new(self.pipeline.deliveries.clone(), limits.clone());
        let at_stop = stop.clone();
        self.doors.spawn(door.run(stop, move |guest| otlp.clone().serve(guest, at_stop.clone())));
        Ok(())
    }

    /// Runs until told to end, or until a stage ends that should not.
    async fn run(&mut self, signals: &mut Signals) -> ExitCode {
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Told::End => return ExitCode::SUCCESS,
                    Told::Reload => self.reload().await,
                },
                _ = &mut self.pipeline.done => {
                    error!("the pipeline ended; nothing can be stored");
                    return ExitCode::from(2);
                }
            }
        }
    }

    /// Loads rules, inventory, hunts, indicators and exceptions anew.
    async fn reload(&mut self) {
        self.reload_rules().await;
        match self.pipeline.systems.reload(&self.config) {
            Ok(systems) => info!(systems, "inventory loaded anew"),
            Err(error) => warn!("the inventory is not replaced: {error}"),
        }
        match hunts::load(&self.config.hunts) {
            Ok(hunts) => self.replace_hunts(hunts).await,
            Err(error) => warn!("the hunts are not replaced: {error}"),
        }
        self.reload_indicators().await;
        self.reload_exceptions();
    }

    /// A run that is under way is done again: what it found is stored once.
    async fn replace_hunts(&mut self, hunts: Vec<Hunt>) {
        if let Some(running) = self.hunts.take() {
            running.stop().await;
        }
        match start_hunts(&self.config, hunts, &self.pipeline) {
            Ok(hunts) => self.hunts = Some(hunts),
            Err(error) => error!("no hunts run: {error:#}"),
        }
    }

    /// A set in which something does not load is not taken.
    async fn reload_rules(&mut self) {
        let dirs = self.config.rules.clone();
        let Ok((rules, problems)) = tokio::task::spawn_blocking(move || rules::load_in_words(&dirs)).await
        else {
            return;
        };
        report(&problems);
        if problems.is_empty() {
            info!(rules = rules.rules().len(), "rules loaded anew");
            self.pipeline.rules.replace(rules);
        } else {
            warn!(
                not_loaded = problems.len(),
                "the rules are not replaced: the set that was loaded before stays"
            );
        }
    }

    /// Loads the indicators anew; a set of which a file could not be read is not taken.
    async fn reload_indicators(&mut self) {
        let Ok(loaded) = load_indicators(&self.config).await else { return };
        let is_whole = loaded.problems().next().is_none();
        loaded.measure(is_whole);
        if is_whole {
            self.pipeline.indicators.replace(loaded.indicators);
        } else {
            warn!("the indicators are not replaced: the set that was loaded before stays");
        }
    }

    /// Loads exceptions and silences anew. A set in which something is wrong is not taken.
    fn reload_exceptions(&self) {
        let (exceptions, is_whole) = load_exceptions(&self.config);
        if is_whole {
            self.pipeline.exceptions.replace(exceptions);
        } else {
            warn!("the exceptions are not replaced: the set that was loaded before stays");
        }
    }

    /// Closes the doors, waits until what is under way is stored and acknowledged, closes the store.
    async fn stop(self) {
        let Self { config, supervisor, pipeline, hunts, mut notifications, mut doors, stop } = self;
        let Pipeline { deliveries, done, .. } = pipeline;
        stop.send_replace(true);
        if let Some(hunts) = hunts {
            hunts.stop().await;
        }
        drop(deliveries);
        let drained = async {
            while doors.join_next().await.is_some() {}
            let stored = done.await;
            while notifications.join_next().await.is_some() {}
            stored
        };
        if timeout(config.limits.stop_grace(), drained).await.is_err() {
            warn!(
                "not all was stored within limits.stop_grace_s; the rest was not acknowledged and comes again"
            );
        }
        if let Some(supervisor) = supervisor {
            supervisor.stop().await;
        }
    }
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// Comes back when the daemon is told to end.
    async fn end(&mut self) {
        while self.next().await != Told::End {}
    }
}

/// Loads the feeds, beside the threads that serve, and says what they hold.
async fn load_indicators(config: &Config) -> anyhow::Result<Loaded> {
    let feeds = config.indicators.clone();
    let loaded = tokio::task::spawn_blocking(move || indicators::load(&feeds, now())).await?;
    for problem in loaded.problems() {
        warn!("indicators are not loaded: {problem}");
    }
    for report in &loaded.reports {
        let not_understood = report.faults.count();
        info!(feed = report.feed, loaded = report.loaded(), not_understood, "indicators loaded");
    }
    Ok(loaded)
}

/// Loads exceptions and silences, and says what is wrong and what has expired; whether nothing is wrong.
fn load_exceptions(config: &Config) -> (Exceptions, bool) {
    let now = now();
    let (exceptions, faults) = exceptions::load(config.exceptions.as_deref(), now);
    for fault in &faults {
        warn!("an exception is not loaded: {fault}");
    }
    for waiver in exceptions.waivers().iter().filter(|waiver| waiver.has_expired(now)) {
        let (kind, file) = (waiver.kind.as_str(), waiver.file.display());
        warn!("{kind} {:?} has expired and has no effect: {file}:{}", waiver.id, waiver.place);
    }
    exceptions.measure(now);
    info!(loaded = exceptions.waivers().len(), not_loaded = faults.len(), "exceptions loaded");
    (exceptions, faults.is_empty())
}

fn start_hunts(config: &Config, hunts: Vec<Hunt>, pipeline: &Pipeline) -> anyhow::Result<RunHunts> {
    info!(hunts = hunts.len(), "hunts loaded");
    Ok(RunHunts::start(hunts, Reader::open(config)?, &pipeline.deliveries))
}

fn report(problems: &[String]) {
    for problem in problems {
        warn!("a rule is not loaded: {problem}");
    }
}
