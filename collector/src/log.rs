//! What the daemon says of itself: lines on standard error, for whoever started it to keep.
//!
//! Text from outside stands in a line only as a value that is quoted and escaped; secrets never do.

use std::error::Error;
use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// An error and its causes in one line. A cause that the text before already ends with is not said twice.
pub fn in_words(error: &anyhow::Error) -> String {
    said(error.as_ref())
}

/// The same for any error.
pub(crate) fn said(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.trim_end().ends_with(text.trim_end()) {
            said = format!("{said}: {text}");
        }
        next = cause.source();
    }
    said
}

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

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;

    use super::*;
    use crate::config::ConfigError;

    #[test]
    fn says_each_cause_once() {
        let source = io::Error::from(io::ErrorKind::NotFound);
        let error = ConfigError::Read { path: "/a".into(), source };
        let error = Err::<(), _>(error).context("no usable configuration").unwrap_err();
        assert_eq!(in_words(&error), "no usable configuration: /a: cannot be read: entity not found");
        let error = anyhow::anyhow!("inner").context("middle").context("outer");
        assert_eq!(in_words(&error), "outer: middle: inner");
    }
}
