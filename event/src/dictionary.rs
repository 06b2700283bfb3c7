//! The one field dictionary.

use thiserror::Error;

/// Why the dictionary cannot be read.
#[derive(Debug, Error)]
pub enum DictionaryError {
    #[error("fields.toml: {0}")]
    Toml(#[from] toml::de::Error),
}

/// One typed column of the store.
#[derive(Clone, Debug)]
pub struct CoreField {
    pub name: String,
}

/// All core fields.
#[derive(Clone, Debug)]
pub struct Dictionary {
    pub fields: Vec<CoreField>,
}
