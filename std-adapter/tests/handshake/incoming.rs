//! Incoming connections: which failures affect only themselves, and what goes on.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_alts::{AltsIncoming, IncomingFailure};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::support::*;

type Sender = mpsc::UnboundedSender<io::Result<DuplexStream>>;

/// Incoming connections that the test makes, and the failures that are reported.
fn incoming(
    service: impl tokio_alts::HandshakerService,
) -> (Sender, AltsIncoming<DuplexStream>, Arc<Mutex<Vec<String>>>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let failures = Arc::new(Mutex::new(Vec::new()));
    let told = failures.clone();
    let incoming = AltsIncoming::new(UnboundedReceiverStream::new(receiver), acceptor(service))
        .on_failure(move |failure| {
            told.lock().unwrap().push(match failure {
                IncomingFailure::Accept(error) => error.to_string(),
                IncomingFailure::Handshake(failure) => failure.to_string(),
                _ => unreachable!(),
            });
        });
    (sender, incoming, failures)
}

#[tokio::test]
async fn failures_are_told_and_others_go_on() {
    let (ours, theirs) = services();
    let (sender, mut incoming, failures) = incoming(theirs);
    // Garbage, a probe, an error of the listener, a client that goes away, a silent one.
    let (near, mut garbage) = duplex(64 * 1024);
    garbage.write_all(&[b'x'; 1000]).await.unwrap();
    sender.send(Ok(near)).unwrap();
    let (near, probe) = duplex(64);
    drop(probe);
    sender.send(Ok(near)).unwrap();
    sender.send(Err(io::Error::other("too many open files"))).unwrap();
    sender.send(Err(io::ErrorKind::ConnectionAborted.into())).unwrap();
    let (near, _silent) = duplex(64);
    sender.send(Ok(near)).unwrap();

    for _ in 0..2 {
        let (near, far) = duplex(64 * 1024);
        sender.send(Ok(far)).unwrap();
        let connector = connector(ours.clone());
        let client = tokio::spawn(async move { connector.connect(near).await.unwrap() });
        let next = timeout(Duration::from_secs(10), incoming.next()).await.unwrap();
        let mut server = next.unwrap().unwrap();
        talk(&mut client.await.unwrap(), &mut server).await;
    }
    let failures = failures.lock().unwrap();
    assert_eq!(failures.len(), 4, "{failures:?}");
    assert!(failures.iter().any(|text| text == "too many open files"));
    assert_eq!(failures.iter().filter(|text| text.contains("server handshake failed")).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_listener_out_of_files_is_left_alone_for_a_while() {
    let (_, theirs) = services();
    let (sender, mut incoming, failures) = incoming(theirs);
    for _ in 0..12 {
        sender.send(Err(io::Error::other("too many open files"))).unwrap();
    }
    drop(sender);
    let began = Instant::now();
    assert!(incoming.next().await.is_none());
    assert_eq!(failures.lock().unwrap().len(), 12);
    // 5, 10, 20, … 640 ms, and then a second each.
    let elapsed = began.elapsed();
    assert!(elapsed > Duration::from_secs(5) && elapsed < Duration::from_millis(5400));
}

#[tokio::test]
async fn the_stream_ends_with_its_connections() {
    let (ours, theirs) = services();
    let (sender, mut incoming, _) = incoming(theirs);
    let (near, far) = duplex(64 * 1024);
    sender.send(Ok(far)).unwrap();
    drop(sender);
    let client = tokio::spawn(async move { connector(ours).connect(near).await.unwrap() });
    assert!(incoming.next().await.unwrap().is_ok(), "the last one is still served");
    assert!(incoming.next().await.is_none());
    client.await.unwrap();
}

#[tokio::test]
async fn dropping_it_ends_the_handshakes_under_way() {
    let service = silent();
    let (sender, mut incoming, _) = incoming(service.clone());
    let (near, mut far) = duplex(64);
    far.write_all(FIRST).await.unwrap();
    sender.send(Ok(near)).unwrap();
    assert!(timeout(Duration::from_millis(50), incoming.next()).await.is_err());
    assert_eq!(service.open(), 1);
    drop(incoming);
    eventually(|| service.open() == 0).await;
}

#[tokio::test]
async fn a_hundred_silent_tcp_connections_delay_nobody() {
    let (ours, theirs) = services();
    let mut incoming = AltsIncoming::bind("127.0.0.1:0", acceptor(theirs)).await.unwrap();
    let address = incoming.local_addr().unwrap();
    let accepting = tokio::spawn(async move { incoming.next().await.unwrap().unwrap() });
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let io = TcpStream::connect(address).await.unwrap();
    let connecting = connector(ours);
    let client = timeout(Duration::from_secs(10), connecting.connect(io)).await.unwrap();
    talk(&mut client.unwrap(), &mut accepting.await.unwrap()).await;
}

#[tokio::test]
async fn no_more_than_so_many_are_pending() {
    let service = silent();
    let (sender, incoming, _) = incoming(service.clone());
    let mut incoming = incoming.max_pending(3);
    let mut ends = Vec::new();
    for _ in 0..5 {
        let (near, mut far) = duplex(64);
        far.write_all(FIRST).await.unwrap();
        sender.send(Ok(near)).unwrap();
        ends.push(far);
    }
    assert!(timeout(Duration::from_millis(100), incoming.next()).await.is_err());
    assert_eq!(service.opened(), 3);
}

#[tokio::test(start_paused = true)]
async fn connections_have_their_grace_after_the_stop_and_no_more() {
    let (ours, theirs) = services();
    let (sender, incoming, _) = incoming(theirs);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let incoming = incoming.stop_when(async {
        let _ = stopped.await;
    });
    let mut incoming = incoming.grace(Duration::from_secs(10));
    let mut both = Vec::new();
    for _ in 0..2 {
        let (near, far) = duplex(64 * 1024);
        sender.send(Ok(far)).unwrap();
        let client = tokio::spawn(connector(ours.clone()).connect(near));
        let server = incoming.next().await.unwrap().unwrap();
        both.push((client.await.unwrap().unwrap(), server));
    }
    // Two tasks wait for the two directions of this one.
    let (_client, silent) = both.pop().unwrap();
    let (mut reading, mut writing) = tokio::io::split(silent);
    let reading = tokio::spawn(async move { reading.read(&mut [0]).await });
    let writing = tokio::spawn(async move {
        loop {
            if let Err(error) = writing.write_all(&[0; 4096]).await {
                return error;
            }
        }
    });
    let (mut client, mut server) = both.pop().unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    stop.send(()).unwrap();
    assert!(incoming.next().await.is_none());
    // tonic asks for no more connections, and drops this.
    drop(incoming);
    let began = Instant::now();
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        talk(&mut client, &mut server).await;
    }
    let both = timeout(Duration::from_secs(2), async { tokio::join!(reading, writing) });
    let (reading, writing) = both.await.unwrap();
    assert_eq!(reading.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(writing.unwrap().kind(), io::ErrorKind::TimedOut);
    assert_eq!(began.elapsed().as_secs(), 10);
    // Also where there would be something to read.
    client.write_all(b"late").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(server.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    server.shutdown().await.unwrap();
}
