//! The handshaker service over gRPC: one shared channel, bytes in and bytes out.

mod backoff;
mod codec;
mod dial;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alts_core::StatusCode;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use self::backoff::Backoff;
pub use self::codec::RawCodec;
use self::dial::{Listener, dial};
use super::{BoxFuture, HandshakerCall, HandshakerService, ServiceError, ServiceMessage};
use crate::address::{Address, AddressError};
use crate::platform::{self, PlatformError};

/// Where Google Cloud has its handshaker service.
pub const GOOGLE_CLOUD: &str = "metadata.google.internal.:8080";

/// The method's path.
const METHOD: &str = "/grpc.gcp.HandshakerService/DoHandshake";
/// The largest response that is taken: twice what a handshake may send to the peer in all.
const MAX_RESPONSE: usize = 2 * alts_core::handshake::MAX_HANDSHAKE_BYTES;
/// How long to wait for a connection to the service.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection to the service is silent before a handshake asks whether it still lives.
/// Nothing is sent while there is no handshake.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long the service has to answer that question.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A handshaker service that is reached over gRPC, without TLS: it has to be near, and anyone who
/// can take its place can pose as anybody. At a UNIX socket, [`require_uid`](Self::require_uid) makes
/// sure that nobody has.
///
/// There is one connection, made when it is first needed, shared by all handshakes and made anew
/// when it breaks. It lives in the tokio runtime of the first handshake, and is made anew when that has
/// ended. While the service is away, it is not asked more than a few times, and later once a second.
pub struct GrpcHandshaker {
    text: Arc<str>,
    address: Address,
    listener: Option<Listener>,
    endpoint: Endpoint,
    channel: Mutex<Option<Shared>>,
    backoff: Arc<Backoff>,
}

impl GrpcHandshaker {
    /// Google Cloud's service, on a Google Cloud machine.
    ///
    /// # Errors
    /// [`PlatformError`] anywhere else, because what answers to that name there is not Google.
    /// For a service of your own there is [`at`](Self::at).
    pub fn google_cloud() -> Result<Self, PlatformError> {
        platform::check()?;
        // A constant that the tests parse.
        Self::at(GOOGLE_CLOUD).map_err(|_| PlatformError::default())
    }

    /// The service at `address`, wherever this runs: `host:port`, `dns:///host:port`,
    /// `unix:/path`, `unix:///path` or `unix-abstract:name`. Nothing connects yet.
    ///
    /// This trusts the program that listens there with the identity of this process. Anyone can listen on
    /// a free port or take a free `unix-abstract` name: [`require_uid`](Self::require_uid).
    ///
    /// # Errors
    /// [`AddressError`] when it is not such an address.
    pub fn at(address: &str) -> Result<Self, AddressError> {
        let text = address;
        let address: Address = text.parse()?;
        let authority = match &address {
            Address::Tcp(authority) => authority,
            Address::Unix(_) if cfg!(unix) => "localhost",
            Address::UnixAbstract(_) if cfg!(target_os = "linux") => "localhost",
            Address::Unix(_) | Address::UnixAbstract(_) => return Err(AddressError::Unsupported),
        };
        let endpoint = Endpoint::from_shared(format!("http://{authority}"))
            .map_err(|_| AddressError::Host)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        Ok(Self {
            text: text.into(),
            address,
            listener: None,
            endpoint,
            channel: Mutex::default(),
            backoff: Arc::default(),
        })
    }

    /// Requires that the program that listens has this user, by the word of the kernel (`SO_PEERCRED` on
    /// Linux). Every connection is checked before anything is sent.
    ///
    /// It is the user that the program had when it began to listen: with sockets that systemd makes for a
    /// service, that is root. In a user namespace, all users that are not mapped have one number,
    /// usually 65534: do not require that one.
    ///
    /// # Errors
    /// [`AddressError::NoUser`] unless the address is that of a UNIX socket.
    pub fn require_uid(self, uid: u32) -> Result<Self, AddressError> {
        self.require_listener(move |found| {
            if found == uid {
                return Ok(());
            }
            Err(format!(
                "the program that listens there has uid {found}, and uid {uid} is required"
            ))
        })
    }

    /// As [`require_uid`](Self::require_uid), for programs that know users by other means: `admits` is
    /// called with the user's number for each connection, and says why it is not the right one. It may
    /// block, as looking a name up does.
    ///
    /// # Errors
    /// [`AddressError::NoUser`] unless the address is that of a UNIX socket.
    pub fn require_listener<F>(mut self, admits: F) -> Result<Self, AddressError>
    where
        F: Fn(u32) -> Result<(), String> + Send + Sync + 'static,
    {
        if matches!(self.address, Address::Tcp(_)) {
            return Err(AddressError::NoUser);
        }
        self.listener = Some(Arc::new(admits));
        Ok(self)
    }

