//! Listeners: sockets that stay as long as their address does, and settings that change.

use core::{fmt, time::Duration};
use std::{io, sync::Arc};

use alts_serving::{
    config_error::ConfigError, life::Alive, socket_file::SocketFile, throttle::Throttle,
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
};
use tokio_alts::{AltsAcceptor, HandshakerService, ServerConfig};

use super::{
    address::Address,
    config::{self, Limits, Security},
    connection,
    limits::Count,
    metrics::{ListenerMetrics, Metrics},
    socket::Socket,
    upstream::Upstream,
};

/// How long to wait when the system has nothing left for another connection.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// What connections begin with, and keep.
pub struct Listener {
    /// What it was told.
    pub settings: config::Listen,
    /// How much at once.
    pub limits: Limits,
    /// Makes the clients' handshakes, if they speak ALTS.
    pub acceptor: Option<AltsAcceptor>,
    /// Where connections go to.
    pub upstream: Arc<Upstream>,
    /// What is counted.
    pub metrics: ListenerMetrics,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Listener {
    /// A listener's settings, with what follows from them. `service` makes the handshakes if they
    /// are wanted.
    ///
    /// # Errors
    ///
    /// When they can never lead to a handshake.
    pub fn new(
        settings: config::Listen,
        service: Option<Arc<dyn HandshakerService>>,
        upstream: Arc<Upstream>,
        limits: Limits,
        metrics: &Metrics,
    ) -> Result<Self, ConfigError> {
        let acceptor = match (&settings.security, service) {
            (Security::Alts(alts), Some(service)) => {
                let config = ServerConfig::builder()
                    .max_frame_size(alts.max_frame_size)
                    .deadline(alts.handshake_deadline)
                    .max_concurrent_handshakes(limits.handshakes)
                    .build()
                    .map_err(|why| ConfigError::new(&settings.place, why.to_string()))?;
                Some(AltsAcceptor::new(config, service))
            }
            _ => None,
        };
        let metrics = metrics.listener(&settings.name);
        Ok(Self { settings, limits, acceptor, upstream, metrics })
    }
}

/// An open socket.
#[derive(Debug)]
pub struct Bound {
    address: String,
    socket: Accepting,
}

#[derive(Debug)]
enum Accepting {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: SocketFile },
}

impl Bound {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// Names the listener and what to do.
    pub async fn open(listen: &config::Listen) -> Result<Self, ConfigError> {
        let refuse =
            |what: String| ConfigError::new(format!("{}, {}", listen.place, listen.address), what);
        let failed = |why: io::Error| refuse(format!("cannot listen: {why}"));
        match &listen.address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address.as_str()).await.map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?.to_string();
                Ok(Self { address, socket: Accepting::Tcp(listener) })
            }
            Address::Unix(path) => {
                let (listener, file) =
                    SocketFile::open(path, listen.mode, None, None).map_err(refuse)?;
                listener.set_nonblocking(true).map_err(failed)?;
                let listener = UnixListener::from_std(listener).map_err(failed)?;
                let socket = Accepting::Unix { listener, _file: file };
                Ok(Self { address: listen.address.to_string(), socket })
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    async fn accept(&self) -> io::Result<Socket> {
        Ok(match &self.socket {
            Accepting::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // A peer that is gone already is noticed later.
                let _ = stream.set_nodelay(true);
                Socket::Tcp(stream)
            }
            Accepting::Unix { listener, .. } => Socket::Unix(listener.accept().await?.0),
        })
    }

    /// Accepts connections, each for a task of its own, until the proxy is to end or nobody has
    /// settings for it any more.
    pub async fn run(
        self,
        mut settings: watch::Receiver<Arc<Listener>>,
        total: Count,
        mut alive: Alive,
    ) {
        let own = Count::default();
        let throttle = Throttle::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                changed = settings.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = alive.draining() => return,
            };
            let listener = Arc::clone(&settings.borrow());
            let name = &listener.settings.name;
            let socket = match accepted {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::warn!(listener = %name, %error, "cannot accept a connection");
                    tokio::time::sleep(EXHAUSTED).await;
                    continue;
                }
            };
            let limits = &listener.limits;
            let places =
                (total.take(limits.connections), own.take(limits.connections_per_listener));
            if let (Some(of_all), Some(of_listener)) = places {
                let places = [of_all, of_listener];
                tokio::spawn(connection::serve(listener, socket, places, alive.clone()));
            } else {
                listener.metrics.ended("limit");
                if throttle.may_speak() {
                    tracing::warn!(
                        listener = %name,
                        connections = total.taken(),
                        of_this_listener = own.taken(),
                        "connection closed: there are as many as [limits] allows"
                    );
                }
            }
        }
    }
}
