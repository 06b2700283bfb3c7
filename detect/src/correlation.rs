//! Correlation rules, resolved against the rules that they refer to.
//!
//! Taken: every type of Sigma 2.1 (event_count, value_count, temporal, temporal_ordered, value_sum, value_avg,
//! value_percentile, value_median), with group-by, aliases, ranges, and correlations that refer to correlations (without
//! cycles, at most [`CHAIN_MAX`] deep). Windows other than sliding ones are refused.
//!
//! A value_percentile must name its `percentile`, a whole number from 0 to 100. The specification leaves open what a rule
//! without one asks, and the parser takes one that is no whole number for none.

use std::collections::HashMap;
use std::sync::Arc;

use event::{Micros, TS_FUTURE_MAX};
use rsigma_parser::{
    ConditionExpr, ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, FieldAlias,
    Quantifier, SelectorPattern, WindowMode,
};

use crate::Rule;
use crate::amount::Amount;
use crate::limits::{CHAIN_MAX, TIMESPAN_MAX, WINDOW_EVENTS_MAX};
use crate::problem::{Fault, Reason};

/// An event is kept for two timespans, and whether it was the first of its firing is decided by what was kept at the one before.
const REACHED_TIMESPANS: Micros = 4;

/// An event whose time lies ahead is kept for as much longer, and arrivals are kept in seconds, rounded up: twice, as above.
const REACHED_AHEAD: Micros = 2 * (TS_FUTURE_MAX + 1_000_000);

/// A correlation rule that can be observed.
#[derive(Debug)]
pub(crate) struct Correlation {
    pub(crate) rule: Arc<Rule>,
    pub(crate) kind: Counted,
    /// The rules it refers to, in the order in which they are written.
    pub(crate) members: Vec<Member>,
    /// Names of the groups' parts, as written: fields or aliases.
    pub(crate) group_by: Vec<String>,
    pub(crate) timespan: Micros,
    pub(crate) condition: Condition,
    pub(crate) generate: bool,
}

/// What a correlation counts or measures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Counted {
    Events,
    Values,
    /// Different rules.
    Rules,
    /// Different rules, in the order of `members`.
    RulesInOrder,
    Sum,
    Average,
    /// Of so many per cent; the median is that of 50.
    Percentile(u64),
}

/// A rule that a correlation refers to.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) rule: Arc<Rule>,
    /// The event's fields that hold the parts of the group.
    pub(crate) group: Vec<Arc<str>>,
    /// The event's fields whose values are counted or measured.
    pub(crate) value: Vec<Arc<str>>,
}

/// When a correlation holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Condition {
    /// The count or the measure meets every comparison.
    Count(Vec<(ConditionOperator, Amount)>),
    /// Every member was seen.
    All,
    /// An expression over the members that were seen.
    Expression(Expression),
}

#[derive(Debug, PartialEq)]
pub(crate) enum Expression {
    Member(usize),
    All(Vec<Expression>),
    Any(Vec<Expression>),
    AtLeast(u64, Vec<Expression>),
    Not(Box<Expression>),
}

impl Correlation {
    /// Whether the other asks the same of the same events, whatever it is called and however it alerts: then its windows hold
    /// what these would.
    pub(crate) fn asks_the_same(&self, other: &Self) -> bool {
        let part = |member: &Member| (member.rule.id.clone(), member.group.clone(), member.value.clone());
        self.rule.id == other.rule.id
            && self.kind == other.kind
            && self.group_by == other.group_by
            && self.timespan == other.timespan
            && self.condition == other.condition
            && self.members.iter().map(part).eq(other.members.iter().map(part))
    }
}

impl Condition {
    pub(crate) fn meets(&self, amount: Amount) -> bool {
        match self {
            Self::Count(comparisons) => {
                comparisons.iter().all(|(operator, limit)| compare(*operator, amount, *limit))
            }
            Self::All | Self::Expression(_) => false,
        }
    }
}

