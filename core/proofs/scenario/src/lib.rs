//! What the proof programs run: two parties, how they meet, and what they say to each other.
//!
//! Everything is in arrays, and what goes wrong ends up in the program's exit code.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "handshake")]
mod handshake;
mod records;

#[cfg(feature = "handshake")]
pub use handshake::{CLIENT, SERVER, established, service, sessions};
pub use records::{Party, converse, corrupt, cross_epoch, empty_record, parties};

/// What went wrong, as an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Failure {
    /// The key data was refused, or the provider refused a key.
    Key = 1,
    /// A record could not be sealed.
    Seal,
    /// A record could not be opened.
    Open,
    /// A record was opened to something other than what was sealed.
    Differs,
    /// A record that was changed on its way was not refused, or part of it was handed out.
    Forged,
    /// A handshake failed.
    Handshake,
    /// A message could not be read or written.
    Message,
    /// A party was taken for another.
    Identity,
    /// A buffer of the scenario is too small.
    Room,
}

impl Failure {
    /// The exit code of a run.
    #[must_use]
    pub const fn code(result: Result<(), Self>) -> u8 {
        match result {
            Ok(()) => 0,
            Err(failure) => failure as u8,
        }
    }
}

/// Copies what fits to the front of `to`, says how many bytes that was, and cannot panic.
pub fn copy(from: &[u8], to: &mut [u8]) -> usize {
    to.iter_mut().zip(from).map(|(to, from)| *to = *from).count()
}
