//! Bodies on their way, counted, and without trailers that say who somebody is.

use core::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{exchange::Exchange, headers, pool::Lease};

/// The body of a request.
pub struct RequestBody {
    inner: Incoming,
    exchange: Arc<Exchange>,
}

impl RequestBody {
    pub(super) const fn new(inner: Incoming, exchange: Arc<Exchange>) -> Self {
        Self { inner, exchange }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame {
            if let Some(data) = frame.data_ref() {
                self.exchange.received(data.len());
            } else if let Some(trailers) = frame.trailers_mut() {
                headers::strip_account(trailers);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of a response.
pub struct ResponseBody {
    inner: Inner,
    exchange: Arc<Exchange>,
    /// The connection that it comes from, which is good for the next request when it is over.
    lease: Option<Lease>,
}

enum Inner {
    Upstream(Incoming),
    Own(Bytes),
}

impl ResponseBody {
    /// One of an upstream.
    pub(super) fn of_upstream(inner: Incoming, exchange: Arc<Exchange>, lease: Lease) -> Self {
        let mut body = Self { inner: Inner::Upstream(inner), exchange, lease: Some(lease) };
        body.give_back_at_the_end();
        body
    }

    /// One of the proxy's own.
    pub(super) const fn own(bytes: Bytes, exchange: Arc<Exchange>) -> Self {
        Self { inner: Inner::Own(bytes), exchange, lease: None }
    }

    fn give_back_at_the_end(&mut self) {
        if self.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let frame = match &mut this.inner {
            Inner::Upstream(incoming) => match Pin::new(&mut *incoming).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    // What is to come may have to be fetched here.
                    let Some(lease) = &mut this.lease else { return Poll::Pending };
                    lease.drive(cx);
                    ready!(Pin::new(incoming).poll_frame(cx))
                }
            },
            Inner::Own(bytes) if bytes.is_empty() => None,
            Inner::Own(bytes) => Some(Ok(Frame::data(core::mem::take(bytes)))),
        };
        match &frame {
            Some(Ok(frame)) => {
                this.exchange.sent(frame.data_ref().map_or(0, Bytes::len));
                this.give_back_at_the_end();
            }
            Some(Err(error)) => {
                this.exchange.failed(&super::root(error));
                this.lease = None;
            }
            None => {
                if let Some(lease) = this.lease.take() {
                    lease.give_back();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Upstream(incoming) => incoming.is_end_stream(),
            Inner::Own(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Upstream(incoming) => incoming.size_hint(),
            Inner::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}
