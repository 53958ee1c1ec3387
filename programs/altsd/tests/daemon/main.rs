//! The daemon as its users meet it: the built program, its files, its sockets and its signals.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that meets one of these fails, as it should; all of it is one program"
)]

// The helpers block while they wait, so the connections need threads of their own.
#[path = "../../../../handshaker/tests/support/agent.rs"]
mod agent;
mod callers;
mod certificates;
mod child;
#[path = "../../../../handshaker/tests/common/parties.rs"]
mod common;
mod configuration;
mod dev;
mod life;
mod limits;
mod machine;
mod naming;
mod network;
mod pages;
mod policy;
mod reload;
mod revocation;
mod rotation;
mod spiffe;
mod support;
mod telling;
mod tls;
mod users;
