//! A secret out of a file: it goes to the one whom it is for, and nowhere else.

use std::fmt;
use std::path::Path;

use crate::notifications::channel::ChannelError;

/// Longest secret, in bytes: a file that is longer is another one.
const BYTES_MAX: usize = 4096;
/// What is shown in its place.
const HIDDEN: &str = "***";

/// The text of a file, without the line end.
#[derive(Clone)]
pub(super) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Secret {
    pub(super) fn read(path: &Path) -> Result<Self, ChannelError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ChannelError::Read { path: path.into(), source })?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() || text.len() > BYTES_MAX {
            let found = text.len();
            return Err(ChannelError::Secret { path: path.into(), bytes_max: BYTES_MAX, found });
        }
        Ok(Self(text.to_owned()))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// The text of another without this one in it.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        text.replace(&self.0, HIDDEN)
    }
}
