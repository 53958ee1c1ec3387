//! The handshaker service: arbitrary requests, and handshakes that are tampered with.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use alts_core::msg::{
    HandshakeProtocol, HandshakerReq, HandshakerResp, Identity, List, NextHandshakeMessageReq,
    Request, RpcProtocolVersions, RpcVersion, ServerHandshakeParameters, StartClientHandshakeReq,
    StartServerHandshakeReq,
};
use alts_core::wire::Message;
use alts_handshaker::dev::Authority;
use alts_handshaker::{Call, Handshaker};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

const ACCOUNTS: [&str; 2] = ["client@dev.test", "server@dev.test"];
const NAMES: [&str; 6] = [
    "grpc",
    "ALTSRP_GCM_AES128_REKEY",
    "ALTSRP_GMAC_128",
    "client@dev.test",
    "server@dev.test",
    "",
];

#[derive(Arbitrary, Debug)]
struct Scenario {
    operations: Vec<(bool, Operation)>,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    /// A start message, or the next one with what has come; nothing is changed.
    Go,
    /// Both sides, several times: a whole handshake if nothing interferes.
    GoOn,
    Start(Start),
    Next {
        most: u16,
    },
    Bytes(Vec<u8>),
    /// Bytes that the peer never sent.
    NextBytes(Vec<u8>),
    Flip {
        at: u16,
        with: u8,
    },
    Cut {
        at: u16,
        len: u8,
    },
    Insert {
        at: u16,
        bytes: Vec<u8>,
    },
    Reflect,
    Wait {
        seconds: u8,
    },
    Expire,
}

/// 0, and what else is below 128, makes the good value.
#[derive(Arbitrary, Debug, Default)]
struct Start {
    server: u8,
    protocol: u8,
    application: u8,
    record: u8,
    versions: [u8; 2],
    max_frame_size: u32,
    target: u8,
    local: u8,
    most: u16,
}

struct Side {
    call: Call,
    started: bool,
    /// The record protocols of its first request, if that is a start.
    offered: Option<Vec<String>>,
    inbox: Vec<u8>,
    /// What the other side has sent, and what this one was given, in all.
    meant: Vec<u8>,
    given: Vec<u8>,
    finished: Option<bool>,
}

fn handshakers() -> &'static [Handshaker; 2] {
    static HANDSHAKERS: OnceLock<[Handshaker; 2]> = OnceLock::new();
    HANDSHAKERS.get_or_init(|| {
        let authority = Authority::new().unwrap();
        ACCOUNTS.map(|account| authority.handshaker(account).unwrap())
    })
}

