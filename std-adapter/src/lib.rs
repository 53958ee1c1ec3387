//! ALTS (Application Layer Transport Security) for tokio: streams, connectors and acceptors.
//!
//! ALTS secures a connection between two services and proves to each the *service account* of the
//! other. A connection begins with a handshake, whose bytes a *handshaker service* makes and reads;
//! then it is a stream of bytes, sealed in records. The state machines are those of [`alts_core`];
//! this crate drives them.
//!
//! # A tonic server and client
//!
//! ```
//! # #[cfg(feature = "tonic")]
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let routes = tonic::service::Routes::default();
//! use tokio_alts::{
//!     AltsAcceptor, AltsConnector, AltsHttpConnector, AltsIncoming, ClientConfig, ServerConfig,
//! };
//! use tonic::transport::{Endpoint, Server};
//!
//! // Throw-away identities, and their handshaker in this process. On Google Cloud, it is
//! // `GrpcHandshaker::google_cloud()?`; elsewhere, `GrpcHandshaker::at("unix:/run/altsd.sock")?`
//! // or another address.
//! let authority = alts_handshaker::dev::Authority::new()?;
//! let (client, server) =
//!     (authority.handshaker("client@dev.test")?, authority.handshaker("server@dev.test")?);
//!
//! // Or `any_peer`, and `RequireServiceAccounts` for services or calls.
//! let config = ServerConfig::builder().expect_peer("client@dev.test").build()?;
//! let acceptor = AltsAcceptor::new(config, server);
//! let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor).await?;
//! let address = incoming.local_addr().ok_or("not TCP")?;
//! tokio::spawn(Server::builder().add_routes(routes).serve_with_incoming(incoming));
//!
//! let config = ClientConfig::builder().expect_peer("server@dev.test").build()?;
//! let connector = AltsHttpConnector::new(AltsConnector::new(config, client));
//! let channel =
//!     Endpoint::from_shared(format!("http://{address}"))?.connect_with_connector(connector).await?;
//! # drop(channel);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "tonic"))]
//! # fn main() {}
//! ```
//!
//! In a method, `request.alts_context()` of [`AltsRequest`] says who is calling;
//! [`RequireServiceAccounts`], a layer and an interceptor, refuses all callers except those listed, and
//! [`ShareTransportInfo`] makes tonic's own `request.remote_addr()` work. The endpoint's URI has the
//! scheme `http`: with `https`, tonic would put TLS above ALTS, or refuse.
//!
//! # The parts
//!
//! - [`AltsConnector`] and [`AltsAcceptor`] make an [`AltsStream`] from any I/O object, as
//!   [`ClientConfig`] and [`ServerConfig`] say. Both have to say which service accounts they
//!   expect of the peer; expecting any account is a separate, explicit choice.
//! - [`HandshakerService`] is the handshaker: [`GrpcHandshaker`] reaches one over gRPC, `altsd`
//!   brings one that runs in this process.
//! - [`AltsIncoming`] accepts connections and makes their handshakes concurrently;
//!   [`AltsHttpConnector`] connects HTTP clients. With them: tonic, hyper and axum.
//! - [`Transport`] is what the transport below knows of its two ends, and [`AltsConnectInfo`] what is
//!   known of a connection in all.
//! - [`platform`] is the check that programs make before they trust Google's handshaker service.
//!   Nothing in this crate makes it by itself, except [`GrpcHandshaker::google_cloud`].
//!
//! # Why it behaves as it does
//!
//! **Flush.** What is written is sealed at once, and sent as far as the I/O object takes it; the
//! rest is sent by the next write, flush or shutdown. Sealed bytes are counted and can never be
//! sealed again, so nothing is held back to make larger records of small writes unless
//! [`StreamOptions::hold_until_flush`] says so. Flush before waiting for an answer.
//!
//! **Cancellation.** Futures of the stream lose nothing when they are dropped: a record of which a
//! part was sent is finished later, with the same bytes. Futures of a handshake own what they hold,
//! the place among the concurrent handshakes and the call to the service included; dropping
//! one ends the handshake and drops the I/O object with it.
//!
//! **Errors of a handshake** hand the I/O object back, say which side this is, whose fault it was
//! and how far it had come, and come at the deadline at the latest. When the service has made an
//! alert for the peer, it is sent first, within a second.
//!
//! **Shutdown and the end of the stream.** ALTS has no closing message: a shutdown flushes and
//! shuts the I/O object down, and the peer cannot distinguish that from a connection that somebody on
//! the network cut between two records. (A cut inside a record is an error.) HTTP/2, and so
//! gRPC, knows its own end. **A protocol on a raw stream has to mark its own end, or must not
//! rely on the end of the stream.**
//!
//! **Memory.** A connection that has not begun its handshake holds less than 10 KiB, and no place: a
//! server takes one when the whole first frame has arrived. An idle stream holds no buffer.
//!
//! **Other runtimes.** An [`AltsStream`] needs no runtime. A handshake needs tokio's timers for its deadline
//! and panics where no runtime with time enabled is entered; in a current-thread runtime that nobody blocks on
//! they never fire. The rest depends on the handshaker: [`GrpcHandshaker`] needs tokio's I/O and tasks.
//!
//! # Features
//!
//! | feature | what it brings |
//! |---|---|
//! | `aws-lc-rs` (default) | AES-128-GCM of aws-lc-rs |
//! | `rustcrypto` | AES-128-GCM of RustCrypto; [`DefaultAead`] uses it where `aws-lc-rs` is off |
//! | `grpc` (default) | [`GrpcHandshaker`]: the handshaker service over gRPC |
//! | `net` | [`AltsIncoming`], [`AltsConnectInfo`]: with all features below, and `grpc` |
//! | `http` | hyper's traits for the stream, [`AltsHttpConnector`], [`RequireServiceAccounts`] |
//! | `tonic` (default) | tonic's servers and clients |
//! | `axum` | [`AltsIncoming`] as axum's listener, [`AltsConnectInfo`] for its handlers |
//! | `metrics` | `alts_handshakes_total`, `alts_handshakes_in_progress` and `alts_handshake_duration_seconds`, by side and outcome; `alts_calls_refused_total`, by reason |
//!
//! Features are additive: none changes what an existing type is or does. Without `net` and what
//! needs it, the crate has no sockets; it needs tokio's timers, so it compiles for wasm32 only where those
//! run.
#![forbid(unsafe_code)]

