//! Tables of grams: what a probe looks at, and the literals that are filed there.

use std::collections::BTreeMap;

use super::words::{WORD, lower, spread, unused_bits, word_of};

/// Bits of the table for each gram, as a power of two: one probe in 32 meets a bit for nothing.
const BITS_PER_GRAM_LOG2: u32 = 5;
/// A table has a word of bits at least: ones in binary.
const BITS_MIN: u32 = 63;
/// Bytes of a word before a gram in the middle of a literal.
const LEAD: usize = 2;

/// Literals at one edge of a text, by how many bytes the gram has.
#[derive(Debug, Default)]
pub(super) struct EdgeGrams(pub(super) Vec<(usize, Grams)>);

/// Literals that may stand anywhere and are shorter than those that are probed for by strides.
#[derive(Debug)]
pub(super) struct Short {
    /// By two bytes: whether the gram of any begins with them.
    begins: [u64; 1024],
    /// Of two, three and four bytes.
    pub(super) grams: [Grams; 3],
}

/// Grams to be filed.
pub(super) type ToFile = Vec<(u32, Filed)>;

/// Literals by gram.
#[derive(Debug, Default)]
pub(super) struct Grams {
    /// By a gram's hash: whether one may be filed there.
    bits: Vec<u64>,
    /// By the hash, too: where in `filed` its grams begin.
    buckets: Vec<u32>,
    filed: Vec<Filed>,
    /// How many buckets there are, less one: ones in binary.
    bucket_mask: u32,
}

/// A gram of a literal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filed {
    /// Bytes of the literal around the gram, the first lowest.
    word: u64,
    pub(super) literal: u32,
    /// Bytes of the literal before the place that is probed; only where that is not an edge of the text.
    pub(super) offset: u16,
    /// Bytes of the word before that place.
    lead: u8,
    /// Bytes of the word, at most [`WORD`].
    len: u8,
}

impl Filed {
    /// A gram before which a literal has so many bytes.
    pub(super) fn new(number: u32, literal: &[u8], offset: usize) -> Self {
        let len = literal.len().min(WORD);
        // The word lies within the literal.
        let lead = LEAD.max(offset.saturating_add(len).saturating_sub(literal.len())).min(offset);
        let word = literal.get(offset.saturating_sub(lead)..).unwrap_or_default();
        let byte = |count: usize| u8::try_from(count).unwrap_or_default();
        Self {
            word: word_of(word) & u64::MAX >> unused_bits(len),
            literal: number,
            offset: u16::try_from(offset).unwrap_or_default(),
            lead: byte(lead),
            len: byte(len),
        }
    }

    /// Whether its word stands around a position of a text.
    #[inline]
    pub(super) fn is_at(&self, bytes: &[u8], position: usize) -> bool {
        let Some(start) = position.checked_sub(usize::from(self.lead)) else { return false };
        let word = word_of(bytes.get(start..).unwrap_or_default());
        lower(word) & u64::MAX >> unused_bits(usize::from(self.len)) == self.word
    }
}

impl EdgeGrams {
    pub(super) fn new(filed: BTreeMap<usize, ToFile>) -> Self {
        Self(filed.into_iter().map(|(bytes, filed)| (bytes, Grams::new(filed))).collect())
    }
}

impl Short {
    pub(super) fn new(filed: [ToFile; 3]) -> Option<Box<Self>> {
        if filed.iter().all(Vec::is_empty) {
            return None;
        }
        let mut begins = [0; 1024];
        for (gram, _) in filed.iter().flatten() {
            let [first, second, ..] = gram.to_le_bytes();
            let (word, bit) = place_of(first, second);
            if let Some(word) = begins.get_mut(word) {
                *word |= 1 << bit;
            }
        }
        Some(Box::new(Self { begins, grams: filed.map(Grams::new) }))
    }

    #[inline]
    pub(super) fn may_begin(&self, [first, second]: [u8; 2]) -> bool {
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

impl Grams {
    pub(super) fn new(mut filed: ToFile) -> Self {
        if filed.is_empty() {
            return Self::default();
        }
        let bucket_mask =
            u32::try_from(filed.len().next_power_of_two()).unwrap_or(u32::MAX).saturating_sub(1);
        filed.sort_by_key(|(gram, _)| spread(*gram) & bucket_mask);
        let mut grams = Self { bucket_mask, ..Self::default() };
        grams.fill(&filed);
        grams.filed = filed.into_iter().map(|(_, filed)| filed).collect();
        grams
    }

    fn fill(&mut self, filed: &[(u32, Filed)]) {
        self.bits = vec![0; usize::try_from(self.bit_mask() >> 6).unwrap_or_default().saturating_add(1)];
        for (gram, _) in filed {
            let (word, bit) = self.bit(*gram);
            if let Some(word) = self.bits.get_mut(word) {
                *word |= 1 << bit;
            }
        }
        let begins = |bucket| filed.partition_point(|(gram, _)| self.bucket_of(*gram) < bucket);
        let buckets = 0..=self.bucket_mask.saturating_add(1);
        self.buckets = buckets.map(|bucket| u32::try_from(begins(bucket)).unwrap_or(u32::MAX)).collect();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filed.is_empty()
    }

    /// Most that are compared wherever one gram is met.
    #[cfg(test)]
    pub(super) fn largest_bucket(&self) -> Option<u32> {
        self.buckets.windows(2).map(|ends| ends[1] - ends[0]).max()
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

    fn bucket_of(&self, gram: u32) -> u32 {
        spread(gram) & self.bucket_mask
    }

    /// Whether a gram may be filed; nearly always no where none is.
    #[inline]
    pub(super) fn may_have(&self, gram: u32) -> bool {
        let (word, bit) = self.bit(gram);
        self.bits.get(word).is_some_and(|word| word >> bit & 1 != 0)
    }

    /// What is filed under a gram, and perhaps some more.
    #[inline]
    pub(super) fn bucket(&self, gram: u32) -> &[Filed] {
        let bucket = usize::try_from(self.bucket_of(gram)).unwrap_or_default();
        let Some([from, to, ..]) = self.buckets.get(bucket..) else { return &[] };
        let range = usize::try_from(*from).unwrap_or_default()..usize::try_from(*to).unwrap_or_default();
        self.filed.get(range).unwrap_or_default()
    }
}
