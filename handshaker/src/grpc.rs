//! The handshaker service behind gRPC: `grpc.gcp.HandshakerService/DoHandshake` for any ALTS client.
//!
//! ```no_run
//! # #[cfg(feature = "dev")]
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! use alts_handshaker::{dev::Authority, grpc::{AnyCaller, HandshakerServer}};
//!
//! let handshaker = Authority::new()?.handshaker("client@dev.test")?;
//! let address = "127.0.0.1:8080".parse()?;
//! let service = HandshakerServer::new(AnyCaller(handshaker));
//! tonic::transport::Server::builder().serve(address, service).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Anyone who can reach the address can use the identity: listen where only permitted callers can
//! connect. An [`Admission`] decides which caller may use which account; [`AnyCaller`] admits
//! everybody.
//!
//! Messages pass through as bytes, so nothing is generated and nothing but this library reads them.
//! The copies that tonic and hyper make of a response on its way are not wiped.

mod codec;
mod requests;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_stream::Stream;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{EncodeBody, SingleMessageCompressionOverride};
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::server::NamedService;
use tower_service::Service;

use self::codec::RawCodec;
use self::requests::Requests;
use crate::failure::Failure;
use crate::handshaker::Handshaker;
use crate::limits::Limits;
use crate::service::Call;

/// The path of the one method.
pub const METHOD: &str = "/grpc.gcp.HandshakerService/DoHandshake";

/// How many handshakes may be under way at once by default.
pub const CONCURRENCY: usize = 1024;

/// The largest request, in bytes, of a call whose start message has not been accepted yet.
pub const START_BYTES: usize = 64 * 1024;

/// How long a call that has failed stays open for one more request, see [`Responses::fail`].
const LINGER: Duration = Duration::from_millis(500);

/// A policy for callers: admits or refuses each, and begins its call.
///
/// This is where a daemon has its policy: it looks at who is calling (tonic puts what the listener
/// knows, for example `UdsConnectInfo` with the peer's credentials, into the extensions), takes the
/// current [`Handshaker`] (certificates may have been reloaded), and begins a call for the accounts
/// that the caller may use.
pub trait Admission: Send + Sync + 'static {
    /// What is kept as long as the call lasts, and given back at its end: the caller's name for a log, a
    /// permit for a limit per caller, or nothing.
    type Caller: Send + Unpin + 'static;

    /// Begins a call, or refuses the caller. `now` is for [`Handshaker::begin`].
    ///
    /// # Errors
    /// The status with which the RPC ends.
    fn admit(&self, extensions: &Extensions, now: Duration)
    -> Result<(Call, Self::Caller), Status>;

    /// Whether a request of this many bytes, which its caller sends now, may be read; zero says
    /// that the last one has been answered. By default, all that the limits of the service allow.
    ///
    /// # Errors
    /// The status with which the RPC ends.
    fn reading(&self, caller: &mut Self::Caller, bytes: usize) -> Result<(), Status> {
        let (_, _) = (caller, bytes);
        Ok(())
    }

    /// The call is over: [`Call::result`] says how; without a result, the caller went away.
    fn ended(&self, caller: Self::Caller, call: &Call, duration: Duration) {
        let (_, _, _) = (caller, call, duration);
    }
}

/// Admits everybody who can reach the service, with the certificate's own account.
///
/// A caller that it admits can speak as that account. It is for sockets that only one user can
/// open, and for tests.
#[derive(Clone, Debug)]
pub struct AnyCaller(pub Handshaker);

impl Admission for AnyCaller {
    type Caller = ();

    fn admit(&self, _extensions: &Extensions, now: Duration) -> Result<(Call, ()), Status> {
        Ok((self.0.begin(now), ()))
    }
}

/// The gRPC service, for `tonic::transport::Server`.
pub struct HandshakerServer<A> {
    shared: Arc<Shared<A>>,
    request_bytes: usize,
}

