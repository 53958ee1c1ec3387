//! ALTS (Application Layer Transport Security) for tokio.
#![forbid(unsafe_code)]

mod acceptor;
pub mod aead;
#[cfg(feature = "hyper")]
mod authorize;
#[cfg(feature = "axum")]
mod axum;
mod buffer;
pub mod config;
#[cfg(feature = "hyper")]
mod connect_info;
mod connector;
pub mod error;
mod handshake;
#[cfg(feature = "hyper")]
pub mod hyper;
#[cfg(any(feature = "tonic", feature = "axum"))]
mod incoming;
mod observe;
pub mod platform;
pub mod service;
pub mod stream;
#[cfg(feature = "tonic")]
pub mod tonic;

pub use acceptor::AltsAcceptor;
pub use aead::DefaultAead;
#[cfg(feature = "hyper")]
pub use authorize::{AltsRequest, RequireServiceAccounts, ServiceAccountsRequired};
pub use config::{ClientConfig, ConfigError, ServerConfig};
#[cfg(feature = "hyper")]
pub use connect_info::{Addresses, AltsConnectInfo};
pub use connector::AltsConnector;
pub use error::{Error, ErrorKind, HandshakeFailure, Phase};
#[cfg(feature = "hyper")]
pub use hyper::AltsHttpConnector;
#[cfg(any(feature = "tonic", feature = "axum"))]
pub use incoming::{AltsIncoming, IncomingFailure};
#[cfg(feature = "tonic")]
pub use service::GrpcHandshaker;
pub use service::{HandshakerCall, HandshakerService, ServiceError};
pub use stream::{AltsStream, StreamOptions};

/// The README's blocks of Rust are tests.
#[cfg(all(doctest, feature = "tonic"))]
#[doc = include_str!("../../README.md")]
struct Readme;
