//! Which of many literals a text has, found in one pass over the text.
//!
//! A gram is some bytes of a text in a row, four where nothing else is said. Each literal is filed under a few of its grams,
//! chosen so that the text need not be probed everywhere:
//! - as the whole text: under its first and last eight bytes and its length; the edges of the text are probed;
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
//! Where many end alike (hosts below one domain), their ends tell nothing: they are filed as if they might stand anywhere.
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
/// Most literals of four bytes and more that count as short.
const SHORT_MAX: usize = 64;
/// Most grams of a set with a stride, as each has so many grams: tables that outgrow the nearest cache cost more than probes.
const GRAMS_WIDE_MAX: usize = 4096;
/// Bytes of a word: most that a gram at an edge of a text has, and that are filed of a literal.
const WORD: usize = 8;
/// Bytes of a word before a gram in the middle of a literal.
const LEAD: usize = 2;
/// Most literals at the end, or of whole texts, that are filed under one gram: each is looked at wherever that is met.
const CROWD_MAX: u32 = 64;
/// Of a literal's grams so many of the first are chosen from: their places fit into [`Filed::offset`].
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
    other: Option<Table>,
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
    /// Bytes of the literal before the place that is probed; only where that is not an edge of the text.
    offset: u16,
    /// Bytes of the word before that place.
    lead: u8,
    /// Bytes of the word, at most [`WORD`].
    len: u8,
}

impl Literals {
    /// Of literals that are not empty.
    pub(crate) fn new<T: AsRef<str>>(literals: &[(Place, T)]) -> Self {
        let numbered = (0_u32..).zip(texts(literals));
        let numbered = numbered.map(|(number, (place, literal))| (number, place, literal.as_bytes()));
        let (ascii, other): (Vec<_>, Vec<_>) = numbered.partition(|(.., literal)| literal.is_ascii());
        Self {
            ascii: Table::new(&ascii),
            other: (!other.is_empty()).then(|| Table::new(&other)),
            has_number: texts(literals).any(|(_, literal)| is_number(literal)),
            bytes_min: texts(literals).map(|(_, literal)| literal.len()).min().unwrap_or_default(),
            bytes: texts(literals).flat_map(|(_, literal)| literal.bytes()).collect(),
            literals: spans(texts(literals)),
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
    pub(crate) fn is_too_short(&self, text: &str) -> bool {
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
        if let Some(other) = self.other.as_ref().filter(|_| !text.is_ascii()) {
            search.probe_table(other);
        }
    }
}

impl Table {
    fn new(literals: &[(u32, Place, &[u8])]) -> Self {
        let parts = Parts::of(literals);
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
}

fn texts<T: AsRef<str>>(literals: &[(Place, T)]) -> impl Iterator<Item = (Place, &str)> {
    literals.iter().map(|(place, literal)| (*place, literal.as_ref()))
}

/// Where each literal is when all stand one behind the other.
fn spans<'l>(literals: impl Iterator<Item = (Place, &'l str)>) -> Vec<Literal> {
    let mut end = 0_u32;
    let spans = literals.map(|(place, literal)| {
        let start = end;
        end = end.saturating_add(u32::try_from(literal.len()).unwrap_or(u32::MAX));
        Literal { start, end, place }
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
    /// Looks for all literals of a table.
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

    /// `edge` gives so many bytes of the text that lie at an edge, `position` is that edge.
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
            Place::Anywhere | Place::Start => position.checked_sub(usize::from(filed.offset))?,
            Place::Whole => 0,
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

/// Bytes as the tables know them: bits on which all of theirs bear.
fn hashed(bytes: u64) -> u32 {
    u32::try_from(bytes.wrapping_mul(SPREAD) >> 32).unwrap_or_default()
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
    let edge = bytes.len().min(WORD);
    // Turned by bits that are no whole bytes: words of equal bytes would wipe each other out.
    let edges = last(bytes)(edge) ^ first(bytes)(edge).rotate_left(29);
    hashed(edges).wrapping_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
}

fn of_end(bytes: &[u8]) -> u32 {
    hashed(last(bytes)(bytes.len().min(WORD)))
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

/// A gram with its bits mixed.
pub(crate) fn spread(gram: u32) -> u32 {
    hashed(gram.into())
}

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
struct Parts {
    /// How often the literals have a gram: what rules name often is frequent in events.
    counts: HashMap<u32, u32, NameHash>,
    whole: ToFile,
    start: BTreeMap<usize, ToFile>,
    end: BTreeMap<usize, ToFile>,
    long: ToFile,
    stride: usize,
    /// With a gram of two, three and four bytes.
    short: [ToFile; 3],
    single: Vec<(u8, u32)>,
}

impl Parts {
    fn of(literals: &[(u32, Place, &[u8])]) -> Self {
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
        // So many long ones that every byte is probed, and such as end alike.
        let wide = prop::collection::vec((place(), "[ab]{11,14}|[abc]{11,40}"), 520..600);
        let crowd = prop::collection::vec((place(), "[ab]{1,9}cccccccc|cccccccc[ab]{0,3}cccccccc"), 30..90);
        prop_oneof![4 => any, 2 => long, 2 => longer, 2 => many, 1 => wide, 2 => crowd]
    }

    #[test]
    fn what_ends_alike_is_not_compared_one_by_one() {
        let literals: Vec<_> = (0..2_000)
            .map(|number| {
                let place = if number < 1_000 { Place::End } else { Place::Whole };
                (place, format!("host{:04}.example.org", number % 1_000))
            })
            .collect();
        let Table { whole, end, long, .. } = Literals::new(&literals).ascii;
        let tables = end.0.iter().map(|(_, grams)| grams).chain([&whole, &long]);
        let largest = tables.flat_map(|grams| grams.buckets.windows(2)).map(|ends| ends[1] - ends[0]).max();
        assert!((1..=CROWD_MAX).contains(&largest.unwrap_or_default()), "{largest:?}");
        assert_eq!(found(&literals, "host0042.example.org"), [42, 1_042]);
    }

    #[test]
    fn what_stands_at_the_start_is_named_once() {
        let literals = Literals::new(&[(Place::Start, r"c:\windows\system32".to_owned())]);
        let mut times = 0;
        literals.find(&r"c:\windows\system32".repeat(9), |_| times += 1);
        assert_eq!(times, 1);
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
