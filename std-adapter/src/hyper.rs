//! hyper over ALTS: reading and writing for the stream, and the connector for HTTP clients.
//!
//! A hyper-util server on accepted connections:
//!
//! ```no_run
//! # #[cfg(feature = "net")]
//! # async fn serve(
//! #     acceptor: tokio_alts::AltsAcceptor,
//! # ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! use http::{Request, Response};
//! use hyper::body::Incoming;
//! use hyper_util::rt::{TokioExecutor, TokioIo};
//! use hyper_util::server::conn::auto;
//! use tokio_alts::AltsIncoming;
//! use tokio_stream::StreamExt;
//!
//! let mut incoming = AltsIncoming::bind("[::]:8080", acceptor).await?;
//! while let Some(Ok(stream)) = incoming.next().await {
//!     let context = stream.context().clone();
//!     let service = hyper::service::service_fn(move |_: Request<Incoming>| {
//!         let peer = context.peer_service_account().to_owned();
//!         async move { Ok::<_, std::convert::Infallible>(Response::new(peer)) }
//!     });
//!     let server = auto::Builder::new(TokioExecutor::new());
//!     tokio::spawn(async move { server.serve_connection(TokioIo::new(stream), service).await });
//! }
//! # Ok(())
//! # }
//! ```

mod client;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use alts_core::aead::Aead;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite};

pub use self::client::AltsHttpConnector;
use crate::stream::AltsStream;

/// Copies each payload once, from where it was opened. `hyper_util::rt::TokioIo` around the stream
/// spares the copy.
impl<IO: AsyncRead + Unpin, A: Aead + Unpin> Read for AltsStream<IO, A> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        if room > 0 {
            let payload = ready!(self.as_mut().poll_fill_buf(cx))?;
            let (now, _) = payload.split_at_checked(room).unwrap_or((payload, &[]));
            buf.put_slice(now);
            let count = now.len();
            self.consume(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin, A: Aead + Unpin> Write for AltsStream<IO, A> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(self, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(self, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        AsyncWrite::is_write_vectored(self)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(self, cx)
    }
}
