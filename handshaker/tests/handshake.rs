//! Handshakes that succeed: however the bytes are cut, and what both sides then know.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

#[path = "common/parties.rs"]
mod common;

use std::collections::HashSet;

use alts_core::key::RecordProtocol;
use alts_handshaker::Handshaker;
use alts_handshaker::dev::Authority;
use common::{CLIENT, End, NOW, RECORDS, REKEY, SERVER, Start, calls, drive, drive_with, versions};

fn default_handshake(most: usize) -> (End, End) {
    drive(calls(), (&Start::default(), &Start::default()), most)
}

fn assert_agreed(client: &End, server: &End) {
    let (c, s) = (client.outcome(), server.outcome());
    assert_eq!(c.key_data(), s.key_data());
    assert_ne!(c.key_data(), &[0; 44]);
    assert_eq!((c.peer_account(), c.local_account()), (SERVER, CLIENT));
    assert_eq!((s.peer_account(), s.local_account()), (CLIENT, SERVER));
    for outcome in [c, s] {
        assert_eq!(outcome.application_protocol(), "grpc");
        assert_eq!(outcome.record_protocol(), RecordProtocol::AesGcm128Rekey);
        assert_eq!(outcome.peer_rpc_versions(), versions((2, 1), (2, 1)));
        assert_eq!(outcome.peer_max_frame_size(), 1_048_576);
        assert_eq!(outcome.transport_protocol(), None);
    }
    assert_eq!(client.left, b"");
    assert_eq!(server.left, RECORDS, "what follows ClientFinished is the record layer's");
}

#[test]
fn any_pieces_give_the_same_handshake() {
    for most in [1, 2, 7, 8, 9, 100, 1000, usize::MAX] {
        let (client, server) = default_handshake(most);
        assert_agreed(&client, &server);
        if most == 1 {
            assert!(server.requests > 1000, "bytes really came one by one");
        }
        if most == usize::MAX {
            assert_eq!((client.requests, server.requests), (3, 3));
        }
    }
}

#[test]
fn the_result_on_the_wire_has_everything_that_peers_demand() {
    use alts_core::msg::HandshakerResp;
    use alts_core::wire::Message as _;
    let (client, server) = calls();
    let (mut client, mut server) = (End::new(client), End::new(server));
    let start = Start::default();
    let hello = client.ask(&start.client(), &[]);
    let reply = server.ask(&start.server(hello.out_frames()), hello.out_frames());
    let reply = client.ask(&common::next(reply.out_frames()), reply.out_frames());
    let reply = server.ask(&common::next(reply.out_frames()), reply.out_frames());
    let last = client.ask(&common::next(reply.out_frames()), reply.out_frames());
    assert!(!last.out_frames().is_empty(), "ClientFinished comes with the client's result");
    let bytes = last.encode();
    let response = HandshakerResp::decode(&bytes).unwrap();
    let result = response.result.unwrap();
    assert_eq!(result.key_data.expose().len(), 44);
    assert_eq!(result.application_protocol, "grpc");
    assert_eq!(result.record_protocol, REKEY);
    assert_eq!(result.peer_identity.unwrap().service_account(), Some(SERVER));
    assert_eq!(result.local_identity.unwrap().service_account(), Some(CLIENT));
    assert_eq!(result.peer_rpc_versions, Some(versions((2, 1), (2, 1))));
    assert_eq!(result.max_frame_size, 1_048_576);
    assert!(!result.keep_channel_open);
    let last = server.ask(&common::next(last.out_frames()), last.out_frames());
    assert!(last.out_frames().is_empty());
    assert!(last.outcome().is_some());
}

#[test]
fn a_server_may_start_before_the_client_has_spoken() {
    let (client, mut server) = calls();
    let reply = server.handle(&Start::default().server(&[]), NOW);
    assert!(reply.failure().is_none() && reply.out_frames().is_empty());
    assert_eq!(reply.bytes_consumed(), 0);

    let (mut client, mut server) = (End::new(client), End::new(server));
    let mut to_server = client.ask(&Start::default().client(), &[]).out_frames().to_vec();
    while !server.call.is_finished() {
        let reply = server.ask(&common::next(&to_server), &to_server);
        if reply.outcome().is_none() {
            let reply = client.ask(&common::next(reply.out_frames()), reply.out_frames());
            to_server = reply.out_frames().to_vec();
        }
    }
    assert_eq!(client.outcome().key_data(), server.outcome().key_data());
}

