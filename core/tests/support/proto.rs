//! The same messages by prost's derive: a second opinion on every byte.

use std::collections::BTreeMap;

use alts_core::msg;
use prost::{Message, Oneof};

/// Declares a message as prost has it.
macro_rules! messages {
    ($(struct $name:ident { $($(#[$meta:meta])* $field:ident: $ty:ty,)* })*) => {$(
        #[derive(Clone, PartialEq, Message)]
        pub(crate) struct $name { $($(#[$meta])* pub(crate) $field: $ty,)* }
    )*};
}

messages! {
    struct Endpoint {
        #[prost(string, tag = "1")]
        ip_address: String,
        #[prost(int32, tag = "2")]
        port: i32,
        #[prost(int32, tag = "3")]
        protocol: i32,
    }

    struct Identity {
        #[prost(oneof = "IdentityOneof", tags = "1, 2")]
        identity_oneof: Option<IdentityOneof>,
        #[prost(btree_map = "string, string", tag = "3")]
        attributes: BTreeMap<String, String>,
    }

    struct StartClientHandshakeReq {
        #[prost(int32, tag = "1")]
        handshake_security_protocol: i32,
        #[prost(string, repeated, tag = "2")]
        application_protocols: Vec<String>,
        #[prost(string, repeated, tag = "3")]
        record_protocols: Vec<String>,
        #[prost(message, repeated, tag = "4")]
        target_identities: Vec<Identity>,
        #[prost(message, optional, tag = "5")]
        local_identity: Option<Identity>,
        #[prost(message, optional, tag = "6")]
        local_endpoint: Option<Endpoint>,
        #[prost(message, optional, tag = "7")]
        remote_endpoint: Option<Endpoint>,
        #[prost(string, tag = "8")]
        target_name: String,
        #[prost(message, optional, tag = "9")]
        rpc_versions: Option<RpcProtocolVersions>,
        #[prost(uint32, tag = "10")]
        max_frame_size: u32,
        #[prost(string, tag = "11")]
        access_token: String,
        #[prost(message, optional, tag = "12")]
        transport_protocol_preferences: Option<TransportProtocolPreferences>,
    }

    struct ServerHandshakeParameters {
        #[prost(string, repeated, tag = "1")]
        record_protocols: Vec<String>,
        #[prost(message, repeated, tag = "2")]
        local_identities: Vec<Identity>,
        #[prost(string, optional, tag = "3")]
        token: Option<String>,
    }

    struct StartServerHandshakeReq {
        #[prost(string, repeated, tag = "1")]
        application_protocols: Vec<String>,
        #[prost(btree_map = "int32, message", tag = "2")]
        handshake_parameters: BTreeMap<i32, ServerHandshakeParameters>,
        #[prost(bytes = "vec", tag = "3")]
        in_bytes: Vec<u8>,
        #[prost(message, optional, tag = "4")]
        local_endpoint: Option<Endpoint>,
        #[prost(message, optional, tag = "5")]
        remote_endpoint: Option<Endpoint>,
        #[prost(message, optional, tag = "6")]
        rpc_versions: Option<RpcProtocolVersions>,
        #[prost(uint32, tag = "7")]
        max_frame_size: u32,
        #[prost(message, optional, tag = "8")]
        transport_protocol_preferences: Option<TransportProtocolPreferences>,
    }

    struct NextHandshakeMessageReq {
        #[prost(bytes = "vec", tag = "1")]
        in_bytes: Vec<u8>,
        #[prost(uint32, tag = "2")]
        network_latency_ms: u32,
    }

    struct HandshakerReq {
        #[prost(oneof = "ReqOneof", tags = "1, 2, 3")]
        req_oneof: Option<ReqOneof>,
    }

    struct HandshakerResult {
        #[prost(string, tag = "1")]
        application_protocol: String,
        #[prost(string, tag = "2")]
        record_protocol: String,
        #[prost(bytes = "vec", tag = "3")]
        key_data: Vec<u8>,
        #[prost(message, optional, tag = "4")]
        peer_identity: Option<Identity>,
        #[prost(message, optional, tag = "5")]
        local_identity: Option<Identity>,
        #[prost(bool, tag = "6")]
        keep_channel_open: bool,
        #[prost(message, optional, tag = "7")]
        peer_rpc_versions: Option<RpcProtocolVersions>,
        #[prost(uint32, tag = "8")]
        max_frame_size: u32,
        #[prost(message, optional, tag = "9")]
        transport_protocol: Option<NegotiatedTransportProtocol>,
    }

    struct HandshakerStatus {
        #[prost(uint32, tag = "1")]
        code: u32,
        #[prost(string, tag = "2")]
        details: String,
    }

    struct HandshakerResp {
        #[prost(bytes = "vec", tag = "1")]
        out_frames: Vec<u8>,
        #[prost(uint32, tag = "2")]
        bytes_consumed: u32,
        #[prost(message, optional, tag = "3")]
        result: Option<HandshakerResult>,
        #[prost(message, optional, tag = "4")]
        status: Option<HandshakerStatus>,
    }

    struct RpcVersion {
        #[prost(uint32, tag = "1")]
        major: u32,
        #[prost(uint32, tag = "2")]
        minor: u32,
    }

    struct RpcProtocolVersions {
        #[prost(message, optional, tag = "1")]
        max_rpc_version: Option<RpcVersion>,
        #[prost(message, optional, tag = "2")]
        min_rpc_version: Option<RpcVersion>,
    }

    struct TransportProtocolPreferences {
        #[prost(string, repeated, tag = "1")]
        transport_protocol: Vec<String>,
    }

    struct NegotiatedTransportProtocol {
        #[prost(string, tag = "1")]
        transport_protocol: String,
    }
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum IdentityOneof {
    #[prost(string, tag = "1")]
    ServiceAccount(String),
    #[prost(string, tag = "2")]
    Hostname(String),
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ReqOneof {
    #[prost(message, tag = "1")]
    ClientStart(StartClientHandshakeReq),
    #[prost(message, tag = "2")]
    ServerStart(StartServerHandshakeReq),
    #[prost(message, tag = "3")]
    Next(NextHandshakeMessageReq),
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Declares the conversion of one of our messages into prost's, value by value.
macro_rules! same {
    ($(|$ours:ident: msg::$name:ident $(<$life:lifetime>)?| { $($field:ident: $value:expr,)* })*) => {$(
        impl From<&msg::$name $(<$life>)?> for $name {
            fn from($ours: &msg::$name $(<$life>)?) -> Self {
                Self { $($field: $value,)* }
            }
        }
    )*};
}

same! {
    |ours: msg::Endpoint<'_>| {
        ip_address: ours.ip_address.into(),
        port: ours.port,
        protocol: ours.protocol.0,
    }
    |ours: msg::Identity<'_>| {
        identity_oneof: ours.identity.map(|kind| match kind {
            msg::IdentityKind::ServiceAccount(name) => IdentityOneof::ServiceAccount(name.into()),
            msg::IdentityKind::Hostname(name) => IdentityOneof::Hostname(name.into()),
            other => panic!("{other:?}"),
        }),
        attributes: ours.attributes.iter().map(|(&name, &value)| (name.into(), value.into())).collect(),
    }
    |ours: msg::StartClientHandshakeReq<'_>| {
        handshake_security_protocol: ours.handshake_security_protocol.0,
        application_protocols: texts(&ours.application_protocols),
        record_protocols: texts(&ours.record_protocols),
        target_identities: ours.target_identities.iter().map(Into::into).collect(),
        local_identity: ours.local_identity.as_ref().map(Into::into),
        local_endpoint: ours.local_endpoint.as_ref().map(Into::into),
        remote_endpoint: ours.remote_endpoint.as_ref().map(Into::into),
        target_name: ours.target_name.into(),
        rpc_versions: ours.rpc_versions.as_ref().map(Into::into),
        max_frame_size: ours.max_frame_size,
        access_token: ours.access_token.expose().into(),
        transport_protocol_preferences: ours.transport_protocol_preferences.as_ref().map(Into::into),
    }
    |ours: msg::ServerHandshakeParameters<'_>| {
        record_protocols: texts(&ours.record_protocols),
        local_identities: ours.local_identities.iter().map(Into::into).collect(),
        token: ours.token.map(|token| token.expose().into()),
    }
    |ours: msg::StartServerHandshakeReq<'_>| {
        application_protocols: texts(&ours.application_protocols),
        handshake_parameters: ours.handshake_parameters.iter().map(|(key, value)| (key.0, value.into())).collect(),
        in_bytes: ours.in_bytes.into(),
        local_endpoint: ours.local_endpoint.as_ref().map(Into::into),
        remote_endpoint: ours.remote_endpoint.as_ref().map(Into::into),
        rpc_versions: ours.rpc_versions.as_ref().map(Into::into),
        max_frame_size: ours.max_frame_size,
        transport_protocol_preferences: ours.transport_protocol_preferences.as_ref().map(Into::into),
    }
    |ours: msg::NextHandshakeMessageReq<'_>| {
        in_bytes: ours.in_bytes.into(),
        network_latency_ms: ours.network_latency_ms,
    }
    |ours: msg::HandshakerReq<'_>| {
        req_oneof: ours.request.as_ref().map(|request| match request {
            msg::Request::ClientStart(start) => ReqOneof::ClientStart(start.into()),
            msg::Request::ServerStart(start) => ReqOneof::ServerStart(start.into()),
            msg::Request::Next(next) => ReqOneof::Next(next.into()),
            other => panic!("{other:?}"),
        }),
    }
    |ours: msg::HandshakerResult<'_>| {
        application_protocol: ours.application_protocol.into(),
        record_protocol: ours.record_protocol.into(),
        key_data: ours.key_data.expose().into(),
        peer_identity: ours.peer_identity.as_ref().map(Into::into),
        local_identity: ours.local_identity.as_ref().map(Into::into),
        keep_channel_open: ours.keep_channel_open,
        peer_rpc_versions: ours.peer_rpc_versions.as_ref().map(Into::into),
        max_frame_size: ours.max_frame_size,
        transport_protocol: ours.transport_protocol.as_ref().map(Into::into),
    }
    |ours: msg::HandshakerStatus<'_>| {
        code: ours.code,
        details: ours.details.into(),
    }
    |ours: msg::HandshakerResp<'_>| {
        out_frames: ours.out_frames.into(),
        bytes_consumed: ours.bytes_consumed,
        result: ours.result.as_ref().map(Into::into),
        status: ours.status.as_ref().map(Into::into),
    }
    |ours: msg::RpcVersion| {
        major: ours.major,
        minor: ours.minor,
    }
    |ours: msg::RpcProtocolVersions| {
        max_rpc_version: ours.max_rpc_version.as_ref().map(Into::into),
        min_rpc_version: ours.min_rpc_version.as_ref().map(Into::into),
    }
    |ours: msg::TransportProtocolPreferences<'_>| {
        transport_protocol: texts(&ours.transport_protocol),
    }
    |ours: msg::NegotiatedTransportProtocol<'_>| {
        transport_protocol: ours.transport_protocol.into(),
    }
}
