//! The one place where the collector's own time is read, and where it is seen to that its zone is known.

use std::ffi::OsString;
use std::path::Path;
use std::time::SystemTime;

use event::Micros;
use jiff::Zoned;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use thiserror::Error;

/// Where a machine says in which zone it stands.
const LOCALTIME: &str = "/etc/localtime";

/// Days, decrees and what people type hang on the zone: it is not guessed.
#[derive(Debug, Error)]
#[error(
    "the time zone is not known ({said}): expected in TZ a name of the time zone database such as Asia/Ho_Chi_Minh, which \
     Debian has in its package tzdata, or a POSIX zone such as <+07>-7; or no TZ and a readable {LOCALTIME}"
)]
pub(crate) struct UnknownZone {
    said: String,
}

/// Whether the local zone is known, which jiff otherwise takes for UTC in silence. A machine that says nothing is in UTC, as for
/// libc.
pub(crate) fn check_zone() -> Result<(), UnknownZone> {
    judge(TimeZone::try_system(), std::env::var_os("TZ"), Path::new(LOCALTIME))
}

fn judge(
    zone: Result<TimeZone, jiff::Error>,
    variable: Option<OsString>,
    localtime: &Path,
) -> Result<(), UnknownZone> {
    match (zone, variable) {
        (Ok(_), _) => Ok(()),
        (Err(error), Some(variable)) => Err(UnknownZone { said: format!("TZ is {variable:?}: {error}") }),
        (Err(_), None) if !localtime.try_exists().unwrap_or(true) => Ok(()),
        (Err(error), None) => Err(UnknownZone { said: error.to_string() }),
    }
}

/// Now, in microseconds since 1970.
pub(crate) fn now() -> Micros {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}

/// The day here and now, by which decrees are in force or not.
pub(crate) fn today() -> Date {
    Zoned::now().date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_says_nothing_is_in_utc_and_one_that_says_nonsense_in_none() {
        let unknown = || TimeZone::get("Asia/Nowhere").map(drop).map(|()| TimeZone::UTC);
        let (here, gone) = (Path::new("/"), Path::new("/no/such/file"));
        assert!(judge(Ok(TimeZone::UTC), Some("UTC".into()), gone).is_ok());
        assert!(judge(unknown(), None, gone).is_ok());
        assert!(judge(unknown(), None, here).is_err());
        let said = judge(unknown(), Some("Asia/Nowhere".into()), gone).unwrap_err().to_string();
        assert!(said.contains("TZ is \"Asia/Nowhere\"") && said.contains("tzdata"), "{said}");
    }
}
