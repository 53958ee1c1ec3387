//! Bodies of requests on their way, counted, and without trailers that say who somebody is.

use core::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::{
    access::Access,
    headers::{self, Forwarding},
};

/// The body of a request.
pub struct RequestBody {
    inner: Incoming,
    access: Arc<Access>,
    forwarding: Forwarding,
}

impl RequestBody {
    /// The body of a client's request.
    #[must_use]
    pub const fn new(inner: Incoming, access: Arc<Access>, forwarding: Forwarding) -> Self {
        Self { inner, access, forwarding }
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
                self.access.received(data.len());
            } else if let Some(trailers) = frame.trailers_mut() {
                headers::strip_claims(trailers, self.forwarding);
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
