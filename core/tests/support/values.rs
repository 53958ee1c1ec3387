//! Generators of messages, and of bytes that are nearly messages.

use alts_core::msg::capacity;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::proto;

// Texts and numbers of every size, often the special ones.

pub(crate) fn text() -> BoxedStrategy<String> {
    prop_oneof![Just(String::new()), "[a-z]{1,12}", "\\PC{0,40}", "[a-z]{126,130}"].boxed()
}

pub(crate) fn bytes() -> BoxedStrategy<Vec<u8>> {
    vec(any::<u8>(), 0..200).boxed()
}

pub(crate) fn number() -> BoxedStrategy<u32> {
    prop_oneof![Just(0), 1u32..200, any::<u32>()].boxed()
}

pub(crate) fn signed() -> BoxedStrategy<i32> {
    prop_oneof![Just(0), 1..200, any::<i32>()].boxed()
}

/// Mostly short lists, and now and then one that fills its place or has one element too many.
fn list<T: std::fmt::Debug + 'static>(
    item: BoxedStrategy<T>,
    capacity: usize,
) -> BoxedStrategy<Vec<T>> {
    prop_oneof![30 => vec(item.clone(), 0..4), 1 => vec(item, capacity..=capacity + 1)].boxed()
}

fn protocols() -> BoxedStrategy<Vec<String>> {
    list(text(), capacity::PROTOCOLS)
}

pub(crate) fn endpoint() -> BoxedStrategy<proto::Endpoint> {
    (text(), signed(), signed())
        .prop_map(|(ip_address, port, protocol)| proto::Endpoint { ip_address, port, protocol })
        .boxed()
}

pub(crate) fn identity() -> BoxedStrategy<proto::Identity> {
    use proto::IdentityOneof::{Hostname, ServiceAccount};
    let kind = prop_oneof![text().prop_map(ServiceAccount), text().prop_map(Hostname)];
    let full = capacity::ATTRIBUTES..=capacity::ATTRIBUTES + 1;
    let attributes = prop_oneof![
        30 => btree_map(text(), text(), 0..4),
        1 => btree_map("[a-z]{9}", text(), full),
    ];
    (option::of(kind), attributes)
        .prop_map(|(identity_oneof, attributes)| proto::Identity { identity_oneof, attributes })
        .boxed()
}

fn version() -> BoxedStrategy<proto::RpcVersion> {
    (number(), number()).prop_map(|(major, minor)| proto::RpcVersion { major, minor }).boxed()
}

pub(crate) fn versions() -> BoxedStrategy<proto::RpcProtocolVersions> {
    (option::of(version()), option::of(version()))
        .prop_map(|(max_rpc_version, min_rpc_version)| proto::RpcProtocolVersions {
            max_rpc_version,
            min_rpc_version,
        })
        .boxed()
}

fn preferences() -> BoxedStrategy<proto::TransportProtocolPreferences> {
    protocols()
        .prop_map(|transport_protocol| proto::TransportProtocolPreferences { transport_protocol })
        .boxed()
}

fn client_start() -> BoxedStrategy<proto::StartClientHandshakeReq> {
    let lists = (protocols(), protocols(), list(identity(), capacity::TARGET_IDENTITIES));
    let ends = (option::of(identity()), option::of(endpoint()), option::of(endpoint()));
    let rest = (text(), option::of(versions()), number(), text(), option::of(preferences()));
    (signed(), lists, ends, rest)
        .prop_map(|(handshake_security_protocol, lists, ends, rest)| {
            let (application_protocols, record_protocols, target_identities) = lists;
            let (local_identity, local_endpoint, remote_endpoint) = ends;
            let (target_name, rpc_versions, max_frame_size, access_token, preferences) = rest;
            proto::StartClientHandshakeReq {
                handshake_security_protocol,
                application_protocols,
                record_protocols,
                target_identities,
                local_identity,
                local_endpoint,
                remote_endpoint,
                target_name,
                rpc_versions,
                max_frame_size,
                access_token,
                transport_protocol_preferences: preferences,
            }
        })
        .boxed()
}

fn parameters() -> BoxedStrategy<proto::ServerHandshakeParameters> {
    (protocols(), list(identity(), capacity::LOCAL_IDENTITIES), option::of(text()))
        .prop_map(|(record_protocols, local_identities, token)| proto::ServerHandshakeParameters {
            record_protocols,
            local_identities,
            token,
        })
        .boxed()
}

fn server_start() -> BoxedStrategy<proto::StartServerHandshakeReq> {
    let parameters = prop_oneof![
        10 => btree_map(signed(), parameters(), 0..3),
        1 => btree_map(1..1000, parameters(), capacity::HANDSHAKE_PROTOCOLS..=capacity::HANDSHAKE_PROTOCOLS + 1),
    ];
    let ends = (option::of(endpoint()), option::of(endpoint()));
    let rest = (option::of(versions()), number(), option::of(preferences()));
    (protocols(), parameters, bytes(), ends, rest)
        .prop_map(|(application_protocols, handshake_parameters, in_bytes, ends, rest)| {
            let (local_endpoint, remote_endpoint) = ends;
            let (rpc_versions, max_frame_size, transport_protocol_preferences) = rest;
            proto::StartServerHandshakeReq {
                application_protocols,
                handshake_parameters,
                in_bytes,
                local_endpoint,
                remote_endpoint,
                rpc_versions,
                max_frame_size,
                transport_protocol_preferences,
            }
        })
        .boxed()
}

