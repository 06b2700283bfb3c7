//! Which of the engine's fields the names of an event are.
//!
//! Events of one kind have the same names in the same order. The names of an event are compared with those of the one before it
//! that had as many fields, and are looked up only from the first that differs on. They are compared in full, so that who writes
//! events can make this useless, and no more than that.
//!
//! Limits: [`LAYOUTS`] layouts, and [`NAMES_BYTES_MAX`] bytes of names in each; what goes beyond is looked up every time. A layout
//! has 56 bytes for each field of an event, of which OTLP gives most: twice [`FIELDS_MAX`](event::FIELDS_MAX). All have 4 MB at most.

use std::borrow::Cow;

use event::Value;

use crate::engine::Fields;

/// Layouts that are remembered, by the number of fields: an event with 64 more has the same one.
const LAYOUTS: usize = 64;

/// Most bytes of names that are remembered of a layout: 20 for each of 200 fields.
const NAMES_BYTES_MAX: usize = 4096;

/// The fields of the event at hand, and layouts of those before.
#[derive(Debug, Default)]
pub(crate) struct Layouts {
    known: Vec<Layout>,
    /// Which one is that of the event at hand.
    current: usize,
    /// By field of the engine: the first of the event's fields of that name.
    first: Vec<Option<u32>>,
}

/// Names in their order, and what they are.
#[derive(Clone, Debug, Default)]
struct Layout {
    /// One behind the other.
    names: Vec<u8>,
    slots: Vec<Slot>,
    /// Fields of the engine and places of the event; of several places of a field the last is its first.
    present: Vec<(usize, u32)>,
}

/// One field of the event.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Where its name ends among the names, if it is there.
    end: Option<usize>,
    /// Its number among the engine's fields, when rules read it.
    field: Option<usize>,
    /// The next one of the same name.
    next: Option<u32>,
}

impl Layouts {
    pub(crate) fn new(engine: &Fields) -> Self {
        Self { known: vec![Layout::default(); LAYOUTS], current: 0, first: vec![None; engine.len()] }
    }

    /// Takes up an event by its fields, and forgets the one before.
    pub(crate) fn take_up(&mut self, engine: &Fields, fields: &[(Cow<'_, str>, Value<'_>)]) {
        let number = fields.len() % LAYOUTS;
        let Some(layout) = self.known.get(number) else { return };
        let same = layout.same(fields);
        let is_known = same == fields.len() && same == layout.slots.len();
        if is_known && number == self.current {
            return;
        }
        self.point(|_| None);
        self.current = number;
        if let Some(layout) = self.known.get_mut(number).filter(|_| !is_known) {
            layout.learn(same, engine, fields);
            layout.chain(&mut self.first);
        }
        self.point(Some);
    }

    /// Sets the first place of each field that the event at hand has.
    fn point(&mut self, at: impl Fn(u32) -> Option<u32>) {
        let present = self.known.get(self.current).map(|layout| layout.present.as_slice());
        for (field, place) in present.unwrap_or_default() {
            if let Some(first) = self.first.get_mut(*field) {
                *first = at(*place);
            }
        }
    }

    /// The engine's number of the field at a place of the event, when rules read it.
    #[inline]
    pub(crate) fn field_of(&self, place: usize) -> Option<usize> {
        self.slot(place)?.field
    }

    /// Place of a field's first value in the event.
    #[inline]
    pub(crate) fn first(&self, field: usize) -> Option<usize> {
        self.first.get(field).copied().flatten().and_then(|place| usize::try_from(place).ok())
    }

    /// Place of the next value of the same field.
    #[inline]
    pub(crate) fn next(&self, place: usize) -> Option<usize> {
        self.slot(place)?.next.and_then(|place| usize::try_from(place).ok())
    }

    fn slot(&self, place: usize) -> Option<&Slot> {
        self.known.get(self.current)?.slots.get(place)
    }
}

impl Layout {
    /// How many of the first fields have the names that are known.
    fn same(&self, fields: &[(Cow<'_, str>, Value<'_>)]) -> usize {
        let mut start = Some(0);
        let is_same = |((name, _), slot): &(&(Cow<'_, str>, Value<'_>), &Slot)| {
            let known = start.zip(slot.end).and_then(|(start, end)| self.names.get(start..end));
            start = slot.end;
            known == Some(name.as_bytes())
        };
        fields.iter().zip(&self.slots).take_while(is_same).count()
    }

    /// Looks up the names behind those that are the same, and remembers them.
    fn learn(&mut self, same: usize, engine: &Fields, fields: &[(Cow<'_, str>, Value<'_>)]) {
        self.slots.truncate(same);
        self.names.truncate(self.slots.last().map_or(0, |slot| slot.end.unwrap_or_default()));
        for (name, _) in fields.iter().skip(same) {
            let is_kept = self.names.len().saturating_add(name.len()) <= NAMES_BYTES_MAX;
            if is_kept {
                self.names.extend_from_slice(name.as_bytes());
            }
            let end = is_kept.then_some(self.names.len());
            self.slots.push(Slot { end, field: engine.id(name), next: None });
        }
    }

    /// Links the fields of one name, from the last to the first, so that a chain runs in the event's order.
    fn chain(&mut self, first: &mut [Option<u32>]) {
        self.present.clear();
        for (place, slot) in self.slots.iter_mut().enumerate().rev() {
            let Some(field) = slot.field else { continue };
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            if let Some(first) = first.get_mut(field) {
                slot.next = first.replace(place);
                self.present.push((field, place));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Names of events of a few kinds, some of them nearly alike, some with a name that is not kept.
    fn names() -> impl Strategy<Value = Vec<String>> {
        let long = "x".repeat(NAMES_BYTES_MAX);
        let name = prop_oneof![8 => "[ab]{1,2}", 1 => Just(long), 1 => Just(String::new())];
        prop_oneof![prop::collection::vec(name.clone(), 0..6), prop::collection::vec(name, 62..68)]
    }

    proptest! {
        /// Whatever came before, it says what a look at the event alone says.
        #[test]
        fn knows_the_fields_of_each_event(kinds in prop::collection::vec(names(), 1..5), order in prop::collection::vec(any::<prop::sample::Index>(), 1..30)) {
            let mut engine = Fields::default();
            for name in ["a", "ab", "b", "bb", ""] {
                engine.intern(name);
            }
            let mut layouts = Layouts::new(&engine);
            for kind in order.iter().map(|index| &kinds[index.index(kinds.len())]) {
                let fields: Vec<_> = kind.iter().map(|name| (Cow::Borrowed(name.as_str()), Value::Null)).collect();
                layouts.take_up(&engine, &fields);
                let known: Vec<_> = (0..kind.len()).map(|place| layouts.field_of(place)).collect();
                prop_assert_eq!(known, kind.iter().map(|name| engine.id(name)).collect::<Vec<_>>());
                for field in 0..engine.len() {
                    let places = std::iter::successors(layouts.first(field), |place| layouts.next(*place));
                    let expected = (0..kind.len()).filter(|place| engine.id(&kind[*place]) == Some(field));
                    prop_assert_eq!(places.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn a_field_is_as_large_as_said() {
        assert_eq!(size_of::<Slot>() + size_of::<(usize, u32)>(), 56);
    }
}
