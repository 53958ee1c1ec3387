//! tonic over ALTS: what a connection proves reaches each request, and can restrict who may call.

mod unsent;

use std::sync::Arc;
use std::task::{Context, Poll};

use alts_core::AltsContext;
use alts_core::aead::Aead;
use tonic::service::Interceptor;
#[cfg(unix)]
use tonic::transport::server::UdsConnectInfo;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::{Request, Status};
use tower::{Layer, Service};

pub use self::unsent::{ResendUnsent, UnsentResent};
use crate::authorize::{AltsRequest, Refused, RequireServiceAccounts};
use crate::connect_info::{AltsConnectInfo, Transport};
use crate::stream::AltsStream;

impl<IO: Transport, A: Aead> Connected for AltsStream<IO, A> {
    type ConnectInfo = AltsConnectInfo;

    fn connect_info(&self) -> AltsConnectInfo {
        AltsConnectInfo::of(self)
    }
}

/// A layer for tonic servers: puts what the transport below ALTS knows where tonic looks for it.
///
/// Then `request.remote_addr()` and `request.local_addr()` work, as over plain TCP, and the
/// extensions have a `UdsConnectInfo` over UNIX sockets: tonic itself gives a request only what its
/// connection is, and that is [`AltsConnectInfo`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ShareTransportInfo;

/// A service behind [`ShareTransportInfo`].
#[derive(Clone, Copy, Debug)]
pub struct TransportInfoShared<S> {
    inner: S,
}

impl<S> Layer<S> for ShareTransportInfo {
    type Service = TransportInfoShared<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TransportInfoShared { inner }
    }
}

impl<S, B> Service<http::Request<B>> for TransportInfoShared<S>
where
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> S::Future {
        if let Some(info) = request.extensions().get::<AltsConnectInfo>() {
            let transport = info.transport().clone();
            let (local_addr, remote_addr) = (transport.local_addr(), transport.remote_addr());
            let extensions = request.extensions_mut();
            if local_addr.is_some() || remote_addr.is_some() {
                extensions.insert(TcpConnectInfo { local_addr, remote_addr });
            }
            #[cfg(unix)]
            if let Some(credentials) = transport.peer_credentials() {
                let peer_addr = transport.get::<tokio::net::unix::SocketAddr>().cloned();
                extensions.insert(UdsConnectInfo {
                    peer_addr: peer_addr.map(Arc::new),
                    peer_cred: Some(credentials),
                });
            }
        }
        self.inner.call(request)
    }
}

impl<T> AltsRequest for Request<T> {
    fn alts_context(&self) -> Option<&AltsContext> {
        self.extensions().alts_context()
    }
}

impl Interceptor for RequireServiceAccounts {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match self.check(request.extensions()) {
            Ok(()) => Ok(request),
            Err(refused) => Err(refused.into()),
        }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthenticated => Self::unauthenticated(refused.message()),
            Refused::PermissionDenied => Self::permission_denied(refused.message()),
        }
    }
}
