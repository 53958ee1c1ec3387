//! The handshake machine against services and peers that behave, misbehave, dribble and stall.
#![allow(unused_must_use)]
#![allow(clippy::pedantic, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "support/answers.rs"]
mod answers;

use std::time::Duration;

use alts_core::account::AccountPattern;
use alts_core::aead::RustCrypto;
use alts_core::frame::FrameSize;
use alts_core::handshake::{
    ClientConfig, ExpectedPeer, HandshakeConfigError, HandshakeErrorKind as Kind, HandshakePhase,
    MAX_HANDSHAKE_BYTES, MAX_ROUNDS, Offer, ServerConfig, Want,
};
use alts_core::key::{RecordProtocol, SecurityLevel};
use alts_core::msg::{
    HandshakeProtocol, HandshakerReq, HandshakerResp, HandshakerResult, HandshakerStatus, Identity,
    NegotiatedTransportProtocol, Request, RpcProtocolVersions, RpcVersion,
};
use alts_core::wire::{Message, Secret, SecretText};
use alts_core::{ClientHandshake, Fault, ServerHandshake, Session};
use proptest::prelude::*;

use self::answers::{KEY, bytes, ok, out_frames, result};

const T0: Duration = Duration::from_secs(1000);

/// A client that has sent its first message and read `from_peer`, of which all was given.
fn client_in_exchange<'c>(config: &'c ClientConfig<'c>, from_peer: &[u8]) -> ClientHandshake<'c> {
    let mut out = [0; 4096];
    let mut client = ClientHandshake::client(config, T0).unwrap();
    client.request(&[], &mut out, T0).unwrap();
    let response = client.response(&mut out_frames(b"ClientInit"), T0).unwrap();
    assert_eq!(response.consumed, 0);
    client.sent(T0);
    client.request(from_peer, &mut out, T0).unwrap();
    client
}

/// How a client takes `result`, after one exchange with its peer.
fn client_takes(config: &ClientConfig<'_>, result: HandshakerResult<'_>) -> Result<(), Kind> {
    let mut client = client_in_exchange(config, b"ServerInit");
    let response = HandshakerResp {
        bytes_consumed: 10,
        result: Some(result),
        status: ok(),
        ..HandshakerResp::default()
    };
    match client.response(&mut bytes(&response), T0) {
        Ok(response) => {
            assert_eq!((response.to_peer, response.consumed), (0..0, 10));
            assert_eq!(client.want(T0), Ok(Want::Established));
            client.established().unwrap();
            Ok(())
        }
        Err(error) => {
            assert_eq!(client.want(T0), Err(error), "for good");
            assert_eq!(client.established().unwrap_err(), error, "for good");
            Err(error.kind())
        }
    }
}

#[test]
fn a_client_starts_with_everything_that_was_configured() {
    let offer = Offer::new().with_transport_protocols(&["tcp"]).with_max_frame_size(FrameSize::MAX);
    let config = ClientConfig::new(ExpectedPeer::Accounts(&["a@x", "b@x"]))
        .with_target_name("host:1")
        .with_local_identity(Some("me@x"))
        .with_access_token(SecretText::new("token"))
        .with_offer(offer);
    let mut client = ClientHandshake::client(&config, T0).unwrap();
    assert_eq!(client.want(T0), Ok(Want::Request));
    let mut out = [0; 4096];
    let len = client.request(b"early bytes of a rude peer", &mut out, T0).unwrap();
    let Some(Request::ClientStart(start)) = HandshakerReq::decode(&out[..len]).unwrap().request
    else {
        panic!("no client_start");
    };
    assert_eq!(start.handshake_security_protocol, HandshakeProtocol::ALTS);
    assert_eq!(start.application_protocols.as_slice(), ["grpc"]);
    assert_eq!(start.record_protocols.as_slice(), ["ALTSRP_GCM_AES128_REKEY"]);
    let targets: Vec<_> = start.target_identities.iter().map(|i| i.service_account()).collect();
    assert_eq!(targets, [Some("a@x"), Some("b@x")]);
    assert_eq!(start.local_identity.unwrap().service_account(), Some("me@x"));
    assert_eq!(start.target_name, "host:1");
    assert_eq!(start.rpc_versions.unwrap().max_rpc_version, Some(RpcVersion::new(2, 1)));
    assert_eq!(start.max_frame_size, 1 << 20);
    assert_eq!(start.access_token.expose(), "token");
    let preferences = start.transport_protocol_preferences.unwrap();
    assert_eq!(preferences.transport_protocol.as_slice(), ["tcp"]);
    assert_eq!(client.want(T0), Ok(Want::Response));
}

