//! Runs the vectors of this directory, and Wycheproof's, on an AEAD provider.
//!
//! Each crate with a provider includes this file in a test and names the provider in
//! `run_on!`. `core/tests/message_vectors.rs` runs messages.json, which needs no provider.
#![allow(
    clippy::pedantic,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used
)]

use alts_core::Side;
use alts_core::aead::{Aead, NONCE_SIZE, TAG_SIZE, Text};
use alts_core::frame::{FrameError, FrameSize, HEADER_SIZE, OVERHEAD};
use alts_core::key::{AES_KEY_SIZE, RecordKey, RecordProtocol};
use alts_core::record::{InPlace, Next, Opener, RecordError, Sealer};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wycheproof::TestResult;

/// Declares a test of each kind for a provider.
macro_rules! run_on {
    ($provider:ty) => {
        #[test]
        fn records() {
            harness::records::<$provider>();
        }
        #[test]
        fn refused() {
            harness::refused::<$provider>();
        }
        #[test]
        fn aead() {
            harness::aead::<$provider>();
        }
        #[test]
        fn rekeying() {
            harness::rekeying::<$provider>();
        }
        #[test]
        fn transcripts() {
            harness::transcripts::<$provider>();
        }
        #[test]
        fn wycheproof() {
            harness::wycheproof::<$provider>();
        }
    };
}
pub(crate) use run_on;

/// Frames byte for byte: sealed and opened, from slice to slice and in place.
pub(crate) fn records<A: Aead>() {
    for case in cases("records", 702) {
        let (protocol, writer, key, counter) = direction(&case);
        let payload = pattern(case["payload_len"].as_u64().unwrap() as usize);
        let mut sealer = Sealer::<A>::new(writer, &key, FrameSize::MAX).unwrap();
        let at = |sealer: &mut Sealer<A>| sealer.set_position(Some(counter));
        let last =
            if protocol == RecordProtocol::AesGcm128Rekey { u64::MAX } else { (1 << 40) - 1 };
        let next = (counter != last).then(|| counter + 1);

        let frame = match payload.len().checked_sub(sealer.max_payload()) {
            None | Some(0) => {
                let mut frame = vec![0; payload.len() + OVERHEAD];
                frame[HEADER_SIZE..][..payload.len()].copy_from_slice(&payload);
                at(&mut sealer);
                assert_eq!(sealer.seal_in_place(&mut frame, payload.len()), Ok(frame.len()));
                assert_eq!(sealer.position(), next, "{case}");
                if !payload.is_empty() {
                    let mut out = vec![0; frame.len()];
                    at(&mut sealer);
                    let sealed = sealer.seal(&payload, &mut out).unwrap();
                    assert_eq!((sealed.consumed, sealed.written), (payload.len(), frame.len()));
                    assert!(out == frame, "sealed in place and not, differently: {case}");
                }
                frame
            }
            // Larger than what is ever written: as much as can be sealed, and the given ends.
            Some(_) => {
                let mut out = vec![0; FrameSize::MAX.bytes() as usize];
                at(&mut sealer);
                let sealed = sealer.seal(&payload, &mut out).unwrap();
                assert_eq!(sealed.written, out.len());
                let (head, tail) = (hex(&case["frame_head"]), hex(&case["frame_tail"]));
                out.truncate(payload.len() + OVERHEAD - tail.len());
                out[..head.len()].copy_from_slice(&head);
                out.extend(tail);
                out
            }
        };
        if case["frame"].is_string() {
            assert_eq!(frame, hex(&case["frame"]), "{case}");
        } else {
            let (head, tail) = (hex(&case["frame_head"]), hex(&case["frame_tail"]));
            assert!(frame.starts_with(&head) && frame.ends_with(&tail), "{case}");
            assert_eq!(Sha256::digest(&frame)[..], hex(&case["frame_sha256"]), "{case}");
        }

        let mut opener = Opener::<A>::new(writer.peer(), &key).unwrap();
        opener.set_position(Some(counter));
        let mut out = vec![0; payload.len()];
        let opened = opener.open(&frame, &mut out).unwrap();
        assert_eq!((opened.consumed, opened.written), (frame.len(), payload.len()), "{case}");
        assert_eq!(opened.next, Next::Input { at_least: HEADER_SIZE });
        assert!(out == payload, "{case}");
        assert_eq!(opener.position(), next, "{case}");
        opener.set_position(Some(counter));
        let mut frame = frame;
        let InPlace::Frame { payload: place, consumed } = opener.open_in_place(&mut frame).unwrap()
        else {
            panic!("not whole: {case}")
        };
        assert_eq!(consumed, frame.len());
        assert!(frame[place] == payload, "{case}");
    }
}

