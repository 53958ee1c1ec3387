//! What the frames on the wire look like, and what a poll of a write does.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use alts_core::Side;
use alts_core::frame::{FrameSize, OVERHEAD};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_alts::StreamOptions;

use crate::wire::*;

#[tokio::test]
async fn frames_are_as_large_as_was_negotiated_and_no_larger() {
    for size in [16 * 1024, 100_000, 128 * 1024, 1 << 20] {
        let wire = Wire::default();
        let options = StreamOptions::new();
        let mut stream = stream_with(Side::Client, wire.clone(), FrameSize::new(size), options);
        // More than 256 KiB do not wait in memory, whatever the frame size.
        let full = (size as usize).min(256 * 1024);
        let plaintext = bytes(32 * (full - OVERHEAD), 0);
        stream.write_all(&plaintext).await.unwrap();
        let sent = wire.state().outbound.clone();
        assert_eq!(frame_lengths(&sent), [full; 32]);
        assert!(payloads(Side::Client, sent).concat() == plaintext);
        // As many as fit go out together.
        assert_eq!(wire.state().write_calls, 32_usize.div_ceil(256 * 1024 / full));
    }
}

#[tokio::test]
async fn what_programs_write_at_once_leaves_nothing_small_behind() {
    for kib in [64, 128, 256, 512, 1024] {
        let wire = Wire::default();
        let mut stream = stream(Side::Client, wire.clone());
        let plaintext = bytes(kib * 1024, 0);
        stream.write_all(&plaintext).await.unwrap();
        assert_eq!(wire.state().write_calls, kib.div_ceil(256), "{kib} KiB");
        let sent = frame_lengths(&wire.state().outbound);
        assert!(sent.iter().rev().skip(1).all(|len| *len == 128 * 1024), "{sent:?}");
    }
}

#[tokio::test]
async fn a_write_is_sent_at_once_and_a_write_of_nothing_sends_nothing() {
    let wire = Wire::default();
    let mut stream = stream(Side::Client, wire.clone());
    assert_eq!(stream.write(b"").await.unwrap(), 0);
    assert_eq!(stream.write_vectored(&[]).await.unwrap(), 0);
    assert_eq!(stream.write_vectored(&[IoSlice::new(b""); 3]).await.unwrap(), 0);
    assert_eq!(wire.state().write_calls, 0);
    assert_eq!(stream.write(b"hello").await.unwrap(), 5);
    assert_eq!(wire.state().write_calls, 1);
    assert_eq!(wire.state().outbound, frames(Side::Client, &[b"hello"]).concat());
}

#[tokio::test]
async fn small_slices_share_a_frame_and_large_ones_have_their_own() {
    async fn write(parts: &[&[u8]]) -> Vec<Vec<u8>> {
        let wire = Wire::default();
        let mut stream = stream(Side::Client, wire.clone());
        assert!(stream.is_write_vectored());
        let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let count = stream.write_vectored(&slices).await.unwrap();
        assert_eq!(count, parts.concat().len());
        assert_eq!(wire.state().write_calls, 1);
        payloads(Side::Client, wire.state().outbound.clone())
    }
    let large = bytes(20_000, 0);
    assert_eq!(write(&[b"a", b"", b"bc", b"d"]).await, [b"abcd"]);
    assert_eq!(write(&[b"", b"a", b""]).await, [b"a"]);
    assert_eq!(write(&[&[1; 700], &[1; 700], &[1; 700]]).await, [[1; 2100]]);
    let sent = write(&[b"a", b"b", &large, b"c", &large, b"d", b"e"]).await;
    assert_eq!(sent, [b"ab", &large[..], b"c", &large[..], b"de"]);
    // More small slices than a frame of 128 KiB can carry.
    let sent = write(&[&[1; 5000][..]; 40]).await;
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [130_000, 70_000]);
}

