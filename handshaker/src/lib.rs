//! A handshaker service for ALTS: proves identities and agrees on keys.
//!
//! ALTS leaves its handshake to a service near the application (`grpc.gcp.HandshakerService`),
//! which makes and reads bytes that nothing else understands. This is such a service: TLS 1.3 with
//! certificates on both sides, hybrid post-quantum key exchange, and parameters negotiated inside
//! the channel. It does no input or output of its own:
//!
//! - in process: [`Handshaker::begin`], then [`Call::handle`] for each request;
//! - in process, below tokio-alts: with the feature `tokio-alts`, a [`Handshaker`] is what its
//!   connectors and acceptors take as their service;
#![cfg_attr(feature = "files", doc = "- with certificates in files, which change: [`files`];")]
#![cfg_attr(
    not(feature = "files"),
    doc = "- with certificates in files, which change: feature `files`;"
)]
#![cfg_attr(feature = "grpc", doc = "- behind gRPC, for any ALTS implementation: [`grpc`].")]
#![cfg_attr(not(feature = "grpc"), doc = "- behind gRPC: feature `grpc`.")]
//! - in a program, with a policy, limits and certificates that change: the daemon `altsd`.
//!
//! The wire format between two such services is documented where it is made, so that it can be
//! implemented a second time: [`framing`] (messages), [`exchange`] (TLS and exports),
//! [`negotiation`] (parameters), [`identity`] (names in certificates), [`Reason`] (alerts).
//!
//! # Example
//!
//! Two handshakers of a throw-away authority, and a handshake in memory:
//!
//! ```
//! # #[cfg(not(feature = "dev"))]
//! # fn main() {}
//! # #[cfg(feature = "dev")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use alts_core::msg::{
//!     HandshakeProtocol, HandshakerReq, NextHandshakeMessageReq, Request,
//!     ServerHandshakeParameters, StartClientHandshakeReq, StartServerHandshakeReq,
//! };
//! use alts_handshaker::{Call, dev::Authority};
//!
//! /// Gives a request to the service; returns the bytes for the peer.
//! fn ask(call: &mut Call, request: Request<'_>) -> Vec<u8> {
//!     let request = HandshakerReq { request: Some(request) };
//!     call.handle_message(&request, Duration::ZERO).out_frames().to_vec()
//! }
//! fn next(in_bytes: &[u8]) -> Request<'_> {
//!     Request::Next(NextHandshakeMessageReq { in_bytes, network_latency_ms: 0 })
//! }
//!
//! let authority = Authority::new()?;
//! let mut client = authority.handshaker("client@dev.test")?.begin(Duration::ZERO);
//! let mut server = authority.handshaker("server@dev.test")?.begin(Duration::ZERO);
//!
//! let client_start = StartClientHandshakeReq {
//!     handshake_security_protocol: HandshakeProtocol::ALTS,
//!     application_protocols: ["grpc"].into(),
//!     record_protocols: ["ALTSRP_GCM_AES128_REKEY"].into(),
//!     ..Default::default()
//! };
//! let parameters = ServerHandshakeParameters {
//!     record_protocols: ["ALTSRP_GCM_AES128_REKEY"].into(),
//!     ..Default::default()
//! };
//! let server_start = StartServerHandshakeReq {
//!     application_protocols: ["grpc"].into(),
//!     handshake_parameters: [(HandshakeProtocol::ALTS, parameters)].into(),
//!     ..Default::default()
//! };
//!
//! let mut to_server = ask(&mut client, Request::ClientStart(client_start));
//! ask(&mut server, Request::ServerStart(server_start));
//! while !server.is_finished() {
//!     let to_client = ask(&mut server, next(&to_server));
//!     to_server = ask(&mut client, next(&to_client));
//! }
//!
//! let (Some(Ok(client)), Some(Ok(server))) = (client.result(), server.result()) else {
//!     return Err("the handshake failed".into());
//! };
//! assert_eq!(client.peer_account(), "server@dev.test");
//! assert_eq!(server.peer_account(), "client@dev.test");
//! assert_eq!(client.key_data(), server.key_data());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "dev")]
pub mod dev;
mod dialogue;
pub mod exchange;
mod failure;
#[cfg(feature = "files")]
pub mod files;
pub mod framing;
#[cfg(feature = "grpc")]
pub mod grpc;
mod handshaker;
pub mod identity;
#[cfg(feature = "tokio-alts")]
mod in_process;
mod limits;
#[cfg(feature = "locator")]
pub mod locator;
pub mod naming;
pub mod negotiation;
mod outcome;
mod reply;
mod service;
#[cfg(feature = "spiffe")]
pub mod spiffe;

pub use failure::{Code, Failure, Fault, Reason};
pub use handshaker::{Builder, Handshaker};
pub use limits::Limits;
pub use outcome::Outcome;
pub use reply::Reply;
pub use rustls::time_provider::TimeProvider;
pub use service::Call;
