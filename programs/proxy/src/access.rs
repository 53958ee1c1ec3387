//! One request and its response, as the access log reports them.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use alts_serving::life::Alive;
use http::{Method, Request, StatusCode, Version};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::broken::Broken;
use crate::client::Client;
use crate::log::ACCESS;

/// Whether something happens on a connection.
#[derive(Debug)]
pub struct Activity {
    /// Requests that have not ended yet, and all that there ever were.
    under_way: AtomicUsize,
    begun: AtomicUsize,
    /// Requests that the client has taken back before they were answered.
    abandoned: AtomicUsize,
    changed: Notify,
    is_http2: AtomicBool,
    last: Mutex<Instant>,
    /// The client's connection has ended.
    is_gone: AtomicBool,
    /// The next answer is the last one: of a connection with HTTP/1.1 only.
    is_leaving: AtomicBool,
    /// It was cut because its grace was over.
    is_cut: AtomicBool,
    alive: Alive,
    watched: Mutex<Vec<Weak<dyn Watched>>>,
}

/// What waits for one of two sides, and is given up when it has waited too long.
pub trait Watched: fmt::Debug + Send + Sync {
    /// Gives up when the client has read nothing for `stall`, or the upstream has sent nothing for
    /// `idle`. Returns whether it has given up because of the client.
    fn expire(&self, stall: Duration, idle: Duration) -> bool;
}

const GONE: (Broken, &str) =
    (Broken::ClientGone, "the client's connection ended before the response did");

/// This many requests of one connection may be taken back before it counts how many were not.
const ABANDONED: usize = 100;

impl Activity {
    /// None yet, on a connection that lives as long as `alive`.
    #[must_use]
    pub fn new(alive: Alive) -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            changed: Notify::new(),
            is_http2: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            alive,
            watched: Mutex::default(),
            last: Mutex::new(Instant::now()),
        }
    }

    /// Takes note of the end of the client's connection.
    pub fn gone(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }

    /// The connection is cut, because its grace is over.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    /// Why a request is dropped that was neither answered nor given up.
    fn departure(&self) -> (Broken, &'static str) {
        if self.alive.is_over() {
            (Broken::Cut, "cut when the proxy had to end")
        } else if self.is_cut.load(Ordering::Relaxed) {
            (Broken::Cut, "cut when the connection's grace was over")
        } else if self.is_http1() || self.is_gone.load(Ordering::Relaxed) {
            GONE
        } else {
            (Broken::ClientReset, "the client reset the request")
        }
    }

    /// Since when there has been no request; none while there is one.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (self.under_way.load(Ordering::Relaxed) == 0).then_some(last)
    }

    /// Waits until there is no request.
    pub async fn over(&self) {
        loop {
            let changed = self.changed.notified();
            if self.under_way.load(Ordering::Relaxed) == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the client has taken back more requests than it has let come to an end: each
    /// costs the upstream more than the client.
    pub async fn abused(&self) {
        loop {
            let changed = self.changed.notified();
            let abandoned = self.abandoned.load(Ordering::Relaxed);
            if abandoned >= ABANDONED
                && abandoned > self.begun.load(Ordering::Relaxed).saturating_sub(abandoned)
            {
                return;
            }
            changed.await;
        }
    }

    /// Watches something until it is dropped.
    pub fn watch(&self, new: Weak<dyn Watched>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.len() == watched.capacity() {
            watched.retain(|one| one.strong_count() > 0);
        }
        watched.push(new);
    }

    /// Gives up what has waited too long; returns whether any of it was because of the client.
    pub fn expire(&self, stall: Duration, idle: Duration) -> bool {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|one| one.strong_count() > 0);
        let live: Vec<_> = watched.iter().filter_map(Weak::upgrade).collect();
        drop(watched);
        live.into_iter().filter(|one| one.expire(stall, idle)).count() > 0
    }

    /// From now on, an answer asks the client to close its connection.
    pub fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Whether an answer asks the client to close its connection.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// Whether its requests come one after the other.
    #[must_use]
    pub fn is_http1(&self) -> bool {
        !self.is_http2.load(Ordering::Relaxed)
    }

    /// Whether there ever was a request.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }
}

/// One request and its response; the line is written when the last of their parts is dropped.
#[derive(Debug)]
pub struct Access {
    client: Arc<Client>,
    activity: Arc<Activity>,
    method: Method,
    path: String,
    began: Instant,
    status: AtomicU16,
    received: AtomicU64,
    sent: AtomicU64,
    error: OnceLock<String>,
    broken: OnceLock<Broken>,
    /// What sends the response, over HTTP/2.
    task: OnceLock<AbortHandle>,
    /// When bytes were received last, in milliseconds after it began.
    moved: AtomicU64,
    waits_for_client: AtomicBool,
    client_broke: AtomicBool,
}