#[tokio::test]
async fn a_vectored_write_that_does_not_fit_ends_with_a_whole_frame() {
    let wire = Wire::default();
    let mut stream = stream(Side::Client, wire.clone());
    let part = bytes(100_000, 0);
    let slices = [IoSlice::new(&part); 5];
    assert_eq!(stream.write_vectored(&slices).await.unwrap(), 200_000);
    assert_eq!(frame_lengths(&wire.state().outbound), [100_000 + OVERHEAD; 2]);
}

#[test]
fn a_frame_sent_in_part_is_finished_later_with_the_same_bytes() {
    // For a small message, and for one that has to be buffered.
    for len in [100, 5000] {
        for cut in [0, 1, 7, 8, 50, len + OVERHEAD - 1] {
            let (_, waker) = Wakes::new();
            let mut cx = Context::from_waker(&waker);
            let wire = Wire::default();
            wire.state().writes.extend([Step::Move(cut), Step::Stuck, Step::Stuck, Step::Stuck]);
            if cut == 0 {
                wire.state().writes.pop_front();
            }
            let mut stream = stream(Side::Client, wire.clone());
            let (first, second) = (bytes(len, 1), bytes(len, 2));
            // Accepted: it will be sent.
            let accepted = Pin::new(&mut stream).poll_write(&mut cx, &first);
            assert!(matches!(accepted, Poll::Ready(Ok(count)) if count == len));
            assert_eq!(wire.state().outbound.len(), cut);
            // The wire is stuck: a second write waits, is given up, and leaves no trace.
            let refused = Pin::new(&mut stream).poll_write(&mut cx, &second);
            assert!(refused.is_pending());
            assert_eq!(wire.state().outbound.len(), cut);
            wire.state().writes.clear();
            let flushed = Pin::new(&mut stream).poll_flush(&mut cx);
            assert!(matches!(flushed, Poll::Ready(Ok(()))));
            assert!(wire.state().outbound == frames(Side::Client, &[&first]).concat());
            // The next message has the next count.
            let accepted = Pin::new(&mut stream).poll_write(&mut cx, &second);
            assert!(accepted.is_ready());
            assert!(wire.state().outbound == frames(Side::Client, &[&first, &second]).concat());
        }
    }
}

#[tokio::test]
async fn a_write_future_that_is_dropped_loses_and_repeats_nothing() {
    let (mut client, mut server) = duplex(100);
    let first = bytes(300_000, 1);
    let mut sent = 0;
    // Dropped again and again, at every point where the pipe makes it wait.
    let writer = async {
        while sent < first.len() {
            tokio::select! {
                biased;
                count = client.write(&first[sent..]) => sent += count.unwrap(),
                () = tokio::task::yield_now() => {}
            }
        }
        client.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (_, read) = tokio::join!(writer, server.read_to_end(&mut received));
    read.unwrap();
    assert!(received == first);
}

#[test]
fn a_task_that_waits_is_woken() {
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let wire = Wire::default();
    wire.state().writes.extend([Step::Move(10), Step::Stuck, Step::Pending]);
    let mut stream = stream(Side::Client, wire);
    assert!(Pin::new(&mut stream).poll_write(&mut cx, b"hello").is_ready());
    assert_eq!(wakes.count(), 0);
    assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_pending());
    assert_eq!(wakes.count(), 1);
    assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_ready());
}

#[tokio::test]
async fn shutdown_sends_what_waits_before_it_shuts_down() {
    for hold in [false, true] {
        let wire = Wire::default();
        wire.state().writes.extend([Step::Move(3), Step::Pending, Step::Move(1), Step::Pending]);
        let options = StreamOptions::new().hold_until_flush(hold);
        let mut stream = stream_with(Side::Client, wire.clone(), FrameSize::DEFAULT, options);
        stream.write_all(b"last words").await.unwrap();
        assert!(wire.state().outbound.len() < 10 + OVERHEAD);
        stream.shutdown().await.unwrap();
        assert_eq!(wire.state().outbound, frames(Side::Client, &[b"last words"]).concat());
        assert_eq!(wire.state().shutdown_calls, 1);
    }
}

