//! Many connections at once in one process: what a byte costs on one of many.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_alts::StreamOptions;

use super::run::Run;
use crate::Outcome;
use crate::measure::{Goal, Row, median, thread_time};
use crate::runtime::runtime;
use crate::security::{Alts, Security, Stream, Tls};
use crate::tcp::tokio_pair;

const CONNECTIONS: [usize; 4] = [1, 10, 100, 1000];
/// A message, flushed, in bytes.
const MESSAGE: usize = 64 << 10;

pub(super) fn run(run: &Run<'_>) -> Outcome<()> {
    let names = CONNECTIONS.map(|count| format!("growth-{count}-beside-tls"));
    if !names.iter().any(|name| run.wants(name)) {
        return Ok(());
    }
    let runtime = runtime()?;
    let alts = Alts::in_process(StreamOptions::new())?;
    let all = [Security::Plain, Security::Alts(Box::new(alts)), Security::Tls(Tls::new()?)];
    let mut of_one = None;
    for (count, name) in CONNECTIONS.into_iter().zip(names) {
        if !run.wants(&name) {
            continue;
        }
        let mut kinds = [const { Vec::new() }; 3];
        for (connections, security) in kinds.iter_mut().zip(&all) {
            for _ in 0..count {
                let both = async { security.both(tokio_pair()?).await };
                connections.push(Some(runtime.block_on(both)?));
            }
        }
        let messages = run.effort.bytes.div_ceil(MESSAGE * count * 4).max(4);
        let (mut ratios, mut figures) = (Vec::new(), [const { Vec::new() }; 3]);
        for round in 0..=run.effort.rounds {
            let mut costs = [0.0; 3];
            for (cost, connections) in costs.iter_mut().zip(&mut kinds) {
                *cost = runtime.block_on(all_at_once(connections, messages))?;
            }
            // The first round warms everything up.
            if round > 0 {
                let [_, alts, tls] = costs;
                ratios.push(tls / alts);
                for (figures, cost) in figures.iter_mut().zip(costs) {
                    figures.push(cost / (count * messages * MESSAGE) as f64);
                }
            }
        }
        let figures = figures.map(|mut costs| {
            costs.sort_by(f64::total_cmp);
            median(&costs)
        });
        let [plain, alts, tls] = figures.map(|cost| cost * 1e12);
        let of_one = *of_one.get_or_insert(alts);
        (run.note)(&format!(
            "{name}: ps of CPU time a byte: ALTS {alts:.0}, TLS {tls:.0}, plain {plain:.0}; ALTS {:.2} x its throughput with the fewest connections",
            of_one / alts
        ));
        (run.report)(&Row::new(name, Goal::AtLeast(1.35), ratios));
    }
    Ok(())
}

/// CPU time of this many messages over each connection, all connections concurrently; both ends
/// of each in one task, on this thread.
async fn all_at_once(
    connections: &mut [Option<(Stream, Stream)>],
    messages: usize,
) -> Outcome<f64> {
    let mut tasks = JoinSet::new();
    let start = thread_time()?;
    for (number, connection) in connections.iter_mut().enumerate() {
        let (mut client, mut server) = connection.take().ok_or("the connection has failed")?;
        tasks.spawn(async move {
            let sent = vec![5; MESSAGE];
            let mut arrived = vec![0; MESSAGE];
            let write = async {
                for _ in 0..messages {
                    client.write_all(&sent).await?;
                    client.flush().await?;
                }
                Ok::<_, std::io::Error>(())
            };
            let read = async {
                for _ in 0..messages {
                    server.read_exact(&mut arrived).await?;
                }
                Ok::<_, std::io::Error>(())
            };
            tokio::try_join!(write, read)?;
            Ok::<_, std::io::Error>((number, (client, server)))
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (number, ends) = done??;
        *connections.get_mut(number).ok_or("no such connection")? = Some(ends);
    }
    Ok(thread_time()? - start)
}
