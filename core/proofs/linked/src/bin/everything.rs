//! Everything that the crate can do, on inputs that the optimiser cannot foresee: what is left of
//! its panics is counted in this program.
#![no_std]
#![no_main]

use core::convert::Infallible;
use core::fmt::{self, Debug, Display, Write as _};
use core::hint::black_box;
use core::time::Duration;

use alts_core::aead::RustCrypto;
use alts_core::embedded::blocking::{Service, Stream, handshake};
use alts_core::embedded::{Buffers, HandshakeFailure, StreamError};
use alts_core::frame::{FrameHeader, FrameSize};
use alts_core::handshake::{ClientConfig, ExpectedPeer, Handshake, Offer, Role, ServerConfig};
use alts_core::key::{RecordKey, RecordProtocol, SecurityLevel};
use alts_core::msg::{
    Endpoint, HandshakerReq, HandshakerResp, HandshakerResult, HandshakerStatus, Identity,
    NegotiatedTransportProtocol, NextHandshakeMessageReq, RpcProtocolVersions, RpcVersion,
    ServerHandshakeParameters, StartClientHandshakeReq, StartServerHandshakeReq,
    TransportProtocolPreferences,
};
use alts_core::record::{Opener, Sealer};
use alts_core::wire::{Message, SecretText};
use alts_core::{AltsContext, ClientHandshake, Fault, ServerHandshake, Session, Side};
use embedded_io::{ErrorType, Read, Write};
use scenario::Failure;

linked::program!(run);

fn run() -> u8 {
    Failure::code(everything())
}

fn everything() -> Result<(), Failure> {
    let noise: &[u8] = black_box(&[0x0a, 3, 1, 2, 3, 0x12, 2, 8, 1]);
    messages(noise);
    frames(noise);
    for &protocol in RecordProtocol::ALL {
        records(protocol, noise)?;
    }
    let (client, server) = scenario::established(black_box(&[7; 44]))?;
    show(&client);
    black_box((client.side(), client.frame_size().bytes(), client.keep_channel_open()));
    context(client.context(), noise);
    let (client, server) = (session(client)?, session(server)?);
    streams(client, server, noise);
    machines(noise);
    let (mut client, mut server) = scenario::sessions::<RustCrypto>(black_box(&[7; 44]))?;
    scenario::converse(&mut client.sealer, &mut server.opener, b"good morning")?;
    scenario::empty_record(&mut server.sealer, &mut client.opener)?;
    scenario::corrupt(&mut client.sealer, &mut server.opener)
}

#[inline(never)]
fn session(established: alts_core::Established) -> Result<Session<RustCrypto>, Failure> {
    Session::new(established).map_err(|_| Failure::Key)
}

/// Reads each message from `noise`, writes it into too little room and into enough.
#[inline(never)]
fn messages(noise: &[u8]) {
    macro_rules! each {
        ($($message:ident)*) => {$(
            match $message::decode(black_box(noise)) {
                Ok(message) => {
                    show(&message);
                    let mut room = [0; 64];
                    let room = room.get_mut(..black_box(message.encoded_len())).unwrap_or_default();
                    let written = message.encode(black_box(room));
                    black_box((message.clone() == message, written.is_ok()));
                    if let Err(error) = written {
                        say(error);
                        black_box((error.required(), error.available()));
                    }
                }
                Err(error) => {
                    say(error);
                    black_box((error.message(), error.field(), error.refusal()));
                }
            }
        )*};
    }
    each!(Endpoint HandshakerReq HandshakerResp HandshakerResult HandshakerStatus Identity
        NegotiatedTransportProtocol NextHandshakeMessageReq RpcProtocolVersions RpcVersion
        ServerHandshakeParameters StartClientHandshakeReq StartServerHandshakeReq
        TransportProtocolPreferences);
    if let (Ok(ours), Ok(theirs)) =
        (RpcProtocolVersions::decode(noise), RpcProtocolVersions::decode(black_box(noise)))
    {
        show(ours.newest_common(&theirs));
    }
}

