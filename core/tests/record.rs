//! The record layer as its users see it: what is sealed is opened, in any pieces, or refused.
#![allow(
    clippy::pedantic,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used
)]

use alts_core::aead::{Aead, AeadError, RustCrypto, Text};
use alts_core::frame::{
    FrameError, FrameHeader, FrameSize, HEADER_SIZE, MAX_FRAME, MAX_LENGTH, MAX_PAYLOAD,
    MIN_LENGTH, OVERHEAD, TAG_SIZE,
};
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::record::{InPlace, Next, Opener, RecordError, Sealer};
use alts_core::{Fault, Side};
use proptest::prelude::*;

type Seals = Sealer<RustCrypto>;
type Opens = Opener<RustCrypto>;

fn key(protocol: RecordProtocol) -> RecordKey {
    RecordKey::new(protocol, &[0x42; 44]).unwrap()
}

/// A client that writes and a server that reads.
fn pair(protocol: RecordProtocol) -> (Seals, Opens) {
    let key = key(protocol);
    (
        Sealer::new(Side::Client, &key, FrameSize::MIN).unwrap(),
        Opener::new(Side::Server, &key).unwrap(),
    )
}

fn seal(sealer: &mut Seals, plaintext: &[u8]) -> Vec<u8> {
    let mut wire = vec![0; sealer.sealed_len(plaintext.len())];
    let sealed = sealer.seal(plaintext, &mut wire).unwrap();
    assert_eq!((sealed.consumed, sealed.written), (plaintext.len(), wire.len()));
    wire
}

fn open(opener: &mut Opens, wire: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut plaintext = vec![0; wire.len()];
    let opened = opener.open(wire, &mut plaintext)?;
    assert_eq!(opened.consumed, wire.len());
    plaintext.truncate(opened.written);
    Ok(plaintext)
}

#[test]
fn sizes_are_those_of_the_protocol() {
    assert_eq!((HEADER_SIZE, TAG_SIZE, OVERHEAD), (8, 16, 24));
    assert_eq!((MIN_LENGTH, MAX_LENGTH), (20, 1024 * 1024));
    assert_eq!((MAX_FRAME, MAX_PAYLOAD), (1_048_580, 1_048_556));
    let largest = FrameHeader::for_payload(1_048_556).unwrap();
    assert_eq!((largest.length(), largest.frame_len()), (MAX_LENGTH, MAX_FRAME));
    assert_eq!(FrameHeader::for_payload(1_048_557), None);
}

#[test]
fn nothing_written_is_nothing_on_the_wire() {
    let (mut sealer, _) = pair(RecordProtocol::AesGcm128Rekey);
    let mut out = [0xaa; 64];
    let sealed = sealer.seal(&[], &mut out).unwrap();
    assert_eq!((sealed.consumed, sealed.written), (0, 0));
    assert_eq!(out, [0xaa; 64]);
    assert_eq!(sealer.sealed_len(0), 0);
}

#[test]
fn a_small_output_makes_smaller_frames_and_the_rest_is_whole() {
    let (mut sealer, mut opener) = pair(RecordProtocol::AesGcm128Rekey);
    let plaintext = vec![7; 2 * sealer.max_payload() + 5];
    let mut out = vec![0; 3 * FrameSize::MIN.bytes() as usize];

    let sealed = sealer.seal(&plaintext, &mut out[..OVERHEAD]).unwrap();
    assert_eq!((sealed.consumed, sealed.written), (0, 0), "no room for a byte");
    let sealed = sealer.seal(&plaintext, &mut out[..OVERHEAD + 1]).unwrap();
    assert_eq!((sealed.consumed, sealed.written), (1, OVERHEAD + 1));
    assert_eq!(open(&mut opener, &out[..sealed.written]).unwrap(), [7]);

    // The second frame does not fit: it is not cut.
    let sealed =
        sealer.seal(&plaintext, &mut out[..FrameSize::MIN.bytes() as usize + 100]).unwrap();
    assert_eq!(sealed.consumed, sealer.max_payload());
    assert_eq!(sealed.written, FrameSize::MIN.bytes() as usize);
    assert_eq!(open(&mut opener, &out[..sealed.written]).unwrap().len(), sealed.consumed);

    let sealed = sealer.seal(&plaintext, &mut out).unwrap();
    assert_eq!(sealed.consumed, plaintext.len());
    assert_eq!(sealed.written, sealer.sealed_len(plaintext.len()));
    assert_eq!(open(&mut opener, &out[..sealed.written]).unwrap(), plaintext);
}

