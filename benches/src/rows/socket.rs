//! Streams over the loopback interface: CPU time of both ends, the kernel's included.

use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_alts::StreamOptions;

use super::run::Run;
use crate::Outcome;
use crate::aead::{Batch, Raw, batch_len};
use crate::measure::{Goal, Row, median, process_time, thread_time, timed};
use crate::runtime::runtime;
use crate::security::{Alts, Security, Stream, Tls};
use crate::tcp::{pair, tokio_pair};

/// How a writer writes.
#[derive(Clone, Copy)]
pub(super) struct Pattern {
    /// Bytes of a write.
    pub(super) size: usize,
    /// Bytes between flushes.
    flush: usize,
}

/// Large writes, each of them flushed.
pub(super) const BULK: Pattern = Pattern { size: 64 << 10, flush: 64 << 10 };

pub(super) fn run(run: &Run<'_>) -> Outcome<()> {
    let tls = Security::Tls(Tls::new()?);
    let alts = Security::Alts(Box::new(Alts::in_process(StreamOptions::new())?));
    let held = StreamOptions::new().hold_until_flush(true);
    let held = Security::Alts(Box::new(Alts::in_process(held)?));
    bulk(run, &alts, &tls)?;
    for (name, pattern, ours, goal) in [
        ("tcp-1048576-beside-tls", Pattern { size: 1 << 20, flush: 1 << 20 }, &alts, 1.65),
        ("tcp-1024-held-beside-tls", Pattern { size: 1024, flush: 64 << 10 }, &held, 4.0),
        ("tcp-4096-held-beside-tls", Pattern { size: 4096, flush: 64 << 10 }, &held, 2.0),
    ] {
        if !run.wants(name) {
            continue;
        }
        let bytes = run.effort.bytes / if pattern.size < 8192 { 8 } else { 1 };
        let mut ratios = Vec::new();
        for _ in 0..run.effort.rounds {
            let (ours, theirs) = (send(ours, pattern, bytes)?, send(&tls, pattern, bytes)?);
            ratios.push(theirs / ours);
        }
        (run.report)(&Row::new(name, Goal::AtLeast(goal), ratios));
    }
    ping_pong(run, &alts, &tls)
}

/// 64 KiB writes, beside everything.
fn bulk(run: &Run<'_>, alts: &Security, tls: &Security) -> Outcome<()> {
    let names = ["tls", "plain", "ceiling"].map(|beside| format!("tcp-65536-beside-{beside}"));
    if !names.iter().any(|name| run.wants(name)) {
        return Ok(());
    }
    let mut aead = Raw::aws_lc(BULK.size)?;
    let mut ratios = [const { Vec::new() }; 3];
    let mut absolute = [const { Vec::new() }; 4];
    for _ in 0..run.effort.rounds {
        let bytes = run.effort.bytes;
        let ours = send(alts, BULK, bytes)?;
        let theirs = send(tls, BULK, bytes)?;
        let plain = send(&Security::Plain, BULK, bytes)?;
        let (mut sealing, rounds) = (0.0, 100);
        for _ in 0..rounds {
            sealing += timed(|| aead.seal().and_then(|()| aead.open()))?;
        }
        sealing /= (rounds * batch_len(BULK.size) * BULK.size) as f64;
        let measured = [theirs, plain, plain + sealing];
        for (ratios, beside) in ratios.iter_mut().zip(measured) {
            ratios.push(beside / ours);
        }
        for (absolute, cost) in absolute.iter_mut().zip([ours, theirs, plain, sealing]) {
            absolute.push(cost);
        }
    }
    let [ours, theirs, plain, sealing] = absolute.map(|mut costs| {
        costs.sort_by(f64::total_cmp);
        median(&costs) * 1e12
    });
    (run.note)(&format!(
        "tcp-65536: ps of CPU time a byte: ALTS {ours:.0}, TLS {theirs:.0}, plain {plain:.0}, AEAD alone {sealing:.0}"
    ));
    for ((name, goal), ratios) in names.into_iter().zip([1.35, 0.75, 0.95]).zip(ratios) {
        if run.wants(&name) {
            (run.report)(&Row::new(name, Goal::AtLeast(goal), ratios));
        }
    }
    Ok(())
}

