//! What both sides of the proxy ask of HTTP/2 connections.

use std::time::Duration;

/// The largest HTTP/2 frame that the other side may send, in bytes: fewer of them cost less.
pub const FRAME: u32 = 128 * 1024;
/// HTTP/2 connections that are silent for this long are asked whether somebody is there.
pub const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// The window of a connection whose streams have a window each: none of them, nor all of them
/// together, can close it for the others.
#[must_use]
pub fn connection_window(window: u32, streams: usize) -> u32 {
    let streams = u32::try_from(streams).unwrap_or(u32::MAX).saturating_add(1);
    window.saturating_mul(streams).min(LARGEST_WINDOW)
}

/// RFC 9113, section 6.9.1.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// How long the answer to that may take.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
