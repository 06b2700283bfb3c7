//! Text in the languages of the operators.

use serde::Deserialize;
use unicode_normalization::is_nfc;

/// A language that people are answered in.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, Eq, PartialEq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Lang {
    /// Vietnamese
    Vi,
    /// English
    #[default]
    En,
}

impl Lang {
    /// One of two texts.
    pub(crate) fn pick<T>(self, vi: T, en: T) -> T {
        match self {
            Self::Vi => vi,
            Self::En => en,
        }
    }
}

/// A text in every language, none of them empty, all in NFC.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "Draft")]
pub(crate) struct Text {
    vi: String,
    en: String,
}

impl Text {
    pub(crate) fn of(&self, lang: Lang) -> &str {
        lang.pick(&self.vi, &self.en)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    vi: String,
    en: String,
}

impl TryFrom<Draft> for Text {
    type Error = String;

    fn try_from(draft: Draft) -> Result<Self, String> {
        for (language, text) in [("vi", &draft.vi), ("en", &draft.en)] {
            if text.trim().is_empty() {
                return Err(format!("{language}: expected a text, found an empty one"));
            }
            if !is_nfc(text) {
                return Err(format!("{language}: expected text in Unicode's form NFC, found {text:?}"));
            }
        }
        Ok(Self { vi: draft.vi, en: draft.en })
    }
}
