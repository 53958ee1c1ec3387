//! Peers that are slow, services that are silent, records that are empty: what they cost, and when
//! others get through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alts_core::frame::FrameSize;
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::record::Sealer;
use alts_core::{Fault, Side};
use alts_handshaker::Handshaker;
use alts_handshaker::dev::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{Instant, sleep};
use tokio_alts::{
    AltsAcceptor, AltsConnector, BoxFuture, ClientConfig, DefaultAead, ErrorKind, HandshakerCall,
    HandshakerService, ServerConfig, ServiceError, ServiceMessage,
};

use crate::heap;
use crate::schedules::established;

const PEERS: usize = 1_000;
const KIB: isize = 1024;

fn services() -> (Handshaker, Handshaker) {
    let authority = Authority::new().unwrap();
    let handshaker = |account| authority.handshaker(account).unwrap();
    (handshaker("client@dev.test"), handshaker("server@dev.test"))
}

fn connector(service: impl HandshakerService) -> AltsConnector {
    let config = ClientConfig::builder().any_peer().deadline(Duration::from_secs(120));
    AltsConnector::new(config.build().unwrap(), service)
}

/// What an honest client sends first.
async fn first_message(service: Handshaker) -> Vec<u8> {
    let (near, mut far) = duplex(64 * 1024);
    let task = tokio::spawn(async move { connector(service).connect(near).await.is_ok() });
    let mut bytes = vec![0; 64 * 1024];
    let read = far.read(&mut bytes).await.unwrap();
    bytes.truncate(read);
    drop(far);
    assert!(!task.await.unwrap());
    bytes
}

/// How long an honest client takes beside `peers` that send a byte each second, and the memory of
/// each of those.
async fn beside_slow_peers(peers: usize) -> (Duration, isize) {
    let (ours, theirs) = services();
    let hello = Arc::new(first_message(ours.clone()).await);
    let acceptor = AltsAcceptor::new(ServerConfig::builder().any_peer().build().unwrap(), theirs);
    let before = heap::live();
    heap::forget_peak();
    let began = Instant::now();
    let slow: Vec<_> = (0..peers)
        .map(|_| {
            let (near, mut far) = duplex(64);
            let (acceptor, hello) = (acceptor.clone(), hello.clone());
            tokio::spawn(async move {
                for byte in hello.iter() {
                    if far.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                    sleep(Duration::from_secs(1)).await;
                }
            });
            tokio::spawn(async move {
                let error = acceptor.accept(near).await.err().unwrap().into_error();
                let slow =
                    matches!(error.kind(), ErrorKind::TimedOut { .. } | ErrorKind::MadeRoom { .. });
                assert!(slow, "{error}");
            })
        })
        .collect();
    sleep(Duration::from_secs(5)).await;
    let each = (heap::peak() - before) / peers as isize;
    let arrived = Instant::now();
    let (near, far) = duplex(64 * 1024);
    let client = connector(ours);
    let (client, server) = tokio::join!(client.connect(near), acceptor.accept(far));
    let waited = arrived.elapsed();
    assert!(client.is_ok() && server.is_ok());
    for task in slow {
        task.await.unwrap();
    }
    assert!(began.elapsed() <= Duration::from_secs(31), "deadlines hold");
    (waited, each)
}

#[tokio::test(start_paused = true)]
async fn slow_loris_peers() {
    for peers in [99, PEERS] {
        let (waited, each) = beside_slow_peers(peers).await;
        println!(
            "{peers} peers with a byte each second: an honest client waits {} ms; {:.1} KiB of \
             heap for each slow connection, its task and its pipe included",
            waited.as_millis(),
            each as f32 / KIB as f32
        );
        assert!(each <= 48 * KIB, "{each}");
        // No handshake waits for a slot; above their number, slow peers make room.
        assert!(waited <= Duration::from_millis(300), "{waited:?}");
    }
}

/// A service that says nothing until it is made to work.
#[derive(Clone)]
struct Mute {
    honest: Handshaker,
    speaks: Arc<AtomicBool>,
}

impl HandshakerService for Mute {
    fn open(&self) -> Box<dyn HandshakerCall> {
        if self.speaks.load(Ordering::SeqCst) { self.honest.open() } else { Box::new(Silence) }
    }

    fn address(&self) -> &str {
        "mute.test:1"
    }
}

struct Silence;

