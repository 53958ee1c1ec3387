//! What a client or a server asks of its handshakes.

mod error;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alts_core::account::AccountPattern;
use alts_core::frame::FrameSize;
use alts_core::handshake::{self, ExpectedPeer, HandshakeConfigError, HandshakeErrorKind, Offer};
use alts_core::key::RecordProtocol;
use alts_core::msg::capacity;
use alts_core::wire::SecretText;
use alts_core::{AltsContext, ClientHandshake, ServerHandshake};
use zeroize::Zeroizing;

pub use self::error::ConfigError;
use crate::stream::StreamOptions;

/// How many handshakes of one side may be under way at once, by default.
const CONCURRENT_HANDSHAKES: usize = 100;
/// How long a client's handshake may take, by default.
const CLIENT_DEADLINE: Duration = handshake::defaults::CLIENT_TIMEOUT;
/// How long a server's handshake may take, by default.
const SERVER_DEADLINE: Duration = handshake::defaults::SERVER_TIMEOUT;

/// What a client asks of its handshakes.
///
/// ```
/// use tokio_alts::ClientConfig;
///
/// let config = ClientConfig::builder()
///     .expect_peer("greeter@prod.example")
///     .deadline(std::time::Duration::from_secs(5))
///     .build()?;
/// # Ok::<_, tokio_alts::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientConfig {
    common: Common,
    target_name: String,
    local_identity: Option<String>,
    token: Token,
}

/// What a server asks of its handshakes.
///
/// It says which clients are served. A server that decides for each call, with
/// [`AltsContext::authorize`](alts_core::AltsContext::authorize) or what is built on it, admits any
/// client to the handshake, and has to say so.
///
/// ```
/// use tokio_alts::ServerConfig;
///
/// let raw = ServerConfig::builder().expect_peer("client@prod.example").build()?;
/// let grpc = ServerConfig::builder().any_peer().build()?; // each method has its rule
/// # Ok::<_, tokio_alts::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerConfig {
    common: Common,
    local_identities: Vec<String>,
    token: Option<Token>,
}

/// What both sides ask.
#[derive(Clone, Debug)]
struct Common {
    /// The accounts that the peer may have; empty when it may have any.
    expected: Vec<AccountPattern<String>>,
    rule: Option<PeerRule>,
    any_peer: bool,
    application_protocols: Vec<String>,
    record_protocols: Vec<RecordProtocol>,
    frame_size: FrameSize,
    deadline: Duration,
    concurrent_handshakes: usize,
    stream_options: StreamOptions,
}

/// What the program itself says of peers.
#[derive(Clone)]
pub(crate) struct PeerRule(Arc<dyn Fn(&AltsContext) -> bool + Send + Sync>);

impl PeerRule {
    pub(crate) fn admits(&self, context: &AltsContext) -> bool {
        (self.0)(context)
    }
}

impl fmt::Debug for PeerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule of the application's")
    }
}

/// A token, wiped when dropped, never printed.
#[derive(Clone, Default)]
struct Token(Zeroizing<String>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "[redacted]" })
    }
}

impl Common {
    fn new(deadline: Duration) -> Self {
        Self {
            expected: Vec::new(),
            rule: None,
            any_peer: false,
            application_protocols: handshake::defaults::APPLICATION_PROTOCOLS
                .iter()
                .map(|&name| name.to_owned())
                .collect(),
            record_protocols: handshake::defaults::RECORD_PROTOCOLS.to_vec(),
            frame_size: FrameSize::DEFAULT,
            deadline,
            concurrent_handshakes: CONCURRENT_HANDSHAKES,
            stream_options: StreamOptions::new(),
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        match (self.any_peer, self.expected.is_empty() && self.rule.is_none()) {
            (false, true) => Err(ConfigError::NoExpectedPeer),
            (true, false) => Err(ConfigError::AnyPeerAndSome),
            _ if self.expected.iter().any(|account| account.as_str().is_empty()) => {
                let field = "expected_service_accounts";
                Err(ConfigError::Unsendable(HandshakeConfigError::Empty { field }))
            }
            _ if self.concurrent_handshakes == 0 => Err(ConfigError::NoHandshakes),
            _ => Ok(()),
        }
    }

    fn offer<'c>(&'c self, application_protocols: &'c [&'c str]) -> Offer<'c> {
        Offer::new()
            .with_application_protocols(application_protocols)
            .with_record_protocols(&self.record_protocols)
            .with_max_frame_size(self.frame_size)
    }
}

