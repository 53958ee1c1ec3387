//! The messages of `handshaker.proto`: what an ALTS endpoint and its handshaker service exchange.

use super::{
    List, Map, NegotiatedTransportProtocol, RpcProtocolVersions, TransportProtocolPreferences,
    capacity,
};
use crate::wire::{Secret, SecretText, message, one_of, open_enum};

open_enum! {
    /// The protocol of the handshake itself.
    pub enum HandshakeProtocol {
        /// Nothing was said: `HANDSHAKE_PROTOCOL_UNSPECIFIED`.
        UNSPECIFIED = 0,
        /// TLS.
        TLS = 1,
        /// Application Layer Transport Security: the one that this crate asks for.
        ALTS = 2,
    }

    /// What carries the connection's bytes.
    pub enum NetworkProtocol {
        /// Nothing was said: `NETWORK_PROTOCOL_UNSPECIFIED`.
        UNSPECIFIED = 0,
        /// A TCP connection.
        TCP = 1,
        /// UDP datagrams.
        UDP = 2,
    }
}

message! {
    /// One end of the connection between the two peers.
    pub struct Endpoint<'a> {
        /// An IPv4 or IPv6 address in its usual text form, such as `192.0.2.1` or `2001:db8::1`.
        1 => ip_address: &'a str,
        /// The port number.
        2 => port: i32,
        /// What the port belongs to.
        3 => protocol: NetworkProtocol,
    }

    /// The identity of a peer or of this side.
    pub struct Identity<'a> {
        /// The name, as one of two kinds: `identity_oneof` in the `.proto` file.
        1..=2 => identity: Option<IdentityKind<'a>>,
        /// More about the owner of this name; what the keys mean is up to the handshaker service.
        3 => attributes: Map<&'a str, &'a str, { capacity::ATTRIBUTES }>,
    }
}

one_of! {
    /// A name, of one of the kinds that an [`Identity`] may have.
    #[derive(Copy, Hash)]
    pub enum IdentityKind<'a> {
        /// A service account, such as `name@project.iam.gserviceaccount.com`.
        1 => service_account: ServiceAccount(&'a str),
        /// A host name.
        2 => hostname: Hostname(&'a str),
    }
}

impl<'a> Identity<'a> {
    /// The identity of this service account, without attributes.
    #[must_use]
    pub fn from_service_account(account: &'a str) -> Self {
        Self { identity: Some(IdentityKind::ServiceAccount(account)), ..Self::default() }
    }

    /// The service account, if that is the kind of name that this identity has.
    #[must_use]
    pub const fn service_account(&self) -> Option<&'a str> {
        match self.identity {
            Some(IdentityKind::ServiceAccount(account)) => Some(account),
            _ => None,
        }
    }
}

