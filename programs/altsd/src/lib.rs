//! The daemon around the service: who may call, certificates that change, limits, and its life.
//!
//! [`config`] is what it is given, [`state`] what follows from that at one time, and the rest are
//! parts: [`listen`] and [`accept`] are where callers connect, [`policy`] says what they may use,
//! [`admission`] begins handshakes and writes the audit lines, [`metrics`] counts. [`alts_serving`]
//! says who callers are and how much they may have.
//!
//! [`Daemon`] is all of it, for a program or a test; [`run`] adds the signals.
#![forbid(unsafe_code)]

pub mod accept;
pub mod admission;
pub mod broker;
pub mod cli;
pub mod config;
mod counted;
pub mod identities;
pub mod listen;
pub mod log;
pub mod metrics;
mod naming;
pub mod policy;
pub mod quick;
mod roots;
mod shut_out;
pub mod spiffe;
pub mod state;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alts_handshaker::grpc::HandshakerServer;
use alts_serving::descriptors;
use alts_serving::life::{Alive, Life};
use alts_serving::limits::Key;
use alts_serving::metrics::Admin;
use alts_serving::notify::Notifier;
use alts_serving::settings_error::SettingsError;
use alts_serving::signals::{Request, Signals};
use alts_serving::throttle::Throttles;
use prometheus::IntCounter;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use self::accept::Acceptor;
use self::admission::{Gate, say_rest};
use self::broker::Broker;
use self::config::Config;
use self::counted::Counted;
use self::listen::Bound;
use self::metrics::Metrics;
use self::state::{Keeper, Snapshot};

/// How many accepted connections may wait for the server to take them.
const BACKLOG: usize = 64;

/// HTTP/2 connections that are silent for this long are asked whether somebody is there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A daemon at work.
#[derive(Debug)]
pub struct Daemon {
    listeners: Vec<(String, String)>,
    metrics: Metrics,
    metrics_address: Option<SocketAddr>,
    reloads: mpsc::Sender<oneshot::Sender<bool>>,
    life: Life,
    health: HealthReporter,
    others: JoinSet<()>,
    grace: Duration,
}

impl Daemon {
    /// Starts one: reads what the configuration names, opens the listeners, and serves. `path` is
    /// the configuration's file, for reloads.
    ///
    /// # Errors
    /// What cannot be used, where it was written, and what to do.
    pub async fn start(config: Config, path: Option<PathBuf>) -> Result<Self, SettingsError> {
        let internal = |why: prometheus::Error| SettingsError::new("metrics", why.to_string());
        let metrics = Metrics::new().map_err(internal)?;
        let keeper = Keeper::new(config, path, metrics.clone())?;
        let config = keeper.config().clone();
        let places = config.limits.connections.saturating_add(accept::REFUSED);
        descriptors::require(places.saturating_add(alts_serving::metrics::CONNECTIONS))
            .map_err(|what| SettingsError::new("[limits]", what))?;
        let bound =
            config.listeners.iter().map(Bound::open).collect::<Result<Vec<_>, SettingsError>>()?;
        let listeners =
            bound.iter().map(|b| (b.name().to_owned(), b.address().to_owned())).collect();

        let life = Life::default();
        let (reloads, requests) = mpsc::channel(1);
        let mut others = JoinSet::new();
        let metrics_address = match config.metrics {
            None => None,
            Some(address) => {
                let open = Admin::open(address).await?;
                let address = open.address();
                let snapshot = keeper.subscribe();
                let ready = move || {
                    let usable = snapshot.borrow().is_usable();
                    if usable { Ok(()) } else { Err("no identity is usable".to_owned()) }
                };
                others.spawn(open.run(metrics.registry().clone(), ready));
                Some(address)
            }
        };
        let limits = &config.limits;
        let (accepted, connections) = mpsc::channel(BACKLOG);
        let broker = config.spiffe.as_ref().map(Broker::new).transpose();
        let broker = broker.map_err(|why| SettingsError::new("[spiffe]", why.to_string()))?;
        let broker = broker.map(Arc::new);
        let (snapshot, asked) = (keeper.subscribe(), broker.clone());
        let acceptor = Acceptor::new(limits, snapshot, asked, accepted, metrics.clone());
        for bound in bound {
            tracing::info!(listener = bound.name(), address = bound.address(), "listening");
            others.spawn(acceptor.clone().run(bound, life.alive()));
        }
        drop(acceptor);

        let snapshot = keeper.subscribe();
        let gate = Gate::new(snapshot.clone(), broker.clone(), limits, metrics.clone());
        others.spawn(say_what_was_held_back(gate.throttles(), life.alive()));
        let service = HandshakerServer::with_concurrency(gate, limits.handshakes)
            .request_bytes(limits.request_bytes);
        let (health, health_service) = tonic_health::server::health_reporter();
        show_health(&health, &snapshot).await;
        let (mut draining, mut over) = (life.alive(), life.alive());
        let server = Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .max_concurrent_streams(streams(limits.handshakes_per_caller))
            .add_service(Counted::new(health_service))
            .add_service(service)
            .serve_with_incoming_shutdown(ReceiverStream::new(connections), async move {
                draining.draining().await;
            });
        others.spawn(async move {
            tokio::select! {
                // It does not fail: connections that do are its own business.
                _ = server => {}
                () = over.over() => {}
            }
        });
        others.spawn(keep(keeper, broker, requests, health.clone(), life.alive()));
        let grace = config.grace;
        Ok(Self { listeners, metrics, metrics_address, reloads, life, health, others, grace })
    }

