//! Handshakes end to end, with an honest handshaker and with others.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code; clippy exempts only what stands in a test function"
)]

mod ages;
#[cfg(target_os = "linux")]
mod black_hole;
mod crowd;
mod driver;
mod economy;
mod errors;
mod foreign;
mod incoming;
mod limits;
mod secrets;
#[path = "../../../core/tests/support/sentences.rs"]
mod sentences;
mod service;
mod support;
mod tonic_calls;
#[cfg(feature = "axum")]
mod web;
