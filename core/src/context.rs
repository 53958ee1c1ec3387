//! What both sides know of each other once the handshake is done, and who may do what.

use core::fmt;

use heapless::{LinearMap, String};

use crate::key::{RecordProtocol, SecurityLevel};
use crate::msg::{HandshakerResult, Identity, RpcProtocolVersions, capacity};
use crate::wire::{DecodeError, EncodeError, Message, Refusal};

/// The name of an application protocol, in bytes.
const APPLICATION_PROTOCOL: usize = 64;
/// A service account, in bytes.
const SERVICE_ACCOUNT: usize = 256;
/// The name of an attribute and its value, in bytes.
const ATTRIBUTE: (usize, usize) = (64, 256);

/// What the handshake has proved: the message of `altscontext.proto`, in memory of its own (about
/// 3.3 KiB).
///
/// There is nothing secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AltsContext {
    application_protocol: String<APPLICATION_PROTOCOL>,
    record_protocol: RecordProtocol,
    peer_service_account: String<SERVICE_ACCOUNT>,
    local_service_account: String<SERVICE_ACCOUNT>,
    peer_rpc_versions: Option<RpcProtocolVersions>,
    peer_attributes:
        LinearMap<String<{ ATTRIBUTE.0 }>, String<{ ATTRIBUTE.1 }>, { capacity::ATTRIBUTES }>,
}

impl AltsContext {
    /// The context that follows from the handshaker service's result. The record protocol is the
    /// one that the caller has recognised in it. Text that the result does not have, such as the
    /// account of an identity of another kind, is empty.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when a text is longer than its place: it names the context's field.
    pub fn from_result(
        result: &HandshakerResult<'_>,
        record_protocol: RecordProtocol,
    ) -> Result<Self, DecodeError> {
        let (peer, local) = (result.peer_identity.as_ref(), result.local_identity.as_ref());
        Self::from_view(&view::AltsContext {
            application_protocol: result.application_protocol,
            record_protocol: record_protocol.name(),
            security_level: record_protocol.security_level() as i32,
            peer_service_account: peer.and_then(Identity::service_account).unwrap_or_default(),
            local_service_account: local.and_then(Identity::service_account).unwrap_or_default(),
            peer_rpc_versions: result.peer_rpc_versions,
            peer_attributes: peer.map(|identity| identity.attributes.clone()).unwrap_or_default(),
        })
    }

    /// Reads a serialized `grpc.gcp.AltsContext`, such as other implementations hand to their
    /// applications.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when the bytes are no such message, when a text is longer than its place,
    /// when the record protocol is not one of [`RecordProtocol`], or when the security level is
    /// below what the record protocol gives. (A level above that is corrected: some
    /// implementations claim privacy whatever the record protocol.)
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::from_view(&view::AltsContext::decode(bytes)?)
    }

    /// How many bytes [`encode`](Self::encode) writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.view().encoded_len()
    }

    /// Writes the context as a `grpc.gcp.AltsContext` at the start of `out` and returns its length
    /// in bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when `out` is too short.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        self.view().encode(out)
    }

    /// The application protocol that both sides have agreed upon, such as `grpc`.
    #[must_use]
    pub fn application_protocol(&self) -> &str {
        &self.application_protocol
    }

    /// The record protocol that both sides have agreed upon.
    #[must_use]
    pub const fn record_protocol(&self) -> RecordProtocol {
        self.record_protocol
    }

    /// How the channel's bytes are protected: what the record protocol gives.
    #[must_use]
    pub fn security_level(&self) -> SecurityLevel {
        self.record_protocol.security_level()
    }

    /// The account that the peer has proved to be.
    #[must_use]
    pub fn peer_service_account(&self) -> &str {
        &self.peer_service_account
    }

    /// The account that this side has proved to be.
    #[must_use]
    pub fn local_service_account(&self) -> &str {
        &self.local_service_account
    }

    /// The RPC protocol versions that the peer speaks.
    #[must_use]
    pub fn peer_rpc_versions(&self) -> RpcProtocolVersions {
        self.peer_rpc_versions.unwrap_or_default()
    }

    /// Names and values of what else is known about the peer.
    pub fn peer_attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.peer_attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Checks that the peer is one of `accounts`, compared byte by byte. An empty list admits
    /// nobody, and a peer without an account is never admitted.
    ///
    /// # Errors
    ///
    /// [`Unauthorized`] if it is none of them.
    pub fn authorize<S: AsRef<str>>(&self, accounts: &[S]) -> Result<(), Unauthorized> {
        let peer = self.peer_service_account();
        let admitted = accounts.iter().any(|account| account.as_ref() == peer);
        if admitted && !peer.is_empty() { Ok(()) } else { Err(Unauthorized) }
    }

    fn from_view(view: &view::AltsContext<'_>) -> Result<Self, DecodeError> {
        let record_protocol = RecordProtocol::from_name(view.record_protocol)
            .ok_or(refuse("record_protocol", Refusal::Value))?;
        if view.security_level < record_protocol.security_level() as i32 {
            return Err(refuse("security_level", Refusal::Value));
        }
        let mut peer_attributes = LinearMap::new();
        for (name, value) in &view.peer_attributes {
            let (name, value) = (owned(name, "peer_attributes")?, owned(value, "peer_attributes")?);
            let full = Refusal::TooMany { capacity: capacity::ATTRIBUTES };
            peer_attributes.insert(name, value).map_err(|_| refuse("peer_attributes", full))?;
        }
        Ok(Self {
            application_protocol: owned(view.application_protocol, "application_protocol")?,
            record_protocol,
            peer_service_account: owned(view.peer_service_account, "peer_service_account")?,
            local_service_account: owned(view.local_service_account, "local_service_account")?,
            peer_rpc_versions: view.peer_rpc_versions,
            peer_attributes,
        })
    }

    fn view(&self) -> view::AltsContext<'_> {
        let mut peer_attributes = LinearMap::new();
        for (name, value) in self.peer_attributes() {
            // It holds as many as its source does.
            let _ = peer_attributes.insert(name, value);
        }
        view::AltsContext {
            application_protocol: &self.application_protocol,
            record_protocol: self.record_protocol.name(),
            security_level: self.security_level() as i32,
            peer_service_account: &self.peer_service_account,
            local_service_account: &self.local_service_account,
            peer_rpc_versions: self.peer_rpc_versions,
            peer_attributes,
        }
    }
}

fn owned<const N: usize>(text: &str, field: &'static str) -> Result<String<N>, DecodeError> {
    String::try_from(text).map_err(|_| refuse(field, Refusal::TooLong { capacity: N }))
}

fn refuse(field: &'static str, refusal: Refusal) -> DecodeError {
    DecodeError::new(<view::AltsContext<'_> as Message>::NAME, Some(field), refusal)
}

/// The peer is none of the accounts that were expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unauthorized;

impl fmt::Display for Unauthorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer's service account is not among those that are admitted")
    }
}

impl core::error::Error for Unauthorized {}

/// The context on the wire.
mod view {
    use crate::msg::{Map, RpcProtocolVersions, capacity};
    use crate::wire::message;

    message! {
        /// The message of `altscontext.proto`.
        pub(super) struct AltsContext<'a> {
            1 => application_protocol: &'a str,
            2 => record_protocol: &'a str,
            3 => security_level: i32,
            4 => peer_service_account: &'a str,
            5 => local_service_account: &'a str,
            6 => peer_rpc_versions: Option<RpcProtocolVersions>,
            7 => peer_attributes: Map<&'a str, &'a str, { capacity::ATTRIBUTES }>,
        }
    }
}
