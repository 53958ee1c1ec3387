//! An agent, the three protocols in which it is asked, and the streams that it answers with.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::material::{Material, Unusable};
use super::messages::{
    Answer, AnyMessage, BROKER, BrokerRequest, Bundles, DELEGATED_BUNDLES, DELEGATED_SVIDS,
    DelegatedRequest, DelegatedSvids, Nothing, PID_REFERENCE, PidReference, SelectorMessage,
    WORKLOAD, WorkloadReference,
};

/// How long to wait for a connection to the agent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection to the agent is silent before it is asked whether it still lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long it has to answer that question.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest message that is taken, in bytes: gRPC's own default.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// An agent at a UNIX socket: only there the kernel says who is who.
///
/// All subscriptions share one connection to it, made when it is first needed and made anew when it
/// breaks; it lives in the tokio runtime of the first one.
#[derive(Clone)]
pub struct Agent {
    text: Arc<str>,
    endpoint: Endpoint,
    channel: Arc<OnceLock<Channel>>,
    /// How it is connected to, if not plainly.
    dial: Option<Dial>,
}

/// A connection that is being made.
pub(super) type Connection = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

/// Makes connections to the socket at a path.
pub(super) type Dial = Arc<dyn Fn(Arc<str>) -> Connection + Send + Sync>;

/// What bytes go over.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Connects as HTTP's client wants it done.
struct Dialler {
    path: Arc<str>,
    dial: Dial,
}

impl Service<Uri> for Dialler {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Box<dyn Io>>>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let connecting = (self.dial)(Arc::clone(&self.path));
        Box::pin(async move { connecting.await.map(TokioIo::new) })
    }
}

/// An address at which no agent can be.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointError {
    address: String,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not the address of a SPIFFE agent: write unix:/path, the absolute path of its \
             socket",
            self.address
        )
    }
}

/// The sentence: what a program prints whose `main` returns it.
impl fmt::Debug for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for EndpointError {}

impl Agent {
    /// The agent at `unix:/path` or `unix:///path`. Nothing connects yet.
    ///
    /// # Errors
    /// When it is not the absolute path of a UNIX socket.
    pub fn at(address: &str) -> Result<Self, EndpointError> {
        let path = path(address)?;
        let endpoint = Endpoint::from_shared(format!("unix://{path}"))
            .map_err(|_| EndpointError { address: address.to_owned() })?;
        Ok(Self::with(address, endpoint, None))
    }

    /// The agent there, to be connected to in a certain way.
    pub(super) fn dialled(address: &str, dial: Dial) -> Result<Self, EndpointError> {
        path(address)?;
        Ok(Self::with(address, Endpoint::from_static("http://localhost"), Some(dial)))
    }

    fn with(address: &str, endpoint: Endpoint, dial: Option<Dial>) -> Self {
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        Self { text: address.into(), endpoint, channel: Arc::default(), dial }
    }

    /// The identity of this process itself, by the SPIFFE Workload API.
    #[must_use]
    pub fn workload(&self) -> Source {
        self.source(Asked::ThisProcess)
    }

    /// The identity of another process or of whatever has some selectors, by the Delegated Identity
    /// API of SPIRE's agent. Its `admin_socket_path` is the address, and the identity of this process
    /// has to be among its `authorized_delegates`.
    #[must_use]
    pub fn delegated(&self, workload: Workload) -> Source {
        self.source(Asked::Delegated(workload))
    }

    /// The identity of another process, by the SPIFFE Broker API: see [`Broker`](super::Broker).
    pub(super) fn broker(&self, process: Pinned) -> Source {
        self.source(Asked::Broker(process))
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.text
    }

    fn source(&self, asked: Asked) -> Source {
        Source { agent: self.clone(), asked }
    }

    async fn open<Q, A>(&self, method: &'static str, request: Q) -> Result<Streaming<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let connect = || match &self.dial {
            None => self.endpoint.connect_lazy(),
            Some(dial) => {
                let path = path(&self.text).unwrap_or_default().into();
                let dialler = Dialler { path, dial: Arc::clone(dial) };
                self.endpoint.connect_with_connector_lazy(dialler)
            }
        };
        let channel = self.channel.get_or_init(connect).clone();
        let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(request);
        // SPIFFE Workload Endpoint, section 4: what is asked without it is refused, so that no web
        // page can make a browser ask.
        let metadata = request.metadata_mut();
        metadata.insert("workload.spiffe.io", MetadataValue::from_static("true"));
        metadata.insert("broker.spiffe.io", MetadataValue::from_static("true"));
        let method = PathAndQuery::from_static(method);
        let codec = ProstCodec::<Q, A>::default();
        Ok(grpc.server_streaming(request, method, codec).await?.into_inner())
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("address", &self.text).finish_non_exhaustive()
    }
}

/// The absolute path of a UNIX socket.
fn path(address: &str) -> Result<&str, EndpointError> {
    let wrong = || EndpointError { address: address.to_owned() };
    let path = address.strip_prefix("unix:").ok_or_else(wrong)?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.starts_with("//") || path.contains('\0') {
        return Err(wrong());
    }
    Ok(path)
}

