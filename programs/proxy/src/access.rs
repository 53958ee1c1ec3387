//! One request and its response, as the access log reports them.

use core::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::{Method, Request, StatusCode};
use tokio::time::Instant;

use crate::{client::Client, log::ACCESS};

/// Whether something happens on a connection.
#[derive(Debug)]
pub struct Activity {
    /// Requests that have not come to their end, and those that ever were.
    under_way: AtomicUsize,
    begun: AtomicUsize,
    last: Mutex<Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
        }
    }
}

impl Activity {
    /// Since when there has been no request; none while there is one.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (self.under_way.load(Ordering::Relaxed) == 0).then_some(last)
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
}

impl Access {
    /// Begins with a request.
    pub fn new<B>(client: &Arc<Client>, activity: &Arc<Activity>, request: &Request<B>) -> Self {
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        activity.begun.fetch_add(1, Ordering::Relaxed);
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

    /// Counts bytes of the request's body.
    pub fn received(&self, bytes: usize) {
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
        let duration = self.began.elapsed();
        let status = self.status.load(Ordering::Relaxed);
        self.client.metrics.request(status, duration);
        tracing::info!(
            target: ACCESS,
            listener = self.client.listener,
            remote = self.client.addresses.map(|(remote, _)| tracing::field::display(remote)),
            peer = self.client.account(),
            method = self.method.as_str(),
            path = self.path,
            // 0: the client had gone before there was one.
            status,
            received = self.received.load(Ordering::Relaxed),
            sent = self.sent.load(Ordering::Relaxed),
            duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            error = self.error.get(),
            "request"
        );
    }
}
