//! The time until a client has the first byte of an answer, over links of different lengths.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio_alts::{GrpcHandshaker, StreamOptions};

use super::run::Run;
use crate::Outcome;
use crate::measure::{Goal, Row, median};
use crate::relay::distant_pair;
use crate::runtime::{runtime, threads};
use crate::security::{Alts, Security, Tls, identities};
use crate::services::serve;

/// Milliseconds that a round trip takes, and connections of one kind in a round.
const LINKS: [(u64, usize); 3] = [(1, 20), (20, 4), (100, 1)];
/// A question and its answer, in bytes.
const MESSAGE: usize = 100;

/// What stands where: a client, a server and their handshaker services have a thread each, as they would
/// have a processor each.
struct Places {
    client: Runtime,
    server: Runtime,
    services: Runtime,
}

pub(super) fn run(run: &Run<'_>) -> Outcome<()> {
    let names = LINKS.map(|(link, _)| {
        ["in-process", "service"].map(|where_to| format!("first-byte-{link}ms-{where_to}"))
    });
    if !names.iter().flatten().any(|name| run.wants(name)) {
        return Ok(());
    }
    let places = Places { client: runtime()?, server: threads(1)?, services: threads(1)? };
    let tls = Security::Tls(Tls::new()?);
    let in_process = Security::Alts(Box::new(Alts::in_process(StreamOptions::new())?));
    let behind_grpc = Security::Alts(Box::new(behind_grpc(&places.services)?));
    for ((link, count), [name, name_of_service]) in LINKS.into_iter().zip(names) {
        let mut kinds = vec![(Security::Plain, None), (tls.clone(), None)];
        if run.wants(&name) {
            kinds.push((in_process.clone(), Some(name)));
        }
        if run.wants(&name_of_service) {
            kinds.push((behind_grpc.clone(), Some(name_of_service)));
        }
        if kinds.len() > 2 {
            over(run, &places, Duration::from_micros(link * 500), count, &kinds)?;
        }
    }
    Ok(())
}

fn behind_grpc(services: &Runtime) -> Outcome<Alts> {
    let (client, server) = identities()?;
    let _entered = services.enter();
    let client = GrpcHandshaker::at(&serve(client, "distant-client")?)?;
    let server = GrpcHandshaker::at(&serve(server, "distant-server")?)?;
    Alts::with(client, server, StreamOptions::new())
}

/// The rows of one link: the kinds of connections in turn, the plain one first and then TLS.
fn over(
    run: &Run<'_>,
    places: &Places,
    delay: Duration,
    count: usize,
    kinds: &[(Security, Option<String>)],
) -> Outcome<()> {
    let mut times = vec![Vec::new(); kinds.len()];
    for round in 0..=run.effort.rounds {
        let mut sums = vec![0.0; kinds.len()];
        for _ in 0..count {
            for (sum, (security, _)) in sums.iter_mut().zip(kinds) {
                *sum += first_byte(places, security, distant_pair(delay)?)?;
            }
        }
        // The first round warms everything up.
        if round > 0 {
            for (times, sum) in times.iter_mut().zip(sums) {
                times.push(sum / count as f64);
            }
        }
    }
    let middle = |times: &Vec<f64>| {
        let mut sorted = times.clone();
        sorted.sort_by(f64::total_cmp);
        median(&sorted) * 1e3
    };
    let [plain, tls, ..] = &*times else { return Ok(()) };
    for (ours, (_, name)) in times.iter().zip(kinds) {
        let Some(name) = name else { continue };
        (run.note)(&format!(
            "{name}: {:.2} ms beside {:.2} ms; {:.2} ms on a plain connection",
            middle(ours),
            middle(tls),
            middle(plain)
        ));
        let ratios = ours.iter().zip(tls).map(|(ours, tls)| ours / tls).collect();
        (run.report)(&Row::new(name, Goal::AtMost(1.05), ratios));
    }
    Ok(())
}

/// Seconds from the beginning of the handshake, on a connection that is there, to the answer.
fn first_byte(
    places: &Places,
    security: &Security,
    (client, server): (TcpStream, TcpStream),
) -> Outcome<f64> {
    let acceptor = security.clone();
    let serving = places.server.spawn(async move {
        let mut stream = acceptor.accept(tokio::net::TcpStream::from_std(server)?).await?;
        let mut message = [0; MESSAGE];
        stream.read_exact(&mut message).await?;
        stream.write_all(&message).await?;
        stream.flush().await?;
        // The client ends the connection.
        drop(stream.read(&mut message).await);
        Outcome::Ok(())
    });
    places.client.block_on(async {
        let socket = tokio::net::TcpStream::from_std(client)?;
        let start = Instant::now();
        let mut stream = security.connect(socket).await?;
        stream.write_all(&[5; MESSAGE]).await?;
        stream.flush().await?;
        _ = stream.read_u8().await?;
        let time = start.elapsed().as_secs_f64();
        drop(stream);
        serving.await??;
        Ok(time)
    })
}
