//! From the text of a rule file to its YAML documents, each with its line.
//!
//! The parser reads a whole file and tells neither which document an error belongs to nor where that stands. So a file is
//! cut at its `---` lines and the documents are parsed one by one. Where a file uses `action:` (a document then depends on
//! those before it), each document is parsed together with all before it, and what is new is its own.

use rsigma_parser::{SigmaCollection, parse_sigma_yaml};

use crate::limits::{ACTION_DOCUMENTS_MAX, RULE_FILE_BYTES_MAX};
use crate::problem::Reason;

/// One document of a rule file.
#[derive(Debug)]
pub(crate) struct Document<'t> {
    /// Line of the file on which it starts, from 1.
    pub(crate) line: usize,
    pub(crate) text: &'t str,
    /// What the parser made of it: one rule, or errors; errors beside a rule are what it could read in spite of.
    pub(crate) parsed: SigmaCollection,
}

impl Document<'_> {
    /// Line of the file where `near` first stands in the document.
    pub(crate) fn line_of(&self, near: &str) -> Option<usize> {
        let offset = self.text.lines().position(|line| line.contains(near))?;
        self.line.checked_add(offset)
    }

    /// The value of a key at the left margin, for documents that could not be parsed.
    pub(crate) fn value_of(&self, key: &str) -> Option<&str> {
        let value = |line: &'_ str| line.strip_prefix(key)?.strip_prefix(':').map(str::len);
        self.text.lines().find_map(|line| {
            let length = value(line)?;
            let text = line.get(line.len().checked_sub(length)?..)?.trim().trim_matches(['\'', '"']);
            (!text.is_empty()).then_some(text)
        })
    }
}

/// The documents of a file.
pub(crate) fn documents(text: &str) -> Result<Vec<Document<'_>>, Reason> {
    if text.len() > RULE_FILE_BYTES_MAX {
        return Err(Reason::FileTooLong { bytes: text.len(), max: RULE_FILE_BYTES_MAX });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parts: Vec<Part<'_>> = parts(text).into_iter().filter(|part| !is_blank(part.text)).collect();
    if !text.lines().any(|line| line.starts_with("action:")) {
        return Ok(parts.iter().map(alone).collect());
    }
    if parts.len() > ACTION_DOCUMENTS_MAX {
        return Err(Reason::TooManyDocuments { documents: parts.len(), max: ACTION_DOCUMENTS_MAX });
    }
    Ok(together(text, &parts))
}

/// Where a document stands in the file.
struct Part<'t> {
    line: usize,
    text: &'t str,
    /// End of the document, in bytes of the file.
    end: usize,
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut offset) = (0_usize, 1_usize, 0_usize);
    for (number, line) in (1_usize..).zip(text.split_inclusive('\n')) {
        if is_separator(line) && offset > start {
            parts.push(Part {
                line: start_line,
                text: text.get(start..offset).unwrap_or_default(),
                end: offset,
            });
            (start, start_line) = (offset, number);
        }
        offset = offset.saturating_add(line.len());
    }
    parts.push(Part { line: start_line, text: text.get(start..).unwrap_or_default(), end: text.len() });
    parts
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Whether nothing but comments and marks stands in it.
fn is_blank(text: &str) -> bool {
    text.lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with('#') || line == "---" || line == "...")
}

fn alone<'t>(part: &Part<'t>) -> Document<'t> {
    Document { line: part.line, text: part.text, parsed: parsed(part.text) }
}

fn together<'t>(text: &'t str, parts: &[Part<'t>]) -> Vec<Document<'t>> {
    let mut before = SigmaCollection::new();
    let mut documents = Vec::with_capacity(parts.len());
    for part in parts {
        let all = parsed(text.get(..part.end).unwrap_or(text));
        let new = SigmaCollection {
            rules: all.rules.iter().skip(before.rules.len()).cloned().collect(),
            correlations: all.correlations.iter().skip(before.correlations.len()).cloned().collect(),
            filters: all.filters.iter().skip(before.filters.len()).cloned().collect(),
            errors: all.errors.iter().skip(before.errors.len()).cloned().collect(),
        };
        documents.push(Document { line: part.line, text: part.text, parsed: new });
        before = all;
    }
    documents
}

fn parsed(text: &str) -> SigmaCollection {
    parse_sigma_yaml(text).unwrap_or_else(|error| {
        let mut failed = SigmaCollection::new();
        failed.errors.push(error.to_string());
        failed
    })
}
