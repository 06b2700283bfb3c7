//! `vonggac.toml`: what an operator may set, read once into types that are already checked.
//!
//! Every key has a default, and the defaults are what `deploy/vonggac.toml` shows: an empty file is a whole configuration.
//! An unknown key, a value of the wrong type or out of its range stops the start, with the file, the key and what was
//! expected. Relative paths start at the folder of the file, so that a folder can be moved as one.
//!
//! What is never in it: a secret. Passwords stand in files of their own, named here.

mod feeds;
mod listen;
mod notifications;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use thiserror::Error;

pub use feeds::{FeedFormat, IndicatorFeed};
pub use notifications::{
    Content, HttpTemplate, Mail, MailTls, NotificationTarget, Notifications, TextForm, Webhook,
};

/// Where the configuration is looked for when nobody says otherwise.
pub const CONFIG_PATH: &str = "/etc/vonggac/vonggac.toml";
/// Says where it is, below `--config` and above [`CONFIG_PATH`].
pub const CONFIG_ENV: &str = "VONGGAC_CONFIG";

/// What statements of the embedded store may use together when nobody says otherwise, in bytes.
pub(crate) const STORE_MEMORY_BYTES_MAX: u64 = 2 << 30;

/// Largest configuration file read, in bytes: a thousand times the shipped one.
const CONFIG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Why a configuration is not taken.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Toml { path: PathBuf, source: toml::de::Error },
    #[error("{}: {key}: expected {expected}, found {found}", path.display())]
    Invalid { path: PathBuf, key: &'static str, expected: String, found: String },
}

/// The option that every subcommand has: flatten it into its `Args`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArg {
    /// Configuration file [default: $VONGGAC_CONFIG, else /etc/vonggac/vonggac.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigArg {
    /// Where the file is: the option, else the environment, else [`CONFIG_PATH`].
    pub fn path(&self) -> PathBuf {
        let environment = || std::env::var_os(CONFIG_ENV).filter(|path| !path.is_empty()).map(PathBuf::from);
        self.config.clone().or_else(environment).unwrap_or_else(|| CONFIG_PATH.into())
    }

    /// Reads it.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.path())
    }
}

/// The whole configuration. Paths are absolute once it was loaded from a file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Everything that the collector keeps on disk.
    pub data_dir: PathBuf,
    /// Trees of Sigma rules.
    pub rules: Vec<PathBuf>,
    /// Organisations, information systems and their hosts.
    pub systems: PathBuf,
    /// Feeds of indicators of compromise.
    pub indicators: Vec<IndicatorFeed>,
    /// Levels, and how they turn the severity of a rule into the priority of an alert.
    pub levels: PathBuf,
    /// Exceptions and silences: a file or a folder of them.
    pub exceptions: Option<PathBuf>,
    /// Folders of hunts.
    pub hunts: Vec<PathBuf>,
    /// How much the daemon says on standard error.
    pub log: LogLevel,
    pub intake: Intake,
    pub otlp: Otlp,
    pub exporters: Exporters,
    pub tls: Tls,
    pub clickhouse: ClickHouse,
    pub store: Store,
    pub metrics: Metrics,
    pub alert: Alert,
    pub notifications: Notifications,
    pub limits: Limits,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// Batches of our agents.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Intake {
    #[serde(deserialize_with = "listen::one")]
    pub listen: SocketAddr,
}

/// OTLP logs over gRPC.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    pub enabled: bool,
    #[serde(deserialize_with = "listen::one")]
    pub listen: SocketAddr,
}

/// Flow records of switches, routers and firewalls. These protocols have no certificates: who may send is told by address.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Exporters {
    pub enabled: bool,
    /// UDP. Each address takes NetFlow, IPFIX and sFlow.
    #[serde(deserialize_with = "listen::many")]
    pub listen: Vec<SocketAddr>,
    /// IPFIX over TCP.
    #[serde(deserialize_with = "listen::many")]
    pub tcp_listen: Vec<SocketAddr>,
    /// Networks whose exporters may send.
    pub allow: Vec<IpNet>,
    /// Exporters of which something is known. They may send, too.
    pub known: Vec<KnownExporter>,
}

/// What an operator knows of an exporter.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct KnownExporter {
    /// From which it sends.
    pub address: IpAddr,
    /// Its name in events and metrics; its address when not given.
    pub name: Option<String>,
    /// It looks at one of so many packets, where its records do not say. 0: not known.
    #[serde(default)]
    pub sampling: u32,
}

