//! Name constraints of authorities: obeyed where they can be checked, and refused where they cannot. The
//! table is the one in `docs/security.md`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

#[path = "common/parties.rs"]
mod common;

use alts_handshaker::identity::{Identity, TrustRoots, Vouching};
use alts_handshaker::{Call, Code, Handshaker, Reason};
use common::{CLIENT, End, NOW, Start, drive};
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, SanType};

/// DER of less than 128 bytes.
fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).unwrap();
    assert!(length < 128);
    [&[tag, length], body].concat()
}

/// `NameConstraints` with one subtree, from words such as `only e-mail prod.example`. rcgen has none for URIs.
fn constraint(words: &str, critical: bool) -> CustomExtension {
    let (which, base) = words.split_once(' ').unwrap();
    let (kind, value) = base.split_once(' ').unwrap();
    let base = match kind {
        "e-mail" => der(0x81, value.as_bytes()),
        "DNS" => der(0x82, value.as_bytes()),
        "URI" => der(0x86, value.as_bytes()),
        // The address and its mask.
        "IP" => der(0x87, &[192, 0, 2, 0, 255, 255, 255, 0]),
        // A name is a SEQUENCE of SETs; an empty one is all directories.
        "directory" => der(0xa4, &der(0x30, &[])),
        _ => panic!("{words}"),
    };
    let tag = match which {
        "only" => 0xa0,
        "not" => 0xa1,
        _ => panic!("{words}"),
    };
    let subtrees = der(tag, &der(0x30, &base));
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], der(0x30, &subtrees));
    extension.set_criticality(critical);
    extension
}

fn authority(name: &str, constraint: Option<CustomExtension>) -> (KeyPair, CertificateParams) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.custom_extensions.extend(constraint);
    (KeyPair::generate().unwrap(), params)
}

/// The subject alternative name that such an account, or machine, has.
fn name(account: &str) -> SanType {
    let text = account.try_into().unwrap();
    if account.contains(':') {
        SanType::URI(text)
    } else if account.contains('@') {
        SanType::Rfc822Name(text)
    } else {
        SanType::DnsName(text)
    }
}

struct Fleet {
    roots: TrustRoots,
    issuer: Issuer<'static, KeyPair>,
    between: Vec<Vec<u8>>,
}

impl Fleet {
    /// With the constraint in the root's own certificate, or in that of an authority below it, where it is
    /// not critical.
    fn new(words: Option<&str>, at_root: bool) -> Self {
        let limit = words.map(|words| constraint(words, at_root));
        let (of_root, below) = if at_root { (limit, None) } else { (None, limit) };
        let kind = if words.is_some() { "limited" } else { "open" };
        let (key, params) = authority(&format!("{kind} root"), of_root);
        let root = params.self_signed(&key).unwrap().der().to_vec();
        let root_issuer = Issuer::new(params, key);
        let machines = vec!["*.hosts.example".parse().unwrap(), "*.other.test".parse().unwrap()];
        let roots = TrustRoots::from_der(vec![root]).unwrap();
        let roots = roots.vouching(Vouching::new().machines(machines));
        let (key, params) = authority(&format!("{kind} team"), below);
        let team = params.signed_by(&key, &root_issuer).unwrap().der().to_vec();
        Self { roots, issuer: Issuer::new(params, key), between: vec![team] }
    }

    fn identity(&self, account: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name(account)];
        let own = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        let chain = [own].into_iter().chain(self.between.iter().cloned()).collect();
        Identity::from_der(chain, &key.serialize_der()).unwrap()
    }
}

fn call(identity: Identity, roots: &TrustRoots, account: &str) -> Call {
    let handshaker = Handshaker::builder(identity, roots.clone()).build().unwrap();
    if account.contains(['@', ':']) {
        handshaker.begin(NOW)
    } else {
        handshaker.begin_for([format!("web@{account}")], NOW).unwrap()
    }
}

/// The verdict of `judge`, at one side, on a certificate of the fleet, at the other one. The judge's own
/// certificate is of another fleet without constraints, which everybody trusts.
fn verdicts(fleet: &Fleet, account: &str) -> [End; 2] {
    let open = Fleet::new(None, true);
    let roots = fleet.roots.and(&open.roots);
    let start = Start::default();
    let judge = || call(open.identity(CLIENT), &roots, CLIENT);
    let judged = || call(fleet.identity(account), &roots, account);
    let (client, _) = drive((judge(), judged()), (&start, &start), usize::MAX);
    let (_, server) = drive((judged(), judge()), (&start, &start), usize::MAX);
    [client, server]
}

fn rows() -> Vec<Vec<String>> {
    let page = include_str!("../../docs/security.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("| the authority's constraint |"));
    let cells = |line: &str| {
        line.trim_matches(['|', ' '])
            .split(" | ")
            .map(|cell| cell.trim().replace('`', ""))
            .collect()
    };
    rows.skip(2).take_while(|line| line.starts_with('|')).map(cells).collect()
}

#[test]
fn constraints_are_obeyed_or_refused_as_the_page_says() {
    let rows = rows();
    assert!(rows.len() > 8, "the page has no table");
    for row in rows {
        let [constraint, accounts, verdict] = &row[..] else { panic!("{row:?}") };
        for at_root in [true, false] {
            for (constraint, account) in constraint.split(", ").flat_map(|constraint| {
                accounts.split(", ").map(move |account| (constraint, account))
            }) {
                let fleet = Fleet::new(Some(constraint), at_root);
                let place = format!("{constraint} (root: {at_root}), {account}");
                for end in verdicts(&fleet, account) {
                    if verdict == "accepted" {
                        end.outcome();
                        continue;
                    }
                    let words = match &**verdict {
                        "refused: not permitted" => "does not permit the name in it",
                        "refused: cannot be checked" => "which cannot be checked here",
                        "refused: other names only" => "is limited to other kinds of names",
                        other => panic!("{other}"),
                    };
                    let failure = end.failure();
                    assert!(failure.details().contains(words), "{place}: {failure}");
                    assert_eq!(failure.reason(), Some(Reason::AuthorityLimited), "{place}");
                    assert_eq!(failure.code(), Code::Unauthenticated, "{place}");
                }
                // The own certificate is looked at in the same way, before it is used.
                let own = Handshaker::builder(fleet.identity(account), fleet.roots.clone());
                let checked = own.build().unwrap().check_certificate(None);
                assert_eq!(checked.is_ok(), verdict == "accepted", "{place}: {checked:?}");
            }
        }
    }
}