/// A process that is held on to: its number, and how to tell whether the number is still its own.
///
/// Agents know processes by their numbers, which the kernel gives away again. What an agent says about a
/// number counts only if the process was there before it was asked and still is when it has answered.
#[derive(Clone)]
pub struct Pinned {
    pid: i32,
    still: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Pinned {
    /// A process. `still` says whether the number is still that of the process that is meant; it is
    /// called in the runtime, so it may not block for long.
    #[must_use]
    pub fn new(pid: i32, still: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { pid, still: Arc::new(still) }
    }

    /// The process's number.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether the number is still that of the process.
    #[must_use]
    pub fn is_there(&self) -> bool {
        (self.still)()
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// Whose identity is asked for with the Delegated Identity API.
#[derive(Clone, Debug)]
pub enum Workload {
    /// A process, which the agent attests.
    Process(Pinned),
    /// Whatever has all of these selectors, such as `unix` and `uid:1000`. The one who asks answers for
    /// them: the agent attests nothing.
    Selectors(Vec<(String, String)>),
}

#[derive(Clone, Debug)]
enum Asked {
    ThisProcess,
    Delegated(Workload),
    Broker(Pinned),
}

/// An agent, and whose identity it is asked for.
#[derive(Clone, Debug)]
pub struct Source {
    agent: Agent,
    asked: Asked,
}

impl Source {
    /// The agent's address.
    #[must_use]
    pub fn address(&self) -> &str {
        self.agent.address()
    }

    /// Whether it is this process's own identity, of which there is one.
    pub(super) const fn is_own(&self) -> bool {
        matches!(self.asked, Asked::ThisProcess)
    }

    /// Whether what the agent says now is about the one that is meant.
    pub(super) fn is_there(&self) -> bool {
        match &self.asked {
            Asked::Delegated(Workload::Process(process)) | Asked::Broker(process) => {
                process.is_there()
            }
            Asked::ThisProcess | Asked::Delegated(Workload::Selectors(_)) => true,
        }
    }

    /// Asks.
    pub(super) async fn open(&self) -> Result<Streams, Status> {
        let agent = &self.agent;
        Ok(match &self.asked {
            Asked::ThisProcess => Streams::One(agent.open(WORKLOAD, Nothing {}).await?),
            Asked::Broker(process) => {
                let value = PidReference { pid: process.pid }.encode_to_vec();
                let reference = AnyMessage { type_url: PID_REFERENCE.to_owned(), value };
                let reference = WorkloadReference { reference: Some(reference) };
                let request = BrokerRequest { reference: Some(reference) };
                Streams::One(agent.open(BROKER, request).await?)
            }
            Asked::Delegated(workload) => {
                let request = match workload {
                    Workload::Process(process) => {
                        DelegatedRequest { selectors: Vec::new(), pid: process.pid }
                    }
                    Workload::Selectors(selectors) => {
                        let message = |(kind, value): &(String, String)| SelectorMessage {
                            kind: kind.clone(),
                            value: value.clone(),
                        };
                        let selectors = selectors.iter().map(message).collect();
                        DelegatedRequest { selectors, pid: 0 }
                    }
                };
                let identities = agent.open(DELEGATED_SVIDS, request).await?;
                let bundles = Box::new(agent.open(DELEGATED_BUNDLES, Nothing {}).await?);
                Streams::Two { identities, bundles }
            }
        })
    }
}

/// What an agent answers with.
pub(super) enum Streams {
    /// Identities with all that belongs to them.
    One(Streaming<Answer>),
    /// Identities and bundles apart.
    Two { identities: Streaming<DelegatedSvids>, bundles: Box<Streaming<Bundles>> },
}

/// Why a stream has ended.
#[derive(Debug)]
pub(super) enum StreamEnd {
    /// The agent, or the way to it, ended it.
    Status(Status),
    /// What it said cannot be read.
    Unusable(Unusable),
}

impl Streams {
    /// Waits for the next thing that the agent says, and adds it to the rest.
    pub(super) async fn next(&mut self, material: &mut Material) -> Result<(), StreamEnd> {
        let failed = StreamEnd::Status;
        let over = || failed(Status::unavailable("the agent ended the stream"));
        match self {
            Self::One(stream) => {
                let said = stream.message().await.map_err(failed)?.ok_or_else(over)?;
                material.take(said).map_err(StreamEnd::Unusable)
            }
            Self::Two { identities, bundles } => tokio::select! {
                said = identities.message() => {
                    material.take_identities(said.map_err(failed)?.ok_or_else(over)?);
                    Ok(())
                }
                said = bundles.message() => {
                    material.take_bundles(said.map_err(failed)?.ok_or_else(over)?);
                    Ok(())
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_at_unix_sockets() {
        for good in ["unix:/run/agent.sock", "unix:///run/agent.sock"] {
            assert!(Agent::at(good).is_ok(), "{good}");
        }
        for bad in ["", "unix:", "unix:agent.sock", "unix:////run/a", "127.0.0.1:1", "tcp://1:1"] {
            assert!(Agent::at(bad).is_err(), "{bad}");
        }
    }
}
