//! The configuration: TOML, read once into a checked type. [`Config::default`] is what ships, `deploy/agent.toml` explains it.
//!
//! Whatever is wrong stops the start and names file, key and what was expected: an unknown key, too, because a misspelt one
//! would otherwise be a limit that does not hold.

mod capture;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use event::Format;
use glob::{MatchOptions, Pattern};
use rustls_pki_types::ServerName;
use serde::Deserialize;

pub(crate) use capture::{Backend, Capture, Spool};

use crate::ledger::Labels;
use crate::limits::{BYTES_RANGE, FLUSH_RANGE_MS, LEVEL_RANGE, RECORDS_RANGE, WINDOW_RANGE};

/// Names that rotation gives: compressed files, numbers, dates.
const ROTATED: [&str; 9] = [
    "*.gz",
    "*.xz",
    "*.bz2",
    "*.zst",
    "*.lz4",
    "*.[0-9]",
    "*.[0-9][0-9]",
    "*-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]",
    "*-[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]",
];
/// Offsets from UTC reach from -12 to +14 hours; a day is the outer bound.
const OFFSET_RANGE_S: RangeInclusive<i32> = -86_400..=86_400;

/// Why there is no configuration. The text names file, key and what was expected.
pub type ConfigError = anyhow::Error;

/// The whole file.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub data_dir: PathBuf,
    pub agent: Option<String>,
    pub drill_id: String,
    pub log_level: String,
    pub collector: Collector,
    pub tls: Tls,
    pub batch: Batch,
    pub metrics: Metrics,
    pub capture: Capture,
    pub spool: Spool,
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
}

/// Where batches go.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Collector {
    /// `host:port`; an IPv6 address in brackets.
    pub address: String,
    pub server_name: Option<String>,
}

/// Who we are, and whom we believe.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// When a batch is full, and how it travels.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    pub records_max: u64,
    pub bytes_max: u64,
    pub flush_interval_ms: u64,
    pub zstd_level: u64,
    pub window: u64,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    pub listen: Option<SocketAddr>,
}

/// Files of one kind.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub paths: Vec<String>,
    #[serde(default = "rotated")]
    pub exclude: Vec<String>,
    #[serde(default = "auto")]
    pub format: String,
    #[serde(default)]
    pub category: String,
    #[serde(default)]
    pub product: String,
    #[serde(default)]
    pub service: String,
    #[serde(default)]
    pub start: Start,
    pub utc_offset_s: Option<i32>,
}

/// Where reading begins in a file that is there at the very first start.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    #[default]
    End,
    Beginning,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "/var/lib/vonggac-agent".into(),
            agent: None,
            drill_id: String::new(),
            log_level: "info".into(),
            collector: Collector::default(),
            tls: Tls::default(),
            batch: Batch::default(),
            metrics: Metrics::default(),
            capture: Capture::default(),
            spool: Spool::default(),
            sources: Vec::new(),
        }
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self { address: "localhost:6514".into(), server_name: None }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            ca: "/etc/vonggac/ca.crt".into(),
            cert: "/etc/vonggac/agent.crt".into(),
            key: "/etc/vonggac/agent.key".into(),
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self { records_max: 1000, bytes_max: 512 * 1024, flush_interval_ms: 200, zstd_level: 1, window: 8 }
    }
}

