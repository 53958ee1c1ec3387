//! Why a handshake failed: which side this is, whose fault it was, how far it had come, and why.

use std::error::Error as StdError;
use std::time::Duration;
use std::{fmt, io};

use alts_core::handshake::HandshakeErrorKind;
use alts_core::record::RecordError;
use alts_core::{Fault, Side};

pub use crate::foreign::Foreign;
pub use crate::printable::Printable;
use crate::service::ServiceError;

/// Why a handshake failed.
///
/// Its text is one line that says which side this is, whose fault it was (the handshaker service
/// is named by its address), how far the handshake had come, and why, in the words of the part that
/// knew best. It never holds a key or a token. [`Debug`](fmt::Debug) writes the same line, for programs
/// whose `main` returns it.
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    side: Side,
    phase: Phase,
    kind: ErrorKind,
    report: Report,
}

/// What is known besides the error itself.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The name under which the server was looked for.
    pub(crate) target: String,
    /// Where the handshaker service is.
    pub(crate) service: String,
    /// What the service said about its refusal.
    pub(crate) details: String,
    /// The accounts that were expected of the peer.
    pub(crate) expected: Vec<String>,
    /// The account that the service has named.
    pub(crate) peer: String,
}

/// How far a handshake had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// There was no connection to the peer yet.
    Connect,
    /// As many handshakes as are allowed at once were under way, and this one waited.
    Slot,
    /// In the handshake, as the core counts.
    Handshake(alts_core::handshake::HandshakePhase),
}

/// What was wrong in a handshake.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The peer, the handshaker service's answers or the configuration broke a rule.
    Handshake(HandshakeErrorKind),
    /// The peer does not speak ALTS: this is what its first bytes are.
    Foreign(Foreign),
    /// The deadline passed while this side waited.
    TimedOut {
        /// What it waited for: [`Fault::Local`] means for other handshakes of this process to end.
        waiting_for: Fault,
    },
    /// The peer kept this side waiting while all places were taken and others waited for one.
    MadeRoom {
        /// How long it had waited.
        waited: Duration,
    },
    /// The handshaker service could not be reached, or has ended the call with an error.
    Service(ServiceError),
    /// The connection to the peer failed, or could not be made.
    Io(io::Error),
    /// The established session's keys could not be set up.
    Record(RecordError),
}

impl Error {
    pub(crate) fn new(side: Side, phase: Phase, kind: ErrorKind, report: Report) -> Self {
        Self(Box::new(Inner { side, phase, kind, report }))
    }

