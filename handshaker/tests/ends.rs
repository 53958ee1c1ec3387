//! When certificates end: what a handshake says of it, to the caller and on the wire.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

#[path = "common/parties.rs"]
mod common;

use std::time::{Duration, SystemTime};

use alts_core::context::{LOCAL_CERTIFICATE_END, PEER_CERTIFICATE_END};
use alts_core::msg::HandshakerResp;
use alts_core::wire::Message as _;
use alts_handshaker::Handshaker;
use alts_handshaker::identity::{Identity, TrustRoots};
use common::{CLIENT, End, NOW, SERVER, Start, drive, next};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use time::OffsetDateTime;

const MINUTE: u64 = 60;

/// An authority or an identity, whose certificate ends this many seconds from now.
fn params(name: &str, left: u64, is_authority: bool) -> CertificateParams {
    let end = now() + left;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.not_after = OffsetDateTime::from_unix_timestamp(end.try_into().unwrap()).unwrap();
    if is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    } else {
        params.subject_alt_names = vec![SanType::Rfc822Name(name.try_into().unwrap())];
    }
    params
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// A root, and what it takes to issue certificates below it.
struct Root {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

impl Root {
    fn new(left: u64) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), params("root", left, true));
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    /// A handshaker, by way of an authority in between, with more certificates that nobody needs.
    fn handshaker(&self, account: &str, left: u64, between: u64, more: &[Vec<u8>]) -> Handshaker {
        let (key, above) = (KeyPair::generate().unwrap(), params("between", between, true));
        let middle = above.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        let issuer = Issuer::new(above, key);
        let key = KeyPair::generate().unwrap();
        let own = params(account, left, false).signed_by(&key, &issuer).unwrap().der().to_vec();
        let chain = [own, middle].into_iter().chain(more.iter().cloned()).collect();
        let identity = Identity::from_der(chain, &key.serialize_der()).unwrap();
        let roots = TrustRoots::from_der(vec![self.der.clone()]).unwrap();
        Handshaker::builder(identity, roots).build().unwrap()
    }
}

fn left(end: Duration) -> u64 {
    end.as_secs().checked_sub(now()).unwrap()
}

/// Which of some whole minutes is left.
fn minutes(end: Duration) -> u64 {
    (left(end) + 5) / MINUTE
}

#[test]
fn the_earliest_end_of_the_chain_counts_and_each_side_knows_both() {
    let root = Root::new(5 * MINUTE);
    let client = root.handshaker(CLIENT, 20 * MINUTE, 30 * MINUTE, &[]);
    // The root's end does not count, though it is in the chain.
    let server = root.handshaker(SERVER, 50 * MINUTE, 40 * MINUTE, std::slice::from_ref(&root.der));
    let (client, server) = drive(
        (client.begin(NOW), server.begin(NOW)),
        (&Start::default(), &Start::default()),
        usize::MAX,
    );
    let (client, server) = (client.outcome(), server.outcome());
    assert_eq!(minutes(client.peer_certificate_end()), 40);
    assert_eq!(minutes(client.local_certificate_end()), 20);
    assert_eq!(server.peer_certificate_end(), client.local_certificate_end());
    assert_eq!(server.local_certificate_end(), client.peer_certificate_end());
}

#[test]
fn a_certificate_that_ended_and_was_not_needed_does_not_count() {
    let root = Root::new(5 * MINUTE);
    let ended = Root::new(0);
    let mut old = params("old", 0, true);
    old.not_after = OffsetDateTime::from_unix_timestamp(1_600_000_000).unwrap();
    let old = old.signed_by(&KeyPair::generate().unwrap(), &ended.issuer).unwrap().der().to_vec();
    let client = root.handshaker(CLIENT, 20 * MINUTE, 30 * MINUTE, &[old]);
    let server = root.handshaker(SERVER, 50 * MINUTE, 40 * MINUTE, &[]);
    let (_, server) = drive(
        (client.begin(NOW), server.begin(NOW)),
        (&Start::default(), &Start::default()),
        usize::MAX,
    );
    assert_eq!(minutes(server.outcome().peer_certificate_end()), 20);
}

#[test]
fn the_result_on_the_wire_has_both_ends_as_attributes_of_the_peer() {
    let root = Root::new(5 * MINUTE);
    let client = root.handshaker(CLIENT, 20 * MINUTE, 30 * MINUTE, &[]);
    let server = root.handshaker(SERVER, 50 * MINUTE, 40 * MINUTE, &[]);
    let (mut client, mut server) = (End::new(client.begin(NOW)), End::new(server.begin(NOW)));
    let hello = client.call.handle(&Start::default().client(), NOW);
    let init = server.call.handle(&Start::default().server(hello.out_frames()), NOW);
    let parameters = client.call.handle(&next(init.out_frames()), NOW);
    let choice = server.call.handle(&next(parameters.out_frames()), NOW);
    let done = client.call.handle(&next(choice.out_frames()), NOW);
    let bytes = done.encode();
    let response = HandshakerResp::decode(&bytes).unwrap();
    let result = response.result.unwrap();
    let attributes = result.peer_identity.unwrap().attributes;
    assert_eq!(attributes.len(), 2);
    let of = |name: &str| attributes.get(&name).unwrap().parse().map(Duration::from_secs).unwrap();
    let outcome = done.outcome().unwrap();
    assert_eq!(of(PEER_CERTIFICATE_END), outcome.peer_certificate_end());
    assert_eq!(of(LOCAL_CERTIFICATE_END), outcome.local_certificate_end());
    assert_eq!(minutes(of(PEER_CERTIFICATE_END)), 40);
    assert!(result.local_identity.unwrap().attributes.is_empty());
}
