//! What a handshake yields, and what a service's result has to be for it to yield that.

use crate::context::AltsContext;
use crate::frame::FrameSize;
use crate::handshake::error::HandshakeErrorKind;
use crate::handshake::role::Role;
use crate::key::{RecordKey, RecordProtocol};
use crate::msg::{HandshakerResult, Identity};
use crate::side::Side;

/// What a handshake has yielded: the key of the connection and what is known of the peer.
///
/// [`Session::new`](crate::Session::new) makes a session from it.
#[derive(Debug)]
pub struct Established {
    pub(crate) side: Side,
    pub(crate) key: RecordKey,
    pub(crate) frame_size: FrameSize,
    pub(crate) context: AltsContext,
    keep_channel_open: bool,
}

impl Established {
    /// Which side this is.
    #[must_use]
    pub const fn side(&self) -> Side {
        self.side
    }

    /// What is known of the peer and the connection.
    #[must_use]
    pub const fn context(&self) -> &AltsContext {
        &self.context
    }

    /// The largest frame that may be written.
    #[must_use]
    pub const fn frame_size(&self) -> FrameSize {
        self.frame_size
    }

    /// Whether the service asked to keep the call open for messages after the handshake. None are
    /// defined so far.
    #[must_use]
    pub const fn keep_channel_open(&self) -> bool {
        self.keep_channel_open
    }
}

/// Checks a result against what was offered: what was not asked for is not accepted.
pub(super) fn verify<R: Role>(
    role: &R,
    result: &HandshakerResult<'_>,
) -> Result<Established, HandshakeErrorKind> {
    let offer = role.offer();
    offered("application_protocol", result.application_protocol, |name| {
        offer.application_protocols.contains(&name)
    })?;
    let record_protocol = RecordProtocol::from_name(result.record_protocol);
    offered("record_protocol", result.record_protocol, |_| {
        record_protocol.is_some_and(|protocol| offer.record_protocols.contains(&protocol))
    })?;
    let record_protocol = record_protocol.ok_or(HandshakeErrorKind::Missing("record_protocol"))?;
    let transport = result.transport_protocol.as_ref().map(|chosen| chosen.transport_protocol);
    if let Some(chosen) = transport.filter(|name| !name.is_empty()) {
        offered("transport_protocol", chosen, |name| offer.transport_protocols.contains(&name))?;
    }
    let key = RecordKey::new(record_protocol, result.key_data.expose())
        .map_err(HandshakeErrorKind::KeyTooShort)?;
    let peer = result
        .peer_identity
        .as_ref()
        .and_then(Identity::service_account)
        .filter(|account| !account.is_empty())
        .ok_or(HandshakeErrorKind::Missing("peer_identity.service_account"))?;
    if result.local_identity.is_none() {
        return Err(HandshakeErrorKind::Missing("local_identity"));
    }
    let peer_versions =
        result.peer_rpc_versions.ok_or(HandshakeErrorKind::Missing("peer_rpc_versions"))?;
    if offer.rpc_versions.newest_common(&peer_versions).is_none() {
        return Err(HandshakeErrorKind::RpcVersions);
    }
    // The service knows which peers are expected, but is not relied on: the bytes are compared here.
    if !role.expects(peer) {
        return Err(HandshakeErrorKind::UnexpectedPeer);
    }
    Ok(Established {
        side: R::SIDE,
        key,
        frame_size: offer.max_frame_size.negotiate(result.max_frame_size),
        context: AltsContext::from_result(result, record_protocol)
            .map_err(HandshakeErrorKind::Context)?,
        keep_channel_open: result.keep_channel_open,
    })
}

/// Refuses a choice of the service that is absent, or that was not among the offers.
fn offered(
    field: &'static str,
    chosen: &str,
    is_offered: impl FnOnce(&str) -> bool,
) -> Result<(), HandshakeErrorKind> {
    if chosen.is_empty() {
        Err(HandshakeErrorKind::Missing(field))
    } else if is_offered(chosen) {
        Ok(())
    } else {
        Err(HandshakeErrorKind::NotOffered(field))
    }
}
