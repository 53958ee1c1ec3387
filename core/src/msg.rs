//! The messages of the handshaker service, as views over the bytes that they came in.
//!
//! They are those of `grpc/gcp/handshaker.proto` and `grpc/gcp/transport_security_common.proto` as
//! of April 2025, with the names that they have there; that of `altscontext.proto` is the owned
//! [`AltsContext`](crate::context::AltsContext). Every message can be read and written, since the
//! service needs the other direction:
//!
//! ```
//! use alts_core::msg::{HandshakerReq, NextHandshakeMessageReq, Request};
//! use alts_core::wire::Message;
//!
//! let next = NextHandshakeMessageReq { in_bytes: b"from the peer", network_latency_ms: 3 };
//! let request = HandshakerReq { request: Some(Request::Next(next)) };
//! let mut buffer = [0; 64];
//! let len = request.encode(&mut buffer)?;
//! # let sent = buffer.get(..len).unwrap_or_default();
//! assert_eq!(HandshakerReq::decode(sent)?, request);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! The messages grow with the `.proto` files: make one with `..Default::default()`, which needs no
//! change when a field is added.
//!
//! # Memory
//!
//! Text and bytes of any length are borrowed, so only lists and maps have a limit, which is set in
//! [`capacity`]: it is what a message takes on the stack, and what a peer can make of it. The
//! largest message, [`HandshakerReq`], takes about 11 KiB on a 64-bit machine and half of that on a
//! 32-bit one.

mod common;
mod handshaker;

pub use common::{
    NegotiatedTransportProtocol, RpcProtocolVersions, RpcVersion, TransportProtocolPreferences,
};
pub use handshaker::{
    Endpoint, HandshakeProtocol, HandshakerReq, HandshakerResp, HandshakerResult, HandshakerStatus,
    Identity, IdentityKind, NetworkProtocol, NextHandshakeMessageReq, Request,
    ServerHandshakeParameters, StartClientHandshakeReq, StartServerHandshakeReq,
};

/// The level of protection of a channel, which `transport_security_common.proto` declares.
pub use crate::key::SecurityLevel;
pub use crate::wire::{Full, List, Map};

/// How many elements the lists and maps of the messages hold at most. A message with more is
/// refused.
pub mod capacity {
    /// Application protocols, record protocols and transport protocols: of each.
    pub const PROTOCOLS: usize = 16;

    /// Identities that a client accepts of its server.
    pub const TARGET_IDENTITIES: usize = 32;

    /// Identities that a server has.
    pub const LOCAL_IDENTITIES: usize = 8;

    /// Handshake protocols that a server has parameters for.
    pub const HANDSHAKE_PROTOCOLS: usize = 4;

    /// Attributes of one identity.
    pub const ATTRIBUTES: usize = 8;
}
