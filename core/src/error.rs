//! Whose fault an error is, the one question that every error of this crate answers; and how gRPC's
//! status codes are spelled.

use core::fmt;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The peer, or an attacker on the network in between: what arrived violates the protocol.
    Peer,
    /// The handshaker service: its answer is an error, or violates the protocol.
    HandshakerService,
    /// This side: its configuration, its buffers or the order of its calls.
    Local,
}

impl Fault {
    /// The name that stands at the front of an error's text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::HandshakerService => "handshaker service",
            Self::Local => "local",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A gRPC status code, spelled as people look for it: `PERMISSION_DENIED (7)`.
///
/// ```
/// assert_eq!(alts_core::StatusCode(7).to_string(), "PERMISSION_DENIED (7)");
/// assert_eq!(alts_core::StatusCode(17).to_string(), "of an unknown code (17)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatusCode(pub u32);

impl StatusCode {
    const fn name(self) -> &'static str {
        match self.0 {
            0 => "OK",
            1 => "CANCELLED",
            2 => "UNKNOWN",
            3 => "INVALID_ARGUMENT",
            4 => "DEADLINE_EXCEEDED",
            5 => "NOT_FOUND",
            6 => "ALREADY_EXISTS",
            7 => "PERMISSION_DENIED",
            8 => "RESOURCE_EXHAUSTED",
            9 => "FAILED_PRECONDITION",
            10 => "ABORTED",
            11 => "OUT_OF_RANGE",
            12 => "UNIMPLEMENTED",
            13 => "INTERNAL",
            14 => "UNAVAILABLE",
            15 => "DATA_LOSS",
            16 => "UNAUTHENTICATED",
            _ => "of an unknown code",
        }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

/// Debug as Display: what a program prints whose `main` returns an error is a sentence.
macro_rules! debug_is_the_sentence {
    ($error:ty) => {
        impl fmt::Debug for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}
pub(crate) use debug_is_the_sentence;
