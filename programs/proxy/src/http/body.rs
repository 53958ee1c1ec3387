//! Bodies of responses on their way, counted, and given up when a side makes them wait too long.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use crate::access::{Access, Watched};
use crate::broken::Broken;
use crate::reason::root;
use crate::upstream::pool::Lease;

/// The body of a response.
#[derive(Debug)]
pub struct ResponseBody {
    inner: Inner,
    access: Arc<Access>,
}

#[derive(Debug)]
enum Inner {
    Upstream(Arc<Flow>),
    Own(Bytes),
}

/// A body that comes from an upstream. What it holds there is given back when it has waited for too
/// long, even when nobody asks for it any more: a client that does not read must not keep what
/// others need.
struct Flow(Mutex<State>);

struct State {
    source: Option<(Incoming, Lease)>,
    /// Since when it waits, and whether for the client.
    since: Instant,
    waits_for_client: bool,
    access: Arc<Access>,
}

/// Why a body has ended early.
#[derive(Debug)]
pub enum BodyError {
    /// Reading it failed.
    Upstream(hyper::Error),
    /// It waited for too long.
    GivenUp,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(error) => error.fmt(f),
            Self::GivenUp => {
                f.write_str("the response was given up: a side was silent for too long")
            }
        }
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Upstream(error) => Some(error),
            Self::GivenUp => None,
        }
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flow")
    }
}

impl Flow {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched for Flow {
    fn expire(&self, stall: Duration, idle: Duration) -> bool {
        let mut state = self.lock();
        let limit = if state.waits_for_client { stall } else { idle };
        if state.source.is_none() || state.since.elapsed() < limit {
            return false;
        }
        state.source = None;
        let (why, who) = if state.waits_for_client {
            (Broken::ClientStalled, "client took")
        } else {
            (Broken::UpstreamStalled, "upstream sent")
        };
        state.access.broke(why, &format!("the {who} nothing for {limit:?}"));
        // Nobody asks for the body while the stream's window is closed, or nothing is there.
        state.access.reset();
        state.waits_for_client
    }
}

impl State {
    fn give_back_at_the_end(&mut self) {
        if self.source.as_ref().is_some_and(|(incoming, _)| incoming.is_end_stream())
            && let Some((_, lease)) = self.source.take()
        {
            lease.give_back();
        }
    }
}

impl ResponseBody {
    /// One of an upstream.
    pub(super) fn of_upstream(inner: Incoming, access: Arc<Access>, lease: Lease) -> Self {
        if inner.is_end_stream() {
            lease.give_back();
            return Self::own(Bytes::new(), access);
        }
        let flow = Arc::new(Flow(Mutex::new(State {
            source: Some((inner, lease)),
            since: Instant::now(),
            waits_for_client: true,
            access: Arc::clone(&access),
        })));
        let watched: Arc<dyn Watched> = Arc::<Flow>::clone(&flow);
        access.watch(Arc::downgrade(&watched));
        Self { inner: Inner::Upstream(flow), access }
    }

    /// One of the proxy's own.
    pub(super) const fn own(bytes: Bytes, access: Arc<Access>) -> Self {
        Self { inner: Inner::Own(bytes), access }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let flow = match &mut this.inner {
            Inner::Upstream(flow) => flow,
            Inner::Own(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Inner::Own(bytes) => {
                this.access.sent(bytes.len());
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))));
            }
        };
        let mut guard = flow.lock();
        let state = &mut *guard;
        let Some((incoming, lease)) = &mut state.source else {
            return Poll::Ready(Some(Err(BodyError::GivenUp)));
        };
        let mut polled = Pin::new(&mut *incoming).poll_frame(cx);
        if polled.is_pending() {
            // What is to come may have to be fetched here.
            lease.drive(cx);
            polled = Pin::new(incoming).poll_frame(cx);
        }
        let waits_for_client = polled.is_ready();
        if waits_for_client || state.waits_for_client {
            (state.since, state.waits_for_client) = (Instant::now(), waits_for_client);
        }
        let Poll::Ready(frame) = polled else { return Poll::Pending };
        match &frame {
            Some(Ok(frame)) => {
                this.access.sent(frame.data_ref().map_or(0, Bytes::len));
                state.give_back_at_the_end();
            }
            Some(Err(error)) => {
                this.access.broke(Broken::Upstream, &root(error));
                state.source = None;
            }
            None => {
                if let Some((_, lease)) = state.source.take() {
                    lease.give_back();
                }
            }
        }
        let ended = state.source.is_none() && !matches!(frame, Some(Err(_)));
        drop(guard);
        if ended {
            this.inner = Inner::Own(Bytes::new());
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Upstream)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Upstream(flow) => {
                flow.lock().source.as_ref().is_some_and(|(incoming, _)| incoming.is_end_stream())
            }
            Inner::Own(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Upstream(flow) => {
                let state = flow.lock();
                state
                    .source
                    .as_ref()
                    .map_or_else(SizeHint::new, |(incoming, _)| incoming.size_hint())
            }
            Inner::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Inner::Upstream(flow) = &self.inner
            && flow.lock().source.as_ref().is_some_and(|(incoming, _)| !incoming.is_end_stream())
        {
            self.access.left();
        }
    }
}
