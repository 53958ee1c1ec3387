//! The five messages of a handshake, from the view of one side: bytes from the peer in, bytes to
//! the peer out.
//!
//! ```text
//! client                                                              server
//!   ── 1 ClientInit        ClientHello ─────────────────────────────────▶
//!   ◀─ 2 ServerInit        ServerHello … server's certificate … Finished ──
//!   ── 3 ClientParameters  client's certificate … Finished, parameters ─▶
//!   ◀─ 4 ServerParameters  choice, server confirmation ──────────────────
//!   ── 5 ClientFinished    client confirmation ─────────────────────────▶
//! ```
//!
//! The client is through when it has read 4 and has its 5 to send; the server when it has read 5.
//! By then each has seen the other prove its certificate, its keys and its view of the parameters.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use alts_core::Side;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use subtle::ConstantTimeEq as _;

use crate::exchange::{CONFIRMATION, Context, Exchange, ExchangeConfig, Export, KEY_DATA};
use crate::failure::{Code, Failure, Fault, Reason, echo_all};
use crate::framing::{Message, MessageType, Reassembly};
use crate::identity::{Identity, Role, Subject, SubjectError, TrustRoots};
use crate::naming::Servers;
use crate::negotiation::{Agreement, MAX_PARAMETERS, Offer};
use crate::outcome::{End, Outcome};

/// What bytes from the peer led to.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// How many of the bytes belong to the handshake: fewer than were given only with an outcome.
    pub(crate) consumed: usize,
    /// Bytes for the peer.
    pub(crate) out: Vec<u8>,
    /// Set when the handshake is over.
    pub(crate) outcome: Option<Arc<Outcome>>,
}

/// One side's state between two messages.
pub(crate) struct Dialogue {
    exchange: Exchange,
    reassembly: Reassembly,
    awaited: Awaited,
    /// What the peer may still send.
    bytes_left: usize,
    own_certificate: Vec<u8>,
    local_end: End,
    roots: TrustRoots,
    time: Arc<dyn TimeProvider>,
    peer_role: Role,
    offer: Offer,
    /// The accounts that the client's caller expects; empty: any that the roots vouch for.
    expected: Vec<String>,
    /// The accounts that may serve the name for which the client's caller looks, if that is said.
    servers: Option<Servers>,
    accept_machines: bool,
}

/// The message that comes next, and what is needed to judge it.
enum Awaited {
    ClientInit,
    ServerInit,
    ClientParameters,
    ServerParameters { own_parameters: Vec<u8> },
    ClientFinished { agreement: Agreement, context: Context },
    Nothing,
}

impl Awaited {
    const fn name(&self) -> &'static str {
        match self {
            Self::ClientInit => MessageType::ClientInit.name(),
            Self::ServerInit => MessageType::ServerInit.name(),
            Self::ClientParameters => MessageType::ClientParameters.name(),
            Self::ServerParameters { .. } => MessageType::ServerParameters.name(),
            Self::ClientFinished { .. } => MessageType::ClientFinished.name(),
            Self::Nothing => "nothing more",
        }
    }
}

/// What both roles start with.
pub(crate) struct Start<'a> {
    pub(crate) exchange: &'a ExchangeConfig,
    pub(crate) identity: &'a Identity,
    pub(crate) local_end: &'a End,
    pub(crate) roots: &'a TrustRoots,
    pub(crate) time: &'a Arc<dyn TimeProvider>,
    pub(crate) offer: Offer,
    pub(crate) expected: Vec<String>,
    pub(crate) servers: Option<Servers>,
    pub(crate) accept_machines: bool,
    pub(crate) max_bytes: usize,
}

impl Dialogue {
    /// The client's side, and its first message.
    pub(crate) fn client(start: Start<'_>) -> Result<(Self, Vec<u8>), Failure> {
        let mut exchange = Exchange::client(start.exchange)?;
        let hello = frame(MessageType::ClientInit, exchange.send(&[])?)?;
        Ok((Self::new(start, exchange, Awaited::ServerInit), hello))
    }

    /// The server's side: the client speaks first.
    pub(crate) fn server(start: Start<'_>) -> Result<Self, Failure> {
        let exchange = Exchange::server(start.exchange)?;
        Ok(Self::new(start, exchange, Awaited::ClientInit))
    }