#[test]
fn no_length_field_exceeds_the_negotiated_size_less_4() {
    for size in [FrameSize::MIN, FrameSize::new(65_536), FrameSize::MAX] {
        let mut sealer = Seals::new(Side::Client, &key(RecordProtocol::AesGcm128), size).unwrap();
        let wire = seal(&mut sealer, &vec![0; 3_000_000]);
        let mut rest = wire.as_slice();
        let mut largest = 0;
        while let Some((length, _)) = rest.split_first_chunk() {
            let length = u32::from_le_bytes(*length);
            largest = largest.max(length);
            rest = &rest[length as usize + 4..];
        }
        assert_eq!(largest, size.bytes() - 4);
    }
}

#[test]
fn an_empty_record_is_progress_and_not_the_end() {
    let (mut sealer, mut opener) = pair(RecordProtocol::AesGcm128Rekey);
    let mut wire = vec![0; OVERHEAD];
    assert_eq!(sealer.seal_in_place(&mut wire, 0), Ok(OVERHEAD));
    wire.extend(seal(&mut sealer, b"x"));
    let mut out = [0; 8];
    let opened = opener.open(&wire[..OVERHEAD], &mut out).unwrap();
    assert_eq!((opened.consumed, opened.written), (OVERHEAD, 0));
    assert_eq!(opened.next, Next::Input { at_least: HEADER_SIZE });
    let in_place = opener.open_in_place(&mut wire[OVERHEAD..]).unwrap();
    assert_eq!(in_place, InPlace::Frame { payload: 8..9, consumed: 25 });
}

#[test]
fn it_says_how_much_input_and_room_is_missing() {
    let (mut sealer, mut opener) = pair(RecordProtocol::AesGcm128Rekey);
    let mut wire = seal(&mut sealer, &[9; 100]);
    let mut out = [0; 100];
    let wants = |opener: &mut Opens, have: usize, room: usize, out: &mut [u8]| {
        let opened = opener.open(&wire[..have], &mut out[..room]).unwrap();
        assert_eq!((opened.consumed, opened.written), (0, 0));
        opened.next
    };
    assert_eq!(wants(&mut opener, 0, 100, &mut out), Next::Input { at_least: 8 });
    assert_eq!(wants(&mut opener, 7, 100, &mut out), Next::Input { at_least: 1 });
    assert_eq!(wants(&mut opener, 8, 100, &mut out), Next::Input { at_least: 116 });
    assert_eq!(wants(&mut opener, 123, 0, &mut out), Next::Input { at_least: 1 });
    assert_eq!(wants(&mut opener, 124, 99, &mut out), Next::Room { payload: 100 });
    assert_eq!(out, [0; 100], "nothing leaves early");
    assert_eq!(opener.open_in_place(&mut wire[..123]), Ok(InPlace::Input { at_least: 1 }));
    let expected = InPlace::Frame { payload: 8..108, consumed: 124 };
    assert_eq!(opener.open_in_place(&mut wire).unwrap(), expected);
    assert_eq!(wire[8..108], [9; 100]);
}

#[test]
fn hostile_headers_are_refused_at_the_eighth_byte_and_for_good() {
    for (header, error) in [
        ([19, 0, 0, 0, 6, 0, 0, 0], FrameError::Length(19)),
        ([0, 0, 0, 0, 6, 0, 0, 0], FrameError::Length(0)),
        ([1, 0, 16, 0, 6, 0, 0, 0], FrameError::Length((1 << 20) + 1)),
        ([255, 255, 255, 255, 6, 0, 0, 0], FrameError::Length(u32::MAX)),
        ([20, 0, 0, 0, 6, 0, 0, 1], FrameError::MessageType(0x0100_0006)),
    ] {
        let (_, mut opener) = pair(RecordProtocol::AesGcm128Rekey);
        let mut out = [0; 16];
        assert_eq!(opener.open(&header, &mut out), Err(error.into()));
        assert_eq!(opener.open(&[], &mut out), Err(error.into()));
        assert_eq!(opener.open_in_place(&mut []), Err(error.into()));
        assert_eq!(opener.finish(&[]), Err(error.into()));
        assert_eq!(RecordError::from(error).fault(), Fault::Peer);
    }
}

