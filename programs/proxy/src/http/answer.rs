//! Answers that the proxy gives itself.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::body::ResponseBody;
use crate::access::Access;
use crate::upstream::error::ConnectError;

/// Why a request is not answered by the upstream. Its text is for the client: it names neither
/// addresses nor accounts.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    grpc_status: u16,
    text: Cow<'static, str>,
}

impl Refusal {
    /// The client may not call that.
    pub(super) const FORBIDDEN: Self = Self::new(
        StatusCode::FORBIDDEN,
        7,
        "this service account is not allowed to call this path",
    );
    pub(super) const HEADERS_TOO_LARGE: Self = Self::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        8,
        "the request has too many headers, or they are too large",
    );
    pub(super) const NO_TUNNELS: Self =
        Self::new(StatusCode::NOT_IMPLEMENTED, 12, "CONNECT is not supported here");
    pub(super) const UNKNOWN_ENCODING: Self = Self::new(
        StatusCode::NOT_IMPLEMENTED,
        12,
        "only the Transfer-Encoding chunked is supported here",
    );
    pub(super) const NO_UPGRADE: Self = Self::new(
        StatusCode::NOT_IMPLEMENTED,
        12,
        "connections to this upstream cannot be upgraded: they are HTTP/2",
    );
    /// The upstream has broken off, or has said something that is not HTTP.
    pub(super) const BROKEN: Self = Self::new(
        StatusCode::BAD_GATEWAY,
        14,
        "the connection to the upstream broke before it had answered",
    );
    /// The client has broken off its request, and may not see the answer.
    pub(super) const CLIENT_BROKE: Self = Self::new(
        StatusCode::BAD_REQUEST,
        1,
        "the body of the request broke off, or makes no sense",
    );
    /// The client has not sent what it wanted to send.
    pub(super) const SLOW_CLIENT: Self = Self::new(
        StatusCode::REQUEST_TIMEOUT,
        4,
        "no part of the request's body arrived for too long",
    );
    /// The upstream says nothing.
    pub(super) const SILENT: Self =
        Self::new(StatusCode::GATEWAY_TIMEOUT, 14, "the upstream did not answer in time");

    const fn new(status: StatusCode, grpc_status: u16, text: &'static str) -> Self {
        Self { status, grpc_status, text: Cow::Borrowed(text) }
    }

    /// The request can be understood in more than one way, or in none.
    pub(super) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, grpc_status: 3, text: text.into() }
    }

    /// There is no connection to the upstream.
    pub(super) fn unreachable(error: &ConnectError) -> Self {
        if error.is_timeout() {
            return Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                14,
                "there was no connection to the upstream in time",
            );
        }
        let text = match error {
            _ if error.is_exhaustion() => "the proxy has nothing left for another connection",
            ConnectError::Full => "there are too many connections to the upstream",
            ConnectError::Handshake(_) => "the ALTS handshake with the upstream failed",
            _ => "the upstream cannot be reached",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, 14, text)
    }

    /// The response: an HTTP one, or a gRPC one, which has its status in a header.
    pub(super) fn into_response(
        self,
        is_grpc: bool,
        access: Arc<Access>,
    ) -> Response<ResponseBody> {
        access.failed(&self.text);
        let text = format!("alts proxy: {}", self.text);
        if is_grpc {
            let mut response = Response::new(ResponseBody::empty(access));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(HeaderName::from_static("grpc-status"), self.grpc_status.into());
            // Texts are of printable ASCII without %, which needs no encoding.
            if let Ok(text) = HeaderValue::from_str(&text.replace('%', "%25")) {
                headers.insert(HeaderName::from_static("grpc-message"), text);
            }
            return response;
        }
        let body = ResponseBody::own(format!("{text}\n").into(), access);
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        response
    }
}
