//! ALTS over blocking sockets: two threads, the traits of `embedded-io`, no runtime.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use alts_core::aead::RustCrypto;
use alts_core::embedded::{Buffers, blocking};
use alts_core::frame::FrameSize;
use alts_core::handshake::{
    ClientConfig, ExpectedPeer, Handshake, Offer, REQUEST_OVERHEAD, Role, ServerConfig,
};
use alts_core::{AltsContext, ClientHandshake, ServerHandshake, Session};
use alts_examples::InProcess;
use alts_handshaker::Handshaker;
use alts_handshaker::dev::Authority;
use embedded_io::{ErrorType, Read, Write};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Room for one frame. Some peers do not count the 4 bytes of its length field.
const FRAME: usize = 16 * 1024 + 4;
/// How long a peer may be silent.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> Outcome<()> {
    let authority = Authority::new()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let handshaker = authority.handshaker("server@dev.test")?;
    let server = thread::spawn(move || serve(&listener, &handshaker));
    call(address, &authority.handshaker("client@dev.test")?)?;
    server.join().map_err(|_| "the server has panicked")?
}

fn serve(listener: &TcpListener, handshaker: &Handshaker) -> Outcome<()> {
    let (socket, _) = listener.accept()?;
    let offer = Offer::new().with_max_frame_size(FrameSize::MIN);
    let config = ServerConfig::new().with_offer(offer);
    let machine = ServerHandshake::server(&config, Duration::ZERO)?;
    talk(machine, socket, handshaker, |context, stream| {
        let mut question = [0; 13];
        stream.read_exact(&mut question)?;
        let question = String::from_utf8_lossy(&question);
        println!("server: {} asks {question:?}", context.peer_service_account());
        stream.write_all(context.peer_service_account().as_bytes())?;
        Ok(stream.flush()?)
    })
}

fn call(address: SocketAddr, handshaker: &Handshaker) -> Outcome<()> {
    let socket = TcpStream::connect(address)?;
    let offer = Offer::new().with_max_frame_size(FrameSize::MIN);
    let expected = ["server@dev.test"];
    let config = ClientConfig::new(ExpectedPeer::Accounts(&expected)).with_offer(offer);
    let machine = ClientHandshake::client(&config, Duration::ZERO)?;
    talk(machine, socket, handshaker, |context, stream| {
        stream.write_all(b"who am I then")?;
        stream.flush()?;
        let mut answer = vec![0; context.local_service_account().len()];
        stream.read_exact(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        println!("client: {} answers {answer:?}", context.peer_service_account());
        if answer == context.local_service_account() { Ok(()) } else { Err("not me".into()) }
    })
}

type Stream<'b> = blocking::Stream<'b, Socket, RustCrypto>;

/// Makes a handshake over `socket`, and then does what is to be `said` over it.
fn talk<R: Role>(
    machine: Handshake<R>,
    socket: TcpStream,
    handshaker: &Handshaker,
    said: impl FnOnce(&AltsContext, &mut Stream<'_>) -> Outcome<()>,
) -> Outcome<()> {
    // Nothing here interrupts a call that waits: the socket has to do it.
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let mut socket = Socket(socket);
    let mut service = InProcess::of(handshaker);
    let began = Instant::now();
    let (mut from_peer, mut to_peer) = (vec![0; FRAME], vec![0; FRAME]);
    let (mut request, mut response) = (vec![0; FRAME + REQUEST_OVERHEAD], vec![0; FRAME]);
    let buffers =
        Buffers { from_peer: &mut from_peer, request: &mut request, response: &mut response };
    let (established, filled) =
        blocking::handshake(machine, &mut socket, &mut service, buffers, || began.elapsed())?;
    let (sealer, opener, context) = Session::<RustCrypto>::new(established)?.into_parts();
    // What came after the handshake is in `from_peer` already.
    let mut stream =
        blocking::Stream::new(socket, sealer, opener, &mut from_peer, filled, &mut to_peer);
    said(&context, &mut stream)
}

/// A socket of std's under the traits of `embedded-io`.
#[derive(Debug)]
struct Socket(TcpStream);

impl ErrorType for Socket {
    type Error = io::Error;
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
