//! What both programs need: values that a caller can look at from outside, and messages.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a proof that fails may panic")]

use std::time::Duration;

use alts_core::ClientHandshake;
use alts_core::handshake::{ClientConfig, Want};
use alts_core::msg::{
    HandshakerResp, HandshakerResult, HandshakerStatus, Identity, RpcProtocolVersions, RpcVersion,
};
use alts_core::wire::{Message, Secret};

/// A clock that stands still.
pub const NOW: Duration = Duration::ZERO;

/// A service's last message, with `key_data` in it, and where that stands.
#[must_use]
pub fn result_message(key_data: &[u8]) -> (Vec<u8>, usize) {
    let version = RpcVersion::new(2, 1);
    let result = HandshakerResult {
        application_protocol: "grpc",
        record_protocol: "ALTSRP_GCM_AES128_REKEY",
        key_data: Secret::new(key_data),
        peer_identity: Some(Identity::from_service_account(scenario::SERVER)),
        local_identity: Some(Identity::from_service_account(scenario::CLIENT)),
        peer_rpc_versions: Some(RpcProtocolVersions::new(version, version)),
        ..HandshakerResult::default()
    };
    let status = Some(HandshakerStatus { code: 0, details: "" });
    let response =
        HandshakerResp { out_frames: b"finished", bytes_consumed: 7, result: Some(result), status };
    let mut message = vec![0; response.encoded_len()];
    response.encode(&mut message).unwrap();
    let at = message.windows(key_data.len()).position(|window| window == key_data).unwrap();
    (message, at)
}

/// A client's handshake that waits for the service's last message.
#[must_use]
pub fn client_before_result<'c>(config: &'c ClientConfig<'c>) -> ClientHandshake<'c> {
    let mut client = ClientHandshake::client(config, NOW).unwrap();
    let (mut request, mut response) = ([0; 512], [0; 512]);
    let asked = client.request(&[], &mut request, NOW).unwrap();
    let answered =
        scenario::service(request.get(..asked).unwrap(), &mut response, &[7; 44]).unwrap();
    let _ = client.response(response.get_mut(..answered).unwrap(), NOW).unwrap();
    client.sent(NOW);
    assert_eq!(client.want(NOW), Ok(Want::PeerBytes));
    client.request(b"welcome", &mut request, NOW).unwrap();
    client
}
