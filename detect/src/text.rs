//! Text as rules compare it.
//!
//! Sigma compares without case unless a rule says `|cased`. Both sides are brought to NFC and, without case, every character
//! is lowered on its own (Đ is đ, and no character's fate depends on its neighbours), with the final sigma as sigma and the
//! long s as s. The five dashes that `|windash` treats as one become `-`.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Combining grave accent.
const FIRST_MARK: char = '\u{300}';

/// How both sides are prepared before they are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    Exact,
    Folded,
    ExactDashed,
    FoldedDashed,
}

impl Form {
    pub(crate) const COUNT: usize = 4;

    pub(crate) fn new(cased: bool, dashed: bool) -> Self {
        match (cased, dashed) {
            (true, false) => Self::Exact,
            (false, false) => Self::Folded,
            (true, true) => Self::ExactDashed,
            (false, true) => Self::FoldedDashed,
        }
    }

    /// Position among the forms that a [`Scratch`](crate::Scratch) remembers.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Exact => 0,
            Self::Folded => 1,
            Self::ExactDashed => 2,
            Self::FoldedDashed => 3,
        }
    }
}

/// Appends the text in a form.
pub(crate) fn append(out: &mut String, text: &str, form: Form) {
    match form {
        Form::Exact if is_nfc(text) => out.push_str(text),
        Form::Exact => out.extend(text.nfc()),
        Form::Folded if text.is_ascii() => append_ascii_lower(out, text),
        Form::Folded if is_nfc(text) => out.extend(text.chars().flat_map(lower)),
        Form::Folded => out.extend(text.nfc().flat_map(lower)),
        Form::ExactDashed => out.extend(text.nfc().map(dash)),
        Form::FoldedDashed => out.extend(text.nfc().flat_map(lower).map(dash)),
    }
}

/// The text in a form.
pub(crate) fn formed(text: &str, form: Form) -> String {
    let mut out = String::with_capacity(text.len());
    append(&mut out, text, form);
    out
}

/// Every character lowered, of text that is in NFC already: folding is not to be done twice, since what is folded need not be
/// in NFC any more (`H` and a combining line below have no common character, `h` and the line have).
pub(crate) fn lowered(text: &str) -> String {
    text.chars().flat_map(lower).collect()
}

/// Whether the text is surely in NFC already, as every text is that has only characters before the first combining mark.
pub(crate) fn is_nfc(text: &str) -> bool {
    text.is_ascii()
        || text.chars().all(|char| char < FIRST_MARK)
        || is_nfc_quick(text.chars()) == IsNormalized::Yes
}

/// At most so many bytes of a text, cut between characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or(text)
}

fn append_ascii_lower(out: &mut String, text: &str) {
    let start = out.len();
    out.push_str(text);
    if let Some(appended) = out.get_mut(start..) {
        appended.make_ascii_lowercase();
    }
}

fn lower(char: char) -> impl Iterator<Item = char> {
    char.to_lowercase().map(|char| match char {
        'ς' => 'σ',
        'ſ' => 's',
        other => other,
    })
}

/// Sigma's `|windash`: `-`, `/`, en dash, em dash and horizontal bar stand for each other.
fn dash(char: char) -> char {
    match char {
        '/' | '\u{2013}' | '\u{2014}' | '\u{2015}' => '-',
        other => other,
    }
}
