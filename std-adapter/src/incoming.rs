//! Incoming connections as a stream: accepted, and their handshakes made, concurrently.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};

use alts_core::Side;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, sleep_until};
use tokio_stream::Stream;
use tracing::{Instrument, debug, info_span, warn};

use crate::acceptor::AltsAcceptor;
use crate::age::ConnectionAge;
use crate::connect_info::Transport;
use crate::error::HandshakeFailure;
use crate::handshake::{Asked, Crowd};
use crate::stream::AltsStream;

/// Connections that are not established yet, at most, by default.
const MAX_PENDING: usize = 4096;
/// Connections that the kernel keeps until they are accepted; it has a limit of its own besides. When
/// its queue is full, a client has to try again after 1 s, 2 s, 4 s, and its place is anybody's.
const BACKLOG: u32 = 4096;
/// The pauses after failures of the listener, such as too many open files.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

type Connections<IO> = Pin<Box<dyn Stream<Item = io::Result<IO>> + Send>>;
type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;
type Callback<IO> = Box<dyn Fn(IncomingFailure<'_, IO>) + Send + Sync>;

/// The ALTS connections that arrive at a listener.
///
/// Each connection has its handshake in a separate task, with its own deadline. A silent client
/// delays nobody: when there are too many ([`max_pending`](Self::max_pending)), a silent one
/// makes room. So does one that stops in the middle of its handshake: see
/// [`max_concurrent_handshakes`](crate::config::ServerConfigBuilder::max_concurrent_handshakes). Failures are reported through tracing, and to
/// [`on_failure`](Self::on_failure); neither a handshake nor an error of the listener ends the
/// stream. Dropping it closes the listener and ends the handshakes under way.
///
/// It goes into tonic's `serve_with_incoming`, and is an axum listener (feature `axum`).
pub struct AltsIncoming<IO = TcpStream> {
    connections: Connections<IO>,
    local_addr: Option<SocketAddr>,
    acceptor: AltsAcceptor,
    handshakes: JoinSet<Result<AltsStream<IO>, HandshakeFailure<IO>>>,
    /// The same connections, of which one can be asked to make room.
    pending: Arc<Crowd>,
    max_pending: usize,
    /// The next connection, while all places are taken.
    next: Option<IO>,
    /// When to ask for a place again.
    ask_again: Option<Pin<Box<Sleep>>>,
    on_failure: Option<Callback<IO>>,
    /// Set while the listener rests after a failure.
    pause: Option<Pin<Box<Sleep>>>,
    next_pause: Duration,
    /// Says when to accept no more.
    stop: Option<Stop>,
    /// How long established connections may go on then.
    grace: Option<Duration>,
    /// How far the stop has come, if there is a grace.
    stage: Option<watch::Receiver<Stage>>,
    age: ConnectionAge,
    ended: bool,
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// No connection is accepted any more.
    Stopping,
    /// Connections that are still open end.
    Over,
}

/// What went wrong with an incoming connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum IncomingFailure<'a, IO> {
    /// The listener could not accept it.
    Accept(&'a io::Error),
    /// Its handshake failed. The connection is closed after the callback.
    Handshake(&'a HandshakeFailure<IO>),
}

impl AltsIncoming {
    /// Listens on a TCP address. The kernel may queue up to 4096 connections in front of it, where
    /// [`TcpListener::bind`] has room for 128 on most systems.
    ///
    /// # Errors
    /// Those of [`TcpListener::bind`].
    pub async fn bind(address: impl ToSocketAddrs, acceptor: AltsAcceptor) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::InvalidInput);
        for address in lookup_host(address).await? {
            match listen(address) {
                Ok(listener) => return Ok(Self::from_listener(listener, acceptor)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Accepts from a TCP listener. Connections have `TCP_NODELAY` set.
    #[must_use]
    pub fn from_listener(listener: TcpListener, acceptor: AltsAcceptor) -> Self {
        let local_addr = listener.local_addr().ok();
        Self { local_addr, ..Self::new(TcpConnections(listener), acceptor) }
    }
}

impl<IO> AltsIncoming<IO> {
    /// Accepts from any stream of connections.
    #[must_use]
    pub fn new<S>(connections: S, acceptor: AltsAcceptor) -> Self
    where
        S: Stream<Item = io::Result<IO>> + Send + 'static,
        IO: 'static,
    {
        Self {
            connections: Box::pin(connections),
            local_addr: None,
            acceptor,
            handshakes: JoinSet::new(),
            pending: Arc::default(),
            max_pending: MAX_PENDING,
            next: None,
            ask_again: None,
            on_failure: None,
            pause: None,
            next_pause: PAUSES.0,
            stop: None,
            grace: None,
            stage: None,
            age: ConnectionAge::new(),
            ended: false,
        }
    }

    /// Calls `callback` for each failure. It should return soon: it is called where connections
    /// are accepted.
    #[must_use]
    pub fn on_failure<F>(mut self, callback: F) -> Self
    where
        F: Fn(IncomingFailure<'_, IO>) + Send + Sync + 'static,
    {
        self.on_failure = Some(Box::new(callback));
        self
    }

    /// How many connections may be open that are not established yet, silent ones included: 4096
    /// by default. When there are that many, the next one is given the place of one that has kept its
    /// handshake waiting for more than 300 ms: of one that has not sent its whole first frame rather
    /// than of one that has, then of the address (64 bits of it in IPv6) with the most of them, then of
    /// the one that has waited longest. That one fails
    /// ([`ErrorKind::MadeRoom`](crate::ErrorKind::MadeRoom)). Others wait in the listener's queue.
    ///
    /// While clients that send no first frame come again and again, they have less time: down to 50 ms.
    ///
    /// Of those, as many handshakes are made at once as the acceptor's configuration allows.
    #[must_use]
    pub fn max_pending(mut self, count: usize) -> Self {
        self.max_pending = count.max(1);
        self
    }

    /// Accepts no more connections once `stop` is ready: the listener is closed, handshakes under way
    /// are dropped, and the stream ends. Established connections go on.
    ///
    /// A server's own graceful stop waits for its connections; this one sees to it that none comes
    /// from a client that is silent in its handshake. [`grace`](Self::grace) bounds how long the others
    /// are waited for.
    #[must_use]
    pub fn stop_when(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop = Some(Box::pin(stop));
        self
    }

    /// How long the connections that it has handed out may go on once [`stop_when`](Self::stop_when)
    /// is ready: for ever by default. Those that are open after that fail with
    /// [`TimedOut`](io::ErrorKind::TimedOut), also if a server of this crate's streams waits for them.
    ///
    /// A graceful stop of tonic, hyper or axum asks each client to end its connection, and waits. A client
    /// that sits silent after its handshake, or after the preface of HTTP/2, never does: without a
    /// grace, it holds up the stop for as long as it likes.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// How long each of its connections may go on: for ever by default.
    ///
    /// A connection that is due has a GOAWAY put between the server's frames, if it speaks HTTP/2: gRPC's
    /// clients, and all others, make their next calls over another connection, and no call is lost.
    /// In HTTP/1.1, only a server can say so: give [`ConnectionEnd::drive`](crate::ConnectionEnd::drive) its
    /// connections. When the connection is over, reading and writing fail with
    /// [`TimedOut`](io::ErrorKind::TimedOut), and the server drops it.
    #[must_use]
    pub const fn connection_age(mut self, age: ConnectionAge) -> Self {
        self.age = age;
        self
    }

    /// The address that it listens on, if it has a TCP listener.
    #[must_use]
    pub const fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    fn report(&self, failure: IncomingFailure<'_, IO>) {
        // The acceptor has logged a handshake's failure.
        if let IncomingFailure::Accept(error) = &failure {
            warn!(%error, "cannot accept a connection");
        }
        if let Some(callback) = &self.on_failure {
            callback(failure);
        }
    }

    /// Reports an error of accepting; if it was the listener's own, lets the listener rest for a while.
    fn accept_failed(&mut self, error: &io::Error) {
        self.report(IncomingFailure::Accept(error));
        // These are about one connection, which its client has given up.
        let of_one_connection = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        );
        if !of_one_connection {
            self.pause = Some(Box::pin(sleep(self.next_pause)));
            self.next_pause = self.next_pause.saturating_mul(2).min(PAUSES.1);
        }
    }
}

impl<IO> AltsIncoming<IO>
where
    IO: AsyncRead + AsyncWrite + Transport + Unpin + Send + 'static,
{
    fn begin(&mut self, io: IO) {
        self.next_pause = PAUSES.0;
        let from = io.info().remote_addr();
        let span = info_span!("alts_connection", peer = from.map(tracing::field::display));
        let pending = Arc::clone(&self.pending);
        let handshake = self.acceptor.accept_among(pending, from.map(|from| from.ip()), io);
        self.handshakes.spawn(handshake.instrument(span));
    }

    /// Where there is a grace, starts what counts it: a server asks for no more connections once it
    /// stops, so it has to count by itself.
    fn count_grace(&mut self) {
        let Some((stop, grace)) =
            self.stop.take_if(|_| self.grace.is_some()).zip(self.grace.take())
        else {
            return;
        };
        let (sender, stage) = watch::channel(Stage::Serving);
        self.stop = Some(Box::pin(reached(stage.clone(), Stage::Stopping)));
        self.stage = Some(stage);
        tokio::spawn(async move {
            // Without anybody who would hear of it, it counts nothing.
            if first(sender.closed(), stop).await.is_some() {
                sender.send_replace(Stage::Stopping);
                sleep(grace).await;
                sender.send_replace(Stage::Over);
            }
        });
    }

    /// Asks one of those pending after the other to make room: each has a moment for it.
    fn poll_ask_for_room(&mut self, cx: &mut Context<'_>) -> Poll<Infallible> {
        loop {
            if let Some(again) = &mut self.ask_again {
                ready!(again.as_mut().poll(cx));
            }
            let again = match self.pending.ask_for_room() {
                Asked::Yes => Crowd::ask_again(),
                Asked::NotBefore(again) => again,
            };
            self.ask_again = Some(Box::pin(sleep_until(again)));
        }
    }

    /// The next connection that is established, or `None` when there will be no more.
    pub(crate) fn poll_established(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<AltsStream<IO>>> {
        self.count_grace();
        if let Some(stop) = &mut self.stop
            && stop.as_mut().poll(cx).is_ready()
        {
            self.stop = None;
            self.ended = true;
            self.connections = Box::pin(tokio_stream::empty());
            self.handshakes = JoinSet::new();
            self.next = None;
        }
        loop {
            let ended = self.handshakes.poll_join_next(cx);
            if matches!(ended, Poll::Ready(Some(_))) {
                // There is a place.
                self.ask_again = None;
            }
            match ended {
                Poll::Ready(Some(Ok(Ok(mut stream)))) => {
                    if let Some(stage) = &self.stage {
                        let end = || Box::pin(over(stage.clone()));
                        stream.end_when(end(), end());
                    }
                    let end = self.age.of(stream.context());
                    stream.end_http2_with(&end, Side::Server);
                    return Poll::Ready(Some(stream));
                }
                Poll::Ready(Some(Ok(Err(failure)))) => {
                    self.report(IncomingFailure::Handshake(&failure));
                    continue;
                }
                Poll::Ready(Some(Err(error))) => {
                    // A handshaker service's code has panicked: that one connection is lost.
                    warn!(%error, "handshake task lost");
                    continue;
                }
                Poll::Ready(None) if self.ended => return Poll::Ready(None),
                Poll::Ready(None) | Poll::Pending => {}
            }
            if self.ended {
                return Poll::Pending;
            }
            if let Some(io) = self.next.take() {
                if self.handshakes.len() < self.max_pending {
                    self.begin(io);
                    continue;
                }
                self.next = Some(io);
                match ready!(self.poll_ask_for_room(cx)) {}
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.connections.as_mut().poll_next(cx)) {
                Some(Ok(io)) => {
                    if self.handshakes.len() < self.max_pending {
                        self.pending.has_room();
                    }
                    self.next = Some(io);
                }
                Some(Err(error)) => self.accept_failed(&error),
                None => self.ended = true,
            }
        }
    }
}

/// It never yields an error, and ends only when its stream of connections does: a TCP listener's
/// never ends.
impl<IO> Stream for AltsIncoming<IO>
where
    IO: AsyncRead + AsyncWrite + Transport + Unpin + Send + 'static,
{
    type Item = Result<AltsStream<IO>, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_established(cx).map(|stream| stream.map(Ok))
    }
}

impl<IO> fmt::Debug for AltsIncoming<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AltsIncoming")
            .field("local_addr", &self.local_addr)
            .field("acceptor", &self.acceptor)
            .field("pending", &self.handshakes.len())
            .finish_non_exhaustive()
    }
}

/// A listener as [`TcpListener::bind`] makes it, with a longer queue.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // On Windows, this would let another program take the port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Waits until the stop has come as far as `stage`.
async fn reached(mut now: watch::Receiver<Stage>, stage: Stage) {
    if now.wait_for(|now| *now >= stage).await.is_err() {
        // Nobody counts any more: the runtime of the count has ended.
        pending::<()>().await;
    }
}

/// Waits until connections that are still open end, and says why.
async fn over(stage: watch::Receiver<Stage>) -> &'static str {
    reached(stage, Stage::Over).await;
    "the server has stopped, and the time that its connections had to end is over"
}

/// Waits until one of both is ready; says whether it is the second.
async fn first<T>(one: impl Future, other: impl Future<Output = T>) -> Option<T> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match other.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => one.as_mut().poll(cx).map(|_| None),
    })
    .await
}

/// The connections of a TCP listener.
struct TcpConnections(TcpListener);

impl Stream for TcpConnections {
    type Item = io::Result<TcpStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (stream, _) = ready!(self.0.poll_accept(cx))?;
        if let Err(error) = stream.set_nodelay(true) {
            // It works without, more slowly.
            debug!(%error, "cannot set TCP_NODELAY");
        }
        Poll::Ready(Some(Ok(stream)))
    }
}
