//! Which of many literals a text has, found in one pass over the text.
//!
//! A gram is some bytes of a text in a row, four where nothing else is said. Each literal is filed under a few of its grams,
//! chosen so that the text need not be probed everywhere:
//! - as the whole text: under its last eight bytes and its length; the end of the text is probed;
//! - at the end: under its last eight bytes, or all when it has fewer; the end of the text is probed once for each such length;
//! - at the start: the same way when it has at most eight bytes. What begins alike (`c:\windows\`) is told apart further on:
//!   a longer one is filed as if it might stand anywhere;
//! - anywhere, of 7 bytes or more: under four neighbouring grams, the rarest that it has; every fourth byte of the text is
//!   probed, and however the literal lies in the text, one probe meets one of the four. Where all of them are longer, it is
//!   more grams, up to eight, and as many bytes from probe to probe;
//! - anywhere, shorter: under its rarest gram, or itself when it has two or three bytes; every byte of the text is probed, with
//!   a look at two bytes before any gram;
//! - of one byte: under nothing; the text is searched for it (memchr).
//!
//! A probe costs a multiplication and a look into a table of bits. Unlike the steps of an automaton, probes do not
//! wait for each other, and the bits of thousands of literals stay in the processor's nearest cache, where an automaton of
//! them has tens of megabytes. What a probe meets is compared in full.
//!
//! Text is folded (see [`text`](crate::text)), or ASCII in any case. Literals are folded. Grams are compared with bit 5 of each byte
//! set, which makes upper and lower case of ASCII one, and some other bytes too; the full comparison tells these apart.
//!
//! Memory: about 20 bytes for each gram, of which a literal has four, in small sets up to eight, and 8 KiB where there are short literals. With
//! its text, its place and what it marks a literal of 30 bytes takes some 210 bytes in each field of an index: measured.

use std::collections::{BTreeMap, HashMap};

use crate::engine::NameHash;
use crate::predicate::TextOp;

/// Longest text that is searched for long literals as soon as its hash is looked up: eight probes.
const CHEAP_BYTES_MAX: usize = 32;
/// Bit 5 of four bytes.
const CASE: u32 = 0x2020_2020;
/// Bits of the table for each gram, as a power of two: one probe in 16 meets a bit for nothing.
const BITS_PER_GRAM_LOG2: u32 = 4;
/// A table has a word of bits at least: ones in binary.
const BITS_MIN: u32 = 63;
/// Bytes of a gram.
const GRAM: usize = 4;
/// Bytes from one probe for long literals to the next, the most that the shortest of them allows: each has as many grams, since a
/// probe may meet it at any of them. More would save few probes.
const STRIDES: [usize; 3] = [8, 6, STRIDE_MIN];
const STRIDE_MIN: usize = 4;
/// Most literals of a set with wide strides: the tables of larger ones are to stay small.
const WIDE_LITERALS_MAX: usize = 512;
/// Bytes of a word: most that a gram at an edge of a text has.
const WORD: usize = 8;
const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte of a word.
const HIGH: u64 = ONES << 7;
/// Bit 5 of each.
const WORD_CASE: u64 = ONES << 5;
/// Spreads a gram over 64 bits: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whether a literal is worth the search: a letter, a digit or a blank alone is found nearly everywhere, nothing anywhere.
pub(crate) fn is_sought(literal: &str) -> bool {
    match literal.as_bytes() {
        [] => false,
        [byte] => byte.is_ascii_punctuation(),
        _ => true,
    }
}

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
    literals: Vec<Literal>,
    /// Their bytes, one behind the other: literals that are compared lie near to each other.
    bytes: Vec<u8>,
    whole: Grams,
    start: EdgeGrams,
    end: EdgeGrams,
    long: Grams,
    /// Bytes from one probe for these to the next.
    stride: usize,
    short: Option<Box<Short>>,
    /// Those of one byte.
    single: Vec<(u8, u32)>,
    has_number: bool,
    /// Bytes of the shortest.
    bytes_min: usize,
}

/// Where in the common bytes a literal is.
#[derive(Clone, Copy, Debug)]
struct Literal {
    start: u32,
    end: u32,
    place: Place,
}

