//! The messages against prost's derive: the same values, the same bytes, the same refusals.
#![allow(clippy::panic, reason = "a test that meets one fails, as it should")]
#![cfg(feature = "handshake")]

#[path = "support/proto.rs"]
mod proto;
#[path = "support/values.rs"]
mod values;

use alts_core::msg::{self, RpcProtocolVersions, RpcVersion, capacity};
use alts_core::wire::{DecodeError, Message, Refusal, Secret, SecretText};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as Prost;
use values::{Damage, key, varint};

/// Reads the bytes with both, and checks that they agree on the values and on what is written in
/// turn; returns our refusal if there was one.
macro_rules! agree {
    ($name:ident, $bytes:expr) => {{
        let bytes: &[u8] = $bytes;
        let theirs = <proto::$name as Prost>::decode(bytes);
        match msg::$name::decode(bytes) {
            Ok(ours) => {
                let theirs = theirs.expect("prost refuses what we accept");
                assert_eq!(proto::$name::from(&ours), theirs);
                let written = encode(&ours);
                assert_eq!(written.len(), Prost::encoded_len(&theirs));
                assert_eq!(<proto::$name as Prost>::decode(&*written).unwrap(), theirs);
                Ok(())
            }
            Err(refusal) => {
                if let (Ok(theirs), false) = (theirs, lacks_room(refusal)) {
                    panic!("we refuse ({refusal}) what prost accepts: {theirs:?}");
                }
                Err(refusal)
            }
        }
    }};
}

fn lacks_room(refusal: DecodeError) -> bool {
    matches!(refusal.refusal(), Refusal::TooMany { .. })
}

fn encode<'a>(message: &impl Message<'a>) -> Vec<u8> {
    let mut out = vec![0; message.encoded_len()];
    assert_eq!(message.encode(&mut out), Ok(out.len()));
    out
}

