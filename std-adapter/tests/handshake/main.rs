//! Handshakes end to end, with an honest handshaker and with others.

mod driver;
mod incoming;
mod limits;
mod secrets;
mod service;
mod support;
mod tonic_calls;
#[cfg(feature = "axum")]
mod web;
