//! The handshake machine at its edges: calls out of turn, and bounds to the last byte.
#![allow(clippy::pedantic, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "support/answers.rs"]
mod answers;

use std::time::Duration;

use alts_core::frame::FrameSize;
use alts_core::handshake::{
    ClientConfig, ExpectedPeer, HandshakeConfigError, HandshakeErrorKind as Kind, HandshakePhase,
    MAX_HANDSHAKE_BYTES, Offer, REQUEST_OVERHEAD, ServerConfig, Want,
};
use alts_core::key::RecordProtocol;
use alts_core::msg::{
    HandshakerReq, HandshakerResp, HandshakerResult, NegotiatedTransportProtocol, Request,
};
use alts_core::wire::{Message, SecretText};
use alts_core::{ClientHandshake, Fault, ServerHandshake, Side};

use self::answers::{ok, out_frames, result};

const T0: Duration = Duration::from_secs(1000);

fn bytes(response: HandshakerResp<'_>) -> Vec<u8> {
    answers::bytes(&HandshakerResp { status: ok(), ..response })
}

fn consumed(bytes_consumed: u32) -> Vec<u8> {
    bytes(HandshakerResp { bytes_consumed, ..HandshakerResp::default() })
}

fn client<'c>(config: &'c ClientConfig<'c>) -> ClientHandshake<'c> {
    ClientHandshake::client(config, T0).unwrap()
}

/// A client that waits for its peer, after the service has seen the start message.
fn waiting<'c>(config: &'c ClientConfig<'c>) -> ClientHandshake<'c> {
    let mut client = client(config);
    client.request(&[], &mut [0; 4096], T0).unwrap();
    let _ = client.response(&mut out_frames(b"ClientInit"), T0).unwrap();
    client.sent(T0);
    assert_eq!(client.want(T0), Ok(Want::PeerBytes));
    client
}

#[test]
fn calls_out_of_turn_end_the_handshake_and_are_this_sides_fault() {
    let config = ClientConfig::new(ExpectedPeer::Any);
    let mut out = [0; 4096];

    let mut early = client(&config);
    let error = early.response(&mut consumed(0), T0).unwrap_err();
    assert_eq!((error.kind(), error.fault()), (Kind::OutOfTurn, Fault::Local));
    assert_eq!(early.want(T0), Err(error), "for good");

    let mut twice = client(&config);
    twice.request(&[], &mut out, T0).unwrap();
    assert_eq!(twice.request(&[], &mut out, T0).unwrap_err().kind(), Kind::OutOfTurn);

    let mut unsent = client(&config);
    unsent.request(&[], &mut out, T0).unwrap();
    let _ = unsent.response(&mut out_frames(b"ClientInit"), T0).unwrap();
    assert_eq!(unsent.want(T0), Ok(Want::Send));
    assert_eq!(unsent.request(b"x", &mut out, T0).unwrap_err().kind(), Kind::OutOfTurn);

    let mut silent = waiting(&config);
    let error = silent.request(&[], &mut out, T0).unwrap_err();
    assert_eq!(error.kind(), Kind::OutOfTurn, "the peer has said nothing");

    let error = waiting(&config).established().unwrap_err();
    assert_eq!((error.kind(), error.phase()), (Kind::OutOfTurn, HandshakePhase::Exchange));
    assert_eq!(client(&config).established().unwrap_err().phase(), HandshakePhase::Start);
}

#[test]
fn what_was_not_asked_for_is_not_sent() {
    let config = ClientConfig::new(ExpectedPeer::Any);
    let mut client = waiting(&config);
    client.sent(T0 + Duration::from_secs(5));
    client.sent(T0 + Duration::from_secs(6));
    assert_eq!(client.want(T0), Ok(Want::PeerBytes));
    // The latency counts from the one time that there was something to send.
    let mut out = [0; 4096];
    let len = client.request(b"x", &mut out, T0 + Duration::from_secs(7)).unwrap();
    let Some(Request::Next(next)) = HandshakerReq::decode(&out[..len]).unwrap().request else {
        panic!("no next");
    };
    assert_eq!(next.network_latency_ms, 7000);
}

#[test]
fn a_latency_beyond_its_place_is_the_largest() {
    let timeout = Duration::from_secs(1 << 40);
    let config = ClientConfig::new(ExpectedPeer::Any).with_timeout(timeout);
    let mut client = waiting(&config);
    let mut out = [0; 4096];
    let len = client.request(b"x", &mut out, T0 + Duration::from_millis(1 << 33)).unwrap();
    let Some(Request::Next(next)) = HandshakerReq::decode(&out[..len]).unwrap().request else {
        panic!("no next");
    };
    assert_eq!(next.network_latency_ms, u32::MAX);
}

