//! Which of many literals a text has, found in one pass over the text.
//!
//! A gram is four bytes of a text in a row. Each literal is filed under a few of its grams, chosen so that the text need not be
//! probed everywhere:
//! - as the whole text, at its start or at its end: under its last, first or last eight bytes (four when it has no eight),
//!   of the whole with its length; only these places of the text are probed;
//! - anywhere, of 7 bytes or more: under four neighbouring grams, the rarest that it has; every fourth byte of the text is
//!   probed, and however the literal lies in the text, one probe meets one of the four;
//! - shorter: under its rarest gram, or its first two bytes when it has no four; every byte of the text is probed, with a look
//!   at two bytes before any gram. Nothing shorter than two bytes is taken.
//!
//! A probe costs a multiplication and a look into a table of bits. Unlike the steps of an automaton, probes do not
//! wait for each other, and the bits of thousands of literals stay in the processor's nearest cache, where an automaton of
//! them has tens of megabytes. What a probe meets is compared in full.
//!
//! Text is folded (see [`text`](crate::text)), or ASCII in any case. Literals are folded. Grams are compared with bit 5 of each byte
//! set, which makes upper and lower case of ASCII one, and some other bytes too; the full comparison tells these apart.
//!
//! Memory: about 20 bytes for each gram, and 8 KiB where there are short literals.

use crate::predicate::TextOp;

/// Bit 5 of four bytes.
const CASE: u32 = 0x2020_2020;
/// Bits of the table for each gram, as a power of two: one probe in 16 meets a bit for nothing.
const BITS_PER_GRAM_LOG2: u32 = 4;
/// A table has a word of bits at least: ones in binary.
const BITS_MIN: u32 = 63;
/// Bytes of a gram.
const GRAM: usize = 4;
/// Bytes of a long one.
const LONG: usize = 8;
const LONG_CASE: u64 = 0x2020_2020_2020_2020;
/// Spreads a gram over 64 bits: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Shortest literal that is taken: a single character is found nearly everywhere.
pub(crate) const LITERAL_BYTES_MIN: usize = 2;

/// Where in a text a literal stands.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Place {
    Anywhere,
    Start,
    End,
    Whole,
}

impl Place {
    /// Whether a literal found at these bytes of a text stands where it must.
    pub(crate) fn holds(self, start: usize, end: usize, text_len: usize) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Start => start == 0,
            Self::End => end == text_len,
            Self::Whole => start == 0 && end == text_len,
        }
    }

    pub(crate) fn of(op: TextOp) -> Self {
        match op {
            TextOp::Equals => Self::Whole,
            TextOp::StartsWith => Self::Start,
            TextOp::EndsWith => Self::End,
            TextOp::Contains => Self::Anywhere,
        }
    }
}

/// A set of literals.
#[derive(Debug, Default)]
pub(crate) struct Literals {
    literals: Vec<(Place, String)>,
    whole: Grams,
    start: Grams,
    long_start: Grams,
    end: Grams,
    long_end: Grams,
    long: Grams,
    short: Option<Box<Short>>,
}

/// Literals of 2 to 6 bytes that may stand anywhere.
#[derive(Debug)]
struct Short {
    /// By two bytes: whether the gram, or the literal of two or three bytes, of any begins with them.
    begins: [u64; 1024],
    grams: Grams,
    pairs: Grams,
}

/// Literals by gram.
#[derive(Debug, Default)]
struct Grams {
    /// By a gram's hash: whether one is filed there.
    bits: Vec<u64>,
    /// By the hash, too: where in `filed` its grams begin.
    buckets: Vec<u32>,
    filed: Vec<Filed>,
    /// How many buckets there are, less one: ones in binary.
    bucket_mask: u32,
}

/// A gram of a literal.
#[derive(Clone, Copy, Debug)]
struct Filed {
    gram: u32,
    literal: u32,
    /// Bytes of the literal before the place that is probed.
    offset: u32,
}

