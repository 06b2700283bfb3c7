//! What must be true of an event before a rule is worth a look.
//!
//! A gate has clauses, which are sets of [anchors](crate::anchor), and blockers. In every event that the rule matches, one anchor of each
//! clause holds, and no blocker does: of `a and b` there are the clauses of both, of `a or b` each joins one of `a` and one of
//! `b`, and of `a and not b` what makes `b` true by itself is a blocker. So a gate asks less than its rule does, never more.
//! Of a rule's conjuncts those that a gate asks in full need no further look, and often nothing is left to ask.
//!
//! Limits: at most [`CLAUSES_MAX`] clauses, the rarest, and no more than make the rule [`RARE`]; blockers only where clauses
//! do not. A rule of which nothing can be said (`not x` alone, a field that must be absent) has no clause.

use std::collections::HashSet;

use crate::anchor::{Anchor, EVERY, Frequency};
use crate::engine::NameHash;
use crate::predicate::Predicate;
use crate::scan::{Conjunct, Conjuncts, Item, Node, Program};

/// Most clauses of one rule.
pub(crate) const CLAUSES_MAX: usize = 4;

/// How often a gate may open, in millionths of events, before more is asked. Each clause makes literals to look for, each
/// opening a look: measured, less than this costs more than it saves.
const RARE: u64 = 5000;

/// Always, in the same measure.
const ALWAYS: u64 = 1_000_000;

/// What is asked before a rule is looked at.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) clauses: Vec<Vec<Anchor>>,
    pub(crate) blockers: Vec<Anchor>,
    /// What is still to be asked where the gate is open.
    pub(crate) left: Conjuncts,
}

/// What is known of a part of a rule.
#[derive(Debug, Default)]
struct Part {
    /// The rarest first.
    clauses: Vec<Vec<Anchor>>,
    blockers: Vec<Anchor>,
    /// Whether it is true wherever its clauses hold and no blocker does.
    is_exact: bool,
}

/// Anchors that each make a node true.
#[derive(Default)]
struct Sufficient {
    anchors: Vec<Anchor>,
    /// Whether the node is true with one of them alone.
    is_complete: bool,
}

impl Gate {
    /// The gate of a rule: the rarest clauses of its conjuncts.
    pub(crate) fn of(program: &Program, frequency: &Frequency) -> Self {
        let mut parts = Vec::new();
        program.each_conjunct(&mut |conjunct| {
            parts.push(frequency.of_conjunct(conjunct));
            true
        });
        let mut clauses = Vec::new();
        for (number, part) in parts.iter_mut().enumerate() {
            clauses.extend(part.clauses.drain(..).map(|clause| (number, clause)));
        }
        clauses.sort_by_cached_key(|(_, clause)| frequency.share(clause));
        let (mut gate, mut open) = (Self::default(), ALWAYS);
        for (number, clause) in clauses {
            if gate.clauses.len() < CLAUSES_MAX && open > RARE {
                open = open.saturating_mul(frequency.share(&clause)) / EVERY;
                gate.clauses.push(clause);
            } else {
                gate.left.add(number);
            }
        }
        for (number, part) in parts.into_iter().enumerate() {
            let takes_blockers = open > RARE;
            if !part.is_exact || (!takes_blockers && !part.blockers.is_empty()) {
                gate.left.add(number);
            }
            if takes_blockers {
                gate.blockers.extend(part.blockers);
            }
        }
        gate
    }
}

impl Frequency {
    fn of_conjunct(&self, conjunct: Conjunct<'_>) -> Part {
        match conjunct.negated {
            true => Part::unless(sufficient(conjunct.node, conjunct.selections)),
            false => self.of_node(conjunct.node, conjunct.selections),
        }
    }