impl Config {
    /// Reads and checks a file. Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("{shown}: {error}"))?;
        let mut config = Self::parse(&text).map_err(|error| anyhow::anyhow!("{shown}: {error}"))?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Reads and checks a text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    fn resolve(&mut self, folder: &Path) {
        for path in [&mut self.data_dir, &mut self.tls.ca, &mut self.tls.cert, &mut self.tls.key] {
            *path = folder.join(&*path);
        }
        for pattern in self.sources.iter_mut().flat_map(|source| &mut source.paths) {
            if Path::new(pattern).is_relative() && folder != Path::new("") {
                *pattern = format!("{}/{pattern}", Pattern::escape(&folder.to_string_lossy()));
            }
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let batch = &self.batch;
        for (key, range, value) in [
            ("batch.records_max", RECORDS_RANGE, batch.records_max),
            ("batch.bytes_max", BYTES_RANGE, batch.bytes_max),
            ("batch.flush_interval_ms", FLUSH_RANGE_MS, batch.flush_interval_ms),
            ("batch.zstd_level", LEVEL_RANGE, batch.zstd_level),
            ("batch.window", WINDOW_RANGE, batch.window),
        ] {
            let (least, most) = (range.start(), range.end());
            anyhow::ensure!(range.contains(&value), "{key} = {value}: expected {least} to {most}");
        }
        anyhow::ensure!(
            self.log_level.parse::<tracing::Level>().is_ok(),
            "log_level = {:?}: expected error, warn, info, debug or trace",
            self.log_level
        );
        if let Some(listen) = self.metrics.listen {
            anyhow::ensure!(
                listen.ip().is_loopback(),
                "metrics.listen = {listen}: expected a loopback address, because the page asks for no password"
            );
        }
        self.server_name()?;
        self.capture.check()?;
        self.spool.check()?;
        let is_idle = self.sources.is_empty() && self.capture.interfaces.is_empty();
        anyhow::ensure!(!is_idle, "source: expected at least one [[source]], or capture.interfaces");
        for (index, source) in self.sources.iter().enumerate() {
            source.check().map_err(|error| anyhow::anyhow!("source {}: {error}", index + 1))?;
        }
        Ok(())
    }

    /// The name that the collector's certificate must carry.
    pub fn server_name(&self) -> Result<ServerName<'static>, ConfigError> {
        let address = &self.collector.address;
        let host =
            address.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
        // Without brackets the last part of an IPv6 address could be a port.
        let host = host.map(|(host, _)| {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            (bare.unwrap_or(host), bare.is_some() || !host.contains(':'))
        });
        let Some((host, true)) = host else {
            anyhow::bail!("collector.address = {address:?}: expected host:port, an IPv6 address in brackets");
        };
        let name = self.collector.server_name.as_deref().unwrap_or(host).to_owned();
        ServerName::try_from(name.clone()).map_err(|_| {
            anyhow::anyhow!("collector.server_name = {name:?}: expected a DNS name or an IP address")
        })
    }

    pub(crate) fn flush_interval(&self) -> Duration {
        Duration::from_millis(self.batch.flush_interval_ms)
    }

    /// The source that a path belongs to.
    pub(crate) fn source_of(&self, path: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.takes(path))
    }

    /// Labels of what capture wrote: each line says for itself what it is.
    pub(crate) fn spool_labels(&self) -> Labels {
        Labels { format: Format::Flow, drill_id: self.drill_id.clone(), ..Labels::default() }
    }

    pub(crate) fn labels(&self, source: &Source) -> Labels {
        Labels {
            format: Format::from_name(&source.format).unwrap_or_default(),
            category: source.category.clone(),
            product: source.product.clone(),
            service: source.service.clone(),
            drill_id: self.drill_id.clone(),
        }
    }
}

impl Source {
    fn check(&self) -> Result<(), ConfigError> {
        anyhow::ensure!(!self.paths.is_empty(), "paths: expected at least one glob");
        for (key, pattern) in self
            .paths
            .iter()
            .map(|path| ("paths", path))
            .chain(self.exclude.iter().map(|path| ("exclude", path)))
        {
            Pattern::new(pattern).map_err(|error| anyhow::anyhow!("{key}: {pattern:?}: {error}"))?;
        }
        // OTLP is no format of files: it is made at the centre.
        let known = Format::from_name(&self.format).is_some_and(|format| format != Format::Otlp);
        anyhow::ensure!(
            known,
            "format = {:?}: expected auto, syslog, auditd, web, json or flow",
            self.format
        );
        for (key, text) in
            [("category", &self.category), ("product", &self.product), ("service", &self.service)]
        {
            let max = event::HEADER_TEXT_BYTES_MAX;
            anyhow::ensure!(text.len() <= max, "{key}: expected at most {max} bytes");
        }
        if let Some(offset) = self.utc_offset_s {
            let (least, most) = (OFFSET_RANGE_S.start(), OFFSET_RANGE_S.end());
            anyhow::ensure!(
                OFFSET_RANGE_S.contains(&offset),
                "utc_offset_s = {offset}: expected {least} to {most}"
            );
        }
        Ok(())
    }

