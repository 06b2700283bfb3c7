//! `vonggac alert ack|assign|contain|comment|close`: what people do with alerts, appended to the history; what they do with duties
//! and incidents goes the same way.
//!
//! Who: the account that runs the command, and behind `sudo` the account that called it. Root may name somebody else (`--as`),
//! for tools that write for people they have authenticated themselves; the account stays in the entry.
//!
//! What this never does: change an entry, or an alert. All ids are looked up before the first entry is written.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clickhouse::Row;
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

use crate::clock::now;
use crate::config::{Config, ConfigArg};
use crate::history::{COLUMNS, Entry, HeadFile};
use crate::people::connect::{Reader, Writer, block_on, configuration};
use crate::people::escape::shown;
use crate::people::filter::{Bound, Filter};
use crate::people::output::print_text;

/// A page of text: a report belongs elsewhere.
const TEXT_CHARS_MAX: usize = 4_096;
/// Names of people and teams.
const NAME_CHARS_MAX: usize = 128;
/// Shortest beginning of an id that is looked up: shorter ones are typing errors.
pub(super) const PREFIX_CHARS_MIN: usize = 4;
const ROOT: &str = "root";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Deed {
    /// Say that somebody has seen an alert and looks at it. A closed alert is open again
    Ack(Optional),
    /// Give an alert to somebody
    Assign(Assign),
    /// Say that what the alert is about can do no further harm. A closed alert stays closed
    Contain(Optional),
    /// Add a remark
    Comment(Comment),
    /// Say what an alert was, and how it ended. A second close corrects the verdict; when it was closed stays as it was
    Close(Close),
}

