//! Reads the files of exceptions and silences. A waiver in which something is wrong is not loaded: that makes more alerts,
//! never fewer. What is wrong is told with file, line and key, and the rest is read on.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use event::Micros;
use ipnet::IpNet;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::Deserialize;
use toml::Spanned;

use super::{DAYS_AHEAD_MAX, Exceptions, Fault, Kind, Named, Scope, WAIVERS_MAX, Waiver, Wildcard};
use crate::clock::zone;
use crate::config::is_plain_name;
use crate::place::{Lines, Place};

/// Largest file read, in bytes: a thousand times a usual one.
const FILE_BYTES_MAX: u64 = 1 << 20;
const DAY: Micros = 24 * 3600 * 1_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    exception: Vec<Draft>,
    #[serde(default)]
    silence: Vec<Draft>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    id: Spanned<String>,
    owner: Spanned<String>,
    reason: Spanned<String>,
    from: Option<Spanned<String>>,
    expires: Spanned<String>,
    #[serde(default)]
    rules: Vec<Spanned<String>>,
    #[serde(default)]
    systems: Vec<Spanned<String>>,
    #[serde(default)]
    hosts: Vec<Spanned<String>>,
    #[serde(default)]
    addresses: Vec<Spanned<String>>,
    #[serde(default)]
    users: Vec<Spanned<String>>,
    #[serde(default)]
    fields: BTreeMap<String, Vec<Spanned<String>>>,
}

/// What is being read.
#[derive(Default)]
struct Reading {
    exceptions: Exceptions,
    faults: Vec<Fault>,
    /// Where each id stands first.
    ids: HashMap<String, String>,
}

/// The file that is being read.
struct Source<'t> {
    path: &'t Path,
    lines: Lines<'t>,
    now: Micros,
    zone: TimeZone,
}

/// Why a waiver is not taken: where, and what is wrong.
type Wrong = (Place, String);

/// Reads a file, or all `*.toml` of a folder in the order of their names; nothing when no path is configured.
pub(crate) fn load(path: Option<&Path>, now: Micros) -> (Exceptions, Vec<Fault>) {
    let mut reading = Reading::default();
    let Some(path) = path else { return (reading.exceptions, reading.faults) };
    match files(path) {
        Ok(files) => files.iter().for_each(|file| reading.read(file, now)),
        Err(error) => reading.unreadable(path, &error),
    }
    (reading.exceptions, reading.faults)
}

impl Reading {
    fn read(&mut self, path: &Path, now: Micros) {
        match text(path) {
            Ok(text) => self.add(path, &text, now, zone()),
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn add(&mut self, path: &Path, text: &str, now: Micros, zone: TimeZone) {
        let source = Source { path, lines: Lines::of(text), now, zone };
        let file: File = match toml::from_str(text) {
            Ok(file) => file,
            Err(error) => {
                let place = source.lines.place(error.span().map_or(0, |span| span.start));
                let message = error.message().replace('\n', ", ");
                let subject = "file".to_owned();
                return self.faults.push(Fault { file: path.into(), place: Some(place), subject, message });
            }
        };
        let exceptions = file.exception.into_iter().map(|draft| (Kind::Exception, draft));
        let silences = file.silence.into_iter().map(|draft| (Kind::Silence, draft));
        for (kind, draft) in exceptions.chain(silences) {
            let subject = format!("{} {:?}", kind.as_str(), draft.id.get_ref());
            if let Err((place, message)) = self.take(&source, kind, draft) {
                self.faults.push(Fault { file: path.into(), place: Some(place), subject, message });
            }
        }
    }

    fn take(&mut self, source: &Source<'_>, kind: Kind, draft: Draft) -> Result<(), Wrong> {
        let waiver = source.waiver(kind, draft)?;
        let here = format!("{}:{}", source.path.display(), waiver.place);
        if let Some(first) = self.ids.get(&waiver.id) {
            let message = format!("id: expected an id of its own, found one that stands at {first}");
            return Err((waiver.place, message));
        }
        if self.exceptions.waivers.len() >= WAIVERS_MAX {
            return Err((waiver.place, format!("expected at most {WAIVERS_MAX} exceptions and silences")));
        }
        self.ids.insert(waiver.id.clone(), here);
        self.exceptions.waivers.push(waiver);
        Ok(())
    }

    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        let (subject, message) = ("cannot be read".to_owned(), error.to_string());
        self.faults.push(Fault { file: path.into(), place: None, subject, message });
    }
}

impl Source<'_> {
    fn waiver(&self, kind: Kind, draft: Draft) -> Result<Waiver, Wrong> {
        let place = self.place(&draft.id);
        if !is_plain_name(draft.id.get_ref()) {
            let expected = "1 to 253 letters, digits, dots, colons, dashes and underscores";
            return Err(self.wrong(&draft.id, "id", expected));
        }
        for (key, text) in [("owner", &draft.owner), ("reason", &draft.reason)] {
            if text.get_ref().trim().is_empty() {
                return Err(self.wrong(text, key, "a text"));
            }
        }
        let (from, expires) = self.time(&draft)?;
        let scope = self.scope(&draft)?;
        if scope.is_empty() {
            let expected =
                "at least one of rules, systems, hosts, addresses, users, fields: it would cover every hit";
            return Err((place, format!("expected {expected}")));
        }
        let Draft { id, owner, reason, .. } = draft;
        let (id, owner, reason) = (id.into_inner(), owner.into_inner(), reason.into_inner());
        Ok(Waiver { kind, id, owner, reason, from, expires, file: self.path.into(), place, scope })
    }

