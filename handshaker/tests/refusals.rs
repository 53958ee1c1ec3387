//! Handshakes that must fail: on which side, with which code, and in which words on the other.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

#[path = "common/parties.rs"]
mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alts_core::msg::HandshakeProtocol;
use alts_handshaker::dev::{Authority, LIFETIME};
use alts_handshaker::identity::{Identity, IdentityError, TrustRoots};
use alts_handshaker::{Call, Code, Fault, Handshaker, Limits, Reason, TimeProvider};
use common::{CLIENT, End, NOW, SERVER, Start, calls, drive, drive_with, next, versions};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

const WHOLE: usize = usize::MAX;

/// The service at fault says this, and the other side's service learns why from an alert.
#[track_caller]
fn assert_failed(ends: &(End, End), first: Side, code: Code, reason: Reason, words: &[&str]) {
    let (judge, told) = match first {
        Side::Client => (&ends.0, &ends.1),
        Side::Server => (&ends.1, &ends.0),
    };
    let failure = judge.failure();
    assert_eq!((failure.code(), failure.reason()), (code, Some(reason)), "{failure}");
    for word in words {
        assert!(failure.details().contains(word), "{word:?} is not in: {failure}");
    }
    let alert = told.failure();
    assert_eq!(alert.fault(), Fault::Peer);
    assert_eq!(alert.reason(), None, "an alert is not answered: {alert}");
    let number = format!("(alert {})", reason.number());
    assert!(alert.details().ends_with(&number), "{alert}");
    assert!(alert.details().starts_with("the peer's handshaker ended the handshake: "), "{alert}");
}

#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

#[test]
fn another_authority_is_not_believed() {
    let (one, two) = (Authority::new().unwrap(), Authority::new().unwrap());
    let start = Start::default();
    for most in [WHOLE, 1] {
        let calls = (
            one.handshaker(CLIENT).unwrap().begin(NOW),
            two.handshaker(SERVER).unwrap().begin(NOW),
        );
        let ends = drive(calls, (&start, &start), most);
        let words = ["not from an authority that this side trusts"];
        let reason = Reason::CertificateUntrusted;
        assert_failed(&ends, Side::Client, Code::Unauthenticated, reason, &words);
    }
}

/// Certificates made by hand, for what the development authority refuses to make.
struct Maker {
    issuer: Issuer<'static, KeyPair>,
    roots: TrustRoots,
}

impl Maker {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), roots: TrustRoots::from_der(vec![root]).unwrap() }
    }

    fn identity(&self, names: &[SanType]) -> Result<Identity, IdentityError> {
        self.identity_with(names, |_| {})
    }

    fn identity_with(
        &self,
        names: &[SanType],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<Identity, IdentityError> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Identity::from_der(vec![certificate], &key.serialize_der())
    }

    fn call(&self, identity: Identity) -> Call {
        Handshaker::builder(identity, self.roots.clone()).build().unwrap().begin(NOW)
    }
}

