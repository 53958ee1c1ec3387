//! gRPC with tonic: what security adds to plaintext.

use std::convert::Infallible;
use std::future::Ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_alts::StreamOptions;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::server::{NamedService, ServerStreamingService, UnaryService};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::run::Run;
use crate::Outcome;
use crate::measure::{Goal, thread_time};
use crate::runtime::runtime;
use crate::security::{Alts, Security, Stream, Tls};
use crate::tcp::prepare;

pub(super) const UNARY: &str = "/alts.bench.Echo/Unary";
pub(super) const STREAM: &str = "/alts.bench.Echo/Stream";
/// A message of the stream, in bytes, and how many a call brings.
pub(super) const LARGE: (usize, usize) = (1 << 20, 8);

pub(super) fn run(run: &Run<'_>) -> Outcome<()> {
    let (unary, stream) = ("tonic-unary-100-addition", "tonic-stream-1048576-addition");
    if !run.wants(unary) && !run.wants(stream) {
        return Ok(());
    }
    let runtime = runtime()?;
    let alts = Alts::in_process(StreamOptions::new())?;
    let all = [Security::Plain, Security::Alts(Box::new(alts)), Security::Tls(Tls::new()?)];
    let channel = |security| runtime.block_on(channel(security));
    let [plain, alts, tls] = all.map(channel);
    let mut all = [plain?, alts?, tls?];
    for (name, path) in [(unary, UNARY), (stream, STREAM)] {
        if !run.wants(name) {
            continue;
        }
        run.addition(name, Goal::AtMost(1.0), &mut all, |client| {
            runtime.block_on(calls(client, path))
        })?;
    }
    Ok(())
}

/// CPU time of a few calls, of client and server, which share this thread.
pub(super) async fn calls(client: &mut Grpc<Channel>, path: &'static str) -> Outcome<f64> {
    let start = thread_time()?;
    if path == UNARY {
        unary(client, 100, 20).await?;
    } else {
        stream(client, LARGE.1).await?;
    }
    Ok(thread_time()? - start)
}

/// Calls that echo `size` bytes, one after the other.
pub(super) async fn unary(client: &mut Grpc<Channel>, size: usize, count: usize) -> Outcome<()> {
    let path = http::uri::PathAndQuery::from_static(UNARY);
    let message = Bytes::from(vec![5; size]);
    for _ in 0..count {
        client.ready().await?;
        let codec = ProstCodec::<Bytes, Bytes>::default();
        client.unary(Request::new(message.clone()), path.clone(), codec).await?;
    }
    Ok(())
}

/// One call that brings so many large messages.
pub(super) async fn stream(client: &mut Grpc<Channel>, count: usize) -> Outcome<()> {
    let path = http::uri::PathAndQuery::from_static(STREAM);
    client.ready().await?;
    let codec = ProstCodec::<Bytes, Bytes>::default();
    let request = Request::new(Bytes::from(vec![5; count]));
    let mut stream: Streaming<Bytes> =
        client.server_streaming(request, path, codec).await?.into_inner();
    while stream.message().await?.is_some() {}
    Ok(())
}

/// A client whose server is in another task, behind a connection of that kind.
pub(super) async fn channel(security: Security) -> Outcome<Grpc<Channel>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (accepted, incoming) = mpsc::channel(1);
    let acceptor = security.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let connection = accept(&acceptor, socket).await;
            if accepted.send(connection).await.is_err() {
                break;
            }
        }
    });
    let incoming = ReceiverStream::new(incoming);
    tokio::spawn(Server::builder().add_service(Echo).serve_with_incoming(incoming));
    client(security, address).await
}

/// A client, connected to a server that is there.
pub(super) async fn client(security: Security, address: SocketAddr) -> Outcome<Grpc<Channel>> {
    let connector = tower::service_fn(move |_| connect(security.clone(), address));
    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .initial_connection_window_size(4 << 20)
        .initial_stream_window_size(4 << 20)
        .connect_with_connector(connector)
        .await?;
    Ok(Grpc::new(channel).max_decoding_message_size(usize::MAX))
}

pub(super) async fn accept(security: &Security, socket: TcpStream) -> Outcome<AcceptedStream> {
    security.accept(prepared(socket)?).await.map(AcceptedStream)
}

async fn connect(security: Security, address: SocketAddr) -> Outcome<TokioIo<Stream>> {
    let socket = prepared(TcpStream::connect(address).await?)?;
    security.connect(socket).await.map(TokioIo::new)
}

pub(super) fn prepared(socket: TcpStream) -> Outcome<TcpStream> {
    let socket = socket.into_std()?;
    prepare(&socket)?;
    Ok(TcpStream::from_std(socket)?)
}

/// A stream as tonic's server accepts it.
pub(super) struct AcceptedStream(pub(super) Stream);

impl Connected for AcceptedStream {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for AcceptedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for AcceptedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Answers with what was sent, or with a stream of as many large messages as the request has bytes.
#[derive(Clone)]
pub(super) struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "alts.bench.Echo";
}

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

impl ServerStreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<Bytes, Status>> + Send>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let count = request.into_inner().len();
        let message = Bytes::from(vec![5; LARGE.0]);
        let messages = tokio_stream::iter((0..count).map(move |_| Ok(message.clone())));
        std::future::ready(Ok(Response::new(Box::pin(messages.fuse()))))
    }
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<Bytes, Bytes>::default());
        Box::pin(async move {
            Ok(if request.uri().path() == UNARY {
                grpc.unary(Echo, request).await
            } else {
                grpc.server_streaming(Echo, request).await
            })
        })
    }
}
