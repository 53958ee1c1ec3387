//! Calls that were never sent are sent again: hyper drops those that wait where a connection has ended.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use h2::Reason;
use http::Request;
use hyper::body::{Bytes, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::service::BoxFuture;

/// How often a call is sent, at most: each time it has met a connection that had just ended.
const ATTEMPTS: usize = 5;

/// A layer for tonic's channels: sends a call again that was never sent.
///
/// When a server asks for another connection (GOAWAY), gRPC's clients send calls again of which it
/// has seen nothing. tonic does not: those that wait for the old connection at that moment fail with
/// `CANCELLED`, "connection closed". Behind this layer they do not, and no call is made twice: one is only
/// sent again if hyper reports that it was not sent, or the server that it has not looked at it, and if no
/// part of its message was sent.
///
/// ```no_run
/// # async fn example(channel: tonic::transport::Channel) {
/// use tokio_alts::ResendUnsent;
/// use tower::Layer;
///
/// // In place of the channel.
/// let channel = ResendUnsent.layer(channel);
/// # drop(channel);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ResendUnsent;

/// A channel behind [`ResendUnsent`].
#[derive(Clone, Copy, Debug)]
pub struct UnsentResent<S> {
    inner: S,
}

impl<S> Layer<S> for ResendUnsent {
    type Service = UnsentResent<S>;

    fn layer(&self, inner: S) -> Self::Service {
        UnsentResent { inner }
    }
}

impl<S> Service<Request<Body>> for UnsentResent<S>
where
    S: Service<Request<Body>> + Clone + Send + 'static,
    S::Error: Error + Send + 'static,
    S::Future: Send,
    S::Response: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready makes the call.
        let other = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, other);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let kept = Kept(Arc::new(Mutex::new((body, false))));
            for _ in 1..ATTEMPTS {
                let request = Request::from_parts(head.clone(), Body::new(kept.clone()));
                match service.call(request).await {
                    Err(error) if is_unsent(&error) && !kept.is_begun() => {}
                    done => return done,
                }
                poll_fn(|cx| service.poll_ready(cx)).await?;
            }
            service.call(Request::from_parts(head, Body::new(kept))).await
        })
    }
}

/// Whether hyper says that a request was never sent, or the server that it has not looked at it
/// (RFC 9113 sections 6.8 and 8.7).
fn is_unsent(error: &(dyn Error + 'static)) -> bool {
    let untouched = |error: &h2::Error| {
        error.is_remote()
            && match error.reason() {
                Some(Reason::NO_ERROR) => error.is_go_away(),
                Some(Reason::REFUSED_STREAM) => error.is_reset(),
                _ => false,
            }
    };
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref().is_some_and(hyper::Error::is_canceled)
            || error.downcast_ref().is_some_and(untouched)
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// A body that stays here while it is sent, and whether anybody has asked for a part of it.
#[derive(Clone)]
struct Kept(Arc<Mutex<(Body, bool)>>);

impl Kept {
    fn is_begun(&self) -> bool {
        self.with(|(_, is_begun)| *is_begun)
    }

    fn with<T>(&self, what: impl FnOnce(&mut (Body, bool)) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl hyper::body::Body for Kept {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.with(|(body, is_begun)| {
            *is_begun = true;
            Pin::new(body).poll_frame(cx)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.with(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.with(|(body, _)| body.size_hint())
    }
}
