//! Why a request got no whole response.

/// Why a request got no whole response, as metrics call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The client reset its HTTP/2 stream.
    ClientReset,
    /// The client's connection ended.
    ClientGone,
    /// The body of the request made no sense, or ended early.
    ClientBody,
    /// The client read nothing for too long.
    ClientStalled,
    /// The upstream's response broke off.
    Upstream,
    /// The upstream sent nothing for too long.
    UpstreamStalled,
    /// The proxy had to end.
    Cut,
}

impl Broken {
    /// All of them, in their order.
    pub const ALL: [Self; 7] = [
        Self::ClientReset,
        Self::ClientGone,
        Self::ClientBody,
        Self::ClientStalled,
        Self::Upstream,
        Self::UpstreamStalled,
        Self::Cut,
    ];

    /// The label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientReset => "client_reset",
            Self::ClientGone => "client_gone",
            Self::ClientBody => "client_body",
            Self::ClientStalled => "client_stalled",
            Self::Upstream => "upstream",
            Self::UpstreamStalled => "upstream_stalled",
            Self::Cut => "cut",
        }
    }
}