#[test]
fn a_server_starts_when_the_first_bytes_are_there_and_reports_latency() {
    let config = ServerConfig::new().with_local_identities(&["me@x"]);
    let mut server = ServerHandshake::server(&config, T0).unwrap();
    let mut out = [0; 4096];
    assert_eq!(server.want(T0), Ok(Want::PeerBytes));
    let len = server.request(b"ClientInit", &mut out, T0).unwrap();
    let Some(Request::ServerStart(start)) = HandshakerReq::decode(&out[..len]).unwrap().request
    else {
        panic!("no server_start");
    };
    assert_eq!(start.in_bytes, b"ClientInit");
    let parameters = &start.handshake_parameters.get(&HandshakeProtocol::ALTS).unwrap();
    assert_eq!(parameters.record_protocols.as_slice(), ["ALTSRP_GCM_AES128_REKEY"]);
    assert_eq!(parameters.local_identities[0].service_account(), Some("me@x"));
    assert_eq!(parameters.token, None);
    drop(start);

    let response = HandshakerResp {
        out_frames: b"ServerInit",
        bytes_consumed: 10,
        status: ok(),
        ..HandshakerResp::default()
    };
    let mut message = bytes(&response);
    let response = server.response(&mut message, T0).unwrap();
    assert_eq!((&message[response.to_peer], response.consumed), (&b"ServerInit"[..], 10));
    assert_eq!(server.want(T0), Ok(Want::Send));
    server.sent(T0 + Duration::from_millis(5));
    assert_eq!(server.want(T0), Ok(Want::PeerBytes));
    let len = server.request(b"x", &mut out, T0 + Duration::from_millis(47)).unwrap();
    let Some(Request::Next(next)) = HandshakerReq::decode(&out[..len]).unwrap().request else {
        panic!("no next");
    };
    assert_eq!((next.in_bytes, next.network_latency_ms), (&b"x"[..], 42));
}

#[test]
fn a_result_that_was_asked_for_is_established() {
    let config = ClientConfig::new(ExpectedPeer::Accounts(&["peer@example.com"]));
    let mut client = client_in_exchange(&config, b"ServerInit and the first records");
    let response = HandshakerResp {
        out_frames: b"ClientFinished",
        bytes_consumed: 10,
        result: Some(HandshakerResult {
            max_frame_size: 70_000,
            key_data: Secret::new(&[0x5a; 99]),
            keep_channel_open: true,
            ..result()
        }),
        status: ok(),
    };
    let mut message = bytes(&response);
    let response = client.response(&mut message, T0).unwrap();
    assert_eq!(response.consumed, 10, "the records stay with the caller");
    assert_eq!(message[response.to_peer.clone()], *b"ClientFinished");
    assert!(!message.windows(8).any(|window| window == [0x5a; 8]), "key data is wiped");
    assert_eq!(client.want(T0), Ok(Want::Send), "out_frames go before data");
    client.sent(T0);
    assert_eq!(client.want(T0 + Duration::from_secs(999)), Ok(Want::Established));
    let established = client.established().unwrap();
    assert_eq!(established.frame_size().bytes(), 70_000);
    assert!(established.keep_channel_open());
    assert!(!format!("{established:?}").contains("90, 90"), "no key in Debug");
    let session = Session::<RustCrypto>::new(established).unwrap();
    let shown = format!("{session:?}");
    assert!(shown.contains("peer@example.com") && !shown.contains("90, 90"), "no key: {shown}");
    let context = session.context();
    assert_eq!(context.peer_service_account(), "peer@example.com");
    assert_eq!(context.local_service_account(), "local@example.com");
    assert_eq!(context.application_protocol(), "grpc");
    assert_eq!(context.security_level(), SecurityLevel::IntegrityAndPrivacy);
    assert_eq!(session.sealer.max_payload(), 70_000 - 24);
}