    fn of_node(&self, node: &Node, selections: &[Node]) -> Part {
        let of_each = |nodes: &[Node]| -> Vec<Part> {
            nodes.iter().map(|node| self.of_node(node, selections)).collect()
        };
        // A condition may name a long list again and again.
        let of_different = |nodes: &[Node]| -> Vec<Part> {
            let mut known = HashSet::new();
            let is_new =
                |node: &&Node| !matches!(node, Node::Selection(position) if !known.insert(*position));
            nodes.iter().filter(is_new).map(|node| self.of_node(node, selections)).collect()
        };
        match node {
            Node::Item(item) => self.of_item(item),
            Node::Exists { field, expected: true } => Part::present(*field),
            Node::Exists { field, expected: false } => Part::unless(Sufficient::present(*field)),
            Node::Selection(position) => {
                selections.get(*position).map(|node| self.of_node(node, selections)).unwrap_or_default()
            }
            Node::All(nodes) => self.all(of_different(nodes)),
            Node::Any(nodes) => self.any(of_different(nodes)),
            Node::AtLeast(least, nodes) => self.at_least(*least, of_each(nodes)),
            Node::Not(node) => Part::unless(sufficient(node, selections)),
        }
    }

    fn of_item(&self, item: &Item) -> Part {
        let parts =
            || item.predicates.iter().map(|predicate| Part::of_predicate(item.field, predicate)).collect();
        match item.field {
            Some(field) if item.negated => self.all(vec![Part::present(field), Part::unless(of_item(item))]),
            _ if item.all => self.all(parts()),
            _ => self.any(parts()),
        }
    }

    /// All must hold.
    fn all(&self, parts: Vec<Part>) -> Part {
        let mut all = Part { is_exact: true, ..Part::default() };
        for part in parts {
            all.clauses.extend(part.clauses);
            all.blockers.extend(part.blockers);
            all.is_exact &= part.is_exact;
        }
        self.sort(&mut all.clauses);
        all
    }

    /// One must hold: the rarest clauses of each join, then the second of each; one that has fewer joins with its last again.
    fn any(&self, mut parts: Vec<Part>) -> Part {
        if parts.len() == 1 {
            return parts.pop().unwrap_or_default();
        }
        let is_single = |part: &Part| part.is_exact && part.clauses.len() == 1 && part.blockers.is_empty();
        let is_exact = !parts.is_empty() && parts.iter().all(is_single);
        let is_known = parts.iter().all(|part| !part.clauses.is_empty());
        let count = parts.iter().map(|part| part.clauses.len()).max().filter(|_| is_known);
        let joined = |number| tidy(parts.iter().filter_map(|part| part.nth(number)).flatten());
        let mut clauses: Vec<_> = (0..count.unwrap_or_default().min(CLAUSES_MAX)).map(joined).collect();
        self.sort(&mut clauses);
        Part { clauses, blockers: Vec::new(), is_exact }
    }

    /// Of `least` that hold among the parts, one is among any that leave out fewer than `least`.
    fn at_least(&self, least: usize, parts: Vec<Part>) -> Part {
        let Some(needed) = parts.len().checked_sub(least).and_then(|left| left.checked_add(1)) else {
            return Part::default();
        };
        let mut firsts: Vec<_> =
            parts.into_iter().filter_map(|part| part.clauses.into_iter().next()).collect();
        self.sort(&mut firsts);
        let clause = (firsts.len() >= needed).then(|| tidy(firsts.iter().take(needed).flatten()));
        Part { clauses: clause.into_iter().collect(), ..Part::default() }
    }

    fn sort(&self, clauses: &mut [Vec<Anchor>]) {
        clauses.sort_by_cached_key(|clause| self.share(clause));
    }
}

impl Part {
    fn of_predicate(field: Option<usize>, predicate: &Predicate) -> Self {
        match Anchor::same(field, predicate) {
            Some(anchor) => Self { clauses: vec![vec![anchor]], blockers: Vec::new(), is_exact: true },
            None => Self { clauses: Anchor::needed(field, predicate), ..Self::default() },
        }
    }