    /// How long to wait for a connection to the service: 5 seconds by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.endpoint = self.endpoint.connect_timeout(timeout);
        self
    }

    /// How long the connection to the service may be silent before a handshake asks whether it
    /// still lives, and how long the service has to answer: 30 and 10 seconds by
    /// default. Nothing is asked while there is no handshake.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.endpoint =
            self.endpoint.http2_keep_alive_interval(interval).keep_alive_timeout(timeout);
        self
    }

    /// A channel that connects when it is first used, and again after its connection has broken.
    fn connect(&self) -> Channel {
        let address = self.address.clone();
        let (listener, backoff) = (self.listener.clone(), Arc::clone(&self.backoff));
        self.endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
            let (address, listener) = (address.clone(), listener.clone());
            let backoff = Arc::clone(&backoff);
            async move {
                let dialled = dial(&address, listener.as_ref());
                backoff.connect(dialled).await.map(TokioIo::new)
            }
        }))
    }

    fn channel(&self) -> Channel {
        // Nothing panics while it is held, except tonic outside of a runtime.
        let mut shared = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shared {
            Some(Shared { channel, lives }) if !lives.is_finished() => channel.clone(),
            _ => {
                let channel = self.connect();
                let lives = tokio::spawn(std::future::pending());
                *shared = Some(Shared { channel: channel.clone(), lives });
                channel
            }
        }
    }
}

/// The channel that all handshakes share.
struct Shared {
    channel: Channel,
    /// Ends with the runtime in which the channel has its connection.
    lives: JoinHandle<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.lives.abort();
    }
}

impl HandshakerService for GrpcHandshaker {
    fn open(&self) -> Box<dyn HandshakerCall> {
        let state = State::Idle(self.channel());
        Box::new(Call { address: Arc::clone(&self.text), state })
    }

    fn address(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for GrpcHandshaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcHandshaker").field("address", &self.text).finish_non_exhaustive()
    }
}

/// One `DoHandshake` call.
struct Call {
    address: Arc<str>,
    state: State,
}

enum State {
    /// Nothing was sent yet. Some services answer with headers only after the first request, so
    /// the call begins with it.
    Idle(Channel),
    Open {
        requests: mpsc::Sender<ServiceMessage>,
        responses: Streaming<ServiceMessage>,
    },
    Ended,
}

impl HandshakerCall for Call {
    fn exchange(
        &mut self,
        request: ServiceMessage,
    ) -> BoxFuture<'_, Result<Option<ServiceMessage>, ServiceError>> {
        Box::pin(async move { self.next(request).await.map_err(|error| self.error(&error)) })
    }
}

impl Call {
    async fn next(&mut self, request: ServiceMessage) -> Result<Option<ServiceMessage>, Status> {
        let (requests, mut responses) = match std::mem::replace(&mut self.state, State::Ended) {
            State::Idle(channel) => start(channel, request).await?,
            State::Open { requests, responses } => {
                // When the service has ended the call, the status, read below, says why.
                let _ = requests.send(request).await;
                (requests, responses)
            }
            State::Ended => return Ok(None),
        };
        let response = responses.message().await?;
        if response.is_some() {
            self.state = State::Open { requests, responses };
        }
        Ok(response)
    }

    fn error(&self, status: &Status) -> ServiceError {
        let code = i32::from(status.code()).unsigned_abs();
        let error = ServiceError::new(
            &*self.address,
            format!("status {}: {}", StatusCode(code), status.message()),
        )
        .with_code(code);
        match root(status) {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

/// Opens the call with its first request.
async fn start(
    channel: Channel,
    request: ServiceMessage,
) -> Result<(mpsc::Sender<ServiceMessage>, Streaming<ServiceMessage>), Status> {
    let (requests, receiver) = mpsc::channel(1);
    // There is room for one.
    let _ = requests.try_send(request);
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_RESPONSE);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let method = PathAndQuery::from_static(METHOD);
    let stream = Request::new(ReceiverStream::new(receiver));
    let responses =
        grpc.streaming(stream, method, RawCodec::<ServiceMessage>::default()).await?.into_inner();
    Ok((requests, responses))
}

/// The root cause of a status, such as "Connection refused", in words: the status keeps the
/// error itself.
fn root(status: &Status) -> Option<String> {
    let mut error = std::error::Error::source(status)?;
    while let Some(source) = error.source() {
        error = source;
    }
    Some(error.to_string())
}
