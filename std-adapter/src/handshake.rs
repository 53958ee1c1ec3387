//! The one driver of handshakes: between the socket, the machine and the handshaker service.

mod crowd;
mod future;
mod peer;
mod slots;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use alts_core::account::AccountPattern;
use alts_core::aead::Aead;
use alts_core::handshake::{
    Established, Handshake, HandshakeError, HandshakeErrorKind, HandshakePhase,
    MAX_HANDSHAKE_BYTES, REQUEST_OVERHEAD, Role, Want,
};
use alts_core::msg::capacity;
use alts_core::record::RecordError;
use alts_core::{AltsContext, ClientHandshake, Fault, ServerHandshake, Session, Side};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;
use zeroize::Zeroizing;

#[cfg(feature = "net")]
pub(crate) use self::crowd::Asked;
pub(crate) use self::crowd::Crowd;
use self::crowd::{MakeRoom, Member};
pub use self::future::{Accept, Connect};
use self::peer::Peer;
use self::slots::Place;
pub(crate) use self::slots::Slots;
use crate::config::{ClientConfig, ExpectedPeers, ServerConfig, listed};
use crate::error::{Error, ErrorKind, Phase, Report};
use crate::foreign::Foreign;
use crate::observe::{Observed, span};
use crate::service::{BoxFuture, HandshakerCall, HandshakerService, ServiceError, ServiceMessage};

/// How long the peer is given to take an alert, when the handshake has failed anyway.
const ALERT: Duration = Duration::from_secs(1);
/// The longest deadline that is kept: some 30 years.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);
/// How much of a peer's first frame is waited for, at most. A client's is some hundred bytes long; of
/// a server's longer one, with its certificates, the service gets the rest as it comes.
const FIRST_FRAME: usize = 4 * 1024;
/// What a request that is not the first has besides the peer's bytes, at most.
const NEXT_OVERHEAD: usize = 64;

/// What the handshakes of a connector or an acceptor share.
pub(crate) struct Shared<C> {
    pub(crate) config: C,
    pub(crate) service: Box<dyn HandshakerService>,
    pub(crate) slots: Slots,
}

/// An established session, and the bytes of the record layer that have arrived behind the handshake.
type Outcome<A> = Result<(Session<A>, Vec<u8>), Error>;

/// The accounts that one connection's peer may have, instead of the configuration's.
pub(crate) type Expected = Option<Arc<[AccountPattern<String>]>>;

/// A server's handshake, whose clock starts when it is first polled. Among those of `pending` it makes
/// room for others also before it has begun.
fn server<A: Aead + Send + 'static>(
    shared: Arc<Shared<ServerConfig>>,
    pending: Option<(Arc<Crowd>, Option<IpAddr>)>,
    peer: Peer,
) -> BoxFuture<'static, Outcome<A>> {
    let span = span(Side::Server, shared.service.address(), "");
    let drive = async move {
        let Shared { config, service, slots } = &*shared;
        let member = pending.as_ref().map(|(crowd, from)| crowd.join(*from));
        let pending = member.as_ref();
        let service = &**service;
        let expected = config.expected_peers();
        let around = Around { side: Side::Server, target: "", service, slots, pending, expected };
        let mut identities = [""; capacity::LOCAL_IDENTITIES];
        let mut protocols = [""; capacity::PROTOCOLS];
        let asked = config.core(
            listed(config.local_identities(), &mut identities),
            listed(config.application_protocols(), &mut protocols),
        );
        session(ServerHandshake::server(&asked, Duration::ZERO), peer, around).await
    };
    Box::pin(drive.instrument(span))
}

