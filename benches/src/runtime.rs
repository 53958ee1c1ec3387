//! The runtime that everything measured runs on.

use crate::Outcome;

/// A runtime of one thread.
///
/// # Errors
/// When the system refuses.
pub fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
