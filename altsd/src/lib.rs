//! A handshaker service for ALTS: who is who, and which keys they share.
//!
//! ALTS leaves its handshake to a service near the application (`grpc.gcp.HandshakerService`),
//! which makes and reads bytes that nobody else understands. This is such a service: TLS 1.3 with
//! certificates on both sides, hybrid post-quantum key exchange, and parameters negotiated inside
//! the channel. It does no input and output of its own:
//!
//! - in process: [`Handshaker::begin`], then [`Call::handle`] for each request;
#![cfg_attr(feature = "grpc", doc = "- behind gRPC, for any ALTS implementation: [`grpc`].")]
#![cfg_attr(not(feature = "grpc"), doc = "- behind gRPC: feature `grpc`.")]
//!
//! The wire format between two such services is documented where it is made, so that it can be
//! implemented a second time: [`framing`] (messages), [`exchange`] (TLS and exports),
//! [`negotiation`] (parameters), [`identity`] (names in certificates), [`Reason`] (alerts).
#![cfg_attr(
    feature = "dev",
    doc = "
# Example

Two handshakers of a throw-away authority, and a handshake in memory:

```
use core::time::Duration;

use alts_core::{
    msg::{
        HandshakeProtocol, HandshakerReq, NextHandshakeMessageReq, Request,
        ServerHandshakeParameters, StartClientHandshakeReq, StartServerHandshakeReq,
    },
};
use altsd::{Reply, dev::Authority};

let authority = Authority::new()?;
let now = Duration::ZERO;
let mut client = authority.handshaker(\"client@dev.test\")?.begin(now);
let mut server = authority.handshaker(\"server@dev.test\")?.begin(now);

let list = |name| core::iter::once(name).collect();
let client_start = Request::ClientStart(StartClientHandshakeReq {
    handshake_security_protocol: HandshakeProtocol::ALTS,
    application_protocols: list(\"grpc\"),
    record_protocols: list(\"ALTSRP_GCM_AES128_REKEY\"),
    ..Default::default()
});
let server_start = Request::ServerStart(StartServerHandshakeReq {
    application_protocols: list(\"grpc\"),
    handshake_parameters: [(
        HandshakeProtocol::ALTS,
        ServerHandshakeParameters {
            record_protocols: list(\"ALTSRP_GCM_AES128_REKEY\"),
            ..Default::default()
        },
    )]
    .into_iter()
    .collect(),
    ..Default::default()
});
let request = |request| HandshakerReq { request: Some(request) };
let next = |reply: &Reply| reply.out_frames().to_vec();

let mut to_server = next(&client.handle_message(&request(client_start), now));
server.handle_message(&request(server_start), now);
while !server.is_finished() {
    let bytes = NextHandshakeMessageReq { in_bytes: &to_server, network_latency_ms: 0 };
    let to_client = next(&server.handle_message(&request(Request::Next(bytes)), now));
    if to_client.is_empty() {
        break;
    }
    let bytes = NextHandshakeMessageReq { in_bytes: &to_client, network_latency_ms: 0 };
    to_server = next(&client.handle_message(&request(Request::Next(bytes)), now));
}
let (Some(Ok(client)), Some(Ok(server))) = (client.result(), server.result()) else {
    return Err(\"the handshake failed\".into());
};
assert_eq!(client.peer_account(), \"server@dev.test\");
assert_eq!(server.peer_account(), \"client@dev.test\");
assert_eq!(client.key_data(), server.key_data());
# Ok::<(), Box<dyn std::error::Error>>(())
```
"
)]
#![forbid(unsafe_code)]

#[cfg(feature = "dev")]
pub mod dev;
mod dialogue;
pub mod exchange;
mod failure;
pub mod framing;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod identity;
pub mod negotiation;
mod service;

pub use dialogue::Outcome;
pub use failure::{Code, Failure, Fault, Reason};
pub use rustls::time_provider::TimeProvider;
pub use service::{Builder, Call, Handshaker, Limits, Reply};
