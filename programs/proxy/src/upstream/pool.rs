//! HTTP connections to an upstream, which requests share: one after the other (HTTP/1.1) or at
//! the same time (HTTP/2).

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use alts_serving::limits::Key;
use http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_alts::BoxFuture;

use super::again;
use super::body::RequestBody;
use super::dial::Dial;
use super::error::ConnectError;
use super::shares::Shares;
use super::tasks::Tasks;
use super::until::{Rules, Until};
use crate::headers;
use crate::http2::{FRAME, KEEP_ALIVE, KEEP_ALIVE_TIMEOUT, connection_window};
use crate::outcome::Why;
use crate::reason::root;
use crate::socket::FOREVER;

/// HTTP/1.1 connections that wait for a request, at most.
const IDLE: usize = 256;

/// Requests at once on one HTTP/2 connection, before there is a second one: as many as servers
/// should at least take (RFC 9113, section 6.5.2).
const STREAMS: usize = 100;

/// What an HTTP/2 connection may carry before the server has said what it takes: a number that
/// no server says, to see whether it has.
const NOT_SAID: usize = 1 << 20;
/// How long to wait for the server to say it: one that does not break HTTP/2's rules does at once.
const SAYING: Duration = Duration::from_millis(250);

/// Connections that are made at the same time, at most.
const MAKING: usize = 64;

/// The connections of one upstream.
pub struct Pool {
    dial: Arc<Dial>,
    http1: Mutex<Vec<Idle>>,
    http2: Mutex<Vec<Shared>>,
    /// Held by the request that makes an HTTP/2 connection: the others wait, and share it.
    connecting: Arc<tokio::sync::Mutex<()>>,
    /// Connections that there may still be, and that may be made at the same time.
    free: Arc<Semaphore>,
    making: Semaphore,
    shares: Shares,
    /// What is expected of the servers, also once the configuration has changed.
    rules: Arc<watch::Sender<Rules>>,
}

/// An HTTP/1.1 connection that nobody uses.
struct Idle {
    connection: Http1,
    since: Instant,
}

/// An HTTP/1.1 connection. The task that waits for a response on it drives it, which is the task of
/// the client's connection: that is much less work than waking another one for each piece. Only
/// requests with a body get a task of their own: it has to go on while nobody takes the response.
struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    /// None once it has ended, or a task of its own drives it.
    driver: Option<BoxFuture<'static, ()>>,
    until: Until,
}

impl Http1 {
    /// Does what there is to do; returns whether the connection is still there.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(cx).is_ready()
        {
            self.driver = None;
        }
        !self.sender.is_closed()
    }

    /// Whether the server has not given it up, and it may take another request.
    fn is_open(&mut self) -> bool {
        // The next user waits in another task, and gives it the waker of that task.
        self.drive(&mut Context::from_waker(Waker::noop())) && !self.until.is_due()
    }

    /// Keeps what it takes to be one of those that there may be, until it has ended.
    fn hold(&mut self, permit: OwnedSemaphorePermit) {
        if let Some(driver) = self.driver.take() {
            self.driver = Some(Box::pin(async move {
                driver.await;
                drop(permit);
            }));
        }
    }

    /// Gives it a task of its own.
    fn set_free(&mut self) {
        if let Some(driver) = self.driver.take() {
            tokio::spawn(driver);
        }
    }

    async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        if !request.body().is_end_stream() || headers::is_websocket(request.headers()) {
            self.set_free();
        }
        let mut sending = pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        poll_fn(|cx| {
            if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                return Poll::Ready(sent);
            }
            if let Some(driving) = driver {
                if driving.as_mut().poll(cx).is_ready() {
                    // It has ended, and has passed the reason on to `sending`.
                    *driver = None;
                }
                return sending.as_mut().poll(cx);
            }
            Poll::Pending
        })
        .await
    }
}

/// An HTTP/2 connection.
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    load: Arc<Load>,
    used: Instant,
    until: Until,
}

/// What is known about an HTTP/2 connection wherever it is used.
struct Load {
    requests: AtomicUsize,
    /// How many the server takes at once.
    room: AtomicUsize,
    /// The server takes no more requests.
    is_retired: AtomicBool,
}

impl Shared {
    fn takes_requests(&self) -> bool {
        !self.sender.is_closed()
            && !self.load.is_retired.load(Ordering::Relaxed)
            && !self.until.is_due()
    }
}

/// The right to use a connection for one request.
pub struct Lease {
    sender: Sender,
    pool: Arc<Pool>,
    /// One of those that a client may use at the same time, unless others can share the connection.
    _share: Option<OwnedSemaphorePermit>,
    /// Whether others have used the connection before.
    pub is_used: bool,
}

enum Sender {
    Http1(Http1),
    Http2 { sender: http2::SendRequest<RequestBody>, request: Counted, until: Until },
}

/// A request that counts among those of a connection.
struct Counted(Arc<Load>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("is_used", &self.is_used).finish_non_exhaustive()
    }
}