/// CPU time for each byte, of a writer and a reader in threads of their own.
pub(super) fn send(security: &Security, pattern: Pattern, bytes: usize) -> Outcome<f64> {
    let (client, server) = pair()?;
    let (ready, is_ready) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let writer = security.clone();
    let writer = thread::spawn(move || write(&writer, client, pattern, bytes, &ready, &may_go));
    let read = runtime()?.block_on(async {
        let mut stream = security.accept(tokio::net::TcpStream::from_std(server)?).await?;
        let mut arrived = vec![0; 256 << 10];
        // The first message warms everything up.
        stream.read_exact(&mut arrived).await?;
        is_ready.recv()?;
        let start = process_time()?;
        go.send(())?;
        let mut left = bytes;
        while left > 0 {
            let count = stream.read(&mut arrived).await?;
            if count == 0 {
                return Err("the writer has gone".into());
            }
            left = left.saturating_sub(count);
        }
        Ok((process_time()? - start) / bytes as f64)
    });
    writer.join().map_err(|_| "the writer has failed")??;
    read
}

fn write(
    security: &Security,
    socket: TcpStream,
    pattern: Pattern,
    bytes: usize,
    ready: &mpsc::Sender<()>,
    may_go: &mpsc::Receiver<()>,
) -> Outcome<()> {
    runtime()?.block_on(async {
        let mut stream = security.connect(tokio::net::TcpStream::from_std(socket)?).await?;
        stream.write_all(&vec![5; 256 << 10]).await?;
        stream.flush().await?;
        ready.send(())?;
        may_go.recv()?;
        let message = vec![5; pattern.size];
        let mut unflushed = 0;
        for _ in 0..bytes / pattern.size {
            stream.write_all(&message).await?;
            unflushed += pattern.size;
            if unflushed >= pattern.flush {
                stream.flush().await?;
                unflushed = 0;
            }
        }
        stream.flush().await?;
        Ok(())
    })
}

/// What security adds to a question and an answer of 100 bytes, on one thread.
fn ping_pong(run: &Run<'_>, alts: &Security, tls: &Security) -> Outcome<()> {
    let name = "tcp-ping-pong-addition";
    if !run.wants(name) {
        return Ok(());
    }
    let runtime = runtime()?;
    let ends = |security: &Security| {
        runtime.block_on(async { Outcome::Ok(Some(security.both(tokio_pair()?).await?)) })
    };
    let mut all = [ends(&Security::Plain)?, ends(alts)?, ends(tls)?];
    run.addition(name, Goal::AtMost(0.6), &mut all, |ends| runtime.block_on(questions(ends, 50)))
}

/// CPU time of `count` questions and their answers. Each end has a task of its own and waits for the
/// other one, as it would over a network: in one task a plain connection would find everything there.
async fn questions(ends: &mut Option<(Stream, Stream)>, count: usize) -> Outcome<f64> {
    let (mut client, mut server) = ends.take().ok_or("the connection has failed")?;
    let start = thread_time()?;
    let answers = tokio::spawn(async move {
        let mut message = [5; 100];
        for _ in 0..count {
            server.read_exact(&mut message).await?;
            server.write_all(&message).await?;
            server.flush().await?;
        }
        Ok::<_, std::io::Error>(server)
    });
    let mut message = [5; 100];
    for _ in 0..count {
        client.write_all(&message).await?;
        client.flush().await?;
        client.read_exact(&mut message).await?;
    }
    let server = answers.await??;
    let time = thread_time()? - start;
    *ends = Some((client, server));
    Ok(time)
}
