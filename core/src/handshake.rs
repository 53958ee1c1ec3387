//! The handshake, client and server: a machine between the peer and the handshaker service.

mod config;
pub mod defaults;
mod error;
mod limits;
mod request;
mod result;
mod role;

use core::fmt;
use core::ops::Range;
use core::time::Duration;

pub use config::{ClientConfig, ExpectedPeer, HandshakeConfigError, Offer, ServerConfig};
pub use error::{HandshakeError, HandshakeErrorKind, HandshakePhase};
use heapless::String;
pub use limits::{MAX_HANDSHAKE_BYTES, MAX_ROUNDS};
pub use result::Established;
pub use role::{Client, Role, Server};
use zeroize::Zeroize;

use crate::error::Fault;
use crate::msg::{HandshakerResp, Identity, NextHandshakeMessageReq, Request};
use crate::side::Side;
use crate::wire::Message;

/// Bytes that a request can have besides the peer's: with start messages of ordinary size, a
/// buffer of this and of what is read from the peer at once is enough.
pub const REQUEST_OVERHEAD: usize = 4 * 1024;
/// How much of the service's explanation of a failure is kept, in bytes.
const MAX_DETAILS: usize = 256;

/// A client's handshake.
pub type ClientHandshake<'c> = Handshake<Client<'c>>;
/// A server's handshake.
pub type ServerHandshake<'c> = Handshake<Server<'c>>;

/// One handshake of one side: says what to send where, and what it waits for.
///
/// It has two counterparts: the *peer* at the other end of the connection, which gets
/// handshake bytes raw, and the *handshaker service*, which makes and reads those bytes. It reads no clock:
/// `now` is the time since a moment of the caller's choice, and never goes backwards.
///
/// The loop: ask [`want`](Self::want), do what it says, ask again.
///
/// | [`Want`] | what the caller does |
/// |---|---|
/// | [`Request`](Want::Request) | [`request`](Self::request), and sends what that wrote to the service as one `HandshakerReq` |
/// | [`Response`](Want::Response) | reads one `HandshakerResp` from the service, and gives it to [`response`](Self::response) |
/// | [`Send`](Want::Send) | writes to the peer what `response` pointed out, then calls [`sent`](Self::sent) |
/// | [`Alert`](Want::Alert) | the same, but gives up if that fails or takes more than a moment |
/// | [`PeerBytes`](Want::PeerBytes) | reads at least one more byte from the peer, then goes on as for `Request` |
/// | [`Established`](Want::Established) | [`established`](Self::established) |
///
/// The bytes that came from the peer stay in the caller's buffer. `request` is shown all of them;
/// after `response`, the caller drops [`Response::consumed`] from the front. What is left once the
/// handshake is established are the first bytes of the record layer: they often arrive together.
///
/// Every error is final. The first one may come with bytes for the peer: then `want` asks for
/// [`Alert`](Want::Alert), and returns the error after that.
pub struct Handshake<R> {
    role: R,
    state: State,
    established: Option<Established>,
    deadline: Duration,
    /// When bytes were last sent to the peer.
    last_sent: Option<Duration>,
    /// Bytes of the peer in the last request.
    given: usize,
    /// Bytes at the front of the caller's buffer that the service has seen and not consumed.
    carried: usize,
    /// Bytes of the peer that the service has consumed so far.
    consumed: usize,
    /// Bytes that the service has sent to the peer so far.
    sent: usize,
    rounds: u32,
    details: String<MAX_DETAILS>,
    peer_account: String<256>,
}

/// What a [`Handshake`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// A call of [`Handshake::request`].
    Request,
    /// A message of the handshaker service, for [`Handshake::response`].
    Response,
    /// The bytes that [`Handshake::response`] pointed out on their way to the peer, and a call of
    /// [`Handshake::sent`].
    Send,
    /// As [`Send`](Self::Send), but the handshake has failed, and these bytes show the peer why.
    /// Whether they get there is not important; the error comes next.
    Alert,
    /// More bytes from the peer, and then a call of [`Handshake::request`].
    PeerBytes,
    /// A call of [`Handshake::established`].
    Established,
}

