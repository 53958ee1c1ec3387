//! A storm: many clients connect to one tonic server at once, and each makes a call.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_alts::{AltsIncoming, GrpcHandshaker, StreamOptions};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Server};

use super::idle::raise_descriptor_limit;
use super::peers::middle;
use super::rpc::{Echo, accept, client, unary};
use super::run::Run;
use crate::Outcome;
use crate::measure::{Goal, Row};
use crate::runtime::threads;
use crate::security::{Alts, Security, Tls, identities};
use crate::services::serve;

/// Clients that connect at the same time.
const CLIENTS: usize = 2000;
/// Rounds at most: each takes seconds.
const ROUNDS: usize = 7;
/// Connections that the kernel keeps until they are accepted: those of `AltsIncoming::bind`, for TLS too.
const BACKLOG: u32 = 4096;
/// How often a client tries before it gives up.
const ATTEMPTS: usize = 20;

pub(super) fn run(run: &Run<'_>) -> Outcome<()> {
    let (name, name_of_service) =
        (format!("storm-{CLIENTS}-in-process"), format!("storm-{CLIENTS}-service"));
    if !run.wants(&name) && !run.wants(&name_of_service) {
        return Ok(());
    }
    raise_descriptor_limit()?;
    // As many threads as processors, as tokio has them by default, for clients and server together.
    let runtime = threads(std::thread::available_parallelism()?.get())?;
    // The server's service has a thread of its own. The clients stand for as many machines, each with its
    // own service: they ask nobody else.
    let services = threads(1)?;
    let options = StreamOptions::new();
    let mut kinds = vec![(Security::Tls(Tls::new()?), None)];
    if run.wants(&name) {
        let (client, server) = identities()?;
        let alts = Alts::of_clients(CLIENTS, client, server, options)?;
        kinds.push((Security::Alts(Box::new(alts)), Some(name)));
    }
    if run.wants(&name_of_service) {
        let (client, server) = identities()?;
        let _entered = services.enter();
        let server = GrpcHandshaker::at(&serve(server, "storm")?)?;
        let alts = Alts::of_clients(CLIENTS, client, server, options)?;
        kinds.push((Security::Alts(Box::new(alts)), Some(name_of_service)));
    }
    measure(run, &runtime, &kinds)
}

/// All kinds in turn, TLS first.
fn measure(run: &Run<'_>, runtime: &Runtime, kinds: &[(Security, Option<String>)]) -> Outcome<()> {
    let mut servers = Vec::new();
    for (security, _) in kinds {
        servers.push(runtime.block_on(server(security))?);
    }
    let mut times = vec![Vec::new(); kinds.len()];
    let mut most = vec![0; kinds.len()];
    for round in 0..=run.effort.rounds.min(ROUNDS) {
        let all = times.iter_mut().zip(&mut most).zip(kinds).zip(&servers);
        for (((times, most_tries), (security, _)), address) in all {
            let (time, tries) = runtime.block_on(storm(security, *address))?;
            // The first round warms everything up.
            if round > 0 {
                times.push(time);
                *most_tries = tries.max(*most_tries);
            }
        }
    }
    let Some(tls) = times.first() else { return Ok(()) };
    for ((ours, most), (_, name)) in times.iter().zip(most).zip(kinds) {
        let Some(name) = name else { continue };
        (run.note)(&format!(
            "{name}: the last of {CLIENTS} clients has its answer after {:.2} s, over TLS after {:.2} s; \
             {most} connections at most",
            middle(ours.clone()),
            middle(tls.clone())
        ));
        let ratios = ours.iter().zip(tls).map(|(ours, tls)| ours / tls).collect();
        (run.report)(&Row::new(name, Goal::AtMost(1.1), ratios));
    }
    Ok(())
}

/// Seconds until all clients have had an answer, and how many connections that took. Who is sent away
/// comes again at once.
async fn storm(security: &Security, address: SocketAddr) -> Outcome<(f64, usize)> {
    let mut clients = JoinSet::new();
    let start = Instant::now();
    for _ in 0..CLIENTS {
        let security = security.clone();
        clients.spawn(async move {
            let mut last = "nobody has tried".into();
            for attempt in 1..=ATTEMPTS {
                match served(&security, address).await {
                    Ok(client) => return Ok((client, start.elapsed().as_secs_f64(), attempt)),
                    Err(error) => last = error,
                }
            }
            Outcome::Err(last)
        });
    }
    // All connections stay until the last client is served.
    let mut served = Vec::with_capacity(CLIENTS);
    while let Some(client) = clients.join_next().await {
        served.push(client??);
    }
    let last = served.iter().map(|(_, time, _)| *time).fold(0.0, f64::max);
    Ok((last, served.iter().map(|(_, _, attempts)| attempts).sum()))
}

/// A client that has had its answer.
async fn served(security: &Security, address: SocketAddr) -> Outcome<Grpc<Channel>> {
    let mut client = client(security.clone(), address).await?;
    unary(&mut client, 100, 1).await?;
    Ok(client)
}

/// A tonic server. Over ALTS its connections are `AltsIncoming`'s; over TLS their handshakes are made
/// as tonic makes them for its own TLS: all at once, in a task each.
async fn server(security: &Security) -> Outcome<SocketAddr> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::builder().add_service(Echo);
    if let Security::Alts(alts) = security {
        let incoming = AltsIncoming::bind(any, alts.acceptor.clone()).await?;
        let address = incoming.local_addr().ok_or("no address")?;
        tokio::spawn(server.serve_with_incoming(incoming));
        return Ok(address);
    }
    let socket = TcpSocket::new_v4()?;
    socket.bind(any)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    let (accepted, incoming) = mpsc::channel(CLIENTS);
    let security = security.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (security, accepted) = (security.clone(), accepted.clone());
            tokio::spawn(async move {
                Outcome::Ok(accepted.send(accept(&security, socket).await).await?)
            });
        }
    });
    tokio::spawn(server.serve_with_incoming(ReceiverStream::new(incoming)));
    Ok(address)
}
