//! Where a provision stands: the act and its article, told as the country tells it.
//!
//! In a decree's file a citation is `ACT ARTICLE`, or `ACT` alone for the act as a whole; several are parted by `; `: `nd85 9.2.a`,
//! `nd85 12; nd85 16`. The act says how the parts of an article are called ("Điều", "khoản", "điểm"); where it names one part
//! only, the number is told whole.

use std::collections::HashSet;

use serde::Deserialize;

use crate::level::{Lang, Text};

/// A law, decree, circular or standard that provisions stand in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Act {
    pub(crate) id: String,
    pub(crate) title: Text,
    parts: Parts,
}

/// What the parts of an article are called, from the largest.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
struct Parts {
    vi: Vec<String>,
    en: Vec<String>,
}

/// Articles of acts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Citation(Vec<(Act, Option<String>)>);

impl Citation {
    /// Reads `ACT ARTICLE; ...`; the error says what was expected.
    pub(super) fn read(text: &str, acts: &[Act]) -> Result<Self, String> {
        text.split(';').map(|one| Self::one(one.trim(), acts)).collect::<Result<_, _>>().map(Self)
    }

    fn one(text: &str, acts: &[Act]) -> Result<(Act, Option<String>), String> {
        let (id, article) = text.split_once(' ').map_or((text, None), |(id, article)| (id, Some(article)));
        let act = acts.iter().find(|act| act.id == id);
        let act = act.ok_or_else(|| format!("expected the id of an [[act]], found {id:?}"))?;
        let valid = |part: &str| !part.is_empty() && part.chars().all(char::is_alphanumeric);
        if let Some(article) = article.filter(|article| !article.split('.').all(valid)) {
            return Err(format!("expected an article such as 9.2.a, found {article:?}"));
        }
        Ok((act.clone(), article.map(str::to_owned)))
    }

    /// As it stands in the file: for programs.
    pub(crate) fn codes(&self) -> Vec<String> {
        let code = |(act, article): &(Act, Option<String>)| match article {
            Some(article) => format!("{} {article}", act.id),
            None => act.id.clone(),
        };
        self.0.iter().map(code).collect()
    }

    /// "Nghị định ..., Điều 9 khoản 2 điểm a". An act that is cited several times in a row is named once.
    pub(crate) fn shown(&self, lang: Lang) -> String {
        let mut shown = String::new();
        let mut last = None;
        for (act, article) in &self.0 {
            let again = last.replace(&act.id) == Some(&act.id);
            if !again {
                shown.push_str(if shown.is_empty() { "" } else { "; " });
                shown.push_str(act.title.of(lang));
            }
            if let Some(article) = article {
                shown.push_str(", ");
                shown.push_str(&act.spelled(article, lang));
            }
        }
        shown
    }
}

impl Act {
    fn spelled(&self, article: &str, lang: Lang) -> String {
        let names = lang.pick(&self.parts.vi, &self.parts.en);
        let numbers: Vec<&str> = article.split('.').collect();
        match names.as_slice() {
            [] => article.to_owned(),
            [name] => format!("{name} {article}"),
            names if numbers.len() > names.len() => article.to_owned(),
            names => {
                let parts = names.iter().zip(&numbers).map(|(name, number)| format!("{name} {number}"));
                parts.collect::<Vec<_>>().join(" ")
            }
        }
    }
}

/// The first id that two acts share.
pub(super) fn twice(acts: &[Act]) -> Option<&str> {
    let mut seen = HashSet::new();
    acts.iter().map(|act| &*act.id).find(|id| !seen.insert(*id))
}
