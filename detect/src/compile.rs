//! From rule files to an engine.
//!
//! Rules are compiled one by one, then filters are put on the rules that they name, then correlations are resolved. Each
//! step leaves out what it cannot take and says so; the others go on.
//!
//! A filter's condition is one more condition of the rule, as the specification's reference implementation has it: a filter
//! that excludes says `not selection`.

use std::collections::HashMap;
use std::sync::Arc;

use rsigma_parser::{
    CorrelationRule, Detections, FilterRule, FilterRuleTarget, SigmaCollection, SigmaRule, is_unsupported,
};
use xxhash_rust::xxh3::Xxh3;

use crate::condition;
use crate::correlation::{self, Correlation, is_reference};
use crate::digest;
use crate::document::{Document, documents};
use crate::engine::{Engine, Fields, Placeholders};
use crate::index::Indexes;
use crate::limits::CHAIN_MAX;
use crate::log_source::contains;
use crate::pattern::Compiler;
use crate::problem::{Fault, Problem, Reason};
use crate::rule::{Origin, Rule, RuleSource};
use crate::scan::{Logic, Program};
use crate::{serial, shape};

/// The highest major version of the specification whose meaning is known here.
const SIGMA_MAJOR_MAX: u32 = 2;

/// Compiles rule files, given as path and text, with no values for placeholders.
pub fn compile<P: AsRef<str>, T: AsRef<str>>(files: &[(P, T)]) -> (Engine, Vec<Problem>) {
    compile_with(files, &Placeholders::new())
}

/// Compiles rule files, given as path and text. What cannot be loaded is told in the problems; the rest works.
pub fn compile_with<P: AsRef<str>, T: AsRef<str>>(
    files: &[(P, T)],
    placeholders: &Placeholders,
) -> (Engine, Vec<Problem>) {
    let mut linker = Linker::new(placeholders);
    let mut hash = Xxh3::new();
    for (path, text) in files {
        linker.file(path.as_ref(), text.as_ref());
        digest::update(&mut hash, &[path.as_ref(), text.as_ref()]);
    }
    let (engine, problems) = linker.finish();
    (Engine { files: hash.digest128(), ..engine }, problems)
}

/// What is loaded so far.
struct Linker<'p> {
    placeholders: &'p Placeholders,
    fields: Fields,
    rules: Vec<Rule>,
    programs: Vec<Program>,
    correlations: Vec<Written>,
    filters: Vec<(FilterRule, Place)>,
    /// Ids and names, and where they stand.
    known: HashMap<(&'static str, String), Origin>,
    problems: Vec<Problem>,
}

/// A correlation that is not resolved: its position among the rules, and where it stands.
type Written = (usize, CorrelationRule, Place);

/// Where a document stands, with its text for the lines of problems.
#[derive(Clone)]
struct Place {
    origin: Origin,
    text: String,
    rule: Option<String>,
}

impl<'p> Linker<'p> {
    fn new(placeholders: &'p Placeholders) -> Self {
        Self {
            placeholders,
            fields: Fields::default(),
            rules: Vec::new(),
            programs: Vec::new(),
            correlations: Vec::new(),
            filters: Vec::new(),
            known: HashMap::new(),
            problems: Vec::new(),
        }
    }

    fn file(&mut self, path: &str, text: &str) {
        match documents(text) {
            Ok(documents) => documents.iter().for_each(|document| self.document(path, document)),
            Err(reason) => {
                let path = path.to_owned();
                self.problems.push(Problem { path, line: None, rule: None, reason, loaded: false });
            }
        }
    }

    fn document(&mut self, path: &str, document: &Document<'_>) {
        let parsed = &document.parsed;
        let rule = document.value_of("id").or_else(|| document.value_of("title"));
        let place = Place {
            origin: Origin { path: path.to_owned(), line: document.line },
            text: document.text.to_owned(),
            rule: rule.map(str::to_owned),
        };
        let doubt = match version(parsed).and_then(|()| shape::check(document)) {
            Ok(doubt) => doubt,
            Err(fault) => return self.problem(&place, fault, false),
        };
        let loaded = !parsed.is_empty();
        if let Some(fault) = doubt {
            self.problem(&place, fault, loaded);
        }
        for error in &parsed.errors {
            self.parser_error(document, &place, error, loaded);
        }
        for rule in &parsed.rules {
            if let Err(fault) = self.detection(rule, &place) {
                self.problem(&place, fault, false);
            }
        }
        for rule in &parsed.correlations {
            match self.admit(Rule::of_correlation(rule, &place.origin), &place) {
                Ok(index) => self.correlations.push((index, rule.clone(), place.clone())),
                Err(fault) => self.problem(&place, fault, false),
            }
        }
        for filter in &parsed.filters {
            self.filters.push((filter.clone(), place.clone()));
        }
    }

