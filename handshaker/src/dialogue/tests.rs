//! What a peer can do that has a good certificate and bad manners.
#![cfg(feature = "dev")]

use std::sync::Arc;

use super::*;
use crate::dev::Authority;
use crate::negotiation::DEFAULT_RPC_VERSIONS;
use crate::service::Shared;

fn offer(account: &str) -> Offer {
    Offer {
        application_protocols: vec!["grpc".to_owned()],
        record_protocols: vec!["ALTSRP_GCM_AES128_REKEY".to_owned()],
        rpc_versions: DEFAULT_RPC_VERSIONS,
        max_frame_size: 0,
        transport_protocols: vec![],
        service_account: account.to_owned(),
    }
}

const CLIENT: &str = "client@dev.test";
const SERVER: &str = "server@dev.test";

fn start(shared: &Shared, offer: Offer) -> Start<'_> {
    Start {
        exchange: &shared.exchange,
        identity: &shared.identity,
        local_end: &shared.local_end,
        roots: &shared.roots,
        time: &shared.time,
        offer,
        expected: vec![],
        servers: None,
        accept_machines: false,
        max_bytes: 1_000_000,
    }
}

fn shared() -> (Arc<Shared>, Arc<Shared>) {
    let authority = Authority::new().unwrap();
    let make = |account| authority.handshaker(account).unwrap().shared();
    (make(CLIENT), make(SERVER))
}

/// A client and a server; the client's first message is on its way.
fn dialogues(client: Offer, server: Offer) -> (Dialogue, Dialogue, Vec<u8>) {
    let (c, s) = shared();
    let (client, hello) = Dialogue::client(start(&c, client)).unwrap();
    (client, Dialogue::server(start(&s, server)).unwrap(), hello)
}

#[test]
fn a_client_may_not_claim_what_its_certificate_does_not_say() {
    for claim in ["admin@dev.test", "Client@dev.test"] {
        let (mut client, mut server, hello) = dialogues(offer(claim), offer(SERVER));
        let init = server.receive(&hello).unwrap().out;
        let failure = server.receive(&client.receive(&init).unwrap().out).unwrap_err();
        assert_eq!(failure.reason(), Some(Reason::IdentityNotVouched));
        assert!(failure.details().contains(claim) && failure.details().contains(CLIENT));
    }
}

#[test]
fn a_server_may_not_claim_what_its_certificate_does_not_say() {
    let (mut client, mut server, hello) = dialogues(offer(CLIENT), offer("admin@dev.test"));
    client.expected = vec!["admin@dev.test".to_owned(), SERVER.to_owned()];
    let init = server.receive(&hello).unwrap().out;
    let choice = server.receive(&client.receive(&init).unwrap().out).unwrap().out;
    let failure = client.receive(&choice).unwrap_err();
    assert_eq!(failure.reason(), Some(Reason::IdentityNotVouched));
}

#[test]
fn a_client_notices_a_server_that_saw_another_certificate() {
    let (mut client, mut server, hello) = dialogues(offer(CLIENT), offer(SERVER));
    client.own_certificate = b"another".to_vec();
    let init = server.receive(&hello).unwrap().out;
    let choice = server.receive(&client.receive(&init).unwrap().out).unwrap().out;
    assert_eq!(client.receive(&choice).unwrap_err().reason(), Some(Reason::Confirmation));
}

#[test]
fn a_server_notices_a_client_that_confirms_something_else() {
    let (mut client, mut server, hello) = dialogues(offer(CLIENT), offer(SERVER));
    let init = server.receive(&hello).unwrap().out;
    server.receive(&client.receive(&init).unwrap().out).unwrap();
    // TLS is in order, the confirmation is not.
    let records = client.exchange.send(&[0; CONFIRMATION]).unwrap();
    let finished = frame(MessageType::ClientFinished, records).unwrap();
    let failure = server.receive(&finished).unwrap_err();
    assert_eq!(failure.reason(), Some(Reason::Confirmation));
}

#[test]
fn confirmations_of_the_two_sides_differ() {
    let (mut client, mut server, hello) = dialogues(offer(CLIENT), offer(SERVER));
    let init = server.receive(&hello).unwrap().out;
    let choice = server.receive(&client.receive(&init).unwrap().out).unwrap().out;
    let data = client.exchange.receive(choice.split_at(crate::framing::HEADER).1).unwrap();
    let (_, of_server) = split_choice(&data).unwrap();
    let finished =
        frame(MessageType::ClientFinished, client.exchange.send(of_server).unwrap()).unwrap();
    let failure = server.receive(&finished).unwrap_err();
    assert_eq!(failure.reason(), Some(Reason::Confirmation), "an echo confirms nothing");
}

#[test]
fn parameters_have_to_be_there_and_readable() {
    for parameters in [vec![], vec![0xFF; 3], vec![0; MAX_PARAMETERS + 1]] {
        let (mut client, mut server, hello) = dialogues(offer(CLIENT), offer(SERVER));
        let init = server.receive(&hello).unwrap().out;
        client.exchange.receive(init.split_at(crate::framing::HEADER).1).unwrap();
        let records = client.exchange.send(&parameters).unwrap();
        let message = frame(MessageType::ClientParameters, records).unwrap();
        let failure = server.receive(&message).unwrap_err();
        assert_eq!(failure.fault(), Fault::Peer, "{failure}");
    }
}

