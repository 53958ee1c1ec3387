//! Random schedules: either every byte arrives in order, or an error is reported.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use alts_core::Side;
use alts_core::context::AltsContext;
use alts_core::frame::FrameSize;
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::msg::HandshakerResult;
use alts_core::record::{Opener, Sealer};
use alts_handshaker::Handshaker;
use alts_handshaker::dev::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::time::{Instant, timeout};
use tokio_alts::{
    AltsAcceptor, AltsConnector, AltsStream, ClientConfig, ServerConfig, StreamOptions,
};

use crate::heap;
use crate::network::{End, connection};
use crate::random::{Fault, Random, each_seed};

/// The deadline of each handshake.
const DEADLINE: Duration = Duration::from_secs(10);
/// The application's own deadline for everything.
const PATIENCE: Duration = Duration::from_secs(600);
/// What the buffers of one stream may hold: 256 KiB and a frame to write, 260 KiB or the largest
/// frame to read.
const MOST_BUFFERED: usize = (256 + 16 + 1024 + 16) * 1024;

/// What both sides may hold in all, with what is under way between them, in bytes.
const MOST_HEAP: isize = 2 * 1024 * 1024;

/// How one side of a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Complete,
    HandshakeFailed,
    Refused,
    /// The end came where the application knows that it is too early.
    Short,
    Broken,
    /// Nothing was reported: the application's deadline.
    Hung,
}

#[derive(Default)]
struct Tally {
    schedules: u64,
    bytes: usize,
    buffered: usize,
    heap: isize,
    slowest_handshake: Duration,
    ends: BTreeMap<(Fault, Outcome), u64>,
}

impl Tally {
    fn report(&self, what: &str, began: std::time::Instant) {
        println!(
            "{what}: {} schedules in {:.1} s: {} bytes arrived, none wrong; at most {} KiB of \
             buffers in a stream, {} KiB of heap for both sides and the network",
            self.schedules,
            began.elapsed().as_secs_f32(),
            self.bytes,
            self.buffered / 1024,
            self.heap / 1024,
        );
        for ((fault, outcome), count) in &self.ends {
            println!("  reading behind {fault:?}: {outcome:?}: {count}");
        }
        assert!(self.buffered <= MOST_BUFFERED);
        assert!(self.heap <= MOST_HEAP);
    }

    fn of(&self, fault: Fault, outcome: Outcome) -> u64 {
        self.ends.get(&(fault, outcome)).copied().unwrap_or(0)
    }
}

/// Writes `send` and reads `expected` at the same time, in random pieces.
async fn exchange(
    stream: AltsStream<End>,
    send: &[u8],
    expected: &[u8],
    mut random: Random,
    received: &mut usize,
    buffered: &mut usize,
) -> Outcome {
    let mut pieces = Random::new(random.number());
    let (mut read_half, mut write_half) = split(stream);
    let reading = async {
        let mut room = vec![0; random.within(1..70_000)];
        loop {
            let len = random.within(1..room.len() + 1);
            let read = read_half.read(&mut room[..len]).await?;
            if read == 0 {
                return Ok::<_, io::Error>(());
            }
            // The claim itself: whatever comes out is what was sent, in its order.
            let due = expected.get(*received..*received + read);
            assert!(due == Some(&room[..read]), "a wrong byte was handed out");
            *received += read;
        }
    };
    let writing = async {
        let mut rest = send;
        while !rest.is_empty() {
            let len = pieces.length(100_000).clamp(1, rest.len());
            write_half.write_all(&rest[..len]).await?;
            rest = &rest[len..];
            if pieces.once_in(4) {
                write_half.flush().await?;
            }
            if pieces.once_in(20) {
                tokio::time::sleep(Duration::from_millis(pieces.within(0..100) as u64)).await;
            }
        }
        write_half.shutdown().await
    };
    // A read error ends the connection: the other direction must not wait for it.
    let ended = {
        tokio::pin!(reading, writing);
        timeout(PATIENCE, async {
            tokio::select! {
                // Otherwise the order would differ each time.
                biased;
                read = &mut reading => {
                    read?;
                    let _ = writing.await;
                    Ok(())
                }
                _ = &mut writing => reading.await,
            }
        })
        .await
    };
    let stream = read_half.unsplit(write_half);
    *buffered = stream.buffer_capacity();
    match ended {
        Err(_) => Outcome::Hung,
        Ok(Ok(())) if *received == expected.len() => Outcome::Complete,
        Ok(Ok(())) => Outcome::Short,
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Outcome::Refused,
            _ => Outcome::Broken,
        },
    }
}

/// The services of client and server.
struct Sides(Handshaker, Handshaker);