#[test]
fn results_that_lack_something_or_were_not_asked_for_are_refused() {
    let v = RpcVersion::new;
    let config = ClientConfig::new(ExpectedPeer::Any);
    let takes = |result| client_takes(&config, result);
    assert_eq!(takes(result()), Ok(()));
    assert_eq!(
        takes(HandshakerResult { application_protocol: "", ..result() }),
        Err(Kind::Missing("application_protocol"))
    );
    assert_eq!(
        takes(HandshakerResult { application_protocol: "h2", ..result() }),
        Err(Kind::NotOffered("application_protocol"))
    );
    assert_eq!(
        takes(HandshakerResult { record_protocol: "", ..result() }),
        Err(Kind::Missing("record_protocol"))
    );
    for not_offered in ["ALTSRP_GMAC_128", "ALTSRP_GCM_AES128", "ALTSRP_GCM_AES256", "x"] {
        assert_eq!(
            takes(HandshakerResult { record_protocol: not_offered, ..result() }),
            Err(Kind::NotOffered("record_protocol"))
        );
    }
    for found in [0, 16, 20, 40, 43] {
        let refused = takes(HandshakerResult { key_data: Secret::new(&KEY[..found]), ..result() });
        assert!(matches!(refused, Err(Kind::KeyTooShort(error)) if error.found == found));
    }
    for nobody in [
        None,
        Some(Identity::default()),
        Some(Identity::from_service_account("")),
        Some(Identity {
            identity: Some(alts_core::msg::IdentityKind::Hostname("host")),
            ..Identity::default()
        }),
    ] {
        assert_eq!(
            takes(HandshakerResult { peer_identity: nobody, ..result() }),
            Err(Kind::Missing("peer_identity.service_account"))
        );
    }
    assert_eq!(
        takes(HandshakerResult { local_identity: None, ..result() }),
        Err(Kind::Missing("local_identity"))
    );
    assert_eq!(
        takes(HandshakerResult { peer_rpc_versions: None, ..result() }),
        Err(Kind::Missing("peer_rpc_versions"))
    );
    for (min, max, compatible) in [
        (v(2, 1), v(2, 1), true),
        (v(1, 0), v(2, 1), true),
        (v(2, 0), v(3, 0), true),
        (v(2, 2), v(3, 0), false),
        (v(1, 0), v(2, 0), false),
        (v(3, 0), v(1, 0), false),
    ] {
        let versions = Some(RpcProtocolVersions::new(min, max));
        let expected = if compatible { Ok(()) } else { Err(Kind::RpcVersions) };
        assert_eq!(takes(HandshakerResult { peer_rpc_versions: versions, ..result() }), expected);
    }
    let quic = Some(NegotiatedTransportProtocol { transport_protocol: "quic" });
    assert_eq!(
        takes(HandshakerResult { transport_protocol: quic, ..result() }),
        Err(Kind::NotOffered("transport_protocol"))
    );
    let long = "a".repeat(257);
    let long = Some(Identity::from_service_account(&long));
    let refused = takes(HandshakerResult { peer_identity: long, ..result() });
    assert!(matches!(refused, Err(Kind::Context(_))), "{refused:?}");
}

#[test]
fn integrity_only_is_taken_when_it_was_listed_and_reported_as_that() {
    let offer = Offer::new().with_record_protocols(&[RecordProtocol::Gmac128]);
    let config = ClientConfig::new(ExpectedPeer::Any).with_offer(offer);
    let mut client = client_in_exchange(&config, b"ServerInit");
    let response = HandshakerResp {
        bytes_consumed: 10,
        result: Some(HandshakerResult {
            record_protocol: "ALTSRP_GMAC_128",
            key_data: Secret::new(&KEY[..16]),
            ..result()
        }),
        status: ok(),
        ..HandshakerResp::default()
    };
    client.response(&mut bytes(&response), T0).unwrap();
    let established = client.established().unwrap();
    assert_eq!(established.context().security_level(), SecurityLevel::IntegrityOnly);
    assert_eq!(client_takes(&config, result()), Err(Kind::NotOffered("record_protocol")));
}

