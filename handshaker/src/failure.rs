//! Why a handshake failed: a code for the caller, a reason for the peer, a sentence for people.

use std::fmt;

/// The code in `HandshakerStatus.code`: the numbers are those of gRPC's status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// A request or a peer's message cannot be read or makes no sense.
    InvalidArgument = 3,
    /// The deadline of the handshake has passed.
    DeadlineExceeded = 4,
    /// The caller may not use the identity that it asked for.
    PermissionDenied = 7,
    /// A limit on sizes, bytes or rounds was reached.
    ResourceExhausted = 8,
    /// The two sides have nothing in common, or a request came out of order.
    FailedPrecondition = 9,
    /// The caller asked for something that this service does not do.
    Unimplemented = 12,
    /// The service itself failed.
    Internal = 13,
    /// The peer's own service gave up, for its own reasons.
    Unavailable = 14,
    /// The peer did not prove who it is, or is not who was expected.
    Unauthenticated = 16,
}

impl Code {
    /// The number that goes into `HandshakerStatus.code`.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The program that called the handshaker service.
    Caller,
    /// The other end of the connection, or its handshaker service.
    Peer,
    /// This service: its configuration or its limits.
    Service,
}

impl Fault {
    /// One word for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Peer => "peer",
            Self::Service => "service",
        }
    }
}

/// What an alert says to the peer: a number from this list and nothing else.
///
/// Alerts travel in the clear and are not authenticated. So they carry no text: an eavesdropper
/// learns neither accounts nor configuration, and someone who forges one can end a handshake (as
/// cutting the connection would) but puts no words into the log of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum Reason {
    /// A message could not be read or came out of turn.
    Malformed = 1,
    /// The first message is of a version or type that is not known.
    Version = 2,
    /// TLS found no key exchange, cipher suite or signature scheme in common, or a check failed.
    KeyExchange = 3,
    /// The certificate does not lead to a trust root, or may not be used for this.
    CertificateUntrusted = 4,
    /// The certificate has expired or is not valid yet.
    CertificateExpired = 5,
    /// The certificate names no service account, or more than one.
    CertificateAmbiguous = 6,
    /// The claimed service account is not one that the certificate vouches for.
    IdentityNotVouched = 7,
    /// The service account is none of those that the other side expects.
    IdentityUnexpected = 8,
    /// No application protocol in common.
    ApplicationProtocol = 9,
    /// No record protocol in common.
    RecordProtocol = 10,
    /// No RPC protocol version in common.
    RpcVersions = 11,
    /// The two sides do not have the same keys, certificates and parameters.
    Confirmation = 12,
    /// The handshake took too long.
    Deadline = 13,
    /// A limit on sizes, bytes or rounds was reached.
    Limit = 14,
    /// The side that sends this cannot go on, for a reason that is not the other side's business.
    Local = 15,
    /// The certificate is not for this use: it lacks a purpose (extended key usage), or is an
    /// authority's own.
    CertificatePurpose = 16,
    /// The certificate is a machine's, and the other side believes no machine.
    MachineRefused = 17,
    /// The certificate's authority may not vouch for the name in it.
    AuthorityLimited = 18,
    /// The certificate is revoked or denied, or its status cannot be known.
    CertificateRevoked = 19,
    /// The key exchange is not the post-quantum one that the other side requires.
    PostQuantum = 20,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 20] = [
        Self::Malformed,
        Self::Version,
        Self::KeyExchange,
        Self::CertificateUntrusted,
        Self::CertificateExpired,
        Self::CertificateAmbiguous,
        Self::IdentityNotVouched,
        Self::IdentityUnexpected,
        Self::ApplicationProtocol,
        Self::RecordProtocol,
        Self::RpcVersions,
        Self::Confirmation,
        Self::Deadline,
        Self::Limit,
        Self::Local,
        Self::CertificatePurpose,
        Self::MachineRefused,
        Self::AuthorityLimited,
        Self::CertificateRevoked,
        Self::PostQuantum,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The reason of this number, if the list has one.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.number() == number)
    }

    /// What the side that received the alert says about it: the rest of a sentence that begins
    /// with "the peer's handshaker ended the handshake: ".
    const fn told_by_peer(self) -> &'static str {
        match self {
            Self::Malformed => "it could not read a message of this side, or not at that point",
            Self::Version => "it does not know this version of the handshake",
            Self::KeyExchange => "the key exchange failed on its side",
            Self::CertificateUntrusted => "it does not trust this side's certificate",
            Self::CertificateExpired => {
                "this side's certificate has expired or is not valid yet by its clock"
            }
            Self::CertificateAmbiguous => {
                "this side's certificate does not name exactly one service account"
            }
            Self::IdentityNotVouched => {
                "this side's certificate does not vouch for the service account that this side claims"
            }
            Self::IdentityUnexpected => {
                "this side's service account is none of those that the peer expects"
            }
            Self::ApplicationProtocol => "no application protocol in common",
            Self::RecordProtocol => "no record protocol in common",
            Self::RpcVersions => "no RPC protocol version in common",
            Self::Confirmation => "the two sides did not agree on keys and parameters",
            Self::Deadline => "the handshake took longer than it allows",
            Self::Limit => "this side's messages exceed a limit of the peer's",
            Self::Local => "for a reason on its own side (its log has it)",
            Self::CertificatePurpose => {
                "this side's certificate is not for this use: it needs the extended key usages \
                 serverAuth and clientAuth, and must not be an authority's"
            }
            Self::MachineRefused => {
                "this side's certificate is a machine's, and the peer does not let machines vouch \
                 for accounts (the peer's trust_roots say nothing of machines)"
            }
            Self::AuthorityLimited => {
                "the peer does not let the authority of this side's certificate vouch for the name \
                 in it (the peer's trust_roots)"
            }
            Self::CertificateRevoked => {
                "this side's certificate is revoked or denied, or the peer cannot know whether it is \
                 (the peer's log says which)"
            }
            Self::PostQuantum => {
                "it requires the key exchange X25519MLKEM768, to which this side did not agree"
            }
        }
    }

    const fn code_when_told_by_peer(self) -> Code {
        match self {
            Self::Malformed | Self::Version => Code::InvalidArgument,
            Self::KeyExchange
            | Self::CertificateUntrusted
            | Self::CertificateExpired
            | Self::CertificateAmbiguous
            | Self::IdentityNotVouched
            | Self::IdentityUnexpected
            | Self::Confirmation
            | Self::CertificatePurpose
            | Self::MachineRefused
            | Self::AuthorityLimited
            | Self::CertificateRevoked => Code::Unauthenticated,
            Self::ApplicationProtocol
            | Self::RecordProtocol
            | Self::RpcVersions
            | Self::PostQuantum => Code::FailedPrecondition,
            Self::Deadline => Code::DeadlineExceeded,
            Self::Limit => Code::ResourceExhausted,
            Self::Local => Code::Unavailable,
        }
    }
}

