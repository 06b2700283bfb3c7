//! An incident: alerts that belong together, what is known about it, and what the law wants told by when. Pure.
//!
//! It is nothing but its entries in the history of hashes ([`crate::history`]), about the subject `incident/ID`:
//!
//! | action | text |
//! |---|---|
//! | `open` | the title |
//! | `set` | `NAME VALUE`: one of [`Fact`]s, or a field of the report; an empty value takes it back |
//! | `sent` | `DEADLINE TIME PROOF`: that what a deadline asks for was sent; the first time counts, what follows brings it up to date |
//! | `unsent` | `DEADLINE REASON`: nothing of what was recorded as sent for it was |
//! | `comment` | a remark |
//! | `close` | how it ended; the verdict says what it was |
//!
//! The last word counts. That an alert belongs to it is an entry of the alert's own: `incident`, with the id as its text, so
//! that an alert belongs to one incident at most, and its page says to which.
//!
//! Which deadlines there are is the matter of the decree that was in force when the incident was detected. An incident that
//! turned out to be none (a verdict other than a true positive) owes nothing but what was sent for it. One that is closed keeps the
//! deadlines that nobody met: closing it sends no report.
//!
//! "At once" has no minutes in the law. What must be told at once is late after [`AT_ONCE_MINUTES`], a measure of our own.

use std::collections::BTreeMap;

use event::Micros;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::history::Entry;
use crate::level::{Deadline, Decree, Decrees, Lang, Period, Start};

/// How the subject of its entries begins.
pub(crate) const SUBJECT: &str = "incident/";
/// The class that every incident is of.
pub(crate) const EVERY: &str = "incident";
/// How long "at once" lasts before it is called late.
const AT_ONCE_MINUTES: Micros = 60;
const MINUTE: Micros = 60_000_000;
/// The verdict that leaves it an incident.
pub(crate) const TRUE_POSITIVE: &str = "true_positive";

/// What is known of an incident beside the fields of the report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fact {
    Title,
    System,
    DetectedAt,
    EndedAt,
    /// Words of the decree, parted by commas.
    Classes,
    /// The drill whose alerts it is made of; an exercise is no incident for the law.
    Drill,
}

impl Fact {
    const ALL: [Self; 6] =
        [Self::Title, Self::System, Self::DetectedAt, Self::EndedAt, Self::Classes, Self::Drill];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::System => "system",
            Self::DetectedAt => "detected_at",
            Self::EndedAt => "ended_at",
            Self::Classes => "classes",
            Self::Drill => "drill",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fact| fact.name() == name)
    }
}

/// An incident as its entries tell it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Incident {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) opened_at: Micros,
    pub(crate) opened_by: String,
    /// Empty: of no system of the inventory.
    pub(crate) system: String,
    pub(crate) detected_at: Micros,
    pub(crate) ended_at: Option<Micros>,
    pub(crate) classes: Vec<String>,
    pub(crate) drill: String,
    /// What somebody stated for the report.
    pub(crate) fields: BTreeMap<String, String>,
    /// What was sent, by deadline, each time.
    pub(crate) sent: BTreeMap<String, Vec<Sent>>,
    pub(crate) closed: Option<Closed>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Sent {
    #[serde(serialize_with = "crate::people::as_iso")]
    pub(crate) at: Micros,
    pub(crate) proof: String,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Closed {
    #[serde(serialize_with = "crate::people::as_iso")]
    pub(crate) at: Micros,
    pub(crate) verdict: String,
    pub(crate) text: String,
}

/// A deadline of an incident.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term<'i> {
    pub(crate) deadline: &'i Deadline,
    /// None: no time is set, or it has not begun.
    pub(crate) due: Option<Micros>,
    /// What was sent for it, the first at first.
    pub(crate) sent: &'i [Sent],
}

/// How a deadline stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    Met,
    /// Sent, but too late.
    Missed,
    Overdue,
    Open,
    /// It has not begun, or has no time.
    Undated,
}

/// The incidents of entries in the order of time, the first opened first.
pub(crate) fn incidents(entries: &[Entry]) -> Vec<Incident> {
    let mut all: Vec<Incident> = Vec::new();
    for entry in entries {
        let Some(id) = entry.alert_id.strip_prefix(SUBJECT) else { continue };
        let known = all.iter_mut().find(|incident| incident.id == id);
        match known {
            Some(incident) => incident.take(entry),
            None => all.push(Incident::opened(id, entry)),
        }
    }
    all
}