/// One schedule: `sides` for a handshake before, none for an established stream.
fn schedule(seed: u64, sides: Option<&Sides>, tally: &mut Tally) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let mut random = Random::new(seed);
    let faults = [Fault::Nothing, random.pick(&Fault::ALL)];
    let faults = if random.once_in(2) { [faults[1], faults[0]] } else { faults };
    let most = if sides.is_some() { 40_000 } else { 80_000 };
    let (near, far, happened) = connection(Random::new(random.number()), faults, most);
    let mut data = || {
        let len = 1 + random.length(120_000);
        random.bytes(len)
    };
    let (up, down) = (data(), data());
    let frame_size = random.pick(&[FrameSize::MIN, FrameSize::new(65_536), FrameSize::MAX]);
    let (mut got, mut buffered) = ([0, 0], [0, 0]);
    let (one, other) = (Random::new(random.number()), Random::new(random.number()));
    heap::forget_peak();
    let before = heap::live();
    let slowest = std::cell::Cell::new(Duration::ZERO);
    let [got_client, got_server] = &mut got;
    let [held_client, held_server] = &mut buffered;
    let outcomes = runtime.block_on(async {
        let began = Instant::now();
        let client = async {
            let stream = if let Some(sides) = sides {
                let config = ClientConfig::builder().expect_peer("server@dev.test");
                let config = config.deadline(DEADLINE).max_frame_size(frame_size).build().unwrap();
                let connector = AltsConnector::new(config, sides.0.clone());
                let connected = connector.connect(near).await;
                slowest.set(slowest.get().max(began.elapsed()));
                match connected {
                    Ok(stream) => stream,
                    Err(_) => return Outcome::HandshakeFailed,
                }
            } else {
                established(Side::Client, near, frame_size)
            };
            exchange(stream, &up, &down, one, got_client, held_client).await
        };
        let server = async {
            let stream = if let Some(sides) = sides {
                let config = ServerConfig::builder().any_peer().deadline(DEADLINE);
                let config = config.max_frame_size(frame_size).build().unwrap();
                let acceptor = AltsAcceptor::new(config, sides.1.clone());
                let accepted = acceptor.accept(far).await;
                slowest.set(slowest.get().max(began.elapsed()));
                match accepted {
                    Ok(stream) => stream,
                    Err(_) => return Outcome::HandshakeFailed,
                }
            } else {
                established(Side::Server, far, frame_size)
            };
            exchange(stream, &down, &up, other, got_server, held_server).await
        };
        tokio::join!(client, server)
    });
    tally.heap = tally.heap.max(heap::peak() - before);
    let happened = happened();
    for (outcome, fault) in [outcomes.0, outcomes.1].into_iter().zip(happened) {
        if happened == [Fault::Nothing; 2] {
            assert_eq!(outcome, Outcome::Complete, "nothing was done to it");
        }
        if outcome == Outcome::Hung {
            assert!(happened.contains(&Fault::Stall), "{happened:?}: nobody has reported anything");
        }
        let certain = [Fault::Corrupt, Fault::Drop, Fault::Duplicate, Fault::Insert];
        assert!(!certain.contains(&fault) || outcome != Outcome::Complete, "{fault:?} unnoticed");
        *tally.ends.entry((fault, outcome)).or_default() += 1;
    }
    // The handshake's own deadline, to the granularity of tokio's clock.
    assert!(slowest.get() <= DEADLINE + Duration::from_millis(2), "{:?}", slowest.get());
    tally.slowest_handshake = tally.slowest_handshake.max(slowest.get());
    tally.schedules += 1;
    tally.bytes += got[0] + got[1];
    tally.buffered = tally.buffered.max(buffered[0]).max(buffered[1]);
}

/// A stream whose handshake is done.
pub(crate) fn established<IO>(side: Side, io: IO, frame_size: FrameSize) -> AltsStream<IO> {
    let key = RecordKey::new(RecordProtocol::AesGcm128Rekey, &[7; 44]).unwrap();
    let result = HandshakerResult { application_protocol: "grpc", ..Default::default() };
    let context = AltsContext::from_result(&result, RecordProtocol::AesGcm128Rekey).unwrap();
    let sealer = Sealer::new(side, &key, frame_size).unwrap();
    let opener = Opener::new(side, &key).unwrap();
    AltsStream::new(io, sealer, opener, Arc::new(context), &[], StreamOptions::new())
}

fn streams(seeds: u64) {
    let began = std::time::Instant::now();
    let mut tally = Tally::default();
    each_seed(0..seeds, |seed| schedule(seed, None, &mut tally));
    tally.report("streams", began);
    if tally.schedules == seeds {
        assert!(tally.of(Fault::Corrupt, Outcome::Refused) > 0);
        assert!(tally.of(Fault::Cut, Outcome::Refused) > 0);
        assert!(tally.of(Fault::Cut, Outcome::Short) > 0);
    }
}

fn handshakes(seeds: u64) {
    let began = std::time::Instant::now();
    let mut tally = Tally::default();
    let authority = Authority::new().unwrap();
    let handshaker = |account| authority.handshaker(account).unwrap();
    let sides = Sides(handshaker("client@dev.test"), handshaker("server@dev.test"));
    each_seed(0..seeds, |seed| schedule(seed, Some(&sides), &mut tally));
    tally.report("handshakes and streams", began);
    println!("  the slowest handshake ended after {:?}", tally.slowest_handshake);
    if tally.schedules == seeds {
        assert!(tally.of(Fault::Corrupt, Outcome::HandshakeFailed) > 0);
        assert!(tally.of(Fault::Stall, Outcome::HandshakeFailed) > 0);
    }
}

#[test]
fn a_seed_repeats_its_schedule() {
    let run = || {
        let mut tally = Tally::default();
        (0..200).for_each(|seed| schedule(seed, None, &mut tally));
        (tally.bytes, tally.buffered, tally.ends)
    };
    assert_eq!(run(), run());
}

#[test]
fn some_schedules_of_streams() {
    streams(2_000);
}

#[test]
fn some_schedules_of_handshakes() {
    handshakes(300);
}

#[test]
#[ignore = "26,000 of 100,000"]
fn all_schedules_of_streams() {
    streams(26_000);
}

#[test]
#[ignore = "4,000 of 100,000"]
fn all_schedules_of_handshakes() {
    handshakes(4_000);
}
