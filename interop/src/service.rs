//! The test services as a tower service for tonic, and what the methods of this project's own do.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use alts_core::AltsContext;
use bytes::Bytes;
use serde_json::Value;
use tokio_alts::{AltsConnectInfo, RawCodec};
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Request, Response, Status, Streaming};
use tower::service_fn;
use tower_service::Service;

use crate::data::{Tally, message};
use crate::view::view;
use crate::{SERVICE, grpc_tests};

/// The test service, and that of gRPC's own tests.
#[derive(Clone, Copy, Debug)]
pub struct TestService;

impl Service<http::Request<Body>> for TestService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async { Ok(serve(request).await) })
    }
}

async fn serve(request: http::Request<Body>) -> http::Response<Body> {
    let mut grpc = Grpc::new(RawCodec::<Bytes>::default())
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    let path = request.uri().path().to_owned();
    if let Some((grpc_tests::SERVICE, method)) = path.trim_start_matches('/').split_once('/') {
        return grpc_tests::server::serve(method, request).await;
    }
    match path.strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE)) {
        Some("/Echo") => grpc.unary(service_fn(echo), request).await,
        Some("/EchoStream") => grpc.streaming(service_fn(echo_stream), request).await,
        Some("/Download") => grpc.server_streaming(service_fn(download), request).await,
        Some("/Upload") => grpc.client_streaming(service_fn(upload), request).await,
        Some("/Peer") => grpc.unary(service_fn(peer), request).await,
        Some("/Restricted") => grpc.unary(service_fn(restricted), request).await,
        _ => Status::unimplemented("there is no such method").into_http(),
    }
}

async fn echo(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    Ok(Response::new(request.into_inner()))
}

async fn echo_stream(
    request: Request<Streaming<Bytes>>,
) -> Result<Response<Streaming<Bytes>>, Status> {
    Ok(Response::new(request.into_inner()))
}

/// Sends as many messages of that size as the request orders.
async fn download(
    request: Request<Bytes>,
) -> Result<Response<impl Stream<Item = Result<Bytes, Status>>>, Status> {
    let order: Value = serde_json::from_slice(request.get_ref())
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let number = |name| {
        let number = order.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        number.ok_or_else(|| Status::invalid_argument(format!("{name} is missing")))
    };
    let (messages, size) = (number("messages")?, number("size")? as usize);
    let indices = tokio_stream::iter(0..messages);
    Ok(Response::new(indices.map(move |index| Ok(message(index, size)))))
}

/// Says what it has received.
async fn upload(request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
    let (mut stream, mut tally) = (request.into_inner(), Tally::default());
    while let Some(message) = stream.next().await {
        tally.add(&message?);
    }
    Ok(Response::new(tally.to_json().to_string().into()))
}

/// Says what ALTS proved about the client.
async fn peer(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    Ok(Response::new(view(context(&request)?).to_string().into()))
}

/// Serves the account that the request names, and no other.
async fn restricted(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let admitted = String::from_utf8_lossy(request.get_ref());
    context(&request)?
        .authorize(&[admitted])
        .map_err(|error| Status::permission_denied(error.to_string()))?;
    Ok(Response::new(Bytes::new()))
}

fn context(request: &Request<Bytes>) -> Result<&AltsContext, Status> {
    let info = request.extensions().get::<AltsConnectInfo>();
    Ok(info.ok_or_else(|| Status::internal("the connection is not ALTS"))?.context())
}
