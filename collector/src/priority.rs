//! What a security level means for an alert and for an event: its priority (`priority.toml`) and how long it is kept
//! (`retention.toml`). Both are tables that a site may change; both are checked whole when they are read, so that no cell can
//! be missing when an alert comes.
//!
//! What this never does: compute a level, or shorten a retention below what the standard asks.

use std::path::{Path, PathBuf};

use detect::Severity;
use serde::Deserialize;
use thiserror::Error;

/// Levels 0 (not classified) to 5.
pub(crate) const LEVELS: usize = 6;

/// Days that TCVN 14423:2026 (4.8.2.1 to 7.8.2.1) asks of each level at the least: its months at their longest. It asks none of level 1; an event is
/// kept for a day at least, else it would be gone before anyone could look.
const RETENTION_DAYS_MIN: [u16; LEVELS] = [1, 1, 31, 92, 184, 366];
/// ... and at the most: ten years; each further value of it is a further partition a day.
const RETENTION_DAYS_MAX: u16 = 3650;

/// Why a table is not taken.
#[derive(Debug, Error)]
pub enum LevelsError {
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Toml { path: PathBuf, source: toml::de::Error },
    #[error("{}: {key}: expected {expected}, found {found}", path.display())]
    Invalid { path: PathBuf, key: String, expected: String, found: String },
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

/// The two tables.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    priority: PriorityTable,
    retention: RetentionTable,
}

impl Levels {
    /// Reads `priority.toml` and `retention.toml` of a folder.
    pub(crate) fn load(folder: &Path) -> Result<Self, LevelsError> {
        let priority = folder.join("priority.toml");
        let retention = folder.join("retention.toml");
        Ok(Self {
            priority: PriorityTable::parse(&read(&priority)?, &priority)?,
            retention: RetentionTable::parse(&read(&retention)?, &retention)?,
        })
    }

    /// The priority of an alert and the sentence that explains it. A level above 5 counts as 5.
    pub(crate) fn priority(&self, severity: Severity, level: u8) -> (Priority, String) {
        let table = &self.priority;
        let at = usize::from(level).min(LEVELS - 1);
        let priority = table.severity.of(severity)[at];
        let says = &table.levels.says[at];
        let duty = table.priorities.of(priority);
        let (severity, name, id) = (severity.as_str(), priority.as_str(), &table.id);
        (priority, format!("{name}: severity {severity} on level {at} (table {id}). {says} {duty}"))
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
        Ok(table)
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
    fn parse(text: &str, path: &Path) -> Result<Self, LevelsError> {
        let table: Self = toml(text, path)?;
        let least = RETENTION_DAYS_MIN.into_iter().zip(table.days).enumerate();
        let cells = least.map(|(level, (min, days))| (format!("days[{level}]"), min, days));
        for (key, min, days) in cells.chain([("drill_days".into(), 1, table.drill_days)]) {
            if !(min..=RETENTION_DAYS_MAX).contains(&days) {
                let expected = format!("{min} to {RETENTION_DAYS_MAX} days");
                return Err(LevelsError::Invalid {
                    path: path.into(),
                    key,
                    expected,
                    found: days.to_string(),
                });
            }
        }
        Ok(table)
    }
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

fn read(path: &Path) -> Result<String, LevelsError> {
    std::fs::read_to_string(path).map_err(|source| LevelsError::Read { path: path.into(), source })
}

fn toml<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, LevelsError> {
    toml::from_str(text).map_err(|source| LevelsError::Toml { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/levels")
    }

    #[test]
    fn reads_the_shipped_tables_and_explains_a_priority() {
        let levels = Levels::load(&shipped()).unwrap();
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
        let levels = Levels::load(&shipped()).unwrap();
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
        ] {
            assert!(text.contains(from));
            assert!(PriorityTable::parse(&text.replace(from, to), Path::new("p")).is_err(), "{to}");
        }
    }

    #[test]
    fn reads_the_least_retention_and_rejects_a_day_less() {
        let parse = |days: u16| {
            RetentionTable::parse(
                &format!("id='x'\ndays=[1,1,31,{days},184,366]\ndrill_days=1"),
                Path::new("r"),
            )
        };
        assert!(parse(92).is_ok());
        let error = parse(91).unwrap_err();
        assert_eq!(error.to_string(), "r: days[3]: expected 92 to 3650 days, found 91");
    }
}
