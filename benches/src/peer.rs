//! Other implementations of gRPC, in their own processes, which do work on request.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use alts_handshaker::Handshaker;
use alts_handshaker::dev::Authority;
use alts_handshaker::grpc::{AnyCaller, HandshakerServer};
use tokio_stream::wrappers::TcpListenerStream;

use crate::Outcome;
use crate::runtime::runtime;

/// What starts a peer.
const START: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peer");
/// Where the peers look for the handshaker service. gRPC C core's port cannot be chosen.
const HANDSHAKER: &str = "127.0.0.61";
const PORT: u16 = 8080;
/// The account of both ends of the peers' connections.
const ACCOUNT: &str = "peer@bench.test";

/// The handshaker service of the peers: it serves as long as the process lives.
///
/// # Errors
/// When its address is not free.
pub fn serve_handshaker() -> Outcome<()> {
    serve_handshaker_at(SocketAddr::new(HANDSHAKER.parse()?, PORT))?;
    Ok(())
}

/// The same at any address; returns where it listens.
///
/// # Errors
/// When its address is not free.
pub fn serve_handshaker_at(address: SocketAddr) -> Outcome<SocketAddr> {
    let listener = std::net::TcpListener::bind(address)
        .map_err(|error| format!("the handshaker service cannot listen on {address}: {error}"))?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let handshaker = Authority::new()?.handshaker(ACCOUNT)?;
    thread::spawn(move || serve(listener, handshaker));
    Ok(address)
}

fn serve(listener: std::net::TcpListener, handshaker: Handshaker) -> Outcome<()> {
    runtime()?.block_on(async {
        let connections = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
        let server = tonic::transport::Server::builder()
            .add_service(HandshakerServer::new(AnyCaller(handshaker)))
            .serve_with_incoming(connections);
        Ok(server.await?)
    })
}

/// A peer that waits for work; it ends with this value.
pub struct Peer {
    process: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    name: &'static str,
}

impl Peer {
    /// Starts one of the peers that `benches/peer` knows.
    ///
    /// # Errors
    /// Why it is not there, in its own words.
    pub fn start(name: &'static str) -> Outcome<Self> {
        let mut process = Command::new(START)
            .args([name, HANDSHAKER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{START}: {error}"))?;
        let asks = process.stdin.take().ok_or("no input")?;
        let answers = BufReader::new(process.stdout.take().ok_or("no output")?);
        let complaints = BufReader::new(process.stderr.take().ok_or("no output of errors")?);
        let (last, why) = mpsc::channel();
        // Reads all of it, so that the peer never waits to write.
        thread::spawn(move || last.send(complaints.lines().map_while(Result::ok).last()));
        let mut peer = Self { process, asks, answers, name };
        if peer.answer()? == "ready" {
            return Ok(peer);
        }
        drop(peer);
        Err(why.recv()?.unwrap_or_else(|| "it ended and did not say why".into()).into())
    }

    /// The figure for that work: seconds of CPU time of the peer's process, or bytes.
    ///
    /// # Errors
    /// When the peer fails.
    pub fn ask(&mut self, what: &str, size: usize, count: usize) -> Outcome<f64> {
        writeln!(self.asks, "{what} {size} {count}")?;
        let answer = self.answer()?;
        answer.parse().map_err(|_| format!("{} failed to do {what}: {answer:?}", self.name).into())
    }

    fn answer(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
