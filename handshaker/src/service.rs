//! The handshaker service without its transport: one `HandshakerReq` in, one `HandshakerResp` out.
//!
//! [`Handshaker`] holds what all handshakes share and is cheap to clone; [`Handshaker::replace`]
//! gives it new certificates for the calls that begin from then on. [`Call`] is one `DoHandshake`
//! stream:
//!
//! - *goes in*: [`Call::handle`] takes a request and the time, and returns the response to it.
//!   There is exactly one for each request, and `status` is set in all of them;
//! - *questions*: [`Call::is_finished`], [`Call::deadline`], [`Call::result`];
//! - *the one law*: when a call is finished, the RPC ends with OK right behind the response. Some
//!   callers hold the result back until then.
//!
//! A shell that notices that [`Call::deadline`] has passed sends what [`Call::expire`] returns and
//! ends the RPC.
//!
//! Time is an argument, measured from any fixed point. Only certificates are judged by the time of
//! day, which comes from the [`TimeProvider`] given to [`Builder::time`].
//!
//! # What callers can rely on
//!
//! Each response but the last reports all of `in_bytes` as consumed and keeps inside what it could
//! not use yet; the last one reports exactly where the handshake ended, so that records which came
//! in the same segment are left to the record layer. A response without `out_frames` and `result`
//! means: more bytes from the peer are needed. A `server_start` with empty `in_bytes` is fine.
//!
//! After an error status the call is finished. Its response can have `out_frames`: an alert, which
//! the caller should still send to the peer, whose service turns it into a sentence.
//!
//! # Fields that are not used
//!
//! `local_endpoint`, `remote_endpoint` and `network_latency_ms` are ignored, and so is `target_name`
//! unless [`Builder::naming`] says which accounts may serve which names. Access tokens are refused: this service authenticates only by
//! certificate, and a caller that gives a token expects to be known as its owner.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alts_core::Side;
use alts_core::msg::{
    HandshakeProtocol, HandshakerReq, Identity as IdentityMessage, IdentityKind, Request,
    RpcProtocolVersions, StartClientHandshakeReq, StartServerHandshakeReq,
    TransportProtocolPreferences,
};
use alts_core::wire::Message as _;
use rustls::time_provider::TimeProvider;

use crate::dialogue::{Dialogue, Progress, Start};
use crate::exchange::ExchangeConfig;
use crate::failure::{Code, Failure, Fault, Reason, echo, echo_all};
use crate::framing::Message;
use crate::identity::{Identity, TrustRoots, check_account};
use crate::limits::Limits;
use crate::naming::{SecureNaming, Unnamed};
use crate::negotiation::{DEFAULT_RPC_VERSIONS, Offer};
use crate::outcome::{End, Outcome};
use crate::reply::Reply;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) exchange: ExchangeConfig,
    pub(crate) identity: Identity,
    pub(crate) local_end: End,
    pub(crate) roots: TrustRoots,
    pub(crate) time: Arc<dyn TimeProvider>,
    pub(crate) limits: Limits,
    pub(crate) accept_machines: bool,
    pub(crate) naming: Option<SecureNaming>,
}

/// An account that a caller may use, and what vouches for it.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) account: String,
    pub(crate) shared: Arc<Shared>,
}

/// One `DoHandshake` stream.
pub struct Call {
    limits: Limits,
    /// The accounts that the caller may use, the default first.
    choices: Vec<Choice>,
    /// Why there is nothing to choose from, in the words of the code that decided so.
    refusal: Option<Failure>,
    side: Option<Side>,
    local_account: Option<String>,
    deadline: Duration,
    empty_requests: u32,
    stage: Stage,
}

enum Stage {
    /// No start message yet.
    Idle,
    Running(Box<Dialogue>),
    Finished(Result<Arc<Outcome>, Failure>),
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("accounts", &self.accounts())
            .field("deadline", &self.deadline)
            .field("result", &self.result())
            .finish_non_exhaustive()
    }
}

impl Call {
    pub(crate) fn new(limits: Limits, choices: Vec<Choice>, now: Duration) -> Self {
        Self {
            limits,
            choices,
            refusal: None,
            side: None,
            local_account: None,
            deadline: now.saturating_add(limits.deadline),
            empty_requests: 0,
            stage: Stage::Idle,
        }
    }

