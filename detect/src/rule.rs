//! What is known of a rule besides its logic: what alerts, tables and people show.

use rsigma_parser::{CorrelationRule, Level, SigmaRule};

/// A rule that is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// `id`; where a rule has none (the specification allows it), its `name`, else its title.
    pub id: String,
    /// The name that correlations may use instead of the id.
    pub name: Option<String>,
    pub title: String,
    pub description: String,
    /// `level`; [`Severity::Medium`] where the rule gives none.
    pub severity: Severity,
    pub kind: Kind,
    /// As written.
    pub tags: Vec<String>,
    /// ATT&CK tactics of the tags, hyphenated: `initial-access`.
    pub tactics: Vec<String>,
    /// ATT&CK techniques of the tags: `T1110.001`.
    pub techniques: Vec<String>,
    pub falsepositives: Vec<String>,
    pub references: Vec<String>,
    /// The file, as it was given to [`compile`](crate::compile).
    pub path: String,
    /// Line of the file where the rule's document starts.
    pub line: usize,
    /// All empty for a correlation.
    pub log_source: RuleSource,
    /// Whether a match is an alert of its own. A rule that a correlation refers to is only material for that correlation,
    /// unless one of the correlations says `generate: true`.
    pub alerts: bool,
    /// Position in [`Engine::rules`](crate::Engine::rules).
    pub(crate) index: usize,
}

/// What kind of rule it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// Matches single events.
    Detection,
    /// Counts or relates the matches of other rules.
    Correlation,
}

/// Sigma's `level`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

/// A rule's `logsource`, lower case; an empty part was not given and fits every event.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct RuleSource {
    pub category: String,
    pub product: String,
    pub service: String,
}

/// Where a rule was found.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) path: String,
    pub(crate) line: usize,
}

impl Severity {
    /// The name in rules, in the store and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The severity of a name, without case.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Informational, Self::Low, Self::Medium, Self::High, Self::Critical];
        all.into_iter().find(|severity| severity.as_str().eq_ignore_ascii_case(name.trim()))
    }

    fn of(level: Option<Level>) -> Self {
        match level {
            Some(Level::Informational) => Self::Informational,
            Some(Level::Low) => Self::Low,
            Some(Level::Medium) | None => Self::Medium,
            Some(Level::High) => Self::High,
            Some(Level::Critical) => Self::Critical,
        }
    }
}

impl Kind {
    /// The name on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detection => "detection",
            Self::Correlation => "correlation",
        }
    }
}

impl Rule {
    pub(crate) fn of_detection(rule: &SigmaRule, origin: &Origin) -> Self {
        Self {
            id: identity(rule.id.as_deref(), rule.name.as_deref(), &rule.title),
            name: rule.name.clone(),
            title: rule.title.clone(),
            description: trimmed(rule.description.as_deref()),
            severity: Severity::of(rule.level),
            kind: Kind::Detection,
            tactics: tactics(&rule.tags),
            techniques: techniques(&rule.tags),
            tags: rule.tags.clone(),
            falsepositives: rule.falsepositives.clone(),
            references: rule.references.clone(),
            path: origin.path.clone(),
            line: origin.line,
            log_source: RuleSource::of(&rule.logsource),
            alerts: true,
            index: 0,
        }
    }

    pub(crate) fn of_correlation(rule: &CorrelationRule, origin: &Origin) -> Self {
        Self {
            id: identity(rule.id.as_deref(), rule.name.as_deref(), &rule.title),
            name: rule.name.clone(),
            title: rule.title.clone(),
            description: trimmed(rule.description.as_deref()),
            severity: Severity::of(rule.level),
            kind: Kind::Correlation,
            tactics: tactics(&rule.tags),
            techniques: techniques(&rule.tags),
            tags: rule.tags.clone(),
            falsepositives: rule.falsepositives.clone(),
            references: rule.references.clone(),
            path: origin.path.clone(),
            line: origin.line,
            log_source: RuleSource::default(),
            alerts: true,
            index: 0,
        }
    }
}

impl RuleSource {
    pub(crate) fn of(source: &rsigma_parser::LogSource) -> Self {
        let part = |part: &Option<String>| part.as_deref().unwrap_or_default().to_lowercase();
        Self {
            category: part(&source.category),
            product: part(&source.product),
            service: part(&source.service),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.category.is_empty() && self.product.is_empty() && self.service.is_empty()
    }
}

fn identity(id: Option<&str>, name: Option<&str>, title: &str) -> String {
    id.or(name).unwrap_or(title).to_owned()
}

fn trimmed(text: Option<&str>) -> String {
    text.unwrap_or_default().trim().to_owned()
}

/// `attack.t1110.001` ─▶ `T1110.001`.
fn techniques(tags: &[String]) -> Vec<String> {
    attack(tags).filter(|tag| is_numbered(tag, "t")).map(str::to_uppercase).collect()
}

/// `attack.initial_access` ─▶ `initial-access`. Groups (`g0007`), software (`s0002`) and numbered tactics (`ta0001`) are left to the tags.
fn tactics(tags: &[String]) -> Vec<String> {
    let numbered =
        |tag: &str| ["t", "g", "s", "ta", "c", "m", "ds"].iter().any(|letter| is_numbered(tag, letter));
    attack(tags).filter(|tag| !numbered(tag)).map(|tag| tag.to_lowercase().replace('_', "-")).collect()
}

fn attack(tags: &[String]) -> impl Iterator<Item = &str> {
    tags.iter().filter_map(|tag| tag.strip_prefix("attack."))
}

fn is_numbered(tag: &str, letters: &str) -> bool {
    let digits = tag.to_ascii_lowercase();
    let Some(digits) = digits.strip_prefix(letters) else { return false };
    digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.chars().all(|digit| digit.is_ascii_digit() || digit == '.')
}
