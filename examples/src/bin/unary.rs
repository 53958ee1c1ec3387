//! The least that a tonic server and client need: one unary call over ALTS.
//!
//! The handshaker runs in this process, unless there are arguments: the addresses of the client's and
//! of the server's handshaker service, and the server's account there.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use alts_handshaker::dev::Authority;
use tokio_alts::{
    AltsAcceptor, AltsConnectInfo, AltsConnector, AltsHttpConnector, AltsIncoming, AltsRequest,
    ClientConfig, GrpcHandshaker, HandshakerService, ServerConfig,
};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

type Service = Arc<dyn HandshakerService>;

const SERVER: &str = "server@dev.test";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("client: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let (client, server): (Service, Service) = match (arguments.next(), arguments.next()) {
        (Some(client), Some(server)) => {
            (Arc::new(GrpcHandshaker::at(&client)?), Arc::new(GrpcHandshaker::at(&server)?))
        }
        (Some(_), None) => return Err("give both services' addresses, or none".into()),
        (None, _) => {
            let authority = Authority::new()?;
            let client = authority.handshaker("client@dev.test")?;
            (Arc::new(client), Arc::new(authority.handshaker(SERVER)?))
        }
    };
    let expected = arguments.next().unwrap_or_else(|| SERVER.to_owned());

    // The server: gRPC's health service, which comes with tonic; any other would do.
    // Any client may connect: this service answers everybody.
    let config = ServerConfig::builder().any_peer().build()?;
    let acceptor = AltsAcceptor::new(config, server);
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor).await?;
    let address = incoming.local_addr().ok_or("not TCP")?;
    let (_reporter, health) = health_reporter();
    let health = InterceptedService::new(health, tell_who_calls);
    tokio::spawn(Server::builder().add_service(health).serve_with_incoming(incoming));

    // The client.
    let config = ClientConfig::builder().expect_peer(&expected).build()?;
    let connector = AltsHttpConnector::new(AltsConnector::new(config, client));
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let mut client = HealthClient::new(endpoint.connect_with_connector(connector).await?);
    let request = HealthCheckRequest { service: String::new() };
    let status = client.check(request).await?.into_inner().status();
    println!("client: {expected} says {}", status.as_str_name());
    Ok(())
}

/// An interceptor: what a method sees too.
fn tell_who_calls(request: Request<()>) -> Result<Request<()>, Status> {
    let context = request.alts_context().ok_or(Status::unauthenticated("not over ALTS"))?;
    let from = request.extensions().get().and_then(AltsConnectInfo::remote_addr);
    let from = from.map_or("nowhere".to_owned(), |address| address.to_string());
    println!("server: {} calls, from {from}", context.peer_service_account());
    Ok(request)
}

/// An error and what led to it, once each: tonic's own says "transport error", and what matters is
/// behind it.
fn with_causes(error: &dyn Error) -> String {
    let text = error.to_string();
    match error.source().map(with_causes) {
        Some(causes) if causes.starts_with(&text) => causes,
        Some(causes) if !text.ends_with(&causes) => format!("{text}: {causes}"),
        _ => text,
    }
}