fn mailbox(name: &str) -> SanType {
    SanType::Rfc822Name(name.try_into().unwrap())
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

#[test]
fn a_uri_is_a_service_account_as_a_whole() {
    let maker = Maker::new();
    let account = "spiffe://dev.test/ns/default/sa/web";
    let calls = (
        maker.call(maker.identity(&[mailbox(CLIENT)]).unwrap()),
        maker.call(maker.identity(&[uri(account)]).unwrap()),
    );
    let start = Start { targets: vec!["spiffe://dev.test/ns/default/sa/web"], ..Start::default() };
    let (client, _) = drive(calls, (&start, &Start::default()), WHOLE);
    assert_eq!(client.outcome().peer_account(), account);
}

#[test]
fn a_certificate_of_the_wrong_purpose_is_refused() {
    let maker = Maker::new();
    let only = |purpose| {
        let names = [mailbox(CLIENT)];
        maker.identity_with(&names, |params| params.extended_key_usages = vec![purpose]).unwrap()
    };
    let both = || maker.call(maker.identity(&[mailbox(SERVER)]).unwrap());
    let start = Start::default();

    let server_only = maker.call(only(rcgen::ExtendedKeyUsagePurpose::ServerAuth));
    let ends = drive((server_only, both()), (&start, &start), WHOLE);
    let reason = Reason::CertificatePurpose;
    assert_failed(&ends, Side::Server, Code::Unauthenticated, reason, &["extended key usage"]);

    let client_only = maker.call(only(rcgen::ExtendedKeyUsagePurpose::ClientAuth));
    let ends = drive((both(), client_only), (&start, &start), WHOLE);
    assert_failed(&ends, Side::Client, Code::Unauthenticated, reason, &["extended key usage"]);
}

#[test]
fn an_authority_is_no_identity() {
    let maker = Maker::new();
    let authority = maker
        .identity_with(&[mailbox(SERVER)], |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        })
        .unwrap();
    let client = maker.call(maker.identity(&[mailbox(CLIENT)]).unwrap());
    let start = Start::default();
    let ends = drive((client, maker.call(authority)), (&start, &start), WHOLE);
    let reason = Reason::CertificatePurpose;
    assert_failed(&ends, Side::Client, Code::Unauthenticated, reason, &["that of an authority"]);
}

/// A clock that differs from the system's.
#[derive(Debug)]
struct Shifted(Duration);

impl TimeProvider for Shifted {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Some(rustls::pki_types::UnixTime::since_unix_epoch(now + self.0))
    }
}

#[test]
fn expired_certificates_are_refused() {
    let authority = Authority::new().unwrap();
    let late = |account| {
        let clock = Arc::new(Shifted(LIFETIME + Duration::from_secs(60)));
        authority.builder(account).unwrap().time(clock).build().unwrap().begin(NOW)
    };
    let timely = |account| authority.handshaker(account).unwrap().begin(NOW);
    let start = Start::default();
    let words = ["the peer's certificate is not valid at this time"];
    let reason = Reason::CertificateExpired;

    let ends = drive((late(CLIENT), timely(SERVER)), (&start, &start), WHOLE);
    assert_failed(&ends, Side::Client, Code::Unauthenticated, reason, &words);
    let ends = drive((timely(CLIENT), late(SERVER)), (&start, &start), WHOLE);
    assert_failed(&ends, Side::Server, Code::Unauthenticated, reason, &words);
}

#[test]
fn the_wrong_server_is_refused_and_both_accounts_are_named() {
    let start = Start { targets: vec!["billing@dev.test", "Server@dev.test"], ..Start::default() };
    let ends = drive(calls(), (&start, &Start::default()), WHOLE);
    let reason = Reason::IdentityUnexpected;
    let words = [SERVER, "billing@dev.test, Server@dev.test"];
    assert_failed(&ends, Side::Client, Code::Unauthenticated, reason, &words);
    // The client's second message would be its certificate: the wrong server has not seen it.
    assert_eq!(ends.0.sent.len(), 2);
    assert_eq!(ends.0.sent[1].len(), 12, "an alert and nothing else");
}

#[test]
fn the_wrong_account_on_the_right_machine_is_refused() {
    let authority = Authority::new().unwrap();
    let machine =
        |name| authority.machine_builder(name).unwrap().accept_machines(true).build().unwrap();
    let calls = (
        machine("one.test").begin_for(["alice@one.test"], NOW).unwrap(),
        machine("two.test").begin_for(["bob@two.test"], NOW).unwrap(),
    );
    let start = Start { targets: vec!["carol@two.test"], ..Start::default() };
    let ends = drive(calls, (&start, &Start::default()), WHOLE);
    let words = ["service account bob@two.test", "carol@two.test"];
    assert_failed(&ends, Side::Client, Code::Unauthenticated, Reason::IdentityUnexpected, &words);
}

