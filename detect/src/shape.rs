//! The shape of a rule document: what the parser would pass over without a word, or take for something else, is refused.
//!
//! The parser leaves out keys that it does not know (`group_by` in the place of `group-by` makes one group of everybody), puts a
//! filter that names no rule on every rule, and takes a map that stands where a value is expected for the text of that map, which
//! no event has (`- net user: x` without quotes is one). So such a document is looked at once more, as YAML: a rule that would do
//! something else than it says is not loaded.
//!
//! To read all documents twice would make loading take half as long again. All that the parser may have passed over in the rule
//! of one event leaves a trace in what it made of it ([`is_doubtful`]), which nearly none has.

use rsigma_parser::{Detection, DetectionItem, FilterRuleTarget, SigmaRule, SigmaValue};
use yaml_serde::{Mapping, Value};

use crate::document::Document;
use crate::limits::DEPTH_MAX;
use crate::problem::{Fault, Reason};

/// Keys of `correlation`: those of the specification, and those of the parser that are refused by what they ask.
const CORRELATION: [&str; 10] = [
    "type",
    "rules",
    "group-by",
    "timespan",
    "condition",
    "aliases",
    "generate",
    "timeframe",
    "window",
    "gap",
];

/// Keys of a correlation's `condition`.
const OPERATORS: [&str; 6] = ["gt", "gte", "lt", "lte", "eq", "neq"];
const MEASURED: [&str; 2] = ["field", "percentile"];

/// How the texts begin that the parser makes of what is no value.
const NO_VALUE: [&str; 3] = ["Mapping {", "Sequence [", "TaggedValue {"];

const VALUE: &str = "text (in quotes if it has `: ` in it), a number, true, false, null or a list of these";

/// Refuses a document of which not all that it says would be done; gives what does not matter to that. What is no YAML the parser
/// has told.
pub(crate) fn check(document: &Document<'_>) -> Result<Option<Fault>, Fault> {
    let rules = &document.parsed.rules;
    if !rules.is_empty() && !rules.iter().any(|rule| is_doubtful(rule, document)) {
        return Ok(None);
    }
    let Ok(Value::Mapping(rule)) = yaml_serde::from_str(document.text) else { return Ok(None) };
    let rule = Section { name: String::new(), keys: &rule };
    rule.check(document)?;
    // A rule without either goes by its title.
    let name = |key| rule.expect(key, "text in quotes", |value| value.is_string() || value.is_null());
    Ok(["id", "name"].into_iter().find_map(|key| name(key).err()))
}

/// Whether what the parser made of a document shows that it may have passed something over.
fn is_doubtful(rule: &SigmaRule, document: &Document<'_>) -> bool {
    let source = &rule.logsource;
    let named = [("id", &rule.id), ("name", &rule.name)];
    let parts =
        [("category:", &source.category), ("product:", &source.product), ("service:", &source.service)];
    named.into_iter().any(|(key, read)| read.is_none() && document.value_of(key).is_some())
        || parts.into_iter().any(|(key, read)| read.is_none() && document.text.contains(key))
        || rule.custom_attributes.contains_key("generate")
        || rule.detection.named.iter().any(|(name, selection)| name.is_empty() || is_odd(selection))
}

fn is_odd(selection: &Detection) -> bool {
    let is_odd_item = |item: &DetectionItem| item.field.name.is_none() || item.values.iter().any(is_no_value);
    match selection {
        Detection::AllOf(items) => items.iter().any(is_odd_item),
        Detection::AnyOf(parts) | Detection::And(parts) => parts.iter().any(is_odd),
        Detection::Keywords(values) => values.iter().any(is_no_value),
        Detection::ArrayMatch { body, .. } => is_odd(body),
        Detection::Conditional { named, .. } => named.values().any(is_odd),
    }
}

fn is_no_value(value: &SigmaValue) -> bool {
    match value {
        SigmaValue::String(text) => NO_VALUE.iter().any(|begin| text.original.starts_with(begin)),
        _ => false,
    }
}

/// A map of the document.
struct Section<'d> {
    /// The keys that lead to it, with a dot behind each.
    name: String,
    keys: &'d Mapping,
}

impl<'d> Section<'d> {
    /// The whole document.
    fn check(&self, document: &Document<'_>) -> Result<(), Fault> {
        self.expect("generate", "true or false", Value::is_bool)?;
        if let Some(source) = self.section("logsource") {
            for part in ["category", "product", "service"] {
                source.expect(part, "text", |value| value.is_string() || value.is_null())?;
            }
        }
        for part in ["detection", "filter"] {
            self.section(part).map_or(Ok(()), |section| section.selections())?;
        }
        if let Some(filter) = self.section("filter") {
            filter.names_rules(document)?;
        }
        self.section("correlation").map_or(Ok(()), |section| section.correlation())
    }

