//! A gRPC server and a gRPC client that talk over ALTS, with the handshaker in this process.
//!
//! It shows what ALTS proves to either side, a call that authorization refuses, a server that the
//! client refuses, and what a listener on the wire would have seen. It ends with status 0 only if
//! all of that went as it should.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

mod service;
mod wire;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alts_core::AltsContext;
use alts_handshaker::Handshaker;
use alts_handshaker::dev::Authority;
use tokio_alts::{
    AltsAcceptor, AltsConnector, AltsHttpConnector, AltsIncoming, AltsRequest, ClientConfig,
    RequireServiceAccounts, ServerConfig,
};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status};
use wire::Wire;

use crate::service::{Client, Greeter, HELLOS, Vault};

const SERVER: &str = "greeter@prod.example";
const CLIENT: &str = "visitor@prod.example";
const STRANGER: &str = "somebody.else@prod.example";
/// What a listener must not see: the caller's name, the greeting, HTTP/2's and gRPC's own words.
const NAME: &str = "Ferris the crab";
const IN_THE_CLEAR: [&str; 4] = [NAME, "Hello ", "PRI * HTTP/2.0", "application/grpc"];

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    // Two identities of an authority that lives in this process only.
    let authority = Authority::new()?;
    let server = serve(authority.handshaker(SERVER)?).await?;
    let wire = Wire::in_front_of(server).await?;
    let visitor = authority.handshaker(CLIENT)?;

    let mut client = Client::new(connect(&wire, visitor.clone(), SERVER).await?);
    greet(&mut client).await?;
    println!("greeter: one call and a stream of {HELLOS} replies, each knows its caller");

    match client.open_vault(NAME).await {
        Err(status) if status.code() == Code::PermissionDenied => {
            println!("authorization refuses a call: PERMISSION_DENIED: {}", status.message());
        }
        other => return Err(format!("the vault should have been closed: {other:?}").into()),
    }

    match connect(&wire, visitor, STRANGER).await {
        Ok(_) => return Err("the client should have refused the server".into()),
        Err(error) => {
            let error = alts_error(&*error).ok_or("the error is not one of ALTS")?;
            let text = error.to_string();
            if !text.contains(SERVER) || !text.contains(STRANGER) {
                return Err(format!("the error does not name both accounts: {text}").into());
            }
            println!("the client refuses a server: {text}");
        }
    }

    // The same calls without ALTS show that the listener would have noticed.
    let plain = Wire::in_front_of(serve_in_the_clear()?).await?;
    let channel = Endpoint::from_shared(format!("http://{}", plain.address()))?.connect().await?;
    greet(&mut Client::new(channel)).await?;
    let (seen, control) = (wire.in_the_clear(&IN_THE_CLEAR), plain.in_the_clear(&IN_THE_CLEAR));
    if seen != 0 || wire.heard() == 0 || control == 0 {
        return Err(format!("bytes in the clear: {seen}, and {control} without ALTS").into());
    }
    println!(
        "a listener on the wire saw {} bytes, in the clear: none (without ALTS: {control} of {})",
        wire.heard(),
        plain.heard()
    );
    Ok(())
}

/// A unary call and a streaming one.
async fn greet(client: &mut Client) -> Outcome<()> {
    let reply = client.say_hello(NAME).await?;
    if !reply.message.contains(NAME) {
        return Err(format!("unexpected reply: {reply:?}").into());
    }
    let mut replies = client.say_hellos(NAME).await?;
    let mut count = 0;
    while let Some(next) = replies.message().await? {
        if next != reply {
            return Err(format!("unexpected reply in the stream: {next:?}").into());
        }
        count += 1;
    }
    if count == HELLOS { Ok(()) } else { Err(format!("{count} replies in the stream").into()) }
}

/// A server with a greeter for everybody, and a vault only for the stranger.
async fn serve(handshaker: Handshaker) -> Outcome<SocketAddr> {
    // Any client may connect: each service has its rule.
    let config = ServerConfig::builder().any_peer().build()?;
    let acceptor = AltsAcceptor::new(config, handshaker);
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor).await?;
    let address = incoming.local_addr().ok_or("no local address")?;
    let greeter = InterceptedService::new(Greeter, show_once());
    let vault = InterceptedService::new(Vault, RequireServiceAccounts::new([STRANGER]));
    let server = Server::builder().add_service(greeter).add_service(vault);
    tokio::spawn(server.serve_with_incoming(incoming));
    Ok(address)
}

/// An interceptor that shows what ALTS has proved to the server, with the first call.
fn show_once() -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone {
    let shown = Arc::new(AtomicBool::new(false));
    move |request: Request<()>| {
        let context = request.alts_context().ok_or(Status::unauthenticated("no ALTS"))?;
        if !shown.swap(true, Ordering::Relaxed) {
            show("server", context);
        }
        Ok(request)
    }
}

/// A channel to the server behind `wire`, which has to be `expected`.
async fn connect(wire: &Wire, handshaker: Handshaker, expected: &str) -> Outcome<Channel> {
    let config = ClientConfig::builder().expect_peer(expected).build()?;
    let connector = AltsHttpConnector::new(AltsConnector::new(config, handshaker))
        .on_established(|info| show("client", info.context()));
    let endpoint = Endpoint::from_shared(format!("http://{}", wire.address()))?;
    Ok(endpoint.connect_with_connector(connector).await?)
}

/// The same greeter without ALTS.
fn serve_in_the_clear() -> Outcome<SocketAddr> {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    let address = incoming.local_addr()?;
    tokio::spawn(Server::builder().add_service(Greeter).serve_with_incoming(incoming));
    Ok(address)
}

fn show(side: &str, context: &AltsContext) {
    println!(
        "{side}: peer={} local={} record={} security={} app={}",
        context.peer_service_account(),
        context.local_service_account(),
        context.record_protocol(),
        context.security_level(),
        context.application_protocol()
    );
}

/// The error of ALTS among the causes of `error`.
fn alts_error<'e>(mut error: &'e (dyn Error + 'static)) -> Option<&'e tokio_alts::Error> {
    loop {
        match error.downcast_ref() {
            Some(found) => return Some(found),
            None => error = error.source()?,
        }
    }
}
