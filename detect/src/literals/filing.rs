//! How each literal of a set is filed: the ways that the [module above](super) tells, and the grams that they make.

use std::collections::{BTreeMap, HashMap};

use super::Place;
use super::grams::{Filed, ToFile};
use super::words::{GRAM, WORD, first, hashed, of_end, of_whole, short_grams, windows};
use crate::engine::NameHash;

/// Bytes from one probe for long literals to the next. More would save few probes.
const STRIDES: [usize; 4] = [8, 6, 4, 1];
/// Shortest literals that are probed for by strides: where there are few that are shorter, every byte is looked at for these
/// alone.
const SHORT_END: usize = 7;
/// Most literals of four bytes and more that count as short.
const SHORT_MAX: usize = 64;
/// Most grams of a set with a stride, as each has so many grams: tables that outgrow the nearest cache cost more than probes.
const GRAMS_WIDE_MAX: usize = 4096;
/// Most literals at the end, or of whole texts, that are filed under one gram: each is looked at wherever that is met.
pub(super) const CROWD_MAX: u32 = 64;
/// Of a literal's grams so many of the first are chosen from: their places fit into [`Filed::offset`].
const GRAMS_MAX: usize = 60_000;

/// How a literal is filed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Whole,
    Start,
    End,
    /// Probed for by strides.
    Long,
    /// Probed for at every byte.
    Short,
    Single,
}

/// What decides how literals are filed.
struct Ways {
    /// Bytes of the shortest that may stand anywhere and are probed for by strides.
    long_min: usize,
    /// How many literals of a place have the same edge.
    crowds: HashMap<(Place, u32), u32>,
}

impl Ways {
    fn of(literals: &[(u32, Place, &[u8])]) -> Self {
        let anywhere = literals.iter().filter(|(_, place, _)| *place == Place::Anywhere);
        let shorter = anywhere.filter(|(.., literal)| (GRAM..SHORT_END).contains(&literal.len()));
        let long_min = if shorter.count() <= SHORT_MAX { SHORT_END } else { GRAM };
        let mut crowds = HashMap::<_, u32>::new();
        for (place, edge) in literals.iter().filter_map(|(_, place, literal)| edge_of(*place, literal)) {
            let count = crowds.entry((place, edge)).or_default();
            *count = count.saturating_add(1);
        }
        Self { long_min, crowds }
    }

    fn of_literal(&self, place: Place, literal: &[u8]) -> Way {
        let crowd = edge_of(place, literal).and_then(|edge| self.crowds.get(&edge)).copied();
        match (place, literal.len()) {
            (Place::Whole | Place::End, WORD..) if crowd.is_some_and(|crowd| crowd > CROWD_MAX) => Way::Long,
            (Place::Whole, _) => Way::Whole,
            (Place::End, _) => Way::End,
            (Place::Start, ..=WORD) => Way::Start,
            (Place::Anywhere, ..=1) => Way::Single,
            (Place::Anywhere, len) if len < self.long_min => Way::Short,
            (Place::Anywhere | Place::Start, _) => Way::Long,
        }
    }
}

/// Under what a literal at the end, or of the whole text, is filed.
fn edge_of(place: Place, literal: &[u8]) -> Option<(Place, u32)> {
    match place {
        Place::Whole => Some((place, of_whole(literal))),
        Place::End => Some((place, of_end(literal))),
        Place::Anywhere | Place::Start => None,
    }
}

/// Grams of each kind, to be filed.
#[derive(Default)]
pub(super) struct Parts {
    /// How often the literals have a gram: what rules name often is frequent in events.
    counts: HashMap<u32, u32, NameHash>,
    pub(super) whole: ToFile,
    pub(super) start: BTreeMap<usize, ToFile>,
    pub(super) end: BTreeMap<usize, ToFile>,
    pub(super) long: ToFile,
    pub(super) stride: usize,
    /// With a gram of two, three and four bytes.
    pub(super) short: [ToFile; 3],
    pub(super) single: Vec<(u8, u32)>,
}

impl Parts {
    pub(super) fn of(literals: &[(u32, Place, &[u8])]) -> Self {
        let ways = Ways::of(literals);
        let ways: Vec<Way> =
            literals.iter().map(|(_, place, literal)| ways.of_literal(*place, literal)).collect();
        let long = literals.iter().zip(&ways).filter(|(_, way)| **way == Way::Long);
        let mut parts =
            Self { stride: stride(long.map(|((.., literal), _)| literal.len())), ..Self::default() };
        for gram in literals.iter().flat_map(|(.., literal)| windows(literal)) {
            let count = parts.counts.entry(gram).or_default();
            *count = count.saturating_add(1);
        }
        for ((number, _, literal), way) in literals.iter().zip(ways) {
            parts.file(*number, way, literal);
        }
        parts
    }

    fn file(&mut self, number: u32, way: Way, literal: &[u8]) {
        let grams: Vec<u32> = windows(literal).take(GRAMS_MAX).collect();
        let edge = literal.len().min(WORD);
        let at_start = || Filed::new(number, literal, 0);
        // The place that is probed lies behind the last byte.
        let at_end = || {
            Filed::new(number, literal.get(literal.len().saturating_sub(WORD)..).unwrap_or_default(), edge)
        };
        let rarest = |count: usize| {
            let rarest = rarest(&self.counts, &grams, count);
            rarest.map(|(offset, gram)| (*gram, Filed::new(number, literal, offset)))
        };
        match way {
            Way::Whole => self.whole.push((of_whole(literal), at_end())),
            Way::End => self.end.entry(edge).or_default().push((of_end(literal), at_end())),
            Way::Start => {
                self.start.entry(edge).or_default().push((hashed(first(literal)(edge)), at_start()));
            }
            Way::Single => self.single.extend(literal.first().map(|byte| (*byte, number))),
            Way::Short if literal.len() < GRAM => {
                let grams = self.short.iter_mut().zip(short_grams(literal));
                if let Some((filed, gram)) = grams.last() {
                    filed.push((gram, at_start()));
                }
            }
            Way::Short => {
                let [_, _, fours] = &mut self.short;
                fours.extend(rarest(1));
            }
            Way::Long => self.long.extend(rarest(self.stride)),
        }
    }
}

/// The widest stride that meets all literals of such lengths.
fn stride(lengths: impl Iterator<Item = usize> + Clone) -> usize {
    let shortest = lengths.clone().min().unwrap_or_default();
    let count = lengths.count();
    let fits = |stride: &usize| {
        shortest >= stride.saturating_add(GRAM - 1) && count.saturating_mul(*stride) <= GRAMS_WIDE_MAX
    };
    STRIDES.into_iter().find(fits).unwrap_or(1)
}

/// As many neighbouring grams as are asked for, those that the literals have least often, with their places.
fn rarest<'g>(
    counts: &HashMap<u32, u32, NameHash>,
    grams: &'g [u32],
    count: usize,
) -> impl Iterator<Item = (usize, &'g u32)> + use<'g> {
    let commonness: Vec<u64> =
        grams.iter().map(|gram| counts.get(gram).copied().unwrap_or_default().into()).collect();
    let rarest = commonness.windows(count).enumerate().min_by_key(|(_, counts)| counts.iter().sum::<u64>());
    let from = rarest.map_or(0, |(from, _)| from);
    grams.iter().enumerate().skip(from).take(count)
}
