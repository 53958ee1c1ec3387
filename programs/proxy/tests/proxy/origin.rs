//! An HTTP server that reports what it has received, and clients of both versions.
#![allow(dead_code, reason = "the tests of the command use a part of this")]

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_stream::iter;

use crate::support::soon;

pub type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// An HTTP/1.1 and HTTP/2 server.
pub struct Origin {
    pub address: SocketAddr,
    /// How many connections it has taken.
    pub connections: Arc<AtomicUsize>,
}

impl Origin {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    server.http1().max_headers(1000);
                    let io = TokioIo::new(stream);
                    let _ = server.serve_connection_with_upgrades(io, service_fn(answer)).await;
                });
            }
        });
        Self { address, connections }
    }
}

/// The bytes of the answer at `/piece`.
pub const PIECE: usize = 32 * 1024;

async fn answer(mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    Ok(match request.uri().path() {
        // What comes goes back, piece by piece.
        "/echo" => Response::new(request.into_body().boxed_unsync()),
        "/silent" => std::future::pending().await,
        // More than fits into any buffer on the way.
        "/big" => Response::new(body(vec![b'x'; 32 * 1024 * 1024])),
        // One frame of HTTP/2.
        "/piece" => Response::new(body(vec![b'x'; PIECE])),
        // Says how much has come when all of it has.
        "/collect" => match request.into_body().collect().await {
            Ok(all) => Response::new(body(all.to_bytes().len().to_string())),
            Err(_) => Response::new(body("broken")),
        },
        "/grpc.Service/Call" => {
            let sent = request.headers().get("x-alts-peer-service-account").cloned();
            let body = request.into_body().collect().await.unwrap();
            let mut trailers = body.trailers().cloned().unwrap_or_default();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            if let Some(account) = sent {
                trailers.insert("caller", account);
            }
            let frames = [Ok(Frame::data(body.to_bytes())), Ok(Frame::trailers(trailers))];
            let mut response = Response::new(StreamBody::new(iter(frames)).boxed_unsync());
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(header::CONTENT_TYPE, grpc);
            response
        }
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                let mut text = [0; 5];
                while stream.read_exact(&mut text).await.is_ok() {
                    text.reverse();
                    stream.write_all(&text).await.unwrap();
                }
            });
            let mut response = Response::new(body(""));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            response
        }
        // The head as it came.
        _ => {
            let mut text =
                format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
            for (name, value) in request.headers() {
                writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
            }
            let mut response = Response::new(body(text));
            let hop = HeaderValue::from_static("keep-alive, x-hop");
            if request.version() != http::Version::HTTP_2 {
                response.headers_mut().insert(header::CONNECTION, hop);
            }
            response.headers_mut().insert("x-hop", HeaderValue::from_static("1"));
            response
        }
    })
}

pub fn body(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn empty() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

pub async fn http1(io: impl Io) -> http1::SendRequest<Body> {
    let (sender, connection) = soon(http1::handshake(TokioIo::new(io))).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

pub async fn http2(io: impl Io) -> http2::SendRequest<Body> {
    let executor = TokioExecutor::new();
    let (sender, connection) = soon(http2::handshake(executor, TokioIo::new(io))).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// An HTTP/1.1 request, as it stands on the line.
pub fn get(path: &str) -> Request<Body> {
    Request::get(path).header(header::HOST, "example.test").body(empty()).unwrap()
}

/// An HTTP/2 request.
pub fn get2(path: &str) -> Request<Body> {
    Request::get(format!("http://example.test{path}")).body(empty()).unwrap()
}

/// A gRPC call with one message that is not looked at.
pub fn call(path: &str) -> Request<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-of-client", HeaderValue::from_static("1"));
    trailers.insert("x-alts-peer-service-account", HeaderValue::from_static("forged@dev.test"));
    let frames = [Ok(Frame::data("message".into())), Ok(Frame::trailers(trailers))];
    Request::post(format!("http://example.test{path}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(StreamBody::new(iter(frames)).boxed_unsync())
        .unwrap()
}

/// The text of a response.
pub async fn text(response: Response<Incoming>) -> String {
    let bytes = soon(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}
