//! What `--check` finds beside the configuration's own rules: on this host, now. A start finds the same and goes on as far as it can.
//!
//! Nothing is read, made or sent: logs are opened to see whether they may be, packets and the collector are not asked.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Result, ensure};
use rustix::fs::{Access, access, statfs};
use rustls_pki_types::UnixTime;

use crate::capture::check_interfaces;
use crate::config::Config;
use crate::limits::CERTIFICATE_WARNING;
use crate::open::open;
use crate::tls::{certificate_until, day};

/// File systems that a restart of the host empties: statfs(2), `f_type`.
const MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6]; // tmpfs, ramfs
/// File systems that are the kernel's.
const KERNEL: [u64; 4] = [0x9fa0, 0x6265_6572, 0x6367_7270, 0x6462_6720]; // proc, sysfs, cgroup2, debugfs

/// What is not as it should be, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Finding {
    /// It cannot work like this.
    Wrong(String),
    /// It works, perhaps not for long, perhaps not as was meant.
    Doubtful(String),
}

/// What is found on this host at this time.
pub fn findings(config: &Config, now: SystemTime) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(of_certificate(config, now));
    found.extend(of_data_dir(&config.data_dir));
    found.extend(check_interfaces(&config.capture).err().map(|error| Finding::Wrong(format!("{error:#}"))));
    let paths = config.sources.iter().flat_map(|source| &source.paths);
    found.extend(paths.filter_map(|pattern| out_of_sight(pattern)).map(Finding::Doubtful));
    found
}

/// A pattern of the sources, and what there is of it now.
#[derive(Debug, Eq, PartialEq)]
pub struct Pattern<'a> {
    pub pattern: &'a str,
    pub files: usize,
    /// Files that cannot be opened, and why the first of them cannot.
    pub closed: usize,
    pub reason: Option<String>,
}

/// Each pattern of the sources.
pub fn patterns(config: &Config) -> Vec<Pattern<'_>> {
    let patterns =
        config.sources.iter().flat_map(|source| source.paths.iter().map(move |pattern| (source, pattern)));
    patterns
        .map(|(source, pattern)| {
            let mut found = Pattern { pattern, files: 0, closed: 0, reason: None };
            for path in source.files(pattern) {
                found.files += 1;
                if let Err(error) = open(&path) {
                    found.closed += 1;
                    found.reason.get_or_insert_with(|| format!("{}: {error}", path.display()));
                }
            }
            found
        })
        .collect()
}

/// Where a pattern may match more than is seen: a folder on its way that this user may not look into.
fn out_of_sight(pattern: &str) -> Option<String> {
    let levels = Path::new(pattern).ancestors().filter_map(Path::to_str);
    let found = levels.flat_map(|level| glob::glob(level).into_iter().flatten());
    let mut denied = found.filter_map(|found| match found {
        // A name within it is looked up: a folder may be listed and yet be closed.
        Ok(folder) => std::fs::metadata(folder.join(".")).err().map(|error| (folder, error)),
        Err(error) => Some((error.path().to_owned(), io::Error::from(error))),
    });
    let (folder, error) = denied.find(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied)?;
    Some(format!("source: {pattern}: files out of sight: {}: {error}", folder.display()))
}

fn of_certificate(config: &Config, now: SystemTime) -> Option<Finding> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let until = match certificate_until(config, UnixTime::since_unix_epoch(now)) {
        Ok(until) => until,
        Err(error) => return Some(Finding::Wrong(format!("{error:#}"))),
    };
    let is_soon = until.as_secs() < (now + CERTIFICATE_WARNING).as_secs();
    let (path, end) = (config.tls.cert.display(), day(until));
    is_soon.then(|| {
        Finding::Doubtful(format!(
            "tls.cert: {path}: ends on {end}: issue another with `vonggac ca issue HOST`"
        ))
    })
}

/// Of the folder, or of the nearest one above it that is there.
fn of_data_dir(data_dir: &Path) -> Option<Finding> {
    let folder =
        data_dir.ancestors().find(|folder| matches!(folder.try_exists(), Ok(true))).unwrap_or(Path::new("."));
    let shown = data_dir.display();
    if let Err(error) = is_for_data(folder) {
        return Some(Finding::Wrong(format!("data_dir: {shown}: {error:#}")));
    }
    is_on(folder, &MEMORY).then(|| {
        Finding::Doubtful(format!(
            "data_dir: {shown}: expected a disk, not a memory file system: what is on its way is lost with a restart of the host"
        ))
    })
}

fn is_for_data(folder: &Path) -> Result<()> {
    let shown = folder.display();
    ensure!(folder.is_dir(), "expected a folder, and {shown} is none");
    ensure!(!is_on(folder, &KERNEL), "expected a folder on a disk, and {shown} is the kernel's");
    access(folder, Access::WRITE_OK)
        .map_err(|error| anyhow::anyhow!("expected a folder that can be written, and {shown} says: {error}"))
}

fn is_on(folder: &Path, kinds: &[u64]) -> bool {
    // The kernel's word has 32 bits of which some machines make a signed one.
    statfs(folder).is_ok_and(|found| kinds.contains(&(found.f_type.cast_unsigned() & 0xffff_ffff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data_dir: &str) -> Option<Finding> {
        of_data_dir(Path::new(data_dir))
    }

    #[test]
    fn rejects_a_data_dir_that_is_no_disks() {
        for (data_dir, expected) in [
            ("/proc/x", "and /proc is the kernel's"),
            ("/sys/a/b", "and /sys is the kernel's"),
            ("/dev/null/x", "and /dev/null is none"),
        ] {
            let found = of(data_dir);
            assert!(
                matches!(&found, Some(Finding::Wrong(text)) if text.contains(expected)),
                "{data_dir}: {found:?}"
            );
        }
        let here = env!("CARGO_MANIFEST_DIR");
        assert_eq!(of(here), None);
        assert_eq!(of(&format!("{here}/not/yet/there")), None);
    }

    #[test]
    fn warns_of_a_memory_file_system() {
        if !is_on(Path::new("/dev/shm"), &MEMORY) {
            eprintln!("SKIPPED: warns_of_a_memory_file_system: /dev/shm is none here");
            return;
        }
        assert!(
            matches!(of("/dev/shm/vonggac/data"), Some(Finding::Doubtful(text)) if text.contains("memory"))
        );
    }

    #[test]
    fn counts_the_files_of_each_pattern() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.log", "b.log", "b.log.1", "c.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let shown = folder.path().display();
        let all = format!("{shown}/*");
        let none = format!("{shown}/x.log");
        let config = Config::parse(&format!("[[source]]\npaths = [\"{all}\", \"{none}\"]\n")).unwrap();
        let found = |pattern, files| Pattern { pattern, files, closed: 0, reason: None };
        assert_eq!(patterns(&config), [found(&all, 3), found(&none, 0)]);
    }
}
