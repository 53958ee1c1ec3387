//! ALTS (Application Layer Transport Security) as a state machine that does no input or output.
//!
//! ALTS is the mutual authentication and transport encryption that gRPC speaks in C++, Java, Go
//! and Python, and that Envoy speaks. Two programs, a client and a server, are connected by any
//! stream of bytes. Each has a *handshaker service* near it: a trusted neighbour that holds the
//! identity, makes and reads the bytes of the handshake, and in the end hands over a key and the
//! identity of the peer. From then on the two programs talk directly, in sealed frames.
//!
//! This crate is everything between the two: messages of the service, the handshake, the record
//! layer. It needs no `std`, no heap, no clock and no socket, and contains no `unsafe` code. The
//! caller owns every byte; the machines say how many they used. (`tokio-alts` binds it to tokio,
//! tonic and hyper, and `altsd` is a handshaker service.)
//!
//! | to | use |
//! |---|---|
//! | get a key and know the peer | [`ClientHandshake`], [`ServerHandshake`] → [`Established`] |
//! | seal and open bytes | [`Session`] = [`Sealer`](record::Sealer) + [`Opener`](record::Opener) |
//! | check and admit the peer | [`AltsContext`] |
//! | write or read the service's messages | [`msg`] |
//! | write down several accounts at once | [`account::AccountPattern`] |
//! | look at a frame | [`frame::FrameHeader`] |
//! | plug in another AES-GCM | [`aead::Aead`] |
//!
//! # A whole session in arrays
//!
//! The service here is a toy that accepts everybody; a real one gets the same requests and gives
//! the same answers. `now` is a clock that stands still.
//!
//! ```
//! use core::time::Duration;
//!
//! use alts_core::aead::RustCrypto;
//! use alts_core::handshake::{ClientConfig, ExpectedPeer, Handshake, Role, ServerConfig, Want};
//! use alts_core::msg::*;
//! use alts_core::wire::{Message, Secret};
//! use alts_core::{ClientHandshake, ServerHandshake, Session};
//!
//! type Error = Box<dyn std::error::Error>;
//! const NOW: Duration = Duration::ZERO;
//!
//! /// Answers one request of either side.
//! fn toy_service(request: &[u8], response: &mut [u8]) -> Result<usize, Error> {
//!     let versions = RpcProtocolVersions::new(RpcVersion::new(2, 1), RpcVersion::new(2, 1));
//!     let established = |peer, local| HandshakerResult {
//!         application_protocol: "grpc",
//!         record_protocol: "ALTSRP_GCM_AES128_REKEY",
//!         key_data: Secret::new(&[7; 44]),
//!         peer_identity: Some(Identity::from_service_account(peer)),
//!         local_identity: Some(Identity::from_service_account(local)),
//!         peer_rpc_versions: Some(versions),
//!         ..HandshakerResult::default()
//!     };
//!     let (client, server) = ("client@example.com", "server@example.com");
//!     let request = HandshakerReq::decode(request)?;
//!     let (out_frames, used, result): (&[u8], _, _) = match &request.request {
//!         Some(Request::ClientStart(_)) => (b"hello", 0, None),
//!         Some(Request::ServerStart(start)) => {
//!             (b"welcome", start.in_bytes.len(), Some(established(client, server)))
//!         }
//!         Some(Request::Next(next)) => (b"", next.in_bytes.len(), Some(established(server, client))),
//!         _ => return Err("an empty request".into()),
//!     };
//!     let status = Some(HandshakerStatus { code: 0, details: "" });
//!     let answer = HandshakerResp { out_frames, bytes_consumed: used as u32, result, status };
//!     Ok(answer.encode(response)?)
//! }
//!
//! /// Does what one side wants until it needs bytes of the other side, or is done. `inbox` is what
//! /// came from the peer, `outbox` what goes to it; the result says how much is in them.
//! fn drive<R: Role>(
//!     side: &mut Handshake<R>,
//!     inbox: &[u8],
//!     outbox: &mut [u8],
//! ) -> Result<(usize, usize), Error> {
//!     let (mut consumed, mut sent, mut message) = (0, 0, [0; 512]);
//!     loop {
//!         match side.want(NOW)? {
//!             Want::Established => return Ok((consumed, sent)),
//!             Want::PeerBytes if consumed == inbox.len() => return Ok((consumed, sent)),
//!             _ => {}
//!         }
//!         let mut request = [0; 512];
//!         let asked = side.request(&inbox[consumed..], &mut request, NOW)?;
//!         let answered = toy_service(&request[..asked], &mut message)?;
//!         let response = side.response(&mut message[..answered], NOW)?;
//!         consumed += response.consumed;
//!         let out_frames = &message[response.to_peer];
//!         outbox[sent..sent + out_frames.len()].copy_from_slice(out_frames);
//!         sent += out_frames.len();
//!         side.sent(NOW);
//!     }
//! }
//!
//! fn main() -> Result<(), Error> {
//!     // The handshake.
//!     let expected = ["server@example.com"];
//!     let config = ClientConfig::new(ExpectedPeer::Accounts(&expected));
//!     let mut client = ClientHandshake::client(&config, NOW)?;
//!     let config = ServerConfig::new();
//!     let mut server = ServerHandshake::server(&config, NOW)?;
//!     let (mut to_server, mut to_client) = ([0; 64], [0; 64]);
//!     let (_, sent) = drive(&mut client, &[], &mut to_server)?;
//!     let (_, sent) = drive(&mut server, &to_server[..sent], &mut to_client)?;
//!     drive(&mut client, &to_client[..sent], &mut to_server)?;
//!
//!     // The session: who is there, and bytes for each other.
//!     let mut client = Session::<RustCrypto>::new(client.established()?)?;
//!     let mut server = Session::<RustCrypto>::new(server.established()?)?;
//!     server.context().authorize(&["client@example.com"])?;
//!
//!     let (mut wire, mut plaintext) = ([0; 64], [0; 64]);
//!     let sealed = client.sealer.seal(b"good morning", &mut wire)?;
//!     let opened = server.opener.open(&wire[..sealed.written], &mut plaintext)?;
//!     assert_eq!(&plaintext[..opened.written], b"good morning");
//!
//!     let sealed = server.sealer.seal(b"and to you", &mut wire)?;
//!     let opened = client.opener.open(&wire[..sealed.written], &mut plaintext)?;
//!     assert_eq!(&plaintext[..opened.written], b"and to you");
//!     Ok(())
//! }
//! ```
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `rustcrypto` (default) | [`aead::RustCrypto`], the AES-GCM of RustCrypto |
//! | `handshake` (default) | handshakes, messages, sessions; without it, the record layer is all there is, and neither prost nor heapless is built |
//! | `critical-section` | handshakes on targets without atomic compare-and-swap, such as thumbv6m and riscv32imc |
//! | `embedded-io-async`, `embedded-io` | handshakes and streams over the traits of those crates |
//! | `hazmat` | setting the counters of a [`Sealer`](record::Sealer) or an [`Opener`](record::Opener) |
//!
//! # What to rely on
//!
//! - No input makes it panic, and none makes it reserve memory.
//! - No plaintext is handed out before its tag is checked; what failed is wiped.
//! - No nonce is used twice under one key; when the counter ends, the direction ends.
//! - Every error says whose fault it is ([`Fault`]) and is final.
//! - Keys are wiped when they are dropped and never printed.
//! - `docs/PROTOCOL.md` in the repository describes the protocol; comments cite its sections.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

#[cfg(feature = "handshake")]
pub mod account;
pub mod aead;
#[cfg(feature = "handshake")]
pub mod context;
#[cfg(feature = "embedded-io-async")]
pub mod embedded;
pub mod error;
pub mod frame;
#[cfg(feature = "handshake")]
pub mod handshake;
pub mod key;
#[cfg(feature = "handshake")]
pub mod msg;
mod nonce;
pub mod record;
mod rekey;
#[cfg(feature = "handshake")]
mod session;
mod side;
#[cfg(feature = "handshake")]
pub mod wire;

#[cfg(feature = "handshake")]
pub use context::AltsContext;
pub use error::{Fault, StatusCode};
#[cfg(feature = "handshake")]
pub use handshake::{ClientHandshake, Established, ServerHandshake};
pub use nonce::Exhausted;
#[cfg(feature = "handshake")]
pub use session::Session;
pub use side::Side;
