//! What was found in the texts seen lately.
//!
//! Values of events repeat: the same images, parents, users and hosts, thousands of times an hour. Which literals such a text
//! has need not be found out again. A text is remembered when it comes the second time, so that what is different in each
//! event (time stamps, identifiers) costs a hash and drives out nothing. Each text has one slot, by its hash; the whole text is compared
//! before its slot is believed.
//!
//! Limits: [`SLOTS`] texts of at most [`TEXT_BYTES_MAX`] bytes with at most [`LITERALS_MAX`] literals, 256 KiB in each
//! [`Scratch`](crate::Scratch), taken once. What is longer is not remembered.

use std::hash::BuildHasher;

use crate::engine::NameHash;

/// Texts that are remembered. A power of two. Four times as many drive rules out of the processor's cache: measured, Sysmon's file
/// events cost 6 % more with them.
const SLOTS: usize = 1024;

/// Longest text that is remembered, in bytes: most paths are shorter, and long command lines seldom repeat.
const TEXT_BYTES_MAX: usize = 128;

/// Most literals of one text: with them a slot's head fills two lines of a processor's cache.
const LITERALS_MAX: usize = 27;

/// Texts, and what was found in them.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    /// None before the first text.
    slots: Vec<Slot>,
}

/// One text. What most texts need of their slot, the head with a few literals and the first bytes of the text, lies in two lines of
/// a processor's cache.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Slot {
    /// Of the text and of the set it was searched for.
    hash: u64,
    set: u64,
    state: State,
    text_len: u8,
    literals: [u32; LITERALS_MAX],
    text: [u8; TEXT_BYTES_MAX],
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// It was seen once.
    Seen,
    /// It has so many literals.
    Known { literals: u8 },
}

/// What is known of a text.
pub(crate) enum Known<'m> {
    /// These literals are what it has.
    Literals(&'m [u32]),
    /// It is worth remembering: what is found is to be told.
    Wanted(Recorder<'m>),
    /// Nothing, and nothing is to be told.
    Nothing,
}

/// Takes down what is found in a text.
pub(crate) struct Recorder<'m> {
    slot: &'m mut Slot,
    text: &'m str,
    count: usize,
}

impl Memo {
    /// What is known of a text that is searched for one set of literals.
    pub(crate) fn of<'m>(&'m mut self, set: u64, text: &'m str) -> Known<'m> {
        if text.len() > TEXT_BYTES_MAX {
            return Known::Nothing;
        }
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, Slot::default());
        }
        let hash = NameHash::default().hash_one((set, text));
        let place = usize::try_from(hash).unwrap_or_default() & (SLOTS - 1);
        let Some(slot) = self.slots.get_mut(place) else { return Known::Nothing };
        if (slot.hash, slot.set) != (hash, set) {
            (slot.hash, slot.set, slot.state) = (hash, set, State::Seen);
            return Known::Nothing;
        }
        match slot.state {
            State::Seen => Known::Wanted(Recorder { slot, text, count: 0 }),
            State::Known { literals } if slot.has(text) => {
                Known::Literals(slot.literals.get(..usize::from(literals)).unwrap_or_default())
            }
            State::Known { .. } => Known::Nothing,
        }
    }
}

impl Slot {
    fn has(&self, text: &str) -> bool {
        self.text.get(..usize::from(self.text_len)) == Some(text.as_bytes())
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            hash: 0,
            set: 0,
            state: State::Seen,
            text_len: 0,
            text: [0; TEXT_BYTES_MAX],
            literals: [0; LITERALS_MAX],
        }
    }
}

impl Recorder<'_> {
    pub(crate) fn add(&mut self, literal: u32) {
        if let Some(place) = self.slot.literals.get_mut(self.count) {
            *place = literal;
        }
        self.count = self.count.saturating_add(1);
    }

    /// All was told.
    pub(crate) fn finish(self) {
        let (text_len, literals) = (u8::try_from(self.text.len()), u8::try_from(self.count));
        let (Ok(text_len), Ok(literals)) = (text_len, literals) else { return };
        let Some(text) = self.slot.text.get_mut(..self.text.len()) else { return };
        if self.count <= LITERALS_MAX {
            text.copy_from_slice(self.text.as_bytes());
            (self.slot.text_len, self.slot.state) = (text_len, State::Known { literals });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(memo: &mut Memo, set: u64, text: &str) -> Option<Vec<u32>> {
        match memo.of(set, text) {
            Known::Literals(literals) => Some(literals.to_vec()),
            _ => None,
        }
    }

    fn tell(memo: &mut Memo, set: u64, text: &str, literals: impl Iterator<Item = u32>) {
        if let Known::Wanted(mut recorder) = memo.of(set, text) {
            literals.for_each(|literal| recorder.add(literal));
            recorder.finish();
        }
    }

    #[test]
    fn remembers_from_the_second_time_on_for_each_set() {
        let mut memo = Memo::default();
        tell(&mut memo, 1, "cmd.exe", [7].into_iter());
        assert_eq!(known(&mut memo, 1, "cmd.exe"), None);
        tell(&mut memo, 1, "cmd.exe", [7, 3].into_iter());
        assert_eq!(known(&mut memo, 1, "cmd.exe"), Some(vec![7, 3]));
        assert_eq!(known(&mut memo, 2, "cmd.exe"), None);
        assert_eq!(known(&mut memo, 1, "cmd.exf"), None);
    }

    #[test]
    fn does_not_remember_what_is_too_much() {
        let mut memo = Memo::default();
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        for _ in 0..3 {
            tell(&mut memo, 1, "many", 0..28);
            tell(&mut memo, 1, &long, 0..1);
            tell(&mut memo, 1, &long[1..], 0..27);
        }
        assert_eq!(known(&mut memo, 1, "many"), None);
        assert_eq!(known(&mut memo, 1, &long), None);
        assert_eq!(known(&mut memo, 1, &long[1..]), Some((0..27).collect()));
    }

    #[test]
    fn a_slot_is_as_large_as_said() {
        assert_eq!((size_of::<Slot>(), SLOTS * size_of::<Slot>()), (256, 256 << 10));
    }

    /// More texts than there are slots: what is remembered is right.
    #[test]
    fn takes_no_text_for_another() {
        let mut memo = Memo::default();
        for round in 0..4 {
            for number in 0..2 * u32::try_from(SLOTS).unwrap_or_default() {
                let text = number.to_string();
                if let Some(literals) = known(&mut memo, 0, &text) {
                    assert_eq!(literals, [number], "{round}");
                }
                tell(&mut memo, 0, &text, [number].into_iter());
            }
        }
    }
}