/// The collector's certificate, and the authority whose certificates it believes. PEM files.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// A ClickHouse of the site's own. Without a `url` the embedded one is started.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ClickHouse {
    pub url: Option<String>,
    pub user: String,
    pub password_file: Option<PathBuf>,
    /// Authorities to believe instead of those of the host, where `url` is https. PEM.
    pub ca: Option<PathBuf>,
    pub database: String,
}

/// The embedded ClickHouse.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Loopback only.
    #[serde(deserialize_with = "listen::one")]
    pub listen: SocketAddr,
    /// `libchdb.so`; looked for in the usual places when absent.
    pub library: Option<PathBuf>,
    /// What its queries may use together.
    pub memory_bytes_max: u64,
}

/// `/metrics`, `/ready`, `/health` over HTTP.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    #[serde(deserialize_with = "listen::one")]
    pub listen: SocketAddr,
}

/// How hits become alerts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Alert {
    /// Hits of one rule on one system and entity are one alert when each follows the last within this many seconds.
    pub window_s: u64,
}

/// Limits of the daemon that depend on the site; the others stand as constants where they apply.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections of agents at once; further ones are closed at once.
    pub connections_max: usize,
    /// ... and of one host: an agent has one, and for a while those that a broken line left behind; each program that sends
    /// OTLP has one.
    pub connections_host_max: usize,
    /// A TLS handshake takes no longer.
    pub handshake_timeout_ms: u64,
    /// A connection on which nothing comes and nothing is under way is closed after this. Agents reconnect by themselves.
    pub idle_timeout_s: u64,
    /// Once the first byte of a frame is there, the rest comes within this.
    pub frame_timeout_s: u64,
    /// Batches of one connection that are under way at once; beyond it the collector reads no further.
    pub window_batches: usize,
    /// ... and their bytes, decompressed.
    pub window_bytes: usize,
    /// Batches that wait before the first stage, of all connections together.
    pub queue_batches: usize,
    /// Largest OTLP request, decompressed.
    pub otlp_request_bytes_max: usize,
    /// OTLP requests under way at once, of all senders together.
    pub otlp_requests_max: usize,
    /// ... and of one host. OpenTelemetry's collector sends ten at once.
    pub otlp_requests_host_max: usize,
    /// An OTLP request that the store has not taken after this is answered UNAVAILABLE: the sender sends it again.
    pub otlp_timeout_s: u64,
    /// Bytes of flow datagrams that wait to be decoded; beyond it they are dropped and counted.
    pub exporter_queue_bytes: usize,
    /// Batches of flow records that wait for the pipeline; beyond it they are dropped and counted.
    pub exporter_queue_batches: usize,
    /// What the kernel is asked to keep of each UDP socket; it grants `net.core.rmem_max` at most.
    pub exporter_receive_buffer_bytes: usize,
    /// Threads that parse and match; 0 = one a core.
    pub threads: usize,
    /// How long what is under way may take to be stored once the daemon was told to stop.
    pub stop_grace_s: u64,
    /// How long the embedded store may take until it answers.
    pub store_ready_timeout_s: u64,
}

