//! Handshakes and streams over the traits of `embedded-io-async` and `embedded-io`, in the
//! caller's buffers.
//!
//! There is one implementation, a loop over the machines of this crate; `blocking` is the same
//! loop over blocking transports.

#[cfg(feature = "embedded-io")]
pub mod blocking;
mod discard;
#[cfg(feature = "handshake")]
mod handshake;
mod stream;

#[cfg(feature = "handshake")]
pub use handshake::{Buffers, HandshakeFailure, Service, handshake};
pub use stream::{Stream, StreamError};