    fn present(field: usize) -> Self {
        Self { clauses: vec![vec![Anchor::Present { field }]], blockers: Vec::new(), is_exact: true }
    }

    /// A clause by its rarity, or the last.
    fn nth(&self, number: usize) -> Option<&Vec<Anchor>> {
        self.clauses.get(number).or(self.clauses.last())
    }

    /// None of what makes a node true may hold.
    fn unless(sufficient: Sufficient) -> Self {
        Self { clauses: Vec::new(), blockers: sufficient.anchors, is_exact: sufficient.is_complete }
    }
}

/// Each anchor once, and none that holds only where its field is there when that is asked, too.
fn tidy<'a>(anchors: impl Iterator<Item = &'a Anchor>) -> Vec<Anchor> {
    let mut known: HashSet<&Anchor, NameHash> = HashSet::default();
    let mut clause: Vec<&Anchor> = anchors.filter(|anchor| known.insert(*anchor)).collect();
    let is_present = |anchor: &Anchor| matches!(anchor, Anchor::Present { .. });
    let is_implied = |field| known.contains(&Anchor::Present { field });
    clause.retain(|anchor| is_present(anchor) || !anchor.field().is_some_and(is_implied));
    clause.into_iter().cloned().collect()
}

fn sufficient(node: &Node, selections: &[Node]) -> Sufficient {
    let nothing = Sufficient::default();
    match node {
        Node::Item(item) if !item.negated => of_item(item),
        Node::Exists { field, expected: true } => Sufficient::present(*field),
        Node::Selection(position) => {
            selections.get(*position).map_or(nothing, |node| sufficient(node, selections))
        }
        Node::Any(nodes) => Sufficient::either(nodes.iter().map(|node| sufficient(node, selections))),
        Node::All(nodes) => match nodes.as_slice() {
            [node] => sufficient(node, selections),
            _ => nothing,
        },
        Node::Item(_) | Node::Exists { .. } | Node::AtLeast(..) | Node::Not(_) => nothing,
    }
}

/// What makes enough of an item's predicates true: one, unless it asks for all.
fn of_item(item: &Item) -> Sufficient {
    if item.all && item.predicates.len() != 1 {
        return Sufficient::default();
    }
    Sufficient::either(item.predicates.iter().map(|predicate| {
        let anchor = Anchor::same(item.field, predicate);
        Sufficient { is_complete: anchor.is_some(), anchors: anchor.into_iter().collect() }
    }))
}

impl Sufficient {
    fn present(field: usize) -> Self {
        Self { anchors: vec![Anchor::Present { field }], is_complete: true }
    }

    fn either(parts: impl Iterator<Item = Self>) -> Self {
        let mut either = Self { anchors: Vec::new(), is_complete: true };
        for part in parts {
            either.anchors.extend(part.anchors);
            either.is_complete &= part.is_complete;
        }
        either
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 200 x `s or` over 5,000 values a gate took 6.7 s.
    #[test]
    fn a_selection_that_is_named_again_says_nothing_new() {
        let present = |field| Node::Exists { field, expected: true };
        let selections = [Node::All(vec![present(0), present(1)]), present(2)];
        let frequency = Frequency::default();
        let again = |position: usize| (0..200).map(|_| Node::Selection(position)).collect::<Vec<_>>();
        // Two clauses of one part; as several parts they would be joined, and not be exact.
        let part = frequency.of_node(&Node::Any(again(0)), &selections);
        assert!(part.is_exact && part.clauses.len() == 2);
        assert_eq!(frequency.of_node(&Node::All(again(1)), &selections).clauses.len(), 1);
        let both = Node::Any(again(0).into_iter().chain(again(1)).collect());
        assert_eq!(frequency.of_node(&both, &selections).clauses[0].len(), 2);
        // The second of two is a different question.
        let two = frequency.of_node(&Node::AtLeast(2, again(1)), &selections);
        assert_eq!(two.clauses.len(), 1);
    }
}
