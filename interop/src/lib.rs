//! The test service of the interoperability tests, as this project's programs speak it.
//!
//! `interop/README.md` describes it for all implementations.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod data;
pub mod grpc_tests;
pub mod service;
pub mod view;

/// The name of the test service.
pub const SERVICE: &str = "alts.interop.Test";
