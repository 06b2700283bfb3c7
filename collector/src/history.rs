//! What people did with alerts, as a chain of hashes: a change afterwards shows.
//!
//! An entry's hash is SHA-256 over all its fields and the hash of the entry before it. The encoding is RowBinary, as for an
//! insert, with an empty hash: every text stands behind its length, so no two entries encode alike.
//!
//! There is one chain for each machine that people write from, not one for each alert and not one for all. A chain of all
//! would fork when two machines write at once, for ClickHouse has no compare-and-set; on one machine a lock of the file system
//! keeps the writers apart ([`head`]). Chains of alerts would fork in the same way, and the whole history of an alert could
//! vanish without a trace.
//!
//! What is detected: a field that was changed, an entry that was removed, put in between or put in another's place; and the
//! newest entries removed or replaced, by the head that each machine remembers outside the store, or by one that was noted
//! down (`vonggac alerts verify --head`). What is not: somebody who changes the store and all heads alike, and an entry that
//! was false when it was written. Whoever has the writer's password can write one.

pub(crate) mod head;

use clickhouse::Row;
use event::Micros;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

pub(crate) use head::{Head, HeadFile};

use crate::row_binary::{Encode, encode};

/// Begins what is hashed: a hash of this is no hash of anything else.
const DOMAIN: &[u8] = b"vonggac alert_history 1\n";

/// A row of the table `alert_history`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Row, Serialize)]
pub(crate) struct Entry {
    pub(crate) chain: String,
    pub(crate) seq: u64,
    #[serde(serialize_with = "crate::people::as_iso")]
    pub(crate) at: Micros,
    pub(crate) alert_id: String,
    pub(crate) action: String,
    pub(crate) actor: String,
    pub(crate) login: String,
    pub(crate) host: String,
    pub(crate) assignee: String,
    pub(crate) verdict: String,
    pub(crate) text: String,
    pub(crate) previous: String,
    pub(crate) hash: String,
}

encode!(Entry {
    chain,
    seq,
    at,
    alert_id,
    action,
    actor,
    login,
    host,
    assignee,
    verdict,
    text,
    previous,
    hash,
});

/// Columns of a query that reads entries.
pub(crate) const COLUMNS: &str = "h.chain AS chain, h.seq AS seq, toUnixTimestamp64Micro(h.at) AS at, \
    h.alert_id AS alert_id, h.action AS action, h.actor AS actor, h.login AS login, h.host AS host, \
    h.assignee AS assignee, h.verdict AS verdict, h.text AS text, h.previous AS previous, h.hash AS hash";

/// The first link of a chain that does not hold.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Broken {
    #[error("{chain}: entries {first} to {last} are missing")]
    Missing { chain: String, first: u64, last: u64 },
    #[error("{chain}: entry {seq} stands there more than once")]
    Twice { chain: String, seq: u64 },
    #[error("{chain}: entry {seq} (alert {alert_id}) was changed: its hash is not that of what it says")]
    Changed { chain: String, seq: u64, alert_id: String },
    #[error(
        "{chain}: entry {seq} (alert {alert_id}) does not follow the entry before it: that one was replaced"
    )]
    Unlinked { chain: String, seq: u64, alert_id: String },
    #[error("{chain}: entry {seq} is not the one that was remembered outside the store")]
    Replaced { chain: String, seq: u64 },
}

impl Entry {
    /// The entry behind `head`, sealed with its hash.
    pub(crate) fn behind(self, head: &Head) -> Self {
        let mut entry = Self {
            chain: head.chain.clone(),
            seq: head.seq + 1,
            previous: head.hash.clone(),
            hash: String::new(),
            ..self
        };
        entry.hash = entry.digest();
        entry
    }

    pub(crate) fn head(&self) -> Head {
        Head { chain: self.chain.clone(), seq: self.seq, hash: self.hash.clone() }
    }

    /// The hash that the entry should have.
    fn digest(&self) -> String {
        let mut bytes = DOMAIN.to_vec();
        Self { hash: String::new(), ..self.clone() }.encode(&mut bytes);
        base16ct::lower::encode_string(&Sha256::digest(&bytes))
    }

    fn follows(&self, head: &Head) -> Result<(), Broken> {
        let (chain, seq, alert_id) = (self.chain.clone(), self.seq, self.alert_id.clone());
        if seq == head.seq {
            return Err(Broken::Twice { chain, seq });
        }
        if seq != head.seq + 1 {
            return Err(Broken::Missing { chain, first: head.seq + 1, last: seq - 1 });
        }
        if self.hash != self.digest() {
            return Err(Broken::Changed { chain, seq, alert_id });
        }
        if self.previous != head.hash {
            return Err(Broken::Unlinked { chain, seq, alert_id });
        }
        Ok(())
    }
}

