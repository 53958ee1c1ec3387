//! `docs/PROTOCOL.md` is true: its known answers and its encoded examples are what the code does.
#![allow(clippy::pedantic, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use alts_core::Side;
use alts_core::aead::RustCrypto;
use alts_core::context::AltsContext;
use alts_core::frame::FrameSize;
use alts_core::key::{RecordKey, RecordProtocol, SecurityLevel};
use alts_core::msg::{HandshakeProtocol, HandshakerReq, HandshakerResp, Request};
use alts_core::record::{Next, Opener, Sealer};
use alts_core::wire::Message;

const SERVER: &str = "server@example.test";
const CLIENT: &str = "client@example.test";
const RECORD_PROTOCOL: &str = "ALTSRP_GCM_AES128_REKEY";

fn document() -> String {
    // Not `include_str!`: the document is not part of the package.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROTOCOL.md");
    std::fs::read_to_string(path).unwrap()
}

/// The fenced blocks of a kind between a heading and the next one that is not below it.
fn blocks(document: &str, heading: &str, kind: &str) -> Vec<String> {
    let (_, section) = document.split_once(&format!("\n{heading}\n")).unwrap();
    let depth = heading.split(' ').next().unwrap();
    let section = section.split(&format!("\n{depth} ")).next().unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut fences = section.split("\n```");
    fences.next();
    // Fences come in pairs: one that opens, one that closes.
    let inside = fences.step_by(2);
    inside.filter_map(|block| block.strip_prefix(&format!("{kind}\n"))).map(String::from).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|digit| !digit.is_whitespace())
        .map(|digit| digit.to_digit(16).unwrap_or_else(|| panic!("{digit} in {text}")) as u8)
        .collect();
    assert_eq!(digits.len() % 2, 0, "{text}");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The bytes of an example: hexadecimal in groups; what stands behind two spaces is a remark.
fn example(text: &str) -> Vec<u8> {
    text.lines().flat_map(|line| hex(line.trim_start().split("  ").next().unwrap())).collect()
}

#[test]
fn every_known_answer_is_sealed_and_opened_as_it_stands_in_the_document() {
    let key_data: Vec<u8> = (0..44).collect();
    let tables = blocks(&document(), "## Known answers", "known-answers");
    assert_eq!(tables.len(), 1);
    let mut protocols_and_sides = std::collections::BTreeSet::new();
    for line in tables[0].lines() {
        let [protocol, writer, count, payload, frame] =
            line.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
        protocols_and_sides.insert((protocol, writer));
        let key = RecordKey::new(RecordProtocol::from_name(protocol).unwrap(), &key_data).unwrap();
        let writer = match writer {
            "client" => Side::Client,
            "server" => Side::Server,
            other => panic!("{other}"),
        };
        let count = Some(count.parse().unwrap());
        let payload = if payload == "-" { Vec::new() } else { hex(payload) };
        let frame = hex(frame);

        let mut sealer = Sealer::<RustCrypto>::new(writer, &key, FrameSize::DEFAULT).unwrap();
        sealer.set_position(count);
        let mut sealed = vec![0; frame.len()];
        sealed[8..8 + payload.len()].copy_from_slice(&payload);
        assert_eq!(sealer.seal_in_place(&mut sealed, payload.len()).unwrap(), frame.len());
        assert_eq!(sealed, frame, "{line}");

        let mut opener = Opener::<RustCrypto>::new(writer.peer(), &key).unwrap();
        opener.set_position(count);
        let mut plaintext = vec![0; payload.len()];
        let opened = opener.open(&frame, &mut plaintext).unwrap();
        assert_eq!((opened.consumed, opened.written), (frame.len(), payload.len()), "{line}");
        assert_eq!(opened.next, Next::Input { at_least: 8 });
        assert_eq!(plaintext, payload, "{line}");
    }
    assert_eq!(protocols_and_sides.len(), 6, "three protocols in two directions");
}

#[test]
fn the_encoded_examples_say_what_the_document_says_and_are_encoded_like_that() {
    let examples: Vec<Vec<u8>> =
        blocks(&document(), "### Examples", "text").iter().map(|block| example(block)).collect();
    let [client_start, server_start, next, middle, last, refusal] = examples.as_slice() else {
        panic!("{} examples", examples.len());
    };

    let request = again::<HandshakerReq<'_>>(client_start);
    let Some(Request::ClientStart(start)) = request.request else { panic!("{request:?}") };
    assert_eq!(client_start.len(), 94);
    assert_eq!(start.handshake_security_protocol, HandshakeProtocol::ALTS);
    assert_eq!(start.application_protocols.as_slice(), ["grpc"]);
    assert_eq!(start.record_protocols.as_slice(), [RECORD_PROTOCOL]);
    assert_eq!(start.target_identities[0].service_account(), Some(SERVER));
    assert_eq!(start.target_name, "example.test:443");
    assert_eq!(start.max_frame_size, FrameSize::DEFAULT.bytes());

    let request = again::<HandshakerReq<'_>>(server_start);
    let Some(Request::ServerStart(start)) = request.request else { panic!("{request:?}") };
    assert_eq!(server_start.len(), 64);
    assert_eq!(start.in_bytes, [1, 2, 3, 4, 5]);
    let parameters = start.handshake_parameters.get(&HandshakeProtocol::ALTS).unwrap();
    assert_eq!(parameters.record_protocols.as_slice(), [RECORD_PROTOCOL]);

    let request = again::<HandshakerReq<'_>>(next);
    let Some(Request::Next(next)) = request.request else { panic!("{request:?}") };
    assert_eq!((next.in_bytes.len(), next.network_latency_ms), (3, 7));

    let response = again::<HandshakerResp<'_>>(middle);
    assert_eq!((response.out_frames.len(), response.bytes_consumed), (5, 3));
    assert!(response.result.is_none());
    assert_eq!(response.status.unwrap().code, 0);

    let response = again::<HandshakerResp<'_>>(last);
    assert_eq!(last.len(), 153);
    let result = response.result.unwrap();
    assert_eq!(result.key_data.expose(), (0..44).collect::<Vec<u8>>());
    let from_result = AltsContext::from_result(&result, RecordProtocol::AesGcm128Rekey).unwrap();

    let response = again::<HandshakerResp<'_>>(refusal);
    let status = response.status.unwrap();
    assert_eq!((status.code, status.details), (7, "peer is not permitted"));

    let context = &blocks(&document(), "## The ALTS context", "text")[0];
    let context = AltsContext::decode(&example(context)).unwrap();
    assert_eq!(context, from_result);
    assert_eq!(context.peer_service_account(), SERVER);
    assert_eq!(context.local_service_account(), CLIENT);
    assert_eq!(context.security_level(), SecurityLevel::IntegrityAndPrivacy);
}

/// Decodes an example and checks that encoding gives the same bytes.
fn again<'a, M: Message<'a>>(example: &'a [u8]) -> M {
    let message = M::decode(example).unwrap();
    let mut encoded = vec![0; example.len()];
    assert_eq!(message.encode(&mut encoded).unwrap(), example.len());
    assert_eq!(encoded, example);
    message
}
