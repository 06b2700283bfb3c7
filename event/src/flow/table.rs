//! Where flows stand, and in which order they are looked at again.
//!
//! Three parts. A slab of chunks: a flow keeps its place, and growing copies nothing. A hash table of places, which costs 5 bytes
//! a flow. A wheel of seconds: each flow stands in the slot of the second in which it may be over; a packet does not move it,
//! but when the slot's turn comes a flow that had packets since is filed again. So a packet costs a probe and nothing else,
//! and flows expire a slot at a time, never all at once.
//!
//! Limits: flows, [`FLOWS_MAX`]; deadlines further away than [`SLOTS`] seconds are filed at the end and looked at again then.

use hashbrown::HashTable;

use super::key::Key;

/// Places are numbers of 32 bits; 16 million flows are some 4 GB.
pub const FLOWS_MAX: usize = 1 << 24;
/// Seconds of the wheel.
const SLOTS: u16 = 1024;
/// Flows of a chunk: about a megabyte.
const CHUNK: usize = 4096;
/// Flows that are looked at for the idlest one before the one at hand is taken.
const TRIES_MAX: usize = 64;

/// What stands in the table.
pub(super) trait Filed {
    fn key(&self) -> &Key;
    /// The second in which it is over if nothing more comes.
    fn deadline(&self) -> i64;
}

/// Flows by key and by deadline.
#[derive(Debug)]
pub(super) struct Table<E> {
    chunks: Vec<Vec<Place<E>>>,
    free: Vec<u32>,
    by_key: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
    slots: Vec<Vec<u32>>,
    /// The second up to which slots were looked at.
    cursor: i64,
}

#[derive(Debug)]
struct Place<E> {
    entry: Option<E>,
    /// The slot in which it is filed; what another slot says of it is stale.
    slot: u16,
}

/// What a look at a flow in a slot found.
enum Look {
    /// It is not filed here any more, or gone.
    Stale,
    /// It had packets since: filed again.
    Alive,
    Over(u32),
}

