//! The `embedded-io` adapters at their edges: buffers too small, transports that fail or stall.
#![allow(clippy::pedantic, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::time::Duration;

use alts_core::aead::RustCrypto;
use alts_core::embedded::{Buffers, HandshakeFailure, StreamError, blocking};
use alts_core::frame::{FrameSize, OVERHEAD};
use alts_core::handshake::{ClientConfig, ExpectedPeer, ServerConfig};
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::msg::{HandshakerResp, HandshakerStatus};
use alts_core::record::{Opener, RecordError, Sealer};
use alts_core::wire::Message;
use alts_core::{ClientHandshake, ServerHandshake, Side};
use embedded_io::{ErrorKind, ErrorType, Read, Write};

/// A transport from memory to memory that fails on request.
#[derive(Default)]
struct Memory {
    incoming: Vec<u8>,
    written: Vec<u8>,
    flushed: usize,
    /// How many bytes it gives at a time; 0: all that there are.
    chunk: usize,
    /// How many bytes it still takes.
    room: usize,
    broken: bool,
}

impl ErrorType for Memory {
    type Error = ErrorKind;
}

impl Read for Memory {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        if self.broken {
            return Err(ErrorKind::ConnectionReset);
        }
        let most = if self.chunk == 0 { usize::MAX } else { self.chunk };
        let count = buf.len().min(self.incoming.len()).min(most);
        buf[..count].copy_from_slice(&self.incoming[..count]);
        self.incoming.drain(..count);
        Ok(count)
    }
}

impl Write for Memory {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        if self.broken {
            return Err(ErrorKind::BrokenPipe);
        }
        let count = buf.len().min(self.room);
        self.written.extend_from_slice(&buf[..count]);
        self.room -= count;
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.flushed += 1;
        if self.broken { Err(ErrorKind::BrokenPipe) } else { Ok(()) }
    }
}

fn halves(side: Side) -> (Sealer<RustCrypto>, Opener<RustCrypto>) {
    let key = RecordKey::new(RecordProtocol::AesGcm128Rekey, &[1; 44]).unwrap();
    (Sealer::new(side, &key, FrameSize::MIN).unwrap(), Opener::new(side, &key).unwrap())
}

/// What a server seals.
fn frames(payloads: &[&[u8]]) -> Vec<u8> {
    let (mut sealer, _) = halves(Side::Server);
    let mut wire = Vec::new();
    for payload in payloads {
        let mut frame = vec![0; payload.len() + OVERHEAD];
        frame[8..][..payload.len()].copy_from_slice(payload);
        sealer.seal_in_place(&mut frame, payload.len()).unwrap();
        wire.extend(frame);
    }
    wire
}

