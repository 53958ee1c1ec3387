//! Why a connection or a handshake failed, whose fault it is and what to do about it.

use std::error::Error as _;
use std::io::{self, ErrorKind as Io};

use alts_core::StatusCode;
use alts_core::handshake::HandshakeErrorKind;
use alts_handshaker::Reason;
use alts_handshaker::framing::{MessageType, Reassembly};
use tokio_alts::error::Foreign;
use tokio_alts::{Error, ErrorKind};

use super::resolved::{End, Resolved};
use crate::diagnosis::{Fault, Problem};

/// The gRPC status codes that handshaker services refuse with.
mod code {
    use alts_handshaker::Code;

    pub(super) const INVALID_ARGUMENT: u32 = Code::InvalidArgument.number();
    pub(super) const DEADLINE_EXCEEDED: u32 = Code::DeadlineExceeded.number();
    pub(super) const PERMISSION_DENIED: u32 = Code::PermissionDenied.number();
    pub(super) const RESOURCE_EXHAUSTED: u32 = Code::ResourceExhausted.number();
    pub(super) const FAILED_PRECONDITION: u32 = Code::FailedPrecondition.number();
    pub(super) const UNAVAILABLE: u32 = Code::Unavailable.number();
    pub(super) const UNAUTHENTICATED: u32 = Code::Unauthenticated.number();
}

/// What was heard of a peer in a handshake that has failed.
pub(super) struct Heard {
    /// The last bytes.
    pub(super) last: Vec<u8>,
    /// How many in all.
    pub(super) bytes: u64,
}

/// Why there is no connection.
pub(super) fn connecting(end: End, text: &str, resolved: &Resolved, error: &io::Error) -> Problem {
    let tried = match resolved {
        Resolved::Tcp(_) if resolved.to_string() != text => {
            format!("to connect to {end} at {text} ({resolved})")
        }
        _ => format!("to connect to {end} at {text}"),
    };
    let absent = match end {
        End::Handshaker => Fault::Handshaker,
        End::Target => Fault::Network,
    };
    let (fault, got, remedy) = match (error.kind(), resolved) {
        (Io::NotFound, Resolved::Unix(_)) => (
            absent,
            "there is no such file".to_owned(),
            match end {
                End::Handshaker => {
                    "start the handshaker service (altsd), or name the socket that it listens on: \
                     its log says which"
                }
                End::Target => "start the peer, or name the socket that it listens on",
            },
        ),
        (Io::PermissionDenied, Resolved::Unix(_)) => (
            Fault::Local,
            "permission denied: this user may not write to the socket or enter its directory"
                .to_owned(),
            "run as a user who may, or change the owner, group or mode of the socket (altsd: owner, \
             group and mode of the listener)",
        ),
        (Io::ConnectionRefused, Resolved::Unix(_)) => (
            absent,
            "the socket is there, and nobody listens on it".to_owned(),
            match end {
                End::Handshaker => "start the handshaker service (altsd): the file is left over",
                End::Target => "start the peer: the file is left over",
            },
        ),
        (Io::ConnectionRefused, Resolved::Tcp(_)) => (
            absent,
            "connection refused: nobody listens there".to_owned(),
            match end {
                End::Handshaker => {
                    "start the handshaker service (altsd), or name the address that it listens on: \
                     its log says which"
                }
                End::Target => "start the peer, or check its port",
            },
        ),
        (Io::TimedOut, _) => (
            absent,
            "no answer before the deadline".to_owned(),
            "check that the machine is up and that no firewall drops the packets; --deadline waits \
             longer",
        ),
        (Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown, _) => (
            Fault::Network,
            format!("there is no way to that address: {error}"),
            "check the address, and the routes of this machine (ip route get ADDRESS)",
        ),
        _ => (
            absent,
            error.to_string(),
            "check the address, and that this machine may connect to it",
        ),
    };
    Problem::new(fault, tried, got, remedy)
}

/// The target speaks something else.
pub(super) fn foreign(target: &str, foreign: &Foreign) -> Problem {
    Problem::new(
        Fault::Peer,
        format!("an ALTS handshake with {target}"),
        foreign.to_string(),
        format!("{}: name the port on which the peer speaks ALTS", foreign.port()),
    )
}

