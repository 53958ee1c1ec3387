//! A crowd that begins handshakes and never goes on: others do not have to wait long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alts_core::Fault;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_alts::{
    AltsIncoming, BoxFuture, ErrorKind, HandshakerCall, HandshakerService, ServiceError,
    ServiceMessage,
};
use tokio_stream::StreamExt;

use crate::limits::server_of;
use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);
static ONE_CROWD: Mutex<()> = Mutex::const_new(());

/// Sends `first`, if there is one, takes the answer, and then sends a byte now and then of a frame that
/// is 100 bytes long.
async fn drip(mut far: tokio::io::DuplexStream, first: Arc<[u8]>) {
    if !first.is_empty() {
        far.write_all(&first).await.unwrap();
        assert!(far.read(&mut [0; 4096]).await.unwrap() > 0);
    }
    let mut byte = 100;
    while far.write_all(&[byte]).await.is_ok() {
        byte = 0;
        tokio::time::sleep(SECOND * 3 / 20).await;
    }
}

/// Connects, sends `first`, waits to be dropped, and comes again.
async fn pester(address: std::net::SocketAddr, first: Arc<[u8]>) {
    loop {
        let Ok(mut io) = TcpStream::connect(address).await else {
            // It may be out of ports.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = io.write_all(&first).await;
        while matches!(io.read(&mut [0; 4096]).await, Ok(count) if count > 0) {}
    }
}

/// A client's whole first message.
async fn first_message(service: alts_handshaker::Handshaker) -> Arc<[u8]> {
    let (near, mut far) = duplex(64 * 1024);
    let client = tokio::spawn(connector(service).connect(near));
    let mut bytes = vec![0; 64 * 1024];
    let count = far.read(&mut bytes).await.unwrap();
    client.abort();
    bytes.truncate(count);
    bytes.into()
}

/// What the peers of a crowd send.
#[derive(Clone, Copy)]
enum First {
    Nothing,
    Byte,
    Message,
}

/// How long the slowest of ten honest handshakes took beside `count` peers that send `first`.
async fn slowest_beside(count: usize, first: First) -> Duration {
    slowest_among(count, first, 4096).await
}

/// The same, at a server that has so many places.
async fn slowest_among(count: usize, first: First, places: usize) -> Duration {
    // What is measured is a server's patience, not which of several crowds has the processor.
    let _alone = ONE_CROWD.lock().await;
    let (ours, theirs) = services();
    let first = match first {
        First::Message => first_message(ours.clone()).await,
        First::Byte => b"x"[..].into(),
        First::Nothing => b""[..].into(),
    };
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor(theirs)).await.unwrap();
    let mut incoming = incoming.max_pending(places);
    let address = incoming.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut served = Vec::new();
        while let Some(Ok(stream)) = incoming.next().await {
            served.push(stream);
        }
    });
    let crowd: Vec<_> = (0..count).map(|_| tokio::spawn(pester(address, first.clone()))).collect();
    tokio::time::sleep(SECOND).await;
    let mut worst = Duration::ZERO;
    for _ in 0..10 {
        let began = Instant::now();
        let io = TcpStream::connect(address).await.unwrap();
        let stream = timeout(10 * SECOND, connector(ours.clone()).connect(io)).await.unwrap();
        stream.unwrap();
        worst = worst.max(began.elapsed());
    }
    for task in crowd {
        task.abort();
    }
    serving.abort();
    worst
}

#[tokio::test]
async fn silent_peers_that_come_again_delay_nobody_by_a_second_where_places_are_few() {
    let worst = slowest_among(150, First::Nothing, 20).await;
    assert!(worst < SECOND, "{worst:?}");
}

#[tokio::test]
async fn five_hundred_silent_peers_that_come_again_delay_nobody_by_a_second() {
    let worst = slowest_beside(500, First::Byte).await;
    assert!(worst < SECOND, "{worst:?}");
}

#[tokio::test]
async fn peers_that_send_one_byte_and_come_again_delay_nobody_by_a_second() {
    let worst = slowest_beside(150, First::Byte).await;
    assert!(worst < SECOND, "{worst:?}");
}

#[tokio::test]
async fn peers_that_send_a_whole_message_and_come_again_delay_nobody_by_a_second() {
    let worst = slowest_beside(150, First::Message).await;
    assert!(worst < SECOND, "{worst:?}");
}

