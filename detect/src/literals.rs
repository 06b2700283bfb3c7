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
//!
//! The search stands here. [`filing`] decides under what each literal is filed, [`grams`] has the tables that probes look into,
//! [`words`] takes bytes as words.

mod filing;
mod grams;
mod words;

use crate::predicate::TextOp;
use filing::Parts;
use grams::{EdgeGrams, Filed, Grams, Short};
pub(crate) use words::spread;
use words::{first, gram, hashed, is_same, last, of_whole, short_grams};

/// Most probes for long literals that cost no more than to look up what was found in the same text before.
const CHEAP_PROBES_MAX: usize = 16;

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
        let is_cheap = long.is_empty() || text.len() <= stride.saturating_mul(CHEAP_PROBES_MAX);
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
        if !table.whole.is_empty() {
            self.probe(&table.whole, of_whole(bytes), bytes.len());
        }
        self.probe_edge(&table.start, first(bytes), 0);
        self.probe_edge(&table.end, last(bytes), bytes.len());
        if !table.long.is_empty() {
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

fn is_number(literal: &str) -> bool {
    literal.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
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
        let largest = tables.filter_map(Grams::largest_bucket).max();
        assert!((1..=filing::CROWD_MAX).contains(&largest.unwrap_or_default()), "{largest:?}");
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
