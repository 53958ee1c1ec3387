//! The connector of HTTP clients: from a URI to a stream.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use alts_core::Side;
use alts_core::aead::Aead;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;

use crate::connect_info::{Addresses, AltsConnectInfo};
use crate::connector::AltsConnector;
use crate::error::{Error, ErrorKind, Phase, Report};
use crate::service::BoxFuture;
use crate::stream::AltsStream;

/// How long a TCP connection may take, unless said otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Application protocols that are HTTP/2.
const HTTP_2: [&str; 2] = ["grpc", "h2"];

/// Connects HTTP clients over TCP and ALTS, tonic's and hyper-util's among them.
///
/// The handshake's target name is the URI's host and port. Of a URI without a port, the port is
/// that of its scheme. The scheme says nothing else: the connection is ALTS in any case.
#[derive(Clone)]
pub struct AltsHttpConnector {
    connector: AltsConnector,
    connect_timeout: Duration,
    on_established: Option<Callback>,
}

type Callback = Arc<dyn Fn(&AltsConnectInfo) + Send + Sync>;

impl AltsHttpConnector {
    /// Connects with the handshakes of `connector`.
    #[must_use]
    pub const fn new(connector: AltsConnector) -> Self {
        Self { connector, connect_timeout: CONNECT_TIMEOUT, on_established: None }
    }

    /// Calls `callback` with what is known of each connection that is established: a client such
    /// as tonic's keeps its connections to itself.
    #[must_use]
    pub fn on_established<F>(mut self, callback: F) -> Self
    where
        F: Fn(&AltsConnectInfo) + Send + Sync + 'static,
    {
        self.on_established = Some(Arc::new(callback));
        self
    }

    /// How long the TCP connection may take, the look-up of its name included: 10 seconds unless
    /// said otherwise. The handshake's own deadline comes after that.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    async fn connect(self, uri: Uri) -> Result<AltsStream<TcpStream>, Error> {
        let host = uri.host().unwrap_or_default();
        let port =
            uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let target_name = format!("{host}:{port}");
        let connected = timeout(self.connect_timeout, async {
            // The brackets of an IPv6 address are a matter of URIs.
            let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        let io = match connected.await {
            Ok(Ok(io)) => Ok(io),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        match io {
            Ok(io) => {
                let stream = self.connector.connect_to(&target_name, io).await?;
                if let Some(callback) = &self.on_established {
                    callback(&AltsConnectInfo::of(&stream));
                }
                Ok(stream)
            }
            Err(error) => {
                let report = Report { target: target_name, ..Report::default() };
                Err(Error::new(Side::Client, Phase::Connect, ErrorKind::Io(error), report))
            }
        }
    }
}

impl Service<Uri> for AltsHttpConnector {
    type Response = AltsStream<TcpStream>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

impl fmt::Debug for AltsHttpConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AltsHttpConnector")
            .field("connector", &self.connector)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// Tells hyper-util's client whether the application protocol is HTTP/2, and what is known of the
/// connection: responses have an [`AltsConnectInfo`] among their extensions.
impl<IO: Addresses, A: Aead> Connection for AltsStream<IO, A> {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(AltsConnectInfo::of(self));
        if HTTP_2.contains(&self.context().application_protocol()) {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}