    fn parser_error(&mut self, document: &Document<'_>, place: &Place, error: &str, loaded: bool) {
        let (reason, line) = if error.starts_with("Condition parse error") && has_aggregation(error) {
            (Reason::Aggregation, document.line_of("condition:"))
        } else {
            (Reason::Parser(one_line(error)), parser_line(document, error))
        };
        self.problems.push(Problem {
            path: place.origin.path.clone(),
            line: line.or(Some(place.origin.line)),
            rule: place.rule.clone(),
            reason,
            loaded,
        });
    }

    fn detection(&mut self, written: &SigmaRule, place: &Place) -> Result<(), Fault> {
        if written.detection.timeframe.is_some() {
            return Err(Fault::near(Reason::Timeframe, "timeframe:"));
        }
        let rule = Rule::of_detection(written, &place.origin);
        if rule.log_source.is_empty() {
            return Err(Fault::near(Reason::NoLogSource, "logsource:"));
        }
        let logic = self.logic(&written.detection)?;
        let rule = self.admit(rule, place)?;
        self.programs.push(Program { rule, logic, filters: Vec::new() });
        Ok(())
    }

    fn logic(&mut self, detection: &Detections) -> Result<Logic, Fault> {
        let mut names: Vec<String> = detection.named.keys().cloned().collect();
        names.sort_unstable();
        let mut compiler = Compiler { fields: &mut self.fields, placeholders: self.placeholders };
        let mut selections = Vec::with_capacity(names.len());
        for name in &names {
            if let Some(selection) = detection.named.get(name) {
                selections.push(compiler.selection(name, selection, 0)?);
            }
        }
        let mut condition = condition::tree(&detection.conditions, &names)?;
        selections.iter_mut().for_each(|selection| selection.arrange(&[]));
        let costs: Vec<usize> = selections.iter().map(|selection| selection.cost(&[])).collect();
        condition.arrange(&costs);
        Ok(Logic { names, selections, condition })
    }

    /// Takes a rule in when its id and name are new.
    fn admit(&mut self, mut rule: Rule, place: &Place) -> Result<usize, Fault> {
        let id = ("the id", rule.id.clone());
        let name = rule.name.clone().map(|name| ("the name", name));
        for key in std::iter::once(&id).chain(&name) {
            if let Some(earlier) = self.known.get(key) {
                let (path, line) = (earlier.path.clone(), earlier.line);
                let reason = Reason::Duplicate { what: key.0, id: key.1.clone(), path, line };
                return Err(Fault::near(reason, key.0.replace("the ", "") + ":"));
            }
        }
        for key in std::iter::once(id).chain(name) {
            self.known.insert(key, place.origin.clone());
        }
        rule.index = self.rules.len();
        self.rules.push(rule);
        Ok(self.rules.len().saturating_sub(1))
    }

    fn finish(mut self) -> (Engine, Vec<Problem>) {
        for (filter, place) in std::mem::take(&mut self.filters) {
            if let Err(fault) = self.filter(&filter, &place) {
                self.problem(&place, fault, false);
            }
        }
        let mut correlations = self.correlate();
        let keys = correlation::keys(&correlations);
        self.mark_material(&correlations);
        // Correlations hold the rules as they were before `alerts` was settled.
        let rules = self.settled(&mut correlations);
        let engine = Engine {
            serial: serial::next(),
            files: 0,
            keys: rules.iter().map(|rule| keys.get(&rule.id).cloned()).collect(),
            fields: self.fields,
            indexes: Indexes::new(&self.programs, &rules),
            programs: self.programs,
            rules,
            correlations,
        };
        (engine, self.problems)
    }

    fn problem(&mut self, place: &Place, fault: Fault, loaded: bool) {
        let line = fault.near.and_then(|near| line_of(place, &near)).or(Some(place.origin.line));
        let (path, rule) = (place.origin.path.clone(), place.rule.clone());
        self.problems.push(Problem { path, line, rule, reason: fault.reason, loaded });
    }
}

