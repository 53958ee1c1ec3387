//! Accepts connections, finds out who they are from, and hands them to the server.
//!
//! A connection costs its caller a slot before anything is looked up. Callers for whom the policy
//! has nothing learn why on their connection, and have a few slots of their own: they take none of
//! those that others need.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::{fmt, io};

use alts_handshaker::Handshaker;
use alts_serving::accepting::AcceptErrors;
use alts_serving::caller::{Caller, identify, over_tcp, over_unix};
use alts_serving::life::Alive;
use alts_serving::limits::{Key, Slot, Slots};
use alts_serving::owner;
use alts_serving::process::Process;
use alts_serving::throttle::Throttles;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tonic::transport::server::Connected;

use crate::broker::{Attested, Broker};
use crate::config::LimitSettings;
use crate::listen::{Bound, Socket};
use crate::metrics::Metrics;
use crate::state::Snapshot;

/// How many callers over TCP may wait to be looked up. More wait to be accepted.
const LOOKUPS: usize = 64;

/// How many connections callers whom the policy refuses have in all.
pub const REFUSED: usize = 256;

/// How many of them one caller has.
const REFUSED_PER_CALLER: usize = 16;

/// The caller at the other end of a connection, and the listener that it came in by.
#[derive(Debug)]
pub struct CallerConnection {
    /// The caller.
    pub caller: Caller,
    /// What this caller counts as for the limits.
    pub key: Key,
    /// The listener.
    pub listener: Arc<str>,
    /// The process itself, if the kernel lets us ask it again.
    process: Option<Process>,
    /// The process for which the agent is asked.
    pinned: Option<Process>,
    attested: OnceLock<Result<Arc<Attested>, String>>,
}

impl CallerConnection {
    /// What the SPIFFE agent gives the process behind the connection, as far as it is known now. It is
    /// asked when this is wanted first.
    ///
    /// # Errors
    /// Why it is nothing, in words for the caller.
    pub fn attested(&self, broker: Option<&Broker>) -> Result<Vec<(String, Handshaker)>, String> {
        self.ask(broker)?.choices()
    }

    fn ask(&self, broker: Option<&Broker>) -> Result<Arc<Attested>, String> {
        let broker = broker.ok_or("this daemon was started without a SPIFFE agent: restart it")?;
        self.attested.get_or_init(|| broker.attest(self.pinned)).clone()
    }

    /// The user that the process behind the connection has become since it connected, if the kernel
    /// knows.
    #[must_use]
    pub fn new_user(&self) -> Option<u32> {
        let Caller::Local { uid, .. } = &self.caller else { return None };
        self.process?.user().filter(|now| now != uid)
    }
}

trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

/// An accepted connection.
pub struct Accepted {
    io: Pin<Box<dyn Io>>,
    connection: Arc<CallerConnection>,
    _slot: Slot,
    open: prometheus::IntGauge,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Connected for Accepted {
    type ConnectInfo = Arc<CallerConnection>;

    fn connect_info(&self) -> Arc<CallerConnection> {
        Arc::clone(&self.connection)
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_shutdown(context)
    }
}

/// The origin of a connection, before it is known what the machine knows about the caller.
struct From {
    caller: Caller,
    gid: Option<u32>,
    process: Option<Process>,
    /// The two ends of a connection over TCP on this machine: the caller's first.
    ends: Option<(SocketAddr, SocketAddr)>,
}

/// Accepts connections, and finds out who they are from, until the daemon stops.
#[derive(Clone, Debug)]
pub struct Acceptor {
    slots: Slots,
    refused: Slots,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    lookups: Arc<Semaphore>,
    broker: Option<Arc<Broker>>,
    accepted: mpsc::Sender<io::Result<Accepted>>,
    metrics: Metrics,
    throttles: Throttles<Key>,
}

impl Acceptor {
    /// Accepted connections go to `accepted`.
    #[must_use]
    pub fn new(
        limits: &LimitSettings,
        snapshot: watch::Receiver<Arc<Snapshot>>,
        broker: Option<Arc<Broker>>,
        accepted: mpsc::Sender<io::Result<Accepted>>,
        metrics: Metrics,
    ) -> Self {
        Self {
            slots: Slots::new(limits.connections, limits.connections_per_caller),
            refused: Slots::new(REFUSED, REFUSED_PER_CALLER),
            snapshot,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            broker,
            accepted,
            metrics,
            throttles: Throttles::default(),
        }
    }

    /// Serves one listener.
    pub async fn run(self, bound: Bound, mut alive: Alive) {
        let this = Arc::new(self);
        let mut errors = AcceptErrors::default();
        loop {
            let accepted = tokio::select! {
                accepted = this.accept(&bound) => accepted,
                () = alive.draining() => return,
            };
            match accepted {
                Ok(()) => errors.accepted(&bound.name),
                Err(error) => errors.failed(&bound.name, &error).await,
            }
        }
    }

