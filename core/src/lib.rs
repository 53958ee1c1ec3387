//! ALTS (Application Layer Transport Security) as a sans-I/O state machine.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod aead;
pub mod error;
pub mod frame;
pub mod key;
mod nonce;
pub mod record;
mod rekey;
mod side;

pub use error::Fault;
pub use nonce::Exhausted;
pub use side::Side;
