//! The inventory into the store, so that SQL can classify, too: the table `systems_history`, of which the view `systems` shows
//! the last load, and two dictionaries that answer as [`Inventory::by_host`] and [`Inventory::by_address`] do:
//!
//! ```sql
//! dictGet('vonggac.system_by_host', 'system_id', lower(host))
//! dictGet('vonggac.system_by_address', 'system_id', src_ip)
//! ```
//!
//! A load is one insert, so it is there as a whole or not at all, and it is written only when it differs from the last one.
//! The dictionaries are made anew each time: the embedded store refreshes none by itself, and on a server of the site's own a
//! changed password must reach their source. Without them the collector works on (a server may forbid them): a metric tells.

use std::sync::LazyLock;

use clickhouse::Client;
use event::Micros;
use jiff::civil::Date;
use prometheus::IntGauge;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

use crate::ask::{ANSWER_TIMEOUT, within};
use crate::config::{Config, ConfigError, Endpoint};
use crate::insert::{Insert, Refused};
use crate::inventory::{Inventory, SystemIndex, holder, prefix};
use crate::level::{Decrees, Judgement, Lang};
use crate::metrics;
use crate::recover::{self, RecoverError};
use crate::row_binary::{Encode, encode, encoded};

/// A row of the table `systems_history`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SystemRow {
    loaded_at: Micros,
    id: String,
    name: String,
    purpose: String,
    owner_id: String,
    owner: String,
    operator_id: String,
    operator: String,
    level: u8,
    level_basis: String,
    level_decree: String,
    recheck: String,
    computed_by: String,
    computed_level: u8,
    computed_basis: Vec<String>,
    needs_review: u8,
    review: Vec<String>,
    retention_days_min: u16,
    retention_basis: String,
    hosts: Vec<String>,
    networks: Vec<String>,
    sources: Vec<String>,
    digest: String,
}

encode!(SystemRow {
    loaded_at,
    id,
    name,
    purpose,
    owner_id,
    owner,
    operator_id,
    operator,
    level,
    level_basis,
    level_decree,
    recheck,
    computed_by,
    computed_level,
    computed_basis,
    needs_review,
    review,
    retention_days_min,
    retention_basis,
    hosts,
    networks,
    sources,
    digest,
});

/// An inventory as the store has it.
pub(crate) struct Load {
    rows: Vec<SystemRow>,
    digest: String,
}

impl Load {
    /// As it stands on a day.
    pub(crate) fn of(inventory: &Inventory, decrees: &Decrees, date: Date) -> Self {
        let row = |index| SystemRow::of(inventory, decrees, date, index);
        let mut rows: Vec<SystemRow> = inventory.indices().map(row).collect();
        if rows.is_empty() {
            rows.push(SystemRow::default());
        }
        // Relays are of no system: they stand in no row, and decide what lines are believed of.
        let relays = inventory.relays().flat_map(|relay| relay.bytes().chain([0]));
        let said: Vec<u8> = encoded(&rows).into_iter().chain(relays).collect();
        let digest = format!("{:032x}", xxh3_128(&said));
        Self { rows, digest }
    }

    /// Tells this inventory from another.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    fn into_rows(self, now: Micros) -> Vec<SystemRow> {
        let Self { mut rows, digest } = self;
        for row in &mut rows {
            (row.loaded_at, row.digest) = (now, digest.clone());
        }
        rows
    }
}

