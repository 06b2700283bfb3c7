//! `vonggac serve --check`: reads the configuration and all that it names, and says everything that is wrong at once.
//!
//! Two kinds: an *error* stops the start of `vonggac serve`; a *warning* is what the daemon starts with all the same (a rule that
//! does not load, a file of indicators that is missing, a certificate whose time is over), because a watch with one rule less is
//! better than none. The exit code tells them apart.
//!
//! What it never does: ask the store, listen, or leave a file behind.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use crate::certificates::Certificates;
use crate::clock::now;
use crate::config::{Config, ConfigArg};
use crate::people::counted;
use crate::store_client::{ClientError, client};
use crate::{engine, exceptions, hunts, indicators, notifications, rules, store};

/// The daemon starts, but not all is in force.
const WARNINGS: u8 = 1;
/// The daemon does not start.
const ERRORS: u8 = 2;

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    errors: Vec<String>,
    warnings: Vec<String>,
    rules: usize,
    indicators: usize,
}

/// Checks, and says what is wrong.
pub(crate) fn run(argument: &ConfigArg) -> ExitCode {
    let config = match argument.load() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("vonggac: {error}");
            return ExitCode::from(ERRORS);
        }
    };
    let found = Findings::of(&config);
    for error in &found.errors {
        eprintln!("vonggac: error: {error}");
    }
    for warning in &found.warnings {
        eprintln!("vonggac: warning: {warning}");
    }
    let path = argument.path();
    let (path, verdict) = (path.display(), found.verdict());
    match (found.errors.len(), found.warnings.len()) {
        (0, 0) => {
            println!("{path}: {verdict}");
            ExitCode::SUCCESS
        }
        (errors, _) => {
            eprintln!("vonggac: {path}: {verdict}");
            ExitCode::from(if errors > 0 { ERRORS } else { WARNINGS })
        }
    }
}

impl Findings {
    fn of(config: &Config) -> Self {
        let mut found = Self::default();
        found.errors.extend(way_to_store(config).err().map(|error| error.to_string()));
        found.errors.extend(store::check(config).err().map(|error| error.to_string()));
        found
            .errors
            .extend(notifications::channels(&config.notifications).err().map(|error| error.to_string()));
        found.errors.extend(embedded_store(config).err().map(|error| format!("{error:#}")));
        if config.clickhouse.url.is_none() && !engine::confinable() {
            found.warnings.push(format!("store: {}", engine::UNCONFINED));
        }
        found.tls(config);
        found.content(config);
        found
    }

    /// What it comes to, in a line.
    fn verdict(&self) -> String {
        let of = |count: usize, noun| counted(u64::try_from(count).unwrap_or(u64::MAX), noun);
        let (errors, warnings) = (of(self.errors.len(), "error"), of(self.warnings.len(), "warning"));
        let loaded = format!("loaded: {}, {}", of(self.rules, "rule"), of(self.indicators, "indicator"));
        match (self.errors.is_empty(), self.warnings.is_empty()) {
            (false, _) => format!("does not start: {errors} to be mended; {warnings}"),
            (true, false) => format!("starts, with {warnings}; {loaded}"),
            (true, true) => format!("all is well; {loaded}"),
        }
    }

    fn tls(&mut self, config: &Config) {
        let server = crate::tls::server_config(&config.tls, &[]).err();
        match Certificates::examine(&config.tls) {
            Ok(certificates) => {
                let dates = certificates.out_of_date(jiff::Timestamp::now().as_second());
                self.warnings.extend(dates.into_iter().map(|fault| format!("tls: {fault}")));
                self.errors.extend(server.map(|error| format!("tls: {error}")));
            }
            // What cannot be read is told once.
            Err(error) => self.errors.push(format!("tls: {error}")),
        }
    }

    fn content(&mut self, config: &Config) {
        let rules = rules::load_for_watch(&config.rules);
        let indicators = indicators::load(&config.indicators, now());
        let (_, exceptions) = exceptions::load(config.exceptions.as_deref(), now());
        (self.rules, self.indicators) = (rules.engine.rules().len(), indicators.indicators.len());
        self.warnings.extend(rules.refused);
        self.warnings.extend(rules.doubted);
        self.warnings.extend(hunts::load(&config.hunts).err().map(|error| format!("no hunts run: {error}")));
        self.warnings.extend(indicators.problems().map(|problem| format!("indicators: {problem}")));
        self.warnings.extend(exceptions.iter().map(|fault| format!("exceptions: {fault}")));
    }
}

/// The embedded store makes its own password at its first start; that of another one must be there, and so must its authority.
fn way_to_store(config: &Config) -> Result<(), ClientError> {
    config.clickhouse.url.as_ref().map_or(Ok(()), |_| client(&config.endpoint()).map(drop))
}

/// Whether the embedded store would find its library, and place for its data.
fn embedded_store(config: &Config) -> anyhow::Result<()> {
    if config.clickhouse.url.is_some() {
        return Ok(());
    }
    engine::library(config.store.library.as_deref(), &config.data_dir).context("store.library")?;
    writable(&config.store_dir())
}

/// Whether whoever checks could write into a folder, or make it. Tried, not reckoned: a file system may be read-only, or no place for
/// files at all.
fn writable(folder: &Path) -> anyhow::Result<()> {
    // What cannot be asked is tried.
    let there =
        folder.ancestors().find(|ancestor| ancestor.try_exists().unwrap_or(true)).unwrap_or(Path::new("/"));
    let tried = tempfile::Builder::new().prefix(".vonggac-check-").tempdir_in(there);
    tried
        .map(drop)
        .with_context(|| format!("data_dir: expected a folder to write into, {} is none", there.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_it_found() {
        let found = |errors: usize, warnings: usize| Findings {
            errors: vec![String::new(); errors],
            warnings: vec![String::new(); warnings],
            rules: 1,
            indicators: 2_000,
        };
        for (errors, warnings, verdict) in [
            (0, 0, "all is well; loaded: 1 rule, 2,000 indicators"),
            (0, 1, "starts, with 1 warning; loaded: 1 rule, 2,000 indicators"),
            (1, 0, "does not start: 1 error to be mended; 0 warnings"),
            (2, 1, "does not start: 2 errors to be mended; 1 warning"),
        ] {
            assert_eq!(found(errors, warnings).verdict(), verdict);
        }
    }

    #[test]
    fn finds_whether_a_folder_could_be_made_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        assert!(writable(&folder.path().join("a/b/store")).is_ok());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let error = format!("{:#}", writable(Path::new("/proc/x/store")).unwrap_err());
        assert!(error.starts_with("data_dir: expected a folder to write into, /proc is none"), "{error}");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(writable(&file.join("store")).is_err(), "a file is no folder");
    }
}
