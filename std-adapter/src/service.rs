//! The handshaker service behind one trait: over gRPC at any address, or in this process.

#[cfg(feature = "grpc")]
mod grpc;

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

#[cfg(feature = "grpc")]
pub use grpc::{GOOGLE_CLOUD, GrpcHandshaker, RawCodec};
use zeroize::Zeroizing;

use crate::printable::Printable;

/// A future in a box, as a trait object can return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One serialized message of the dialogue with a service; wiped when dropped, because there may be
/// a key in it.
pub type ServiceMessage = Zeroizing<Vec<u8>>;

/// A handshaker service (`docs/PROTOCOL.md` § "The dialogue with the handshaker service"): it makes
/// and reads the handshake bytes, and says who the peer is.
///
/// One service serves any number of handshakes at once, of both sides.
pub trait HandshakerService: Send + Sync + 'static {
    /// Begins the dialogue of one handshake. It waits for nothing: a service that cannot be
    /// reached is an error of the first [`HandshakerCall::exchange`].
    fn open(&self) -> Box<dyn HandshakerCall>;

    /// Where the service is: an address, or a few words. Errors and logs name it.
    fn address(&self) -> &str;
}

/// The dialogue of one handshake with the service: one `DoHandshake` call.
///
/// Dropping it ends the dialogue and frees what the service keeps for it.
pub trait HandshakerCall: Send {
    /// Sends `request`, one serialized `HandshakerReq`, and waits for the answer, one serialized
    /// `HandshakerResp`; `None` when the service has ended the call without one.
    ///
    /// The next request is sent after the answer to the one before. There may be a token in
    /// `request`, which wipes itself: code that copies it has to wipe the copy.
    ///
    /// # Errors
    /// [`ServiceError`] when the service cannot be reached, or ends the call with an error.
    fn exchange(
        &mut self,
        request: ServiceMessage,
    ) -> BoxFuture<'_, Result<Option<ServiceMessage>, ServiceError>>;
}

impl<S: HandshakerService + ?Sized> HandshakerService for Arc<S> {
    fn open(&self) -> Box<dyn HandshakerCall> {
        (**self).open()
    }

    fn address(&self) -> &str {
        (**self).address()
    }
}

/// The handshaker service could not be reached, or has ended a call with an error.
///
/// Its message comes from elsewhere: what could trick a terminal or a log is escaped when it is
/// printed.
pub struct ServiceError {
    address: Box<str>,
    message: Box<str>,
    code: Option<u32>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl ServiceError {
    /// An error of the service at `address`; `message` says what was wrong.
    #[must_use]
    pub fn new(address: impl Into<Box<str>>, message: impl Into<Box<str>>) -> Self {
        Self { address: address.into(), message: message.into(), code: None, source: None }
    }

    /// The same, with the error that led to it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same, with the gRPC status code that the call ended with.
    #[must_use]
    pub const fn with_code(mut self, code: u32) -> Self {
        self.code = Some(code);
        self
    }

    /// Where the service is.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What was wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The gRPC status code that the call ended with, if it was a call over gRPC. A service that
    /// cannot be reached has one too: 14 (UNAVAILABLE), from this side.
    #[must_use]
    pub const fn code(&self) -> Option<u32> {
        self.code
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, message) = (Printable(&self.address), Printable(&self.message));
        write!(f, "handshaker service ({address}): {message}")
    }
}

impl fmt::Debug for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for ServiceError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
