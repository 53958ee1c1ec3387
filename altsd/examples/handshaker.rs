//! A handshaker service for trying things out: throw-away identities of one authority, each on an
//! address of its own.
//!
//! ```text
//! cargo run -p altsd --features grpc --example handshaker -- \
//!     --listen 127.0.0.61:8080=client@dev.test --listen 127.0.0.62:8080=server@dev.test
//! ```
//!
//! Prints one line for each address once it can be used. Port 0 takes any free one.
#![expect(clippy::print_stdout, reason = "what a program says")]

use std::{error::Error, net::SocketAddr, process::ExitCode};

use altsd::{dev::Authority, grpc::HandshakerServer};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::transport::{Server, server::TcpIncoming};

#[tokio::main]
async fn main() -> ExitCode {
    match serve(std::env::args().skip(1)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handshaker: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let authority = Authority::new()?;
    let mut services = JoinSet::new();
    for (address, account) in listeners(arguments)? {
        let handshaker = authority.handshaker(&account)?;
        let listener =
            TcpListener::bind(address).await.map_err(|why| format!("{address}: {why}"))?;
        println!("listening on {} as {account}", listener.local_addr()?);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let service = HandshakerServer::new(handshaker);
        services.spawn(Server::builder().serve_with_incoming(service, incoming));
    }
    // None of them ends unless it fails.
    while let Some(ended) = services.join_next().await {
        ended??;
    }
    Ok(())
}

const USAGE: &str = "usage: handshaker --listen ADDRESS:PORT=USER@DOMAIN.test [--listen …]";

fn listeners(
    mut arguments: impl Iterator<Item = String>,
) -> Result<Vec<(SocketAddr, String)>, Box<dyn Error>> {
    let mut listeners = Vec::new();
    while let Some(argument) = arguments.next() {
        let value = match argument.as_str() {
            "--listen" => arguments.next().ok_or(USAGE)?,
            _ => argument.strip_prefix("--listen=").ok_or(USAGE)?.to_owned(),
        };
        let (address, account) = value.split_once('=').ok_or(USAGE)?;
        listeners.push((address.parse()?, account.to_owned()));
    }
    if listeners.is_empty() { Err(USAGE.into()) } else { Ok(listeners) }
}
