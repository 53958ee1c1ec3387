//! What a user sees: the CPU time of calls over ALTS, beside other implementations of gRPC.

use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::transport::Channel;

use super::peers::{TURNS, middle};
use super::rpc::{LARGE, channel, stream, unary};
use super::run::Run;
use crate::Outcome;
use crate::measure::{Goal, Row, process_time};
use crate::peer::Peer;
use crate::runtime::threads;
use crate::security::{Alts, Security};

const PEERS: [&str; 2] = ["grpc-go", "grpc-cpp"];
/// What is called, with how many bytes, and how often before something else has its turn.
const CALLS: [(&str, usize, usize); 3] =
    [("unary", 100, 100), ("unary", 10 << 10, 100), ("stream", LARGE.0, 32)];

/// Where calls are made, and what one of them has cost in each round so far, in seconds.
struct Subject {
    name: &'static str,
    client: Client,
    costs: [Vec<f64>; 2],
}

enum Client {
    /// Plaintext and ALTS.
    Ours(Box<[Grpc<Channel>; 2]>),
    Peer(Peer),
}

pub(super) fn run(run: &Run<'_>) -> Outcome<()> {
    let names = CALLS.map(|(what, size, _)| format!("call-{what}-{size}"));
    if !names.iter().any(|name| run.wants(name) || run.only.starts_with(name)) {
        return Ok(());
    }
    // Client and server share the threads that tokio makes by default, as those of the peers do.
    let runtime = threads(std::thread::available_parallelism()?.get())?;
    let alts = Security::Alts(Box::new(Alts::in_process(tokio_alts::StreamOptions::new())?));
    let [plain, alts] = [Security::Plain, alts].map(|security| runtime.block_on(channel(security)));
    let ours = Client::Ours(Box::new([plain?, alts?]));
    let mut subjects = vec![Subject { name: "tonic", client: ours, costs: Default::default() }];
    for name in PEERS {
        match run.serve_peers().and_then(|()| Peer::start(name)) {
            Ok(peer) => {
                let client = Client::Peer(peer);
                subjects.push(Subject { name, client, costs: Default::default() });
            }
            Err(why) => (run.note)(&format!("skipped: calls of {name}: {why}")),
        }
    }
    if subjects.len() == 1 {
        return Ok(());
    }
    for ((what, size, count), name) in CALLS.into_iter().zip(names) {
        if !run.wants(&name) && !run.only.starts_with(&name) {
            continue;
        }
        for round in 0..=run.effort.rounds {
            let mut costs = vec![[0.0; 2]; subjects.len()];
            for _ in 0..TURNS {
                for (costs, subject) in costs.iter_mut().zip(&mut subjects) {
                    for (alts, cost) in costs.iter_mut().enumerate() {
                        *cost += subject.client.cost(&runtime, alts, what, size, count)?;
                    }
                }
            }
            for (costs, subject) in costs.into_iter().zip(&mut subjects) {
                for (all, cost) in subject.costs.iter_mut().zip(costs) {
                    // The first round warms everything up.
                    if round == 0 {
                        all.clear();
                    } else {
                        all.push(cost / (TURNS * count) as f64);
                    }
                }
            }
        }
        report(run, &name, &subjects);
    }
    Ok(())
}

/// A row over ALTS and one over plaintext, each beside the peer that is cheaper in that round.
fn report(run: &Run<'_>, name: &str, subjects: &[Subject]) {
    for subject in subjects {
        let [plain, alts] = [0, 1].map(|kind| {
            subject.costs.get(kind).map_or(f64::NAN, |costs| middle(costs.clone()) * 1e6)
        });
        (run.note)(&format!(
            "{name}: {}: µs of CPU time, both ends: ALTS {alts:.1}, plaintext {plain:.1}",
            subject.name
        ));
    }
    let Some((ours, peers)) = subjects.split_first() else { return };
    for (kind, name) in [(1, name.to_owned()), (0, format!("{name}-plaintext"))] {
        let of = |subject: &Subject, round: usize| {
            subject.costs.get(kind).and_then(|costs| costs.get(round)).copied()
        };
        let rounds = ours.costs.get(kind).map_or(0, Vec::len);
        let ratios = (0..rounds).filter_map(|round| {
            let best = peers.iter().filter_map(|peer| of(peer, round)).reduce(f64::min)?;
            Some(of(ours, round)? / best)
        });
        if run.wants(&name) {
            (run.report)(&Row::new(name, Goal::AtMost(0.8), ratios.collect()));
        }
    }
}

impl Client {
    /// CPU time of that work, of both ends, in seconds; a message of a stream counts as a call.
    fn cost(
        &mut self,
        runtime: &Runtime,
        alts: usize,
        what: &str,
        size: usize,
        count: usize,
    ) -> Outcome<f64> {
        match self {
            Self::Ours(clients) => {
                let mut client = clients.get(alts).ok_or("no such client")?.clone();
                let streaming = what == "stream";
                let start = process_time()?;
                // In a task, as a server that calls others does it.
                let work = runtime.spawn(async move {
                    if streaming {
                        stream(&mut client, count).await
                    } else {
                        unary(&mut client, size, count).await
                    }
                });
                runtime.block_on(work)??;
                Ok(process_time()? - start)
            }
            Self::Peer(peer) => {
                let security = if alts == 1 { "alts" } else { "plain" };
                peer.ask(&format!("{what}-{security}"), size, count)
            }
        }
    }
}
