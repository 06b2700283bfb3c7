//! Watches which log sources report, as [`crate::coverage`] defines it: hears from the stages that write what was stored and
//! which canaries came out as alerts, tells what falls silent, and writes how it stands into the table `coverage`.
//!
//! It hears of a batch once, not of each event. It looks at its clock every [`LOOK`], and writes what changed every [`WRITE`], with
//! a mark that says until when a collector listened: what is forgotten by a crash is at most that. A silence is written once its
//! alert is stored: a crash in between tells it again, into the same alert. One that the alert stage cannot take is told again at
//! the next look.
//!
//! What a drill makes is not heard: it would hide that a source is silent.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use clickhouse::Client;
use event::Micros;
use prometheus::IntGaugeVec;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::admit::Origin;
use crate::alert::{Notice, Notices};
use crate::clock::{now, today};
use crate::coverage::{Coverage, CoverageRow, SourceSet, Told, demands};
use crate::evaluate::{Places, Site};
use crate::grouping::{AlertRow, Place};
use crate::insert::{Insert, Refused};
use crate::metrics;
use crate::row_binary::{Encode, encoded};

/// A silence of seconds is told after a second.
const LOOK: Duration = Duration::from_secs(1);
/// A dozen small inserts a minute are merged with ease; a person who asks sees nothing older.
const WRITE: Duration = Duration::from_secs(5);
/// Pieces of news that wait: some inserts' worth. Beyond it the writers wait, as they do for the store.
const NEWS_MAX: usize = 64;

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let labels = &["system", "source"];
    Metrics {
        stored: metrics::gauges(
            "vonggac_coverage_last_stored_seconds",
            "When something of a source that must report was last stored (Unix time); 0: never.",
            labels,
        ),
        silent: metrics::gauges(
            "vonggac_coverage_silent",
            "Whether a source that must report is silent: 0 or 1.",
            labels,
        ),
        unanswered: metrics::gauges(
            "vonggac_coverage_unanswered",
            "Whether a source talks, but its canary does not come out as an alert: 0 or 1.",
            labels,
        ),
    }
});

struct Metrics {
    stored: IntGaugeVec,
    silent: IntGaugeVec,
    unanswered: IntGaugeVec,
}

/// What a batch counts for: systems, and the kinds of sources.
pub(crate) type Heard = Vec<(Arc<Place>, SourceSet)>;

/// From the stages that write.
pub(crate) enum News {
    /// A batch of a host was stored.
    Stored { host: String, heard: Heard },
    /// The canary of a source came out as an alert.
    Answered { system: String, source: String },
    /// The alert of what was told of a source is stored.
    Known(Known),
}

/// The source of which something was told.
#[derive(Debug)]
pub(crate) struct Known {
    system: String,
    source: String,
}

impl Known {
    pub(crate) fn of(told: &Told) -> Self {
        Self { system: told.demand.place.system_id.clone(), source: told.demand.source.clone() }
    }
}

/// The way of news to this stage.
#[derive(Clone)]
pub(crate) struct Newsroom {
    site: Arc<Site>,
    news: mpsc::Sender<News>,
}

impl Newsroom {
    pub(crate) fn channel(site: &Arc<Site>) -> (Self, mpsc::Receiver<News>) {
        let (news, input) = mpsc::channel(NEWS_MAX);
        (Self { site: Arc::clone(site), news }, input)
    }

    /// A batch is stored.
    pub(crate) async fn stored(&self, origin: &Origin, heard: Heard) {
        if !heard.is_empty() {
            self.send(News::Stored { host: origin.identity.agent.clone(), heard }).await;
        }
    }

    /// Alerts are stored; those of canaries are answers.
    pub(crate) async fn alerted(&self, rows: &[AlertRow]) {
        for row in rows.iter().filter(|row| row.drill_id.is_empty()) {
            let Some(kind) = self.site.levels.sources().by_canary(&row.rule_id) else { continue };
            let (system, source) = (row.system_id.clone(), kind.id.clone());
            self.send(News::Answered { system, source }).await;
        }
    }