fn name(index: u8, good: &'static str) -> &'static str {
    if index < 128 { good } else { NAMES[usize::from(index) % NAMES.len()] }
}

fn encode(request: Request<'_>) -> Vec<u8> {
    let request = HandshakerReq { request: Some(request) };
    let mut bytes = vec![0; request.encoded_len()];
    request.encode(&mut bytes).unwrap();
    bytes
}

fn next(in_bytes: &[u8]) -> Vec<u8> {
    encode(Request::Next(NextHandshakeMessageReq { in_bytes, network_latency_ms: 0 }))
}

impl Start {
    fn request(&self, is_server: bool, in_bytes: &[u8]) -> Vec<u8> {
        let protocol = match self.protocol {
            0..128 => HandshakeProtocol::ALTS,
            other => HandshakeProtocol((other & 3).into()),
        };
        let version = |index: u8| match index {
            0..128 => RpcVersion::new(2, 1),
            other => RpcVersion::new((other & 3).into(), (other >> 2 & 3).into()),
        };
        let versions = self.versions.map(version);
        let rpc_versions = Some(RpcProtocolVersions::new(versions[0], versions[1]));
        let application = name(self.application, "grpc");
        let record = name(self.record, "ALTSRP_GCM_AES128_REKEY");
        let local =
            (self.local >= 128).then(|| Identity::from_service_account(name(self.local, "")));
        if is_server {
            let parameters = ServerHandshakeParameters {
                record_protocols: [record].into(),
                local_identities: List::try_from_iter(local).unwrap(),
                ..Default::default()
            };
            encode(Request::ServerStart(StartServerHandshakeReq {
                application_protocols: [application].into(),
                handshake_parameters: [(protocol, parameters)].into(),
                in_bytes,
                rpc_versions,
                max_frame_size: self.max_frame_size,
                ..Default::default()
            }))
        } else {
            let target =
                (self.target >= 128).then(|| Identity::from_service_account(name(self.target, "")));
            encode(Request::ClientStart(StartClientHandshakeReq {
                handshake_security_protocol: protocol,
                application_protocols: [application].into(),
                record_protocols: [record].into(),
                target_identities: List::try_from_iter(target).unwrap(),
                local_identity: local,
                rpc_versions,
                max_frame_size: self.max_frame_size,
                ..Default::default()
            }))
        }
    }
}

fuzz_target!(|scenario: Scenario| {
    let mut now = Duration::from_secs(1000);
    let mut sides = handshakers().each_ref().map(|handshaker| Side {
        call: handshaker.begin(now),
        started: false,
        offered: None,
        inbox: Vec::new(),
        meant: Vec::new(),
        given: Vec::new(),
        finished: None,
    });
    // Every whole handshake costs a millisecond.
    for (server, operation) in scenario.operations.iter().take(40) {
        let at = usize::from(*server);
        let side = &mut sides[at];
        match operation {
            Operation::Go => go(&mut sides, at, now),
            Operation::GoOn => (0..6).for_each(|i| go(&mut sides, i % 2, now)),
            Operation::Start(start) => {
                let is_server = *server != (start.server >= 128);
                let most = usize::from(start.most).min(side.inbox.len());
                let in_bytes: Vec<u8> =
                    if is_server { side.inbox.drain(..most).collect() } else { Vec::new() };
                let request = start.request(is_server, &in_bytes);
                side.started = true;
                ask(&mut sides, at, &request, &in_bytes, now);
            }
            Operation::Next { most } => {
                let most = usize::from(*most).min(side.inbox.len());
                let in_bytes: Vec<u8> = side.inbox.drain(..most).collect();
                ask(&mut sides, at, &next(&in_bytes), &in_bytes, now);
            }
            Operation::Bytes(bytes) => ask(&mut sides, at, bytes, &[], now),
            Operation::NextBytes(bytes) => ask(&mut sides, at, &next(bytes), bytes, now),
            Operation::Flip { at, with } => {
                let len = side.inbox.len().max(1);
                if let Some(byte) = side.inbox.get_mut(usize::from(*at) % len) {
                    *byte ^= with;
                }
            }
            Operation::Cut { at, len } => {
                let start = usize::from(*at).min(side.inbox.len());
                let end = (start + usize::from(*len)).min(side.inbox.len());
                side.inbox.drain(start..end);
            }
            Operation::Insert { at, bytes } => {
                let at = usize::from(*at).min(side.inbox.len());
                side.inbox.splice(at..at, bytes.iter().copied());
            }
            Operation::Reflect => {
                let sent = sides[1 - at].meant.clone();
                sides[at].inbox.extend(sent);
            }
            Operation::Wait { seconds } => now += Duration::from_secs((*seconds).into()),
            Operation::Expire => {
                let reply = side.call.expire();
                assert!(reply.failure().is_some() && side.call.is_finished());
                side.finished.get_or_insert(false);
            }
        }
    }
    conclude(&sides);
});

/// What a well-behaved caller does next.
fn go(sides: &mut [Side; 2], at: usize, now: Duration) {
    let side = &mut sides[at];
    if side.finished.is_some() || (side.inbox.is_empty() && (side.started || at == 1)) {
        return;
    }
    let in_bytes = std::mem::take(&mut side.inbox);
    if side.started {
        ask(sides, at, &next(&in_bytes), &in_bytes, now);
    } else {
        side.started = true;
        // A client has nothing to say about the peer's bytes yet.
        if at == 0 {
            side.inbox.clone_from(&in_bytes);
        }
        let in_bytes = if at == 0 { Vec::new() } else { in_bytes };
        let request = Start::default().request(at == 1, &in_bytes);
        ask(sides, at, &request, &in_bytes, now);
    }
}

/// Asks, checks what has to hold for every answer, and hands on what is for the peer.
fn ask(sides: &mut [Side; 2], at: usize, request: &[u8], in_bytes: &[u8], now: Duration) {
    let side = &mut sides[at];
    side.offered.get_or_insert_with(|| offered(request));
    let was_finished = side.finished;
    let reply = side.call.handle(request, now);
    let bytes = reply.encode();
    let response = HandshakerResp::decode(&bytes).unwrap();
    let status = response.status.as_ref().unwrap();
    assert_eq!(response, reply.message());
    assert_eq!(response.out_frames, reply.out_frames());
    assert_eq!(response.result.is_some(), reply.outcome().is_some());
    assert_eq!(status.code != 0, reply.failure().is_some());
    assert!(response.out_frames.len() <= 64 * 1024);
    let consumed = response.bytes_consumed as usize;
    if let Some(result) = &response.result {
        assert_eq!((status.code, was_finished), (0, None));
        assert!(side.call.is_finished());
        assert!(consumed <= in_bytes.len());
        assert_eq!(result.key_data.expose().len(), 44);
        assert!(side.offered.iter().flatten().any(|name| name == result.record_protocol));
        side.finished = Some(true);
        side.given.extend(&in_bytes[..consumed]);
    } else if status.code == 0 {
        assert!(was_finished.is_none() && !side.call.is_finished());
        // The request may have been one of bytes that happen to be well formed.
        assert!(in_bytes.is_empty() || consumed == in_bytes.len());
        side.given.extend(in_bytes);
    } else {
        assert!(side.call.is_finished() && !status.details.is_empty());
        side.finished.get_or_insert(false);
    }
    assert_eq!(side.finished.or(was_finished), side.finished);
    assert_eq!(side.finished.is_some(), side.call.is_finished());
    let out_frames = response.out_frames.to_vec();
    sides[1 - at].meant.extend(&out_frames);
    sides[1 - at].inbox.extend(out_frames);
}

/// The record protocols that a start message offers.
fn offered(request: &[u8]) -> Vec<String> {
    match HandshakerReq::decode(request).ok().and_then(|message| message.request) {
        Some(Request::ClientStart(start)) => {
            start.record_protocols.iter().map(|&name| name.to_owned()).collect()
        }
        Some(Request::ServerStart(start)) => start
            .handshake_parameters
            .iter()
            .filter(|(protocol, _)| **protocol == HandshakeProtocol::ALTS)
            .flat_map(|(_, parameters)| parameters.record_protocols.iter())
            .map(|&name| name.to_owned())
            .collect(),
        _ => Vec::new(),
    }
}

/// A side that succeeded has seen all the peer's bytes as they were sent, and knows its account.
fn conclude(sides: &[Side; 2]) {
    for (side, peer) in [(&sides[0], &sides[1]), (&sides[1], &sides[0])] {
        let Some(Ok(outcome)) = side.call.result() else { continue };
        assert!(side.meant.starts_with(&side.given), "tampered with, and not noticed");
        if let Some(Ok(theirs)) = peer.call.result() {
            assert_eq!(outcome.key_data(), theirs.key_data());
            assert_eq!(outcome.peer_account(), theirs.local_account());
            assert_ne!(outcome.peer_account(), outcome.local_account());
        }
    }
}