impl ClientConfig {
    /// A builder. It has to know whom to expect: call [`expect_peer`](ClientConfigBuilder::expect_peer)
    /// (or its siblings for patterns and rules) or [`any_peer`](ClientConfigBuilder::any_peer).
    pub fn builder() -> ClientConfigBuilder {
        ClientConfigBuilder {
            config: Self {
                common: Common::new(CLIENT_DEADLINE),
                target_name: String::new(),
                local_identity: None,
                token: Token::default(),
            },
        }
    }

    /// The name under which the server is looked for, unless a connection has its own.
    #[must_use]
    pub fn target_name(&self) -> &str {
        &self.target_name
    }

    /// The core's form of this configuration, around lists that the caller makes of
    /// [`expected_service_accounts`](Self::expected_service_accounts) and
    /// [`application_protocols`](Self::application_protocols).
    pub(crate) fn core<'c>(
        &'c self,
        target_name: &'c str,
        expected_peer: ExpectedPeer<'c>,
        application_protocols: &'c [&'c str],
    ) -> handshake::ClientConfig<'c> {
        handshake::ClientConfig::new(expected_peer)
            .with_offer(self.common.offer(application_protocols))
            .with_target_name(target_name)
            .with_local_identity(self.local_identity.as_deref())
            .with_access_token(SecretText::new(&self.token.0))
            .with_timeout(self.common.deadline)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.common.check()?;
        let (room, protocols) = (self.expected_peers().room(), strs(self.application_protocols()));
        let config = self.core("", room.expected_peer(), &protocols);
        sendable(ClientHandshake::client(&config, Duration::ZERO).map(drop))
    }
}

impl ServerConfig {
    /// A builder. It has to know which clients are served: call
    /// [`expect_peer`](ServerConfigBuilder::expect_peer) or
    /// [`any_peer`](ServerConfigBuilder::any_peer).
    pub fn builder() -> ServerConfigBuilder {
        let common = Common::new(SERVER_DEADLINE);
        ServerConfigBuilder { config: Self { common, local_identities: Vec::new(), token: None } }
    }

    /// The core's form of this configuration, around lists that the caller makes of
    /// [`local_identities`](Self::local_identities) and
    /// [`application_protocols`](Self::application_protocols).
    pub(crate) fn core<'c>(
        &'c self,
        local_identities: &'c [&'c str],
        application_protocols: &'c [&'c str],
    ) -> handshake::ServerConfig<'c> {
        handshake::ServerConfig::new()
            .with_offer(self.common.offer(application_protocols))
            .with_local_identities(local_identities)
            .with_token(self.token.as_ref().map(|token| SecretText::new(&token.0)))
            .with_timeout(self.common.deadline)
    }

    pub(crate) fn local_identities(&self) -> &[String] {
        &self.local_identities
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.common.check()?;
        let (identities, protocols) =
            (strs(&self.local_identities), strs(self.application_protocols()));
        let config = self.core(&identities, &protocols);
        sendable(ServerHandshake::server(&config, Duration::ZERO).map(drop))
    }
}

/// Borrowed texts, as the core takes them.
pub(crate) fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Whom one connection's peer may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpectedPeers<'a> {
    /// The accounts, of which one is enough.
    pub(crate) accounts: &'a [AccountPattern<String>],
    /// Another way to be admitted.
    pub(crate) rule: Option<&'a PeerRule>,
}

impl<'a> ExpectedPeers<'a> {
    /// Only these accounts.
    pub(crate) const fn accounts(accounts: &'a [AccountPattern<String>]) -> Self {
        Self { accounts, rule: None }
    }

    /// What the core is asked to compare: with a rule, it cannot know whom to refuse.
    pub(crate) fn room(self) -> ExpectedRoom<'a> {
        ExpectedRoom::of(if self.rule.is_some() { &[] } else { self.accounts })
    }

    pub(crate) fn admit(self, context: &AltsContext) -> bool {
        let any = self.accounts.is_empty() && self.rule.is_none();
        any || context.authorize_matching(self.accounts).is_ok()
            || self.rule.is_some_and(|rule| rule.admits(context))
    }
}

