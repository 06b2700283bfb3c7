//! The one place where the collector's own time is read.

use std::time::SystemTime;

use event::Micros;

/// Now, in microseconds since 1970.
pub(crate) fn now() -> Micros {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}
