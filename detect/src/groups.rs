//! The groups of one correlation: found by their values, and known in the order in which they were last touched.
//!
//! A group is known by a hash of 128 bits of its realm and its values, so its size does not depend on how long a name somebody
//! types. Two of a million groups share a hash by chance once in 10^26 correlators, and the hash has a seed that nobody can
//! foresee.
//!
//! Groups stand in one list of slots, linked by their numbers: touching one and letting go of the quietest costs the same
//! however many there are.

use std::collections::HashMap;

use crate::window::Window;

/// Stands for no slot.
const NONE: u32 = u32::MAX;

/// What a group is known by.
pub(crate) type GroupId = [u64; 2];

#[derive(Debug)]
pub(crate) struct Groups {
    slots_by_id: HashMap<GroupId, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The ends of the list: last touched, and longest quiet.
    newest: u32,
    quietest: u32,
}

#[derive(Debug)]
struct Slot {
    id: GroupId,
    window: Window,
    newer: u32,
    quieter: u32,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            slots_by_id: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            quietest: NONE,
        }
    }
}

impl Groups {
    pub(crate) fn len(&self) -> usize {
        self.slots_by_id.len()
    }

    pub(crate) fn windows(&self) -> impl Iterator<Item = &Window> {
        self.slots.iter().map(|slot| &slot.window)
    }

    /// The group's window, an empty one where there was none; the group is now the last touched.
    pub(crate) fn touch(&mut self, id: GroupId) -> Option<&mut Window> {
        let number = match self.slots_by_id.get(&id) {
            Some(number) => {
                let number = *number;
                self.unlink(number);
                number
            }
            None => self.take_slot(id),
        };
        self.link(number);
        self.slot(number).map(|slot| &mut slot.window)
    }

    /// The window of the group that was quiet for the longest time.
    pub(crate) fn quietest(&self) -> Option<&Window> {
        self.slots.get(usize::try_from(self.quietest).ok()?).map(|slot| &slot.window)
    }

    /// Lets go of the group that was quiet for the longest time, and gives back its window.
    pub(crate) fn pop_quietest(&mut self) -> Option<Window> {
        let number = self.quietest;
        let slot = self.slot(number)?;
        let (id, window) = (slot.id, std::mem::take(&mut slot.window));
        self.unlink(number);
        self.slots_by_id.remove(&id);
        self.free.push(number);
        if self.slots_by_id.is_empty() {
            // The room of a burst is given back.
            *self = Self::default();
        }
        Some(window)
    }

    fn take_slot(&mut self, id: GroupId) -> u32 {
        let slot = Slot { id, window: Window::default(), newer: NONE, quieter: NONE };
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(free) = self.slot(number) {
                    *free = slot;
                }
                number
            }
            None => {
                self.slots.push(slot);
                // The limit on groups is far below 2^32.
                u32::try_from(self.slots.len().saturating_sub(1)).unwrap_or(NONE)
            }
        };
        self.slots_by_id.insert(id, number);
        number
    }

    fn slot(&mut self, number: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(number).ok()?)
    }

    /// Puts a slot at the end of the last touched.
    fn link(&mut self, number: u32) {
        let before = std::mem::replace(&mut self.newest, number);
        if let Some(slot) = self.slot(number) {
            (slot.newer, slot.quieter) = (NONE, before);
        }
        match self.slot(before) {
            Some(before) => before.newer = number,
            None => self.quietest = number,
        }
    }

    fn unlink(&mut self, number: u32) {
        let Some((newer, quieter)) = self.slot(number).map(|slot| (slot.newer, slot.quieter)) else { return };
        match self.slot(newer) {
            Some(newer) => newer.quieter = quieter,
            None => self.newest = quieter,
        }
        match self.slot(quieter) {
            Some(quieter) => quieter.newer = newer,
            None => self.quietest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_group_is_as_small_as_said() {
        assert_eq!(size_of::<Slot>(), 80);
    }

    proptest! {
        #[test]
        fn knows_the_order_in_which_groups_were_touched(steps in prop::collection::vec(0..12_u64, 0..200)) {
            let mut groups = Groups::default();
            let mut model: Vec<u64> = Vec::new();
            for step in steps {
                if step >= 8 {
                    let quietest = groups.quietest.try_into().ok().and_then(|slot: usize| groups.slots.get(slot));
                    prop_assert_eq!(quietest.map(|slot| slot.id[0]), model.first().copied());
                    prop_assert_eq!(groups.pop_quietest().is_some(), !model.is_empty());
                    model.drain(..model.len().min(1));
                } else {
                    groups.touch([step, 0]).unwrap();
                    model.retain(|group| *group != step);
                    model.push(step);
                }
                prop_assert_eq!(groups.len(), model.len());
            }
        }
    }
}