impl Access {
    /// Begins with a request.
    pub fn new<B>(client: &Arc<Client>, activity: &Arc<Activity>, request: &Request<B>) -> Self {
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.is_http2.store(request.version() == Version::HTTP_2, Ordering::Relaxed);
        Self {
            client: Arc::clone(client),
            activity: Arc::clone(activity),
            method: request.method().clone(),
            // The query may hold what is not for logs.
            path: request.uri().path().to_owned(),
            began: Instant::now(),
            status: AtomicU16::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            error: OnceLock::new(),
            broken: OnceLock::new(),
            task: OnceLock::new(),
            moved: AtomicU64::new(0),
            waits_for_client: AtomicBool::new(false),
            client_broke: AtomicBool::new(false),
        }
    }

    /// Takes note of the status of the response.
    pub fn answered(&self, status: StatusCode) {
        self.status.store(status.as_u16(), Ordering::Relaxed);
    }

    /// Takes note of why it failed; what came first counts.
    pub fn failed(&self, error: &impl ToString) {
        let _ = self.error.set(error.to_string());
    }

    /// Takes note of why there is no whole response; what came first counts.
    pub fn broke(&self, why: Broken, error: &impl ToString) {
        let _ = self.broken.set(why);
        self.failed(error);
    }

    /// The response is dropped before its end.
    pub fn left(&self) {
        if self.broken.get().is_none() {
            let (why, text) = if self.client.traffic.has_ended.load(Ordering::Relaxed) {
                GONE
            } else {
                self.activity.departure()
            };
            self.broke(why, &text);
        }
    }

    /// Whether the response has no body, whatever it says.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Whether the client speaks HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        !self.activity.is_http1()
    }

    /// Takes note of the task that sends the response.
    pub fn runs_in(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// Ends the task that sends the response, if it has one of its own: that resets the stream.
    pub fn reset(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Takes note of whether the body of the request waits for the client.
    pub fn waits_for_client(&self, waits: bool) {
        self.waits_for_client.store(waits, Ordering::Relaxed);
    }

    /// Whether the body of the request waits for the client.
    #[must_use]
    pub fn is_waiting_for_client(&self) -> bool {
        self.waits_for_client.load(Ordering::Relaxed)
    }

    /// Takes note of a body that the client has broken off, or made no sense of.
    pub fn client_failed(&self, error: &impl ToString) {
        self.client_broke.store(true, Ordering::Relaxed);
        self.broke(Broken::ClientBody, &format!("the client's body: {}", error.to_string()));
    }

    /// Takes note of a body that has ended because the client reset the request.
    pub fn client_reset(&self) {
        self.client_broke.store(true, Ordering::Relaxed);
        self.left();
    }

    /// Whether the client has broken off the body of the request.
    #[must_use]
    pub fn has_client_failed(&self) -> bool {
        self.client_broke.load(Ordering::Relaxed)
    }

    /// For how long no part of the request has come.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(moved)
    }

    /// Watches something as long as the connection is served.
    pub fn watch(&self, what: Weak<dyn Watched>) {
        self.activity.watch(what);
    }

    /// Counts bytes of the request's body.
    pub fn received(&self, bytes: usize) {
        self.moved.store(millis(self.began.elapsed()), Ordering::Relaxed);
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes of the response's body.
    pub fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        *self.activity.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.activity.under_way.fetch_sub(1, Ordering::Relaxed);
        if self.status.load(Ordering::Relaxed) == 0 {
            self.activity.abandoned.fetch_add(1, Ordering::Relaxed);
            self.left();
        }
        self.activity.changed.notify_one();
        let duration = self.began.elapsed();
        let status = self.status.load(Ordering::Relaxed);
        self.client.metrics.request(status, duration);
        if let Some(why) = self.broken.get() {
            self.client.metrics.broken(*why);
        }
        tracing::info!(
            target: ACCESS,
            listener = self.client.listener,
            remote = self.client.addresses.map(|(remote, _)| tracing::field::display(remote)),
            caller = self.client.caller(),
            peer = self.client.account(),
            method = self.method.as_str(),
            path = self.path,
            // 0: the client had gone before there was one.
            status,
            received = self.received.load(Ordering::Relaxed),
            sent = self.sent.load(Ordering::Relaxed),
            duration_ms = millis(duration),
            error = self.error.get(),
            "request"
        );
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
