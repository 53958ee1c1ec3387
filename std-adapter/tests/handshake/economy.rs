//! What gRPC's calls cost on the wire: records, and reads and writes of the I/O object.
#![expect(clippy::print_stdout, reason = "what is counted is quoted in benches/README.md")]

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use alts_core::frame::{Find, FrameHeader};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_alts::Transport;
use tonic::transport::{Endpoint, Server};

use crate::support::*;
use crate::tonic_calls::greeter::{Client, Greeter};

const CALLS: usize = 8;

/// What has gone through an I/O object.
#[derive(Default)]
struct Traffic {
    sent: Vec<u8>,
    writes: usize,
    reads: usize,
}

/// A cost: what one side has sent, and how often it used its I/O object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    records: usize,
    writes: usize,
    reads: usize,
}

impl Traffic {
    /// What it was since the last time, which has to end with a whole record.
    fn cost(&mut self) -> Cost {
        let (mut records, mut rest) = (0, &*self.sent);
        while !rest.is_empty() {
            let Ok(Find::Whole(header)) = FrameHeader::find(rest) else { panic!("half a record") };
            rest = rest.get(header.frame_len()..).unwrap();
            records += 1;
        }
        let cost = Cost { records, writes: self.writes, reads: self.reads };
        *self = Self::default();
        cost
    }
}

/// An I/O object that counts what is done with it.
struct Counting {
    io: DuplexStream,
    traffic: Arc<Mutex<Traffic>>,
}

impl Transport for Counting {}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.traffic.lock().unwrap().reads += 1;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        let mut traffic = self.traffic.lock().unwrap();
        traffic.sent.extend_from_slice(buf.get(..written).unwrap());
        traffic.writes += 1;
        drop(traffic);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // The stream seals into one buffer: it has no use for this.
        self.poll_write(cx, bufs.first().map_or(&[], |first| first))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A greeter that takes HTTP/2 frames of `frame_size` bytes, behind a connection whose ends count; the
/// client's traffic comes first.
async fn counted(frame_size: Option<u32>) -> (Client, [Arc<Mutex<Traffic>>; 2]) {
    let (ours, theirs) = services();
    let traffic: [Arc<Mutex<Traffic>>; 2] = Default::default();
    // A socket that takes whatever is written, so that only what the stream wants is seen.
    let (client, server) = tokio::io::duplex(16 << 20);
    let client = Counting { io: client, traffic: traffic[0].clone() };
    let server = Counting { io: server, traffic: traffic[1].clone() };
    let accepted = tokio::spawn(async move { acceptor(theirs).accept(server).await });
    let connected = connector(ours).connect(client).await.unwrap();
    let accepted = accepted.await.unwrap().map_err(|failed| failed.to_string());
    // What the handshake sent is not a record.
    for traffic in &traffic {
        *traffic.lock().unwrap() = Traffic::default();
    }
    let accepted = tokio_stream::once(accepted);
    let window = 8 << 20;
    let server = Server::builder()
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .max_frame_size(frame_size)
        .add_service(Greeter);
    tokio::spawn(server.serve_with_incoming(accepted));
    let mut connected = Some(connected);
    let connector = tower::service_fn(move |_| {
        let stream = connected.take().map(TokioIo::new);
        std::future::ready(stream.ok_or("it connects once"))
    });
    let endpoint = Endpoint::from_static("http://greeter.test")
        .initial_stream_window_size(window)
        .initial_connection_window_size(window);
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    (Client::new(channel), traffic)
}

/// What `CALLS` calls with a name of `size` bytes, which comes back in the answer, cost either side.
async fn cost(frame_size: Option<u32>, size: usize) -> [Cost; 2] {
    let (mut client, traffic) = counted(frame_size).await;
    let name = "x".repeat(size);
    let costs = || {
        let [client, server] = &traffic;
        [client.lock().unwrap().cost(), server.lock().unwrap().cost()]
    };
    // The first ones make each other's settings known.
    for _ in 0..3 {
        client.say_hello(&name).await.unwrap();
    }
    _ = costs();
    for _ in 0..CALLS {
        client.say_hello(&name).await.unwrap();
    }
    let costs = costs();
    println!("{CALLS} calls of {size} bytes, HTTP/2 frames of {frame_size:?}: {costs:?}");
    costs
}

/// What belongs to the connection and not to a call may come in between: a ping, a window.
const SLACK: usize = 4;

#[tokio::test]
async fn a_small_call_is_two_writes_of_the_client_and_one_of_the_server() {
    let [client, server] = cost(None, 100).await;
    // HTTP/2 sends the headers before it has the body.
    assert!(client.writes <= 2 * CALLS + SLACK, "{client:?}");
    assert!(server.writes <= CALLS + SLACK, "{server:?}");
    for side in [client, server] {
        assert!(side.records <= side.writes, "no more records than writes: {side:?}");
    }
    let reads = client.reads <= server.writes + SLACK && server.reads <= client.writes + SLACK;
    assert!(reads, "{client:?} {server:?}");
}

#[tokio::test]
async fn a_large_message_is_one_write_for_each_of_its_frames() {
    const SIZE: usize = 1 << 20;
    // HTTP/2's own frames are 16 KiB: their headers get their own records, because copying what is
    // behind them would cost more.
    for side in cost(None, SIZE).await {
        assert!(side.writes <= CALLS * (SIZE / (16 << 10) + 2) + SLACK, "{side:?}");
        assert!(side.records <= 2 * side.writes, "{side:?}");
        assert!(side.reads <= side.writes / 2, "{side:?}");
    }
    // A server that takes larger ones spares its client nearly all of that.
    let [client, _] = cost(Some(1 << 20), SIZE).await;
    assert!(client.writes <= CALLS * 8 + SLACK, "{client:?}");
    assert!(client.records <= CALLS * 16 + SLACK, "{client:?}");
}
