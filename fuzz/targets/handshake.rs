//! The handshake machines, client and server, against any service, any peer and any caller.
#![no_main]

use std::time::Duration;

use alts_core::aead::RustCrypto;
use alts_core::handshake::{
    ClientConfig, ExpectedPeer, Handshake, HandshakeError, HandshakeErrorKind as Kind,
    MAX_HANDSHAKE_BYTES, Offer, Role, ServerConfig, Want,
};
use alts_core::key::RecordProtocol;
use alts_core::{ClientHandshake, ServerHandshake, Session, Side};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

#[allow(dead_code)]
#[path = "../../core/tests/support/proto.rs"]
mod proto;

/// Names that the answers of the service and the configuration are made of.
const NAMES: [&str; 8] = [
    "grpc",
    "ALTSRP_GCM_AES128_REKEY",
    "ALTSRP_GCM_AES128",
    "ALTSRP_GMAC_128",
    "a@x",
    "b@x",
    "",
    "tcp",
];
const ACCOUNTS: [&[&str]; 3] = [&[], &["a@x"], &["b@x", "a@x"]];
const RECORD_PROTOCOLS: [&[RecordProtocol]; 3] = [
    &[RecordProtocol::AesGcm128Rekey],
    RecordProtocol::ALL,
    &[RecordProtocol::Gmac128, RecordProtocol::AesGcm128Rekey],
];
const TRANSPORTS: [&[&str]; 2] = [&[], &["tcp"]];

#[derive(Arbitrary, Debug)]
struct Scenario {
    server: bool,
    accounts: u8,
    record_protocols: u8,
    transports: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Does what is wanted, with room for a request and the next answer of the list.
    Follow {
        room: u16,
        answer: Answer,
        peer: Vec<u8>,
    },
    /// Calls a method whether it is wanted or not.
    Request {
        room: u16,
    },
    Respond(Answer),
    Sent,
    PeerSends(Vec<u8>),
    PeerSendsMuch,
    PeerCloses,
    ServiceCloses,
    Wait {
        milliseconds: u16,
    },
}

#[derive(Arbitrary, Debug)]
enum Answer {
    Bytes(Vec<u8>),
    Message {
        out_frames: Vec<u8>,
        consumed: Consumed,
        result: Option<Box<Outcome>>,
        status: Status,
        much: bool,
    },
}

#[derive(Arbitrary, Debug)]
enum Consumed {
    All,
    AllBut(u8),
    Exactly(u32),
}

/// 0 and what else is below 128 makes the good value, so that good results are easily found.
#[derive(Arbitrary, Debug)]
struct Outcome {
    application_protocol: u8,
    record_protocol: u8,
    key_len: u8,
    peer: u8,
    local: u8,
    versions: [u8; 3],
    transport: u8,
    max_frame_size: u32,
    attributes: Vec<(u8, String)>,
}

/// Whether there is a status at all, its code and how long its details are; mostly OK.
#[derive(Arbitrary, Debug)]
struct Status {
    absent: u8,
    code: u8,
    details: u8,
}

/// The good name, or any.
fn name(index: u8, good: &str) -> String {
    if index < 128 { good.into() } else { NAMES[usize::from(index) % NAMES.len()].into() }
}

/// The good identity, one of the other kind, none, or any.
fn identity(index: u8) -> Option<proto::Identity> {
    let kind = match index {
        200..220 => proto::IdentityOneof::Hostname("a@x".into()),
        220..=255 => return None,
        _ => proto::IdentityOneof::ServiceAccount(name(index, "a@x")),
    };
    Some(proto::Identity { identity_oneof: Some(kind), ..Default::default() })
}

/// The good version, any, or none.
fn version(index: u8) -> Option<proto::RpcVersion> {
    match index {
        0..128 => Some(proto::RpcVersion { major: 2, minor: 1 }),
        128..192 => {
            Some(proto::RpcVersion { major: (index & 3).into(), minor: (index >> 2 & 3).into() })
        }
        192..=255 => None,
    }
}

