//! The ALTS context: from a result, from and to the wire, and what it admits.
#![cfg(feature = "handshake")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use alts_core::account::AccountPattern;
use alts_core::context::{
    AltsContext, LATEST_CERTIFICATE_END, LOCAL_CERTIFICATE_END, PEER_CERTIFICATE_END, Unauthorized,
};
use alts_core::key::{RecordProtocol, SecurityLevel};
use alts_core::msg::{
    HandshakerResult, Identity, IdentityKind, RpcProtocolVersions, RpcVersion, capacity,
};
use alts_core::wire::Refusal;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Version {
    #[prost(uint32, tag = "1")]
    major: u32,
    #[prost(uint32, tag = "2")]
    minor: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Versions {
    #[prost(message, optional, tag = "1")]
    max_rpc_version: Option<Version>,
    #[prost(message, optional, tag = "2")]
    min_rpc_version: Option<Version>,
}

/// The message as prost's derive has it.
#[derive(Clone, PartialEq, Message)]
struct Proto {
    #[prost(string, tag = "1")]
    application_protocol: String,
    #[prost(string, tag = "2")]
    record_protocol: String,
    #[prost(int32, tag = "3")]
    security_level: i32,
    #[prost(string, tag = "4")]
    peer_service_account: String,
    #[prost(string, tag = "5")]
    local_service_account: String,
    #[prost(message, optional, tag = "6")]
    peer_rpc_versions: Option<Versions>,
    #[prost(btree_map = "string, string", tag = "7")]
    peer_attributes: BTreeMap<String, String>,
}

fn proto() -> Proto {
    Proto {
        application_protocol: "grpc".into(),
        record_protocol: "ALTSRP_GCM_AES128_REKEY".into(),
        security_level: 2,
        peer_service_account: "peer@example.com".into(),
        local_service_account: "local@example.com".into(),
        peer_rpc_versions: Some(Versions {
            max_rpc_version: Some(Version { major: 2, minor: 1 }),
            min_rpc_version: Some(Version { major: 2, minor: 0 }),
        }),
        peer_attributes: BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())]),
    }
}

fn decode(proto: &Proto) -> Result<AltsContext, alts_core::wire::DecodeError> {
    AltsContext::decode(&proto.encode_to_vec())
}

fn encode(context: &AltsContext) -> Vec<u8> {
    let mut out = vec![0; context.encoded_len()];
    assert_eq!(context.encode(&mut out), Ok(out.len()));
    out
}

fn result<'a>() -> HandshakerResult<'a> {
    let mut peer = Identity::from_service_account("peer@example.com");
    peer.attributes.insert("a", "1").unwrap();
    peer.attributes.insert("b", "2").unwrap();
    HandshakerResult {
        application_protocol: "grpc",
        record_protocol: "ALTSRP_GCM_AES128_REKEY",
        peer_identity: Some(peer),
        local_identity: Some(Identity::from_service_account("local@example.com")),
        peer_rpc_versions: Some(versions()),
        ..HandshakerResult::default()
    }
}

fn versions() -> RpcProtocolVersions {
    RpcProtocolVersions::new(RpcVersion::new(2, 0), RpcVersion::new(2, 1))
}

fn context() -> AltsContext {
    AltsContext::from_result(&result(), RecordProtocol::AesGcm128Rekey).unwrap()
}

