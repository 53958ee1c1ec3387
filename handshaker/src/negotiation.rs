//! What the two sides agree on besides keys, inside the channel that the keys protect.
//!
//! # Messages
//!
//! The application data of `ClientParameters` is a protobuf message of this form, and nothing
//! else:
//!
//! ```proto
//! syntax = "proto3";
//!
//! message Parameters {
//!   // Client: what it supports. Server: the one that it chose.
//!   repeated string application_protocols = 1;
//!   repeated string record_protocols = 2;
//!   RpcVersions rpc_versions = 3;
//!   // The largest frame that the sender wants to receive; 0: it did not say.
//!   uint32 max_frame_size = 4;
//!   // Client: what it supports, best first. Server: the one that it chose, or none.
//!   repeated string transport_protocols = 5;
//!   // Who the sender is. Its certificate has to vouch for it.
//!   string service_account = 6;
//! }
//! message RpcVersions {
//!   uint32 max_major = 1; uint32 max_minor = 2;
//!   uint32 min_major = 3; uint32 min_minor = 4;
//! }
//! ```
//!
//! That of `ServerParameters` is
//!
//! ```text
//! offset  size  field
//! 0       4     n: u32, little-endian
//! 4       n     Parameters: the server's choice
//! 4 + n   32    server confirmation
//! ```
//!
//! and that of `ClientFinished` is the client confirmation, 32 bytes. What the confirmations are
//! is in [`exchange`](crate::exchange). Fields that are not known are skipped, so that later
//! versions can add some; they are covered by the confirmations all the same, which are made over
//! the bytes and not over what was understood.
//!
//! # Limits
//!
//! `Parameters` has at most 16 KiB; a list has at most 16 entries; a protocol's name has 1 to 64
//! bytes of printable ASCII without the space.
//!
//! # The choice
//!
//! - Application and record protocol: the first in the *server's* list that the client has too.
//!   None in common ends the handshake. A record protocol counts only if this service can make its
//!   keys.
//! - RPC versions: compatible when the smaller maximum is not below the larger minimum.
//! - Transport protocol: the first in the *client's* list that the server has too, if any.
//! - Frame sizes are not negotiated here: each side's service learns the other's.
//!
//! The client checks that what the server chose was offered. Since all of this happens under the
//! keys of a handshake that is already authenticated, no one in between can remove anything from
//! a list; since the confirmations cover it, neither finishes unless both saw the same.

use alts_core::key::RecordProtocol;
use alts_core::msg::{RpcProtocolVersions, RpcVersion};
use prost::Message as _;

use crate::failure::{Code, Failure, Fault, Reason, echo_all};
use crate::identity::check_account;

/// The largest encoded `Parameters`, in bytes.
pub const MAX_PARAMETERS: usize = 16 * 1024;

/// The longest list of protocols.
pub const MAX_PROTOCOLS: usize = 16;

/// The longest name of a protocol, in bytes: what `AltsContext` has room for.
pub const MAX_PROTOCOL_NAME: usize = 64;

/// The RPC versions of a caller that does not name any: what every known ALTS peer speaks.
pub const DEFAULT_RPC_VERSIONS: RpcProtocolVersions =
    RpcProtocolVersions::new(RpcVersion::new(2, 1), RpcVersion::new(2, 1));

