//! What both sides offer, and how long they wait, by default. The frame size is
//! [`FrameSize::DEFAULT`](crate::frame::FrameSize::DEFAULT).

use core::time::Duration;

use crate::key::RecordProtocol;
use crate::msg::{RpcProtocolVersions, RpcVersion};

/// Application protocols: gRPC.
pub const APPLICATION_PROTOCOLS: &[&str] = &["grpc"];
/// Record protocols: the one that every peer offers.
pub const RECORD_PROTOCOLS: &[RecordProtocol] = &[RecordProtocol::AesGcm128Rekey];
/// RPC protocol versions: the one that every current peer speaks.
pub const RPC_VERSIONS: RpcProtocolVersions =
    RpcProtocolVersions::new(RpcVersion::new(2, 1), RpcVersion::new(2, 1));
/// How long a client's handshake may take: 20 seconds.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a server's handshake may take: 30 seconds.
pub const SERVER_TIMEOUT: Duration = Duration::from_secs(30);
