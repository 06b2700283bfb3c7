//! Why a rule does or does not match an event, predicate by predicate: for who writes rules, and for who doubts one.
//!
//! Everything is asked in the obvious way, and all of it: what an evaluation leaves out because the answer is known already
//! is told as well. Values of rules are shown as they are compared: folded, with wildcards as an expression.

use event::Event;

use crate::look::{Look, Scratch};
use crate::predicate::{Compare, Number, Predicate, TextOp};
use crate::scan::{Item, Logic, Node};
use crate::text::Form;
use crate::{Engine, Rule, RuleSource, log_source};

/// Something that holds or does not, and what it is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    pub holds: bool,
    /// In words, with the event's own values.
    pub says: String,
    pub parts: Vec<Self>,
}

impl Engine {
    /// Explains a detection rule on an event; `None`: the rule is a correlation, which no single event decides.
    pub fn explain(&self, rule: &Rule, event: &Event<'_>, scratch: &mut Scratch) -> Option<Explanation> {
        let program = self.programs.iter().find(|program| program.rule == rule.index)?;
        let (mut look, ..) = scratch.look(self, event);
        look.is_obvious = true;
        let mut explainer = Explainer { engine: self, look };
        let mut parts =
            vec![of_log_source(&rule.log_source, event), explainer.logic("condition", &program.logic)];
        parts.extend(program.filters.iter().map(|filter| explainer.logic("filter", filter)));
        let holds = parts.iter().all(|part| part.holds);
        Some(Explanation { holds, says: rule.title.clone(), parts })
    }
}

fn of_log_source(rule: &RuleSource, event: &Event<'_>) -> Explanation {
    let shown = |category: &str, product: &str, service: &str| {
        let parts = [("category", category), ("product", product), ("service", service)];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(_, part)| !part.is_empty())
            .map(|(name, part)| format!("{name} {part}"))
            .collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    };
    let source = &event.log_source;
    Explanation {
        holds: log_source::fits(rule, source),
        says: format!(
            "log source: {}; the event has {}",
            shown(&rule.category, &rule.product, &rule.service),
            shown(source.category, source.product, source.service)
        ),
        parts: Vec::new(),
    }
}

struct Explainer<'x, 'l, 'e> {
    engine: &'x Engine,
    look: Look<'l, 'e>,
}

impl<'x> Explainer<'x, '_, '_> {
    fn logic(&mut self, name: &str, logic: &Logic) -> Explanation {
        let part = self.node(&logic.condition, logic);
        Explanation { holds: part.holds, says: name.to_owned(), parts: vec![part] }
    }

    fn node(&mut self, node: &Node, logic: &Logic) -> Explanation {
        let holds = node.holds(&logic.selections, &mut self.look);
        let (says, parts) = match node {
            Node::Item(item) => return self.item(item),
            Node::Exists { field, expected } => {
                let verb = if *expected { "is there" } else { "is absent" };
                (format!("{} {verb}; {}", self.name(*field), self.values(*field)), Vec::new())
            }
            Node::Selection(position) => {
                let name = logic.names.get(*position).map_or("selection", String::as_str);
                let part = logic.selections.get(*position).map(|node| self.node(node, logic));
                (name.to_owned(), part.into_iter().collect())
            }
            Node::All(nodes) => ("all of".to_owned(), self.nodes(nodes, logic)),
            Node::Any(nodes) => ("any of".to_owned(), self.nodes(nodes, logic)),
            Node::AtLeast(least, nodes) => (format!("at least {least} of"), self.nodes(nodes, logic)),
            Node::Not(node) => ("not".to_owned(), vec![self.node(node, logic)]),
        };
        Explanation { holds, says, parts }
    }

    fn nodes(&mut self, nodes: &[Node], logic: &Logic) -> Vec<Explanation> {
        nodes.iter().map(|node| self.node(node, logic)).collect()
    }

    fn item(&mut self, item: &Item) -> Explanation {
        let subject = match item.field {
            Some(field) => format!("{}; {}", self.name(field), self.values(field)),
            None => "keywords, anywhere in the event".to_owned(),
        };
        let quantity = match (item.negated, item.all, item.predicates.len()) {
            (true, ..) => "none of: ",
            (false, _, 1) => "",
            (false, true, _) => "all of: ",
            (false, false, _) => "any of: ",
        };
        Explanation {
            holds: item.holds(&mut self.look),
            says: format!("{quantity}{subject}"),
            parts: item.predicates.iter().map(|predicate| self.predicate(item.field, predicate)).collect(),
        }
    }

    fn predicate(&mut self, field: Option<usize>, predicate: &Predicate) -> Explanation {
        let holds = match field {
            Some(field) if self.look.first(field).is_none() => matches!(predicate, Predicate::Null),
            Some(field) => self.look.meets(field, predicate).is_some(),
            None => self.look.somewhere(predicate),
        };
        Explanation { holds, says: self.words(predicate), parts: Vec::new() }
    }

    fn name(&self, field: usize) -> &'x str {
        self.engine.fields.name(field).unwrap_or_default()
    }

    /// What the event has in a field.
    fn values(&mut self, field: usize) -> String {
        let mut values = Vec::new();
        self.look.find(field, |look, slot| {
            values.extend(look.value(slot).map(|value| format!("{:?}", value.to_text())));
            false
        });
        if values.is_empty() {
            "the event has none".to_owned()
        } else {
            format!("the event has {}", values.join(", "))
        }
    }

    fn words(&self, predicate: &Predicate) -> String {
        match predicate {
            Predicate::Text { op, form, needle } => format!("{} {needle:?}{}", verb(*op), manner(*form)),
            Predicate::Contains { form, finder } => {
                format!("contains {:?}{}", String::from_utf8_lossy(finder.needle()), manner(*form))
            }
            Predicate::Pattern { form, regex } => {
                let manner = if *form == Form::Exact { "" } else { manner(*form) };
                format!("matches /{}/{manner}", regex.as_str())
            }
            Predicate::Network(network) => format!("is in {network}"),
            Predicate::Number { compare, number } => format!("{} {}", sign(*compare), shown(*number)),
            Predicate::Time { part, compare, number } => {
                format!("its {} {} {}", format!("{part:?}").to_lowercase(), sign(*compare), shown(*number))
            }
            Predicate::Bool(flag) => format!("is {flag}"),
            Predicate::Null => "is null or absent".to_owned(),
            Predicate::FieldRef { field, op, form } => {
                format!("{} the value of {}{}", verb(*op), self.name(*field), manner(*form))
            }
        }
    }
}

fn verb(op: TextOp) -> &'static str {
    match op {
        TextOp::Equals => "is",
        TextOp::StartsWith => "starts with",
        TextOp::EndsWith => "ends with",
        TextOp::Contains => "contains",
    }
}

/// How text is compared, where it is not in the usual way, without case.
fn manner(form: Form) -> &'static str {
    match form {
        Form::Folded => "",
        Form::Exact => ", with case",
        Form::FoldedDashed => ", with any dash",
        Form::ExactDashed => ", with case and any dash",
    }
}

fn sign(compare: Compare) -> &'static str {
    match compare {
        Compare::Equal => "=",
        Compare::Less => "<",
        Compare::LessOrEqual => "<=",
        Compare::Greater => ">",
        Compare::GreaterOrEqual => ">=",
    }
}

fn shown(number: Number) -> String {
    match number {
        Number::Int(int) => int.to_string(),
        Number::Float(float) => float.to_string(),
    }
}
