//! The `embedded-io` adapters: a handshake and a stream over transports that are not tokio.
#![allow(clippy::pedantic, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use alts_core::aead::RustCrypto;
use alts_core::embedded::{self, Buffers, HandshakeFailure, StreamError, blocking};
use alts_core::frame::FrameSize;
use alts_core::handshake::{ClientConfig, ExpectedPeer, HandshakeErrorKind, ServerConfig};
use alts_core::msg::{
    HandshakerReq, HandshakerResp, HandshakerResult, HandshakerStatus, Identity, Request,
    RpcProtocolVersions, RpcVersion,
};
use alts_core::record::RecordError;
use alts_core::wire::{Message, Secret};
use alts_core::{ClientHandshake, ServerHandshake, Session};

/// One end of a pipe that hands out at most `chunk` bytes at a time.
struct Pipe {
    tx: Sender<Vec<u8>>,
    rx: Receiver<Vec<u8>>,
    rest: Vec<u8>,
    chunk: usize,
}

fn pipe(chunk: usize) -> (Pipe, Pipe) {
    let ((a, b), (c, d)) = (channel(), channel());
    (Pipe { tx: a, rx: d, rest: vec![], chunk }, Pipe { tx: c, rx: b, rest: vec![], chunk })
}

impl Pipe {
    fn take(&mut self, buf: &mut [u8]) -> usize {
        let count = self.rest.len().min(buf.len()).min(self.chunk);
        buf[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        count
    }
}

impl embedded_io::ErrorType for Pipe {
    type Error = Infallible;
}

impl embedded_io::Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        if self.rest.is_empty() {
            self.rest = self.rx.recv().unwrap_or_default();
        }
        Ok(self.take(buf))
    }
}

impl embedded_io::Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        let count = buf.len().min(self.chunk);
        let _ = self.tx.send(buf[..count].to_vec());
        Ok(count)
    }
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The same pipe, whose reads are pending until there is something.
struct AsyncPipe(Pipe);

impl embedded_io::ErrorType for AsyncPipe {
    type Error = Infallible;
}

impl embedded_io_async::Read for AsyncPipe {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        let mut pending = true;
        std::future::poll_fn(|_| {
            if self.0.rest.is_empty() {
                match self.0.rx.try_recv() {
                    Ok(bytes) => self.0.rest = bytes,
                    Err(std::sync::mpsc::TryRecvError::Empty) => return Poll::Pending,
                    Err(_) => return Poll::Ready(Ok(0)),
                }
            }
            // Pending once more than it has to be.
            if std::mem::take(&mut pending) {
                return Poll::Pending;
            }
            Poll::Ready(Ok(self.0.take(buf)))
        })
        .await
    }
}

impl embedded_io_async::Write for AsyncPipe {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        embedded_io::Write::write(&mut self.0, buf)
    }
    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A service that accepts everybody: "hello" from the client, "welcome" from the server.
struct ToyService;

impl ToyService {
    fn answer(request: &[u8], response: &mut [u8]) -> usize {
        let version = RpcVersion::new(2, 1);
        let done = HandshakerResult {
            application_protocol: "grpc",
            record_protocol: "ALTSRP_GCM_AES128_REKEY",
            key_data: Secret::new(&[7; 44]),
            peer_identity: Some(Identity::from_service_account("peer@example.com")),
            local_identity: Some(Identity::from_service_account("local@example.com")),
            peer_rpc_versions: Some(RpcProtocolVersions::new(version, version)),
            ..HandshakerResult::default()
        };
        let request = HandshakerReq::decode(request).unwrap();
        let (expected, in_bytes, out): (&[u8], &[u8], &[u8]) = match &request.request {
            Some(Request::ClientStart(_)) => (b"", b"", b"hello"),
            Some(Request::ServerStart(start)) => (b"hello", start.in_bytes, b"welcome"),
            Some(Request::Next(next)) if next.in_bytes.starts_with(b"h") => {
                (b"hello", next.in_bytes, b"welcome")
            }
            Some(Request::Next(next)) => (b"welcome", next.in_bytes, b""),
            _ => panic!("an empty request"),
        };
        // It takes a message whole, and nothing before.
        let whole = in_bytes.starts_with(expected);
        let (out_frames, used) = if whole { (out, expected.len()) } else { (&b""[..], 0) };
        HandshakerResp {
            out_frames,
            bytes_consumed: used as u32,
            result: (used > 0).then_some(done),
            status: Some(HandshakerStatus { code: 0, details: "" }),
        }
        .encode(response)
        .unwrap()
    }
}