/// How to reach the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    pub url: String,
    pub user: String,
    pub password_file: Option<PathBuf>,
    pub ca: Option<PathBuf>,
    pub database: String,
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.into(), source };
        let path = std::path::absolute(path).map_err(read)?;
        let bytes = std::fs::metadata(&path).map_err(read)?.len();
        if bytes > CONFIG_BYTES_MAX {
            return Err(read(std::io::Error::other(format!("{bytes} bytes, at most {CONFIG_BYTES_MAX}"))));
        }
        let text = std::fs::read_to_string(&path).map_err(read)?;
        Self::parse(&text, &path)
    }

    /// Reads and checks the text of the file at `path`, which is absolute.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self =
            toml::from_str(text).map_err(|source| ConfigError::Toml { path: path.into(), source })?;
        config.resolve(path.parent().unwrap_or(Path::new("/")));
        config.check(path)?;
        Ok(config)
    }

    /// The store, as a writer.
    pub fn endpoint(&self) -> Endpoint {
        match &self.clickhouse.url {
            Some(url) => Endpoint {
                url: url.clone(),
                user: self.clickhouse.user.clone(),
                password_file: self.clickhouse.password_file.clone(),
                ca: self.clickhouse.ca.clone(),
                database: self.clickhouse.database.clone(),
            },
            None => self.embedded_endpoint("vonggac", "writer.password"),
        }
    }

    /// The store, as one who only reads: the embedded store has a user for that, elsewhere it is the writer.
    pub fn reader_endpoint(&self) -> Endpoint {
        match self.clickhouse.url {
            Some(_) => self.endpoint(),
            None => self.embedded_endpoint("grafana", "reader.password"),
        }
    }

    /// Where the embedded store keeps its data and its passwords.
    pub fn store_dir(&self) -> PathBuf {
        self.data_dir.join("store")
    }

    fn embedded_endpoint(&self, user: &str, password_file: &str) -> Endpoint {
        Endpoint {
            url: format!("http://{}", self.store.listen),
            user: user.into(),
            password_file: Some(self.store_dir().join(password_file)),
            ca: None,
            database: self.clickhouse.database.clone(),
        }
    }

    /// Makes relative paths absolute: they start at `folder`.
    fn resolve(&mut self, folder: &Path) {
        let paths = [&mut self.data_dir, &mut self.systems, &mut self.levels]
            .into_iter()
            .chain([&mut self.tls.ca, &mut self.tls.cert, &mut self.tls.key])
            .chain(&mut self.rules)
            .chain(self.indicators.iter_mut().map(|feed| &mut feed.path))
            .chain(&mut self.hunts)
            .chain(&mut self.exceptions)
            .chain(&mut self.clickhouse.password_file)
            .chain(&mut self.clickhouse.ca)
            .chain(&mut self.store.library)
            .chain(self.notifications.paths());
        for path in paths {
            *path = folder.join(&*path);
        }
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let invalid = |key, expected: String, found: String| {
            Err(ConfigError::Invalid { path: path.into(), key, expected, found })
        };
        for (key, range, found) in self.ranges() {
            if !range.contains(&found) {
                let expected = format!("a number from {} to {}", range.start(), range.end());
                return invalid(key, expected, found.to_string());
            }
        }
        if !self.store.listen.ip().is_loopback() {
            // Its passwords cross the connection in clear.
            return invalid("store.listen", "a loopback address".into(), self.store.listen.to_string());
        }
        if self.rules.is_empty() {
            return invalid("rules", "at least one folder".into(), "none".into());
        }
        if let Some((key, expected, found)) = self
            .clickhouse
            .fault()
            .or_else(|| self.exporters.fault())
            .or_else(|| feeds::fault(&self.indicators))
            .or_else(|| self.notifications.fault())
            .or_else(|| listen::clash(self))
        {
            return invalid(key, expected.into(), found);
        }
        let database = &self.clickhouse.database;
        if !is_identifier(database) {
            let expected = "a name of letters, digits and _ that starts with no digit";
            return invalid("clickhouse.database", expected.into(), format!("{database:?}"));
        }
        Ok(())
    }

    /// Numbers that make sense only within a range.
    fn ranges(&self) -> [(&'static str, RangeInclusive<u64>, u64); 25] {
        let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let limits = &self.limits;
        let batch = wide(event::BATCH_BYTES_MAX);
        [
            // Nobody could find a store on a port that the kernel chose.
            ("store.listen (port)", 1..=65_535, self.store.listen.port().into()),
            ("store.memory_bytes_max", 256 << 20..=1 << 50, self.store.memory_bytes_max),
            ("alert.window_s", 1..=86_400, self.alert.window_s),
            ("notifications.attempts_max", 1..=100, self.notifications.attempts_max.into()),
            ("notifications.retry_first_ms", 10..=3_600_000, self.notifications.retry_first_ms),
            ("notifications.retry_max_ms", 10..=86_400_000, self.notifications.retry_max_ms),
            ("notifications.age_max_s", 1..=2_592_000, self.notifications.age_max_s),
            ("limits.connections_max", 1..=100_000, wide(limits.connections_max)),
            ("limits.connections_host_max", 1..=100_000, wide(limits.connections_host_max)),
            ("limits.handshake_timeout_ms", 10..=60_000, limits.handshake_timeout_ms),
            ("limits.idle_timeout_s", 1..=86_400, limits.idle_timeout_s),
            ("limits.frame_timeout_s", 1..=3_600, limits.frame_timeout_s),
            ("limits.window_batches", 1..=1_024, wide(limits.window_batches)),
            ("limits.window_bytes", batch..=1 << 32, wide(limits.window_bytes)),
            ("limits.queue_batches", 1..=65_536, wide(limits.queue_batches)),
            ("limits.otlp_request_bytes_max", 1024..=batch, wide(limits.otlp_request_bytes_max)),
            ("limits.otlp_requests_max", 1..=65_536, wide(limits.otlp_requests_max)),
            ("limits.otlp_requests_host_max", 1..=65_536, wide(limits.otlp_requests_host_max)),
            ("limits.otlp_timeout_s", 1..=600, limits.otlp_timeout_s),
            ("limits.exporter_queue_bytes", 1 << 20..=1 << 32, wide(limits.exporter_queue_bytes)),
            ("limits.exporter_queue_batches", 1..=65_536, wide(limits.exporter_queue_batches)),
            (
                "limits.exporter_receive_buffer_bytes",
                64 << 10..=1 << 30,
                wide(limits.exporter_receive_buffer_bytes),
            ),
            ("limits.threads", 0..=1_024, wide(limits.threads)),
            ("limits.stop_grace_s", 1..=600, limits.stop_grace_s),
            ("limits.store_ready_timeout_s", 1..=3_600, limits.store_ready_timeout_s),
        ]
    }
}

