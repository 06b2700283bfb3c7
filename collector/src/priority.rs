//! The folder of levels: the decrees that set them ([`crate::level`]), and what a level means for an alert and for an event: its
//! priority and the response clocks of that ([`response`]; both in `priority.toml`), how long it is kept (`retention.toml`), and
//! which log sources there are (`coverage.toml`). These are tables that a site may change; all are checked whole when they are
//! read, so that no cell can be missing when an alert comes. Every other `*.toml` of the folder is a decree; folders in it are
//! not looked at.
//!
//! What this never does: shorten a retention below what the decree in force asks.

mod response;

use std::path::{Path, PathBuf};

use detect::Severity;
use event::Micros;
use jiff::civil::Date;
use serde::Deserialize;
use thiserror::Error;

pub(crate) use response::Dues;

use crate::clock::zone;
use crate::coverage::SourceTable;
use crate::incident::first_due;
use crate::level::{Decree, DecreeError, Decrees, Lang, RetentionMinimum};
use crate::priority::response::{ResponseClocks, ResponseTimes};

/// Levels 0 (not classified) to 5.
pub(crate) const LEVELS: usize = 6;

/// Days that an event is kept at the least where no decree says more: else it would be gone before anyone could look.
const RETENTION_DAYS_MIN: u16 = 1;
/// ... and at the most: ten years; each further value of it is a further partition a day.
const RETENTION_DAYS_MAX: u16 = 3650;

/// The files of the folder that are no decrees.
const PRIORITY_FILE: &str = "priority.toml";
const RETENTION_FILE: &str = "retention.toml";
const COVERAGE_FILE: &str = "coverage.toml";

/// Why a table or a decree is not taken.
#[derive(Debug, Error)]
pub enum LevelsError {
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Toml { path: PathBuf, source: toml::de::Error },
    #[error("{}: {key}: expected {expected}, found {found}", path.display())]
    Invalid { path: PathBuf, key: String, expected: String, found: String },
    #[error("{}:{source}", path.display())]
    Decree { path: PathBuf, source: DecreeError },
    #[error("{}: {message}", path.display())]
    Decrees { path: PathBuf, message: String },
}

/// How soon an alert wants a person.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq)]
pub(crate) enum Priority {
    P1,
    P2,
    P3,
    P4,
    P5,
}

/// The decrees and the two tables.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    decrees: Decrees,
    priority: PriorityTable,
    retention: RetentionTable,
    sources: SourceTable,
}

impl Levels {
    /// Reads a folder. The retention is held against the decree that is in force on `date`.
    pub(crate) fn load(folder: &Path, date: Date) -> Result<Self, LevelsError> {
        let decrees = decrees(folder)?;
        let (priority, retention) = (folder.join(PRIORITY_FILE), folder.join(RETENTION_FILE));
        Ok(Self {
            sources: source_table(&folder.join(COVERAGE_FILE), &decrees)?,
            priority: PriorityTable::parse(&read(&priority)?, &priority)?,
            retention: RetentionTable::parse(&read(&retention)?, &retention, decrees.in_force(date))?,
            decrees,
        })
    }

    pub(crate) fn decrees(&self) -> &Decrees {
        &self.decrees
    }

    /// The kinds of log sources.
    pub(crate) fn sources(&self) -> &SourceTable {
        &self.sources
    }

    /// The priority of an alert and the sentence that explains it. A level above 5 counts as 5.
    pub(crate) fn priority(&self, severity: Severity, level: u8) -> (Priority, String) {
        let table = &self.priority;
        let at = usize::from(level).min(LEVELS - 1);
        let priority = self.urgency(severity, level);
        let says = &table.levels.says[at];
        let duty = table.priorities.of(priority);
        let (severity, name, id) = (severity.as_str(), priority.as_str(), &table.id);
        (priority, format!("{name}: severity {severity} on level {at} (table {id}). {says} {duty}"))
    }

    /// The priority alone.
    pub(crate) fn urgency(&self, severity: Severity, level: u8) -> Priority {
        self.priority.severity.of(severity)[usize::from(level).min(LEVELS - 1)]
    }

    /// Until when an alert wants to be acknowledged, contained and closed that has this priority from a moment on.
    pub(crate) fn dues(&self, priority: Priority, from: Micros) -> Dues {
        self.priority.clocks.of(priority).dues(from)
    }

    /// By when the law wants a report of what was detected at a moment, should it be an incident, and the article.
    pub(crate) fn report_due(&self, detected_at: Micros) -> Option<(Micros, String)> {
        let (due, deadline) = first_due(&self.decrees, detected_at, &zone())?;
        let basis = deadline.provision.citation.as_ref().map(|citation| citation.shown(Lang::Vi));
        Some((due, basis.unwrap_or_default()))
    }

