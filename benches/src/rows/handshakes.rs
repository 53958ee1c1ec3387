//! Handshakes: CPU time of both sides and, where there is one, of the service.

use alts_handshaker::grpc::{AnyCaller, HandshakerServer};
use tokio::net::UnixListener;
use tokio_alts::{GrpcHandshaker, StreamOptions};
use tokio_stream::wrappers::UnixListenerStream;

use super::run::Run;
use crate::Outcome;
use crate::measure::{Goal, Row, interleaved, inverted, thread_time};
use crate::pipe::pipe;
use crate::runtime::runtime;
use crate::security::{Alts, Security, Tls, identities};

const AT_ONCE: usize = 8;

pub(super) fn run(run: &Run<'_>) -> Outcome<()> {
    let runtime = runtime()?;
    let tls = Security::Tls(Tls::new()?);
    let name = "handshake-in-process";
    if run.wants(name) {
        let alts = Security::Alts(Box::new(Alts::in_process(StreamOptions::new())?));
        compare(run, &runtime, name, 0.8, &alts, &tls)?;
    }
    let name = "handshake-service-over-grpc";
    if run.wants(name) {
        let alts = {
            let _entered = runtime.enter();
            behind_grpc()?
        };
        compare(run, &runtime, name, 0.5, &Security::Alts(Box::new(alts)), &tls)?;
    }
    Ok(())
}

/// Two handshaker services behind gRPC at UNIX sockets, on this thread.
fn behind_grpc() -> Outcome<Alts> {
    let (client, server) = identities()?;
    let client = GrpcHandshaker::at(&serve(client, "client")?)?;
    let server = GrpcHandshaker::at(&serve(server, "server")?)?;
    Alts::with(client, server, StreamOptions::new())
}

fn serve(handshaker: alts_handshaker::Handshaker, name: &str) -> Outcome<String> {
    let file = format!("alts-benches-{}-{name}.sock", std::process::id());
    let path = std::env::temp_dir().join(file);
    drop(std::fs::remove_file(&path));
    let connections = UnixListenerStream::new(UnixListener::bind(&path)?);
    let server = tonic::transport::Server::builder()
        .add_service(HandshakerServer::new(AnyCaller(handshaker)))
        .serve_with_incoming(connections);
    tokio::spawn(server);
    Ok(format!("unix:{}", path.display()))
}

fn compare(
    run: &Run<'_>,
    runtime: &tokio::runtime::Runtime,
    name: &str,
    goal: f64,
    alts: &Security,
    tls: &Security,
) -> Outcome<()> {
    let (mut fastest, mut their_fastest) = (f64::MAX, f64::MAX);
    let costs = interleaved(
        run.effort,
        || cost(runtime, alts, &mut fastest),
        || cost(runtime, tls, &mut their_fastest),
    )?;
    (run.note)(&format!(
        "{name}: {:.0} µs beside {:.0} µs of CPU time for both sides of a handshake at best",
        fastest * 1e6,
        their_fastest * 1e6
    ));
    (run.report)(&Row::new(name, Goal::AtLeast(goal), inverted(costs)));
    Ok(())
}

fn cost(runtime: &tokio::runtime::Runtime, security: &Security, fastest: &mut f64) -> Outcome<f64> {
    runtime.block_on(async {
        let start = thread_time()?;
        for _ in 0..AT_ONCE {
            drop(security.both(pipe()).await?);
        }
        let time = thread_time()? - start;
        *fastest = fastest.min(time / AT_ONCE as f64);
        Ok(time)
    })
}
