//! Other implementations of gRPC beside ours: each one's ALTS, and what it adds to its own plaintext.

use super::idle;
use super::memory::in_turn;
use super::rpc::{LARGE, STREAM, UNARY, calls, channel};
use super::run::Run;
use super::socket::{BULK, send};
use crate::Outcome;
use crate::measure::{Goal, Row, median};
use crate::peer::Peer;
use crate::pipe::pipe;
use crate::runtime::runtime;
use crate::security::{Alts, Security};

/// Idle connections of a peer: handshakes through the service take their time.
const IDLE: usize = 1000;
/// How often a round asks a peer, in turn with what stands beside it.
pub(super) const TURNS: usize = 4;

pub(super) fn run(run: &Run<'_>) -> Outcome<()> {
    for name in ["grpc-go", "grpcio"] {
        let prefix = format!("peer-{name}");
        if !run.wants(&prefix) && !run.only.starts_with(&prefix) {
            continue;
        }
        match run.serve_peers().and_then(|()| Peer::start(name)) {
            Ok(mut peer) => {
                if name == "grpc-go" {
                    connections(run, &prefix, &mut peer)?;
                }
                relative(run, &prefix, &mut peer)?;
            }
            Err(why) => (run.note)(&format!("skipped: {prefix}: {why}")),
        }
    }
    Ok(())
}

/// The peer's connections: in memory, where the record layer is most of it, over the loopback
/// interface, and idle.
fn connections(run: &Run<'_>, prefix: &str, peer: &mut Peer) -> Outcome<()> {
    let alts = Security::Alts(Box::new(Alts::in_process(tokio_alts::StreamOptions::new())?));
    let size = BULK.size;
    let name = format!("{prefix}-record-{size}");
    if run.wants(&name) {
        let runtime = runtime()?;
        let mut ends = runtime.block_on(alts.both(pipe()))?;
        let count = run.effort.bytes / size / 8;
        let bytes = (count * size) as f64;
        row(run, name, 2.3, || {
            let ours = in_turn(&runtime, &mut ends, size, count)?;
            Ok((ours / bytes, peer.ask("record", size, count)? / bytes))
        })?;
    }
    let name = format!("{prefix}-connection-{size}");
    if run.wants(&name) {
        let bytes = run.effort.bytes / 2;
        row(run, name, 1.6, || {
            Ok((send(&alts, BULK, bytes)?, peer.ask("alts", size, bytes / size)? / bytes as f64))
        })?;
    }
    let name = format!("{prefix}-idle-memory");
    if run.wants(&name) {
        let ours = idle::of_alts(IDLE)?;
        let [plain, alts] =
            ["idle-plain", "idle-alts"].map(|what| peer.ask(what, idle::MESSAGE, IDLE));
        let theirs = alts? - plain?;
        (run.note)(&format!("{name}: {ours:.0} bytes beside {theirs:.0}, without the socket's"));
        (run.report)(&Row::new(name, Goal::AtMost(0.25), vec![ours / theirs]));
    }
    Ok(())
}

/// A row with the peer's CPU time as a multiple of ours; `cost` is that of a byte, ours and the peer's.
fn row(
    run: &Run<'_>,
    name: String,
    goal: f64,
    mut cost: impl FnMut() -> Outcome<(f64, f64)>,
) -> Outcome<()> {
    let (mut ratios, mut figures) = (Vec::new(), [const { Vec::new() }; 2]);
    cost()?;
    for _ in 0..run.effort.rounds {
        let (ours, theirs) = cost()?;
        ratios.push(theirs / ours);
        for (figures, cost) in figures.iter_mut().zip([ours, theirs]) {
            figures.push(cost * 1e12);
        }
    }
    let [ours, theirs] = figures.map(middle);
    (run.note)(&format!("{name}: ps of CPU time a byte: ours {ours:.0}, the peer's {theirs:.0}"));
    (run.report)(&Row::new(name, Goal::AtLeast(goal), ratios));
    Ok(())
}

/// Calls: the cost of ALTS as a multiple of plaintext, ours beside the peer's.
fn relative(run: &Run<'_>, prefix: &str, peer: &mut Peer) -> Outcome<()> {
    let (unary, stream) = (format!("{prefix}-unary-100"), format!("{prefix}-stream-{}", LARGE.0));
    if !run.wants(&unary) && !run.wants(&stream) {
        return Ok(());
    }
    let runtime = runtime()?;
    let alts = Alts::in_process(tokio_alts::StreamOptions::new())?;
    let mut plain = runtime.block_on(channel(Security::Plain))?;
    let mut alts = runtime.block_on(channel(Security::Alts(Box::new(alts))))?;
    for (name, what, path, size, count) in
        [(unary, "unary", UNARY, 100, 100), (stream, "stream", STREAM, LARGE.0, LARGE.1)]
    {
        if !run.wants(&name) {
            continue;
        }
        let (their_plain, their_alts) = (format!("{what}-plain"), format!("{what}-alts"));
        let (mut ratios, mut figures) = (Vec::new(), [const { Vec::new() }; 2]);
        for _ in 0..run.effort.rounds {
            let mut costs = [0.0; 4];
            for _ in 0..TURNS {
                for (cost, client) in costs.iter_mut().zip([&mut plain, &mut alts]) {
                    for _ in 0..4 {
                        *cost += runtime.block_on(calls(client, path))?;
                    }
                }
                for (cost, what) in costs.iter_mut().skip(2).zip([&their_plain, &their_alts]) {
                    *cost += peer.ask(what, size, count)?;
                }
            }
            let [plain, alts, their_plain, their_alts] = costs;
            let (ours, theirs) = (alts / plain, their_alts / their_plain);
            ratios.push(ours / theirs);
            for (figures, ratio) in figures.iter_mut().zip([ours, theirs]) {
                figures.push(ratio);
            }
        }
        let [ours, theirs] = figures.map(middle);
        (run.note)(&format!(
            "{name}: ALTS {ours:.3} x plaintext, the peer's {theirs:.3} x its own"
        ));
        (run.report)(&Row::new(name, Goal::AtMost(1.0), ratios));
    }
    Ok(())
}

pub(super) fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    median(&values)
}
