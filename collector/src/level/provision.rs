//! What a decree says beside the level: retention, duties, deadlines, roles, each with the article that says so.

use jiff::civil::Date;
use serde::Deserialize;

use crate::level::citation::Citation;
use crate::level::condition::Condition;
use crate::level::period::Period;
use crate::level::{Lang, Text};

/// One provision: what it says, where it stands, and what of it the operator must check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Provision {
    pub(crate) id: String,
    /// None where no article says so, only the reading of who wrote the decree down.
    pub(crate) citation: Option<Citation>,
    pub(crate) text: Text,
    /// What is not sure about it.
    pub(crate) unsure: Option<Text>,
}

/// A condition, and the level of the systems for which it holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Rule {
    pub(crate) provision: Provision,
    pub(super) when: Condition,
    pub(super) level: RuleLevel,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RuleLevel {
    Fixed(u8),
    /// The value of an input that is a number.
    Stated(usize),
}

/// A case that a person must decide, and the least that its level is until then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Review {
    pub(crate) provision: Provision,
    pub(super) when: Condition,
    pub(crate) minimum: u8,
}

/// How long records of a level are kept at the least.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RetentionMinimum {
    pub(crate) provision: Provision,
    pub(crate) level: u8,
    pub(crate) keep: Period,
    /// The same in days, months at their longest.
    pub(crate) days: u16,
}

/// What is to be done again and again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Duty {
    pub(crate) provision: Provision,
    /// How often, for each level from 1; none where the level does not ask for it.
    pub(crate) every: Vec<Option<Period>>,
    /// Days of a year before which it is due.
    pub(crate) before: Vec<YearDay>,
}

/// Until when something must be told or done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Deadline {
    pub(crate) provision: Provision,
    /// None where the law sets no time.
    pub(crate) within: Option<Period>,
    /// The class of incidents that it is for; none: it is not about incidents.
    pub(crate) concerns: Option<String>,
    pub(crate) from: Start,
}

/// A class of incidents that a decree tells apart.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct IncidentClass {
    pub(crate) id: String,
    pub(crate) text: Text,
}

/// When the time of a deadline begins.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Start {
    #[default]
    Detection,
    /// When the incident is over.
    End,
}

/// What a report of an incident must say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ReportField {
    pub(crate) provision: Provision,
    /// Where it is known from unless somebody states it.
    pub(crate) source: Option<FieldSource>,
}

/// What is known about an incident without asking anybody.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FieldSource {
    /// The system's owner, operator, and whom to call there, by the inventory.
    Owner,
    Operator,
    Contact,
    System,
    DetectedAt,
    /// The highest severity of its alerts.
    Severity,
    /// The hosts of its alerts, and the addresses of the system.
    Hosts,
    /// The titles of its alerts.
    Alerts,
}

/// Who does what about systems of some levels.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Role {
    pub(crate) provision: Provision,
    pub(crate) levels: Vec<u8>,
    pub(crate) within: Option<Period>,
}

/// A log source that systems of some levels need; the id is that of its kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SourceDuty {
    pub(crate) provision: Provision,
    pub(crate) levels: Vec<u8>,
}

impl Duty {
    /// How often a system of this level owes it.
    pub(crate) fn every(&self, level: u8) -> Option<Period> {
        self.every.get(usize::from(level).checked_sub(1)?).copied().flatten()
    }
}

/// A day, `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
pub(crate) struct Day(pub(crate) Date);

impl TryFrom<String> for Day {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("expected a date YYYY-MM-DD, found {text:?}"))
    }
}

/// A day of every year, `MM-DD`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub(crate) struct YearDay {
    month: i8,
    day: i8,
}

impl TryFrom<String> for YearDay {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = format!("2024-{text}").parse::<Date>().ok().filter(|_| text.len() == 5);
        let date = parsed.ok_or_else(|| format!("expected a day of the year MM-DD, found {text:?}"))?;
        Ok(Self { month: date.month(), day: date.day() })
    }
}

impl YearDay {
    /// The last day of a year that is before it. Before the first of January is the year before.
    pub(crate) fn last_before(self, year: i16) -> Option<Date> {
        // 29 February is there in leap years only.
        let day = Date::new(year, self.month, self.day)
            .or_else(|_| Date::new(year, self.month, self.day.saturating_sub(1)))
            .ok()?;
        day.yesterday().ok()
    }

    pub(crate) fn shown(self, lang: Lang) -> String {
        let Self { month, day } = self;
        lang.pick(format!("{day:02}/{month:02}"), format!("{month:02}-{day:02}"))
    }
}