impl SystemRow {
    fn of(inventory: &Inventory, decrees: &Decrees, date: Date, index: SystemIndex) -> Self {
        let system = inventory.system(index);
        let holder = |tenures| {
            let id = holder(tenures, date).map_or("", |tenure| &*tenure.organisation);
            (id.to_owned(), inventory.organisation_name(id).to_owned())
        };
        let ((owner_id, owner), (operator_id, operator)) = (holder(&system.owner), holder(&system.operator));
        let decree = decrees.in_force(date);
        let judgement = decree.map(|decree| inventory.judge(index, decree));
        let minimum = decree.and_then(|decree| decree.retention_minimum(system.level()));
        let citation = minimum.and_then(|minimum| minimum.provision.citation.as_ref());
        let names = system.hosts.iter().chain(&system.domains).map(|name| name.value.to_ascii_lowercase());
        let level = system.level.as_ref();
        let recheck = level.and_then(|level| level.recheck.as_ref());
        Self {
            id: system.id.clone(),
            name: system.name.clone(),
            purpose: system.purpose.clone(),
            owner_id,
            owner,
            operator_id,
            operator,
            level: system.level(),
            level_basis: level.map(|level| level.describe()).unwrap_or_default(),
            level_decree: level.and_then(|level| level.decree.clone()).map_or(String::new(), |id| id.value),
            retention_days_min: minimum.map_or(0, |minimum| minimum.days),
            retention_basis: citation.map(|citation| citation.shown(Lang::Vi)).unwrap_or_default(),
            recheck: recheck.map(|day| day.value.to_string()).unwrap_or_default(),
            hosts: names.collect(),
            networks: system.networks.iter().map(|network| prefix(network.value)).collect(),
            sources: system.sources.iter().map(|source| source.value.id.clone()).collect(),
            ..judgement.as_ref().map(Self::judged).unwrap_or_default()
        }
    }

    /// What a decree computes, and nothing else.
    fn judged(judgement: &Judgement<'_>) -> Self {
        let cases = judgement.reviews.iter().map(|review| review.provision.text.of(Lang::Vi).to_owned());
        let missing = judgement.missing.iter().map(|missing| missing.input.name.clone());
        Self {
            computed_by: judgement.decree.id.clone(),
            computed_level: judgement.level,
            computed_basis: judgement.basis().iter().map(|citation| citation.shown(Lang::Vi)).collect(),
            needs_review: u8::from(judgement.needs_review()),
            review: cases.chain(missing).collect(),
            ..Self::default()
        }
    }
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    published: metrics::gauge(
        "vonggac_systems_published",
        "Whether the store has the inventory in force and the dictionaries over it.",
    ),
});

struct Metrics {
    published: IntGauge,
}

/// Why SQL does not see an inventory.
#[derive(Debug, Error)]
enum PublishError {
    #[error(transparent)]
    Recover(#[from] RecoverError),
    #[error("the store refuses it: {0}")]
    Refused(String),
    #[error("a dictionary over it is not made: {0}")]
    Dictionary(clickhouse::error::Error),
}

/// Where inventories are published.
#[derive(Clone)]
pub(crate) struct PublishSystems {
    client: Client,
    insert: Insert,
    database: String,
    /// As whom a dictionary reads its source; empty in the embedded store, where it is the engine itself.
    credentials: String,
}

impl PublishSystems {
    pub(crate) fn new(config: &Config, client: &Client) -> Result<Self, ConfigError> {
        let endpoint = config.endpoint();
        let embedded = config.clickhouse.url.is_none();
        let credentials = if embedded { String::new() } else { credentials(&endpoint)? };
        let insert = Insert::new(client, "systems_history", &SystemRow::COLUMNS.join(", "));
        Ok(Self { client: client.clone(), insert, database: endpoint.database, credentials })
    }

    /// Writes an inventory unless the store has it as the last one, and makes the dictionaries anew. Comes back when the store
    /// has answered.
    pub(crate) async fn publish(&self, load: Load, now: Micros) {
        let published = self.try_publish(load, now).await;
        METRICS.published.set(i64::from(published.is_ok()));
        if let Err(error) = published {
            tracing::error!("SQL does not see the inventory in force: {error}");
        }
    }

    async fn try_publish(&self, load: Load, now: Micros) -> Result<(), PublishError> {
        let (last, digest) = recover::last_inventory(&self.client).await?.unwrap_or_default();
        if digest != load.digest() {
            // The last one counts, also when the clock was ahead for the one before.
            let rows = load.into_rows(now.max(last.saturating_add(1)));
            self.insert
                .put(&encoded(&rows))
                .await
                .map_err(|Refused(reason)| PublishError::Refused(reason))?;
            tracing::info!(systems = rows.len(), "inventory published");
        }
        self.make_dictionaries().await.map_err(PublishError::Dictionary)
    }

    async fn make_dictionaries(&self) -> clickhouse::error::Result<()> {
        let mut made = Ok(());
        for statement in self.dictionaries() {
            let answer = within(ANSWER_TIMEOUT, self.client.query_raw(&statement).execute()).await;
            made = made.and(answer);
        }
        made
    }

