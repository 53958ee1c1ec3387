//! The messages of `vectors/messages.json`, which another protobuf implementation wrote.
#![cfg(feature = "handshake")]
#![allow(
    clippy::pedantic,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used
)]

use alts_core::AltsContext;
use alts_core::key::RecordProtocol;
use alts_core::msg::{self, IdentityKind, Request};
use alts_core::wire::{DecodeError, Message};
use serde_json::{Map, Value, json};

#[test]
fn messages_are_read_and_written_as_by_another_implementation() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/messages.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(file["kind"], "messages");
    let cases = file["cases"].as_array().unwrap();
    let (mut read, mut refused) = (0, 0);
    for case in cases {
        let message = case["message"].as_str().unwrap();
        let encoded = hex(&case["encoded"]);
        if case["refused"] == true {
            refused += 1;
            let error = reread(message, &encoded).unwrap_err();
            assert_ne!(error.to_string(), "", "{case}");
            continue;
        }
        read += 1;
        let (value, written) = reread(message, &encoded).unwrap_or_else(|e| panic!("{e}: {case}"));
        assert_eq!(value, case["value"], "{case}");
        if case["other_encodings"] == true {
            assert_eq!(reread(message, &written).unwrap().0, value, "{case}");
        } else {
            let canonical = if case["canonical"].is_string() { "canonical" } else { "encoded" };
            assert_eq!(written, hex(&case[canonical]), "{case}");
        }
    }
    assert_eq!((read, refused), (134, 22));
}

/// Reads a message; returns its value as the file has it, and its bytes written anew.
fn reread(message: &str, bytes: &[u8]) -> Result<(Value, Vec<u8>), DecodeError> {
    macro_rules! of {
        ($($name:ident)*) => {
            match message {
                $(stringify!($name) => {
                    let message = msg::$name::decode(bytes)?;
                    let mut written = vec![0; message.encoded_len()];
                    assert_eq!(message.encode(&mut written), Ok(written.len()));
                    (message.value(), written)
                })*
                "AltsContext" => {
                    let context = AltsContext::decode(bytes)?;
                    let mut written = vec![0; context.encoded_len()];
                    assert_eq!(context.encode(&mut written), Ok(written.len()));
                    (context.value(), written)
                }
                _ => panic!("no message {message}"),
            }
        };
    }
    Ok(of! {
        Endpoint Identity StartClientHandshakeReq ServerHandshakeParameters StartServerHandshakeReq
        NextHandshakeMessageReq HandshakerReq HandshakerResult HandshakerStatus HandshakerResp
        RpcVersion RpcProtocolVersions TransportProtocolPreferences NegotiatedTransportProtocol
    })
}

/// A message, or what is in one, as the file has it.
trait AsValue {
    fn value(&self) -> Value;
}

/// An object of the fields that are set: neither null, nor empty, nor 0, nor false.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let is_set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        _ => true,
    };
    let set = fields.into_iter().filter(|(_, value)| is_set(value));
    Value::Object(set.map(|(name, value)| (name.to_string(), value)).collect())
}

/// Null for an empty map, which otherwise would look like a message that is there.
fn map<K: ToString, V>(
    entries: impl IntoIterator<Item = (K, V)>,
    value: impl Fn(V) -> Value,
) -> Value {
    let entries: Map<_, _> =
        entries.into_iter().map(|(key, inner)| (key.to_string(), value(inner))).collect();
    if entries.is_empty() { Value::Null } else { Value::Object(entries) }
}

fn maybe<T: AsValue>(message: &Option<T>) -> Value {
    message.as_ref().map_or(Value::Null, AsValue::value)
}

fn list<T: AsValue>(messages: &[T]) -> Value {
    messages.iter().map(AsValue::value).collect()
}

macro_rules! values {
    ($(|$ours:ident: $name:ty| { $($field:literal: $value:expr,)* })*) => {$(
        impl AsValue for $name {
            fn value(&self) -> Value {
                let $ours = self;
                object([$(($field, $value),)*])
            }
        }
    )*};
}