impl Expression {
    pub(crate) fn holds(&self, seen: &impl Fn(usize) -> bool) -> bool {
        match self {
            Self::Member(member) => seen(*member),
            Self::All(parts) => parts.iter().all(|part| part.holds(seen)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(seen)),
            Self::AtLeast(least, parts) => {
                let count = parts.iter().filter(|part| part.holds(seen)).count();
                u64::try_from(count).is_ok_and(|count| count >= *least)
            }
            Self::Not(part) => !part.holds(seen),
        }
    }
}

impl Counted {
    /// Whether numbers are measured, of which each event brings one.
    pub(crate) fn measures(self) -> bool {
        matches!(self, Self::Sum | Self::Average | Self::Percentile(_))
    }

    /// Whether rules are seen, so that a rule that is seen again makes no difference.
    pub(crate) fn is_temporal(self) -> bool {
        matches!(self, Self::Rules | Self::RulesInOrder)
    }
}

fn compare(operator: ConditionOperator, amount: Amount, limit: Amount) -> bool {
    match operator {
        ConditionOperator::Lt => amount < limit,
        ConditionOperator::Lte => amount <= limit,
        ConditionOperator::Gt => amount > limit,
        ConditionOperator::Gte => amount >= limit,
        ConditionOperator::Eq => amount == limit,
        ConditionOperator::Neq => amount != limit,
    }
}

/// Resolves a correlation against the rules it names, in the order of its `rules`.
pub(crate) fn resolve(
    rule: Arc<Rule>,
    written: &CorrelationRule,
    members: &[Arc<Rule>],
) -> Result<Correlation, Fault> {
    let kind = counted(written)?;
    let timespan = timespan(written)?;
    check_members(members)?;
    let members =
        members.iter().map(|member| resolve_member(written, kind, member)).collect::<Result<Vec<_>, _>>()?;
    let condition = condition(written, kind, &members)?;
    let (group_by, generate) = (written.group_by.clone(), written.generate);
    Ok(Correlation { rule, kind, members, group_by, timespan, condition, generate })
}

fn refuse(detail: impl Into<String>, near: &str) -> Fault {
    Fault::near(Reason::Correlation(detail.into()), near)
}

fn counted(written: &CorrelationRule) -> Result<Counted, Fault> {
    if written.window != WindowMode::Sliding {
        return Err(refuse("only sliding windows are specified", "window"));
    }
    let percentile = percentile(written)?;
    Ok(match written.correlation_type {
        CorrelationType::EventCount => Counted::Events,
        CorrelationType::ValueCount => Counted::Values,
        CorrelationType::Temporal => Counted::Rules,
        CorrelationType::TemporalOrdered => Counted::RulesInOrder,
        CorrelationType::ValueSum => Counted::Sum,
        CorrelationType::ValueAvg => Counted::Average,
        CorrelationType::ValueMedian => Counted::Percentile(50),
        CorrelationType::ValuePercentile => Counted::Percentile(percentile),
    })
}

/// The percentile of a condition; 0 where the type asks for none.
fn percentile(written: &CorrelationRule) -> Result<u64, Fault> {
    let stated = match &written.condition {
        CorrelationCondition::Threshold { percentile, .. } => *percentile,
        CorrelationCondition::Extended(_) => None,
    };
    match (written.correlation_type, stated) {
        (CorrelationType::ValuePercentile, Some(percentile @ 0..=100)) => Ok(percentile),
        (CorrelationType::ValuePercentile, _) => Err(refuse(
            "value_percentile needs a `percentile` in its condition, a whole number from 0 to 100",
            "condition:",
        )),
        (_, None) => Ok(0),
        (_, Some(_)) => Err(refuse("only value_percentile has a `percentile`", "percentile:")),
    }
}

fn timespan(written: &CorrelationRule) -> Result<Micros, Fault> {
    let micros =
        i64::try_from(written.timespan.seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000));
    match micros {
        Some(micros) if (1..=TIMESPAN_MAX).contains(&micros) => Ok(micros),
        _ => Err(refuse(
            format!("the timespan {} is not between 1 s and 31 days", written.timespan.original),
            "timespan:",
        )),
    }
}

