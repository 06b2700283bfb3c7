//! From the condition of a rule to a tree over its selections.

use rsigma_parser::{ConditionExpr, Quantifier, SelectorPattern};

use crate::limits::DEPTH_MAX;
use crate::problem::{Fault, Reason};
use crate::scan::Node;

/// The tree of a rule's conditions: several are linked with OR.
pub(crate) fn tree(conditions: &[ConditionExpr], names: &[String]) -> Result<Node, Fault> {
    let mut nodes =
        conditions.iter().map(|condition| node(condition, names, 0)).collect::<Result<Vec<_>, _>>()?;
    match nodes.len() {
        1 => nodes.pop().ok_or_else(no_condition),
        0 => Err(no_condition()),
        _ => Ok(Node::Any(nodes)),
    }
}

fn no_condition() -> Fault {
    Reason::Parser("the rule has no condition".to_owned()).into()
}

fn node(condition: &ConditionExpr, names: &[String], depth: usize) -> Result<Node, Fault> {
    if depth > DEPTH_MAX {
        return Err(Reason::TooDeep { max: DEPTH_MAX }.into());
    }
    let below = |parts: &[ConditionExpr]| {
        parts.iter().map(|part| node(part, names, depth.saturating_add(1))).collect::<Result<Vec<_>, _>>()
    };
    match condition {
        ConditionExpr::And(parts) => below(parts).map(Node::All),
        ConditionExpr::Or(parts) => below(parts).map(Node::Any),
        ConditionExpr::Not(part) => Ok(Node::Not(Box::new(node(part, names, depth.saturating_add(1))?))),
        ConditionExpr::Identifier(name) => named(name, names),
        ConditionExpr::Selector { quantifier, pattern } => selector(quantifier, pattern, names),
    }
}

fn named(name: &str, names: &[String]) -> Result<Node, Fault> {
    let position = names.iter().position(|selection| selection == name);
    position
        .map(Node::Selection)
        .ok_or_else(|| Fault::near(Reason::UnknownSelection { name: name.to_owned() }, "condition:"))
}

fn selector(quantifier: &Quantifier, pattern: &SelectorPattern, names: &[String]) -> Result<Node, Fault> {
    let fitting: Vec<Node> = names
        .iter()
        .enumerate()
        .filter(|(_, name)| fits(pattern, name))
        .map(|(position, _)| Node::Selection(position))
        .collect();
    if fitting.is_empty() {
        return Err(Fault::near(Reason::NoSelectionFits { pattern: pattern.to_string() }, "condition:"));
    }
    match quantifier {
        Quantifier::Any => Ok(Node::Any(fitting)),
        Quantifier::All => Ok(Node::All(fitting)),
        Quantifier::Count(count) => at_least(*count, pattern, fitting),
    }
}

fn at_least(count: u64, pattern: &SelectorPattern, fitting: Vec<Node>) -> Result<Node, Fault> {
    match usize::try_from(count) {
        Ok(least) if least >= 1 && least <= fitting.len() => Ok(Node::AtLeast(least, fitting)),
        _ => {
            let found = fitting.len();
            Err(Fault::near(
                Reason::TooFewSelections { count, pattern: pattern.to_string(), found },
                "condition:",
            ))
        }
    }
}

/// `them` leaves out what starts with an underscore; a pattern may have a `*` at any place, and several.
fn fits(pattern: &SelectorPattern, name: &str) -> bool {
    match pattern {
        SelectorPattern::Them => !name.starts_with('_'),
        SelectorPattern::Pattern(pattern) => fits_pattern(pattern, name),
    }
}

fn fits_pattern(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}