/// Literals at one edge of a text, by how many bytes the gram has.
#[derive(Debug, Default)]
struct EdgeGrams(Vec<(usize, Grams)>);

/// Literals of 2 to 6 bytes that may stand anywhere.
#[derive(Debug)]
struct Short {
    /// By two bytes: whether the gram of any begins with them.
    begins: [u64; 1024],
    /// Of two, three and four bytes.
    grams: [Grams; 3],
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
    /// Of literals that are not empty.
    pub(crate) fn new(literals: &[(Place, String)]) -> Self {
        let mut parts = Parts::of(literals);
        for (number, (place, literal)) in (0_u32..).zip(literals) {
            parts.file(number, *place, literal.as_bytes());
        }
        Self {
            whole: Grams::new(parts.whole),
            start: EdgeGrams::new(parts.start),
            end: EdgeGrams::new(parts.end),
            long: Grams::new(parts.long),
            stride: parts.stride,
            short: Short::new(parts.short),
            single: parts.single,
            has_number: literals.iter().any(|(_, literal)| is_number(literal)),
            bytes_min: literals.iter().map(|(_, literal)| literal.len()).min().unwrap_or_default(),
            bytes: literals.iter().flat_map(|(_, literal)| literal.bytes()).collect(),
            literals: spans(literals),
        }
    }

    /// Whether the text of an integer may have any of them.
    pub(crate) fn has_number(&self) -> bool {
        self.has_number
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.literals.is_empty()
    }

    /// Whether to search a text costs more than to remember what it has.
    pub(crate) fn is_search_dear(&self, text: &str) -> bool {
        self.short.is_some() || text.len() > CHEAP_BYTES_MAX
    }

    /// Whether a text is too short to have any of them. Folding makes other characters than ASCII longer or shorter.
    pub(crate) fn are_longer(&self, text: &str) -> bool {
        text.len() < self.bytes_min && text.is_ascii()
    }

    /// Where a literal must stand, and its bytes.
    #[inline]
    fn get(&self, number: u32) -> Option<(Place, &[u8])> {
        let Literal { start, end, place } = *self.literals.get(usize::try_from(number).ok()?)?;
        Some((place, self.bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?))
    }

    /// Names each literal that the text has where it must stand, some of them several times.
    pub(crate) fn find(&self, text: &str, found: impl FnMut(u32)) {
        let bytes = text.as_bytes();
        let mut search = Search { literals: self, bytes, found };
        if !self.whole.filed.is_empty() {
            search.probe(&self.whole, of_whole(bytes), 0);
        }
        search.probe_edge(&self.start, first(bytes), 0);
        search.probe_edge(&self.end, last(bytes), bytes.len());
        if !self.long.filed.is_empty() {
            match self.stride {
                8 => search.probe_long::<8>(&self.long),
                6 => search.probe_long::<6>(&self.long),
                _ => search.probe_long::<STRIDE_MIN>(&self.long),
            }
        }
        if let Some(short) = &self.short {
            search.probe_all(short);
        }
        self.single.iter().for_each(|(byte, literal)| search.probe_single(*byte, *literal));
    }
}

/// Where each literal is when all stand one behind the other.
fn spans(literals: &[(Place, String)]) -> Vec<Literal> {
    let mut end = 0_u32;
    let spans = literals.iter().map(|(place, literal)| {
        let start = end;
        end = end.saturating_add(u32::try_from(literal.len()).unwrap_or(u32::MAX));
        Literal { start, end, place: *place }
    });
    spans.collect()
}

/// A text in which literals are looked for.
struct Search<'s, F> {
    literals: &'s Literals,
    bytes: &'s [u8],
    found: F,
}

