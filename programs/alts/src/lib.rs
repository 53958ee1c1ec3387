//! The `alts` command as a library: what its subcommands do, for the program and for tests.
//!
//! [`check`] says what does not work and why, [`ping`]
//! measures a connection, [`inspect`] reads a captured one. [`handshaker`] is what they share: where
//! the handshaker service is.
#![forbid(unsafe_code)]

pub mod check;
pub mod diagnosis;
pub mod handshaker;
pub mod inspect;
mod json;
pub mod ping;
pub mod reach;
