//! ALTS (Application Layer Transport Security) for tokio.
#![forbid(unsafe_code)]

pub mod aead;
mod buffer;
#[cfg(feature = "hyper")]
mod hyper;
pub mod platform;
pub mod service;
pub mod stream;

pub use aead::DefaultAead;
#[cfg(feature = "tonic")]
pub use service::GrpcHandshaker;
pub use service::{HandshakerCall, HandshakerService, ServiceError};
pub use stream::{AltsStream, StreamOptions};
