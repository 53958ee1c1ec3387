//! The one driver of handshakes: between the socket, the machine and the handshaker service.

use std::io;
use std::time::Duration;

use alts_core::handshake::{
    Established, Handshake, HandshakeError, HandshakeErrorKind, Phase as CorePhase,
    REQUEST_OVERHEAD, Role, Want,
};
use alts_core::record::RecordError;
use alts_core::{Fault, Session, Side};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

use crate::aead::DefaultAead;
use crate::error::{Error, ErrorKind, HandshakeFailure, Phase, Report};
use crate::observe::Observed;
use crate::service::{HandshakerService, ServiceError, ServiceMessage};
use crate::stream::{AltsStream, StreamOptions};

/// Bytes to read from the peer at once: a flight of handshake messages is about that long.
const PEER_READ: usize = 4 * 1024;
/// How long the peer is given to take an alert, when the handshake has failed anyway.
const ALERT: Duration = Duration::from_secs(1);
/// The longest deadline that is kept: some 30 years.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);

/// What a handshake runs against, besides the peer.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) side: Side,
    /// The name under which the server is looked for, for errors.
    pub(crate) target_name: &'a str,
    pub(crate) service: &'a dyn HandshakerService,
    /// Whoever has one of these may have a call to the service.
    pub(crate) slots: &'a Semaphore,
    /// The accounts that are expected of the peer, for errors.
    pub(crate) expected: &'a [String],
    /// How the stream treats what it writes.
    pub(crate) options: StreamOptions,
}

/// Makes a stream of `io`: the whole handshake of `machine`, whose clock starts now at zero, as
/// far as it could be started. In a box, because each future that it is handed to has room for it.
pub(crate) async fn stream<R: Role, IO: AsyncRead + AsyncWrite + Unpin>(
    machine: Result<Box<Handshake<R>>, HandshakeError>,
    mut io: IO,
    around: Around<'_>,
) -> Result<AltsStream<IO>, HandshakeFailure<IO>> {
    let observed = Observed::begin(around.side);
    let outcome = match machine {
        Ok(machine) => run(machine, &mut io, around).await,
        Err(error) => Err(around.error(error.phase(), Failure::Machine(error), Step::Peer)),
    };
    let session = outcome.and_then(|(established, leftover)| {
        let session = Session::<DefaultAead>::new(established)
            .map_err(|error| around.error(CorePhase::Result, Failure::Record(error), Step::Peer))?;
        Ok((session, leftover))
    });
    match session {
        Ok((session, leftover)) => {
            observed.established(session.context());
            let (sealer, opener, context) = session.into_parts();
            Ok(AltsStream::new(io, sealer, opener, context.into(), &leftover, around.options))
        }
        Err(error) => {
            observed.failed(&error);
            Err(HandshakeFailure::new(io, error))
        }
    }
}

/// Runs `machine` over `io`. Returns the result, and the bytes of the record layer that have
/// arrived behind the handshake.
///
/// Dropping the future is fine at any point: it owns the slot and the call to the service.
async fn run<R: Role, IO: AsyncRead + AsyncWrite + Unpin>(
    mut machine: Box<Handshake<R>>,
    io: &mut IO,
    around: Around<'_>,
) -> Result<(Established, Vec<u8>), Error> {
    let began = Instant::now();
    let mut step = Step::Peer;
    let deadline = began + machine.deadline().min(FOREVER);
    let drive = drive(&mut machine, io, around, began, &mut step);
    let outcome = match timeout_at(deadline, drive).await {
        Ok(outcome) => outcome,
        Err(_) => Err(match machine.want(machine.deadline()) {
            // An alert was on its way: what has led to it says more than that time ran out.
            Err(error) if !is_timeout(&error) => error.into(),
            _ => Failure::TimedOut,
        }),
    };
    let phase = machine.phase();
    let report = Report {
        details: machine.details().to_owned(),
        peer: machine.peer_account().to_owned(),
        ..around.report()
    };
    match outcome {
        Ok(leftover) => match machine.established() {
            Ok(established) => Ok((established, leftover)),
            Err(error) => Err(around.error(phase, error.into(), step)),
        },
        Err(failure) => {
            Err(Error::new(around.side, step.at(phase), failure.into_kind(step), report))
        }
    }
}