#[test]
fn a_context_holds_what_the_result_said() {
    let context = context();
    assert_eq!(context.application_protocol(), "grpc");
    assert_eq!(context.record_protocol(), RecordProtocol::AesGcm128Rekey);
    assert_eq!(context.security_level(), SecurityLevel::IntegrityAndPrivacy);
    assert_eq!(context.peer_service_account(), "peer@example.com");
    assert_eq!(context.local_service_account(), "local@example.com");
    assert_eq!(context.peer_rpc_versions(), versions());
    assert_eq!(context.peer_attributes().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
}

#[test]
fn prost_reads_and_writes_the_same_context() {
    assert_eq!(encode(&context()), proto().encode_to_vec());
    assert_eq!(Proto::decode(&*encode(&context())).unwrap(), proto());
    assert_eq!(decode(&proto()).unwrap(), context());
    let mut out = [0; 8];
    assert_eq!(context().encode(&mut out).unwrap_err().available(), 8);
    assert_eq!(out, [0; 8], "nothing is written of what does not fit");
}

#[test]
fn integrity_alone_is_never_called_privacy() {
    let context = AltsContext::from_result(&result(), RecordProtocol::Gmac128).unwrap();
    assert_eq!(context.security_level(), SecurityLevel::IntegrityOnly);
    assert_eq!(Proto::decode(&*encode(&context)).unwrap().security_level, 1);

    let claim = Proto { record_protocol: "ALTSRP_GMAC_128".into(), ..proto() };
    assert_eq!(claim.security_level, 2);
    assert_eq!(decode(&claim).unwrap().security_level(), SecurityLevel::IntegrityOnly);
}

#[test]
fn a_context_that_cannot_be_kept_is_refused_by_name() {
    type Change = fn(&mut Proto);
    let refused = |change: Change| {
        let mut proto = proto();
        change(&mut proto);
        decode(&proto).unwrap_err().to_string()
    };
    let cases: [(Change, &str); 10] = [
        (|p| p.application_protocol = "x".repeat(65), "application_protocol: longer than 64 bytes"),
        (|p| p.record_protocol = "ALTSRP_NEW".into(), "record_protocol: not an acceptable value"),
        (|p| p.record_protocol.clear(), "record_protocol: not an acceptable value"),
        (|p| p.security_level = 1, "security_level: not an acceptable value"),
        (|p| p.security_level = -1, "security_level: not an acceptable value"),
        (
            |p| p.peer_service_account = "x".repeat(257),
            "peer_service_account: longer than 256 bytes",
        ),
        (
            |p| p.local_service_account = "x".repeat(257),
            "local_service_account: longer than 256 bytes",
        ),
        (
            |p| p.peer_attributes = [("x".repeat(512), "x".repeat(513))].into(),
            "peer_attributes: longer than 1024 bytes",
        ),
        (
            |p| p.peer_attributes = (0..5).map(|n| (n.to_string(), "x".repeat(204))).collect(),
            "peer_attributes: longer than 1024 bytes",
        ),
        (
            |p| p.peer_attributes = (0..9).map(|n| (n.to_string(), String::new())).collect(),
            "peer_attributes: more than 8 elements",
        ),
    ];
    for (change, text) in cases {
        assert_eq!(refused(change), format!("AltsContext.{text}"));
    }
}

#[test]
fn a_result_that_is_too_long_is_refused_by_name() {
    let long = "x".repeat(257);
    let mut result = result();
    result.local_identity = Some(Identity::from_service_account(&long));
    let error = AltsContext::from_result(&result, RecordProtocol::AesGcm128Rekey).unwrap_err();
    assert_eq!((error.message(), error.field()), ("AltsContext", Some("local_service_account")));
    assert_eq!(error.refusal(), Refusal::TooLong { capacity: 256 });
}

#[test]
fn the_largest_context_fits() {
    let (protocol, account) = ("p".repeat(64), "x".repeat(256));
    let attributes: Vec<_> =
        (0..capacity::ATTRIBUTES).map(|n| (n.to_string(), n.to_string().repeat(127))).collect();
    let mut peer = Identity::from_service_account(&account);
    let local = peer.clone();
    for (name, value) in &attributes {
        peer.attributes.insert(name, value).unwrap();
    }
    let result = HandshakerResult {
        application_protocol: &protocol,
        peer_identity: Some(peer),
        local_identity: Some(local),
        ..result()
    };
    let context = AltsContext::from_result(&result, RecordProtocol::AesGcm128Rekey).unwrap();
    assert_eq!(AltsContext::decode(&encode(&context)).unwrap(), context);
    assert_eq!(context.application_protocol(), protocol);
    assert_eq!(context.peer_service_account(), account);
    assert_eq!(context.local_service_account(), account);
    let kept = context.peer_attributes().map(|(name, value)| (name.into(), value.into()));
    assert_eq!(kept.collect::<Vec<(String, String)>>(), attributes);
}

#[test]
fn contexts_are_equal_when_all_of_them_is_equal_and_attributes_have_no_order() {
    let with = |attributes: &[(&'static str, &'static str)]| {
        let mut peer = Identity::from_service_account("peer@example.com");
        for (name, value) in attributes {
            peer.attributes.insert(name, value).unwrap();
        }
        let result = HandshakerResult { peer_identity: Some(peer), ..result() };
        AltsContext::from_result(&result, RecordProtocol::AesGcm128Rekey).unwrap()
    };
    assert_eq!(with(&[("b", "2"), ("a", "1")]), context());
    assert_ne!(with(&[("a", "12"), ("b", "")]), context());
    assert_ne!(with(&[("a", "1")]), context());
    assert!(format!("{:?}", context()).contains("peer@example.com"));
}

#[test]
fn accounts_are_compared_exactly() {
    let context = context();
    assert_eq!(context.authorize(&["other@example.com", "peer@example.com"]), Ok(()));
    assert_eq!(context.authorize(&[String::from("peer@example.com")]), Ok(()));
    for accounts in [
        &["Peer@example.com"][..],
        &["peer@example.co"],
        &["peer@example.com "],
        &["peer@example.com.evil"],
        &["local@example.com"],
        &[""],
        &[],
    ] {
        assert_eq!(context.authorize(accounts), Err(Unauthorized), "{accounts:?}");
    }
}

#[test]
fn accounts_are_admitted_by_pattern() {
    let admits = |patterns: &[&str]| {
        let patterns: Vec<_> =
            patterns.iter().map(|text| AccountPattern::new(*text).unwrap()).collect();
        context().authorize_matching(&patterns)
    };
    assert_eq!(admits(&["a@b.example", "*@example.com"]), Ok(()));
    assert_eq!(admits(&["*"]), Ok(()));
    for patterns in [&["*@*.example.com"][..], &["peer@example.org", "x@*.com"], &[]] {
        assert_eq!(admits(patterns), Err(Unauthorized), "{patterns:?}");
    }
}

#[test]
fn a_peer_without_an_account_is_never_admitted() {
    let hostname =
        Identity { identity: Some(IdentityKind::Hostname("host")), ..Identity::default() };
    for peer_identity in [None, Some(Identity::default()), Some(hostname)] {
        let result = HandshakerResult { peer_identity, ..result() };
        let context = AltsContext::from_result(&result, RecordProtocol::AesGcm128Rekey).unwrap();
        assert_eq!(context.peer_service_account(), "");
        assert_eq!(context.authorize(&["", "host"]), Err(Unauthorized));
        let any = [AccountPattern::new("*").unwrap()];
        assert_eq!(context.authorize_matching(&any), Err(Unauthorized));
    }
}

#[test]
fn a_context_is_small() {
    // What its documentation says; servers have one for each connection.
    let size = size_of::<AltsContext>();
    assert!(size <= 1700, "{size} bytes");
}

#[test]
fn a_context_says_when_certificates_end() {
    assert_eq!(context().peer_certificate_end(), None);
    assert_eq!(context().local_certificate_end(), None);
    let latest = LATEST_CERTIFICATE_END.to_string();
    for (peer, local) in [("0", &*latest), (&*latest, "0"), ("1800000000", "10")] {
        let mut result = result();
        let attributes = &mut result.peer_identity.as_mut().unwrap().attributes;
        attributes.insert(PEER_CERTIFICATE_END, peer).unwrap();
        attributes.insert(LOCAL_CERTIFICATE_END, local).unwrap();
        let context = AltsContext::from_result(&result, RecordProtocol::AesGcm128Rekey).unwrap();
        let seconds = |text: &str| Some(Duration::from_secs(text.parse().unwrap()));
        assert_eq!(context.peer_certificate_end(), seconds(peer));
        assert_eq!(context.local_certificate_end(), seconds(local));
        assert_eq!(AltsContext::decode(&encode(&context)).unwrap(), context);
    }
}

#[test]
fn an_end_that_is_no_time_is_refused() {
    for name in [PEER_CERTIFICATE_END, LOCAL_CERTIFICATE_END] {
        for text in [
            "",
            " ",
            "00",
            "01",
            "+1",
            "-1",
            "1.5",
            "1 ",
            "0x1",
            "never",
            "\u{661}",
            "2026-11-30T00:00:00Z",
            "253402300800",
            "18446744073709551616",
            &"9".repeat(500),
        ] {
            let mut result = result();
            result.peer_identity.as_mut().unwrap().attributes.insert(name, text).unwrap();
            let error =
                AltsContext::from_result(&result, RecordProtocol::AesGcm128Rekey).unwrap_err();
            assert_eq!(error.field(), Some("peer_attributes"), "{text}");
            assert_eq!(error.refusal(), Refusal::Value, "{text}");
            let attributes = [(name.to_owned(), text.to_owned())].into();
            assert!(decode(&Proto { peer_attributes: attributes, ..proto() }).is_err(), "{text}");
        }
    }
    // Another attribute may have any value.
    let other = [("certificate_end".to_owned(), "never".to_owned())].into();
    assert!(decode(&Proto { peer_attributes: other, ..proto() }).is_ok());
}
