//! The way of a batch from the intakes to the store: which stages there are, how they are joined, and how they end.
//!
//! ```text
//! intakes ─▶ admit ─▶ evaluate (a thread for each core, an agent always on the same) ─▶ alert (one thread)
//!         ─▶ write_alerts ─▶ write_events ─▶ the batch's fate, back to its intake
//!                 ┄▶ a bell, for who tells people (notifications): it holds up nobody
//! ```
//!
//! Beside it `watch_coverage` hears from both writers which log sources report, and what it finds goes to `alert` as a notice.
//!
//! Each arrow is a queue with a limit; a store that is away fills them from the end, until the intakes read no further.
//! Nothing is dropped on the way. When the intakes are gone each stage ends after the one before it, with all that is under
//! way stored.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use clickhouse::Client;
use detect::{Engine, Indicators};
use event::{Dictionary, DictionaryError, Micros};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

use crate::admit::{Admission, Admit};
use crate::alert::{AlertStage, Alerts, Notices};
use crate::batch::Delivery;
use crate::clock::{now, today};
use crate::config::{Config, ConfigError};
use crate::coverage::CoverageRow;
use crate::current::Current;
use crate::dead_letter::DeadLetters;
use crate::evaluate::{Evaluate, Places, RuleSet, Site};
use crate::exceptions::Exceptions;
use crate::flow_row::FlowFiller;
use crate::grouping::Grouping;
use crate::insert;
use crate::inventory::{Inventory, InventoryError};
use crate::migrate::{MigrateError, migrate};
use crate::notifications::Bell;
use crate::priority::{Levels, LevelsError};
use crate::publish_systems::{Load, PublishSystems};
use crate::recover::{self, RecoverError};
use crate::row::Filler;
use crate::store_client::ClientError;
use crate::watch_coverage::{Newsroom, WatchCoverage};
use crate::write_alerts::WriteAlerts;
use crate::write_events::WriteEvents;

/// Batches that wait before one thread: enough that it never waits, few enough that what it works on is recent.
const SHARD_BATCHES: usize = 8;
/// Batches between evaluation and alerts, and from there to the store: one insert's worth at 1,000 records a batch.
const QUEUE_BATCHES: usize = 16;

/// Why the way to the store cannot be opened.
#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    #[error(transparent)]
    Levels(#[from] LevelsError),
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
    #[error("event/fields.toml: {0}")]
    Columns(String),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error(transparent)]
    Recover(#[from] RecoverError),
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// The way to the store, open.
#[derive(Debug)]
pub struct Pipeline {
    /// Where the intakes put batches. When all senders are gone the stages end.
    pub deliveries: mpsc::Sender<Delivery>,
    /// Ends when everything that was under way is stored.
    pub done: JoinHandle<()>,
    /// The rules; they may be replaced while batches pass.
    pub rules: RuleSet,
    /// The indicators, none at first; they may be replaced, too.
    pub(crate) indicators: Current<Indicators>,
    /// Exceptions and silences, the same.
    pub(crate) exceptions: Current<Exceptions>,
    /// Agents that the store knows, those that were seen last first; one that used several epochs stands there for each.
    pub(crate) agents: Vec<String>,
    /// Rings when alerts were written.
    pub(crate) bell: Bell,
    pub(crate) systems: Systems,
}

/// The inventory; it may be replaced while batches pass.
#[derive(Clone)]
pub(crate) struct Systems {
    site: Arc<Site>,
    publish: PublishSystems,
    /// One at a time: the inventory that came last is published last.
    turn: Arc<Mutex<()>>,
}

impl Systems {
    fn new(config: &Config, client: &Client, site: &Arc<Site>) -> Result<Self, ConfigError> {
        let publish = PublishSystems::new(config, client)?;
        Ok(Self { site: Arc::clone(site), publish, turn: Arc::default() })
    }

    /// Reads the inventory of a configuration, puts it in place of the one in force, and has it published: nobody waits for a
    /// store that is away.
    pub(crate) fn reload(&self, config: &Config) -> Result<usize, InventoryError> {
        let inventory = Inventory::load(&config.systems, Some(&self.site.levels))?;
        let systems = inventory.systems().len();
        self.site.places.replace(Places::new(inventory));
        tokio::spawn(self.clone().publish());
        Ok(systems)
    }

    /// Systems of the inventory in force.
    pub(crate) fn count(&self) -> usize {
        self.site.places.get().inventory.systems().len()
    }

    async fn publish(self) {
        let _turn = self.turn.lock().await;
        let places = self.site.places.get();
        let load = Load::of(&places.inventory, self.site.levels.decrees(), today());
        self.publish.publish(load, now()).await;
    }
}

impl std::fmt::Debug for Systems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Systems").finish_non_exhaustive()
    }
}