#[test]
fn a_deadline_is_this_sides_fault_when_nobody_is_waited_for() {
    let config = ClientConfig::new(ExpectedPeer::Any);
    let late = T0 + config.timeout;
    let error = client(&config).want(late).unwrap_err();
    assert_eq!(error.kind(), Kind::TimedOut { waiting_for: Fault::Local });
    // Bytes for the peer wait to be written: it does not take them.
    let mut client = client(&config);
    client.request(&[], &mut [0; 4096], T0).unwrap();
    let _ = client.response(&mut out_frames(b"ClientInit"), T0).unwrap();
    assert_eq!(client.want(late).unwrap_err().fault(), Fault::Peer);
    // No clock reaches the end of time.
    let config = ClientConfig::new(ExpectedPeer::Any).with_timeout(Duration::MAX);
    assert_eq!(ClientHandshake::client(&config, T0).unwrap().deadline(), Duration::MAX);
}

#[test]
fn as_many_handshake_bytes_as_allowed_and_not_one_more() {
    let config = ClientConfig::new(ExpectedPeer::Any);
    for (len, fits) in [(MAX_HANDSHAKE_BYTES, true), (MAX_HANDSHAKE_BYTES + 1, false)] {
        let mut client = client(&config);
        client.request(&[], &mut [0; 4096], T0).unwrap();
        let made = client.response(&mut out_frames(&vec![7; len]), T0);
        match made {
            Ok(response) => {
                assert!(fits && response.to_peer.len() == len);
                client.sent(T0);
                assert_eq!(client.want(T0), Ok(Want::PeerBytes));
            }
            Err(error) => assert!(!fits && error.kind() == Kind::TooManyOutFrames),
        }
    }
    let mut client = waiting(&config);
    let mut out = vec![0; MAX_HANDSHAKE_BYTES + 100];
    let all = vec![7; MAX_HANDSHAKE_BYTES + 1];
    // All but one, then one of two, and then none.
    for (from_peer, taken) in
        [(&all[..MAX_HANDSHAKE_BYTES - 1], MAX_HANDSHAKE_BYTES - 1), (&all[..2], 1)]
    {
        let len = client.request(from_peer, &mut out, T0).unwrap();
        let Some(Request::Next(next)) = HandshakerReq::decode(&out[..len]).unwrap().request else {
            panic!("no next");
        };
        assert_eq!(next.in_bytes.len(), taken);
        let _ = client.response(&mut consumed(taken as u32), T0).unwrap();
    }
    let error = client.request(b"x", &mut out, T0).unwrap_err();
    assert_eq!((error.kind(), error.fault()), (Kind::TooManyPeerBytes, Fault::Peer));
}

#[test]
fn a_start_message_of_ordinary_size_has_room() {
    let account = "a-service-account-of-some-length@example.com";
    let token = "t".repeat(1500);
    let expected = [account; 32];
    let config = ClientConfig::new(ExpectedPeer::Accounts(&expected))
        .with_access_token(SecretText::new(&token));
    let len = client(&config).request(&[], &mut [0; REQUEST_OVERHEAD], T0).unwrap();
    assert!((2048..REQUEST_OVERHEAD).contains(&len), "{len} bytes");
}

#[test]
fn a_result_may_use_up_bytes_that_came_earlier() {
    // The peer's bytes were consumed before the result, which comes without new ones.
    let config = ClientConfig::new(ExpectedPeer::Any);
    let mut client = waiting(&config);
    client.request(b"abc", &mut [0; 4096], T0).unwrap();
    let _ = client.response(&mut consumed(2), T0).unwrap();
    assert_eq!(client.want(T0), Ok(Want::Request));
    client.request(b"c", &mut [0; 4096], T0).unwrap();
    let mut message = bytes(HandshakerResp { result: Some(result()), ..Default::default() });
    let response = client.response(&mut message, T0).unwrap();
    assert_eq!((response.to_peer, response.consumed), (0..0, 0));
    assert_eq!((client.want(T0), client.phase()), (Ok(Want::Established), HandshakePhase::Result));
    assert_eq!(client.peer_account(), "peer@example.com");
    let established = client.established().unwrap();
    assert_eq!(established.side(), Side::Client);
    assert_eq!(established.context().record_protocol(), RecordProtocol::AesGcm128Rekey);
    assert_eq!(established.frame_size(), FrameSize::MIN, "the peer did not say");
    assert!(!established.keep_channel_open());
}

