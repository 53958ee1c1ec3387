//! Bodies of requests on their way, counted, and without trailers that say who somebody is. Their
//! beginning is kept until there is a response: requests that an upstream has not looked at are sent
//! again.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::access::Access;
use crate::headers::{self, Forwarding};
use crate::reason::root;

/// Bytes of a body that are kept to be sent again.
const KEPT: usize = 64 * 1024;

/// The body of a request.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    turn: usize,
}

/// Why the body of a request has ended early.
#[derive(Debug)]
pub enum RequestError {
    /// Reading it failed.
    Client(hyper::Error),
    /// The client took the request back.
    Reset,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::Reset => f.write_str("the client reset the request"),
        }
    }
}

impl Error for RequestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Client(error) => Some(error),
            Self::Reset => None,
        }
    }
}

/// Where the bodies of one request come from, one after the other.
#[derive(Clone, Debug)]
pub struct Source(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    inner: Incoming,
    access: Arc<Access>,
    forwarding: Forwarding,
    has_ended: bool,
    /// What was taken from `inner`, as long as all of it is there.
    kept: Option<Vec<Kept>>,
    size: usize,
    /// How much of what is kept the current body has sent, and which one that is.
    sent: usize,
    turn: usize,
}

#[derive(Clone, Debug)]
enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Source {
    /// That of a client's request.
    #[must_use]
    pub fn new(inner: Incoming, access: Arc<Access>, forwarding: Forwarding) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            inner,
            access,
            forwarding,
            has_ended: false,
            kept: Some(Vec::new()),
            size: 0,
            sent: 0,
            turn: 0,
        })))
    }

    /// A body from the beginning, if all of it is still there. Those before it are over.
    #[must_use]
    pub fn body(&self) -> Option<RequestBody> {
        let mut shared = self.lock();
        shared.kept.as_ref()?;
        shared.sent = 0;
        shared.turn = shared.turn.saturating_add(1);
        let turn = shared.turn;
        drop(shared);
        Some(RequestBody { source: self.clone(), turn })
    }

    /// Keeps nothing any more: there is a response.
    pub fn forget(&self) {
        let mut shared = self.lock();
        // What the current body has still to send is in what is kept.
        if shared.kept.as_ref().is_some_and(|kept| kept.len() == shared.sent) {
            shared.kept = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// What is kept and has still to be sent.
    fn rest(&self) -> &[Kept] {
        self.kept.as_deref().and_then(|kept| kept.get(self.sent..)).unwrap_or_default()
    }

    fn keep(&mut self, frame: Kept) {
        if let Kept::Data(data) = &frame {
            self.size = self.size.saturating_add(data.len());
        }
        if self.size > KEPT {
            self.kept = None;
        } else if let Some(kept) = &mut self.kept {
            kept.push(frame);
            self.sent = kept.len();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        let mut guard = self.source.lock();
        let shared = &mut *guard;
        if shared.turn != self.turn {
            return Poll::Ready(None);
        }
        if let Some(next) = shared.rest().first().cloned() {
            shared.sent = shared.sent.saturating_add(1);
            return Poll::Ready(Some(Ok(match next {
                Kept::Data(data) => Frame::data(data),
                Kept::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        if shared.has_ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut shared.inner).poll_frame(cx);
        shared.access.waits_for_client(polled.is_pending());
        let Poll::Ready(mut frame) = polled else { return Poll::Pending };
        match &mut frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    shared.access.received(data.len());
                    let data = data.clone();
                    shared.keep(Kept::Data(data));
                } else if let Some(trailers) = frame.trailers_mut() {
                    headers::trailers_for_upstream(trailers, shared.forwarding);
                    let trailers = trailers.clone();
                    shared.keep(Kept::Trailers(trailers));
                }
            }
            Some(Err(error)) => {
                shared.kept = None;
                let reset = |one: &h2::Error| one.is_remote() && one.is_reset();
                if error.source().and_then(|one| one.downcast_ref()).is_some_and(reset) {
                    shared.access.client_reset();
                } else {
                    shared.access.client_failed(&root(error));
                }
            }
            // For hyper, a stream that is reset with NO_ERROR has ended like any other.
            None if shared.access.is_http2() && !shared.inner.is_end_stream() => {
                shared.kept = None;
                shared.access.client_reset();
                return Poll::Ready(Some(Err(RequestError::Reset)));
            }
            None => shared.has_ended = true,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(RequestError::Client)))
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.source.lock();
        shared.turn != self.turn
            || (shared.rest().is_empty() && (shared.has_ended || shared.inner.is_end_stream()))
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.source.lock();
        let rest = shared.rest().iter().fold(0_u64, |sum, one| match one {
            Kept::Data(data) => sum.saturating_add(data.len() as u64),
            Kept::Trailers(_) => sum,
        });
        let inner = shared.inner.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}
