//! Trees of rule files, read and compiled.
//!
//! Limits: a file of at most [`FILE_BYTES_MAX`]; links are not followed, so that a tree ends.

use std::path::{Path, PathBuf};

use detect::Engine;

/// The largest rule file of SigmaHQ has 20 kB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Compiles the rules in `folders`; what does not load is told in words, with its file.
pub(crate) fn load(folders: &[PathBuf]) -> (Engine, Vec<String>) {
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for folder in folders {
        for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
            match entry {
                Ok(entry) if is_rule(entry.path()) => match read(entry.path()) {
                    Ok(text) => files.push((entry.path().display().to_string(), text)),
                    Err(error) => problems.push(format!("{}: {error}", entry.path().display())),
                },
                Ok(_) => {}
                Err(error) => problems.push(error.to_string()),
            }
        }
    }
    let (engine, found) = detect::compile(&files);
    problems.extend(found.iter().filter(|problem| !problem.loaded).map(ToString::to_string));
    (engine, problems)
}

fn is_rule(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}

fn read(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("{bytes} bytes, at most {FILE_BYTES_MAX} are read")));
    }
    std::fs::read_to_string(path)
}