#[test]
fn machines_are_not_believed_unless_told_to() {
    let authority = Authority::new().unwrap();
    let machine = authority.machine_builder("one.test").unwrap().build().unwrap();
    let calls = (
        machine.begin_for(["alice@one.test"], NOW).unwrap(),
        authority.handshaker(SERVER).unwrap().begin(NOW),
    );
    let ends = drive(calls, (&Start::default(), &Start::default()), WHOLE);
    let reason = Reason::MachineRefused;
    assert_failed(&ends, Side::Server, Code::Unauthenticated, reason, &["machine one.test"]);
}

#[test]
fn where_every_domain_is_a_machine_no_mailbox_is_a_service_account() {
    let maker = Maker::new();
    let handshaker = |name| {
        let identity = maker.identity(&[name]).unwrap();
        let builder = Handshaker::builder(identity, maker.roots.clone());
        builder.accept_machines(true).build().unwrap()
    };
    let machine = handshaker(SanType::DnsName("prod.test".try_into().unwrap()));
    let start = Start::default();
    let with = |peer: &Handshaker| {
        let calls = (machine.begin_for(["root@prod.test"], NOW).unwrap(), peer.begin(NOW));
        drive(calls, (&start, &start), WHOLE)
    };
    for account in ["web@prod.test", "web@elsewhere.test"] {
        let service = handshaker(mailbox(account));
        let host = account.strip_prefix("web@").unwrap();
        let words = [account, &format!("{host} is a machine's name here")];
        let ends = with(&service);
        let (code, reason) = (Code::Unauthenticated, Reason::AuthorityLimited);
        assert_failed(&ends, Side::Client, code, reason, &words);
        // That this side believes so says nothing about its own certificate.
        assert_eq!(service.check_certificate(None), Ok(()));
    }
    let (client, server) = with(&handshaker(uri("spiffe://prod.test/web")));
    assert_eq!(client.outcome().peer_account(), "spiffe://prod.test/web");
    assert_eq!(server.outcome().peer_account(), "root@prod.test");
}

#[test]
fn nothing_in_common() {
    let cases = [
        (
            Start { application: vec!["h2"], ..Start::default() },
            Reason::ApplicationProtocol,
            "no application protocol in common: the server has grpc, the client offers h2",
        ),
        (
            Start { record: vec!["ALTSRP_GCM_AES128", "other"], ..Start::default() },
            Reason::RecordProtocol,
            "the client offers ALTSRP_GCM_AES128, other",
        ),
        (
            Start { versions: Some(versions((2, 2), (3, 0))), ..Start::default() },
            Reason::RpcVersions,
            "this side has 2.1 to 2.1, the peer 2.2 to 3.0",
        ),
    ];
    for (client, reason, words) in cases {
        let ends = drive(calls(), (&client, &Start::default()), WHOLE);
        assert_failed(&ends, Side::Server, Code::FailedPrecondition, reason, &[words]);
    }
}

#[test]
fn an_unknown_record_protocol_in_common_is_none() {
    let both = Start { record: vec!["unheard-of", common::REKEY], ..Start::default() };
    let other = Start { record: vec!["unheard-of", "ALTSRP_GCM_AES128"], ..Start::default() };
    let ends = drive(calls(), (&both, &other), WHOLE);
    let reason = Reason::RecordProtocol;
    assert_failed(&ends, Side::Server, Code::FailedPrecondition, reason, &["unheard-of"]);
}