/// A handshake's failure. It is final: the call that met it does nothing more.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    code: Code,
    fault: Fault,
    /// What the peer may know; `None` when it was the peer that gave up.
    reason: Option<Reason>,
    details: String,
}

impl Failure {
    pub(crate) fn new(
        code: Code,
        fault: Fault,
        reason: Reason,
        details: impl Into<String>,
    ) -> Self {
        Self { code, fault, reason: Some(reason), details: cut(details.into()) }
    }

    /// The caller of the service asked for something impossible: none of the peer's business.
    pub(crate) fn caller(code: Code, details: impl Into<String>) -> Self {
        Self::new(code, Fault::Caller, Reason::Local, details)
    }

    /// The peer sent what cannot be read, or not at this point.
    pub(crate) fn malformed(details: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, Fault::Peer, Reason::Malformed, details)
    }

    /// The service itself failed.
    pub(crate) fn internal(details: impl Into<String>) -> Self {
        Self::new(Code::Internal, Fault::Service, Reason::Local, details)
    }

    /// The peer's handshaker sent an alert. None is sent back: two services must not answer each
    /// other's alerts.
    pub(crate) fn alert(number: u32) -> Self {
        let told = "the peer's handshaker ended the handshake: ";
        match Reason::from_number(number) {
            Some(reason) => Self {
                code: reason.code_when_told_by_peer(),
                fault: Fault::Peer,
                reason: None,
                details: format!("{told}{} (alert {number})", reason.told_by_peer()),
            },
            None => Self {
                code: Code::Unavailable,
                fault: Fault::Peer,
                reason: None,
                details: format!(
                    "{told}for a reason that this side does not know (alert {number})"
                ),
            },
        }
    }

    /// The same with more to say.
    pub(crate) fn and(self, more: &str) -> Self {
        Self { details: cut(format!("{}; {more}", self.details)), ..self }
    }

    /// The code for `HandshakerStatus.code`.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        self.fault
    }

    /// The reason sent to the peer; `None` when the peer gave up first.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The sentence for `HandshakerStatus.details`.
    #[must_use]
    pub fn details(&self) -> &str {
        &self.details
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.details)
    }
}

/// The sentence: what a program prints whose `main` returns it.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

/// The longest sentence, in bytes. What others say is cut where it is repeated; this is for lists.
const MAX_DETAILS: usize = 1024;

/// The longest piece of foreign text that is repeated, in bytes.
const MAX_ECHO: usize = 256;

/// Foreign text, for a sentence: no more than a log can take.
pub(crate) fn echo(text: &str) -> String {
    shorten(text, MAX_ECHO)
}

/// As [`echo`], for a list of names.
pub(crate) fn echo_all<S: AsRef<str>>(names: &[S]) -> String {
    let mut all = String::new();
    for name in names {
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(&echo(name.as_ref()));
        if all.len() > MAX_ECHO {
            break;
        }
    }
    echo(&all)
}

fn cut(details: String) -> String {
    if details.len() <= MAX_DETAILS { details } else { shorten(&details, MAX_DETAILS) }
}

fn shorten(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    let (kept, rest) = text.split_at_checked(end).unwrap_or_default();
    format!("{kept}… ({} bytes more)", rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_reasons_are_unique_and_found_again() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.number() as usize, index + 1);
            assert_eq!(Reason::from_number(reason.number()), Some(reason));
        }
        assert_eq!(Reason::from_number(0), None);
        assert_eq!(Reason::from_number(21), None);
    }

    #[test]
    fn what_others_say_is_cut_where_it_is_repeated() {
        assert_eq!(echo("web@prod.example"), "web@prod.example");
        let long = "ä".repeat(1_000_000);
        assert!(echo(&long).len() < MAX_ECHO + 40 && echo(&long).ends_with("(1999744 bytes more)"));
        let names = vec![long.as_str(); 1000];
        assert!(echo_all(&names).len() < MAX_ECHO + 40);
        assert_eq!(echo_all(&["a", "b"]), "a, b");
        assert!(Failure::malformed(long).details().len() < MAX_DETAILS + 40);
    }

    #[test]
    fn an_unknown_alert_still_ends_the_handshake() {
        let failure = Failure::alert(0xFFFF_FFFF);
        assert_eq!(failure.code(), Code::Unavailable);
        assert_eq!(failure.reason(), None, "an alert is never answered with an alert");
        assert!(failure.details().contains("4294967295"));
    }
}
