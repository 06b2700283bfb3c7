//! Which files there are to be read.
//!
//! What a person names is read, through symbolic links, pipes and standard input (`-`) included. Below a folder only files
//! are: following a link would leave the evidence for the machine on which it is looked at. A link to what stands below a
//! path that was given loses nothing; any other link, a pipe or a device is a problem that says so. A file that was
//! given twice is read once.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use event::Micros;

use crate::rules::reason_of;

/// The path that means standard input.
const STANDARD_INPUT: &str = "-";

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) found: Vec<Found>,
    /// What is there and cannot be read, and why.
    pub(super) problems: Vec<String>,
    /// By index of the path that was given: whether it has a problem, or a file that an earlier path has, too.
    pub(super) accounted: Vec<bool>,
    /// Files by where they are in truth.
    seen: HashSet<PathBuf>,
}

/// A file that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Index of the path that was given.
    pub(super) given: usize,
    /// Zero of a stream.
    pub(super) bytes: u64,
    /// For events without a time of their own, and for times without a year.
    pub(super) modified: Micros,
    /// A pipe or standard input: it is read once, from where it stands.
    pub(super) is_stream: bool,
}

impl Found {
    pub(super) fn is_said_to_be_evtx(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("evtx"))
    }
}

/// The file of a path, or standard input.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if is_standard_input(path) {
        return Ok(io::stdin().as_fd().try_clone_to_owned()?.into());
    }
    File::open(path)
}

pub(super) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == STANDARD_INPUT
}

/// Where a path leads in truth. Of what has no place of its own (a pipe), the path.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

impl Files {
    pub(super) fn below(paths: &[PathBuf]) -> Self {
        let mut files = Self { accounted: vec![false; paths.len()], ..Self::default() };
        let places: Vec<PathBuf> = paths.iter().map(|path| real(path)).collect();
        for (given, path) in paths.iter().enumerate() {
            if is_standard_input(path) {
                let modified = jiff::Timestamp::now().as_microsecond();
                files.found.push(Found { path: path.clone(), given, bytes: 0, modified, is_stream: true });
                continue;
            }
            match path.metadata() {
                Ok(metadata) if metadata.is_dir() => files.walk(given, path, &places),
                Ok(metadata) => files.named(given, path, &metadata),
                Err(error) => files.problem(given, path, &error.to_string()),
            }
        }
        files
    }

    fn named(&mut self, given: usize, path: &Path, metadata: &Metadata) {
        let kind = metadata.file_type();
        let is_stream = kind.is_fifo() || kind.is_char_device();
        if !is_stream && !kind.is_file() {
            self.problem(given, path, "neither a file, nor a folder, nor a pipe: not read");
        } else if self.is_new(given, real(path)) {
            self.file(given, path, metadata, is_stream);
        }
    }

    fn walk(&mut self, given: usize, folder: &Path, places: &[PathBuf]) {
        let place = real(folder);
        for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
            match entry {
                // The folder itself may be a link: walkdir follows that one.
                Ok(entry) if entry.depth() == 0 || entry.file_type().is_dir() => {}
                Ok(entry) => {
                    let below = entry.path().strip_prefix(folder).unwrap_or(entry.path());
                    self.entry(given, &entry, place.join(below), places);
                }
                Err(error) => self.problem(given, error.path().unwrap_or(folder), &reason_of(&error)),
            }
        }
    }

    fn entry(&mut self, given: usize, entry: &walkdir::DirEntry, real: PathBuf, places: &[PathBuf]) {
        let (path, kind) = (entry.path(), entry.file_type());
        if kind.is_file() {
            match entry.metadata() {
                Ok(metadata) if self.is_new(given, real) => self.file(given, path, &metadata, false),
                Ok(_) => {}
                Err(error) => self.problem(given, path, &reason_of(&error)),
            }
            return;
        }
        let problem = match kind.is_symlink() {
            true => problem_of_link(path, places),
            false if places.contains(&real) => None,
            false => {
                Some("a pipe, socket or device: not read, unless it is a pipe that is named itself".into())
            }
        };
        match problem {
            Some(problem) if self.is_new(given, real) => self.problem(given, path, &problem),
            Some(_) => {}
            None => self.accounted[given] = true,
        }
    }

    /// Whether what lies there in truth was not found before.
    fn is_new(&mut self, given: usize, real: PathBuf) -> bool {
        let is_new = self.seen.insert(real);
        self.accounted[given] |= !is_new;
        is_new
    }

    fn file(&mut self, given: usize, path: &Path, metadata: &Metadata, is_stream: bool) {
        let modified = metadata.modified().ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
        let modified = modified.unwrap_or_default().as_microsecond();
        let bytes = if is_stream { 0 } else { metadata.len() };
        self.found.push(Found { path: path.to_owned(), given, bytes, modified, is_stream });
    }

    fn problem(&mut self, given: usize, path: &Path, what: &str) {
        self.problems.push(format!("{}: {what}", path.display()));
        self.accounted[given] = true;
    }
}

/// What is lost by not following a link: nothing, when it leads to what is read anyway.
fn problem_of_link(link: &Path, places: &[PathBuf]) -> Option<String> {
    let Ok(target) = link.canonicalize() else {
        let target = link.read_link().unwrap_or_default();
        return Some(format!("a link to {}, which is not there: not read", target.display()));
    };
    let is_read = places.iter().any(|place| target.starts_with(place));
    (!is_read).then(|| format!("a link to {}, not followed: name that to have it read", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn names(files: &Files) -> Vec<String> {
        let name = |found: &Found| found.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.found.iter().map(name).collect()
    }

    #[test]
    fn each_file_is_found_once_and_links_do_not_leave_the_evidence() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("evidence/deep")).unwrap();
        for name in ["evidence/a.log", "evidence/deep/b.log", "outside.log"] {
            fs::write(at(name), "x").unwrap();
        }
        symlink(at("evidence"), at("evidence/deep/loop")).unwrap();
        symlink("a.log", at("evidence/same.log")).unwrap();
        symlink(at("outside.log"), at("evidence/c.log")).unwrap();
        symlink("/nowhere/x", at("evidence/d.log")).unwrap();
        symlink(at("evidence"), at("link")).unwrap();

        let files = Files::below(&[at("link"), at("evidence/deep/b.log"), at("evidence")]);
        assert_eq!(names(&files), ["a.log", "b.log"]);
        assert_eq!(files.accounted, [true, true, true]);
        let [outside, nowhere] = &files.problems[..] else { panic!("{:?}", files.problems) };
        assert!(outside.contains("c.log: a link to ") && outside.contains("not followed"), "{outside}");
        assert!(nowhere.contains("d.log: a link to /nowhere/x, which is not there"), "{nowhere}");

        let files = Files::below(&[at("evidence"), at("outside.log")]);
        assert_eq!(names(&files), ["a.log", "b.log", "outside.log"]);
        assert_eq!(files.problems.len(), 1, "{:?}", files.problems);
        let files = Files::below(&[at("evidence/c.log"), PathBuf::from("-"), at("nothing")]);
        assert_eq!(names(&files), ["c.log", "-"]);
        assert_eq!(files.accounted, [false, false, true]);
    }
}
