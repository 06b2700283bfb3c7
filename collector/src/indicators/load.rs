//! Feeds of the configuration become one set.
//!
//! Files, compressed or not, are read as streams and in the order of their names, so that the same files give the same set. A feed's files may be
//! replaced at any time: who writes them renames them into place.
//!
//! Limits: [`FILES_MAX`] files a feed, [`FILE_BYTES_MAX`] of each, decompressed, and those of [`detect::limits`] for the set.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use detect::{Added, IndicatorError, IndicatorKind, Indicators, IndicatorsBuilder, NewIndicator, Severity};
use event::Micros;
use glob::MatchOptions;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use prometheus::IntGaugeVec;
use serde::{Deserialize, Deserializer};

use super::fault::{Faults, FeedError, Place};
use super::{csv, list, misp, stix};
use crate::config::{FeedFormat, IndicatorFeed};
use crate::expand::expanded;
use crate::metrics;

/// Files of one feed. The largest public MISP feed has two thousand.
const FILES_MAX: usize = 100_000;
/// Most that is read of one file: ten million entries of a bundle.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// Digits of a date without signs between them.
const DATE_DIGITS: usize = "20260304".len();

/// What a pattern matches: no hidden file, as in a folder.
const VISIBLE: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    loaded: metrics::gauges("vonggac_indicators_loaded_count", "Indicators in force.", &["feed", "kind"]),
    left_out: metrics::gauges(
        "vonggac_indicators_left_out_count",
        "Entries of feeds that are not in force, by reason.",
        &["feed", "reason"],
    ),
    expired: metrics::gauges(
        "vonggac_indicators_expired_count",
        "Indicators that had expired when their feed was loaded.",
        &["feed"],
    ),
    unreadable: metrics::gauges(
        "vonggac_indicators_unreadable_count",
        "Files of the feed that could not be read at the last attempt to load it.",
        &["feed"],
    ),
});

struct Metrics {
    loaded: IntGaugeVec,
    left_out: IntGaugeVec,
    expired: IntGaugeVec,
    unreadable: IntGaugeVec,
}

/// The set of all feeds, and what became of each.
#[derive(Debug, Default)]
pub struct Loaded {
    pub indicators: Indicators,
    pub(crate) reports: Vec<Report>,
}

/// What became of a feed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) feed: String,
    /// Files read.
    pub(crate) files: u64,
    /// Loaded, in the order of [`IndicatorKind::ALL`].
    pub(crate) kinds: [u64; IndicatorKind::ALL.len()],
    /// Loaded, though their time is over: they match what happened before.
    pub(crate) expired: u64,
    /// Named by the feed before.
    pub(crate) repeated: u64,
    /// Not meant to be looked for: revoked, deleted, without `to_ids`.
    pub(crate) passed_over: u64,
    /// Addresses of whoever uses them.
    pub(crate) local: u64,
    /// Entries that are no indicator.
    pub(crate) faults: Faults,
    /// Files that could not be read, or not to their end.
    pub(crate) problems: Vec<FeedError>,
}

impl Loaded {
    /// Files that could not be read.
    pub(crate) fn problems(&self) -> impl Iterator<Item = String> {
        self.reports
            .iter()
            .flat_map(|report| report.problems.iter().map(|problem| format!("{}: {problem}", report.feed)))
    }

    /// Tells the metrics; of what is in force only if this set is.
    pub(crate) fn measure(&self, is_in_force: bool) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        METRICS.unreadable.reset();
        for report in &self.reports {
            let unreadable = i64::try_from(report.problems.len()).unwrap_or(i64::MAX);
            METRICS.unreadable.with_label_values(&[&report.feed]).set(unreadable);
        }
        if !is_in_force {
            return;
        }
        [&METRICS.loaded, &METRICS.left_out, &METRICS.expired].into_iter().for_each(IntGaugeVec::reset);
        for report in &self.reports {
            let feed = report.feed.as_str();
            for (kind, count) in IndicatorKind::ALL.iter().zip(report.kinds).filter(|(_, count)| *count > 0) {
                METRICS.loaded.with_label_values(&[feed, kind.as_str()]).set(number(count));
            }
            METRICS.expired.with_label_values(&[feed]).set(number(report.expired));
            for (reason, count) in report.left_out() {
                METRICS.left_out.with_label_values(&[feed, reason]).set(number(count));
            }
        }
    }
}