#[test]
fn the_client_compares_accounts_itself_byte_by_byte() {
    for expected in ["Peer@example.com", "peer@example.co", "peer@example.com ", "x@y"] {
        let expected = [expected];
        let config = ClientConfig::new(ExpectedPeer::Accounts(&expected));
        assert_eq!(client_takes(&config, result()), Err(Kind::UnexpectedPeer));
        let mut client = client_in_exchange(&config, b"ServerInit");
        let response = HandshakerResp {
            bytes_consumed: 10,
            result: Some(result()),
            status: ok(),
            ..HandshakerResp::default()
        };
        let error = client.response(&mut bytes(&response), T0).unwrap_err();
        assert_eq!((error.fault(), error.phase()), (Fault::Peer, HandshakePhase::Exchange));
        assert_eq!(client.peer_account(), "peer@example.com");
    }
}

#[test]
fn the_client_may_expect_accounts_by_pattern() {
    for (text, admitted) in [("*@example.com", true), ("*@*.example.com", false)] {
        let patterns = [AccountPattern::exact("x@y"), AccountPattern::new(text).unwrap()];
        let config = ClientConfig::new(ExpectedPeer::Matching(&patterns));
        let taken = client_takes(&config, result()).map(drop);
        assert_eq!(taken, if admitted { Ok(()) } else { Err(Kind::UnexpectedPeer) }, "{text}");
    }
}

#[test]
fn a_status_counts_on_every_response_and_an_alert_goes_out_first() {
    let refusal = HandshakerStatus { code: 7, details: "the peer's certificate has expired" };
    for with_result in [false, true] {
        let config = ClientConfig::new(ExpectedPeer::Any);
        let mut client = client_in_exchange(&config, b"ServerInit");
        let mut message = bytes(&HandshakerResp {
            out_frames: b"alert",
            bytes_consumed: 10,
            result: with_result.then(result),
            status: Some(refusal.clone()),
        });
        let response = client.response(&mut message, T0).unwrap();
        assert_eq!(message[response.to_peer], *b"alert");
        assert_eq!(client.want(T0), Ok(Want::Alert));
        // An alert that takes too long does not change what the error is.
        let late = if with_result { T0 } else { client.deadline() };
        if with_result {
            client.sent(T0);
        }
        let error = client.want(late).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused { code: 7 });
        assert_eq!(error.fault(), Fault::HandshakerService);
        assert!(error.to_string().contains("PERMISSION_DENIED"), "{error}");
        assert_eq!(client.details(), refusal.details);
        assert_eq!(client.established().unwrap_err(), error, "the error wins over the result");
    }
    // No alert, no wait; and a response without a status is none.
    for (status, kind) in [(Some(refusal), Kind::Refused { code: 7 }), (None, Kind::MissingStatus)]
    {
        let config = ClientConfig::new(ExpectedPeer::Any);
        let mut client = client_in_exchange(&config, b"ServerInit");
        let mut message =
            bytes(&HandshakerResp { result: Some(result()), status, ..HandshakerResp::default() });
        assert_eq!(client.response(&mut message, T0).unwrap_err().kind(), kind);
        assert!(message.iter().all(|byte| *byte == 0), "what may hold a key is wiped");
    }
}

