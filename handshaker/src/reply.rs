//! The answer to one request: bytes for the peer, and how the handshake stands.

use std::sync::Arc;

use alts_core::context::{LOCAL_CERTIFICATE_END, PEER_CERTIFICATE_END};
use alts_core::msg::{
    HandshakerResp, HandshakerResult, HandshakerStatus, Identity as IdentityMessage, Map,
    NegotiatedTransportProtocol,
};
use alts_core::wire::{Message as _, Secret};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::outcome::Outcome;

/// The answer to one request.
#[derive(Debug, Default)]
pub struct Reply {
    pub(crate) out_frames: Vec<u8>,
    pub(crate) bytes_consumed: u32,
    pub(crate) outcome: Option<Arc<Outcome>>,
    pub(crate) failure: Option<Failure>,
}

impl Reply {
    /// Bytes for the peer: to be sent even with a failure.
    #[must_use]
    pub fn out_frames(&self) -> &[u8] {
        &self.out_frames
    }

    /// How many of the request's `in_bytes` belong to the handshake.
    #[must_use]
    pub const fn bytes_consumed(&self) -> u32 {
        self.bytes_consumed
    }

    /// The result, in the last reply of a handshake that succeeded.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_deref()
    }

    /// The failure, in the last reply of one that did not.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The `HandshakerResp`.
    #[must_use]
    pub fn message(&self) -> HandshakerResp<'_> {
        let status = match &self.failure {
            None => HandshakerStatus::default(),
            Some(failure) => {
                HandshakerStatus { code: failure.code().number(), details: failure.details() }
            }
        };
        HandshakerResp {
            out_frames: &self.out_frames,
            bytes_consumed: self.bytes_consumed,
            result: self.outcome.as_deref().map(result),
            // Set in every response: C core takes its absence for a failure.
            status: Some(status),
        }
    }

    /// The serialized `HandshakerResp`; it may contain keys.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let message = self.message();
        let mut bytes = Zeroizing::new(vec![0; message.encoded_len()]);
        // The buffer has the length that the message asked for, so there is no error to meet.
        let written = message.encode(&mut bytes).unwrap_or_default();
        bytes.truncate(written);
        bytes
    }
}

fn result(outcome: &Outcome) -> HandshakerResult<'_> {
    let mut peer = IdentityMessage::from_service_account(outcome.peer_account());
    peer.attributes = Map::from([
        (PEER_CERTIFICATE_END, outcome.peer_end.text()),
        (LOCAL_CERTIFICATE_END, outcome.local_end.text()),
    ]);
    HandshakerResult {
        application_protocol: outcome.application_protocol(),
        record_protocol: outcome.record_protocol().name(),
        key_data: Secret::new(outcome.key_data()),
        peer_identity: Some(peer),
        local_identity: Some(IdentityMessage::from_service_account(outcome.local_account())),
        keep_channel_open: false,
        peer_rpc_versions: Some(outcome.peer_rpc_versions()),
        max_frame_size: outcome.peer_max_frame_size(),
        transport_protocol: outcome
            .transport_protocol()
            .map(|name| NegotiatedTransportProtocol { transport_protocol: name }),
    }
}
