//! Deadlines, and slots that come back on every path.

use std::time::Duration;

use alts_core::Fault;
use alts_core::handshake::HandshakeErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{Instant, timeout};
use tokio_alts::{AltsAcceptor, AltsConnector, ClientConfig, ErrorKind, Phase, ServerConfig};

use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);

fn client_of(service: impl tokio_alts::HandshakerService, slots: usize) -> AltsConnector {
    let config = ClientConfig::builder().any_peer().max_concurrent_handshakes(slots);
    AltsConnector::new(config.build().unwrap(), service)
}

pub(crate) fn server_of(service: impl tokio_alts::HandshakerService, slots: usize) -> AltsAcceptor {
    let config = ServerConfig::builder().any_peer().max_concurrent_handshakes(slots);
    AltsAcceptor::new(config.build().unwrap(), service)
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_costs_no_more_than_the_deadline() {
    let (ours, theirs) = services();
    let (near, _far) = duplex(64 * 1024);
    let began = Instant::now();
    let error = connector(ours).connect(near).await.err().unwrap().into_error();
    assert_eq!(began.elapsed().as_secs(), 20);
    assert!(matches!(error.kind(), ErrorKind::TimedOut { waiting_for: Fault::Peer }), "{error}");

    let (near, mut far) = duplex(64 * 1024);
    let began = Instant::now();
    let service = Scripted::new(theirs, |_| Act::Honest);
    let error = acceptor(service.clone()).accept(near).await.err().unwrap().into_error();
    assert_eq!(began.elapsed().as_secs(), 30);
    assert!(matches!(error.kind(), ErrorKind::TimedOut { waiting_for: Fault::Peer }), "{error}");
    assert_eq!(service.opened(), 0, "the service was not asked");
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_service_costs_no_more_than_the_deadline() {
    let service = silent();
    let (near, _far) = duplex(64 * 1024);
    let config = ClientConfig::builder().any_peer().deadline(2 * SECOND).build().unwrap();
    let began = Instant::now();
    let connector = AltsConnector::new(config, service.clone());
    let error = connector.connect(near).await.err().unwrap().into_error();
    assert_eq!(began.elapsed().as_secs(), 2);
    assert!(matches!(error.kind(), ErrorKind::TimedOut { waiting_for: Fault::HandshakerService }));
    assert_eq!(
        error.to_string(),
        "client handshake failed, start of the handshake: handshaker service (scripted.test:1): \
         no answer before the deadline"
    );
    assert_eq!((service.opened(), service.open()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_delays_a_failure_by_a_second_at_most() {
    let (_, ours) = services();
    let (near, mut far) = duplex(1);
    let _far = tokio::spawn(async move { far.write_all(FIRST).await.map(|()| far) });
    let began = Instant::now();
    let service = Scripted::new(ours, |_| Act::Change(refuse));
    let error = acceptor(service).accept(near).await.err().unwrap().into_error();
    assert_eq!(began.elapsed().as_millis(), 1000);
    let refused = HandshakeErrorKind::Refused { code: 7 };
    assert!(matches!(error.kind(), ErrorKind::Handshake(kind) if *kind == refused), "{error}");

    // The deadline comes first, and the refusal is still what is reported.
    let (_, ours) = services();
    let (near, mut far) = duplex(1);
    let _far = tokio::spawn(async move { far.write_all(FIRST).await.map(|()| far) });
    let began = Instant::now();
    let config = ServerConfig::builder().any_peer().deadline(SECOND / 2).build().unwrap();
    let service = Scripted::new(ours, |_| Act::Change(refuse));
    let error = AltsAcceptor::new(config, service).accept(near).await.err().unwrap().into_error();
    assert_eq!(began.elapsed().as_millis(), 500);
    assert!(matches!(error.kind(), ErrorKind::Handshake(kind) if *kind == refused), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_of_a_good_handshake_times_out() {
    let (ours, _) = services();
    let (near, _far) = duplex(1);
    let began = Instant::now();
    let error = connector(ours).connect(near).await.err().unwrap().into_error();
    assert_eq!(began.elapsed().as_secs(), 20);
    assert!(matches!(error.kind(), ErrorKind::TimedOut { waiting_for: Fault::Peer }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn no_more_handshakes_at_once_than_allowed() {
    let service = silent();
    let connector = client_of(service.clone(), 2);
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let (near, far) = duplex(64 * 1024);
        let handshake = connector.connect(near);
        tasks.push(tokio::spawn(async move {
            let error = handshake.await.err().unwrap().into_error();
            drop(far);
            error
        }));
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(service.open(), 2);
    let mut phases = Vec::new();
    for task in tasks {
        phases.push(task.await.unwrap());
    }
    assert_eq!(began.elapsed().as_secs(), 20);
    let waited = phases.pop().unwrap();
    assert_eq!(waited.phase(), Phase::Slot);
    assert_eq!(waited.fault(), Fault::Local);
    assert!(waited.to_string().contains("too many handshakes at once"), "{waited}");
    assert!(phases.iter().all(|error| error.fault() == Fault::HandshakerService));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_handshake_frees_its_slot_and_its_call() {
    let service = silent();
    let (connector, acceptor) = (client_of(service.clone(), 1), server_of(service.clone(), 1));
    for round in 1..=3 {
        let (near, _far) = duplex(64 * 1024);
        assert!(timeout(SECOND, connector.connect(near)).await.is_err());
        let (near, mut far) = duplex(64 * 1024);
        far.write_all(FIRST).await.unwrap();
        assert!(timeout(SECOND, acceptor.accept(near)).await.is_err());
        assert_eq!((service.opened(), service.open()), (2 * round, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn every_failure_frees_its_slot() {
    let (ours, _) = services();
    for script in [
        (|_| Act::End) as fn(usize) -> Act,
        |_| Act::Fail("x"),
        |_| Act::Change(refuse),
        |_| Act::Answer(vec![0xff]),
        |_| Act::Silent,
        // The peer goes away.
        |_| Act::Honest,
    ] {
        let service = Scripted::new(ours.clone(), script);
        let connector = client_of(service.clone(), 1);
        for round in 1..=2 {
            let (near, far) = duplex(64 * 1024);
            drop(far);
            assert!(connector.connect(near).await.is_err());
            assert_eq!((service.opened(), service.open()), (round, 0));
        }
    }
}

#[tokio::test]
async fn client_and_server_do_not_starve_each_other() {
    let (ours, theirs) = services();
    let acceptor = server_of(theirs.clone(), 1);
    let stuck = server_of(Scripted::new(theirs, |_| Act::Silent), 1);
    let (near, mut far) = duplex(64);
    far.write_all(FIRST).await.unwrap();
    let waiting = tokio::spawn(async move { stuck.accept(near).await.is_ok() });
    // One slot on each side, and one handshake whose two sides are in this process.
    let connector = client_of(ours, 1);
    for _ in 0..3 {
        let (near, far) = duplex(64 * 1024);
        let both = async { tokio::join!(connector.connect(near), acceptor.accept(far)) };
        let (client, server) = timeout(10 * SECOND, both).await.unwrap();
        talk(&mut client.unwrap(), &mut server.unwrap()).await;
    }
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn a_silent_connection_costs_little_memory() {
    let (near, _far) = duplex(64);
    let accepting = size_of_val(&acceptor(silent()).accept(near));
    assert!(accepting <= 4 * 1024, "{accepting}");
    let machine = size_of::<alts_core::ServerHandshake<'_>>();
    assert!(machine <= 6 * 1024, "{machine}");
}

#[tokio::test]
async fn silent_connections_take_no_slots() {
    let (ours, theirs) = services();
    let acceptor = server_of(theirs, 1);
    let mut silent = Vec::new();
    for _ in 0..100 {
        let (near, far) = duplex(64);
        silent.push((far, tokio::spawn(acceptor.accept(near))));
    }
    tokio::task::yield_now().await;
    let (near, far) = duplex(64 * 1024);
    let connector = connector(ours);
    let both = async { tokio::join!(connector.connect(near), acceptor.accept(far)) };
    let (client, server) = timeout(10 * SECOND, both).await.unwrap();
    talk(&mut client.unwrap(), &mut server.unwrap()).await;
    assert!(silent.iter().all(|(_, task)| !task.is_finished()));
    for (_, task) in silent {
        task.abort();
    }
}
