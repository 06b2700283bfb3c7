//! Which of many literals a text has, found in one pass over the text.
//!
//! A gram is some bytes of a text in a row, four where nothing else is said. Each literal is filed under a few of its grams,
//! chosen so that the text need not be probed everywhere:
//! - as the whole text: under its last eight bytes and its length; the end of the text is probed;
//! - at the end: under its last eight bytes, or all when it has fewer; the end of the text is probed once for each such length;
//! - at the start: the same way when it has at most eight bytes. What begins alike (`c:\windows\`) is told apart further on:
//!   a longer one is filed as if it might stand anywhere;
//! - anywhere, of four bytes or more: under as many neighbouring grams as there are bytes from one probe to the next, the rarest
//!   that it has. However the literal lies in the text, one probe meets one of them. How far the probes lie apart is what the
//!   shortest of these literals allows, and at every byte in large sets;
//! - anywhere, of two or three bytes: under itself; every byte of the text is probed, with a look at two bytes before any gram.
//!   So it is with a few of four to six bytes, under their rarest gram, for whose sake probes need not lie closer;
//! - of one byte: under nothing; which bytes the text has is found out in one pass.
//!
//! A probe costs a multiplication and a look into a table of bits. Unlike the steps of an automaton, probes do not
//! wait for each other, and the bits of thousands of literals stay in the processor's nearest cache, where an automaton of
//! them has tens of megabytes. What a probe meets is compared, first with the eight bytes around the gram that are filed
//! beside it, which lie where the processor looks already and tell most literals apart, then in full.
//!
//! Text is folded (see [`text`](crate::text)), or ASCII in any case. Literals are folded. Grams are probed with bit 5 of each byte
//! set, which makes upper and lower case of ASCII one, and some other bytes too; the comparison tells these apart. Literals with
//! other characters than ASCII, of which rules have thousands (emoji, letters that look like others), are filed apart, since no
//! text in ASCII has any.
//!
//! Memory: some 26 bytes for each gram, of which a literal has one in large sets and up to eight in small ones, and 8 KiB where
//! there are short literals. With its text, its place and what it marks a literal of 30 bytes takes 130 bytes in a large set,
//! 200 in one of a thousand: counted.

use std::collections::{BTreeMap, HashMap};

use crate::engine::NameHash;
use crate::predicate::TextOp;

/// Most probes for long literals that cost no more than to look up what was found in the same text before.
const CHEAP_PROBES_MAX: usize = 16;
/// Bit 5 of four bytes.
const CASE: u32 = 0x2020_2020;
/// Bits of the table for each gram, as a power of two: one probe in 32 meets a bit for nothing.
const BITS_PER_GRAM_LOG2: u32 = 5;
/// A table has a word of bits at least: ones in binary.
const BITS_MIN: u32 = 63;
/// Bytes of a gram.
const GRAM: usize = 4;
/// Bytes from one probe for long literals to the next. More would save few probes.
const STRIDES: [usize; 4] = [8, 6, 4, 1];
/// Shortest literals that are probed for by strides: where there are few that are shorter, every byte is looked at for these alone.
const SHORT_END: usize = 7;
const SHORT_MAX: usize = 64;
/// Most grams of a set with a stride, as each has so many grams: tables that outgrow the nearest cache cost more than probes.
const GRAMS_WIDE_MAX: usize = 4096;
/// Bytes of a word: most that a gram at an edge of a text has, and that are filed of a literal.
const WORD: usize = 8;
/// Bytes of a word before a gram in the middle of a literal.
const LEAD: usize = 2;
/// A gram is one of so many that a literal begins with.
const GRAMS_MAX: usize = 60_000;
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
    /// Those in ASCII.
    ascii: Table,
    /// Those with other characters.
    other: Table,
    has_number: bool,
    /// Bytes of the shortest.
    bytes_min: usize,
}

