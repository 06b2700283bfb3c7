//! `vonggac serve`: the daemon. It starts what it needs in the order in which it needs it, and stops in the reverse order.
//!
//! Start: configuration, `/metrics`, certificates and rules, the store (started here, or waited for), the pipeline, and last the doors: nobody is
//! let in before there is somewhere to put what he brings. Stop (SIGTERM or SIGINT): the doors are closed, what is under way
//! is stored and acknowledged within `limits.stop_grace_s`, the store is closed. A second signal ends it at once.
//! SIGHUP loads rules, the inventory of systems, hunts, indicators and exceptions anew, each by itself, after a start that is
//! under way; if something in rules, inventory, hunts or exceptions does not load, or a file of indicators cannot be read, it is
//! reported, and what was loaded before stays.
//!
//! What it never does: acknowledge what is not stored, on the way out either. Who was not acknowledged sends again.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use detect::Engine;
use rustls::ServerConfig;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch::{Sender, channel};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::certificates::Certificates;
use crate::check;
use crate::clock::now;
use crate::config::{Config, ConfigArg, LogLevel, Tls};
use crate::content::Part;
use crate::door::{Door, Stop};
use crate::exceptions::{self, Exceptions};
use crate::exporters;
use crate::http::{self, Phase, Phases};
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
use crate::wait_store::wait_store;
use crate::watch::watch;
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
    /// Read the configuration and all that it names, say what is wrong, and end
    ///
    /// Exit code 0: all is well; 1: the daemon starts, but not with all of it (warnings: a rule that does not load, a certificate whose
    /// time is over); 2: the daemon does not start (errors).
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
    stop: Sender<bool>,
}

/// What makes the daemon end or look again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal means.
enum Told {
    End,
    Reload,
}

