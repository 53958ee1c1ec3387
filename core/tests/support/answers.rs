//! What a handshaker service answers, when all is well.

use alts_core::msg::{
    HandshakerResp, HandshakerResult, HandshakerStatus, Identity, RpcProtocolVersions, RpcVersion,
};
use alts_core::wire::{Message, Secret};

/// The key data of [`result`].
pub(crate) const KEY: [u8; 44] = [0x5a; 44];

pub(crate) fn ok() -> Option<HandshakerStatus<'static>> {
    Some(HandshakerStatus { code: 0, details: "" })
}

/// A result that both sides take.
pub(crate) fn result() -> HandshakerResult<'static> {
    let versions = RpcProtocolVersions::new(RpcVersion::new(2, 1), RpcVersion::new(2, 1));
    HandshakerResult {
        application_protocol: "grpc",
        record_protocol: "ALTSRP_GCM_AES128_REKEY",
        key_data: Secret::new(&KEY),
        peer_identity: Some(Identity::from_service_account("peer@example.com")),
        local_identity: Some(Identity::from_service_account("local@example.com")),
        peer_rpc_versions: Some(versions),
        ..HandshakerResult::default()
    }
}

/// A response, serialized.
pub(crate) fn bytes(response: &HandshakerResp<'_>) -> Vec<u8> {
    let mut bytes = vec![0; response.encoded_len()];
    response.encode(&mut bytes).unwrap();
    bytes
}

/// A response with bytes for the peer, serialized.
pub(crate) fn out_frames(out_frames: &[u8]) -> Vec<u8> {
    bytes(&HandshakerResp { out_frames, status: ok(), ..HandshakerResp::default() })
}