impl blocking::Service for ToyService {
    type Error = Infallible;
    fn exchange(&mut self, request: &[u8], response: &mut [u8]) -> Result<usize, Infallible> {
        Ok(Self::answer(request, response))
    }
}

impl embedded::Service for ToyService {
    type Error = Infallible;
    async fn exchange(&mut self, request: &[u8], response: &mut [u8]) -> Result<usize, Infallible> {
        Ok(Self::answer(request, response))
    }
}

fn now() -> Duration {
    Duration::ZERO
}

const ROOM: usize = 16 * 1024 + 8;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
}

fn read_all(read: &mut impl embedded_io::Read, len: usize) -> Vec<u8> {
    let mut all = vec![0; len];
    read.read_exact(&mut all).unwrap();
    all
}

#[test]
fn two_threads_with_blocking_transports_talk() {
    use embedded_io::{Read, Write};
    for chunk in [1, 7, 4096] {
        let (client_end, server_end) = pipe(chunk);
        let server = thread::spawn(move || {
            let mut io = server_end;
            let config = ServerConfig::new();
            let machine = ServerHandshake::server(&config, now()).unwrap();
            let (mut from_peer, mut request, mut response) =
                (vec![0; ROOM], vec![0; 4096], vec![0; 4096]);
            let buffers = Buffers {
                from_peer: &mut from_peer,
                request: &mut request,
                response: &mut response,
            };
            let (established, filled) =
                blocking::handshake(machine, &mut io, &mut ToyService, buffers, now).unwrap();
            assert!(!response.windows(4).any(|bytes| bytes == [7; 4]), "key data is wiped");
            let (sealer, opener, context) =
                Session::<RustCrypto>::new(established).unwrap().into_parts();
            assert_eq!(context.peer_service_account(), "peer@example.com");
            let mut out = vec![0; 1000];
            let mut stream =
                blocking::Stream::new(io, sealer, opener, &mut from_peer, filled, &mut out);
            let got = read_all(&mut stream, 100_000);
            assert_eq!(got, pattern(100_000));
            stream.write_all(&got).unwrap();
            stream.flush().unwrap();
            assert_eq!(stream.read(&mut [0; 8]), Ok(0), "the end, between two frames");
        });
        let mut io = client_end;
        let config = ClientConfig::new(ExpectedPeer::Any);
        let machine = ClientHandshake::client(&config, now()).unwrap();
        let (mut from_peer, mut request, mut response) =
            (vec![0; ROOM], vec![0; 4096], vec![0; 4096]);
        let buffers =
            Buffers { from_peer: &mut from_peer, request: &mut request, response: &mut response };
        let (established, filled) =
            blocking::handshake(machine, &mut io, &mut ToyService, buffers, now).unwrap();
        let (sealer, opener, _) = Session::<RustCrypto>::new(established).unwrap().into_parts();
        let mut out = vec![0; 70_000];
        let mut stream =
            blocking::Stream::new(io, sealer, opener, &mut from_peer, filled, &mut out);
        assert_eq!(stream.write(&[]), Ok(0));
        stream.write_all(&pattern(100_000)).unwrap();
        stream.flush().unwrap();
        assert_eq!(read_all(&mut stream, 100_000), pattern(100_000));
        drop(stream.into_inner());
        server.join().unwrap();
    }
}

