//! The names of this crate stand beside those of the frameworks that it goes with.
#![allow(
    unused_imports,
    unused_qualifications,
    reason = "what is tested is that the names can stand together"
)]

use ::axum::*;
use ::hyper::*;
use ::tonic::*;
use tokio_alts::*;

#[test]
fn globs_of_this_crate_and_of_its_frameworks_can_stand_together() {
    // Each of these would be ambiguous if this crate had a module of that name.
    assert_eq!(tonic::Status::ok("").code(), tonic::Code::Ok);
    assert_eq!(axum::http::StatusCode::OK, hyper::http::StatusCode::OK);
    let config = ServerConfig::builder().any_peer().build();
    assert!(config.is_ok());
    let _: fn() -> transport::server::Server = transport::Server::builder;
}