/// Runs the subcommand.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { config: path, check: only_check, log } = args;
    if only_check {
        return Ok(check::run(&path));
    }
    let config = path.load()?;
    log::to_stderr(log.unwrap_or(config.log));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let code = runtime.block_on(serve(config));
    // What still hangs on the store is dropped here; it was not acknowledged.
    runtime.shutdown_background();
    code
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("signals cannot be caught")?;
    let (phases, address) = http::open(config.metrics.listen).await?;
    info!(version = env!("CARGO_PKG_VERSION"), metrics = %address, "vonggac starts");
    let mut daemon = tokio::select! {
        daemon = Daemon::start(config, &phases) => daemon?,
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
    async fn start(config: Config, phases: &Phases) -> anyhow::Result<Self> {
        let intake_tls = server_config(&config.tls, &[])?;
        let otlp_tls = server_config(&config.tls, &[ALPN])?;
        examine(&config.tls)?;
        let rules = load_rules(&config);
        let indicators = load_indicators(&config).await?;
        let hunts = load_hunts(&config);
        let channels = notifications::channels(&config.notifications)?;
        let supervisor = match config.clickhouse.url {
            None => Some(Supervisor::start(&config).await?),
            Some(_) => None,
        };
        wait_store(&config, phases).await?;
        let pipeline = store::start(&config, rules).await?;
        Part::Inventory.took(pipeline.systems.count(), 0);
        take_indicators(indicators, &pipeline);
        let (exceptions, faults) = load_exceptions(&config);
        take_exceptions(exceptions, faults, &pipeline);
        let (stop, stopped) = channel(false);
        let hunts = Some(start_hunts(&config, hunts, &pipeline)?);
        let client = insert::client(&config.endpoint())?;
        let notifications = notifications::start(&config.notifications, channels, &client, &pipeline.bell);
        let mut doors = JoinSet::new();
        doors.spawn(watch(WatchClocks(Reader::open(&config)?), stopped.clone()));
        doors.spawn(watch(WatchLinks::new(&config, &client)?, stopped.clone()));
        doors.spawn(watch(WatchObligations::new(&config, &client)?, stopped.clone()));
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
        let door = http::listening("intake.listen", listen, door)?;
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
        let door = http::listening("otlp.listen", listen, door)?;
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

    /// Loads rules, inventory, hunts, indicators and exceptions anew. A part in which something does not load is not taken.
    async fn reload(&mut self) {
        self.reload_rules().await;
        match self.pipeline.systems.reload(&self.config) {
            Ok(systems) => {
                Part::Inventory.took(systems, 0);
                info!(systems, "inventory loaded anew");
            }
            Err(error) => {
                Part::Inventory.kept(error.faults());
                warn!("the inventory is not replaced: {error}");
            }
        }
        match hunts::load(&self.config.hunts) {
            Ok(hunts) => {
                Part::Hunts.took(hunts.len(), 0);
                self.replace_hunts(hunts).await;
            }
            Err(error) => {
                Part::Hunts.kept(1);
                warn!("the hunts are not replaced: {error}");
            }
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
            Err(error) => {
                Part::Hunts.took(0, 1);
                error!("no hunts run: {error:#}");
            }
        }
    }

    async fn reload_rules(&mut self) {
        let dirs = self.config.rules.clone();
        let Ok(loaded) = tokio::task::spawn_blocking(move || rules::load_for_watch(&dirs)).await else {
            return;
        };
        report(&loaded);
        let not_loaded = loaded.refused.len();
        if not_loaded == 0 {
            let count = loaded.engine.rules().len();
            Part::Rules.took(count, 0);
            info!(rules = count, "rules loaded anew");
            self.pipeline.rules.replace(loaded.engine);
        } else {
            Part::Rules.kept(not_loaded);
            warn!(not_loaded, "the rules are not replaced: the set that was loaded before stays");
        }
    }

    async fn reload_indicators(&mut self) {
        let Ok(loaded) = load_indicators(&self.config).await else { return };
        match loaded.problems().count() {
            0 => take_indicators(loaded, &self.pipeline),
            problems => {
                loaded.measure(false);
                Part::Indicators.kept(problems);
                warn!("the indicators are not replaced: the set that was loaded before stays");
            }
        }
    }

    fn reload_exceptions(&self) {
        match load_exceptions(&self.config) {
            (exceptions, 0) => take_exceptions(exceptions, 0, &self.pipeline),
            (_, faults) => {
                Part::Exceptions.kept(faults);
                warn!("the exceptions are not replaced: the set that was loaded before stays");
            }
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

    /// Comes back when the daemon is told to end. That it shall load anew is left to be heard when it runs.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Stops the start when nobody can believe the collector; warns when nobody does now.
fn examine(tls: &Tls) -> anyhow::Result<()> {
    let certificates = Certificates::examine(tls).context("tls")?;
    certificates.measure();
    for fault in certificates.out_of_date(jiff::Timestamp::now().as_second()) {
        error!("tls: {fault}");
    }
    Ok(())
}

/// At the start what loads is taken: a watch with one rule less is better than none.
fn load_rules(config: &Config) -> Engine {
    let loaded = rules::load_for_watch(&config.rules);
    report(&loaded);
    let (count, not_loaded) = (loaded.engine.rules().len(), loaded.refused.len());
    Part::Rules.took(count, not_loaded);
    info!(rules = count, not_loaded, "rules loaded");
    loaded.engine
}

/// The same for hunts, which load together or not at all; their windows wait.
fn load_hunts(config: &Config) -> Vec<Hunt> {
    let (hunts, faults) = match hunts::load(&config.hunts) {
        Ok(hunts) => (hunts, 0),
        Err(error) => {
            error!("no hunts run: {error}");
            (Vec::new(), 1)
        }
    };
    Part::Hunts.took(hunts.len(), faults);
    hunts
}

fn take_indicators(loaded: Loaded, pipeline: &Pipeline) {
    loaded.measure(true);
    Part::Indicators.took(loaded.indicators.len(), loaded.problems().count());
    pipeline.indicators.replace(loaded.indicators);
}

fn take_exceptions(exceptions: Exceptions, faults: usize, pipeline: &Pipeline) {
    exceptions.measure(now());
    Part::Exceptions.took(exceptions.waivers().len(), faults);
    pipeline.exceptions.replace(exceptions);
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

/// Loads exceptions and silences, says what is wrong and what has expired, and counts what is wrong.
fn load_exceptions(config: &Config) -> (Exceptions, usize) {
    let now = now();
    let (exceptions, faults) = exceptions::load(config.exceptions.as_deref(), now);
    for fault in &faults {
        warn!("an exception is not loaded: {fault}");
    }
    for waiver in exceptions.waivers().iter().filter(|waiver| waiver.has_expired(now)) {
        let (kind, file) = (waiver.kind.as_str(), waiver.file.display());
        warn!("{kind} {:?} has expired and has no effect: {file}:{}", waiver.id, waiver.place);
    }
    info!(loaded = exceptions.waivers().len(), not_loaded = faults.len(), "exceptions loaded");
    (exceptions, faults.len())
}

fn start_hunts(config: &Config, hunts: Vec<Hunt>, pipeline: &Pipeline) -> anyhow::Result<RunHunts> {
    info!(hunts = hunts.len(), "hunts loaded");
    Ok(RunHunts::start(hunts, Reader::open(config)?, &pipeline.deliveries))
}

fn report(loaded: &rules::Loaded) {
    for problem in &loaded.refused {
        warn!("a rule is not loaded: {problem}");
    }
    for problem in &loaded.doubted {
        warn!("a rule is {problem}");
    }
}