/// The client's stream over `io`, its buffers of these sizes.
fn with_stream<T>(
    io: Memory,
    sizes: (usize, usize),
    work: impl FnOnce(&mut blocking::Stream<'_, Memory, RustCrypto>) -> T,
) -> T {
    let (sealer, opener) = halves(Side::Client);
    let (mut read, mut write) = (vec![0; sizes.0], vec![0; sizes.1]);
    work(&mut blocking::Stream::new(io, sealer, opener, &mut read, 0, &mut write))
}

#[test]
fn reading_hands_out_frames_in_order_and_as_much_as_there_is_room_for() {
    let incoming = frames(&[b"hello", b"", b"world"]);
    with_stream(Memory { incoming, ..Memory::default() }, (64, 64), |stream| {
        let mut buf = [0; 3];
        assert_eq!(stream.read(&mut []), Ok(0), "no room is not the end");
        assert_eq!((stream.read(&mut buf), &buf), (Ok(3), b"hel"));
        assert_eq!((stream.read(&mut buf), &buf[..2]), (Ok(2), &b"lo"[..]));
        assert_eq!((stream.read(&mut buf), &buf), (Ok(3), b"wor"), "an empty frame is not the end");
        assert_eq!((stream.read(&mut buf), &buf[..2]), (Ok(2), &b"ld"[..]));
        assert_eq!(stream.read(&mut buf), Ok(0), "the end");
    });
}

#[test]
fn a_frame_that_fills_the_read_buffer_is_read_and_a_larger_one_is_not() {
    for (payload, fits) in [(40, true), (41, false)] {
        // At once, and the header before the rest, for which there is just room.
        for chunk in [0, 8, 63] {
            let incoming = frames(&[&vec![7; payload]]);
            with_stream(Memory { incoming, chunk, ..Memory::default() }, (64, 64), |stream| {
                let needed = payload + OVERHEAD;
                let expected = match fits {
                    true => Ok(payload),
                    false => Err(StreamError::Record(RecordError::BufferTooSmall { needed })),
                };
                assert_eq!(stream.read(&mut [0; 64]), expected);
            });
        }
    }
}

#[test]
fn a_damaged_frame_ends_reading_and_writing() {
    let mut incoming = frames(&[b"hello"]);
    incoming[10] ^= 1;
    with_stream(Memory { incoming, room: 100, ..Memory::default() }, (64, 64), |stream| {
        let refused = StreamError::Record(RecordError::Authentication);
        assert_eq!(stream.read(&mut [0; 8]), Err(refused));
        assert_eq!(stream.read(&mut [0; 8]), Err(refused));
        assert_eq!(stream.write(b"x"), Err(refused));
        assert_eq!(stream.flush(), Err(refused));
        assert!(stream.get_ref().written.is_empty());
    });
}

#[test]
fn writing_waits_in_the_buffer_until_it_is_flushed_or_needed_again() {
    with_stream(Memory { room: 1000, ..Memory::default() }, (64, 64), |stream| {
        assert_eq!(stream.write(b"hello"), Ok(5));
        assert!(stream.get_ref().written.is_empty());
        assert_eq!(stream.write(b"world"), Ok(5));
        assert_eq!(stream.get_ref().written.len(), 5 + OVERHEAD);
        assert_eq!((stream.flush(), stream.get_ref().flushed), (Ok(()), 1));
        assert_eq!(stream.get_ref().written.len(), 2 * (5 + OVERHEAD));
        let (mut received, mut plaintext) = (stream.get_ref().written.clone(), [0; 10]);
        let (_, mut opener) = halves(Side::Server);
        let opened = opener.open(&received, &mut plaintext).unwrap();
        assert_eq!((opened.consumed, &plaintext), (received.len(), b"helloworld"));
        received.clear();
        // As much as fits into one frame of the buffer.
        assert_eq!(stream.write(&[7; 100]), Ok(64 - OVERHEAD));
    });
}

#[test]
fn a_write_buffer_without_room_for_a_byte_is_an_error() {
    for (room, fits) in [(OVERHEAD + 1, true), (OVERHEAD, false), (0, false)] {
        with_stream(Memory { room: 1000, ..Memory::default() }, (64, room), |stream| {
            let needed = OVERHEAD + 1;
            let too_small = Err(StreamError::Record(RecordError::BufferTooSmall { needed }));
            assert_eq!(stream.write(b"xy"), if fits { Ok(1) } else { too_small }, "{room}");
            assert_eq!(stream.write(b""), Ok(0));
        });
    }
}

#[test]
fn transports_that_fail_or_take_nothing_are_told_apart() {
    with_stream(Memory { room: 10, ..Memory::default() }, (64, 64), |stream| {
        assert_eq!(stream.write(b"hello"), Ok(5));
        assert_eq!(stream.flush(), Err(StreamError::Stalled));
        assert_eq!(stream.get_ref().written.len(), 10);
    });
    with_stream(Memory { broken: true, ..Memory::default() }, (64, 64), |stream| {
        assert_eq!(stream.read(&mut [0; 8]), Err(StreamError::Io(ErrorKind::ConnectionReset)));
        assert_eq!(stream.write(b"hello"), Ok(5));
        assert_eq!(stream.flush(), Err(StreamError::Io(ErrorKind::BrokenPipe)));
    });
    with_stream(Memory { broken: true, ..Memory::default() }, (64, 64), |stream| {
        assert_eq!(stream.flush(), Err(StreamError::Io(ErrorKind::BrokenPipe)), "nothing to write");
    });
}

/// A service that always says the same.
struct Says(Result<Vec<u8>, u8>);

impl blocking::Service for Says {
    type Error = u8;
    fn exchange(&mut self, _: &[u8], response: &mut [u8]) -> Result<usize, u8> {
        let said = self.0.as_ref().map_err(|error| *error)?;
        response[..said.len()].copy_from_slice(said);
        Ok(said.len())
    }
}

fn wants_more() -> Vec<u8> {
    let status = Some(HandshakerStatus { code: 0, details: "" });
    let response = HandshakerResp { status, ..HandshakerResp::default() };
    let mut bytes = vec![0; response.encoded_len()];
    response.encode(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_handshake_says_which_of_its_counterparts_failed() {
    let now = || Duration::ZERO;
    let server = ServerConfig::new();
    let run = |mut io: Memory, says, sizes: (usize, usize)| {
        let (mut from_peer, mut request) = (vec![0; sizes.0], vec![0; sizes.1]);
        let buffers =
            Buffers { from_peer: &mut from_peer, request: &mut request, response: &mut [0; 512] };
        let machine = ServerHandshake::server(&server, now()).unwrap();
        let failure = blocking::handshake(machine, &mut io, &mut Says(says), buffers, now);
        assert!(request.iter().all(|byte| *byte == 0), "a request is wiped");
        failure.unwrap_err().to_string()
    };
    let talkative = || Memory { incoming: vec![7; 100], ..Memory::default() };
    let broken = Memory { broken: true, ..Memory::default() };
    assert_eq!(run(broken, Ok(wants_more()), (64, 512)), "transport to the peer: ConnectionReset");
    assert_eq!(run(talkative(), Err(9), (64, 512)), "handshaker service out of reach: 9");
    let too_small = "local: a handshake buffer is too small";
    // The service wants more than the buffer can hold.
    assert_eq!(run(talkative(), Ok(wants_more()), (64, 512)), too_small);
    assert_eq!(run(talkative(), Ok(wants_more()), (64, 10)), too_small);
    assert_eq!(
        run(talkative(), Ok(vec![0xff]), (64, 512)),
        "handshaker service, start of the handshake: cannot read its message: HandshakerResp, \
         outside its known fields: cut short"
    );
    let client = ClientConfig::new(ExpectedPeer::Any);
    let machine = ClientHandshake::client(&client, now()).unwrap();
    let buffers =
        Buffers { from_peer: &mut [0; 64], request: &mut [0; 512], response: &mut [0; 512] };
    let mut gone = Memory::default();
    let failure =
        blocking::handshake(machine, &mut gone, &mut Says(Ok(wants_more())), buffers, now);
    assert!(matches!(failure, Err(HandshakeFailure::Handshake(_))), "{failure:?}");
    assert_eq!(gone.flushed, 0, "there was nothing to send");
}
