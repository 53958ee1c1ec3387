//! Buffers come with bytes that have to wait, are bounded, and go when they are empty.

use std::pin::Pin;
use std::task::{Context, Poll};

use alts_core::Side;
use alts_core::frame::{FrameSize, HEADER_SIZE};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_alts::StreamOptions;

use crate::wire::*;

#[tokio::test]
async fn small_messages_never_need_a_buffer() {
    let wire = Wire::default();
    let mut client = stream(Side::Client, wire.clone());
    let answers = frames(Side::Server, &[&[2; 4000][..]; 100]);
    for answer in answers {
        client.write_all(&[1; 1000]).await.unwrap();
        assert_eq!(client.buffer_capacity(), 0);
        wire.receive(&answer);
        let mut room = [0; 5000];
        assert_eq!(client.read(&mut room).await.unwrap(), 4000);
        assert_eq!(client.buffer_capacity(), 0);
    }
}

#[tokio::test]
async fn a_stream_has_buffers_only_while_something_waits_in_them() {
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    for hold in [false, true] {
        let wire = Wire::default();
        let options = StreamOptions::new().hold_until_flush(hold);
        let mut client = stream_with(Side::Client, wire.clone(), FrameSize::DEFAULT, options);
        if !hold {
            wire.state().writes.extend([Step::Move(10), Step::Stuck]);
        }
        client.write_all(&bytes(150_000, 0)).await.unwrap();
        assert!(client.buffer_capacity() >= 128 * 1024);
        client.flush().await.unwrap();
        assert_eq!(client.buffer_capacity(), 0);
        if !hold {
            // What is sent at once waits nowhere.
            client.write_all(&bytes(1_000_000, 0)).await.unwrap();
            assert_eq!(client.buffer_capacity(), 0);
        }

        wire.receive(&frames(Side::Server, &[&bytes(100_000, 0)[..]; 20]).concat());
        let mut received = vec![0; 1_999_990];
        client.read_exact(&mut received).await.unwrap();
        assert!(client.buffer_capacity() > 0);
        assert!(received == bytes(100_000, 0).repeat(20)[..1_999_990]);
        client.read_exact(&mut [0; 10]).await.unwrap();
        assert_eq!(client.buffer_capacity(), 0);
        assert!(poll_read(&mut client, &mut cx, 100).is_pending());
        assert_eq!(client.buffer_capacity(), 0);
    }
}

#[test]
fn a_buffer_with_something_in_it_stays() {
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let frame = frames(Side::Server, &[&[3; 100]]).concat();
    let wire = Wire::receiving(&frame[..50]);
    wire.state().writes.extend([Step::Move(10), Step::Stuck]);
    let mut client = stream(Side::Client, wire.clone());
    let accepted = Pin::new(&mut client).poll_write(&mut cx, &[4; 300]);
    assert!(matches!(accepted, Poll::Ready(Ok(300))));
    assert!(poll_read(&mut client, &mut cx, 100).is_pending());
    assert!(client.buffer_capacity() >= 50 + 300);
    wire.receive(&frame[50..]);
    let Poll::Ready(read) = poll_read(&mut client, &mut cx, 100) else { panic!("not read") };
    assert_eq!(read.unwrap(), [3; 100]);
    assert!(Pin::new(&mut client).poll_flush(&mut cx).is_ready());
    assert!(wire.state().outbound == frames(Side::Client, &[&[4; 300]]).concat());
}

#[test]
fn memory_follows_the_bytes_that_arrived_and_not_the_size_that_was_claimed() {
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let payload = vec![5; (1 << 20) - 20];
    let frame = &mut [&[0; HEADER_SIZE][..], &payload, &[0; 16]].concat();
    let mut sealer = alts_core::record::Sealer::<tokio_alts::DefaultAead>::new(
        Side::Server,
        &key(),
        FrameSize::MAX,
    )
    .unwrap();
    // One byte more than our own sealer would write is still legal; ours is at its largest here.
    let len = sealer.seal_in_place(frame, sealer.max_payload()).unwrap();
    let wire = Wire::default();
    let mut client = stream(Side::Client, wire.clone());
    let mut arrived = 0;
    for piece in frame[..len - 1].chunks(1000) {
        wire.receive(piece);
        arrived += piece.len();
        assert!(poll_read(&mut client, &mut cx, 10).is_pending());
        let capacity = client.buffer_capacity();
        assert!(capacity <= 2 * arrived + 17 * 1024, "{capacity} for {arrived}");
        assert!(capacity <= (1 << 20) + 4, "{capacity} for {arrived}");
    }
    wire.receive(&frame[len - 1..len]);
    let Poll::Ready(read) = poll_read(&mut client, &mut cx, 2 << 20) else { panic!("not read") };
    assert_eq!(read.unwrap().len(), sealer.max_payload());
}

#[tokio::test]
async fn what_waits_to_be_written_is_bounded() {
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let wire = Wire::default();
    wire.state().writes.extend([Step::Stuck; 100]);
    let options = StreamOptions::new();
    let mut client = stream_with(Side::Client, wire, FrameSize::MAX, options);
    let large = bytes(4 << 20, 0);
    assert!(Pin::new(&mut client).poll_write(&mut cx, &large).is_ready());
    for _ in 0..10 {
        assert!(Pin::new(&mut client).poll_write(&mut cx, &large).is_pending());
    }
    assert!(client.buffer_capacity() <= 260 * 1024);
}