#[test]
fn bytes_that_were_not_consumed_are_given_again() {
    let config = ServerConfig::new();
    let mut server = ServerHandshake::server(&config, T0).unwrap();
    let mut out = [0; 4096];
    let given = |out: &[u8], len| match HandshakerReq::decode(&out[..len]).unwrap().request {
        Some(Request::ServerStart(start)) => start.in_bytes.to_vec(),
        Some(Request::Next(next)) => next.in_bytes.to_vec(),
        _ => panic!("no bytes"),
    };
    let consumed =
        |n| bytes(&HandshakerResp { bytes_consumed: n, status: ok(), ..HandshakerResp::default() });
    let len = server.request(b"ab", &mut out, T0).unwrap();
    assert_eq!(given(&out, len), b"ab");
    // Nothing used: more is needed, and all of it is shown again.
    assert_eq!(server.response(&mut consumed(0), T0).unwrap().consumed, 0);
    assert_eq!(server.want(T0), Ok(Want::PeerBytes));
    let len = server.request(b"abcd", &mut out, T0).unwrap();
    assert_eq!(given(&out, len), b"abcd");
    // A part used: the rest may be enough for another step, without the peer.
    assert_eq!(server.response(&mut consumed(3), T0).unwrap().consumed, 3);
    assert_eq!(server.want(T0), Ok(Want::Request));
    let len = server.request(b"d", &mut out, T0).unwrap();
    assert_eq!(given(&out, len), b"d");
    assert_eq!(server.response(&mut consumed(0), T0).unwrap().consumed, 0);
    assert_eq!(server.want(T0), Ok(Want::PeerBytes));
    // The same bytes again would be a loop.
    let error = server.request(b"d", &mut out, T0).unwrap_err();
    assert_eq!((error.kind(), error.fault()), (Kind::OutOfTurn, Fault::Local));
}

#[test]
fn a_service_cannot_consume_what_it_was_not_given() {
    let config = ClientConfig::new(ExpectedPeer::Any);
    let mut client = client_in_exchange(&config, b"ServerInit");
    let mut message = bytes(&HandshakerResp {
        bytes_consumed: 11,
        result: Some(result()),
        status: ok(),
        ..HandshakerResp::default()
    });
    let error = client.response(&mut message, T0).unwrap_err();
    assert_eq!(error.kind(), Kind::ConsumedTooMuch { consumed: 11, given: 10 });

    let mut client = ClientHandshake::client(&config, T0).unwrap();
    client.request(&[], &mut [0; 4096], T0).unwrap();
    let mut message =
        bytes(&HandshakerResp { bytes_consumed: 1, status: ok(), ..HandshakerResp::default() });
    let error = client.response(&mut message, T0).unwrap_err();
    assert_eq!(error.kind(), Kind::ConsumedTooMuch { consumed: 1, given: 0 });
}

#[test]
fn a_result_before_the_peer_has_said_anything_is_refused() {
    let config = ClientConfig::new(ExpectedPeer::Any);
    let mut client = ClientHandshake::client(&config, T0).unwrap();
    client.request(&[], &mut [0; 4096], T0).unwrap();
    let mut message =
        bytes(&HandshakerResp { result: Some(result()), status: ok(), ..Default::default() });
    assert_eq!(client.response(&mut message, T0).unwrap_err().kind(), Kind::EarlyResult);
}

#[test]
fn bytes_and_rounds_are_bounded() {
    let config = ClientConfig::new(ExpectedPeer::Any);
    // A service that makes more and more of them.
    let mut client = client_in_exchange(&config, b"x");
    let mut message = out_frames(&vec![0; MAX_HANDSHAKE_BYTES]);
    let error = client.response(&mut message, T0).unwrap_err();
    assert_eq!(error.kind(), Kind::TooManyOutFrames);

    // A peer that sends more and more of them.
    let mut out = vec![0; MAX_HANDSHAKE_BYTES + 100];
    let mut client = client_in_exchange(&config, b"x");
    let all = |n| bytes(&HandshakerResp { bytes_consumed: n, status: ok(), ..Default::default() });
    client.response(&mut all(1), T0).unwrap();
    let chunk = vec![0; MAX_HANDSHAKE_BYTES / 4];
    let error = loop {
        match client.request(&chunk, &mut out, T0) {
            Ok(len) => {
                let Some(Request::Next(next)) = HandshakerReq::decode(&out[..len]).unwrap().request
                else {
                    panic!("no next")
                };
                let given = next.in_bytes.len() as u32;
                client.response(&mut all(given), T0).unwrap();
            }
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.fault()), (Kind::TooManyPeerBytes, Fault::Peer));

    // A service that never comes to an end, at a byte a time.
    let mut client = client_in_exchange(&config, b"x");
    let mut rounds = 2;
    let error = loop {
        client.response(&mut all(1), T0).unwrap();
        match client.request(b"x", &mut out, T0) {
            Ok(_) => rounds += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), rounds), (Kind::TooManyRounds, MAX_ROUNDS));
}

