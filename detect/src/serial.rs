//! Numbers that tell things of one process apart: what is remembered of one is not to be taken for another's.

use std::sync::atomic::{AtomicU64, Ordering};

/// One that was not given before; never 0.
pub(crate) fn next() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed).saturating_add(1)
}
