//! What both sides of the proxy ask of HTTP/2 connections.

use core::time::Duration;

/// The largest HTTP/2 frame that the other side may send, in bytes: fewer of them cost less.
pub const FRAME: u32 = 128 * 1024;
/// HTTP/2 connections that are silent for so long are asked whether somebody is there.
pub const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long the answer to that may take.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