fn next() -> BoxedStrategy<proto::NextHandshakeMessageReq> {
    (bytes(), number())
        .prop_map(|(in_bytes, network_latency_ms)| proto::NextHandshakeMessageReq {
            in_bytes,
            network_latency_ms,
        })
        .boxed()
}

pub(crate) fn request() -> BoxedStrategy<proto::HandshakerReq> {
    use proto::ReqOneof::{ClientStart, Next, ServerStart};
    let request = prop_oneof![
        client_start().prop_map(ClientStart),
        server_start().prop_map(ServerStart),
        next().prop_map(Next),
    ];
    option::weighted(0.95, request).prop_map(|req_oneof| proto::HandshakerReq { req_oneof }).boxed()
}

fn result() -> BoxedStrategy<proto::HandshakerResult> {
    let transport = text()
        .prop_map(|transport_protocol| proto::NegotiatedTransportProtocol { transport_protocol });
    let names = (text(), text(), bytes());
    let ends = (option::of(identity()), option::of(identity()));
    let rest = (any::<bool>(), option::of(versions()), number(), option::of(transport));
    (names, ends, rest)
        .prop_map(|(names, ends, rest)| {
            let (application_protocol, record_protocol, key_data) = names;
            let (peer_identity, local_identity) = ends;
            let (keep_channel_open, peer_rpc_versions, max_frame_size, transport_protocol) = rest;
            proto::HandshakerResult {
                application_protocol,
                record_protocol,
                key_data,
                peer_identity,
                local_identity,
                keep_channel_open,
                peer_rpc_versions,
                max_frame_size,
                transport_protocol,
            }
        })
        .boxed()
}

pub(crate) fn response() -> BoxedStrategy<proto::HandshakerResp> {
    let status =
        (number(), text()).prop_map(|(code, details)| proto::HandshakerStatus { code, details });
    (bytes(), number(), option::of(result()), option::of(status))
        .prop_map(|(out_frames, bytes_consumed, result, status)| proto::HandshakerResp {
            out_frames,
            bytes_consumed,
            result,
            status,
        })
        .boxed()
}

/// Fields of any tag and type, some nested: what a later version of a message, or a hostile
/// peer, might send.
pub(crate) fn fields() -> BoxedStrategy<Vec<u8>> {
    let varint = prop_oneof![0u64..20, any::<u64>()].prop_map(varint);
    let text = text().prop_map(String::into_bytes);
    let delimited = |content: BoxedStrategy<Vec<u8>>| {
        content.prop_map(|content| [varint_of(content.len()), content].concat()).boxed()
    };
    let leaf = (
        tag(),
        prop_oneof![
            4 => varint.prop_map(|content| (0, content)),
            1 => vec(any::<u8>(), 8).prop_map(|content| (1, content)),
            4 => delimited(text.boxed()).prop_map(|content| (2, content)),
            1 => vec(any::<u8>(), 4).prop_map(|content| (5, content)),
        ],
    )
        .prop_map(|(tag, (wire, content))| [key(tag, wire), content].concat());
    let several = vec(leaf, 0..4).prop_map(|fields| fields.concat());
    several
        .prop_recursive(5, 32, 6, move |inner| {
            let inner = vec(inner, 0..6).prop_map(|fields| fields.concat()).boxed();
            prop_oneof![
                6 => (tag(), delimited(inner.clone()))
                    .prop_map(|(tag, content)| [key(tag, 2), content].concat()),
                1 => (tag(), inner.clone())
                    .prop_map(|(tag, content)| [key(tag, 3), content, key(tag, 4)].concat()),
                6 => inner,
            ]
        })
        .boxed()
}

fn tag() -> BoxedStrategy<u32> {
    prop_oneof![20 => 1u32..5, 10 => 5u32..14, 1 => 0u32..(1 << 29)].boxed()
}

pub(crate) fn key(tag: u32, wire: u32) -> Vec<u8> {
    varint(u64::from(tag << 3 | wire))
}

fn varint_of(len: usize) -> Vec<u8> {
    varint(len as u64)
}

/// A number as protobuf writes it, by hand.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Changes to a message's bytes: overwriting one, dropping one, repeating a part, cutting the end.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Set(prop::sample::Index, u8),
    Drop(prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index),
}

impl Damage {
    pub(crate) fn any() -> BoxedStrategy<Self> {
        let index = any::<prop::sample::Index>;
        prop_oneof![
            (index(), prop_oneof![0u8..=40, any::<u8>()])
                .prop_map(|(at, byte)| Self::Set(at, byte)),
            index().prop_map(Self::Drop),
            (index(), index()).prop_map(|(from, to)| Self::Repeat(from, to)),
            index().prop_map(Self::Cut),
        ]
        .boxed()
    }

    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        if len == 0 {
            return;
        }
        match self {
            Self::Set(at, byte) => drop(std::mem::replace(at.get_mut(bytes), *byte)),
            Self::Drop(at) => drop(bytes.remove(at.index(len))),
            Self::Repeat(from, to) => {
                let (from, to) = (from.index(len), to.index(len));
                bytes.extend_from_within(from.min(to)..from.max(to));
            }
            Self::Cut(at) => bytes.truncate(at.index(len)),
        }
    }
}