struct Shared<A> {
    admission: A,
    slots: Arc<Semaphore>,
    /// The zero of the clock that calls are given.
    epoch: Instant,
}

impl<A> Shared<A> {
    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}

impl<A> fmt::Debug for HandshakerServer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakerServer")
            .field("free", &self.shared.slots.available_permits())
            .field("request_bytes", &self.request_bytes)
            .finish_non_exhaustive()
    }
}

impl<A> Clone for HandshakerServer<A> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), request_bytes: self.request_bytes }
    }
}

impl<A: Admission> HandshakerServer<A> {
    /// A service with at most [`CONCURRENCY`] handshakes at once.
    #[must_use]
    pub fn new(admission: A) -> Self {
        Self::with_concurrency(admission, CONCURRENCY)
    }

    /// A service with a limit on the handshakes that are under way at once.
    ///
    /// One more is refused at once (`RESOURCE_EXHAUSTED`) and not kept waiting: with clients and
    /// servers on the same service, those that wait might wait for each other.
    #[must_use]
    pub fn with_concurrency(admission: A, handshakes: usize) -> Self {
        let slots = Arc::new(Semaphore::new(handshakes.min(Semaphore::MAX_PERMITS)));
        let shared = Shared { admission, slots, epoch: Instant::now() };
        Self { shared: Arc::new(shared), request_bytes: Limits::default().request_bytes }
    }

    /// Sets the largest request, in bytes, that is read at all. The limit of the call
    /// ([`Limits::request_bytes`]) holds besides.
    #[must_use]
    pub const fn request_bytes(mut self, bytes: usize) -> Self {
        self.request_bytes = bytes;
        self
    }
}

impl<A> NamedService for HandshakerServer<A> {
    const NAME: &'static str = "grpc.gcp.HandshakerService";
}

impl<A: Admission> Service<http::Request<Body>> for HandshakerServer<A> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let begun = if request.uri().path() == METHOD {
            Responses::begin(&self.shared, self.request_bytes, request)
        } else {
            Err(Status::unimplemented("the only method here is DoHandshake"))
        };
        let response = begun.map_or_else(Status::into_http, |responses| {
            let none = SingleMessageCompressionOverride::default();
            let body = EncodeBody::new_server(RawCodec, responses, None, none, None);
            let mut response = http::Response::new(Body::new(body));
            response.headers_mut().insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
            response
        });
        Box::pin(std::future::ready(Ok(response)))
    }
}

/// The responses of one RPC, each made when its request has come in.
///
/// The handshake is computed where this is polled: no task and no channel stand between a request
/// and its response, and dropping the RPC drops the handshake.
struct Responses<A: Admission> {
    shared: Arc<Shared<A>>,
    requests: Requests,
    request_bytes: usize,
    call: Call,
    caller: Option<A::Caller>,
    began: Instant,
    deadline: Pin<Box<Sleep>>,
    /// How many responses there were.
    answered: usize,
    /// What the RPC ends with, once its last response is made.
    end: Option<End>,
    _slot: OwnedSemaphorePermit,
}

enum End {
    /// Nothing follows.
    Over,
    /// The status, at the caller's next request or when this time is over.
    Failed(Status, Pin<Box<Sleep>>),
}

impl<A: Admission> Responses<A> {
    fn begin(
        shared: &Arc<Shared<A>>,
        request_bytes: usize,
        request: http::Request<Body>,
    ) -> Result<Self, Status> {
        let slot = Arc::clone(&shared.slots).try_acquire_owned().map_err(|_| {
            tracing::info!("handshake refused: too many are under way");
            Status::resource_exhausted("the handshaker service has too many handshakes under way")
        })?;
        let (parts, body) = request.into_parts();
        let now = shared.now();
        let (call, caller) = shared.admission.admit(&parts.extensions, now)?;
        let began = Instant::now();
        let left = call.deadline().saturating_sub(now);
        let deadline = began.checked_add(left).unwrap_or(began);
        Ok(Self {
            shared: Arc::clone(shared),
            requests: Requests::new(body),
            request_bytes,
            call,
            caller: Some(caller),
            began,
            deadline: Box::pin(sleep_until(deadline)),
            answered: 0,
            end: None,
            _slot: slot,
        })
    }