impl Report {
    pub(crate) fn loaded(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// What is not in force, by reason.
    pub(crate) fn left_out(&self) -> [(&'static str, u64); 4] {
        [
            ("not_understood", self.faults.count()),
            ("local_address", self.local),
            ("repeated", self.repeated),
            ("not_for_detection", self.passed_over),
        ]
    }
}

/// Loads all feeds.
pub fn load(feeds: &[IndicatorFeed], now: Micros) -> Loaded {
    let mut builder = IndicatorsBuilder::default();
    let reports = feeds.iter().map(|feed| read(feed, &mut builder, now)).collect();
    Loaded { indicators: builder.build(), reports }
}

fn read(feed: &IndicatorFeed, builder: &mut IndicatorsBuilder, now: Micros) -> Report {
    let mut report = Report { feed: feed.feed.clone(), ..Report::default() };
    let files = match files(feed) {
        Ok(files) => files,
        Err(error) => {
            report.problems.push(error);
            return report;
        }
    };
    for path in files {
        let mut sink = Sink { feed, path: path.display().to_string(), builder, report: &mut report, now };
        match read_file(&path, &mut sink) {
            Ok(()) => report.files += 1,
            Err(error) => report.problems.push(error),
        }
    }
    report
}

fn read_file(path: &Path, sink: &mut Sink<'_>) -> Result<(), FeedError> {
    let input = expanded(path).map_err(|source| FeedError::Read { path: path.into(), source })?;
    let mut input = input.take(FILE_BYTES_MAX);
    match sink.feed.format {
        FeedFormat::Csv => csv::read(&mut input, path, sink),
        FeedFormat::List => list::read(&mut input, path, sink),
        FeedFormat::Stix => stix::read(&mut input, path, sink),
        FeedFormat::Misp => misp::read(&mut input, path, sink),
    }?;
    match input.limit() {
        0 => Err(FeedError::TooLong { path: path.into(), max: FILE_BYTES_MAX }),
        _ => Ok(()),
    }
}

/// The files of a feed, in the order of their names.
fn files(feed: &IndicatorFeed) -> Result<Vec<PathBuf>, FeedError> {
    let path = &feed.path;
    let found = match path.metadata() {
        Ok(metadata) if metadata.is_dir() && feed.format == FeedFormat::Misp => misp::files(path)?,
        Ok(metadata) if metadata.is_dir() => walk(path)?,
        Ok(_) => vec![path.clone()],
        Err(_) => matching(path)?,
    };
    match found.len() {
        0 => Err(FeedError::Missing { path: path.clone() }),
        1..=FILES_MAX => Ok(found),
        _ => Err(FeedError::TooManyFiles { path: path.clone(), max: FILES_MAX }),
    }
}

/// All files below a folder but hidden ones: a file under way is called `.NAME` by those who rename it into place.
pub(super) fn walk(folder: &Path) -> Result<Vec<PathBuf>, FeedError> {
    let is_hidden = |entry: &walkdir::DirEntry| {
        entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".")
    };
    let mut found = Vec::new();
    let tree = walkdir::WalkDir::new(folder).follow_links(true).sort_by_file_name();
    for entry in tree.into_iter().filter_entry(|entry| !is_hidden(entry)).take(FILES_MAX * 2) {
        let entry = entry.map_err(|error| FeedError::Read { path: folder.into(), source: error.into() })?;
        if entry.file_type().is_file() {
            found.push(entry.into_path());
        }
    }
    Ok(found)
}

fn matching(pattern: &Path) -> Result<Vec<PathBuf>, FeedError> {
    let malformed = |detail: String| FeedError::Malformed {
        path: pattern.into(),
        expected: "a path or a pattern of one",
        detail,
    };
    let text = pattern.to_str().ok_or_else(|| malformed("not UTF-8".into()))?;
    let paths = glob::glob_with(text, VISIBLE).map_err(|error| malformed(error.to_string()))?;
    let paths = paths.map(|found| {
        found.map_err(|error| FeedError::Read { path: error.path().into(), source: error.into() })
    });
    // A link that leads nowhere is a file that cannot be read, and no other thing than a file is meant.
    let is_meant = |path: &PathBuf| path.metadata().map_or(true, |metadata| metadata.is_file());
    paths.filter(|found| found.as_ref().map_or(true, is_meant)).take(FILES_MAX + 1).collect()
}

/// What a reader found of one indicator. Empty is not said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found<'f> {
    /// None: as the feed's configuration says, else by its shape.
    pub(super) kind: Option<IndicatorKind>,
    pub(super) value: &'f str,
    pub(super) severity: Option<Severity>,
    pub(super) confidence: Option<u8>,
    pub(super) tlp: &'f str,
    pub(super) name: &'f str,
    pub(super) description: &'f str,
    pub(super) labels: &'f [&'f str],
    pub(super) valid_from: Option<Micros>,
    pub(super) valid_until: Option<Micros>,
}