/// Literals by what is probed for.
#[derive(Debug, Default)]
struct Table {
    whole: Grams,
    start: EdgeGrams,
    end: EdgeGrams,
    long: Grams,
    /// Bytes from one probe for these to the next.
    stride: usize,
    short: Option<Box<Short>>,
    /// Those of one byte.
    single: Vec<(u8, u32)>,
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

/// Literals that may stand anywhere and are shorter than those that are probed for by strides.
#[derive(Debug)]
struct Short {
    /// By two bytes: whether the gram of any begins with them.
    begins: [u64; 1024],
    /// Of two, three and four bytes.
    grams: [Grams; 3],
}

/// Grams to be filed.
type ToFile = Vec<(u32, Filed)>;

/// Literals by gram.
#[derive(Debug, Default)]
struct Grams {
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
struct Filed {
    /// Bytes of the literal around the gram, the first lowest.
    word: u64,
    literal: u32,
    /// Bytes of the literal before the place that is probed.
    offset: u16,
    /// Bytes of the word before that place.
    lead: u8,
    /// Bytes of the word, at most [`WORD`].
    len: u8,
}

impl Literals {
    /// Of literals that are not empty.
    pub(crate) fn new(literals: &[(Place, String)]) -> Self {
        let of = |is_ascii: bool| {
            let numbered = (0_u32..).zip(literals);
            let numbered = numbered.map(|(number, (place, literal))| (number, *place, literal.as_bytes()));
            let own: Vec<_> = numbered.filter(|(.., literal)| literal.is_ascii() == is_ascii).collect();
            Table::new(&own)
        };
        Self {
            ascii: of(true),
            other: of(false),
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
        let Table { short, long, stride, .. } = &self.ascii;
        let is_cheap = long.filed.is_empty() || text.len() <= stride.saturating_mul(CHEAP_PROBES_MAX);
        short.is_some() || !is_cheap
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
        let mut search = Search { literals: self, bytes: text.as_bytes(), found };
        search.probe_table(&self.ascii);
        if !self.other.is_empty() && !text.is_ascii() {
            search.probe_table(&self.other);
        }
    }
}

impl Table {
    fn new(literals: &[(u32, Place, &[u8])]) -> Self {
        let mut parts = Parts::of(literals);
        literals.iter().for_each(|(number, place, literal)| parts.file(*number, *place, literal));
        Self {
            whole: Grams::new(parts.whole),
            start: EdgeGrams::new(parts.start),
            end: EdgeGrams::new(parts.end),
            long: Grams::new(parts.long),
            stride: parts.stride,
            short: Short::new(parts.short),
            single: parts.single,
        }
    }