/// What has to be refused is, in both ways of opening, for the reason given and for good.
pub(crate) fn refused<A: Aead>() {
    for case in cases("refused", 222) {
        let (_, writer, key, counter) = direction(&case);
        let received = hex(&case["received"]);
        let opener = || {
            let mut opener = Opener::<A>::new(writer.peer(), &key).unwrap();
            opener.set_position(Some(counter));
            opener
        };
        let is_meant = |error: RecordError| match case["reason"].as_str().unwrap() {
            "length" => matches!(error, RecordError::Frame(FrameError::Length(_))),
            "message_type" => matches!(error, RecordError::Frame(FrameError::MessageType(_))),
            _ => error == RecordError::Authentication,
        };
        let mut out = vec![0x55; received.len()];
        let mut by_slice = opener();
        let error = by_slice.open(&received, &mut out).unwrap_err();
        assert!(is_meant(error), "{error}: {case}");
        assert!(out.iter().all(|&byte| byte == 0 || byte == 0x55), "plaintext left: {case}");
        assert_eq!(by_slice.open(&[], &mut []), Err(error), "{case}");

        let mut by_place = opener();
        let mut in_place = received.clone();
        assert_eq!(by_place.open_in_place(&mut in_place), Err(error), "{case}");
        assert_eq!(by_place.open_in_place(&mut []), Err(error), "{case}");
    }
}

/// AES-128-GCM by itself.
pub(crate) fn aead<A: Aead>() {
    for case in cases("aead", 16) {
        let part = |name: &str| hex(&case[name]);
        gcm::<A>(
            &array(&part("key")),
            &array(&part("nonce")),
            &part("aad"),
            &part("plaintext"),
            &part("ciphertext"),
            &array(&part("tag")),
            Ok(()),
            &case["name"],
        );
    }
}

/// The keys and nonces that rekeying derives.
pub(crate) fn rekeying<A: Aead>() {
    for case in cases("rekeying", 28) {
        let part = |name: &str| hex(&case[name]);
        gcm::<A>(
            &array(&part("aes_key")),
            &array(&part("masked_nonce")),
            &part("aad"),
            &part("plaintext"),
            &part("ciphertext"),
            &array(&part("tag")),
            Ok(()),
            &case["name"],
        );
        // The record layer comes to that key and that nonce by itself: the same ciphertext. The
        // tag is another one where the case has associated data, which a frame does not have.
        let key = RecordKey::new(RecordProtocol::AesGcm128Rekey, &part("frame_key_data")).unwrap();
        let (plaintext, ciphertext) = (part("plaintext"), part("ciphertext"));
        let mut frame = [&[0; HEADER_SIZE][..], &plaintext, &[0; TAG_SIZE]].concat();
        let mut sealer = Sealer::<A>::new(Side::Client, &key, FrameSize::MIN).unwrap();
        sealer.set_position(Some(number(&case["frame_counter"])));
        sealer.seal_in_place(&mut frame, plaintext.len()).unwrap();
        assert_eq!(frame, part("frame"), "{case}");
        assert_eq!(frame[HEADER_SIZE..][..ciphertext.len()], ciphertext, "{case}");
        if part("aad").is_empty() {
            assert_eq!(frame[HEADER_SIZE + ciphertext.len()..], part("tag"), "{case}");
        }
    }
}

/// Sessions with other implementations: every frame of both directions is opened, and sealed again.
pub(crate) fn transcripts<A: Aead>() {
    for case in cases("transcripts", 8) {
        let name = format!("{} {} as {}", case["peer"], case["version"], case["peer_side"]);
        let protocol =
            RecordProtocol::from_name(case["record_protocol"].as_str().unwrap()).unwrap();
        let key = RecordKey::new(protocol, &hex(&case["key_data"])).unwrap();
        for (direction, writer) in [("to_server", Side::Client), ("to_client", Side::Server)] {
            let received = hex(&case[direction]);
            let handshake = case[format!("handshake_{direction}")].as_u64().unwrap() as usize;
            let (_, frames) = received.split_at(handshake);
            let payload = hex(&case[format!("payload_{direction}")]);
            let sent = hex(&case["sent"]);
            assert!(payload.windows(sent.len()).any(|part| part == sent), "{name}, {direction}");

            // As they arrive: in pieces that ignore where frames begin and end.
            let mut opener = Opener::<A>::new(writer.peer(), &key).unwrap();
            let (mut opened, mut held) = (Vec::new(), Vec::new());
            let mut out = vec![0; frames.len()];
            for piece in frames.chunks(100) {
                held.extend_from_slice(piece);
                let took = opener.open(&held, &mut out).unwrap();
                opened.extend_from_slice(&out[..took.written]);
                held.drain(..took.consumed);
            }
            assert_eq!(opener.finish(&held), Ok(()), "{name}, {direction}");
            assert!(opened == payload, "{name}, {direction}");

            // And this side would have written the same bytes.
            let mut opener = Opener::<A>::new(writer.peer(), &key).unwrap();
            let mut sealer = Sealer::<A>::new(writer, &key, FrameSize::MAX).unwrap();
            let (mut rest, mut opened) = (frames.to_vec(), Vec::new());
            while !rest.is_empty() {
                let received = rest.clone();
                let InPlace::Frame { payload, consumed } = opener.open_in_place(&mut rest).unwrap()
                else {
                    panic!("the last frame is not whole: {name}, {direction}")
                };
                opened.extend_from_slice(&rest[payload.clone()]);
                let length = sealer.seal_in_place(&mut rest[..consumed], payload.len()).unwrap();
                assert!(rest[..length] == received[..consumed], "{name}, {direction}");
                rest.drain(..consumed);
            }
            assert!(opened == payload, "{name}, {direction}");
        }
    }
}