    async fn accept(self: &Arc<Self>, bound: &Bound) -> io::Result<()> {
        let (this, name) = (Arc::clone(self), Arc::clone(&bound.name));
        match &bound.socket {
            Socket::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(async move {
                    let from = from_unix(&stream);
                    this.admit(Box::pin(stream), from, name).await;
                });
            }
            Socket::Tcp { listener, identify } => {
                let (stream, remote) = listener.accept().await?;
                let Ok(permit) = Arc::clone(&self.lookups).acquire_owned().await else {
                    return Ok(());
                };
                let identify = *identify;
                tokio::spawn(async move {
                    if let Some(from) = from_tcp(&stream, remote, identify, permit).await {
                        this.admit(Box::pin(stream), from, name).await;
                    }
                });
            }
        }
        Ok(())
    }

    async fn admit(&self, io: Pin<Box<dyn Io>>, from: From, name: Arc<str>) {
        let From { caller, gid, process, ends } = from;
        let subuids = Arc::clone(self.snapshot.borrow().subuids());
        let key = subuids.key(&caller);
        // The slot first: a flood must not make the user database work.
        let Some(mut slot) = self.slot(&self.slots, &key, &caller, &name) else { return };
        let caller = match caller {
            Caller::Local { uid, pid, .. } => identify(uid, gid, pid).await,
            other => other,
        };
        let (listener, attested) = (Arc::clone(&name), OnceLock::new());
        let connection =
            CallerConnection { caller, key, listener, process, pinned: None, attested };
        let connection = self.attest(connection, ends).await;
        let CallerConnection { caller, key, .. } = &connection;
        let attested = || connection.attested(self.broker.as_deref());
        let refused = self.snapshot.borrow().choices(caller, &name, attested).is_err();
        if refused {
            let Some(other) = self.slot(&self.refused, key, caller, &name) else { return };
            slot = other;
        }
        let open = self.metrics.connection(&name);
        open.inc();
        let accepted = Accepted { io, connection: Arc::new(connection), _slot: slot, open };
        // When nobody takes it, the daemon is about to end, and the connection with it.
        let _ = self.accepted.send(Ok(accepted)).await;
    }

    /// Finds the process behind a connection whose identity the agent is to give, and waits for the
    /// agent's answer: the caller's place is taken already.
    async fn attest(
        &self,
        mut connection: CallerConnection,
        ends: Option<(SocketAddr, SocketAddr)>,
    ) -> CallerConnection {
        let CallerConnection { caller, listener, process, .. } = &connection;
        if self.broker.is_none() || !self.snapshot.borrow().attests(caller, listener) {
            // The rules may change: without a process, it has to connect again then.
            connection.pinned = *process;
            return connection;
        }
        connection.pinned = match (process, caller, ends) {
            (Some(process), _, _) => Some(*process),
            (None, Caller::Local { uid, pid: Some(pid), .. }, None) => {
                Process::numbered(*pid, *uid)
            }
            (None, _, Some((remote, local))) => {
                let Ok(_permit) = self.lookups.acquire().await else { return connection };
                let found = tokio::task::spawn_blocking(move || owner::process(remote, local));
                found.await.ok().and_then(Result::ok).flatten()
            }
            (None, _, None) => None,
        };
        if let Ok(attested) = connection.ask(self.broker.as_deref()) {
            attested.settled().await;
        }
        connection
    }

    fn slot(&self, slots: &Slots, key: &Key, caller: &Caller, listener: &str) -> Option<Slot> {
        let full = match slots.take(key.clone()) {
            Ok(slot) => return Some(slot),
            Err(full) => full.name(),
        };
        self.metrics.connection_refused(full);
        if let Some(more) = self.throttles.may_speak(key) {
            tracing::warn!(
                %caller,
                listener,
                reason = full,
                more = (more > 0).then_some(more),
                "connection closed: the caller has too many"
            );
        }
        None
    }
}

fn from_unix(stream: &UnixStream) -> From {
    let (caller, gid) = over_unix(stream);
    From { caller, gid, process: Process::behind(stream), ends: None }
}

/// Nothing when the connection is over already.
async fn from_tcp(
    stream: &TcpStream,
    remote: SocketAddr,
    identify: bool,
    permit: OwnedSemaphorePermit,
) -> Option<From> {
    // An answer is small, and waits for nothing.
    let _ = stream.set_nodelay(true);
    let caller =
        if identify { over_tcp(stream).await? } else { Caller::Unidentified { address: remote } };
    drop(permit);
    let ends = identify.then(|| Some((remote, stream.local_addr().ok()?))).flatten();
    Some(From { caller, gid: None, process: None, ends })
}
