//! Two calls and a wire between them, driven as the callers of a handshaker service drive theirs.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of this")]

use std::collections::VecDeque;
use std::time::Duration;

use alts_core::msg::{
    HandshakeProtocol, HandshakerReq, HandshakerResp, Identity, IdentityKind, List,
    NextHandshakeMessageReq, Request, RpcProtocolVersions, RpcVersion, ServerHandshakeParameters,
    StartClientHandshakeReq, StartServerHandshakeReq, TransportProtocolPreferences,
};
use alts_core::wire::{Message as _, SecretText};
use alts_handshaker::dev::Authority;
use alts_handshaker::{Call, Reply};

pub const REKEY: &str = "ALTSRP_GCM_AES128_REKEY";
pub const NOW: Duration = Duration::from_secs(1000);
pub const CLIENT: &str = "client@dev.test";
pub const SERVER: &str = "server@dev.test";

/// What a caller puts into its start message.
#[derive(Clone)]
pub struct Start {
    pub protocol: HandshakeProtocol,
    pub application: Vec<&'static str>,
    pub record: Vec<&'static str>,
    pub transport: Option<Vec<&'static str>>,
    pub versions: Option<RpcProtocolVersions>,
    pub max_frame_size: u32,
    pub target_name: &'static str,
    pub targets: Vec<&'static str>,
    pub local: Vec<&'static str>,
    pub token: &'static str,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            protocol: HandshakeProtocol::ALTS,
            application: vec!["grpc"],
            record: vec![REKEY],
            transport: None,
            versions: Some(versions((2, 1), (2, 1))),
            max_frame_size: 1_048_576,
            target_name: "service.test:443",
            targets: vec![],
            local: vec![],
            token: "",
        }
    }
}

pub fn versions(min: (u32, u32), max: (u32, u32)) -> RpcProtocolVersions {
    RpcProtocolVersions::new(RpcVersion::new(min.0, min.1), RpcVersion::new(max.0, max.1))
}

fn list<T, const N: usize>(items: impl Iterator<Item = T>) -> List<T, N> {
    List::try_from_iter(items).unwrap()
}

impl Start {
    fn preferences(&self) -> Option<TransportProtocolPreferences<'static>> {
        self.transport.as_ref().map(|names| TransportProtocolPreferences {
            transport_protocol: list(names.iter().copied()),
        })
    }

    pub fn client(&self) -> Vec<u8> {
        encode(Request::ClientStart(StartClientHandshakeReq {
            handshake_security_protocol: self.protocol,
            application_protocols: list(self.application.iter().copied()),
            record_protocols: list(self.record.iter().copied()),
            target_identities: list(self.targets.iter().map(|account| {
                match account.strip_prefix("host:") {
                    Some(host) => Identity {
                        identity: Some(IdentityKind::Hostname(host)),
                        ..Identity::default()
                    },
                    None => Identity::from_service_account(account),
                }
            })),
            local_identity: self.local.first().map(|own| Identity::from_service_account(own)),
            target_name: self.target_name,
            rpc_versions: self.versions,
            max_frame_size: self.max_frame_size,
            access_token: SecretText::new(self.token),
            transport_protocol_preferences: self.preferences(),
            ..StartClientHandshakeReq::default()
        }))
    }

    pub fn server(&self, in_bytes: &[u8]) -> Vec<u8> {
        let parameters = ServerHandshakeParameters {
            record_protocols: list(self.record.iter().copied()),
            local_identities: list(
                self.local.iter().map(|own| Identity::from_service_account(own)),
            ),
            token: (!self.token.is_empty()).then_some(SecretText::new(self.token)),
        };
        encode(Request::ServerStart(StartServerHandshakeReq {
            application_protocols: list(self.application.iter().copied()),
            handshake_parameters: [(self.protocol, parameters)].into(),
            in_bytes,
            rpc_versions: self.versions,
            max_frame_size: self.max_frame_size,
            transport_protocol_preferences: self.preferences(),
            ..StartServerHandshakeReq::default()
        }))
    }
}

pub fn next(in_bytes: &[u8]) -> Vec<u8> {
    encode(Request::Next(NextHandshakeMessageReq { in_bytes, network_latency_ms: 1 }))
}

pub fn encode(request: Request<'_>) -> Vec<u8> {
    let request = HandshakerReq { request: Some(request) };
    let mut bytes = vec![0; request.encoded_len()];
    let len = request.encode(&mut bytes).unwrap();
    assert_eq!(len, bytes.len());
    bytes
}