/// Filters.
impl Linker<'_> {
    fn filter(&mut self, filter: &FilterRule, place: &Place) -> Result<(), Fault> {
        let source = filter.logsource.as_ref().map(RuleSource::of).unwrap_or_default();
        if source.is_empty() {
            return Err(Fault::near(Reason::NoLogSource, "logsource:"));
        }
        match &filter.rules {
            FilterRuleTarget::Any => {
                for position in 0..self.programs.len() {
                    if self.source_of(position).is_some_and(|rule| contains(&source, rule)) {
                        self.put(filter, position)?;
                    }
                }
            }
            FilterRuleTarget::Specific(references) => {
                for reference in references {
                    if let Err(fault) = self.filter_one(filter, &source, reference) {
                        self.problem(place, fault, true);
                    }
                }
            }
        }
        // Compiled once more for itself, so that a filter that fits nothing is checked as well.
        self.logic(&filter.detection).map(|_| ())
    }

    fn filter_one(&mut self, filter: &FilterRule, source: &RuleSource, reference: &str) -> Result<(), Fault> {
        let is_meant = |program: &Program| {
            self.rules.get(program.rule).is_some_and(|rule| is_reference(rule, reference))
        };
        let Some(position) = self.programs.iter().position(is_meant) else {
            return Err(Fault::near(Reason::UnknownRule { reference: reference.to_owned() }, reference));
        };
        if !self.source_of(position).is_some_and(|rule| contains(source, rule)) {
            return Err(Fault::near(Reason::FilterLogSource { reference: reference.to_owned() }, reference));
        }
        self.put(filter, position)
    }

    fn source_of(&self, program: usize) -> Option<&RuleSource> {
        self.rules.get(self.programs.get(program)?.rule).map(|rule| &rule.log_source)
    }

    fn put(&mut self, filter: &FilterRule, program: usize) -> Result<(), Fault> {
        let logic = self.logic(&filter.detection)?;
        if let Some(program) = self.programs.get_mut(program) {
            program.filters.push(logic);
        }
        Ok(())
    }
}

/// Correlations.
impl Linker<'_> {
    /// Resolves those whose rules are all resolved, round by round: a chain needs as many rounds as it is long.
    fn correlate(&mut self) -> Vec<Arc<Correlation>> {
        let mut waiting = std::mem::take(&mut self.correlations);
        let mut failed: Vec<usize> = waiting.iter().map(|(index, ..)| *index).collect();
        let mut resolved: Vec<Arc<Correlation>> = Vec::new();
        for _ in 0..=CHAIN_MAX {
            let (ready, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, written, _)| self.missing(written, &failed).is_none());
            waiting = rest;
            let mut done = Vec::new();
            for (index, written, place) in ready {
                match self.resolve(index, &written) {
                    Ok(correlation) => {
                        resolved.push(Arc::new(correlation));
                        done.push(index);
                    }
                    Err(fault) => self.problem(&place, fault, false),
                }
            }
            failed.retain(|index| !done.contains(index));
        }
        for (_, written, place) in &waiting {
            let fault = self.unresolved(written, &waiting, &failed);
            self.problem(place, fault, false);
        }
        self.remove(&failed);
        resolved
    }

    /// Why a correlation was not resolved in any round.
    fn unresolved(&self, written: &CorrelationRule, waiting: &[Written], failed: &[usize]) -> Fault {
        let Some(reference) = self.missing(written, failed) else {
            let detail = format!("it stands on a chain of more than {CHAIN_MAX} correlations");
            return Fault::near(Reason::Correlation(detail), "rules:");
        };
        // What each waits for in turn: an end of it is not loaded for a reason of its own.
        let mut next = Some(reference.clone());
        for _ in 0..=waiting.len() {
            let index = next.and_then(|reference| self.find(&reference)).map(|rule| rule.index);
            let below = waiting.iter().find(|(waits, ..)| Some(*waits) == index);
            next = below.and_then(|(_, written, _)| self.missing(written, failed));
        }
        let reason = match next {
            Some(_) => Reason::Correlation(format!("`{reference}` stands, through others, on itself")),
            None => Reason::UnknownRule { reference: reference.clone() },
        };
        Fault::near(reason, reference)
    }

    /// The first rule it names that is not loaded (yet).
    fn missing(&self, written: &CorrelationRule, failed: &[usize]) -> Option<String> {
        let is_loaded =
            |reference: &String| self.find(reference).is_some_and(|rule| !failed.contains(&rule.index));
        written.rules.iter().find(|reference| !is_loaded(reference)).cloned()
    }

    fn find(&self, reference: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| is_reference(rule, reference))
    }

    fn resolve(&self, index: usize, written: &CorrelationRule) -> Result<Correlation, Fault> {
        let members: Vec<Arc<Rule>> = written
            .rules
            .iter()
            .filter_map(|reference| self.find(reference))
            .map(|rule| Arc::new(rule.clone()))
            .collect();
        match self.rules.get(index) {
            Some(rule) => correlation::resolve(Arc::new(rule.clone()), written, &members),
            None => Err(Reason::UnknownRule { reference: written.title.clone() }.into()),
        }
    }

    /// Takes out the correlations that could not be resolved.
    fn remove(&mut self, failed: &[usize]) {
        let mut moved: HashMap<usize, usize> = HashMap::new();
        let rules = std::mem::take(&mut self.rules);
        for (index, rule) in rules.into_iter().enumerate().filter(|(index, _)| !failed.contains(index)) {
            moved.insert(index, self.rules.len());
            self.rules.push(Rule { index: self.rules.len(), ..rule });
        }
        for program in &mut self.programs {
            program.rule = moved.get(&program.rule).copied().unwrap_or(program.rule);
        }
    }

    /// A rule that is only material for correlations does not alert.
    fn mark_material(&mut self, correlations: &[Arc<Correlation>]) {
        for rule in &mut self.rules {
            let mut above = correlations
                .iter()
                .filter(|correlation| correlation.members.iter().any(|member| member.rule.id == rule.id))
                .peekable();
            rule.alerts = above.peek().is_none() || above.any(|correlation| correlation.generate);
        }
    }

    fn settled(&mut self, correlations: &mut [Arc<Correlation>]) -> Vec<Arc<Rule>> {
        let rules: Vec<Arc<Rule>> = std::mem::take(&mut self.rules).into_iter().map(Arc::new).collect();
        let by_id: HashMap<&str, &Arc<Rule>> = rules.iter().map(|rule| (rule.id.as_str(), rule)).collect();
        let settle = |rule: &mut Arc<Rule>| {
            if let Some(settled) = by_id.get(rule.id.as_str()) {
                *rule = Arc::clone(settled);
            }
        };
        for correlation in correlations.iter_mut().filter_map(Arc::get_mut) {
            settle(&mut correlation.rule);
            correlation.members.iter_mut().for_each(|member| settle(&mut member.rule));
        }
        rules
    }
}

