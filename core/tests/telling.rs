//! What errors and names say: whose fault, where, what; and what `Debug` output does not show.
#![allow(clippy::pedantic, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::error::Error;
use std::time::Duration;

use alts_core::aead::{AeadError, RustCrypto};
use alts_core::context::Unauthorized;
use alts_core::embedded::{self, HandshakeFailure, StreamError, blocking};
use alts_core::frame::{FrameError, FrameSize};
use alts_core::handshake::{
    ClientConfig, ExpectedPeer, HandshakeConfigError, HandshakeErrorKind as Kind, HandshakePhase,
    ServerConfig,
};
use alts_core::key::{KeyTooShort, RecordKey, RecordProtocol, SecurityLevel};
use alts_core::msg::{HandshakerResp, HandshakerStatus, RpcVersion};
use alts_core::record::{Opener, RecordError, Sealer};
use alts_core::wire::{Message, Refusal, Secret, SecretText};
use alts_core::{ClientHandshake, Exhausted, Fault, ServerHandshake, Side};
use embedded_io::Error as _;

const NOW: Duration = Duration::ZERO;

/// The text of something that is used as an error.
fn text(error: impl Error) -> String {
    error.to_string()
}

#[test]
fn faults_sides_levels_and_protocols_have_names() {
    for (fault, name) in [
        (Fault::Peer, "peer"),
        (Fault::HandshakerService, "handshaker service"),
        (Fault::Local, "local"),
    ] {
        assert_eq!((fault.name(), fault.to_string().as_str()), (name, name));
    }
    for (side, name, peer) in
        [(Side::Client, "client", Side::Server), (Side::Server, "server", Side::Client)]
    {
        assert_eq!((side.name(), side.to_string().as_str(), side.peer()), (name, name, peer));
    }
    for (number, name) in
        ["SECURITY_NONE", "INTEGRITY_ONLY", "INTEGRITY_AND_PRIVACY"].iter().enumerate()
    {
        let level = SecurityLevel::from_number(number as u32).unwrap();
        assert_eq!((level.name(), level.to_string().as_str()), (*name, *name));
        assert_eq!(level as usize, number);
    }
    assert_eq!(SecurityLevel::from_number(3), None);
    assert_eq!(SecurityLevel::default(), SecurityLevel::None);
    for (protocol, name, key_len) in [
        (RecordProtocol::AesGcm128Rekey, "ALTSRP_GCM_AES128_REKEY", 44),
        (RecordProtocol::AesGcm128, "ALTSRP_GCM_AES128", 16),
        (RecordProtocol::Gmac128, "ALTSRP_GMAC_128", 16),
    ] {
        assert_eq!((protocol.name(), protocol.to_string().as_str()), (name, name));
        assert_eq!(
            (RecordProtocol::from_name(name), protocol.key_len()),
            (Some(protocol), key_len)
        );
    }
}

#[test]
fn errors_of_the_record_layer_say_whose_fault_they_are() {
    for (error, fault, says) in [
        (
            FrameError::Length(19).into(),
            Fault::Peer,
            "peer: frame length 19 is not within 20..=1048576",
        ),
        (
            FrameError::MessageType(0x106).into(),
            Fault::Peer,
            "peer: frame message type 0x106 is not 6",
        ),
        (RecordError::Authentication, Fault::Peer, "peer: a frame failed authentication"),
        (RecordError::Truncated, Fault::Peer, "peer: the stream ended inside a frame"),
        (Exhausted.into(), Fault::Local, "local: the record counter is used up"),
        (
            RecordError::BufferTooSmall { needed: 25 },
            Fault::Local,
            "local: a buffer of 25 bytes is needed",
        ),
        (RecordError::Provider, Fault::Local, "local: the AEAD provider refused"),
    ] {
        assert_eq!(error.fault(), fault);
        assert_eq!(text(error), says);
    }
    assert_eq!(text(AeadError), "the AEAD provider refused");
    assert_eq!(text(Exhausted), "the record counter is used up");
    assert_eq!(text(FrameError::Length(7)), "frame length 7 is not within 20..=1048576");
    let key = RecordKey::new(RecordProtocol::AesGcm128Rekey, &[1; 43]).unwrap_err();
    assert_eq!(
        (key.fault(), text(key)),
        (Fault::HandshakerService, "key_data has 43 bytes, 44 are needed".into())
    );
}

