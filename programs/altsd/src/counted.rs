//! A gRPC service whose calls are counted: each holds a slot of its caller for as long as it lasts.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use alts_serving::limits::{Slot, Slots};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use crate::accept::CallerConnection;

/// How many calls there may be in all.
const CALLS: usize = 1024;

/// How many of them may be one caller's.
const CALLS_PER_CALLER: usize = 32;

/// A service with counted calls.
#[derive(Clone)]
pub(crate) struct Counted<S> {
    inner: S,
    slots: Slots,
}

impl<S> Counted<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, slots: Slots::new(CALLS, CALLS_PER_CALLER) }
    }
}

impl<S> fmt::Debug for Counted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let connection = request.extensions().get::<Arc<CallerConnection>>();
        let slot = connection.and_then(|connection| self.slots.take(connection.key.clone()).ok());
        let Some(slot) = slot else {
            let refusal = Status::resource_exhausted("the caller has as many calls as it may");
            return Box::pin(std::future::ready(Ok(refusal.into_http())));
        };
        let response = self.inner.call(request);
        Box::pin(async move {
            response
                .await
                .map(|response| response.map(|body| Body::new(Held { body, _slot: slot })))
        })
    }
}

/// A response's body, and the slot that its call holds.
struct Held {
    body: Body,
    _slot: Slot,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
