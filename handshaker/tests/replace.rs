//! A handshaker that becomes another one while it is used.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

#[path = "common/parties.rs"]
mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alts_handshaker::dev::{Authority, LIFETIME};
use alts_handshaker::identity::Subject;
use alts_handshaker::{Limits, TimeProvider};
use common::{CLIENT, End, NOW, SERVER, Start, drive, next};
use rustls::pki_types::UnixTime;

/// Drives the rest of a handshake that has come as far as the server's first answer.
fn finish(client: &mut End, server: &mut End, mut to_client: Vec<u8>) {
    while !server.call.is_finished() {
        let to_server = client.ask(&next(&to_client), &to_client).out_frames().to_vec();
        to_client = server.ask(&next(&to_server), &to_server).out_frames().to_vec();
    }
}

#[test]
fn a_handshake_keeps_what_it_began_with_and_the_next_has_what_is_new() {
    let (old, new) = (Authority::new().unwrap(), Authority::new().unwrap());
    let (client, server) = (old.handshaker(CLIENT).unwrap(), old.handshaker(SERVER).unwrap());
    // What connectors hold is a clone.
    let (client_in_use, server_in_use) = (client.clone(), server.clone());

    // One side has begun with the first message, the other has not begun to do anything.
    let mut begun = (End::new(client_in_use.begin(NOW)), End::new(server_in_use.begin(NOW)));
    let hello = begun.0.ask(&Start::default().client(), &[]).out_frames().to_vec();
    let replacement = new
        .builder("new@dev.test")
        .unwrap()
        .limits(Limits::default().with_deadline(Duration::from_secs(7)));
    client.replace(&replacement.build().unwrap()).unwrap();
    server.replace(&new.handshaker(SERVER).unwrap()).unwrap();
    let init = begun.1.ask(&Start::default().server(&hello), &hello).out_frames().to_vec();
    finish(&mut begun.0, &mut begun.1, init);
    assert_eq!(begun.1.outcome().peer_account(), CLIENT);
    assert_eq!(begun.0.outcome().key_data(), begun.1.outcome().key_data());

    // Whoever believes only the new authority would not believe the old certificates, and the other way round.
    let calls = (client_in_use.begin(NOW), server_in_use.begin(NOW));
    assert_eq!(calls.0.deadline(), NOW + Duration::from_secs(7));
    let (client_end, server_end) = drive(calls, (&Start::default(), &Start::default()), usize::MAX);
    assert_eq!(server_end.outcome().peer_account(), "new@dev.test");
    assert_eq!(client_end.outcome().local_account(), "new@dev.test");
    assert_eq!(client_in_use.subject(), Subject::ServiceAccount("new@dev.test".to_owned()));
    let one_old = (client_in_use.begin(NOW), old.handshaker(SERVER).unwrap().begin(NOW));
    let (client_end, _) = drive(one_old, (&Start::default(), &Start::default()), usize::MAX);
    assert!(client_end.failure().to_string().contains("authority"), "{}", client_end.failure());
}

#[test]
fn what_the_other_becomes_later_does_not_concern_this_one() {
    let authority = Authority::new().unwrap();
    let (one, other) =
        (authority.handshaker(CLIENT).unwrap(), authority.handshaker(SERVER).unwrap());
    one.replace(&other).unwrap();
    other.replace(&authority.handshaker("third@dev.test").unwrap()).unwrap();
    assert_eq!(one.subject(), Subject::ServiceAccount(SERVER.to_owned()));
    // Nothing happens, and nothing waits for itself.
    one.replace(&one).unwrap();
    assert_eq!(one.subject(), Subject::ServiceAccount(SERVER.to_owned()));
}

/// A clock that is wrong by so much, forwards or backwards.
#[derive(Debug)]
struct Wrong(fn(SystemTime) -> SystemTime);

impl TimeProvider for Wrong {
    fn current_time(&self) -> Option<UnixTime> {
        let time = (self.0)(SystemTime::now()).duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(time))
    }
}

#[test]
fn a_certificate_that_is_not_valid_changes_nothing() {
    let authority = Authority::new().unwrap();
    let handshaker = authority.handshaker(CLIENT).unwrap();
    for clock in [(|now| now + LIFETIME + Duration::from_secs(60)) as fn(_) -> _, |now| {
        now - Duration::from_secs(3600)
    }] {
        let builder = authority.builder("new@dev.test").unwrap().time(Arc::new(Wrong(clock)));
        let why = handshaker.replace(&builder.build().unwrap()).unwrap_err().to_string();
        assert!(why.ends_with("it is not valid at this time"), "{why}");
        assert_eq!(handshaker.subject(), Subject::ServiceAccount(CLIENT.to_owned()));
    }
    let calls = (handshaker.begin(NOW), authority.handshaker(SERVER).unwrap().begin(NOW));
    let (_, server) = drive(calls, (&Start::default(), &Start::default()), usize::MAX);
    assert_eq!(server.outcome().peer_account(), CLIENT);
}