/// Why a handshake with a target failed.
pub(super) fn handshake(target: &str, error: &Error, heard: &Heard) -> Problem {
    let tried = format!("an ALTS handshake with {target}");
    let service = error.service_address();
    if let Some(reason) = alert(&heard.last) {
        let got = match error.service_details() {
            "" => format!("the peer's handshaker service sent alert {}", reason.number()),
            details => details.to_owned(),
        };
        return Problem::new(Fault::Peer, tried, got, after_alert(reason));
    }
    let (fault, got, remedy) = match error.kind() {
        ErrorKind::Handshake(HandshakeErrorKind::Refused { code }) => {
            return refusal(tried, *code, error);
        }
        ErrorKind::Handshake(HandshakeErrorKind::PeerClosed) => closed(heard),
        ErrorKind::Io(error) => {
            let (fault, got, remedy) = closed(heard);
            (fault, format!("{got} ({error})"), remedy)
        }
        ErrorKind::TimedOut { waiting_for: tokio_alts::Fault::Peer } if heard.bytes == 0 => (
            Fault::Peer,
            "the peer accepted the connection, and said nothing before the deadline".to_owned(),
            "check that this port speaks ALTS (a server of another protocol may be waiting for the \
             rest of a message that it cannot read), and that the peer's handshaker service \
             answers: run alts check there"
                .to_owned(),
        ),
        ErrorKind::TimedOut { waiting_for: tokio_alts::Fault::Peer } => (
            Fault::Peer,
            format!(
                "the peer stopped answering in the middle of the handshake, after {} bytes",
                heard.bytes
            ),
            "check whether the peer's handshaker service hangs: run alts check there; --deadline \
             waits longer"
                .to_owned(),
        ),
        ErrorKind::TimedOut { .. } => (
            Fault::Handshaker,
            format!("no answer from the handshaker service ({service}) before the deadline"),
            format!(
                "look at its load and its log: alts check --handshaker {service} checks only the service; \
                 --deadline waits longer"
            ),
        ),
        ErrorKind::Service(failed) => (
            Fault::Handshaker,
            match failed.source() {
                Some(source) => format!("{failed}: {source}"),
                None => failed.to_string(),
            },
            format!(
                "check that it runs, and look at its log: alts check --handshaker {service} says more"
            ),
        ),
        ErrorKind::Handshake(HandshakeErrorKind::RpcVersions) => (
            Fault::Peer,
            error.to_string(),
            "update the older of the two: they speak different versions of the RPC protocol"
                .to_owned(),
        ),
        _ => (
            match error.fault() {
                tokio_alts::Fault::Peer => Fault::Peer,
                tokio_alts::Fault::HandshakerService => Fault::Handshaker,
                _ => Fault::Local,
            },
            error.to_string(),
            "the two handshaker services do not work together: look at the logs of both".to_owned(),
        ),
    };
    Problem::new(fault, tried, got, remedy)
}

/// The peer closed the connection in the middle of a handshake.
fn closed(heard: &Heard) -> (Fault, String, String) {
    if heard.bytes == 0 {
        return (
            Fault::Peer,
            "the peer closed the connection right after the first handshake message, without a word"
                .to_owned(),
            "check that this port speaks ALTS: servers of TLS and of other protocols close like this. \
             If it does, the peer has no handshaker service that works, or one that refuses the \
             peer: run alts check there"
                .to_owned(),
        );
    }
    (
        Fault::Peer,
        format!(
            "the peer closed the connection in the middle of the handshake, after {} bytes",
            heard.bytes
        ),
        "the peer's log, or that of its handshaker service, says why".to_owned(),
    )
}