impl Incident {
    fn opened(id: &str, entry: &Entry) -> Self {
        let mut incident = Self {
            id: id.to_owned(),
            opened_at: entry.at,
            opened_by: entry.actor.clone(),
            detected_at: entry.at,
            ..Self::default()
        };
        incident.take(entry);
        incident
    }

    /// Goes on with a further entry about it.
    pub(crate) fn take(&mut self, entry: &Entry) {
        let (name, value) = entry.text.split_once(' ').unwrap_or((&entry.text, ""));
        match entry.action.as_str() {
            "open" => self.title.clone_from(&entry.text),
            "set" => self.set(name, value),
            "sent" => {
                let (at, proof) = value.split_once(' ').unwrap_or((value, ""));
                if let Some(at) = moment(at) {
                    let sent = self.sent.entry(name.to_owned()).or_default();
                    sent.push(Sent { at, proof: proof.to_owned() });
                    sent.sort_by_key(|sent| sent.at);
                }
            }
            "unsent" => drop(self.sent.remove(name)),
            "close" => {
                let (verdict, text) = (entry.verdict.clone(), entry.text.clone());
                self.closed = Some(Closed { at: entry.at, verdict, text });
            }
            _ => {}
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        match Fact::by_name(name) {
            Some(Fact::Title) => value.clone_into(&mut self.title),
            Some(Fact::System) => value.clone_into(&mut self.system),
            Some(Fact::DetectedAt) => self.detected_at = moment(value).unwrap_or(self.detected_at),
            Some(Fact::EndedAt) => self.ended_at = moment(value),
            Some(Fact::Classes) => self.classes = words(value),
            Some(Fact::Drill) => value.clone_into(&mut self.drill),
            None if value.is_empty() => drop(self.fields.remove(name)),
            None => drop(self.fields.insert(name.to_owned(), value.to_owned())),
        }
    }

    /// open, ended or closed
    pub(crate) fn status(&self) -> &'static str {
        match (&self.closed, self.ended_at) {
            (Some(_), _) => "closed",
            (None, Some(_)) => "ended",
            (None, None) => "open",
        }
    }

    /// Whether it turned out to be none.
    pub(crate) fn is_dismissed(&self) -> bool {
        self.closed.as_ref().is_some_and(|closed| closed.verdict != TRUE_POSITIVE)
    }

    /// What of it cannot be, by itself and by the decree in force at its detection.
    pub(crate) fn fault(&self, decree: Option<&Decree>) -> Option<String> {
        let detected = self.detected_at;
        if self.ended_at.is_some_and(|ended| ended < detected) {
            return Some("ended_at: a time that is not before the detection is expected".to_owned());
        }
        if self.sent.values().flatten().any(|sent| sent.at < detected) {
            return Some("a report was sent before the detection: `incident sent ID DEADLINE --withdraw` takes it back".to_owned());
        }
        let title = decree.map_or("none is in force at the detection", |decree| &decree.id);
        let known = decree.map_or(Vec::new(), classes);
        if let Some(class) = self.classes.iter().find(|class| !known.contains(&class.as_str())) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Some(format!("classes: by the decree ({title}) expected {known}, found {class:?}"));
        }
        let is_known = |id: &String| {
            decree.is_some_and(|decree| decree.deadlines.iter().any(|deadline| deadline.provision.id == *id))
        };
        let unknown = self.sent.keys().find(|id| !is_known(id))?;
        Some(format!(
            "the decree ({title}) has no deadline {unknown:?}, for which something was sent: `--withdraw` takes it back"
        ))
    }

    /// Where its entries stand.
    pub(crate) fn subject(&self) -> String {
        format!("{SUBJECT}{}", self.id)
    }

    /// The day by which a decree is in force for it.
    fn day(&self, zone: &TimeZone) -> Option<Date> {
        let at = Timestamp::from_microsecond(self.detected_at).ok()?;
        Some(at.to_zoned(zone.clone()).date())
    }

    /// The decree that was in force when it was detected.
    pub(crate) fn decree<'d>(&self, decrees: &'d Decrees, zone: &TimeZone) -> Option<&'d Decree> {
        decrees.in_force(self.day(zone)?)
    }

    /// Its deadlines by a decree, in its order.
    pub(crate) fn terms<'i>(&'i self, decree: &'i Decree, zone: &TimeZone) -> Vec<Term<'i>> {
        let concerned = |deadline: &&Deadline| {
            let is_sent = self.sent.contains_key(&deadline.provision.id);
            let concerned = deadline.concerns.as_ref().is_some_and(|class| self.is(class));
            concerned && (is_sent || !self.is_dismissed())
        };
        let term = |deadline: &'i Deadline| Term {
            deadline,
            due: self.due(deadline, zone),
            sent: self.sent.get(&deadline.provision.id).map_or(&[][..], Vec::as_slice),
        };
        decree.deadlines.iter().filter(concerned).map(term).collect()
    }

    /// What its classes are called.
    pub(crate) fn class_names(&self, decree: Option<&Decree>, lang: Lang) -> String {
        let known = decree.map_or(&[][..], |decree| &decree.incident_classes);
        let name = |class: &String| {
            let known = known.iter().find(|known| known.id == *class);
            known.map_or_else(|| class.clone(), |known| known.text.of(lang).to_owned())
        };
        self.classes.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    fn is(&self, class: &str) -> bool {
        class == EVERY || self.classes.iter().any(|own| own == class)
    }

    fn due(&self, deadline: &Deadline, zone: &TimeZone) -> Option<Micros> {
        let from = match deadline.from {
            Start::Detection => self.detected_at,
            Start::End => self.ended_at?,
        };
        after(from, deadline, zone)
    }
}

