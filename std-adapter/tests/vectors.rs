//! The vectors of `vectors/`, and Wycheproof's, on aws-lc-rs.
#![cfg(feature = "aws-lc-rs")]

#[path = "../../vectors/harness.rs"]
mod harness;

harness::run_on!(tokio_alts::aead::AwsLc);