#[test]
fn errors_of_a_handshake_say_whose_fault_where_and_what() {
    let malformed = HandshakerResp::decode(&[0x1a, 1, 0xff]).unwrap_err();
    let too_short = KeyTooShort { needed: 44, found: 16 };
    let service = Fault::HandshakerService;
    for (kind, fault, says) in [
        (
            Kind::Config(HandshakeConfigError::Empty { field: "record_protocols" }),
            Fault::Local,
            "record_protocols is empty, or holds an empty name",
        ),
        (
            Kind::Config(HandshakeConfigError::TooMany { field: "local_identities", capacity: 8 }),
            Fault::Local,
            "local_identities has more than 8",
        ),
        (Kind::OutOfTurn, Fault::Local, "a call out of turn"),
        (Kind::BufferTooSmall { needed: 9 }, Fault::Local, "a buffer of 9 bytes is needed"),
        (Kind::TimedOut { waiting_for: Fault::Peer }, Fault::Peer, "no answer before the deadline"),
        (Kind::TimedOut { waiting_for: service }, service, "no answer before the deadline"),
        (Kind::PeerClosed, Fault::Peer, "closed the connection"),
        (Kind::TooManyPeerBytes, Fault::Peer, "sent more than 131072 handshake bytes"),
        (Kind::RpcVersions, Fault::Peer, "no RPC protocol version in common"),
        (Kind::UnexpectedPeer, Fault::Peer, "its service account is not an expected one"),
        (Kind::ServiceClosed, service, "ended the call without a result"),
        (
            Kind::Malformed(malformed),
            service,
            "cannot read its message: HandshakerResult, outside its known fields: cut short",
        ),
        (Kind::MissingStatus, service, "no status in its message"),
        (Kind::Refused { code: 16 }, service, "status UNAUTHENTICATED (16)"),
        (
            Kind::ConsumedTooMuch { consumed: 11, given: 10 },
            service,
            "consumed 11 bytes, but was given 10",
        ),
        (Kind::TooManyOutFrames, service, "made more than 131072 handshake bytes"),
        (Kind::TooManyRounds, service, "did not finish within 16384 requests"),
        (Kind::EarlyResult, service, "gave a result before the peer said anything"),
        (Kind::Missing("local_identity"), service, "no local_identity in its result"),
        (
            Kind::NotOffered("record_protocol"),
            service,
            "the record_protocol of its result was not offered",
        ),
        (Kind::KeyTooShort(too_short), service, "key_data has 16 bytes, 44 are needed"),
        (
            Kind::Context(malformed),
            service,
            "its result cannot be kept: HandshakerResult, outside its known fields: cut short",
        ),
    ] {
        assert_eq!(kind.fault(), fault, "{kind}");
        assert_eq!(kind.to_string(), says);
    }
    assert_eq!(
        text(HandshakeConfigError::Empty { field: "x" }),
        "x is empty, or holds an empty name",
        "it is an error of its own"
    );
    for (phase, says) in [
        (HandshakePhase::Start, "start of the handshake"),
        (HandshakePhase::Exchange, "exchange of handshake messages"),
        (HandshakePhase::Result, "end of the handshake"),
    ] {
        assert_eq!(phase.to_string(), says);
    }
    // The whole text, as a program sees it.
    let config = ServerConfig::new();
    let mut server = ServerHandshake::server(&config, NOW).unwrap();
    let error = server.peer_closed();
    assert_eq!((error.kind(), error.fault()), (Kind::PeerClosed, Fault::Peer));
    assert_eq!(text(error), "peer, start of the handshake: closed the connection");
    assert_eq!(
        text(Unauthorized),
        "the peer's service account is not among those that are admitted"
    );
}

