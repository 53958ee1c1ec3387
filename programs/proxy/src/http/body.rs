//! Bodies of responses on their way, counted, and given up when a side makes them wait too long.

use std::fmt;
use std::mem;
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

/// The body of a response; none if it is empty.
#[derive(Debug)]
pub struct ResponseBody {
    flow: Option<Arc<Flow>>,
    access: Arc<Access>,
}

/// A body that is not empty, until the last of it is on its way. What it holds of an upstream is given
/// back when it has waited for too long, even when nobody asks for it any more: a client that does
/// not read must not keep what others need. Over HTTP/2, hyper has the last piece of it, or all of
/// it, while the window is still closed: that is a wait like any other.
struct Flow(Mutex<State>);

struct State {
    source: Source,
    /// The last byte of the piece before.
    rest: Option<Bytes>,
    /// Since when it waits, and whether for the client.
    since: Instant,
    waits_for_client: bool,
    access: Arc<Access>,
}

/// From this size on, the last byte of a piece is one for itself, over HTTP/2: hyper hands over a piece
/// as soon as there is room for one byte of it, and is then done with it. With room for the last byte
/// there is room for all of it, and until then it is known who waits for whom.
const LARGE: usize = 16 * 1024;

/// What is still to come.
enum Source {
    Upstream(Incoming, Lease),
    Own(Bytes),
    Nothing,
    GivenUp,
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
        if matches!(state.source, Source::GivenUp) || state.since.elapsed() < limit {
            return false;
        }
        (state.source, state.rest) = (Source::GivenUp, None);
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
    /// Ends it, and gives back what it held of an upstream.
    fn end(&mut self) {
        if let Source::Upstream(_, lease) = mem::replace(&mut self.source, Source::Nothing) {
            lease.give_back();
        }
    }

    fn is_end(&self) -> bool {
        self.rest.is_none() && self.source.is_end()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(rest) = self.rest.take() {
            (self.since, self.waits_for_client) = (Instant::now(), true);
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        let polled = match &mut self.source {
            Source::Upstream(incoming, lease) => {
                let mut polled = Pin::new(&mut *incoming).poll_frame(cx);
                if polled.is_pending() {
                    // What is to come may have to be fetched here.
                    lease.drive(cx);
                    polled = Pin::new(incoming).poll_frame(cx);
                }
                polled.map(|frame| frame.map(|frame| frame.map_err(BodyError::Upstream)))
            }
            Source::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(mem::take(bytes))))),
            Source::Nothing => Poll::Ready(None),
            Source::GivenUp => return Poll::Ready(Some(Err(BodyError::GivenUp))),
        };
        let waits_for_client = polled.is_ready();
        if waits_for_client || self.waits_for_client {
            (self.since, self.waits_for_client) = (Instant::now(), waits_for_client);
        }
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.access.sent(frame.data_ref().map_or(0, Bytes::len));
                if self.source.is_end() {
                    self.end();
                }
            }
            Poll::Ready(Some(Err(error))) => {
                self.access.broke(Broken::Upstream, &root(error));
                self.source = Source::GivenUp;
            }
            Poll::Ready(None) => self.end(),
            Poll::Pending => {}
        }
        polled.map(|frame| frame.map(|frame| frame.map(|frame| self.split(frame))))
    }

    fn split(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(mut data) if data.len() >= LARGE && self.access.is_http2() => {
                self.rest = Some(data.split_off(data.len().saturating_sub(1)));
                Frame::data(data)
            }
            Ok(data) => Frame::data(data),
            Err(other) => other,
        }
    }
}

impl Source {
    fn is_end(&self) -> bool {
        match self {
            Self::Upstream(incoming, _) => incoming.is_end_stream(),
            Self::Own(bytes) => bytes.is_empty(),
            Self::Nothing => true,
            Self::GivenUp => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream(incoming, _) => incoming.size_hint(),
            Self::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Nothing => SizeHint::with_exact(0),
            Self::GivenUp => SizeHint::new(),
        }
    }
}

impl ResponseBody {
    /// One of an upstream.
    pub(super) fn of_upstream(inner: Incoming, access: Arc<Access>, lease: Lease) -> Self {
        if inner.is_end_stream() {
            lease.give_back();
            return Self::empty(access);
        }
        Self::new(Source::Upstream(inner, lease), access)
    }

    /// One of the proxy's own; a HEAD request gets none.
    pub(super) fn own(bytes: Bytes, access: Arc<Access>) -> Self {
        if access.is_head() {
            return Self::empty(access);
        }
        Self::new(Source::Own(bytes), access)
    }

    /// None.
    pub(super) const fn empty(access: Arc<Access>) -> Self {
        Self { flow: None, access }
    }

    fn new(source: Source, access: Arc<Access>) -> Self {
        let flow = Arc::new(Flow(Mutex::new(State {
            source,
            rest: None,
            since: Instant::now(),
            waits_for_client: true,
            access: Arc::clone(&access),
        })));
        let watched: Arc<dyn Watched> = Arc::<Flow>::clone(&flow);
        access.watch(Arc::downgrade(&watched));
        Self { flow: Some(flow), access }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.flow.as_ref().map_or(Poll::Ready(None), |flow| flow.lock().poll(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.flow.as_ref().is_none_or(|flow| flow.lock().is_end())
    }

    fn size_hint(&self) -> SizeHint {
        let none = SizeHint::with_exact(0);
        self.flow.as_ref().map_or(none, |flow| flow.lock().source.size_hint())
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if self.flow.as_ref().is_some_and(|flow| !flow.lock().is_end()) {
            self.access.left();
        }
    }
}