    /// The names of the listeners, and where they listen in gRPC's notation.
    #[must_use]
    pub fn listeners(&self) -> &[(String, String)] {
        &self.listeners
    }

    /// Where the metrics are served.
    #[must_use]
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The metrics.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Reads configuration and files again, as on SIGHUP; returns whether all was good. What was
    /// bad is in the log, and not in use.
    pub async fn reload(&self) -> bool {
        let (done, answer) = oneshot::channel();
        self.reloads.send(done).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// Stops: no new connections, then an end to those that there are, and to the handshakes on
    /// them after the time that the configuration gives. Returns whether all of them had ended by
    /// themselves.
    pub async fn shutdown(mut self) -> bool {
        self.health.set_service_status("", ServingStatus::NotServing).await;
        let service = HandshakerServer::<Gate>::NAME;
        self.health.set_service_status(service, ServingStatus::NotServing).await;
        let ended = self.life.end(self.grace).await;
        if !ended {
            tracing::warn!("handshakes were under way when the time to stop ran out");
        }
        self.others.shutdown().await;
        ended
    }
}

/// How many streams one connection may have: more than one caller may have handshakes, so that one
/// too many is refused and does not wait, unseen, in the caller's own library.
fn streams(handshakes_per_caller: usize) -> u32 {
    u32::try_from(handshakes_per_caller).unwrap_or(u32::MAX).saturating_add(256)
}

async fn show_health(health: &HealthReporter, snapshot: &watch::Receiver<Arc<Snapshot>>) {
    let usable = snapshot.borrow().is_usable();
    let status = if usable { ServingStatus::Serving } else { ServingStatus::NotServing };
    health.set_service_status("", status).await;
    health.set_service_status(HandshakerServer::<Gate>::NAME, status).await;
}

/// Says, when a flood of refused callers is over, how many there were.
async fn say_what_was_held_back(throttles: Throttles<Key>, mut alive: Alive) {
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => say_rest(&throttles),
            () = alive.draining() => return,
        }
    }
}

/// Watches files and expiry, and reloads when asked.
async fn keep(
    mut keeper: Keeper,
    broker: Option<Arc<Broker>>,
    mut requests: mpsc::Receiver<oneshot::Sender<bool>>,
    health: HealthReporter,
    mut alive: Alive,
) {
    let snapshot = keeper.subscribe();
    let mut poll = interval(keeper.config().poll);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let after = |span| Instant::now().checked_add(span).unwrap_or_else(Instant::now);
    let mut look = after(keeper.next_look());
    loop {
        let request = tokio::select! {
            _ = poll.tick() => None,
            () = sleep_until(look) => {
                keeper.show_expiry();
                look = after(keeper.next_look());
                show_health(&health, &snapshot).await;
                continue;
            }
            request = requests.recv() => match request {
                None => return,
                some => some,
            },
            () = alive.draining() => return,
        };
        // Files and the user database are read off the threads that serve.
        let work = tokio::task::spawn_blocking(move || {
            let good = match request {
                None => (keeper.refresh(false), None),
                Some(done) => (keeper.reload(), Some(done)),
            };
            (keeper, good)
        });
        let Ok((back, (good, done))) = work.await else {
            tracing::error!("reloading failed: certificates are no longer watched");
            return;
        };
        keeper = back;
        if let Some(broker) = &broker {
            if let (Some(_), Some(spiffe)) = (&done, &keeper.config().spiffe) {
                broker.replace(spiffe);
            }
            broker.show(keeper.metrics());
        }
        look = look.min(after(keeper.next_look()));
        show_health(&health, &snapshot).await;
        if let Some(done) = done {
            // The one who asked may have gone.
            let _ = done.send(good);
        }
    }
}

/// What the service manager wants to hear.
#[derive(Debug, Default)]
pub struct Supervision {
    /// The service manager.
    pub notifier: Notifier,
    /// How often it wants to hear that the daemon is alive.
    pub watchdog: Option<Duration>,
    /// Counts log lines that nobody took.
    pub lines_dropped: Option<IntCounter>,
}

/// Starts a daemon, passes it to `started`, and runs it until SIGTERM or SIGINT; SIGHUP reloads.
///
/// # Errors
/// As [`Daemon::start`].
pub async fn run(
    config: Config,
    path: Option<PathBuf>,
    supervision: Supervision,
    started: impl FnOnce(&Daemon),
) -> Result<(), SettingsError> {
    let Supervision { notifier, watchdog, lines_dropped } = supervision;
    let mut signals =
        Signals::new().map_err(|why| SettingsError::new("signals", why.to_string()))?;
    let daemon = Daemon::start(config, path).await?;
    if let Some(counter) = lines_dropped {
        daemon
            .metrics
            .registry()
            .register(Box::new(counter))
            .map_err(|why| SettingsError::new("metrics", why.to_string()))?;
    }
    started(&daemon);
    notifier.ready();
    // At half the time, as sd_watchdog_enabled(3) asks for. A day is never.
    let mut alive = interval(watchdog.map_or(Duration::from_secs(86_400), |time| time / 2));
    loop {
        tokio::select! {
            request = signals.next() => {
                if request == Request::Stop {
                    break;
                }
                notifier.reloading();
                let good = daemon.reload().await;
                notifier.status(if good { "" } else { "the last reload failed: see the log" });
                notifier.ready();
            }
            _ = alive.tick() => if watchdog.is_some() { notifier.watchdog() },
        }
    }
    notifier.stopping();
    tracing::info!("stopping");
    daemon.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}