#[test]
fn what_does_not_fit_into_the_request_waits_for_the_next() {
    let config = ClientConfig::new(ExpectedPeer::Any);
    let mut client = client_in_exchange(&config, b"x");
    let mut all = bytes(&HandshakerResp { bytes_consumed: 1, status: ok(), ..Default::default() });
    client.response(&mut all, T0).unwrap();
    let mut out = [0; 40];
    for too_small in 0..5 {
        let error = client.request(&[7; 100], &mut out[..too_small], T0).unwrap_err();
        assert!(matches!(error.kind(), Kind::BufferTooSmall { .. }), "{too_small}: {error}");
    }
    let len = client.request(&[7; 100], &mut out, T0).unwrap();
    let Some(Request::Next(next)) = HandshakerReq::decode(&out[..len]).unwrap().request else {
        panic!("no next")
    };
    assert!((20..40).contains(&next.in_bytes.len()));
    let given = next.in_bytes.len();
    let mut all =
        bytes(&HandshakerResp { bytes_consumed: given as u32, status: ok(), ..Default::default() });
    assert_eq!(client.response(&mut all, T0).unwrap().consumed, given);
}

#[test]
fn the_deadline_names_who_was_waited_for() {
    let config = ClientConfig::new(ExpectedPeer::Any);
    let late = T0 + Duration::from_secs(20);
    let just = late - Duration::from_nanos(1);
    let mut client = ClientHandshake::client(&config, T0).unwrap();
    assert_eq!(client.deadline(), late);
    client.request(&[], &mut [0; 4096], T0).unwrap();
    assert_eq!(client.want(just), Ok(Want::Response));
    let error = client.want(late).unwrap_err();
    assert_eq!(error.kind(), Kind::TimedOut { waiting_for: Fault::HandshakerService });
    assert_eq!(client.want(T0), Err(error), "for good");

    let mut client = ClientHandshake::client(&config, T0).unwrap();
    client.request(&[], &mut [0; 4096], T0).unwrap();
    let response = client.response(&mut out_frames(b"ClientInit"), T0).unwrap();
    assert!(!response.to_peer.is_empty());
    client.sent(T0);
    let error = client.request(b"late", &mut [0; 4096], late).unwrap_err();
    assert_eq!((error.fault(), error.phase()), (Fault::Peer, HandshakePhase::Exchange));

    let config = ServerConfig::new();
    let mut server = ServerHandshake::server(&config, T0).unwrap();
    assert_eq!(server.want(T0 + Duration::from_secs(30)).unwrap_err().fault(), Fault::Peer);
}

#[test]
fn a_counterpart_that_goes_away_is_named() {
    let config = ClientConfig::new(ExpectedPeer::Any);
    let mut client = client_in_exchange(&config, b"x");
    let error = client.service_closed();
    assert_eq!((error.kind(), error.fault()), (Kind::ServiceClosed, Fault::HandshakerService));
    assert_eq!(client.peer_closed(), error, "the first error stays");
    let mut client = client_in_exchange(&config, b"x");
    assert_eq!(client.peer_closed().fault(), Fault::Peer);

    // A client that goes away before it has said anything, and one that has seen our answer.
    let config = ServerConfig::new();
    let mut server = ServerHandshake::server(&config, T0).unwrap();
    assert_eq!(server.peer_closed().phase(), HandshakePhase::Start);
    let mut server = ServerHandshake::server(&config, T0).unwrap();
    server.request(b"ClientInit", &mut [0; 4096], T0).unwrap();
    assert_eq!(server.phase(), HandshakePhase::Start);
    server.response(&mut out_frames(b"ServerInit"), T0).unwrap();
    server.sent(T0);
    assert_eq!(server.peer_closed().phase(), HandshakePhase::Exchange);
    assert_eq!(server.phase(), HandshakePhase::Exchange);

    let config = ClientConfig::new(ExpectedPeer::Any);
    let mut client = client_in_exchange(&config, b"x");
    client.peer_closed();
    assert!(client.request(b"xy", &mut [0; 4096], T0).is_err());
}

