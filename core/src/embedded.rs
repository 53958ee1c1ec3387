//! Handshakes and streams over the traits of `embedded-io-async` and `embedded-io`, in the
//! caller's buffers.
//!
//! There is one implementation, a loop over the machines of this crate; `blocking` is the same
//! loop over blocking transports.

#[cfg(feature = "embedded-io")]
pub mod blocking;
#[cfg(feature = "handshake")]
mod handshake;
mod stream;

#[cfg(feature = "handshake")]
pub use handshake::{Buffers, HandshakeFailure, Service, handshake};
pub use stream::{Stream, StreamError};

/// Drops `count` bytes from the front of the `filled` bytes of a buffer.
fn discard(buffer: &mut [u8], filled: &mut usize, count: usize) {
    if count <= *filled && *filled <= buffer.len() {
        buffer.copy_within(count..*filled, 0);
        *filled = filled.saturating_sub(count);
    }
}
