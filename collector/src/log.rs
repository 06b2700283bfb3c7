//! What the daemon says of itself: lines on standard error, for whoever started it to keep.
//!
//! Text from outside stands in a line only as a value that is quoted and escaped; secrets never do.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Logs our own lines up to `level`, other people's crates only when they complain. Where logging is set up already (a test,
/// a program around this one) it stays as it is.
pub(crate) fn to_stderr(level: impl Into<Level>) {
    let targets = Targets::new().with_default(LevelFilter::WARN).with_target("collector", level.into());
    let stderr = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let _kept = tracing_subscriber::registry().with(stderr.with_filter(targets)).try_init();
}
