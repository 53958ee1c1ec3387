//! `alts proxy` as its users meet it: the built program, its files and its signals.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that meets one of these fails, as it should; all of it is one program"
)]

mod limits;
#[path = "../../../proxy/tests/proxy/origin.rs"]
mod origin;
mod program;
#[path = "../../../proxy/tests/proxy/support.rs"]
mod support;