impl<F: FnMut(u32)> Search<'_, F> {
    fn probe_long<const STRIDE: usize>(&mut self, grams: &Grams) {
        let (chunks, rest) = self.bytes.as_chunks::<STRIDE>();
        for (number, bytes) in chunks.iter().filter_map(|chunk| chunk.first_chunk()).enumerate() {
            if grams.may_have(gram(*bytes)) {
                self.meet(grams, gram(*bytes), number.saturating_mul(STRIDE));
            }
        }
        if let Some(bytes) = rest.first_chunk() {
            self.probe(grams, gram(*bytes), self.bytes.len().saturating_sub(rest.len()));
        }
    }

    fn probe_all(&mut self, short: &Short) {
        for (position, bytes) in self.bytes.array_windows().enumerate() {
            if short.may_begin(*bytes) {
                let rest = self.bytes.get(position..).unwrap_or_default();
                for (grams, gram) in short.grams.iter().zip(short_grams(rest)) {
                    self.probe(grams, gram, position);
                }
            }
        }
    }

    /// `edge` has the bytes of the text there, those next to the edge as [`EdgeGrams`] has them.
    fn probe_edge(&mut self, grams: &EdgeGrams, edge: impl Fn(usize) -> u64, position: usize) {
        for (bytes, grams) in &grams.0 {
            if *bytes <= self.bytes.len() {
                self.probe(grams, hashed(edge(*bytes)), position);
            }
        }
    }

    fn probe_single(&mut self, byte: u8, literal: u32) {
        if memchr::memchr2(byte, byte.to_ascii_uppercase(), self.bytes).is_some() {
            (self.found)(literal);
        }
    }

    #[inline]
    fn probe(&mut self, grams: &Grams, gram: u32, position: usize) {
        if grams.may_have(gram) {
            self.meet(grams, gram, position);
        }
    }

    #[inline(never)]
    fn meet(&mut self, grams: &Grams, gram: u32, position: usize) {
        for filed in grams.bucket(gram).iter().filter(|filed| filed.gram == gram) {
            if let Some(number) = self.stands(filed, position) {
                (self.found)(number);
            }
        }
    }

    /// The literal, when it stands where a gram of it was met.
    #[inline]
    fn stands(&self, filed: &Filed, position: usize) -> Option<u32> {
        let (place, literal) = self.literals.get(filed.literal)?;
        let start = position.checked_sub(usize::try_from(filed.offset).ok()?)?;
        let end = start.checked_add(literal.len())?;
        let piece = self.bytes.get(start..end)?;
        (place.holds(start, end, self.bytes.len()) && is_same(piece, literal)).then_some(filed.literal)
    }
}

/// Whether a piece of text is a literal of the same length, but for the case of ASCII.
#[inline]
fn is_same(piece: &[u8], literal: &[u8]) -> bool {
    let (Some(piece_end), Some(literal_end)) = (piece.last_chunk(), literal.last_chunk()) else {
        return piece.eq_ignore_ascii_case(literal);
    };
    let is_lower = |(piece, literal): (&[u8; WORD], &[u8; WORD])| {
        lower(u64::from_le_bytes(*piece)) == u64::from_le_bytes(*literal)
    };
    piece.as_chunks().0.iter().zip(literal.as_chunks().0).all(is_lower) && is_lower((piece_end, literal_end))
}

/// Eight bytes with the capitals of ASCII lowered.
#[inline]
fn lower(word: u64) -> u64 {
    let seven = word & !HIGH;
    let above_z = seven.wrapping_add(ONES.wrapping_mul(u64::from(0x7f - b'Z')));
    let from_a = seven.wrapping_add(ONES.wrapping_mul(u64::from(0x80 - b'A')));
    word | (from_a & !above_z & !word & HIGH) >> 2
}

impl EdgeGrams {
    fn new(filed: BTreeMap<usize, Vec<Filed>>) -> Self {
        Self(filed.into_iter().map(|(bytes, filed)| (bytes, Grams::new(filed))).collect())
    }
}

