//! Indicators of compromise: addresses and networks, domains, URLs, hashes of files, fingerprints of TLS clients, a million of
//! them, and which of them an event names.
//!
//! Feeds say the same in many spellings, and so do logs. Both sides are brought to one form ([`key`](value::key)) and compared
//! whole: a match is exact, never likely. What each kind matches is written in [`IndicatorKind`].
//!
//! ```text
//! keys      the values one behind another: 5 bytes an IPv4 address, 16 to 32 a hash, a name or URL as long as it is
//! entries   24 bytes each: where the key stands, since when and until when, which words, the next entry of the same value
//! table     key ─▶ entry: 4 bytes a place of a hash table, and one of its own
//! networks  the same for networks: they are few and asked for most, a dozen times an address, so they stay in a cache
//! words     what a feed says of its indicators; feeds repeat themselves, so equal ones are kept once
//! ```
//!
//! Two feeds may name one value: each has an entry. Of one feed a value has one entry, with the words that the feed said first,
//! valid from the earliest begin to the latest end that it names.
//!
//! Limits: [`INDICATORS_MAX`], [`INDICATOR_BYTES_MAX`], [`INDICATOR_KEYS_BYTES_MAX`], [`SIGHTINGS_MAX`]. A set never changes
//! once it is built: other feeds make another set.

mod address;
mod domain;
mod observe;
mod url;
mod value;

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use event::Micros;
use hashbrown::HashTable;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::Severity;
use crate::digest;
use crate::engine::NameHash;
use crate::limits::{INDICATOR_KEYS_BYTES_MAX, INDICATOR_WORD_BYTES_MAX, INDICATORS_MAX};
use crate::text;

pub use observe::{Sighting, Sightseer};
pub use value::{IndicatorError, IndicatorKind};

/// Where a list of entries ends.
const NONE: u32 = u32::MAX;
/// Seconds of an indicator without an end.
const FOR_EVER: u32 = u32::MAX;
const MICROS_PER_S: Micros = 1_000_000;

/// A set of indicators, ready to look at events. `Default` is the empty set, which costs nothing.
#[derive(Debug, Default)]
pub struct Indicators {
    keys: Vec<u8>,
    entries: Vec<Entry>,
    table: HashTable<u32>,
    networks: HashTable<u32>,
    words: Vec<Words>,
    sources: Vec<Source>,
    /// How many there are of each kind, in the order of [`IndicatorKind::ALL`].
    counts: [usize; IndicatorKind::ALL.len()],
    prefixes: address::Prefixes,
    /// Labels of the longest domain: longer ends of a name need no look.
    labels_max: usize,
    fields: observe::Fields,
}

/// One feed's word on one value.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key_at: u32,
    key_len: u16,
    kind: IndicatorKind,
    words: u32,
    /// Seconds since 1970; valid from the first to before the last.
    from: u32,
    until: u32,
    /// Another feed's entry of the same value, or [`NONE`].
    next: u32,
}

/// A feed's file.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Source {
    feed: Arc<str>,
    path: Arc<str>,
}

/// What a feed says of an indicator besides its value and its time. Texts are cut at [`INDICATOR_WORD_BYTES_MAX`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Words {
    source: u32,
    severity: Severity,
    confidence: Option<u8>,
    tlp: Box<str>,
    name: Box<str>,
    description: Box<str>,
    labels: Box<[Box<str>]>,
}

/// An indicator as a reader of a feed found it.
#[derive(Clone, Copy, Debug)]
pub struct NewIndicator<'n> {
    pub kind: IndicatorKind,
    pub value: &'n str,
    /// The feed's name, and the file that the indicator stands in.
    pub feed: &'n str,
    pub path: &'n str,
    pub severity: Severity,
    /// 0 to 100.
    pub confidence: Option<u8>,
    /// Traffic Light Protocol: `amber`; empty when not said.
    pub tlp: &'n str,
    pub name: &'n str,
    pub description: &'n str,
    pub labels: &'n [&'n str],
    /// Valid from this moment, to before that one. `None`: ever, for ever.
    pub valid_from: Option<Micros>,
    pub valid_until: Option<Micros>,
    /// Take addresses, too, that belong to whoever uses them (private, loopback, multicast ...): usually a fault of the feed.
    pub local_allowed: bool,
}