#[test]
fn configurations_that_cannot_be_sent_are_refused_at_once() {
    let refused = |config: ClientConfig<'_>| {
        let error = ClientHandshake::client(&config, T0).unwrap_err();
        assert_eq!(error.fault(), Fault::Local);
        match error.kind() {
            Kind::Config(error) => error,
            kind => panic!("{kind:?}"),
        }
    };
    let offer = Offer::new();
    let any = || ClientConfig::new(ExpectedPeer::Any);
    let accounts = |accounts| ClientConfig::new(ExpectedPeer::Accounts(accounts));
    let empty = |field| HandshakeConfigError::Empty { field };
    assert_eq!(
        refused(any().with_offer(offer.clone().with_application_protocols(&[]))),
        empty("application_protocols")
    );
    assert_eq!(
        refused(any().with_offer(offer.with_record_protocols(&[]))),
        empty("record_protocols")
    );
    let field = "expected_service_accounts";
    assert_eq!(refused(accounts(&["a@x", ""])), empty(field));
    // A list that was left empty by mistake does not admit everybody.
    assert_eq!(refused(accounts(&[])), empty(field));
    assert_eq!(refused(ClientConfig::new(ExpectedPeer::Matching(&[]))), empty(field));
    assert_eq!(
        refused(accounts(&["a@x"; 33])),
        HandshakeConfigError::TooMany { field, capacity: 32 }
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A service that answers anything and a peer that sends anything: the machine ends in a
    /// result only when there is one in the response, and never panics.
    #[test]
    fn any_service_and_any_peer(
        answers in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            (prop::collection::vec(any::<u8>(), 0..8), 0u32..8, any::<bool>(), 0u32..2).prop_map(
                |(frames, consumed, with_result, code)| bytes(&HandshakerResp {
                    out_frames: &frames,
                    bytes_consumed: consumed,
                    result: with_result.then(result),
                    status: Some(HandshakerStatus { code, details: "no" }),
                })
            ),
        ], 1..12),
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 1..12),
        is_client: bool,
    ) {
        let (client, server) = (ClientConfig::new(ExpectedPeer::Any), ServerConfig::new());
        if is_client {
            drive(ClientHandshake::client(&client, T0).unwrap(), answers, chunks)?;
        } else {
            drive(ServerHandshake::server(&server, T0).unwrap(), answers, chunks)?;
        }
    }
}

/// Follows the machine's wishes; what was consumed and what is left has to add up.
fn drive<R: alts_core::handshake::Role>(
    mut machine: alts_core::handshake::Handshake<R>,
    answers: Vec<Vec<u8>>,
    chunks: Vec<Vec<u8>>,
) -> Result<(), TestCaseError> {
    let (mut answers, mut chunks) = (answers.into_iter(), chunks.into_iter());
    let (mut inbox, mut out) = (Vec::new(), [0; 2048]);
    let mut had_result = false;
    while let Ok(want) = machine.want(T0) {
        match want {
            Want::PeerBytes => match chunks.next() {
                Some(chunk) if chunk.is_empty() => continue,
                Some(chunk) => {
                    inbox.extend(chunk);
                    let Ok(_) = machine.request(&inbox, &mut out, T0) else { break };
                }
                None => {
                    machine.peer_closed();
                }
            },
            Want::Request => {
                let Ok(_) = machine.request(&inbox, &mut out, T0) else { break };
            }
            Want::Response => match answers.next() {
                Some(mut answer) => {
                    let before = HandshakerResp::decode(&answer).map(|r| r.result.is_some());
                    had_result = before == Ok(true);
                    if let Ok(response) = machine.response(&mut answer, T0) {
                        prop_assert!(response.consumed <= inbox.len());
                        prop_assert!(response.to_peer.end <= answer.len());
                        inbox.drain(..response.consumed);
                    }
                }
                None => {
                    machine.service_closed();
                }
            },
            Want::Send | Want::Alert => machine.sent(T0),
            Want::Established => {
                prop_assert!(had_result);
                prop_assert!(machine.established().is_ok());
                return Ok(());
            }
        }
    }
    prop_assert!(machine.established().is_err());
    Ok(())
}