/// Checks the inventory and the tables of levels as [`start`] does, without a store.
pub fn check(config: &Config) -> Result<(), StartError> {
    site(config, Engine::default()).map(drop)
}

/// Opens the way: brings the schema up to date, learns what an earlier collector left, starts the stages. The store must
/// answer.
pub async fn start(config: &Config, engine: Engine) -> Result<Pipeline, StartError> {
    let endpoint = config.endpoint();
    let site = Arc::new(site(config, engine)?);
    let client = insert::client(&endpoint)?;
    migrate(&client, &endpoint.database).await?;
    recover::until_quiet(&client, &endpoint.database).await?;
    let systems = Systems::new(config, &client, &site)?;
    systems.clone().publish().await;
    let admission = Arc::new(Admission::default());
    let agents = recover::agents(&client).await?;
    for agent in &agents {
        admission.stored_before(&agent.agent, agent.epoch, agent.seq);
    }
    let alerts = alerts(config, &client, &site).await?;
    let coverage = recover::coverage(&client).await?;
    let mut pipeline = join(config, &client, systems, admission, (alerts, coverage))?;
    let missed = agents.into_iter().rev().filter(|agent| agent.is_missed);
    pipeline.agents = missed.map(|agent| agent.agent).collect();
    Ok(pipeline)
}

fn site(config: &Config, engine: Engine) -> Result<Site, StartError> {
    let levels = Levels::load(&config.levels, today())?;
    let inventory = Inventory::load(&config.systems, Some(&levels))?;
    let filler = Filler::new(Dictionary::shipped()?).map_err(StartError::Columns)?;
    Ok(Site::new(inventory, levels, (filler, FlowFiller::new()?), RuleSet::new(engine)))
}

async fn alerts(config: &Config, client: &Client, site: &Arc<Site>) -> Result<Alerts, RecoverError> {
    let window = Micros::try_from(config.alert.window_s).unwrap_or(Micros::MAX).saturating_mul(1_000_000);
    let open = recover::open_alerts(client, now()).await?;
    let grouping = Grouping::new(site.levels.clone(), window, open);
    let mut alerts = Alerts::new(grouping, Arc::clone(site), client.clone(), Handle::current());
    let rules = site.rules.current();
    let hits = recover::correlated_hits(client, &rules.engine, &site.filler, now()).await?;
    alerts.remember(hits, now());
    for notice in recover::dead_letters(client, now()).await? {
        alerts.notice(notice, now());
    }
    Ok(alerts)
}

/// Starts the stages, from the last to the first.
fn join(
    config: &Config,
    client: &Client,
    systems: Systems,
    admission: Arc<Admission>,
    (alerts, coverage): (Alerts, Vec<CoverageRow>),
) -> Result<Pipeline, StartError> {
    let site = &systems.site;
    let (notices, notices_in) = Notices::channel();
    let (newsroom, news) = Newsroom::channel(site);
    let watch = WatchCoverage::new(client, site, coverage, news, notices.clone());
    let watch = tokio::spawn(watch.run());
    let dead_letters = DeadLetters::new(client);
    let (events_out, events_in) = mpsc::channel(QUEUE_BATCHES);
    let write_events = WriteEvents::new(client, dead_letters.clone(), notices, newsroom.clone(), events_in);
    let done = tokio::spawn(async {
        write_events.run().await;
        // Ends once nobody brings it news.
        let _ended = watch.await;
    });
    let (alerts_out, alerts_in) = mpsc::channel(QUEUE_BATCHES);
    let (ring, bell) = watch::channel(());
    tokio::spawn(WriteAlerts::new(client, dead_letters, newsroom, alerts_in, events_out, ring).run());
    let (hits_out, hits_in) = sync_channel(QUEUE_BATCHES);
    let alert = AlertStage { input: hits_in, notices: notices_in, output: alerts_out, alerts };
    spawn("alert", move || alert.run())?;
    let mut shards = Vec::new();
    for number in 0..threads(config) {
        let (shard, input) = mpsc::channel(SHARD_BATCHES);
        let evaluate = Evaluate {
            site: Arc::clone(site),
            client: client.clone(),
            runtime: Handle::current(),
            input,
            output: hits_out.clone(),
        };
        spawn(&format!("evaluate-{number}"), move || evaluate.run())?;
        shards.push(shard);
    }
    let (deliveries, input) = mpsc::channel(config.limits.queue_batches);
    tokio::spawn(Admit { admission, input, shards }.run());
    let (rules, indicators) = (site.rules.clone(), site.indicators.clone());
    let exceptions = site.exceptions.clone();
    let agents = Vec::new();
    Ok(Pipeline { deliveries, done, rules, indicators, exceptions, agents, bell, systems })
}

fn threads(config: &Config) -> usize {
    match config.limits.threads {
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads,
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    // The thread ends with its input: nobody needs to wait for it but the stage behind.
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop).map_err(StartError::Thread)
}