message! {
    /// A client's first request: start a handshake.
    pub struct StartClientHandshakeReq<'a> {
        /// The protocol of the handshake: [`HandshakeProtocol::ALTS`].
        1 => handshake_security_protocol: HandshakeProtocol,
        /// The application protocols that the client speaks, such as `grpc`.
        2 => application_protocols: List<&'a str, { capacity::PROTOCOLS }>,
        /// The record protocols that the client has, such as `ALTSRP_GCM_AES128_REKEY`.
        3 => record_protocols: List<&'a str, { capacity::PROTOCOLS }>,
        /// The servers that the client accepts; none stand for any.
        4 => target_identities: List<Identity<'a>, { capacity::TARGET_IDENTITIES }>,
        /// The identity that the client asks for; without it, the service chooses.
        5 => local_identity: Option<Identity<'a>>,
        /// The client's end of the connection.
        6 => local_endpoint: Option<Endpoint<'a>>,
        /// The server's end of the connection.
        7 => remote_endpoint: Option<Endpoint<'a>>,
        /// The name under which the client looked for its server, which the service may use to
        /// check that the server is entitled to it.
        8 => target_name: &'a str,
        /// The RPC protocol versions that the client speaks.
        9 => rpc_versions: Option<RpcProtocolVersions>,
        /// The size of the largest frame that the client takes, in bytes; 0 if it does not say.
        10 => max_frame_size: u32,
        /// A token that proves the client's identity to the server, valid only on ALTS connections with
        /// the client's own credentials; empty if there is none.
        11 => access_token: SecretText<'a>,
        /// The transport protocols that the client has, best first.
        12 => transport_protocol_preferences: Option<TransportProtocolPreferences<'a>>,
    }

    /// What a server can do with one handshake protocol.
    pub struct ServerHandshakeParameters<'a> {
        /// The record protocols that the server has, such as `ALTSRP_GCM_AES128_REKEY`.
        1 => record_protocols: List<&'a str, { capacity::PROTOCOLS }>,
        /// The identities that the server may have; without any, the service chooses.
        2 => local_identities: List<Identity<'a>, { capacity::LOCAL_IDENTITIES }>,
        /// A token that proves the server's identity to the client, valid only on ALTS connections with
        /// the server's own credentials.
        3 => token: Option<SecretText<'a>>,
    }

    /// A server's first request: start a handshake.
    pub struct StartServerHandshakeReq<'a> {
        /// The application protocols that the server speaks, such as `grpc`.
        1 => application_protocols: List<&'a str, { capacity::PROTOCOLS }>,
        /// The server's parameters for each handshake protocol. (The keys are bare numbers in the
        /// `.proto` file, where an enumeration cannot be a key.)
        2 => handshake_parameters: Map<
            HandshakeProtocol,
            ServerHandshakeParameters<'a>,
            { capacity::HANDSHAKE_PROTOCOLS },
        >,
        /// What has arrived from the client so far; may be empty, and may be only a part of
        /// the client's message.
        3 => in_bytes: &'a [u8],
        /// The server's end of the connection.
        4 => local_endpoint: Option<Endpoint<'a>>,
        /// The client's end of the connection.
        5 => remote_endpoint: Option<Endpoint<'a>>,
        /// The RPC protocol versions that the server speaks.
        6 => rpc_versions: Option<RpcProtocolVersions>,
        /// The size of the largest frame that the server takes, in bytes; 0 if it does not say.
        7 => max_frame_size: u32,
        /// The transport protocols that the server has.
        8 => transport_protocol_preferences: Option<TransportProtocolPreferences<'a>>,
    }

    /// Every request after the first one: more bytes from the peer.
    pub struct NextHandshakeMessageReq<'a> {
        /// What has arrived from the peer and has not been consumed yet; may be only a part
        /// of the peer's message.
        1 => in_bytes: &'a [u8],
        /// The time from the last handshake bytes sent to the peer to the arrival of these, in
        /// milliseconds.
        2 => network_latency_ms: u32,
    }

    /// A request to the handshaker service.
    pub struct HandshakerReq<'a> {
        /// What is asked for: `req_oneof` in the `.proto` file. A request without it is an error.
        1..=3 => request: Option<Request<'a>>,
    }
}

one_of! {
    /// What a [`HandshakerReq`] asks for.
    #[expect(clippy::large_enum_variant, reason = "there is no heap to keep the large ones on")]
    pub enum Request<'a> {
        /// To start a client's handshake.
        1 => client_start: ClientStart(StartClientHandshakeReq<'a>),
        /// To start a server's handshake.
        2 => server_start: ServerStart(StartServerHandshakeReq<'a>),
        /// To go on.
        3 => next: Next(NextHandshakeMessageReq<'a>),
    }
}

message! {
    /// What a handshake led to.
    pub struct HandshakerResult<'a> {
        /// The application protocol that both sides have agreed upon.
        1 => application_protocol: &'a str,
        /// The record protocol that both sides have agreed upon.
        2 => record_protocol: &'a str,
        /// The key of the record protocol; longer data is cut to the key's length.
        3 => key_data: Secret<'a>,
        /// The identity that the peer has proved.
        4 => peer_identity: Option<Identity<'a>>,
        /// The identity that this side has proved.
        5 => local_identity: Option<Identity<'a>>,
        /// Whether the call to the service should stay open for messages after the handshake.
        6 => keep_channel_open: bool,
        /// The RPC protocol versions that the peer speaks.
        7 => peer_rpc_versions: Option<RpcProtocolVersions>,
        /// The size of the largest frame that the peer takes, in bytes; 0 if it did not say.
        8 => max_frame_size: u32,
        /// The transport protocol that both sides have agreed upon.
        9 => transport_protocol: Option<NegotiatedTransportProtocol<'a>>,
    }

    /// Whether the service could do what was asked.
    pub struct HandshakerStatus<'a> {
        /// A gRPC status code; 0 means that all is well.
        1 => code: u32,
        /// What went wrong, in words.
        2 => details: &'a str,
    }

    /// The handshaker service's answer to one request.
    pub struct HandshakerResp<'a> {
        /// Bytes for the peer, to be sent even if the status is an error: they may be an alert.
        /// Empty if there is nothing to send, or if more bytes of the peer are needed first.
        1 => out_frames: &'a [u8],
        /// How many of the request's `in_bytes` belonged to the handshake and have been used.
        2 => bytes_consumed: u32,
        /// Present when the handshake is complete; there may still be `out_frames` to send.
        3 => result: Option<HandshakerResult<'a>>,
        /// Whether the service could do what was asked.
        4 => status: Option<HandshakerStatus<'a>>,
    }
}