impl Endpoint {
    /// The password, without the line end. Empty when there is no file for it.
    pub fn password(&self) -> Result<String, ConfigError> {
        let Some(path) = &self.password_file else { return Ok(String::new()) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl ClickHouse {
    /// What is wrong, if anything: the key, what was expected, what was found.
    fn fault(&self) -> Option<(&'static str, &'static str, String)> {
        let url = self.url.as_deref();
        if let Some(url) = url.filter(|url| !(url.starts_with("http://") || url.starts_with("https://"))) {
            return Some(("clickhouse.url", "http://HOST:PORT or https://HOST:PORT", url.to_owned()));
        }
        // Who names an authority believes that somebody is asked for its certificate.
        let is_asked = url.is_some_and(|url| url.starts_with("https://"));
        let found = url.unwrap_or("none").to_owned();
        (self.ca.is_some() && !is_asked).then_some(("clickhouse.ca", "clickhouse.url with https", found))
    }
}

impl Exporters {
    /// What is wrong, if anything: the key, what was expected, what was found.
    fn fault(&self) -> Option<(&'static str, &'static str, String)> {
        if self.enabled && self.allow.is_empty() && self.known.is_empty() {
            return Some(("exporters.allow", "at least one network whose exporters may send", "none".into()));
        }
        if self.enabled && self.listen.is_empty() && self.tcp_listen.is_empty() {
            return Some(("exporters.listen", "at least one address", "none".into()));
        }
        let mut names = HashSet::new();
        let mut addresses = HashSet::new();
        for known in &self.known {
            let name = known.name.clone().unwrap_or_else(|| known.address.to_string());
            if !is_plain_name(&name) {
                let expected = "1 to 253 letters, digits, dots, colons, dashes and underscores";
                return Some(("exporters.known.name", expected, format!("{name:?}")));
            }
            if !names.insert(name.clone()) {
                return Some((
                    "exporters.known.name",
                    "a name for one exporter only",
                    format!("{name:?} twice"),
                ));
            }
            if !addresses.insert(known.address) {
                let found = format!("{} twice", known.address);
                return Some(("exporters.known.address", "each address once", found));
            }
        }
        None
    }
}

impl Limits {
    pub fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.handshake_timeout_ms)
    }

    pub fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_s)
    }

    pub fn frame_timeout(&self) -> Duration {
        Duration::from_secs(self.frame_timeout_s)
    }

    pub fn otlp_timeout(&self) -> Duration {
        Duration::from_secs(self.otlp_timeout_s)
    }

    pub fn stop_grace(&self) -> Duration {
        Duration::from_secs(self.stop_grace_s)
    }

    pub fn store_ready_timeout(&self) -> Duration {
        Duration::from_secs(self.store_ready_timeout_s)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "/var/lib/vonggac".into(),
            rules: vec!["/usr/share/vonggac/rules/sigma".into()],
            systems: "/etc/vonggac/systems.toml".into(),
            indicators: Vec::new(),
            levels: "/usr/share/vonggac/rules/levels".into(),
            exceptions: None,
            hunts: vec!["/usr/share/vonggac/rules/hunts".into()],
            log: LogLevel::default(),
            intake: Intake::default(),
            otlp: Otlp::default(),
            exporters: Exporters::default(),
            tls: Tls::default(),
            clickhouse: ClickHouse::default(),
            store: Store::default(),
            metrics: Metrics::default(),
            alert: Alert::default(),
            notifications: Notifications::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Intake {
    fn default() -> Self {
        Self { listen: (Ipv6Addr::UNSPECIFIED, 6514).into() }
    }
}

impl Default for Otlp {
    fn default() -> Self {
        Self { enabled: true, listen: (Ipv6Addr::UNSPECIFIED, 4317).into() }
    }
}

impl Default for Exporters {
    fn default() -> Self {
        // The ports that IANA and custom give to NetFlow, IPFIX and sFlow.
        let listen = [2055, 4739, 6343].map(|port| (Ipv6Addr::UNSPECIFIED, port).into()).to_vec();
        Self { enabled: false, listen, tcp_listen: Vec::new(), allow: Vec::new(), known: Vec::new() }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            ca: "/etc/vonggac/tls/ca.crt".into(),
            cert: "/etc/vonggac/tls/collector.crt".into(),
            key: "/etc/vonggac/tls/collector.key".into(),
        }
    }
}