/// What a message of the handshaker service says to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Response {
    /// Where in the message the bytes stand that have to be written to the peer; often empty.
    pub to_peer: Range<usize>,
    /// How many of the bytes that came from the peer are used up: to be dropped from the front of
    /// the caller's buffer.
    pub consumed: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting(Want),
    /// Bytes are on their way to the peer; behind them comes this.
    Sending(Outcome),
    Failed(HandshakeError),
}

/// What a response led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Continue(Want),
    Fail(HandshakeError),
}

impl<'c> ClientHandshake<'c> {
    /// Starts a client's handshake at `now`.
    ///
    /// # Errors
    /// [`HandshakeErrorKind::Config`] when the configuration cannot be sent.
    pub fn client(config: &'c ClientConfig<'c>, now: Duration) -> Result<Self, HandshakeError> {
        Self::new(Client(config), Want::Request, now)
    }
}

impl<'c> ServerHandshake<'c> {
    /// Starts a server's handshake at `now`. It waits for the first bytes of the client before it
    /// asks the service for anything.
    ///
    /// # Errors
    /// [`HandshakeErrorKind::Config`] when the configuration cannot be sent.
    pub fn server(config: &'c ServerConfig<'c>, now: Duration) -> Result<Self, HandshakeError> {
        Self::new(Server(config), Want::PeerBytes, now)
    }
}

impl<R: Role> Handshake<R> {
    fn new(role: R, first: Want, now: Duration) -> Result<Self, HandshakeError> {
        role.check()
            .map_err(|error| HandshakeErrorKind::Config(error).at(HandshakePhase::Start))?;
        let deadline = now.saturating_add(role.timeout());
        Ok(Self {
            role,
            state: State::Waiting(first),
            established: None,
            deadline,
            last_sent: None,
            given: 0,
            carried: 0,
            consumed: 0,
            sent: 0,
            rounds: 0,
            details: String::new(),
            peer_account: String::new(),
        })
    }

    /// What the machine waits for.
    ///
    /// # Errors
    /// The error that has ended the handshake; [`HandshakeErrorKind::TimedOut`] once `now` has
    /// reached the [`deadline`](Self::deadline).
    pub fn want(&mut self, now: Duration) -> Result<Want, HandshakeError> {
        match self.state {
            State::Failed(error) => return Err(error),
            State::Waiting(Want::Established) => return Ok(Want::Established),
            _ => {}
        }
        if now >= self.deadline {
            // The reason for an alert says more than that it could not be sent in time.
            if let State::Sending(Outcome::Fail(error)) = self.state {
                self.state = State::Failed(error);
                return Err(error);
            }
            let waiting_for = match self.state {
                State::Waiting(Want::Response) => Fault::HandshakerService,
                State::Waiting(Want::Request) => Fault::Local,
                _ => Fault::Peer,
            };
            return Err(self.fail(HandshakeErrorKind::TimedOut { waiting_for }));
        }
        match self.state {
            State::Sending(Outcome::Continue(_)) => Ok(Want::Send),
            State::Sending(Outcome::Fail(_)) => Ok(Want::Alert),
            State::Waiting(want) => Ok(want),
            State::Failed(error) => Err(error),
        }
    }

    /// When the handshake times out, on the caller's clock.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Writes the next request to the service, one serialized `HandshakerReq`, to the front of
    /// `out` and returns its length.
    ///
    /// `from_peer` are all bytes that came from the peer and were not consumed; `now` is when the
    /// last of them arrived. What does not fit into `out` is left for the next request. A start
    /// message may hold a token: the owner of `out` wipes it.
    ///
    /// # Errors
    /// [`HandshakeErrorKind::BufferTooSmall`], which changes nothing. For good:
    /// [`HandshakeErrorKind::OutOfTurn`] when no request is wanted or the peer has sent nothing
    /// new, [`HandshakeErrorKind::TooManyRounds`], [`HandshakeErrorKind::TooManyPeerBytes`].
    pub fn request(
        &mut self,
        from_peer: &[u8],
        out: &mut [u8],
        now: Duration,
    ) -> Result<usize, HandshakeError> {
        let least = match self.want(now)? {
            Want::Request => self.carried,
            Want::PeerBytes => self.carried.saturating_add(1),
            _ => return Err(self.fail(HandshakeErrorKind::OutOfTurn)),
        };
        if from_peer.len() < least {
            return Err(self.fail(HandshakeErrorKind::OutOfTurn));
        }
        if self.rounds == MAX_ROUNDS {
            return Err(self.fail(HandshakeErrorKind::TooManyRounds));
        }
        let allowed = MAX_HANDSHAKE_BYTES.saturating_sub(self.consumed);
        if allowed < least {
            return Err(self.fail(HandshakeErrorKind::TooManyPeerBytes));
        }
        let shown = from_peer.get(..allowed).unwrap_or(from_peer);
        let request = if self.rounds == 0 { self.role.start() } else { self.next(now) };
        let (given, len) = request::encode(request, shown, least, out)
            .map_err(|needed| HandshakeErrorKind::BufferTooSmall { needed }.at(self.phase()))?;
        self.given = given;
        self.rounds = self.rounds.saturating_add(1);
        self.state = State::Waiting(Want::Response);
        Ok(len)
    }