#[test]
fn a_refusal_has_the_name_of_its_status_code() {
    let names = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
        "of an unknown code",
    ];
    for (code, name) in (0..).zip(names) {
        assert_eq!(Kind::Refused { code }.to_string(), format!("status {name} ({code})"));
    }
    // Through a handshake: code and words are the service's.
    let config = ClientConfig::new(ExpectedPeer::Any);
    let mut client = ClientHandshake::client(&config, NOW).unwrap();
    client.request(&[], &mut [0; 4096], NOW).unwrap();
    let status = Some(HandshakerStatus { code: 14, details: "busy" });
    let response = HandshakerResp { status, ..HandshakerResp::default() };
    let mut bytes = vec![0; response.encoded_len()];
    response.encode(&mut bytes).unwrap();
    let error = client.response(&mut bytes, NOW).unwrap_err();
    assert_eq!(text(error), "handshaker service, start of the handshake: status UNAVAILABLE (14)");
    assert_eq!(client.details(), "busy");
}

#[test]
fn errors_of_messages_say_which_field_and_why() {
    for (refusal, says) in [
        (Refusal::CutShort, "cut short"),
        (Refusal::Malformed, "malformed"),
        (Refusal::WireType, "encoded as another type"),
        (Refusal::NotUtf8, "not UTF-8"),
        (Refusal::TooLong { capacity: 256 }, "longer than 256 bytes"),
        (Refusal::TooMany { capacity: 8 }, "more than 8 elements"),
        (Refusal::Value, "not an acceptable value"),
    ] {
        assert_eq!(refusal.to_string(), says);
    }
    // Field 2 of HandshakerStatus is text.
    let error = HandshakerStatus::decode(&[0x12, 1, 0xff]).unwrap_err();
    assert_eq!(text(error), "HandshakerStatus.details: not UTF-8");
    assert_eq!(
        (error.message(), error.field(), error.refusal()),
        ("HandshakerStatus", Some("details"), Refusal::NotUtf8)
    );
    let error = HandshakerStatus::decode(&[0xff]).unwrap_err();
    assert_eq!(text(error), "HandshakerStatus, outside its known fields: cut short");
    assert_eq!((error.field(), error.refusal()), (None, Refusal::CutShort));

    let version = RpcVersion::new(2, 1);
    let error = version.encode(&mut [0; 3]).unwrap_err();
    assert_eq!((error.required(), error.available()), (4, 3));
    assert_eq!(text(error), "the message takes 4 bytes, and the buffer has 3");
}

#[test]
fn errors_of_embedded_transports_keep_what_the_transport_said() {
    type Failure = HandshakeFailure<u8, &'static str>;
    let handshake = ServerHandshake::server(&ServerConfig::new(), NOW).unwrap().peer_closed();
    for (error, says) in [
        (Failure::Peer(7), "transport to the peer: 7"),
        (Failure::Service("refused"), "handshaker service out of reach: \"refused\""),
        (Failure::Handshake(handshake), "peer, start of the handshake: closed the connection"),
        (Failure::BufferTooSmall, "local: a handshake buffer is too small"),
        (Failure::Stalled, "local: the transport takes no more bytes"),
    ] {
        assert_eq!(text(error), says);
    }
    use embedded_io::ErrorKind;
    for (error, kind, says) in [
        (
            StreamError::Io(ErrorKind::ConnectionReset),
            ErrorKind::ConnectionReset,
            "transport: ConnectionReset",
        ),
        (StreamError::Stalled, ErrorKind::WriteZero, "transport: takes no more bytes"),
        (
            StreamError::Record(RecordError::BufferTooSmall { needed: 25 }),
            ErrorKind::OutOfMemory,
            "local: a buffer of 25 bytes is needed",
        ),
        (
            StreamError::Record(RecordError::Authentication),
            ErrorKind::InvalidData,
            "peer: a frame failed authentication",
        ),
    ] {
        assert_eq!((error.kind(), text(error)), (kind, says.to_owned()));
    }
}

