//! The stream over pipes, over an I/O object that follows a script, and against every fault.

mod faults;
mod memory;
mod transfer;
mod wire;
mod writing;