#[test]
fn a_start_that_makes_no_sense_is_refused() {
    let cases = [
        (Start { protocol: HandshakeProtocol::TLS, ..Start::default() }, "ALTS"),
        (Start { protocol: HandshakeProtocol::UNSPECIFIED, ..Start::default() }, "ALTS"),
        (Start { application: vec![], ..Start::default() }, "no application protocol"),
        (Start { record: vec![], ..Start::default() }, "no record protocol"),
        (Start { record: vec!["nonsense"], ..Start::default() }, "nonsense"),
        (Start { application: vec!["a b"], ..Start::default() }, "printable"),
        (Start { versions: Some(versions((2, 1), (2, 0))), ..Start::default() }, "upside down"),
        (Start { token: "ya29.token", ..Start::default() }, "takes no tokens"),
        (Start { local: vec!["root@dev.test"], ..Start::default() }, "root@dev.test"),
    ];
    for (start, words) in cases {
        let (mut client, mut server) = calls();
        let reply = client.handle(&start.client(), NOW);
        let failure = reply.failure().expect("refused");
        assert_eq!(failure.fault(), Fault::Caller, "{failure}");
        assert!(failure.details().contains(words), "{failure}");
        assert!(!failure.details().contains("ya29"), "tokens are not repeated");
        assert!(reply.out_frames().is_empty(), "the peer has not heard of this handshake");
        assert!(client.is_finished());

        let reply = server.handle(&start.server(&[]), NOW);
        let failure = reply.failure().expect("refused");
        assert_eq!(failure.fault(), Fault::Caller, "{failure}");
        assert!(failure.details().contains(words), "{failure}");
        assert_eq!(reply.out_frames().len(), 12, "the client is waiting: an alert");
        assert!(server.is_finished());
    }
}

#[test]
fn target_identities_that_match_nobody_are_not_ignored() {
    for targets in [vec!["host:server.test"], vec![""], vec![SERVER, "two\nlines"]] {
        let start = Start { targets, ..Start::default() };
        let (mut client, _) = calls();
        let reply = client.handle(&start.client(), NOW);
        let failure = reply.failure().unwrap();
        assert_eq!(failure.code(), Code::InvalidArgument);
        assert!(!failure.details().contains('\n'), "what goes into a log has one line");
    }
}

#[test]
fn long_chains_work_until_they_are_too_long() {
    let maker = Maker::new();
    let padding: Vec<_> = (0..20)
        .map(|_| {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::OrganizationName, "o".repeat(1000));
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
        })
        .collect();
    let with = |count| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![mailbox(CLIENT)];
        let mut chain = vec![params.signed_by(&key, &maker.issuer).unwrap().der().to_vec()];
        chain.extend_from_slice(&padding[..count]);
        Identity::from_der(chain, &key.serialize_der())
    };
    let server = maker.call(maker.identity(&[mailbox(SERVER)]).unwrap());
    // With as much as fits, and the most that can be said beside it.
    let names: Vec<&'static str> = (0..16_u8)
        .map(|n| &*format!("{}{}", "n".repeat(63), char::from(b'a' + n)).leak())
        .collect();
    let client_start = Start {
        application: [&["grpc"], &names[1..]].concat(),
        record: [&[common::REKEY], &names[1..]].concat(),
        transport: Some(names.clone()),
        ..Start::default()
    };
    let client = maker.call(with(16).unwrap());
    let (client, server) = drive((client, server), (&client_start, &Start::default()), WHOLE);
    assert!(client.sent[1].len() > 36_000, "several records: {}", client.sent[1].len());
    assert_eq!(client.outcome().key_data(), server.outcome().key_data());

    let error = with(20).unwrap_err();
    assert!(matches!(error, IdentityError::ChainTooLong { bytes: 40_961.. }), "{error}");
}

#[test]
fn a_server_that_is_refused_by_its_own_service_lets_the_client_know() {
    let server = Start { record: vec![], ..Start::default() };
    let ends = drive(calls(), (&Start::default(), &server), WHOLE);
    let words = ["no record protocol"];
    assert_failed(&ends, Side::Server, Code::InvalidArgument, Reason::Local, &words);
    assert_eq!(ends.0.failure().code(), Code::Unavailable);
}

#[test]
fn callers_use_their_own_accounts_alone() {
    let authority = Authority::new().unwrap();
    let service = authority.handshaker(CLIENT).unwrap();
    assert!(service.begin_for(["other@dev.test"], NOW).is_err(), "the certificate is not for that");
    let mut nobody = service.begin_for(Vec::<String>::new(), NOW).unwrap();
    let reply = nobody.handle(&Start::default().client(), NOW);
    assert_eq!(reply.failure().unwrap().code(), Code::PermissionDenied);

    let machine = authority.machine_builder("one.test").unwrap().build().unwrap();
    assert!(machine.begin_for(["alice@two.test"], NOW).is_err());
    assert!(machine.begin_for(["alice"], NOW).is_err());
    let mut call = machine.begin(NOW);
    let reply = call.handle(&Start::default().client(), NOW);
    assert_eq!(reply.failure().unwrap().code(), Code::PermissionDenied, "no default account");
    let mut call = machine.begin_for(["alice@one.test"], NOW).unwrap();
    let start = Start { local: vec!["bob@one.test"], ..Start::default() };
    let reply = call.handle(&start.client(), NOW);
    let failure = reply.failure().unwrap();
    assert_eq!(failure.code(), Code::PermissionDenied);
    assert!(failure.details().contains("bob@one.test"));
    assert!(failure.details().contains("alice@one.test"));
}

