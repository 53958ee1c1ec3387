//! The futures of `accept` and `connect`: they own what they need, and can be named and spawned.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use alts_core::Side;
use alts_core::aead::Aead;
use tokio::io::{AsyncRead, AsyncWrite};

use super::peer::Peer;
use super::{Crowd, Expected, Outcome, Shared, client, server};
use crate::aead::DefaultAead;
use crate::config::{ClientConfig, ServerConfig};
use crate::error::HandshakeFailure;
use crate::service::BoxFuture;
use crate::stream::{AltsStream, StreamOptions};

/// A handshake under way: its driver, and the I/O object that it is on.
struct Handshaking<IO, A> {
    io: Option<IO>,
    peer: Peer,
    driver: BoxFuture<'static, Outcome<A>>,
    options: StreamOptions,
}

impl<IO: AsyncRead + AsyncWrite + Unpin, A: Aead> Handshaking<IO, A> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<AltsStream<IO, A>, HandshakeFailure<IO>>> {
        let Some(io) = &mut self.io else {
            // It has ended, and is not to be polled again.
            return Poll::Pending;
        };
        let outcome = loop {
            match self.driver.as_mut().poll(cx) {
                Poll::Ready(outcome) => break outcome,
                Poll::Pending => ready!(self.peer.poll_errand(io, cx)),
            }
        };
        let Some(io) = self.io.take() else { return Poll::Pending };
        Poll::Ready(match outcome {
            Ok((session, leftover)) => {
                let (sealer, opener, context) = session.into_parts();
                let context = Arc::new(context);
                Ok(AltsStream::new(io, sealer, opener, context, &leftover, self.options))
            }
            Err(error) => Err(HandshakeFailure::new(io, error)),
        })
    }
}

/// The future of [`AltsAcceptor::accept`](crate::AltsAcceptor::accept).
///
/// It owns what it needs, so it can be spawned. Dropping it ends the handshake.
#[must_use = "futures do nothing unless they are polled"]
pub struct Accept<IO, A = DefaultAead> {
    handshaking: Handshaking<IO, A>,
}

/// The future of [`AltsConnector::connect`](crate::AltsConnector::connect).
///
/// It owns what it needs, so it can be spawned. Dropping it ends the handshake.
#[must_use = "futures do nothing unless they are polled"]
pub struct Connect<IO, A = DefaultAead> {
    handshaking: Handshaking<IO, A>,
}

impl<IO, A: Aead + Send + 'static> Accept<IO, A> {
    pub(crate) fn new(
        shared: &Arc<Shared<ServerConfig>>,
        pending: Option<(Arc<Crowd>, Option<IpAddr>)>,
        io: IO,
    ) -> Self {
        let (peer, options) = (Peer::default(), shared.config.stream_options());
        let driver = server(Arc::clone(shared), pending, peer.clone());
        Self { handshaking: Handshaking { io: Some(io), peer, driver, options } }
    }
}

impl<IO, A: Aead + Send + 'static> Connect<IO, A> {
    pub(crate) fn new(
        shared: &Arc<Shared<ClientConfig>>,
        target: Option<Box<str>>,
        expected: Expected,
        io: IO,
    ) -> Self {
        let (peer, options) = (Peer::default(), shared.config.stream_options());
        let driver = client(Arc::clone(shared), target, expected, peer.clone());
        Self { handshaking: Handshaking { io: Some(io), peer, driver, options } }
    }
}

/// What both futures are.
macro_rules! future {
    ($future:ident, $side:expr) => {
        impl<IO: AsyncRead + AsyncWrite + Unpin, A: Aead> Future for $future<IO, A> {
            type Output = Result<AltsStream<IO, A>, HandshakeFailure<IO>>;

            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                self.get_mut().handshaking.poll(cx)
            }
        }

        /// The I/O object is never pinned.
        impl<IO, A> Unpin for $future<IO, A> {}

        impl<IO: fmt::Debug, A> fmt::Debug for $future<IO, A> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($future))
                    .field("side", &$side)
                    .field("io", &self.handshaking.io)
                    .finish_non_exhaustive()
            }
        }
    };
}

future!(Accept, Side::Server);
future!(Connect, Side::Client);
