//! What a caller asks of a handshake.

use core::fmt;
use core::time::Duration;

use crate::account::AccountPattern;
use crate::error::debug_is_the_sentence;
use crate::frame::FrameSize;
use crate::handshake::defaults;
use crate::key::RecordProtocol;
use crate::msg::{Endpoint, RpcProtocolVersions, capacity};
use crate::wire::SecretText;

/// Methods that set one field each.
macro_rules! setters {
    ($($(#[$meta:meta])* $name:ident: $field:ident, $ty:ty;)*) => {$(
        $(#[$meta])*
        #[must_use]
        pub const fn $name(mut self, $field: $ty) -> Self {
            self.$field = $field;
            self
        }
    )*};
}

/// What both sides offer in a handshake: the choice of the service has to be among it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offer<'c> {
    /// Application protocols, the preferred one first.
    pub application_protocols: &'c [&'c str],
    /// Record protocols, the preferred one first.
    pub record_protocols: &'c [RecordProtocol],
    /// Transport protocols.
    pub transport_protocols: &'c [&'c str],
    /// RPC protocol versions.
    pub rpc_versions: RpcProtocolVersions,
    /// The largest frame that this side wants to read or write.
    pub max_frame_size: FrameSize,
    /// This side's end of the connection, for the service's information.
    pub local_endpoint: Option<Endpoint<'c>>,
    /// The other end of the connection.
    pub remote_endpoint: Option<Endpoint<'c>>,
}

impl<'c> Offer<'c> {
    /// What [`defaults`] has: gRPC over the record protocol that every peer offers.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            application_protocols: defaults::APPLICATION_PROTOCOLS,
            record_protocols: defaults::RECORD_PROTOCOLS,
            transport_protocols: &[],
            rpc_versions: defaults::RPC_VERSIONS,
            max_frame_size: FrameSize::DEFAULT,
            local_endpoint: None,
            remote_endpoint: None,
        }
    }

    setters! {
        /// Offers these application protocols, the preferred one first.
        with_application_protocols: application_protocols, &'c [&'c str];
        /// Offers these record protocols, the preferred one first. Integrity without privacy is
        /// never offered unless it is in this list.
        with_record_protocols: record_protocols, &'c [RecordProtocol];
        /// Offers these transport protocols, instead of none.
        with_transport_protocols: transport_protocols, &'c [&'c str];
        /// Offers these RPC protocol versions.
        with_rpc_versions: rpc_versions, RpcProtocolVersions;
        /// Reads and writes no frame larger than this. The smaller one of the two sides is used.
        with_max_frame_size: max_frame_size, FrameSize;
        /// Gives the service this side's end of the connection.
        with_local_endpoint: local_endpoint, Option<Endpoint<'c>>;
        /// Gives the service the other end of the connection.
        with_remote_endpoint: remote_endpoint, Option<Endpoint<'c>>;
    }

    fn check(&self) -> Result<(), HandshakeConfigError> {
        let protocols = [
            ("application_protocols", self.application_protocols.len()),
            ("record_protocols", self.record_protocols.len()),
        ];
        for (field, count) in protocols {
            if count == 0 {
                return Err(HandshakeConfigError::Empty { field });
            }
            at_most(field, count, capacity::PROTOCOLS)?;
        }
        at_most("transport_protocols", self.transport_protocols.len(), capacity::PROTOCOLS)
    }
}

impl Default for Offer<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// Which servers a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpectedPeer<'c> {
    /// Any server that the handshaker service vouches for. The caller has to check which
    /// server it is, in the [`AltsContext`](crate::AltsContext).
    Any,
    /// A server with one of these service accounts, compared byte by byte. An empty list is refused.
    Accounts(&'c [&'c str]),
    /// A server whose service account one of these patterns matches. An empty list is refused. The
    /// handshaker service is not told: it has no words for patterns.
    Matching(&'c [AccountPattern<&'c str>]),
}

impl<'c> ExpectedPeer<'c> {
    /// The accounts that are passed to the service; an empty list stands for any, or for patterns.
    pub(super) const fn accounts(self) -> &'c [&'c str] {
        match self {
            Self::Any | Self::Matching(_) => &[],
            Self::Accounts(accounts) => accounts,
        }
    }

    pub(super) fn admits(self, account: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Accounts(accounts) => accounts.contains(&account),
            Self::Matching(patterns) => patterns.iter().any(|pattern| pattern.matches(account)),
        }
    }

    fn check(self) -> Result<(), HandshakeConfigError> {
        let field = "expected_service_accounts";
        match self {
            Self::Matching([]) => Err(HandshakeConfigError::Empty { field }),
            Self::Any | Self::Matching(_) => Ok(()),
            Self::Accounts(accounts) if accounts.is_empty() || accounts.contains(&"") => {
                Err(HandshakeConfigError::Empty { field })
            }
            Self::Accounts(accounts) => at_most(field, accounts.len(), capacity::TARGET_IDENTITIES),
        }
    }
}

