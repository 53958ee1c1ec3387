//! Accepts connections, finds out who they are from, and hands them to the server.

use core::{fmt, time::Duration};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    sync::{Semaphore, mpsc, watch},
};
use tonic::transport::server::Connected;

use crate::{
    listen::{Bound, Socket},
    metrics::Metrics,
    state::identify,
};
use alts_serving::{
    caller::Caller,
    limits::{Slot, Slots},
    owner::owner,
};

/// How many callers over TCP are looked up at once. More would only wait for each other.
const LOOKUPS: usize = 8;

/// How long to wait when the system has nothing left for another connection.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection, and by which listener it came.
#[derive(Debug)]
pub struct Connection {
    /// Who.
    pub caller: Caller,
    /// By which listener.
    pub listener: Arc<str>,
}

trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

/// An accepted connection.
pub struct Accepted {
    io: Pin<Box<dyn Io>>,
    connection: Arc<Connection>,
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
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Arc<Connection> {
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

/// Accepts connections, and finds out who they are from, until told to stop.
#[derive(Clone, Debug)]
pub struct Acceptor {
    slots: Slots,
    lookups: Arc<Semaphore>,
    accepted: mpsc::Sender<io::Result<Accepted>>,
    metrics: Metrics,
}

impl Acceptor {
    /// Accepted connections go to `accepted`.
    #[must_use]
    pub fn new(
        slots: Slots,
        accepted: mpsc::Sender<io::Result<Accepted>>,
        metrics: Metrics,
    ) -> Self {
        Self { slots, lookups: Arc::new(Semaphore::new(LOOKUPS)), accepted, metrics }
    }

    /// Serves one listener.
    pub async fn run(self, bound: Bound, mut stop: watch::Receiver<bool>) {
        let this = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                accepted = this.accept(&bound) => accepted,
                () = crate::told_to_stop(&mut stop) => return,
            };
            if let Err(error) = accepted {
                tracing::warn!(listener = &*bound.name, %error, "cannot accept a connection");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }

    async fn accept(self: &Arc<Self>, bound: &Bound) -> io::Result<()> {
        match &bound.socket {
            Socket::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                self.admit_unix(stream, &bound.name);
            }
            Socket::Tcp { listener, identify } => {
                let (stream, remote) = listener.accept().await?;
                let (this, name) = (Arc::clone(self), Arc::clone(&bound.name));
                let _ = stream.set_nodelay(true);
                let local = stream.local_addr()?;
                if !identify || !remote.ip().to_canonical().is_loopback() {
                    let caller = Caller::Unidentified { address: remote };
                    tokio::spawn(async move {
                        if let Some(slot) = this.slot(&caller, &name) {
                            this.hand_over(Box::pin(stream), caller, name, slot).await;
                        }
                    });
                    return Ok(());
                }
                let Ok(permit) = Arc::clone(&self.lookups).acquire_owned().await else {
                    return Ok(());
                };
                tokio::spawn(async move {
                    let caller = look_up(local, remote).await;
                    drop(permit);
                    if let Some(slot) = this.slot(&caller, &name) {
                        this.hand_over(Box::pin(stream), caller, name, slot).await;
                    }
                });
            }
        }
        Ok(())
    }

    fn admit_unix(self: &Arc<Self>, stream: UnixStream, name: &Arc<str>) {
        let (this, name) = (Arc::clone(self), Arc::clone(name));
        let credentials = stream.peer_cred();
        tokio::spawn(async move {
            match credentials {
                Ok(peer) => {
                    // The slot first: a flood must not make the user database work.
                    let number = Caller::Local {
                        uid: peer.uid(),
                        user: None,
                        groups: Vec::new(),
                        pid: peer.pid(),
                    };
                    let Some(slot) = this.slot(&number, &name) else { return };
                    let caller = identify(peer.uid(), Some(peer.gid()), peer.pid()).await;
                    this.hand_over(Box::pin(stream), caller, name, slot).await;
                }
                Err(error) => {
                    let why = format!("the kernel does not say who it is: {error}");
                    let caller = Caller::Unknown { address: None, why };
                    let Some(slot) = this.slot(&caller, &name) else { return };
                    this.hand_over(Box::pin(stream), caller, name, slot).await;
                }
            }
        });
    }

    fn slot(&self, caller: &Caller, listener: &str) -> Option<Slot> {
        self.slots
            .take(caller.key())
            .inspect_err(|full| {
                if self.metrics.connection_refused(full.name()) {
                    tracing::warn!(
                        %caller,
                        listener,
                        reason = full.name(),
                        "connection closed: the caller has too many"
                    );
                }
            })
            .ok()
    }

    async fn hand_over(&self, io: Pin<Box<dyn Io>>, caller: Caller, name: Arc<str>, slot: Slot) {
        let open = self.metrics.connection(&name);
        open.inc();
        let connection = Arc::new(Connection { caller, listener: name });
        let accepted = Accepted { io, connection, _slot: slot, open };
        // When nobody takes it, the daemon is about to end, and the connection with it.
        let _ = self.accepted.send(Ok(accepted)).await;
    }
}

/// The user whose socket is connected from `remote` to `local`.
async fn look_up(local: SocketAddr, remote: SocketAddr) -> Caller {
    let unknown = |why: String| Caller::Unknown { address: Some(remote), why };
    match tokio::task::spawn_blocking(move || owner(remote, local)).await {
        Ok(Ok(Some(uid))) => identify(uid, None, None).await,
        Ok(Ok(None)) => unknown(
            "the kernel lists no socket of this machine at the other end of the connection"
                .to_owned(),
        ),
        Ok(Err(error)) => unknown(format!("the kernel's list of sockets cannot be read: {error}")),
        Err(_) => unknown("looking up the owner of the calling socket failed".to_owned()),
    }
}
