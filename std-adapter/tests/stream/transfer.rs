//! Bytes arrive as they were written, however they are cut on the way.

use std::io::IoSlice;

use alts_core::Side;
use alts_core::frame::FrameSize;
use proptest::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio_alts::StreamOptions;

use crate::wire::*;

#[tokio::test]
async fn large_transfers_both_ways_at_once_through_pipes_of_all_sizes() {
    for size in [1, 7, 64, 4096, 100_000, 1 << 20] {
        let len = if size < 64 { 20_000 } else { 1_500_000 };
        let (client, server) = duplex(size);
        let ends = [(client, 1), (server, 2)].map(|(stream, seed)| {
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(stream);
                let sending = tokio::spawn(async move {
                    writer.write_all(&bytes(len, seed)).await.unwrap();
                    writer.shutdown().await.unwrap();
                });
                let mut received = Vec::new();
                reader.read_to_end(&mut received).await.unwrap();
                sending.await.unwrap();
                assert!(received == bytes(len, 3 - seed));
            })
        });
        for end in ends {
            end.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_read_takes_what_there_is_and_a_small_room_gets_a_frame_in_pieces() {
    let wire = Wire::receiving(&frames(Side::Server, &[b"hello ", b"world", &[7; 300]]).concat());
    let mut stream = stream(Side::Client, wire);
    let mut room = [0; 100];
    // Two frames fit and the third does not.
    assert_eq!(stream.read(&mut room).await.unwrap(), 11);
    assert_eq!(&room[..11], b"hello world");
    for expected in [100, 100, 100] {
        assert_eq!(stream.read(&mut room).await.unwrap(), expected);
        assert_eq!(room, [7; 100]);
    }
}

#[tokio::test]
async fn uninitialised_room_is_read_into() {
    let wire = Wire::receiving(&frames(Side::Server, &[&bytes(5000, 0)]).concat());
    let mut stream = stream(Side::Client, wire);
    let mut received = Vec::with_capacity(6000);
    assert_eq!(stream.read_buf(&mut received).await.unwrap(), 5000);
    assert_eq!(received, bytes(5000, 0));
}

#[tokio::test]
async fn buffered_reads_and_plain_reads_take_turns() {
    let wire =
        Wire::receiving(&frames(Side::Server, &[b"", b"one\ntw", b"o\nthree", b""]).concat());
    wire.state().ended = true;
    let mut stream = stream(Side::Client, wire);
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    stream.read_line(&mut line).await.unwrap();
    assert_eq!(line, "one\ntwo\n");
    let mut byte = [0];
    stream.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"t");
    assert_eq!(stream.fill_buf().await.unwrap(), b"hree");
    stream.consume(4);
    assert!(stream.fill_buf().await.unwrap().is_empty());
    assert_eq!(stream.read(&mut byte).await.unwrap(), 0);
}

#[tokio::test]
async fn the_peer_may_end_its_direction_while_ours_goes_on() {
    let (mut client, mut server) = duplex(1000);
    client.write_all(b"request").await.unwrap();
    client.shutdown().await.unwrap();
    let mut request = Vec::new();
    server.read_to_end(&mut request).await.unwrap();
    assert_eq!(request, b"request");
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    server.write_all(b"answer").await.unwrap();
    server.flush().await.unwrap();
    let mut answer = [0; 6];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer");
}

#[tokio::test]
async fn what_the_handshake_left_over_is_read_first_and_once() {
    let sent = frames(Side::Server, &[b"left over, ", b"half left over, ", b"and new"]).concat();
    for cut in [0, 1, 8, 35, 40, 60, sent.len()] {
        let (leftover, rest) = sent.split_at(cut);
        let wire = Wire::receiving(rest);
        wire.state().ended = true;
        let (sealer, opener) = (sealer(Side::Client), opener(Side::Client));
        let options = StreamOptions::new();
        let mut stream =
            tokio_alts::AltsStream::new(wire, sealer, opener, context(), leftover, options);
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "left over, half left over, and new");
    }
}

#[tokio::test]
async fn into_inner_returns_the_frames_that_were_not_opened() {
    let frames = frames(Side::Server, &[b"first", b"second", b"third"]);
    let wire = Wire::receiving(&frames.concat());
    let mut stream = stream(Side::Client, wire.clone());
    // The second frame is opened in place and read in part.
    stream.read_exact(&mut [0; 7]).await.unwrap();
    wire.receive(b"not received");
    let (wire, unopened) = stream.into_inner();
    assert_eq!(unopened, frames[2]);
    assert_eq!(wire.state().inbound, b"not received");
}

#[derive(Clone, Debug)]
enum Write {
    Plain(Vec<u8>),
    Vectored(Vec<Vec<u8>>),
    Flush,
}

fn payload(most: usize) -> impl Strategy<Value = Vec<u8>> {
    (0..most, any::<u8>()).prop_map(|(len, seed)| bytes(len, seed))
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        2 => payload(2000).prop_map(Write::Plain),
        2 => payload(600_000).prop_map(Write::Plain),
        2 => prop::collection::vec(payload(1500), 0..6).prop_map(Write::Vectored),
        1 => prop::collection::vec(payload(40_000), 0..12).prop_map(Write::Vectored),
        1 => Just(Write::Flush),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Pending),
        1 => (1usize..40).prop_map(Step::Move),
        1 => (1usize..300_000).prop_map(Step::Move),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever is written, in whatever pieces the I/O objects move it and the reader takes it.
    #[test]
    fn bytes_arrive_as_they_were_written(
        writes in prop::collection::vec(write(), 0..8),
        write_steps in steps(),
        read_steps in steps(),
        rooms in prop::collection::vec(prop_oneof![1usize..50, 1usize..200_000], 1..20),
        frame_size in 0u32..300_000,
        hold in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let options = StreamOptions::new().hold_until_flush(hold);
            let wire = Wire::default();
            wire.state().writes.extend(write_steps);
            let frame_size = FrameSize::new(frame_size);
            let mut client = stream_with(Side::Client, wire.clone(), frame_size, options);
            let mut expected = Vec::new();
            for write in writes {
                match write {
                    Write::Plain(bytes) => {
                        client.write_all(&bytes).await.unwrap();
                        expected.extend(bytes);
                    }
                    Write::Vectored(parts) => {
                        let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
                        let count = client.write_vectored(&slices).await.unwrap();
                        let parts = parts.concat();
                        assert_eq!(count == 0, parts.is_empty());
                        expected.extend(&parts[..count]);
                    }
                    Write::Flush => {
                        client.flush().await.unwrap();
                        let sent = payloads(Side::Client, wire.state().outbound.clone());
                        assert!(sent.concat() == expected);
                    }
                }
            }
            client.shutdown().await.unwrap();

            let sent = wire.state().outbound.clone();
            let largest = frame_lengths(&sent).into_iter().max().unwrap_or_default();
            assert!(largest <= frame_size.bytes() as usize);
            let wire = Wire::receiving(&sent);
            wire.state().reads.extend(read_steps);
            wire.state().ended = true;
            let mut server = stream(Side::Server, wire);
            let mut received: Vec<u8> = Vec::new();
            for room in rooms.iter().cycle() {
                let mut space = vec![0; *room];
                let count = server.read(&mut space).await.unwrap();
                if count == 0 {
                    break;
                }
                received.extend(&space[..count]);
            }
            assert!(received == expected);
        });
    }
}
