//! ALTS in an event loop of the kind that C programs have: poll(2) says which socket is ready, and
//! all buffers belong to the loop. Both ends of the connection are in the one loop.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use alts_core::aead::RustCrypto;
use alts_core::frame::FrameSize;
use alts_core::handshake::{
    ClientConfig, ExpectedPeer, Handshake, Offer, REQUEST_OVERHEAD, Role, ServerConfig, Want,
};
use alts_core::record::Next;
use alts_core::{ClientHandshake, ServerHandshake, Session};
use alts_handshaker::dev::Authority;
use alts_handshaker::{Call, Handshaker};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Room for one frame. Some peers do not count the 4 bytes of its length field.
const FRAME: usize = 16 * 1024 + 4;
const ROUNDS: u32 = 3;

fn main() -> Outcome<()> {
    let authority = Authority::new()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;

    let clock = Instant::now();
    let offer = Offer::new().with_max_frame_size(FrameSize::MIN);
    let expected = ["server@dev.test"];
    let asked = ClientConfig::new(ExpectedPeer::Accounts(&expected)).with_offer(offer);
    let machine = ClientHandshake::client(&asked, clock.elapsed())?;
    let mut client = Connection::new(near, machine, &authority.handshaker("client@dev.test")?)?;
    let offer = Offer::new().with_max_frame_size(FrameSize::MIN);
    let asked = ServerConfig::new().with_offer(offer);
    let machine = ServerHandshake::server(&asked, clock.elapsed())?;
    let mut server = Connection::new(far, machine, &authority.handshaker("server@dev.test")?)?;

    // The application: the client counts, the server repeats what it hears.
    let (mut count, mut heard) = (0, [0; 4]);
    loop {
        client.advance(clock.elapsed())?;
        server.advance(clock.elapsed())?;
        if let Some(session) = client.session()
            && count == 0
        {
            println!("client: connected to {}", session.context().peer_service_account());
            count = 1;
            client.send(&u32::to_le_bytes(count))?;
        }
        if server.receive(&mut heard)? {
            server.send(&heard)?;
        }
        if client.receive(&mut heard)? {
            let echo = u32::from_le_bytes(heard);
            println!("client: {echo} came back");
            if echo != count {
                return Err(format!("{count} was sent").into());
            }
            if count == ROUNDS {
                return Ok(());
            }
            count += 1;
            client.send(&u32::to_le_bytes(count))?;
        }
        flush(&mut client.socket, &mut client.outbox)?;
        flush(&mut server.socket, &mut server.outbox)?;
        wait(&client, &server)?;
    }
}

