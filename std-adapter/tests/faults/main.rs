//! Faults: a network that does everything wrong, peers that are slow, silent or many, a handshaker
//! service that is killed, a process without descriptors. The figures are printed.
#![allow(clippy::pedantic, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "figures")]
#![allow(unsafe_code, reason = "an allocator that counts")]

mod children;
mod descriptors;
mod heap;
mod killed;
mod network;
mod peers;
#[path = "../../../core/tests/support/random.rs"]
mod random;
mod schedules;
