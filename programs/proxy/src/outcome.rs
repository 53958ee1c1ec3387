//! What became of a client's connection.

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
    /// It was still there when the proxy had to end.
    Cut,
    /// There were as many connections as the limits allow.
    Limit,
}

impl Outcome {
    /// The words for all of them.
    pub const NAMES: [&str; 9] = [
        "finished",
        "handshake",
        "refused",
        "upstream",
        "client_error",
        "upstream_error",
        "idle",
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
            Self::Finished | Self::Idle | Self::Cut | Self::Limit => None,
        }
    }
}
