//! Brings the store's schema up to date: `deploy/clickhouse/NNN-*.sql`, compiled in, applied in order.
//!
//! What was applied is recorded with the checksum of its text. A file that changed after it was applied stops the start: the
//! tables would not be what the code believes. A change is a new file. Every statement may run again, because a crash can
//! come between a statement and its record.
//!
//! What it never does: drop or rewrite what is there, or apply a file out of order.

use clickhouse::Client;
use clickhouse::error::Result as Answer;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

use crate::ask::{ANSWER_TIMEOUT_MAX, within};

/// The schema, in the order in which it is applied.
const FILES: [File; 16] = [
    File { name: "001-migrations", text: include_str!("../../deploy/clickhouse/001-migrations.sql") },
    File { name: "002-events", text: include_str!("../../deploy/clickhouse/002-events.sql") },
    File { name: "003-alerts", text: include_str!("../../deploy/clickhouse/003-alerts.sql") },
    File { name: "004-dead-letters", text: include_str!("../../deploy/clickhouse/004-dead-letters.sql") },
    File { name: "005-agents", text: include_str!("../../deploy/clickhouse/005-agents.sql") },
    File { name: "006-otel-logs", text: include_str!("../../deploy/clickhouse/006-otel-logs.sql") },
    File { name: "007-flows", text: include_str!("../../deploy/clickhouse/007-flows.sql") },
    File { name: "008-alert-history", text: include_str!("../../deploy/clickhouse/008-alert-history.sql") },
    File { name: "009-alert-clocks", text: include_str!("../../deploy/clickhouse/009-alert-clocks.sql") },
    File { name: "010-systems", text: include_str!("../../deploy/clickhouse/010-systems.sql") },
    File { name: "011-notifications", text: include_str!("../../deploy/clickhouse/011-notifications.sql") },
    File { name: "012-drill-scores", text: include_str!("../../deploy/clickhouse/012-drill-scores.sql") },
    File { name: "013-incidents", text: include_str!("../../deploy/clickhouse/013-incidents.sql") },
    File { name: "014-link-days", text: include_str!("../../deploy/clickhouse/014-link-days.sql") },
    File { name: "015-agents-expire", text: include_str!("../../deploy/clickhouse/015-agents-expire.sql") },
    File { name: "016-alert-steps", text: include_str!("../../deploy/clickhouse/016-alert-steps.sql") },
];

/// Stands in the files for the name of the database.
const DATABASE: &str = "{database}";

/// Why the schema is not up to date.
#[derive(Debug, Error)]
pub enum MigrateError {
    #[error("migration {name}: {source}")]
    Store { name: &'static str, source: clickhouse::error::Error },
    #[error(
        "migration {name}: applied with checksum {applied}, this program has {shipped}: \
         it was built from a changed file (a change is a new file)"
    )]
    Changed { name: &'static str, applied: String, shipped: String },
    #[error(
        "migration {name}: applied, but unknown to this program: the store was last used by a newer version. Start that version, or \
         bring back the copy of the store from before the upgrade (deploy/INSTALL.md)"
    )]
    Newer { name: String },
}

struct File {
    name: &'static str,
    text: &'static str,
}

/// Applies what is missing. `client` may write and create; `database` is an identifier.
pub(crate) async fn migrate(client: &Client, database: &str) -> Result<(), MigrateError> {
    // The database itself may not be there yet: nothing may be asked within it.
    let client = client.clone().with_database("default");
    let [first, ..] = &FILES;
    apply(&client, first, database).await?;
    let applied = applied(&client, database).await?;
    if let Some((name, _)) = applied.iter().find(|(name, _)| FILES.iter().all(|file| file.name != name)) {
        return Err(MigrateError::Newer { name: name.clone() });
    }
    for file in &FILES {
        match applied.iter().find(|(name, _)| name == file.name) {
            Some((_, checksum)) => file.check(checksum)?,
            None => {
                apply(&client, file, database).await?;
                record(&client, file, database).await?;
                tracing::info!(migration = file.name, "schema applied");
            }
        }
    }
    Ok(())
}

async fn apply(client: &Client, file: &File, database: &str) -> Result<(), MigrateError> {
    for statement in statements(file.text) {
        let statement = statement.replace(DATABASE, database);
        ask(client.query_raw(&statement).execute()).await.map_err(|source| file.failed(source))?;
    }
    Ok(())
}

async fn applied(client: &Client, database: &str) -> Result<Vec<(String, String)>, MigrateError> {
    let [first, ..] = &FILES;
    let sql = format!("SELECT name, checksum FROM {database}.migrations ORDER BY name");
    ask(client.query_raw(&sql).fetch_all()).await.map_err(|source| first.failed(source))
}

async fn record(client: &Client, file: &File, database: &str) -> Result<(), MigrateError> {
    let sql = format!("INSERT INTO {database}.migrations (name, checksum) VALUES (?, ?)");
    let checksum = file.checksum();
    let query = client.query(&sql).bind(file.name).bind(checksum);
    ask(query.execute()).await.map_err(|source| file.failed(source))
}

/// A change may wait for what the store has under way.
async fn ask<T>(question: impl Future<Output = Answer<T>>) -> Answer<T> {
    within(ANSWER_TIMEOUT_MAX, question).await
}

impl File {
    fn checksum(&self) -> String {
        format!("{:032x}", xxh3_128(self.text.as_bytes()))
    }

    fn check(&self, applied: &str) -> Result<(), MigrateError> {
        let shipped = self.checksum();
        if applied == shipped {
            return Ok(());
        }
        Err(MigrateError::Changed { name: self.name, applied: applied.to_owned(), shipped })
    }

    fn failed(&self, source: clickhouse::error::Error) -> MigrateError {
        MigrateError::Store { name: self.name, source }
    }
}

/// The statements of a file: each ends with a semicolon at the end of its line. ClickHouse takes one at a time over HTTP.
fn statements(text: &str) -> impl Iterator<Item = &str> {
    text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_every_file_of_the_folder_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/clickhouse");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, FILES.map(|file| file.name));
    }

    #[test]
    fn reads_statements_that_name_the_database() {
        for file in &FILES {
            assert!(statements(file.text).count() > 0, "{}", file.name);
            for statement in statements(file.text) {
                assert!(statement.contains(DATABASE), "{}: {statement}", file.name);
                let code = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
                assert!(!code.into_iter().any(|line| line.contains(';')), "{}: {statement}", file.name);
            }
        }
    }

    #[test]
    fn rejects_a_file_that_changed_after_it_was_applied() {
        let [first, second, ..] = &FILES;
        assert!(first.check(&first.checksum()).is_ok());
        assert!(matches!(first.check(&second.checksum()), Err(MigrateError::Changed { .. })));
    }
}