    /// The files that a pattern of the source matches now.
    pub(crate) fn files(&self, pattern: &str) -> impl Iterator<Item = PathBuf> {
        let paths = glob::glob(pattern).into_iter().flatten().flatten();
        paths.filter(|path| !self.is_excluded(&path.to_string_lossy()))
    }

    fn takes(&self, path: &str) -> bool {
        // As the glob is expanded: a `*` stays within one folder.
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
        let matches =
            |pattern: &String| Pattern::new(pattern).is_ok_and(|pattern| pattern.matches_with(path, options));
        self.paths.iter().any(matches) && !self.is_excluded(path)
    }

    /// Whether `exclude` leaves the path alone. Its `*` reaches over folders.
    pub(crate) fn is_excluded(&self, path: &str) -> bool {
        self.exclude.iter().any(|pattern| Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(path)))
    }
}

fn rotated() -> Vec<String> {
    ROTATED.map(str::to_owned).to_vec()
}

fn auto() -> String {
    Format::Auto.as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "[[source]]\npaths = [\"/var/log/*.log\"]\n";

    #[test]
    fn default_is_what_ships() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/agent.toml");
        let shipped = Config::load(&path).unwrap();
        assert!(!shipped.sources.is_empty());
        assert_eq!(Config { sources: Vec::new(), ..shipped }, Config::default());
    }

    /// What stands commented out in the sample is the default, and would be read.
    #[test]
    fn sample_shows_the_defaults() {
        let text = include_str!("../../deploy/agent.toml");
        for (table, value) in [
            ("", "log_level = \"info\""),
            ("", "drill_id = \"\""),
            ("[batch]", "records_max = 1000"),
            ("[batch]", "bytes_max = 524288"),
            ("[batch]", "flush_interval_ms = 200"),
            ("[batch]", "zstd_level = 1"),
            ("[batch]", "window = 8"),
            ("[capture]", "interfaces = []"),
            ("[capture]", "backend = \"ring\""),
            ("[capture]", "promiscuous = false"),
            ("[capture]", "ring_mib = 8"),
            ("[capture]", "flows_max = 100000"),
            ("[capture]", "idle_timeout_s = 60"),
            ("[capture]", "active_timeout_s = 300"),
            ("[capture]", "application = true"),
            ("[spool]", "bytes_max = 268435456"),
        ] {
            assert!(text.contains(&format!("# {value}\n")), "{value}");
            let config = Config::parse(&format!("{table}\n{value}\n{SOURCE}")).unwrap();
            assert_eq!(Config { sources: Vec::new(), ..config }, Config::default(), "{value}");
        }
    }

    #[test]
    fn rejects_with_key_and_expectation() {
        for (text, expected) in [
            ("", "at least one [[source]]"),
            ("nonsense = 1\n", "nonsense"),
            ("[batch]\nwindow = 0\n", "batch.window = 0: expected 1 to 64"),
            ("[batch]\nwindow = 65\n", "batch.window = 65"),
            ("[batch]\nrecords_max = 10001\n", "expected 1 to 10000"),
            ("[metrics]\nlisten = \"0.0.0.0:1\"\n", "metrics.listen = 0.0.0.0:1: expected a loopback"),
            ("[collector]\naddress = \"here\"\n", "expected host:port"),
            (
                "[collector]\naddress = \"::1:6514\"\n",
                "\"::1:6514\": expected host:port, an IPv6 address in brackets",
            ),
            ("[collector]\naddress = \"[::1:6514\"\n", "an IPv6 address in brackets"),
            ("[collector]\nserver_name = \"a b\"\n", "collector.server_name"),
            ("log_level = \"loud\"\n", "log_level = \"loud\": expected error"),
            ("[[source]]\npaths = [\"/a\"]\nformat = \"otlp\"\n", "source 1: format = \"otlp\""),
            ("[capture]\ninterfaces = [\"\"]\n", "capture.interfaces: \"\": expected 1 to 15 bytes"),
            ("[capture]\ninterfaces = [\"a234567890123456\"]\n", "capture.interfaces: \"a234567890123456\""),
            ("[capture]\ninterfaces = [\"../a\"]\n", "without slash"),
            ("[capture]\ninterfaces = [\"a\", \"b\", \"a\"]\n", "\"a\": expected each interface once"),
            (
                "[capture]\ninterfaces = [\"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\", \"9\"]\n",
                "capture.interfaces: expected at most 8",
            ),
            ("[capture]\nbackend = \"pcap\"\n", "expected `ring` or `pnet`"),
            ("[capture]\nring_mib = 1\n", "capture.ring_mib = 1: expected 2 to 256"),
            ("[capture]\nring_mib = 257\n", "capture.ring_mib = 257"),
            ("[capture]\nflows_max = 99\n", "capture.flows_max = 99: expected 100 to 4000000"),
            ("[capture]\nflows_max = 4000001\n", "capture.flows_max"),
            ("[capture]\nidle_timeout_s = 0\n", "capture.idle_timeout_s = 0: expected 1 to 3600"),
            ("[capture]\nidle_timeout_s = 3601\n", "capture.idle_timeout_s"),
            ("[capture]\nactive_timeout_s = 9\n", "capture.active_timeout_s = 9: expected 10 to 86400"),
            ("[capture]\nactive_timeout_s = 86401\n", "capture.active_timeout_s"),
            ("[spool]\nbytes_max = 1048575\n", "spool.bytes_max = 1048575: expected 1048576 to"),
            ("[[source]]\npaths = [\"/a***\"]\n", "source 1: paths"),
            ("[[source]]\npaths = []\n", "source 1: paths"),
            ("[[source]]\npaths = [\"/a\"]\nutc_offset_s = 90000\n", "utc_offset_s = 90000"),
            ("[[source]]\npaths = [\"/a\"]\nstart = \"middle\"\n", "start"),
        ] {
            let text = if text.contains("[[source]]") || text.is_empty() {
                text.to_owned()
            } else {
                format!("{text}{SOURCE}")
            };
            let error = format!("{:#}", Config::parse(&text).unwrap_err());
            assert!(error.contains(expected), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn reads_capture_without_a_source_and_at_its_limits() {
        let least = "interfaces = [\"a23456789012345\"]\nring_mib = 2\nflows_max = 100\nidle_timeout_s = 1\n\
                     active_timeout_s = 10\nbackend = \"pnet\"\n[spool]\nbytes_max = 1048576\n";
        let config = Config::parse(&format!("[capture]\n{least}")).unwrap();
        assert_eq!(config.capture.backend, Backend::Pnet);
        let most = "interfaces = [\"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\"]\nring_mib = 256\n\
                    flows_max = 4000000\nidle_timeout_s = 3600\nactive_timeout_s = 86400\n";
        assert_eq!(Config::parse(&format!("[capture]\n{most}")).unwrap().capture.interfaces.len(), 8);
    }

    #[test]
    fn leaves_alone_what_rotation_left() {
        let config = Config::parse(SOURCE).unwrap();
        assert!(config.source_of("/var/log/auth.log").is_some());
        let source = Config::parse("[[source]]\npaths = [\"/var/log/*\"]\n").unwrap().sources.remove(0);
        for path in ["/var/log/a.log.1", "/var/log/a.log.12.gz", "/var/log/a.log-20261123"] {
            assert!(source.is_excluded(path), "{path}");
        }
        assert!(!source.is_excluded("/var/log/a.log"));
    }

    #[test]
    fn takes_the_server_name_from_the_address() {
        for (address, name) in
            [("a.example:6514", "a.example"), ("[::1]:6514", "::1"), ("10.0.0.1:1", "10.0.0.1")]
        {
            let config = Config::parse(&format!("[collector]\naddress = \"{address}\"\n{SOURCE}")).unwrap();
            assert_eq!(config.server_name().unwrap().to_str(), name);
        }
    }
}