/// Polls both futures in turn until both are done; a deadlock would be endless, so it is bounded.
fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut left, mut right) = (None, None);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if left.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(&mut context)
        {
            left = Some(output);
        }
        if right.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(&mut context)
        {
            right = Some(output);
        }
        if left.is_some() && right.is_some() {
            break;
        }
    }
    (left.unwrap(), right.unwrap())
}

#[test]
fn two_futures_on_one_thread_talk() {
    use embedded_io_async::{Read, Write};
    let (client_end, server_end) = pipe(1000);
    let (client_end, server_end) = (AsyncPipe(client_end), AsyncPipe(server_end));
    let server = async {
        let mut io = server_end;
        let config = ServerConfig::new();
        let machine = ServerHandshake::server(&config, now()).unwrap();
        let (mut from_peer, mut request, mut response) =
            (vec![0; ROOM], vec![0; 4096], vec![0; 4096]);
        let buffers =
            Buffers { from_peer: &mut from_peer, request: &mut request, response: &mut response };
        let (established, filled) =
            embedded::handshake(machine, &mut io, &mut ToyService, buffers, now).await.unwrap();
        let (sealer, opener, _) = Session::<RustCrypto>::new(established).unwrap().into_parts();
        let mut out = vec![0; 4096];
        let mut stream =
            embedded::Stream::new(io, sealer, opener, &mut from_peer, filled, &mut out);
        let mut got = vec![0; 50_000];
        stream.read_exact(&mut got).await.unwrap();
        stream.write_all(&got).await.unwrap();
        stream.flush().await.unwrap();
        got
    };
    let client = async {
        let mut io = client_end;
        let config = ClientConfig::new(ExpectedPeer::Any);
        let machine = ClientHandshake::client(&config, now()).unwrap();
        let (mut from_peer, mut request, mut response) =
            (vec![0; ROOM], vec![0; 4096], vec![0; 4096]);
        let buffers =
            Buffers { from_peer: &mut from_peer, request: &mut request, response: &mut response };
        let (established, filled) =
            embedded::handshake(machine, &mut io, &mut ToyService, buffers, now).await.unwrap();
        let (sealer, opener, _) = Session::<RustCrypto>::new(established).unwrap().into_parts();
        let mut out = vec![0; 4096];
        let mut stream =
            embedded::Stream::new(io, sealer, opener, &mut from_peer, filled, &mut out);
        stream.write_all(&pattern(50_000)).await.unwrap();
        stream.flush().await.unwrap();
        let mut got = vec![0; 50_000];
        stream.read_exact(&mut got).await.unwrap();
        got
    };
    let (at_server, at_client) = join(server, client);
    assert_eq!(at_server, pattern(50_000));
    assert_eq!(at_client, pattern(50_000));
}

/// A transport that takes this many bytes, and then no more.
struct Clogged(usize);

impl embedded_io::ErrorType for Clogged {
    type Error = Infallible;
}

impl embedded_io::Read for Clogged {
    fn read(&mut self, _: &mut [u8]) -> Result<usize, Infallible> {
        Ok(0)
    }
}