/// What a client asks of a handshake.
///
/// ```
/// use alts_core::handshake::{ClientConfig, ExpectedPeer};
///
/// let config = ClientConfig::new(ExpectedPeer::Accounts(&["greeter@prod.example"]))
///     .with_target_name("greeter.prod.example:443");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientConfig<'c> {
    /// Which servers are accepted.
    pub expected_peer: ExpectedPeer<'c>,
    /// What is offered to the server.
    pub offer: Offer<'c>,
    /// The name under which the server was looked for: `host:port` of a gRPC channel. May be
    /// empty.
    pub target_name: &'c str,
    /// The service account that this side wants to use; without it, the service chooses.
    pub local_identity: Option<&'c str>,
    /// A token for the server that is bound to the ALTS credentials; may be empty.
    pub access_token: SecretText<'c>,
    /// How long the whole handshake may take.
    pub timeout: Duration,
}

impl<'c> ClientConfig<'c> {
    /// A client that accepts these servers, with the [`defaults`] for everything else.
    #[must_use]
    pub const fn new(expected_peer: ExpectedPeer<'c>) -> Self {
        Self {
            expected_peer,
            offer: Offer::new(),
            target_name: "",
            local_identity: None,
            access_token: SecretText::new(""),
            timeout: defaults::CLIENT_TIMEOUT,
        }
    }

    setters! {
        /// Makes this offer to the server.
        with_offer: offer, Offer<'c>;
        /// Says under which name the server was looked for: `host:port` of a gRPC channel.
        with_target_name: target_name, &'c str;
        /// Asks for this service account for this side; with `None`, the service chooses.
        with_local_identity: local_identity, Option<&'c str>;
        /// Gives the server a token that is bound to the ALTS credentials.
        with_access_token: access_token, SecretText<'c>;
        /// Limits how long the whole handshake may take.
        with_timeout: timeout, Duration;
    }

    pub(super) fn check(&self) -> Result<(), HandshakeConfigError> {
        self.expected_peer.check()?;
        self.offer.check()
    }
}

/// What a server asks of a handshake.
///
/// Which clients it serves is not decided here: the application has the
/// [`AltsContext`](crate::AltsContext), and [`authorize`](crate::AltsContext::authorize).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerConfig<'c> {
    /// What is offered to the client.
    pub offer: Offer<'c>,
    /// The service accounts that this side may use; without any, the service chooses.
    pub local_identities: &'c [&'c str],
    /// A token for the client that is bound to the ALTS credentials.
    pub token: Option<SecretText<'c>>,
    /// How long the whole handshake may take.
    pub timeout: Duration,
}

impl<'c> ServerConfig<'c> {
    /// A server with the [`defaults`] for everything.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            offer: Offer::new(),
            local_identities: &[],
            token: None,
            timeout: defaults::SERVER_TIMEOUT,
        }
    }

    setters! {
        /// Makes this offer to the client.
        with_offer: offer, Offer<'c>;
        /// Asks for one of these service accounts for this side; without any, the service chooses.
        with_local_identities: local_identities, &'c [&'c str];
        /// Gives the client a token that is bound to the ALTS credentials.
        with_token: token, Option<SecretText<'c>>;
        /// Limits how long the whole handshake may take.
        with_timeout: timeout, Duration;
    }

    pub(super) fn check(&self) -> Result<(), HandshakeConfigError> {
        at_most("local_identities", self.local_identities.len(), capacity::LOCAL_IDENTITIES)?;
        self.offer.check()
    }
}

impl Default for ServerConfig<'_> {
    fn default() -> Self {
        Self::new()
    }
}

fn at_most(field: &'static str, count: usize, capacity: usize) -> Result<(), HandshakeConfigError> {
    if count > capacity { Err(HandshakeConfigError::TooMany { field, capacity }) } else { Ok(()) }
}

/// A configuration that cannot be sent to a handshaker service.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeConfigError {
    /// The list is empty, or holds an empty name.
    Empty {
        /// Which list.
        field: &'static str,
    },
    /// The list is longer than a message can hold.
    TooMany {
        /// Which list.
        field: &'static str,
        /// How many there may be.
        capacity: usize,
    },
}

impl fmt::Display for HandshakeConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { field } => write!(f, "{field} is empty, or holds an empty name"),
            Self::TooMany { field, capacity } => write!(f, "{field} has more than {capacity}"),
        }
    }
}

impl core::error::Error for HandshakeConfigError {}

debug_is_the_sentence!(HandshakeConfigError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_what_is_new() {
        assert_eq!(Offer::default().check(), Ok(()));
        assert_eq!(Offer::default().application_protocols, Offer::new().application_protocols);
        assert_eq!(ServerConfig::default().check(), Ok(()));
        assert_eq!(ServerConfig::default().offer.max_frame_size, Offer::new().max_frame_size);
    }
}
