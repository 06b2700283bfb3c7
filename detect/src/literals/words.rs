//! Bytes of texts and literals as words: grams, the edges of a text, and comparisons of eight bytes at once.

/// Bytes of a gram.
pub(super) const GRAM: usize = 4;
/// Bytes of a word: most that a gram at an edge of a text has, and that are filed of a literal.
pub(super) const WORD: usize = 8;
/// Bit 5 of four bytes.
const CASE: u32 = 0x2020_2020;
const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte of a word.
const HIGH: u64 = ONES << 7;
/// Bit 5 of each.
const WORD_CASE: u64 = ONES << 5;
/// Spreads a gram over 64 bits: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The first eight bytes, the first lowest; zeros behind them where there are fewer.
#[inline]
pub(super) fn word_of(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Whether a piece of text is a literal of the same length, but for the case of ASCII.
#[inline]
pub(super) fn is_same(piece: &[u8], literal: &[u8]) -> bool {
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
pub(super) fn lower(word: u64) -> u64 {
    let seven = word & !HIGH;
    let above_z = seven.wrapping_add(ONES.wrapping_mul(u64::from(0x7f - b'Z')));
    let from_a = seven.wrapping_add(ONES.wrapping_mul(u64::from(0x80 - b'A')));
    word | (from_a & !above_z & !word & HIGH) >> 2
}

/// Four bytes as they are probed for, in whatever case they stand.
pub(super) fn gram(bytes: [u8; GRAM]) -> u32 {
    u32::from_le_bytes(bytes) | CASE
}

/// Bytes as the tables know them: bits on which all of theirs bear.
pub(super) fn hashed(bytes: u64) -> u32 {
    u32::try_from(bytes.wrapping_mul(SPREAD) >> 32).unwrap_or_default()
}

/// So many of the first bytes, at most eight; fewer where there are fewer.
pub(super) fn first(bytes: &[u8]) -> impl Fn(usize) -> u64 + use<> {
    let word = word_of(bytes);
    move |count| (word | WORD_CASE) & u64::MAX >> unused_bits(count)
}

/// So many of the last bytes, at most eight.
pub(super) fn last(bytes: &[u8]) -> impl Fn(usize) -> u64 + use<> {
    let word = match bytes.last_chunk() {
        Some(chunk) => u64::from_be_bytes(*chunk),
        None => bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    move |count| (word | WORD_CASE) & u64::MAX >> unused_bits(count)
}

/// Bits of a word that so many bytes leave free; not all.
pub(super) fn unused_bits(bytes: usize) -> u32 {
    u32::try_from(WORD.saturating_sub(bytes.max(1))).unwrap_or_default() << 3
}

pub(super) fn of_whole(bytes: &[u8]) -> u32 {
    let edge = bytes.len().min(WORD);
    // Turned by bits that are no whole bytes: words of equal bytes would wipe each other out.
    let edges = last(bytes)(edge) ^ first(bytes)(edge).rotate_left(29);
    hashed(edges).wrapping_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
}

pub(super) fn of_end(bytes: &[u8]) -> u32 {
    hashed(last(bytes)(bytes.len().min(WORD)))
}

pub(super) fn windows(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.array_windows().map(|window| gram(*window))
}

/// The first two, three and four bytes, as far as there are so many.
#[inline]
pub(super) fn short_grams(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let byte = |place: usize| bytes.get(place).copied().unwrap_or_default();
    let two = gram([byte(0), byte(1), 0, 0]);
    let three = (bytes.len() > 2).then(|| gram([byte(0), byte(1), byte(2), 0]));
    let four = bytes.first_chunk().copied().map(gram);
    std::iter::once(two).chain(three).chain(four)
}

/// A gram with its bits mixed.
pub(crate) fn spread(gram: u32) -> u32 {
    hashed(gram.into())
}
