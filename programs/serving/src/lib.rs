//! What the programs `altsd` and `alts proxy` share.
//!
//! - their configuration: [`settings`], [`settings_error`];
//! - who calls, and how much: [`caller`], [`caller_pattern`], [`directory`], [`id_map`], [`owner`],
//!   [`process`], [`subuids`], [`limits`], [`descriptors`], [`socket_file`];
//! - their life: [`life`], [`signals`], [`notify`], [`accepting`];
//! - what they say: [`log`], [`lines`], [`throttle`], [`metrics`], [`registrar`].
#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("these programs ask the Linux kernel who is calling");

pub mod accepting;
pub mod caller;
pub mod caller_pattern;
pub mod descriptors;
pub mod directory;
pub mod id_map;
pub mod life;
pub mod limits;
pub mod lines;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod owner;
mod owner_table;
pub mod process;
pub mod registrar;
pub mod settings;
pub mod settings_error;
pub mod signals;
pub mod socket_file;
pub mod subuids;
pub mod throttle;