    fn new(start: Start<'_>, exchange: Exchange, awaited: Awaited) -> Self {
        let peer_role = match awaited {
            Awaited::ClientInit => Role::Client,
            _ => Role::Server,
        };
        Self {
            exchange,
            reassembly: Reassembly::new(),
            awaited,
            bytes_left: start.max_bytes,
            own_certificate: start.identity.certificate().to_vec(),
            local_end: start.local_end.clone(),
            roots: start.roots.clone(),
            time: Arc::clone(start.time),
            peer_role,
            offer: start.offer,
            expected: start.expected,
            servers: start.servers,
            accept_machines: start.accept_machines,
        }
    }

    /// Takes bytes from the peer. After an error the dialogue is of no further use.
    pub(crate) fn receive(&mut self, input: &[u8]) -> Result<Progress, Failure> {
        let pushed = self.reassembly.push(input)?;
        self.bytes_left = self.bytes_left.checked_sub(pushed.consumed).ok_or_else(|| {
            Failure::new(
                Code::ResourceExhausted,
                Fault::Peer,
                Reason::Limit,
                "the peer sent more bytes than a handshake may have",
            )
        })?;
        let Some(message) = pushed.message else {
            return Ok(Progress { consumed: pushed.consumed, ..Progress::default() });
        };
        if message.kind == MessageType::Alert {
            return Err(self.told(message.alert_reason()));
        }
        let behind = input.split_at_checked(pushed.consumed).map_or(&[][..], |(_, rest)| rest);
        if !behind.is_empty() && !self.is_last(message.kind) {
            return Err(self.out_of_turn(behind));
        }
        let (out, outcome) = self.answer(&message)?;
        Ok(Progress { consumed: pushed.consumed, out, outcome: outcome.map(Arc::new) })
    }

    /// What the peer's alert says.
    fn told(&self, number: u32) -> Failure {
        let failure = Failure::alert(number);
        if number == Reason::KeyExchange.number() && self.exchange.requires_post_quantum() {
            return failure.and("this side requires X25519MLKEM768, which the peer may not have");
        }
        failure
    }

    /// Whether what follows this message may belong to the record layer.
    fn is_last(&self, kind: MessageType) -> bool {
        matches!(
            (&self.awaited, kind),
            (Awaited::ServerParameters { .. }, MessageType::ServerParameters)
                | (Awaited::ClientFinished { .. }, MessageType::ClientFinished)
        )
    }

    /// Bytes followed a message that has to be answered first: an alert says why the peer gave up,
    /// anything else is a violation.
    fn out_of_turn(&mut self, behind: &[u8]) -> Failure {
        match self.reassembly.push(behind) {
            Ok(pushed) => match pushed.message {
                Some(message) if message.kind == MessageType::Alert => {
                    self.told(message.alert_reason())
                }
                _ => Failure::malformed("the peer went on without waiting for an answer"),
            },
            Err(failure) => failure,
        }
    }

    fn answer(&mut self, message: &Message) -> Result<(Vec<u8>, Option<Outcome>), Failure> {
        let awaited = std::mem::replace(&mut self.awaited, Awaited::Nothing);
        match (awaited, message.kind) {
            (Awaited::ClientInit, MessageType::ClientInit) => {
                self.server_init(&message.body).map(|out| (out, None))
            }
            (Awaited::ServerInit, MessageType::ServerInit) => {
                self.client_parameters(&message.body).map(|out| (out, None))
            }
            (Awaited::ClientParameters, MessageType::ClientParameters) => {
                self.server_parameters(&message.body).map(|out| (out, None))
            }
            (Awaited::ServerParameters { own_parameters }, MessageType::ServerParameters) => self
                .client_finished(&own_parameters, &message.body)
                .map(|(out, outcome)| (out, Some(outcome))),
            (Awaited::ClientFinished { agreement, context }, MessageType::ClientFinished) => self
                .server_finished(agreement, &context, &message.body)
                .map(|outcome| (Vec::new(), Some(outcome))),
            (awaited, kind) => Err(Failure::malformed(format!(
                "the peer sent {} where {} was due (are both ends clients, or both servers?)",
                kind.name(),
                awaited.name()
            ))),
        }
    }

    /// Message 1 was received: message 2 goes out.
    fn server_init(&mut self, body: &[u8]) -> Result<Vec<u8>, Failure> {
        no_data_yet(&self.exchange.receive(body)?)?;
        let out = frame_if_any(MessageType::ServerInit, self.exchange.send(&[])?)?;
        self.awaited = Awaited::ClientParameters;
        Ok(out)
    }