#[test]
fn replay_reordering_dropping_reflection_and_corruption_end_the_direction() {
    for &protocol in RecordProtocol::ALL {
        let frames = |sealer: &mut Seals| [seal(sealer, b"one"), seal(sealer, b"two")];
        type Attack = fn(&[Vec<u8>; 2]) -> Vec<Vec<u8>>;
        let attacks: [(&str, Attack); 5] = [
            ("replayed", |[one, _]| vec![one.clone(), one.clone()]),
            ("reordered", |[one, two]| vec![two.clone(), one.clone()]),
            ("dropped", |[_, two]| vec![two.clone()]),
            ("shortened", |[one, _]| {
                let mut cut = one.clone();
                cut[0] -= 1;
                cut.pop();
                vec![cut]
            }),
            ("changed", |[one, _]| {
                let mut changed = one.clone();
                changed[8] ^= 1;
                vec![changed]
            }),
        ];
        for (name, attack) in attacks {
            let (mut sealer, mut opener) = pair(protocol);
            let wire = attack(&frames(&mut sealer));
            let outcomes: Vec<_> = wire.iter().map(|frame| open(&mut opener, frame)).collect();
            let last = outcomes.last().unwrap();
            assert_eq!(*last, Err(RecordError::Authentication), "{name}");
            let (mut honest, _) = pair(protocol);
            let good = seal(&mut honest, b"one");
            assert_eq!(open(&mut opener, &good), Err(RecordError::Authentication), "{name}");
        }
        // A client's frame sent back to the client.
        let (mut sealer, _) = pair(protocol);
        let mut client = Opens::new(Side::Client, &key(protocol)).unwrap();
        let wire = seal(&mut sealer, b"one");
        assert_eq!(open(&mut client, &wire), Err(RecordError::Authentication));
    }
}

#[test]
fn each_flipped_bit_of_a_frame_is_noticed() {
    for &protocol in RecordProtocol::ALL {
        let (mut sealer, _) = pair(protocol);
        let wire = seal(&mut sealer, b"ALTS");
        for bit in 0..wire.len() * 8 {
            let (_, mut opener) = pair(protocol);
            let mut bad = wire.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let mut out = [0x55; 64];
            // A longer length waits for more bytes: then nothing was opened.
            match opener.open(&bad, &mut out) {
                Err(_) => assert_eq!(out[4..], [0x55; 60], "bit {bit}"),
                Ok(opened) => assert_eq!((opened.consumed, opened.written), (0, 0), "bit {bit}"),
            }
        }
    }
}

/// Decrypts before it looks at the tag, as some providers do.
struct Hasty(RustCrypto);

impl Aead for Hasty {
    fn new(key: &[u8; 16]) -> Result<Self, AeadError> {
        RustCrypto::new(key).map(Self)
    }
    fn seal(
        &self,
        n: &[u8; 12],
        a: &[u8],
        text: Text<'_>,
        t: &mut [u8; 16],
    ) -> Result<(), AeadError> {
        self.0.seal(n, a, text, t)
    }
    fn open(&self, n: &[u8; 12], a: &[u8], text: Text<'_>, t: &[u8; 16]) -> Result<(), AeadError> {
        let text = text.into_place()?;
        let result = self.0.open(n, a, Text::InPlace(&mut *text), t);
        text.fill(0x77);
        result
    }
}