fn check_members(members: &[Arc<Rule>]) -> Result<(), Fault> {
    if members.is_empty() {
        return Err(refuse("it names no rule", "correlation:"));
    }
    for (position, member) in members.iter().enumerate() {
        if members.iter().take(position).any(|earlier| earlier.id == member.id) {
            return Err(refuse(format!("it names the rule `{}` twice", member.id), "rules:"));
        }
    }
    Ok(())
}

fn resolve_member(written: &CorrelationRule, kind: Counted, rule: &Arc<Rule>) -> Result<Member, Fault> {
    let field = |name: &String| resolve_field(&written.aliases, name, rule);
    let group = written.group_by.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    let counted = match &written.condition {
        CorrelationCondition::Threshold { field: Some(fields), .. } => fields.as_slice(),
        _ => &[],
    };
    check_fields(kind, counted.len())?;
    let value = counted.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    Ok(Member { rule: Arc::clone(rule), group, value })
}

fn check_fields(kind: Counted, fields: usize) -> Result<(), Fault> {
    match (kind, fields) {
        (Counted::Values, 1..) => Ok(()),
        (Counted::Values, 0) => Err(refuse("value_count needs a `field` in its condition", "condition:")),
        (kind, 1) if kind.measures() => Ok(()),
        (kind, _) if kind.measures() => {
            Err(refuse("a type that measures numbers needs one `field` in its condition", "condition:"))
        }
        (_, 0) => Ok(()),
        _ => Err(refuse("a `field` is for types that count or measure values", "condition:")),
    }
}

/// The field that an alias stands for in the events of a rule; a name that is no alias is a field itself.
fn resolve_field(aliases: &[FieldAlias], name: &str, rule: &Rule) -> Result<Arc<str>, Fault> {
    let Some(alias) = aliases.iter().find(|alias| alias.alias == name) else { return Ok(name.into()) };
    let by_name = rule.name.as_ref().and_then(|name| alias.mapping.get(name));
    by_name.or_else(|| alias.mapping.get(&rule.id)).map(|field| field.as_str().into()).ok_or_else(|| {
        refuse(format!("the alias `{name}` names no field for the rule `{}`", rule.id), "aliases:")
    })
}

fn condition(written: &CorrelationRule, kind: Counted, members: &[Member]) -> Result<Condition, Fault> {
    match &written.condition {
        CorrelationCondition::Threshold { predicates, .. } => {
            // The parser's way to say that a temporal correlation gives no condition: all rules must be seen.
            if kind.is_temporal() && matches!(predicates.as_slice(), [(ConditionOperator::Gte, 1)]) {
                return Ok(Condition::All);
            }
            if kind == Counted::RulesInOrder {
                return Err(refuse(
                    "temporal_ordered needs all its rules in order: a count leaves open which",
                    "condition:",
                ));
            }
            if !kind.measures() {
                check_threshold(predicates)?;
            }
            let limits = predicates.iter().map(|(operator, limit)| (*operator, threshold(kind, *limit)));
            Ok(Condition::Count(limits.collect()))
        }
        CorrelationCondition::Extended(expression) if kind.is_temporal() => {
            let all = conjunction(expression).is_some_and(|names| names.len() == members.len());
            let expression = resolve_expression(expression, members)?;
            match (all, kind) {
                (true, _) => Ok(Condition::All),
                (false, Counted::Rules) => Ok(Condition::Expression(expression)),
                (false, _) => Err(refuse(
                    "temporal_ordered needs all its rules: the order of `or` and `not` is not specified",
                    "condition:",
                )),
            }
        }
        CorrelationCondition::Extended(_) => {
            Err(refuse("an expression needs a temporal correlation", "condition:"))
        }
    }
}

/// The parser hands a negative threshold on as the number of the same bits.
fn threshold(kind: Counted, limit: u64) -> Amount {
    if kind.measures() { Amount::whole(limit.cast_signed().into()) } else { Amount::from(limit) }
}