/// Where readers put what they find in one file.
pub(super) struct Sink<'l> {
    pub(super) feed: &'l IndicatorFeed,
    path: String,
    builder: &'l mut IndicatorsBuilder,
    report: &'l mut Report,
    now: Micros,
}

impl Sink<'_> {
    pub(super) fn take(&mut self, place: Place, found: &Found<'_>) {
        let kind = found.kind.or(self.feed.kind).or_else(|| IndicatorKind::guess(found.value));
        let Some(kind) = kind else {
            return self.not_understood("looks like no kind of indicator".into(), place, found.value);
        };
        let new = NewIndicator {
            kind,
            value: found.value,
            feed: &self.feed.feed,
            path: &self.path,
            severity: found.severity.unwrap_or(self.feed.severity),
            confidence: found.confidence,
            tlp: found.tlp,
            // Who has nothing to say repeats the value.
            name: if found.name == found.value { "" } else { found.name },
            description: found.description,
            labels: found.labels,
            valid_from: found.valid_from,
            valid_until: found.valid_until,
            local_allowed: self.feed.allow_local,
        };
        match self.builder.add(&new) {
            Ok(Added::New) => {
                let count = IndicatorKind::ALL.iter().zip(&mut self.report.kinds);
                count.filter(|(of, _)| **of == kind).for_each(|(_, count)| *count += 1);
                self.report.expired += u64::from(found.valid_until.is_some_and(|until| until <= self.now));
            }
            Ok(Added::Known) => self.report.repeated += 1,
            Err(IndicatorError::Local) => self.report.local += 1,
            Err(error) => self.not_understood(error.to_string(), place, found.value),
        }
    }

    /// Counts and names an entry that is no indicator.
    pub(super) fn not_understood(&mut self, reason: String, place: Place, value: &str) {
        self.report.faults.add(reason, &self.path, place, value);
    }

    /// Counts an entry that is not meant to be looked for.
    pub(super) fn pass_over(&mut self) {
        self.report.passed_over += 1;
    }
}

/// The kinds and values of an entry whose type is named as MISP does: `domain|ip` is two values, of `filename|sha256` only the
/// second is an indicator, and of `ip-dst|port` only the first.
pub(super) fn typed<'v>(named: &str, value: &'v str) -> Vec<(IndicatorKind, &'v str)> {
    let named = if named == "malware-sample" { "filename|md5" } else { named };
    // The last value may have the sign itself, as URLs do.
    let parts = named.split('|').zip(value.splitn(named.split('|').count(), '|'));
    parts.filter_map(|(named, value)| Some((IndicatorKind::named(named)?, value))).collect()
}

/// `null` in the place of what is not said.
pub(super) fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A moment as feeds write it: RFC 3339, the same without a zone (then UTC), a date, or seconds since 1970. Up to eight digits
/// are a date (`20260304`); milliseconds would be a time that no feed means, and are none.
pub(super) fn moment(text: &str) -> Option<Micros> {
    let text = text.trim().trim_end_matches(" UTC");
    let civil = || text.parse::<DateTime>().or_else(|_| Ok(text.parse::<Date>()?.at(0, 0, 0, 0)));
    let utc = |time: DateTime| TimeZone::UTC.to_timestamp(time);
    let is_seconds = text.len() > DATE_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    let moment = match is_seconds {
        true => text.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok()),
        false => text.parse().or_else(|_: jiff::Error| civil().and_then(utc)).ok(),
    };
    moment.map(Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests;
