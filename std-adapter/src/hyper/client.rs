//! The connector for HTTP clients: from a URI to a stream.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use alts_core::Side;
use alts_core::account::AccountPattern;
use alts_core::aead::Aead;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::Service;

use crate::age::ConnectionAge;
use crate::connect_info::{AltsConnectInfo, Transport};
use crate::connector::AltsConnector;
use crate::error::{Error, ErrorKind, Phase, Report};
use crate::service::BoxFuture;
use crate::stream::AltsStream;

/// How long a TCP connection may take by default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one address has before the next one is tried beside it (RFC 8305 section 8).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// Application protocols that are HTTP/2.
const HTTP_2: [&str; 2] = ["grpc", "h2"];

/// Connects HTTP clients over TCP and ALTS, tonic's and hyper-util's among them.
///
/// The handshake's target name is the URI's host and port. A URI without a port has the
/// default port of its scheme. The scheme says nothing else: the connection is ALTS in any case.
///
/// If a name has several addresses, the next one is tried beside the first after 250 ms. Sockets have
/// `TCP_NODELAY`; tonic's socket settings on `Endpoint` (`tcp_keepalive`, `tcp_nodelay`,
/// `local_address`, `connect_timeout`) are for its own connector and do nothing here.
///
/// The servers of all targets may have the accounts that the connector's configuration expects. A client
/// of several targets gives the expected accounts of each: [`for_target`](Self::for_target).
#[derive(Clone)]
pub struct AltsHttpConnector {
    connector: AltsConnector,
    targets: BTreeMap<Box<str>, Arc<[AccountPattern<String>]>>,
    connect_timeout: Duration,
    on_established: Option<Callback>,
    age: ConnectionAge,
}

type Callback = Arc<dyn Fn(&AltsConnectInfo) + Send + Sync>;

impl AltsHttpConnector {
    /// Connects with the handshakes of `connector`.
    #[must_use]
    pub fn new(connector: AltsConnector) -> Self {
        Self {
            connector,
            targets: BTreeMap::new(),
            connect_timeout: CONNECT_TIMEOUT,
            on_established: None,
            age: ConnectionAge::new().at_certificate_end(true),
        }
    }

    /// How long each connection may be used. By default, an HTTP/2 connection takes no more requests once
    /// the server's certificate or the own one has ended, and those under way go on.
    ///
    /// An HTTP/2 connection that is due looks to its client as if the server had sent GOAWAY: the next
    /// request makes another connection. An HTTP/1.1 connection only ends when it is over, that is,
    /// with a [`grace`](ConnectionAge::grace): limit the time that your client keeps idle ones.
    #[must_use]
    pub fn connection_age(mut self, age: ConnectionAge) -> Self {
        self.age = age;
        self
    }

    /// The service accounts that the server at `target`, `host:port` as it stands in URIs, may have,
    /// instead of those that the configuration expects. Once there is such a target, all others are
    /// refused.
    #[must_use]
    pub fn for_target<S: Into<String>>(
        mut self,
        target: impl Into<Box<str>>,
        service_accounts: impl IntoIterator<Item = S>,
    ) -> Self {
        let exact = service_accounts.into_iter().map(Into::into).map(AccountPattern::exact);
        self.targets.insert(target.into(), exact.collect());
        self
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

    /// How long the TCP connection may take, the look-up of its name included: 10 seconds by
    /// default. The handshake's own deadline comes after that.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    async fn connect(self, uri: Uri) -> Result<AltsStream<TcpStream>, Error> {
        let host = uri.host().unwrap_or_default();
        let port =
            uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let target_name = format!("{host}:{port}");
        let expected = self.targets.get(&*target_name).cloned();
        // An empty list would admit anybody.
        let refused = match &expected {
            Some(accounts) => accounts.is_empty(),
            None => !self.targets.is_empty(),
        };
        if refused {
            let why = "no service account is expected of this target";
            let error = io::Error::new(io::ErrorKind::PermissionDenied, why);
            let report = Report { target: target_name, ..Report::default() };
            return Err(Error::new(Side::Client, Phase::Connect, ErrorKind::Io(error), report));
        }
        // The brackets of an IPv6 address belong only to the URI.
        let connected = timeout(self.connect_timeout, dial(host.trim_matches(['[', ']']), port));
        let io = match connected.await {
            Ok(Ok(io)) => Ok(io),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        match io {
            Ok(io) => {
                let mut stream =
                    self.connector.connect_expecting(&target_name, expected, io).await?;
                let end = self.age.of(stream.context());
                stream.end_http2_with(&end, Side::Client);
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

/// Connects to one of the addresses of `host`: each has a little time before the next is tried beside it.
async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut addresses = alternating(lookup_host((host, port)).await?).into_iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match addresses.next() {
            Some(address) => _ = attempts.spawn(TcpStream::connect(address)),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        let patience = if addresses.len() > 0 { NEXT_ADDRESS } else { Duration::MAX };
        match timeout(patience, attempts.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Some(Ok(Err(error)))) => last = error,
            // Nothing yet: the next address is tried beside it.
            Ok(Some(Err(_)) | None) | Err(_) => {}
        }
    }
}

/// The addresses in their order, of both families in turn.
fn alternating(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<_> = addresses.collect();
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (ours, theirs): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let mut theirs = theirs.into_iter();
    let mut ordered = Vec::new();
    for address in ours {
        ordered.push(address);
        ordered.extend(theirs.next());
    }
    ordered.extend(theirs);
    ordered
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

/// Informs hyper-util's client whether the application protocol is HTTP/2, and what is known of the
/// connection: responses have an [`AltsConnectInfo`] among their extensions.
impl<IO: Transport, A: Aead> Connection for AltsStream<IO, A> {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(AltsConnectInfo::of(self));
        if HTTP_2.contains(&self.context().application_protocol()) {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_nobody_is_forgotten() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let given = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        let ordered = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(alternating(given.into_iter()), ordered);
        let given = parse(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(alternating(given.clone().into_iter()), given);
    }
}
