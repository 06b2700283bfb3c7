//! The one place where the collector's own time is read.

use std::time::SystemTime;

use event::Micros;
use jiff::Zoned;
use jiff::civil::Date;

/// Now, in microseconds since 1970.
pub(crate) fn now() -> Micros {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}

/// The day here and now, by which decrees are in force or not.
pub(crate) fn today() -> Date {
    Zoned::now().date()
}