impl Answer {
    /// The bytes of the answer to a request with `given` of the peer's bytes.
    fn bytes(&self, given: usize) -> Vec<u8> {
        let (out_frames, consumed, result, status, much) = match self {
            Self::Bytes(bytes) => return bytes.clone(),
            Self::Message { out_frames, consumed, result, status, much } => {
                (out_frames, consumed, result, status, *much)
            }
        };
        let given = u32::try_from(given).unwrap();
        proto::HandshakerResp {
            out_frames: if much { vec![7; 70_000] } else { out_frames.clone() },
            bytes_consumed: match *consumed {
                Consumed::All => given,
                Consumed::AllBut(less) => given.saturating_sub(less.into()),
                Consumed::Exactly(count) => count,
            },
            result: result.as_ref().map(|result| result.message()),
            status: (status.absent < 200).then(|| proto::HandshakerStatus {
                code: status.code.saturating_sub(200).into(),
                details: "d\u{e9}".repeat(status.details.into()),
            }),
        }
        .encode_to_vec()
    }
}

impl Outcome {
    fn message(&self) -> proto::HandshakerResult {
        let [versions, max, min] = self.versions;
        proto::HandshakerResult {
            application_protocol: name(self.application_protocol, "grpc"),
            record_protocol: name(self.record_protocol, "ALTSRP_GCM_AES128_REKEY"),
            key_data: vec![
                9;
                if self.key_len < 128 { 44 } else { usize::from(self.key_len) - 128 }
            ],
            peer_identity: identity(self.peer).map(|identity| proto::Identity {
                attributes: self
                    .attributes
                    .iter()
                    .map(|(key, value)| (key.to_string(), value.clone()))
                    .collect(),
                ..identity
            }),
            local_identity: identity(self.local),
            keep_channel_open: self.key_len & 1 == 1,
            peer_rpc_versions: (versions < 200).then(|| proto::RpcProtocolVersions {
                max_rpc_version: version(max),
                min_rpc_version: version(min),
            }),
            max_frame_size: self.max_frame_size,
            transport_protocol: (self.transport >= 128).then(|| {
                proto::NegotiatedTransportProtocol { transport_protocol: name(self.transport, "") }
            }),
        }
    }
}

fuzz_target!(|scenario: Scenario| {
    let choose = |list: usize, index: u8| usize::from(index) % list;
    let offer = Offer::new()
        .with_record_protocols(RECORD_PROTOCOLS[choose(3, scenario.record_protocols)])
        .with_transport_protocols(TRANSPORTS[choose(2, scenario.transports)]);
    let timeout = Duration::from_secs(20);
    let expected = ACCOUNTS[choose(3, scenario.accounts)];
    if scenario.server {
        let config = ServerConfig::new().with_offer(offer).with_local_identities(expected);
        let config = config.with_timeout(timeout);
        let machine = ServerHandshake::server(&config, Duration::ZERO).unwrap();
        World::new(machine, &config.offer, &[]).run(&scenario.steps);
    } else {
        let peer = match expected {
            [] => ExpectedPeer::Any,
            accounts => ExpectedPeer::Accounts(accounts),
        };
        let config = ClientConfig::new(peer).with_offer(offer).with_timeout(timeout);
        let machine = ClientHandshake::client(&config, Duration::ZERO).unwrap();
        World::new(machine, &config.offer, expected).run(&scenario.steps);
    }
});

struct World<'c, R> {
    machine: Handshake<R>,
    offer: &'c Offer<'c>,
    expected: &'c [&'c str],
    now: Duration,
    inbox: Vec<u8>,
    /// Bytes of the peer in the last request, of those the ones that it has seen before, and what
    /// the service has consumed in all.
    given: usize,
    carried: usize,
    consumed: usize,
    sent: usize,
    requests: u32,
    /// The result that the machine has accepted.
    accepted: Option<proto::HandshakerResult>,
    error: Option<HandshakeError>,
}