impl<E: Filed> Table<E> {
    pub(super) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            by_key: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            slots: std::iter::repeat_with(Vec::new).take(usize::from(SLOTS)).collect(),
            cursor: i64::MIN,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The place of a key's flow.
    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        let hash = self.hash(key);
        self.by_key.find(hash, |at| self.get(*at).is_some_and(|entry| entry.key() == key)).copied()
    }

    pub(super) fn get(&self, at: u32) -> Option<&E> {
        let (chunk, within) = split(at);
        self.chunks.get(chunk)?.get(within)?.entry.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut E> {
        self.place(at)?.entry.as_mut()
    }

    /// Files a flow whose key is not there.
    pub(super) fn insert(&mut self, entry: E) -> u32 {
        let hash = self.hash(entry.key());
        let at = self.room();
        let slot = self.slot_of(entry.deadline());
        if let Some(place) = self.place(at) {
            *place = Place { entry: Some(entry), slot };
        }
        self.file(at, slot);
        let Self { by_key, chunks, hasher, .. } = self;
        by_key.insert_unique(hash, at, |at| rehash(chunks, hasher, *at));
        at
    }

    /// Takes a flow out.
    pub(super) fn remove(&mut self, at: u32) -> Option<E> {
        let entry = self.place(at)?.entry.take()?;
        let hash = self.hash(entry.key());
        if let Ok(found) = self.by_key.find_entry(hash, |other| *other == at) {
            found.remove();
        }
        self.free.push(at);
        Some(entry)
    }

    /// Files a flow anew because its deadline came nearer.
    pub(super) fn hasten(&mut self, at: u32) {
        let Some(deadline) = self.get(at).map(E::deadline) else { return };
        let slot = self.slot_of(deadline);
        if let Some(place) = self.place(at) {
            place.slot = slot;
        }
        self.file(at, slot);
    }

    /// The places of the flows that are over in the next second that was not looked at and is not after `now`.
    pub(super) fn next_over(&mut self, now: i64, over: &mut Vec<u32>) -> bool {
        over.clear();
        if self.cursor == i64::MIN {
            self.cursor = now;
        }
        // A clock that leaps is followed slot by slot once around, no further.
        self.cursor = self.cursor.max(now.saturating_sub(SLOTS.into()));
        if self.cursor >= now {
            return false;
        }
        self.cursor = self.cursor.saturating_add(1);
        let slot = number(self.cursor);
        let filed = self.slots.get_mut(usize::from(slot)).map(std::mem::take).unwrap_or_default();
        for at in filed {
            if let Look::Over(at) = self.look(at, slot, self.cursor) {
                over.push(at);
            }
        }
        true
    }

    /// The flow that has been idle for longest, by the second.
    pub(super) fn idlest(&mut self) -> Option<u32> {
        let mut tries = 0_usize;
        for ahead in 1..=SLOTS {
            let second = self.cursor.saturating_add(ahead.into());
            let slot = number(second);
            while let Some(at) = self.slots.get_mut(usize::from(slot)).and_then(Vec::pop) {
                match self.look(at, slot, second) {
                    Look::Over(at) => return Some(at),
                    Look::Alive if tries >= TRIES_MAX => return Some(at),
                    Look::Alive => tries = tries.saturating_add(1),
                    Look::Stale => {}
                }
            }
        }
        None
    }

    /// All places that hold a flow.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> + '_ {
        self.by_key.iter().copied()
    }

    /// What a slot says of a place, at the slot's second. A flow that is not over is filed again.
    fn look(&mut self, at: u32, slot: u16, second: i64) -> Look {
        let Some(Place { entry: Some(entry), slot: filed }) = self.place(at) else { return Look::Stale };
        if *filed != slot {
            return Look::Stale;
        }
        let deadline = entry.deadline();
        if deadline <= second {
            return Look::Over(at);
        }
        let slot = self.slot_of(deadline);
        if let Some(place) = self.place(at) {
            place.slot = slot;
        }
        self.file(at, slot);
        Look::Alive
    }

    fn file(&mut self, at: u32, slot: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(slot)) {
            slot.push(at);
        }
    }

    /// The slot of a deadline: never one whose turn was, never further than once around.
    fn slot_of(&self, deadline: i64) -> u16 {
        let first = self.cursor.saturating_add(1);
        let last = self.cursor.saturating_add(i64::from(SLOTS).saturating_sub(1));
        number(if self.cursor == i64::MIN { deadline } else { deadline.clamp(first, last) })
    }

    /// A free place.
    fn room(&mut self) -> u32 {
        if let Some(at) = self.free.pop() {
            return at;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() >= CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = self.chunks.len().saturating_sub(1).saturating_mul(CHUNK);
        let within = self.chunks.last_mut().map_or(0, |chunk| {
            chunk.push(Place { entry: None, slot: 0 });
            chunk.len().saturating_sub(1)
        });
        u32::try_from(before.saturating_add(within)).unwrap_or(u32::MAX)
    }

    fn place(&mut self, at: u32) -> Option<&mut Place<E>> {
        let (chunk, within) = split(at);
        self.chunks.get_mut(chunk)?.get_mut(within)
    }

    fn hash(&self, key: &Key) -> u64 {
        hash(&self.hasher, key)
    }
}

fn hash(hasher: &foldhash::fast::RandomState, key: &Key) -> u64 {
    std::hash::BuildHasher::hash_one(hasher, key)
}

fn rehash<E: Filed>(chunks: &[Vec<Place<E>>], hasher: &foldhash::fast::RandomState, at: u32) -> u64 {
    let (chunk, within) = split(at);
    let entry = chunks.get(chunk).and_then(|chunk| chunk.get(within)).and_then(|place| place.entry.as_ref());
    entry.map_or(0, |entry| hash(hasher, entry.key()))
}

fn split(at: u32) -> (usize, usize) {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    (at / CHUNK, at % CHUNK)
}

fn number(second: i64) -> u16 {
    u16::try_from(second.rem_euclid(SLOTS.into())).unwrap_or_default()
}
