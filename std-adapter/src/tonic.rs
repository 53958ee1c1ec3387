//! tonic over ALTS: what a connection proves reaches each request, and decides who may call.
//!
//! - Clients: [`AltsHttpConnector`] goes into `Endpoint::connect_with_connector` and
//!   `Endpoint::connect_with_connector_lazy`.
//! - Servers: [`AltsIncoming`](crate::AltsIncoming) goes into `serve_with_incoming` and
//!   `serve_with_incoming_shutdown`.
//! - Services: [`AltsRequest`] tells what the handshake has proved; [`RequireServiceAccounts`] is
//!   a layer for a server, and an interceptor for a service.
//!
//! The endpoint's URI has the scheme `http`: with `https`, tonic would put TLS above ALTS, or
//! refuse.

use alts_core::AltsContext;
use alts_core::aead::Aead;
use tonic::service::Interceptor;
use tonic::transport::server::Connected;
use tonic::{Request, Status};

use crate::authorize::Refused;
pub use crate::authorize::{AltsRequest, RequireServiceAccounts};
use crate::connect_info::Addresses;
pub use crate::connect_info::AltsConnectInfo;
pub use crate::hyper::AltsHttpConnector;
use crate::stream::AltsStream;

impl<IO: Addresses, A: Aead> Connected for AltsStream<IO, A> {
    type ConnectInfo = AltsConnectInfo;

    fn connect_info(&self) -> AltsConnectInfo {
        AltsConnectInfo::of(self)
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