#[test]
fn debug_output_says_how_things_are_and_shows_no_key() {
    // No other number looks like these bytes.
    let key = RecordKey::new(RecordProtocol::AesGcm128Rekey, &[0xb7; 44]).unwrap();
    let sealer = Sealer::<RustCrypto>::new(Side::Client, &key, FrameSize::default()).unwrap();
    let opener = Opener::<RustCrypto>::new(Side::Client, &key).unwrap();
    let (secret, token) = (Secret::new(&[0xb7; 4]), SecretText::new("b7b7"));
    let config = ClientConfig::new(ExpectedPeer::Any);
    let machine = ClientHandshake::client(&config, NOW).unwrap();
    let shown = format!("{key:?} {sealer:?} {opener:?} {secret:?} {token:?} {machine:?}");
    for part in [
        "RecordKey { protocol: AesGcm128Rekey, .. }",
        "Sealer {",
        "Opener { health: Health(None), .. }",
        "[redacted] [redacted]",
        "Handshake { side: Client, state: Waiting(Request), rounds: 0, .. }",
    ] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
    assert!(!shown.contains("183") && !shown.to_lowercase().contains("b7"), "{shown}");
    let (mut read, mut write) = ([0; 64], [0; 64]);
    let stream = embedded::Stream::new((), sealer, opener, &mut read, 0, &mut write);
    assert_eq!(format!("{stream:?}"), "Stream { failed: None, .. }");
    let sealer = Sealer::<RustCrypto>::new(Side::Client, &key, FrameSize::default()).unwrap();
    let opener = Opener::<RustCrypto>::new(Side::Client, &key).unwrap();
    let stream = blocking::Stream::new((), sealer, opener, &mut read, 0, &mut write);
    assert_eq!(format!("{stream:?}"), "Stream { failed: None, .. }");
}

#[test]
fn secrets_have_a_length() {
    assert!(Secret::new(&[]).is_empty() && !Secret::new(&[1]).is_empty());
    assert_eq!((Secret::new(&[1; 44]).len(), SecretText::new("token").len()), (44, 5));
    assert!(SecretText::default().is_empty());
}

#[test]
fn what_is_offered_by_default() {
    let (client, server) = (ClientConfig::new(ExpectedPeer::Any), ServerConfig::new());
    assert_eq!(client.timeout, Duration::from_secs(20));
    assert_eq!(server.timeout, Duration::from_secs(30));
    for offer in [&client.offer, &server.offer] {
        assert_eq!(offer.application_protocols, ["grpc"]);
        assert_eq!(offer.record_protocols, [RecordProtocol::AesGcm128Rekey]);
        assert!(offer.transport_protocols.is_empty());
        let versions = offer.rpc_versions;
        assert_eq!(versions.max_rpc_version, Some(RpcVersion::new(2, 1)));
        assert_eq!(versions.min_rpc_version, Some(RpcVersion::new(2, 1)));
        assert_eq!(offer.max_frame_size, FrameSize::default());
        assert_eq!(offer.max_frame_size.bytes(), 128 * 1024);
    }
    assert_eq!((client.target_name, client.local_identity), ("", None));
    assert!(client.access_token.is_empty() && server.token.is_none());
    assert!(server.local_identities.is_empty());
    assert_eq!(ClientHandshake::client(&client, NOW).unwrap().side(), Side::Client);
    assert_eq!(ServerHandshake::server(&server, NOW).unwrap().side(), Side::Server);
}