    /// Takes one serialized `HandshakerResp` of the service.
    ///
    /// Key data in it is wiped from `message`; the bytes for the peer stay where
    /// [`Response::to_peer`] says.
    ///
    /// # Errors
    /// What the service or the peer did wrong, for good. When the message has bytes for the
    /// peer as well, those come first, and [`want`](Self::want) returns the error after
    /// [`sent`](Self::sent).
    pub fn response(
        &mut self,
        message: &mut [u8],
        now: Duration,
    ) -> Result<Response, HandshakeError> {
        if self.want(now)? != Want::Response {
            return Err(self.fail(HandshakeErrorKind::OutOfTurn));
        }
        let (to_peer, consumed, outcome) = match HandshakerResp::decode(message) {
            Ok(response) => {
                let (consumed, outcome) = self.judge(&response);
                let too_many = self.sent > MAX_HANDSHAKE_BYTES;
                let out_frames = if too_many { &[] } else { response.out_frames };
                (position_of(out_frames, message), consumed, outcome)
            }
            Err(error) => {
                let error = HandshakeErrorKind::Malformed(error).at(self.phase());
                (0..0, 0, Outcome::Fail(error))
            }
        };
        wipe_around(message, &to_peer);
        self.state = match outcome {
            outcome if !to_peer.is_empty() => State::Sending(outcome),
            Outcome::Continue(want) => State::Waiting(want),
            Outcome::Fail(error) => State::Failed(error),
        };
        match self.state {
            State::Failed(error) => Err(error),
            _ => Ok(Response { to_peer, consumed }),
        }
    }

    /// Reports that the bytes for the peer were written at `now`.
    pub fn sent(&mut self, now: Duration) {
        if let State::Sending(outcome) = self.state {
            self.last_sent = Some(now);
            self.state = match outcome {
                Outcome::Continue(want) => State::Waiting(want),
                Outcome::Fail(error) => State::Failed(error),
            };
        }
    }

    /// Ends the handshake because the peer closed the connection.
    pub fn peer_closed(&mut self) -> HandshakeError {
        self.fail(HandshakeErrorKind::PeerClosed)
    }

    /// Ends the handshake because the service ended the call.
    pub fn service_closed(&mut self) -> HandshakeError {
        self.fail(HandshakeErrorKind::ServiceClosed)
    }

    /// The result, once [`want`](Self::want) is [`Want::Established`].
    ///
    /// # Errors
    /// The error that has ended the handshake; [`HandshakeErrorKind::OutOfTurn`] when it has not
    /// ended.
    pub fn established(self) -> Result<Established, HandshakeError> {
        let phase = self.phase();
        match (self.state, self.established) {
            (State::Waiting(Want::Established), Some(established)) => Ok(established),
            (State::Failed(error), _) => Err(error),
            _ => Err(HandshakeErrorKind::OutOfTurn.at(phase)),
        }
    }

    /// Which side this is.
    #[must_use]
    pub fn side(&self) -> Side {
        R::SIDE
    }

