//! What the parts of `alts inspect` must survive.

use alts_core::frame::FrameSize;
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::record::Sealer;
use proptest::prelude::*;
use tokio_alts::DefaultAead;

use super::packet::segment;
use super::pcap::Packets;
use super::*;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\
                   202122232425262728292a2b";

pub(super) fn key() -> Key {
    Key::read(&KEY.parse().unwrap(), RecordProtocol::AesGcm128Rekey).unwrap()
}

/// What is reported about bytes that the client wrote, as JSON.
fn told(bytes: &[u8], key: Option<&Key>) -> Vec<serde_json::Value> {
    let mut out = Vec::new();
    let mut report = Report::new(&mut out, true, false);
    let opening = key.map(|key| Opening::new(key, Side::Client).unwrap());
    let window = Window::new(bytes, window::Lacks::default());
    let dump = Box::new(io::sink());
    frames::direction(window, Side::Client, opening, dump, &mut report).unwrap();
    report.end(0).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Frames of the client with these sizes of payload, from the beginning of the connection.
pub(super) fn sealed(sizes: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let data: Vec<u8> = (0..44).collect();
    let key = RecordKey::new(RecordProtocol::AesGcm128Rekey, &data).unwrap();
    let mut sealer = Sealer::<DefaultAead>::new(Side::Client, &key, FrameSize::MAX).unwrap();
    let mut wire = Vec::new();
    for size in sizes {
        let mut frame = vec![7; size + 24];
        let length = sealer.seal_in_place(&mut frame, size).unwrap();
        wire.extend_from_slice(&frame[..length]);
    }
    wire
}

#[test]
fn rekeys_and_empty_frames_are_counted() {
    let wire = sealed((0..131_080).map(|number| usize::from(number % 1000 != 0)));
    let told = told(&wire, Some(&key()));
    let rekeys: Vec<_> = told.iter().filter(|event| event["event"] == "rekey").collect();
    assert_eq!(rekeys.len(), 2);
    assert_eq!((&rekeys[0]["frame"], &rekeys[1]["frame"]), (&65_536.into(), &131_072.into()));
    let summary = &told[told.len() - 2];
    assert_eq!((&summary["frames"], &summary["opened"]), (&131_080.into(), &131_080.into()));
    assert_eq!((&summary["empty"], &summary["rekeys"]), (&132.into(), &2.into()));
    assert_eq!(summary["faults"], 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_streams_are_told_to_their_last_byte(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        // What comes close to frames and messages.
        close in proptest::collection::vec((0_u32..40, 0_u32..8, 0_usize..40), 0..20),
        hostile_first in any::<bool>(),
    ) {
        let mut framed = Vec::new();
        for (length, number, body) in close {
            framed.extend_from_slice(&length.to_le_bytes());
            let number = if number == 7 { 0x0101 } else { number };
            framed.extend_from_slice(&number.to_le_bytes());
            framed.extend(std::iter::repeat_n(0x16, body));
        }
        let stream = if hostile_first { [bytes, framed] } else { [framed, bytes] }.concat();
        for key in [None, Some(&key())] {
            let told = told(&stream, key);
            let [.., summary, end] = &told[..] else { panic!("{told:?}") };
            prop_assert_eq!(&summary["bytes"], stream.len());
            prop_assert_eq!(&end["event"], "end");
        }
    }

    #[test]
    fn hostile_captures_do_no_harm(
        magic in 0_usize..4,
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        link in 0_u32..300,
        small in any::<bool>(),
    ) {
        let magics: [&[u8]; 4] = [
            b"\xd4\xc3\xb2\xa1",
            b"\xa1\xb2\x3c\x4d",
            b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a",
            b"\x0a\x0d\x0d\x0a\0\0\0\x1c\x1a\x2b\x3c\x4d",
        ];
        // Small numbers make lengths that are believed.
        let bytes: Vec<u8> = if small { bytes.iter().map(|b| b % 8).collect() } else { bytes };
        let file = [magics[magic], &bytes].concat();
        let mut connections = tcp::Connections::new(Vec::new());
        if let Ok(mut packets) = Packets::new(&file[..]) {
            let mut count = 0;
            while let Ok(Some(packet)) = packets.next() {
                prop_assert!(packet.data.len() <= file.len());
                if let Some(segment) = segment(pcap::Link(link), &packet.data) {
                    connections.take(&segment);
                }
                count += 1;
            }
            prop_assert!(count <= file.len());
        }
        for link in [1, 101, 113, 276, link] {
            if let Some(segment) = segment(pcap::Link(link), &bytes) {
                connections.take(&segment);
            }
        }
        if let Ok(connection) = connections.only() {
            let bytes = connection.to_server.data.len() + connection.to_client.data.len();
            prop_assert!(bytes <= 2 * file.len());
        }
    }
}