/// What adding an indicator did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Added {
    New,
    /// The same feed named the value before.
    Known,
}

/// Makes a set, indicator by indicator.
#[derive(Debug, Default)]
pub struct IndicatorsBuilder {
    set: Indicators,
    /// Words and sources, by themselves.
    words: HashTable<u32>,
    hash: NameHash,
    key: Vec<u8>,
}

/// One indicator of a set.
#[derive(Clone, Copy, Debug)]
pub struct Indicator<'s> {
    set: &'s Indicators,
    at: u32,
    entry: Entry,
}

impl IndicatorsBuilder {
    /// Takes an indicator, or says why it cannot be one.
    pub fn add(&mut self, new: &NewIndicator<'_>) -> Result<Added, IndicatorError> {
        let mut key = std::mem::take(&mut self.key);
        let added = value::key(new.kind, &value::refanged(new.value), &mut key).and_then(|()| {
            if new.kind == IndicatorKind::Address {
                address::check(&key, new.local_allowed)?;
            }
            self.insert(new, &key)
        });
        self.key = key;
        added
    }

    /// The set, with no room left over.
    pub fn build(self) -> Indicators {
        let mut set = self.set;
        set.keys.shrink_to_fit();
        set.entries.shrink_to_fit();
        set.words.shrink_to_fit();
        set.fields = observe::Fields::of(&set);
        set
    }

    fn insert(&mut self, new: &NewIndicator<'_>, key: &[u8]) -> Result<Added, IndicatorError> {
        let (from, until) = (new.valid_from.map_or(0, seconds), new.valid_until.map_or(FOR_EVER, seconds));
        let hash = hash(new.kind, key);
        let first = self.set.first(new.kind, key, hash);
        if let Some(known) = first.and_then(|first| self.set.of_feed(first, new.feed)) {
            self.prolong(known, from, until);
            return Ok(Added::Known);
        }
        if self.set.entries.len() >= INDICATORS_MAX {
            return Err(IndicatorError::TooMany { max: INDICATORS_MAX });
        }
        let (key_at, key_len) = match first.and_then(|first| self.set.entry(first)) {
            Some(first) => (first.key_at, first.key_len),
            None => self.push_key(key)?,
        };
        let words = self.words(new);
        let entry = Entry { key_at, key_len, kind: new.kind, words, from, until, next: NONE };
        self.link(entry, first, hash);
        self.note(new.kind, key);
        Ok(Added::New)
    }

    fn prolong(&mut self, at: u32, from: u32, until: u32) {
        if let Some(entry) = self.set.entries.get_mut(index(at)) {
            (entry.from, entry.until) = (entry.from.min(from), entry.until.max(until));
        }
    }

    fn push_key(&mut self, key: &[u8]) -> Result<(u32, u16), IndicatorError> {
        let full = || IndicatorError::TooManyBytes { max: INDICATOR_KEYS_BYTES_MAX };
        let at = self.set.keys.len();
        if at.saturating_add(key.len()) > INDICATOR_KEYS_BYTES_MAX {
            return Err(full());
        }
        self.set.keys.extend_from_slice(key);
        let len = u16::try_from(key.len()).map_err(|_| full())?;
        Ok((u32::try_from(at).map_err(|_| full())?, len))
    }

    /// Puts an entry behind the first of its value, or into the table.
    fn link(&mut self, mut entry: Entry, first: Option<u32>, hash: u64) {
        let at = number(self.set.entries.len());
        match first.and_then(|first| self.set.entries.get_mut(index(first))) {
            Some(first) => entry.next = std::mem::replace(&mut first.next, at),
            None => {
                let Indicators { table, networks, entries, keys, .. } = &mut self.set;
                let table = if entry.is_network(keys) { networks } else { table };
                table.insert_unique(hash, at, |at| hash_of(entries, keys, *at));
            }
        }
        self.set.entries.push(entry);
    }

