//! Hunts: SQL over what is stored, for what needs hours of history (`rules/hunts/NAME.toml`).
//!
//! A hunt covers windows that never overlap wrongly and are never skipped: run number n ends at n times `every_s`, and looks back
//! `window_s` from there. Its rows become lines of the kind `hunt` (product `network`, service `hunt`), which take the way of every other
//! line: levels, Sigma rules (`rules/sigma/hunt`), alerts, store. Which candidate is worth an alert is the rules' decision.
//!
//! A run is a batch whose identity is the hunt and the run's number: one that is done again is stored once, and one that is missing is a
//! gap, which alerts as any other.
//!
//! Limits: [`SQL_BYTES_MAX`], [`HUNTS_MAX`], `every_s` and `window_s` within [`EVERY_S`] and [`WINDOW_S`].

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use event::Micros;
use serde::Deserialize;
use thiserror::Error;

/// A page of SQL, ten times.
const SQL_BYTES_MAX: usize = 32 * 1024;
/// Each is a query in turn; hundreds would not keep up with their own schedule.
const HUNTS_MAX: usize = 200;
/// A hunt that is silent for half a day shows as a silent agent does.
const EVERY_S: RangeInclusive<u32> = 60..=43_200;
/// What the longest retention of flows gives something to look at.
const WINDOW_S: RangeInclusive<u32> = 60..=90 * 86_400;
/// Agents that were cut off are waited for so long at most.
const DELAY_S_MAX: u32 = 86_400;
const MICROS_PER_S: Micros = 1_000_000;
/// How the sender of a hunt's batches is called, before the hunt's name. No host may be called so (`vonggac ca issue`).
pub(crate) const SENDER_PREFIX: &str = "hunt-";
const ENDING: &str = "toml";
/// ClickHouse's own parameters, so that the same text runs in any client.
const PARAMETERS: [&str; 3] = ["{from:DateTime64(6)}", "{to:DateTime64(6)}", "{drill:String}"];

/// Why a hunt is not taken.
#[derive(Debug, Error)]
pub(crate) enum HuntError {
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Toml { path: PathBuf, source: toml::de::Error },
    #[error("{}: {key}: expected {expected}", path.display())]
    Invalid { path: PathBuf, key: &'static str, expected: String },
}

/// One hunt, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Hunt {
    /// The file's name without its end.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) sql: String,
    pub(crate) every: Micros,
    pub(crate) window: Micros,
    pub(crate) delay: Micros,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    description: String,
    every_s: u32,
    window_s: u32,
    /// How long after its end a window is looked at.
    #[serde(default = "delay_s")]
    delay_s: u32,
    sql: String,
}

/// Agents and exporters send at once; a minute is for those that are a little off.
fn delay_s() -> u32 {
    60
}

/// What a run covers: from its start to before its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Window {
    pub(crate) from: Micros,
    pub(crate) to: Micros,
}

/// All hunts of some folders, by name.
pub(crate) fn load(folders: &[PathBuf]) -> Result<Vec<Hunt>, HuntError> {
    let mut hunts: Vec<Hunt> = Vec::new();
    for folder in folders {
        let unread = |source| HuntError::Read { path: folder.clone(), source };
        for entry in std::fs::read_dir(folder).map_err(unread)? {
            let path = entry.map_err(unread)?.path();
            if path.extension().is_none_or(|ending| ending != ENDING) {
                continue;
            }
            let hunt = Hunt::read(&path)?;
            let invalid =
                |expected: &str| HuntError::Invalid { path, key: "file name", expected: expected.into() };
            if hunts.len() >= HUNTS_MAX {
                return Err(invalid(&format!("at most {HUNTS_MAX} hunts")));
            }
            if hunts.iter().any(|other| other.name == hunt.name) {
                return Err(invalid("a name that no other hunt has"));
            }
            hunts.push(hunt);
        }
    }
    hunts.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(hunts)
}

