//! A crowd that begins handshakes and never goes on: nobody else has to wait long.

use std::time::Duration;

use alts_core::Fault;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_alts::{AltsIncoming, ErrorKind};
use tokio_stream::StreamExt;

use crate::limits::server_of;
use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);

/// Sends a byte now and then of a frame that is 100 bytes long.
async fn drip(mut far: tokio::io::DuplexStream) {
    let mut byte = 100;
    while far.write_all(&[byte]).await.is_ok() {
        byte = 0;
        tokio::time::sleep(SECOND * 3 / 20).await;
    }
}

/// Connects, sends one byte, waits to be dropped, and comes again.
async fn pester(address: std::net::SocketAddr) {
    loop {
        if let Ok(mut io) = TcpStream::connect(address).await {
            let _ = io.write_all(b"x").await;
            let _ = io.read(&mut [0]).await;
        }
    }
}

#[tokio::test]
async fn peers_that_send_one_byte_and_come_again_delay_nobody_by_a_second() {
    let (ours, theirs) = services();
    let acceptor = acceptor(theirs);
    let mut incoming = AltsIncoming::bind("127.0.0.1:0", acceptor).await.unwrap();
    let address = incoming.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut served = Vec::new();
        while let Some(Ok(stream)) = incoming.next().await {
            served.push(stream);
        }
    });
    let crowd: Vec<_> = (0..150).map(|_| tokio::spawn(pester(address))).collect();
    // All slots are taken, and others wait for one.
    tokio::time::sleep(SECOND).await;
    let mut worst = Duration::ZERO;
    for _ in 0..10 {
        let began = Instant::now();
        let io = TcpStream::connect(address).await.unwrap();
        let stream = timeout(10 * SECOND, connector(ours.clone()).connect(io)).await.unwrap();
        stream.unwrap();
        worst = worst.max(began.elapsed());
    }
    println!("the slowest of 10 handshakes beside 150 peers that pester: {worst:?}");
    assert!(worst < SECOND, "{worst:?}");
    for task in crowd {
        task.abort();
    }
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn the_one_that_has_waited_longest_for_its_peer_makes_room() {
    let (ours, theirs) = services();
    let service = Scripted::new(theirs, |_| Act::Honest);
    let acceptor = server_of(service.clone(), 2);
    let mut stuck = Vec::new();
    for _ in 0..2 {
        let (near, mut far) = duplex(64 * 1024);
        far.write_all(b"x").await.unwrap();
        stuck.push((far, tokio::spawn(acceptor.accept(near))));
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(service.open(), 2);
    // Nobody else is waiting, so slow peers may be slow.
    assert!(stuck.iter().all(|(_, task)| !task.is_finished()));
    let (near, far) = duplex(64 * 1024);
    let began = Instant::now();
    let connector = connector(ours);
    let (client, server) = tokio::join!(connector.connect(near), acceptor.accept(far));
    talk(&mut client.unwrap(), &mut server.unwrap()).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    let (_far, second) = stuck.pop().unwrap();
    assert!(!second.is_finished(), "one was enough");
    second.abort();
    let (_far, first) = stuck.pop().unwrap();
    let error = first.await.unwrap().err().unwrap().into_error();
    assert!(matches!(error.kind(), ErrorKind::MadeRoom { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Peer);
    assert_eq!(
        error.to_string(),
        "server handshake failed, exchange of handshake messages: peer: silent for 2000 ms while \
         others waited for a handshake slot"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_service_makes_no_room() {
    let service = silent();
    let acceptor = server_of(service.clone(), 1);
    let (near, mut far) = duplex(64);
    far.write_all(b"x").await.unwrap();
    let first = tokio::spawn(acceptor.accept(near));
    tokio::time::sleep(SECOND).await;
    let (near, mut far) = duplex(64);
    far.write_all(b"x").await.unwrap();
    assert!(timeout(10 * SECOND, acceptor.accept(near)).await.is_err());
    assert!(!first.is_finished());
    assert_eq!((service.opened(), service.open()), (1, 1));
    first.abort();
}

#[tokio::test(start_paused = true)]
async fn handshakes_that_get_on_keep_their_slots() {
    // A peer that answers well within its patience (5 s) is never dropped for another.
    let (ours, theirs) = services();
    let acceptor = server_of(theirs, 1);
    let slow = Scripted::new(ours.clone(), |_| Act::Late(Duration::from_millis(400)));
    let mut both = Vec::new();
    for _ in 0..5 {
        let (near, far) = duplex(64 * 1024);
        both.push((
            tokio::spawn(connector(slow.clone()).connect(near)),
            tokio::spawn(acceptor.accept(far)),
        ));
    }
    for (client, server) in both {
        talk(&mut client.await.unwrap().unwrap(), &mut server.await.unwrap().unwrap()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_now_and_then_buys_no_time() {
    let (ours, theirs) = services();
    let acceptor = server_of(Scripted::new(theirs, |_| Act::Honest), 1);
    let (near, far) = duplex(64 * 1024);
    let dripping = tokio::spawn(drip(far));
    let slow = tokio::spawn(acceptor.accept(near));
    tokio::time::sleep(SECOND * 2 / 5).await;
    assert!(!slow.is_finished());
    let (near, far) = duplex(64 * 1024);
    let connector = connector(ours);
    let began = Instant::now();
    let (client, server) = tokio::join!(connector.connect(near), acceptor.accept(far));
    talk(&mut client.unwrap(), &mut server.unwrap()).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert!(slow.await.unwrap().is_err());
    dripping.abort();
}