/// The handshaker service of this side ended the handshake.
fn refusal(tried: String, number: u32, error: &Error) -> Problem {
    let details = error.service_details();
    let service = error.service_address();
    let said = if details.is_empty() { "and gave no reason" } else { details };
    let status = StatusCode(number);
    let got = format!("the handshaker service ({service}) refused with status {status}: {said}");
    let (fault, remedy) = match number {
        code::PERMISSION_DENIED => (
            Fault::Handshaker,
            "let the policy of the handshaker service give this user an account for this \
             (altsd: a [[policy]] rule), or run as a user who has one",
        ),
        code::UNAUTHENTICATED => (
            Fault::Peer,
            "the peer did not prove who it is. The two handshaker services must believe each \
             other's certificates: compare the trust roots of this side with the authority that \
             issued the peer's certificate, and the dates of both",
        ),
        code::INVALID_ARGUMENT => (
            Fault::Peer,
            "check that this port speaks ALTS, and that both sides use the same kind of handshaker \
             service: altsd and Google's do not understand each other",
        ),
        code::FAILED_PRECONDITION => (
            Fault::Peer,
            "the two sides have no protocol in common: compare what each is configured to offer",
        ),
        code::UNAVAILABLE => {
            (Fault::Peer, "the peer's handshaker service has given up: its log says why")
        }
        code::DEADLINE_EXCEEDED => (
            Fault::Peer,
            "the peer did not answer in the time that the handshaker service allows: run alts check \
             there",
        ),
        code::RESOURCE_EXHAUSTED => (
            Fault::Handshaker,
            "a limit of the handshaker service was reached: try again, or raise it (altsd: [limits])",
        ),
        _ => (Fault::Handshaker, "the log of the handshaker service says more"),
    };
    Problem::new(fault, tried, got, remedy)
}

/// The reason of altsd's alert, if the peer's last message is one.
fn alert(last: &[u8]) -> Option<Reason> {
    let message = Reassembly::new().push(last).ok()?.message?;
    (message.kind == MessageType::Alert).then(|| Reason::from_number(message.alert_reason()))?
}

/// What to do when the peer's altsd has ended the handshake.
fn after_alert(reason: Reason) -> &'static str {
    match reason {
        Reason::CertificateUntrusted => {
            "the peer's handshaker service does not believe the authority that issued this side's \
             certificate: give both the same trust roots (altsd: trust_roots)"
        }
        Reason::CertificateExpired => {
            "renew this side's certificate, and compare the clocks of both machines"
        }
        Reason::CertificateAmbiguous | Reason::IdentityNotVouched => {
            "look at the certificate of this side's handshaker service: what the peer says about it \
             is above"
        }
        Reason::CertificatePurpose => {
            "renew this side's certificate with the extended key usages serverAuth and clientAuth"
        }
        Reason::MachineRefused | Reason::AuthorityLimited => {
            "the peer decides for which names an authority may vouch: look at the peer's side \
             (altsd: accounts and machines of its trust_roots)"
        }
        Reason::ApplicationProtocol | Reason::RecordProtocol | Reason::RpcVersions => {
            "the two sides have nothing in common there: compare what each is configured to offer"
        }
        Reason::Deadline => "the peer was faster to give up: look at the load of both sides",
        Reason::Local => {
            "the peer cannot go on for a reason of its own, such as a policy that gives it no \
             account: run alts check there, or read the log of its handshaker service"
        }
        _ => "the log of the peer's handshaker service says more",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_others_is_a_matter_of_this_machine() {
        let resolved = Resolved::Unix("/run/altsd.sock".into());
        let error = io::Error::from(Io::PermissionDenied);
        let problem = connecting(End::Handshaker, "unix:/run/altsd.sock", &resolved, &error);
        assert_eq!(problem.fault, Fault::Local);
        assert!(problem.got.contains("this user may not write to the socket"), "{problem}");
        assert!(problem.remedy.contains("owner, group and mode"), "{problem}");
    }

    #[test]
    fn alerts_of_altsd_are_read() {
        for reason in Reason::ALL {
            let alert = alts_handshaker::framing::Message::alert(reason).encode().unwrap();
            assert_eq!(super::alert(&alert), Some(reason));
        }
        assert_eq!(alert(b"\x06\0\0\0\x02\x01\0\0ab"), None);
        assert_eq!(alert(b"\x08\0\0\0\xFF\x01\0\0"), None);
    }
}
