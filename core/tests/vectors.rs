//! The vectors of `vectors/`, and Wycheproof's, on RustCrypto.
#![cfg(all(feature = "rustcrypto", feature = "hazmat"))]

#[path = "../../vectors/harness.rs"]
mod harness;

harness::run_on!(alts_core::aead::RustCrypto);