#[inline(never)]
fn frames(noise: &[u8]) {
    match FrameHeader::find(black_box(noise)) {
        Ok(found) => show(found),
        Err(error) => say(error),
    }
    if let Some(header) = FrameHeader::for_payload(black_box(noise.len())) {
        black_box((header.emit(), header.frame_len(), header.payload_len()));
    }
    let size = FrameSize::new(black_box(70_000)).negotiate(black_box(1));
    black_box((size.payload(), SecurityLevel::from_number(black_box(1))));
    show((size, RecordProtocol::from_name(black_box("ALTSRP")), Side::Client.peer()));
    say(Fault::Peer);
}

#[inline(never)]
fn records(protocol: RecordProtocol, noise: &[u8]) -> Result<(), Failure> {
    let (mut client, mut server) = scenario::parties::<RustCrypto>(protocol, black_box(&[7; 44]))?;
    scenario::converse(&mut client.sealer, &mut server.opener, black_box(b"good morning"))?;
    client.sealer.set_position(black_box(Some(0xffff)));
    server.opener.set_position(black_box(Some(0xffff)));
    scenario::converse(&mut client.sealer, &mut server.opener, black_box(b"a key later"))?;
    scenario::corrupt(&mut client.sealer, &mut server.opener)?;
    black_box((client.sealer.position(), server.opener.position()));
    arbitrary(&mut client.sealer, &mut client.opener, noise);
    let key = RecordKey::new(black_box(protocol), black_box(noise));
    show(&key);
    if let Err(error) = key {
        say(error);
    }
    Ok(())
}

/// Calls with lengths and contents about which nothing is known.
#[inline(never)]
fn arbitrary(sealer: &mut Sealer<RustCrypto>, opener: &mut Opener<RustCrypto>, noise: &[u8]) {
    let mut space = black_box([0; 64]);
    show(sealer.seal(black_box(noise), black_box(&mut space)));
    if let Err(error) = sealer.seal_in_place(black_box(&mut space), black_box(noise.len())) {
        say(error);
        black_box(error.fault());
    }
    black_box((sealer.max_payload(), sealer.sealed_len(black_box(noise.len()))));
    show(opener.open(black_box(noise), black_box(&mut space)));
    show(opener.open_in_place(black_box(&mut space)));
    show(opener.finish(black_box(noise)));
    show((&*sealer, &*opener, sealer.protocol(), opener.protocol()));
}

#[inline(never)]
fn context(context: &AltsContext, noise: &[u8]) {
    show(context);
    let mut room = black_box([0; 32]);
    black_box(context.encode(black_box(&mut room)).is_ok());
    match AltsContext::decode(black_box(noise)) {
        Ok(context) => show(&context),
        Err(error) => say(error),
    }
    if let Err(error) = context.authorize(black_box(&["nobody"])) {
        say(error);
    }
    black_box((context.peer_certificate_end(), context.local_certificate_end()));
    for (name, value) in context.peer_attributes() {
        black_box((name, value));
    }
    let protocols = (context.application_protocol(), context.record_protocol().name());
    black_box((protocols, context.peer_service_account(), context.local_service_account()));
    show((context.peer_rpc_versions(), context.security_level()));
}

