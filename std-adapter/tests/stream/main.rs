//! The stream over pipes, over an I/O object that follows a script, and against every fault.

mod faults;
#[cfg(feature = "hyper")]
mod hyper;
mod memory;
mod transfer;
mod wire;
mod writing;
