//! Bodies of responses on their way, counted.

use core::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::{access::Access, reason::root, upstream::pool::Lease};

/// The body of a response.
pub struct ResponseBody {
    inner: Inner,
    access: Arc<Access>,
    /// The connection that it comes from, which is good for the next request when it is over.
    lease: Option<Lease>,
}

enum Inner {
    Upstream(Incoming),
    Own(Bytes),
}

impl ResponseBody {
    /// One of an upstream.
    pub(super) fn of_upstream(inner: Incoming, access: Arc<Access>, lease: Lease) -> Self {
        let mut body = Self { inner: Inner::Upstream(inner), access, lease: Some(lease) };
        body.give_back_at_the_end();
        body
    }

    /// One of the proxy's own.
    pub(super) const fn own(bytes: Bytes, access: Arc<Access>) -> Self {
        Self { inner: Inner::Own(bytes), access, lease: None }
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
                this.access.sent(frame.data_ref().map_or(0, Bytes::len));
                this.give_back_at_the_end();
            }
            Some(Err(error)) => {
                this.access.failed(&root(error));
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