    /// A call that refuses its start message with `PERMISSION_DENIED` and these words: the caller
    /// reads them where it reads every failure, and a waiting peer learns that it waits in vain.
    #[must_use]
    pub fn refused(limits: Limits, details: impl Into<String>, now: Duration) -> Self {
        let refusal = Some(Failure::caller(Code::PermissionDenied, details));
        Self { refusal, ..Self::new(limits, Vec::new(), now) }
    }

    /// Answers one serialized `HandshakerReq`.
    ///
    /// A finished call answers too, with an error; its result stays what it was.
    pub fn handle(&mut self, request: &[u8], now: Duration) -> Reply {
        if request.len() > self.limits.request_bytes {
            return self.fail(Failure::caller(
                Code::ResourceExhausted,
                format!(
                    "the request has {} bytes, and {} are allowed",
                    request.len(),
                    self.limits.request_bytes
                ),
            ));
        }
        match HandshakerReq::decode(request) {
            Ok(request) => self.handle_message(&request, now),
            Err(error) => self.fail(Failure::caller(
                Code::InvalidArgument,
                format!("the request cannot be read: {error}"),
            )),
        }
    }

    /// As [`handle`](Self::handle), with a request that has been decoded already.
    pub fn handle_message(&mut self, request: &HandshakerReq<'_>, now: Duration) -> Reply {
        if self.is_finished() {
            return self.fail(Failure::caller(
                Code::FailedPrecondition,
                "the handshake of this call is over: every handshake is a call of its own",
            ));
        }
        if now > self.deadline {
            return self.expire();
        }
        match (&request.request, &mut self.stage) {
            (Some(Request::ClientStart(start)), Stage::Idle) => {
                match self.start_client(start) {
                    Ok(reply) => reply,
                    // The peer has not heard of this handshake, so it need not hear of its end.
                    Err(failure) => self.fail(failure),
                }
            }
            (Some(Request::ServerStart(start)), Stage::Idle) => match self.start_server(start) {
                Ok(dialogue) => {
                    self.stage = Stage::Running(Box::new(dialogue));
                    self.receive(start.in_bytes)
                }
                // The client waits for this server, and would wait until its deadline.
                Err(failure) => self.fail_and_tell(failure),
            },
            (Some(Request::Next(next)), Stage::Running(_)) => self.receive(next.in_bytes),
            (Some(Request::Next(_)), _) => self.fail(Failure::caller(
                Code::FailedPrecondition,
                "the call has to begin with client_start or server_start, not with next",
            )),
            (Some(Request::ClientStart(_) | Request::ServerStart(_)), _) => {
                self.fail(Failure::caller(
                    Code::FailedPrecondition,
                    "a second start message came: every handshake is a call of its own",
                ))
            }
            _ => self.fail(Failure::caller(
                Code::InvalidArgument,
                "the request has none of client_start, server_start and next",
            )),
        }
    }

    /// Ends the call because its time is over. The reply need not be an answer to a request.
    pub fn expire(&mut self) -> Reply {
        self.fail_and_tell(Failure::new(
            Code::DeadlineExceeded,
            Fault::Peer,
            Reason::Deadline,
            format!(
                "the handshake took longer than {} s (no answer from the peer?)",
                self.limits.deadline.as_secs_f32()
            ),
        ))
    }