    /// What was told is stored.
    pub(crate) async fn known(&self, known: Known) {
        self.send(News::Known(known)).await;
    }

    async fn send(&self, news: News) {
        // The stage ends after its senders; should it have failed, batches are stored all the same.
        let _ended = self.news.send(news).await;
    }
}

/// The stage.
pub(crate) struct WatchCoverage {
    input: mpsc::Receiver<News>,
    notices: Notices,
    insert: Insert,
    site: Arc<Site>,
    /// The inventory that the demands are of.
    places: Arc<Places>,
    coverage: Coverage,
    written: Micros,
}

impl WatchCoverage {
    /// `rows`: as an earlier collector left them.
    pub(crate) fn new(
        client: &Client,
        site: &Arc<Site>,
        rows: Vec<CoverageRow>,
        input: mpsc::Receiver<News>,
        notices: Notices,
    ) -> Self {
        LazyLock::force(&METRICS);
        let places = site.places.get();
        let mut coverage = Coverage::restored(rows, now());
        coverage.demand(demands(&places, &site.levels, today()), now());
        let insert = Insert::new(client, "coverage", &CoverageRow::COLUMNS.join(", "));
        let site = Arc::clone(site);
        Self { input, notices, insert, site, places, coverage, written: 0 }
    }

    /// Runs until the stages that write are gone.
    pub(crate) async fn run(mut self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                news = self.input.recv() => match news {
                    Some(news) => self.take(news, now()),
                    None => break,
                },
                _ = looks.tick() => self.look(now()).await,
            }
        }
        self.write(now()).await;
    }

    fn take(&mut self, news: News, now: Micros) {
        match news {
            News::Stored { host, heard } => {
                let site = Arc::clone(&self.site);
                for (place, kinds) in heard {
                    for kind in site.levels.sources().of(kinds) {
                        let told = self.coverage.stored(&place.system_id, &kind.id, &host, now);
                        self.tell(told);
                    }
                }
            }
            News::Answered { system, source } => {
                let told = self.coverage.answered(&system, &source, now);
                self.tell(told);
            }
            News::Known(Known { system, source }) => self.coverage.known(&system, &source),
        }
    }

    fn tell(&mut self, told: impl IntoIterator<Item = Told>) {
        for told in told {
            if let Err(Notice::Coverage(told)) = self.notices.send(Notice::Coverage(Box::new(told))) {
                self.coverage.unheard(&told);
            }
        }
    }

    async fn look(&mut self, now: Micros) {
        let places = self.site.places.get();
        if !Arc::ptr_eq(&places, &self.places) {
            self.coverage.demand(demands(&places, &self.site.levels, today()), now);
            self.places = places;
        }
        let told = self.coverage.check(now);
        self.tell(told);
        let due = self.written.saturating_add(i64::try_from(WRITE.as_micros()).unwrap_or(i64::MAX));
        if now >= due {
            self.write(now).await;
        }
    }

    async fn write(&mut self, now: Micros) {
        self.written = now;
        self.measure();
        let mut rows = self.coverage.changed(now);
        let version = u64::try_from(now).unwrap_or_default();
        rows.push(CoverageRow { counted_from: now, version, ..CoverageRow::default() });
        if let Err(Refused(reason)) = self.insert.put(&encoded(&rows)).await {
            tracing::error!(reason, "rows of coverage refused");
        }
    }

    /// Sources that nobody asks for any more are gone from the metrics.
    fn measure(&self) {
        let Metrics { stored, silent, unanswered } = &*METRICS;
        [stored, silent, unanswered].into_iter().for_each(IntGaugeVec::reset);
        for (demand, row) in self.coverage.demanded() {
            let labels = [&*demand.place.system_id, &*demand.source];
            stored.with_label_values(&labels).set(row.last_stored / 1_000_000);
            silent.with_label_values(&labels).set(i64::from(row.silent_since != 0));
            unanswered.with_label_values(&labels).set(i64::from(row.unanswered_since != 0));
        }
    }
}
