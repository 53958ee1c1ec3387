//! An axum server and a client of hyper-util's over ALTS, with the handshaker in this process.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::error::Error;

use alts_handshaker::dev::Authority;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::routing::get;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio_alts::{
    AltsAcceptor, AltsConnectInfo, AltsConnector, AltsHttpConnector, AltsIncoming, ClientConfig,
    RequireServiceAccounts, ServerConfig,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let authority = Authority::new()?;
    // Each route says who may call it.
    let config = ServerConfig::builder().any_peer().application_protocols(["h2"]).build()?;
    let acceptor = AltsAcceptor::new(config, authority.handshaker("server@dev.test")?);
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor).await?;
    let address = incoming.local_addr().ok_or("not TCP")?;
    let closed = get(|| async { "never" }).layer(RequireServiceAccounts::new(["admin@dev.test"]));
    let router = Router::new().route("/", get(greet)).route("/closed", closed);
    let service = router.into_make_service_with_connect_info::<AltsConnectInfo>();
    tokio::spawn(async move { axum::serve(incoming, service).await });

    let config = ClientConfig::builder()
        .expect_peer("server@dev.test")
        .application_protocols(["h2"])
        .build()?;
    let connector = AltsConnector::new(config, authority.handshaker("client@dev.test")?);
    let client: Client<_, Body> =
        Client::builder(TokioExecutor::new()).build(AltsHttpConnector::new(connector));
    for (path, expected) in [("/", StatusCode::OK), ("/closed", StatusCode::FORBIDDEN)] {
        let response = client.get(format!("http://{address}{path}").parse()?).await?;
        let status = response.status();
        let body = to_bytes(Body::new(response.into_body()), 1024).await?;
        println!("{path}: {status} {}", String::from_utf8_lossy(&body));
        if status != expected {
            return Err(format!("{expected} was expected").into());
        }
    }
    Ok(())
}

async fn greet(ConnectInfo(info): ConnectInfo<AltsConnectInfo>) -> String {
    format!("hello {}", info.context().peer_service_account())
}