#[test]
fn two_clients_or_two_servers_do_not_hang() {
    let (one, two) = calls();
    let (mut one, mut two) = (End::new(one), End::new(two));
    let hello = one.ask(&Start::default().client(), &[]);
    two.ask(&Start::default().client(), &[]);
    let reply = two.ask(&next(hello.out_frames()), hello.out_frames());
    assert!(reply.failure().unwrap().details().contains("both ends clients"));
    let reply = one.ask(&next(reply.out_frames()), reply.out_frames());
    assert_eq!(reply.failure().unwrap().code(), Code::InvalidArgument);
}

#[test]
fn a_call_is_one_handshake() {
    let (mut client, _) = calls();
    assert!(client.handle(&Start::default().client(), NOW).failure().is_none());
    let reply = client.handle(&Start::default().client(), NOW);
    assert_eq!(reply.failure().unwrap().code(), Code::FailedPrecondition);
    assert!(client.is_finished());
    let first = client.result().unwrap().as_ref().unwrap_err().clone();
    let reply = client.handle(&next(b"x"), NOW);
    assert_eq!(reply.failure().unwrap().code(), Code::FailedPrecondition);
    assert!(reply.out_frames().is_empty(), "one alert is enough");
    assert_eq!(client.result().unwrap().as_ref().unwrap_err(), &first, "the first failure stays");

    let (mut client, _) = calls();
    let reply = client.handle(&next(b"x"), NOW);
    assert_eq!(reply.failure().unwrap().code(), Code::FailedPrecondition);
    let (mut client, _) = calls();
    let reply = client.handle(b"", NOW);
    assert_eq!(reply.failure().unwrap().code(), Code::InvalidArgument);
    assert!(reply.out_frames().is_empty());
}

#[test]
fn a_finished_handshake_keeps_its_result() {
    let (mut client, _) = drive(calls(), (&Start::default(), &Start::default()), WHOLE);
    let reply = client.call.handle(&next(b"more"), NOW);
    assert!(reply.failure().is_some() && reply.outcome().is_none());
    assert!(reply.out_frames().is_empty(), "no alert into the record layer");
    assert_eq!(client.outcome().peer_account(), SERVER);
}

#[test]
fn the_deadline_ends_a_handshake_and_the_peer_is_told() {
    let (client, mut server) = calls();
    assert_eq!(server.deadline(), NOW + Limits::default().deadline);
    let mut client = End::new(client);
    let hello = client.ask(&Start::default().client(), &[]);
    let on_time = server.deadline();
    let reply = server.handle(&Start::default().server(hello.out_frames()), on_time);
    assert!(reply.failure().is_none());
    let reply = server.handle(&next(b"x"), on_time + Duration::from_nanos(1));
    assert_eq!(reply.failure().unwrap().code(), Code::DeadlineExceeded);
    let reply = client.ask(&next(reply.out_frames()), reply.out_frames());
    assert_eq!(reply.failure().unwrap().code(), Code::DeadlineExceeded);
    assert!(reply.failure().unwrap().details().contains("longer than it allows"));

    let (mut client, _) = calls();
    assert_eq!(client.expire().failure().unwrap().code(), Code::DeadlineExceeded);
    assert!(client.is_finished());
}

fn limited(limits: Limits) -> Call {
    let authority = Authority::new().unwrap();
    authority.builder(SERVER).unwrap().limits(limits).build().unwrap().begin(NOW)
}

