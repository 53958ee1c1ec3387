//! What the core does without a heap: counted, one test for each path.
#![allow(unsafe_code, reason = "a counting allocator cannot be written without it")]
#![allow(clippy::unwrap_used, reason = "a test that meets one fails, as it should")]
#![cfg(feature = "handshake")]

#[path = "support/heap.rs"]
mod heap;

use std::time::Duration;

use alts_core::aead::RustCrypto;
use alts_core::context::AltsContext;
use alts_core::handshake::{ClientConfig, ExpectedPeer, ServerConfig};
use alts_core::key::RecordProtocol;
use alts_core::msg::{
    HandshakeProtocol, HandshakerReq, HandshakerResp, HandshakerResult, HandshakerStatus, Identity,
    Map, Request, RpcProtocolVersions, RpcVersion, ServerHandshakeParameters,
    StartClientHandshakeReq, StartServerHandshakeReq,
};
use alts_core::wire::{Message as _, Secret, SecretText};
use alts_core::{ClientHandshake, ServerHandshake, Session};
use heap::{counted, without_heap};

const NOW: Duration = Duration::ZERO;

#[test]
fn the_counter_counts() {
    assert_eq!(counted(|| Box::new(1)).1, 1);
    assert_eq!(counted(|| 1).1, 0);
}

/// Writes the message, reads it back, and reads what is left of it when it is cut short at each
/// length and when each of its bytes is damaged; expects some refusals of both kinds.
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
    alts_core::msg::List::try_from_iter(names.iter().copied()).unwrap()
}

fn identity() -> Identity<'static> {
    Identity {
        attributes: [("zone", "a"), ("", "")].into(),
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
        target_identities: [identity(), identity()].into(),
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
        local_identities: [identity()].into(),
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

/// A session of both sides: handshakes that succeed and fail, and frames in all four ways.
#[test]
fn handshakes_and_records() {
    let result = || HandshakerResult {
        application_protocol: "grpc",
        record_protocol: "ALTSRP_GCM_AES128_REKEY",
        key_data: Secret::new(&[7; 44]),
        peer_identity: Some(identity()),
        local_identity: Some(identity()),
        peer_rpc_versions: Some(versions()),
        ..HandshakerResult::default()
    };
    let answers = |result| {
        let status = Some(HandshakerStatus { code: 0, details: "" });
        let finished =
            HandshakerResp { out_frames: b"hello", bytes_consumed: 0, result: None, status };
        let mut first = vec![0; finished.encoded_len()];
        finished.encode(&mut first).unwrap();
        let finished = HandshakerResp { bytes_consumed: 5, result: Some(result), ..finished };
        let mut second = vec![0; finished.encoded_len()];
        finished.encode(&mut second).unwrap();
        (first, second)
    };
    let (mut first, mut second) = answers(result());
    let config = ClientConfig::new(ExpectedPeer::Accounts(&["account@example.com"]));
    let client = without_heap(|| {
        let mut buffer = [0; 4096];
        let mut client = ClientHandshake::client(&config, NOW)?;
        client.request(&[], &mut buffer, NOW)?;
        assert_eq!(client.response(&mut first, NOW)?.to_peer.len(), 5);
        client.sent(NOW);
        client.request(b"hello", &mut buffer, NOW)?;
        assert_eq!(client.response(&mut second, NOW)?.consumed, 5);
        client.sent(NOW);
        client.established()
    })
    .unwrap();
    let (_, mut second) = answers(result());
    let config = ServerConfig::new();
    let server = without_heap(|| {
        let mut server = ServerHandshake::server(&config, NOW)?;
        server.request(b"hello", &mut [0; 4096], NOW)?;
        assert_eq!(server.response(&mut second, NOW)?.consumed, 5);
        server.sent(NOW);
        server.established()
    })
    .unwrap();

    let (_, mut refused) = answers(HandshakerResult { record_protocol: "x", ..result() });
    without_heap(|| {
        let mut server = ServerHandshake::server(&config, NOW)?;
        server.request(b"hello", &mut [0; 4096], NOW)?;
        let _ = server.response(&mut refused, NOW)?;
        server.sent(NOW);
        server.want(NOW)
    })
    .unwrap_err();

    let mut client = without_heap(|| Session::<RustCrypto>::new(client)).unwrap();
    let mut server = without_heap(|| Session::<RustCrypto>::new(server)).unwrap();
    let (mut wire, mut plaintext) = ([0; 256], [0; 256]);
    // Far enough for a new key.
    for _ in 0..(1 << 16) + 2 {
        let _ = without_heap(|| {
            let sealed = client.sealer.seal(b"out of place", &mut wire)?;
            let _ = server.opener.open(&wire[..sealed.written], &mut plaintext)?;
            let len = server.sealer.seal_in_place(&mut wire, 12)?;
            client.opener.open_in_place(&mut wire[..len])
        })
        .unwrap();
    }
    without_heap(|| client.opener.open_in_place(&mut wire)).unwrap_err();
}
