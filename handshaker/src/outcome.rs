//! What a handshake proved and agreed on.

use std::fmt;
use std::time::Duration;

use alts_core::context::LATEST_CERTIFICATE_END;
use alts_core::key::RecordProtocol;
use alts_core::msg::RpcProtocolVersions;
use zeroize::Zeroizing;

use crate::exchange::KEY_DATA;
use crate::negotiation::Agreement;

/// What a handshake proved and agreed on.
pub struct Outcome {
    pub(crate) agreement: Agreement,
    pub(crate) local_account: String,
    pub(crate) key_exchange: &'static str,
    pub(crate) key_data: Zeroizing<[u8; KEY_DATA]>,
    pub(crate) peer_end: End,
    pub(crate) local_end: End,
}

/// When a certificate ends, as a time and as the attribute that says so.
#[derive(Clone, Debug)]
pub(crate) struct End {
    time: Duration,
    text: String,
}

impl End {
    pub(crate) fn new(time: Duration) -> Self {
        // What a certificate can say is not later; what is read from it could be, one day.
        let seconds = time.as_secs().min(LATEST_CERTIFICATE_END);
        Self { time: Duration::from_secs(seconds), text: seconds.to_string() }
    }

    /// The attribute's value.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl Outcome {
    /// The application protocol.
    #[must_use]
    pub fn application_protocol(&self) -> &str {
        &self.agreement.application_protocol
    }

    /// The record protocol.
    #[must_use]
    pub const fn record_protocol(&self) -> RecordProtocol {
        self.agreement.record_protocol
    }

    /// The transport protocol, if both sides named one.
    #[must_use]
    pub fn transport_protocol(&self) -> Option<&str> {
        self.agreement.transport_protocol.as_deref()
    }

    /// The peer's service account: its certificate vouches for it.
    #[must_use]
    pub fn peer_account(&self) -> &str {
        &self.agreement.peer_account
    }

    /// The service account that this side used.
    #[must_use]
    pub fn local_account(&self) -> &str {
        &self.local_account
    }

    /// When the peer's certificate ends, in UNIX time: the earliest end of the certificates in the
    /// chain that it has shown. A trust root's own end does not count, as it does not count in a
    /// handshake.
    #[must_use]
    pub const fn peer_certificate_end(&self) -> Duration {
        self.peer_end.time
    }

    /// When this side's own certificate ends, likewise.
    #[must_use]
    pub const fn local_certificate_end(&self) -> Duration {
        self.local_end.time
    }

    /// The peer's RPC versions.
    #[must_use]
    pub const fn peer_rpc_versions(&self) -> RpcProtocolVersions {
        self.agreement.peer_rpc_versions
    }

    /// The peer's maximum frame size in bytes; 0: it did not say.
    #[must_use]
    pub const fn peer_max_frame_size(&self) -> u32 {
        self.agreement.peer_max_frame_size
    }

    /// The key exchange in use, by its name in the "TLS Supported Groups" registry.
    #[must_use]
    pub const fn key_exchange(&self) -> &'static str {
        self.key_exchange
    }

    /// `HandshakerResult.key_data`: secret.
    #[must_use]
    pub fn key_data(&self) -> &[u8; KEY_DATA] {
        &self.key_data
    }
}

/// Everything but the key data.
impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("agreement", &self.agreement)
            .field("local_account", &self.local_account)
            .field("key_exchange", &self.key_exchange)
            .field("peer_certificate_end", &self.peer_end.time)
            .field("local_certificate_end", &self.local_end.time)
            .finish_non_exhaustive()
    }
}