#[derive(Debug, clap::Args)]
struct Target {
    /// The alerts' ids, or their beginnings (at least 4 characters)
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    config: ConfigArg,
    /// Who decided, instead of who types; only for root
    #[arg(long = "as", value_name = "NAME")]
    on_behalf: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Optional {
    #[command(flatten)]
    target: Target,
    /// A remark
    #[arg(long, default_value = "", hide_default_value = true)]
    text: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Assign {
    #[command(flatten)]
    target: Target,
    /// To whom
    #[arg(long, value_name = "NAME")]
    to: String,
    /// A remark
    #[arg(long, default_value = "", hide_default_value = true)]
    text: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Comment {
    #[command(flatten)]
    target: Target,
    /// The remark
    #[arg(long)]
    text: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Close {
    #[command(flatten)]
    target: Target,
    /// What it was
    #[arg(long, value_enum)]
    verdict: Verdict,
    /// What was found and done
    #[arg(long)]
    text: String,
}

/// What an alert turned out to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// An attack, or a breach of policy
    TruePositive,
    /// The rule is wrong: nothing of the kind happened
    FalsePositive,
    /// The rule is right, and what happened was allowed
    Benign,
    /// Another alert tells the same
    Duplicate,
}

impl Verdict {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::TruePositive => "true_positive",
            Self::FalsePositive => "false_positive",
            Self::Benign => "benign",
            Self::Duplicate => "duplicate",
        }
    }
}

#[derive(Deserialize, Row)]
struct Id {
    id: String,
}

pub(crate) fn run(deed: &Deed) -> Result<ExitCode> {
    let (target, entry) = deed.entry()?;
    let config = configuration(&target.config)?;
    let writer = Writer::open(&config)?;
    block_on(async {
        let mut ids = Vec::new();
        for prefix in &target.ids {
            match resolve(writer.reader(), prefix).await? {
                // Named twice, by two beginnings perhaps: one deed.
                Ok(id) if ids.contains(&id) => {}
                Ok(id) => ids.push(id),
                Err(said) => {
                    eprintln!("vonggac: {said}");
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        let about = |id| Entry { alert_id: id, ..entry.clone() };
        let entries = ids.into_iter().map(about).collect();
        let entries = Chain::hold(&config, &writer)?.append(entries, target.on_behalf.as_deref()).await?;
        print_text(&written(&entries))?;
        Ok(ExitCode::SUCCESS)
    })
}

impl Deed {
    /// Whose alerts, and what the entry says of the deed.
    fn entry(&self) -> Result<(&Target, Entry)> {
        let entry = |action: &str, text: &str| -> Result<Entry> {
            Ok(Entry { action: action.to_owned(), text: remark(text)?, ..Entry::default() })
        };
        Ok(match self {
            Self::Ack(Optional { target, text }) => (target, entry("ack", text)?),
            Self::Contain(Optional { target, text }) => (target, entry("contain", text)?),
            Self::Assign(Assign { target, to, text }) => {
                (target, Entry { assignee: name("--to", to)?, ..entry("assign", text)? })
            }
            Self::Comment(Comment { target, text }) => (target, said(entry("comment", text)?)?),
            Self::Close(Close { target, verdict, text }) => {
                let entry = Entry { verdict: verdict.as_str().to_owned(), ..entry("close", text)? };
                (target, said(entry)?)
            }
        })
    }
}

fn said(entry: Entry) -> Result<Entry> {
    ensure!(!entry.text.is_empty(), "--text: a text is expected, found an empty one");
    Ok(entry)
}

pub(super) fn remark(text: &str) -> Result<String> {
    let text: String = text.trim().nfc().collect();
    let chars = text.chars().count();
    ensure!(chars <= TEXT_CHARS_MAX, "--text: at most {TEXT_CHARS_MAX} characters expected, found {chars}");
    Ok(text)
}

fn name(option: &str, name: &str) -> Result<String> {
    let name: String = name.trim().nfc().collect();
    let expected = (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.contains(char::is_control);
    ensure!(
        expected,
        "{option}: a name of 1 to {NAME_CHARS_MAX} characters expected, found {:?}",
        shown(&name)
    );
    Ok(name)
}

/// Who decided.
fn actor(on_behalf: Option<&str>, login: &str) -> Result<String> {
    if let Some(other) = on_behalf {
        ensure!(login == ROOT, "--as: only root may name somebody else, you are {}", shown(login));
        return name("--as", other);
    }
    // sudo says who called it; without sudo nobody sets this.
    let caller = std::env::var("SUDO_USER").ok().filter(|caller| !caller.is_empty());
    Ok(caller.unwrap_or_else(|| login.to_owned()))
}

/// The account, by way of `id`: it asks every directory that the machine knows (NSS), not only /etc/passwd.
fn login() -> Result<String> {
    let output = Command::new("id").arg("-un").output().context("`id -un` says who you are")?;
    let login = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(output.status.success() && !login.is_empty(), "`id -un` does not say who you are");
    Ok(login)
}

fn host() -> Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").context("this machine's name")?;
    Ok(host.trim().to_owned())
}

/// The id that begins so, or why there is not exactly one.
pub(super) async fn resolve(reader: &Reader, prefix: &str) -> Result<Result<String, String>> {
    let prefix = prefix.trim().to_ascii_lowercase();
    ensure!(
        prefix.chars().count() >= PREFIX_CHARS_MIN,
        "an alert's id, or at least its first {PREFIX_CHARS_MIN} characters, is expected; `vonggac alerts` lists them"
    );
    let mut filter = Filter::default();
    filter.and("startsWith(a.id, {})", Bound::Text(prefix.clone()));
    let sql = format!("SELECT DISTINCT a.id AS id FROM alerts AS a WHERE {} LIMIT 2", filter.sql());
    let mut found = reader.rows::<Id>(&sql, &filter).await?;
    Ok(match (found.pop(), found.pop()) {
        (Some(only), None) => Ok(only.id),
        (None, _) => Err(no_alert(&prefix)),
        (Some(_), Some(_)) => {
            Err(format!("more than one alert has an id that begins with {}", shown(&prefix)))
        }
    })
}

/// Why there is no such alert. What is no beginning of an id was meant to be something else.
pub(super) fn no_alert(prefix: &str) -> String {
    if prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return format!("no alert has an id that begins with {prefix}");
    }
    format!(
        "{} is no alert's id: hexadecimal digits (0-9, a-f) are expected; `vonggac alerts` lists alerts with their ids, \
         `vonggac alert --help` what can be done with one",
        shown(prefix)
    )
}

/// This machine's chain, held for one writer: what is read while it is held is not changed by another on this machine.
pub(super) struct Chain<'w> {
    file: HeadFile,
    host: String,
    writer: &'w Writer,
}

impl<'w> Chain<'w> {
    /// Waits until no other writer of this machine is at it.
    pub(super) fn hold(config: &Config, writer: &'w Writer) -> Result<Self> {
        let (host, folder) = (host()?, config.data_dir.display());
        let file = HeadFile::lock(&config.data_dir, &host).with_context(|| {
            format!(
                "the head of the history cannot be kept below {folder}, which is of the user of `vonggac serve` \
                 (`sudo -u vonggac vonggac ...`)"
            )
        })?;
        Ok(Self { file, host, writer })
    }

    /// Appends entries, all of them or none, with who decided, and from which account and machine it is typed; gives them back
    /// as they stand in the chain.
    pub(super) async fn append(mut self, entries: Vec<Entry>, on_behalf: Option<&str>) -> Result<Vec<Entry>> {
        let login = login()?;
        let actor = actor(on_behalf, &login)?;
        // A writer that died behind its insert left the file some entries behind.
        let known = self.file.head.clone();
        let stored = newest(self.writer.reader(), &known.chain).await?;
        let mut head = stored.filter(|stored| stored.seq > known.seq).map_or(known, |entry| entry.head());
        let mut chained = Vec::with_capacity(entries.len());
        for entry in entries {
            let (actor, login, host) = (actor.clone(), login.clone(), self.host.clone());
            let entry = Entry { at: now(), actor, login, host, ..entry }.behind(&head);
            head = entry.head();
            chained.push(entry);
        }
        if chained.is_empty() {
            return Ok(chained);
        }
        self.writer.insert_all("alert_history", &chained).await?;
        self.file
            .replace(head)
            .context("the entries are stored, but the head of the history is not remembered")?;
        Ok(chained)
    }
}

/// A line for each entry that was written, with what `vonggac alerts verify` checks it by.
pub(super) fn written(entries: &[Entry]) -> String {
    let line = |entry: &Entry| {
        let (action, subject, actor) = (shown(&entry.action), shown(&entry.alert_id), shown(&entry.actor));
        format!("{action} {subject} by {actor} ({})\n", entry.head())
    };
    entries.iter().map(line).collect()
}

async fn newest(reader: &Reader, chain: &str) -> Result<Option<Entry>> {
    let mut filter = Filter::default();
    filter.and("h.chain = {}", Bound::Text(chain.to_owned()));
    let sql = format!(
        "SELECT {COLUMNS} FROM alert_history AS h WHERE {} ORDER BY h.seq DESC LIMIT 1",
        filter.sql()
    );
    Ok(reader.rows(&sql, &filter).await?.pop())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        deed: Deed,
    }

    fn entry(line: &str) -> Result<Entry> {
        let line = Line::try_parse_from(std::iter::once("alert").chain(line.split(' ')))?;
        line.deed.entry().map(|(_, entry)| entry)
    }

    #[test]
    fn reads_what_was_decided() {
        let closed = entry("close abcd --verdict false_positive --text scanner").unwrap();
        assert_eq!(
            (&*closed.action, &*closed.verdict, &*closed.text),
            ("close", "false_positive", "scanner")
        );
        let assigned = entry("assign abcd ef01 --to Hương").unwrap();
        assert_eq!((&*assigned.action, &*assigned.assignee), ("assign", "Hương"));
        assert_eq!(entry("ack abcd").unwrap().action, "ack");
    }

    #[test]
    fn rejects_a_close_without_a_verdict_or_a_word() {
        for line in [
            "close abcd --text x",
            "close abcd --verdict benign",
            "close abcd --verdict maybe --text x",
            "ack",
        ] {
            assert!(entry(line).is_err(), "{line}");
        }
        assert!(remark(&"x".repeat(TEXT_CHARS_MAX)).is_ok());
        assert!(remark(&"x".repeat(TEXT_CHARS_MAX + 1)).is_err());
        assert!(name("--to", "a\nb").is_err());
    }

    #[test]
    fn a_word_is_no_id() {
        assert_eq!(no_alert("8c1f"), "no alert has an id that begins with 8c1f");
        let said = no_alert("list\u{1b}");
        assert!(said.starts_with("list\\x1b is no alert's id: hexadecimal digits"), "{said}");
        assert!(said.contains("`vonggac alerts` lists alerts"), "{said}");
    }

    #[test]
    fn only_root_names_somebody_else() {
        assert_eq!(actor(Some("lan"), "root").unwrap(), "lan");
        assert!(actor(Some("lan"), "vonggac").is_err());
    }
}