/// What one side supports and the account that it claims.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offer {
    /// Application protocols; on the server, best first.
    pub application_protocols: Vec<String>,
    /// Record protocols; on the server, best first.
    pub record_protocols: Vec<String>,
    /// RPC versions.
    pub rpc_versions: RpcProtocolVersions,
    /// The largest frame that this side wants to receive, in bytes; 0: not said.
    pub max_frame_size: u32,
    /// Transport protocols; on the client, best first.
    pub transport_protocols: Vec<String>,
    /// The service account that this side claims.
    pub service_account: String,
}

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreement {
    /// The application protocol.
    pub application_protocol: String,
    /// The record protocol.
    pub record_protocol: RecordProtocol,
    /// The transport protocol, if both named some.
    pub transport_protocol: Option<String>,
    /// The peer's RPC versions.
    pub peer_rpc_versions: RpcProtocolVersions,
    /// The peer's maximum frame size in bytes; 0: it did not say.
    pub peer_max_frame_size: u32,
    /// The service account that the peer claims: the certificate has to vouch for it.
    pub peer_account: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Parameters {
    #[prost(string, repeated, tag = "1")]
    application_protocols: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    record_protocols: Vec<String>,
    #[prost(message, optional, tag = "3")]
    rpc_versions: Option<RpcVersions>,
    #[prost(uint32, tag = "4")]
    max_frame_size: u32,
    #[prost(string, repeated, tag = "5")]
    transport_protocols: Vec<String>,
    #[prost(string, tag = "6")]
    service_account: String,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct RpcVersions {
    #[prost(uint32, tag = "1")]
    max_major: u32,
    #[prost(uint32, tag = "2")]
    max_minor: u32,
    #[prost(uint32, tag = "3")]
    min_major: u32,
    #[prost(uint32, tag = "4")]
    min_minor: u32,
}

impl Offer {
    /// What gRPC offers, from this service account: `grpc`, records of AES-128-GCM with rekeying, RPC 2.1.
    #[must_use]
    pub fn new(service_account: impl Into<String>) -> Self {
        Self {
            application_protocols: vec!["grpc".to_owned()],
            record_protocols: vec![RecordProtocol::AesGcm128Rekey.name().to_owned()],
            rpc_versions: DEFAULT_RPC_VERSIONS,
            max_frame_size: 0,
            transport_protocols: Vec::new(),
            service_account: service_account.into(),
        }
    }

    /// Whether a caller's offer makes sense, so that the peer is never bothered with one that
    /// does not.
    ///
    /// # Errors
    /// The caller's fault.
    pub fn check(&self) -> Result<(), Failure> {
        let refuse = |details: String| Err(Failure::caller(Code::InvalidArgument, details));
        if self.application_protocols.is_empty() {
            return refuse("the start message names no application protocol".to_owned());
        }
        if self.record_protocols.is_empty() {
            return refuse("the start message names no record protocol for ALTS".to_owned());
        }
        if let Err(what) = self.check_names() {
            return refuse(format!("the start message's {what}"));
        }
        let (max, min) = bounds(&self.rpc_versions);
        if min > max {
            return refuse(format!(
                "the start message's RPC versions are upside down: the minimum is {}, the maximum \
                 {}",
                version(min),
                version(max)
            ));
        }
        if !self.record_protocols.iter().any(|name| RecordProtocol::from_name(name).is_some()) {
            return refuse(format!(
                "the start message names no record protocol that this service knows: {}",
                echo_all(&self.record_protocols)
            ));
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), String> {
        for (what, names) in [
            ("application protocols", &self.application_protocols),
            ("record protocols", &self.record_protocols),
            ("transport protocols", &self.transport_protocols),
        ] {
            if names.len() > MAX_PROTOCOLS {
                return Err(format!("{what} are more than {MAX_PROTOCOLS}"));
            }
            let fits = |name: &String| {
                (1..=MAX_PROTOCOL_NAME).contains(&name.len())
                    && name.bytes().all(|byte| byte.is_ascii_graphic())
            };
            if !names.iter().all(fits) {
                return Err(format!(
                    "{what} include a name that is not 1 to {MAX_PROTOCOL_NAME} printable \
                     characters"
                ));
            }
        }
        Ok(())
    }

    /// The encoded `Parameters`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (max, min) = bounds(&self.rpc_versions);
        let parameters = Parameters {
            application_protocols: self.application_protocols.clone(),
            record_protocols: self.record_protocols.clone(),
            rpc_versions: Some(RpcVersions {
                max_major: max.major,
                max_minor: max.minor,
                min_major: min.major,
                min_minor: min.minor,
            }),
            max_frame_size: self.max_frame_size,
            transport_protocols: self.transport_protocols.clone(),
            service_account: self.service_account.clone(),
        };
        parameters.encode_to_vec()
    }

    /// Reads the peer's `Parameters`.
    ///
    /// # Errors
    /// The peer's fault, whatever is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, Failure> {
        if bytes.len() > MAX_PARAMETERS {
            return Err(Failure::new(
                Code::ResourceExhausted,
                Fault::Peer,
                Reason::Limit,
                format!("the peer's parameters have more than {MAX_PARAMETERS} bytes"),
            ));
        }
        let parameters = Parameters::decode(bytes).map_err(|error| {
            Failure::malformed(format!("the peer's parameters cannot be read: {error}"))
        })?;
        let Some(versions) = parameters.rpc_versions else {
            return Err(Failure::malformed("the peer's parameters have no RPC versions"));
        };
        check_account(&parameters.service_account).map_err(|error| {
            Failure::malformed(format!("the service account in the peer's parameters: {error}"))
        })?;
        let offer = Self {
            application_protocols: parameters.application_protocols,
            record_protocols: parameters.record_protocols,
            rpc_versions: RpcProtocolVersions::new(
                RpcVersion::new(versions.min_major, versions.min_minor),
                RpcVersion::new(versions.max_major, versions.max_minor),
            ),
            max_frame_size: parameters.max_frame_size,
            transport_protocols: parameters.transport_protocols,
            service_account: parameters.service_account,
        };
        offer.check_names().map_err(|what| Failure::malformed(format!("the peer's {what}")))?;
        Ok(offer)
    }

    /// The server's choice between its own offer (`self`) and the client's: what it keeps for
    /// itself, and what it sends to the client.
    ///
    /// # Errors
    /// When there is nothing in common; the sentence lists what each side has.
    pub fn choose(&self, client: &Self) -> Result<(Agreement, Self), Failure> {
        let application_protocol =
            first_common(&self.application_protocols, &client.application_protocols).ok_or_else(
                || {
                    nothing_common(
                        Reason::ApplicationProtocol,
                        "application protocol",
                        &self.application_protocols,
                        &client.application_protocols,
                    )
                },
            )?;
        let (name, record_protocol) = self
            .record_protocols
            .iter()
            .filter(|name| client.record_protocols.contains(name))
            .find_map(|name| Some((name, RecordProtocol::from_name(name)?)))
            .ok_or_else(|| {
                nothing_common(
                    Reason::RecordProtocol,
                    "record protocol",
                    &self.record_protocols,
                    &client.record_protocols,
                )
            })?;
        check_versions(&self.rpc_versions, &client.rpc_versions)?;
        let transport_protocol =
            first_common(&client.transport_protocols, &self.transport_protocols);
        let choice = Self {
            application_protocols: vec![application_protocol.clone()],
            record_protocols: vec![name.clone()],
            rpc_versions: self.rpc_versions,
            max_frame_size: self.max_frame_size,
            transport_protocols: transport_protocol.cloned().into_iter().collect(),
            service_account: self.service_account.clone(),
        };
        let agreement = Agreement {
            application_protocol: application_protocol.clone(),
            record_protocol,
            transport_protocol: transport_protocol.cloned(),
            peer_rpc_versions: client.rpc_versions,
            peer_max_frame_size: client.max_frame_size,
            peer_account: client.service_account.clone(),
        };
        Ok((agreement, choice))
    }

    /// The client's check of the server's choice against its own offer (`self`).
    ///
    /// # Errors
    /// When the server chose what was not offered, or not exactly one.
    pub fn accept(&self, choice: &Self) -> Result<Agreement, Failure> {
        let application_protocol = chosen(
            "application protocol",
            &self.application_protocols,
            &choice.application_protocols,
        )?;
        let name = chosen("record protocol", &self.record_protocols, &choice.record_protocols)?;
        let record_protocol = RecordProtocol::from_name(name).ok_or_else(|| {
            Failure::malformed(format!(
                "the server chose the record protocol {name}, which this service does not know"
            ))
        })?;
        check_versions(&self.rpc_versions, &choice.rpc_versions)?;
        let transport_protocol = match &*choice.transport_protocols {
            [] => None,
            some => Some(chosen("transport protocol", &self.transport_protocols, some)?),
        };
        Ok(Agreement {
            application_protocol: application_protocol.to_owned(),
            record_protocol,
            transport_protocol: transport_protocol.map(ToOwned::to_owned),
            peer_rpc_versions: choice.rpc_versions,
            peer_max_frame_size: choice.max_frame_size,
            peer_account: choice.service_account.clone(),
        })
    }
}

fn first_common<'a>(preferred: &'a [String], other: &[String]) -> Option<&'a String> {
    preferred.iter().find(|name| other.contains(name))
}