/// Expected accounts, borrowed in the form that the core takes.
pub(crate) enum ExpectedRoom<'a> {
    /// It was said that any will do: no list is ever empty.
    Any,
    /// As many as a service can be told of.
    Accounts(Vec<&'a str>),
    /// More of them, or patterns.
    Matching(Vec<AccountPattern<&'a str>>),
}

impl<'a> ExpectedRoom<'a> {
    fn of(expected: &'a [AccountPattern<String>]) -> Self {
        let exact = expected.iter().all(AccountPattern::is_exact);
        match expected.len() {
            0 => Self::Any,
            1..=capacity::TARGET_IDENTITIES if exact => {
                Self::Accounts(expected.iter().map(AccountPattern::as_str).collect())
            }
            _ => Self::Matching(expected.iter().map(AccountPattern::borrowed).collect()),
        }
    }

    pub(crate) fn expected_peer(&self) -> ExpectedPeer<'_> {
        match self {
            Self::Any => ExpectedPeer::Any,
            Self::Accounts(accounts) => ExpectedPeer::Accounts(accounts),
            Self::Matching(patterns) => ExpectedPeer::Matching(patterns),
        }
    }
}

/// Borrowed texts, in room for as many as the configuration may have: it was checked when it was built.
pub(crate) fn listed<'r, 't, const N: usize>(
    texts: &'t [String],
    room: &'r mut [&'t str; N],
) -> &'r [&'t str] {
    let mut count = 0usize;
    for (text, place) in texts.iter().zip(room.iter_mut()) {
        *place = text;
        count = count.saturating_add(1);
    }
    room.get(..count).unwrap_or_default()
}

/// Why the core refuses a configuration.
fn sendable(started: Result<(), handshake::HandshakeError>) -> Result<(), ConfigError> {
    match started.map_err(|error| error.kind()) {
        Err(HandshakeErrorKind::Config(error)) => Err(ConfigError::Unsendable(error)),
        _ => Ok(()),
    }
}

/// Builds a [`ClientConfig`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientConfigBuilder {
    config: ClientConfig,
}

/// Builds a [`ServerConfig`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ServerConfigBuilder {
    config: ServerConfig,
}