/// When a deadline ends whose time begins at a moment; none when it has no length.
fn after(from: Micros, deadline: &Deadline, zone: &TimeZone) -> Option<Micros> {
    let from = Timestamp::from_microsecond(from).ok()?.to_zoned(zone.clone());
    let due = from.checked_add(deadline.within?.span()?).ok()?;
    Some(due.timestamp().as_microsecond())
}

/// The first deadline of an incident that nobody has classed yet, and the moment at which it ends.
pub(crate) fn first_due<'d>(
    decrees: &'d Decrees,
    detected_at: Micros,
    zone: &TimeZone,
) -> Option<(Micros, &'d Deadline)> {
    let incident = Incident { detected_at, ..Incident::default() };
    let decree = incident.decree(decrees, zone)?;
    let of_every = |deadline: &&Deadline| {
        deadline.concerns.as_deref() == Some(EVERY) && deadline.from == Start::Detection
    };
    let ends = |deadline: &'d Deadline| Some((after(detected_at, deadline, zone)?, deadline));
    decree.deadlines.iter().filter(of_every).filter_map(ends).min_by_key(|(due, _)| *due)
}

/// The classes that a decree tells apart, beside that of every incident.
pub(crate) fn classes(decree: &Decree) -> Vec<&str> {
    decree.incident_classes.iter().map(|class| &*class.id).collect()
}

impl Standing {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Overdue => "overdue",
            Self::Open => "open",
            Self::Undated => "undated",
        }
    }
}

impl Term<'_> {
    /// Where the law says so.
    pub(crate) fn article(&self, lang: Lang) -> String {
        let citation = self.deadline.provision.citation.as_ref();
        citation.map(|citation| citation.shown(lang)).unwrap_or_default()
    }

    pub(crate) fn standing(&self, now: Micros) -> Standing {
        match (self.sent.first(), self.due) {
            (Some(_), None) => Standing::Met,
            (Some(sent), Some(due)) if self.in_time(sent.at, due) => Standing::Met,
            (Some(_), Some(_)) => Standing::Missed,
            (None, Some(due)) if self.in_time(now, due) => Standing::Open,
            (None, Some(_)) => Standing::Overdue,
            (None, None) => Standing::Undated,
        }
    }

    /// Whether it is to be told without a moment's wait.
    pub(crate) fn is_at_once(&self) -> bool {
        self.deadline.within == Some(Period::AtOnce)
    }

    /// To the minute, as the law counts.
    fn in_time(&self, at: Micros, due: Micros) -> bool {
        let grace = if self.is_at_once() { AT_ONCE_MINUTES } else { 0 };
        at.div_euclid(MINUTE) <= due.div_euclid(MINUTE).saturating_add(grace)
    }
}

fn moment(text: &str) -> Option<Micros> {
    Some(text.parse::<Timestamp>().ok()?.as_microsecond())
}

/// Words parted by commas, each once.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if words.iter().all(|known| known != word) {
            words.push(word.to_owned());
        }
    }
    words
}

#[cfg(test)]
mod tests;