impl Default for ClickHouse {
    fn default() -> Self {
        Self { url: None, user: "vonggac".into(), password_file: None, ca: None, database: "vonggac".into() }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8123).into(),
            library: None,
            memory_bytes_max: STORE_MEMORY_BYTES_MAX,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 9464).into() }
    }
}

impl Default for Alert {
    fn default() -> Self {
        Self { window_s: 3_600 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 2_000,
            connections_host_max: 16,
            handshake_timeout_ms: 10_000,
            idle_timeout_s: 900,
            frame_timeout_s: 120,
            window_batches: 32,
            window_bytes: 32 << 20,
            queue_batches: 64,
            otlp_request_bytes_max: event::BATCH_BYTES_MAX,
            otlp_requests_max: 32,
            otlp_requests_host_max: 12,
            otlp_timeout_s: 30,
            exporter_queue_bytes: 32 << 20,
            exporter_queue_batches: 128,
            exporter_receive_buffer_bytes: 8 << 20,
            threads: 0,
            stop_grace_s: 20,
            store_ready_timeout_s: 60,
        }
    }
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// A name that stands in metrics and events without being quoted.
pub(crate) fn is_plain_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte))
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../deploy/vonggac.toml");

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/site/etc/vonggac.toml"))
    }

    fn rejected(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn reads_the_shipped_file_as_the_defaults() {
        assert_eq!(parse(SHIPPED).unwrap(), Config::default());
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn reads_every_line_of_the_shipped_file_that_is_a_key_commented_out_or_not() {
        let uncommented: String = SHIPPED
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let config = parse(&uncommented).unwrap();
        assert_eq!(config.endpoint().url, "https://clickhouse.example.vn:8443");
        assert_eq!(config.endpoint().ca.as_deref(), Some(Path::new("/etc/vonggac/clickhouse-ca.crt")));
        assert_eq!(config.indicators.len(), 2);
        assert_eq!(config.notifications.targets.len(), 3);
        let chat = config.notifications.targets[2].http.as_ref().unwrap();
        assert_eq!(chat.secret_file.as_deref(), Some(Path::new("/site/etc/telegram.token")));
        assert_eq!(config.exceptions.unwrap(), Path::new("/etc/vonggac/exceptions"));
        assert_eq!(config.store.library.unwrap(), Path::new("/usr/lib/vonggac/libchdb.so"));
    }

    fn is_key(line: &str) -> bool {
        line.split_once(" = ").is_some_and(|(key, _)| is_identifier(key))
    }

    #[test]
    fn starts_relative_paths_at_the_folder_of_the_file() {
        let config = parse("data_dir = \"../data\"\nrules = [\"rules\", \"/opt/rules\"]").unwrap();
        assert_eq!(config.data_dir, Path::new("/site/etc/../data"));
        assert_eq!(config.rules, [Path::new("/site/etc/rules"), Path::new("/opt/rules")]);
        let password = config.reader_endpoint().password_file.unwrap();
        assert_eq!(password, Path::new("/site/etc/../data/store/reader.password"));
    }

    #[test]
    fn rejects_with_file_key_and_what_was_expected() {
        let cases = [
            ("datadir = \"x\"", "unknown field `datadir`"),
            ("[limits]\nthreads = \"two\"", "line 2"),
            ("[intake]\nlisten = \"here\"", "listen = \"here\""),
            (
                "[intake]\nlisten = \"localhost:6514\"",
                "expected ADDRESS:PORT, such as 127.0.0.1:6514 or [::]:6514, and no name, found \"localhost:6514\"",
            ),
            ("[exporters]\nlisten = [\"2055\"]", "expected ADDRESS:PORT"),
            (
                "[otlp]\nlisten = \"127.0.0.1:6514\"",
                "otlp.listen: expected an address that nothing else listens at, found 127.0.0.1:6514, and intake.listen is [::]:6514",
            ),
            (
                "[limits]\nqueue_batches = 0",
                "limits.queue_batches: expected a number from 1 to 65536, found 0",
            ),
            ("[alert]\nwindow_s = 86401", "alert.window_s: expected a number from 1 to 86400, found 86401"),
            ("[store]\nlisten = \"0.0.0.0:8123\"", "store.listen: expected a loopback address"),
            ("[clickhouse]\ndatabase = \"a; DROP\"", "clickhouse.database: expected a name"),
            ("[exporters]\nenabled = true", "exporters.allow: expected at least one network"),
            (
                "[exporters]\nenabled = true\nallow = [\"::/0\"]\nlisten = []",
                "exporters.listen: expected at least one address",
            ),
            ("[exporters]\nallow = [\"192.0.2.0/33\"]", "allow"),
            (
                "[exporters]\nknown = [{ address = \"192.0.2.1\", name = \"a b\" }]",
                "exporters.known.name: expected 1 to 253 letters",
            ),
            (
                "[exporters]\nknown = [{ address = \"192.0.2.1\", name = \"a\" }, { address = \"192.0.2.2\", name = \"a\" }]",
                "exporters.known.name: expected a name for one exporter only, found \"a\" twice",
            ),
            (
                "[exporters]\nknown = [{ address = \"192.0.2.1\", name = \"a\" }, { address = \"192.0.2.1\" }]",
                "exporters.known.address: expected each address once",
            ),
            ("[[indicators]]\nfeed = \"a\"\npath = \"x\"", "missing field `format`"),
            (
                "[[indicators]]\nfeed = \"a b\"\npath = \"x\"\nformat = \"csv\"",
                "indicators.feed: expected 1 to 253",
            ),
            (
                "[[indicators]]\nfeed = \"a\"\npath = \"x\"\nformat = \"list\"\nkind = \"colour\"",
                "expected one of address, domain, url, md5",
            ),
            (
                "[[indicators]]\nfeed = \"a\"\npath = \"x\"\nformat = \"list\"\nseverity = \"loud\"",
                "expected informational, low, medium, high or critical",
            ),
            (
                "[[indicators]]\nfeed = \"a\"\npath = \"x\"\nformat = \"misp\"\ncolumns = [\"value\"]",
                "indicators.columns: expected format = \"csv\"",
            ),
            ("rules = []", "rules: expected at least one folder, found none"),
            ("log = \"loud\"", "expected one of `error`, `warn`, `info`, `debug`, `trace`"),
        ];
        for (text, expected) in cases {
            let error = rejected(text);
            assert!(error.starts_with("/site/etc/vonggac.toml: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn rejects_a_clickhouse_that_cannot_be_asked_or_whose_certificate_nobody_asks_for() {
        for (keys, expected) in [
            ("url = \"localhost\"", "clickhouse.url: expected http://HOST:PORT or https://HOST:PORT"),
            (
                "url = \"http://c:8123\"\nca = \"ca.crt\"",
                "clickhouse.ca: expected clickhouse.url with https, found http://c:8123",
            ),
            ("ca = \"ca.crt\"", "clickhouse.ca: expected clickhouse.url with https, found none"),
        ] {
            let error = rejected(&format!("[clickhouse]\n{keys}"));
            assert!(error.contains(expected), "{error}");
        }
        assert!(parse("[clickhouse]\nurl = \"https://c:8443\"\nca = \"ca.crt\"").is_ok());
    }

    #[test]
    fn takes_the_first_and_the_last_value_of_each_range() {
        let config = Config::default();
        for (key, range, found) in config.ranges() {
            assert!(range.contains(&found), "{key}: its default {found} is not in {range:?}");
        }
        assert!(parse("[alert]\nwindow_s = 86400").is_ok());
        assert!(parse("[alert]\nwindow_s = 1").is_ok());
        assert!(parse("[alert]\nwindow_s = 0").is_err());
    }
}
