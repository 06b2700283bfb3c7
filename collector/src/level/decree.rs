//! A decree: read from its text of TOML, checked whole. The first thing that is wrong is told with line and column.

use std::collections::{BTreeMap, HashSet};

use jiff::civil::Date;
use serde::Deserialize;
use thiserror::Error;
use toml::{Spanned, Value as Toml};

use crate::incident::EVERY;
use crate::level::citation::{self, Act, Citation};
use crate::level::condition::Condition;
use crate::level::expression;
use crate::level::input::{Facts, Input, Kind};
use crate::level::period::Period;
use crate::level::provision::{
    Day, Deadline, Duty, FieldSource, IncidentClass, Provision, ReportField, RetentionMinimum, Review, Role,
    Rule, RuleLevel, SourceDuty, Start, YearDay,
};
use crate::level::{LEVEL_MAX, Text};
use crate::place::{Lines, Place};

/// Why a decree is not taken.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{place}: {message}")]
pub struct DecreeError {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// A decree, or whatever else sets levels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decree {
    pub(crate) id: String,
    pub(crate) title: Text,
    /// Names of the levels, from 1.
    levels: Vec<Text>,
    pub(crate) valid_from: Date,
    /// The last day.
    valid_to: Option<Date>,
    /// What is not sure about the decree as a whole.
    pub(crate) unsure: Option<Text>,
    pub(super) inputs: Vec<Input>,
    pub(super) rules: Vec<Rule>,
    pub(super) reviews: Vec<Review>,
    /// By which article the highest level of the parts is that of the whole.
    pub(super) combination: Provision,
    /// By which article systems are not split to lower their level.
    pub(crate) split: Option<Provision>,
    pub(crate) retention: Vec<RetentionMinimum>,
    pub(crate) duties: Vec<Duty>,
    pub(crate) deadlines: Vec<Deadline>,
    /// Classes of incidents, beside that of every incident.
    pub(crate) incident_classes: Vec<IncidentClass>,
    pub(crate) report_fields: Vec<ReportField>,
    pub(crate) roles: Vec<Role>,
    pub(crate) sources: Vec<SourceDuty>,
}

