//! What is wrong with a configuration, and where.

use std::fmt;

/// What is wrong with the configuration: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    place: String,
    what: String,
}

impl SettingsError {
    /// An error at a place: a file and line, or a flag.
    pub fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl std::error::Error for SettingsError {}