    /// How far the handshake has come.
    #[must_use]
    pub fn phase(&self) -> HandshakePhase {
        match (self.state, self.rounds) {
            (State::Failed(error), _) => error.phase(),
            _ if self.established.is_some() => HandshakePhase::Result,
            (_, 0) | (State::Waiting(Want::Response), 1) => HandshakePhase::Start,
            _ => HandshakePhase::Exchange,
        }
    }

    /// The service's explanation of its error, cut to 256 bytes; empty when there was none.
    #[must_use]
    pub fn details(&self) -> &str {
        &self.details
    }

    /// The peer's service account, if the service has given one, also when it was refused.
    #[must_use]
    pub fn peer_account(&self) -> &str {
        &self.peer_account
    }

    /// The request that follows the start message, without bytes of the peer.
    fn next(&self, now: Duration) -> Request<'static> {
        let since =
            self.last_sent.map_or(0, |sent| now.as_millis().saturating_sub(sent.as_millis()));
        let network_latency_ms = u32::try_from(since).unwrap_or(u32::MAX);
        Request::Next(NextHandshakeMessageReq { in_bytes: &[], network_latency_ms })
    }

    /// What a response means: how many of the peer's bytes it has used up, and what comes next.
    fn judge(&mut self, response: &HandshakerResp<'_>) -> (usize, Outcome) {
        match self.accept(response) {
            Ok(want) => (self.given.saturating_sub(self.carried), Outcome::Continue(want)),
            Err(kind) => (0, Outcome::Fail(kind.at(self.phase()))),
        }
    }

    fn accept(&mut self, response: &HandshakerResp<'_>) -> Result<Want, HandshakeErrorKind> {
        self.sent = self.sent.saturating_add(response.out_frames.len());
        if self.sent > MAX_HANDSHAKE_BYTES {
            return Err(HandshakeErrorKind::TooManyOutFrames);
        }
        // "This is set iff the handshake was successful" is said of the result; the status is
        // nevertheless checked on every response, and it wins.
        let status = response.status.as_ref().ok_or(HandshakeErrorKind::MissingStatus)?;
        if status.code != 0 {
            self.details = cut(status.details);
            return Err(HandshakeErrorKind::Refused { code: status.code });
        }
        let consumed = usize::try_from(response.bytes_consumed).unwrap_or(usize::MAX);
        let carried = self.given.checked_sub(consumed);
        self.carried =
            carried.ok_or(HandshakeErrorKind::ConsumedTooMuch { consumed, given: self.given })?;
        if let Some(result) = &response.result {
            if self.given == 0 && self.consumed == 0 {
                return Err(HandshakeErrorKind::EarlyResult);
            }
            let peer = result.peer_identity.as_ref().and_then(Identity::service_account);
            self.peer_account = cut(peer.unwrap_or_default());
            self.established = Some(result::verify(&self.role, result)?);
            return Ok(Want::Established);
        }
        self.consumed = self.consumed.saturating_add(consumed);
        // A service that has used some of the bytes may be able to use more of them at once; one
        // that has used none needs more.
        Ok(if consumed > 0 && self.carried > 0 { Want::Request } else { Want::PeerBytes })
    }

    fn fail(&mut self, kind: HandshakeErrorKind) -> HandshakeError {
        if let State::Failed(error) = self.state {
            return error;
        }
        let error = kind.at(self.phase());
        self.state = State::Failed(error);
        self.established = None;
        error
    }
}

impl<R: Role> fmt::Debug for Handshake<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("side", &R::SIDE)
            .field("state", &self.state)
            .field("rounds", &self.rounds)
            .finish_non_exhaustive()
    }
}

/// As much of `text` as there is room for.
fn cut<const N: usize>(text: &str) -> String<N> {
    let mut kept = String::new();
    for character in text.chars() {
        if kept.push(character).is_err() {
            break;
        }
    }
    kept
}

/// Where in `whole` its part `part` stands.
fn position_of(part: &[u8], whole: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    start..start.saturating_add(part.len())
}

/// Wipes all of `message` but what is still to be sent: there may have been key data in it, more
/// than once if the message was made by hand.
fn wipe_around(message: &mut [u8], keep: &Range<usize>) {
    if let Some(before) = message.get_mut(..keep.start) {
        before.zeroize();
    }
    if let Some(behind) = message.get_mut(keep.end..) {
        behind.zeroize();
    }
}