impl Lease {
    /// Sends a request.
    ///
    /// # Errors
    /// What went wrong, and the request if it was not sent.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Request<RequestBody>>)> {
        let sent = match &mut self.sender {
            Sender::Http1(connection) => connection.send(request).await,
            Sender::Http2 { sender, request: counted, .. } => {
                let sent = sender.try_send_request(request).await;
                if sent.as_ref().is_err_and(|error| {
                    error.message().is_some() || again::is_leaving(error.error())
                }) {
                    counted.0.is_retired.store(true, Ordering::Relaxed);
                }
                sent
            }
        };
        sent.map_err(|mut error| {
            let request = error.take_message();
            (error.into_error(), request)
        })
    }

    /// Waits until the connection has to end, whatever is under way on it; says why.
    pub fn over(&self) -> impl Future<Output = Why> + Send + 'static {
        let (Sender::Http1(Http1 { until, .. }) | Sender::Http2 { until, .. }) = &self.sender;
        until.clone().over()
    }

    /// Does what there is to do on a connection that nobody else drives.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if let Sender::Http1(connection) = &mut self.sender {
            connection.drive(cx);
        }
    }

    /// The response is over: the connection is for others.
    pub fn give_back(self) {
        if let Sender::Http1(mut connection) = self.sender
            && connection.is_open()
        {
            let mut idle = lock(&self.pool.http1);
            if idle.len() < IDLE {
                idle.push(Idle { connection, since: Instant::now() });
            }
        }
    }
}

impl Pool {
    /// One without connections yet; `dial` makes them.
    #[must_use]
    pub fn new(dial: Arc<Dial>, rules: Arc<watch::Sender<Rules>>) -> Self {
        let connections = dial.limits().upstream_connections;
        Self {
            dial,
            http1: Mutex::default(),
            http2: Mutex::default(),
            connecting: Arc::default(),
            free: Arc::new(Semaphore::new(connections)),
            making: Semaphore::new(MAKING),
            shares: Shares::of(connections),
            rules,
        }
    }

    /// An HTTP/1.1 connection for a client: one that waits, or a new one.
    ///
    /// # Errors
    /// When there is none, or the client has its share for longer than the deadline.
    pub async fn http1(self: &Arc<Self>, client: &Key) -> Result<Lease, ConnectError> {
        let share = self.within_deadline(self.shares.of_client(client).acquire_owned()).await;
        let share = Some(share.and_then(Result::ok).ok_or(ConnectError::Full)?);
        if let Some(connection) = self.take_http1(self.dial.settings().idle) {
            let (sender, pool) = (Sender::Http1(connection), Arc::clone(self));
            return Ok(Lease { sender, pool, _share: share, is_used: true });
        }
        let (done, connected) = oneshot::channel();
        let pool = Arc::clone(self);
        // It goes on when the client takes its request back: the next request needs it.
        tokio::spawn(async move {
            let made = pool.within_limits(connect_http1(&pool.dial, &pool.rules)).await;
            let lease = made.map(|(mut connection, permit)| {
                connection.hold(permit);
                Lease { sender: Sender::Http1(connection), pool, _share: share, is_used: false }
            });
            if let Err(Ok(lease)) = done.send(lease) {
                lease.give_back();
            }
        });
        connected.await.unwrap_or(Err(ConnectError::NoTime))
    }