    /// What is to be known of all values when events are looked at.
    fn note(&mut self, kind: IndicatorKind, key: &[u8]) {
        if let Some(count) = self.set.counts.get_mut(kind.index()) {
            *count = count.saturating_add(1);
        }
        match kind {
            IndicatorKind::Address => self.set.prefixes.note(key),
            IndicatorKind::Domain => self.set.labels_max = self.set.labels_max.max(domain::labels(key)),
            _ => {}
        }
    }

    /// The number of an indicator's words; equal ones share it.
    fn words(&mut self, new: &NewIndicator<'_>) -> u32 {
        let cut = |word: &str| text::cut(word.trim(), INDICATOR_WORD_BYTES_MAX).into();
        let words = Words {
            source: self.source(new.feed, new.path),
            severity: new.severity,
            confidence: new.confidence,
            tlp: cut(new.tlp),
            name: cut(new.name),
            description: cut(new.description),
            labels: new.labels.iter().copied().map(cut).collect(),
        };
        let hash = self.hash.hash_one(&words);
        let known = &self.set.words;
        if let Some(at) = self.words.find(hash, |at| known.get(index(*at)) == Some(&words)) {
            return *at;
        }
        let at = number(known.len());
        let of = |at: &u32| known.get(index(*at)).map_or(0, |words| self.hash.hash_one(words));
        self.words.insert_unique(hash, at, of);
        self.set.words.push(words);
        at
    }

    /// The number of a feed's file. There are few, and the last is the likeliest.
    fn source(&mut self, feed: &str, path: &str) -> u32 {
        let sources = &mut self.set.sources;
        if let Some(at) = sources.iter().rposition(|source| &*source.path == path && &*source.feed == feed) {
            return number(at);
        }
        sources.push(Source { feed: feed.into(), path: path.into() });
        number(sources.len().saturating_sub(1))
    }
}

impl Indicators {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = Indicator<'_>> {
        (0..).zip(&self.entries).map(|(at, entry)| Indicator { set: self, at, entry: *entry })
    }

    /// Bytes of memory that the set holds.
    pub fn bytes(&self) -> usize {
        let words = self.words.iter().map(Words::bytes).sum::<usize>();
        let entries = self.entries.capacity().saturating_mul(size_of::<Entry>());
        let tables = self.table.allocation_size().saturating_add(self.networks.allocation_size());
        [words, entries, self.keys.capacity(), tables].into_iter().fold(0, usize::saturating_add)
    }

    fn has(&self, kind: IndicatorKind) -> bool {
        self.counts.get(kind.index()).is_some_and(|count| *count > 0)
    }

    fn entry(&self, at: u32) -> Option<&Entry> {
        self.entries.get(index(at))
    }

    /// The first entry of a value.
    fn first(&self, kind: IndicatorKind, key: &[u8], hash: u64) -> Option<u32> {
        let is_it = |at: &u32| {
            self.entry(*at).is_some_and(|entry| entry.kind == kind && entry.key(&self.keys) == key)
        };
        let table = if is_network(kind, key) { &self.networks } else { &self.table };
        table.find(hash, is_it).copied()
    }

    /// The entries of a value, one for each feed that names it.
    fn of_key(&self, kind: IndicatorKind, key: &[u8]) -> impl Iterator<Item = Indicator<'_>> {
        self.chain(self.first(kind, key, hash(kind, key)))
    }

    fn chain(&self, first: Option<u32>) -> impl Iterator<Item = Indicator<'_>> {
        let mut next = first.unwrap_or(NONE);
        std::iter::from_fn(move || {
            let (at, entry) = (next, *self.entry(next)?);
            next = entry.next;
            Some(Indicator { set: self, at, entry })
        })
    }

    fn of_feed(&self, first: u32, feed: &str) -> Option<u32> {
        self.chain(Some(first)).find(|indicator| indicator.feed() == feed).map(|indicator| indicator.at)
    }
}

