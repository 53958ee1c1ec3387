//! Every error of this crate, as a program prints it that ends with one.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../../core/tests/support/sentences.rs"]
mod sentences;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use alts_handshaker::dev::Authority;
use alts_handshaker::files::IdentityFiles;
use alts_handshaker::identity::check_account;
use alts_handshaker::naming::TargetName;
use alts_handshaker::spiffe::{Agent, TrustDomain};
use sentences::{errors, sentence};

#[test]
fn debug_of_every_error_is_its_sentence() {
    let authority = Authority::new().unwrap();
    let handshaker = authority.handshaker("web@dev.test").unwrap();
    let told = [
        sentence(authority.handshaker("web@real.example.com").unwrap_err()),
        sentence(handshaker.begin_for(["other@dev.test"], Duration::ZERO).unwrap_err()),
        sentence(check_account("").unwrap_err()),
        sentence("".parse::<TargetName>().unwrap_err()),
        sentence(IdentityFiles::in_directory(Path::new("/nowhere")).load().unwrap_err()),
        sentence(Agent::at("127.0.0.1:1").unwrap_err()),
        sentence("".parse::<TrustDomain>().unwrap_err()),
    ];
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(BTreeSet::from(told), errors(&sources));
}