#[test]
fn a_server_takes_whoever_the_service_vouches_for() {
    let config = ServerConfig::new();
    let mut server = ServerHandshake::server(&config, T0).unwrap();
    server.request(b"ClientInit", &mut [0; 4096], T0).unwrap();
    let mut message = bytes(HandshakerResp {
        bytes_consumed: 10,
        result: Some(result()),
        ..HandshakerResp::default()
    });
    let _ = server.response(&mut message, T0).unwrap();
    let established = server.established().unwrap();
    assert_eq!(established.side(), Side::Server);
    assert_eq!(established.context().peer_service_account(), "peer@example.com");
}

#[test]
fn an_error_after_the_result_takes_it_back() {
    let config = ClientConfig::new(ExpectedPeer::Any);
    let mut client = waiting(&config);
    client.request(b"abc", &mut [0; 4096], T0).unwrap();
    let mut message = bytes(HandshakerResp {
        out_frames: b"ClientFinished",
        bytes_consumed: 3,
        result: Some(result()),
        ..Default::default()
    });
    let _ = client.response(&mut message, T0).unwrap();
    assert_eq!((client.want(T0), client.phase()), (Ok(Want::Send), HandshakePhase::Result));
    let error = client.peer_closed();
    assert_eq!((error.phase(), client.phase()), (HandshakePhase::Result, HandshakePhase::Result));
    assert_eq!(client.established().unwrap_err(), error);
}

#[test]
fn a_transport_protocol_is_taken_when_it_was_offered_or_not_chosen() {
    let offer = Offer::new().with_transport_protocols(&["tcp"]);
    let config = ClientConfig::new(ExpectedPeer::Any).with_offer(offer);
    for (chosen, accepted) in [("tcp", true), ("", true), ("quic", false)] {
        let mut client = waiting(&config);
        client.request(b"abc", &mut [0; 4096], T0).unwrap();
        let transport_protocol = Some(NegotiatedTransportProtocol { transport_protocol: chosen });
        let result = HandshakerResult { transport_protocol, ..result() };
        let mut message =
            bytes(HandshakerResp { bytes_consumed: 3, result: Some(result), ..Default::default() });
        assert_eq!(client.response(&mut message, T0).is_ok(), accepted, "{chosen}");
    }
}

#[test]
fn lists_may_be_as_long_as_their_places() {
    let config_error = |error: alts_core::handshake::HandshakeError| match error.kind() {
        Kind::Config(error) => error,
        kind => panic!("{kind:?}"),
    };
    let offer = Offer::new();
    let protocols = ["p"; 17];
    let (records, accounts) = ([RecordProtocol::AesGcm128Rekey; 17], ["a@x"; 33]);
    let offered = |field, of: &dyn Fn(usize) -> ClientConfig<'static>, capacity| {
        let fits = of(capacity);
        assert!(ClientHandshake::client(&fits, T0).is_ok(), "{capacity} {field}");
        let refused = ClientHandshake::client(&of(capacity + 1), T0).err().map(config_error);
        assert_eq!(refused, Some(HandshakeConfigError::TooMany { field, capacity }));
    };
    let (protocols, records): (&'static [&str], &'static [RecordProtocol]) =
        (Box::leak(Box::new(protocols)), Box::leak(Box::new(records)));
    let accounts: &'static [&str] = Box::leak(Box::new(accounts));
    let with = |offer| ClientConfig::new(ExpectedPeer::Any).with_offer(offer);
    offered(
        "application_protocols",
        &|n| with(offer.clone().with_application_protocols(&protocols[..n])),
        16,
    );
    offered("record_protocols", &|n| with(offer.clone().with_record_protocols(&records[..n])), 16);
    offered(
        "transport_protocols",
        &|n| with(offer.clone().with_transport_protocols(&protocols[..n])),
        16,
    );
    offered(
        "expected_service_accounts",
        &|n| ClientConfig::new(ExpectedPeer::Accounts(&accounts[..n])),
        32,
    );
    let server = |n: usize| {
        let config = ServerConfig::new().with_local_identities(&accounts[..n]);
        ServerHandshake::server(&config, T0).err().map(config_error)
    };
    let capacity = alts_core::msg::capacity::LOCAL_IDENTITIES;
    assert_eq!(server(capacity), None);
    let field = "local_identities";
    assert_eq!(server(capacity + 1), Some(HandshakeConfigError::TooMany { field, capacity }));
}
