//! The throughput towards an HTTP/2 server that need not have any method for it.
//!
//! Requests with a body go to a method that is not there. The server reads of each body what has
//! arrived, throws it away and refuses the call; the next request follows. HTTP/2 is read in order,
//! so the acknowledgement of a last PING says that all bytes before it were read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::report::Throughput;
use crate::reach::http2::Http2;

/// Requests that are under way at once, so that the server always has one to read from.
const REQUESTS: usize = 4;

/// Counts the bytes that were handed to the socket.
pub(super) type Counter = Arc<AtomicU64>;

/// Uploads for that long, and says how many bytes went over the wire until the server had read all.
pub(super) async fn measure(
    http2: &mut Http2,
    authority: &str,
    time: Duration,
    sent: &Counter,
) -> io::Result<Throughput> {
    let before = sent.load(Ordering::Relaxed);
    let began = Instant::now();
    http2.discard(authority, REQUESTS, began + time).await?;
    http2.ping().await?;
    let bytes = sent.load(Ordering::Relaxed).saturating_sub(before);
    Ok(Throughput::new("upload", bytes, began.elapsed()))
}