/// Sleeps until a socket has bytes, or room for those that wait to be written.
fn wait(client: &Connection<impl Role>, server: &Connection<impl Role>) -> Outcome<()> {
    let mut sockets = [
        PollFd::new(client.socket.as_fd(), client.interest()),
        PollFd::new(server.socket.as_fd(), server.interest()),
    ];
    // A handshake's deadline is noticed when `want` is asked again.
    match poll(&mut sockets, PollTimeout::from(1000u16)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A socket that never waits, what was read from it, and what is to be written to it.
struct Connection<R> {
    socket: TcpStream,
    state: State<R>,
    inbox: Vec<u8>,
    filled: usize,
    outbox: Vec<u8>,
}

enum State<R> {
    /// The machine, its dialogue with the service, and how many bytes of the peer it has not seen.
    Handshake {
        machine: Option<Box<Handshake<R>>>,
        call: Box<Call>,
        fresh: usize,
    },
    Open(Box<Session<RustCrypto>>),
}

impl<R: Role> Connection<R> {
    fn new(socket: TcpStream, machine: Handshake<R>, handshaker: &Handshaker) -> Outcome<Self> {
        socket.set_nonblocking(true)?;
        let call = Box::new(handshaker.begin(Duration::ZERO));
        let state = State::Handshake { machine: Some(Box::new(machine)), call, fresh: 0 };
        Ok(Self { socket, state, inbox: vec![0; FRAME], filled: 0, outbox: Vec::new() })
    }

    fn session(&self) -> Option<&Session<RustCrypto>> {
        match &self.state {
            State::Open(session) => Some(session),
            State::Handshake { .. } => None,
        }
    }

    fn interest(&self) -> PollFlags {
        let write = if self.outbox.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        PollFlags::POLLIN | write
    }

    /// Reads what is there, and does what the handshake wants, as far as that goes.
    fn advance(&mut self, now: Duration) -> Outcome<()> {
        self.fill()?;
        let State::Handshake { machine: slot, call, fresh } = &mut self.state else {
            return Ok(());
        };
        let mut request = vec![0; FRAME + REQUEST_OVERHEAD];
        while let Some(machine) = slot {
            match machine.want(now)? {
                Want::PeerBytes if *fresh == 0 => return Ok(()),
                Want::Request | Want::PeerBytes => {
                    let waiting = self.inbox.get(..self.filled).unwrap_or_default();
                    let len = machine.request(waiting, &mut request, now)?;
                    *fresh = 0;
                    // A service in another process would answer later: `Want::Response` until then.
                    let question = request.get(..len).unwrap_or_default();
                    let mut answer = call.handle(question, now).encode();
                    let done = machine.response(&mut answer, now)?;
                    self.outbox.extend(answer.get(done.to_peer).unwrap_or_default());
                    self.inbox.copy_within(done.consumed..self.filled, 0);
                    self.filled -= done.consumed;
                }
                Want::Send | Want::Alert => {
                    flush(&mut self.socket, &mut self.outbox)?;
                    if !self.outbox.is_empty() {
                        return Ok(());
                    }
                    machine.sent(now);
                }
                Want::Response => return Ok(()),
                Want::Established => {
                    let established = slot.take().ok_or("no machine")?.established()?;
                    self.state = State::Open(Box::new(Session::new(established)?));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Seals `bytes` after those that wait to be written.
    fn send(&mut self, bytes: &[u8]) -> Outcome<()> {
        let State::Open(session) = &mut self.state else { return Err("not open yet".into()) };
        let before = self.outbox.len();
        self.outbox.resize(before + session.sealer.sealed_len(bytes.len()), 0);
        let room = self.outbox.get_mut(before..).unwrap_or_default();
        let sealed = session.sealer.seal(bytes, room)?;
        if sealed.consumed == bytes.len() { Ok(()) } else { Err("not all was sealed".into()) }
    }

    /// Opens a frame that fills `message`; `false` when there is none yet.
    fn receive(&mut self, message: &mut [u8]) -> Outcome<bool> {
        let State::Open(session) = &mut self.state else { return Ok(false) };
        let received = self.inbox.get(..self.filled).unwrap_or_default();
        let opened = session.opener.open(received, message)?;
        self.inbox.copy_within(opened.consumed..self.filled, 0);
        self.filled -= opened.consumed;
        match opened.next {
            Next::Room { payload } if opened.written == 0 => {
                Err(format!("a message of {payload} bytes").into())
            }
            _ => Ok(opened.written == message.len()),
        }
    }

    fn fill(&mut self) -> Outcome<()> {
        let room = self.inbox.get_mut(self.filled..).unwrap_or_default();
        if room.is_empty() {
            return Ok(());
        }
        match self.socket.read(room) {
            Ok(0) => Err("the peer is gone".into()),
            Ok(read) => {
                self.filled += read;
                if let State::Handshake { fresh, .. } = &mut self.state {
                    *fresh += read;
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes as much as the socket takes. What it does not take is kept: it is sealed already, and no
/// other bytes may be sealed in its place.
fn flush(socket: &mut TcpStream, outbox: &mut Vec<u8>) -> Outcome<()> {
    while !outbox.is_empty() {
        match socket.write(outbox) {
            Ok(0) => return Err("the socket takes nothing".into()),
            Ok(written) => drop(outbox.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