    /// An HTTP/2 connection: one that has room for a request, or a new one.
    ///
    /// # Errors
    /// When there is none before the deadline.
    pub async fn http2(self: &Arc<Self>) -> Result<Lease, ConnectError> {
        let lease = |(sender, request, until), is_used| Lease {
            sender: Sender::Http2 { sender, request, until },
            pool: Arc::clone(self),
            _share: None,
            is_used,
        };
        if let Some(shared) = self.share_http2() {
            return Ok(lease(shared, true));
        }
        let turn = self.within_deadline(Arc::clone(&self.connecting).lock_owned());
        let turn = turn.await.ok_or(ConnectError::NoTime)?;
        if let Some(shared) = self.share_http2() {
            return Ok(lease(shared, true));
        }
        let (done, connected) = oneshot::channel();
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let _turn = turn;
            let made = pool.within_limits(connect_http2(&pool.dial, &pool.rules)).await;
            let shared = made.map(|((sender, load, driver, until), permit)| {
                tokio::spawn(async move {
                    driver.await;
                    drop(permit);
                });
                let shared = (sender.clone(), Counted(Arc::clone(&load)), until.clone());
                lock(&pool.http2).push(Shared { sender, load, used: Instant::now(), until });
                shared
            });
            // If nobody waits for it any more, the request is not counted any more either.
            drop(done.send(shared));
        });
        let shared = connected.await.unwrap_or(Err(ConnectError::NoTime))?;
        Ok(lease(shared, false))
    }

    /// Makes a connection when there may be another one, with the permit for it.
    async fn within_limits<T>(
        &self,
        connecting: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<(T, OwnedSemaphorePermit), ConnectError> {
        let permit = self.within_deadline(Arc::clone(&self.free).acquire_owned()).await;
        let permit = permit.and_then(Result::ok).ok_or(ConnectError::Full)?;
        let making = self.within_deadline(self.making.acquire()).await;
        let _making = making.and_then(Result::ok).ok_or(ConnectError::Full)?;
        Ok((connecting.await?, permit))
    }

    async fn within_deadline<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        timeout(self.dial.settings().connect_deadline.min(FOREVER), what).await.ok()
    }

    fn take_http1(&self, longest: Duration) -> Option<Http1> {
        let mut idle = lock(&self.http1);
        // The last one is the least likely to be given up by the server.
        let mut index = idle.len();
        while let Some(previous) = index.checked_sub(1) {
            index = previous;
            let one = idle.get_mut(index)?;
            if !one.connection.is_open() || one.since.elapsed() >= longest {
                idle.remove(index);
            } else if one.connection.sender.is_ready() {
                return Some(idle.remove(index).connection);
            }
        }
        None
    }

    fn share_http2(&self) -> Option<(http2::SendRequest<RequestBody>, Counted, Until)> {
        let mut connections = lock(&self.http2);
        connections.retain(Shared::takes_requests);
        let free = connections.iter_mut().find(|one| {
            let room = one.load.room.load(Ordering::Relaxed).min(STREAMS);
            one.load.requests.load(Ordering::Relaxed) < room
        })?;
        free.used = Instant::now();
        free.load.requests.fetch_add(1, Ordering::Relaxed);
        Some((free.sender.clone(), Counted(Arc::clone(&free.load)), free.until.clone()))
    }

    /// Closes connections that nobody has used for that long.
    pub fn prune(&self, idle: Duration) {
        lock(&self.http1).retain_mut(|one| one.connection.is_open() && one.since.elapsed() < idle);
        lock(&self.http2).retain(|one| {
            let requests = one.load.requests.load(Ordering::Relaxed);
            one.takes_requests() && (requests > 0 || one.used.elapsed() < idle)
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connect_http1(dial: &Dial, rules: &watch::Sender<Rules>) -> Result<Http1, ConnectError> {
    let (stream, _) = dial.connect().await?;
    let until = Until::new(&dial.settings().age, stream.context(), rules.subscribe());
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(dial.limits().buffer_bytes)
        .max_headers(dial.limits().headers.saturating_mul(2))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(ConnectError::Http)?;
    let name = dial.name().to_owned();
    let driver = async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(upstream = name, error = root(&error), "connection ended");
        }
    };
    // It is the connection, and has no tasks.
    let driver = ending(dial, driver, until.clone(), Tasks::default());
    Ok(Http1 { sender, driver: Some(driver), until })
}

/// Ends a connection when it is over, whatever is under way on it.
fn ending(
    dial: &Dial,
    driver: impl Future<Output = ()> + Send + 'static,
    until: Until,
    tasks: Tasks,
) -> BoxFuture<'static, ()> {
    let name = dial.name().to_owned();
    Box::pin(async move {
        tokio::select! {
            () = driver => {}
            why = until.over() => {
                tasks.end();
                tracing::info!(upstream = name, reason = why.name(), "connection cut");
            }
        }
    })
}

type Http2 = (http2::SendRequest<RequestBody>, Arc<Load>, BoxFuture<'static, ()>, Until);

async fn connect_http2(dial: &Dial, rules: &watch::Sender<Rules>) -> Result<Http2, ConnectError> {
    let (stream, _) = dial.connect().await?;
    let until = Until::new(&dial.settings().age, stream.context(), rules.subscribe());
    let (window, tasks) = (dial.limits().window_bytes, Tasks::default());
    let (sender, mut connection) = http2::Builder::new(tasks.clone())
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        // Responses that nobody reads leave room for those of others, however many there are.
        .initial_connection_window_size(connection_window(window, STREAMS))
        .initial_max_send_streams(NOT_SAID)
        .max_frame_size(FRAME)
        .max_header_list_size(dial.limits().header_bytes)
        .max_send_buf_size(dial.limits().buffer_bytes)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(ConnectError::Http)?;
    let name = dial.name().to_owned();
    let load = Arc::new(Load {
        requests: AtomicUsize::new(1),
        room: AtomicUsize::new(NOT_SAID),
        is_retired: AtomicBool::new(false),
    });
    let of_driver = Arc::clone(&load);
    let driver = async move {
        let ended = poll_fn(|cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            of_driver.room.store(connection.current_max_send_streams(), Ordering::Relaxed);
            polled
        });
        if let Err(error) = ended.await {
            tracing::debug!(upstream = name, error = root(&error), "connection ended");
        }
    };
    let mut driver = ending(dial, driver, until.clone(), tasks);
    let deadline = Instant::now() + SAYING;
    let said = async {
        while load.room.load(Ordering::Relaxed) == NOT_SAID && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
    };
    // Requests beyond what the server takes at once would wait here for ever.
    tokio::select! {
        () = &mut driver => driver = Box::pin(std::future::ready(())),
        () = said => {}
    }
    Ok((sender, load, driver, until))
}