impl<'c, R: Role> World<'c, R> {
    fn new(machine: Handshake<R>, offer: &'c Offer<'c>, expected: &'c [&'c str]) -> Self {
        Self {
            machine,
            offer,
            expected,
            now: Duration::ZERO,
            inbox: Vec::new(),
            given: 0,
            carried: 0,
            consumed: 0,
            sent: 0,
            requests: 0,
            accepted: None,
            error: None,
        }
    }

    fn run(mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Follow { room, answer, peer } => match self.want() {
                    Ok(Want::Request) => self.request((*room).into()),
                    Ok(Want::Response) => self.respond(answer),
                    Ok(Want::Send | Want::Alert) => self.machine.sent(self.now),
                    Ok(Want::PeerBytes) => {
                        self.inbox.extend(peer);
                        self.request((*room).into());
                    }
                    Ok(Want::Established) | Err(_) => break,
                },
                Step::Request { room } => self.request((*room).into()),
                Step::Respond(answer) => self.respond(answer),
                Step::Sent => self.machine.sent(self.now),
                Step::PeerSends(bytes) => self.inbox.extend(bytes),
                Step::PeerSendsMuch => self.inbox.extend([3; 40_000]),
                Step::PeerCloses => {
                    let error = self.machine.peer_closed();
                    self.failed(error);
                }
                Step::ServiceCloses => {
                    let error = self.machine.service_closed();
                    self.failed(error);
                }
                Step::Wait { milliseconds } => {
                    self.now += Duration::from_millis((*milliseconds).into());
                }
            }
            let _ = self.want();
            let _ = format!("{:?}", self.machine);
        }
        self.conclude();
    }

    fn want(&mut self) -> Result<Want, HandshakeError> {
        let want = self.machine.want(self.now);
        match want {
            Ok(Want::Established) => assert!(self.accepted.is_some()),
            Ok(_) => assert!(self.now < self.machine.deadline()),
            Err(error) => self.failed(error),
        }
        assert_eq!(self.machine.want(self.now), want);
        want
    }

    /// The first error stays.
    fn failed(&mut self, error: HandshakeError) {
        assert_eq!(*self.error.get_or_insert(error), error);
        assert!(!error.to_string().is_empty());
        if let Kind::TimedOut { .. } = error.kind() {
            assert!(self.now >= self.machine.deadline());
        }
    }

    fn request(&mut self, room: usize) {
        let wanted = self.want();
        let mut out = vec![0x55; room];
        let len = match self.machine.request(&self.inbox, &mut out, self.now) {
            Ok(len) => len,
            Err(error) => {
                if let Kind::BufferTooSmall { needed } = error.kind() {
                    assert!(needed > room);
                    assert!(out.iter().all(|&byte| byte == 0x55));
                    assert_eq!(self.machine.want(self.now), wanted, "changed");
                } else {
                    self.failed(error);
                }
                return;
            }
        };
        assert!(matches!(wanted, Ok(Want::Request | Want::PeerBytes)));
        assert!(self.error.is_none());
        let request = proto::HandshakerReq::decode(&out[..len]).unwrap().req_oneof.unwrap();
        let in_bytes = match &request {
            proto::ReqOneof::ClientStart(_) => {
                assert!(self.requests == 0 && self.machine.side() == Side::Client);
                &[][..]
            }
            proto::ReqOneof::ServerStart(start) => {
                assert!(self.requests == 0 && self.machine.side() == Side::Server);
                &start.in_bytes
            }
            proto::ReqOneof::Next(next) => {
                assert!(self.requests > 0);
                &next.in_bytes
            }
        };
        assert!(self.inbox.starts_with(in_bytes));
        assert!(self.consumed + in_bytes.len() <= MAX_HANDSHAKE_BYTES);
        let new = in_bytes.len().checked_sub(self.carried).unwrap();
        assert!(wanted == Ok(Want::Request) || new > 0, "a request that brings nothing");
        self.given = in_bytes.len();
        self.requests += 1;
    }

    fn respond(&mut self, answer: &Answer) {
        let wanted = self.want();
        let mut message = answer.bytes(self.given);
        let theirs = proto::HandshakerResp::decode(&*message);
        let original = message.clone();
        let response = self.machine.response(&mut message, self.now);
        if wanted != Ok(Want::Response) {
            return self.failed(response.unwrap_err());
        }
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                assert!(message.iter().all(|&byte| byte == 0), "the message was not wiped");
                return self.failed(error);
            }
        };
        // Whatever is returned, even together with an error to come, is in the message.
        let theirs = theirs.unwrap();
        assert_eq!(original[response.to_peer.clone()], theirs.out_frames);
        let kept = &message[response.to_peer.clone()];
        assert_eq!(kept, theirs.out_frames);
        let nonzero = message.iter().filter(|&&byte| byte != 0).count();
        assert_eq!(nonzero, kept.iter().filter(|&&byte| byte != 0).count(), "not wiped");
        self.sent += theirs.out_frames.len();
        assert!(self.sent <= MAX_HANDSHAKE_BYTES);
        assert!(response.consumed <= self.given);
        self.inbox.drain(..response.consumed);
        self.consumed += response.consumed;

        self.accepted = theirs.result;
        let sending = matches!(self.want(), Ok(Want::Send | Want::Alert));
        assert_eq!(sending, !response.to_peer.is_empty());
        if sending {
            self.machine.sent(self.now);
        }
        if self.want().is_ok() {
            let status = theirs.status.unwrap();
            assert_eq!(status.code, 0);
            assert_eq!(response.consumed, theirs.bytes_consumed as usize);
            self.carried = self.given - response.consumed;
            assert_eq!(self.want() == Ok(Want::Established), self.accepted.is_some());
        } else {
            assert_eq!(response.consumed, 0);
        }
    }

    /// The end: a result if, and only if, the service gave one that was asked for.
    fn conclude(mut self) {
        let want = self.want();
        let established = match self.machine.established() {
            Ok(established) => established,
            Err(error) => {
                assert_ne!(want, Ok(Want::Established));
                return assert!(self.error.is_none_or(|first| first == error));
            }
        };
        assert_eq!(want, Ok(Want::Established));
        let result = self.accepted.unwrap();
        let protocol = RecordProtocol::from_name(&result.record_protocol).unwrap();
        assert!(self.offer.record_protocols.contains(&protocol));
        assert!(self.offer.application_protocols.contains(&&*result.application_protocol));
        assert!(result.key_data.len() >= protocol.key_len());
        assert!(self.given > 0 || self.consumed > 0, "the peer has said nothing");
        let peer = result.peer_identity.unwrap();
        let Some(proto::IdentityOneof::ServiceAccount(account)) = peer.identity_oneof else {
            panic!("a peer without an account")
        };
        assert!(!account.is_empty());
        assert!(self.expected.is_empty() || self.expected.contains(&&*account));
        assert!(result.local_identity.is_some());
        let versions = result.peer_rpc_versions.unwrap();
        let bound = |version: Option<proto::RpcVersion>| version.unwrap_or_default();
        let (max, min) = (bound(versions.max_rpc_version), bound(versions.min_rpc_version));
        assert!((max.major, max.minor) >= (2, 1) && (min.major, min.minor) <= (2, 1));
        if let Some(transport) = result.transport_protocol {
            let name = transport.transport_protocol;
            assert!(name.is_empty() || self.offer.transport_protocols.contains(&&*name));
        }
        assert!(established.frame_size() <= self.offer.max_frame_size);
        assert!(
            established.frame_size().bytes() <= result.max_frame_size.max(16 * 1024),
            "larger than what the peer takes"
        );

        let session = Session::<RustCrypto>::new(established).unwrap();
        assert_eq!(session.context().peer_service_account(), account);
        assert_eq!(session.context().record_protocol(), protocol);
        assert_eq!(session.context().application_protocol(), result.application_protocol);
        assert_eq!(session.context().peer_attributes().count(), peer.attributes.len());
    }
}