#[test]
fn keys_differ_between_handshakes() {
    let authority = Authority::new().unwrap();
    let client = authority.handshaker(CLIENT).unwrap();
    let server = authority.handshaker(SERVER).unwrap();
    let mut seen = HashSet::new();
    for _ in 0..4 {
        let calls = (client.begin(NOW), server.begin(NOW));
        let (client, _) = drive(calls, (&Start::default(), &Start::default()), usize::MAX);
        assert!(seen.insert(*client.outcome().key_data()));
    }
}

#[test]
fn key_exchange_is_post_quantum() {
    let (client, server) = default_handshake(usize::MAX);
    assert_eq!(client.outcome().key_exchange(), "X25519MLKEM768");
    assert_eq!(server.outcome().key_exchange(), "X25519MLKEM768");
}

#[test]
fn accounts_and_protocols_are_not_in_the_clear() {
    let mut wire = Vec::new();
    let start = Start::default();
    let (client, server) =
        drive_with(calls(), (&start, &start), usize::MAX, |_, bytes| wire.extend_from_slice(bytes));
    client.outcome();
    server.outcome();
    for secret in ["client@dev", "server@dev", "dev.test", "ALTSRP", "altsd.invalid", "NOT FOR"] {
        assert!(!wire.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
}

#[test]
fn each_side_is_told_the_others_frame_size_and_versions() {
    let client = Start { max_frame_size: 0, versions: None, ..Start::default() };
    let server = Start {
        max_frame_size: 65_536,
        versions: Some(versions((2, 0), (3, 7))),
        transport: Some(vec!["TCP", "QUIC"]),
        ..Start::default()
    };
    let (c, s) = drive(calls(), (&client, &server), usize::MAX);
    assert_eq!(c.outcome().peer_max_frame_size(), 65_536);
    assert_eq!(s.outcome().peer_max_frame_size(), 0);
    assert_eq!(c.outcome().peer_rpc_versions(), versions((2, 0), (3, 7)));
    assert_eq!(s.outcome().peer_rpc_versions(), versions((2, 1), (2, 1)));
    assert_eq!(c.outcome().transport_protocol(), None);

    let client = Start { transport: Some(vec!["QUIC", "TCP"]), ..client };
    let (c, s) = drive(calls(), (&client, &server), usize::MAX);
    assert_eq!(c.outcome().transport_protocol(), Some("QUIC"));
    assert_eq!(s.outcome().transport_protocol(), Some("QUIC"));
}

#[test]
fn one_of_several_expected_accounts_is_enough() {
    let client = Start { targets: vec!["other@dev.test", "host:x", SERVER], ..Start::default() };
    let (client, _) = drive(calls(), (&client, &Start::default()), usize::MAX);
    assert_eq!(client.outcome().peer_account(), SERVER);
}

#[test]
fn a_service_can_talk_to_itself() {
    let authority = Authority::new().unwrap();
    let handshaker = authority.handshaker(CLIENT).unwrap();
    let calls = (handshaker.begin(NOW), handshaker.begin(NOW));
    let (client, server) = drive(calls, (&Start::default(), &Start::default()), usize::MAX);
    assert_eq!(client.outcome().peer_account(), CLIENT);
    assert_eq!(server.outcome().peer_account(), CLIENT);
}

fn machine_handshakers() -> (Handshaker, Handshaker) {
    let authority = Authority::new().unwrap();
    let machine =
        |name| authority.machine_builder(name).unwrap().accept_machines(true).build().unwrap();
    (machine("one.test"), machine("two.test"))
}

#[test]
fn a_machine_vouches_for_its_users() {
    let (one, two) = machine_handshakers();
    let client = one.begin_for(["alice@one.test", "build@one.test"], NOW).unwrap();
    let server = two.begin_for(["bob@two.test"], NOW).unwrap();
    let start = Start { targets: vec!["bob@two.test"], ..Start::default() };
    let (client, server) = drive((client, server), (&start, &Start::default()), usize::MAX);
    assert_eq!(client.outcome().peer_account(), "bob@two.test");
    assert_eq!(server.outcome().peer_account(), "alice@one.test");
}

#[test]
fn a_caller_may_choose_among_its_own_accounts() {
    let (one, two) = machine_handshakers();
    let client = one.begin_for(["alice@one.test", "build@one.test"], NOW).unwrap();
    let server = two.begin_for(["bob@two.test", "web@two.test"], NOW).unwrap();
    let starts = (
        Start { local: vec!["build@one.test"], ..Start::default() },
        Start { local: vec!["root@two.test", "web@two.test"], ..Start::default() },
    );
    let (client, server) = drive((client, server), (&starts.0, &starts.1), usize::MAX);
    assert_eq!(client.outcome().peer_account(), "web@two.test");
    assert_eq!(server.outcome().peer_account(), "build@one.test");
}