/// What both builders, and both configurations, have.
macro_rules! common {
    ($config:ident, $builder:ident, $deadline:literal, $peer:literal) => {
        impl $config {
            #[doc = concat!("The service accounts that the ", $peer, " may have; empty when it may have any, or a rule says which.")]
            #[must_use]
            pub fn expected_service_accounts(&self) -> &[AccountPattern<String>] {
                &self.common.expected
            }

            /// Whom it expects.
            pub(crate) fn expected_peers(&self) -> ExpectedPeers<'_> {
                let Common { expected, rule, .. } = &self.common;
                ExpectedPeers { accounts: expected, rule: rule.as_ref() }
            }

            /// The application protocols that are offered.
            #[must_use]
            pub fn application_protocols(&self) -> &[String] {
                &self.common.application_protocols
            }

            /// How long a handshake may take.
            #[must_use]
            pub fn deadline(&self) -> Duration {
                self.common.deadline
            }

            /// How many handshakes may ask the handshaker service at once.
            #[must_use]
            pub fn max_concurrent_handshakes(&self) -> usize {
                self.common.concurrent_handshakes
            }

            /// How the streams treat what they write.
            #[must_use]
            pub fn stream_options(&self) -> StreamOptions {
                self.common.stream_options
            }
        }

        impl $builder {
            #[doc = concat!("A service account that the ", $peer, " may have. After several calls it may have any of them.")]
            ///
            /// This side itself compares accounts, byte by byte, whatever the handshaker service says.
            pub fn expect_peer(mut self, service_account: impl Into<String>) -> Self {
                self.config.common.expected.push(AccountPattern::exact(service_account.into()));
                self
            }

            #[doc = concat!("Service accounts that the ", $peer, " may have, besides those already given: by a pattern such as")]
            /// `web@*.prod.example`, in the grammar of [`alts_core::account`].
            pub fn expect_peer_matching(mut self, pattern: AccountPattern<String>) -> Self {
                self.config.common.expected.push(pattern);
                self
            }

            #[doc = concat!("The service accounts that the ", $peer, " may have, besides those already given.")]
            pub fn expected_service_accounts<S: Into<String>>(
                mut self,
                service_accounts: impl IntoIterator<Item = S>,
            ) -> Self {
                let exact = service_accounts.into_iter().map(Into::into).map(AccountPattern::exact);
                self.config.common.expected.extend(exact);
                self
            }

            #[doc = concat!("A rule for which ", $peer, "s are admitted, besides those whose accounts are given. It replaces the one before.")]
            ///
            /// It is asked once for each connection, about what the handshake has proved, and has to answer at once.
            /// What it refuses is an error of the handshake, as with an unexpected account.
            pub fn expect_peer_by(
                mut self,
                rule: impl Fn(&AltsContext) -> bool + Send + Sync + 'static,
            ) -> Self {
                self.config.common.rule = Some(PeerRule(Arc::new(rule)));
                self
            }

            #[doc = concat!("Admits any ", $peer, " that the handshaker service vouches for. The caller has to check which ", $peer, " it is.")]
            pub const fn any_peer(mut self) -> Self {
                self.config.common.any_peer = true;
                self
            }

            /// The application protocols to offer, the preferred one first: only `grpc` by default.
            pub fn application_protocols<S: Into<String>>(
                mut self,
                protocols: impl IntoIterator<Item = S>,
            ) -> Self {
                let protocols = protocols.into_iter().map(Into::into).collect();
                self.config.common.application_protocols = protocols;
                self
            }

            /// The record protocols to offer, the preferred one first: only
            /// `ALTSRP_GCM_AES128_REKEY` by default. Integrity without privacy has to be listed.
            pub fn record_protocols(
                mut self,
                protocols: impl IntoIterator<Item = RecordProtocol>,
            ) -> Self {
                self.config.common.record_protocols = protocols.into_iter().collect();
                self
            }

            /// The largest frame to read or write: 128 KiB by default. The smaller of
            /// the two sides' sizes is used, and never less than 16 KiB.
            pub const fn max_frame_size(mut self, size: FrameSize) -> Self {
                self.config.common.frame_size = size;
                self
            }

            #[doc = concat!("How long a handshake may take: ", $deadline, " seconds by default.")]
            pub const fn deadline(mut self, deadline: Duration) -> Self {
                self.config.common.deadline = deadline;
                self
            }

            /// How many handshakes may ask the handshaker service at once: 100 by default. Others
            /// wait for their turn, within their deadline. Clones of a connector or acceptor share their
            /// turns; a connector and an acceptor never do.
            ///
            /// A client has no more handshakes under way than that. A server has four times as many:
            /// one that waits for its client does not ask the service. When there are that many, the next
            /// one is given the place of the one that has waited longest for its client, if that is
            /// more than 300 ms, in the middle of a message or between two. That one fails
            /// ([`ErrorKind::MadeRoom`](crate::ErrorKind::MadeRoom)). Up to that number, clients that
            /// begin and do not go on do not delay others; beyond it they delay others by 300 ms for
            /// every such number of them, and by the time that the service takes to answer them.
            pub const fn max_concurrent_handshakes(mut self, count: usize) -> Self {
                self.config.common.concurrent_handshakes = count;
                self
            }

            /// How the streams treat what they write.
            pub const fn stream_options(mut self, options: StreamOptions) -> Self {
                self.config.common.stream_options = options;
                self
            }
        }
    };
}

common!(ClientConfig, ClientConfigBuilder, "20", "server");
common!(ServerConfig, ServerConfigBuilder, "30", "client");

impl ClientConfigBuilder {
    /// The name under which the server is looked for, `host:port` in gRPC. Connectors that know
    /// it set it for each connection.
    pub fn target_name(mut self, target_name: impl Into<String>) -> Self {
        self.config.target_name = target_name.into();
        self
    }

    /// The service account that this side wants to use; without it, the service chooses.
    pub fn local_identity(mut self, service_account: impl Into<String>) -> Self {
        self.config.local_identity = Some(service_account.into());
        self
    }

    /// A token that is bound to the ALTS credentials.
    pub fn access_token(mut self, token: impl Into<String>) -> Self {
        self.config.token = Token(Zeroizing::new(token.into()));
        self
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`ConfigError`], above all when it was not said whom to expect.
    pub fn build(self) -> Result<ClientConfig, ConfigError> {
        self.config.check()?;
        Ok(self.config)
    }
}