/// A client's handshake with the server that was looked for under `target`, likewise.
fn client<A: Aead + Send + 'static>(
    shared: Arc<Shared<ClientConfig>>,
    target: Option<Box<str>>,
    expected: Expected,
    peer: Peer,
) -> BoxFuture<'static, Outcome<A>> {
    let target_name = target.as_deref().unwrap_or_else(|| shared.config.target_name());
    let span = span(Side::Client, shared.service.address(), target_name);
    let drive = async move {
        let Shared { config, service, slots } = &*shared;
        let target = target.as_deref().unwrap_or_else(|| config.target_name());
        let expected =
            expected.as_deref().map_or_else(|| config.expected_peers(), ExpectedPeers::accounts);
        let service = &**service;
        let around = Around { side: Side::Client, target, service, slots, pending: None, expected };
        let room = expected.room();
        let mut protocols = [""; capacity::PROTOCOLS];
        let asked = config.core(
            target,
            room.expected_peer(),
            listed(config.application_protocols(), &mut protocols),
        );
        session(ClientHandshake::client(&asked, Duration::ZERO), peer, around).await
    };
    Box::pin(drive.instrument(span))
}

/// What a handshake runs against, besides the peer.
#[derive(Clone, Copy)]
struct Around<'a> {
    side: Side,
    /// The name under which the server is looked for, for errors.
    target: &'a str,
    service: &'a dyn HandshakerService,
    /// A handshake that holds one of these may ask the service.
    slots: &'a Slots,
    /// Itself among the connections that are not established yet, if others may need its place there.
    pending: Option<&'a Member<'a>>,
    /// Whom the peer may be.
    expected: ExpectedPeers<'a>,
}

/// The session that `machine` comes to, as far as it could be started.
async fn session<R: Role, A: Aead>(
    machine: Result<Handshake<R>, HandshakeError>,
    peer: Peer,
    around: Around<'_>,
) -> Outcome<A> {
    let observed = Observed::begin(around.side);
    let outcome = match machine {
        Ok(machine) => run(machine, peer, around).await,
        Err(error) => Err(around.error(error.phase(), error.into(), Step::Peer)),
    };
    let outcome = outcome.and_then(|(established, leftover)| {
        let session = Session::new(established).map_err(|error| {
            around.error(HandshakePhase::Result, Failure::Record(error), Step::Peer)
        })?;
        around.admit(session.context())?;
        Ok((session, leftover))
    });
    match &outcome {
        Ok((session, _)) => observed.established(session.context()),
        Err(error) => observed.failed(error),
    }
    outcome
}

/// Runs `machine`. Returns the result, and the bytes of the record layer that have arrived behind the
/// handshake.
///
/// Dropping the future is fine at any point: it owns the place, the slot and the call to the service.
async fn run<R: Role>(
    mut machine: Handshake<R>,
    peer: Peer,
    around: Around<'_>,
) -> Result<(Established, Vec<u8>), Error> {
    let began = Instant::now();
    let mut step = Step::Peer;
    let deadline = began + machine.deadline().min(FOREVER);
    let drive = drive(&mut machine, &peer, around, began, &mut step);
    let outcome = match timeout_at(deadline, drive).await {
        Ok(outcome) => outcome,
        Err(_) => Err(match machine.want(machine.deadline()) {
            // An alert was on its way: what has led to it says more than that time ran out.
            Err(error) if !is_timeout(&error) => error.into(),
            _ => Failure::TimedOut,
        }),
    };
    let phase = machine.phase();
    match outcome {
        Ok(leftover) => match machine.established() {
            Ok(established) => Ok((established, leftover)),
            Err(error) => Err(around.error(phase, error.into(), step)),
        },
        Err(failure) => {
            let report = Report {
                details: machine.details().to_owned(),
                peer: machine.peer_account().to_owned(),
                ..around.report()
            };
            Err(Error::new(around.side, step.at(phase), failure.into_kind(step), report))
        }
    }
}

