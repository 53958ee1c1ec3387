//! Damaged, cut and invented bytes: an error, never a panic, never a handshake that succeeds.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

#[path = "common/parties.rs"]
mod common;

use common::{End, NOW, RECORDS, Start, calls, drive, drive_with, next};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// One bit flipped anywhere in any of the five messages.
    #[test]
    fn no_bit_of_a_handshake_can_change(message in 0_usize..5, at: prop::sample::Index, bit in 0_u32..8) {
        let start = Start::default();
        let mut seen = 0;
        let (client, server) = drive_with(calls(), (&start, &start), usize::MAX, |_, bytes| {
            if seen == message && !bytes.is_empty() {
                let mut end = bytes.len();
                if bytes.ends_with(RECORDS) {
                    end -= RECORDS.len();
                }
                bytes[at.index(end)] ^= 1_u8 << bit;
            }
            seen += 1;
        });
        let succeeded = |end: &End| matches!(end.call.result(), Some(Ok(_)));
        // When the last message is damaged, the client has its result already: its first record
        // will show it. The server never reports success for what was tampered with. A length that
        // has grown leaves a side waiting, which its deadline ends.
        prop_assert!(!succeeded(&server));
        prop_assert_eq!(succeeded(&client), message == 4);
    }

    #[test]
    fn cut_handshakes_wait_and_do_not_succeed(message in 0_usize..5, at: prop::sample::Index) {
        let start = Start::default();
        let mut seen = 0;
        let (_, server) = drive_with(calls(), (&start, &start), usize::MAX, |_, bytes| {
            if seen == message {
                let whole = bytes.len() - if bytes.ends_with(RECORDS) { RECORDS.len() } else { 0 };
                bytes.truncate(at.index(whole));
            }
            seen += 1;
        });
        prop_assert!(server.call.result().is_none());
    }

    #[test]
    fn requests_of_garbage(requests in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..6)) {
        let (mut client, _) = calls();
        for request in &requests {
            let reply = client.handle(request, NOW);
            prop_assert!(reply.outcome().is_none());
        }
    }

    /// Well-framed messages with bodies that are not TLS, at every point of a handshake.
    #[test]
    fn bodies_of_garbage(
        message in 0_usize..5,
        kind in 1_u8..6,
        body in prop::collection::vec(any::<u8>(), 1..300),
        as_record: bool,
    ) {
        let mut body = body;
        if as_record {
            let length = u16::try_from(body.len()).unwrap().to_be_bytes();
            let content = 20 + body[0] % 5;
            body.splice(0..0, [content, 3, 3, length[0], length[1]]);
        }
        let mut framed = u32::try_from(body.len() + 4).unwrap().to_le_bytes().to_vec();
        framed.extend_from_slice(&[kind, 1, 0, 0]);
        framed.extend_from_slice(&body);
        let start = Start::default();
        let mut seen = 0;
        let (_, server) = drive_with(calls(), (&start, &start), usize::MAX, |_, bytes| {
            if seen == message {
                bytes.clone_from(&framed);
            }
            seen += 1;
        });
        prop_assert!(!matches!(server.call.result(), Some(Ok(_))));
    }

    #[test]
    fn any_pieces_give_the_same_handshake(sizes in prop::collection::vec(1_usize..600, 1..8)) {
        for most in sizes {
            let (client, server) = drive(calls(), (&Start::default(), &Start::default()), most);
            prop_assert_eq!(client.outcome().key_data(), server.outcome().key_data());
            prop_assert_eq!(&*server.left, RECORDS);
        }
    }
}

#[test]
fn a_message_from_another_handshake_does_not_fit() {
    let start = Start::default();
    let (other_client, other_server) = drive(calls(), (&start, &start), usize::MAX);
    for message in 0..5 {
        let mut seen = 0;
        let (_, server) =
            drive_with(calls(), (&start, &start), usize::MAX, |from_client, bytes| {
                if seen == message {
                    let other = if from_client { &other_client } else { &other_server };
                    bytes.clone_from(&other.sent[message / 2]);
                }
                seen += 1;
            });
        assert!(!matches!(server.call.result(), Some(Ok(_))), "message {message}");
    }
}

#[test]
fn half_a_message_is_kept() {
    let (mut client, mut server) = calls();
    let hello = client.handle(&Start::default().client(), NOW);
    let (head, tail) = hello.out_frames().split_at(700);
    let reply = server.handle(&Start::default().server(head), NOW);
    assert!(reply.failure().is_none() && reply.out_frames().is_empty());
    assert_eq!(reply.bytes_consumed(), 700);
    assert!(!server.handle(&next(tail), NOW).out_frames().is_empty());
}

/// Headers are where a format can be lenient: each bit of each header of each message.
#[test]
fn no_bit_of_a_header_can_change() {
    let authority = alts_handshaker::dev::Authority::new().unwrap();
    let (client, server) = (
        authority.handshaker(common::CLIENT).unwrap(),
        authority.handshaker(common::SERVER).unwrap(),
    );
    let start = Start::default();
    let mut tried = 0;
    for message in 0..5 {
        for place in 0.. {
            let mut flipped = false;
            for bit in 0..8_u32 {
                let calls = (client.begin(NOW), server.begin(NOW));
                let mut seen = 0;
                let (c, s) = drive_with(calls, (&start, &start), usize::MAX, |_, bytes| {
                    if seen == message {
                        let end =
                            bytes.len() - if bytes.ends_with(RECORDS) { RECORDS.len() } else { 0 };
                        // Those of the frame, of every TLS record in it, and of the one byte in a
                        // change_cipher_spec.
                        let mut places: Vec<usize> = (0..8).collect();
                        let mut at = 8;
                        while at < end {
                            let size =
                                usize::from(bytes[at + 3]) * 256 + usize::from(bytes[at + 4]);
                            places.extend(at..at + 5 + usize::from(size == 1));
                            at += 5 + size;
                        }
                        if let Some(at) = places.get(place) {
                            bytes[*at] ^= 1_u8 << bit;
                            flipped = true;
                            tried += 1;
                        }
                    }
                    seen += 1;
                });
                let succeeded = |end: &End| matches!(end.call.result(), Some(Ok(_)));
                if flipped {
                    assert!(!succeeded(&s), "message {message}, header byte {place}, bit {bit}");
                    assert_eq!(succeeded(&c), message == 4, "{message} {place} {bit}");
                }
            }
            if !flipped {
                break;
            }
        }
    }
    assert!(tried >= 5 * (8 + 5) * 8, "{tried}");
}
