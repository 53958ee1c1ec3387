//! The greeter: its messages, its two services and their client, by hand: nothing generates code.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use tokio_alts::AltsRequest;
use tonic::body::Body;
use tonic::codec::Streaming;
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

/// What a caller says.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct HelloRequest {
    /// The caller's name.
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// What the greeter answers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct HelloReply {
    /// The greeting.
    #[prost(string, tag = "1")]
    pub(crate) message: String,
}

/// `greeter.Greeter` with the methods `SayHello` (unary) and `SayHellos` (server streaming).
#[derive(Clone, Debug)]
pub(crate) struct Greeter;

/// `greeter.Vault` with the method `Open` (unary).
#[derive(Clone, Debug)]
pub(crate) struct Vault;

/// How many greetings `SayHellos` sends.
pub(crate) const HELLOS: usize = 3;

fn greeting(request: &Request<HelloRequest>) -> HelloReply {
    // Without ALTS, nobody knows who is calling.
    let caller = request.alts_context().map_or("unknown", |context| context.peer_service_account());
    HelloReply { message: format!("Hello {} ({caller})", request.get_ref().name) }
}

async fn say_hello(request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
    Ok(Response::new(greeting(&request)))
}

type Hellos = tokio_stream::Iter<std::vec::IntoIter<Result<HelloReply, Status>>>;

async fn say_hellos(request: Request<HelloRequest>) -> Result<Response<Hellos>, Status> {
    let replies = vec![Ok(greeting(&request)); HELLOS];
    Ok(Response::new(tokio_stream::iter(replies)))
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

fn server() -> tonic::server::Grpc<ProstCodec<HelloReply, HelloRequest>> {
    tonic::server::Grpc::new(ProstCodec::default())
}

impl NamedService for Greeter {
    const NAME: &'static str = "greeter.Greeter";
}

impl Service<http::Request<Body>> for Greeter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/greeter.Greeter/SayHello" => server().unary(service_fn(say_hello), request).await,
                "/greeter.Greeter/SayHellos" => {
                    server().server_streaming(service_fn(say_hellos), request).await
                }
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

impl NamedService for Vault {
    const NAME: &'static str = "greeter.Vault";
}

impl Service<http::Request<Body>> for Vault {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/greeter.Vault/Open" => server().unary(service_fn(say_hello), request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// The client of both services.
#[derive(Clone, Debug)]
pub(crate) struct Client(tonic::client::Grpc<Channel>);

impl Client {
    /// Calls over `channel`.
    pub(crate) fn new(channel: Channel) -> Self {
        Self(tonic::client::Grpc::new(channel))
    }

    /// `greeter.Greeter/SayHello`.
    pub(crate) async fn say_hello(&mut self, name: &str) -> Result<HelloReply, Status> {
        self.unary("/greeter.Greeter/SayHello", name).await
    }

    /// `greeter.Greeter/SayHellos`.
    pub(crate) async fn say_hellos(&mut self, name: &str) -> Result<Streaming<HelloReply>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/greeter.Greeter/SayHellos");
        let replies = self.0.server_streaming(request(name), path, ProstCodec::default()).await?;
        Ok(replies.into_inner())
    }

    /// `greeter.Vault/Open`.
    pub(crate) async fn open_vault(&mut self, name: &str) -> Result<HelloReply, Status> {
        self.unary("/greeter.Vault/Open", name).await
    }

    async fn unary(&mut self, path: &'static str, name: &str) -> Result<HelloReply, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static(path);
        let reply = self.0.unary(request(name), path, ProstCodec::default()).await?;
        Ok(reply.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))
    }
}

fn request(name: &str) -> Request<HelloRequest> {
    Request::new(HelloRequest { name: name.to_owned() })
}