impl Literals {
    /// Of literals that have at least [`LITERAL_BYTES_MIN`] bytes.
    pub(crate) fn new(literals: Vec<(Place, String)>) -> Self {
        let mut parts = Parts::of(&literals);
        for (number, (place, literal)) in (0_u32..).zip(&literals) {
            parts.file(number, *place, literal.as_bytes());
        }
        Self {
            whole: Grams::new(parts.whole),
            start: Grams::new(parts.start),
            long_start: Grams::new(parts.long_start),
            end: Grams::new(parts.end),
            long_end: Grams::new(parts.long_end),
            long: Grams::new(parts.long),
            short: Short::new(parts.short, parts.pairs),
            literals,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.literals.is_empty()
    }

    /// Names each literal that the text has where it must stand, some of them several times.
    pub(crate) fn find(&self, text: &str, found: impl FnMut(usize)) {
        let bytes = text.as_bytes();
        let mut search = Search { literals: &self.literals, bytes, found };
        search.probe(&self.whole, |bytes| Some(of_whole(bytes)), 0);
        search.probe(&self.start, first, 0);
        search.probe(&self.long_start, long_first, 0);
        search.probe(&self.end, last, bytes.len());
        search.probe(&self.long_end, long_last, bytes.len());
        if !self.long.filed.is_empty() {
            search.probe_fourths(&self.long);
        }
        if let Some(short) = &self.short {
            search.probe_all(short);
        }
    }
}

/// A text in which literals are looked for.
struct Search<'s, F> {
    literals: &'s [(Place, String)],
    bytes: &'s [u8],
    found: F,
}

impl<F: FnMut(usize)> Search<'_, F> {
    fn probe_fourths(&mut self, grams: &Grams) {
        for (number, chunk) in self.bytes.as_chunks().0.iter().enumerate() {
            if grams.may_have(gram(*chunk)) {
                self.meet(grams, gram(*chunk), number.saturating_mul(GRAM));
            }
        }
    }

    fn probe_all(&mut self, short: &Short) {
        for (position, bytes) in self.bytes.array_windows().enumerate() {
            if short.may_begin(*bytes) {
                self.probe(&short.pairs, |_| Some(pair(*bytes)), position);
                self.probe(&short.grams, |bytes| bytes.get(position..).and_then(first), position);
            }
        }
    }

    #[inline]
    fn probe(&mut self, grams: &Grams, gram: impl FnOnce(&[u8]) -> Option<u32>, position: usize) {
        if grams.filed.is_empty() {
            return;
        }
        if let Some(gram) = gram(self.bytes).filter(|gram| grams.may_have(*gram)) {
            self.meet(grams, gram, position);
        }
    }

    #[inline(never)]
    fn meet(&mut self, grams: &Grams, gram: u32, position: usize) {
        for filed in grams.filed(gram) {
            if let Some(number) = self.stands(filed, position) {
                (self.found)(number);
            }
        }
    }

    /// The literal, when it stands where a gram of it was met.
    fn stands(&self, filed: &Filed, position: usize) -> Option<usize> {
        let number = usize::try_from(filed.literal).ok()?;
        let (place, literal) = self.literals.get(number)?;
        let start = position.checked_sub(usize::try_from(filed.offset).ok()?)?;
        let end = start.checked_add(literal.len())?;
        let stands = place.holds(start, end, self.bytes.len())
            && self.bytes.get(start..end)?.eq_ignore_ascii_case(literal.as_bytes());
        stands.then_some(number)
    }
}

impl Short {
    fn new(grams: Vec<Filed>, pairs: Vec<Filed>) -> Option<Box<Self>> {
        if grams.is_empty() && pairs.is_empty() {
            return None;
        }
        let mut begins = [0; 1024];
        for filed in grams.iter().chain(&pairs) {
            let [first, second, ..] = filed.gram.to_le_bytes();
            let (word, bit) = place_of(first, second);
            if let Some(word) = begins.get_mut(word) {
                *word |= 1 << bit;
            }
        }
        Some(Box::new(Self { begins, grams: Grams::new(grams), pairs: Grams::new(pairs) }))
    }

    #[inline]
    fn may_begin(&self, [first, second]: [u8; 2]) -> bool {
        let (word, bit) = place_of(first, second);
        self.begins.get(word).is_some_and(|word| word >> bit & 1 != 0)
    }
}