    /// How long an event is kept.
    pub(crate) fn retention_days(&self, level: u8, in_drill: bool) -> u16 {
        if in_drill {
            return self.retention.drill_days;
        }
        self.retention.days[usize::from(level).min(LEVELS - 1)]
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriorityTable {
    id: String,
    severity: Severities,
    levels: Says,
    priorities: Priorities,
    clocks: ResponseClocks,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Severities {
    critical: [Priority; LEVELS],
    high: [Priority; LEVELS],
    medium: [Priority; LEVELS],
    low: [Priority; LEVELS],
    informational: [Priority; LEVELS],
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Says {
    says: [String; LEVELS],
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "UPPERCASE")]
struct Priorities {
    p1: String,
    p2: String,
    p3: String,
    p4: String,
    p5: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetentionTable {
    #[serde(rename = "id")]
    _id: String,
    days: [u16; LEVELS],
    drill_days: u16,
}

impl PriorityTable {
    fn parse(text: &str, path: &Path) -> Result<Self, LevelsError> {
        let table: Self = toml(text, path)?;
        let texts = table.levels.says.iter().chain(table.priorities.all()).chain([&table.id]);
        if texts.into_iter().any(|text| text.trim().is_empty()) {
            let key = "id, levels.says, priorities".into();
            let (expected, found) = ("a text".into(), "an empty one".into());
            return Err(LevelsError::Invalid { path: path.into(), key, expected, found });
        }
        if let Some((key, expected)) = table.clocks.fault() {
            let (expected, found) = (expected.into(), "another order".into());
            return Err(LevelsError::Invalid { path: path.into(), key, expected, found });
        }
        Ok(table)
    }
}

impl ResponseClocks {
    fn of(&self, priority: Priority) -> &ResponseTimes {
        match priority {
            Priority::P1 => &self.p1,
            Priority::P2 => &self.p2,
            Priority::P3 => &self.p3,
            Priority::P4 => &self.p4,
            Priority::P5 => &self.p5,
        }
    }
}

impl Severities {
    fn of(&self, severity: Severity) -> &[Priority; LEVELS] {
        match severity {
            Severity::Critical => &self.critical,
            Severity::High => &self.high,
            Severity::Medium => &self.medium,
            Severity::Low => &self.low,
            Severity::Informational => &self.informational,
        }
    }
}

impl Priorities {
    fn of(&self, priority: Priority) -> &str {
        match priority {
            Priority::P1 => &self.p1,
            Priority::P2 => &self.p2,
            Priority::P3 => &self.p3,
            Priority::P4 => &self.p4,
            Priority::P5 => &self.p5,
        }
    }

    fn all(&self) -> [&String; 5] {
        [&self.p1, &self.p2, &self.p3, &self.p4, &self.p5]
    }
}

impl RetentionTable {
    fn parse(text: &str, path: &Path, decree: Option<&Decree>) -> Result<Self, LevelsError> {
        let table: Self = toml(text, path)?;
        let cells =
            table.days.into_iter().zip(0..).map(|(days, level)| (format!("days[{level}]"), days, level));
        for (key, days, level) in cells.chain([("drill_days".into(), table.drill_days, 0)]) {
            let minimum = decree.and_then(|decree| decree.retention_minimum(level));
            let days_min = minimum.map_or(RETENTION_DAYS_MIN, |minimum| minimum.days);
            if !(days_min..=RETENTION_DAYS_MAX).contains(&days) {
                let mut expected = format!("{days_min} to {RETENTION_DAYS_MAX} days");
                if let Some(minimum) = minimum {
                    expected.push_str(&by_law(minimum));
                }
                let found = days.to_string();
                return Err(LevelsError::Invalid { path: path.into(), key, expected, found });
            }
        }
        Ok(table)
    }
}

fn by_law(minimum: &RetentionMinimum) -> String {
    let citation =
        minimum.provision.citation.as_ref().map(|citation| citation.shown(Lang::En)).unwrap_or_default();
    format!(" ({citation}: at least {})", minimum.keep.shown(Lang::En))
}

impl Priority {
    /// The name in the store.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
            Self::P5 => "P5",
        }
    }
}

/// The kinds of log sources; every decree asks for those only.
fn source_table(path: &Path, decrees: &Decrees) -> Result<SourceTable, LevelsError> {
    let invalid = |(key, expected, found): (&str, String, String)| LevelsError::Invalid {
        path: path.into(),
        key: key.into(),
        expected,
        found,
    };
    let table = SourceTable::new(toml(&read(path)?, path)?).map_err(invalid)?;
    let mut asked = decrees.iter().flat_map(|decree| decree.sources.iter().map(move |duty| (decree, duty)));
    match asked.find(|(_, duty)| table.by_id(&duty.provision.id).is_none()) {
        Some((decree, duty)) => {
            let found = format!("{:?} in the decree {}", duty.provision.id, decree.id);
            Err(invalid(("source.id", "every source that a decree asks for".into(), found)))
        }
        None => Ok(table),
    }
}

/// The decrees of a folder.
fn decrees(folder: &Path) -> Result<Decrees, LevelsError> {
    let failed = |source| LevelsError::Read { path: folder.into(), source };
    let mut decrees = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let table = [PRIORITY_FILE, RETENTION_FILE, COVERAGE_FILE].iter().any(|name| path.ends_with(name));
        if table || path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let decree = Decree::parse(&read(&path)?);
        decrees.push(decree.map_err(|source| LevelsError::Decree { path, source })?);
    }
    Decrees::new(decrees).map_err(|message| LevelsError::Decrees { path: folder.into(), message })
}

fn read(path: &Path) -> Result<String, LevelsError> {
    std::fs::read_to_string(path).map_err(|source| LevelsError::Read { path: path.into(), source })
}

fn toml<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, LevelsError> {
    toml::from_str(text).map_err(|source| LevelsError::Toml { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn shipped() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/levels")
    }

    #[test]
    fn reads_the_shipped_tables_and_explains_a_priority() {
        let levels = Levels::load(&shipped(), date(2026, 10, 1)).unwrap();
        let (priority, reason) = levels.priority(Severity::High, 3);
        assert_eq!(priority, Priority::P2);
        let expected = "P2: severity high on level 3 (table vonggac-1). Level 3: procedures of citizens, or \
            infrastructure that a province or a sector shares. Act within the hour.";
        assert_eq!(reason, expected);
        assert_eq!(levels.priority(Severity::Critical, 0).0, levels.priority(Severity::Critical, 2).0);
        assert_eq!(levels.retention_days(3, false), 185);
        assert_eq!(levels.retention_days(3, true), 30);
    }

    #[test]
    fn a_higher_level_or_severity_never_lowers_the_shipped_priority() {
        let levels = Levels::load(&shipped(), date(2026, 10, 1)).unwrap();
        let severities =
            [Severity::Informational, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
        for level in 1..5 {
            for pair in severities.windows(2) {
                let name = |severity, level| levels.priority(severity, level).0.as_str();
                assert!(name(pair[1], level) <= name(pair[0], level));
                assert!(name(pair[1], level + 1) <= name(pair[1], level));
            }
        }
    }

    #[test]
    fn rejects_a_table_with_a_gap_and_a_priority_that_is_none() {
        let text = std::fs::read_to_string(shipped().join("priority.toml")).unwrap();
        for (from, to) in [
            (r#"["P2", "P3", "P2", "P1", "P1", "P1"]"#, r#"["P2", "P3", "P2", "P1", "P1"]"#),
            (r#"high = ["P3""#, r#"high = ["P6""#),
            ("low = ", "lower = "),
            ("Act within the hour.", ""),
            ("P5 = { ", "P6 = { "),
            ("acknowledge = \"15m\"", "acknowledge = \"15s\""),
            ("acknowledge = \"15m\"", "acknowledge = \"2h\""),
        ] {
            assert!(text.contains(from));
            assert!(PriorityTable::parse(&text.replace(from, to), Path::new("p")).is_err(), "{to}");
        }
    }

    #[test]
    fn reads_the_least_retention_of_the_decree_in_force_and_rejects_a_day_less() {
        let decrees = decrees(&shipped()).unwrap();
        let decree = decrees.in_force(date(2026, 10, 1));
        let parse = |days: [u16; LEVELS], decree| {
            RetentionTable::parse(&format!("id='x'\ndays={days:?}\ndrill_days=1"), Path::new("r"), decree)
        };
        let least = [1, 1, 31, 92, 184, 366];
        assert!(parse(least, decree).is_ok());
        assert!(parse([1; LEVELS], None).is_ok());
        for level in 0..LEVELS {
            let mut days = least;
            days[level] -= 1;
            assert!(parse(days, decree).is_err(), "level {level}");
        }
        let error = parse([1, 1, 31, 91, 184, 366], decree).unwrap_err().to_string();
        assert_eq!(
            error,
            "r: days[3]: expected 92 to 3650 days (TCVN 14423:2026, clause 5.8.2.1: at least 3 months), found 91"
        );
        let before = decrees.in_force(date(2020, 1, 1));
        let error = parse([1, 1, 31, 91, 184, 366], before).unwrap_err().to_string();
        assert!(error.contains("TCVN 11930:2017, clause 7.2.1.4"), "{error}");
    }

    #[test]
    fn rejects_a_decree_with_its_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(shipped().join("neutral")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        Levels::load(folder.path(), date(2026, 10, 1)).unwrap();
        let decree = folder.path().join("high-water-mark.toml");
        let text = std::fs::read_to_string(&decree).unwrap();
        std::fs::write(&decree, text.replace("integrity == low", "honesty == low")).unwrap();
        let error = Levels::load(folder.path(), date(2026, 10, 1)).unwrap_err().to_string();
        let line = 1 + text[..text.find("integrity == low").unwrap()].matches('\n').count();
        assert!(error.starts_with(&format!("{}:{line}:", decree.display())), "{error}");
        assert!(error.ends_with("when: expected the name of an input, found \"honesty\""), "{error}");
    }
}