#[test]
fn limits_hold() {
    let mut call = limited(Limits::default().with_request_bytes(200));
    let reply = call.handle(&Start::default().server(&[0; 200]), NOW);
    assert_eq!(reply.failure().unwrap().code(), Code::ResourceExhausted);

    let mut call = limited(Limits::default().with_handshake_bytes(500));
    let (mut client, _) = calls();
    let hello = client.handle(&Start::default().client(), NOW);
    assert!(hello.out_frames().len() > 500);
    let reply = call.handle(&Start::default().server(hello.out_frames()), NOW);
    assert_eq!(reply.failure().unwrap().code(), Code::ResourceExhausted);
    let reply = client.handle(&next(reply.out_frames()), NOW);
    assert_eq!(reply.failure().unwrap().code(), Code::ResourceExhausted);

    let mut call = limited(Limits::default().with_empty_requests(3));
    assert!(call.handle(&Start::default().server(&[]), NOW).failure().is_none());
    assert!(call.handle(&next(&[]), NOW).failure().is_none());
    assert!(call.handle(&next(&[]), NOW).failure().is_none());
    let reply = call.handle(&next(&[]), NOW);
    assert_eq!(reply.failure().unwrap().code(), Code::ResourceExhausted);
}

#[test]
fn other_protocols_are_recognised_as_such() {
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n", b"\x16\x03\x01\x02\x00\x01"]
    {
        let (_, mut server) = calls();
        let reply = server.handle(&Start::default().server(bytes), NOW);
        let failure = reply.failure().expect("refused at once");
        assert_eq!(failure.fault(), Fault::Peer);
        assert!(failure.details().contains("did not send a handshake message"), "{failure}");
    }
}

#[test]
fn going_on_without_an_answer_is_refused() {
    let start = Start::default();
    for message in 0..3 {
        let mut seen = 0;
        let ends = drive_with(calls(), (&start, &start), WHOLE, |_, bytes| {
            if seen == message {
                bytes.extend_from_slice(b"\x05\0\0\0\x03\x01\0\0x");
            }
            seen += 1;
        });
        let side = if message == 1 { Side::Client } else { Side::Server };
        let words = ["without waiting"];
        assert_failed(&ends, side, Code::InvalidArgument, Reason::Malformed, &words);
    }
}

#[test]
fn an_alert_behind_a_message_is_understood() {
    let start = Start::default();
    let (client, _) = drive_with(calls(), (&start, &start), WHOLE, |from_client, bytes| {
        if !from_client {
            bytes.extend_from_slice(b"\x08\0\0\0\xFF\x01\0\0\x0D\0\0\0");
        }
    });
    assert_eq!(client.failure().code(), Code::DeadlineExceeded);
}

/// Replaying a whole recorded client to a server leads nowhere: its second message does not fit.
#[test]
fn replay_is_refused() {
    let authority = Authority::new().unwrap();
    let (c, s) = (authority.handshaker(CLIENT).unwrap(), authority.handshaker(SERVER).unwrap());
    let start = Start::default();
    let (client, _) = drive((c.begin(NOW), s.begin(NOW)), (&start, &start), WHOLE);
    let mut victim = End::new(s.begin(NOW));
    victim.ask(&start.server(&client.sent[0]), &client.sent[0]);
    let reply = victim.ask(&next(&client.sent[1]), &client.sent[1]);
    assert_eq!(reply.failure().unwrap().reason(), Some(Reason::KeyExchange));
}

/// What a side sent is of no use against itself.
#[test]
fn reflection_is_refused() {
    let (client, server) = calls();
    let (mut client, mut server) = (End::new(client), End::new(server));
    let hello = client.ask(&Start::default().client(), &[]).out_frames().to_vec();
    let reply = server.ask(&Start::default().server(&hello), &hello);
    assert!(client.ask(&next(&hello), &hello).failure().is_some());
    let own = reply.out_frames().to_vec();
    assert!(server.ask(&next(&own), &own).failure().is_some());
}
