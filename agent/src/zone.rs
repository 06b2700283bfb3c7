//! In which zone this host stands: of lines that name none, the times are its own. It is never guessed: a host whose zone is not known
//! does not start, and one whose database is being replaced keeps the zone that it had.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Where a host says in which zone it stands.
const LOCALTIME: &str = "/etc/localtime";
/// The zone that was known at the start.
static AT_START: OnceLock<TimeZone> = OnceLock::new();

/// Whether the host's zone is known, which jiff otherwise takes for UTC in silence. A host that says nothing is in UTC, as for libc.
pub fn check_zone() -> Result<()> {
    let variable = std::env::var_os("TZ");
    let zone = match TimeZone::try_system() {
        Err(_) if says_utc(variable.as_deref(), Path::new(LOCALTIME)) => TimeZone::UTC,
        known => known.with_context(|| {
            let is_bare = jiff::tz::db().is_definitively_empty();
            let lacks = if is_bare { "this host has no time zone database, which is Debian's package tzdata; " } else { "" };
            let said = variable.map_or_else(|| LOCALTIME.to_owned(), |variable| format!("TZ is {variable:?}"));
            format!(
                "the time zone is not known ({said}): {lacks}expected in TZ a name of the time zone database such as \
                 Asia/Ho_Chi_Minh, or a POSIX zone such as <+07>-7; or no TZ and a readable {LOCALTIME}"
            )
        })?,
    };
    AT_START.get_or_init(|| zone);
    Ok(())
}

/// The host's offset from UTC now. jiff reads the zone anew every few minutes.
pub(crate) fn utc_offset_s() -> i32 {
    let zone = TimeZone::try_system().unwrap_or_else(|_| AT_START.get().cloned().unwrap_or(TimeZone::UTC));
    zone.to_offset(Timestamp::now()).seconds()
}

/// What is UTC without a database, as in images without the package tzdata: the name itself; without one, nothing at all, or a link
/// to UTC that leads nowhere.
fn says_utc(variable: Option<&OsStr>, localtime: &Path) -> bool {
    if let Some(variable) = variable {
        return ["UTC", "Etc/UTC", ":UTC", ":Etc/UTC"].iter().any(|utc| variable == *utc);
    }
    match std::fs::read_link(localtime) {
        Ok(target) => ["zoneinfo/Etc/UTC", "zoneinfo/UTC"].iter().any(|utc| target.ends_with(utc)),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_is_utc_only_if_it_says_so() {
        let folder = tempfile::tempdir().unwrap();
        for (target, is_utc) in [("Etc/UTC", true), ("UTC", true), ("Asia/Ho_Chi_Minh", false)] {
            let link = folder.path().join(target.replace('/', "-"));
            std::os::unix::fs::symlink(Path::new("/no/zoneinfo").join(target), &link).unwrap();
            assert_eq!(says_utc(None, &link), is_utc, "{target}");
        }
        let (file, nothing) = (Path::new("/proc/self/status"), Path::new("/no/such/file"));
        assert!(says_utc(None, nothing) && !says_utc(None, file));
        assert!(
            says_utc(Some(OsStr::new("UTC")), file)
                && !says_utc(Some(OsStr::new("Asia/Ho_Chi_Minh")), nothing)
        );
    }
}