/// Two calls of two identities of one authority.
pub fn calls() -> (Call, Call) {
    let authority = Authority::new().unwrap();
    (
        authority.handshaker(CLIENT).unwrap().begin(NOW),
        authority.handshaker(SERVER).unwrap().begin(NOW),
    )
}

/// A caller: its call, and the bytes that its socket holds for it.
pub struct End {
    pub call: Call,
    pub received: VecDeque<u8>,
    /// What was left when the handshake was over.
    pub left: Vec<u8>,
    pub requests: u32,
    /// The bytes of each of this side's messages to the peer.
    pub sent: Vec<Vec<u8>>,
}

impl End {
    pub fn new(call: Call) -> Self {
        Self { call, received: VecDeque::new(), left: vec![], requests: 0, sent: vec![] }
    }

    /// One request, with all the checks that every response has to pass.
    pub fn ask(&mut self, request: &[u8], in_bytes: &[u8]) -> Reply {
        self.requests += 1;
        let reply = self.call.handle(request, NOW);
        let bytes = reply.encode();
        let response = HandshakerResp::decode(&bytes).unwrap();
        let status = response.status.clone().expect("status is set in every response");
        assert_eq!(response.out_frames, reply.out_frames());
        if response.result.is_some() {
            assert_eq!(status.code, 0);
            assert!(self.call.is_finished());
            let consumed = usize::try_from(response.bytes_consumed).unwrap();
            self.left = in_bytes[consumed..].to_vec();
            self.left.extend(self.received.drain(..));
        } else if status.code == 0 {
            assert!(!self.call.is_finished());
            assert_eq!(usize::try_from(response.bytes_consumed).unwrap(), in_bytes.len());
        } else {
            assert!(!status.details.is_empty());
            assert!(self.call.is_finished(), "after an error status the call is over");
        }
        if !reply.out_frames().is_empty() {
            self.sent.push(reply.out_frames().to_vec());
        }
        reply
    }

    pub fn take(&mut self, most: usize) -> Vec<u8> {
        let count = most.min(self.received.len());
        self.received.drain(..count).collect()
    }

    pub fn failure(&self) -> &alts_handshaker::Failure {
        self.call.result().expect("the call is over").as_ref().expect_err("the handshake fails")
    }

    pub fn outcome(&self) -> &alts_handshaker::Outcome {
        match self.call.result().expect("the call is over") {
            Ok(outcome) => outcome,
            Err(failure) => panic!("the handshake failed: {failure}"),
        }
    }
}

/// Bytes that the client sends at once behind its last handshake message.
pub const RECORDS: &[u8] = b"first records of the client";

pub fn drive(calls: (Call, Call), starts: (&Start, &Start), most: usize) -> (End, End) {
    drive_with(calls, starts, most, |_, _| {})
}

/// Runs a handshake until nothing moves, `most` bytes in each request. `tamper` may change what a
/// side sends: it gets the sender (`true`: the client) and the bytes.
pub fn drive_with(
    calls: (Call, Call),
    starts: (&Start, &Start),
    most: usize,
    mut tamper: impl FnMut(bool, &mut Vec<u8>),
) -> (End, End) {
    let (mut client, mut server) = (End::new(calls.0), End::new(calls.1));
    let reply = client.ask(&starts.0.client(), &[]);
    let mut out = reply.out_frames().to_vec();
    tamper(true, &mut out);
    server.received.extend(out);
    let mut server_started = false;
    loop {
        let mut moved = false;
        if !server.call.is_finished() && !server.received.is_empty() {
            let bytes = server.take(most);
            let request = if server_started { next(&bytes) } else { starts.1.server(&bytes) };
            server_started = true;
            let mut out = server.ask(&request, &bytes).out_frames().to_vec();
            tamper(false, &mut out);
            client.received.extend(out);
            moved = true;
        }
        if !client.call.is_finished() && !client.received.is_empty() {
            let bytes = client.take(most);
            let reply = client.ask(&next(&bytes), &bytes);
            let mut out = reply.out_frames().to_vec();
            if reply.outcome().is_some() {
                out.extend_from_slice(RECORDS);
            }
            tamper(true, &mut out);
            server.received.extend(out);
            moved = true;
        }
        if !moved {
            return (client, server);
        }
    }
}