/// The word and the bit in it of two bytes.
#[inline]
fn place_of(first: u8, second: u8) -> (usize, u16) {
    let number = u16::from_le_bytes([first, second]) | 0x2020;
    (usize::from(number >> 6), number & 63)
}

fn gram(bytes: [u8; GRAM]) -> u32 {
    u32::from_le_bytes(bytes) | CASE
}

/// Eight bytes as the tables know them.
fn long_gram(bytes: [u8; LONG]) -> u32 {
    let hash = (u64::from_le_bytes(bytes) | LONG_CASE).wrapping_mul(SPREAD);
    u32::try_from(hash >> 32).unwrap_or_default()
}

fn first(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(gram)
}

fn last(bytes: &[u8]) -> Option<u32> {
    bytes.last_chunk().copied().map(gram)
}

fn long_first(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(long_gram)
}

fn long_last(bytes: &[u8]) -> Option<u32> {
    bytes.last_chunk().copied().map(long_gram)
}

fn of_whole(bytes: &[u8]) -> u32 {
    let end = long_last(bytes).or_else(|| last(bytes)).unwrap_or_default();
    end.wrapping_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
}

fn windows(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.array_windows().map(|window| gram(*window))
}

fn pair([first, second]: [u8; 2]) -> u32 {
    gram([first, second, 0, 0])
}

impl Grams {
    fn new(mut filed: Vec<Filed>) -> Self {
        if filed.is_empty() {
            return Self::default();
        }
        let bucket_mask =
            u32::try_from(filed.len().next_power_of_two()).unwrap_or(u32::MAX).saturating_sub(1);
        filed.sort_by_key(|filed| spread(filed.gram) & bucket_mask);
        let mut grams = Self { bits: Vec::new(), buckets: Vec::new(), filed, bucket_mask };
        grams.fill();
        grams
    }

    fn fill(&mut self) {
        self.bits = vec![0; usize::try_from(self.bit_mask() >> 6).unwrap_or_default().saturating_add(1)];
        for filed in &self.filed {
            let (word, bit) = self.bit(filed.gram);
            if let Some(word) = self.bits.get_mut(word) {
                *word |= 1 << bit;
            }
        }
        let begins = |bucket| self.filed.partition_point(|filed| self.bucket(filed.gram) < bucket);
        let buckets = 0..=self.bucket_mask.saturating_add(1);
        self.buckets = buckets.map(|bucket| u32::try_from(begins(bucket)).unwrap_or(u32::MAX)).collect();
    }

    fn bit_mask(&self) -> u32 {
        self.bucket_mask << BITS_PER_GRAM_LOG2 | BITS_MIN
    }

    /// The word and the bit in it.
    #[inline]
    fn bit(&self, gram: u32) -> (usize, u32) {
        let number = spread(gram) & self.bit_mask();
        (usize::try_from(number >> 6).unwrap_or(usize::MAX), number & 63)
    }

    fn bucket(&self, gram: u32) -> u32 {
        spread(gram) & self.bucket_mask
    }

    /// Whether a gram may be filed; nearly always no where none is.
    #[inline]
    fn may_have(&self, gram: u32) -> bool {
        let (word, bit) = self.bit(gram);
        self.bits.get(word).is_some_and(|word| word >> bit & 1 != 0)
    }

    /// What is filed under a gram.
    fn filed(&self, gram: u32) -> impl Iterator<Item = &Filed> {
        let begin = |bucket: u32| self.buckets.get(usize::try_from(bucket).ok()?).copied();
        let bucket = self.bucket(gram);
        let range = begin(bucket).zip(bucket.checked_add(1).and_then(begin));
        let range = range.and_then(|(from, to)| Some(usize::try_from(from).ok()?..usize::try_from(to).ok()?));
        let filed = range.and_then(|range| self.filed.get(range)).unwrap_or_default();
        filed.iter().filter(move |filed| filed.gram == gram)
    }
}

/// The upper half of the product: all bits of the gram bear on it.
fn spread(gram: u32) -> u32 {
    u32::try_from(u64::from(gram).wrapping_mul(SPREAD) >> 32).unwrap_or_default()
}

