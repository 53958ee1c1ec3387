//! A stream of replies over ALTS: a client watches what a server says of one of its services.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::error::Error;

use alts_handshaker::dev::Authority;
use tokio_alts::{
    AltsAcceptor, AltsConnector, AltsHttpConnector, AltsIncoming, ClientConfig, ServerConfig,
};
use tonic::transport::{Endpoint, Server};
use tonic_health::ServingStatus::{NotServing, Serving};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const DOOR: &str = "door";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let authority = Authority::new()?;
    let config = ServerConfig::builder().expect_peer("client@dev.test").build()?;
    let acceptor = AltsAcceptor::new(config, authority.handshaker("server@dev.test")?);
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor).await?;
    let address = incoming.local_addr().ok_or("not TCP")?;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(DOOR, Serving).await;
    tokio::spawn(Server::builder().add_service(health).serve_with_incoming(incoming));

    let config = ClientConfig::builder().expect_peer("server@dev.test").build()?;
    let connector = AltsConnector::new(config, authority.handshaker("client@dev.test")?);
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let channel = endpoint.connect_with_connector(AltsHttpConnector::new(connector)).await?;
    let request = HealthCheckRequest { service: DOOR.to_owned() };
    let mut replies = HealthClient::new(channel).watch(request).await?.into_inner();
    for (expected, then) in
        [("SERVING", NotServing), ("NOT_SERVING", Serving), ("SERVING", Serving)]
    {
        let reply = replies.message().await?.ok_or("the stream ended early")?;
        let told = reply.status().as_str_name();
        println!("client: the door is {told}");
        if told != expected {
            return Err(format!("{expected} was said").into());
        }
        reporter.set_service_status(DOOR, then).await;
    }
    Ok(())
}
