//! Handshakes: CPU time of both sides and, where there is one, of the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_alts::{
    BoxFuture, GrpcHandshaker, HandshakerCall, HandshakerService, ServiceError, ServiceMessage,
    StreamOptions,
};

use super::run::Run;
use crate::Outcome;
use crate::measure::{Goal, Row, interleaved, inverted, thread_time};
use crate::pipe::pipe;
use crate::runtime::runtime;
use crate::security::{Alts, Security, Tls, identities};
use crate::services::serve;

const AT_ONCE: usize = 8;

pub(super) fn run(run: &Run<'_>) -> Outcome<()> {
    let runtime = runtime()?;
    let tls = Security::Tls(Tls::new()?);
    let name = "handshake-in-process";
    if run.wants(name) {
        let alts = Security::Alts(Box::new(Alts::in_process(StreamOptions::new())?));
        compare(run, &runtime, name, 0.9, &alts, &tls)?;
    }
    let name = "handshake-service-over-grpc";
    if run.wants(name) {
        let alts = {
            let _entered = runtime.enter();
            behind_grpc()?
        };
        compare(run, &runtime, name, 0.75, &Security::Alts(Box::new(alts)), &tls)?;
    }
    requests(run, &runtime)
}

/// How often each side asks its handshaker service in one handshake.
fn requests(run: &Run<'_>, runtime: &tokio::runtime::Runtime) -> Outcome<()> {
    let names = ["client", "server"].map(|side| format!("handshake-requests-{side}"));
    if !names.iter().any(|name| run.wants(name)) {
        return Ok(());
    }
    let (client, server) = identities()?;
    let counts = [const { AtomicU32::new(0) }; 2].map(Arc::new);
    let [of_client, of_server] = &counts;
    let client = Counted { service: client, count: Arc::clone(of_client) };
    let server = Counted { service: server, count: Arc::clone(of_server) };
    let alts = Alts::with(client, server, StreamOptions::new())?;
    drop(runtime.block_on(Security::Alts(Box::new(alts)).both(pipe()))?);
    for (name, count) in names.into_iter().zip(counts) {
        if run.wants(&name) {
            let count = f64::from(count.load(Ordering::Relaxed));
            (run.report)(&Row::new(name, Goal::AtMost(2.0), vec![count]));
        }
    }
    Ok(())
}

/// A handshaker service, and how many requests it has had.
struct Counted<S> {
    service: S,
    count: Arc<AtomicU32>,
}

impl<S: HandshakerService> HandshakerService for Counted<S> {
    fn open(&self) -> Box<dyn HandshakerCall> {
        Box::new(Counted { service: self.service.open(), count: Arc::clone(&self.count) })
    }

    fn address(&self) -> &str {
        self.service.address()
    }
}

impl HandshakerCall for Counted<Box<dyn HandshakerCall>> {
    fn exchange(
        &mut self,
        request: ServiceMessage,
    ) -> BoxFuture<'_, Result<Option<ServiceMessage>, ServiceError>> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.service.exchange(request)
    }
}

/// Two handshaker services behind gRPC at UNIX sockets, on this thread.
fn behind_grpc() -> Outcome<Alts> {
    let (client, server) = identities()?;
    let client = GrpcHandshaker::at(&serve(client, "client")?)?;
    let server = GrpcHandshaker::at(&serve(server, "server")?)?;
    Alts::with(client, server, StreamOptions::new())
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