values! {
    |m: msg::Endpoint<'_>| {
        "ip_address": json!(m.ip_address),
        "port": json!(m.port),
        "protocol": json!(m.protocol.0),
    }
    |m: msg::StartClientHandshakeReq<'_>| {
        "handshake_security_protocol": json!(m.handshake_security_protocol.0),
        "application_protocols": json!(m.application_protocols[..]),
        "record_protocols": json!(m.record_protocols[..]),
        "target_identities": list(&m.target_identities),
        "local_identity": maybe(&m.local_identity),
        "local_endpoint": maybe(&m.local_endpoint),
        "remote_endpoint": maybe(&m.remote_endpoint),
        "target_name": json!(m.target_name),
        "rpc_versions": maybe(&m.rpc_versions),
        "max_frame_size": json!(m.max_frame_size),
        "access_token": json!(m.access_token.expose()),
        "transport_protocol_preferences": maybe(&m.transport_protocol_preferences),
    }
    |m: msg::StartServerHandshakeReq<'_>| {
        "application_protocols": json!(m.application_protocols[..]),
        "handshake_parameters": map(
            m.handshake_parameters.iter().map(|(key, value)| (key.0, value)),
            AsValue::value,
        ),
        "in_bytes": json!(text(m.in_bytes)),
        "local_endpoint": maybe(&m.local_endpoint),
        "remote_endpoint": maybe(&m.remote_endpoint),
        "rpc_versions": maybe(&m.rpc_versions),
        "max_frame_size": json!(m.max_frame_size),
        "transport_protocol_preferences": maybe(&m.transport_protocol_preferences),
    }
    |m: msg::NextHandshakeMessageReq<'_>| {
        "in_bytes": json!(text(m.in_bytes)),
        "network_latency_ms": json!(m.network_latency_ms),
    }
    |m: msg::HandshakerReq<'_>| {
        "client_start": match &m.request {
            Some(Request::ClientStart(start)) => start.value(),
            _ => Value::Null,
        },
        "server_start": match &m.request {
            Some(Request::ServerStart(start)) => start.value(),
            _ => Value::Null,
        },
        "next": match &m.request {
            Some(Request::Next(next)) => next.value(),
            _ => Value::Null,
        },
    }
    |m: msg::HandshakerResult<'_>| {
        "application_protocol": json!(m.application_protocol),
        "record_protocol": json!(m.record_protocol),
        "key_data": json!(text(m.key_data.expose())),
        "peer_identity": maybe(&m.peer_identity),
        "local_identity": maybe(&m.local_identity),
        "keep_channel_open": json!(m.keep_channel_open),
        "peer_rpc_versions": maybe(&m.peer_rpc_versions),
        "max_frame_size": json!(m.max_frame_size),
        "transport_protocol": maybe(&m.transport_protocol),
    }
    |m: msg::HandshakerStatus<'_>| {
        "code": json!(m.code),
        "details": json!(m.details),
    }
    |m: msg::HandshakerResp<'_>| {
        "out_frames": json!(text(m.out_frames)),
        "bytes_consumed": json!(m.bytes_consumed),
        "result": maybe(&m.result),
        "status": maybe(&m.status),
    }
    |m: msg::RpcVersion| {
        "major": json!(m.major),
        "minor": json!(m.minor),
    }
    |m: msg::RpcProtocolVersions| {
        "max_rpc_version": maybe(&m.max_rpc_version),
        "min_rpc_version": maybe(&m.min_rpc_version),
    }
    |m: msg::TransportProtocolPreferences<'_>| {
        "transport_protocol": json!(m.transport_protocol[..]),
    }
    |m: msg::NegotiatedTransportProtocol<'_>| {
        "transport_protocol": json!(m.transport_protocol),
    }
    |context: AltsContext| {
        "application_protocol": json!(context.application_protocol()),
        "record_protocol": json!(RecordProtocol::name(context.record_protocol())),
        "security_level": json!(context.security_level() as u32),
        "peer_service_account": json!(context.peer_service_account()),
        "local_service_account": json!(context.local_service_account()),
        // The context has versions also where the message has none: 0.0.
        "peer_rpc_versions": Some(context.peer_rpc_versions())
            .filter(|versions| *versions != msg::RpcProtocolVersions::default())
            .map_or(Value::Null, |versions| versions.value()),
        "peer_attributes": map(context.peer_attributes(), |value| json!(value)),
    }
}

/// In these two, a field that is there may be empty: a member of a oneof, an optional field.
impl AsValue for msg::Identity<'_> {
    fn value(&self) -> Value {
        let attributes = map(self.attributes.iter(), |value| json!(value));
        let mut object = object([("attributes", attributes)]);
        match self.identity {
            Some(IdentityKind::ServiceAccount(name)) => object["service_account"] = json!(name),
            Some(IdentityKind::Hostname(name)) => object["hostname"] = json!(name),
            None => {}
            Some(other) => panic!("{other:?}"),
        }
        object
    }
}

impl AsValue for msg::ServerHandshakeParameters<'_> {
    fn value(&self) -> Value {
        let mut object = object([
            ("record_protocols", json!(self.record_protocols[..])),
            ("local_identities", list(&self.local_identities)),
        ]);
        if let Some(token) = self.token {
            object["token"] = json!(token.expose());
        }
        object
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}