#[test]
fn a_buffer_that_failed_is_wiped_even_after_a_hasty_provider() {
    let (mut sealer, _) = pair(RecordProtocol::AesGcm128Rekey);
    let mut wire = seal(&mut sealer, b"secret");
    *wire.last_mut().unwrap() ^= 1;
    let key = key(RecordProtocol::AesGcm128Rekey);

    let mut opener = Opener::<Hasty>::new(Side::Server, &key).unwrap();
    let mut out = [0x55; 10];
    assert_eq!(opener.open(&wire, &mut out), Err(RecordError::Authentication));
    assert_eq!(out, [0, 0, 0, 0, 0, 0, 0x55, 0x55, 0x55, 0x55]);

    let mut opener = Opener::<Hasty>::new(Side::Server, &key).unwrap();
    assert_eq!(opener.open_in_place(&mut wire), Err(RecordError::Authentication));
    assert_eq!(wire[8..14], [0; 6]);
}

#[test]
fn good_frames_in_front_of_a_bad_one_are_delivered_first() {
    let (mut sealer, mut opener) = pair(RecordProtocol::AesGcm128Rekey);
    let mut wire = seal(&mut sealer, b"good");
    let bad_at = wire.len();
    wire.extend(seal(&mut sealer, b"bad"));
    wire[bad_at + 9] ^= 1;
    let mut out = [0; 16];
    let opened = opener.open(&wire, &mut out).unwrap();
    assert_eq!((opened.consumed, opened.written, opened.next), (bad_at, 4, Next::Again));
    assert_eq!(out[..8], *b"good\0\0\0\0");
    assert_eq!(opener.open(&wire[bad_at..], &mut out), Err(RecordError::Authentication));
}

#[test]
fn the_end_of_a_stream_inside_a_frame_is_truncation() {
    let (mut sealer, mut opener) = pair(RecordProtocol::AesGcm128Rekey);
    let wire = seal(&mut sealer, b"x");
    for cut in 1..wire.len() {
        let (_, mut opener) = pair(RecordProtocol::AesGcm128Rekey);
        assert_eq!(opener.finish(&wire[..cut]), Err(RecordError::Truncated));
        assert_eq!(open(&mut opener, &wire), Err(RecordError::Truncated), "for good");
    }
    assert_eq!(open(&mut opener, &wire).unwrap(), b"x");
    assert_eq!(opener.finish(&[]), Ok(()));
}

#[test]
fn a_buffer_too_small_to_seal_in_place_changes_nothing() {
    let (mut sealer, mut opener) = pair(RecordProtocol::AesGcm128Rekey);
    let mut frame = vec![1; FrameSize::MIN.bytes() as usize + 1];
    let needed = 5 + OVERHEAD;
    let too_small = Err(RecordError::BufferTooSmall { needed });
    assert_eq!(sealer.seal_in_place(&mut frame[..needed - 1], 5), too_small);
    assert!(sealer.seal_in_place(&mut frame, sealer.max_payload() + 1).is_err());
    assert!(sealer.seal_in_place(&mut frame, usize::MAX).is_err());
    assert_eq!(frame, vec![1; frame.len()]);
    assert_eq!(sealer.seal_in_place(&mut frame, 5), Ok(needed));
    assert_eq!(open(&mut opener, &frame[..needed]).unwrap(), [1; 5]);
}

#[test]
fn integrity_only_is_in_the_clear_and_says_so() {
    let (mut sealer, _) = pair(RecordProtocol::Gmac128);
    let wire = seal(&mut sealer, b"in the clear");
    assert!(wire.windows(12).any(|window| window == b"in the clear"));
    assert_eq!(sealer.protocol().security_level().name(), "INTEGRITY_ONLY");
}

#[test]
fn frames_over_a_rekeying_are_opened_in_order() {
    let (mut sealer, mut opener) = pair(RecordProtocol::AesGcm128Rekey);
    for count in 0_u32..(2 << 16) + 3 {
        let wire = seal(&mut sealer, &count.to_le_bytes());
        assert_eq!(open(&mut opener, &wire).unwrap(), count.to_le_bytes());
    }
}

mod hazmat {
    use super::*;

