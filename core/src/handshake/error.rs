//! Why a handshake failed: what was wrong, whose fault it is, and how far it had come.

use core::fmt;

use crate::error::{Fault, StatusCode, debug_is_the_sentence};
use crate::handshake::config::HandshakeConfigError;
use crate::handshake::limits::{MAX_HANDSHAKE_BYTES, MAX_ROUNDS};
use crate::key::KeyTooShort;
use crate::wire::DecodeError;

/// How far a handshake had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakePhase {
    /// Up to the service's answer to the start message.
    Start,
    /// Messages of the two sides go back and forth.
    Exchange,
    /// The service has given a result.
    Result,
}

impl fmt::Display for HandshakePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start of the handshake",
            Self::Exchange => "exchange of handshake messages",
            Self::Result => "end of the handshake",
        })
    }
}

/// The error that ended a handshake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HandshakeError {
    kind: HandshakeErrorKind,
    phase: HandshakePhase,
}

impl HandshakeError {
    /// What was wrong.
    #[must_use]
    pub const fn kind(&self) -> HandshakeErrorKind {
        self.kind
    }

    /// How far the handshake had come.
    #[must_use]
    pub const fn phase(&self) -> HandshakePhase {
        self.phase
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        self.kind.fault()
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}: {}", self.fault(), self.phase, self.kind)
    }
}

impl core::error::Error for HandshakeError {}

debug_is_the_sentence!(HandshakeError);

/// What was wrong in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeErrorKind {
    /// The configuration cannot be sent to a handshaker service.
    Config(HandshakeConfigError),
    /// A method was called that [`Want`](super::Want) had not asked for, or bytes of the peer
    /// that were not consumed got lost.
    OutOfTurn,
    /// The buffer has no room for the request; `needed` bytes are needed in all.
    BufferTooSmall {
        /// Bytes that the buffer has to have.
        needed: usize,
    },
    /// The deadline passed.
    TimedOut {
        /// The side that did not answer in time.
        waiting_for: Fault,
    },
    /// The peer closed the connection.
    PeerClosed,
    /// The peer sent more handshake bytes than [`MAX_HANDSHAKE_BYTES`].
    TooManyPeerBytes,
    /// The peer speaks no RPC protocol version that this side speaks.
    RpcVersions,
    /// The peer is none of the expected service accounts.
    UnexpectedPeer,
    /// The service ended the call before it gave a result.
    ServiceClosed,
    /// The service's message cannot be read.
    Malformed(DecodeError),
    /// The service's message has no status.
    MissingStatus,
    /// The service ended the handshake with this gRPC status code;
    /// [`details`](super::Handshake::details) has its explanation.
    Refused {
        /// The status code.
        code: u32,
    },
    /// The service consumed bytes that it was not given.
    ConsumedTooMuch {
        /// Bytes that it says it has consumed.
        consumed: usize,
        /// Bytes that it was given.
        given: usize,
    },
    /// The service sent the peer more than [`MAX_HANDSHAKE_BYTES`].
    TooManyOutFrames,
    /// The service did not finish within [`MAX_ROUNDS`].
    TooManyRounds,
    /// The service gave a result before the peer had said anything.
    EarlyResult,
    /// The result lacks this field, or it is empty.
    Missing(&'static str),
    /// The result's field is something that was not offered: a downgrade, or a confusion.
    NotOffered(&'static str),
    /// The result's `key_data` is too short for the record protocol.
    KeyTooShort(KeyTooShort),
    /// The result does not fit into an [`AltsContext`](crate::AltsContext).
    Context(DecodeError),
}

impl HandshakeErrorKind {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Config(_) | Self::OutOfTurn | Self::BufferTooSmall { .. } => Fault::Local,
            Self::TimedOut { waiting_for } => *waiting_for,
            Self::PeerClosed
            | Self::TooManyPeerBytes
            | Self::RpcVersions
            | Self::UnexpectedPeer => Fault::Peer,
            Self::ServiceClosed
            | Self::Malformed(_)
            | Self::MissingStatus
            | Self::Refused { .. }
            | Self::ConsumedTooMuch { .. }
            | Self::TooManyOutFrames
            | Self::TooManyRounds
            | Self::EarlyResult
            | Self::Missing(_)
            | Self::NotOffered(_)
            | Self::KeyTooShort(_)
            | Self::Context(_) => Fault::HandshakerService,
        }
    }

    pub(super) const fn at(self, phase: HandshakePhase) -> HandshakeError {
        HandshakeError { kind: self, phase }
    }
}

impl fmt::Display for HandshakeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::OutOfTurn => f.write_str("a call out of turn"),
            Self::BufferTooSmall { needed } => write!(f, "a buffer of {needed} bytes is needed"),
            Self::TimedOut { .. } => f.write_str("no answer before the deadline"),
            Self::PeerClosed => f.write_str("closed the connection"),
            Self::TooManyPeerBytes => {
                write!(f, "sent more than {MAX_HANDSHAKE_BYTES} handshake bytes")
            }
            Self::RpcVersions => f.write_str("no RPC protocol version in common"),
            Self::UnexpectedPeer => f.write_str("its service account is not an expected one"),
            Self::ServiceClosed => f.write_str("ended the call without a result"),
            Self::Malformed(error) => write!(f, "cannot read its message: {error}"),
            Self::MissingStatus => f.write_str("no status in its message"),
            Self::Refused { code } => write!(f, "status {}", StatusCode(*code)),
            Self::ConsumedTooMuch { consumed, given } => {
                write!(f, "consumed {consumed} bytes, but was given {given}")
            }
            Self::TooManyOutFrames => {
                write!(f, "made more than {MAX_HANDSHAKE_BYTES} handshake bytes")
            }
            Self::TooManyRounds => {
                write!(f, "did not finish within {MAX_ROUNDS} requests")
            }
            Self::EarlyResult => f.write_str("gave a result before the peer said anything"),
            Self::Missing(field) => write!(f, "no {field} in its result"),
            Self::NotOffered(field) => write!(f, "the {field} of its result was not offered"),
            Self::KeyTooShort(error) => error.fmt(f),
            Self::Context(error) => write!(f, "its result cannot be kept: {error}"),
        }
    }
}