    /// Whether the RPC is to be ended, with OK, right behind the last reply.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(self.stage, Stage::Finished(_))
    }

    /// How the call ended, once it has.
    #[must_use]
    pub const fn result(&self) -> Option<&Result<Arc<Outcome>, Failure>> {
        match &self.stage {
            Stage::Finished(result) => Some(result),
            Stage::Idle | Stage::Running(_) => None,
        }
    }

    /// The caller's side, once it has said so.
    #[must_use]
    pub const fn side(&self) -> Option<Side> {
        self.side
    }

    /// The account that this side goes by, once the caller has chosen.
    #[must_use]
    pub fn local_account(&self) -> Option<&str> {
        self.local_account.as_deref()
    }

    /// When the call's time is over, on the clock that `now` is read from.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    fn start_client(&mut self, start: &StartClientHandshakeReq<'_>) -> Result<Reply, Failure> {
        self.side = Some(Side::Client);
        if start.handshake_security_protocol != HandshakeProtocol::ALTS {
            return Err(Failure::caller(
                Code::InvalidArgument,
                "client_start.handshake_security_protocol has to be ALTS",
            ));
        }
        refuse_token(!start.access_token.expose().is_empty(), "client_start.access_token")?;
        let requested: Vec<_> = start.local_identity.iter().collect();
        let Choice { account, shared } = self.choose(&requested)?;
        let offer = offer(
            &start.application_protocols,
            &start.record_protocols,
            start.rpc_versions,
            start.max_frame_size,
            start.transport_protocol_preferences.as_ref(),
            account.clone(),
        );
        offer.check()?;
        let expected = target_accounts(&start.target_identities)?;
        let servers = match &shared.naming {
            Some(naming) => naming.servers(start.target_name).map_err(|why| unnamed(&why))?,
            None => None,
        };
        let max_bytes = self.limits.handshake_bytes;
        let start = Start { servers, ..begin(shared, offer, expected, max_bytes) };
        let (dialogue, hello) = Dialogue::client(start)?;
        self.local_account = Some(account.clone());
        self.stage = Stage::Running(Box::new(dialogue));
        Ok(Reply { out_frames: hello, ..Reply::default() })
    }

    fn start_server(&mut self, start: &StartServerHandshakeReq<'_>) -> Result<Dialogue, Failure> {
        self.side = Some(Side::Server);
        let parameters =
            start.handshake_parameters.get(&HandshakeProtocol::ALTS).ok_or_else(|| {
                Failure::caller(
                    Code::InvalidArgument,
                    "server_start.handshake_parameters has no entry for ALTS (2)",
                )
            })?;
        refuse_token(
            parameters.token.is_some_and(|token| !token.expose().is_empty()),
            "server_start's token",
        )?;
        let requested: Vec<_> = parameters.local_identities.iter().collect();
        let Choice { account, shared } = self.choose(&requested)?;
        let offer = offer(
            &start.application_protocols,
            &parameters.record_protocols,
            start.rpc_versions,
            start.max_frame_size,
            start.transport_protocol_preferences.as_ref(),
            account.clone(),
        );
        offer.check()?;
        let max_bytes = self.limits.handshake_bytes;
        let dialogue = Dialogue::server(begin(shared, offer, Vec::new(), max_bytes))?;
        self.local_account = Some(account.clone());
        Ok(dialogue)
    }

    fn accounts(&self) -> Vec<&str> {
        self.choices.iter().map(|choice| &*choice.account).collect()
    }

    /// The account for this handshake: the first that was asked for and is allowed, or the default
    /// when none was asked for.
    fn choose(&self, requested: &[&IdentityMessage<'_>]) -> Result<&Choice, Failure> {
        let refuse = |details| Failure::caller(Code::PermissionDenied, details);
        let Some(default) = self.choices.first() else {
            return Err(self.refusal.clone().unwrap_or_else(|| {
                refuse("the caller may not use any identity of this service".to_owned())
            }));
        };
        let mut names = Vec::new();
        for identity in requested {
            match identity.identity {
                Some(IdentityKind::ServiceAccount(account)) => names.push(account),
                None => {}
                Some(other) => {
                    let kind = match other {
                        IdentityKind::Hostname(host) => format!("the host name {host:?}"),
                        other => format!("{other:?}"),
                    };
                    return Err(Failure::caller(
                        Code::InvalidArgument,
                        format!(
                            "the local identity is {}; this service has only service accounts",
                            echo(&kind)
                        ),
                    ));
                }
            }
        }
        if names.is_empty() {
            return Ok(default);
        }
        let own = |name: &&str| self.choices.iter().find(|choice| choice.account == *name);
        names.iter().find_map(own).ok_or_else(|| {
            refuse(format!(
                "the caller asked for the local identity {:?}, and may use {}",
                echo_all(&names),
                echo_all(&self.accounts())
            ))
        })
    }

    fn receive(&mut self, in_bytes: &[u8]) -> Reply {
        let Stage::Running(dialogue) = &mut self.stage else {
            return self.fail(Failure::internal("no handshake is under way"));
        };
        if in_bytes.is_empty() {
            self.empty_requests = self.empty_requests.saturating_add(1);
            if self.empty_requests > self.limits.empty_requests {
                return self.fail_and_tell(Failure::caller(
                    Code::ResourceExhausted,
                    "too many requests without bytes from the peer",
                ));
            }
            return Reply::default();
        }
        match dialogue.receive(in_bytes) {
            Ok(Progress { consumed, out, outcome }) => {
                if let Some(outcome) = &outcome {
                    self.stage = Stage::Finished(Ok(Arc::clone(outcome)));
                }
                Reply {
                    out_frames: out,
                    // `request_bytes` keeps this far below 4 GiB for all that go through `handle`.
                    bytes_consumed: u32::try_from(consumed).unwrap_or(u32::MAX),
                    outcome,
                    failure: None,
                }
            }
            Err(failure) => self.fail_and_tell(failure),
        }
    }

    /// Ends the call without a word to the peer. Bytes that came with the request are lost.
    fn fail(&mut self, failure: Failure) -> Reply {
        let under_way = matches!(self.stage, Stage::Running(_));
        if under_way {
            return self.fail_and_tell(failure);
        }
        if !self.is_finished() {
            self.stage = Stage::Finished(Err(failure.clone()));
        }
        Reply { failure: Some(failure), ..Reply::default() }
    }

    /// Ends the call and lets the peer know why, as far as it may know.
    fn fail_and_tell(&mut self, failure: Failure) -> Reply {
        let out_frames = failure
            .reason()
            .filter(|_| !self.is_finished())
            .and_then(|reason| Message::alert(reason).encode().ok())
            .unwrap_or_default();
        if !self.is_finished() {
            self.stage = Stage::Finished(Err(failure.clone()));
        }
        Reply { out_frames, failure: Some(failure), ..Reply::default() }
    }
}

