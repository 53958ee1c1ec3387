//! The proxy as its users meet it: sockets on both sides, its files, its program and its signals.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that meets one of these fails, as it should; all of it is one program"
)]

mod broken;
mod bytes;
mod ends;
mod files;
mod hostile;
mod http;
mod life;
mod origin;
mod peers;
mod routes;
mod support;
