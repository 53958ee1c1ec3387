//! What no longer counts: revocation lists of authorities, and a side's own deny list.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

#[path = "common/parties.rs"]
mod common;

use alts_handshaker::identity::revocation::WithoutStatus;
use alts_handshaker::identity::{DenyList, Identity, Revocation, TrustRoots, Vouching};
use alts_handshaker::{Call, Code, Handshaker, Reason};
use common::{CLIENT, End, NOW, SERVER, Start, drive};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData as _, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use sha2::{Digest, Sha256};

/// An authority, a root or one below another, that revokes.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// From its own certificate up to, and without, the root.
    chain: Vec<Vec<u8>>,
    root: Vec<u8>,
}

impl Authority {
    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    fn root(name: &str) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), Self::params(name));
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), chain: vec![], root }
    }

    fn below(&self, name: &str, serial: u64) -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), Self::params(name));
        params.serial_number = Some(SerialNumber::from(serial));
        let own = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        let chain = [own].into_iter().chain(self.chain.iter().cloned()).collect();
        Self { issuer: Issuer::new(params, key), chain, root: self.root.clone() }
    }

    fn roots(&self) -> TrustRoots {
        TrustRoots::from_der(vec![self.root.clone()]).unwrap()
    }

    fn issue(&self, name: SanType, serial: u64) -> (Identity, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.serial_number = Some(SerialNumber::from(serial));
        let own = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        let chain = [own].into_iter().chain(self.chain.iter().cloned()).collect();
        (Identity::from_der(chain, &key.serialize_der()).unwrap(), key)
    }

    /// Its list, with these serial numbers on it; the next one is due in the first days of a year.
    fn list(&self, revoked: &[u64], due: i32) -> Vec<u8> {
        let one = |&serial: &u64| RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(due, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

const GOOD: i32 = 2099;
const PAST: i32 = 2021;

fn lists<const N: usize>(lists: [Vec<u8>; N]) -> Revocation {
    Revocation::from_der(lists).unwrap()
}

fn mailbox(name: &str) -> SanType {
    SanType::Rfc822Name(name.try_into().unwrap())
}

fn call(identity: &Identity, roots: TrustRoots) -> Call {
    Handshaker::builder(identity.clone(), roots).build().unwrap().begin(NOW)
}

/// The client's verdict on the server: both sides know the root, and the client these lists besides.
fn client_says(client: &Identity, server: &Identity, roots: &TrustRoots, own: TrustRoots) -> End {
    let start = Start::default();
    drive((call(client, own), call(server, roots.clone())), (&start, &start), usize::MAX).0
}

#[track_caller]
fn assert_refused(end: &End, word: &str) {
    let failure = end.failure();
    assert_eq!(failure.code(), Code::Unauthenticated);
    assert_eq!(failure.reason(), Some(Reason::CertificateRevoked), "{failure}");
    assert!(failure.details().contains(word), "{word:?} is not in: {failure}");
}

#[test]
fn lists_decide_and_what_they_do_not_know_is_refused() {
    let root = Authority::root("root");
    let team = root.below("team", 50);
    let (client, _) = root.issue(mailbox(CLIENT), 1);
    let (server, _) = team.issue(mailbox(SERVER), 7);
    let roots = root.roots();
    let says = |revocation: &Revocation| {
        client_says(&client, &server, &roots, root.roots().revocation(revocation))
    };
    let all = |of_root: &[u64], of_team: &[u64]| {
        lists([root.list(of_root, GOOD), team.list(of_team, GOOD)])
    };

    assert_eq!(says(&all(&[8], &[6, 8])).outcome().peer_account(), SERVER);
    assert_refused(&says(&all(&[], &[6, 7])), "has revoked it");
    // The authority in between is revoked.
    assert_refused(&says(&all(&[50], &[])), "has revoked it");
    // A serial number counts only for its own issuer.
    says(&all(&[7], &[50])).outcome();

    // No list of one of the issuers.
    for known in [root.list(&[], GOOD), team.list(&[], GOOD)] {
        let partial = lists([known]);
        assert_refused(&says(&partial), "nobody knows whether it is revoked");
        says(&partial.unlisted(WithoutStatus::Accept)).outcome();
    }

    // A list that is too old; what it revokes stays revoked.
    let old = |serial| lists([root.list(&[], GOOD), team.list(&[serial], PAST)]);
    assert_refused(&says(&old(6)), "older than its next update");
    says(&old(6).expired(WithoutStatus::Accept)).outcome();
    assert_refused(&says(&old(7).expired(WithoutStatus::Accept)), "has revoked it");

    // A list that somebody else signed in the issuer's name.
    let forger = root.below("team", 51);
    let false_lists = lists([root.list(&[], GOOD), forger.list(&[], GOOD)]);
    assert_refused(&says(&false_lists.unlisted(WithoutStatus::Accept)), "cannot be used");
}

#[test]
fn servers_ask_the_lists_about_clients() {
    let root = Authority::root("root");
    let (client, _) = root.issue(mailbox(CLIENT), 1);
    let (server, _) = root.issue(mailbox(SERVER), 2);
    let strict = root.roots().revocation(&lists([root.list(&[1], GOOD)]));
    let start = Start::default();
    let calls = (call(&client, root.roots()), call(&server, strict));
    let (client, server) = drive(calls, (&start, &start), usize::MAX);
    assert_refused(&server, "has revoked it");
    assert!(client.failure().details().contains("revoked or denied"), "{}", client.failure());
}

#[test]
fn what_one_authority_revoked_no_other_brings_back() {
    // Two roots with one key and name: the same chain leads to both.
    let root = Authority::root("root");
    let again = Authority::params("root").self_signed(root.issuer.key()).unwrap().der().to_vec();
    let (client, _) = root.issue(mailbox(CLIENT), 1);
    let (server, _) = root.issue(mailbox(SERVER), 7);
    let strict = root.roots().revocation(&lists([root.list(&[7], GOOD)]));
    let open = TrustRoots::from_der(vec![again]).unwrap();
    let roots = root.roots();
    for both in [strict.and(&open), open.and(&strict)] {
        assert_refused(&client_says(&client, &server, &roots, both), "has revoked it");
    }
}

#[test]
fn the_own_certificate_is_looked_at_too() {
    let root = Authority::root("root");
    let (server, _) = root.issue(mailbox(SERVER), 7);
    let build = |roots| Handshaker::builder(server.clone(), roots).build().unwrap();
    let revoked = build(root.roots().revocation(&lists([root.list(&[7], GOOD)])));
    let why = revoked.check_certificate(None).unwrap_err();
    assert!(why.details().contains("has revoked it"), "{why}");
    build(root.roots().revocation(&lists([root.list(&[8], GOOD)])))
        .check_certificate(None)
        .unwrap();
}

#[test]
fn a_deny_list_needs_no_authority() {
    let root = Authority::root("root");
    let team = root.below("team", 50);
    let (client, _) = root.issue(mailbox(CLIENT), 1);
    let (server, key) = team.issue(mailbox(SERVER), 0x0a0b);
    let says = |denied: DenyList| {
        client_says(&client, &server, &root.roots(), root.roots().denying(denied))
    };
    let new = DenyList::new;
    let hash = |key: &KeyPair| {
        let digest = Sha256::digest(key.subject_public_key_info());
        digest.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    };

    says(new()).outcome();
    let other = KeyPair::generate().unwrap();
    says(new().serial("0a0c").unwrap().key(&hash(&other)).unwrap()).outcome();
    says(new().accounts(vec!["*@other.test".parse().unwrap()])).outcome();
    assert_refused(&says(new().serial("0A:0B").unwrap()), "serial number");
    // The authority in between, by its serial number and by its key.
    assert_refused(&says(new().serial("32").unwrap()), "serial number");
    assert_refused(&says(new().key(&hash(team.issuer.key())).unwrap()), "public key");
    assert_refused(&says(new().key(&hash(&key)).unwrap()), "public key");
    assert_refused(&says(new().accounts(vec![SERVER.parse().unwrap()])), "denied here");
    assert_refused(&says(new().accounts(vec!["*@dev.test".parse().unwrap()])), "denied here");
}

#[test]
fn the_users_of_a_machine_are_denied_by_name() {
    let root = Authority::root("root");
    let (client, _) = root.issue(mailbox(CLIENT), 1);
    let (machine, _) = root.issue(SanType::DnsName("host.test".try_into().unwrap()), 2);
    let vouching = Vouching::new().machines(vec!["host.test".parse().unwrap()]);
    let roots = root.roots().vouching(vouching);
    let start = Start::default();
    for (user, denied) in [("web", false), ("eve", true)] {
        let list = DenyList::new().accounts(vec!["eve@host.test".parse().unwrap()]);
        let server = Handshaker::builder(machine.clone(), roots.clone()).build().unwrap();
        let server = server.begin_for([format!("{user}@host.test")], NOW).unwrap();
        let calls = (call(&client, roots.clone().denying(list)), server);
        let (client, _) = drive(calls, (&start, &start), usize::MAX);
        if denied {
            assert_refused(&client, "eve@host.test, which is denied here");
        } else {
            client.outcome();
        }
    }
}

#[test]
fn lists_say_when_they_have_to_be_replaced() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let team = root.below("team", 50);
    let both = lists([root.list(&[], 2040), team.list(&[1], 2023)]);
    let roots = root.roots().revocation(&both).and(&other.roots());
    let due = roots.revocation_due();
    assert_eq!(due.len(), 1, "the other one has no list: {due:?}");
    let at = |year| u64::try_from(date_time_ymd(year, 1, 1).unix_timestamp()).unwrap();
    let (begin, end) = (at(2020), at(2023));
    assert_eq!(due[0].root, "CN=root");
    assert_eq!((due[0].this_update.as_secs(), due[0].next_update.as_secs()), (begin, end));
    assert_eq!(due[0].last_third().as_secs(), begin + (end - begin) / 3 * 2);
    // The order of lists does not matter, nor whether they came together.
    let apart = lists([team.list(&[1], 2023)]).and(&lists([root.list(&[], 2040)]));
    assert_eq!(root.roots().revocation(&apart).revocation_due(), due);
    let (identity, _) = root.issue(mailbox(CLIENT), 1);
    let handshaker = Handshaker::builder(identity, roots).build().unwrap();
    assert_eq!(handshaker.revocation_due(), due);
}

#[test]
fn lists_that_cannot_be_read_are_refused_at_once() {
    assert!(Revocation::from_pem(b"").is_err());
    assert!(Revocation::from_der([b"no list"]).unwrap_err().to_string().contains("list 0"));
}