/// Follows the chains, which come in the order of (chain, seq), and gives the head of each. `known` are heads that were
/// remembered outside the store: their entries must be there.
pub(crate) fn verify(entries: &[Entry], known: &[Head]) -> Result<Vec<Head>, Broken> {
    let mut heads: Vec<Head> = Vec::new();
    for entry in entries {
        if heads.last().is_none_or(|head| head.chain != entry.chain) {
            heads.push(Head { chain: entry.chain.clone(), seq: 0, hash: String::new() });
        }
        if let Some(head) = heads.last_mut() {
            entry.follows(head)?;
            *head = entry.head();
        }
    }
    for head in known.iter().filter(|head| head.seq > 0) {
        match entries.iter().find(|entry| entry.chain == head.chain && entry.seq == head.seq) {
            Some(entry) if entry.hash == head.hash => {}
            Some(_) => return Err(Broken::Replaced { chain: head.chain.clone(), seq: head.seq }),
            None => {
                let newest = heads.iter().find(|newest| newest.chain == head.chain);
                let first = newest.map_or(0, |newest| newest.seq) + 1;
                return Err(Broken::Missing { chain: head.chain.clone(), first, last: head.seq });
            }
        }
    }
    Ok(heads)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(name: &str, length: u64) -> Vec<Entry> {
        let mut head = Head { chain: name.into(), seq: 0, hash: String::new() };
        let entry = |seq: u64| Entry {
            at: 1_795_404_296_000_000,
            alert_id: format!("alert{seq}"),
            action: "comment".into(),
            actor: "Hương".into(),
            text: "đã xem".into(),
            ..Entry::default()
        };
        (1..=length)
            .map(|seq| {
                let entry = entry(seq).behind(&head);
                head = entry.head();
                entry
            })
            .collect()
    }

    #[test]
    fn chains_hold_and_tell_their_heads() {
        let entries = [chain("a", 3), chain("b", 1)].concat();
        let heads = verify(&entries, &[entries[1].head()]).unwrap();
        assert_eq!(heads, [entries[2].head(), entries[3].head()]);
        assert_eq!(verify(&[], &[]).unwrap(), []);
    }

    #[test]
    fn a_change_of_any_field_is_found() {
        let changes: [fn(&mut Entry); 11] = [
            |entry| entry.at += 1,
            |entry| entry.alert_id.push('0'),
            |entry| entry.action = "close".into(),
            |entry| entry.actor.clear(),
            |entry| entry.login.push('x'),
            |entry| entry.host.push('x'),
            |entry| entry.assignee.push('x'),
            |entry| entry.verdict.push('x'),
            |entry| entry.text = "đã xem ".into(),
            |entry| entry.previous.clear(),
            |entry| entry.hash.clear(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut entries = chain("a", 3);
            change(&mut entries[1]);
            let broken = verify(&entries, &[]).unwrap_err();
            assert!(matches!(broken, Broken::Changed { seq: 2, .. }), "{number}: {broken}");
        }
    }

    #[test]
    fn text_cannot_move_from_a_field_to_the_next() {
        let entry = |verdict: &str, text: &str| Entry {
            verdict: verdict.into(),
            text: text.into(),
            ..Entry::default()
        };
        assert_ne!(entry("a", "bc").digest(), entry("ab", "c").digest());
    }

    #[test]
    fn the_first_broken_link_is_named() {
        let whole = chain("a", 5);
        let mut replaced = whole.clone();
        replaced[1].text = "nothing".into();
        replaced[1].hash = replaced[1].digest();
        let mut doubled = whole.clone();
        doubled.insert(2, whole[1].clone());
        for (entries, expected) in [
            ([&whole[..1], &whole[3..]].concat(), "a: entries 2 to 3 are missing"),
            (whole[1..].to_vec(), "a: entries 1 to 1 are missing"),
            (doubled, "a: entry 2 stands there more than once"),
            (replaced, "a: entry 3 (alert alert3) does not follow"),
        ] {
            let broken = verify(&entries, &[]).unwrap_err().to_string();
            assert!(broken.starts_with(expected), "{broken}");
        }
    }

    #[test]
    fn newest_entries_are_missed_when_a_head_is_known() {
        let whole = chain("a", 3);
        assert!(verify(&whole[..2], &[]).is_ok(), "the chain alone cannot know");
        let missing = verify(&whole[..2], &[whole[2].head()]).unwrap_err();
        assert_eq!(missing, Broken::Missing { chain: "a".into(), first: 3, last: 3 });
        assert!(verify(&[], &[whole[2].head()]).is_err());
        let mut replaced = whole.clone();
        replaced[2].text = "nothing".into();
        replaced[2].hash = replaced[2].digest();
        let broken = verify(&replaced, &[whole[2].head()]).unwrap_err();
        assert_eq!(broken, Broken::Replaced { chain: "a".into(), seq: 3 });
    }
}