impl Entry {
    fn is_network(&self, keys: &[u8]) -> bool {
        is_network(self.kind, self.key(keys))
    }

    fn key<'k>(&self, keys: &'k [u8]) -> &'k [u8] {
        let at = index(self.key_at);
        keys.get(at..at.saturating_add(self.key_len.into())).unwrap_or_default()
    }
}

impl Words {
    fn bytes(&self) -> usize {
        let labels = self.labels.iter().map(|label| label.len().saturating_add(size_of::<Box<str>>()));
        [size_of::<Self>(), self.tlp.len(), self.name.len(), self.description.len()]
            .into_iter()
            .chain(labels)
            .fold(0, usize::saturating_add)
    }
}

impl<'s> Indicator<'s> {
    pub fn kind(&self) -> IndicatorKind {
        self.entry.kind
    }

    /// The value in the form in which it is compared.
    pub fn value(&self) -> String {
        value::shown(self.entry.kind, self.key())
    }

    /// The same for this value in this feed, whenever and wherever it is loaded: a UUID of version 8 (RFC 9562) over both.
    pub fn id(&self) -> String {
        let mut hash = Xxh3::new();
        digest::update(&mut hash, &[self.feed().as_bytes(), self.kind().as_str().as_bytes(), self.key()]);
        uuid(hash.digest128())
    }

    /// The feed that names it.
    pub fn feed(&self) -> &'s str {
        self.source().map_or("", |source| &source.feed)
    }

    /// The file it stands in.
    pub fn path(&self) -> &'s str {
        self.source().map_or("", |source| &source.path)
    }

    pub fn severity(&self) -> Severity {
        self.words().map_or(Severity::Medium, |words| words.severity)
    }

    pub fn confidence(&self) -> Option<u8> {
        self.words().and_then(|words| words.confidence)
    }

    pub fn tlp(&self) -> &'s str {
        self.words().map_or("", |words| &words.tlp)
    }

    pub fn name(&self) -> &'s str {
        self.words().map_or("", |words| &words.name)
    }

    pub fn description(&self) -> &'s str {
        self.words().map_or("", |words| &words.description)
    }

    pub fn labels(&self) -> &'s [Box<str>] {
        self.words().map_or(&[], |words| &words.labels)
    }

    pub fn valid_from(&self) -> Option<Micros> {
        (self.entry.from > 0).then(|| micros(self.entry.from))
    }

    pub fn valid_until(&self) -> Option<Micros> {
        (self.entry.until < FOR_EVER).then(|| micros(self.entry.until))
    }

    /// Whether it holds for what happened at that moment.
    pub fn is_valid(&self, ts: Micros) -> bool {
        micros(self.entry.from) <= ts && self.valid_until().is_none_or(|until| ts < until)
    }

    fn key(&self) -> &'s [u8] {
        self.entry.key(&self.set.keys)
    }

    fn words(&self) -> Option<&'s Words> {
        self.set.words.get(index(self.entry.words))
    }

    fn source(&self) -> Option<&'s Source> {
        self.set.sources.get(index(self.words()?.source))
    }
}

/// Whether a key is of more than one address.
fn is_network(kind: IndicatorKind, key: &[u8]) -> bool {
    kind == IndicatorKind::Address && address::is_network(key)
}

fn hash(kind: IndicatorKind, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, u64::try_from(kind.index()).unwrap_or_default())
}

fn hash_of(entries: &[Entry], keys: &[u8], at: u32) -> u64 {
    entries.get(index(at)).map_or(0, |entry| hash(entry.kind, entry.key(keys)))
}

fn uuid(bits: u128) -> String {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let bits = bits & !VERSION & !VARIANT | 8 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

/// Moments before 1970 are its first second, those after 2106 are for ever.
fn seconds(at: Micros) -> u32 {
    u32::try_from(at.max(0).div_euclid(MICROS_PER_S)).unwrap_or(FOR_EVER)
}

fn micros(seconds: u32) -> Micros {
    Micros::from(seconds).saturating_mul(MICROS_PER_S)
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NONE)
}

#[cfg(test)]
mod tests;
