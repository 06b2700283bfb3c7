//! `[[indicators]]`: the feeds of indicators of compromise.

use std::collections::HashSet;
use std::path::PathBuf;

use detect::{IndicatorKind, Severity};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A feed: files of one form under one name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct IndicatorFeed {
    /// The name in alerts and metrics.
    pub feed: String,
    /// A file, a folder with all below it, or a pattern.
    pub path: PathBuf,
    pub format: FeedFormat,
    /// The kind of all values, where the file does not say. Without it each value's kind is guessed by its shape.
    #[serde(default, deserialize_with = "kind")]
    pub kind: Option<IndicatorKind>,
    /// Names of the columns of CSV files whose first line does not have them. A column with another name than those that are
    /// read ([`csv`](crate::indicators)) is left alone.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Severity of the indicators that do not say one.
    #[serde(default = "medium", deserialize_with = "severity")]
    pub severity: Severity,
    /// Take private, loopback and reserved addresses, too: for a list of one's own.
    #[serde(default)]
    pub allow_local: bool,
}

/// How the files of a feed are written.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FeedFormat {
    /// Values separated by commas, with a line that names the columns
    Csv,
    /// One value a line; `#` begins a comment
    List,
    /// STIX 2.1 bundles
    Stix,
    /// A MISP feed (manifest.json and its events), or exported events
    Misp,
}

/// What is wrong with the feeds, if anything: the key, what was expected, what was found.
pub(super) fn fault(feeds: &[IndicatorFeed]) -> Option<(&'static str, &'static str, String)> {
    let mut names = HashSet::new();
    for feed in feeds {
        if !super::is_plain_name(&feed.feed) {
            let expected = "1 to 253 letters, digits, dots, colons, dashes and underscores";
            return Some(("indicators.feed", expected, format!("{:?}", feed.feed)));
        }
        if !names.insert(&feed.feed) {
            return Some(("indicators.feed", "a name for one feed only", format!("{:?} twice", feed.feed)));
        }
        if feed.format != FeedFormat::Csv && !feed.columns.is_empty() {
            return Some((
                "indicators.columns",
                "format = \"csv\" where columns are named",
                feed.feed.clone(),
            ));
        }
    }
    None
}

fn medium() -> Severity {
    Severity::Medium
}

fn severity<'de, D: Deserializer<'de>>(from: D) -> Result<Severity, D::Error> {
    let name = String::deserialize(from)?;
    let expected = "expected informational, low, medium, high or critical";
    Severity::named(&name).ok_or_else(|| D::Error::custom(format!("{expected}, found {name:?}")))
}

fn kind<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IndicatorKind>, D::Error> {
    let name = String::deserialize(from)?;
    let kinds = IndicatorKind::ALL.map(IndicatorKind::as_str).join(", ");
    let unknown = || D::Error::custom(format!("expected one of {kinds}, found {name:?}"));
    IndicatorKind::named(&name).map(Some).ok_or_else(unknown)
}
