//! Benchmarks of the ALTS crates: what the programs and the criterion benchmarks are made of.
#![forbid(unsafe_code)]
#![expect(clippy::cast_precision_loss, reason = "figures of a few digits are printed")]

pub mod aead;
pub mod chain;
pub mod measure;
pub mod peer;
pub mod pipe;
pub mod plot;
pub mod relay;
pub mod rows;
pub mod runtime;
pub mod security;
pub mod services;
pub mod tcp;

/// What happened, or why it did not.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
