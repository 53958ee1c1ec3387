//! The stream over pipes, over an I/O object that follows a script, and against every fault.
#![allow(clippy::pedantic, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod faults;
#[cfg(feature = "http")]
mod hyper;
mod memory;
mod transfer;
mod wire;
mod writing;