#[tokio::test]
async fn frames_are_held_until_flush_where_asked_for() {
    let wire = Wire::default();
    let options = StreamOptions::new().hold_until_flush(true);
    let mut stream = stream_with(Side::Client, wire.clone(), FrameSize::DEFAULT, options);
    for _ in 0..60 {
        stream.write_all(&[9; 1000]).await.unwrap();
    }
    assert_eq!(wire.state().write_calls, 0);
    stream.flush().await.unwrap();
    assert_eq!(wire.state().write_calls, 1);
    assert_eq!(wire.state().flush_calls, 1);
    assert_eq!(frame_lengths(&wire.state().outbound), [1000 + OVERHEAD; 60]);
    // They are held in bounded memory.
    for _ in 0..1000 {
        stream.write_all(&[9; 1000]).await.unwrap();
    }
    assert!(stream.buffer_capacity() <= 512 * 1024);
    assert!(wire.state().outbound.len() > 500_000);
    stream.flush().await.unwrap();
    assert_eq!(payloads(Side::Client, wire.state().outbound.clone()).concat().len(), 1_060_000);
}

#[tokio::test]
async fn an_error_of_the_io_object_ends_its_direction_alone() {
    let kind = io::ErrorKind::ConnectionReset;
    for len in [10, 10_000] {
        let wire = Wire::receiving(&frames(Side::Server, &[b"still readable"]).concat());
        wire.state().writes.extend([Step::Move(5), Step::Fail(kind)]);
        let mut stream = stream(Side::Client, wire.clone());
        assert_eq!(stream.write_all(&bytes(len, 0)).await.unwrap_err().kind(), kind);
        assert_eq!(stream.write(b"more").await.unwrap_err().kind(), kind);
        assert_eq!(stream.flush().await.unwrap_err().kind(), kind);
        assert_eq!(wire.state().outbound.len(), 5);
        assert_eq!(stream.read(&mut [0; 99]).await.unwrap(), 14);
        stream.shutdown().await.unwrap();
        assert_eq!(wire.state().outbound.len(), 5);
        assert_eq!(wire.state().shutdown_calls, 1);
    }
    let wire = Wire::default();
    wire.state().reads.push_back(Step::Fail(kind));
    wire.state().ended = true;
    let mut stream = stream(Side::Client, wire.clone());
    assert_eq!(stream.read(&mut [0; 9]).await.unwrap_err().kind(), kind);
    // Not the end of the stream, which the wire would now report.
    assert_eq!(stream.read(&mut [0; 9]).await.unwrap_err().kind(), kind);
    stream.write_all(b"still writable").await.unwrap();
    assert_eq!(wire.state().outbound.len(), 14 + OVERHEAD);
}

#[tokio::test]
async fn a_shutdown_that_fails_ends_writing() {
    let kind = io::ErrorKind::ConnectionReset;
    let wire = Wire::default();
    wire.state().shutdowns.push_back(Step::Fail(kind));
    let mut stream = stream(Side::Client, wire.clone());
    assert_eq!(stream.shutdown().await.unwrap_err().kind(), kind);
    assert_eq!(stream.write(b"more").await.unwrap_err().kind(), kind);
    assert_eq!(stream.flush().await.unwrap_err().kind(), kind);
    assert_eq!(wire.state().outbound.len(), 0);
}

#[tokio::test]
async fn the_error_that_ended_writing_stays_when_the_shutdown_fails_too() {
    let wire = Wire::default();
    wire.state().writes.push_back(Step::Fail(io::ErrorKind::BrokenPipe));
    wire.state().shutdowns.push_back(Step::Fail(io::ErrorKind::NotConnected));
    let mut stream = stream(Side::Client, wire);
    assert_eq!(stream.write(b"some").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(stream.shutdown().await.unwrap_err().kind(), io::ErrorKind::NotConnected);
    assert_eq!(stream.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(stream.flush().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn an_io_object_that_takes_nothing_is_an_error() {
    for len in [10, 10_000] {
        let wire = Wire::default();
        wire.state().writes.extend([Step::Move(0), Step::Move(0)]);
        let mut stream = stream(Side::Client, wire);
        let error = stream.write_all(&bytes(len, 0)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