/// A count that no group can come to would never fire.
fn check_threshold(predicates: &[(ConditionOperator, u64)]) -> Result<(), Fault> {
    let max = u64::try_from(WINDOW_EVENTS_MAX).unwrap_or(u64::MAX);
    if let Some((_, limit)) = predicates.iter().find(|(_, limit)| *limit >= max) {
        let limit = limit.cast_signed();
        return Err(refuse(
            format!("the threshold {limit} is not from 0 to below {max}, the most events a group holds"),
            "condition:",
        ));
    }
    let meets = |count: u64| {
        predicates.iter().all(|(operator, limit)| compare(*operator, count.into(), (*limit).into()))
    };
    match (1..=max).any(meets) {
        true => Ok(()),
        false => Err(refuse("no count meets its condition: it would never fire", "condition:")),
    }
}

/// The names of `a and b and c`, each once.
fn conjunction(expression: &ConditionExpr) -> Option<Vec<&str>> {
    match expression {
        ConditionExpr::Identifier(name) => Some(vec![name]),
        ConditionExpr::And(parts) => {
            let mut names: Vec<&str> = Vec::new();
            for part in parts {
                names.extend(conjunction(part)?);
            }
            names.sort_unstable();
            names.dedup();
            Some(names)
        }
        _ => None,
    }
}

fn resolve_expression(expression: &ConditionExpr, members: &[Member]) -> Result<Expression, Fault> {
    let below = |parts: &[ConditionExpr]| {
        parts.iter().map(|part| resolve_expression(part, members)).collect::<Result<Vec<_>, _>>()
    };
    match expression {
        ConditionExpr::And(parts) => below(parts).map(Expression::All),
        ConditionExpr::Or(parts) => below(parts).map(Expression::Any),
        ConditionExpr::Not(part) => Ok(Expression::Not(Box::new(resolve_expression(part, members)?))),
        ConditionExpr::Identifier(name) => members
            .iter()
            .position(|member| is_reference(&member.rule, name))
            .map(Expression::Member)
            .ok_or_else(|| {
                refuse(format!("the condition names `{name}`, which is not among its rules"), "condition:")
            }),
        ConditionExpr::Selector { quantifier, pattern: SelectorPattern::Them } => {
            let all: Vec<Expression> = (0..members.len()).map(Expression::Member).collect();
            Ok(match quantifier {
                Quantifier::Any => Expression::Any(all),
                Quantifier::All => Expression::All(all),
                Quantifier::Count(count) => Expression::AtLeast(*count, all),
            })
        }
        ConditionExpr::Selector { .. } => {
            Err(refuse("patterns of rule names are not specified", "condition:"))
        }
    }
}

/// Whether a rule is meant by an id or a name.
pub(crate) fn is_reference(rule: &Rule, reference: &str) -> bool {
    rule.id == reference || rule.name.as_deref() == Some(reference)
}

/// How long before a moment hits may have come that still decide what fires after it: see the [correlator](crate::correlator).
pub(crate) fn reach(correlations: &[Arc<Correlation>]) -> Micros {
    // Those that others refer to stand before them.
    let mut reaches: HashMap<&str, Micros> = HashMap::new();
    for correlation in correlations {
        let below = correlation.members.iter().filter_map(|member| reaches.get(&*member.rule.id));
        let below = below.copied().max().unwrap_or_default();
        let own = correlation.timespan.saturating_mul(REACHED_TIMESPANS).saturating_add(REACHED_AHEAD);
        reaches.insert(&correlation.rule.id, own.saturating_add(below));
    }
    reaches.into_values().max().unwrap_or_default()
}

/// The fields that correlations need of the events of each rule, those above chained correlations included.
pub(crate) fn keys(correlations: &[Arc<Correlation>]) -> HashMap<String, Vec<Arc<str>>> {
    let mut keys: HashMap<String, Vec<Arc<str>>> = HashMap::new();
    // What a correlation is asked for is asked of its members: one more round for each link of a chain.
    for _ in 0..=CHAIN_MAX {
        for correlation in correlations {
            let asked = keys.get(&correlation.rule.id).cloned().unwrap_or_default();
            for member in &correlation.members {
                let known = keys.entry(member.rule.id.clone()).or_default();
                for name in member.group.iter().chain(&member.value).chain(&asked) {
                    if !known.contains(name) {
                        known.push(Arc::clone(name));
                    }
                }
            }
        }
    }
    keys
}
