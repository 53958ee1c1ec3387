//! The messages of `transport_security_common.proto`: versions and transport protocols.

use super::{List, capacity};
use crate::wire::message;

message! {
    /// A version of the RPC protocol: `RpcProtocolVersions.Version` in the `.proto` file. Versions
    /// are ordered by their major number, then by their minor one.
    #[derive(Copy, PartialOrd, Ord, Hash)]
    pub struct RpcVersion {
        /// Counts what breaks compatibility.
        1 => major: u32,
        /// Counts what does not.
        2 => minor: u32,
    }

    /// The range of RPC protocol versions that one side can speak.
    #[derive(Copy, Hash)]
    pub struct RpcProtocolVersions {
        /// The newest of them.
        1 => max_rpc_version: Option<RpcVersion>,
        /// The oldest of them.
        2 => min_rpc_version: Option<RpcVersion>,
    }

    /// Transport protocols: those that a client wishes for, best first, or all that a server has.
    pub struct TransportProtocolPreferences<'a> {
        /// Their names.
        1 => transport_protocol: List<&'a str, { capacity::PROTOCOLS }>,
    }

    /// The transport protocol that both sides have agreed upon.
    pub struct NegotiatedTransportProtocol<'a> {
        /// Its name.
        1 => transport_protocol: &'a str,
    }
}

impl RpcVersion {
    /// The version `major.minor`.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

impl RpcProtocolVersions {
    /// All versions from `min` to `max`, both included.
    #[must_use]
    pub const fn new(min: RpcVersion, max: RpcVersion) -> Self {
        Self { max_rpc_version: Some(max), min_rpc_version: Some(min) }
    }

    /// The newest version that both sides can speak, or `None` if there is no such version. A limit
    /// that a side did not give counts as 0.0, as it does with other implementations.
    #[must_use]
    pub fn newest_common(&self, peer: &Self) -> Option<RpcVersion> {
        let max = self.max_rpc_version.unwrap_or_default();
        let min = self.min_rpc_version.unwrap_or_default();
        let newest = max.min(peer.max_rpc_version.unwrap_or_default());
        let oldest = min.max(peer.min_rpc_version.unwrap_or_default());
        (newest >= oldest).then_some(newest)
    }
}