    /// Both ends.
    fn time(&self, draft: &Draft) -> Result<(Option<Micros>, Micros), Wrong> {
        let expected = "a day YYYY-MM-DD, or a time YYYY-MM-DDTHH:MM with or without its zone";
        let moment = |key: &str, text: &Spanned<String>, is_end| {
            moment(text.get_ref(), &self.zone, is_end).ok_or_else(|| self.wrong(text, key, expected))
        };
        let from = draft.from.as_ref().map(|text| moment("from", text, false)).transpose()?;
        let expires = moment("expires", &draft.expires, true)?;
        if from.is_some_and(|from| from >= expires) {
            return Err(self.wrong(&draft.expires, "expires", "a time after `from`"));
        }
        if expires.saturating_sub(self.now) > DAYS_AHEAD_MAX * DAY {
            let expected = format!("at most {DAYS_AHEAD_MAX} days from now");
            return Err(self.wrong(&draft.expires, "expires", &expected));
        }
        Ok((from, expires))
    }

    fn scope(&self, draft: &Draft) -> Result<Scope, Wrong> {
        let fields = draft.fields.iter();
        let fields = fields.map(|(name, values)| Ok((name.clone(), self.wildcards("fields", values)?)));
        Ok(Scope {
            rules: self.named("rules", &draft.rules)?,
            systems: self.named("systems", &draft.systems)?,
            hosts: self.wildcards("hosts", &draft.hosts)?,
            addresses: draft.addresses.iter().map(|text| self.network(text)).collect::<Result<_, _>>()?,
            users: self.wildcards("users", &draft.users)?,
            fields: fields.collect::<Result<_, _>>()?,
        })
    }

    fn named(&self, key: &str, texts: &[Spanned<String>]) -> Result<Vec<Named>, Wrong> {
        let named = texts.iter().map(|text| match text.get_ref().trim() {
            "" => Err(self.wrong(text, key, "ids")),
            id => Ok(Named { id: id.to_owned(), place: self.place(text) }),
        });
        named.collect()
    }

    fn wildcards(&self, key: &str, texts: &[Spanned<String>]) -> Result<Vec<Wildcard>, Wrong> {
        let wildcards = texts.iter().map(|text| {
            // Stars alone would cover all: then the part is left out.
            if text.get_ref().trim_matches('*').trim().is_empty() {
                return Err(self.wrong(text, key, "a text; * stands for any part of it"));
            }
            Wildcard::new(text.get_ref()).map_err(|_| self.wrong(text, key, "a shorter text"))
        });
        wildcards.collect()
    }

    fn network(&self, text: &Spanned<String>) -> Result<IpNet, Wrong> {
        let network = text.get_ref().parse::<IpNet>();
        let network = network.or_else(|_| text.get_ref().parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| self.wrong(text, "addresses", "an address or a network ADDRESS/LENGTH"))
    }

    fn place<T>(&self, value: &Spanned<T>) -> Place {
        self.lines.place(value.span().start)
    }

    fn wrong(&self, found: &Spanned<String>, key: &str, expected: &str) -> Wrong {
        (self.place(found), format!("{key}: expected {expected}, found {:?}", found.get_ref()))
    }
}

/// A time as it was written, here where it has no zone. A day as an end is meant with all its hours.
fn moment(text: &str, zone: &TimeZone, is_end: bool) -> Option<Micros> {
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => {
            let civil = match text.parse::<Date>() {
                // A time of the day parses as a day, too.
                Ok(day) if !text.contains(['T', ' ']) => {
                    let day = if is_end { day.checked_add(Span::new().days(1)).ok()? } else { day };
                    day.at(0, 0, 0, 0)
                }
                _ => text.parse::<DateTime>().ok()?,
            };
            civil.to_zoned(zone.clone()).ok()?.timestamp()
        }
    };
    Some(timestamp.as_microsecond())
}

fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn text(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("{bytes} bytes, at most {FILE_BYTES_MAX}")));
    }
    std::fs::read_to_string(path)
}

/// Reads one text.
#[cfg(test)]
pub(super) fn parse(text: &str, now: Micros) -> (Exceptions, Vec<String>) {
    let mut reading = Reading::default();
    reading.add(Path::new("x.toml"), text, now, TimeZone::fixed(jiff::tz::offset(7)));
    (reading.exceptions, reading.faults.iter().map(ToString::to_string).collect())
}