impl ServerConfigBuilder {
    /// A service account that this side may use. After several calls it may use any of them;
    /// without a call, the service chooses.
    pub fn local_identity(mut self, service_account: impl Into<String>) -> Self {
        self.config.local_identities.push(service_account.into());
        self
    }

    /// A token that is bound to the ALTS credentials.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.token = Some(Token(Zeroizing::new(token.into())));
        self
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`ConfigError`], above all when it was not said which clients are served.
    pub fn build(self) -> Result<ServerConfig, ConfigError> {
        self.config.check()?;
        Ok(self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_to_expect_is_an_explicit_choice() {
        let builder = ClientConfig::builder;
        assert_eq!(builder().build().err(), Some(ConfigError::NoExpectedPeer));
        let none: [&str; 0] = [];
        let empty = builder().expected_service_accounts(none).build();
        assert_eq!(empty.err(), Some(ConfigError::NoExpectedPeer));
        let both = builder().expect_peer("a@b").any_peer().build();
        assert_eq!(both.err(), Some(ConfigError::AnyPeerAndSome));
        assert!(builder().any_peer().build().unwrap().expected_service_accounts().is_empty());
        let two = builder().expect_peer("a@b").expected_service_accounts(["c@d"]).build().unwrap();
        let names = two.expected_service_accounts().iter().map(AccountPattern::as_str);
        assert!(names.eq(["a@b", "c@d"]));
        let nameless = builder().expect_peer("").build();
        let field = "expected_service_accounts";
        let error = ConfigError::Unsendable(HandshakeConfigError::Empty { field });
        assert_eq!(nameless.err(), Some(error));
    }

    #[test]
    fn which_clients_are_served_is_an_explicit_choice() {
        let builder = ServerConfig::builder;
        assert_eq!(builder().build().err(), Some(ConfigError::NoExpectedPeer));
        let none: [&str; 0] = [];
        let empty = builder().expected_service_accounts(none).build();
        assert_eq!(empty.err(), Some(ConfigError::NoExpectedPeer));
        let both = builder().expect_peer("a@b").any_peer().build();
        assert_eq!(both.err(), Some(ConfigError::AnyPeerAndSome));
        assert!(builder().expect_peer("").build().is_err());
        assert!(builder().any_peer().build().unwrap().expected_service_accounts().is_empty());
        // More than one handshake could tell a service about: this side compares.
        let many = builder().expected_service_accounts((0..1000).map(|n| format!("{n}@b"))).build();
        assert_eq!(many.unwrap().expected_service_accounts().len(), 1000);
    }

    #[test]
    fn what_can_never_work_is_refused() {
        let client = || ClientConfig::builder().any_peer();
        assert_eq!(
            client().max_concurrent_handshakes(0).build().err(),
            Some(ConfigError::NoHandshakes)
        );
        assert!(client().record_protocols([]).build().is_err());
        let server = || ServerConfig::builder().any_peer();
        assert!(server().application_protocols([""; 0]).build().is_err());
        let many = (0..9).fold(server(), |builder, n| builder.local_identity(format!("{n}@x")));
        assert!(many.build().is_err());
    }

    #[test]
    fn defaults_are_those_of_grpc() {
        let client = ClientConfig::builder().any_peer().build().unwrap();
        assert_eq!(client.application_protocols(), ["grpc"]);
        assert_eq!(client.deadline(), Duration::from_secs(20));
        assert_eq!(client.max_concurrent_handshakes(), 100);
        let server = ServerConfig::builder().any_peer().build().unwrap();
        assert_eq!(server.deadline(), Duration::from_secs(30));
        assert_eq!(server.max_concurrent_handshakes(), 100);
        let core = client.core("t:1", ExpectedPeer::Any, &["grpc"]);
        assert_eq!(core.offer.record_protocols, [RecordProtocol::AesGcm128Rekey]);
        assert_eq!(core.target_name, "t:1");
    }

    #[test]
    fn a_token_is_never_printed() {
        let secret = "ya29.do-not-print";
        let client = ClientConfig::builder().any_peer().access_token(secret);
        let server = ServerConfig::builder().token(secret);
        let text = format!("{client:?} {server:?} {:?}", client.clone().build().unwrap());
        assert!(!text.contains("do-not-print"), "{text}");
        assert!(text.contains("[redacted]"));
        let config = client.build().unwrap();
        assert_eq!(config.core("", ExpectedPeer::Any, &["grpc"]).access_token.expose(), secret);
    }
}
