//! What is wrong with a rule. Nothing is skipped in silence: whatever does not load, or loads otherwise than written, is a
//! [`Problem`] with its file, its line where one can be told, and a [`Reason`] that says what was expected.

use std::fmt;

use thiserror::Error;

/// One finding about one document of a rule file.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The file, as it was given to [`compile`](crate::compile).
    pub path: String,
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// The rule's id, else its title, where the document names one.
    pub rule: Option<String>,
    pub reason: Reason,
    /// Whether the rule works in spite of it.
    pub loaded: bool,
}

/// Why.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Reason {
    #[error("no rule file is there: expected files NAME.yml or NAME.yaml")]
    NoRuleFile,
    #[error("the file cannot be read: {detail}")]
    Unreadable { detail: String },
    #[error("the file has {bytes} bytes, at most {max} are read")]
    FileTooLong { bytes: usize, max: usize },
    #[error("the file has {documents} documents and uses `action:`, at most {max} are read")]
    TooManyDocuments { documents: usize, max: usize },
    #[error("{0}")]
    Parser(String),
    #[error("`{key}`: expected {expected}, found {found}")]
    Shape { key: String, expected: &'static str, found: String },
    #[error("`{key}` is unknown: expected one of {expected}")]
    UnknownKey { key: String, expected: String },
    #[error(
        "the condition aggregates after a `|`: the specification calls this obsolete (\"the first approach ... is now obsolete\"), write a correlation rule"
    )]
    Aggregation,
    #[error(
        "`timeframe` belongs to the obsolete aggregations and means nothing in a rule of single events, write a correlation rule"
    )]
    Timeframe,
    #[error("`logsource` is mandatory: one of category, product, service must be given")]
    NoLogSource,
    #[error("the rule targets Sigma {major}, this engine knows up to 2")]
    Version { major: u32 },
    #[error("{what} `{id}` stands already in {path}:{line}")]
    Duplicate { what: &'static str, id: String, path: String, line: usize },
    #[error("selection `{selection}` is empty: expected a field with a value, or a keyword")]
    EmptySelection { selection: String },
    #[error("`{item}` has no value")]
    NoValue { item: String },
    #[error("`{item}`: {detail}")]
    Modifier { item: String, detail: String },
    #[error("`{item}`: the value {value} cannot be used: {detail}")]
    Value { item: String, value: String, detail: String },
    #[error(
        "`{item}`: the placeholder %{name}% has no value: a tool that cannot fill it must reject the rule"
    )]
    Placeholder { item: String, name: String },
    #[error("`{item}`: the regular expression is outside the specified flavour: {detail}")]
    Regex { item: String, detail: String },
    #[error("array selectors in field names are not part of Sigma 2.1: selection `{selection}`")]
    ArraySelector { selection: String },
    #[error("the condition names `{name}`, but there is no such selection")]
    UnknownSelection { name: String },
    #[error("the condition's `{pattern}` fits no selection")]
    NoSelectionFits { pattern: String },
    #[error("the condition asks for {count} of `{pattern}`, which fits {found} selections")]
    TooFewSelections { count: u64, pattern: String, found: usize },
    #[error("selections and conditions are nested deeper than {max}")]
    TooDeep { max: usize },
    #[error("correlation: {0}")]
    Correlation(String),
    #[error("the rule `{reference}` that it refers to is not loaded")]
    UnknownRule { reference: String },
    #[error(
        "the filter's log source does not contain that of the rule `{reference}`, which stays unfiltered"
    )]
    FilterLogSource { reference: String },
}

/// A reason, and the text near which it stands in the document.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    pub(crate) near: Option<String>,
}

impl Fault {
    pub(crate) fn near(reason: Reason, near: impl Into<String>) -> Self {
        Self { reason, near: Some(near.into()) }
    }
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self { reason, near: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.path)?;
        if let Some(line) = self.line {
            write!(out, ":{line}")?;
        }
        if let Some(rule) = &self.rule {
            write!(out, ": {rule}")?;
        }
        write!(out, ": {}", self.reason)
    }
}