    /// Each is made, and then loaded, so that what is wrong with it shows here and not with whoever asks first.
    fn dictionaries(&self) -> [String; 4] {
        let Self { database, credentials, .. } = self;
        let made = |name: &str, key: &str, rows: &str, layout: &str| {
            format!(
                "CREATE OR REPLACE DICTIONARY {database}.{name} ({key} String, system_id String, sys_level UInt8) \
                 PRIMARY KEY {key} \
                 SOURCE(CLICKHOUSE({credentials} QUERY 'SELECT DISTINCT arrayJoin({rows}) AS {key}, id AS system_id, \
                 level AS sys_level FROM {database}.systems')) \
                 LIFETIME(0) LAYOUT({layout})"
            )
        };
        let load = |name| format!("SYSTEM RELOAD DICTIONARY {database}.{name}");
        [
            made("system_by_host", "host", "hosts", "COMPLEX_KEY_HASHED()"),
            load("system_by_host"),
            made("system_by_address", "network", "networks", "IP_TRIE()"),
            load("system_by_address"),
        ]
    }
}

fn credentials(endpoint: &Endpoint) -> Result<String, ConfigError> {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    Ok(format!("USER {} PASSWORD {}", quoted(&endpoint.user), quoted(&endpoint.password()?)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clickhouse::error::Error;

    use super::*;
    use crate::ask::tests::{given_up, hung};
    use crate::priority::Levels;

    const DATE: Date = jiff::civil::date(2026, 10, 1);

    fn sample() -> (Inventory, Levels) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let inventory = Inventory::open(&root.join("deploy/systems")).unwrap();
        (inventory, Levels::load(&root.join("rules/levels"), DATE).unwrap())
    }

    #[test]
    fn a_row_says_what_was_approved_and_what_is_computed() {
        let (inventory, levels) = sample();
        let load = Load::of(&inventory, levels.decrees(), DATE);
        let row = load.rows.iter().find(|row| row.id == "cong-dvc").unwrap();
        assert_eq!((row.level, row.computed_level, row.needs_review), (3, 3, 0));
        assert_eq!((&*row.owner_id, &*row.operator_id), ("vp-ubnd", "tt-dulieu"));
        assert_eq!(row.computed_by, "vn-nd331-2026");
        assert!(row.networks.contains(&"::ffff:192.0.2.10/128".to_owned()), "{:?}", row.networks);
        assert!(row.hosts.contains(&"dichvucong.example.gov.vn".to_owned()));
    }

    #[test]
    fn the_digest_tells_inventories_apart_and_not_loads() {
        let (inventory, levels) = sample();
        let digest = |inventory: &Inventory| Load::of(inventory, levels.decrees(), DATE).digest;
        assert_eq!(digest(&inventory), digest(&sample().0));
        assert_ne!(digest(&inventory), digest(&Inventory::default()));
        let relay = |text: &str| digest(&Inventory::parse(text, Path::new("systems.toml")).unwrap());
        let relays = [
            "",
            "[[relay]]\nhost = 'a'",
            "[[relay]]\nhost = 'b'",
            "[[relay]]\nhost = 'a'\n[[relay]]\nhost = 'b'",
        ];
        assert_eq!(
            relays.map(relay).into_iter().collect::<std::collections::BTreeSet<_>>().len(),
            relays.len()
        );
        let rows = Load::of(&Inventory::default(), levels.decrees(), DATE).into_rows(7);
        assert_eq!((rows.len(), rows[0].loaded_at, &*rows[0].id), (1, 7, ""));
    }

    #[tokio::test]
    async fn dictionaries_are_not_waited_for_for_ever() {
        let (_store, client) = hung();
        let publish = PublishSystems::new(&Config::default(), &client).unwrap();
        assert!(matches!(given_up(publish.make_dictionaries()).await, Err(Error::TimedOut)));
    }

    #[test]
    fn a_password_ends_no_statement() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "it's \\ me\n").unwrap();
        let endpoint = Endpoint {
            url: String::new(),
            user: "vonggac".into(),
            password_file: Some(path),
            ca: None,
            database: String::new(),
        };
        assert_eq!(credentials(&endpoint).unwrap(), r"USER 'vonggac' PASSWORD 'it\'s \\ me'");
    }
}