/// Grams to be filed.
#[derive(Default)]
struct Parts {
    /// How many of the literals have a gram: what rules name often is frequent in events.
    counts: std::collections::HashMap<u32, u32>,
    whole: Vec<Filed>,
    start: Vec<Filed>,
    long_start: Vec<Filed>,
    end: Vec<Filed>,
    long_end: Vec<Filed>,
    long: Vec<Filed>,
    short: Vec<Filed>,
    pairs: Vec<Filed>,
}

impl Parts {
    fn of(literals: &[(Place, String)]) -> Self {
        let mut parts = Self::default();
        for gram in literals.iter().flat_map(|(_, literal)| windows(literal.as_bytes())) {
            let count = parts.counts.entry(gram).or_default();
            *count = count.saturating_add(1);
        }
        parts
    }

    fn file(&mut self, literal: u32, place: Place, bytes: &[u8]) {
        let grams: Vec<u32> = windows(bytes).collect();
        let filed = |offset: usize, gram: &u32| Filed {
            gram: *gram,
            literal,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
        };
        match (place, grams.as_slice()) {
            (Place::Whole, _) => self.whole.push(filed(0, &of_whole(bytes))),
            (_, []) => self.pairs.extend(bytes.first_chunk().map(|first| filed(0, &pair(*first)))),
            (Place::Start, [first, ..]) => match long_first(bytes) {
                Some(long) => self.long_start.push(filed(0, &long)),
                None => self.start.push(filed(0, first)),
            },
            (Place::End, [.., last]) => match long_last(bytes) {
                Some(long) => self.long_end.push(filed(bytes.len(), &long)),
                None => self.end.push(filed(bytes.len(), last)),
            },
            (Place::Anywhere, grams) if grams.len() < 4 => {
                self.short.extend(self.rarest(grams, 1).map(|(offset, gram)| filed(offset, gram)));
            }
            (Place::Anywhere, grams) => {
                self.long.extend(self.rarest(grams, 4).map(|(offset, gram)| filed(offset, gram)));
            }
        }
    }

    /// As many neighbouring grams as are asked for, those that the fewest literals have, with their places.
    fn rarest<'g>(&self, grams: &'g [u32], count: usize) -> impl Iterator<Item = (usize, &'g u32)> + use<'g> {
        let commonness = |grams: &[u32]| -> u64 {
            grams.iter().filter_map(|gram| self.counts.get(gram)).copied().map(u64::from).sum()
        };
        let rarest = grams.windows(count).enumerate().min_by_key(|(_, grams)| commonness(grams));
        let (from, grams) = rarest.unwrap_or_default();
        (from..).zip(grams)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(literals: &[(Place, String)], text: &str) -> Vec<usize> {
        let mut all = Vec::new();
        Literals::new(literals.to_vec()).find(text, |literal| all.push(literal));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What `found` must give, said in the obvious way.
    fn expected(literals: &[(Place, String)], text: &str) -> Vec<usize> {
        let text = text.to_ascii_lowercase();
        let stands = |(place, literal): &(Place, String)| match place {
            Place::Anywhere => text.contains(literal.as_str()),
            Place::Start => text.starts_with(literal.as_str()),
            Place::End => text.ends_with(literal.as_str()),
            Place::Whole => text == *literal,
        };
        (0..literals.len()).filter(|number| stands(&literals[*number])).collect()
    }

    fn place() -> impl Strategy<Value = Place> {
        prop_oneof![Just(Place::Anywhere), Just(Place::Start), Just(Place::End), Just(Place::Whole)]
    }

    proptest! {
        /// Few letters, so that literals lie in texts, in each other and over their ends.
        #[test]
        fn finds_what_is_there_and_nothing_else(
            literals in prop::collection::vec((place(), "[ab]{2,12}|[a-d@`]{2,4}|đ[abđ]{1,5}"), 0..40),
            texts in prop::collection::vec("[abABđ]{0,40}|[a-dA-D@`]{0,12}", 1..10),
        ) {
            let texts = texts.iter().chain(literals.iter().map(|(_, literal)| literal));
            for text in texts.filter(|text| text.is_ascii() || !text.contains(char::is_uppercase)) {
                prop_assert_eq!(found(&literals, text), expected(&literals, text), "{}", text);
            }
        }
    }
}