impl HandshakerCall for Silence {
    fn exchange(
        &mut self,
        _: ServiceMessage,
    ) -> BoxFuture<'_, Result<Option<ServiceMessage>, ServiceError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_handshaker() {
    let (ours, theirs) = services();
    let speaks = Arc::new(AtomicBool::new(false));
    let config = ClientConfig::builder().any_peer().max_concurrent_handshakes(PEERS);
    let mute = Mute { honest: ours, speaks: speaks.clone() };
    let connector = AltsConnector::new(config.build().unwrap(), mute);
    let before = heap::live();
    heap::forget_peak();
    let began = Instant::now();
    let waiting: Vec<_> = (0..PEERS)
        .map(|_| {
            let connector = connector.clone();
            tokio::spawn(async move {
                let (near, _far) = duplex(64);
                let error = connector.connect(near).await.err().unwrap().into_error();
                assert_eq!(error.fault(), Fault::HandshakerService, "{error}");
            })
        })
        .collect();
    sleep(Duration::from_secs(1)).await;
    let each = (heap::peak() - before) / PEERS as isize;
    for task in waiting {
        task.await.unwrap();
    }
    let gave_up = began.elapsed();
    speaks.store(true, Ordering::SeqCst);
    let began = std::time::Instant::now();
    let acceptor = AltsAcceptor::new(ServerConfig::builder().any_peer().build().unwrap(), theirs);
    let (near, far) = duplex(64 * 1024);
    let (client, server) = tokio::join!(connector.connect(near), acceptor.accept(far));
    assert!(client.is_ok() && server.is_ok());
    println!(
        "silent handshaker: {PEERS} handshakes gave up after {:.3} s (deadline 20 s), {:.1} KiB of \
         heap each; recovered in {} ms",
        gave_up.as_secs_f32(),
        each as f32 / KIB as f32,
        began.elapsed().as_millis()
    );
    assert!(gave_up <= Duration::from_millis(20_010));
    assert!(each <= 32 * KIB, "{each}");
}

#[tokio::test]
async fn a_flood_of_empty_records() {
    const RECORDS: usize = 500_000;
    let key = RecordKey::new(RecordProtocol::AesGcm128Rekey, &[7; 44]).unwrap();
    let mut sealer = Sealer::<DefaultAead>::new(Side::Client, &key, FrameSize::DEFAULT).unwrap();
    let mut flood = vec![0; 24 * RECORDS];
    for frame in flood.chunks_mut(24) {
        sealer.seal_in_place(frame, 0).unwrap();
    }
    let mut last = vec![0; 29];
    last[8..13].copy_from_slice(b"hello");
    sealer.seal_in_place(&mut last, 5).unwrap();

    let (near, mut far) = duplex(64 * 1024);
    let mut victim = established(Side::Server, near, FrameSize::DEFAULT);
    let (near, far_ping) = duplex(64 * 1024);
    let (mut ping, mut pong) = (
        established(Side::Client, near, FrameSize::DEFAULT),
        established(Side::Server, far_ping, FrameSize::DEFAULT),
    );
    let before = heap::live();
    heap::forget_peak();
    let began = std::time::Instant::now();
    let flooding = async {
        far.write_all(&flood).await.unwrap();
        far.write_all(&last).await.unwrap();
    };
    let reading = async {
        let mut heard = [0; 5];
        victim.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        (began.elapsed(), victim.buffer_capacity())
    };
    // Another task on the same thread.
    let echo = tokio::spawn(async move {
        let mut byte = [0];
        while pong.read_exact(&mut byte).await.is_ok() {
            pong.write_all(&byte).await.unwrap();
            pong.flush().await.unwrap();
        }
    });
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let pinging = tokio::spawn(async move {
        let (mut longest, mut pings) = (Duration::ZERO, 0);
        while stopped.try_recv().is_err() {
            let sent = std::time::Instant::now();
            ping.write_all(b"x").await.unwrap();
            ping.flush().await.unwrap();
            ping.read_exact(&mut [0]).await.unwrap();
            longest = longest.max(sent.elapsed());
            pings += 1;
        }
        (longest, pings)
    });
    let ((took, buffered), ()) = tokio::join!(reading, flooding);
    let most = heap::peak() - before;
    stop.send(()).unwrap();
    let (longest, pings) = pinging.await.unwrap();
    echo.await.unwrap();
    println!(
        "{RECORDS} empty records: read past in {} ms; {} KiB of heap at most, the pipe \
         included; {pings} pings of another connection meanwhile, the longest {:.1} ms",
        took.as_millis(),
        most / KIB,
        longest.as_secs_f32() * 1000.0
    );
    assert!(buffered <= 260 * 1024, "{buffered}");
    assert!(most <= 1536 * KIB, "{most}");
    assert!(pings > 10, "nobody else had a turn");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}
