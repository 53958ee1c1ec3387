//! Certificates, keys and trust roots: what is read, what is refused, and in which words.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

use std::sync::OnceLock;

use alts_handshaker::identity::{Identity, IdentityError, Subject, TrustRoots, check_account};
use rcgen::{CertificateParams, KeyPair, SanType};

fn certificate(names: &[SanType]) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.to_vec();
    (params.self_signed(&key).unwrap(), key)
}

fn subject(names: &[SanType]) -> Result<Subject, IdentityError> {
    Subject::of_certificate(certificate(names).0.der())
}

fn mailbox(name: &str) -> SanType {
    SanType::Rfc822Name(name.try_into().unwrap())
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn host(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn account(name: &str) -> Subject {
    Subject::ServiceAccount(name.to_owned())
}

#[test]
fn one_name_counts() {
    let ip = SanType::IpAddress([127, 0, 0, 1].into());
    assert_eq!(subject(&[mailbox("a@b.test")]).unwrap(), account("a@b.test"));
    assert_eq!(subject(&[uri("spiffe://b/c")]).unwrap(), account("spiffe://b/c"));
    assert_eq!(subject(&[host("b.test")]).unwrap(), Subject::Machine("b.test".to_owned()));
    // A machine's name or an address beside it does not name an account.
    for names in [
        [mailbox("a@b.test"), host("b.test"), ip.clone()],
        [ip.clone(), host("b.test"), mailbox("a@b.test")],
    ] {
        assert_eq!(subject(&names).unwrap(), account("a@b.test"));
    }
    // A mailbox and a URI are two names of accounts: both are reported, and neither counts.
    for names in
        [[uri("spiffe://b/c"), mailbox("a@b.test")], [mailbox("a@b.test"), uri("spiffe://b/c")]]
    {
        let why = subject(&names).unwrap_err().to_string();
        assert!(why.contains("a@b.test") && why.contains("spiffe://b/c"), "{why}");
    }
    assert_eq!(subject(&[host("b.test"), uri("spiffe://b/c")]).unwrap(), account("spiffe://b/c"));
}

#[test]
fn ambiguity_is_refused() {
    let ip = SanType::IpAddress([127, 0, 0, 1].into());
    for (names, expected) in [
        (vec![], (0, 0, 0)),
        (vec![ip], (0, 0, 0)),
        (vec![mailbox("a@b.test"), mailbox("c@b.test")], (2, 0, 0)),
        (vec![mailbox("a@b.test"), mailbox("a@b.test")], (2, 0, 0)),
        // Two mailboxes do not make the URI the one that counts.
        (vec![mailbox("a@b.test"), mailbox("c@b.test"), uri("spiffe://b/c")], (2, 1, 0)),
        (vec![uri("spiffe://b/c"), uri("spiffe://b/d"), host("b.test")], (0, 2, 1)),
        (vec![host("b.test"), host("c.test")], (0, 0, 2)),
    ] {
        let (mailboxes, uris, hosts) = expected;
        let error = subject(&names).unwrap_err();
        assert_eq!(error, IdentityError::Ambiguous { mailboxes, uris, hosts });
        assert!(error.to_string().contains("rfc822Name"));
    }
}

#[test]
fn names_that_read_in_two_ways_are_refused() {
    for name in ["a b@c.test", "a@b.test\n", "a@b.test\0", "\u{7f}@b.test"] {
        assert!(matches!(subject(&[mailbox(name)]), Err(IdentityError::Name { .. })), "{name:?}");
    }
    for name in ["*.b.test", "B.test", "b..test", ".test", "b.test."] {
        assert!(matches!(subject(&[host(name)]), Err(IdentityError::Name { .. })), "{name:?}");
    }
    assert!(check_account(&"x".repeat(256)).is_ok());
    assert!(check_account(&"x".repeat(257)).is_err());
    assert!(check_account("").is_err());
    assert!(check_account("ä@b.test").is_err());
}

#[test]
fn vouching_is_exact() {
    let service = account("a@b.test");
    assert!(service.vouches_for("a@b.test"));
    for other in ["A@b.test", "a@b.test.", "a@b.tes", "a@b.testt", "", "x@b.test"] {
        assert!(!service.vouches_for(other), "{other}");
    }
    let machine = Subject::Machine("b.test".to_owned());
    assert!(machine.vouches_for("a@b.test") && machine.vouches_for("root@b.test"));
    for other in
        ["@b.test", "b.test", "a@c.test", "a@x.b.test", "a@B.test", "a@c@b.test", "a@b.test "]
    {
        assert!(!machine.vouches_for(other), "{other}");
    }
}

#[test]
fn pem_is_read() {
    let (certificate, key) = certificate(&[mailbox("a@b.test")]);
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(*identity.subject(), account("a@b.test"));
    let both = format!("{key}{chain}");
    assert!(Identity::from_pem(both.as_bytes(), both.as_bytes()).is_ok(), "one file for both");
    assert!(TrustRoots::from_pem(chain.as_bytes()).is_ok());
    assert!(!format!("{identity:?}").contains("PRIVATE"));
}

#[test]
fn errors_say_what_is_wrong() {
    let (one, key) = certificate(&[mailbox("a@b.test")]);
    let (_, other_key) = certificate(&[mailbox("a@b.test")]);
    let (pem, key) = (one.pem(), key.serialize_pem());
    let read = |chain: &str, key: &str| Identity::from_pem(chain.as_bytes(), key.as_bytes());

    assert_eq!(read(&pem, &other_key.serialize_pem()).unwrap_err(), IdentityError::KeyMismatch);
    assert_eq!(read("", &key).unwrap_err(), IdentityError::Missing { what: "certificate" });
    assert_eq!(read(&pem, "").unwrap_err(), IdentityError::Missing { what: "private key" });
    assert_eq!(read(&pem, &pem).unwrap_err(), IdentityError::Missing { what: "private key" });
    let cut = pem.get(..pem.len() / 2).unwrap();
    assert!(matches!(read(cut, &key), Err(IdentityError::Pem { what: "certificate", .. })));
    assert!(matches!(
        Identity::from_der(vec![vec![0x30, 0]], &other_key.serialize_der()),
        Err(IdentityError::Certificate { .. })
    ));
    assert!(matches!(
        Identity::from_der(vec![one.der().to_vec()], b"no key"),
        Err(IdentityError::Key { .. })
    ));
    assert_eq!(
        TrustRoots::from_pem(key.as_bytes()).unwrap_err(),
        IdentityError::Missing { what: "trust root" }
    );
    assert!(matches!(
        TrustRoots::from_der(vec![one.der().to_vec(), b"none".to_vec()]),
        Err(IdentityError::Root { index: 1, .. })
    ));
}

#[test]
fn expiry_is_told() {
    let (certificate, key) = certificate(&[mailbox("a@b.test")]);
    let chain = vec![certificate.der().to_vec()];
    let identity = Identity::from_der(chain, &key.serialize_der()).unwrap();
    // rcgen's default: 1 January 4096.
    assert_eq!(identity.expires().as_secs(), 67_090_118_400);
}

proptest::proptest! {
    #[test]
    fn damaged_certificates_never_panic(at: proptest::sample::Index, value: u8) {
        static CERTIFICATE: OnceLock<Vec<u8>> = OnceLock::new();
        let mut der =
            CERTIFICATE.get_or_init(|| certificate(&[mailbox("a@b.test")]).0.der().to_vec()).clone();
        let at = at.index(der.len());
        der[at] = value;
        let _ = Subject::of_certificate(&der);
        der.truncate(at);
        proptest::prop_assert!(Subject::of_certificate(&der).is_err());
    }
}
