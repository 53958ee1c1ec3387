//! Two parties meet and talk on a microcontroller, without a heap.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::time::Duration;

use alts_core::aead::RustCrypto;
use alts_core::handshake::{ClientConfig, ExpectedPeer, Handshake, Role, ServerConfig};
use alts_core::msg::HandshakerReq;
use alts_core::wire::SecretText;
use alts_core::{AltsContext, ClientHandshake, ServerHandshake, Session};
use cortex_m::{check_clock, measure, report};
use scenario::Failure;

cortex_m::program!(run);

const NOW: Duration = Duration::ZERO;

fn run() -> u8 {
    Failure::code(session())
}

fn session() -> Result<(), Failure> {
    check_clock();
    report("a handshake\0", size_of::<ClientHandshake<'_>>(), "bytes\0");
    report("a session\0", size_of::<Session<RustCrypto>>(), "bytes\0");
    report("of which its context\0", size_of::<AltsContext>(), "bytes\0");
    report("a request as a view\0", size_of::<HandshakerReq<'_>>(), "bytes\0");
    sides()?;

    let key_data = black_box([7; 44]);
    let (mut client, mut server) =
        measure("both sides and their service\0", || scenario::sessions::<RustCrypto>(&key_data))?;
    scenario::converse(&mut client.sealer, &mut server.opener, b"good morning")?;
    scenario::converse(&mut server.sealer, &mut client.opener, b"and to you")?;
    scenario::empty_record(&mut client.sealer, &mut server.opener)?;
    client.sealer.set_position(Some(0xfffe));
    server.opener.set_position(Some(0xfffe));
    let crossed = scenario::cross_epoch(&mut client.sealer, &mut server.opener, 0xfffe)?;
    report("records across a change of keys\0", crossed as usize, "records\0");
    scenario::corrupt(&mut client.sealer, &mut server.opener)?;
    scenario::converse(&mut server.sealer, &mut client.opener, b"the other direction goes on")
}

/// Each call of the two machines, separately.
fn sides() -> Result<(), Failure> {
    let failed = |_| Failure::Handshake;
    let config = ClientConfig::new(ExpectedPeer::Accounts(&[scenario::SERVER]))
        .with_target_name("example.com:443")
        .with_access_token(SecretText::new("token"));
    let mut client = ClientHandshake::client(&config, NOW).map_err(failed)?;
    let mut message = [0; 512];
    let len = ask("the client's start message\0", &mut client, b"", &mut message)?;
    tell("its answer\0", &mut client, message.get_mut(..len))?;
    let len = ask("the client's next message\0", &mut client, b"welcome", &mut message)?;
    tell("the client's result\0", &mut client, message.get_mut(..len))?;
    let established = client.established().map_err(failed)?;
    let session = measure("the client's session\0", || Session::<RustCrypto>::new(established));
    drop(session.map_err(|_| Failure::Key)?);

    let config = ServerConfig::new();
    let mut server = ServerHandshake::server(&config, NOW).map_err(failed)?;
    let len = ask("the server's start message\0", &mut server, b"hello", &mut message)?;
    tell("the server's result\0", &mut server, message.get_mut(..len))
}

/// Measures a request, and has the service answer it into `answer`.
fn ask<R: Role>(
    name: &str,
    side: &mut Handshake<R>,
    from_peer: &[u8],
    answer: &mut [u8],
) -> Result<usize, Failure> {
    let mut request = [0; 512];
    let asked = measure(name, || side.request(black_box(from_peer), &mut request, NOW));
    let asked = asked.map_err(|_| Failure::Handshake)?;
    scenario::service(request.get(..asked).ok_or(Failure::Room)?, answer, &black_box([7; 44]))
}

/// Measures how a response is taken.
fn tell<R: Role>(
    name: &str,
    side: &mut Handshake<R>,
    message: Option<&mut [u8]>,
) -> Result<(), Failure> {
    let message = black_box(message.ok_or(Failure::Room)?);
    let told = measure(name, || side.response(message, NOW));
    side.sent(NOW);
    if told.is_ok() { Ok(()) } else { Err(Failure::Handshake) }
}
