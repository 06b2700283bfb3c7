//! What a rule's author wrote about it: read from the rule file when it is there and readable, for who looks at an alert.
//!
//! The store keeps a rule's title only; a file that has moved or changed since costs the description, never the alert.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::Config;

/// A rule file is a few kilobytes.
const RULE_BYTES_MAX: u64 = 1024 * 1024;

/// An author's words.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Words {
    pub(crate) file: PathBuf,
    pub(crate) description: String,
    pub(crate) falsepositives: Vec<String>,
    pub(crate) references: Vec<String>,
    /// It counts or orders the matches of other rules.
    pub(crate) correlation: bool,
}

/// The words of the rule `id` in the file at `path`, which may be relative to a tree of rules.
pub(crate) fn words(config: &Config, path: &str, id: &str) -> Option<Words> {
    let candidates =
        std::iter::once(PathBuf::from(path)).chain(config.rules.iter().map(|tree| tree.join(path)));
    candidates.filter(|file| file.is_absolute()).find_map(|file| read(&file, id))
}

fn read(file: &Path, id: &str) -> Option<Words> {
    if std::fs::metadata(file).ok()?.len() > RULE_BYTES_MAX {
        return None;
    }
    let collection = rsigma_parser::parse_sigma_yaml(&std::fs::read_to_string(file).ok()?).ok()?;
    let rule = collection.rules.into_iter().find(|rule| rule.id.as_deref() == Some(id));
    let rule = rule.map(|rule| (rule.description, rule.falsepositives, rule.references));
    let correlation = || collection.correlations.into_iter().find(|rule| rule.id.as_deref() == Some(id));
    let correlated = rule.is_none();
    let (description, falsepositives, references) =
        rule.or_else(|| correlation().map(|rule| (rule.description, rule.falsepositives, rule.references)))?;
    let description = description.unwrap_or_default();
    Some(Words { file: file.to_owned(), description, falsepositives, references, correlation: correlated })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "title: A\nid: 5f1d\ndescription: |\n  Two\n  lines\nfalsepositives:\n  - none\nlogsource:\n  product: linux\ndetection:\n  s:\n    a: b\n  condition: s\n";

    #[test]
    fn finds_the_rule_in_the_trees_of_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yml"), RULE).unwrap();
        let config = Config { rules: vec![folder.path().into()], ..Config::default() };
        let found = words(&config, "a.yml", "5f1d").unwrap();
        assert_eq!(found.description.trim_end(), "Two\nlines");
        assert_eq!(found.falsepositives, ["none"]);
        assert!(!found.correlation);
        let path = folder.path().join("a.yml");
        assert_eq!(words(&config, path.to_str().unwrap(), "5f1d"), Some(found));
        assert_eq!(words(&config, "a.yml", "other"), None);
        assert_eq!(words(&config, "gone.yml", "5f1d"), None);
    }
}