    #[test]
    fn the_last_counter_is_used_and_then_every_call_fails() {
        for (protocol, last) in [
            (RecordProtocol::AesGcm128Rekey, u64::MAX),
            (RecordProtocol::AesGcm128, (1 << 40) - 1),
            (RecordProtocol::Gmac128, (1 << 40) - 1),
        ] {
            let (mut sealer, mut opener) = pair(protocol);
            assert_eq!((sealer.protocol(), opener.protocol()), (protocol, protocol));
            assert_eq!((sealer.position(), opener.position()), (Some(0), Some(0)));
            sealer.set_position(Some(last));
            opener.set_position(Some(last));
            assert_eq!((sealer.position(), opener.position()), (Some(last), Some(last)));
            let wire = seal(&mut sealer, b"last");
            assert_eq!(open(&mut opener, &wire).unwrap(), b"last");
            assert_eq!((sealer.position(), opener.position()), (None, None));
            let mut out = [0; 64];
            for _ in 0..2 {
                let error = sealer.seal(b"more", &mut out).unwrap_err();
                assert_eq!((error, error.fault()), (alts_core::Exhausted.into(), Fault::Local));
                assert_eq!(sealer.seal_in_place(&mut out, 1), Err(error));
                assert_eq!(open(&mut opener, &wire), Err(error));
            }
        }
    }

    #[test]
    fn no_position_is_behind_the_last_counter() {
        for protocol in [RecordProtocol::AesGcm128, RecordProtocol::Gmac128] {
            let (mut sealer, mut opener) = pair(protocol);
            sealer.set_position(Some(1 << 40));
            opener.set_position(Some(u64::MAX));
            assert_eq!((sealer.position(), opener.position()), (None, None));
            let error = sealer.seal(b"more", &mut [0; 64]).unwrap_err();
            assert_eq!(error, alts_core::Exhausted.into());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any writes, cut into any pieces on the wire, read into any room: the same bytes in order,
    /// and what was consumed and what is left add up.
    #[test]
    fn any_chunking_gives_the_same_stream(
        protocol in prop::sample::select(RecordProtocol::ALL.to_vec()),
        writes in prop::collection::vec((0usize..40_000, any::<bool>()), 1..6),
        cuts in prop::collection::vec((1usize..20_000, 0usize..20_000), 1..8),
    ) {
        let (mut sealer, mut opener) = pair(protocol);
        let (mut sent, mut wire) = (Vec::new(), Vec::new());
        for (i, (len, in_place)) in writes.into_iter().enumerate() {
            let plaintext: Vec<u8> = (0..len).map(|j| (i * 31 + j) as u8).collect();
            if in_place && len <= sealer.max_payload() {
                let mut frame = vec![0; len + OVERHEAD];
                frame[HEADER_SIZE..][..len].copy_from_slice(&plaintext);
                sealer.seal_in_place(&mut frame, len).unwrap();
                wire.extend(frame);
            } else {
                wire.extend(seal(&mut sealer, &plaintext));
            }
            sent.extend(plaintext);
        }
        let (mut received, mut buffer, mut fed) = (Vec::new(), Vec::new(), 0);
        let mut cuts = cuts.into_iter().cycle();
        loop {
            let (take, room) = cuts.next().unwrap();
            let upto = (fed + take).min(wire.len());
            buffer.extend_from_slice(&wire[fed..upto]);
            fed = upto;
            let mut out = vec![0; room];
            let opened = opener.open(&buffer, &mut out).unwrap();
            received.extend_from_slice(&out[..opened.written]);
            buffer.drain(..opened.consumed);
            if let Next::Room { payload } = opened.next {
                prop_assert!(payload > room - opened.written);
                let InPlace::Frame { payload, consumed } =
                    opener.open_in_place(&mut buffer).unwrap() else { panic!("it was whole") };
                received.extend_from_slice(&buffer[payload]);
                buffer.drain(..consumed);
            }
            if fed == wire.len() && buffer.is_empty() {
                break;
            }
        }
        prop_assert_eq!(opener.finish(&buffer), Ok(()));
        prop_assert_eq!(received, sent);
    }

    /// Any bytes: no panic, no plaintext.
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (_, mut opener) = pair(RecordProtocol::AesGcm128Rekey);
        let mut out = [0; 256];
        if let Ok(opened) = opener.open(&bytes, &mut out) {
            prop_assert_eq!((opened.consumed, opened.written), (0, 0));
        }
    }
}