    fn is_empty(&self) -> bool {
        let have_none = |grams: &EdgeGrams| grams.0.is_empty();
        self.whole.filed.is_empty()
            && self.long.filed.is_empty()
            && have_none(&self.start)
            && have_none(&self.end)
            && self.short.is_none()
            && self.single.is_empty()
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
    fn probe_table(&mut self, table: &Table) {
        let bytes = self.bytes;
        if !table.whole.filed.is_empty() {
            self.probe(&table.whole, of_whole(bytes), bytes.len());
        }
        self.probe_edge(&table.start, first(bytes), 0);
        self.probe_edge(&table.end, last(bytes), bytes.len());
        if !table.long.filed.is_empty() {
            match table.stride {
                8 => self.probe_wide::<8>(&table.long),
                6 => self.probe_wide::<6>(&table.long),
                4 => self.probe_wide::<4>(&table.long),
                _ => self.probe_all(&table.long),
            }
        }
        if let Some(short) = &table.short {
            self.probe_short(short);
        }
        if !table.single.is_empty() {
            self.probe_single(&table.single);
        }
    }

    fn probe_wide<const STRIDE: usize>(&mut self, grams: &Grams) {
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

    /// At every byte. Which of many may meet something is found out first, without a branch that would be foreseen wrongly.
    fn probe_all(&mut self, grams: &Grams) {
        let bytes = self.bytes;
        for start in (0..bytes.len()).step_by(64) {
            let block = bytes.get(start..).unwrap_or_default();
            let mut met = (0..64)
                .zip(block.array_windows())
                .fold(0_u64, |met, (number, bytes)| met | u64::from(grams.may_have(gram(*bytes))) << number);
            while met != 0 {
                let position =
                    start.saturating_add(usize::try_from(met.trailing_zeros()).unwrap_or_default());
                met &= met.wrapping_sub(1);
                if let Some(bytes) = bytes.get(position..).and_then(<[u8]>::first_chunk) {
                    self.meet(grams, gram(*bytes), position);
                }
            }
        }
    }

    fn probe_short(&mut self, short: &Short) {
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

    fn probe_single(&mut self, single: &[(u8, u32)]) {
        let mut has = [false; 256];
        for byte in self.bytes {
            if let Some(has) = has.get_mut(usize::from(byte.to_ascii_lowercase())) {
                *has = true;
            }
        }
        for (byte, literal) in single {
            if has.get(usize::from(*byte)).is_some_and(|has| *has) {
                (self.found)(*literal);
            }
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
        for filed in grams.bucket(gram) {
            if filed.is_at(self.bytes, position)
                && let Some(number) = self.stands(filed, position)
            {
                (self.found)(number);
            }
        }
    }

    /// The literal, when it stands where a gram of it was met.
    #[inline]
    fn stands(&self, filed: &Filed, position: usize) -> Option<u32> {
        let (place, literal) = self.literals.get(filed.literal)?;
        let start = match place {
            Place::Anywhere => position.checked_sub(usize::from(filed.offset))?,
            Place::Start | Place::Whole => 0,
            Place::End => self.bytes.len().checked_sub(literal.len())?,
        };
        let end = start.checked_add(literal.len())?;
        let piece = self.bytes.get(start..end)?;
        (place.holds(start, end, self.bytes.len()) && is_same(piece, literal)).then_some(filed.literal)
    }
}

impl Filed {
    /// A gram before which a literal has so many bytes.
    fn new(number: u32, literal: &[u8], offset: usize) -> Self {
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
    fn is_at(&self, bytes: &[u8], position: usize) -> bool {
        let Some(start) = position.checked_sub(usize::from(self.lead)) else { return false };
        let word = word_of(bytes.get(start..).unwrap_or_default());
        lower(word) & u64::MAX >> unused_bits(usize::from(self.len)) == self.word
    }
}

/// The first eight bytes, the first lowest; zeros behind them where there are fewer.
#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
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
    fn new(filed: BTreeMap<usize, ToFile>) -> Self {
        Self(filed.into_iter().map(|(bytes, filed)| (bytes, Grams::new(filed))).collect())
    }
}

impl Short {
    fn new(filed: [ToFile; 3]) -> Option<Box<Self>> {
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
    let word = word_of(bytes);
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
    fn new(mut filed: ToFile) -> Self {
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

/// Grams of each kind, to be filed.
#[derive(Default)]
struct Parts {
    /// How many of the literals have a gram: what rules name often is frequent in events.
    counts: HashMap<u32, u32, NameHash>,
    whole: ToFile,
    start: BTreeMap<usize, ToFile>,
    end: BTreeMap<usize, ToFile>,
    long: ToFile,
    stride: usize,
    /// Bytes of the shortest literals that are probed for by strides.
    long_min: usize,
    /// With a gram of two, three and four bytes.
    short: [ToFile; 3],
    single: Vec<(u8, u32)>,
}

impl Parts {
    fn of(literals: &[(u32, Place, &[u8])]) -> Self {
        let lengths = literals
            .iter()
            .filter(|(_, place, _)| *place == Place::Anywhere)
            .map(|(.., literal)| literal.len());
        let few = lengths.filter(|len| (GRAM..SHORT_END).contains(len)).count() <= SHORT_MAX;
        let long_min = if few { SHORT_END } else { GRAM };
        let mut parts = Self { long_min, stride: stride(literals, long_min), ..Self::default() };
        for gram in literals.iter().flat_map(|(.., literal)| windows(literal)) {
            let count = parts.counts.entry(gram).or_default();
            *count = count.saturating_add(1);
        }
        parts
    }

    fn file(&mut self, number: u32, place: Place, literal: &[u8]) {
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
        match (place, literal.len()) {
            (Place::Whole, _) => self.whole.push((of_whole(literal), at_end())),
            (Place::End, _) => {
                self.end.entry(edge).or_default().push((hashed(last(literal)(edge)), at_end()));
            }
            (Place::Start, 0..=WORD) => {
                self.start.entry(edge).or_default().push((hashed(first(literal)(edge)), at_start()));
            }
            (Place::Anywhere, 0..=1) => self.single.extend(literal.first().map(|byte| (*byte, number))),
            (Place::Anywhere, 2..GRAM) => {
                let grams = self.short.iter_mut().zip(short_grams(literal));
                if let Some((filed, gram)) = grams.last() {
                    filed.push((gram, at_start()));
                }
            }
            (Place::Anywhere, len) if len < self.long_min => {
                let [_, _, fours] = &mut self.short;
                fours.extend(rarest(1));
            }
            (Place::Anywhere | Place::Start, _) => self.long.extend(rarest(self.stride)),
        }
    }
}

/// The widest stride that meets all literals of so many bytes and more.
fn stride(literals: &[(u32, Place, &[u8])], long_min: usize) -> usize {
    let is_long = |place: Place, bytes: usize| match place {
        Place::Anywhere => bytes >= long_min,
        Place::Start => bytes > WORD,
        Place::End | Place::Whole => false,
    };
    let long = literals.iter().filter(|(_, place, literal)| is_long(*place, literal.len()));
    let shortest = long.clone().map(|(.., literal)| literal.len()).min().unwrap_or_default();
    let count = long.count();
    let fits = |stride: &usize| {
        shortest >= stride.saturating_add(GRAM - 1) && count.saturating_mul(*stride) <= GRAMS_WIDE_MAX
    };
    STRIDES.into_iter().find(fits).unwrap_or(1)
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
        // So many short ones that every byte is probed for all of them.
        let many = prop::collection::vec((Just(Place::Anywhere), "[a-c]{4,6}|[ab]{7,12}"), 150..250);
        prop_oneof![any, long, longer, many]
    }

    proptest! {
        /// Few letters, so that literals lie in texts, in each other and over their ends.
        #[test]
        fn finds_what_is_there_and_nothing_else(
            literals in literals(),
            texts in prop::collection::vec("[abABđ]{0,40}|[a-dA-D@`]{0,12}|[abAB]{20,90}|[a-cđ]{50,140}", 1..10),
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
