//! Opens log files, in folders where others may write.
//!
//! Whoever may write in a folder of logs may put a pipe, or a link to another's file, in the place of a log, also between two
//! system calls. So nothing is judged by a path and then opened by it: each name is looked up from the descriptor of the folder
//! before it, without following a link, and what was opened is judged by its own descriptor.
//!
//! - What is no regular file is not read, and opening it never waits: for the writer of a pipe, or the holder of a lease.
//! - A symbolic link, the last name or one before it, is followed where it belongs to root, to the agent's own user, or to the
//!   owner of the file that it leads to (the rule of Apache's `SymLinksIfOwnerMatch`, and the like of Linux's
//!   `protected_symlinks`). So links that root or a container runtime lays out work, and nobody has the agent, which may read more
//!   than he may, ship a file that is not his. The owner of the link is asked, not that of its folder: folders of logs are
//!   often writable to a group.
//!
//! What it leaves to the kernel: hard links, which `fs.protected_hardlinks` (on in every distribution) allows only to one's own
//! files; and file systems that users mount (FUSE), which keep others waiting only where root has set `user_allow_other`.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};

use crate::limits::LINKS_MAX;

/// Looks a name up: neither read nor followed, and of no effect on what it names.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Opens for reading, without waiting, without following, without becoming a terminal's session.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens a regular file. Another kind (a pipe, a folder), and a link that is not followed, are errors that say so.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let mut folder: Option<OwnedFd> = None;
    // The next one last.
    let mut names = Vec::new();
    push_names(&mut names, path);
    let mut owners = Vec::new();
    while let Some(name) = names.pop() {
        let within = folder.as_ref().map_or(CWD, AsFd::as_fd);
        let found = openat(within, &name, LOOK, Mode::empty())?;
        let status = fstat(&found)?;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Symlink if owners.len() >= LINKS_MAX => return Err(rustix::io::Errno::LOOP.into()),
            FileType::Symlink => {
                owners.push(status.st_uid);
                let target = readlinkat(&found, "", Vec::new())?.into_bytes();
                push_names(&mut names, &PathBuf::from(OsString::from_vec(target)));
            }
            FileType::RegularFile if names.is_empty() => return open_name(within, &name, &owners),
            _ => folder = Some(found),
        }
    }
    Err(not_regular())
}

/// In the order in which they are popped.
fn push_names(names: &mut Vec<OsString>, path: &Path) {
    names.extend(path.components().rev().map(|component| component.as_os_str().to_owned()));
}

fn open_name(folder: BorrowedFd<'_>, name: &OsString, owners: &[u32]) -> io::Result<(File, Metadata)> {
    let file = File::from(openat(folder, name, READ, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_regular());
    }
    let own = rustix::process::geteuid().as_raw();
    if let Some(owner) = owners.iter().find(|owner| !is_followed(**owner, metadata.uid(), own)) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "a symbolic link of user {owner} leads to a file of user {}: expected a link of root's or of the file's owner",
                metadata.uid()
            ),
        ));
    }
    Ok((file, metadata))
}

/// Whether a link may be followed, by its owner and that of the file that it leads to.
fn is_followed(link: u32, file: u32, own: u32) -> bool {
    [0, own, file].contains(&link)
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "expected a regular file")
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{lchown, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{RenameFlags, mkfifoat, renameat_with};

    use super::*;

    fn text_of(path: &Path) -> io::Result<String> {
        let mut text = String::new();
        open(path)?.0.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn reads_through_links_and_rejects_what_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("pods/web")).unwrap();
        std::fs::write(at("pods/web/0.log"), "a line").unwrap();
        symlink("../pods/web/0.log", at("pods/relative.log")).unwrap();
        symlink(at("pods/web"), at("web")).unwrap();
        symlink("web/../relative.log", at("pods/chain.log")).unwrap();
        for name in ["pods/web/0.log", "pods/relative.log", "web/0.log", "pods/chain.log", "web/../web/0.log"]
        {
            assert_eq!(text_of(&at(name)).unwrap(), "a line", "{name}");
        }
        mkfifoat(CWD, at("pipe"), Mode::RWXU).unwrap();
        symlink("pipe", at("to-pipe")).unwrap();
        for name in ["pods", "web", "pipe", "to-pipe"] {
            assert_eq!(open(&at(name)).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        symlink("loop", at("loop")).unwrap();
        assert_eq!(
            open(&at("loop")).unwrap_err().raw_os_error(),
            Some(rustix::io::Errno::LOOP.raw_os_error())
        );
        assert_eq!(open(&at("absent/0.log")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn follows_links_of_root_of_its_own_and_of_the_files_owner() {
        let (own, application, other) = (900, 1000, 1001);
        for (link, file, followed) in [
            (0, other, true),
            (own, other, true),
            (application, application, true),
            (application, 0, false),
            (application, other, false),
            (application, own, false),
        ] {
            assert_eq!(is_followed(link, file, own), followed, "a link of {link} to a file of {file}");
        }
    }

    #[test]
    fn rejects_a_link_of_another_wherever_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("secret")).unwrap();
        std::fs::write(at("secret/app.log"), "not theirs").unwrap();
        symlink("secret/app.log", at("app.log")).unwrap();
        symlink("secret", at("logs")).unwrap();
        if lchown(at("app.log"), Some(12_345), None).is_err() {
            eprintln!(
                "SKIPPED: rejects_a_link_of_another_wherever_it_stands: only root can give a link away"
            );
            return;
        }
        lchown(at("logs"), Some(12_345), None).unwrap();
        for name in ["app.log", "logs/app.log"] {
            let error = open(&at(name)).unwrap_err();
            assert!(error.to_string().contains("a symbolic link of user 12345"), "{name}: {error}");
        }
        std::os::unix::fs::chown(at("secret/app.log"), Some(12_345), None).unwrap();
        assert_eq!(text_of(&at("app.log")).unwrap(), "not theirs");
    }

    /// A log and a pipe that change places all the time: whichever is found, nothing waits for the pipe's writer.
    #[test]
    fn never_waits_for_a_pipe_that_takes_the_place_of_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let (log, pipe) = (folder.path().join("app.log"), folder.path().join("pipe"));
        std::fs::write(&log, "a line").unwrap();
        mkfifoat(CWD, &pipe, Mode::RWXU).unwrap();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    renameat_with(CWD, &log, CWD, &pipe, RenameFlags::EXCHANGE).unwrap();
                }
            });
            let is_sound = (0..20_000).all(|_| match open(&log) {
                Ok((_, metadata)) => metadata.is_file(),
                Err(error) => error.kind() == io::ErrorKind::InvalidInput,
            });
            ended.store(true, Ordering::Relaxed);
            assert!(is_sound);
        });
    }
}
