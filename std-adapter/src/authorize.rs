//! Authorization: a layer and an interceptor that require service accounts.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use alts_core::AltsContext;
use alts_core::account::AccountPattern;
use http::header::CONTENT_TYPE;
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::connect_info::AltsConnectInfo;
use crate::observe::call_refused;

/// What a gRPC call's content type begins with.
const GRPC: &str = "application/grpc";

/// A request that may have come over ALTS: what the handshake of its connection has proved.
pub trait AltsRequest {
    /// What the handshake has proved; `None` when the request did not come over ALTS, or the
    /// server does not say so.
    fn alts_context(&self) -> Option<&AltsContext>;
}

impl AltsRequest for Extensions {
    fn alts_context(&self) -> Option<&AltsContext> {
        let info = self.get::<AltsConnectInfo>();
        #[cfg(feature = "axum")]
        let info = info.or_else(|| {
            self.get::<axum::extract::ConnectInfo<AltsConnectInfo>>().map(|info| &info.0)
        });
        info.map(|info| &**info.context())
    }
}

impl<B> AltsRequest for Request<B> {
    fn alts_context(&self) -> Option<&AltsContext> {
        self.extensions().alts_context()
    }
}

impl AltsRequest for http::request::Parts {
    fn alts_context(&self) -> Option<&AltsContext> {
        self.extensions.alts_context()
    }
}

/// Requires that callers have one of the given service accounts, compared byte by byte, or are
/// admitted by patterns or a rule of one's own.
///
/// It is a tower layer for whole servers, and a tonic interceptor (feature `tonic`) for
/// single services. gRPC calls get `PERMISSION_DENIED` for another account and `UNAUTHENTICATED`
/// without ALTS; other requests get 403 and 401. No answer reveals which accounts
/// would be admitted. An empty list admits nobody.
///
/// Each refusal is an event at INFO, `call refused`, with the caller's account, and is counted in
/// `alts_calls_refused_total` (feature `metrics`).
#[derive(Clone, Debug)]
pub struct RequireServiceAccounts {
    rule: Rule,
}

#[derive(Clone)]
enum Rule {
    Accounts(Arc<[AccountPattern<String>]>),
    By(Arc<dyn Fn(&AltsContext) -> bool + Send + Sync>),
}

impl Rule {
    fn admits(&self, context: &AltsContext) -> bool {
        match self {
            Self::Accounts(accounts) => context.authorize_matching(accounts).is_ok(),
            Self::By(admits) => admits(context),
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accounts(accounts) => {
                f.debug_list().entries(accounts.iter().map(AccountPattern::as_str)).finish()
            }
            Self::By(_) => f.write_str("a rule of the application's"),
        }
    }
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It did not come over ALTS.
    Unauthenticated,
    /// It came from another account.
    PermissionDenied,
}

impl Refused {
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Unauthenticated => "this needs a connection that is secured by ALTS",
            Self::PermissionDenied => "the caller's service account is not admitted",
        }
    }

    /// As metrics call it.
    const fn reason(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
        }
    }

    /// The number of the gRPC status, and the HTTP status.
    const fn codes(self) -> (u16, StatusCode) {
        match self {
            Self::Unauthenticated => (16, StatusCode::UNAUTHORIZED),
            Self::PermissionDenied => (7, StatusCode::FORBIDDEN),
        }
    }

    fn response<B: Default>(self, is_grpc: bool) -> Response<B> {
        let mut response = Response::new(B::default());
        let (grpc, http) = self.codes();
        if is_grpc {
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
            headers.insert("grpc-status", grpc.into());
            // Neither message has a character that would have to be encoded.
            headers.insert("grpc-message", HeaderValue::from_static(self.message()));
        } else {
            *response.status_mut() = http;
        }
        response
    }
}

impl RequireServiceAccounts {
    /// Admits these accounts.
    #[must_use]
    pub fn new<S: Into<String>>(accounts: impl IntoIterator<Item = S>) -> Self {
        Self::matching(accounts.into_iter().map(Into::into).map(AccountPattern::exact))
    }

    /// Admits the accounts that one of these patterns matches: [`alts_core::account`] has their
    /// grammar.
    #[must_use]
    pub fn matching(patterns: impl IntoIterator<Item = AccountPattern<String>>) -> Self {
        Self { rule: Rule::Accounts(patterns.into_iter().collect()) }
    }

    /// Admits callers for whose connection `rule` returns true. It is asked for every call, and has to
    /// answer at once.
    ///
    /// ```
    /// use tokio_alts::{RecordProtocol, RequireServiceAccounts};
    ///
    /// let internal = RequireServiceAccounts::by(|context| {
    ///     context.peer_service_account().ends_with("@internal.example")
    ///         && context.record_protocol() == RecordProtocol::AesGcm128Rekey
    /// });
    /// ```
    #[must_use]
    pub fn by(rule: impl Fn(&AltsContext) -> bool + Send + Sync + 'static) -> Self {
        Self { rule: Rule::By(Arc::new(rule)) }
    }

    pub(crate) fn check(&self, extensions: &Extensions) -> Result<(), Refused> {
        let context = extensions.alts_context();
        let refused = match context {
            None => Refused::Unauthenticated,
            Some(context) if self.rule.admits(context) => return Ok(()),
            Some(_) => Refused::PermissionDenied,
        };
        let peer = context.map(AltsContext::peer_service_account);
        call_refused(peer, refused.reason());
        Err(refused)
    }
}

impl<S> Layer<S> for RequireServiceAccounts {
    type Service = ServiceAccountsRequired<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ServiceAccountsRequired { inner, require: self.clone() }
    }
}

/// A service whose callers must have one of the given service accounts: what
/// [`RequireServiceAccounts`] wraps it in.
#[derive(Clone, Debug)]
pub struct ServiceAccountsRequired<S> {
    inner: S,
    require: RequireServiceAccounts,
}

impl<S, B, R> Service<Request<B>> for ServiceAccountsRequired<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.require.check(request.extensions()) {
            Ok(()) => ResponseFuture { call: Some(self.inner.call(request)), refusal: None },
            Err(refused) => {
                let refusal = refused.response(is_grpc(request.headers()));
                ResponseFuture { call: None, refusal: Some(refusal) }
            }
        }
    }
}

pin_project! {
    /// The answer of a [`ServiceAccountsRequired`]: the service's own, or a refusal.
    #[derive(Debug)]
    pub struct ResponseFuture<F, R> {
        #[pin]
        call: Option<F>,
        // Taken by the first poll.
        refusal: Option<Response<R>>,
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match (this.call.as_pin_mut(), this.refusal.take()) {
            (Some(call), _) => call.poll(cx),
            (None, Some(refusal)) => Poll::Ready(Ok(refusal)),
            // A future that has ended is not polled again.
            (None, None) => Poll::Pending,
        }
    }
}

/// Whether these are the headers of a gRPC call: `application/grpc`, also with a format behind `+` or
/// parameters behind `;`. gRPC-Web is another protocol: its answers end differently.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let format = kind.split_at_checked(GRPC.len());
    format.is_some_and(|(kind, format)| {
        kind.eq_ignore_ascii_case(GRPC.as_bytes())
            && matches!(format.first(), None | Some(b'+' | b';'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_grpc_and_grpc_web_is_not() {
        for (kind, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("Application/GRPC", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_grpc(&headers), grpc, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