    /// Message 2 was received: message 3 goes out.
    fn client_parameters(&mut self, body: &[u8]) -> Result<Vec<u8>, Failure> {
        no_data_yet(&self.exchange.receive(body)?)?;
        let server = self.peer_subject()?;
        // Judged before this side's certificate goes out: a server that is not wanted does not
        // even learn who called. The account itself comes with message 4.
        if !self.expected.is_empty()
            && !self.expected.iter().any(|account| server.vouches_for(account))
        {
            return Err(self.unexpected(&server.to_string()));
        }
        if let Some(servers) = &self.servers
            && !servers.accounts.iter().any(|accounts| server.may_be_one_of(accounts))
        {
            return Err(misplaced(servers, &server.to_string()));
        }
        let own_parameters = self.offer.encode();
        let out = frame(MessageType::ClientParameters, self.exchange.send(&own_parameters)?)?;
        self.awaited = Awaited::ServerParameters { own_parameters };
        Ok(out)
    }

    /// Message 3 was received: message 4 goes out.
    fn server_parameters(&mut self, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let client_parameters = self.exchange.receive(body)?;
        let client = self.peer_subject()?;
        let client_offer = Offer::decode(&client_parameters)?;
        self.require_vouched(&client, &client_offer.service_account)?;
        let (agreement, choice) = self.offer.choose(&client_offer)?;
        let own_parameters = choice.encode();
        let context = self.context(Side::Server, &client_parameters, &own_parameters);
        let confirmation =
            self.exchange.export::<CONFIRMATION>(Export::ServerConfirmation, &context)?;

        // A choice is shorter than the offers that it was made from, which are bounded.
        let length = u32::try_from(own_parameters.len()).unwrap_or(u32::MAX);
        let mut data = length.to_le_bytes().to_vec();
        data.extend_from_slice(&own_parameters);
        data.extend_from_slice(confirmation.as_slice());
        let out = frame(MessageType::ServerParameters, self.exchange.send(&data)?)?;
        self.awaited = Awaited::ClientFinished { agreement, context };
        Ok(out)
    }

    /// Message 4 was received: message 5 goes out, and the client is through.
    fn client_finished(
        &mut self,
        own_parameters: &[u8],
        body: &[u8],
    ) -> Result<(Vec<u8>, Outcome), Failure> {
        let data = self.exchange.receive(body)?;
        let (server_parameters, confirmation) = split_choice(&data)?;
        let choice = Offer::decode(server_parameters)?;
        let server = self.peer_subject()?;
        self.require_vouched(&server, &choice.service_account)?;
        if !self.expected.is_empty() && !self.expected.contains(&choice.service_account) {
            return Err(self.unexpected(&format!("service account {}", choice.service_account)));
        }
        if let Some(servers) = &self.servers
            && !servers.accounts.iter().any(|accounts| accounts.matches(&choice.service_account))
        {
            let found = format!("service account {}", choice.service_account);
            return Err(misplaced(servers, &found));
        }
        let agreement = self.offer.accept(&choice)?;
        let context = self.context(Side::Client, own_parameters, server_parameters);
        self.check_confirmation(Export::ServerConfirmation, &context, confirmation)?;
        let own = self.exchange.export::<CONFIRMATION>(Export::ClientConfirmation, &context)?;
        let out = frame(MessageType::ClientFinished, self.exchange.send(own.as_slice())?)?;
        Ok((out, self.outcome(agreement, &context)?))
    }

    /// Message 5 was received: the server is through.
    fn server_finished(
        &mut self,
        agreement: Agreement,
        context: &Context,
        body: &[u8],
    ) -> Result<Outcome, Failure> {
        let confirmation = self.exchange.receive(body)?;
        self.check_confirmation(Export::ClientConfirmation, context, &confirmation)?;
        self.outcome(agreement, context)
    }

    /// The subject of the peer's certificate: verified by TLS, with the key proved.
    fn peer_subject(&self) -> Result<Subject, Failure> {
        if !self.exchange.is_ready() {
            return Err(Failure::new(
                Code::FailedPrecondition,
                Fault::Peer,
                Reason::KeyExchange,
                "the peer did not complete the key exchange where it had to, or is not a \
                 handshaker of this kind",
            ));
        }
        let now = self.now()?;
        let chain = self.exchange.peer_chain();
        self.roots.subject(chain, self.peer_role, now, self.accept_machines).map_err(|error| {
            let (reason, details) = match error {
                SubjectError::Certificate(why) => {
                    (Reason::CertificateAmbiguous, format!("the peer's certificate: {why}"))
                }
                SubjectError::Machine(machine) => (
                    Reason::MachineRefused,
                    format!(
                        "the peer's certificate is for the machine {machine} and names no service \
                         account, and this side does not let machines vouch for accounts: no \
                         authority that it trusts may vouch for machines"
                    ),
                ),
                SubjectError::NotVouched { why } => {
                    (Reason::AuthorityLimited, format!("the peer's certificate is refused: {why}"))
                }
                SubjectError::Revoked { why } => (
                    Reason::CertificateRevoked,
                    format!("the peer's certificate is refused: {why}"),
                ),
            };
            Failure::new(Code::Unauthenticated, Fault::Peer, reason, details)
        })
    }

