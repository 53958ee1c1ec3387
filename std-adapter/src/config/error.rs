//! Why a configuration is refused.

use std::fmt;

use alts_core::handshake::HandshakeConfigError;

/// A configuration that can never lead to a handshake, or that does not say whom to expect.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigError {
    /// No expected service account, and no statement that any will do.
    NoExpectedPeer,
    /// Expected service accounts, and also the statement that any will do.
    AnyPeerAndSome,
    /// The limit on concurrent handshakes is 0.
    NoHandshakes,
    /// What cannot be sent to a handshaker service.
    Unsendable(HandshakeConfigError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoExpectedPeer => f.write_str(
                "no expected service account: name those that the peer may have, or say that any peer will do",
            ),
            Self::AnyPeerAndSome => {
                f.write_str("service accounts are expected, and any peer will do: which one is it?")
            }
            Self::NoHandshakes => f.write_str("not one handshake is allowed at once"),
            Self::Unsendable(error) => error.fmt(f),
        }
    }
}

/// The sentence, which is what a `main` that returns an error prints.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigError {}