/// Does what the machine wants until it wants nothing more; returns what is left of the peer's
/// bytes. `step` tells what it waits for.
async fn drive<R: Role, IO: AsyncRead + AsyncWrite + Unpin>(
    machine: &mut Handshake<R>,
    io: &mut IO,
    around: Around<'_>,
    began: Instant,
    step: &mut Step,
) -> Result<Vec<u8>, Failure> {
    let mut from_peer = Vec::new();
    // A start message may hold a token, a response holds a key.
    let mut request = ServiceMessage::default();
    let mut response = ServiceMessage::default();
    let mut to_peer = 0..0;
    let mut dialogue = None;
    loop {
        match machine.want(began.elapsed())? {
            Want::PeerBytes => {
                *step = Step::Peer;
                if read(io, &mut from_peer).await? == 0 {
                    return Err(machine.peer_closed().into());
                }
                ask(machine, &from_peer, &mut request, began)?;
            }
            Want::Request => ask(machine, &from_peer, &mut request, began)?,
            Want::Response => {
                if dialogue.is_none() {
                    *step = Step::Slot;
                    // An error would mean that the semaphore is closed, which nobody does.
                    let slot = around.slots.acquire().await.ok();
                    // It may have come when it was too late to begin a call.
                    machine.want(began.elapsed())?;
                    dialogue = Some((slot, around.service.open()));
                }
                let Some((_slot, call)) = &mut dialogue else { continue };
                *step = Step::Service;
                let Some(answer) = call.exchange(&request).await? else {
                    return Err(machine.service_closed().into());
                };
                response = answer;
                let told = machine.response(&mut response, began.elapsed())?;
                from_peer.drain(..told.consumed.min(from_peer.len()));
                to_peer = told.to_peer;
            }
            Want::Send => {
                *step = Step::Peer;
                write(io, response.get(to_peer.clone()).unwrap_or_default()).await?;
                machine.sent(began.elapsed());
            }
            Want::Alert => {
                *step = Step::Peer;
                let alert = response.get(to_peer.clone()).unwrap_or_default();
                let _ = timeout(ALERT, write(io, alert)).await;
                machine.sent(began.elapsed());
            }
            Want::Established => return Ok(from_peer),
        }
    }
}

/// Writes the machine's next request into `request`.
fn ask<R: Role>(
    machine: &mut Handshake<R>,
    from_peer: &[u8],
    request: &mut ServiceMessage,
    began: Instant,
) -> Result<(), HandshakeError> {
    let mut room = from_peer.len().saturating_add(REQUEST_OVERHEAD);
    loop {
        *request = Zeroizing::new(vec![0; room]);
        match machine.request(from_peer, request, began.elapsed()) {
            Ok(len) => {
                request.truncate(len);
                return Ok(());
            }
            Err(error) => match error.kind() {
                HandshakeErrorKind::BufferTooSmall { needed } if needed > room => room = needed,
                _ => return Err(error),
            },
        }
    }
}

/// Reads once from the peer, behind what is there.
async fn read<IO: AsyncRead + Unpin>(io: &mut IO, from_peer: &mut Vec<u8>) -> io::Result<usize> {
    let have = from_peer.len();
    from_peer.resize(have.saturating_add(PEER_READ), 0);
    let read = io.read(from_peer.get_mut(have..).unwrap_or_default()).await;
    from_peer.truncate(have.saturating_add(*read.as_ref().unwrap_or(&0)));
    read
}

async fn write<IO: AsyncWrite + Unpin>(io: &mut IO, bytes: &[u8]) -> io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}

fn is_timeout(error: &HandshakeError) -> bool {
    matches!(error.kind(), HandshakeErrorKind::TimedOut { .. })
}

impl Around<'_> {
    fn report(&self) -> Report {
        Report {
            target: self.target_name.to_owned(),
            service: self.service.address().to_owned(),
            expected: self.expected.to_vec(),
            ..Report::default()
        }
    }

    /// An error of which nobody knows more.
    fn error(&self, phase: CorePhase, failure: Failure, step: Step) -> Error {
        Error::new(self.side, step.at(phase), failure.into_kind(step), self.report())
    }
}

/// What a handshake waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Slot,
    Service,
    Peer,
}

impl Step {
    const fn at(self, phase: CorePhase) -> Phase {
        match self {
            Self::Slot => Phase::Slot,
            Self::Service | Self::Peer => Phase::Handshake(phase),
        }
    }
}

/// What has ended a handshake.
enum Failure {
    Machine(HandshakeError),
    Service(ServiceError),
    Io(io::Error),
    Record(RecordError),
    TimedOut,
}

impl Failure {
    fn into_kind(self, step: Step) -> ErrorKind {
        match self {
            Self::Machine(error) if !is_timeout(&error) => ErrorKind::Handshake(error.kind()),
            Self::Service(error) => ErrorKind::Service(error),
            Self::Io(error) => ErrorKind::Io(error),
            Self::Record(error) => ErrorKind::Record(error),
            Self::Machine(_) | Self::TimedOut => ErrorKind::TimedOut {
                waiting_for: match step {
                    Step::Slot => Fault::Local,
                    Step::Service => Fault::HandshakerService,
                    Step::Peer => Fault::Peer,
                },
            },
        }
    }
}

impl From<HandshakeError> for Failure {
    fn from(error: HandshakeError) -> Self {
        Self::Machine(error)
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
