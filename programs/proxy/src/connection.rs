//! One connection of a client, from the handshake to the audit line.

use alts_serving::life::Alive;
use core::sync::atomic::Ordering;
use std::{
    io,
    sync::{Arc, OnceLock},
};

use tokio::{io::AsyncWriteExt as _, time::Instant};
use tokio_alts::Addresses as _;

use super::{
    AUDIT,
    config::{Level, Security},
    http,
    limits::Place,
    listener::Listener,
    proxy_protocol,
    relay::{End, Traffic, relay},
    socket::{Socket, Stream},
};

/// What is known of a client's connection.
#[derive(Debug)]
pub struct Connection {
    /// By which listener it came, as that was then.
    pub listener: Arc<Listener>,
    /// The client's address, and the one that it called; none over a UNIX socket.
    pub addresses: Option<(std::net::SocketAddr, std::net::SocketAddr)>,
    /// What was carried.
    pub traffic: Traffic,
    account: OnceLock<String>,
    upstream_address: OnceLock<String>,
    began: Instant,
    _places: [Place; 2],
}

impl Connection {
    fn new(listener: Arc<Listener>, socket: &Socket, places: [Place; 2]) -> Self {
        listener.metrics.connections.inc();
        Self {
            listener,
            addresses: socket.remote_addr().zip(socket.local_addr()),
            traffic: Traffic::default(),
            account: OnceLock::new(),
            upstream_address: OnceLock::new(),
            began: Instant::now(),
            _places: places,
        }
    }

    /// The client's service account, if it speaks ALTS.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.get().map(String::as_str)
    }

    /// The line that tells what became of it.
    fn audit(&self, outcome: &Outcome) {
        let Listener { settings, metrics, upstream, .. } = &*self.listener;
        metrics.ended(outcome.name);
        let received = self.traffic.received.load(Ordering::Relaxed);
        let sent = self.traffic.sent.load(Ordering::Relaxed);
        metrics.received.inc_by(received);
        metrics.sent.inc_by(sent);
        let remote = self.addresses.map(|(remote, _)| remote.to_string());
        tracing::info!(
            target: AUDIT,
            listener = settings.name,
            remote,
            peer = self.account(),
            upstream = upstream.name(),
            upstream_address = self.upstream_address.get(),
            outcome = outcome.name,
            error = outcome.error,
            received,
            sent,
            duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "connection"
        );
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.listener.metrics.connections.dec();
    }
}

/// What became of a connection.
#[derive(Debug)]
pub struct Outcome {
    name: &'static str,
    error: Option<String>,
}

impl Outcome {
    /// All the words that there are for what became of a connection.
    pub const NAMES: [&str; 9] = [
        "finished",
        "handshake",
        "refused",
        "upstream",
        "client_error",
        "upstream_error",
        "idle",
        "cut",
        "limit",
    ];
    /// All was said.
    pub const FINISHED: Self = Self { name: "finished", error: None };
    /// Nothing happened for too long.
    pub const IDLE: Self = Self { name: "idle", error: None };
    /// It was still there when the proxy had to end.
    const CUT: Self = Self { name: "cut", error: None };

    /// It went wrong: a fixed word, and why.
    pub fn failed(name: &'static str, error: &impl ToString) -> Self {
        Self { name, error: Some(error.to_string()) }
    }
}

/// Serves a connection to its end.
pub async fn serve(listener: Arc<Listener>, socket: Socket, places: [Place; 2], mut alive: Alive) {
    let connection = Arc::new(Connection::new(listener, &socket, places));
    let outcome = tokio::select! {
        // Who carries bytes ends them in its own way.
        biased;
        outcome = carry(&connection, socket, alive.clone()) => outcome,
        () = alive.over() => Outcome::CUT,
    };
    connection.audit(&outcome);
}

async fn carry(connection: &Arc<Connection>, socket: Socket, alive: Alive) -> Outcome {
    let listener = &connection.listener;
    let stream = match &listener.acceptor {
        None => Stream::plain(socket, listener.limits.buffer_bytes),
        Some(acceptor) => match acceptor.accept(socket).await {
            Ok(stream) => Stream::Alts(Box::new(stream)),
            Err(failure) => {
                let account = failure.error().peer_service_account();
                if !account.is_empty() {
                    let _ = connection.account.set(account.to_owned());
                }
                return Outcome::failed("handshake", failure.error());
            }
        },
    };
    if let (Some(context), Security::Alts(alts)) = (stream.context(), &listener.settings.security) {
        let account = context.peer_service_account();
        let _ = connection.account.set(account.to_owned());
        if !alts.peers.contains(account) {
            let why = format!("the listener allows {}", alts.peers);
            return Outcome::failed("refused", &why);
        }
    }
    match listener.settings.level {
        Level::Bytes => bytes(connection, stream, alive).await,
        Level::Http => http::serve(connection, stream, alive).await,
    }
}

/// Carries a connection as it is.
async fn bytes(connection: &Connection, mut client: Stream, mut alive: Alive) -> Outcome {
    let Listener { upstream, settings, .. } = &*connection.listener;
    let (mut server, address) = match upstream.connect().await {
        Ok(connected) => connected,
        Err(error) => {
            client.break_off();
            return Outcome::failed("upstream", &error);
        }
    };
    let _ = connection.upstream_address.set(address.to_string());
    if upstream.settings().send_proxy_protocol {
        let header = proxy_protocol::header(connection.addresses, connection.account());
        if let Err(error) = greet(&mut server, &header).await {
            client.break_off();
            return Outcome::failed("upstream", &error);
        }
    }
    let end = tokio::select! {
        end = relay(&mut client, &mut server, &connection.traffic, settings.idle) => Some(end),
        () = alive.over() => None,
    };
    if !matches!(end, Some(End::Finished)) {
        client.break_off();
        server.break_off();
    }
    match end {
        None => Outcome::CUT,
        Some(End::Finished) => Outcome::FINISHED,
        Some(End::Idle) => Outcome::IDLE,
        Some(End::Client(error)) => Outcome::failed("client_error", &error),
        Some(End::Upstream(error)) => Outcome::failed("upstream_error", &error),
    }
}

async fn greet(server: &mut Stream, header: &[u8]) -> io::Result<()> {
    server.write_all(header).await?;
    server.flush().await
}