/// Does what the machine wants until it wants nothing more; returns what is left of the peer's
/// bytes. `step` says what it waits for.
async fn drive<R: Role>(
    machine: &mut Handshake<R>,
    peer: &Peer,
    around: Around<'_>,
    began: Instant,
    step: &mut Step,
) -> Result<Vec<u8>, Failure> {
    let mut from_peer = Vec::new();
    // A start message may hold a token, a response holds a key.
    let mut request = ServiceMessage::default();
    let mut response = ServiceMessage::default();
    let mut to_peer = 0..0;
    let mut place: Option<Place<'_>> = None;
    let mut call: Option<Box<dyn HandshakerCall>> = None;
    // Since when the service needs more of a message of which the peer has sent a part: a byte now and
    // then does not make it longer.
    let mut part_since = None;
    // Whether the peer has sent its first frame. Less than that is not worth a slot.
    let mut began_well = false;
    let mut overhead = REQUEST_OVERHEAD;
    loop {
        match machine.want(began.elapsed())? {
            Want::PeerBytes => {
                let partly = !began_well && !from_peer.is_empty();
                *step = if partly { Step::FirstFrame } else { Step::Peer };
                let read = peer.read(&mut from_peer);
                let since = part_since.unwrap_or_else(Instant::now);
                let count = around.wait_for_peer(place.as_ref(), since, read).await??;
                if count == 0 {
                    return Err(machine.peer_closed().into());
                }
                if !began_well {
                    if let Some(foreign) = Foreign::certain(&from_peer) {
                        return Err(Failure::Foreign(foreign));
                    }
                    if !has_first_frame(&from_peer) {
                        part_since = Some(since);
                        continue;
                    }
                    began_well = true;
                    around.began_well();
                }
                request = ask(machine, &from_peer, overhead, began)?;
            }
            Want::Request => request = ask(machine, &from_peer, overhead, began)?,
            Want::Response => {
                *step = Step::Slot;
                let place = match &mut place {
                    Some(place) => place,
                    None => place.insert(around.slots.enter().await),
                };
                let slot = place.slot().await;
                // It may have come when it was too late to ask.
                machine.want(began.elapsed())?;
                *step = Step::Service;
                let call = call.get_or_insert_with(|| around.service.open());
                let answer = call.exchange(std::mem::take(&mut request)).await;
                drop(slot);
                let Some(answer) = answer? else {
                    return Err(machine.service_closed().into());
                };
                overhead = NEXT_OVERHEAD;
                response = answer;
                let done = machine.response(&mut response, began.elapsed())?;
                from_peer.drain(..done.consumed.min(from_peer.len()));
                to_peer = done.to_peer;
                if !to_peer.is_empty() {
                    part_since = None;
                } else if part_since.is_none() {
                    part_since = Some(Instant::now());
                }
            }
            Want::Send => {
                *step = Step::Peer;
                let write = peer.write(&mut response, to_peer.clone());
                around.wait_for_peer(place.as_ref(), Instant::now(), write).await??;
                machine.sent(began.elapsed());
            }
            Want::Alert => {
                *step = Step::Peer;
                let _ = timeout(ALERT, peer.write(&mut response, to_peer.clone())).await;
                machine.sent(began.elapsed());
            }
            Want::Established => return Ok(from_peer),
        }
    }
}

/// Whether a peer's first bytes are a whole frame, so much of one that the service may begin, or none.
fn has_first_frame(first: &[u8]) -> bool {
    let Some(length) = first.first_chunk() else { return false };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let end = length.saturating_add(size_of::<u32>());
    // One that is too long is the service's to refuse, in its words.
    end > MAX_HANDSHAKE_BYTES || first.len() >= end.min(FIRST_FRAME)
}

/// The machine's next request.
fn ask<R: Role>(
    machine: &mut Handshake<R>,
    from_peer: &[u8],
    overhead: usize,
    began: Instant,
) -> Result<ServiceMessage, HandshakeError> {
    let mut room = from_peer.len().saturating_add(overhead);
    loop {
        let mut request = Zeroizing::new(vec![0; room]);
        match machine.request(from_peer, &mut request, began.elapsed()) {
            Ok(len) => {
                request.truncate(len);
                return Ok(request);
            }
            Err(error) => match error.kind() {
                HandshakeErrorKind::BufferTooSmall { needed } if needed > room => room = needed,
                _ => return Err(error),
            },
        }
    }
}