/// The one that the server chose, if it was offered.
fn chosen<'a>(what: &str, offered: &[String], chosen: &'a [String]) -> Result<&'a str, Failure> {
    match chosen {
        [one] if offered.contains(one) => Ok(one),
        [one] => Err(Failure::malformed(format!(
            "the server chose the {what} {one}, which was not offered"
        ))),
        _ => Err(Failure::malformed(format!(
            "the server chose {} {what}s instead of one",
            chosen.len()
        ))),
    }
}

fn nothing_common(reason: Reason, what: &str, server: &[String], client: &[String]) -> Failure {
    let list = |names: &[String]| {
        if names.is_empty() { "none".to_owned() } else { echo_all(names) }
    };
    Failure::new(
        Code::FailedPrecondition,
        Fault::Peer,
        reason,
        format!(
            "no {what} in common: the server has {}, the client offers {}",
            list(server),
            list(client)
        ),
    )
}

fn check_versions(own: &RpcProtocolVersions, peer: &RpcProtocolVersions) -> Result<(), Failure> {
    if own.newest_common(peer).is_some() {
        return Ok(());
    }
    let ((own_max, own_min), (peer_max, peer_min)) = (bounds(own), bounds(peer));
    Err(Failure::new(
        Code::FailedPrecondition,
        Fault::Peer,
        Reason::RpcVersions,
        format!(
            "no RPC protocol version in common: this side has {} to {}, the peer {} to {}",
            version(own_min),
            version(own_max),
            version(peer_min),
            version(peer_max)
        ),
    ))
}

/// Maximum and minimum; what is not there is 0.0, as protobuf has it.
fn bounds(versions: &RpcProtocolVersions) -> (RpcVersion, RpcVersion) {
    (versions.max_rpc_version.unwrap_or_default(), versions.min_rpc_version.unwrap_or_default())
}

fn version(version: RpcVersion) -> String {
    format!("{}.{}", version.major, version.minor)
}

#[cfg(test)]
mod tests;