/// A field whose content is `content`.
fn field(tag: u32, content: &[u8]) -> Vec<u8> {
    [key(tag, 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn identity_fits(identity: &proto::Identity) -> bool {
    identity.attributes.len() <= capacity::ATTRIBUTES
}

fn request_fits(request: &proto::HandshakerReq) -> bool {
    let preferences_fit = |preferences: &Option<proto::TransportProtocolPreferences>| {
        preferences.as_ref().is_none_or(|p| p.transport_protocol.len() <= capacity::PROTOCOLS)
    };
    match &request.req_oneof {
        Some(proto::ReqOneof::ClientStart(start)) => {
            start.application_protocols.len() <= capacity::PROTOCOLS
                && start.record_protocols.len() <= capacity::PROTOCOLS
                && start.target_identities.len() <= capacity::TARGET_IDENTITIES
                && start.target_identities.iter().chain(&start.local_identity).all(identity_fits)
                && preferences_fit(&start.transport_protocol_preferences)
        }
        Some(proto::ReqOneof::ServerStart(start)) => {
            start.application_protocols.len() <= capacity::PROTOCOLS
                && start.handshake_parameters.len() <= capacity::HANDSHAKE_PROTOCOLS
                && start.handshake_parameters.values().all(|parameters| {
                    parameters.record_protocols.len() <= capacity::PROTOCOLS
                        && parameters.local_identities.len() <= capacity::LOCAL_IDENTITIES
                        && parameters.local_identities.iter().all(identity_fits)
                })
                && preferences_fit(&start.transport_protocol_preferences)
        }
        Some(proto::ReqOneof::Next(_)) | None => true,
    }
}

fn response_fits(response: &proto::HandshakerResp) -> bool {
    let identities = |result: &proto::HandshakerResult| {
        result.peer_identity.iter().chain(&result.local_identity).all(identity_fits)
    };
    response.result.as_ref().is_none_or(identities)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    /// Whatever fits: the same values, and byte for byte the same message back.
    #[test]
    fn valid_requests(request in values::request()) {
        let bytes = request.encode_to_vec();
        let fits = agree!(HandshakerReq, &bytes).is_ok();
        prop_assert_eq!(fits, request_fits(&request));
        if fits {
            prop_assert_eq!(encode(&msg::HandshakerReq::decode(&bytes).unwrap()), bytes);
        }
    }

    #[test]
    fn valid_responses(response in values::response()) {
        let bytes = response.encode_to_vec();
        let fits = agree!(HandshakerResp, &bytes).is_ok();
        prop_assert_eq!(fits, response_fits(&response));
        if fits {
            prop_assert_eq!(encode(&msg::HandshakerResp::decode(&bytes).unwrap()), bytes);
        }
    }

    /// Two messages one after the other are one message: lists grow, sub-messages are merged.
    #[test]
    fn merged(requests in (values::request(), values::request()), responses in (values::response(), values::response())) {
        let _ = agree!(HandshakerReq, &[requests.0.encode_to_vec(), requests.1.encode_to_vec()].concat());
        let _ = agree!(HandshakerResp, &[responses.0.encode_to_vec(), responses.1.encode_to_vec()].concat());
    }

    #[test]
    fn damaged(request in values::request(), response in values::response(), damage in vec(Damage::any(), 1..4)) {
        let (mut request, mut response) = (request.encode_to_vec(), response.encode_to_vec());
        for damage in damage {
            damage.apply(&mut request);
            damage.apply(&mut response);
        }
        let _ = agree!(HandshakerReq, &request);
        let _ = agree!(HandshakerResp, &response);
    }

    /// Fields of any kind at any place, unknown ones and groups among them.
    #[test]
    fn any_fields(bytes in values::fields()) {
        let _ = agree!(HandshakerReq, &bytes);
        let _ = agree!(HandshakerResp, &bytes);
        let _ = agree!(StartClientHandshakeReq, &bytes);
        let _ = agree!(StartServerHandshakeReq, &bytes);
        let _ = agree!(HandshakerResult, &bytes);
        let _ = agree!(Identity, &bytes);
        let _ = agree!(Endpoint, &bytes);
    }

    #[test]
    fn any_bytes(bytes in vec(prop_oneof![0u8..=40, any::<u8>()], 0..64)) {
        let _ = agree!(HandshakerReq, &bytes);
        let _ = agree!(HandshakerResp, &bytes);
        let _ = agree!(StartClientHandshakeReq, &bytes);
        let _ = agree!(StartServerHandshakeReq, &bytes);
        let _ = agree!(HandshakerResult, &bytes);
        let _ = agree!(Identity, &bytes);
        let _ = agree!(NextHandshakeMessageReq, &bytes);
    }
}

/// A field: its tag, its name, whether it is t(ext), b(ytes), a n(umber) or a m(essage), and its
/// capacity if it is a list or a map.
type FieldOf = (u32, &'static str, char, usize);

/// Every message with its fields as the `.proto` files have them.
const MESSAGES: &[(&str, &[FieldOf])] = &[
    ("Endpoint", &[(1, "ip_address", 't', 0), (2, "port", 'n', 0), (3, "protocol", 'n', 0)]),
    (
        "Identity",
        &[(1, "service_account", 't', 0), (2, "hostname", 't', 0), (3, "attributes", 'm', 8)],
    ),
    (
        "StartClientHandshakeReq",
        &[
            (1, "handshake_security_protocol", 'n', 0),
            (2, "application_protocols", 't', 16),
            (3, "record_protocols", 't', 16),
            (4, "target_identities", 'm', 32),
            (5, "local_identity", 'm', 0),
            (6, "local_endpoint", 'm', 0),
            (7, "remote_endpoint", 'm', 0),
            (8, "target_name", 't', 0),
            (9, "rpc_versions", 'm', 0),
            (10, "max_frame_size", 'n', 0),
            (11, "access_token", 't', 0),
            (12, "transport_protocol_preferences", 'm', 0),
        ],
    ),
    (
        "ServerHandshakeParameters",
        &[(1, "record_protocols", 't', 16), (2, "local_identities", 'm', 8), (3, "token", 't', 0)],
    ),
    (
        "StartServerHandshakeReq",
        &[
            (1, "application_protocols", 't', 16),
            (2, "handshake_parameters", 'm', 4),
            (3, "in_bytes", 'b', 0),
            (4, "local_endpoint", 'm', 0),
            (5, "remote_endpoint", 'm', 0),
            (6, "rpc_versions", 'm', 0),
            (7, "max_frame_size", 'n', 0),
            (8, "transport_protocol_preferences", 'm', 0),
        ],
    ),
    ("NextHandshakeMessageReq", &[(1, "in_bytes", 'b', 0), (2, "network_latency_ms", 'n', 0)]),
    (
        "HandshakerReq",
        &[(1, "client_start", 'm', 0), (2, "server_start", 'm', 0), (3, "next", 'm', 0)],
    ),
    (
        "HandshakerResult",
        &[
            (1, "application_protocol", 't', 0),
            (2, "record_protocol", 't', 0),
            (3, "key_data", 'b', 0),
            (4, "peer_identity", 'm', 0),
            (5, "local_identity", 'm', 0),
            (6, "keep_channel_open", 'n', 0),
            (7, "peer_rpc_versions", 'm', 0),
            (8, "max_frame_size", 'n', 0),
            (9, "transport_protocol", 'm', 0),
        ],
    ),
    ("HandshakerStatus", &[(1, "code", 'n', 0), (2, "details", 't', 0)]),
    (
        "HandshakerResp",
        &[
            (1, "out_frames", 'b', 0),
            (2, "bytes_consumed", 'n', 0),
            (3, "result", 'm', 0),
            (4, "status", 'm', 0),
        ],
    ),
    ("RpcVersion", &[(1, "major", 'n', 0), (2, "minor", 'n', 0)]),
    ("RpcProtocolVersions", &[(1, "max_rpc_version", 'm', 0), (2, "min_rpc_version", 'm', 0)]),
    ("TransportProtocolPreferences", &[(1, "transport_protocol", 't', 16)]),
    ("NegotiatedTransportProtocol", &[(1, "transport_protocol", 't', 0)]),
];

/// Reads the message of this name, and compares with prost.
fn read(message: &str, bytes: &[u8]) -> Result<(), DecodeError> {
    macro_rules! of {
        ($($name:ident)*) => {
            match message {
                $(stringify!($name) => agree!($name, bytes),)*
                _ => panic!("no message {message}"),
            }
        };
    }
    of! {
        Endpoint Identity StartClientHandshakeReq ServerHandshakeParameters StartServerHandshakeReq
        NextHandshakeMessageReq HandshakerReq HandshakerResult HandshakerStatus HandshakerResp
        RpcVersion RpcProtocolVersions TransportProtocolPreferences NegotiatedTransportProtocol
    }
}

#[test]
fn every_refusal_names_the_message_and_the_field() {
    for &(message, fields) in MESSAGES {
        for &(tag, name, kind, capacity) in fields {
            let refused = |bytes: &[u8], why: &str| {
                let error = read(message, bytes).unwrap_err();
                assert_eq!(error.to_string(), format!("{message}.{name}: {why}"));
                assert_eq!((error.message(), error.field()), (message, Some(name)));
            };
            refused(&[key(tag, 5), vec![0; 4]].concat(), "encoded as another type");
            refused(&[key(tag, 3), key(tag, 4)].concat(), "encoded as another type");
            refused(&key(tag, 4), "encoded as another type");
            if kind == 'n' {
                refused(&key(tag, 0), "cut short");
                refused(&[key(tag, 0), vec![0xff; 9]].concat(), "cut short");
                refused(&[key(tag, 0), vec![0xff; 9], vec![2]].concat(), "malformed");
                refused(&[key(tag, 0), vec![0xff; 11]].concat(), "malformed");
                refused(&[key(tag, 2), vec![0]].concat(), "encoded as another type");
            } else {
                refused(&key(tag, 2), "cut short");
                refused(&[key(tag, 2), vec![2, 0]].concat(), "cut short");
                refused(&[key(tag, 2), varint(u64::MAX)].concat(), "cut short");
                refused(&[key(tag, 0), vec![0]].concat(), "encoded as another type");
            }
            if kind == 't' {
                refused(&field(tag, b"\xff"), "not UTF-8");
            }
            if capacity > 0 {
                let element = |n: usize| match name {
                    "handshake_parameters" => [key(1, 0), varint(n as u64)].concat(),
                    _ if kind == 'm' => field(1, n.to_string().as_bytes()),
                    _ => Vec::new(),
                };
                let list = |len| (0..len).flat_map(|n| field(tag, &element(n))).collect::<Vec<_>>();
                assert_eq!(read(message, &list(capacity)), Ok(()));
                refused(&list(capacity + 1), &format!("more than {capacity} elements"));
            }
        }
    }
}

#[test]
fn what_belongs_to_no_field_names_the_message() {
    for &(message, _) in MESSAGES {
        let unknown = 1000;
        for (bytes, why) in [
            (vec![0], "malformed"),
            (vec![0x02], "malformed"),
            (vec![0x06], "malformed"),
            (key(unknown, 6), "malformed"),
            (key(1, 7), "malformed"),
            (varint(1 << 32 | 8), "malformed"),
            (vec![0xff; 10], "malformed"),
            (vec![0x80], "cut short"),
            (key(unknown, 0), "cut short"),
            (key(unknown, 1), "cut short"),
            (key(unknown, 2), "cut short"),
            (key(unknown, 3), "cut short"),
            (key(unknown, 4), "malformed"),
            (key(unknown, 5), "cut short"),
            ([key(unknown, 3), key(unknown + 1, 4)].concat(), "malformed"),
            ([key(unknown, 3), key(1, 0), vec![0]].concat(), "cut short"),
        ] {
            let error = read(message, &bytes).unwrap_err();
            assert_eq!(error.to_string(), format!("{message}, outside its known fields: {why}"));
            assert_eq!(error.field(), None);
        }
        assert_eq!(read(message, &[key((1 << 29) - 1, 0), vec![0]].concat()), Ok(()));
    }
}

#[test]
fn a_refusal_names_the_innermost_field() {
    let attribute = field(3, &field(2, b"\xff"));
    let response = field(3, &field(4, &attribute));
    let error = agree!(HandshakerResp, &response).unwrap_err();
    assert_eq!(error.to_string(), "Identity.attributes: not UTF-8");

    let parameters = field(2, &field(2, &field(1, b"\xff")));
    let error = agree!(HandshakerReq, &field(2, &parameters)).unwrap_err();
    assert_eq!(error.to_string(), "ServerHandshakeParameters.record_protocols: not UTF-8");

    // The field that came before is not blamed for what follows it.
    let error = agree!(HandshakerStatus, &[field(2, b"fine"), vec![0]].concat()).unwrap_err();
    assert_eq!(error.to_string(), "HandshakerStatus, outside its known fields: malformed");
}

/// `depth` groups, each in the one before, each with a tag of its own.
fn groups(depth: u32, content: &[u8]) -> Vec<u8> {
    let starts = (0..depth).flat_map(|level| key(1000 + level, 3));
    let ends = (0..depth).rev().flat_map(|level| key(1000 + level, 4));
    starts.chain(content.iter().copied()).chain(ends).collect()
}

#[test]
fn groups_are_skipped_as_deep_as_prost_does() {
    for inside in [vec![], [key(5, 0), vec![1]].concat(), field(1, b"skipped")] {
        let accepted = |wrap: fn(Vec<u8>) -> Vec<u8>| {
            (1..300)
                .take_while(|&depth| agree!(HandshakerResp, &wrap(groups(depth, &inside))).is_ok())
                .count()
        };
        let leaf = usize::from(!inside.is_empty());
        assert_eq!(accepted(|bytes| bytes), 100 - leaf);
        assert_eq!(accepted(|bytes| field(4, &bytes)), 99 - leaf);
        assert_eq!(accepted(|bytes| field(3, &field(4, &field(3, &bytes)))), 97 - leaf);
    }
    // Groups end in reverse order, the innermost first.
    let crossed = [key(98, 3), key(99, 3), key(98, 4), key(99, 4)].concat();
    assert_eq!(agree!(HandshakerResp, &crossed).unwrap_err().refusal(), Refusal::Malformed);
    // Far beyond the limit, only a refusal happens.
    let error = agree!(HandshakerResp, &groups(1 << 20, &[])).unwrap_err();
    assert_eq!(error.refusal(), Refusal::Malformed);
}

#[test]
fn numbers_are_narrowed_as_protobuf_does() {
    let with = |tag, number| [key(tag, 0), varint(number)].concat();
    for number in [0, 1, 2, u64::from(u32::MAX), 1 << 32, (1 << 32) + 5, u64::MAX, 1 << 63] {
        agree!(HandshakerStatus, &with(1, number)).unwrap();
        agree!(Endpoint, &with(2, number)).unwrap();
        agree!(Endpoint, &with(3, number)).unwrap();
        agree!(HandshakerResult, &with(6, number)).unwrap();
    }
    let bytes = with(1, (1 << 32) + 5);
    assert_eq!(msg::HandshakerStatus::decode(&bytes).unwrap().code, 5);
    let bytes = with(6, 1 << 63);
    assert!(msg::HandshakerResult::decode(&bytes).unwrap().keep_channel_open);
    // Zeros in front of a number change nothing.
    agree!(HandshakerStatus, &[0x88, 0x80, 0x00, 0x85, 0x80, 0x00]).unwrap();

    let endpoint = msg::Endpoint { port: -1, ..msg::Endpoint::default() };
    assert_eq!(encode(&endpoint), [vec![0x10], vec![0xff; 9], vec![0x01]].concat());
}

#[test]
fn unknown_numbers_of_an_enumeration_are_kept() {
    for number in [3, 77, -1, i32::MIN, i32::MAX] {
        let start = msg::StartClientHandshakeReq {
            handshake_security_protocol: msg::HandshakeProtocol(number),
            ..msg::StartClientHandshakeReq::default()
        };
        let bytes = encode(&start);
        assert_eq!(msg::StartClientHandshakeReq::decode(&bytes).unwrap(), start);
        agree!(StartClientHandshakeReq, &bytes).unwrap();
    }
    assert_eq!(format!("{:?}", msg::HandshakeProtocol::ALTS), "ALTS");
    assert_eq!(format!("{:?}", msg::NetworkProtocol(9)), "NetworkProtocol(9)");
}

#[test]
fn the_last_value_wins_and_parts_are_merged() {
    let status = [field(2, b"first"), field(2, b"last")].concat();
    assert_eq!(msg::HandshakerStatus::decode(&status).unwrap().details, "last");

    let versions = [field(1, &field(9, b"")), field(1, &[0x08, 2]), field(1, &[0x10, 1])].concat();
    let versions = RpcProtocolVersions::decode(&versions).unwrap();
    assert_eq!(versions.max_rpc_version, Some(RpcVersion::new(2, 1)));

    let identity = [field(1, b"account"), field(2, b"host")].concat();
    let identity = msg::Identity::decode(&identity).unwrap();
    assert_eq!(identity.identity, Some(msg::IdentityKind::Hostname("host")));
    assert_eq!(identity.service_account(), None);

    let next = [field(3, &field(1, b"bytes")), field(3, &[0x10, 7])].concat();
    let expected = msg::NextHandshakeMessageReq { in_bytes: b"bytes", network_latency_ms: 7 };
    let request = msg::HandshakerReq::decode(&next).unwrap().request;
    assert_eq!(request, Some(msg::Request::Next(expected)));
    let other = [field(3, &field(1, b"bytes")), field(1, &[]), field(3, &[0x10, 7])].concat();
    let expected = msg::NextHandshakeMessageReq { in_bytes: b"", network_latency_ms: 7 };
    let request = msg::HandshakerReq::decode(&other).unwrap().request;
    assert_eq!(request, Some(msg::Request::Next(expected)));

    let entry = |key: &[u8], value: &[u8]| field(3, &[field(2, value), field(1, key)].concat());
    let full = (0..8).flat_map(|n| entry(n.to_string().as_bytes(), b"first")).collect::<Vec<_>>();
    let again = [full, entry(b"3", b"last"), field(3, &field(1, b"4"))].concat();
    let identity = msg::Identity::decode(&again).unwrap();
    let values = ["2", "3", "4"].map(|key| identity.attributes.get(&key).copied());
    assert_eq!(values, [Some("first"), Some("last"), Some("")]);
    agree!(Identity, &again).unwrap();
}

#[test]
fn absence_is_told_from_emptiness_where_the_proto_does() {
    let empty = msg::ServerHandshakeParameters {
        token: Some(SecretText::new("")),
        ..msg::ServerHandshakeParameters::default()
    };
    assert_eq!(encode(&empty), [0x1a, 0]);
    assert_eq!(msg::ServerHandshakeParameters::decode(&[0x1a, 0]).unwrap(), empty);
    assert_eq!(msg::ServerHandshakeParameters::decode(&[]).unwrap().token, None);

    let start = msg::StartClientHandshakeReq::default();
    assert!(start.access_token.is_empty());
    assert_eq!(encode(&start), []);

    let response = msg::HandshakerResp {
        status: Some(msg::HandshakerStatus::default()),
        ..msg::HandshakerResp::default()
    };
    assert_eq!(encode(&response), [0x22, 0]);
}

#[test]
fn text_and_bytes_stay_where_they_are() {
    let bytes = field(1, b"frames");
    let response = msg::HandshakerResp::decode(&bytes).unwrap();
    assert!(std::ptr::eq(response.out_frames, &raw const bytes[2..]));
}

#[test]
fn what_does_not_fit_the_buffer_is_not_written() {
    let response = msg::HandshakerResp { out_frames: b"frames", ..msg::HandshakerResp::default() };
    let mut out = [0xaa; 7];
    let error = response.encode(&mut out).unwrap_err();
    assert_eq!((error.required(), error.available()), (8, 7));
    assert_eq!(error.to_string(), "the message takes 8 bytes, and the buffer has 7");
    assert_eq!(out, [0xaa; 7]);
    let mut out = [0xaa; 10];
    assert_eq!(response.encode(&mut out), Ok(8));
    assert_eq!(&out, b"\x0a\x06frames\xaa\xaa");
}

#[test]
fn secrets_are_compared_and_not_printed() {
    let result = msg::HandshakerResult {
        key_data: Secret::new(b"XYZZY"),
        ..msg::HandshakerResult::default()
    };
    let start = msg::StartClientHandshakeReq {
        access_token: SecretText::new("XYZZY"),
        ..msg::StartClientHandshakeReq::default()
    };
    let parameters = msg::ServerHandshakeParameters {
        token: Some(SecretText::new("XYZZY")),
        ..msg::ServerHandshakeParameters::default()
    };
    for printed in [
        format!("{result:?} {result:#?}"),
        format!("{start:?} {start:#?}"),
        format!("{parameters:?} {parameters:#?}"),
    ] {
        assert!(printed.contains("[redacted]"), "{printed}");
        assert!(!printed.contains("XYZZY") && !printed.contains("88"), "{printed}");
    }
    assert_eq!(Secret::new(b"XYZZY"), result.key_data);
    for other in ["XYZZ", "XYZZYX", "XYZZX", "YYZZY", ""] {
        assert_ne!(Secret::new(other.as_bytes()), result.key_data);
        assert_ne!(SecretText::new(other), start.access_token);
    }
}

#[test]
fn an_identity_is_a_service_account_or_something_else() {
    let account = msg::Identity::from_service_account("a@example.com");
    assert_eq!(account.service_account(), Some("a@example.com"));
    let hostname = Some(msg::IdentityKind::Hostname("example.com"));
    let host = msg::Identity { identity: hostname, ..msg::Identity::default() };
    assert_eq!((host.service_account(), msg::Identity::default().service_account()), (None, None));
    assert_eq!(
        proto::Identity::from(&account).identity_oneof,
        Some(proto::IdentityOneof::ServiceAccount("a@example.com".into()))
    );
}

#[test]
fn versions_have_one_newest_in_common() {
    let version = |(major, minor)| RpcVersion::new(major, minor);
    let range = |min, max| RpcProtocolVersions::new(version(min), version(max));
    for (ours, peers, common) in [
        (range((2, 1), (2, 1)), range((2, 1), (2, 1)), Some((2, 1))),
        (range((2, 0), (3, 5)), range((2, 1), (3, 1)), Some((3, 1))),
        (range((2, 1), (3, 1)), range((2, 9), (2, 10)), Some((2, 10))),
        (range((2, 1), (2, 1)), range((2, 2), (3, 0)), None),
        (range((3, 0), (3, 0)), range((2, 2), (2, 99)), None),
        (range((2, 1), (2, 1)), RpcProtocolVersions::default(), None),
        (RpcProtocolVersions::default(), RpcProtocolVersions::default(), Some((0, 0))),
    ] {
        assert_eq!(ours.newest_common(&peers), common.map(version));
        assert_eq!(peers.newest_common(&ours), common.map(version));
    }
}

/// The stack that a message takes is part of the promise.
#[cfg(target_pointer_width = "64")]
#[test]
fn sizes_are_bounded() {
    assert!(size_of::<msg::HandshakerReq<'_>>() <= 11 * 1024);
    assert!(size_of::<msg::HandshakerResp<'_>>() <= 1024);
    assert!(size_of::<msg::HandshakerResult<'_>>() <= 768);
    assert!(size_of::<msg::Identity<'_>>() <= 320);
    assert!(size_of::<alts_core::context::AltsContext>() <= 1728);
    assert!(size_of::<DecodeError>() <= 56);
}