fn is_timeout(error: &HandshakeError) -> bool {
    matches!(error.kind(), HandshakeErrorKind::TimedOut { .. })
}

impl Around<'_> {
    fn report(&self) -> Report {
        Report {
            target: self.target.to_owned(),
            service: self.service.address().to_owned(),
            expected: self.expected.accounts.iter().map(ToString::to_string).collect(),
            ..Report::default()
        }
    }

    /// Waits for the peer, as long as nobody needs what this handshake holds more.
    async fn wait_for_peer<F: Future>(
        &self,
        place: Option<&Place<'_>>,
        since: Instant,
        peer: F,
    ) -> Result<F::Output, MakeRoom> {
        match (self.pending, place.map(|place| &place.member)) {
            (None, None) => Ok(peer.await),
            (Some(member), None) | (None, Some(member)) => member.wait_for_peer(since, peer).await,
            (Some(one), Some(other)) => {
                one.wait_for_peer(since, other.wait_for_peer(since, peer)).await?
            }
        }
    }

    /// Takes note that the peer has sent its first frame.
    fn began_well(&self) {
        if let Some(member) = self.pending {
            member.began_well();
        }
    }

    /// Refuses a peer that is none of those expected. A client's machine has compared already; a
    /// server's never does.
    fn admit(&self, context: &AltsContext) -> Result<(), Error> {
        if self.expected.admit(context) {
            return Ok(());
        }
        let peer = context.peer_service_account().to_owned();
        let kind = ErrorKind::Handshake(HandshakeErrorKind::UnexpectedPeer);
        let phase = Phase::Handshake(HandshakePhase::Result);
        Err(Error::new(self.side, phase, kind, Report { peer, ..self.report() }))
    }

    /// An error about which no more is known.
    fn error(&self, phase: HandshakePhase, failure: Failure, step: Step) -> Error {
        Error::new(self.side, step.at(phase), failure.into_kind(step), self.report())
    }
}

/// What a handshake waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Slot,
    Service,
    Peer,
    /// The rest of the first frame, of which the peer has sent a part.
    FirstFrame,
}

impl Step {
    const fn at(self, phase: HandshakePhase) -> Phase {
        match self {
            Self::Slot => Phase::Slot,
            Self::Service | Self::Peer => Phase::Handshake(phase),
            // The machine has not seen these bytes.
            Self::FirstFrame => Phase::Handshake(HandshakePhase::Exchange),
        }
    }
}

/// What has ended a handshake.
enum Failure {
    Machine(HandshakeError),
    Foreign(Foreign),
    Service(ServiceError),
    Io(io::Error),
    Record(RecordError),
    MadeRoom(MakeRoom),
    TimedOut,
}

impl Failure {
    fn into_kind(self, step: Step) -> ErrorKind {
        match self {
            Self::Machine(error) if !is_timeout(&error) => ErrorKind::Handshake(error.kind()),
            Self::Foreign(foreign) => ErrorKind::Foreign(foreign),
            Self::Service(error) => ErrorKind::Service(error),
            Self::Io(error) => ErrorKind::Io(error),
            Self::Record(error) => ErrorKind::Record(error),
            Self::MadeRoom(MakeRoom { waited }) => ErrorKind::MadeRoom { waited },
            Self::Machine(_) | Self::TimedOut => ErrorKind::TimedOut {
                waiting_for: match step {
                    Step::Slot => Fault::Local,
                    Step::Service => Fault::HandshakerService,
                    Step::Peer | Step::FirstFrame => Fault::Peer,
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

impl From<MakeRoom> for Failure {
    fn from(room: MakeRoom) -> Self {
        Self::MadeRoom(room)
    }
}
