//! The runtimes that everything measured runs on.

use crate::Outcome;

/// A runtime of one thread.
///
/// # Errors
/// When the system refuses.
pub fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// A runtime with so many threads of its own.
///
/// # Errors
/// When the system refuses.
pub fn threads(count: usize) -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(count).enable_all().build()?)
}