impl Short {
    fn new(filed: [Vec<Filed>; 3]) -> Option<Box<Self>> {
        if filed.iter().all(Vec::is_empty) {
            return None;
        }
        let mut begins = [0; 1024];
        for filed in filed.iter().flatten() {
            let [first, second, ..] = filed.gram.to_le_bytes();
            let (word, bit) = place_of(first, second);
            if let Some(word) = begins.get_mut(word) {
                *word |= 1 << bit;
            }
        }
        Some(Box::new(Self { begins, grams: filed.map(Grams::new) }))
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

/// Bytes at an edge as the tables know them.
fn hashed(edge: u64) -> u32 {
    u32::try_from(edge.wrapping_mul(SPREAD) >> 32).unwrap_or_default()
}

/// So many of the first bytes, at most eight; fewer where there are fewer.
fn first(bytes: &[u8]) -> impl Fn(usize) -> u64 + use<> {
    let word = match bytes.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    move |count| (word | WORD_CASE) & u64::MAX >> unused_bits(count)
}

/// So many of the last bytes, at most eight.
fn last(bytes: &[u8]) -> impl Fn(usize) -> u64 + use<> {
    let word = match bytes.last_chunk() {
        Some(chunk) => u64::from_be_bytes(*chunk),
        None => bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    move |count| (word | WORD_CASE) & u64::MAX >> unused_bits(count)
}

/// Bits of a word that so many bytes leave free; not all.
fn unused_bits(bytes: usize) -> u32 {
    u32::try_from(WORD.saturating_sub(bytes.max(1))).unwrap_or_default() << 3
}

fn of_whole(bytes: &[u8]) -> u32 {
    let end = hashed(last(bytes)(bytes.len().min(WORD)));
    end.wrapping_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
}

fn windows(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.array_windows().map(|window| gram(*window))
}

/// The first two, three and four bytes, as far as there are so many.
#[inline]
fn short_grams(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let byte = |place: usize| bytes.get(place).copied().unwrap_or_default();
    let two = gram([byte(0), byte(1), 0, 0]);
    let three = (bytes.len() > 2).then(|| gram([byte(0), byte(1), byte(2), 0]));
    let four = bytes.first_chunk().copied().map(gram);
    std::iter::once(two).chain(three).chain(four)
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
        let begins = |bucket| self.filed.partition_point(|filed| self.bucket_of(filed.gram) < bucket);
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

    fn bucket_of(&self, gram: u32) -> u32 {
        spread(gram) & self.bucket_mask
    }

    /// Whether a gram may be filed; nearly always no where none is.
    #[inline]
    fn may_have(&self, gram: u32) -> bool {
        let (word, bit) = self.bit(gram);
        self.bits.get(word).is_some_and(|word| word >> bit & 1 != 0)
    }

    /// What is filed under a gram, and perhaps some more.
    #[inline]
    fn bucket(&self, gram: u32) -> &[Filed] {
        let bucket = usize::try_from(self.bucket_of(gram)).unwrap_or_default();
        let Some([from, to, ..]) = self.buckets.get(bucket..) else { return &[] };
        let range = usize::try_from(*from).unwrap_or_default()..usize::try_from(*to).unwrap_or_default();
        self.filed.get(range).unwrap_or_default()
    }
}

fn is_number(literal: &str) -> bool {
    literal.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
}

/// The upper half of the product: all bits of the gram bear on it.
fn spread(gram: u32) -> u32 {
    u32::try_from(u64::from(gram).wrapping_mul(SPREAD) >> 32).unwrap_or_default()
}

/// Grams to be filed.
#[derive(Default)]
struct Parts {
    /// How many of the literals have a gram: what rules name often is frequent in events.
    counts: HashMap<u32, u32, NameHash>,
    whole: Vec<Filed>,
    start: BTreeMap<usize, Vec<Filed>>,
    end: BTreeMap<usize, Vec<Filed>>,
    long: Vec<Filed>,
    stride: usize,
    /// With a gram of two, three and four bytes.
    short: [Vec<Filed>; 3],
    single: Vec<(u8, u32)>,
}

impl Parts {
    fn of(literals: &[(Place, String)]) -> Self {
        let mut parts = Self { stride: stride(literals), ..Self::default() };
        for gram in literals.iter().flat_map(|(_, literal)| windows(literal.as_bytes())) {
            let count = parts.counts.entry(gram).or_default();
            *count = count.saturating_add(1);
        }
        parts
    }

    fn file(&mut self, literal: u32, place: Place, bytes: &[u8]) {
        let grams: Vec<u32> = windows(bytes).collect();
        let filed = |offset: usize, gram: u32| Filed {
            gram,
            literal,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
        };
        let edge = bytes.len().min(WORD);
        match (place, bytes.len()) {
            (Place::Whole, _) => self.whole.push(filed(0, of_whole(bytes))),
            (Place::End, len) => {
                self.end.entry(edge).or_default().push(filed(len, hashed(last(bytes)(edge))));
            }
            (Place::Start, 0..=WORD) => {
                self.start.entry(edge).or_default().push(filed(0, hashed(first(bytes)(edge))));
            }
            (Place::Anywhere, 0..=1) => {
                self.single.extend(bytes.first().map(|byte| (*byte, literal)));
            }
            (Place::Anywhere, 2..=3) => {
                let grams = self.short.iter_mut().zip(short_grams(bytes));
                if let Some((known, gram)) = grams.last() {
                    known.push(filed(0, gram));
                }
            }
            (Place::Anywhere, 4..=6) => {
                let [_, _, fours] = &mut self.short;
                fours.extend(rarest(&self.counts, &grams, 1).map(|(offset, gram)| filed(offset, *gram)));
            }
            (Place::Anywhere | Place::Start, _) => {
                self.long.extend(
                    rarest(&self.counts, &grams, self.stride).map(|(offset, gram)| filed(offset, *gram)),
                );
            }
        }
    }
}

/// The widest stride that meets all long literals.
fn stride(literals: &[(Place, String)]) -> usize {
    let long = literals.iter().filter(|(place, literal)| is_long(*place, literal.len()));
    let shortest = long.map(|(_, literal)| literal.len()).min().unwrap_or_default();
    let fits = |stride: &usize| shortest >= stride.saturating_add(GRAM - 1);
    let widest = STRIDES.into_iter().find(fits).filter(|_| literals.len() <= WIDE_LITERALS_MAX);
    widest.unwrap_or(STRIDE_MIN)
}

/// Whether a literal is probed for by strides.
fn is_long(place: Place, bytes: usize) -> bool {
    match place {
        Place::Anywhere => bytes >= STRIDE_MIN + GRAM - 1,
        Place::Start => bytes > WORD,
        Place::End | Place::Whole => false,
    }
}

/// As many neighbouring grams as are asked for, those that the fewest literals have, with their places.
fn rarest<'g>(
    counts: &HashMap<u32, u32, NameHash>,
    grams: &'g [u32],
    count: usize,
) -> impl Iterator<Item = (usize, &'g u32)> + use<'g> {
    let commonness = |grams: &[u32]| -> u64 {
        grams.iter().filter_map(|gram| counts.get(gram)).copied().map(u64::from).sum()
    };
    let rarest = grams.windows(count).enumerate().min_by_key(|(_, grams)| commonness(grams));
    let (from, grams) = rarest.unwrap_or_default();
    (from..).zip(grams)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(literals: &[(Place, String)], text: &str) -> Vec<usize> {
        let mut all = Vec::new();
        Literals::new(literals).find(text, |literal| all.extend(usize::try_from(literal)));
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

    fn literals() -> impl Strategy<Value = Vec<(Place, String)>> {
        let any = prop::collection::vec((place(), "[ab]{1,12}|[a-d@`]{1,4}|đ[abđ]{0,5}"), 0..40);
        // Such as are probed for by the wider strides.
        let long = prop::collection::vec((place(), "[ab]{9,14}|[a-d@`]{9,20}"), 1..20);
        let longer = prop::collection::vec((place(), "[ab]{11,14}|[a-d@`]{11,20}"), 1..20);
        prop_oneof![any, long, longer]
    }

    proptest! {
        /// Few letters, so that literals lie in texts, in each other and over their ends.
        #[test]
        fn finds_what_is_there_and_nothing_else(
            literals in literals(),
            texts in prop::collection::vec("[abABđ]{0,40}|[a-dA-D@`]{0,12}|[abAB]{20,90}", 1..10),
            around in "[ab]{0,9}",
        ) {
            let own = literals.iter().flat_map(|(_, literal)| [literal.clone(), format!("{around}{literal}{around}")]);
            let texts: Vec<String> = texts.into_iter().chain(own).collect();
            let is_folded = |text: &&String| text.is_ascii() || !text.contains(char::is_uppercase);
            for text in texts.iter().filter(is_folded) {
                prop_assert_eq!(found(&literals, text), expected(&literals, text), "{}", text);
            }
        }
    }
}
