//! Every error of this crate, as a program prints it that ends with one.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "support/sentences.rs"]
mod sentences;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use alts_core::account::{AccountPattern, check_account};
use alts_core::aead::AeadError;
use alts_core::context::Unauthorized;
use alts_core::embedded::{HandshakeFailure, StreamError};
use alts_core::frame::FrameError;
use alts_core::handshake::{HandshakeConfigError, ServerConfig};
use alts_core::key::KeyTooShort;
use alts_core::msg::{HandshakerStatus, RpcVersion};
use alts_core::record::RecordError;
use alts_core::wire::{Full, Message as _};
use alts_core::{Exhausted, ServerHandshake};
use sentences::{errors, sentence};

#[test]
fn debug_of_every_error_is_its_sentence() {
    let config = ServerConfig::new();
    let handshake = ServerHandshake::server(&config, Duration::ZERO).unwrap().peer_closed();
    let told = [
        sentence(AccountPattern::new("w*@prod.example").unwrap_err()),
        sentence(check_account("").unwrap_err()),
        sentence(AeadError),
        sentence(HandshakerStatus::decode(&[0xff]).unwrap_err()),
        sentence(RpcVersion::new(2, 1).encode(&mut []).unwrap_err()),
        sentence(Exhausted),
        sentence(FrameError::Length(7)),
        sentence(Full),
        sentence(HandshakeConfigError::Empty { field: "record_protocols" }),
        sentence(handshake),
        sentence(HandshakeFailure::<u8, u8>::Handshake(handshake)),
        sentence(KeyTooShort { needed: 44, found: 16 }),
        sentence(RecordError::Authentication),
        sentence(StreamError::Io(7)),
        sentence(Unauthorized),
    ];
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(BTreeSet::from(told), errors(&sources));
}
