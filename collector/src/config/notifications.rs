//! `[notifications]`: who is told of alerts, of which, by what way, and how often it is tried.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use serde::Deserialize;

use crate::level::Lang;
use crate::priority::Priority;

/// Targets at once: each is a task of its own that asks the store.
const TARGETS_MAX: usize = 32;
/// Receivers of one mail.
const RECEIVERS_MAX: usize = 50;

/// Who is told of alerts, and how often it is tried.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Notifications {
    /// Attempts to send a message before it is given up.
    pub attempts_max: u16,
    /// Wait behind the first attempt that failed; each further wait is twice as long, a quarter more or less.
    pub retry_first_ms: u64,
    /// ... but never longer than this.
    pub retry_max_ms: u64,
    /// A message whose first attempt is so long ago is given up, however few attempts there were.
    pub age_max_s: u64,
    pub targets: Vec<NotificationTarget>,
}

/// One who is told, by exactly one way.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct NotificationTarget {
    /// Its name in `vonggac notifications` and metrics. Another name is another target, that begins anew.
    pub name: String,
    /// Alerts of this priority and more urgent ones.
    #[serde(default = "least_urgent")]
    pub(crate) priority: Priority,
    /// Of these systems; of all, and of hosts of no system, when empty.
    #[serde(default)]
    pub systems: Vec<String>,
    /// Of systems of these organisations, by name.
    #[serde(default)]
    pub organisations: Vec<String>,
    /// Also what drills make.
    #[serde(default)]
    pub drills: bool,
    /// Messages are at least so far apart; alerts that come meanwhile are told in the next one.
    #[serde(default = "a_minute")]
    pub interval_s: u64,
    /// Of the text.
    #[serde(default = "vietnamese")]
    pub(crate) lang: Lang,
    pub webhook: Option<Webhook>,
    pub mail: Option<Mail>,
    pub http: Option<HttpTemplate>,
}

/// JSON of our own, by POST.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub url: String,
    /// Signs each request (HMAC-SHA256).
    pub secret_file: Option<PathBuf>,
    /// Authorities to believe instead of those of the host. PEM.
    pub ca: Option<PathBuf>,
}

/// A mail to several.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    pub server: String,
    pub port: Option<u16>,
    #[serde(default)]
    pub tls: MailTls,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub from: String,
    pub to: Vec<String>,
    pub ca: Option<PathBuf>,
}

/// How a mail server is spoken to.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Plain first, TLS before anything is said (port 587). No TLS, no mail.
    #[default]
    Starttls,
    /// TLS from the first byte (port 465).
    Implicit,
    /// In clear (port 25), for a server on this host.
    None,
}

/// A request of a form that the receiver prescribes: chat services, SMS gateways.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct HttpTemplate {
    /// `{secret}` in it, in a header's value and in the body becomes the text of `secret_file`.
    pub url: String,
    pub secret_file: Option<PathBuf>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub content: Content,
    /// `{title}`, `{text}`, `{priority}`, `{count}`, `{message}` in it become those of the message.
    pub body: String,
    #[serde(default)]
    pub text: TextForm,
    pub ca: Option<PathBuf>,
}

/// What a body is; values are escaped for it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    #[default]
    Json,
    Text,
}

/// How the receiver reads the text itself.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum TextForm {
    #[default]
    Plain,
    Html,
}

/// What is wrong: the key, what was expected, what was found.
type Fault = (&'static str, &'static str, String);

impl Notifications {
    pub(crate) fn retry_first(&self) -> Duration {
        Duration::from_millis(self.retry_first_ms)
    }

    pub(crate) fn retry_max(&self) -> Duration {
        Duration::from_millis(self.retry_max_ms)
    }

    pub(crate) fn age_max(&self) -> Duration {
        Duration::from_secs(self.age_max_s)
    }

    /// The files that are named.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.targets.iter_mut().flat_map(|target| {
            let NotificationTarget { webhook, mail, http, .. } = target;
            let webhook = webhook.iter_mut().flat_map(|way| [&mut way.secret_file, &mut way.ca]);
            let mail = mail.iter_mut().flat_map(|way| [&mut way.password_file, &mut way.ca]);
            let http = http.iter_mut().flat_map(|way| [&mut way.secret_file, &mut way.ca]);
            webhook.chain(mail).chain(http).flatten()
        })
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        if self.targets.len() > TARGETS_MAX {
            return Some(("notifications.targets", "at most 32", self.targets.len().to_string()));
        }
        if self.retry_first_ms > self.retry_max_ms {
            let found = format!("{} > {}", self.retry_first_ms, self.retry_max_ms);
            return Some(("notifications.retry_max_ms", "no less than retry_first_ms", found));
        }
        let mut names = HashSet::new();
        self.targets.iter().find_map(|target| {
            if !super::is_plain_name(&target.name) {
                let expected = "1 to 253 letters, digits, dots, colons, dashes and underscores";
                return Some(("notifications.targets.name", expected, format!("{:?}", target.name)));
            }
            if !names.insert(&target.name) {
                let found = format!("{:?} twice", target.name);
                return Some(("notifications.targets.name", "a name for one target only", found));
            }
            target.fault()
        })
    }
}