impl embedded_io::Write for Clogged {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        let taken = buf.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A service that refuses everybody, and has bytes for the peer that say so.
struct RefusingService;

impl blocking::Service for RefusingService {
    type Error = Infallible;
    fn exchange(&mut self, _: &[u8], response: &mut [u8]) -> Result<usize, Infallible> {
        let refusal = HandshakerResp {
            out_frames: b"alert",
            bytes_consumed: 0,
            result: None,
            status: Some(HandshakerStatus { code: 7, details: "not you" }),
        };
        Ok(refusal.encode(response).unwrap())
    }
}

#[test]
fn an_alert_that_cannot_be_sent_does_not_hide_why_there_is_one() {
    for takes in [0, 2, 5] {
        let config = ClientConfig::new(ExpectedPeer::Any);
        let machine = ClientHandshake::client(&config, now()).unwrap();
        let (mut from_peer, mut request, mut response) = ([0; 64], [0; 4096], [0; 4096]);
        let buffers =
            Buffers { from_peer: &mut from_peer, request: &mut request, response: &mut response };
        let mut io = Clogged(takes);
        let failure =
            blocking::handshake(machine, &mut io, &mut RefusingService, buffers, now).unwrap_err();
        assert_eq!(io.0, 0, "as much of it was sent as there was room for");
        let HandshakeFailure::Handshake(error) = failure else { panic!("{failure}") };
        assert_eq!(error.kind(), HandshakeErrorKind::Refused { code: 7 });
    }
}

#[test]
fn a_transport_that_takes_nothing_is_an_error() {
    for takes in 0..3 {
        let config = ClientConfig::new(ExpectedPeer::Any);
        let machine = ClientHandshake::client(&config, now()).unwrap();
        let (mut from_peer, mut request, mut response) = ([0; 64], [0; 512], [0; 512]);
        let buffers =
            Buffers { from_peer: &mut from_peer, request: &mut request, response: &mut response };
        let mut io = Clogged(takes);
        match blocking::handshake(machine, &mut io, &mut ToyService, buffers, now) {
            Err(HandshakeFailure::Stalled) => assert_eq!(io.0, 0),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_peer_that_leaves_is_an_error_and_a_cut_frame_is_truncation() {
    use embedded_io::{Read, Write};
    let (client_end, server_end) = pipe(100);
    drop(server_end);
    let mut io = client_end;
    let config = ClientConfig::new(ExpectedPeer::Any);
    let machine = ClientHandshake::client(&config, now()).unwrap();
    let (mut from_peer, mut request, mut response) = ([0; 64], [0; 512], [0; 512]);
    let buffers =
        Buffers { from_peer: &mut from_peer, request: &mut request, response: &mut response };
    match blocking::handshake(machine, &mut io, &mut ToyService, buffers, now) {
        Err(HandshakeFailure::Handshake(error)) => {
            assert_eq!(error.kind(), HandshakeErrorKind::PeerClosed);
        }
        other => panic!("{other:?}"),
    }

    let key =
        alts_core::key::RecordKey::new(alts_core::key::RecordProtocol::AesGcm128Rekey, &[1; 44])
            .unwrap();
    let halves = |side| {
        (
            alts_core::record::Sealer::<RustCrypto>::new(side, &key, FrameSize::MIN).unwrap(),
            alts_core::record::Opener::<RustCrypto>::new(side, &key).unwrap(),
        )
    };
    let (client_end, mut server_end) = pipe(100);
    let (sealer, opener) = halves(alts_core::Side::Client);
    let (mut from_peer, mut out) = ([0; 64], [0; 64]);
    let mut stream = blocking::Stream::new(client_end, sealer, opener, &mut from_peer, 0, &mut out);
    server_end.write_all(&[20, 0, 0]).unwrap();
    drop(server_end);
    let truncated = Err(StreamError::Record(RecordError::Truncated));
    assert_eq!(stream.read(&mut [0; 8]), truncated);
    assert_eq!(stream.read(&mut [0; 8]), truncated);
    let refused = stream.write(b"after the error").unwrap_err();
    assert_eq!(refused, StreamError::Record(RecordError::Truncated));

    // A frame that is larger than the read buffer.
    let (client_end, mut server_end) = pipe(100);
    let (sealer, opener) = halves(alts_core::Side::Client);
    let mut stream = blocking::Stream::new(client_end, sealer, opener, &mut from_peer, 0, &mut out);
    server_end.write_all(&[100, 0, 0, 0, 6, 0, 0, 0]).unwrap();
    let too_small = Err(StreamError::Record(RecordError::BufferTooSmall { needed: 104 }));
    assert_eq!(stream.read(&mut [0; 8]), too_small);
}