    /// The map at a key; what is no map there the parser refuses.
    fn section(&self, key: &str) -> Option<Section<'d>> {
        let keys = self.keys.get(key)?.as_mapping()?;
        Some(Section { name: format!("{}{key}.", self.name), keys })
    }

    fn fault(&self, key: &str, expected: &'static str, value: Option<&Value>) -> Fault {
        let found = value.map_or_else(|| "nothing".to_owned(), shown);
        Fault::near(Reason::Shape { key: format!("{}{key}", self.name), expected, found }, format!("{key}:"))
    }

    /// What stands at a key, if anything does, must be so.
    fn expect(
        &self,
        key: &str,
        expected: &'static str,
        is_so: impl FnOnce(&Value) -> bool,
    ) -> Result<(), Fault> {
        match self.keys.get(key) {
            Some(value) if !is_so(value) => Err(self.fault(key, expected, Some(value))),
            _ => Ok(()),
        }
    }

    /// Each key must be one of these.
    fn expect_keys(&self, known: &[&str]) -> Result<(), Fault> {
        let unknown = self.keys.keys().find(|key| !key.as_str().is_some_and(|key| known.contains(&key)));
        unknown.map_or(Ok(()), |key| {
            let key = shown(key);
            let reason =
                Reason::UnknownKey { key: format!("{}{key}", self.name), expected: known.join(", ") };
            Err(Fault::near(reason, format!("{key}:")))
        })
    }

    /// The parser puts a filter on every rule unless it finds a rule's name.
    fn names_rules(&self, document: &Document<'_>) -> Result<(), Fault> {
        let is_any = |value: &Value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("any"));
        let expected = "a list of ids or names of rules, or `any`";
        let written = self.keys.get("rules");
        let parsed = document.parsed.filters.first().map(|filter| &filter.rules);
        match (parsed, written) {
            (Some(FilterRuleTarget::Any), None) => {
                Err(Fault { near: Some("filter:".to_owned()), ..self.fault("rules", expected, None) })
            }
            (Some(FilterRuleTarget::Any), Some(value)) if !is_any(value) => {
                Err(self.fault("rules", expected, written))
            }
            _ => self.expect("rules", expected, is_texts),
        }
    }

    fn selections(&self) -> Result<(), Fault> {
        for (name, selection) in self.keys {
            match name.as_str() {
                Some("condition" | "timeframe") => {}
                Some(name) => self.selection(name, selection, 0)?,
                None => return Err(self.fault(&shown(name), "a name in quotes", Some(name))),
            }
        }
        Ok(())
    }

    fn selection(&self, name: &str, selection: &Value, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(Reason::TooDeep { max: DEPTH_MAX }.into());
        }
        match selection {
            Value::Sequence(parts) => {
                parts.iter().try_for_each(|part| self.selection(name, part, depth.saturating_add(1)))
            }
            Value::Mapping(items) => Section { name: format!("{}{name}.", self.name), keys: items }.items(),
            value if is_plain(value) => Ok(()),
            value => Err(self.fault(name, VALUE, Some(value))),
        }
    }

    /// Fields and their values.
    fn items(&self) -> Result<(), Fault> {
        for (field, value) in self.keys {
            let Some(field) = field.as_str() else {
                return Err(self.fault(&shown(field), "the name of a field in quotes", Some(field)));
            };
            let is_value = match value {
                Value::Sequence(values) => values.iter().all(is_plain),
                value => is_plain(value),
            };
            if !is_value {
                return Err(self.fault(field, VALUE, Some(value)));
            }
        }
        Ok(())
    }

    /// The parser says of a temporal correlation without a condition what it says of one with `gte: 1`.
    fn is_temporal(&self) -> bool {
        self.keys.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("temporal"))
    }

    fn correlation(&self) -> Result<(), Fault> {
        self.expect_keys(&CORRELATION)?;
        for key in ["rules", "group-by"] {
            self.expect(key, "text or a list of texts", is_texts)?;
        }
        for key in ["timespan", "timeframe"] {
            self.expect(key, "a number and its unit such as 90s, 5m, 1h or 1d", Value::is_string)?;
        }
        self.expect("generate", "true or false", Value::is_bool)?;
        self.expect("aliases", "a map of aliases", Value::is_mapping)?;
        if let Some(aliases) = self.section("aliases") {
            for alias in aliases.keys.keys().filter_map(Value::as_str) {
                aliases.expect(alias, "a map of rules to the names of their fields", |value| {
                    value.as_mapping().is_some_and(|fields| fields.values().all(Value::is_string))
                })?;
            }
        }
        let Some(condition) = self.section("condition") else { return Ok(()) };
        condition.expect_keys(&[&OPERATORS[..], &MEASURED[..]].concat())?;
        condition.expect("field", "text or a list of texts", is_texts)?;
        if self.is_temporal() && condition.keys.len() == 1 {
            let expected =
                "2 or more: without a condition all rules must be seen, and any of them is an event_count";
            condition.expect("gte", expected, |value| value.as_u64() != Some(1))?;
        }
        OPERATORS.iter().try_for_each(|key| {
            condition.expect(key, "a whole number", |value| value.is_i64() || value.is_u64())
        })
    }
}

/// Text, or texts.
fn is_texts(value: &Value) -> bool {
    match value {
        Value::Sequence(texts) => texts.iter().all(Value::is_string),
        value => value.is_string(),
    }
}

/// No map, list or tag.
fn is_plain(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Sequence(list) if list.is_empty() => "an empty list".to_owned(),
        Value::Sequence(list) if list.iter().all(is_plain) => "a list".to_owned(),
        Value::Sequence(_) => "a map or a list in the list".to_owned(),
        Value::Mapping(_) => "a map".to_owned(),
        Value::Tagged(_) => "a tag".to_owned(),
    }
}
