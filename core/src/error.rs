//! Whose fault an error is: the one question that every error of this crate answers.

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

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