/// Handshakes over a transport and a service that say whatever they like.
#[inline(never)]
fn machines(noise: &[u8]) {
    let endpoint = Endpoint::decode(black_box(noise)).ok();
    let offer = Offer::new()
        .with_transport_protocols(black_box(&["tcp"]))
        .with_local_endpoint(endpoint.clone())
        .with_remote_endpoint(endpoint);
    let config = ClientConfig::new(ExpectedPeer::Accounts(black_box(&["a@x", "b@x"])))
        .with_offer(offer.clone())
        .with_target_name(black_box("host:1"))
        .with_local_identity(black_box(Some("c@x")))
        .with_access_token(SecretText::new(black_box("token")));
    match ClientHandshake::client(&config, black_box(Duration::ZERO)) {
        Ok(client) => machine(client, noise),
        Err(error) => say(error),
    }
    let local_identities = black_box(&["a@x"]);
    let token = black_box(Some(SecretText::new("token")));
    let config = ServerConfig::new()
        .with_offer(offer)
        .with_local_identities(local_identities)
        .with_token(token);
    match ServerHandshake::server(&config, black_box(Duration::ZERO)) {
        Ok(mut server) => {
            black_box((server.side(), server.phase(), server.details(), server.peer_account()));
            say(black_box(&mut server).service_closed());
            machine(server, noise);
        }
        Err(error) => say(error),
    }
}

#[inline(never)]
fn machine<R: Role>(machine: Handshake<R>, noise: &[u8]) {
    show(&machine);
    let (mut from_peer, mut request, mut response) = ([0; 64], [0; 512], [0; 64]);
    let buffers = Buffers {
        from_peer: black_box(&mut from_peer),
        request: black_box(&mut request),
        response: black_box(&mut response),
    };
    let mut clock = Duration::ZERO;
    let now = || {
        clock = clock.saturating_add(black_box(Duration::from_millis(1)));
        clock
    };
    let mut service = Noise(noise);
    match handshake(machine, &mut Noise(noise), &mut service, buffers, now) {
        Ok((established, rest)) => show((established, rest)),
        Err(error) => {
            if let HandshakeFailure::Handshake(error) = &error {
                say(error);
                black_box((error.kind(), error.phase(), error.fault()));
            }
            say(&error);
        }
    }
}

#[inline(never)]
fn streams(client: Session<RustCrypto>, server: Session<RustCrypto>, noise: &[u8]) {
    for session in [client, server] {
        show(&session);
        let (sealer, opener, _) = session.into_parts();
        let (mut read, mut write) = (black_box([0; 64]), black_box([0; 64]));
        let (read, write) = (black_box(&mut read), black_box(&mut write));
        let mut stream = Stream::new(Noise(noise), sealer, opener, read, black_box(3), write);
        show(stream.write(black_box(noise)));
        show(stream.flush());
        let mut plaintext = black_box([0; 16]);
        if let Err(error) = stream.read(black_box(&mut plaintext)) {
            say::<StreamError<_>>(error);
        }
        show(&stream);
        black_box(stream.get_ref());
        black_box(stream.into_inner());
    }
}

/// A transport and a service that say what is in them, once.
#[derive(Debug)]
struct Noise<'n>(&'n [u8]);

impl ErrorType for Noise<'_> {
    type Error = Infallible;
}

impl Read for Noise<'_> {
    #[inline(never)]
    fn read(&mut self, to: &mut [u8]) -> Result<usize, Infallible> {
        let len = scenario::copy(self.0, to);
        self.0 = self.0.get(len..).unwrap_or_default();
        Ok(black_box(len))
    }
}

impl Write for Noise<'_> {
    #[inline(never)]
    fn write(&mut self, from: &[u8]) -> Result<usize, Infallible> {
        Ok(black_box(from).len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Service for Noise<'_> {
    type Error = Infallible;

    #[inline(never)]
    fn exchange(&mut self, request: &[u8], response: &mut [u8]) -> Result<usize, Infallible> {
        black_box(request);
        self.read(response)
    }
}

/// Where text goes.
struct Nowhere;

impl fmt::Write for Nowhere {
    #[inline(never)]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        black_box(text);
        Ok(())
    }
}

fn show(value: impl Debug) {
    black_box(write!(black_box(&mut Nowhere), "{value:?} {value:#?}").is_ok());
}

fn say<T: Display + Debug>(error: T) {
    show(&error);
    black_box(write!(black_box(&mut Nowhere), "{error}").is_ok());
}
