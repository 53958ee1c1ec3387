//! A handshaker service for any ALTS implementation: `alts-interop-handshaker IP:PORT=ACCOUNT…`
//!
//! Each address has an identity of its own, all of one throw-away authority.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // The test waits for what it prints.

use alts_interop::arguments::Failure;
use altsd::dev::Authority;
use altsd::grpc::HandshakerServer;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (authority, mut servers) = (Authority::new()?, JoinSet::new());
    for argument in std::env::args().skip(1) {
        let (address, account) =
            argument.split_once('=').ok_or("expected arguments like 127.0.0.61:8080=a@b.test")?;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let service = HandshakerServer::new(authority.handshaker(account)?);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        servers.spawn(Server::builder().serve_with_incoming(service, incoming));
        println!("{account} on {address}");
    }
    println!("listening on {} addresses", servers.len());
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
}
