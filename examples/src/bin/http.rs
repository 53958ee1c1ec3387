//! Plain hyper over ALTS: HTTP/1.1, one connection, and each end says who is at the other.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::convert::Infallible;
use std::error::Error;

use alts_handshaker::dev::Authority;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_alts::{AltsAcceptor, AltsConnector, ClientConfig, ServerConfig};

/// What HTTP/1.1 is called in a handshake; both ends have to offer it.
const HTTP: [&str; 1] = ["http/1.1"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let authority = Authority::new()?;
    let config = ServerConfig::builder()
        .expect_peer("client@dev.test")
        .application_protocols(HTTP)
        .build()?;
    let acceptor = AltsAcceptor::new(config, authority.handshaker("server@dev.test")?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await?;
        let stream = acceptor.accept(socket).await?;
        let peer = stream.context().peer_service_account().to_owned();
        let greet = service_fn(move |request: Request<Incoming>| {
            let body = format!("{} for {peer}", request.uri());
            async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body)))) }
        });
        let connection = hyper::server::conn::http1::Builder::new();
        connection.serve_connection(TokioIo::new(stream), greet).await?;
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    });

    let config = ClientConfig::builder()
        .expect_peer("server@dev.test")
        .application_protocols(HTTP)
        .build()?;
    let connector = AltsConnector::new(config, authority.handshaker("client@dev.test")?);
    let stream = connector.connect(TcpStream::connect(address).await?).await?;
    println!("client: connected to {}", stream.context().peer_service_account());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    for path in ["/first", "/second"] {
        let request = Request::get(path).body(Empty::<Bytes>::new())?;
        // One request after the other: HTTP/1.1 has no second one under way.
        sender.ready().await?;
        let body = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
        println!("client: {}", String::from_utf8_lossy(&body));
        if body != format!("{path} for client@dev.test") {
            return Err("that is another answer".into());
        }
    }
    drop(sender);
    connection.await??;
    server.await?
}