/// Whether the meaning of all that a document holds is known here.
fn version(parsed: &SigmaCollection) -> Result<(), Fault> {
    let rules = parsed.rules.iter().map(|rule| rule.sigma_version);
    let correlations = parsed.correlations.iter().map(|correlation| correlation.sigma_version);
    let filters = parsed.filters.iter().map(|filter| filter.sigma_version);
    let is_newer = |major: &u32| *major > SIGMA_MAJOR_MAX || is_unsupported(Some(*major));
    match rules.chain(correlations).chain(filters).flatten().find(is_newer) {
        Some(major) => Err(Fault::near(Reason::Version { major }, "sigma-version")),
        None => Ok(()),
    }
}

fn line_of(place: &Place, near: &str) -> Option<usize> {
    let offset = place.text.lines().position(|line| line.contains(near))?;
    place.origin.line.checked_add(offset)
}

/// Whether a condition goes on after a pipe: the error draws the line of the condition behind `1 | `.
fn has_aggregation(error: &str) -> bool {
    let drawn = error.lines().filter_map(|line| line.trim_start().split_once(" | "));
    drawn.filter(|(number, _)| number.parse::<usize>().is_ok()).any(|(_, condition)| condition.contains('|'))
}

/// What the parser says, on one line; of a condition's error, what was expected where, without the drawing of the place.
fn one_line(error: &str) -> String {
    let column = error.strip_prefix("Condition parse error at 1:").map(|rest| rest.split([':', ' ']).next());
    match (column, error.split_once("= expected ")) {
        (Some(Some(column)), Some((_, expected))) => {
            let expected = expected.trim().replace("EOI", "its end").replace("_op", "");
            format!(
                "the condition is outside the specified grammar: at character {column} expected {expected}"
            )
        }
        _ => error.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" "),
    }
}

/// YAML errors say `at line N`, of the document.
fn parser_line(document: &Document<'_>, error: &str) -> Option<usize> {
    if error.starts_with("Condition") {
        return document.line_of("condition:");
    }
    if let Some(name) = error.strip_prefix("Unknown modifier '").and_then(|rest| rest.split('\'').next()) {
        return document.line_of(&format!("|{name}"));
    }
    let (_, rest) = error.split_once("at line ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let line: usize = digits.parse().ok()?;
    document.line.checked_add(line.checked_sub(1)?)
}
