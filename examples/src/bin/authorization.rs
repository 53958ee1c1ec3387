//! Who may call: a layer for a whole tonic server, a rule for one method, and calls that are refused.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::error::Error;

use alts_handshaker::dev::Authority;
use tokio_alts::{
    AltsAcceptor, AltsConnector, AltsHttpConnector, AltsIncoming, AltsRequest, ClientConfig,
    RequireServiceAccounts, ServerConfig, StatusCode,
};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const SERVER: &str = "server@dev.test";
const READER: &str = "reader@dev.test";
const WRITER: &str = "writer@dev.test";
const STRANGER: &str = "stranger@dev.test";

/// A service that readers and writers may check, and only writers may watch.
struct Door;

#[tonic::async_trait]
impl Health for Door {
    type WatchStream = tokio_stream::Once<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        // A call that gets this far was admitted by the layer.
        Ok(Response::new(serving()))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let context = request.alts_context().ok_or(Status::unauthenticated("not over ALTS"))?;
        context.authorize(&[WRITER]).map_err(|_| Status::permission_denied("for writers only"))?;
        Ok(Response::new(tokio_stream::once(Ok(serving()))))
    }
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: ServingStatus::Serving.into() }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let authority = Authority::new()?;
    // Any client may connect: the layer below decides which calls are answered.
    let config = ServerConfig::builder().any_peer().build()?;
    let acceptor = AltsAcceptor::new(config, authority.handshaker(SERVER)?);
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor).await?;
    let address = incoming.local_addr().ok_or("not TCP")?;
    let server = || {
        Server::builder()
            .layer(RequireServiceAccounts::new([READER, WRITER]))
            .add_service(HealthServer::new(Door))
    };
    tokio::spawn(server().serve_with_incoming(incoming));

    for (account, may_check, may_watch) in
        [(READER, true, false), (WRITER, true, true), (STRANGER, false, false)]
    {
        let config = ClientConfig::builder().expect_peer(SERVER).build()?;
        let connector = AltsConnector::new(config, authority.handshaker(account)?);
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let channel = endpoint.connect_with_connector(AltsHttpConnector::new(connector)).await?;
        let (checked, watched) = call(account, channel).await;
        if (checked, watched) != (may_check, may_watch) {
            return Err(
                format!("{account} got what it should not, or did not what it should").into()
            );
        }
    }

    // The same server without ALTS: nobody has an account.
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    let address = incoming.local_addr()?;
    tokio::spawn(server().serve_with_incoming(incoming));
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    match call("without ALTS", channel).await {
        (false, false) => Ok(()),
        _ => Err("somebody without an account was served".into()),
    }
}

/// Calls both methods, says what came of it, and whether they were served.
async fn call(who: &str, channel: Channel) -> (bool, bool) {
    let mut client = HealthClient::new(channel);
    let request = || HealthCheckRequest { service: String::new() };
    let checked = client.check(request()).await.map(|reply| reply.into_inner().status());
    let watched = client.watch(request()).await.map(|_| ServingStatus::Serving);
    for (method, outcome) in [("check", &checked), ("watch", &watched)] {
        match outcome {
            Ok(status) => println!("{who}: {method}: {}", status.as_str_name()),
            Err(status) => {
                let code = StatusCode(status.code() as u32);
                println!("{who}: {method}: {code}: {}", status.message());
            }
        }
    }
    (checked.is_ok(), watched.is_ok())
}