    /// Which side this is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.0.side
    }

    /// How far the handshake had come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase
    }

    /// What was wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Whose fault it was.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match &self.0.kind {
            ErrorKind::Handshake(kind) => kind.fault(),
            ErrorKind::TimedOut { waiting_for } => *waiting_for,
            ErrorKind::Service(_) => Fault::HandshakerService,
            ErrorKind::Foreign(_) | ErrorKind::Io(_) | ErrorKind::MadeRoom { .. } => Fault::Peer,
            ErrorKind::Record(error) => error.fault(),
        }
    }

    /// Where the handshaker service is.
    #[must_use]
    pub fn service_address(&self) -> &str {
        &self.0.report.service
    }

    /// What the handshaker service said about its refusal, cut to 256 bytes; often empty.
    #[must_use]
    pub fn service_details(&self) -> &str {
        &self.0.report.details
    }

    /// The peer's service account, also when it was refused; empty when the service did not name
    /// it.
    #[must_use]
    pub fn peer_service_account(&self) -> &str {
        &self.0.report.peer
    }

    /// The accounts that were expected of the peer; empty when any would do.
    #[must_use]
    pub fn expected_service_accounts(&self) -> &[String] {
        &self.0.report.expected
    }

    /// Whether the peer closed the connection before it had begun a handshake, as probes do.
    pub(crate) fn is_probe(&self) -> bool {
        let Inner { side, phase, kind, .. } = &*self.0;
        *side == Side::Server
            && *phase == Phase::Handshake(alts_core::handshake::HandshakePhase::Start)
            && matches!(kind, ErrorKind::Handshake(HandshakeErrorKind::PeerClosed))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { side, phase, kind, report } = &*self.0;
        write!(f, "{side} handshake ")?;
        if !report.target.is_empty() {
            write!(f, "with {} ", Printable(&report.target))?;
        }
        write!(f, "failed, {phase}: ")?;
        if !matches!(kind, ErrorKind::Service(_)) {
            match self.fault() {
                Fault::HandshakerService => {
                    write!(f, "handshaker service ({})", Printable(&report.service))?;
                }
                fault => fault.fmt(f)?,
            }
            f.write_str(": ")?;
        }
        match kind {
            ErrorKind::Handshake(HandshakeErrorKind::UnexpectedPeer) => {
                if report.expected.is_empty() {
                    return write!(
                        f,
                        "the program's own rule does not admit the peer {}",
                        Printable(&report.peer)
                    );
                }
                let expected = report.expected.join(", ");
                let (expected, peer) = (Printable(&expected), Printable(&report.peer));
                write!(f, "expected one of [{expected}], the peer is {peer}")
            }
            ErrorKind::Handshake(kind) => {
                kind.fmt(f)?;
                match &*report.details {
                    "" => Ok(()),
                    details => write!(f, ": {}", Printable(details)),
                }
            }
            ErrorKind::Foreign(foreign) => write!(f, "does not speak ALTS: it sent {foreign}"),
            ErrorKind::TimedOut { .. } if *phase == Phase::Slot => {
                f.write_str("too many handshakes at once, none ended before the deadline")
            }
            ErrorKind::TimedOut { .. } => f.write_str("no answer before the deadline"),
            ErrorKind::MadeRoom { waited } => {
                write!(f, "silent for {} ms while others waited for its place", waited.as_millis())
            }
            ErrorKind::Service(error) => error.fmt(f),
            ErrorKind::Io(error) => error.fmt(f),
            ErrorKind::Record(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The error's own text is part of this one's: the chain goes on behind it.
        match &self.0.kind {
            ErrorKind::Service(error) => error.source(),
            ErrorKind::Io(error) => error.source(),
            ErrorKind::Handshake(_)
            | ErrorKind::Foreign(_)
            | ErrorKind::TimedOut { .. }
            | ErrorKind::MadeRoom { .. }
            | ErrorKind::Record(_) => None,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connection to the peer"),
            Self::Slot => f.write_str("wait for a handshake slot"),
            Self::Handshake(phase) => phase.fmt(f),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::TimedOut { .. } | ErrorKind::MadeRoom { .. } => io::ErrorKind::TimedOut,
            ErrorKind::Io(error) => error.kind(),
            ErrorKind::Handshake(HandshakeErrorKind::UnexpectedPeer) => {
                io::ErrorKind::PermissionDenied
            }
            ErrorKind::Handshake(HandshakeErrorKind::PeerClosed) => io::ErrorKind::UnexpectedEof,
            ErrorKind::Foreign(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// A handshake that failed, and the I/O object that it was on.
///
/// Handshake bytes may have gone both ways, so the I/O object is seldom good for more than being
/// closed, or being asked for its addresses.
pub struct HandshakeFailure<IO> {
    io: IO,
    error: Error,
}

impl<IO> HandshakeFailure<IO> {
    pub(crate) const fn new(io: IO, error: Error) -> Self {
        Self { io, error }
    }

    /// Why it failed.
    pub const fn error(&self) -> &Error {
        &self.error
    }

    /// The I/O object.
    pub const fn get_ref(&self) -> &IO {
        &self.io
    }

    /// The I/O object, back.
    pub fn into_inner(self) -> IO {
        self.io
    }

    /// Why it failed, without the I/O object, which is dropped.
    pub fn into_error(self) -> Error {
        self.error
    }

    /// Both.
    pub fn into_parts(self) -> (Error, IO) {
        (self.error, self.io)
    }
}

impl<IO> fmt::Debug for HandshakeFailure<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<IO> fmt::Display for HandshakeFailure<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<IO> StdError for HandshakeFailure<IO> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

impl<IO> From<HandshakeFailure<IO>> for Error {
    fn from(failure: HandshakeFailure<IO>) -> Self {
        failure.error
    }
}

impl<IO> From<HandshakeFailure<IO>> for io::Error {
    fn from(failure: HandshakeFailure<IO>) -> Self {
        failure.error.into()
    }
}