mod acceptor;
mod address;
pub mod aead;
mod age;
#[cfg(feature = "http")]
mod authorize;
#[cfg(feature = "axum")]
mod axum;
mod buffer;
pub mod config;
#[cfg(feature = "net")]
mod connect_info;
mod connector;
pub mod error;
mod foreign;
mod handshake;
#[cfg(feature = "http")]
mod hyper;
#[cfg(feature = "net")]
mod incoming;
mod observe;
pub mod platform;
mod printable;
mod service;
pub mod stream;
#[cfg(feature = "tonic")]
mod tonic;

pub use acceptor::AltsAcceptor;
pub use address::{Address, AddressError};
pub use aead::DefaultAead;
pub use age::{ConnectionAge, ConnectionEnd, EndReason};
pub use alts_core::account::AccountPattern;
pub use alts_core::frame::FrameSize;
pub use alts_core::key::{RecordProtocol, SecurityLevel};
pub use alts_core::{self, AltsContext, Fault, Side, StatusCode};
#[cfg(feature = "http")]
pub use authorize::{AltsRequest, RequireServiceAccounts, ServiceAccountsRequired, is_grpc};
pub use config::{ClientConfig, ConfigError, ServerConfig};
#[cfg(feature = "net")]
pub use connect_info::{AltsConnectInfo, Described, Transport, TransportInfo};
pub use connector::AltsConnector;
pub use error::{Error, ErrorKind, HandshakeFailure, Phase};
pub use handshake::{Accept, Connect};
#[cfg(feature = "http")]
pub use hyper::AltsHttpConnector;
#[cfg(feature = "net")]
pub use incoming::{AltsIncoming, IncomingFailure};
pub use service::{BoxFuture, HandshakerCall, HandshakerService, ServiceError, ServiceMessage};
#[cfg(feature = "grpc")]
pub use service::{GOOGLE_CLOUD, GrpcHandshaker, RawCodec};
pub use stream::{AltsStream, StreamOptions};
#[cfg(feature = "tonic")]
pub use tonic::{ResendUnsent, ShareTransportInfo, TransportInfoShared, UnsentResent};
