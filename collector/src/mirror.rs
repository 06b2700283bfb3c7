//! The rows of a table that one stage alone writes, as the store has them: what has not changed is not written again.
//!
//! A row takes the place of the one with its key and a lower version. Versions are times, but never below one that the table
//! has: the clock may have been ahead.

use std::collections::HashMap;
use std::hash::Hash;

use anyhow::{Result, anyhow};
use clickhouse::{Client, RowOwned, RowRead};

use crate::ask::{ANSWER_TIMEOUT, bounded, within};
use crate::clock::version_after;
use crate::insert::{Insert, Refused};
use crate::row_binary::{Encode, encoded};

/// A row of such a table.
pub(crate) trait Mirrored: Clone + Encode + RowOwned + RowRead {
    const TABLE: &'static str;
    /// Which rows are looked at, where a table keeps more than is ever compared.
    const WHERE: &'static str = "";
    /// Of which rows the newest counts.
    type Key: Clone + Eq + Hash;

    fn key(&self) -> Self::Key;
    fn version(&mut self) -> &mut u64;
}

pub(crate) struct Mirror<R: Mirrored> {
    client: Client,
    insert: Insert,
    /// With version 0; none before the first look.
    rows: Option<HashMap<R::Key, R>>,
    /// The highest version that was read or written.
    version: u64,
}

impl<R: Mirrored> Mirror<R> {
    pub(crate) fn new(client: &Client) -> Self {
        let insert = Insert::new(client, R::TABLE, &R::COLUMNS.join(", "));
        Self { client: client.clone(), insert, rows: None, version: 0 }
    }

    /// The rows, each with version 0.
    pub(crate) async fn rows(&mut self) -> Result<&HashMap<R::Key, R>> {
        if self.rows.is_none() {
            let client = bounded(&self.client, ANSWER_TIMEOUT);
            let sql = format!("SELECT ?fields FROM {} FINAL {}", R::TABLE, R::WHERE);
            let mut rows: Vec<R> = within(ANSWER_TIMEOUT, client.query(&sql).fetch_all()).await?;
            self.version = rows.iter_mut().map(|row| *row.version()).max().unwrap_or_default();
            self.rows = Some(by_key(rows));
        }
        Ok(self.rows.get_or_insert_default())
    }

    /// Writes rows that are new, or other than they were.
    pub(crate) async fn write(&mut self, mut rows: Vec<R>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.version = version_after(self.version);
        rows.iter_mut().for_each(|row| *row.version() = self.version);
        let put = self.insert.put(&encoded(&rows)).await;
        put.map_err(|Refused(reason)| anyhow!("refused: {reason}"))?;
        self.rows.get_or_insert_default().extend(by_key(rows));
        Ok(())
    }
}

/// Rows by their keys, as they are compared: without their version.
pub(crate) fn by_key<R: Mirrored>(rows: Vec<R>) -> HashMap<R::Key, R> {
    let unversioned = |mut row: R| {
        *row.version() = 0;
        (row.key(), row)
    };
    rows.into_iter().map(unversioned).collect()
}

#[cfg(test)]
mod tests {
    use clickhouse::Row;
    use serde::Deserialize;

    use super::*;
    use crate::ask::tests::{given_up, hung};
    use crate::row_binary::encode;

    #[derive(Clone, Deserialize, Row)]
    struct Line {
        name: String,
        version: u64,
    }

    encode!(Line { name, version });

    impl Mirrored for Line {
        const TABLE: &'static str = "lines";
        type Key = String;

        fn key(&self) -> String {
            self.name.clone()
        }

        fn version(&mut self) -> &mut u64 {
            &mut self.version
        }
    }

    #[tokio::test]
    async fn a_round_does_not_wait_for_ever_for_a_store_that_hangs() {
        let (_store, client) = hung();
        let mut mirror = Mirror::<Line>::new(&client);
        assert!(given_up(mirror.rows()).await.is_err());
    }
}
