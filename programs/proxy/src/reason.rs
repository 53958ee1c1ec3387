//! The text of an error that hides its reason in its sources.

use std::error::Error;

/// An error and the last one in its chain, which says what has happened.
pub fn root(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let (whole, last) = (error.to_string(), last.to_string());
    if whole == last { whole } else { format!("{whole}: {last}") }
}