fn begin(shared: &Shared, offer: Offer, expected: Vec<String>, max_bytes: usize) -> Start<'_> {
    Start {
        exchange: &shared.exchange,
        identity: &shared.identity,
        local_end: &shared.local_end,
        roots: &shared.roots,
        time: &shared.time,
        offer,
        expected,
        servers: None,
        accept_machines: shared.accept_machines,
        max_bytes,
    }
}

fn offer(
    application_protocols: &[&str],
    record_protocols: &[&str],
    rpc_versions: Option<RpcProtocolVersions>,
    max_frame_size: u32,
    transport_protocols: Option<&TransportProtocolPreferences<'_>>,
    service_account: String,
) -> Offer {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Offer {
        application_protocols: owned(application_protocols),
        record_protocols: owned(record_protocols),
        rpc_versions: rpc_versions.unwrap_or(DEFAULT_RPC_VERSIONS),
        max_frame_size,
        transport_protocols: transport_protocols
            .map(|preferences| owned(&preferences.transport_protocol))
            .unwrap_or_default(),
        service_account,
    }
}

/// handshaker.proto: "If target identities are provided and none of them matches the peer identity
/// of the server, handshake will fail." So a list that can match nobody must not read as no list.
fn target_accounts(identities: &[IdentityMessage<'_>]) -> Result<Vec<String>, Failure> {
    let accounts: Vec<&str> =
        identities.iter().filter_map(IdentityMessage::service_account).collect();
    if accounts.is_empty() && !identities.is_empty() {
        return Err(Failure::caller(
            Code::InvalidArgument,
            "client_start.target_identities names no service account, and no peer can be anything \
             else",
        ));
    }
    for account in &accounts {
        check_account(account).map_err(|error| {
            Failure::caller(
                Code::InvalidArgument,
                format!("client_start.target_identities names {:?}: {error}", echo(account)),
            )
        })?;
    }
    Ok(accounts.into_iter().map(ToOwned::to_owned).collect())
}

fn unnamed(why: &Unnamed) -> Failure {
    let code = match why {
        Unnamed::Unreadable { .. } => Code::InvalidArgument,
        Unnamed::Empty | Unnamed::Unknown(_) => Code::PermissionDenied,
    };
    Failure::caller(code, why.to_string())
}

fn refuse_token(present: bool, what: &str) -> Result<(), Failure> {
    if present {
        return Err(Failure::caller(
            Code::Unimplemented,
            format!("{what} is set: this service authenticates by certificate and takes no tokens"),
        ));
    }
    Ok(())
}