impl NotificationTarget {
    fn fault(&self) -> Option<Fault> {
        let ways = [self.webhook.is_some(), self.mail.is_some(), self.http.is_some()];
        let ways = ways.iter().filter(|is_there| **is_there).count();
        if ways != 1 {
            let found = format!("{ways} of {:?}", self.name);
            return Some(("notifications.targets", "one of webhook, mail and http", found));
        }
        if self.interval_s > 86_400 {
            let expected = "a number from 0 to 86400";
            return Some(("notifications.targets.interval_s", expected, self.interval_s.to_string()));
        }
        let urls = [self.webhook.as_ref().map(|way| &way.url), self.http.as_ref().map(|way| &way.url)];
        let is_web = |url: &str| url.starts_with("http://") || url.starts_with("https://");
        // What is found is not shown: somebody may have written the secret into it.
        if urls.into_iter().flatten().any(|url| !is_web(url)) {
            let expected = "http://HOST/... or https://HOST/...";
            return Some(("notifications.targets.url", expected, format!("another one, of {:?}", self.name)));
        }
        self.mail.as_ref().and_then(Mail::fault)
    }
}

impl Mail {
    fn fault(&self) -> Option<Fault> {
        if self.to.is_empty() || self.to.len() > RECEIVERS_MAX {
            return Some(("notifications.targets.mail.to", "1 to 50 addresses", self.to.len().to_string()));
        }
        let mut addresses = self.to.iter().chain([&self.from]);
        if let Some(wrong) = addresses.find(|address| address.parse::<Mailbox>().is_err()) {
            let expected = "addresses NAME@DOMAIN or Name <NAME@DOMAIN>";
            return Some(("notifications.targets.mail", expected, format!("{wrong:?}")));
        }
        if self.user.is_some() != self.password_file.is_some() {
            let expected = "user and password_file, or none of them";
            return Some(("notifications.targets.mail", expected, "one of them".into()));
        }
        if self.user.is_some() && self.tls == MailTls::None {
            let expected = "tls where there is a password: it would cross the network in clear";
            return Some(("notifications.targets.mail.tls", expected, "\"none\"".into()));
        }
        None
    }
}

impl Default for Notifications {
    fn default() -> Self {
        Self {
            attempts_max: 12,
            retry_first_ms: 5_000,
            retry_max_ms: 900_000,
            age_max_s: 86_400,
            targets: Vec::new(),
        }
    }
}

fn least_urgent() -> Priority {
    Priority::P5
}

fn a_minute() -> u64 {
    60
}

fn vietnamese() -> Lang {
    Lang::Vi
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    #[test]
    fn rejects_with_the_key_and_what_was_expected() {
        let cases = [
            (
                "[notifications]\nretry_first_ms = 5000\nretry_max_ms = 100",
                "notifications.retry_max_ms: expected no less than retry_first_ms",
            ),
            (
                "[notifications]\ntargets = [{ name = \"a\" }]",
                "one of webhook, mail and http, found 0 of \"a\"",
            ),
            (
                "[notifications]\ntargets = [{ name = \"a\", webhook = { url = \"ftp://x\" } }]",
                "notifications.targets.url: expected http://HOST/... or https://HOST/...",
            ),
            (
                "[notifications]\ntargets = [{ name = \"a\", priority = \"P9\", webhook = { url = \"http://x\" } }]",
                "P9",
            ),
            (
                "[notifications]\ntargets = [{ name = \"a\", mail = { server = \"x\", from = \"x\", to = [\"a@b\"] } }]",
                "notifications.targets.mail: expected addresses",
            ),
            (
                "[notifications]\ntargets = [{ name = \"a\", mail = { server = \"x\", from = \"a@b\", to = [\"a@b\"], tls = \"none\", user = \"u\", password_file = \"p\" } }]",
                "notifications.targets.mail.tls: expected tls where there is a password",
            ),
        ];
        for (text, expected) in cases {
            let error = Config::parse(text, Path::new("/site/etc/vonggac.toml")).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