impl Decree {
    /// Reads the text of a decree's file.
    pub(crate) fn parse(text: &str) -> Result<Self, DecreeError> {
        let lines = Lines::of(text);
        let draft: Draft = toml::from_str(text).map_err(|error| DecreeError {
            place: lines.place(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        let (acts, levels) = (draft.act.get_ref().clone(), draft.levels.get_ref().len());
        Builder { text, lines, acts, levels, inputs: Vec::new(), classes: Vec::new() }.build(draft)
    }

    /// Whether it is valid on a day.
    pub(crate) fn is_valid(&self, date: Date) -> bool {
        self.valid_from <= date && self.valid_to.is_none_or(|last| date <= last)
    }

    /// What a level is called.
    pub(crate) fn level_name(&self, level: u8) -> Option<&Text> {
        self.levels.get(usize::from(level).checked_sub(1)?)
    }

    /// The highest level it knows.
    pub(super) fn level_max(&self) -> u8 {
        u8::try_from(self.levels.len()).unwrap_or(LEVEL_MAX)
    }

    /// The longest that it has records of a level kept at the least.
    pub(crate) fn retention_minimum(&self, level: u8) -> Option<&RetentionMinimum> {
        let of_level = self.retention.iter().filter(|minimum| minimum.level == level);
        of_level.max_by_key(|minimum| minimum.days)
    }

    /// The facts that it asks for, out of all that are stated.
    pub(crate) fn facts(&self, stated: &BTreeMap<String, Toml>) -> Facts {
        Facts::new(&self.inputs, stated)
    }

    /// What it expects of a fact; none when it does not ask for it or the value is right.
    pub(crate) fn fact_fault(&self, name: &str, value: &Toml) -> Option<String> {
        self.input(name)?.kind.read(value).err()
    }

    pub(crate) fn asks(&self, name: &str) -> bool {
        self.input(name).is_some()
    }

    pub(super) fn input(&self, name: &str) -> Option<&Input> {
        self.inputs.iter().find(|input| input.name == name)
    }
}

/// The decrees of a site, from the oldest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decrees(Vec<Decree>);

impl Decrees {
    /// Checks that no two share an id, and that an input of one name is of one type.
    pub(crate) fn new(mut decrees: Vec<Decree>) -> Result<Self, String> {
        let mut inputs: BTreeMap<&str, (&Decree, &Kind)> = BTreeMap::new();
        let mut ids = HashSet::new();
        for decree in &decrees {
            if !ids.insert(&decree.id) {
                return Err(format!("two decrees have the id {:?}", decree.id));
            }
            for input in &decree.inputs {
                let (first, kind) = *inputs.entry(&input.name).or_insert((decree, &input.kind));
                if *kind != input.kind {
                    return Err(format!(
                        "input {:?} is of two types, in {} and in {}",
                        input.name, first.id, decree.id
                    ));
                }
            }
        }
        decrees.sort_by_key(|decree| decree.valid_from);
        Ok(Self(decrees))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Decree> {
        self.0.iter()
    }

    /// The decree that is valid on a day: of several the youngest.
    pub(crate) fn in_force(&self, date: Date) -> Option<&Decree> {
        self.0.iter().rev().find(|decree| decree.is_valid(date))
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<&Decree> {
        self.0.iter().find(|decree| decree.id == id)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    id: String,
    title: Text,
    levels: Spanned<Vec<Text>>,
    valid_from: Day,
    valid_to: Option<Spanned<Day>>,
    unsure: Option<Text>,
    act: Spanned<Vec<Act>>,
    input: Vec<InputDraft>,
    rule: Vec<RuleDraft>,
    #[serde(default)]
    review: Vec<ReviewDraft>,
    combination: NoteDraft,
    split: Option<NoteDraft>,
    #[serde(default)]
    retention: Vec<RetentionDraft>,
    #[serde(default)]
    duty: Vec<DutyDraft>,
    #[serde(default)]
    deadline: Vec<DeadlineDraft>,
    #[serde(default)]
    incident_class: Vec<Spanned<IncidentClass>>,
    #[serde(default)]
    report_field: Vec<ReportFieldDraft>,
    #[serde(default)]
    role: Vec<RoleDraft>,
    #[serde(default)]
    source: Vec<SourceDraft>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputDraft {
    name: Spanned<String>,
    #[serde(rename = "type")]
    kind: KindName,
    values: Option<Vec<String>>,
    min: Option<i64>,
    max: Option<i64>,
    absent: Option<Spanned<Toml>>,
    text: Text,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindName {
    Bool,
    Integer,
    Choice,
    Set,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteDraft {
    article: Spanned<String>,
    text: Text,
    unsure: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleDraft {
    id: Spanned<String>,
    when: Spanned<String>,
    /// A level, or the name of an input that is one.
    level: Spanned<Toml>,
    article: Spanned<String>,
    text: Text,
    unsure: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReviewDraft {
    id: Spanned<String>,
    when: Spanned<String>,
    minimum: Spanned<u8>,
    article: Option<Spanned<String>>,
    text: Text,
    unsure: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetentionDraft {
    level: Spanned<u8>,
    keep: Spanned<Period>,
    article: Spanned<String>,
    text: Text,
    unsure: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DutyDraft {
    id: Spanned<String>,
    /// For each level; "-" where it does not ask for it.
    every: Spanned<Vec<String>>,
    #[serde(default)]
    before: Vec<YearDay>,
    article: Spanned<String>,
    text: Text,
    unsure: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeadlineDraft {
    id: Spanned<String>,
    within: Option<Spanned<Period>>,
    concerns: Option<Spanned<String>>,
    #[serde(default)]
    from: Start,
    article: Spanned<String>,
    text: Text,
    unsure: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportFieldDraft {
    id: Spanned<String>,
    source: Option<FieldSource>,
    article: Spanned<String>,
    text: Text,
    unsure: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleDraft {
    id: Spanned<String>,
    levels: Spanned<Vec<u8>>,
    within: Option<Period>,
    article: Spanned<String>,
    text: Text,
    unsure: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceDraft {
    id: Spanned<String>,
    levels: Spanned<Vec<u8>>,
    article: Spanned<String>,
    text: Text,
    unsure: Option<Text>,
}

/// What the entries of a decree are checked against.
struct Builder<'t> {
    text: &'t str,
    lines: Lines<'t>,
    acts: Vec<Act>,
    levels: usize,
    inputs: Vec<Input>,
    classes: Vec<IncidentClass>,
}

impl Builder<'_> {
    fn build(mut self, draft: Draft) -> Result<Decree, DecreeError> {
        self.check_frame(&draft)?;
        for input in draft.input {
            let input = self.input(input)?;
            self.inputs.push(input);
        }
        self.check_ids(&draft.rule, |rule| &rule.id)?;
        self.check_ids(&draft.review, |review| &review.id)?;
        self.check_ids(&draft.duty, |duty| &duty.id)?;
        self.check_ids(&draft.deadline, |deadline| &deadline.id)?;
        self.check_ids(&draft.report_field, |field| &field.id)?;
        self.classes = each(draft.incident_class, |class| self.incident_class(class))?;
        self.check_ids(&draft.role, |role| &role.id)?;
        self.check_ids(&draft.source, |source| &source.id)?;
        Ok(Decree {
            rules: each(draft.rule, |rule| self.rule(rule))?,
            reviews: each(draft.review, |review| self.review(review))?,
            combination: self.note("combination", draft.combination)?,
            split: draft.split.map(|note| self.note("split", note)).transpose()?,
            retention: each(draft.retention, |retention| self.retention(retention))?,
            duties: each(draft.duty, |duty| self.duty(duty))?,
            deadlines: each(draft.deadline, |deadline| self.deadline(deadline))?,
            report_fields: each(draft.report_field, |field| self.report_field(field))?,
            roles: each(draft.role, |role| self.role(role))?,
            sources: each(draft.source, |source| self.source(source))?,
            incident_classes: self.classes,
            id: draft.id,
            title: draft.title,
            levels: draft.levels.into_inner(),
            valid_from: draft.valid_from.0,
            valid_to: draft.valid_to.map(|day| day.into_inner().0),
            unsure: draft.unsure,
            inputs: self.inputs,
        })
    }

    fn check_frame(&self, draft: &Draft) -> Result<(), DecreeError> {
        if !(1..=usize::from(LEVEL_MAX)).contains(&self.levels) {
            return self.fault(
                &draft.levels,
                format!("levels: expected 1 to {LEVEL_MAX} names, found {}", self.levels),
            );
        }
        if let Some(id) = citation::twice(draft.act.get_ref()) {
            return self.fault(&draft.act, format!("act: the id {id:?} stands twice"));
        }
        match &draft.valid_to {
            Some(last) if *last.get_ref() < draft.valid_from => {
                self.fault(last, "valid_to: expected a day that is not before valid_from".into())
            }
            _ => Ok(()),
        }
    }

    fn check_ids<T>(&self, entries: &[T], id: impl Fn(&T) -> &Spanned<String>) -> Result<(), DecreeError> {
        let mut seen = HashSet::new();
        for entry in entries {
            let id = id(entry);
            if id.get_ref().is_empty() || !seen.insert(id.get_ref()) {
                return self
                    .fault(id, format!("id: expected one that no other has, found {:?}", id.get_ref()));
            }
        }
        Ok(())
    }

    fn input(&self, draft: InputDraft) -> Result<Input, DecreeError> {
        let name = draft.name.get_ref().clone();
        if self.inputs.iter().any(|input| input.name == name) {
            return self.fault(&draft.name, format!("input {name:?} stands twice"));
        }
        let kind = match (draft.kind, draft.values, draft.min.zip(draft.max)) {
            (KindName::Bool, None, None) => Kind::Bool,
            (KindName::Integer, None, Some((min, max))) => Kind::Integer { min, max },
            (KindName::Choice, Some(values), None) => Kind::Choice { values },
            (KindName::Set, Some(values), None) => Kind::Set { values },
            _ => {
                let expected = "expected min and max for an integer, values for a choice or a set";
                return self.fault(&draft.name, format!("input {name:?}: {expected}"));
            }
        };
        if let Some(fault) = kind.fault() {
            return self.fault(&draft.name, format!("input {name:?}: {fault}"));
        }
        let absent = draft.absent.map(|value| {
            let read = kind.read(value.get_ref());
            read.or_else(|expected| self.fault(&value, format!("absent: expected {expected}")))
        });
        Ok(Input { absent: absent.transpose()?, name, kind, text: draft.text })
    }

    fn rule(&self, draft: RuleDraft) -> Result<Rule, DecreeError> {
        let when = self.condition(&draft.when)?;
        if when.asks_known() {
            return self.fault(
                &draft.when,
                "when: known() is for reviews: a rule must not hang on what nobody said".into(),
            );
        }
        let level = self.rule_level(&draft.level)?;
        let provision =
            self.provision(draft.id.into_inner(), Some(&draft.article), draft.text, draft.unsure)?;
        Ok(Rule { provision, when, level })
    }

    fn rule_level(&self, level: &Spanned<Toml>) -> Result<RuleLevel, DecreeError> {
        let of_input = |name: &str| {
            let position = self.inputs.iter().position(|input| input.name == name)?;
            let kind = &self.inputs.get(position)?.kind;
            let most = i64::try_from(self.levels).unwrap_or(i64::MAX);
            let fits = matches!(kind, Kind::Integer { min, max } if *min >= 0 && *max <= most);
            fits.then_some(RuleLevel::Stated(position))
        };
        let read = match level.get_ref() {
            Toml::Integer(number) => {
                u8::try_from(*number).ok().filter(|level| self.has(*level)).map(RuleLevel::Fixed)
            }
            Toml::String(name) => of_input(name),
            _ => None,
        };
        read.map_or_else(
            || {
                self.fault(
                    level,
                    format!("level: expected 1 to {}, or an input that is such a number", self.levels),
                )
            },
            Ok,
        )
    }

    fn review(&self, draft: ReviewDraft) -> Result<Review, DecreeError> {
        let when = self.condition(&draft.when)?;
        let minimum = self.level(&draft.minimum)?;
        let id = draft.id.into_inner();
        let provision = self.provision(id, draft.article.as_ref(), draft.text, draft.unsure)?;
        Ok(Review { provision, when, minimum })
    }

    fn retention(&self, draft: RetentionDraft) -> Result<RetentionMinimum, DecreeError> {
        let level = self.level(&draft.level)?;
        let keep = *draft.keep.get_ref();
        let Some(days) = keep.days_max() else {
            return self.fault(&draft.keep, "keep: expected days, months or years".into());
        };
        let id = format!("retention of level {level}");
        let provision = self.provision(id, Some(&draft.article), draft.text, draft.unsure)?;
        Ok(RetentionMinimum { provision, level, keep, days })
    }

    fn duty(&self, draft: DutyDraft) -> Result<Duty, DecreeError> {
        let read = |text: &String| match &**text {
            "-" => Ok(None),
            _ => Period::try_from(text.clone()).map(Some),
        };
        let every: Result<Vec<_>, String> = draft.every.get_ref().iter().map(read).collect();
        let every = every.or_else(|message| self.fault(&draft.every, format!("every: {message}")))?;
        if every.len() != self.levels {
            return self
                .fault(&draft.every, format!("every: expected one for each of {} levels", self.levels));
        }
        let provision =
            self.provision(draft.id.into_inner(), Some(&draft.article), draft.text, draft.unsure)?;
        Ok(Duty { provision, every, before: draft.before })
    }

    fn deadline(&self, draft: DeadlineDraft) -> Result<Deadline, DecreeError> {
        if let Some(concerns) = &draft.concerns {
            let found = concerns.get_ref();
            if found != EVERY && self.classes.iter().all(|class| class.id != *found) {
                let expected = format!("expected {EVERY:?} or the id of an [[incident_class]]");
                return self.fault(concerns, format!("concerns: {expected}, found {found:?}"));
            }
            if let Some(within) = draft.within.as_ref().filter(|within| within.get_ref().span().is_none()) {
                return self.fault(
                    within,
                    "within: expected at_once, h, d, m or y for what concerns incidents".into(),
                );
            }
        }
        let provision =
            self.provision(draft.id.into_inner(), Some(&draft.article), draft.text, draft.unsure)?;
        Ok(Deadline {
            provision,
            within: draft.within.map(Spanned::into_inner),
            concerns: draft.concerns.map(Spanned::into_inner),
            from: draft.from,
        })
    }

    fn incident_class(&self, class: Spanned<IncidentClass>) -> Result<IncidentClass, DecreeError> {
        let id = &class.get_ref().id;
        if is_word(id) && id != EVERY {
            return Ok(class.into_inner());
        }
        let message = format!("id: expected a word of a-z and _ other than {EVERY:?}, found {id:?}");
        self.fault(&class, message)
    }

    fn report_field(&self, draft: ReportFieldDraft) -> Result<ReportField, DecreeError> {
        if !is_word(draft.id.get_ref()) {
            let found = draft.id.get_ref();
            return self.fault(&draft.id, format!("id: expected a word of a-z and _, found {found:?}"));
        }
        let provision =
            self.provision(draft.id.into_inner(), Some(&draft.article), draft.text, draft.unsure)?;
        Ok(ReportField { provision, source: draft.source })
    }

    fn role(&self, draft: RoleDraft) -> Result<Role, DecreeError> {
        let levels = self.levels(draft.levels)?;
        let provision =
            self.provision(draft.id.into_inner(), Some(&draft.article), draft.text, draft.unsure)?;
        Ok(Role { provision, levels, within: draft.within })
    }

    fn source(&self, draft: SourceDraft) -> Result<SourceDuty, DecreeError> {
        let levels = self.levels(draft.levels)?;
        let provision =
            self.provision(draft.id.into_inner(), Some(&draft.article), draft.text, draft.unsure)?;
        Ok(SourceDuty { provision, levels })
    }

    fn levels(&self, levels: Spanned<Vec<u8>>) -> Result<Vec<u8>, DecreeError> {
        if levels.get_ref().iter().all(|level| self.has(*level)) {
            return Ok(levels.into_inner());
        }
        self.fault(&levels, format!("levels: expected 1 to {}", self.levels))
    }

    fn note(&self, id: &str, draft: NoteDraft) -> Result<Provision, DecreeError> {
        self.provision(id.into(), Some(&draft.article), draft.text, draft.unsure)
    }

    fn provision(
        &self,
        id: String,
        article: Option<&Spanned<String>>,
        text: Text,
        unsure: Option<Text>,
    ) -> Result<Provision, DecreeError> {
        let read = |article: &Spanned<String>| {
            let citation = Citation::read(article.get_ref(), &self.acts);
            citation.or_else(|message| self.fault(article, format!("article: {message}")))
        };
        Ok(Provision { id, citation: article.map(read).transpose()?, text, unsure })
    }

    fn condition(&self, when: &Spanned<String>) -> Result<Condition, DecreeError> {
        expression::read(when.get_ref(), &self.inputs).map_err(|fault| {
            let span = when.span();
            // The span holds the quotes; where the text stands in it unescaped, the place is exact.
            let quoted = self.text.get(span.clone()).and_then(|raw| raw.find(when.get_ref().as_str()));
            let offset = quoted.map_or(0, |quotes| quotes.saturating_add(fault.offset));
            let place = self.lines.place(span.start.saturating_add(offset));
            DecreeError { place, message: format!("when: {}", fault.message) }
        })
    }

    fn level(&self, level: &Spanned<u8>) -> Result<u8, DecreeError> {
        let found = *level.get_ref();
        if self.has(found) {
            return Ok(found);
        }
        self.fault(level, format!("level: expected 1 to {}, found {found}", self.levels))
    }

    fn has(&self, level: u8) -> bool {
        (1..=self.levels).contains(&usize::from(level))
    }

    fn fault<T, U>(&self, at: &Spanned<U>, message: String) -> Result<T, DecreeError> {
        Err(DecreeError { place: self.lines.place(at.span().start), message })
    }
}

/// What people type, and what stands in front of a space in the history.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn each<D, T>(drafts: Vec<D>, build: impl Fn(D) -> Result<T, DecreeError>) -> Result<Vec<T>, DecreeError> {
    drafts.into_iter().map(build).collect()
}
