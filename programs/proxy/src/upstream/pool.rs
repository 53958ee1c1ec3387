//! Connections of HTTP to an upstream, which requests share: one after the other (HTTP/1.1) or at
//! the same time (HTTP/2).

use core::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};
use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, Response};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, timeout_at};
use tokio_alts::service::BoxFuture;

use super::{body::RequestBody, dial::Dial, error::ConnectError};
use crate::{
    headers,
    http2::{FRAME, KEEP_ALIVE, KEEP_ALIVE_TIMEOUT},
    reason::root,
    socket::FOREVER,
};

/// Connections of HTTP/1.1 that wait for a request, at most.
const IDLE: usize = 256;

/// Requests at once on one connection of HTTP/2, before there is a second one: as many as servers
/// should at least take (RFC 9113, section 6.5.2).
const STREAMS: usize = 100;

/// The connections of one upstream.
pub struct Pool {
    dial: Arc<Dial>,
    http1: Mutex<Vec<Idle>>,
    http2: Mutex<Vec<Shared>>,
    /// Held by who makes a connection of HTTP/2: the others wait, and share it.
    connecting: tokio::sync::Mutex<()>,
}

/// One of HTTP/1.1 that nobody uses.
struct Idle {
    connection: Http1,
    since: Instant,
}

/// One of HTTP/1.1. It is driven by whoever waits for a response on it, in one task with the
/// client's connection, which is much less work than to wake another task for each piece. A task of
/// its own is for requests with a body: that has to go on while nobody takes the response.
struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    /// None once it has ended, or a task of its own drives it.
    driver: Option<BoxFuture<'static, ()>>,
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

    /// Whether the server has not given it up.
    fn is_open(&mut self) -> bool {
        // Whoever uses it next waits in another task, and tells it so then.
        self.drive(&mut Context::from_waker(Waker::noop()))
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
                    // It has ended, and has told what is to be sent so.
                    *driver = None;
                }
                return sending.as_mut().poll(cx);
            }
            Poll::Pending
        })
        .await
    }
}

/// One of HTTP/2.
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    load: Arc<Load>,
    used: Instant,
}

/// What is known of one of HTTP/2 wherever it is used.
struct Load {
    requests: AtomicUsize,
    /// The server takes no more requests.
    is_retired: AtomicBool,
}

impl Shared {
    fn takes_requests(&self) -> bool {
        !self.sender.is_closed() && !self.load.is_retired.load(Ordering::Relaxed)
    }
}

/// The right to use a connection for one request.
pub struct Lease {
    sender: Sender,
    pool: Arc<Pool>,
    /// Whether others have used the connection before.
    pub is_used: bool,
}

enum Sender {
    Http1(Http1),
    Http2 { sender: http2::SendRequest<RequestBody>, request: Counted },
}

/// A request that counts among those of a connection.
struct Counted(Arc<Load>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lease {
    /// Sends a request.
    ///
    /// # Errors
    ///
    /// What went wrong, and the request if it was not sent.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Request<RequestBody>>)> {
        let sent = match &mut self.sender {
            Sender::Http1(connection) => connection.send(request).await,
            Sender::Http2 { sender, request: counted } => {
                let sent = sender.try_send_request(request).await;
                if sent.as_ref().is_err_and(|error| error.message().is_some()) {
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
    pub fn new(dial: Arc<Dial>) -> Self {
        Self {
            dial,
            http1: Mutex::default(),
            http2: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    /// An HTTP/1.1 connection: one that waits, or a new one.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn http1(self: &Arc<Self>) -> Result<Lease, ConnectError> {
        let waiting = self.take_http1(self.dial.settings().idle);
        let is_used = waiting.is_some();
        let connection = match waiting {
            Some(connection) => connection,
            None => connect_http1(&self.dial).await?,
        };
        Ok(Lease { sender: Sender::Http1(connection), pool: Arc::clone(self), is_used })
    }

    /// An HTTP/2 connection: one that has room for a request, or a new one.
    ///
    /// # Errors
    ///
    /// When there is none before the deadline.
    pub async fn http2(self: &Arc<Self>) -> Result<Lease, ConnectError> {
        let lease = |(sender, request), is_used| Lease {
            sender: Sender::Http2 { sender, request },
            pool: Arc::clone(self),
            is_used,
        };
        if let Some(shared) = self.share_http2() {
            return Ok(lease(shared, true));
        }
        let deadline = Instant::now() + self.dial.settings().connect_deadline.min(FOREVER);
        let connected = timeout_at(deadline, async {
            let _turn = self.connecting.lock().await;
            if let Some(shared) = self.share_http2() {
                return Ok(lease(shared, true));
            }
            let sender = connect_http2(&self.dial).await?;
            let (requests, is_retired) = (AtomicUsize::new(1), AtomicBool::new(false));
            let load = Arc::new(Load { requests, is_retired });
            let shared = (sender.clone(), Counted(Arc::clone(&load)));
            lock(&self.http2).push(Shared { sender, load, used: Instant::now() });
            Ok(lease(shared, false))
        });
        connected.await.unwrap_or(Err(ConnectError::NoTime))
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

    fn share_http2(&self) -> Option<(http2::SendRequest<RequestBody>, Counted)> {
        let mut connections = lock(&self.http2);
        connections.retain(Shared::takes_requests);
        let free = connections
            .iter_mut()
            .find(|one| one.load.requests.load(Ordering::Relaxed) < STREAMS)?;
        free.used = Instant::now();
        free.load.requests.fetch_add(1, Ordering::Relaxed);
        Some((free.sender.clone(), Counted(Arc::clone(&free.load))))
    }

    /// Closes connections that nobody has used for so long.
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

async fn connect_http1(dial: &Dial) -> Result<Http1, ConnectError> {
    let (stream, _) = dial.connect().await?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(dial.limits().buffer_bytes)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(ConnectError::Http)?;
    let name = dial.name().to_owned();
    let driver = async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(upstream = name, error = root(&error), "connection ended");
        }
    };
    Ok(Http1 { sender, driver: Some(Box::pin(driver)) })
}

async fn connect_http2(dial: &Dial) -> Result<http2::SendRequest<RequestBody>, ConnectError> {
    let (stream, _) = dial.connect().await?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(dial.limits().window_bytes / 2)
        .initial_connection_window_size(dial.limits().window_bytes)
        .max_frame_size(FRAME)
        .max_header_list_size(dial.limits().header_bytes)
        .max_send_buf_size(dial.limits().buffer_bytes)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(ConnectError::Http)?;
    let name = dial.name().to_owned();
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(upstream = name, error = root(&error), "connection ended");
        }
    });
    Ok(sender)
}
