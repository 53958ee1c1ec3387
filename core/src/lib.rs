//! ALTS (Application Layer Transport Security) as a sans-I/O state machine.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod aead;
#[cfg(feature = "handshake")]
pub mod context;
pub mod error;
pub mod frame;
#[cfg(feature = "handshake")]
pub mod handshake;
pub mod key;
#[cfg(feature = "handshake")]
pub mod msg;
mod nonce;
pub mod record;
mod rekey;
#[cfg(feature = "handshake")]
mod session;
mod side;
#[cfg(feature = "handshake")]
pub mod wire;

#[cfg(feature = "handshake")]
pub use context::AltsContext;
pub use error::Fault;
#[cfg(feature = "handshake")]
pub use handshake::{ClientHandshake, Established, ServerHandshake};
pub use nonce::Exhausted;
#[cfg(feature = "handshake")]
pub use session::Session;
pub use side::Side;
