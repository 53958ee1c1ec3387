//! What a TLS error means: whose fault it is, what the peer may know of it, a sentence.

use std::io;

use rustls::{CertificateError, Error as TlsError, OtherError, PeerIncompatible, PeerMisbehaved};

use crate::failure::{Code, Failure, Fault, Reason};

/// What is wrong with this side's own certificate.
pub(crate) fn judge_own(error: &TlsError) -> Failure {
    let failure = judge(error);
    let what = failure.details().replace("the peer's", "its").replace("this side", "the peer");
    Failure::new(
        Code::Internal,
        Fault::Service,
        Reason::Local,
        format!("peers would refuse this certificate: {what}"),
    )
}

/// What it means, for a side that requires X25519MLKEM768, that there is no key exchange in common.
pub(super) fn judge_groups(error: &TlsError) -> Option<Failure> {
    let of_groups = matches!(
        error,
        TlsError::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon)
            | TlsError::PeerMisbehaved(
                PeerMisbehaved::IllegalHelloRetryRequestWithUnofferedNamedGroup
                    | PeerMisbehaved::WrongGroupForKeyShare
            )
    );
    of_groups.then(|| {
        Failure::new(
            Code::FailedPrecondition,
            Fault::Peer,
            Reason::PostQuantum,
            format!(
                "the peer did not agree to the key exchange X25519MLKEM768, which this side \
                 requires: {error}"
            ),
        )
    })
}

/// Whose fault a TLS error is, and what the peer may know of it.
pub(super) fn judge(error: &TlsError) -> Failure {
    let (code, fault, reason, what) = match error {
        TlsError::InvalidCertificate(error) => {
            let (reason, what) = of_certificate(error);
            (Code::Unauthenticated, Fault::Peer, reason, what)
        }
        TlsError::NoCertificatesPresented => (
            Code::Unauthenticated,
            Fault::Peer,
            Reason::CertificateUntrusted,
            "the peer presented no certificate",
        ),
        TlsError::PeerIncompatible(_) | TlsError::NoApplicationProtocol => (
            Code::FailedPrecondition,
            Fault::Peer,
            Reason::KeyExchange,
            "the peer's TLS has nothing in common with this side's",
        ),
        TlsError::DecryptError | TlsError::PeerMisbehaved(_) => (
            Code::Unauthenticated,
            Fault::Peer,
            Reason::KeyExchange,
            "the key exchange with the peer failed",
        ),
        TlsError::InvalidMessage(_)
        | TlsError::InappropriateMessage { .. }
        | TlsError::InappropriateHandshakeMessage { .. }
        | TlsError::PeerSentOversizedRecord
        | TlsError::AlertReceived(_) => (
            Code::InvalidArgument,
            Fault::Peer,
            Reason::Malformed,
            "the peer sent what is no part of this key exchange",
        ),
        _ => {
            (Code::Internal, Fault::Service, Reason::Local, "the key exchange failed on this side")
        }
    };
    Failure::new(code, fault, reason, format!("{what}: {error}"))
}

/// What is wrong with the peer's certificate.
fn of_certificate(error: &CertificateError) -> (Reason, &'static str) {
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            (Reason::CertificateExpired, "the peer's certificate is not valid at this time")
        }
        CertificateError::UnknownIssuer => (
            Reason::CertificateUntrusted,
            "the peer's certificate is not from an authority that this side trusts",
        ),
        CertificateError::BadSignature => (
            Reason::CertificateUntrusted,
            "the peer's certificate is not signed by the authority of that name that this side trusts",
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
            Reason::CertificatePurpose,
            "the peer's certificate is not for this use (it lacks an extended key usage)",
        ),
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => (
            Reason::CertificatePurpose,
            "the peer's certificate is that of an authority, and no identity's",
        ),
        CertificateError::Other(OtherError(other)) if other.is::<io::Error>() => (
            Reason::AuthorityLimited,
            "the peer's certificate is under a name constraint of its authority which cannot be \
             checked here (only those on DNS names can)",
        ),
        CertificateError::Other(other) if format!("{other:?}").contains("NameConstraint") => (
            Reason::AuthorityLimited,
            "the peer's certificate is under a name constraint of its authority which does not \
             permit the name in it",
        ),
        _ => (Reason::CertificateUntrusted, "the peer's certificate is refused"),
    }
}