#[tokio::test(start_paused = true)]
async fn the_connection_that_has_been_silent_longest_makes_room() {
    let (ours, theirs) = services();
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let receiver = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
    let incoming = AltsIncoming::new(receiver, acceptor(theirs));
    let mut incoming = incoming.max_pending(3);
    let mut silent = Vec::new();
    for _ in 0..3 {
        let (near, far) = duplex(64 * 1024);
        sender.send(Ok(near)).unwrap();
        silent.push(far);
        // Nobody else is waiting, so slow peers may be slow.
        assert!(timeout(2 * SECOND, incoming.next()).await.is_err());
    }
    let (near, far) = duplex(64 * 1024);
    sender.send(Ok(far)).unwrap();
    let began = Instant::now();
    let client = tokio::spawn(connector(ours).connect(near));
    let mut server = timeout(SECOND, incoming.next()).await.unwrap().unwrap().unwrap();
    talk(&mut client.await.unwrap().unwrap(), &mut server).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    let mut byte = [0];
    let mut ended = Vec::new();
    for far in &mut silent {
        ended.push(timeout(SECOND, far.read(&mut byte)).await.is_ok());
    }
    assert_eq!(ended, [true, false, false], "one was enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_such_peers_than_there_are_places_delay_nobody_for_long() {
    // What is left is the processor's time: theirs and ours, in a debug build, are on the same one.
    let worst = slowest_beside(500, First::Message).await;
    assert!(worst < SECOND * 3, "{worst:?}");
}

#[tokio::test(start_paused = true)]
async fn two_hundred_peers_that_answer_one_after_the_other_are_all_served() {
    let (ours, theirs) = services();
    let acceptor = acceptor(theirs);
    // Envoy asks its service for one handshake after the other.
    let turn = Arc::new(Mutex::new(()));
    let mut both = Vec::new();
    for _ in 0..200 {
        let ours = ours.clone();
        let (near, far) = duplex(64 * 1024);
        let (mut between, middle) = duplex(64 * 1024);
        let turn = turn.clone();
        tokio::spawn(async move {
            let mut near = near;
            let mut first = vec![0; 64 * 1024];
            let count = between.read(&mut first).await.unwrap();
            near.write_all(&first[..count]).await.unwrap();
            // The server's answer is there, and waits for its turn.
            let count = near.read(&mut first).await.unwrap();
            let held = turn.lock().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(held);
            between.write_all(&first[..count]).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut between).await;
        });
        both.push((
            tokio::spawn(connector(ours).connect(middle)),
            tokio::spawn(acceptor.accept(far)),
        ));
    }
    for (client, server) in both {
        talk(&mut client.await.unwrap().unwrap(), &mut server.await.unwrap().unwrap()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_at_once_than_slots() {
    let (ours, theirs) = services();
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let service = Counted { honest: theirs, now, most: most.clone() };
    let acceptor = server_of(service, 2);
    let mut both = Vec::new();
    for _ in 0..20 {
        let (near, far) = duplex(64 * 1024);
        both.push((
            tokio::spawn(connector(ours.clone()).connect(near)),
            tokio::spawn(acceptor.accept(far)),
        ));
    }
    for (client, server) in both {
        talk(&mut client.await.unwrap().unwrap(), &mut server.await.unwrap().unwrap()).await;
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

/// Counts the requests that are being answered, each for 20 ms.
struct Counted {
    honest: alts_handshaker::Handshaker,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct CountedCall {
    honest: Box<dyn HandshakerCall>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl HandshakerService for Counted {
    fn open(&self) -> Box<dyn HandshakerCall> {
        let (now, most) = (self.now.clone(), self.most.clone());
        Box::new(CountedCall { honest: self.honest.open(), now, most })
    }

    fn address(&self) -> &str {
        ADDRESS
    }
}

impl HandshakerCall for CountedCall {
    fn exchange(
        &mut self,
        request: ServiceMessage,
    ) -> BoxFuture<'_, Result<Option<ServiceMessage>, ServiceError>> {
        Box::pin(async move {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            let answer = self.honest.exchange(request).await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            answer
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_one_that_has_waited_longest_for_its_peer_makes_room() {
    let (ours, theirs) = services();
    let service = Scripted::new(theirs, |_| Act::Honest);
    // Four places.
    let acceptor = server_of(service.clone(), 1);
    let first = first_message(ours.clone()).await;
    let mut stuck = Vec::new();
    for _ in 0..4 {
        let (near, mut far) = duplex(64 * 1024);
        far.write_all(&first).await.unwrap();
        stuck.push((far, tokio::spawn(acceptor.accept(near))));
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(service.open(), 4);
    // Nobody else is waiting, so slow peers may be slow.
    assert!(stuck.iter().all(|(_, task)| !task.is_finished()));
    let (near, far) = duplex(64 * 1024);
    let began = Instant::now();
    let connector = connector(ours);
    let (client, server) = tokio::join!(connector.connect(near), acceptor.accept(far));
    talk(&mut client.unwrap(), &mut server.unwrap()).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    let (_far, first) = stuck.remove(0);
    for (_far, other) in &stuck {
        assert!(!other.is_finished(), "one was enough");
        other.abort();
    }
    let error = first.await.unwrap().err().unwrap().into_error();
    assert!(matches!(error.kind(), ErrorKind::MadeRoom { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Peer);
    assert_eq!(
        error.to_string(),
        "server handshake failed, exchange of handshake messages: peer: silent for 4000 ms while \
         others waited for its place"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_service_makes_no_room() {
    let service = silent();
    let acceptor = server_of(service.clone(), 1);
    let (near, mut far) = duplex(64);
    far.write_all(FIRST).await.unwrap();
    let first = tokio::spawn(acceptor.accept(near));
    tokio::time::sleep(SECOND).await;
    let (near, mut far) = duplex(64);
    far.write_all(FIRST).await.unwrap();
    assert!(timeout(10 * SECOND, acceptor.accept(near)).await.is_err());
    assert!(!first.is_finished());
    assert_eq!((service.opened(), service.open()), (1, 1));
    first.abort();
}

#[tokio::test(start_paused = true)]
async fn handshakes_that_get_on_keep_their_slots() {
    // A peer that answers within its patience (300 ms) is never dropped for another.
    let (ours, theirs) = services();
    let acceptor = server_of(theirs, 1);
    let slow = Scripted::new(ours.clone(), |_| Act::Late(Duration::from_millis(200)));
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
    let first = first_message(ours.clone()).await;
    let mut slow = Vec::new();
    let mut dripping = Vec::new();
    for _ in 0..4 {
        let (near, far) = duplex(64 * 1024);
        dripping.push(tokio::spawn(drip(far, first.clone())));
        slow.push(tokio::spawn(acceptor.accept(near)));
    }
    tokio::time::sleep(SECOND * 2 / 5).await;
    assert!(slow.iter().all(|task| !task.is_finished()));
    let (near, far) = duplex(64 * 1024);
    let connector = connector(ours);
    let began = Instant::now();
    let (client, server) = tokio::join!(connector.connect(near), acceptor.accept(far));
    talk(&mut client.unwrap(), &mut server.unwrap()).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!(slow.iter().filter(|task| task.is_finished()).count(), 1);
    for task in slow {
        task.abort();
    }
    for task in dripping {
        task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn less_than_a_first_frame_costs_the_service_nothing() {
    let (ours, theirs) = services();
    let service = Scripted::new(theirs, |_| Act::Honest);
    // One slot.
    let acceptor = server_of(service.clone(), 1);
    let first = first_message(ours.clone()).await;
    let mut held = Vec::new();
    for sent in [1, 3, 4, 5, first.len() - 1] {
        let (near, mut far) = duplex(64 * 1024);
        far.write_all(&first[..sent]).await.unwrap();
        held.push((far, tokio::spawn(acceptor.accept(near))));
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(service.opened(), 0);
    // The rest comes, and the service is asked.
    let (mut far, last) = held.pop().unwrap();
    far.write_all(&first[first.len() - 1..]).await.unwrap();
    assert!(far.read(&mut [0; 4096]).await.unwrap() > 0, "the server answers");
    assert_eq!(service.opened(), 1);
    last.abort();
    // One that goes away in the middle has begun: it is no probe.
    let (far, gone) = held.pop().unwrap();
    drop(far);
    let error = gone.await.unwrap().err().unwrap().into_error();
    assert_eq!(
        error.to_string(),
        "server handshake failed, exchange of handshake messages: peer: closed the connection"
    );
    // The others cost no more than the deadline.
    for (_far, task) in held {
        let error = task.await.unwrap().err().unwrap().into_error();
        assert!(
            matches!(error.kind(), ErrorKind::TimedOut { waiting_for: Fault::Peer }),
            "{error}"
        );
    }
    assert_eq!(service.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_sent_nothing_makes_room_before_whoever_gets_on() {
    let (ours, theirs) = services();
    let first = first_message(ours.clone()).await;
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let receiver = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
    let mut incoming = AltsIncoming::new(receiver, acceptor(theirs)).max_pending(3);
    // The one that gets on has been waited for longest. Of the others, one sends a byte now and then.
    let (near, mut slow) = duplex(64 * 1024);
    slow.write_all(&first).await.unwrap();
    sender.send(Ok(near)).unwrap();
    assert!(timeout(SECOND, incoming.next()).await.is_err());
    let (near, far) = duplex(64 * 1024);
    let dripping = tokio::spawn(drip(far, b""[..].into()));
    sender.send(Ok(near)).unwrap();
    assert!(timeout(SECOND, incoming.next()).await.is_err());
    let (near, mut silent) = duplex(64 * 1024);
    sender.send(Ok(near)).unwrap();
    assert!(timeout(SECOND, incoming.next()).await.is_err());

    for _ in 0..2 {
        let (near, far) = duplex(64 * 1024);
        sender.send(Ok(far)).unwrap();
        let client = tokio::spawn(connector(ours.clone()).connect(near));
        let mut server = timeout(SECOND, incoming.next()).await.unwrap().unwrap().unwrap();
        talk(&mut client.await.unwrap().unwrap(), &mut server).await;
        if !dripping.is_finished() {
            tokio::time::sleep(SECOND / 5).await;
        }
        assert!(dripping.is_finished(), "it began before the silent one");
        // A place is taken again.
        let (near, far) = duplex(64 * 1024);
        std::mem::forget(far);
        sender.send(Ok(near)).unwrap();
    }
    let _ = timeout(SECOND, incoming.next()).await;
    let end = timeout(SECOND, silent.read(&mut [0])).await.unwrap();
    assert_eq!(end.unwrap(), 0);
    let mut heard = [0; 4096];
    assert!(slow.read(&mut heard).await.unwrap() > 0, "the server's answer");
    assert!(timeout(SECOND, slow.read(&mut heard)).await.is_err(), "it still has its place");
}