impl Hunt {
    fn read(path: &Path) -> Result<Self, HuntError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| HuntError::Read { path: path.to_owned(), source })?;
        let file =
            toml::from_str(&text).map_err(|source| HuntError::Toml { path: path.to_owned(), source })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::checked(&name, file).map_err(|(key, expected)| HuntError::Invalid {
            path: path.to_owned(),
            key,
            expected,
        })
    }

    fn checked(name: &str, file: File) -> Result<Self, (&'static str, String)> {
        let File { title, description, every_s, window_s, delay_s, sql } = file;
        let within = |key, value: u32, range: RangeInclusive<u32>| match range.contains(&value) {
            true => Ok(Micros::from(value) * MICROS_PER_S),
            false => Err((key, format!("{} to {} seconds, found {value}", range.start(), range.end()))),
        };
        let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(("file name", "a-z, 0-9 and - before .toml, at most 64 of them".to_owned()));
        }
        let every = within("every_s", every_s, EVERY_S)?;
        let window = within("window_s", window_s, every_s..=*WINDOW_S.end())?;
        let delay = within("delay_s", delay_s, 0..=DELAY_S_MAX)?;
        if sql.len() > SQL_BYTES_MAX {
            return Err(("sql", format!("at most {SQL_BYTES_MAX} bytes, found {}", sql.len())));
        }
        if let Some(missing) = PARAMETERS.into_iter().find(|parameter| !sql.contains(parameter)) {
            return Err((
                "sql",
                format!("a condition with {missing}: a hunt is bounded in time, and a drill is apart"),
            ));
        }
        let sql = sql.trim().trim_end_matches(';').to_owned();
        Ok(Self { name: name.to_owned(), title, description, sql, every, window, delay })
    }

    /// The number of the newest run that is due.
    pub(crate) fn newest(&self, now: Micros) -> u64 {
        u64::try_from(now.saturating_sub(self.delay).div_euclid(self.every)).unwrap_or_default()
    }

    /// When a run is due.
    pub(crate) fn due(&self, run: u64) -> Micros {
        self.window(run).to.saturating_add(self.delay)
    }

    pub(crate) fn window(&self, run: u64) -> Window {
        let to = Micros::try_from(run).unwrap_or(Micros::MAX).saturating_mul(self.every);
        Window { from: to.saturating_sub(self.window), to }
    }

    /// Whom its batches come from.
    pub(crate) fn sender(&self) -> String {
        format!("{SENDER_PREFIX}{}", self.name)
    }

    /// Runs are numbered by `every`: another one, and the numbers begin anew.
    pub(crate) fn epoch(&self) -> u64 {
        u64::try_from(self.every).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "title = 't'\ndescription = 'd'\nevery_s = 3600\nwindow_s = 86400\nsql = '''\nSELECT 1 FROM flows WHERE \
        ts >= {from:DateTime64(6)} AND ts < {to:DateTime64(6)} AND drill_id = {drill:String};\n'''\n";

    fn read(name: &str, text: &str) -> Result<Vec<Hunt>, HuntError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        load(&[folder.path().to_owned()])
    }

    #[test]
    fn the_shipped_hunts_load() {
        let hunts = load(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/hunts")]).unwrap();
        assert!(hunts.len() > 4, "{}", hunts.len());
    }

    #[test]
    fn windows_follow_one_another_without_a_gap() {
        let hunt = &read("beacon.toml", FILE).unwrap()[0];
        assert!(hunt.sql.ends_with("{drill:String}"), "{}", hunt.sql);
        let now = 1_795_404_296_000_000;
        let run = hunt.newest(now);
        assert!(hunt.due(run) <= now && hunt.due(run + 1) > now);
        assert_eq!(hunt.window(run).to, hunt.window(run + 1).to - hunt.every);
        assert_eq!(hunt.window(run).to - hunt.window(run).from, hunt.window);
    }

    #[test]
    fn rejects_what_could_not_run_with_key_and_expectation() {
        for (name, text, expected) in [
            ("A b.toml", FILE.to_owned(), "file name: expected a-z"),
            (
                "a.toml",
                FILE.replace("every_s = 3600", "every_s = 59"),
                "every_s: expected 60 to 43200 seconds, found 59",
            ),
            ("a.toml", FILE.replace("window_s = 86400", "window_s = 3599"), "window_s: expected 3600 to"),
            (
                "a.toml",
                FILE.replace("AND drill_id = {drill:String}", ""),
                "sql: expected a condition with {drill:String}",
            ),
            ("a.toml", FILE.replace("title", "titel"), "titel"),
        ] {
            let error = read(name, &text).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected:?} in {error}");
        }
        assert!(load(&["/nowhere".into()]).is_err());
        assert_eq!(load(&[]).unwrap(), []);
    }
}