    fn poll_request(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let Self { shared, requests, request_bytes, call, caller, .. } = self;
        let limit =
            if call.side().is_some() { *request_bytes } else { START_BYTES.min(*request_bytes) };
        requests.poll_next(context, |bytes| {
            if bytes > limit {
                return Err(Status::out_of_range(format!(
                    "the request has {bytes} bytes, and {limit} are allowed here"
                )));
            }
            caller.as_mut().map_or(Ok(()), |caller| shared.admission.reading(caller, bytes))
        })
    }

    /// The RPC of a handshake that has failed.
    ///
    /// Callers look for the reason in different places. gRPC's C core and Java read it in the
    /// response, and C core hands it out when the RPC ends. grpc-go reads it only in the first
    /// response; after a later one it writes the alert, waits for the peer, sends another request, and
    /// reports the status that it meets then. So the status comes with the end of the RPC too, and
    /// a little later if there may be one more request.
    fn fail(&self, failure: &Failure) -> End {
        let code = i32::try_from(failure.code().number()).unwrap_or_default();
        let status = Status::new(code.into(), failure.details());
        let now = Instant::now();
        let linger = if self.answered == 0 { Duration::ZERO } else { LINGER };
        End::Failed(status, Box::pin(sleep_until(now.checked_add(linger).unwrap_or(now))))
    }

    /// Ends the RPC with a status.
    fn end(&mut self, status: Status) -> Poll<Option<Result<Bytes, Status>>> {
        self.end = Some(End::Over);
        Poll::Ready(Some(Err(status)))
    }
}

impl<A: Admission> Stream for Responses<A> {
    type Item = Result<Bytes, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        match &mut this.end {
            // The RPC ends with OK right behind the result: C core does not hand it out before.
            Some(End::Over) => return Poll::Ready(None),
            Some(End::Failed(status, until)) => {
                let status = status.clone();
                if until.as_mut().poll(context).is_pending() {
                    let _one_more = ready!(this.poll_request(context));
                }
                return this.end(status);
            }
            None => {}
        }
        let reply = match this.poll_request(context) {
            Poll::Ready(Some(Ok(request))) => this.call.handle(&request, this.shared.now()),
            Poll::Ready(Some(Err(status))) => return this.end(status),
            Poll::Ready(None) => {
                this.end = Some(End::Over);
                return Poll::Ready(None);
            }
            Poll::Pending => {
                ready!(this.deadline.as_mut().poll(context));
                this.call.expire()
            }
        };
        if let Some(caller) = &mut this.caller {
            // Nothing is asked for, so nothing is refused.
            let _ = this.shared.admission.reading(caller, 0);
        }
        if this.call.is_finished() {
            this.end = Some(reply.failure().map_or(End::Over, |failure| this.fail(failure)));
        }
        this.answered = this.answered.saturating_add(1);
        // The owner wipes the bytes when the last reference is gone.
        Poll::Ready(Some(Ok(Bytes::from_owner(reply.encode()))))
    }
}

impl<A: Admission> Drop for Responses<A> {
    fn drop(&mut self) {
        let duration = self.began.elapsed();
        match self.call.result() {
            Some(Ok(outcome)) => tracing::debug!(
                local = outcome.local_account(),
                peer = outcome.peer_account(),
                ?duration,
                "handshake succeeded"
            ),
            Some(Err(failure)) => {
                tracing::info!(fault = ?failure.fault(), %failure, ?duration, "handshake failed");
            }
            None => tracing::info!(?duration, "handshake given up by the caller"),
        }
        if let Some(caller) = self.caller.take() {
            self.shared.admission.ended(caller, &self.call, duration);
        }
    }
}