#[test]
fn a_choice_that_was_not_offered_is_refused_by_the_client() {
    let (mut client, mut server, hello) = dialogues(offer(CLIENT), offer(SERVER));
    let init = server.receive(&hello).unwrap().out;
    let parameters = client.receive(&init).unwrap().out;
    let choice = server.receive(&parameters).unwrap().out;
    client.offer.record_protocols = vec!["ALTSRP_GCM_AES128".to_owned()];
    let failure = client.receive(&choice).unwrap_err();
    assert!(failure.details().contains("not offered"), "{failure}");
}

/// A TLS client without the protocol's name is not one of ours, whatever its certificate.
#[test]
fn both_sides_name_the_protocol() {
    let (mut client, mut server, hello) = dialogues(offer(CLIENT), offer(SERVER));
    assert!(hello.windows(7).any(|window| window == crate::exchange::PROTOCOL));
    let init = server.receive(&hello).unwrap().out;
    client.receive(&init).unwrap();
    assert!(client.exchange.is_ready());
    assert!(!server.exchange.is_ready(), "the client has not proved anything yet");
}

#[test]
fn a_peer_without_ml_kem_is_refused_where_it_is_required() {
    use crate::exchange::KeyExchange::{Any, Classical, PostQuantum};
    let authority = Authority::new().unwrap();
    let make = |account, key_exchange| {
        let mut builder = authority.builder(account).unwrap();
        builder.key_exchange = key_exchange;
        builder.build().unwrap().shared()
    };
    for (of_client, of_server, group) in [
        (PostQuantum, PostQuantum, "X25519MLKEM768"),
        (PostQuantum, Any, "X25519MLKEM768"),
        (Any, PostQuantum, "X25519MLKEM768"),
        (Any, Classical, "X25519"),
        (Classical, Any, "X25519"),
        (Classical, PostQuantum, ""),
        (PostQuantum, Classical, ""),
    ] {
        let (c, s) = (make(CLIENT, of_client), make(SERVER, of_server));
        let (mut client, hello) = Dialogue::client(start(&c, offer(CLIENT))).unwrap();
        let mut server = Dialogue::server(start(&s, offer(SERVER))).unwrap();
        let init = match server.receive(&hello) {
            Ok(progress) => progress.out,
            Err(failure) => {
                assert_eq!(group, "", "{failure}");
                let reason = failure.reason().unwrap();
                let alert = Message::alert(reason).encode().unwrap();
                let told = client.receive(&alert).unwrap_err();
                if of_server == PostQuantum {
                    assert_eq!(reason, Reason::PostQuantum);
                    assert!(failure.details().contains("X25519MLKEM768, which this side requires"));
                    assert!(told.details().contains("X25519MLKEM768, to which this side did not"));
                    assert_eq!(told.code(), Code::FailedPrecondition);
                } else {
                    // The server does not know what the client wanted.
                    assert_eq!(reason, Reason::KeyExchange);
                    assert!(told.details().contains("this side requires X25519MLKEM768"), "{told}");
                }
                continue;
            }
        };
        let parameters = client.receive(&init).unwrap().out;
        let choice = server.receive(&parameters).unwrap().out;
        let outcome = client.receive(&choice).unwrap().outcome.unwrap();
        assert_eq!(outcome.key_exchange(), group, "{of_client:?} {of_server:?}");
    }
}

/// One that does not refuse what it cannot do, but asks for something else.
#[test]
fn a_server_that_asks_for_another_key_exchange_is_refused() {
    let authority = Authority::new().unwrap();
    let builder = authority.builder(CLIENT).unwrap().require_post_quantum(true);
    let client = builder.build().unwrap().shared();
    let (mut client, first) = Dialogue::client(start(&client, offer(CLIENT))).unwrap();
    // RFC 8446 section 4.1.4: a HelloRetryRequest for X25519 (29).
    let mut hello = vec![3, 3];
    hello.extend_from_slice(&[
        0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8,
        0x91, 0xC2, 0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8,
        0x33, 0x9C,
    ]);
    let session = first.windows(2).position(|pair| pair == [3, 3]).unwrap() + 34;
    hello.extend_from_slice(&first[session..=session + usize::from(first[session])]);
    hello.extend_from_slice(&[0x13, 0x01, 0, 0, 12, 0, 43, 0, 2, 3, 4, 0, 51, 0, 2, 0, 29]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 3, 0, length + 4, 2, 0, 0, length];
    record.extend_from_slice(&hello);
    let failure = client.receive(&frame(MessageType::ServerInit, record).unwrap()).unwrap_err();
    assert_eq!(failure.reason(), Some(Reason::PostQuantum), "{failure}");
}

#[test]
fn a_choice_has_exactly_one_form() {
    let data = |length: u32, rest: usize| {
        let mut data = length.to_le_bytes().to_vec();
        data.resize(4 + rest, 7);
        data
    };
    let good = data(5, 5 + CONFIRMATION);
    let (parameters, confirmation) = split_choice(&good).unwrap();
    assert_eq!((parameters.len(), confirmation.len()), (5, CONFIRMATION));
    for bad in [data(5, 4 + CONFIRMATION), data(5, 6 + CONFIRMATION), data(u32::MAX, 100)] {
        assert!(split_choice(&bad).is_err());
    }
    assert!(split_choice(&[]).is_err());
    assert!(split_choice(&[1, 0, 0]).is_err());
}

#[test]
fn application_data_is_not_early() {
    assert!(no_data_yet(&[]).is_ok());
    assert_eq!(no_data_yet(&[0]).unwrap_err().reason(), Some(Reason::Malformed));
}
