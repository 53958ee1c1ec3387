//! What a caller asks of a handshake.

use core::fmt;
use core::time::Duration;

use crate::frame::FrameSize;
use crate::key::RecordProtocol;
use crate::msg::{Endpoint, RpcProtocolVersions, RpcVersion, capacity};
use crate::wire::SecretText;

/// The RPC protocol version that every current peer speaks.
const RPC_VERSION: RpcVersion = RpcVersion::new(2, 1);

/// What both sides offer in a handshake: the choice of the service has to be among it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer<'c> {
    /// Application protocols, the preferred one first. `grpc` unless said otherwise.
    pub application_protocols: &'c [&'c str],
    /// Record protocols, the preferred one first. `ALTSRP_GCM_AES128_REKEY` alone unless said
    /// otherwise: whoever wants integrity without privacy has to list it.
    pub record_protocols: &'c [RecordProtocol],
    /// Transport protocols; none unless said otherwise.
    pub transport_protocols: &'c [&'c str],
    /// RPC protocol versions. 2.1 unless said otherwise.
    pub rpc_versions: RpcProtocolVersions,
    /// The largest frame that this side wants to read or write.
    pub max_frame_size: FrameSize,
    /// This side's end of the connection, for the service's information.
    pub local_endpoint: Option<Endpoint<'c>>,
    /// The other end of the connection.
    pub remote_endpoint: Option<Endpoint<'c>>,
    /// How long the whole handshake may take.
    pub timeout: Duration,
}

impl Offer<'_> {
    /// gRPC over the record protocol that every peer offers, and so many seconds.
    const fn grpc(seconds: u64) -> Self {
        Self {
            application_protocols: &["grpc"],
            record_protocols: &[RecordProtocol::AesGcm128Rekey],
            transport_protocols: &[],
            rpc_versions: RpcProtocolVersions::new(RPC_VERSION, RPC_VERSION),
            max_frame_size: FrameSize::DEFAULT,
            local_endpoint: None,
            remote_endpoint: None,
            timeout: Duration::from_secs(seconds),
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let protocols = [
            ("application_protocols", self.application_protocols.len()),
            ("record_protocols", self.record_protocols.len()),
        ];
        for (field, count) in protocols {
            if count == 0 {
                return Err(ConfigError::Empty { field });
            }
            at_most(field, count, capacity::PROTOCOLS)?;
        }
        at_most("transport_protocols", self.transport_protocols.len(), capacity::PROTOCOLS)
    }
}

/// What a client asks of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig<'c> {
    /// What is offered to the server. 20 seconds unless said otherwise.
    pub offer: Offer<'c>,
    /// The service accounts that the server may have, compared byte by byte. Empty admits any
    /// server that the service vouches for.
    pub expected_service_accounts: &'c [&'c str],
    /// The name under which the server was looked for: `host:port` of a gRPC channel. May be
    /// empty.
    pub target_name: &'c str,
    /// The service account that this side wants to be; without it, the service chooses.
    pub local_identity: Option<&'c str>,
    /// A token for the server that is bound to the ALTS credentials; may be empty.
    pub access_token: SecretText<'c>,
}

impl ClientConfig<'_> {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let expected = self.expected_service_accounts;
        if expected.contains(&"") {
            return Err(ConfigError::Empty { field: "expected_service_accounts" });
        }
        at_most("expected_service_accounts", expected.len(), capacity::TARGET_IDENTITIES)?;
        self.offer.check()
    }
}

impl Default for ClientConfig<'_> {
    fn default() -> Self {
        Self {
            offer: Offer::grpc(20),
            expected_service_accounts: &[],
            target_name: "",
            local_identity: None,
            access_token: SecretText::default(),
        }
    }
}

/// What a server asks of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig<'c> {
    /// What is offered to the client. 30 seconds unless said otherwise.
    pub offer: Offer<'c>,
    /// The service accounts that this side may be; without any, the service chooses.
    pub local_identities: &'c [&'c str],
    /// A token for the client that is bound to the ALTS credentials.
    pub token: Option<SecretText<'c>>,
}

impl ServerConfig<'_> {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        at_most("local_identities", self.local_identities.len(), capacity::LOCAL_IDENTITIES)?;
        self.offer.check()
    }
}

impl Default for ServerConfig<'_> {
    fn default() -> Self {
        Self { offer: Offer::grpc(30), local_identities: &[], token: None }
    }
}

fn at_most(field: &'static str, count: usize, capacity: usize) -> Result<(), ConfigError> {
    if count > capacity { Err(ConfigError::TooMany { field, capacity }) } else { Ok(()) }
}

/// A configuration that cannot be sent to a handshaker service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigError {
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

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { field } => write!(f, "{field} is empty, or holds an empty name"),
            Self::TooMany { field, capacity } => write!(f, "{field} has more than {capacity}"),
        }
    }
}

impl core::error::Error for ConfigError {}
