//! What became of a client's connection, and why connections are asked to end.

use tokio_alts::EndReason;

/// What became of a client's connection: one word for metrics and the audit line, and why if
/// something went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both sides said all that they had to say.
    Finished,
    /// The ALTS handshake with the client failed.
    Handshake(String),
    /// The client may not use this listener.
    Refused(String),
    /// There was no connection to the upstream.
    Upstream(String),
    /// Reading from or writing to the client failed.
    ClientError(String),
    /// Reading from or writing to the upstream failed.
    UpstreamError(String),
    /// Nothing happened for too long.
    Idle,
    /// It was due, for this reason, and has ended, by itself or at the end of its grace.
    Due {
        /// Why it was due.
        why: Why,
        /// Something was under way when its grace was over.
        is_cut: bool,
    },
    /// It was still there when the proxy had to end.
    Cut,
    /// There were as many connections as the limits allow.
    Limit,
}

/// Why a connection is due: asked to end, and closed after a grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has reached its age.
    Age,
    /// The certificate of the other end has ended.
    PeerCertificate,
    /// The proxy's own certificate has ended.
    LocalCertificate,
    /// The rules no longer admit it.
    Rules,
}

impl Why {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Age => "max_age",
            Self::PeerCertificate => "peer_certificate_end",
            Self::LocalCertificate => "local_certificate_end",
            Self::Rules => "rules",
        }
    }
}

impl From<EndReason> for Why {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::PeerCertificate => Self::PeerCertificate,
            EndReason::LocalCertificate => Self::LocalCertificate,
            _ => Self::Age,
        }
    }
}

impl Outcome {
    /// The words for all of them.
    pub const NAMES: [&str; 13] = [
        "finished",
        "handshake",
        "refused",
        "upstream",
        "client_error",
        "upstream_error",
        "idle",
        Why::Age.name(),
        Why::PeerCertificate.name(),
        Why::LocalCertificate.name(),
        Why::Rules.name(),
        "cut",
        "limit",
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Handshake(_) => "handshake",
            Self::Refused(_) => "refused",
            Self::Upstream(_) => "upstream",
            Self::ClientError(_) => "client_error",
            Self::UpstreamError(_) => "upstream_error",
            Self::Idle => "idle",
            Self::Due { why, .. } => why.name(),
            Self::Cut => "cut",
            Self::Limit => "limit",
        }
    }

    /// Why it went wrong.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Handshake(why)
            | Self::Refused(why)
            | Self::Upstream(why)
            | Self::ClientError(why)
            | Self::UpstreamError(why) => Some(why),
            Self::Due { is_cut: true, .. } => Some("cut when its grace was over"),
            Self::Finished | Self::Due { .. } | Self::Idle | Self::Cut | Self::Limit => None,
        }
    }
}