/// Wycheproof's cases of AES-128-GCM with nonces and tags of the sizes that ALTS has.
pub(crate) fn wycheproof<A: Aead>() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let sizes = (AES_KEY_SIZE * 8, NONCE_SIZE * 8, TAG_SIZE * 8);
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != sizes {
            continue;
        }
        for test in group.tests {
            let expected = match test.result {
                TestResult::Valid => {
                    valid += 1;
                    Ok(())
                }
                TestResult::Invalid => {
                    invalid += 1;
                    Err(())
                }
                TestResult::Acceptable => panic!("case {}: acceptable", test.tc_id),
            };
            gcm::<A>(
                &array(&test.key),
                &array(&test.nonce),
                &test.aad,
                &test.pt,
                &test.ct,
                &array(&test.tag),
                expected,
                &format!("Wycheproof {}: {}", test.tc_id, test.comment),
            );
        }
    }
    assert_eq!((valid, invalid), (40, 27));
}

/// Both operations of a provider, each in place and across; `Err` when the tag is wrong.
#[allow(clippy::too_many_arguments)]
fn gcm<A: Aead>(
    key: &[u8; AES_KEY_SIZE],
    nonce: &[u8; NONCE_SIZE],
    aad: &[u8],
    plaintext: &[u8],
    ciphertext: &[u8],
    tag: &[u8; TAG_SIZE],
    expected: Result<(), ()>,
    name: &dyn std::fmt::Display,
) {
    let aead = A::new(key).unwrap();
    let mut out = vec![0; plaintext.len()];
    let mut in_place = plaintext.to_vec();
    let (mut sealed_tag, mut in_place_tag) = ([0; TAG_SIZE], [0; TAG_SIZE]);
    let across = Text::Across { from: plaintext, to: &mut out };
    aead.seal(nonce, aad, across, &mut sealed_tag).unwrap();
    aead.seal(nonce, aad, Text::InPlace(&mut in_place), &mut in_place_tag).unwrap();
    assert_eq!((&out, sealed_tag), (&in_place, in_place_tag), "{name}");
    if expected.is_ok() {
        assert_eq!((&out[..], &sealed_tag), (ciphertext, tag), "{name}");
    }
    let mut out = vec![0; ciphertext.len()];
    let mut in_place = ciphertext.to_vec();
    let across = Text::Across { from: ciphertext, to: &mut out };
    let opened = aead.open(nonce, aad, across, tag);
    assert_eq!(opened.map_err(|_| ()), expected, "{name}");
    let opened = aead.open(nonce, aad, Text::InPlace(&mut in_place), tag);
    assert_eq!(opened.map_err(|_| ()), expected, "{name}");
    if expected.is_ok() {
        assert_eq!((&out[..], &in_place[..]), (plaintext, plaintext), "{name}");
    }
}

/// The cases of a file, which has to have `count` of them.
pub(crate) fn cases(kind: &str, count: usize) -> Vec<Value> {
    let path = format!("{}/../vectors/{kind}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut file: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(file["kind"], kind);
    let Value::Array(cases) = file["cases"].take() else { panic!("{path} has no cases") };
    assert_eq!(cases.len(), count, "cases in {path}");
    cases
}

/// Which direction of which connection a case is about.
fn direction(case: &Value) -> (RecordProtocol, Side, RecordKey, u64) {
    let protocol = RecordProtocol::from_name(case["record_protocol"].as_str().unwrap()).unwrap();
    let writer = match case["writer"].as_str().unwrap() {
        "client" => Side::Client,
        "server" => Side::Server,
        other => panic!("{other} writes"),
    };
    let key = RecordKey::new(protocol, &hex(&case["key_data"])).unwrap();
    (protocol, writer, key, number(&case["counter"]))
}

/// The payload of `len` bytes that records.json refers to.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i + (i >> 8) + (i >> 16)) as u8).collect()
}

fn number(text: &Value) -> u64 {
    text.as_str().unwrap().parse().unwrap()
}

pub(crate) fn hex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap()
}
