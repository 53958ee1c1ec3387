//! What the core does without a heap: counted, one test for each path.
#![allow(unsafe_code, reason = "a counting allocator cannot be written without it")]
#![cfg(feature = "handshake")]

#[path = "support/heap.rs"]
mod heap;

use alts_core::context::AltsContext;
use alts_core::key::RecordProtocol;
use alts_core::msg::{
    HandshakeProtocol, HandshakerReq, HandshakerResp, HandshakerResult, HandshakerStatus, Identity,
    Map, Request, RpcProtocolVersions, RpcVersion, ServerHandshakeParameters,
    StartClientHandshakeReq, StartServerHandshakeReq,
};
use alts_core::wire::{Message as _, Secret, SecretText};
use heap::{counted, without_heap};

#[test]
fn the_counter_counts() {
    assert_eq!(counted(|| Box::new(1)).1, 1);
    assert_eq!(counted(|| 1).1, 0);
}

/// Writes the message, reads it back, and reads what is left of it when it is cut short at each
/// length and when each of its bytes is spoilt; expects some refusals of both kinds.
macro_rules! exercise {
    ($message:ident: $ty:ident) => {{
        let mut space = [0; 1024];
        let len = without_heap(|| $message.encode(&mut space)).unwrap();
        assert_eq!(without_heap(|| $message.encode(&mut [0; 1])).unwrap_err().required(), len);
        let bytes = &space[..len];
        assert!(without_heap(|| $ty::decode(bytes)).unwrap() == $message);

        let cut = (0..len).filter(|&end| without_heap(|| $ty::decode(&bytes[..end])).is_err());
        assert!(cut.count() > len / 2);
        let spoilt = (0..len).filter(|&at| {
            let mut bytes = space;
            bytes[at] ^= 0xff;
            without_heap(|| $ty::decode(&bytes[..len])).is_err()
        });
        assert!(spoilt.count() > len / 2);
    }};
}

fn list<const N: usize>(names: &[&'static str]) -> alts_core::msg::List<&'static str, N> {
    names.iter().copied().collect()
}

fn identity() -> Identity<'static> {
    Identity {
        attributes: [("zone", "a"), ("", "")].into_iter().collect(),
        ..Identity::from_service_account("account@example.com")
    }
}

fn versions() -> RpcProtocolVersions {
    RpcProtocolVersions::new(RpcVersion::new(2, 1), RpcVersion::new(3, 300))
}

#[test]
fn requests() {
    let start = StartClientHandshakeReq {
        handshake_security_protocol: HandshakeProtocol::ALTS,
        application_protocols: list(&["grpc", "h2"]),
        record_protocols: list(&["ALTSRP_GCM_AES128_REKEY"]),
        target_identities: [identity(), identity()].into_iter().collect(),
        local_identity: Some(identity()),
        target_name: "host:443",
        rpc_versions: Some(versions()),
        max_frame_size: 1 << 20,
        access_token: SecretText::new("token"),
        ..StartClientHandshakeReq::default()
    };
    let client = HandshakerReq { request: Some(Request::ClientStart(start)) };
    exercise!(client: HandshakerReq);

    let parameters = ServerHandshakeParameters {
        record_protocols: list(&["ALTSRP_GCM_AES128_REKEY"]),
        local_identities: [identity()].into_iter().collect(),
        token: Some(SecretText::new("")),
    };
    let mut handshake_parameters = Map::new();
    handshake_parameters.insert(HandshakeProtocol::ALTS, parameters).unwrap();
    let start = StartServerHandshakeReq {
        application_protocols: list(&["grpc"]),
        handshake_parameters,
        in_bytes: b"hello",
        ..StartServerHandshakeReq::default()
    };
    let server = HandshakerReq { request: Some(Request::ServerStart(start)) };
    exercise!(server: HandshakerReq);
}

#[test]
fn responses_and_contexts() {
    let result = HandshakerResult {
        application_protocol: "grpc",
        record_protocol: "ALTSRP_GCM_AES128_REKEY",
        key_data: Secret::new(&[7; 44]),
        peer_identity: Some(identity()),
        local_identity: Some(identity()),
        peer_rpc_versions: Some(versions()),
        ..HandshakerResult::default()
    };
    let response = HandshakerResp {
        out_frames: b"finished",
        bytes_consumed: 300,
        result: Some(result.clone()),
        status: Some(HandshakerStatus { code: 0, details: "" }),
    };
    exercise!(response: HandshakerResp);

    let from = || AltsContext::from_result(&result, RecordProtocol::AesGcm128Rekey);
    let context = without_heap(from).unwrap();
    exercise!(context: AltsContext);
    without_heap(|| context.authorize(&["account@example.com"])).unwrap();
    without_heap(|| context.authorize(&["other@example.com"])).unwrap_err();
}
