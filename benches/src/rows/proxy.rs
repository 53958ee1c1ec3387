//! `alts proxy` beside Envoy: a chain of two proxies with ALTS between them.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use super::run::Run;
use crate::Outcome;
use crate::chain::{Chain, Client, Valve, serve_origin};
use crate::measure::{Goal, Row, median};
use crate::peer::serve_handshaker_at;

/// A large body, in bytes.
const BODY: usize = 64 << 20;
/// A small one.
const REQUEST: usize = 100;
/// Connections that ask at the same time.
const CLIENTS: usize = 8;
/// How long a request may wait for another connection's handshake before it counts as stuck.
const STUCK: Duration = Duration::from_secs(3);

pub(super) fn run(run: &Run<'_>) -> Outcome<()> {
    let places = [("requests", BODY), ("requests", REQUEST), ("bytes", BODY), ("bytes", REQUEST)];
    let names = places.map(|(level, size)| format!("proxy-{level}-{size}"));
    let hanging = "proxy-hanging-handshaker-latency";
    if !names.iter().any(|name| run.wants(name) || run.only.starts_with(name))
        && !run.wants(hanging)
    {
        return Ok(());
    }
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (handshaker, origin) = (serve_handshaker_at(any)?, serve_origin()?);
    for level in ["requests", "bytes"] {
        let mut chains = None;
        for ((_, size), name) in places.iter().zip(&names).filter(|((of, _), _)| *of == level) {
            if !run.wants(name) && !run.only.starts_with(name) {
                continue;
            }
            if chains.is_none() {
                let ours = Chain::start("alts", level, handshaker, origin)?;
                match Chain::start("envoy", level, handshaker, origin) {
                    Ok(theirs) => chains = Some([ours, theirs]),
                    Err(why) => (run.note)(&format!("skipped: {name}: {why}")),
                }
            }
            if let Some(chains) = &chains {
                beside(run, name, *size, chains)?;
            }
        }
    }
    if run.wants(hanging) {
        hang(run, hanging, handshaker, origin)?;
    }
    Ok(())
}

/// What one measurement of a chain has cost, in seconds.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

fn beside(run: &Run<'_>, name: &str, size: usize, chains: &[Chain; 2]) -> Outcome<()> {
    // One large body at a time; small ones on several connections.
    let clients = if size == BODY { 1 } else { CLIENTS };
    let times = if size == BODY { run.effort.bytes.div_ceil(BODY).min(2) } else { 250 };
    let mut connections = Vec::new();
    for chain in chains {
        let clients = (0..clients).map(|_| chain.client()).collect::<Outcome<Vec<_>>>()?;
        connections.push(clients);
    }
    let path = format!("/{size}");
    let (mut throughput, mut cpu, mut figures) =
        (Vec::new(), Vec::new(), [const { Vec::new() }; 2]);
    for round in 0..=run.effort.rounds {
        let mut costs = [Cost { wall: 0.0, cpu: 0.0 }; 2];
        for ((cost, chain), clients) in costs.iter_mut().zip(chains).zip(&mut connections) {
            *cost = measured(chain, clients, &path, times)?;
        }
        // The first round warms everything up.
        if round > 0 {
            let [ours, theirs] = costs;
            throughput.push(theirs.wall / ours.wall);
            cpu.push(ours.cpu / theirs.cpu);
            for (figures, cost) in figures.iter_mut().zip(costs) {
                figures.push(cost);
            }
        }
    }
    let unit = (clients * times) as f64;
    let [ours, theirs] = figures.map(|costs| {
        [Cost::wall, Cost::cpu].map(|of| {
            let mut values: Vec<_> = costs.iter().map(|cost| of(cost) / unit).collect();
            values.sort_by(f64::total_cmp);
            median(&values)
        })
    });
    let note = |[wall, cpu]: [f64; 2]| {
        if size == BODY {
            let gib = (1u64 << 30) as f64 / BODY as f64;
            format!("{:.0} MB/s, {:.3} s of CPU time a GiB", BODY as f64 / wall / 1e6, cpu * gib)
        } else {
            format!("{:.0} requests/s, {:.1} µs of CPU time a request", wall.recip(), cpu * 1e6)
        }
    };
    (run.note)(&format!("{name}: alts proxy {}; Envoy {}", note(ours), note(theirs)));
    let goal = if size == BODY { 1.5 } else { 1.0 };
    (run.report)(&Row::new(format!("{name}-throughput"), Goal::AtLeast(goal), throughput));
    (run.report)(&Row::new(format!("{name}-cpu"), Goal::AtMost(0.67), cpu));
    Ok(())
}

impl Cost {
    fn wall(&self) -> f64 {
        self.wall
    }

    fn cpu(&self) -> f64 {
        self.cpu
    }
}

/// All clients ask `times` times each, concurrently.
fn measured(chain: &Chain, clients: &mut [Client], path: &str, times: usize) -> Outcome<Cost> {
    let (start, before) = (Instant::now(), chain.cpu_time()?);
    thread::scope(|scope| {
        let asking: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                scope.spawn(move || (0..times).try_for_each(|_| client.get(path).map(drop)))
            })
            .collect();
        asking.into_iter().try_for_each(|asked| asked.join().map_err(|_| "a client has failed")?)
    })?;
    Ok(Cost { wall: start.elapsed().as_secs_f64(), cpu: chain.cpu_time()? - before })
}

/// While the handshaker service keeps one connection waiting, requests on another go on as before.
fn hang(run: &Run<'_>, name: &str, handshaker: SocketAddr, origin: SocketAddr) -> Outcome<()> {
    let path = format!("/{REQUEST}");
    for proxy in ["alts", "envoy"] {
        let valve = Valve::before(handshaker)?;
        let chain = match Chain::start(proxy, "bytes", valve.address(), origin) {
            Ok(chain) => chain,
            Err(why) => {
                (run.note)(&format!("skipped: {name}: {why}"));
                continue;
            }
        };
        let mut client = chain.client()?;
        client.get(&path)?;
        let mut latency = |times: usize| -> Outcome<f64> {
            let mut all = Vec::with_capacity(times);
            for _ in 0..times {
                let start = Instant::now();
                client.patience(STUCK)?;
                client.get(&path)?;
                all.push(start.elapsed().as_secs_f64());
            }
            all.sort_by(f64::total_cmp);
            Ok(median(&all))
        };
        let mut ratios = Vec::new();
        let mut stuck = None;
        for _ in 0..run.effort.rounds {
            let before = latency(200)?;
            valve.close(true);
            let mut waiting = chain.client()?;
            // It asks, and its proxy cannot connect to the next one.
            waiting.patience(Duration::from_millis(200))?;
            let unanswered = waiting.get(&path).is_err();
            let during = latency(200);
            valve.close(false);
            if !unanswered {
                return Err("the handshaker service was to be silent".into());
            }
            match during {
                Ok(during) => ratios.push(during / before),
                Err(error) => {
                    stuck = Some(error);
                    break;
                }
            }
        }
        match (proxy, stuck) {
            ("alts", None) => (run.report)(&Row::new(name, Goal::AtMost(1.25), ratios)),
            ("alts", Some(error)) => return Err(error),
            (_, Some(_)) => (run.note)(&format!(
                "{name}: with Envoy a request on another connection is not answered within {STUCK:?}"
            )),
            (_, None) => {
                ratios.sort_by(f64::total_cmp);
                (run.note)(&format!("{name}: with Envoy {:.2}", median(&ratios)));
            }
        }
    }
    Ok(())
}