    fn now(&self) -> Result<UnixTime, Failure> {
        let now = self.time.current_time();
        now.ok_or_else(|| Failure::internal("there is no clock to judge certificates by"))
    }

    fn require_vouched(&self, subject: &Subject, account: &str) -> Result<(), Failure> {
        let (reason, details) = if !subject.vouches_for(account) {
            (
                Reason::IdentityNotVouched,
                format!(
                    "the peer claims to be {account}, and its certificate, which is for {subject}, \
                     does not vouch for that"
                ),
            )
        } else if self.roots.denies(account) {
            (Reason::CertificateRevoked, format!("the peer is {account}, which is denied here"))
        } else {
            return Ok(());
        };
        Err(Failure::new(Code::Unauthenticated, Fault::Peer, reason, details))
    }

    fn unexpected(&self, found: &str) -> Failure {
        Failure::new(
            Code::Unauthenticated,
            Fault::Peer,
            Reason::IdentityUnexpected,
            format!(
                "the server is not who was expected: it is {found}, and the target identities are \
                 {}",
                echo_all(&self.expected)
            ),
        )
    }

    fn context(&self, side: Side, client_parameters: &[u8], server_parameters: &[u8]) -> Context {
        let peer = self.exchange.peer_certificate().unwrap_or_default();
        let own = &self.own_certificate;
        let (client, server) = match side {
            Side::Client => (&**own, peer),
            Side::Server => (peer, &**own),
        };
        Context::new(client, server, client_parameters, server_parameters)
    }

    fn check_confirmation(
        &self,
        purpose: Export,
        context: &Context,
        received: &[u8],
    ) -> Result<(), Failure> {
        let expected = self.exchange.export::<CONFIRMATION>(purpose, context)?;
        if bool::from(expected.as_slice().ct_eq(received)) {
            return Ok(());
        }
        Err(Failure::new(
            Code::Unauthenticated,
            Fault::Peer,
            Reason::Confirmation,
            "the peer did not confirm the keys, certificates and parameters that this side saw",
        ))
    }

    fn outcome(&self, agreement: Agreement, context: &Context) -> Result<Outcome, Failure> {
        let key_data = self.exchange.export::<KEY_DATA>(Export::KeyData, context)?;
        let key_exchange =
            self.exchange.key_exchange_group().and_then(|group| group.as_str()).unwrap_or("?");
        let local_account = self.offer.service_account.clone();
        let peer_end = End::new(self.roots.end(self.exchange.peer_chain(), self.now()?));
        let local_end = self.local_end.clone();
        Ok(Outcome { agreement, local_account, key_exchange, key_data, peer_end, local_end })
    }
}

/// The server is who it says, and may not be found under this name.
fn misplaced(servers: &Servers, found: &str) -> Failure {
    Failure::new(
        Code::Unauthenticated,
        Fault::Peer,
        Reason::IdentityUnexpected,
        format!(
            "the server may not serve {}: it is {found}, and the accounts for that name are {}",
            servers.target,
            echo_all(&servers.accounts)
        ),
    )
}

fn frame(kind: MessageType, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
    Message { kind, body }.encode()
}

/// As [`frame`], for an answer that a broken first message may not have earned.
fn frame_if_any(kind: MessageType, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
    if body.is_empty() {
        return Err(Failure::malformed(format!(
            "the peer's message is incomplete: there is nothing to answer with {}",
            kind.name()
        )));
    }
    frame(kind, body)
}

/// No side sends application data before both sides are authenticated, early or "half-early".
fn no_data_yet(data: &[u8]) -> Result<(), Failure> {
    if data.is_empty() {
        return Ok(());
    }
    Err(Failure::malformed("the peer sent parameters before both sides were authenticated"))
}

/// The application data of `ServerParameters`: parameters and confirmation.
fn split_choice(data: &[u8]) -> Result<(&[u8], &[u8]), Failure> {
    data.split_first_chunk()
        .and_then(|(length, rest)| {
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            rest.split_at_checked(length).filter(|_| length <= MAX_PARAMETERS)
        })
        .filter(|(_, confirmation)| confirmation.len() == CONFIRMATION)
        .ok_or_else(|| Failure::malformed("the server's parameters do not have the right form"))
}
