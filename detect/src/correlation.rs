//! Correlation rules, resolved against the rules that they refer to.
//!
//! Taken: event_count, value_count, temporal and temporal_ordered, with group-by, aliases, ranges, and correlations that refer
//! to correlations (without cycles, at most [`CHAIN_MAX`] deep). The metrics (value_sum and the like) and windows other than
//! sliding ones are refused.

use std::collections::HashMap;
use std::sync::Arc;

use event::Micros;
use rsigma_parser::{
    ConditionExpr, ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, FieldAlias,
    Quantifier, SelectorPattern, WindowMode,
};

use crate::Rule;
use crate::limits::{CHAIN_MAX, TIMESPAN_MAX, WINDOW_EVENTS_MAX};
use crate::problem::{Fault, Reason};

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

/// What a correlation counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Counted {
    Events,
    Values,
    /// Different rules.
    Rules,
    /// Different rules, in the order of `members`.
    RulesInOrder,
}

/// A rule that a correlation refers to.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) rule: Arc<Rule>,
    /// The event's fields that hold the parts of the group.
    pub(crate) group: Vec<Arc<str>>,
    /// The event's fields whose values are counted.
    pub(crate) value: Vec<Arc<str>>,
}

/// When a correlation holds.
#[derive(Debug)]
pub(crate) enum Condition {
    /// The count meets every comparison.
    Count(Vec<(ConditionOperator, u64)>),
    /// Every member was seen.
    All,
    /// An expression over the members that were seen.
    Expression(Expression),
}

#[derive(Debug)]
pub(crate) enum Expression {
    Member(usize),
    All(Vec<Expression>),
    Any(Vec<Expression>),
    AtLeast(u64, Vec<Expression>),
    Not(Box<Expression>),
}

impl Condition {
    pub(crate) fn meets(&self, count: u64) -> bool {
        match self {
            Self::Count(comparisons) => {
                comparisons.iter().all(|(operator, limit)| compare(*operator, count, *limit))
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

fn compare(operator: ConditionOperator, count: u64, limit: u64) -> bool {
    match operator {
        ConditionOperator::Lt => count < limit,
        ConditionOperator::Lte => count <= limit,
        ConditionOperator::Gt => count > limit,
        ConditionOperator::Gte => count >= limit,
        ConditionOperator::Eq => count == limit,
        ConditionOperator::Neq => count != limit,
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
    match written.correlation_type {
        CorrelationType::EventCount => Ok(Counted::Events),
        CorrelationType::ValueCount => Ok(Counted::Values),
        CorrelationType::Temporal => Ok(Counted::Rules),
        CorrelationType::TemporalOrdered => Ok(Counted::RulesInOrder),
        other => {
            let detail = format!(
                "the type {} is not supported: expected event_count, value_count, temporal or temporal_ordered",
                other.as_str()
            );
            Err(refuse(detail, "type:"))
        }
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
    if (kind == Counted::Values) == counted.is_empty() {
        return Err(refuse(
            "value_count, and only value_count, needs a `field` in its condition",
            "condition:",
        ));
    }
    let value = counted.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    Ok(Member { rule: Arc::clone(rule), group, value })
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
    let is_temporal = matches!(kind, Counted::Rules | Counted::RulesInOrder);
    match &written.condition {
        CorrelationCondition::Threshold { predicates, .. } => {
            // The parser's way to say that a temporal correlation gives no condition: all rules must be seen.
            if is_temporal && matches!(predicates.as_slice(), [(ConditionOperator::Gte, 1)]) {
                return Ok(Condition::All);
            }
            if kind == Counted::RulesInOrder {
                return Err(refuse(
                    "temporal_ordered needs all its rules in order: a count leaves open which",
                    "condition:",
                ));
            }
            check_threshold(predicates)?;
            Ok(Condition::Count(predicates.clone()))
        }
        CorrelationCondition::Extended(expression) if is_temporal => {
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

/// A threshold above what one group may hold could never be met.
fn check_threshold(predicates: &[(ConditionOperator, u64)]) -> Result<(), Fault> {
    let max = u64::try_from(WINDOW_EVENTS_MAX).unwrap_or(u64::MAX);
    match predicates.iter().find(|(_, limit)| *limit >= max) {
        Some((_, limit)) => Err(refuse(
            format!("the threshold {limit} is not below {max}, the most events a group holds"),
            "condition:",
        )),
        None => Ok(()),
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
