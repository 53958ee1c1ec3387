//! The HTTP/2 streams of one connection, each in a task that can be ended: that resets the stream.

use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hyper::rt::Executor;

use crate::access::Access;

/// Runs the streams of one connection; clones are for the same one.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<Mutex<Weak<Access>>>);

impl Streams {
    /// The next task is for this request: hyper passes on the future of a service as soon as it has
    /// it.
    pub fn announce(&self, access: &Arc<Access>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(access);
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let access = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let access = access.upgrade();
        let task = tokio::spawn(future);
        if let Some(access) = access {
            access.runs_in(task.abort_handle());
        }
    }
}
