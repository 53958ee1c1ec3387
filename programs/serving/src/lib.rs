//! What the programs `altsd` and `alts proxy` share.
//!
//! - what they are told: [`settings`], [`config_error`];
//! - who calls, and how much: [`caller`], [`owner`], [`limits`], [`socket_file`];
//! - their life: [`life`], [`signals`], [`notify`];
//! - what they say: [`log`], [`throttle`], [`metrics`].
#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("these programs ask the Linux kernel who is calling");

pub mod caller;
pub mod config_error;
pub mod life;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod owner;
pub mod settings;
pub mod signals;
pub mod socket_file;
pub mod throttle;
