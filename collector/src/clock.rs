//! The one place where the collector's own time is read, and where it is seen to that its zone is known.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use event::Micros;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use thiserror::Error;

/// Where a machine says in which zone it stands.
const LOCALTIME: &str = "/etc/localtime";
/// The zone that was known at the start.
static AT_START: OnceLock<TimeZone> = OnceLock::new();

/// Days, decrees and what people type hang on the zone: it is not guessed.
#[derive(Debug, Error)]
#[error(
    "the time zone is not known ({said}): {lacks}expected in TZ a name of the time zone database such as Asia/Ho_Chi_Minh, or a \
     POSIX zone such as <+07>-7; or no TZ and a readable {LOCALTIME}"
)]
pub(crate) struct UnknownZone {
    said: String,
    lacks: &'static str,
}

/// Whether the local zone is known, which jiff otherwise takes for UTC in silence. A machine that says nothing is in UTC, as for
/// libc.
pub(crate) fn check_zone() -> Result<(), UnknownZone> {
    let is_there = !jiff::tz::db().is_definitively_empty();
    let zone = judge(TimeZone::try_system(), std::env::var_os("TZ"), Path::new(LOCALTIME), is_there)?;
    AT_START.get_or_init(|| zone);
    Ok(())
}

/// The local zone. jiff reads it anew every few minutes: while it cannot, because the database is being replaced, it is the one that
/// was known at the start, and never UTC unasked.
pub(crate) fn zone() -> TimeZone {
    TimeZone::try_system().unwrap_or_else(|_| AT_START.get().cloned().unwrap_or(TimeZone::UTC))
}

fn judge(
    zone: Result<TimeZone, jiff::Error>,
    variable: Option<OsString>,
    localtime: &Path,
    database: bool,
) -> Result<TimeZone, UnknownZone> {
    let error = match zone {
        Ok(zone) => return Ok(zone),
        Err(_) if says_utc(variable.as_deref(), localtime) => return Ok(TimeZone::UTC),
        Err(error) => error,
    };
    let said = variable.map_or_else(
        || format!("{}: {error}", localtime.display()),
        |variable| format!("TZ is {variable:?}: {error}"),
    );
    let lacks = "this machine has no time zone database, which is Debian's package tzdata; ";
    Err(UnknownZone { said, lacks: if database { "" } else { lacks } })
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

/// Now, in microseconds since 1970.
pub(crate) fn now() -> Micros {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}

/// The version of a row that replaces others, of which this is the highest: the time, or what is next behind it where the clock
/// was ahead then.
pub(crate) fn version_after(last: u64) -> u64 {
    u64::try_from(now()).unwrap_or_default().max(last.saturating_add(1))
}

/// The day here and now, by which decrees are in force or not.
pub(crate) fn today() -> Date {
    Timestamp::now().to_zoned(zone()).date()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn judged(variable: Option<&str>, localtime: &Path, database: bool) -> Result<TimeZone, UnknownZone> {
        judge(TimeZone::get("Asia/Nowhere"), variable.map(OsString::from), localtime, database)
    }

    #[test]
    fn a_version_follows_the_last_one_whatever_the_clock_says() {
        let ahead = u64::try_from(now()).unwrap() + 3_600_000_000;
        assert_eq!(version_after(ahead), ahead + 1);
        assert!((1_795_000_000_000_000..ahead).contains(&version_after(7)));
    }

    #[test]
    fn a_machine_that_says_nothing_is_in_utc_and_one_that_says_nonsense_in_none() {
        let (file, nothing) = (Path::new("/proc/self/status"), Path::new("/no/such/file"));
        assert!(judge(Ok(TimeZone::UTC), Some("UTC".into()), nothing, true).is_ok());
        assert_eq!(judged(None, nothing, true).unwrap(), TimeZone::UTC);
        assert!(judged(None, file, true).is_err());
        assert_eq!(judged(Some("UTC"), file, false).unwrap(), TimeZone::UTC);
        let said = judged(Some("Asia/Nowhere"), nothing, true).unwrap_err().to_string();
        assert!(said.contains("TZ is \"Asia/Nowhere\"") && said.contains("Asia/Ho_Chi_Minh"), "{said}");
        assert!(!said.contains("tzdata"), "{said}");
        let said = judged(Some("Asia/Ho_Chi_Minh"), nothing, false).unwrap_err().to_string();
        assert!(said.contains("package tzdata"), "{said}");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_utc_only_if_it_says_so() {
        let folder = tempfile::tempdir().unwrap();
        for (target, is_known) in [("Etc/UTC", true), ("UTC", true), ("Asia/Ho_Chi_Minh", false)] {
            let link = folder.path().join(target.replace('/', "-"));
            symlink(Path::new("/no/zoneinfo").join(target), &link).unwrap();
            assert_eq!(judged(None, &link, false).is_ok(), is_known, "{target}");
        }
    }
}
