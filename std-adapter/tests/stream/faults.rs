//! Attacks and faults: each ends the stream for good, in both directions.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use alts_core::Side;
use alts_core::frame::FrameError;
use alts_core::record::RecordError;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use crate::wire::*;

fn record_error(error: &io::Error) -> RecordError {
    *error.get_ref().unwrap().downcast_ref().unwrap()
}

/// Reads all of `sent` as a client, and tries again: what came before the error, and the error.
async fn read_bad(sent: &[u8], room: usize) -> (Vec<u8>, ErrorKind, RecordError) {
    let wire = Wire::receiving(sent);
    wire.state().ended = true;
    let mut stream = stream(Side::Client, wire.clone());
    let (mut received, mut space) = (Vec::new(), vec![0; room]);
    let error = loop {
        match stream.read(&mut space).await {
            Ok(0) => panic!("the stream ended without an error"),
            Ok(count) => received.extend(&space[..count]),
            Err(error) => break error,
        }
    };
    let cause = record_error(&error);
    for again in [
        stream.read(&mut space).await.map(drop).unwrap_err(),
        stream.fill_buf().await.map(drop).unwrap_err(),
        stream.write(b"more").await.map(drop).unwrap_err(),
        stream.flush().await.unwrap_err(),
    ] {
        assert_eq!((again.kind(), record_error(&again)), (error.kind(), cause));
    }
    assert!(wire.state().outbound.is_empty());
    assert_eq!(stream.buffer_capacity(), 0);
    // Shutting down still reaches the I/O object.
    stream.shutdown().await.unwrap();
    assert_eq!(wire.state().shutdown_calls, 1);
    assert!(wire.state().outbound.is_empty());
    (received, error.kind(), cause)
}

const FORGED: (ErrorKind, RecordError) = (ErrorKind::InvalidData, RecordError::Authentication);

async fn assert_refused(sent: &[u8], before: &[u8], expected: (ErrorKind, RecordError)) {
    // In place, and out of place with room for several frames.
    for room in [3, 20_000] {
        let (received, kind, cause) = read_bad(sent, room).await;
        assert_eq!((received.as_slice(), (kind, cause)), (before, expected));
    }
}

#[tokio::test]
async fn every_changed_byte_is_refused() {
    let good = frames(Side::Server, &[b"good", b"payload"]);
    for index in 0..good[1].len() {
        let mut bad = good.concat();
        bad[good[0].len() + index] ^= 0x40;
        let (received, kind, _) = read_bad(&bad, 100).await;
        assert_eq!(received, b"good");
        // A length that claims more than there is looks like a stream that was cut.
        assert!(matches!(kind, ErrorKind::InvalidData | ErrorKind::UnexpectedEof));
    }
    for offset in 8..good[1].len() {
        let mut bad = good.concat();
        bad[good[0].len() + offset] ^= 1;
        assert_refused(&bad, b"good", FORGED).await;
    }
}

#[tokio::test]
async fn replayed_reordered_dropped_and_reflected_frames_are_refused() {
    let frames_of = |side| frames(side, &[b"one", b"two", b"three"]);
    let [one, two, three]: [Vec<u8>; 3] = frames_of(Side::Server).try_into().unwrap();
    assert_refused(&[&one[..], &one].concat(), b"one", FORGED).await;
    assert_refused(&[&two[..], &one].concat(), b"", FORGED).await;
    assert_refused(&[&one[..], &three].concat(), b"one", FORGED).await;
    // What this side has sent itself.
    assert_refused(&frames_of(Side::Client).concat(), b"", FORGED).await;
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_is_an_error_wherever_it_ends() {
    let sent = frames(Side::Server, &[b"whole", b"cut"]);
    let whole = sent[0].len();
    let sent = sent.concat();
    for end in whole + 1..sent.len() {
        let expected = (ErrorKind::UnexpectedEof, RecordError::Truncated);
        assert_refused(&sent[..end], b"whole", expected).await;
    }
    let error = io::Error::new(ErrorKind::UnexpectedEof, RecordError::Truncated);
    assert_eq!(error.to_string(), "peer: the stream ended inside a frame");
}

#[tokio::test]
async fn impossible_headers_are_refused_before_their_bytes_arrive() {
    for (length, kind) in [(19, 6), ((1 << 20) + 1, 6), (u32::MAX, 6), (20, 0x0100_0006), (20, 0)] {
        let header = [u32::to_le_bytes(length), u32::to_le_bytes(kind)].concat();
        let expected =
            if kind == 6 { FrameError::Length(length) } else { FrameError::MessageType(kind) };
        let expected = (ErrorKind::InvalidData, RecordError::Frame(expected));
        assert_refused(&header, b"", expected).await;
    }
}

#[tokio::test]
async fn what_waits_to_be_written_is_not_sent_after_a_record_error() {
    let wire = Wire::receiving(&[0xff; 40]);
    wire.state().writes.extend([Step::Move(10), Step::Stuck]);
    let mut stream = stream(Side::Client, wire.clone());
    stream.write_all(&bytes(5000, 0)).await.unwrap();
    assert_eq!(wire.state().outbound.len(), 10);
    stream.read(&mut [0; 10]).await.unwrap_err();
    stream.flush().await.unwrap_err();
    stream.shutdown().await.unwrap();
    assert_eq!(wire.state().outbound.len(), 10);
}

#[tokio::test]
async fn empty_records_are_not_the_end() {
    let sent = frames(Side::Server, &[b"", b"a", b"", b"", b"b", b""]).concat();
    let wire = Wire::receiving(&sent);
    wire.state().ended = true;
    let mut stream = stream(Side::Client, wire);
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "ab");
}

#[test]
fn a_flood_of_empty_records_does_bounded_work_in_each_poll() {
    let mut payloads: Vec<&[u8]> = vec![b""; 100_000];
    payloads.push(b"data");
    let sent = frames(Side::Server, &payloads).concat();
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let wire = Wire::receiving(&sent);
    let mut stream = stream(Side::Client, wire.clone());
    for polls in 1.. {
        let before = wire.state().inbound.len();
        let polled = poll_read(&mut stream, &mut cx, 100);
        assert!(before - wire.state().inbound.len() <= 260 * 1024);
        match polled {
            Poll::Ready(read) => {
                assert_eq!(read.unwrap(), b"data");
                assert!(polls > 5);
                break;
            }
            // Each time it asks to be polled again: nothing else would wake it.
            Poll::Pending => assert_eq!(wakes.count(), polls),
        }
    }
}

#[test]
fn single_bytes_do_bounded_work_in_each_poll() {
    let sent = frames(Side::Server, &[&[5; 1000]]).concat();
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let wire = Wire::receiving(&sent);
    wire.state().reads.extend([Step::Move(1); 2000]);
    let mut stream = stream(Side::Client, wire.clone());
    let read = loop {
        let calls = wire.state().read_calls;
        let polled = poll_read(&mut stream, &mut cx, 2000);
        assert!(wire.state().read_calls - calls <= 100);
        if let Poll::Ready(read) = polled {
            break read;
        }
    };
    assert_eq!(read.unwrap(), [5; 1000]);
    assert!(wakes.count() > 5);
}

#[tokio::test]
async fn debug_output_has_no_keys_and_no_bytes_of_the_stream() {
    let (mut client, mut server) = duplex(1000);
    server.write_all(b"plaintext that was not read").await.unwrap();
    client.read_exact(&mut [0; 5]).await.unwrap();
    let text = format!("{client:?}");
    assert!(text.contains("AltsStream") && text.contains("grpc"), "{text}");
    assert!(!text.contains("opener") && !text.contains("received"), "{text}");
}
