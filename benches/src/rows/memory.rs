//! Streams without a kernel: one thread writes a message and reads it at the other end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_alts::StreamOptions;

use super::run::Run;
use crate::Outcome;
use crate::measure::{Goal, Row, interleaved, inverted, thread_time};
use crate::pipe::pipe;
use crate::runtime::runtime;
use crate::security::{Alts, Duplex, Security, Stream, Tls};

pub(super) fn run(run: &Run<'_>) -> Outcome<()> {
    let runtime = runtime()?;
    let alts = Security::Alts(Box::new(Alts::in_process(StreamOptions::new())?));
    let tls = Security::Tls(Tls::new()?);
    for (name, size, goal) in [
        ("memory-stream-65536-throughput", 64 << 10, Goal::AtLeast(1.6)),
        ("memory-stream-100-time", 100, Goal::AtMost(0.4)),
    ] {
        if !run.wants(name) {
            continue;
        }
        let mut ours = runtime.block_on(alts.both(pipe()))?;
        let mut theirs = runtime.block_on(tls.both(pipe()))?;
        let count = (1 << 20) / size.max(1024);
        let (mut fastest, mut their_fastest) = (f64::MAX, f64::MAX);
        let costs = interleaved(
            run.effort,
            || Ok(noted(in_turn(&runtime, &mut ours, size, count)?, &mut fastest)),
            || Ok(noted(in_turn(&runtime, &mut theirs, size, count)?, &mut their_fastest)),
        )?;
        (run.note)(&format!(
            "{name}: {:.0} ns beside {:.0} ns a message at best",
            fastest * 1e9 / count as f64,
            their_fastest * 1e9 / count as f64
        ));
        let ratios = if matches!(goal, Goal::AtLeast(_)) { inverted(costs) } else { costs };
        (run.report)(&Row::new(name, goal, ratios));
    }
    Ok(())
}

/// The same time, and the fastest one so far.
fn noted(time: f64, fastest: &mut f64) -> f64 {
    *fastest = fastest.min(time);
    time
}

/// CPU time of `count` messages from one end to the other, one after the other, in seconds.
///
/// # Errors
/// Those of the connection.
pub fn in_turn<IO: Duplex>(
    runtime: &tokio::runtime::Runtime,
    (writer, reader): &mut (Stream<IO>, Stream<IO>),
    size: usize,
    count: usize,
) -> Outcome<f64> {
    let message = vec![5; size];
    let mut arrived = vec![0; size];
    runtime.block_on(async {
        let start = thread_time()?;
        for _ in 0..count {
            writer.write_all(&message).await?;
            reader.read_exact(&mut arrived).await?;
        }
        Ok(thread_time()? - start)
    })
}
